"""One run of training on several processes that `torchrun` starts, or on one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from thinned._errors import RangeError, ThinnedError
from thinned.batchwise import SubmatrixGrad

SIGNS = ("gloo", "NCCL", "Connection")  # of a broken connection, in a plain RuntimeError


class PeerError(ThinnedError, RuntimeError):
    """Another process of the job is gone."""


@dataclass(frozen=True)
class Job:
    """The processes that share one run; by default one alone.

    Attributes:
        rank: number of this process; 0 writes, and no other.
        size: how many processes there are.
        device: where this process computes.

    Examples:
        >>> [Job(rank, 4).rows(10) for rank in range(4)]
        [(0, 2), (2, 5), (5, 7), (7, 10)]
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def on(self, device: str) -> "Job":
        """Return the same job, on a device.

        Args:
            device: ``"cpu"``, ``"cuda"``, where each process on a machine takes a GPU of its own, or ``"auto"``, which
                is CUDA where there are GPUs for all of them.

        Returns:
            The job.

        Raises:
            RangeError: there is no GPU for this process.
        """
        local, beside = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device == "cuda" and local >= there:
            raise RangeError(f"`device` must have a GPU for each process, but process {local} finds {there}.")
        if device == "cpu" or (device == "auto" and there < beside):
            return self
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
        return replace(self, device=place)

    def rows(self, count: int) -> tuple[int, int]:
        """Return which rows of a batch are this process's.

        Args:
            count: rows of the whole batch.

        Returns:
            The first, and the one after the last; the same where there are fewer rows than processes.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def sum(self, numbers: Tensor) -> Tensor:
        """Add up numbers over all processes.

        Args:
            numbers: a tensor of the same shape in each process.

        Returns:
            The same tensor, now the sum.
        """
        if self.size > 1:
            torch.distributed.all_reduce(numbers)
        return numbers

    def share(self, data: bytes) -> bytes:
        """Send bytes from process 0 to all others.

        Args:
            data: of process 0; what the others give is not looked at.

        Returns:
            The bytes of process 0.
        """
        if self.size == 1:
            return data
        size = torch.tensor([len(data)], device=self.device)
        torch.distributed.broadcast(size, 0)
        held = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        if self.writes and data:
            held.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        torch.distributed.broadcast(held, 0)
        return held.cpu().numpy().tobytes()

    def wrap(self, model: nn.Module, sparse: bool) -> nn.Module:
        """Return a model whose gradients are averaged over all processes as they come about.

        Args:
            model: on this process's device.
            sparse: whether gradients may be submatrices, which `average` has to be called for instead.

        Returns:
            The model in DistributedDataParallel; the model itself for one process.

        Raises:
            RangeError: a layer's result depends on the whole batch, in a way that this device cannot share.
        """
        if self.size == 1:
            return model
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
            if self.device.type == "cpu":
                raise RangeError(
                    "`model.norm` must be none for several processes on CPUs: torch shares the statistics of a batch "
                    "between GPUs alone."
                )
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        if sparse or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def average(self, model: nn.Module) -> None:
        """Average gradients over all processes, of submatrices their blocks alone.

        All processes must have drawn the same units, as they do under one key.

        Args:
            model: after its backward.
        """
        if self.size == 1:
            return
        blocks = []
        for parameter in model.parameters():
            grad = parameter.grad
            if grad is not None:
                blocks.append(_values(grad))
        flat = torch.cat([block.reshape(-1) for block in blocks])
        self.sum(flat.div_(self.size))
        for block, part in zip(blocks, torch.split(flat, [block.numel() for block in blocks]), strict=True):
            block.copy_(part.view_as(block))


def _values(grad: Tensor) -> Tensor:
    """Return what a gradient holds: its block, or all of it."""
    if not isinstance(grad, SubmatrixGrad):
        return grad
    return grad.dense() if grad.block is None else grad.block


@contextmanager
def job() -> Iterator[Job]:
    """Join the processes of a job, if `torchrun` has started several.

    Yields:
        The job, on the CPU, which is over when the `with` is left.

    Examples:
        >>> with job() as alone:
        ...     alone.size
        1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Job()
        return
    both = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo")
    try:
        yield Job(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def peers() -> Iterator[None]:
    """Say in one sentence that another process is gone, instead of what the connection to it says.

    Raises:
        PeerError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        told = str(error)
        if isinstance(error, torch.distributed.DistError) or any(sign in told for sign in SIGNS):
            raise PeerError("Another process of this job has ended, so this one cannot go on.") from error
        raise
