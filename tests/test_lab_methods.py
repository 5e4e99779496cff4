"""The methods of a comparison: rates of their own, the same weights for all, and what is refused."""

from dataclasses import replace

import pytest
import torch
from laboratory import DATA
from torch import nn

import thinned
from thinned._errors import RangeError
from thinned.lab import compare, dropouts, methods
from thinned.lab.compare import Settings
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer


def network(name, **options):
    return methods.network(name, 6, [5, 4], 3, p=0.5, input_p=0.2, **options)


@pytest.mark.parametrize("name", methods.SENTENCES)
def test_all_start_from_the_same_weights(name):
    """Pairs by seed mean something only if a seed does the same to all methods."""

    def weights(name):
        trainer = Trainer(lambda: network(name), Recipe(epochs=1), seed=7)
        return [parameter for parameter in trainer.model.parameters() if parameter.dim() == 2]

    for mine, plain in zip(weights(name), weights("none"), strict=True):
        assert torch.equal(mine, plain)


@pytest.mark.parametrize("name", methods.SENTENCES)
def test_each_learns(tmp_path, name):
    settings = Settings(methods=(name,), hidden=(16,), seeds=(0,), recipe=Recipe(epochs=6, batch_size=20), threads=1)
    summary = compare.run(replace(settings, p=0.25, input_p=0.1), DATA, tmp_path)
    assert summary.rows[0].sentence == methods.SENTENCES[name]
    assert summary.rows[0].test_error < 0.5  # of three classes
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
    settings = Settings(methods=names, hidden=(16,), seeds=(0, 1), recipe=Recipe(epochs=2, batch_size=20), threads=1)
    summary = compare.run(settings, DATA, tmp_path)
    assert tuple(row.method for row in summary.rows) == names
    page = (tmp_path / summary.folder / "report.html").read_text(encoding="utf-8")
    assert "thinned:0.75" in page
    assert "0.5 of hidden units" in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gausian", r"`methods` must be among none, torch, .*, concrete, but got 'gausian'\."),
        ("", r"`methods` must be among .*, but got ''\."),
        ("thinned:", r"`methods` must be NAME or NAME:P with a rate P in \[0, 1\], but got 'thinned:'\."),
        ("thinned:1.5", r"with a rate P in \[0, 1\], but got 'thinned:1\.5'\."),
        ("thinned:nan", r"with a rate P in \[0, 1\], but got 'thinned:nan'\."),
        ("thinned:0.2:0.3", r"with a rate P in \[0, 1\], but got 'thinned:0\.2:0\.3'\."),
        ("none:0.2", r"`methods` must give no rate to none, which drops nothing, but got 'none:0\.2'\."),
        (
            "variational:0.75",
            r"`p` must be in \(0, 0\.5\] for variational, whose alpha is p / \(1 - p\), but got p=0\.75",
        ),
    ],
)
def test_wrong_methods_are_refused_at_once(name, message):
    with pytest.raises(RangeError, match=message):
        Settings(methods=("torch", name))


def test_settings_draw_no_random_number():
    before = torch.get_rng_state()
    Settings(methods=tuple(methods.SENTENCES))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["dropconnect", "sparse_variational"])
@pytest.mark.parametrize("plain", [nn.Linear(3, 4), nn.Linear(3, 4, bias=False), nn.Conv2d(2, 3, 3, padding=1)])
def test_a_layer_that_is_replaced_keeps_its_weights(kind, plain):
    before = torch.get_rng_state()
    layer = dropouts.make(kind, 0.5, plain, 10, {}, [dropouts.LAYER], "a hidden layer")
    assert torch.equal(torch.get_rng_state(), before)
    state = layer.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    assert torch.equal(
        layer.eval()(torch.ones(1, *plain.weight.shape[1:])), plain(torch.ones(1, *plain.weight.shape[1:]))
    )
