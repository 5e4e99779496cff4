"""Data sets for the laboratory, one file per format."""

import os
from os import PathLike
from pathlib import Path

from thinned._errors import DataError
from thinned.data import artificial, cifar, digits, idx
from thinned.data._dataset import Dataset as Dataset
from thinned.data._dataset import Split as Split

MADE = {"digits": digits.read, "artificial": artificial.make}
FOLDERS = {"mnist": idx.read_folder, "cifar10": cifar.read_folder}
NAMES = (*MADE, *FOLDERS)


def load(name: str, root: str | PathLike[str] | None = None) -> Dataset:
    """Load a data set by name.

    Args:
        name: ``"digits"``, 1,797 small images that come with scikit-learn; ``"artificial"``, 100,000 examples of 100
            classes made by `artificial.make`, which makes other sizes too; ``"mnist"``, any four files in the format of
            MNIST (Fashion-MNIST and KMNIST have it too); or ``"cifar10"``, files in the binary format of CIFAR-10.
        root: for ``"mnist"`` and ``"cifar10"``, the folder with the files; the others take none.

    Returns:
        The examples to train on and to test on.

    Raises:
        DataError: the name is not known, `root` does not go with it, or a file is missing or damaged.
        MissingExtraError: the data come with a package that is not installed.

    Example:
        >>> data = load("digits")
        >>> data.train.inputs.shape, data.test.inputs.shape, data.classes
        ((1438, 8, 8), (359, 8, 8), 10)
    """
    if name not in NAMES:
        raise DataError(f"`name` must be one of {', '.join(NAMES)}, but got name={name!r}.")
    if name in MADE:
        if root is not None:
            raise DataError(f"`root` must be left out for {name}, which is no folder, but got root={str(root)!r}.")
        return MADE[name]()
    if root is None:
        raise DataError(f"`root` must be the folder with the files of {name}, but got root=None.")
    return FOLDERS[name](root)


def read(path: str | PathLike[str]) -> Dataset:
    """Read a data set whose format is told by the names of its files.

    Args:
        path: a folder with ``data_batch*.bin``, as CIFAR-10 has; a folder with ``train-images-idx3-ubyte`` and the
            other three files, as MNIST has; or one file of CIFAR-10, whose name ends in ``.bin``.

    Returns:
        The examples to train on and to test on.

    Raises:
        DataError: there is nothing at `path`, or nothing in a format that is known, or a file is damaged.
    """
    path = Path(path)
    if os.path.isdir(path):
        return cifar.read_folder(path) if any(path.glob(cifar.TRAIN)) else idx.read_folder(path)
    if path.suffix == ".bin" and os.path.exists(path):
        return cifar.read_file(path)
    raise DataError(
        f"{path} must be a folder with the files of MNIST or CIFAR-10, or one .bin file of CIFAR-10, "
        "but there is none; check the path."
    )
