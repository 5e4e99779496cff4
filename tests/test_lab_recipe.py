"""How networks are trained: each optimizer by its formula, each schedule by its numbers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from thinned import optim
from thinned._errors import KindError, RangeError
from thinned.lab.examples import Examples
from thinned.lab.recipe import OPTIMIZERS, SCHEDULES, Recipe
from thinned.lab.train import Trainer

LR, DECAY = 0.125, 0.25
BETAS, EPS = (0.75, 0.999), 1e-8


def sgd(w, g, state, _):
    v = state["v"] = 0.75 * state.get("v", 0) + g + DECAY * w
    return w - LR * v


def nesterov(w, g, state, _):
    g = g + DECAY * w
    v = state["v"] = 0.75 * state.get("v", 0) + g
    return w - LR * (g + 0.75 * v)


def adam(w, g, state, step, decay=DECAY):
    g = g + decay * w
    m = state["m"] = BETAS[0] * state.get("m", 0) + (1 - BETAS[0]) * g
    s = state["s"] = BETAS[1] * state.get("s", 0) + (1 - BETAS[1]) * g * g
    return w - LR * (m / (1 - BETAS[0] ** step)) / (np.sqrt(s / (1 - BETAS[1] ** step)) + EPS)


def adamw(w, g, state, step):
    return adam(w * (1 - LR * DECAY), g, state, step, decay=0)


def rmsprop(w, g, state, _):
    g = g + DECAY * w
    s = state["s"] = 0.99 * state.get("s", 0) + 0.01 * g * g
    v = state["v"] = 0.75 * state.get("v", 0) + g / (np.sqrt(s) + EPS)
    return w - LR * v


def adagrad(w, g, state, _):
    g = g + DECAY * w
    s = state["s"] = state.get("s", 0) + g * g
    return w - LR * g / (np.sqrt(s) + 1e-10)


RULES = (sgd, nesterov, adam, adamw, rmsprop, adagrad)


def gradient(inputs, targets, w):
    """Of the mean cross-entropy of a linear network without biases, in float64."""
    scores = inputs @ w.T
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    return (chances - np.eye(len(w))[targets]).T @ inputs / len(inputs)


@pytest.mark.parametrize("rule", RULES)
def test_steps_by_formula(rule):
    """Sources: Sutskever et al., 2013, as torch writes it; Kingma and Ba, 2015; Loshchilov and Hutter, 2019;
    Tieleman and Hinton, 2012; Duchi, Hazan and Singer, 2011.
    """
    recipe = Recipe(optimizer=rule.__name__, lr=LR, momentum=0.75, weight_decay=DECAY)
    inputs, targets = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([0, 1])
    trainer = Trainer(lambda: nn.Linear(2, 2, bias=False), recipe, seed=0)
    w, state = trainer.model.weight.detach().double().numpy(), {}
    for step in (1, 2, 3):
        trainer.step(inputs, targets)
        w = rule(w, gradient(inputs.double().numpy(), targets.numpy(), w), state, step)
        # A few roundings of float32 a step, each 6e-8 of numbers near 1.
        np.testing.assert_allclose(trainer.model.weight.detach().numpy(), w, rtol=0, atol=2e-6)


def test_every_optimizer_has_a_formula_here():
    assert set(OPTIMIZERS) == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torch_optimizers_are_fused_and_others_are_not(name):
    made = Recipe(optimizer=name).make_optimizer([nn.Parameter(torch.ones(2))], torch.optim)
    assert type(made) is getattr(torch.optim, OPTIMIZERS[name].kind)
    assert all(group.get("fused", False) is OPTIMIZERS[name].fused for group in made.param_groups)
    taken = {}
    library = type("library", (), {OPTIMIZERS[name].kind: staticmethod(lambda *_, **options: taken.update(options))})
    Recipe(optimizer=name, weight_decay=0.5).make_optimizer([], library)
    assert "fused" not in taken
    assert (taken["lr"], taken["weight_decay"]) == (OPTIMIZERS[name].lr, 0.5)


def test_schedules():
    rates = {
        name: [Recipe(epochs=4, lr=0.5, schedule=name, final_lr_share=0.0625).lr_at(epoch) for epoch in range(4)]
        for name in SCHEDULES
    }
    assert rates == {
        "linear": [0.5, 0.375, 0.25, 0.125],
        "constant": [0.5] * 4,
        "exponential": [0.5, 0.25, 0.125, 0.0625],
        "cosine": pytest.approx([0.5, 0.25 + 0.25 * math.sqrt(0.5), 0.25, 0.25 - 0.25 * math.sqrt(0.5)]),
        "step": pytest.approx([0.5, 0.5, 0.05, 0.005]),
    }


def test_the_rate_rises_first():
    rates = [Recipe(epochs=6, lr=0.5, schedule="linear", warmup_epochs=2).lr_at(epoch) for epoch in range(6)]
    assert rates == pytest.approx([0.5 / 3, 1 / 3, 0.5, 0.375, 0.25, 0.125])


def test_a_library_without_the_optimizer():
    assert type(Recipe(optimizer="adagrad").make_optimizer([nn.Parameter(torch.ones(2))], optim)) is torch.optim.Adagrad
    assert type(Recipe(optimizer="adam").make_optimizer([nn.Parameter(torch.ones(2))], optim)) is optim.Adam


def test_the_published_decay_in_fewer_epochs():
    """0.1 exp(-0.01 epoch) over 200 epochs, compressed to 40: exp(-2) is 0.1353."""
    recipe = Recipe(epochs=40, lr=0.1, schedule="exponential", final_lr_share=0.135)
    for epoch in range(40):
        assert recipe.lr_at(epoch) == pytest.approx(0.1 * math.exp(-0.01 * 5 * epoch), rel=0.003)


def test_rates_reach_the_optimizer():
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    recipe = Recipe(epochs=3, lr=0.5, schedule="exponential", final_lr_share=0.125)
    library = type("library", (), {"SGD": Spy})
    trainer = Trainer(lambda: nn.Linear(1, 2), recipe, seed=0, library=library)
    for _ in range(3):
        trainer.epoch(Examples(torch.ones(80, 1), torch.zeros(80, dtype=torch.int64)))
    assert rates == pytest.approx([0.5] * 2 + [0.25] * 2 + [0.125] * 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, RangeError, r"^`epochs` must be at least 1, but got epochs=0\.$"),
        ({"batch_size": 0}, RangeError, r"^`batch_size` must be at least 1, but got batch_size=0\.$"),
        ({"batch_size": 2.5}, KindError, r"^`batch_size` must be an integer"),
        ({"lr": math.nan}, RangeError, r"^`lr` must be above 0 and at most 3\.4e\+38, but got lr=nan\.$"),
        ({"lr": 0.0}, RangeError, r"^`lr` must be above 0 .* but got lr=0\.0\.$"),
        ({"lr": 1e300}, RangeError, r"^`lr` must be above 0 .* but got lr=1e\+300\.$"),
        ({"momentum": 1.0}, RangeError, r"^`momentum` must be in \[0, 1\), but got momentum=1\.0\.$"),
        ({"momentum": math.nan}, RangeError, r"^`momentum` must be in \[0, 1\), but got momentum=nan\.$"),
        ({"optimizer": "lion"}, RangeError, r"^`optimizer` must be one of sgd, nesterov, adam, adamw, rmsprop, ada"),
        ({"optimizer": "nesterov", "momentum": 0.0}, RangeError, r"^`momentum` must be above 0 for nesterov, but got"),
        (
            {"weight_decay": -0.1},
            RangeError,
            r"^`weight_decay` must be in \[0, 3\.4e\+38\], but got weight_decay=-0",
        ),
        ({"weight_decay": math.nan}, RangeError, r"^`weight_decay` must be in .* but got weight_decay=nan\.$"),
        (
            {"schedule": "sine"},
            RangeError,
            r"^`schedule` must be one of linear, constant, exponential, cosine, st",
        ),
        ({"epochs": 3, "warmup_epochs": 3}, RangeError, r"^`warmup_epochs` must be below epochs=3, but got warmup_ep"),
        ({"clip_norm": -1.0}, RangeError, r"^`clip_norm` must be a finite number of at least 0, but got clip_norm=-1"),
        ({"final_lr_share": 0.0}, RangeError, r"^`final_lr_share` must be in \(0, 1\], but got final_lr_share=0\.0\.$"),
        (
            {"final_lr_share": math.nan},
            RangeError,
            r"^`final_lr_share` must be in \(0, 1\], but got final_lr_share=na",
        ),
    ],
)
def test_wrong_recipes(change, error, message):
    with pytest.raises(error, match=message):
        Recipe(**change)
