"""Sparse dropout with replacement: on the ids of many examples, of which each has its own number."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from thinned import ops
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import checked_words
from thinned.kernels import replacement as _kernels
from thinned.kernels import tensor as _tensor
from thinned.masks import Rate, Window, layout
from thinned.masks import rate as _rate
from thinned.redraw import Word

DTYPES = (torch.int32, torch.int64)
Ids = Tensor | Sequence[Tensor]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _integers(tensor: Any, name: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise KindError(f"`{name}` must be a tensor, but got a {type(tensor).__name__}.")
    if tensor.dtype not in DTYPES:
        raise KindError(f"`{name}` must be of dtype int32 or int64, but got {tensor.dtype}.")
    if tensor.dim() != 1:
        raise RangeError(f"`{name}` must have 1 axis, but got shape {tuple(tensor.shape)}.")
    return tensor.contiguous()


def checked_id(value: Any, dtype: torch.dtype = torch.int64) -> int:
    """Return a replacement value as a Python integer.

    Args:
        value: any integer.
        dtype: of the ids that it stands among.

    Returns:
        The integer.

    Raises:
        KindError, RangeError: it is no integer, or does not fit.

    Examples:
        >>> checked_id(-1)
        -1
    """
    if isinstance(value, bool):
        raise KindError("`replacement_value` must be an integer, but got a bool.")
    try:
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise KindError(f"`replacement_value` must be an integer, but got {value!r} of type {kind}.") from None
    if not torch.iinfo(dtype).min <= number <= torch.iinfo(dtype).max:
        raise RangeError(f"`replacement_value` must fit in {dtype}, but got {number}.")
    return number


class Ragged:
    """Examples of different lengths in one of the four forms that they come in, read as values and lengths.

    Args:
        values: ids of all examples, 1 axis; or a jagged nested tensor of 2 axes; or a list of tensors of 1 axis.
        lengths: how many ids each example has.
        offsets: where each example begins among the values, as `torch.nn.EmbeddingBag` takes it.
        include_last_offset: whether `offsets` has the end of the last example too.

    Raises:
        KindError, RangeError: the form is none of the four, or a tensor in it has a wrong dtype or shape.
    """

    def __init__(self, values: Ids, lengths: Tensor | None, offsets: Tensor | None, include_last_offset: bool) -> None:
        one = isinstance(values, Tensor)
        if lengths is not None and offsets is not None:
            raise RangeError("`lengths` and `offsets` must not both be given, but got both.")
        if one and not values.is_nested:  # type: ignore[union-attr]
            if lengths is None and offsets is None:
                raise RangeError("`lengths` or `offsets` must be given beside a tensor of values, but got neither.")
            self.values = _integers(values, "values")
            if lengths is not None:
                self.lengths = _integers(lengths, "lengths")
                self.rebuild: Callable[[Tensor, Tensor], Any] = lambda values, lengths: (values, lengths)
            else:
                self._read_offsets(_integers(offsets, "offsets"), include_last_offset)
            return
        if lengths is not None or offsets is not None:
            raise RangeError("`lengths` and `offsets` must not be given beside a nested tensor or a list.")
        if one:
            self._read_nested(values)  # type: ignore[arg-type]
        else:
            self._read_list(values)

    def _read_offsets(self, offsets: Tensor, include_last: bool) -> None:
        first = offsets[:1]
        if include_last and offsets.numel() == 0:
            raise RangeError("`offsets` must have at least 1 entry where the last offset is included, but it is empty.")
        if first.numel() and int(first) != 0:
            raise RangeError(f"`offsets` must begin with 0, but got {int(first)}.")
        ends = offsets if include_last else torch.cat((offsets, offsets.new_tensor([self.values.numel()])))
        self.lengths = ends.diff()
        if not first.numel() and self.values.numel():
            raise RangeError(f"`offsets` must not be empty, but got {self.values.numel()} values without an offset.")

        def rebuild(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            ends = lengths.cumsum(0, dtype=offsets.dtype)
            starts = torch.cat((ends.new_zeros(1), ends))
            return values, starts if include_last else starts[:-1]

        self.rebuild = rebuild

    def _read_nested(self, nested: Tensor) -> None:
        if nested.layout is not torch.jagged or nested.dim() != 2 or nested._ragged_idx != 1:  # type: ignore[attr-defined]
            raise KindError(
                f"`values` must be jagged with 2 axes, of which the second is ragged, if it is nested, but got layout "
                f"{nested.layout} with {nested.dim()} axes."
            )
        if nested.lengths() is not None:  # type: ignore[attr-defined]  # with holes between the examples
            nested = torch.nested.as_nested_tensor(list(nested.unbind()), layout=torch.jagged)
        self.values = _integers(nested.values(), "values")
        self.lengths = nested.offsets().diff()  # type: ignore[attr-defined]

        def rebuild(values: Tensor, lengths: Tensor) -> Tensor:
            ends = lengths.cumsum(0)
            return torch.nested.nested_tensor_from_jagged(values, torch.cat((ends.new_zeros(1), ends)))

        self.rebuild = rebuild

    def _read_list(self, examples: Any) -> None:
        if not isinstance(examples, Sequence) or isinstance(examples, str | bytes):
            raise KindError(f"`values` must be a tensor or a list of tensors, but got a {type(examples).__name__}.")
        examples = [_integers(example, "values") for example in examples]
        kinds = {(example.dtype, example.device) for example in examples}
        if len(kinds) > 1:
            raise KindError(f"`values` must have one dtype and device in all examples, but got {len(kinds)} different.")
        self.values = torch.cat(examples) if examples else torch.empty(0, dtype=torch.int64)
        sizes = [example.numel() for example in examples]
        self.lengths = torch.tensor(sizes, dtype=torch.int64, device=self.values.device)
        self.rebuild = lambda values, lengths: list(torch.split(values, lengths.tolist())) if len(lengths) else []


def _unchanged(values: Ids, lengths: Tensor | None, offsets: Tensor | None) -> Any:
    beside = lengths if lengths is not None else offsets
    return values if beside is None else (values, beside)


def fault(kind: int, values: Tensor) -> RangeError:
    """Return the error for lengths that do not describe the values.

    Args:
        kind: what the kernel found.
        values: the values.

    Returns:
        The error, to be raised.
    """
    if kind == _kernels.NEGATIVE:
        return RangeError("`lengths` must not be negative anywhere (nor `offsets` descend), but they are.")
    return RangeError(f"`lengths` must add up to the number of values, {values.numel()}, but they do not.")


def _words(
    device: torch.device, seed: Word | None, stream: Word, generator: torch.Generator | None
) -> tuple[Word, Word]:
    seed, stream = checked_words(seed, stream, generator)
    words = ops.draw(device, generator) if seed is None else seed, stream
    return words if device.type != "cpu" else (ops.as_int(words[0]), ops.as_int(words[1]))


def _given(mask: Tensor, count: int, like: Tensor, others: tuple[Any, ...]) -> Tensor:
    if others != (None, 0, None, None):
        others_named = "`seed`, `stream`, `generator` and `window`"
        raise RangeError(f"`mask` excludes {others_named}, but got one of them as well.")
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise KindError(f"`mask` must be a bool tensor (true = keep), but got {kind}.")
    if mask.shape != (count,):
        raise RangeError(f"`mask` must have shape ({count},), but got {tuple(mask.shape)}.")
    return mask.to(like.device)


def _keep(count: int, law: Rate, window: Window | None, seed: Word, stream: Word, device: torch.device) -> Tensor:
    if law.keeps_none:
        return torch.zeros(count, dtype=torch.bool, device=device)
    return _tensor.keep(layout((count,), (), window), law, seed, stream, device)


@_disable_dynamo
def _uncompiled(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    return function(*arguments, **options)


def _outside_graphs(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Break a compiled graph: the size of the result depends on data. Eager calls load no compiler."""

    @functools.wraps(function)
    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        if torch.compiler.is_dynamo_compiling():
            return _uncompiled(function, *arguments, **options)
        return function(*arguments, **options)

    return call


@_outside_graphs
def sparse_dropout_with_replacement(
    values: Ids,
    lengths: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    *,
    offsets: Tensor | None = None,
    include_last_offset: bool = False,
    replacement_value: int = 0,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
    mask: Tensor | None = None,
) -> Any:
    """Replace all ids of an example by one `replacement_value`, with probability `p` for each example.

    An example that is dropped has one id afterwards, whatever its length was; also an empty one. Example i takes the
    decision of index i of the mask law. Ids have no gradient; the embeddings looked up with them do.

    Args:
        values: int32 or int64 ids of all examples, one example after the other, shape (items,); or a jagged nested
            tensor of shape (examples, ragged); or a list of tensors of 1 axis.
        lengths: int32 or int64, shape (examples,): how many of the values each example has.
        p: probability of an example to be replaced, in [0, 1].
        training: replace only if true.
        offsets: instead of `lengths`: where each example begins, as `torch.nn.EmbeddingBag` takes it.
        include_last_offset: `offsets` has one entry more, the end of the last example.
        replacement_value: the id that a dropped example has afterwards.
        seed: as in `dropout`.
        stream: as in `dropout`.
        generator: as in `dropout`.
        window: `Window((all,), (first,))`: these examples are a part of `all`, from number `first` on.
        mask: bool tensor of shape (examples,), true = keep, instead of a random one; `p` does not matter then.

    Returns:
        What was given, in the same form: (values, lengths), (values, offsets), a nested tensor or a list; the very same
        objects if nothing is to be replaced.

    Raises:
        ValueError: `p` is outside [0, 1]; a length is negative, or the lengths do not add up to the number of values;
            `replacement_value` does not fit the dtype.
        TypeError: values or lengths are not int32 or int64.

    Examples:
        >>> values, lengths = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 3])
        >>> thinned.functional.sparse_dropout_with_replacement(values, lengths, 0.5, replacement_value=-1, seed=0)
        (tensor([ 1,  2, -1]), tensor([2, 1]))

    Source: the operator of this name in Caffe2, 2019.
    """
    law = _rate(p)
    if not training or (law.keeps_all and mask is None):
        return _unchanged(values, lengths, offsets)
    ragged = Ragged(values, lengths, offsets, include_last_offset)
    ids, sizes = ragged.values, ragged.lengths
    if ids.device != sizes.device:
        raise RangeError(f"`values` and `lengths` must be on one device, but got {ids.device} and {sizes.device}.")
    if ids.is_meta:
        raise RangeError("`values` must hold data, on which the size of the result depends, but got a meta tensor.")
    id, count = checked_id(replacement_value, ids.dtype), sizes.numel()
    if mask is not None:
        result = _kernels.by_mask(ids, sizes, id, _given(mask, count, ids, (seed, stream, generator, window)))
    else:
        words = _words(ids.device, seed, stream, generator)
        start = layout((count,), (), window).start
        if ids.is_cpu and not law.keeps_none:
            result = _kernels.segments(ids, sizes, id, law, *words, start)  # type: ignore[arg-type]
        else:
            result = _kernels.by_mask(ids, sizes, id, _keep(count, law, window, *words, ids.device))
    if isinstance(result, int):
        raise fault(result, ids)
    return ragged.rebuild(*result)


@_outside_graphs
def sparse_itemwise_dropout_with_replacement(
    values: Ids,
    lengths: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    *,
    offsets: Tensor | None = None,
    include_last_offset: bool = False,
    replacement_value: int = 0,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
    mask: Tensor | None = None,
) -> Any:
    """Replace each id by `replacement_value` with probability `p`; the lengths stay.

    Value j takes the decision of index j of the mask law, j counted through all examples.

    Args:
        values: as in `sparse_dropout_with_replacement`.
        lengths: as in `sparse_dropout_with_replacement`.
        p: probability of an id to be replaced, in [0, 1].
        training: replace only if true.
        offsets: as in `sparse_dropout_with_replacement`.
        include_last_offset: as in `sparse_dropout_with_replacement`.
        replacement_value: the id that a dropped one becomes.
        seed: as in `dropout`.
        stream: as in `dropout`.
        generator: as in `dropout`.
        window: `Window((all,), (first,))`: these values are a part of `all`, from number `first` on.
        mask: bool tensor of shape (items,), true = keep, instead of a random one; `p` does not matter then.

    Returns:
        What was given, in the same form and with the same lengths; the very same objects if nothing is replaced.

    Raises:
        ValueError, TypeError: as `sparse_dropout_with_replacement`.

    Examples:
        >>> values, lengths = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 3])
        >>> function = thinned.functional.sparse_itemwise_dropout_with_replacement
        >>> function(values, lengths, 0.5, replacement_value=-1, seed=0)
        (tensor([ 1, -1, -1,  4, -1]), tensor([2, 3]))

    Source: the operator of this name in Caffe2, 2021.
    """
    law = _rate(p)
    if not training or (law.keeps_all and mask is None):
        return _unchanged(values, lengths, offsets)
    ragged = Ragged(values, lengths, offsets, include_last_offset)
    ids, count = ragged.values, ragged.values.numel()
    if not ids.is_meta and (kind := _kernels.lengths_fault(ragged.lengths, count)):
        raise fault(kind, ids)
    id = checked_id(replacement_value, ids.dtype)
    if mask is not None:
        keep = _given(mask, count, ids, (seed, stream, generator, window))
        result = torch.where(keep, ids, id)
    else:
        words = _words(ids.device, seed, stream, generator)
        start = layout((count,), (), window).start
        if ids.is_cpu and not law.keeps_none:
            result = _kernels.items(ids, id, law, *words, start)  # type: ignore[arg-type]
        elif ids.is_meta:
            result = torch.empty_like(ids)
        else:
            result = torch.where(_keep(count, law, window, *words, ids.device), ids, id)
    return ragged.rebuild(result, ragged.lengths)
