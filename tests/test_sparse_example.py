"""The example on sparse features: its ragged batches, its reader, and that it runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import thinned

PATH = Path(__file__).parents[1] / "examples" / "sparse_features.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("sparse_features", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_batches(example):
    data = example.Features([np.array([5, 6, 7, 8])], [np.array([0, 1, 1, 4])], np.array([0, 1, 1], np.float32))
    ((values, lengths),), labels = data.batch(np.array([2, 1, 0]))
    assert (values.tolist(), lengths.tolist(), labels.tolist()) == ([6, 7, 8, 5], [3, 0, 1], [1, 1, 0])
    first, second = example.split(example.Features(data.ids * 1, [np.array([0, 1, 1, 2, 2, 4])], np.arange(5)))
    assert (first.ids[0].tolist(), first.starts[0].tolist()) == ([5, 6], [0, 1, 1, 2, 2])
    assert (second.ids[0].tolist(), second.starts[0].tolist()) == ([7, 8], [0, 2])


def test_the_reader(example, tmp_path):
    pytest.importorskip("sklearn")
    file = tmp_path / "data"
    file.write_text("-1 1:1 4:1\n+1 2:1\n", encoding="utf-8")
    data, sizes = example.from_libsvm(file, columns=4, features=2)
    assert sizes == [2, 2]
    assert [ids.tolist() for ids in data.ids] == [[0, 1], [1]]
    assert [starts.tolist() for starts in data.starts] == [[0, 1, 2], [0, 1, 1]]
    assert data.labels.tolist() == [0, 1]


@pytest.mark.parametrize("way", ["none", "example", "value"])
def test_missing_features(example, way):
    model = example.Model([10], way, p=0.5, hidden=False)
    values, lengths = torch.tensor([1, 2, 3]), torch.tensor([2, 1])
    got = model.without(0, values, lengths, torch.tensor([True, False]))
    want = ([3], [0, 1]) if way == "none" else ([10, 3], [1, 1])
    assert (got[0].tolist(), got[1].tolist()) == want


def test_hidden_layers_run_batchwise(example):
    assert isinstance(example.Model([10], "none", p=0.5, hidden=True).top, thinned.batchwise.Chain)


def test_it_runs(example, capsys):
    result = example.main(["--examples", "300", "--epochs", "1", "--seeds", "1"])
    assert set(result) == {(m, w) for m in ("logistic regression", "two hidden layers") for w in example.WAYS}
    assert all(0 <= share <= 100 for row in result.values() for share in row)
    assert "300 examples to train on, 150 to test on, 4 features" in capsys.readouterr().out
