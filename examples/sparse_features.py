"""Sparse dropout with replacement: a model that stays useful when features go missing.

Run it with ``python examples/sparse_features.py``, or on real data, a file in LIBSVM's format such as a9a or agaricus
(``--data FILE``; ``--test FILE`` if there is one). Real data need scikit-learn.

The columns fall into a few *features*, each a list of ids. While testing, a share of the features of each example is
missing, as if the service that delivers it were down. Three ways to live with that are compared:

- none: nothing is done in training; a missing feature is an empty list;
- example: ``SparseDropoutWithReplacement`` replaces all ids of a feature by one id, MISSING, in training, and the model
  learns what to make of it; while testing, a missing feature has the id MISSING;
- value: ``SparseItemwiseDropoutWithReplacement`` replaces single ids by it.
"""

import argparse
import itertools
import statistics
import time

import numpy as np
import torch
from torch import nn

import thinned
from thinned.data import Sparse, load

WAYS = ("none", "example", "value")
MISSING_SHARES = (0.0, 0.25, 0.5, 0.75)
BATCH = 128
HIDDEN = 512
WIDTH = 16  # of an embedding


class Features:
    """Examples with several features, each a ragged list of ids, and a label of 0 or 1."""

    def __init__(self, lists, labels):
        self.lists, self.labels = lists, np.float32(labels)  # a `Sparse` for each feature

    @property
    def sizes(self):
        """How many ids each feature has."""
        return [rows.features for rows in self.lists]

    def batch(self, chosen):
        """Return (values, lengths) of each feature, and the labels, of some examples."""
        parts = [rows[chosen] for rows in self.lists]
        features = [(torch.from_numpy(part.ids), torch.from_numpy(part.lengths)) for part in parts]
        return features, torch.from_numpy(self.labels[chosen])


def rows(ids, lengths, features):
    """Return lists of ids, of which only the presence counts."""
    return Sparse(ids, np.concatenate([[0], np.cumsum(lengths)]), np.ones(len(ids), np.float32), features)


def synthetic(examples, seed, features=4, ids=30):
    """Each feature says something about the label, with noise; one label in four is 1."""
    random = np.random.default_rng(seed)
    labels = random.random(examples) < 0.25
    lists = []
    for feature in range(features):
        lengths = random.integers(2, 6, examples)
        owner = np.repeat(labels, lengths)
        high = random.random(lengths.sum()) < np.where(owner, 0.7 + 0.05 * feature, 0.3 - 0.05 * feature)
        lists.append(rows(random.integers(0, ids // 2, lengths.sum()) + np.where(high, ids // 2, 0), lengths, ids))
    return Features(lists, labels)


def cut(split, features=4):
    """Cut the columns of sparse rows into runs of equal width, a feature each."""
    sparse, lists = split.inputs, []
    owner = np.repeat(np.arange(len(sparse)), sparse.lengths)
    for low, high in itertools.pairwise(np.linspace(0, sparse.features, features + 1).astype(int)):
        mine = (sparse.ids >= low) & (sparse.ids < high)
        lists.append(rows(sparse.ids[mine] - low, np.bincount(owner[mine], minlength=len(sparse)), int(high - low)))
    return Features(lists, split.targets)


class Model(nn.Module):
    """An embedding bag a feature, and what is made of them: one weight an id, or two hidden layers."""

    def __init__(self, sizes, way, p, hidden):
        super().__init__()
        self.sizes, self.way = sizes, way
        width = WIDTH if hidden else 1
        self.bags = nn.ModuleList(nn.EmbeddingBag(size + 1, width, mode="sum") for size in sizes)
        layer = thinned.nn.SparseItemwiseDropoutWithReplacement
        if way == "example":
            layer = thinned.nn.SparseDropoutWithReplacement
        self.drop = nn.ModuleList(layer(0.0 if way == "none" else p, replacement_value=size) for size in sizes)
        self.top = None
        if hidden:
            inside = WIDTH * len(sizes), HIDDEN, HIDDEN
            layers = [(nn.Linear(n, m), nn.ReLU(), nn.Dropout()) for n, m in itertools.pairwise(inside)]
            top = nn.Sequential(*itertools.chain(*layers), nn.Linear(HIDDEN, 1))
            # Compute only the hidden units that dropout keeps, where that pays.
            self.top = thinned.convert(top, batchwise=True, batch_size=BATCH)

    def forward(self, features, missing=None):
        embedded = []
        for index, (bag, drop) in enumerate(zip(self.bags, self.drop, strict=True)):
            feature = features[index] if missing is None else self.without(index, *features[index], missing[:, index])
            values, lengths = drop(*feature)
            embedded.append(bag(values, lengths.cumsum(0) - lengths))
        if self.top is None:
            return torch.stack(embedded).sum(0).squeeze(1)
        return self.top(torch.cat(embedded, dim=1)).squeeze(1)

    def without(self, index, values, lengths, missing):
        """Put MISSING in the place of a feature where it is missing; an empty list, if that was never learned."""
        if self.way == "none":
            return values[~missing.repeat_interleave(lengths)], torch.where(missing, 0, lengths)
        replace = thinned.functional.sparse_dropout_with_replacement
        return replace(values, lengths, replacement_value=self.sizes[index], mask=~missing)


def train(data, model, epochs, seed):
    optimizer = thinned.optim.Adam(model.parameters(), lr=2e-3 if model.top is not None else 2e-2)
    order = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for _ in range(epochs):
        shuffled = order.permutation(len(data.labels))
        for start in range(0, len(shuffled) - BATCH + 1, BATCH):
            features, labels = data.batch(shuffled[start : start + BATCH])
            loss = nn.functional.binary_cross_entropy_with_logits(model(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(data, model, share):
    """Share of right answers when that share of the features is missing: the same ones for all models."""
    model.eval()
    features, labels = data.batch(np.arange(len(data.labels)))
    keep = thinned.Mask(share, seed=99).keep((len(labels), len(features)))
    with torch.no_grad():
        return float(((model(features, ~keep) > 0) == (labels > 0.5)).float().mean())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="file in LIBSVM's format; synthetic data if not given")
    parser.add_argument("--test", help="file to test on; a fifth of --data if not given")
    parser.add_argument("--examples", type=int, default=3000, help="number of synthetic examples to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--p", type=float, default=0.3, help="probability of a feature, or id, to be replaced")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        training, testing = synthetic(arguments.examples, seed=1), synthetic(arguments.examples // 2, seed=2)
    else:
        data = load(arguments.data, test=arguments.test)
        if data.classes != 2 or not isinstance(data.train.inputs, Sparse):
            parser.error(f"--data must be a file in LIBSVM's format with two classes, but got {arguments.data}.")
        training, testing = cut(data.train), cut(data.test)
    print(
        f"{len(training.labels)} examples to train on, {len(testing.labels)} to test on, {len(training.lists)} features"
    )
    print("accuracy in % with a share of the features missing: mean over seeds (standard deviation)")
    print("model                replaced ", *(f"{share:>12.0%}" for share in MISSING_SHARES), "   seconds")
    result = {}
    for hidden in (False, True):
        for way in WAYS:
            start, found = time.perf_counter(), []
            for seed in range(arguments.seeds):
                torch.manual_seed(seed)
                model = Model(training.sizes, way, arguments.p, hidden)
                train(training, model, arguments.epochs, seed)
                found.append([100 * accuracy(testing, model, share) for share in MISSING_SHARES])
            name = "two hidden layers" if hidden else "logistic regression"
            result[name, way] = [statistics.mean(column) for column in zip(*found, strict=True)]
            cells = (
                f"{statistics.mean(column):6.2f} ({statistics.stdev(column) if len(column) > 1 else 0:.2f})"
                for column in zip(*found, strict=True)
            )
            seconds = (time.perf_counter() - start) / arguments.seeds
            print(f"{name:20} {way:9}", *(f"{cell:>12}" for cell in cells), f"{seconds:9.1f}", flush=True)
    return result


if __name__ == "__main__":
    main()
