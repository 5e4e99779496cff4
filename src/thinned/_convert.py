"""Swapping a model's dropout layers for this package's, and saying beforehand what would happen."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch

from thinned import _check, nn
from thinned._errors import KindError

# torch's type -> how to make its replacement. Exact types only: a subclass may do something else in its forward.
RULES: dict[type[torch.nn.Module], Callable[[float, bool], torch.nn.Module]] = {
    torch.nn.Dropout: nn.Dropout,
    torch.nn.Dropout1d: nn.Dropout1d,
    torch.nn.Dropout2d: nn.Dropout2d,
    torch.nn.Dropout3d: nn.Dropout3d,
}
OWN = tuple(RULES.values())

_PATCHES = frozenset({"forward", "_compiled_call_impl"})  # set on the instance, these would go on calling the old layer


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
        p = _check.probability(module.p)
        if _patched(module):
            return Site(path, kind.__name__, p, "keep", "the forward of this instance was replaced or compiled")
        return Site(path, kind.__name__, p, "swap", "same distribution, no stored mask")
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
        TypeError, ValueError: not a module; the `p` of a layer is not a number in [0, 1].

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


def _patched(module: torch.nn.Module) -> bool:
    return not _PATCHES.isdisjoint(vars(module))


def _swapped(module: torch.nn.Module) -> torch.nn.Module:
    new = RULES[type(module)](module.p, module.inplace)  # type: ignore[arg-type]
    # The very dictionaries of hooks, so that their handles still work; training mode, buffers, whatever else is on it.
    vars(new).update((name, value) for name, value in vars(module).items() if name != "p")
    for hook in module._load_state_dict_pre_hooks.values():
        if getattr(hook, "with_module", False):  # it knows its layer by a weak reference
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
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
        TypeError, ValueError: as `plan`; the model is unchanged then.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
        >>> type(thinned.convert(model)[1])
        <class 'thinned.nn.dropout.Dropout'>
    """
    plan(model)  # refuses what must be refused before anything is changed
    old = [module for module in model.modules() if type(module) in RULES and not _patched(module)]
    swapped = {module: _swapped(module) for module in old}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in swapped:
                parent._modules[name] = swapped[child]
    return swapped.get(model, model)
