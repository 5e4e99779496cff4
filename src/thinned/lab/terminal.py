"""What everything shown in a terminal is made of: bars, tables and lines."""

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from rich import box, progress
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Shown = TypeVar("Shown", bound="Bars")
LINES = 10  # of a log, at most, where there are no bars


class Bars:
    """Bars in a terminal, none elsewhere; a context manager.

    Args:
        console: where.
        columns: what a line has: see `rich.progress`.

    Examples:
        >>> with Bars(Console(force_terminal=False), progress.BarColumn()) as bars:
        ...     bars.say("half of it is done")
        half of it is done
    """

    def __init__(self, console: Console, *columns: progress.ProgressColumn) -> None:
        self._console = console
        self._bars = progress.Progress(
            *columns,
            progress.TimeRemainingColumn(),
            console=console,
            auto_refresh=False,  # a thread that draws would take time from the training that is timed
            disable=not console.is_terminal,
        )

    def __enter__(self: Shown) -> Shown:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Show a line.

        Args:
            text: the line.
        """
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None, text: str = "") -> Table:
    """Return a table.

    Args:
        headings: of the columns.
        rows: their cells.
        title: of the table.
        text: the heading of the column of words, which begins at the left; all others have numbers. By default the
            first.

    Returns:
        What a console prints.

    Examples:
        >>> made = table(["method", "error, %"], [["none", "1.60"], ["batchwise", "1.10"]])
        >>> [column.justify for column in made.columns], made.row_count
        (['left', 'right'], 2)
    """
    made = Table(title=title, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # seven columns in 80 letters
    for heading in headings:
        made.add_column(escape(heading), justify="left" if heading == (text or headings[0]) else "right")
    for row in rows:
        made.add_row(*map(escape, row))
    return made
