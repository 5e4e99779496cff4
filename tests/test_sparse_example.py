"""The example on sparse features: its ragged batches, its reader, and that it runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import thinned
from thinned.data import Split

PATH = Path(__file__).parents[1] / "examples" / "sparse_features.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("sparse_features", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_batches(example):
    data = example.Features([example.rows(np.array([5, 6, 7, 8]), [1, 0, 3], 9)], [0, 1, 1])
    ((values, lengths),), labels = data.batch(np.array([2, 1, 0]))
    assert (values.tolist(), lengths.tolist(), labels.tolist()) == ([6, 7, 8, 5], [3, 0, 1], [1, 1, 0])
    assert labels.dtype == torch.float32


def test_columns_are_cut_into_features(example):
    split = Split(example.rows(np.array([0, 3, 1, 4]), [2, 0, 2], 5), np.array([0, 1, 1]))
    data = example.cut(split, features=2)
    assert data.sizes == [2, 3]
    assert [part.ids.tolist() for part in data.lists] == [[0, 1], [1, 2]]
    assert [part.lengths.tolist() for part in data.lists] == [[1, 0, 1], [1, 0, 1]]
    assert data.labels.tolist() == [0, 1, 1]


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


def test_it_runs_on_a_file(example, tmp_path, capsys):
    file = tmp_path / "data"
    file.write_text("-1 1:1 4:1\n+1 2:1 8:1\n" * 100, encoding="utf-8")
    result = example.main(["--data", str(file), "--epochs", "1", "--seeds", "1"])
    assert "160 examples to train on, 40 to test on, 4 features" in capsys.readouterr().out
    assert len(result) == 6


def test_other_data_are_refused(example, tmp_path, capsys):
    file = tmp_path / "data.csv"
    file.write_text("1,2,a\n3,4,b\n" * 10, encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        example.main(["--data", str(file)])
    assert "--data must be a file in LIBSVM's format with two classes, but got" in capsys.readouterr().err
