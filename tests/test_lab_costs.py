"""What networks cost: counted by hand, and timed in turns."""

import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from laboratory import network
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import thinned
from thinned import optim
from thinned.lab import costs, methods
from thinned.lab.examples import Examples
from thinned.lab.network import ModelSettings
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer

METHODS = methods.default(ModelSettings())


def dense(batch, widths):
    """Forward, gradient of the weights, and gradient of the inputs but for those of the network; 2 for each product."""
    layers = [2 * batch * one * other for one, other in pairwise(widths)]
    return 3 * sum(layers) - layers[0]


@pytest.mark.parametrize(("name", "kept"), [("none", 1), ("torch", 1), ("thinned", 1), ("batchwise", 0.5)])
def test_only_what_is_computed_counts(name, kept):
    """With p = 0.5 batchwise dropout has half of the inputs and half of the hidden units, and all outputs."""
    batch = Examples(torch.randn(6, 12), torch.zeros(6, dtype=torch.int64))
    model = network(name, 12, [20, 8], 4, input_p=0.5)
    assert costs.flops(model, batch) == dense(6, [int(12 * kept), int(20 * kept), int(8 * kept), 4])


def test_convolutions_count():
    batch = Examples(torch.randn(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(320, 4))
    convolution, linear = 2 * 2 * 64 * 3 * 5 * 9, 2 * 2 * 320 * 4
    assert costs.flops(model, batch) == 2 * convolution + 3 * linear


def test_a_recurrent_layer_counts():
    """Four gates, from inputs and from the state; no gradient of the inputs, nor of the first state."""
    steps, batch, inputs, units = 5, 3, 4, 6

    class Last(nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0][:, -1]

    examples = Examples(torch.randn(batch, steps, inputs), torch.zeros(batch, dtype=torch.int64))
    per_step = 2 * batch * 4 * units
    forward = steps * per_step * (inputs + units)
    backward = steps * per_step * (inputs + units) + (steps - 1) * per_step * units
    assert costs.flops(Last(inputs, units, batch_first=True), examples) == forward + backward


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_attention_counts(p):
    """Four projections, and two products of each query with each key; the input needs no gradient."""
    batch, steps, width = 3, 5, 8

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = thinned.nn.MultiheadAttention(width, 2, p, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0].mean(1)

    examples = Examples(torch.randn(batch, steps, width), torch.zeros(batch, dtype=torch.int64))
    rows = 2 * batch * steps
    projections = 3 * 2 * rows * width * width + 3 * rows * width * width  # the last one's input has a gradient
    assert costs.flops(Mean(), examples) == projections + 3 * 2 * rows * steps * width


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
    kept = {name: costs.bytes_kept(network(name, 4, [3], 2, input_p=0.5), batch) for name in METHODS}
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
        kept.append(torch.empty(1000))  # stays
        torch.empty(3000).view(30, 100).t()  # one storage, and gone
        torch.empty(500).zero_().neg_()  # in place
        torch.empty(100, dtype=torch.float64)[:10]

    before = [torch.ones(10_000)]
    assert costs.peak_bytes(before[0].neg_) == 0  # was there before
    assert costs.peak_bytes(work) == 4 * 4000


class Held(TorchDispatchMode):
    """Adds up the storages that torch's operations return, for as long as each is there."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.sizes = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in storages((args, kwargs))}  # in place, or a view
        for storage in storages(made):
            if storage._cdata not in self.sizes and storage._cdata not in given:
                weakref.finalize(storage, self.drop, storage._cdata)
                self.now += storage.nbytes()
                self.sizes[storage._cdata] = storage.nbytes()
        self.most = max(self.most, self.now)
        return made

    def drop(self, key):
        self.now -= self.sizes.pop(key)


def storages(values):
    """A subclass that wraps other tensors, as `SubmatrixGrad` does, has no memory of its own."""
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if type(leaf) in (torch.Tensor, nn.Parameter)]


def held(work):
    with Held() as counter:
        work()
    return counter.most


@pytest.mark.parametrize("batch", [40, 300])  # batchwise dropout has other products for small batches
@pytest.mark.parametrize("name", METHODS)
def test_peak_bytes_are_those_of_all_storages(name, batch):
    """But for what an operation takes and gives back by itself, which is little in a network of this kind."""
    examples = Examples(torch.randn(2 * batch, 100), torch.zeros(2 * batch, dtype=torch.int64))

    def work():
        def build():
            return network(name, 100, [200, 300], 10)

        library = optim if name == "batchwise" else torch.optim
        Trainer(build, Recipe(epochs=1, batch_size=batch), 0, library).epoch(examples)

    with ThreadPoolExecutor(1) as pool:  # new memory for what a thread keeps
        expected = pool.submit(held, work).result()
    found = [costs.peak_bytes(work) for _ in range(3)]
    assert found == [pytest.approx(expected, rel=0.02)] * 3


def test_the_profiler_writes_nothing():
    code = "from thinned.lab import costs; import torch; print(costs.peak_bytes(lambda: torch.empty(2).clone()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("16\n", "")
