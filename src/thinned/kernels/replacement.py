"""Replacement of ids on CPU tensors, by the C++ kernels: checks no argument but the lengths, which it has to add up.

The same in plain torch operations, for other devices and for a mask that is given, is `by_mask`.
"""

import torch
from torch import Tensor

from thinned.kernels import _cpu
from thinned.kernels.cpu import launch
from thinned.masks import Rate

NEGATIVE, SUM = -1, -2  # faults of lengths: one is negative; they do not add up to the number of values


def segments(
    values: Tensor,  # contiguous, int32 or int64, shape (items,)
    lengths: Tensor,  # contiguous, int32 or int64, shape (count,)
    id: int,
    rate: Rate,
    seed: int,
    stream: int,
    start: int = 0,
    path: str | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor] | int:
    """Return values and lengths in which each dropped segment has become the one value `id`.

    Two passes: the first adds up how much of the result each block of segments makes, the second copies.

    Args:
        values: the values of all segments, one segment after the other.
        lengths: how many values each segment has.
        id: what a dropped segment becomes.
        rate: a rate that neither keeps all nor keeps none.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        start: the mask's index of the first segment.
        path: code path to force, one of `cpu.PATHS`.
        threads: number of threads; torch's number by default.

    Returns:
        The new values and lengths; `NEGATIVE` or `SUM` where the lengths do not describe the values.

    Examples:
        >>> from thinned.masks import rate
        >>> segments(torch.tensor([5, 6, 7]), torch.tensor([1, 2]), -1, rate(0.5), seed=0, stream=0)
        (tensor([ 5, -1]), tensor([1, 1]))
    """
    count, items = lengths.numel(), values.numel()
    new_lengths = torch.empty_like(lengths)
    starts = torch.empty(2 * -(-count // _cpu.SEGMENT_BLOCK), dtype=torch.int64, device="cpu")
    shape = lengths.element_size(), count, items
    law = start % 2**64, seed, stream, rate.threshold, rate.bits, *launch(items + count, path, threads)
    total = _cpu.count_segments(lengths.data_ptr(), new_lengths.data_ptr(), starts.data_ptr(), *shape, *law)
    if total < 0:
        return total
    new_values = torch.empty(total, dtype=values.dtype, device="cpu")
    memory = values.data_ptr(), lengths.data_ptr(), starts.data_ptr(), new_values.data_ptr()
    _cpu.replace_segments(*memory, total, id, values.element_size(), *shape, *law)
    return new_values, new_lengths


def items(
    values: Tensor,  # contiguous, int32 or int64, any shape
    id: int,
    rate: Rate,
    seed: int,
    stream: int,
    start: int = 0,
    path: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """Return values of which each dropped one has become `id`.

    Args:
        values: ids.
        id: what a dropped one becomes.
        rate: as in `segments`.
        seed: likewise.
        stream: likewise.
        path: likewise.
        threads: likewise.
        start: the mask's index of the first value.

    Returns:
        A new tensor like `values`.

    Examples:
        >>> from thinned.masks import rate
        >>> items(torch.tensor([5, 6, 7, 8]), -1, rate(0.5), seed=0, stream=0)
        tensor([ 5, -1, -1,  8])
    """
    result, n = torch.empty_like(values), values.numel()
    law = start % 2**64, seed, stream, rate.threshold, rate.bits, *launch(n, path, threads)
    _cpu.replace_items(values.data_ptr(), result.data_ptr(), n, id, values.element_size(), *law)
    return result


def by_mask(values: Tensor, lengths: Tensor, id: int, keep: Tensor) -> tuple[Tensor, Tensor] | int:
    """Return what `segments` returns, for a mask that is given, in plain torch operations on any device.

    Args:
        values: as in `segments`.
        lengths: as in `segments`.
        id: what a dropped segment becomes.
        keep: bool, shape (count,): which segments stay.

    Returns:
        As `segments`.

    Examples:
        >>> by_mask(torch.tensor([5, 6, 7]), torch.tensor([1, 2]), -1, torch.tensor([False, True]))
        (tensor([-1,  6,  7]), tensor([1, 2]))
    """
    if fault := lengths_fault(lengths, values.numel()):
        return fault
    new_lengths = torch.where(keep, lengths, torch.ones_like(lengths))
    first = lengths.cumsum(0) - lengths  # of each segment, among the values
    place = new_lengths.cumsum(0) - new_lengths  # and in the result
    owner = torch.repeat_interleave(torch.arange(lengths.numel(), device=lengths.device), new_lengths)
    source = torch.arange(owner.numel(), device=lengths.device) - place[owner] + first[owner]
    kept = keep[owner]
    new_values = torch.full((owner.numel(),), id, dtype=values.dtype, device=values.device)
    new_values[kept] = values[source[kept]]
    return new_values, new_lengths


def lengths_fault(lengths: Tensor, items: int) -> int:
    """Return what is wrong with lengths, if anything.

    Args:
        lengths: int32 or int64, 1 axis.
        items: what they should add up to.

    Returns:
        `NEGATIVE`, `SUM`, or 0.

    Examples:
        >>> lengths_fault(torch.tensor([1, 2]), 4) == SUM
        True
    """
    if bool((lengths < 0).any()):
        return NEGATIVE
    # Without a length beyond `items`, a sum of int64 would need 2**63 / items segments to overflow.
    if bool((lengths > items).any()) or int(lengths.sum(dtype=torch.int64)) != items:
        return SUM
    return 0
