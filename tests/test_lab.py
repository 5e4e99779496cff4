"""The laboratory: that methods are compared fairly, and that what is measured is what is said."""

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from laboratory import compared, lines, network
from torch import nn

from thinned import optim
from thinned._errors import KindError, MissingExtraError, RangeError
from thinned.batchwise import Chain
from thinned.data import Dataset, Split
from thinned.lab import compare, train
from thinned.lab.comparison import Settings, request
from thinned.lab.examples import Examples
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer


def made(examples, seed):
    """Three classes that differ in which row of the image is bright."""
    random = np.random.default_rng(seed)
    targets = np.arange(examples) % 3
    inputs = random.random((examples, 3, 4), np.float32) * 0.6
    inputs[np.arange(examples), targets] += 0.4
    return Split(inputs, targets.astype(np.int64))


DATA = Dataset("stripes", train=made(90, 0), test=made(33, 1), classes=3)
SMALL = compared(dropout={"input_p": 0.2})


METHODS = ("none", "torch", "thinned", "batchwise")


class Watching(compare.Silent):
    """Calls a function for each record."""

    def __init__(self, function):
        self.epoch = function


def without_time(found, method):
    return [{key: value for key, value in r.items() if key != "seconds"} for r in found if r["method"] == method]


# Comparing


def test_a_whole_comparison(tmp_path):
    seen = []
    summary = compare.start(SMALL, tmp_path, "first", data=DATA, display=Watching(seen.append))
    folder = tmp_path / "first"
    assert sorted(os.listdir(folder)) == ["config.json", "config.toml", "records.jsonl", "report.html", "summary.json"]

    found = lines(folder)
    assert [{key: value for key, value in vars(record).items() if value is not None} for record in seen] == found
    order = [(r["seed"], r["epoch"], r["method"]) for r in found]
    rounds = [["none", "torch", "thinned", "batchwise"], ["torch", "thinned", "batchwise", "none"]]
    assert order == [(seed, epoch, name) for seed in (0, 1) for epoch in (1, 2) for name in rounds[epoch - 1]]
    assert all(r["seconds"] > 0 and 0 <= r["test_error"] <= 1 and r["train_loss"] > 0 for r in found)

    assert summary.epoch == 2
    assert summary.seeds == (0, 1)
    assert not summary.interrupted
    for row in summary.rows:
        last = [r["test_error"] for r in found if r["method"] == row.method and r["epoch"] == 2]
        assert row.test_errors == tuple(last)
        assert row.test_error == pytest.approx(sum(last) / 2)
        assert row.spread == pytest.approx(abs(last[0] - last[1]) / math.sqrt(2))
    stored = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in stored["rows"]] == list(SMALL.methods)
    assert stored["rows"][1]["cost"] == vars(summary.rows[1].cost)

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    counts = {"name": "stripes", "train": 90, "validation": 0, "test": 33, "note": "", "task": "classification"}
    assert {key: value for key, value in config["data"].items() if key != "fingerprint"} == counts
    assert config["settings"] == SMALL.tables()
    assert request(folder / "config.toml", {}, {}) == SMALL
    assert config["environment"]["torch"] == torch.__version__
    assert config["environment"]["threads"] == 1


def test_without_dropout_all_methods_train_the_same_network(tmp_path):
    """Same weights at the start, same batches, same order: with p = 0 no bit differs, or only the rounding."""
    still = compared(seeds=(0, 5), dropout={"p": 0.0})
    found = lines(compare.start(still, tmp_path, data=DATA).folder)
    results = {
        name: [(r["seed"], r["epoch"], r["train_loss"], r["test_error"]) for r in found if r["method"] == name]
        for name in still.methods
    }
    assert results["none"] == results["torch"] == results["thinned"]
    # Its optimizer rounds otherwise: 10 steps, each a few roundings of 6e-8, and none puts an example in another class.
    for ours, theirs in zip(results["batchwise"], results["none"], strict=True):
        assert ours == (*theirs[:2], pytest.approx(theirs[2], rel=1e-5), theirs[3])
    assert results["none"][0][2:] != results["none"][2][2:]  # seeds 0 and 5


def test_methods_do_not_reach_each_other_and_runs_can_be_repeated(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    together = lines(compare.start(SMALL, tmp_path, "together", data=DATA).folder)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    for name in ("torch", "thinned", "batchwise"):
        settings = compared(name, dropout={"input_p": 0.2})
        alone = lines(compare.start(settings, tmp_path, name, data=DATA).folder)
        assert without_time(alone, name) == without_time(together, name)
    assert without_time(together, "torch") != without_time(together, "none")


def test_threads_are_put_back(tmp_path, monkeypatch):
    numbers = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    compare.start(compared("none", seeds=1), tmp_path, data=DATA)
    assert numbers == [1, 7]


@pytest.mark.parametrize(("width", "threads"), [(16, 1), (2048, 2), (8192, 7)])
def test_small_networks_take_few_threads(tmp_path, monkeypatch, width, threads):
    """With batches of 20, 2,048 units twice are worth 2.5 threads, and 8,192 units 40: more than there are."""
    numbers = []

    def stop(number):
        numbers.append(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "set_num_threads", stop)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    settings = compared("none", model={"hidden": [width, width]}, run={"threads": None})
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        compare.start(settings, tmp_path, data=DATA)
    assert numbers == [threads]


def test_time_is_of_training_alone(tmp_path, monkeypatch):
    def slow(*arguments):
        time.sleep(0.3)
        return train.measure(*arguments)

    monkeypatch.setattr(compare, "measure", slow)
    settings = compared("none", seeds=1, training={"batch_size": 90})
    start = time.perf_counter()
    found = lines(compare.start(settings, tmp_path, data=DATA).folder)
    assert time.perf_counter() - start > 0.6
    assert min(r["seconds"] for r in found) < 0.3


def stop_at(call):
    """Stand in for `Trainer.epoch` that is interrupted in a certain call; the first four calls warm up."""
    calls = []

    def epoch(trainer, examples):
        calls.append(trainer)
        if len(calls) == call:
            raise KeyboardInterrupt
        return ORIGINAL(trainer, examples)

    return epoch


ORIGINAL = Trainer.epoch


@pytest.mark.parametrize(
    ("call", "written", "epoch", "seeds"),
    [(2, 0, 0, ()), (10, 1, 0, ()), (14, 5, 1, (0,)), (19, 10, 2, (0,)), (23, 14, 2, (0,))],
)
def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch, call, written, epoch, seeds):
    monkeypatch.setattr(Trainer, "epoch", stop_at(call))
    summary = compare.start(SMALL, tmp_path, data=DATA)
    assert summary.interrupted
    assert len(lines(summary.folder)) == written
    assert (summary.epoch, summary.seeds) == (epoch, seeds)
    assert json.loads(Path(summary.folder, "summary.json").read_text(encoding="utf-8"))["interrupted"]
    page = Path(summary.folder, "report.html").read_text(encoding="utf-8")
    assert f"Stopped early, after {'1 whole seed' if epoch == 2 else f'epoch {epoch} of 2'};" in page
    assert ("<svg" in page) == bool(seeds)


def test_ctrl_c_while_a_record_is_shown(tmp_path):
    def show(_):
        raise KeyboardInterrupt

    summary = compare.start(SMALL, tmp_path, data=DATA, display=Watching(show))
    assert summary.interrupted
    assert len(lines(summary.folder)) == 1


def test_divergence_is_told(tmp_path):
    wild = compared("none", seeds=1, training={"epochs": 3, "lr": 1e20})
    summary = compare.start(wild, tmp_path, data=DATA)
    assert summary.rows[0].diverged
    assert summary.rows[0].test_error > 0.6  # outputs that are nan are no answers
    assert lines(summary.folder)[-1]["train_loss"] is None
    page = Path(summary.folder, "report.html").read_text(encoding="utf-8")
    assert "The training of none diverged" in page


@pytest.mark.parametrize("seeds", [1, 2])
def test_numbers_that_diverge_are_told(tmp_path, seeds):
    inputs = np.random.default_rng(0).random((60, 4), np.float32)
    data = Dataset("numbers", Split(inputs, 9 * inputs.sum(1)), Split(inputs, 9 * inputs.sum(1)), 0, task="regression")
    wild = compared("none", "thinned", seeds=seeds, training={"epochs": 3, "lr": 1e20})
    summary = compare.start(wild, tmp_path, data=data)
    assert [row.diverged for row in summary.rows] == [True, True]
    assert not math.isfinite(summary.rows[0].test_error)
    assert (summary.rows[0].spread is None) == (seeds == 1)
    assert summary.verdicts == ()
    assert compare.resume(summary.folder, data=data).rows[0].diverged
    assert "The training of none diverged" in Path(summary.folder, "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dropout": {"p": 1.5}}, RangeError, r"^`p` must be in \[0, 1\], but got p=1\.5\.$"),
        ({"dropout": {"p": math.nan}}, RangeError, r"^`p` must be in \[0, 1\], but got p=nan\.$"),
        ({"dropout": {"input_p": -0.1}}, RangeError, r"^`input_p` must be in \[0, 1\], but got input_p=-0\.1\.$"),
        ({"compare": {"methods": ["nones"]}}, RangeError, r"among none, torch, .*, but got 'nones'\.$"),
        (
            {"compare": {"methods": ["none", "none"]}},
            RangeError,
            r"^`methods` must be at least one, none twice, but got methods='none,none'\.$",
        ),
        (
            {"compare": {"methods": ["torch:0.5", "torch"]}},
            RangeError,
            r"^`methods` must differ, but torch:0\.5 and torch are the same\.$",
        ),
        ({"compare": {"methods": "none"}}, KindError, r"^`compare\.methods` must be a list, but got .* of type str\.$"),
        ({"compare": {"sedes": 3}}, RangeError, r"^`compare\.sedes` is no setting; did you mean compare\.seeds\?$"),
        ({"compare": {"config": 3}}, RangeError, r"^`compare\.config` is no setting; did you mean compare\."),
        ({"compare": 3}, KindError, r"^`compare` must be a table of settings, but got compare=3\.$"),
        ({"compare": {"seeds": []}}, RangeError, r"^`seeds` must be at least one, none twice, but got seeds=''\.$"),
        ({"compare": {"seeds": [1, 2, 1]}}, RangeError, r"none twice, but got seeds='1,2,1'\.$"),
        ({"compare": {"seeds": [2**64]}}, RangeError, r"^`seeds` must be in \[-2\*\*63, 2\*\*64 - 1\]"),
        ({"compare": {"seeds": 10**9}}, RangeError, r"^`seeds` must be at most 10000, but got seeds=1000000000\.$"),
        ({"compare": {"target_error": -1}}, RangeError, r"^`target_error` must be a finite number of at least 0"),
        ({"compare": {"named": {"few": 3}}}, KindError, r"^`named` must be a table for each name, but got few=3\.$"),
        (
            {"compare": {"named": {"few": {"q": 0.1}}}},
            RangeError,
            r"^`compare\.named\.few\.q` is no setting; did you mean compare\.named\.few\.p\?$",
        ),
        (
            {"compare": {"methods": ["none"], "named": {"few": {"kind": "x"}}}},
            RangeError,
            r"^`dropout\.kind` must be one of none, .*, but got kind='x'\.$",
        ),
        ({"compare": {"named": {" ": {}}}}, RangeError, r"^`named` must have names of its own, but got ' '\.$"),
        ({"compare": {"named": {"none": {}}}}, RangeError, r"^`named` must have names of its own, but got 'none'\.$"),
        (
            {"compare": {"methods": ["none", "none+none"]}},
            RangeError,
            r"^`methods` must differ, but none and none\+none are the same\.$",
        ),
        (
            {"compare": {"methods": ["thinned+thinned:0.2+0.2", "thinned:0.2"]}},
            RangeError,
            r"^`methods` must differ, but thinned\+thinned:0\.2\+0\.2 and thinned:0\.2 are the same\.$",
        ),
        ({"model": {"hidden": [16, 0]}}, RangeError, r"^`hidden` must be at least 1, but got hidden=0\.$"),
        (
            {"dropout": {"groups": 51}},
            RangeError,
            r"^`groups` must be at most 50, the size of a batch, but got groups=51",
        ),
        (
            {"penalties": {"patience": 3}},
            RangeError,
            r"^`patience` must be 0 in a comparison, .* but got patience=3\.$",
        ),
        ({"penalties": {"prune": 0.5}}, RangeError, r"^`prune` must be 0 except for .* without batchwise dropout"),
    ],
)
def test_wrong_settings(change, error, message):
    with pytest.raises(error, match=message):
        Settings.of(change)


def test_networks_that_do_not_fit_in_memory_leave_no_folder(tmp_path):
    with pytest.raises(RangeError, match=r"but 4 of them take 12\.0 PiB with gradients and .*, and the machine has"):
        compare.start(compared(model={"hidden": [2**24, 2**24]}), tmp_path, data=DATA)
    assert os.listdir(tmp_path) == []


def test_a_missing_extra_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"`matplotlib` is needed here"):
        compare.start(SMALL, tmp_path, data=DATA)
    assert os.listdir(tmp_path) == []


def test_a_divergence_in_the_last_step_is_told(tmp_path):
    wild = compared("none", seeds=1, training={"epochs": 1, "batch_size": 90, "lr": 1e38})
    summary = compare.start(wild, tmp_path, data=DATA)  # one step: the loss before it is a number
    assert summary.rows[0].diverged
    assert lines(summary.folder)[-1]["train_loss"] is None


# Training


@pytest.mark.parametrize("name", METHODS)
def test_the_network(name):
    model = network(name)
    assert [tuple(layer.weight.shape) for layer in model if isinstance(layer, nn.Linear)] == [(5, 6), (4, 5), (3, 4)]
    assert [type(model[i]) for i in (2, 5)] == [nn.ReLU, nn.ReLU]
    dropped = [getattr(model[i], "p", None) for i in (0, 3, 6)]
    assert dropped == ([None] * 3 if name == "none" else [0.2, 0.5, 0.5])
    assert len(model) == 8


def test_the_options_of_batchwise_reach_the_network():
    chain = network("batchwise", groups=4, units="slice")
    assert isinstance(chain, Chain)
    assert (chain.groups, chain.units) == (4, "slice")
    for name in ("none", "torch", "thinned"):
        assert type(network(name, groups=4, units="slice")) is nn.Sequential


def test_only_batchwise_is_trained_by_our_optimizers(tmp_path, monkeypatch):
    seen = []

    def spy(trainer, *arguments):
        seen.append(type(trainer._optimizer))
        return ORIGINAL(trainer, *arguments)

    monkeypatch.setattr(Trainer, "epoch", spy)
    compare.start(compared("torch", "batchwise", seeds=1, training={"epochs": 1}), tmp_path, data=DATA)
    assert seen[-2:] == [torch.optim.SGD, optim.SGD]


@pytest.mark.parametrize("change", [{"dropout": {"groups": 20}}, {"dropout": {"units": "slice"}},
                                    {"training": {"optimizer": "adamw"}}])  # fmt: skip
def test_batchwise_under_options(tmp_path, change):
    summary = compare.start(compared("batchwise", **change), tmp_path, data=DATA)
    assert not summary.rows[0].diverged
    assert lines(summary.folder)[-1]["train_loss"] < lines(summary.folder)[0]["train_loss"]


def test_order_is_of_the_seed_and_noise_is_new_in_every_epoch():
    """The batches are the same whether a network draws dropout or not; its masks differ from epoch to epoch."""
    examples = Examples(torch.arange(1.0, 9.0).reshape(8, 1), torch.zeros(8, dtype=torch.int64))
    seen = {}
    for name, layer in {"none": nn.Identity(), "torch": nn.Dropout(0.5)}.items():
        calls = seen[name] = []
        layer.register_forward_hook(
            lambda _, given, out, calls=calls: calls.append((given[0].flatten(), out.flatten()))
        )
        trainer = Trainer(lambda layer=layer: nn.Sequential(layer, nn.Linear(1, 2)), Recipe(2, batch_size=4), seed=0)
        for _ in range(2):
            trainer.epoch(examples)
    assert [given.tolist() for given, _ in seen["none"]] == [given.tolist() for given, _ in seen["torch"]]
    masks = [(out != 0).tolist() for _, out in seen["torch"]]
    assert masks[:2] != masks[2:]


def test_every_example_is_seen_once_an_epoch(monkeypatch):
    seen = []
    trainer = Trainer(lambda: nn.Linear(1, 2), Recipe(epochs=4, batch_size=4), seed=0)
    step = trainer.step

    def spy(inputs, targets, share):
        seen.append(inputs.flatten().tolist())
        return step(inputs, targets, share)

    monkeypatch.setattr(trainer, "step", spy)
    examples = Examples(torch.arange(10.0).reshape(10, 1), torch.zeros(10, dtype=torch.int64))
    for _ in range(4):
        trainer.epoch(examples)
    epochs = [[*seen[i], *seen[i + 1], *seen[i + 2]] for i in range(0, 12, 3)]
    assert [len(batch) for batch in seen] == [4, 4, 2] * 4
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_loss_is_the_mean_over_examples():
    """A smaller last batch counts for less: where the learning rate changes nothing, the loss is the plain one."""
    examples = Examples(torch.arange(10.0).reshape(10, 1), torch.arange(10) % 2)
    trainer = Trainer(lambda: nn.Linear(1, 2), Recipe(epochs=1, batch_size=4, lr=1e-30), seed=0)
    loss, _ = trainer.epoch(examples)
    plain = nn.functional.cross_entropy(trainer.model(examples.inputs), examples.targets)
    assert loss == pytest.approx(plain.item(), rel=1e-5)


def test_the_error_is_measured_without_dropout(monkeypatch):
    monkeypatch.setattr(train, "TEST_BATCH", 3)
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.9))
    model[0].weight.data.copy_(torch.eye(2))
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 4)
    targets = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
    assert train.measure(model, Examples(inputs, targets)).error == 2 / 8
    model[0].weight.data.fill_(math.nan)
    assert train.measure(model, Examples(inputs, targets)).error == 1.0
