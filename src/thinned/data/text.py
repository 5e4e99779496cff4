"""Plain text for a model of characters: the next character is what is to be predicted."""

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinned import _check
from thinned._errors import DataError, RangeError
from thinned.data import _files
from thinned.data._dataset import Dataset, Split, held_out

LIMIT = 2**27  # bytes; in memory an id takes eight
TEST_SHARE = 0.1  # as is usual for tiny Shakespeare
VOCABULARY = 2**16  # that a last layer can bear
CHARACTERS = 0x110000  # of Unicode


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is text.

    Args:
        path: the file.
        head: its first bytes, unpacked.

    Returns:
        Whether they are UTF-8 without a zero byte, and no table of numbers; ask other formats first.

    Examples:
        >>> recognise(Path("x"), "Où es-tu".encode()), recognise(Path("x"), bytes(3))
        (True, False)
    """
    del path
    try:
        head[:-3].decode("utf-8")  # a character may have been cut through
    except UnicodeDecodeError as error:
        return len(head) - error.start <= 6
    return bool(head) and b"\0" not in head


def read(
    path: str | PathLike[str], *, test: str | PathLike[str] | None = None, test_share: float = TEST_SHARE
) -> Dataset:
    """Read a text.

    Args:
        path: the file, in UTF-8, packed with gzip or not.
        test: the file to test on; where there is none, the end of the text is put aside.
        test_share: how much of the text to put aside.

    Returns:
        The data set: ids of shape (characters,), as `inputs` and, one character on, as `targets`. Ids are places in
        the sorted vocabulary of the whole text, `class_names`.

    Raises:
        DataError: a file is missing, damaged, too large, too short, or no text in UTF-8.
        RangeError, KindError: `test_share` is not in (0, 1).

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "abc.txt")
        ...     _ = path.write_text("abcabcabcabcabcabcabcabc", encoding="ascii")
        ...     data = read(path)
        >>> data.class_names, data.train.inputs[:5], data.train.targets[:5], len(data.test.inputs)
        (('a', 'b', 'c'), array([0, 1, 2, 0, 1]), array([1, 2, 0, 1, 2]), 1)
    """
    path = Path(path)
    if not 0 < _check.probability(test_share, "test_share") < 1:
        raise RangeError(f"`test_share` must be in (0, 1), but got test_share={test_share}.")
    paths = [path] if test is None else [path, Path(test)]
    codes = [_codes(each) for each in paths]
    used = np.zeros(CHARACTERS, bool)
    for each in codes:
        used[each] = True
    vocabulary = np.flatnonzero(used)
    if len(vocabulary) > VOCABULARY:
        raise DataError(f"{path} must have at most {VOCABULARY} characters that differ, but has {len(vocabulary)}.")
    id_of = np.cumsum(used, dtype=np.int64) - 1
    ids = [id_of[each] for each in codes]
    if test is None:
        aside = held_out(ids[0], "text", test_share, seed=0, stream=0)
        ids = [ids[0][~aside], ids[0][aside]]
    if min(map(len, ids)) < 2:
        raise DataError(f"{paths[-1]} must have at least 2 characters in each part, but has fewer; take a longer text.")
    train, test_part = (Split(part[:-1], part[1:]) for part in ids)
    note = f"The last {test_share:.0%} of the text were put aside for testing." if test is None else ""
    names = tuple(map(chr, vocabulary.tolist()))
    return Dataset(_files.stem(path), train, test_part, len(names), note=note, task="text", class_names=names)


def _codes(path: Path) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    raw = _files.content(path, LIMIT)
    if 0 in raw:
        raise DataError(f"{path} must be a file of text, but has a zero byte.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be text in UTF-8, but byte {error.start} is not; convert it.") from None
    del raw
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
