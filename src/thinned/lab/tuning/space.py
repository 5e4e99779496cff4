"""The values that each setting of a search can have, and settings with such values put in."""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thinned._errors import RangeError, ThinnedError
from thinned.lab.config import Config
from thinned.lab.network import TRANSFORMERS, ModelSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

MOST_POINTS = 10_000  # of a grid


@dataclass(frozen=True)
class Choices:
    """Some values, in no order.

    Attributes:
        values: numbers, texts, true or false, or lists of them.
    """

    values: tuple[Any, ...]

    def draw(self, name: str, trial: "Trial") -> Any:
        """Let a trial choose a value."""
        texts = [text(value) for value in self.values]  # Optuna knows lists by their text
        return self.value(trial.suggest_categorical(name, texts))

    def value(self, drawn: Any) -> Any:
        """Return what stands for something that Optuna has stored."""
        return next(value for value in self.values if text(value) == drawn)

    def grid(self, _: str) -> list[Any]:
        """Return all values, as Optuna knows them."""
        return [text(value) for value in self.values]

    def ends(self) -> list[Any]:
        """Return the values to be checked before anything is trained."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """All numbers between two.

    Attributes:
        low: the least; an int, as `high` and `step`, if all numbers are to be.
        high: the greatest.
        log: whether the logarithms are spread evenly.
        step: from one number to the next; None for any number between, or any integer.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def draw(self, name: str, trial: "Trial") -> Any:
        """Let a trial choose a number."""
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, self._last(), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self._last(), step=self.step, log=self.log)

    def value(self, drawn: Any) -> Any:
        """Return what stands for something that Optuna has stored."""
        return drawn

    def grid(self, name: str) -> list[Any]:
        """Return all numbers, if they can be counted."""
        step = self.step or (1 if isinstance(self.low, int) and not self.log else None)
        if step is None:
            raise RangeError(
                f"`{name}` must have a list of values or a step to be searched on a grid, but got {self.low}.."
                f"{self.high}; give one, or take --sampler random, tpe or gp."
            )
        count = self._count(step)
        if count > MOST_POINTS:
            raise RangeError(f"`{name}` must have at most {MOST_POINTS} values on a grid, but got {count}.")
        return [self._at(step, i) for i in range(count)]

    def ends(self) -> list[Any]:
        """Return the values to be checked before anything is trained."""
        return [self.low, self.high]

    def _count(self, step: float) -> int:
        return math.floor((self.high - self.low) / step + 1e-9) + 1

    def _at(self, step: float, i: int) -> Any:
        # Sums such as 0.1 + 0.2 differ in the last place from what a person writes.
        return self.low + step * i if isinstance(self.low, int) else float(f"{self.low + step * i:.12g}")

    def _last(self) -> Any:
        return self.high if self.step is None else self._at(self.step, self._count(self.step) - 1)


Space = dict[str, Choices | Range]


def settled(tables: Mapping[str, Any], values: Mapping[str, Any]) -> Config:
    """Return settings with values of a space put in.

    Args:
        tables: what is the same for all trials, as `Config.of` takes it.
        values: by full names.

    Returns:
        The settings.

    Raises:
        RangeError, KindError: they do not go together.

    Examples:
        >>> config = settled({"model": {"hidden": [32, 16]}}, {"dropout.p.2": 0.25, "training.optimizer": "adam"})
        >>> config.dropout.p, config.training.lr
        ((0.5, 0.25), 0.001)
    """
    made = deepcopy(dict(tables))
    parts = {}  # of settings
    for name, value in values.items():
        section, key, *rest = name.split(".")
        if rest:
            parts[section, key, rest[0]] = value
        elif key in ("hidden", "channels") and not isinstance(value, list | tuple):
            there = getattr(Config.of(made).model, key)
            made.setdefault(section, {})[key] = [value] * max(len(there), 1)
        else:
            made.setdefault(section, {})[key] = value
    for (section, key, part), value in parts.items():
        table = made.setdefault(section, {})
        if key in ("options", "input_options"):
            table[key] = {**table.get(key, {}), part: value}
            continue
        config = Config.of(made)
        whole = getattr(getattr(config, section), key)
        several = [*whole] if isinstance(whole, tuple) else [whole] * layers(config.model)
        if int(part) > len(several):
            raise RangeError(
                f"`{section}.{key}.{part}` must be of one of the {len(several)} layers, but there is none."
            )
        several[int(part) - 1] = value
        table[key] = several
    return Config.of(made)


def layers(model: ModelSettings) -> int:
    """Return how many layers of a network have a dropout of their own.

    Args:
        model: the network.

    Returns:
        How many rates `thinned.lab.dropouts.DropoutSettings` can have.

    Examples:
        >>> layers(ModelSettings(kind="convnet"))
        3
    """
    if model.kind in TRANSFORMERS:
        return model.layers
    return len(model.units) + (len(model.channels) if model.kind == "convnet" else 0)


def check(tables: Mapping[str, Any], space: Space, attempt: Callable[[Config], object] = bool) -> None:
    """Refuse a space with a value that goes with no other.

    Args:
        tables: as for `settled`.
        space: what is searched.
        attempt: what else to try with settings.

    Raises:
        RangeError, KindError: what is wrong with the value.

    Examples:
        >>> check({}, {"dropout.p": Choices((0.5, 1.5))})
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `p` must be in [0, 1], but got p=1.5.
    """
    for name, domain in space.items():
        for value in domain.ends():
            companies: list[dict[str, Any]] = [{}]  # what a value may need is another that is searched as well
            for end in (0, -1):
                companies.append({other: entry.ends()[end] for other, entry in space.items() if other != name})
            errors = [error for others in companies if (error := _wrong(tables, {**others, name: value}, attempt))]
            if len(errors) == len(companies):
                raise errors[0]


def points(space: Space) -> list[dict[str, Any]]:
    """Return all points of a grid.

    Args:
        space: lists, and ranges with a step.

    Returns:
        What Optuna has for each setting, for each point.

    Raises:
        RangeError: a range without a step, or more than 10,000 points.

    Examples:
        >>> points({"dropout.p": Range(0.0, 0.3, step=0.1)})
        [{'dropout.p': 0.0}, {'dropout.p': 0.1}, {'dropout.p': 0.2}, {'dropout.p': 0.3}]
    """
    values = {name: domain.grid(name) for name, domain in space.items()}
    count = math.prod(map(len, values.values()))
    if count > MOST_POINTS:
        raise RangeError(
            f"A grid must have at most {MOST_POINTS} points, but got {count}; take --sampler random or tpe."
        )
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _wrong(
    tables: Mapping[str, Any], values: Mapping[str, Any], attempt: Callable[[Config], object]
) -> ThinnedError | None:
    try:
        attempt(settled(tables, values))
    except ThinnedError as error:
        return error
    return None


def text(value: Any) -> Any:
    """Return a value, or the text of a list, which Optuna has no way to store.

    Args:
        value: a number, a text, true or false, or a list.

    Returns:
        What Optuna can store.

    Examples:
        >>> text([32, 16]), text(0.5)
        ('[32, 16]', 0.5)
    """
    return json.dumps(value) if isinstance(value, list | tuple) else value
