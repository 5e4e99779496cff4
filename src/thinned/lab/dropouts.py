"""Every dropout that a network of the laboratory can have, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thinned import _check
from thinned import nn as thinned_nn
from thinned._errors import KindError, RangeError

UNITS = ("random", "slice")

# What a kind of dropout stands for or takes as its input.
ELEMENTS = "elements"  # a tensor of any shape, features last
MAPS = "maps"  # images or feature maps, (examples, channels, height, width)
STEPS = "steps"  # sequences, (examples, steps, features)
PATCHES = "patches"  # of images, (examples, patches, features); some are left out
WORDS = "words"  # int64 ids of words, (examples, steps)
BAGS = "bags"  # ids of sparse features, as values and offsets
LAYER = "layer"  # takes the place of the linear layer or the convolution that follows, or wraps it
RECURRENT = "recurrent"  # wraps an LSTM
TABLE = "table"  # wraps an embedding


@dataclass(frozen=True)
class Kind:
    """One kind of dropout.

    Attributes:
        make: builds it. Its arguments are p, the module or the number of features that it is for (a module for
            `LAYER`, `RECURRENT` and `TABLE`), the number of training examples, and options.
        takes: one of the words above.
    """

    make: Callable[..., nn.Module]
    takes: str


def _layer(kind: Callable[..., nn.Module], name: str = "p") -> Callable[..., nn.Module]:
    """What builds a layer that needs nothing but a rate, and calls it `name`."""
    return lambda p, _, __, **options: kind(**{name: p}, **options)


def _nothing(_: float, __: int, ___: int) -> nn.Module:
    return nn.Identity()  # keeps the numbering of the layers, and so the names of the parameters


class StepBlock(nn.Module):
    """`thinned.nn.DropBlock1d` for sequences whose features are last: of each feature, runs of steps are dropped.

    Args:
        p: rate.
        options: as for `thinned.nn.DropBlock1d`.
    """

    def __init__(self, p: float, **options: Any) -> None:
        super().__init__()
        self.block = thinned_nn.DropBlock1d(p, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Return a sequence with runs of steps dropped.

        Args:
            x: shape (examples, steps, features).

        Returns:
            Tensor like `x`.
        """
        return self.block(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


def _patches(p: float, **options: Any) -> nn.Module:
    return thinned_nn.PatchDropout(p, prefix_tokens=0, **options)  # the networks here have no class token


def _variational(p: float, features: int, _: int, *, shared: bool = False) -> nn.Module:
    if not 0 < p <= 0.5:
        raise RangeError(f"`p` must be in (0, 0.5] for variational, whose alpha is p / (1 - p), but got p={p}.")
    return thinned_nn.VariationalDropout(None if shared else features, p / (1 - p))


def _replaced(layer: nn.Module, p: float | None, kinds: Mapping[type, Callable[..., nn.Module]], options: Any) -> Any:
    """Make a layer of another class with the shape and the weights of a plain one; no random number is drawn for it."""
    if p is not None:
        options = {**options, "p": p}
    with torch.random.fork_rng(devices=[]):
        if isinstance(layer, nn.Linear):
            new = kinds[nn.Linear](layer.in_features, layer.out_features, layer.bias is not None, **options)
        else:
            assert isinstance(layer, nn.Conv2d)
            new = kinds[nn.Conv2d](
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding,
                bias=layer.bias is not None, **options,
            )  # fmt: skip
    new.load_state_dict(layer.state_dict(), strict=False)  # it may have parameters of its own besides
    return new


def _drop_connect(p: float, layer: nn.Module, _: int, **options: Any) -> nn.Module:
    kinds = {nn.Linear: thinned_nn.DropConnectLinear, nn.Conv2d: thinned_nn.DropConnectConv2d}
    return _replaced(layer, p, kinds, options)  # type: ignore[no-any-return]


def _sparse_variational(_: float, layer: nn.Module, __: int, **options: Any) -> nn.Module:
    kinds = {nn.Linear: thinned_nn.SparseVariationalLinear, nn.Conv2d: thinned_nn.SparseVariationalConv2d}
    return _replaced(layer, None, kinds, options)  # type: ignore[no-any-return]


def _concrete(p: float, layer: nn.Module, examples: int, **options: Any) -> nn.Module:
    return thinned_nn.ConcreteDropout(layer, p, examples=examples, **options)


KINDS = {
    "none": Kind(_nothing, ELEMENTS),
    "torch": Kind(_layer(nn.Dropout), ELEMENTS),
    "standard": Kind(_layer(thinned_nn.Dropout), ELEMENTS),
    "batchwise": Kind(_layer(thinned_nn.Dropout), ELEMENTS),  # the network around it is made a Chain
    "alpha": Kind(_layer(thinned_nn.AlphaDropout), ELEMENTS),
    "gaussian": Kind(_layer(thinned_nn.GaussianDropout), ELEMENTS),
    "gaussian_noise": Kind(_layer(thinned_nn.GaussianNoise, "std"), ELEMENTS),
    "replacement": Kind(_layer(thinned_nn.ReplacementDropout), ELEMENTS),
    "variational": Kind(_variational, ELEMENTS),
    "spatial": Kind(_layer(thinned_nn.Dropout2d), MAPS),
    "feature_alpha": Kind(_layer(thinned_nn.FeatureAlphaDropout), MAPS),
    "block": Kind(_layer(thinned_nn.DropBlock2d), MAPS),
    "cutout": Kind(lambda _, __, ___, **options: thinned_nn.Cutout(**options), MAPS),
    "step": Kind(_layer(thinned_nn.Dropout1d), STEPS),
    "locked": Kind(lambda p, _, __: thinned_nn.LockedDropout(p, batch_first=True), STEPS),
    "step_block": Kind(_layer(StepBlock), STEPS),
    "patch": Kind(_layer(_patches), PATCHES),
    "word": Kind(_layer(thinned_nn.WordDropout), WORDS),
    "embedding": Kind(lambda p, table, _: thinned_nn.EmbeddingDropout(table, p), TABLE),
    "dropconnect": Kind(_drop_connect, LAYER),
    "sparse_variational": Kind(_sparse_variational, LAYER),
    "concrete": Kind(_concrete, LAYER),
    "weight_drop": Kind(lambda p, module, _, **options: thinned_nn.WeightDrop(module, p=p, **options), RECURRENT),
    "zoneout": Kind(_layer(thinned_nn.Zoneout), RECURRENT),  # the layer around it is a `text.ZoneoutLSTM`
    "sparse_replacement": Kind(_layer(thinned_nn.SparseDropoutWithReplacement), BAGS),
    "sparse_item_replacement": Kind(_layer(thinned_nn.SparseItemwiseDropoutWithReplacement), BAGS),
}


@dataclass(frozen=True)
class DropoutSettings:
    """What a network drops.

    Attributes:
        kind: a name in `KINDS` for all hidden layers, or one name for each.
        p: rate of all hidden layers, or one for each; the standard deviation of ``"gaussian_noise"``.
        input_kind: a name in `KINDS` for the input: for text that of the embedded words, or ``"word"`` or
            ``"embedding"``.
        input_p: its rate; 0 for none.
        options: further arguments of the hidden layers' dropout, as ``{"block_size": 5}``.
        input_options: further arguments of the input's dropout.
        attention_p: rate of attention weights, in a transformer.
        path_p: rate of whole branches in a transformer's last block; earlier blocks have less, in equal steps.
        recurrent_p: rate of the recurrent state, in an LSTM.
        groups: masks of a batch, of ``"batchwise"`` alone: from 1, the fastest, to one for each example.
        units: what ``"batchwise"`` keeps: ``"random"`` units or a ``"slice"`` of neighbours.

    Raises:
        RangeError, KindError: an unknown name, a rate outside [0, 1].

    Examples:
        >>> DropoutSettings(kind="gausian")
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `dropout.kind` must be one of none, torch, standard, batchwise, alpha, gaussian, \
gaussian_noise, replacement, variational, spatial, feature_alpha, block, cutout, step, locked, step_block, patch, \
word, embedding, dropconnect, sparse_variational, concrete, weight_drop, zoneout, sparse_replacement, \
sparse_item_replacement, but got kind='gausian'.
    """

    kind: str | tuple[str, ...] = "standard"
    p: float | tuple[float, ...] = 0.5
    input_kind: str = "standard"
    input_p: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    input_options: dict[str, Any] = field(default_factory=dict)
    attention_p: float = 0.0
    path_p: float = 0.0
    recurrent_p: float = 0.0
    groups: int = 1
    units: str = "random"

    def __post_init__(self) -> None:
        for name in (self.kind,) if isinstance(self.kind, str) else self.kind:
            known(name, "kind")
        known(self.input_kind, "input_kind")
        for p in self.p if isinstance(self.p, tuple) else (self.p,):
            _check.probability(p)
        for name in ("input_p", "attention_p", "path_p", "recurrent_p"):
            _check.probability(getattr(self, name), name)
        _check.positive(self.groups, "groups")
        if self.units not in UNITS:
            raise RangeError(f"`units` must be one of {', '.join(UNITS)}, but got units={self.units!r}.")
        if self.batchwise and (not isinstance(self.kind, str) or self.input_kind not in ("standard", "batchwise")):
            raise RangeError(
                "`dropout.kind` must be batchwise for all hidden layers, and `input_kind` standard, if it is for one, "
                f"but got kind={self.kind!r}, input_kind={self.input_kind!r}."
            )

    @property
    def batchwise(self) -> bool:
        """Whether the network computes kept units only, and needs `thinned.optim`."""
        return "batchwise" in ((self.kind,) if isinstance(self.kind, str) else self.kind)

    def hidden(self, layers: int) -> list[tuple[str, float]]:
        """Return kind and rate of each hidden layer.

        Args:
            layers: how many there are.

        Returns:
            Pairs, from the input on.

        Raises:
            RangeError: the settings name another number of layers.

        Examples:
            >>> DropoutSettings(p=(0.2, 0.5)).hidden(2)
            [('standard', 0.2), ('standard', 0.5)]
        """
        return [*zip(_each(self.kind, layers, "kind"), _each(self.p, layers, "p"), strict=True)]


def known(name: str, setting: str) -> Kind:
    """Return the kind of a name.

    Args:
        name: the name.
        setting: which setting has it, for the message.

    Returns:
        The kind.

    Raises:
        RangeError: there is none of that name.
    """
    if name not in KINDS:
        raise RangeError(f"`dropout.{setting}` must be one of {', '.join(KINDS)}, but got {setting}={name!r}.")
    return KINDS[name]


def make(
    name: str, p: float, subject: Any, examples: int, options: Mapping[str, Any], takes: Sequence[str], place: str
) -> nn.Module:
    """Build a dropout for a place in a network.

    Args:
        name: of its kind.
        p: its rate.
        subject: number of features there, or the module that it is for.
        examples: number of training examples.
        options: further arguments.
        takes: what there is at that place.
        place: what to call it in a message.

    Returns:
        The module.

    Raises:
        RangeError, KindError: the kind does not fit there, or does not take the options.

    Examples:
        >>> make("gaussian", 0.25, 8, 100, {}, ["elements"], "a hidden layer")
        GaussianDropout(p=0.25, inplace=False)
    """
    kind = known(name, "kind")
    if kind.takes not in takes:
        fitting = [other for other, entry in KINDS.items() if entry.takes in takes]
        raise RangeError(f"The dropout of {place} must be one of {', '.join(fitting)}, but got {name!r}.")
    try:
        return kind.make(p, subject, examples, **options)
    except TypeError as error:
        if isinstance(error, KindError):
            raise
        raise KindError(f"The options of the dropout {name!r} must be its arguments, but: {error}.") from error


def _each(value: Any, layers: int, name: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        return (value,) * layers
    if len(value) != layers:
        raise RangeError(f"`{name}` must be one for all hidden layers or {layers}, one for each, but got {len(value)}.")
    return value
