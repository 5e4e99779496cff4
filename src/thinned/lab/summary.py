"""From records to the table of results."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thinned.lab import models
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
        speed: seconds of the reference divided by these.
        bytes_kept: for backward by one training step.
        diverged: whether a loss became nan or infinite.
    """

    method: str
    sentence: str
    test_errors: tuple[float, ...]
    test_error: float | None
    spread: float | None
    seconds: float | None
    total_seconds: float | None
    speed: float | None
    bytes_kept: int | None
    diverged: bool


@dataclass(frozen=True)
class Summary:
    """What a comparison found.

    Attributes:
        folder: where settings, records, summary and report are.
        rows: one for each method, in the order of the settings.
        reference: the method whose speed counts as 1.
        epoch: the last epoch that all methods reached for some seed; 0 if there is none.
        seeds: the seeds for which all methods reached it. Only these count for the test error.
        interrupted: whether the comparison was stopped before its end.
    """

    folder: str
    rows: tuple[Row, ...]
    reference: str
    epoch: int
    seeds: tuple[int, ...]
    interrupted: bool


def summarise(
    methods: Sequence[str],
    seeds: Sequence[int],
    done: Sequence[Record],
    *,
    kept: dict[str, int],
    folder: Path,
    interrupted: bool = False,
) -> Summary:
    """Sum up the records of a comparison, or of a part of one.

    Args:
        methods: what was compared.
        seeds: of the networks.
        done: the records.
        kept: bytes kept for backward, for each method that was measured.
        folder: where the records are.
        interrupted: whether there should have been more records.

    Returns:
        The table. Only epochs that all methods reached are compared, so that all are judged after as much training.

    Examples:
        >>> done = [Record("none", 0, 1, 0.5, 0.25, 2.0), Record("torch", 0, 1, 0.5, 0.125, 3.0)]
        >>> summary = summarise(["none", "torch"], [0], done, kept={}, folder=Path("runs/first"))
        >>> [(row.method, row.test_error, row.speed) for row in summary.rows]
        [('none', 0.25, 1.5), ('torch', 0.125, 1.0)]
    """
    by_method = {method: [record for record in done if record.method == method] for method in methods}
    reached = {seed: min(sum(r.seed == seed for r in mine) for mine in by_method.values()) for seed in seeds}
    epoch = max(reached.values())
    counted = tuple(seed for seed in seeds if epoch and reached[seed] == epoch)
    reference = "torch" if "torch" in methods else methods[0]
    seconds = {
        method: statistics.median(r.seconds for r in mine) if mine else None for method, mine in by_method.items()
    }
    rows = []
    for method, mine in by_method.items():
        errors = tuple(r.test_error for r in mine if r.epoch == epoch and r.seed in counted)
        own, other = seconds[method], seconds[reference]
        rows.append(
            Row(
                method=method,
                sentence=models.method(method).sentence,
                test_errors=errors,
                test_error=statistics.fmean(errors) if errors else None,
                spread=statistics.stdev(errors) if len(errors) > 1 else None,
                seconds=own,
                total_seconds=math.fsum(r.seconds for r in mine) if mine else None,
                speed=other / own if own and other else None,
                bytes_kept=kept.get(method),
                diverged=not all(math.isfinite(r.train_loss) for r in mine),
            )
        )
    return Summary(str(folder), tuple(rows), reference, epoch, counted, interrupted)
