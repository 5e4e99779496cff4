"""Comparisons of any network: the same start for all methods, methods with names, and going on after any end."""

import json
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from laboratory import DATA, compared, lines, processes

from thinned._errors import DataError, RangeError
from thinned.data import Dataset, Sparse, Split
from thinned.lab import compare, dropouts, methods, models, reading, report, run
from thinned.lab.comparison import Settings, request
from thinned.lab.examples import Shape
from thinned.lab.train import Trainer

SEVERAL = ("torch", "batchwise", "concrete")
ORIGINAL = Trainer.epoch


def sentences(count, seed):
    """Words that go up by one, modulo five."""
    ids = (np.random.default_rng(seed).integers(5) + np.arange(count + 1, dtype=np.int64)) % 5
    return Split(ids[:-1], ids[1:])


def ids(count, seed):
    """One to three ids of features for each example; the class is the id modulo 3."""
    random = np.random.default_rng(seed)
    targets, lengths = random.integers(0, 3, count), random.integers(1, 4, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chosen = np.repeat(targets, lengths) + 3 * random.integers(0, 6, lengths.sum())
    return Split(Sparse(chosen, offsets, np.ones(len(chosen), np.float32), features=20), targets)


def numbers(count, seed):
    inputs = np.random.default_rng(seed).random((count, 4), np.float32)
    return Split(inputs, 100 * inputs.sum(1) + 7)


OTHERS = {  # data, network, methods
    "images": (
        DATA,
        {"kind": "convnet", "channels": [4], "hidden": [8]},
        ["none", "spatial+thinned:0.1+0.5", "cutout"],
    ),
    "patches": (DATA, {"kind": "vit", "width": 8, "layers": 1, "heads": 2, "patch": 2}, ["none", "patch:0.5"]),
    "text": (
        Dataset("words", sentences(900, 0), sentences(300, 1), classes=5, task="text"),
        {"kind": "lstm", "width": 8, "hidden": [8]},
        ["none", "thinned:0.1", "zoneout:0.1", "word:0.1"],
    ),
    "blocks": (
        Dataset("words", sentences(900, 0), sentences(300, 1), classes=5, task="text"),
        {"kind": "transformer", "width": 8, "layers": 1, "heads": 2},
        [],
    ),
    "ids": (Dataset("ids", ids(90, 0), ids(30, 1), classes=3), {"kind": "sparse"}, []),
    "numbers": (Dataset("numbers", numbers(90, 0), numbers(30, 1), 0, task="regression"), {"hidden": [8]}, []),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_network_is_compared(tmp_path, name):
    data, model, named = OTHERS[name]
    options = {"cutout": {"size": 1}} if name == "images" else {}
    settings = compared(*named, data={"steps": 9}, model=model, dropout={"input_options": options.get("cutout", {})})
    summary = compare.start(settings, tmp_path, data=data)
    assert [row.method for row in summary.rows] == list(settings.methods)
    assert len(settings.methods) > 1
    for row in summary.rows:
        assert len(row.test_errors) == 2
        assert not row.diverged
        assert row.cost.peak_bytes > 0
    assert (summary.numbers, reading.read(summary.folder).summary) == (name == "numbers", summary)


def test_a_network_that_does_not_fit_the_data_is_no_fault_of_a_method(tmp_path):
    with pytest.raises(RangeError, match=r"^A convnet must have images, but got examples of shape \(4,\)\.$"):
        compare.start(compared(model={"kind": "convnet"}), tmp_path, data=OTHERS["numbers"][0])


SHAPES = {
    "mlp": Shape((6,), 3),
    "convnet": Shape((1, 8, 8), 3),
    "vit": Shape((1, 8, 8), 3),
    "sparse": Shape((20,), 3),
    "transformer": Shape((7,), 5, text=True),
    "lstm": Shape((7,), 5, text=True),
}
NETWORKS = {
    "mlp": {"hidden": [5, 4]},
    "convnet": {"kind": "convnet", "channels": [2, 3], "hidden": []},
    "vit": {"kind": "vit", "width": 8, "layers": 2, "heads": 2},
    "sparse": {"kind": "sparse", "hidden": [4]},
    "transformer": {"kind": "transformer", "width": 8, "layers": 2, "heads": 2},
    "lstm": {"kind": "lstm", "width": 4, "hidden": [5, 4]},
}


def weights(kind, name):
    """The first weights, the order of their shapes aside: what wraps a layer gives its weights another name."""
    settings = compared(name, model=NETWORKS[kind], dropout={"p": 0.25, "input_p": 0.25 if kind != "sparse" else 0.0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = models.build(settings.config.model, settings.dropout(name), SHAPES[kind])
    return sorted(w.flatten().tolist() for w in model.state_dict().values() if w.dim() > 1 or w.numel() > 2)


@pytest.mark.parametrize("kind", NETWORKS)
def test_all_methods_of_a_network_start_from_the_same_weights(kind):
    plain = weights(kind, "none")
    built = 0
    for name in methods.SENTENCES:
        try:
            mine = weights(kind, name)
        except RangeError:
            continue  # is for other networks
        built += 1
        assert [one for one in plain if one not in mine] == [], name
    assert built > 5


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_default_methods_fit_the_network(kind):
    settings = compared(model=NETWORKS[kind])
    for name in settings.methods:
        models.build(settings.config.model, settings.dropout(name), SHAPES[kind])
    assert methods.default(compared(model={"kind": "sparse"}).config.model) == ("none", "sparse_item_replacement")


def test_none_drops_nothing_at_all():
    table = {"input_p": 0.2, "attention_p": 0.1, "path_p": 0.1, "recurrent_p": 0.1, "options": {"inplace": True}}
    settings = compared("none", "thinned", dropout=table)
    found = settings.dropout("none")
    assert [found.kind, found.input_p, found.attention_p, found.path_p, found.recurrent_p] == ["none", 0, 0, 0, 0]
    assert settings.dropout("thinned").path_p == 0.1


def test_a_method_of_the_input_leaves_hidden_layers_alone():
    found = compared("word:0.1", model=NETWORKS["lstm"]).dropout("word:0.1")
    assert (found.kind, found.input_kind, found.input_p) == ("none", "word", 0.1)
    with pytest.raises(RangeError, match=r"^`methods` must give one rate to word, which is for the input, but got \(0"):
        compared("word:0.1+0.2")


def test_methods_with_names_of_their_own(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        """
[model]
hidden = [8]
[dropout]
p = 0.25
[compare]
methods = ["none", "torch", "few"]
seeds = 2
[compare.named.few]
kind = "replacement"
options = {value = -1.0}
[tune]
trials = 3
""",
        encoding="utf-8",
    )
    settings = request(path, {"training.epochs": "1"}, {"seeds": "5,"})
    assert (settings.methods, settings.seeds) == (("none", "torch", "few"), (5,))
    found = settings.dropout("few")
    assert (found.kind, found.p, found.options) == ("replacement", 0.25, {"value": -1.0})
    assert settings.sentence("few") == 'Settings of its own: kind = "replacement", options = {"value": -1.0}.'
    path.write_text(settings.toml(), encoding="utf-8")
    assert request(path, {}, {}) == settings
    without = settings.tables()
    without["compare"]["methods"] = []
    assert Settings.of(without).methods == ("none", "torch", "thinned", "batchwise", "few")


# Going on


def timeless(folder):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines(folder)]


def small():
    return compared(*SEVERAL, dropout={"input_p": 0.2, "p": 0.4}, training={"epochs": 3, "optimizer": "adam"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return compare.start(small(), tmp_path_factory.mktemp("runs"), "whole", data=DATA)


class Stop(Exception):
    """Whatever ends a comparison without a word, as a power cut does."""


def broken_off(root, monkeypatch, call, error=Stop):
    """A comparison that ends in a certain call of `Trainer.epoch`; the first six calls warm up."""
    calls = []

    def epoch(trainer, *arguments):
        calls.append(trainer)
        if len(calls) == call:
            raise error
        return ORIGINAL(trainer, *arguments)

    monkeypatch.setattr(Trainer, "epoch", epoch)
    monkeypatch.setattr(compare, "BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(report, "comparison", lambda *_: "")  # what is drawn takes longer than all the rest
    with suppress(Stop):
        compare.start(small(), root, "broken", data=DATA)
    monkeypatch.setattr(Trainer, "epoch", ORIGINAL)
    return root / "broken"


@pytest.mark.parametrize("call", [3, 7, 12, 18, 24])
def test_it_goes_on_bit_for_bit(tmp_path, monkeypatch, whole, call):
    folder = broken_off(tmp_path, monkeypatch, call)
    with (folder / "records.jsonl").open("ab") as file:
        file.write(b'{"method": "no')  # half a line
    told = []

    class Hear(compare.Silent):
        def begin(self, *given):
            told.append(given[-1])

    summary = compare.resume(folder, data=DATA, display=Hear())
    assert told == [max(call - 7, 0) // 3]  # rounds that were whole, and so have a checkpoint or are of a whole seed
    assert not summary.interrupted
    assert timeless(folder) == timeless(whole.folder)
    assert [row.test_errors for row in summary.rows] == [row.test_errors for row in whole.rows]
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in Path(whole.folder).iterdir())


def test_without_a_checkpoint_it_goes_on_after_the_last_whole_seed(tmp_path, monkeypatch, whole):
    folder = broken_off(tmp_path, monkeypatch, 19)
    shutil.rmtree(folder / "checkpoints")
    compare.resume(folder, data=DATA)
    assert timeless(folder) == timeless(whole.folder)


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, whole):
    said = []

    class Hear(compare.Silent):
        def say(self, text):
            said.append(text)

    folder = broken_off(tmp_path, monkeypatch, 18, KeyboardInterrupt)
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["interrupted"]
    assert not compare.resume(folder, data=DATA, display=Hear()).interrupted
    assert timeless(folder) == timeless(whole.folder)
    assert said == []
    compare.resume(folder, data=DATA, display=Hear())
    assert said == ["This comparison is done."]
    monkeypatch.setattr(Trainer, "epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    stopped = compare.start(small(), tmp_path, "again", data=DATA, display=Hear())
    assert said[1:] == [f"Go on with: thinned compare --resume {stopped.folder}"]


def child(tables, root, again):
    """What a process that is killed runs."""
    torch.set_num_threads(1)
    compare.BETWEEN_CHECKPOINTS = 0.01
    if again:
        compare.resume(Path(root, "killed"), data=DATA)
    else:
        compare.start(Settings.of(tables), root, "killed", data=DATA)


def test_killed(tmp_path):
    settings = compared("torch", "batchwise", "dropconnect", training={"epochs": 12})
    context = processes()
    process = context.Process(target=child, args=(settings.tables(), str(tmp_path), False))
    process.start()
    path = tmp_path / "killed" / "records.jsonl"
    while process.is_alive() and (not path.exists() or path.read_bytes().count(b"\n") < 20):
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process = context.Process(target=child, args=(settings.tables(), str(tmp_path), True))
    process.start()
    process.join()
    assert process.exitcode == 0
    whole = compare.start(settings, tmp_path, "whole", data=DATA)
    assert timeless(tmp_path / "killed") == timeless(whole.folder)


def edit(folder, change):
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    change(told["settings"])
    path.write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["training"].update(lr=0.5),
        lambda told: told["compare"].update(seeds=[0, 2]),
        lambda told: told["dropout"].update(p=0.3),
    ],
)
def test_settings_that_were_edited_are_refused(tmp_path, monkeypatch, change):
    folder = broken_off(tmp_path, monkeypatch, 11)
    edit(folder, change)
    before = (folder / "records.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"config\.json must have .*, as the run began with, but has .*; put it back"):
        compare.resume(folder, data=DATA)
    assert (folder / "records.jsonl").read_bytes() == before


def test_other_data_and_other_folders_are_refused(tmp_path, monkeypatch):
    folder = broken_off(tmp_path, monkeypatch, 11)
    other = Dataset("other", DATA.test, DATA.test, classes=3)
    with pytest.raises(DataError, match=r"The data other must be those that .* began with, but they changed\."):
        compare.resume(folder, data=other)
    config = compared(training={"epochs": 1}).config
    run.start(config, tmp_path, "trained", data=DATA)
    with pytest.raises(DataError, match=r"must be the folder of a comparison to go on with it, but it is of `train`"):
        compare.resume(tmp_path / "trained", data=DATA)
    with pytest.raises(DataError, match=r"must be the folder of a run, but its config\.json: No such file"):
        compare.resume(tmp_path / "nowhere", data=DATA)


@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_a_damaged_checkpoint_ends_in_one_sentence(tmp_path, monkeypatch, damage):
    folder = broken_off(tmp_path, monkeypatch, 11)
    (path,) = (folder / "checkpoints").iterdir()
    state = torch.load(path, weights_only=True)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "other":
        state["trainers"]["torch"]["model"].popitem()
        torch.save(state, path)
    else:
        torch.save({"version": 1, "rounds": 1}, path)
    with pytest.raises(DataError, match=r"checkpoints must (have|hold|be) .*, but"):
        compare.resume(folder, data=DATA)


def test_a_method_that_diverged_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "BETWEEN_CHECKPOINTS", -1.0)
    wild = compared("none", "torch", training={"epochs": 3, "lr": 1e20})
    whole = compare.start(wild, tmp_path, "whole", data=DATA)
    calls = []

    def epoch(trainer, *arguments):
        calls.append(trainer)
        if len(calls) == 9:
            raise Stop
        return ORIGINAL(trainer, *arguments)

    monkeypatch.setattr(Trainer, "epoch", epoch)
    with pytest.raises(Stop, match=r"^$"):
        compare.start(wild, tmp_path, "broken", data=DATA)
    compare.resume(tmp_path / "broken", data=DATA)
    assert timeless(tmp_path / "broken") == timeless(whole.folder)


def test_every_kind_is_for_some_network():
    """Each kind of dropout can be compared in at least one network."""
    left = set(dropouts.KINDS)
    for kind, shape in SHAPES.items():
        for name in dropouts.KINDS:
            settings = compared(name, model=NETWORKS[kind], dropout={"p": 0.25})
            try:
                models.build(settings.config.model, settings.dropout(name), shape)
            except RangeError:
                continue
            left.discard(name)
    assert left == set()
