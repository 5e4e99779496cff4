"""Training steps of multilayer perceptrons: no dropout, torch's, ours, batchwise, and the ceiling of batchwise.

The ceiling is a dense network of the kept sizes: what batchwise dropout would be if choosing, gathering and scattering
units cost nothing. All but batchwise are updated by torch's fused SGD.

`python -m benchmarks.chains` measures how the gain grows with width and batch, and writes a CSV and a figure.
"""

import argparse
import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thinned
from benchmarks.measure import Timings, interleave
from thinned.masks import units_kept

ROOT = Path(__file__).parent
LR, MOMENTUM = 1e-3, 0.9
Step = Callable[[], object]


@dataclass(frozen=True)
class Net:
    """Widths from input to output, examples of a step, and the drop probability of each but the last."""

    widths: tuple[int, ...]
    batch: int
    p: tuple[float, ...]

    @classmethod
    def of(cls, widths: tuple[int, ...], batch: int, input_p: float, hidden_p: float, last_kept: bool = False) -> "Net":
        p = [input_p, *[hidden_p] * (len(widths) - 2)]
        if last_kept:
            p[-1] = 0.0
        return cls(widths, batch, tuple(p))

    def kept(self) -> "Net":
        widths = [units_kept(n, p) for n, p in zip(self.widths, self.p, strict=False)]
        return Net((*widths, self.widths[-1]), self.batch, (0.0,) * len(self.p))

    def build(self, dropout: Callable[[float], nn.Module] | None = None) -> nn.Sequential:
        layers: list[nn.Module] = []
        for place, (n, m) in enumerate(pairwise(self.widths)):
            if dropout and self.p[place]:
                layers.append(dropout(self.p[place]))
            layers += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def data(self) -> tuple[Tensor, Tensor]:
        return torch.randn(self.batch, self.widths[0]), torch.randint(0, self.widths[-1], (self.batch,))


def fused(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)


def thinned_sgd(model: nn.Module) -> torch.optim.Optimizer:
    return thinned.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor]) -> Step:
    inputs, targets = data

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def batchwise(net: Net, **options: Any) -> thinned.batchwise.Chain:
    return thinned.batchwise.Chain(*net.build(nn.Dropout), **options)


def contenders(net: Net) -> dict[str, Step]:
    torch.manual_seed(0)
    data, small = net.data(), net.kept()
    models = {
        "none": net.build(),
        "torch": net.build(nn.Dropout),
        "thinned": net.build(thinned.nn.Dropout),
        "ceiling": small.build(),
    }
    steps = {
        name: training_step(model, fused(model), small.data() if name == "ceiling" else data)
        for name, model in models.items()
    }
    model = batchwise(net)
    return steps | {"batchwise": training_step(model, thinned_sgd(model), data)}


def activations_kept(net: Net) -> dict[str, int]:
    """Bytes that autograd keeps for the backward of one step: inputs count where it keeps them, parameters do not."""
    inputs, targets = net.data()
    models = {"none": net.build(), "torch": net.build(nn.Dropout), "batchwise": batchwise(net)}
    return {name: _kept(model, inputs, targets) for name, model in models.items()}


def _kept(model: nn.Module, inputs: Tensor, targets: Tensor) -> int:
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(model(inputs), targets)
    del loss
    return sum(kept.values())


def sweep() -> Iterator[tuple[int, int, Timings]]:
    """Two hidden layers of one width, p = 0.2 and 0.5: once over widths, once over batches."""
    places = [(width, 128) for width in (64, 128, 256, 512, 1024, 2048, 4096, 8192)]
    places += [(1024, batch) for batch in (16, 32, 64, 256, 512, 1024, 2048)]
    for width, batch in places:
        turns = 3 if width * width * batch > 2**29 else 7
        yield width, batch, interleave(contenders(Net.of((784, width, width, 10), batch, 0.2, 0.5)), turns)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, (what, chosen) in zip(
        axes,
        {
            "width": [row for row in rows if row["batch"] == 128],
            "batch": sorted((row for row in rows if row["width"] == 1024), key=lambda row: row["batch"]),
        }.items(),
        strict=True,
    ):
        for name, style in {"torch": "o-", "none": "s-"}.items():
            label = {"torch": "against nn.Dropout", "none": "against no dropout"}[name]
            axis.plot(
                [r[what] for r in chosen],
                [r[f"{name}_seconds"] / r["batchwise_seconds"] for r in chosen],
                style,
                label=label,
            )
            ceiling = [r[f"{name}_seconds"] / r["ceiling_seconds"] for r in chosen]
            axis.plot([r[what] for r in chosen], ceiling, ":", color=axis.lines[-1].get_color(), label="its ceiling")
        axis.set_xscale("log", base=2)
        axis.set_xticks([r[what] for r in chosen], [str(r[what]) for r in chosen])
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_xlabel({"width": "width of both hidden layers (batch 128)", "batch": "batch (width 1024)"}[what])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("times faster")
    axes[0].legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chains", description=__doc__)
    parser.add_argument("--figure", type=Path, help="where to put the figure, as SVG")
    arguments = parser.parse_args()
    from benchmarks.__main__ import machine

    torch.set_num_threads(2)
    facts = machine()
    rows = []
    print(f"load: {os.getloadavg()[0]:.2f}\n width  batch   vs torch  vs none  of the ceiling", flush=True)
    for width, batch, timings in sweep():
        ratios = [timings.ratio(name, "batchwise") for name in ("torch", "none", "ceiling")]
        print(f"{width:6d} {batch:6d} {ratios[0]:9.2f} {ratios[1]:8.2f} {ratios[2]:14.0%}", flush=True)
        medians = {f"{name}_seconds": timings.median(name) for name in timings.turns}
        rows.append({"width": width, "batch": batch, **medians})
    path = ROOT / "results" / f"chains-{facts['date'][:10]}-{facts['commit']}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *facts])
        writer.writeheader()
        writer.writerows(
            {**{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}, **facts} for row in rows
        )
    print(f"load at the end: {os.getloadavg()[0]:.2f}\nwritten: {path}")
    if arguments.figure:
        draw(rows, arguments.figure)


if __name__ == "__main__":
    main()
