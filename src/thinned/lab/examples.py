"""Examples as tensors, whatever they are: rows of features, images, sequences of words, sparse features.

`thinned.lab.sources` says which of them a run takes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned import data
from thinned.data import Split
from thinned.keys import site_seed

SPLIT_SEED = 0
Augment = Callable[[Tensor, Tensor, int], Tensor]


class Bags(NamedTuple):
    """Sparse features of several examples, as `torch.nn.EmbeddingBag` takes them.

    Attributes:
        ids: int64, shape (items,), those of the first example first.
        offsets: int64, shape (examples,): where each example's ids begin.
        weights: the features' values, float32, shape (items,); None if all are 1.
    """

    ids: Tensor
    offsets: Tensor
    weights: Tensor | None = None

    def pick(self, chosen: Tensor) -> "Bags":
        """Return some of the examples.

        Args:
            chosen: int64, their numbers.

        Returns:
            Their features.

        Examples:
            >>> bags = Bags(torch.tensor([7, 8, 9]), torch.tensor([0, 2, 2]))
            >>> bags.pick(torch.tensor([2, 0]))
            Bags(ids=tensor([9, 7, 8]), offsets=tensor([0, 1]), weights=None)
        """
        ends = torch.cat([self.offsets[1:], self.offsets.new_tensor([len(self.ids)])])
        lengths = (ends - self.offsets)[chosen]
        offsets = lengths.cumsum(0) - lengths
        places = torch.repeat_interleave(self.offsets[chosen] - offsets, lengths)
        places += torch.arange(len(places), device=places.device)
        return Bags(self.ids[places], offsets, None if self.weights is None else self.weights[places])


Inputs = Tensor | Bags


@dataclass(frozen=True)
class Shape:
    """What a network has to know of the data.

    Attributes:
        inputs: shape of one example; of sparse features, how many there are in all.
        outputs: number of classes or words, or of numbers to be predicted.
        examples: how many there are to train on.
        text: whether an example is a sequence of words.
    """

    inputs: tuple[int, ...]
    outputs: int
    examples: int = 1
    text: bool = False


@dataclass(frozen=True)
class Examples:
    """A part of a data set as tensors.

    Attributes:
        inputs: float32, shape (examples, ...); or int64 ids of words, shape (examples, steps); or sparse features.
        targets: int64 classes, shape (examples,), or the next words, shape (examples, steps); or float32 numbers, shape
            (examples,).
        rows: int64, shape (examples,): numbers of the examples within the file that they are a part of; None where they
            are no part of one.

    Examples:
        >>> from thinned.data import load
        >>> examples = Examples.of(load("digits").train)
        >>> examples.inputs.shape, examples.head(100).inputs.shape
        (torch.Size([1438, 64]), torch.Size([100, 64]))
    """

    inputs: Any  # Inputs; Any, so that whoever knows which it is need not say so
    targets: Tensor
    rows: Tensor | None = None

    @classmethod
    def of(cls, split: Split, flat: bool = True) -> "Examples":
        """Make tensors of a split, in the same memory where it may be written to.

        Args:
            split: the examples as arrays.
            flat: whether each example becomes one row of numbers; otherwise images get an axis of channels.

        Returns:
            The same numbers.
        """
        rows = None if split.rows is None else _tensor(split.rows)
        return cls(tensors(split.inputs, flat), _tensor(split.targets), rows)

    def __len__(self) -> int:
        return len(self.targets)

    def pick(self, chosen: Tensor) -> "Examples":
        """Return some examples.

        Args:
            chosen: int64, their numbers.

        Returns:
            A copy of them.
        """
        inputs = self.inputs.pick(chosen) if isinstance(self.inputs, Bags) else self.inputs[chosen]
        return Examples(inputs, self.targets[chosen])

    def part(self, start: int, stop: int) -> "Examples":
        """Return neighbouring examples.

        Args:
            start: number of the first.
            stop: number after the last; the last one's if there are fewer.

        Returns:
            A view of them, where their kind allows it.
        """
        if isinstance(self.inputs, Bags):
            return self.pick(torch.arange(start, min(stop, len(self)), device=self.targets.device))
        return Examples(self.inputs[start:stop], self.targets[start:stop])

    def head(self, count: int) -> "Examples":
        """Return the first examples.

        Args:
            count: how many; all of them if there are fewer.

        Returns:
            A view of them.
        """
        return self.part(0, count)

    def to(self, device: torch.device) -> "Examples":
        """Return the examples on a device.

        Args:
            device: which.

        Returns:
            The examples; themselves if they are there.
        """
        if isinstance(self.inputs, Bags):
            moved: Inputs = Bags(*(None if part is None else part.to(device) for part in self.inputs))  # type: ignore[arg-type]
        else:
            moved = self.inputs.to(device)
        return Examples(moved, self.targets.to(device))


def tensors(inputs: NDArray[Any] | data.Sparse, flat: bool = True) -> Inputs:
    """Make tensors of inputs, in the same memory where it may be written to.

    Args:
        inputs: of all examples, as `thinned.data.Split` has them.
        flat: as for `Examples.of`.

    Returns:
        The same numbers.

    Examples:
        >>> tensors(np.zeros((5, 8, 8), np.float32), flat=False).shape
        torch.Size([5, 1, 8, 8])
    """
    if isinstance(inputs, data.Sparse):
        ids, offsets, weights = map(torch.from_numpy, (inputs.ids, inputs.offsets, inputs.weights))
        return Bags(ids, offsets[:-1], None if bool((weights == 1).all()) else weights)
    dense = _tensor(inputs)
    if dense.is_floating_point():
        dense = dense.flatten(1) if flat else dense.unsqueeze(1) if dense.dim() == 3 else dense
    return dense


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor in the same memory, or a copy of one that must not be written to, as files give."""
    return torch.from_numpy(np.require(array, requirements="W"))


def order(seed: int, epoch: int, count: int, what: str = "order") -> Tensor:
    """Return a random order that is a function of seed and epoch.

    Args:
        seed: unsigned 64-bit seed of the run.
        epoch: counted from 0.
        count: of what is put in order.
        what: what the order is for; another word is another order.

    Returns:
        int64 tensor of shape (count,), each number once.

    Examples:
        >>> order(0, 3, 5).tolist() == order(0, 3, 5).tolist() != order(0, 4, 5).tolist()
        True
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(site_seed(seed, epoch, what)))


def fingerprint(examples: Examples) -> str:
    """Return what tells whether two sets of examples are the same, bit for bit.

    Args:
        examples: on any device.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> one, two = (Examples(torch.zeros(2, 3), torch.tensor([0, last])) for last in (0, 1))
        >>> fingerprint(one) == fingerprint(one), fingerprint(one) == fingerprint(two)
        (True, False)
    """
    parts = examples.inputs if isinstance(examples.inputs, Bags) else (examples.inputs,)
    found = hashlib.sha256()
    for part in (*parts, examples.targets):
        if part is not None:
            array = np.ascontiguousarray(part.cpu().numpy())
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(array.data)
    return found.hexdigest()
