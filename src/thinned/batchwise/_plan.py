"""Which chains of a model are worth thinning, as a function of their shapes, of p and of the batch.

Never a timing: a timing would make the masks depend on the machine. The costs below are rounded from training steps of
`benchmarks/chains.py` on two cores of a server; they are compared with each other, so a machine that is faster in all
of them decides the same.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from thinned.batchwise._chain import LARGE_BATCH, Chain
from thinned.batchwise._structure import Thinning, decide, leaves, watched
from thinned.masks import units_kept
from thinned.nn import Dropout

# Nanoseconds of a training step.
PRODUCT = 0.0105  # one multiplication and addition inside a product of matrices
UPDATE = 1.8  # the gradient of one weight, and its update by SGD with momentum
SCATTER = 2.0  # what it takes longer to read and update a weight that does not lie beside the next one
LAYER = 120e3  # what a linear layer costs beside that, whatever its size
THINNED = 80e3, 160e3  # what one costs more that is thinned; in small batches and in large ones, or for one group
WORTH = 0.95  # thin what takes at most this share of the time


@dataclass(frozen=True)
class ChainPlan:
    """What thinning one chain means.

    Attributes:
        path: its name in the model; "" is the model itself.
        module: the `nn.Sequential`.
        layers: the names of its layers and these, with torch's dropout taken as thinned's.
        decisions: for the place of each dropout layer in `layers`: what thinning it means, or why it cannot be done.
        dense: multiplications of one example in its linear layers.
        thinned: how many of them are left.
        pays: whether a training step gets faster.
        multiple_of: what the number of kept units is rounded to.
    """

    path: str
    module: nn.Sequential
    layers: Sequence[tuple[str, nn.Module]]
    decisions: dict[int, Thinning | str]
    dense: int
    thinned: int
    pays: bool
    multiple_of: int = 1

    def saved_by(self, site: int) -> float:
        """Return the share of the multiplications that thinning one dropout layer saves, alone.

        Args:
            site: its place in `layers`.

        Returns:
            A number in [0, 1).
        """
        found = self.decisions[site]
        if not isinstance(found, Thinning) or not self.dense:
            return 0.0
        alone = _sizes([layer for _, layer in self.layers], {site: found}, self.multiple_of)
        return 1 - sum(k * left for _, _, k, left in alone) / self.dense


def chains(model: nn.Module, batch: int = 100, groups: int = 1, multiple_of: int = 1) -> Iterator[ChainPlan]:
    """Yield a plan for each chain of a model, outermost `nn.Sequential`s first.

    Args:
        model: any module.
        batch: examples of a training step.
        groups: patterns for each batch.
        multiple_of: what the number of kept units is rounded to.

    Yields:
        Plans; a chain without dropout has none.

    Examples:
        >>> net = nn.Sequential(nn.Linear(800, 800), nn.ReLU(), nn.Dropout(0.5), nn.Linear(800, 800))
        >>> [(plan.pays, plan.thinned / plan.dense) for plan in chains(net)]
        [(True, 0.5)]
    """
    shared = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    seen: set[nn.Module] = set()

    def walk(module: nn.Module, path: str) -> Iterator[ChainPlan]:
        if module in seen:
            return
        seen.add(module)
        inner: Iterator[tuple[str, nn.Module]]
        if isinstance(module, nn.Sequential) and type(module) in (nn.Sequential, Chain) and not watched(module):
            inner = leaves(module, path)
            plan = _plan(path, module, shared, batch, groups, multiple_of)
            if plan.decisions:
                yield plan
        else:
            inner = ((f"{path}.{name}" if path else name, child) for name, child in module.named_children())
        for name, child in inner:
            yield from walk(child, name)

    return walk(model, "")


def _plan(
    path: str, module: nn.Sequential, shared: Counter[int], batch: int, groups: int, multiple_of: int
) -> ChainPlan:
    named = [
        (name, Dropout(layer.p) if type(layer) is nn.Dropout and not watched(layer) else layer)
        for name, layer in leaves(module, path)
    ]
    layers = [layer for _, layer in named]
    tied = any(isinstance(layer, nn.Linear) and shared[id(layer.weight)] > 1 for layer in layers)
    decisions: dict[int, Thinning | str] = {
        place: _unusual(layer.p)
        or ("a weight of this chain is shared with another layer" if tied else decide(layers, place, groups))
        for place, layer in enumerate(layers)
        if isinstance(layer, nn.modules.dropout._DropoutNd)
    }
    found = {place: decision for place, decision in decisions.items() if isinstance(decision, Thinning)}
    sizes = _sizes(layers, found, multiple_of)
    pays = bool(found) and _time(sizes, batch, groups) <= WORTH * sum(_dense_time(n, m, batch) for n, m, _, _ in sizes)
    dense, thinned = sum(n * m for n, m, _, _ in sizes), sum(k * left for _, _, k, left in sizes)
    return ChainPlan(path, module, named, decisions, dense, thinned, pays, multiple_of)


def _unusual(p: float) -> str | None:
    return {0.0: "nothing is dropped", 1.0: "everything is dropped"}.get(p)


def _sizes(
    layers: Sequence[nn.Module], found: dict[int, Thinning], multiple_of: int
) -> list[tuple[int, int, int, int]]:
    """Return inputs and outputs of each linear layer, then the same of what is left of it."""
    reads = {thinning.after: thinning for thinning in found.values()}
    computes = {thinning.before: thinning for thinning in found.values() if thinning.before is not None}

    def kept(thinning: Thinning | None, size: int) -> int:
        site = layers[thinning.site] if thinning else None
        return units_kept(size, site.p, multiple_of) if isinstance(site, Dropout) and site.p < 1.0 else size

    return [
        (n := layer.in_features, m := layer.out_features, kept(reads.get(place), n), kept(computes.get(place), m))
        for place, layer in enumerate(layers)
        if isinstance(layer, nn.Linear)
    ]


def _dense_time(inputs: int, outputs: int, batch: int) -> float:
    return LAYER + inputs * outputs * (3 * batch * PRODUCT + UPDATE)


def _time(sizes: Sequence[tuple[int, int, int, int]], batch: int, groups: int) -> float:
    return sum(
        _dense_time(n, m, batch) if (n, m) == (k, left) else _thinned_time(n * m, k * left, batch, groups)
        for n, m, k, left in sizes
    )


def _thinned_time(weights: int, kept: int, batch: int, groups: int) -> float:
    products = 3 * kept * batch * PRODUCT  # of all groups together
    if groups > 1:  # each adds its gradient to one that is dense
        return LAYER + groups * (THINNED[1] + kept * (SCATTER + UPDATE)) + products + weights * UPDATE
    return LAYER + THINNED[batch >= LARGE_BATCH] + products + kept * (SCATTER + UPDATE)
