"""Monte Carlo dropout: many passes through a network whose dropout stays on, and how far they disagree."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned._optional import require
from thinned._predict.network import dropping

Progress = Callable[[int, int], object]  # passes done, passes in all

MEMORY = 2**28  # bytes of activations at a time
OUTPUTS = ("values", "logits", "probabilities")


@dataclass(frozen=True)
class Prediction:
    """What many passes say, for each row of the input.

    Attributes:
        mean: mean of the passes, of the output's shape; of the probabilities if there are any.
        variance: variance over the passes (their sum of squares divided by their number), of the same shape.
        entropy: entropy of the mean probabilities in nats: the whole uncertainty; None for values.
        mutual_information: entropy of the mean less mean of the entropies, in nats: what more data could tell; None for
            values.
        samples: the output of each pass, of shape (passes, ...), if they were asked for.
    """

    mean: Tensor
    variance: Tensor
    entropy: Tensor | None = None
    mutual_information: Tensor | None = None
    samples: Tensor | None = None


def predict(
    model: torch.nn.Module,
    input: Tensor | Sequence[Tensor],
    passes: int = 100,
    seed: int = 0,
    *,
    output: str = "values",
    samples: bool = False,
    batch: tuple[int, int, int] | None = None,
    memory: int = MEMORY,
    progress: bool | Progress = False,
) -> Prediction:
    """Predict with dropout on, many times, and return mean and uncertainty (Monte Carlo dropout).

    Everything that drops drops: layers of this package and of torch, `torch.nn.MultiheadAttention`, and calls of the
    dropout functions of `torch.nn.functional` whatever their `training` says. All else is in eval mode, BatchNorm too.
    Pass k has the masks of `keyed(model, seed, step=k)`, so mask k of row i depends neither on the other rows, nor on
    the number of passes, nor on the memory at hand; as many passes as `memory` allows are made at once. Afterwards the
    model is as it was, training modes and keys included.

    Args:
        model: any module whose output has one row for each row of the input.
        input: tensor of shape (N, ...), or a sequence of tensors, one for each argument of the model.
        passes: number of passes.
        seed: 64-bit integer.
        output: what the model returns: "values", or "logits" or "probabilities" of classes along axis 1.
        samples: keep the output of each pass as well.
        batch: (start, stop, total): the rows at hand are rows `start` to `stop` of `total`; all by default.
        memory: bytes of activations to be held at a time.
        progress: true for a bar (needs rich), or a function of (passes done, passes in all).

    Returns:
        Tensors in float64 on the output's device.

    Raises:
        TypeError: `model` is not a module; it drops something in a way that cannot be keyed, which is named.
        ValueError: an argument is out of range; the output has not one row for each row of the input.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 50), torch.nn.Dropout(0.5), torch.nn.Linear(50, 1))
        >>> found = thinned.predict(model, torch.ones(4, 3), passes=1000)
        >>> found.mean.shape, bool((found.variance > 0).all())
        (torch.Size([4, 1]), True)

    Source: Gal and Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep learning",
    ICML 2016.
    """
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")
    if output not in OUTPUTS:
        raise RangeError(f"`output` must be one of {', '.join(OUTPUTS)}, but got output={output!r}.")
    inputs = (input,) if isinstance(input, Tensor) else tuple(input)
    rows = _rows(inputs)
    start, total = _place(rows, batch)
    passes, memory = _check.positive(passes, "passes"), _check.positive(memory, "memory")
    summary = _Summary(output, samples)
    with dropping(model, _check.word64(seed, "seed"), total) as network, _shown(progress) as show:
        most = max(1, memory // network.bytes_per_row(inputs))
        size = min(rows, most)
        at_once = max(1, most // rows) if network.by_rows else 1
        for first in range(0, passes, at_once):
            these = range(first, min(first + at_once, passes))
            parts = [
                network([x[at : at + size] for x in inputs], these, start + at) for at in range(0, rows, size)
            ]  # each of shape (passes, rows, ...)
            summary.add(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
            show(these.stop, passes)
    return summary.prediction()


def _rows(inputs: tuple[Tensor, ...]) -> int:
    if not inputs or not all(isinstance(x, Tensor) for x in inputs):
        kinds = ", ".join(type(x).__name__ for x in inputs)
        raise KindError(f"`input` must be a tensor or a sequence of tensors, but got ({kinds}).")
    shapes = [tuple(x.shape) for x in inputs]
    if not all(shape and shape[0] for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise RangeError(f"`input` must have the same number of rows in each tensor, at least 1, but got {shapes}.")
    return shapes[0][0]


def _place(rows: int, batch: tuple[int, int, int] | None) -> tuple[int, int]:
    if batch is None:
        return 0, rows
    place = _check.sizes(batch, "batch")
    if len(place) != 3 or place[1] - place[0] != rows or place[1] > place[2]:
        raise RangeError(f"`batch` must be (start, stop, total) of {rows} rows, but got {place}.")
    return place[0], place[2]


class _Summary:
    """Statistics of passes that come in blocks."""

    def __init__(self, output: str, samples: bool) -> None:
        self.output = output
        self.samples: list[Tensor] | None = [] if samples else None
        self.count = 0
        self.mean = self.squares = self.entropies = torch.zeros(())

    def add(self, block: Tensor) -> None:
        """Take in outputs of shape (passes, rows, ...)."""
        values = block.double()
        if self.output == "logits":
            values = values.softmax(dim=2)
        if self.samples is not None:
            self.samples.append(values)
        if self.output != "values":
            self.entropies = self.entropies + _entropy(values, 2).sum(0)
        # Chan, Golub and LeVeque (1979): means and sums of squares of two parts make those of the whole, without
        # cancellation.
        count = len(values)
        mean = values.mean(0)
        apart = mean - self.mean
        share = count / (self.count + count)
        self.squares = self.squares + (values - mean).square().sum(0) + apart.square() * (self.count * share)
        self.mean = self.mean + apart * share
        self.count += count

    def prediction(self) -> Prediction:
        """Return what all blocks say."""
        samples = None if self.samples is None else torch.cat(self.samples)
        variance = self.squares / self.count
        if self.output == "values":
            return Prediction(self.mean, variance, samples=samples)
        entropy = _entropy(self.mean, 1)
        information = (entropy - self.entropies / self.count).clamp(min=0)  # below 0 by rounding only
        return Prediction(self.mean, variance, entropy, information, samples)


def _entropy(probabilities: Tensor, axis: int) -> Tensor:
    entropies: Tensor = torch.special.entr(probabilities)
    return entropies.sum(axis)


@contextlib.contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress]:
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda *_: None
    else:
        with require("rich.progress", "lab").Progress(transient=True) as bar:
            task = bar.add_task("passes", total=None)
            yield lambda done, passes: bar.update(task, completed=done, total=passes)


__all__ = ["MEMORY", "Prediction", "predict"]
