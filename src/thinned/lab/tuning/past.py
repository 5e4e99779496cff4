"""Studies read back from their folders, whoever made them; neither Optuna nor the study's storage is needed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from thinned._errors import DataError, ThinnedError
from thinned.lab import files
from thinned.lab.config import Config
from thinned.lab.loop import Outcome
from thinned.lab.tuning import findings, reading
from thinned.lab.tuning.findings import Found, Tried
from thinned.lab.tuning.space import Choices, Range, Space

MOST = 1000  # settings that are searched, and values of one of them
ROUNDING = 1e-9  # of a range: its last step may end beyond it by so much


@dataclass(frozen=True)
class Study:
    """One study of `thinned tune`, done or not.

    Attributes:
        folder: where it is.
        config: what ``config.json`` holds: data, settings of all trials, environment.
        found: by the search so far.
        space: that is searched.
    """

    folder: Path
    config: dict[str, Any]
    found: Found
    space: Space

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name


def read(folder: str | PathLike[str]) -> Study:
    """Read a study back, done or not.

    What its trials found is what its folder says: of a study whose process was killed that may be less than its storage
    has.

    Args:
        folder: of the study.

    Returns:
        The study.

    Raises:
        DataError: there is none, or its files are damaged.
    """
    folder = Path(folder)
    config = files.parsed(folder, "config.json")
    lines = files.lines(folder, "trials.jsonl")
    try:
        described = _described(config)
        space = reading.read(described["table"])
        if len(space) > MOST or any(isinstance(one, Choices) and len(one.values) > MOST for one in space.values()):
            raise ValueError("more than anybody searches")
        rows = [_row(line, space) for line in lines]
        if [row.trial for row in rows] != sorted({row.trial for row in rows}):
            raise ValueError("trials out of order")
        return Study(folder, described, _found(folder, described, rows, space), space)
    except files.WRONG as error:
        why = f": {error}" if isinstance(error, ThinnedError) else ", but its files do not fit together."
        raise DataError(f"{folder} must be the folder of a study that this version can read{why}") from error


def _described(config: Mapping[str, Any]) -> dict[str, Any]:
    data, tables = config["data"], config["tables"]
    # A machine with fewer processors than that of the study can read it all the same.
    Config.of({**tables, "run": {**tables.get("run", {}), "threads": None}})
    if config["command"] != "tune" or type(config["trials"]) is not int or config["trials"] < 1:
        raise ValueError("no study")
    return {
        "command": "tune",
        "study": str(config["study"]),
        "storage": str(config["storage"]),
        "trials": config["trials"],
        "data": {
            "name": str(data["name"]),
            "note": str(data.get("note", "")),
            "task": str(data.get("task", "classification")),
        },
        "tables": tables,
        "table": config["table"],
        "sampler": str(config["sampler"]),
        "pruner": str(config["pruner"]),
        "environment": files.texts(config["environment"]),
    }


def _row(line: Any, space: Space) -> Tried:
    settings = {name: _value(space[name], value) for name, value in line["settings"].items()}
    curve = [None if value is None else files.number(value) for value in line["curve"]]
    row = files.made(Tried, line, settings=settings, curve=curve)
    numbers = [row.validation_error, row.validation_loss, row.seconds]
    if row.state not in ("complete", "pruned") or not all(math.isfinite(number or 0.0) for number in numbers):
        raise ValueError("no trial")
    return row


def _value(domain: Choices | Range, value: Any) -> Any:
    """Return what a trial had for a setting, if it can have had that."""
    if isinstance(domain, Choices):
        if not any(type(one) is type(value) and one == value for one in domain.values):
            raise ValueError("a value that was not searched")
        return value
    slack = ROUNDING * (domain.high - domain.low)
    if type(value) not in (int, float) or not domain.low - slack <= value <= domain.high + slack:
        raise ValueError("a value that was not searched")
    return value


def _found(folder: Path, config: Mapping[str, Any], rows: Sequence[Tried], space: Space) -> Found:
    complete = sum(row.state == "complete" for row in rows)
    found = Found(
        folder=str(folder),
        study=config["study"],
        places=config["trials"],
        complete=complete,
        pruned=len(rows) - complete,
        failed=(),
        best=findings.best(rows),
        test=None,
        importance={},
        rows=tuple(rows),
        numbers=config["data"]["task"] == "regression",
    )
    told = files.parsed(folder, "summary.json") if (folder / "summary.json").exists() else None
    if told is None or told["places"] != found.places:  # not done, or done once and gone on with for more trials
        return found
    if found.best is None or told["best"]["trial"] != found.best.trial or told["complete"] != complete:
        raise ValueError("a summary of other trials")
    shares = {name: files.number(share) for name, share in told["importance"].items()}
    if not all(name in space and 0 <= share <= 1 for name, share in shares.items()):
        raise ValueError("no shares")
    return replace(
        found,
        failed=tuple(map(str, told["failed"])),
        test=files.made(Outcome, told["test"]),
        importance=shares,
    )
