"""The command `thinned predict`."""

from pathlib import Path

import click

from thinned_cli.commands import thinned

EXAMPLES = """\b
Examples:
  thinned predict runs/train-20260101-120000
  thinned predict runs/x/checkpoints/best.pt --passes 500 --out predictions.csv
  thinned predict runs/x --part validation --json
  thinned predict runs/x --data new.csv --out new-predicted.csv
  thinned predict runs/x --data new.csv --target price --drop id,seller --json
"""


@thinned.command(epilog=EXAMPLES)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--passes", default=100, help="Predictions with dropout on that are averaged.")
@click.option(
    "--data",
    metavar="NAME|PATH",
    show_default="what it was trained with",
    help="Other data of the same kind, with targets or without.",
)
@click.option(
    "--part",
    metavar="PART",
    help="test, validation, train or all. [all of a file named by --data; test of what comes in parts]",
)
@click.option("--test", metavar="PATH", help="The file to test on, where --data is what was trained on.")
@click.option("--task", metavar="TASK", help="Of --data: classification or regression. [as in training]")
@click.option("--target", metavar="COLUMN", help="Column of --data with targets: its name or number. [as in training]")
@click.option("--drop", metavar="COLUMNS", help="Columns of --data to leave out. [as in training]")
@click.option("--header", metavar="TRUE|FALSE", help="Whether the first line of --data has names. [by looking]")
@click.option("--delimiter", metavar="CHARACTER", help="What is between columns of --data. [by looking]")
@click.option("--seed", default=0, help="Of the masks.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Table of all examples; JSON and a page beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def predict(
    *,
    checkpoint: Path,
    passes: int,
    data: str | None,
    part: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Predict with dropout on, and say how sure the network is.

    CHECKPOINT is a file that `thinned train` left, or the folder of its run, whose best one is taken.

    Each example is predicted many times, each time with other units dropped. Where the passes agree the network is
    sure; with targets the tables say whether it is rightly so. Other data need features as those of the training, whose
    columns are found by name; they are standardised and cropped as the training's were, and their classes are matched
    by name.
    """
    from rich.console import Console

    from thinned.lab import config, display, records, report
    from thinned.lab import predict as lab

    given = {f"data.{name}": value for name, value in options.items() if value is not None}
    if given and data is None:
        flags = ", ".join(f"--{name.removeprefix('data.')}" for name in given)
        raise click.UsageError(f"{flags} must be left out without --data, as the run knows its own data.")
    path = None if out is None else records.target(out, ".csv")
    other = None if data is None else config.read(None, {"data.name": data, **given}).data
    console = Console(stderr=True)
    with display.passes(console) as progress:
        found = lab.predict(checkpoint, passes, seed, data=other, part=part, progress=progress)
    if path is not None:  # before anything is printed: whoever reads that may stop reading, as `head` does
        beside, page = found.write(path), path.with_name(f"{path.name}.html")
        records.write_text(page, report.prediction(found.about))
    if as_json:
        click.echo(records.json_text(found.about), nl=False)
    else:
        display.prediction(Console(), found.about)
    if path is not None:
        click.echo(f"Table: {path}\nJSON: {beside}\nReport: {page}", err=as_json)
