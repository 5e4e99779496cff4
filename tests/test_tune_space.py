"""What can be searched: how it is written, what is refused, and what a trial's settings are."""

import pytest

from thinned._errors import KindError, RangeError
from thinned.lab.config import read as read_settings
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.reading import read, searched
from thinned.lab.tuning.request import request
from thinned.lab.tuning.space import Choices, Range, check, points, settled


@pytest.mark.parametrize(
    ("flag", "found"),
    [
        ("lr=1e-3..1e-1:log", {"training.lr": Range(1e-3, 1e-1, log=True)}),
        ("p=0..0.5:step=0.25", {"dropout.p": Range(0.0, 0.5, step=0.25)}),
        ("p=.1...5", {"dropout.p": Range(0.1, 0.5)}),
        ("dropout.p.2=0,0.5", {"dropout.p.2": Choices((0.0, 0.5))}),
        ("batch-size=16..128:step=16", {"training.batch_size": Range(16, 128, step=16)}),
        ("hidden=800,800|400", {"model.hidden": Choices(([800, 800], 400))}),
        ("hidden.1=8..64:log", {"model.hidden.1": Range(8, 64, log=True)}),
        ("optimizer=sgd, adam", {"training.optimizer": Choices(("sgd", "adam"))}),
        ("initialisation=he,glorot", {"model.initialisation": Choices(("he", "glorot"))}),
        ("input_options.replacement_value=0,7", None),
        ("dropout.input_options.replacement_value=0,7", {"dropout.input_options.replacement_value": Choices((0, 7))}),
    ],
)
def test_flags(flag, found):
    if found is None:
        with pytest.raises(RangeError, match=r"`input_options.replacement_value` is no setting"):
            read(dict([searched(flag)]))
    else:
        assert read(dict([searched(flag)])) == found


def test_tables_of_toml_with_dots_and_without():
    nested = {"dropout": {"p": {"1": [0.1, 0.2]}}, "training": {"lr": {"low": 0.1, "high": 1, "log": True}}}
    flat = {"dropout.p.1": [0.1, 0.2], "training.lr": {"low": 0.1, "high": 1.0, "log": True}}
    assert read(nested) == read(flat)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"lrr": [1, 2]}, RangeError, r"`lrr` is no setting that can be searched; did you mean training.lr\?"),
        ({"dropout.pp": [1, 2]}, RangeError, r"did you mean dropout.p\?"),
        ({"kind": ["none"]}, RangeError, "`kind` must be one setting, but it could be model.kind or dropout.kind"),
        ({"data.validation": [0.1]}, RangeError, "`data.validation` must be the same in all trials"),
        ({"run.seed": [0, 1]}, RangeError, "`run.seed` must be the same in all trials"),
        ({"lr.1": [0.1]}, RangeError, "must be a setting of a layer, counted from 1"),
        ({"p.0": [0.1]}, RangeError, "must be a setting of a layer, counted from 1"),
        ({"lr": [0.1, 0.1]}, RangeError, "`training.lr` must have each value once"),
        ({"lr": [0.1], "training.lr": [0.2]}, RangeError, "`training.lr` must be searched once"),
        ({"lr": []}, KindError, "`training.lr` must be searched over a list of values or a table"),
        ({"lr": 0.1}, KindError, "`training.lr` must be searched over a list of values or a table"),
        ({"lr": [{"a": 1}]}, KindError, "must have numbers, texts or lists"),
        ({"lr": {"low": 1, "high": 2, "steps": 3}}, RangeError, "low, high, log and step alone, but got steps"),
        ({"lr": {"low": 1}}, KindError, "must have numbers as low, high and step"),
        ({"lr": {"low": 1, "high": 10**400}}, KindError, "must have numbers as low, high and step"),
        ({"lr": {"low": float("nan"), "high": 1}}, KindError, "must have numbers as low, high and step"),
        ({"lr": {"low": 2, "high": 1}}, RangeError, "must have a low that is below its high, but got low=2, high=1"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, RangeError, "a low above 0, where log is true"),
        ({"lr": {"low": 1, "high": 2, "log": 1}}, KindError, "true or false as log, but got log=1"),
        ({"lr": {"low": 1, "high": 2, "step": 3}}, RangeError, "a step that fits between low and high"),
        ({"lr": {"low": 1, "high": 2, "step": 1, "log": True}}, RangeError, "and no log, but got step=1"),
        ({"optimizer": {"low": 1, "high": 2}}, RangeError, "over a list of values, as it is no number"),
        ({"batch_size": {"low": 1.5, "high": 2}}, KindError, "must have integers as low, high and step"),
        ({}, RangeError, "`search` must name at least one setting"),
    ],
)
def test_what_cannot_be_searched(table, error, message):
    with pytest.raises(error, match=message):
        read(table)


@pytest.mark.parametrize("flag", ["lr", "=1,2", "lr=", " =1"])
def test_flags_that_are_none(flag):
    with pytest.raises(RangeError, match=r"`search` must be NAME=VALUE,VALUE,... or NAME=LOW..HIGH"):
        searched(flag)


def test_settings_of_a_trial():
    tables = {"model": {"hidden": [32, 16]}, "dropout": {"kind": "block", "options": {"block_size": 3}}}
    values = {
        "dropout.p.2": 0.25,
        "dropout.kind.1": "standard",
        "dropout.options.block_size": 5,
        "model.hidden": 8,
        "model.hidden.2": 4,
        "training.optimizer": "adam",
    }
    config = settled(tables, values)
    assert config.model.hidden == (8, 4)
    assert config.dropout.p == (0.5, 0.25)
    assert config.dropout.kind == ("standard", "block")
    assert config.dropout.options == {"block_size": 5}
    assert config.training.lr == 0.001  # what the optimizer has by default
    assert tables["model"] == {"hidden": [32, 16]}
    assert tables["dropout"] == {"kind": "block", "options": {"block_size": 3}}
    with pytest.raises(RangeError, match=r"`dropout.p.3` must be of one of the 2 layers, but there is none"):
        settled(tables, {"dropout.p.3": 0.5})


def test_a_value_may_need_another_that_is_searched():
    check({}, read({"dropout.groups": [1, 100], "batch_size": [50, 100]}))
    with pytest.raises(RangeError, match="`groups` must be at most 50, the size of a batch, but got groups=100"):
        check({}, read({"dropout.groups": [1, 100]}))


def test_points_of_a_grid():
    space = {"dropout.p": Range(0.0, 0.35, step=0.1), "model.hidden": Choices(([8], [8, 8])), "x": Range(1, 2)}
    found = points(space)
    assert len(found) == len({str(point) for point in found}) == 4 * 2 * 2
    assert {point["dropout.p"] for point in found} == {0.0, 0.1, 0.2, 0.3}
    assert {point["model.hidden"] for point in found} == {"[8]", "[8, 8]"}
    with pytest.raises(RangeError, match=r"`dropout.p` must have a list of values or a step .* got 0.0..0.5;"):
        points({"dropout.p": Range(0.0, 0.5)})
    with pytest.raises(RangeError, match="must have at most 10000 values on a grid, but got 1000001"):
        points({"dropout.p": Range(0.0, 1.0, step=1e-6)})
    with pytest.raises(RangeError, match="A grid must have at most 10000 points, but got 1000000;"):
        points({name: Choices(tuple(range(100))) for name in "abc"})


def test_a_request_of_file_and_flags(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        "[model]\nhidden = [8]\n[tune]\ntrials = 7\nsampler = 'random'\n[tune.space]\np = [0.1, 0.5]\nlr = [0.1]\n",
        encoding="utf-8",
    )
    plan, trials = request(path, {"training.epochs": "2"}, ["lr=0.2,0.3"], pruner="none")
    assert trials == 7
    assert (plan.sampler, plan.pruner) == ("random", "none")
    assert plan.tables == {"model": {"hidden": [8]}, "training": {"epochs": 2}}
    assert plan.space == {"dropout.p": Choices((0.1, 0.5)), "training.lr": Choices((0.2, 0.3))}
    assert Plan(**plan.plain()).space == plan.space
    assert request(None, {}, trials=3) == (None, 3)  # to go on with what is there
    assert read_settings(path).model.hidden == (8,)  # the same file serves both commands


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("tune = 3", KindError, "`tune` must be a table"),
        ("[tune]\nspaces = 3", RangeError, r"`tune.spaces` is no setting; did you mean tune.space\?"),
        ("[tune]\nspace = 3", KindError, "`tune.space` must be a table"),
        ("[tune]\ntrials = 'x'", KindError, "`tune.trials` must be an integer, but got trials='x'"),
        ("[tune]\nsampler = 'x'\nspace.p = [0.1]", RangeError, "`sampler` must be one of tpe, gp, random, grid, but"),
        ("[tune]\npruner = 'x'\nspace.p = [0.1]", RangeError, "`pruner` must be one of median, hyperband, none, but"),
        ("[tune]\nspace.p = [1.5]", RangeError, r"`p` must be in \[0, 1\], but got p=1.5"),
    ],
)
def test_requests_that_cannot_be(tmp_path, text, error, message):
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        request(path, {})


def test_a_setting_is_searched_once():
    with pytest.raises(RangeError, match="`p` must be searched once"):
        request(None, {}, ["p=0.1", "p=0.2"])
