"""The laws that every layer obeys, one test a law, on every row of `cases.py`."""

import copy
import inspect
import io
import math
import pickle
from pathlib import Path

import pytest
import torch
from cases import APART, CASES

import thinned
from thinned import nn
from thinned._errors import KindError, RangeError
from thinned.masks import rate

pytestmark = pytest.mark.device
every_layer = pytest.mark.parametrize("case", CASES, ids=str)
instead_of_torchs = pytest.mark.parametrize("case", [case for case in CASES if case.theirs], ids=str)


def after(seed, call):
    torch.manual_seed(seed)
    return call()


def without_a_row():
    public = {value for name in nn.__all__ if inspect.isclass(value := getattr(nn, name))}
    return public - {case.layer for case in CASES} - APART.keys()


def test_every_public_layer_has_a_row():
    assert without_a_row() == set()
    assert len(CASES) >= 4


@pytest.mark.parametrize(("layer", "file"), APART.items(), ids=str)
def test_a_layer_apart_is_tested(layer, file):
    assert f"nn.{layer.__name__}" in (Path(__file__).parent / file).read_text(encoding="utf-8")


def test_a_layer_without_a_row_is_found(monkeypatch):
    class Unheard(torch.nn.Module):
        pass

    monkeypatch.setattr(nn, "Unheard", Unheard, raising=False)
    monkeypatch.setattr(nn, "__all__", [*nn.__all__, "Unheard"])
    assert without_a_row() == {Unheard}


# --- what a layer returns ---------------------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_shape_dtype_and_values(case, dtype):
    x = case.input(dtype=dtype)
    y = case.make(0.3)(x)
    assert (y.shape, y.dtype, y.stride()) == (x.shape, x.dtype, x.stride())
    kept = y != 0
    wide = torch.complex128 if dtype.is_complex else torch.float64
    torch.testing.assert_close(y[kept], (x.to(wide) * rate(0.3).scale).to(dtype)[kept])
    assert 0 < kept.sum() < kept.numel()


@every_layer
def test_decisions_are_shared(case):
    kept = case.make()(case.input()) != 0
    one = kept[tuple(slice(0, 1) if axis in case.shared else slice(None) for axis in range(kept.dim()))]
    assert torch.equal(kept, one.expand_as(kept))
    assert 0 < one.sum() < one.numel()


@every_layer
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("inplace", [False, True])
def test_eval_returns_the_input(case, p, inplace):
    x, layer = case.input(), case.make(p, inplace=inplace)
    state = torch.get_rng_state()
    assert layer.eval()(x) is x
    if p == 0:
        assert layer.train()(x) is x
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.training == (p == 0)


@every_layer
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_mean(case, p):
    """The kept decisions are binomial: within 5 standard deviations; the mean over masks is then the input."""
    layer, x, q = case.make(p), torch.ones(case.shape, dtype=torch.float64), rate(p).realised
    decisions = math.prod(size for axis, size in enumerate(case.shape) if axis not in case.shared)
    torch.manual_seed(11)
    calls = 50
    mean = sum(float(layer(x).mean()) for _ in range(calls)) / calls
    assert abs(mean - 1) <= 5 * math.sqrt(q / (1 - q) / (decisions * calls))


@every_layer
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_gradient_mask_is_forward_mask(case, p):
    x = case.input().requires_grad_()
    y = case.make(p)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())
    assert torch.equal(x.grad != 0, y != 0)
    assert p < 1 or not x.grad.any()


@every_layer
def test_same_seed_same_output(case):
    x, layer = case.input(), case.make(0.4)
    first = after(3, lambda: layer(x))
    assert torch.equal(first, after(3, lambda: layer(x)))
    assert torch.equal(first, after(3, lambda: case.make(0.4)(x)))
    assert not torch.equal(first, layer(x))
    assert not torch.equal(first, after(4, lambda: layer(x)))
    assert torch.equal(first, after(3, lambda: case.function(x, 0.4, True, **case.options)))


@every_layer
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_in_place(case, p):
    x = case.input()
    want = after(3, lambda: case.make(p)(x))
    layer = case.make(p, inplace=True)
    assert after(3, lambda: layer(x)) is x
    assert torch.equal(x, want)


@every_layer
@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers(case, p, dtype):
    x = torch.ones(case.shape, dtype=dtype)
    with pytest.raises(KindError, match=f"for dropout in training, but got dtype {dtype}"):
        case.make(p)(x)
    assert case.make(p).eval()(x) is x


@every_layer
def test_meta(case):
    y = case.make()(torch.empty(case.shape, device="meta"))
    assert y.is_meta
    assert y.shape == case.shape


@every_layer
def test_compiled(case):
    torch._dynamo.reset()
    x, layer = case.input(), case.make(0.4)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(after(3, lambda: fast(x)), after(3, lambda: layer(x)))
    torch._dynamo.reset()


# --- p ----------------------------------------------------------------------------------------------------------------

WRONG_P = [
    (1.5, RangeError, r"^`p` must be in \[0, 1\], but got p=1\.5\.$"),
    (-1e-9, RangeError, r"^`p` must be in \[0, 1\], but got p=-1e-09\.$"),
    (math.nan, RangeError, r"^`p` must be in \[0, 1\], but got p=nan\.$"),
    ("0.5", KindError, r"^`p` must be a number in \[0, 1\], but got p='0\.5' of type str\.$"),
    (None, KindError, r"^`p` must be a number in \[0, 1\], but got p=None of type NoneType\.$"),
    (True, KindError, r"^`p` must be a number in \[0, 1\], but got p=True of type bool\.$"),
]


@every_layer
@pytest.mark.parametrize(("p", "kind", "message"), WRONG_P)
def test_wrong_p(case, p, kind, message):
    with pytest.raises(kind, match=message):
        case.make(p)
    layer = case.make(0.25)
    with pytest.raises(kind, match=message):
        layer.p = p
    assert layer.p == 0.25


@every_layer
def test_assigning_p_takes_effect(case):
    layer, x = case.make(0.1), case.input()
    layer.p = 1
    assert type(layer.p) is float
    assert not layer(x).any()
    layer.p = 0.0
    assert layer(x) is x
    layer.p = 0.7
    assert torch.equal(after(1, lambda: layer(x)), after(1, lambda: case.make(0.7)(x)))
    assert "p=0.7" in repr(layer)


@every_layer
def test_a_parameter_cannot_take_the_place_of_p(case):
    layer = case.make()
    with pytest.raises(KeyError, match="attribute 'p' already exists"):
        layer.p = torch.nn.Parameter(torch.tensor(0.5))
    assert layer.p == 0.5
    assert dict(layer.named_parameters()) == {}


@every_layer
def test_wrong_arguments(case):
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        case.layer(rate=0.5)
    with pytest.raises(TypeError, match="takes from 1 to 3 positional arguments but 4 were given"):
        case.layer(0.5, False, ())
    with pytest.raises(TypeError, match=r"forward\(\) takes 2 positional arguments but 3 were given"):
        case.make()(case.input(), 0.5)


# --- a module among modules -------------------------------------------------------------------------------------------


@instead_of_torchs
def test_takes_the_place_of_torchs(case):
    assert issubclass(case.layer, case.theirs)
    theirs, ours = (
        [(p.name, p.default, p.kind) for p in inspect.signature(kind).parameters.values()]
        for kind in (case.theirs, case.layer)
    )
    assert ours[: len(theirs)] == theirs
    assert {kind for _, _, kind in ours[len(theirs) :]} <= {inspect.Parameter.KEYWORD_ONLY}
    for arguments in [(), (0.25,), (0.25, True), (1,), (0,)]:
        ours, theirs = case.layer(*arguments), case.theirs(*arguments)
        assert (ours.p, ours.inplace, ours.training) == (theirs.p, theirs.inplace, theirs.training)
    assert repr(case.layer(0.25, True)) == repr(case.theirs(0.25, True))


@every_layer
def test_repr(case):
    options = {"inplace": False, **case.options}
    told = ", ".join(f"{name}={value}" for name, value in options.items())
    assert repr(case.make(0.25)) == f"{case.layer.__name__}(p=0.25, {told})"


@every_layer
def test_state_dict(case):
    """It is empty and loads strictly, both ways, from and into a model of torch's layers."""
    assert case.make().state_dict() == {}
    other = case.theirs or torch.nn.Dropout
    ours = torch.nn.Sequential(torch.nn.Linear(2, 2), case.make())
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 2), other())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(ours[0].weight, theirs[0].weight)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(case.make().buffers()) == []


@every_layer
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy", "save"])
def test_copies(case, how):
    layer = case.make(0.35, inplace=True).eval()
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(layer))
    elif how == "save":
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    else:
        twin = getattr(copy, how)(layer)
    assert twin is not layer
    assert (type(twin), twin.p, twin.inplace, twin.training) == (case.layer, 0.35, True, False)
    assert repr(twin) == repr(layer)
    twin.p = 0.5
    assert layer.p == 0.35
    x = case.input()
    want = after(1, lambda: case.make(0.5)(x))
    assert torch.equal(after(1, lambda: twin.train()(x)), want)


@every_layer
def test_utilities_of_torch(case):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), case.make(), torch.nn.Linear(4, 4))
    for layer in (model[0], model[2]):
        torch.nn.utils.parametrizations.weight_norm(layer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    vector = torch.nn.utils.parameters_to_vector(model.parameters())
    torch.nn.utils.vector_to_parameters(vector, model.parameters())
    assert model.to(torch.float64)[1] is model[1]
    assert model.half().train()[1].training
    assert not model.eval()[1].training
    assert list(model[1].children()) == []


@every_layer
def test_swapped_modules_by_functional_call(case):
    model = torch.nn.Sequential(case.make(0.4))
    x = case.input()
    assert torch.equal(
        after(2, lambda: torch.func.functional_call(model, {}, (x,))), after(2, lambda: case.make(0.4)(x))
    )


# --- axes of nn.Dropout -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, (1,), [1], -2])
def test_shared_axes(axes):
    layer, x = nn.Dropout(0.5, shared_axes=axes), torch.ones(30, 4, 5)
    assert isinstance(layer.shared_axes, tuple)
    want = after(1, lambda: thinned.dropout(x, 0.5, shared_axes=(1,)))
    assert torch.equal(after(1, lambda: layer(x)), want)


@pytest.mark.parametrize("axes", ["ab", 1.0, None, (0.5,)])
def test_wrong_shared_axes(axes):
    with pytest.raises(KindError, match="`shared_axes` must be a sequence of integers, but got shared_axes="):
        nn.Dropout(shared_axes=axes)


def test_shared_axes_that_the_input_has_not():
    with pytest.raises(RangeError, match=r"`shared_axes` must be in \[-2, 1\] for 2 axes, but got axis 2"):
        nn.Dropout(shared_axes=2)(torch.ones(3, 4))
