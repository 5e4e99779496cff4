"""Files in the format of MNIST (IDX, unsigned bytes), packed with gzip or not.

A file is never trusted: what its header claims is compared with what the file can hold before memory is taken for it.

The format: two zero bytes, the type (8: unsigned byte), the number of axes, the size of each axis as a big-endian
32-bit integer, then the bytes in row-major order.
"""

import gzip
import math
import os
import struct
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError
from thinned.data import _files
from thinned.data._dataset import Dataset, Split
from thinned.data._whole import Layout, Whole

UNSIGNED_BYTE = 0x08
EXPANSION = 1032  # no deflate stream unpacks to more than 1032 times its length
LIMIT = 2**30  # bytes of one file; in memory an image takes four times as much, as float32
BRIGHTEST = 255
AXES = {"images": 3, "labels": 1}


def read(path: str | PathLike[str], kind: str) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: the file; whether it is packed with gzip is seen from its first bytes.
        kind: ``"images"``, which have three axes, or ``"labels"``, which have one.

    Returns:
        The bytes in the shape that the header gives.

    Raises:
        DataError: the file is missing, damaged, too large, or not what its header claims; or `kind` is neither.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read(path, "labels")
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    if kind not in AXES:
        raise DataError(f"`kind` must be one of {', '.join(AXES)}, but got kind={kind!r}.")
    with _files.unpacked(path) as stream:
        size = os.path.getsize(path)
        return _parse(path, stream, kind, most=size * EXPANSION if isinstance(stream, gzip.GzipFile) else size)


def read_folder(root: str | PathLike[str]) -> Dataset:
    """Read the four files of MNIST, or of a data set in its format, from a folder.

    Args:
        root: the folder. It holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
            and ``t10k-labels-idx1-ubyte``; a dot in place of the hyphen before ``idx`` and a final ``.gz`` are fine.

    Returns:
        The data set, named after the folder.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit together.
    """
    root = Path(root)
    if not os.path.isdir(root):
        there = "it is a file; name the folder" if os.path.isfile(root) else "there is none; check the path"
        raise DataError(f"{root} must be a folder with the four files of MNIST, but {there}.")
    train, train_images = _split(root, "train")
    test, test_images = _split(root, "t10k")
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise DataError(
            f"{train_images} and {test_images} must hold images of one size, but got "
            f"{_times(train.inputs.shape[1:])} and {_times(test.inputs.shape[1:])}; put the right files together."
        )
    classes = int(max(train.targets.max(), test.targets.max())) + 1
    return Dataset(name=root.resolve().name or str(root), train=train, test=test, classes=classes)


def read_whole(path: str | PathLike[str], layout: Layout | None = None) -> Whole | Dataset:
    """Read all images of one IDX file, which has no labels.

    Args:
        path: the file, or a folder as for `read_folder`.
        layout: of what a network was trained on; images have no names.

    Returns:
        The images; of a folder its two parts, as `read_folder` does.

    Raises:
        DataError: as for `read` and `read_folder`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "new-images")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255]))
        ...     read_whole(path).inputs
        array([[[0., 1.]]], dtype=float32)
    """
    del layout
    path = Path(path)
    if os.path.isdir(path):
        return read_folder(path)
    return Whole(_files.stem(path), _scaled(read(path, "images")))


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is in the format of MNIST.

    Args:
        path: the file.
        head: its first bytes, unpacked.

    Returns:
        Whether they say so, of images or of labels.

    Examples:
        >>> recognise(Path("t10k-images-idx3-ubyte"), bytes([0, 0, 8, 3]))
        True
    """
    del path
    return head[:4] in [bytes([0, 0, UNSIGNED_BYTE, axes]) for axes in AXES.values()]


def found(root: Path) -> Path | None:
    """Say which folder has files in the format of MNIST, by their names.

    Args:
        root: where to look.

    Returns:
        The folder, or None.

    Examples:
        >>> found(Path("nowhere"))
    """
    return root if any(root.glob("*idx[13]-ubyte*")) else None


def _split(root: Path, part: str) -> tuple[Split, Path]:
    """Return one part of the folder, and the file that its images came from."""
    paths = {kind: _find(root, part, kind) for kind in AXES}
    images, labels = (read(paths[kind], kind) for kind in AXES)
    if len(images) != len(labels):
        raise DataError(
            f"{paths['images']} and {paths['labels']} must hold equally many examples, but got {len(images)} images "
            f"and {len(labels)} labels; put the right files together."
        )
    return Split(_scaled(images), labels.astype(np.int64)), paths["images"]


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    # One array for images as float32, not one more in between: for MNIST that is 188 MB saved.
    pixels: NDArray[np.float32] = np.divide(images, np.float32(BRIGHTEST), dtype=np.float32)
    return pixels


def _find(root: Path, part: str, kind: str) -> Path:
    """Return the file of the folder that holds this part, under any of its usual names."""
    names = [f"{part}-{kind}{mark}idx{AXES[kind]}-ubyte{end}" for end in ("", ".gz") for mark in "-."]
    for name in names:
        if os.path.exists(root / name):
            return root / name
    raise DataError(f"{root} must hold {names[0]} or {names[2]}, but holds neither; put the file there.")


def _parse(path: Path, stream: IO[bytes] | gzip.GzipFile, kind: str, most: int) -> NDArray[np.uint8]:
    """Read header and data from a stream that gives no more than `most` bytes."""
    axes = AXES[kind]
    length = 4 + 4 * axes
    header = stream.read(length)
    magic = bytes([0, 0, UNSIGNED_BYTE, axes])
    if header[:4] != magic:
        raise DataError(
            f"{path} must begin with the magic number {int.from_bytes(magic, 'big')} of {kind}, but begins with "
            f"{int.from_bytes(header[:4], 'big')}; check that it is the right file."
        )
    if len(header) < length:
        raise DataError(
            f"{path} must begin with a header of {length} bytes, but ends after {len(header)}; get the file again."
        )
    shape = struct.unpack(f">{axes}I", header[4:])
    count = math.prod(shape)
    claim = f"{path} claims {_times(shape)} = {count} bytes of {kind}"
    if count == 0:
        raise DataError(f"{claim}, but must hold at least one; get the file again.")
    if count > LIMIT:
        raise DataError(f"{claim}, but at most {LIMIT} are allowed; take a part of the data.")
    if length + count > most:
        raise DataError(f"{claim}, but cannot hold more than {most - length}; it was cut off: get the file again.")
    data = _files.take(stream, count + 1)
    if len(data) < count:
        raise DataError(f"{claim}, but holds {len(data)}; it was cut off: get the file again.")
    if len(data) > count:
        raise DataError(f"{claim}, but holds more; header and data do not belong together: get the file again.")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
