"""What a network costs: memory, arithmetic, and the wait for a prediction; measured on one that is thrown away."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from thinned.lab.examples import Examples
from thinned.lab.train import loss_of

ROUNDS = 51  # predictions that are timed


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        bytes_kept: for backward by one training step.
        flops: of one training step, see `flops`.
        latency: seconds that the prediction of one example takes; None if it was not measured.
    """

    bytes_kept: int
    flops: int
    latency: float | None = None


def flops(model: nn.Module, batch: Examples) -> int:
    """Count the floating-point operations of one training step, forward and backward, without the optimizer.

    Counted is what is computed: matrix products and convolutions, with the sizes that they have, a multiplication and
    an addition as two. What is elementwise is left out.

    Args:
        model: the network; left in training mode, with gradients that this step has added to.
        batch: the examples of the step.

    Returns:
        Number of operations.

    Examples:
        A layer of 4 x 3 weights and 2 examples: forward and the weights' gradient, and none of the input.

        >>> flops(nn.Linear(4, 3), Examples(torch.ones(2, 4), torch.tensor([0, 1]))) == 2 * (2 * 2 * 4 * 3)
        True
    """
    model.train()
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), counter:
        loss_of(model(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


@torch.no_grad()
def latencies(models: Mapping[str, nn.Module], example: Examples, rounds: int = ROUNDS) -> dict[str, float]:
    """Time the prediction of one example, the networks taking turns.

    Args:
        models: the networks by name; left in evaluation mode.
        example: one example.
        rounds: how often each predicts.

    Returns:
        The median of each in seconds.

    Examples:
        >>> found = latencies({"none": nn.Linear(4, 3)}, Examples(torch.ones(1, 4), torch.tensor([0])))
        >>> 0 < found["none"] < 1
        True
    """
    for model in models.values():
        model.eval()(example.inputs)
    clocks: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model(example.inputs)
            clocks[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in clocks.items()}
