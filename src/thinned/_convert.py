"""Swapping a model's dropout layers for this package's, and saying beforehand what would happen."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from thinned import _check, nn
from thinned._errors import KindError
from thinned.batchwise import Chain
from thinned.batchwise._plan import ChainPlan, chains
from thinned.batchwise._structure import patched

# torch's type -> how to make its replacement. Exact types only: a subclass may do something else in its forward.
RULES: dict[type[torch.nn.Module], Callable[[float, bool], torch.nn.Module]] = {
    torch.nn.Dropout: nn.Dropout,
    torch.nn.Dropout1d: nn.Dropout1d,
    torch.nn.Dropout2d: nn.Dropout2d,
    torch.nn.Dropout3d: nn.Dropout3d,
    torch.nn.AlphaDropout: nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout: nn.FeatureAlphaDropout,
}
OWN = tuple(RULES.values())
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Site:
    """One place of a model where something is dropped.

    Attributes:
        path: the layer's name in the model; "" is the model itself.
        kind: the layer's class.
        p: its drop probability.
        action: "swap", "keep", "done", or "thin".
        reason: why, in words.
        saved: share of the multiplications of its chain's linear layers that thinning it saves, alone.
    """

    path: str
    kind: str
    p: float
    action: str
    reason: str
    saved: float = 0.0


class Plan(list[Site]):
    """What `convert` would do at each site; prints as a table.

    Args:
        sites: one for each place where something is dropped.
        saved: share of the multiplications of all linear layers in chains that thinning them saves.
    """

    def __init__(self, sites: Iterable[Site] = (), saved: float = 0.0) -> None:
        super().__init__(sites)
        self.saved = saved

    def __str__(self) -> str:
        if not self:
            return "No dropout layers. (Calls of torch.nn.functional.dropout inside a forward are not visible here.)"
        thins = any(site.action == "thin" for site in self)
        rows = [("site", "layer", "p", "action", *(["saves"] if thins else []), "why")]
        for site in self:
            saves = [f"{site.saved:.0%}" if site.action == "thin" else "-"] if thins else []
            rows.append((site.path or "(model)", site.kind, f"{site.p:g}", site.action, *saves, site.reason))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
        if thins:
            lines.append(f"Of the multiplications of linear layers in chains, {self.saved:.0%} are saved in training.")
        return "\n".join(lines)


def _site(path: str, module: torch.nn.Module) -> Site | None:
    kind = type(module)
    if kind in OWN:
        return Site(path, kind.__name__, module.p, "done", "already a layer of thinned")  # type: ignore[arg-type]
    if kind in RULES:
        p = _check.probability(module.p)
        if patched(module):
            return Site(path, kind.__name__, p, "keep", "the forward of this instance was replaced or compiled")
        return Site(path, kind.__name__, p, "swap", "same distribution, no stored mask")
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
        return Site(path, kind.__name__, float(module.p), "keep", "no rule for this type of layer")
    inner = getattr(module, "dropout", None)
    if isinstance(module, torch.nn.MultiheadAttention | torch.nn.RNNBase) and inner:
        return Site(path, kind.__name__, float(inner), "keep", "the dropout is inside torch's own function")
    return None


def plan(
    model: torch.nn.Module, batchwise: bool = False, *, batch_size: int = 100, groups: int = 1, multiple_of: int = 1
) -> Plan:
    """Tell what `convert` would do to a model, without doing it.

    Args:
        model: any module.
        batchwise: whether chains of layers are to compute only the thinned network.
        batch_size: examples of a training step, which decides whether that pays.
        groups: as for `thinned.batchwise.Chain`.
        multiple_of: likewise.

    Returns:
        One `Site` for each place where the model drops something; prints as a table.

    Raises:
        TypeError, ValueError: not a module; the `p` of a layer is not a number in [0, 1].

    Examples:
        >>> print(thinned.plan(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))))
        site  layer    p    action  why
        1     Dropout  0.1  swap    same distribution, no stored mask
    """
    _check_module(model)
    everywhere = model.named_modules(remove_duplicate=False)  # a shared layer at each of its places
    sites = [site for site in (_site(path, module) for path, module in everywhere) if site is not None]
    if not batchwise:
        return Plan(sites)
    batch_size, groups = _check.positive(batch_size, "batch_size"), _check.positive(groups, "groups")
    found = list(chains(model, batch_size, groups, _check.positive(multiple_of, "multiple_of")))
    verdicts = dict(verdict for chain in found for verdict in _verdicts(chain))
    dense = sum(chain.dense for chain in found)
    saved = sum(chain.dense - chain.thinned for chain in found if chain.pays)
    return Plan([_thinned(site, verdicts.get(site.path)) for site in sites], saved / dense if dense else 0.0)


def _verdicts(chain: ChainPlan) -> Iterator[tuple[str, float | str]]:
    """Yield for each dropout layer of a chain the share of work that is saved, or why it is not thinned."""
    for place, decision in chain.decisions.items():
        path = chain.layers[place][0]
        if isinstance(decision, str):
            yield path, decision
        elif not chain.pays:
            yield path, "layers of this size and batch gain nothing"
        else:
            yield path, chain.saved_by(place)


def _thinned(site: Site, verdict: float | str | None) -> Site:
    """Return a site with what batchwise dropout means for it."""
    if site.action == "keep":
        return site
    if isinstance(verdict, float):
        return replace(site, action="thin", reason="only the kept units are computed", saved=verdict)
    why = verdict or "it does not stand in an nn.Sequential"
    return replace(site, reason=f"{site.reason}; not thinned: {why}")


def _check_module(model: object) -> None:
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")


def _swapped(module: torch.nn.Module) -> torch.nn.Module:
    new = RULES[type(module)](module.p, module.inplace)  # type: ignore[arg-type]
    return _taking_over(new, module, without="p")


def _taking_over(new: Module, module: torch.nn.Module, without: str = "") -> Module:
    """Give a replacement the very dictionaries of hooks, so that handles still work, and whatever else is there."""
    vars(new).update((name, value) for name, value in vars(module).items() if name != without)
    for hook in module._load_state_dict_pre_hooks.values():
        if getattr(hook, "with_module", False):  # it knows its layer by a weak reference
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
    return new


def convert(
    model: torch.nn.Module,
    batchwise: bool = False,
    *,
    batch_size: int = 100,
    groups: int = 1,
    units: str = "random",
    multiple_of: int = 1,
) -> torch.nn.Module:
    """Swap torch's dropout layers for this package's, in place; if asked to, make chains compute only what is kept.

    Parameters, hooks, training mode and the names in the state dict stay as they are, so an optimizer made before still
    works. A layer that stands at several places of the model stays one layer. What cannot be swapped exactly is left
    alone; `plan` says why.

    Args:
        model: any module.
        batchwise: turn each `nn.Sequential` for which it pays into a `thinned.batchwise.Chain`. Train it with
            `thinned.optim`, which updates only what was computed.
        batch_size: examples of a training step, which decides whether it pays.
        groups: as for `thinned.batchwise.Chain`.
        units: likewise.
        multiple_of: likewise.

    Returns:
        The model itself; only if it is a dropout layer or an `nn.Sequential` itself, its replacement.

    Raises:
        TypeError, ValueError: as `plan`, or an option breaks its rule; the model is unchanged then.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
        >>> type(thinned.convert(model)[1])
        <class 'thinned.nn.dropout.Dropout'>
    """
    # Both refuse what must be refused before anything is changed.
    plan(model, batchwise, batch_size=batch_size, groups=groups, multiple_of=multiple_of)
    Chain(groups=groups, units=units, multiple_of=multiple_of)
    found = list(chains(model, batch_size, groups, multiple_of)) if batchwise else []
    new: dict[torch.nn.Module, torch.nn.Module] = {
        module: _swapped(module) for module in model.modules() if type(module) in RULES and not patched(module)
    }
    for chain in found:
        if isinstance(chain.module, Chain):
            chain.module.configure(groups, units, multiple_of)
        elif chain.pays:
            new[chain.module] = _chained(chain.module, groups, units, multiple_of)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                parent._modules[name] = new[child]
    return new.get(model, model)


def _chained(module: torch.nn.Sequential, groups: int, units: str, multiple_of: int) -> Chain:
    return _taking_over(Chain(groups=groups, units=units, multiple_of=multiple_of), module)
