"""What a comparison shows in a terminal, or in a log."""

from types import TracebackType

from rich import progress
from rich.console import Console
from rich.table import Table

from thinned.lab import report
from thinned.lab.compare import Settings
from thinned.lab.records import Record
from thinned.lab.summary import Summary

LINES = 10  # of a log, at most


class Progress:
    """Shows how far a comparison is: bars in a terminal, a few lines elsewhere.

    Args:
        console: where.
        settings: what is compared.

    Examples:
        >>> from thinned.lab.recipe import Recipe
        >>> settings = Settings(methods=("none",), seeds=(7,), recipe=Recipe(epochs=2))
        >>> with Progress(Console(force_terminal=False), settings) as show:
        ...     show(Record("none", seed=7, epoch=1, train_loss=0.5, test_error=0.125, seconds=1.5))
        seed 7 (1 of 1), epoch 1 of 2: test error none 12.50 %
    """

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console, self._settings = console, settings
        self._rounds = len(settings.seeds) * settings.recipe.epochs
        self._round = 0
        self._errors: dict[str, str] = {}
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("seed {task.fields[seed]}, epoch {task.fields[epoch]}: {task.fields[error]}"),
            progress.TimeRemainingColumn(),
            console=console,
            auto_refresh=False,  # a thread that draws would take time from the training that is timed
            disable=not console.is_terminal,
        )
        self._tasks = {
            method: self._bars.add_task(method, total=self._rounds, seed="-", epoch="-", error="-")
            for method in settings.methods
        }

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, record: Record) -> None:
        """Show that an epoch is done.

        Args:
            record: what came out.
        """
        error = f"{100 * record.test_error:.2f} %"
        self._bars.update(
            self._tasks[record.method],
            advance=1,
            seed=record.seed,
            epoch=record.epoch,
            error=f"test error {error}",
            refresh=True,
        )
        self._errors[record.method] = error
        if len(self._errors) == len(self._settings.methods):  # a round is complete
            self._log(record)
            self._errors.clear()

    def _log(self, record: Record) -> None:
        self._round += 1
        tenth, before = (LINES * done // self._rounds for done in (self._round, self._round - 1))
        if not self._console.is_terminal and tenth > before:
            seeds, epochs = self._settings.seeds, self._settings.recipe.epochs
            errors = ", ".join(f"{method} {self._errors[method]}" for method in self._settings.methods)
            where = f"seed {record.seed} ({seeds.index(record.seed) + 1} of {len(seeds)})"
            self._console.print(
                f"{where}, epoch {record.epoch} of {epochs}: test error {errors}", highlight=False, soft_wrap=True
            )


def show(console: Console, summary: Summary, epochs: int) -> None:
    """Print the table of results and what its numbers are.

    Args:
        console: where.
        summary: the results.
        epochs: how many there should have been.
    """
    plus_minus = "±" if console.encoding.startswith("utf") else "+/-"
    table = Table()
    for heading in report.headings(summary):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in summary.rows:
        table.add_row(*report.cells(row, plus_minus))
    console.print(table)
    for note in report.notes(summary, epochs):
        console.print(note, highlight=False, markup=False)
