"""Dropout on NumPy arrays: the masks of the law, the contract for edge cases, and vanilla against inverted."""

import inspect
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinned
from thinned._errors import KindError, RangeError
from thinned.masks import Mask, Window, rate
from thinned.numpy import dropout, inverted_dropout, vanilla_dropout

BOTH = pytest.mark.parametrize("function", [vanilla_dropout, inverted_dropout])
WIDE = {
    "float16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}
DTYPES = pytest.mark.parametrize("dtype", WIDE)
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40)


def sample(shape, dtype, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape)
    return (values + 1j * generator.normal(size=shape) if dtype.startswith("c") else values).astype(dtype)


def same_bits(one, other):
    """Whether two arrays have the same dtype, shape and bits: -0.0 is not +0.0."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def one_by_one(x, keep, factor):
    """What dropout means, an element at a time: scaled in the wide type, rounded once, +0.0 where dropped."""
    wide = np.dtype(WIDE[x.dtype.name]).type
    out = np.zeros(x.shape, x.dtype)
    for at in np.ndindex(x.shape):
        if keep[at] and np.iscomplexobj(x):
            out[at] = complex(wide(x[at].real) * wide(factor), wide(x[at].imag) * wide(factor))
        elif keep[at]:
            out[at] = wide(x[at]) * wide(factor)
    return out


def test_dropout_is_the_inverted_one():
    assert dropout is inverted_dropout


def test_both_take_the_same_arguments():
    assert inspect.signature(vanilla_dropout) == inspect.signature(inverted_dropout)


@DTYPES
@pytest.mark.parametrize("p", [0.1, 0.5, 0.001])
def test_training(dtype, p):
    x = sample((7, 90), dtype)
    keep = Mask(p, seed=3, stream=4).keep_array(x.shape)
    assert same_bits(inverted_dropout(x, p, seed=3, stream=4), one_by_one(x, keep, rate(p).scale))
    assert same_bits(vanilla_dropout(x, p, seed=3, stream=4), one_by_one(x, keep, 1))


@DTYPES
def test_the_torch_function_gives_the_same_bits(dtype):
    x = sample((9, 130), dtype)
    ours = inverted_dropout(x, 0.3, seed=-5, stream=2**63)
    assert same_bits(ours, thinned.dropout(torch.from_numpy(x), 0.3, seed=-5, stream=2**63).numpy())


@DTYPES
def test_at_test_time(dtype):
    x = sample((5, 6), dtype)
    assert inverted_dropout(x, 0.3, training=False) is x
    assert same_bits(vanilla_dropout(x, 0.3, training=False), one_by_one(x, np.full(x.shape, True), 1 - 0.3))


def test_vanilla_and_inverted_differ_by_the_scale_alone():
    # Powers of two multiply without rounding: for p = 1/2 the two agree exactly, in training and in prediction.
    x = sample((50,), "float64")
    assert same_bits(2 * vanilla_dropout(x, 0.5, seed=1), inverted_dropout(x, 0.5, seed=1))
    assert same_bits(2 * vanilla_dropout(x, 0.5, training=False), inverted_dropout(x, 0.5, training=False))


@BOTH
def test_p_zero_returns_the_input(function):
    for x in (np.arange(5), np.array([True, False]), np.array(["a"]), sample((3,), "float16")):
        assert function(x, 0) is x
        assert function(x, 1e-12) is x  # rounds to certainty
        assert function(x, 0.0, training=False) is x


@pytest.mark.parametrize("function", [vanilla_dropout, inverted_dropout])
@pytest.mark.parametrize("p", [1, 1.0, 1 - 1e-12])
def test_p_one_gives_positive_zeros(function, p):
    for x in (np.array([-1.0, math.inf, -math.inf, math.nan, -0.0]), np.array([complex(-1, math.nan)], "complex64")):
        assert same_bits(function(x, p), np.zeros(x.shape, x.dtype))
    assert same_bits(vanilla_dropout(np.array([-1.0, math.inf]), p, training=False), np.zeros(2))


@BOTH
@DTYPES
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1.0, -0.0])
def test_dropped_elements_are_selected_away(function, dtype, value):
    x = np.full(300, complex(value, value) if dtype.startswith("c") else value, dtype)
    dropped = ~Mask(0.5, seed=1).keep_array(x.shape)
    assert same_bits(function(x, 0.5, seed=1)[dropped], np.zeros(dropped.sum(), dtype))


def test_kept_infinities_stay_what_they_are():
    x = np.full(300, complex(math.inf, 1), "complex128")
    out = inverted_dropout(x, 0.5, seed=1)
    assert set(out[Mask(0.5, seed=1).keep_array(x.shape)]) == {complex(math.inf, 2)}  # no nan from inf * 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "large"), [("float16", 6e4), ("float32", 3e38), ("float64", 1.5e308)])
def test_what_is_dropped_does_not_overflow(dtype, large):
    keep = Mask(0.5, seed=1).keep_array((5000,))
    assert inverted_dropout(np.where(keep, 1, large).astype(dtype), 0.5, seed=1).max() == 2


@BOTH
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1)])
def test_small_and_empty_arrays(function, shape):
    out = function(np.ones(shape), 0.5, seed=2)
    assert isinstance(out, np.ndarray)
    assert out.shape == shape


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_the_mask_follows_the_logical_index(function, dtype):
    x = sample((4, 6, 10), dtype)
    expected = function(x, 0.5, seed=9)
    for view in (np.asfortranarray(x), x.transpose(2, 0, 1).copy().transpose(1, 2, 0), np.repeat(x, 2, 1)[:, ::2]):
        out = function(view, 0.5, seed=9)
        assert same_bits(np.ascontiguousarray(out), expected)
        assert np.argsort(out.strides).tolist() == np.argsort(view.strides).tolist()  # memory order kept


@BOTH
def test_expanded_read_only_and_foreign_byte_order(function):
    row = sample((8,), "float32")
    expected = function(np.tile(row, (5, 1)), 0.5, seed=4)
    assert same_bits(function(np.broadcast_to(row, (5, 8)), 0.5, seed=4), expected)
    swapped = function(np.tile(row, (5, 1)).astype(">f4"), 0.5, seed=4)
    assert swapped.dtype == np.dtype(">f4")
    assert np.array_equal(swapped, expected)


@BOTH
def test_the_input_is_left_alone(function):
    x = sample((6, 7), "float32")
    before = x.copy()
    out = function(x, 0.5, seed=1)
    assert not np.shares_memory(out, x)
    assert same_bits(x, before)


@BOTH
def test_shared_axes_and_windows(function):
    x = np.ones((6, 4, 5))
    whole = function(x, 0.5, shared_axes=(1, -1), seed=5)
    assert np.array_equal(whole != 0, np.broadcast_to(whole[:, :1, :1] != 0, x.shape))
    part = function(x[2:5], 0.5, shared_axes=(1, -1), seed=5, window=Window(x.shape, (2, 0, 0)))
    assert same_bits(part, whole[2:5].copy())


@EXAMPLES
@given(st.integers(0, 200), st.floats(0.01, 0.99), st.integers(-(2**63), 2**64 - 1), st.integers(0, 2**64 - 1))
def test_backward_is_the_same_call(n, p, seed, stream):
    # Dropout is linear: <g, D x> = <D g, x> for the same mask. Integers keep the sums of the vanilla one exact.
    generator = np.random.default_rng(0)
    x, g = generator.integers(-9, 9, (2, n)).astype(np.float64)
    there = g @ vanilla_dropout(x, p, seed=seed, stream=stream)
    assert there == vanilla_dropout(g, p, seed=seed, stream=stream) @ x


# --- where the seed comes from ----------------------------------------------------------------------------------------


@BOTH
def test_the_global_state_seeds_the_mask(function):
    x = np.ones(200)
    np.random.seed(1)  # noqa: NPY002
    first, second = function(x), function(x)
    np.random.seed(1)  # noqa: NPY002
    assert same_bits(function(x), first)
    assert not same_bits(second, first)


@BOTH
def test_a_generator_seeds_the_mask(function):
    x = np.ones(200)
    generator = np.random.default_rng(1)
    first, second = function(x, generator=generator), function(x, generator=generator)
    assert same_bits(function(x, generator=np.random.default_rng(1)), first)
    assert not same_bits(second, first)
    word = int(np.random.default_rng(1).integers(0, 2**64, dtype=np.uint64))  # one draw of 64 bits
    assert same_bits(function(x, seed=word), first)


@BOTH
def test_all_64_bits_of_the_seed_are_drawn(function, monkeypatch):
    seeds = []
    monkeypatch.setattr("thinned.numpy.Mask", lambda p, seed, *rest: seeds.append(seed) or Mask(p, seed, *rest))
    for _ in range(200):
        function(np.ones(1))
        function(np.ones(1), generator=np.random.default_rng(len(seeds)))
    for taken in (seeds[::2], seeds[1::2]):  # a bit is the same in all 200 seeds with a chance of 64 * 2**-199
        assert np.bitwise_or.reduce(np.array(taken, np.uint64)) == 2**64 - 1
        assert np.bitwise_and.reduce(np.array(taken, np.uint64)) == 0


@BOTH
def test_nothing_is_drawn_in_vain(function):
    np.random.seed(7)  # noqa: NPY002
    generator = np.random.default_rng(7)
    function(np.ones(3), 0.5, seed=1)
    for p, training in [(0, True), (1, True), (0.5, False)]:
        function(np.ones(3), p, training, generator=generator)
        function(np.ones(3), p, training)
    assert np.random.randint(2**31) == np.random.RandomState(7).randint(2**31)  # noqa: NPY002
    assert generator.integers(2**31) == np.random.default_rng(7).integers(2**31)


# --- errors -----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("arguments", "kinds", "message"),
    [
        ({"p": 1.5}, (RangeError, ValueError), r"`p` must be in \[0, 1\], but got p=1\.5\."),
        ({"p": math.nan, "training": False}, (RangeError, ValueError), r"`p` must be in \[0, 1\], but got p=nan\."),
        ({"p": "0.5"}, (KindError, TypeError), r"`p` must be a number in \[0, 1\], but got p='0\.5' of type str\."),
        ({"input": np.arange(3)}, (KindError, TypeError), r"where p > 0, but got dtype int64\."),
        ({"input": np.arange(3), "p": 1}, (KindError, TypeError), r"`input` must be float16, .* but got dtype int64\."),
        ({"input": np.array([True])}, (KindError, TypeError), r"but got dtype bool\."),
        ({"input": np.array([None])}, (KindError, TypeError), r"but got dtype object\."),
        ({"input": [1.0, 2.0]}, (KindError, TypeError), r"`input` must be a NumPy array, but got list\."),
        ({"input": 1.0, "p": 0}, (KindError, TypeError), r"`input` must be a NumPy array, but got float\."),
        ({"input": torch.ones(2)}, (KindError, TypeError), r"`input` must be a NumPy array, but got Tensor\."),
        ({"seed": 0.5}, (KindError, TypeError), r"`seed` must be an integer, but got seed=0\.5 of type float\."),
        ({"stream": 2**64}, (RangeError, ValueError), r"`stream` must be in .*, but got stream=18446744073709551616\."),
        (
            {"shared_axes": (3,)},
            (RangeError, ValueError),
            r"`shared_axes` must be in \[-1, 0\] for 1 axes, .* axis 3\.",
        ),
        ({"window": (3,)}, (KindError, TypeError), r"`window` must be a Window or None, but got window=\(3,\)\."),
        (
            {"seed": 1, "generator": np.random.default_rng(1)},
            (RangeError, ValueError),
            r"`seed` and `generator` must not both be given, but got both\.",
        ),
        (
            {"generator": torch.Generator()},
            (KindError, TypeError),
            r"`generator` must be .*, but got torch\._C\.Generator\.",
        ),
        (
            {"generator": 5},
            (KindError, TypeError),
            r"`generator` must be a numpy\.random\.Generator, but got builtins\.int\.",
        ),
    ],
)
def test_errors(function, arguments, kinds, message):
    with pytest.raises(kinds[0], match=message) as caught:
        function(**{"input": np.ones(3), **arguments})
    assert isinstance(caught.value, kinds[1])


def test_integers_at_test_time():
    x = np.arange(3)
    assert inverted_dropout(x, 0.5, training=False) is x
    with pytest.raises(KindError, match=r"but got dtype int64\."):  # a half of 1 is no integer
        vanilla_dropout(x, 0.5, training=False)


# --- the example ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "examples" / "numpy_two_layers.py")))


def test_the_example_learns_and_both_ways_predict_alike(example, capsys):
    example.main(epochs=3)
    vanilla, inverted, difference = capsys.readouterr().out.splitlines()
    assert vanilla.replace("vanilla ", "inverted") == inverted
    assert float(vanilla.split()[-1].rstrip("%")) < 20  # guessing is wrong in 90 %
    assert difference.endswith("predict: 0")  # p = 1/2: all factors are powers of two, so nothing is rounded


@BOTH
def test_the_examples_backward_pass(example, function):
    random = np.random.default_rng(0)
    x, y, w = random.normal(size=(20, 6)), random.integers(0, 3, 20), example.initial(6, 3, 1.0)
    _, gradients = example.loss_and_gradients(w, x, y, function, seed=4)
    step = 1e-6
    for name, gradient in gradients.items():
        for at in [tuple(random.integers(0, size) for size in gradient.shape) for _ in range(20)]:
            losses = []
            for sign in (1, -1):
                moved = {**w, name: w[name].copy()}
                moved[name][at] += sign * step
                losses.append(example.loss_and_gradients(moved, x, y, function, seed=4)[0])
            # Central differences: an error of order step**2 from the curve and 1e-16 / step from rounding.
            assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(gradient[at], abs=1e-8)
