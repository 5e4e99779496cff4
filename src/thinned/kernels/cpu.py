"""The C++ kernels on CPU tensors: checks nothing, allocates nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
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
_THREADED = 1 << 15  # elements; below this a second thread does not pay
Place = tuple[int, int, int, int, int]  # as the extension takes it: addresses of the indices, then sizes
_KEEP = 6  # the kernel's number for bytes of 0 and 1
SUBMATRIX_DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16})


def path() -> str:
    """Return the name of the fastest code path that this CPU can run.

    Returns:
        "portable", "avx2" or "avx512".

    Examples:
        >>> path() in PATHS
        True
    """
    return PATHS[-1]


def launch(elements: int, path: str | None, threads: int | None) -> tuple[int, int]:
    """Return how a kernel is run, in the extension's numbers.

    Args:
        elements: how much there is to do; for little of it a second thread does not pay.
        path: code path to force, one of `PATHS`; the fastest one by default.
        threads: number of threads to force; up to torch's number by default.

    Returns:
        Threads, and the number of the path.

    Examples:
        >>> launch(10, "portable", None)
        (1, 0)
    """
    if threads is None:
        threads = 1 if elements <= _THREADED else torch.get_num_threads()
    return threads, _BEST if path is None else _NUMBERS[path]


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
    shift: float = 0.0,
    fill: float = 0.0,
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
        shift: what is added to a kept element, after the scale; real dtypes only.
        fill: what a dropped element becomes; real dtypes only.

    Examples:
        >>> from thinned.masks import rate
        >>> x, y = torch.ones(4), torch.empty(4)
        >>> dropout(x, y, rate(0.5), seed=0, stream=0)
        >>> y
        tensor([2., 0., 0., 2.])
    """
    n = input.numel()
    threads, number = launch(n, path, threads)
    dtype, threshold, bits, scale = DTYPES[input.dtype], rate.threshold, rate.bits, rate.scale
    x, y = input.data_ptr(), output.data_ptr()
    if not x and n:  # torch's zeros without memory, that forward-mode derivatives hand out
        output.zero_()
        return
    rows = window is None or window.shape[1:] == input.shape[1:]  # then the part is one run of the whole's elements
    if rows and not shared_axes and input.is_contiguous() and (fresh or output.is_contiguous()):
        start = layout(tuple(input.shape), (), window).start if window else 0
        _cpu.dropout(x, y, start, n, dtype, seed, stream, threshold, bits, scale, shift, fill, threads, number, fresh)
    else:
        place = layout(tuple(input.shape), shared_axes, window)
        sizes, steps, output_steps, start = input.shape, input.stride(), output.stride(), place.start % 2**64
        law = seed, stream, threshold, bits, scale, shift, fill, threads, number, fresh
        _cpu.dropout_strided(x, y, sizes, steps, output_steps, place.strides, start, dtype, *law)


def keep(
    output: Tensor,
    rate: Rate,
    seed: int,
    stream: int,
    start: int = 0,
    path: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the law's keep bits into a tensor.

    Args:
        output: contiguous bool tensor.
        rate: a rate that neither keeps all nor keeps none.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        start: the mask's index of the first element.
        path: as for `dropout`.
        threads: likewise.

    Examples:
        >>> from thinned.masks import rate
        >>> y = torch.empty(4, dtype=torch.bool)
        >>> keep(y, rate(0.5), seed=0, stream=0)
        >>> y
        tensor([ True, False, False,  True])
    """
    n, y = output.numel(), output.data_ptr()
    law = seed, stream, rate.threshold, rate.bits, rate.scale, 0.0, 0.0
    _cpu.dropout(y, y, start % 2**64, n, _KEEP, *law, *launch(n, path, threads), False)


def gaussian(
    input: Tensor,  # contiguous, real
    output: Tensor,  # likewise; may be `input` itself
    deviation: float,
    multiply: bool,
    seed: int,
    stream: int,
    path: str | None = None,
    threads: int | None = None,
) -> None:
    """Write `input` with the law's Gaussian noise into `output`: times 1 + deviation * n, or plus deviation * n.

    Args:
        input: contiguous CPU tensor of a real dtype in `DTYPES`.
        output: contiguous CPU tensor of the same shape and dtype.
        deviation: standard deviation of the noise.
        multiply: whether the noise is a factor or a summand.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        path: as for `dropout`.
        threads: likewise.

    Examples:
        >>> x, y = torch.ones(2), torch.empty(2)
        >>> gaussian(x, y, 0.5, True, seed=0, stream=0)
        >>> y
        tensor([1.6640, 0.8142])
    """
    _noise(input, output, deviation, 1 if multiply else 2, seed, stream, path, threads)


def normal(output: Tensor, seed: int, stream: int, path: str | None = None, threads: int | None = None) -> None:
    """Fill a tensor with the law's standard normal numbers.

    Args:
        output: contiguous CPU tensor of a real dtype in `DTYPES`.
        seed: unsigned 64-bit integer.
        stream: unsigned 64-bit integer.
        path: as for `dropout`.
        threads: likewise.

    Examples:
        >>> y = torch.empty(1)
        >>> normal(y, seed=0, stream=0)
        >>> y
        tensor([1.3280])
    """
    _noise(output, output, 1.0, 0, seed, stream, path, threads)


def _noise(
    x: Tensor, y: Tensor, deviation: float, kind: int, seed: int, stream: int, path: str | None, threads: int | None
) -> None:
    n = x.numel()
    how = launch(4 * n, path, threads)  # a normal number costs as much as a few bits
    _cpu.gaussian(x.data_ptr(), y.data_ptr(), 0, n, DTYPES[x.dtype], seed, stream, deviation, kind, *how)


def place(matrix: Tensor, rows: Tensor | None, columns: Tensor | None) -> Place:
    """Return where a submatrix is, for the functions below; it holds addresses of the indices, not the indices.

    Args:
        matrix: tensor of one or two axes, or one that will be taken whole.
        rows: int64 indices, ascending, none twice; None for all.
        columns: likewise; None for a vector.

    Returns:
        The place in any contiguous matrix of this shape.

    Examples:
        >>> _ = place(torch.empty(2, 3), None, None)
    """
    if matrix.dim() == 2:
        height, width = matrix.shape
    elif matrix.dim() > 2 and matrix.numel():  # taken whole, some rows a thread
        height, width = matrix.shape[0], matrix.numel() // matrix.shape[0]
    else:  # a vector is a matrix of one row, and its rows are columns
        rows, columns, height, width = None, rows, 1, matrix.numel()
    return (
        0 if rows is None else rows.data_ptr(),
        0 if columns is None else columns.data_ptr(),
        width,
        height if rows is None else rows.numel(),
        width if columns is None else columns.numel(),
    )


# What the submatrix kernels below can do at once; each returns when all of it is done. None of it may touch what
# another part writes.
Block = tuple[Tensor, Tensor, Place]  # matrix, block, place of the block in the matrix
SgdUpdate = tuple[Tensor, Tensor | None, Tensor, Place, SgdStep]  # parameter, momentum, gradient, its place, numbers
Moments = tuple[Tensor, Tensor, Tensor | None]  # first, second, and the largest second ones so far
AdamUpdate = tuple[Tensor, Moments, Tensor, Place, AdamStep]  # likewise


def gather(blocks: Sequence[Block], path: str | None = None) -> None:
    """Copy submatrices into blocks.

    Args:
        blocks: contiguous matrices and blocks of a dtype in `SUBMATRIX_DTYPES`, and the places.
        path: code path to force, one of `PATHS`.

    Examples:
        >>> matrix, block = torch.arange(6.0).view(2, 3), torch.empty(1, 2)
        >>> rows, columns = torch.tensor([1]), torch.tensor([0, 2])
        >>> gather([(matrix, block, place(matrix, rows, columns))])
        >>> block
        tensor([[3., 5.]])
    """
    _cpu.gather([(DTYPES[x.dtype], x.data_ptr(), y.data_ptr(), at) for x, y, at in blocks], *_launch(path))


def scatter_add(blocks: Sequence[Block], path: str | None = None) -> None:
    """Add blocks to submatrices, in place.

    Args:
        blocks: matrices, what to add to them, and where.
        path: as for `gather`.

    Examples:
        >>> matrix, rows, columns = torch.zeros(2, 3), torch.tensor([1]), torch.tensor([0, 2])
        >>> scatter_add([(matrix, torch.tensor([[1.0, 2.0]]), place(matrix, rows, columns))])
        >>> matrix[1]
        tensor([1., 0., 2.])
    """
    _cpu.scatter_add([(DTYPES[x.dtype], x.data_ptr(), y.data_ptr(), at) for x, y, at in blocks], *_launch(path))


def sgd(updates: Sequence[SgdUpdate], path: str | None = None) -> None:
    """Make one step of SGD on submatrices of parameters and of their momentum.

    Args:
        updates: parameters, and what to do with them; all tensors are as for `gather`.
        path: as for `gather`.

    Examples:
        >>> parameter, row = torch.ones(3), torch.tensor([1])
        >>> sgd([(parameter, None, torch.ones(1), place(parameter, row, None), SgdStep(lr=0.5))])
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    said = [
        (DTYPES[x.dtype], x.data_ptr(), 0 if momentum is None else momentum.data_ptr(), g.data_ptr(), at, step)
        for x, momentum, g, at, step in updates
    ]
    _cpu.sgd(said, *_launch(path))


def adam(updates: Sequence[AdamUpdate], path: str | None = None) -> None:
    """Make one step of Adam or AdamW on submatrices of parameters and of their moments.

    Args:
        updates: parameters, and what to do with them; all tensors are as for `gather`.
        path: as for `gather`.

    Examples:
        >>> parameter, row, moments = torch.ones(3), torch.tensor([1]), (torch.zeros(3), torch.zeros(3), None)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam([(parameter, moments, torch.ones(1), place(parameter, row, None), numbers)])
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    said = [
        (
            DTYPES[x.dtype],
            x.data_ptr(),
            (first.data_ptr(), second.data_ptr(), 0 if largest is None else largest.data_ptr()),
            g.data_ptr(),
            at,
            step,
        )
        for x, (first, second, largest), g, at, step in updates
    ]
    _cpu.adam(said, *_launch(path))


def _launch(path: str | None) -> tuple[int, int]:
    return torch.get_num_threads(), _BEST if path is None else _NUMBERS[path]


def fresh(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return new memory, in huge pages if it is large: faulting small ones in can take longer than a product.

    Args:
        shape: sizes.
        dtype: of the elements.

    Returns:
        A contiguous CPU tensor, not filled.

    Examples:
        >>> fresh((2, 3), torch.float32).shape
        torch.Size([2, 3])
    """
    memory = torch.empty(shape, dtype=dtype, device="cpu")
    _cpu.ask_for_huge_pages(memory.data_ptr(), memory.nbytes)
    return memory


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

    Examples:
        >>> units(6, 3, 1, seed=0, stream=0)
        tensor([[0, 1, 5]])
    """
    kept = torch.empty(groups, k, dtype=torch.int64, device="cpu")
    _cpu.units(kept.data_ptr(), n, k, groups, seed, stream, slices)
    return kept


def site_seeds(seed: int, step: int, sites: Sequence[int]) -> list[int]:
    """Return the seeds that a key gives to sites.

    Args:
        seed: unsigned 64-bit integer, of the run.
        step: unsigned 64-bit integer.
        sites: unsigned 64-bit integers, one for each site.

    Returns:
        An unsigned 64-bit integer for each site.

    Examples:
        >>> site_seeds(0, 0, [0]) == [0x0D893F645F6FB709]
        True
    """
    return _cpu.site_seeds(seed, step, sites)


def dropout_each(
    input: Tensor,  # (count, ...), contiguous
    output: Tensor,  # same shape and dtype, contiguous; may be `input` itself
    rate: Rate,
    seeds: NDArray[np.uint64],  # (count,)
    stream: int,
    start: int = 0,
    path: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the dropout of each of several tensors, stacked along axis 0, by the mask law with a seed for each of them.

    Args:
        input: contiguous CPU tensor of a dtype in `DTYPES`.
        output: contiguous CPU tensor of the same shape and dtype.
        rate: a rate that neither keeps all nor keeps none.
        seeds: contiguous array of seeds.
        stream: unsigned 64-bit integer.
        start: index of the first element of each in its mask.
        path: code path to force, one of `PATHS`.
        threads: number of threads; torch's number by default.

    Examples:
        >>> from thinned.masks import rate
        >>> x, y = torch.ones(2, 4), torch.empty(2, 4)
        >>> dropout_each(x, y, rate(0.5), np.array([0, 1], np.uint64), stream=0)
        >>> y[0]
        tensor([2., 0., 0., 2.])
    """
    count, total = len(input), input.numel()
    how = launch(total, path, threads)
    x, y, dtype, law = input.data_ptr(), output.data_ptr(), DTYPES[input.dtype], (rate.threshold, rate.bits, rate.scale)
    size = total // max(count, 1)
    _cpu.dropout_each(x, y, start, size, count, seeds.ctypes.data, dtype, stream, *law, *how)
