"""`make evidence` on small data: its order, how it stops and goes on, and that its table is what was found."""

import json
import math
import os
import re
import signal
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from laboratory import DATA, assert_same_run, processes

from benchmarks import __main__ as suite
from benchmarks import evidence
from benchmarks.evidence import Piece

PAGE = f"By hand, before.\n\n{evidence.BEGIN}\nold\n{evidence.END}\n\nBy hand, after.\n"
SMALL = {"NETS": {"1x8": (8,), "2x6": (6, 6)}, "EPOCHS": 4, "BATCH": 20, "SEEDS": (0, 1)}


@pytest.fixture
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(evidence, name, value)


def write_idx(path, array):
    """A file in the format of MNIST's."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


class Place:
    """A folder with data and a page, and the command in it."""

    def __init__(self, folder):
        self.folder, self.data, self.page = folder, folder / "stripes", folder / "page.md"
        self.out, self.runs = folder / "results" / "found.jsonl", folder / "runs"
        self.data.mkdir()
        for part, split in (("train", DATA.train), ("t10k", DATA.test)):
            write_idx(self.data / f"{part}-images-idx3-ubyte", (split.inputs * 255).astype(np.uint8))
            write_idx(self.data / f"{part}-labels-idx1-ubyte", split.targets.astype(np.uint8))
        self.page.write_text(PAGE, encoding="utf-8")

    @property
    def arguments(self):
        paths = {"--data": self.data, "--page": self.page, "--out": self.out, "--runs": self.runs}
        return [str(part) for pair in paths.items() for part in pair]

    def __call__(self, *arguments):
        return evidence.main([*self.arguments, *arguments])

    @property
    def found(self):
        return [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def rows(page):
    """The cells of the tables on the page, by network and method."""
    net, found = "", {}
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            net = line.removeprefix("### ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in evidence.METHODS:
            found[net, cells[0]] = cells[1:]
    return found


def timeless(entries):
    return [{k: v for k, v in entry.items() if k not in ("seconds_per_epoch", "date")} for entry in entries]


def test_the_settings_are_the_published_ones():
    config = Piece("2x800", "batchwise", 2).config(Path("a"))
    assert config.model.hidden == (800, 800)
    assert (config.dropout.p, config.dropout.input_p, config.dropout.batchwise) == (0.5, 0.2, True)
    assert (config.data.validation, config.run.seed, config.penalties.patience) == (0, 2, 0)
    recipe = config.training
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.momentum) == (200, 100, "nesterov", 0.9)
    for epoch in (0, 1, 150):
        assert recipe.lr_at(epoch) == pytest.approx(0.025 * math.exp(-0.01 * epoch), rel=1e-12)
    assert Piece("3x1024", "none", 0).config(Path("a")).training.lr == 0.1


def test_the_most_useful_pieces_come_first():
    names = [piece.name for piece in evidence.pieces()]
    assert len(set(names)) == 2 * 5 * 3
    assert names[:2] == ["2x800/standard/0", "2x800/batchwise/0"]
    assert [name[-1] for name in names] == sorted(name[-1] for name in names)


@pytest.mark.usefixtures("small")
def test_the_table_is_what_was_found(place, capsys):
    assert place("--only", "1x8/*/*", "--only", "2x6/gaussian/1") == 0
    entries = place.found
    assert [(entry["net"], entry["seed"]) for entry in entries] == [("1x8", 0)] * 5 + [("1x8", 1)] * 5 + [("2x6", 1)]
    folders = {json.loads(path.read_text(encoding="utf-8"))["test_error"] for path in place.runs.glob("*/summary.json")}
    assert folders == {entry["test_error"] for entry in entries}
    table = rows(place.page)
    for method in evidence.METHODS:
        mine = [entry for entry in entries if (entry["net"], entry["method"]) == ("1x8", method)]
        errors = [100 * entry["test_error"] for entry in mine]
        seconds = statistics.median(entry["seconds_per_epoch"] for entry in mine)
        cells = table["784-8-10, 4 epochs", method]
        assert cells[:3] == [f"{number:.2f} %" for number in (statistics.fmean(errors), *errors)]
        assert cells[4] == f"{seconds:.2f}"
        assert cells[5] == f"1, {mine[0]['date'][:10]}, {mine[0]['commit']}"
    gaussian = f"{100 * entries[-1]['test_error']:.2f} %"
    assert table["784-6-6-10, 4 epochs", "gaussian"][:3] == [f"{gaussian} (of 1)", "not run", gaussian]
    assert table["784-6-6-10, 4 epochs", "none"] == ["not run", "not run", "not run", "", "", ""]
    text = place.page.read_text(encoding="utf-8")
    assert text.startswith("By hand, before.\n\n<!--")
    assert text.endswith("-->\n\nBy hand, after.\n")
    assert "old" not in text
    assert f"1. {entries[0]['cpu']}, {entries[0]['cores']} cores, 1 thread, Python" in text

    capsys.readouterr()
    before = place.out.read_bytes()
    assert place("--only", "1x8/*/*") == 0
    assert "All of it is done." in capsys.readouterr().out
    assert (place.out.read_bytes(), place.page.read_text(encoding="utf-8")) == (before, text)


@pytest.mark.usefixtures("small")
def test_stopped_by_the_minutes_it_goes_on_bit_for_bit(tmp_path, capsys, monkeypatch):
    places = [Place(tmp_path / name) for name in ("whole", "stopped") if not (tmp_path / name).mkdir()]
    data = str(places[0].data)  # the same for both, as checkpoints name it
    only = ("--only", "1x8/dropconnect/0", "--only", "1x8/batchwise/0", "--data", data)
    places[0](*only)
    assert capsys.readouterr().out.count("test error") == 2
    assert places[1](*only, "--minutes", "1e-9") == 0
    assert "as the minutes are over. The same command goes on from there." in capsys.readouterr().out
    assert not places[1].runs.exists()  # they were over before the first piece

    ticks = iter(range(10_000))
    monkeypatch.setattr(evidence, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    stops = 0
    while len(places[1].found if places[1].out.exists() else []) < 2:
        assert places[1](*only, "--minutes", "0.05") == 0  # three ticks: the piece's start, and two epochs
        stops += "as the minutes are over. The same" in capsys.readouterr().out
    assert stops == 3  # in each of the two pieces, and between them
    assert timeless(places[0].found) == timeless(places[1].found)
    for folder in places[0].runs.iterdir():
        assert_same_run(folder, places[1].runs / folder.name)


def child(arguments):
    """What a process that is killed runs."""
    for name, value in SMALL.items():
        setattr(evidence, name, value)
    evidence.EPOCHS = 30
    evidence.main(arguments)


@pytest.mark.usefixtures("small")
def test_killed_it_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "EPOCHS", 30)
    places = [Place(tmp_path / name) for name in ("whole", "killed") if not (tmp_path / name).mkdir()]
    only = ("--only", "1x8/standard/1", "--data", str(places[0].data))
    places[0](*only)
    process = processes().Process(target=child, args=([*places[1].arguments, *only],))
    process.start()
    piece = Piece("1x8", "standard", 1)
    while len(piece.seconds(places[1].runs)) < 3:
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not places[1].out.exists()
    with (piece.folder(places[1].runs) / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"method": "stan')  # half a line, as a kill can leave it
    assert places[1]("--list") == 0
    assert places[1](*only) == 0
    assert timeless(places[0].found) == timeless(places[1].found)
    assert_same_run(*(piece.folder(place.runs) for place in places))

    places[1].out.unlink()  # killed between the end of a run and its line of results
    assert places[1](*only) == 0
    assert timeless(places[0].found) == timeless(places[1].found)


@pytest.mark.usefixtures("small")
def test_killed_before_there_are_settings(place):
    piece = Piece("1x8", "none", 0)
    piece.folder(place.runs).mkdir(parents=True)
    assert place("--only", piece.name) == 0
    assert len(place.found) == 1


@pytest.mark.usefixtures("small")
def test_what_diverged_is_a_result(place, monkeypatch, capsys):
    monkeypatch.setattr(evidence, "LR", 1e30)
    assert place("--only", "1x8/standard/0") == 0
    assert place.found[0]["test_error"] is None
    assert rows(place.page)["784-8-10, 4 epochs", "standard"][:3] == ["diverged", "diverged", "not run"]
    assert place("--only", "1x8/standard/0") == 0
    assert "All of it is done." in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_the_list(place, capsys, monkeypatch):
    place("--only", "1x8/standard/0")
    entry = {**place.found[0], "seconds_per_epoch": 90.0}
    place.out.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    monkeypatch.setattr(evidence.Show, "epoch", stop_after(2))
    with pytest.raises(ZeroDivisionError):
        place("--only", "2x6/none/1")
    path = Piece("2x6", "none", 1).folder(place.runs) / "records.jsonl"
    path.write_text(re.sub(r'"seconds": [\d.e-]+', '"seconds": 600.0', path.read_text(encoding="utf-8")))
    capsys.readouterr()
    assert place("--list", "--only", "1x8/standard/*", "--only", "2x6/none/1", "--only", "1x8/gaussian/0") == 0
    shown = {
        name: rest for name, *rest in (re.split(r"\s*[│┃]\s*", line)[1:4] for line in lines(capsys.readouterr().out))
    }
    assert shown["1x8/standard/0"] == [f"done: {100 * entry['test_error']:.2f} %", ""]
    assert shown["1x8/standard/1"] == ["missing", "6 min"]  # 4 epochs of 90 s
    assert shown["2x6/none/1"] == ["epoch 2 of 4", "20 min"]
    weights = {"1x8": 784 * 8 + 80, "2x6": 784 * 6 + 36 + 60}
    most = max(90, 600 * weights["1x8"] / weights["2x6"])  # as slow as the slowest that is known, by its weights
    gaussian = math.ceil(4 * most / 60)
    assert shown["1x8/gaussian/0"] == ["missing", f"{gaussian} min"]
    total = math.ceil((4 * 90 + 2 * 600 + 4 * most) / 60)
    assert shown["all"] == ["1 of 4 done", f"{total // 60} h {total % 60:02d} min"]


@pytest.mark.usefixtures("small")
def test_other_settings_are_other_pieces(place, monkeypatch):
    place("--only", "1x8/standard/0")
    monkeypatch.setattr(evidence, "LR", 0.2)
    assert rows(place.page)["784-8-10, 4 epochs", "standard"][1] != "not run"
    evidence.write(place.page, place.found)
    assert rows(place.page)["784-8-10, 4 epochs", "standard"][1] == "not run"
    place("--only", "1x8/standard/0")
    assert [entry["settings"]["training"]["lr"] for entry in place.found] == [0.025, 0.05]
    assert len(list(place.runs.iterdir())) == 2


def lines(output):
    return [line for line in output.splitlines() if re.search("[│┃]", line)]


def stop_after(epochs):
    def epoch(_, record):
        if record.epoch == epochs:
            raise ZeroDivisionError

    return epoch


@pytest.mark.usefixtures("small")
def test_an_interrupt(place, monkeypatch, capsys):
    monkeypatch.setattr(evidence.Show, "step", lambda *_: signal.raise_signal(signal.SIGINT))
    assert place("--only", "1x8/standard/0") == 130
    output = capsys.readouterr().out
    assert "Stopped in epoch 1, after step 2. The same command goes on from there." in output
    monkeypatch.setattr(evidence, "load", lambda _: signal.raise_signal(signal.SIGINT))
    assert place("--only", "1x8/standard/0") == 130
    assert "Stopped. The same command goes on." in capsys.readouterr().out


def test_bad_input(place, capsys, monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(evidence, name, value)

    def refused(message, *arguments):
        with pytest.raises(SystemExit, match=r"^2$"):
            place(*arguments)
        assert message in " ".join(capsys.readouterr().err.split())

    refused("--only must be NET/METHOD/SEED with a net of 1x8, 2x6, a method of standard,", "--only", "1x8/alpha/0")
    refused("must be a number above 0, but got nan.", "--minutes", "nan")
    refused("must be a number above 0, but got soon.", "--minutes", "soon")
    with pytest.raises(SystemExit, match=r"^2$"):
        evidence.main([])
    assert "--data must be given: the folder with the four files of MNIST." in capsys.readouterr().err
    refused("there is no", "--data", str(place.folder / "nothing"))
    place.page.write_text(f"{evidence.END}\n{evidence.BEGIN}\n", encoding="utf-8")
    refused(f"must have the lines {evidence.BEGIN} and {evidence.END}, in this order, but it has not.")
    place.page.write_text(PAGE, encoding="utf-8")
    assert place("--only", "1x8/none/0") == 0
    write_idx(place.data / "train-labels-idx1-ubyte", np.zeros(90, np.uint8))
    refused("--data must be the data that the results in", "--only", "1x8/none/1")


def test_the_page_shows_the_results_that_are_kept():
    text = evidence.ROOT.parent.joinpath("docs", "evidence.md").read_text(encoding="utf-8")
    kept = evidence.read(evidence.ROOT / "results" / "evidence.jsonl")
    made = text.partition(evidence.BEGIN)[2].partition(evidence.END)[0]
    assert made == f"\n\n{evidence.section(kept)}\n\n"


@pytest.mark.parametrize(
    ("path", "dirty"), [("docs/a.md", False), ("benchmarks/results/a.csv", False), ("src/a.py", True)]
)
def test_documents_and_results_do_not_make_a_commit_dirty(tmp_path, monkeypatch, path, dirty):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        assert os.spawnlp(os.P_WAIT, "git", "git", "-C", str(tmp_path), *who, *arguments) == 0

    git("init", "-q")
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir(exist_ok=True)
    file.write_text("one", encoding="utf-8")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(suite, "ROOT", tmp_path / "benchmarks")
    assert re.fullmatch("[0-9a-f]{10}", clean := suite.commit())
    file.write_text("two", encoding="utf-8")
    assert suite.commit() == clean + "-dirty" * dirty


def test_outside_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(suite, "ROOT", tmp_path / "benchmarks")
    tmp_path.joinpath("benchmarks").mkdir()
    assert suite.commit() == "unknown"
