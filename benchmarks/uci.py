"""Monte Carlo dropout on the regression tables of Gal and Ghahramani (ICML 2016): RMSE and log-likelihood.

    python -m benchmarks.uci yacht --data DIR

One hidden layer of 50 units, dropout on the inputs and on the hidden layer, 20 splits of 90 % and 10 %. For each split
the drop probability and the precision of the noise are chosen by the log-likelihood on a fifth of the training part;
the network is then trained on all of it. Every split is written to a file of JSON lines as soon as it is done, and is
not run again.
"""

import argparse
import itertools
import json
import math
from pathlib import Path

import numpy as np
import torch

import thinned

HIDDEN, BATCH, LEARNING_RATE, LENGTH_SCALE = 50, 128, 1e-3, 1e-2
RATES = (0.005, 0.01, 0.05, 0.1)
PRECISIONS = {  # of the noise, in units of the target; the grids of github.com/yaringal/DropoutUncertaintyExps
    "concrete": (0.025, 0.05, 0.075),
    "energy": (0.25, 0.5, 0.75),
    "wine-quality-red": (2.5, 3.0, 3.5),
    "yacht": (0.25, 0.5, 0.75),
}


def splits(n: int, count: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    """The splits of the paper: the first 90 % of a permutation, and the rest."""
    random = np.random.RandomState(1)  # the published splits are of the legacy generator
    orders = [random.choice(range(n), n, replace=False) for _ in range(count)]
    return [(order[: round(0.9 * n)], order[round(0.9 * n) :]) for order in orders]


class Regression:
    """A network for standardised inputs and targets, and what it says in the target's own unit."""

    def __init__(self, x: np.ndarray, y: np.ndarray, p: float, precision: float, epochs: int, seed: int) -> None:
        self.mean, self.deviation = x.mean(0), np.where(x.std(0) == 0, 1, x.std(0))
        self.y_mean, self.y_deviation = y.mean(), y.std()
        self.precision = precision
        torch.manual_seed(seed)
        layers = [thinned.nn.Dropout(p), torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.ReLU()]
        layers += [thinned.nn.Dropout(p), torch.nn.Linear(HIDDEN, 1)]
        self.model = torch.nn.Sequential(*layers)
        self.train(self.inputs(x), torch.tensor((y - self.y_mean) / self.y_deviation, dtype=torch.float32), p, epochs)

    def inputs(self, x: np.ndarray) -> torch.Tensor:
        return torch.tensor((x - self.mean) / self.deviation, dtype=torch.float32)

    def train(self, x: torch.Tensor, y: torch.Tensor, p: float, epochs: int) -> None:
        decay = LENGTH_SCALE**2 * (1 - p) / (2 * len(x) * self.precision)
        weights = [parameter for parameter in self.model.parameters() if parameter.dim() == 2]
        biases = [parameter for parameter in self.model.parameters() if parameter.dim() == 1]
        groups = [{"params": weights, "weight_decay": 2 * decay}, {"params": biases}]  # Adam adds decay * w, not w**2
        optimizer = torch.optim.Adam(groups, lr=LEARNING_RATE, fused=True)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                (self.model(x[rows]).squeeze(1) - y[rows]).square().mean().backward()
                optimizer.step()

    def scores(self, x: np.ndarray, y: np.ndarray, passes: int) -> dict[str, float]:
        """RMSE of the mean and of the network without dropout, and the mean log-likelihood."""
        found = thinned.predict(self.model, self.inputs(x), passes, seed=2, samples=True)
        draws = found.samples[..., 0] * self.y_deviation + self.y_mean  # (passes, N)
        target = torch.from_numpy(y)
        exponent = -0.5 * self.precision * (target - draws).square()
        constant = 0.5 * math.log(self.precision / (2 * math.pi)) - math.log(passes)
        with torch.no_grad():
            plain = self.model.eval()(self.inputs(x)).squeeze(1).double() * self.y_deviation + self.y_mean
        return {
            "rmse": float((draws.mean(0) - target).square().mean().sqrt()),
            "log_likelihood": float((torch.logsumexp(exponent, 0) + constant).mean()),
            "rmse_without_dropout": float((plain - target).square().mean().sqrt()),
        }


def one_split(table: np.ndarray, name: str, split: int, epochs: int, passes: int) -> dict[str, float]:
    train, test = splits(len(table))[split]
    x, y = table[train, :-1], table[train, -1]
    part = round(0.8 * len(x))
    best = (-math.inf, 0.0, 0.0)
    for p, precision in itertools.product(RATES, PRECISIONS[name]):
        tried = Regression(x[:part], y[:part], p, precision, epochs, split)
        best = max(best, (tried.scores(x[part:], y[part:], passes)["log_likelihood"], p, precision))
    _, p, precision = best
    final = Regression(x, y, p, precision, epochs, split)
    return {"p": p, "precision": precision, **final.scores(table[test, :-1], table[test, -1], passes)}


def report(records: list[dict[str, float]]) -> str:
    lines = []
    for key in ("rmse", "log_likelihood", "rmse_without_dropout"):
        values = np.array([record[key] for record in records])
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        lines.append(f"{key:<21} {values.mean():7.3f} ± {error:.3f} over {len(values)} splits")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=sorted(PRECISIONS))
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME/data.txt in it")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4000)
    parser.add_argument("--passes", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/uci.jsonl"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the network is too small for more
    table = np.loadtxt(options.data / options.name / "data.txt")
    settings = {"name": options.name, "epochs": options.epochs, "passes": options.passes}
    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    records = {record["split"]: record for record in known if settings.items() <= record.items()}
    for split in range(options.splits):
        if split not in records:
            found = one_split(table, options.name, split, options.epochs, options.passes)
            records[split] = {**settings, "split": split, **found}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a") as file:
                file.write(json.dumps(records[split]) + "\n")
        print(json.dumps(records[split]), flush=True)
    print(report([records[split] for split in range(options.splits)]))


if __name__ == "__main__":
    main()
