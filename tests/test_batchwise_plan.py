"""What is made a chain and what is refused, with its reason; what stays as it was; what is said to be saved."""

import copy

import pytest
import torch
from torch import nn

import thinned
from thinned.batchwise import Chain, SubmatrixGrad
from thinned.batchwise._structure import decide

BIG = 1500  # of units: a size that pays


class Own(nn.Linear):
    """A subclass, which may do something else."""


def tied():
    first, last = nn.Linear(8, 8), nn.Linear(8, 8)
    last.weight = first.weight
    return [first, nn.Dropout(), last]


def hooked(module):
    module.register_forward_hook(lambda *_: None)
    return module


def patched(module):
    module.forward = type(module).forward.__get__(module)
    return module


def linear(n=8):
    return nn.Linear(n, n)


REFUSED = {
    "sigmoid": (
        [linear(), nn.Dropout(), nn.Sigmoid(), linear()],
        "Sigmoid stands between it and the next linear layer and maps 0 to something else",
    ),
    "shifted": (
        [linear(), nn.Dropout(), nn.Threshold(0.1, 0.2), linear()],
        "Threshold stands between it and the next linear layer and maps 0 to something else",
    ),
    "layer norm": (
        [linear(), nn.Dropout(), nn.LayerNorm(8), linear()],
        "LayerNorm stands between it and the next linear layer",
    ),
    "batch norm": (
        [linear(), nn.Dropout(), nn.BatchNorm1d(8), linear()],
        "BatchNorm1d stands between it and the next linear layer",
    ),
    "prelu": ([linear(), nn.Dropout(), nn.PReLU(8), linear()], "PReLU stands between it and the next linear layer"),
    "end": ([linear(), nn.ReLU(), nn.Dropout()], "no linear layer follows"),
    "activation at the end": ([linear(), nn.Dropout(), nn.ReLU()], "no linear layer follows"),
    "hooked linear": (
        [linear(), nn.Dropout(), hooked(linear())],
        "a hook or a patch on the linear layer wants to see whole tensors",
    ),
    "patched linear": (
        [linear(), nn.Dropout(), patched(linear())],
        "a hook or a patch on the linear layer wants to see whole tensors",
    ),
    "hooked dropout": (
        [linear(), hooked(nn.Dropout()), linear()],
        "a hook or a patch on the dropout layer wants to see whole tensors",
    ),
    "hooked activation": (
        [linear(), nn.Dropout(), hooked(nn.ReLU()), linear()],
        "ReLU stands between it and the next linear layer",
    ),
    "weight norm": (
        [linear(), nn.Dropout(), nn.utils.parametrizations.weight_norm(linear())],
        "ParametrizedLinear is not an ordinary linear layer",
    ),
    "subclass": ([linear(), nn.Dropout(), Own(8, 8)], "Own is not an ordinary linear layer"),
    "tied": (tied(), "a weight of this chain is shared with another layer"),
    "channels": ([linear(), nn.Dropout1d(), linear()], "only elementwise dropout can be thinned"),
    "shared axes": (
        [linear(), thinned.nn.Dropout(0.5, shared_axes=(0,)), linear()],
        "only elementwise dropout can be thinned",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name) -> None:
    """The dropout is an ordinary one then, and the network is right."""
    layers, reason = REFUSED[name]
    model = nn.Sequential(*copy.deepcopy(layers))
    (site,) = thinned.plan(model, batchwise=True)
    assert site.reason.endswith(f"not thinned: {reason}")
    assert site.action in ("swap", "done")
    assert site.saved == 0.0
    assert not isinstance(thinned.convert(model, batchwise=True), Chain)
    chain = Chain(*copy.deepcopy(layers))
    if name != "tied":
        chain(torch.ones(3, 8)).sum().backward()
        assert not any(isinstance(p.grad, SubmatrixGrad) for p in chain.parameters())


GROUPED = "a BatchNorm1d before it has statistics of the whole batch, but each group keeps other units"
AVERAGED = "a BatchNorm1d before it averages over all batches, but its units are not in all of them"


@pytest.mark.parametrize(
    ("options", "groups", "reason"), [({}, 2, GROUPED), ({"momentum": None}, 1, AVERAGED), ({}, 1, None)]
)
def test_batch_norm_before(options, groups, reason) -> None:
    layers = [nn.Linear(8, 8), nn.BatchNorm1d(8, **options), nn.ReLU(), thinned.nn.Dropout(), nn.Linear(8, 8)]
    found = decide(layers, 3, groups)
    assert found == reason or (reason is None and found.before == 0)
    (site,) = thinned.plan(nn.Sequential(*layers), batchwise=True, groups=groups)
    assert site.reason.endswith(reason or "layers of this size and batch gain nothing")


@pytest.mark.parametrize("before", [hooked(linear()), Own(8, 8), nn.LayerNorm(8), nn.Linear(8, 4), nn.Embedding(9, 8)])
def test_what_is_picked_from_a_whole_output(before) -> None:
    """The layer before cannot be thinned, but the one after can."""
    found = decide([before, nn.ReLU(), thinned.nn.Dropout(), nn.Linear(8, 2)], 2)
    assert (found.before, found.after, found.units) == (None, 3, 8)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(BIG, BIG),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(BIG, BIG),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(BIG, 10),
    )


class Vgg(nn.Module):
    """Convolutions, then a classifier."""

    def __init__(self, width=BIG):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout2d(0.1))
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(4 * 36, width),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.Linear(width, width),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.Linear(width, 10),
        )

    def forward(self, x):
        return self.classifier(self.flatten(self.features(x)))


def test_a_chain_inside_a_model() -> None:
    model, x = Vgg().eval(), torch.randn(2, 3, 8, 8)
    wanted, names, parameters = model(x), [*model.state_dict()], [*model.parameters()]
    assert thinned.convert(model, batchwise=True) is model
    assert [type(child) for child in model.children()] == [nn.Sequential, nn.Flatten, Chain]
    assert [*model.state_dict()] == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(x), wanted)
    model.train()(x).sum().backward()
    assert model.classifier[3].weight.grad.block.shape == (BIG // 2, BIG // 2)
    model.load_state_dict(Vgg().state_dict())


def test_an_optimizer_made_before_still_works() -> None:
    model = mlp()
    optimizer = thinned.optim.SGD(model.parameters(), lr=0.1)
    new = thinned.convert(model, batchwise=True)
    before = new[4].weight.detach().clone()
    new(torch.randn(4, BIG)).square().sum().backward()
    optimizer.step()
    rows = (new[4].weight != before).any(1).sum()
    assert 0 < rows <= BIG // 2


def test_converting_twice_sets_the_options() -> None:
    model = thinned.convert(mlp(), batchwise=True)
    assert thinned.convert(model, batchwise=True, groups=2, units="slice", multiple_of=8) is model
    assert (model.groups, model.units, model.multiple_of) == (2, "slice", 8)
    outer = nn.Sequential(nn.Linear(2, BIG), model)
    assert thinned.convert(outer, batchwise=True)[1] is model
    assert thinned.convert(model) is model  # and without batchwise nothing changes
    assert model.groups == 1


def test_a_sequential_at_two_places_stays_one() -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = nn.Sequential(nn.Linear(BIG, BIG), nn.Dropout(0.5), nn.Linear(BIG, BIG))

        def forward(self, x):
            return self.b(self.a(x))

    model = thinned.convert(Twice(), batchwise=True)
    assert model.a is model.b
    assert type(model.a) is Chain
    model(torch.randn(3, BIG)).sum().backward()


def test_hooks_and_mode_of_a_sequential_survive() -> None:
    model = mlp().eval()
    knows = []
    model._register_load_state_dict_pre_hook(lambda module, *_: knows.append(module), with_module=True)
    model.note = "mine"
    new = thinned.convert(model, batchwise=True)
    del model
    new.load_state_dict(new.state_dict())
    assert knows == [new]
    assert (new.training, new.note) == (False, "mine")


def test_a_watched_sequential_is_left() -> None:
    """Who hooks into it wants to see whole tensors, and the plan says that."""
    model = hooked(mlp())
    assert type(thinned.convert(model, batchwise=True)) is nn.Sequential


def test_the_table() -> None:
    lines = str(thinned.plan(mlp(), batchwise=True)).splitlines()
    assert lines[0].split() == ["site", "layer", "p", "action", "saves", "why"]
    assert lines[1] == "0     Dropout  0.2  thin    10%    only the kept units are computed"
    assert lines[-1].startswith("Of the multiplications of linear layers in chains, ")
    assert lines[-1].endswith("% are saved in training.")


@pytest.mark.parametrize("multiple_of", [1, 64])
def test_work_saved(multiple_of) -> None:
    """Counted by hand: the kept inputs times the kept outputs of each layer."""

    def kept(share):
        return multiple_of * int(share * BIG / multiple_of + 0.5)

    a, b = kept(0.8), kept(0.5)
    total = BIG * BIG * 2 + BIG * 10
    found = thinned.plan(mlp(), batchwise=True, multiple_of=multiple_of)
    assert found.saved == pytest.approx(1 - (a * b + b * b + b * 10) / total)
    assert [site.saved for site in found] == pytest.approx(
        [(BIG - a) * BIG / total, (BIG - b) * 2 * BIG / total, (BIG - b) * (BIG + 10) / total]
    )


def test_what_does_not_pay() -> None:
    """Small layers, and one pattern for each example."""
    small = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 4))
    for model, options in [(small, {}), (mlp(), {"groups": 100}), (nn.Sequential(nn.Dropout(0.01), linear(BIG)), {})]:
        found = thinned.plan(model, batchwise=True, **options)
        assert {site.action for site in found} == {"swap"}
        assert found[0].reason.endswith("not thinned: layers of this size and batch gain nothing")
        assert found.saved == 0
        assert type(thinned.convert(model, batchwise=True, **options)) is nn.Sequential


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "`groups` must be"),
        ({"groups": "two"}, "`groups` must be"),
        ({"multiple_of": 0}, "`multiple_of` must be"),
        ({"multiple_of": 1.5}, "`multiple_of` must be"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"units": "all"}, "`units` must be one of random, slice, but got units='all'"),
    ],
)
def test_errors_leave_the_model_as_it_was(options, message) -> None:
    model = mlp()
    before = [*model.modules()]
    with pytest.raises((ValueError, TypeError), match=message):
        thinned.convert(model, batchwise=True, **options)
    assert all(a is b for a, b in zip(model.modules(), before, strict=True))
    if "units" not in options:
        with pytest.raises((ValueError, TypeError), match=message):
            thinned.plan(model, batchwise=True, **options)


def test_a_bad_rate_is_refused_before_anything_is_changed() -> None:
    model = mlp()
    model[6].p = 2.0
    with pytest.raises(ValueError, match=r"`p` must be in \[0, 1\]"):
        thinned.convert(model, batchwise=True)
    assert type(model[0]) is nn.Dropout


def test_rates_at_the_ends_are_not_thinned():
    model = nn.Sequential(nn.Linear(500, 800), nn.Dropout(0.0), nn.Linear(800, 800), nn.Dropout(1.0), nn.Linear(800, 9))
    reasons = [site.reason.rpartition("; ")[2] for site in thinned.plan(model, batchwise=True)]
    assert reasons == ["not thinned: nothing is dropped", "not thinned: everything is dropped"]


def test_complex_weights_are_not_thinned():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(800, 800, dtype=torch.complex64))
    assert "the weight is complex" in thinned.plan(model, batchwise=True)[0].reason
    with pytest.raises(TypeError, match=r"`weight` must be real, but got torch\.complex64"):
        thinned.batchwise.linear(torch.ones(1, 2, dtype=torch.complex64), torch.ones(2, 2, dtype=torch.complex64))
