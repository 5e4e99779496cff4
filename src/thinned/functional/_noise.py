"""The law's uniform and normal numbers as tensors, for layers whose noise is a part of a larger formula."""

import math

import torch
from torch import Tensor

from thinned import redraw
from thinned.functional._arguments import randomness
from thinned.kernels import tensor
from thinned.masks import Window
from thinned.redraw import Word


def uniform(
    shape: tuple[int, ...],
    like: Tensor,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Return the law's uniform numbers in (0, 1).

    Args:
        shape: of the result.
        like: a tensor whose device and dtype it takes over.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: the larger tensor of which it is a part, as to rows: axis 0.

    Returns:
        Tensor of `shape`.

    Examples:
        >>> uniform((2,), torch.empty(()), seed=0)
        tensor([0.3728, 0.5946])
    """
    r = randomness(like, seed, stream, generator, window)
    words = tensor.words(_index(shape, like, r.window), *r.draw(like))
    return _as((words.to(torch.float64) + 0.5) * 2.0**-32, like)


def normal(
    like: Tensor,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Return the law's standard normal numbers.

    Args:
        like: a tensor whose shape, device and dtype it takes over.
        seed: as in `uniform`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        Tensor like `like`.

    Examples:
        >>> normal(torch.empty(1), seed=0)
        tensor([1.3280])
    """
    r = randomness(like, seed, stream, generator, window)
    words = r.draw(like)
    if r.window is None:
        return _as(redraw.normal(like, *words), like)
    return _as(tensor.normal(_index(tuple(like.shape), like, r.window), *words), like)


def _as(numbers: Tensor, like: Tensor) -> Tensor:
    """In the dtype of a tensor; noise for a complex one is real."""
    return numbers.to(like.real.dtype if like.is_complex() else like.dtype)


def _index(shape: tuple[int, ...], like: Tensor, window: Window | None) -> Tensor:
    """The place of each element among all rows; the other axes need not be those of the window."""
    count = math.prod(shape)
    index = torch.arange(count, device=like.device).view(shape)
    return index + redraw.offset(window) * (count // max(shape[0], 1)) if window is not None else index
