"""Averaging gradients over processes without sending what is known to be zero."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor
from torch import distributed as dist

from thinned._errors import KindError
from thinned.batchwise._gradient import SubmatrixGrad, values

BUCKET = 1 << 23  # elements that are sent together; what is larger is sent by itself, without a copy


def all_reduce_gradients(parameters: Tensor | Iterable[Tensor], process_group: dist.ProcessGroup | None = None) -> None:
    """Average gradients over processes; of a `SubmatrixGrad` only the block is sent.

    Call it between backward and the optimizer's step, in place of `DistributedDataParallel`, whose buckets are dense.
    All processes must start from the same parameters and compute the same units: key the model in each of them with the
    same seed and step, and with `batch=` for the rows at hand.

    Args:
        parameters: those of the model, in the same order everywhere.
        process_group: the processes; all of them by default.

    Raises:
        RuntimeError: the processes have gradients of different parameters or of different units. It is raised in all of
            them, and the gradients are as before.
        TypeError: a gradient is a sparse tensor of torch.

    Examples:
        >>> import tempfile
        >>> file = f"file://{tempfile.mkdtemp()}/store"
        >>> torch.distributed.init_process_group("gloo", init_method=file, rank=0, world_size=1)
        >>> chain = thinned.batchwise.Chain(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))
        >>> chain(torch.ones(3, 4)).sum().backward()
        >>> thinned.batchwise.all_reduce_gradients(chain.parameters())
        >>> chain[0].weight.grad.block.shape
        torch.Size([4, 4])
        >>> torch.distributed.destroy_process_group()
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [parameter.grad for parameter in parameters]
    for grad in grads:
        if grad is not None and grad.layout != torch.strided:
            raise KindError(f"Gradients must be dense or a SubmatrixGrad, but got one of layout {grad.layout}.")
    present = [grad for grad in grads if grad is not None]
    device = present[0].device if present else torch.device("cpu")
    _check_the_same(_signature(grads), device, process_group)
    share = 1 / dist.get_world_size(process_group)
    buckets: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for value in values(present):
        bucket = buckets.setdefault((value.dtype, value.device), [])
        if bucket and sum(map(Tensor.numel, bucket)) + value.numel() > BUCKET:
            _average(bucket, share, process_group)
            bucket.clear()
        bucket.append(value)
    for bucket in buckets.values():
        _average(bucket, share, process_group)


def _average(tensors: list[Tensor], share: float, process_group: dist.ProcessGroup | None) -> None:
    if len(tensors) == 1 and tensors[0].is_contiguous():
        dist.all_reduce(tensors[0], group=process_group)
        tensors[0].mul_(share)
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat, group=process_group)
    parts = flat.mul_(share).split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def _signature(grads: list[Tensor | None]) -> int:
    """Return a number of 62 bits that says which parameters have gradients, and of which units."""
    digest = hashlib.blake2b(digest_size=8)
    for grad in grads:
        place = grad.place if isinstance(grad, SubmatrixGrad) else None
        indices = None if place is None else (place.rows, place.columns)
        digest.update(repr((grad is not None and (grad.dtype, tuple(grad.shape)), indices is None)).encode())
        for index in indices or ():
            digest.update(b"all" if index is None else index.cpu().numpy().tobytes() + b"end")
    return int.from_bytes(digest.digest(), "little") >> 2


def _check_the_same(signature: int, device: torch.device, process_group: dist.ProcessGroup | None) -> None:
    largest = torch.tensor([signature, -signature], dtype=torch.int64, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=process_group)
    if largest.tolist() != [signature, -signature]:
        raise RuntimeError(
            "All processes must have gradients of the same parameters and of the same units, but they differ. Key the "
            "model with the same seed and step in all of them."
        )
