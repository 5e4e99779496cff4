"""Taking a part of sparse data: of its rows, of its values, or of ids that are frequent."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thinned import _check, ops
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import check_one_source
from thinned.functional._ragged import Ragged, fault
from thinned.kernels import replacement as _kernels
from thinned.masks import Mask, element_words


class Subsample(NamedTuple):
    """A part of sparse data.

    Attributes:
        values: the ids that stay.
        lengths: how many of them each example that stays has.
        kept: int64 indices of the rows (for "rows") or of the values that stay: `labels[kept]`, `weights[kept]`.
    """

    values: Tensor
    lengths: Tensor
    kept: Tensor


def subsample(
    values: Tensor,
    lengths: Tensor,
    p: float | None = None,
    *,
    by: str = "rows",
    threshold: float | None = None,
    counts: Tensor | None = None,
    seed: int | None = None,
    stream: int = 0,
    generator: torch.Generator | None = None,
) -> Subsample:
    """Drop rows, stored values, or frequent ids of sparse data, by the mask law.

    With `by="ids"` an occurrence of an id that makes up the share f of all values is dropped with probability
    1 - sqrt(threshold / f), if that is positive, so that frequent ids do not drown the others. A CSR matrix is such
    data too: its column indices, and the differences of its row pointers; with `by="values"` and `"ids"`, `kept` picks
    the matrix's values.

    Args:
        values: int32 or int64 ids of all examples, one example after the other, shape (items,), on the CPU.
        lengths: int32 or int64, shape (examples,): how many of the values each example has.
        p: for "rows" and "values": probability of one to be dropped, in [0, 1].
        by: "rows", "values" or "ids". Row i takes the decision of index i of the law, value j that of index j.
        threshold: for "ids": the share of all values up to which an id always stays, in (0, 1]; 1e-3 to 1e-5 are usual.
        counts: for "ids": how often each id occurs, shape (ids,), where the data at hand are only a part; counted in
            `values` if not given.
        seed: 64-bit integer; drawn from `generator` if not given.
        stream: 64-bit integer that selects an independent mask under the same seed.
        generator: what to draw the seed from; torch's default generator if not given.

    Returns:
        Values, lengths and indices of what stays.

    Raises:
        ValueError: an argument is out of range, does not go with `by`, or the lengths do not describe the values.
        TypeError: values or lengths are not int32 or int64.

    Examples:
        >>> values, lengths = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 0, 3])
        >>> thinned.functional.subsample(values, lengths, 0.5, seed=0)
        Subsample(values=tensor([1, 2]), lengths=tensor([2]), kept=tensor([0]))
        >>> thinned.functional.subsample(values, lengths, 0.5, by="values", seed=0)
        Subsample(values=tensor([1, 4]), lengths=tensor([1, 0, 1]), kept=tensor([0, 3]))

    Source: for "ids", Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and
    their compositionality", NeurIPS 2013, section 2.3.
    """
    if by not in ("rows", "values", "ids"):
        raise RangeError(f"`by` must be 'rows', 'values' or 'ids', but got by={by!r}.")
    if (p is None) != (by == "ids") or (threshold is None) == (by == "ids") or (counts is not None and by != "ids"):
        raise RangeError(
            f"`p` must be given for 'rows' and 'values', `threshold` (and `counts`, if at all) for 'ids', but got "
            f"p={p}, threshold={threshold} and counts={'None' if counts is None else 'a tensor'} for by={by!r}."
        )
    data = Ragged(values, lengths, None, False)
    for name, tensor in (("values", data.values), ("lengths", data.lengths)):
        if not tensor.is_cpu:
            raise RangeError(f"`{name}` must be on the CPU, but got a tensor on {tensor.device}.")
    if kind := _kernels.lengths_fault(data.lengths, data.values.numel()):
        raise fault(kind, data.values)
    check_one_source(seed, generator)
    word = int(ops.draw(torch.device("cpu"), generator)) if seed is None else _check.word64(seed, "seed")
    rows = torch.repeat_interleave(torch.arange(data.lengths.numel()), data.lengths)  # of each value
    if by == "rows":
        keep_row = Mask(_check.probability(p), word, stream).keep(data.lengths.shape)
        return Subsample(data.values[keep_row[rows]], data.lengths[keep_row], keep_row.nonzero().squeeze(1))
    if by == "values":
        keep = Mask(_check.probability(p), word, stream).keep(data.values.shape)
    else:
        keep = _thinned_ids(data.values, threshold, counts, word, _check.word64(stream, "stream"))
    kept = keep.nonzero().squeeze(1)
    sizes = torch.bincount(rows[kept], minlength=data.lengths.numel())
    return Subsample(data.values[kept], sizes.to(data.lengths.dtype), kept)


def _thinned_ids(values: Tensor, threshold: Any, counts: Tensor | None, seed: int, stream: int) -> Tensor:
    if not 0 < _check.probability(threshold, "threshold") <= 1:
        raise RangeError(f"`threshold` must be in (0, 1], but got threshold={threshold}.")
    ids = values.numpy()
    if counts is None:
        _, place, seen = np.unique(ids, return_inverse=True, return_counts=True)
        each, total = seen[place], float(ids.size)
    else:
        if not isinstance(counts, Tensor) or counts.dtype not in (torch.int32, torch.int64) or counts.dim() != 1:
            raise KindError("`counts` must be an int32 or int64 tensor with 1 axis, but it is not.")
        if bool((counts < 0).any()):
            raise RangeError(f"`counts` must not be negative anywhere, but got {int(counts.min())}.")
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < counts.numel():
            raise RangeError(f"`counts` must have an entry for each id, but {counts.numel()} entries do not reach.")
        each, total = counts.numpy()[ids], float(counts.sum(dtype=torch.float64))  # in int64 it could overflow
    with np.errstate(divide="ignore", invalid="ignore"):  # an id that was counted 0 times always stays
        dropped = 1 - np.sqrt(threshold * total / each)
    limits = np.rint(np.nan_to_num(dropped, nan=0.0, neginf=0.0).clip(0, 1) * 2.0**32)
    return torch.from_numpy(element_words(0, ids.size, 32, seed, stream) >= limits)
