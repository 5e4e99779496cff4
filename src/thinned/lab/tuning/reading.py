"""Search spaces as people write them, in a table of TOML and in flags."""

import difflib
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thinned._errors import KindError, RangeError
from thinned.lab.config import kinds, names
from thinned.lab.tuning.space import Choices, Range, Space, text

SECTIONS = ("model", "dropout", "training", "penalties")  # the rest is the same for all trials
OPTIONS = ("dropout.options.", "dropout.input_options.")
LARGEST = 1e300  # number that a range can reach
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"\s*({NUMBER})\.\.({NUMBER})\s*(?::\s*(?:(log)|step\s*=\s*({NUMBER}))\s*)?")
DEFAULTS: Sequence[tuple[str, Any]] = (("low", None), ("high", None), ("log", False), ("step", None))


def searched(flag: str) -> tuple[str, Any]:
    """Read one ``--search``.

    Args:
        flag: ``NAME=VALUE,VALUE,...``, or with ``|`` between values that are lists, or ``NAME=LOW..HIGH``, with
            ``:log`` or ``:step=S`` behind it.

    Returns:
        The name, and what a table ``[tune.space]`` has for it.

    Raises:
        RangeError: it is neither.

    Examples:
        >>> searched("lr=1e-3..1e-1:log")
        ('lr', {'low': 0.001, 'high': 0.1, 'log': True})
        >>> searched("hidden=800,800|1000")
        ('hidden', [[800, 800], 1000])
    """
    name, _, values = flag.partition("=")
    if not name.strip() or not values.strip():
        raise RangeError(
            "`search` must be NAME=VALUE,VALUE,... or NAME=LOW..HIGH, which may end in :log or :step=S, but got "
            f"search={flag!r}."
        )
    span = RANGE.fullmatch(values)
    if span is not None:
        low, high, log, step = span.groups()
        table = {"low": _literal(low), "high": _literal(high)}
        return name.strip(), table | ({"log": True} if log else {}) | ({"step": _literal(step)} if step else {})
    if "|" not in values:
        return name.strip(), [_literal(part) for part in values.split(",")]
    parts = [part.split(",") for part in values.split("|")]
    return name.strip(), [[*map(_literal, part)] if len(part) > 1 else _literal(part[0]) for part in parts]


def read(table: Mapping[str, Any]) -> Space:
    """Read a search space.

    Args:
        table: for each setting, by its dotted name or by the last part of it, a list of values, or a table with
            ``low``, ``high`` and perhaps ``log`` or ``step``. A number behind the name means one layer, from 1 on.

    Returns:
        The space, by full names.

    Raises:
        RangeError, KindError: a name that is no setting, or no space of values.

    Examples:
        >>> read({"lr": {"low": 0.001, "high": 0.1, "log": True}, "dropout.p.2": [0.0, 0.5]})
        {'training.lr': Range(low=0.001, high=0.1, log=True, step=None), 'dropout.p.2': Choices(values=(0.0, 0.5))}
    """
    space: Space = {}
    for given, plain in _flat("", table):
        name = _resolved(given)
        if name in space:
            raise RangeError(f"`{name}` must be searched once, but it is given twice.")
        space[name] = _range(name, plain) if isinstance(plain, Mapping) else _choices(name, plain)
    if not space:
        raise RangeError(
            "`search` must name at least one setting, as in --search lr=1e-3..1e-1:log or in a table [tune.space], "
            "but there is none."
        )
    return space


def _flat(before: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and values; TOML makes tables of dotted names."""
    for name, value in table.items():
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            yield from _flat(f"{before}{name}.", value)
        else:
            yield before + name, value


def _resolved(given: str) -> str:
    name = given.strip().replace("-", "_")
    if name.startswith(OPTIONS) and len(name.split(".")) == 3:
        return name
    known = [setting for setting in names() if setting.partition(".")[0] in SECTIONS]
    stem, dot, number = name.rpartition(".")
    head, layer = (stem, dot + number) if number.isdecimal() else (name, "")
    found = [setting for setting in known if head in (setting, setting.rpartition(".")[2])]
    if len(found) > 1:
        raise RangeError(f"`{given}` must be one setting, but it could be {' or '.join(found)}; give the whole name.")
    if not found:
        if head in names():
            raise RangeError(f"`{head}` must be the same in all trials; give it as a setting instead of searching it.")
        shorts = {setting.rpartition(".")[2]: setting for setting in known}
        near = difflib.get_close_matches(head, known if "." in head else [*shorts], 1, cutoff=0)[0]
        raise RangeError(f"`{given}` is no setting that can be searched; did you mean {shorts.get(near, near)}?")
    if layer and (int(number) < 1 or tuple not in _kinds(found[0])):
        raise RangeError(f"`{given}` must be a setting of a layer, counted from 1, as dropout.p.1, but got {given!r}.")
    return found[0] + layer


def _kinds(name: str) -> set[Any]:
    """Return the types that a setting's value can have, those of a list's elements among them."""
    section, key, *_ = name.split(".")
    found: set[Any] = set()
    waiting = [kinds(section)[key]]
    while waiting:
        kind = waiting.pop()
        found.add(typing.get_origin(kind) or kind)
        waiting.extend(part for part in typing.get_args(kind) if part is not ...)
    return found


def _choices(name: str, values: Any) -> Choices:
    if not isinstance(values, list | tuple) or not values:
        raise KindError(
            f"`{name}` must be searched over a list of values or a table with low and high, but got {values!r}."
        )
    if any(isinstance(value, Mapping) for value in values):
        raise KindError(f"`{name}` must have numbers, texts or lists as values, but got {values!r}.")
    number = not name.startswith(OPTIONS) and float in _kinds(name)
    made = tuple(float(value) if number and type(value) is int else value for value in values)
    if len({text(value) for value in made}) < len(made):
        raise RangeError(f"`{name}` must have each value once, but got {values!r}.")
    return Choices(made)


def _range(name: str, table: Mapping[str, Any]) -> Range:
    given = dict(table)
    low, high, log, step = (given.pop(key, default) for key, default in DEFAULTS)
    if given:
        raise RangeError(f"`{name}` must have low, high, log and step alone, but got {', '.join(given)}.")
    numbers = [low, high] if step is None else [low, high, step]
    if any(type(number) not in (int, float) or not abs(number) < LARGEST for number in numbers):
        raise KindError(f"`{name}` must have numbers as low, high and step, but got {dict(table)!r}.")
    if type(log) is not bool:
        raise KindError(f"`{name}` must have true or false as log, but got log={log!r}.")
    if not low < high or (log and low <= 0):
        zero = " above 0, where log is true," if log else ""
        raise RangeError(f"`{name}` must have a low{zero} that is below its high, but got low={low}, high={high}.")
    if step is not None and (log or not 0 < step <= high - low):
        raise RangeError(f"`{name}` must have a step that fits between low and high, and no log, but got step={step}.")
    whole = all(type(number) is int for number in numbers)
    if not name.startswith(OPTIONS):
        kinds = _kinds(name)
        if not kinds & {int, float}:
            raise RangeError(f"`{name}` must be searched over a list of values, as it is no number, but got a range.")
        if float not in kinds and not whole:
            raise KindError(f"`{name}` must have integers as low, high and step, but got {dict(table)!r}.")
        whole = float not in kinds
    if not whole:
        low, high, step = float(low), float(high), step if step is None else float(step)
    return Range(low, high, log, step)


def _literal(word: str) -> Any:
    word = word.strip()
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        pass
    try:
        return float(word)
    except ValueError:
        return word
