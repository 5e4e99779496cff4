"""The process that people look at: it starts workers, watches them, and tells how a study goes."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Protocol

from optuna.study import Study
from optuna.trial import TrialState

from thinned.lab import loop
from thinned.lab.tuning.study import Watch, ended
from thinned.lab.tuning.worker import Task, work

LOOK = 0.5  # seconds between two looks at the study


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


def supervise(study: Study, task: Task, places: int, workers: int, display: Display) -> bool:
    """Start workers, and watch them until the study is done.

    The first Ctrl-C or SIGTERM lets them give back what they have begun; the second ends them at once.

    Args:
        study: what they work on.
        task: what each of them is started with.
        places: how many trials there are to be.
        workers: how many to start.
        display: what is told how it goes.

    Returns:
        Whether it was stopped before the study was done.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:  # the first worker imports for all of them
        context.set_forkserver_preload(["thinned.lab.tuning.worker", "torch._dynamo"])
    crew: dict[int, _Worker] = {}
    for number in range(1, workers + 1):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(task, theirs), name=f"worker {number}", daemon=True)
        process.start()
        theirs.close()
        crew[process.sentinel] = _Worker(process, ours)
    watch, told = Watch(study), False
    with _signals() as got:
        while crew:
            for sentinel in wait([*crew], LOOK):
                _ended(crew.pop(sentinel), bool(crew), display)  # type: ignore[arg-type]
            if got and not told:
                told = True
                display.say("Stopping: the workers give back what they have begun. Ctrl-C again ends them at once.")
                for worker in crew.values():
                    worker.pipe.send("stop")
            if len(got) > 1:
                for worker in crew.values():
                    worker.process.terminate()
            watch.look()
            display.standing(standing(study, places))
    return bool(got)


def _ended(worker: _Worker, others: bool, display: Display) -> None:
    process = worker.process
    process.join()
    try:
        said = worker.pipe.recv() if worker.pipe.poll() else ""
    except (EOFError, OSError):
        said = ""
    worker.pipe.close()
    code = process.exitcode or 0
    if said:
        display.say(f"{process.name.capitalize()} ended: {said}")
    elif code:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        then = "another worker takes over its trial" if others else "no worker is left here"
        display.say(f"{process.name.capitalize()} was {how}; {then}.")


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
