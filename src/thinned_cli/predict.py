"""The command `thinned predict`."""

from pathlib import Path

import click

from thinned_cli.commands import load, thinned

EXAMPLES = """\b
Examples:
  thinned predict runs/train-20260101-120000
  thinned predict runs/x/checkpoints/best.pt --passes 500 --out predictions.csv
  thinned predict runs/x --part validation --json
  thinned predict runs/x --data other.csv --part train --out other-predicted.csv
"""


@thinned.command(epilog=EXAMPLES)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--passes", default=100, help="Predictions with dropout on that are averaged.")
@click.option(
    "--data", metavar="NAME|PATH", show_default="what it was trained with", help="Other data of the same kind."
)
@click.option(
    "--part",
    default="test",
    metavar="PART",
    help="test, validation or train. Of other data without a test part a fifth is test.",
)
@click.option("--seed", default=0, help="Of the masks.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Table of all examples; JSON and a page beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def predict(
    *, checkpoint: Path, passes: int, data: str | None, part: str, seed: int, out: Path | None, as_json: bool
) -> None:
    """Predict with dropout on, and say how sure the network is.

    CHECKPOINT is a file that `thinned train` left, or the folder of its run, whose best one is taken.

    Each example is predicted many times, each time with other units dropped. Where the passes agree the network is
    sure; the tables say whether it is rightly so. Other data need targets, and features as those of the training; they
    are standardised and cropped as the training's were, and their classes are matched by name.
    """
    from rich.console import Console

    from thinned.lab import display, records, report
    from thinned.lab import predict as lab

    path = None if out is None else records.target(out, ".csv")
    dataset = None if data is None else load(data)
    console = Console(stderr=True)
    with display.passes(console) as progress:
        found = lab.predict(checkpoint, passes, seed, data=dataset, part=part, progress=progress)
    if path is not None:  # before anything is printed: whoever reads that may stop reading, as `head` does
        beside, page = found.write(path), path.with_name(f"{path.name}.html")
        records.write_text(page, report.prediction(found.about))
    if as_json:
        click.echo(records.json_text(found.about), nl=False)
    else:
        display.prediction(Console(), found.about)
    if path is not None:
        click.echo(f"Table: {path}\nJSON: {beside}\nReport: {page}", err=as_json)
