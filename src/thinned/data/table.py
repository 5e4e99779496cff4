"""Tables of numbers as text: columns separated by commas, semicolons, tabs or blanks, with a line of names or without.

A missing number is refused rather than made up, and so is a column of words that is not the target.
"""

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError, RangeError
from thinned.data import _files
from thinned.data._columns import Column, choose
from thinned.data._dataset import Dataset
from thinned.data._whole import Layout, Whole, supervised, whole

NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
BLANKS = " "  # any number of them, tabs too
SUFFIXES = (".csv", ".tsv")
WORDS = 2**16  # classes that are words
HIGHEST = float(np.finfo(np.float32).max)
MISSING = ("", "?", "na", "n/a", "nan", "null", "inf", "infinity")


def recognise(path: Path, head: bytes) -> bool:
    """Say whether a file is a table: by its name, or because its lines are numbers.

    Args:
        path: the file.
        head: its first bytes, unpacked.

    Returns:
        Whether it is named like a table, or its second line has two columns or more, all but one of them numbers.

    Examples:
        >>> newline = bytes([10])
        >>> recognise(Path("x"), b"1 2.5" + newline + b"3 4"), recognise(Path("x"), b"To be" + newline + b"or not")
        (True, False)
    """
    if path.name.removesuffix(".gz").endswith(SUFFIXES):
        return True
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if _has_data(line)][:2]
    for line in lines[-1:]:
        cells = line.split(_delimiter(path, line).strip() or None)
        return len(cells) > 1 and sum(NUMBER.fullmatch(cell) is not None for cell in cells) >= len(cells) - 1
    return False


def read(
    path: str | PathLike[str],
    *,
    test: str | PathLike[str] | None = None,
    task: str | None = None,
    target: Column = -1,
    drop: Column | Sequence[Column] = (),
    header: bool | None = None,
    delimiter: str | None = None,
) -> Dataset:
    """Read a table.

    Args:
        path: the file to train on, packed with gzip or not.
        test: the file to test on; where there is none, a fifth is put aside.
        task: ``"classification"`` or ``"regression"``; None to choose by the targets: words are classes, and so are
            whole numbers with at most 100 values.
        target: name of the target's column, or its number: from 0 on or, if negative, from the end.
        drop: names or numbers of columns to leave out.
        header: whether the first line has names; None for yes if it has words alone, and the next has a number.
        delimiter: what separates columns, ``" "`` for any blanks; None for semicolons or commas, if the first line has
            one, a tab if the file is named ``.tsv``, or blanks.

    Returns:
        The data set, its inputs of shape (examples, features).

    Raises:
        DataError: a file is missing, damaged, too large, or no table of finite numbers, or has no such column.
        RangeError: `task` or `delimiter` is something else.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "toy.csv")
        ...     _ = path.write_text(chr(10).join(["size,age,price", "1,2,3.5", "4,5,6"]), encoding="ascii")
        ...     data = read(path, test=path)
        >>> data.train.inputs, data.train.targets, data.task, data.feature_names
        (array([[1., 2.],
               [4., 5.]], dtype=float32), array([3.5, 6. ], dtype=float32), 'regression', ('size', 'age'))
    """
    if test is None:
        return read_whole(path, task=task, target=target, drop=drop, header=header, delimiter=delimiter).parted()
    words: dict[str, int] = {}
    first, other = (_table(Path(each), target, drop, header, delimiter, words, None) for each in (path, test))
    widths = first.inputs.shape[1], other.inputs.shape[1]
    if widths[0] != widths[1]:
        raise DataError(
            f"{path} and {test} must have equally many features, but have {widths[0]} and {widths[1]}; "
            "put the right files together."
        )
    if first.words != other.words:
        raise DataError(
            f"{path} and {test} must have targets of one kind, but one has words and the other numbers; "
            "put the right files together."
        )
    assert first.targets is not None
    assert other.targets is not None
    return supervised(
        _files.stem(Path(path)),
        (first.inputs, first.targets),
        (other.inputs, other.targets),
        task=task,
        words=tuple(words),
        feature_names=first.names,
        target_name=first.target_name,
    )


def read_whole(
    path: str | PathLike[str],
    layout: Layout | None = None,
    *,
    task: str | None = None,
    target: Column | None = None,
    drop: Column | Sequence[Column] = (),
    header: bool | None = None,
    delimiter: str | None = None,
) -> Whole:
    """Read all rows of a table, in their order.

    Args:
        path: the file, packed with gzip or not.
        layout: of the table that a network was trained on; the features are then found by their names, where both
            tables have names, and there need be no target.
        task: as for `read`; None for that of `layout`.
        target: as for `read`; None for the last, or for what `layout` has.
        drop: as for `read`.
        header: as for `read`; a line with all names of `layout` has names, too.
        delimiter: as for `read`.

    Returns:
        The rows.

    Raises:
        DataError, RangeError: as for `read`; or a column is missing, or is there of which `layout` knows nothing.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "new.csv")
        ...     _ = path.write_text(chr(10).join(["age,size", "2,1", "5,4"]), encoding="ascii")
        ...     rows = read_whole(path, Layout("regression", 2, ("size", "age"), "price"))
        >>> rows.inputs.tolist(), rows.targets
        ([[1.0, 2.0], [4.0, 5.0]], None)
    """
    words: dict[str, int] = {}
    made = _table(Path(path), target, drop, header, delimiter, words, layout)
    return whole(
        _files.stem(Path(path)),
        made.inputs,
        made.targets,
        task=layout.task if layout is not None and task is None else task,
        words=tuple(words),
        feature_names=made.names,
        target_name=made.target_name,
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """What a file holds: targets are numbers, or the places of words in the order in which they were met."""

    inputs: NDArray[np.float32]
    targets: NDArray[np.float64] | None
    words: bool
    names: tuple[str, ...]
    target_name: str


def _table(
    path: Path,
    target: Column | None,
    drop: Column | Sequence[Column],
    header: bool | None,
    delimiter: str | None,
    words: dict[str, int],
    layout: Layout | None,
) -> _Table:
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
        raise RangeError(f"`delimiter` must be one character, and no quote, but got delimiter={delimiter!r}.")
    dropped = [drop] if isinstance(drop, int | str) else list(drop)
    try:
        rows = _rows(path, delimiter)
        early = list(islice(rows, 2))
        if not early:
            raise DataError(f"{path} must hold at least one example, but holds none; get the file again.")
        named = _has_header(early, layout) if header is None else header
        names = [cell.strip() for cell in early[0][1]] if named else []
        width = len(early[0][1])
        kept, at = choose(path, names, width, target, dropped, layout)
        numbers, targets = array("f"), array("d")
        of_words = False
        count = 0
        for line, row in chain(early[named:], rows):
            if len(row) != width:
                raise DataError(
                    f"{path} must have {width} columns in every line, as in its first, but line {line} has {len(row)}; "
                    "check the delimiter."
                )
            _numbers(path, line, [row[column] for column in kept], numbers)
            count += 1
            if at is None:
                continue
            if count == 1:
                of_words = NUMBER.fullmatch(row[at]) is None
            if of_words:
                targets.append(_place(path, line, row[at].strip(), words))
            else:
                _numbers(path, line, [row[at]], targets)
    except csv.Error as error:
        raise DataError(f"{path} must be a table, but: {error}; check its quotes.") from error
    if not count:
        raise DataError(f"{path} must hold at least one example below its names, but holds none; get the file again.")
    return _Table(
        inputs=np.frombuffer(numbers, np.float32).reshape(-1, len(kept)),
        targets=None if at is None else np.frombuffer(targets, np.float64),
        words=of_words,
        names=tuple(names[column] for column in kept) if named else (),
        target_name=names[at] if named and at is not None else "",
    )


def _has_data(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _delimiter(path: Path, line: str) -> str:
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return next((mark for mark in ";," if mark in line), BLANKS)


def _text(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that holds something."""
    for number, line in enumerate(_files.lines(path), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{path} must be text in UTF-8, but line {number} is not; convert it.") from None
        if _has_data(text):
            yield number, text


def _rows(path: Path, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that holds something."""
    texts = _text(path)
    first = next(texts, None)
    if first is None:
        return
    texts = chain([first], texts)
    mark = delimiter or _delimiter(path, first[1])
    if mark == BLANKS:
        yield from ((number, text.split()) for number, text in texts)
        return
    at = 0

    def fed() -> Iterator[str]:
        nonlocal at
        for number, text in texts:
            at = number  # where a row ends is told in errors
            yield text

    for row in csv.reader(fed(), delimiter=mark, strict=True):
        yield at, row


def _has_header(early: Sequence[tuple[int, list[str]]], layout: Layout | None) -> bool:
    """Say whether the first of two lines has names: words alone, and below some a number; or those that are known."""
    if (
        layout is not None
        and layout.feature_names
        and {*layout.feature_names} <= {cell.strip() for cell in early[0][1]}
    ):
        return True
    above, *below = (cells for _, cells in early)
    words = all(NUMBER.fullmatch(cell) is None and cell.strip().casefold() not in MISSING[1:] for cell in above)
    return words and (not below or any(NUMBER.fullmatch(cell) for cell in below[0]))


def _numbers(path: Path, line: int, cells: Sequence[str], out: "array[float]") -> None:
    """Append the numbers in the cells of a line, as they are written everywhere: "1_000" and "nan" are none."""
    try:
        values = [float(cell) for cell in cells]
        fine = "_" not in "".join(cells) and sum(map(abs, values)) <= HIGHEST  # false for nan too
    except ValueError:
        fine = False
    if fine:
        out.extend(values)
    else:
        wrong = next((cell for cell in cells if NUMBER.fullmatch(cell) is None), "too large for float32")
        raise DataError(
            f"{path} must hold finite numbers, but line {line} has {wrong[:40]!r}; fill it in, leave the line out, or "
            "leave the column out (`drop`), or take it for the target (`target`)."
        )


def _place(path: Path, line: int, word: str, words: dict[str, int]) -> int:
    if word.casefold().lstrip("+-") in MISSING:
        raise DataError(
            f"{path} must have a target for every example, but line {line} has {word!r}; fill it in, or leave the "
            "line out."
        )
    place = words.setdefault(word, len(words))
    if place == WORDS:
        raise DataError(f"{path} must have at most {WORDS} classes, but line {line} has one more; check `target`.")
    return place
