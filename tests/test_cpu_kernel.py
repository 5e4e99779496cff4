"""The C++ kernel, bit for bit: against the known answers, the law in NumPy, and torch's own arithmetic.

Every test forces each code path that this CPU can run. Inputs are random bytes where nothing else is said, so that nan,
inf, subnormal numbers and -0.0 are among them; outputs are poisoned, and what lies beside them must stay as it was.
"""

import hashlib
import itertools
import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned.kernels import cpu, reference
from thinned.masks import Mask, Rate, Window, element_words, rate

LAW = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())
SEED, STREAM = 0xDEAD_BEEF_0123_4567, 2**63 + 5
GUARD = 128  # elements on either side of an output; a multiple of 64 bytes in every dtype, so that alignment is kept
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

paths = pytest.mark.parametrize("path", cpu.PATHS)
dtypes = pytest.mark.parametrize("dtype", cpu.DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
widths = pytest.mark.parametrize("p", [0.3, 0.001], ids=["16-bit", "32-bit"])


@pytest.fixture(autouse=True)
def _torch_on_one_thread():
    """The tests say how many threads the kernel has; torch's own would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@lru_cache(maxsize=4)
def random_bytes(count):
    return torch.randint(-128, 128, (count,), dtype=torch.int8, generator=torch.Generator().manual_seed(count))


def garbage(shape, dtype):
    n = math.prod(shape)
    return random_bytes(1 << 22)[: n * dtype.itemsize].view(dtype).view(shape).clone()


def poisoned(n, dtype, shift=0):
    """Memory full of nan, and the n elements in its middle that start `shift` elements after a multiple of 64 bytes."""
    memory = torch.full(((n + 2 * GUARD + shift) * dtype.itemsize,), -1, dtype=torch.int8).view(dtype)
    return memory, memory[GUARD + shift :][:n]


def as_integers(tensor):
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return parts.contiguous().view(INTEGERS[parts.dtype.itemsize])


def assert_same(actual, wanted):
    """Equal bit for bit, where any nan stands for any other."""
    assert (actual.dtype, actual.shape) == (wanted.dtype, wanted.shape)
    real = [torch.view_as_real(t) if t.is_complex() else t for t in (actual, wanted)]
    different = (as_integers(actual) != as_integers(wanted)) & ~(real[0].isnan() & real[1].isnan())
    assert not different.any(), f"{int(different.sum())} parts differ, the first at {different.nonzero()[0].tolist()}"


def assert_untouched(memory, output):
    """No byte of the memory but the output's has changed."""
    inside = torch.zeros(memory.shape, dtype=torch.bool)
    inside.as_strided(output.shape, output.stride(), output.storage_offset()).fill_(True)
    assert bool((as_integers(memory[~inside]) == -1).all())


def wanted(x, keep, scale):
    """What dropout makes of x by NumPy; the rounding to bfloat16, which NumPy lacks, is torch's."""
    with np.errstate(all="ignore"):
        if x.dtype == torch.bfloat16:
            return torch.from_numpy(reference.select(x.float().numpy(), keep, scale)).bfloat16()
        return torch.from_numpy(reference.select(x.numpy(), keep, scale))


@lru_cache(maxsize=4096)
def keep_of(p, shape, shared_axes=(), window=None):
    return Mask(p, SEED, STREAM, shared_axes, window).keep_array(shape)


def window_at(start, n):
    return Window((start + n,), (start,)) if start else None


# --- known answers ----------------------------------------------------------------------------------------------------


def digest(keep):
    return hashlib.sha256(np.packbits(keep.numpy().ravel(), bitorder="little").tobytes()).hexdigest()


@paths
@pytest.mark.parametrize("case", LAW["cases"], ids=lambda c: f"p{c['p']}-seed{c['seed']}-start{c['start']}")
def test_known_masks(case, path):
    start, n = int(case["start"]), case["n"]
    for dtype in cpu.DTYPES:
        y = torch.ones(n, dtype=dtype)
        cpu.dropout(
            y, y, rate(case["p"]), int(case["seed"]), int(case["stream"]), window=window_at(start, n), path=path
        )
        keep = y != 0
        assert int(keep.sum()) == case["kept"]
        assert "".join("01"[bit] for bit in keep[:64].int().tolist()) == case["first64"]
        assert digest(keep) == case["sha256"]


@paths
@pytest.mark.parametrize("case", LAW["windows"], ids=lambda c: "x".join(map(str, c["global_shape"])))
def test_known_windows(case, path):
    window = Window(case["global_shape"], case["start"])
    for dtype in cpu.DTYPES:
        x = torch.ones(case["extent"], dtype=dtype)
        y = torch.empty_like(x)
        law = rate(case["p"]), int(case["seed"]), int(case["stream"])
        cpu.dropout(x, y, *law, tuple(case["shared_axes"]), window, path=path)
        assert int((y != 0).sum()) == case["kept"]
        assert digest(y != 0) == case["sha256"]


# --- one run of memory ------------------------------------------------------------------------------------------------

STARTS = (
    *(0, 1, 300, 511, 777),
    *(2**32 - 600, 2**32 + 5),
    *(2**34 - 600, 2**35 - 600, 2**35 + 77),  # counters pass 2**32 at index 2**34 (32 bits) and 2**35 (16 bits)
    2**63 - 600,
)


@paths
@dtypes
@widths
def test_sizes_and_starts(path, dtype, p):
    cases = itertools.chain(
        itertools.product((0, 1, 63, 500, 1000, 4097), STARTS),
        itertools.product((200_003,), (0, 777, 2**35 - 100_000)),
    )
    for turn, (n, start) in enumerate(cases):
        x = garbage((n,), dtype)
        window = window_at(start, n)
        result = wanted(x, keep_of(p, (n,), (), window), rate(p).scale)
        law = {"seed": SEED, "stream": STREAM, "window": window, "path": path, "threads": 1 + turn % 8}
        memory, y = poisoned(n, dtype, shift=turn % 3)
        cpu.dropout(x, y, rate(p), **law)
        assert_same(y, result)
        assert_untouched(memory, y)
        cpu.dropout(x, x, rate(p), **law)
        assert_same(x, result)


@paths
@dtypes
@pytest.mark.parametrize("bits", [16, 32])
def test_a_word_equal_to_the_threshold_keeps(path, dtype, bits):
    words = element_words(0, 1024, bits, SEED, STREAM).astype(np.int64)
    y = torch.empty(1024, dtype=dtype)
    for threshold in words[::7].tolist():
        cpu.dropout(y.fill_(1), y, Rate(math.nan, bits, max(threshold, 1), 1.5), SEED, STREAM, path=path)
        assert np.array_equal(y != 0, words >= threshold)


@paths
@dtypes
@widths
def test_threads_do_not_matter(path, dtype, p):
    x = garbage((200_003,), dtype)
    square = x[:199_809].view(447, 447).t()
    cases = {
        (x, ()): wanted(x, keep_of(p, (200_003,)), rate(p).scale),
        (square, ()): wanted(square, keep_of(p, (447, 447)), rate(p).scale),
        (square, (0,)): wanted(square, keep_of(p, (447, 447), (0,)), rate(p).scale),
    }
    for (tensor, shared), result in cases.items():
        outputs = [torch.empty_like(tensor) for _ in range(8)]
        for threads, y in enumerate(outputs, start=1):
            cpu.dropout(tensor, y, rate(p), SEED, STREAM, shared, path=path, threads=threads)
        assert_same(outputs[0], result)
        assert all(torch.equal(as_integers(y), as_integers(outputs[0])) for y in outputs)


@lru_cache(maxsize=1)
def large_bytes():
    return random_bytes((16 << 20) + 64 * 16)


@paths
@dtypes
@widths
def test_results_larger_than_the_cache(path, dtype, p):
    """From 16 MiB on the kernel streams whole tiles past the cache. Parts of the result are small enough not to be."""
    n = (16 << 20) // dtype.itemsize + 5
    x = large_bytes().view(dtype)[3:][:n]
    parts, step = torch.empty_like(x), 99_991
    for at in range(0, n, step):
        window = Window((n,), (at,))
        cpu.dropout(
            x[at : at + step], parts[at : at + step], rate(p), SEED, STREAM, window=window, path=path, threads=1
        )
    for shift, threads in ((0, 1), (1, 2), (2, 3)):
        memory, y = poisoned(n, dtype, shift)
        cpu.dropout(x, y, rate(p), SEED, STREAM, path=path, threads=threads)
        assert torch.equal(as_integers(y), as_integers(parts))
        assert bool((as_integers(torch.cat((memory[: GUARD + shift], memory[-GUARD:]))) == -1).all())
    y.copy_(x)
    cpu.dropout(y, y, rate(p), SEED, STREAM, path=path, threads=2)
    assert torch.equal(as_integers(y), as_integers(parts))


@paths
def test_fresh_memory(path):
    x = garbage((1 << 19,), torch.float32).repeat(17)  # 34 MiB: large enough for huge pages
    y, z = torch.empty_like(x), torch.zeros_like(x)
    cpu.dropout(x, y, rate(0.3), SEED, STREAM, fresh=True, path=path, threads=2)
    cpu.dropout(x, z, rate(0.3), SEED, STREAM, path=path)
    assert torch.equal(as_integers(y), as_integers(z))


# --- any layout -------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "scalar": lambda dtype: garbage((), dtype),
    "empty": lambda dtype: garbage((3, 0, 5), dtype),
    "ones": lambda dtype: garbage((1, 1, 1), dtype),
    "dense": lambda dtype: garbage((6, 5, 40), dtype),
    "transposed": lambda dtype: garbage((170, 130), dtype).t(),  # more than one block of work
    "permuted": lambda dtype: garbage((3, 17, 5, 11), dtype).permute(2, 0, 3, 1),
    "channels_last": lambda dtype: garbage((2, 16, 9, 7), dtype).contiguous(memory_format=torch.channels_last),
    "channels_last_3d": lambda dtype: garbage((2, 5, 4, 3, 7), dtype).contiguous(memory_format=torch.channels_last_3d),
    "columns": lambda dtype: garbage((50, 60), dtype)[:, 7:31],
    "every third": lambda dtype: garbage((2000,), dtype)[1::3],
    "steps": lambda dtype: garbage((30, 40, 4), dtype)[::2, 1::3],
    "diagonal": lambda dtype: garbage((64, 64), dtype).diagonal(),
    "expanded": lambda dtype: garbage((1, 33, 1), dtype).expand(20, 33, 5),
    "expanded scalar": lambda dtype: garbage((), dtype).expand(4, 300),
    "sliding": lambda dtype: garbage((600,), dtype).unfold(0, 100, 3),
}
OVERLAPPING = {"expanded", "expanded scalar", "sliding"}  # cannot be written to


def sharings(dims):
    return {(), *((axis,) for axis in range(dims)), tuple(range(dims)), (0, -1) if dims else (), tuple(range(1, dims))}


def windows(shape):
    dims = len(shape)
    yield None
    yield Window([size + 2 * axis + 3 for axis, size in enumerate(shape)], [axis + 1 for axis in range(dims)])
    if dims:  # the first axis alone, which leaves the mask one run of indices, at its very end
        yield Window((2**33 + shape[0], *shape[1:]), (2**33, *([0] * (dims - 1))))


@paths
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(path, dtype, layout):
    x = LAYOUTS[layout](dtype)
    n, shape = x.numel(), tuple(x.shape)
    for turn, (shared, window) in enumerate(itertools.product(sharings(x.dim()), windows(shape))):
        p = (0.3, 0.001)[turn % 2]  # the widths in turn: how memory is walked does not depend on them
        result = wanted(x, keep_of(p, shape, shared, window), rate(p).scale)
        law = {
            "seed": SEED,
            "stream": STREAM,
            "shared_axes": shared,
            "window": window,
            "path": path,
            "threads": 1 + turn % 5 // 4,
        }
        memory, run = poisoned(n, dtype)
        outputs = [run.view(shape), run.view(shape[::-1]).permute(tuple(range(x.dim())[::-1]))]
        for y in outputs:  # in the order of the mask, and in the reverse of it
            memory.view(torch.int8).fill_(-1)
            cpu.dropout(x, y, rate(p), **law)
            assert_same(y, result)
            assert_untouched(memory, y)
        if layout not in OVERLAPPING:
            extent = 1 + sum((size - 1) * step for size, step in zip(shape, x.stride(), strict=True)) if n else 0
            memory, run = poisoned(extent, dtype)
            y = run.as_strided(shape, x.stride())
            y.copy_(x)
            cpu.dropout(y, y, rate(p), **law)
            assert_same(y, result)
            assert_untouched(memory, y)


def test_a_window_near_the_last_index():
    window = Window((2**31, 2**32), (2**31 - 2, 2**32 - 700))  # ends at index 2**63
    for path, p in itertools.product(cpu.PATHS, (0.3, 0.001)):
        y = torch.ones(2, 700)
        cpu.dropout(y, y, rate(p), SEED, STREAM, window=window, path=path)
        assert np.array_equal(y != 0, keep_of(p, (2, 700), (), window))


@st.composite
def tensors(draw):
    """A tensor of any strides, some axes to share, and a window around it."""
    dtype = draw(st.sampled_from(list(cpu.DTYPES)))
    steps = draw(st.lists(st.integers(1, 3), max_size=5))
    dims = len(steps)
    memory = [draw(st.integers(0, 7 if axis else 90)) for axis in range(dims)]
    slices = tuple(slice(draw(st.integers(0, 2)), None, step) for step in steps)
    x = garbage(memory, dtype)[slices].permute(draw(st.permutations(range(dims))))
    shared = tuple(draw(st.lists(st.integers(-dims, dims - 1), max_size=dims)) if dims else [])
    window = None
    if draw(st.booleans()):
        start = [draw(st.integers(0, 2000)) for _ in range(dims)]
        after = [draw(st.integers(0, 2000)) for _ in range(dims)]
        window = Window([sum(sizes) for sizes in zip(start, x.shape, after, strict=True)], start)
    return x, shared, window


any_law = given(
    tensors(),
    st.floats(1e-6, 1 - 1e-6) | st.sampled_from([0.1, 0.5, 0.9, 2.0**-32, 1 - 2.0**-32]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.sampled_from(cpu.PATHS),
    st.integers(1, 4),
)


def check_any_tensor(case, p, seed, stream, path, threads):
    x, shared, window = case
    result = wanted(x, Mask(p, seed, stream, shared, window).keep_array(tuple(x.shape)), rate(p).scale)
    memory, run = poisoned(x.numel(), x.dtype)
    y = run.view(x.shape)
    cpu.dropout(x, y, rate(p), seed, stream, shared, window, path=path, threads=threads)
    assert_same(y, result)
    assert_untouched(memory, y)
    cpu.dropout(x, x, rate(p), seed, stream, shared, window, path=path, threads=threads)
    assert_same(x, result)


test_any_tensor = settings(derandomize=True, deadline=None, max_examples=400)(any_law(check_any_tensor))


# --- values -----------------------------------------------------------------------------------------------------------


def by_torch(x, scale):
    """Scaled by torch: in float32 where the dtype is narrower, rounded once; complex numbers part by part."""
    if x.is_complex():
        return torch.view_as_complex(torch.view_as_real(x) * scale)
    return (x.float() * scale).to(x.dtype) if x.dtype.itemsize == 2 else x * scale


@paths
@dtypes
def test_special_values(path, dtype):
    limits = torch.finfo(dtype)
    values = [math.inf, math.nan, 0.0, limits.max, limits.max / 1.5, limits.tiny, limits.smallest_normal / 3, 1.0]
    values += [limits.tiny * limits.eps, 3 * limits.tiny * limits.eps]  # the smallest subnormal numbers
    x = torch.tensor(values, dtype=torch.float64)
    x = torch.cat((x, -x))
    x = torch.complex(x.repeat(20), x.repeat_interleave(20)) if dtype.is_complex else x
    x = x.to(dtype).repeat(300)
    for p, stride in itertools.product((0.5, 0.1, 0.001), (1, 2)):  # stride 2 is another loop
        y = torch.full((x.numel() * stride,), math.nan, dtype=dtype)[::stride]
        cpu.dropout(x, y, rate(p), SEED, STREAM, path=path)
        keep = torch.from_numpy(keep_of(p, (x.numel(),)))
        assert_same(y[keep], by_torch(x, rate(p).scale)[keep])
        assert not as_integers(y[~keep]).any()  # +0.0, also for nan, inf and negative numbers
        assert (~keep).any()


@paths
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [1.0, rate(0.1).scale, 1.25, 2.0, rate(0.9).scale, 10_000.0, 2.0**-9])
def test_all_numbers_of_16_bits(path, dtype, scale):
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    keeps_most = Rate(math.nan, 32, 1, scale)  # the chance to drop any of them is 2**-16
    y, square = torch.empty_like(x), x.view(256, 256).t()
    cpu.dropout(x, y, keeps_most, 0, 0, path=path)
    assert_same(y, by_torch(x, scale))
    strided = torch.empty_like(square)
    cpu.dropout(square, strided, keeps_most, 0, 0, path=path)
    assert_same(strided, by_torch(square, scale))


@paths
@pytest.mark.parametrize(
    ("scale", "result"), [(1, 65504.0), (1 + 2.0**-12, 65504.0), (1 + 2.0**-12 + 2.0**-16, math.inf), (2, math.inf)]
)
def test_float16_overflows_as_torch_rounds(path, scale, result):
    x = torch.tensor([65504.0, -65504.0], dtype=torch.float16)  # the largest number; from 65520 on inf is nearer
    assert by_torch(x, scale).tolist() == [result, -result]
    cpu.dropout(x, x, Rate(math.nan, 32, 1, scale), 0, 0, path=path)
    assert x.tolist() == [result, -result]


# --- these helpers can fail -------------------------------------------------------------------------------------------


@dtypes
def test_the_helpers_can_fail(dtype):
    zero, minus = torch.zeros(3, dtype=dtype), -torch.zeros(3, dtype=dtype)
    assert_same(zero, zero.clone())
    with pytest.raises(AssertionError, match="parts differ, the first at"):
        assert_same(zero, minus)
    memory, y = poisoned(3, dtype)
    y.zero_()
    assert_untouched(memory, y)
    memory[GUARD + 3] = 1
    with pytest.raises(AssertionError, match="assert False"):
        assert_untouched(memory, y)


@pytest.mark.parametrize("path", cpu.PATHS)
@pytest.mark.parametrize("p", [0.3, 1e-3])
@pytest.mark.parametrize(("count", "size", "start"), [(3, 5, 0), (4, 700, 0), (2, 1500, 300), (5, 1, 511), (0, 3, 0)])
def test_a_seed_for_each(path, p, count, size, start):
    seeds = np.array([3, 2**64 - 1, 0, 7, 9], np.uint64)[:count]
    x, y = torch.randn(count, size), torch.full((count, size), float("nan"))
    for threads in (1, 2):
        cpu.dropout_each(x, y, rate(p), seeds, 2**40 + 1, start, path, threads)
        for k, seed in enumerate(seeds.tolist()):
            want = torch.empty(size)
            window = Window((start + size,), (start,))
            cpu.dropout(x[k].clone(), want, rate(p), seed, 2**40 + 1, (), window, path="portable")
            assert torch.equal(y[k], want)
