"""The networks that the laboratory trains: one builder for all."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

import thinned
from thinned._errors import RangeError
from thinned.lab import dropouts, text, vision
from thinned.lab.dropouts import BAGS, ELEMENTS, LAYER, MAPS, DropoutSettings
from thinned.lab.examples import Bags, Shape
from thinned.lab.initialise import initialise
from thinned.lab.network import ACTIVATIONS, TRANSFORMERS, ModelSettings

TEXT = ("lstm", "transformer")  # what predicts the next word; the others have no use for ids
PLACES = {"attention_p": TRANSFORMERS, "path_p": TRANSFORMERS, "recurrent_p": ("lstm",)}  # that some networks have
KERNEL = 3  # side of a convolution's kernel
SPARSE_STD = 0.01  # of the first weights of sparse features; the sum of a few is still small


def build(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    """Build a network; its random numbers come from torch's default generator.

    Args:
        settings: which network.
        dropped: what it drops.
        shape: of the data.

    Returns:
        The network, on the CPU.

    Raises:
        RangeError, KindError: settings that do not go together, or not with the data.

    Examples:
        >>> settings = ModelSettings(hidden=(16,), norm="batch", activation="tanh")
        >>> model = build(settings, DropoutSettings("gaussian", 0.25), Shape((64,), 10))
        >>> [type(layer).__name__ for layer in model]
        ['Identity', 'Linear', 'BatchNorm1d', 'Tanh', 'GaussianDropout', 'Linear']
    """
    if shape.text and settings.kind not in TEXT:
        raise RangeError(f"`model.kind` must be {' or '.join(TEXT)} for a text, but got kind={settings.kind!r}.")
    for name, kinds in PLACES.items():
        if getattr(dropped, name) and settings.kind not in kinds:
            raise RangeError(
                f"`{name}` must be 0 except for {' and '.join(kinds)}, but got {name}={getattr(dropped, name)} for "
                f"kind={settings.kind!r}."
            )
    if dropped.batchwise and settings.kind != "mlp":
        raise RangeError(f"`dropout.kind` must not be batchwise for a {settings.kind}: it is for chains of layers.")
    model = MAKERS[settings.kind](settings, dropped, shape)
    initialise(model, settings.initialisation, settings.activation, settings.init_scale)
    return model


def skeleton(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    """Build a network that has shapes, but takes no memory.

    Args:
        settings: as for `build`.
        dropped: likewise.
        shape: likewise.

    Returns:
        The network, on torch's meta device.

    Raises:
        RangeError, KindError: as for `build`.

    Examples:
        >>> model = skeleton(ModelSettings(hidden=(2**24, 2**24)), DropoutSettings(), Shape((64,), 10))
        >>> sum(weight.numel() for weight in model.parameters()) > 2**48
        True
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(settings, dropped, shape)


class _Dense:
    """Adds layers to a list, each with the dropout that stands before it."""

    def __init__(self, settings: ModelSettings, dropped: DropoutSettings, shape: Shape, sites: int) -> None:
        self.layers: list[nn.Module] = []
        self._settings, self._dropped, self._examples = settings, dropped, shape.examples
        self._hidden = iter(dropped.hidden(sites))
        self._wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer

    def input(self, features: int, takes: Sequence[str]) -> None:
        name = self._dropped.input_kind if self._dropped.input_p > 0 or self._dropped.input_kind == "cutout" else "none"
        options = {} if name == "none" else self._dropped.input_options
        self._drop(name, self._dropped.input_p, features, takes, options, "the input")

    def hidden(self, features: int, takes: Sequence[str]) -> None:
        name, p = next(self._hidden)
        options = {} if name == "none" else self._dropped.options
        self._drop(name, p, features, takes, options, "a hidden layer")

    def _drop(self, name: str, p: float, features: int, takes: Sequence[str], options: Any, place: str) -> None:
        """Add a dropout; one that takes the place of a layer waits for the next one."""
        if dropouts.known(name, "kind").takes == LAYER:
            self.layers.append(nn.Identity())
            self._wrap = lambda layer: dropouts.make(name, p, layer, self._examples, options, [LAYER], place)
        else:
            self.layers.append(dropouts.make(name, p, features, self._examples, options, [*takes, LAYER], place))

    def weighted(self, layer: nn.Module) -> None:
        self.layers.append(self._wrap(layer))
        self._wrap = lambda layer: layer

    def activation(self, norm: Callable[[int], nn.Module], features: int) -> None:
        if self._settings.norm == "batch":
            self.layers.append(norm(features))
        self.layers.append(ACTIVATIONS[self._settings.activation]())

    def perceptron(self, inputs: int, outputs: int) -> None:
        for width in self._settings.units:
            self.weighted(nn.Linear(inputs, width))
            self.activation(nn.BatchNorm1d, width)
            self.hidden(width, [ELEMENTS])
            inputs = width
        self.weighted(nn.Linear(inputs, outputs))


def _mlp(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    inputs = math.prod(shape.inputs)
    made = _Dense(settings, dropped, shape, len(settings.units))
    made.input(inputs, [ELEMENTS])
    made.perceptron(inputs, shape.outputs)
    if dropped.batchwise:
        return thinned.batchwise.Chain(*made.layers, groups=dropped.groups, units=dropped.units)
    return nn.Sequential(*made.layers)


def _convnet(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    if len(shape.inputs) != 3:
        raise RangeError(f"A convnet must have images, but got examples of shape {shape.inputs}.")
    channels, *size = shape.inputs
    if min(size) < 2 ** len(settings.channels):
        raise RangeError(
            f"`channels` must be so few that each can halve the image, but got {len(settings.channels)} for "
            f"{size[0]} x {size[1]} pixels."
        )
    made = _Dense(settings, dropped, shape, len(settings.channels) + len(settings.units))
    made.input(channels, [ELEMENTS, MAPS])
    for width in settings.channels:
        made.weighted(nn.Conv2d(channels, width, KERNEL, padding=KERNEL // 2))
        made.activation(nn.BatchNorm2d, width)
        made.layers.append(nn.MaxPool2d(2))
        made.hidden(width, [ELEMENTS, MAPS])
        channels, size = width, [side // 2 for side in size]
    made.layers.append(nn.Flatten())
    made.perceptron(channels * math.prod(size), shape.outputs)
    return nn.Sequential(*made.layers)


class SparseNetwork(nn.Module):
    """A linear layer on sparse features, and what may follow it: logistic regression where nothing does.

    Args:
        drop: dropout of the ids.
        features: how many ids there are.
        width: outputs of the linear layer.
        after: the rest of the network.
    """

    def __init__(self, drop: nn.Module, features: int, width: int, after: nn.Sequential) -> None:
        super().__init__()
        self.drop = drop
        self.bag = nn.EmbeddingBag(features, width, mode="sum")
        nn.init.normal_(self.bag.weight, std=SPARSE_STD)
        self.bias = nn.Parameter(torch.zeros(width))
        self.after = after

    def forward(self, bags: Bags) -> torch.Tensor:
        """Return the outputs for a batch of examples.

        Args:
            bags: their features.

        Returns:
            Tensor of shape (examples, outputs).
        """
        ids, offsets = bags.ids, bags.offsets
        if not isinstance(self.drop, nn.Identity):
            ids, offsets = self.drop(ids, offsets=offsets)
            if bags.weights is not None and len(ids) != len(bags.ids):
                raise RangeError("`input_kind` must not be sparse_replacement for features that have values.")
        summed: torch.Tensor = self.bag(ids, offsets, per_sample_weights=bags.weights)
        return self.after(summed + self.bias)  # type: ignore[no-any-return]


def _sparse(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    name = dropped.input_kind if dropped.input_p > 0 else "none"
    options = dropped.input_options if name != "none" else {}
    takes = [BAGS] if name != "none" else [BAGS, ELEMENTS]
    drop = dropouts.make(name, dropped.input_p, 0, shape.examples, options, takes, "sparse features")
    made = _Dense(settings, dropped, shape, len(settings.units))
    widths = [*settings.units, shape.outputs]
    for before, width in pairwise(widths):
        made.activation(nn.BatchNorm1d, before)
        made.hidden(before, [ELEMENTS])
        made.weighted(nn.Linear(before, width))
    return SparseNetwork(drop, math.prod(shape.inputs), widths[0], nn.Sequential(*made.layers))


MAKERS: dict[str, Callable[[ModelSettings, DropoutSettings, Shape], nn.Module]] = {
    "mlp": _mlp,
    "convnet": _convnet,
    "vit": vision.build,
    "sparse": _sparse,
    "transformer": text.transformer,
    "lstm": text.lstm,
}
