"""`make evidence`: train the published networks on MNIST, and keep the table in docs/evidence.md.

    python -m benchmarks.evidence --data DIR                      # all that is missing, the most useful first
    python -m benchmarks.evidence --data DIR --minutes 30         # stop after that; the same command goes on
    python -m benchmarks.evidence --data DIR --only '2x800/*/0'   # NET/METHOD/SEED, where * stands for anything
    python -m benchmarks.evidence --list                          # what is done, what is missing, and its time

One piece is one network trained by one method with one seed: a run of `thinned train` in runs/evidence, with a
checkpoint after each epoch. Killed at any moment, the command goes on with it bit for bit. What a finished piece found
is a line of benchmarks/results/evidence.jsonl, from which the part of docs/evidence.md between two comments is made.
"""

import argparse
import fnmatch
import hashlib
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import ROOT, machine
from thinned._errors import ThinnedError
from thinned.data import Dataset, load
from thinned.lab import examples, records, run, sources
from thinned.lab.config import Config
from thinned.lab.display import TrainProgress
from thinned.lab.loop import DivergedError, InterruptedRunError, Outcome

# Graham, Reizenstein and Robinson (2015): code github.com/btgraham/Batchwise-Dropout, runMnist.cu
NETS = {"2x800": (800, 800), "3x1024": (1024, 1024, 1024)}
P, INPUT_P = 0.5, 0.2
EPOCHS, BATCH, MOMENTUM = 200, 100, 0.9
LR = 0.1  # as torch counts it, for a network that is scaled while testing or that drops nothing
FINAL_LR_SHARE = math.exp(-2)  # a factor of exp(-0.01) each epoch
SEEDS = (0, 1, 2)
METHODS = {  # the most useful first
    "standard": "a fresh mask for each example",
    "batchwise": "one mask for a batch; dropped units are not computed",
    "none": "no dropout",
    "gaussian": "factors of mean 1 and variance p / (1 - p)",
    "dropconnect": "weights are dropped, one mask for a batch",
}
PUBLISHED = {("2x800", "standard"): "1.1 %", ("3x1024", "standard"): "1.25 %"}
CLASSES, PIXELS = 10, 784
BEGIN, END = "<!-- made by `make evidence`; not to be edited -->", "<!-- end of what `make evidence` made -->"
INTERRUPTED = 130  # status
Entry = dict[str, Any]  # a line of the file of results


class OutOfTimeError(InterruptedRunError):
    """The minutes are over."""


@dataclass(frozen=True)
class Piece:
    """One network, one method, one seed."""

    net: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.net}/{self.method}/{self.seed}"

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What makes the piece what it is, as tables of `Config`."""
        kept = 1.0 if self.method == "none" else 1 - P
        return {
            "model": {"hidden": list(NETS[self.net])},
            "dropout": {"kind": self.method, "p": P, "input_kind": self.method, "input_p": INPUT_P},
            "training": {
                "epochs": EPOCHS,
                "batch_size": BATCH,
                "optimizer": "nesterov",
                "momentum": MOMENTUM,
                "lr": LR * kept**2,
                "schedule": "exponential",
                "final_lr_share": FINAL_LR_SHARE,
            },
        }

    def config(self, data: Path) -> Config:
        """All of the training part is learned from; the last epoch is tested, once."""
        own = {"seed": self.seed, "monitors": 0, "keep": 1}
        return Config.of({**self.settings, "data": {"name": str(data), "validation": 0.0}, "run": own})

    def folder(self, root: Path) -> Path:
        """Another folder for other settings."""
        told = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return root / f"{self.net}-{self.method}-{self.seed}-{told[:8]}"

    def found(self, entries: Iterable[Entry]) -> Entry | None:
        """Its line of results, if it is done."""
        mine = {"net": self.net, "method": self.method, "seed": self.seed, "settings": self.settings}
        return next((entry for entry in entries if mine.items() <= entry.items()), None)

    def seconds(self, root: Path) -> list[float]:
        """Those of its epochs so far."""
        path = self.folder(root) / "records.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line)["seconds"] for line in lines if line.endswith("\n")]  # half a line: it was killed

    @property
    def weights(self) -> int:
        return sum(a * b for a, b in pairwise((PIXELS, *NETS[self.net], CLASSES)))


def pieces() -> list[Piece]:
    return [Piece(net, method, seed) for seed in SEEDS for net in NETS for method in METHODS]


class Show(TrainProgress):
    """Shows a piece, and ends it after the epoch in which its time is over."""

    def __init__(self, console: Console, deadline: float) -> None:
        super().__init__(console)
        self._deadline = deadline

    def epoch(self, record: records.Record) -> None:
        super().epoch(record)  # its checkpoint is written by now
        if time.monotonic() >= self._deadline and record.epoch < EPOCHS:
            raise OutOfTimeError(f"Stopped after epoch {record.epoch} of {EPOCHS}, as the minutes are over.")


def train(piece: Piece, path: Path, data: Dataset, root: Path, show: Show) -> Entry:
    """Train a piece, or what is left of it, and return its line of results."""
    folder = piece.folder(root)
    if folder.exists() and not (folder / "config.json").exists():
        shutil.rmtree(folder)  # it was killed before its first step
    found: Outcome | DivergedError
    try:
        if folder.exists():
            found = run.resume(folder, data=data, display=show)
        else:
            found = run.start(piece.config(path), root, folder.name, data=data, display=show)
    except DivergedError as error:  # that too is a result
        found = error
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    seconds = piece.seconds(root)
    ended = isinstance(found, Outcome)
    return {
        "net": piece.net,
        "method": piece.method,
        "seed": piece.seed,
        "settings": piece.settings,
        "test_error": found.test_error if ended else None,
        "test_loss": found.test_loss if ended else None,
        "epochs": len(seconds),
        "seconds_per_epoch": round(statistics.median(seconds), 4) if seconds else None,
        "data": told["data"]["fingerprint"],
        "threads": told["settings"]["run"]["threads"],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **machine(),
    }


def read(path: Path) -> list[Entry]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def keep(path: Path, entry: Entry) -> None:
    """Add a line in one write, so that several processes can share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(entry).encode() + b"\n")


def cells(net: str, method: str, entries: list[Entry], machines: list[str]) -> list[str]:
    """One row of the table; machines that are new to it are added to the list."""
    mine = [Piece(net, method, seed).found(entries) for seed in SEEDS]
    done = [entry for entry in mine if entry is not None]
    errors = [entry["test_error"] for entry in done if entry["test_error"] is not None]
    where = []
    for entry in done:
        if (named := place(entry)) not in machines:
            machines.append(named)
        where.append(f"{machines.index(named) + 1}, {entry['date'][:10]}, {entry['commit']}")
    times = [entry["seconds_per_epoch"] for entry in done if entry["seconds_per_epoch"] is not None]
    mean = percent(statistics.fmean(errors)) if errors else "diverged" if done else "not run"
    return [
        method,
        mean + f" (of {len(errors)})" * (0 < len(errors) < len(SEEDS)),
        *("not run" if entry is None else percent(entry["test_error"]) for entry in mine),
        PUBLISHED.get((net, method), ""),
        f"{statistics.median(times):.2f}" if times else "",
        "; ".join(dict.fromkeys(where)),
    ]


def place(entry: Entry) -> str:
    device = f"{entry['cpu']}, {entry['cores']} cores" if entry["device"] == "cpu" else entry["device"]
    threads = f"{entry['threads']} thread{'s' * (entry['threads'] > 1)}"
    return f"{device}, {threads}, Python {entry['python']}, torch {entry['torch']}"


def percent(error: float | None) -> str:
    return "diverged" if error is None else f"{100 * error:.2f} %"


def section(entries: list[Entry]) -> str:
    """What docs/evidence.md says between the two comments."""
    machines: list[str] = []
    headings = ["method", "test error, mean", *(f"seed {seed}" for seed in SEEDS), "published", "seconds per epoch",
                "machine, date, commit"]  # fmt: skip
    parts = []
    for net, hidden in NETS.items():
        rows = [cells(net, method, entries, machines) for method in METHODS]
        lines = [f"| {' | '.join(row)} |" for row in (headings, *rows)]
        lines.insert(1, "|---" * len(headings) + "|")
        title = "-".join(map(str, (PIXELS, *hidden, CLASSES)))
        parts += [f"### {title}, {EPOCHS} epochs", "\n".join(lines)]
    if machines:
        parts.append("\n".join(["Machines:", "", *(f"{i}. {name}" for i, name in enumerate(machines, 1))]))
    return "\n\n".join(parts)


def write(page: Path, entries: list[Entry]) -> None:
    """Put the table where it belongs; what is around it stays."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ThinnedError(f"{page} must have the lines {BEGIN} and {END}, in this order, but it has not.")
    new = f"{before}{begin}\n\n{section(entries)}\n\n{end}{after}"
    if new != text:
        records.write_text(page, new)


def seconds_per_epoch(piece: Piece, entries: list[Entry], root: Path) -> float | None:
    """Of the piece, of the same net and method, or of anything that was run, by the number of weights."""
    everything = pieces()
    known = {}
    for other in everything:
        entry = other.found(entries)
        seconds = [entry["seconds_per_epoch"]] if entry else other.seconds(root)
        if seconds and seconds[0] is not None:
            known[other] = statistics.median(seconds)
    alike = [value for other, value in known.items() if (other.net, other.method) == (piece.net, piece.method)]
    if piece in known or alike:
        return known.get(piece, statistics.median(alike or [0]))
    return max((value * piece.weights / other.weights for other, value in known.items()), default=None)


def listing(chosen: Sequence[Piece], entries: list[Entry], root: Path) -> Table:
    """What is done and what is missing, in the order in which it is run."""
    table = Table(show_footer=True)
    left, unknown = 0.0, False
    rows = []
    for piece in chosen:
        entry, done = piece.found(entries), len(piece.seconds(root))
        each = seconds_per_epoch(piece, entries, root)
        if entry is not None:
            rows.append((piece.name, f"done: {percent(entry['test_error'])}", ""))
            continue
        seconds = None if each is None else each * max(EPOCHS - done, 0)
        left, unknown = left + (seconds or 0), unknown or seconds is None
        rows.append((piece.name, f"epoch {done} of {EPOCHS}" if done else "missing", clock(seconds)))
    table.add_column("piece", "all")
    table.add_column("state", f"{sum(piece.found(entries) is not None for piece in chosen)} of {len(chosen)} done")
    table.add_column("time left, about", clock(None if unknown else left), justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "known after one epoch"
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def work(chosen: Sequence[Piece], options: argparse.Namespace, console: Console) -> None:
    """Run what is missing of the pieces, until it is done or the minutes are over."""
    deadline = time.monotonic() + 60 * options.minutes
    entries = read(options.out)
    write(options.page, entries)
    missing = [piece for piece in chosen if piece.found(entries) is None]
    if not missing:
        console.print("All of it is done.")
        return
    data = load(options.data)
    fingerprint = examples.fingerprint(sources.parts(data, 0.0).train)
    if any(entry["data"] != fingerprint for entry in entries):
        raise ThinnedError(
            f"--data must be the data that the results in {options.out} were found on, but {options.data} are others; "
            "to keep these apart, name another file with --out, and another page with --page."
        )
    for number, piece in enumerate(missing, 1):
        if time.monotonic() >= deadline:
            raise OutOfTimeError("Stopped between two pieces, as the minutes are over.")
        each = seconds_per_epoch(piece, entries, options.runs)
        left = None if each is None else each * (EPOCHS - len(piece.seconds(options.runs)))
        console.print(f"{piece.name} ({number} of {len(missing)}), time: {clock(left)}", highlight=False)
        with Show(console, deadline) as show:
            entry = train(piece, options.data, data, options.runs, show)
        keep(options.out, entry)
        entries = read(options.out)  # another process may have added to it
        write(options.page, entries)
        console.print(f"{piece.name}: test error {percent(entry['test_error'])}", highlight=False)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, but got {text}.")
    return value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the four files of MNIST")
    parser.add_argument("--list", action="store_true", help="show what is done and what is missing; train nothing")
    parser.add_argument("--only", action="append", metavar="NET/METHOD/SEED", help="these pieces; can be given again")
    parser.add_argument("--minutes", type=positive, default=math.inf, help="stop after the epoch in which they end")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "evidence.jsonl", help="file of the results")
    parser.add_argument("--page", type=Path, default=ROOT.parent / "docs" / "evidence.md", help="has the table")
    parser.add_argument("--runs", type=Path, default=ROOT.parent / "runs" / "evidence", help="folder of the runs")
    options = parser.parse_args(arguments)
    chosen = [p for p in pieces() if any(fnmatch.fnmatchcase(p.name, pattern) for pattern in options.only or ["*"])]
    if not chosen:
        parser.error(
            f"--only must be NET/METHOD/SEED with a net of {', '.join(NETS)}, a method of {', '.join(METHODS)} and a "
            f"seed of {', '.join(map(str, SEEDS))}, or * for any, but got {' '.join(options.only)}."
        )
    console = Console()
    if options.list:
        console.print(listing(chosen, read(options.out), options.runs))
        return 0
    if options.data is None:
        parser.error("--data must be given: the folder with the four files of MNIST.")
    try:
        work(chosen, options, console)
    except InterruptedRunError as error:
        reason = str(error).partition(" Go on with:")[0]
        console.print(f"{reason} The same command goes on from there.", highlight=False, soft_wrap=True)
        return 0 if isinstance(error, OutOfTimeError) else INTERRUPTED
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on.")
        return INTERRUPTED
    except ThinnedError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
