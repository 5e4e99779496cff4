"""What a run takes of data: the parts that it learns from, is chosen by, and is judged by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned import data
from thinned._errors import KindError, RangeError
from thinned.data import Dataset
from thinned.lab.examples import Augment, Examples, Shape, fingerprint
from thinned.lab.meaning import Meaning


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
