"""Arrays in NumPy's ``.npz`` archives.

Nothing is unpickled, and an archive is never trusted: the shape and dtype that an array's header claims are compared
with the sizes that the archive claims, and these with what it can hold, before memory is taken for the array.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from thinned._errors import DataError
from thinned.data import _files
from thinned.data._dataset import Dataset
from thinned.data._whole import Layout, Whole, supervised, whole

SIGNATURE = b"PK\x03\x04"
END, END64 = b"PK\x05\x06", b"PK\x06\x07"  # of the list of members; of a list that is larger than any we take
LISTED = 2**16  # bytes of the list of members
EXPANSION = 1032  # no deflate stream unpacks to more than 1032 times its length
LIMIT = 2**30  # bytes of one array
HEADER = 2**14  # bytes of an array's header
BRIGHTEST = 255
CHANNELS = (1, 3, 4)
INPUTS = ("x", "X", "inputs", "images", "data", "features")
PARTS = ("train", "test", "")  # the last one is an archive's only one, if it is there
TARGETS = ("y", "Y", "targets", "labels", "target", "label")

Part = tuple[NDArray[np.float32], NDArray[np.float64] | None]  # inputs, and targets if there are any


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is an archive.

    Args:
        path: the file.
        head: its first bytes.

    Returns:
        Whether they are those of a zip archive with members.

    Examples:
        >>> recognise(Path("x.npz"), b"PK" + bytes([3, 4]))
        True
    """
    del path
    return head.startswith(SIGNATURE)


def read(path: str | PathLike[str], *, task: str | None = None) -> Dataset:
    """Read a data set from an ``.npz`` archive.

    Args:
        path: the file. Its arrays are named ``x_train`` and ``y_train``, and ``x_test`` and ``y_test`` if there is a
            part to test on, or only ``x`` and ``y``; ``train_x`` is as good as ``x_train``, ``images`` or ``inputs``
            as ``x``, and ``labels`` or ``targets`` as ``y``.
        task: ``"classification"`` or ``"regression"``; None to choose by the targets: whole numbers with at most 100
            values are classes.

    Returns:
        The data set. Images of bytes are scaled to [0, 1]; if channels come last, they are put first.

    Raises:
        DataError: the file is missing, damaged or too large, has no such arrays, or they do not fit together.
        RangeError: `task` is another word.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "toy.npz")
        ...     np.savez(path, x=np.ones((10, 3)), y=np.arange(10) % 2)
        ...     data = read(path)
        >>> data.train.inputs.shape, data.test.inputs.shape, data.classes
        ((8, 3), (2, 3), 2)
    """
    path = Path(path)
    found, names = _parts(path, bare=False)
    train, test = found.get("train", found.get("")), found.get("test")
    if train is None:
        raise DataError(f"{path} must hold arrays x_train and y_train, or x and y, but holds {names}; name them so.")
    return _parted(path, train, test, task) if test else _whole(path, train, task).parted()


def read_whole(path: str | PathLike[str], layout: Layout | None = None, *, task: str | None = None) -> Whole | Dataset:
    """Read all examples of an ``.npz`` archive, in their order.

    Args:
        path: the file. Its arrays are named as for `read`; there need be no targets.
        layout: of what a network was trained on.
        task: as for `read`; None for that of `layout`.

    Returns:
        The examples; of an archive with a part to train on and one to test on both of these, as `read` does.

    Raises:
        DataError, RangeError: as for `read`; or the archive holds two parts without the targets of both.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "new.npz")
        ...     np.savez(path, x=np.ones((10, 3)))
        ...     made = read_whole(path)
        >>> made.inputs.shape, made.targets
        ((10, 3), None)
    """
    path = Path(path)
    found, names = _parts(path, bare=True)
    task = layout.task if layout is not None and task is None else task
    if len(found) == 2 and all(targets is not None for _, targets in found.values()):
        train, test = found.values()
        return _parted(path, train, test, task)
    if len(found) != 1:
        raise DataError(f"{path} must hold one array of inputs, such as x, but holds {names}; keep the one to predict.")
    (part,) = found.values()
    return _whole(path, part, task)


def _whole(path: Path, part: Part, task: str | None) -> Whole:
    return whole(_files.stem(path), *part, task=task)


def _parted(path: Path, train: Part, test: Part, task: str | None) -> Dataset:
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{path} must hold examples of one shape, but those to train on have {train[0].shape[1:]} and those to "
            f"test on {test[0].shape[1:]}."
        )
    (inputs, targets), (test_inputs, test_targets) = train, test
    assert targets is not None
    assert test_targets is not None
    return supervised(_files.stem(path), (inputs, targets), (test_inputs, test_targets), task=task)


def _parts(path: Path, bare: bool) -> tuple[dict[str, Part], str]:
    """Return the parts that an archive has, and the names of all that it holds for a message.

    Args:
        path: the file.
        bare: whether a part need have no targets.
    """
    found: dict[str, Part] = {}
    _files.exists(path)
    try:
        with path.open("rb") as raw:
            _check_end(path, raw)
            with zipfile.ZipFile(raw) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                for name in PARTS:
                    part = None if name == "" and "train" in found else _part(path, archive, members, name, bare)
                    if part is not None:
                        found[name] = part
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path} must be a whole .npz archive, but: {reason}; get the file again.") from error
    return found, _files.printable(", ".join(members)[:200]) or "none"


def _check_end(path: Path, raw: Any) -> None:
    """Refuse an archive with so many members that listing them alone takes much memory."""
    size = raw.seek(0, io.SEEK_END)
    raw.seek(max(0, size - 2**16 - 22))
    tail = raw.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < 22:
        raise DataError(f"{path} must be a whole .npz archive, but has no list of members; get the file again.")
    listed = int.from_bytes(tail[at + 12 : at + 16], "little")
    if listed > LISTED or END64 in tail[max(0, at - 20) : at]:
        raise DataError(f"{path} must list its members in at most {LISTED} bytes, but takes more; keep fewer arrays.")
    raw.seek(0)


def _part(
    path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, bare: bool
) -> Part | None:
    """Return inputs and targets of one part, if the archive has both, or inputs alone if that will do."""
    found = [_named(members, name, words) for words in (INPUTS, TARGETS)]
    if found[0] is None or (found[1] is None and not bare):
        return None
    inputs, targets = (None if info is None else _array(path, archive, info) for info in found)
    assert inputs is not None
    if targets is not None and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if inputs.ndim < 2 or 0 in inputs.shape or (targets is not None and targets.shape != inputs.shape[:1]):
        shape = "no targets" if targets is None else f"targets of shape {targets.shape}"
        raise DataError(
            f"{path} must hold inputs of shape (examples, features) or more axes and as many targets, none empty, but "
            f"holds inputs of shape {inputs.shape} and {shape}."
        )
    return _as_inputs(path, inputs), None if targets is None else _as_targets(path, targets)


def _named(members: dict[str, zipfile.ZipInfo], part: str, words: Sequence[str]) -> zipfile.ZipInfo | None:
    for word in words:
        for name in (f"{word}_{part}", f"{part}_{word}") if part else (word,):
            if name in members:
                return members[name]
    return None


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array, what it claims checked first."""
    what = f"{path} has an array {info.filename[:40]} that"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{what} must be stored or deflated, but is packed otherwise; save it with numpy.savez.")
    most = info.compress_size * (EXPANSION if info.compress_type == zipfile.ZIP_DEFLATED else 1)
    if info.file_size > min(LIMIT, most):
        raise DataError(
            f"{what} claims {info.file_size} bytes, but at most {min(LIMIT, most)} are possible or allowed."
        )
    with archive.open(info) as stream:
        start = io.BytesIO(_files.take(stream, HEADER))
        version = npy.read_magic(start)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise DataError(f"{what} must be in version 1 or 2 of the format, but is in {version}.")
        shape, fortran, dtype = reader(start)
        if dtype.kind not in "biuf":
            raise DataError(f"{what} must hold numbers, but holds {dtype}; nothing is unpickled.")
        count = math.prod(shape)
        if min(shape, default=0) < 0 or start.tell() + count * dtype.itemsize != info.file_size:
            raise DataError(
                f"{what} claims {' x '.join(map(str, shape))} of {dtype}, but takes {info.file_size} bytes; "
                "get the file again."
            )
        data = start.read()
        data += _files.take(stream, count * dtype.itemsize - len(data) + 1)
    if len(data) != count * dtype.itemsize:
        raise DataError(f"{what} claims {count * dtype.itemsize} bytes, but holds {len(data)}; get the file again.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _as_inputs(path: Path, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.ndim == 4 and array.shape[3] in CHANNELS and array.shape[1] not in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.dtype == np.uint8 and array.ndim > 2:
        pixels: NDArray[np.float32] = np.divide(array, np.float32(BRIGHTEST), dtype=np.float32, order="C")
        return pixels
    with np.errstate(over="ignore"):
        inputs = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(inputs).all():
        raise DataError(f"{path} must hold finite inputs, but has nan, inf or what float32 cannot hold.")
    return inputs


def _as_targets(path: Path, array: NDArray[Any]) -> NDArray[np.float64]:
    targets = array.astype(np.float64)
    if not np.isfinite(targets).all():
        wrong = int(np.flatnonzero(~np.isfinite(targets))[0])
        raise DataError(
            f"{path} must have a finite target for every example, but example {wrong} has {targets[wrong]}."
        )
    return targets
