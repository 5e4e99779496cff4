"""Tensors that are fake, meta or traced, the library ops, and what `torch.compile` makes of a drop."""

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import thinned
from thinned import ops
from thinned._errors import RangeError
from thinned.masks import Mask, Window, rate
from thinned.ops import _library

KINDS = {
    "plain": {},
    "shared": {"shared_axes": (1,)},
    "window": {"window": Window((9, 20), (2, 3)), "stream": 2**40},
}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "strided": lambda x: x[:, :, ::2],
    "expanded": lambda x: x[:1].expand(4, 3, 6, 5),
    "empty": lambda x: x[:0],
}
compiled = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)


def randn(*shape, **options):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), **options)


def drop(x, **options):
    return thinned.dropout(x, 0.4, **{"seed": 11, **options})


def drawn(x, **options):
    return thinned.dropout(x, 0.4, **options)


def after(seed, call):
    torch.manual_seed(seed)
    return call()


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# --- library ops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_opcheck_dropout(kind, dtype):
    x = randn(4, 5).to(dtype).requires_grad_(dtype == torch.float32)
    words = torch.tensor([11, KINDS[kind].get("stream", 0)])
    law = ops.pack(rate(0.4), KINDS[kind].get("window"))
    op = torch.ops.thinned.dropout.default
    axes = list(KINDS[kind].get("shared_axes", ()))
    report = torch.library.opcheck(op, (x, words, law, axes), raise_exception=True)
    assert set(report.values()) == {"SUCCESS"}
    assert torch.equal(op(x, words, law, axes), drop(x, **KINDS[kind]))


def test_opcheck_dropout_of_strides():
    for make in LAYOUTS.values():
        arguments = (make(randn(4, 3, 6, 5)), torch.tensor([1, 2]), ops.pack(rate(0.4), None), [])
        torch.library.opcheck(torch.ops.thinned.dropout.default, arguments, test_utils="test_faketensor")


@pytest.mark.parametrize("p", [1e-12, 1 - 1e-12])
def test_the_library_op_near_certainty(p):
    """In a graph p is a symbol, so the op itself must know the rates that the law cannot tell from 0 and 1."""
    x = randn(4, 5)
    y = torch.ops.thinned.dropout(x, torch.tensor([1, 0]), ops.pack(rate(p), None), [])
    assert torch.equal(y, x if p < 0.5 else torch.zeros(4, 5))
    assert y.data_ptr() != x.data_ptr()
    value, slope = value_and_slope(compiled(lambda x: thinned.dropout(x, p) + 0), x)
    assert torch.equal(value, y)
    assert torch.equal(slope, 2 * y)


def test_opcheck_draw():
    op = torch.ops.thinned.draw.default
    report = torch.library.opcheck(op, (torch.empty((), dtype=torch.int64),), raise_exception=True)
    assert set(report.values()) == {"SUCCESS"}
    assert torch.Tag.nondeterministic_seeded in op.tags
    draw = functools.partial(op, torch.empty((), dtype=torch.int64))
    assert int(after(3, draw)) % 2**64 == after(3, lambda: ops.draw(torch.device("cpu")))


def test_words_in_the_memory_of_the_cpu_reach_a_kernel_as_numbers(monkeypatch):
    """A GPU's kernel cannot read that memory, and there is nothing to wait for."""
    laws = []
    monkeypatch.setattr(_library, "run", lambda input, law: laws.append(law) or input.clone())
    torch.ops.thinned.dropout(torch.ones(4), torch.tensor([-1, 3]), ops.pack(rate(0.4), None), [])
    assert laws[0][1:3] == (2**64 - 1, 3)
    assert [type(word) for word in laws[0][1:3]] == [int, int]


def test_dropout_stays_outside_cuda_graphs():
    """The op reads the law in the CPU's memory, which a replay of a CUDA graph would not read again."""
    assert torch.Tag.cudagraph_unsafe in torch.ops.thinned.dropout.default.tags


# --- fake and meta ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"shared_axes": (1,)}], ids=["drawn", "seed", "shared"])
@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_fake_and_meta_tensors(layout, options, p, requires_grad):
    x = LAYOUTS[layout](randn(4, 3, 6, 5)).requires_grad_(requires_grad)
    real = thinned.dropout(x, p, **options)
    meta = thinned.dropout(LAYOUTS[layout](torch.empty(4, 3, 6, 5, device="meta")), p, **options)
    with FakeTensorMode() as mode:
        source = mode.from_tensor(x)
        fake = thinned.dropout(source, p, **options)
        if requires_grad:
            fake.sum().backward()
            assert source.grad.shape == x.shape
    for other in (meta, fake):
        assert (other.shape, other.dtype, other.stride()) == (real.shape, real.dtype, real.stride())
    assert meta.is_meta
    assert type(fake) is not torch.Tensor


def test_strides_are_those_of_an_empty_like():
    for p in (0.4, 1.0):
        for make in LAYOUTS.values():
            x = make(randn(4, 3, 6, 5))
            assert thinned.dropout(x, p).stride() == torch.empty_like(x).stride()


def test_a_fake_draw_leaves_the_real_ones_alone():
    state = torch.get_rng_state()
    with FakeTensorMode():
        drawn(torch.ones(3))
    assert torch.equal(torch.get_rng_state(), state)
    drawn(torch.ones(3))
    assert not torch.equal(torch.get_rng_state(), state)


def test_fake_in_place():
    with FakeTensorMode():
        x = torch.ones(3, 4)
        assert drawn(x, inplace=True) is x


def test_meta_in_place_and_errors():
    x = torch.ones(3, 4, device="meta")
    assert drawn(x, inplace=True) is x
    with pytest.raises(RangeError, match=r"`shared_axes` must be in \[-2, 1\] for 2 axes, but got axis 2"):
        drop(x, shared_axes=(2,))
    with pytest.raises(RangeError, match="`window` must contain the tensor"):
        drop(x, window=Window((3, 4), (1, 0)))


def test_layers_on_meta():
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), thinned.nn.Dropout(0.5))
        assert model(torch.ones(2, 8)).is_meta
    y = drawn(torch.ones(300))  # whatever the default device was when this thread first drew
    assert 0 < y.count_nonzero() < 300


# --- traced -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_make_fx(kind):
    x = randn(4, 5)
    graph = make_fx(lambda x: drop(x, **KINDS[kind]))(x)
    assert torch.equal(graph(x), drop(x, **KINDS[kind]))
    graph = make_fx(lambda x: drawn(x, **KINDS[kind]))(x)
    assert "thinned.draw" in graph.code
    assert torch.equal(after(2, lambda: graph(x)), after(2, lambda: drawn(x, **KINDS[kind])))


def test_make_fx_keeps_derivatives():
    """The library op alone would give a tangent of zeros."""
    x, t = randn(4, 5), torch.ones(4, 5)
    slope = make_fx(lambda x, t: torch.func.jvp(drop, (x,), (t,))[1])(x, t)
    assert torch.equal(slope(x, t), drop(t))
    slope = make_fx(torch.func.grad(lambda x: drop(x).square().sum()))(x)
    torch.testing.assert_close(slope(x), 2 * drop(drop(x)))


def test_symbolic_trace():
    """The functions that the layers call are leaves for torch.fx, as torchvision's are."""
    model = torch.fx.symbolic_trace(torch.nn.Sequential(thinned.nn.Dropout(0.4), thinned.nn.Dropout2d(0.5)))
    x = torch.ones(2, 3, 4, 4)
    eager = torch.nn.Sequential(thinned.nn.Dropout(0.4), thinned.nn.Dropout2d(0.5))
    assert torch.equal(after(1, lambda: model(x)), after(1, lambda: eager(x)))


# --- compiled ---------------------------------------------------------------------------------------------------------


def value_and_slope(run, x, seed=6):
    x = x.detach().clone().requires_grad_()
    y = after(seed, lambda: run(x))
    (slope,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach(), slope


@pytest.mark.parametrize(
    ("kind", "options"),
    [("plain", {}), ("shared", {"seed": 5, "stream": -1}), ("window", {}), ("plain", {"inplace": True})],
    ids=["plain", "seed", "window", "inplace"],
)
def test_compiled_function(kind, options):
    """Forward and backward have the mask of eager after the same `manual_seed`."""

    def run(x):
        return drawn(x * 2, **{**KINDS[kind], **options})

    x = randn(4, 5)
    for theirs, ours in zip(value_and_slope(run, x), value_and_slope(compiled(run), x), strict=True):
        assert torch.equal(theirs, ours)
    assert torch.equal(after(2, lambda: compiled(run)(x)), after(2, lambda: run(x)))  # and without grad


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_compiled_certainties(p):
    x = randn(4, 5)
    value, slope = value_and_slope(compiled(lambda x: thinned.dropout(x, p) + 0), x)
    assert torch.equal(value, (1 - p) * x)
    assert torch.equal(slope, (1 - p) * 2 * x)


def test_compiled_module():
    """Two sites that could pass for one draw a mask each, and the eval mode drops nothing."""
    torch.manual_seed(0)
    layers = [thinned.nn.Dropout(0.5), torch.nn.Linear(16, 16), thinned.nn.Dropout(0.5), thinned.nn.Dropout(0.3)]
    model = torch.nn.Sequential(*layers)
    fast = compiled(model)
    x = randn(8, 16)
    for seed in (6, 7):
        for theirs, ours in zip(value_and_slope(model, x, seed), value_and_slope(fast, x, seed), strict=True):
            torch.testing.assert_close(theirs, ours)
            assert torch.equal(theirs == 0, ours == 0)
    model.eval()
    assert torch.equal(compiled(model)(x), model(x))


def test_compiled_sites_are_not_merged():
    a, b = compiled(lambda x: (drawn(x), drawn(x)))(torch.ones(200))
    assert not torch.equal(a, b)


def test_compiled_seed_tensor():
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    run = torch.compile(lambda x, k: drop(x, seed=k, stream=k), backend=counter, fullgraph=True)
    for seed in (1, -5, 2**62):
        keep = Mask(0.4, seed, seed).keep((30,))
        assert torch.equal(run(torch.ones(30), torch.tensor(seed)) != 0, keep)
    assert counter.frame_count == 1


def test_a_generator_breaks_the_graph():
    make = torch.Generator().manual_seed
    x = randn(60)
    generator = make(4)
    run = torch.compile(lambda x: drawn(x + 1, generator=generator), backend="aot_eager")
    assert torch.equal(run(x), drawn(x + 1, generator=make(4)))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="_uncompiled"):
        compiled(lambda x: drawn(x, generator=generator))(x)


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_transforms_in_a_compiled_function(randomness):
    """They break the graph, and are right: the library op knows neither a tangent nor a batch of seeds."""
    x, t = randn(3, 20), randn(3, 20) + 1

    def tangent(x, t):
        return torch.func.jvp(drop, (x,), (t,))[1]

    def batch(x):
        return torch.vmap(drawn, randomness=randomness)(x)

    assert torch.equal(torch.compile(tangent, backend="aot_eager")(x, t), drop(t))
    found = after(8, lambda: torch.compile(batch, backend="aot_eager")(x))
    assert torch.equal(found, after(8, lambda: batch(x)))


def test_dual_numbers_in_a_compiled_function():
    x, t = randn(20), randn(20) + 1
    run = torch.compile(drop, backend="aot_eager")
    run(x)  # compiled before there is a dual level
    with forward_ad.dual_level():
        assert torch.equal(forward_ad.unpack_dual(run(forward_ad.make_dual(x, t))).tangent, drop(t))


def test_random_vmap_in_a_compiled_function_is_refused():
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        torch.compile(torch.vmap(drawn), backend="aot_eager")(torch.ones(2, 3))
