"""A process that takes trials from a study's queue until there are none."""

import math
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import Trial

from thinned._errors import ThinnedError
from thinned.data import Dataset
from thinned.lab import machine, run
from thinned.lab.config import Config
from thinned.lab.distributed import Job
from thinned.lab.loop import DivergedError, Loop, Progress, Silent
from thinned.lab.records import Record
from thinned.lab.sources import Parts
from thinned.lab.tuning import space as spaces
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.storage import StudyError, first
from thinned.lab.tuning.study import ENDED, OPEN, opened, place_of, put, worker

PAUSE = 0.5  # seconds between two looks at a queue that is empty


class StoppedError(Exception):
    """The worker is to stop; the trial's place goes back into the queue."""


class SurplusError(Exception):
    """Another trial has the place."""


@dataclass(frozen=True)
class Task:
    """What a worker is started with.

    Attributes:
        storage: as for `thinned.lab.tuning.study.opened`.
        name: of the study.
        plan: `thinned.lab.tuning.plan.Plan.plain`.
        threads: of torch.
    """

    storage: str
    name: str
    plan: dict[str, Any]
    threads: int


def work(task: Task, pipe: Connection) -> None:
    """Take trials until all places are done, or until the process that started this one says so or is gone.

    Args:
        task: what to do.
        pipe: to the process that started this one; what made the work end goes back through it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the first one tells us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        told = ""
        _work(task, pipe.poll)
    except Exception as error:  # whatever a storage raises: it is told by the process that people look at
        told = first(error)
    with suppress(OSError):  # nobody may be left to be told
        pipe.send(told)


def _work(task: Task, stopped: Callable[[], bool]) -> None:
    plan = Plan(**task.plan)
    config = spaces.settled(plan.tables, {})
    study = opened(task.storage, task.name, plan, config.training.epochs)
    if study is None:
        raise StudyError(f"The study {task.name} must be there while it is worked on, but it is gone.")
    trial = TrialRun(plan, config.data.load(), study, stopped)
    with machine.threads(task.threads):
        while not stopped():
            if study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
                trial.take()
            elif study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
                time.sleep(PAUSE)  # should the worker of one of them go, its place comes back
            else:
                return


def parts(config: Config, source: Dataset) -> Parts:
    """Return what a trial learns from and is chosen by, without the test part.

    Args:
        config: of the trial.
        source: the data.

    Returns:
        The parts; the test part holds no examples.
    """
    made = run.prepared(config, source)
    return replace(made, test=made.test.head(0))


class TrialRun:
    """Takes a trial from the queue and trains its network.

    Args:
        plan: of the search.
        source: the data.
        study: that has the queue.
        stopped: asked after each step.
    """

    def __init__(self, plan: Plan, source: Dataset, study: Study, stopped: Callable[[], bool]) -> None:
        self._plan, self._study, self._stopped = plan, study, stopped
        self._source = source
        self._parts: dict[str, Parts] = {}  # by the kind of network that takes them
        self._name = worker()

    def take(self) -> None:
        """Run one trial, if another worker has not taken the last one."""
        given_back: list[int] = []

        def attempt(trial: Trial) -> float:
            try:
                return self._run(trial)
            except StoppedError:
                given_back.append(trial.user_attrs["place"])
                raise
            except (optuna.TrialPruned, SurplusError, optuna.exceptions.UpdateFinishedTrialError):
                raise
            except Exception as error:
                trial.set_user_attr("note", f"{type(error).__name__}: {first(error)}")
                raise

        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # taken for lost: its place is in the queue again
            self._study.optimize(attempt, n_trials=1, catch=(Exception,))
        for place in given_back:
            put(self._study, self._plan, place)

    def _run(self, trial: Trial) -> float:
        place = trial.user_attrs.get("place")
        others = self._study.get_trials(deepcopy=False, states=(*OPEN, *ENDED))
        if place is None or any(other.number < trial.number and place_of(other) == place for other in others):
            raise SurplusError
        trial.set_user_attr("worker", self._name)
        values = {name: domain.draw(name, trial) for name, domain in self._plan.space.items()}
        try:
            config = spaces.settled(self._plan.tables, values)
            watched = Watched(trial, config.penalties.watch, self._stopped)
            watched.train(config, self._parts_for(config))
        except DivergedError:
            raise _pruned(trial, "The loss was no number any more; a lower learning rate may help.") from None
        except ThinnedError as error:  # settings that do not go together
            raise _pruned(trial, first(error)) from None
        found = watched.progress.validation_error
        if found is None or not math.isfinite(found):
            raise _pruned(trial, "The validation error was no number.")
        return found

    def _parts_for(self, config: Config) -> Parts:
        kind = config.model.kind
        if kind not in self._parts:
            self._parts[kind] = parts(config, self._source)
        return self._parts[kind]


class Watched(Silent):
    """Trains the network of one trial, and tells the study how it goes.

    Args:
        trial: of the study.
        watch: as `thinned.lab.recipe.Penalties.watch`.
        stopped: asked after each step.
    """

    def __init__(self, trial: Trial, watch: str, stopped: Callable[[], bool]) -> None:
        self._trial, self._watch, self._stopped = trial, watch, stopped
        self._epochs = 0
        self.progress = Progress()

    def write(self) -> None:
        """Tell what came out; once, as each write may wait for other workers."""
        self._trial.set_user_attr("found", {"epochs": self._epochs, **asdict(self.progress)})

    def train(self, config: Config, parts: Parts) -> None:
        """Train to the end.

        Args:
            config: of the trial.
            parts: of the data.

        Raises:
            TrialPruned: it is no good.
            DivergedError: the loss is no number any more.
            StoppedError: the worker is to stop.
        """
        try:
            Loop(config, parts, Path(), Job().on(config.run.device), self, None).train()
        except DivergedError:
            self.write()
            raise
        self.write()

    def step(self, step: int, steps: int) -> None:  # noqa: ARG002
        """Stop if that was asked for."""
        if self._stopped():
            raise StoppedError

    def epoch(self, record: Record) -> None:
        """Tell how an epoch came out."""
        self.progress.add(record, self._watch)
        error = math.inf if record.validation_error is None else record.validation_error
        self._trial.report(error, record.epoch)
        self._epochs = record.epoch
        if self._trial.should_prune():
            self.write()
            raise optuna.TrialPruned
        if self._stopped():
            raise StoppedError


def _pruned(trial: Trial, note: str) -> optuna.TrialPruned:
    trial.set_user_attr("note", note)
    return optuna.TrialPruned()
