"""The cases: what is run, who competes, and which ratio has to reach what."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import thinned
from benchmarks import chains
from benchmarks.chains import Net
from benchmarks.measure import TURNS
from benchmarks.transformer import training_step
from thinned.kernels import cpu
from thinned.masks import rate

Contenders = Mapping[str, Callable[[], object]]
Arrays = tuple[NDArray[np.int64], NDArray[np.int32]]


@dataclass(frozen=True)
class Bar:
    """time(over) / time(under) must be at least (or, if `at_most`, at most) `bar`; `aim` is what we are after."""

    over: str
    under: str
    bar: float
    aim: float
    at_most: bool = False

    def reached(self, ratio: float, goal: float) -> bool:
        return ratio <= goal if self.at_most else ratio >= goal


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    threads: int
    setup: Callable[[], Contenders]
    bars: tuple[Bar, ...]
    turns: int = TURNS


def _forward(n: int, dtype: torch.dtype = torch.float32, compiled: bool = False) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        x = torch.randn(n).to(dtype)
        contenders = {
            "thinned": lambda: thinned.dropout(x, 0.1),
            "torch": lambda: F.dropout(x, 0.1),
            "clone": x.clone,
        }
        if compiled:
            torch._dynamo.reset()
            fused = torch.compile(lambda t: F.dropout(t, 0.1))
            contenders["torch.compile"] = lambda: fused(x)
        return contenders

    return setup


def _forward_backward(n: int) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        x, grad = torch.randn(n, requires_grad=True), torch.randn(n)

        def step(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
            return lambda: torch.autograd.grad(function(x), x, grad)

        return {
            "thinned": step(lambda t: thinned.dropout(t, 0.1)),
            "torch": step(lambda t: F.dropout(t, 0.1)),
            "input * c": step(lambda t: t * 1.1),
        }

    return setup


def _reused(n: int) -> Contenders:
    x, y = torch.randn(n), torch.empty(n)
    return {
        "thinned": lambda: thinned.dropout(y, 0.1, inplace=True),
        "kernel into y": lambda: cpu.dropout(x, y, rate(0.1), 1, 0),
        "copy_": lambda: y.copy_(x),
    }


def _tiny(grad: bool) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        x = torch.randn(1000, requires_grad=grad)
        return {"thinned": lambda: thinned.dropout(x, 0.1), "torch": lambda: F.dropout(x, 0.1)}

    return setup


def _paths(n: int) -> Contenders:
    x = torch.randn(n)

    def forward(path: str) -> Callable[[], object]:
        return lambda: cpu.dropout(x, torch.empty_like(x), rate(0.1), 1, 0, fresh=True, path=path)

    return {path: forward(path) for path in cpu.PATHS}


def _transformer() -> Contenders:
    return {
        "nn.Dropout": training_step(p=0.1),
        "thinned.convert": training_step(p=0.1, change=thinned.convert),
        "p = 0": training_step(p=0.0),
    }


def _compiled_transformer() -> Contenders:
    def compiled(model: torch.nn.Module) -> torch.nn.Module:
        return torch.compile(thinned.convert(model))  # type: ignore[return-value]

    torch._dynamo.reset()
    return {
        "eager": training_step(p=0.1, change=thinned.convert),
        "compiled": training_step(p=0.1, change=compiled),
    }


def _passes() -> Contenders:
    """Monte Carlo dropout with 10,000 passes for one row."""
    layers = [torch.nn.Linear(8, 50), torch.nn.ReLU(), torch.nn.Dropout(0.1)]
    layers += [torch.nn.Linear(50, 50), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(50, 1)]
    model, x, passes = torch.nn.Sequential(*layers), torch.randn(1, 8), 10_000

    def loop() -> torch.Tensor:
        with torch.no_grad():
            return torch.stack([model(x) for _ in range(passes)])

    return {"thinned": lambda: thinned.predict(model, x, passes), "loop": loop}


def _chain(name: str, net: Net, share: float, torch_bar: float | None, none_bar: float | None, turns: int = 5) -> Case:
    """A training step of batchwise dropout, and which share of its ceiling's speed-up it has to reach."""
    bars = [Bar("ceiling", "batchwise", share, 0.97 if share > 0.8 else 0.95)]
    if torch_bar and none_bar:
        bars += [Bar("torch", "batchwise", torch_bar, torch_bar / share * 0.95)]
        bars += [Bar("none", "batchwise", none_bar, none_bar / share * 0.95)]
    return Case(f"batchwise {name}, batch {net.batch}", 2, lambda: chains.contenders(net), tuple(bars), turns)


WIDE = Net.of((784, 2048, 2048, 2048, 10), 512, 0.2, 0.5)


def _replaced_by_one_gather(values: NDArray[np.int64], lengths: NDArray[np.int32], keep: NDArray[np.bool_]) -> Arrays:
    """The fastest of the versions tried: one gather, in which a dropped example's first value holds the id's place."""
    dropped = np.flatnonzero(~keep)
    empty = dropped[lengths[dropped] == 0]
    if empty.size:  # these have no value that could
        values = np.insert(values, (np.cumsum(lengths) - lengths)[empty], 0)
        lengths = lengths.copy()
        lengths[empty] = 1
    new_lengths = np.where(keep, lengths, np.int32(1))
    taken = np.repeat(keep, lengths)
    taken[(np.cumsum(lengths) - lengths)[dropped]] = True
    new = values[taken]
    new[np.cumsum(new_lengths)[dropped] - 1] = -1
    return new, new_lengths


def _replaced_by_two_masks(values: NDArray[np.int64], lengths: NDArray[np.int32], keep: NDArray[np.bool_]) -> Arrays:
    """The shortest version: the values kept, to the places kept."""
    new_lengths = np.where(keep, lengths, np.int32(1))
    new = np.full(int(new_lengths.sum()), -1, values.dtype)
    new[np.repeat(keep, new_lengths)] = values[np.repeat(keep, lengths)]
    return new, new_lengths


def _sparse_replacement(examples: int) -> Contenders:
    lengths = torch.full((examples,), 20, dtype=torch.int32)
    values = torch.arange(20 * examples)

    def thinned_() -> tuple[torch.Tensor, torch.Tensor]:
        return thinned.functional.sparse_dropout_with_replacement(  # type: ignore[no-any-return]
            values, lengths, 0.1, replacement_value=-1, seed=1
        )

    def with_numpy(function: Callable[..., Arrays]) -> Callable[[], Arrays]:
        return lambda: function(values.numpy(), lengths.numpy(), thinned.Mask(0.1, 1).keep_array((examples,)))

    by_numpy = {
        "NumPy, one gather": with_numpy(_replaced_by_one_gather),
        "NumPy, two masks": with_numpy(_replaced_by_two_masks),
    }
    for run in by_numpy.values():
        for ours, theirs in zip(thinned_(), run(), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs)
    return {"thinned": thinned_, **by_numpy, "copy": lambda: (values.clone(), lengths.clone())}


SPEED = [
    Case("forward 1M", 2, _forward(1 << 20), (Bar("torch", "thinned", 30, 55),)),
    Case("forward 1M, one thread", 1, _forward(1 << 20), (Bar("torch", "thinned", 20, 30),)),
    Case(
        "forward + backward 1M",
        2,
        _forward_backward(1 << 20),
        (Bar("torch", "thinned", 12, 20), Bar("thinned", "input * c", 1.3, 1.1, at_most=True)),
    ),
    Case(
        "forward 16M, fresh output",
        2,
        _forward(1 << 24),
        (Bar("torch", "thinned", 10, 18), Bar("thinned", "clone", 1.5, 0.6, at_most=True)),
    ),
    Case(
        "forward 16M, reused memory",
        2,
        lambda: _reused(1 << 24),
        (Bar("thinned", "copy_", 1.6, 1.1, at_most=True), Bar("kernel into y", "copy_", 1.6, 1.1, at_most=True)),
    ),
    Case("bfloat16 forward 1M", 2, _forward(1 << 20, torch.bfloat16), (Bar("torch", "thinned", 25, 45),)),
    Case("float16 forward 1M", 2, _forward(1 << 20, torch.float16), (Bar("torch", "thinned", 25, 45),)),
    Case("1,000 elements, no grad", 2, _tiny(False), (Bar("torch", "thinned", 2, 3.5),)),
    Case("1,000 elements, grad", 2, _tiny(True), (Bar("torch", "thinned", 1, 2),)),
    Case("portable path, forward 1M", 2, lambda: _paths(1 << 20), (Bar("portable", "avx2", 2.2, 1.7, at_most=True),)),
    Case(
        "transformer training step",
        2,
        _transformer,
        (Bar("nn.Dropout", "thinned.convert", 1.3, 1.35), Bar("thinned.convert", "p = 0", 1.1, 1.05, at_most=True)),
    ),
    Case("forward 1M against the compiler", 2, _forward(1 << 20, compiled=True), ()),
    Case(
        "transformer step, compiled",
        2,
        _compiled_transformer,
        (Bar("compiled", "eager", 1.0, 0.9, at_most=True),),
    ),
    _chain("784-800-800-10", Net.of((784, 800, 800, 10), 100, 0.2, 0.5), 0.75, 2.6, 1.8, turns=TURNS),
    _chain("3072-1000x3-10", Net.of((3072, 1000, 1000, 1000, 10), 100, 0.2, 0.5), 0.75, 2.5, 1.9, turns=TURNS),
    _chain("1000-1000x3-100", Net.of((1000, 1000, 1000, 1000, 100), 100, 0.5, 0.5), 0.75, 3.2, 2.3, turns=TURNS),
    _chain("784-2048x3-10", WIDE, 0.85, 4.0, 3.1),
    _chain("25088-4096-4096-1000 (VGG-16)", Net.of((25088, 4096, 4096, 1000), 64, 0.0, 0.5), 0.8, None, None),
    _chain(
        "9216-4096-4096-1000 (AlexNet)",
        Net.of((9216, 4096, 4096, 1000), 128, 0.5, 0.5, last_kept=True),
        0.8,
        None,
        None,
    ),
    Case("Monte Carlo dropout, 10,000 passes, 8-50-50-1, one row", 1, _passes, (Bar("loop", "thinned", 10, 20),), 5),
    Case(
        "sparse replacement, 1M examples of 20 ids",
        2,
        lambda: _sparse_replacement(1 << 20),
        (
            Bar("NumPy, one gather", "thinned", 5, 8),
            Bar("NumPy, two masks", "thinned", 5, 8),
            Bar("thinned", "copy", 2.5, 1.5, at_most=True),
        ),
    ),
]


def bytes_kept(function: Callable[[torch.Tensor], torch.Tensor], n: int = 1 << 20) -> int:
    """Bytes that autograd keeps for the backward of one call."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(n, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(x)
    return sum(kept.values())


_IMPORT = """
import time, torch
start = time.perf_counter()
import thinned
print(time.perf_counter() - start)
"""


def import_seconds() -> float:
    """Seconds that `import thinned` takes after `import torch`, in a new process that may keep its bytecode."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)
