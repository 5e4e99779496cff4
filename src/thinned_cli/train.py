"""The command `thinned train`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from thinned_cli.commands import FAILED, INTERRUPTED, WRONG, thinned

EXAMPLES = """\b
Examples:
  thinned train
  thinned train settings.toml --lr 0.01 --seed 1
  thinned train --data mnist-folder --hidden 800,800 --dropout gaussian --p 0.5 --input-p 0.2
  thinned train --data cifar-folder --model convnet --dropout spatial,block,standard --p 0.1,0.1,0.5 --flip --shift 4
  thinned train --data table.csv --standardise --patience 10 --name first
  thinned train --resume runs/train-20260101-120000
  torchrun --nproc-per-node 4 -m thinned train --data mnist-folder --name four
"""

# All names in thinned.lab.dropouts.KINDS, which is not imported for a help that is only printed.
KINDS = """\b
Kinds of dropout, with --dropout and --input-dropout:
  anywhere             none, torch, standard, alpha, gaussian, gaussian_noise, replacement, variational
  all layers of mlp    batchwise
  instead of a layer   dropconnect, sparse_variational, concrete
  images               spatial, feature_alpha, block, cutout, patch
  sequences            step, locked, step_block
  text                 word, embedding, weight_drop, zoneout
  sparse features      sparse_replacement, sparse_item_replacement

"""

# Flag, setting, help. A list takes commas; what a setting's values mean is in docs/laboratory.md.
FLAGS = (
    (
        "--data",
        "data.name",
        "digits, artificial, mnist, fashion-mnist, or the path of a file or folder; its format is recognised. [digits]",
    ),
    ("--examples", "data.examples", "Examples to train on, of artificial data."),
    ("--test", "data.test", "Path of the file to test on. [what the data have, or a part put aside]"),
    ("--task", "data.task", "classification or regression. [by the targets]"),
    ("--target", "data.target", "Column of a table to predict: its name or number. [the last]"),
    ("--drop", "data.drop", "Columns of a table to leave out: names or numbers."),
    ("--header", "data.header", "Whether a table's first line has names: true or false. [by looking]"),
    ("--delimiter", "data.delimiter", "What is between a table's columns; a blank for any blanks. [by looking]"),
    ("--validation", "data.validation", "Share of the training part put aside, to find the best epoch by. [0.1]"),
    ("--standardise", "data.standardise", "Give features, and numbers to be predicted, mean 0 and deviation 1."),
    ("--flip", "data.flip", "Mirror half of the training images, others in each epoch."),
    ("--shift", "data.shift", "Move training images by up to so many pixels. [0]"),
    (
        "--crop",
        "data.crop",
        "See square windows of images: any in training, else the middle. [0: whole images]",
    ),
    ("--steps", "data.steps", "Words of one example of a text. [64]"),
    ("--model", "model.kind", "mlp, convnet, vit, sparse, transformer or lstm. [mlp]"),
    ("--hidden", "model.hidden", "Widths of the hidden layers. [1024,1024 for mlp]"),
    ("--channels", "model.channels", "Of a convnet's convolutions. [32,64]"),
    ("--width", "model.width", "Features of a word, and of transformers. [64]"),
    ("--layers", "model.layers", "Blocks of transformers. [2]"),
    ("--heads", "model.heads", "Of the attention of transformers. [4]"),
    ("--patch", "model.patch", "Side of a patch of a vit, in pixels. [4]"),
    ("--activation", "model.activation", "relu, leaky_relu, elu, selu, gelu, silu, tanh, sigmoid or linear. [relu]"),
    ("--init", "model.initialisation", "torch, glorot, he, orthogonal, uniform, normal or zero. [torch]"),
    ("--init-scale", "model.init_scale", "Half the width of uniform, standard deviation of normal."),
    ("--norm", "model.norm", "batch or none. [none]"),
    ("--dropout", "dropout.kind", "Kind of hidden layers, named below: one for all, or one for each. [standard]"),
    ("--p", "dropout.p", "Its rate, one for all or one for each. [0.5]"),
    ("--input-dropout", "dropout.input_kind", "Kind of the input, named below. [standard]"),
    ("--input-p", "dropout.input_p", "Its rate. [0]"),
    ("--dropout-options", "dropout.options", "Further arguments of hidden dropout, as block_size=5."),
    ("--input-options", "dropout.input_options", "Further arguments of input dropout."),
    ("--attention-p", "dropout.attention_p", "Rate of attention weights. [0]"),
    ("--path-p", "dropout.path_p", "Rate of branches in a transformer's last block. [0]"),
    ("--recurrent-p", "dropout.recurrent_p", "Rate of an LSTM's recurrent state. [0]"),
    ("--groups", "dropout.groups", "Masks of a batch, of batchwise. [1]"),
    ("--units", "dropout.units", "What batchwise keeps: random units or a slice. [random]"),
    ("--epochs", "training.epochs", "How often the training data are gone through. [20]"),
    ("--batch-size", "training.batch_size", "Examples of one step, of all processes together. [50]"),
    ("--optimizer", "training.optimizer", "sgd, nesterov, adam, adamw, rmsprop or adagrad. [sgd]"),
    ("--lr", "training.lr", "Learning rate. [by the optimizer]"),
    ("--momentum", "training.momentum", "Momentum, or Adam's first beta. [0.9]"),
    ("--weight-decay", "training.weight_decay", "Decoupled for adamw alone. [0]"),
    ("--schedule", "training.schedule", "linear, constant, exponential, cosine or step. [linear]"),
    ("--final-lr-share", "training.final_lr_share", "What exponential ends at, as a share of --lr. [0.135]"),
    ("--warmup-epochs", "training.warmup_epochs", "Epochs in which the learning rate rises. [0]"),
    ("--clip-norm", "training.clip_norm", "Longest gradient; 0 for any. [0]"),
    ("--l1", "penalties.l1", "Factor of absolute weights in the loss. [0]"),
    ("--l2", "penalties.l2", "Factor of squared weights in the loss. [0]"),
    ("--max-norm", "penalties.max_norm", "Longest incoming weights of a unit; 0 for any. [0]"),
    ("--prune", "penalties.prune", "Share of weights that are zero in the end. [0]"),
    ("--kl-warmup", "penalties.kl_warmup", "Share of the training in which the cost of learned noise comes in. [0.25]"),
    ("--patience", "penalties.patience", "Epochs without a better validation to stop after; 0 for never. [0]"),
    ("--watch", "penalties.watch", "What better means: validation loss or error. [loss]"),
    ("--seed", "run.seed", "Of weights, order and dropout. [0]"),
    ("--device", "run.device", "auto, cpu or cuda. [auto]"),
    ("--threads", "run.threads", "Of torch. [by the size of the network]"),
    ("--precision", "run.precision", "float32, or bfloat16 or float16 for mixed precision. [float32]"),
    ("--monitors", "run.monitors", "Look at units and weights once in so many epochs; 0 for never. [1]"),
    ("--checkpoint-steps", "run.checkpoint_steps", "Checkpoints within an epoch, once in so many steps. [0: none]"),
    ("--keep", "run.keep", "How many checkpoints are kept, besides the best. [2]"),
    ("--tensorboard", "run.tensorboard", "Write scalars for TensorBoard."),
)

HEADINGS = {
    "data": "Data",
    "model": "Network",
    "dropout": "Dropout",
    "training": "Training",
    "penalties": "Penalties and early stopping",
    "run": "Run",
}
SWITCHES = ("--standardise", "--flip", "--tensorboard")


class Sectioned(click.Command):
    """A command whose help has the flags of settings under headings, by the sections that they have in a file."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the part of the help that is about options.

        Args:
            ctx: of click.
            formatter: is written to.
        """
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            told = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            section, double, _ = (option.name or "").partition("__")
            if told is not None:
                heading = f"{HEADINGS[section]} ([{section}] in a file)" if double else "Options"
                groups.setdefault(heading, []).append(told)
        for heading, options in groups.items():
            with formatter.section(heading):
                formatter.write_dl(options)


def flags_of_settings(*left_out: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what gives a command a flag for each setting.

    Args:
        *left_out: settings without a flag.

    Returns:
        A decorator. The command takes the settings by their names, with two underscores for the dot; see `given`.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for flag, setting, text in reversed(FLAGS):
            if setting not in left_out:
                kind = {"is_flag": True, "default": None} if flag in SWITCHES else {"metavar": "VALUE"}
                command = click.option(flag, setting.replace(".", "__"), help=text, show_default=False, **kind)(command)
        return command

    return decorate


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags of settings that were given.

    Args:
        flags: all of them, by the names that a command takes them by.

    Returns:
        Texts by the dotted names of settings.

    Examples:
        >>> given({"training__lr": "0.1", "run__seed": None})
        {'training.lr': '0.1'}
    """
    return {setting.replace("__", "."): value for setting, value in flags.items() if value is not None}


def was_given(name: str) -> bool:
    """Return whether an option of the command at hand was given, be it by its default value.

    Args:
        name: of the option.

    Returns:
        False where the value is the default.
    """
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


@thinned.command(cls=Sectioned, epilog=KINDS + EXAMPLES)
@click.argument("settings", required=False, type=click.Path(path_type=Path), metavar="[SETTINGS.TOML]")
@click.option("--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with the run in this folder.")
@click.option("--name", show_default="made of the time", help="Name of this run.")
@click.option("--out", default="runs", type=click.Path(path_type=Path), help="Folder of all runs.")
@click.option("--quiet", is_flag=True, help="Show nothing but what was found, as one JSON object.")
@flags_of_settings()
def train(
    *, settings: Path | None, resume: Path | None, name: str | None, out: Path, quiet: bool, **flags: Any
) -> None:
    """Train one network: checkpoints, records, monitors.

    Settings come from a TOML file, if one is given, and from flags, which go first; each run leaves its own as
    config.toml. Ctrl-C ends a run with a checkpoint. Whatever ends it, --resume goes on, and the weights in the end are
    the same, bit for bit.
    """
    told = given(flags)
    if resume is not None and (settings is not None or name is not None or was_given("out") or told):
        raise click.UsageError("--resume takes the settings that the run was started with; leave all others out.")
    import json
    from dataclasses import asdict

    from rich.console import Console

    from thinned._errors import ThinnedError
    from thinned.lab import display, joined, reading, records, run
    from thinned.lab.config import read
    from thinned.lab.distributed import PeerError, job
    from thinned.lab.loop import InterruptedRunError

    first = os.environ.get("RANK", "0") == "0"
    console = Console(quiet=quiet or not first)
    try:
        config = None if resume is not None else read(settings, told)
        with job() as processes, display.TrainProgress(console) as progress:
            if config is None:
                found = run.resume(resume or "", job=processes, display=progress)
            else:
                found = run.start(config, out, name, job=processes, display=progress)
    except ThinnedError as error:
        status = INTERRUPTED if isinstance(error, InterruptedRunError) else WRONG
        if isinstance(error, PeerError):
            status = FAILED
        if first:
            click.echo(f"Error: {error}" if status != INTERRUPTED else str(error), err=True)
        click.get_current_context().exit(status)
    if not first:
        return
    page = Path(found.folder, "report.html")
    done = reading.read(found.folder)
    records.write_text(page, joined.joined([done]))
    if quiet:
        click.echo(json.dumps(asdict(found)))
    else:
        display.outcome(console, found, done.numbers, done.standardised)
        click.echo(f"Folder: {found.folder}\nReport: {page}")
