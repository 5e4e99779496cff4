"""Dropout of elements and of channels."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, ops, redraw
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import checked_words, nothing_kept
from thinned.kernels import tensor as _tensor
from thinned.masks import Rate, Window
from thinned.masks import rate as _rate
from thinned.redraw import Word

MODES = ("upscale_in_train", "downscale_in_infer")


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
    mode: str = "upscale_in_train",
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
        generator: what to draw the seed from; torch's default generator of the input's device if not given. Under
            `torch.compile` it breaks the graph.
        window: says that `input` is a part of a larger tensor, whose mask it takes its part of.
        mask: bool tensor that broadcasts to `input`, true = keep, instead of a random one; the scale is 1 / (1 - p).
        mode: "upscale_in_train" scales kept elements in training; "downscale_in_infer", Paddle's name for the scheme of
            the paper, leaves them as they are and multiplies by 1 - p outside of training.

    Returns:
        A tensor of the shape, dtype and memory format of `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError: `p` is outside [0, 1]; an axis or window does not fit; `mask` is given beside other randomness.
        TypeError: `p` is not a number, or the dtype of `input` is neither floating nor complex.

    Examples:
        >>> x = torch.ones(2, 4)
        >>> thinned.dropout(x, 0.5, seed=0)
        tensor([[2., 0., 0., 2.],
                [0., 0., 0., 0.]])
        >>> thinned.dropout(x, 0.5, training=False) is x
        True

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014.
    """
    law = ops.traced_rate(p) if torch.compiler.is_compiling() else _rate(p)
    if mode != MODES[0]:
        _check.one_of(mode, MODES, "mode")
        if not training:
            if torch.compiler.is_exporting():  # then p is no symbol, and the program shall hold no more than a product
                law = _rate(p)
            return _downscaled(input, law, inplace, exact=mask is not None)
        if law.threshold != 0 and law.p != 1.0:
            law = redraw.unscaled(law)
    if mask is not None:
        if (seed, stream, shared_axes, generator, window) != (None, 0, (), None, None):
            others = "`seed`, `stream`, `shared_axes`, `generator` and `window`"
            raise RangeError(f"`mask` excludes {others}, but got one of them as well.")
        return _masked(input, law, training, inplace, mask)
    if not training or law.threshold == 0:
        return input
    if law.scale == math.inf:
        return nothing_kept(input, inplace)
    if type(shared_axes) is not tuple or (shared_axes and {*map(type, shared_axes)} != {int}):
        shared_axes = _check.axis_list(shared_axes)
    # A tensor is not compared: its value may be on another device, or batched.
    if seed is not None or type(stream) is not int or stream:
        seed, stream = checked_words(seed, stream, generator)
    if window is not None and not (torch.compiler.is_compiling() or issubclass(type(window), Window)):
        raise KindError(f"`window` must be a Window or None, but got window={window!r}.")
    return ops.dropout(input, law, seed, stream, shared_axes, window, inplace, generator)


def _downscaled(input: Tensor, law: redraw.AnyRate, inplace: bool, exact: bool) -> Tensor:
    if law.threshold == 0:
        return input
    if input.dtype not in ops.DTYPES:
        raise ops.unfit(input)
    kept = 1 - (law.p if exact else redraw.realised(law))
    result = (redraw.widened(input) * kept).to(input.dtype)
    return input.copy_(result) if inplace else result


def _masked(input: Tensor, law: Rate | ops.TracedRate, training: bool, inplace: bool, mask: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise KindError(f"`mask` must be a bool tensor (true = keep), but got {kind}.")
    pairs = zip(reversed(mask.shape), reversed(input.shape), strict=False)
    if mask.dim() > input.dim() or any(size not in (1, wanted) for size, wanted in pairs):
        raise RangeError(
            f"`mask` must broadcast to the shape of `input`, {tuple(input.shape)}, but got shape {tuple(mask.shape)}."
        )
    if not training:
        return input
    if law.p == 1.0:
        return nothing_kept(input, inplace)
    if input.dtype not in ops.DTYPES:
        raise ops.unfit(input)
    result = _tensor.select(input, mask, 1.0 if law.scale == 1.0 else 1 / (1 - law.p))
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
    # torch's rules: whatever has not the axes of a batch is one sample (C, *spatial), except in 2d, for history's sake
    dims = input.dim()
    channel = 1 if dims == spatial + 2 or spatial == 2 else 0
    if dims <= channel or (spatial == 1 and dims not in (2, 3)):
        wanted = {1: "2 or 3 axes", 2: "at least 2 axes", 3: "at least 1 axis"}[spatial]
        raise RangeError(f"`input` of {name} must have {wanted}, but got shape {tuple(input.shape)}.")
    if dims != spatial + 1 + channel:
        warnings.warn(
            f"{name} expects {spatial + 2} axes (N, C, and {spatial} more), but got shape {tuple(input.shape)}; "
            f"axis {channel} is taken as channels.",
            stacklevel=3,
        )
    axes = tuple(range(channel + 1, dims))
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
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; neither 2 nor 3 axes.

    Examples:
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
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; fewer than 2 axes.

    Examples:
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
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `dropout`; no axes.

    Examples:
        >>> thinned.functional.dropout3d(torch.ones(4, 2, 2, 2), 0.5, seed=0).sum(dim=(1, 2, 3))
        tensor([16.,  0.,  0., 16.])

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """
    return _channels("dropout3d", 3, input, p, training, inplace, seed, stream, generator, window)
