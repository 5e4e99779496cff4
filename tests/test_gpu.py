"""Random shapes, rates, seeds, dtypes and windows on the device of `--device`, against the law in NumPy.

With `--device cuda` this is the proof that CPU and GPU have one mask; without, a smaller run of the same on the CPU.
"""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import thinned
from thinned.kernels import cpu
from thinned.masks import Mask, Window


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values, in memory that is not one run."""
    return x.unsqueeze(-1).expand(*x.shape, 2).contiguous()[..., 0]


ROOT = Path(__file__).parents[1]

VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "strided": strided,
    "negated": torch._neg_view,
    "conjugated": lambda x: torch.conj(x) if x.is_complex() else x,
}


def test_masks_are_those_of_the_law_and_values_those_of_the_cpu(device: torch.device) -> None:
    source, seen = random.Random(0), set()
    for _ in range(40 if device.type == "cpu" else 1000):
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
        dtype, view = source.choice(list(cpu.DTYPES)), source.choice(list(VIEWS))
        x = VIEWS[view](torch.full(shape, 0.7, dtype=dtype, device=device))
        seen.update([dtype, view, bool(shared), window is None, (x.is_conj(), x.is_neg(), x.is_contiguous())])
        options = {"seed": seed, "stream": stream, "shared_axes": shared, "window": window}
        y = thinned.dropout(x, p, **options).cpu()
        assert torch.equal(y != 0, Mask(p, seed, stream, shared, window).keep(shape))
        assert torch.equal(y, thinned.dropout(x.cpu(), p, **options))
    assert {*cpu.DTYPES, *VIEWS, True, False, (True, False, True), (False, True, True)} <= seen


def test_the_seed_is_drawn_from_the_generator_of_the_device(device: torch.device) -> None:
    x = torch.ones(1000, device=device, requires_grad=True)
    torch.manual_seed(3)
    first = thinned.dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(thinned.dropout(x, 0.5), first)
    assert torch.equal(torch.autograd.grad(first.sum(), x)[0], first)


def test_one_key_gives_one_mask_on_any_device(device: torch.device) -> None:
    model = torch.nn.Sequential(thinned.nn.Dropout(0.5), thinned.nn.Dropout(0.1))
    here = thinned.keyed(model, 1, 2)(torch.ones(64, 64)) != 0
    assert 0 < here.sum() < here.numel()
    there = thinned.keyed(model, 1, 2)(torch.ones(64, 64, device=device)) != 0
    assert torch.equal(there.cpu(), here)


@pytest.mark.device
def test_a_marked_test_makes_its_tensors_on_the_device(device: torch.device) -> None:
    assert torch.ones(1).device.type == device.type


def test_any_other_test_makes_its_tensors_on_the_cpu() -> None:
    assert torch.ones(1).is_cpu


def test_the_option_reaches_the_tests() -> None:
    """Also where there is no GPU: `meta` is a device that is everywhere."""

    def run(device: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-k", "makes_its_tensors", __file__, "--device", device]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert "2 passed" in (done := run("meta")).stdout, done
    assert "--device bogus: Expected one of cpu" in (done := run("bogus")).stderr, done
