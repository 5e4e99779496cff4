"""What the numbers that go into a network and come out of it stand for; kept in a run's checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thinned._errors import RangeError
from thinned.data import Dataset, Split

LISTED, LONGEST = 10, 40  # names in a message and their characters, at most


@dataclass(frozen=True)
class Meaning:
    """What a network's numbers stand for.

    Attributes:
        class_names: what the classes are called, by their numbers; of text its words; empty where the data do not say.

    Examples:
        >>> from thinned.data import load
        >>> Meaning.of(load("digits")).class_names[:3]
        ('0', '1', '2')
    """

    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Dataset) -> "Meaning":
        """Take down what a data set says.

        Args:
            source: what a network is trained on.

        Returns:
            That.
        """
        return cls(source.class_names)

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
            >>> Meaning.read({"class_names": ["lily", "rose"]}, outputs=2).class_names
            ('lily', 'rose')
        """
        names = told["class_names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("class_names")
        if names and len(set(names)) != outputs:
            raise ValueError("class_names")
        return cls(tuple(names))

    def numbered(self, source: Dataset) -> Dataset:
        """Return data whose classes have the numbers that they have here: each file numbers its own.

        Args:
            source: any data.

        Returns:
            The data with other targets; itself where the names are the same, or nothing says what they are.

        Raises:
            RangeError: it has a class that is not known here.

        Examples:
            >>> inputs, targets = np.zeros((2, 1), np.float32), np.array([0, 1])
            >>> part = Split(inputs, targets)
            >>> other = Dataset("others", part, part, classes=2, class_names=("oak", "rose"))
            >>> Meaning(("lily", "oak", "rose")).numbered(other).test.targets
            array([1, 2])
        """
        names, theirs = self.class_names, source.class_names
        if not names or not theirs or names == theirs:
            return source
        unknown = [name for name in theirs if name not in names]
        if unknown or source.task == "text":
            known = [repr(name[:LONGEST]) for name in names[:LISTED]] + ["..."] * (len(names) > LISTED)
            raise RangeError(
                f"`data` must have no classes but those that the network was trained on, {', '.join(known)}, but "
                f"{source.name} has {(unknown or theirs)[0][:LONGEST]!r}."
            )
        number = np.array([names.index(name) for name in theirs])
        train, test = (Split(part.inputs, number[part.targets]) for part in (source.train, source.test))
        return replace(source, train=train, test=test, classes=len(names), class_names=names)

    def plain(self) -> dict[str, Any]:
        """Return the same as what a checkpoint holds.

        Returns:
            Lists, texts, numbers and tensors.
        """
        return {"class_names": list(self.class_names)}
