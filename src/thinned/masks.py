"""The mask law, version 1, in NumPy: which elements are kept, as a function of seed, stream, index and p.

The text of the law is ``docs/spec/mask-law.md``; this file is the same in a form that runs, and every kernel is tested
against it and against the known answers in ``tests/vectors``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.philox import words

LANES = 64  # counters of one tile
TILE = {16: 512, 32: 256}  # elements of one tile, for each width


@dataclass(frozen=True)
class Rate:
    """A drop probability as the law realises it: an integer threshold and the scale that makes the mean exact.

    Attributes:
        p: the probability asked for.
        bits: random bits for each element, 16 or 32.
        threshold: an element is kept when its `bits` random bits are at least this.
        scale: 1 / (1 - threshold / 2**bits); infinite when nothing is kept.
    """

    p: float
    bits: int
    threshold: int
    scale: float

    @property
    def keeps_all(self) -> bool:
        """Whether no element is ever dropped."""
        return self.threshold == 0

    @property
    def keeps_none(self) -> bool:
        """Whether every element is dropped."""
        return self.threshold == 1 << self.bits

    @property
    def realised(self) -> float:
        """The probability with which an element is dropped."""
        return self.threshold / (1 << self.bits)


def rate(p: float) -> Rate:
    """Return how the law realises a drop probability.

    Args:
        p: drop probability in [0, 1].

    Returns:
        Threshold, width and scale.

    Raises:
        RangeError, KindError: `p` is not a number in [0, 1].

    Examples:
        >>> rate(0.1)
        Rate(p=0.1, bits=16, threshold=6554, scale=1.1111186463666882)
    """
    return _rate(_check.probability(p))


@lru_cache(maxsize=1024)
def _rate(p: float) -> Rate:
    bits, threshold = 16, round(p * 2**16)
    if abs(threshold / 2**16 - p) > 2**-10 * min(p, 1 - p):
        bits, threshold = 32, round(p * 2**32)
    kept = 1 - threshold / 2**bits
    return Rate(p, bits, threshold, 1 / kept if kept else math.inf)


@dataclass(frozen=True)
class Window:
    """The tensor at hand is a part of a larger one, and its mask is that part of the larger one's mask.

    Args:
        shape: shape of the whole tensor.
        start: index, in the whole, of the part's first element.

    Raises:
        RangeError, KindError: the two do not fit together.

    Examples:
        The second half of a batch of 8 rows:

        >>> whole = Mask(0.5, seed=1).keep((8, 3))
        >>> half = Mask(0.5, seed=1, window=Window((8, 3), (4, 0))).keep((4, 3))
        >>> torch.equal(whole[4:], half)
        True
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]

    def __init__(self, shape: Sequence[int], start: Sequence[int]) -> None:
        object.__setattr__(self, "shape", _check.sizes(shape, "window.shape"))
        object.__setattr__(self, "start", _check.sizes(start, "window.start"))
        if len(self.shape) != len(self.start):
            raise RangeError(
                f"`window.start` must have as many axes as `window.shape`, but got start {self.start} "
                f"and shape {self.shape}."
            )
        _check.within(self.shape, self.start, (0,) * len(self.start))


@dataclass(frozen=True)
class Layout:
    """Where the elements of a tensor lie in the mask's row-major order.

    Attributes:
        extent: sizes of the tensor's mask: the tensor's own, with 1 at shared axes.
        strides: distance in the mask between neighbours along each axis; 0 at shared axes.
        start: the mask's index of the tensor's first element.
    """

    extent: tuple[int, ...]
    strides: tuple[int, ...]
    start: int


@lru_cache(maxsize=4096)
def layout(shape: tuple[int, ...], shared_axes: tuple[int, ...], window: Window | None) -> Layout:
    """Return where the elements of a tensor lie in its mask.

    Args:
        shape: the tensor's shape.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that this one is a part of.

    Returns:
        The layout, in elements.

    Raises:
        RangeError, KindError: an axis does not exist, the tensor is not inside the window, or the mask has more than
            2**64 elements.

    Examples:
        >>> layout((2, 3, 4), (1,), None)
        Layout(extent=(2, 1, 4), strides=(4, 0, 1), start=0)
    """
    shared = _check.axes(shared_axes, len(shape))
    whole, first = (window.shape, window.start) if window else (shape, (0,) * len(shape))
    _check.within(whole, first, shape)
    strides, stride = [0] * len(shape), 1
    for axis in reversed(range(len(shape))):
        if axis not in shared:
            strides[axis] = stride % _check.WORD  # 2**64 only where nothing moves along the axis
            stride *= whole[axis]
    if stride > _check.WORD and 0 not in shape:
        raise RangeError(
            f"A mask must have at most 2**64 elements, but {whole} with shared axes {shared} has {stride}."
        )
    extent = tuple(1 if axis in shared and size else size for axis, size in enumerate(shape))
    return Layout(extent, tuple(strides), sum(s * f for s, f in zip(strides, first, strict=True)))


def element_words(start: int, count: int, bits: int, seed: int, stream: int) -> NDArray[np.uint32]:
    """Return the random word of each mask index from `start` to `start + count - 1`.

    Args:
        start: first index.
        count: number of indices.
        bits: width of a word, 16 or 32.
        seed: unsigned 64-bit seed.
        stream: unsigned 64-bit stream.

    Returns:
        uint32 array of shape (count,), each below ``2**bits``.

    Examples:
        >>> element_words(0, 3, 16, seed=0, stream=0)
        array([46857, 22638,  9508], dtype=uint32)
    """
    tile = TILE[bits]
    first, last = start // tile, -(-(start + count) // tile)
    w = words(first * LANES, (last - first) * LANES, seed, stream).reshape(-1, LANES, 4)
    planes = w.transpose(0, 2, 1)  # (tiles, words, lanes)
    if bits == 16:
        planes = np.stack([planes & 0xFFFF, planes >> 16], axis=2)  # (tiles, words, halves, lanes)
    return planes.reshape(-1)[start - first * tile :][:count]


def units_kept(n: int, p: float, multiple_of: int = 1) -> int:
    """Return how many of n units the law keeps.

    Args:
        n: number of units.
        p: drop probability.
        multiple_of: round the number of kept units to a multiple of this.

    Returns:
        A number from 1 to n.

    Examples:
        >>> units_kept(784, 0.2), units_kept(784, 0.2, multiple_of=16)
        (627, 624)
    """
    k = min(max(math.floor(n * (1 - p) + 0.5), 1), n)
    if multiple_of > 1:
        m = multiple_of
        k = min(max(m * math.floor(k / m + 0.5), min(m, n)), n)
    return k


@dataclass(frozen=True)
class Mask:
    """The law itself: what one (seed, stream, p) keeps, for tensors of any shape.

    Args:
        p: drop probability in [0, 1].
        seed: 64-bit integer, from -2**63 to 2**64 - 1.
        stream: 64-bit integer that selects an independent sequence under the same seed.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that the one at hand is a part of.

    Raises:
        RangeError, KindError: an argument breaks its rule.

    Examples:
        >>> Mask(0.5, seed=0).keep((2, 4))
        tensor([[ True, False, False,  True],
                [False, False, False, False]])
    """

    p: float
    seed: int
    stream: int = 0
    shared_axes: tuple[int, ...] = ()
    window: Window | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", rate(self.p).p)
        object.__setattr__(self, "seed", _check.word64(self.seed, "seed"))
        object.__setattr__(self, "stream", _check.word64(self.stream, "stream"))
        object.__setattr__(self, "shared_axes", _check.axis_list(self.shared_axes))
        window: Any = self.window
        if not isinstance(window, Window | None):
            raise KindError(f"`window` must be a Window or None, but got window={window!r}.")

    @property
    def rate(self) -> Rate:
        """Threshold, width and scale of the law at this `p`."""
        return rate(self.p)

    def keep_array(self, shape: Sequence[int]) -> NDArray[np.bool_]:
        """Return which elements of an array are kept.

        Args:
            shape: the array's shape.

        Returns:
            bool array, 1 in size along shared axes, True where kept.

        Raises:
            RangeError, KindError: the shape does not fit the window or the shared axes.

        Examples:
            >>> Mask(0.5, seed=0, shared_axes=(1,)).keep_array((3, 100)).shape
            (3, 1)
        """
        place = layout(_check.sizes(shape, "shape"), self.shared_axes, self.window)
        law = self.rate
        if law.keeps_all or law.keeps_none:
            return np.full(place.extent, law.keeps_all)
        if 0 in place.extent:
            return np.empty(place.extent, np.bool_)
        if self.window is None:  # one run of indices
            return self._bits(place.start, math.prod(place.extent)).reshape(place.extent)
        width = place.extent[-1] if place.extent else 1
        rows = place.extent[:-1]
        starts = np.full(rows, place.start, object)  # Python ints: an index may pass 2**63
        for axis, (size, stride) in enumerate(zip(rows, place.strides, strict=False)):
            starts = starts + np.arange(size).astype(object).reshape([-1] + [1] * (len(rows) - axis - 1)) * stride
        return np.stack([self._bits(begin, width) for begin in np.ravel(starts)]).reshape(place.extent)

    def _bits(self, start: int, count: int) -> NDArray[np.bool_]:
        law, block = self.rate, 1 << 20  # blocks bound the memory
        parts = [
            element_words(start + at, min(block, count - at), law.bits, self.seed, self.stream) >= law.threshold
            for at in range(0, count, block)
        ]
        return np.concatenate(parts)

    def keep(self, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return which elements of a tensor are kept.

        Args:
            shape: the tensor's shape.
            device: where to put the result.

        Returns:
            bool tensor of that shape, True where kept.

        Raises:
            RangeError, KindError: the shape does not fit the window or the shared axes.

        Examples:
            >>> Mask(0.25, seed=7).keep((1000,)).float().mean().item()  # doctest: +ELLIPSIS
            0.7...
        """
        bits = torch.from_numpy(self.keep_array(shape)).to(device)
        return bits.expand(tuple(shape)).contiguous()

    def units(self, n: int, groups: int = 1, multiple_of: int = 1, slices: bool = False) -> torch.Tensor:
        """Return a fixed number of kept units of a layer, for each group of the batch.

        Args:
            n: number of units; each is kept with the same probability.
            groups: number of independent patterns.
            multiple_of: round the number of kept units to a multiple of this.
            slices: keep neighbouring units, which wrap around the end, instead of any.

        Returns:
            int64 tensor of shape (groups, k): indices of the kept units, ascending. Scale by n / k.

        Raises:
            RangeError, KindError: an argument is not a positive integer.

        Examples:
            >>> Mask(0.5, seed=0).units(6)
            tensor([[0, 1, 5]])
            >>> Mask(0.5, seed=0).units(6, slices=True)
            tensor([[2, 3, 4]])
        """
        n, groups = _check.positive(n, "n"), _check.positive(groups, "groups")
        k = units_kept(n, self.p, _check.positive(multiple_of, "multiple_of"))
        if slices:
            start = element_words(0, groups, 32, self.seed, self.stream).astype(object) * n >> 32
            wrapped = (start[:, None] + np.arange(k)).astype(np.int64) % n
            return torch.from_numpy(np.sort(wrapped, axis=1))
        u = element_words(0, groups * n, 32, self.seed, self.stream).reshape(groups, n).astype(np.int64)
        kept = np.argsort(-u, axis=1, kind="stable")[:, :k]
        return torch.from_numpy(np.sort(kept, axis=1))


def uniform(start: int, count: int, seed: int, stream: int = 0) -> NDArray[np.float64]:
    """Return the law's uniform numbers in (0, 1).

    Args:
        start: first index.
        count: number of indices.
        seed: 64-bit integer.
        stream: 64-bit integer.

    Returns:
        float64 array of shape (count,).

    Examples:
        >>> uniform(0, 2, seed=0)
        array([0.37279839, 0.59464028])
    """
    u = element_words(start, count, 32, _check.word64(seed, "seed"), _check.word64(stream, "stream"))
    return (u.astype(np.float64) + 0.5) * 2.0**-32


def normal(start: int, count: int, seed: int, stream: int = 0) -> NDArray[np.float64]:
    """Return the law's standard normal numbers (Box and Muller's method on planes of one tile).

    Args:
        start: first index.
        count: number of indices.
        seed: 64-bit integer.
        stream: 64-bit integer.

    Returns:
        float64 array of shape (count,).

    Examples:
        >>> normal(0, 1, seed=0)
        array([1.32797406])
    """
    tile = TILE[32]
    first, last = start // tile, -(-(start + count) // tile)
    u = uniform(first * tile, (last - first) * tile, seed, stream).reshape(-1, 2, 2, LANES)
    radius, angle = np.sqrt(-2 * np.log(u[:, :, 0])), 2 * np.pi * u[:, :, 1]
    planes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    return planes.reshape(-1)[start - first * tile :][:count]


__all__ = ["Layout", "Mask", "Rate", "Window", "element_words", "layout", "normal", "rate", "uniform", "units_kept"]
