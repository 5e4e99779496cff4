"""Which columns of a table are features, and which is the target."""

from collections.abc import Sequence
from pathlib import Path

from thinned._errors import DataError
from thinned.data import _files
from thinned.data._whole import Layout

Column = int | str
LISTED, LONGEST = 10, 40  # names in a message and their characters, at most


def choose(
    path: Path,
    names: Sequence[str],
    width: int,
    target: Column | None,
    drop: Sequence[Column],
    layout: Layout | None,
) -> tuple[list[int], int | None]:
    """Choose the columns of a table.

    Args:
        path: the file, for messages.
        names: of all columns; empty for a table without.
        width: number of columns.
        target: name or number of the target's column; None for the last, or where `layout` says that it is.
        drop: names or numbers of columns to leave out.
        layout: of the table that a network was trained on: features are then found by their names where both have
            names, and otherwise by their number, and there need be no target.

    Returns:
        The features' columns in the order in which they are wanted, and the target's column; None if there is none.

    Raises:
        DataError: there is no such column, none is left, or the columns are not those of `layout`.

    Examples:
        >>> names = ["age", "id", "size"]
        >>> choose(Path("x.csv"), names, 3, None, ["id"], None)
        ([0], 2)
        >>> choose(Path("x.csv"), names, 3, None, ["id"], Layout("regression", 2, ("size", "age"), "price"))
        ([2, 0], None)
    """
    if layout is not None:
        by_name = bool(names) and bool(layout.feature_names) and len(set(layout.feature_names)) == layout.features
        return (_by_name if by_name else _by_number)(path, names, width, target, drop, layout)
    at = place(path, -1 if target is None else target, names, width, "target")
    left_out = {at, *(place(path, each, names, width, "drop") for each in drop)}
    kept = [column for column in range(width) if column not in left_out]
    if not kept:
        raise DataError(f"{path} must have a column besides the target and those left out, but has none.")
    return kept, at


def _by_name(
    path: Path, names: Sequence[str], width: int, target: Column | None, drop: Sequence[Column], layout: Layout
) -> tuple[list[int], int | None]:
    drop = drop or [name for name in layout.drop if name in names and name not in layout.feature_names]
    left_out = {place(path, each, names, width, "drop") for each in drop}
    at = None
    if target is not None or layout.target in names:
        at = place(path, layout.target if target is None else target, names, width, "target")
    missing = [name for name in layout.feature_names if name not in names or names.index(name) in (*left_out, at)]
    if missing:
        raise DataError(
            f"{path} must have the features that the network was trained on, {listed(layout.feature_names)}, but has "
            f"no {listed(missing)}; put the right file there."
        )
    kept = [names.index(name) for name in layout.feature_names]
    extra = [names[column] for column in range(width) if column not in {*kept, *left_out, at}]
    if extra:
        besides = f" and the target {layout.target!r}" if isinstance(layout.target, str) else ""
        raise DataError(
            f"{path} must have no columns besides the features that the network was trained on{besides}, but has "
            f"{listed(extra)}; leave them out (`drop`), or take one for the target (`target`)."
        )
    return kept, None if at in left_out else at


def _by_number(
    path: Path, names: Sequence[str], width: int, target: Column | None, drop: Sequence[Column], layout: Layout
) -> tuple[list[int], int | None]:
    asked = target is not None or bool(drop)
    if not asked and width == layout.features:
        return list(range(width)), None
    if not asked and width == layout.features + 1 + len(layout.drop):
        drop = layout.drop
    left_out = {place(path, each, names, width, "drop") for each in drop}
    at = None
    if target is not None or width - len(left_out) == layout.features + 1:
        wanted = layout.target if target is None else target
        at = place(path, -1 if wanted is None else wanted, names, width, "target")
    kept = [column for column in range(width) if column not in {*left_out, at}]
    if len(kept) != layout.features:
        raise DataError(
            f"{path} must have {layout.features} columns, one for each feature of the network, or one more for the "
            f"target, but has {width}{f', {len(left_out)} of them left out' if left_out else ''}; name those to leave "
            "out (`drop`)."
        )
    return kept, None if at in left_out else at


def place(path: Path, column: Column | None, names: Sequence[str], width: int, option: str) -> int:
    """Return the number of a column.

    Args:
        path: the file, for messages.
        column: its name, or its number, from the end if negative.
        names: of all columns; empty for a table without.
        width: number of columns.
        option: what it is for.

    Returns:
        Its number, from 0 on.

    Raises:
        DataError: there is none.

    Examples:
        >>> place(Path("x.csv"), -1, [], 3, "target")
        2
    """
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, int) and not isinstance(column, bool) and -width <= column < width:
        return column % width
    known = f"named {_files.printable(', '.join(names[:20]))}" if names else "without names"
    raise DataError(f"`{option}` must be one of the {width} columns of {path}, {known}, but got {option}={column!r}.")


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first few of many.

    Args:
        names: any.

    Returns:
        Them, in quotes.

    Examples:
        >>> print(listed(["a", "b"]))
        'a', 'b'
    """
    return ", ".join([repr(name[:LONGEST]) for name in names[:LISTED]] + ["..."] * (len(names) > LISTED))
