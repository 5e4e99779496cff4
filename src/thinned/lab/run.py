"""One run of training: from settings to a folder with records, checkpoints and a summary; and on after an interrupt."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from thinned._errors import DataError, RangeError, ThinnedError
from thinned.data import Dataset, standardise
from thinned.lab import checkpoint, claims, examples, machine, models, precision, records, sources
from thinned.lab.config import Config
from thinned.lab.distributed import Job, PeerError, peers
from thinned.lab.examples import Shape
from thinned.lab.loop import Display, InterruptedRunError, Journaled, Loop, Outcome, Silent, stoppable
from thinned.lab.meaning import Meaning
from thinned.lab.sources import Parts
from thinned.lab.train import load_weights


class StorageError(ThinnedError, RuntimeError):
    """Nothing more can be written."""


def start(
    config: Config,
    root: str | PathLike[str] = "runs",
    name: str | None = None,
    *,
    data: Dataset | None = None,
    job: Job | None = None,
    display: Display | None = None,
) -> Outcome:
    """Train a network, in a new folder.

    Ctrl-C and SIGTERM end it after the step at hand, with a checkpoint; whatever else ends it, `resume` goes on from
    the last checkpoint, and the weights in the end are the same, bit for bit.

    Args:
        config: all settings.
        root: folder of all runs.
        name: name of the new folder in it; made of the time by default.
        data: what to train on; what `config.data` names by default.
        job: the processes that share the work.
        display: what is told how it goes.

    Returns:
        What was found.

    Raises:
        RangeError, KindError, DataError: settings or data that cannot be used, or the name is taken.
        DivergedError: the loss is no number any more.
        InterruptedRunError: it was stopped.
        StorageError: nothing more can be written.

    Examples:
        >>> import tempfile
        >>> config = Config.of({"model": {"hidden": [8]}, "training": {"epochs": 1}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     found = start(config, root, "first")
        ...     print(*sorted(path.name for path in Path(root, "first").iterdir()))
        checkpoints config.json config.toml records.jsonl summary.json
        >>> found.epochs, found.best_epoch
        (1, 1)
    """
    job = (job or Job()).on(config.run.device)
    display = display or Silent()
    source = data or config.data.load(display.say)
    if data is None:
        config = replace(config, data=config.data.absolute())  # only now: a misspelt name is told as it was given
    parts = prepared(config, source)
    config = _with_threads(config, _weights(config, parts.shape))
    folder = Path()
    if job.writes:
        folder = records.create(Path(root), name, "train")
        with storage(folder, ""):
            records.write_text(folder / "config.toml", config.toml())
            records.write_json(folder / "config.json", _description(config, parts))
    return _train(config, parts, folder, job, display)


def resume(
    folder: str | PathLike[str], *, data: Dataset | None = None, job: Job | None = None, display: Display | None = None
) -> Outcome:
    """Go on with a run, with the settings that it was started with.

    Args:
        folder: of the run.
        data: as for `start`.
        job: the processes that share the work; another number of them may go on with a run.
        display: what is told how it goes.

    Returns:
        What was found; of a run that is done, what `start` returned.

    Raises:
        DataError: there is no run of `thinned train` in the folder, or the data are others now.
        RangeError, DivergedError, InterruptedRunError, StorageError: as for `start`.
    """
    job = job or Job()
    display = display or Silent()
    folder = Path(folder)
    described = json.loads(job.share(_described(folder) if job.writes else b""))
    config = Config.of(described["settings"])
    job = job.on(config.run.device)
    for path in config.data.paths if data is None else ():
        if not os.path.exists(path):
            raise DataError(
                f"The run in {folder} must have its data in {path} to go on, but there is none; put it back."
            )
    parts = prepared(config, data or config.data.load(display.say))
    if examples.fingerprint(parts.train) != described["data"]["fingerprint"]:
        raise DataError(f"The data {parts.name} must be those that the run in {folder} began with, but they changed.")
    _weights(config, parts.shape)
    return _train(config, parts, folder, job, display)


class Restored(NamedTuple):
    """What a checkpoint holds, but for what only training needs.

    Attributes:
        model: the network, in evaluation mode.
        config: what it was trained with.
        shape: of its data.
        meaning: of its inputs and outputs; None of a checkpoint that was written before this was kept.
    """

    model: nn.Module
    config: Config
    shape: Shape
    meaning: Meaning | None


def restored(path: str | PathLike[str]) -> Restored:
    """Build the network of a checkpoint, with its weights.

    Args:
        path: a checkpoint of `thinned train`, such as ``checkpoints/best.pt``.

    Returns:
        The network, and what has to be known of it.

    Raises:
        DataError: it is damaged, or something else, or claims a network that it does not hold.
    """
    path = Path(path)
    with claims.whole(path):
        data = checkpoint.read(path)
        state = checkpoint.unpacked(data, path)
        config, shape = claims.settings(state)
        meaning = Meaning.read(state["meaning"], shape.outputs) if "meaning" in state else None
        weights = state["trainer"]["model"]
        skeleton = models.skeleton(config.model, config.dropout, shape)
        claims.check_weights(skeleton, weights, len(data), path)
        with torch.random.fork_rng(devices=[]):
            model = models.build(config.model, config.dropout, shape)
        load_weights(model, weights)
    return Restored(model.eval(), config, shape, meaning)


def prepared(config: Config, source: Dataset) -> Parts:
    """Return what a run learns from, is chosen by, and is judged by.

    Args:
        config: of the run.
        source: the data.

    Returns:
        The parts, standardised if the settings say so.

    Raises:
        RangeError, KindError: as `thinned.lab.sources.check_classes`, `parts` and `augmentation`.
    """
    sources.check_classes(source)
    if config.data.standardise:
        source = standardise(source if config.model.kind == "sparse" else source.dense())
    device = Job().on(config.run.device).device
    if config.model.kind == "lstm" and not precision.computes_lstm(config.run.precision, device):
        raise RangeError(
            f"`precision` must be float32 or bfloat16 for an LSTM on {device}, where torch has none in float16, but "
            f"got precision={config.run.precision!r}."
        )
    made = sources.parts(source, config.data.validation, config.model.kind, config.data.steps, config.data.crop)
    sources.augmentation(made, config.data.flip, config.data.shift, config.run.seed)  # told before there is a folder
    return made


def _weights(config: Config, shape: Shape) -> int:
    """Return how many weights a network has; what does not go together, or is too large, is told before it is built."""
    parameters = models.skeleton(config.model, config.dropout, shape).parameters()
    counts, sizes = zip(*((part.numel(), part.nbytes) for part in parameters), strict=True)
    machine.check_memory(2 * sum(sizes), "The network and its gradients")
    return sum(counts)


def _with_threads(config: Config, weights: int) -> Config:
    """Settle the number of threads: sums, and with them the last bits of a run, depend on it."""
    if config.run.threads is not None:
        return config
    threads = machine.threads_for(weights, config.training.batch_size)
    return replace(config, run=replace(config.run, threads=threads))


def _description(config: Config, parts: Parts) -> dict[str, Any]:
    return {
        "command": "train",
        "data": parts.described(),
        "settings": config.tables(),
        "environment": {**records.environment(), "threads": config.run.threads},
    }


def _described(folder: Path) -> bytes:
    path = folder / "config.json"
    try:
        data = claims.small(path)
        told = json.loads(data)
        if told["command"] == "train" and isinstance(told["settings"], dict) and told["data"]["fingerprint"]:
            return data
    except OSError as error:
        raise DataError(f"{folder} must be the folder of a run, but its config.json: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(
        f"{folder} must be the folder of a run of `thinned train`, but its config.json is of something else."
    )


def _train(config: Config, parts: Parts, folder: Path, job: Job, display: Display) -> Outcome:
    assert config.run.threads is not None
    launcher = f"torchrun --nproc-per-node {job.size} -m " if job.size > 1 else ""
    how = f"Go on with: {launcher}thinned train --resume {folder}"
    with ExitStack() as stack:
        stack.enter_context(machine.threads(config.run.threads))
        stack.enter_context(_resumable(how))
        stack.enter_context(peers())
        stack.enter_context(storage(folder, how))
        journal = Journaled(config, folder, stack) if job.writes else None
        path = folder / "checkpoints"
        data = job.share(journal.checkpoints.latest(display.say) if journal else b"")
        state = checkpoint.unpacked(data, path) if data else None
        if state is not None:
            with claims.whole(path):
                claims.check_settings(state["config"], config.tables(), folder / "config.json")
                skeleton = models.skeleton(config.model, config.dropout, parts.shape)
                claims.check_weights(skeleton, state["trainer"]["model"], len(data), path)
        loop = Loop(config, parts, folder, job, display, journal)
        done = loop.restore(state)
        if done is not None:
            return done
        with stoppable(loop, job):
            return loop.run()


@contextmanager
def _resumable(how: str) -> Iterator[None]:
    """Say how to go on after whatever has stopped a run."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(f"Stopped at once. {how}") from None
    except (InterruptedRunError, PeerError) as error:
        raise type(error)(f"{error} {how}") from error


@contextmanager
def storage(folder: Path, how: str) -> Iterator[None]:
    """Say what to do where nothing more can be written, as on a disk that is full.

    Args:
        folder: that is written to.
        how: to go on, as a sentence.

    Raises:
        StorageError: nothing more can be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ThinnedError):
            raise
        raise StorageError(
            f"{folder} must be a folder that can be written to, but: {error.strerror or error}. What was written "
            f"before is whole. {how}".rstrip()
        ) from error
