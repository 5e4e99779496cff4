"""The methods that a comparison sets side by side: kinds of dropout by name, each with a rate of its own if need be."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from thinned._errors import RangeError
from thinned.lab.dropouts import DropoutSettings
from thinned.lab.examples import Shape
from thinned.lab.models import ModelSettings, build

DEFAULT = ("none", "torch", "thinned", "batchwise")
SENTENCES = {
    "none": "The same network without dropout.",
    "torch": "PyTorch's own torch.nn.Dropout: a fresh mask for every example, stored for backward.",
    "thinned": "thinned.nn.Dropout: a fresh mask for every example, a function of a seed, so that backward draws it "
    "again instead of storing it.",
    "batchwise": "thinned.batchwise.Chain: one mask for all examples of a batch, or of a group of them, so that only "
    "kept units are computed; weights of dropped units, and their momentum, stay as they are.",
    "gaussian": "thinned.nn.GaussianDropout: factors of mean 1 and variance p / (1 - p) in the place of a mask.",
    "variational": "thinned.nn.VariationalDropout: Gaussian factors whose variance is learned; p is where it starts.",
    "dropconnect": "thinned.nn.DropConnectLinear: single weights are dropped, one mask for a batch.",
    "concrete": "thinned.nn.ConcreteDropout: dropout whose rates are learned; p is where they start.",
    "sparse_variational": "thinned.nn.SparseVariationalLinear: a learned noise on each weight; weights that are all "
    "noise count as zero.",
}
RATELESS = ("none", "sparse_variational")
KINDS = {"thinned": "standard"}  # where the laboratory has another name for it


@dataclass(frozen=True)
class Method:
    """One way to drop units.

    Attributes:
        kind: its name in `dropouts.KINDS`.
        sentence: what it is, for the reader of a report.
        p: its rate for hidden units; None for the one that all have.
    """

    kind: str
    sentence: str
    p: float | None = None

    @property
    def batchwise(self) -> bool:
        """Whether the network computes kept units only, and is trained with `thinned.optim`."""
        return self.kind == "batchwise"


def method(name: str) -> Method:
    """Return a method by its name.

    Args:
        name: a name in `SENTENCES`; with a colon and a rate behind it for a rate of its own.

    Returns:
        The method.

    Raises:
        RangeError: there is none of that name, or the rate is none.

    Examples:
        >>> method("none").sentence
        'The same network without dropout.'
        >>> method("gaussian:0.25").p
        0.25
    """
    kind, colon, rate = name.partition(":")
    if kind not in SENTENCES:
        raise RangeError(f"`methods` must be among {', '.join(SENTENCES)}, but got {kind!r}.")
    p = None
    if colon:
        try:
            p = float(rate)
        except ValueError:
            p = -1.0
        if not 0 <= p <= 1:
            raise RangeError(f"`methods` must be NAME or NAME:P with a rate P in [0, 1], but got {name!r}.")
        if kind in RATELESS:
            raise RangeError(f"`methods` must give no rate to {kind}, which has none, but got {name!r}.")
    own = "" if p is None else f" Here p is {p:g}."
    return Method(KINDS.get(kind, kind), SENTENCES[kind] + own, p)


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
    examples: int = 1,
) -> nn.Module:
    """Build the multilayer perceptron that a method of a comparison trains.

    Args:
        name: of the method.
        inputs: number of input features.
        hidden: widths of the hidden layers.
        classes: number of outputs.
        p: drop probability of hidden units, where the method has none of its own.
        input_p: drop probability of input features.
        groups: of batchwise: how many masks a batch has.
        units: of batchwise: ``"random"`` units are kept, or a ``"slice"`` of neighbours.
        examples: how many there are to train on, for a method that learns its noise.

    Returns:
        Dropout, then Linear, ReLU and Dropout for each hidden layer, then Linear.

    Raises:
        RangeError: there is no method of that name, or its rate is out of its range.

    Examples:
        >>> model = network("torch", 64, [16], 10, p=0.5, input_p=0.2)
        >>> [type(layer).__name__ for layer in model]
        ['Dropout', 'Linear', 'ReLU', 'Dropout', 'Linear']
    """
    found = method(name)
    rate = p if found.p is None else found.p
    dropped = DropoutSettings(found.kind, rate, found.kind, input_p, groups=groups, units=units)
    return build(ModelSettings(hidden=tuple(hidden)), dropped, Shape((inputs,), classes, examples))
