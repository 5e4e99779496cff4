"""Runs read back from their folders, whoever made them: what a file says is checked before it is used."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from thinned._errors import DataError, ThinnedError
from thinned.lab.comparison import Settings
from thinned.lab.config import Config
from thinned.lab.costs import Cost
from thinned.lab.loop import Outcome
from thinned.lab.records import LARGEST as LARGEST_RECORDS
from thinned.lab.records import Record
from thinned.lab.runs import Run
from thinned.lab.summary import summarise

LARGEST = {"config.json": 2**20, "summary.json": 2**24, "records.jsonl": LARGEST_RECORDS}  # bytes
MONITORS = ("sparsity", "dead_units", "co_adaptation")  # for each layer a number
Made = TypeVar("Made")


def read(folder: str | PathLike[str]) -> Run:
    """Read a run back, done or not.

    Args:
        folder: of the run.

    Returns:
        The run.

    Raises:
        DataError: there is none, or its files are damaged.

    Examples:
        >>> import tempfile
        >>> from thinned.lab import run
        >>> config = Config.of({"model": {"hidden": [8]}, "training": {"epochs": 1}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     done = run.start(config, root)
        ...     found = read(done.folder)
        >>> found.command, len(found.records), found.outcome == done
        ('train', 1, True)
    """
    folder = Path(folder)
    config = _parsed(folder, "config.json")
    records = [_record(folder, line) for line in _lines(folder)]
    try:
        if config["command"] == "compare":
            return _comparison(folder, config, records)
        if config["command"] == "train":
            return _training(folder, config, records)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = f": {error}" if isinstance(error, ThinnedError) else ", but its files do not fit together."
        raise DataError(f"{folder} must be the folder of a run that this version can read{why}") from error
    raise DataError(f"{folder} must be the folder of a run of `thinned compare` or `thinned train`, but it is not.")


def _comparison(folder: Path, config: dict[str, Any], records: Sequence[Record]) -> Run:
    # A machine with fewer processors than that of the run can read it all the same.
    tables = {**config["settings"], "run": {**config["settings"]["run"], "threads": None}}
    settings = Settings.of(tables)
    _check_order(records, settings.methods, settings.each_seed, settings.config.training.epochs)
    summary = summarise(
        settings,
        records,
        costs=_costs(folder),
        folder=folder,
        interrupted=len(records) < settings.rounds * len(settings.methods),
        numbers=config["data"]["task"] == "regression",
    )
    return Run(folder, "compare", _described(config, settings.tables()), tuple(records), summary=summary)


def _training(folder: Path, config: dict[str, Any], records: Sequence[Record]) -> Run:
    tables = {**config["settings"], "run": {**config["settings"]["run"], "threads": None}}
    settings = Config.of(tables)
    _check_order(records, sorted({record.method for record in records}), [settings.run.seed], settings.training.epochs)
    found = None
    if (folder / "summary.json").exists():
        outcome = _made(Outcome, _parsed(folder, "summary.json"))
        found = replace(outcome, folder=str(folder))
    return Run(folder, "train", _described(config, settings.tables()), tuple(records), outcome=found)


def _described(config: Mapping[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    data, environment = config["data"], config["environment"]
    counts = {name: int(data.get(name, 0)) for name in ("train", "validation", "test")}
    if counts["train"] < 1 or counts["test"] < 1:
        raise ValueError("no examples")
    return {
        "command": str(config["command"]),
        "data": {
            "name": str(data["name"]),
            **counts,
            "note": str(data.get("note", "")),
            "task": str(data.get("task", "classification")),
            "fingerprint": str(data.get("fingerprint", "")),
        },
        "settings": settings,
        "environment": {str(key): str(value) for key, value in environment.items()},
    }


def _costs(folder: Path) -> dict[str, Cost]:
    """What was measured besides; nothing of a comparison that was killed, which has no summary."""
    if not (folder / "summary.json").exists():
        return {}
    rows = _parsed(folder, "summary.json")["rows"]
    return {str(row["method"]): _made(Cost, row["cost"]) for row in rows if row.get("cost") is not None}


def _made(kind: type[Made], told: Mapping[str, Any]) -> Made:
    """Make a flat data class of what JSON holds; a number that JSON does not have is nan."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        value, hint = told.get(entry.name), hints[entry.name]
        if hint is float:
            value = math.nan if value is None else value
        values[entry.name] = value
        allowed = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}
        kinds = [part for part in allowed if part is hint or part in getattr(hint, "__args__", ())]
        fits = value is None and hint not in allowed
        if not fits and not any(type(value) in allowed[part] for part in kinds):
            raise TypeError(f"{entry.name} is {value!r}")
        if type(value) is int and float in kinds:
            values[entry.name] = float(value)
    return kind(**values)


def _record(folder: Path, line: Any) -> Record:
    try:
        record = _made(_Line, line)
        watched = line.get("monitors")
        monitors = None
        if watched is not None:
            monitors = {name: tuple(float(value) for value in watched[name]) for name in MONITORS}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{folder / 'records.jsonl'} must hold one record in each line, but one is another.") from error
    return Record(**asdict(record), monitors=monitors)


@dataclass(frozen=True)
class _Line:
    """A record but for its monitors."""

    method: str
    seed: int
    epoch: int
    train_loss: float
    test_error: float
    seconds: float
    step: int | None
    lr: float | None
    fit_loss: float | None
    fit_error: float | None
    validation_loss: float | None
    validation_error: float | None
    gap: float | None
    skipped_steps: int | None


def _check_order(records: Sequence[Record], methods: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
    """Each network's epochs are there one after another, from the first on."""
    done = {(method, seed): 0 for method in methods for seed in seeds}
    for record in records:
        done[record.method, record.seed] += 1
        if record.epoch != done[record.method, record.seed] or record.epoch > epochs or not record.seconds >= 0:
            raise ValueError("records out of order")


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


def _parsed(folder: Path, name: str) -> dict[str, Any]:
    try:
        told = json.loads(_read(folder, name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{folder / name} must be JSON, but it is damaged.") from error
    if not isinstance(told, dict):
        raise DataError(f"{folder / name} must be of a run, but it is something else.")
    return told


def _lines(folder: Path) -> list[Any]:
    """The whole lines of the records; half a line at the end is what a process that was killed left."""
    text = _read(folder, "records.jsonl") if (folder / "records.jsonl").exists() else ""
    try:
        return [json.loads(line) for line in text.split("\n")[:-1]]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder / 'records.jsonl'} must be JSON in each line, but it is damaged.") from error
