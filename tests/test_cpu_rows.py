"""Masks with shared axes on the CPU: one decision for a row of neighbours, or one row of decisions for many rows.

Both have loops of their own in the kernel; `test_cpu_kernel.py` has all layouts, here are the edges of those loops.
"""

import math

import numpy as np
import pytest
import torch
from test_cpu_kernel import (
    SEED,
    STREAM,
    assert_same,
    assert_untouched,
    by_torch,
    dtypes,
    garbage,
    keep_of,
    paths,
    poisoned,
    wanted,
)

from thinned.kernels import cpu
from thinned.masks import rate

WIDTHS = [1, 2, 15, 16, 17, 31, 33, 100, 16_384, 16_390, 40_000]  # around a vector, and around a piece of work


@paths
@dtypes
@pytest.mark.parametrize("p", [0.5, 0.1])
def test_a_decision_for_a_row(path, dtype, p):
    for width in WIDTHS:
        shape = (max(3, 300 // width), width)
        x, keep = garbage(shape, dtype), keep_of(p, shape, (1,))
        for threads in (1, 3):
            memory, y = poisoned(x.numel(), dtype, shift=width % 3)
            y = y.view(shape)
            cpu.dropout(x, y, rate(p), SEED, STREAM, (1,), path=path, threads=threads)
            assert_same(y, wanted(x, keep, rate(p).scale))
            assert_untouched(memory, y)
        cpu.dropout(x, x, rate(p), SEED, STREAM, (1,), path=path)
        assert_same(x, y)


@paths
@dtypes
def test_a_row_of_decisions_for_many_rows(path, dtype):
    for width in WIDTHS:
        shape = (3, width)
        x, keep = garbage(shape, dtype), keep_of(0.3, shape, (0,))
        memory, y = poisoned(x.numel(), dtype, shift=width % 3)
        y = y.view(shape)
        cpu.dropout(x, y, rate(0.3), SEED, STREAM, (0,), path=path, threads=2)
        assert_same(y, wanted(x, keep, rate(0.3).scale))
        assert_untouched(memory, y)
        cpu.dropout(x, x, rate(0.3), SEED, STREAM, (0,), path=path)
        assert_same(x, y)


@paths
@dtypes
@pytest.mark.parametrize("channels", [1, 2, 3, 37, 64, 2048, 2049])
def test_channels_last(path, dtype, channels):
    """Short rows of decisions for many rows of elements, over the ends of pieces of work."""
    shape = (2, channels, 3, max(5, 7000 // channels))
    n = math.prod(shape)
    x = garbage((n,), dtype).as_strided(shape, (n // 2, 1, shape[3] * channels, channels))
    memory, y = poisoned(n, dtype, shift=channels % 3)
    y = y.as_strided(shape, x.stride(), y.storage_offset())
    result = wanted(x, keep_of(0.3, shape, (2, 3)), rate(0.3).scale)
    cpu.dropout(x, y, rate(0.3), SEED, STREAM, (2, 3), path=path, threads=2)
    assert_same(y, result)
    assert_untouched(memory, y)
    cpu.dropout(x, x, rate(0.3), SEED, STREAM, (2, 3), path=path)
    assert_same(x, result)


@paths
@dtypes
def test_special_values(path, dtype):
    """Dropped rows are +0 whatever they hold; kept rows are torch's product."""
    values = [math.inf, -math.inf, math.nan, -0.0, torch.finfo(dtype).max, -1.0, torch.finfo(dtype).tiny]
    x = torch.tensor(values, dtype=torch.float64).repeat(6)
    x = (torch.complex(x, x.flip(0)) if dtype.is_complex else x).to(dtype).expand(40, -1).contiguous()
    for axis in (0, 1):
        y = torch.empty_like(x)
        cpu.dropout(x, y, rate(0.5), SEED, STREAM, (axis,), path=path)
        keep = torch.from_numpy(np.broadcast_to(keep_of(0.5, tuple(x.shape), (axis,)), x.shape).copy())
        assert_same(y[keep], by_torch(x, rate(0.5).scale)[keep])
        assert_same(y[~keep], torch.zeros_like(y[~keep]))


@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_with_a_shift_and_a_fill(path, dtype):
    """As alpha dropout needs it; the wanted value is computed in float64, and half an ulp of the dtype is allowed."""
    for shape, axis in (((50, 70), 1), ((3, 1000), 0), ((200, 3), 1)):
        x, y = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype), torch.empty(shape, dtype=dtype)
        cpu.dropout(x, y, rate(0.3), SEED, STREAM, (axis,), path=path, shift=0.25, fill=-1.5)
        keep = torch.from_numpy(np.broadcast_to(keep_of(0.3, shape, (axis,)), shape).copy())
        exact = torch.where(keep, x.double() * rate(0.3).scale + 0.25, -1.5)
        eps = torch.finfo(dtype).eps
        assert bool(((y.double() - exact).abs() <= eps * (exact.abs() + 2 * x.double().abs() + 0.25)).all())
        assert bool((y[~keep] == -1.5).all())
