"""Settings of `thinned train`: from TOML and flags, checked, and written back."""

import re
import sys
import types

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from thinned._errors import KindError, MissingExtraError, RangeError
from thinned.lab.config import Config, names, read
from thinned.lab.dropouts import KINDS
from thinned_cli import tune  # noqa: F401  # a command of its own
from thinned_cli.train import FLAGS, HEADINGS, thinned
from thinned_cli.train import KINDS as KIND_LINES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(
    rates=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    lr=st.floats(1e-30, 1e30),
    seed=st.integers(0, 2**64 - 1),
    options=st.dictionaries(TEXTS, st.one_of(st.booleans(), TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(0, 1))),
    name=TEXTS,
    examples=st.one_of(st.none(), st.integers(1, 2**40)),
)
def test_what_is_written_is_read_back(rates, lr, seed, options, name, examples):
    config = Config.of(
        {
            "data": {"name": name, "examples": examples},
            "dropout": {"p": rates, "options": options},
            "training": {"lr": lr},
            "run": {"seed": seed},
        }
    )
    assert Config.of(config.tables()) == config
    if seed < 2**63:  # what TOML has
        assert Config.of(tomllib.loads(config.toml())) == config


def test_flags_override_the_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("[model]\nhidden = [8, 8]\n[training]\nlr = 1\nepochs = 7\n[dropout.options]\nshared_axes = [0]\n")
    config = read(
        path, {"training.lr": "0.5", "dropout.p": "0.1, 0.2", "dropout.kind": "gaussian,alpha", "data.name": None}
    )
    assert (config.training.epochs, config.training.lr, config.model.hidden) == (7, 0.5, (8, 8))
    assert (config.dropout.p, config.dropout.kind) == ((0.1, 0.2), ("gaussian", "alpha"))
    assert config.dropout.options == {"shared_axes": [0]}
    assert read(path, {"dropout.options": "block_size=5,couple=true,mode=x"}).dropout.options == {
        "block_size": 5,
        "couple": True,
        "mode": "x",
    }
    assert read(None, {"run.tensorboard": True, "model.hidden": "5", "dropout.p": "0.25"}).tables() == {
        **Config().tables(),
        **Config.of({"run": {"tensorboard": True}, "model": {"hidden": [5]}, "dropout": {"p": 0.25}}).tables(),
    }


def test_every_setting_has_a_flag():
    assert sorted(setting for _, setting, _ in FLAGS) == sorted(names())
    assert len({flag for flag, _, _ in FLAGS}) == len(FLAGS)
    assert sorted(HEADINGS) == sorted({setting.partition(".")[0] for setting in names()})


def test_help_names_every_kind_of_dropout():
    told = [kind for line in KIND_LINES.splitlines()[2:] for kind in line[23:].split(", ") if kind]
    assert sorted(told) == sorted(KINDS)


@pytest.mark.parametrize("command", ["train", "tune"])
def test_help_has_each_flag_under_its_section(command):
    told = CliRunner().invoke(thinned, [command, "--help"], terminal_width=100).output
    parts = re.split(r"^(\S.*) \(\[(\w+)\] in a file\):$", told, flags=re.MULTILINE)
    sections = {section: re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)
                for section, text in zip(parts[2::3], parts[3::3], strict=True)}  # fmt: skip
    wanted = {}
    for flag, setting, _ in FLAGS:
        wanted.setdefault(setting.partition(".")[0], []).append(flag)
    assert sections == wanted
    assert "--help" in parts[0]
    assert parts[0].count("SETTINGS.TOML") == 1  # how it is called, and no option


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"modle": {}}, RangeError, r"^`modle` is no setting; did you mean model\?$"),
        ({"lr": 0.1}, RangeError, r"^`lr` is no setting; did you mean training\.lr\?$"),
        ({"training": {"learning_rate": 1}}, RangeError, r"^`training\.learning_rate` is no setting; did you mean tra"),
        (
            {"training": {"hidden": [1]}},
            RangeError,
            r"^`training\.hidden` is no setting; did you mean model\.hidden\?$",
        ),
        ({"training": {"weight_decy": 1}}, RangeError, r"did you mean training\.weight_decay\?$"),
        ({"training": 3}, KindError, r"^`training` must be a table of settings, but got training=3\.$"),
        (
            {"training": {"epochs": 2.0}},
            KindError,
            r"^`training\.epochs` must be an integer, but got .*=2\.0 of type fl",
        ),
        ({"training": {"epochs": True}}, KindError, r"^`training\.epochs` must be an integer, but got .*=True of type"),
        ({"training": {"lr": "big"}}, KindError, r"^`training\.lr` must be a number or left out, but got .*'big' of"),
        ({"training": {"lr": 10**400}}, RangeError, r"^`training\.lr` must be a number that fits in a float"),
        ({"model": {"hidden": 5}}, KindError, r"^`model\.hidden` must be a list or left out, but got model\.hidden=5"),
        ({"model": {"hidden": ["a"]}}, KindError, r"^`model\.hidden` must be an integer, but got model\.hidden='a'"),
        ({"run": {"tensorboard": 1}}, KindError, r"^`run\.tensorboard` must be true or false, but got"),
        ({"dropout": {"options": 1}}, KindError, r"^`dropout\.options` must be a table, but got"),
        (
            {"dropout": {"kind": "dropuot"}},
            RangeError,
            r"^`dropout\.kind` must be one of none, torch, .* kind='dropuot'",
        ),
        ({"dropout": {"p": [0.5, 1.5]}}, RangeError, r"^`p` must be in \[0, 1\], but got p=1\.5\.$"),
        ({"dropout": {"groups": 51}}, RangeError, r"^`groups` must be at most 50, the size of a batch, but got groups"),
        (
            {"dropout": {"kind": ["batchwise", "none"]}},
            RangeError,
            r"^`dropout\.kind` must be batchwise for all hidden layers",
        ),
        ({"data": {"validation": 1}}, RangeError, r"^`validation` must be in \[0, 1\), but got validation=1\.0\.$"),
        ({"run": {"threads": 10**6}}, RangeError, r"^`threads` must be at most \d+, the number of processors, but got"),
        (
            {"run": {"device": "tpu"}},
            RangeError,
            r"^`device` must be \"auto\" or \"cpu\" or \"cuda\", but got device='t",
        ),
        ({"penalties": {"l1": -1.0}}, RangeError, r"^`l1` must be a finite number of at least 0, but got l1=-1\.0\.$"),
        ({"penalties": {"prune": 0.5, "max_norm": 3.0}}, RangeError, r"^`max_norm` must be 0 where weights are pruned"),
        (
            {"penalties": {"prune": 0.5}, "dropout": {"kind": "batchwise"}},
            RangeError,
            r"^`prune` must be 0 except for mlp and convnet without batchwise dropout, but got prune=0\.5\.$",
        ),
    ],
)
def test_wrong_settings(tables, error, message):
    with pytest.raises(error, match=message):
        Config.of(tables)


def test_wrong_flags():
    with pytest.raises(KindError, match=r"^`training\.epochs` must be an integer, but got training\.epochs='many'\.$"):
        read(None, {"training.epochs": "many"})
    with pytest.raises(RangeError, match=r"^`tranning` is no setting; did you mean training\?$"):
        read(None, {"tranning.epochs": "1"})


def test_files_that_are_no_settings(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(
        RangeError, match=r"x\.toml must be a TOML file that can be read, but: No such file or directory\.$"
    ):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RangeError, match=r"x\.toml must be a TOML file, but it is no text in UTF-8\.$"):
        read(path)
    path.write_text("a = ")
    with pytest.raises(RangeError, match=r"x\.toml must be a TOML file, but: Invalid value"):
        read(path)
    path.write_text("training = 3")
    with pytest.raises(KindError, match=r"^`training` must be a table of settings, but got training=3\.$"):
        read(path, {"training.lr": "1"})
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(
        RangeError, match=r"x\.toml must have at most 1048576 bytes, as settings do, but it is larger\.$"
    ):
        read(path)


def test_before_tomllib(tmp_path, monkeypatch):
    """Python 3.10 has no tomllib; the package that it was made from takes its place."""
    (tmp_path / "x.toml").write_text("[training]\nepochs = 3\n")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(MissingExtraError, match=r"`tomli` is needed here.* run: pip install 'thinned\[lab\]'"):
        read(tmp_path / "x.toml")
    monkeypatch.setitem(sys.modules, "tomli", types.SimpleNamespace(loads=tomllib.loads, TOMLDecodeError=ValueError))
    assert read(tmp_path / "x.toml").training.epochs == 3
