"""What a checkpoint of `thinned train` predicts, how sure it is, and whether it is rightly so."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thinned
from thinned._errors import DataError, RangeError
from thinned._predict import Progress
from thinned.data import Dataset, Scaling, standardise
from thinned.lab import checkpoint, examples, records, run, uncertainty
from thinned.lab.config import Config, DataSettings
from thinned.lab.examples import Bags, Examples, Parts, Shape
from thinned.lab.meaning import Meaning
from thinned.lab.train import measure

PARTS = ("test", "validation", "train")
ROUNDING = 1e-10  # of a squared mean: passes that vary by no more are the same but for rounding in float32
DIGITS = ".8g"  # of a number in a table


@dataclass(frozen=True, eq=False)
class Predicted:
    """What many passes with dropout say of each example.

    A word of a text counts as an example.

    Attributes:
        about: what was predicted with what, and how well: what the JSON holds.
        targets: int64 classes or words, or float64 numbers in the data's own unit, shape (examples,).
        mean: mean of the passes, float64: probabilities, shape (examples, classes), or numbers, shape (examples,).
        variance: variance over the passes, of the same shape.
        entropy: of the mean probabilities in nats, shape (examples,); None for numbers.
        mutual_information: what of it the passes disagree about, in nats; None for numbers.
        class_names: what the classes are called, by their numbers; empty for numbers and where nothing says so.
    """

    about: dict[str, Any]
    targets: Tensor
    mean: Tensor
    variance: Tensor
    entropy: Tensor | None
    mutual_information: Tensor | None
    class_names: tuple[str, ...] = ()

    def rows(self) -> Iterator[list[str]]:
        """Return the table of all examples, line by line.

        Yields:
            The headings, then one line for each example, numbered from 0. Classes are numbers; where they have names,
            these are in columns of their own.
        """
        numbers = [self.mean.tolist(), self.variance.tolist()]
        if self.entropy is None or self.mutual_information is None:
            yield ["example", "target", "mean", "variance"]
            for i, (target, mean, variance) in enumerate(zip(self.targets.tolist(), *numbers, strict=True)):
                yield [str(i), *(format(number, DIGITS) for number in (target, mean, variance))]
            return
        names = self.class_names
        classes = [f"p{i}" for i in range(self.mean.shape[1])]
        named = [heading for kind in ("target", "predicted") for heading in (kind, f"{kind}_name")[: 1 + bool(names)]]
        yield ["example", *named, "entropy", "mutual_information", *classes]
        columns = (self.targets, self.mean.argmax(1), self.entropy, self.mutual_information)
        for i, (target, best, entropy, told, mean) in enumerate(
            zip(*(column.tolist() for column in columns), numbers[0], strict=True)
        ):
            cells = [cell for number in (target, best) for cell in (str(number), *names[number : number + 1])]
            yield [str(i), *cells, *(format(number, DIGITS) for number in (entropy, told, *mean))]

    def write(self, path: Path) -> Path:
        """Write the table of all examples as CSV, and what is said of them all as JSON beside it.

        Args:
            path: the file of the table, as ``"predictions.csv"``; what is there is replaced.

        Returns:
            The file of the JSON.
        """
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(self.rows())
        records.write_text(path, text.getvalue())
        return records.write_beside(path, self.about)


def predict(
    path: str | PathLike[str],
    passes: int = 100,
    seed: int = 0,
    *,
    data: Dataset | None = None,
    part: str = "test",
    progress: bool | Progress = False,
) -> Predicted:
    """Predict with dropout on, many times, with the network of a checkpoint.

    Args:
        path: a checkpoint, or the folder of a run, whose best checkpoint is taken.
        passes: number of passes.
        seed: 64-bit integer; of the masks.
        data: what to predict; what the network was trained with by default.
        part: ``"test"``, ``"validation"`` (by the share that was put aside in training) or ``"train"``.
        progress: as for `thinned.predict`.

    Returns:
        What was predicted, and how well.

    Raises:
        DataError: there is no such checkpoint, it is damaged, or the data cannot be read.
        RangeError, KindError: an argument is out of range, or the network is for other data.

    Examples:
        >>> import tempfile
        >>> config = Config.of({"model": {"hidden": [8]}, "training": {"epochs": 1}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     found = predict(run.start(config, root).folder, passes=10)
        >>> found.mean.shape, found.about["data"]["examples"]
        (torch.Size([359, 10]), 359)
    """
    file = best_of(Path(path))
    model, config, shape, meaning = run.restored(file)
    if part not in PARTS:
        raise RangeError(f"`part` must be one of {', '.join(PARTS)}, but got part={part!r}.")
    parts = _parts(file, config, data, meaning)
    chosen: Examples = parts.judged(parts.train) if part == "train" else getattr(parts, part)
    _check_shape(parts, shape)
    if not len(chosen):
        raise RangeError(f"`part` must have examples, but {parts.name} has none in its part {part}.")
    numbers = chosen.targets.is_floating_point()
    network, inputs = _network(model, chosen)
    found = thinned.predict(network, inputs, passes, seed, output="values" if numbers else "logits", progress=progress)
    if not bool(found.mean.isfinite().all()):
        raise DataError(f"{file} must hold a network whose outputs are numbers, but some are nan or infinite.")
    plain = measure(model, chosen)
    # Nothing says whether other data number their classes as those did whose names were not kept.
    names = parts.meaning.class_names if meaning is not None or data is None else ()
    about: dict[str, Any] = {
        "command": "predict",
        "checkpoint": str(file),
        "data": {
            "name": parts.name,
            "part": part,
            "examples": chosen.targets.numel(),
            **({"class_names": names} if names else {}),
        },
        "passes": passes,
        "seed": seed,
        "drops": bool((found.variance > ROUNDING * found.mean.square()).any()),
        "settings": config.tables(),
        "environment": records.environment(),
    }
    if numbers:
        return _regression(about, chosen, found, plain.error, parts.meaning.target_scaling)
    return replace(_classification(about, chosen, found, plain.error), class_names=names)


def best_of(path: Path) -> Path:
    """Return the file of a checkpoint.

    Args:
        path: the file, or the folder of a run.

    Returns:
        The file; of a run the best.

    Raises:
        DataError: there is none.
    """
    file = path / "checkpoints" / checkpoint.BEST if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{path} must be a checkpoint of `thinned train`, or the folder of a run, but there is none.")
    return file


class _ByNumber(nn.Module):
    """A network as a function of the numbers of examples, for those that are no tensor with a row for each.

    Args:
        model: the network.
        given: the examples.
    """

    def __init__(self, model: nn.Module, given: Examples) -> None:
        super().__init__()
        self.model = model
        self._given = given

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the outputs for some examples, classes along axis 1."""
        outputs: Tensor = self.model(self._given.pick(numbers).inputs)
        return outputs.movedim(-1, 1)


def _network(model: nn.Module, given: Examples) -> tuple[nn.Module, Tensor]:
    """Return a network and its input as `thinned.predict` takes them."""
    if isinstance(given.inputs, Bags) or given.targets.dim() > 1:
        return _ByNumber(model, given), torch.arange(len(given))
    return model, given.inputs


def _parts(file: Path, config: Config, other: Dataset | None, meaning: Meaning | None) -> Parts:
    """Return the data as the network takes them."""
    settings = config.data
    if other is not None and (other.task == "text" or config.model.kind in ("transformer", "lstm")):
        raise RangeError("`data` must be left out for a network that was trained on text, which numbers its words.")
    if other is not None and settings.standardise and meaning is None:
        raise DataError(
            f"{file} must hold mean and deviation of its training data, so that other data can be standardised by "
            "them, but it was written before these were kept; train the network again."
        )
    source = other or _own(settings)
    if meaning is not None:
        source = meaning.fitted(source)
    elif settings.standardise:
        source = standardise(source)
    aside = settings.validation if other is None else 0.0
    return examples.parts(source, aside, config.model.kind, settings.steps, settings.crop)


def _own(settings: DataSettings) -> Dataset:
    try:
        return settings.load()
    except DataError as error:
        raise DataError(f"{error} The network was trained on them; other data can be named with --data.") from error


def _check_shape(parts: Parts, shape: Shape) -> None:
    ours, theirs = (
        f"{'text' if one.text else 'numbers'} of shape {one.inputs} with {one.outputs} outputs"
        for one in (parts.shape, shape)
    )
    if ours != theirs:
        raise RangeError(f"`data` must be like those of the training, {theirs}, but {parts.name} has {ours}.")


def _classification(about: dict[str, Any], given: Examples, found: thinned.Prediction, plain: float) -> Predicted:
    assert found.entropy is not None
    assert found.mutual_information is not None
    mean, variance = (part.movedim(1, -1).flatten(0, -2) for part in (found.mean, found.variance))
    entropy, told = found.entropy.flatten(), found.mutual_information.flatten()
    targets = given.targets.flatten()
    confidence, best = mean.max(1)
    correct = best == targets
    bins = uncertainty.reliability(confidence, correct)
    likelihood = mean[torch.arange(len(targets)), targets].log()
    about |= {
        "task": "classification",
        "error": float((~correct).double().mean()),
        "error_without_dropout": plain,
        "negative_log_likelihood": -float(likelihood.mean()),
        "mean_entropy": float(entropy.mean()),
        "mean_mutual_information": float(told.mean()),
        "expected_calibration_error": uncertainty.calibration_error(bins),
        "reliability": [asdict(part) for part in bins],
        "rejection_by_entropy": [asdict(part) for part in uncertainty.rejection(entropy, correct)],
    }
    return Predicted(about, targets, mean, variance, entropy, told)


def _regression(
    about: dict[str, Any], given: Examples, found: thinned.Prediction, plain: float, scaling: Scaling | None
) -> Predicted:
    """Sum up predicted numbers, in the data's own unit."""
    shift, unit = (scaling.mean.item(), scaling.std.item()) if scaling else (0.0, 1.0)
    mean, targets = (part.double().flatten() * unit + shift for part in (found.mean, given.targets))
    variance = found.variance.flatten() * unit**2
    about |= {
        "task": "regression",
        "root_mean_squared_error": float((mean - targets).square().mean().sqrt()),
        "root_mean_squared_error_without_dropout": plain * unit,
        "mean_standard_deviation": float(variance.sqrt().mean()),
    }
    return Predicted(about, targets, mean, variance, None, None)
