"""The thinned linear map: a product with chosen rows and columns of a weight, and its gradients."""

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thinned import submatrix
from thinned._errors import KindError, RangeError
from thinned.batchwise._gradient import SubmatrixGrad
from thinned.ops import PENDING
from thinned.submatrix import Choice

# Elements of a weight that are gathered at a time. One piece of memory serves all layers, forward and backward: it
# stays in the cache, nothing that is gathered is kept for backward, and there are no fresh pages to be faulted in.
PIECE = 1 << 22

_local = threading.local()


def _scratch(shape: tuple[int, int], like: Tensor) -> Tensor:
    if not like.is_cpu:
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    count = shape[0] * shape[1]
    buffer: Tensor | None = getattr(_local, "buffer", None)
    if buffer is None or buffer.dtype != like.dtype or buffer.numel() < count:
        buffer = _local.buffer = torch.empty(count, dtype=like.dtype, device=like.device)
    return buffer[:count].view(shape)


def _group(choice: Choice, group: int) -> Choice:
    return None if choice is None else choice[group]


def _pieces(weight: Tensor, rows: Choice, columns: Choice, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield the submatrix some rows at a time, each valid until the next, with the rows' place in the submatrix."""
    height, width = submatrix.shape(weight, rows, columns)
    if rows is None and columns is None:
        yield slice(0, height), weight.to(dtype)
        return
    step = max(PIECE // max(width, 1), 1)
    for first in range(0, height, step):
        at = slice(first, min(first + step, height))
        if rows is None:
            chosen = None if step >= height else torch.arange(at.start, at.stop, device=weight.device)
        else:
            chosen = rows[at]
        block = _scratch((at.stop - at.start, width), weight)
        yield at, submatrix.gather(weight, chosen, columns, block).to(dtype)


def _product(out: Tensor, a: Tensor, b: Tensor, scale: float, add: bool = False) -> None:
    """Write scale * a @ b to `out`, or add it."""
    torch.addmm(out, a, b, beta=1 if add else 0, alpha=scale, out=out)


class _Linear(torch.autograd.Function):
    """y = scale * x @ W[rows, columns]^T + b[rows], group by group. Of the weight, nothing is kept but itself."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        place: tuple[Choice, Choice, float, Sequence[int]],
    ) -> Tensor:
        rows, columns, scale, bounds = place
        ctx.place = place
        ctx.bias = bias
        ctx.save_for_backward(input, weight)
        height = weight.shape[0] if rows is None else rows.shape[1]
        output = torch.empty(input.shape[0], height, dtype=input.dtype, device=input.device)
        for group, (first, last) in enumerate(pairwise(bounds)):
            chosen, x, y = _group(rows, group), input[first:last], output[first:last]
            if bias is not None:
                y.copy_(bias if chosen is None else submatrix.gather(bias, chosen, None))
            for at, block in _pieces(weight, chosen, _group(columns, group), input.dtype):
                _product(y[:, at], x, block.t(), scale, add=bias is not None)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        ctx.metadata.pop(PENDING, None)
        rows, columns, scale, bounds = ctx.place
        input, weight = ctx.saved_tensors
        bias = ctx.bias
        to_input = torch.empty_like(input) if ctx.needs_input_grad[0] else None
        to_weight = _Collected(weight, rows, columns) if ctx.needs_input_grad[1] else None
        to_bias = _Collected(bias, rows, None) if ctx.needs_input_grad[2] else None
        for group, (first, last) in enumerate(pairwise(bounds)):
            g, x = grad[first:last], input[first:last]
            if to_input is not None:
                added = False
                for at, block in _pieces(weight, _group(rows, group), _group(columns, group), grad.dtype):
                    _product(to_input[first:last], g[:, at], block, scale, add=added)
                    added = True
            if to_weight is not None:
                block = torch.empty(g.shape[1], x.shape[1], dtype=grad.dtype, device=grad.device)
                _product(block, g.t(), x, scale)
                to_weight.add(group, block)
            if to_bias is not None:
                to_bias.add(group, g.sum(0))
        return (
            to_input,
            None if to_weight is None else to_weight.gradient(),
            None if to_bias is None else to_bias.gradient(),
            None,
        )


class _Collected:
    """The gradient of a parameter: a submatrix where there is one group, the sum over them where there are more."""

    def __init__(self, parameter: Tensor, rows: Choice, columns: Choice) -> None:
        self.parameter, self.rows, self.columns = parameter, rows, columns
        chosen = next((choice for choice in (rows, columns) if choice is not None), None)
        self.sum: Tensor | None = None
        if chosen is None or chosen.shape[0] > 1:
            self.sum = torch.zeros_like(parameter)

    def add(self, group: int, block: Tensor) -> None:
        rows, columns = _group(self.rows, group), _group(self.columns, group)
        block = block.to(self.parameter.dtype)
        if self.sum is None:
            self.block = block
        else:
            submatrix.scatter_add(self.sum, block, rows, columns)

    def gradient(self) -> Tensor:
        if self.sum is not None:
            return self.sum
        return SubmatrixGrad(self.parameter, self.block, _group(self.rows, 0), _group(self.columns, 0))


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    rows: Choice = None,
    columns: Choice = None,
    scale: float = 1.0,
    bounds: Sequence[int] | None = None,
) -> Tensor:
    """Multiply by chosen rows and columns of a weight: ``scale * x @ W[rows, columns].T + b[rows]``.

    The gradients of weight and bias are `SubmatrixGrad`s; with several groups, dense.

    Args:
        input: tensor of shape (batch, ..., columns): the chosen inputs only.
        weight: tensor of shape (outputs, inputs).
        bias: tensor of shape (outputs,).
        rows: int64 tensor of shape (groups, k): the outputs that are computed, ascending; None for all.
        columns: int64 tensor of shape (groups, l): the inputs that are there, ascending; None for all.
        scale: factor of the product, for inverted dropout of the inputs: inputs / l.
        bounds: where in the batch each group begins, and where the last one ends; needed for more than one group.

    Returns:
        Tensor of shape (batch, ..., k).

    Raises:
        ValueError, TypeError: the shapes do not fit together.

    Example:
        >>> weight = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
        >>> linear(torch.ones(1, 1), weight, rows=torch.tensor([[0, 1]]), columns=torch.tensor([[1]]), scale=2.0)
        tensor([[  20., 2000.]])

    Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", 2015.
    """
    groups = {choice.shape[0] for choice in (rows, columns) if choice is not None}
    width = weight.shape[1] if columns is None else columns.shape[1]
    if input.shape[-1] != width or input.dim() < 2:
        raise RangeError(f"`input` must have shape (batch, ..., {width}), but got {tuple(input.shape)}.")
    if len(groups) > 1 or (groups and bounds is None and groups != {1}):
        raise RangeError(f"`rows` and `columns` must be of one group each without `bounds`, but got {sorted(groups)}.")
    if torch.is_autocast_enabled(input.device.type):
        input = input.to(torch.get_autocast_dtype(input.device.type))
    elif input.dtype != weight.dtype:
        raise KindError(f"`input` must have the weight's dtype, {weight.dtype}, but got {input.dtype}.")
    flat = input.reshape(-1, width)
    each = flat.shape[0] // input.shape[0] if input.shape[0] else 1
    edges = (0, flat.shape[0]) if bounds is None else tuple(each * bound for bound in bounds)
    with torch.autocast(input.device.type, enabled=False):
        output: Tensor = _Linear.apply(flat, weight, bias, (rows, columns, scale, edges))
    return output if input.dim() == 2 else output.view(*input.shape[:-1], output.shape[-1])


class Linear(torch.nn.Linear):
    """A linear layer that can be asked for some of its outputs, given some of its inputs; otherwise `torch.nn.Linear`.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        bias: whether there is one.
        device, dtype: of the parameters.

    Example:
        >>> layer = Linear(4, 3)
        >>> layer(torch.ones(2, 2), rows=torch.tensor([[0, 2]]), columns=torch.tensor([[1, 3]]), scale=2.0).shape
        torch.Size([2, 2])
        >>> layer(torch.ones(2, 4)).shape
        torch.Size([2, 3])

    Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", 2015.
    """

    def forward(
        self,
        input: Tensor,
        rows: Choice = None,
        columns: Choice = None,
        scale: float = 1.0,
        bounds: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the outputs `rows`, given the inputs `columns`.

        Args:
            input, rows, columns, scale, bounds: as for `thinned.batchwise.linear`.

        Returns:
            Tensor of shape (batch, ..., rows).
        """
        if rows is None and columns is None and scale == 1.0:
            return super().forward(input)
        return linear(input, self.weight, self.bias, rows, columns, scale, bounds)
