"""The command line: what it prints, its exit status, and one clear sentence where something is wrong."""

import gzip
import importlib.util
import json
import os
import re
import shlex
import struct
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from laboratory import compared
from rich.console import Console

import thinned_cli
from thinned import data
from thinned.lab import display, records, summary, tables, terminal
from thinned.lab.comparison import Settings
from thinned.lab.recipe import OPTIMIZERS, SCHEDULES
from thinned.lab.records import Record
from thinned.lab.sources import parts
from thinned.lab.train import Trainer
from thinned_cli.commands import thinned
from thinned_cli.compare import EXAMPLES

TINY = ["--hidden", "16", "--epochs", "1", "--batch-size", "20", "--threads", "1"]


@pytest.fixture
def folder(tmp_path):
    """Forty and twenty images of 4 x 4 pixels, three classes, in the format of MNIST."""
    folder = tmp_path / "stripes"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        images = random.integers(0, 256, (count, 4, 4), np.uint8)
        labels = np.arange(count).astype(np.uint8) % 3
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            path = folder / f"{part}-{kind}-idx{array.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.tobytes()))
    return folder


@pytest.fixture
def compare(folder, tmp_path):
    def run(*arguments):
        start = ["compare", "--data", str(folder), "--out", str(tmp_path / "runs"), *TINY]
        return CliRunner().invoke(thinned, [*start, *arguments])

    return run


def test_compare_end_to_end(compare, tmp_path):
    result = compare("--seeds", "2", "--name", "first")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    told = result.stdout.splitlines()
    assert told[0] == "40 examples of stripes to train on, 20 to test"
    assert told[1].startswith("seed 0 (1 of 2), epoch 1 of 1: test error none ")
    assert told[2].startswith("seed 1 (2 of 2), epoch 1 of 1: test error none ")
    for method in ("none", "torch", "thinned", "batchwise"):
        assert sum(line.startswith(f" {method} ") for line in told) == 2  # results, costs
    said = " ".join(told)
    for method in ("none", "thinned", "batchwise"):
        assert re.search(f"{method} (and|has a) .* with 2 seeds", said)
    report = tmp_path / "runs" / "first" / "report.html"
    assert told[-1] == f"Report: {report}"
    assert report.is_file()
    found = (report.parent / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(found) == 8
    summary = json.loads((report.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary["seeds"] == [0, 1]
    assert (report.parent / "config.json").is_file()


def test_options_reach_the_comparison(compare, tmp_path):
    chosen = ["--methods", "thinned, none", "--p", "0.3", "--input-p", "0", "--seeds", "7,0", "--hidden", "8,6"]
    trained = ["--optimizer", "adamw", "--lr", "0.5", "--momentum", "0", "--weight-decay", "0.01"]
    falling = ["--schedule", "exponential", "--final-lr-share", "0.25"]
    batchwise = ["--groups", "2", "--units", "slice", "--baseline", "none", "--target-error", "0.25"]
    assert compare(*chosen, *trained, *falling, *batchwise, "--name", "x").exit_code == 0
    config = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))
    settings = config["settings"]
    assert settings["compare"] == {
        "methods": ["thinned", "none"],
        "named": {},
        "seeds": [7, 0],
        "baseline": "none",
        "target_error": 0.25,
    }
    assert settings["model"]["hidden"] == [8, 6]
    assert [settings["dropout"][name] for name in ("p", "input_p", "groups", "units")] == [0.3, 0.0, 2, "slice"]
    assert settings["run"]["threads"] == 1
    assert settings["training"] == {
        "epochs": 1,
        "batch_size": 20,
        "optimizer": "adamw",
        "lr": 0.5,
        "momentum": 0.0,
        "weight_decay": 0.01,
        "schedule": "exponential",
        "final_lr_share": 0.25,
        "warmup_epochs": 0,
        "clip_norm": 0.0,
    }


def test_artificial_data(compare, tmp_path):
    assert compare("--data", "artificial", "--examples", "30", "--methods", "torch", "--name", "x").exit_code == 0
    config = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))
    assert (config["data"]["name"], config["data"]["train"], config["data"]["test"]) == ("artificial", 30, 3)
    compare("--data", "artificial", "--examples", "30", "--methods", "torch", "--standardise", "--name", "y")
    other = json.loads((tmp_path / "runs" / "y" / "config.json").read_text(encoding="utf-8"))
    assert other["data"]["fingerprint"] != config["data"]["fingerprint"]


def test_one_file_of_cifar(compare, tmp_path):
    path = tmp_path / "some.bin"
    path.write_bytes(b"".join(bytes([label]) + bytes(3072) for label in (0, 1)) * 10)
    assert compare("--data", str(path), "--methods", "torch", "--name", "x").exit_code == 0
    config = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))
    assert (config["data"]["name"], config["data"]["train"], config["data"]["test"]) == ("some.bin", 16, 4)
    note = "A fifth of each class, drawn by a fixed seed, was put aside for testing."
    assert config["data"]["note"] == note
    assert note in (tmp_path / "runs" / "x" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [("flowers.csv", "length,width,kind\n" + "1,2,rose\n3,4,lily\n" * 10), ("rows", "+1 1:1 3:0.5\n-1 2:1\n" * 10)],
)
def test_a_table_and_sparse_rows(compare, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="ascii")
    assert compare("--data", str(path), "--methods", "torch", "--name", "x").exit_code == 0
    config = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))
    assert (config["data"]["name"], config["data"]["train"], config["data"]["test"]) == (path.stem, 16, 4)


def test_data_without_classes(compare, tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("".join(f"{i},{100 * i}.5\n" for i in range(20)), encoding="ascii")
    result = compare("--data", str(path), "--standardise", "--name", "x", "--target-error", "3", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert " %" not in result.stdout.partition("Interval:")[0].replace("95 %", "")
    assert "seconds to 3 test error" in " ".join(result.stdout.split())
    assert "the root of the mean squared error in the unit of the targets" in result.stdout
    found = json.loads((tmp_path / "runs" / "x" / "records.jsonl").read_text(encoding="utf-8").partition("\n")[0])
    assert found["test_error"] > 100  # the numbers have a deviation of 577; in deviations it would be about 1


def test_a_download_is_told(compare, folder, monkeypatch):
    def load(name, *, download, on_progress):
        assert (name, download) == ("mnist", True)
        on_progress("images.gz", 2**19, 2**20)
        on_progress("images.gz", 2**20, 2**20)
        return data.read(folder)

    monkeypatch.setattr(data, "load", load)
    result = compare("--data", "mnist", "--methods", "none", "--name", "x")
    assert result.exit_code == 0
    assert result.stdout.startswith("Downloaded images.gz, 1.0 MiB.\n")


def test_one_seed_by_its_number(compare, tmp_path):
    assert compare("--seeds", "7,", "--name", "x", "--methods", "none").exit_code == 0
    config = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))
    assert config["settings"]["compare"]["seeds"] == [7]


def test_defaults_agree_with_those_of_python(monkeypatch):
    taken = []

    def stop(settings, *_, **__):
        taken.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("thinned.lab.compare.start", stop)
    assert CliRunner().invoke(thinned, ["compare"]).exit_code == 130
    assert taken == [Settings()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--p", "1.5"], "`p` must be in [0, 1], but got p=1.5."),
        (["--p", "nan"], "`p` must be in [0, 1], but got p=nan."),
        (["--input-p", "-1"], "`input_p` must be in [0, 1], but got input_p=-1.0."),
        (
            ["--methods", "none,foo"],
            "sparse_replacement, sparse_item_replacement, standard, but got 'foo'.",
        ),
        (["--methods", ""], "`methods` must be at least one, or left out, but got methods=''."),
        (
            ["--methods", "none,,torch"],
            "`methods` must have a value between two commas, but got methods='none,,torch'.",
        ),
        (
            ["--methods", "none:0.1+0.2+0.3"],
            "`methods` must give no rate to none, which has none, but got 'none:0.1+0.2+0.3'.",
        ),
        (
            ["--methods", "thinned:0.1+0.2+0.3"],
            "The method thinned:0.1+0.2+0.3 must fit the network, but: `p` must be one for all hidden layers or ",
        ),
        (["--resume", "x", "--out", "runs"], "--resume takes the settings that the comparison was started with;"),
        (["--methods", "none,none"], "`methods` must be at least one, none twice, but got methods='none,none'."),
        (["--hidden", "16,x"], "`model.hidden` must be an integer, but got model.hidden='x'."),
        (["--hidden", "0"], "`hidden` must be at least 1, but got hidden=0."),
        (["--seeds", "0"], "`seeds` must be at least 1, but got seeds=0."),
        (["--seeds", "1,1"], "`seeds` must be at least one, none twice, but got seeds='1,1'."),
        (["--seeds", "x"], "`seeds` must be an integer or a list, but got seeds='x'."),
        (["--seeds", "99999999999"], "`seeds` must be at most 10000, but got seeds=99999999999."),
        (["--batch-size", "0"], "`batch_size` must be at least 1, but got batch_size=0."),
        (["--epochs", "0"], "`epochs` must be at least 1, but got epochs=0."),
        (["--epochs", "x"], "`training.epochs` must be an integer, but got training.epochs='x'."),
        (["--lr", "nan"], "`lr` must be above 0 and at most 3.4e+38, but got lr=nan."),
        (["--momentum", "1"], "`momentum` must be in [0, 1), but got momentum=1.0."),
        (
            ["--optimizer", "lion"],
            f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, but got optimizer='lion'.",
        ),
        (
            ["--schedule", "x"],
            f"`schedule` must be one of {', '.join(SCHEDULES)}, but got schedule='x'.",
        ),
        (["--groups", "21"], "`groups` must be at most 20, the size of a batch, but got groups=21."),
        (
            ["--baseline", "x"],
            "`baseline` must be among the methods none, torch, thinned, batchwise, but got baseline='x'",
        ),
        (["--target-error", "3"], "`target_error` must be in [0, 1], but got target_error=3.0."),
        (["--units", "x"], "`units` must be one of random, slice, but got units='x'."),
        (["--examples", "9"], "`examples` must be left out except for artificial data, but got examples=9."),
        (["--data", "artificial", "--examples", "0"], "`examples` must be at least 1, but got examples=0."),
        (["--threads", "0"], "`threads` must be at least 1, but got threads=0."),
        (["--name", "../x"], "but got name='../x'."),
        (
            ["--data", "/nowhere"],
            "/nowhere must be a file or a folder with data, but there is none; check the path.",
        ),
        (["--nonsense"], "No such option '--nonsense'."),
    ],
)
def test_bad_input_ends_in_one_sentence(compare, tmp_path, arguments, sentence):
    result = compare(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_damaged_data_end_in_one_sentence(compare, folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-30])
    result = compare()
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path} must be readable to its end, but: ")
    path.unlink()
    result = compare()
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {folder} must hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz")


def test_a_run_is_never_written_over(compare):
    assert compare("--name", "x", "--methods", "none").exit_code == 0
    result = compare("--name", "x", "--methods", "none")
    assert result.exit_code == 2
    assert "exists; choose another name or remove it." in result.stderr


def test_a_failing_disk_ends_in_one_sentence(compare, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.Journal, "add", full)
    result = compare()
    assert result.exit_code == 2
    said = "must be a folder that can be written to, but: No space left on device. What was written before is whole."
    assert said in result.stderr
    assert "Go on with: thinned compare --resume " in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_is_done(compare, monkeypatch, tmp_path):
    calls = []
    epoch = Trainer.epoch

    def stop(trainer, examples):
        calls.append(trainer)
        if len(calls) == 14:  # eight calls warm up and measure, four are seed 0
            raise KeyboardInterrupt
        return epoch(trainer, examples)

    monkeypatch.setattr(Trainer, "epoch", stop)
    result = compare("--name", "x")
    assert result.exit_code == 130
    told = result.stdout.splitlines()
    assert any(line.startswith(" thinned ") for line in told)
    assert "Stopped early, after 1 whole seed; the table holds what was done by then." in told
    run = tmp_path / "runs" / "x"
    assert told[-1] == f"Report: {run / 'report.html'}"
    assert len((run / "records.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    assert (run / "report.html").is_file()
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["seeds"] == [0]


def test_ctrl_c_before_anything_is_done(compare, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "read", stop)
    result = compare()
    assert result.exit_code == 130
    assert not (tmp_path / "runs").exists()


def test_progress_in_a_terminal(capsys):
    settings = compared("none", "torch", seeds=[4])
    console = Console(force_terminal=True, width=100, color_system=None)
    with display.CompareProgress(console) as show:
        show.begin(settings, parts(data.load("digits"), 0.0), 0)
        for epoch in (1, 2):
            for method in settings.methods:
                show.epoch(Record(method, 4, epoch, 0.5, 0.125 / epoch, 1.0))
    told = capsys.readouterr().out
    bars = [line.split(maxsplit=1) for line in re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", told).splitlines() if line.strip()]
    assert any("seed 4, epoch 1: test error 12.50 %" in rest for _, rest in bars)  # drawn as it goes
    assert [method for method, _ in bars[-2:]] == ["none", "torch"]
    assert all("seed 4, epoch 2: test error 6.25 %" in rest for _, rest in bars[-2:])


def test_the_first_column_of_a_table_is_never_cut(capsys):
    methods = ("sparse_variational", "thinned:0.25", "thinned:0.5")
    empty = summary.Summary("x", (), baseline="thinned:0.5", epoch=0, epochs=1, seeds=(), interrupted=False)
    cells = ["10.25 ± 0.01", "0.91 (0.90 to 0.92)", "1,017.4 MB", "1,101.2 MB", "12.3 G", "0.213 ms"]
    headings, rows = tables.cost_headings(empty), [[name, *cells] for name in methods]
    Console(force_terminal=True, color_system=None, width=80).print(terminal.table(headings, rows))
    lines = capsys.readouterr().out.splitlines()
    for name in methods:
        assert [line for line in lines if line.split()[:1] == [name]]
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 80


def test_a_line_is_wrapped_at_blanks_in_a_terminal_alone(capsys):
    text = " ".join(["dropout"] * 30)
    terminal.Bars(Console(force_terminal=True, color_system=None, width=80), "", "").say(text)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert {word for line in lines for word in line.split()} == {"dropout"}
    terminal.Bars(Console(force_terminal=False, width=80), "", "").say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_log_has_at_most_ten_lines(capsys):
    settings = compared("none", training={"epochs": 25})
    with display.CompareProgress(Console(force_terminal=False)) as show:
        show.begin(settings, parts(data.load("digits"), 0.0), 0)
        for seed in (0, 1):
            for epoch in range(1, 26):
                show.epoch(Record("none", seed, epoch, 0.5, 0.5, 1.0))
    said, *lines = capsys.readouterr().out.splitlines()
    assert said == "1,438 examples of digits to train on, 359 to test"
    assert len(lines) == 10
    assert lines[0] == "seed 0 (1 of 2), epoch 5 of 25: test error none 50.00 %"
    assert lines[-1] == "seed 1 (2 of 2), epoch 25 of 25: test error none 50.00 %"


def test_info():
    result = CliRunner().invoke(thinned, ["info"])
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert {"thinned", "torch", "numpy", "python", "processor", "threads", "kernels"} <= set(told)
    assert told["kernels"] == records.environment()["kernels"]


def test_the_examples_of_help_are_commands():
    lines = EXAMPLES.replace("\n    ", " ").splitlines()  # one goes over two lines
    examples = [shlex.split(line) for line in lines if line.startswith("  thinned ")]
    assert len(examples) == 11
    for _, command, *arguments in examples:
        thinned.commands[command].make_context(command, arguments)


def test_help_and_unknown_commands():
    result = CliRunner().invoke(thinned, ["--help"])
    assert result.exit_code == 0
    assert "compare" in result.stdout
    result = CliRunner().invoke(thinned, ["compare", "-h"])
    assert result.exit_code == 0
    assert "[default: (none,torch,thinned and for a perceptron batchwise)]" in " ".join(result.stdout.split())
    result = CliRunner().invoke(thinned, ["dance"])
    assert result.exit_code == 2
    assert result.stderr == "Error: No such command 'dance'.\n"


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("rich", "sklearn") else name)
    with pytest.raises(SystemExit, match="2"):
        thinned_cli.main()
    assert capsys.readouterr().err == "The command line needs rich, sklearn; run: pip install 'thinned[lab]'.\n"


def test_main_runs_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["anything", "--help"])
    with pytest.raises(SystemExit, match="0"):
        thinned_cli.main()
    assert capsys.readouterr().out.startswith("Usage: thinned ")


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "-h"] for name in ("train", "tune", "compare", "predict", "report"))]
)
def test_help_waits_for_nothing_heavy(arguments):
    """To print help, the program needs neither torch nor the package itself, which imports torch."""
    program = (
        "import os, sys, thinned_cli; out = sys.stdout; sys.stdout = open(os.devnull, 'w')\n"
        "try: thinned_cli.main()\n"
        "except SystemExit: print(*{name.partition('.')[0] for name in sys.modules}, file=out)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    brought = set(done.stdout.split())
    assert {"thinned_cli", "click"} <= brought
    assert brought.isdisjoint({"thinned", "torch", "numpy", "rich", "sklearn", "matplotlib", "optuna"})
