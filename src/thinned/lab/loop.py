"""The loop of one run: train an epoch, measure, watch, write it down, and stop when told to."""

import json
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from thinned import optim
from thinned._errors import ThinnedError
from thinned._optional import require
from thinned.lab import claims, models, monitors, records
from thinned.lab.checkpoint import BEST, Checkpoints, read, unpacked
from thinned.lab.config import Config
from thinned.lab.distributed import Job, PeerError
from thinned.lab.examples import SPLIT_SEED, Examples, order
from thinned.lab.network import ACTIVATIONS
from thinned.lab.records import Record
from thinned.lab.sources import Parts, augmentation
from thinned.lab.train import Measured, Trainer, load_weights, measure

LOOKS = 100  # steps between two looks at whether the loss is a number


class DivergedError(ThinnedError, RuntimeError):
    """The loss is no number any more."""


class InterruptedRunError(ThinnedError, RuntimeError):
    """The run was stopped, and can go on."""


class Display(Protocol):
    """What is told how a run goes."""

    def begin(self, config: Config, parts: Parts, epoch: int) -> None:
        """Tell that training begins after a number of epochs that are done."""

    def step(self, step: int, steps: int) -> None:
        """Tell that a step of an epoch is done."""

    def epoch(self, record: Record) -> None:
        """Tell that an epoch is done."""

    def say(self, text: str) -> None:
        """Tell anything else."""


class Silent:
    """A display that shows nothing."""

    def begin(self, config: Config, parts: Parts, epoch: int) -> None:
        """Show nothing."""

    def step(self, step: int, steps: int) -> None:
        """Show nothing."""

    def epoch(self, record: Record) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a run found, as ``summary.json`` has it.

    Attributes:
        folder: where settings, records, checkpoints and summary are.
        epochs: how many were trained.
        stopped_early: whether that are fewer than asked for, because validation did not get better.
        best_epoch: whose weights were tested: the best on validation, or the last where there is none.
        validation_loss: of these weights; None without validation.
        validation_error: of these weights; None without validation.
        test_loss: of these weights.
        test_error: of these weights; of numbers in the data's own unit, as the validation error.
        seconds: of training in all, without measuring and writing.
    """

    folder: str
    epochs: int
    stopped_early: bool
    best_epoch: int
    validation_loss: float | None
    validation_error: float | None
    test_loss: float
    test_error: float
    seconds: float


@dataclass
class Progress:
    """What a run knows besides its network.

    Attributes:
        best_epoch: the best so far; 0 before there is one.
        best_value: what was watched, of this epoch; infinite without validation.
        validation_loss: of this epoch.
        validation_error: of this epoch.
        seconds: of training so far.
    """

    best_epoch: int = 0
    best_value: float = math.inf
    validation_loss: float | None = None
    validation_error: float | None = None
    seconds: float = 0.0

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Progress":
        """Read what a checkpoint holds.

        Args:
            told: numbers by their names.

        Returns:
            The same.

        Raises:
            TypeError: it is something else.
        """
        if not all(value is None or type(value) in (int, float) for value in told.values()):
            raise TypeError("progress")
        return cls(**told)

    def add(self, record: Record, watch: str) -> bool:
        """Take note of an epoch.

        Args:
            record: of the epoch.
            watch: a word in `thinned.lab.recipe.WATCHED`.

        Returns:
            Whether it is the best so far.
        """
        self.seconds += record.seconds
        value = record.validation_loss if watch == "loss" else record.validation_error
        better = value is None or value < self.best_value
        if better:
            self.best_epoch = record.epoch
            self.best_value = math.inf if value is None else value
            self.validation_loss, self.validation_error = record.validation_loss, record.validation_error
        return better


class Journaled:
    """What the one process that writes has open: records, checkpoints and scalars.

    Args:
        config: of the run.
        folder: of the run.
        stack: closes them.
    """

    def __init__(self, config: Config, folder: Path, stack: ExitStack) -> None:
        self._folder, self._config, self._stack = folder, config, stack
        self.records = stack.enter_context(records.Journal(folder / "records.jsonl", new=False))
        self.checkpoints = Checkpoints(folder / "checkpoints", config.run.keep)  # once nobody else writes there
        self._scalars: Any = None

    def begin(self, epoch: int) -> None:
        """Go on after an epoch: forget what came after it."""
        self.records.cut(epoch)
        if self._config.run.tensorboard:
            require("tensorboard", "lab")
            writer = require("torch.utils.tensorboard", "lab").SummaryWriter
            self._scalars = writer(str(self._folder / "tensorboard"), purge_step=epoch + 1)
            self._stack.callback(self._scalars.close)

    def add(self, record: Record) -> None:
        """Write down an epoch."""
        self.records.add(record)
        if self._scalars is not None:
            for name, value in asdict(record).items():
                if name not in ("seed", "epoch") and isinstance(value, int | float) and not math.isnan(value):
                    self._scalars.add_scalar(name, value, record.epoch)
            for name, layers in (record.monitors or {}).items():
                pairs = layers.items() if isinstance(layers, dict) else enumerate(layers, 1)
                for part, value in pairs:
                    self._scalars.add_scalar(f"{name}/{part}", value, record.epoch)


class Loop:
    """Trains, measures and writes, epoch by epoch."""

    def __init__(
        self, config: Config, parts: Parts, folder: Path, job: Job, display: Display, journal: Journaled | None
    ) -> None:
        self._config, self._parts, self._folder, self._job, self._display = config, parts, folder, job, display
        self._journal = journal
        self._trainer = Trainer(
            lambda: models.build(config.model, config.dropout, parts.shape),
            config.training,
            config.run.seed,
            optim if config.dropout.batchwise else torch.optim,
            penalties=config.penalties,
            job=job,
            precision=config.run.precision,
            augment=augmentation(parts, config.data.flip, config.data.shift, config.run.seed),
        )
        self._progress = Progress()
        self._train, self._validation = parts.train.to(job.device), parts.validation.to(job.device)
        # As many training examples as there are to validate on, so that the gap compares like with like.
        some = order(SPLIT_SEED, 0, len(self._train), "fit")[: max(len(self._validation), monitors.PROBED)]
        self._fit = parts.judged(self._train.pick(some.to(job.device)))
        self._steps = -(-len(self._train) // config.training.batch_size)
        self.stop = False

    def restore(self, state: dict[str, Any] | None) -> Outcome | None:
        """Go to the last checkpoint, if there is one; return what was found if the run is done."""
        if state is not None:
            with claims.whole(self._folder / "checkpoints"):
                self._trainer.load(state["trainer"])
                self._progress = Progress.read(state["progress"])
        done = self._folder / "summary.json"
        told = self._job.share(claims.small(done) if self._journal and done.exists() else b"")
        if told:
            with claims.whole(done):
                found = Outcome(**json.loads(told))
            self._display.say("This run is done.")
            return found
        if self._journal:
            self._journal.begin(self._trainer.epochs_done)
        self._display.begin(self._config, self._parts, self._trainer.epochs_done)
        return None

    def run(self) -> Outcome:
        """Train to the end, and test."""
        self.train()
        return self._end()

    def train(self) -> None:
        """Train to the end."""
        while self._trainer.epochs_done < self._config.training.epochs and not self._tired():
            self._epoch()
            if self.stop:
                raise InterruptedRunError(f"Stopped after epoch {self._trainer.epochs_done}.")

    def _tired(self) -> bool:
        patience = self._config.penalties.patience
        return bool(patience and len(self._validation)) and (
            self._trainer.epochs_done - self._progress.best_epoch >= patience
        )

    def _epoch(self) -> None:
        trainer, lr = self._trainer, self._trainer.lr()
        loss, seconds = trainer.epoch(self._train, self._after_step)
        fit = self._measured(self._fit)
        number = math.isfinite(loss) or trainer.skipped == self._steps
        if not (number and math.isfinite(fit.loss) and trainer.finite()):
            raise self._diverged(trainer.epochs_done, seconds)
        validation = self._measured(self._validation) if len(self._validation) else None
        every = self._config.run.monitors
        seen = None
        if self._journal and every and trainer.epochs_done % every == 0:
            kinds = [type(ACTIVATIONS[self._config.model.activation]())]
            seen = asdict(monitors.look(trainer.model, kinds, self._validation if validation else self._fit))
        record = self._record(
            trainer.epochs_done,
            seconds,
            train_loss=loss,
            step=trainer.epochs_done * self._steps,
            lr=lr,
            fit_loss=fit.loss,
            fit_error=fit.error,
            validation_loss=validation.loss if validation else None,
            validation_error=validation.error if validation else None,
            gap=validation.loss - fit.loss if validation else None,
            monitors=seen,
        )
        best = self._progress.add(record, self._config.penalties.watch)
        if self._journal:
            self._journal.add(record)
        self._save(best)
        self._display.epoch(record)

    def _after_step(self) -> None:
        step, every = self._trainer.steps_done, self._config.run.checkpoint_steps
        save = self.stop or (every and step % every == 0)
        if (save or step % LOOKS == 0) and not self._trainer.finite():
            raise self._diverged(self._trainer.epochs_done + 1, self._trainer.seconds)
        if save:
            self._save()
        if self.stop:
            raise InterruptedRunError(f"Stopped in epoch {self._trainer.epochs_done + 1}, after step {step}.")
        self._display.step(step, self._steps)

    def _save(self, best: bool = False) -> None:
        state = self._trainer.state()  # in each process
        if self._journal:
            whole = {
                "trainer": state,
                "progress": asdict(self._progress),
                "config": self._config.tables(),
                "shape": {**asdict(self._parts.shape), "inputs": list(self._parts.shape.inputs)},
                "meaning": self._parts.meaning.plain(),
            }
            step = self._trainer.epochs_done * self._steps + self._trainer.steps_done
            self._journal.checkpoints.save(whole, step, best)

    def _end(self) -> Outcome:
        """Test the best weights, once."""
        path = self._folder / "checkpoints" / BEST
        with claims.whole(path):
            data = self._job.share(read(self._journal.checkpoints.best) if self._journal else b"")
            weights = unpacked(data, path)["trainer"]["model"]
            claims.check_weights(self._trainer.model, weights, len(data), path)
        load_weights(self._trainer.model, weights)
        test = self._measured(self._parts.test.to(self._job.device))
        progress, epochs = self._progress, self._trainer.epochs_done
        found = Outcome(
            folder=str(self._folder),
            epochs=epochs,
            stopped_early=epochs < self._config.training.epochs,
            best_epoch=progress.best_epoch,
            validation_loss=progress.validation_loss,
            validation_error=progress.validation_error,
            test_loss=test.loss,
            test_error=test.error,
            seconds=progress.seconds,
        )
        if self._journal:
            records.write_json(self._folder / "summary.json", asdict(found))
        return found

    def _measured(self, examples: Examples) -> Measured:
        """Measure the network on examples; its error in the data's own unit."""
        found = measure(self._trainer.model, examples, self._job)
        return replace(found, error=found.error * self._parts.meaning.unit)

    def _record(self, epoch: int, seconds: float, **measured: Any) -> Record:
        kind = self._config.dropout.kind
        return Record(
            method=kind if isinstance(kind, str) else ",".join(kind),
            seed=self._config.run.seed,
            epoch=epoch,
            test_error=math.nan,
            seconds=seconds,
            skipped_steps=self._trainer.skipped,
            **measured,
        )

    def _diverged(self, epoch: int, seconds: float) -> DivergedError:
        """Write down in which epoch it was."""
        record = self._record(epoch, seconds, train_loss=math.nan, diverged=True)
        if self._journal:
            self._journal.add(record)
        return DivergedError(f"{divergence(record)} Checkpoints from before are kept in {self._folder}.")


def divergence(record: Record) -> str:
    """Say that a run diverged, and what to do.

    Args:
        record: of the epoch in which it did.

    Returns:
        Two sentences.

    Examples:
        >>> divergence(Record("standard", 0, 3, math.nan, math.nan, 1.5, diverged=True)).partition(". ")[0]
        'The loss is no number any more in epoch 3'
    """
    half = ", or with precision bfloat16, which has larger numbers" if record.skipped_steps else ""
    return (
        f"The loss is no number any more in epoch {record.epoch}. Start a new run with a lower learning rate, with "
        f"clip_norm, or with a max_norm{half}; to go on would end the same way."
    )


@contextmanager
def stoppable(loop: Loop, job: Job) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run after the step at hand, and the second at once.

    Processes of a job do not agree on a step when a signal comes: they end at once, and go on from their checkpoint.

    Args:
        loop: the run.
        job: its processes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return

    def stop(number: int, _: FrameType | None) -> None:
        if loop.stop or job.size > 1:
            if number == signal.SIGTERM and job.size > 1:
                raise PeerError("This process of the job was told to end.")
            raise KeyboardInterrupt
        loop.stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
