"""The commands `thinned audit` and `thinned info`, and the group that all commands are in.

What a command needs, `thinned` itself first of all, is imported when it runs, so that `--help` does not wait for it.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended
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
        interrupts: list[int] = []
        try:
            with _noted(interrupts):
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
        except Exception as error:
            if interrupts:  # within an import, numpy's or torch's, an interrupt becomes another error
                ctx.exit(INTERRUPTED)
            from thinned._errors import ThinnedError

            if not isinstance(error, ThinnedError):
                raise
            raise _Failure(str(error)) from error


@contextmanager
def _noted(interrupts: list[int]) -> Iterator[None]:
    """Note each Ctrl-C, which raises KeyboardInterrupt as always; only the main thread gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@click.group("thinned", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def thinned() -> None:
    """Dropout for PyTorch, and a laboratory that shows which kind helps on your data."""


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


def _integers(text: str, name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        from thinned._errors import RangeError

        raise RangeError(f"`{name}` must be integers with commas between them, but got {name}={text!r}.") from None
