"""Examples as tensors, whatever they are: rows of features, images, sequences of words, sparse features.

This is the one place of the laboratory that knows what `thinned.data` returns.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned import data
from thinned._errors import KindError, RangeError
from thinned.data import Dataset, Split
from thinned.keys import site_seed
from thinned.lab.meaning import Meaning

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


@dataclass(frozen=True)
class Parts:
    """What a run learns from, is chosen by, and is judged by.

    Attributes:
        name: of the data set.
        note: where the test part comes from, if not from whoever published the data.
        train: examples to learn from; with `crop` whole images, out of which each epoch cuts other windows.
        validation: put aside of the training part, to stop by; there may be none.
        test: looked at once, in the end.
        shape: what a network has to know.
        image: channels, if there are any, height and width of a training input that is an image; otherwise empty.
        crop: side of the window of an image that a network sees; 0 for whole images.
        meaning: what inputs and outputs stand for.
    """

    name: str
    note: str
    train: Examples
    validation: Examples
    test: Examples
    shape: Shape
    image: tuple[int, ...] = ()
    crop: int = 0
    meaning: Meaning = field(default_factory=Meaning)

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted, and the error is the root of the mean squared error."""
        return bool(self.train.targets.is_floating_point())

    def described(self) -> dict[str, Any]:
        """Return what a run says of its data.

        Returns:
            Texts and numbers by name; ``fingerprint`` tells whether the training examples are the same.
        """
        return {
            "name": self.name,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "note": self.note,
            "task": "regression" if self.numbers else "classification",
            "fingerprint": fingerprint(self.train),
        }

    def judged(self, whole: Examples) -> Examples:
        """Return examples as a network is given them that does not learn: the middle of images that are cropped.

        Args:
            whole: some of the training examples.

        Returns:
            What validation and test examples are like; the examples themselves without `crop`.

        Raises:
            RangeError: the images are smaller than the window.

        Examples:
            >>> made = parts(load("digits"), 0.25, crop=6)
            >>> made.train.inputs.shape, made.judged(made.train).inputs.shape, made.test.inputs.shape
            (torch.Size([1079, 64]), torch.Size([1079, 36]), torch.Size([359, 36]))
        """
        if not self.crop:
            return whole
        return replace(whole, inputs=middle(whole.inputs, self.image, self.crop))


def load(
    name: str,
    examples: int | None = None,
    *,
    test: str | None = None,
    task: str | None = None,
    target: int | str | None = None,
    drop: Sequence[int | str] = (),
    header: bool | None = None,
    delimiter: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set by its name, downloaded if need be, or read what is at a path.

    Args:
        name: a name that `thinned.data` makes, or a path that it reads.
        examples: to train on, of artificial data alone.
        test: path of the file to test on.
        task: ``"classification"`` or ``"regression"``; None to choose by the targets.
        target: of a table: name or number of the target's column; None for the last.
        drop: of a table: names or numbers of columns to leave out.
        header: of a table: whether its first line has names; None to look.
        delimiter: of a table: what is between two columns; None to look.
        say: called with a sentence for each file that was downloaded.

    Returns:
        The data set.

    Raises:
        RangeError: `examples` for other data.
        DataError: there are no such data, or they are damaged, or their format takes no such option.

    Examples:
        >>> load("digits").classes
        10
    """
    if examples is not None and name != "artificial":
        raise RangeError(f"`examples` must be left out except for artificial data, but got examples={examples}.")
    given: dict[str, Any] = {
        "examples": examples,
        "test": test,
        "task": task,
        "target": target,
        "drop": list(drop) or None,
        "header": header,
        "delimiter": delimiter,
    }
    options: dict[str, Any] = {option: value for option, value in given.items() if value is not None}

    def tell(file: str, done: int, size: int) -> None:
        if say is not None and done == size:
            say(f"Downloaded {file}, {size / 2**20:.1f} MiB.")

    return data.load(name, download=name in data.download.SOURCES, on_progress=tell, **options)


def check_classes(source: Dataset) -> None:
    """Refuse to learn classes of which there is one: whatever is predicted would be right.

    Args:
        source: the data.

    Raises:
        RangeError: all examples to train on are of one class.

    Examples:
        >>> check_classes(load("digits"))
    """
    if source.task != "classification":
        return
    found = np.unique(source.train.targets)
    if len(found) < 2:
        shown = [repr(source.class_names[place] if source.class_names else int(place)) for place in found]
        raise RangeError(
            f"`data` must have at least two classes to learn, but the training examples of {source.name} have "
            f"{'only ' + shown[0] if shown else 'none'}."
        )


def parts(source: Dataset, validation: float, kind: str = "mlp", steps: int = 64, crop: int = 0) -> Parts:
    """Make tensors of a data set, in the form that a network takes, and put a part of the training examples aside.

    Which ones does not depend on the seed of a run, so that runs with several seeds are judged alike.

    Args:
        source: the data set.
        validation: share of the training examples that is put aside; 0 for none.
        kind: of the network, as in `thinned.lab.network.ModelSettings`.
        steps: of text: words of one example.
        crop: of images: side of the window that the network sees; 0 for whole images.

    Returns:
        The three parts.

    Raises:
        RangeError, KindError: the share leaves a part without examples, the network takes other data, there are no
            images to crop, or the window is larger than they are.

    Examples:
        >>> made = parts(load("digits"), 0.25, "convnet")
        >>> len(made.train), len(made.validation), made.shape.inputs
        (1079, 359, (1, 8, 8))
    """
    check_sparse(source.name, source.train.inputs, kind)
    if kind != "sparse":
        source = source.dense()
    splits = [*(data.validation(source, validation) if validation else (source.train, source.train[:0])), source.test]
    text = source.task == "text"
    if text:
        splits = [data.windows(split, steps) if len(split.targets) else split for split in splits]
    train, aside, test = (Examples.of(split, flat=kind == "mlp") for split in splits)
    image = sides(source.name, source.train.inputs, crop)
    features = (source.train.inputs.features,) if kind == "sparse" else tuple(train.inputs.shape[1:])
    features = _cropped(features, image, crop) if crop else features
    shape = Shape(features, source.outputs, len(train), text)
    made = Parts(source.name, source.note, train, aside, test, shape, image, crop, Meaning.of(source))
    return replace(made, validation=made.judged(aside), test=made.judged(test))


def check_sparse(name: str, inputs: NDArray[Any] | data.Sparse, kind: str) -> None:
    """Refuse dense features where a network takes sparse ones.

    Args:
        name: of the data.
        inputs: of all examples.
        kind: of the network.

    Raises:
        KindError: they are dense, and the network is of kind sparse.
    """
    if kind == "sparse" and not isinstance(inputs, data.Sparse):
        raise KindError(f"The model sparse must have sparse features, but those of {name} are dense.")


def sides(name: str, inputs: NDArray[Any] | data.Sparse, crop: int = 0) -> tuple[int, ...]:
    """Return channels, if there are any, height and width of images.

    Args:
        name: of the data.
        inputs: of all examples.
        crop: side of the window of an image that a network sees; 0 for whole images, or none.

    Returns:
        Two or three sizes; nothing if the examples are no images.

    Raises:
        KindError: there are no images to crop.

    Examples:
        >>> sides("digits", load("digits").train.inputs)
        (8, 8)
    """
    image = tuple(inputs.shape[1:])
    image = image if len(image) in (2, 3) else ()
    if crop and not image:
        raise _no_images("crop", name)
    return image


def middle(inputs: Tensor, image: tuple[int, ...], crop: int) -> Tensor:
    """Return the windows in the middle of images.

    Args:
        inputs: whole images, as a network takes them.
        image: as `sides` returns it.
        crop: side of the window.

    Returns:
        The windows, as a network takes them.

    Raises:
        RangeError: the images are smaller than the window.

    Examples:
        >>> middle(torch.zeros(5, 64), (8, 8), 6).shape
        torch.Size([5, 36])
    """
    cut = data.crop_centre(inputs.reshape(len(inputs), *image), crop)
    return cut.reshape(len(inputs), *_cropped(tuple(inputs.shape[1:]), image, crop)).contiguous()


def _cropped(features: tuple[int, ...], image: tuple[int, ...], crop: int) -> tuple[int, ...]:
    """Return the shape of a window, as a network takes it that takes whole images as `features`."""
    return (math.prod(image[:-2]) * crop**2,) if len(features) == 1 else (features[0], crop, crop)


def augmentation(made: Parts, flip: bool, shift: int, seed: int) -> Augment | None:
    """Return what is done to the images of a batch while training.

    Args:
        made: what is trained on, and by what windows.
        flip: whether half of the images are mirrored.
        shift: by how many pixels an image may be moved.
        seed: of the run.

    Returns:
        A function of a batch of inputs, their places among the training examples, and the epoch; None if there is
        nothing to do.

    Raises:
        RangeError, KindError: there are no images, or the shift is not below their sides.

    Examples:
        >>> change = augmentation(parts(load("digits"), 0.25), flip=False, shift=1, seed=0)
        >>> change(torch.ones(2, 64), torch.tensor([3, 8]), 0).shape
        torch.Size([2, 64])
    """
    if not flip and shift == 0 and made.crop == 0:
        return None
    if not made.image:
        raise _no_images("flip` and `shift", made.name)

    def change(inputs: Tensor, places: Tensor, epoch: int) -> Tensor:
        images = inputs.reshape(len(inputs), *made.image)
        changed = data.augment(images, places, seed=seed, epoch=epoch, flip=flip, shift=shift, crop=made.crop or None)
        return changed.reshape(len(inputs), *made.shape.inputs)

    change(made.train.inputs[:0], torch.empty(0, dtype=torch.int64), 0)  # the shift may be too large
    return change


def _no_images(settings: str, name: str) -> KindError:
    return KindError(f"`{settings}` must be left out, because the examples of {name} are no images.")


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
