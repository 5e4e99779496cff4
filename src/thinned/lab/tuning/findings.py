"""What a study found, and how it is told: one record for each trial, and the best settings."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thinned.lab.loop import Outcome
from thinned.lab.tables import NONE, counted, error_text

SHOWN = 10  # trials of the table of the best
HEADINGS = ("trial", "validation error", "validation loss", "best epoch", "seconds", "settings")


@dataclass(frozen=True)
class Tried:
    """One trial that came to an end.

    Attributes:
        trial: its place in the study, counted from 0.
        state: ``"complete"`` or ``"pruned"``.
        settings: what was searched, by full names.
        validation_error: of the best epoch, or of the last before it was pruned; None if there was none.
        validation_loss: of the same epoch.
        best_epoch: which that is, counted from 1.
        epochs: how many were trained.
        seconds: of training.
        note: why it was given up, if not because others were better.
        curve: validation error after each epoch.
        worker: host and process that ran it.
        began: when, in the time of that host.
        ended: when.
    """

    trial: int
    state: str
    settings: dict[str, Any]
    validation_error: float | None
    validation_loss: float | None
    best_epoch: int
    epochs: int
    seconds: float
    note: str | None
    curve: list[float | None]
    worker: str
    began: str | None
    ended: str | None

    def line(self) -> str:
        """Return one line of JSON.

        Returns:
            All attributes.
        """
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n"

    def words(self) -> str:
        """Return the settings, as a person reads them.

        Returns:
            As ``lr=0.03, p=0.5``.
        """
        return words(self.settings)


@dataclass(frozen=True)
class Found:
    """What a search found, as ``summary.json`` has it.

    Attributes:
        folder: where settings, records and report are.
        study: its name.
        places: how many trials there were to be.
        complete: how many were trained to the end.
        pruned: how many were given up.
        failed: for each place that has no result, what went wrong.
        best: the best trial by validation error; None before one was trained to the end.
        test: what its network, trained again, did on the test part, which no trial has seen; None before that is done.
        importance: as `thinned.lab.tuning.results.importance` returns it.
        rows: all trials, in order; they are not in the summary.
        numbers: whether numbers are predicted, and errors are the root of the mean squared error.
    """

    folder: str
    study: str
    places: int
    complete: int
    pruned: int
    failed: tuple[str, ...]
    best: Tried | None
    test: Outcome | None
    importance: dict[str, float]
    rows: tuple[Tried, ...]
    numbers: bool = False


def best(rows: Sequence[Tried]) -> Tried | None:
    """Return the trial with the least validation error, and of several such the one with the least validation loss.

    Args:
        rows: any trials.

    Returns:
        One that was trained to the end; None if there is none.
    """
    return next(iter(ranked(rows)), None)


def ranked(rows: Sequence[Tried]) -> list[Tried]:
    """Return the trials that were trained to the end, the best first.

    Args:
        rows: any trials.

    Returns:
        Some of them.
    """
    complete = [row for row in rows if row.state == "complete"]
    return sorted(complete, key=lambda row: (_or_inf(row.validation_error), _or_inf(row.validation_loss), row.trial))


def cells(row: Tried, numbers: bool) -> list[str]:
    """Return one row of the table of the best.

    Args:
        row: the trial.
        numbers: as in `Found`.

    Returns:
        One text for each of `HEADINGS`.
    """
    return [
        str(row.trial),
        NONE if row.validation_error is None else error_text(row.validation_error, numbers),
        NONE if row.validation_loss is None else f"{row.validation_loss:.4g}",
        f"{row.best_epoch} of {row.epochs}",
        f"{row.seconds:.1f}",
        row.words(),
    ]


def verdict(found: Found) -> str:
    """Say what the best settings are, and how good.

    Args:
        found: by a search.

    Returns:
        Sentences.
    """
    best, test = found.best, found.test
    if best is None:
        return "No trial was trained to its end yet."
    if test is None:
        error = NONE if best.validation_error is None else error_text(best.validation_error, found.numbers)
        return f"The best so far is trial {best.trial}: {best.words()}. Its validation error is {error}."
    return (
        f"The best is trial {best.trial}: {best.words()}. Trained again, its test error is "
        f"{error_text(test.test_error, found.numbers)}. That is the one to quote, as the trial was chosen by its "
        "validation error."
    )


def problems(found: Found) -> list[str]:
    """Say what went wrong.

    Args:
        found: by a search.

    Returns:
        Sentences; none where all went well.
    """
    told, notes = [], [row.note for row in found.rows if row.note]
    if found.test is None:
        told.append(
            f"Not done: {len(found.rows)} of {counted(found.places, 'trial')} are written down, and none is tested. "
            f"thinned tune --study {found.study} goes on."
        )
    if notes:
        told.append(f"Given up for another reason than a worse error: {len(notes)}, such as: {notes[0]}")
    return told + [f"{text} Run the command again to try it again." for text in found.failed]


def enough(settings: int) -> int:
    """Return how many trials it takes, at the least, to say which setting mattered.

    Optuna's own minimum is two. With a few, the forest that the shares are read from has no two branches for each
    setting, and what it tells changes from one trial to the next.

    Args:
        settings: how many are searched.

    Returns:
        Four trials for each setting, and ten in all.

    Examples:
        >>> enough(2), enough(5)
        (10, 20)
    """
    return max(10, 4 * settings)


def unsure(found: Found) -> list[str]:
    """Say why nothing is said of what mattered.

    Args:
        found: by a search.

    Returns:
        A sentence, or none where there is nothing to be said of it.
    """
    settings = len(found.best.settings) if found.best else 1
    if found.importance or settings < 2 or found.complete >= enough(settings):
        return []
    trained = "1 trial was" if found.complete == 1 else f"{found.complete} trials were"
    return [
        f"Too few trials to say which setting mattered: {trained} trained to the end, and {enough(settings)} are "
        "needed."
    ]


def words(settings: dict[str, Any]) -> str:
    """Return settings, as a person reads them.

    Args:
        settings: by full names.

    Returns:
        As ``lr=0.03, dropout.kind=gaussian``: names without their section, unless another section has the same.

    Examples:
        >>> words({"training.lr": 0.0312345, "dropout.p.1": 0.5, "model.hidden": [32, 16]})
        'lr=0.03123, p.1=0.5, hidden=[32, 16]'
    """
    return ", ".join(f"{short(name)}={_value(value)}" for name, value in settings.items())


def short(name: str) -> str:
    """Return a setting's name without its section, where that is enough.

    Args:
        name: the full name.

    Returns:
        What a person reads.

    Examples:
        >>> short("training.lr"), short("dropout.kind")
        ('lr', 'dropout.kind')
    """
    section, _, rest = name.partition(".")
    return name if rest.partition(".")[0] == "kind" else rest or section


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value
