"""Augmentation of images by the mask law's generator.

What is done to an image is a function of a seed, the epoch and the image's place in the data set: it does not depend on
the batch, on the order, on how many processes share the work, or on what ran before.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned import _check, philox
from thinned._errors import KindError, RangeError

SITE = int.from_bytes(hashlib.sha256(b"thinned.data.augment").digest()[:8], "little")  # as a layer's, by its path
FLIP, DOWN, RIGHT, TOP, LEFT = range(5)  # the words that an image has
HALF = np.uint32(2**31)


def augment(
    images: Tensor,
    indices: Tensor,
    *,
    seed: int,
    epoch: int,
    flip: bool = False,
    shift: int = 0,
    crop: int | tuple[int, int] | None = None,
) -> Tensor:
    """Flip, shift and crop images at random, in this order, each image in its own way.

    Image i takes words 0 to 4 of Philox's counters 2i and 2i + 1, under the seed that a dropout site named
    ``thinned.data.augment`` has in step `epoch`.

    Args:
        images: a batch, shape (examples, height, width) or (examples, channels, height, width), any dtype.
        indices: int64, shape (examples,): the places of the images in the data set.
        seed: 64-bit integer.
        epoch: how often the data were gone through before, at least 0.
        flip: mirror half of the images, left to right.
        shift: move an image by up to so many pixels, up or down and left or right; zeros move in. With 4 this is what
            is usual for CIFAR-10: zeros around the image, and a window of the old size.
        crop: height and width, or the side of a square, of a window to cut out; None for whole images. Test images go
            through `crop_centre`.

    Returns:
        A new tensor on the device of `images`; smaller ones with `crop`. The images themselves if nothing is asked for.

    Raises:
        RangeError, KindError: an argument is out of range, or of another kind.

    Examples:
        >>> images = torch.arange(4.0).reshape(2, 1, 2)
        >>> augment(images, torch.tensor([5, 8]), seed=0, epoch=1, flip=True)
        tensor([[[0., 1.]],
        <BLANKLINE>
                [[3., 2.]]])
    """
    height, width = _check_images(images)
    if not isinstance(indices, Tensor) or indices.dtype != torch.int64 or indices.shape != images.shape[:1]:
        raise KindError("`indices` must be an int64 tensor with one index for each image, but it is not.")
    reach = _natural(shift, "shift")
    if reach >= min(height, width):
        raise RangeError(f"`shift` must be below the sides of the images, {height} x {width}, but got shift={shift}.")
    rows, columns = (height, width) if crop is None else _window(crop, height, width)
    word = _check.word64(seed, "seed")
    places = indices.cpu().numpy()
    if len(places) and places.min() < 0:
        raise RangeError(f"`indices` must be at least 0, but got {places.min()}.")
    if not flip and not reach and crop is None:
        return images
    draws = _draws(places, word, _natural(epoch, "epoch"))
    down, right = (_below(2 * reach + 1, draws[:, at]) - reach for at in (DOWN, RIGHT))
    top = _below(height - rows + 1, draws[:, TOP]) - down
    left = _below(width - columns + 1, draws[:, LEFT]) - right
    across = left[:, None] + np.arange(columns)
    inside = (across >= 0) & (across < width)
    if flip:
        across = np.where((draws[:, FLIP] < HALF)[:, None], width - 1 - across, across)
    along = top[:, None] + np.arange(rows)
    there = ((along >= 0) & (along < height))[:, :, None] & inside[:, None, :]
    device = images.device
    planes = images if images.dim() == 4 else images[:, None]
    which = torch.arange(len(images), device=device)[:, None, None]
    at_row, at_column = (
        torch.from_numpy(places.clip(0, most - 1)).to(device) for places, most in ((along, height), (across, width))
    )
    taken = planes[which, :, at_row[:, :, None], at_column[:, None, :]].permute(0, 3, 1, 2)
    taken = torch.where(
        torch.from_numpy(there).to(device)[:, None], taken, torch.zeros((), dtype=images.dtype, device=device)
    )
    return (taken if images.dim() == 4 else taken[:, 0]).contiguous()


def crop_centre(images: Tensor, crop: int | tuple[int, int]) -> Tensor:
    """Cut the middle out of images: what a network that was trained with `crop` is tested on.

    Args:
        images: as `augment` takes them.
        crop: as `augment` takes it.

    Returns:
        A view of the images.

    Raises:
        RangeError, KindError: an argument is out of range, or of another kind.

    Examples:
        >>> crop_centre(torch.arange(16).reshape(1, 4, 4), 2)
        tensor([[[ 5,  6],
                 [ 9, 10]]])
    """
    height, width = _check_images(images)
    rows, columns = _window(crop, height, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns]


def _draws(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.uint32]:
    """Return eight words for each image."""
    key = philox.words(epoch, 1, seed, SITE)[0, :2]
    counters = np.zeros((len(indices), 2, 4), np.uint32)
    first = 2 * indices.astype(np.uint64)
    for half in range(2):
        counters[:, half, 0] = (first + np.uint64(half)) & np.uint64(philox.LOW)
        counters[:, half, 1] = first >> np.uint64(32)
    return philox.philox4x32(counters, key).reshape(-1, 8)


def _below(bound: int, words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return random integers in [0, bound)."""
    return (words.astype(np.uint64) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)


def _check_images(images: Tensor) -> tuple[int, int]:
    if not isinstance(images, Tensor) or images.dim() not in (3, 4) or 0 in images.shape[1:]:
        raise KindError(
            "`images` must be a tensor of shape (examples, height, width) or (examples, channels, height, width), "
            "but it is not."
        )
    return images.shape[-2], images.shape[-1]


def _window(crop: int | tuple[int, int], height: int, width: int) -> tuple[int, int]:
    sides = crop if isinstance(crop, tuple) and len(crop) == 2 else (crop, crop)
    rows, columns = (_check.positive(side, "crop") for side in sides)
    if rows > height or columns > width:
        raise RangeError(f"`crop` must be within the images, {height} x {width}, but got crop={crop}.")
    return rows, columns


def _natural(value: int, name: str) -> int:
    number = _check.word64(value, name)
    if value < 0:
        raise RangeError(f"`{name}` must be at least 0, but got {name}={value}.")
    return number
