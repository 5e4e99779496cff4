"""The C++ kernels on CPU tensors: checks nothing, allocates nothing."""

import torch
from torch import Tensor

from thinned.kernels import _cpu
from thinned.kernels.steps import AdamStep, SgdStep
from thinned.masks import Rate, Window, layout

DTYPES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.float16: 2,
    torch.bfloat16: 3,
    torch.complex64: 4,
    torch.complex128: 5,
}
PATHS = tuple(("portable", "avx2", "avx512")[number] for number in _cpu.available_paths())  # slowest first
_NUMBERS = {"portable": 0, "avx2": 1, "avx512": 2}
_BEST = _NUMBERS[PATHS[-1]]
_THREADED = 1 << 15  # elements; below this the kernel never uses a second thread
SUBMATRIX_DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16})


def path() -> str:
    """Return the name of the fastest code path that this CPU can run.

    Returns:
        "portable", "avx2" or "avx512".

    Example:
        >>> path() in PATHS
        True
    """
    return PATHS[-1]


def dropout(
    input: Tensor,  # any shape and strides
    output: Tensor,  # same shape and dtype; may be `input` itself
    rate: Rate,
    seed: int,
    stream: int,
    shared_axes: tuple[int, ...] = (),
    window: Window | None = None,
    fresh: bool = False,
    path: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the dropout of `input` by the mask law into `output`.

    Args:
        input: CPU tensor of a dtype in `DTYPES`.
        output: CPU tensor of the same shape and dtype; `input` itself for in place.
        rate: a rate that neither keeps all nor keeps none.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that `input` is a part of.
        fresh: whether `output` was just allocated as `torch.empty_like(input)`.
        path: code path to force, one of `PATHS`.
        threads: number of threads; torch's number by default.

    Example:
        >>> from thinned.masks import rate
        >>> x, y = torch.ones(4), torch.empty(4)
        >>> dropout(x, y, rate(0.5), seed=0, stream=0)
        >>> y
        tensor([2., 0., 0., 2.])
    """
    n = input.numel()
    number = _BEST if path is None else _NUMBERS[path]
    if threads is None:
        threads = 1 if n <= _THREADED else torch.get_num_threads()
    dtype, threshold, bits, scale = DTYPES[input.dtype], rate.threshold, rate.bits, rate.scale
    x, y = input.data_ptr(), output.data_ptr()
    if input.is_contiguous() and (fresh or output.is_contiguous()) and window is None and not shared_axes:
        _cpu.dropout(x, y, 0, n, dtype, seed, stream, threshold, bits, scale, threads, number, fresh)
    else:
        place = layout(tuple(input.shape), shared_axes, window)
        sizes, steps, output_steps, start = input.shape, input.stride(), output.stride(), place.start % 2**64
        law = seed, stream, threshold, bits, scale, threads, number, fresh
        _cpu.dropout_strided(x, y, sizes, steps, output_steps, place.strides, start, dtype, *law)


def _place(matrix: Tensor, rows: Tensor | None, columns: Tensor | None) -> tuple[_cpu.Place, int]:
    """Return where a submatrix is, and how many threads it is worth."""
    width = matrix.shape[-1]
    if matrix.dim() == 1:  # a vector is a matrix of one row, and its rows are columns
        rows, columns, height = None, rows, 1
    else:
        height = matrix.shape[0]
    row_count = height if rows is None else rows.numel()
    column_count = width if columns is None else columns.numel()
    row_address = 0 if rows is None else rows.data_ptr()
    column_address = 0 if columns is None else columns.data_ptr()
    threads = 1 if row_count * column_count <= _THREADED else torch.get_num_threads()
    return _cpu.Place(row_address, column_address, width, row_count, column_count), threads


def gather(
    matrix: Tensor,  # (n, m) or (n,), contiguous
    block: Tensor,  # (rows, columns) or (rows,), contiguous
    rows: Tensor | None,
    columns: Tensor | None,
    path: str | None = None,
) -> None:
    """Copy a submatrix into a block.

    Args:
        matrix: contiguous tensor of a dtype in `SUBMATRIX_DTYPES`, of one or two axes.
        block: contiguous tensor for the result.
        rows: int64 indices, ascending, none twice; None for all.
        columns: likewise; None for a vector.
        path: code path to force, one of `PATHS`.

    Example:
        >>> matrix, block = torch.arange(6.0).view(2, 3), torch.empty(1, 2)
        >>> gather(matrix, block, torch.tensor([1]), torch.tensor([0, 2]))
        >>> block
        tensor([[3., 5.]])
    """
    place, threads = _place(matrix, rows, columns)
    number = _BEST if path is None else _NUMBERS[path]
    _cpu.gather(matrix.data_ptr(), block.data_ptr(), place, DTYPES[matrix.dtype], threads, number)


def scatter_add(
    matrix: Tensor, block: Tensor, rows: Tensor | None, columns: Tensor | None, path: str | None = None
) -> None:
    """Add a block to a submatrix, in place.

    Args:
        matrix: as for `gather`.
        block: what to add.
        rows, columns, path: as for `gather`.

    Example:
        >>> matrix = torch.zeros(2, 3)
        >>> scatter_add(matrix, torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.tensor([0, 2]))
        >>> matrix[1]
        tensor([1., 0., 2.])
    """
    place, threads = _place(matrix, rows, columns)
    number = _BEST if path is None else _NUMBERS[path]
    _cpu.scatter_add(matrix.data_ptr(), block.data_ptr(), place, DTYPES[matrix.dtype], threads, number)


def sgd(
    parameter: Tensor,
    momentum: Tensor | None,
    gradient: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    step: SgdStep,
    path: str | None = None,
) -> None:
    """Make one step of SGD on a submatrix of a parameter and of its momentum; the rest stays as it is.

    Args:
        parameter: as the matrix of `gather`.
        momentum: like the parameter; None for SGD without.
        gradient: block of the submatrix's gradient.
        rows, columns, path: as for `gather`.
        step: the numbers.

    Example:
        >>> parameter = torch.ones(3)
        >>> sgd(parameter, None, torch.ones(1), torch.tensor([1]), None, SgdStep(lr=0.5))
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    place, threads = _place(parameter, rows, columns)
    number = _BEST if path is None else _NUMBERS[path]
    dtype, state = DTYPES[parameter.dtype], 0 if momentum is None else momentum.data_ptr()
    _cpu.sgd(parameter.data_ptr(), state, gradient.data_ptr(), place, step, dtype, threads, number)


def adam(
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
    largest: Tensor | None,
    gradient: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    step: AdamStep,
    path: str | None = None,
) -> None:
    """Make one step of Adam or AdamW on a submatrix of a parameter and of its moments; the rest stays as it is.

    Args:
        parameter: as the matrix of `gather`.
        first, second: the moments, like the parameter.
        largest: the largest second moments so far; None without.
        gradient: block of the submatrix's gradient.
        rows, columns, path: as for `gather`.
        step: the numbers.

    Example:
        >>> parameter, first, second = torch.ones(3), torch.zeros(3), torch.zeros(3)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam(parameter, first, second, None, torch.ones(1), torch.tensor([1]), None, numbers)
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    place, threads = _place(parameter, rows, columns)
    number = _BEST if path is None else _NUMBERS[path]
    largest_address = 0 if largest is None else largest.data_ptr()
    dtype, address = DTYPES[parameter.dtype], gradient.data_ptr()
    moments = first.data_ptr(), second.data_ptr(), largest_address
    _cpu.adam(parameter.data_ptr(), moments, address, place, step, dtype, threads, number)


def units(n: int, k: int, groups: int, seed: int, stream: int, slices: bool = False) -> Tensor:
    """Return the k of n units that the mask law keeps, for each group.

    Args:
        n: number of units.
        k: number of units to keep, at least 1.
        groups: number of patterns.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        slices: keep neighbours, which wrap around the end.

    Returns:
        int64 tensor of shape (groups, k), ascending in each row.

    Example:
        >>> units(6, 3, 1, seed=0, stream=0)
        tensor([[0, 1, 5]])
    """
    kept = torch.empty(groups, k, dtype=torch.int64, device="cpu")
    _cpu.units(kept.data_ptr(), n, k, groups, seed, stream, slices)
    return kept
