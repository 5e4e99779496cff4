"""What is searched, and how: the same for all who share a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from thinned._errors import RangeError
from thinned.keys import site_seed
from thinned.lab.examples import order
from thinned.lab.tuning import reading
from thinned.lab.tuning import space as spaces
from thinned.lab.tuning.space import Space

TRIALS = 50  # by default
SAMPLERS = ("tpe", "gp", "random", "grid")
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True)
class Plan:
    """What is searched, and how; the same for all who share a study.

    Attributes:
        tables: settings that are the same for all trials, as `thinned.lab.config.Config.of` takes them.
        table: the space, as `thinned.lab.tuning.reading.read` takes it.
        sampler: a name in `SAMPLERS`.
        pruner: a name in `PRUNERS`.

    Raises:
        RangeError, KindError: an unknown name, a space that cannot be searched.

    Examples:
        >>> plan = Plan({}, {"dropout.p": [0.1, 0.3, 0.5]}, sampler="grid")
        >>> plan.places(None), plan.places(2)
        (3, 2)
    """

    tables: Mapping[str, Any]
    table: Mapping[str, Any]
    sampler: str = "tpe"
    pruner: str = "median"
    space: Space = field(init=False, repr=False)
    grid: Sequence[Mapping[str, Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if getattr(self, name) not in known:
                raise RangeError(f"`{name}` must be one of {', '.join(known)}, but got {name}={getattr(self, name)!r}.")
        space = reading.read(self.table)
        spaces.check(self.tables, space)
        points = spaces.points(space) if self.sampler == "grid" else []
        # In a random order, so that a part of a grid is a fair sample of it.
        mixed = order(self.seed, 0, len(points), "grid").tolist()
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "grid", [points[i] for i in mixed])

    @property
    def seed(self) -> int:
        """Of the search, and of each network."""
        return int(spaces.settled(self.tables, {}).run.seed)

    def places(self, trials: int | None) -> int:
        """Return how many trials there are to be.

        Args:
            trials: how many were asked for; None for all points of a grid, and 50 of what has no end.

        Returns:
            At most as many as a grid has points.
        """
        if self.sampler == "grid":
            return min(trials or len(self.grid), len(self.grid))
        return trials or TRIALS

    def plain(self) -> dict[str, Any]:
        """Return what `Plan` was made of, as JSON has it.

        Returns:
            Its arguments by name; the space by full names.
        """
        table = {
            name: list(domain.values) if isinstance(domain, spaces.Choices) else _known(vars(domain))
            for name, domain in self.space.items()
        }
        return {"tables": _plain(self.tables), "table": _plain(table), "sampler": self.sampler, "pruner": self.pruner}


class PlacedSampler(optuna.samplers.BaseSampler):
    """Gives each trial a sampler of its own, seeded by its place: workers never draw the same numbers twice.

    Args:
        kind: a name in `SAMPLERS`.
        seed: of the search.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._now: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of a trial."""
        place = trial.user_attrs.get("place")
        if place is None or self._kind in ("random", "grid"):
            kind: Any = optuna.samplers.RandomSampler  # without a place: a trial that will not be run
        else:
            kind = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[self._kind]
        self._now = kind(seed=site_seed(self._seed, place or 0, "tune") % 2**32)
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """As the trial's sampler does."""
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """As the trial's sampler does."""
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """As the trial's sampler does."""
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the trial's sampler does."""
        self._now.after_trial(study, trial, state, values)


def _known(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None and value is not False}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
