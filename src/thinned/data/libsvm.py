"""Files in LIBSVM's format (svmlight's): a target and the features that are not zero, one example a line.

``+1 3:1 11:0.5 # comment``. Each line is checked before scikit-learn's reader sees it.

Source: https://www.csie.ntu.edu.tw/~cjlin/libsvm/ , "README", section "svm-train Usage".
"""

import io
import re
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError
from thinned._optional import require
from thinned.data import _files
from thinned.data._dataset import Dataset, supervised
from thinned.data._sparse import Sparse

NUMBER = rb"[-+]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})(?:[eE][-+]?\d{1,9})?"  # bounded, as backtracking is then
LINE = re.compile(
    rb"[ \t]*" + NUMBER + rb"(?:[ \t]+qid:\d{1,18})?(?:[ \t]+\d{1,9}:" + NUMBER + rb")*[ \t]*(?:#.*)?\r?\n?"
)
BLANK = re.compile(rb"[ \t]*(?:#.*)?\r?\n?")
FEATURES = 2**26  # an embedding of one number for each takes 256 MiB


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is in this format.

    Args:
        path: the file.
        head: its first bytes, unpacked.

    Returns:
        Whether its first example is, and has a feature.

    Examples:
        >>> recognise(Path("x"), b"# made by hand" + bytes([10]) + b"-1 3:1"), recognise(Path("x"), b"-1 3 1")
        (True, False)
    """
    del path
    lines = (line for line in head.splitlines() if not BLANK.fullmatch(line))
    first = next(lines, b"")
    if len(head) >= _files.HEAD and head.endswith(first):
        first = first.rpartition(b" ")[0]  # a line so long that it was cut through
    return b":" in first.partition(b"#")[0] and LINE.fullmatch(first) is not None


def read(
    path: str | PathLike[str],
    *,
    test: str | PathLike[str] | None = None,
    task: str | None = None,
    features: int | None = None,
    zero_based: bool | None = None,
) -> Dataset:
    """Read a data set in LIBSVM's format.

    Args:
        path: the file to train on, packed with gzip or not.
        test: the file to test on; where there is none, a fifth is put aside.
        task: ``"classification"`` or ``"regression"``; None to choose by the targets: whole numbers with at most 100
            values are classes.
        features: how many features there are; by default as many as occur in either file.
        zero_based: whether the first feature has index 0; None for no, unless index 0 occurs.

    Returns:
        The data set, its inputs `Sparse`.

    Raises:
        DataError: a file is missing, damaged, too large, or not in this format, or has more features than allowed.
        RangeError: `task` is another word.
        MissingExtraError: scikit-learn is not installed.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "toy")
        ...     _ = path.write_text("+1 1:1 3:0.5" + chr(10) + "-1 2:1" + chr(10), encoding="ascii")
        ...     data = read(path, test=path)
        >>> data.train.inputs.dense()
        array([[1. , 0. , 0.5],
               [0. , 1. , 0. ]], dtype=float32)
        >>> data.train.targets, data.class_names
        (array([1, 0]), ('-1', '1'))
    """
    paths = [Path(each) for each in ((path,) if test is None else (path, test))]
    loader = require("sklearn.datasets", "lab").load_svmlight_files
    streams = [_checked(each) for each in paths]
    try:
        loaded = loader(streams, dtype=np.float32, zero_based="auto" if zero_based is None else zero_based)
    except (ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{paths[0]} must be in LIBSVM's format, but: {reason}.") from error
    most = loaded[0].shape[1]
    if features is not None and features < most:
        raise DataError(f"`features` must be at least {most}, which occurs in {path}, but got features={features}.")
    width = most if features is None else features
    if width > FEATURES:
        raise DataError(f"{paths[0]} must have at most {FEATURES} features, but has {width}; check its indices.")
    parts = [_part(each, loaded[2 * i], loaded[2 * i + 1], width) for i, each in enumerate(paths)]
    return supervised(_files.stem(paths[0]), parts[0], parts[1] if test is not None else None, task=task)


def _checked(path: Path) -> io.BytesIO:
    """Return the examples of a file whose every line is in the format."""
    kept = io.BytesIO()
    for number, line in enumerate(_files.lines(path), start=1):
        if BLANK.fullmatch(line):
            continue
        if not LINE.fullmatch(line):
            shown = line[:40].decode("utf-8", "replace").rstrip()
            raise DataError(
                f"{path} must have lines of a target and of INDEX:VALUE, an index of at most 9 digits, "
                f"but line {number} is {shown!r}; check that it is in LIBSVM's format."
            )
        kept.write(line)
    if not kept.tell():
        raise DataError(f"{path} must hold at least one example, but holds none; get the file again.")
    kept.seek(0)
    return kept


def _part(path: Path, matrix: Any, targets: NDArray[np.float64], features: int) -> tuple[Sparse, NDArray[np.float64]]:
    ids, offsets, weights = matrix.indices, matrix.indptr, matrix.data
    if not (np.isfinite(weights).all() and np.isfinite(targets).all() and (abs(targets) < 3e38).all()):
        raise DataError(f"{path} must hold numbers that float32 can hold, but holds larger ones; scale them.")
    return Sparse(ids.astype(np.int64), offsets.astype(np.int64), weights.astype(np.float32), features), targets
