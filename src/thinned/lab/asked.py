"""What a network is asked about: a part of data, or all examples of a file."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from thinned._errors import DataError, RangeError
from thinned.data import Dataset, Layout, Whole, standardise
from thinned.lab import examples, sources
from thinned.lab.config import Config, DataSettings
from thinned.lab.examples import Examples, Inputs, Shape
from thinned.lab.meaning import Meaning
from thinned.lab.run import Restored
from thinned.lab.sources import Parts

PARTS = ("test", "validation", "train")
ALL = "all"


@dataclass(frozen=True, eq=False)
class Asked:
    """Examples as a network takes them.

    Attributes:
        name: of the data.
        part: which part of them, or ``"all"``.
        inputs: of the examples.
        targets: as in `thinned.lab.examples.Examples`; None where there are none.
        rows: int64 numbers of the examples within the file that they are a part of; None where they are no part of one.
        meaning: what inputs and outputs stand for.
    """

    name: str
    part: str
    inputs: Inputs
    targets: Tensor | None
    rows: Tensor | None
    meaning: Meaning


def ask(file: Path, network: Restored, data: Dataset | Whole | DataSettings | None, part: str | None) -> Asked:
    """Return what a network is asked about.

    Args:
        file: the checkpoint, for messages.
        network: what it holds.
        data: data, or settings that name some; None for those that the network was trained on.
        part: ``"test"``, ``"validation"``, ``"train"`` or ``"all"``; None for all examples of a file, and the test part
            of what comes in parts.

    Returns:
        The examples, standardised and cropped as those of the training were.

    Raises:
        DataError: the data cannot be read.
        RangeError, KindError: the network is for other data, or there is no such part.
    """
    if part is not None and part not in (*PARTS, ALL):
        raise RangeError(f"`part` must be one of {', '.join((*PARTS, ALL))}, but got part={part!r}.")
    config, meaning = network.config, network.meaning
    if data is not None:
        _check_other(file, config, meaning)
    source = _read(config.data, data, network)
    if isinstance(source, Whole):
        source = source if meaning is None else meaning.fitted(source)
        if part in (None, ALL):
            return _all(source, network)
        source = source.parted()
    elif (source.task == "text") != network.shape.text:
        kind = "text" if source.task == "text" else "numbers"
        raise RangeError(f"`data` must be of the kind that the network was trained on, but {source.name} is {kind}.")
    elif meaning is not None:
        source = meaning.fitted(source)
    elif config.data.standardise:
        source = standardise(source)
    if part == ALL:
        raise RangeError(
            f"`part` must be one of {', '.join(PARTS)} for {source.name}, which comes in parts, but got part={part!r}."
        )
    aside = config.data.validation if data is None else 0.0
    parts = sources.parts(source, aside, config.model.kind, config.data.steps, config.data.crop)
    return _part(parts, part or "test", network.shape)


def _check_other(file: Path, config: Config, meaning: Meaning | None) -> None:
    """Refuse other data where nobody knows how the network takes them."""
    if config.model.kind in ("transformer", "lstm"):
        raise RangeError("`data` must be left out for a network that was trained on text, which numbers its words.")
    if config.data.standardise and meaning is None:
        raise DataError(
            f"{file} must hold mean and deviation of its training data, so that other data can be standardised by "
            "them, but it was written before these were kept; train the network again."
        )


def _read(own: DataSettings, data: Dataset | Whole | DataSettings | None, network: Restored) -> Dataset | Whole:
    if isinstance(data, DataSettings):
        return data.load_whole(_layout(own, network))
    if data is not None:
        return data
    try:
        return own.load()
    except DataError as error:
        raise DataError(f"{error} The network was trained on them; other data can be named with --data.") from error


def _layout(own: DataSettings, network: Restored) -> Layout:
    """Return what a file has to look like for a network."""
    meaning = network.meaning or Meaning("regression" if network.shape.outputs == 1 else "classification")
    return Layout(
        task=meaning.task,
        features=math.prod(network.shape.inputs),
        feature_names=meaning.feature_names,
        target=meaning.target_name or own.target,
        drop=own.drop,
    )


def _part(parts: Parts, part: str, shape: Shape) -> Asked:
    chosen: Examples = parts.judged(parts.train) if part == "train" else getattr(parts, part)
    _check_shape(parts.name, parts.shape, shape)
    if not len(chosen):
        raise RangeError(f"`part` must have examples, but {parts.name} has none in its part {part}.")
    return Asked(parts.name, part, chosen.inputs, chosen.targets, chosen.rows, parts.meaning)


def _all(source: Whole, network: Restored) -> Asked:
    kind, crop = network.config.model.kind, network.config.data.crop
    sources.check_sparse(source.name, source.inputs, kind)
    if kind != "sparse":
        source = source.dense()
    inputs = examples.tensors(source.inputs, flat=kind == "mlp")
    image = sources.sides(source.name, source.inputs, crop)
    if isinstance(inputs, Tensor):
        inputs = sources.middle(inputs, image, crop) if crop else inputs
        features = tuple(inputs.shape[1:])
    else:
        features = (source.inputs.features,)
    outputs = network.shape.outputs if source.targets is None else source.classes or 1
    _check_shape(source.name, Shape(features, outputs), network.shape)
    targets = None if source.targets is None else torch.tensor(source.targets)
    return Asked(source.name, ALL, inputs, targets, None, network.meaning or Meaning())


def _check_shape(name: str, ours: Shape, theirs: Shape) -> None:
    given, wanted = (
        f"{'text' if one.text else 'numbers'} of shape {one.inputs} with {one.outputs} outputs"
        for one in (ours, theirs)
    )
    if given != wanted:
        raise RangeError(f"`data` must be like those of the training, {wanted}, but {name} has {given}.")
