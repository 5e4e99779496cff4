"""Runs read back from their folders, whoever made them: what a file says is checked before it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from thinned._errors import DataError, ThinnedError
from thinned.lab import files
from thinned.lab.comparison import Settings
from thinned.lab.config import Config
from thinned.lab.costs import Cost
from thinned.lab.loop import Outcome
from thinned.lab.records import Record
from thinned.lab.runs import Run
from thinned.lab.summary import summarise

MONITORS = ("sparsity", "dead_units", "co_adaptation")  # for each layer a number


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
    config = files.parsed(folder, "config.json")
    records = [_record(folder, line) for line in files.lines(folder, "records.jsonl")]
    try:
        if config["command"] == "compare":
            return _comparison(folder, config, records)
        if config["command"] == "train":
            return _training(folder, config, records)
    except files.WRONG as error:
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
        outcome = files.made(Outcome, files.parsed(folder, "summary.json"))
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
        "environment": files.texts(environment),
    }


def _costs(folder: Path) -> dict[str, Cost]:
    """What was measured besides; nothing of a comparison that was killed, which has no summary."""
    if not (folder / "summary.json").exists():
        return {}
    rows = files.parsed(folder, "summary.json")["rows"]
    return {str(row["method"]): files.made(Cost, row["cost"]) for row in rows if row.get("cost") is not None}


def _record(folder: Path, line: Any) -> Record:
    try:
        return files.made(Record, line, monitors=_monitors(line.get("monitors")))
    except files.WRONG as error:
        raise DataError(f"{folder / 'records.jsonl'} must hold one record in each line, but one is another.") from error


def _monitors(watched: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if watched is None:
        return None
    layers = {name: tuple(map(files.number, watched[name])) for name in MONITORS}
    return {**layers, "weight_norms": {str(k): files.number(v) for k, v in watched["weight_norms"].items()}}


def _check_order(records: Sequence[Record], methods: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
    """Each network's epochs are there one after another, from the first on."""
    done = {(method, seed): 0 for method in methods for seed in seeds}
    for record in records:
        done[record.method, record.seed] += 1
        if record.epoch != done[record.method, record.seed] or record.epoch > epochs or not record.seconds >= 0:
            raise ValueError("records out of order")
