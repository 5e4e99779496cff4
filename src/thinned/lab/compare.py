"""Train the same network under several methods of dropout, side by side, and say which is better and which faster.

The methods are paired: for one seed they start from the same weights and see the same batches. They take turns epoch by
epoch, and who goes first rotates, so that whatever else the machine does slows all of them alike.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from os import PathLike
from pathlib import Path

import torch

from thinned import _check, optim
from thinned._errors import RangeError
from thinned._optional import require
from thinned.data import Dataset
from thinned.lab import costs, machine, methods, records, report, tables
from thinned.lab.costs import Cost
from thinned.lab.dropouts import UNITS
from thinned.lab.examples import Examples, check_classes
from thinned.lab.models import WIDEST
from thinned.lab.recipe import OPTIMIZERS, Recipe
from thinned.lab.records import Record
from thinned.lab.summary import Summary, summarise
from thinned.lab.train import Trainer, measure

WARM_UP = 3  # steps before the clock runs


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        methods: as `methods.method` takes them.
        hidden: widths of the hidden layers.
        p: drop probability of hidden units, for methods without a rate of their own.
        input_p: drop probability of input features.
        seeds: one network is trained for each method and seed.
        recipe: how they are trained.
        groups: masks of a batch, of batchwise alone: from 1, the fastest, to one for each example.
        units: what batchwise keeps: ``"random"`` units or a ``"slice"`` of neighbours.
        threads: threads of torch while the comparison runs; None for as many as the network is worth, and no more than
            torch has now.
        baseline: the method that the others are compared with; None for torch's dropout, or the first without it.
        target_error: test error, as a share, whose time is looked for; None for none.

    Raises:
        RangeError, KindError: a setting that cannot be run.

    Examples:
        >>> Settings(methods=("none", "torch"), p=1.5)
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `p` must be in [0, 1], but got p=1.5.
    """

    methods: tuple[str, ...] = methods.DEFAULT
    hidden: tuple[int, ...] = (1024, 1024)
    p: float = 0.5
    input_p: float = 0.2
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: Recipe = field(default_factory=Recipe)
    groups: int = 1
    units: str = "random"
    threads: int | None = None
    baseline: str | None = None
    target_error: float | None = None

    def __post_init__(self) -> None:
        for name, values in {"methods": self.methods, "seeds": self.seeds}.items():
            if not values or len(set(values)) < len(values):
                raise RangeError(f"`{name}` must be at least one, none twice, but got {name}={_commas(values)!r}.")
        for width in self.hidden:
            if _check.positive(width, "hidden") > WIDEST:
                raise RangeError(f"`hidden` must be at most {WIDEST} units a layer, but got hidden={width}.")
        _check.probability(self.p)
        _check.probability(self.input_p, "input_p")
        for seed in self.seeds:
            _check.word64(seed, "seeds")
        if _check.positive(self.groups, "groups") > self.recipe.batch_size:
            raise RangeError(
                f"`groups` must be at most {self.recipe.batch_size}, the size of a batch, but got groups={self.groups}."
            )
        if self.units not in UNITS:
            raise RangeError(f"`units` must be one of {', '.join(UNITS)}, but got units={self.units!r}.")
        with torch.device("meta"):  # no memory and no random number, only what cannot be built is refused
            for name in self.methods:
                methods.network(name, 1, (1,), 2, p=self.p, input_p=self.input_p)
        if self.baseline is not None and self.baseline not in self.methods:
            raise RangeError(
                f"`baseline` must be among the methods {', '.join(self.methods)}, but got baseline={self.baseline!r}."
            )
        if self.target_error is not None:
            _check.probability(self.target_error, "target_error")
        processors = os.cpu_count() or 1
        if self.threads is not None and _check.positive(self.threads, "threads") > processors:
            raise RangeError(
                f"`threads` must be at most {processors}, the number of processors, but got threads={self.threads}."
            )


def run(
    settings: Settings,
    data: Dataset,
    root: str | PathLike[str] = "runs",
    name: str | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> Summary:
    """Compare the methods, and leave settings, records, summary and report in a new folder.

    Ctrl-C ends the training early; what was done is summed up all the same.

    Args:
        settings: what to compare.
        data: what to train and test on.
        root: folder of all runs.
        name: name of the new folder in it; made of the time by default.
        on_record: called after each epoch of each network.

    Returns:
        What was found.

    Raises:
        RangeError: the data have no classes or one alone, the networks do not fit in memory, or the name is taken.
        MissingExtraError: the report cannot be drawn.

    Examples:
        >>> import tempfile
        >>> from thinned.data import load
        >>> settings = Settings(methods=("none",), hidden=(8,), seeds=(0,), recipe=Recipe(epochs=1))
        >>> with tempfile.TemporaryDirectory() as root:
        ...     summary = run(settings, load("digits"), root)
        ...     print(*sorted(path.name for path in Path(summary.folder).iterdir()))
        config.json records.jsonl report.html summary.json
        >>> summary.epoch, summary.seeds
        (1, (0,))
    """
    if data.task != "classification":
        raise RangeError(f"`data` must have classes to be compared, but {data.name} is for {data.task}.")
    check_classes(data)
    require("matplotlib.figure", "lab")  # better missed now than after the training
    train, test = Examples.of(data.train), Examples.of(data.test)
    weights = _weights(train.inputs.shape[1], settings.hidden, data.classes)
    _check_memory(settings, weights)
    threads = settings.threads or machine.threads_for(weights, min(settings.recipe.batch_size, len(train)))
    features = train.inputs.shape[1]
    trainers = {name: _trainer(settings, name, features, data.classes, len(train)) for name in settings.methods}
    folder = records.create(Path(root), name, "compare")
    done: list[Record] = []
    measured: dict[str, Cost] = {}
    interrupted = False
    with machine.threads(threads), records.Journal(folder / "records.jsonl") as journal:
        config = {
            "command": "compare",
            "data": {
                "name": data.name,
                "train": len(train.targets),
                "test": len(test.targets),
                "standardised": data.input_scaling is not None,
                "note": data.note,
            },
            "settings": asdict(settings),
            "environment": records.environment(),
        }
        records.write_json(folder / "config.json", config)
        try:
            _warm_up(trainers, settings.recipe, train, measured)
            for seed in settings.seeds:
                for record in _one_seed(trainers, settings.recipe, seed, train, test):
                    journal.add(record)
                    done.append(record)
                    if on_record is not None:
                        on_record(record)
        except KeyboardInterrupt:
            interrupted = True
    summary = summarise(
        settings.methods,
        settings.seeds,
        done,
        costs=measured,
        folder=folder,
        interrupted=interrupted,
        baseline=settings.baseline,
        target_error=settings.target_error,
    )
    records.write_json(folder / "summary.json", asdict(summary))
    records.write_text(
        folder / "report.html", report.comparison(config, summary, done, f"Comparison of dropout: {folder.name}")
    )
    return summary


def _weights(inputs: int, hidden: Sequence[int], classes: int) -> int:
    return sum((width_in + 1) * width_out for width_in, width_out in pairwise([inputs, *hidden, classes]))


def _check_memory(settings: Settings, weights: int) -> None:
    """Refuse networks that the machine cannot hold, before the system ends the process for it."""
    states = 2 if OPTIMIZERS[settings.recipe.optimizer].adaptive else 1
    needed = 4 * (2 + states) * weights * len(settings.methods)  # float32; each weight has a gradient
    there = machine.memory()
    if needed > there:
        raise RangeError(
            f"`hidden` must give networks that fit in memory, but hidden={_commas(settings.hidden)} takes "
            f"{tables.size(needed)} for {len(settings.methods)} methods, and the machine has {tables.size(there)}."
        )


def _trainer(settings: Settings, name: str, inputs: int, classes: int, examples: int) -> Callable[[int], Trainer]:
    """Return what makes a method's trainer from a seed."""
    build = partial(
        methods.network,
        name,
        inputs,
        settings.hidden,
        classes,
        p=settings.p,
        input_p=settings.input_p,
        groups=settings.groups,
        units=settings.units,
        examples=examples,
    )
    library = optim if methods.method(name).batchwise else torch.optim
    return lambda seed: Trainer(build, settings.recipe, seed, library)


def _warm_up(
    makers: dict[str, Callable[[int], Trainer]], recipe: Recipe, train: Examples, measured: dict[str, Cost]
) -> None:
    """Train networks that are thrown away, so that no method pays for the first use of torch, and measure them."""
    models = {}
    for name, make in makers.items():
        trainer = make(0)
        trainer.epoch(train.head(WARM_UP * recipe.batch_size))
        batch, models[name] = train.head(recipe.batch_size), trainer.model
        measured[name] = Cost(
            costs.bytes_kept(trainer.model, batch),
            costs.flops(trainer.model, batch),
            peak_bytes=costs.peak_bytes(partial(_few_steps, make, train.head(2 * recipe.batch_size))),
        )
    for name, latency in costs.latencies(models, train.head(1)).items():
        measured[name] = replace(measured[name], latency=latency)


def _few_steps(make: Callable[[int], Trainer], examples: Examples) -> None:
    """Make a network and train it, its optimizer's state included from the second step on."""
    make(0).epoch(examples)


def _one_seed(
    makers: dict[str, Callable[[int], Trainer]], recipe: Recipe, seed: int, train: Examples, test: Examples
) -> Iterator[Record]:
    trainers = {name: make(seed) for name, make in makers.items()}
    names = list(trainers)
    for epoch in range(recipe.epochs):
        first = epoch % len(names)
        for name in names[first:] + names[:first]:
            loss, seconds = trainers[name].epoch(train)
            tested = measure(trainers[name].model, test)
            if not math.isfinite(tested.loss):
                loss = math.nan  # it diverged in the last step, after that step's own loss
            yield Record(name, seed, epoch + 1, loss, tested.error, seconds)


def _commas(values: Sequence[object]) -> str:
    return ",".join(map(str, values))
