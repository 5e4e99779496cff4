"""Which dropout layers of a chain can be thinned, and what follows from it for the layers around them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from thinned.batchwise._linear import Linear
from thinned.nn import Dropout

LINEAR = (nn.Linear, Linear)
# They work on each unit alone. Exact types: a subclass may do something else.
ELEMENTWISE = frozenset(
    {
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.Hardshrink,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Hardtanh,
        nn.Identity,
        nn.LeakyReLU,
        nn.LogSigmoid,
        nn.Mish,
        nn.PReLU,
        nn.ReLU,
        nn.ReLU6,
        nn.RReLU,
        nn.SELU,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.Softshrink,
        nn.Softsign,
        nn.Tanh,
        nn.Tanhshrink,
        nn.Threshold,
    }
)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PATCHES = frozenset({"forward", "_compiled_call_impl"})  # set on the instance, these would go on calling the old layer


@dataclass(frozen=True)
class Thinning:
    """What thinning one dropout layer means. Numbers are places in the list of leaves.

    Attributes:
        site: the dropout layer.
        after: the linear layer that reads only the kept units.
        before: the linear layer that computes only the kept units; None where the kept units are picked from an input.
        units: how many units there are.
    """

    site: int
    after: int
    before: int | None
    units: int


def leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a chain in their order, through nested `nn.Sequential`s.

    Args:
        module: an `nn.Sequential`.
        path: its own name.

    Yields:
        Pairs of path and layer.

    Examples:
        >>> chain = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
        >>> [path for path, _ in leaves(chain)]
        ['0.0', '0.1', '1']
    """
    for name, child in module._modules.items():
        here = f"{path}.{name}" if path else name
        if child is None:
            continue
        if type(child) is nn.Sequential and not watched(child):
            yield from leaves(child, here)
        else:
            yield here, child


def watched(module: nn.Module) -> bool:
    """Tell whether somebody hooks into a layer's forward or backward, or has replaced its forward.

    Args:
        module: the layer.

    Returns:
        True if it must be called as a whole, with whole tensors.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.register_forward_hook(print)
        >>> watched(layer)
        True
    """
    state = vars(module)
    for name in _HOOKS:
        if state[name]:
            return True
    return patched(module)


def patched(module: nn.Module) -> bool:
    """Tell whether the forward of this one layer was replaced or compiled.

    Args:
        module: the layer.

    Returns:
        True if its class does not say what it does.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> layer.forward = print
        >>> patched(layer)
        True
    """
    return not _PATCHES.isdisjoint(vars(module))


def keeps_zero(module: nn.Module) -> bool:
    """Tell whether an elementwise layer maps 0 to 0.

    Args:
        module: a layer of a type in `ELEMENTWISE`.

    Returns:
        Found out by trying it, on the CPU and without drawing a random number.

    Examples:
        >>> keeps_zero(nn.Tanh()), keeps_zero(nn.Sigmoid())
        (True, False)
    """
    if isinstance(module, nn.PReLU | nn.RReLU):  # the one may have a weight without values, the other draws
        return True
    with torch.no_grad():
        return not type(module).forward(module, torch.zeros(1, device="cpu")).any()


def _elementwise(module: nn.Module) -> bool:
    if watched(module) or (isinstance(module, nn.PReLU) and module.num_parameters != 1):
        return False
    return type(module) in ELEMENTWISE


def _obstacle(module: nn.Linear) -> str | None:
    """Return what keeps a linear layer from being thinned."""
    if type(module) not in LINEAR:
        return f"{type(module).__name__} is not an ordinary linear layer"
    if watched(module):
        return "a hook or a patch on the linear layer wants to see whole tensors"
    if any(p is not None and type(p) not in (torch.Tensor, nn.Parameter) for p in (module.weight, module.bias)):
        return f"the weight is a {type(module.weight).__name__}, not an ordinary tensor"
    if module.weight.is_complex():
        return "the weight is complex"
    return None


def _normalises(module: nn.Module, units: int) -> bool:
    return type(module) is nn.BatchNorm1d and module.num_features == units and not watched(module)


def decide(chain: Sequence[nn.Module], site: int, groups: int = 1) -> Thinning | str:
    """Decide whether a dropout layer of a chain can be thinned.

    Args:
        chain: the layers.
        site: the place of the dropout layer.
        groups: patterns for each batch.

    Returns:
        What it means for the layers around, or in words why it cannot be done.

    Examples:
        >>> decide([nn.Linear(3, 5), nn.ReLU(), thinned.nn.Dropout(), nn.Linear(5, 2)], 2)
        Thinning(site=2, after=3, before=0, units=5)
        >>> decide([thinned.nn.Dropout(), nn.Sigmoid(), nn.Linear(5, 2)], 0)
        'Sigmoid stands between it and the next linear layer and maps 0 to something else'
    """
    dropout = chain[site]
    if watched(dropout):
        return "a hook or a patch on the dropout layer wants to see whole tensors"
    if type(dropout) is not Dropout or dropout.shared_axes != ():
        return "only elementwise dropout can be thinned"
    after = site + 1
    while after < len(chain) and _elementwise(chain[after]):
        if not keeps_zero(chain[after]):
            name = type(chain[after]).__name__
            return f"{name} stands between it and the next linear layer and maps 0 to something else"
        after += 1
    if after == len(chain):
        return "no linear layer follows"
    following = chain[after]
    if not isinstance(following, nn.Linear):
        return f"{type(chain[after]).__name__} stands between it and the next linear layer"
    reason = _obstacle(following)
    if reason is not None:
        return reason
    units = following.in_features
    before = site - 1
    while before >= 0 and (_elementwise(chain[before]) or _normalises(chain[before], units)):
        norm = chain[before]
        if isinstance(norm, nn.BatchNorm1d):
            if groups > 1:
                return "a BatchNorm1d before it has statistics of the whole batch, but each group keeps other units"
            if norm.momentum is None:
                return "a BatchNorm1d before it averages over all batches, but its units are not in all of them"
        before -= 1
    source = chain[before] if before >= 0 else None
    computed = isinstance(source, nn.Linear) and _obstacle(source) is None and source.out_features == units
    return Thinning(site, after, before if computed else None, units)
