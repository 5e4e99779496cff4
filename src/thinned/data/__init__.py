"""Data sets for the laboratory, one file per format."""

from os import PathLike

from thinned._errors import DataError
from thinned.data import digits, idx
from thinned.data._dataset import Dataset as Dataset
from thinned.data._dataset import Split as Split

NAMES = ("digits", "mnist")


def load(name: str, root: str | PathLike[str] | None = None) -> Dataset:
    """Load a data set by name.

    Args:
        name: ``"digits"``, 1,797 small images that come with scikit-learn, or ``"mnist"``, any four files in the format
            of MNIST (Fashion-MNIST and KMNIST have it too).
        root: for ``"mnist"``, the folder with the four files; ``"digits"`` takes none.

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
    if name == "digits":
        if root is not None:
            raise DataError(f"`root` must be left out for digits, which is no folder, but got root={str(root)!r}.")
        return digits.read()
    if root is None:
        raise DataError("`root` must be the folder with the four files of MNIST, but got root=None.")
    return idx.read_folder(root)
