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
from thinned.data._dataset import Dataset
from thinned.data._sparse import Sparse
from thinned.data._whole import Layout, Whole, supervised, whole

NUMBER = rb"[-+]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})(?:[eE][-+]?\d{1,9})?"  # bounded, as backtracking is then
PAIRS = rb"(?:[ \t]+\d{1,9}:" + NUMBER + rb")*[ \t]*(?:#.*)?\r?\n?"
LINE = re.compile(rb"[ \t]*" + NUMBER + rb"(?:[ \t]+qid:\d{1,18})?" + PAIRS)
BARE = re.compile(rb"[ \t]*\d{1,9}:" + NUMBER + PAIRS)  # without a target
BLANK = re.compile(rb"[ \t]*(?:#.*)?\r?\n?")
FEATURES = 2**26  # an embedding of one number for each takes 256 MiB


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is in this format.

    Args:
        path: the file.
        head: its first bytes, unpacked.

    Returns:
        Whether its first example is, with a target or without, and has a feature.

    Examples:
        >>> recognise(Path("x"), b"# made by hand" + bytes([10]) + b"-1 3:1"), recognise(Path("x"), b"-1 3 1")
        (True, False)
    """
    del path
    lines = (line for line in head.splitlines() if not BLANK.fullmatch(line))
    first = next(lines, b"")
    if len(head) >= _files.HEAD and head.endswith(first):
        first = first.rpartition(b" ")[0]  # a line so long that it was cut through
    return b":" in first.partition(b"#")[0] and (LINE.fullmatch(first) or BARE.fullmatch(first)) is not None


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
    if test is None:
        return read_whole(path, task=task, features=features, zero_based=zero_based).parted()
    parts = _load([Path(path), Path(test)], features, zero_based)
    return supervised(_files.stem(Path(path)), *parts, task=task)


def read_whole(
    path: str | PathLike[str],
    layout: Layout | None = None,
    *,
    task: str | None = None,
    features: int | None = None,
    zero_based: bool | None = None,
) -> Whole:
    """Read all examples of a file in LIBSVM's format, in their order.

    Args:
        path: the file, packed with gzip or not.
        layout: of the file that a network was trained on: there are as many features as there, and lines need have no
            targets.
        task: as for `read`; None for that of `layout`.
        features: as for `read`; None for those of `layout`.
        zero_based: as for `read`.

    Returns:
        The examples. A line without targets and without features is blank, and no example.

    Raises:
        DataError, RangeError, MissingExtraError: as for `read`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "new")
        ...     _ = path.write_text("1:1 3:0.5" + chr(10) + "2:1" + chr(10), encoding="ascii")
        ...     rows = read_whole(path, Layout("classification", 4))
        >>> rows.inputs.shape, rows.targets
        ((2, 4), None)
    """
    bare = layout is not None and _is_bare(Path(path))
    if layout is not None:
        task, features = task or layout.task, layout.features if features is None else features
    ((inputs, targets),) = _load([Path(path)], features, zero_based, bare)
    return whole(_files.stem(Path(path)), inputs, None if bare else targets, task=task)


def _load(
    paths: list[Path], features: int | None, zero_based: bool | None, bare: bool = False
) -> list[tuple[Sparse, NDArray[np.float64]]]:
    """Return inputs and targets of each file; those of lines without targets are 0."""
    loader = require("sklearn.datasets", "lab").load_svmlight_files
    streams = [_checked(each, bare) for each in paths]
    try:
        loaded = loader(streams, dtype=np.float32, zero_based="auto" if zero_based is None else zero_based)
    except (ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{paths[0]} must be in LIBSVM's format, but: {reason}.") from error
    most = loaded[0].shape[1]
    if features is not None and features < most:
        raise DataError(f"`features` must be at least {most}, which occurs in {paths[0]}, but got features={features}.")
    width = most if features is None else features
    if width > FEATURES:
        raise DataError(f"{paths[0]} must have at most {FEATURES} features, but has {width}; check its indices.")
    return [_part(each, loaded[2 * i], loaded[2 * i + 1], width) for i, each in enumerate(paths)]


def _is_bare(path: Path) -> bool:
    """Say whether the first example of a file has no target."""
    first = next((line for line in _files.lines(path) if not BLANK.fullmatch(line)), b"")
    return BARE.fullmatch(first) is not None


def _checked(path: Path, bare: bool) -> io.BytesIO:
    """Return the examples of a file whose every line is in the format."""
    kept = io.BytesIO()
    line_form, form = (BARE, "INDEX:VALUE alone") if bare else (LINE, "a target and of INDEX:VALUE")
    for number, line in enumerate(_files.lines(path), start=1):
        if BLANK.fullmatch(line):
            continue
        if not line_form.fullmatch(line):
            shown = line[:40].decode("utf-8", "replace").rstrip()
            raise DataError(
                f"{path} must have lines of {form}, an index of at most 9 digits, "
                f"but line {number} is {shown!r}; check that it is in LIBSVM's format."
            )
        kept.write(b"0 " + line if bare else line)
    if not kept.tell():
        raise DataError(f"{path} must hold at least one example, but holds none; get the file again.")
    kept.seek(0)
    return kept


def _part(path: Path, matrix: Any, targets: NDArray[np.float64], features: int) -> tuple[Sparse, NDArray[np.float64]]:
    ids, offsets, weights = matrix.indices, matrix.indptr, matrix.data
    if not (np.isfinite(weights).all() and np.isfinite(targets).all() and (abs(targets) < 3e38).all()):
        raise DataError(f"{path} must hold numbers that float32 can hold, but holds larger ones; scale them.")
    return Sparse(ids.astype(np.int64), offsets.astype(np.int64), weights.astype(np.float32), features), targets
