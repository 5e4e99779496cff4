"""`python -m benchmarks.laboratory`: what the laboratory's loop costs beside one that is written by hand.

784-800-800-10, batches of 100, as for MNIST, on made-up data. Both do the same work: the same network with
`thinned.nn.Dropout`, the same fused SGD, a random order, and a mean of the losses. They take turns, epoch by epoch.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import thinned
from benchmarks.__main__ import machine
from thinned.lab.examples import Examples
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer

SIZES, BATCH, STEPS, TURNS = (784, 800, 800, 10), 100, 20, 93
LR, MOMENTUM = 0.03, 0.9
BAR = 1.05
RESULTS = Path(__file__).parent / "results" / "laboratory.csv"


def network() -> nn.Module:
    first, second, third, last = SIZES
    return nn.Sequential(
        thinned.nn.Dropout(0.2),
        *(nn.Linear(first, second), nn.ReLU(), thinned.nn.Dropout(0.5)),
        *(nn.Linear(second, third), nn.ReLU(), thinned.nn.Dropout(0.5)),
        nn.Linear(third, last),
    )


def by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples) -> float:
    """One epoch, as one would write it."""
    model.train()
    start = time.perf_counter()
    total = torch.zeros(())
    for rows in torch.randperm(len(examples)).split(BATCH):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(examples.inputs[rows]), examples.targets[rows])
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    float(total)
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    torch.manual_seed(0)
    targets = torch.randint(SIZES[-1], (BATCH * STEPS,))
    examples = Examples(torch.rand(BATCH * STEPS, SIZES[0]), targets)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    trainer = Trainer(network, Recipe(epochs=TURNS + 1, batch_size=BATCH, lr=LR, momentum=MOMENTUM), seed=0)
    hand, ours, ratios = [], [], []
    for turn in range(TURNS + 1):
        if turn % 2:  # who goes first alternates
            pair = by_hand(model, optimizer, examples), trainer.epoch(examples)[1] / STEPS
        else:
            pair = (trainer.epoch(examples)[1] / STEPS, by_hand(model, optimizer, examples))[::-1]
        if turn:  # the first warms up
            hand.append(pair[0])
            ours.append(pair[1])
            ratios.append(pair[1] / pair[0])
    low, _, _, high = statistics.quantiles(ratios, n=5, method="inclusive")
    row = {
        "case": "laboratory/784-800-800-10/B100",
        "ratio": f"{statistics.median(ratios):.4f}",
        "q20": f"{low:.4f}",
        "q80": f"{high:.4f}",
        "bar": BAR,
        "reached": statistics.median(ratios) <= BAR,
        "by_hand_seconds": f"{statistics.median(hand):.6f}",
        "laboratory_seconds": f"{statistics.median(ours):.6f}",
        **machine(),
    }
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(f"one step by hand {1e3 * statistics.median(hand):.3f} ms, laboratory / by hand {row['ratio']} ({low:.4f} to "
          f"{high:.4f}), at most {BAR} wanted")  # fmt: skip
    if not row["reached"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
