"""One key gives one set of masks: eager and compiled, checkpointed, accumulated, and over processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned.masks import Mask

pytestmark = pytest.mark.device
BACKENDS = ["eager", "aot_eager", "inductor"]  # "eager" here: not compiled at all
ROWS, WIDTH = 8, 16

Result = tuple[Tensor, list[Tensor]]  # output and gradients


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    shared = thinned.nn.Dropout(0.5)  # two uses of one site
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.Tanh(), shared, nn.Linear(WIDTH, WIDTH), thinned.nn.Dropout(0.1), nn.Tanh(), shared
    )


def once() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.Tanh(), thinned.nn.Dropout(0.5), nn.Linear(WIDTH, WIDTH), nn.Tanh()
    )


def batch() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator(torch.get_default_device()).manual_seed(1))


def run_as(backend: str, model: Callable[[Tensor], Tensor], **options: bool) -> Callable[[Tensor], Tensor]:
    return model if backend == "eager" else torch.compile(model, backend=backend, fullgraph=True, **options)


def result(model: nn.Module, outputs: list[Tensor]) -> Result:
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(outputs).detach(), gradients


def step(model: nn.Module, function: Callable[[Tensor], Tensor], seed: int = 3, number: int = 7) -> Result:
    thinned.keyed(model, seed, number)
    output = function(batch())
    output.square().sum().backward()
    return result(model, [output])


def check(got: Result, wanted: Result) -> None:
    assert torch.equal(got[0] == 0, wanted[0] == 0)  # the masks, bit for bit
    torch.testing.assert_close(got[0], wanted[0])
    torch.testing.assert_close(got[1], wanted[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_plain(backend: str) -> None:
    model = net()
    wanted = step(model, model)
    function = run_as(backend, model)
    for _ in range(2):
        check(step(model, function), wanted)
    assert not torch.equal(step(model, function, number=8)[0] == 0, wanted[0] == 0)


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpointed_inside_the_graph(backend: str, preserve: bool) -> None:
    model = once()
    wanted = step(model, model)

    def function(x: Tensor) -> Tensor:
        output: Tensor = checkpoint(model, x, use_reentrant=False, preserve_rng_state=preserve)
        return output

    check(step(model, run_as(backend, function)), wanted)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpointed_around_the_graph(backend: str, reentrant: bool) -> None:
    model = once()
    wanted = step(model, model)
    compiled = run_as(backend, model)

    def function(x: Tensor) -> Tensor:
        options = {"use_reentrant": reentrant, "preserve_rng_state": False}
        output: Tensor = checkpoint(compiled, x.requires_grad_(), **options)
        return output

    check(step(model, function), wanted)


@pytest.mark.parametrize("pieces", [1, 2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_accumulated(backend: str, pieces: int) -> None:
    model = net()
    wanted = step(model, model)
    function, size, outputs = run_as(backend, model), ROWS // pieces, []
    for start in range(0, ROWS, size):
        thinned.keyed(model, 3, 7, batch=(start, start + size, ROWS))
        outputs.append(function(batch()[start : start + size]))
        outputs[-1].square().sum().backward()
    check(result(model, outputs), wanted)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _rank(rank: int, ranks: int, backends: list[str], port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    size = ROWS // ranks
    rows = (rank * size, (rank + 1) * size, ROWS)
    for backend in backends:
        model = net()
        wrapped = nn.parallel.DistributedDataParallel(model)
        function = wrapped if backend == "eager" else torch.compile(wrapped, backend=backend)
        for _ in range(2):
            thinned.keyed(wrapped, 3, 7, batch=rows)
            output = function(batch()[rows[0] : rows[1]])
            output.square().sum().mul(ranks).backward()  # DDP averages over the ranks
            got = result(model, [output])
        torch.save(got, Path(folder) / f"{backend}-{rank}.pt")
    dist.barrier()
    os._exit(0)  # compiled graphs outlive the process group, and its destructor may wait for ever for their reducer


@pytest.mark.parametrize(
    ("ranks", "backends"),
    [
        (1, ["eager", "aot_eager"]),
        (2, BACKENDS),
        (4, ["eager", "aot_eager"]),
        pytest.param(1, BACKENDS, marks=pytest.mark.soak),  # each rank compiles for itself, which takes its time
        pytest.param(4, BACKENDS, marks=pytest.mark.soak),
    ],
)
def test_over_processes(ranks: int, backends: list[str], tmp_path: Path) -> None:
    with torch.device("cpu"):  # where gloo is at home
        model = net()
        wanted = step(model, model)
    mp.spawn(_rank, (ranks, backends, _free_port(), str(tmp_path)), nprocs=ranks)
    for backend in backends:
        parts = [torch.load(tmp_path / f"{backend}-{rank}.pt", weights_only=True) for rank in range(ranks)]
        for _, gradients in parts:
            check((torch.cat([output for output, _ in parts]), gradients), wanted)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_one_graph_for_all_seeds_steps_batches_and_rates(backend: str) -> None:
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    model = nn.Sequential(thinned.nn.Dropout(0.1))
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    rates = [0.1, 0.2, 0.3, 0.35, 0.0001, 0.9]
    for number, p in enumerate(rates):
        model[0].p = p
        kept = thinned.keyed(compiled, number, number + 1)(torch.ones(50, 40)) != 0
        layer: thinned.nn.Dropout = model[0]
        assert layer._key is not None
        seed = layer._key.numbers[0] % 2**64
        assert torch.equal(kept, Mask(p, seed).keep((50, 40), kept.device))
    assert counter.frame_count <= 2  # the second rate makes p a symbol
    for rows in (20, 30, 60, 70):
        thinned.keyed(compiled, 1, batch=(rows, 2 * rows, 4 * rows))(torch.ones(rows, 40))
    assert counter.frame_count <= 3  # the second number of rows makes it a symbol
    for p in (0.0, 1.0):
        model[0].p = p
        assert torch.equal(compiled(torch.ones(5, 40)), torch.full((5, 40), 1 - p))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_ten_sites_stay_ten_after_one_manual_seed(backend: str) -> None:
    layers = nn.ModuleList(thinned.nn.Dropout(0.5) for _ in range(10))

    def function(x: Tensor) -> Tensor:
        y = layers[0](x) + layers[1](x)  # two on the same input
        for layer in layers[2:]:
            y = torch.stack((y, layer(x))).sum(0)
        return y

    x = torch.ones(64, 64)
    torch.manual_seed(5)
    wanted = function(x)
    torch.manual_seed(5)
    torch.testing.assert_close(torch.compile(function, backend=backend, fullgraph=True)(x), wanted)
    assert wanted.unique().numel() > 5


@pytest.mark.parametrize("key", [False, True])
def test_a_graph_for_another_device_than_the_one_that_the_law_lies_on(key: bool) -> None:
    """The law stays in the CPU's memory, also in a GPU's graph, and so does a key; `meta` stands for the GPU."""
    model = nn.Sequential(thinned.nn.Dropout(0.5), thinned.nn.Dropout(0.1))
    if key:
        thinned.keyed(model, 1, batch=(0, 4, 8))
    x = torch.ones(4, 8, device="meta", requires_grad=True)
    output = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    output.sum().backward()
    assert x.grad is not None
    assert (output.device, x.grad.device) == (x.device, x.device)


@pytest.mark.parametrize("training", [False, True])
def test_export(training: bool) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), thinned.nn.Dropout(0.5)).train(training)
    program = torch.export.export(model, (batch(),))
    torch.manual_seed(2)
    wanted = model(batch())
    torch.manual_seed(2)
    torch.testing.assert_close(program.module()(batch()), wanted)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_autocast(backend: str) -> None:
    model = net()
    compiled = run_as(backend, model)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        wanted = thinned.keyed(model, 1)(batch())
        got = thinned.keyed(model, 1)(batch()) if backend == "eager" else thinned.keyed(compiled, 1)(batch())
    assert got.dtype == wanted.dtype
    assert torch.equal(got == 0, wanted == 0)


RESUMED = """
import sys, torch, thinned
from torch import nn
first, last, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), thinned.nn.Dropout(0.5), nn.Linear(64, 16))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
if first:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"]), optimizer.load_state_dict(state["optimizer"])
    torch.manual_seed(first)  # whatever state the generator is in
for step in range(first, last):
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
    thinned.keyed(model, 11, step)(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
"""


def test_a_run_that_is_resumed_in_a_new_process_ends_in_the_same_weights(tmp_path: Path) -> None:
    def run(first: int, last: int, name: str) -> dict[str, Tensor]:
        subprocess.run([sys.executable, "-c", RESUMED, str(first), str(last), str(tmp_path / name)], check=True)
        weights: dict[str, Tensor] = torch.load(tmp_path / name, weights_only=True)["model"]
        return weights

    through = run(0, 20, "through.pt")
    run(0, 7, "stopped.pt")
    resumed = run(7, 20, "stopped.pt")
    assert all(torch.equal(through[name], resumed[name]) for name in through)
