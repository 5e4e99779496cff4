"""Training in float16: as torch's recipe does it, bit for bit; what is skipped is told, and is no divergence."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from laboratory import DATA, assert_equal, assert_same_run, last_state, lines, small, stripes
from rich.console import Console
from test_lab_distributed import together
from test_lab_run import StopAt
from torch import nn

from thinned import optim
from thinned._errors import RangeError
from thinned.batchwise import Chain, SubmatrixGrad
from thinned.data import Dataset, Split
from thinned.lab import display, run
from thinned.lab.distributed import Job
from thinned.lab.examples import Examples, order
from thinned.lab.loop import DivergedError
from thinned.lab.precision import LEAST, Precision
from thinned.lab.recipe import Recipe
from thinned.lab.train import Trainer

HALF = {"run": {"precision": "float16"}}
HUGE = 1e5  # beyond float16, whose largest number is 65504


def numbers():
    """Targets so large that their gradients, times the first scale, are beyond float16."""
    random = np.random.default_rng(0)
    inputs = random.normal(0, 1, (110, 6)).astype(np.float32)
    targets = 100 + 10 * inputs[:, 0]
    return Dataset("numbers", Split(inputs[:90], targets[:90]), Split(inputs[90:], targets[90:]), 0, task="regression")


def one_huge():
    """Stripes, one of which is beyond float16: in each epoch there is a step whose loss is no number."""
    train = stripes(90, 0)
    inputs = train.inputs.copy()
    inputs[30, 0, 0] = HUGE
    return Dataset("stripes", Split(inputs, train.targets), DATA.test, classes=3)


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))


PLAIN = {
    "sgd": partial(torch.optim.SGD, lr=0.001, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, lr=0.001, momentum=0.9, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=0.001),
    "adamw": partial(torch.optim.AdamW, lr=0.001, weight_decay=0.0),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.001, momentum=0.9),
    "adagrad": partial(torch.optim.Adagrad, lr=0.001),
}


@pytest.mark.parametrize(("optimizer", "make"), PLAIN.items(), ids=PLAIN)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_torchs_own_recipe(optimizer, make, clip):
    """torch's documentation: scale, backward, unscale and clip, step, update."""
    recipe = Recipe(epochs=3, batch_size=4, optimizer=optimizer, lr=0.001, clip_norm=clip, schedule="constant")
    split = numbers().train
    train = Examples(torch.from_numpy(split.inputs), torch.from_numpy(split.targets))
    trainer = Trainer(network, recipe, seed=3, precision="float16")

    torch.manual_seed(3)
    model = network()
    mine = make(model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    in_all = 0
    for epoch in range(3):
        loss, _ = trainer.epoch(train)
        losses, skipped = [], 0
        for rows in order(3, epoch, 90).split(4):
            mine.zero_grad()
            with torch.autocast("cpu", torch.float16):
                outputs = model(train.inputs[rows])
                found = nn.functional.mse_loss(outputs.float().view(-1), train.targets[rows])
            scaler.scale(found).backward()
            before = scaler.get_scale()
            if clip:
                scaler.unscale_(mine)
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(mine)
            scaler.update()
            if scaler.get_scale() < before:
                skipped += 1
            else:
                losses += [found.item()] * len(rows)
        assert_equal(dict(trainer.model.state_dict()), dict(model.state_dict()))
        assert trainer.skipped == skipped
        assert loss == pytest.approx(np.mean(losses))
        in_all += skipped
    assert in_all > 0


def test_a_step_that_is_skipped_changes_nothing():
    chain = Chain(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer = Trainer(lambda: chain, Recipe(optimizer="adam"), seed=0, library=optim, precision="float16")
    targets = torch.tensor([0, 1, 2, 0])
    trainer.model.train()
    trainer.step(torch.ones(4, 6), targets)
    for layer in (chain[0], chain[2]):
        assert isinstance(layer.weight.grad, SubmatrixGrad)
        assert layer.weight.grad.block is not None  # the scale was taken off without making it dense
    before = trainer.state()
    weights = {name: weight.clone() for name, weight in before["model"].items()}
    moments = [state["exp_avg"].clone() for state in before["optimizer"]["state"].values()]
    assert not math.isfinite(trainer.step(torch.full((4, 6), HUGE), targets))
    after = trainer.state()
    assert_equal(dict(after["model"]), weights)
    assert_equal([state["exp_avg"] for state in after["optimizer"]["state"].values()], moments)
    assert [float(state["step"]) for state in after["optimizer"]["state"].values()] == [1.0] * len(moments)
    assert after["scaler"]["scale"] == before["scaler"]["scale"] / 2
    assert (before["skipped"], after["skipped"]) == (0, 1)


@pytest.mark.parametrize("kind", ["standard", "batchwise"])
def test_a_run_that_was_broken_off_goes_on_bit_for_bit(tmp_path, kind):
    """With steps that are skipped before and after."""
    table = {"precision": "float16", "checkpoint_steps": 3}
    config = small(dropout={"kind": kind, "p": 0.2}, training={"batch_size": 4, "lr": 1e-4}, run=table)
    data = numbers()
    run.start(config, tmp_path, "whole", data=data)
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(config, tmp_path, "broken", data=data, display=StopAt(5))
    assert last_state(tmp_path / "broken")["trainer"]["skipped"] > 0
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.resume(tmp_path / "broken", data=data, display=StopAt(20))
    run.resume(tmp_path / "broken", data=data)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert lines(tmp_path / "whole")[0]["skipped_steps"] > 2


def test_a_loss_that_is_no_number_in_a_skipped_step_is_no_divergence(tmp_path):
    with (tmp_path / "seen").open("w", encoding="utf-8") as file:
        show = display.TrainProgress(Console(file=file, force_terminal=False))
        found = run.start(small(**HALF), tmp_path, "x", data=one_huge(), display=show)
    seen = (tmp_path / "seen").read_text(encoding="utf-8").splitlines()
    assert [line.endswith(", 1 step skipped") for line in seen] == [False, True, True, True, True]
    written = lines(tmp_path / "x")
    assert [line["skipped_steps"] for line in written] == [1] * 4
    assert all(math.isfinite(line["train_loss"]) for line in written)
    assert last_state(tmp_path / "x")["trainer"]["scaler"]["scale"] == 2.0**12
    assert found.epochs == 4
    run.start(small(), tmp_path, "y", data=DATA)
    assert "skipped_steps" not in lines(tmp_path / "y")[0]


def test_an_epoch_without_a_step_is_no_divergence(tmp_path):
    """The scale has still to come down: an epoch has one step, and its loss is a number."""
    config = small(training={"batch_size": 90, "epochs": 16, "lr": 1e-4}, data={"validation": 0.0}, **HALF)
    data = numbers()
    data.train.targets[:] *= 10
    run.start(config, tmp_path, "x", data=data)
    written = lines(tmp_path / "x")
    assert (written[0]["skipped_steps"], written[0]["train_loss"]) == (1, None)
    assert written[-1]["skipped_steps"] == 0
    assert written[-1]["train_loss"] is not None


@pytest.mark.parametrize("batch_size", [2, 90])
def test_a_run_that_no_scale_helps_ends_in_a_sentence(tmp_path, batch_size):
    """All inputs are beyond float16; no step is ever made. Within an epoch, and over many that have one step."""
    train = stripes(90, 0)
    data = Dataset("stripes", Split(train.inputs + np.float32(HUGE), train.targets), DATA.test, classes=3)
    config = small(training={"batch_size": batch_size, "epochs": 50}, **HALF)
    with pytest.raises(DivergedError, match=r"or with a max_norm, or with precision bfloat16, which has larger num"):
        run.start(config, tmp_path, "x", data=data)
    *halved, last = lines(tmp_path / "x")
    assert last["diverged"]
    assert last["skipped_steps"] >= 1
    assert len(halved) == (30 if batch_size == 90 else 0)  # from 2^16 to 2^-14
    with pytest.raises(DivergedError, match=r"^The loss is no number any more in epoch \d"):
        run.start(small(training={"lr": 1e30}, **HALF), tmp_path, "y", data=DATA)


def test_a_scale_is_lost_below_the_least():
    precision = Precision("float16", Job())
    for scale, lost in ((LEAST, False), (LEAST / 2, True)):
        precision.load({"scaler": {**precision.state()["scaler"], "scale": scale}, "skipped": 0, "left_out": 0})
        assert precision.lost() == lost


def test_one_process_skips_what_another_has_to(tmp_path):
    """The example that is beyond float16 is in one process's rows. Sums in float16 differ in the third digit."""
    config = small(dropout={"p": 0.2}, **HALF)
    data = one_huge()
    run.start(config, tmp_path, "one", data=data)
    together(2, config, tmp_path, "two", data)
    one, two = (last_state(tmp_path / name)["trainer"] for name in ("one", "two"))
    assert one["scaler"] == two["scaler"]
    for name, weight in one["model"].items():
        torch.testing.assert_close(two["model"][name], weight, rtol=1e-2, atol=1e-3)
    for ours, theirs in zip(lines(tmp_path / "two"), lines(tmp_path / "one"), strict=True):
        assert ours["skipped_steps"] == theirs["skipped_steps"] == 1
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


def test_an_lstm_where_there_is_none(tmp_path, monkeypatch):
    ids = np.arange(300) % 5
    words = Dataset("words", Split(ids[:200], ids[1:201]), Split(ids[200:299], ids[201:]), classes=5, task="text")
    config = small(model={"kind": "lstm", "hidden": [4]}, data={"steps": 10}, **HALF)

    def refuse(*_):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(nn.LSTM, "forward", refuse)
    with pytest.raises(
        RangeError, match=r"^`precision` must be float32 or bfloat16 for an LSTM on cpu, where torch has"
    ):
        run.start(config, tmp_path, "x", data=words)
    assert not (tmp_path / "x").exists()
