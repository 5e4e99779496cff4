"""How sure a network is, and whether it knows what it does not know: calibration, and rejecting doubtful examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15
ROUNDING = 1e-9  # 0.55 of 20 are 11, and 0.29 of 100 are 29
QUANTILES = 10
SHARES = tuple(i / 20 for i in range(20))


@dataclass(frozen=True)
class Bin:
    """Examples that were predicted with about the same confidence.

    Attributes:
        low: confidence above this, or from 0 on in the first bin.
        high: and at most this.
        count: how many examples.
        confidence: their mean confidence; None if there are none.
        accuracy: the share of them that is right; None if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Kept:
    """What is left when the doubtful examples are rejected.

    Attributes:
        rejected: share of the examples that was asked to be rejected.
        count: how many are left.
        accuracy: the share of these that is right.
    """

    rejected: float
    count: int
    accuracy: float


@dataclass(frozen=True)
class Class:
    """Examples for which one class was predicted.

    Attributes:
        number: of the class.
        count: how many examples.
        mean_entropy: of their predictions, in nats.
    """

    number: int
    count: int
    mean_entropy: float


@dataclass(frozen=True)
class Quantile:
    """A number that a share of the examples does not exceed.

    Attributes:
        share: of the examples.
        value: the number.
    """

    share: float
    value: float


def predicted(classes: Tensor, entropy: Tensor) -> tuple[Class, ...]:
    """Count the examples of each predicted class.

    Args:
        classes: int64, shape (examples,).
        entropy: of the same shape.

    Returns:
        The classes that were predicted, those of the most examples first.

    Examples:
        >>> predicted(torch.tensor([2, 0, 2]), torch.tensor([0.25, 0.5, 0.75]))
        (Class(number=2, count=2, mean_entropy=0.5), Class(number=0, count=1, mean_entropy=0.5))
    """
    counts = classes.bincount()
    sums = classes.bincount(entropy.double())
    most = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    return tuple(
        Class(number, count, total / count)
        for number, count, total in zip(most.tolist(), counts[most].tolist(), sums[most].tolist(), strict=True)
    )


def quantiles(values: Tensor, parts: int = QUANTILES) -> tuple[Quantile, ...]:
    """Return the values that equal shares of the examples do not exceed, from the least value to the largest.

    Args:
        values: shape (examples,), at least one.
        parts: how many shares.

    Returns:
        One more than `parts`; each is a value that occurs.

    Examples:
        >>> [part.value for part in quantiles(torch.tensor([3.0, 1.0, 2.0]), parts=2)]
        [1.0, 2.0, 3.0]
    """
    ordered = values.double().sort().values
    places = [max(0, math.ceil(len(values) * i / parts) - 1) for i in range(parts + 1)]
    return tuple(Quantile(i / parts, value) for i, value in enumerate(ordered[torch.tensor(places)].tolist()))


def reliability(confidence: Tensor, correct: Tensor, bins: int = BINS) -> tuple[Bin, ...]:
    """Sort examples into bins of equal width by their confidence.

    Args:
        confidence: probability of the predicted class, shape (examples,), in [0, 1].
        correct: bool, shape (examples,).
        bins: how many.

    Returns:
        All bins, also those that are empty, from 0 to 1.

    Examples:
        >>> found = reliability(torch.tensor([0.1, 0.9, 1.0]), torch.tensor([False, True, False]), bins=2)
        >>> [(part.high, part.count, part.accuracy) for part in found]
        [(0.5, 1, 0.0), (1.0, 2, 0.5)]
    """
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    place = torch.bucketize(confidence.double(), edges)
    counts = place.bincount(minlength=bins)
    sums = [place.bincount(values.double(), minlength=bins) for values in (confidence, correct)]
    found = []
    for i, count in enumerate(counts.tolist()):
        sure, right = (float(total[i]) / count if count else None for total in sums)
        found.append(Bin(i / bins, (i + 1) / bins, count, sure, right))
    return tuple(found)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: how far accuracy is from confidence, over the bins by their size.

    Args:
        bins: of `reliability`; at least one has examples.

    Returns:
        A number in [0, 1].

    Examples:
        >>> calibration_error(reliability(torch.tensor([0.75] * 4), torch.tensor([True, True, False, False])))
        0.25

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    total = sum(part.count for part in bins)
    return sum(
        part.count / total * abs(part.accuracy - part.confidence)
        for part in bins
        if part.accuracy is not None and part.confidence is not None
    )


def rejection(uncertainty: Tensor, correct: Tensor, shares: Sequence[float] = SHARES) -> tuple[Kept, ...]:
    """Reject the examples that are the most uncertain, a larger share each time.

    Args:
        uncertainty: shape (examples,); of two that are equal the later is rejected first.
        correct: bool, shape (examples,).
        shares: in [0, 1); as many whole examples are rejected as fit into each.

    Returns:
        What is left each time.

    Examples:
        >>> found = rejection(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([True, False, True]), [0.0, 0.5])
        >>> [(part.count, round(part.accuracy, 2)) for part in found]
        [(3, 0.67), (2, 1.0)]
    """
    right = correct[uncertainty.argsort(stable=True)].double().cumsum(0)
    found = []
    for share in shares:
        left = len(correct) - math.floor(share * len(correct) + ROUNDING)
        found.append(Kept(share, left, float(right[left - 1]) / left))
    return tuple(found)
