"""What many calls of a dropout say about it: rate, mean, variance, correlations; and the bounds they are held to.

A faultless dropout passes a comparison but with probability `CHANCE`; one audit makes fewer than 60 of them, so it
accuses a faultless one with probability below 1e-6. There are two bounds:

- Where single decisions are independent: Bernstein's inequality for a sum of 0/1 variables.
- Otherwise rows of the input, or whole calls where rows share their decisions, are the independent units. The mean of
  n units lies within t standard errors of its expectation, t = sqrt(2 ln(2 / CHANCE)): Efron's bound for
  self-normalised sums (1969), exact for symmetric units. The mean of normal ones would need 5.7 where t is 6.2; what
  lies between is room for units that are skewed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thinned._audit.subject import Subject

CHANCE = 1e-8
FEWEST = 1000  # decisions of the rarer kind; with fewer no statistic is judged
LOG = math.log(2 / CHANCE)
_T = math.sqrt(2 * LOG)


@dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        check: what was looked at.
        verdict: "ok", "fails", "note" (neither right nor wrong, but good to know), or "n/a" (not measurable here).
        measured: what was found.
        expected: what a dropout of this rate should give.
    """

    check: str
    verdict: str
    measured: str
    expected: str = ""


@dataclass
class Sample:
    """What many calls gave on normal numbers.

    Attributes:
        constant: what stands in the place of a dropped element; None if no value repeats.
        kept: bool of shape (calls, *shape), but 1 in size along `shared`.
        shared: axes of `kept` along which one decision is shared.
        moments: float64 of shape (calls, rows, 4): row means of x, y, x*x and y*y.
        ratio: y / x of the kept elements, when it is the same for all of them, else None.
    """

    constant: float | None
    kept: Tensor
    shared: list[int]
    moments: Tensor
    ratio: float | None


def sample(dropout: Subject, shape: tuple[int, ...], calls: int) -> Sample:
    """Call a dropout many times on normal numbers.

    Args:
        dropout: what is audited.
        shape: shape of the inputs.
        calls: how many.

    Returns:
        What the checks need to know about the calls.
    """
    constant: float | None = None
    ratio: float | None = None
    masks, moments = [], []
    for call in range(calls):
        x = torch.randn(shape)
        y = dropout(x).detach().to(x)
        if call == 0:
            constant = repeated(y)
            ratio = common_ratio(x, y, constant)
        masks.append(y != constant if constant is not None else torch.ones([1] * x.dim(), dtype=torch.bool))
        moments.append(torch.stack([_rows(value) for value in (x, y, x * x, y * y)], dim=1))
    kept = torch.stack(masks)
    shared = [axis for axis in range(1, kept.dim()) if constant is not None and _is_shared(kept, axis)]
    for axis in shared:
        kept = kept.narrow(axis, 0, 1)
    return Sample(constant, kept, shared, torch.stack(moments), ratio)


def repeated(y: Tensor) -> float | None:
    """Return the value that stands in the place of dropped elements, or None if none does.

    Args:
        y: what a dropout made of normal numbers.

    Returns:
        The value.
    """
    values, counts = torch.unique(y, return_counts=True)
    most = int(counts.argmax())
    # Among 1e5 normal numbers in float32 few coincide; among those that a dropout has put there, all do.
    return float(values[most]) if counts[most] >= max(4, y.numel() // 10_000) else None


def common_ratio(x: Tensor, y: Tensor, constant: float | None) -> float | None:
    """Return the absolute ratio of output to input, if it is the same for all kept elements.

    Args:
        x: input of a dropout.
        y: its output.
        constant: what stands in the place of dropped elements.

    Returns:
        The ratio, or None.
    """
    kept = y != (math.nan if constant is None else constant)
    ratios = (y[kept].double() / x[kept].double()).abs()
    if not len(ratios):
        return None
    middle = float(ratios.median())
    return middle if bool(((ratios / middle - 1).abs() < 1e-5).all()) else None  # two roundings in float32


def _rows(x: Tensor) -> Tensor:
    return x.double().reshape(len(x), -1).mean(1)


def _is_shared(kept: Tensor, axis: int) -> bool:
    return kept.shape[axis] > 1 and torch.equal(kept, kept.narrow(axis, 0, 1).expand_as(kept))


def _standard_error(units: Tensor) -> float:
    return _T * float(units.std()) / math.sqrt(units.numel())


def _strays(units: Tensor, floor: float = 1e-6) -> bool:
    """Whether the mean of independent units strays from 0; `floor` is what rounding in float32 may add."""
    return abs(float(units.mean())) > _standard_error(units) + floor


def _units(values: Tensor, found: Sample) -> Tensor:
    """(calls, rows, ...) as independent units: rows, or calls where rows share their decisions."""
    flat = values.flatten(1) if 1 in found.shared else values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    return flat.sum(-1, dtype=torch.float64) / flat.shape[-1]


def correlations(found: Sample) -> list[Finding]:
    """Return whether decisions depend on their neighbours along each axis, and on the call before.

    Args:
        found: the calls.

    Returns:
        One finding for each axis and one for calls.
    """
    kept = found.kept
    share = int(kept.count_nonzero()) / kept.numel()
    if found.constant is None or min(share, 1 - share) * kept.numel() < FEWEST:
        return [Finding("correlation", "n/a", "too few dropped or kept elements")]
    result = []
    for axis in range(kept.dim()):
        name = f"correlation along axis {axis - 1}" if axis else "correlation of calls"
        if axis in found.shared:
            result.append(Finding(name, "note", "one decision for all"))
            continue
        size = kept.shape[axis]
        if size < 2:
            continue
        one, other = (kept.movedim(axis, 0)[at : size // 2 * 2 : 2].movedim(0, axis) for at in (0, 1))
        both = _units(one & other, found)
        if axis == 0 and kept.shape[1] > 1:
            # Less that with another row of the other call: where the middle is dropped more often than the border, two
            # calls agree at each place more than by chance, and so do rows of theirs that have nothing to do with each
            # other. The units of neighbouring rows are correlated negatively, which makes the bound only wider.
            units = (both - _units(one & other.roll(1, dims=1), found)) / (share * (1 - share))
        else:
            either = (_units(one, found) + _units(other, found)) / 2
            units = (both - 2 * share * either + share**2) / (share * (1 - share))  # of (one - share)(other - share)
        strays = _strays(units, 1e-3)  # a fixed number of units kept out of n has -1 / (n - 1)
        measured = f"{float(units.mean()):+.4f} ± {_standard_error(units):.4f}"
        verdict = ("note" if axis else "fails") if strays else "ok"
        result.append(Finding(name, verdict, measured, "0"))
    return result


def rate(dropout: Subject, found: Sample, independent: bool) -> Finding:
    """Return whether as many elements are dropped as was asked for.

    Args:
        dropout: what is audited.
        found: the calls.
        independent: whether single decisions are independent of one another.

    Returns:
        The finding.
    """
    p = dropout.p
    if found.constant is None:
        return Finding("rate", "n/a", "no value repeats: noise, not dropped elements")
    dropped = ~found.kept
    count = dropped.numel()
    measured = int(dropped.count_nonzero()) / count
    if p is None:
        return Finding("rate", "note", f"{measured:.4f}")
    if independent:
        far = (LOG / 3 + math.sqrt(LOG**2 / 9 + 2 * count * p * (1 - p) * LOG)) / count
    else:
        far = _standard_error(_units(dropped, found))
    far += 2.0**-10 * min(p, 1 - p)  # the mask law may be off by that where 16 random bits decide
    verdict = "ok" if abs(measured - p) <= far else "fails"
    return Finding("rate", verdict, f"{measured:.4f} ± {far:.4f}", f"{p:.4f}")


def moments(dropout: Subject, found: Sample) -> list[Finding]:
    """Return whether mean and variance of normal numbers come out as they went in.

    Args:
        dropout: what is audited.
        found: the calls.

    Returns:
        Findings about the scale, the mean and the variance.
    """
    x, y, x2, y2 = found.moments.unbind(2)
    result = []
    p = dropout.p
    if found.constant == 0 and found.ratio is not None and p is not None and p < 1:
        good = abs(found.ratio * (1 - p) - 1) <= 2.0**-10  # as for the rate, by which the mask law scales
        result.append(Finding("scale of kept", "ok" if good else "fails", f"{found.ratio:.5f}", f"{1 / (1 - p):.5f}"))
    difference = _units(y - x, found)
    bound = _standard_error(difference)
    verdict = "fails" if _strays(difference) else "ok"
    result.append(Finding("mean of N(0, 1)", verdict, f"{float(y.mean()):+.4f} ± {bound:.4f}", "0"))
    measured = f"{float(y2.mean() / x2.mean()):.4f}"
    if not _strays(_units(y2 - x2, found)):
        result.append(Finding("variance of N(0, 1)", "ok", measured, "1: preserved"))
    elif p is not None and p < 1 and not _strays(_units(y2 * (1 - p) - x2, found), 1e-2):
        result.append(Finding("variance of N(0, 1)", "ok", measured, f"{1 / (1 - p):.4f} = 1 / (1 - p)"))
    else:
        result.append(Finding("variance of N(0, 1)", "note", measured, "1, or 1 / (1 - p)"))
    return result


def mean(dropout: Subject, shape: tuple[int, ...], calls: int, found: Sample) -> Finding:
    """Return whether the mean of ones stays 1.

    Args:
        dropout: what is audited.
        shape: shape of the inputs.
        calls: how many.
        found: the calls on normal numbers.

    Returns:
        The finding; "n/a" for a dropout that keeps the mean of normal numbers only.
    """
    if found.constant:
        return Finding("mean of ones", "n/a", "made for normal numbers")
    ones = torch.ones(shape)
    units = _units(torch.stack([_rows(dropout(ones).detach()) for _ in range(calls)]), found)
    verdict = "fails" if _strays(units - 1, 1e-4) else "ok"
    return Finding("mean of ones", verdict, f"{float(units.mean()):.4f} ± {_standard_error(units):.4f}", "1")
