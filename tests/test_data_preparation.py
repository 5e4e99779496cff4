"""What is done to data before training: statistics of the training part alone, parts that do not overlap."""

import numpy as np
import pytest

from thinned import data
from thinned._errors import KindError, RangeError
from thinned.data import Dataset, Sparse, Split

RANDOM = np.random.default_rng(3)


def made(shape, task="classification", seed=0):
    random = np.random.default_rng(seed)
    inputs = random.normal(50, 3, shape).astype(np.float32)
    if task == "regression":
        return Split(inputs, random.normal(-7, 2, shape[0]).astype(np.float32))
    return Split(inputs, random.integers(0, 3, shape[0]))


def dataset(shape, task="classification"):
    train, test = made(shape, task), made((4, *shape[1:]), task, seed=1)
    return Dataset("made", train, test, 3 if task == "classification" else 0, task=task)


@pytest.mark.parametrize(
    ("shape", "per", "axes"),
    [
        ((30, 4), None, 0),
        ((30, 4), "all", (0, 1)),
        ((30, 5, 6), None, (0, 1, 2)),
        ((30, 3, 5, 6), None, (0, 2, 3)),
        ((30, 3, 5, 6), "feature", 0),
        ((30, 3, 5, 6), "all", (0, 1, 2, 3)),
    ],
)
def test_standardise_by_the_training_part(shape, per, axes, monkeypatch):
    monkeypatch.setattr(data.preparation, "CHUNK", 100)  # several parts
    whole = dataset(shape)
    ready = data.standardise(whole, per=per)
    train = whole.train.inputs.astype(np.float64)
    mean, std = train.mean(axes, keepdims=True), train.std(axes, keepdims=True)
    # Values near 50 with a std near 3, in float32: an error of a few parts in 2**24 of 50/3.
    np.testing.assert_allclose(ready.train.inputs, (train - mean) / std, atol=4e-6)
    np.testing.assert_allclose(ready.test.inputs, (whole.test.inputs - mean) / std, atol=4e-6)
    np.testing.assert_allclose(ready.input_scaling.undo(ready.test.inputs), whole.test.inputs, rtol=1e-6)
    assert ready.train.targets is whole.train.targets
    assert ready.target_scaling is None
    assert ready.train.inputs.dtype == np.float32


def test_standardise_targets_of_a_regression():
    whole = dataset((30, 4), "regression")
    ready = data.standardise(whole)
    mean, std = whole.train.targets.astype(np.float64).mean(), whole.train.targets.astype(np.float64).std()
    np.testing.assert_allclose(ready.test.targets, (whole.test.targets - mean) / std, atol=4e-6)
    np.testing.assert_allclose(ready.target_scaling.undo(ready.test.targets), whole.test.targets, rtol=1e-6)
    kept = data.standardise(whole, targets=False)
    np.testing.assert_array_equal(kept.test.targets, whole.test.targets)
    assert kept.target_scaling is None


def test_what_does_not_vary_is_only_shifted():
    inputs = np.full((1000, 2), 0.1, np.float32)
    inputs[:, 1] = 0
    part = Split(inputs, np.zeros(1000, np.int64))
    ready = data.standardise(Dataset("still", part, part, 1))
    assert ready.input_scaling.std.tolist() == [1, 1]
    assert np.abs(ready.train.inputs).max() < 1e-7


def test_what_cannot_be_standardised():
    sparse = Sparse(np.array([0]), np.array([0, 1]), np.float32([1]), 1)
    part = Split(sparse, np.array([0]))
    with pytest.raises(
        KindError, match=r"`data` must have dense numbers as inputs to be standardised, but few is sparse"
    ):
        data.standardise(Dataset("few", part, part, 1))
    text = Split(np.array([0, 1]), np.array([1, 0]))
    with pytest.raises(KindError, match=r"but poem is text\."):
        data.standardise(Dataset("poem", text, text, 2, task="text"))
    with pytest.raises(
        RangeError, match=r"`targets` must be standardised for a regression alone, but made has classes"
    ):
        data.standardise(dataset((5, 2)), targets=True)
    with pytest.raises(RangeError, match=r'`per` must be "feature" or "channel" or "all", but got per=\'row\'\.'):
        data.standardise(dataset((5, 2)), per="row")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_validation_comes_from_the_training_part(task):
    whole = dataset((90, 2), task)
    train, aside = data.validation(whole, 0.2, seed=5)
    rows = {row.tobytes() for row in whole.train.inputs}
    first, second = ({row.tobytes() for row in part.inputs} for part in (train, aside))
    assert first | second == rows
    assert not first & second
    if task == "classification":
        for label in range(3):
            assert (aside.targets == label).sum() == round(0.2 * (whole.train.targets == label).sum())
    else:
        assert len(aside.targets) == 18
    again = data.validation(whole, 0.2, seed=5)[1]
    np.testing.assert_array_equal(again.inputs, aside.inputs)
    assert not np.array_equal(data.validation(whole, 0.2, seed=6)[1].inputs, aside.inputs)


def test_validation_of_text_is_its_end():
    text = Split(np.arange(20), np.arange(1, 21))
    train, aside = data.validation(Dataset("poem", text, text, 21, task="text"), 0.25)
    assert (train.inputs.tolist(), aside.inputs.tolist()) == ([*range(15)], [*range(15, 20)])


def test_validation_of_sparse_data():
    rows = Sparse(np.arange(10), np.arange(11), np.ones(10, np.float32), 10)
    whole = Split(rows, np.zeros(10, np.int64))
    train, aside = data.validation(Dataset("eye", whole, whole, 1), 0.3)
    assert sorted([*train.inputs.ids, *aside.inputs.ids]) == [*range(10)]
    assert len(aside.inputs) == 3


@pytest.mark.parametrize("share", [0, 1, 0.001])
def test_shares_that_leave_nothing(share):
    with pytest.raises(RangeError, match=r"`share` must (be in \(0, 1\), but got|leave examples in both.*) share="):
        data.validation(dataset((90, 2)), share)


def test_subsample():
    whole = made((500, 2))
    few, more = data.subsample(whole, 100, seed=1), data.subsample(whole, 300, seed=1)
    places = [np.flatnonzero((whole.inputs == row).all(1))[0] for row in few.inputs]
    assert places == sorted(set(places))
    assert {row.tobytes() for row in few.inputs} < {row.tobytes() for row in more.inputs}
    np.testing.assert_array_equal(few.targets, whole.targets[places])
    assert not np.array_equal(data.subsample(whole, 100, seed=2).inputs, few.inputs)
    assert len(data.subsample(whole, 10**9).targets) == 500
    # Half of 100 are expected in each half of the data; 5 standard deviations are 5 sqrt(100 / 4 * 400 / 499) = 22.4.
    assert abs(sum(place < 250 for place in places) - 50) < 22.4
    with pytest.raises(RangeError, match=r"`count` must be at least 1, but got count=0\."):
        data.subsample(whole, 0)


def test_windows():
    text = Split(np.arange(10), np.arange(1, 11))
    cut = data.windows(text, 4)
    assert cut.inputs.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert cut.targets.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(RangeError, match=r"`steps` must be at most 10, as long as the text, but got steps=11\."):
        data.windows(text, 11)
