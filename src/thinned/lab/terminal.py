"""What everything shown in a terminal is made of: bars, tables and lines."""

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from rich import box, progress
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

Shown = TypeVar("Shown", bound="Bars")
LINES = 10  # of a log, at most, where there are no bars
LONGEST = 24  # letters of what a row is about, on one line: the numbers beside it need the rest


class Bars:
    """Bars in a terminal, none elsewhere; a context manager.

    Args:
        console: where.
        before: text before the bar, which is always shown whole: see `rich.progress.TextColumn`.
        behind: text behind the bar, which is shortened where a terminal is narrow.
        columns: more of a line, before the time that is left.

    Examples:
        >>> with Bars(Console(force_terminal=False), "{task.description}", "") as bars:
        ...     bars.say("half of it is done")
        half of it is done
    """

    def __init__(self, console: Console, before: str, behind: str, *columns: progress.ProgressColumn) -> None:
        self._console = console
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what all other columns leave
        self._bars = progress.Progress(
            progress.TextColumn(before),
            progress.BarColumn(bar_width=16),
            progress.TextColumn(behind, table_column=rest),
            *columns,
            progress.TimeRemainingColumn(),
            console=console,
            expand=True,
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
        say(self._console, text)


def say(console: Console, text: str) -> None:
    """Print a line: wrapped at its blanks in a terminal, whole elsewhere.

    Args:
        console: where.
        text: the line.

    Examples:
        >>> say(Console(force_terminal=True, color_system=None, width=10), "half of it is done")
        half of it
        is done
    """
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None, text: str = "") -> Table:
    """Return a table, whose first column is never cut, as it says what a row is about; a very long name has two lines.

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
    first = max(map(cell_len, [headings[0], *(row[0] for row in rows)]))
    for place, heading in enumerate(headings):
        made.add_column(
            escape(heading),
            justify="left" if heading == (text or headings[0]) else "right",
            overflow="fold",
            no_wrap=place == 0 and first <= LONGEST,
            min_width=None if place else min(first, LONGEST),
        )
    for row in rows:
        made.add_row(*map(escape, row))
    return made
