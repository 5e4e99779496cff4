"""Files of JSON that somebody else may have written: what they say is checked before it is used."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from thinned._errors import DataError
from thinned.lab.records import LARGEST as LARGEST_RECORDS

LARGEST = {  # bytes
    "config.json": 2**20,
    "summary.json": 2**24,
    "records.jsonl": LARGEST_RECORDS,
    "trials.jsonl": 2**24,
}
# What comes of JSON that says other things than it should.
WRONG = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
Made = TypeVar("Made")


def parsed(folder: Path, name: str) -> dict[str, Any]:
    """Read a file of JSON.

    Args:
        folder: of a run.
        name: of the file in it, in `LARGEST`.

    Returns:
        The object that it holds.

    Raises:
        DataError: it cannot be read, is too large, or holds something else.
    """
    text = _read(folder, name)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder / name} must be JSON, but it is damaged.") from error
    if not isinstance(told, dict):
        raise DataError(f"{folder / name} must be of a run, but it is something else.")
    return told


def lines(folder: Path, name: str) -> list[Any]:
    """Read the whole lines of a file, each of them JSON; half a line at the end is what a killed process left.

    Args:
        folder: of a run.
        name: of the file in it, in `LARGEST`.

    Returns:
        What the lines hold; nothing where there is no file.

    Raises:
        DataError: it cannot be read, is too large, or a line is no JSON.
    """
    text = _read(folder, name) if (folder / name).exists() else ""
    try:
        return [json.loads(line) for line in text.split("\n")[:-1]]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder / name} must be JSON in each line, but it is damaged.") from error


def made(kind: type[Made], told: Mapping[str, Any], **ready: Any) -> Made:
    """Make a flat data class of what JSON holds.

    Args:
        kind: the class; its fields are numbers, texts, true or false, or None.
        told: values by the names of fields; a number that JSON does not have is nan.
        **ready: values that are taken as they are, whatever `told` has of the same names.

    Returns:
        An instance.

    Raises:
        TypeError: a value is something else.

    Examples:
        >>> from thinned.lab.records import Record
        >>> record = made(Record, {"method": "none", "seed": 0, "epoch": 1, "seconds": 2}, monitors=None)
        >>> record.seconds, record.test_error, record.lr
        (2.0, nan, None)
    """
    hints = get_type_hints(kind)
    values = dict(ready)
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name not in ready:
            values[entry.name] = _fitting(entry.name, told.get(entry.name), hints[entry.name])
    return kind(**values)


def _fitting(name: str, value: Any, hint: Any) -> Any:
    if hint is float and value is None:
        return math.nan
    allowed = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}
    kinds = [part for part in allowed if part is hint or part in getattr(hint, "__args__", ())]
    if value is None and hint not in allowed:
        return None
    if not any(type(value) in allowed[part] for part in kinds):
        raise TypeError(f"{name} is {value!r}")
    return float(value) if float in kinds else value


def number(value: Any) -> float:
    """Return a number of JSON, which has null for those that are none.

    Args:
        value: of a file.

    Returns:
        A number; nan for None.

    Raises:
        TypeError: it is something else.

    Examples:
        >>> number(2), number(None)
        (2.0, nan)
    """
    if value is not None and type(value) not in (int, float):
        raise TypeError(f"a number is {value!r}")
    return math.nan if value is None else float(value)


def texts(told: Mapping[str, Any]) -> dict[str, str]:
    """Return whatever a mapping holds as texts.

    Args:
        told: of a file.

    Returns:
        Texts by texts.

    Raises:
        AttributeError: it is no mapping.
    """
    return {str(key): str(value) for key, value in told.items()}


def _read(folder: Path, name: str) -> str:
    path = folder / name
    try:
        if path.stat().st_size > LARGEST[name]:
            raise DataError(f"{path} must have at most {LARGEST[name]} bytes, as a run's has, but it is larger.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder} must be the folder of a run, but its {name}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be text in UTF-8, but it is not.") from error
