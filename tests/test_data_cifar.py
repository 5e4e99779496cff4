"""Files of CIFAR-10: what the reader returns, and that no file, however broken, gets past it."""

import os
import pickle
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinned import data
from thinned._errors import DataError
from thinned.data import cifar

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (60, 3, 32, 32), np.uint8)
LABELS = (np.arange(60) % 6).astype(np.uint8)
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def content(part=slice(None)):
    """The records of some examples, by the published format."""
    return b"".join(bytes([label]) + pixels.tobytes() for label, pixels in zip(LABELS[part], PIXELS[part], strict=True))


@pytest.fixture
def folder(tmp_path):
    for name, part in {
        "data_batch_1.bin": slice(0, 20),
        "data_batch_2_first25.bin": slice(20, 45),
        "test_batch.bin": slice(45, 60),
    }.items():
        (tmp_path / name).write_bytes(content(part))
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")  # the published one ends in an empty line
    return tmp_path


def test_folder(folder):
    loaded = data.load("cifar10", root=folder)
    assert (loaded.name, loaded.classes, loaded.note) == (folder.name, 10, "")
    assert loaded.class_names == NAMES
    assert loaded.train.inputs.dtype == np.float32
    assert loaded.train.targets.dtype == np.int64
    np.testing.assert_array_equal(loaded.train.inputs, PIXELS[:45].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(loaded.train.targets, LABELS[:45])
    np.testing.assert_array_equal(loaded.test.inputs, PIXELS[45:].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(loaded.test.targets, LABELS[45:])
    assert loaded.train.inputs.min() == 0.0
    assert loaded.train.inputs.max() == 1.0


def test_red_comes_first_and_rows_before_columns(tmp_path):
    record = np.zeros(3073, np.uint8)
    record[1 + 1024 + 2 * 32 + 5] = 255  # published: 1,024 red, 1,024 green, 1,024 blue; the first 32 are the first row
    (tmp_path / "one.bin").write_bytes(record.tobytes())
    assert np.argwhere(cifar.read(tmp_path / "one.bin").inputs).tolist() == [[0, 1, 2, 5]]


def test_without_a_file_of_names(folder):
    (folder / "batches.meta.txt").unlink()
    assert data.read(folder).class_names == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("batches.meta.txt", b"airplane\n", "must name the 10 classes, but does not"),
        ("batches.meta.txt", "\n".join(NAMES).encode() + b"\n\xff", "must name the 10 classes, but does not"),
        ("batches.meta.txt", b"a\n" * 10, "must give each class a name of its own, but does not"),
        ("batches.meta.txt", b"a" * 5000, "must hold at most 4096 bytes, but holds more"),
        ("batches.meta", pickle.dumps({"label_names": [*NAMES[:9]]}), "must name the 10 classes, but does not"),
        ("batches.meta", pickle.dumps({"label_names": [1] * 10}), "must name the 10 classes, but does not"),
        ("batches.meta", pickle.dumps({"label_names": 3}), "must name the 10 classes, but does not"),
        ("batches.meta", pickle.dumps([*NAMES]), "must name the 10 classes, but does not"),
        ("batches.meta", pickle.dumps(print), "must hold lists, strings and arrays of bytes alone, but has"),
    ],
)
def test_names_that_are_none(folder, name, content, message):
    (folder / "batches.meta.txt").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} {message}"):
        data.read(folder)


def keys(split):
    return {example.tobytes() for example in split.inputs}


@pytest.mark.parametrize("single", [False, True])
def test_without_a_test_file_a_fifth_of_each_class_is_put_aside(folder, single):
    (folder / "test_batch.bin").unlink()
    loaded = data.read(folder / "data_batch_1.bin" if single else folder)
    count = 20 if single else 45
    assert loaded.class_names == NAMES
    assert loaded.note == "A fifth of each class, drawn by a fixed seed, was put aside for testing."
    assert loaded.name == ("data_batch_1.bin" if single else folder.name)
    labels = np.bincount(LABELS[:count], minlength=10)
    assert np.bincount(loaded.test.targets, minlength=10).tolist() == [round(n / 5) for n in labels]
    assert len(loaded.train.targets) + len(loaded.test.targets) == count
    assert keys(loaded.train).isdisjoint(keys(loaded.test))
    scaled = PIXELS.astype(np.float32) / np.float32(255)
    known = {pixels.tobytes(): label for pixels, label in zip(scaled, LABELS, strict=True)}
    for split in (loaded.train, loaded.test):
        assert [known[example.tobytes()] for example in split.inputs] == split.targets.tolist()
    again = data.read(folder / "data_batch_1.bin" if single else folder)
    np.testing.assert_array_equal(again.test.inputs, loaded.test.inputs)


def test_too_few_to_put_any_aside(tmp_path):
    (tmp_path / "few.bin").write_bytes(content(slice(12)))  # no class has more than two
    said = r"few\.bin must hold at least 3 examples of one class.*but holds 12 in all; take more of the data\.$"
    with pytest.raises(DataError, match=said):
        data.read(tmp_path / "few.bin")


def test_folders_without_the_files(tmp_path):
    with pytest.raises(DataError, match=r"nowhere must be a folder with files of CIFAR-10, but there is none; check"):
        data.load("cifar10", root=tmp_path / "nowhere")
    (tmp_path / "test_batch.bin").write_bytes(content())
    with pytest.raises(DataError, match=r"must hold data_batch\*\.bin or data_batch_\[0-9\], but holds neither; put"):
        data.load("cifar10", root=tmp_path)


BROKEN = {
    "empty": (b"", r"must hold records of 3073 bytes, .* but has 0 bytes; get the file again\."),
    "cut off": (content(slice(2))[:-1], r"must hold records of 3073 bytes, .* but has 6145 bytes;"),
    "too long": (content(slice(2)) + b"\0", r"must hold records of 3073 bytes, .* but has 6147 bytes;"),
    "CIFAR-100": (bytes(3074 * 2), r"must hold records of 3073 bytes, .* but has 6148 bytes;"),
    "wrong label": (
        content(slice(3)) + bytes([10]) + bytes(3072),
        r"must hold classes from 0 to 9, but record 3 is of class 10; check",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(folder, case):
    broken, message = BROKEN[case]
    (folder / "data_batch_2_first25.bin").write_bytes(broken)
    with pytest.raises(DataError, match=rf"^\S*data_batch_2_first25\.bin {message}"):
        data.load("cifar10", root=folder)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, str], ids=["folder", "pipe", "nothing"])
def test_what_is_no_file(tmp_path, make):
    make(tmp_path / "x.bin")
    with pytest.raises(DataError, match=r"x\.bin must be a file, but there is none that can be read"):
        cifar.read(tmp_path / "x.bin")


def test_huge_files_are_refused_before_memory_is_taken(folder):
    with (folder / "data_batch_1.bin").open("wb") as file:
        file.truncate(3073 * 2**20)  # holes: nothing on the disk
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"_1\.bin must have at most 1073741824 bytes, but has 3222274048; take a"):
            data.load("cifar10", root=folder)
        (folder / "data_batch_1.bin").write_bytes(b"")
        for number in (1, 2):
            with (folder / f"data_batch_{number}.bin").open("wb") as file:
                file.truncate(3073 * 2**18)
        with pytest.raises(DataError, match=r"must hold at most 1073741824 bytes of one part, but holds 1611213849;"):
            data.load("cifar10", root=folder)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "x.bin").write_bytes(content(slice(2)))
    monkeypatch.setattr(os.path, "getsize", lambda _: 3 * 3073)
    with pytest.raises(DataError, match=r"x\.bin must be readable to its end, but became shorter meanwhile"):
        cifar.read(tmp_path / "x.bin")


def test_a_failing_disk(tmp_path, monkeypatch):
    (tmp_path / "x.bin").write_bytes(content(slice(2)))

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(DataError, match=r"x\.bin must be readable to its end, but: \[Errno 5\] Input/output error;"):
        cifar.read(tmp_path / "x.bin")


@given(
    cut=st.one_of(st.integers(0, 3), st.sampled_from([0.5, 1.25])),
    changes=st.lists(st.tuples(st.sampled_from([0, 1, 3072, 3073, 6146, 9218]), st.integers(0, 255)), max_size=4),
    more=st.binary(max_size=4),
)
def test_mutated_files_give_data_or_an_error(cut, changes, more):
    damaged = bytearray(content(slice(3))[: int(3073 * cut)])
    for place, value in changes:
        if place < len(damaged):
            damaged[place] = value
    damaged += more
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "file.bin")
        path.write_bytes(damaged)
        try:
            split, sentence = cifar.read(path), ""
        except DataError as error:
            split, sentence = None, str(error)
    if split is None:
        assert sentence.startswith(f"{path} ")
        assert "\n" not in sentence
    else:
        pixels = np.round(split.inputs.reshape(len(split.targets), -1) * 255).astype(np.uint8)
        again = np.concatenate([split.targets.astype(np.uint8)[:, None], pixels], axis=1)
        assert again.tobytes() == damaged
