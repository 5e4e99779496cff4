"""Runs side by side: those of training on the same data, compared seed by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinned.lab import paired
from thinned.lab.loop import Outcome
from thinned.lab.paired import Difference
from thinned.lab.records import Record
from thinned.lab.summary import Summary


@dataclass(frozen=True)
class Run:
    """One run of `thinned compare` or `thinned train`.

    Attributes:
        folder: where it is.
        command: ``"compare"`` or ``"train"``.
        config: what ``config.json`` holds: data, settings, environment.
        records: one for each epoch of each network that is done.
        summary: of a comparison, made of the records.
        outcome: of a run of training; None if it is not done.
    """

    folder: Path
    command: str
    config: dict[str, Any]
    records: tuple[Record, ...]
    summary: Summary | None = None
    outcome: Outcome | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted, and the error is the root of the mean squared error."""
        return bool(self.config["data"]["task"] == "regression")

    @property
    def standardised(self) -> bool:
        """Whether a network learned standardised numbers; losses are of these."""
        return self.numbers and bool(self.config["settings"]["data"]["standardise"])

    @property
    def diverged(self) -> Record | None:
        """Of a run of training the epoch in which it diverged, if it did."""
        return self.records[-1] if self.records and self.records[-1].diverged else None


@dataclass(frozen=True)
class Group:
    """Runs of training with the same settings, whatever their seeds.

    Attributes:
        label: the settings that other groups have otherwise.
        runs: those that are done, one for each seed.
        test_errors: by seed.
    """

    label: str
    runs: tuple[Run, ...]
    test_errors: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean test error over the seeds."""
        return statistics.fmean(self.test_errors.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for one."""
        return paired.deviation([*self.test_errors.values()])


@dataclass(frozen=True)
class Joined:
    """What runs of training on the same data found.

    Attributes:
        data: name of the data.
        groups: the first is the baseline.
        differences: of the others from it, over the seeds that both have; of those that share one.
        verdicts: what these allow to say.
        numbers: whether the error is the root of the mean squared error, and not a share.
    """

    data: str
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]
    verdicts: tuple[str, ...]
    numbers: bool


def join(runs: Sequence[Run]) -> list[Joined]:
    """Compare runs of training with each other, where they learned from the same data.

    Args:
        runs: any runs.

    Returns:
        One comparison for each data set that runs with different settings are done on.
    """
    by_data: dict[tuple[Any, ...], dict[str, list[Run]]] = {}
    for run in runs:
        if run.outcome is not None:
            data = run.config["data"]
            same = data["fingerprint"], data["train"], data["test"], data["task"]
            by_data.setdefault(same, {}).setdefault(repr(_compared(run)), []).append(run)
    return [_joined(list(grouped.values())) for grouped in by_data.values() if len(grouped) > 1]


def _joined(grouped: Sequence[Sequence[Run]]) -> Joined:
    settings = [_compared(runs[0]) for runs in grouped]
    differing = [name for name in settings[0] if any(other.get(name) != settings[0][name] for other in settings)]
    groups = []
    for runs, told in zip(grouped, settings, strict=True):
        by_seed = {run.config["settings"]["run"]["seed"]: run for run in reversed(runs)}  # the first of each seed
        seeds = sorted(by_seed)
        errors = {seed: by_seed[seed].outcome.test_error for seed in seeds}  # type: ignore[union-attr]
        label = ", ".join(f"{name}={_text(told.get(name))}" for name in differing)
        groups.append(Group(label, tuple(by_seed[seed] for seed in seeds), errors))
    first, numbers = groups[0], groups[0].runs[0].numbers
    differences = []
    for group in groups[1:]:
        shared = [seed for seed in group.test_errors if seed in first.test_errors]
        if shared:
            pairs = ([one.test_errors[seed] for seed in shared] for one in (group, first))
            differences.append(paired.difference(group.label, first.label, *pairs))
    verdicts = tuple(paired.verdict(found, numbers) for found in differences)
    return Joined(first.runs[0].config["data"]["name"], tuple(groups), tuple(differences), verdicts, numbers)


def _compared(run: Run) -> dict[str, Any]:
    """Settings by dotted name, but for those that say where a run is, and not what it does."""
    return {
        f"{section}.{name}": value
        for section, table in run.config["settings"].items()
        for name, value in table.items()
        if (section != "run" or name == "precision") and (section, name) != ("data", "name")
    }


def _text(value: Any) -> str:
    return (
        ",".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if type(value) is float else str(value)
    )
