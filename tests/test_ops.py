"""The differentiable operation in eager mode: derivatives of any order, what is kept for them, and writing in place."""

import gc
import threading
import weakref

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import ops
from thinned.kernels import cpu
from thinned.masks import Mask, Window, rate

pytestmark = pytest.mark.device
WINDOW = Window((9, 20), (2, 3))
KINDS = {
    "plain": {},
    "shared": {"shared_axes": (1,)},
    "window": {"window": WINDOW},
    "shared and window": {"shared_axes": (-2,), "window": WINDOW, "stream": 5},
}


def randn(*shape, dtype=torch.float64, seed=0, requires_grad=False):
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator(torch.get_default_device()).manual_seed(seed))
    return x.requires_grad_(requires_grad)


def drop(x, **options):
    return thinned.dropout(x, 0.4, **{"seed": 11, **options})


def expected(x, **options):
    """The law itself: select, then one multiplication."""
    options = {"seed": 11, **options}
    return torch.where(Mask(0.4, **options).keep(x.shape, x.device), x * rate(0.4).scale, 0.0)


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradcheck(dtype, kind):
    x = randn(4, 5, dtype=dtype, requires_grad=True)
    every = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(lambda x: drop(x, **KINDS[kind]), x, **every)
    assert gradgradcheck(lambda x: drop(x, **KINDS[kind]), x, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("layout", ["transposed", "expanded", "strided"])
def test_gradcheck_of_strides(layout):
    make = {
        "transposed": lambda x: x.t(),
        "expanded": lambda x: x[:1].expand(5, 4),
        "strided": lambda x: x[:, ::2],
    }[layout]
    x = randn(5, 4, requires_grad=True)
    assert gradcheck(lambda x: drop(make(x)), x, check_forward_ad=True)
    assert torch.equal(drop(make(x)), expected(make(x)))


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_gradcheck_in_place(p):
    x = randn(6, requires_grad=True)
    assert gradcheck(lambda x: thinned.dropout(x * 2, p, inplace=True, seed=1), x, check_forward_ad=True)
    assert gradgradcheck(lambda x: thinned.dropout(x * x, p, inplace=True, seed=1), x, check_fwd_over_rev=True)


def test_gradcheck_of_a_given_mask():
    keep = Mask(0.5, 3).keep((3, 1), torch.get_default_device())
    x = randn(3, 4, dtype=torch.complex128, requires_grad=True)
    assert gradcheck(lambda x: thinned.dropout(x, 0.5, mask=keep), x, check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_gradient_selects(p):
    """Where an element is dropped, its gradient is +0.0 whatever arrives from above."""
    x = randn(400, dtype=torch.float32, requires_grad=True)
    y = thinned.dropout(x, p, seed=2)
    above = torch.tensor([float("inf"), float("nan"), -1.0, -float("inf")]).repeat(100)
    y.backward(above)
    dropped = ~Mask(p, 2).keep((400,), torch.get_default_device())
    assert dropped.sum() > 100
    assert x.grad[dropped].view(torch.int32).count_nonzero() == 0
    assert torch.equal(x.grad[~dropped].isnan(), above[~dropped].isnan())
    assert torch.equal(x.grad[~dropped].isinf(), above[~dropped].isinf())


def test_double_backward():
    x = randn(50, requires_grad=True)
    (first,) = torch.autograd.grad((drop(x) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    scale = rate(0.4).scale
    torch.testing.assert_close(second, expected(6 * x.detach()) * scale**2)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_forward_mode(inplace, requires_grad):
    """A dual tensor has requires_grad False: nothing but the level says that a derivative is wanted."""
    primal, tangent = randn(30), randn(30, seed=1)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(primal.clone().requires_grad_(requires_grad), tangent.clone())
        if inplace:
            dual = dual.clone()
        result = drop(dual, inplace=inplace)
        value, slope = forward_ad.unpack_dual(result)
        assert (result is dual) == inplace
        assert torch.equal(value, expected(primal))
        assert torch.equal(slope, expected(tangent))
        assert value.requires_grad == requires_grad


def test_forward_mode_of_a_tangent_without_memory():
    """torch hands over zeros that have no memory, as the tangent of a determinant's sign, for one."""
    with forward_ad.dual_level():
        matrix = forward_ad.make_dual(torch.eye(3) * 2, torch.eye(3))
        sign = torch.linalg.slogdet(matrix).sign
        assert forward_ad.unpack_dual(sign).tangent._is_zerotensor()
        assert forward_ad.unpack_dual(drop(sign)).tangent.tolist() == 0
    slope = torch.func.jvp(lambda m: drop(torch.linalg.slogdet(m).sign), (torch.eye(3) * 2,), (torch.eye(3),))[1]
    assert slope.tolist() == 0


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_jacobian(strategy):
    """torch.autograd.functional has a vmap of its own, whose batched tensors have no memory either."""
    x = randn(3, 4)
    slope = torch.autograd.functional.jacobian(drop, x, vectorize=True, strategy=strategy).reshape(12, 12)
    assert torch.equal(slope, torch.diag(expected(torch.ones_like(x)).reshape(12)))


def test_batched_gradients():
    x = randn(3, 4, requires_grad=True)
    y = drop(x, window=WINDOW)
    above = randn(5, 3, 4, seed=1)
    (batch,) = torch.autograd.grad(y, x, above, is_grads_batched=True, retain_graph=True)
    assert torch.equal(batch, torch.stack([torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in above]))


@pytest.mark.parametrize("dtype", cpu.DTYPES)
def test_gradient_of_every_dtype(dtype):
    x = randn(300, dtype=torch.float64).to(dtype).requires_grad_()
    above = randn(300, seed=1).to(dtype)
    y = drop(x)
    y.backward(above)
    keep = Mask(0.4, 11).keep((300,), torch.get_default_device())
    assert torch.equal(y != 0, keep & (x != 0))
    assert x.grad.dtype == dtype
    assert torch.equal(x.grad, drop(above))


def test_backward_in_another_thread():
    x = randn(2000, requires_grad=True)
    y = thinned.dropout(x, 0.5)
    worker = threading.Thread(target=y.sum().backward)
    worker.start()
    worker.join()
    assert torch.equal(x.grad != 0, y != 0)


def test_a_seed_tensor_may_change_before_backward():
    seed, stream = torch.tensor(3), torch.tensor(4)
    x = torch.ones(300, requires_grad=True)
    y = thinned.dropout(x, 0.5, seed=seed, stream=stream)
    seed += 1
    stream += 1
    y.sum().backward()
    assert torch.equal(y, x.grad)


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.fixture
def packed():
    """The numbers of elements of what autograd saves."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def tensors_held(node):
    """All tensors that Python can reach from a node of the graph, but for what the graph is about."""
    found, seen, queue = [], set(), [node]
    while queue:
        here = queue.pop()
        for there in gc.get_referents(here):
            if id(there) not in seen and not isinstance(there, type):
                seen.add(id(there))
                if isinstance(there, torch.Tensor):
                    found.append(there)
                elif isinstance(there, tuple | list | dict):
                    queue.append(there)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("drawn", [False, True])
def test_nothing_is_kept_for_backward(packed, kind, inplace, drawn):
    x = randn(4, 5, requires_grad=True) + 0
    y = drop(x, inplace=inplace, **KINDS[kind], **({"seed": None} if drawn else {}))
    assert "_Dropout" in y.grad_fn.name()
    assert packed == []
    assert [t for t in tensors_held(y.grad_fn) if t.dim()] == []  # a seed that was drawn on a GPU is one number there


@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_is_kept_where_nothing_is_kept(packed, inplace):
    """p = 1: not more than the one bool that selects."""
    x = randn(4, 5, requires_grad=True) + 0
    y = thinned.dropout(x, 1.0, inplace=inplace)
    assert y.grad_fn is not None
    assert sum(packed) <= 1
    assert sum(t.numel() for t in tensors_held(y.grad_fn)) <= 1


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_input_is_free_to_go(p):
    x = randn(4, 5, requires_grad=True) + 0
    gone = weakref.ref(x)
    y = thinned.dropout(x, p)
    del x
    gc.collect()
    assert gone() is None
    gone = weakref.ref(y)
    total = (y + 0).sum()
    del y
    gc.collect()
    assert gone() is None
    total.backward()


def test_these_tests_can_fail(packed):
    """torch's own dropout keeps a mask of the input's size, and the probe sees what a node holds."""
    y = torch.nn.functional.dropout(randn(4, 5, requires_grad=True), 0.4)
    assert max(packed) == 20

    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.law = (0, [x.clone()])
            return x.clone()

    y = Keeps.apply(randn(4, 5, requires_grad=True))
    assert [t.numel() for t in tensors_held(y.grad_fn)] == [20]


# --- checkpointing and autocast ---------------------------------------------------------------------------------------


def block():
    torch.manual_seed(5)
    layers = [torch.nn.Linear(16, 16), thinned.nn.Dropout(0.5), torch.nn.ReLU(), thinned.nn.Dropout(0.3)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 4)).double()


def gradients(run, model):
    model.zero_grad()
    x = randn(8, 16, requires_grad=True)
    torch.manual_seed(77)
    y = run(model, x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant):
    model = block()
    plain = gradients(lambda m, x: m(x), model)
    again = gradients(lambda m, x: checkpoint(m, x, use_reentrant=reentrant, preserve_rng_state=True), model)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    other = gradients(lambda m, x: checkpoint(m, x, use_reentrant=reentrant, preserve_rng_state=False), model)
    assert not all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))  # so the first could have failed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_autocast_leaves_the_dtype(dtype):
    x = torch.ones(64, dtype=dtype, requires_grad=True)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        y = drop(x)
    assert y.dtype == dtype
    y.sum().backward()
    assert torch.equal(x.grad, y)


# --- lazy views and unusual tensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("view", [torch.conj, torch._neg_view, lambda x: x.conj().imag], ids=["conj", "neg", "both"])
def test_lazily_negated_and_conjugated(view, inplace):
    z = randn(5, 8, dtype=torch.complex128)
    x = view(z.clone())
    assert x.is_conj() or x.is_neg()
    want = expected(x.resolve_conj().resolve_neg())
    y = drop(x, inplace=inplace)
    assert torch.equal(y, want)
    if inplace:
        assert y is x


def test_gradient_that_is_lazily_conjugated():
    x = randn(6, dtype=torch.complex128, requires_grad=True)
    above = randn(6, dtype=torch.complex128, seed=1)
    (grad,) = torch.autograd.grad(drop(x), x, above.conj())
    assert torch.equal(grad, expected(above.conj().resolve_conj()))


def test_parameters_and_subclasses():
    class Tagged(torch.Tensor):
        pass

    assert torch.equal(drop(torch.nn.Parameter(torch.ones(40))), expected(torch.ones(40)))
    x = torch.ones(40).as_subclass(Tagged).requires_grad_()
    y = drop(x)
    assert type(y) is Tagged
    assert torch.equal(y.detach(), expected(torch.ones(40)))
    y.sum().backward()
    assert torch.equal(x.grad, y)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(40).as_subclass(Tagged), torch.ones(40).as_subclass(Tagged))
        assert torch.equal(forward_ad.unpack_dual(drop(dual)).tangent, expected(torch.ones(40)))


def test_sparse_tensors_are_refused():
    with pytest.raises(RuntimeError, match=r"doesn't have storage|do not have strides"):
        drop(torch.eye(3).to_sparse())


def test_the_routes_agree():
    """Eager, torch.func and the library op, with seeds at both ends of 64 bits: one mask."""
    for seed in (0, 11, 2**63, 2**64 - 1, -5):
        for kind in KINDS.values():
            x = randn(4, 5)
            words = torch.tensor([(seed + 2**63) % 2**64 - 2**63, kind.get("stream", 0)])
            law, axes = ops.pack(rate(0.4), kind.get("window")), list(kind.get("shared_axes", ()))
            want = expected(x, seed=seed, **kind)
            assert torch.equal(drop(x, seed=seed, **kind), want)
            assert torch.equal(drop(x.clone().requires_grad_(), seed=seed, **kind), want)
            assert torch.equal(torch.func.vjp(lambda x, k=kind, s=seed: drop(x, seed=s, **k), x)[0], want)
            assert torch.equal(torch.ops.thinned.dropout(x, words, law, axes), want)
