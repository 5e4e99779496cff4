"""What stands beside dropout: penalties on weights, the max-norm constraint, and pruning by magnitude.

A penalty on squared weights is also `weight_decay` of torch's optimizers, and pruning is torch's own,
`torch.nn.utils.prune`; what is here adds what they lack: one call for a whole model, and a schedule.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import prune

from thinned import _check
from thinned._errors import KindError, RangeError

Weighted = (
    torch.nn.Linear
    | torch.nn.Conv1d
    | torch.nn.Conv2d
    | torch.nn.Conv3d
    | torch.nn.ConvTranspose1d
    | torch.nn.ConvTranspose2d
    | torch.nn.ConvTranspose3d
)


def _layers(model: torch.nn.Module) -> Iterator[Any]:
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")
    return (module for module in model.modules() if isinstance(module, Weighted))


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KindError(f"`{name}` must be a number, but got {name}={value!r} of type {type(value).__name__}.")
    if not (value > 0 and math.isfinite(value)):
        raise RangeError(f"`{name}` must be above 0 and finite, but got {name}={value}.")
    return float(value)


def _total(terms: Iterable[Tensor]) -> Tensor:
    return sum(terms, torch.zeros(()))


def l1_penalty(model: torch.nn.Module) -> Tensor:
    """Return the sum of the absolute values of the weights of all linear and convolutional layers; biases are free.

    Args:
        model: any module.

    Returns:
        0-dim tensor; multiply it by the strength of the penalty and add it to the loss.

    Raises:
        TypeError: not a module.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -0.5)
        >>> thinned.regularization.l1_penalty(layer)
        tensor(1., grad_fn=<AddBackward0>)

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", JRSS B 58, 1996.
    """
    return _total(module.weight.abs().sum() for module in _layers(model))


def l2_penalty(model: torch.nn.Module) -> Tensor:
    """Return the sum of the squares of the weights of all linear and convolutional layers; biases are free.

    With SGD, `strength * l2_penalty(model)` is `weight_decay=2 * strength` on those weights; with Adam it is not the
    decay of AdamW.

    Args:
        model: any module.

    Returns:
        0-dim tensor.

    Raises:
        TypeError: not a module.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -0.5)
        >>> thinned.regularization.l2_penalty(layer)
        tensor(0.5000, grad_fn=<AddBackward0>)

    Source: Krogh and Hertz, "A simple weight decay can improve generalization", NeurIPS 1991.
    """
    return _total(module.weight.square().sum() for module in _layers(model))


@torch.no_grad()
def max_norm_(model: torch.nn.Module, maximum: float = 3.0) -> torch.nn.Module:
    """Shorten the incoming weights of each unit to a length of at most `maximum`, in place.

    Call it after each step of the optimizer. It goes well with dropout and a large learning rate.

    Args:
        model: any module; its linear and convolutional layers are constrained, each output unit or channel by itself.
        maximum: the largest length; 3 to 4 are usual.

    Returns:
        The model.

    Raises:
        TypeError, ValueError: not a module; `maximum` is not above 0.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, 4.0)
        >>> thinned.regularization.max_norm_(layer, 1.0).weight.detach()
        tensor([[0.7071, 0.7071]])

    Source: Srebro, Rennie and Jaakkola, "Maximum-margin matrix factorization", NeurIPS 2005; with dropout: Srivastava
    et al., JMLR 15, 2014, section 5.1.
    """
    maximum = _positive(maximum, "maximum")
    for module in _layers(model):
        transposed = isinstance(module, torch.nn.modules.conv._ConvTransposeNd)
        weight: Tensor = module.weight
        # torch's renorm treats a slice along `dim` as one vector: an output unit. A transposed convolution has its
        # output channels on axis 1, one set for each group.
        short = torch.renorm(_turned(weight, module.groups) if transposed else weight, 2, 0, maximum)
        weight.copy_(_turned(short, module.groups) if transposed else short)
    return model


def _turned(weight: Tensor, groups: int) -> Tensor:
    """Swap the axes of input and output channels within each group."""
    return weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)


def prune_magnitude(model: torch.nn.Module, amount: float) -> torch.nn.Module:
    """Mask the smallest weights of all linear and convolutional layers together, by torch's global pruning.

    Args:
        model: any module; its weights become parametrized as `torch.nn.utils.prune` does it (`weight_orig`,
            `weight_mask`). `finish_pruning` makes that permanent.
        amount: share of all weights that are to be 0 afterwards, in [0, 1]; those that are masked already count.

    Returns:
        The model.

    Raises:
        TypeError, ValueError: not a module, or one without such layers; `amount` is outside [0, 1].

    Examples:
        >>> model = thinned.regularization.prune_magnitude(torch.nn.Linear(10, 10), 0.9)
        >>> int(model.weight.count_nonzero())
        10

    Source: Han, Pool, Tran and Dally, "Learning both weights and connections for efficient neural networks", NeurIPS
    2015.
    """
    amount = _check.probability(amount, "amount")
    places = [(module, "weight") for module in _layers(model)]
    if not places:
        raise RangeError("`model` must have linear or convolutional layers to be pruned, but it has none.")
    total = sum(module.weight.numel() for module, _ in places)
    masked = sum(int((module.weight_mask == 0).sum()) for module, _ in places if hasattr(module, "weight_mask"))
    more = round(amount * total) - masked
    if more > 0:
        prune.global_unstructured(places, prune.L1Unstructured, amount=more)
    return model


def finish_pruning(model: torch.nn.Module) -> torch.nn.Module:
    """Make pruning permanent: `weight` is a parameter again, with zeros in it.

    Args:
        model: what `prune_magnitude` was applied to.

    Returns:
        The model.

    Raises:
        TypeError: not a module.

    Examples:
        >>> model = thinned.regularization.prune_magnitude(torch.nn.Linear(10, 10), 0.9)
        >>> list(dict(thinned.regularization.finish_pruning(model).named_parameters()))
        ['bias', 'weight']
    """
    for module in _layers(model):
        if hasattr(module, "weight_mask"):
            prune.remove(module, "weight")  # type: ignore[no-untyped-call]
    return model


class GradualPruning:
    """Prune a model step by step while it trains: fast at first, slower towards the end.

    The share of zeros after step t is amount * (1 - (1 - (t - begin) / (end - begin))**3).

    Args:
        model: as for `prune_magnitude`.
        amount: share of zeros at the end, in [0, 1].
        begin: step after which pruning begins.
        end: step after which it is done.
        every: prune once in so many steps.

    Raises:
        TypeError, ValueError: as `prune_magnitude`; not 0 <= begin < end.

    Examples:
        >>> model = torch.nn.Linear(10, 10)
        >>> pruning = thinned.regularization.GradualPruning(model, 0.8, begin=0, end=10)
        >>> for step in range(10):
        ...     pruning.step()
        >>> int(model.weight.count_nonzero())
        20

    Source: Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017.
    """

    def __init__(self, model: torch.nn.Module, amount: float, begin: int, end: int, every: int = 1) -> None:
        self.amount = _check.probability(amount, "amount")
        self.begin, self.end = _check.sizes((begin, end), "begin, end")
        if self.begin >= self.end:
            raise RangeError(f"`begin` must be below `end`, but got begin={begin} and end={end}.")
        self.every = _check.positive(every, "every")
        self.model = model
        self.steps = 0

    def amount_after(self, step: int) -> float:
        """Return the share of zeros after a number of steps.

        Args:
            step: the number.

        Returns:
            A number from 0 to `amount`.
        """
        progress = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.amount * (1 - (1 - progress) ** 3)

    def step(self) -> None:
        """Count a training step, and prune if it is time; call it after the optimizer's."""
        self.steps += 1
        due = (self.steps - self.begin) % self.every == 0 or self.steps == self.end
        if self.begin < self.steps <= self.end and due:
            prune_magnitude(self.model, self.amount_after(self.steps))


__all__ = ["GradualPruning", "finish_pruning", "l1_penalty", "l2_penalty", "max_norm_", "prune_magnitude"]
