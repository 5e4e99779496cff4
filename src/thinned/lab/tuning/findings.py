"""What a study found: one record for each trial, the best settings, and how much each setting matters."""

import json
import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from thinned.lab.loop import Outcome
from thinned.lab.tables import error_text
from thinned.lab.tuning.space import Space
from thinned.lab.tuning.study import ended, place_of

FEWEST = 4  # trials that can say which setting matters
TREES_SEED = 0
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
        best: the best trial by validation error.
        test: what its network, trained again, did on the test part, which no trial has seen.
        importance: as `importance` returns it.
        rows: all trials, in order; they are not in the summary.
        numbers: whether numbers are predicted, and errors are the root of the mean squared error.
    """

    folder: str
    study: str
    places: int
    complete: int
    pruned: int
    failed: tuple[str, ...]
    best: Tried
    test: Outcome
    importance: dict[str, float]
    rows: tuple[Tried, ...]
    numbers: bool = False


def tried(study: Study, space: Space) -> list[Tried]:
    """Return all trials that came to an end.

    Args:
        study: any.
        space: that it searches.

    Returns:
        One for each place.
    """
    return [_tried(trial, space) for trial in ended(study)]


def best(rows: list[Tried]) -> Tried | None:
    """Return the trial with the least validation error, and of several such the one with the least validation loss.

    Args:
        rows: any trials.

    Returns:
        One that was trained to the end; None if there is none.
    """
    return next(iter(ranked(rows)), None)


def ranked(rows: list[Tried]) -> list[Tried]:
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
        "" if row.validation_error is None else error_text(row.validation_error, numbers),
        "" if row.validation_loss is None else f"{row.validation_loss:.4g}",
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
    best, error = found.best, error_text(found.test.test_error, found.numbers)
    return (
        f"The best is trial {best.trial}: {best.words()}. Trained again, its test error is {error}. That is the one to "
        "quote, as the trial was chosen by its validation error."
    )


def problems(found: Found) -> list[str]:
    """Say what went wrong.

    Args:
        found: by a search.

    Returns:
        Sentences; none where all went well.
    """
    notes = [row.note for row in found.rows if row.note]
    told = [f"Given up for another reason than a worse error: {len(notes)}, such as: {notes[0]}"] if notes else []
    return told + [f"{text} Run the command again to try it again." for text in found.failed]


def importance(study: Study, space: Space) -> dict[str, float]:
    """Return how much of the differences between trials each setting accounts for.

    Args:
        study: any.
        space: that it searches.

    Returns:
        Shares that add up to 1, the greatest first; nothing where too few trials were trained to the end, or all of
        them came out alike.

    Source: Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014.
    """
    errors = {trial.values[0] for trial in ended(study) if trial.state == TrialState.COMPLETE}
    complete = [trial for trial in ended(study) if trial.state == TrialState.COMPLETE]
    if len(complete) < FEWEST or len(errors) < 2:
        return {}
    if len(space) == 1:
        return dict.fromkeys(space, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=TREES_SEED)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


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


def _tried(trial: FrozenTrial, space: Space) -> Tried:
    found = trial.user_attrs.get("found", {})
    curve = [_finite(value) for _, value in sorted(trial.intermediate_values.items())]
    complete = trial.state == TrialState.COMPLETE
    return Tried(
        trial=place_of(trial) or 0,
        state="complete" if complete else "pruned",
        settings={name: domain.value(trial.params[name]) for name, domain in space.items() if name in trial.params},
        validation_error=trial.values[0] if complete else curve[-1] if curve else None,
        validation_loss=_finite(found.get("validation_loss")),
        best_epoch=found.get("best_epoch", 0),
        epochs=found.get("epochs", 0),
        seconds=found.get("seconds", 0.0),
        note=trial.user_attrs.get("note"),
        curve=curve,
        worker=trial.user_attrs.get("worker", "").rpartition(" ")[0],
        began=trial.datetime_start.isoformat() if trial.datetime_start else None,
        ended=trial.datetime_complete.isoformat() if trial.datetime_complete else None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
