"""Swapping a model's dropout layers for this package's, and saying beforehand what would happen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from thinned import nn
from thinned._errors import KindError

# torch's type -> how to make its replacement. Exact types only: a subclass may do something else in its forward.
RULES: dict[type[torch.nn.Module], Callable[[float, bool], torch.nn.Module]] = {
    torch.nn.Dropout: nn.Dropout,
    torch.nn.Dropout1d: nn.Dropout1d,
    torch.nn.Dropout2d: nn.Dropout2d,
    torch.nn.Dropout3d: nn.Dropout3d,
}
OWN = tuple(RULES.values())

_HOOKS = (  # everything that `register_*_hook` fills; a new instance takes the very dictionaries over
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
    "_non_persistent_buffers_set",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


@dataclass(frozen=True)
class Site:
    """One place of a model where something is dropped.

    Attributes:
        path: the layer's name in the model; "" is the model itself.
        kind: the layer's class.
        p: its drop probability.
        action: "swap", "keep" or "done".
        reason: why, in words.
    """

    path: str
    kind: str
    p: float
    action: str
    reason: str


class Plan(list[Site]):
    """What `convert` would do at each site; prints as a table."""

    def __str__(self) -> str:
        if not self:
            return "No dropout layers. (Calls of torch.nn.functional.dropout inside a forward are not visible here.)"
        rows = [("site", "layer", "p", "action", "why")]
        rows += [(site.path or "(model)", site.kind, f"{site.p:g}", site.action, site.reason) for site in self]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
        return "\n".join(lines)


def _site(path: str, module: torch.nn.Module) -> Site | None:
    kind = type(module)
    if kind in OWN:
        return Site(path, kind.__name__, module.p, "done", "already a layer of thinned")  # type: ignore[arg-type]
    if kind in RULES:
        return Site(path, kind.__name__, module.p, "swap", "same distribution, no stored mask")  # type: ignore[arg-type]
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
        return Site(path, kind.__name__, float(module.p), "keep", "no rule for this type of layer")
    inner = getattr(module, "dropout", None)
    if isinstance(module, torch.nn.MultiheadAttention | torch.nn.RNNBase) and inner:
        return Site(path, kind.__name__, float(inner), "keep", "the dropout is inside torch's own function")
    return None


def plan(model: torch.nn.Module) -> Plan:
    """Tell what `convert` would do to a model, without doing it.

    Args:
        model: any module.

    Returns:
        One `Site` for each place where the model drops something; prints as a table.

    Raises:
        TypeError: not a module.

    Example:
        >>> print(thinned.plan(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))))
        site  layer    p    action  why
        1     Dropout  0.1  swap    same distribution, no stored mask
    """
    _check_module(model)
    everywhere = model.named_modules(remove_duplicate=False)  # a shared layer at each of its places
    sites = (_site(path, module) for path, module in everywhere)
    return Plan(site for site in sites if site is not None)


def _check_module(model: object) -> None:
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")


def _swapped(module: torch.nn.Module) -> torch.nn.Module:
    new = RULES[type(module)](module.p, module.inplace)  # type: ignore[arg-type]
    new.train(module.training)
    for name in _HOOKS:
        if hasattr(module, name):
            object.__setattr__(new, name, getattr(module, name))
    return new


def convert(model: torch.nn.Module) -> torch.nn.Module:
    """Swap torch's dropout layers for this package's, in place.

    Parameters, hooks, training mode and the names in the state dict stay as they are, so an optimizer made before still
    works. A layer that stands at several places of the model stays one layer. What cannot be swapped exactly is left
    alone; `plan` says why.

    Args:
        model: any module.

    Returns:
        The model itself; only if it is a dropout layer itself, its replacement.

    Raises:
        TypeError: not a module.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
        >>> type(thinned.convert(model)[1])
        <class 'thinned.nn.dropout.Dropout'>
    """
    _check_module(model)
    swapped: dict[torch.nn.Module, torch.nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if type(child) in RULES:
                assert child is not None
                if child not in swapped:
                    swapped[child] = _swapped(child)
                parent._modules[name] = swapped[child]
    return _swapped(model) if type(model) in RULES else model
