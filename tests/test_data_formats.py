"""Formats of data: what each reader returns, how a format is recognised, and what is refused."""

import gzip
import pickle
import tracemalloc
from zipfile import ZIP_BZIP2, ZIP_STORED

import numpy as np
import pytest
import torch
from files_of_data import ARCHIVE, LABELS, LIBSVM, PIXELS, TABLE, TEXT, WHOLE, Calls, npy, npz, python_batch, zipped

from thinned import data
from thinned._errors import DataError, MissingExtraError, RangeError
from thinned.data import FORMATS, Sparse, formats


@pytest.fixture
def put(tmp_path):
    """Write a file and return its path."""

    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# Recognising


@pytest.mark.parametrize("kind", WHOLE)
def test_a_format_is_recognised(put, kind):
    name, content = WHOLE[kind]
    path = put(content, name)
    assert formats._recognised(path) == {"packed": "libsvm"}.get(kind, kind)


@pytest.mark.parametrize(
    ("content", "name", "format"),
    [
        (TABLE, "data", "table"),
        ("1 2 3\n4 5 6\n", "data.txt", "table"),
        ("5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n", "iris.data", "table"),
        ("+1 " + "1:1 " * 50_000, "wide", "libsvm"),
        ("1986\nThe year after.\n", "story", "text"),
        ("In 1:2 the line begins.\n", "verse", "text"),
        ("é" * 40_000, "long", "text"),  # the first bytes end within a character
    ],
)
def test_content_tells_the_format(put, content, name, format):
    assert formats._recognised(put(content, name)) == format


def test_what_is_in_no_format(put):
    with pytest.raises(
        DataError, match=r"file must be in a known format, but is not: a folder or one file of CIFAR-10; "
    ):
        data.read(put(b"\x7fELF\0\0\xff"))
    with pytest.raises(DataError, match=r"file must hold data, but is empty; get the file again"):
        data.read(put(b""))
    with pytest.raises(
        DataError, match=r"`format` must be one of cifar10, idx, npz, libsvm, table, text, but got forma"
    ):
        data.read(put(TABLE), format="arff")


def test_a_format_can_be_named(put):
    path = put("1 2\n3 4\n" * 10)
    assert data.load(path).task == "classification"
    assert data.load(path, format="text").task == "text"


def test_options_that_a_format_does_not_take(put):
    with pytest.raises(DataError, match=r"Options of text must be among test, test_share, but got target=1\."):
        data.load(put(TEXT), target=1)
    with pytest.raises(DataError, match=r"Options of digits must be left out, but got task='regression'\."):
        data.load("digits", task="regression")
    for name in FORMATS:
        assert "path" not in FORMATS[name].options
    assert FORMATS["table"].options == ("test", "task", "target", "drop", "header", "delimiter")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("a.train", "a.test"),
        ("train.csv", "test.csv"),
        ("a9a", "a9a.t"),
        ("a9a.gz", "a9a.t"),
        ("x.txt.train", "x.txt.test"),
    ],
)
def test_a_folder_with_two_files(tmp_path, train, test):
    lines = ["1,2,0\n", "3,4,1\n"]
    (tmp_path / train).write_bytes(
        gzip.compress("".join(lines).encode()) if train.endswith("gz") else "".join(lines).encode()
    )
    (tmp_path / test).write_text(lines[1], encoding="ascii")
    (tmp_path / ".hidden").touch()
    loaded = data.load(tmp_path)
    assert len(loaded.train.targets) == 2
    assert loaded.test.inputs.tolist() == [[3, 4]]


def test_a_folder_with_other_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("1 2\n", encoding="ascii")
    with pytest.raises(
        DataError, match=r"or one file, or two of which one is to test on, but holds 2 files that are none"
    ):
        data.load(tmp_path)


def test_a_folder_named_as_a_format(tmp_path):
    with pytest.raises(
        DataError, match=r"must hold data_batch\*\.bin or data_batch_\[0-9\], but holds neither; put the"
    ):
        data.load(tmp_path, format="cifar10")


# CIFAR-10, python format


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_pickled_cifar(tmp_path, protocol, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    (folder / "data_batch_1").write_bytes(python_batch(PIXELS[:4], LABELS[:4], protocol))
    (folder / "data_batch_2").write_bytes(python_batch(PIXELS[4:], LABELS[4:], protocol))
    (folder / "test_batch").write_bytes(python_batch(PIXELS[:2], LABELS[:2], protocol))
    names = [f"kind {i}" for i in range(10)]
    meta = {b"num_cases_per_batch": 4, b"label_names": [name.encode() for name in names], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    for loaded in (data.load("cifar10", tmp_path), data.load(tmp_path)):
        expected = PIXELS.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(loaded.train.inputs, expected)
        np.testing.assert_array_equal(loaded.train.targets, LABELS)
        np.testing.assert_array_equal(loaded.test.inputs, expected[:2])
        assert loaded.class_names == tuple(names)


def test_a_batch_as_python_2_wrote_it(put):
    """By hand, as Python 2's cPickle did: strings of bytes, and names of NumPy 1."""
    content = (
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x03K\x01eU\x04dataq\x04"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x18\x00\x00"
        + PIXELS[:2].tobytes()
        + b"tbu."
    )
    assert pickle.loads(content, encoding="bytes")[b"labels"] == [3, 1]
    read = data.cifar.read(put(content))
    np.testing.assert_array_equal(read.inputs.reshape(2, -1), PIXELS[:2] / np.float32(255))
    assert read.targets.tolist() == [3, 1]


ran = []
PICKLES = {
    "code": (pickle.dumps(Calls(ran.append, 1)), r"but has builtins\.getattr; check where it comes from"),
    "a system call": (pickle.dumps(Calls(__import__("os").system, "true")), r"but has posix\.system; check where"),
    "code in the old protocol": (b"\x80\x02cos\nsystem\n(S'true'\ntR.", r"but has os\.system; check where"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", r"but has the opcode INST; check where"),
    "an object": (pickle.dumps({1, 2}), r"but has the opcode EMPTY_SET; check where"),
    "a key that is no string": (pickle.dumps({(1,): 1}, 2), r"but has a key of type tuple; check where"),
    "floats": (python_batch(PIXELS.astype(np.float64)), r"but has a call of numpy\.dtype with 'f8'; check where"),
    "objects": (python_batch(np.array([None])), r"but has a call of numpy\.dtype with 'O8'; check where"),
    "a persistent object": (b"\x80\x02Px\n.", r"but has the opcode PERSID; check where"),
    "a registered class": (b"\x80\x02\x82\x01.", r"but has the opcode EXT1; check where"),
    "no end": (python_batch()[:-1], r"must be a whole pickle, but: "),
    "cut off": (python_batch()[:9000], r"must be a whole pickle, but: "),
    "no bytes": (b"\x80", r"must be a whole pickle, but: "),
    "a place in memory that nobody has": (b"\x80\x02j\xff\xff\xff\x7f.", r"must be a whole pickle, but: "),
    "an array too large": (
        python_batch(PIXELS).replace(b"K\x06M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86"),
        r"an array claims 6597069763584 bytes, but holds 18432;",
    ),
    "a string too large": (b"\x80\x02T\xff\xff\xff\x7fx.", r"must be a whole pickle, but: "),
    "nested for ever": (b"\x80\x02K\x01" + b"q\x00h\x00\x86" * 90 + b"N\x93.", r"must be a whole pickle, but: "),
    "no dict": (pickle.dumps([1, 2]), r"must have `data`, 3072 bytes an image, and `labels`, a list of integers, but"),
    "no images": (
        python_batch(np.zeros((0, 3072), np.uint8), [], 4),
        r"one label for each image, but has 0 images and 0",
    ),
    "too few labels": (python_batch(PIXELS, LABELS[:-1]), r"one label for each image, but has 6 images and 5 labels"),
    "wrong labels": (python_batch(PIXELS, [3, 0, 3, 10, 9, 3]), r"classes from 0 to 9, but record 3 is of class 10;"),
    "negative labels": (
        python_batch(PIXELS, [3, -1, 3, 1, 9, 3]),
        r"classes from 0 to 9, but record 1 is of class -1;",
    ),
    "wide images": (python_batch(np.zeros((6, 3073), np.uint8)), r"must have `data`, 3072 bytes an image, and"),
    "labels that are no list": (python_batch(PIXELS, "abcdef"), r"must have `data`, 3072 bytes an image, and"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickles_that_are_refused(put, case):
    content, message = PICKLES[case]
    with pytest.raises(DataError, match=message) as caught:
        data.cifar.read(put(content))
    assert "\n" not in str(caught.value)
    assert ran == []


def test_a_pickle_too_large(put):
    path = put(b"\x80")
    with path.open("r+b") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(DataError, match=r"must have at most 67108864 bytes, but has 67108865; take a part"):
        data.cifar.read(path)
    path = put(b"\x80\x02" + b"N" * 70_000)
    with pytest.raises(DataError, match=r"but has too many parts; check where it comes from"):
        data.cifar.read(path)
    path = put(b"\x80\x02" + b"]a" * 2**20)
    with pytest.raises(DataError, match=r"must be a whole pickle, but: "):
        data.cifar.read(path)


# LIBSVM


def test_libsvm(put):
    for path in (put(LIBSVM), put(gzip.compress(LIBSVM), "file.gz")):
        loaded = data.load(path, test=path)
        assert (loaded.name, loaded.task, loaded.classes, loaded.class_names) == (
            "file",
            "classification",
            2,
            ("-1", "1"),
        )
        inputs = loaded.train.inputs
        assert isinstance(inputs, Sparse)
        assert (inputs.shape, inputs.ids.dtype, inputs.offsets.dtype) == ((12, 3), np.int64, np.int64)
        expected = np.float32([[1, 0, 0.5], [0, -2, 0], [0, 0, 0], [1, 1, 1]] * 3)
        np.testing.assert_array_equal(inputs.dense(), expected)
        assert inputs.lengths.tolist() == [2, 1, 0, 3] * 3
        assert loaded.train.targets.tolist() == [1, 0, 1, 0] * 3
        np.testing.assert_array_equal(loaded.dense().test.inputs, expected)


def test_libsvm_as_an_embedding_bag_takes_it(put):
    inputs = data.load(put(LIBSVM), test=put(LIBSVM)).train.inputs
    table = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    ids, offsets, weights = map(torch.from_numpy, (inputs.ids, inputs.offsets, inputs.weights))
    bagged = torch.nn.functional.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
    torch.testing.assert_close(bagged, torch.from_numpy(inputs.dense()) @ table)


def test_rows_of_sparse_data():
    rows = Sparse(np.array([0, 2, 1, 1]), np.array([0, 2, 2, 4]), np.float32([1, 2, 3, 4]), 3)
    dense = rows.dense()
    assert dense.tolist() == [[1, 0, 2], [0, 0, 0], [0, 7, 0]]  # what is stored twice adds up, as in a bag
    for chosen in (slice(1, None), np.array([True, False, True]), np.array([2, 0, 0]), np.array([], np.int64)):
        np.testing.assert_array_equal(rows[chosen].dense(), dense[chosen])
    with pytest.raises(
        RangeError, match=r"A dense form must take at most 4294967296 bytes, but 3 rows of 1073741824 feat"
    ):
        Sparse(rows.ids, rows.offsets, rows.weights, 2**30).dense()


def test_libsvm_options(put):
    zero = put("1 0:2\n0 1:1\n" * 5)
    assert data.load(zero, test=zero).train.inputs.shape == (10, 2)
    assert data.load(put(LIBSVM), features=10).test.inputs.features == 10
    assert data.load(put("3 1:1\n0.5 2:1\n" * 5)).task == "regression"
    numbers = data.load(put("3 1:1\n4 2:1\n" * 5), task="regression")
    assert (numbers.classes, numbers.outputs, numbers.train.targets.dtype) == (0, 1, np.float32)
    with pytest.raises(DataError, match=r"`features` must be at least 3, which occurs in .*file, but got features=2\."):
        data.load(put(LIBSVM), features=2)
    with pytest.raises(DataError, match=r"must be in LIBSVM's format, but: Invalid index 0 in"):
        data.load(put("1 0:2\n0 1:1\n" * 5), zero_based=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1:1\n1 99999999999:1\n", r"an index of at most 9 digits, but line 2 is '1 99999999999:1';"),
        ("1 999999999:1\n" * 9, r"must have at most 67108864 features, but has 999999999; check its indices"),
        ("1 1:1\nnan 1:1\n", r"but line 2 is 'nan 1:1'; check that it is in LIBSVM's format"),
        ("1 1:inf\n1 1:1\n", r"but line 1 is '1 1:inf';"),
        ("1 1:1e999\n0 1:1\n", r"must hold numbers that float32 can hold, but holds larger ones; scale them"),
        ("1e99 1:1\n0 1:1\n", r"must hold numbers that float32 can hold, but holds larger ones; scale them"),
        ("1 1:1 2\n", r"but line 1 is '1 1:1 2';"),
        ("1,2 1:1\n", r"but line 1 is '1,2 1:1';"),
        ("1 -1:1\n", r"but line 1 is '1 -1:1';"),
        ("1 1:1 \0\n", r"must be a file of text, but line 1 has a zero byte"),
        ("# nothing\n\n", r"must hold at least one example, but holds none"),
        ("1 3:1 2:1\n0 1:1\n", r"must be in LIBSVM's format, but: "),
        (
            "1 1:1\n0 1:1\n",
            r"must hold at least 3 examples of one class, so that some can be put aside.*, or say that targets are num",
        ),
        (
            "1" * 1_000_000 + "x",
            r"an index of at most 9 digits, but line 1 is '1111",
        ),  # a pattern that backtracked would hang
        ("1 " + "1:1 " * 2**20, r"must have lines of at most 1048576 bytes, but line 1 has more"),
    ],
)
def test_libsvm_files_that_are_refused(put, content, message):
    with pytest.raises(DataError, match=message) as caught:
        data.load(put(content), format="libsvm")
    assert "\n" not in str(caught.value)


def test_libsvm_without_scikit_learn(put, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"`sklearn` is needed here"):
        data.load(put(LIBSVM))


# NumPy's archives


@pytest.mark.parametrize(
    "names", [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}_X", "{}_Y"), ("inputs_{}", "targets_{}")]
)
def test_npz_names(put, names):
    inputs, targets = np.arange(12.0).reshape(4, 3), np.array([5, 7, 5, 7])
    arrays = {n.format(part): a for part in ("train", "test") for n, a in zip(names, (inputs, targets), strict=True)}
    loaded = data.load(put(npz(**arrays, other=np.array(1)), "a.npz"))
    np.testing.assert_array_equal(loaded.train.inputs, inputs)
    assert loaded.test.targets.tolist() == [0, 1, 0, 1]
    assert (loaded.class_names, loaded.train.inputs.dtype) == (("5", "7"), np.float32)


def test_npz_kinds(put):
    pixels = np.arange(10 * 5 * 6 * 3, dtype=np.uint8).reshape(10, 5, 6, 3)
    loaded = data.load(put(npz(x=pixels, y=np.zeros((10, 1), int)), "a.npz"))
    assert loaded.train.inputs.shape == (8, 3, 5, 6)
    assert loaded.note.endswith("was put aside for testing.")
    whole = np.concatenate([loaded.train.inputs, loaded.test.inputs])
    assert np.sort(whole.ravel()).tolist() == np.sort((pixels / np.float32(255)).ravel()).tolist()
    first = data.npz.read(put(npz(x_train=pixels, y_train=np.zeros(10), x_test=pixels, y_test=np.zeros(10))))
    np.testing.assert_array_equal(first.train.inputs[3, 2], pixels[3, :, :, 2] / np.float32(255))
    column_first = np.asfortranarray(np.arange(20.0).reshape(10, 2).astype(">f8"))
    numbers = data.load(put(npz(x=column_first, y=np.linspace(0, 1, 10)), "b.npz"))
    assert numbers.task == "regression"
    assert np.sort(np.concatenate([numbers.train.inputs, numbers.test.inputs])[:, 0]).tolist() == [*range(0, 20, 2)]


X = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", bytes(8))
ARCHIVES = {
    "pickles": (
        npz(x=np.array([[None]] * 9), y=np.arange(9)),
        r"x\.npy that must hold numbers, but holds object; nothing",
    ),
    "strings": (
        npz(x=np.ones((9, 1)), y=np.array(["a"] * 9)),
        r"y\.npy that must hold numbers, but holds <U1; nothing",
    ),
    "other names": (
        npz(a=np.ones(3), b=np.ones(3)),
        r"must hold arrays x_train and y_train, or x and y, but holds a, b;",
    ),
    "no targets": (npz(x=np.ones((3, 1))), r"must hold arrays x_train and y_train, or x and y, but holds x; name them"),
    "nan inputs": (
        npz(x=np.full((9, 1), np.nan), y=np.arange(9)),
        r"must hold finite inputs, but has nan, inf or what",
    ),
    "large inputs": (
        npz(x=np.full((9, 1), 1e300), y=np.arange(9)),
        r"must hold finite inputs, but has nan, inf or what",
    ),
    "nan labels": (npz(x=np.ones((3, 1)), y=np.array([0, 1, np.nan])), r"a finite target .* but example 2 has nan"),
    "too few": (
        npz(x=np.ones((3, 1)), y=np.ones(2)),
        r"as many targets, none empty, but .* \(3, 1\) .* shape \(2,\)\.",
    ),
    "none": (npz(x=np.ones((0, 1)), y=np.ones(0)), r"none empty, but holds inputs of shape \(0, 1\)"),
    "one-hot": (npz(x=np.ones((9, 1)), y=np.ones((9, 2))), r"and targets of shape \(9, 2\)"),
    "shapes": (
        npz(x_train=np.ones((9, 2)), y_train=np.ones(9), x_test=np.ones((9, 3)), y_test=np.ones(9)),
        r"must hold examples of one shape, but those to train on have \(2,\) and those to test on \(3,\)\.",
    ),
    "absurd": (
        zipped(x=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2147483648, 9), }", bytes(16)), y=X),
        r"x\.npy that claims 2147483648 x 9 of float32, but takes 144 bytes;",
    ),
    "negative": (
        zipped(x=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }", bytes(8)), y=X),
        r"x\.npy that claims -2 x -1 of float32, but takes",
    ),
    "code in the header": (
        zipped(x=npy("__import__('os').system('true')"), y=X),
        r"must be a whole \.npz archive, but: ",
    ),
    "a later version": (
        zipped(x=X.replace(b"Y\x01", b"Y\x07"), y=X),
        r"must be in version 1 or 2 of the format, but is in",
    ),
    "not an array": (zipped(x=b"hello", y=X), r"must be a whole \.npz archive, but: "),
    "another packing": (zipped(ZIP_BZIP2, x=X, y=X), r"must be stored or deflated, but is packed otherwise"),
    "a claim that no packing reaches": (
        zipped(x=X, y=X).replace((136).to_bytes(4, "little"), (10**9).to_bytes(4, "little")),
        r"claims 1000000000 bytes, but at most \d+ are possible or allowed",
    ),
    "a claim above the limit": (
        zipped(ZIP_STORED, x=X, y=X).replace((136).to_bytes(4, "little"), (2**31).to_bytes(4, "little")),
        r"claims 2147483648 bytes, but at most 1073741824 are possible or allowed",
    ),
    "cut off": (ARCHIVE[:-30], r"has no list of members|must be a whole \.npz archive, but: "),
    "damaged": (ARCHIVE[:150] + bytes([ARCHIVE[150] ^ 255]) + ARCHIVE[151:], r"must be a whole \.npz archive, but: "),
    "many members": (
        zipped(**{f"m{i}": b"" for i in range(1500)}),
        r"must list its members in at most 65536 bytes, but",
    ),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_are_refused(put, case):
    content, message = ARCHIVES[case]
    with pytest.raises(DataError, match=message) as caught:
        data.load(put(content, "a.npz"))
    assert "\n" not in str(caught.value)


# Tables


def test_table(put):
    for content, name in (
        (TABLE, "prices.csv"),
        (gzip.compress(TABLE), "prices.csv.gz"),
        (b"\xef\xbb\xbf" + TABLE, "x"),
    ):
        path = put(content, name)
        loaded = data.load(path, test=path)
        assert loaded.name == name.partition(".")[0]
        assert (loaded.task, loaded.classes, loaded.feature_names) == ("regression", 0, ("size", "age"))
        reference = np.loadtxt(TABLE.decode().splitlines()[1:], delimiter=",", dtype=np.float32)
        np.testing.assert_array_equal(loaded.train.inputs, reference[:, :2])
        np.testing.assert_array_equal(loaded.train.targets, reference[:, 2])
        assert loaded.train.inputs.dtype == loaded.train.targets.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("# made by hand\n 1  2\t3\n\n4 5 6 \n", "x"),
        ("1;2;3\n4;5;6\n", "x.csv"),
        ("1\t2\t3\r\n4\t5\t6\r\n", "x.tsv"),
        ("1.0,2,+3e0\n4,5,6", "x"),
        ('"1","2","3"\n"4","5","6"\n', "x.csv"),
        ("a,b,c\n1,2,3\n4,5,6\n", "x.csv"),
    ],
)
def test_tables_of_all_forms(put, content, name):
    path = put(content, name)
    loaded = data.load(path, test=path, task="regression")
    assert loaded.train.inputs.tolist() == [[1, 2], [4, 5]]
    assert loaded.train.targets.tolist() == [3, 6]


def test_table_options(put):
    path = put("id,kind,x,y\n7,b,1,2\n8,a,3,4\n9,b,5,6\n", "x.csv")
    loaded = data.load(path, test=path, target="kind", drop="id")
    assert (loaded.class_names, loaded.feature_names, loaded.note) == (("a", "b"), ("x", "y"), "")
    assert loaded.train.targets.tolist() == [1, 0, 1]
    assert loaded.train.inputs.tolist() == [[1, 2], [3, 4], [5, 6]]
    last = data.load(path, test=path, target=3, drop=["id", 1])
    assert last.train.inputs.tolist() == [[1], [3], [5]]
    assert (last.task, last.class_names) == ("classification", ("2", "4", "6"))
    assert last.note == "The targets were taken for classes."
    bare = put("1|2\n3|4\n", "bare")
    assert data.load(bare, test=bare, format="table", delimiter="|", task="regression").train.targets.tolist() == [2, 4]
    assert data.load(path, test=path, header=True, target="y", drop=["id", "kind"]).feature_names == ("x",)


def test_words_of_two_files_are_one_set_of_classes(put):
    train, test = put("1,b\n2,c\n", "train.csv"), put("3,a\n4,c\n", "test.csv")
    loaded = data.load(train, test=test)
    assert loaded.class_names == ("a", "b", "c")
    assert (loaded.train.targets.tolist(), loaded.test.targets.tolist()) == ([1, 2], [0, 2])


def test_a_fifth_is_put_aside(put):
    rows = [f"{i},{i / 7}" for i in range(50)]
    loaded = data.load(put("\n".join(rows), "x.csv"))
    assert (len(loaded.train.targets), len(loaded.test.targets)) == (40, 10)
    assert sorted(np.concatenate([loaded.train.inputs, loaded.test.inputs])[:, 0].tolist()) == [*range(50)]
    assert loaded.note.endswith("A fifth of the examples, drawn by a fixed seed, was put aside for testing.")


TABLES = {
    "nan label": ("1,2\n3,4\n5,nan\n", {}, r"must hold finite numbers, but line 3 has 'nan'; fill it in"),
    "nan label first": ("1,nan\n3,4\n", {}, r"must have a target for every example, but line 1 has 'nan'; fill it in"),
    "missing in all of the first line": (
        "nan,?\n3,4\n5,6\n",
        {},
        r"must hold finite numbers, but line 1 has 'nan'; fill",
    ),
    "missing": ("a,b\n1,2\n,4\n", {}, r"must hold finite numbers, but line 3 has ''; fill it in"),
    "too large": ("1e60,2\n3,4\n", {}, r"must hold finite numbers, but line 1 has 'too large for float32'; fill it in"),
    "large target": ("1,2e60\n3,4.5\n", {}, r"must hold finite numbers, but line 1 has 'too large for float32'; fill"),
    "underscore": ("1_000,2\n3,4\n", {}, r"must hold finite numbers, but line 1 has '1_000'; fill it in"),
    "words": (
        "1,x,2\n3,y,4\n",
        {},
        r"must hold finite numbers, but line 1 has 'x'; .* leave the column out \(`drop`\), or",
    ),
    "ragged": (
        "1,2\n3,4,5\n",
        {},
        r"must have 2 columns in every line, as in its first, but line 2 has 3; check the delim",
    ),
    "open quote": ('1,2\n"3,4\n' + "5,6\n" * 50_000, {}, r"must be a table, but: .*; check its quotes"),
    "names alone": ("a,b\n", {"header": True}, r"must hold at least one example below its names, but holds none"),
    "nothing but names": ("a,b\n", {}, r"must hold at least one example below its names, but holds none"),
    "nothing": ("# a\n\n", {}, r"must hold at least one example, but holds none"),
    "one column": ("1\n2\n", {}, r"must have a column besides the target and those left out, but has none"),
    "no such column": (
        "a,b\n1,2\n",
        {"target": "c"},
        r"`target` must be one of the 2 columns of .*, named a, b, but got t",
    ),
    "no such number": (
        "1,2\n",
        {"drop": [5]},
        r"`drop` must be one of the 2 columns of .*, without names, but got drop=5",
    ),
    "words to predict": (
        "1,a\n2,b\n",
        {"task": "regression"},
        r"numbers as targets for task='regression', but has 'a'",
    ),
    "parts of classes": (
        "1,0.5\n2,1.5\n",
        {"task": "classification"},
        r"classes that are whole numbers.* but has 2 values, the largest 1\.5; take task='regression'",
    ),
    "not UTF-8": (b"1,2\n3,\xff\n", {}, r"must be text in UTF-8, but line 2 is not; convert it"),
    "binary": (b"1,2\n3,\0\n", {}, r"must be a file of text, but line 2 has a zero byte"),
    "too few": (
        "1,2.5\n3,4\n",
        {},
        r"must hold at least 3 examples, so that some can be put aside for testing, but holds 2",
    ),
    "long line": ("1," * 2**21 + "1", {}, r"must have lines of at most 1048576 bytes, but line 1 has more"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_are_refused(put, case):
    content, options, message = TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        data.load(put(content, "x.csv"), **options)
    assert "\n" not in str(caught.value)


def test_tables_with_options_out_of_range(put):
    with pytest.raises(RangeError, match=r"`delimiter` must be one character, and no quote, but got delimiter='ab'\."):
        data.load(put(TABLE, "x.csv"), delimiter="ab")
    with pytest.raises(RangeError, match=r'`task` must be "classification" or "regression", but got task=\'text\'\.'):
        data.load(put(TABLE, "x.csv"), task="text")


def test_tables_that_do_not_fit_together(put):
    train = put("1,2\n", "a.csv")
    with pytest.raises(
        DataError, match=r"must have equally many features, but have 1 and 2; put the right files together"
    ):
        data.load(train, test=put("1,2,3\n", "b.csv"))
    with pytest.raises(
        DataError, match=r"must have targets of one kind, but one has words and the other numbers; put the"
    ):
        data.load(train, test=put("1,x\n", "b.csv"))


# Text


def test_text(put):
    loaded = data.load(put(TEXT))
    text = TEXT.decode()
    assert loaded.class_names == tuple(sorted(set(text)))
    assert (loaded.task, loaded.classes) == ("text", len(set(text)))
    cut = len(text) - round(len(text) / 10)
    for part, expected in ((loaded.train, text[:cut]), (loaded.test, text[cut:])):
        assert "".join(loaded.class_names[i] for i in part.inputs) == expected[:-1]
        assert "".join(loaded.class_names[i] for i in part.targets) == expected[1:]
        assert part.inputs.dtype == part.targets.dtype == np.int64
    assert loaded.note == "The last 10% of the text were put aside for testing."


def test_text_with_a_file_to_test_on(put):
    loaded = data.load(put("abab"), test=put("bcb", "other"))
    assert loaded.class_names == ("a", "b", "c")
    assert (loaded.train.inputs.tolist(), loaded.test.targets.tolist(), loaded.note) == ([0, 1, 0], [2, 1], "")


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        (b"ab\xffcd" * 9, {}, DataError, r"must be text in UTF-8, but byte 2 is not; convert it"),
        (b"abcd\0" * 9, {}, DataError, r"must be a file of text, but has a zero byte"),
        (
            b"abcdefgh",
            {},
            DataError,
            r"must have at least 2 characters in each part, but has fewer; take a longer text",
        ),
        (b"", {}, DataError, r"must have at least 2 characters in each part"),
        (b"abcd" * 9, {"test_share": 1}, RangeError, r"`test_share` must be in \(0, 1\), but got test_share=1\."),
        (
            "".join(map(chr, range(2**16, 2**17 + 1))),
            {},
            DataError,
            r"at most 65536 characters that differ, but has 65537",
        ),
    ],
)
def test_texts_that_are_refused(put, content, options, error, message):
    with pytest.raises(error, match=message):
        data.load(put(content), format="text", **options)


# Limits


def test_files_above_the_limit(put, monkeypatch):
    monkeypatch.setattr(data._files, "LIMIT", 40)
    monkeypatch.setattr(data.text, "LIMIT", 40)
    for content, format in ((LIBSVM, "libsvm"), (TABLE * 2, "table"), (TEXT, "text")):
        for written in (content, gzip.compress(content)):
            with pytest.raises(
                DataError, match=r"file must hold at most 40 bytes, but holds more; take a part of the data"
            ):
                data.load(put(written), format=format)


@pytest.mark.parametrize("kind", ["zeros", "lines"])
def test_memory_follows_the_limit_not_what_is_packed(put, monkeypatch, kind):
    """A bomb of many MiB in few KiB: it is put down at the first line, or at the limit."""
    monkeypatch.setattr(data._files, "LIMIT", 2**16)
    monkeypatch.setattr(data.text, "LIMIT", 2**16)
    path = put(gzip.compress(bytes(2**24) if kind == "zeros" else b"1,1\n" * 2**22, 1))
    for format in ("libsvm", "table", "text"):
        tracemalloc.start()
        try:
            with pytest.raises(DataError, match=r"holds more; take a part|lines of at most|zero byte|line 1 is '1,1'"):
                data.load(path, format=format)
            assert tracemalloc.get_traced_memory()[1] < 2**23
        finally:
            tracemalloc.stop()


def test_what_packs_too_well_is_a_bomb(put):
    path = put(gzip.compress(b"1,1\n" * 2**19))
    with pytest.raises(
        DataError, match=r"file must hold at most 1048576 bytes, but holds more; take a part of the data"
    ):
        data.load(path)


def test_an_archive_that_lies_takes_no_memory(put):
    absurd = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (268000000, 1), }", bytes(2**20))
    content = zipped(x=absurd, y=X)
    claimed = len(absurd) - 2**20 + 4 * 268_000_000
    content = content.replace(len(absurd).to_bytes(4, "little"), claimed.to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"claims 1072000\d+ bytes, but at most \d+ are possible or allowed"):
            data.load(put(content, "a.npz"))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
