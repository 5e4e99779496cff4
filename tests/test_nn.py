"""The laws that layers obey, one test a law, on every row of `cases.py` that it applies to."""

import copy
import inspect
import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import APART, CASES

import thinned
from thinned import nn
from thinned._errors import KindError, RangeError
from thinned.masks import rate

pytestmark = pytest.mark.device
every_layer = pytest.mark.parametrize("case", CASES, ids=str)
computing = pytest.mark.parametrize("case", [case for case in CASES if not case.tokens], ids=str)
dropping = pytest.mark.parametrize("case", [case for case in CASES if case.drops], ids=str)
with_p = pytest.mark.parametrize("case", [case for case in CASES if case.p is not None], ids=str)
with_inplace = pytest.mark.parametrize("case", [case for case in CASES if case.inplace], ids=str)
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


# --- what every layer does --------------------------------------------------------------------------------------------


@computing
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtype_and_layout(case, dtype):
    x, layer = case.input(dtype=dtype), case.make()
    y = layer(x)
    assert y.dtype == dtype
    assert y.shape == layer.eval()(x).shape or y.shape[1] < x.shape[1]  # fewer patches in training
    assert y.shape != x.shape or y.stride() == x.stride()
    assert y.isfinite().all()


@every_layer
def test_eval_is_the_documented_map(case):
    x, layer = case.input(), case.make().eval()
    state = torch.get_rng_state()
    y = layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    if case.evaluated is None:
        assert y is x
    else:
        torch.testing.assert_close(y, case.evaluated(x), rtol=0, atol=0)


@pytest.mark.parametrize("case", [case for case in CASES if not case.tokens and case.spread() < math.inf], ids=str)
def test_mean_is_kept(case):
    """The mean over many masks of the output for ones is one, within 5 standard deviations of that mean."""
    layer, x, calls = case.make(), torch.ones(case.shape, dtype=torch.float64), 50
    torch.manual_seed(11)
    mean = sum(float(layer(x).mean()) for _ in range(calls)) / calls
    kept = 1.0 if case.evaluated is None else float(case.evaluated(x).mean())
    assert abs(mean - kept) <= 5 * case.spread() / math.sqrt(calls) + 1e-12


@computing
def test_backward_has_the_mask_of_forward(case):
    """With its randomness fixed, each layer is affine: the map of differences must be the adjoint of the gradient's."""
    x, layer, generator = case.input(), case.make(), torch.Generator().manual_seed(5)
    step = torch.randn(case.shape, generator=generator, dtype=torch.float64)
    moved = after(3, lambda: layer(x + step)) - after(3, lambda: layer(x))
    leaf = x.clone().requires_grad_()
    y = after(3, lambda: layer(leaf))
    slope = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(y, leaf, slope)
    torch.testing.assert_close((gradient * step).sum(), (slope * moved).sum(), rtol=1e-9, atol=1e-9)
    tangent = after(3, lambda: torch.func.jvp(layer, (x,), (step,))[1])
    assert tangent.shape == moved.shape


@every_layer
def test_randomness_is_the_generators(case):
    x, layer = case.input(), case.make()
    first = after(3, lambda: layer(x))
    assert torch.equal(first, after(3, lambda: layer(x)))
    if case.telling:
        assert not torch.equal(first, layer(x))
        assert not torch.equal(first, after(4, lambda: layer(x)))
    if case.function is not None:
        assert torch.equal(first, after(3, lambda: case.call(x)))


@every_layer
def test_keys(case):
    """Another place or step is another mask; the same is the same, also when a batch comes in two halves."""
    x = case.input()
    model = torch.nn.ModuleList([case.make(), case.make()])
    twin = copy.deepcopy(model)
    for layers in (model, twin):
        thinned.keyed(layers, seed=1, step=2)
    first, second = model[0](x), model[1](x)
    assert torch.equal(first, twin[0](x))
    if not case.telling:
        return
    assert not torch.equal(first, second)
    assert not torch.equal(first, thinned.keyed(model, seed=1, step=3)[0](x))
    if case.splits:
        rows = x.shape[0]
        part = thinned.keyed(model, seed=1, step=2, batch=(rows // 2, rows, rows))[0](x[rows // 2 :])
        torch.testing.assert_close(part, first[rows // 2 :], rtol=1e-12, atol=1e-12)


@computing
def test_layouts(case):
    """The mask follows the logical index: strides and memory formats change nothing."""
    layer, x = case.make(), case.input()
    want = after(3, lambda: layer(x))
    turned = x.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(after(3, lambda: layer(turned)), want, rtol=1e-12, atol=1e-12)
    wide = torch.stack([x, x], dim=-1)[..., 0]
    torch.testing.assert_close(after(3, lambda: layer(wide)), want, rtol=1e-12, atol=1e-12)
    if x.dim() == 4:
        last = x.to(memory_format=torch.channels_last)
        y = after(3, lambda: layer(last))
        torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
        assert y.is_contiguous(memory_format=torch.channels_last)


@computing
def test_empty_batch(case):
    x = torch.ones(0, *case.shape[1:])
    y = case.make()(x)
    assert y.shape[0] == 0


@computing
def test_no_meta_memory(case):
    y = case.make()(torch.empty(case.shape, device="meta"))
    assert y.is_meta
    assert y.shape == case.make()(case.input()).shape


@every_layer
def test_compiled(case):
    torch._dynamo.reset()
    x, layer = case.input(), case.make()
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    got, want = after(3, lambda: fast(x)), after(3, lambda: layer(x))
    if case.drops:
        assert torch.equal(got, want)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch._dynamo.reset()


@computing
def test_autocast(case):
    x, layer = case.input(dtype=torch.bfloat16), case.make()
    with torch.autocast("cpu", torch.bfloat16):
        inside = after(3, lambda: layer(x))
    assert inside.dtype == torch.bfloat16
    torch.testing.assert_close(inside, after(3, lambda: layer(x)))


def test_exported_to_onnx(tmp_path):
    """In eval mode, run by onnxruntime: each layer is its documented map. One program for all, which is quicker."""
    onnxruntime = pytest.importorskip("onnxruntime")

    class All(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([case.make() for case in CASES])

        def forward(self, *inputs):
            return [layer(x) + 0 for layer, x in zip(self.layers, inputs, strict=True)]

    model = All().eval()
    inputs = tuple(case.input() if case.tokens else case.input(dtype=torch.float32) for case in CASES)
    file = tmp_path / "layers.onnx"
    torch.onnx.export(model, inputs, dynamo=True, verbose=False).save(str(file))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feed = {place.name: x.numpy() for place, x in zip(session.get_inputs(), inputs, strict=True)}
    for case, got, want in zip(CASES, session.run(None, feed), model(*inputs), strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-6, err_msg=str(case))


# --- what a layer that drops returns ----------------------------------------------------------------------------------


@dropping
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_shape_dtype_and_values(case, dtype):
    x = case.input(dtype=dtype)
    y = case.make(0.3)(x)
    assert (y.shape, y.dtype, y.stride()) == (x.shape, x.dtype, x.stride())
    kept = y != 0
    wide = torch.complex128 if dtype.is_complex else torch.float64
    torch.testing.assert_close(y[kept], (x.to(wide) * rate(0.3).scale).to(dtype)[kept])
    assert 0 < kept.sum() < kept.numel()


@dropping
def test_decisions_are_shared(case):
    kept = case.make()(case.input()) != 0
    one = kept[tuple(slice(0, 1) if axis in case.shared else slice(None) for axis in range(kept.dim()))]
    assert torch.equal(kept, one.expand_as(kept))
    assert 0 < one.sum() < one.numel()


@dropping
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_eval_and_p_0_return_the_input(case, p):
    x, layer = case.input(), case.make(p, **({"inplace": True} if case.inplace else {}))
    state = torch.get_rng_state()
    assert layer.eval()(x) is x
    if p == 0:
        assert layer.train()(x) is x
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.training == (p == 0)


@dropping
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_mean(case, p):
    """The kept decisions are binomial: within 5 standard deviations; the mean over masks is then the input."""
    layer, x, q = case.make(p), torch.ones(case.shape, dtype=torch.float64), rate(p).realised
    decisions = math.prod(size for axis, size in enumerate(case.shape) if axis not in case.shared)
    torch.manual_seed(11)
    calls = 50
    mean = sum(float(layer(x).mean()) for _ in range(calls)) / calls
    assert abs(mean - 1) <= 5 * math.sqrt(q / (1 - q) / (decisions * calls))


@dropping
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_gradient_mask_is_forward_mask(case, p):
    x = case.input().requires_grad_()
    y = case.make(p)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())
    assert torch.equal(x.grad != 0, y != 0)
    assert p < 1 or not x.grad.any()


@with_inplace
def test_in_place(case):
    x = case.input()
    want = after(3, lambda: case.make()(x))
    layer = case.make(inplace=True)
    assert after(3, lambda: layer(x)) is x
    assert torch.equal(x, want)


@pytest.mark.parametrize("case", [case for case in CASES if case.drops and case.inplace], ids=str)
def test_in_place_with_nothing_kept(case):
    x, layer = case.input(), case.make(1.0, inplace=True)
    assert layer(x) is x
    assert not x.any()


@dropping
@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers(case, p, dtype):
    x = torch.ones(case.shape, dtype=dtype)
    with pytest.raises(KindError, match=f"for dropout in training, but got dtype {dtype}"):
        case.make(p)(x)
    assert case.make(p).eval()(x) is x


# --- p ----------------------------------------------------------------------------------------------------------------

WRONG_P = [
    (1.5, RangeError, r"^`p` must be in \[0, 1\], but got p=1\.5\.$"),
    (-1e-9, RangeError, r"^`p` must be in \[0, 1\], but got p=-1e-09\.$"),
    (math.nan, RangeError, r"^`p` must be in \[0, 1\], but got p=nan\.$"),
    ("0.5", KindError, r"^`p` must be a number in \[0, 1\], but got p='0\.5' of type str\.$"),
    (None, KindError, r"^`p` must be a number in \[0, 1\], but got p=None of type NoneType\.$"),
    (True, KindError, r"^`p` must be a number in \[0, 1\], but got p=True of type bool\.$"),
]


@with_p
@pytest.mark.parametrize(("p", "kind", "message"), WRONG_P)
def test_wrong_p(case, p, kind, message):
    with pytest.raises(kind, match=message):
        case.make(p)
    layer = case.make(0.25)
    with pytest.raises(kind, match=message):
        layer.p = p
    assert layer.p == 0.25


@dropping
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


@with_p
def test_a_parameter_cannot_take_the_place_of_p(case):
    layer = case.make()
    with pytest.raises(KeyError, match="attribute 'p' already exists"):
        layer.p = torch.nn.Parameter(torch.tensor(0.5))
    assert layer.p == case.p
    assert "p" not in dict(layer.named_parameters())


@every_layer
def test_wrong_arguments(case):
    with pytest.raises(TypeError, match="unexpected keyword argument 'unheard'"):
        case.make(unheard=0.5)
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
    assert repr(case.make(0.25) if case.rates else case.make()) == f"{case.layer.__name__}({case.told})"


@every_layer
def test_state_dict(case):
    """It loads strictly into another such layer; one that takes torch's place has torch's, which is empty."""
    first, second = case.make(), case.make()
    second.load_state_dict(first.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert list(first.buffers()) == []
    if case.theirs:
        ours = torch.nn.Sequential(torch.nn.Linear(2, 2), first)
        theirs = torch.nn.Sequential(torch.nn.Linear(2, 2), case.theirs())
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict(), strict=True)
        assert torch.equal(ours[0].weight, theirs[0].weight)
        theirs.load_state_dict(ours.state_dict(), strict=True)


@every_layer
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy", "save"])
def test_copies(case, how):
    layer, x = case.make(0.35) if case.rates else case.make(), case.input()
    layer(x)  # a layer that has been used can be copied as well
    layer.eval()
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
    assert (type(twin), twin.training, repr(twin)) == (case.layer, False, repr(layer))
    assert torch.equal(after(1, lambda: twin.train()(x)), after(1, lambda: layer.train()(x)))
    if case.p is not None:
        assert twin.p == 0.35
        twin.p = 0.25
        assert layer.p == 0.35


@computing
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


@every_layer
def test_swapped_modules_by_functional_call(case):
    layer, x = case.make(), case.input()
    got = after(2, lambda: torch.func.functional_call(layer, dict(layer.named_parameters()), (x,)))
    assert torch.equal(got, after(2, lambda: layer(x)))


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
