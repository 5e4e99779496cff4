"""The kernel in plain torch arithmetic, against the known answers and, bit for bit, `Mask` and the C++ kernel."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned.kernels import cpu, tensor
from thinned.masks import Mask, Window, layout, rate

LAW = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40)
CPU = torch.device("cpu")
WIDTHS = [0.3, 0.001]  # 16 and 32 random bits


def signed(word):
    return (word + 2**63) % 2**64 - 2**63


def forms(word):
    """The forms in which a kernel takes a 64-bit word."""
    return [word % 2**64, torch.tensor(signed(word))]


def keep(shape, p, seed, stream=0, shared_axes=(), window=None):
    return tensor.keep(layout(tuple(shape), shared_axes, window), rate(p), seed, stream, CPU)


def by_cpu(input, p, seed, stream=0, shared_axes=(), window=None):
    output = torch.empty_like(input)
    cpu.dropout(input, output, rate(p), seed % 2**64, stream % 2**64, shared_axes, window)
    return output


def same_bits(a, b):
    """Equal in every bit: the sign of zero counts, and a nan equals itself."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def steps(x):
    """The strides that matter: those of axes with more than one element, where there are elements."""
    return [step for size, step in zip(x.shape, x.stride(), strict=True) if size > 1] if x.numel() else []


def bits(x):
    return x.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)


def digest(keep):
    return hashlib.sha256(np.packbits(keep.numpy().ravel(), bitorder="little").tobytes()).hexdigest()


# --- known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAW["cases"], ids=lambda c: f"p{c['p']}-seed{c['seed']}-start{c['start']}")
def test_known_masks(case):
    start, n = int(case["start"]), case["n"]
    window = Window((start + n,), (start,)) if start else None
    for seed in forms(int(case["seed"])):
        for stream in forms(int(case["stream"])):
            mask = tensor.dropout(torch.ones(n), rate(case["p"]), seed, stream, (), window) != 0
            assert "".join("01"[bit] for bit in mask[:64].tolist()) == case["first64"]
            assert digest(mask) == case["sha256"]


@pytest.mark.parametrize("case", LAW["windows"], ids=lambda c: "x".join(map(str, c["global_shape"])))
def test_known_windows(case):
    window = Window(case["global_shape"], case["start"])
    mask = keep(case["extent"], case["p"], int(case["seed"]), int(case["stream"]), tuple(case["shared_axes"]), window)
    assert digest(mask.expand(case["extent"])) == case["sha256"]


# --- against Mask and the C++ kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, -(2**63), 2**64 - 1, 0xDEADBEEF12345678])
@pytest.mark.parametrize("stream", [0, -1, 2**40 + 5])
def test_words_are_twos_complement(p, seed, stream):
    expected = Mask(p, seed, stream).keep((3, 401))
    for seed_form in forms(seed):
        for stream_form in forms(stream):
            assert torch.equal(keep((3, 401), p, seed_form, stream_form), expected)


@st.composite
def tensors(draw):
    """A shape, a permutation of its axes in memory, shared axes, and perhaps a window around it."""
    shape = tuple(draw(st.lists(st.integers(0, 7), max_size=4)))
    dims = len(shape)
    order = draw(st.permutations(range(dims)))
    shared = tuple(draw(st.lists(st.integers(-dims, dims - 1), max_size=2))) if dims else ()
    window = None
    if draw(st.booleans()):
        start = [draw(st.sampled_from([0, 1, 300, 2**33 + 7])) for _ in shape]
        rest = [draw(st.integers(0, 3)) for _ in shape]
        window = Window([sum(axis) for axis in zip(shape, start, rest, strict=True)], start)
    return shape, order, shared, window


@EXAMPLES
@given(
    tensors(),
    st.sampled_from([0.5, *WIDTHS]),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from(list(cpu.DTYPES)),
)
def test_equals_mask_and_cpu(case, p, seed, stream, dtype):
    shape, order, shared, window = case
    x = torch.randn([shape[axis] for axis in order], generator=torch.Generator().manual_seed(1)).to(dtype)
    x = x.permute([order.index(axis) for axis in range(len(shape))])  # of `shape`, with strides in another order
    assert x.shape == shape
    y = tensor.dropout(x, rate(p), seed, stream, shared, window)
    assert same_bits(y, by_cpu(x, p, seed, stream, shared, window))
    assert torch.equal(y != 0, Mask(p, seed, stream, shared, window).keep(shape) & (x != 0))
    assert steps(y) == steps(torch.empty_like(x))


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize(
    ("window", "shape"),
    [
        (Window((2**34,), (2**33 + 5,)), (1000,)),
        (Window((2**20, 2**20), (2**14, 3)), (2, 600)),
        (Window((2**62, 3), (2**62 - 400, 1)), (300, 2)),  # indices past 2**63: they are unsigned
        (Window((2**64 - 1,), (2**63 + 5,)), (1000,)),
        (Window((2**33, 2**30 + 1), (2**32 + 7, 5)), (3, 700)),
    ],
    ids=["2**33", "rows", "columns past 2**63", "run past 2**63", "2**62"],
)
def test_windows_far_out(p, window, shape):
    expected = Mask(p, 4, 9, window=window).keep(shape)
    assert torch.equal(keep(shape, p, 4, 9, window=window), expected)
    assert torch.equal(by_cpu(torch.ones(shape), p, 4, 9, window=window) != 0, expected)


@pytest.mark.parametrize("dtype", cpu.DTYPES)
def test_values_of_every_dtype(dtype):
    """Special values too: dropped ones are +0.0, kept ones are rounded as the C++ kernel rounds."""
    special = [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), 65504.0, 1e-7, -3e38, 1e-40]
    x = torch.tensor(special * 90, dtype=torch.float64).to(dtype)
    y = tensor.dropout(x, rate(0.5), 7, 0)
    assert same_bits(y, by_cpu(x, 0.5, 7))
    dropped = ~Mask(0.5, 7).keep(x.shape)
    assert dropped.sum() > 400
    assert torch.count_nonzero(bits(y[dropped])) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 3),
        lambda x: x[:, :, ::2],
        lambda x: x[:1, :, :1].expand(4, 3, 6, 5),
    ],
    ids=["channels_last", "transposed", "strided", "expanded"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_memory_format_is_kept(make, dtype):
    x = make(torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(2)).to(dtype))
    y = tensor.dropout(x, rate(0.3), 5, 0)
    assert y.stride() == torch.empty_like(x).stride()
    assert same_bits(y, by_cpu(x, 0.3, 5))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (1, 1, 1), (513,)])
@pytest.mark.parametrize("shared", [(), (-1,)])
def test_small_and_empty_shapes(shape, shared):
    if shared and not shape:
        shared = ()
    y = tensor.dropout(torch.ones(shape), rate(0.5), 3, 0, shared)
    assert torch.equal(y != 0, Mask(0.5, 3, shared_axes=shared).keep(shape))


def test_seeds_of_a_shared_mask_decide_alone():
    """Along a shared axis all are kept or all dropped, and only one decision is drawn for them."""
    y = tensor.dropout(torch.ones(40, 30), rate(0.5), 8, 0, (1,))
    assert torch.equal(y[:, 0], tensor.dropout(torch.ones(40), rate(0.5), 8, 0))
    assert torch.equal(y, y[:, :1].expand(40, 30))


@pytest.mark.parametrize("conjugate", [torch.conj, torch._neg_view], ids=["conj", "neg"])
def test_lazy_views(conjugate):
    x = conjugate(torch.randn(50, dtype=torch.complex64, generator=torch.Generator().manual_seed(3)))
    plain = x.resolve_conj().resolve_neg().clone()
    assert same_bits(tensor.dropout(x, rate(0.5), 1, 0), by_cpu(plain, 0.5, 1))


def test_select_broadcasts_the_mask():
    x = torch.tensor([[1.0, -2.0], [float("nan"), 4.0]])
    y = tensor.select(x, torch.tensor([[True], [False]]), 2.0)
    assert y.tolist() == [[2.0, -4.0], [0.0, 0.0]]


# --- compiled ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize("p", WIDTHS)
def test_compiled(p):
    """With seed and stream as tensors: new values are no new graph."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(lambda x, k, s: tensor.dropout(x, rate(p), k, s, (1,)), backend=counter, fullgraph=True)
    x = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(4))
    for seed, stream in [(3, 0), (-4, 2**40), (2**63 - 1, -1)]:
        assert same_bits(run(x, torch.tensor(seed), torch.tensor(stream)), by_cpu(x, p, seed, stream, (1,)))
    assert counter.frame_count == 1


@pytest.mark.usefixtures("dynamo")
def test_compiled_window():
    window = Window((9, 2**33), (2, 2**32 - 3))
    run = torch.compile(lambda x: tensor.dropout(x, rate(0.3), 5, 6, (), window), backend="aot_eager", fullgraph=True)
    assert same_bits(run(torch.ones(4, 11)), by_cpu(torch.ones(4, 11), 0.3, 5, 6, (), window))
