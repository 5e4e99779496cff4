"""The commands `thinned compare`, `thinned audit` and `thinned info`, and the group that all commands are in.

What a command needs, `thinned` itself first of all, is imported when it runs, so that `--help` does not wait for it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from thinned.data import Dataset

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended
MOST_SEEDS = 10_000
FAILED = 1  # an audit found something that fails, or another process of a job is gone
WRONG = 2  # what click exits with where an option is wrong


class _Failure(click.ClickException):
    exit_code = WRONG


class _Commands(click.Group):
    """A group whose commands end in one sentence where the user, or the user's data, is at fault."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for.

        Args:
            ctx: of click.

        Returns:
            What the command returns.

        Raises:
            click.ClickException: something that the user can put right.
        """
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.UsageError as error:
            raise _Failure(error.format_message()) from error
        except BrokenPipeError:
            raise  # whoever read the output is gone; click ends quietly
        except OSError as error:
            raise _Failure(f"{error}.") from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            from thinned._errors import ThinnedError

            if not isinstance(error, ThinnedError):
                raise
            raise _Failure(str(error)) from error


@click.group("thinned", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def thinned() -> None:
    """Dropout for PyTorch, and a laboratory that shows which kind helps on your data."""


EXAMPLES = """\b
Examples:
  thinned compare
  thinned compare --data mnist-folder --hidden 800,800 --batch-size 100
  thinned compare --data mnist --hidden 800,800 --epochs 10
  thinned compare --seeds 10 --baseline none --target-error 0.03
  thinned compare --data table.csv --standardise --target kind --drop id
  thinned compare --data artificial --examples 10000 --hidden 1000,1000,1000 --input-p 0.5
  thinned compare --methods torch,batchwise --groups 10 --units slice --optimizer adamw
  thinned compare --methods none,thinned:0.2,thinned:0.5,gaussian:0.5,dropconnect,concrete --seeds 5

\b
Graham et al. on MNIST, in 40 epochs:
  thinned compare --data mnist-folder --methods none,torch,batchwise --hidden 800,800 --epochs 40
    --batch-size 100 --optimizer nesterov --lr 0.025 --schedule exponential --threads 2
"""


@thinned.command(epilog=EXAMPLES)
@click.option(
    "--data",
    default="digits",
    metavar="NAME|PATH",
    help="digits, artificial, mnist or fashion-mnist; or a file or folder: CIFAR-10, LIBSVM, .npz, a table.",
)
@click.option(
    "--examples", type=int, show_default="100000", help="Examples to train on, of artificial data; a tenth to test on."
)
@click.option("--test", metavar="PATH", show_default="what the data have, or a part put aside", help="File to test on.")
@click.option("--task", metavar="NAME", show_default="by the targets", help="classification, or regression.")
@click.option("--target", metavar="COLUMN", show_default="the last", help="Name or number of a table's target.")
@click.option("--drop", metavar="COLUMNS", help="Names or numbers of a table's columns to leave out, with commas.")
@click.option("--standardise", is_flag=True, help="Give features mean 0 and deviation 1, as tables need it.")
@click.option(
    "--methods",
    default="none,torch,thinned,batchwise",
    metavar="NAMES",
    help="What to compare, with commas: also gaussian, dropconnect, concrete, variational and sparse_variational; "
    "NAME:P has a rate of its own.",
)
@click.option("--hidden", default="1024,1024", metavar="WIDTHS", help="Units of the hidden layers, with commas.")
@click.option("--p", default=0.5, help="Drop probability of hidden units, for methods without their own.")
@click.option("--input-p", default=0.2, help="Drop probability of input features.")
@click.option("--groups", default=1, help="Masks of a batch, of batchwise: more are slower and less noisy.")
@click.option(
    "--units", default="random", metavar="random|slice", help="What batchwise keeps: any units, or neighbours."
)
@click.option(
    "--seeds", default="3", metavar="N|LIST", help="How many networks a method trains, or their seeds: 0,5,7."
)
@click.option("--epochs", default=20, help="How often each network sees the training data.")
@click.option("--batch-size", default=50, help="Examples of one training step.")
@click.option("--optimizer", default="sgd", metavar="NAME", help="sgd, nesterov, adam, adamw, rmsprop or adagrad.")
@click.option(
    "--lr", type=float, show_default="0.03, and 0.001 for adam and adamw", help="Learning rate of the first epoch."
)
@click.option("--momentum", default=0.9, help="Momentum of SGD, first beta of Adam.")
@click.option("--weight-decay", default=0.0, help="Weight decay; decoupled for adamw alone.")
@click.option(
    "--schedule",
    default="linear",
    metavar="NAME",
    help="linear, constant, exponential, cosine or step.",
)
@click.option("--final-lr-share", default=0.135, help="What exponential ends at, as a share of --lr.")
@click.option(
    "--baseline", metavar="METHOD", show_default="torch, or the first", help="What the other methods are compared with."
)
@click.option(
    "--target-error", type=float, metavar="SHARE", help="Report the time to this test error, as 0.03 for 3 %."
)
@click.option("--threads", type=int, show_default="by the size of the network", help="Threads of torch.")
@click.option("--name", show_default="made of the time", help="Name of this run.")
@click.option("--out", default="runs", type=click.Path(path_type=Path), help="Folder of all runs.")
def compare(
    *,
    data: str,
    examples: int | None,
    test: str | None,
    task: str | None,
    target: str | None,
    drop: str | None,
    standardise: bool,
    methods: str,
    hidden: str,
    p: float,
    input_p: float,
    groups: int,
    units: str,
    seeds: str,
    baseline: str | None,
    target_error: float | None,
    threads: int | None,
    name: str | None,
    out: Path,
    **recipe: Any,  # the rest are fields of Recipe
) -> None:
    """Compare methods of dropout: test error, time, memory.

    One network is trained with each of them, side by side, with the same seeds. What is said of the methods is what the
    intervals of their differences allow, so give several seeds. The default takes about a minute. Ctrl-C ends it early
    and keeps what is done.
    """
    from rich.console import Console

    from thinned.data import preparation
    from thinned.lab import compare, display
    from thinned.lab.recipe import Recipe

    settings = compare.Settings(
        methods=tuple(part.strip() for part in methods.split(",")),
        hidden=_integers(hidden, "hidden"),
        p=p,
        input_p=input_p,
        seeds=_seeds(seeds),
        recipe=Recipe(**recipe),
        groups=groups,
        units=units,
        threads=threads,
        baseline=baseline,
        target_error=target_error,
    )
    dataset = load(data, examples=examples, test=test, task=task, target=target, drop=drop)
    dataset = dataset.dense()  # every network here takes rows of numbers
    if standardise:
        dataset = preparation.standardise(dataset)
    console = Console()
    with display.Progress(console, settings) as progress:
        summary = compare.run(settings, dataset, out, name, progress)
    display.show(console, summary, settings.recipe.epochs)
    click.echo(f"Report: {Path(summary.folder, 'report.html')}")
    if summary.interrupted:
        click.get_current_context().exit(INTERRUPTED)


@thinned.command()
@click.argument("target")
@click.option("--p", default=0.5, help="Drop probability.")
@click.option(
    "--shape", metavar="SIZES", show_default="64,512 or by the name", help="Shape of the inputs, with commas."
)
@click.option("--calls", default=200, help="How many calls the statistics are made of.")
@click.option("--seed", default=0, help="Seed of torch's generator.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="What the layer is made with; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def audit(
    *, target: str, p: float, shape: str | None, calls: int, seed: int, options: tuple[str, ...], as_json: bool
) -> None:
    """Measure a dropout of any library; exit with status 1 if something fails.

    TARGET is the dotted name of a layer's class or of a function.

    \b
    Examples:
      thinned audit torch.nn.Dropout --p 0.1
      thinned audit thinned.nn.Dropout2d --p 0.3 --json
      thinned audit torchvision.ops.drop_block2d --p 0.3 --option block_size=7 --shape 16,16,28,28
    """
    import thinned as package
    from thinned._audit.subject import load

    sizes = None if shape is None else _integers(shape, "shape")
    found = package.audit(load(target, p, options), p, shape=sizes, calls=calls, seed=seed)
    click.echo(found.json() if as_json else str(found))
    if not found.passed:
        click.get_current_context().exit(FAILED)


@thinned.command()
def info() -> None:
    """Print versions, the machine, and the code path of the kernels."""
    from thinned.lab import records

    found = records.environment()
    width = max(map(len, found))
    for key, value in found.items():
        click.echo(f"{key:<{width}}  {value}")


def load(name: str, **options: Any) -> "Dataset":
    """Load data by what options say, and tell of downloads.

    Args:
        name: of the data, or a path.
        **options: the settings of the same names, as texts; those that are None are left out.

    Returns:
        The data.
    """
    from thinned.lab.config import read

    given = {f"data.{option}": value for option, value in {"name": name, **options}.items()}
    return read(None, given).data.load(lambda text: click.echo(text, err=True))


def _integers(text: str, name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        from thinned._errors import RangeError

        raise RangeError(f"`{name}` must be integers with commas between them, but got {name}={text!r}.") from None


def _seeds(text: str) -> tuple[int, ...]:
    from thinned import _check
    from thinned._errors import RangeError

    if "," in text:
        return _integers(text.rstrip(","), "seeds")  # "7," is the one seed 7
    (count,) = _integers(text, "seeds")
    if count > MOST_SEEDS:
        raise RangeError(f"`seeds` must be at most {MOST_SEEDS}, but got seeds={count}.")
    return tuple(range(_check.positive(count, "seeds")))
