"""Replacement dropout of dense and sparse tensors: a dropped element becomes another value."""

from numbers import Complex
from typing import Any

import torch
from torch import Tensor

from thinned import _check, ops
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import checked_words
from thinned.kernels import tensor as _tensor
from thinned.masks import Layout, Rate, Window, layout
from thinned.masks import rate as _rate
from thinned.redraw import Word

Replacement = float | complex | str | Tensor
STATISTICS = ("mean", "median")
POSITIONS = ("stored", "all")


def replacement_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    replacement: Replacement = 0.0,
    positions: str = "stored",
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Put another value in the place of each element with probability `p`; nothing is scaled.

    The elements replaced are those that `dropout` drops under the same seed, whether the tensor is dense or sparse: the
    mask's index is the element's place in the whole tensor, not among the stored values.

    Args:
        input: floating or complex tensor of any shape; dense, or sparse in COO or CSR form.
        p: probability of an element to be replaced, in [0, 1].
        training: replace only if true; otherwise return the input itself.
        inplace: write into `input`; not for sparse tensors.
        replacement: a number; a tensor that broadcasts to `input`, for instance one value a feature, which gets its
            gradient; or "mean" or "median" (the lower of the two middle ones) of the non-zero elements of `input`,
            0 where there is none. Gradients flow through the mean and the median too.
        positions: for sparse tensors, whether "stored" values alone or "all" positions can be replaced. "all" takes
            memory for each position of the tensor, and stores a value at each that is replaced.
        seed: 64-bit integer (or int64 0-dim tensor on the input's device); drawn from `generator` if not given.
        stream: 64-bit integer that selects an independent mask under the same seed.
        generator: what to draw the seed from; torch's default generator of the input's device if not given.
        window: says that `input` is a part of a larger tensor, whose mask it takes its part of.

    Returns:
        A tensor of the shape, dtype and layout of `input`; `input` itself if nothing is to be replaced.

    Raises:
        ValueError: `p` is outside [0, 1]; `replacement` does not broadcast to `input`; an unknown word.
        TypeError: `p` or `replacement` is of a wrong kind; the dtype or layout of `input` does not suit.

    Examples:
        >>> thinned.functional.replacement_dropout(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.5, replacement="mean", seed=0)
        tensor([1.0000, 2.5000, 2.5000, 4.0000])
    """
    law = ops.traced_rate(p) if torch.compiler.is_compiling() else _rate(p)
    value, positions = checked(replacement), checked_positions(positions)
    if not training or law.threshold == 0:
        return input
    if input.dtype not in ops.DTYPES:
        raise ops.unfit(input)
    _fits(value, input)
    seed, stream = checked_words(seed, stream, generator)
    if input.layout is not torch.strided:
        if inplace:
            raise RangeError("`inplace` must be false for sparse tensors, but got inplace=True.")
        seed = ops.draw(input.device, generator) if seed is None else seed
        return _in_sparse(input, _rate(p), value, positions, seed, stream, window)
    value = _tensor_of(value, input)
    if p == 1:
        result = torch.where(torch.zeros((), dtype=torch.bool, device=input.device), input, value)
    else:
        result = ops.replace(input, value, (law, seed, stream, window), generator)
    return input.copy_(result) if inplace else result


def checked(replacement: Any) -> Replacement:
    """Return a replacement that is of one of the kinds allowed.

    Args:
        replacement: a number, a tensor, "mean" or "median".

    Returns:
        The replacement.

    Raises:
        KindError, RangeError: it is something else.

    Examples:
        >>> checked("mean")
        'mean'
    """
    if isinstance(replacement, str) and replacement not in STATISTICS:
        raise RangeError(f"`replacement` must be 'mean' or 'median' if it is a str, but got {replacement!r}.")
    if isinstance(replacement, bool) or not isinstance(replacement, Complex | Tensor | str):
        kind = type(replacement).__name__
        raise KindError(f"`replacement` must be a number, a tensor, 'mean' or 'median', but got a {kind}.")
    return replacement  # type: ignore[return-value]


def checked_positions(positions: Any) -> str:
    """Return which positions of a sparse tensor can be replaced.

    Args:
        positions: "stored" or "all".

    Returns:
        The word.

    Raises:
        RangeError: another word.

    Examples:
        >>> checked_positions("all")
        'all'
    """
    if positions not in POSITIONS:
        raise RangeError(f"`positions` must be 'stored' or 'all', but got positions={positions!r}.")
    return positions  # type: ignore[no-any-return]


def _fits(replacement: Replacement, input: Tensor) -> None:
    if isinstance(replacement, complex) and not input.is_complex():
        raise KindError(f"`replacement` must be real for an input of dtype {input.dtype}, but got {replacement}.")
    if not isinstance(replacement, Tensor):
        return
    pairs = zip(reversed(replacement.shape), reversed(input.shape), strict=False)
    if replacement.dim() > input.dim() or any(size not in (1, wanted) for size, wanted in pairs):
        raise RangeError(
            f"`replacement` must broadcast to the shape of `input`, {tuple(input.shape)}, but got shape "
            f"{tuple(replacement.shape)}."
        )
    if replacement.is_complex() and not input.is_complex():
        raise KindError(f"`replacement` must be real for an input of dtype {input.dtype}, but got a complex tensor.")


def _tensor_of(replacement: Replacement, input: Tensor) -> Tensor:
    """The replacement as a tensor of the input's dtype; `input` is the tensor, or the stored values of a sparse one."""
    if isinstance(replacement, Tensor):
        return replacement.to(input.dtype)
    if replacement == "mean":
        return _mean(input)
    if isinstance(replacement, str):
        return _median(input)
    return torch.full((), replacement, dtype=input.dtype, device=input.device)


def _wide(input: Tensor) -> Tensor:
    return input.float() if input.dtype in (torch.float16, torch.bfloat16) else input


def _mean(input: Tensor) -> Tensor:
    return (_wide(input).sum() / (input != 0).sum().clamp(min=1)).to(input.dtype)


def _median(input: Tensor) -> Tensor:
    if input.is_complex():
        raise KindError(f"`replacement` must not be 'median' for complex numbers, but got dtype {input.dtype}.")
    counts = input != 0
    median = torch.where(counts, input, torch.nan).nanmedian()
    return torch.where(counts.any(), median, 0.0).to(input.dtype)


def _in_sparse(
    input: Tensor,
    law: Rate,
    replacement: Replacement,
    positions: str,
    seed: Word,
    stream: Word,
    window: Window | None,
) -> Tensor:
    if input.layout not in (torch.sparse_coo, torch.sparse_csr) or input.dense_dim():
        raise KindError(
            f"`input` must be dense, or sparse in COO or CSR form without dense axes, but got layout {input.layout} "
            f"with {input.dense_dim()} dense axes."
        )
    stored = (input if input.layout is torch.sparse_coo else input.to_sparse(layout=torch.sparse_coo)).coalesce()
    indices, values, shape = stored.indices(), stored.values(), tuple(input.shape)
    value = _tensor_of(replacement, values)
    place = layout(shape, (), window)
    steps = torch.tensor(place.strides, device=indices.device).unsqueeze(1)
    index = (indices * steps).sum(0) + _check.signed64(place.start % _check.WORD)
    keep = torch.zeros_like(index, dtype=torch.bool) if law.keeps_none else _tensor.keep_at(index, law, seed, stream)
    if positions == "stored":
        values = torch.where(keep, values, _at(value, indices, shape))
    else:
        replaced = _dropped(place, law, seed, stream, indices.device)
        values = torch.cat((values[keep], _at(value, replaced, shape)))
        indices = torch.cat((indices[:, keep], replaced), dim=1)
    in_order = positions == "stored"
    result = torch.sparse_coo_tensor(indices, values, shape, is_coalesced=in_order, check_invariants=False).coalesce()
    return result if input.layout is torch.sparse_coo else result.to_sparse_csr()


def _dropped(place: Layout, law: Rate, seed: Word, stream: Word, device: torch.device) -> Tensor:
    """The indices of all positions that the law drops, in the form in which COO tensors have them."""
    if law.keeps_none:
        return torch.ones(place.extent, dtype=torch.bool, device=device).nonzero().T
    return (~_tensor.keep(place, law, seed, stream, device)).nonzero().T


def _at(replacement: Tensor, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    return replacement.expand(shape)[tuple(indices)]
