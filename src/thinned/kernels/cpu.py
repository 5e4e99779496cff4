"""The C++ kernels on CPU tensors: checks nothing, allocates nothing."""

import torch
from torch import Tensor

from thinned.kernels import _cpu
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
        fresh: whether `output` was just allocated.
        path: code path to force, one of `PATHS`.
        threads: number of threads; torch's number by default.

    Example:
        >>> from thinned.masks import rate
        >>> x, y = torch.ones(4), torch.empty(4)
        >>> dropout(x, y, rate(0.5), seed=0, stream=0)
        >>> y
        tensor([2., 0., 0., 2.])
    """
    dtype, number, n = DTYPES[input.dtype], _BEST if path is None else _NUMBERS[path], input.numel()
    if threads is None:
        threads = torch.get_num_threads() if n > _THREADED else 1
    law = (dtype, seed, stream, rate.threshold, rate.bits, rate.scale, threads, number, fresh)
    if not shared_axes and window is None and input.is_contiguous() and output.is_contiguous():
        _cpu.dropout(input.data_ptr(), output.data_ptr(), 0, n, *law)
    else:
        place = layout(tuple(input.shape), shared_axes, window)
        strides = input.shape, input.stride(), output.stride(), place.strides
        _cpu.dropout_strided(input.data_ptr(), output.data_ptr(), *strides, place.start % 2**64, *law)
