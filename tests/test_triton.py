"""The Triton kernels: on a GPU where there is one (`--device cuda`), otherwise in Triton's interpreter."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned.kernels import cpu
from thinned.masks import Mask, Rate, Window, element_words, layout, rate

pytest.importorskip("triton", reason="Triton is made for Linux alone")
from thinned.kernels import triton as gpu

VECTORS = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())


def run(x: torch.Tensor, law: Rate, seed: Any, stream: Any, device: torch.device, *place: Any) -> torch.Tensor:
    there = x.to(device)
    y = torch.full_like(there, 7.0)
    gpu.dropout(there, y, law, seed, stream, *place)
    return y.cpu()


def same(got: torch.Tensor, wanted: torch.Tensor, device: torch.device) -> bool:
    if wanted.dtype == torch.bfloat16 and device.type == "cpu":  # the interpreter truncates where a GPU rounds
        return torch.equal(got != 0, wanted != 0) and torch.allclose(got.float(), wanted.float(), rtol=2**-7)
    return torch.equal(got, wanted)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: f"{c['p']}-{c['seed']}-{c['start']}")
def test_vectors(case: dict[str, Any], device: torch.device) -> None:
    start, n = int(case["start"]), case["n"]
    window = Window((start + n,), (start,))
    y = run(torch.ones(n), rate(case["p"]), int(case["seed"]), int(case["stream"]), device, (), window)
    packed = np.packbits((y != 0).numpy(), bitorder="little").tobytes()
    assert hashlib.sha256(packed).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", VECTORS["windows"], ids=str)
def test_vectors_of_windows(case: dict[str, Any], device: torch.device) -> None:
    window, shared = Window(case["global_shape"], case["start"]), tuple(case["shared_axes"])
    law, seed, stream = rate(case["p"]), int(case["seed"]), int(case["stream"])
    y = run(torch.ones(case["extent"]), law, seed, stream, device, shared, window)
    packed = np.packbits((y != 0).reshape(-1).numpy(), bitorder="little").tobytes()
    assert hashlib.sha256(packed).hexdigest() == case["sha256"]


@pytest.mark.parametrize("dtype", cpu.DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.3, 1e-4, 0.75, 0.99999])
@pytest.mark.parametrize("n", [1, 63, 4097])
def test_values_are_those_of_the_cpu(n: int, p: float, dtype: torch.dtype, device: torch.device) -> None:
    x = torch.randn(n, generator=torch.Generator().manual_seed(n)).to(dtype)
    x[0] = -1.0
    wanted = torch.empty_like(x)
    cpu.dropout(x, wanted, rate(p), 2**64 - 3, 2**40 + 9)
    assert same(run(x, rate(p), 2**64 - 3, 2**40 + 9, device), wanted, device)


def test_dropped_values_are_selected_away(device: torch.device) -> None:
    x = torch.tensor([float("inf"), float("nan"), -1.0, -0.0]).repeat(50)
    y = run(x, rate(0.5), 1, 0, device)
    dropped = ~Mask(0.5, 1).keep((200,))
    assert torch.equal(y[dropped].view(torch.int32), torch.zeros(int(dropped.sum()), dtype=torch.int32))


@pytest.mark.parametrize("bits", [16, 32])
def test_a_word_equal_to_the_threshold_keeps(bits: int, device: torch.device) -> None:
    words = element_words(0, 600, bits, seed=3, stream=0)
    word = int(words.max())  # in 32 bits well above 2**31: the threshold must be taken as unsigned
    y = run(torch.ones(600), Rate(0.5, bits, word, 2.0), 3, 0, device)
    assert torch.equal(y != 0, torch.from_numpy(words >= word))
    assert (y != 0).any()


def test_seed_and_stream_in_device_memory_are_those_of_ints(device: torch.device) -> None:
    x = torch.ones(700)
    words = [torch.tensor(v, dtype=torch.int64, device=device) for v in (-5, 2**62 + 1)]
    assert torch.equal(run(x, rate(0.5), *words, device), run(x, rate(0.5), 2**64 - 5, 2**62 + 1, device))


def test_in_place_empty_and_scalar(device: torch.device) -> None:
    x = torch.ones(600, device=device)
    gpu.dropout(x, x, rate(0.5), 1, 0)
    assert torch.equal((x != 0).cpu(), Mask(0.5, 1).keep((600,)))
    gpu.dropout(torch.ones(0, 3, device=device), torch.ones(0, 3, device=device), rate(0.5), 1, 0)
    assert run(torch.tensor(1.0), rate(0.5), 0, 0, device).item() == 2.0


def test_more_axes_than_the_kernel_takes(device: torch.device) -> None:
    x = torch.ones([2] * 10).permute(9, 1, 7, 3, 5, 4, 6, 2, 8, 0)
    assert torch.equal(run(x, rate(0.5), 1, 0, device) != 0, Mask(0.5, 1).keep(x.shape))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_shape_strides_sharing_and_window(data: st.DataObject, pytestconfig: pytest.Config) -> None:
    device = torch.device(pytestconfig.getoption("--device"))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    order = data.draw(st.permutations(range(len(shape))))
    x = torch.ones([shape[axis] for axis in order]).permute([order.index(axis) for axis in range(len(shape))])
    shared = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    window = None
    if data.draw(st.booleans()):
        start = [data.draw(st.integers(0, 2**15)) for _ in shape]
        window = Window(
            [size + at + data.draw(st.integers(0, 5)) for size, at in zip(shape, start, strict=True)], start
        )
    p, seed = data.draw(st.sampled_from([0.1, 0.5, 1e-3, 0.9])), data.draw(st.integers(0, 2**64 - 1))
    if layout(shape, shared, window).start >= 2**62:
        return
    kept = run(x, rate(p), seed, 5, device, shared, window) != 0
    assert torch.equal(kept, Mask(p, seed, 5, shared, window).keep(shape))
