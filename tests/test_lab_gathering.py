"""Studies read back, and reports of whatever is in a folder of runs: nothing that a file says is believed."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laboratory import DATA, Page, assert_alone, small

from thinned._errors import DataError
from thinned.lab import gathering, joined, records, run
from thinned.lab.gathering import Passed
from thinned.lab.loop import Outcome
from thinned.lab.tuning import findings, past
from thinned.lab.tuning.findings import Found, Tried
from thinned.lab.tuning.plan import Plan
from thinned_cli.report import thinned

EVIL = '<script>alert("x")</script>&amp;</title><img src=x>'
PLAN = Plan(
    {"data": {"name": "digits"}, "model": {"hidden": [8, 8]}},
    {
        "lr": {"low": 1e-3, "high": 1.0, "log": True},
        "p": {"low": 0.0, "high": 0.6, "step": 0.2},
        "hidden": [[8], [8, 8]],
        "dropout.kind": ["standard", "gaussian"],
    },
)
FILES = ("config.json", "summary.json", "trials.jsonl")


def tried(trial, state="complete", error=0.25, **values):
    values = {
        "training.lr": 0.1,
        "dropout.p": 0.6,
        "model.hidden": [8, 8],
        "dropout.kind": "gaussian",
        **values,
    }
    return Tried(trial, state, values, error, 1.0, 1, 2, 0.5, None, [0.5, error], "host 1", "then", None)


def found_in(folder):
    rows = (tried(0), tried(1, "pruned", None), tried(2, error=0.125), tried(4, error=0.5))
    test = Outcome(str(folder / "best-2"), 2, False, 1, 1.0, 0.125, 1.0, 0.0625, 3.0)
    shares = {"training.lr": 0.75, "dropout.p": 0.25}
    return Found(str(folder), folder.name, 5, 3, 1, ("Trial 3: gone.",), rows[2], test, shares, rows)


def write(folder, data="stripes", task="classification"):
    """Leave what a search of five trials leaves, of which one failed."""
    folder.mkdir()
    found = found_in(folder)
    config = {
        "command": "tune",
        "study": folder.name,
        "storage": "sqlite:///x",
        "trials": 5,
        "data": {"name": data, "note": "", "task": task},
        **PLAN.plain(),
        "environment": {"threads": 1},
    }
    config["tables"]["run"] = {"threads": 4096}  # of a machine with more processors
    records.write_json(folder / "config.json", config)
    summary = asdict(found)
    del summary["rows"]
    records.write_json(folder / "summary.json", summary)
    records.write_text(folder / "trials.jsonl", "".join(row.line() for row in found.rows))
    return found


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "search")
    return tmp_path / "search"


def change(path, edit):
    told = json.loads(path.read_text(encoding="utf-8"))
    edit(told)
    path.write_text(json.dumps(told), encoding="utf-8")


def change_line(path, edit):
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    told = json.loads(first)
    edit(told)
    path.write_text(json.dumps(told) + "\n" + "".join(rest), encoding="utf-8")


# Reading a study


def test_a_study_comes_back_as_it_was(folder):
    study = past.read(folder)
    assert study.found == found_in(folder)
    assert study.space == PLAN.space
    assert study.name == "search"


def test_a_study_that_is_not_done(folder):
    change(folder / "config.json", lambda told: told.update(trials=9))  # gone on with for more trials, and stopped
    for name in ("", "summary.json", "trials.jsonl"):
        if name:
            (folder / name).unlink()
        study = past.read(folder)
        assert study.found.test is None
        text = joined.joined([study])
        assert Page(text).open == []
        assert f"Not done: {len(study.found.rows)} of 9 trials are written down, and none is tested." in text
        assert "thinned tune --study search goes on." in text
        assert joined.overview([study])[0][2:] == [f"best of {len(study.found.rows)} trials", "-", "-", "not done", "-"]
        best = "The best so far is trial 2: lr=0.1, p=0.6, hidden=[8, 8], dropout.kind=gaussian. Its validation error"
        assert (best if study.found.rows else "No trial was trained to its end yet.") in text
    assert study.found.rows == ()


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("config.json", lambda told: told.pop("study")),
        ("config.json", lambda told: told.update(trials=True)),
        ("config.json", lambda told: told.update(trials=0)),
        ("config.json", lambda told: told.update(data=3)),
        ("config.json", lambda told: told.update(table={"training.speed": [1]})),
        ("config.json", lambda told: told.update(table={"training.lr": {"low": "a", "high": "b"}})),
        ("config.json", lambda told: told["table"].update({"dropout.options.size": list(range(1001))})),
        ("config.json", lambda told: told["table"].update({f"dropout.p.{i}": [0.5] for i in range(1, 1001)})),
        ("config.json", lambda told: told.update(tables={"model": {"hidden": "wide"}})),
        ("config.json", lambda told: told.update(environment=[1])),
        ("summary.json", lambda told: told.update(best=None)),
        ("summary.json", lambda told: told["best"].update(trial=0)),
        ("summary.json", lambda told: told.update(complete=2)),
        ("summary.json", lambda told: told.update(importance={"model.kind": 1.0})),
        ("summary.json", lambda told: told["importance"].update({"dropout.p": 1e300})),
        ("summary.json", lambda told: told["importance"].update({"dropout.p": None})),
        ("summary.json", lambda told: told["test"].update(test_error="low")),
        ("summary.json", lambda told: told.pop("failed")),
    ],
)
def test_files_that_do_not_fit_end_in_one_sentence(folder, file, edit):
    change(folder / file, edit)
    with pytest.raises(DataError, match=r"^\S*search must be the folder of a study that this version can read[:,]"):
        past.read(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told.update(trial=7),
        lambda told: told.update(trial="0"),
        lambda told: told.update(state="lost"),
        lambda told: told.update(validation_error=float("inf")),
        lambda told: told.update(validation_error="low"),
        lambda told: told.update(seconds=None),
        lambda told: told.update(curve=["low"]),
        lambda told: told.update(curve=3),
        lambda told: told.update(settings=None),
        lambda told: told["settings"].update({"training.lr": 2.0}),
        lambda told: told["settings"].update({"training.lr": "0.1"}),
        lambda told: told["settings"].update({"model.hidden": [9]}),
        lambda told: told["settings"].update({"dropout.kind": ["gaussian"]}),
        lambda told: told["settings"].update({"training.momentum": 0.5}),
    ],
)
def test_lines_that_are_no_trials(folder, edit):
    change_line(folder / "trials.jsonl", edit)
    with pytest.raises(
        DataError, match=r"search must be the folder of a study .*, but its files do not fit together\.$"
    ):
        past.read(folder)


def test_a_study_that_is_too_large(folder):
    with (folder / "trials.jsonl").open("ab") as file:
        file.truncate(2**40)  # claimed, not written
    with pytest.raises(DataError, match=r"trials\.jsonl must have at most 16777216 bytes, as a run's has, but it is l"):
        past.read(folder)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_or_are_shown(folder, tmp_path_factory, data):
    damaged = tmp_path_factory.mktemp("damaged")
    shutil.copytree(folder, damaged, dirs_exist_ok=True)
    path = damaged / data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from(b'019-"{}[],:ne\n<'))
    path.write_bytes(content)
    found, passed = gathering.gather([damaged])
    assert len(found) + len(passed) == 1
    if found:
        assert Page(joined.joined(found)).open == []


def test_a_last_step_beyond_the_end_of_a_range(folder):
    """0.2 + 0.2 + 0.2 is a little more than 0.6."""
    change_line(folder / "trials.jsonl", lambda told: told["settings"].update({"dropout.p": 0.2 + 0.2 + 0.2}))
    assert past.read(folder).found.rows[0].settings["dropout.p"] > 0.6


def test_reading_needs_neither_optuna_nor_a_database():
    program = "import sys; from thinned.lab import joined; print({'optuna', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The page of a study


def test_a_study_has_a_section_of_its_own(folder, tmp_path):
    write(tmp_path / "other", task="regression")
    found, _ = gathering.gather([folder, tmp_path / "other"])
    text = joined.joined(found)
    assert_alone(Page(text), text)
    assert '<h2 id="run1">Search: search</h2>' in text
    for study in found:
        assert findings.verdict(study.found) in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Its test error is 6.25" not in text
    assert text.count("Trial 3: gone. Run the command again to try it again.") == 2
    assert text.count("Error: the root of the mean squared error, in the unit of the targets.") == 1
    assert Page(text).tags.count("svg") == 2 * 5  # what mattered, and each of four settings
    rows = joined.overview(found)
    assert rows[0] == ["search", "stripes", "best of 4 trials", "1", "2", "6.25 %", "1.500"]
    assert rows[1][5] == "0.0625"
    told = joined.numbers(found)
    assert told["runs"] == []
    assert [one["name"] for one in told["studies"]] == ["search", "other"]
    assert told["studies"][0]["found"]["test"]["test_error"] == 0.0625
    assert [row["trial"] for row in told["studies"][0]["found"]["rows"]] == [0, 1, 2, 4]


def test_names_do_not_become_markup(tmp_path):
    folder = tmp_path / "<script>search<"
    write(folder, data=EVIL)

    def poison(told):
        told.update(study=EVIL, sampler=EVIL, pruner=EVIL, environment={EVIL: EVIL})
        told["data"]["note"] = EVIL

    change(folder / "config.json", poison)
    change_line(folder / "trials.jsonl", lambda told: told.update(note=EVIL))
    change(folder / "summary.json", lambda told: told.update(failed=[EVIL]))
    passed = [Passed(Path(EVIL), EVIL, other) for other in (True, False)]
    text = joined.joined([past.read(folder)], passed)
    assert_alone(Page(text), text)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)") >= 8


# Gathering


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What a while of work leaves: two runs, a study, one of each damaged, a folder of something else, and files."""
    root = tmp_path_factory.mktemp("work") / "runs"
    for seed in (0, 1):
        run.start(small(training={"epochs": 1}, run={"seed": seed}), root, f"b-{seed}", data=DATA)
    write(root / "c-search")
    write(root / "d-damaged")
    (root / "d-damaged" / "trials.jsonl").write_text("{\n", encoding="utf-8")
    (root / "e-other").mkdir()
    (root / "f.html").write_text("<p>", encoding="utf-8")
    return root


def call(*arguments):
    return CliRunner().invoke(thinned, ["report", *map(str, arguments)])


def test_what_cannot_be_read_is_passed_over_and_named(runs, tmp_path):
    result = call(*sorted(runs.iterdir()), "--out", tmp_path / "all.html", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Report: {tmp_path / 'all.html'}\nJSON: {tmp_path / 'all.html.json'}\n"
    damaged = f"Passed over: {runs / 'd-damaged' / 'trials.jsonl'} must be JSON in each line, but it is damaged."
    others = f"Passed over 2 paths without a run: {runs / 'e-other'}, {runs / 'f.html'}."
    assert result.stderr == f"{damaged}\n{others}\n"
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert_alone(Page(text), text)
    assert text.index(f'<p class="warning">{damaged}</p>') < text.index(f'<p class="warning">{others}</p>')
    assert text.index(others) < text.index("All runs")
    told = json.loads((tmp_path / "all.html.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["runs"]] == ["b-0", "b-1"]
    assert [one["name"] for one in told["studies"]] == ["c-search"]
    assert [one["path"] for one in told["passed_over"]] == [str(runs / n) for n in ("d-damaged", "e-other", "f.html")]
    assert told["passed_over"][2]["why"].endswith("must be the folder of a run or of a study, but it is a file.")


def test_nothing_that_can_be_reported(runs, tmp_path):
    result = call(runs / "d-damaged", runs / "e-other", tmp_path / "nowhere", "--out", tmp_path / "all.html")
    assert result.exit_code == 2
    *reasons, last = result.stderr.splitlines()
    assert reasons == [
        f"Passed over: {runs / 'd-damaged' / 'trials.jsonl'} must be JSON in each line, but it is damaged.",
        f"Passed over: {tmp_path / 'nowhere'} must be the folder of a run, but its config.json: No such file or "
        "directory.",
        f"Passed over 1 path without a run: {runs / 'e-other'}.",
    ]
    assert last == "Error: RUN must be at least one run or study that can be read, but there is none."
    assert not (tmp_path / "all.html").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("d-damaged", "d-damaged/trials.jsonl must be JSON in each line, but it is damaged."),
        ("e-other", "e-other must be the folder of a run or of a study, but it has no config.json."),
        ("f.html", "f.html must be the folder of a run or of a study, but it is a file."),
    ],
)
def test_a_single_one_that_cannot_be_read_is_an_error(runs, name, sentence):
    result = call(runs / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {runs}/{sentence}\n"


def test_one_of_several_is_not_reported_in_its_own_folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(runs / "b-0", runs / "f.html")
    assert result.stdout == "Report: report.html\n"
    assert "Passed over 1 path without a run" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert call(runs / "c-search", runs / "c-search").stdout == f"Report: {runs / 'c-search' / 'report.html'}\n"


def test_a_study_of_numbers_says_its_unit(folder):
    study = past.read(folder)
    config = {**study.config, "tables": {**study.config["tables"], "data": {"name": "x", "standardise": True}}}
    text = joined.joined([replace(study, config=config, found=replace(study.found, numbers=True))])
    assert "in the unit of the targets. Loss: of standardised targets, in which a standard deviation is 1." in text
    assert "error, %" not in text
