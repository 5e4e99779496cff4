"""The keywords of dropout: seeds, streams, generators, windows, shared axes, given masks; and channel-wise dropout."""

import math
import threading
import warnings

import numpy as np
import pytest
import torch

import thinned
from thinned import functional
from thinned._errors import KindError, RangeError
from thinned.masks import Mask, Window, rate

KIND, RANGE = (KindError, TypeError), (RangeError, ValueError)
CHANNELS = {"dropout1d": 1, "dropout2d": 2, "dropout3d": 3}


def drop(*shape, **options):
    return thinned.dropout(torch.ones(shape), **options)


def after(seed, call):
    torch.manual_seed(seed)
    return call()


# --- seed and stream --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [0, 1, -1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1])
@pytest.mark.parametrize("name", ["seed", "stream"])
def test_words_of_64_bits(word, name):
    other = {"stream": 0} if name == "seed" else {"seed": 5}
    want = Mask(0.5, **{name: word}, **other).keep((4, 90))
    tensor = torch.tensor((word + 2**63) % 2**64 - 2**63)
    for form in [word, tensor, *([np.int64(word)] if abs(word) < 2**63 else [])]:
        assert torch.equal(drop(4, 90, **{name: form}, **other) != 0, want)


def test_seeds_and_streams_differ():
    masks = [drop(200, seed=seed, stream=stream) for seed in range(3) for stream in range(3)]
    assert len({tuple(mask.tolist()) for mask in masks}) == 9


@pytest.mark.parametrize("name", ["seed", "stream"])
@pytest.mark.parametrize(
    ("word", "kinds", "message"),
    [
        (2**64, RANGE, r"must be in \[-2\*\*63, 2\*\*64 - 1\], but got {0}=18446744073709551616"),
        (-(2**63) - 1, RANGE, r"must be in \[-2\*\*63, 2\*\*64 - 1\], but got {0}=-9223372036854775809"),
        (1.0, KIND, r"must be an integer, but got {0}=1\.0 of type float"),
        (0.0, KIND, r"must be an integer, but got {0}=0\.0 of type float"),
        ("1", KIND, r"must be an integer, but got {0}='1' of type str"),
        (True, KIND, r"must be an integer, but got {0}=True of type bool"),
        (False, KIND, r"must be an integer, but got {0}=False of type bool"),
        (torch.tensor(1.0), KIND, r"an int64 0-dim tensor, but got a tensor of dtype torch.float32 and shape \(\)"),
        (torch.tensor([1]), KIND, r"an int64 0-dim tensor, but got a tensor of dtype torch.int64 and shape \(1,\)"),
        (torch.tensor(True), KIND, r"an int64 0-dim tensor, but got a tensor of dtype torch.bool"),
    ],
)
def test_wrong_words(name, word, kinds, message):
    with pytest.raises(kinds[0], match=f"`{name}` .*{message.format(name)}") as caught:
        drop(9, **{"seed": 1, name: word})
    assert isinstance(caught.value, kinds[1])


# --- the generators ---------------------------------------------------------------------------------------------------


def test_manual_seed():
    assert torch.equal(after(1, lambda: drop(200)), after(1, lambda: drop(200)))
    assert not torch.equal(after(1, lambda: drop(200)), after(2, lambda: drop(200)))
    assert not torch.equal(after(1, lambda: drop(200)), drop(200))  # the next call draws again


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("options", [{}, {"shared_axes": (0,)}, {"window": Window((9, 40), (1, 2))}], ids=str)
def test_the_seed_is_one_draw_of_64_bits(requires_grad, options):
    """Whatever the size, the layout and the need of a gradient."""
    x = torch.ones(3, 30, requires_grad=requires_grad)
    seed = int(after(4, lambda: torch.empty((), dtype=torch.int64).random_(-(2**63), None)))
    state = torch.get_rng_state()
    assert torch.equal(after(4, lambda: thinned.dropout(x, **options)), thinned.dropout(x, seed=seed, **options))
    assert torch.equal(torch.get_rng_state(), state)


def test_state_of_the_generator():
    torch.manual_seed(8)
    state = torch.get_rng_state()
    first = drop(200)
    with torch.random.fork_rng():
        inside = drop(200)
    assert torch.equal(drop(200), inside)  # as if the fork had not been
    torch.set_rng_state(state)
    assert torch.equal(drop(200), first)


def test_a_generator_of_ones_own():
    generator = torch.Generator().manual_seed(6)
    state = torch.get_rng_state()
    first, second = drop(200, generator=generator), drop(200, generator=generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)
    assert torch.equal(first, drop(200, generator=torch.Generator().manual_seed(6)))
    assert torch.equal(first, after(6, lambda: drop(200)))


def test_a_given_seed_draws_nothing():
    generator = torch.Generator().manual_seed(6)
    states = torch.get_rng_state(), generator.get_state()
    drop(200, seed=1)
    drop(200, p=0.0, generator=generator)
    drop(200, p=1.0, generator=generator)
    drop(200, training=False, generator=generator)
    drop(200, mask=torch.tensor(True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(generator.get_state(), states[1])


def test_seed_and_generator_exclude_each_other():
    with pytest.raises(RangeError, match="`seed` and `generator` must not both be given, but got both"):
        drop(9, seed=1, generator=torch.Generator())


def test_wrong_generator():
    with pytest.raises(TypeError, match="generator"):
        drop(9, generator=7)


def in_a_new_thread(call):
    results = []
    worker = threading.Thread(target=lambda: results.append(call()))
    worker.start()
    worker.join()
    return results[0]


def test_inference_mode_before_training():
    """The first draw of a thread makes a tensor that the later ones write to."""

    def run():
        with torch.inference_mode():
            first = after(3, lambda: drop(200))
        x = torch.ones(200, requires_grad=True)
        y = after(3, lambda: thinned.dropout(x))
        y.sum().backward()
        return first, y.detach(), x.grad

    first, y, slope = in_a_new_thread(run)
    assert torch.equal(first, y)
    assert torch.equal(y, slope)
    assert torch.equal(y, after(3, lambda: drop(200)))


def test_a_default_device_of_another_kind():
    """It must not become the device of the tensor that a thread draws into."""

    def run():
        with torch.device("meta"):
            first = after(3, lambda: thinned.dropout(torch.ones(200, device="cpu")))
        return first, after(3, lambda: drop(200))

    first, second = in_a_new_thread(run)
    assert torch.equal(first, second)
    assert 0 < first.count_nonzero() < 200


# --- shared axes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [0, 1, -1, (0,), (-2, 2), [1, 2], (0, 1, 2), np.int64(1), np.array([0, 2])])
def test_shared_axes(axes):
    y = drop(5, 6, 7, seed=3, shared_axes=axes)
    listed = [int(axis) % 3 for axis in np.atleast_1d(axes)]
    first = y[tuple(slice(0, 1) if axis in listed else slice(None) for axis in range(3))]
    assert torch.equal(y, first.expand(5, 6, 7))
    own = first.flatten()  # the decisions, in the order of a mask that has no other
    assert torch.equal(own != 0, Mask(0.5, 3).keep((own.numel(),)))


@pytest.mark.parametrize(
    ("axes", "kinds", "message"),
    [
        (2, RANGE, r"`shared_axes` must be in \[-2, 1\] for 2 axes, but got axis 2\."),
        ((0, -3), RANGE, r"`shared_axes` must be in \[-2, 1\] for 2 axes, but got axis -3\."),
        (1.0, KIND, r"`shared_axes` must be a sequence of integers, but got shared_axes=1\.0\."),
        ("0", KIND, r"`shared_axes` must be a sequence of integers, but got shared_axes='0'\."),
        (None, KIND, r"`shared_axes` must be a sequence of integers, but got shared_axes=None\."),
        ((0.0,), KIND, r"`shared_axes` must be a sequence of integers, but got shared_axes=\(0\.0,\)\."),
    ],
)
def test_wrong_shared_axes(axes, kinds, message):
    drop(3, 4, shared_axes=(0,))  # what is remembered of these axes must not pass for what equals them
    with pytest.raises(kinds[0], match=message) as caught:
        drop(3, 4, shared_axes=axes)
    assert isinstance(caught.value, kinds[1])


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [(), (0,), (-1,), (1, 2)])
@pytest.mark.parametrize("p", [0.5, 0.001])
def test_parts_of_a_whole(shared, p):
    whole = drop(8, 30, 50, p=p, seed=2, shared_axes=shared)
    for start, stop in [((0, 0, 0), (8, 30, 50)), ((4, 0, 0), (8, 30, 50)), ((1, 7, 33), (6, 9, 49))]:
        part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        window = Window((8, 30, 50), start)
        y = drop(*whole[part].shape, p=p, seed=2, shared_axes=shared, window=window)
        assert torch.equal(y, whole[part])


@pytest.mark.parametrize(
    ("window", "kinds", "message"),
    [
        (Window((3, 4), (1, 0)), RANGE, "`window` must contain the tensor"),
        (Window((3,), (0,)), RANGE, "`window` must have as many axes as the tensor"),
        (torch.tensor([3, 4, 0, 0]), KIND, r"`window` must be a Window or None, but got window=tensor\("),
        (((3, 4), (0, 0)), KIND, r"`window` must be a Window or None, but got window=\(\(3, 4\), \(0, 0\)\)\."),
    ],
)
def test_wrong_windows(window, kinds, message):
    with pytest.raises(kinds[0], match=message) as caught:
        drop(3, 4, window=window)
    assert isinstance(caught.value, kinds[1])


# --- a given mask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5), (5,), (4, 1), (1, 1), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize("inplace", [False, True])
def test_given_mask(shape, dtype, inplace):
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    x = torch.tensor([1.5, -2.0, 3.0, math.inf, math.nan], dtype=torch.float64).expand(4, 5).to(dtype).clone()
    parts = torch.view_as_real(x) if x.is_complex() else x
    scaled = (parts.double() * (1 / 0.7)).to(parts.dtype)
    want = torch.where(keep.expand(4, 5), torch.view_as_complex(scaled) if x.is_complex() else scaled, 0.0)
    y = thinned.dropout(x, 0.3, mask=keep, inplace=inplace)
    assert (y is x) == inplace
    torch.testing.assert_close(y, want, equal_nan=True)
    assert torch.equal((y == 0) & ~y.signbit() if not x.is_complex() else y == 0, ~keep.expand(4, 5))


def test_given_mask_and_certainty():
    x = torch.tensor([1.0, -2.0])
    assert thinned.dropout(x, 0.0, mask=torch.tensor([True, False])).tolist() == [1.0, 0.0]
    assert thinned.dropout(x, 1.0, mask=torch.tensor(True)).tolist() == [0.0, 0.0]
    assert thinned.dropout(x, 0.5, training=False, mask=torch.tensor(False)) is x


def test_gradient_through_a_given_mask():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = thinned.dropout(x, 0.5, mask=torch.tensor([True, False, True]))
    y.backward(torch.tensor([1.0, math.nan, -math.inf]))
    assert x.grad.tolist() == [2.0, 0.0, -math.inf]
    assert not x.grad[1].signbit()


@pytest.mark.parametrize(
    ("options", "kinds", "message"),
    [
        ({"mask": torch.ones(4, 5)}, KIND, r"`mask` must be a bool tensor \(true = keep\), but got torch\.float32\."),
        ({"mask": True}, KIND, r"`mask` must be a bool tensor \(true = keep\), but got bool\."),
        ({"mask": torch.ones(4).bool()}, RANGE, r"must broadcast to the shape of `input`, \(4, 5\), but got .* \(4,\)"),
        ({"mask": torch.ones(2, 4, 5).bool()}, RANGE, r"must broadcast .*, \(4, 5\), but got shape \(2, 4, 5\)"),
        ({"mask": torch.ones(4, 0).bool()}, RANGE, r"must broadcast .*, \(4, 5\), but got shape \(4, 0\)"),
        ({"seed": 1}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
        ({"stream": 1}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
        ({"seed": torch.tensor(1)}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
        ({"shared_axes": (0,)}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
        ({"generator": torch.Generator()}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
        ({"window": Window((4, 5), (0, 0))}, RANGE, "`mask` excludes `seed`, .* but got one of them as well"),
    ],
)
def test_wrong_masks(options, kinds, message):
    with pytest.raises(kinds[0], match=message) as caught:
        drop(4, 5, **{"mask": torch.ones(4, 5).bool(), **options})
    assert isinstance(caught.value, kinds[1])


# --- channels ---------------------------------------------------------------------------------------------------------


def decisions(function, shape):
    """Number the elements by the decision that they share, as forty masks tell them apart."""
    masks = torch.stack([after(seed, lambda: function(torch.ones(shape), 0.5) != 0).flatten() for seed in range(40)])
    numbers = {}
    return [numbers.setdefault(tuple(column), len(numbers)) for column in masks.T.tolist()]


@pytest.mark.filterwarnings("ignore:dropout.d. Received a .-D input")  # torch warns before it refuses
@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("dims", range(7))
def test_channels_are_torchs(name, dims):
    """The same elements share a decision, and what torch warns of or refuses is warned of or refused."""
    shape = (2, 3, 2, 3, 2, 2)[:dims]
    theirs, ours = getattr(torch.nn.functional, name), getattr(functional, name)
    if (name == "dropout1d" and dims not in (2, 3)) or dims < (1 if name == "dropout3d" else 2):
        with pytest.raises(RuntimeError, match=r"Expected 2D or 3D input|requires at least 2 dimensions"):
            theirs(torch.ones(shape), 0.5)
        with pytest.raises(RangeError, match=rf"`input` of {name} must have .* ax[ie]s, but got shape \("):
            ours(torch.ones(shape), 0.5)
        return
    caught = []
    for function in (theirs, ours):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            function(torch.ones(shape), 0.5)
        caught.append(heard)
    assert bool(caught[0]) == bool(caught[1])
    for warning in caught[1]:
        assert str(warning.message).startswith(f"{name} expects {CHANNELS[name] + 2} axes")
        assert warning.filename == __file__  # it points at the caller
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decisions(ours, shape) == decisions(theirs, shape)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("batched", [True, False])
def test_channels_take_the_same_keywords(name, batched):
    shape = (6, *(4,) * CHANNELS[name])
    shape = (5, *shape) if batched or name == "dropout2d" else shape
    axes = tuple(range(len(shape) - CHANNELS[name], len(shape)))
    window = Window((9, *shape[1:]), (2, *(0,) * (len(shape) - 1)))
    function, x = getattr(functional, name), torch.ones(shape)
    for options in ({"seed": 3}, {"seed": torch.tensor(3), "stream": -4}, {"seed": 3, "window": window}):
        want = thinned.dropout(x, 0.4, shared_axes=axes, **options)
        assert torch.equal(function(x, 0.4, **options), want)
        assert torch.equal(function(x.clone(), 0.4, inplace=True, **options), want)
    made = function(x, 0.4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(made, after(1, lambda: function(x, 0.4)))
    assert sorted(made.unique().tolist()) == pytest.approx([0.0, rate(0.4).scale])
