"""Alpha dropout: values against NumPy, exact mean and variance, all kernels alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import functional, nn
from thinned._errors import KindError, RangeError
from thinned.kernels import cpu
from thinned.masks import Mask, Window, rate

SATURATION = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717  # SELU's constants, from its paper
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def expected(x, p, seed, shared_axes=(), window=None):
    """The paper's formula in float64, at the realised rate."""
    q = rate(p).realised
    a = ((1 - q) * (1 + q * SATURATION**2)) ** -0.5
    b = -a * q * SATURATION
    keep = Mask(p, seed, shared_axes=shared_axes, window=window).keep_array(x.shape)
    return np.where(keep, a * x.double().numpy() + b, a * SATURATION + b)


def close(got, want):
    """A product, a sum and a rounding: three roundings of numbers no larger than the largest here."""
    eps = torch.finfo(got.dtype).eps
    atol = 3 * eps * max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got.double().numpy(), want, rtol=0, atol=atol)


@given(
    shape=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    dtype=st.sampled_from(DTYPES),
    p=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**64 - 1),
    turned=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_values(shape, dtype, p, seed, turned):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    if turned:
        x = x.transpose(0, -1)
    close(functional.alpha_dropout(x, p, True, seed=seed), expected(x, p, seed))
    whole = functional.feature_alpha_dropout(x, p, True, seed=seed)
    close(whole, expected(x, p, seed, tuple(range(2, x.dim()))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 1 / 3])
def test_all_paths_agree(dtype, p):
    x, law = torch.randn(3000).to(dtype), rate(p)
    results = []
    for path in cpu.PATHS:
        y = torch.full_like(x, math.nan)
        cpu.dropout(x, y, law, 5, 6, path=path, shift=0.25, fill=-1.5)
        results.append(y)
    keep = Mask(p, 5, 6).keep((3000,))
    assert (results[0][~keep] == -1.5).all()
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_mean_and_variance_are_kept(p):
    """Of n standard normal inputs. The deviation of a mean is 1/sqrt(n); that of a variance sqrt((kurtosis - 1) / n).

    The kurtosis of the output is at most that of a mixture with a point at s: E[y**4] is computed here from its parts.
    """
    n, q = 400_000, rate(p).realised
    x = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = functional.alpha_dropout(x, p, True, seed=2)
    a = ((1 - q) * (1 + q * SATURATION**2)) ** -0.5
    b, c = -a * q * SATURATION, a * SATURATION * (1 - q)
    fourth = (1 - q) * (3 * a**4 + 6 * a**2 * b**2 + b**4) + q * c**4
    assert abs(float(y.mean())) <= 5 / math.sqrt(n)
    assert abs(float(y.var()) - 1) <= 5 * math.sqrt((fourth - 1) / n)


def test_moments_are_exact_at_the_realised_rate():
    """With the law's own share of dropped elements the two moments are 0 and 1 to rounding."""
    q, p = rate(0.3).realised, 0.3
    y = functional.alpha_dropout(torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(500), p, True, seed=1)
    keep = Mask(p, 1).keep((1000,))
    zero = torch.arange(1000) % 2 == 0
    b, c = float(y[keep & zero][0]), float(y[~keep][0])
    a = float(y[keep & ~zero][0]) - b
    assert abs((1 - q) * b + q * c) < 1e-15
    assert abs((1 - q) * (a * a + b * b) + q * c * c - 1) < 1e-14


def test_dropped_elements_have_no_gradient_and_hide_inf_and_nan():
    x = torch.tensor([math.inf, math.nan, -math.inf] * 50, requires_grad=True)
    y = functional.alpha_dropout(x, 0.5, True, seed=1)
    keep = Mask(0.5, 1).keep((150,))
    assert torch.equal(y[~keep], y[~keep][:1].expand(int((~keep).sum())))
    assert not y[keep].isfinite().any()
    y.backward(torch.full_like(y, math.inf))
    assert torch.equal(x.grad == 0, ~keep)


def test_p_1_is_zero():
    x = torch.tensor([1.0, math.inf, math.nan], requires_grad=True)
    y = nn.AlphaDropout(1.0)(x)
    y.backward(torch.full_like(y, math.nan))
    assert torch.equal(y, torch.zeros(3))
    assert torch.equal(x.grad, torch.zeros(3))


def test_second_derivatives():
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    call = lambda t: functional.alpha_dropout(t, 0.4, True, seed=3)  # noqa: E731
    assert torch.autograd.gradcheck(call, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, x)


def test_windows():
    x = torch.randn(8, 6)
    whole = functional.alpha_dropout(x, 0.4, True, seed=3)
    part = functional.alpha_dropout(x[4:, 2:], 0.4, True, seed=3, window=Window((8, 6), (4, 2)))
    assert torch.equal(whole[4:, 2:], part)


def test_under_vmap():
    x = torch.rand(5, 30, dtype=torch.float64)  # above what is dropped, so that the least of a row is that
    call = torch.func.vmap(lambda t: functional.alpha_dropout(t, 0.5, True), randomness="different")
    torch.manual_seed(0)
    y = call(x)
    assert len({tuple((row == row.min()).tolist()) for row in y}) == 5


def test_torchs_defaults():
    x = torch.randn(4)
    assert functional.alpha_dropout(x) is x
    assert functional.feature_alpha_dropout(x) is x


def test_wrong_input():
    with pytest.raises(KindError, match=r"must be real for alpha dropout, but got dtype torch\.complex64"):
        functional.alpha_dropout(torch.ones(3, dtype=torch.complex64), 0.5, True)
    with pytest.raises(RangeError, match=r"must have at least 2 axes, but got shape \(3,\)"):
        functional.feature_alpha_dropout(torch.ones(3), 0.5, True)
    with pytest.raises(KindError, match=r"for dropout in training, but got dtype torch\.int64"):
        functional.alpha_dropout(torch.ones(3, dtype=torch.int64), 0.5, True)
