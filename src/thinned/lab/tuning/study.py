"""A study of Optuna that many processes share: as many places as there are to be trials, each of them filled once.

A study begins with all its trials in Optuna's queue, each with the number of its place as a user attribute. Workers
take trials from the queue, which the storage lets only one of them do. A trial whose worker has gone is failed, and its
place is put into the queue again. So a search is done when each place has a trial that came to an end.
"""

import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from thinned._errors import RangeError, ThinnedError
from thinned.keys import site_seed
from thinned.lab.examples import order
from thinned.lab.tuning import reading
from thinned.lab.tuning import space as spaces
from thinned.lab.tuning.space import Space

JOURNAL = "journal:"
HEARTBEAT = 10  # seconds
SILENT = 60  # seconds without a heartbeat after which a worker counts as gone
MOST_LOST = 3  # workers that a place may cost
PATIENCE = 120  # seconds that a worker waits for others to be done with a file of SQLite
TRIALS = 50  # by default
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
OPEN = (TrialState.WAITING, TrialState.RUNNING)
SAMPLERS = ("tpe", "gp", "random", "grid")
PRUNERS = ("median", "hyperband", "none")


class StudyError(ThinnedError, RuntimeError):
    """A study cannot be read, written, or finished."""


@dataclass(frozen=True)
class Plan:
    """What is searched, and how; the same for all who share a study.

    Attributes:
        tables: settings that are the same for all trials, as `thinned.lab.config.Config.of` takes them.
        table: the space, as `thinned.lab.tuning.reading.read` takes it.
        sampler: a name in `SAMPLERS`.
        pruner: a name in `PRUNERS`.

    Raises:
        RangeError, KindError: an unknown name, a space that cannot be searched.

    Example:
        >>> plan = Plan({}, {"dropout.p": [0.1, 0.3, 0.5]}, sampler="grid")
        >>> plan.places(None), plan.places(2)
        (3, 2)
    """

    tables: Mapping[str, Any]
    table: Mapping[str, Any]
    sampler: str = "tpe"
    pruner: str = "median"
    space: Space = field(init=False, repr=False)
    grid: Sequence[Mapping[str, Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if getattr(self, name) not in known:
                raise RangeError(f"`{name}` must be one of {', '.join(known)}, but got {name}={getattr(self, name)!r}.")
        space = reading.read(self.table)
        spaces.check(self.tables, space)
        points = spaces.points(space) if self.sampler == "grid" else []
        # In a random order, so that a part of a grid is a fair sample of it.
        mixed = order(self.seed, 0, len(points), "grid").tolist()
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "grid", [points[i] for i in mixed])

    @property
    def seed(self) -> int:
        """Of the search, and of each network."""
        return int(spaces.settled(self.tables, {}).run.seed)

    def places(self, trials: int | None) -> int:
        """Return how many trials there are to be.

        Args:
            trials: how many were asked for; None for all points of a grid, and 50 of what has no end.

        Returns:
            At most as many as a grid has points.
        """
        if self.sampler == "grid":
            return min(trials or len(self.grid), len(self.grid))
        return trials or TRIALS

    def plain(self) -> dict[str, Any]:
        """Return what `Plan` was made of, as JSON has it.

        Returns:
            Its arguments by name; the space by full names.
        """
        table = {
            name: list(domain.values) if isinstance(domain, spaces.Choices) else _known(vars(domain))
            for name, domain in self.space.items()
        }
        return {"tables": _plain(self.tables), "table": _plain(table), "sampler": self.sampler, "pruner": self.pruner}


class PlacedSampler(optuna.samplers.BaseSampler):
    """Gives each trial a sampler of its own, seeded by its place: workers never draw the same numbers twice.

    Args:
        kind: a name in `SAMPLERS`.
        seed: of the search.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._now: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of a trial."""
        place = trial.user_attrs.get("place")
        if place is None or self._kind in ("random", "grid"):
            kind: Any = optuna.samplers.RandomSampler  # without a place: a trial that will not be run
        else:
            kind = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[self._kind]
        self._now = kind(seed=site_seed(self._seed, place or 0, "tune") % 2**32)
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """As the trial's sampler does."""
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """As the trial's sampler does."""
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """As the trial's sampler does."""
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the trial's sampler does."""
        self._now.after_trial(study, trial, state, values)


def opened(storage: str, name: str, plan: Plan | None = None, epochs: int = 1, *, make: bool = False) -> Study | None:
    """Open a study.

    Args:
        storage: an URL that SQLAlchemy knows, or ``journal:`` and a file.
        name: of the study.
        plan: how to search; not needed to look only.
        epochs: of a whole trial, for the pruner.
        make: whether to make the study if it is not there.

    Returns:
        The study; None if there is none and none is to be made.

    Raises:
        StudyError: the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    pruners: dict[str, optuna.pruners.BasePruner] = {
        "none": optuna.pruners.NopPruner(),
        "median": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 5),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
    }
    tools: dict[str, Any] = {}
    if plan is not None:
        tools = {"sampler": PlacedSampler(plan.sampler, plan.seed), "pruner": pruners[plan.pruner]}
    try:
        backend = _backend(storage)
        if make:
            return optuna.create_study(
                storage=backend, study_name=name, direction="minimize", load_if_exists=True, **tools
            )
        return optuna.load_study(storage=backend, study_name=name, **tools)
    except KeyError:  # what Optuna raises for a study that is not there
        return None
    except Exception as error:  # whatever a driver of a database raises
        raise StudyError(
            f"`storage` must be a storage that can be opened, but {shown(storage)}: {first(error)}"
        ) from error


def url(storage: str | None, folder: Path) -> str:
    """Return where a study is.

    Args:
        storage: as for `opened`; None for a file of SQLite in a folder.
        folder: that.

    Returns:
        As for `opened`.

    Example:
        >>> url(None, Path("/runs/first"))
        'sqlite:////runs/first/study.db'
    """
    if storage is not None:
        return storage
    path = str((folder / "study.db").absolute())
    return f"sqlite:///{path.replace('{', '{{').replace('}', '}}')}"  # Optuna takes braces for a template


def shown(storage: str) -> str:
    """Return the name of a storage without its password.

    Args:
        storage: as for `opened`.

    Returns:
        What can be shown.

    Example:
        >>> shown("postgresql://me:secret@host/tuning")
        'postgresql://me:***@host/tuning'
    """
    before, at, after = storage.rpartition("@")
    scheme, colon, user = before.partition("://")
    return f"{scheme}{colon}{user.partition(':')[0]}:***{at}{after}" if at and ":" in user else storage


def first(error: BaseException) -> str:
    """Return the first line of an error, or its class if it says nothing.

    Args:
        error: any.

    Returns:
        One sentence.
    """
    said = str(error).strip().splitlines()
    return f"{(said[0] if said else type(error).__name__).rstrip('.')}."


def fill(study: Study, plan: Plan, places: int) -> None:
    """Put each place into the queue that has no trial in it, and none that came to an end.

    Args:
        study: of the places.
        plan: of the search.
        places: how many there are to be.
    """
    taken = {place_of(trial) for trial in study.get_trials(deepcopy=False, states=(*OPEN, *ENDED))}
    for place in range(places):
        if place not in taken:
            put(study, plan, place)


def put(study: Study, plan: Plan, place: int, **attributes: Any) -> None:
    """Put a place into the queue.

    Args:
        study: of the place.
        plan: of the search.
        place: counted from 0.
        attributes: further user attributes of the trial.
    """
    point = dict(plan.grid[place]) if plan.sampler == "grid" else {}
    study.enqueue_trial(point, user_attrs={"place": place, **attributes})


def lost(study: Study, trial: FrozenTrial) -> None:
    """Put the place of a trial whose worker has gone into the queue again, with the same values.

    Optuna's own callback for this keeps all attributes, the name of the worker that has gone among them.

    Args:
        study: of the trial.
        trial: failed.
    """
    times = trial.user_attrs.get("lost", 0) + 1
    if place_of(trial) is not None and times <= MOST_LOST:
        values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        study.enqueue_trial(values, user_attrs={"place": place_of(trial), "lost": times})


def place_of(trial: FrozenTrial) -> int | None:
    """Return the place of a trial.

    Args:
        trial: any.

    Returns:
        Counted from 0; None where two workers wanted the last one, and Optuna made a trial for the second.
    """
    place = trial.user_attrs.get("place")
    return place if isinstance(place, int) else None


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that came to an end.

    Args:
        study: any.

    Returns:
        One for each place, in order of places.
    """
    trials = study.get_trials(deepcopy=False, states=ENDED)
    by_place = {place: trial for trial in reversed(trials) if (place := place_of(trial)) is not None}
    return [by_place[place] for place in sorted(by_place)]


def worker() -> str:
    """Return the name of this process, which no other process ever has.

    Returns:
        Host, process and when it began, as far as the system tells.
    """
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


class Watch:
    """Looks for trials whose workers have gone, and puts their places into the queue again.

    A worker on this machine is looked for among its processes. What runs elsewhere is judged by its heartbeat, which
    Optuna keeps in a database, but not in a journal.

    Args:
        study: of the trials.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._unnamed: dict[int, float] = {}  # trials that no worker has put its name on, and since when
        self._next = 0.0

    def look(self, all_of_them: bool = False) -> None:
        """Look once.

        Args:
            all_of_them: whether to take all running trials for lost.
        """
        now = time.monotonic()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            name = trial.user_attrs.get("worker")
            since = self._unnamed.setdefault(trial.number, now)
            silent = name is None and now - since > SILENT
            if all_of_them or silent or (name is not None and _gone(name)):
                self._fail(trial)
        if now >= self._next:
            self._next = now + HEARTBEAT
            _fail_silent(self._study)

    def _fail(self, trial: FrozenTrial) -> None:
        try:
            self._study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # it has just come to an end, or someone else has failed it
            return
        lost(self._study, trial)


def _fail_silent(study: Study) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def _gone(name: str) -> bool:
    host, process, began = name.rsplit(" ", 2)
    return host == socket.gethostname() and Path("/proc/self/stat").exists() and _began(int(process)) != began


def _began(process: int) -> str:
    """Return when a process began, in ticks of the system; "-" if there is none, or the system does not tell."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "-"
    state, *numbers = told.rpartition(")")[2].split()  # the name of the program, in parentheses, can hold anything
    return "-" if state in "ZX" else numbers[18]


def _backend(storage: str) -> BaseStorage:
    if storage.startswith(JOURNAL):
        path = storage.removeprefix(JOURNAL)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(path) if os.name == "nt" else None  # by default a link, which serves NFS too
        return JournalStorage(JournalFileBackend(path, lock))
    kwargs = {"connect_args": {"timeout": PATIENCE}} if storage.startswith("sqlite") else {"pool_pre_ping": True}
    return RDBStorage(
        storage,
        engine_kwargs=kwargs,
        heartbeat_interval=HEARTBEAT,
        grace_period=SILENT,
        heartbeat_stale_trial_callback=lost,
    )


def _known(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None and value is not False}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
