"""What every reader of data returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their classes.

    Attributes:
        inputs: float32 array of shape (examples, height, width), in [0, 1].
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
    """

    name: str
    train: Split
    test: Split
    classes: int
