"""What a checkpoint of `thinned train` predicts, how sure it is, and whether it is rightly so."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thinned
from thinned._errors import DataError
from thinned._predict import Progress
from thinned.data import Dataset, Whole
from thinned.lab import checkpoint, records, run, uncertainty
from thinned.lab.asked import Asked, ask
from thinned.lab.config import DataSettings
from thinned.lab.examples import Bags, Examples, Inputs
from thinned.lab.train import measure

ROUNDING = 1e-10  # of a squared mean: passes that vary by no more are the same but for rounding in float32
DIGITS = ".8g"  # of a number in a table


@dataclass(frozen=True, eq=False)
class Predicted:
    """What many passes with dropout say of each example.

    A word of a text counts as an example.

    Attributes:
        about: what was predicted with what, and how well: what the JSON holds.
        targets: int64 classes or words, or float64 numbers in the data's own unit, shape (examples,); None where the
            data have none.
        mean: mean of the passes, float64: probabilities, shape (examples, classes), or numbers, shape (examples,).
        variance: variance over the passes, of the same shape.
        entropy: of the mean probabilities in nats, shape (examples,); None for numbers.
        mutual_information: what of it the passes disagree about, in nats; None for numbers.
        class_names: what the classes are called, by their numbers; empty for numbers and where nothing says so.
        source_rows: int64 numbers of the examples within the file that they are a part of, shape (examples,); None
            where they are no part of one.
    """

    about: dict[str, Any]
    targets: Tensor | None
    mean: Tensor
    variance: Tensor
    entropy: Tensor | None
    mutual_information: Tensor | None
    class_names: tuple[str, ...] = ()
    source_rows: Tensor | None = None

    def rows(self) -> Iterator[list[str]]:
        """Return the table of all examples, line by line.

        Yields:
            The headings, then one line for each example, numbered from 0. Classes are numbers; where they have names,
            these are in columns of their own. Without targets there are no columns of them.
        """
        columns = self._columns()
        yield list(columns)
        yield from map(list, zip(*columns.values(), strict=True))

    def _columns(self) -> dict[str, Iterable[str]]:
        """Return the cells of the table, column by column."""
        columns: dict[str, Iterable[str]] = {"example": map(str, range(len(self.mean)))}
        if self.source_rows is not None:
            columns["row"] = map(str, self.source_rows.tolist())
        if self.entropy is None or self.mutual_information is None:
            columns |= {} if self.targets is None else {"target": _cells(self.targets)}
            return columns | {"mean": _cells(self.mean), "variance": _cells(self.variance)}
        for kind, classes in {"target": self.targets, "predicted": self.mean.argmax(1)}.items():
            if classes is not None:
                columns[kind] = map(str, classes.tolist())
                columns |= (
                    {f"{kind}_name": map(self.class_names.__getitem__, classes.tolist())} if self.class_names else {}
                )
        columns |= {"entropy": _cells(self.entropy), "mutual_information": _cells(self.mutual_information)}
        return columns | {f"p{i}": _cells(part) for i, part in enumerate(self.mean.T)}

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
    data: Dataset | Whole | DataSettings | None = None,
    part: str | None = None,
    progress: bool | Progress = False,
) -> Predicted:
    """Predict with dropout on, many times, with the network of a checkpoint.

    Args:
        path: a checkpoint, or the folder of a run, whose best checkpoint is taken.
        passes: number of passes.
        seed: 64-bit integer; of the masks.
        data: what to predict, with targets or without, or settings that name it; what the network was trained with by
            default.
        part: ``"test"``, ``"validation"`` (by the share that was put aside in training), ``"train"``, or ``"all"`` for
            every example of a file in its order; None for all of a file, and the test part of what comes in parts.
        progress: as for `thinned.predict`.

    Returns:
        What was predicted, and how well.

    Raises:
        DataError: there is no such checkpoint, it is damaged, or the data cannot be read.
        RangeError, KindError: an argument is out of range, or the network is for other data.

    Examples:
        >>> import tempfile
        >>> from thinned.lab.config import Config
        >>> config = Config.of({"model": {"hidden": [8]}, "training": {"epochs": 1}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     found = predict(run.start(config, root).folder, passes=10)
        >>> found.mean.shape, found.about["data"]["examples"]
        (torch.Size([359, 10]), 359)
    """
    file = best_of(Path(path))
    network = run.restored(file)
    given = ask(file, network, data, part)
    numbers = network.shape.outputs == 1 and not network.shape.text
    model, inputs = _as_predicted(network.model, given.inputs, network.shape.text)
    found = thinned.predict(model, inputs, passes, seed, output="values" if numbers else "logits", progress=progress)
    if not bool(found.mean.isfinite().all()):
        raise DataError(f"{file} must hold a network whose outputs are numbers, but some are nan or infinite.")
    # Nothing says whether other data number their classes as those did whose names were not kept.
    names = given.meaning.class_names if network.meaning is not None or data is None else ()
    about: dict[str, Any] = {
        "command": "predict",
        "checkpoint": str(file),
        "data": {
            "name": given.name,
            "part": given.part,
            "examples": found.mean[:, 0].numel(),
            **({"class_names": names} if names else {}),
        },
        "passes": passes,
        "seed": seed,
        "drops": bool((found.variance > ROUNDING * found.mean.square()).any()),
        "settings": network.config.tables(),
        "environment": records.environment(),
    }
    plain = None if given.targets is None else measure(network.model, Examples(given.inputs, given.targets)).error
    judged = _regression(about, given, found, plain) if numbers else _classification(about, given, found, plain)
    return replace(judged, class_names=names, source_rows=given.rows)


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
        inputs: of all examples.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.model = model
        self._inputs = inputs

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the outputs for some examples, classes along axis 1."""
        chosen = self._inputs.pick(numbers) if isinstance(self._inputs, Bags) else self._inputs[numbers]
        outputs: Tensor = self.model(chosen)
        return outputs.movedim(-1, 1)


def _as_predicted(model: nn.Module, inputs: Inputs, text: bool) -> tuple[nn.Module, Tensor]:
    """Return a network and its input as `thinned.predict` takes them."""
    if isinstance(inputs, Bags):
        return _ByNumber(model, inputs), torch.arange(len(inputs.offsets))
    return (_ByNumber(model, inputs), torch.arange(len(inputs))) if text else (model, inputs)


def _cells(numbers: Tensor) -> Iterator[str]:
    return (format(number, DIGITS) for number in numbers.tolist())


def _classification(about: dict[str, Any], given: Asked, found: thinned.Prediction, plain: float | None) -> Predicted:
    assert found.entropy is not None
    assert found.mutual_information is not None
    mean, variance = (part.movedim(1, -1).flatten(0, -2) for part in (found.mean, found.variance))
    entropy, told = found.entropy.flatten(), found.mutual_information.flatten()
    best = mean.argmax(1)
    targets = None if given.targets is None else given.targets.flatten()
    about["task"] = "classification"
    if targets is not None:
        about |= {
            "error": float((best != targets).double().mean()),
            "error_without_dropout": plain,
            "negative_log_likelihood": -float(mean[torch.arange(len(targets)), targets].log().mean()),
        }
    about |= {
        "mean_entropy": float(entropy.mean()),
        "mean_mutual_information": float(told.mean()),
        "predicted_classes": [asdict(part) for part in uncertainty.predicted(best, entropy)],
        "entropy_quantiles": [asdict(part) for part in uncertainty.quantiles(entropy)],
    }
    if targets is not None:
        bins = uncertainty.reliability(mean.amax(1), best == targets)
        about |= {
            "expected_calibration_error": uncertainty.calibration_error(bins),
            "reliability": [asdict(part) for part in bins],
            "rejection_by_entropy": [asdict(part) for part in uncertainty.rejection(entropy, best == targets)],
        }
    return Predicted(about, targets, mean, variance, entropy, told)


def _regression(about: dict[str, Any], given: Asked, found: thinned.Prediction, plain: float | None) -> Predicted:
    """Sum up predicted numbers, in the data's own unit."""
    scaling = given.meaning.target_scaling
    shift, unit = (scaling.mean.item(), scaling.std.item()) if scaling else (0.0, 1.0)
    mean, variance = found.mean.flatten() * unit + shift, found.variance.flatten() * unit**2
    deviation = variance.sqrt()
    targets = None if given.targets is None else given.targets.double().flatten() * unit + shift
    about["task"] = "regression"
    if targets is not None and plain is not None:
        about |= {
            "root_mean_squared_error": float((mean - targets).square().mean().sqrt()),
            "root_mean_squared_error_without_dropout": plain * unit,
        }
    about |= {
        "mean_standard_deviation": float(deviation.mean()),
        "prediction_quantiles": [asdict(part) for part in uncertainty.quantiles(mean)],
        "standard_deviation_quantiles": [asdict(part) for part in uncertainty.quantiles(deviation)],
    }
    return Predicted(about, targets, mean, variance, None, None)
