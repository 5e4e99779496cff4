"""Caffe2's `Dropout` and `DropoutGrad` against a description in NumPy, and its own random stream."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import Mask
from thinned._errors import KindError, RangeError
from thinned.caffe2 import GetDropoutGradient, brew, core, workspace
from thinned.caffe2.definitions import Argument
from thinned.caffe2.operators import cudnn
from thinned.caffe2.random import Random
from thinned.caffe2.registry import Run

FIRST_KEPT = {
    0: "0010001101111011",
    1: "1111011001010111",
    1701: "1111100100011011",
}  # at ratio 0.5, from Caffe2's rule


@pytest.fixture(autouse=True)
def _empty():
    workspace.ResetWorkspace()


def op(ratio=0.5, is_test=0, outputs=("Y", "mask"), **options):
    return core.CreateOperator("Dropout", ["X"], list(outputs), ratio=ratio, is_test=is_test, **options)


def grad(ratio=0.5, is_test=0, inputs=("dY", "mask"), **options):
    return core.CreateOperator("DropoutGrad", list(inputs), ["dX"], ratio=ratio, is_test=is_test, **options)


def feed(shape=(40, 25), name="X", dtype=np.float32):
    x = np.random.default_rng(3).normal(size=shape).astype(dtype)
    workspace.FeedBlob(name, x)
    return x


def expected(x, mask, ratio):
    """The operator's formula, rounded where Caffe2 rounds."""
    ratio = np.float64(np.float32(ratio))
    scale = np.float32(1 / (1 - ratio)) if ratio < 1 else np.float32(0)
    return x * scale * mask.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    ratio=st.sampled_from([0, 0.0, 1, 1.0, 0.5, 0.1]) | st.floats(0, 1, width=32),
    shape=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    engine=st.sampled_from(["thinned", "caffe2"]),
)
def test_train(ratio, shape, seed, engine):
    x = feed(shape)
    workspace.RunOperatorOnce(op(ratio, random_seed=seed, random_engine=engine))
    y, mask = workspace.FetchBlobs(["Y", "mask"])
    assert (y.dtype, mask.dtype, y.shape, mask.shape) == (np.float32, np.bool_, shape, shape)
    np.testing.assert_array_equal(y, expected(x, mask, ratio))
    if engine == "thinned":
        np.testing.assert_array_equal(mask, Mask(float(np.float32(ratio)), seed).keep(shape).numpy())
    if ratio in (0, 1):
        assert mask.all() == (ratio == 0 or not x.size)
        assert not x.size or mask.any() == (ratio == 0)
    feed(shape, "dY")
    workspace.RunOperatorOnce(grad(ratio, random_seed=seed))
    np.testing.assert_array_equal(workspace.FetchBlob("dX"), expected(workspace.FetchBlob("dY"), mask, ratio))


@pytest.mark.parametrize(("seed", "bits"), FIRST_KEPT.items())
def test_the_stream_of_caffe2(seed, bits):
    feed((16,))
    workspace.RunOperatorOnce(op(random_seed=seed, random_engine="caffe2"))
    assert "".join(map(str, workspace.FetchBlob("mask").astype(int))) == bits


@pytest.mark.parametrize(("seed", "ratio"), [(0, 0.5), (1701, 0.1), (2**32 - 1, 0.9)])
def test_the_stream_of_caffe2_is_that_of_atens_generator(seed, ratio):
    """torch's CPU generator still is the one that Caffe2 used; 1,000 draws pass the twister's 624 words three times."""
    feed((1000,))
    workspace.RunOperatorOnce(op(ratio, random_seed=seed, random_engine="caffe2"))
    uniform = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    np.testing.assert_array_equal(workspace.FetchBlob("mask"), uniform.numpy() < 1 - np.float64(np.float32(ratio)))


@pytest.mark.parametrize("engine", ["thinned", "caffe2"])
def test_randomness_belongs_to_the_operator_object(engine):
    """RunOperatorOnce makes a new object each time; a net keeps its own."""
    feed((200,))
    masks = []
    for _ in range(2):
        workspace.RunOperatorOnce(op(random_seed=7, random_engine=engine))
        masks.append(workspace.FetchBlob("mask"))
    np.testing.assert_array_equal(*masks)
    net = core.Net("net")
    net.Dropout("X", ["Y", "mask"], is_test=0, random_seed=7, random_engine=engine)
    workspace.CreateNet(net)
    for _ in range(2):
        workspace.RunNet("net")
        masks.append(workspace.FetchBlob("mask"))
    np.testing.assert_array_equal(masks[2], masks[0])
    assert (masks[3] != masks[2]).any()


def test_without_a_seed_torchs_generator_decides():
    feed((200,))
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        workspace.RunOperatorOnce(op())
        masks.append(workspace.FetchBlob("mask"))
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize("engine", ["thinned", "caffe2"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_rate_and_mean(engine, ratio):
    """Kept elements are binomial, within 5 standard deviations, and so is the mean of the output of ones.

    The law's rate may be off by 2**-10 of the smaller of ratio and 1 - ratio; Caffe2's scale knows nothing of that.
    """
    n = 40_000
    workspace.FeedBlob("X", np.ones(n, np.float32))
    workspace.RunOperatorOnce(op(ratio, random_seed=5, random_engine=engine))
    y, mask = workspace.FetchBlobs(["Y", "mask"])
    assert abs(mask.mean() - (1 - ratio)) <= 5 * math.sqrt(ratio * (1 - ratio) / n) + 2**-10 * min(ratio, 1 - ratio)
    assert abs(y.mean(dtype=np.float64) - 1) <= 5 * math.sqrt(ratio / (1 - ratio) / n) + 2**-10


def test_it_multiplies():
    """Where thinned.dropout selects, Caffe2 multiplies; this does what Caffe2 did."""
    workspace.FeedBlob("X", np.array([np.inf, np.nan, -1], np.float32))
    workspace.RunOperatorOnce(op(1.0))
    y = workspace.FetchBlob("Y")
    assert np.isnan(y[:2]).all()
    assert y[2] == 0
    assert np.signbit(y[2])


@pytest.mark.parametrize("ratio", [0.5, 1.0, 7.0])
def test_eval_copies_and_leaves_the_mask(ratio):
    x = feed()
    workspace.RunOperatorOnce(op(ratio, is_test=1))
    np.testing.assert_array_equal(workspace.FetchBlob("Y"), x)
    assert workspace.HasBlob("mask")
    assert workspace.FetchBlob("mask") == b"mask, a C++ native class of type nullptr (uninitialized)."
    workspace.FeedBlob("mask", np.array([3.0]))
    workspace.RunOperatorOnce(op(ratio, is_test=True))
    np.testing.assert_array_equal(workspace.FetchBlob("mask"), [3.0])
    workspace.RunOperatorOnce(op(ratio, is_test=1, outputs=["Y"]))
    feed((3,), "dY")
    workspace.RunOperatorOnce(grad(ratio, is_test=1, inputs=["dY"]))
    np.testing.assert_array_equal(workspace.FetchBlob("dX"), workspace.FetchBlob("dY"))


@pytest.mark.parametrize("is_test", [0, 1])
def test_in_place(is_test):
    x = feed()
    workspace.RunOperatorOnce(op(0.3, is_test, ["X", "mask"], random_seed=1))
    want = x if is_test else expected(x, workspace.FetchBlob("mask"), 0.3)
    np.testing.assert_array_equal(workspace.FetchBlob("X"), want)


REFUSED = [
    (op(outputs=["Y"]), r"must have a second output for the mask, but got \['Y'\]"),
    (op(-0.1), r"`ratio` must be at least 0, but got ratio=-0\.1"),
    (op(math.nan), "`ratio` must be at least 0, but got ratio=nan"),
    (op(1.5), r"`ratio` must be in \[0, 1\] in training, but got ratio=1\.5"),
    (op(is_test=1.0), "Argument is_test does not have the right field: expected field i"),
    (op(10**400), "`ratio` must fit in int64, but got ratio=1000"),
    (op(is_test=-(2**63) - 1), "`is_test` must fit in int64, but got is_test=-9223372036854775809"),
    (op("half"), "Argument ratio does not have the right field: expected field f"),
    (op(random_engine="xorshift"), "`random_engine` must be 'thinned' or 'caffe2', but got 'xorshift'"),
    (op(outputs=["Y", "X"]), "did not pass schema checking: Dropout: output 1 must not be in place over input 0"),
    (op(outputs=["Y", "Y"]), "did not pass schema checking: Dropout: outputs must be different"),
    (op(outputs=[]), r"did not pass schema checking: Dropout: the number of outputs must be in \[1, 2\], but got 0"),
    (op(outputs=["a", "b", "c"]), r"schema checking: Dropout: the number of outputs must be in \[1, 2\], but got 3"),
    (core.CreateOperator("Dropout", [], ["Y"], is_test=0), r"the number of inputs must be in \[1, 1\], but got 0"),
    (core.CreateOperator("Dropout", "X", ["Y", "m"]), "schema checking: Dropout: argument 'is_test' is required"),
    (core.CreateOperator("Dropout", "none", ["Y", "m"], is_test=0), "Encountered a non-existing input blob: none"),
    (op(device_option=core.DeviceOption(core.CUDA)), "Cannot create operator of type 'Dropout' on the device 'CUDA'"),
    (grad(inputs=["X"]), "must have the mask as second input, but has 1 input"),
    (grad(inputs=["X", "X"]), "expects elements of X to be bool, while tensor contains float"),
    (grad(inputs=["X", "other"]), "must have as many elements as the gradient, 1000, but got 3"),
    (grad(-1, inputs=["X", "other"]), "`ratio` must be at least 0"),
    (core.CreateOperator("Dropuot", "X", "Y"), r"Cannot create operator of type 'Dropuot'.*Did you mean: \['Dropout'"),
]


@pytest.mark.parametrize(("operator", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused(operator, message):
    if operator.device_option.device_type == core.CUDA and torch.cuda.is_available():
        return
    x = feed()
    workspace.FeedBlob("other", np.ones(3, bool))
    with pytest.raises(RuntimeError, match=message):
        workspace.RunOperatorOnce(operator)
    np.testing.assert_array_equal(workspace.FetchBlob("X"), x)
    workspace.RunOperatorOnce(op())  # the workspace is still usable


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.bool_])
def test_wrong_dtypes(dtype):
    workspace.FeedBlob("X", np.ones(3, dtype))
    with pytest.raises(RuntimeError, match="Tensor type mismatch, caller expects elements of X to be float, while"):
        workspace.RunOperatorOnce(op())


def test_an_argument_error_leaves_empty_outputs():
    feed()
    with pytest.raises(RuntimeError, match="`ratio`"):
        workspace.RunOperatorOnce(op(-1))
    assert set(workspace.Blobs()) == {"X", "Y", "mask"}
    assert b"uninitialized" in workspace.FetchBlob("Y")
    with pytest.raises(RuntimeError, match="blob 'Y' must hold a tensor, but it is empty"):
        workspace.RunOperatorOnce(core.CreateOperator("Relu", "Y", "Z"))


def test_unknown_arguments_are_ignored():
    feed()
    workspace.RunOperatorOnce(op(other=3))


# --- gradient maker ---------------------------------------------------------------------------------------------------


def test_gradient_maker():
    forward = op(0.3, random_seed=9, engine="CUDNN", extra="kept")
    (made,), (name,) = core.GradientRegistry.GetGradientForOp(forward, ["dY", None])
    assert (made.type, made.input, made.output, name) == ("DropoutGrad", ["dY", "mask"], ["X_grad"], "X_grad")
    assert (made.engine, made.device_option.random_seed, made.is_gradient_op) == ("CUDNN", 9, True)
    assert made.arg == forward.arg
    (made,), _ = core.GradientRegistry.GetGradientForOp(op(is_test=1), ["dY", None])
    assert made.input == ["dY"]
    assert GetDropoutGradient(forward, ["dY", "ignored"])[1] == ["X_grad"]


@pytest.mark.parametrize(
    ("operator", "given", "message"),
    [
        (op(), [None, None], "Gradient of output Y is not provided!"),
        (op(outputs=["Y"]), ["dY"], "needs its mask, but the operator has 1 output"),
        (core.CreateOperator("Dropout", "X", ["Y"]), ["dY"], "did not pass schema checking"),
        (op(), ["dY"], "`g_output` must have one entry for each output of Dropout, 2, but got 1"),
        (core.CreateOperator("DropoutGrad", "X", "Y"), ["dY"], r"when creating gradient for \[DropoutGrad\]"),
    ],
)
def test_gradient_maker_refuses(operator, given, message):
    with pytest.raises(RuntimeError, match=message):
        core.GradientRegistry.GetGradientForOp(operator, given)


def test_sparse_gradients_are_refused():
    with pytest.raises(KindError, match="`g_output` must be names of dense gradients"):
        core.GradientRegistry.GetGradientForOp(op(), [("indices", "values"), None])


# --- engine CUDNN -----------------------------------------------------------------------------------------------------


def test_on_a_cpu_engine_cudnn_is_the_default_one():
    feed((50,))
    workspace.RunOperatorOnce(op(random_seed=3, engine="CUDNN"))
    assert workspace.FetchBlob("mask").dtype == np.bool_
    workspace.RunOperatorOnce(op(1.0, engine="NNPACK,CUDNN"))  # the CPU's operator takes ratio 1
    assert "cudnn_dropout_scratch_mask" not in workspace.Blobs()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("n", [0, 1, 8, 1001])
def test_cudnns_functions(dtype, n):
    """They run on any device; here on the CPU, where no operator reaches them."""
    blobs = {}
    forward, x = op(0.25, random_seed=4), torch.ones(n, dtype=dtype)
    cudnn.CUDNN.check(forward, blobs)
    assert blobs == {"cudnn_dropout_scratch_mask": None}
    random = Random(forward, cudnn.CUDNN.seed)
    y, packed = cudnn.CUDNN.function(Run(forward, [x], random, blobs))
    keep = Mask(0.25, 4).keep((n,))
    assert (y.dtype, packed.dtype, packed.shape) == (dtype, torch.uint8, (-(-n // 8),))
    torch.testing.assert_close(y, torch.where(keep, torch.tensor(1 / 0.75), 0.0).to(dtype), rtol=0, atol=0)
    assert blobs["cudnn_dropout_scratch_mask"].view(torch.int64).tolist() == [4, 1]
    backward = grad(0.25)
    cudnn.CUDNN_GRADIENT.check(backward, blobs)
    (dx,) = cudnn.CUDNN_GRADIENT.function(Run(backward, [x, packed], random, blobs))
    assert torch.equal(dx, y)
    assert Random(op(), cudnn.CUDNN.seed).seed == 0  # unset is 0 there


@pytest.mark.parametrize(
    ("check", "definition", "message"),
    [
        (cudnn.CUDNN.check, op(1.0), r"`ratio` must be in \[0, 1\) with engine CUDNN, but got ratio=1\.0"),
        (cudnn.CUDNN.check, op(outputs=["Y"]), "must have a second output for the mask"),
        (cudnn.CUDNN_GRADIENT.check, grad(), "must be in blob 'cudnn_dropout_scratch_mask', but there is no such blob"),
        (cudnn.CUDNN_GRADIENT.check, grad(inputs=["dY"]), "must have the mask as second input"),
    ],
)
def test_cudnn_refuses(check, definition, message):
    with pytest.raises(RuntimeError, match=message):
        check(definition, {})


def test_cudnn_refuses_tensors():
    run = Run(op(), [torch.ones(3, dtype=torch.float64)], Random(op()), {})
    with pytest.raises(RuntimeError, match="to be float or float16, while tensor contains double"):
        cudnn.CUDNN.function(run)
    with pytest.raises(RuntimeError, match=r"The mask must have 2 bytes for 9 elements, but got shape \(1,\)"):
        cudnn.unpack(torch.zeros(1, dtype=torch.uint8), torch.Size((9,)))


# --- definitions and brew ---------------------------------------------------------------------------------------------


def test_brew():
    net = core.Net("net")
    y = brew.dropout(net, "X", "Y", ratio=0.2, is_test=False, use_cudnn=True, engine="other")
    (made,) = net.Proto().op
    assert (y, made.output, made.engine) == ("Y", ["Y", "_Y_mask"], "CUDNN")
    assert isinstance(y, core.BlobReference)

    class Model:
        pass

    model = Model()
    model.net = net
    brew.dropout(model, y, "Z", is_test=0)
    assert net.Proto().op[1].engine == "DEFAULT"
    with pytest.raises(AssertionError, match="Argument 'is_test' is required"):
        brew.dropout(net, "X", "Y")


def test_operators_are_built_without_a_check():
    made = core.CreateOperator(
        "Nonsense", core.BlobReference("a"), (), name="n", flag=True, none=None, x=np.float32(0.5)
    )
    assert (made.input, made.output, made.name) == (["a"], [], "n")
    assert made.arg == [Argument("flag", 1), Argument("x", 0.5)]
    assert type(made.arg[1].value) is float
    made = core.CreateOperator("T", "a", "b", arg=[Argument("x", 1)], mixed=[1, 2.5], array=np.arange(2), name_="s")
    assert [argument.value for argument in made.arg] == [1, [1.0, 2.5], [0, 1], "s"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"random_seed": -1}, RangeError, r"`random_seed` must be in \[0, 2\*\*32 - 1\], but got random_seed=-1"),
        ({"random_seed": 2**32}, RangeError, r"but got random_seed=4294967296"),
        ({"random_seed": 1.5}, KindError, r"`random_seed` must be an integer, but got random_seed=1\.5"),
        ({"x": {}}, KindError, "`x` must be a number, a string or a list of one of them, but got {}"),
        ({"x": [[1]]}, KindError, "`x` must be a number, a string or a list of one of them"),
        ({"x": [1, "a"]}, KindError, "`x` must be a number, a string or a list of one of them"),
    ],
)
def test_operators_that_cannot_be_built(options, kind, message):
    with pytest.raises(kind, match=message):
        core.CreateOperator("Dropout", "X", "Y", **options)


def test_names_must_be_strings():
    with pytest.raises(KindError, match="`inputs` must be a name or a list of names, but got 3"):
        core.CreateOperator("Dropout", 3, "Y")
    with pytest.raises(RangeError, match="`device_type` must be 0"):
        core.DeviceOption(7)


def test_device_scopes():
    with core.DeviceScope(core.DeviceOption(core.CPU, random_seed=3)):
        with core.DeviceScope(core.DeviceOption(core.CUDA)):
            assert op().device_option.device_type == core.CUDA
        assert op().device_option.random_seed == 3
        assert op(random_seed=5).device_option.random_seed == 5
        assert op(device_option=core.DeviceOption(random_seed=8)).device_option.random_seed == 8
    assert op().device_option == core.DeviceOption()
