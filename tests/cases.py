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
        build: makes one of p and options, where the class needs something else first.
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
    build: Callable[..., torch.nn.Module] | None = None

    def make(self, *p: Any, **options: Any) -> torch.nn.Module:
        return (self.build or self.layer)(*(p or self.rates), **{**self.options, **options})

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

    @property
    def telling(self) -> bool:
        """Whether two masks are sure to differ: it is random, in more than one decision."""
        return self.spread() != 0 and self.options.get("mode") != "batch"

    def spread(self, p: float | None = None) -> float:
        """Standard deviation of the mean over one call's output on ones."""
        if self.deviation is not None:
            return self.deviation
        q = rate(self.p if p is None else p).realised
        return math.sqrt(q / (1 - q) / self.decisions)

    def __str__(self) -> str:
        return self.layer.__name__ + "".join(f" {name}={value}" for name, value in self.options.items())


def embedding_layer(p: float = 0.5, **options: Any) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(2)
    return nn.EmbeddingDropout(
        torch.nn.Embedding.from_pretrained(torch.randn(50, 6, generator=generator)), p, **options
    )


def block(layer: type[torch.nn.Module], shape: tuple[int, ...], function: Any, told: str = "", **options: Any) -> Case:
    """A row for DropBlock with blocks of 3.

    An element depends on no other than those within two of it along each axis, 5**axes in all, times the channels if
    they are coupled: so much more, at most, is the variance of the mean than that of independent elements. Divided by
    the count, the mean is one exactly.
    """
    axes = len(shape) - 2
    ties = 5**axes * (shape[1] if options.get("couple_channels") else 1)
    deviation = 1e-9 if "normalise" in options else math.sqrt(0.25 / 0.75 * ties / math.prod(shape))
    return Case(
        layer,
        shape,
        function,
        options={"block_size": 3, **options},
        p=0.25,
        drops=False,
        deviation=deviation,
        told=f"p=0.25, block_size=3, inplace=False{told}",
        splits="normalise" not in options,
    )


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
    Case(
        nn.Dropout,
        (40, 50),
        functional.dropout,
        options={"mode": "downscale_in_infer"},
        drops=False,
        evaluated=lambda x: x * 0.5,
        deviation=0.5 / math.sqrt(2000),
        told="p=0.25, inplace=False, mode=downscale_in_infer",
    ),
    # alpha dropout keeps the mean of a standardised input, not that of ones: tests/test_alpha.py
    Case(
        nn.AlphaDropout,
        (40, 50),
        functional.alpha_dropout,
        theirs=torch.nn.AlphaDropout,
        drops=False,
        deviation=math.inf,
    ),
    Case(
        nn.FeatureAlphaDropout,
        (40, 50, 3),
        functional.feature_alpha_dropout,
        shared=(2,),
        theirs=torch.nn.FeatureAlphaDropout,
        drops=False,
        deviation=math.inf,
    ),
    Case(nn.GaussianDropout, (40, 50), functional.gaussian_dropout, drops=False, deviation=1 / math.sqrt(2000)),
    Case(
        nn.GaussianDropout,
        (40, 50, 3),
        functional.gaussian_dropout,
        options={"shared_axes": (2,)},
        drops=False,
        deviation=1 / math.sqrt(2000),
        told="p=0.25, inplace=False, shared_axes=(2,)",
    ),
    Case(
        nn.GaussianNoise,
        (40, 50),
        functional.gaussian_noise,
        options={"std": 0.3},
        p=None,
        drops=False,
        deviation=0.3 / math.sqrt(2000),
        told="std=0.3, inplace=False",
    ),
    Case(
        nn.ActivityRegularization,
        (40, 50),
        None,
        options={"l1": 0.1, "l2": 0.01},
        p=None,
        drops=False,
        deviation=0.0,
        told="l1=0.1, l2=0.01",
    ),
    block(nn.DropBlock1d, (10, 20, 30), functional.drop_block1d),
    block(nn.DropBlock2d, (10, 4, 12, 14), functional.drop_block2d),
    block(nn.DropBlock2d, (10, 4, 12, 14), functional.drop_block2d, ", couple_channels=True", couple_channels=True),
    block(nn.DropBlock2d, (10, 4, 12, 14), functional.drop_block2d, ", normalise=count", normalise="count"),
    block(nn.DropBlock3d, (10, 3, 8, 7, 6), functional.drop_block3d),
    Case(
        nn.Cutout,
        (16, 3, 12, 14),
        functional.cutout,
        options={"size": 5, "holes": 2},
        p=None,
        drops=False,
        deviation=math.inf,
        told="size=5, holes=2",
    ),
    Case(nn.DropPath, (400, 3, 2), functional.drop_path, shared=(1, 2), told="p=0.25, mode=row"),
    Case(
        nn.DropPath,
        (400, 3, 2),
        functional.drop_path,
        options={"mode": "batch", "scale_by_keep": False},
        drops=False,
        deviation=math.inf,
        told="p=0.25, mode=batch, scale_by_keep=False",
    ),
    Case(
        nn.StochasticDepth,
        (400, 3, 2),
        functional.drop_path,
        shared=(1, 2),
        options={"mode": "row"},
        told="p=0.25, mode=row",
    ),
    Case(
        nn.PatchDropout,
        (8, 21, 3),
        functional.patch_dropout,
        drops=False,
        deviation=1e-9,
        told="p=0.25, prefix_tokens=1, ordered=True",
    ),
    Case(
        nn.PatchDropout,
        (8, 21, 3),
        functional.patch_dropout,
        options={"prefix_tokens": 0, "ordered": False},
        drops=False,
        deviation=1e-9,
        told="p=0.25, prefix_tokens=0, ordered=False",
    ),
    Case(
        nn.LockedDropout,
        (40, 5, 50),
        functional.locked_dropout,
        shared=(1,),
        options={"batch_first": True},
        told="p=0.25, batch_first=True",
    ),
    Case(
        nn.LockedDropout,
        (5, 40, 50),
        functional.locked_dropout,
        shared=(0,),
        told="p=0.25, batch_first=False",
        splits=False,
    ),
    Case(
        nn.WordDropout,
        (20, 30),
        functional.word_dropout,
        options={"unknown": 1, "protected": (0, 2)},
        drops=False,
        tokens=50,
        told="p=0.25, unknown=1, protected=(0, 2)",
    ),
    Case(
        nn.EmbeddingDropout,
        (20, 30),
        None,
        drops=False,
        tokens=50,
        evaluated=lambda x: embedding_layer().embedding(x),
        told="\n  p=0.25\n  (embedding): Embedding(50, 6)\n",
        build=embedding_layer,
    ),
]

# Layers that the common laws do not fit: the file in which each is tested.
APART = {
    nn.ConcreteDropout: "test_bayes.py",
    nn.DropConnectConv1d: "test_weights.py",
    nn.DropConnectConv2d: "test_weights.py",
    nn.DropConnectConv3d: "test_weights.py",
    nn.DropConnectLinear: "test_weights.py",
    nn.GRU: "test_recurrent.py",
    nn.LSTM: "test_recurrent.py",
    nn.MultiheadAttention: "test_attention.py",
    nn.ReplacementDropout: "test_replacement.py",  # does not scale; what it drops becomes another value than 0
    nn.SparseDropoutWithReplacement: "test_replacement_ids.py",  # takes ids, whose number changes
    nn.SparseItemwiseDropoutWithReplacement: "test_replacement_ids.py",  # takes ids
    nn.SparseVariationalConv1d: "test_bayes.py",
    nn.SparseVariationalConv2d: "test_bayes.py",
    nn.SparseVariationalConv3d: "test_bayes.py",
    nn.SparseVariationalLinear: "test_bayes.py",
    nn.VariationalDropout: "test_bayes.py",
    nn.WeightDrop: "test_weights.py",
    nn.Zoneout: "test_recurrent.py",
}
