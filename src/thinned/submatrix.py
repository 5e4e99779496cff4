"""Submatrices as operations: chosen rows and columns of a matrix, on whichever kernel serves the device.

A place is given by its rows and its columns: int64 vectors, ascending, none twice, or None for all. A vector (a bias,
the weight of a batch norm) has rows only. Everything here is outside autograd.
"""

import torch
from torch import Tensor

from thinned.kernels import cpu, tensor
from thinned.kernels.steps import AdamStep, SgdStep

Choice = Tensor | None


def _on_cpu(*matrices: Tensor | None) -> bool:
    """Whether the C++ kernels can work on these, as they lie in memory."""
    return all(
        m is None or (m.is_cpu and m.dtype in cpu.SUBMATRIX_DTYPES and m.is_contiguous() and m.dim() <= 2)
        for m in matrices
    )


def shape(matrix: Tensor, rows: Choice, columns: Choice) -> tuple[int, ...]:
    """Return the shape of a submatrix.

    Args:
        matrix: tensor of one or two axes.
        rows, columns: the place.

    Returns:
        One size for each axis of the matrix.

    Example:
        >>> shape(torch.empty(4, 5), torch.tensor([0, 3]), None)
        (2, 5)
    """
    height = matrix.shape[0] if rows is None else rows.numel()
    if matrix.dim() == 1:
        return (height,)
    return height, matrix.shape[1] if columns is None else columns.numel()


def gather(matrix: Tensor, rows: Choice, columns: Choice, block: Tensor | None = None) -> Tensor:
    """Return a submatrix as a dense block.

    Args:
        matrix: tensor of one or two axes.
        rows, columns: the place.
        block: where to put it: contiguous, of the submatrix's shape and dtype; a new tensor by default.

    Returns:
        The block.

    Example:
        >>> gather(torch.arange(6.0).view(2, 3), None, torch.tensor([0, 2]))
        tensor([[0., 2.],
                [3., 5.]])
    """
    if not _on_cpu(matrix):
        found = tensor.gather(matrix, rows, columns)
        return found if block is None else block.copy_(found)
    if block is None:
        block = torch.empty(shape(matrix, rows, columns), dtype=matrix.dtype, device=matrix.device)
    cpu.gather(matrix, block, rows, columns)
    return block


def scatter_add(matrix: Tensor, block: Tensor, rows: Choice, columns: Choice) -> None:
    """Add a block to a submatrix, in place.

    Args:
        matrix: tensor of one or two axes.
        block: what to add.
        rows, columns: the place.

    Example:
        >>> vector = torch.zeros(3)
        >>> scatter_add(vector, torch.ones(1), torch.tensor([1]), None)
        >>> vector
        tensor([0., 1., 0.])
    """
    if _on_cpu(matrix, block):
        cpu.scatter_add(matrix, block, rows, columns)
        torch.autograd.graph.increment_version(matrix)  # the kernel writes behind torch's back
    else:
        tensor.scatter_add(matrix, block, rows, columns)


def sgd(
    parameter: Tensor, momentum: Tensor | None, gradient: Tensor, rows: Choice, columns: Choice, step: SgdStep
) -> None:
    """Make one step of SGD on a submatrix of a parameter and of its momentum; the rest stays as it is.

    Args:
        parameter: tensor of one or two axes.
        momentum: like the parameter; None for SGD without.
        gradient: block of the submatrix's gradient.
        rows, columns: the place.
        step: the numbers.

    Example:
        >>> parameter = torch.ones(3)
        >>> sgd(parameter, None, torch.ones(1), torch.tensor([1]), None, SgdStep(lr=0.5))
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    if _on_cpu(parameter, momentum, gradient):
        cpu.sgd(parameter, momentum, gradient, rows, columns, step)
        torch.autograd.graph.increment_version(parameter)
    else:
        tensor.sgd(parameter, momentum, gradient, rows, columns, step)


def adam(
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
    largest: Tensor | None,
    gradient: Tensor,
    rows: Choice,
    columns: Choice,
    step: AdamStep,
) -> None:
    """Make one step of Adam or AdamW on a submatrix of a parameter and of its moments; the rest stays as it is.

    Args:
        parameter: tensor of one or two axes.
        first, second: the moments, like the parameter.
        largest: the largest second moments so far; None without.
        gradient: block of the submatrix's gradient.
        rows, columns: the place.
        step: the numbers.

    Example:
        >>> parameter, first, second = torch.ones(3), torch.zeros(3), torch.zeros(3)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam(parameter, first, second, None, torch.ones(1), torch.tensor([1]), None, numbers)
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    if _on_cpu(parameter, first, second, largest, gradient):
        cpu.adam(parameter, first, second, largest, gradient, rows, columns, step)
        torch.autograd.graph.increment_version(parameter)
    else:
        tensor.adam(parameter, first, second, largest, gradient, rows, columns, step)
