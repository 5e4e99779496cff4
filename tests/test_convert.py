"""`plan` and `convert`: which layers are swapped, what stays as it was, and what is refused for what reason."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import thinned
from thinned._errors import KindError, RangeError

PAIRS = {
    nn.Dropout: thinned.nn.Dropout,
    nn.Dropout1d: thinned.nn.Dropout1d,
    nn.Dropout2d: thinned.nn.Dropout2d,
    nn.Dropout3d: thinned.nn.Dropout3d,
    nn.AlphaDropout: thinned.nn.AlphaDropout,
    nn.FeatureAlphaDropout: thinned.nn.FeatureAlphaDropout,
}


class Block(nn.Module):
    def __init__(self, width, drop):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.3))
        self.drop = drop

    def forward(self, x):
        return self.drop(x + self.inner(x))


class Nothing(nn.Dropout):
    """A subclass that does something else."""

    def forward(self, input):
        return input


def network():
    torch.manual_seed(0)
    shared = nn.Dropout(0.2)
    blocks = nn.ModuleDict({"a": Block(16, shared), "b": Block(16, shared)})
    return nn.Sequential(nn.Linear(8, 16), blocks["a"], blocks["b"], nn.Dropout(0.5, inplace=True), nn.Linear(16, 1))


def types(model):
    return {path: type(module) for path, module in model.named_modules(remove_duplicate=False)}


def after(seed, call):
    torch.manual_seed(seed)
    return call()


# --- what is swapped --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_every_kind(kind, training):
    """As the root too: then the replacement is returned."""
    old = kind(0.25, inplace=True).train(training)
    new = thinned.convert(old)
    assert type(new) is PAIRS[kind]
    assert (new.p, new.inplace, new.training) == (0.25, True, training)
    assert type(old) is kind
    model = nn.Sequential(old)
    assert thinned.convert(model) is model
    assert type(model[0]) is PAIRS[kind]
    assert (model[0].p, model[0].inplace, model[0].training) == (0.25, True, training)


def test_nested_modules():
    model = network()
    before = types(model)
    assert thinned.convert(model) is model
    assert types(model) == {path: PAIRS.get(kind, kind) for path, kind in before.items()}
    assert [model[1].inner[2].p, model[1].drop.p, model[3].p] == [0.3, 0.2, 0.5]
    assert [model[3].inplace, model[1].drop.inplace] == [True, False]


def test_a_shared_layer_stays_one():
    model = thinned.convert(network())
    assert model[1].drop is model[2].drop
    assert model[1].inner[2] is not model[2].inner[2]


def test_a_shared_parent():
    inner = nn.Sequential(nn.Dropout(0.1))
    model = thinned.convert(nn.ModuleList([inner, inner, nn.Sequential(inner)]))
    assert model[0] is model[1] is model[2][0]
    assert type(model[0][0]) is thinned.nn.Dropout


def test_twice_is_once():
    model = thinned.convert(network())
    modules = list(model.modules())
    assert thinned.convert(model) is model
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    layer = thinned.nn.Dropout(0.5)
    assert thinned.convert(layer) is layer


def test_none_in_the_place_of_a_child():
    model = nn.Sequential(nn.Dropout(0.1))
    model.register_module("missing", None)
    assert type(thinned.convert(model)[0]) is thinned.nn.Dropout


@pytest.mark.parametrize(
    "model", [nn.Linear(2, 2), nn.Sequential(), nn.Sequential(Nothing(0.1))], ids=lambda m: type(m).__name__
)
def test_nothing_to_swap(model):
    before = types(model)
    assert thinned.convert(model) is model
    assert types(model) == before


# --- what stays -------------------------------------------------------------------------------------------------------


def test_parameters_and_names_stay():
    model = network()
    parameters, names = dict(model.named_parameters()), list(model.state_dict())
    thinned.convert(model)
    assert list(model.state_dict()) == names
    assert all(found is parameters[name] for name, found in model.named_parameters())
    model.load_state_dict(network().state_dict(), strict=True)


def test_eval_is_bit_identical():
    model = network().eval()
    x = torch.randn(9, 8)
    before = model(x)
    assert torch.equal(thinned.convert(model)(x), before)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_made_before_still_trains(kind):
    model = network()
    optimizer = kind(model.parameters(), lr=0.01)
    thinned.convert(model)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(64, 8, generator=generator)
    target = x[:, :1] * x[:, 1:2]
    torch.manual_seed(5)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    assert not torch.equal(model(x), model(x))  # it does drop


HOOKS = {
    "forward_pre": lambda m, note: m.register_forward_pre_hook(lambda *_: note()),
    "forward_pre with kwargs": lambda m, note: m.register_forward_pre_hook(lambda *_: note(), with_kwargs=True),
    "forward": lambda m, note: m.register_forward_hook(lambda *_: note()),
    "forward with kwargs": lambda m, note: m.register_forward_hook(lambda *_: note(), with_kwargs=True),
    "forward always": lambda m, note: m.register_forward_hook(lambda *_: note(), always_call=True),
    "backward_pre": lambda m, note: m.register_full_backward_pre_hook(lambda *_: note()),
    "backward": lambda m, note: m.register_full_backward_hook(lambda *_: note()),
    "state_dict_pre": lambda m, note: m.register_state_dict_pre_hook(lambda *_: note()),
    "state_dict_post": lambda m, note: m.register_state_dict_post_hook(lambda *_: note()),
    "load_state_dict_pre": lambda m, note: m.register_load_state_dict_pre_hook(lambda *_: note()),
    "load_state_dict_post": lambda m, note: m.register_load_state_dict_post_hook(lambda *_: note()),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("root", [True, False])
def test_hooks_fire_and_their_handles_work(name, root):
    fired = []
    old = nn.Dropout(0.5)
    handle = HOOKS[name](old, lambda: fired.append(name))
    model = thinned.convert(old if root else nn.Sequential(old))
    del old

    def use():
        model(torch.ones(4, requires_grad=True) * 1).sum().backward()
        model.load_state_dict(model.state_dict())

    use()
    assert fired == [name]
    handle.remove()
    use()
    assert fired == [name]


@pytest.mark.parametrize("name", ["forward", "forward_pre", "load_state_dict_pre", "load_state_dict_post"])
def test_hooks_are_given_the_new_layer(name):
    given = []
    old = nn.Dropout(0.5)
    getattr(old, f"register_{name}_hook")(lambda module, *_: given.append(module))
    model = thinned.convert(nn.Sequential(old))
    model(torch.ones(4))
    model.load_state_dict({})
    assert given == [model[0]]


def test_an_always_called_hook_is_called_when_forward_fails():
    fired = []
    old = nn.Dropout(0.5)
    old.register_forward_hook(lambda *_: fired.append(1), always_call=True)
    model = thinned.convert(nn.Sequential(old))
    with pytest.raises(KindError, match="for dropout in training"):
        model(torch.ones(4, dtype=torch.int64))
    assert fired == [1]


def test_what_else_is_on_a_layer_stays():
    """Attributes, buffers and children that somebody has put there; the names in the state dict depend on them."""
    model = nn.Sequential(nn.Dropout(0.5))
    model[0].note = ["mine"]
    model[0].register_buffer("count", torch.tensor(3))
    model[0].register_buffer("passing", torch.tensor(4), persistent=False)
    model[0].add_module("probe", nn.Linear(2, 2))
    note, names, weight = model[0].note, list(model.state_dict()), model[0].probe.weight
    thinned.convert(model)
    assert model[0].note is note
    assert list(model.state_dict()) == names == ["0.count", "0.probe.weight", "0.probe.bias"]
    assert model[0].probe.weight is weight
    assert model[0].p == 0.5
    assert "p" not in vars(model[0])


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_of_a_converted_model(how):
    model = thinned.convert(network())
    twin = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert types(twin) == types(model)
    x = torch.randn(5, 8)
    assert torch.equal(after(1, lambda: twin(x)), after(1, lambda: model(x)))
    assert twin[1].drop is twin[2].drop
    twin[3].p = 0.9
    assert model[3].p == 0.5


def test_a_converted_model_compiles():
    torch._dynamo.reset()
    model = thinned.convert(network())
    x = torch.randn(5, 8)
    fast = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(after(1, lambda: fast(x)), after(1, lambda: model(x)))
    torch._dynamo.reset()


# --- what is left alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Nothing(0.2), "no rule for this type of layer"),
        (nn.MultiheadAttention(4, 2, dropout=0.2), "the dropout is inside torch's own function"),
        (nn.LSTM(4, 4, 2, dropout=0.2), "the dropout is inside torch's own function"),
        (nn.GRU(4, 4, 2, dropout=0.2), "the dropout is inside torch's own function"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kept_with_a_reason(layer, reason):
    model = nn.Sequential(nn.Linear(4, 4), layer)
    (site,) = thinned.plan(model)
    assert (site.path, site.kind, site.p, site.action, site.reason) == ("1", type(layer).__name__, 0.2, "keep", reason)
    assert thinned.convert(model)[1] is layer


@pytest.mark.parametrize("layer", [nn.MultiheadAttention(4, 2), nn.LSTM(4, 4, 2)], ids=lambda m: type(m).__name__)
def test_what_drops_nothing_is_no_site(layer):
    assert thinned.plan(layer) == []


def test_a_transformer_layer():
    """Its own dropouts are swapped; the one in the attention is reported."""
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    x = torch.randn(3, 5, 8)
    before = model.eval()(x)
    sites = {site.path: site.action for site in thinned.plan(model)}
    assert sites == {"self_attn": "keep", "dropout": "swap", "dropout1": "swap", "dropout2": "swap"}
    thinned.convert(model)
    assert torch.equal(model(x), before)
    assert type(model.dropout1) is thinned.nn.Dropout
    model.train()(x).sum().backward()


@pytest.mark.parametrize("patch", ["forward", "compile"])
def test_a_patched_layer_is_left_alone(patch):
    """What was set on the instance would go on calling the old layer."""
    layer = nn.Dropout(0.2)
    if patch == "forward":
        layer.forward = lambda x: x
    else:
        layer.compile()
    model = nn.Sequential(layer)
    (site,) = thinned.plan(model)
    assert (site.action, site.reason) == ("keep", "the forward of this instance was replaced or compiled")
    assert thinned.convert(model)[0] is layer
    assert thinned.convert(layer) is layer


@pytest.mark.parametrize(
    ("p", "kind", "message"),
    [
        (math.nan, RangeError, r"`p` must be in \[0, 1\], but got p=nan"),
        (1.5, RangeError, r"`p` must be in \[0, 1\], but got p=1\.5"),
        (True, KindError, r"`p` must be a number in \[0, 1\], but got p=True of type bool"),
    ],
)
@pytest.mark.parametrize("act", [thinned.plan, thinned.convert])
def test_a_wrong_p_is_refused_and_nothing_changed(p, kind, message, act):
    """torch checks neither an assigned `p` nor, at construction, a nan."""
    model = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2))
    model[1].p = p
    given = []
    model[0].register_load_state_dict_pre_hook(lambda module, *_: given.append(module))
    before = list(model)
    with pytest.raises(kind, match=message):
        act(model)
    assert list(model) == before
    model.load_state_dict({})
    assert given == [model[0]]


@pytest.mark.parametrize("model", [None, [nn.Dropout()], nn.Dropout, "model"])
@pytest.mark.parametrize("act", [thinned.plan, thinned.convert])
def test_not_a_module(model, act):
    with pytest.raises(KindError, match=rf"^`model` must be a torch\.nn\.Module, but got {type(model).__name__}\.$"):
        act(model)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing():
    model = network()
    modules, state = list(model.modules()), torch.get_rng_state()
    hooks = [model[3].register_forward_hook(lambda *_: None)]
    thinned.plan(model)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    assert types(model)["3"] is nn.Dropout
    assert list(model[3]._forward_hooks) == [handle.id for handle in hooks]
    assert torch.equal(torch.get_rng_state(), state)


def test_the_plan_is_what_happens():
    model = nn.Sequential(network(), Nothing(0.5), thinned.nn.Dropout(0.5), nn.LSTM(4, 4, 2, dropout=0.1))
    before = dict(model.named_modules(remove_duplicate=False))
    plan = thinned.plan(model)
    thinned.convert(model)
    changed = {path for path, module in model.named_modules(remove_duplicate=False) if before[path] is not module}
    assert changed == {site.path for site in plan if site.action == "swap"}
    assert {site.action for site in thinned.plan(model)} == {"keep", "done"}


def test_text_of_a_plan():
    model = nn.Sequential(
        nn.Dropout(0.1), Block(4, thinned.nn.Dropout2d(0.25)), nn.LSTM(4, 4, 2, dropout=1 / 3), Nothing(1)
    )
    assert str(thinned.plan(model)).splitlines() == [
        "site       layer      p         action  why",
        "0          Dropout    0.1       swap    same distribution, no stored mask",
        "1.inner.2  Dropout    0.3       swap    same distribution, no stored mask",
        "1.drop     Dropout2d  0.25      done    already a layer of thinned",
        "2          LSTM       0.333333  keep    the dropout is inside torch's own function",
        "3          Nothing    1         keep    no rule for this type of layer",
    ]
    assert str(thinned.plan(nn.Dropout())).splitlines()[1].startswith("(model)  Dropout")


def test_text_of_an_empty_plan():
    assert str(thinned.plan(nn.Linear(1, 1))) == (
        "No dropout layers. (Calls of torch.nn.functional.dropout inside a forward are not visible here.)"
    )
