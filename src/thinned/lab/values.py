"""Settings as TOML, JSON and flags have them, as the types of data classes, and back."""

import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from thinned._errors import KindError, RangeError
from thinned._optional import require

LARGEST_FILE = 2**20  # bytes of settings


def parsed(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        path: a TOML file.

    Returns:
        Its tables.

    Raises:
        RangeError: it cannot be read, is no TOML, or far too large.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise RangeError(f"{path} must have at most {LARGEST_FILE} bytes, as settings do, but it is larger.")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RangeError(f"{path} must be a TOML file, but it is no text in UTF-8.") from error
    except OSError as error:
        raise RangeError(f"{path} must be a TOML file that can be read, but: {error.strerror}.") from error
    toml = _reader()
    try:
        tables: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise RangeError(f"{path} must be a TOML file, but: {error}.") from error
    return tables


def _reader() -> types.ModuleType:
    """Return tomllib, or before Python 3.11, which brought it, the package that it was made from."""
    try:
        return require("tomllib", "lab")
    except ImportError:
        return require("tomli", "lab")


def typed(
    kind: Any, name: str, table: Mapping[str, Any], unknown: Callable[[str], Exception] = KeyError
) -> dict[str, Any]:
    """Return values of TOML or JSON as those that a data class takes.

    Args:
        kind: the data class.
        name: of the table, for a message.
        table: some of its values, by name.
        unknown: makes what is raised for a name that it does not have, of the dotted name.

    Returns:
        The same, lists as tuples.

    Raises:
        RangeError, KindError: a value of another type.

    Examples:
        >>> from thinned.lab.network import ModelSettings
        >>> typed(ModelSettings, "model", {"hidden": [16, 8]})
        {'hidden': (16, 8)}
    """
    known = typing.get_type_hints(kind)
    for key in table:
        if key not in known:
            raise unknown(f"{name}.{key}")
    return {key: _typed(known[key], f"{name}.{key}", value) for key, value in table.items()}


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _typed(kind: Any, name: str, value: Any) -> Any:
    """Return a value of TOML or JSON as one of a setting's type, or refuse it."""
    for option in _options(kind):
        origin = typing.get_origin(option) or option
        if option is type(None) and value is None:
            return None
        if origin is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)[0]
            return tuple(_typed(inner, name, item) for item in value)
        if origin is dict and isinstance(value, Mapping):
            return dict(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return _number(name, value)
        if option in (int, bool, str) and type(value) is option:
            return value
    raise KindError(f"`{name}` must be {_words(kind)}, but got {name}={value!r} of type {type(value).__name__}.")


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise RangeError(f"`{name}` must be a number that fits in a float, but got {name}={value}.") from None


def parsed_text(kind: Any, name: str, text: str) -> Any:
    """Return the text of a flag as a value of a setting's type.

    Args:
        kind: the type.
        name: of the setting, for a message.
        text: of the flag, with commas between the values of a list.

    Returns:
        The value.

    Raises:
        KindError: the text is none of that type.

    Examples:
        >>> parsed_text(int | tuple[int, ...], "seeds", "5"), parsed_text(int | tuple[int, ...], "seeds", "5,")
        (5, (5,))
    """
    options = _options(kind)
    several = next((typing.get_args(option)[0] for option in options if typing.get_origin(option) is tuple), None)
    if several is not None and (several not in options or "," in text):
        parts = [part.strip() for part in text.split(",")]
        parts = parts if parts[-1] else parts[:-1]  # "5," is a list of one
        if not all(parts):
            raise KindError(f"`{name}` must have a value between two commas, but got {name}={text!r}.")
        return tuple(parsed_text(several, name, part) for part in parts)
    if dict in [typing.get_origin(option) for option in options]:
        pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
        return {key.strip(): _literal(value.strip()) for key, _, value in pairs}
    if bool in options:
        if text not in ("true", "false"):
            raise KindError(f"`{name}` must be {_words(kind)}, but got {name}={text!r}.")
        return text == "true"
    for option in options:
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                if str not in options:
                    raise KindError(f"`{name}` must be {_words(kind)}, but got {name}={text!r}.") from None
    return text


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _words(kind: Any) -> str:
    words = {int: "an integer", float: "a number", str: "a text", bool: "true or false", type(None): "left out"}
    origin_words = {tuple: "a list", dict: "a table"}
    told = [words.get(option) or origin_words[typing.get_origin(option)] for option in _options(kind)]
    return " or ".join(told)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: tuples become lists.

    Args:
        value: dictionaries, lists, tuples, texts and numbers.

    Returns:
        The same.

    Examples:
        >>> plain({"hidden": (16, 8)})
        {'hidden': [16, 8]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def toml(tables: Mapping[str, Any]) -> str:
    """Return tables as a TOML document.

    Args:
        tables: by name; a value that is None is left out, as TOML has no such value, and so is an empty inner table.

    Returns:
        The text.

    Examples:
        >>> print(toml({"dropout": {"kind": "block", "options": {"block_size": 3}}}), end="")
        [dropout]
        kind = "block"
        <BLANKLINE>
        [dropout.options]
        block_size = 3
    """
    return "\n\n".join(_parts(tables, "")) + "\n"


def _parts(tables: Mapping[str, Any], before: str) -> Iterator[str]:
    for name, table in tables.items():
        whole = f"{before}{_key(name)}"
        inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
        lines = [
            f"{_key(key)} = {toml_value(value)}"
            for key, value in table.items()
            if value is not None and key not in inner
        ]
        if lines or not before:
            yield "\n".join([f"[{whole}]", *lines])
        yield from _parts(inner, f"{whole}.")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else toml_value(name)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it: as JSON does, but for floats, which may be inf, and for the character 127.

    Args:
        value: a list, a text or a number.

    Returns:
        The text.

    Examples:
        >>> toml_value((0.5, 1.0))
        '[0.5, 1.0]'
    """
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
