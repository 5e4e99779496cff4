"""The command `thinned compare`."""

import os
from pathlib import Path
from typing import Any

import click

from thinned_cli.commands import INTERRUPTED, thinned
from thinned_cli.train import KINDS, Sectioned, flags_of_settings, given, was_given

EXAMPLES = """\b
Examples:
  thinned compare
  thinned compare --data mnist --hidden 800,800 --input-p 0.2 --epochs 10
  thinned compare --methods none,thinned:0.2,thinned:0.5,gaussian:0.5,dropconnect,concrete --seeds 5
  thinned compare --seeds 10 --baseline none --target-error 0.03
  thinned compare --data table.csv --standardise --target price --drop id
  thinned compare --data cifar-folder --model convnet --flip --shift 4
    --methods none,thinned:0+0+0.5,spatial+spatial+thinned:0.1+0.1+0.5
  thinned compare --data words.txt --model lstm --methods none,thinned:0.3,zoneout:0.1,weight_drop:0.3
  thinned compare --methods torch,batchwise --groups 10 --units slice --optimizer adamw
  thinned compare settings.toml --seeds 5
  thinned compare --resume runs/compare-20260101-120000

\b
In settings.toml, beside the tables of thinned train, methods with names of their own:
  [compare]
  methods = ["none", "thinned:0.2", "paths"]
  seeds = 5
  [compare.named.paths]
  p = 0.1
  path_p = 0.2

\b
Graham et al. on MNIST, in 40 epochs:
  thinned compare --data mnist-folder --methods none,torch,batchwise --hidden 800,800 --input-p 0.2 --epochs 40
    --batch-size 100 --optimizer nesterov --lr 0.025 --schedule exponential --threads 2
"""
LEFT_OUT = (  # what methods and seeds say, and what belongs to a single run
    *("data.validation", "dropout.kind", "penalties.patience", "penalties.watch", "run.seed", "run.monitors"),
    *("run.checkpoint_steps", "run.keep", "run.tensorboard"),
)


@thinned.command(cls=Sectioned, epilog=KINDS + EXAMPLES)
@click.argument("settings", required=False, type=click.Path(path_type=Path), metavar="[SETTINGS.TOML]")
@click.option(
    "--methods",
    metavar="NAMES",
    show_default="none,torch,thinned and for a perceptron batchwise",
    help="What to compare, with commas: kinds of dropout, named below. NAME:P has a rate of its own; NAME+NAME and P+P "
    "are for one hidden layer each.",
)
@click.option(
    "--seeds", metavar="N|LIST", show_default="3", help="How many networks a method trains, or their seeds: 0,5,7."
)
@click.option(
    "--baseline", metavar="METHOD", show_default="torch, or the first", help="What the other methods are compared with."
)
@click.option("--target-error", metavar="ERROR", help="Report the time to this test error, as 0.03 for 3 %.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with the comparison in this folder."
)
@click.option("--name", show_default="made of the time", help="Name of this run.")
@click.option("--out", default="runs", type=click.Path(path_type=Path), help="Folder of all runs.")
@flags_of_settings(*LEFT_OUT)
def compare(
    *,
    settings: Path | None,
    methods: str | None,
    seeds: str | None,
    baseline: str | None,
    target_error: str | None,
    resume: Path | None,
    name: str | None,
    out: Path,
    **flags: Any,
) -> None:
    """Compare methods of dropout: test error, time, memory.

    One network is trained with each of them, side by side, with the same seeds. What is said of the methods is what the
    intervals of their differences allow, so give several seeds. The default takes about a minute. Ctrl-C ends it early
    and keeps what is done; whatever ends it, --resume goes on.
    """
    told = given(flags)
    named = {"methods": methods, "seeds": seeds, "baseline": baseline, "target_error": target_error}
    own = {setting: text for setting, text in named.items() if text is not None}
    if resume is not None and (settings is not None or name is not None or was_given("out") or told or own):
        raise click.UsageError(
            "--resume takes the settings that the comparison was started with; leave all others out."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError(
            "A comparison must run in one process, as its times would mean nothing; leave torchrun out."
        )
    from rich.console import Console

    from thinned.lab import compare, display
    from thinned.lab.comparison import request

    console = Console()
    asked = None if resume is not None else request(settings, told, own)
    with display.CompareProgress(console) as progress:
        if asked is None:
            summary = compare.resume(resume or "", display=progress)
        else:
            summary = compare.start(asked, out, name, display=progress)
    display.show(console, summary)
    click.echo(f"Report: {Path(summary.folder, 'report.html')}")
    if summary.interrupted:
        click.get_current_context().exit(INTERRUPTED)
