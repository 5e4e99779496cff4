"""Files in the binary format of CIFAR-10.

A file is never trusted: its size and its labels are checked, the size before memory is taken.

The format: records of 3,073 bytes without any header; one byte is the class, 0 to 9, then come the red, the green and
the blue pixels of an image of 32 x 32, each in row-major order.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError
from thinned.data._dataset import Dataset, Split, hold_out

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10
LIMIT = 2**30  # bytes of all files of one part; in memory an image takes four times as much, as float32
BRIGHTEST = 255
TRAIN = "data_batch*.bin"
TEST = "test_batch*.bin"


def read(path: str | PathLike[str]) -> Split:
    """Read one file of CIFAR-10.

    Args:
        path: the file.

    Returns:
        Its images, of shape (examples, 3, 32, 32) and in [0, 1], with their classes.

    Raises:
        DataError: the file is missing, too large, or not in this format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "data_batch_1.bin")
        ...     _ = path.write_bytes(bytes([7]) + bytes(3072) + bytes([2]) + bytes(3072))
        ...     read(path).targets
        array([7, 2])
    """
    return _read_all([Path(path)])


def read_folder(root: str | PathLike[str]) -> Dataset:
    """Read the files of CIFAR-10 from a folder.

    Args:
        root: the folder. It holds files named ``data_batch*.bin``, such as ``data_batch_1.bin`` to
            ``data_batch_5.bin``, and ``test_batch*.bin``. Where there is none of the latter, a fifth of each class is
            put aside for testing.

    Returns:
        The data set, named after the folder.

    Raises:
        DataError: there is nothing to train on, or a file is damaged.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise DataError(f"{root} must be a folder with files of CIFAR-10, but there is none; check the path.")
    train, test = (sorted(root.glob(pattern)) for pattern in (TRAIN, TEST))
    if not train:
        raise DataError(f"{root} must hold {TRAIN}, but holds none; put the files there.")
    name = root.resolve().name or str(root)
    if test:
        return Dataset(name, _read_all(train), _read_all(test), CLASSES)
    return _hold_out(name, train)


def read_file(path: str | PathLike[str]) -> Dataset:
    """Read a data set from one file of CIFAR-10, a fifth of each class put aside for testing.

    Args:
        path: the file.

    Returns:
        The data set, named after the file.

    Raises:
        DataError: the file is missing, too large, not in this format, or has too few examples for two parts.
    """
    path = Path(path)
    return _hold_out(path.name, [path])


def _hold_out(name: str, paths: Sequence[Path]) -> Dataset:
    whole = _read_all(paths)
    data = hold_out(name, whole.inputs, whole.targets, CLASSES)
    if not len(data.test.targets):
        raise DataError(
            f"{paths[0]} must hold at least 3 examples of one class, so that some can be put aside for testing, "
            f"but holds {len(whole.targets)} in all; take more of the data."
        )
    return data


def _read_all(paths: Sequence[Path]) -> Split:
    """Read files one after the other into one array, so that no second copy of all images is ever held."""
    counts = [_count(path) for path in paths]
    if RECORD * sum(counts) > LIMIT:
        raise DataError(
            f"{paths[0].parent} must hold at most {LIMIT} bytes of one part, but holds {RECORD * sum(counts)}; "
            "take a part of the data."
        )
    inputs = np.empty((sum(counts), *SHAPE), np.float32)
    targets = np.empty(sum(counts), np.int64)
    begin = 0
    for path, count in zip(paths, counts, strict=True):
        records = _records(path, count)
        part = slice(begin, begin + count)
        targets[part] = records[:, 0]
        np.divide(records[:, 1:].reshape(-1, *SHAPE), np.float32(BRIGHTEST), out=inputs[part], dtype=np.float32)
        begin += count
    return Split(inputs, targets)


def _count(path: Path) -> int:
    """Return how many records a file has by its size."""
    if not os.path.isfile(path):  # unlike Path.is_file, never an error
        raise DataError(f"{path} must be a file, but there is none that can be read; check the path.")
    size = os.path.getsize(path)
    if size == 0 or size % RECORD:
        raise DataError(
            f"{path} must hold records of {RECORD} bytes, at least one and only whole ones, but has {size} bytes; "
            "get the file again."
        )
    if size > LIMIT:
        raise DataError(f"{path} must have at most {LIMIT} bytes, but has {size}; take a part of the data.")
    return size // RECORD


def _records(path: Path, count: int) -> NDArray[np.uint8]:
    """Return the records of a file as an array of shape (count, 3073), their labels checked."""
    try:
        with path.open("rb") as file:
            content = file.read(RECORD * count)
    except OSError as error:
        raise DataError(f"{path} must be readable to its end, but: {error}; get the file again.") from error
    if len(content) < RECORD * count:
        raise DataError(f"{path} must be readable to its end, but became shorter meanwhile; get the file again.")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= CLASSES)
    if len(wrong):
        raise DataError(
            f"{path} must hold classes from 0 to {CLASSES - 1}, but record {wrong[0]} is of class "
            f"{records[wrong[0], 0]}; check that it is a file of CIFAR-10."
        )
    return records
