"""What networks cost: counted by hand, and timed in turns."""

import time
from itertools import pairwise

import pytest
import torch
from torch import nn

from thinned.lab import costs, models
from thinned.lab.examples import Examples


def dense(batch, widths):
    """Forward, gradient of the weights, and gradient of the inputs but for those of the network; 2 for each product."""
    layers = [2 * batch * one * other for one, other in pairwise(widths)]
    return 3 * sum(layers) - layers[0]


@pytest.mark.parametrize(("name", "kept"), [("none", 1), ("torch", 1), ("thinned", 1), ("batchwise", 0.5)])
def test_only_what_is_computed_counts(name, kept):
    """With p = 0.5 batchwise dropout has half of the inputs and half of the hidden units, and all outputs."""
    batch = Examples(torch.randn(6, 12), torch.zeros(6, dtype=torch.int64))
    model = models.network(name, 12, [20, 8], 4, p=0.5, input_p=0.5)
    assert costs.flops(model, batch) == dense(6, [int(12 * kept), int(20 * kept), int(8 * kept), 4])


def test_convolutions_count():
    batch = Examples(torch.randn(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(320, 4))
    convolution, linear = 2 * 2 * 64 * 3 * 5 * 9, 2 * 2 * 320 * 4
    assert costs.flops(model, batch) == 2 * convolution + 3 * linear


def test_counting_draws_no_random_number():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))
    before = torch.get_rng_state()
    costs.flops(model, Examples(torch.ones(3, 4), torch.tensor([0, 1, 0])))
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_take_turns_without_dropout():
    calls = []

    class Timed(nn.Module):
        def __init__(self, name, seconds):
            super().__init__()
            self.name, self.seconds = name, seconds

        def forward(self, x):
            calls.append((self.name, self.training, torch.is_grad_enabled()))
            time.sleep(self.seconds)
            return x

    example = Examples(torch.ones(1, 2), torch.zeros(1, dtype=torch.int64))
    found = costs.latencies({"slow": Timed("slow", 0.02), "fast": Timed("fast", 0.0)}, example, rounds=3)
    assert calls == [("slow", False, False), ("fast", False, False)] * 4
    assert found["slow"] > 0.02 > found["fast"]
