"""From records to the table of results."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinned.lab import paired
from thinned.lab.comparison import Settings
from thinned.lab.costs import Cost
from thinned.lab.paired import Difference
from thinned.lab.records import Record


@dataclass(frozen=True)
class Row:
    """What was measured of one method.

    Attributes:
        method: its name.
        sentence: what it is.
        test_errors: one for each seed that counts, at `Summary.epoch`.
        test_error: their mean; None if there are none.
        spread: their standard deviation; None if there are fewer than two.
        seconds: median over all epochs of all seeds; None if there is no epoch.
        total_seconds: of training, over all epochs of all seeds; None if there is no epoch.
        speed: seconds of the baseline divided by these.
        cost: what it costs besides; None if it was not measured.
        to_target: for each seed that counts, the seconds of training until the test error was at most the target for
            the first time; None for a seed that never got there. Empty without a target.
        diverged: whether a loss or an error became nan or infinite.
    """

    method: str
    sentence: str
    test_errors: tuple[float, ...]
    test_error: float | None
    spread: float | None
    seconds: float | None
    total_seconds: float | None
    speed: float | None
    cost: Cost | None
    to_target: tuple[float | None, ...]
    diverged: bool

    @property
    def reached(self) -> int:
        """For how many seeds the target was reached."""
        return sum(seconds is not None for seconds in self.to_target)

    @property
    def median_to_target(self) -> float | None:
        """Median of the seconds to the target, a seed that never got there counted as endless; None if that is so."""
        seconds = [math.inf if taken is None else taken for taken in self.to_target]
        middle = statistics.median(seconds) if seconds else math.inf
        return middle if math.isfinite(middle) else None


@dataclass(frozen=True)
class Summary:
    """What a comparison found.

    Attributes:
        folder: where settings, records, summary and report are.
        rows: one for each method, in the order of the settings.
        baseline: the method that the others are compared with.
        epoch: the last epoch that all methods reached for some seed; 0 if there is none.
        epochs: how many there are to be.
        seeds: the seeds for which all methods reached it. Only these count for the test error.
        interrupted: whether the comparison was stopped before its end.
        target_error: the test error whose time was asked for, if any.
        differences: in test error from the baseline, one for each other method that did not diverge.
        verdicts: what these allow to say, one sentence each.
        numbers: whether errors are roots of mean squared errors, in the unit of the targets, and not shares.
    """

    folder: str
    rows: tuple[Row, ...]
    baseline: str
    epoch: int
    epochs: int
    seeds: tuple[int, ...]
    interrupted: bool
    target_error: float | None = None
    differences: tuple[Difference, ...] = ()
    verdicts: tuple[str, ...] = ()
    numbers: bool = False


def baseline_of(methods: Sequence[str], asked: str | None = None) -> str:
    """Return the method that the others are compared with.

    Args:
        methods: what is compared.
        asked: the one that was asked for, if any.

    Returns:
        That one; else torch's dropout where it is among them, and the first where it is not.

    Examples:
        >>> baseline_of(["none", "torch"]), baseline_of(["none", "thinned"])
        ('torch', 'none')
    """
    return asked or ("torch" if "torch" in methods else methods[0])


def summarise(
    settings: Settings,
    done: Sequence[Record],
    *,
    costs: Mapping[str, Cost],
    folder: Path,
    interrupted: bool = False,
    numbers: bool = False,
) -> Summary:
    """Sum up the records of a comparison, or of a part of one.

    Args:
        settings: what was compared.
        done: the records.
        costs: of each method that was measured.
        folder: where the records are.
        interrupted: whether there should have been more records.
        numbers: whether numbers are predicted.

    Returns:
        The table. Only epochs that all methods reached are compared, so that all are judged after as much training.

    Examples:
        >>> done = [Record("none", 0, 1, 0.5, 0.25, 2.0), Record("torch", 0, 1, 0.5, 0.125, 3.0)]
        >>> settings = Settings(methods=("none", "torch"), seeds=1, target_error=0.2)
        >>> summary = summarise(settings, done, costs={}, folder=Path("runs/first"))
        >>> [(row.method, row.test_error, row.speed, row.to_target) for row in summary.rows]
        [('none', 0.25, 1.5, (None,)), ('torch', 0.125, 1.0, (3.0,))]
        >>> summary.verdicts
        ('Nothing can be claimed of none and torch with 1 seed: difference 12.5 points, and no interval.',)
    """
    methods, seeds, target_error = settings.methods, settings.each_seed, settings.target_error
    by_method = {method: [record for record in done if record.method == method] for method in methods}
    reached = {seed: min(sum(r.seed == seed for r in mine) for mine in by_method.values()) for seed in seeds}
    epoch = max(reached.values())
    counted = tuple(seed for seed in seeds if epoch and reached[seed] == epoch)
    reference = baseline_of(methods, settings.baseline)
    seconds = {
        method: statistics.median(r.seconds for r in mine) if mine else None for method, mine in by_method.items()
    }
    rows = []
    for method, mine in by_method.items():
        last = {r.seed: r.test_error for r in mine if r.epoch == epoch}
        errors = tuple(last[seed] for seed in counted)  # in one order for all methods: they are compared in pairs
        own, other = seconds[method], seconds[reference]
        rows.append(
            Row(
                method=method,
                sentence=settings.sentence(method),
                test_errors=errors,
                test_error=statistics.fmean(errors) if errors else None,
                spread=paired.deviation(errors),
                seconds=own,
                total_seconds=math.fsum(r.seconds for r in mine) if mine else None,
                speed=other / own if own and other else None,
                cost=costs.get(method),
                to_target=()
                if target_error is None
                else tuple(
                    _seconds_to([r for r in mine if r.seed == seed and r.epoch <= epoch], target_error)
                    for seed in counted
                ),
                diverged=not all(math.isfinite(r.train_loss) and math.isfinite(r.test_error) for r in mine),
            )
        )
    differences = _differences(rows, reference) if counted else ()
    return Summary(
        folder=str(folder),
        rows=tuple(rows),
        baseline=reference,
        epoch=epoch,
        epochs=settings.config.training.epochs,
        seeds=counted,
        interrupted=interrupted,
        target_error=target_error,
        differences=differences,
        verdicts=tuple(paired.verdict(found, numbers) for found in differences),
        numbers=numbers,
    )


def _seconds_to(mine: Sequence[Record], target: float) -> float | None:
    """Return the seconds of training of one network until an error is reached."""
    taken = 0.0
    for record in sorted(mine, key=lambda record: record.epoch):
        taken += record.seconds
        if record.test_error <= target:
            return taken
    return None


def _differences(rows: Sequence[Row], baseline: str) -> tuple[Difference, ...]:
    whole = {row.method: row.test_errors for row in rows if not row.diverged}
    theirs = whole.pop(baseline, None)
    if theirs is None:
        return ()
    return tuple(paired.difference(method, baseline, ours, theirs) for method, ours in whole.items())
