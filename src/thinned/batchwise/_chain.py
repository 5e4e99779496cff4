"""Chains of layers that compute only the units that dropout keeps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn import functional

from thinned import _check, submatrix
from thinned._errors import RangeError
from thinned.batchwise._gradient import SubmatrixGrad
from thinned.batchwise._linear import check_no_transforms, product
from thinned.batchwise._structure import Thinning, decide, leaves, watched
from thinned.kernels import cpu
from thinned.masks import units_kept
from thinned.nn import Dropout
from thinned.ops import PENDING, as_int, draw

STYLES = ("random", "slice")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Units:
    """The units that one dropout layer keeps in one forward pass.

    Attributes:
        index: for each group that has rows at hand, their int64 indices, ascending.
        bounds: where in the batch each group begins, and where the last one ends.
        scale: of what is kept.
    """

    index: tuple[Tensor, ...]
    bounds: tuple[int, ...]
    scale: float


class _Pick(torch.autograd.Function):
    """Chosen elements of a vector of parameters; the gradient is a SubmatrixGrad."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, rows: Tensor) -> Tensor:
        ctx.vector, ctx.place = vector, submatrix.Place(vector, rows)
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

    Example:
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
            groups, units, multiple_of: as for the class.

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
        program = self._program()
        if not program.active:
            return super().forward(input)  # type: ignore[no-any-return]
        return self._thinned(program, input)

    def _program(self) -> "_Program":
        """Return what is to be done now; worked out anew when a layer, a hook, a rate or a mode has changed."""
        layers = [module for _, module in leaves(self)]
        signs: list[Any] = [self.groups]
        for layer in layers:
            signs += (layer, layer.__class__, watched(layer))  # a parametrization changes the class
            if isinstance(layer, Dropout):
                signs.append(layer.p if layer.training else 0.0)
        program: _Program | None = self.__dict__.get("_last_program")
        if program is None or program.signs != signs:
            program = self.__dict__["_last_program"] = _Program(signs, layers, self.groups)
        return program

    @_disable_dynamo
    def _thinned(self, program: "_Program", x: Tensor) -> Tensor:
        check_no_transforms()
        kept: Units | None = None  # the units that x holds; None for all
        scale = 1.0  # what x is still to be multiplied with
        drawn: list[nn.Module] = []  # the dropout layers since the last product
        for place, layer in enumerate(program.layers):
            target = program.computed_by.get(place)
            if target is not None:
                chosen = self._draw(program.layers[target.site], target.units, x)
                x = _multiply(layer, x, chosen, kept, scale)
                _mark([*drawn, program.layers[target.site]], x)
                kept, scale, drawn = chosen, 1.0, []
            elif place in program.active:
                found = program.active[place]
                if found.before is None:
                    kept = self._draw(layer, found.units, x)
                    x = _pick_inputs(x, kept, found.units)
                    drawn = [layer]
                assert kept is not None
                if found.after == place + 1:
                    scale = kept.scale  # the product takes it along
                else:
                    x = x * kept.scale
            elif kept is not None and isinstance(layer, nn.Linear):
                x = _multiply(layer, x, None, kept, scale)
                _mark(drawn, x)
                kept, scale, drawn = None, 1.0, []
            elif kept is not None and isinstance(layer, nn.BatchNorm1d):
                x = _batch_norm(layer, x, kept.index[0])
            else:
                x = layer(x)
        return x

    def _draw(self, site: nn.Module, units: int, x: Tensor) -> Units:
        """Draw the units that a dropout layer keeps, for the rows of x."""
        assert isinstance(site, Dropout)
        rows = x.shape[0] if x.dim() > 1 else 1
        if site._key is not None:
            seed, stream, window = site._key.take(torch.Size((rows, units)))
        else:
            seed, stream, window = as_int(draw(x.device if x.is_cuda else CPU)), 0, None
        total, start = (window.shape[0], window.start[0]) if window else (rows, 0)
        k = units_kept(units, site.p, self.multiple_of)
        index = cpu.units(units, k, self.groups, seed, stream, self.units == "slice")
        index = index if x.is_cpu else index.to(x.device)
        if self.groups == 1:
            return Units((index[0],), (0, rows), units / k)
        first = start * self.groups // max(total, 1)
        last = max(start + rows - 1, start) * self.groups // max(total, 1)
        edges = (-(-group * total // self.groups) - start for group in range(first + 1, last + 1))
        return Units(index[first : last + 1].unbind(), (0, *edges, rows), units / k)


def _multiply(layer: nn.Module, x: Tensor, chosen: Units | None, kept: Units | None, scale: float) -> Tensor:
    """Apply a linear layer: compute the units `chosen`, given the units `kept`."""
    assert isinstance(layer, nn.Linear)
    if x.dim() == 1:
        return _multiply(layer, x.unsqueeze(0), chosen, kept, scale).squeeze(0)
    bounds = chosen.bounds if chosen else kept.bounds if kept else (0, len(x))
    everything = (None,) * (len(bounds) - 1)
    rows, columns = chosen.index if chosen else everything, kept.index if kept else everything
    if x.shape[-1] != (kept.index[0].shape[0] if kept else layer.in_features):
        raise RangeError(f"`input` must have {layer.in_features} features, but got shape {tuple(x.shape)}.")
    return product(x, layer.weight, layer.bias, rows, columns, scale, bounds)


class _Program:
    """What a chain does in one mode, for given layers and rates."""

    def __init__(self, signs: list[Any], layers: list[nn.Module], groups: int) -> None:
        self.signs, self.layers = signs, layers
        self.active: dict[int, Thinning] = {}
        for place, layer in enumerate(layers):
            if isinstance(layer, Dropout) and layer.training and 0.0 < layer.p < 1.0:
                found = decide(layers, place, groups)
                if isinstance(found, Thinning):
                    self.active[place] = found
        self.computed_by = {found.before: found for found in self.active.values() if found.before is not None}


def _mark(sites: list[nn.Module], output: Tensor) -> None:
    """Note that a forward under the sites' keys waits for the backward of a product; see `Key`."""
    waiting = [site._key.pending for site in sites if isinstance(site, Dropout) and site._key is not None]
    node = output.grad_fn
    if not waiting or node is None or torch._C._current_graph_task_id() != -1:
        return
    if output.dim() != 2:
        node = node.next_functions[0][0]  # below the view of the product, whose backward takes the note away
    assert node is not None
    node.metadata[PENDING] = waiting  # type: ignore[index]


def _pick_inputs(x: Tensor, kept: Units, units: int) -> Tensor:
    """Return the kept features of an input, group by group."""
    if x.shape[-1] != units:
        raise RangeError(f"`input` must have {units} features, but got shape {tuple(x.shape)}.")
    if len(kept.index) == 1 and x.dim() == 2 and not x.requires_grad:
        return submatrix.gather(x, submatrix.Place(x, columns=kept.index[0]))  # faster than `index_select`
    groups = zip(kept.index, kept.bounds, kept.bounds[1:], strict=False)
    parts = [(x if len(kept.index) == 1 else x[first:last]).index_select(-1, index) for index, first, last in groups]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _batch_norm(layer: nn.BatchNorm1d, x: Tensor, units: Tensor) -> Tensor:
    """Normalise the kept units, and keep running statistics of them."""
    if x.dim() != 2:
        raise RangeError(f"A BatchNorm1d in a chain must get an input of 2 axes, but got shape {tuple(x.shape)}.")
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
