"""Dropout under torch.func: grad, vjp, jvp, jacobians, hessians and vmap with each kind of randomness."""

import functools

import pytest
import torch
from torch import func, vmap

import thinned
from thinned.masks import Mask, Window, rate

pytestmark = pytest.mark.device
P = 0.4
SCALE = rate(P).scale


def randn(*shape, seed=0):
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def drop(x, **options):
    return thinned.dropout(x, P, **{"seed": 11, **options})


def drawn(x, **options):
    return thinned.dropout(x, P, **options)


def law(x, seed=11, **options):
    return torch.where(Mask(P, seed, **options).keep(x.shape, x.device), x * SCALE, 0.0)


def cube(x):
    return (drop(x) ** 3).sum()


def after(seed, call):
    torch.manual_seed(seed)
    return call()


# --- derivatives ------------------------------------------------------------------------------------------------------


def test_grad_and_vjp():
    x = randn(30)
    kept = law(torch.ones_like(x))
    torch.testing.assert_close(func.grad(cube)(x), 3 * kept * law(x) ** 2)
    value, pull = func.vjp(drop, x)
    assert torch.equal(value, law(x))
    assert torch.equal(pull(randn(30, seed=1))[0], law(randn(30, seed=1)))


def test_jvp_and_linearize():
    x, t = randn(30), randn(30, seed=1)
    value, slope = func.jvp(drop, (x,), (t,))
    assert torch.equal(value, law(x))
    assert torch.equal(slope, law(t))
    value, push = func.linearize(drop, x)
    assert torch.equal(value, law(x))
    assert torch.equal(push(t), law(t))


@pytest.mark.parametrize("jacobian", [func.jacrev, functools.partial(func.jacfwd, randomness="same")])
def test_jacobians(jacobian):
    assert torch.equal(jacobian(drop)(randn(7)), torch.diag(law(torch.ones(7, dtype=torch.float64))))
    shared = jacobian(lambda x: drop(x, shared_axes=(1,), window=Window((5, 9), (1, 2))))(randn(2, 3)).reshape(6, 6)
    kept = law(torch.ones(2, 3, dtype=torch.float64), shared_axes=(1,), window=Window((5, 9), (1, 2)))
    assert torch.equal(shared, torch.diag(kept.reshape(6)))


@pytest.mark.parametrize(
    "second",
    [
        func.hessian,
        lambda f: func.jacrev(func.jacrev(f)),
        lambda f: func.jacrev(func.jacfwd(f)),
        lambda f: func.jacfwd(func.jacfwd(f)),
    ],
    ids=["hessian", "rev-rev", "rev-fwd", "fwd-fwd"],
)
def test_second_derivatives(second):
    x = randn(6)
    torch.testing.assert_close(second(cube)(x), torch.diag(6 * law(torch.ones_like(x)) ** 2 * law(x)))


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_hessian(strategy):
    x = randn(6)
    found = torch.autograd.functional.hessian(cube, x, vectorize=True, outer_jacobian_strategy=strategy)
    torch.testing.assert_close(found, torch.diag(6 * law(torch.ones_like(x)) ** 2 * law(x)))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certainties(p):
    kept = torch.full((5,), 1.0 - p, dtype=torch.float64)
    assert torch.equal(func.grad(lambda x: thinned.dropout(x, p).sum())(randn(5)), kept)
    assert torch.equal(func.jvp(lambda x: thinned.dropout(x, p), (randn(5),), (randn(5),))[1], kept * randn(5))
    assert torch.equal(vmap(lambda x: thinned.dropout(x, p))(randn(2, 5)), kept * randn(2, 5))  # draws nothing


def test_a_given_mask():
    keep = torch.tensor([True, False, True])
    x = randn(3)
    given = thinned.dropout(x, 0.5, mask=keep)
    assert torch.equal(func.vjp(lambda x: thinned.dropout(x, 0.5, mask=keep), x)[0], given)
    rows = vmap(lambda k: thinned.dropout(x, 0.5, mask=k))(torch.stack([keep, ~keep]))
    assert torch.equal(rows, torch.stack([given, thinned.dropout(x, 0.5, mask=~keep)]))


@pytest.mark.parametrize("transform", [func.grad, func.jacrev, functools.partial(func.jacfwd, randomness="same")])
def test_drawn_seeds_are_those_of_eager(transform):
    """After one `manual_seed` a transformed function sees the mask that it would see untransformed."""
    x = randn(50)
    plain = after(3, lambda: drawn(x))
    slope = after(3, lambda: transform(lambda x: drawn(x).sum())(x))
    assert torch.equal(slope != 0, plain != 0)


def test_in_place():
    x, t = randn(20), randn(20, seed=1)
    value, slope = func.jvp(lambda x: drop(x * 2, inplace=True), (x,), (t,))
    assert torch.equal(value, law(2 * x))
    assert torch.equal(slope, law(2 * t))
    torch.testing.assert_close(func.grad(lambda x: drop(x * 2, inplace=True).sum())(x), 2 * law(torch.ones_like(x)))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_tensor_that_outlives_its_transform(inplace):
    """torch leaves it wrapped; it is what it was."""
    left = []
    weight = torch.ones(20, requires_grad=True)
    func.grad(lambda x: (left.append(x + weight), (x * x).sum())[1])(torch.ones(20))
    (x,) = left
    assert torch._C._functorch.is_dead_tensor_wrapper(x)
    y = drop(x, inplace=inplace)
    assert torch.equal(y.detach(), law(torch.full((20,), 2.0)))
    y.sum().backward()
    assert torch.equal(weight.grad, law(torch.ones(20)))


def test_per_sample_gradients():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), thinned.nn.Dropout(0.5), torch.nn.Linear(8, 1)).double()
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return func.functional_call(model, parameters, x).sum()

    batch = randn(6, 4)
    each = vmap(func.grad(loss), in_dims=(None, 0), randomness="different")
    slopes = after(9, lambda: each(parameters, batch))
    patterns = {tuple(row) for row in (slopes["2.weight"][:, 0] != 0).tolist()}
    assert slopes["0.weight"].shape == (6, 8, 4)
    assert len(patterns) > 1
    same = after(9, lambda: vmap(func.grad(loss), in_dims=(None, 0), randomness="same")(parameters, batch))
    single = [after(9, lambda x=x: func.grad(loss)(parameters, x)) for x in batch]
    torch.testing.assert_close(same["0.weight"], torch.stack([one["0.weight"] for one in single]))


# --- vmap with a given seed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("randomness", ["error", "same", "different"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shared_axes": (0,)},
        {"shared_axes": (-1,), "stream": 4},
        {"window": Window((9, 8), (3, 2))},
        {"shared_axes": (-2,), "window": Window((9, 8), (3, 2))},
    ],
    ids=["plain", "shared", "shared, stream", "window", "both"],
)
def test_vmap_of_one_law(dim, options, randomness):
    """A seed that is given is one law, and its members share a mask; nothing is random, so nothing is refused."""
    x = randn(3, 4, 5)
    run = vmap(lambda x: drop(x, **options), in_dims=dim, out_dims=dim, randomness=randomness)
    assert torch.equal(run(x), torch.stack([drop(member, **options) for member in x.unbind(dim)], dim))


@pytest.mark.parametrize("where", [(0, 0), (None, 0), (0, None), (2, 0), (-1, -1)])
@pytest.mark.parametrize("name", ["seed", "stream"])
def test_vmap_over_words(name, where):
    """A seed for each member is a mask for each."""
    at, word_at = where
    x = randn(4, 5, 6) if at is not None else randn(4, 5)
    words = torch.tensor([3, -1, 2**62, 7, 0, 5]) if at in (2, -1) else torch.tensor([3, -1, 2**62, 7])
    word = words if word_at is not None else words[1]
    count = len(words) if word_at is not None or at in (2, -1) else 4
    run = vmap(lambda x, word: drop(x, shared_axes=(0,), **{name: word}), in_dims=where)
    members = x.unbind(at) if at is not None else [x] * count
    each = [word[i] if word_at is not None else word for i in range(count)]
    wanted = [drop(m, shared_axes=(0,), **{name: int(w)}) for m, w in zip(members, each, strict=True)]
    assert torch.equal(run(x, word), torch.stack(wanted))


def test_vmap_over_seed_and_stream():
    run = vmap(lambda k, s: drop(torch.ones(50), seed=k, stream=s))
    wanted = [law(torch.ones(50), seed=k, stream=s) for k, s in [(1, 5), (2, -6)]]
    assert torch.equal(run(torch.tensor([1, 2]), torch.tensor([5, -6])), torch.stack(wanted))


def test_nested_vmap_over_words():
    seeds = torch.arange(6).reshape(2, 3)
    x = randn(2, 3, 8)
    wanted = torch.stack([torch.stack([drop(x[i, j], seed=3 * i + j) for j in range(3)]) for i in range(2)])
    assert torch.equal(vmap(vmap(lambda x, k: drop(x, seed=k)))(x, seeds), wanted)
    outer = vmap(lambda x, k: vmap(lambda x: drop(x, seed=k))(x))(x, seeds[:, 0])  # batched outside, one law inside
    assert torch.equal(outer, torch.stack([vmap(lambda x, i=i: drop(x, seed=3 * i))(x[i]) for i in range(2)]))
    inner = vmap(lambda x: vmap(lambda x, k: drop(x, seed=k))(x, seeds[0]))(x)  # and the other way round
    assert torch.equal(inner, torch.stack([torch.stack([drop(x[i, j], seed=j) for j in range(3)]) for i in range(2)]))


@pytest.mark.parametrize("order", ["vmap of jvp", "jvp of vmap", "vmap of grad", "grad of vmap", "jacfwd of vmap"])
def test_vmap_and_derivatives(order):
    x, seeds = randn(3, 5), torch.tensor([2, 8, -4])
    kept = torch.stack([law(torch.ones(5, dtype=torch.float64), seed=int(k)) for k in seeds])

    def each(x):
        return vmap(lambda x, k: drop(x, seed=k))(x, seeds)

    if order == "vmap of jvp":
        run = vmap(lambda x, k: func.jvp(lambda x: drop(x, seed=k), (x,), (torch.ones_like(x),))[1])
        assert torch.equal(run(x, seeds), kept)
    elif order == "jvp of vmap":
        assert torch.equal(func.jvp(each, (x,), (torch.ones_like(x),))[1], kept)
    elif order == "vmap of grad":
        assert torch.equal(vmap(func.grad(lambda x, k: drop(x, seed=k).sum()))(x, seeds), kept)
    elif order == "grad of vmap":
        assert torch.equal(func.grad(lambda x: each(x).sum())(x), kept)
    else:
        slope = func.jacfwd(each)(x).reshape(15, 15)
        assert torch.equal(slope, torch.diag(kept.reshape(15)))


# --- vmap with drawn seeds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1])
def test_same(dim):
    """One draw, the one that eager would make, and one mask for all members."""
    x = torch.ones(6, 6)
    y = after(5, lambda: vmap(drawn, in_dims=dim, randomness="same")(x))
    assert torch.equal(y, after(5, lambda: drawn(torch.ones(6))).expand(6, 6))
    assert torch.equal(after(5, lambda: vmap(drawn, randomness="same")(x)), y)


@pytest.mark.parametrize("dim", [0, 1])
def test_different(dim):
    """A draw and a mask for each member, each of them a mask of the law."""
    run = vmap(lambda x: drawn(x, shared_axes=(0,)), in_dims=dim, randomness="different")
    x = torch.ones(8, 8, 40) if dim == 0 else torch.ones(2, 8, 40)
    y = after(5, lambda: run(x))
    draw = vmap(lambda _: torch.randint(-(2**63), 2**63 - 1, ()), randomness="different")
    seeds = after(5, lambda: draw(torch.ones(8))) ^ -(2**63)
    assert len({tuple(member.flatten().tolist()) for member in y}) == 8
    for member, seed in zip(y, seeds.tolist(), strict=True):
        assert torch.equal(member, law(torch.ones(member.shape), seed=seed, shared_axes=(0,)))


def test_different_for_an_input_without_a_batch_axis():
    y = after(5, lambda: vmap(lambda _: drawn(torch.ones(60)), randomness="different")(torch.arange(4)))
    assert y.shape == (4, 60)
    assert len({tuple(member.tolist()) for member in y}) == 4


def test_error():
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        vmap(drawn)(torch.ones(3, 5))


@pytest.mark.parametrize(("outer", "inner"), [(a, b) for a in ("same", "different") for b in ("same", "different")])
def test_nested(outer, inner):
    run = vmap(vmap(drawn, randomness=inner), randomness=outer)
    y = after(5, lambda: run(torch.ones(3, 4, 64)))
    masks = [[tuple(y[i, j].tolist()) for j in range(4)] for i in range(3)]
    assert len({mask for row in masks for mask in row}) == (3 if outer == "different" else 1) * (
        4 if inner == "different" else 1
    )
    assert all((len(set(row)) == 4) == (inner == "different") for row in masks)
    assert all((len(set(column)) == 3) == (outer == "different") for column in zip(*masks, strict=True))


def test_gradient_mask_is_forward_mask():
    run = vmap(drawn, randomness="different")
    x = torch.ones(5, 30, requires_grad=True)
    y = run(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(slope, y)


def test_generator_under_transforms():
    make = torch.Generator(torch.get_default_device()).manual_seed
    state = torch.get_rng_state()
    same = vmap(lambda x: drawn(x, generator=generator), randomness="same")
    generator = make(4)
    y = same(torch.ones(3, 50))
    assert torch.equal(y, drawn(torch.ones(50), generator=make(4)).expand(3, 50))
    generator = make(4)
    (slope, value) = func.grad_and_value(lambda x: drawn(x, generator=generator).sum())(torch.ones(50))
    assert torch.equal(slope, y[0])
    assert value == y[0].sum()
    assert torch.equal(torch.get_rng_state(), state)
