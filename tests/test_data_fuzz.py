"""Mutated files of every format give data or one sentence, never anything else."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from files_of_data import WHOLE, npz
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import data
from thinned._errors import DataError
from thinned.data import FORMATS, Layout, Sparse, Whole

WORDS = [
    b"nan",
    b"inf",
    b"-1",
    b"99999999999",
    b"1e999",
    b":",
    b",",
    b'"',
    b"\n",
    b"\0",
    b"\xff\xff\xff\x7f",
    b"\x80\x02",
]


def check(loaded):
    """What a reader returns is what it promises."""
    for part in (loaded.train, loaded.test):
        count = len(part.targets)
        assert count == len(part.inputs) > 0
        if loaded.task == "regression":
            assert part.targets.dtype == np.float32
            assert np.isfinite(part.targets).all()
        else:
            assert part.targets.dtype == np.int64
            assert 0 <= part.targets.min() <= part.targets.max() < loaded.classes
        if isinstance(part.inputs, Sparse):
            assert len(part.inputs.ids) == part.inputs.offsets[-1] == len(part.inputs.weights)
            assert (
                not len(part.inputs.ids)
                or 0 <= part.inputs.ids.min() <= part.inputs.ids.max() < loaded.train.inputs.features
            )
        values = part.inputs.weights if isinstance(part.inputs, Sparse) else part.inputs
        assert values.dtype == (np.int64 if loaded.task == "text" else np.float32)
        assert np.isfinite(values).all()


def read(content, name, **options):
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, name)
        path.write_bytes(content)
        try:
            loaded, sentence = data.load(path, **options), None
        except DataError as error:
            loaded, sentence = None, str(error)
        if loaded is not None:
            check(loaded)
        else:
            assert "\n" not in sentence
            assert sentence.startswith((root, "`", name.partition(".")[0]))


@pytest.mark.parametrize("kind", WHOLE)
@settings(deadline=None)
@given(
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255) | st.sampled_from(WORDS)), max_size=4),
    packed=st.booleans(),
    tell=st.booleans(),
)
def test_mutated_files_give_data_or_a_sentence(kind, cut, changes, packed, tell):
    name, content = WHOLE[kind]
    damaged = bytearray(content)
    for place, change in changes:
        at = int(place * len(damaged))
        if isinstance(change, bytes):
            damaged[at:at] = change
        elif at < len(damaged):
            damaged[at] = change
    if cut < 0.5:
        del damaged[int(2 * cut * len(damaged)) :]
    options = {"format": kind} if tell and kind in FORMATS else {}
    read(gzip.compress(damaged, 1) if packed else bytes(damaged), name, **options)


UNLABELLED = {
    "table": ("table.csv", b"age,size,price\n2,1,3.5\n5,4,6.25\n"),
    "bare table": ("table.csv", b"1,2\n4,5\n"),
    "libsvm": ("examples", b"1:1 2:0.5\n2:-2e0 # a comment\n"),
    "npz": ("arrays.npz", npz(x=np.ones((4, 2)))),
    "idx": ("images", bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4])),
}


@pytest.mark.parametrize("kind", UNLABELLED)
@settings(deadline=None)
@given(
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255) | st.sampled_from(WORDS)), max_size=3),
)
def test_mutated_files_to_predict_give_examples_or_a_sentence(kind, cut, changes):
    name, content = UNLABELLED[kind]
    damaged = bytearray(content)
    for place, change in changes:
        at = int(place * len(damaged))
        damaged[at : at + 1] = change if isinstance(change, bytes) else bytes([change])
    if cut < 0.5:
        del damaged[int(2 * cut * len(damaged)) :]
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, name)
        path.write_bytes(damaged)
        try:
            made, sentence = data.read_whole(path, Layout("regression", 2, ("size", "age"), "price")), ""
        except DataError as error:
            made, sentence = None, str(error)
    assert "\n" not in sentence
    if isinstance(made, Whole):
        values = made.inputs.weights if isinstance(made.inputs, Sparse) else made.inputs
        assert len(made) > 0
        assert np.isfinite(values).all()
        assert made.targets is None or (len(made.targets) == len(made) and np.isfinite(made.targets).all())


@settings(deadline=None)
@given(content=st.binary(max_size=200), format=st.sampled_from([name for name in FORMATS if name != "idx"]))
def test_noise_gives_data_or_a_sentence(content, format):
    read(content, "noise", format=format)


PROGRAM = [
    *(
        b"\x80\x02",
        b"}",
        b"]",
        b")",
        b"(",
        b"N",
        b"K\x03",
        b"C\x01a",
        b"X\x01\0\0\0a",
        b"q\0",
        b"h\0",
        b"\x85",
        b"\x86",
    ),
    *(b"t", b"a", b"e", b"s", b"u", b"R", b"b", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"\x93", b"\x94", b"0", b"1"),
    *(b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"X\x02\0\0\0u1", b"X\x06\0\0\0latin1"),
]


@settings(deadline=None)
@given(program=st.lists(st.sampled_from(PROGRAM), max_size=24))
def test_any_program_of_a_pickle_gives_data_or_a_sentence(program):
    read(b"\x80\x02" + b"".join(program) + b".", "pickle", format="cifar10")
