"""What a comparison, or a run of training, shows in a terminal or in a log."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import progress
from rich.console import Console

from thinned.lab import tables
from thinned.lab.comparison import Settings
from thinned.lab.config import Config
from thinned.lab.loop import Outcome
from thinned.lab.records import Record
from thinned.lab.sources import Parts
from thinned.lab.summary import Summary
from thinned.lab.terminal import LINES, Bars, say, table


class CompareProgress(Bars):
    """Shows how far a comparison is: bars in a terminal, a few lines elsewhere.

    Args:
        console: where.

    Examples:
        >>> from thinned.lab.sources import load, parts
        >>> settings = Settings.of({"training": {"epochs": 2}, "compare": {"methods": ["none"], "seeds": [7]}})
        >>> with CompareProgress(Console(force_terminal=False)) as show:
        ...     show.begin(settings, parts(load("digits"), 0.0), rounds=0)
        ...     show.epoch(Record("none", seed=7, epoch=1, train_loss=0.5, test_error=0.125, seconds=1.5))
        1,438 examples of digits to train on, 359 to test
        seed 7 (1 of 1), epoch 1 of 2: test error none 12.50 %
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            console,
            "{task.description}",
            "seed {task.fields[seed]}, epoch {task.fields[epoch]}: {task.fields[error]}",
        )
        self._settings = Settings()
        self._round, self._numbers = 0, False
        self._errors: dict[str, str] = {}
        self._tasks: dict[str, progress.TaskID] = {}

    def begin(self, settings: Settings, parts: Parts, rounds: int) -> None:
        """Show what is compared.

        Args:
            settings: of the comparison.
            parts: of the data.
            rounds: how many epochs of each method are done.
        """
        self._settings, self._round, self._numbers = settings, rounds, parts.numbers
        self.say(f"{len(parts.train):,} examples of {parts.name} to train on, {len(parts.test):,} to test")
        if rounds:
            self.say(f"goes on after {rounds} of {settings.rounds} epochs of each method")
        self._tasks = {
            method: self._bars.add_task(
                method, total=settings.rounds, completed=rounds, seed="-", epoch="-", error="warming up"
            )
            for method in settings.methods
        }

    def epoch(self, record: Record) -> None:
        """Show that an epoch is done.

        Args:
            record: what came out.
        """
        error = tables.error_text(record.test_error, self._numbers)
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
        tenth, before = (LINES * done // self._settings.rounds for done in (self._round, self._round - 1))
        if not self._console.is_terminal and tenth > before:
            seeds, epochs = self._settings.each_seed, self._settings.config.training.epochs
            errors = ", ".join(f"{method} {self._errors[method]}" for method in self._settings.methods)
            where = f"seed {record.seed} ({seeds.index(record.seed) + 1} of {len(seeds)})"
            self.say(f"{where}, epoch {record.epoch} of {epochs}: test error {errors}")


class TrainProgress(Bars):
    """Shows how far a run of training is: a bar in a terminal, a few lines elsewhere.

    Args:
        console: where.

    Examples:
        >>> from thinned.lab.sources import load, parts
        >>> record = Record("standard", 0, 1, 0.5, 0.0, 1.5, validation_loss=0.25, validation_error=0.125, gap=0.05)
        >>> with TrainProgress(Console(force_terminal=False)) as show:
        ...     show.begin(Config.of({"training": {"epochs": 2}}), parts(load("digits"), 0.5), epoch=0)
        ...     show.epoch(record)
        719 examples of digits to train on, 719 to validate, 359 to test
        epoch 1 of 2: training loss 0.5, validation loss 0.25, error 12.50 %, gap 0.05
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "epoch {task.fields[epoch]}", "{task.fields[told]}")
        self._epochs, self._done, self._drawn = 1, 0, 0.0
        self._numbers = False  # whether numbers are predicted, and not classes
        self._task = self._bars.add_task("", total=None, epoch="-", told="")

    def begin(self, config: Config, parts: Parts, epoch: int) -> None:
        """Show what is trained on.

        Args:
            config: of the run.
            parts: of the data.
            epoch: how many are done.
        """
        self._epochs, self._done = config.training.epochs, epoch
        self._numbers = parts.numbers
        self._bars.update(self._task, total=self._epochs, completed=epoch, epoch=f"{epoch + 1} of {self._epochs}")
        validated = f", {len(parts.validation):,} to validate" if len(parts.validation) else ""
        self.say(f"{len(parts.train):,} examples of {parts.name} to train on{validated}, {len(parts.test):,} to test")
        if epoch:
            self.say(f"goes on after epoch {epoch} of {self._epochs}")

    def step(self, step: int, steps: int) -> None:
        """Show that a step is done.

        Args:
            step: how many of the epoch are done.
            steps: of the epoch.
        """
        now = time.monotonic()
        if now - self._drawn > 0.2:
            self._drawn = now
            self._bars.update(self._task, completed=self._done + step / steps, refresh=True)

    def epoch(self, record: Record) -> None:
        """Show that an epoch is done.

        Args:
            record: what came out.
        """
        told = f"training loss {record.train_loss:.4g}"
        if record.validation_loss is not None and record.validation_error is not None and record.gap is not None:
            error = tables.error_text(record.validation_error, self._numbers)
            told += f", validation loss {record.validation_loss:.4g}, error {error}, gap {record.gap:.2g}"
        if record.skipped_steps:
            told += f", {record.skipped_steps} step{'s' if record.skipped_steps > 1 else ''} skipped"
        self._done = record.epoch
        following = min(record.epoch + 1, self._epochs)
        self._bars.update(
            self._task, completed=record.epoch, epoch=f"{following} of {self._epochs}", told=told, refresh=True
        )
        tenth, before = (LINES * done // self._epochs for done in (record.epoch, record.epoch - 1))
        if not self._console.is_terminal and tenth > before:
            self.say(f"epoch {record.epoch} of {self._epochs}: {told}")


def outcome(console: Console, found: Outcome, numbers: bool = False, standardised: bool = False) -> None:
    """Print what a run of training found.

    Args:
        console: where.
        found: that.
        numbers: whether numbers are predicted, and the error is the root of the mean squared error.
        standardised: whether these numbers were standardised.
    """
    early = ", stopped early" if found.stopped_early else ""
    epochs = tables.counted(found.epochs, "epoch")
    say(console, f"{epochs}{early}, {found.seconds:.1f} s of training; best: epoch {found.best_epoch}")
    measured = {
        "validation": (found.validation_loss, found.validation_error),
        "test": (found.test_loss, found.test_error),
    }
    rows = [
        [part, f"{loss:.4g}", tables.error_text(error, numbers)]
        for part, (loss, error) in measured.items()
        if loss is not None and error is not None
    ]
    console.print(table(["part", "loss", "error"], rows))
    if numbers:
        say(console, tables.what_errors_are(numbers, standardised))


@contextmanager
def passes(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how many passes of a prediction are done: a bar in a terminal, nothing elsewhere.

    Args:
        console: where.

    Yields:
        What is to be called with the passes done and the passes in all.
    """
    with progress.Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("passes", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def prediction(console: Console, about: Mapping[str, Any]) -> None:
    """Print what a network predicts, how sure it is, and how well, as far as there are targets.

    Args:
        console: where.
        about: as `thinned.lab.predict.Predicted` has it.
    """
    data = about["data"]
    say(console, f"{data['examples']:,} examples of {data['name']} ({data['part']}), {about['passes']} passes")
    if not about["drops"]:
        say(console, "All passes are the same: this network drops nothing.")
    console.print(table(["measure", "value"], tables.measures(about)))
    if "predicted_classes" in about:
        console.print(table(tables.PREDICTED, tables.predicted(about)))
    if "reliability" not in about:
        spread = " and ".join(heading for name, heading in tables.QUANTILES.items() if name in about)
        say(console, f"{spread.capitalize()} that a share of the examples does not exceed:")
        console.print(table(*tables.quantiles(about)))
        return
    say(console, f"Reliability, in {len(about['reliability'])} bins of equal width:")
    console.print(table(tables.RELIABILITY, tables.reliability(about)))
    say(console, "Accuracy when the examples with the largest entropy are rejected:")
    console.print(table(tables.REJECTION, tables.rejection(about)))


def show(console: Console, summary: Summary) -> None:
    """Print the tables, what they allow to say, and what their numbers are.

    Args:
        console: where.
        summary: the results.
    """
    plus_minus = "±" if console.encoding.startswith("utf") else "+/-"
    for headings, rows in (
        (tables.headings(summary), [tables.cells(summary, row, plus_minus) for row in summary.rows]),
        (tables.cost_headings(summary), [tables.cost_cells(row) for row in summary.rows]),
    ):
        console.print(table(headings, rows))
    for text in (*tables.warnings(summary), *summary.verdicts, *tables.notes(summary)):
        say(console, text)
