"""Several thinned products of a small batch, one after another, as one step of autograd.

Here a step takes less time to compute than to organise. So all blocks are gathered at once and kept for backward,
the products and the ReLUs between them have one node, and Python is entered twice for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thinned import submatrix
from thinned.batchwise._linear import outer, sparse, zero
from thinned.ops import PENDING
from thinned.submatrix import Place

_relu_backward = torch.ops.aten.threshold_backward.default


class Factor(NamedTuple):
    """One product: y = scale * x @ W[rows, columns]^T + b[rows], and perhaps its ReLU."""

    weight: Tensor
    bias: Tensor | None
    weight_place: Place
    bias_place: Place | None
    scale: float
    relu: bool


class _Products(torch.autograd.Function):
    """One product after another. `parameters` are the factors' weights and biases, for autograd."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, factors: Sequence[Factor], *parameters: Tensor | None) -> Tensor:  # noqa: ARG004
        tensors: list[Tensor] = []
        places: list[Place] = []
        for factor in factors:
            tensors.append(factor.weight)
            places.append(factor.weight_place)
            if factor.bias is not None and factor.bias_place is not None:
                tensors.append(factor.bias)
                places.append(factor.bias_place)
        gathered = iter(submatrix.gather_each(tensors, places))
        nothing = zero(input.dtype, input.device)
        blocks: list[Tensor | None] = []
        steps = [input]
        for factor in factors:
            block = next(gathered)
            bias = factor.bias if factor.bias_place is None else next(gathered)
            start, beta = (nothing, 0) if bias is None else (bias, 1)
            output = torch.addmm(start, steps[-1], block.t(), beta=beta, alpha=factor.scale)
            steps.append(output.relu_() if factor.relu else output)
            blocks.append(block)
        ctx.factors = factors
        if not ctx.needs_input_grad[0]:
            blocks[0] = None
        if not factors[-1].relu:
            steps.pop()
        ctx.save_for_backward(*blocks, *steps)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.metadata.pop(PENDING, None)
        if torch.is_grad_enabled():
            return _backward_once(ctx, grad)
        return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    factors, saved, wants = ctx.factors, ctx.saved_tensors, ctx.needs_input_grad
    count = len(factors)
    blocks, steps = saved[:count], saved[count:]
    nothing = zero(grad.dtype, grad.device)
    first = wants.index(True) // 2 - 1  # the factor before which no gradient is asked for; -1: that of the input is
    to: list[Tensor | None] = [None] * len(wants)
    for number in range(count - 1, max(first, 0) - 1, -1):
        factor = factors[number]
        if factor.relu:
            grad = _relu_backward(grad, steps[number + 1], 0)
        if wants[2 * number + 2]:
            to[2 * number + 2] = sparse(factor.weight, outer(grad, steps[number], factor.scale), factor.weight_place)
        if wants[2 * number + 3]:
            to[2 * number + 3] = sparse(factor.bias, grad.sum(0), factor.bias_place)
        if number > first:
            grad = torch.addmm(nothing, grad, blocks[number], beta=0, alpha=factor.scale)
    if wants[0]:
        to[0] = grad
    return tuple(to)


_backward_once = once_differentiable(_backward)  # as in `_linear.py`
_apply: Callable[..., Tensor] = super(torch.autograd.Function, _Products).apply


def products(x: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Apply products to a small batch.

    Args:
        x: tensor of shape (rows, inputs of the first product that are there), of the weights' dtype.
        factors: the products.

    Returns:
        Tensor of shape (rows, outputs of the last product that are computed).

    Examples:
        >>> weight = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
        >>> place = Place(weight, columns=torch.tensor([1]))
        >>> products(torch.ones(1, 1), [Factor(weight, None, place, None, 2.0, relu=True)])
        tensor([[  20., 2000.]])
    """
    return _apply(x, factors, *(parameter for factor in factors for parameter in factor[:2]))
