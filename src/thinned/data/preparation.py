"""What is done to data before training: standardising, taking a part, putting a part aside, cutting text into pieces.

All randomness is Philox's, so that the same seed gives the same parts on every machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.data._dataset import Dataset, Scaling, Split, held_out, ranked
from thinned.data._sparse import Sparse

WAYS = ("feature", "channel", "all")
CHUNK = 2**22  # numbers that are turned into float64 at a time
VALIDATION, SUBSAMPLE = 1, 2  # streams; 0 is that of the test part


def standardise(data: Dataset, *, per: str | None = None, targets: bool | None = None) -> Dataset:
    """Shift and scale inputs to mean 0 and standard deviation 1, by statistics of the training part alone.

    Args:
        data: a data set with inputs that are numbers.
        per: what has a mean of its own: each ``"feature"`` (or pixel), each ``"channel"`` of images, or ``"all"``
            numbers together; None for channels of images, and features of rows.
        targets: whether to standardise targets too; None for those of a regression.

    Returns:
        The data set with new inputs; `input_scaling` and `target_scaling` undo it. A feature that does not vary is only
        shifted.

    Raises:
        RangeError: `per` is another word, or targets are classes.
        KindError: the inputs are sparse, or text.

    Examples:
        >>> from thinned.data import Split
        >>> part = Split(np.float32([[1, 5], [3, 5]]), np.float32([10, 30]))
        >>> data = standardise(Dataset("two", part, part, classes=0, task="regression"))
        >>> data.train.inputs.tolist(), data.test.targets.tolist(), data.target_scaling.undo(np.float32([0]))
        ([[-1.0, 0.0], [1.0, 0.0]], [-1.0, 1.0], array([20.], dtype=float32))
    """
    inputs = data.train.inputs
    if isinstance(inputs, Sparse) or data.task == "text":
        kind = "text" if data.task == "text" else "sparse"
        raise KindError(f"`data` must have dense numbers as inputs to be standardised, but {data.name} is {kind}.")
    if targets and data.task != "regression":
        raise RangeError(f"`targets` must be standardised for a regression alone, but {data.name} has classes.")
    way = ("channel" if inputs.ndim > 2 else "feature") if per is None else _check.one_of(per, WAYS, "per")
    axes = {"feature": (0,), "channel": _all_but_channels(inputs.ndim), "all": tuple(range(inputs.ndim))}[way]
    scaling = _scaling(inputs, axes)
    target_scaling = _scaling(data.train.targets, (0,)) if data.task == "regression" and targets is not False else None
    return data.mapped(
        scaling.apply,
        target_scaling.apply if target_scaling else None,
        input_scaling=scaling,
        target_scaling=target_scaling,
    )


def validation(data: Dataset, share: float, *, seed: int = 0) -> tuple[Split, Split]:
    """Put a part of the training examples aside to choose by; the test part is left alone.

    Args:
        data: the data set.
        share: how much of the training part to put aside, in (0, 1): of each class the same share; of text the end.
        seed: 64-bit integer; another one puts other examples aside.

    Returns:
        What is left to train on, and what was put aside, both in the order of the training part.

    Raises:
        RangeError, KindError: `share` is not in (0, 1), or leaves one of the two without examples.

    Examples:
        >>> from thinned.data import load
        >>> train, aside = validation(load("digits"), 0.25)
        >>> len(train.targets), len(aside.targets)
        (1079, 359)
    """
    targets = data.train.targets
    if not 0 < _check.probability(share, "share") < 1:
        raise RangeError(f"`share` must be in (0, 1), but got share={share}.")
    aside = held_out(targets, data.task, share, _check.word64(seed, "seed"), VALIDATION)
    if aside.all() or not aside.any():
        raise RangeError(
            f"`share` must leave examples in both parts, but share={share} of {len(targets)} puts {aside.sum()} aside."
        )
    return data.train[~aside], data.train[aside]


def subsample(split: Split, count: int, *, seed: int = 0) -> Split:
    """Take a number of examples at random, without putting any back.

    Each example has a word of Philox, and those with the largest stay: so more examples with the same seed are the same
    and others.

    Args:
        split: the examples; for text, whose order matters, take a slice instead.
        count: how many to take; all of them if there are fewer.
        seed: 64-bit integer.

    Returns:
        The examples taken, in their old order.

    Raises:
        RangeError, KindError: `count` is not a positive integer.

    Examples:
        >>> part = Split(np.arange(6, dtype=np.float32)[:, None], np.arange(6))
        >>> subsample(part, 3).targets, subsample(part, 4).targets
        (array([1, 2, 3]), array([0, 1, 2, 3]))
    """
    count = _check.positive(count, "count")
    rank = ranked(len(split.targets), _check.word64(seed, "seed"), SUBSAMPLE)
    return split[np.sort(np.argsort(~rank, kind="stable")[:count])]


def windows(split: Split, steps: int) -> Split:
    """Cut text into pieces of equal length, one after the other.

    Args:
        split: text, as the reader returns it.
        steps: characters of a piece.

    Returns:
        Views of shape (pieces, steps) of inputs and targets; what is left at the end is not in them.

    Raises:
        RangeError, KindError: `steps` is not a positive integer, or the text is shorter.

    Examples:
        >>> windows(Split(np.arange(7), np.arange(1, 8)), 3).targets
        array([[1, 2, 3],
               [4, 5, 6]])
    """
    pieces = len(split.targets) // _check.positive(steps, "steps")
    if pieces == 0:
        raise RangeError(f"`steps` must be at most {len(split.targets)}, as long as the text, but got steps={steps}.")
    inputs, targets = (part[: pieces * steps].reshape(pieces, steps) for part in (split.inputs, split.targets))
    return Split(inputs, targets)


def _all_but_channels(axes: int) -> tuple[int, ...]:
    """Return all axes, save that of the channels where there is one."""
    return tuple(axis for axis in range(axes) if axis != 1 or axes == 3)


def _scaling(values: NDArray[Any], axes: tuple[int, ...]) -> Scaling:
    """Return means and standard deviations, summed in float64, a few examples at a time."""
    kept = [1 if axis in axes else size for axis, size in enumerate(values.shape)]
    rows = max(1, CHUNK // max(1, values[0].size))
    parts = [slice(begin, begin + rows) for begin in range(0, len(values), rows)]
    count = values.size // int(np.prod(kept))
    mean = sum(values[part].sum(axes, np.float64, keepdims=True) for part in parts) / count
    squares = (np.square(values[part] - mean).sum(axes, np.float64, keepdims=True) for part in parts)
    std = np.sqrt(sum(squares) / count)
    shape = kept[1:]  # without the examples
    # Numbers that do not vary may differ from their mean by its rounding, and no more.
    varies = std > 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return Scaling(mean.astype(np.float32).reshape(shape), np.where(varies, std, 1.0).astype(np.float32).reshape(shape))
