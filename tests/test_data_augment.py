"""Augmentation: one image at a time by a slow reference, whatever the batch, the order and the memory."""

import numpy as np
import pytest
import torch

from thinned import philox
from thinned._errors import KindError, RangeError
from thinned.data import augment, crop_centre
from thinned.keys import site_seed

IMAGES = torch.arange(7 * 2 * 6 * 5, dtype=torch.float32).reshape(7, 2, 6, 5) + 1


def by_hand(image, index, seed, epoch, flip, shift, crop):
    """Pad, move and cut one image of shape (channels, height, width)."""
    words = philox.words(2 * index, 2, site_seed(seed, epoch, "thinned.data.augment"), 0).ravel()
    height, width = image.shape[1:]
    if flip and words[0] < 2**31:
        image = image[:, :, ::-1]
    down, right = (int(word) * (2 * shift + 1) // 2**32 - shift for word in words[1:3])
    padded = np.pad(image, ((0, 0), (shift, shift), (shift, shift)))
    image = padded[:, shift - down : shift - down + height, shift - right : shift - right + width]
    rows, columns = crop or (height, width)
    top, left = int(words[3]) * (height - rows + 1) // 2**32, int(words[4]) * (width - columns + 1) // 2**32
    return image[:, top : top + rows, left : left + columns]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("crop", [None, (4, 3), (6, 5)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_each_image_by_hand(flip, shift, crop, memory):
    indices = torch.tensor([0, 3, 2**31, 2**40 + 1, 7, 8, 9])
    done = augment(
        IMAGES.to(memory_format=memory), indices, seed=-5, epoch=3, flip=flip, shift=shift, crop=crop
    ).numpy()
    for image, index, result in zip(IMAGES.numpy(), indices.tolist(), done, strict=True):
        np.testing.assert_array_equal(result, by_hand(image, index, 2**64 - 5, 3, flip, shift, crop))


def test_an_image_does_not_depend_on_its_batch():
    indices = torch.arange(7)
    options = {"seed": 1, "epoch": 2, "flip": True, "shift": 1, "crop": 4}
    whole = augment(IMAGES, indices, **options)
    order = torch.tensor([4, 0, 6])
    torch.testing.assert_close(augment(IMAGES[order], indices[order], **options), whole[order], rtol=0, atol=0)
    other = augment(IMAGES, indices, **{**options, "epoch": 3})
    assert not torch.equal(other, whole)
    assert not torch.equal(augment(IMAGES, indices, **{**options, "seed": 2}), whole)


def test_images_without_channels_and_of_bytes():
    gray = IMAGES[:, 0].to(torch.uint8)
    done = augment(gray, torch.arange(7), seed=0, epoch=0, flip=True, shift=2)
    assert (done.dtype, done.shape) == (torch.uint8, gray.shape)
    with_channel = augment(gray[:, None], torch.arange(7), seed=0, epoch=0, flip=True, shift=2)
    assert torch.equal(done, with_channel[:, 0])


def test_nothing_to_do_and_nothing_there():
    assert augment(IMAGES, torch.arange(7), seed=0, epoch=0) is IMAGES
    assert augment(IMAGES[:0], torch.arange(0), seed=0, epoch=0, flip=True, crop=2).shape == (0, 2, 2, 2)


def test_rates():
    """10,000 images: half are flipped, and each of nine shifts is taken by a ninth, within five standard deviations."""
    image = torch.zeros(10_000, 3, 4)
    image[:, 1, 1] = 1
    done = augment(image, torch.arange(10_000), seed=11, epoch=0, shift=1)
    counts = done.sum(0)[:, :3]
    assert done.sum() == 10_000
    assert (counts - 10_000 / 9).abs().max() < 5 * (10_000 / 9 * 8 / 9) ** 0.5
    flipped = augment(image, torch.arange(10_000), seed=11, epoch=0, flip=True)[:, 1, 2].sum()
    assert abs(flipped - 5000) < 5 * 50


def test_the_centre():
    assert torch.equal(crop_centre(IMAGES, (4, 3)), IMAGES[:, :, 1:5, 1:4])
    assert torch.equal(crop_centre(IMAGES[:, 0], 5), IMAGES[:, 0, :5])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shift": 5}, RangeError, r"`shift` must be below the sides of the images, 6 x 5, but got shift=5\."),
        ({"shift": -1}, RangeError, r"`shift` must be at least 0, but got shift=-1\."),
        ({"epoch": -1}, RangeError, r"`epoch` must be at least 0, but got epoch=-1\."),
        ({"epoch": 0.5}, KindError, r"`epoch` must be an integer, but got epoch=0\.5 of type float\."),
        ({"seed": 2**64}, RangeError, r"`seed` must be in \[-2\*\*63, 2\*\*64 - 1\], but got seed="),
        ({"crop": 0}, RangeError, r"`crop` must be at least 1, but got crop=0\."),
        ({"crop": (6, 6)}, RangeError, r"`crop` must be within the images, 6 x 5, but got crop=\(6, 6\)\."),
        ({"indices": torch.arange(6)}, KindError, r"`indices` must be an int64 tensor with one index for each image"),
        ({"indices": torch.arange(7) - 1}, RangeError, r"`indices` must be at least 0, but got -1\."),
        ({"images": IMAGES[0, 0]}, KindError, r"`images` must be a tensor of shape \(examples, height, width\) or"),
        ({"images": IMAGES[:, :, :0]}, KindError, r"`images` must be a tensor of shape"),
    ],
)
def test_wrong_arguments(change, error, message):
    given = {"images": IMAGES, "indices": torch.arange(7), "seed": 0, "epoch": 0, "flip": True, **change}
    with pytest.raises(error, match=message):
        augment(**given)
