"""Gaussian noise: the law's normal numbers on every path, values against NumPy, moments, gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import functional, masks, nn
from thinned._errors import KindError, RangeError
from thinned.kernels import cpu, tensor
from thinned.masks import Window

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def noise(shape, seed, stream=0):
    return masks.normal(0, math.prod(shape), seed, stream).reshape(shape)


def within(got, want, units=4):
    """Within `units` units in the last place of the float32 number, or 2**-40: what the law allows."""
    allowed = np.maximum(units * np.spacing(np.abs(want).astype(np.float32)).astype(np.float64), 2.0**-40)
    return bool((np.abs(got.astype(np.float64) - want) <= allowed).all())


@pytest.mark.parametrize("path", cpu.PATHS)
@pytest.mark.parametrize("n", [1, 63, 256, 1000, 300_000])
def test_normal_numbers(path, n):
    narrow, wide = torch.full((n,), math.nan), torch.full((n,), math.nan, dtype=torch.float64)
    cpu.normal(narrow, 7, 2**40 + 3, path=path)
    cpu.normal(wide, 7, 2**40 + 3, path=path)
    want = noise((n,), 7, 2**40 + 3)
    assert within(narrow.numpy(), want)
    np.testing.assert_allclose(wide.numpy(), want, rtol=4 * 2.0**-52, atol=2.0**-45)


def test_paths_and_threads_agree():
    results = []
    for path in cpu.PATHS:
        for threads in (1, 2, 3):
            y = torch.empty(70_000)
            cpu.normal(y, 1, 2, path=path, threads=threads)
            results.append(y)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_tensor_form():
    index = torch.arange(3000).view(30, 100)
    got = tensor.normal(index, 2**63 + 5 - 2**64, 9)
    np.testing.assert_allclose(got.numpy(), noise((30, 100), 2**63 + 5, 9), rtol=4 * 2.0**-52, atol=2.0**-45)


@given(
    shape=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    p=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**64 - 1),
    turned=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_values(shape, dtype, p, seed, turned):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    if turned:
        x = x.transpose(0, -1)
    n, eps = noise(tuple(x.shape), seed), torch.finfo(dtype).eps
    factor = 1 + math.sqrt(p / (1 - p)) * n
    wide = x.double().numpy()
    # 4 units of the normal number, and a rounding each for product, sum, product and result
    bound = 8 * eps * (np.abs(wide) * (1 + np.abs(factor - 1)) + 1e-30) + torch.finfo(dtype).smallest_normal
    got = functional.gaussian_dropout(x, p, seed=seed).double().numpy()
    assert (np.abs(got - wide * factor) <= bound).all()
    got = functional.gaussian_noise(x, 0.3, seed=seed).double().numpy()
    assert (np.abs(got - (wide + 0.3 * n)) <= 8 * eps * (np.abs(wide) + np.abs(n))).all()


def test_moments():
    """Of n numbers: the mean within 5 / sqrt(n), the variance within 5 sqrt(2 / n), correlations within 5 / sqrt(n)."""
    n = 1_000_000
    y = torch.empty(n)
    cpu.normal(y, 3, 0)
    y = y.double()
    assert abs(float(y.mean())) <= 5 / math.sqrt(n)
    assert abs(float(y.var()) - 1) <= 5 * math.sqrt(2 / n)
    for lag in (1, 63, 64, 128, 256):
        assert abs(float((y[:-lag] * y[lag:]).mean())) <= 5 / math.sqrt(n - lag)


@pytest.mark.parametrize("function", [functional.gaussian_dropout, functional.gaussian_noise])
def test_shared_axes_and_windows(function):
    x = torch.ones(8, 5, 6, dtype=torch.float64)
    y = function(x, 0.3, shared_axes=(1,), seed=4)
    assert torch.equal(y, y[:, :1].expand_as(y))
    whole = function(x, 0.3, seed=4)
    part = function(x[4:, :, 2:], 0.3, seed=4, window=Window((8, 5, 6), (4, 0, 2)))
    torch.testing.assert_close(part, whole[4:, :, 2:], rtol=1e-14, atol=1e-14)


def test_gradients():
    x = torch.randn(30, dtype=torch.float64, requires_grad=True)
    for call in (
        lambda t: functional.gaussian_dropout(t, 0.4, seed=3),
        lambda t: functional.gaussian_noise(t, 0.4, seed=3),
    ):
        assert torch.autograd.gradcheck(call, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(call, x)


def test_keeps_nothing_for_backward():
    kept = []
    x = torch.randn(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda t: t):
        y = functional.gaussian_dropout(x, 0.4)
    y.sum().backward()
    assert kept == []
    torch.testing.assert_close(x.grad * x, y)


def test_complex():
    x = torch.randn(20, dtype=torch.complex128)
    y = functional.gaussian_dropout(x, 0.4, seed=3)
    torch.testing.assert_close(y.numpy(), x.numpy() * (1 + math.sqrt(0.4 / 0.6) * noise((20,), 3)))


def test_no_noise_is_the_input():
    x, state = torch.ones(3), torch.get_rng_state()
    assert nn.GaussianDropout(0.0)(x) is x
    assert nn.GaussianNoise(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_limits():
    message = r"^`p` must be below 1, where the variance p / \(1 - p\) has no limit, but got p=1\.0\.$"
    with pytest.raises(RangeError, match=message):
        nn.GaussianDropout(1.0)
    layer = nn.GaussianDropout(0.5)
    with pytest.raises(RangeError, match=message):
        layer.p = 1.0
    with pytest.raises(RangeError, match=message):
        functional.gaussian_dropout(torch.ones(3), 1.0)
    assert layer.p == 0.5


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (-0.1, RangeError, r"^`std` must be a finite number of at least 0, but got std=-0\.1\.$"),
        (math.inf, RangeError, r"^`std` must be a finite number of at least 0, but got std=inf\.$"),
        (math.nan, RangeError, r"^`std` must be a finite number of at least 0, but got std=nan\.$"),
        ("1", KindError, r"^`std` must be a number of at least 0, but got std='1' of type str\.$"),
        (True, KindError, r"^`std` must be a number of at least 0, but got std=True of type bool\.$"),
    ],
)
def test_wrong_std(value, kind, message):
    with pytest.raises(kind, match=message):
        nn.GaussianNoise(value)
    layer = nn.GaussianNoise(0.5)
    with pytest.raises(kind, match=message):
        layer.std = value
    assert layer.std == 0.5


def test_activity_penalty():
    layer, x = nn.ActivityRegularization(l1=0.1, l2=0.01), torch.tensor([3.0, -4.0, 0.0], requires_grad=True)
    y = layer(x)
    assert y is x
    assert layer.penalty.item() == pytest.approx(0.1 * 7 + 0.01 * 25)
    layer.penalty.backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.1 + 0.06, -0.1 - 0.08, 0.0]))
    layer.eval()(x)
    assert layer.penalty is None
    half = functional.activity_penalty(torch.full((100_000,), 2.0, dtype=torch.float16), 1.0)
    assert half.item() == 200_000  # beyond float16
    with pytest.raises(KindError, match=r"must be floating or complex for a penalty, but got dtype torch\.int64"):
        functional.activity_penalty(torch.ones(3, dtype=torch.int64))
