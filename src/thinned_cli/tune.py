"""The command `thinned tune`."""

from pathlib import Path
from typing import Any

import click

from thinned_cli.commands import FAILED, INTERRUPTED, WRONG, thinned
from thinned_cli.train import FLAGS, KINDS, Sectioned, flags_of_settings, given

EXAMPLES = """\b
Examples:
  thinned tune --search p=0..0.7 --search lr=1e-3..1e-1:log --workers 4
  thinned tune settings.toml --trials 100 --sampler gp
  thinned tune --hidden 800,800 --search dropout.p.1=0,0.2,0.5 --search dropout.p.2=0,0.2,0.5 --sampler grid
  thinned tune --search dropout.kind=standard,gaussian,batchwise --search "hidden=800,800|400,400,400" --study kinds
  thinned tune --study kinds --trials 200
  thinned tune settings.toml --study shared --storage postgresql://me@host/tuning --workers 16
  thinned tune settings.toml --study shared --storage journal:/nfs/shared/tuning.log --workers 16

\b
In settings.toml, beside the tables of thinned train:
  [tune]
  trials = 100
  sampler = "gp"
  [tune.space]
  "dropout.p" = {low = 0.0, high = 0.7}
  "training.lr" = {low = 1e-3, high = 0.1, log = true}
  "training.optimizer" = ["sgd", "adam"]
"""


@thinned.command(cls=Sectioned, epilog=KINDS + EXAMPLES)
@click.argument("settings", required=False, type=click.Path(path_type=Path), metavar="[SETTINGS.TOML]")
@click.option(
    "--search",
    multiple=True,
    metavar="NAME=VALUES",
    help="A setting to search: NAME=A,B,C or NAME=LOW..HIGH, with :log or :step=S behind it; | between lists. "
    "A layer's own is NAME.1, NAME.2 and so on. Repeatable.",
)
@click.option("--trials", type=int, show_default="50, or all points of a grid", help="How many trials, in all.")
@click.option("--sampler", metavar="NAME", show_default="tpe", help="tpe, gp, random or grid.")
@click.option("--pruner", metavar="NAME", show_default="median", help="median, hyperband or none.")
@click.option("--workers", default=1, help="Processes to start, each with --threads, 1 by default.")
@click.option("--study", metavar="NAME", show_default="made of the time", help="A new study, or one to go on with.")
@click.option(
    "--storage",
    metavar="URL|journal:FILE",
    show_default="SQLite in the study's folder",
    help="Where machines share a study: run the same command on each.",
)
@click.option("--release", is_flag=True, help="Take over trials that other machines left running.")
@click.option("--out", default="runs", type=click.Path(path_type=Path), help="Folder of all runs.")
@click.option("--quiet", is_flag=True, help="Show nothing but what was found, as one JSON object.")
@flags_of_settings()
def tune(
    *,
    settings: Path | None,
    search: tuple[str, ...],
    trials: int | None,
    sampler: str | None,
    pruner: str | None,
    workers: int,
    study: str | None,
    storage: str | None,
    release: bool,
    out: Path,
    quiet: bool,
    **flags: Any,
) -> None:
    """Search for the best settings: dropout, rates, learning rate, widths.

    What stays the same comes from a TOML file and flags, as for thinned train; what is searched from its table
    [tune.space] and from --search. A study goes on where it was stopped, however that was: give its name again.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from thinned._errors import ThinnedError
    from thinned._optional import require

    require("optuna", "lab")
    from thinned.lab.loop import InterruptedRunError
    from thinned.lab.tuning import display
    from thinned.lab.tuning.request import request
    from thinned.lab.tuning.search import Where
    from thinned.lab.tuning.search import search as find

    console = Console(quiet=quiet)
    try:
        plan, trials = request(
            settings, given(flags), [*map(_named, search)], trials=trials, sampler=sampler, pruner=pruner
        )
        where = Where(out, study, storage)
        with display.TuneProgress(console) as progress:
            found = find(plan, where, trials=trials, workers=workers, release=release, display=progress)
    except ThinnedError as error:
        stopped = isinstance(error, InterruptedRunError)
        click.echo(str(error) if stopped else f"Error: {error}", err=True)
        click.get_current_context().exit(INTERRUPTED if stopped else WRONG)
    if quiet:
        told = asdict(found)
        click.echo(json.dumps({key: value for key, value in told.items() if key != "rows"}))
    else:
        display.show(console, found)
        click.echo(f"Best settings: {Path(found.folder, 'best.toml')}")
        click.echo(f"Report: {Path(found.folder, 'report.html')}")
    if found.failed:
        click.get_current_context().exit(FAILED)


def _named(search: str) -> str:
    """Return what is to be searched by the name of its setting, where it was given by that of its flag."""
    name, equals, values = search.partition("=")
    flag, dot, layer = name.strip().partition(".")  # a number behind it is that of a layer
    settings = {other: setting for other, setting, _ in FLAGS}
    setting = settings.get(f"--{flag.replace('_', '-')}") if layer.isdecimal() or not layer else None
    return search if setting is None else f"{setting}{dot}{layer}{equals}{values}"
