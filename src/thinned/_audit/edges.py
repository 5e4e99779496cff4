"""What single calls of a dropout show: backward, eval mode, seeds, rates and values at the edge, narrow dtypes."""

import math

import torch
from torch import Tensor

from thinned._audit.statistics import LOG, Finding, Sample, common_ratio, repeated
from thinned._audit.subject import Subject

HALVES = (torch.float16, torch.bfloat16)


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
    if repeated(y.detach()) is None and bool((gradient == 1).all()):
        # Noise that is added has no mask. A multiplier with a wrong gradient would grow with the input.
        added, grown = ((dropout(scale * x.detach()) - scale * x.detach()).std() for scale in (1.0, 1e3))
        if bool(grown < 10 * added):
            return Finding("backward mask", "ok", "noise is added: the gradient is 1", "0")
    # d y / d x is a multiplier, y = x times it but for a constant: 0 where dropped, the scale (or noise) where kept.
    rest = (y - x * gradient).detach()
    off = (rest - rest.median()).abs() > 1e-4 * (1 + y.detach().abs())
    dropped = gradient == 0
    constants = repeated(y.detach()[dropped]) if dropped.sum() >= 4 else None
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
    if dropout.evaluate is None:
        return Finding("eval", "n/a", "no way to say that it is not training")
    x = torch.randn(shape)
    y = dropout.evaluate(x)
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
    if not count:
        return Finding(name, "fails", "all zero", "as float32")
    if y.dtype != dtype:
        return Finding(name, "note", f"returns {str(y.dtype).removeprefix('torch.')}", name)
    wide = dropout(x.float()).detach()
    again = common_ratio(x.float(), wide.float(), found.constant)
    if again is None or abs(again / found.ratio - 1) > 1e-4:
        return Finding(name, "n/a", "the scale differs from call to call")
    # Roundings to nearest of products in [1, 4) err by at most half an eps each, either way: Hoeffding's inequality.
    bias = float((y[kept].double() / x[kept].double()).mean()) / found.ratio - 1
    far = torch.finfo(dtype).eps / 2 * math.sqrt(2 * LOG / count) + 1e-5
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
