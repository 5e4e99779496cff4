"""Train the same network under several methods of dropout, side by side, and say which is better and which faster.

The methods are paired: for one seed they start from the same weights and see the same batches. They take turns epoch by
epoch, and who goes first rotates, so that whatever else the machine does slows all of them alike.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch

from thinned import _check, optim
from thinned._errors import DataError, KindError, RangeError
from thinned._optional import require
from thinned.data import Dataset
from thinned.lab import checkpoint, claims, costs, machine, models, reading, records, report, sources, tables
from thinned.lab.checkpoint import Checkpoints
from thinned.lab.comparison import Settings
from thinned.lab.costs import Cost
from thinned.lab.distributed import Job
from thinned.lab.dropouts import DropoutSettings
from thinned.lab.examples import Examples
from thinned.lab.recipe import OPTIMIZERS
from thinned.lab.records import Record
from thinned.lab.run import prepared, storage
from thinned.lab.sources import Parts
from thinned.lab.summary import Summary, summarise
from thinned.lab.train import Trainer, measure

WARM_UP = 3  # steps before the clock runs
BETWEEN_CHECKPOINTS = 10.0  # seconds: so much work, and a round of epochs, is lost at most


class Display(Protocol):
    """What is told how a comparison goes."""

    def begin(self, settings: Settings, parts: Parts, rounds: int) -> None:
        """Tell that it begins after a number of epochs of each method that are done."""

    def epoch(self, record: Record) -> None:
        """Tell that an epoch of a network is done."""

    def say(self, text: str) -> None:
        """Tell anything else."""


class Silent:
    """A display that shows nothing."""

    def begin(self, settings: Settings, parts: Parts, rounds: int) -> None:
        """Show nothing."""

    def epoch(self, record: Record) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


def start(
    settings: Settings,
    root: str | PathLike[str] = "runs",
    name: str | None = None,
    *,
    data: Dataset | None = None,
    display: Display | None = None,
) -> Summary:
    """Compare the methods, and leave settings, records, summary and report in a new folder.

    Ctrl-C ends the training early; what was done is summed up all the same. Whatever ends it, `resume` goes on.

    Args:
        settings: what to compare.
        root: folder of all runs.
        name: name of the new folder in it; made of the time by default.
        data: what to train and test on; what `settings.config.data` names by default.
        display: what is told how it goes.

    Returns:
        What was found.

    Raises:
        RangeError, KindError, DataError: settings or data that cannot be used, networks that do not fit in memory, or
            the name is taken.
        MissingExtraError: the report cannot be drawn.
        StorageError: nothing more can be written.

    Examples:
        >>> import tempfile
        >>> settings = Settings.of(
        ...     {"model": {"hidden": [8]}, "training": {"epochs": 1}, "compare": {"methods": ["none"], "seeds": 1}}
        ... )
        >>> with tempfile.TemporaryDirectory() as root:
        ...     summary = start(settings, root)
        ...     print(*sorted(path.name for path in Path(summary.folder).iterdir()))
        config.json config.toml records.jsonl report.html summary.json
        >>> summary.epoch, summary.seeds
        (1, (0,))
    """
    display = display or Silent()
    config = settings.config
    source = data or config.data.load(display.say)
    if data is None:
        config = replace(config, data=config.data.absolute())  # only now: a misspelt name is told as it was given
    parts = prepared(config, source)
    weights = _weights(settings, parts)
    threads = config.run.threads or machine.threads_for(weights, min(config.training.batch_size, len(parts.train)))
    settings = replace(settings, config=replace(config, run=replace(config.run, threads=threads)))
    folder = records.create(Path(root), name, "compare")
    described = {
        "command": "compare",
        "data": parts.described(),
        "settings": settings.tables(),
        "environment": {**records.environment(), "threads": threads},
    }
    with storage(folder, ""):
        records.write_text(folder / "config.toml", settings.toml())
        records.write_json(folder / "config.json", described)
    return _Comparison(settings, parts, folder, described, display).run()


def resume(folder: str | PathLike[str], *, data: Dataset | None = None, display: Display | None = None) -> Summary:
    """Go on with a comparison, with the settings that it was started with.

    Errors and losses are those that it would have had without the interrupt, bit for bit.

    Args:
        folder: of the comparison.
        data: as for `start`.
        display: what is told how it goes.

    Returns:
        What was found; of a comparison that is done, what `start` returned.

    Raises:
        DataError: there is no comparison in the folder, it is damaged, or the data are others now.
        RangeError, MissingExtraError, StorageError: as for `start`.
    """
    display = display or Silent()
    run = reading.read(folder)
    if run.summary is None:
        raise DataError(f"{folder} must be the folder of a comparison to go on with it, but it is of `{run.command}`.")
    if not run.summary.interrupted and (run.folder / "report.html").exists():
        display.say("This comparison is done.")
        return run.summary
    settings = Settings.of(json.loads(claims.small(run.folder / "config.json"))["settings"])
    parts = prepared(settings.config, data or settings.config.data.load(display.say))
    if parts.described()["fingerprint"] != run.config["data"]["fingerprint"]:
        raise DataError(f"The data {parts.name} must be those that {folder} began with, but they changed.")
    _weights(settings, parts)
    return _Comparison(settings, parts, run.folder, run.config, display, run.records).run()


def _weights(settings: Settings, parts: Parts) -> int:
    """Return how many weights the largest network has; what cannot be built, or held, is told before anything is."""
    require("matplotlib.figure", "lab")  # better missed now than after the training
    if settings.target_error is not None and not parts.numbers:
        _check.probability(settings.target_error, "target_error")
    states = 2 if OPTIMIZERS[settings.config.training.optimizer].adaptive else 1
    largest, needed = 0, 0
    models.skeleton(settings.config.model, DropoutSettings("none"), parts.shape)  # what no method is to blame for
    for name in settings.methods:
        try:
            network = models.skeleton(settings.config.model, settings.dropout(name), parts.shape)
        except (RangeError, KindError) as error:
            raise type(error)(f"The method {name} must fit the network, but: {error}") from error
        weights = list(network.parameters())
        largest = max(largest, sum(weight.numel() for weight in weights))
        needed += (2 + states) * sum(weight.nbytes for weight in weights)  # each has a gradient
    there = machine.memory()
    if needed > there:
        raise RangeError(
            f"`hidden` must give networks that fit in memory, but {len(settings.methods)} of them take "
            f"{tables.size(needed)} with gradients and the state of the optimizer, and the machine has "
            f"{tables.size(there)}."
        )
    return largest


class _Comparison:
    """Networks in training, and what they leave in a folder.

    Args:
        settings: what is compared.
        parts: of the data.
        folder: of the comparison.
        described: what its config.json holds.
        display: what is told how it goes.
        before: records of an earlier process.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        folder: Path,
        described: dict[str, Any],
        display: Display,
        before: tuple[Record, ...] = (),
    ) -> None:
        self._settings, self._parts, self._folder, self._display = settings, parts, folder, display
        self._described = described
        self._job = Job().on(settings.config.run.device)
        self._train, self._test = parts.train.to(self._job.device), parts.test.to(self._job.device)
        self._unit = parts.meaning.unit
        self._done = list(before)
        self._costs: dict[str, Cost] = {}

    def run(self) -> Summary:
        """Train what is missing, and sum up."""
        settings, folder = self._settings, self._folder
        assert settings.config.run.threads is not None
        interrupted = False
        how = f"Go on with: thinned compare --resume {folder}"
        with storage(folder, how):
            path = folder / "records.jsonl"
            with machine.threads(settings.config.run.threads), records.Journal(path, new=False) as journal:
                try:
                    self._train_all(journal, Checkpoints(folder / "checkpoints", keep=1))
                except KeyboardInterrupt:
                    interrupted = True
            summary = summarise(
                settings,
                self._done,
                costs=self._costs,
                folder=folder,
                interrupted=interrupted,
                numbers=self._parts.numbers,
            )
            records.write_json(folder / "summary.json", asdict(summary))
            title = f"Comparison of dropout: {folder.name}"
            records.write_text(folder / "report.html", report.comparison(self._described, summary, self._done, title))
            if not interrupted:
                Checkpoints(folder / "checkpoints", keep=1).clear()
        if interrupted:
            self._display.say(how)
        return summary

    def _train_all(self, journal: records.Journal, checkpoints: Checkpoints) -> None:
        """Train with one seed after another, from the last checkpoint on, or from the last seed that is done."""
        settings = self._settings
        epochs, width = settings.config.training.epochs, len(settings.methods)
        state = self._last(checkpoints)
        rounds = len(self._done) // width // epochs * epochs
        if state is not None and state["rounds"] > rounds:
            rounds = state["rounds"]
        else:
            state = None
        del self._done[rounds * width :]
        journal.cut(len(self._done))
        self._display.begin(settings, self._parts, rounds)
        self._warm_up()
        written = time.monotonic()
        for seed in settings.each_seed[rounds // epochs :]:
            trainers = {name: self._trainer(name, seed) for name in settings.methods}
            if state is not None:
                self._load(trainers, state)
                state = None
            for epoch in range(rounds % epochs, epochs):
                for record in self._round(trainers, seed, epoch):
                    journal.add(record)
                    self._done.append(record)
                    self._display.epoch(record)
                rounds += 1
                if time.monotonic() - written > BETWEEN_CHECKPOINTS and epoch + 1 < epochs:
                    self._save(trainers, rounds, checkpoints)
                    written = time.monotonic()

    def _round(self, trainers: dict[str, Trainer], seed: int, epoch: int) -> Iterator[Record]:
        """Train each network for an epoch."""
        names = list(trainers)
        first = epoch % len(names)
        for name in names[first:] + names[:first]:
            loss, seconds = trainers[name].epoch(self._train)
            tested = measure(trainers[name].model, self._test, self._job)
            if not math.isfinite(tested.loss):
                loss = math.nan  # it diverged in the last step, after that step's own loss
            yield Record(name, seed, epoch + 1, loss, self._unit * tested.error, seconds)

    def _trainer(self, name: str, seed: int) -> Trainer:
        config, parts = self._settings.of_method(name), self._parts
        return Trainer(
            lambda: models.build(config.model, config.dropout, parts.shape),
            config.training,
            seed,
            optim if config.dropout.batchwise else torch.optim,
            penalties=config.penalties,
            job=self._job,
            precision=config.run.precision,
            augment=sources.augmentation(parts, config.data.flip, config.data.shift, seed),
        )

    def _warm_up(self) -> None:
        """Train networks that are thrown away, so that no method pays for the first use of torch, and measure them."""
        size = self._settings.config.training.batch_size
        few, batch = self._train.head(WARM_UP * size), self._parts.judged(self._train.head(size))
        trained = {}
        for name in self._settings.methods:
            trainer = self._trainer(name, 0)
            trainer.epoch(few)
            trained[name] = trainer.model
            self._costs[name] = Cost(
                costs.bytes_kept(trainer.model, batch),
                costs.flops(trainer.model, batch),
                peak_bytes=costs.peak_bytes(
                    partial(self._few_steps, name, self._train.head(2 * size)), self._job.device
                ),
            )
        for name, latency in costs.latencies(trained, batch.head(1)).items():
            self._costs[name] = replace(self._costs[name], latency=latency)

    def _few_steps(self, name: str, few: Examples) -> None:
        """Make a network and train it, its optimizer's state included from the second step on."""
        self._trainer(name, 0).epoch(few)

    def _save(self, trainers: dict[str, Trainer], rounds: int, checkpoints: Checkpoints) -> None:
        states = {name: trainer.state() for name, trainer in trainers.items()}
        checkpoints.save({"rounds": rounds, "settings": self._settings.tables(), "trainers": states}, rounds)

    def _last(self, checkpoints: Checkpoints) -> dict[str, Any] | None:
        """Return the last checkpoint, if there is one of these settings."""
        data = checkpoints.latest(self._display.say)
        if not data:
            return None
        path = self._folder / "checkpoints"
        state = checkpoint.unpacked(data, path)
        with claims.whole(path):
            claims.check_settings(state["settings"], self._settings.tables(), self._folder / "config.json")
            (rounds,) = _check.sizes((state["rounds"],), "rounds")
            if rounds * len(self._settings.methods) > len(self._done):
                raise ValueError("fewer records than rounds")
            for name in self._settings.methods:
                skeleton = models.skeleton(self._settings.config.model, self._settings.dropout(name), self._parts.shape)
                claims.check_shapes(skeleton, state["trainers"][name]["model"], len(data), path)
        return state

    def _load(self, trainers: dict[str, Trainer], state: dict[str, Any]) -> None:
        with claims.whole(self._folder / "checkpoints"):
            for name, trainer in trainers.items():
                trainer.load(state["trainers"][name])
