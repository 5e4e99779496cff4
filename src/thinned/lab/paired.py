"""Methods that share seeds: how far apart they are, and no more about it than that allows to say."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from thinned._optional import require

WHOLE, LARGEST = 999.5, 1e9  # numbers between are told without digits behind the point, and without a power of ten
LEVEL = 0.95
ROUNDING = 2.0**-40  # of the values: differences that vary by less than this do not vary


@dataclass(frozen=True)
class Difference:
    """How a method differs from the baseline, over the seeds that they share.

    Attributes:
        method: what is compared.
        baseline: with what.
        seeds: how many they share.
        mean: mean over the seeds of the method's error minus the baseline's; negative where the method is better.
        low: lower end of the paired t interval of that mean; None where there is none, for one seed or no spread.
        high: its upper end.
    """

    method: str
    baseline: str
    seeds: int
    mean: float
    low: float | None
    high: float | None


def difference(method: str, baseline: str, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Compare the errors of two methods, seed by seed.

    What a seed decides, weights at the start and the order of the examples, is in both errors of a pair and goes out in
    their difference. The interval is Student's: mean plus or minus t times the standard deviation of the differences
    over the root of their number, with the quantile t for that number less one.

    Args:
        method: what is compared.
        baseline: with what.
        ours: the method's error for each seed, at least one.
        theirs: the baseline's for the same seeds.

    Returns:
        The difference and its interval of 95 %. Differences that are all the same have no interval: that the next seed
        would give the same again is more than they tell.

    Examples:
        >>> found = difference("batchwise", "torch", [0.021, 0.024, 0.021], [0.020, 0.021, 0.022])
        >>> round(found.mean, 6), round(found.low, 6), round(found.high, 6)
        (0.001, -0.003968, 0.005968)

    Source: Student, "The probable error of a mean", Biometrika 6(1), 1908.
    """
    apart = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    mean, count = statistics.fmean(apart), len(apart)
    spread = deviation(apart) or 0.0
    if spread <= ROUNDING * max(map(abs, (*ours, *theirs))):
        return Difference(method, baseline, count, mean, None, None)
    quantile = float(require("scipy.special", "lab").stdtrit(count - 1, (1 + LEVEL) / 2))
    half = quantile * spread / math.sqrt(count)
    return Difference(method, baseline, count, mean, mean - half, mean + half)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of a few numbers.

    Args:
        values: any, nan and infinities among them.

    Returns:
        The deviation: nan if they are not all finite, None if there are fewer than two.

    Examples:
        >>> deviation([1.0, 3.0]), deviation([1.0, math.inf]), deviation([1.0])
        (1.4142135623730951, nan, None)
    """
    if len(values) < 2:
        return None
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def verdict(found: Difference, numbers: bool = False) -> str:
    """Say what a difference allows to say.

    Args:
        found: the difference.
        numbers: whether the errors are of predicted numbers, and not shares that are told in points.

    Returns:
        A sentence.

    Examples:
        >>> verdict(Difference("batchwise", "torch", 3, 0.0005, -0.001, 0.002))
        'batchwise and torch cannot be told apart with 3 seeds: difference 0.05 points, 95 % interval -0.1 to 0.2.'
        >>> verdict(Difference("batchwise", "torch", 5, 0.004, 0.001, 0.007))
        'batchwise has a higher test error than torch with 5 seeds: difference 0.4 points, 95 % interval 0.1 to 0.7.'
        >>> verdict(Difference("batchwise", "torch", 1, 0.0005, None, None))
        'Nothing can be claimed of batchwise and torch with 1 seed: difference 0.05 points, and no interval.'
    """
    both = f"{found.method} and {found.baseline}"
    scale, unit = (1.0, "") if numbers else (100.0, " points")
    told = f"difference {number_text(scale * found.mean)}{unit}"
    if found.seeds == 1:
        return f"Nothing can be claimed of {both} with 1 seed: {told}, and no interval."
    if found.low is None or found.high is None:
        return (
            f"Nothing can be claimed of {both} with {found.seeds} seeds: {told} for every seed, and without spread "
            "there is no interval."
        )
    told = f"with {found.seeds} seeds: {told}, {100 * LEVEL:g} % interval {_ends(found, scale)}."
    if found.low <= 0 <= found.high:
        return f"{both} cannot be told apart {told}"
    return f"{found.method} has a {'higher' if found.mean > 0 else 'lower'} test error than {found.baseline} {told}"


def cell(found: Difference, numbers: bool = False) -> str:
    """Return a difference as a table has it.

    Args:
        found: the difference.
        numbers: as for `verdict`.

    Returns:
        The mean, with its interval if there is one.

    Examples:
        >>> cell(Difference("batchwise", "torch", 3, 0.0005, -0.001, 0.002))
        '+0.05 (-0.1 to 0.2)'
    """
    scale = 1.0 if numbers else 100.0
    mean = number_text(scale * found.mean, sign="+")
    return mean if found.low is None else f"{mean} ({_ends(found, scale)})"


def _ends(found: Difference, scale: float) -> str:
    assert found.low is not None
    assert found.high is not None
    return f"{number_text(scale * found.low)} to {number_text(scale * found.high)}"


def number_text(value: float, digits: int = 3, sign: str = "") -> str:
    """Return a number for people: a few digits, and no power of ten unless it is very large or small.

    Args:
        value: any.
        digits: how many are told, but of what is 1,000 or more.
        sign: ``"+"`` for one that is always there.

    Returns:
        The number.

    Examples:
        >>> number_text(0.123456), number_text(37651.23), number_text(5, sign="+")
        ('0.123', '37,651', '+5')
    """
    return f"{value:{sign},.0f}" if WHOLE <= abs(value) < LARGEST else f"{value:{sign}.{digits}g}"
