"""The commands `thinned predict` and `thinned report`: what they print, their exit status, and bad input."""

import json
import shlex

import pytest
from click.testing import CliRunner
from laboratory import Page, assert_alone, small

from thinned.lab import display, run
from thinned_cli import predict, report
from thinned_cli.commands import thinned


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run.start(small(data={"name": "digits"}, training={"epochs": 1}, run={"seed": seed}), folder, f"run-{seed}")
    return folder


def call(*arguments):
    return CliRunner().invoke(thinned, list(map(str, arguments)))


def test_a_prediction_is_written_before_its_tables(root, tmp_path, monkeypatch):
    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(display, "prediction", broken)
    call("predict", root / "run-0", "--passes", 2, "--out", tmp_path / "p.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.csv.html", "p.csv.json"]


def test_predict(root, tmp_path):
    result = call("predict", root / "run-0", "--passes", 5, "--out", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    told = result.stdout.splitlines()
    assert told[0] == "359 examples of digits (test), 5 passes"
    for words in ("expected calibration error", "mean mutual information", "negative log likelihood"):
        assert any(words in line for line in told)
    assert "Reliability, in 15 bins of equal width:" in told
    table, page = tmp_path / "p.csv", tmp_path / "p.csv.html"
    assert told[-3:] == [f"Table: {table}", f"JSON: {table}.json", f"Report: {page}"]
    text = page.read_text(encoding="utf-8")
    assert_alone(Page(text), text)
    assert Page(text).tags.count("svg") == 3
    assert len((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()) == 360
    stored = json.loads((tmp_path / "p.csv.json").read_text(encoding="utf-8"))
    result = call("predict", root / "run-0" / "checkpoints" / "best.pt", "--passes", 5, "--json")
    assert {**json.loads(result.stdout), "checkpoint": 0} == {**stored, "checkpoint": 0}


def test_predict_numbers(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{i % 7},{i % 5},{i / 100}\n" for i in range(200)), encoding="ascii")
    done = run.start(small(data={"name": str(path)}, training={"epochs": 1}, dropout={"kind": "none"}), tmp_path, "x")
    result = call("predict", done.folder, "--passes", 2, "--out", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "p.csv.html").read_text(encoding="utf-8")
    assert Page(text).open == []
    for told in ("root mean squared error without dropout", "All passes are the same", ">dropout.<wbr>kind<"):
        assert told in text


def test_predict_other_data(root, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{','.join(['0.5'] * 64)},{i % 10}\n" for i in range(50)), encoding="ascii")
    result = call("predict", root / "run-0", "--passes", 2, "--data", path, "--part", "train", "--json")
    assert json.loads(result.stdout)["data"] == {
        "name": "rows",
        "part": "train",
        "examples": 40,
        "class_names": [str(digit) for digit in range(10)],  # the run's
    }


def test_report(root, tmp_path):
    result = call("report", root / "run-0", root / "run-1", "--out", tmp_path / "all.html", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Report: {tmp_path / 'all.html'}\nJSON: {tmp_path / 'all.html.json'}\n"
    assert Page((tmp_path / "all.html").read_text(encoding="utf-8")).open == []
    assert len(json.loads((tmp_path / "all.html.json").read_text(encoding="utf-8"))["runs"]) == 2


def test_a_report_of_one_run_is_in_its_folder(root):
    before = {path.name for path in (root / "run-1").iterdir()}
    result = call("report", root / "run-1")
    assert result.stdout == f"Report: {root / 'run-1' / 'report.html'}\n"
    assert {path.name for path in (root / "run-1").iterdir()} - before == {"report.html"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "/nowhere"], "/nowhere must be a checkpoint of `thinned train`, or the folder of a run, but ther"),
        (["predict", "ROOT/run-0", "--out", "best.pt"], "`out` must be a file whose name ends in .csv, but got out='b"),
        (["predict", "ROOT/run-0", "--out", "/no/p.csv"], "`out` must be in a folder that is there, but got out='/no"),
        (["predict", "ROOT/run-0", "--passes", "0"], "`passes` must be at least 1, but got passes=0."),
        (["predict", "ROOT/run-0", "--part", "x"], "`part` must be one of test, validation, train, all, but got part="),
        (["predict", "ROOT/run-0", "--target", "x"], "--target must be left out without --data, as the run knows its"),
        (["predict", "ROOT/run-0", "--data", "digit"], "`name` must be one of digits, artificial, mnist, fashion-mni"),
        (["predict", "ROOT/run-0", "--data", "/nowhere"], "/nowhere must be a file or a folder with data"),
        (["predict", "ROOT/run-0/config.json"], "ROOT/run-0/config.json must be a checkpoint of `thinned train`, but "),
        (["report"], "Missing argument 'RUN...'."),
        (["report", "/nowhere"], "/nowhere must be the folder of a run, but its config.json: No such file or direct"),
        (["report", "ROOT/run-0", "--out", "page.pdf"], "`out` must be a file whose name ends in .html, but got out="),
    ],
)
def test_bad_input_ends_in_one_sentence(root, arguments, sentence):
    result = call(*(argument.replace("ROOT", str(root)) for argument in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: " + sentence.replace("ROOT", str(root)))
    assert result.stderr.count("\n") == 1


def test_the_examples_of_help_are_commands():
    for module in (predict, report):
        examples = [shlex.split(line) for line in module.EXAMPLES.splitlines() if line.startswith("  thinned ")]
        assert len(examples) >= 3
        for _, command, *arguments in examples:
            thinned.commands[command].make_context(command, arguments)
