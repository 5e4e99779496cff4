"""Workspaces: what goes in comes out, hostile blobs are refused, and nothing is lost."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinned.caffe2 import core, workspace

DTYPES = ["float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16"]


@pytest.fixture(autouse=True)
def _empty():
    workspace.SwitchWorkspace("default")
    workspace.ResetWorkspace()


@settings(max_examples=25, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from(DTYPES).map(np.dtype).flatmap(lambda d: st.sampled_from([d, d.newbyteorder(">")])),
        arrays.array_shapes(min_dims=0, min_side=0, max_side=4),
    )
)
def test_arrays_round_trip(array):
    assert workspace.FeedBlob("X", array) is True
    back = workspace.FetchBlob("X")
    assert (back.dtype, back.shape) == (array.dtype.newbyteorder("="), array.shape)
    np.testing.assert_array_equal(back, array)


def test_feeding_and_fetching_copy():
    array = np.arange(6.0).reshape(2, 3)
    workspace.FeedBlob(core.BlobReference("X"), array.T)
    array[:] = 0
    fetched = workspace.FetchBlob("X")
    np.testing.assert_array_equal(fetched, np.arange(6.0).reshape(2, 3).T)
    assert fetched.flags.c_contiguous
    fetched[:] = 0
    assert workspace.FetchBlob("X").any()


def test_strings():
    workspace.FeedBlob("s", "text")
    workspace.FeedBlob("b", b"\xff")
    workspace.FeedBlob("many", np.array(["a", "bc"]))
    workspace.FeedBlob("objects", np.array([b"\x00", "d"], object))
    assert workspace.FetchBlobs(["s", "b"]) == [b"text", b"\xff"]
    many, objects = workspace.FetchBlobs(["many", "objects"])
    assert many.dtype == object
    assert (many.tolist(), objects.tolist()) == ([b"a", b"bc"], [b"\x00", b"d"])


def test_torch_tensors_are_shared():
    tensor = torch.zeros(3, requires_grad=True)
    workspace.FeedBlob("X", tensor)
    with torch.no_grad():
        tensor[0] = 5
    np.testing.assert_array_equal(workspace.FetchBlob("X"), [5, 0, 0])
    workspace.FeedBlob("conjugate", torch.tensor([1j]).conj())
    assert workspace.FetchBlob("conjugate")[0] == -1j


REFUSED = [
    ([1, 2], "Unexpected type of argument - only numpy array or string are supported for feeding, but got a list"),
    (1.0, "only numpy array or string are supported for feeding, but got a float"),
    (None, "only numpy array or string are supported for feeding, but got a NoneType"),
    (np.float32(1), "only numpy array or string are supported for feeding, but got a float32"),
    (np.ones(2, np.uint32), "The dtype of an array must be one of .*, but got uint32"),
    (np.ones(2, np.complex64), "but got complex64"),
    (np.zeros(2, "datetime64[s]"), r"but got datetime64\[s\]"),
    (np.zeros(2, [("a", np.int32)]), "The dtype of an array must be one of"),
    (np.array([1, None], object), r"An array of objects must hold strings, but got a int at \(0,\)"),
    (np.array([["a", ["nested"]]], object), r"must hold strings, but got a list at \(0, 1\)"),
    (torch.eye(2).to_sparse(), "must be dense and hold data to be fed, but got dtype .*, layout torch.sparse_coo"),
    (torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged), "must be dense and .*, layout torch.jagged"),
    (torch.ones(2, device="meta"), "must be dense and hold data to be fed, but got .* device meta"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=range(len(REFUSED)))
def test_hostile_values(value, message):
    workspace.FeedBlob("X", np.ones(3))
    with pytest.raises(RuntimeError, match=message):
        workspace.FeedBlob("X", value)
    np.testing.assert_array_equal(workspace.FetchBlob("X"), np.ones(3))


@pytest.mark.parametrize("name", [3, None, b"X", ["X"]])
@pytest.mark.parametrize("call", [workspace.FetchBlob, workspace.HasBlob, workspace.CreateBlob, workspace.ResetBlob])
def test_names_are_strings(name, call):
    with pytest.raises(AssertionError, match="`name` must be a str or a BlobReference, but got"):
        call(name)
    with pytest.raises(AssertionError, match="`name` must be a str or a BlobReference, but got"):
        workspace.FeedBlob(name, np.ones(1))


def test_blobs_that_are_not_there():
    assert not workspace.HasBlob("X")
    with pytest.raises(RuntimeError, match="Can't find blob: X"):
        workspace.FetchBlob("X")
    with pytest.raises(RuntimeError, match="Can't find blob: X"):
        workspace.ResetBlob("X")
    workspace.FeedBlob("X", torch.ones(1, dtype=torch.bfloat16))
    with pytest.raises(RuntimeError, match="Blob 'X' must have a dtype that NumPy knows, but it has bfloat16"):
        workspace.FetchBlob("X")


def test_empty_blobs():
    assert workspace.CreateBlob("X")
    assert workspace.FetchBlob("X") == b"X, a C++ native class of type nullptr (uninitialized)."
    workspace.FeedBlob("X", np.ones(2))
    workspace.CreateBlob("X")
    np.testing.assert_array_equal(workspace.FetchBlob("X"), np.ones(2))
    workspace.ResetBlob("X")
    assert b"uninitialized" in workspace.FetchBlob("X")
    assert workspace.Blobs() == ["X"]


def test_the_dictionary():
    workspace.blobs["a"] = np.ones(1)
    workspace.blobs["b"] = np.zeros(1)
    assert set(workspace.blobs) == {"a", "b"}
    assert (len(workspace.blobs), "a" in workspace.blobs, 3 in workspace.blobs) == (2, True, False)
    assert workspace.blobs["a"][0] == 1
    del workspace.blobs["a"]
    assert list(workspace.blobs) == ["b"]
    with pytest.raises(RuntimeError, match="Can't find blob: a"):
        del workspace.blobs["a"]
    with pytest.raises(KeyError, match=r"^Can't find blob: a$"):
        workspace.blobs["a"]
    assert (workspace.blobs.get("a"), workspace.blobs.pop("a", 3)) == (None, 3)


def test_workspaces():
    assert workspace.CurrentWorkspace() == "default"
    workspace.FeedBlob("X", np.ones(1))
    with pytest.raises(RuntimeError, match=r"`name` must be one of the workspaces \['default'.*, but got 'elsewhere'"):
        workspace.SwitchWorkspace("elsewhere")
    workspace.SwitchWorkspace("other", True)
    assert (workspace.CurrentWorkspace(), workspace.HasBlob("X")) == ("other", False)
    workspace.FeedBlob("Y", np.ones(1))
    assert workspace.ResetWorkspace() is True
    assert workspace.Blobs() == []
    workspace.SwitchWorkspace("default")
    assert workspace.Blobs() == ["X"]
    assert {"default", "other"} <= {*workspace.Workspaces()}


def test_root_folders(tmp_path):
    workspace.FeedBlob("X", np.ones(1))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        workspace.ResetWorkspace(str(tmp_path / "file" / "below"))
    assert (workspace.RootFolder(), workspace.Blobs()) == (".", ["X"])
    folder = str(tmp_path / "root" / "folder")
    assert workspace.ResetWorkspace(folder) is True
    assert (workspace.RootFolder(), workspace.Blobs(), (tmp_path / "root" / "folder").is_dir()) == (folder, [], True)
    workspace.ResetWorkspace()
    assert workspace.RootFolder() == folder
    workspace.ResetWorkspace(".")


# --- running ----------------------------------------------------------------------------------------------------------


def fill(name, value=1.0):
    return core.CreateOperator("ConstantFill", [], name, shape=[2, 2], value=value)


def test_running_operators():
    assert workspace.RunOperatorOnce(fill("X")) is True
    assert workspace.RunOperatorsOnce([fill("X", 2), core.CreateOperator("Scale", "X", "Y", scale=3)]) is True
    np.testing.assert_array_equal(workspace.FetchBlob("Y"), np.full((2, 2), 6, np.float32))
    for wrong in (b"bytes", 3, None, core.Net("net")):
        with pytest.raises(ValueError, match="must be of type OperatorDef, or have a"):
            workspace.RunOperatorOnce(wrong)
    with pytest.raises(ValueError, match="must be of type NetDef, or have a"):
        workspace.RunNetOnce(fill("X"))


def test_running_one_operator_many_times():
    workspace.FeedBlob("X", np.ones(100, np.float32))
    drop = core.CreateOperator("Dropout", "X", ["Y", "mask"], is_test=0, random_seed=3)
    masks = []
    for runs in (1, 2, 2):
        assert workspace.RunOperatorMultiple(drop, runs) is True
        masks.append(workspace.FetchBlob("mask"))
    assert not np.array_equal(masks[0], masks[1])  # the random numbers went on
    np.testing.assert_array_equal(masks[1], masks[2])  # of a new object each time
    with pytest.raises(ValueError, match="must be of type OperatorDef"):
        workspace.RunOperatorMultiple("Dropout", 2)


def test_a_blob_deleted_behind_a_net():
    net = core.Net("net")
    net.Relu("X", "Y")
    workspace.FeedBlob("X", np.ones(1, np.float32))
    workspace.CreateNet(net)
    del workspace.blobs["X"]
    with pytest.raises(RuntimeError, match="op Relu: blob 'X' must hold a tensor, but it is empty"):
        workspace.RunNet(net)


def test_nets():
    net = core.Net("net")
    net.ConstantFill([], "one", shape=[1], value=1)
    net.Sum(["total", "one"], "total")
    assert net.Proto().external_input == ["total"]
    with pytest.raises(RuntimeError, match="Encountered a non-existing input blob: total"):
        workspace.CreateNet(net)
    workspace.FeedBlob("total", np.zeros(1, np.float32))
    assert workspace.CreateNet(net) is True
    with pytest.raises(RuntimeError, match="there is a net 'net'"):
        workspace.CreateNet(net)
    assert workspace.CreateNet(net, overwrite=True) is True
    assert workspace.RunNet("net", num_iter=3) is True
    assert workspace.RunNet(net) is True
    assert workspace.FetchBlob("total") == [4]
    with pytest.raises(RuntimeError, match=r"`name` must be one of the nets created, \['net'\], but got 'ten'"):
        workspace.RunNet("ten")
    workspace.FeedBlob("total", np.zeros(1))
    assert workspace.RunNet("net", allow_fail=True) is False
    with pytest.raises(RuntimeError, match="Tensor type mismatch"):
        workspace.RunNet("net")
    assert workspace.FetchBlob("total") == [0]


def test_names_of_a_net():
    net = core.Net("net")
    y, mask = net.Dropout("X", 2, is_test=0)
    z = net.Relu(y)
    assert (y, mask, z) == ("net/Dropout_1", "net/Dropout_2", "net/Relu_3")
    net.AddExternalOutput(z, z)
    net.AddExternalInput("X", "W")
    assert (net.Name(), net.Proto().external_output) == ("net", ["net/Relu_3"])
    assert net.Proto().external_input == ["X", "W"]
    with pytest.raises(AttributeError, match=r"Method Rleu is not a registered operator. Did you mean: \['Relu'"):
        net.Rleu("X", "Y")
    assert not hasattr(net, "_repr_html_")


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (core.CreateOperator("FC", ["X", "X", "X"], "Y"), r"b of FC must have shape \(2,\), but got \(2, 2\)"),
        (core.CreateOperator("FC", ["X", "b", "b"], "Y"), r"W of FC must have shape \(outputs, 2\)"),
        (core.CreateOperator("FC", ["X", "X", "b"], "Y", axis=3), r"`axis` must be in \[0, 2\] for 2 axes"),
        (core.CreateOperator("FCGradient", ["X", "X", "b"], ["u", "v", "w"]), r"dY of FC must have shape \(2, 2\)"),
        (core.CreateOperator("Sum", ["X", "b"], "Y"), r"The inputs of Sum must have one shape, but got \(2, 2\) and"),
        (core.CreateOperator("Copy", "text", "Y"), "caller expects a tensor, while text contains b'words'"),
        (core.CreateOperator("Copy", "X", "X"), "output 0 must not be in place over input 0"),
        (core.CreateOperator("ConstantFill", [], "Y", shape=[-1]), "`shape` must not be negative anywhere"),
        (core.CreateOperator("ConstantFill", [], "Y", shape=[1], dtype=4), "`dtype` must be one of"),
        (
            core.CreateOperator("ConstantFill", [], "Y", shape=["a"]),
            "not have the right field: expected field ints",
        ),
    ],
)
def test_basic_operators_refuse(operator, message):
    workspace.FeedBlob("X", np.ones((2, 2), np.float32))
    workspace.FeedBlob("b", np.ones(3, np.float32))
    workspace.FeedBlob("text", "words")
    with pytest.raises(RuntimeError, match=message):
        workspace.RunOperatorOnce(operator)


def test_constant_fill():
    workspace.FeedBlob("shape", np.array([2, 3]))
    run = workspace.RunOperatorOnce
    run(core.CreateOperator("ConstantFill", "shape", "a", input_as_shape=1, value=2, dtype=core.DataType.INT64))
    run(core.CreateOperator("ConstantFill", "a", "b", value=0.5))
    run(core.CreateOperator("ConstantFill", [], "c", shape=(), value=True, dtype=core.DataType.BOOL))
    a, b, c = workspace.FetchBlobs(["a", "b", "c"])
    assert (a.dtype, b.dtype, c.dtype) == (np.int64, np.float32, np.bool_)
    np.testing.assert_array_equal(a, np.full((2, 3), 2))
    np.testing.assert_array_equal(b, np.full((2, 3), 0.5))
    assert c.shape == ()
    assert c
