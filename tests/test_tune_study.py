"""A study that many processes share: every place is filled once, whoever is killed, and whatever they wait for."""

import multiprocessing
import os
import socket
from collections import Counter

import optuna
import pytest
from laboratory import processes
from optuna.trial import TrialState

from thinned.lab.tuning import study as studies
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.storage import StudyError, shown, url
from thinned.lab.tuning.study import Watch, ended, fill, lost, opened, place_of, put, worker

# Optuna warns where a trial is taken by hand, as these tests do.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")

GRID = Plan({}, {"p": [0.1, 0.2, 0.3], "lr": [0.1, 0.2]}, sampler="grid")


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    return url(None, tmp_path) if request.param == "sqlite" else f"journal:{tmp_path / 'log' / 'study.log'}"


def queue(study):
    return [place_of(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,))]


def take(storage, start, found):
    """What a process does that takes all it gets."""
    study = opened(storage, "x")
    start.wait()
    got = []
    while queue(study):
        got.append(study.ask().user_attrs.get("place"))
    found.put(got)


def vanish(storage):
    """Take a trial, and end without a word."""
    study = opened(storage, "x")
    study.ask().set_user_attr("worker", worker())
    os._exit(1)


def test_no_two_processes_take_the_same_trial(storage):
    study = opened(storage, "x", GRID, make=True)
    for place in range(24):
        put(study, Plan({}, {"p": [0.1]}), place)
    context = processes()
    start, found = context.Barrier(3), context.Queue()
    started = [context.Process(target=take, args=(storage, start, found)) for _ in range(3)]
    for process in started:
        process.start()
    counts = Counter(place for _ in started for place in found.get(timeout=120))
    for process in started:
        process.join()
    del counts[None]  # of those who wanted the last one
    assert counts == Counter(range(24))


def test_a_grid_has_each_point_in_one_place():
    points = [dict(point) for point in GRID.grid]
    assert len(points) == GRID.places(None) == GRID.places(100) == 6
    assert {(point["dropout.p"], point["training.lr"]) for point in points} == {
        (p, lr) for p in (0.1, 0.2, 0.3) for lr in (0.1, 0.2)
    }
    assert points == [dict(point) for point in Plan(**GRID.plain()).grid]  # the same for all who share the study
    other = Plan({"run": {"seed": 1}}, GRID.table, sampler="grid")
    assert points != [dict(point) for point in other.grid]


def test_only_what_is_missing_is_put_into_the_queue(storage):
    study = opened(storage, "x", GRID, make=True)
    fill(study, GRID, 4)
    fill(study, GRID, 4)
    assert queue(study) == [0, 1, 2, 3]
    done, failed, _running = (study.ask() for _ in range(3))
    assert done.suggest_categorical("dropout.p", [0.1, 0.2, 0.3]) == GRID.grid[0]["dropout.p"]
    study.tell(done, 0.5)
    study.tell(failed, state=TrialState.FAIL)
    fill(study, GRID, 6)
    assert queue(study) == [3, 1, 4, 5]
    assert [place_of(trial) for trial in ended(study)] == [0]


def test_a_trial_of_a_killed_worker_goes_back(storage):
    study = opened(storage, "x", GRID, make=True)
    fill(study, GRID, 2)
    process = processes().Process(target=vanish, args=(storage,))
    process.start()
    process.join()
    assert queue(study) == [1]
    Watch(study).look()
    assert queue(study) == [1, 0]
    study.ask()
    again = study.ask()
    assert again.user_attrs == {"place": 0, "lost": 1}
    assert again.suggest_categorical("training.lr", [0.1, 0.2]) == GRID.grid[0]["training.lr"]
    Watch(study).look()  # their workers have no name yet, but are not silent for long
    assert queue(study) == []


def test_workers_that_live_are_left_alone(storage):
    study = opened(storage, "x", GRID, make=True)
    fill(study, GRID, 3)
    mine, elsewhere, before = (study.ask() for _ in range(3))
    mine.set_user_attr("worker", worker())
    elsewhere.set_user_attr("worker", "another-host 1 1")
    before.set_user_attr("worker", f"{socket.gethostname()} {os.getpid()} 1")  # a process that had our number
    Watch(study).look()
    assert queue(study) == [2]
    Watch(study).look(all_of_them=True)
    assert sorted(queue(study)) == [0, 1, 2]


def test_a_worker_that_died_before_it_gave_its_name(storage, monkeypatch):
    study = opened(storage, "x", GRID, make=True)
    fill(study, GRID, 1)
    study.ask()
    watch = Watch(study)
    watch.look()
    assert queue(study) == []
    monkeypatch.setattr(studies, "SILENT", -1)
    watch.look()
    assert queue(study) == [0]


def test_a_heartbeat_that_stops(tmp_path):
    """What Optuna does for machines that cannot be looked at: its own query, with a heartbeat long ago."""
    study = opened(url(None, tmp_path), "x", GRID, make=True)
    fill(study, GRID, 1)
    trial = study.ask()
    trial.set_user_attr("worker", "another-host 1 1")
    backend = studies.backend(url(None, tmp_path), lost)
    backend.record_heartbeat(trial._trial_id)
    Watch(study).look()
    assert queue(study) == []
    with backend.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    Watch(study).look()
    assert queue(study) == [0]


def test_a_place_that_ends_its_workers_is_given_up_until_the_next_start(storage):
    study = opened(storage, "x", GRID, make=True)
    fill(study, GRID, 1)
    for _ in range(studies.MOST_LOST + 1):
        study.ask().set_user_attr("worker", "another-host 1 1")
        Watch(study).look(all_of_them=True)
    assert queue(study) == []
    fill(study, GRID, 1)
    assert queue(study) == [0]


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_what_is_drawn_is_a_function_of_the_place(tmp_path, sampler):
    """Whoever takes a trial, and however often it is taken, it begins with the same values; others have others."""

    def drawn(name, places):
        plan = Plan({}, {"p": {"low": 0.0, "high": 1.0}, "lr": {"low": 1e-3, "high": 1.0, "log": True}}, sampler)
        study = opened(f"journal:{tmp_path / name}", "x", plan, make=True)
        for place in places:
            put(study, plan, place)
        found = {}
        for place in places:
            trial = study.ask()
            found[place] = tuple(domain.draw(name, trial) for name, domain in plan.space.items())
        return found

    one, two = drawn("one", [0, 1, 2]), drawn("two", [2, 0, 2, 1])
    assert one == two
    assert len(set(one.values())) == 3


def test_storages_that_cannot_be_used(tmp_path):
    (tmp_path / "study.db").write_bytes(b"This is no database, and longer than a header of one would be." * 99)
    for storage, message in (
        (url(None, tmp_path), "file is not a database"),
        ("nothing://host/x", "nothing"),
        ("nonsense", "nonsense"),
        ("postgresql+nodriver://me:secret@host/x", r"postgresql\+nodriver://me:\*\*\*@host/x"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
    ):
        with pytest.raises(StudyError, match=rf"`storage` must be a storage that can be opened, but .*{message}"):
            opened(storage, "x", GRID, make=True)


def test_names_of_storages(tmp_path):
    assert shown("mysql://me:a:b@c@host/x") == "mysql://me:***@host/x"
    assert shown("journal:/a/b@c") == "journal:/a/b@c"
    folder = tmp_path / "with {braces} and spaces"
    folder.mkdir()
    assert opened(url(None, folder), "x", GRID, make=True) is not None
    assert (folder / "study.db").exists()
    assert opened(url(None, folder), "other") is None


def test_optuna_says_nothing(tmp_path, recwarn, capfd):
    study = opened(url(None, tmp_path), "x", GRID, make=True)
    study.optimize(lambda _: 1 / 0, n_trials=1, catch=(ZeroDivisionError,))
    Watch(study).look()
    assert [str(warning.message) for warning in recwarn if "optuna" in warning.filename] == []
    assert capfd.readouterr() == ("", "")
    assert multiprocessing.active_children() == []
    assert optuna.logging.get_verbosity() == optuna.logging.CRITICAL
