"""Dropout as functions: torch's names and signatures, plus one way to pass randomness."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, ops
from thinned._errors import KindError, RangeError
from thinned.kernels import tensor as _tensor
from thinned.masks import Rate, Window
from thinned.masks import rate as _rate

__all__ = ["dropout", "dropout1d", "dropout2d", "dropout3d"]

Word = int | Tensor


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    shared_axes: int | Sequence[int] = (),
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Set elements to zero with probability `p`, and scale the others so that the mean stays the same.

    No mask is stored: backward makes it again from the seed. The mask depends on seed, stream, `p` and the logical
    index of the element, and on nothing else: not on device, dtype, strides or number of threads.

    Args:
        input: floating or complex tensor of any shape and memory format.
        p: probability of an element to be dropped, in [0, 1].
        training: drop only if true; otherwise return the input itself.
        inplace: write into `input`.
        shared_axes: axis or axes along which one decision is shared (Keras's `noise_shape`, Flax's `broadcast_dims`).
        seed: 64-bit integer (or int64 0-dim tensor on the input's device); drawn from `generator` if not given.
        stream: 64-bit integer that selects an independent mask under the same seed.
        generator: what to draw the seed from; torch's default generator of the input's device if not given.
        window: says that `input` is a part of a larger tensor, whose mask it takes its part of.
        mask: bool tensor that broadcasts to `input`, true = keep, instead of a random one; the scale is 1 / (1 - p).

    Returns:
        A tensor of the shape, dtype and memory format of `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError: `p` is outside [0, 1]; an axis or window does not fit; `mask` is given beside other randomness.
        TypeError: `p` is not a number, or the dtype of `input` is neither floating nor complex.

    Example:
        >>> x = torch.ones(2, 4)
        >>> thinned.dropout(x, 0.5, seed=0)
        tensor([[2., 0., 0., 2.],
                [0., 0., 0., 0.]])
        >>> thinned.dropout(x, 0.5, training=False) is x
        True

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014.
    """
    law = _rate(p)
    if mask is not None:
        return _masked(input, law, training, inplace, mask, seed, generator)
    if not training or law.threshold == 0:
        return input
    if law.scale == math.inf:
        return _nothing_kept(input, inplace)
    if type(shared_axes) is not tuple:
        shared_axes = _axes(shared_axes)
    if seed is not None:
        if generator is not None:
            raise RangeError("`seed` and `generator` must not both be given, but got both.")
        seed = _word(seed, "seed")
    if stream != 0:
        stream = _word(stream, "stream")
    return ops.dropout(input, law, seed, stream, shared_axes, window, inplace, generator)


def _axes(shared_axes: int | Sequence[int]) -> tuple[int, ...]:
    return (shared_axes,) if isinstance(shared_axes, int) else tuple(shared_axes)


def _word(word: Word, name: str) -> Word:
    if not isinstance(word, Tensor):
        return _check.word64(word, name)
    if word.dtype != torch.int64 or word.dim() != 0:
        raise KindError(
            f"`{name}` must be an integer or an int64 0-dim tensor, but got a tensor of dtype {word.dtype} and shape "
            f"{tuple(word.shape)}."
        )
    return word


def _floating(input: Tensor) -> None:
    if input.dtype not in ops.DTYPES:
        raise KindError(
            f"`input` must be floating or complex for dropout in training, but got a tensor of dtype {input.dtype}."
        )


def _nothing_kept(input: Tensor, inplace: bool) -> Tensor:
    # `where` selects: the gradient is +0.0 even where the upstream one is inf or nan, and nothing of the input is kept.
    _floating(input)
    if inplace:
        return input.zero_()
    return torch.where(torch.zeros((), dtype=torch.bool, device=input.device), input, 0.0)


def _masked(
    input: Tensor,
    law: Rate,
    training: bool,
    inplace: bool,
    mask: Tensor,
    seed: Word | None,
    generator: torch.Generator | None,
) -> Tensor:
    if seed is not None or generator is not None:
        raise RangeError("`mask` excludes other randomness, but got `seed` or `generator` as well.")
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise KindError(f"`mask` must be a bool tensor (true = keep), but got {kind}.")
    if not training:
        return input
    _floating(input)
    if law.p == 1.0:
        return _nothing_kept(input, inplace)
    result = _tensor.select(input, mask, 1 / (1 - law.p))
    return input.copy_(result) if inplace else result


def _channels(
    name: str,
    spatial: int,
    input: Tensor,
    p: float,
    training: bool,
    inplace: bool,
    seed: Word | None,
    stream: Word,
    generator: torch.Generator | None,
    window: Window | None,
) -> Tensor:
    """Drop whole channels: the axes behind the channel axis share one decision."""
    dims = input.dim()
    if dims < 2:
        raise RangeError(f"`input` of {name} must have at least 2 axes, but got shape {tuple(input.shape)}.")
    # torch takes (C, *spatial) as one unbatched sample, except in 2d, where three axes are (N, C, L) for history's sake
    unbatched = dims == spatial + 1 and spatial != 2
    if not unbatched and dims != spatial + 2:
        warnings.warn(
            f"{name} expects {spatial + 2} axes (N, C, and {spatial} more), but got shape {tuple(input.shape)}; "
            f"the first is taken as batch and the second as channels.",
            stacklevel=3,
        )
    axes = tuple(range(1 if unbatched else 2, dims))
    return dropout(
        input,
        p,
        training,
        inplace,
        shared_axes=axes,
        seed=seed,
        stream=stream,
        generator=generator,
        window=window,
    )


def dropout1d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set whole channels of a sequence to zero with probability `p`.

    Args:
        input: tensor of shape (N, C, L) or (C, L).
        p: probability of a channel to be dropped, in [0, 1].
        training: drop only if true.
        inplace: write into `input`.
        seed, stream, generator, window: as in `dropout`.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; fewer than 2 axes.

    Example:
        >>> thinned.functional.dropout1d(torch.ones(1, 3, 2), 0.5, seed=0)
        tensor([[[2., 2.],
                 [0., 0.],
                 [0., 0.]]])

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """
    return _channels("dropout1d", 1, input, p, training, inplace, seed, stream, generator, window)


def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set whole channels of an image to zero with probability `p`.

    Args:
        input: tensor of shape (N, C, H, W); three axes are taken as (N, C, L), with a warning, as torch does.
        p: probability of a channel to be dropped, in [0, 1].
        training: drop only if true.
        inplace: write into `input`.
        seed, stream, generator, window: as in `dropout`.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; fewer than 2 axes.

    Example:
        >>> thinned.functional.dropout2d(torch.ones(1, 4, 8, 8), 0.5, seed=0).sum(dim=(2, 3))
        tensor([[128.,   0.,   0., 128.]])

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """
    return _channels("dropout2d", 2, input, p, training, inplace, seed, stream, generator, window)


def dropout3d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set whole channels of a volume to zero with probability `p`.

    Args:
        input: tensor of shape (N, C, D, H, W) or (C, D, H, W).
        p: probability of a channel to be dropped, in [0, 1].
        training: drop only if true.
        inplace: write into `input`.
        seed, stream, generator, window: as in `dropout`.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; fewer than 2 axes.

    Example:
        >>> thinned.functional.dropout3d(torch.ones(4, 2, 2, 2), 0.5, seed=0).sum(dim=(1, 2, 3))
        tensor([16.,  0.,  0., 16.])

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """
    return _channels("dropout3d", 3, input, p, training, inplace, seed, stream, generator, window)
