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

WAYS = ("none", "example", "value")
MISSING_SHARES = (0.0, 0.25, 0.5, 0.75)
BATCH = 128
HIDDEN = 512
WIDTH = 16  # of an embedding


class Features:
    """Examples with several features, each a ragged list of ids: one CSR structure a feature."""

    def __init__(self, ids, starts, labels):
        self.ids, self.starts, self.labels = ids, starts, labels  # lists over the features; labels of 0 and 1

    def batch(self, rows):
        """Return (values, lengths) of each feature, and the labels, of some examples."""
        features = []
        for ids, starts in zip(self.ids, self.starts, strict=True):
            lengths = starts[rows + 1] - starts[rows]
            first = np.repeat(starts[rows] - (np.cumsum(lengths) - lengths), lengths)
            features.append((torch.from_numpy(ids[first + np.arange(lengths.sum())]), torch.from_numpy(lengths)))
        return features, torch.from_numpy(self.labels[rows])


def synthetic(examples, seed, features=4, ids=30):
    """Each feature says something about the label, with noise; one label in four is 1."""
    random = np.random.default_rng(seed)
    labels = (random.random(examples) < 0.25).astype(np.float32)
    all_ids, all_starts = [], []
    for feature in range(features):
        lengths = random.integers(2, 6, examples)
        owner = np.repeat(labels, lengths)
        high = random.random(lengths.sum()) < np.where(owner == 1, 0.7 + 0.05 * feature, 0.3 - 0.05 * feature)
        all_ids.append(random.integers(0, ids // 2, lengths.sum()) + np.where(high, ids // 2, 0))
        all_starts.append(np.concatenate([[0], np.cumsum(lengths)]))
    return Features(all_ids, all_starts, labels), [ids] * features


def from_libsvm(file, columns=None, features=4):
    """Read a LIBSVM file and cut its columns into runs of equal width, a feature each."""
    from sklearn.datasets import load_svmlight_file

    matrix, labels = load_svmlight_file(str(file), n_features=columns)
    edges = np.linspace(0, matrix.shape[1], features + 1).astype(int)
    parts = [matrix[:, low:high].tocsr() for low, high in itertools.pairwise(edges)]
    ids = [part.indices.astype(np.int64) for part in parts]
    starts = [part.indptr.astype(np.int64) for part in parts]
    return Features(ids, starts, (labels > labels.min()).astype(np.float32)), list(np.diff(edges))


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
        self.drop = nn.ModuleList(layer(0.0 if way == "none" else p, replacement_value=int(size)) for size in sizes)
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
        size = int(self.sizes[index])
        replace = thinned.functional.sparse_dropout_with_replacement
        return replace(values, lengths, replacement_value=size, mask=~missing)


def train(data, model, epochs, seed):
    optimizer = thinned.optim.Adam(model.parameters(), lr=2e-3 if model.top is not None else 2e-2)
    order = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for _ in range(epochs):
        rows = order.permutation(len(data.labels))
        for start in range(0, len(rows) - BATCH + 1, BATCH):
            features, labels = data.batch(rows[start : start + BATCH])
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
    parser.add_argument("--test", help="file to test on; the last fifth of --data if not given")
    parser.add_argument("--examples", type=int, default=3000, help="number of synthetic examples to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--p", type=float, default=0.3, help="probability of a feature, or id, to be replaced")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        training, sizes = synthetic(arguments.examples, seed=1)
        testing, _ = synthetic(arguments.examples // 2, seed=2)
    else:
        training, sizes = from_libsvm(arguments.data)
        if arguments.test:
            testing, _ = from_libsvm(arguments.test, columns=int(sum(sizes)))
        else:
            training, testing = split(training)
    print(f"{len(training.labels)} examples to train on, {len(testing.labels)} to test on, {len(sizes)} features")
    print("accuracy in % with a share of the features missing: mean over seeds (standard deviation)")
    print("model                replaced ", *(f"{share:>12.0%}" for share in MISSING_SHARES), "   seconds")
    result = {}
    for hidden in (False, True):
        for way in WAYS:
            start, rows = time.perf_counter(), []
            for seed in range(arguments.seeds):
                torch.manual_seed(seed)
                model = Model(sizes, way, arguments.p, hidden)
                train(training, model, arguments.epochs, seed)
                rows.append([100 * accuracy(testing, model, share) for share in MISSING_SHARES])
            name = "two hidden layers" if hidden else "logistic regression"
            result[name, way] = [statistics.mean(column) for column in zip(*rows, strict=True)]
            cells = (
                f"{statistics.mean(column):6.2f} ({statistics.stdev(column) if len(column) > 1 else 0:.2f})"
                for column in zip(*rows, strict=True)
            )
            seconds = (time.perf_counter() - start) / arguments.seeds
            print(f"{name:20} {way:9}", *(f"{cell:>12}" for cell in cells), f"{seconds:9.1f}", flush=True)
    return result


def split(data):
    """Put the last fifth of the examples aside."""
    at = len(data.labels) * 4 // 5
    parts = []
    for rows in (slice(0, at), slice(at, None)):
        starts = [s[rows.start : rows.stop + 1 if rows.stop else None] for s in data.starts]
        ids = [i[s[0] : s[-1]] for i, s in zip(data.ids, starts, strict=True)]
        parts.append(Features(ids, [s - s[0] for s in starts], data.labels[rows]))
    return parts


if __name__ == "__main__":
    main()
