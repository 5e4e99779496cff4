"""The thinned linear map: a product with chosen rows and columns of a weight, and its gradients."""

import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thinned import submatrix
from thinned._errors import KindError, RangeError
from thinned.batchwise._gradient import SubmatrixGrad
from thinned.ops import PENDING
from thinned.submatrix import Place

# Elements of a weight that are gathered at a time. One piece of memory serves all layers, forward and backward: it
# stays in the cache, nothing of it is kept for backward, and there are no fresh pages to be faulted in.
PIECE = 1 << 23
MOST_VIEWS = 64  # shapes of blocks that are remembered
WHOLE = slice(None)

Choices = Sequence[Tensor | None]  # for each group, int64 indices, ascending, none twice; None for all


class Group(NamedTuple):
    """One group of a batch: its rows, and where its submatrices are."""

    first: int
    last: int
    weight: Place
    bias: Place | None


class _Scratch(threading.local):
    """Memory for one block at a time."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8, device="cpu")
        self.views: dict[tuple[tuple[int, ...], torch.dtype], Tensor] = {}

    def block(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return a block that is valid until the next call in this thread."""
        if not like.is_cpu:
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        view = self.views.get((shape, like.dtype))
        if view is None:
            size = math.prod(shape) * like.element_size()
            if size > self.memory.numel() or len(self.views) == MOST_VIEWS:
                self.views.clear()  # they would keep the old memory
                self.memory = submatrix.fresh((max(size, self.memory.numel()),), self.memory)
            view = self.views[shape, like.dtype] = self.memory[:size].view(like.dtype).view(shape)
        return view


_scratch = _Scratch()


def _pieces(weight: Tensor, place: Place, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield the submatrix some rows at a time, with their place in it; each is valid until the next."""
    height, width = place.shape
    step = max(PIECE // max(width, 1), 1)
    if step >= height:
        block = submatrix.gather(weight, place, _scratch.block(place.shape, weight))
        yield WHOLE, block if dtype is weight.dtype else block.to(dtype)
        return
    rows = torch.arange(height, device=weight.device) if place.rows is None else place.rows
    for first in range(0, height, step):
        part = Place(weight, rows[first : first + step], place.columns)
        block = submatrix.gather(weight, part, _scratch.block(part.shape, weight))
        yield slice(first, first + step), block.to(dtype)


@functools.cache
def zero(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what `torch.addmm` wants as a summand where there is none; it is not read."""
    with torch.inference_mode(False):
        return torch.zeros((), dtype=dtype, device=device)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None, group: Group, scale: float) -> Tensor:
    """Return scale * x @ W^T + b for one group, whose submatrix of the weight is gathered on the way."""
    start, beta = zero(x.dtype, x.device), 0
    if bias is not None:
        start, beta = bias if group.bias is None else submatrix.gather(bias, group.bias), 1
        start = start if start.dtype is x.dtype else start.to(x.dtype)
    output = None
    for at, block in _pieces(weight, group.weight, x.dtype):
        if at is WHOLE:
            return torch.addmm(start, x, block.t(), beta=beta, alpha=scale)
        if output is None:
            output = torch.empty(x.shape[0], group.weight.shape[0], dtype=x.dtype, device=x.device)
        torch.addmm(start[at] if beta else start, x, block.t(), beta=beta, alpha=scale, out=output[:, at])
    assert output is not None
    return output


def _multiply_back(grad: Tensor, weight: Tensor, group: Group, scale: float) -> Tensor:
    """Return scale * grad @ W for one group."""
    output = None
    for at, block in _pieces(weight, group.weight, grad.dtype):
        start = zero(grad.dtype, grad.device) if output is None else output
        output = torch.addmm(start, grad[:, at], block, beta=int(output is not None), alpha=scale)
    assert output is not None
    return output


class _Linear(torch.autograd.Function):
    """y = scale * x @ W[rows, columns]^T + b[rows], group by group."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: Sequence[Group],
        scale: float,
    ) -> Tensor:
        ctx.groups, ctx.scale, ctx.bias = groups, scale, bias
        ctx.save_for_backward(input, weight)
        if len(groups) == 1:
            return _multiply(input, weight, bias, groups[0], scale)
        return torch.cat([_multiply(input[g.first : g.last], weight, bias, g, scale) for g in groups])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.metadata.pop(PENDING, None)
        if torch.is_grad_enabled():
            return _backward_once(ctx, grad)
        return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    input, weight = ctx.saved_tensors
    groups, scale, bias = ctx.groups, ctx.scale, ctx.bias
    wants_input, wants_weight, wants_bias, *_ = ctx.needs_input_grad
    to_input = to_weight = to_bias = None
    if len(groups) == 1:
        (group,) = groups
        if wants_input:
            to_input = _multiply_back(grad, weight, group, scale)
        if wants_weight:
            to_weight = sparse(weight, outer(grad, input, scale), group.weight)
        if wants_bias:
            to_bias = sparse(bias, grad.sum(0), group.bias)
        return to_input, to_weight, to_bias, None, None
    parts = [(grad[g.first : g.last], input[g.first : g.last], g) for g in groups]
    if wants_input:
        to_input = torch.cat([_multiply_back(g, weight, group, scale) for g, _, group in parts])
    if wants_weight:
        to_weight = _summed(weight, [(outer(g, x, scale), group.weight) for g, x, group in parts])
    if wants_bias:
        to_bias = _summed(bias, [(g.sum(0), group.bias) for g, _, group in parts])
    return to_input, to_weight, to_bias, None, None


# It costs time, and is of use only where somebody means to differentiate the gradient: it says that it cannot be done.
_backward_once = once_differentiable(_backward)


def outer(grad: Tensor, x: Tensor, scale: float) -> Tensor:
    """Return scale * grad^T @ x, the gradient of a block of the weight."""
    block = submatrix.fresh((grad.shape[1], x.shape[1]), grad)
    return torch.addmm(zero(grad.dtype, grad.device), grad.t(), x, beta=0, alpha=scale, out=block)


def sparse(parameter: Tensor, block: Tensor, place: Place | None) -> Tensor:
    """Return the gradient of a parameter of which only a submatrix was used."""
    block = block if block.dtype is parameter.dtype else block.to(parameter.dtype)
    return block if place is None else SubmatrixGrad(parameter, block, place)


def _summed(parameter: Tensor, blocks: list[tuple[Tensor, Place | None]]) -> Tensor:
    """Return the dense gradient of a parameter of which each group used another submatrix."""
    total = torch.zeros_like(parameter)
    for block, place in blocks:
        submatrix.scatter_add(total, block.to(parameter.dtype), place or Place(parameter))
    return total


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
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
        RuntimeError: inside a transform of torch.func.

    Examples:
        >>> weight = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
        >>> linear(torch.ones(1, 1), weight, rows=torch.tensor([[0, 1]]), columns=torch.tensor([[1]]), scale=2.0)
        tensor([[  20., 2000.]])

    Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", 2015.
    """
    check_no_transforms()
    edges = (0, len(input)) if bounds is None else tuple(bounds)
    row_groups = _checked(rows, "rows", len(edges) - 1, weight.shape[0])
    column_groups = _checked(columns, "columns", len(edges) - 1, weight.shape[1])
    width = weight.shape[1] if columns is None else columns.shape[1]
    if input.dim() < 2 or input.shape[-1] != width:
        raise RangeError(f"`input` must have shape (batch, ..., {width}), but got {tuple(input.shape)}.")
    if input.dtype != weight.dtype and not autocasts(input):
        raise KindError(f"`input` must have the weight's dtype, {weight.dtype}, but got {input.dtype}.")
    if weight.is_complex():
        raise KindError(f"`weight` must be real, but got {weight.dtype}.")
    each = math.prod(input.shape[1:-1])
    groups = groups_of(weight, bias, row_groups, column_groups, [each * edge for edge in edges])
    output = product(input if input.dim() == 2 else input.reshape(-1, width), weight, bias, groups, scale)
    return output if input.dim() == 2 else output.view(*input.shape[:-1], output.shape[-1])


def autocasts(input: Tensor) -> bool:
    """Tell whether autocast applies, by torch's rules: never to float64; and the meta device knows none."""
    return not input.is_meta and input.dtype is not torch.float64 and torch.is_autocast_enabled(input.device.type)


def check_no_transforms() -> None:
    """Refuse to work inside a transform of torch.func, whose tensors have no memory for the kernels."""
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            "Batchwise dropout must be differentiated by `backward` or `torch.autograd.grad`, but a transform of "
            "torch.func is active."
        )


def _checked(choice: Tensor | None, name: str, groups: int, size: int) -> Choices:
    """Return the indices of each group; the kernels would follow a wrong one out of the weight's memory."""
    if choice is None:
        return (None,) * groups
    if choice.dtype != torch.int64 or choice.dim() != 2 or choice.shape[0] != groups:
        raise RangeError(
            f"`{name}` must be an int64 tensor of shape ({groups}, k), but got {choice.dtype} {tuple(choice.shape)}."
        )
    ascending = bool((choice.diff(dim=1) > 0).all())
    if not ascending or (choice.numel() and (int(choice[:, 0].min()) < 0 or int(choice[:, -1].max()) >= size)):
        raise RangeError(f"`{name}` must be ascending indices from 0 to {size - 1}, but got {choice!r}.")
    return choice.contiguous().unbind()


def groups_of(
    weight: Tensor, bias: Tensor | None, rows: Choices, columns: Choices, bounds: Sequence[int]
) -> list[Group]:
    """Return where the groups of a batch and their submatrices are.

    Args:
        weight: tensor of shape (outputs, inputs).
        bias: tensor of shape (outputs,).
        rows: for each group, which outputs are computed; None for all.
        columns: for each group, which inputs are there; None for all.
        bounds: rows of the batch where each group begins, and where the last one ends.

    Returns:
        One entry for each group.
    """
    return [
        Group(
            first,
            last,
            Place(weight, row, column),
            None if row is None or bias is None else Place(bias, row),
        )
        for row, column, first, last in zip(rows, columns, bounds, bounds[1:], strict=False)
    ]


def product(x: Tensor, weight: Tensor, bias: Tensor | None, groups: Sequence[Group], scale: float) -> Tensor:
    """Do what `linear` does, for arguments that are known to be right.

    Args:
        x: tensor of shape (rows, inputs that are there).
        weight: tensor of shape (outputs, inputs).
        bias: tensor of shape (outputs,).
        groups: of the batch.
        scale: factor of the product.

    Returns:
        Tensor of shape (rows, outputs that are computed).
    """
    if autocasts(x):
        with torch.autocast(x.device.type, enabled=False):
            return _apply(x.to(torch.get_autocast_dtype(x.device.type)), weight, bias, groups, scale)
    return _apply(x, weight, bias, groups, scale)


# As in `thinned.ops`: past the search for functorch's wrappers in the groups.
_apply: Callable[..., Tensor] = super(torch.autograd.Function, _Linear).apply


class Linear(torch.nn.Linear):
    """A linear layer that can be asked for some of its outputs, given some of its inputs; otherwise `torch.nn.Linear`.

    Arguments and parameters are those of `torch.nn.Linear`.

    Examples:
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
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        scale: float = 1.0,
        bounds: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the outputs `rows`, given the inputs `columns`.

        Args:
            input: as for `thinned.batchwise.linear`.
            rows: likewise.
            columns: likewise.
            scale: likewise.
            bounds: likewise.

        Returns:
            Tensor of shape (batch, ..., rows).
        """
        if rows is None and columns is None and scale == 1.0:
            return super().forward(input)
        return linear(input, self.weight, self.bias, rows, columns, scale, bounds)
