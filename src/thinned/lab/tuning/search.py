"""A whole search: a folder, a study in it or elsewhere, workers, and what they found."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study

from thinned import _check
from thinned._errors import DataError, RangeError, ThinnedError
from thinned._optional import require
from thinned.data import Dataset
from thinned.lab import examples, models, records, run
from thinned.lab.config import Config
from thinned.lab.distributed import Job
from thinned.lab.examples import Shape
from thinned.lab.loop import InterruptedRunError, Outcome
from thinned.lab.tuning import findings, report, results
from thinned.lab.tuning import space as spaces
from thinned.lab.tuning.findings import Found, Tried
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.storage import StudyError, first, shown, url
from thinned.lab.tuning.study import Watch, fill, opened, unfinished
from thinned.lab.tuning.supervisor import Display, Silent, standing, supervise
from thinned.lab.tuning.worker import Task, parts

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LARGEST_CONFIG = 2**20  # bytes


@dataclass(frozen=True)
class Where:
    """Where a search leaves what it finds, and who shares it.

    Attributes:
        root: folder of all runs.
        name: of the study and of its folder; None for a new one, made of the time.
        storage: as for `thinned.lab.tuning.study.opened`; None for a file in the folder.
    """

    root: str | PathLike[str] = "runs"
    name: str | None = None
    storage: str | None = None

    def how(self, name: str) -> str:
        """Return the command that goes on with the study.

        Args:
            name: of the study.

        Returns:
            What to type; of a storage without its password.
        """
        out = "" if str(self.root) == "runs" else f" --out {self.root}"
        storage = "" if self.storage is None else f" --storage {shown(self.storage)}"
        return f"thinned tune --study {name}{out}{storage}"


def search(
    plan: Plan | None,
    where: Where,
    *,
    trials: int | None = None,
    workers: int = 1,
    release: bool = False,
    display: Display | None = None,
) -> Found:
    """Search for good settings, or go on with a search.

    Each trial trains one network in one of several processes, and is judged by its validation error. Then the best
    settings are trained once more, with checkpoints, and tested.

    Args:
        plan: what to search; None to go on with a study.
        where: the study.
        trials: how many trials there are to be, in all; None for as many as the study has, or for
            `thinned.lab.tuning.plan.Plan.places`.
        workers: processes to start.
        release: whether to put all running trials into the queue again, whoever runs them.
        display: what is told how it goes.

    Returns:
        What was found.

    Raises:
        RangeError, KindError, DataError: settings or data that cannot be used, or others than the study has.
        StudyError: the storage cannot be used, the workers ended too early, or no trial has a result.
        InterruptedRunError: it was stopped.
    """
    _check.positive(workers, "workers")
    if trials is not None:
        _check.positive(trials, "trials")
    require("matplotlib.figure", "lab")  # better missed now than after the search
    display = display or Silent()
    folder = None if where.name is None else Path(where.root, where.name)
    study = _there(where, folder)
    plan = _agreed(None if plan is None else _whole_paths(plan), study, where)
    config = spaces.settled(plan.tables, {})
    source = _checked(plan, config)
    if folder is None or not folder.exists():
        folder = records.create(Path(where.root), where.name, "tune")
    name = _name(where, folder)
    storage, epochs = url(where.storage, folder), config.training.epochs
    study = opened(storage, name, plan, epochs, make=True)
    assert study is not None  # it was made
    with _told(where.how(where.name or name), folder, shown(storage)):
        places = _places(study, plan, trials, display)
        _register(study, plan, source, config)
        threads = config.run.threads or 1
        described = _description(plan, name, storage, places, source, threads)
        records.write_json(folder / "config.json", described)
        if release:
            Watch(study).look(all_of_them=True)
        before = standing(study, places)
        if before.done:
            display.say(f"Goes on: {before.done} of {places} trials are done.")
        fill(study, plan, places)
        task = Task(storage, name, plan.plain(), threads)
        left = places - before.done
        stopped = left > 0 and supervise(study, task, places, min(workers, left), display)
        rows = results.tried(study, plan.space)
        _write(folder, rows)
        if stopped:
            raise InterruptedRunError(f"Stopped: {len(rows)} of {places} trials are done.")
        if unfinished(study, places):  # a winner now would be tested, and another one once the rest is done
            raise StudyError(f"No worker is left, and {len(rows)} of {places} trials are done.")
        return _finish(study, plan, folder, described, rows, threads, source, display)


def _there(where: Where, folder: Path | None) -> Study | None:
    """Return the study if there is one; refuse a folder of something else."""
    if folder is not None and folder.exists():
        path = folder / "config.json"
        try:
            told = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST_CONFIG else {}
        except (OSError, ValueError):
            told = {}
        if not isinstance(told, dict) or told.get("command") != "tune" or not isinstance(told.get("study"), str):
            raise RangeError(f"`study` must be new or a study, but {folder} is something else; choose another name.")
    if folder is None or (where.storage is None and not folder.exists()):
        return None
    return opened(url(where.storage, folder), _name(where, folder))


def _name(where: Where, folder: Path) -> str:
    """Return the name of the study: that which its file has, in a folder that may have been renamed since."""
    if where.storage is None and (folder / "config.json").exists():
        return str(json.loads((folder / "config.json").read_bytes())["study"])
    return where.name or folder.name


def _whole_paths(plan: Plan) -> Plan:
    """Return the same plan for whoever is in another folder; a path without anything there is told as it was given."""
    data = spaces.settled(plan.tables, {}).data
    if not data.paths or not all(map(os.path.exists, data.paths)):
        return plan
    whole = data.absolute()
    paths = {key: value for key, value in (("name", whole.name), ("test", whole.test)) if value is not None}
    return (
        replace(plan, tables={**plan.tables, "data": {**plan.tables.get("data", {}), **paths}}) if data.paths else plan
    )


def _agreed(plan: Plan | None, study: Study | None, where: Where) -> Plan:
    """Return the plan of the study that is there; what was given must be the same."""
    if study is None or "plan" not in study.user_attrs:
        if plan is None:
            name = "" if where.name is None else f", and there is no study {where.name} to go on with"
            raise RangeError(
                "`search` must name at least one setting, as in --search lr=1e-3..1e-1:log or in a table "
                f"[tune.space]{name}."
            )
        return plan
    there = Plan(**study.user_attrs["plan"])
    if plan is not None and plan.plain() != there.plain():
        ours, theirs = _flat(plan.plain()), _flat(there.plain())
        name = next(key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key))
        raise RangeError(
            f"A study must go on as it began, with {name} {_said(theirs.get(name))}, but got {_said(ours.get(name))}; "
            "leave all settings out to go on with it, or choose another --study."
        )
    return there


def _checked(plan: Plan, config: Config) -> Dataset:
    """Load the data, and build a network with each value of the space, so that what cannot be used is told at once."""
    if not config.data.validation:
        raise RangeError("`data.validation` must be above 0, as trials are judged by it, but got validation=0.")
    Job().on(config.run.device)
    source = config.data.load()
    shapes: dict[str, Shape] = {}  # by the kind of network
    built: set[str] = set()

    def build(settings: Config) -> None:
        kind, key = settings.model.kind, repr((settings.model, settings.dropout))
        if kind not in shapes:
            shapes[kind] = parts(settings, source).shape
        if key not in built:
            with torch.random.fork_rng(devices=[]):
                models.build(settings.model, settings.dropout, shapes[kind])
            built.add(key)

    spaces.check(plan.tables, plan.space, build)
    return source


def _places(study: Study, plan: Plan, trials: int | None, display: Display) -> int:
    there = int(study.user_attrs.get("places", 0))
    asked = plan.places(trials) if trials or not there else there
    if asked > there:
        study.set_user_attr("places", asked)
    elif asked < there:
        display.say(f"The study has {there} trials already; a number below that changes nothing.")
    return max(asked, there)


def _register(study: Study, plan: Plan, source: Dataset, config: Config) -> None:
    """Note what is searched on which data, or make sure that it is the same."""
    fingerprint = examples.fingerprint(parts(config, source).train)
    if study.user_attrs.setdefault("fingerprint", fingerprint) != fingerprint:
        raise DataError(f"The data {source.name} must be those that the study began with, but they changed.")
    if "plan" not in study.user_attrs:
        study.set_user_attr("fingerprint", fingerprint)
        study.set_user_attr("plan", plan.plain())
        study.set_user_attr("numbers", source.task == "regression")


def _description(plan: Plan, name: str, storage: str, places: int, source: Dataset, threads: int) -> dict[str, Any]:
    return {
        "command": "tune",
        "study": name,
        "storage": shown(storage),
        "trials": places,
        "data": {"name": source.name, "note": source.note, "task": source.task},
        **plan.plain(),
        "environment": {**records.environment(), "threads": threads},
    }


def _write(folder: Path, rows: list[Tried]) -> None:
    records.write_text(folder / "trials.jsonl", "".join(row.line() for row in rows))


def _finish(
    study: Study,
    plan: Plan,
    folder: Path,
    described: dict[str, Any],
    rows: list[Tried],
    threads: int,
    source: Dataset,
    display: Display,
) -> Found:
    best = findings.best(rows)
    places = described["trials"]
    failed = _failed(study, {row.trial for row in rows}, places)
    if best is None:
        why = [row.note for row in rows if row.note] + failed
        raise StudyError(f"No trial was trained to its end. {why[0] if why else 'The workers ended before that.'}")
    settings = spaces.settled(plan.tables, best.settings)
    settings = replace(settings, run=replace(settings.run, threads=threads))
    path = folder / "best.toml"
    head = f"# Trial {best.trial}, the best of {len(rows)} of the study {study.study_name}: {best.words()}"
    records.write_text(path, f"{head}\n# To train it: thinned train {path}\n\n{settings.toml()}")
    with _alone(folder):
        test = _tested(study, settings, folder, best, source, display)
    shares = results.importance(study, plan.space)
    complete = sum(row.state == "complete" for row in rows)
    found = Found(
        folder=str(folder),
        study=study.study_name,
        places=places,
        complete=complete,
        pruned=len(rows) - complete,
        failed=tuple(failed),
        best=best,
        test=test,
        importance=shares,
        rows=tuple(rows),
        numbers=source.task == "regression",
    )
    records.write_text(folder / "report.html", report.study(described, found, plan.space))
    summary = asdict(found)
    del summary["rows"]
    records.write_json(folder / "summary.json", summary)
    return found


def _failed(study: Study, done: set[int], places: int) -> list[str]:
    """Return for each place without a result what its last trial said."""
    said = {
        trial.user_attrs.get("place"): trial.user_attrs.get("note", "Its workers were ended.")
        for trial in study.get_trials(deepcopy=False)
    }
    return [f"Trial {place}: {said.get(place, 'It was not begun.')}" for place in range(places) if place not in done]


def _tested(study: Study, settings: Config, folder: Path, best: Tried, source: Dataset, display: Display) -> Outcome:
    """Train the best settings again and test them, unless somebody who shares the study has done so."""
    name = f"best-{best.trial}"
    there = study.user_attrs.get("tested")
    if there is not None and there["trial"] == best.trial:
        return Outcome(**{**there["outcome"], "folder": str(folder / name)})
    display.say(f"Trains the best settings again, those of trial {best.trial}, with checkpoints, and tests them.")
    if (folder / name).exists():
        outcome = run.resume(folder / name, data=source, display=display)
    else:
        outcome = run.start(settings, folder, name, data=source, display=display)
    study.set_user_attr("tested", {"trial": best.trial, "outcome": asdict(outcome)})
    return outcome


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one of several processes that share a folder test at a time; the system lets go when it ends."""
    with (folder / "lock").open("ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _told(how: str, folder: Path, place: str) -> Iterator[None]:
    """Say how to go on after whatever has stopped a search.

    Args:
        how: to go on: a command.
        folder: of the study.
        place: of its storage, as it can be shown.
    """
    try:
        yield
    except (InterruptedRunError, run.StorageError) as error:  # of the run that trains the best settings again
        raise type(error)(f"{str(error).partition(' Go on with: ')[0]} Go on with: {how}") from error
    except KeyboardInterrupt:
        raise InterruptedRunError(f"Stopped at once. Go on with: {how}") from None
    except StudyError as error:
        raise StudyError(f"{error} Go on with: {how}") from error
    except Exception as error:
        if _of_a_database(error):
            what = f"{place} must be a storage that can be reached and written to"
        elif isinstance(error, OSError) and not isinstance(error, ThinnedError):
            what = f"{folder} must be a folder that can be written to"
        else:
            raise
        raise StudyError(f"{what}, but: {first(error)} What was done before is kept. Go on with: {how}") from error


def _of_a_database(error: BaseException | None) -> bool:
    """Return whether SQLAlchemy, or Optuna on its account, has raised it."""
    while error is not None:
        if type(error).__module__.partition(".")[0] == "sqlalchemy" or type(error).__name__ == "StorageInternalError":
            return True
        error = error.__cause__
    return False


def _flat(value: Any, before: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {before: value}
    start = f"{before}." if before else ""
    return {name: item for key, inner in value.items() for name, item in _flat(inner, f"{start}{key}").items()}


def _said(value: Any) -> str:
    return "left out" if value is None else repr(value)
