"""What the laboratory leaves: records, summary and report."""

import json
import math
import os
import re
import sys
from dataclasses import asdict
from html import escape
from pathlib import Path
from types import SimpleNamespace

import pytest
from laboratory import Page, assert_alone, compared

from thinned._errors import RangeError
from thinned.lab import figures, records, report, tables
from thinned.lab import page as page_
from thinned.lab.costs import Cost
from thinned.lab.recipe import Recipe
from thinned.lab.records import Record
from thinned.lab.summary import summarise

JOINED = "\N{NO-BREAK SPACE}"
COST = Cost(bytes_kept=2048, flops=1_500_000, latency=0.00025, peak_bytes=3_145_728)


def record(method, seed, epoch, error=0.5, seconds=1.0, loss=1.0):
    return Record(method, seed, epoch, loss, error, seconds)


# Summing up


def test_only_what_all_methods_reached_is_compared():
    done = [
        *(record("none", 0, e, error=e / 10, seconds=s) for e, s in [(1, 1.0), (2, 2.0), (3, 90.0)]),
        *(record("torch", 0, e, error=e / 20, seconds=s) for e, s in [(1, 4.0), (2, 6.0)]),
        *(record("none", 1, e, error=0.9, seconds=s) for e, s in [(1, 1.0), (2, 3.0)]),
        record("torch", 1, 1, error=0.9, seconds=5.0),
    ]
    summary = summarise(compared("none", "torch"), done, costs={"none": COST}, folder=Path("x"), interrupted=True)
    assert (summary.epoch, summary.seeds, summary.baseline) == (2, (0,), "torch")
    none, torch_ = summary.rows
    assert (none.total_seconds, torch_.total_seconds) == (97.0, 15.0)
    assert (none.test_error, none.spread, none.seconds, none.cost) == (0.2, None, 2.0, COST)
    assert (torch_.test_error, torch_.seconds, torch_.cost) == (0.1, 5.0, None)
    assert (none.speed, torch_.speed) == (2.5, 1.0)


def test_without_torch_the_first_method_is_the_reference():
    done = [record("thinned", 0, 1, seconds=3.0), record("none", 0, 1, seconds=2.0)]
    summary = summarise(compared("thinned", "none", seeds=1), done, costs={}, folder=Path("x"))
    assert summary.baseline == "thinned"
    assert [row.speed for row in summary.rows] == [1.0, 1.5]


def test_cells_and_notes_of_a_table():
    done = [record("none", seed, 1, error, seconds=12.34) for seed, error in [(0, 0.02), (1, 0.04)]]
    summary = summarise(compared("none"), done, costs={"none": COST}, folder=Path("x"))
    assert tables.cells(summary, summary.rows[0]) == ["none", "3.00 ± 1.41", "baseline"]
    assert tables.cost_cells(summary.rows[0]) == ["none", "12.3", "1.00x", "3.00 MiB", "2.00 KiB", "1.50 M", "0.250 ms"]
    assert tables.notes(summary)[0].startswith("Test error: after epoch 1, mean and standard deviation over 2 seeds.")
    empty = summarise(compared("none"), [], costs={}, folder=Path("x"))
    assert tables.cells(empty, empty.rows[0]) == ["none", "-", "baseline"]
    assert tables.cost_cells(empty.rows[0]) == ["none", "-", "-", "-", "-", "-", "-"]
    assert tables.notes(empty) == []


# Reporting


def page(name="stripes", epochs=3):
    """A report of two methods and two seeds, and the results in it."""
    done = [
        record(method, seed, epoch, error=0.5 / epoch + seed / 100, seconds=1 + epoch / 10, loss=2 / epoch)
        for seed in (0, 1)
        for epoch in range(1, epochs + 1)
        for method in ("none", "torch")
    ]
    settings = compared("none", "torch", training={"epochs": epochs})
    config = {
        "data": {"name": name, "train": 90, "test": 33, "note": "Split <by> hand."},
        "settings": settings.tables(),
        "environment": {"torch": "2"},
    }
    summary = summarise(settings, done, costs={"none": COST}, folder=Path("runs/first"))
    return report.comparison(config, summary, done, "Comparison of dropout: first"), summary


def test_report_is_one_file_that_needs_nothing_else():
    text, summary = page()
    read = Page(text)
    assert_alone(read, text)
    assert read.tags.count("svg") == 4
    assert "<title>Comparison of dropout: first</title>" in text
    for row in summary.rows:
        assert escape(row.sentence) in text
        assert line(tables.headings(summary), tables.cells(summary, row)) in text
        assert line(tables.cost_headings(summary), tables.cost_cells(row)) in text


def line(headings, cells):
    """A row of a table, as HTML."""
    rest = "".join(
        f'<td class="number" data-label="{heading}">{cell.replace(" ", JOINED) if len(cell) <= 14 else cell}</td>'
        for heading, cell in zip(headings[1:], cells[1:], strict=True)
    )
    rest = rest.replace(" %", f"{JOINED}%").replace(" ± ", f"{JOINED}±{JOINED}")
    return f'<tr><th scope="row" class="word">{cells[0]}</th>{rest}</tr>'


def test_report_of_a_single_epoch_shows_a_point():
    text, _ = page(epochs=1)
    assert "for 1 epoch with" in text
    assert Page(text).tags.count("svg") == 4


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {},
            "SGD with momentum 0.9; learning rate 0.03 in the first epoch, falling in equal steps towards zero; b",
        ),
        (
            {"optimizer": "adamw", "momentum": 0.8, "weight_decay": 0.01, "schedule": "constant"},
            "AdamW with betas 0.8 and 0.999, weight decay 0.01; learning rate 0.001 in the first epoch, the same in a",
        ),
        (
            {"optimizer": "nesterov", "lr": 0.1, "schedule": "exponential"},
            "SGD with Nesterov's momentum 0.9; learning rate 0.1 in the first epoch, falling exponentially to",
        ),
    ],
)
def test_training_in_words(settings, sentence):
    assert report._training(asdict(Recipe(**settings))).startswith(sentence)


def test_settings_of_batchwise_are_told_where_it_was_compared():
    config = {"settings": compared(dropout={"groups": 4, "units": "slice"}).tables(), "environment": {}}
    assert report._settings(config)["batchwise"].startswith("4 masks for a batch; kept units: a slice of neighbours, w")
    config["settings"]["compare"]["methods"] = ["torch"]
    assert "batchwise" not in report._settings(config)


def test_names_of_methods_are_broken_between_their_parts():
    text = page_.table(["method", "error"], [["spatial+step_block:0.1", "2"]])
    assert ">spatial+<wbr>step_<wbr>block:<wbr>0.1</th>" in text
    assert "&lt;b&gt;&amp;" in page_.table(["method"], [["<b>&"]])


def test_report_can_be_made_again_to_the_byte():
    assert page()[0] == page()[0]


def test_report_escapes_what_users_name():
    text, _ = page(name="<b>&")
    assert "&lt;b&gt;&amp;" in text
    assert "<b>&<" not in text
    assert "Split &lt;by&gt; hand." in text


def test_slow_epochs_are_counted_not_drawn():
    done = [record("none", 0, epoch, seconds=1.0) for epoch in range(1, 10)] + [record("none", 0, 10, seconds=50.0)]
    assert figures.beyond(["none"], done) == 1
    assert figures.times(["none"], done).axes[0].get_xlim()[1] < 3


def test_figures_choose_their_scale():
    wide = [record("none", 0, epoch, error=0.5 / 2**epoch) for epoch in range(1, 8)]
    zero = [*wide, record("none", 0, 8, error=0.0)]
    for done, scale in ((wide, "log"), (zero, "linear"), (wide[:1], "linear")):
        assert figures.curves(["none"], done, "error", lambda r: r.test_error).axes[0].get_yscale() == scale


def test_lines_can_be_told_apart_without_their_colour():
    """On a printer that has only black, and however many points there are."""
    names = [f"line {i}" for i in range(report.MOST_LINES)]
    axes = figures.lines({name: [[(x, 1.0) for x in range(100)]] for name in names}, "x", "y").axes[0]
    seen = {(line.get_marker(), line.get_linestyle()) for line in axes.lines}
    assert len(seen) == len(names)
    for line in axes.lines:
        assert 2 <= len(line.get_xdata()[:: line.get_markevery()]) <= 20


@pytest.mark.parametrize("name", ["torch", "dropout.kind=gaussian, dropout.p=0.25, dropout.input_p=0.125", "W" * 300])
def test_names_hide_nothing_and_are_whole(name):
    names = [name, f"{name}!", "none"]
    values = [[(1, 0.5), (2, 0.25)]]
    figure = figures.lines(dict.fromkeys(names, values), "epoch", "error")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert figure.axes[0].get_window_extent().height / figure.dpi > 1.5
    rows, axes, _ = figures.rows(names)
    rows.draw_without_rendering()
    for drawn, texts in ((figure, legend.get_texts()), (rows, axes.texts)):
        told = [text.get_text().replace("\n", " ") for text in texts]
        assert told[2] == "none"
        assert told[0] == name if len(name) < 100 else told[0].endswith("…")
        width = drawn.get_figwidth() * drawn.dpi
        assert len(name) == 300 or all(text.get_window_extent().x1 <= width for text in texts)


# Writing


def test_names_of_runs(tmp_path, monkeypatch):
    first = records.create(tmp_path / "new" / "runs", None, "compare")
    assert re.fullmatch(r"compare-\d{8}-\d{6}(-\d+)?", first.name)
    now = SimpleNamespace(strftime=lambda _: "-then")
    monkeypatch.setattr(records, "datetime", SimpleNamespace(now=lambda: now))
    assert [records.create(tmp_path, None, "compare").name for _ in range(3)] == [
        "compare-then",
        "compare-then-2",
        "compare-then-3",
    ]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "a\0b", "a\n", "x" * 101])
def test_names_that_are_refused(tmp_path, name):
    with pytest.raises(RangeError, match=r"^`name` must be up to 100 letters, .* but got name="):
        records.create(tmp_path, name, "compare")
    assert os.listdir(tmp_path) == []


def test_a_run_is_never_written_over(tmp_path):
    records.create(tmp_path, "x", "compare")
    with pytest.raises(RangeError, match=r"^`name` must be new, but \S*x exists; choose another name or remove it\.$"):
        records.create(tmp_path, "x", "compare")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RangeError, match=r"must be a folder that can be made, but: Not a directory\.$"):
        records.create(tmp_path / "file", "x", "compare")


def test_records_are_on_disk_as_they_come(tmp_path):
    path = tmp_path / "records.jsonl"
    with records.Journal(path) as journal:
        journal.add(record("none", 0, 1))
        assert json.loads(path.read_text(encoding="utf-8"))["method"] == "none"
        journal.add(record("none", 0, 2, loss=math.inf))
        assert [json.loads(line)["train_loss"] for line in path.read_text().splitlines()] == [1.0, None]
    with pytest.raises(FileExistsError, match="records"):
        records.Journal(path)


def test_whole_files_are_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "file"
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _name=name, _do=original: (calls.append(_name), _do(*a)))
    records.write_text(path, "old")
    assert calls == ["fsync", "replace", "fsync"]  # the file, and the folder that has its new name

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        records.write_text(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_json_has_no_nan(tmp_path):
    records.write_json(tmp_path / "x", {"a": [math.nan, (1.5, math.inf)], "b": "ü"})
    assert json.loads((tmp_path / "x").read_text(encoding="utf-8")) == {"a": [None, [1.5, None]], "b": "ü"}


def test_environment_without_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "thinned.kernels.cpu", None)
    monkeypatch.delattr("thinned.kernels.cpu", raising=False)
    assert records.environment()["kernels"] == "not built"
