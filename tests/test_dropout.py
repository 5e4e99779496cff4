"""Dropout as functions, against the contract of edge cases: one row of it at a time."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinned
from thinned import functional
from thinned._errors import KindError, RangeError
from thinned.kernels import cpu, tensor
from thinned.masks import Mask, rate

pytestmark = pytest.mark.device
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40)
DTYPES = list(cpu.DTYPES)
WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
FUNCTIONS = {name: getattr(functional, name) for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")}
# torch's attention is written in C++ and has no signature to compare.
TORCHS = [name for name in functional.__all__ if inspect.isfunction(getattr(torch.nn.functional, name, None))]
KIND, RANGE = (KindError, TypeError), (RangeError, ValueError)
SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 65504.0, 3e38, -1e-30, 1e-45]


def randn(*shape, dtype=torch.float32):
    return torch.randn(
        shape, dtype=torch.float64, generator=torch.Generator(torch.get_default_device()).manual_seed(0)
    ).to(dtype)


def shape_for(name):
    return {"dropout": (6, 7), "dropout1d": (4, 5, 6), "dropout2d": (4, 5, 6, 7)}.get(name, (3, 4, 5, 6, 2))


def is_plus_zero(x):
    return x.contiguous().reshape(-1).view(torch.uint8).count_nonzero() == 0


def undrawn(call):
    """Run `call` and see that torch's generator has not moved."""
    state = torch.get_rng_state()
    result = call()
    assert torch.equal(torch.get_rng_state(), state)
    return result


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCHS)
def test_signature_begins_like_torchs(name):
    def told(function):
        return [(p.name, p.default, p.kind) for p in inspect.signature(function).parameters.values()]

    theirs, ours = told(getattr(torch.nn.functional, name)), told(getattr(functional, name))
    assert ours[: len(theirs)] == theirs
    assert {kind for _, _, kind in ours[len(theirs) :]} == {inspect.Parameter.KEYWORD_ONLY}
    assert {*FUNCTIONS, "alpha_dropout", "feature_alpha_dropout"} == {*TORCHS}


# `activity_penalty` draws nothing; of ids, which are no tensor to cut a window from, `subsample` makes a `Subsample`.
@pytest.mark.parametrize("name", sorted({*functional.__all__} - {"activity_penalty", "subsample", "Subsample"}))
def test_randomness_is_given_by_keyword(name):
    told = inspect.signature(getattr(functional, name)).parameters.values()
    by_keyword = {p.name for p in told if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {"seed", "stream", "generator", "window"} <= by_keyword


# --- p = 0 and eval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("options", [{"p": 0.0}, {"p": 1e-12}, {"training": False}, {"p": 1.0, "training": False}])
@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_to_drop_returns_the_input(name, dtype, options, inplace):
    x = torch.ones(shape_for(name)).to(dtype)
    assert undrawn(lambda: FUNCTIONS[name](x, **options, inplace=inplace)) is x
    leaf = torch.ones(shape_for(name), requires_grad=True)
    assert FUNCTIONS[name](leaf, **options, inplace=inplace) is leaf


# --- p = 1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1.0, 1, 1 - 1e-12])
@pytest.mark.parametrize("inplace", [False, True])
def test_all_dropped(dtype, p, inplace):
    """+0.0 everywhere, and a gradient of +0.0 even where what comes from above is infinite or no number."""
    x = torch.tensor(SPECIAL, dtype=torch.float64).to(dtype).requires_grad_()
    y = undrawn(lambda: thinned.dropout(x * 1, p, inplace=inplace))
    assert y.dtype == dtype
    assert is_plus_zero(y.detach())
    assert y.requires_grad
    y.backward(torch.tensor(SPECIAL[::-1], dtype=torch.float64).to(dtype))
    assert is_plus_zero(x.grad)


# --- what is dropped and what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 0.003])  # 16 and 32 random bits
@pytest.mark.parametrize("shared", [(), (1,)])
def test_dropped_is_plus_zero_and_kept_is_rounded_once(dtype, p, shared):
    x = torch.tensor(SPECIAL * 2000, dtype=torch.float64).to(dtype).view(2000, 11)
    y = thinned.dropout(x, p, seed=4, shared_axes=shared)
    keep = Mask(p, 4, shared_axes=shared).keep(x.shape, x.device)
    assert is_plus_zero(y[~keep])
    assert (~keep).any()
    parts = torch.view_as_real(x) if x.is_complex() else x
    wide = WIDE.get(dtype, parts.dtype)
    exact = (parts.to(wide) * torch.tensor(rate(p).scale, dtype=wide)).to(parts.dtype)
    found = torch.view_as_real(y) if x.is_complex() else y
    found, exact = (x[keep.expand(x.shape[:2])].nan_to_num(7.0) for x in (found, exact))  # a nan may have any sign
    assert torch.equal(found, exact)
    assert torch.equal(found.signbit(), exact.signbit())


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if not dtype.is_complex])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_values_are_no_worse_than_torchs(dtype, p):
    """Against float64, with the rate that each of the two realises: at most twice torch's relative error."""
    x = randn(3000, dtype=dtype)
    y, keep = thinned.dropout(x, p, seed=1), Mask(p, 1).keep(x.shape, x.device)
    theirs = x * torch.ones_like(x).div_(1 - p)  # what torch does to an element that it keeps
    error = (y.double() / (x.double() * rate(p).scale) - 1)[keep].abs().max()
    limit = (theirs.double() / (x.double() / (1 - p)) - 1)[keep].abs().max()
    assert error <= 2 * limit
    if dtype in WIDE:  # torch rounds the scale, too
        assert error <= limit


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.9])
def test_rate_and_mean(p):
    """The number of kept elements is binomial: within 5 standard deviations, which one seed in two million is not."""
    n = 1 << 20
    y = thinned.dropout(torch.ones(n, dtype=torch.float64), p, seed=12345)
    kept, q = int(y.count_nonzero()), rate(p).realised
    assert abs(q - p) <= 2**-10 * min(p, 1 - p)
    assert abs(kept - n * (1 - q)) <= 5 * math.sqrt(n * q * (1 - q))
    assert y.unique().tolist() == [0.0, 1 / (1 - q)]  # so the mean over masks is the input itself
    assert abs(float(y.mean()) - 1) <= 5 * math.sqrt(q / (1 - q) / n)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("how", ["stream", "seed", "call", "neighbours", "rows"])
def test_masks_are_independent(p, how):
    """The covariance of two independent masks is 0, with standard deviation p (1 - p) / sqrt(n)."""
    n, q = 1 << 18, rate(p).realised
    x = torch.ones(n, dtype=torch.float64)
    torch.manual_seed(3)
    first = {"stream": {"stream": 1}, "seed": {"seed": 1}, "call": {}}.get(how, {"seed": 1})
    second = {"stream": {"stream": 2}, "seed": {"seed": 2}, "call": {}}.get(how, {"seed": 1})
    fixed = {"seed": 7} if how == "stream" else {}
    a = (thinned.dropout(x, p, **first, **fixed) != 0).double() - (1 - q)
    b = (thinned.dropout(x, p, **second, **fixed) != 0).double() - (1 - q)
    b = {"neighbours": b.roll(1), "rows": b.roll(512)}.get(how, b)
    assert abs(float((a * b).mean())) <= 5 * q * (1 - q) / math.sqrt(n)


# --- p ----------------------------------------------------------------------------------------------------------------

WRONG_P = [
    (1.5, RANGE, r"^`p` must be in \[0, 1\], but got p=1\.5\.$"),
    (-0.1, RANGE, r"^`p` must be in \[0, 1\], but got p=-0\.1\.$"),
    (2, RANGE, r"^`p` must be in \[0, 1\], but got p=2\.$"),
    (math.nan, RANGE, r"^`p` must be in \[0, 1\], but got p=nan\.$"),
    (math.inf, RANGE, r"^`p` must be in \[0, 1\], but got p=inf\.$"),
    ("0.5", KIND, r"^`p` must be a number in \[0, 1\], but got p='0\.5' of type str\.$"),
    (None, KIND, r"^`p` must be a number in \[0, 1\], but got p=None of type NoneType\.$"),
    (True, KIND, r"^`p` must be a number in \[0, 1\], but got p=True of type bool\.$"),
    (torch.tensor(0.5), KIND, r"^`p` must be a number in \[0, 1\], but got p=tensor\(0\.5000\) of type Tensor\.$"),
]


@pytest.mark.parametrize(("p", "kinds", "message"), WRONG_P)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_p(name, p, kinds, message, training):
    with pytest.raises(kinds[0], match=message) as caught:
        FUNCTIONS[name](torch.ones(shape_for(name)), p, training)
    assert isinstance(caught.value, kinds[1])


@pytest.mark.parametrize("p", [np.float32(0.5), np.float64(0.5), np.int64(1), 1, 0])
def test_numbers_that_are_probabilities(p):
    x = torch.ones(90)
    assert torch.equal(thinned.dropout(x, p, seed=1), thinned.dropout(x, float(p), seed=1))


# --- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
@pytest.mark.parametrize("options", [{}, {"p": 1.0}, {"mask": torch.tensor(True)}, {"inplace": True}], ids=str)
def test_integers_are_refused(dtype, options):
    x = torch.ones(4, 5).to(dtype)
    with pytest.raises(KindError, match=f"^`input` must be float16, .* for dropout in training, but got dtype {dtype}"):
        thinned.dropout(x, **options)


@pytest.mark.parametrize("p", [0.3, 0.001])
def test_mask_does_not_depend_on_dtype_strides_or_threads(p):
    shape, seed = (3, 5, 64, 150), 9
    ones = torch.ones(shape)
    keep = Mask(p, seed).keep(shape, ones.device)
    number = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for dtype in DTYPES if threads == 2 else [torch.float32]:
                assert torch.equal(thinned.dropout(ones.to(dtype), p, seed=seed) != 0, keep)
            for order in [(3, 2, 1, 0), (0, 2, 3, 1), (1, 0, 3, 2)]:
                x = ones.permute(order).contiguous().permute([order.index(axis) for axis in range(4)])
                assert not x.is_contiguous()
                assert torch.equal(thinned.dropout(x, p, seed=seed) != 0, keep)
    finally:
        torch.set_num_threads(number)


# --- shapes and memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (63,), (500,), (1000,), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex128])
def test_shapes(shape, dtype):
    x = torch.ones(shape, dtype=dtype, requires_grad=True)
    y = thinned.dropout(x, 0.5, seed=8)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert torch.equal(y != 0, Mask(0.5, 8).keep(shape, x.device))
    y.backward(torch.ones_like(y))
    assert torch.equal(x.grad, y)


@st.composite
def calls(draw):
    """A tensor of any layout, and how it is dropped."""
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    order = draw(st.permutations(range(len(shape))))
    step = draw(st.sampled_from([1, 2]))
    expand = draw(st.booleans())
    shared = tuple(draw(st.lists(st.integers(-len(shape), len(shape) - 1), max_size=2)))
    x = torch.randn([shape[axis] * (step if place == 0 else 1) for place, axis in enumerate(order)])
    x = x[::step].permute([order.index(axis) for axis in range(len(shape))])
    if expand and shape[0]:
        x = x[:1].expand(shape)
    p = draw(st.sampled_from([0.001, 0.1, 0.5, 0.97]) | st.floats(0.01, 0.99))
    return x.to(draw(st.sampled_from(DTYPES))), p, draw(st.integers(-(2**63), 2**64 - 1)), shared


@EXAMPLES
@given(calls())
def test_any_call(call):
    x, p, seed, shared = call
    keep = Mask(p, seed, shared_axes=shared).keep(x.shape, x.device)
    before = x.clone()
    y = thinned.dropout(x, p, seed=seed, shared_axes=shared)
    assert torch.equal(y != 0, keep & (x != 0))
    assert torch.equal(y, tensor.select(x, keep, rate(p).scale))
    assert torch.equal(x, before)
    if x.numel():
        assert y.stride() == torch.empty_like(x).stride()
    leaf = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(thinned.dropout(leaf, p, seed=seed, shared_axes=shared), leaf, torch.ones_like(leaf))
    assert torch.equal(slope != 0, keep)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_channels_last_is_kept(p):
    x = randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    keep = torch.tensor([True, False, True]).view(3, 1, 1)
    for y in (
        thinned.dropout(x, p),
        thinned.dropout(x, p, shared_axes=(1,)),
        functional.dropout2d(x, p),
        thinned.dropout(x, p, mask=keep),
    ):
        assert y.is_contiguous(memory_format=torch.channels_last)
