"""`Chain` among the rest of torch: keys, checkpoints, accumulation, copies, hooks, compilers."""

import copy
import io
import itertools
import pickle

import pytest
import torch
import torch._dynamo.testing
from masked import Masked, error
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned.batchwise import Chain, SubmatrixGrad

EXACT = 1e-10


def net(**options):
    torch.manual_seed(0)
    layers = [nn.Dropout(0.2), nn.Linear(10, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 12), nn.Tanh()]
    return Chain(*layers, nn.Dropout(0.5), nn.Linear(12, 3), **options).double()


def data(*shape):
    return torch.randn(*(shape or (12, 10)), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(model):
    found = [p.grad for p in model.parameters()]
    return [g.clone() if isinstance(g, SubmatrixGrad) else g for g in found]


def run(model, x, **options):
    """Output and gradients of one step under a key."""
    model.zero_grad()
    y = thinned.keyed(model, 3, 7, **options)(x)
    y.square().sum().backward()
    return [y.detach(), *gradients(model)]


def same(these, those, tolerance=EXACT):
    assert all(error(a, b) <= tolerance for a, b in zip(these, those, strict=True))


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_network() -> None:
    model, x = net(), data()
    first = thinned.keyed(model, 1, 2)(x)
    assert torch.equal(thinned.keyed(model, 1, 2)(x), first)
    assert not torch.equal(thinned.keyed(model, 1, 3)(x), first)
    assert not torch.equal(model(x), thinned.keyed(model, 1, 3)(x))  # another use


@pytest.mark.parametrize("groups", [1, 2, 5, 12])
@pytest.mark.parametrize("edges", [(0, 6, 12), (0, 1, 5, 12)])
def test_parts_of_a_batch_are_the_whole(groups, edges) -> None:
    model, x = net(groups=groups), data()
    whole = run(model, x)
    parts = [run(model, x[a:b], batch=(a, b, 12)) for a, b in itertools.pairwise(edges)]
    same([torch.cat([part[0] for part in parts])], whole[:1])
    same([sum(of_one) for of_one in zip(*(part[1:] for part in parts), strict=True)], whole[1:])


@pytest.mark.parametrize("shape", [(12, 10), (12, 3, 10)])
@pytest.mark.parametrize(
    "options",
    [
        {"use_reentrant": True},
        {"use_reentrant": False},
        {"use_reentrant": False, "context_fn": thinned.checkpoint_context},
    ],
)
@pytest.mark.parametrize("keyed", [True, False])
def test_checkpoint(shape, options, keyed) -> None:
    model, x = net(), data(*shape).requires_grad_()

    def step(call):
        model.zero_grad()
        x.grad = None
        torch.manual_seed(5)
        if keyed:
            thinned.keyed(model, 3, 7)
        call().square().sum().backward()
        return [x.grad, *gradients(model)]

    if not keyed and "context_fn" in options:
        return
    same(step(lambda: checkpoint(model, x, **options)), step(lambda: model(x)), 0.0)


@pytest.mark.parametrize("shape", [(12, 10), (12, 3, 10)])
@pytest.mark.parametrize("model", [net(), Chain(nn.Dropout(0.5), nn.Linear(10, 3)).double()], ids=["all", "input"])
def test_a_new_key_before_backward_raises(model, shape) -> None:
    """Also where only the input is dropped."""
    x = data(*shape).requires_grad_()
    thinned.keyed(model, 1)
    y = model(x)
    again = checkpoint(thinned.keyed(model, 1, 1), x, use_reentrant=False)
    with pytest.raises(RuntimeError, match="keyed again while a forward under the former key was still waiting"):
        again.sum().backward()
    y.sum().backward()


@pytest.mark.parametrize("shape", [(12, 10), (12, 3, 10), (10,)])
def test_a_new_key_after_backward_is_fine(shape) -> None:
    """Even if the former output is still there."""
    model, x = net(), data(*shape).requires_grad_()
    former = thinned.keyed(model, 1)(x)
    former.sum().backward()
    thinned.keyed(model, 1, 1)
    checkpoint(model, x, use_reentrant=False).sum().backward()
    assert former.grad_fn is not None


def test_checkpoint_context_survives_a_new_key() -> None:
    model, x = net(), data().requires_grad_()
    thinned.keyed(model, 1)
    y = checkpoint(model, x, use_reentrant=False, context_fn=thinned.checkpoint_context)
    wanted = torch.autograd.grad(thinned.keyed(model, 1)(x).sum(), x)[0]
    thinned.keyed(model, 1, 1)(x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], wanted)


# --- gradients --------------------------------------------------------------------------------------------------------


def test_accumulation_with_one_pattern_stays_sparse() -> None:
    model, x = net(), data()
    whole = run(model, x)
    model.zero_grad()
    for start in range(0, 12, 4):
        part = (start, start + 4, 12)
        thinned.keyed(model, 3, 7, batch=part)(x[start : start + 4]).square().sum().backward()
    assert all(isinstance(p.grad, SubmatrixGrad) and p.grad.block is not None for p in [*model.parameters()][:-1])
    same(gradients(model), whole[1:])


def test_accumulation_across_patterns_is_dense_and_right() -> None:
    model, x = net(), data()
    masked = Masked(model)
    for step in range(3):
        thinned.keyed(model, 3, step)(x).square().sum().backward()
        masked(x, 3, step).square().sum().backward()
    assert all(not isinstance(p.grad, SubmatrixGrad) or p.grad.block is None for p in model.parameters())
    same(gradients(model), [p.grad for p in masked.parameters()])


def test_gradients_that_are_set_to_zero_stay_sparse() -> None:
    """And the units that were kept before are frozen all the same."""
    model, x = net(), data()
    optimizer = thinned.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad(set_to_none=False)
        before = model[1].weight.detach().clone()
        thinned.keyed(model, 3, step)(x).square().sum().backward()
        found = model[1].weight.grad
        assert isinstance(found, SubmatrixGrad)
        assert found.block is not None
        wanted = torch.autograd.grad(thinned.keyed(model, 3, step)(x).square().sum(), model[1].weight)[0]
        assert torch.equal(found.clone(), wanted.clone())
        optimizer.step()
        changed = (model[1].weight != before).any(1)
        assert changed.nonzero().flatten().tolist() == found.place.rows.tolist()


def test_one_layer_at_two_places() -> None:
    """Its gradients of both places add up."""
    torch.manual_seed(0)
    shared = nn.Linear(8, 8)
    model = Chain(shared, nn.ReLU(), nn.Dropout(0.5), shared, nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    masked, x = Masked(model), data(5, 8)
    y = thinned.keyed(model, 3, 7)(x)
    wanted = masked(x, 3, 7)
    y.sum().backward()
    wanted.sum().backward()
    same([y, *gradients(model)], [wanted, *(p.grad for p in masked.parameters())])


def test_a_second_derivative_raises() -> None:
    model, x = net(), data().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_transforms_of_torch_func() -> None:
    """A derivative of `functional_call` alone works; transforms say that they do not."""
    model, x = net(), data()
    parameters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    y = torch.func.functional_call(thinned.keyed(model, 3, 7), parameters, (x,))
    y.square().sum().backward()
    same([y, *(p.grad.clone() for p in parameters.values())], run(model, x))
    with pytest.raises(
        RuntimeError, match=r"must be differentiated by `backward`.* but a transform of torch.func is active"
    ):
        torch.func.grad(lambda p: torch.func.functional_call(model, p, (x,)).sum())(dict(model.named_parameters()))


def test_autocast() -> None:
    model, x = net().float(), data().float()
    with torch.autocast("cpu", torch.bfloat16):
        y = thinned.keyed(model, 3, 7)(x)
        theirs = Masked(model)(x, 3, 7)
    wanted = Masked(model, torch.float64)(x.double(), 3, 7)
    assert y.dtype == theirs.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert error(y, wanted) <= 2 * error(theirs, wanted)
    with torch.autocast("cpu", torch.bfloat16):  # leaves float64 as it is
        assert net()(data()).dtype == torch.float64


# --- copies and changes -----------------------------------------------------------------------------------------------


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("keyed_before", [True, False])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), saved])
def test_copies(how, keyed_before) -> None:
    model, x = net(groups=2, units="slice", multiple_of=2), data()
    if keyed_before:
        run(model, x)
    model.zero_grad()
    other = how(model)
    assert repr(other) == repr(model)
    same(run(other, x), run(model, x), 0.0)
    other[3].p = 0.0
    assert model[3].p == 0.5
    same(run(model, x), run(how(model), x), 0.0)


def test_state_dicts_both_ways() -> None:
    model = net()
    theirs = nn.Sequential(*copy.deepcopy([*model])).eval()
    assert [*model.state_dict()] == [*theirs.state_dict()]
    with torch.no_grad():
        [p.add_(1) for p in model.parameters()]
    theirs.load_state_dict(model.state_dict())
    assert torch.equal(theirs(data()), model.eval()(data()))
    model.load_state_dict(net().state_dict())
    assert torch.equal(model(data()), net().eval()(data()))


def test_nested_chains_are_one() -> None:
    flat, x = net(), data()
    layers = [*flat]
    nested = Chain(nn.Sequential(layers[0], nn.Sequential(*layers[1:3])), *layers[3:5], nn.Sequential(*layers[5:]))
    masked = Masked(nested)
    y = thinned.keyed(nested, 3, 7)(x)
    y.sum().backward()
    wanted = masked(x, 3, 7)
    wanted.sum().backward()
    same([y, *gradients(nested)], [wanted, *(p.grad for p in masked.parameters())])
    assert isinstance(layers[1].weight.grad, SubmatrixGrad)


@pytest.mark.parametrize(("place", "width"), [(1, 20), (2, 20), (3, 20), (4, 12)])
def test_a_hook_that_comes_later_sees_whole_tensors(place, width) -> None:
    model, x = net(), data()
    wanted = run(model, x)
    widths = []
    hook = model[place].register_forward_hook(lambda *args: widths.append(args[-1].shape[-1]))
    watched = run(model, x)
    assert widths == [width]
    if place == 2:  # around the others the dropout is an ordinary one
        same(watched, wanted)
    hook.remove()
    same(run(model, x), wanted, 0.0)
    assert widths == [width]


def test_hooks_of_a_dropout_survive() -> None:
    seen = []
    dropout = nn.Dropout(0.5)
    dropout.register_forward_hook(lambda *_: seen.append(1))
    Chain(nn.Linear(4, 4), dropout, nn.Linear(4, 4))(torch.ones(2, 4))
    assert seen == [1]


def test_changes_that_come_later() -> None:
    """A rate, a layer, a group, a parametrization."""
    model, x = net(), data()
    run(model, x)
    model[3].p = 0.9
    same(run(model, x)[:1], [Masked(model)(x, 3, 7)])
    assert model[4].weight.grad.block.shape == (6, 2)
    model.append(thinned.nn.Dropout(0.5))
    model.append(nn.Linear(3, 2).double())
    same(run(model, x)[:1], [Masked(model)(x, 3, 7)])
    assert model[7].weight.grad.block.shape == (2, 6)
    model.configure(groups=3)
    same(run(model, x)[:1], [Masked(model)(x, 3, 7)])
    model.configure()
    nn.utils.parametrizations.weight_norm(model[4])  # changes the class of the layer
    run(model, x)
    assert not isinstance(model[4].parametrizations.weight.original1.grad, SubmatrixGrad)


def test_options_are_set_together_or_not_at_all() -> None:
    model = net()
    for options, rule in [
        ({"groups": 0}, "`groups` must be"),
        ({"groups": 2, "multiple_of": 0}, "`multiple_of` must be"),
        ({"groups": 2, "units": "all"}, "`units` must be one of random, slice, but got units='all'"),
    ]:
        with pytest.raises(ValueError, match=rule):
            model.configure(**options)
        assert (model.groups, model.units, model.multiple_of) == (1, "random", 1)


# --- compilers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile(backend) -> None:
    """The chain breaks the graph; what is around it is compiled, and no pattern makes a new graph."""
    torch._dynamo.reset()
    graphs = 0
    model = nn.Sequential(nn.Linear(10, 10), net(), nn.Softplus()).double()
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    compiled, x = torch.compile(model, backend=counter), data()
    for step in range(4):
        y = thinned.keyed(compiled, 3, step)(x)
        assert error(y, thinned.keyed(model, 3, step)(x)) <= EXACT
        model.zero_grad()
        y.sum().backward()
        assert step == 0 or counter.frame_count == graphs
        graphs = counter.frame_count
    got = gradients(model)
    model.zero_grad()
    thinned.keyed(model, 3, step)(x).sum().backward()
    same(got, gradients(model))
    assert isinstance(model[1][4].weight.grad, SubmatrixGrad)
