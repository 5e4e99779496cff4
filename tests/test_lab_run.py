"""`thinned train`: what a run leaves, how it stops, and that it goes on as if nothing had happened."""

import errno
import json
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from laboratory import DATA, assert_same_run, child, last_state, lines, processes, small, stripes

from thinned._errors import DataError, KindError, RangeError
from thinned.data import Dataset, Sparse, Split
from thinned.lab import checkpoint, loop, records, run
from thinned.lab.loop import DivergedError, InterruptedRunError
from thinned.lab.run import StorageError


class StopAt(loop.Silent):
    """A display that ends the run after some steps, as an error anywhere would."""

    def __init__(self, steps):
        self.left = steps

    def step(self, *_):
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError

    def epoch(self, _):
        self.step()


def test_what_a_run_leaves(tmp_path):
    found = run.start(small(run={"keep": 2}), tmp_path, "first", data=DATA)
    folder = tmp_path / "first"
    assert sorted(os.listdir(folder)) == ["checkpoints", "config.json", "config.toml", "records.jsonl", "summary.json"]
    assert sorted(os.listdir(folder / "checkpoints")) == ["best.pt", "step-000000000012.pt", "step-000000000016.pt"]
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = {key: value for key, value in described["data"].items() if key != "fingerprint"}
    assert told == {"name": "stripes", "train": 72, "validation": 18, "test": 33, "note": "", "task": "classification"}
    assert described["settings"]["model"]["hidden"] == [16]
    written = lines(folder)
    assert [line["epoch"] for line in written] == [1, 2, 3, 4]
    assert [line["step"] for line in written] == [4, 8, 12, 16]
    assert [line["lr"] for line in written] == pytest.approx([0.03, 0.0225, 0.015, 0.0075])
    for line in written:
        assert line["gap"] == pytest.approx(line["validation_loss"] - line["fit_loss"])
        assert line["test_error"] is None
        assert set(line["monitors"]) == {"sparsity", "dead_units", "co_adaptation", "weight_norms"}
    assert written[-1]["train_loss"] < written[0]["train_loss"]
    best = min(written, key=lambda line: line["validation_loss"])
    assert (found.best_epoch, found.validation_loss) == (best["epoch"], best["validation_loss"])
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == vars(found)


def test_the_best_weights_are_tested_and_can_be_restored(tmp_path):
    config = small(training={"epochs": 8, "lr": 1.0}, penalties={"watch": "error"})
    found = run.start(config, tmp_path, "x", data=DATA)
    model, again, _, _ = run.restored(tmp_path / "x" / "checkpoints" / "best.pt")
    assert again == config
    assert not model.training
    outputs = model(torch.from_numpy(DATA.test.inputs).flatten(1))
    wrong = (outputs.argmax(1) != torch.from_numpy(DATA.test.targets)).float().mean().item()
    assert found.test_error == pytest.approx(wrong)
    errors = [line["validation_error"] for line in lines(tmp_path / "x")]
    assert found.best_epoch == 1 + errors.index(min(errors))


def test_early_stopping(tmp_path):
    """A learning rate that changes no weight: the first epoch stays the best."""
    config = small(training={"epochs": 50, "lr": 1e-30}, penalties={"patience": 3})
    found = run.start(config, tmp_path, "x", data=DATA)
    assert (found.epochs, found.best_epoch, found.stopped_early) == (4, 1, True)


def test_without_validation(tmp_path):
    found = run.start(small(data={"validation": 0.0}), tmp_path, "x", data=DATA)
    assert (found.best_epoch, found.validation_loss, found.validation_error) == (4, None, None)
    assert "validation_loss" not in lines(tmp_path / "x")[0]


HARD = {
    "standard": {"dropout": {"p": 0.3, "input_p": 0.2}, "training": {"optimizer": "adam"}},
    "torch": {"dropout": {"kind": "torch"}, "penalties": {"l1": 1e-3, "l2": 1e-3, "max_norm": 1.0}},
    "batchwise": {"dropout": {"kind": "batchwise"}, "training": {"optimizer": "adamw", "clip_norm": 0.5}},
    "pruned": {"penalties": {"prune": 0.8}, "training": {"optimizer": "rmsprop", "warmup_epochs": 1}},
    "learned": {"dropout": {"kind": "variational", "p": 0.2}, "run": {"precision": "bfloat16"}},
    "concrete": {"dropout": {"kind": "concrete", "p": 0.2}, "training": {"optimizer": "adagrad"}},
    "early": {"training": {"lr": 3.0}},  # the best epoch is not the last
    "convnet": {"model": {"kind": "convnet", "channels": [4], "hidden": [8], "norm": "batch"}},
    "augmented": {"data": {"flip": True, "shift": 1, "crop": 3}},
}


@pytest.mark.parametrize("name", HARD)
def test_a_run_that_was_broken_off_goes_on_bit_for_bit(tmp_path, name):
    """Broken off within an epoch, between two checkpoints, and once more after going on."""
    config = small(**{**HARD[name], "run": {"checkpoint_steps": 3, "seed": 2**63, **HARD[name].get("run", {})}})
    run.start(config, tmp_path, "whole", data=DATA)
    torch.manual_seed(1)  # nothing that is left over from before plays a part
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(config, tmp_path, "broken", data=DATA, display=StopAt(5))
    torch.rand(3)
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.resume(tmp_path / "broken", data=DATA, display=StopAt(7))
    run.resume(tmp_path / "broken", data=DATA)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_numbers_words_and_sparse_features(tmp_path):
    """Each task of `thinned.data` from end to end, and what does not go together."""
    random = np.random.default_rng(0)
    inputs = random.normal(5, 3, (120, 4)).astype(np.float32)
    split = [Split(inputs[part], 10 * inputs[part, 0] + 7) for part in (slice(0, 90), slice(90, 120))]
    numbers = Dataset("numbers", *split, classes=0, task="regression")
    config = small(data={"standardise": True}, training={"epochs": 20}, dropout={"p": 0.0})
    found = run.start(config, tmp_path, "numbers", data=numbers)
    unit = float(split[0].targets.std())  # losses are of standardised targets, errors in the data's own unit
    assert found.test_error == pytest.approx(unit * found.test_loss**0.5)
    assert found.test_error < 0.5 * unit
    (record, *_) = lines(tmp_path / "numbers")
    assert record["validation_error"] == pytest.approx(unit * record["validation_loss"] ** 0.5)
    assert record["fit_error"] == pytest.approx(unit * record["fit_loss"] ** 0.5)

    ids = (np.arange(801) % 5).astype(np.int64)
    parts = [Split(ids[:600], ids[1:601]), Split(ids[600:800], ids[601:801])]
    words = Dataset("words", *parts, classes=5, task="text")
    model = {"kind": "lstm", "hidden": [16], "width": 8}
    slow = {"epochs": 25, "optimizer": "adam", "lr": 0.03}
    config = small(
        model=model, data={"steps": 10}, training=slow, dropout={"p": 0.1, "input_kind": "word", "input_p": 0.1}
    )
    assert run.start(config, tmp_path, "words", data=words).test_error < 0.2
    described = json.loads((tmp_path / "words" / "config.json").read_text(encoding="utf-8"))
    assert [described["data"][part] for part in ("train", "validation", "test")] == [48, 12, 20]

    targets = np.arange(120) % 3
    rows = Sparse(targets + 3 * random.integers(0, 4, 120), np.arange(121), np.ones(120, np.float32), features=12)
    parts = [Split(rows[:90], targets[:90]), Split(rows[90:], targets[90:])]
    features = Dataset("features", *parts, classes=3)
    drop = {"input_kind": "sparse_replacement", "input_p": 0.1}
    config = small(model={"kind": "sparse", "hidden": []}, training=slow, dropout=drop)
    assert run.start(config, tmp_path, "features", data=features).test_error < 0.2
    assert run.start(small(), tmp_path, "dense", data=features).epochs == 4
    with pytest.raises(KindError, match=r"^The model sparse must have sparse features, but those of stripes are"):
        run.start(config, tmp_path, "x", data=DATA)
    with pytest.raises(RangeError, match=r"^The model lstm must have text, but got examples of shape \(1, 4, 4"):
        run.start(small(model=model), tmp_path, "x", data=DATA)
    assert not (tmp_path / "x").exists()


def test_seeds_differ(tmp_path):
    for seed in (0, 1):
        run.start(small(run={"seed": seed}), tmp_path, str(seed), data=DATA)
    assert lines(tmp_path / "0")[0]["train_loss"] != lines(tmp_path / "1")[0]["train_loss"]


# Killed


def kill_and_go_on(tmp_path, config, kills, seed):
    """Kill a run at random moments, so many times; then let it end, and compare it with one that was let alone."""
    context = processes()
    run.start(config, tmp_path, "whole", data=DATA)
    moments = random.Random(seed)
    folder = tmp_path / "killed"
    path = folder / "records.jsonl"
    while True:
        again, done = (folder / "config.json").exists(), path.read_bytes().count(b"\n") if path.exists() else 0
        process = context.Process(target=child, args=(config.tables(), str(tmp_path), "killed", again))
        process.start()
        if kills:
            epochs = done + moments.randint(1, 4)
            while process.is_alive() and (not path.exists() or path.read_bytes().count(b"\n") < epochs):
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.01))  # anywhere within an epoch
            process.kill()
        process.join()
        if process.exitcode == 0 and kills:  # it was faster than the signal: once more
            shutil.rmtree(folder)
        elif process.exitcode == 0:
            break
        else:
            assert process.exitcode == -signal.SIGKILL
            kills -= 1
    assert_same_run(tmp_path / "whole", folder)
    assert not [*folder.rglob(".*.pt.*")]  # nothing half written is left


@pytest.mark.parametrize("name", ["standard", "torch", "batchwise"])
def test_killed_at_a_random_moment(tmp_path, name):
    table = {**HARD[name], "training": {**HARD[name].get("training", {}), "epochs": 14}}
    kill_and_go_on(tmp_path, small(**{**table, "run": {"checkpoint_steps": 3}}), kills=1, seed=sum(name.encode()))


@pytest.mark.soak
def test_killed_twenty_times(tmp_path):
    config = small(**{**HARD["standard"], "training": {"epochs": 300}, "run": {"checkpoint_steps": 3, "monitors": 5}})
    kill_and_go_on(tmp_path, config, kills=20, seed=7)


def test_half_a_line_and_later_epochs_are_cut(tmp_path):
    run.start(small(), tmp_path, "x", data=DATA)
    path = tmp_path / "x" / "records.jsonl"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"epoch": 5}\n{"epoch": 6, "tr')
    with records.Journal(path, new=False) as journal:
        journal.cut(4)
    assert path.read_bytes() == whole
    with records.Journal(path, new=False) as journal:
        journal.cut(2)
    assert [line["epoch"] for line in lines(tmp_path / "x")] == [1, 2]


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("run", "seed", 7), ("training", "epochs", 9), ("training", "lr", 0.5), ("dropout", "kind", "gaussian")],
)
def test_settings_that_were_edited_are_refused(tmp_path, section, name, value):
    run.start(small(), tmp_path, "x", data=DATA)
    (tmp_path / "x" / "summary.json").unlink()
    path = tmp_path / "x" / "config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    old, told["settings"][section][name] = told["settings"][section][name], value
    path.write_text(json.dumps(told), encoding="utf-8")
    before = (tmp_path / "x" / "records.jsonl").read_bytes()
    expected = rf"config\.json must have {section}\.{name} = {old}, as the run began with, but has {value}; put it back"
    with pytest.raises(DataError, match=expected):
        run.resume(tmp_path / "x", data=DATA)
    assert (tmp_path / "x" / "records.jsonl").read_bytes() == before


def test_how_a_run_is_watched_may_be_edited(tmp_path):
    run.start(small(), tmp_path, "x", data=DATA)
    (tmp_path / "x" / "summary.json").unlink()
    path = tmp_path / "x" / "config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["settings"]["run"].update(monitors=2, keep=5)
    told["settings"]["data"].update(name="moved.npz")
    path.write_text(json.dumps(told), encoding="utf-8")
    assert run.resume(tmp_path / "x", data=DATA).epochs == 4


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    said = []

    class Hear(loop.Silent):
        def say(self, text):
            said.append(text)

    config = small(training={"epochs": 6})
    run.start(config, tmp_path, "whole", data=DATA)
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(config, tmp_path, "x", data=DATA, display=StopAt(15))
    newest = sorted((tmp_path / "x" / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    run.resume(tmp_path / "x", data=DATA, display=Hear())
    assert said == [
        f"{newest} must be a checkpoint of `thinned train`, but it is damaged or something else. "
        "The one before it is taken."
    ]
    assert_same_run(tmp_path / "whole", tmp_path / "x")
    for path in (tmp_path / "x" / "checkpoints").glob("step-*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"must have a checkpoint that can be read, but all of them are damaged\.$"):
        run.resume(tmp_path / "x", data=DATA)


def test_a_checkpoint_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"version": 1, "trainer": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(
        DataError, match=r"evil\.pt must hold tensors, numbers and texts .*, but it has 'posix\.mkdir'\.$"
    ):
        run.restored(tmp_path / "evil.pt")
    assert not (tmp_path / "made").exists()
    torch.save({"version": 2}, tmp_path / "later.pt")
    with pytest.raises(
        DataError, match=r"later\.pt must be a checkpoint of version 1 of `thinned train`, but it is not"
    ):
        run.restored(tmp_path / "later.pt")


def test_a_run_that_is_done_stays_as_it_is(tmp_path):
    found = run.start(small(), tmp_path, "x", data=DATA)
    before = {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert run.resume(tmp_path / "x", data=DATA) == found
    assert {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()} == before


def test_what_cannot_be_resumed(tmp_path):
    with pytest.raises(DataError, match=r"nothing must be the folder of a run, but its config.json: No such file"):
        run.resume(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    for text in ("{", "[]", '{"command": "compare"}', '{"command": "train", "settings": {}, "data": {}}'):
        (tmp_path / "other" / "config.json").write_text(text)
        with pytest.raises(DataError, match="other must be the folder of a run of `thinned train`, but its config"):
            run.resume(tmp_path / "other")
    run.start(small(), tmp_path, "x", data=DATA)
    others = Dataset("stripes", train=stripes(90, 5), test=DATA.test, classes=3)
    with pytest.raises(DataError, match=r"^The data stripes must be those that the run in .*x began with, but they c"):
        run.resume(tmp_path / "x", data=others)


def test_two_processes_do_not_write_one_run(tmp_path):
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(small(), tmp_path, "x", data=DATA, display=StopAt(5))
    with (
        records.Journal(tmp_path / "x" / "records.jsonl", new=False),
        pytest.raises(RangeError, match=r"x is being written to by another process; wait until it has ended\.$"),
    ):
        run.resume(tmp_path / "x", data=DATA)


# Stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_at_hand(tmp_path, number):
    class Interrupt(loop.Silent):
        def step(self, step, _):
            if step == 2:
                os.kill(os.getpid(), number)

    handlers = [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)]
    how = f"Go on with: thinned train --resume {tmp_path / 'x'}"
    with pytest.raises(InterruptedRunError, match=rf"^Stopped in epoch 1, after step 3\. {how}$"):
        run.start(small(), tmp_path, "x", data=DATA, display=Interrupt())
    assert [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert last_state(tmp_path / "x")["trainer"]["steps_done"] == 3
    run.resume(tmp_path / "x", data=DATA)
    run.start(small(), tmp_path, "whole", data=DATA)
    assert_same_run(tmp_path / "whole", tmp_path / "x")


def test_a_second_signal_stops_at_once(tmp_path):
    class Interrupt(loop.Silent):
        def step(self, step, _):
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match=r"^Stopped at once\. Go on with: thinned train --resume "):
        run.start(small(), tmp_path, "x", data=DATA, display=Interrupt())


def test_a_loss_that_is_no_number(tmp_path):
    message = (
        r"^The loss is no number any more in epoch \d\. Start a new run .* Checkpoints from before are kept in .*x"
    )
    with pytest.raises(DivergedError, match=message):
        run.start(small(training={"lr": 1e30}), tmp_path, "x", data=DATA)
    written = lines(tmp_path / "x")
    assert [record.get("diverged") for record in written] == [None] * (len(written) - 1) + [True]
    with pytest.raises(DivergedError, match=message):
        run.resume(tmp_path / "x", data=DATA)
    timeless = [[{**record, "seconds": 0} for record in made] for made in (written, lines(tmp_path / "x"))]
    assert timeless[0] == timeless[1]  # it is told once
    broken = stripes(90, 0)
    broken.inputs[3, 0, 0] = math.nan
    data = Dataset("stripes", train=broken, test=DATA.test, classes=3)
    with pytest.raises(DivergedError, match="no number any more in epoch 1"):
        run.start(small(data={"validation": 0.0}), tmp_path, "y", data=data)
    assert not [*(tmp_path / "y" / "checkpoints").iterdir()]


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_no_checkpoint_has_weights_that_are_no_numbers(tmp_path, optimizer):
    """A learning rate at which a step makes weights infinite whose loss was a number."""
    config = small(
        training={"lr": 3e38, "optimizer": optimizer, "batch_size": 30}, run={"checkpoint_steps": 1}, dropout={"p": 0.0}
    )
    with pytest.raises(DivergedError, match="no number any more in epoch 1"):
        run.start(config, tmp_path, "x", data=DATA)
    for path in (tmp_path / "x" / "checkpoints").iterdir():
        weights = torch.load(path, weights_only=True)["trainer"]["model"].values()
        assert all(weight.isfinite().all() for weight in weights)


def test_a_long_epoch_is_looked_at_before_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOOKS", 2)
    steps = []

    class Count(loop.Silent):
        def step(self, step, _):
            steps.append(step)

    with pytest.raises(DivergedError, match="in epoch 1"):
        run.start(small(training={"lr": 1e38, "batch_size": 2}), tmp_path, "x", data=DATA, display=Count())
    assert 0 < len(steps) < 30


def test_a_full_disk(tmp_path, monkeypatch):
    """The third checkpoint does not fit: those before it stay, and the run goes on once there is room."""
    write, count = records.write_bytes, []

    def full(path, data):
        count.append(path.name)
        if path.name.startswith("step") and sum(name.startswith("step") for name in count) == 3:
            path.with_name("." + path.name).write_bytes(data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    monkeypatch.setattr(records, "write_bytes", full)
    with pytest.raises(
        StorageError, match=r"x must be a folder that can be written to, but: No space left on device\. What"
    ):
        run.start(small(), tmp_path, "x", data=DATA)
    monkeypatch.undo()
    run.resume(tmp_path / "x", data=DATA)
    run.start(small(), tmp_path, "whole", data=DATA)
    assert_same_run(tmp_path / "whole", tmp_path / "x")


def test_a_record_that_is_written_in_parts(tmp_path):
    class Short:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:7])

        def __getattr__(self, name):
            return getattr(self.file, name)

    with records.Journal(tmp_path / "x") as journal:
        journal._file = Short(journal._file)
        journal.add(records.Record("none", 0, 1, 0.5, 0.25, 1.5))
    assert json.loads((tmp_path / "x").read_text())["train_loss"] == 0.5


def test_scalars_for_tensorboard(tmp_path):
    run.start(small(run={"tensorboard": True}), tmp_path, "x", data=DATA)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "x" / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("validation_loss")]
    assert found == [(line["epoch"], pytest.approx(line["validation_loss"])) for line in lines(tmp_path / "x")]
    assert "co_adaptation/1" in events.Tags()["scalars"]


def test_validation_is_never_from_the_test_part(tmp_path):
    """Test examples are marked by a feature; no batch, no validation and no monitor sees one before the end."""
    train, test = stripes(90, 0), stripes(33, 1)
    test.inputs[:] = 7.0
    seen = []
    data = Dataset("stripes", train=train, test=Split(test.inputs, test.targets), classes=3)
    original = torch.nn.Sequential.forward

    def spy(self, inputs):
        seen.append(bool((inputs == 7.0).any()))
        return original(self, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Sequential, "forward", spy)
        run.start(small(), tmp_path, "x", data=data)
    assert seen[-1]
    assert not any(seen[:-1])
    assert np.isfinite(lines(tmp_path / "x")[-1]["validation_loss"])


def test_checkpoints_are_whole_when_they_have_their_name(tmp_path, monkeypatch):
    """At the moment of the renaming the file is complete, and on the disk."""
    synced, seen = set(), []
    fsync, replace = os.fsync, os.replace

    def note(number):
        synced.add(os.fstat(number).st_ino)
        fsync(number)

    def check(source, target):
        assert os.stat(source).st_ino in synced
        seen.append(checkpoint.unpacked(Path(source).read_bytes(), source)["n"])
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", check)
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save({"n": 1}, 1, best=True)
    checkpoints.save({"n": 2}, 2)
    assert seen == [1, 1, 2]
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "step-000000000002.pt"]
