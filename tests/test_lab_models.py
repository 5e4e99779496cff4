"""The networks of the laboratory: every dropout by name, every initialisation, every kind of model learns."""

import math

import numpy as np
import pytest
import torch
from laboratory import DATA
from torch import nn

import thinned
from thinned._errors import KindError, RangeError
from thinned.lab import machine, models, network
from thinned.lab.dropouts import KINDS, DropoutSettings
from thinned.lab.examples import Bags, Examples, Shape
from thinned.lab.initialise import initialise
from thinned.lab.models import build
from thinned.lab.network import ModelSettings
from thinned.lab.recipe import Recipe
from thinned.lab.sources import parts
from thinned.lab.text import Block, ZoneoutLSTM
from thinned.lab.train import Trainer, measure

FEATURES = Shape((6,), 3, examples=40)
IMAGES = Shape((1, 8, 8), 3, examples=40)
TEXT = Shape((7,), 5, examples=40, text=True)
SPARSE = Shape((20,), 3, examples=40)
MODELS = {
    "mlp": (ModelSettings(hidden=(16,)), FEATURES),
    "convnet": (ModelSettings(kind="convnet", channels=(4,), hidden=(8,)), IMAGES),
    "vit": (ModelSettings(kind="vit", width=16, layers=1, heads=2), IMAGES),
    "sparse": (ModelSettings(kind="sparse"), SPARSE),
    "transformer": (ModelSettings(kind="transformer", width=16, layers=1, heads=2), TEXT),
    "lstm": (ModelSettings(kind="lstm", width=8, hidden=(16,)), TEXT),
}


@pytest.fixture(autouse=True)
def _one_thread():
    with machine.threads(1):  # networks so small gain nothing by more
        yield


def examples(shape, count=40):
    """Rules that are easy to learn: the class is the largest of three features, the next word is the word plus 1."""
    random = np.random.default_rng(0)
    if shape.text:
        ids = torch.from_numpy((random.integers(0, shape.outputs, (count, 1)) + np.arange(8)) % shape.outputs)
        return Examples(ids[:, :7], ids[:, 1:])
    if shape is SPARSE:
        lengths = random.integers(1, 4, count)
        targets = random.integers(0, 3, count)
        ids = torch.from_numpy(np.repeat(targets, lengths) + 3 * random.integers(0, 6, lengths.sum()))
        return Examples(Bags(ids, torch.from_numpy(np.cumsum(lengths) - lengths)), torch.from_numpy(targets))
    inputs = torch.from_numpy(random.random((count, *shape.inputs), np.float32))
    targets = torch.from_numpy(random.integers(0, 3, count))
    if len(shape.inputs) == 3:
        inputs[torch.arange(count), 0, 2 * targets] += 1
    else:
        inputs[torch.arange(count), targets] += 1
    return Examples(inputs, targets)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns(name):
    settings, shape = MODELS[name]
    recipe = Recipe(epochs=25, batch_size=8, optimizer="adam", lr=0.01)
    trainer = Trainer(lambda: build(settings, DropoutSettings(p=0.1), shape), recipe, seed=0)
    data = examples(shape)
    before = measure(trainer.model, data)
    for _ in range(25):
        trainer.epoch(data)
    after = measure(trainer.model, data)
    assert after.loss < before.loss / 2
    assert after.error < 0.25 < before.error


PLACES = {  # for each kind of dropout: model, whether on its input, settings
    **dict.fromkeys(["none", "torch", "standard", "batchwise", "alpha", "gaussian", "gaussian_noise"], ("mlp", False)),
    **dict.fromkeys(["replacement", "variational", "dropconnect", "sparse_variational", "concrete"], ("mlp", False)),
    **dict.fromkeys(["spatial", "feature_alpha", "block"], ("convnet", False)),
    "cutout": ("convnet", True),
    **dict.fromkeys(["step", "locked", "step_block"], ("transformer", False)),
    "patch": ("vit", True),
    **dict.fromkeys(["word", "embedding"], ("lstm", True)),
    **dict.fromkeys(["weight_drop", "zoneout"], ("lstm", False)),
    **dict.fromkeys(["sparse_replacement", "sparse_item_replacement"], ("sparse", True)),
}
OPTIONS = {
    "block": {"block_size": 3},
    "step_block": {"block_size": 3},
    "cutout": {"size": 4},
    "gaussian": {"shared_axes": [0]},
}


def placed(kind):
    name, on_input = PLACES[kind]
    settings, shape = MODELS[name]
    if on_input:
        dropped = DropoutSettings(p=0.0, input_kind=kind, input_p=0.3, input_options=OPTIONS.get(kind, {}))
    else:
        every = (kind, "standard") if name == "convnet" else kind
        options = OPTIONS.get(kind, {}) if name != "convnet" else {}
        dropped = DropoutSettings(kind=every, p=0.3, options=options)
    if kind == "block":  # its options do not go to the dense layer
        settings, dropped = (
            ModelSettings(kind="convnet", channels=(4,), hidden=()),
            DropoutSettings(kind=kind, p=0.3, options=OPTIONS[kind]),
        )
    return settings, dropped, shape


def test_patches_that_are_dropped_are_not_computed():
    """Half of the four patches of an image go through the blocks while training, all of them otherwise."""
    dropped = DropoutSettings("none", input_kind="patch", input_p=0.5)
    model = build(ModelSettings(kind="vit", width=8, layers=1, heads=2), dropped, IMAGES)
    seen = []
    model.blocks[0].register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    model.train()(torch.zeros(3, 1, 8, 8))
    model.eval()(torch.zeros(3, 1, 8, 8))
    assert seen == [(3, 2, 8), (3, 4, 8)]


def test_every_kind_has_a_place_here():
    assert set(PLACES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_dropout_by_name(kind):
    """It drops while training, under keys only by them, and not in eval mode; and training goes on."""
    settings, dropped, shape = placed(kind)
    trainer = Trainer(lambda: build(settings, dropped, shape), Recipe(epochs=1, batch_size=40), seed=0)
    data, model = examples(shape), trainer.model
    with torch.no_grad():
        outputs = []
        for step in (1, 1, 2):
            torch.manual_seed(step)
            outputs.append(thinned.keyed(model.train(), seed=3, step=step)(data.inputs))
        model.eval()
        still = [model(data.inputs) for _ in range(2)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2]) == (kind == "none")
    assert torch.equal(*still)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer.epoch(data)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert trainer.finite()


def test_a_rate_and_a_kind_for_each_layer():
    model = build(
        ModelSettings(hidden=(5, 4)), DropoutSettings(("gaussian", "alpha"), (0.1, 0.2), input_p=0.3), FEATURES
    )
    found = [(type(layer).__name__, layer.p) for layer in model if isinstance(layer, thinned.keys.Site)]
    assert found == [("Dropout", 0.3), ("GaussianDropout", 0.1), ("AlphaDropout", 0.2)]


def test_dropout_of_weights_acts_on_the_layer_that_follows():
    model = build(ModelSettings(hidden=(5, 4)), DropoutSettings(("dropconnect", "none"), 0.2), FEATURES)
    names = [type(layer).__name__ for layer in model]
    assert names == ["Identity", "Linear", "ReLU", "Identity", "DropConnectLinear", "ReLU", "Identity", "Linear"]


def test_a_transformer_does_not_look_ahead_and_drops_by_depth():
    settings = ModelSettings(kind="transformer", width=16, layers=3, heads=2)
    model = build(settings, DropoutSettings(p=0.1, attention_p=0.2, path_p=0.3), TEXT).eval()
    ids = torch.randint(0, 5, (2, 7))
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 5
    ours, theirs = model(ids), model(changed)
    torch.testing.assert_close(ours[:, :4], theirs[:, :4], rtol=0, atol=0)
    assert not torch.equal(ours[:, 4:], theirs[:, 4:])
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    assert [block.paths[0].p for block in blocks] == pytest.approx([0.1, 0.2, 0.3])
    assert {block.attention.p for block in blocks} == {0.2}


def test_zoneout_is_torchs_lstm_where_nothing_is_kept():
    layer = ZoneoutLSTM(3, 4, lambda: thinned.nn.Zoneout(0.0))
    torchs = nn.LSTM(3, 4, batch_first=True)
    for name, parameter in layer.cell.named_parameters():
        getattr(torchs, f"{name}_l0").data.copy_(parameter.data)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(layer(x)[0], torchs(x)[0])


def test_sparse_is_a_linear_layer_on_indicators():
    model = build(ModelSettings(kind="sparse"), DropoutSettings(), SPARSE)
    bags = Bags(torch.tensor([3, 5, 5, 7]), torch.tensor([0, 2, 2]), torch.tensor([1.0, 2.0, 0.5, 1.0]))
    dense = torch.zeros(3, 20)
    dense[0, 3], dense[0, 5], dense[2, 5], dense[2, 7] = 1.0, 2.0, 0.5, 1.0
    torch.testing.assert_close(model(bags), dense @ model.bag.weight + model.bias)
    dropped = DropoutSettings(input_kind="sparse_replacement", input_p=0.99)
    model = build(ModelSettings(kind="sparse"), dropped, SPARSE)
    with pytest.raises(RangeError, match="`input_kind` must not be sparse_replacement for features that have values"):
        model(bags)


@pytest.mark.parametrize(("name", "check"), [
    ("glorot", lambda w: math.isclose(w.abs().max(), math.sqrt(2) * math.sqrt(6 / 300), rel_tol=0.01)),
    ("he", lambda w: math.isclose(w.std(), math.sqrt(2 / 100), rel_tol=0.03)),
    ("orthogonal", lambda w: torch.allclose(w.T @ w, 2 * torch.eye(100), atol=1e-4)),
    ("uniform", lambda w: math.isclose(w.abs().max(), 0.05, rel_tol=0.01)),
    ("normal", lambda w: math.isclose(w.std(), 0.01, rel_tol=0.03)),
    ("zero", lambda w: not w.any()),
])  # fmt: skip
def test_initialisation(name, check):
    """20,000 weights: the relative error of a standard deviation is 0.5 %, 3 % is six of them."""
    torch.manual_seed(0)
    layer = nn.Linear(100, 200)
    initialise(layer, name)
    assert check(layer.weight.detach())
    assert not layer.bias.any()


def test_initialisation_leaves_torchs_alone():
    torch.manual_seed(0)
    plain = nn.Linear(4, 3)
    torch.manual_seed(0)
    model = build(ModelSettings(hidden=()), DropoutSettings(), Shape((4,), 3))
    assert torch.equal(model[-1].weight, plain.weight)
    table = nn.Embedding(5, 3)
    before = table.weight.clone()
    initialise(table, "he")
    assert torch.equal(table.weight, before)
    initialise(table, "zero")
    assert not table.weight.any()


@pytest.mark.parametrize("name", network.ACTIVATIONS)
def test_activations(name):
    model = build(ModelSettings(hidden=(4,), activation=name, initialisation="glorot"), DropoutSettings(), FEATURES)
    assert type(model[2]) is network.ACTIVATIONS[name]
    assert model(torch.ones(2, 6)).isfinite().all()


@pytest.mark.parametrize(
    ("model", "dropped", "shape", "error", "message"),
    [
        (
            {},
            {"kind": "block"},
            FEATURES,
            RangeError,
            r"^The dropout of a hidden layer must be one of none, torch",
        ),
        (
            {},
            {"input_kind": "word", "input_p": 0.1},
            FEATURES,
            RangeError,
            r"^The dropout of the input must be one of ",
        ),
        (
            {},
            {"options": {"size": 3}},
            FEATURES,
            KindError,
            r"^The options of the dropout 'standard' must be its argum",
        ),
        ({}, {"p": (0.1, 0.2, 0.3)}, FEATURES, RangeError, r"^`p` must be one for all hidden layers or 2, .* got 3\.$"),
        ({}, {"kind": "variational", "p": 0.7}, FEATURES, RangeError, r"^`p` must be in \(0, 0\.5\] for variational"),
        (
            {"kind": "convnet"},
            {},
            FEATURES,
            RangeError,
            r"^A convnet must have images, but got examples of shape \(6,\)",
        ),
        (
            {"kind": "convnet", "channels": (1,) * 4},
            {},
            IMAGES,
            RangeError,
            r"^`channels` must be so few that each can",
        ),
        ({"kind": "convnet"}, {"kind": "batchwise"}, IMAGES, RangeError, r"^`dropout\.kind` must not be batchwise for"),
        ({"kind": "vit"}, {}, FEATURES, RangeError, r"^A vit must have images, but got examples of shape \(6,\)\.$"),
        (
            {"kind": "vit", "patch": 3},
            {},
            IMAGES,
            RangeError,
            r"^`patch` must divide the sides of the images, but got patch",
        ),
        ({"kind": "vit"}, {"kind": "patch"}, IMAGES, RangeError, r"^The dropout of a block must be one of"),
        (
            {"kind": "vit"},
            {"input_kind": "word", "input_p": 0.1},
            IMAGES,
            RangeError,
            r"^The dropout of the input must be",
        ),
        (
            {},
            {"attention_p": 0.1},
            FEATURES,
            RangeError,
            r"^`attention_p` must be 0 except for vit and transformer, but ",
        ),
        ({"kind": "lstm"}, {"path_p": 0.1}, TEXT, RangeError, r"^`path_p` must be 0 .* path_p=0\.1 for kind='lstm'\.$"),
        (
            {"kind": "vit"},
            {"recurrent_p": 0.1},
            IMAGES,
            RangeError,
            r"^`recurrent_p` must be 0 except for lstm, but ",
        ),
        ({"kind": "lstm"}, {}, FEATURES, RangeError, r"^The model lstm must have text, but got examples of shape \(6,"),
        ({"kind": "lstm"}, {"kind": "dropconnect"}, TEXT, RangeError, r"^The dropout of a hidden layer must be one of"),
    ],
)
def test_what_does_not_go_together(model, dropped, shape, error, message):
    with pytest.raises(error, match=message):
        build(ModelSettings(**model), DropoutSettings(**dropped), shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "mpl"},
            r"^`model\.kind` must be one of mlp, convnet, vit, sparse, transformer, lstm, but got kind='mpl'\.$",
        ),
        ({"activation": "x"}, r"^`model\.activation` must be one of relu, .* but got activation='x'\.$"),
        ({"hidden": (0,)}, r"^`hidden` must be at least 1, but got hidden=0\.$"),
        ({"hidden": (2**25,)}, r"^`hidden` must be at most 16777216 units a layer, but got hidden=33554432\.$"),
        ({"kind": "transformer", "heads": 3}, r"^A transformer must have a `width` that its `heads` divide"),
        (
            {"kind": "vit", "hidden": (8,)},
            r"^`hidden` must be left out except for mlp, convnet, sparse, lstm, but got hidden=\[8\] for kind='vit'\.$",
        ),
        (
            {"kind": "transformer", "norm": "batch"},
            r"^`norm` must be left out except for mlp, convnet, sparse, but got norm=batch for kind='transformer'\.$",
        ),
        ({"kind": "lstm", "activation": "tanh"}, r"^`activation` must be left out except for .* for kind='lstm'\.$"),
        ({"channels": (8,)}, r"^`channels` must be left out except for convnet, but got channels=\[8\] for kind='mlp'"),
        ({"kind": "vit", "patch": 0}, r"^`patch` must be at least 1, but got patch=0\.$"),
        ({"width": 2**25}, r"^`width` must be at most 16777216 units a layer, but got width=33554432\.$"),
        ({"kind": "lstm", "hidden": ()}, r"^`hidden` must be at least one width for an LSTM, but got hidden=\[\]\.$"),
        ({"init_scale": 0.1}, r"^`init_scale` must be left out except for uniform and normal, but got 'torch'\.$"),
    ],
)
def test_wrong_models(change, message):
    with pytest.raises(RangeError, match=message):
        ModelSettings(**change)


def test_each_network_says_what_it_takes():
    assert list(network.TAKEN) == list(network.HIDDEN) == list(models.MAKERS)


def test_bags_are_picked_as_lists_would_be():
    random = np.random.default_rng(0)
    lists = [random.integers(0, 9, length).tolist() for length in (2, 0, 3, 1, 0)]
    flat = torch.tensor([item for some in lists for item in some])
    offsets = torch.tensor(np.cumsum([0, *map(len, lists)])[:-1])
    bags = Examples(Bags(flat, offsets, flat / 2), torch.arange(5))
    picked = bags.pick(torch.tensor([4, 2, 2, 0]))
    wanted = [lists[4], lists[2], lists[2], lists[0]]
    assert picked.inputs.ids.tolist() == [item for some in wanted for item in some]
    assert picked.inputs.weights.tolist() == [item / 2 for some in wanted for item in some]
    assert picked.inputs.offsets.tolist() == [0, 0, 3, 6]
    assert picked.targets.tolist() == [4, 2, 2, 0]
    assert bags.part(2, 9).inputs.ids.tolist() == lists[2] + lists[3]


def test_validation_is_the_same_for_all_seeds_and_leaves_something():
    one, two = parts(DATA, 0.25), parts(DATA, 0.25, "convnet")
    assert torch.equal(one.validation.inputs, two.validation.inputs.flatten(1))
    assert len(one.train) + len(one.validation) == 90
    rows = {tuple(row.tolist()) for row in torch.cat([one.train.inputs, one.validation.inputs])}
    assert len(rows) == 90
    with pytest.raises(RangeError, match=r"^`share` must leave examples in both parts, but share=0\.001 of 90"):
        parts(DATA, 0.001)
