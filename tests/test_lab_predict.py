"""What a checkpoint predicts: as `thinned.predict` does, judged as one judges by hand, and told without loss."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laboratory import DATA, small, stripes

import thinned
from thinned import data
from thinned._errors import DataError, RangeError
from thinned.data import Dataset, Split
from thinned.lab import predict as lab
from thinned.lab import run, uncertainty
from thinned.lab.checkpoint import packed, unpacked


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on stripes whose data are given by hand."""
    config = small(dropout={"p": 0.3}, training={"epochs": 8, "lr": 0.5})
    folder = tmp_path_factory.mktemp("runs")
    run.start(config, folder, "x", data=DATA)
    return folder / "x"


def predicted(folder, **options):
    return lab.predict(folder, **{"passes": 20, "data": DATA, **options})


# Judging


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_bins_and_calibration_error(examples, bins):
    sure, right = (np.array(column) for column in zip(*examples, strict=True))
    found = uncertainty.reliability(torch.tensor(sure), torch.tensor(right), bins)
    error = 0.0
    for i, part in enumerate(found):
        low, high = i / bins, (i + 1) / bins
        mine = (sure > low) & (sure <= high) if i else sure <= high
        assert (part.low, part.high, part.count) == (low, high, mine.sum())
        if mine.any():
            assert part.accuracy == pytest.approx(right[mine].mean())
            assert part.confidence == pytest.approx(sure[mine].mean())
            error += mine.mean() * abs(right[mine].mean() - sure[mine].mean())
        else:
            assert (part.accuracy, part.confidence) == (None, None)
    assert uncertainty.calibration_error(found) == pytest.approx(error, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=50))
def test_rejection_keeps_the_least_uncertain(examples):
    doubt, right = zip(*examples, strict=True)
    kept = uncertainty.rejection(torch.tensor(doubt).double(), torch.tensor(right))
    by_doubt = sorted(range(len(doubt)), key=lambda i: (doubt[i], i))
    for i, part in enumerate(kept):
        left = len(doubt) - i * len(doubt) // 20  # in whole numbers: 20 shares, a twentieth each
        assert (part.rejected, part.count) == (i / 20, left)
        assert part.accuracy == pytest.approx(sum(right[j] for j in by_doubt[:left]) / left)


def test_shares_are_of_whole_examples():
    """In floats 0.7 * 90 is 62.99999999999999; 63 examples are rejected."""
    kept = uncertainty.rejection(torch.arange(90.0), torch.ones(90, dtype=torch.bool))
    assert kept[14].count == 90 - 63


# Predicting


def test_a_checkpoint_predicts_as_its_network_does(trained):
    found = predicted(trained, seed=5)
    model = run.restored(trained / "checkpoints" / "best.pt").model
    inputs = torch.from_numpy(DATA.test.inputs).flatten(1)
    wanted = thinned.predict(model, inputs, 20, 5, output="logits")
    for name in ("mean", "variance", "entropy", "mutual_information"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    right = found.mean.argmax(1).numpy() == DATA.test.targets
    about = found.about
    assert about["error"] == pytest.approx(1 - right.mean())
    plain = model(inputs).argmax(1).numpy() != DATA.test.targets
    assert about["error_without_dropout"] == pytest.approx(plain.mean())
    likelihood = np.log(found.mean.numpy()[np.arange(33), DATA.test.targets])
    assert about["negative_log_likelihood"] == pytest.approx(-likelihood.mean())
    assert about["rejection_by_entropy"][0]["accuracy"] == pytest.approx(right.mean())
    assert sum(part["count"] for part in about["reliability"]) == 33
    assert (about["drops"], about["passes"], about["seed"]) == (True, 20, 5)
    assert about["data"] == {"name": "stripes", "part": "test", "examples": 33}


def test_a_file_and_another_part(trained):
    file = trained / "checkpoints" / "best.pt"
    assert torch.equal(predicted(file).mean, predicted(trained).mean)
    assert predicted(trained, part="train").about["data"]["examples"] == 90


def test_the_table_and_the_json(trained, tmp_path):
    found = predicted(trained)
    beside = found.write(tmp_path / "p.csv")
    assert beside == tmp_path / "p.csv.json"
    assert json.loads(beside.read_text(encoding="utf-8")) == json.loads(json.dumps(found.about))
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["example", "target", "predicted", "entropy", "mutual_information", "p0", "p1", "p2"]
    assert [int(row["example"]) for row in rows] == list(range(33))
    assert [int(row["target"]) for row in rows] == DATA.test.targets.tolist()
    told = np.array([[float(row[f"p{i}"]) for i in range(3)] for row in rows])
    np.testing.assert_allclose(told, found.mean, rtol=1e-7)
    assert [int(row["predicted"]) for row in rows] == told.argmax(1).tolist()
    np.testing.assert_allclose([float(row["entropy"]) for row in rows], -(told * np.log(told)).sum(1), rtol=1e-5)


def named(names, seed=0, name="flowers"):
    """Stripes whose classes have names; the file that they are in numbers them by their order."""
    known = ("lily", "oak", "rose")
    number = np.array([names.index(each) if each in names else -1 for each in known])
    parts = [Split(part.inputs, number[part.targets]) for part in (stripes(90, seed), stripes(33, seed + 1))]
    parts = [part[part.targets >= 0] for part in parts]
    return Dataset(name, *parts, classes=len(names), class_names=names)


def table_of(found):
    heading, *rows = found.rows()
    return [dict(zip(heading, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def trained_on_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    config = small(dropout={"p": 0.3}, training={"epochs": 4, "lr": 0.1})
    run.start(config, folder, "x", data=named(("lily", "oak", "rose")))
    return folder / "x"


def test_names_of_classes(trained_on_names, tmp_path):
    data = named(("lily", "oak", "rose"))
    found = predicted(trained_on_names, data=data)
    found.write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    headings = ["example", "target", "target_name", "predicted", "predicted_name", "entropy", "mutual_information"]
    assert list(rows[0]) == [*headings, "p0", "p1", "p2"]
    for kind in ("target", "predicted"):
        assert [row[f"{kind}_name"] for row in rows] == [data.class_names[int(row[kind])] for row in rows]
    assert [int(row["target"]) for row in rows] == data.test.targets.tolist()
    told = json.loads((tmp_path / "p.csv.json").read_text(encoding="utf-8"))
    assert told["data"]["class_names"] == ["lily", "oak", "rose"]


@pytest.mark.parametrize("names", [("rose", "lily", "oak"), ("rose", "lily")])
def test_other_data_that_number_their_classes_otherwise(trained_on_names, names):
    """The same examples in another file, whose classes are in another order, or not all there."""
    data = named(("lily", "oak", "rose"))
    whole = table_of(predicted(trained_on_names, data=data))
    found = predicted(trained_on_names, data=named(names, name="others"))
    rows = table_of(found)
    kept = [row for row in whole if row["target_name"] in names]
    assert [row["target"] for row in rows] == [row["target"] for row in kept]
    if len(names) == 3:  # otherwise the masks are others, as they go by the number of an example
        assert rows == whole
    wrong = [row["target_name"] != row["predicted_name"] for row in rows]
    assert found.about["error"] == pytest.approx(np.mean(wrong))
    assert np.mean(wrong) < 0.3


def test_other_data_with_a_class_that_the_network_does_not_know(trained_on_names):
    message = r"trained on, 'lily', 'oak', 'rose', but trees has 'elm'\.$"
    with pytest.raises(RangeError, match=rf"^`data` must have no classes but those that the network was {message}"):
        predicted(trained_on_names, data=named(("lily", "oak", "elm"), name="trees"))


def test_a_checkpoint_from_before_names_were_kept(trained_on_names, tmp_path):
    """Its own data name the classes; of others nobody knows how they number them."""
    state = unpacked((trained_on_names / "checkpoints" / "best.pt").read_bytes(), "x")
    path = tmp_path / "old.pt"
    csv_file = tmp_path / "flowers.csv"
    split = named(("lily", "oak", "rose")).train
    rows = [",".join(map(str, [*row, ("lily", "oak", "rose")[kind]])) for row, kind in
            zip(split.inputs.reshape(90, 16).tolist(), split.targets, strict=True)]  # fmt: skip
    csv_file.write_text("\n".join(rows), encoding="ascii")
    state["config"]["data"]["name"] = str(csv_file)
    del state["meaning"]
    path.write_bytes(packed(state))
    assert "predicted_name" in table_of(lab.predict(path, passes=2))[0]
    assert "predicted_name" not in table_of(lab.predict(path, passes=2, data=data.read(csv_file)))[0]


def test_no_dropout_is_told(tmp_path):
    run.start(small(dropout={"kind": "none"}, training={"epochs": 1}), tmp_path, "x", data=DATA)
    found = predicted(tmp_path / "x")
    assert not found.about["drops"]
    assert float(found.mutual_information.max()) < 1e-12


# Every kind of network


def table(path, rows):
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="ascii")
    return {"name": str(path)}


def sparse_rows(path):
    random = np.random.default_rng(0)
    lines = [f"{i % 2} {1 + i % 2}:1 {random.integers(3, 9)}:0.5\n" for i in range(40)]
    path.write_text("".join(lines), encoding="ascii")
    return {"name": str(path)}


def text(path):
    path.write_text("the quick brown fox jumps over the lazy dog. " * 20, encoding="ascii")
    return {"name": str(path), "steps": 8}


@pytest.mark.parametrize(
    ("make", "sections", "outputs"),
    [
        (lambda _: {}, {"model": {"kind": "convnet", "channels": [4], "hidden": [8]}}, (359, 10)),
        (lambda _: {}, {"dropout": {"kind": "batchwise"}}, (359, 10)),
        (lambda _: {}, {"dropout": {"kind": "dropconnect"}}, (359, 10)),
        (sparse_rows, {"model": {"kind": "sparse", "hidden": [6]}}, (8, 2)),
        (text, {"model": {"kind": "transformer", "width": 8, "heads": 2, "layers": 1, "hidden": []}}, None),
        (text, {"model": {"kind": "lstm", "width": 8, "hidden": [8]}, "dropout": {"recurrent_p": 0.2}}, None),
    ],
    ids=["convnet", "batchwise", "dropconnect", "sparse", "transformer", "lstm"],
)
def test_networks_of_all_kinds(tmp_path, make, sections, outputs):
    described = make(tmp_path / "rows")
    config = small(**{**sections, "data": described, "training": {"epochs": 1}})
    run.start(config, tmp_path, "x")
    found = lab.predict(tmp_path / "x", passes=4)
    if outputs is None:
        shape = run.restored(tmp_path / "x" / "checkpoints" / "best.pt").shape
        parts = data.windows(data.read(described["name"]).test, 8)
        outputs = parts.targets.size, shape.outputs
        assert np.array_equal(found.targets, parts.targets.ravel())  # word by word, in order
    assert tuple(found.mean.shape) == outputs
    np.testing.assert_allclose(found.mean.sum(1), 1, rtol=1e-9)
    entropy = torch.special.entr(found.mean).sum(1)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-12)
    assert found.about["drops"]
    assert len(list(found.rows())) == 1 + outputs[0]


@pytest.mark.parametrize("standardised", [True, False])
def test_numbers_in_their_own_unit(tmp_path, standardised):
    random = np.random.default_rng(0)
    inputs = random.normal(5, 3, (80, 2))
    rows = np.column_stack([inputs, 1000 + 50 * inputs[:, 0] + random.normal(0, 1, 80)])
    described = {**table(tmp_path / "numbers.csv", rows.tolist()), "standardise": standardised}
    lr = 0.05 if standardised else 1e-9
    done = run.start(small(data=described, training={"epochs": 3, "lr": lr}), tmp_path, "x")
    found = lab.predict(tmp_path / "x", passes=50)
    source = data.read(tmp_path / "numbers.csv")
    np.testing.assert_allclose(found.targets, source.test.targets, rtol=1e-5)
    assert found.mean.shape == found.variance.shape == (16,)
    assert bool((found.variance > 0).all())
    prepared = data.standardise(source) if standardised else source
    scaling = prepared.target_scaling
    shift, unit = (scaling.mean.item(), scaling.std.item()) if scaling else (0, 1)
    model = run.restored(tmp_path / "x" / "checkpoints" / "best.pt").model
    by_hand = thinned.predict(model, torch.from_numpy(prepared.test.inputs), 50)
    np.testing.assert_allclose(found.mean, by_hand.mean[:, 0] * unit + shift, rtol=1e-6)
    np.testing.assert_allclose(found.variance, by_hand.variance[:, 0] * unit**2, rtol=1e-6)
    assert found.about["root_mean_squared_error_without_dropout"] == pytest.approx(done.test_error)
    error = np.sqrt(np.mean((found.mean - found.targets).numpy() ** 2))
    assert found.about["root_mean_squared_error"] == pytest.approx(error)
    assert next(found.rows()) == ["example", "row", "target", "mean", "variance"]
    np.testing.assert_allclose(found.targets, rows[found.source_rows, 2], rtol=1e-5)  # lines of the file
    state = unpacked((tmp_path / "x" / "checkpoints" / "best.pt").read_bytes(), "x")
    del state["meaning"]  # as it was before means and deviations were kept: those of its own data are found again
    (tmp_path / "old.pt").write_bytes(packed(state))
    assert torch.equal(lab.predict(tmp_path / "old.pt", passes=50).mean, found.mean)
    # The same rows as other data, and without the file that the network was trained on.
    (tmp_path / "numbers.csv").unlink()
    again = lab.predict(tmp_path / "x", passes=50, data=source)
    for name in ("mean", "variance", "targets", "source_rows"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    with pytest.raises(
        DataError, match=r"there is none; check the path\. The network was trained on them; other data c"
    ):
        lab.predict(tmp_path / "x")


def scaled(inputs, targets, task="regression", **more):
    part = Split(np.float32(inputs), np.asarray(targets))
    return Dataset("others", part, part, classes=len(more.get("class_names", ())), task=task, **more)


@pytest.fixture(scope="module")
def standardised(tmp_path_factory):
    """A run on standardised rows of two features, whose file is gone."""
    root = tmp_path_factory.mktemp("standardised")
    random = np.random.default_rng(1)
    inputs = random.normal([5, -300], [3, 40], (80, 2))
    rows = np.column_stack([inputs, 1000 + 50 * inputs[:, 0]])
    lines = ["size,depth,price", *(",".join(map(str, row)) for row in rows.tolist())]
    (root / "houses.csv").write_text("\n".join(lines), encoding="ascii")
    described = {"name": str(root / "houses.csv"), "standardise": True}
    run.start(small(data=described, training={"epochs": 2}, dropout={"p": 0.2}), root, "x")
    train = data.read(root / "houses.csv").train
    (root / "houses.csv").unlink()
    return root / "x", train


def test_other_rows_are_standardised_by_the_training(standardised):
    """By hand, in float64: as if each had been one more row of the training file."""
    folder, train = standardised
    inputs = np.random.default_rng(2).normal([4, -280], [3, 40], (12, 2)).astype(np.float32)
    targets = np.linspace(900, 1500, 12, dtype=np.float32)
    found = lab.predict(folder, passes=30, data=scaled(inputs, targets))
    mean, std = train.inputs.mean(0, np.float64), train.inputs.std(0, dtype=np.float64)
    of_targets = train.targets.mean(dtype=np.float64), train.targets.std(dtype=np.float64)
    model = run.restored(folder / "checkpoints" / "best.pt").model
    ready = torch.from_numpy((inputs - mean) / std).float()
    by_hand = thinned.predict(model, ready, 30)
    np.testing.assert_allclose(found.mean, by_hand.mean[:, 0] * of_targets[1] + of_targets[0], rtol=1e-5)
    np.testing.assert_allclose(found.targets, targets, rtol=1e-5)


def test_whole_numbers_are_numbers_where_the_training_had_numbers(standardised, tmp_path):
    """A short file has so few values that its reader takes them for classes."""
    folder, _ = standardised
    (tmp_path / "few.csv").write_text("5,-300,1200\n4,-280,1100\n" * 5, encoding="ascii")
    few = data.read(tmp_path / "few.csv")
    assert few.task == "classification"
    found = lab.predict(folder, passes=3, data=few)
    assert found.about["task"] == "regression"
    np.testing.assert_allclose(sorted(found.targets.tolist()), [1100, 1200], rtol=1e-5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            scaled(np.ones((4, 2)), np.ones(4, np.float32), feature_names=("depth", "size")),
            r"^`data` must have the features that the network was trained on, 'size', 'depth', in this order, but "
            r"others has 'depth', 'size'\.$",
        ),
        (
            scaled(np.ones((4, 3)), np.ones(4, np.float32)),
            r"^`data` must have examples of a shape that \(2,\) broadcasts to, as the means .* others has \(3,\)\.$",
        ),
        (
            scaled(np.ones((4, 2)), np.array([0, 1, 0, 1]), "classification", class_names=("a", "b")),
            r"^`data` must be for regression, as those of the training, but others is for classification\.$",
        ),
    ],
)
def test_other_data_that_do_not_fit(standardised, other, message):
    with pytest.raises(RangeError, match=message):
        lab.predict(standardised[0], passes=2, data=other)


def test_a_checkpoint_from_before_statistics_were_kept(standardised, tmp_path):
    state = unpacked((standardised[0] / "checkpoints" / "best.pt").read_bytes(), "x")
    del state["meaning"]
    (tmp_path / "old.pt").write_bytes(packed(state))
    other = scaled(np.ones((4, 2)), np.ones(4, np.float32))
    with pytest.raises(
        DataError, match=r"old\.pt must hold mean and deviation of its training data, so that other data"
    ):
        lab.predict(tmp_path / "old.pt", data=other)


def test_other_images_that_are_cropped(tmp_path):
    """Images of another size, out of which the middle is cut; each channel has one mean, whatever the size."""
    random = np.random.default_rng(3)

    def images(side, count):
        return Split(random.random((count, 3, side, side)).astype(np.float32), np.arange(count) % 2)

    trained_on = Dataset("squares", images(8, 40), images(8, 10), classes=2)
    config = small(data={"crop": 5, "standardise": True}, model={"kind": "convnet", "channels": [4], "hidden": [8]})
    run.start(config, tmp_path, "x", data=trained_on)
    larger = Dataset("larger", images(9, 4), images(9, 6), classes=2)
    found = predicted(tmp_path / "x", data=larger)
    pixels = trained_on.train.inputs.astype(np.float64)
    mean, std = (getattr(pixels, kind)((0, 2, 3), keepdims=True) for kind in ("mean", "std"))
    middle = ((larger.test.inputs - mean) / std)[:, :, 2:7, 2:7]
    model = run.restored(tmp_path / "x" / "checkpoints" / "best.pt").model
    by_hand = thinned.predict(model, torch.from_numpy(middle).float(), 20, output="logits")
    np.testing.assert_allclose(found.mean, by_hand.mean, rtol=1e-5)
    with pytest.raises(RangeError, match=r"^`crop` must be within the images, 4 x 4, but got crop=5\.$"):
        predicted(tmp_path / "x", data=Dataset("smaller", images(4, 4), images(4, 6), classes=2))


# What goes wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "rest"}, r"^`part` must be one of test, validation, train, all, but got part='rest'\.$"),
        (
            {"part": "all"},
            r"^`part` must be one of test, validation, train for stripes, which comes in parts, but got part='all'\.$",
        ),
        ({"part": "validation"}, r"^`part` must have examples, but stripes has none in its part validation\.$"),
        ({"passes": 0}, r"^`passes` must be at least 1, but got passes=0\.$"),
        (
            {"data": Dataset("wide", Split(np.zeros((3, 5), np.float32), np.zeros(3, np.int64)), DATA.test, 3)},
            r"^`data` must be like those of the training, numbers of shape \(16,\) with 3 outputs, but wide has",
        ),
        (
            {"data": Dataset("four", DATA.train, DATA.test, 4)},
            r"with 3 outputs, but four has numbers of shape \(16,\) with 4 outputs\.$",
        ),
    ],
)
def test_wrong_arguments(trained, options, message):
    with pytest.raises(RangeError, match=message):
        predicted(trained, **options)


def test_no_checkpoint(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.pt"):
        with pytest.raises(DataError, match=r"must be a checkpoint of `thinned train`, or the folder of a run, but"):
            lab.predict(path)


def test_a_network_whose_outputs_are_no_numbers_is_told(trained, tmp_path):
    state = unpacked((trained / "checkpoints" / "best.pt").read_bytes(), "x")
    for name in ("1.weight", "4.weight"):
        state["trainer"]["model"][name].fill_(1e30)
    (tmp_path / "x.pt").write_bytes(packed(state))
    with pytest.raises(DataError, match=r"must hold a network whose outputs are numbers, but some are nan or infinite"):
        predicted(tmp_path / "x.pt")


def test_text_takes_no_other_data(tmp_path):
    described = text(tmp_path / "words")
    run.start(small(data=described, model={"kind": "lstm", "hidden": [4]}, training={"epochs": 1}), tmp_path, "x")
    with pytest.raises(RangeError, match=r"^`data` must be left out for a network that was trained on text"):
        lab.predict(tmp_path / "x", data=data.read(tmp_path / "words"))
