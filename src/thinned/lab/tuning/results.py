"""Trials of Optuna as records, and what mattered in them."""

import math
import warnings

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from thinned.lab.tuning.findings import Tried, enough
from thinned.lab.tuning.space import Space
from thinned.lab.tuning.study import ended, place_of

TREES_SEED = 0


def tried(study: Study, space: Space) -> list[Tried]:
    """Return all trials that came to an end.

    Args:
        study: any.
        space: that it searches.

    Returns:
        One for each place.
    """
    return [_tried(trial, space) for trial in ended(study)]


def importance(study: Study, space: Space) -> dict[str, float]:
    """Return how much of the differences between trials each setting accounts for.

    Args:
        study: any.
        space: that it searches.

    Returns:
        Shares that add up to 1, the greatest first; nothing where there is one setting alone, where too few trials were
        trained to the end (see `thinned.lab.tuning.findings.enough`), or all of them came out alike.

    Source: Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014.
    """
    errors = [trial.values[0] for trial in ended(study) if trial.state == TrialState.COMPLETE]
    if len(space) == 1 or len(errors) < enough(len(space)) or len(set(errors)) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=TREES_SEED)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


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
