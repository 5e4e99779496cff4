"""Random shapes, rates, seeds, dtypes and windows on the device of `--device`, against the law in NumPy.

With `--device cuda` this is the proof that CPU and GPU have one mask; without, a smaller run of the same on the CPU.
"""

import random

import pytest
import torch

import thinned
from thinned.kernels import cpu
from thinned.masks import Mask, Window


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--device"))


def test_masks_are_those_of_the_law(device: str) -> None:
    source = random.Random(0)
    for _ in range(30 if device == "cpu" else 1000):
        shape = [source.randint(1, 40) for _ in range(source.randint(1, 4))]
        p, seed, stream = (
            source.choice([0.1, 0.5, 0.9, 1e-3, source.random()]),
            source.getrandbits(64),
            source.getrandbits(64),
        )
        shared = tuple(axis for axis in range(len(shape)) if source.random() < 0.2)
        window = None
        if source.random() < 0.5:
            start = [source.randint(0, 5000) for _ in shape]
            window = Window([size + at + source.randint(0, 9) for size, at in zip(shape, start, strict=True)], start)
        x = torch.ones(shape, dtype=source.choice(list(cpu.DTYPES)), device=device)
        if source.random() < 0.3:
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
        kept = thinned.dropout(x, p, seed=seed, stream=stream, shared_axes=shared, window=window) != 0
        assert torch.equal(kept.cpu(), Mask(p, seed, stream, shared, window).keep(shape))


def test_the_seed_is_drawn_from_the_generator_of_the_device(device: str) -> None:
    x = torch.ones(1000, device=device, requires_grad=True)
    torch.manual_seed(3)
    first = thinned.dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(thinned.dropout(x, 0.5), first)
    assert torch.equal(torch.autograd.grad(first.sum(), x)[0], first)


def test_one_key_gives_one_mask_on_any_device(device: str) -> None:
    model = torch.nn.Sequential(thinned.nn.Dropout(0.5), thinned.nn.Dropout(0.1))
    here = thinned.keyed(model, 1, 2)(torch.ones(64, 64)) != 0
    there = thinned.keyed(model, 1, 2)(torch.ones(64, 64, device=device)) != 0
    assert torch.equal(there.cpu(), here)
