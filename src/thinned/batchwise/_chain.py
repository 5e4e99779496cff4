"""Chains of layers that compute only the units that dropout keeps."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn import functional

from thinned import _check, submatrix
from thinned._errors import RangeError
from thinned.batchwise._gradient import SubmatrixGrad
from thinned.batchwise._linear import autocasts, check_no_transforms, groups_of, product
from thinned.batchwise._products import Factor, products
from thinned.batchwise._runs import SCALE, Product, Run, parts
from thinned.batchwise._structure import leaves, watched
from thinned.kernels import cpu
from thinned.masks import units_kept
from thinned.nn import Dropout
from thinned.ops import PENDING, as_int, draw
from thinned.submatrix import Place

STYLES = ("random", "slice")
CPU = torch.device("cpu")
# Below both of these, products are so short that gathering again in backward shows, and what is kept for backward is so
# small that it hardly counts.
LARGE_BATCH = 256
LARGE_BLOCKS = 1 << 22  # elements of all weights of a run that are kept


class Units(NamedTuple):
    """The units that one dropout layer keeps in one forward pass.

    Attributes:
        chosen: for each group that has rows at hand, their int64 indices, ascending.
        bounds: where in the batch each group begins, and where the last one ends.
        scale: of what is kept.
    """

    chosen: tuple[Tensor, ...]
    bounds: tuple[int, ...]
    scale: float


class _Pick(torch.autograd.Function):
    """Chosen elements of a vector of parameters; the gradient is a SubmatrixGrad."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, rows: Tensor) -> Tensor:
        ctx.vector, ctx.place = vector, Place(vector, rows)
        return submatrix.gather(vector, ctx.place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return SubmatrixGrad(ctx.vector, grad.contiguous(), ctx.place), None


class Chain(nn.Sequential):
    """An `nn.Sequential` that computes only the units that its dropout layers keep, while training.

    Around each Dropout between linear layers, one pattern of kept units is drawn for the whole batch (or one for each
    of `groups` parts of it). The linear layer before computes only these, elementwise layers and BatchNorm1d between
    see only these, and the linear layer after reads only these: forward, backward and, with `thinned.optim`, in the
    update.
    Patterns and scale are those of `Mask.units`: exactly k of n units, times n / k. In eval mode it is the dense
    network. The running statistics of a BatchNorm1d are updated for the kept units only.

    The noise of a pattern that is shared does not average out over the batch: `groups` trades it for speed.

    Args:
        *layers: modules, or one `OrderedDict` of them, as for `nn.Sequential`. torch's Dropout is taken as thinned's.
        groups: patterns for each batch; row r of B uses pattern r * groups // B.
        units: "random", or "slice" for neighbouring units (which wrap around the end).
        multiple_of: round the number of kept units to a multiple of this.

    Raises:
        ValueError, TypeError: an option breaks its rule.

    Examples:
        >>> chain = thinned.batchwise.Chain(
        ...     nn.Dropout(0.2), nn.Linear(784, 800), nn.ReLU(), nn.Dropout(0.5), nn.Linear(800, 10)
        ... )
        >>> chain(torch.ones(100, 784)).shape
        torch.Size([100, 10])

    Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", 2015; slices:
    Notin, Gomez, Yoo and Gal, "SliceOut: training transformers and CNNs faster while using less memory", 2020.
    """

    groups: int
    units: str
    multiple_of: int

    def __init__(self, *layers: Any, groups: int = 1, units: str = "random", multiple_of: int = 1) -> None:
        super().__init__(*layers)
        self.configure(groups, units, multiple_of)
        for owner in (module for module in self.modules() if isinstance(module, nn.Sequential)):
            for name, child in owner._modules.items():
                if type(child) is nn.Dropout and not watched(child):
                    owner._modules[name] = Dropout(child.p, child.inplace).train(child.training)

    def configure(self, groups: int = 1, units: str = "random", multiple_of: int = 1) -> None:
        """Set how units are chosen.

        Args:
            groups: as for the class.
            units: likewise.
            multiple_of: likewise.

        Raises:
            ValueError, TypeError: an option breaks its rule.
        """
        groups, multiple_of = _check.positive(groups, "groups"), _check.positive(multiple_of, "multiple_of")
        if units not in STYLES:
            raise RangeError(f"`units` must be one of {', '.join(STYLES)}, but got units={units!r}.")
        self.groups, self.units, self.multiple_of = groups, units, multiple_of

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"groups={self.groups}, units={self.units!r}, multiple_of={self.multiple_of}"

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the thinned network; in eval mode, of the dense one.

        Args:
            input: tensor of shape (batch, ..., features).

        Returns:
            Tensor of shape (batch, ..., outputs).
        """
        parts = self._parts()
        if not parts:
            return super().forward(input)  # type: ignore[no-any-return]
        x = input
        for part in parts:
            x = self._thinned(part, x) if isinstance(part, Run) else part(x)
        return x

    def _parts(self) -> list[nn.Module | Run]:
        """Return what is to be done now; worked out anew when a layer, a hook, a rate or a mode has changed.

        Nothing is in it if no dropout layer can be thinned.
        """
        layers = [module for _, module in leaves(self)]
        signs: list[Any] = [self.groups]
        for layer in layers:
            signs += (layer, layer.__class__, watched(layer))  # a parametrization changes the class
            if isinstance(layer, Dropout):
                signs.append(layer.p if layer.training else 0.0)
        known: tuple[list[Any], list[nn.Module | Run]] | None = self.__dict__.get("_known")
        if known is None or known[0] != signs:
            found = parts(layers, self.groups)
            known = signs, found if any(isinstance(part, Run) for part in found) else []
            self.__dict__["_known"] = known
        return known[1]

    @_disable_dynamo
    def _thinned(self, run: Run, input: Tensor) -> Tensor:
        """Do what the layers of a run do, with the units that are kept."""
        check_no_transforms()
        _check_input(run, input)
        x = input if input.dim() == 2 else input.reshape(-1, run.features)
        kept = self._draw(run, input)
        if run.picks:
            x = _pick_inputs(x, kept[0])
            x = _between(run.lead, x, kept[0])
        if self.groups == 1 and len(x) < LARGE_BATCH and _weights(run, kept) < LARGE_BLOCKS and not autocasts(x):
            x = _small(run, x, kept)
        else:
            x = _large(run, x, kept)
        return x if input.dim() == 2 else x.view(*input.shape[:-1], x.shape[-1])

    def _draw(self, run: Run, input: Tensor) -> list[Units]:
        """Draw the units that the sites of a run keep."""
        rows, each = (1, 1) if input.dim() == 1 else (input.shape[0], math.prod(input.shape[1:-1]))
        drawn: int | None = None  # one word for all sites without a key
        result = []
        for number, (site, units) in enumerate(run.sites):
            window = None
            if site._key is not None:
                seed, stream, window = site._key.take(torch.Size((rows, units)))
            else:
                if drawn is None:
                    drawn = as_int(draw(input.device if input.is_cuda else CPU))
                seed, stream = drawn, number
            k = units_kept(units, site.p, self.multiple_of)
            index = cpu.units(units, k, self.groups, seed, stream, self.units == "slice")
            index = index if input.is_cpu else index.to(input.device)
            if self.groups == 1:
                result.append(Units((index[0],), (0, each * rows), units / k))
                continue
            total, start = (window.shape[0], window.start[0]) if window else (rows, 0)
            first = start * self.groups // max(total, 1)
            last = max(start + rows - 1, start) * self.groups // max(total, 1)
            edges = (-(-group * total // self.groups) - start for group in range(first + 1, last + 1))
            bounds = (0, *(each * edge for edge in edges), each * rows)
            result.append(Units(index[first : last + 1].unbind(), bounds, units / k))
        return result


def _check_input(run: Run, input: Tensor) -> None:
    if input.dim() == 0 or input.shape[-1] != run.features:
        raise RangeError(f"`input` must have {run.features} features, but got shape {tuple(input.shape)}.")
    if run.normalises and input.dim() != 2:
        raise RangeError(f"A BatchNorm1d in a chain must get an input of 2 axes, but got shape {tuple(input.shape)}.")


def _small(run: Run, x: Tensor, kept: list[Units]) -> Tensor:
    """Compute the products of a run for a small batch: those that only a ReLU separates in one go."""
    factors: list[Factor] = []
    sites = [run.sites[0][0]] if run.picks else []
    for p in run.products:
        weight, bias = p.linear.weight, p.linear.bias
        rows = None if p.rows is None else kept[p.rows].chosen[0]
        columns = None if p.columns is None else kept[p.columns].chosen[0]
        bias_place = None if rows is None or bias is None else Place(bias, rows)
        factors.append(Factor(weight, bias, Place(weight, rows, columns), bias_place, _scale(p, kept), p.relu))
        if p.rows is not None:
            sites.append(run.sites[p.rows][0])
        if p.rows is None or p.layers:
            x = products(x, factors)
            _mark(sites, x)
            factors, sites = [], []
            if p.rows is not None:
                x = _between(p.layers, x, kept[p.rows])
    return x


def _large(run: Run, x: Tensor, kept: list[Units]) -> Tensor:
    """Compute the products of a run one by one, so that no block of a weight is kept."""
    bounds = kept[0].bounds
    everything = (None,) * (len(bounds) - 1)
    sites = [run.sites[0][0]] if run.picks else []
    for p in run.products:
        weight, bias = p.linear.weight, p.linear.bias
        rows = everything if p.rows is None else kept[p.rows].chosen
        columns = everything if p.columns is None else kept[p.columns].chosen
        x = product(x, weight, bias, groups_of(weight, bias, rows, columns, bounds), _scale(p, kept))
        if p.rows is not None:
            sites.append(run.sites[p.rows][0])
        _mark(sites, x)
        sites = []
        if p.relu:
            x = functional.relu(x)
        if p.rows is not None:
            x = _between(p.layers, x, kept[p.rows])
    return x


def _weights(run: Run, kept: list[Units]) -> int:
    """Return how many weights a run uses."""
    total = 0
    for p in run.products:
        outputs, inputs = p.linear.out_features, p.linear.in_features
        total += (outputs if p.rows is None else kept[p.rows].chosen[0].numel()) * (
            inputs if p.columns is None else kept[p.columns].chosen[0].numel()
        )
    return total


def _scale(p: Product, kept: list[Units]) -> float:
    return kept[p.columns].scale if p.scaled and p.columns is not None else 1.0


def _between(layers: Sequence[nn.Module | None], x: Tensor, kept: Units) -> Tensor:
    """Apply the layers between two products to the units that are kept."""
    for layer in layers:
        if layer is SCALE:
            x = x * kept.scale
        elif isinstance(layer, nn.BatchNorm1d):
            x = _batch_norm(layer, x, kept.chosen[0])
        else:
            x = layer(x)
    return x


def _mark(sites: Sequence[Dropout], output: Tensor) -> None:
    """Note that a forward under the sites' keys waits for the backward of a product; see `Key`."""
    waiting = [site._key.pending for site in sites if site._key is not None]
    if waiting and output.grad_fn is not None and torch._C._current_graph_task_id() == -1:
        output.grad_fn.metadata[PENDING] = waiting  # type: ignore[index]


def _pick_inputs(x: Tensor, kept: Units) -> Tensor:
    """Return the kept features of an input of two axes, group by group."""
    if len(kept.chosen) > 1:
        groups = zip(kept.chosen, kept.bounds, kept.bounds[1:], strict=False)
        return torch.cat([x[first:last].index_select(1, index) for index, first, last in groups])
    if x.requires_grad:
        return x.index_select(1, kept.chosen[0])
    return submatrix.gather(x, Place(x, columns=kept.chosen[0]))  # faster than `index_select`


def _batch_norm(layer: nn.BatchNorm1d, x: Tensor, units: Tensor) -> Tensor:
    """Normalise the kept units, and keep running statistics of them."""
    weight, bias = (None if p is None else _Pick.apply(p, units) for p in (layer.weight, layer.bias))
    mean, variance = layer.running_mean, layer.running_var
    if mean is None or variance is None:
        return functional.batch_norm(x, None, None, weight, bias, True, 0.0, layer.eps)
    assert layer.momentum is not None  # see `decide`
    kept_mean, kept_variance = mean[units], variance[units]
    y = functional.batch_norm(x, kept_mean, kept_variance, weight, bias, layer.training, layer.momentum, layer.eps)
    if layer.training:
        mean[units], variance[units] = kept_mean, kept_variance
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
    return y
