"""Dropping contiguous blocks of feature maps, and squares of images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, ops, redraw
from thinned._errors import RangeError
from thinned.functional._arguments import AnyRate, Given, nothing_kept, randomness
from thinned.kernels import tensor as _tensor
from thinned.masks import Rate, Window
from thinned.redraw import Word

NORMALISATIONS = ("rate", "count")


def _seed_rate(p: float, cells: int) -> tuple[AnyRate, float | Tensor]:
    """The rate at which blocks begin, and the rate at which an element is then dropped.

    An element is kept when none of the `cells` blocks that would cover it begins: with probability (1 - gamma)**cells,
    at every place alike, because blocks may hang over the border. So gamma = 1 - (1 - p)**(1 / cells), with no
    approximation. Always in 32 bits: gamma is small, and what is asked for shall be hit.
    """
    gamma = 1 - (1 - p) ** (1 / cells)
    if torch.compiler.is_compiling():
        threshold = torch.round(torch.ones((), dtype=torch.float64, device="cpu") * gamma * 2.0**32)
        one = torch.ones((), dtype=torch.float64, device="cpu").view(torch.int64)
        bits = torch.full((), 32, dtype=torch.int64, device="cpu")
        law = torch.stack((threshold.to(torch.int64), bits, one))
        return ops.TracedRate(gamma, law), (1 - threshold * 2.0**-32) ** cells
    whole = Rate(gamma, 32, round(gamma * 2**32), 1.0)
    return whole, (1 - whole.realised) ** cells


def _and_along(bits: Tensor, step: int, size: int) -> Tensor:
    """AND of each element with the next `size - 1` ones, `step` apart in memory, in log2(size) passes.

    Flat memory: what wraps around into the next row ends up in the margin, which is cut off.
    """
    done = 1
    while done < size:
        more = min(done, size - done)
        bits = bits[: bits.numel() - more * step] & bits[more * step :]
        done += more
    return bits


def _drop_block(
    name: str,
    spatial: int,
    input: Tensor,
    p: float,
    block_size: int,
    training: bool,
    inplace: bool,
    couple_channels: bool,
    normalise: str,
    given: Given,
) -> Tensor:
    p, size = _check.probability(p), _check.positive(block_size, "block_size")
    _check.one_of(normalise, NORMALISATIONS, "normalise")
    if not training or p == 0:
        return input
    r = randomness(input, *given)
    if input.dim() not in (spatial + 1, spatial + 2):
        wanted = f"{spatial + 1} or {spatial + 2}"
        raise RangeError(f"`input` of {name} must have {wanted} axes, but got shape {tuple(input.shape)}.")
    if p == 1:
        return nothing_kept(input, inplace)
    sizes = [max(min(size, extent), 1) for extent in input.shape[-spatial:]]
    margin = [0] * (input.dim() - spatial) + [block - 1 for block in sizes]
    law, kept = _seed_rate(p, math.prod(sizes))
    words = r.draw(input)
    shared = (input.dim() - spatial - 1,) if couple_channels else ()

    def grown(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(extent + more for extent, more in zip(shape, margin, strict=True))

    window: Window | Tensor | None = r.window
    if isinstance(window, Tensor):
        window = window + window.new_tensor(margin + [0] * len(margin))
    elif window is not None:
        window = Window(grown(window.shape), window.start)

    def mask(x: Tensor) -> tuple[Tensor, float | Tensor]:
        begins = redraw.keep(x, grown(x.shape), law, *words, shared, window)
        flat, step = begins.view(-1), 1
        for axis, block in zip(reversed(range(x.dim())), reversed(sizes), strict=False):
            flat = _and_along(flat, step, block)
            step *= begins.shape[axis]
        flat = torch.nn.functional.pad(flat, (0, begins.numel() - flat.numel()))
        keep = flat.view(begins.shape)[tuple(slice(extent) for extent in x.shape)]
        if normalise == "rate":
            return keep, 1 / kept
        return keep, keep.numel() / keep.sum().clamp(min=1).to(torch.float64)  # an integer count: nothing overflows

    def whole(x: Tensor) -> Tensor:
        keep, scale = mask(x)
        return _tensor.select(x, keep.expand(x.shape), scale)  # type: ignore[arg-type]

    result = redraw.redrawn(input, whole, whole)
    return input.copy_(result) if inplace else result


def drop_block1d(
    input: Tensor,
    p: float = 0.1,
    block_size: int = 7,
    training: bool = True,
    inplace: bool = False,
    *,
    couple_channels: bool = False,
    normalise: str = "rate",
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set contiguous runs of a sequence to zero, so that each element is dropped with probability `p`.

    The rate at which blocks begin follows from `p` without approximation: blocks may overlap and hang over the border,
    and each element, at the border too, is dropped with probability `p`.

    Args:
        input: floating or complex tensor of shape (N, C, L) or (C, L).
        p: probability of an element to be dropped, in [0, 1].
        block_size: size of a block along each axis; no larger than the tensor is.
        training: drop only if true.
        inplace: write into `input`.
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones, in this very tensor.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; a block size below 1; another number of axes; an unknown normalisation.

    Examples:
        >>> x = torch.ones(2, 3, 40)
        >>> y = thinned.functional.drop_block1d(x, 0.2, block_size=3, seed=0)
        >>> [y.shape == x.shape, bool(0 < (y == 0).sum() < y.numel())]
        [True, True]

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """
    given = (seed, stream, generator, window)
    name = "drop_block1d"
    return _drop_block(name, 1, input, p, block_size, training, inplace, couple_channels, normalise, given)


def drop_block2d(
    input: Tensor,
    p: float = 0.1,
    block_size: int = 7,
    training: bool = True,
    inplace: bool = False,
    *,
    couple_channels: bool = False,
    normalise: str = "rate",
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set contiguous squares of an image to zero, so that each element is dropped with probability `p`.

    The rate at which blocks begin follows from `p` without approximation: blocks may overlap and hang over the border,
    and each element, at the border too, is dropped with probability `p`.

    Args:
        input: floating or complex tensor of shape (N, C, H, W) or (C, H, W).
        p: probability of an element to be dropped, in [0, 1].
        block_size: size of a block along each axis; no larger than the tensor is.
        training: drop only if true.
        inplace: write into `input`.
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones, in this very tensor.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; a block size below 1; another number of axes; an unknown normalisation.

    Examples:
        >>> x = torch.ones(2, 3, 10, 10)
        >>> y = thinned.functional.drop_block2d(x, 0.2, block_size=3, seed=0)
        >>> [y.shape == x.shape, bool(0 < (y == 0).sum() < y.numel())]
        [True, True]

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """
    given = (seed, stream, generator, window)
    name = "drop_block2d"
    return _drop_block(name, 2, input, p, block_size, training, inplace, couple_channels, normalise, given)


def drop_block3d(
    input: Tensor,
    p: float = 0.1,
    block_size: int = 7,
    training: bool = True,
    inplace: bool = False,
    *,
    couple_channels: bool = False,
    normalise: str = "rate",
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set contiguous cubes of a volume to zero, so that each element is dropped with probability `p`.

    The rate at which blocks begin follows from `p` without approximation: blocks may overlap and hang over the border,
    and each element, at the border too, is dropped with probability `p`.

    Args:
        input: floating or complex tensor of shape (N, C, D, H, W) or (C, D, H, W).
        p: probability of an element to be dropped, in [0, 1].
        block_size: size of a block along each axis; no larger than the tensor is.
        training: drop only if true.
        inplace: write into `input`.
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones, in this very tensor.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; a block size below 1; another number of axes; an unknown normalisation.

    Examples:
        >>> x = torch.ones(2, 3, 6, 6, 6)
        >>> y = thinned.functional.drop_block3d(x, 0.2, block_size=3, seed=0)
        >>> [y.shape == x.shape, bool(0 < (y == 0).sum() < y.numel())]
        [True, True]

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """
    given = (seed, stream, generator, window)
    name = "drop_block3d"
    return _drop_block(name, 3, input, p, block_size, training, inplace, couple_channels, normalise, given)


def cutout(
    input: Tensor,
    size: int = 16,
    holes: int = 1,
    training: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set squares of each image to zero, the same in all its channels; nothing is scaled.

    Centres lie anywhere in the image with equal probability, so a square may be cut off by the border, as in the paper.

    Args:
        input: floating or complex tensor of shape (N, C, H, W), or (C, H, W) for one image.
        size: side of a square, in pixels.
        holes: number of squares in each image.
        training: only then.
        seed: as in `dropout`; a window may split the batch alone.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if not in training.

    Raises:
        ValueError, TypeError: as `dropout`; `size` or `holes` below 1; another number of axes.

    Examples:
        >>> thinned.functional.cutout(torch.ones(1, 4, 4), size=2, seed=0)
        tensor([[[1., 0., 0., 1.],
                 [1., 0., 0., 1.],
                 [1., 1., 1., 1.],
                 [1., 1., 1., 1.]]])

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with Cutout",
    arXiv:1708.04552, 2017.
    """
    size, holes = _check.positive(size, "size"), _check.positive(holes, "holes")
    if not training:
        return input
    r = randomness(input, seed, stream, generator, window)
    if input.dim() not in (3, 4):
        raise RangeError(f"`input` of cutout must have 3 or 4 axes, but got shape {tuple(input.shape)}.")
    words = r.draw(input)

    def whole(x: Tensor) -> Tensor:
        images = x.shape[0] if x.dim() == 4 else 1
        first = redraw.offset(r.window) if x.dim() == 4 else 0
        image = torch.arange(images, device=x.device).view(-1, 1, 1, 1) + first
        hole = torch.arange(holes, device=x.device).view(-1, 1, 1)

        def inside(axis: int) -> Tensor:  # (images, holes, height, 1) or (images, holes, 1, width)
            extent = x.shape[axis]
            word = _tensor.words((image * holes + hole) * 2 + (axis + 2), *words)  # two words for each hole
            distance = torch.arange(extent, device=x.device) - ((word * extent) >> 32) + size // 2
            covered = (distance >= 0) & (distance < size)
            return covered if axis == -1 else covered.transpose(-1, -2)

        keep = ~(inside(-2) & inside(-1)).any(dim=1, keepdim=True)
        return _tensor.select(x, (keep if x.dim() == 4 else keep[0]).expand(x.shape), 1.0)

    return redraw.redrawn(input, whole, whole)
