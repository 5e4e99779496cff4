"""What a network costs: memory, arithmetic, and the wait for a prediction; measured on one that is thrown away."""

import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), batch.inputs, batch.targets)}
    del loss
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in known)


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of the tensors that torch makes, for as long as each is there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}  # in place, or a view
        for storage in _storages(made):
            if storage._cdata in self._sizes or storage._cdata not in given:
                self._set(storage)
        return made

    def _set(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            weakref.finalize(storage, self._drop, key)
        self._now += storage.nbytes() - self._sizes.get(key, 0)
        self._sizes[key] = storage.nbytes()
        self.most = max(self.most, self._now)

    def _drop(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    # A subclass that wraps other tensors, as `SubmatrixGrad` does, has no memory of its own.
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if type(leaf) in (Tensor, nn.Parameter)]


def peak_bytes(work: Callable[[], object]) -> int:
    """Count the bytes that tensors take at one time, at the most, while something runs.

    Counted is what an operation of torch returns, as long as it is there, such as weights, gradients, the state of the
    optimizer and masks. What was there before is not, nor what an operation takes and gives back by itself.

    Args:
        work: what runs, in a thread of its own: memory that a thread keeps for the next step counts too.

    Returns:
        Number of bytes.

    Examples:
        >>> peak_bytes(lambda: torch.ones(1000).mul(2).sum())
        8000
    """

    def watched() -> int:
        held = _Held()
        with held:
            work()
        return held.most

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
