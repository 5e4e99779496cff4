"""Checkpoints and folders of runs that lie: one sentence each, at once, and in no more memory than they have bytes."""

import io
import json
import os
import pickle
import resource
import shutil
import warnings
import zipfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laboratory import DATA, assert_same_run, processes, small
from test_lab_models import MODELS, placed
from test_lab_run import StopAt

from thinned._errors import DataError, RangeError, ThinnedError
from thinned.lab import archive, checkpoint, claims, models, predict, run
from thinned.lab.checkpoint import packed, unpacked
from thinned.lab.dropouts import KINDS, DropoutSettings
from thinned.lab.network import TAKEN, ModelSettings
from thinned.lab.train import add_masks

LARGE = 2**28  # bytes: more than is allowed to be taken


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    run.start(small(training={"epochs": 2}, dropout={"p": 0.3}), root, "x", data=DATA)
    return root / "x"


@pytest.fixture(scope="module")
def best(folder):
    return (folder / "checkpoints" / "best.pt").read_bytes()


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def sentence(path):
    """What a person is told who predicts with a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"^[^\n]*\.$") as caught:
            predict.predict(path, passes=2, data=DATA)
    return str(caught.value).removeprefix(str(path)).strip()


def told(path):
    """What is said of a file that may be whole."""
    try:
        run.restored(path)
    except DataError as error:
        return str(error)
    return ""


# What a checkpoint says


WRONG = "must hold the weights of the network that its settings describe, but"
BUILD = "must be a checkpoint that this version can build, but:"
UNFIT = "must be a whole checkpoint of `thinned train`, but parts of it do not fit."


def weights(state):
    return state["trainer"]["model"]


def put(*path):
    """What puts a value somewhere into a state."""
    *way, last, value = path

    def change(state):
        for step in way:
            state = state[step]
        state[last] = value

    return change


def endless():
    one = []
    one.append(one)
    return one


LIES = {
    "no settings": (lambda state: state.pop("config"), UNFIT),
    "settings of another kind": (put("config", 3), UNFIT),
    "an unknown network": (
        put("config", "model", "kind", "oracle"),
        f"{BUILD} `model.kind` must be one of mlp, convnet, vit, sparse, transformer, lstm, but got kind='oracle'.",
    ),
    "a layer of 10**12": (
        put("config", "model", "hidden", [10**12]),
        f"{BUILD} `hidden` must be at most 16777216 units a layer, but got hidden=1000000000000.",
    ),
    "layers of 2**24": (put("config", "model", "hidden", [2**24, 2**24]), f"{WRONG} 7.weight is missing."),
    "a layer of 2**24": (
        put("config", "model", "hidden", [2**24]),
        f"{WRONG} 1.weight is float32 of shape (16, 16), not float32 of shape (16777216, 16).",
    ),
    "10**6 layers": (
        put("config", "model", "hidden", [1] * 10_000),
        f"{BUILD} `hidden` must be at most 1000 layers, but got 10000.",
    ),
    "endless settings": (put("config", "model", "hidden", endless()), UNFIT),
    "other data": (
        put("shape", "inputs", [7]),
        f"{WRONG} 1.weight is float32 of shape (16, 16), not float32 of shape (16, 7).",
    ),
    "data of 10**30": (put("shape", "inputs", [10**30]), UNFIT),
    "data of 2**62": (put("shape", "inputs", [2**62]), UNFIT),
    "no data": (put("shape", "outputs", 0), UNFIT),
    "data in words": (put("shape", "outputs", "many"), UNFIT),
    "another network": (
        lambda state: put(
            "trainer",
            "model",
            models.build(ModelSettings(hidden=(8,)), DropoutSettings(), claims.settings(state)[1]).state_dict(),
        )(state),
        f"{WRONG} 1.weight is float32 of shape (8, 16), not float32 of shape (16, 16).",
    ),
    "a weight that is a number": (put("trainer", "model", "1.weight", 3), UNFIT),
    "weights in a list": (put("trainer", "model", [1, 2]), UNFIT),
    "a weight less": (lambda state: weights(state).pop("4.bias"), f"{WRONG} 4.bias is missing."),
    "a weight more": (put("trainer", "model", "9.weight", torch.ones(2)), f"{WRONG} has '9.weight' besides."),
    "a weight in float64": (
        lambda state: weights(state).update({"1.bias": weights(state)["1.bias"].double()}),
        f"{WRONG} 1.bias is float64 of shape (16,), not float32 of shape (16,).",
    ),
    "a weight in integers": (
        lambda state: weights(state).update({"1.bias": weights(state)["1.bias"].long()}),
        f"{WRONG} 1.bias is int64 of shape (16,), not float32 of shape (16,).",
    ),
    "nan": (
        lambda state: weights(state)["4.weight"].fill_(float("nan")),
        "must hold weights that are numbers, but some of 4.weight are nan or infinite.",
    ),
    "one infinity": (
        lambda state: weights(state)["1.bias"][3:4].fill_(float("inf")),
        "must hold weights that are numbers, but some of 1.bias are nan or infinite.",
    ),
    "names that are numbers": (put("meaning", "class_names", [1, 2, 3]), UNFIT),
    "a name twice": (put("meaning", "class_names", ["lily", "lily", "rose"]), UNFIT),
    "too few names": (put("meaning", "class_names", ["lily", "rose"]), UNFIT),
    "an unknown task": (put("meaning", "task", "poetry"), UNFIT),
    "a mean of nan": (
        put("meaning", "input_scaling", {"mean": torch.tensor([torch.nan]), "std": torch.ones(1)}),
        UNFIT,
    ),
    "no deviation": (put("meaning", "input_scaling", {"mean": torch.zeros(1), "std": torch.zeros(1)}), UNFIT),
    "a mean in float64": (
        put("meaning", "input_scaling", {"mean": torch.zeros(1).double(), "std": torch.ones(1)}),
        UNFIT,
    ),
    "a mean for nothing": (put("meaning", "input_scaling", {"mean": torch.zeros(1), "std": torch.ones(2)}), UNFIT),
    "a mean of 2**40": (
        put("meaning", "input_scaling", {name: torch.ones(1).expand(2**40) for name in ("mean", "std")}),
        UNFIT,
    ),
    "another version": (put("version", 2), "must be a checkpoint of version 1 of `thinned train`, but it is not."),
}


@pytest.mark.parametrize("name", LIES)
def test_what_a_checkpoint_says(best, tmp_path, name):
    change, message = LIES[name]
    state = unpacked(best, "x")
    change(state)
    (tmp_path / "x.pt").write_bytes(packed(state))
    assert sentence(tmp_path / "x.pt").startswith(message)


@pytest.mark.parametrize("shared", ["one number", "one row", "one tensor"])
def test_weights_that_share_their_memory(best, tmp_path, shared):
    """As large as the settings say, but not in the file."""
    state = unpacked(best, "x")
    width = 1024
    state["config"]["model"]["hidden"] = [width] * 6
    state["shape"]["inputs"] = [width]
    skeleton = models.skeleton(*(getattr(claims.settings(state)[0], part) for part in ("model", "dropout")),
                               claims.settings(state)[1])  # fmt: skip
    row, whole = torch.ones(width), torch.ones(width, width)
    made = {}
    for key, part in skeleton.state_dict().items():
        if part.shape == (width, width):
            made[key] = {"one number": row[:1], "one row": row, "one tensor": whole}[shared].expand(part.shape)
        else:
            made[key] = torch.ones(part.shape)
    state["trainer"] = {"model": made}
    (tmp_path / "x.pt").write_bytes(packed(state))
    size = (tmp_path / "x.pt").stat().st_size
    assert size < 8 * 2**20 < sum(part.nbytes for part in skeleton.parameters())
    told = sentence(tmp_path / "x.pt")
    assert told.startswith("must hold all weights of its network, which take 2")
    assert told.endswith(f"but has {size} bytes in all.")


def test_a_network_for_a_larger_machine(best, tmp_path, monkeypatch):
    (tmp_path / "x.pt").write_bytes(best)
    monkeypatch.setattr(os, "sysconf", lambda _: 10)
    assert "must fit into the memory of this machine, 0.0 GiB, but takes 0.0." in sentence(tmp_path / "x.pt")


def test_settings_of_a_machine_with_more_processors(best, tmp_path):
    state = unpacked(best, "x")
    state["config"]["run"]["threads"] = 10_000
    (tmp_path / "x.pt").write_bytes(packed(state))
    found = run.restored(tmp_path / "x.pt")
    assert found.config.run.threads is None
    assert found.config.model == small().model


# What every checkpoint that is whole says


def assert_fits(settings, dropped, shape, pruned=False):
    torch.manual_seed(0)
    model, skeleton = models.build(settings, dropped, shape), models.skeleton(settings, dropped, shape)
    if pruned:
        add_masks(model, {"0.weight_mask": torch.ones(1)})
    assert all(part.is_meta for part in skeleton.parameters())
    told = model.state_dict()
    claims.check_weights(skeleton, told, len(packed({"model": told})), "x")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dropout_is_what_it_claims(kind):
    assert_fits(*placed(kind))


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_what_it_claims(name):
    settings, shape = MODELS[name]
    for change in (
        {"initialisation": "orthogonal"},
        {"initialisation": "uniform", "init_scale": 0.1},
        {"norm": "batch"} if "norm" in TAKEN[settings.kind] else {"initialisation": "he"},
    ):
        assert_fits(ModelSettings(**{**vars(settings), **change}), DropoutSettings(), shape)
    if name in ("mlp", "convnet"):
        assert_fits(settings, DropoutSettings(), shape, pruned=True)


def test_a_skeleton_draws_no_random_numbers():
    before = torch.get_rng_state()
    models.skeleton(*MODELS["mlp"][:1], DropoutSettings(), MODELS["mlp"][1])
    assert torch.equal(torch.get_rng_state(), before)


# The file


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(parts, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def named(pickled, best):
    """A checkpoint that says something else of its tensors."""
    parts = members(best)
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    return zipped({**parts, name: pickled})


def flipped(best):
    """One bit of the largest weight is another."""
    with zipfile.ZipFile(io.BytesIO(best)) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size * ("/data/" in info.filename))
        content = archive.read(largest)
    at = best.index(content) + len(content) // 2
    return best[:at] + bytes([best[at] ^ 1]) + best[at + 1 :]


DAMAGED = "must be a checkpoint of `thinned train`, but it is damaged or something else."
PLAIN = "must hold tensors, numbers and texts as torch.save writes them, but"
FILES = {
    "nothing": (lambda _: b"", DAMAGED),
    "text": (lambda _: b"weights\n" * 100, DAMAGED),
    "a pickle": (lambda _: pickle.dumps({"version": 1}), DAMAGED),
    "the first half": (lambda best: best[: len(best) // 2], DAMAGED),
    "all but a byte": (lambda best: best[:-1], DAMAGED),
    "the second half": (lambda best: best[len(best) // 2 :], f"{PLAIN} its members claim more than the "),
    "something behind": (lambda best: best + b"\0", DAMAGED),
    "an archive of something else": (lambda _: zipped({"x/a": b"1"}), DAMAGED),
    "packed members": (lambda best: zipped(members(best), zipfile.ZIP_DEFLATED), f"{PLAIN} it has packed members."),
    "two that say what there is": (lambda best: zipped({**members(best), "y/data.pkl": b"."}), DAMAGED),
    "a large list of tensors": (
        lambda best: named(b"." * (archive.PICKLE + 1), best),
        f"{PLAIN} it takes more than 16777216 bytes to say which there are.",
    ),
    "many parts": (lambda best: named(b"\x80\x02" + b"N0" * 2**20 + b".", best), f"{PLAIN} it has too many parts."),
    "another protocol": (lambda best: named(pickle.dumps({"version": 1}, 4), best), DAMAGED),
    "an unknown opcode": (lambda best: named(b"\x80\x02\xff.", best), DAMAGED),
    "a function": (
        lambda best: named(pickle.dumps(Calls(os.mkdir, "made"), 2), best),
        f"{PLAIN} it has 'posix.mkdir'.",
    ),
    "an array of 2**40 bytes": (
        lambda best: named(pickle.dumps(Calls(bytearray, 2**40), 2), best),
        f"{PLAIN} it has '__builtin__.bytearray'.",
    ),
    "a tensor without its bytes": (
        lambda best: zipped({name: part[:8] if "/data/" in name else part for name, part in members(best).items()}),
        DAMAGED,
    ),
    "a byte of a weight": (flipped, DAMAGED),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_checkpoints(best, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = FILES[name]
    (tmp_path / "x.pt").write_bytes(make(best))
    assert sentence(tmp_path / "x.pt").startswith(message)
    with pytest.raises(DataError, match=r"^x "):  # as bytes, which a job sends round
        unpacked((tmp_path / "x.pt").read_bytes(), "x")
    assert not (tmp_path / "made").exists()


def ended(listed, end64=None):
    """The end of an archive whose list of members claims to be so long."""
    tail = b""
    if end64 is not None:
        tail = archive.END64 + bytes(36) + end64.to_bytes(8, "little") + bytes(8) + b"PK\x06\x07" + bytes(16)
    return tail + archive.END + bytes(8) + listed.to_bytes(4, "little") + bytes(6)


@pytest.mark.parametrize("end", [ended(2**31), ended(2**32 - 1, 2**40), ended(10, 2**40), ended(2**31, 10)])
def test_a_list_of_members_that_is_large(tmp_path, end):
    (tmp_path / "x.pt").write_bytes(bytes(100) + end)
    assert sentence(tmp_path / "x.pt") == f"{PLAIN} it takes more than 16777216 bytes to list its members."


def test_members_that_overlap(best, tmp_path):
    """A list that names one member again and again."""
    stream = io.BytesIO(best)
    with zipfile.ZipFile(stream, "a") as file:
        largest = max(file.infolist(), key=lambda info: info.file_size)
        file.infolist().extend(deepcopy(largest) for _ in range(100))
        file._didModify = True
    (tmp_path / "x.pt").write_bytes(stream.getvalue())
    size = (tmp_path / "x.pt").stat().st_size
    assert sentence(tmp_path / "x.pt") == f"{PLAIN} its members claim more than the {size} bytes that it has."


def test_a_checkpoint_of_more_than_4_gib_is_read(tmp_path, monkeypatch, best):
    """Its list of members ends in another way; that of an archive with so many members does too."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    (tmp_path / "x.pt").write_bytes(zipped(members(best)))
    assert archive.END64 in (tmp_path / "x.pt").read_bytes()
    assert predict.predict(tmp_path / "x.pt", passes=2, data=DATA).about["data"]["examples"] == 33


def bombs(root):
    """Files that claim much, and what they hold: at most a few MiB on the disk."""
    best = (root / "x" / "checkpoints" / "best.pt").read_bytes()
    yield named(pickle.dumps(Calls(bytearray, 2 * LARGE), 2), best)
    parts = members(best)
    yield zipped({**parts, "archive/data/99": bytes(LARGE)}, zipfile.ZIP_DEFLATED)
    state = unpacked(best, "x")
    state["meaning"]["input_scaling"] = {name: torch.ones(1).expand(LARGE) for name in ("mean", "std")}
    yield packed(state)
    state = unpacked(best, "x")
    for hidden in ([2**24, 2**24], [2**24] * 999):
        state["config"]["model"]["hidden"] = hidden
        yield packed(state)
    state = unpacked(best, "x")
    state["config"]["model"]["hidden"] = [2**24, 2**24]
    state["trainer"] = {"model": {f"{layer}.{kind}": torch.ones(1).expand(shape) for layer, *shapes in (
        (1, (2**24, 16), (2**24,)), (4, (2**24, 2**24), (2**24,)), (7, (3, 2**24), (3,)))
        for kind, shape in zip(("weight", "bias"), shapes, strict=True)}}  # fmt: skip
    yield packed(state)


def look(root, pipe):
    """Predict with each file in turn, in a process of its own; tell what is said, and the memory that it took."""
    torch.set_num_threads(1)
    predict.predict(root / "x", passes=2, data=DATA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = []
    for path in [*sorted(root.glob("bomb-*.pt")), root / "hole.pt"]:
        try:
            predict.predict(path, passes=2, data=DATA)
        except Exception as error:  # the other process waits
            told.append(type(error).__name__)
    pipe.send((told, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))


def test_memory_is_in_proportion_to_the_file(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "x")
    for number, content in enumerate(bombs(tmp_path)):
        assert len(content) < 4 * 2**20
        (tmp_path / f"bomb-{number}.pt").write_bytes(content)
    with (tmp_path / "hole.pt").open("wb") as file:  # a checkpoint behind a hole that is larger than any memory
        file.seek(2**40)
        file.write((folder / "checkpoints" / "best.pt").read_bytes())
    here, there = processes().Pipe()
    process = processes().Process(target=look, args=(tmp_path, there))
    process.start()
    there.close()  # so that there is an end, should the process have one
    told, taken = here.recv()
    process.join()
    assert told == ["DataError"] * 7
    assert taken < 2**26


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_a_sentence_or_are_read(folder, tmp_path, data):
    best = (folder / "checkpoints" / "best.pt").read_bytes()
    content = bytearray(best)
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        else:
            at = data.draw(st.integers(0, len(content) - 1))
            del content[at : at + data.draw(st.integers(1, 50))]
    (tmp_path / "x.pt").write_bytes(content)
    assert "\n" not in told(tmp_path / "x.pt")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.sampled_from([torch.ones(2), torch.tensor(3), 2**62, 10**400, "x" * 10**5]),
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_states_of_any_kind_end_in_a_sentence_or_are_read(folder, tmp_path, data):
    best = (folder / "checkpoints" / "best.pt").read_bytes()
    state = unpacked(best, "x")
    place = state
    while True:
        key = data.draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(VALUES)
        break
    (tmp_path / "x.pt").write_bytes(packed(state))
    assert "\n" not in told(tmp_path / "x.pt")


# A run that goes on


def interrupted(tmp_path, name="x", **sections):
    config = small(training={"epochs": 6, "optimizer": "adam"}, **sections)
    with pytest.raises(ZeroDivisionError, match=r"^$"):
        run.start(config, tmp_path, name, data=DATA, display=StopAt(15))
    return config, tmp_path / name


def rewrite(folder, change):
    path = sorted((folder / "checkpoints").glob("step-*.pt"))[-1]
    state = unpacked(path.read_bytes(), path)
    change(state)
    path.write_bytes(packed(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            LIES["a weight in float64"][0],
            r"checkpoints must hold the weights .*, but 1\.bias is float64 of shape \(16,\), ",
        ),
        (
            LIES["nan"][0],
            r"checkpoints must hold weights that are numbers, but some of 4\.weight are nan or infinite\.$",
        ),
        (put("trainer", 3), r"checkpoints must be a whole checkpoint"),
        (put("trainer", "optimizer", "state", 0, "exp_avg", torch.ones(3)), r"must be a whole checkpoint"),
        (
            put("trainer", "optimizer", "state", 0, "exp_avg", torch.ones(1).expand(16, 16)),
            r"must be a whole checkpoint",
        ),
        (put("trainer", "optimizer", "state", 0, "exp_avg", "text"), r"must be a whole checkpoint"),
        (put("trainer", "optimizer", {}), r"must be a whole checkpoint"),
        (put("trainer", "epochs_done", -1), r"but: `epochs_done` must not be negative"),
        (put("trainer", "epochs_done", 1.5), r"but: `epochs_done` must be a sequence of integers"),
        (put("trainer", "seconds", "long"), r"must be a whole checkpoint"),
        (put("progress", "best_value", "good"), r"must be a whole checkpoint"),
        (put("progress", "more", 1), r"must be a whole checkpoint"),
    ],
)
def test_states_that_no_run_goes_on_from(tmp_path, change, message):
    _, folder = interrupted(tmp_path)
    rewrite(folder, change)
    with pytest.raises(DataError, match=message):
        run.resume(folder, data=DATA)


def test_what_a_checkpoint_tells_the_optimizer_is_not_heard(tmp_path):
    """Momentum, decay and the rest come from the settings."""
    config, folder = interrupted(tmp_path)
    run.start(config, tmp_path, "whole", data=DATA)
    rewrite(folder, lambda state: state["trainer"]["optimizer"]["param_groups"][0].update(weight_decay=9.0, eps="x"))
    run.resume(folder, data=DATA)
    assert_same_run(tmp_path / "whole", folder)


def test_settings_of_another_network(tmp_path):
    _, folder = interrupted(tmp_path)
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for hidden, error, message in (
        (
            [17],
            DataError,
            r"config\.json must have model\.hidden = \[16\], as the run began with, but has \[17\]; put it",
        ),
        ([2**24, 2**24], RangeError, r"^The network and its gradients must fit into the memory of this machine, "),
    ):
        told["settings"]["model"]["hidden"] = hidden
        (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
        with pytest.raises(error, match=message):
            run.resume(folder, data=DATA)
    told["settings"]["model"]["hidden"] = [17]
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    for path in (folder / "checkpoints").iterdir():  # and so does the checkpoint say
        state = torch.load(path, weights_only=True)
        state["config"]["model"]["hidden"] = [17]
        torch.save(state, path)
    message = r"checkpoints must hold the weights .* 1\.weight is float32 of shape \(16, 16\), not float32 of"
    with pytest.raises(DataError, match=message):
        run.resume(folder, data=DATA)


def test_a_network_that_is_too_large_is_told_before_there_is_a_folder(tmp_path):
    with pytest.raises(RangeError, match=r"^The network and its gradients must fit into the memory of this machine, "):
        run.start(small(model={"hidden": [2**24, 2**24]}), tmp_path, "x", data=DATA)
    assert not (tmp_path / "x").exists()


def test_the_best_checkpoint_is_of_another_network(tmp_path):
    _, folder = interrupted(tmp_path)
    run.start(small(model={"hidden": [8]}, training={"epochs": 1}), tmp_path, "other", data=DATA)
    other = (tmp_path / "other" / "checkpoints" / checkpoint.BEST).read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", lambda *_, **__: None)
        (folder / "checkpoints" / checkpoint.BEST).write_bytes(other)
        with pytest.raises(
            DataError, match=r"best\.pt must hold the weights of the network that its settings describe, b"
        ):
            run.resume(folder, data=DATA)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"epochs": 3}', b"\xff", b"[" * 10**5])
def test_a_summary_that_is_none(copied, content):
    (copied / "summary.json").write_bytes(content)
    with pytest.raises(ThinnedError, match=r"summary\.json must be a whole checkpoint|summary\.json must be"):
        run.resume(copied, data=DATA)


def test_records_that_are_too_large(tmp_path):
    _, folder = interrupted(tmp_path)
    with (folder / "records.jsonl").open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(
        RangeError, match=r"records\.jsonl must have at most 268435456 bytes, as a run's has, but it is la"
    ):
        run.resume(folder, data=DATA)


def test_a_summary_that_is_too_large(copied):
    with (copied / "summary.json").open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(
        DataError, match=r"summary\.json must be of a run of `thinned train`, but it is far too large\.$"
    ):
        run.resume(copied, data=DATA)
