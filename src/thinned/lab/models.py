"""The networks that the laboratory trains, and the table of methods that it compares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

import thinned
from thinned import nn as thinned_nn
from thinned._errors import RangeError


@dataclass(frozen=True)
class Method:
    """One way to drop units.

    Attributes:
        dropout: builds the layer that drops with a given probability.
        sentence: what it is, for the reader of a report.
        batchwise: whether the network is converted to compute kept units only, and trained with `thinned.optim`.
    """

    dropout: Callable[[float], nn.Module]
    sentence: str
    batchwise: bool = False


def _nothing(_: float) -> nn.Module:
    return nn.Identity()  # keeps the numbering of the layers, and so the names of the parameters


METHODS = {
    "none": Method(_nothing, "The same network without dropout."),
    "torch": Method(nn.Dropout, "PyTorch's own torch.nn.Dropout: a fresh mask for every example, stored for backward."),
    "thinned": Method(
        thinned_nn.Dropout,
        "thinned.nn.Dropout: a fresh mask for every example, a function of a seed, so that backward draws it again "
        "instead of storing it.",
    ),
    "batchwise": Method(
        thinned_nn.Dropout,
        "thinned.batchwise.Chain: one mask for all examples of a batch, or of a group of them, so that "
        "only kept units are computed; weights of dropped units, and their momentum, stay as they are.",
        batchwise=True,
    ),
}


def method(name: str) -> Method:
    """Return a method of the table.

    Args:
        name: its name.

    Returns:
        The method.

    Raises:
        RangeError: there is none of that name.

    Examples:
        >>> method("none").sentence
        'The same network without dropout.'
    """
    if name not in METHODS:
        raise RangeError(f"`methods` must be among {', '.join(METHODS)}, but got {name!r}.")
    return METHODS[name]


def network(
    name: str,
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    *,
    p: float,
    input_p: float,
    groups: int = 1,
    units: str = "random",
) -> nn.Module:
    """Build the network that a method trains.

    Args:
        name: of the method.
        inputs: number of input features.
        hidden: widths of the hidden layers.
        classes: number of outputs.
        p: drop probability of hidden units.
        input_p: drop probability of input features.
        groups: of batchwise: how many masks a batch has.
        units: of batchwise: ``"random"`` units are kept, or a ``"slice"`` of neighbours.

    Returns:
        The network of `mlp`, converted where the method asks for it.

    Raises:
        RangeError: there is no method of that name.

    Examples:
        >>> network("torch", 64, [16], 10, p=0.5, input_p=0.2)[3]
        Dropout(p=0.5, inplace=False)
    """
    chosen = method(name)
    model = mlp(inputs, hidden, classes, dropout=chosen.dropout, p=p, input_p=input_p)
    return thinned.batchwise.Chain(*model, groups=groups, units=units) if chosen.batchwise else model


def mlp(
    inputs: int, hidden: Sequence[int], classes: int, *, dropout: Callable[[float], nn.Module], p: float, input_p: float
) -> nn.Sequential:
    """Build a multilayer perceptron with dropout on the input and after every hidden layer.

    Args:
        inputs: number of input features.
        hidden: widths of the hidden layers.
        classes: number of outputs.
        dropout: builds the layer that drops with a given probability.
        p: drop probability of hidden units.
        input_p: drop probability of input features.

    Returns:
        Dropout, then Linear, ReLU and Dropout for each hidden layer, then Linear.

    Examples:
        >>> model = mlp(64, [16], 10, dropout=nn.Dropout, p=0.5, input_p=0.2)
        >>> [type(layer).__name__ for layer in model]
        ['Dropout', 'Linear', 'ReLU', 'Dropout', 'Linear']
    """
    layers = [dropout(input_p)]
    for width_in, width_out in pairwise([inputs, *hidden]):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(), dropout(p)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else inputs, classes))
