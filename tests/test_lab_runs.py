"""Runs read back and joined: nothing that a file says is believed, and nothing that users name becomes markup."""

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laboratory import DATA, Page, assert_alone, compared, small

from thinned._errors import DataError
from thinned.lab import compare, joined, paired, reading, records, run, runs

EVIL = '<script>alert("x")</script>&amp;</title><img src=x>'
SMALL = compared(target_error=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A comparison, and five runs of training: two kinds of dropout, with seeds 0, 1, 2 and 0, 1."""
    folder = tmp_path_factory.mktemp("runs")
    compare.start(SMALL, folder, "compared", data=DATA)
    for kind, seeds in (("standard", 3), ("gaussian", 2)):
        for seed in range(seeds):
            config = small(dropout={"kind": kind}, training={"epochs": 2}, run={"seed": seed})
            run.start(config, folder, f"{kind}-{seed}", data=DATA)
    return folder


@pytest.fixture
def copied(root, tmp_path):
    """A copy of a run, to be damaged."""

    def copy(name):
        shutil.copytree(root / name, tmp_path / name)
        return tmp_path / name

    return copy


def trained(root):
    return [
        reading.read(root / name) for name in ("standard-0", "standard-1", "standard-2", "gaussian-0", "gaussian-1")
    ]


def change(path, edit):
    told = json.loads(path.read_text(encoding="utf-8"))
    edit(told)
    path.write_text(json.dumps(told), encoding="utf-8")


# Reading


def test_a_comparison_comes_back_as_it_was(root):
    found = reading.read(root / "compared")
    assert found.command == "compare"
    assert len(found.records) == 16
    stored = json.loads((root / "compared" / "summary.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(asdict(found.summary))) == stored
    assert not found.summary.interrupted


def test_a_comparison_that_was_killed_can_be_read(copied):
    folder = copied("compared")
    (folder / "summary.json").unlink()
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:12]) + lines[12][:20])
    found = reading.read(folder)
    assert (len(found.records), found.summary.interrupted, found.summary.epoch) == (12, True, 2)
    assert [row.cost for row in found.summary.rows] == [None] * 4
    assert_alone(Page(joined.joined([found])), joined.joined([found]))


def test_a_run_of_training_comes_back(root, copied):
    found = reading.read(root / "gaussian-1")
    assert found.outcome == run.Outcome(
        **json.loads((root / "gaussian-1" / "summary.json").read_text(encoding="utf-8"))
    )
    assert [record.epoch for record in found.records] == [1, 2]
    assert math.isnan(found.records[0].test_error)
    assert len(found.records[0].monitors["sparsity"]) == 1
    folder = copied("gaussian-1")
    (folder / "summary.json").unlink()
    assert reading.read(folder).outcome is None


def test_the_machine_may_have_fewer_processors(copied):
    for name in ("compared", "gaussian-0"):
        folder = copied(name)
        change(
            folder / "config.json", lambda told: (told["settings"].get("run") or told["settings"]).update(threads=4096)
        )
        assert reading.read(folder).command


@pytest.mark.parametrize(
    ("name", "file", "edit"),
    [
        ("compared", "config.json", lambda told: told.update(command="audit")),
        ("compared", "config.json", lambda told: told.pop("data")),
        ("compared", "config.json", lambda told: told["data"].update(test=0)),
        ("compared", "config.json", lambda told: told["settings"].update(methods=["none", "oracle"])),
        ("compared", "config.json", lambda told: told["settings"].update(methods=5)),
        ("compared", "config.json", lambda told: told["settings"]["training"].update(lr="fast")),
        ("compared", "config.json", lambda told: told["settings"].update(unknown=1)),
        ("compared", "config.json", lambda told: told.update(environment=3)),
        ("compared", "summary.json", lambda told: told["rows"][0].update(cost={"bytes_kept": "many"})),
        ("gaussian-0", "config.json", lambda told: told["settings"]["run"].update(seed=7)),
        ("gaussian-0", "config.json", lambda told: told["settings"].pop("run")),
        ("gaussian-0", "summary.json", lambda told: told.update(test_error="low")),
        ("gaussian-0", "summary.json", lambda told: told.update(epochs=True)),
    ],
)
def test_files_that_do_not_fit_end_in_one_sentence(copied, name, file, edit):
    folder = copied(name)
    change(folder / file, edit)
    with pytest.raises(
        DataError, match=r"must be the folder of a run (that this version can read|of `thinned compare`)"
    ):
        reading.read(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"must be JSON in each line, but it is damaged\.$"),
        (b"[" * 100_000, r"must be JSON in each line, but it is damaged\.$"),
        (b"3", r"must hold one record in each line, but one is another\.$"),
        (b'{"method": "none", "seed": 0}', r"must hold one record in each line, but one is another\.$"),
        (b'{"method": "none", "seed": 0, "epoch": 9, "seconds": 1}', r"but its files do not fit together\.$"),
        (b'{"method": "x", "seed": 0, "epoch": 1, "seconds": 1}', r"but its files do not fit together\.$"),
        (b'{"method": "none", "seed": 0, "epoch": 1' + b"0" * 5000 + b', "seconds": 1}', r"but it is damaged\.$"),
        (b'{"method": "none", "seed": 0, "epoch": 1, "seconds": 1' + b"0" * 400 + b"}", r"but one is another\.$"),
        (b"\xff", r"must be text in UTF-8, but it is not\.$"),
    ],
)
def test_lines_that_are_no_records(copied, line, message):
    folder = copied("compared")
    with (folder / "records.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match=message):
        reading.read(folder)


def test_files_that_are_too_large_or_not_there(copied, tmp_path):
    with pytest.raises(
        DataError, match=r"must be the folder of a run, but its config\.json: No such file or directory\.$"
    ):
        reading.read(tmp_path)
    folder = copied("compared")
    with (folder / "config.json").open("ab") as file:
        file.truncate(2**40)  # claimed, not written
    with pytest.raises(
        DataError, match=r"config\.json must have at most 1048576 bytes, as a run's has, but it is larger"
    ):
        reading.read(folder)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_or_are_read(root, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["compared", "gaussian-0"]))
    file = data.draw(st.sampled_from(["config.json", "records.jsonl", "summary.json"]))
    content = bytearray((root / name / file).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from(b'019-"{}[],:ne\n<'))
    folder = tmp_path_factory.mktemp("damaged")
    for other in ("config.json", "records.jsonl", "summary.json"):
        (folder / other).write_bytes((root / name / other).read_bytes())
    (folder / file).write_bytes(content)
    try:
        found = [reading.read(folder)]
    except DataError:
        found = []
    assert len(joined.numbers(found)["runs"]) == len(found)


# Joining


def test_runs_with_the_same_seed_are_paired(root):
    (found,) = runs.join(trained(root))
    assert [group.label for group in found.groups] == ["dropout.kind=standard", "dropout.kind=gaussian"]
    assert [sorted(group.test_errors) for group in found.groups] == [[0, 1, 2], [0, 1]]
    standard, gaussian = (group.test_errors for group in found.groups)
    wanted = paired.difference(
        "dropout.kind=gaussian", "dropout.kind=standard", [gaussian[0], gaussian[1]], [standard[0], standard[1]]
    )
    assert found.differences == (wanted,)
    assert found.verdicts == (paired.verdict(wanted),)


def test_only_what_is_alike_is_joined(root):
    done = trained(root)
    assert runs.join(done[:3]) == []  # seeds of one setting
    other = replace(done[3], config={**done[3].config, "data": {**done[3].config["data"], "fingerprint": "x"}})
    assert runs.join([done[0], other]) == []
    assert runs.join([done[0], replace(done[3], outcome=None)]) == []
    (found,) = runs.join([done[2], done[3]])  # seeds 2 and 0: nothing to pair
    assert found.differences == ()
    assert "1 row without a seed of the first cannot be compared" in joined.joined([done[2], done[3]])


def test_numbers_have_no_points(root):
    done = trained(root)
    changed = [
        replace(one, config={**one.config, "data": {**one.config["data"], "task": "regression"}}) for one in done
    ]
    (found,) = runs.join(changed)
    assert "points" not in found.verdicts[0]
    page = joined.joined(changed)
    assert "root of the mean squared error" in page
    assert "error, %" not in page


# The page


def test_a_page_about_all_runs(root):
    done = [reading.read(root / name) for name in ("compared", "standard-0", "gaussian-0")]
    text = joined.joined(done)
    assert_alone(Page(text), text)
    assert "<title>Report of 3 runs</title>" in text
    titles = ["Comparison of dropout: compared", "Training: standard-0", "Training: gaussian-0"]
    for i, title in enumerate(titles, 1):
        assert f'<a href="#run{i}">{title}</a>' in text
        assert f'<h2 id="run{i}">{title}</h2>' in text
    for verdict in (*done[0].summary.verdicts, *runs.join(done)[0].verdicts):
        assert f'<p class="verdict">{verdict}</p>'.replace(" %", "\N{NO-BREAK SPACE}%") in text
    intervals = any(found.low is not None for found in done[0].summary.differences)
    assert Page(text).tags.count("svg") == 4 + intervals + 1 + 2 * 7  # the comparison, the lines of both runs, each run


def test_the_same_numbers_as_json(root, tmp_path):
    done = [reading.read(root / "compared"), *trained(root)]
    records.write_json(tmp_path / "x.json", joined.numbers(done))
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["runs"]] == [one.name for one in done]
    assert told["runs"][0]["found"]["verdicts"] == list(done[0].summary.verdicts)
    assert told["runs"][1]["found"]["test_error"] == done[1].outcome.test_error
    assert len(told["runs"][0]["records"]) == 16
    (pair,) = told["joined"]
    assert pair["groups"][0]["test_errors"] == [one.outcome.test_error for one in done[1:4]]
    assert pair["verdicts"] == list(runs.join(done)[0].verdicts)


def test_a_run_that_is_not_done(copied):
    folder = copied("gaussian-0")
    (folder / "summary.json").unlink()
    for count, told in ((1, "Not done: 1 of 2 epochs."), (0, "Not done: 0 of 2 epochs.")):
        lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "records.jsonl").write_bytes(b"".join(lines[:count]))
        text = joined.joined([reading.read(folder)])
        assert told in text
        assert Page(text).open == []


def test_names_do_not_become_markup(copied, tmp_path):
    """Folders, data, notes, environments and methods are whatever somebody wrote into them."""
    found = []
    for name in ("compared", "gaussian-0", "standard-0"):
        folder = copied(name)

        def poison(told):
            told["data"].update(name=EVIL, note=EVIL)
            told["environment"][EVIL] = EVIL

        change(folder / "config.json", poison)
        if name != "compared":
            lines = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
            text = "".join(json.dumps({**line, "method": EVIL + "$x_{"}) + "\n" for line in lines)
            (folder / "records.jsonl").write_text(text, encoding="utf-8")
        moved = folder.rename(tmp_path / f"<script>{name}<")
        found.append(reading.read(moved))
    text = joined.joined(found)
    read = Page(text)
    assert_alone(read, text)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)") > 5
    assert "&amp;amp;" in text
    assert Path(found[0].folder).name == "<script>compared<"


def test_many_intervals_miss_more_often_than_one(root):
    found = trained(root)
    others = []
    for one in found[3:]:
        tables = one.config["settings"]
        changed = {**tables, "dropout": {**tables["dropout"], "p": 0.123}}
        others.append(replace(one, config={**one.config, "settings": changed}))
    said = "intervals misses in one of twenty such comparisons; some one of them more often."
    assert said not in joined.joined(found)
    assert f"Each of the 2 {said}" in joined.joined([*found, *others])
