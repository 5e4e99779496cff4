"""The formats that files and folders are recognised by; a new format is one entry here."""

import inspect
import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from thinned._errors import DataError
from thinned.data import _files, cifar, idx, libsvm, npz, table, text
from thinned.data._dataset import Dataset
from thinned.data._whole import Layout, Whole

Read = TypeVar("Read", bound=Whole | Dataset)

KEPT_APART = (  # how the file to test on is named, for that to train on
    (".train", ".test"),
    ("train.", "test."),
    ("", ".t"),
)


class Format(NamedTuple):
    """A format of data.

    Attributes:
        name: what to call it.
        what: what it is, for a person.
        read: makes a data set of a path; what it takes besides are the format's options.
        read_whole: reads all examples that are at a path, by the layout of others, with targets or without, or parts
            where they come in parts; None where they always do.
        recognise: says of a file and its first bytes, unpacked, whether it is in this format; None for none is.
        found: says of a folder which one, it or one below, has files in this format, by their names; None for none has.
    """

    name: str
    what: str
    read: Callable[..., Dataset]
    read_whole: Callable[..., Whole | Dataset] | None = None
    recognise: Callable[[Path, bytes], bool] | None = None
    found: Callable[[Path], Path | None] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What `read` takes besides the path."""
        return tuple(inspect.signature(self.read).parameters)[1:]


def _read_cifar(path: Path) -> Dataset:
    return cifar.read_folder(path) if os.path.isdir(path) else cifar.read_file(path)


# In the order in which they are asked: nearly everything is text.
FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            "cifar10", "a folder or one file of CIFAR-10", _read_cifar, cifar.read_whole, cifar.recognise, cifar.found
        ),
        Format(
            "idx", "a folder with the four files of MNIST", idx.read_folder, idx.read_whole, idx.recognise, idx.found
        ),
        Format("npz", "arrays saved by numpy.savez", npz.read, npz.read_whole, npz.recognise),
        Format("libsvm", "LIBSVM's lines of INDEX:VALUE", libsvm.read, libsvm.read_whole, libsvm.recognise),
        Format("table", "a table of numbers, CSV or with blanks", table.read, table.read_whole, table.recognise),
        Format("text", "plain text, for a model of characters", text.read, None, text.recognise),
    )
}


def read(path: str | PathLike[str], format: str | None = None, **options: Any) -> Dataset:
    """Read a data set from a file or a folder.

    Args:
        path: a file, or a folder with the files of MNIST or CIFAR-10, or with one file, or with two of which one is to
            test on: ``X.train`` and ``X.test``, ``train.X`` and ``test.X``, or ``X`` and ``X.t``.
        format: a name in `FORMATS`; None to recognise it by the names of files and by what they begin with.
        **options: what the format takes besides, such as ``test``, ``target`` and ``task`` of a table.

    Returns:
        The examples to train on and to test on.

    Raises:
        DataError: there is nothing at `path`, or nothing in a format that is known, or a file is damaged, or the format
            takes no such option.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "toy.csv")
        ...     _ = path.write_text(chr(10).join(["1,2,0", "4,5,1"] * 5), encoding="ascii")
        ...     read(path, task="classification").train.inputs.shape
        (8, 2)
    """
    format, path, test = _located(Path(path), format)
    return called(format, FORMATS[format].read, {"test": test, **options} if test else options, path)


def read_whole(
    path: str | PathLike[str], layout: Layout | None = None, format: str | None = None, **options: Any
) -> Whole | Dataset:
    """Read all examples of a file, in its order.

    Args:
        path: a file, or a folder as for `read`.
        layout: of what a network was trained on that is to predict them: a file need have no targets then, and columns
            of a table are found by their names. None where it has what `read` needs.
        format: as for `read`.
        **options: as for `read`, without ``test``.

    Returns:
        The examples; of what comes in parts, such as the files of MNIST, a text, or a folder with a file to test on,
        what `read` returns.

    Raises:
        DataError: as for `read`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "new.csv")
        ...     _ = path.write_text(chr(10).join(["1,2", "4,5"]), encoding="ascii")
        ...     read_whole(path, Layout("classification", features=2)).inputs.shape
        (2, 2)
    """
    format, path, test = _located(Path(path), format)
    entry = FORMATS[format]
    if test or entry.read_whole is None:
        return called(format, entry.read, {"test": test, **options} if test else options, path)
    return called(format, entry.read_whole, options, path, layout)


def called(name: str, read: Callable[..., Read], options: Mapping[str, Any], *path: Any) -> Read:
    """Call a reader with options that a person gave.

    Args:
        name: of the format or data set.
        read: the reader.
        options: keywords; those it does not take are refused.
        *path: what it reads, if it reads anything, and the layout that it reads it by.

    Returns:
        What it returns.

    Raises:
        DataError: an option that it does not take.

    Examples:
        >>> called("text", text.read, {"target": 1}, "x")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: Options of text must be among test, test_share, but got target=1.
    """
    known = tuple(inspect.signature(read).parameters)[len(path) :]
    for option, value in options.items():
        if option not in known:
            rule = f"must be among {', '.join(known)}" if known else "must be left out"
            raise DataError(f"Options of {name} {rule}, but got {option}={value!r}.")
    return read(*path, **options)


def _located(path: Path, format: str | None) -> tuple[str, Path, Path | None]:
    """Return the format of what is at a path, the file or folder to read, and a file to test on if there is one."""
    if format is not None and format not in FORMATS:
        raise DataError(f"`format` must be one of {', '.join(FORMATS)}, but got format={format!r}.")
    if not os.path.exists(path):  # unlike Path.exists, never an error
        raise DataError(f"{path} must be a file or a folder with data, but there is none; check the path.")
    test = None
    if os.path.isdir(path):
        for entry in FORMATS.values() if format is None else [FORMATS[format]]:
            if entry.found is not None and (folder := entry.found(path)):
                return entry.name, folder, None
        if format is not None and FORMATS[format].found is not None:
            return format, path, None
        path, test = _files_of(path)
    return format or _recognised(path), path, test


def _recognised(path: Path) -> str:
    head = _files.head(path)
    for entry in FORMATS.values():
        if entry.recognise is not None and entry.recognise(path, head):
            return entry.name
    if not head:
        raise DataError(f"{path} must hold data, but is empty; get the file again.")
    raise DataError(
        f"{path} must be in a known format, but is not: {'; '.join(entry.what for entry in FORMATS.values())}."
    )


def _files_of(folder: Path) -> tuple[Path, Path | None]:
    """Return the file of a folder to train on, and that to test on, if there is one."""
    try:
        inside = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_file())
    except OSError as error:
        raise DataError(f"{folder} must be readable, but: {error}; check the path.") from error
    if len(inside) == 1:
        return inside[0], None
    if len(inside) == 2:
        for train, test in (inside, inside[::-1]):
            plain = train.name.removesuffix(".gz")
            for old, new in KEPT_APART:
                renamed = plain + new if not old else plain.replace(old, new)
                if test.name.removesuffix(".gz") == renamed != plain:
                    return train, test
    raise DataError(
        f"{folder} must hold the files of MNIST or CIFAR-10, or one file, or two of which one is to test on, but holds "
        f"{len(inside)} files that are none of these; name the file."
    )
