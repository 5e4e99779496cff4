"""Caffe2's two sparse operators, and how they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import Mask
from thinned.caffe2 import core, sparse_dropout_with_replacement_op_example, workspace
from thinned.kernels import reference

BY_EXAMPLE, BY_VALUE = "SparseDropoutWithReplacement", "SparseItemwiseDropoutWithReplacement"
both = pytest.mark.parametrize("type", [BY_EXAMPLE, BY_VALUE])


@pytest.fixture(autouse=True)
def _empty():
    workspace.ResetWorkspace()


def op(type, ratio=0.5, value=-1, **options):
    outputs = options.pop("outputs", ["Y", "OutputLengths"])
    return core.CreateOperator(type, ["X", "Lengths"], outputs, ratio=ratio, replacement_value=value, **options)


def feed(lengths, dtype=np.int64):
    lengths = np.array(lengths, np.int32)
    x = np.arange(100, 100 + lengths.sum(), dtype=dtype)
    workspace.FeedBlob("X", x)
    workspace.FeedBlob("Lengths", lengths)
    return x, lengths


def keep(n, ratio, seed, engine):
    if engine == "thinned":
        return Mask(float(np.float32(ratio)), seed).keep((n,)).numpy()
    uniform = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    return uniform < 1 - np.float64(np.float32(ratio))


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), max_size=12),
    ratio=st.sampled_from([0, 0.0, 1, 1.0]) | st.floats(0, 1, width=32),
    value=st.integers(-(2**63), 2**63 - 1),
    seed=st.integers(0, 2**32 - 1),
    engine=st.sampled_from(["thinned", "caffe2"]),
    type=st.sampled_from([BY_EXAMPLE, BY_VALUE]),
)
def test_values(lengths, ratio, value, seed, engine, type):
    x, lengths = feed(lengths)
    workspace.RunOperatorOnce(op(type, ratio, value, random_seed=seed, random_engine=engine))
    y, new = workspace.FetchBlobs(["Y", "OutputLengths"])
    assert (y.dtype, new.dtype, new.shape) == (np.int64, np.int32, lengths.shape)
    if type == BY_VALUE:
        np.testing.assert_array_equal(new, lengths)
        np.testing.assert_array_equal(y, np.where(keep(x.size, ratio, seed, engine), x, value))
        return
    stays = keep(lengths.size, ratio, seed, engine)
    parts = np.split(x, np.cumsum(lengths)[:-1]) if lengths.size else []
    parts = [list(part) if kept else [value] for part, kept in zip(parts, stays, strict=True)]
    assert y.tolist() == [item for part in parts for item in part]
    np.testing.assert_array_equal(new, np.where(stays, lengths, 1))
    np.testing.assert_array_equal(workspace.FetchBlob("X"), x)


def test_the_example():
    y, lengths = sparse_dropout_with_replacement_op_example()
    assert (y.tolist(), lengths.tolist()) == ([1, 2, -1], [2, 1])
    want = reference.replacement_segments(np.arange(1, 6), np.array([2, 3]), -1, Mask(0.5, 0))
    assert y.tolist() == want[0].tolist()


@both
def test_in_a_net_the_random_numbers_go_on(type):
    feed([2] * 100)
    net = core.Net("net")
    getattr(net, type)(["X", "Lengths"], ["Y", "OutputLengths"], ratio=0.5, random_seed=1)
    workspace.CreateNet(net)
    for stream in range(3):
        workspace.RunNet("net")
        n = 100 if type == BY_EXAMPLE else 200
        dropped = n - int(Mask(0.5, 1, stream).keep((n,)).sum())
        assert (workspace.FetchBlob("Y") == 0).sum() == dropped


@both
def test_defaults(type):
    x, lengths = feed([2, 0, 1])
    workspace.RunOperatorOnce(core.CreateOperator(type, ["X", "Lengths"], ["Y", "OutputLengths"]))
    np.testing.assert_array_equal(workspace.FetchBlob("Y"), x)  # ratio 0
    np.testing.assert_array_equal(workspace.FetchBlob("OutputLengths"), lengths)


@both
def test_asking_for_a_gradient_is_no_error(type):
    assert core.GradientRegistry.GetGradientForOp(op(type), ["dY", None]) == ([], [None, None])
    net = core.Net("net")
    getattr(net, type)(["X", "Lengths"], ["Y", "OutputLengths"], ratio=0.5)
    assert set(net.AddGradientOperators(["Y"])) == {"Y"}


ODD = np.ones(3, np.int64)
REFUSED = [
    ({"X": ODD.reshape(3, 1)}, r"Input tensor should be 1-D, but got shape \(3, 1\)"),
    ({"X": ODD.astype(np.int32)}, "expects elements of X to be int64, while tensor contains int32"),
    ({"X": ODD.astype(np.float32)}, "expects elements of X to be int64, while tensor contains float"),
    ({"X": np.array(["a"] * 3, object)}, "Tensor type mismatch, caller expects a tensor, while X contains"),
    ({"X": "text"}, "Tensor type mismatch, caller expects a tensor, while X contains b'text'"),
    ({"Lengths": np.ones((1, 3), np.int32)}, r"Lengths tensor should be 1-D, but got shape \(1, 3\)"),
    ({"Lengths": ODD}, "expects elements of Lengths to be int32, while tensor contains int64"),
    ({"Lengths": np.array([4, -1], np.int32)}, "Lengths must not be negative"),
    ({"Lengths": np.array([1, 1], np.int32)}, "Inconsistent input data. Number of elements should match total length"),
    ({"Lengths": np.full(5, 2**31 - 1, np.int32)}, "Inconsistent input data.*add up to 10737418235"),
    ({"X": np.array(1)}, r"Input tensor should be 1-D, but got shape \(\)"),
]


@both
@pytest.mark.parametrize(("blobs", "message"), REFUSED, ids=range(len(REFUSED)))
def test_hostile_blobs(type, blobs, message):
    feed([1, 2])
    for name, value in blobs.items():
        workspace.FeedBlob(name, value)
    with pytest.raises(RuntimeError, match=message):
        workspace.RunOperatorOnce(op(type))
    assert b"uninitialized" in workspace.FetchBlob("Y")
    x, _ = feed([1, 2])
    workspace.RunOperatorOnce(op(type, 0.0))
    np.testing.assert_array_equal(workspace.FetchBlob("Y"), x)


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.5}, r"Ratio should be a valid probability, but got ratio=1\.5"),
        ({"ratio": -0.5}, "Ratio should be a valid probability"),
        ({"ratio": float("nan")}, "Ratio should be a valid probability"),
        ({"value": -1.0}, "Argument replacement_value does not have the right field: expected field i"),
        ({"outputs": ["X", "L"]}, "output 0 must not be in place over input 0, but both are 'X'"),
        ({"outputs": ["Y", "X"]}, "output 1 must not be in place over input 0, but both are 'X'"),
        ({"outputs": ["Y"]}, r"the number of outputs must be in \[2, 2\], but got 1"),
        ({"device_option": core.DeviceOption(core.CUDA)}, f"Cannot create operator of type '{'Sparse'}.*'CUDA'"),
        ({"engine": "X", "random_engine": 3}, "Argument random_engine does not have the right field: expected field s"),
    ],
)
def test_wrong_definitions(type, options, message):
    feed([1, 2])
    with pytest.raises(RuntimeError, match=message):
        workspace.RunOperatorOnce(op(type, **options))


@both
def test_a_value_too_large_for_an_id(type):
    feed([1, 2])
    with pytest.raises(RuntimeError, match="`replacement_value` must fit in int64, but got replacement_value=922"):
        workspace.RunOperatorOnce(op(type, 1.0, 2**63))


def test_each_dropped_example_becomes_one_value():
    """Statistics: the number of examples dropped is binomial; 5 standard deviations."""
    n, ratio = 20_000, 0.3
    feed([3] * n)
    workspace.RunOperatorOnce(op(BY_EXAMPLE, ratio, random_seed=2))
    dropped = (workspace.FetchBlob("Y") == -1).sum()
    assert abs(dropped - n * ratio) <= 5 * (n * ratio * (1 - ratio)) ** 0.5 + n * 2**-10 * ratio
    assert workspace.FetchBlob("Y").size == 3 * n - 2 * dropped
