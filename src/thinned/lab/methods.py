"""The methods that a comparison sets side by side: kinds of dropout by name, each with rates of its own if need be."""

from dataclasses import dataclass, replace

from thinned._errors import RangeError
from thinned.lab.dropouts import BAGS, KINDS, PATCHES, TABLE, WORDS, DropoutSettings
from thinned.lab.network import ModelSettings

SENTENCES = {
    "none": "The same network without dropout.",
    "torch": "PyTorch's own torch.nn.Dropout: a fresh mask for every example, stored for backward.",
    "thinned": "thinned.nn.Dropout: a fresh mask for every example, a function of a seed, so that backward draws it "
    "again instead of storing it.",
    "batchwise": "thinned.batchwise.Chain: one mask for all examples of a batch, or of a group of them, so that only "
    "kept units are computed; weights of dropped units, and their momentum, stay as they are.",
    "alpha": "thinned.nn.AlphaDropout: dropped units get the least value of SELU; mean and variance stay as they are.",
    "gaussian": "thinned.nn.GaussianDropout: factors of mean 1 and variance p / (1 - p) in the place of a mask.",
    "gaussian_noise": "thinned.nn.GaussianNoise: noise of standard deviation p is added.",
    "replacement": "thinned.nn.ReplacementDropout: dropped units get another value than zero.",
    "variational": "thinned.nn.VariationalDropout: Gaussian factors whose variance is learned; p is where it starts.",
    "spatial": "thinned.nn.Dropout2d: whole maps are dropped.",
    "feature_alpha": "thinned.nn.FeatureAlphaDropout: whole maps get the least value of SELU.",
    "block": "thinned.nn.DropBlock2d: squares of each map are dropped.",
    "cutout": "thinned.nn.Cutout: a square of each input image is dropped.",
    "step": "thinned.nn.Dropout1d: whole steps of a sequence are dropped.",
    "locked": "thinned.nn.LockedDropout: the same features are dropped at all steps of a sequence.",
    "step_block": "thinned.nn.DropBlock1d: runs of steps of a sequence are dropped, of each feature others.",
    "patch": "thinned.nn.PatchDropout: some patches of each image are left out, and not computed.",
    "word": "thinned.nn.WordDropout: words of the input become another id.",
    "embedding": "thinned.nn.EmbeddingDropout: words are dropped from the table of embeddings, wherever they stand.",
    "dropconnect": "thinned.nn.DropConnectLinear, or DropConnectConv2d: single weights are dropped, one mask a batch.",
    "sparse_variational": "thinned.nn.SparseVariationalLinear and SparseVariationalConv2d: a learned noise on each "
    "weight; weights that are all noise count as zero.",
    "concrete": "thinned.nn.ConcreteDropout: dropout whose rates are learned; p is where they start.",
    "weight_drop": "thinned.nn.WeightDrop: weights from an LSTM's state to itself are dropped.",
    "zoneout": "thinned.nn.Zoneout: parts of an LSTM's state and memory keep their old values.",
    "sparse_replacement": "thinned.nn.SparseDropoutWithReplacement: all ids of an example are dropped, and one of "
    "replacement stands for them.",
    "sparse_item_replacement": "thinned.nn.SparseItemwiseDropoutWithReplacement: single ids of an example become "
    "another id.",
}
ALIAS = {"thinned": "standard"}  # the laboratory's own name for it
RATELESS = ("none", "sparse_variational", "cutout")
OF_THE_INPUT = ("cutout", *(name for name, kind in KINDS.items() if kind.takes in (PATCHES, WORDS, TABLE, BAGS)))
OF_ANY_LAYER = ("mlp", "convnet")  # networks whose input can have whatever a hidden layer can


@dataclass(frozen=True)
class Method:
    """One way to drop units.

    Attributes:
        kinds: names in `dropouts.KINDS`: one for all hidden layers or for the input, or one for each hidden layer.
        p: its rates: one, or one for each hidden layer; None for those that all methods have.
        sentence: what it is, for the reader of a report.
    """

    kinds: tuple[str, ...]
    p: tuple[float, ...] | None
    sentence: str

    def dropout(self, common: DropoutSettings, model: ModelSettings) -> DropoutSettings:
        """Return what a network drops by this method.

        Args:
            common: what all methods have in common.
            model: the network.

        Returns:
            The settings of dropout.

        Raises:
            RangeError, KindError: settings that do not go together.

        Examples:
            >>> found = method("gaussian:0.25").dropout(DropoutSettings(input_p=0.1), ModelSettings())
            >>> found.kind, found.p, found.input_kind, found.input_p
            ('gaussian', 0.25, 'gaussian', 0.1)
        """
        kind = self.kinds[0]
        rate = common.p if self.p is None else self.p[0] if len(self.p) == 1 else self.p
        if set(self.kinds) == {"none"}:
            return DropoutSettings("none", common.p, "none")
        if kind in OF_THE_INPUT and len(self.kinds) == 1:
            if isinstance(rate, tuple):
                raise RangeError(f"`methods` must give one rate to {kind}, which is for the input, but got {rate}.")
            return replace(common, kind="none", options={}, input_kind=kind, input_p=rate)
        kinds = kind if len(self.kinds) == 1 else self.kinds
        return replace(common, kind=kinds, p=rate, input_kind=_of_input(kind, common, model))


def _of_input(kind: str, common: DropoutSettings, model: ModelSettings) -> str:
    if not common.input_p and common.input_kind != "cutout":
        return "standard"  # of rate 0, which goes with any kind
    return kind if model.kind in OF_ANY_LAYER else common.input_kind


def method(name: str) -> Method:
    """Return a method by its name.

    Args:
        name: a name in `SENTENCES`, with a colon and a rate behind it for a rate of its own; with ``+`` between several
            kinds, or rates, for one of each hidden layer.

    Returns:
        The method.

    Raises:
        RangeError: there is none of that name, or the rate is none.

    Examples:
        >>> method("none").sentence
        'The same network without dropout.'
        >>> method("spatial+thinned:0.1+0.5").kinds, method("spatial+thinned:0.1+0.5").p
        (('spatial', 'standard'), (0.1, 0.5))
    """
    told, colon, rates = name.partition(":")
    kinds = tuple(told.split("+"))
    for kind in kinds:
        if ALIAS.get(kind, kind) not in KINDS:
            raise RangeError(f"`methods` must be among {', '.join((*SENTENCES, *ALIAS.values()))}, but got {kind!r}.")
    p = None
    if colon:
        try:
            p = tuple(float(rate) for rate in rates.split("+"))
        except ValueError:
            p = (-1.0,)
        if not all(0 <= rate <= 1 for rate in p):
            raise RangeError(f"`methods` must be NAME or NAME:P with a rate P in [0, 1], but got {name!r}.")
        if len(kinds) == 1 and kinds[0] in RATELESS:
            raise RangeError(f"`methods` must give no rate to {told}, which has none, but got {name!r}.")
        if len(p) > 1 and len(kinds) > 1 and len(p) != len(kinds):
            raise RangeError(f"`methods` must have as many rates as kinds, or one, but got {name!r}.")
    own = "" if p is None else f" Here p is {', '.join(format(rate, 'g') for rate in p)}."
    by_kind = {kind: SENTENCES.get(kind) or SENTENCES["thinned"] for kind in kinds}
    if len(kinds) == 1:
        return Method(_names(kinds), p, by_kind[told] + own)
    layers = f"Its hidden layers have {', '.join(kinds)}, in this order. "
    return Method(_names(kinds), p, layers + " ".join(by_kind.values()) + own)


def _names(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(ALIAS.get(kind, kind) for kind in kinds)


def default(model: ModelSettings) -> tuple[str, ...]:
    """Return the methods that are compared where none are named.

    Args:
        model: the network.

    Returns:
        Names of methods that it can have.

    Examples:
        >>> default(ModelSettings())
        ('none', 'torch', 'thinned', 'batchwise')
    """
    if model.kind == "mlp":
        return ("none", "torch", "thinned", "batchwise")
    if model.kind == "sparse" and not model.units:
        return ("none", "sparse_item_replacement")
    return ("none", "torch", "thinned")
