"""SubmatrixGrad: whatever is done gives what an ordinary gradient gives, and what training does keeps it sparse."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from thinned.batchwise import SubmatrixGrad, linear
from thinned.submatrix import Place

ROWS, COLUMNS = torch.tensor([0, 2, 3]), torch.tensor([1, 4])
FORMS = ["matrix", "vector", "transposed", "rows", "columns", "double"]


def make(form="matrix", seed=0):
    """A parameter, a gradient of it, and the same gradient as an ordinary tensor."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if form == "double" else torch.float32
    if form == "vector":
        parameter, rows, columns = torch.zeros(6), ROWS, None
    elif form == "transposed":
        parameter, rows, columns = torch.zeros(5, 6).t(), ROWS, COLUMNS
    else:
        parameter = torch.zeros(6, 5, dtype=dtype)
        rows, columns = None if form == "columns" else ROWS, None if form == "rows" else COLUMNS
    parameter = nn.Parameter(parameter)
    place = Place(parameter, rows, columns)
    block = torch.randn(place.shape, generator=generator, dtype=dtype)
    plain = torch.zeros_like(parameter.data)
    at = (
        (slice(None) if rows is None else rows,)
        if columns is None
        else np.ix_(range(6) if rows is None else rows, columns)
    )
    plain[at] = block
    return parameter, SubmatrixGrad(parameter, block, place), plain


def sparse(grad):
    return isinstance(grad, SubmatrixGrad) and grad.block is not None


def values(result):
    """Ordinary tensors in place of gradients, anywhere in a result."""
    strip = lambda value: value.dense() if isinstance(value, SubmatrixGrad) else value  # noqa: E731
    return torch.utils._pytree.tree_map(strip, result)


def same(ours, theirs):
    torch.testing.assert_close(values(ours), theirs, equal_nan=True)


forms = pytest.mark.parametrize("form", FORMS)


@forms
def test_it_looks_like_the_parameter(form):
    parameter, grad, plain = make(form)
    for name in ("shape", "dtype", "device", "layout", "is_leaf", "requires_grad"):
        assert getattr(grad, name) == getattr(plain, name)
    assert grad.stride() == parameter.stride()
    parameter.grad = grad
    assert parameter.grad is grad
    assert sparse(grad)
    same(grad, plain)
    assert grad.dense() is grad.dense()
    assert grad.dense().stride() == parameter.stride()
    assert grad.place is None


# --- what it knows ----------------------------------------------------------------------------------------------------

SCALING = {
    "times": lambda g: g * 3,
    "times a tensor": lambda g: g * torch.tensor(3.0),
    "divided": lambda g: g / 4,
    "divided by a tensor": lambda g: g / torch.tensor(4.0),
    "divided by inf": lambda g: g / math.inf,
    "times zero": lambda g: g * 0,
    "mul_": lambda g: g.mul_(3),
    "imul": lambda g: g.__imul__(0.5),
    "mul_ a tensor": lambda g: g.mul_(torch.tensor(3.0, dtype=torch.float64)),
    "div_": lambda g: g.div_(4),
    "div_ a tensor": lambda g: g.div_(torch.tensor(4.0)),
    "zero_": lambda g: g.zero_(),
    "detach": lambda g: g.detach(),
    "data": lambda g: g.data,
}


@forms
@pytest.mark.parametrize("name", SCALING)
def test_scaling_stays_sparse(form, name):
    _, grad, plain = make(form)
    ours, theirs = SCALING[name](grad), SCALING[name](plain)
    assert sparse(grad)
    assert sparse(ours)
    same(ours, theirs)
    same(grad, plain)


@forms
@pytest.mark.parametrize("order", [2, 1, 3.5, math.inf])
def test_norms_stay_sparse(form, order):
    _, grad, plain = make(form)
    same(torch.linalg.vector_norm(grad, order), torch.linalg.vector_norm(plain, order))
    same(grad.norm(order), plain.norm(order))
    same(torch._foreach_norm([grad, plain], order), torch._foreach_norm([plain, plain], order))
    same(
        torch.linalg.vector_norm(grad, order, dtype=torch.float64),
        torch.linalg.vector_norm(plain, order, dtype=torch.float64),
    )
    assert sparse(grad)


@pytest.mark.parametrize("order", [0, -1, -math.inf])
def test_norms_to_which_zeros_matter(order):
    _, grad, plain = make()
    same(torch.linalg.vector_norm(grad, order), torch.linalg.vector_norm(plain, order))
    _, grad, plain = make()
    same(torch._foreach_norm([grad], order), torch._foreach_norm([plain], order))


def test_norms_along_an_axis():
    _, grad, plain = make()
    same(torch.linalg.vector_norm(grad, 2, dim=1), torch.linalg.vector_norm(plain, 2, dim=1))
    same(grad.norm(2, 0, keepdim=True), plain.norm(2, 0, keepdim=True))


@forms
def test_sums_at_the_same_place(form):
    (_, grad, plain), (_, other, addend) = make(form), make(form, seed=1)
    total = torch.add(grad, other, alpha=2)
    assert sparse(total)
    same(total, plain + 2 * addend)
    assert grad.add_(other, alpha=-1) is grad
    assert sparse(grad)
    assert sparse(other)
    same(grad, plain - addend)
    grad = make(form)[1]
    grad += grad
    same(grad, 2 * plain)


FOREACH = {
    "mul": lambda gs: torch._foreach_mul_(gs, 3.0),
    "mul a tensor": lambda gs: torch._foreach_mul_(gs, torch.tensor(3.0)),
    "div": lambda gs: torch._foreach_div_(gs, 3.0),
    "div a tensor": lambda gs: torch._foreach_div_(gs, torch.tensor(3.0)),
    "zero": torch._foreach_zero_,
    "unscale": lambda gs: torch._amp_foreach_non_finite_check_and_unscale_(gs, torch.zeros(1), torch.tensor([0.5])),
}


@pytest.mark.parametrize("name", FOREACH)
def test_lists(name):
    grad, plain = make()[1:]
    dense, other = make(seed=1)[1:]
    dense.dense()
    theirs = [plain, other, torch.ones(3)]
    FOREACH[name](theirs)
    ours = [grad, dense, torch.ones(3)]
    FOREACH[name](ours)
    assert sparse(grad)
    same(ours, theirs)


# --- where zeros do not stay zeros ------------------------------------------------------------------------------------

SPOILING = {
    "times inf": lambda g: g * math.inf,
    "times nan": lambda g: g * math.nan,
    "times a tensor of nan": lambda g: g * torch.tensor(math.nan),
    "mul_ inf": lambda g: g.mul_(math.inf),
    "mul_ a tensor of inf": lambda g: g.mul_(torch.tensor(math.inf)),
    "div_ nan": lambda g: g.div_(math.nan),
    "div_ zero": lambda g: g.div_(0),
    "divided by a tensor of zero": lambda g: g / torch.tensor(0.0),
    "foreach nan": lambda g: torch._foreach_mul_([g], math.nan) and None,
    "foreach a tensor of nan": lambda g: torch._foreach_mul_([g], torch.tensor(math.nan)) and None,
    "foreach div zero": lambda g: torch._foreach_div_([g], 0.0) and None,
}


@pytest.mark.parametrize("name", SPOILING)
def test_numbers_that_spoil_zeros(name):
    _, grad, plain = make()
    ours, theirs = SPOILING[name](grad), SPOILING[name](plain)
    same(ours, theirs)
    same(grad, plain)


# --- what it does not know --------------------------------------------------------------------------------------------

UNKNOWN = {
    "plus": lambda g: g + 1,
    "minus": lambda g: 1 - g,
    "negative": lambda g: -g,
    "square": lambda g: g**2,
    "times a row": lambda g: g * torch.arange(5.0),
    "a number times": lambda g: torch.tensor(2.0) * g,
    "times itself": lambda g: g * g,
    "product": lambda g: g @ torch.ones(5, 2),
    "sum": lambda g: g.sum(),
    "mean": lambda g: g.mean(0),
    "largest": lambda g: g.abs().max(),
    "item": lambda g: g[0, 1].item(),
    "indexed": lambda g: g[ROWS],
    "finite": lambda g: torch.isfinite(g).all(),
    "equal": lambda g: torch.equal(g, g + 0),
    "stack": lambda g: torch.stack([g, g]),
    "flat": lambda g: torch.cat([g.reshape(-1), g.flatten()]),
    "converted": lambda g: g.double(),
    "where": lambda g: torch.where(g > 0, g, 0),
    "double multiplier": lambda g: g * torch.tensor([2.0], dtype=torch.float64),
    "foreach": lambda g: torch._foreach_mul([g, g], 2.0),
    "numpy": lambda g: torch.from_numpy(g.numpy().copy()),
    "array": lambda g: torch.from_numpy(np.asarray(g).copy()),
    "list": lambda g: g.tolist(),
    "cloned": lambda g: g.clone(),
    "dense": lambda g: g.to_dense(),
    "stored": lambda g: nn.utils.parameters_to_vector([g]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_any_function(name):
    _, grad, plain = make()
    same(UNKNOWN[name](grad), UNKNOWN[name](plain))
    same(grad, plain)


IN_PLACE = {
    "add_": lambda g: g.add_(1),
    "sub_": lambda g: g.sub_(torch.ones(5)),
    "neg_": lambda g: g.neg_(),
    "clamp_": lambda g: g.clamp_(-0.5, 0.5),
    "fill_": lambda g: g.fill_(2),
    "copy_": lambda g: g.copy_(torch.ones(6, 5)),
    "mul_ a row": lambda g: g.mul_(torch.arange(5.0)),
    "add_ an ordinary one": lambda g: g.add_(torch.ones(6, 5), alpha=2),
    "addcmul_": lambda g: g.addcmul_(torch.ones(6, 5), torch.ones(6, 5)),
    "nan_to_num_": lambda g: g.nan_to_num_(),
    "masked_fill_": lambda g: g.masked_fill_(torch.eye(6, 5) > 0, 7.0),
    "copy_ of its data": lambda g: g.copy_(g.data),
    "out": lambda g: torch.add(torch.ones(6, 5), 1, out=g),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_any_operation_in_place_returns_the_same_object(name):
    parameter, grad, plain = make()
    parameter.grad = grad
    assert IN_PLACE[name](grad) is grad
    assert parameter.grad is grad
    assert isinstance(grad, SubmatrixGrad)
    assert not sparse(grad)
    same(grad, IN_PLACE[name](plain))


def test_an_item_is_written():
    _, grad, plain = make()
    for g in (grad, plain):
        g[1, 1:3] = 5
        g[0] += 1
    same(grad, plain)


def test_views_write_through():
    _, grad, plain = make()
    for g in (grad, plain):
        g.view(-1)[3:9].add_(1)
        g.t()[0].fill_(4)
    same(grad, plain)


def test_it_serves_where_an_ordinary_one_is_changed():
    plain, (_, grad, other) = torch.ones(6, 5), make()
    same(plain.add_(grad), torch.ones(6, 5) + other)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_detached_ones_share():
    _, grad, plain = make()
    detached, data = grad.detach(), grad.data
    grad.mul_(2)
    same(detached, 2 * plain)
    data.add_(1)
    assert not sparse(grad)
    same(grad, 2 * plain + 1)
    assert detached.dense() is grad.dense()


@forms
def test_clones_are_ordinary_and_their_own(form):
    _, grad, plain = make(form)
    clone = grad.clone()
    assert type(clone) is torch.Tensor
    assert clone.stride() == grad.stride()
    assert sparse(grad)
    assert grad.clone(memory_format=torch.contiguous_format).is_contiguous()
    clone.add_(1)
    same(grad, plain)
    clone = grad.clone()
    clone.add_(1)
    same(grad, plain)


@pytest.mark.parametrize("dense", [False, True])
def test_deep_copies(dense):
    _, grad, plain = make()
    if dense:
        grad.dense()
    twin, again = copy.deepcopy([grad, grad])
    assert twin is again
    assert twin is not grad
    assert sparse(twin) is not dense
    twin.mul_(2)
    same(grad, plain)
    same(twin, 2 * plain)


def test_pickles_and_files_hold_an_ordinary_one():
    _, grad, plain = make()
    loaded = pickle.loads(pickle.dumps(grad))
    assert type(loaded) is torch.Tensor
    same(loaded, plain)
    file = io.BytesIO()
    torch.save({"grad": make()[1]}, file)
    file.seek(0)
    same(torch.load(file, weights_only=True)["grad"], plain)
    same(copy.copy(make()[1]), plain)


def test_repr():
    parameter = torch.zeros(2, 3)
    grad = SubmatrixGrad(parameter, torch.ones(1, 2), Place(parameter, torch.tensor([1]), torch.tensor([0, 2])))
    assert repr(grad) == "SubmatrixGrad(1 x 2 of 2 x 3, tensor([[1., 1.]]))"
    assert sparse(grad)
    grad.dense()
    assert repr(grad).startswith("SubmatrixGrad(dense, tensor([[0., 0., 0.],")
    assert str(grad).startswith("SubmatrixGrad(dense")


# --- autograd ---------------------------------------------------------------------------------------------------------

FIRST, SECOND = (torch.tensor([[0, 2]]), torch.tensor([[1, 3]])), (torch.tensor([[1, 2]]), torch.tensor([[0, 3]]))


def masked(x, weight, bias, place):
    """The same product by ordinary indexing."""
    (rows,), (columns,) = place
    return x @ weight[rows][:, columns].t() + bias[rows]


def parameters():
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in ((4, 5), (4,))]


def backwards(places, product, weight, bias):
    x = torch.arange(1.0, 7.0, dtype=torch.float64).view(3, 2)
    for place in places:
        product(x, weight, bias, place).square().sum().backward()


def product(x, weight, bias, place):
    return linear(x, weight, bias, *place)


@pytest.mark.parametrize(("places", "stays"), [((FIRST,), True), ((FIRST,) * 3, True), ((FIRST, SECOND), False)])
def test_accumulation(places, stays):
    ours, theirs = parameters(), parameters()
    backwards(places[:1], product, *ours)
    before = [parameter.grad for parameter in ours]
    backwards(places[1:], product, *ours)
    backwards(places, masked, *theirs)
    for mine, other, grad in zip(ours, theirs, before, strict=True):
        assert mine.grad is grad
        assert sparse(mine.grad) is stays
        same(mine.grad, other.grad)


def test_accumulation_with_ordinary_gradients():
    ours, theirs = parameters(), parameters()
    for order in ((masked, product), (product, masked)):
        for parameter in (*ours, *theirs):
            parameter.grad = None
        for step in order:
            backwards([FIRST], step, *ours)
            backwards([FIRST], masked, *theirs)
        for mine, other in zip(ours, theirs, strict=True):
            same(mine.grad, other.grad)


@pytest.mark.parametrize(("other", "stays"), [(FIRST, True), (SECOND, False)])
def test_a_weight_used_twice_in_a_graph(other, stays):
    results = []
    for function in (product, masked):
        weight, bias = parameters()
        x = torch.ones(3, 2, dtype=torch.float64)
        (function(x, weight, bias, FIRST).sum() + function(2 * x, weight, bias, other).square().sum()).backward()
        results.append((weight.grad, bias.grad))
    assert sparse(results[0][0]) is stays
    same(list(results[0]), list(results[1]))


def test_zeroed_gradients():
    """`set_to_none=False` leaves gradients that are zero, and go on."""
    ours, theirs = parameters(), parameters()
    for step in (product, masked):
        mine = ours if step is product else theirs
        optimizer = torch.optim.SGD(mine, lr=0.1)
        for place in (FIRST, SECOND, FIRST):
            backwards([place], step, *mine)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            assert all(not parameter.grad.any() for parameter in mine)
    for a, b in zip(ours, theirs, strict=True):
        same(a.data, b.data)


def test_gradients_that_are_asked_for():
    results = []
    for function in (product, masked):
        weight, bias = parameters()
        loss = function(torch.ones(3, 2, dtype=torch.float64), weight, bias, FIRST).square().sum()
        results.append(torch.autograd.grad(loss, (weight, bias)))
        assert weight.grad is None
    assert all(map(sparse, results[0]))
    same(results[0], results[1])


@pytest.mark.parametrize("stays", [True, False])
def test_hooks(stays):
    (weight, bias), seen = parameters(), []
    weight.register_hook(lambda g: g * 2 if stays else g + 1)
    weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    backwards([FIRST], product, weight, bias)
    assert seen[0] is weight.grad
    assert sparse(weight.grad) is stays
    other, bias = parameters()
    backwards([FIRST], masked, other, bias)
    same(weight.grad, other.grad * 2 if stays else other.grad + 1)


def test_data_can_be_replaced():
    _, grad, _ = make()
    grad.data = torch.ones(6, 5)
    assert not sparse(grad)
    same(grad, torch.ones(6, 5))
    _, other, plain = make(seed=1)
    grad.data = other
    assert sparse(grad)
    same(grad, plain)


def test_a_module_that_is_cast_casts_its_gradients():
    layer = nn.Linear(5, 4)
    layer.weight.grad = SubmatrixGrad(layer.weight, torch.ones(2, 2), Place(layer.weight, *(p[0] for p in FIRST)))
    wanted = layer.weight.grad.clone().double()
    layer.double()
    assert layer.weight.grad.dtype == torch.float64
    same(layer.weight.grad + 0, wanted)


# --- clipping and scaling ---------------------------------------------------------------------------------------------


def pair(values=(1.0, 2.0, 3.0, 4.0)):
    """Two parameters twice: with a SubmatrixGrad and an ordinary gradient, and with ordinary ones."""
    results = []
    for ours in (True, False):
        weight, bias = (nn.Parameter(p.data.float()) for p in parameters())
        place = Place(weight, *(p[0] for p in FIRST))
        grad = SubmatrixGrad(weight, torch.tensor(values).view(2, 2), place)
        weight.grad = grad if ours else grad.clone()
        bias.grad = torch.full((4,), 5.0)
        results.append([weight, bias])
    return results


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_clip_grad_norm(order, foreach):
    ours, theirs = pair()
    for limit in (1000.0, 1.0):
        mine = nn.utils.clip_grad_norm_(ours, limit, order, foreach=foreach)
        same(mine, nn.utils.clip_grad_norm_(theirs, limit, order, foreach=foreach))
        assert sparse(ours[0].grad)
    for a, b in zip(ours, theirs, strict=True):
        same(a.grad.clone(), b.grad)


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_clipping_what_is_not_finite(bad, foreach):
    ours, theirs = pair((1.0, bad, 2.0, 3.0))
    norms = [nn.utils.clip_grad_norm_(group, 1.0, foreach=foreach) for group in (ours, theirs)]
    same(*norms)
    for a, b in zip(ours, theirs, strict=True):
        same(a.grad, b.grad)
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(pair((1.0, bad, 2.0, 3.0))[0], 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize("foreach", [None, False, True])
def test_clip_grad_value(foreach):
    ours, theirs = pair()
    for group in (ours, theirs):
        nn.utils.clip_grad_value_(group, 2.5, foreach=foreach)
    for a, b in zip(ours, theirs, strict=True):
        same(a.grad, b.grad)


@pytest.mark.parametrize("bad", [None, math.inf, math.nan])
def test_grad_scaler(bad):
    results = []
    for group in pair((1.0, 2.0, 3.0, 4.0 if bad is None else bad)):
        scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=8.0), torch.optim.SGD(group, lr=0.1)
        scaler.scale(torch.zeros((), requires_grad=True))  # which makes its scale
        before = [parameter.detach().clone() for parameter in group]
        grad = group[0].grad
        scaler.unscale_(optimizer)
        assert group[0].grad is grad
        if isinstance(grad, SubmatrixGrad):
            assert sparse(grad)
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before[0], group[0]) is (bad is not None)
        results.append(([p.detach() for p in group], scaler.get_scale()))
    assert results[0][1] == results[1][1] == (8.0 if bad is None else 4.0)
    same(results[0][0], results[1][0])


@pytest.mark.parametrize("form", ["matrix", "vector"])
def test_a_block_of_the_wrong_shape_is_refused(form):
    parameter, grad, _ = make(form)
    wrong = SubmatrixGrad(parameter, torch.ones(7), grad.place)
    with pytest.raises(ValueError, match=r"The block must have shape"):
        wrong.dense()
