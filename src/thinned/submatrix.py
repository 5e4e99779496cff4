"""Submatrices as operations: chosen rows and columns of a matrix, on whichever kernel serves the device.

Everything here is outside autograd.
"""

import torch
from torch import Tensor

from thinned.kernels import cpu, tensor
from thinned.kernels.steps import AdamStep, SgdStep


class Place:
    """Where a submatrix is in matrices of one shape; where none is chosen, all of it.

    Args:
        matrix: a tensor of that shape: one or two axes, or any number if all of it is meant.
        rows: int64 indices on the matrix's device, ascending, none twice; None for all.
        columns: likewise; None for a vector.

    Attributes:
        shape: of the submatrix.
        matrix_shape: of the whole.
        native: the same for the C++ kernels; None where they do not apply.

    Example:
        >>> Place(torch.empty(4, 5), rows=torch.tensor([0, 3])).shape
        torch.Size([2, 5])
    """

    def __init__(self, matrix: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        self.rows, self.columns = rows, columns
        self.native = cpu.place(matrix, rows, columns) if matrix.is_cpu else None
        self.matrix_shape = self.shape = matrix.shape
        if rows is not None:
            self.shape = torch.Size((rows.shape[0], *self.shape[1:]))
        if columns is not None:
            self.shape = torch.Size((self.shape[0], columns.shape[0]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place):
            return NotImplemented
        return (
            self.matrix_shape == other.matrix_shape
            and _same(self.rows, other.rows)
            and _same(self.columns, other.columns)
        )

    __hash__ = None  # type: ignore[assignment]


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _native(matrix: Tensor) -> bool:
    """Whether the C++ kernels can work on a matrix as it lies in memory."""
    return matrix.is_cpu and matrix.is_contiguous() and matrix.dtype in cpu.SUBMATRIX_DTYPES


def gather(matrix: Tensor, place: Place, block: Tensor | None = None) -> Tensor:
    """Return a submatrix as a dense block.

    Args:
        matrix: tensor of the shape that the place is made for.
        place: of the submatrix.
        block: where to put it: contiguous, of the submatrix's shape and dtype; a new tensor by default.

    Returns:
        The block.

    Example:
        >>> matrix = torch.arange(6.0).view(2, 3)
        >>> gather(matrix, Place(matrix, columns=torch.tensor([0, 2])))
        tensor([[0., 2.],
                [3., 5.]])
    """
    if place.native is None or not _native(matrix):
        found = tensor.gather(matrix, place.rows, place.columns)
        return found if block is None else block.copy_(found)
    if block is None:
        block = torch.empty(place.shape, dtype=matrix.dtype, device=matrix.device)
    cpu.gather(matrix, block, place.native)
    return block


def fresh(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return new memory for a block that is about to be written.

    Args:
        shape: of the block.
        like: says dtype and device.

    Returns:
        A contiguous tensor, not filled.

    Example:
        >>> fresh((2, 3), torch.empty(1, dtype=torch.float64)).dtype
        torch.float64
    """
    return cpu.fresh(shape, like.dtype) if like.is_cpu else torch.empty(shape, dtype=like.dtype, device=like.device)


def scatter_add(matrix: Tensor, block: Tensor, place: Place) -> None:
    """Add a block to a submatrix, in place.

    Args:
        matrix: tensor of the shape that the place is made for.
        block: contiguous tensor of the submatrix's shape.
        place: of the submatrix.

    Example:
        >>> vector = torch.zeros(3)
        >>> scatter_add(vector, torch.ones(1), Place(vector, rows=torch.tensor([1])))
        >>> vector
        tensor([0., 1., 0.])
    """
    if place.native is not None and _native(matrix) and _native(block):
        cpu.scatter_add(matrix, block, place.native)
        torch.autograd.graph.increment_version(matrix)  # the kernel writes behind torch's back
    else:
        tensor.scatter_add(matrix, block, place.rows, place.columns)


def sgd(parameter: Tensor, momentum: Tensor | None, gradient: Tensor, place: Place, step: SgdStep) -> None:
    """Make one step of SGD on a submatrix of a parameter and of its momentum; the rest stays as it is.

    Args:
        parameter: tensor of the shape that the place is made for.
        momentum: like the parameter; None for SGD without.
        gradient: block of the submatrix's gradient.
        place: of the submatrix.
        step: the numbers.

    Example:
        >>> parameter = torch.ones(3)
        >>> sgd(parameter, None, torch.ones(1), Place(parameter, torch.tensor([1])), SgdStep(lr=0.5))
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    operands = (parameter, gradient) if momentum is None else (parameter, gradient, momentum)
    if place.native is not None and all(map(_native, operands)):
        cpu.sgd(parameter, momentum, gradient, place.native, step)
        torch.autograd.graph.increment_version(parameter)
    else:
        tensor.sgd(parameter, momentum, gradient, place.rows, place.columns, step)


def adam(
    parameter: Tensor,
    moments: tuple[Tensor, Tensor, Tensor | None],
    gradient: Tensor,
    place: Place,
    step: AdamStep,
) -> None:
    """Make one step of Adam or AdamW on a submatrix of a parameter and of its moments; the rest stays as it is.

    Args:
        parameter: tensor of the shape that the place is made for.
        moments: the first, the second, and the largest second ones so far (None without), like the parameter.
        gradient: block of the submatrix's gradient.
        place: of the submatrix.
        step: the numbers.

    Example:
        >>> parameter, moments = torch.ones(3), (torch.zeros(3), torch.zeros(3), None)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam(parameter, moments, torch.ones(1), Place(parameter, torch.tensor([1])), numbers)
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    operands = (parameter, gradient, *(moment for moment in moments if moment is not None))
    if place.native is not None and all(map(_native, operands)):
        cpu.adam(parameter, moments, gradient, place.native, step)
        torch.autograd.graph.increment_version(parameter)
    else:
        tensor.adam(parameter, moments, gradient, place.rows, place.columns, step)
