"""The process that people look at: it starts workers, watches them, and tells how a study goes."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Protocol

from optuna.study import Study
from optuna.trial import TrialState

from thinned.lab import loop
from thinned.lab.tuning.study import Watch, ended, unfinished
from thinned.lab.tuning.worker import Task, work

LOOK = 0.5  # seconds between two looks at the study
MOST_REPLACED = 8  # workers: one place may cost four before it is given up, and a second one as many


@dataclass(frozen=True)
class Standing:
    """How far a study is.

    Attributes:
        places: how many trials there are to be.
        complete: how many were trained to the end.
        pruned: how many were given up, as others were better or their settings cannot be used.
        running: how many are being trained now.
        best: the least validation error so far; None before there is one.
        settings: that it was reached with, as Optuna has them.
        numbers: whether numbers are predicted, and the error is the root of the mean squared error.
    """

    places: int
    complete: int
    pruned: int
    running: int
    best: float | None
    settings: dict[str, Any]
    numbers: bool = False

    @property
    def done(self) -> int:
        """How many came to an end."""
        return self.complete + self.pruned


class Display(loop.Display, Protocol):
    """What is told how a study goes, and then how the best settings train."""

    def standing(self, now: Standing) -> None:
        """Tell how far it is."""


class Silent(loop.Silent):
    """A display that shows nothing."""

    def standing(self, now: Standing) -> None:
        """Show nothing."""


def standing(study: Study, places: int) -> Standing:
    """Return how far a study is.

    Args:
        study: any.
        places: how many trials there are to be.

    Returns:
        That.
    """
    there = ended(study)
    complete = [trial for trial in there if trial.state == TrialState.COMPLETE]
    best = min(complete, key=lambda trial: trial.values[0], default=None)
    return Standing(
        places=places,
        complete=len(complete),
        pruned=len(there) - len(complete),
        running=len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))),
        best=best.values[0] if best else None,
        settings=best.params if best else {},
        numbers=study.user_attrs.get("numbers", False),
    )


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection

    def last_words(self) -> str:
        """Return what a worker that is gone had to say, or how it was killed; nothing of one that was done."""
        self.process.join()
        try:
            said = self.pipe.recv() if self.pipe.poll() else ""
        except (EOFError, OSError):
            said = ""
        self.pipe.close()
        code = self.process.exitcode or 0
        if said or not code:
            return f" ended: {said}" if said else ""
        return f" was killed by {signal.Signals(-code).name}" if code < 0 else f" ended with status {code}"

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside, as by a system that is out of memory."""
        return (self.process.exitcode or 0) < 0


class _Crew:
    """The workers that are there.

    Args:
        task: what each of them is started with.
        most: how many may be started in all.
    """

    def __init__(self, task: Task, most: int) -> None:
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:  # the first worker imports for all of them
            self._context.set_forkserver_preload(["thinned.lab.tuning.worker", "torch._dynamo"])
            with _deaf():
                forkserver.ensure_running()
        self._task, self._left, self._started = task, most, 0
        self.there: dict[int, _Worker] = {}

    def hire(self) -> bool:
        """Start a worker, unless as many as may be have been started; return whether it was."""
        if not self._left:
            return False
        self._left, self._started = self._left - 1, self._started + 1
        ours, theirs = self._context.Pipe()
        name = f"worker {self._started}"
        process = self._context.Process(target=work, args=(self._task, theirs), name=name, daemon=True)
        process.start()
        theirs.close()
        self.there[process.sentinel] = _Worker(process, ours)
        return True

    def gone(self) -> list[_Worker]:
        """Wait a little, and return those that are gone."""
        return [self.there.pop(sentinel) for sentinel in wait([*self.there], LOOK)]  # type: ignore[arg-type]


def supervise(study: Study, task: Task, places: int, workers: int, display: Display) -> bool:
    """Start workers, and watch them until the study is done.

    A worker that is killed is replaced, a few times. The first Ctrl-C or SIGTERM lets all give back what they have
    begun; the second ends them at once.

    Args:
        study: what they work on.
        task: what each of them is started with.
        places: how many trials there are to be.
        workers: how many to start.
        display: what is told how it goes.

    Returns:
        Whether it was stopped before the study was done.
    """
    crew = _Crew(task, workers + MOST_REPLACED)
    watch, told = Watch(study), False
    with _signals() as got:
        for _ in range(workers):
            crew.hire()
        while crew.there:
            for worker in crew.gone():
                said = worker.last_words()
                if not said:
                    continue
                watch.look()  # its place is back in the queue before another one looks for work
                again = worker.killed and not got and bool(unfinished(study, places)) and crew.hire()
                then = "another one is started" if again else "others go on" if crew.there else "none is left here"
                display.say(f"{worker.process.name.capitalize()}{said.removesuffix('.')}; {then}.")
            if got and not told:
                told = True
                display.say("Stopping: the workers give back what they have begun. Ctrl-C again ends them at once.")
                for worker in crew.there.values():
                    with suppress(OSError):  # it may just have ended
                        worker.pipe.send("stop")
            if len(got) > 1:
                for worker in crew.there.values():
                    worker.process.terminate()
            watch.look()
            display.standing(standing(study, places))
    return bool(got)


@contextmanager
def _deaf() -> Iterator[None]:
    """Start a process that never hears Ctrl-C, which goes to all processes of a terminal: not even while it imports."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes that are started inherit it
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals instead of being ended by them; only the main thread gets any."""
    got: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield got
        return

    def note(number: int, _: FrameType | None) -> None:
        got.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
