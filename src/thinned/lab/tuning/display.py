"""What a search shows in a terminal or in a log."""

from rich import progress
from rich.console import Console
from rich.markup import escape

from thinned.lab.config import Config
from thinned.lab.examples import Parts
from thinned.lab.records import Record
from thinned.lab.terminal import LINES, Bars, table
from thinned.lab.tuning.findings import ranked, short, words
from thinned.lab.tuning.search import Found
from thinned.lab.tuning.supervisor import Standing

SHOWN = 10  # trials of the table
HEADINGS = ("trial", "error, %", "loss", "best epoch", "seconds", "settings")


class TuneProgress(Bars):
    """Shows how far a search is: a bar in a terminal, a few lines elsewhere.

    Args:
        console: where.

    Examples:
        >>> with TuneProgress(Console(force_terminal=False)) as show:
        ...     show.standing(Standing(2, complete=1, pruned=0, running=1, best=0.125, settings={"dropout.p": 0.5}))
        1 of 2 trials done, 0 pruned, 1 running; least validation error 12.50 %: p=0.5
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            console,
            progress.TextColumn("{task.completed} of {task.total} trials"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[told]}"),
            progress.TimeElapsedColumn(),
        )
        self._said, self._epochs = 0, 1
        self._task = self._bars.add_task("", total=None, told="starting workers")

    def standing(self, now: Standing) -> None:
        """Show how far a study is.

        Args:
            now: that.
        """
        told = f"{now.pruned} pruned, {now.running} running"
        if now.best is not None:
            told += f"; least validation error {100 * now.best:.2f} %: {words(now.settings)}"
        self._bars.update(self._task, completed=now.done, total=now.places, told=escape(told), refresh=True)
        tenth = LINES * now.done // now.places
        if not self._console.is_terminal and tenth > self._said:
            self._said = tenth
            self.say(f"{now.done} of {now.places} trials done, {told}")

    def begin(self, config: Config, parts: Parts, epoch: int) -> None:  # noqa: ARG002
        """Show that the best settings train.

        Args:
            config: theirs.
            parts: of the data.
            epoch: how many are done.
        """
        self._epochs = config.training.epochs
        self._train(epoch)

    def step(self, step: int, steps: int) -> None:
        """Show nothing: a line for each epoch is enough."""

    def epoch(self, record: Record) -> None:
        """Show that an epoch of the best settings is done.

        Args:
            record: what came out.
        """
        self._train(record.epoch)

    def _train(self, epoch: int) -> None:
        self._bars.update(self._task, told=f"training the best again: epoch {epoch} of {self._epochs}", refresh=True)


def show(console: Console, found: Found) -> None:
    """Print the best trials, what mattered, and how the best did on the test part.

    Args:
        console: where.
        found: by a search.
    """
    complete = ranked([*found.rows])
    rows = [
        [
            str(row.trial),
            "" if row.validation_error is None else f"{100 * row.validation_error:.2f}",
            "" if row.validation_loss is None else f"{row.validation_loss:.4g}",
            f"{row.best_epoch} of {row.epochs}",
            f"{row.seconds:.1f}",
            row.words(),
        ]
        for row in complete[:SHOWN]
    ]
    title = f"The best of {len(complete)} trials by validation error; {found.pruned} were pruned"
    console.print(table(HEADINGS, rows, title=title, text="settings"))

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if found.importance:
        shares = ", ".join(f"{short(name)} {100 * share:.0f} %" for name, share in found.importance.items())
        say(f"What mattered (fANOVA): {shares}")
    notes = [row.note for row in found.rows if row.note]
    if notes:
        say(f"Given up for another reason than a worse error: {len(notes)}, such as: {notes[0]}")
    for text in found.failed:
        say(f"{text} Run the command again to try it again.")
    say(
        f"Test error of the best, trial {found.best.trial}, trained again: {100 * found.test.test_error:.2f} %. It was "
        "chosen by its validation error, so the test error is the one to quote."
    )
