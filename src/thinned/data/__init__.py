"""Data sets for the laboratory, one file per format."""

import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from thinned._errors import DataError
from thinned.data import artificial, cifar, digits, formats, idx
from thinned.data import download as _download
from thinned.data._augment import augment as augment
from thinned.data._augment import crop_centre as crop_centre
from thinned.data._dataset import Dataset as Dataset
from thinned.data._dataset import Scaling as Scaling
from thinned.data._dataset import Split as Split
from thinned.data._sparse import Sparse as Sparse
from thinned.data._whole import Layout as Layout
from thinned.data._whole import Whole as Whole
from thinned.data.formats import FORMATS as FORMATS
from thinned.data.formats import read as read
from thinned.data.formats import read_whole as read_whole
from thinned.data.preparation import standardise as standardise
from thinned.data.preparation import subsample as subsample
from thinned.data.preparation import validation as validation
from thinned.data.preparation import windows as windows

MADE = {"digits": digits.read, "artificial": artificial.make}
FOLDERS = {"mnist": idx.read_folder, "fashion-mnist": idx.read_folder, "cifar10": cifar.read_folder}
NAMES = (*MADE, *FOLDERS)


def load(
    name: str | PathLike[str],
    root: str | PathLike[str] | None = None,
    *,
    download: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Dataset:
    """Load a data set by its name, or read a file or folder.

    Args:
        name: ``"digits"``, 1,797 small images that come with scikit-learn; ``"artificial"``, 100,000 examples of 100
            classes made by `artificial.make`, whose arguments are options; ``"mnist"``, any four files in the format of
            MNIST; ``"fashion-mnist"``, the same; ``"cifar10"``, files of CIFAR-10, in the binary or the python format;
            or the path of a file or folder, whose format is recognised. A path with one of these names needs a ``./``.
        root: for ``"mnist"``, ``"fashion-mnist"`` and ``"cifar10"``, the folder with the files; the others take none.
        download: whether to get what files of ``"mnist"`` or ``"fashion-mnist"`` are missing; into `root`, or into
            ``~/.cache/thinned`` if there is none.
        on_progress: called with a file's name, its bytes so far and all its bytes, while files are downloaded.
        **options: what the format takes besides, such as ``target`` and ``task`` of a table; see `read`.

    Returns:
        The examples to train on and to test on.

    Raises:
        DataError: the name is not known, `root` or an option does not go with it, or a file is missing or damaged.
        MissingExtraError: the data come with a package that is not installed.

    Examples:
        >>> data = load("digits")
        >>> data.train.inputs.shape, data.test.inputs.shape, data.classes
        ((1438, 8, 8), (359, 8, 8), 10)
        >>> load("artificial", examples=50, features=8, classes=3).train.inputs.shape
        (50, 8)
    """
    if name not in NAMES:
        check_name(name)
        _refuse("root", root, f"{name}, which is a path")
        _refuse("download", download or None, f"{name}, which is a path")
        return read(name, **options)
    name = str(name)
    if name in MADE:
        _refuse("root", root, f"{name}, which is no folder")
        _refuse("download", download or None, f"{name}, which is no folder")
        return formats.called(name, MADE[name], options)
    if download:
        root = _download.cache(name) if root is None else root
        _download.fetch(name, root, on_progress=on_progress)
    if root is None:
        raise DataError(f"`root` must be the folder with the files of {name}, but got root=None; name it (--data DIR).")
    return formats.called(name, FOLDERS[name], options, root)


def check_name(name: str | PathLike[str]) -> None:
    """Refuse what is neither the name of data nor a path.

    Args:
        name: of data, or a path.

    Raises:
        DataError: it is one word, and neither.

    Examples:
        >>> check_name("digits")
    """
    if name not in NAMES and not os.path.exists(name) and Path(name).name == str(name):
        known = f"one of {', '.join(NAMES)}, or the path of a file or folder"
        raise DataError(f"`name` must be {known}, but got name={str(name)!r}.")


def _refuse(option: str, value: object, what: str) -> None:
    if value is not None:
        shown = value if isinstance(value, bool) else repr(str(value))
        raise DataError(f"`{option}` must be left out for {what}, but got {option}={shown}.")
