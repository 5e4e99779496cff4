"""Images that a run flips, shifts and crops: each in its own way, by seed, epoch and place, however it is batched."""

import numpy as np
import pytest
import torch
from laboratory import DATA, assert_equal, last_state, small
from torch import nn

import thinned
from thinned import data
from thinned._errors import KindError, RangeError
from thinned.lab import predict, run, sources
from thinned.lab.config import Config
from thinned.lab.examples import Examples, order
from thinned.lab.recipe import Recipe
from thinned.lab.sources import augmentation
from thinned.lab.train import Trainer


def images(count=10, side=6):
    values = np.random.default_rng(0).random((count, side, side)).astype(np.float32)
    part = data.Split(values, np.arange(count) % 2)
    return data.Dataset("squares", part, part, classes=2)


class Watched(Trainer):
    """Keeps what each step is given."""

    def step(self, inputs, targets, share=1.0):
        self.__dict__.setdefault("seen", []).append(inputs.clone())
        return super().step(inputs, targets, share)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
@pytest.mark.parametrize("crop", [0, 4])
def test_each_image_in_its_own_way(kind, crop):
    made = sources.parts(images(), 0.0, kind, crop=crop)
    change = augmentation(made, flip=True, shift=2, seed=7)
    side = crop or 6
    trainer = Watched(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(side**2, 2)), Recipe(batch_size=4), seed=7, augment=change
    )
    for epoch in range(2):
        trainer.seen = []
        trainer.epoch(made.train)
        places = order(7, epoch, 10)
        pictures = torch.from_numpy(images().train.inputs)[places]
        wanted = data.augment(pictures, places, seed=7, epoch=epoch, flip=True, shift=2, crop=crop or None)
        seen = torch.cat(trainer.seen)
        assert torch.equal(seen.reshape(10, side, side), wanted)
        assert seen.shape == (10, *made.shape.inputs) == (10, *((side**2,) if kind == "mlp" else (1, side, side)))
        assert not torch.equal(wanted, pictures[:, :side, :side])


def test_nothing_is_done_unless_asked_for():
    assert augmentation(sources.parts(images(), 0.0), flip=False, shift=0, seed=0) is None


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_a_network_that_does_not_learn_sees_the_middle(tmp_path, monkeypatch, kind):
    """Of colour images, in validation, test and prediction; training examples too, where they are only looked at."""
    values = np.random.default_rng(0).random((30, 3, 8, 8)).astype(np.float32)
    parts = [data.Split(values[part], np.arange(30)[part] % 2) for part in (slice(0, 20), slice(20, 30))]
    source = data.Dataset("squares", *parts, classes=2)
    model = {"kind": kind, "hidden": [8], **({"channels": [4]} if kind == "convnet" else {})}
    seen = {True: [], False: []}
    forward = nn.Sequential.forward

    def spy(self, inputs):
        seen[self.training].append(inputs.reshape(-1, 3, 5, 5))
        return forward(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(nn.Sequential, "forward", spy)
        done = run.start(small(model=model, data={"crop": 5}, training={"epochs": 1}), tmp_path, "x", data=source)
    middle = torch.from_numpy(values[:, :, 1:6, 1:6])
    assert {picture.numpy().tobytes() for picture in torch.cat(seen[False])} == {
        picture.numpy().tobytes() for picture in middle
    }
    assert len(torch.cat(seen[True])) == 16  # four were put aside
    assert not all((picture == middle).flatten(1).all(1).any() for picture in torch.cat(seen[True]))

    network, _, shape, _ = run.restored(tmp_path / "x" / "checkpoints" / "best.pt")
    assert shape.inputs == ((75,) if kind == "mlp" else (3, 5, 5))
    for part, wanted in (("train", middle[:20]), ("test", middle[20:])):
        found = predict.predict(tmp_path / "x", passes=5, data=source, part=part)
        by_hand = thinned.predict(network, wanted.reshape(-1, *shape.inputs), 5, 0, output="logits")
        assert torch.equal(found.mean, by_hand.mean)
    assert found.about["error_without_dropout"] == done.test_error


def test_a_crop_of_the_whole_image_is_a_shift_alone(tmp_path):
    """Zeros around an image and a window of its size, as for CIFAR-10: `shift` says it, with `crop` and without."""
    for crop in (0, 4):
        run.start(small(data={"shift": 1, "crop": crop}), tmp_path, str(crop), data=DATA)
    assert_equal(*(last_state(tmp_path / name)["trainer"]["model"] for name in ("0", "4")))


def test_what_is_no_image_is_refused():
    rows = Examples(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    part = data.Split(rows.inputs.numpy(), rows.targets.numpy())
    source = data.Dataset("rows", part, part, classes=2)
    with pytest.raises(KindError, match="`flip` and `shift` must be left out, because the examples of rows are no im"):
        augmentation(sources.parts(source, 0.0), flip=True, shift=0, seed=0)
    with pytest.raises(KindError, match=r"^`crop` must be left out, because the examples of rows are no im"):
        sources.parts(source, 0.0, crop=2)


def test_a_crop_that_is_too_large_is_told_before_anything_is_done(tmp_path):
    for kind in ("mlp", "convnet"):
        with pytest.raises(RangeError, match=r"^`crop` must be within the images, 4 x 4, but got crop=5\.$"):
            run.start(small(data={"crop": 5}, model={"kind": kind}), tmp_path, "x", data=DATA)
    assert not (tmp_path / "x").exists()
    with pytest.raises(RangeError, match="`crop` must be"):
        Config.of({"data": {"crop": -1}})


def test_a_shift_that_is_too_large_is_told_before_anything_is_done():
    config = Config.of({"data": {"name": "digits", "shift": 8}})
    with pytest.raises(RangeError, match="must be below the sides of the images, 8 x 8, but got shift=8"):
        run.prepared(config, sources.load("digits"))
    with pytest.raises(RangeError, match="`shift` must be"):
        Config.of({"data": {"shift": -1}})
