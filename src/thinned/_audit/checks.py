"""The checks of an audit, and the bounds that their statistics are held to.

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
HALVES = (torch.float16, torch.bfloat16)
_LOG = math.log(2 / CHANCE)
_T = math.sqrt(2 * _LOG)


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
            constant = _repeated(y)
            ratio = _ratio(x, y, constant)
        masks.append(y != constant if constant is not None else torch.ones([1] * x.dim(), dtype=torch.bool))
        moments.append(torch.stack([_rows(value) for value in (x, y, x * x, y * y)], dim=1))
    kept = torch.stack(masks)
    shared = [axis for axis in range(1, kept.dim()) if constant is not None and _is_shared(kept, axis)]
    for axis in shared:
        kept = kept.narrow(axis, 0, 1)
    return Sample(constant, kept, shared, torch.stack(moments), ratio)


def _repeated(y: Tensor) -> float | None:
    values, counts = torch.unique(y, return_counts=True)
    most = int(counts.argmax())
    # Among 1e5 normal numbers in float32 few coincide; among those that a dropout has put there, all do.
    return float(values[most]) if counts[most] >= max(4, y.numel() // 10_000) else None


def _ratio(x: Tensor, y: Tensor, constant: float | None) -> float | None:
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
        both, either = _units(one & other, found), (_units(one, found) + _units(other, found)) / 2
        units = (both - 2 * share * either + share**2) / (share * (1 - share))  # mean of (one - share)(other - share)
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
        far = (_LOG / 3 + math.sqrt(_LOG**2 / 9 + 2 * count * p * (1 - p) * _LOG)) / count
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


def backward(dropout: Subject, shape: tuple[int, ...]) -> Finding:
    """Return whether the gradient goes through the mask of the forward pass.

    Args:
        dropout: what is audited.
        shape: shape of the input.

    Returns:
        The finding.
    """
    x = torch.randn(shape, requires_grad=True)
    try:
        y = dropout(x)
    except Exception as error:  # arrays of other libraries: whatever they raise, there is no gradient
        return Finding("backward mask", "n/a", f"no gradient: {type(error).__name__}")
    if y.grad_fn is None:
        return Finding("backward mask", "n/a", "no gradient")
    (gradient,) = torch.autograd.grad(y.sum(), x)
    # d y / d x is a multiplier, y = x times it but for a constant: 0 where dropped, the scale (or noise) where kept.
    rest = (y - x * gradient).detach()
    off = (rest - rest.median()).abs() > 1e-4 * (1 + y.detach().abs())
    dropped = gradient == 0
    constants = _repeated(y.detach()[dropped]) if dropped.sum() >= 4 else None
    wrong = int((off & ~dropped).sum())
    if constants is not None:
        wrong += int((y.detach()[dropped] != constants).sum())
    return Finding("backward mask", "fails" if wrong else "ok", f"{wrong} of {y.numel()} elements differ", "0")


def evaluation(dropout: Subject, shape: tuple[int, ...]) -> Finding:
    """Return whether nothing is dropped in eval mode.

    Args:
        dropout: what is audited.
        shape: shape of the input.

    Returns:
        The finding.
    """
    if dropout.module is None:
        return Finding("eval", "n/a", "a function, or a layer without eval mode")
    x = torch.randn(shape)
    dropout.module.eval()
    y = dropout(x)
    dropout.module.train()
    same = torch.equal(x, y)
    return Finding("eval", "ok" if same else "fails", "the input" if same else "another tensor", "the input")


def reproducibility(dropout: Subject, shape: tuple[int, ...], seed: int) -> list[Finding]:
    """Return whether torch's seed decides the mask, and whether the memory layout has a say in it.

    Args:
        dropout: what is audited.
        shape: shape of the input.
        seed: any seed.

    Returns:
        One finding, and another one if the input has more than one axis.
    """
    x = torch.ones(shape)

    def after_seed(input: Tensor) -> Tensor:
        torch.manual_seed(seed)
        return dropout(input).detach()

    first = after_seed(x)
    same = torch.equal(first, after_seed(x))
    told = "the same mask" if same else "another mask"
    result = [Finding("same torch seed", "ok" if same else "note", told, "the same mask")]
    if same and len(shape) > 1:
        same = torch.equal(first, after_seed(x.transpose(0, -1).contiguous().transpose(0, -1)))
        told = "the same mask" if same else "another mask"
        result.append(Finding("same seed, transposed memory", "ok" if same else "note", told, "the same mask"))
    return result


def extreme_rates(dropout: Subject, shape: tuple[int, ...]) -> list[Finding]:
    """Return whether p = 0 keeps all, and p = 1 keeps nothing, whatever the input holds.

    Args:
        dropout: what is audited.
        shape: shape of the input.

    Returns:
        Three findings, or one if there is no rate to be set.
    """
    if dropout.with_p is None:
        return [Finding("p = 0, p = 1", "n/a", "no rate that could be set")]
    x = torch.randn(shape)
    wild = x.clone().view(-1)
    wild[::3], wild[1::3] = math.inf, math.nan
    result = []
    for p, name, input in ((0.0, "p = 0", x), (1.0, "p = 1", x), (1.0, "p = 1 on inf and nan", wild.view(shape))):
        expected = "one constant" if p else "the input"
        try:
            y = dropout.with_p(p)(input).detach()
        except Exception as error:  # whatever another library raises is what is to be told
            verdict = "note" if isinstance(error, ValueError) else "fails"
            result.append(Finding(name, verdict, f"{type(error).__name__}: {error}".partition("\n")[0][:60], expected))
            continue
        good = torch.equal(y, input) if p == 0 else bool((y == y.view(-1)[0]).all())
        told = expected if good else "nan" if bool(y.isnan().any()) and p else "something else"
        result.append(Finding(name, "ok" if good else "fails", told, expected))
    return result


def extreme_values(dropout: Subject, shape: tuple[int, ...], found: Sample) -> list[Finding]:
    """Return whether dropped inf and nan are gone, and dropped negative numbers are +0.

    Args:
        dropout: what is audited.
        shape: shape of the input.
        found: the calls on normal numbers.

    Returns:
        Two findings.
    """
    if found.constant is None:
        return [Finding("dropped inf and nan", "n/a", "nothing is dropped")]
    infinite = dropout(torch.full(shape, math.inf)).detach()
    none = dropout(torch.full(shape, math.nan)).detach()
    gone = not infinite.isnan().any() and not none.isnan().all()
    told = "gone" if gone else "nan"
    result = [Finding("dropped inf and nan", "ok" if gone else "fails", told, "gone")]
    if found.constant == 0:
        negative = dropout(torch.full(shape, -1.0)).detach()
        signed = bool((torch.signbit(negative) & (negative == 0)).any())
        result.append(Finding("dropped negative", "note" if signed else "ok", "-0.0" if signed else "+0.0", "+0.0"))
    return result


def half(dropout: Subject, shape: tuple[int, ...], found: Sample, dtype: torch.dtype) -> Finding:
    """Return whether a narrow dtype changes how much is kept, or how it is scaled.

    Args:
        dropout: what is audited.
        shape: shape of the input.
        found: the calls in float32.
        dtype: float16 or bfloat16.

    Returns:
        The finding: the mean factor of kept elements against that in float32.
    """
    name = str(dtype).removeprefix("torch.")
    if found.constant != 0 or found.ratio is None:
        return Finding(name, "n/a", "kept elements have no common scale")
    x = (torch.rand(shape) + 1).to(dtype)
    try:
        y = dropout(x).detach()
    except Exception as error:  # as above
        return Finding(name, "fails", f"{type(error).__name__}: {error}".partition("\n")[0][:60], "as float32")
    kept = y != 0
    count = int(kept.sum())
    if y.dtype != dtype or not count:
        return Finding(name, "fails", f"dtype {y.dtype}" if count else "all zero", "as float32")
    # Roundings to nearest of products in [1, 4) err by at most half an eps each, either way: Hoeffding's inequality.
    bias = float((y[kept].double() / x[kept].double()).mean()) / found.ratio - 1
    far = torch.finfo(dtype).eps / 2 * math.sqrt(2 * _LOG / count) + 1e-5
    verdict = "ok" if abs(bias) <= far else "note"
    return Finding(name, verdict, f"scale {bias:+.2e} ± {far:.0e}", "scale as in float32")


def variance_shift(dropout: Subject, shape: tuple[int, ...]) -> Finding:
    """Return how far a BatchNorm behind it learns another variance than it meets in eval mode.

    Args:
        dropout: what is audited.
        shape: shape of the input.

    Returns:
        The finding, on rectified normal numbers: the ratio of the two variances.

    Source: Li, Chen, Hu and Yang, "Understanding the disharmony between dropout and batch normalization by variance
    shift", CVPR 2019.
    """
    x = torch.relu(torch.randn(shape))
    shift = float(dropout(x).detach().double().var() / x.double().var())
    return Finding("variance shift into BatchNorm", "note", f"{shift:.2f} times that of eval", "1 for none")
