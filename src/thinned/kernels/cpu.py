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
