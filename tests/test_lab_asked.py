"""Files that a network is asked about: every example in its order, columns found by name, with targets or without."""

import csv
import gzip
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from laboratory import Page, assert_alone, small

from thinned import data
from thinned._errors import DataError, RangeError
from thinned.data import Dataset, Split, Whole
from thinned.lab import predict as lab
from thinned.lab import run
from thinned.lab.checkpoint import packed, unpacked
from thinned.lab.config import DataSettings
from thinned_cli import predict  # noqa: F401, adds its command
from thinned_cli.commands import thinned

RANDOM = np.random.default_rng(5)
SIZE, AGE = RANDOM.normal(50, 9, 40).round(3), RANDOM.normal(-3, 2, 40).round(3)
KINDS = np.array(["lily", "oak", "rose"])[RANDOM.integers(0, 3, 40)]


def write(path, columns):
    """A table of columns by name."""
    with path.open("w", newline="", encoding="ascii") as file:
        csv.writer(file, lineterminator="\n").writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.fixture(scope="module")
def plants(tmp_path_factory):
    """A run on standardised features, whose file has a column that is left out."""
    root = tmp_path_factory.mktemp("plants")
    path = write(root / "plants.csv", {"id": range(40), "size": SIZE, "kind": KINDS, "age": AGE})
    described = {"name": str(path), "target": "kind", "drop": ["id"], "standardise": True}
    run.start(small(data=described, training={"epochs": 2}), root, "x")
    return root / "x"


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """A run on numbers, whose target is the last column."""
    root = tmp_path_factory.mktemp("prices")
    path = write(root / "prices.csv", {"size": SIZE, "age": AGE, "price": 3 * SIZE + AGE})
    run.start(small(data={"name": str(path), "standardise": True}, training={"epochs": 2}), root, "x")
    return root / "x"


def asked(folder, path, *, part=None, **options):
    return lab.predict(folder, passes=5, data=DataSettings(str(path), **options), part=part)


def table_of(found):
    heading, *rows = found.rows()
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_every_row_in_its_order(plants, tmp_path):
    """With targets, without, with columns in another order, with no names at all: the same rows are predicted alike."""
    whole = asked(plants, write(tmp_path / "a.csv", {"id": range(40), "size": SIZE, "kind": KINDS, "age": AGE}))
    told = {"name": "a", "part": "all", "examples": 40, "class_names": ("lily", "oak", "rose")}
    assert whole.about["data"] == told
    rows = table_of(whole)
    assert [row["example"] for row in rows] == [str(i) for i in range(40)]
    assert [row["target_name"] for row in rows] == KINDS.tolist()
    wrong = [row["target_name"] != row["predicted_name"] for row in rows]
    assert whole.about["error"] == pytest.approx(np.mean(wrong))
    bare = {"size": SIZE, "age": AGE}
    others = [
        asked(plants, write(tmp_path / "b.csv", dict(reversed(bare.items())))),
        asked(plants, write(tmp_path / "c.csv", {"seller": SIZE, **bare}), drop=("seller",)),
        asked(plants, write(tmp_path / "d.csv", {"kind": ["?"] * 40, **bare}), drop=("kind",)),
    ]
    (tmp_path / "e.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(SIZE, AGE, strict=True)), encoding="ascii")
    others.append(asked(plants, tmp_path / "e.csv"))
    for found in others:
        assert torch.equal(found.mean, whole.mean)
        assert found.targets is None
        without = [{k: v for k, v in row.items() if not k.startswith("target")} for row in rows]
        assert table_of(found) == without
        told = {"error", "error_without_dropout", "negative_log_likelihood", "expected_calibration_error"}
        assert told | {"reliability", "rejection_by_entropy"} == whole.about.keys() - found.about.keys()


def test_a_part_of_a_file_says_which_rows(plants, tmp_path):
    """The same rows as the run's own test part, which says which of its file they are."""
    path = write(tmp_path / "a.csv", {"id": range(40), "size": SIZE, "kind": KINDS, "age": AGE})
    own, other = lab.predict(plants, passes=5), asked(plants, path, part="test")
    assert table_of(own) == table_of(other)
    rows = [int(row["row"]) for row in table_of(own)]
    assert [row["target_name"] for row in table_of(own)] == KINDS[rows].tolist()
    put_aside = {
        part: lab.predict(plants, passes=2, part=part).source_rows.tolist() for part in ("train", "validation")
    }
    assert sorted(rows + put_aside["train"] + put_aside["validation"]) == [*range(40)]
    np.testing.assert_array_equal(lab.predict(plants, passes=2, part="train").targets,
                                  np.unique(KINDS, return_inverse=True)[1][put_aside["train"]])  # fmt: skip
    bare = write(tmp_path / "b.csv", {"size": SIZE, "age": AGE})
    with pytest.raises(DataError, match=r"^b must have targets, so that a part can be put aside, but has none\.$"):
        asked(plants, bare, part="test")


def test_numbers_without_targets(prices, tmp_path):
    whole = asked(prices, write(tmp_path / "a.csv", {"price": 3 * SIZE + AGE, "age": AGE, "size": SIZE}))
    np.testing.assert_allclose(whole.targets, 3 * SIZE + AGE, rtol=1e-5)
    found = asked(prices, write(tmp_path / "b.csv", {"age": AGE, "size": SIZE}))
    assert torch.equal(found.mean, whole.mean)
    assert list(table_of(found)[0]) == ["example", "mean", "variance"]
    assert whole.about.keys() - found.about.keys() == {
        "root_mean_squared_error", "root_mean_squared_error_without_dropout"
    }  # fmt: skip
    ordered = found.mean.sort().values
    told = [part["value"] for part in found.about["prediction_quantiles"]]
    assert told == [ordered[0], *(ordered[4 * i - 1] for i in range(1, 11))]
    one = write(tmp_path / "c.csv", {"size": SIZE[:1], "age": AGE[:1]})
    assert asked(prices, one).mean.shape == (1,)
    arrays = Whole("arrays", np.column_stack([SIZE, AGE]).astype(np.float32))
    np.testing.assert_allclose(lab.predict(prices, 5, data=arrays).mean, whole.mean, rtol=1e-6)


def test_a_checkpoint_from_before_the_target_had_a_name(prices, tmp_path):
    state = unpacked((prices / "checkpoints" / "best.pt").read_bytes(), "x")
    del state["meaning"]["target_name"]
    (tmp_path / "old.pt").write_bytes(packed(state))
    path = write(tmp_path / "a.csv", {"size": SIZE, "age": AGE, "price": SIZE})
    with pytest.raises(DataError, match=r"trained on, but has 'price'; leave them out \(`drop`\), or take one for th"):
        asked(tmp_path / "old.pt", path)
    assert asked(tmp_path / "old.pt", path, target="price").targets is not None


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            ("size", "age", "id", "x"),
            {},
            r"and the target 'kind', but has 'x'; leave them out \(`drop`\), or take one ",
        ),
        (("size", "age", "age"), {}, r"the target 'kind', but has 'age'; leave them out"),
        (
            ("size", "kind"),
            {},
            r"must have the features that the network was trained on, 'size', 'age', but has no 'age'",
        ),
        (("size", "age"), {"drop": ("size",)}, r"trained on, 'size', 'age', but has no 'size'; "),
        (("size", "age"), {"target": "kind"}, r"`target` must be one of the 2 columns of .*, named size, age, but got"),
        (("size", "age"), {"drop": ("id",)}, r"`drop` must be one of the 2 columns of .*, named size, age, but got dr"),
    ],
)
def test_tables_with_other_columns(plants, tmp_path, columns, options, message):
    path = tmp_path / "a.csv"
    path.write_text(",".join(columns) + "\n" + "1," * (len(columns) - 1) + "2\n", encoding="ascii")
    with pytest.raises(DataError, match=message):
        asked(plants, path, **options)


def test_tables_without_names(prices, tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{a},{b}" for a, b in zip(SIZE, AGE, strict=True)]
    wanted = asked(prices, write(tmp_path / "b.csv", {"size": SIZE, "age": AGE})).mean
    path.write_text("".join(f"7,{row}\n" for row in rows), encoding="ascii")
    for options in ({"drop": (0,)}, {"target": 0}):
        found = asked(prices, path, **options)
        assert torch.equal(found.mean, wanted)
        assert (found.targets is None) == ("drop" in options)
    with pytest.raises(
        DataError, match=r"`target` must be one of the 3 columns of .*, without names, but got target='p"
    ):
        asked(prices, path)
    path.write_text("".join(f"7,{row},8\n" for row in rows), encoding="ascii")
    with pytest.raises(
        DataError, match=r"must have 2 columns, one for each feature of the network, or one more for the t"
    ):
        asked(prices, path)
    assert torch.equal(asked(prices, path, drop=(0, 3)).mean, wanted)


def test_a_network_whose_table_had_no_names(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{kind},7,{a},{b}\n" for kind, a, b in zip(KINDS, SIZE, AGE, strict=True)]
    path.write_text("".join(lines), encoding="ascii")
    described = {"name": str(path), "target": 0, "drop": [1]}
    run.start(small(data=described, training={"epochs": 1}), tmp_path, "x")
    whole = asked(tmp_path / "x", path)
    assert [row["target_name"] for row in table_of(whole)] == KINDS.tolist()
    path.write_text("".join(line.partition("7,")[2] for line in lines), encoding="ascii")
    found = asked(tmp_path / "x", path)
    assert (found.targets, torch.equal(found.mean, whole.mean)) == (None, True)


def test_sparse_rows(tmp_path):
    """Fewer features than the network has, as its last ones do not occur; lines with targets and without."""
    rows = [f"{1 + i % 2}:1 {3 + i % 5}:0.5" for i in range(40)]
    (tmp_path / "train").write_text("".join(f"{i % 2} {row}\n" for i, row in enumerate(rows)), encoding="ascii")
    described = {"name": str(tmp_path / "train")}
    run.start(small(data=described, model={"kind": "sparse", "hidden": [6]}, training={"epochs": 1}), tmp_path, "x")
    kept = [1, 0, 5, 10]
    (tmp_path / "new").write_text("".join(f"{i % 2} {rows[i]} # {i}\n" for i in kept), encoding="ascii")
    (tmp_path / "bare").write_text("".join(f"{rows[i]}\n" for i in kept), encoding="ascii")
    labelled, bare = (asked(tmp_path / "x", tmp_path / name) for name in ("new", "bare"))
    assert labelled.targets.tolist() == [1, 0, 1, 0]
    assert (bare.targets, torch.equal(labelled.mean, bare.mean)) == (None, True)
    for line in ("1 1:1", "1:1 2", "1:nan"):
        (tmp_path / "bad").write_text(f"{rows[0]}\n{line}\n", encoding="ascii")
        with pytest.raises(DataError, match=rf"must have lines of INDEX:VALUE alone, .* but line 2 is '{line}'"):
            asked(tmp_path / "x", tmp_path / "bad")
    (tmp_path / "wide").write_text("1:1 99:1\n", encoding="ascii")
    with pytest.raises(
        DataError, match=r"`features` must be at least 99, which occurs in .*wide, but got features=7\."
    ):
        asked(tmp_path / "x", tmp_path / "wide")
    with pytest.raises(
        DataError, match=r"must have lines of a target and of INDEX:VALUE, .* but line 1 is '2:1 4:0\.5'"
    ):
        data.load(tmp_path / "bare")


def test_sparse_rows_for_a_perceptron(tmp_path):
    """Which takes them dense, absent features as zeros."""
    rows = [f"{1 + i % 2}:1 {3 + i % 5}:0.5" for i in range(40)]
    (tmp_path / "train").write_text("".join(f"{i % 2} {row}\n" for i, row in enumerate(rows)), encoding="ascii")
    run.start(small(data={"name": str(tmp_path / "train")}, training={"epochs": 1}), tmp_path, "x")
    (tmp_path / "bare").write_text(f"{rows[3]}\n{rows[0]}\n", encoding="ascii")
    dense = np.zeros((2, 7), np.float32)
    dense[[0, 0, 1, 1], [1, 5, 0, 2]] = [1, 0.5, 1, 0.5]
    wanted = lab.predict(tmp_path / "x", passes=5, data=Whole("dense", dense))
    assert torch.equal(asked(tmp_path / "x", tmp_path / "bare").mean, wanted.mean)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on images of bytes, and some of them."""
    root = tmp_path_factory.mktemp("images")
    pixels = RANDOM.integers(0, 256, (30, 4, 4), np.uint8)
    split = Split(pixels / np.float32(255), np.arange(30) % 3)
    run.start(small(training={"epochs": 1}), root, "x", data=Dataset("squares", split, split, 3))
    return root / "x", pixels[:7]


def test_images(images, tmp_path):
    folder, pixels = images
    header = bytes([0, 0, 8, 3, *(byte for size in pixels.shape for byte in size.to_bytes(4, "big"))])
    (tmp_path / "new.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    np.savez(tmp_path / "new.npz", x=pixels)
    np.savez(tmp_path / "test.npz", x_test=pixels)
    np.savez(tmp_path / "both.npz", x_train=pixels, y_train=np.arange(7) % 3, x_test=pixels)
    np.savez(tmp_path / "parts.npz", x_train=pixels, y_train=np.arange(7) % 3, x_test=pixels[:3], y_test=np.arange(3))
    wanted = lab.predict(folder, 5, data=Whole("pixels", pixels / np.float32(255))).mean
    for name in ("new.gz", "new.npz", "test.npz"):
        found = asked(folder, tmp_path / name)
        assert (found.targets, torch.equal(found.mean, wanted)) == (None, True)
    parts = asked(folder, tmp_path / "parts.npz")
    assert (parts.about["data"]["part"], parts.targets.tolist()) == ("test", [0, 1, 2])
    with pytest.raises(
        DataError, match=r"must hold one array of inputs, such as x, but holds x_train, y_train, x_test; k"
    ):
        asked(folder, tmp_path / "both.npz")
    with pytest.raises(
        DataError, match=r"must be a folder with the four files of MNIST, but it is a file; name the fold"
    ):
        data.load(tmp_path / "new.gz")
    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    with pytest.raises(DataError, match=r"must begin with the magic number 2051 of images, but begins with 2049"):
        asked(folder, tmp_path / "labels")
    (tmp_path / "short").write_bytes(header + bytes(5))
    with pytest.raises(DataError, match=r"claims 7 x 4 x 4 = 112 bytes of images, but cannot hold more than 5"):
        asked(folder, tmp_path / "short")
    (tmp_path / "words.txt").write_text("To be, or not to be.\n" * 9, encoding="ascii")
    with pytest.raises(
        RangeError, match=r"`data` must be of the kind that the network was trained on, but words is text"
    ):
        asked(folder, tmp_path / "words.txt")
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 5)))
    with pytest.raises(
        RangeError, match=r"numbers of shape \(16,\) with 3 outputs, but wide has numbers of shape \(5,\)"
    ):
        asked(folder, tmp_path / "wide.npz")


def test_images_that_are_cropped(tmp_path):
    pixels = RANDOM.random((12, 3, 8, 8)).astype(np.float32)
    split = Split(pixels, np.arange(12) % 2)
    for kind, more in (("mlp", {}), ("convnet", {"channels": [4]})):
        config = small(data={"crop": 5}, model={"kind": kind, "hidden": [8], **more}, training={"epochs": 1})
        run.start(config, tmp_path, kind, data=Dataset("squares", split, split, classes=2))
        found = lab.predict(tmp_path / kind, 5, data=Whole("new", pixels))
        assert torch.equal(found.mean, lab.predict(tmp_path / kind, 5, data=Dataset("new", split, split, 2)).mean)


def test_one_file_of_cifar_is_predicted_in_its_order(tmp_path):
    kinds = [7, 2, 9, 9, 0]
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(b"".join(bytes([kind]) + bytes([20 * kind]) * 3072 for kind in kinds))
    whole = data.read_whole(path)
    assert (whole.targets.tolist(), whole.inputs.shape) == (kinds, (5, 3, 32, 32))
    np.testing.assert_allclose(whole.inputs[:, 0, 0, 0], np.array(kinds) * 20 / 255, rtol=1e-6)


# On the command line


def test_the_command(plants, tmp_path):
    bare = write(tmp_path / "new.csv", {"age": AGE, "seller": SIZE, "size": SIZE})
    arguments = ["predict", plants, "--data", bare, "--drop", "seller", "--passes", 3, "--out", tmp_path / "p.csv"]
    result = CliRunner().invoke(thinned, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    told = result.stdout.splitlines()
    assert told[0] == "40 examples of new (all), 3 passes"
    assert "Entropy that a share of the examples does not exceed:" in told
    assert not any(word in result.stdout for word in ("error", "calibration", "Reliability", "rejected"))
    text = (tmp_path / "p.csv.html").read_text(encoding="utf-8")
    assert_alone(Page(text), text)
    assert Page(text).tags.count("svg") == 1
    assert not any(word in text for word in ("rightly", "Reliability", "Rejection"))
    stored = json.loads((tmp_path / "p.csv.json").read_text(encoding="utf-8"))
    assert sum(part["count"] for part in stored["predicted_classes"]) == 40
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        predicted = [int(row["predicted"]) for row in csv.DictReader(file)]
    counted = {part["number"]: part["count"] for part in stored["predicted_classes"]}
    assert counted == {number: predicted.count(number) for number in set(predicted)}


def test_a_file_to_test_on(plants, tmp_path):
    """Classes of both files together, and the test part alone."""
    columns = {"id": range(40), "size": SIZE, "kind": KINDS, "age": AGE}
    train, test = (write(tmp_path / f"{name}.csv", columns) for name in ("a", "b"))
    found = asked(plants, train, test=str(test), target="kind", drop=("id",))
    assert (found.about["data"]["part"], len(found.mean), found.source_rows) == ("test", 40, None)
