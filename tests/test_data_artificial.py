"""Artificial data: the walks and the flips by a slow reference, and the rates that they must have."""

import math

import numpy as np
import pytest

from thinned import data, philox
from thinned._errors import KindError, RangeError
from thinned.data import artificial


def word(seed, stream, row, column, columns):
    """The word of a row's column; every row has whole counters of its own."""
    counter = row * math.ceil(columns / 4) + column // 4
    return int(philox.words(counter, 1, seed, stream)[0, column % 4])


def walk(target, features, seed):
    corner = [word(seed, 0, target, j, features) % 2 for j in range(features)]
    points = [corner]
    for step in range(1, 1000):
        moved = word(seed, 1, target, step, 1000) * features >> 32
        points.append([bit ^ (j == moved) for j, bit in enumerate(points[-1])])
    return points


@pytest.mark.parametrize("stream", [2, 4])
def test_examples_by_hand(stream):
    made = artificial.make(7, 7, features=13, classes=3, seed=9)
    part = made.train if stream == 2 else made.test
    walks = [walk(target, 13, 9) for target in range(3)]
    assert part.targets.tolist() == [0, 1, 2, 0, 1, 2, 0]
    for i, row in enumerate(part.inputs):
        point = walks[i % 3][word(9, stream, i, 0, 1) * 1000 >> 32]
        flips = [word(9, stream + 1, i, j, 13) < 0.4 * 2**32 for j in range(13)]
        assert row.tolist() == [2 * (bit ^ flip) - 1 for bit, flip in zip(point, flips, strict=True)]


def test_shapes_types_and_defaults(monkeypatch):
    monkeypatch.setattr(artificial.make, "__defaults__", (201, None))
    made = data.load("artificial")
    assert (made.name, made.classes, made.note) == ("artificial", 100, "")
    assert made.train.inputs.shape == (201, 1000)
    assert made.test.inputs.shape == (21, 1000)  # a tenth, rounded up
    assert made.train.inputs.dtype == np.float32
    assert made.train.targets.dtype == np.int64
    assert np.unique(made.train.inputs).tolist() == [-1.0, 1.0]


def test_sizes_as_published():
    assert (artificial.EXAMPLES, artificial.FEATURES, artificial.CLASSES) == (100_000, 1000, 100)


def test_example_i_does_not_depend_on_how_many_there_are(monkeypatch):
    few = artificial.make(20, 10, features=10, classes=4, seed=3)
    monkeypatch.setattr(artificial, "CHUNK", 7)
    many = artificial.make(50, 30, features=10, classes=4, seed=3)
    for a, b in ((few.train, many.train), (few.test, many.test)):
        np.testing.assert_array_equal(b.inputs[: len(a.inputs)], a.inputs)


def test_seeds_differ_and_parts_do():
    first, second = (artificial.make(40, 40, features=100, classes=2, seed=seed) for seed in (0, -1))
    assert not np.array_equal(first.train.inputs, second.train.inputs)
    assert not np.array_equal(first.train.inputs, first.test.inputs)


def test_features_are_balanced_and_four_in_ten_flipped(monkeypatch):
    """With one point a walk, an example is its class's corner but for the flips: their number is binomial."""
    monkeypatch.setattr(artificial, "POINTS", 1)
    made = artificial.make(10_000, 1, features=50, classes=4)
    corners = np.array([np.sign(made.train.inputs[made.train.targets == c].sum(0)) for c in range(4)])
    flipped = np.mean(made.train.inputs != corners[made.train.targets])
    # 500,000 flips of probability 0.4: five standard deviations are 5 sqrt(0.24 / 500,000) = 0.0035. A corner is
    # found by the majority of 2,500, which errs with a chance below exp(-2 * 2,500 * 0.1**2) = 2e-22 (Hoeffding).
    assert abs(flipped - 0.4) < 0.0035
    # A corner's 200 bits are fair: five standard deviations of their mean (as -1 and 1) are 5 / sqrt(200) = 0.354.
    assert abs(corners.mean()) < 0.354


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"examples": 0}, RangeError, r"^`examples` must be at least 1, but got examples=0\.$"),
        ({"test_examples": 0}, RangeError, r"^`test_examples` must be at least 1, but got test_examples=0\.$"),
        ({"features": 1.5}, KindError, r"^`features` must be an integer, but got features=1\.5 of type float\.$"),
        ({"classes": -1}, RangeError, r"^`classes` must be at least 1, but got classes=-1\.$"),
        ({"seed": 2**64}, RangeError, r"^`seed` must be in \[-2\*\*63, 2\*\*64 - 1\], but got seed="),
        ({"examples": 2**21}, RangeError, r"must give at most 4294967296 bytes of data, but got examples=2097152 \+ 2"),
        ({"classes": 2**20}, RangeError, r"must give at most 4294967296 bytes of data, but got .* classes=1048576:"),
    ],
)
def test_wrong_arguments(change, error, message):
    with pytest.raises(error, match=message):
        artificial.make(**change)
