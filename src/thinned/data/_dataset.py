"""What every reader of data returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinned import philox

TEST_SHARE = 0.2
SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their classes.

    Attributes:
        inputs: float32 array of shape (examples, features), (examples, height, width) or (examples, channels, height,
            width); images are in [0, 1].
        targets: int64 array of shape (examples,), in [0, classes).
    """

    inputs: NDArray[np.float32]
    targets: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set for classification, with the part to train on and the part to test on.

    Attributes:
        name: what to call it in a table.
        train: examples to train on.
        test: examples that training never sees.
        classes: number of classes.
        note: where the test part comes from, as a sentence, if not from whoever published the data.
    """

    name: str
    train: Split
    test: Split
    classes: int
    note: str = ""


def hold_out(name: str, inputs: NDArray[np.float32], targets: NDArray[np.int64], classes: int) -> Dataset:
    """Put a fifth of each class aside for testing.

    The split is the same on every machine: the examples of a class are ranked by the words of Philox, and the first
    fifth is the test part.

    Args:
        name: what to call the data set.
        inputs: all examples, float32, examples along the first axis.
        targets: their classes, int64, in [0, classes).
        classes: number of classes.

    Returns:
        The data set, its note saying what was done.

    Example:
        >>> import numpy as np
        >>> data = hold_out("ten", np.arange(10, dtype=np.float32)[:, None], np.zeros(10, np.int64), classes=1)
        >>> data.test.inputs[:, 0].tolist()
        [7.0, 8.0]
    """
    rank = philox.words(0, len(targets), seed=SPLIT_SEED, stream=0)[:, 0]
    test = np.zeros(len(targets), bool)
    for target in range(classes):
        members = np.flatnonzero(targets == target)
        first = np.argsort(rank[members], kind="stable")[: round(TEST_SHARE * len(members))]
        test[members[first]] = True
    return Dataset(
        name=name,
        train=Split(inputs[~test], targets[~test]),
        test=Split(inputs[test], targets[test]),
        classes=classes,
        note="A fifth of each class, drawn by a fixed seed, was put aside for testing.",
    )
