"""`thinned tune` as a whole: workers that are killed, a search that is stopped and goes on, and what it leaves."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from laboratory import DATA, Page, assert_alone
from rich.console import Console
from sqlalchemy.exc import OperationalError

from thinned._errors import DataError, RangeError
from thinned.lab import loop, sources
from thinned.lab.config import Config
from thinned.lab.config import read as read_settings
from thinned.lab.loop import InterruptedRunError
from thinned.lab.tuning import display, figures, findings, past, report, results, supervisor, worker
from thinned.lab.tuning.findings import Found, Tried
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.reading import read
from thinned.lab.tuning.search import Where, search
from thinned.lab.tuning.storage import StudyError, url
from thinned.lab.tuning.study import opened, put
from thinned.lab.tuning.supervisor import Silent, Standing
from thinned_cli.tune import EXAMPLES, thinned


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    train, test = DATA.train, DATA.test
    np.savez(path, x_train=train.inputs, y_train=train.targets, x_test=test.inputs, y_test=test.targets)
    return str(path)


def tables(data, **training):
    return {
        "data": {"name": data, "validation": 0.2, "standardise": True},
        "model": {"hidden": [16]},
        "training": {"epochs": 3, "batch_size": 20, **training},
        "run": {"device": "cpu"},
    }


def rows(folder):
    return [json.loads(line) for line in Path(folder, "trials.jsonl").read_text(encoding="utf-8").splitlines()]


class Havoc(Silent):
    """A display that kills one worker in the middle of a trial, and later presses Ctrl-C."""

    def __init__(self, database):
        self.database, self.killed, self.stopped, self.said = database, 0, False, []

    def standing(self, now):
        if now.done >= 1 and not self.killed:
            with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
                running = connection.execute(
                    "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
                    "WHERE key = 'worker' AND state = 'RUNNING'"
                ).fetchone()
            if running:
                self.killed = int(json.loads(running[0]).split()[1])
                os.kill(self.killed, signal.SIGKILL)
        elif now.done >= 2 and not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text):
        self.said.append(text)


def test_killed_stopped_and_gone_on_with(tmp_path, data):
    """Eight points of a grid: two workers, one of them killed; then Ctrl-C; then the rest."""
    table = {"p": [0.1, 0.3, 0.5, 0.7], "lr": [0.03, 0.1]}
    epochs = 60  # so that trials take longer than the time between two looks at them
    plan = Plan(tables(data, epochs=epochs), table, sampler="grid", pruner="none")
    where, folder = Where(tmp_path, "x"), tmp_path / "x"
    havoc = Havoc(folder / "study.db")
    how = f"Go on with: thinned tune --study x --out {tmp_path}"
    with pytest.raises(InterruptedRunError, match=rf"Stopped: \d of 8 trials are done. {how}"):
        search(plan, where, workers=2, display=havoc)
    assert havoc.killed
    assert any("killed by SIGKILL; another one is started." in text for text in havoc.said)
    before = rows(folder)
    assert 2 <= len(before) < 8
    assert not (folder / "summary.json").exists()
    stopped = past.read(folder).found
    assert (stopped.places, stopped.test, stopped.best) == (8, None, findings.best(stopped.rows))
    assert [json.loads(row.line()) for row in stopped.rows] == before
    found = search(None, where, workers=2)
    assert past.read(folder).found == found
    assert (found.complete, found.pruned, found.failed) == (8, 0, ())
    after = rows(folder)
    assert [row for row in after if row["trial"] in {row["trial"] for row in before}] == before
    points = Counter((row["settings"]["dropout.p"], row["settings"]["training.lr"]) for row in after)
    assert points == Counter((p, lr) for p in table["p"] for lr in table["lr"])
    assert [row["epochs"] for row in after] == [epochs] * 8
    assert [len(row["curve"]) for row in after] == [epochs] * 8
    with sqlite3.connect(folder / "study.db") as connection:
        states = dict(connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state"))
    assert states.pop("COMPLETE") == 8
    assert set(states) <= {"FAIL"}  # those that were killed or stopped
    left = ["best.toml", "config.json", "lock", "report.html", "study.db", "summary.json", "trials.jsonl"]
    assert set(os.listdir(folder)) == {*left, f"best-{found.best.trial}"}
    least = min((row["validation_error"], row["validation_loss"], row["trial"]) for row in after)
    assert least == (found.best.validation_error, found.best.validation_loss, found.best.trial)
    # The settings are ready to be trained, and train to what the trial had, bit for bit.
    config = read_settings(folder / "best.toml")
    assert (config.dropout.p, config.training.lr) == (
        found.best.settings["dropout.p"],
        found.best.settings["training.lr"],
    )
    assert (found.test.validation_error, found.test.validation_loss) == (
        found.best.validation_error,
        found.best.validation_loss,
    )
    result = CliRunner().invoke(thinned, ["train", str(folder / "best.toml"), "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test_loss"] == found.test.test_loss
    # Once more: nothing is left to be done, and the test part is not looked at again.
    (folder / f"best-{found.best.trial}" / "summary.json").unlink()
    assert search(None, where) == found
    with pytest.raises(RangeError, match=r"with tables.training.epochs 60, but got 3; leave all settings out"):
        search(Plan(tables(data), table, sampler="grid", pruner="none"), where)


def test_a_killed_worker_is_replaced(tmp_path, data):
    plan = Plan(tables(data, epochs=60), {"p": [0.1, 0.3, 0.5]}, sampler="grid", pruner="none")
    havoc = Havoc(tmp_path / "x" / "study.db")
    havoc.stopped = True  # no Ctrl-C
    found = search(plan, Where(tmp_path, "x"), display=havoc)
    assert havoc.killed
    assert "Worker 1 was killed by SIGKILL; another one is started." in havoc.said
    assert (found.complete, found.failed) == (3, ())


def test_the_last_worker_is_killed(tmp_path, data, monkeypatch):
    """No winner is chosen of the trials that are done by then, as the test part is looked at for one only."""
    monkeypatch.setattr(supervisor, "MOST_REPLACED", 0)
    plan = Plan(tables(data, epochs=60), {"p": [0.1, 0.3, 0.5, 0.7]}, sampler="grid", pruner="none")
    where, folder = Where(tmp_path, "x"), tmp_path / "x"
    havoc = Havoc(folder / "study.db")
    havoc.stopped = True  # no Ctrl-C
    how = rf"Go on with: thinned tune --study x --out {tmp_path}$"
    with pytest.raises(StudyError, match=rf"^No worker is left, and \d of 4 trials are done. {how}"):
        search(plan, where, display=havoc)
    assert havoc.killed
    assert any(text.endswith("killed by SIGKILL; none is left here.") for text in havoc.said)
    assert 1 <= len(rows(folder)) < 4
    assert set(os.listdir(folder)) == {"config.json", "study.db", "trials.jsonl"}
    found = search(None, where)
    assert (found.complete, found.failed) == (4, ())


def test_trials_never_see_the_test_part(data):
    config = Config.of(tables(data))
    made = worker.parts(config, sources.load(data))
    assert (len(made.train), len(made.validation), len(made.test)) == (72, 18, 0)


def test_a_place_is_trained_once(tmp_path, data):
    """Should two processes have put it into the queue; and what comes beside the queue is not trained at all."""
    plan = Plan(tables(data), {"p": [0.1]}, sampler="grid")
    study = opened(url(None, tmp_path), "x", plan, 3, make=True)
    for _ in range(2):
        put(study, plan, 0)
    attempt = worker.TrialRun(plan, sources.load(data), study, lambda: False)
    for _ in range(3):
        attempt.take()
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL", "FAIL"]
    assert [len(trial.intermediate_values) for trial in study.get_trials()] == [3, 0, 0]


def test_a_worker_that_is_stopped_gives_its_trial_back(tmp_path, data):
    plan = Plan(tables(data), {"p": [0.1]}, sampler="grid")
    study = opened(url(None, tmp_path), "x", plan, 3, make=True)
    put(study, plan, 0)
    worker.TrialRun(plan, sources.load(data), study, lambda: True).take()
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]
    assert study.get_trials()[1].user_attrs == {"place": 0}


def test_a_trial_that_fails_is_told(tmp_path, data, monkeypatch):
    plan = Plan(tables(data), {"p": [0.1]}, sampler="grid")
    study = opened(url(None, tmp_path), "x", plan, 3, make=True)
    put(study, plan, 0)
    monkeypatch.setattr(worker.Watched, "train", lambda *_: 1 / 0)
    worker.TrialRun(plan, sources.load(data), study, lambda: False).take()
    (trial,) = study.get_trials()
    assert (trial.state.name, trial.user_attrs["note"]) == ("FAIL", "ZeroDivisionError: division by zero.")


def test_the_command(tmp_path, data):
    path = tmp_path / "settings.toml"
    text = f"[data]\nname = '{data}'\nvalidation = 0.2\n[model]\nhidden = [8]\n[tune.space]\np = [0.1, 0.5]\n"
    path.write_text(text, encoding="utf-8")
    call = ["tune", str(path), "--epochs", "2", "--search", "lr=1e-3..1e30:log", "--trials", "5", "--sampler", "random"]
    result = CliRunner().invoke(thinned, [*call, "--study", "x", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    told = result.stdout.splitlines()
    assert told[-2:] == [f"Best settings: {tmp_path / 'x' / 'best.toml'}", f"Report: {tmp_path / 'x' / 'report.html'}"]
    assert any(line.startswith("5 of 5 trials done, ") for line in told)
    assert any(line.startswith("The best is trial ") for line in told)
    made = rows(tmp_path / "x")
    diverged = [row for row in made if row["note"]]  # at rates such as 1e20 the loss is soon no number
    assert diverged
    assert all(row["state"] == "pruned" and row["note"].startswith("The loss was no number") for row in diverged)
    assert any(line.startswith("Given up for another reason than a worse error: ") for line in told)
    config = json.loads((tmp_path / "x" / "config.json").read_text(encoding="utf-8"))
    assert config["environment"]["threads"] == 1  # of each trial, whatever this process has
    page = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    assert_alone(Page(page), page)
    more = CliRunner().invoke(
        thinned, ["tune", "--study", "x", "--trials", "6", "--out", str(tmp_path), "--quiet", "--workers", "2"]
    )
    assert more.exit_code == 0, more.output
    found = json.loads(more.stdout)
    assert (found["places"], found["complete"] + found["pruned"]) == (6, 6)
    assert rows(tmp_path / "x")[:5] == made
    assert json.loads(json.dumps(asdict(past.read(tmp_path / "x").found))) == {**found, "rows": rows(tmp_path / "x")}
    changed = Path(data).read_bytes()
    try:
        np.savez(data, x_train=DATA.train.inputs * 0.5, y_train=DATA.train.targets, x_test=DATA.test.inputs,
                 y_test=DATA.test.targets)  # fmt: skip
        with pytest.raises(DataError, match="must be those that the study began with, but they changed"):
            search(None, Where(tmp_path, "x"))
    finally:
        Path(data).write_bytes(changed)


def test_a_study_goes_on_from_another_folder_and_under_another_name(tmp_path, data, monkeypatch):
    monkeypatch.chdir(Path(data).parent)
    few = ["--search", "p=0.1,0.5", "--sampler", "grid", "--epochs", "1", "--hidden", "8", "--validation", "0.2"]
    start = ["tune", "--data", Path(data).name, *few, "--out", str(tmp_path), "--quiet"]
    first = CliRunner().invoke(thinned, [*start, "--study", "old", "--trials", "1"])
    assert first.exit_code == 0, first.output
    again = CliRunner().invoke(thinned, [*start, "--study", "old", "--trials", "1"])  # the same settings, given again
    assert json.loads(again.stdout) == json.loads(first.stdout)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "old").rename(tmp_path / "new")
    result = CliRunner().invoke(thinned, ["tune", "--study", "new", "--trials", "2", "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["complete"], found["study"]) == (2, "old")
    assert found["test"]["folder"].startswith(str(tmp_path / "new" / "best-"))
    assert f"thinned train {tmp_path / 'new' / 'best.toml'}" in (tmp_path / "new" / "best.toml").read_text()


def test_settings_are_searched_by_the_names_of_their_flags(tmp_path, data):
    few = ["--data", data, "--hidden", "8,8", "--epochs", "1", "--validation", "0.2", "--study", "x"]
    named = ["--search", "init=he,glorot", "--search", "dropout=standard,gaussian", "--search", "p.2=0.1,0.5"]
    call = ["tune", *few, *named, "--trials", "1", "--sampler", "random", "--out", str(tmp_path), "--quiet"]
    result = CliRunner().invoke(thinned, call)
    assert result.exit_code == 0, result.output
    assert set(rows(tmp_path / "x")[0]["settings"]) == {"model.initialisation", "dropout.kind", "dropout.p.2"}
    result = CliRunner().invoke(thinned, ["tune", "--search", "data=digits,mnist", "--out", str(tmp_path)])
    assert result.stderr.startswith("Error: `data.name` must be the same in all trials; give it as a setting")


FULL = OSError(28, "No space left on device")
LOCKED = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("_write", FULL, r"^.*x must be a folder that can be written to, but: \[Errno 28\] No space left on device\."),
        (
            "fill",
            LOCKED,
            r"^sqlite:.*study\.db must be a storage that can be reached and written to, but: database or ",
        ),
    ],
)
def test_a_full_disk_ends_in_one_sentence_and_the_study_goes_on(tmp_path, data, monkeypatch, where, error, message):
    def full(*_):
        raise error

    plan = Plan(tables(data), {"p": [0.1]}, sampler="grid")
    with monkeypatch.context() as patched:
        patched.setattr(f"thinned.lab.tuning.search.{where}", full)
        how = r" What was done before is kept\. Go on with: thinned tune --study x --out \S+$"
        with pytest.raises(StudyError, match=message + r".*" + how):
            search(plan, Where(tmp_path, "x"))
    assert search(None if where == "_write" else plan, Where(tmp_path, "x")).complete == 1


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals to groups of processes are of POSIX")
def test_ctrl_c_while_workers_start(tmp_path, data):
    """It goes to all processes of a terminal, at a moment when they are importing torch."""
    few = ["--data", data, "--hidden", "8", "--validation", "0.2", "--search", "p=0.1,0.5", "--sampler", "grid"]
    call = [sys.executable, "-m", "thinned", "tune", *few, "--study", "x", "--workers", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not (tmp_path / "x" / "config.json").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert re.fullmatch(r"Stopped: \d of 2 trials are done\. Go on with: thinned tune --study x --out \S+\n", said)


def test_a_search_in_which_nothing_works(tmp_path, data):
    plan = Plan(tables(data), {"lr": {"low": 1e25, "high": 1e30}}, sampler="random")
    with pytest.raises(StudyError, match=r"No trial was trained to its end. The loss was no number any more; .* Go on"):
        search(plan, Where(tmp_path, "x", f"journal:{tmp_path / 'study.log'}"), trials=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`search` must name at least one setting, as in --search lr=1e-3..1e-1:log or in a table [tune.space]."),
        (["--study", "nowhere"], "`search` must name at least one setting, as in --search lr=1e-3..1e-1:log or in a"),
        (["--search", "lrr=1,2"], "`lrr` is no setting that can be searched; did you mean training.lr?"),
        (["--search", "p=0.1,1.5"], "`p` must be in [0, 1], but got p=1.5."),
        (
            ["--search", "dropout.kind=standard,spatial"],
            "The dropout of a hidden layer must be one of none, ",
        ),
        (
            ["--search", "p=0.1,0.5", "--sampler", "x"],
            "`sampler` must be one of tpe, gp, random, grid, but",
        ),
        (
            ["--search", "p=0..0.5", "--sampler", "grid"],
            "`dropout.p` must have a list of values or a step",
        ),
        (
            ["--search", "p=0.1,0.5", "--validation", "0"],
            "`data.validation` must be above 0, as trials",
        ),
        (["--search", "p=0.1,0.5", "--workers", "0"], "`workers` must be at least 1, but got workers=0."),
        (["--search", "p=0.1,0.5", "--trials", "0"], "`trials` must be at least 1, but got trials=0."),
        (
            ["--search", "p=0.1,0.5", "--data", "nowhere"],
            "`name` must be one of digits, artificial, ",
        ),
        (
            ["--search", "p=0.1,0.5", "--study", "../x"],
            "`name` must be up to 100 letters, digits, '_', '.', ",
        ),
        (["--search", "p=0.1,0.5", "--study", "x", "--storage", "nothing://x"], "`storage` must be a storage"),
        (["nothing.toml"], "nothing.toml must be a TOML file that can be read, but: No such file or directory."),
        (["--nonsense"], "No such option '--nonsense'."),
    ],
)
def test_bad_input_ends_in_one_sentence(tmp_path, arguments, message):
    result = CliRunner().invoke(thinned, ["tune", *arguments, "--out", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(RangeError, match=r"`study` must be new or a study, but .*x is something else"):
        search(Plan({}, {"p": [0.1]}), Where(tmp_path, "x"))


def row(trial, state="complete", error=0.5, loss=1.0, **settings):
    return Tried(trial, state, settings, error, loss, 1, 1, 0.5, None, [error], "host 1", None, None)


def test_which_is_best():
    tried = [row(0, error=0.1, loss=3.0), row(1, "pruned", error=0.0), row(2, error=0.1, loss=2.0), row(3, error=0.2)]
    assert findings.best(tried) == tried[2]
    assert [one.trial for one in findings.ranked(tried)] == [2, 0, 3]
    assert findings.best([row(1, "pruned")]) is None


@pytest.mark.parametrize(("settings", "trials", "told"), [(2, 9, False), (2, 10, True), (3, 11, False), (1, 20, False)])
def test_what_mattered_is_told_of_enough_trials(settings, trials, told):
    names = ["training.lr", "dropout.p", "dropout.input_p"][:settings]
    space = read({name: {"low": 0.0 if "p" in name else 0.1, "high": 0.9} for name in names})
    study = optuna.create_study()
    domains = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    for place in range(trials):
        values = {name: (place * (i + 3) % 7) / 7 for i, name in enumerate(names)}
        error = values["training.lr"]
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=domains, value=error, user_attrs={"place": place})
        )
    shares = results.importance(study, space)
    assert bool(shares) == told
    if told:
        assert next(iter(shares)) == "training.lr"
        assert sum(shares.values()) == pytest.approx(1)
    tried = tuple(results.tried(study, space))
    test = loop.Outcome("x/best-0", 1, False, 1, 0.5, 0.25, 1.0, 0.5, 1.0)
    found = Found("x", "x", trials, trials, 0, (), tried[0], test, shares, tried)
    assert bool(findings.unsure(found)) == (not told and settings > 1)
    page = report.study({"data": {"name": "x", "note": ""}, "tables": {}, "sampler": "tpe", "pruner": "none",
                         "environment": {}}, found, space)  # fmt: skip
    assert ("Too few trials to say which setting mattered: " in page) == (not told and settings > 1)
    assert ("(fANOVA)" in page) == told


def test_the_page_of_all_kinds_of_settings():
    space = read({
        "training.lr": {"low": 1e-3, "high": 1.0, "log": True},
        "dropout.p": [0.1, 0.5],
        "dropout.kind": ["standard", "gaussian"],
        "model.hidden": [[8], [8, 8]],
    })  # fmt: skip
    values = {"training.lr": 0.1, "dropout.p": 0.5, "dropout.kind": "gaussian", "model.hidden": [8, 8]}
    tried = [row(0, **values), row(1, "pruned", **values), row(2, "pruned", None), row(3, error=0.0123, **values)]
    test = loop.Outcome("x/best-3", 1, False, 1, 0.5, 0.25, 1.0, 0.0123, 1.0)
    found = Found(
        "x", "x", 5, 2, 2, ("Trial 4: broken.",), tried[3], test, {"training.lr": 0.9, "dropout.p": 0.1}, (*tried,)
    )
    config = {
        "data": {"name": "digits", "note": ""},
        "tables": {"model": {"hidden": [8, 8]}},
        "sampler": "tpe",
        "pruner": "none",
        "environment": {"threads": 1},
    }
    text = report.study(config, found, space)
    read_ = Page(text)
    assert_alone(read_, text)
    assert read_.tags.count("svg") == 5
    for told in (
        "Trial 4: broken. Run the",
        "p=0.5, dropout.kind=gaussian",
        "0.001 to 1 on a logarithmic scale",
        "8; 8, 8",
    ):
        assert told in text
    assert "1.23\N{NO-BREAK SPACE}%" in text
    numbers = report.study(config, replace(found, numbers=True), space)
    assert "1.23\N{NO-BREAK SPACE}%" not in numbers
    assert ">0.0123<" in numbers
    nothing = figures.errors(tried[2:3], space, "error", 1)
    assert nothing == {}


def test_a_bar_in_a_terminal(capsys):
    with display.TuneProgress(Console(force_terminal=True, width=140)) as show:
        show.standing(Standing(8, 2, 1, 2, 0.125, {"training.lr": 0.1, "model.hidden": "[8, 8]"}))
        show.standing(Standing(8, 2, 1, 2, 0.125, {}, numbers=True))
        show.begin(Config.of({"training": {"epochs": 7}}), None, 0)
        show.step(1, 2)
    seen = capsys.readouterr().out
    assert "3 of 8 trials" in seen
    assert "1 pruned, 2 running; least validation error 12.50 %: lr=0.1, hidden=[8, 8]" in seen
    assert "least validation error 0.125: " in seen
    assert "training the best again: epoch 0 of 7" in seen
    assert isinstance(Silent(), loop.Silent)


def test_a_narrow_terminal_shows_bar_count_and_time(capsys):
    with display.TuneProgress(Console(force_terminal=True, color_system=None, width=80)) as show:
        show.standing(Standing(8, 1, 0, 2, 0.125, {"training.lr": 0.1, "model.hidden": "[8, 8]"}))
    seen = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", capsys.readouterr().out)
    assert "None" not in seen
    last = seen.split("\r")[-1].splitlines()[0]
    assert re.match(
        r"1 of 8 trials [━╸╺ ]{16} 0 pruned, 2 running.*… \d:\d\d:\d\d (-:--:--|\d:\d\d:\d\d)$", last.rstrip()
    )


def test_the_examples_of_help_are_commands():
    import shlex

    lines = [shlex.split(line) for line in EXAMPLES.splitlines() if line.startswith("  thinned ")]
    assert len(lines) == 7
    for _thinned, command, *arguments in lines:
        thinned.commands[command].make_context(command, arguments)
    toml = EXAMPLES.partition("thinned train:\n")[2].replace("\n  ", "\n").strip()
    from thinned.lab.values import _reader

    space = _reader().loads(toml)["tune"]["space"]
    assert set(read(space)) == {"dropout.p", "training.lr", "training.optimizer"}
