"""Which network is trained: the settings of `thinned.lab.models`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

from torch import nn

from thinned import _check
from thinned._errors import RangeError
from thinned.lab.initialise import INITIALISATIONS, SPREAD


class Linear(nn.Identity):
    """No activation: a class of its own, so that monitors find its outputs."""


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": Linear,
}
HIDDEN = {  # by default
    "mlp": (1024, 1024),
    "convnet": (128,),
    "vit": (),
    "sparse": (),
    "transformer": (),
    "lstm": (128,),
}
TRANSFORMERS = ("vit", "transformer")
TAKEN = {  # settings that are of some networks, and by which
    "mlp": ("hidden", "activation", "norm"),
    "convnet": ("hidden", "channels", "activation", "norm"),
    "vit": ("width", "layers", "heads", "patch", "activation"),
    "sparse": ("hidden", "activation", "norm"),
    "transformer": ("width", "layers", "heads", "activation"),
    "lstm": ("hidden", "width"),
}
NORMS = ("none", "batch")
WIDEST = 2**24  # units of one layer
DEEPEST = 1000  # layers


@dataclass(frozen=True)
class ModelSettings:
    """What network is trained.

    Attributes:
        kind: ``"mlp"``, ``"convnet"``, ``"vit"`` (a transformer on patches of images), ``"sparse"`` (logistic
            regression on sparse ids, or an embedding bag below hidden layers), ``"transformer"`` or ``"lstm"`` (both
            predict the next character or word).
        hidden: widths of the hidden layers; of a convnet those after the convolutions, of an LSTM those of its layers;
            None for what `HIDDEN` has for the kind. Transformers have `layers` of `width` instead.
        channels: of a convnet's convolutions, each 3 x 3, with a pooling by 2 behind it.
        width: features of a word's embedding, and of transformers throughout.
        layers: blocks of transformers.
        heads: of the attention of transformers; they divide `width`.
        patch: of a vit: side of a patch in pixels; it divides the sides of the images.
        activation: a name in `ACTIVATIONS`.
        initialisation: of the weights: as ``"torch"`` makes them, or ``"glorot"``, ``"he"``, ``"orthogonal"``,
            ``"uniform"``, ``"normal"`` or ``"zero"``; with all of these biases start at zero.
        init_scale: half the width of ``"uniform"``, standard deviation of ``"normal"``; None for 0.05 and 0.01.
        norm: ``"batch"`` for batch normalisation before each activation, or ``"none"``.

    Raises:
        RangeError, KindError: an unknown name, a width that no machine has, a setting that the kind has no use for.

    Examples:
        >>> ModelSettings(kind="convnet").hidden
        (128,)
    """

    kind: str = "mlp"
    hidden: tuple[int, ...] | None = None
    channels: tuple[int, ...] = (32, 64)
    width: int = 64
    layers: int = 2
    heads: int = 4
    patch: int = 4
    activation: str = "relu"
    initialisation: str = "torch"
    init_scale: float | None = None
    norm: str = "none"

    def __post_init__(self) -> None:
        choices: dict[str, Collection[str]] = {
            "kind": HIDDEN,
            "activation": ACTIVATIONS,
            "initialisation": INITIALISATIONS,
            "norm": NORMS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise RangeError(
                    f"`model.{name}` must be one of {', '.join(known)}, but got {name}={getattr(self, name)!r}."
                )
        if self.hidden is None:
            object.__setattr__(self, "hidden", HIDDEN[self.kind])
        alone = {name: (getattr(self, name),) for name in ("width", "layers", "heads", "patch")}
        for name, widths in {"hidden": self.units, "channels": self.channels, **alone}.items():
            for width in widths:
                if _check.positive(width, name) > WIDEST:
                    raise RangeError(f"`{name}` must be at most {WIDEST} units a layer, but got {name}={width}.")
        for name, number in (("hidden", len(self.units)), ("channels", len(self.channels)), ("layers", self.layers)):
            if number > DEEPEST:
                raise RangeError(f"`{name}` must be at most {DEEPEST} layers, but got {number}.")
        self._check_use()
        if self.kind in TRANSFORMERS and self.width % self.heads:
            raise RangeError(
                f"A {self.kind} must have a `width` that its `heads` divide, but got width={self.width}, "
                f"heads={self.heads}."
            )
        if self.kind == "lstm" and not self.units:
            raise RangeError("`hidden` must be at least one width for an LSTM, but got hidden=[].")
        if self.init_scale is not None:
            if self.initialisation not in SPREAD:
                raise RangeError(
                    f"`init_scale` must be left out except for {' and '.join(SPREAD)}, but got {self.initialisation!r}."
                )
            _check.scale(self.init_scale, "init_scale")

    def _check_use(self) -> None:
        """Refuse settings that would change nothing."""
        special = {name for names in TAKEN.values() for name in names}
        for one in fields(self):
            value = getattr(self, one.name)
            default = HIDDEN[self.kind] if one.name == "hidden" else one.default
            if one.name in special and one.name not in TAKEN[self.kind] and value != default:
                shown = list(value) if isinstance(value, tuple) else value
                users = [kind for kind, names in TAKEN.items() if one.name in names]
                raise RangeError(
                    f"`{one.name}` must be left out except for {', '.join(users)}, but got {one.name}={shown} for "
                    f"kind={self.kind!r}."
                )

    @property
    def units(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.hidden or ()
