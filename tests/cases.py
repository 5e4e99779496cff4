"""One row for each layer: how it is made, on what it is tried, and what may be expected of it.

The laws that layers obey are in `test_nn.py` and run on every row; a public layer without a row fails there.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from thinned import functional, nn
from thinned.masks import rate

Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One layer, or one way to make it.

    Attributes:
        layer: its class.
        shape: the shape of an input for which it is meant.
        function: what its forward calls: input, `p` if it has one, training, `options`.
        shared: axes of that input along which one decision is shared.
        theirs: torch's own layer whose place it takes, if there is one.
        options: what it is made with, beside `p`; also what `function` is called with.
        p: the probability it is tried with; None for a layer that has none.
        drops: whether it sets elements to zero with probability `p` and multiplies the others by 1 / (1 - p).
        evaluated: what it does in eval mode; None for returning the input itself.
        deviation: standard deviation of the mean of its output in one call on an input of ones; by default that of
            dropout with `decisions` independent decisions. Infinite where a layer does not keep the mean.
        told: what its `repr` says between the parentheses, at p = 0.25.
        tokens: its input are the numbers of that many words, not numbers to compute with.
        splits: whether a batch may be split over processes: the mask of a row does not depend on the other rows.
    """

    layer: type[torch.nn.Module]
    shape: tuple[int, ...]
    function: Callable[..., torch.Tensor] | None
    shared: tuple[int, ...] = ()
    theirs: type[torch.nn.Module] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    p: float | None = 0.5
    drops: bool = True
    evaluated: Map | None = None
    deviation: float | None = None
    told: str = "p=0.25, inplace=False"
    tokens: int = 0
    splits: bool = True

    def make(self, *p: Any, **options: Any) -> torch.nn.Module:
        return self.layer(*(p or self.rates), **{**self.options, **options})

    def call(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.rates, training=True, **self.options)

    @property
    def rates(self) -> tuple[float, ...]:
        return () if self.p is None else (self.p,)

    def input(self, **options: Any) -> torch.Tensor:
        generator = torch.Generator(torch.get_default_device()).manual_seed(1)
        if self.tokens:
            return torch.randint(self.tokens, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator).to(**{"dtype": torch.float64} | options) + 3

    @property
    def inplace(self) -> bool:
        return "inplace" in inspect.signature(self.layer).parameters

    @property
    def decisions(self) -> int:
        return math.prod(size for axis, size in enumerate(self.shape) if axis not in self.shared)

    def spread(self, p: float | None = None) -> float:
        """Standard deviation of the mean over one call's output on ones."""
        if self.deviation is not None:
            return self.deviation
        q = rate(self.p if p is None else p).realised
        return math.sqrt(q / (1 - q) / self.decisions)

    def __str__(self) -> str:
        return self.layer.__name__ + "".join(f" {name}={value}" for name, value in self.options.items())


CASES = [
    Case(nn.Dropout, (40, 50), functional.dropout, theirs=torch.nn.Dropout),
    Case(
        nn.Dropout,
        (90, 5, 6),
        functional.dropout,
        shared=(1,),
        options={"shared_axes": (1,)},
        told="p=0.25, inplace=False, shared_axes=(1,)",
    ),
    Case(nn.Dropout1d, (40, 50, 3), functional.dropout1d, shared=(2,), theirs=torch.nn.Dropout1d),
    Case(nn.Dropout2d, (40, 50, 2, 2), functional.dropout2d, shared=(2, 3), theirs=torch.nn.Dropout2d),
    Case(nn.Dropout3d, (40, 50, 2, 1, 2), functional.dropout3d, shared=(2, 3, 4), theirs=torch.nn.Dropout3d),
]
