"""Readers of data: what they return, and that no file, however broken, gets past them."""

import gzip
import os
import struct
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thinned import data
from thinned._errors import DataError, MissingExtraError
from thinned.data import digits, idx

IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
LABELS = np.array([3, 0, 1, 1, 2], np.uint8)
NAMES = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:2],
    "t10k-labels-idx1-ubyte": LABELS[:2],
}


def idx_bytes(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def header(*shape):
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)


@pytest.fixture
def folder(tmp_path):
    for name, array in NAMES.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


def test_digits_split_is_stratified_and_fixed():
    loaded = data.load("digits")
    assert loaded.train.inputs.dtype == np.float32
    assert loaded.train.targets.dtype == np.int64
    assert loaded.train.inputs.max() == loaded.test.inputs.max() == 1.0
    assert loaded.train.inputs.min() == 0.0
    assert loaded.class_names == tuple("0123456789")
    everything = np.bincount(np.concatenate([loaded.train.targets, loaded.test.targets]))
    assert everything.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # scikit-learn's description
    assert np.bincount(loaded.test.targets).tolist() == [round(count / 5) for count in everything]
    again = digits.read()
    np.testing.assert_array_equal(again.test.inputs, loaded.test.inputs)
    together = np.concatenate([loaded.train.inputs, loaded.test.inputs]).reshape(1797, -1)
    assert len(np.unique(together, axis=0)) == 1797  # no image is in both parts


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"`sklearn` is needed here.*pip install 'thinned\[lab\]'"):
        data.load("digits")


def test_load_refuses_wrong_names_and_roots(tmp_path):
    with pytest.raises(
        DataError,
        match=r"`name` must be one of digits, artificial, mnist, fashion-mnist, cifar10, or .* name='imagenet'",
    ):
        data.load("imagenet")
    for name in ("digits", "artificial"):
        with pytest.raises(DataError, match=rf"`root` must be left out for {name}, which is no folder, but got root="):
            data.load(name, root=tmp_path)
    with pytest.raises(DataError, match=r"`root` must be left out for .*, which is a path, but got root="):
        data.load(tmp_path, root=tmp_path)
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataError, match=rf"`root` must be the folder with the files of {name}, but got root=None"):
            data.load(name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_folder(tmp_path, packed, dotted):
    for name, array in NAMES.items():
        path = tmp_path / ((name.replace("-idx", ".idx") if dotted else name) + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    loaded = data.load("mnist", root=tmp_path)
    assert loaded.name == tmp_path.name
    assert loaded.classes == 4
    assert loaded.train.inputs.dtype == np.float32
    np.testing.assert_array_equal(loaded.train.inputs, IMAGES.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(loaded.train.targets, LABELS)
    np.testing.assert_array_equal(loaded.test.inputs, loaded.train.inputs[:2])
    np.testing.assert_array_equal(loaded.test.targets, LABELS[:2])


def test_a_folder_is_recognised(folder):
    assert data.read(folder).train.inputs.shape == (5, 2, 3)
    (folder / "data_batch_1.bin").write_bytes(bytes(3073))
    (folder / "test_batch.bin").write_bytes(bytes(3073))
    assert data.read(folder).train.inputs.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.bin", "null\0.bin"])
def test_what_is_no_data(tmp_path, name):
    with pytest.raises(DataError, match=r"must be a file or a folder with data, but there is none; check the path"):
        data.read(tmp_path / name)


def test_packing_is_seen_from_the_content_not_from_the_name(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    np.testing.assert_array_equal(idx.read(folder / "train-images-idx3-ubyte", "images"), IMAGES)


@pytest.mark.parametrize("name", NAMES)
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{folder.name} must hold {name} or {name}\.gz, but holds neither"):
        data.load("mnist", root=folder)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere must be a folder with the four files of MNIST, but there is none"):
        data.load("mnist", root=tmp_path / "nowhere")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, str], ids=["folder", "pipe", "nothing"])
def test_what_is_no_file(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(DataError, match=r"x must be a file, but there is none that can be read"):
        idx.read(tmp_path / "x", "images")


def test_unknown_kind(folder):
    with pytest.raises(DataError, match=r"`kind` must be one of images, labels, but got kind='sounds'\."):
        idx.read(folder / "train-images-idx3-ubyte", "sounds")


BROKEN = {
    "empty": (b"", r"magic number 2051 of images, but begins with 0;"),
    "labels in place of images": (idx_bytes(LABELS), r"magic number 2051 of images, but begins with 2049;"),
    "wrong type": (b"\0\0\x0d\3" + bytes(12), r"magic number 2051 of images, but begins with 3331;"),
    "half a header": (header(5, 2, 3)[:9], r"must begin with a header of 16 bytes, but ends after 9;"),
    "no examples": (header(0, 28, 28), r"claims 0 x 28 x 28 = 0 bytes of images, but must hold at least one;"),
    "no pixels": (header(5, 0, 28), r"claims 5 x 0 x 28 = 0 bytes of images, but must hold at least one;"),
    "cut off": (idx_bytes(IMAGES)[:-1], r"claims 5 x 2 x 3 = 30 bytes of images, but .* 29; it was cut off"),
    "too long": (idx_bytes(IMAGES) + b"\0", r"claims 5 x 2 x 3 = 30 bytes of images, but holds more;"),
    "absurd": (header(2**32 - 1, 2**32 - 1, 2**32 - 1), r"= 79228162458924105385300197375 bytes.*at most 1073741824"),
    "absurd but allowed": (header(2**15, 2**15, 1), r"= 1073741824 bytes of images, but cannot hold more than"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case, packed):
    content, message = BROKEN[case]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    if packed and case == "cut off":
        message = message.replace(".* 29", "holds 29")
    with pytest.raises(DataError, match=rf"^\S*file .*{message}"):
        idx.read(path, "images")


def test_broken_gzip(tmp_path):
    whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (5, 20, 20), np.uint8)))
    for content, message in {
        whole[:-20]: "end-of-stream",
        whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]: "CRC check failed|while decompressing",
        whole + b"garbage": "Not a gzipped file",
        whole[:3]: "end-of-stream",
    }.items():
        path = tmp_path / "file.gz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"file\.gz must be readable to its end, but: .*({message}).*get the file"):
            idx.read(path, "images")


def peak_of_reading(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            idx.read(path, "images")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_follows_the_content_not_the_claim(tmp_path):
    path = tmp_path / "file"
    noise = np.random.default_rng(0).bytes(1_100_000)
    path.write_bytes(gzip.compress(header(2**15, 2**15, 1) + noise, 1))  # gzip could hold the 1 GiB that it claims
    assert peak_of_reading(path, "= 1073741824 bytes of images, but holds 1100000; it was cut off") < 2**24
    path.write_bytes(gzip.compress(header(10, 1, 1) + bytes(2**26), 1))
    assert peak_of_reading(path, "= 10 bytes of images, but holds more") < 2**21


def test_files_that_do_not_fit_together(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:4]))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte must hold .* but got 5 images and 4 labels;"):
        data.load("mnist", root=folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:2].reshape(2, 3, 2)))
    with pytest.raises(DataError, match=r"must hold images of one size, but got 2 x 3 and 3 x 2;"):
        data.load("mnist", root=folder)


def test_errors_are_built_in_errors_too(tmp_path):
    with pytest.raises(ValueError, match="must be a folder"):
        data.load("mnist", root=tmp_path / "nowhere")


@given(
    cut=st.integers(0, 46),
    changes=st.lists(st.tuples(st.integers(0, 45), st.integers(0, 255)), max_size=4),
    more=st.binary(max_size=4),
    packed=st.sampled_from(["no", "before", "after"]),
)
@example(cut=46, changes=[], more=b"", packed="no")
@example(cut=46, changes=[(7, 6), (11, 5), (15, 1)], more=b"", packed="no")
def test_mutated_files_give_data_or_an_error(cut, changes, more, packed):
    """Damage done before the packing, or to the packed file itself."""
    content = gzip.compress(idx_bytes(IMAGES), mtime=0) if packed == "after" else idx_bytes(IMAGES)
    damaged = bytearray(content[:cut] if packed != "after" else content[: len(content) * cut // 46])
    for place, value in changes:
        if place < len(damaged):
            damaged[place] = value
    damaged += more
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "file")
        path.write_bytes(gzip.compress(damaged) if packed == "before" else damaged)
        try:
            array, sentence = idx.read(path, "images"), ""
        except DataError as error:
            array, sentence = None, str(error)
        if array is None:
            assert sentence.startswith(f"{path} ")
            assert "\n" not in sentence
        elif packed != "after":
            assert damaged == idx_bytes(array)
