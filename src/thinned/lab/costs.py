"""What a network costs: memory, arithmetic, and the wait for a prediction; measured on one that is thrown away."""

import gc
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd import profiler
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thinned.lab.examples import Bags, Examples
from thinned.lab.train import loss_of

ROUNDS = 51  # predictions that are timed


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        bytes_kept: for backward by one training step.
        flops: of one training step, see `flops`.
        latency: seconds that the prediction of one example takes; None if it was not measured.
        peak_bytes: of all tensors at one time while training, see `peak_bytes`; None if it was not measured.
    """

    bytes_kept: int
    flops: int
    latency: float | None = None
    peak_bytes: int | None = None


def bytes_kept(model: nn.Module, batch: Examples) -> int:
    """Count the bytes that the forward pass of one training step keeps for backward.

    Counted are the storages of all tensors that autograd saves, each once and whole; the network's parameters and the
    batch itself, which are in memory anyway, are left out.

    Args:
        model: the network; left in training mode.
        batch: the examples of the step.

    Returns:
        Number of bytes.

    Examples:
        ReLU keeps its output, 2 x 3 float32 numbers; the loss keeps as many, and one number more:

        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> bytes_kept(model, Examples(torch.ones(2, 4), torch.tensor([0, 1])))
        52
    """
    model.train()
    kept: dict[int, Tensor] = {}  # the tensors too: a freed storage's address could come again

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.random.fork_rng(devices=[]), saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model(batch.inputs), batch.targets)
    inputs = batch.inputs if isinstance(batch.inputs, Bags) else (batch.inputs,)
    given = [tensor for tensor in (*model.parameters(), *inputs, batch.targets) if tensor is not None]
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    del loss
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in known)


def peak_bytes(work: Callable[[], object], device: torch.device | None = None) -> int:
    """Count the bytes that torch's tensors take at one time, at the most, while something runs.

    Counted is what torch's allocator gives and takes back on the device: weights, gradients, the state of the
    optimizer, activations, masks. What was there before is not.

    Args:
        work: what runs; on the CPU in a thread of its own: memory that a thread keeps for the next step counts too.
        device: where its tensors are; the CPU by default.

    Returns:
        Number of bytes.

    Examples:
        >>> peak_bytes(lambda: torch.empty(1000).clone())
        8000
    """
    if device is not None and device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler writes lines of its own to stderr
    with profiler.profile():
        pass  # and one more if it is first used outside the main thread

    def watched() -> int:
        gc.collect()  # what was watched before, and is freed now, would be subtracted
        with profiler.profile(profile_memory=True) as profile:
            work()
        changes = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
        changes.sort(key=lambda event: event.start_ns())
        return max(accumulate(event.nbytes() for event in changes), default=0)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(watched).result()


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
    with torch.random.fork_rng(devices=[]), _products(), counter:
        loss_of(model(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


@contextmanager
def _products() -> Iterator[None]:
    """Let an LSTM and attention be products, which are counted, and not one call each, which is not on every device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells of graphics cards of another maker
        with (
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield


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
