"""`python -m benchmarks`: the correctness gate, then every case; prints ratios and writes a CSV.

A speed is never reported when the gate is red.
"""

import argparse
import csv
import datetime
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import thinned
from benchmarks import chains
from benchmarks.cases import SPEED, WIDE, Bar, Case, bytes_kept, import_seconds
from benchmarks.measure import interleave
from benchmarks.variants import VARIANTS

ROOT = Path(__file__).parent
GATE = [
    "tests/test_philox.py",
    "tests/test_masks.py",
    "tests/test_cpu_kernel.py",
    "tests/test_replacement_ids.py",
    "tests/test_submatrix.py",
    "tests/test_chain.py",
    "tests/test_alpha.py",
    "tests/test_gaussian.py",
    "tests/test_block.py",
]
COLUMNS = ["case", "metric", "contender", "value", "unit", "q20", "q80", "bar", "aim", "reached"]


def gate() -> None:
    print("correctness gate:", " ".join(GATE), flush=True)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--durations=0", *GATE], cwd=ROOT.parent, check=False)
    if done.returncode:
        sys.exit("The correctness gate is red; no speed is measured.")


def commit() -> str:
    """The commit, and whether anything but documents and results has changed since."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT.parent, check=False)

    name = git("describe", "--always", "--abbrev=10").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", ".", ":!docs", ":!benchmarks/results").returncode
    return f"{name}-dirty" if name and changed else name or "unknown"


def machine() -> dict[str, Any]:
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": f"{cpu} ({thinned.kernels.cpu.path()})",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "thinned": thinned.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def word(bar: Bar, ratio: float) -> str:
    return "aim" if bar.reached(ratio, bar.aim) else "bar" if bar.reached(ratio, bar.bar) else "MISSED"


def show(name: str, what: str, value: str, bar: str, aim: str, reached: str) -> None:
    print(f"{name:36s} {what:50s} {value:>10s} {bar:>8s} {aim:>8s}  {reached}", flush=True)


def run(case: Case) -> list[dict[str, Any]]:
    torch.set_num_threads(case.threads)
    timings = interleave(case.setup(), case.turns)
    rows: list[dict[str, Any]] = []
    for name in timings.turns:
        low, high = timings.quantiles(name)
        micro = {"value": timings.median(name) * 1e6, "q20": low * 1e6, "q80": high * 1e6}
        rows.append({"case": case.name, "metric": "time", "contender": name, "unit": "us", **micro})
    for bar in case.bars:
        ratio = timings.ratio(bar.over, bar.under)
        goals = {"bar": bar.bar, "aim": bar.aim, "reached": word(bar, ratio)}
        what = f"time({bar.over}) / time({bar.under})"
        rows.append({"case": case.name, "metric": "ratio", "contender": what, "value": ratio, "unit": "x", **goals})
        sign = "<=" if bar.at_most else ">="
        show(case.name, what, f"{ratio:.2f}", f"{sign}{bar.bar:g}", f"{sign}{bar.aim:g}", word(bar, ratio))
    for name in {"clone", "torch.compile"} & timings.turns.keys():  # how far from the limit, and from the compiler
        ratio = timings.ratio(name, "thinned")
        what = f"time({name}) / time(thinned)"
        rows.append({"case": case.name, "metric": "ratio", "contender": what, "value": ratio, "unit": "x"})
        show(case.name, what, f"{ratio:.2f}", "", "", "")
    return rows


def single(case: str, contender: str, value: float, unit: str, bar: float, aim: float) -> dict[str, Any]:
    goal = Bar("", "", bar, aim, at_most=True)
    show(case, contender, f"{value:.3g} {unit}", f"<={bar:g}", f"<={aim:g}", word(goal, value))
    goals = {"bar": bar, "aim": aim, "reached": word(goal, value)}
    return {"case": case, "metric": unit, "contender": contender, "value": value, "unit": unit, **goals}


def memory() -> list[dict[str, Any]]:
    """What batchwise dropout keeps for backward, as a share of what others keep."""
    kept = chains.activations_kept(WIDE)
    case = "batchwise memory 784-2048x3-10, batch 512"
    rows = [
        {"case": case, "metric": "bytes kept", "contender": name, "value": n, "unit": "B"} for name, n in kept.items()
    ]
    goals = {"torch": (0.25, 0.2), "none": (0.6, 0.55)}
    return rows + [
        single(case, f"bytes(batchwise) / bytes({name})", kept["batchwise"] / kept[name], "", *goal)
        for name, goal in goals.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--no-gate", action="store_true", help="while tuning; nothing is written then")
    arguments = parser.parse_args()
    if not arguments.no_gate:
        gate()
    facts = machine()
    print(*(f"{key}: {value}" for key, value in facts.items()), f"load: {os.getloadavg()[0]:.2f}", sep=", ")
    show("case", "what", "value", "bar", "aim", "reached")
    rows = [row for case in [*SPEED, *VARIANTS] if arguments.only in case.name for row in run(case)]
    if arguments.only in "bytes kept for backward":
        per_element = bytes_kept(lambda x: thinned.dropout(x, 0.1)) / (1 << 20)
        rows.append(single("bytes kept for backward", "thinned", per_element, "B/element", 0, 0))
        per_element = bytes_kept(lambda x: F.dropout(x, 0.1)) / (1 << 20)
        rows.append(
            {"case": "bytes kept for backward", "metric": "B/element", "contender": "torch", "value": per_element}
        )
    if arguments.only in "batchwise memory":
        rows += memory()
    if arguments.only in "import":
        milliseconds = statistics.median(import_seconds() for _ in range(7)) * 1e3
        rows.append(single("import", "import thinned after torch", milliseconds, "ms", 60, 20))
    print(f"load at the end: {os.getloadavg()[0]:.2f}")
    if not arguments.no_gate and not arguments.only:
        path = ROOT / "results" / f"cpu-{facts['date'][:10]}-{facts['commit']}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *facts], restval="")
            writer.writeheader()
            for row in rows:
                value = {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
                writer.writerow({**value, **facts})
        print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
