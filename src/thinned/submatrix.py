"""Submatrices as operations: chosen rows and columns of a matrix, on whichever kernel serves the device.

Everything here is outside autograd.
"""

from collections.abc import Sequence

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

    Examples:
        >>> Place(torch.empty(4, 5), rows=torch.tensor([0, 3])).shape
        torch.Size([2, 5])
    """

    __slots__ = ("columns", "matrix_shape", "native", "rows", "shape")

    def __init__(self, matrix: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        self.rows = None if rows is None else rows.contiguous()
        self.columns = None if columns is None else columns.contiguous()
        self.native = cpu.place(matrix, self.rows, self.columns) if matrix.is_cpu else None
        self.matrix_shape = matrix.shape
        sizes = [*matrix.shape]
        if rows is not None:
            sizes[0] = len(rows)
        if columns is not None:
            sizes[1] = len(columns)
        self.shape = torch.Size(sizes)

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

    Examples:
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
    cpu.gather([(matrix, block, native)])
    return block


def gather_each(matrices: Sequence[Tensor], places: Sequence[Place]) -> list[Tensor]:
    """Return submatrices of several matrices as dense blocks; small ones take less time together than one by one.

    Args:
        matrices: tensors of the shapes that the places are made for.
        places: of the submatrices.

    Returns:
        The blocks.

    Examples:
        >>> matrix, vector, index = torch.arange(6.0).view(2, 3), torch.arange(3.0), torch.tensor([0, 2])
        >>> gather_each([matrix, vector], [Place(matrix, columns=index), Place(vector, index)])
        [tensor([[0., 2.],
                [3., 5.]]), tensor([0., 2.])]
    """
    native: list[cpu.Block] = []
    blocks = []
    for matrix, place in zip(matrices, places, strict=True):
        block = torch.empty(place.shape, dtype=matrix.dtype, device=matrix.device)
        at = _native(place, block, matrix)
        if at is None:
            block.copy_(tensor.gather(matrix, place.rows, place.columns))
        else:
            native.append((matrix, block, at))
        blocks.append(block)
    if native:
        cpu.gather(native)
    return blocks


def fresh(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return new memory for a block that is about to be written.

    Args:
        shape: of the block.
        like: says dtype and device.

    Returns:
        A contiguous tensor, not filled.

    Examples:
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

    Examples:
        >>> vector = torch.zeros(3)
        >>> scatter_add(vector, torch.ones(1), Place(vector, rows=torch.tensor([1])))
        >>> vector
        tensor([0., 1., 0.])
    """
    native = _native(place, block, matrix)
    if native is not None:
        cpu.scatter_add([(matrix, block, native)])
        torch.autograd.graph.increment_version(matrix)  # the kernel writes behind torch's back
    else:
        tensor.scatter_add(matrix, block, place.rows, place.columns)


SgdUpdate = tuple[Tensor, Tensor | None, Tensor, Place, SgdStep]
AdamUpdate = tuple[Tensor, tuple[Tensor, Tensor, Tensor | None], Tensor, Place, AdamStep]


def sgd(updates: Sequence[SgdUpdate]) -> None:
    """Make one step of SGD on submatrices of parameters and of their momentum; the rest stays as it is.

    Args:
        updates: tuples of the parameter, its momentum (None for SGD without), the block of its gradient, the block's
            place, and the numbers of the step. No parameter may come twice.

    Examples:
        >>> parameter = torch.ones(3)
        >>> sgd([(parameter, None, torch.ones(1), Place(parameter, torch.tensor([1])), SgdStep(lr=0.5))])
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    native: list[cpu.SgdUpdate] = []
    for parameter, momentum, gradient, place, step in updates:
        at = _native(place, gradient, parameter, *(() if momentum is None else (momentum,)))
        if at is not None:
            native.append((parameter, momentum, gradient, at, step))
        else:
            tensor.sgd(parameter, momentum, gradient, place.rows, place.columns, step)
    if native:
        cpu.sgd(native)
        torch.autograd.graph.increment_version([update[0] for update in native])


def adam(updates: Sequence[AdamUpdate]) -> None:
    """Make one step of Adam or AdamW on submatrices of parameters and of their moments; the rest stays as it is.

    Args:
        updates: tuples of the parameter, its moments (the first, the second, and the largest second ones so far, or
            None), the block of its gradient, the block's place, and the numbers of the step. No parameter may come
            twice.

    Examples:
        >>> parameter, moments = torch.ones(3), (torch.zeros(3), torch.zeros(3), None)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam([(parameter, moments, torch.ones(1), Place(parameter, torch.tensor([1])), numbers)])
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    native: list[cpu.AdamUpdate] = []
    for parameter, moments, gradient, place, step in updates:
        at = _native(place, gradient, parameter, *(moment for moment in moments if moment is not None))
        if at is not None:
            native.append((parameter, moments, gradient, at, step))
        else:
            tensor.adam(parameter, moments, gradient, place.rows, place.columns, step)
    if native:
        cpu.adam(native)
        torch.autograd.graph.increment_version([update[0] for update in native])
