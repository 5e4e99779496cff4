"""What a search shows in a terminal or in a log."""

from rich import progress
from rich.console import Console
from rich.markup import escape

from thinned.lab.config import Config
from thinned.lab.records import Record
from thinned.lab.sources import Parts
from thinned.lab.tables import counted, error_text, what_errors_are
from thinned.lab.terminal import LINES, Bars, say, table
from thinned.lab.tuning import findings
from thinned.lab.tuning.findings import Found, ranked, short, words
from thinned.lab.tuning.supervisor import Standing


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
        super().__init__(console, "{task.fields[trials]}", "{task.fields[told]}", progress.TimeElapsedColumn())
        self._said, self._epochs = 0, 1
        self._task = self._bars.add_task("", total=None, trials="no trials yet", told="starting workers")

    def standing(self, now: Standing) -> None:
        """Show how far a study is.

        Args:
            now: that.
        """
        told = f"{now.pruned} pruned, {now.running} running"
        if now.best is not None:
            told += f"; least validation error {error_text(now.best, now.numbers)}: {words(now.settings)}"
        trials = f"{now.done} of {now.places} trials"
        self._bars.update(
            self._task, completed=now.done, total=now.places, trials=trials, told=escape(told), refresh=True
        )
        tenth = LINES * now.done // now.places
        if not self._console.is_terminal and tenth > self._said:
            self._said = tenth
            self.say(f"{trials} done, {told}")

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
    rows = [findings.cells(row, found.numbers) for row in complete[: findings.SHOWN]]
    were = "was" if found.pruned == 1 else "were"
    title = f"The best of {counted(len(complete), 'trial')} by validation error; {found.pruned} {were} pruned"
    console.print(table(findings.HEADINGS, rows, title=title, text="settings"))
    if found.importance:
        shares = ", ".join(f"{short(name)} {100 * share:.0f} %" for name, share in found.importance.items())
        say(console, f"What mattered (fANOVA): {shares}")
    unit = [what_errors_are(found.numbers)] if found.numbers else []
    for text in (*findings.unsure(found), *unit, *findings.problems(found), findings.verdict(found)):
        say(console, text)
