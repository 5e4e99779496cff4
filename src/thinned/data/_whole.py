"""All examples of a file, with targets or without, before any of them are put aside."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned import _check
from thinned._errors import DataError
from thinned.data._dataset import TASKS, Change, Dataset, Inputs, Scaling, Split, Targets, Task, hold_out
from thinned.data._sparse import Sparse

CLASSES = 2**16
FLOAT32 = float(np.finfo(np.float32).max)
LISTED = 100  # whole numbers with at most so many values are classes, if nobody says what they are


@dataclass(frozen=True)
class Layout:
    """What a network takes, and what the file that it was trained on looked like: another one is read by it.

    Attributes:
        task: as in `Dataset`.
        features: how many there are.
        feature_names: what they are called, in their order; empty where the file did not say.
        target: name or number of the column that had the targets; None for the last.
        drop: names or numbers of the columns that were left out.
    """

    task: str
    features: int
    feature_names: tuple[str, ...] = ()
    target: int | str | None = None
    drop: tuple[int | str, ...] = ()


@dataclass(frozen=True, eq=False)
class Whole:
    """All examples of a file, in its order.

    Attributes:
        name: what to call them in a table.
        inputs: as in `Split`.
        targets: as in `Split`; None where the file has none.
        classes: number of classes; 0 for regression, and without targets.
        note: how the task was chosen, as a sentence, if it was.
        task: ``"classification"`` or ``"regression"``; None without targets.
        class_names: what the classes are called, where the file says.
        feature_names: what the features are called, where the file says.
        target_name: what the target is called, where the file says.
        input_scaling: how the inputs were standardised, if they were.
        target_scaling: how the targets were standardised, if they were.

    Examples:
        >>> flowers = Whole("flowers", np.float32([[5.1, 3.5], [6.2, 2.9]]))
        >>> len(flowers), flowers.targets is None
        (2, True)
    """

    name: str
    inputs: Inputs
    targets: Targets | None = None
    classes: int = 0
    note: str = ""
    task: Task | None = None
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    input_scaling: Scaling | None = None
    target_scaling: Scaling | None = None

    def __len__(self) -> int:
        """Return the number of examples.

        Returns:
            At least 1 of a file that was read.
        """
        return len(self.inputs)

    def dense(self) -> "Whole":
        """Return the same with inputs that are an array, if they are sparse.

        Returns:
            New examples; these if their inputs are an array.

        Raises:
            RangeError: the array would take more than 4 GiB.
        """
        return self.mapped(inputs=Sparse.dense) if isinstance(self.inputs, Sparse) else self

    def mapped(self, inputs: Change | None = None, targets: Change | None = None, **changes: Any) -> "Whole":
        """Return the same examples with other numbers.

        Args:
            inputs: makes the new inputs of the old ones; None to leave them.
            targets: the same of the targets, if there are any.
            **changes: new values of other attributes.

        Returns:
            New examples, in the same order.
        """
        if inputs is not None:
            changes["inputs"] = inputs(self.inputs)
        if targets is not None and self.targets is not None:
            changes["targets"] = targets(self.targets)
        return replace(self, **changes)

    def parted(self) -> Dataset:
        """Put a fifth of the examples, of each class if there are classes, aside for testing.

        Returns:
            The data set, as every reader of a file without a test part returns it.

        Raises:
            DataError: there are no targets, or too few examples for two parts.
        """
        if self.targets is None or self.task is None:
            raise DataError(f"{self.name} must have targets, so that a part can be put aside, but has none.")
        made = hold_out(self.name, self.inputs, self.targets, self.classes, task=self.task, note=self.note)
        return replace(
            made,
            class_names=self.class_names,
            feature_names=self.feature_names,
            target_name=self.target_name,
            input_scaling=self.input_scaling,
            target_scaling=self.target_scaling,
        )


def whole(
    name: str,
    inputs: Inputs,
    targets: NDArray[np.float64] | None,
    *,
    task: str | None,
    words: tuple[str, ...] = (),
    feature_names: tuple[str, ...] = (),
    target_name: str = "",
) -> Whole:
    """Make all examples of a file of what it holds.

    Args:
        name: what to call them.
        inputs: along the first axis.
        targets: finite numbers, or places in `words`; None where there are none.
        task: as for `supervised`.
        words: as for `supervised`.
        feature_names: names of the features, if there are any.
        target_name: name of the target, if there is one.

    Returns:
        The examples; classes are numbered in the order of the targets, and named after them.

    Raises:
        RangeError, DataError: as `supervised`.

    Examples:
        >>> signs = whole("signs", np.zeros((3, 2), np.float32), np.float64([-1, 1, 1]), task=None)
        >>> signs.task, signs.class_names, signs.targets
        ('classification', ('-1', '1'), array([0, 1, 1]))
    """
    made = Whole(name, inputs, feature_names=feature_names, target_name=target_name)
    if targets is None:
        return made
    chosen, names, note, coded = _coding(name, targets, task, words)
    return replace(made, targets=coded(targets), classes=len(names), note=note, task=chosen, class_names=names)


def supervised(
    name: str,
    train: tuple[Inputs, NDArray[np.float64]],
    test: tuple[Inputs, NDArray[np.float64]],
    *,
    task: str | None,
    words: tuple[str, ...] = (),
    feature_names: tuple[str, ...] = (),
    target_name: str = "",
) -> Dataset:
    """Make a data set of two parts whose targets are numbers or words.

    Args:
        name: what to call the data set.
        train: inputs and targets to train on; targets are finite, or places in `words`.
        test: the same to test on.
        task: ``"classification"`` or ``"regression"``; None for classification if the targets are words, or whole
            numbers with at most 100 values, and regression otherwise.
        words: the words that targets stand for, in any order, if they do.
        feature_names: names of the features, if there are any.
        target_name: name of the target, if there is one.

    Returns:
        The data set, its note saying how the task was chosen, if it was; classes are numbered in the order of the
        targets, and named after them.

    Raises:
        RangeError: `task` is another word.
        DataError: targets are not what the task needs.

    Examples:
        >>> part = np.zeros((3, 2), np.float32), np.float64([-1, 1, 1])
        >>> data = supervised("signs", part, part, task=None)
        >>> data.task, data.class_names, data.test.targets
        ('classification', ('-1', '1'), array([0, 1, 1]))
    """
    chosen, names, note, coded = _coding(name, np.concatenate([train[1], test[1]]), task, words)
    first, second = (Split(inputs, coded(targets)) for inputs, targets in (train, test))
    return Dataset(name, first, second, len(names), note, chosen, names, feature_names, target_name)


def _coding(
    name: str, every: NDArray[np.float64], task: str | None, words: tuple[str, ...]
) -> tuple[Task, tuple[str, ...], str, Callable[[NDArray[np.float64]], Targets]]:
    """Return the task, names of classes, a note of how the task was chosen, and what codes targets."""
    if task is not None:
        _check.one_of(task, TASKS[:2], "task")
    if words and task == "regression":
        raise DataError(f"{name} must have numbers as targets for task='regression', but has {words[0][:40]!r}.")
    values = np.unique(every)
    integers = bool(np.all(values == np.rint(values)))
    note = ""
    if words:
        task = "classification"
    elif task is None:
        task = "classification" if integers and len(values) <= LISTED else "regression"
        note = f"The targets were taken for {'classes' if task == 'classification' else 'numbers to be predicted'}."
    names: tuple[str, ...] = ()
    if task == "classification":
        if not integers or len(values) > CLASSES:
            raise DataError(
                f"{name} must have classes that are whole numbers, at most {CLASSES} of them, for "
                f"task='classification', but has {len(values)} values, the largest {values[-1]:g}; "
                "take task='regression'."
            )
        names = tuple(sorted(words)) if words else tuple(f"{value + 0.0:.0f}" for value in values)
    elif np.abs(values).max() > FLOAT32:
        raise DataError(f"{name} must have targets that float32 can hold, but has {values[-1]:g}; scale them.")
    places = {word: place for place, word in enumerate(names)}
    place = np.array([places[word] for word in words], np.int64)

    def coded(targets: NDArray[np.float64]) -> Targets:
        if words:
            return place[targets.astype(np.int64)]
        return np.searchsorted(values, targets).astype(np.int64) if names else targets.astype(np.float32)

    return "classification" if names else "regression", names, note, coded
