"""The methods of a comparison: rates of their own, the same weights for all, and what is refused."""

from itertools import pairwise

import pytest
import torch
from laboratory import DATA, compared, network, stripes
from torch import nn

import thinned
from thinned._errors import RangeError
from thinned.data import Dataset
from thinned.lab import compare, dropouts, methods
from thinned.lab.comparison import Settings
from thinned.lab.examples import Examples
from thinned.lab.recipe import Penalties, Recipe
from thinned.lab.train import Trainer

OF_A_PERCEPTRON = tuple(
    name for name in methods.SENTENCES
    if dropouts.KINDS[methods.ALIAS.get(name, name)].takes in (dropouts.ELEMENTS, dropouts.LAYER)
)  # fmt: skip


def test_each_kind_has_a_sentence():
    assert {methods.ALIAS.get(name, name) for name in methods.SENTENCES} == set(dropouts.KINDS)


@pytest.mark.parametrize("name", OF_A_PERCEPTRON)
def test_all_start_from_the_same_weights(name):
    """Pairs by seed mean something only if a seed does the same to all methods."""

    def weights(name):
        trainer = Trainer(lambda: network(name), Recipe(epochs=1), seed=7)
        return [value for key, value in trainer.model.named_parameters() if key.endswith(("weight", "bias"))]

    for mine, plain in zip(weights(name), weights("none"), strict=True):
        assert torch.equal(mine, plain)


MANY = Dataset("stripes", train=stripes(900, 0), test=stripes(90, 1), classes=3)


@pytest.mark.parametrize("name", OF_A_PERCEPTRON)
def test_each_learns(tmp_path, name):
    settings = compared(name, seeds=1, training={"epochs": 4}, dropout={"p": 0.25, "input_p": 0.1})
    summary = compare.start(settings, tmp_path, data=MANY)
    assert summary.rows[0].sentence == methods.SENTENCES[name]
    assert summary.rows[0].test_error < 0.1  # of three classes
    assert summary.rows[0].cost.peak_bytes > summary.rows[0].cost.bytes_kept


def rates(model):
    return [module.p for module in model.modules() if isinstance(getattr(module, "p", None), float)]


@pytest.mark.parametrize("name", ["torch", "thinned", "batchwise", "gaussian", "dropconnect"])
def test_a_rate_of_its_own_is_that_of_hidden_units(name):
    assert rates(network(name)) == [0.2, 0.5, 0.5]
    assert rates(network(f"{name}:0.125")) == [0.2, 0.125, 0.125]


def test_rates_that_are_learned_start_there():
    layers = [m for m in network("concrete:0.125").modules() if isinstance(m, thinned.nn.ConcreteDropout)]
    assert [float(layer.p) for layer in layers] == pytest.approx([0.2, 0.125, 0.125])
    layers = [m for m in network("variational:0.125").modules() if isinstance(m, thinned.nn.VariationalDropout)]
    assert [float(layer.alpha.mean()) for layer in layers] == pytest.approx([0.25, 1 / 7, 1 / 7])


def test_one_method_at_several_rates(tmp_path):
    names = ("none", "thinned:0.25", "thinned:0.75", "thinned")
    summary = compare.start(compared(*names), tmp_path, data=DATA)
    assert tuple(row.method for row in summary.rows) == names
    assert summary.rows[2].sentence == methods.SENTENCES["thinned"] + " Here p is 0.75."
    page = (tmp_path / summary.folder / "report.html").read_text(encoding="utf-8")
    assert "thinned:0.75" in page
    assert 'dropout.<wbr>p</th><td class="word">0.5</td>' in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gausian", r"`methods` must be among none, torch, .*, but got 'gausian'\."),
        ("", r"`methods` must be among .*, but got ''\."),
        ("thinned:", r"`methods` must be NAME or NAME:P with a rate P in \[0, 1\], but got 'thinned:'\."),
        ("thinned:1.5", r"with a rate P in \[0, 1\], but got 'thinned:1\.5'\."),
        ("thinned:nan", r"with a rate P in \[0, 1\], but got 'thinned:nan'\."),
        ("thinned:0.2:0.3", r"with a rate P in \[0, 1\], but got 'thinned:0\.2:0\.3'\."),
        ("none:0.2", r"`methods` must give no rate to none, which has none, but got 'none:0\.2'\."),
        ("sparse_variational:0.2", r"no rate to sparse_variational, which has none, but got 'sparse_variational:0\.2'"),
        (
            "variational:0.75",
            r"`p` must be in \(0, 0\.5\] for variational, whose alpha is p / \(1 - p\), but got p=0\.75",
        ),
    ],
)
def test_wrong_methods_are_refused_before_there_is_a_folder(tmp_path, name, message):
    with pytest.raises(RangeError, match=message):
        compare.start(compared("torch", name), tmp_path, data=DATA)
    assert list(tmp_path.iterdir()) == []


def test_settings_draw_no_random_number():
    before = torch.get_rng_state()
    Settings(methods=tuple(methods.SENTENCES))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["dropconnect", "sparse_variational"])
@pytest.mark.parametrize("plain", [nn.Linear(3, 4), nn.Linear(3, 4, bias=False), nn.Conv2d(2, 3, 3, padding=1)])
def test_a_layer_that_is_replaced_keeps_its_weights(kind, plain):
    with torch.no_grad():
        plain.weight += 0.01 * plain.weight.sign()  # sparse_variational leaves out weights that are nearly zero
    before = torch.get_rng_state()
    layer = dropouts.make(kind, 0.5, plain, 10, {}, [dropouts.LAYER], "a hidden layer")
    assert torch.equal(torch.get_rng_state(), before)
    state = layer.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    assert torch.equal(
        layer.eval()(torch.ones(1, *plain.weight.shape[1:])), plain(torch.ones(1, *plain.weight.shape[1:]))
    )


class Noisy(thinned.nn.VariationalDropout):
    """Its divergence is its parameter, which is in no output."""

    def __init__(self):
        super().__init__(alpha=0.5)
        self.noise = nn.Parameter(torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(2))

    def kl(self):
        return self.noise

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize(
    ("warmup", "shares"),
    [(0.0, [1, 1, 1, 1, 1, 1, 1, 1]), (0.5, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]), (1.0, [i / 8 for i in range(8)])],
)
def test_the_divergence_comes_in_step_by_step(warmup, shares):
    recipe = Recipe(epochs=4, batch_size=6, lr=1.0, momentum=0.0, schedule="constant")
    trainer = Trainer(Noisy, recipe, 0, penalties=Penalties(kl_warmup=warmup))
    examples = Examples(torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64))  # two steps an epoch
    seen = [0.0]
    step = trainer.step

    def watched(*arguments):
        loss = step(*arguments)
        seen.append(trainer.model.noise.item())
        return loss

    trainer.step = watched
    for _ in range(4):
        trainer.epoch(examples)
    assert [10 * (a - b) for a, b in pairwise(seen)] == pytest.approx(shares, abs=1e-5)
