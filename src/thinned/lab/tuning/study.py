"""A study of Optuna that many processes share: as many places as there are to be trials, each of them filled once.

A study begins with all its trials in Optuna's queue, each with the number of its place as a user attribute. Workers
take trials from the queue, which the storage lets only one of them do. A trial whose worker has gone is failed, and its
place is put into the queue again. So a search is done when each place has a trial that came to an end.
"""

import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from thinned.lab.tuning.plan import PlacedSampler, Plan
from thinned.lab.tuning.storage import HEARTBEAT, SILENT, StudyError, backend, first, shown

MOST_LOST = 3  # workers that a place may cost
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
OPEN = (TrialState.WAITING, TrialState.RUNNING)


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
        there = backend(storage, lost)
        if make:
            return optuna.create_study(
                storage=there, study_name=name, direction="minimize", load_if_exists=True, **tools
            )
        return optuna.load_study(storage=there, study_name=name, **tools)
    except KeyError:  # what Optuna raises for a study that is not there
        return None
    except Exception as error:  # whatever a driver of a database raises
        raise StudyError(
            f"`storage` must be a storage that can be opened, but {shown(storage)}: {first(error)}"
        ) from error


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


def unfinished(study: Study, places: int) -> set[int]:
    """Return the places that wait for a worker, or that one has begun.

    Args:
        study: any.
        places: how many trials there are to be.

    Returns:
        Places without a trial that came to an end; not those that were given up.
    """
    begun = {place_of(trial) for trial in study.get_trials(deepcopy=False, states=OPEN)}
    done = {place_of(trial) for trial in ended(study)}
    return {place for place in range(places) if place in begun - done}


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
