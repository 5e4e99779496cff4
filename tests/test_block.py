"""DropBlock and Cutout: masks against NumPy, the rate that was asked for, and what half precision must not break."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import functional
from thinned._errors import KindError, RangeError
from thinned.masks import Window, element_words, uniform

BLOCKS = {1: functional.drop_block1d, 2: functional.drop_block2d, 3: functional.drop_block3d}


def kept(shape, spatial, p, size, seed, coupled=False):
    """By loops: an element is kept if no block begins in the `size` places from it on, in the grown mask."""
    sizes = [min(size, extent) for extent in shape[-spatial:]]
    grown = [*shape[:-spatial], *(extent + block - 1 for extent, block in zip(shape[-spatial:], sizes, strict=True))]
    if coupled:
        grown[-spatial - 1] = 1
    threshold = round((1 - (1 - p) ** (1 / math.prod(sizes))) * 2**32)
    begins = (element_words(0, math.prod(grown), 32, seed, 0) < threshold).reshape(grown)
    keep = np.ones([*grown[:-spatial], *shape[-spatial:]], bool)
    for place in np.argwhere(begins):
        lead, at = place[:-spatial], place[-spatial:]
        covered = tuple(slice(max(0, i - block + 1), i + 1) for i, block in zip(at, sizes, strict=True))
        keep[(*lead, *covered)] = False
    return np.broadcast_to(keep, shape), (1 - threshold / 2**32) ** math.prod(sizes)


@given(
    spatial=st.integers(1, 3),
    shape=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    batched=st.booleans(),
    size=st.integers(1, 6),
    p=st.floats(0.02, 0.9),
    coupled=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=60, deadline=None)
def test_masks_and_values(spatial, shape, batched, size, p, coupled, seed):
    shape = tuple(shape[: spatial + 1 + batched])
    x = torch.randn(shape, dtype=torch.float64) + 3
    keep, share = kept(shape, spatial, p, size, seed, coupled)
    y = BLOCKS[spatial](x, p, size, couple_channels=coupled, seed=seed)
    np.testing.assert_allclose(y.numpy(), np.where(keep, x.numpy() / share, 0.0), rtol=1e-14)
    counted = BLOCKS[spatial](x, p, size, couple_channels=coupled, normalise="count", seed=seed)
    np.testing.assert_allclose(
        counted.numpy(), np.where(keep, x.numpy() * keep.size / max(keep.sum(), 1), 0), rtol=1e-14
    )


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_the_rate_that_was_asked_for(p):
    """Block 7 on 28 x 28, where torchvision delivers .098, .252 and .370. Also at the corner, where others drop less.

    A map's share has at most the variance of 49 / 784 independent decisions for each element: blocks tie an element to
    13**2 others at most. The corners of n maps are independent.
    """
    maps = 3000
    dropped = functional.drop_block2d(torch.ones(maps, 1, 28, 28), p, 7, seed=5) == 0
    deviation = math.sqrt(p * (1 - p))
    assert abs(float(dropped.double().mean()) - p) <= 5 * deviation * math.sqrt(169 / (784 * maps))
    for corner in (dropped[:, 0, 0, 0], dropped[:, 0, -1, -1], dropped[:, 0, 13, 0]):
        assert abs(float(corner.double().mean()) - p) <= 5 * deviation / math.sqrt(maps)


@pytest.mark.parametrize("normalise", ["rate", "count"])
def test_float16_keeps_the_mean(normalise):
    """With more than 65504 kept elements, where a sum in float16 is infinite. The bound is that of the test above."""
    x = torch.ones(8, 16, 28, 28, dtype=torch.float16)
    y = functional.drop_block2d(x, 0.3, 7, normalise=normalise, seed=1)
    bound = 5 * math.sqrt(0.3 / 0.7 * 169 / x.numel()) if normalise == "rate" else 0.0
    assert abs(float(y.double().mean()) - 1) <= bound + 2.0**-11  # and the rounding of the scale


def test_blocks_are_blocks():
    y = functional.drop_block1d(torch.ones(1, 1, 5000), 0.05, 6, seed=3)[0, 0]
    runs = "".join("01"[bit] for bit in (y != 0).int().tolist()).split("1")
    assert {len(run) for run in runs[1:-1] if run} >= {6}
    assert min(len(run) for run in runs[1:-1] if run) == 6


def test_windows_on_every_axis():
    x = torch.ones(4, 3, 12, 14)
    whole = functional.drop_block2d(x, 0.3, 3, seed=2)
    window = Window((4, 3, 12, 14), (1, 1, 5, 2))
    part = functional.drop_block2d(x[1:3, 1:, 5:9, 2:], 0.3, 3, seed=2, window=window)
    assert torch.equal(part, whole[1:3, 1:, 5:9, 2:])


def test_gradients_and_what_is_kept():
    x, kept_tensors = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True), []
    call = lambda t: functional.drop_block2d(t, 0.3, 2, seed=3)  # noqa: E731
    assert torch.autograd.gradcheck(call, x, check_forward_ad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept_tensors.append, lambda t: t):
        y = call(x)
    y.backward(torch.full_like(y, math.inf))
    assert kept_tensors == []
    assert torch.equal(x.grad == 0, y == 0)


def test_edges():
    x = torch.full((2, 3, 4, 4), math.nan, requires_grad=True)
    assert functional.drop_block2d(x, 0.0) is x
    y = functional.drop_block2d(x, 1.0)
    y.backward(torch.full_like(y, math.inf))
    assert not y.any()
    assert not x.grad.any()
    hidden = functional.drop_block2d(torch.full((2, 3, 8, 8), -math.inf), 0.5, 3, seed=1)
    assert not hidden[hidden != -math.inf].any()
    assert not torch.signbit(hidden[hidden == 0]).any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: functional.drop_block2d(x, 0.1, 0),
            RangeError,
            "`block_size` must be at least 1, but got block_size=0",
        ),
        (lambda x: functional.drop_block2d(x, 0.1, 2.5), KindError, "`block_size` must be an integer, but got"),
        (
            lambda x: functional.drop_block1d(x, 0.1),
            RangeError,
            r"of drop_block1d must have 2 or 3 axes, but got shape",
        ),
        (
            lambda x: functional.drop_block2d(x, normalise="sum"),
            RangeError,
            '`normalise` must be "rate" or "count", but',
        ),
        (lambda x: functional.cutout(x, 0), RangeError, "`size` must be at least 1, but got size=0"),
        (lambda x: functional.cutout(x[0, 0]), RangeError, r"of cutout must have 3 or 4 axes, but got shape \(4, 4\)"),
    ],
)
def test_wrong_arguments(call, kind, message):
    with pytest.raises(kind, match=message):
        call(torch.ones(2, 3, 4, 4))


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 4),
    size=st.integers(1, 6),
    holes=st.integers(1, 3),
    seed=st.integers(0, 2**64 - 1),
    batched=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_cutout(shape, size, holes, seed, batched):
    x = torch.randn(shape) + 3
    x = x if batched else x[0]
    n = shape[0] if batched else 1
    numbers = uniform(0, 2 * holes * n, seed).reshape(n, holes, 2)
    want = np.array(x.numpy()).reshape(n, *shape[1:])
    for image in range(n):
        for row, column in numbers[image]:
            top, left = int(row * shape[2]) - size // 2, int(column * shape[3]) - size // 2
            want[image, :, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    got = functional.cutout(x, size, holes, seed=seed)
    np.testing.assert_array_equal(got.numpy().reshape(want.shape), want)


def test_cutout_by_parts():
    x = torch.ones(6, 1, 9, 9)
    whole = functional.cutout(x, 4, 2, seed=3)
    part = functional.cutout(x[4:], 4, 2, seed=3, window=Window((6, 1, 9, 9), (4, 0, 0, 0)))
    assert torch.equal(whole[4:], part)
