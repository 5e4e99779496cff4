"""The command `thinned train`: what it prints, its exit status, and one clear sentence where something is wrong."""

import json
import os
import re
import signal

import pytest
from click.testing import CliRunner
from laboratory import DATA, Page, assert_alone, lines, small
from rich.console import Console

from thinned.lab import display, loop, run
from thinned.lab.config import Config
from thinned.lab.distributed import PeerError
from thinned.lab.records import Record
from thinned.lab.sources import parts
from thinned_cli import program

TINY = ["--hidden", "8", "--epochs", "2", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def train(tmp_path):
    def call(*arguments):
        start = ["train", *arguments]
        return CliRunner().invoke(program(), start if "--resume" in arguments else [*start, "--out", str(tmp_path)])

    return call


def test_a_whole_run(train, tmp_path):
    result = train(*TINY, "--name", "x", "--dropout", "gaussian", "--p", "0.25")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    told = result.stdout.splitlines()
    assert told[0] == "1,295 examples of digits to train on, 143 to validate, 359 to test"
    assert told[1].startswith("epoch 1 of 2: training loss 2.")
    assert told[3].startswith("2 epochs, ")
    assert told[-2:] == [f"Folder: {tmp_path / 'x'}", f"Report: {tmp_path / 'x' / 'report.html'}"]
    page = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    assert_alone(Page(page), page)
    assert "<title>Training: x</title>" in page
    config = json.loads((tmp_path / "x" / "config.json").read_text(encoding="utf-8"))
    assert config["environment"]["threads"] == 1  # as asked for, whatever this process has
    settings = config["settings"]
    assert (settings["dropout"]["kind"], settings["dropout"]["p"], settings["model"]["hidden"]) == (
        "gaussian",
        0.25,
        [8],
    )
    again = train("--resume", str(tmp_path / "x"))
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] == "This run is done."


def test_a_file_with_flags_over_it_and_output_for_programs(train, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("[model]\nhidden = [8]\n[training]\nepochs = 9\n[run]\nthreads = 1\n", encoding="utf-8")
    result = train(str(path), "--epochs", "1", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["epochs"] == 1
    assert json.loads((tmp_path / found["folder"] / "summary.json").read_text(encoding="utf-8")) == found


def test_ctrl_c_and_resume(train, tmp_path, monkeypatch):
    show = display.TrainProgress.step

    def interrupt(self, step, steps):
        show(self, step, steps)
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(display.TrainProgress, "step", interrupt)
    result = train(*TINY, "--name", "x")
    assert result.exit_code == 130
    how = f"Go on with: thinned train --resume {tmp_path / 'x'}"
    assert result.stderr == f"Stopped in epoch 1, after step 6. {how}\n"
    monkeypatch.undo()
    result = train("--resume", str(tmp_path / "x"))
    assert result.exit_code == 0, result.output
    assert [line["epoch"] for line in lines(tmp_path / "x")] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "nan"], "`lr` must be above 0 and at most 3.4e+38, but got lr=nan."),
        (["--epochs", "x"], "`training.epochs` must be an integer, but got training.epochs='x'."),
        (["--dropout", "x,y"], "`dropout.kind` must be one of none, torch, "),
        (
            ["--data", "nowhere"],
            "`name` must be one of digits, artificial, mnist, fashion-mnist, cifar10, or",
        ),
        (["nothing.toml"], "nothing.toml must be a TOML file that can be read, but: No such file or directory."),
        (["--resume", "runs/x", "--out", "runs"], "--resume takes the settings that the run was started with"),
        (["--resume", "runs/x", "--lr", "1"], "--resume takes the settings that the run was started with; leave all"),
        (["--resume", "/nowhere"], "/nowhere must be the folder of a run, but its config.json: No such file or direc"),
        (["--lr", "1e30", "--clip-norm", "0"], "The loss is no number any more in epoch 1. Start a new run with a low"),
        (["--droput", "x"], "No such option '--droput'. Did you mean"),
    ],
)
def test_bad_input_ends_in_one_sentence(train, arguments, message):
    result = train(*([] if "--resume" in arguments else TINY), *arguments)
    assert result.exit_code == 2
    assert result.stderr.replace("(", "").startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1


def test_one_process_of_a_job_speaks(train, monkeypatch):
    def gone(*_, **__):
        raise PeerError("Another process of this job has ended.")

    monkeypatch.setattr(run, "start", gone)
    result = train(*TINY)
    assert (result.exit_code, result.stderr) == (1, "Error: Another process of this job has ended.\n")
    monkeypatch.setenv("RANK", "1")
    result = train(*TINY)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "")


def test_a_narrow_terminal_shows_bar_count_and_time(capsys):
    record = Record("standard", 0, 1, 0.3347, 0.0, 1.5, validation_loss=0.1908, validation_error=0.0612, gap=0.0123)
    with display.TrainProgress(Console(force_terminal=True, color_system=None, width=80)) as show:
        show.begin(Config.of({"training": {"epochs": 10}}), parts(DATA, 0.2), 0)
        show.epoch(record)
    last = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", capsys.readouterr().out).split("\r")[-1].splitlines()[0]
    assert re.match(r"epoch 2 of 10 [━╸╺ ]{16} training loss 0.3347.*…", last)
    assert re.search(r" (-:--:--|\d:\d\d:\d\d)$", last.rstrip())


def test_a_bar_in_a_terminal(tmp_path):
    """What a person sees: the bar moves with the steps, and tells how an epoch came out."""
    with (tmp_path / "seen").open("w", encoding="utf-8") as file:
        console = Console(file=file, force_terminal=True, width=150)
        with display.TrainProgress(console) as show:
            found = run.start(small(), tmp_path, "x", data=DATA, display=show)
        display.outcome(console, found)
    seen = (tmp_path / "seen").read_text(encoding="utf-8")
    assert "epoch 1 of 4" in seen
    assert "validation loss" in seen
    assert "best: epoch" in seen
    assert isinstance(found, loop.Outcome)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
@pytest.mark.parametrize("command", [["train"], ["tune", "--search", "p=0.1,0.5", "--sampler", "grid"]])
def test_a_text_needs_a_network_for_texts(tmp_path, command, kind):
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question\n" * 40, encoding="utf-8")
    out = tmp_path / "runs"
    arguments = [*command, "--data", str(path), "--steps", "8", "--model", kind, *TINY, "--out", str(out)]
    result = CliRunner().invoke(program(), arguments)
    assert result.exit_code == 2, result.output
    assert f"`model.kind` must be lstm or transformer for a text, but got kind='{kind}'." in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(out.rglob("config.json"))


@pytest.mark.parametrize("command", [["train", "--validation", "0"], ["compare", "--methods", "none", "--seeds", "1"]])
def test_sparse_features_are_standardised_where_they_are_made_dense(tmp_path, command):
    path = tmp_path / "x.svm"
    path.write_text("1 1:3 4:2\n0 2:5\n" * 20, encoding="utf-8")
    few = ["--hidden", "8", "--epochs", "1", "--threads", "1", "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(program(), [*command, "--data", str(path), "--standardise", *few])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_single_class_is_nothing_to_learn(tmp_path, command):
    path = tmp_path / "same.csv"
    path.write_text("1,2,yes\n3,4,yes\n" * 10, encoding="utf-8")
    out = tmp_path / "runs"
    few = ["--hidden", "8", "--epochs", "1", "--threads", "1", "--out", str(out)]
    result = CliRunner().invoke(program(), [command, "--data", str(path), *few])
    assert result.exit_code == 2, result.output
    assert result.stderr == (
        "Error: `data` must have at least two classes to learn, but the training examples of same have only 'yes'.\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("command", ["train", "compare"])
def test_any_column_of_a_table_can_be_the_target(tmp_path, command):
    path, test = tmp_path / "t.csv", tmp_path / "other.csv"
    rows = "kind,id,size,age\n" + "rose,a,1,2\nlily,b,3,4.5\n" * 10
    path.write_text(rows, encoding="utf-8")
    test.write_text(rows, encoding="utf-8")
    few = ["--hidden", "8", "--epochs", "1", "--threads", "1", "--out", str(tmp_path / "runs"), "--name", "x"]
    few = [*few, "--methods", "none", "--seeds", "1"] if command == "compare" else few
    chosen = ["--target", "kind", "--drop", "1", "--task", "classification", "--test", str(test)]
    result = CliRunner().invoke(program(), [command, "--data", str(path), *chosen, *few])
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "runs" / "x" / "config.json").read_text(encoding="utf-8"))["data"]
    assert told["test"] == 20
    for arguments, sentence in (
        (["--data", "digits", "--target", "kind"], "Options of digits must be left out, but got target='kind'."),
        (
            ["--data", str(path), "--target", "9"],
            f"`target` must be one of the 4 columns of {path}, named kind, id, si",
        ),
        (["--data", str(path), "--target", "kind"], "leave the column out (`drop`), or take it for the target (`ta"),
    ):
        result = CliRunner().invoke(program(), [command, *arguments, *few[:-2]])
        assert result.exit_code == 2, result.output
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


def test_known_data_are_downloaded_to_train_on(train, monkeypatch):
    def load(name, *, download, on_progress):
        assert (name, download) == ("mnist", True)
        on_progress("train-images", 2**20, 2**20)
        return DATA

    monkeypatch.setattr("thinned.data.load", load)
    result = train("--data", "mnist", *TINY)
    assert result.exit_code == 0, result.output
    assert "Downloaded train-images, 1.0 MiB." in result.output


def test_a_run_goes_on_from_another_folder(train, tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("1,2,yes\n3,4,no\n" * 10, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = train("--data", "t.csv", *TINY, "--name", "x")
    assert result.exit_code == 0, result.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train("--resume", str(tmp_path / "x")).exit_code == 0
    path.unlink()
    result = train("--resume", str(tmp_path / "x"))
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: The run in {tmp_path / 'x'} must have its data in {path} to go on, but there is none; put it back.\n"
    )
