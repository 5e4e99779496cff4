"""Monitors, against numbers by hand and NumPy's."""

import numpy as np
import pytest
import torch
from torch import nn

from thinned.lab import monitors
from thinned.lab.examples import Examples
from thinned.lab.monitors import by_unit, co_adaptation, look


def test_by_hand():
    """Four examples, three units: one always on, one on for two examples, one never on."""
    layer = nn.Linear(1, 3)
    layer.weight.data.copy_(torch.tensor([[0.0], [1.0], [0.0]]))
    layer.bias.data.copy_(torch.tensor([1.0, 0.0, -1.0]))
    model = nn.Sequential(layer, nn.ReLU(), nn.Dropout(0.9), nn.Linear(3, 2))
    probe = Examples(torch.tensor([[-1.0], [0.0], [1.0], [2.0]]), torch.zeros(4, dtype=torch.int64))
    model.train()
    seen = look(model, [nn.ReLU], probe)
    assert seen.sparsity == (pytest.approx((0 + 2 + 4) / 12),)
    assert seen.dead_units == (pytest.approx(1 / 3),)
    assert seen.co_adaptation == (0.0,)  # only one unit varies
    assert set(seen.weight_norms) == {"0.weight", "3.weight"}
    assert seen.weight_norms["0.weight"] == pytest.approx((1 / 3) ** 0.5)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("units", [2, 7, 256])
def test_co_adaptation_is_numpys_correlation(units):
    rows = np.random.default_rng(0).normal(size=(50, units)).astype(np.float32)
    rows[:, 1] += rows[:, 0]
    matrix = np.abs(np.corrcoef(rows.T.astype(np.float64)))
    wanted = matrix[~np.eye(units, dtype=bool)].mean()
    assert co_adaptation(torch.from_numpy(rows)) == pytest.approx(wanted, rel=1e-9)


def test_many_units_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(monitors, "WATCHED", 3)
    rows = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    assert co_adaptation(rows) == co_adaptation(rows[:, [0, 3, 6]])


def test_co_adaptation_of_copies_is_one_and_of_constants_nothing():
    column = torch.randn(20, 1)
    assert co_adaptation(torch.cat([column, -2 * column, 3 * column + 1], 1)) == pytest.approx(1.0)
    assert co_adaptation(torch.ones(20, 3)) == 0.0


def test_channels_and_steps_are_units():
    maps = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    rows = by_unit(maps)
    assert rows.shape == (2, 3)
    places = [maps[i].flatten(1)[:, i * monitors.STRIDE % 4] for i in range(2)]
    assert torch.equal(rows, torch.stack(places))
    assert by_unit(torch.zeros(5, 7, 4)).shape == (5, 4)
    assert torch.equal(by_unit(torch.eye(3)), torch.eye(3))
