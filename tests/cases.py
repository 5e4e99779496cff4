"""One row for each layer: how it is made, on what it is tried, and what may be expected of it.

The laws that all layers obey are in `test_nn.py` and run on every row; a public layer without a row fails there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from thinned import functional, nn


@dataclass(frozen=True)
class Case:
    """One layer, or one way to make it.

    Attributes:
        layer: its class.
        shape: the shape of an input for which it is meant.
        function: what its forward calls.
        shared: axes of that input along which one decision is shared.
        theirs: torch's own layer whose place it takes, if there is one.
        options: what it is made with, beside `p`.
    """

    layer: type[torch.nn.Module]
    shape: tuple[int, ...]
    function: Callable[..., torch.Tensor]
    shared: tuple[int, ...] = ()
    theirs: type[torch.nn.Module] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, p: float = 0.5, **options: Any) -> torch.nn.Module:
        return self.layer(p, **{**self.options, **options})

    def input(self, **options: Any) -> torch.Tensor:
        generator = torch.Generator(torch.get_default_device()).manual_seed(1)
        return torch.randn(self.shape, generator=generator).to(**{"dtype": torch.float64} | options) + 3

    def __str__(self) -> str:
        return self.layer.__name__ + "".join(f" {name}={value}" for name, value in self.options.items())


CASES = [
    Case(nn.Dropout, (40, 50), functional.dropout, theirs=torch.nn.Dropout),
    Case(nn.Dropout, (90, 5, 6), functional.dropout, shared=(1,), options={"shared_axes": (1,)}),
    Case(nn.Dropout1d, (40, 50, 3), functional.dropout1d, shared=(2,), theirs=torch.nn.Dropout1d),
    Case(nn.Dropout2d, (40, 50, 2, 2), functional.dropout2d, shared=(2, 3), theirs=torch.nn.Dropout2d),
    Case(nn.Dropout3d, (40, 50, 2, 1, 2), functional.dropout3d, shared=(2, 3, 4), theirs=torch.nn.Dropout3d),
]

# Layers that do more than drop their input: the file in which each is tested.
APART = {
    nn.ConcreteDropout: "test_bayes.py",
    nn.DropConnectConv1d: "test_weights.py",
    nn.DropConnectConv2d: "test_weights.py",
    nn.DropConnectConv3d: "test_weights.py",
    nn.DropConnectLinear: "test_weights.py",
    nn.GRU: "test_recurrent.py",
    nn.LSTM: "test_recurrent.py",
    nn.MultiheadAttention: "test_attention.py",
    nn.SparseVariationalConv2d: "test_bayes.py",
    nn.SparseVariationalLinear: "test_bayes.py",
    nn.VariationalDropout: "test_bayes.py",
    nn.WeightDrop: "test_weights.py",
    nn.Zoneout: "test_recurrent.py",
}
