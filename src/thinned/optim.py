"""Optimizers that update nothing but the thinned network, where that is all that was trained.

They are torch's own, with torch's names, numbers and state, so that state dicts, schedulers and hooks are the same.
What they add: a `SubmatrixGrad` updates its submatrix alone. Ordinary gradients are updated as torch does it.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from thinned import submatrix
from thinned._errors import RangeError
from thinned.batchwise import SubmatrixGrad
from thinned.kernels.steps import AdamStep, SgdStep
from thinned.submatrix import Place

Dropped = Literal["freeze", "dense"]


def _check_dropped(dropped: str) -> str:
    if dropped not in ("freeze", "dense"):
        raise RangeError(f"`dropped` must be 'freeze' or 'dense', but got dropped={dropped!r}.")
    return dropped


class _Thinned(torch.optim.Optimizer):
    """What the optimizers here share."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        mine = [group["dropped"] for group in self.__dict__.get("param_groups", ())]
        super().__setstate__(state)
        for group, dropped in zip(self.param_groups, mine, strict=False):
            group.setdefault("dropped", dropped)  # of a state dict that torch's optimizer wrote, which has no opinion

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Args:
            param_group: `params` and the options in which they differ.
        """
        if isinstance(param_group, dict):  # what else it may not be, torch says
            _check_dropped(param_group.get("dropped", "freeze"))
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        updates = []
        for group in self.param_groups:
            for parameter in group["params"]:
                grad = parameter.grad
                if grad is not None:
                    block, place = _block(parameter, grad, group["dropped"])
                    updates.append(self._update(parameter, self.state[parameter], group, block, place))
        self._carry_out(updates)
        return loss

    def _update(
        self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any], block: Tensor, place: Place
    ) -> Any:
        raise NotImplementedError

    def _carry_out(self, updates: list[Any]) -> None:
        raise NotImplementedError


def _block(parameter: Tensor, grad: Tensor, dropped: str) -> tuple[Tensor, Place]:
    """Return what a parameter is to be updated with, and where."""
    if isinstance(grad, SubmatrixGrad):
        if grad.block is not None and grad.place is not None and dropped == "freeze" and not grad.is_complex():
            return grad.block, grad.place
        grad = grad.dense()
    elif grad.layout != torch.strided:
        grad = grad.to_dense()
    return grad.resolve_conj(), Place(*_real(parameter))


def _real(*tensors: Any) -> Any:
    """Return complex tensors as real ones with one more axis, as torch's optimizers take them, others as they are."""
    return tuple(torch.view_as_real(t) if t is not None and t.is_complex() else t for t in tensors)


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, memory_format=torch.preserve_format)


class SGD(_Thinned, torch.optim.SGD):
    """`torch.optim.SGD` that updates only the submatrix of a `SubmatrixGrad`.

    Args:
        params: parameters, or groups of them, as for torch's.
        lr: as torch's.
        momentum: likewise.
        dampening: likewise.
        weight_decay: likewise.
        nesterov: likewise.
        maximize: likewise.
        dropped: what happens to weights whose units were dropped: "freeze" leaves them and their momentum as they are
            (no decay either), as Graham et al. do; "dense" updates them as if their gradient were zero, which is what
            training with a mask does, and is slower. An option of each group.

    Raises:
        ValueError, TypeError: an option breaks its rule.

    Examples:
        >>> chain = thinned.batchwise.Chain(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))
        >>> optimizer = thinned.optim.SGD(chain.parameters(), lr=0.1, momentum=0.9)
        >>> before = chain[0].weight.clone()
        >>> chain(torch.ones(3, 4)).sum().backward()
        >>> optimizer.step()
        >>> (chain[0].weight != before).any(1).sum()
        tensor(4)

    Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", 2015.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        dropped: Dropped = "freeze",
    ) -> None:
        _check_dropped(dropped)
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, maximize=maximize)
        _set_default(self, dropped)

    def _update(
        self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any], block: Tensor, place: Place
    ) -> submatrix.SgdUpdate:
        momentum, dampening = group["momentum"], group["dampening"]
        buffer = state.get("momentum_buffer")
        if momentum and buffer is None:
            buffer = state["momentum_buffer"] = _zeros(parameter)
            dampening = 0.0  # of the first gradient, as torch's
        numbers = SgdStep(
            float(group["lr"]), momentum, dampening, group["weight_decay"], group["nesterov"], group["maximize"]
        )
        if not momentum:
            buffer = None
        if parameter.is_complex():
            parameter, buffer, block = _real(parameter, buffer, block)
        return parameter, buffer, block, place, numbers

    def _carry_out(self, updates: list[submatrix.SgdUpdate]) -> None:
        submatrix.sgd(updates)


class _Moments(_Thinned):
    """What Adam and AdamW share."""

    def _update(
        self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any], block: Tensor, place: Place
    ) -> submatrix.AdamUpdate:
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = _zeros(parameter), _zeros(parameter)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = _zeros(parameter)
        state["step"] += 1
        count = state["step"].item()
        beta1, beta2 = (float(beta) for beta in group["betas"])
        numbers = AdamStep(
            float(group["lr"]),
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            -math.expm1(count * math.log(beta1)) if beta1 else 1.0,
            -math.expm1(count * math.log(beta2)) if beta2 else 1.0,
            group["decoupled_weight_decay"],
            group["maximize"],
        )
        moments = state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"] if group["amsgrad"] else None
        if parameter.is_complex():
            (parameter, block), moments = _real(parameter, block), _real(*moments)
        return parameter, moments, block, place, numbers

    def _carry_out(self, updates: list[submatrix.AdamUpdate]) -> None:
        submatrix.adam(updates)


class Adam(_Moments, torch.optim.Adam):
    """`torch.optim.Adam` that updates only the submatrix of a `SubmatrixGrad`.

    The bias correction goes by the number of steps of the whole parameter.

    Args:
        params: parameters, or groups of them, as for torch's.
        lr: as torch's.
        betas: likewise.
        eps: likewise.
        weight_decay: likewise.
        amsgrad: likewise.
        maximize: likewise.
        dropped: "freeze" or "dense", as for `SGD`.

    Raises:
        ValueError, TypeError: an option breaks its rule.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> optimizer = thinned.optim.Adam(layer.parameters(), lr=0.01)
        >>> layer(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        dropped: Dropped = "freeze",
    ) -> None:
        _check_dropped(dropped)
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
        _set_default(self, dropped)


class AdamW(_Moments, torch.optim.AdamW):
    """`torch.optim.AdamW` that updates only the submatrix of a `SubmatrixGrad`.

    Args:
        params: parameters, or groups of them, as for torch's.
        lr: as torch's.
        betas: likewise.
        eps: likewise.
        weight_decay: likewise.
        amsgrad: likewise.
        maximize: likewise.
        dropped: "freeze" or "dense", as for `SGD`; under "freeze" dropped weights do not decay.

    Raises:
        ValueError, TypeError: an option breaks its rule.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> optimizer = thinned.optim.AdamW(layer.parameters(), weight_decay=0.1)
        >>> layer(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        dropped: Dropped = "freeze",
    ) -> None:
        _check_dropped(dropped)
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
        _set_default(self, dropped)


def _set_default(optimizer: torch.optim.Optimizer, dropped: str) -> None:
    optimizer.defaults["dropped"] = dropped
    for group in optimizer.param_groups:
        group.setdefault("dropped", dropped)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale gradients so that their common norm is at most `max_norm`; `SubmatrixGrad`s stay sparse.

    Args:
        parameters: one or more tensors with gradients.
        max_norm: the largest norm allowed.
        norm_type: order of the norm.
        error_if_nonfinite: whether to refuse a norm that is inf or nan.

    Returns:
        The norm before.

    Raises:
        RuntimeError: the norm is inf or nan, and that is to be refused.

    Examples:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> layer(torch.tensor([[3.0, 4.0]])).sum().backward()
        >>> thinned.optim.clip_grad_norm_(layer.parameters(), max_norm=1.0)
        tensor(5.)
    """
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)
