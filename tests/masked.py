"""The dense network that a chain is held against: torch's own layers, and a mask of whole width at each dropout."""

import copy

import torch
from torch import nn

from thinned.keys import site_seed
from thinned.masks import Mask


def leaves(module, path=""):
    """Yield (path, layer) of the layers of nested Sequentials, in order."""
    for name, child in module._modules.items():  # `named_children` leaves out what was there before
        here = f"{path}.{name}" if path else name
        if isinstance(child, nn.Sequential):
            yield from leaves(child, here)
        else:
            yield here, child


class Masked:
    """A copy of a chain that computes everything and selects away what is dropped.

    Args:
        chain: it is copied.
        dtype: of the copy.
    """

    def __init__(self, chain, dtype=None):
        self.net = copy.deepcopy(chain).to(dtype)
        self.groups, self.multiple_of, self.slices = chain.groups, chain.multiple_of, chain.units == "slice"
        self.kept = {}  # path of a dropout -> which units its first group kept in the last pass
        self.statistics = {}  # path of a dropout -> the BatchNorm1d before it, and its statistics before the last pass

    def parameters(self):
        return list(self.net.parameters())

    def __call__(self, x, seed, step, rows=None):
        start, _stop, total = rows or (0, len(x), len(x))
        self.kept = {}
        layers = [*leaves(self.net)]
        for place, (path, layer) in enumerate(layers):
            if not isinstance(layer, nn.Dropout):
                x = self._norm(layer, x, layers[place:]) if isinstance(layer, nn.BatchNorm1d) else layer(x)
            elif layer.training and layer.p == 1:
                x = x * 0.0
            elif layer.training and layer.p > 0:
                x = self._drop(path, layer.p, x, seed, step, (start, total))
        return x

    def _units(self, path, p, units, seed, step):
        mask = Mask(p, site_seed(seed, step, path))
        return mask.units(units, self.groups, self.multiple_of, self.slices)

    def _drop(self, path, p, x, seed, step, batch):
        start, total = batch
        units = x.shape[-1]
        index = self._units(path, p, units, seed, step)
        keep = torch.zeros(self.groups, units, dtype=torch.bool)
        for group in range(self.groups):
            keep[group, index[group]] = True
        self.kept[path] = keep[0]
        each = torch.stack([keep[(start + r) * self.groups // total] for r in range(len(x))])
        each = each.view(len(x), *(1,) * (x.dim() - 2), units)
        return torch.where(each, x * (units / index.shape[1]), torch.zeros((), dtype=x.dtype))

    def _norm(self, layer, x, following):
        """BatchNorm1d; the running statistics of units that the next dropout drops are put back by `settle`."""
        if layer.running_mean is not None:
            path = next((path for path, after in following if isinstance(after, nn.Dropout)), None)
            self.statistics[path] = (layer, layer.running_mean.clone(), layer.running_var.clone())
        return layer(x)

    def settle(self):
        """Put back the running statistics of what was dropped, as a chain never computes it."""
        for path, (layer, mean, variance) in self.statistics.items():
            if path in self.kept and layer.training:
                dropped = ~self.kept[path]
                layer.running_mean[dropped], layer.running_var[dropped] = mean[dropped], variance[dropped]


def trained(net, masked):
    """For each parameter the bool mask of what one pattern trains, of the parameter's shape."""
    layers = [*leaves(net)]
    found = {}
    for place, (path, layer) in enumerate(layers):
        reads = writes = None
        for before, other in reversed(layers[:place]):
            if isinstance(other, nn.Linear):
                break
            if before in masked.kept:
                reads = masked.kept[before]
        for after, other in layers[place + 1 :]:
            if isinstance(other, nn.Linear):
                break
            if after in masked.kept:
                writes = masked.kept[after]
        for name, parameter in layer.named_parameters():
            everything = torch.ones_like(parameter, dtype=torch.bool)
            if isinstance(layer, nn.PReLU):
                pass
            elif parameter.dim() == 2:
                everything &= torch.ones(()).bool() if reads is None else reads
                everything &= torch.ones(()).bool() if writes is None else writes[:, None]
            elif writes is not None:
                everything &= writes
            found[f"{path}.{name}"] = everything
    return found


def error(a, b):
    """Largest difference, relative to the largest value of b."""
    assert a.shape == b.shape
    if not a.numel():
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def rounding(a, b):
    """Root mean square of the difference, relative to that of b."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))
