"""The law's uniform and normal numbers as tensors, for layers whose noise is a part of a larger formula."""

import math

import torch
from torch import Tensor

from thinned import ops
from thinned._errors import RangeError
from thinned.functional._dropout import Word
from thinned.kernels.tensor import _words_at
from thinned.masks import LANES, TILE, Window


def uniform(
    shape: tuple[int, ...],
    like: Tensor,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | Tensor | None = None,
) -> Tensor:
    """Return the law's uniform numbers in (0, 1).

    Args:
        shape: of the result.
        like: a tensor whose device and dtype it takes over.
        seed, stream, generator: as in `dropout`.
        window: the larger tensor of which it is a part, as to rows: axis 0.

    Returns:
        Tensor of `shape`.

    Example:
        >>> uniform((2,), torch.empty(()), seed=0)
        tensor([0.3728, 0.5946])
    """
    index = _index(shape, like, window)
    return _uniform(index, _seed(seed, generator, like), stream).to(_dtype(like))


def normal(
    shape: tuple[int, ...],
    like: Tensor,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | Tensor | None = None,
) -> Tensor:
    """Return the law's standard normal numbers.

    Args:
        shape, like, seed, stream, generator, window: as in `uniform`.

    Returns:
        Tensor of `shape`.

    Example:
        >>> normal((1,), torch.empty(()), seed=0)
        tensor([1.3280])
    """
    index, seed = _index(shape, like, window), _seed(seed, generator, like)
    plane = index % TILE[32] // LANES
    first = index - (plane % 2) * LANES  # the same lane in the first plane of its pair
    radius = torch.sqrt(-2 * torch.log(_uniform(first, seed, stream)))
    angle = 2 * math.pi * _uniform(first + LANES, seed, stream)
    return (radius * torch.where(plane % 2 == 0, torch.cos(angle), torch.sin(angle))).to(_dtype(like))


def _dtype(like: Tensor) -> torch.dtype:
    return like.dtype if like.dtype.is_floating_point else torch.float32


def _seed(seed: Word | None, generator: torch.Generator | None, like: Tensor) -> Word:
    if seed is not None and generator is not None:
        raise RangeError("`seed` and `generator` must not both be given, but got both.")
    return ops.draw(like.device, generator) if seed is None else seed


def _uniform(index: Tensor, seed: Word, stream: Word) -> Tensor:
    return (_words_at(index, 32, seed, stream).to(torch.float64) + 0.5) * 2.0**-32


def _index(shape: tuple[int, ...], like: Tensor, window: Window | Tensor | None) -> Tensor:
    count = math.prod(shape)
    index = torch.arange(count, device=like.device).view(shape)
    if window is None:
        return index
    row: int | Tensor = window.start[0] if isinstance(window, Window) else window[len(window) // 2].to(like.device)
    return index + row * (count // max(shape[0], 1))
