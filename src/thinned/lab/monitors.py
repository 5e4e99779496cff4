"""What to look at when dropout is tuned: how units and weights behave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thinned.lab.examples import Examples

PROBED = 512  # examples that units are watched on
WATCHED = 256  # units of a layer that are compared pair by pair
STRIDE = 7919  # a prime: from one example's place to the next one's
NEAR_ZERO = 1e-6  # of an activation, beside its layer's largest: off


@dataclass(frozen=True)
class Monitors:
    """How units and weights behave without dropout; for each hidden layer a number, from the input on.

    Attributes:
        sparsity: share of activations that are off.
        dead_units: share of units that are off for every example that was looked at.
        co_adaptation: mean absolute correlation between two units of a layer, over examples; of 256 units at most.
        weight_norms: root mean square of each weight, by its name.
    """

    sparsity: tuple[float, ...]
    dead_units: tuple[float, ...]
    co_adaptation: tuple[float, ...]
    weight_norms: dict[str, float]


def look(model: nn.Module, activations: Sequence[type[nn.Module]], probe: Examples) -> Monitors:
    """Watch a network on examples.

    Args:
        model: the network; left in evaluation mode.
        activations: classes of the layers whose outputs are watched.
        probe: the examples; the first 512 are looked at.

    Returns:
        What was seen.

    Examples:
        >>> layer = nn.Linear(1, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
        >>> seen = look(nn.Sequential(layer, nn.ReLU()), [nn.ReLU], Examples(torch.ones(4, 1), torch.zeros(4)))
        >>> seen.sparsity, seen.dead_units
        ((0.5,), (0.5,))
    """
    model.eval()
    seen: list[Tensor] = []

    def watch(_: nn.Module, __: Any, output: Tensor) -> None:
        seen.append(output.detach().float())

    hooks = [
        module.register_forward_hook(watch) for module in model.modules() if isinstance(module, tuple(activations))
    ]
    try:
        with torch.no_grad():
            model(probe.head(PROBED).inputs)
    finally:
        for hook in hooks:
            hook.remove()
    units = [by_unit(output) for output in seen]
    off = [output.abs() <= NEAR_ZERO * output.abs().amax() for output in units]
    return Monitors(
        sparsity=tuple(float(layer.float().mean()) for layer in off),
        dead_units=tuple(float(layer.all(0).float().mean()) for layer in off),
        co_adaptation=tuple(co_adaptation(output) for output in units),
        weight_norms={
            name: float(parameter.detach().square().mean().sqrt())
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1
        },
    )


def by_unit(output: Tensor) -> Tensor:
    """Return activations as rows of units.

    Args:
        output: shape (examples, units), (examples, channels, height, width) or (examples, steps, units).

    Returns:
        Shape (examples, units): channels count as units; of each example's places, or steps, one is taken, another one
        for the next example.

    Examples:
        >>> by_unit(torch.zeros(4, 3, 5, 5)).shape
        torch.Size([4, 3])
    """
    if output.dim() == 4:
        output = output.movedim(1, -1)
    rows = output.flatten(0, -2)
    places = len(rows) // len(output)
    examples = torch.arange(len(output), device=rows.device)
    return rows[examples * places + examples * STRIDE % places] if places > 1 else rows


def co_adaptation(units: Tensor) -> float:
    """Return the mean absolute correlation between two units.

    Args:
        units: activations, shape (examples, units); evenly spaced units are taken where there are too many.

    Returns:
        A number in [0, 1]; 0 where fewer than two units vary.

    Examples:
        >>> co_adaptation(torch.tensor([[1.0, -2.0], [2.0, -4.0], [4.0, -8.0]]))
        1.0

    Source: what dropout is to prevent, Hinton, Srivastava, Krizhevsky, Sutskever and Salakhutdinov, 2012; measured as
    by Cogswell, Ahmed, Girshick, Zitnick and Batra, "Reducing overfitting in deep networks by decorrelating
    representations", ICLR 2016, with correlations for covariances, so that no scale enters.
    """
    count = units.shape[1]
    if count > WATCHED:
        units = units[:, torch.arange(WATCHED, device=units.device) * count // WATCHED]
    centred = units.double() - units.double().mean(0)
    lengths = centred.norm(dim=0)
    varying = lengths > 0
    if int(varying.sum()) < 2:
        return 0.0
    centred = centred[:, varying] / lengths[varying]
    pairs = (centred.T @ centred).abs()
    number = len(pairs)
    return min(1.0, float((pairs.sum() - pairs.diagonal().sum()) / (number * (number - 1))))
