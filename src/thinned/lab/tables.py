"""Results as text: tables and what is said of their numbers, for a page or a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from thinned.lab import paired
from thinned.lab.paired import Difference, number_text
from thinned.lab.summary import Row, Summary

NONE = "-"  # where nothing was measured
RELIABILITY = ("confidence", "examples", "mean confidence", "accuracy")
REJECTION = ("rejected", "examples left", "accuracy")
PREDICTED = ("predicted", "examples", "share", "mean entropy")
MOST_CLASSES = 20  # of a table
QUANTILES = {  # what is told of the spread of a prediction, and its heading
    "entropy_quantiles": "entropy",
    "prediction_quantiles": "mean",
    "standard_deviation_quantiles": "standard deviation",
}


def headings(summary: Summary) -> list[str]:
    """Return the headings of the table of results.

    Args:
        summary: the results.

    Returns:
        As many as `cells` gives for a row.

    Examples:
        >>> headings(Summary("runs/first", (), baseline="torch", epoch=0, epochs=10, seeds=(), interrupted=False))
        ['method', 'test error, %', 'against torch, points (95 % interval)']
    """
    interval = "" if len(summary.seeds) == 1 else f" ({100 * paired.LEVEL:g} % interval)"
    target = [] if summary.target_error is None else [f"seconds to {_short(summary)} test error"]
    if summary.numbers:
        return ["method", "test error", f"against {summary.baseline}{interval}", *target]
    return ["method", "test error, %", f"against {summary.baseline}, points{interval}", *target]


def cells(summary: Summary, row: Row, plus_minus: str = "±") -> list[str]:
    """Return one row of the table of results as text.

    Args:
        summary: the results.
        row: one method of them.
        plus_minus: what stands between mean and spread.

    Returns:
        One text for each heading; a dash where nothing was measured.

    Examples:
        >>> row = Row("none", "", (0.02, 0.03), 0.025, 0.007, 1.5, 3.0, None, None, (2.5, None), diverged=False)
        >>> cells(Summary("runs/first", (row,), "none", 9, 9, (0, 1), interrupted=False, target_error=0.02), row)
        ['none', '2.50 ± 0.70', 'baseline', '- (1 of 2 seeds)']
    """
    error = NONE if row.test_error is None else error_text(row.test_error, summary.numbers).removesuffix(" %")
    spread = None if row.spread is None else error_text(row.spread, summary.numbers).removesuffix(" %")
    apart = {found.method: paired.cell(found, summary.numbers) for found in summary.differences}
    told = [
        row.method,
        error if spread is None else f"{error} {plus_minus} {spread}",
        "baseline" if row.method == summary.baseline else apart.get(row.method, NONE),
    ]
    if summary.target_error is not None:
        seconds = NONE if row.median_to_target is None else seconds_text(row.median_to_target)
        all_of_them = row.reached == len(row.to_target)
        told.append(seconds if all_of_them else f"{seconds} ({row.reached} of {counted(len(row.to_target), 'seed')})")
    return told


def cost_headings(summary: Summary) -> list[str]:
    """Return the headings of the table of costs.

    Args:
        summary: the results.

    Returns:
        As many as `cost_cells` gives for a row.

    Examples:
        >>> cost_headings(Summary("runs/first", (), "torch", epoch=0, epochs=10, seeds=(), interrupted=False))[2]
        'speed vs torch'
    """
    return [
        "method",
        "seconds per epoch",
        f"speed vs {summary.baseline}",
        "peak memory",
        "kept for backward",
        "FLOPs of a step",
        "latency",
    ]


def cost_cells(row: Row) -> list[str]:
    """Return one row of the table of costs as text.

    Args:
        row: one method.

    Returns:
        One text for each heading; a dash where nothing was measured.

    Examples:
        >>> from thinned.lab.costs import Cost
        >>> cost_cells(Row("none", "", (), None, None, 1.5, 3.0, None, Cost(104, 2_500_000, 0.00025, 2048), (), False))
        ['none', '1.500', '-', '2.00 KiB', '104 B', '2.50 M', '0.250 ms']
    """
    cost = row.cost
    return [
        row.method,
        NONE if row.seconds is None else seconds_text(row.seconds),
        NONE if row.speed is None else f"{row.speed:.2f}x",
        NONE if cost is None or cost.peak_bytes is None else size(cost.peak_bytes),
        NONE if cost is None else size(cost.bytes_kept),
        NONE if cost is None else _operations(cost.flops),
        NONE if cost is None or cost.latency is None else f"{1000 * cost.latency:.3f} ms",
    ]


def warnings(summary: Summary) -> list[str]:
    """Say what went wrong.

    Args:
        summary: the results.

    Returns:
        Sentences; none where all went well.

    Examples:
        >>> warnings(Summary("runs/first", (), baseline="torch", epoch=3, epochs=10, seeds=(), interrupted=True))
        ['Stopped early, after epoch 3 of 10; the table holds what was done by then.']
    """
    found = []
    if summary.interrupted:
        told = f"epoch {summary.epoch} of {summary.epochs}"
        if summary.epoch == summary.epochs:  # within a later seed, which does not count
            told = counted(len(summary.seeds), "whole seed")
        found.append(f"Stopped early, after {told}; the table holds what was done by then.")
    for row in summary.rows:
        if row.diverged:
            found.append(f"The training of {row.method} diverged: its loss is not finite. Try a lower learning rate.")
    return found


def notes(summary: Summary) -> list[str]:
    """Say what the numbers of the tables are.

    Args:
        summary: the results.

    Returns:
        Sentences.

    Examples:
        >>> notes(Summary("runs/first", (), baseline="torch", epoch=3, epochs=10, seeds=(0,), interrupted=False))[0]
        'Test error: after epoch 3, 1 seed. Seconds: median over all epochs, training only.'
    """
    if not summary.seeds:
        return []
    several = f"mean and standard deviation over {len(summary.seeds)} seeds"
    seeds = "1 seed" if len(summary.seeds) == 1 else several
    root = ", the root of the mean squared error in the unit of the targets" if summary.numbers else ""
    found = [f"Test error: after epoch {summary.epoch}, {seeds}{root}. Seconds: median over all epochs, training only."]
    intervals = sum(difference.low is not None for difference in summary.differences)
    if intervals:
        found.append(
            f"Interval: Student's t for the paired differences, the method's error minus that of {summary.baseline} "
            "for the same seed; it is about other seeds on these data, not about other data."
        )
    found += several_intervals(summary.differences)
    if summary.target_error is not None:
        found.append(
            f"Time to {_short(summary)}: seconds of training until the test error is that low after an "
            "epoch for the first time; median over the seeds, one that never got there counted as endless."
        )
    return found


def _short(summary: Summary) -> str:
    """The error that was aimed at."""
    return f"{summary.target_error:g}" if summary.numbers else f"{100 * (summary.target_error or 0):g} %"


def measures(about: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of measures of a prediction, whose headings are ``measure`` and ``value``.

    Args:
        about: as `thinned.lab.predict.Predicted` has it.

    Returns:
        Two texts for each row.

    Examples:
        >>> measures({"passes": 5, "mean_entropy": 0.125})
        [['mean entropy', '0.125']]
    """
    return [
        [name.replace("_", " "), number_text(value, 4)] for name, value in about.items() if isinstance(value, float)
    ]


def predicted(about: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of predicted classes, the most frequent first; of more than 20 the rest in one row.

    Args:
        about: as `thinned.lab.predict.Predicted` has it for classes.

    Returns:
        One text for each of `PREDICTED`, in each row.

    Examples:
        >>> found = [{"number": 1, "count": 3, "mean_entropy": 0.25}, {"number": 0, "count": 1, "mean_entropy": 0.5}]
        >>> predicted({"data": {"examples": 4, "class_names": ["no", "yes"]}, "predicted_classes": found})
        [['yes', '3', '75.0 %', '0.2500'], ['no', '1', '25.0 %', '0.5000']]
    """
    classes, examples = about["predicted_classes"], about["data"]["examples"]
    names = about["data"].get("class_names")
    counted = [
        (names[part["number"]] if names else str(part["number"]), part["count"], f"{part['mean_entropy']:.4f}")
        for part in classes[:MOST_CLASSES]
    ]
    if rest := classes[MOST_CLASSES:]:
        count = sum(part["count"] for part in rest)
        entropy = sum(part["count"] * part["mean_entropy"] for part in rest) / count
        counted.append((f"{len(rest)} others", count, f"{entropy:.4f}"))
    return [[name, f"{count:,}", f"{100 * count / examples:.1f} %", entropy] for name, count, entropy in counted]


def quantiles(about: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the table of what shares of the examples do not exceed.

    Args:
        about: as `thinned.lab.predict.Predicted` has it.

    Returns:
        Its headings, and one text for each of them in each row.

    Examples:
        >>> quantiles({"entropy_quantiles": [{"share": 0.0, "value": 0.25}, {"share": 1.0, "value": 0.5}]})
        (['examples', 'entropy'], [['least', '0.25'], ['all', '0.5']])
    """
    told = {heading: about[name] for name, heading in QUANTILES.items() if name in about}
    shares = [part["share"] for part in next(iter(told.values()))]
    ends = {0.0: "least", 1.0: "all"}
    return ["examples", *told], [
        [ends.get(share, f"{100 * share:.0f} %"), *(f"{parts[i]['value']:.4g}" for parts in told.values())]
        for i, share in enumerate(shares)
    ]


def reliability(about: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of bins of confidence that hold examples.

    Args:
        about: as `thinned.lab.predict.Predicted` has it for classes.

    Returns:
        One text for each of `RELIABILITY`, in each row.

    Examples:
        >>> reliability({"reliability": [{"low": 0.5, "high": 1, "count": 2, "confidence": 0.75, "accuracy": 0.5}]})
        [['0.50 to 1.00', '2', '0.7500', '0.5000']]
    """
    return [
        [
            f"{part['low']:.2f} to {part['high']:.2f}",
            f"{part['count']:,}",
            f"{part['confidence']:.4f}",
            f"{part['accuracy']:.4f}",
        ]
        for part in about["reliability"]
        if part["count"]
    ]


def rejection(about: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of what is left when examples are rejected, by every tenth of them.

    Args:
        about: as `thinned.lab.predict.Predicted` has it for classes.

    Returns:
        One text for each of `REJECTION`, in each row.

    Examples:
        >>> rejection({"rejection_by_entropy": [{"rejected": 0.0, "count": 20, "accuracy": 0.875}]})
        [['0 %', '20', '0.8750']]
    """
    return [
        [f"{100 * kept['rejected']:.0f} %", f"{kept['count']:,}", f"{kept['accuracy']:.4f}"]
        for kept in about["rejection_by_entropy"][::2]
    ]


def size(count: float) -> str:
    """Return a number of bytes for people.

    Args:
        count: number of bytes.

    Returns:
        Three digits and a unit.

    Examples:
        >>> size(104), size(2_487_204), size(500_000)
        ('104 B', '2.37 MiB', '488 KiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    power = min(int(math.log2(count) // 10), 5)
    return f"{_three_digits(count / 1024**power)} {'KMGTP'[power - 1]}iB"


def _operations(count: float) -> str:
    if count < 1000:
        return f"{count:.0f}"
    power = min(int(math.log10(count) // 3), 5)
    return f"{_three_digits(count / 1000**power)} {'kMGTP'[power - 1]}"


def _three_digits(number: float) -> str:
    return f"{number:.{max(2 - int(math.log10(number)), 0)}f}"


def seconds_text(seconds: float) -> str:
    """Return seconds as a table has them.

    Args:
        seconds: how many.

    Returns:
        Three digits after the point, or one where there are ten or more.

    Examples:
        >>> seconds_text(1.5), seconds_text(12.34)
        ('1.500', '12.3')
    """
    return f"{seconds:.3f}" if seconds < 10 else f"{seconds:.1f}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Args:
        number: how many.
        noun: of what.

    Returns:
        The noun in the plural, but for one.

    Examples:
        >>> counted(1, "seed"), counted(2000, "epoch")
        ('1 seed', '2,000 epochs')
    """
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def error_text(error: float, numbers: bool = False) -> str:
    """Return an error as a table has it.

    Args:
        error: share of wrong classes, or the root of the mean squared error.
        numbers: whether it is the latter.

    Returns:
        A percentage, or a number.

    Examples:
        >>> error_text(0.0195), error_text(3.14159, numbers=True), error_text(37651.23, numbers=True)
        ('1.95 %', '3.142', '37,651')
    """
    return number_text(error, 4) if numbers else f"{100 * error:.2f} %"


def what_errors_are(numbers: bool, standardised: bool = False) -> str:
    """Say what errors are, and losses where they have another unit.

    Args:
        numbers: whether numbers are predicted.
        standardised: whether a network learned standardised numbers.

    Returns:
        One or two sentences.

    Examples:
        >>> what_errors_are(numbers=False)
        'Error: the share in a wrong class.'
        >>> what_errors_are(numbers=True)
        'Error: the root of the mean squared error, in the unit of the targets.'
    """
    if not numbers:
        return "Error: the share in a wrong class."
    losses = " Loss: of standardised targets, in which a standard deviation is 1." if standardised else ""
    return f"Error: the root of the mean squared error, in the unit of the targets.{losses}"


def several_intervals(differences: Sequence[Difference]) -> list[str]:
    """Return what is to be known of many intervals that is not so of one.

    Args:
        differences: those that are shown together.

    Returns:
        One sentence, or none where at most one of them has an interval.

    Examples:
        >>> several_intervals([])
        []
    """
    intervals = sum(difference.low is not None for difference in differences)
    if intervals < 2:
        return []
    return [f"Each of the {intervals} intervals misses in one of twenty such comparisons; some one of them more often."]
