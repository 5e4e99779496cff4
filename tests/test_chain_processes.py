"""`Chain` in several processes: through DistributedDataParallel, and with gradients that stay sparse."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from masked import Masked, error
from torch import nn

import thinned
from thinned.batchwise import Chain, SubmatrixGrad, _distributed, all_reduce_gradients

EXACT = 1e-10
STEPS = 3


def net():
    torch.manual_seed(0)
    layers = [nn.Dropout(0.2), nn.Linear(10, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 12), nn.Tanh()]
    return Chain(*layers, nn.Dropout(0.5), nn.Linear(12, 3)).double()


def data():
    return torch.randn(12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def rows_of(rank):
    return rank * 6, rank * 6 + 6, 12


def by_ddp(rank):
    rows = rows_of(rank)
    model = net()
    wrapped = nn.parallel.DistributedDataParallel(model)
    optimizer = thinned.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dropped="dense")
    for step in range(STEPS):
        optimizer.zero_grad()
        thinned.keyed(wrapped, 3, step, batch=rows)
        wrapped(data()[rows[0] : rows[1]]).square().sum().mul(2).backward()  # an average over the ranks follows
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def by_blocks(rank):
    """The same without DDP, in buckets of two sizes."""
    rows = rows_of(rank)
    model = net()
    unused = nn.Parameter(torch.ones(2))
    optimizer = thinned.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dropped="dense")
    for step in range(STEPS):
        _distributed.BUCKET = (40, 1 << 20, 1 << 20)[step]
        optimizer.zero_grad()
        thinned.keyed(model, 3, step, batch=rows)(data()[rows[0] : rows[1]]).square().sum().mul(2).backward()
        sent = count_sent(lambda: all_reduce_gradients([*model.parameters(), unused]))
        assert sent == sum(p.grad.block.numel() if sparse(p.grad) else p.numel() for p in model.parameters())
        assert sum(map(sparse, (p.grad for p in model.parameters()))) == 5  # all but the last bias
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def sparse(grad):
    return isinstance(grad, SubmatrixGrad) and grad.block is not None


def count_sent(run):
    """How many numbers of float64 a function sends."""
    real, sent = dist.all_reduce, []

    def counting(tensor, *arguments, **options):
        sent.append(tensor.numel() * (tensor.dtype == torch.float64))
        return real(tensor, *arguments, **options)

    dist.all_reduce = counting
    try:
        run()
    finally:
        dist.all_reduce = real
    return sum(sent)


def with_other_units(rank):
    """Each process has drawn a pattern of its own: nothing may be averaged."""
    results = []
    for use in (0, 1):
        model = net()
        if use == 0:
            thinned.keyed(model, rank)(data()).sum().backward()
        elif rank == 0:
            model(data()).sum().backward()
        before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        with pytest.raises(RuntimeError, match="the same parameters and of the same units, but they differ"):
            all_reduce_gradients(model.parameters())
        after = [p.grad for p in model.parameters()]
        results.append(all(a is b is None or torch.equal(a, b) for a, b in zip(after, before, strict=True)))
    return [torch.tensor(results)]


def _rank(rank, port, folder, train):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(train(rank), Path(folder) / f"{rank}.pt")
    dist.barrier()
    os._exit(0)


def in_two_processes(train, folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(_rank, (port, str(folder), train), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("train", [by_ddp, by_blocks])
def test_two_processes_train_as_one(train, tmp_path) -> None:
    """Plain DDP works as well: its buckets are dense."""
    masked = Masked(net())
    optimizer = torch.optim.SGD(masked.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        masked(data(), 3, step).square().sum().backward()
        optimizer.step()
    for found in in_two_processes(train, tmp_path):
        assert all(error(a, b) <= EXACT for a, b in zip(found, masked.parameters(), strict=True))


def test_gradients_of_different_units_are_not_averaged(tmp_path) -> None:
    assert all(bool(found[0].all()) for found in in_two_processes(with_other_units, tmp_path))


def test_sparse_tensors_are_refused() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"dense or a SubmatrixGrad, but got one of layout torch\.sparse_coo\."):
        all_reduce_gradients(table.parameters())
