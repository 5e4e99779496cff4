"""The arithmetic of a training step: float32, or torch's automatic mixed precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from thinned.lab.distributed import Job

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("float32", *HALVES)
LEAST = 2.0**-14  # of a scale: the smallest normal number of float16, thirty halvings below the first


def computes_lstm(name: str, device: torch.device) -> bool:
    """Return whether torch computes LSTMs in a precision: on a CPU it may not in float16.

    Args:
        name: a name in `PRECISIONS`.
        device: where.

    Returns:
        Whether a small one can be computed.

    Examples:
        >>> computes_lstm("float32", torch.device("cpu"))
        True
    """
    if name == "float32":
        return True
    with torch.random.fork_rng(devices=[]):
        layer = torch.nn.LSTM(1, 1).to(device)
    try:
        with torch.autocast(device.type, HALVES[name]):
            layer(torch.zeros(1, 1, 1, device=device))
    except RuntimeError:
        return False
    return True


class Precision:
    """How steps are computed: under which autocast, and whether with gradients that are scaled.

    float16 has so few exponents that small gradients become zero. So the loss is multiplied by a scale, and gradients
    are divided by it before weights change. A step with a gradient that is no number is skipped: weights and optimizer
    stay as they are, and the scale is halved. bfloat16 has the exponents of float32 and needs none of this.

    Args:
        name: a name in `PRECISIONS`.
        job: the processes that share the steps.

    Attributes:
        scaled: whether gradients are scaled, as for float16.

    Examples:
        >>> Precision("float16", Job()).scaled, Precision("bfloat16", Job()).scaled
        (True, False)

    Source: Micikevicius et al., "Mixed precision training", ICLR 2018; the scale is torch.amp.GradScaler's.
    """

    def __init__(self, name: str, job: Job) -> None:
        self.scaled = name == "float16"
        self._job, self._dtype = job, HALVES.get(name)
        self._scaler = torch.amp.GradScaler(job.device.type, enabled=self.scaled)
        self._skip = False  # the last step
        self._skipped = 0  # steps of the epoch
        self._left_out = 0.0  # examples of these, in this process

    @property
    def skipped(self) -> int | None:
        """How many steps of the epoch were skipped; None where none can be."""
        return self._skipped if self.scaled else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return what forward and loss are computed in.

        Returns:
            A context.
        """
        return nullcontext() if self._dtype is None else torch.autocast(self._job.device.type, self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, scaled if they are to be.

        Args:
            loss: a number, penalties included.
        """
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, clip: Callable[[], Any] | None = None) -> None:
        """Change the weights, or skip the step where a gradient is no number.

        Args:
            optimizer: of the weights.
            clip: shortens gradients, after their scale is taken off; None to leave them.
        """
        before = self._scaler.get_scale()
        if clip is not None:
            self._scaler.unscale_(optimizer)
            clip()
        self._scaler.step(optimizer)
        self._scaler.update()
        self._skip = self._scaler.get_scale() < before
        self._skipped += self._skip

    def counted(self, loss: Tensor, examples: float) -> Tensor:
        """Return what the last step adds to the sum of an epoch's losses: nothing if it was skipped.

        Args:
            loss: mean over the step's examples.
            examples: how many these are, in this process.

        Returns:
            The sum of their losses.
        """
        if self._skip:
            self._left_out += examples
            return torch.zeros_like(loss)
        return loss * examples

    def left_out(self) -> int:
        """Return how many examples of the epoch were in steps that were skipped, in all processes.

        Returns:
            Their number; in a job, each process has to ask for it.
        """
        if not self.scaled:
            return 0
        return round(float(self._job.sum(torch.tensor(self._left_out, dtype=torch.float64, device=self._job.device))))

    def begin_epoch(self) -> None:
        """Count from zero again."""
        self._skipped, self._left_out = 0, 0.0

    def lost(self) -> bool:
        """Return whether so many steps were skipped in a row that no scale will help.

        Returns:
            True once the scale is below `LEAST`.
        """
        return self._scaler.get_scale() < LEAST

    def state(self) -> dict[str, Any]:
        """Return all that changes with training.

        Returns:
            What `load` takes; nothing where gradients are not scaled. In a job, each process has to call it.
        """
        if not self.scaled:
            return {}
        return {"scaler": self._scaler.state_dict(), "skipped": self._skipped, "left_out": self.left_out()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: of the same precision.
        """
        if self.scaled:
            self._scaler.load_state_dict(state["scaler"])
            self._skipped, self._left_out = state["skipped"], float(state["left_out"] if self._job.writes else 0)
