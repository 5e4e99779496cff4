"""What the numbers that go into a network and come out of it stand for; kept in a run's checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from thinned._errors import RangeError
from thinned.data import Dataset, Scaling, Whole
from thinned.data._columns import listed

TASKS = ("classification", "regression", "text")
Source = TypeVar("Source", Dataset, Whole)


@dataclass(frozen=True)
class Meaning:
    """What a network's numbers stand for, so that it can be asked about data that were not there when it was trained.

    Attributes:
        task: as in `thinned.data.Dataset`.
        class_names: what the classes are called, by their numbers; of text its words; empty where the data do not say.
        feature_names: what the features are called, in their order; empty where the data do not say.
        target_name: what the target is called, where the data say.
        input_scaling: how the inputs were standardised, if they were.
        target_scaling: how the targets were standardised, if they were.

    Examples:
        >>> from thinned.data import load
        >>> Meaning.of(load("digits")).class_names[:3]
        ('0', '1', '2')
    """

    task: str = "classification"
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    input_scaling: Scaling | None = None
    target_scaling: Scaling | None = None

    @classmethod
    def of(cls, source: Dataset) -> "Meaning":
        """Take down what a data set says.

        Args:
            source: what a network is trained on, standardised if it is to be.

        Returns:
            That.
        """
        return cls(
            source.task,
            source.class_names,
            source.feature_names,
            source.target_name,
            source.input_scaling,
            source.target_scaling,
        )

    @property
    def unit(self) -> float:
        """What an error of the network is to be multiplied by, to be in the data's own unit."""
        return self.target_scaling.std.item() if self.target_scaling else 1.0

    @classmethod
    def read(cls, told: Mapping[str, Any], outputs: int) -> "Meaning":
        """Read what `plain` has returned.

        Args:
            told: from a checkpoint.
            outputs: of the network.

        Returns:
            The same again.

        Raises:
            KeyError, TypeError, ValueError: it is something else.

        Examples:
            >>> meaning = Meaning(class_names=("lily", "rose"))
            >>> Meaning.read(meaning.plain(), outputs=2) == meaning
            True
        """
        made = cls(
            told["task"],
            _names(told["class_names"]),
            _names(told["feature_names"]),
            _names([told.get("target_name", "")])[0],  # not there in a checkpoint from before it was kept
            _scaling(told["input_scaling"]),
            _scaling(told["target_scaling"]),
        )
        if made.task not in TASKS or len(set(made.class_names)) not in (0, outputs):
            raise ValueError("what the network's numbers stand for")
        return made

    def plain(self) -> dict[str, Any]:
        """Return the same as what a checkpoint holds.

        Returns:
            Texts, lists, and tensors.
        """
        scalings = {"input_scaling": self.input_scaling, "target_scaling": self.target_scaling}
        return {
            "task": self.task,
            "class_names": list(self.class_names),
            "feature_names": list(self.feature_names),
            "target_name": self.target_name,
            **{
                kind: scaling and {"mean": torch.tensor(scaling.mean), "std": torch.tensor(scaling.std)}
                for kind, scaling in scalings.items()
            },
        }

    def fitted(self, source: Source) -> Source:
        """Return data as the network knows them: with its numbers of classes, and standardised as its own were.

        Args:
            source: any data, as they were read.

        Returns:
            The data with other inputs and targets.

        Raises:
            RangeError: they are for another task, or have other features, or a class that is not known here.

        Examples:
            >>> inputs, targets = np.zeros((2, 1), np.float32), np.array([0, 1])
            >>> other = Whole("others", inputs, targets, 2, task="classification", class_names=("oak", "rose"))
            >>> Meaning(class_names=("lily", "oak", "rose")).fitted(other).targets
            array([1, 2])
        """
        if self.feature_names and source.feature_names and self.feature_names != source.feature_names:
            raise RangeError(
                f"`data` must have the features that the network was trained on, {listed(self.feature_names)}, in "
                f"this order, but {source.name} has {listed(source.feature_names)}."
            )
        source = self._numbered(self._as_numbers(source))
        if source.task not in (self.task, None):
            raise RangeError(
                f"`data` must be for {self.task}, as those of the training, but {source.name} is for {source.task}."
            )
        return self._scaled(source) if self.input_scaling is not None else source

    def _as_numbers(self, source: Source) -> Source:
        """Return whole numbers, which a reader may have taken for classes, as the numbers that they are."""
        if self.task != "regression" or source.task != "classification":
            return source
        try:
            values = np.array([float(name) for name in source.class_names], np.float32)
        except ValueError:
            return source
        return source.mapped(targets=values.__getitem__, task="regression", classes=0, class_names=())

    def _numbered(self, source: Source) -> Source:
        """Return classes by their numbers here: each file numbers its own."""
        names, theirs = self.class_names, source.class_names
        if not names or not theirs or names == theirs:
            return source
        unknown = [name for name in theirs if name not in names]
        if unknown or source.task == "text":
            raise RangeError(
                f"`data` must have no classes but those that the network was trained on, {listed(names)}, but "
                f"{source.name} has {listed((unknown or theirs)[:1])}."
            )
        number = np.array([names.index(name) for name in theirs])
        return source.mapped(targets=number.__getitem__, classes=len(names), class_names=names)

    def _scaled(self, source: Source) -> Source:
        source = source.dense()
        scaling, of_targets = self.input_scaling, self.target_scaling
        assert scaling is not None
        inputs = source.inputs if isinstance(source, Whole) else source.train.inputs
        given, wanted = inputs.shape[1:], scaling.mean.shape
        try:
            fits = np.broadcast_shapes(given, wanted) == given
        except ValueError:
            fits = False
        if not fits:
            raise RangeError(
                f"`data` must have examples of a shape that {wanted} broadcasts to, as the means of the training's "
                f"features do, but {source.name} has {given}."
            )
        return source.mapped(
            scaling.apply,
            of_targets.apply if of_targets else None,
            input_scaling=scaling,
            target_scaling=of_targets,
        )


def _names(told: Any) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise TypeError("names")
    return tuple(told)


def _scaling(told: Any) -> Scaling | None:
    if told is None:
        return None
    mean, std = told["mean"], told["std"]
    for part in (mean, std):
        if not isinstance(part, Tensor) or part.dtype != torch.float32 or not part.is_contiguous():
            raise TypeError("mean and deviation")
        if not bool(part.isfinite().all()):
            raise ValueError("mean and deviation")
    if mean.shape != std.shape or not bool((std > 0).all()):
        raise ValueError("mean and deviation")
    return Scaling(mean.numpy(), std.numpy())
