"""The page of a run of training: what it draws, the unit of its errors, and what it says of a run that diverged."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from laboratory import DATA, Page, assert_alone, small

from thinned._errors import DataError
from thinned.data import Dataset, Split
from thinned.lab import figures, joined, paired, reading, report, run
from thinned.lab.loop import DivergedError
from thinned.lab.paired import Difference
from thinned_cli.train import thinned


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run of classes, and one of standardised numbers."""
    folder = tmp_path_factory.mktemp("runs")
    run.start(small(training={"epochs": 2}), folder, "classes", data=DATA)
    run.start(small(data={"standardise": True}, training={"epochs": 2}), folder, "numbers", data=prices())
    return folder


def prices():
    """What costs tens of thousands."""
    random = np.random.default_rng(0)
    inputs = random.normal(5, 3, (120, 4)).astype(np.float32)
    targets = 20_000 * inputs[:, 0] + 50_000
    train, test = (Split(inputs[part], targets[part]) for part in (slice(0, 90), slice(90, 120)))
    return Dataset("prices", train, test, classes=0, task="regression")


@pytest.fixture
def folder(root, tmp_path):
    """A copy of a run, to be changed."""
    shutil.copytree(root / "classes", tmp_path / "classes")
    return tmp_path / "classes"


def rewrite(folder, edit):
    path = folder / "records.jsonl"
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in told:
        edit(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in told), encoding="utf-8")


# What is drawn


def test_gap_and_weights_are_read_and_drawn(root):
    found = reading.read(root / "classes")
    stored = [
        json.loads(line) for line in (root / "classes" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    names = list(stored[0]["monitors"]["weight_norms"])
    assert len(names) == 2
    assert [record.monitors["weight_norms"] for record in found.records] == [
        line["monitors"]["weight_norms"] for line in stored
    ]
    assert [one["monitors"] for one in joined.numbers([found])["runs"][0]["records"]] == [
        line["monitors"] for line in stored
    ]
    text = joined.joined([found])
    assert Page(text).tags.count("svg") == 7
    assert "Gap after each epoch: validation loss minus training loss, both without dropout." in text
    assert "Size of each weight: the root of the mean square of its entries." in text
    drawn = report._watched(found)[
        "Size of each weight: the root of the mean square of its entries.", "root mean square"
    ]
    assert drawn == {
        name: [(line["epoch"], line["monitors"]["weight_norms"][name]) for line in stored] for name in names
    }


def test_of_many_weights_the_first_are_drawn(folder):
    rewrite(folder, lambda line: line["monitors"].update(weight_norms={f"w{i}": i for i in range(30)}))
    drawn = report._watched(reading.read(folder))
    (caption,) = [caption for caption, label in drawn if label == "root mean square"]
    assert caption.endswith("its entries (the first 14 of 30).")
    assert list(drawn[caption, "root mean square"]) == [f"w{i}" for i in range(14)]


def test_a_monitor_that_is_no_number_is_left_out(folder):
    """JSON has null for nan and infinity."""

    def edit(line):
        line["monitors"].update(co_adaptation=[None])
        line["monitors"]["weight_norms"]["1.weight"] = None

    rewrite(folder, edit)
    found = reading.read(folder)
    assert math.isnan(found.records[0].monitors["co_adaptation"][0])
    text = joined.joined([found])
    assert Page(text).tags.count("svg") == 6
    assert "Mean absolute correlation" not in text


@pytest.mark.parametrize(
    "watched",
    [
        3,
        {},
        {"sparsity": [0.5], "dead_units": [0.5], "co_adaptation": [0.5]},
        {"weight_norms": 3},
        {"weight_norms": [1.0]},
        {"weight_norms": {"1.weight": "large"}},
        {"weight_norms": {"1.weight": {}}},
        {"weight_norms": {"1.weight": True}},
        {"weight_norms": {"1.weight": 10**400}},
        {"sparsity": ["0.5"]},
        {"sparsity": "x"},
    ],
)
def test_monitors_that_are_something_else(folder, watched):
    whole = isinstance(watched, dict) and len(watched) == 1
    rewrite(folder, lambda line: line.update(monitors={**line["monitors"], **watched} if whole else watched))
    with pytest.raises(DataError, match=r"must hold one record in each line, but one is another\.$"):
        reading.read(folder)


# Units of errors


def test_errors_of_standardised_numbers_are_in_their_own_unit(root):
    found = reading.read(root / "numbers")
    unit = float(prices().train.targets.std())
    assert found.outcome.test_error == pytest.approx(unit * found.outcome.test_loss**0.5)
    text = joined.joined([found])
    assert_alone(Page(text), text)
    assert f">{found.outcome.test_error:,.0f}<" in text
    assert (
        "Error: the root of the mean squared error, in the unit of the targets. Loss: of standardised targets" in text
    )
    assert joined.overview([found])[0][5] == f"{found.outcome.test_error:,.0f}"


def test_the_terminal_says_the_unit(tmp_path):
    data = prices()
    for name, part in (("train", data.train), ("test", data.test)):
        rows = np.column_stack([part.inputs, part.targets])
        np.savetxt(tmp_path / f"{name}.csv", rows, delimiter=",", fmt="%.6g")
    call = ["train", "--data", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"), "--standardise"]
    call += ["--hidden", "8", "--epochs", "1", "--threads", "1", "--out", str(tmp_path), "--name", "x"]
    result = CliRunner().invoke(thinned, call)
    assert result.exit_code == 0, result.output
    found = reading.read(tmp_path / "x")
    assert found.outcome.test_error > 10_000
    assert f"{found.outcome.test_error:,.0f}" in result.stdout
    assert f"{found.records[0].validation_error:,.0f}" in result.stdout
    assert "Error: the root of the mean squared error, in the unit of the targets. Loss: of stand" in result.stdout


def test_large_numbers_are_told_whole_and_apart():
    found = Difference("a", "b", 3, -4608.4, -58134.2, 48918.0)
    assert paired.cell(found, numbers=True) == "-4,608 (-58,134 to 48,918)"
    figure = figures.intervals([found], "error", 1)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    room = figure.axes[0].get_window_extent()
    seen = [box for box in boxes if room.x0 <= (box.x0 + box.x1) / 2 <= room.x1]
    assert len(seen) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(seen))


# Divergence


def test_a_run_that_diverged_says_so(tmp_path):
    with pytest.raises(DivergedError, match=r"in epoch (\d)\. Start a new run with a lower learning rate") as raised:
        run.start(small(training={"lr": 1e30}), tmp_path, "x", data=DATA)
    found = reading.read(tmp_path / "x")
    assert found.diverged is found.records[-1]
    text = joined.joined([found])
    assert_told(text, str(raised.value).partition(" Checkpoints")[0])
    assert "--resume" not in text
    assert joined.overview([found])[0][5] == "diverged"
    assert joined.numbers([found])["runs"][0]["records"][-1]["diverged"] is True


def assert_told(text, sentence):
    assert f'<p class="warning">Diverged. {sentence}</p>' in text
    assert Page(text).open == []
    assert "<tbody></tbody>" not in text


def test_a_run_that_diverged_later_shows_what_it_did_before(folder):
    (folder / "summary.json").unlink()
    path = folder / "records.jsonl"
    first, second = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = {name: second[name] for name in ("method", "seed", "epoch", "seconds")}
    broken = {**kept, "train_loss": None, "test_error": None, "diverged": True, "skipped_steps": 3}
    path.write_text(json.dumps(first) + "\n" + json.dumps(broken) + "\n", encoding="utf-8")
    text = joined.joined([reading.read(folder)])
    half = "or with a max_norm, or with precision bfloat16, which has larger numbers; to go on would end the same way."
    start = "The loss is no number any more in epoch 2. Start a new run with a lower learning rate, with clip_norm,"
    assert_told(text, f"{start} {half}")
    assert Page(text).tags.count("svg") == 7


def test_a_run_that_did_nothing_yet_has_no_empty_table_or_figures(folder):
    (folder / "summary.json").unlink()
    (folder / "records.jsonl").write_text("", encoding="utf-8")
    text = joined.joined([reading.read(folder)])
    assert "Not done: 0 of 2 epochs. thinned train --resume goes on." in text
    assert "Epoch by epoch" not in text
    assert "<tbody></tbody>" not in text
