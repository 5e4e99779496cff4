"""What every reader of data returns."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from thinned import philox
from thinned._errors import DataError
from thinned.data._sparse import Sparse

Task = Literal["classification", "regression", "text"]
Inputs = Any  # an array or a `Sparse`; Any, so that whoever knows which need not say so
Targets = NDArray[np.int64] | NDArray[np.float32]
Change = Callable[[Any], Any]  # of inputs or of targets, example by example
TASKS: tuple[Task, ...] = ("classification", "regression", "text")
TEST_SHARE = 0.2
SPLIT_SEED = 0


@dataclass(frozen=True)
class Scaling:
    """Numbers to subtract and to divide by.

    Attributes:
        mean: float32 array that broadcasts against an example.
        std: float32 array of the same shape, nowhere 0.

    Examples:
        >>> scaling = Scaling(np.float32([1, 2]), np.float32([1, 4]))
        >>> scaling.apply(np.float32([[3, 2]])), scaling.undo(np.float32([[2, 0]]))
        (array([[2., 0.]], dtype=float32), array([[3., 2.]], dtype=float32))
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return standardised values.

        Args:
            values: float32 array, examples along the first axis.

        Returns:
            A new array of the same shape.
        """
        centred: NDArray[np.float32] = values - self.mean
        centred /= self.std
        return centred

    def undo(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values in their own unit again.

        Args:
            values: float32 array, examples along the first axis.

        Returns:
            A new array of the same shape.
        """
        raw = values * self.std
        raw += self.mean
        return raw


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with what is to be predicted.

    Attributes:
        inputs: float32 array of shape (examples, features), (examples, height, width) or (examples, channels, height,
            width), images in [0, 1]; or a `Sparse` of as many rows; or, of text, int64 ids of shape (characters,).
        targets: int64 array of shape (examples,) in [0, classes); for regression, float32 of that shape; of text, the
            id of the character that follows each of `inputs`.
        rows: int64 numbers of the examples within the file that they were put aside from, or left in, counted from 0;
            None where they were not.
    """

    inputs: Inputs
    targets: Targets
    rows: NDArray[np.int64] | None = None

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "Split":
        """Return some of the examples.

        Args:
            chosen: a slice, a bool array of shape (examples,), or int64 indices.

        Returns:
            Those examples, in the order asked for.
        """
        return Split(self.inputs[chosen], self.targets[chosen], None if self.rows is None else self.rows[chosen])

    def mapped(self, inputs: Change | None, targets: Change | None) -> "Split":
        """Return the same examples with other numbers.

        Args:
            inputs: makes the new inputs of the old ones; None to leave them.
            targets: the same of the targets.

        Returns:
            New examples, in the same order.
        """
        return Split(
            self.inputs if inputs is None else inputs(self.inputs),
            self.targets if targets is None else targets(self.targets),
            self.rows,
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, with the part to train on and the part to test on.

    Attributes:
        name: what to call it in a table.
        train: examples to train on.
        test: examples that training never sees.
        classes: number of classes, of text the size of the vocabulary; 0 for regression.
        note: where the test part comes from, as a sentence, if not from whoever published the data.
        task: ``"classification"``, ``"regression"`` or ``"text"``.
        class_names: what the classes are called, where the data say; of text, the vocabulary: each id's character.
        feature_names: what the features are called, where the file says.
        target_name: what the target is called, where the file says.
        input_scaling: how the inputs were standardised, if they were.
        target_scaling: how the targets were standardised, if they were.
    """

    name: str
    train: Split
    test: Split
    classes: int
    note: str = ""
    task: Task = "classification"
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    input_scaling: Scaling | None = None
    target_scaling: Scaling | None = None

    @property
    def outputs(self) -> int:
        """Number of outputs that a network for these data has: one for each class, or one for a regression."""
        return self.classes or 1

    def dense(self) -> "Dataset":
        """Return the data with inputs that are arrays, if they are sparse.

        Returns:
            The data set; itself if its inputs are arrays.

        Raises:
            RangeError: the arrays would take more than 4 GiB.
        """
        if not isinstance(self.train.inputs, Sparse):
            return self
        return self.mapped(inputs=Sparse.dense)

    def mapped(self, inputs: Change | None = None, targets: Change | None = None, **changes: Any) -> "Dataset":
        """Return the same examples with other numbers.

        Args:
            inputs: makes the new inputs of a part of its old ones; None to leave them.
            targets: the same of the targets.
            **changes: new values of other attributes.

        Returns:
            The data set with new parts.

        Examples:
            >>> part = Split(np.float32([[1], [2]]), np.array([0, 1]))
            >>> Dataset("two", part, part, classes=2).mapped(inputs=np.negative).test.inputs.tolist()
            [[-1.0], [-2.0]]
        """
        train, test = (part.mapped(inputs, targets) for part in (self.train, self.test))
        return replace(self, train=train, test=test, **changes)


def ranked(count: int, seed: int, stream: int) -> NDArray[np.uint32]:
    """Return a random word for each example: whoever sorts by them shuffles, the same on every machine.

    Args:
        count: number of examples.
        seed: unsigned 64-bit seed.
        stream: unsigned 64-bit stream.

    Returns:
        uint32 array of shape (count,); word i does not depend on `count`.

    Examples:
        >>> ranked(2, seed=0, stream=0)
        array([1601156873, 2553960558], dtype=uint32)
    """
    return philox.words(0, count, seed, stream)[:, 0]


def held_out(targets: Targets, task: str, share: float, seed: int, stream: int) -> NDArray[np.bool_]:
    """Choose examples to put aside: of each class the same share, of numbers any, of text the end.

    Args:
        targets: what is to be predicted, shape (examples,).
        task: as in `Dataset`.
        share: how much to put aside, in (0, 1); rounded to whole examples.
        seed: unsigned 64-bit seed.
        stream: unsigned 64-bit stream.

    Returns:
        Bool array of shape (examples,), True for what is put aside.

    Examples:
        >>> held_out(np.zeros(10, np.int64), "classification", 0.2, seed=0, stream=0).nonzero()[0]
        array([7, 8])
    """
    count = len(targets)
    aside = np.zeros(count, bool)
    if task == "text":
        aside[count - round(share * count) :] = True
        return aside
    rank = ranked(count, seed, stream)
    groups = [np.arange(count)]
    if task == "classification":
        order = np.argsort(targets, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(targets[order])) + 1)
    for members in groups:
        aside[members[np.argsort(rank[members], kind="stable")[: round(share * len(members))]]] = True
    return aside


def hold_out(
    name: str,
    inputs: Inputs,
    targets: Targets,
    classes: int,
    *,
    task: Task = "classification",
    note: str = "",
) -> Dataset:
    """Put a fifth of the examples, of each class if there are classes, aside for testing.

    The split is the same on every machine: the examples of a class are ranked by the words of Philox, and the first
    fifth is the test part.

    Args:
        name: what to call the data set.
        inputs: all examples, along the first axis.
        targets: what is to be predicted; int64 in [0, classes), or float32 for regression.
        classes: number of classes; 0 for regression.
        task: ``"classification"`` or ``"regression"``.
        note: how the task was chosen, if it was, as a sentence that comes before the one about the test part.

    Returns:
        The data set, its note saying what was done.

    Raises:
        DataError: there are too few examples for two parts.

    Examples:
        >>> import numpy as np
        >>> data = hold_out("ten", np.arange(10, dtype=np.float32)[:, None], np.zeros(10, np.int64), classes=1)
        >>> data.test.inputs[:, 0].tolist()
        [7.0, 8.0]
    """
    test = held_out(targets, task, TEST_SHARE, SPLIT_SEED, stream=0)
    if not test.any():
        of_what = " of one class" if task == "classification" else ""
        numbers = ", or say that targets are numbers (`task`)" if note and task == "classification" else ""
        raise DataError(
            f"{name} must hold at least 3 examples{of_what}, so that some can be put aside for testing, "
            f"but holds {len(targets)} in all; take more of the data{numbers}."
        )
    of_each = "of each class" if task == "classification" else "of the examples"
    whole = Split(inputs, targets, np.arange(len(targets)))
    return Dataset(
        name=name,
        train=whole[~test],
        test=whole[test],
        classes=classes,
        note=f"{note} A fifth {of_each}, drawn by a fixed seed, was put aside for testing.".lstrip(),
        task=task,
    )
