"""`thinned train` on several processes: the run of one process, to rounding, whoever else takes part."""

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from laboratory import DATA, last_state, lines, peer, processes, small
from test_lab_run import StopAt
from torch import nn

from thinned._errors import RangeError
from thinned.batchwise import Chain, SubmatrixGrad
from thinned.lab import loop, run
from thinned.lab.distributed import Job, PeerError, peers


def together(size, config, root, name, data=DATA):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = processes()
    started = [
        context.Process(target=peer, args=(rank, size, port, config.tables(), str(root), name, data))
        for rank in range(size)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * size


def assert_same_to_rounding(one, several):
    """float32 sums in another order differ by 6e-8 relative; some 20 steps make that no more than 1e-5 of a weight.

    With another mask in one step, or other rows, weights would differ in the second digit.
    """
    for ours, theirs in zip(lines(several), lines(one), strict=True):
        for name in ("train_loss", "fit_loss", "validation_loss", "fit_error", "validation_error", "lr", "step"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    models = [last_state(folder)["trainer"]["model"] for folder in (one, several)]
    for name, weight in models[0].items():
        torch.testing.assert_close(models[1][name], weight, rtol=1e-5, atol=1e-6)


CASES = {
    "standard": {
        "data": {"shift": 1, "crop": 3},
        "dropout": {"input_p": 0.2},
        "penalties": {"l2": 1e-3, "max_norm": 1.0},
    },
    # 72 training examples: the second batch has one row, for two processes or four.
    "batchwise": {"dropout": {"kind": "batchwise"}, "training": {"batch_size": 71}},
}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_make_the_run_of_one(tmp_path, name):
    config = small(**CASES[name])
    run.start(config, tmp_path, "one", data=DATA)
    together(2, config, tmp_path, "two")
    assert_same_to_rounding(tmp_path / "one", tmp_path / "two")


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_four_processes_make_the_run_of_one(tmp_path, name):
    config = small(**CASES[name])
    run.start(config, tmp_path, "one", data=DATA)
    together(4, config, tmp_path, "four")
    assert_same_to_rounding(tmp_path / "one", tmp_path / "four")


def test_rows_are_shared_out():
    for count in (0, 1, 3, 10, 101):
        parts = [Job(rank, 4).rows(count) for rank in range(4)]
        assert parts[0][0] == 0
        assert parts[-1][1] == count
        assert all(before[1] == after[0] for before, after in pairwise(parts))
        sizes = [stop - start for start, stop in parts]
        assert max(sizes) - min(sizes) <= 1


def test_blocks_alone_are_averaged(monkeypatch):
    """Of a submatrix's gradient only the block is sent."""
    sent = []
    monkeypatch.setattr(Job, "sum", lambda _, numbers: (sent.append(numbers.numel()), numbers.mul_(2))[1])
    chain = Chain(nn.Linear(6, 8, bias=False), nn.Dropout(0.5), nn.Linear(8, 2, bias=False))
    chain(torch.ones(3, 6)).sum().backward()
    before = [parameter.grad.block.clone() for parameter in chain.parameters()]
    Job(0, 2).average(chain)
    assert sent == [4 * 6 + 2 * 4]
    for parameter, block in zip(chain.parameters(), before, strict=True):
        assert isinstance(parameter.grad, SubmatrixGrad)
        torch.testing.assert_close(parameter.grad.block, block)


def test_what_a_job_cannot_do(monkeypatch):
    with pytest.raises(RangeError, match=r"`model\.norm` must be none for several processes on CPUs: torch shares"):
        Job(0, 2).wrap(nn.Sequential(nn.BatchNorm1d(3)), sparse=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RangeError, match="`device` must have a GPU for each process, but process 0 finds 0"):
        Job().on("cuda")
    assert Job().on("auto").device.type == "cpu"


def test_a_broken_connection_is_told_in_a_sentence():
    message = "Another process of this job has ended, so this one cannot go on."
    for error in (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"),
                  torch.distributed.DistNetworkError("reset")):  # fmt: skip
        with pytest.raises(PeerError, match=message), peers():
            raise error
    with pytest.raises(RuntimeError, match="anything else"), peers():
        raise RuntimeError("anything else")


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [(["--help"], 0, "Usage: thinned", ""), (["info", "--foo"], 2, "", "No such option")],
)
@pytest.mark.parametrize("world", ["1", "2"])
def test_a_process_of_a_job_leaves_at_once(world, arguments, status, out, err):
    """Python's last steps can abort it, as torch's threads for gloo go on: here one of them would print a word."""
    code = "import atexit, runpy; atexit.register(print, 'last step'); runpy.run_module('thinned', run_name='__main__')"
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, env={**os.environ, "WORLD_SIZE": world}, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert out in done.stdout
    assert err in done.stderr
    assert ("last step" in done.stdout) == (world == "1")


def test_a_job_by_torchrun_ends_well(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(small(training={"epochs": 1}, data={"name": "digits"}).toml(), encoding="utf-8")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "thinned"]
    line += ["train", str(settings), "--out", str(tmp_path), "--name", "job"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Folder: {tmp_path / 'job'}" in done.stdout
    assert (tmp_path / "job" / "summary.json").exists()


def test_torchrun_survives_a_killed_process(tmp_path):
    """Two processes by torchrun; one is killed, the job ends with a message, and one process alone goes on.

    To rounding it is the run of one process: the sum of a gradient over two halves of a batch is rounded otherwise.
    """
    settings = tmp_path / "settings.toml"
    config = small(training={"epochs": 400}, run={"checkpoint_steps": 2, "monitors": 0}, data={"name": "digits"})
    settings.write_text(config.toml(), encoding="utf-8")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "thinned"]
    line += ["train", str(settings), "--out", str(tmp_path), "--name", "job"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        path = tmp_path / "job" / "records.jsonl"
        while process.poll() is None and not (path.exists() and path.stat().st_size):
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        second = [pid for pid in children if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
        os.kill(int(second[0]), signal.SIGKILL)
        out, err = process.communicate()
    assert process.returncode == 1, err
    assert f"Go on with: torchrun --nproc-per-node 2 -m thinned train --resume {tmp_path / 'job'}" in err
    assert out.count("examples of digits to train on") == 1  # one process speaks
    done = last_state(tmp_path / "job")["trainer"]["epochs_done"]
    assert done < 400
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.resume(tmp_path / "job", display=StopAt(120))
    two, one = lines(tmp_path / "job"), []

    class Keep(loop.Silent):
        def epoch(self, record):
            one.append(record)
            if record.epoch == two[-1]["epoch"]:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(config, tmp_path, "alone", display=Keep())
    assert len(two) > done
    for ours, theirs in zip(two, one, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs.train_loss, rel=1e-4)
