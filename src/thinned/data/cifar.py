"""Files of CIFAR-10, in its binary format or in its python format.

A file is never trusted: its size and its labels are checked, the size before memory is taken, and a pickle is not run.

The binary format: records of 3,073 bytes without any header; one byte is the class, 0 to 9, then come the red, the
green and the blue pixels of an image of 32 x 32, each in row-major order. The python format: a pickled dict; ``data``
are the same 3,072 pixels a row, ``labels`` a list of the classes. A file beside these names the classes:
``batches.meta.txt``, a line for each, or ``batches.meta``, a pickled dict with the list ``label_names``.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version" and "Python / Matlab versions".
"""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError
from thinned.data import _files, _pickled
from thinned.data._dataset import Dataset, Split
from thinned.data._whole import Layout, Whole

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10
LIMIT = 2**30  # bytes of all files of one part; in memory an image takes four times as much, as float32
BRIGHTEST = 255
TRAIN = "data_batch*.bin"
TEST = "test_batch*.bin"
PYTHON_TRAIN = "data_batch_[0-9]"
PYTHON_TEST = "test_batch"
PICKLE = b"\x80"  # how a pickle begins, unlike any record
PICKLE_LIMIT = 2**26  # bytes of a pickle, twice what a batch takes
NAMES, PYTHON_NAMES = "batches.meta.txt", "batches.meta"
NAMES_LIMIT = 2**12  # bytes of the file that names the classes; the published ones have less than 200
INSIDE = ("cifar-10-batches-bin", "cifar-10-batches-py")  # what the published archives unpack to


def read(path: str | PathLike[str]) -> Split:
    """Read one file of CIFAR-10.

    Args:
        path: the file, in either format.

    Returns:
        Its images, of shape (examples, 3, 32, 32) and in [0, 1], with their classes.

    Raises:
        DataError: the file is missing, too large, or not in this format.

    Examples:
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
        root: the folder, or the one that it was unpacked into. It holds files named ``data_batch*.bin``, such as
            ``data_batch_1.bin`` to ``data_batch_5.bin``, and ``test_batch*.bin``; or, in the python format,
            ``data_batch_1`` to ``data_batch_5`` and ``test_batch``. Where there is none to test on, a fifth of each
            class is put aside. What the classes are called is read from ``batches.meta.txt`` or ``batches.meta``, if
            one of these is there.

    Returns:
        The data set, named after the folder.

    Raises:
        DataError: there is nothing to train on, or a file is damaged.
    """
    made = read_whole(root)
    return made.parted() if isinstance(made, Whole) else made


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
    return _whole(path.name, [path]).parted()


def read_whole(path: str | PathLike[str], layout: Layout | None = None) -> Whole | Dataset:
    """Read all examples of one file of CIFAR-10, or of a folder.

    Args:
        path: the file, or a folder as for `read_folder`.
        layout: of what a network was trained on; images have no names.

    Returns:
        The examples, in the order of the file, or of the sorted files; of a folder with files to test on both parts.

    Raises:
        DataError: as for `read` and `read_folder`.
    """
    del layout
    path = Path(path)
    if os.path.isfile(path):
        return _whole(path.name, [path])
    if not os.path.isdir(path):
        raise DataError(f"{path} must be a folder with files of CIFAR-10, but there is none; check the path.")
    folder = found(path) or path
    train, test = (sorted(folder.glob(pattern)) for pattern in (TRAIN, TEST))
    if not train:
        train, test = (sorted(folder.glob(pattern)) for pattern in (PYTHON_TRAIN, PYTHON_TEST))
    if not train:
        raise DataError(f"{path} must hold {TRAIN} or {PYTHON_TRAIN}, but holds neither; put the files there.")
    name = path.resolve().name or str(path)
    if test:
        return Dataset(name, _read_all(train), _read_all(test), CLASSES, class_names=_names(folder))
    return _whole(name, train)


def found(root: Path) -> Path | None:
    """Say which folder has files of CIFAR-10, by their names.

    Args:
        root: where to look, and one step further down.

    Returns:
        The folder, or None.

    Examples:
        >>> found(Path("nowhere"))
    """
    for folder in (root, *(root / name for name in INSIDE)):
        if any(any(folder.glob(pattern)) for pattern in (TRAIN, PYTHON_TRAIN)):
            return folder
    return None


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is one of CIFAR-10.

    Args:
        path: the file.
        head: its first bytes.

    Returns:
        Whether its name ends in ``.bin``, or it is a pickle.

    Examples:
        >>> recognise(Path("data_batch_1.bin"), b"")
        True
    """
    return path.suffix == ".bin" or head.startswith(PICKLE)


def _whole(name: str, paths: Sequence[Path]) -> Whole:
    made = _read_all(paths)
    names = _names(paths[0].parent)
    return Whole(name, made.inputs, made.targets, CLASSES, task="classification", class_names=names)


def _names(folder: Path) -> tuple[str, ...]:
    """Return what the classes are called, if the folder says so."""
    path = next((folder / name for name in (NAMES, PYTHON_NAMES) if os.path.isfile(folder / name)), None)
    if path is None:
        return ()
    content: Any = _files.content(path, NAMES_LIMIT)
    names: Any
    if path.name == NAMES:
        names = [line for line in content.split(b"\n") if line.strip()]
    else:
        told = _pickled.load(path, content)
        names = told.get(b"label_names", told.get("label_names")) if isinstance(told, dict) else None
        names = names if isinstance(names, list) else []
    try:
        texts = [str(name, "utf-8") if isinstance(name, bytes | bytearray) else name for name in names]
    except UnicodeDecodeError:
        texts = []
    if len(texts) != CLASSES or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f"{path} must name the {CLASSES} classes, but does not; get the file again or remove it.")
    found = tuple(text.strip() for text in texts)
    if len(set(found)) != CLASSES:
        raise DataError(
            f"{path} must give each class a name of its own, but does not; get the file again or remove it."
        )
    return found


def _read_all(paths: Sequence[Path]) -> Split:
    """Read files one after the other into one array, so that no second copy of all images is ever held."""
    most = [_most(path) for path in paths]
    if RECORD * sum(most) > LIMIT:
        raise DataError(
            f"{paths[0].parent} must hold at most {LIMIT} bytes of one part, but holds {RECORD * sum(most)}; "
            "take a part of the data."
        )
    inputs = np.empty((sum(most), *SHAPE), np.float32)
    targets = np.empty(sum(most), np.int64)
    begin = 0
    for path, count in zip(paths, most, strict=True):
        pixels, labels = _unpickled(path) if _is_pickle(path) else _records(path, count)
        wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
        if len(wrong):
            raise DataError(
                f"{path} must hold classes from 0 to {CLASSES - 1}, but record {wrong[0]} is of class "
                f"{labels[wrong[0]]}; check that it is a file of CIFAR-10."
            )
        part = slice(begin, begin + len(labels))
        targets[part] = labels
        np.divide(pixels.reshape(-1, *SHAPE), np.float32(BRIGHTEST), out=inputs[part], dtype=np.float32)
        begin += len(labels)
    return Split(inputs[:begin], targets[:begin])


def _is_pickle(path: Path) -> bool:
    _files.exists(path)
    try:
        with path.open("rb") as file:
            return path.suffix != ".bin" and file.read(len(PICKLE)) == PICKLE
    except OSError as error:
        raise DataError(f"{path} must be readable to its end, but: {error}; get the file again.") from error


def _most(path: Path) -> int:
    """Return how many records a file has, or a pickle can have, by its size."""
    pickled = _is_pickle(path)
    limit = PICKLE_LIMIT if pickled else LIMIT
    size = os.path.getsize(path)
    if not pickled and (size == 0 or size % RECORD):
        raise DataError(
            f"{path} must hold records of {RECORD} bytes, at least one and only whole ones, but has {size} bytes; "
            "get the file again."
        )
    if size > limit:
        raise DataError(f"{path} must have at most {limit} bytes, but has {size}; take a part of the data.")
    return size // (RECORD - 1 if pickled else RECORD)


def _records(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels and the labels of a file of records."""
    try:
        with path.open("rb") as file:
            content = file.read(RECORD * count)
    except OSError as error:
        raise DataError(f"{path} must be readable to its end, but: {error}; get the file again.") from error
    if len(content) < RECORD * count:
        raise DataError(f"{path} must be readable to its end, but became shorter meanwhile; get the file again.")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD)
    return records[:, 1:], records[:, 0]


def _unpickled(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the pixels and the labels of a pickled file."""
    batch = _pickled.load(path, _files.content(path, PICKLE_LIMIT))
    batch = batch if isinstance(batch, dict) else {}
    pixels: Any = batch.get(b"data", batch.get("data"))
    labels: Any = batch.get(b"labels", batch.get("labels"))
    whole = isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != RECORD - 1 or not whole:
        raise DataError(
            f"{path} must have `data`, {RECORD - 1} bytes an image, and `labels`, a list of integers, but has other "
            "things; check that it is a file of CIFAR-10."
        )
    if not 0 < len(pixels) == len(labels):
        raise DataError(
            f"{path} must have one label for each image, but has {len(pixels)} images and {len(labels)} labels."
        )
    return pixels, np.array(labels, np.int64)
