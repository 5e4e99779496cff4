"""Images that a run flips and shifts: each in its own way, by seed, epoch and place, however it is batched."""

import numpy as np
import pytest
import torch
from torch import nn

from thinned import data
from thinned._errors import KindError, RangeError
from thinned.lab import examples, run
from thinned.lab.config import Config
from thinned.lab.examples import Examples, augmentation, order
from thinned.lab.recipe import Recipe
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
def test_each_image_in_its_own_way(kind):
    made = examples.parts(images(), 0.0, kind)
    change = augmentation(made, flip=True, shift=2, seed=7)
    trainer = Watched(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), Recipe(batch_size=4), seed=7, augment=change
    )
    for epoch in range(2):
        trainer.seen = []
        trainer.epoch(made.train)
        places = order(7, epoch, 10)
        pictures = torch.from_numpy(images().train.inputs)[places]
        wanted = data.augment(pictures, places, seed=7, epoch=epoch, flip=True, shift=2)
        seen = torch.cat(trainer.seen)
        assert torch.equal(seen.reshape(10, 6, 6), wanted)
        assert seen.shape == (10, *made.train.inputs.shape[1:])
        assert not torch.equal(wanted, pictures)


def test_nothing_is_done_unless_asked_for():
    assert augmentation(examples.parts(images(), 0.0), flip=False, shift=0, seed=0) is None


def test_what_is_no_image_is_refused():
    rows = Examples(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    part = data.Split(rows.inputs.numpy(), rows.targets.numpy())
    made = examples.parts(data.Dataset("rows", part, part, classes=2), 0.0)
    with pytest.raises(KindError, match="must be left out, because the examples of rows are no images"):
        augmentation(made, flip=True, shift=0, seed=0)


def test_a_shift_that_is_too_large_is_told_before_anything_is_done():
    config = Config.of({"data": {"name": "digits", "shift": 8}})
    with pytest.raises(RangeError, match="must be below the sides of the images, 8 x 8, but got shift=8"):
        run.prepared(config, examples.load("digits"))
    with pytest.raises(RangeError, match="`shift` must be"):
        Config.of({"data": {"shift": -1}})
