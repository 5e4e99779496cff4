"""The command `thinned report`."""

from pathlib import Path

import click

from thinned_cli.commands import thinned

EXAMPLES = """\b
Examples:
  thinned report runs/compare-20260101-120000
  thinned report runs/standard-0 runs/standard-1 runs/gaussian-0 runs/gaussian-1 --out dropout.html
  thinned report runs/* --out all.html --json
"""


@thinned.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    show_default="report.html: in the folder of a single run, or here",
    help="The page; what is there is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the same numbers as JSON beside it.")
def report(*, runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Write one page about one or several runs.

    RUN is the folder of a run of `thinned compare` or `thinned train`, or of a study of `thinned tune`, done or not.
    Runs of training on the same data are compared with each other: pairs with the same seed, the settings of the first
    as the baseline. What cannot be read among several is passed over, and named. The page is one file that needs no
    network and no script.
    """
    from thinned.lab import gathering, joined, records

    if out is not None:
        records.target(out, ".html")
    single = len(set(runs)) == 1
    found, passed = ([gathering.read(runs[0])], []) if single else gathering.gather(runs)
    for warning in gathering.warnings(passed):
        click.echo(warning, err=True)
    if not found:
        raise click.UsageError("RUN must be at least one run or study that can be read, but there is none.")
    path = out or (found[0].folder / "report.html" if single else Path("report.html"))
    records.write_text(path, joined.joined(found, passed))
    click.echo(f"Report: {path}")
    if as_json:
        beside = records.write_beside(path, joined.numbers(found, passed))
        click.echo(f"JSON: {beside}")
