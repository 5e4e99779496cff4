"""Long and memory-hungry runs: ``pytest -m soak``. The largest needs 10 GB of memory."""

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from test_cpu_kernel import any_law, assert_same, check_any_tensor, garbage, poisoned, wanted

from thinned.kernels import cpu
from thinned.masks import Mask, Window, rate

pytestmark = pytest.mark.soak


def test_more_than_two_to_the_32_elements():
    rows, width, seed = 2**22 + 2**13, 1024, 3
    x = torch.empty(rows, width, dtype=torch.bfloat16)  # 8.6 GB
    n = x.numel()
    assert n > 2**32
    for p in (0.3, 0.001):
        x.fill_(-1)
        cpu.dropout(x, x, rate(p), seed, 0)
        for start in (0, n // 2, 2**31 - 500, 2**32 - 500, n - 1000):
            keep = Mask(p, seed, window=Window((n,), (start,))).keep_array((1000,))
            part = x.view(-1)[start : start + 1000]
            assert_same(part, wanted(torch.full((1000,), -1, dtype=torch.bfloat16), keep, rate(p).scale))
    x.fill_(-1)
    columns = x[:, 1:]  # not one run of memory
    n = columns.numel()
    assert n > 2**32
    cpu.dropout(columns, columns, rate(0.3), seed, 0)
    for row in (0, rows // 2, 2**32 // (width - 1), rows - 3):
        start = row * (width - 1)
        keep = Mask(0.3, seed, window=Window((n,), (start,))).keep_array((3 * (width - 1),))
        ones = torch.full((3, width - 1), -1, dtype=torch.bfloat16)
        assert_same(columns[row : row + 3], wanted(ones, keep.reshape(3, width - 1), rate(0.3).scale))
    assert bool((x[:, 0] == -1).all())


long_run = settings(deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow])
test_any_tensor_for_longer = long_run(any_law(check_any_tensor))


@pytest.mark.parametrize("dtype", cpu.DTYPES)
def test_long_runs_of_memory(dtype):
    draw = random.Random(7)
    for _ in range(100):
        n, p = draw.randrange(1, 1_500_000), draw.choice([0.5, 0.1, 0.9, 0.001, draw.uniform(1e-6, 1 - 1e-6)])
        start = draw.choice([0, draw.randrange(2**20), draw.randrange(2**63), 2**34 - n // 2, 2**35 - n // 2])
        seed, stream = draw.getrandbits(64), draw.getrandbits(64)
        window = Window((start + n,), (start,))
        x = garbage((min(n, 200_000),), dtype).repeat(1 + n // 200_000)[:n]
        result = wanted(x, Mask(p, seed, stream, window=window).keep_array((n,)), rate(p).scale)
        for path in cpu.PATHS:
            memory, y = poisoned(n, dtype, draw.randrange(64))
            cpu.dropout(x, y, rate(p), seed, stream, window=window, path=path, threads=draw.randrange(1, 9))
            assert_same(y, result)
            edges = torch.cat((memory[: y.storage_offset()], memory[y.storage_offset() + n :]))
            assert bool((edges.view(torch.int8) == -1).all())


def test_expectation_over_many_masks():
    """The mean over 2**32 elements is exact to five standard errors."""
    p, n, passes = 0.3, 2**24, 256
    x, kept = torch.ones(n), 0
    y = torch.empty_like(x)
    for seed in range(passes):
        cpu.dropout(x, y, rate(p), seed, 1)
        kept += int(torch.count_nonzero(y))
    total, q = n * passes, 1 - rate(p).realised
    assert abs(kept - total * q) <= 5 * np.sqrt(total * q * (1 - q))
