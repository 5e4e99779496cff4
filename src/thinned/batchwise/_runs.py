"""How the layers of a chain are put together into runs, inside which nothing has its full width."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from thinned.batchwise._structure import Thinning, decide
from thinned.nn import Dropout

SCALE = None  # among the layers of a run: here what is kept is multiplied by the scale of inverted dropout


@dataclass(frozen=True)
class Product:
    """One linear layer of a run, and what follows until the next one.

    Attributes:
        linear: the layer.
        columns: number of the site that says which inputs are there; None for all.
        rows: number of the site that says which outputs are computed; None for all.
        scaled: whether the product takes along the scale of its inputs.
        relu: whether a ReLU follows at once.
        layers: what follows then: elementwise layers and BatchNorm1d, and SCALE.
    """

    linear: nn.Linear
    columns: int | None
    rows: int | None
    scaled: bool
    relu: bool
    layers: tuple[nn.Module | None, ...]


@dataclass(frozen=True)
class Run:
    """Layers from a dropout layer or a linear one to the linear layer that has all outputs again.

    Attributes:
        sites: the dropout layers, and how many units they choose from.
        picks: whether the first site chooses from the run's input.
        lead: the layers before the first product; SCALE among them.
        products: the linear layers.
    """

    sites: tuple[tuple[Dropout, int], ...]
    picks: bool
    lead: tuple[nn.Module | None, ...]
    products: tuple[Product, ...]

    @property
    def features(self) -> int:
        """How many features the run's input has."""
        return self.sites[0][1] if self.picks else self.products[0].linear.in_features

    @property
    def normalises(self) -> bool:
        """Whether it has a BatchNorm1d, which takes inputs of two axes only."""
        return any(isinstance(layer, nn.BatchNorm1d) for product in self.products for layer in product.layers)


def parts(layers: Sequence[nn.Module], groups: int) -> list[nn.Module | Run]:
    """Return what a chain does now, in its order: runs, and layers that are called as they are.

    Args:
        layers: of the chain.
        groups: patterns for each batch.

    Returns:
        Runs for the dropout layers that train and can be thinned.

    Examples:
        >>> drop = thinned.nn.Dropout()
        >>> (first, run) = parts([nn.Flatten(), drop, nn.Linear(4, 8), nn.ReLU(), drop, nn.Linear(8, 2)], 1)
        >>> len(run.sites), len(run.products), run.features
        (2, 2, 4)
    """
    found: dict[int, Thinning] = {}  # by the place of the layer where it begins
    for place, layer in enumerate(layers):
        if isinstance(layer, Dropout) and layer.training and 0.0 < layer.p < 1.0:
            thinning = decide(layers, place, groups)
            if isinstance(thinning, Thinning):
                found[place if thinning.before is None else thinning.before] = thinning
    result: list[nn.Module | Run] = []
    place = 0
    while place < len(layers):
        if place in found:
            run, place = _run(layers, found, place)
            result.append(run)
        else:
            result.append(layers[place])
            place += 1
    return result


def _run(layers: Sequence[nn.Module], found: dict[int, Thinning], place: int) -> tuple[Run, int]:
    """Return the run that begins at a place, and the place after it."""
    sites: list[tuple[Dropout, int]] = []
    products: list[Product] = []
    lead: tuple[nn.Module | None, ...] = ()
    columns, scaled = None, False
    picks = found[place].before is None
    if picks:
        thinning = found[place]
        sites.append(_site(layers, thinning))
        lead, columns, scaled, place = _after(layers, thinning), 0, thinning.after == place + 1, thinning.after
    while True:
        linear = layers[place]
        assert isinstance(linear, nn.Linear)
        following = found.get(place)
        if following is None:
            products.append(Product(linear, columns, None, scaled, False, ()))
            return Run(tuple(sites), picks, lead, tuple(products)), place + 1
        between = (*layers[place + 1 : following.site], *_after(layers, following))
        relu = bool(between) and type(between[0]) is nn.ReLU
        products.append(Product(linear, columns, len(sites), scaled, relu, between[relu:]))
        columns, scaled, place = len(sites), following.after == following.site + 1, following.after
        sites.append(_site(layers, following))


def _site(layers: Sequence[nn.Module], thinning: Thinning) -> tuple[Dropout, int]:
    dropout = layers[thinning.site]
    assert isinstance(dropout, Dropout)
    return dropout, thinning.units


def _after(layers: Sequence[nn.Module], thinning: Thinning) -> tuple[nn.Module | None, ...]:
    """Return what is done between a dropout layer and the product: nothing if the product takes the scale along."""
    others = layers[thinning.site + 1 : thinning.after]
    return (SCALE, *others) if others else ()
