"""Submatrices as operations: chosen rows and columns of a matrix, on whichever kernel serves the device.

Everything here is outside autograd.
"""

import torch
from torch import Tensor

from thinned._errors import RangeError
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
        rows, columns = (None if index is None else index.contiguous() for index in (rows, columns))
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


def _native(place: Place, block: Tensor, *matrices: Tensor) -> cpu.Place | None:
    """Return the place if the C++ kernels can work on these as they lie in memory. They trust sizes; this does not.

    Raises:
        RangeError: a size is wrong.
    """
    if block.shape != place.shape:
        raise RangeError(f"The block must have shape {tuple(place.shape)}, but got {tuple(block.shape)}.")
    dtype = block.dtype
    fits = dtype in cpu.SUBMATRIX_DTYPES and block.is_cpu and block.is_contiguous()
    for matrix in matrices:
        fits = fits and matrix.dtype is dtype and matrix.is_cpu and matrix.is_contiguous()
        if matrix.shape != place.matrix_shape:
            raise RangeError(
                f"The matrices of a place must have shape {tuple(place.matrix_shape)}, but got {tuple(matrix.shape)}."
            )
    return place.native if fits else None


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
    if block is None:
        block = torch.empty(place.shape, dtype=matrix.dtype, device=matrix.device)
    native = _native(place, block, matrix)
    if native is None:
        return block.copy_(tensor.gather(matrix, place.rows, place.columns))
    cpu.gather(matrix, block, native)
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
    native = _native(place, block, matrix)
    if native is not None:
        cpu.scatter_add(matrix, block, native)
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
    native = _native(place, gradient, parameter, *(() if momentum is None else (momentum,)))
    if native is not None:
        cpu.sgd(parameter, momentum, gradient, native, step)
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
    native = _native(place, gradient, parameter, *(moment for moment in moments if moment is not None))
    if native is not None:
        cpu.adam(parameter, moments, gradient, native, step)
        torch.autograd.graph.increment_version(parameter)
    else:
        tensor.adam(parameter, moments, gradient, place.rows, place.columns, step)
