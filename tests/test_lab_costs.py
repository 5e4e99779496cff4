"""What networks cost: counted by hand, and timed in turns."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise

import pytest
import torch
from torch import nn

from thinned import optim
from thinned.lab import costs, models
from thinned.lab.examples import Examples
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer


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


def test_bytes_kept_by_hand():
    """Derived for 4 inputs, 3 hidden units, 2 classes and a batch of 5, in float32."""
    batch = Examples(torch.ones(5, 4), torch.zeros(5, dtype=torch.int64))
    relu, hidden, inputs = 4 * 5 * 3, 4 * 5 * 3, 4 * 5 * 4
    loss = 4 * 5 * 2 + 4  # log-probabilities, and the sum of the weights of the examples
    kept = {
        name: costs.bytes_kept(models.network(name, 4, [3], 2, p=0.5, input_p=0.5), batch) for name in models.METHODS
    }
    assert kept == {
        "none": relu + loss,  # the input, kept by the first layer, is the batch
        "torch": inputs + relu + 4 * 5 * 3 + hidden + loss,  # one float32 of mask for each hidden unit
        "thinned": inputs + relu + hidden + loss,  # no mask
        # Two inputs and two hidden units; the scale goes into the product. The block of the last weight: two by two.
        "batchwise": 4 * 5 * 2 + 4 * 5 * 2 + 4 * 2 * 2 + loss,
    }


def test_bytes_kept_counts_a_storage_once_and_whole():
    class Views(nn.Module):
        def forward(self, x):
            wide = (self.weight * x).relu()  # 10 x 4 numbers, kept by relu
            return wide[:, :2] * wide[:, 2:]  # both factors are views of them

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

    batch = Examples(torch.ones(10, 4), torch.zeros(10, dtype=torch.int64))
    assert costs.bytes_kept(Views(), batch) == 4 * 40 + 4 * 20 + 4


def test_bytes_kept_draws_no_random_number():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))
    before = torch.get_rng_state()
    costs.bytes_kept(model, Examples(torch.ones(3, 4), torch.tensor([0, 1, 0])))
    assert torch.equal(torch.get_rng_state(), before)


def test_peak_bytes_by_hand():
    kept = []

    def work():
        kept.append(torch.ones(1000))  # stays
        torch.ones(3000).view(30, 100).t()  # one storage, and gone
        torch.ones(500).mul_(2).add_(1)  # in place
        torch.ones(100, dtype=torch.float64)[:10].resize_(200)
        kept.append(torch.empty(2000, device="meta").sum() is None)

    before = [torch.ones(10_000)]
    assert costs.peak_bytes(lambda: before[0].mul_(2)) == 0  # was there before
    assert costs.peak_bytes(work) == 4 * 4000


def profiled(work):
    """The most that torch's allocator gave at one time, from the events of torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize("batch", [40, 300])  # batchwise dropout has other products for small batches
@pytest.mark.parametrize("name", models.METHODS)
def test_peak_bytes_are_those_of_the_allocator(name, batch):
    """But for what an operation takes and gives back by itself, which is little in a network of this kind."""
    examples = Examples(torch.randn(2 * batch, 100), torch.zeros(2 * batch, dtype=torch.int64))

    def work():
        def build():
            return models.network(name, 100, [200, 300], 10, p=0.5, input_p=0.2)

        library = optim if models.method(name).batchwise else torch.optim
        Trainer(build, Recipe(epochs=1, batch_size=batch), 0, library).epoch(examples)

    with ThreadPoolExecutor(1) as pool:  # new memory for what a thread keeps
        expected = pool.submit(profiled, work).result()
    assert costs.peak_bytes(work) == pytest.approx(expected, rel=0.02)
