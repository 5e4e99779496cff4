"""`python -m benchmarks.gpu`: a GPU's copy bandwidth first, then dropout against it, torch's and the compiler's."""

import argparse
import csv
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import thinned
from benchmarks.__main__ import COLUMNS, ROOT, machine, show, word
from benchmarks.cases import Bar, Case, Contenders
from benchmarks.measure import interleave

SIZES = (1 << 20, 1 << 24, 1 << 28, 1 << 30)
DTYPES = (torch.bfloat16, torch.float32)


def _forward(n: int, dtype: torch.dtype, device: str) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        torch._dynamo.reset()
        x = torch.randn(n, device=device).to(dtype)
        fused = torch.compile(lambda t: F.dropout(t, 0.1))
        return {
            "thinned": lambda: thinned.dropout(x, 0.1),
            "torch": lambda: F.dropout(x, 0.1),
            "torch.compile": lambda: fused(x),
            "clone": x.clone,
        }

    return setup


def _both(n: int, dtype: torch.dtype, device: str) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        x = torch.randn(n, device=device).to(dtype).requires_grad_()
        grad = torch.randn(n, device=device).to(dtype)

        def step(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
            return lambda: torch.autograd.grad(function(x), x, grad)

        return {
            "thinned": step(lambda t: thinned.dropout(t, 0.1)),
            "torch": step(lambda t: F.dropout(t, 0.1)),
            "two clones": lambda: (x.detach().clone(), grad.clone()),
        }

    return setup


def _fused(rows: int, device: str) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        torch._dynamo.reset()
        x, residual = (torch.randn(rows, 4096, device=device, dtype=torch.bfloat16) for _ in range(2))
        bias = torch.randn(4096, device=device, dtype=torch.bfloat16)

        def block(drop: Callable[..., torch.Tensor]) -> Callable[[], object]:
            fused = torch.compile(lambda t: drop(F.gelu(t + bias), 0.1) + residual)
            return lambda: fused(x)

        return {"thinned": block(thinned.dropout), "torch.compile": block(F.dropout)}

    return setup


def cases(device: str, sizes: tuple[int, ...]) -> list[Case]:
    result = []
    for dtype in DTYPES:
        kind = str(dtype).removeprefix("torch.")
        for n in sizes:
            limit = Bar("clone", "thinned", 0.97, 1.0) if n > 1 << 20 else Bar("torch", "thinned", 1.0, 2.0)
            result.append(Case(f"forward {n >> 20}M {kind}", 2, _forward(n, dtype, device), (limit,)))
        for n in sizes[:-1]:
            limit = Bar("two clones", "thinned", 0.95, 1.0)
            result.append(Case(f"forward + backward {n >> 20}M {kind}", 2, _both(n, dtype, device), (limit,)))
    fused = Bar("torch.compile", "thinned", 1.0, 1.1)
    return [*result, Case("bias + GELU + dropout + residual", 2, _fused(8192, device), (fused,))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out tensors of more elements")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and arguments.device == "cuda":
        sys.exit("No CUDA device is visible to torch; nothing was measured.")
    sync = torch.cuda.synchronize if arguments.device == "cuda" else None
    facts = machine()
    if sync:
        facts["cpu"] = torch.cuda.get_device_name()
        source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
        seconds = interleave({"copy": source.clone}, sync=sync).median("copy")
        print(f"{facts['cpu']}: copy bandwidth {2 * source.numel() / seconds / 1e9:.0f} GB/s (read and written)")
    rows: list[dict[str, Any]] = []
    for case in cases(arguments.device, tuple(n for n in SIZES if n <= arguments.largest)):
        timings = interleave(case.setup(), sync=sync)
        for name in timings.turns:
            low, high = (quantile * 1e6 for quantile in timings.quantiles(name))
            time = {"value": timings.median(name) * 1e6, "unit": "us", "q20": low, "q80": high}
            rows.append({"case": case.name, "metric": "time", "contender": name, **time})
        for bar in case.bars:
            ratio, what = timings.ratio(bar.over, bar.under), f"time({bar.over}) / time({bar.under})"
            goals = {"bar": bar.bar, "aim": bar.aim, "reached": word(bar, ratio)}
            rows.append({"case": case.name, "metric": "ratio", "contender": what, "value": ratio, "unit": "x", **goals})
            show(case.name, what, f"{ratio:.2f}", f">={bar.bar:g}", f">={bar.aim:g}", word(bar, ratio))
    if sync:
        path = ROOT / "results" / f"gpu-{facts['date'][:10]}-{facts['commit']}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *facts], restval="")
            writer.writeheader()
            writer.writerows({**row, **facts} for row in rows)
        print(f"written: {path}")


if __name__ == "__main__":
    main()
