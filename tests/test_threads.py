"""Threads and processes: the same result whatever their number, and no hang after fork.

What may hang runs in a process of its own, so that a hang fails one test and does not stop the others. The time limit
is no measure of speed: a few seconds are enough.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import thinned

LIMIT = 100  # seconds


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def digest(tensor):
    """Of the values in row-major order, without any operation of torch that starts threads."""
    return hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()


def run(program):
    """Run a Python program in a new process and return what it printed."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    try:
        printed, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its children too: one of them hangs
        process.communicate()
        pytest.fail(f"the program did not end within {LIMIT} seconds")
    assert process.returncode == 0, errors
    return printed


# --- threads in one process -------------------------------------------------------------------------------------------


def square():
    return torch.linspace(-3, 3, 199_809).view(447, 447)


CASES = {
    "dense": lambda: thinned.dropout(square(), 0.3, seed=1),
    "32-bit": lambda: thinned.dropout(square(), 0.001, seed=1),
    "transposed": lambda: thinned.dropout(square().t(), 0.3, seed=1),
    "shared": lambda: thinned.dropout(square(), 0.3, seed=1, shared_axes=(0,)),
    "windowed": lambda: thinned.dropout(square(), 0.3, seed=1, window=thinned.Window((900, 900), (7, 9))),
    "in place": lambda: thinned.dropout(square(), 0.3, seed=1, inplace=True),
    "float64": lambda: thinned.dropout(square().double(), 0.3, seed=1),
    "streamed": lambda: thinned.dropout(torch.ones(17 << 18), 0.3, seed=1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_number_of_threads_does_not_matter(case):
    results = set()
    for threads in range(1, 9):
        torch.set_num_threads(threads)
        results.add(digest(CASES[case]()))
    assert len(results) == 1


def test_gradients_do_not_depend_on_threads():
    results = set()
    for threads in range(1, 9):
        x = square().requires_grad_()
        torch.set_num_threads(threads)
        thinned.dropout(x, 0.3, seed=1).backward(square())
        results.add(digest(x.grad))
    assert len(results) == 1


def test_many_callers_at_once():
    """More threads than cores, all inside the kernel at the same time, each of them with a team of its own."""
    torch.set_num_threads(2)
    x = square()
    alone = [digest(thinned.dropout(x, 0.3, seed=seed)) for seed in range(8)]
    together = threading.Barrier(8)

    def call(seed):
        together.wait(LIMIT)
        return [digest(thinned.dropout(x, 0.3, seed=seed)) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert results == [[result] * 10 for result in alone]


def test_many_callers_without_a_seed_draw_different_ones():
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: digest(thinned.dropout(square(), 0.5)), range(16)))
    assert len(set(results)) == 16


# --- fork -------------------------------------------------------------------------------------------------------------


FORK = """
import hashlib, os, sys, threading, torch, thinned
torch.set_num_threads(1)  # so that this starts no threads
x = torch.linspace(-3, 3, 300_000)
turned = x.view(500, 600).t()
torch.set_num_threads(2)
def result():
    outputs = thinned.dropout(x, 0.3, seed=1), thinned.dropout(turned, 0.3, seed=1, shared_axes=(0,))
    return " ".join(hashlib.sha256(y.numpy().tobytes()).hexdigest() for y in outputs)
def in_child(work):
    child = os.fork()
    if child == 0:
        print(work(), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the child failed")
    return "parent of a child"
"""


def test_a_child_of_fork_computes_the_same():
    program = """
in_child(result)  # nobody has started threads yet
(x + 1).sum()
in_child(result)  # torch has, and the kernel's first call is in the child
here = result()
in_child(result)  # both have
in_child(lambda: in_child(result))
print(here)
"""
    result = run(FORK + program).splitlines()
    assert len(result[0]) > 100
    assert result == [*result[:1] * 4, "parent of a child", result[0]]


def test_fork_while_other_threads_compute():
    program = """
stop = threading.Event()
def work():
    while not stop.is_set():
        result()
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
for _ in range(5):
    in_child(result)
stop.set()
for worker in workers:
    worker.join()
print(result())
"""
    *children, parent = run(FORK + program).splitlines()
    assert children == [parent] * 5


# --- workers of a DataLoader ------------------------------------------------------------------------------------------


class Dropped(Dataset):
    """Item i is what dropout with seed i makes of the same tensor, on one thread or two."""

    def __init__(self):
        self.x = square()

    def __len__(self):
        return 8

    def __getitem__(self, seed):
        torch.set_num_threads(1 + seed // 2 % 2)
        try:
            return thinned.dropout(self.x, 0.3, seed=seed)
        finally:
            torch.set_num_threads(1)  # torch's own operations are not safe after fork


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_data_loader(context):
    torch.set_num_threads(2)
    here = [digest(thinned.dropout(square(), 0.3, seed=seed)) for seed in range(8)]
    loader = DataLoader(Dropped(), None, num_workers=2, multiprocessing_context=context, timeout=LIMIT)
    assert [digest(item) for item in loader] == here


# --- what only Linux tells --------------------------------------------------------------------------------------------

WATCHED = """
import os, threading, torch, thinned
def tasks():
    return set(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
x = torch.zeros(1 << 22)
x.add_(1)  # torch starts its threads
seen, stop = set(), threading.Event()
def watch():
    while not stop.is_set():
        seen.update(tasks())
watcher = threading.Thread(target=watch)
watcher.start()
known = tasks()
for seed in range(40):
    thinned.dropout(x, 0.3, seed=seed, inplace=True)
stop.set()
watcher.join()
print(len(known) >= 4, len(seen - known))
"""

STARVED = """
import resource
def starved():
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20),) * 2)  # less than the stack of a thread
    gate = threading.Event()
    try:
        while True:  # use up the stacks that the parent's threads have left
            threading.Thread(target=gate.wait).start()
    except RuntimeError:
        pass
    try:
        thinned.dropout(x, 0.3, seed=1, inplace=True)
    finally:
        gate.set()
    return hashlib.sha256(x.numpy()).hexdigest()
in_child(starved)
thinned.dropout(x, 0.3, seed=1, inplace=True)
print(hashlib.sha256(x.numpy()).hexdigest())
"""

if sys.platform == "linux":

    def test_the_threads_of_torch_are_used():
        """A second pool of threads beside torch's would fight it for the cores."""
        assert run(WATCHED).split() == ["True", "0"]

    def test_a_process_that_may_not_start_threads_computes_alone():
        child, parent = run(FORK + STARVED).splitlines()
        assert child == parent
