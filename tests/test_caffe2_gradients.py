"""Backward passes of nets, against finite differences; and how an operator is added."""

import numpy as np
import pytest
import torch

from thinned._errors import KindError, RangeError
from thinned.caffe2 import core, register_cpu_operator, registry, workspace


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    workspace.ResetWorkspace()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(core.GradientRegistry, "_python", {})


def loss(net, y, feeds, seeds):
    """The sum of y times its upstream gradient, in float64."""
    for name, value in feeds.items():
        workspace.FeedBlob(name, value)
    workspace.RunNetOnce(net)
    return float((workspace.FetchBlob(y).astype(np.float64) * seeds).sum())


def check(net, y, feeds, step=1e-2, rtol=2e-3):
    """Each gradient against central differences; the nets here are linear where they are probed, to float32."""
    forward = core.Net("forward")
    forward.Proto().op.extend(net.Proto().op)
    loss(forward, y, feeds, 0)
    seeds = np.random.default_rng(1).normal(size=workspace.FetchBlob(y).shape).astype(np.float32)
    workspace.FeedBlob("seeds", seeds)
    gradients = net.AddGradientOperators({y: "seeds"})
    for name, value in feeds.items():
        workspace.FeedBlob(name, value)
    workspace.RunNetOnce(net)
    found = {name: workspace.FetchBlob(gradients[name]) for name in feeds}
    for name, value in feeds.items():
        numeric = np.empty(value.shape)
        for index in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * step
                sides.append(loss(forward, y, {**feeds, name: moved}, seeds))
            numeric[index] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(found[name], numeric, rtol=rtol, atol=rtol, err_msg=name)


def data(*shape, seed=0):
    """Away from 0, where Relu has a corner, by more than the step."""
    x = np.random.default_rng(seed).normal(size=shape)
    return (x + np.sign(x) * 0.1).astype(np.float32)


@pytest.mark.parametrize("engine", ["thinned", "caffe2"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("is_test", [0, 1])
def test_dropout(engine, ratio, is_test):
    net = core.Net("net")
    net.Dropout("X", ["Y", "mask"], ratio=ratio, is_test=is_test, random_seed=2, random_engine=engine)
    check(net, "Y", {"X": data(4, 5)})


def test_a_small_network():
    net = core.Net("net")
    net.FC(["X", "W1", "b1"], "hidden")
    net.Relu("hidden", "active")
    net.Dropout("active", ["thin", "mask"], ratio=0.4, is_test=0, random_seed=3)
    net.FC(["thin", "W2", "b2"], "Y")
    feeds = {"X": data(3, 4), "W1": data(6, 4, seed=1), "b1": 8 + data(6), "W2": data(2, 6, seed=2), "b2": data(2)}
    check(net, "Y", feeds, rtol=1e-2)


def test_in_place():
    net = core.Net("net")
    net.Scale("X", "H", scale=3.0)
    net.Dropout("H", ["H", "mask"], ratio=0.5, is_test=0, random_seed=1)
    net.Scale("H", "H", scale=0.5)
    net.Relu("H", "H")
    check(net, "H", {"X": data(3, 4)})


def test_a_blob_that_is_used_often():
    """Its gradients are added up; a sum hands one gradient to all its terms."""
    net = core.Net("net")
    net.Scale("X", "A", scale=2.0)
    net.Copy("X", "B")
    net.Sum(["A", "B", "X", "X"], "C")
    net.Relu("A", "D")
    net.Sum(["C", "D", "Z"], "Y")
    check(net, "Y", {"X": data(2, 3), "Z": data(2, 3, seed=4)})
    assert {op.type for op in net.Proto().op} >= {"Sum", "Scale", "ReluGradient", "Copy"}


def test_gradients_of_sums_in_place_do_not_disturb_each_other():
    net = core.Net("net")
    net.Scale("B", "Q", scale=2.0)
    net.Relu("Q", "Z")
    net.Copy("Z", "S")
    net.Sum(["S", "Q"], "S")
    net.Scale("S", "S", scale=-1.0)
    net.Sum(["S", "B"], "Y")
    check(net, "Y", {"B": data(5)})


def test_several_outputs_and_seeds_of_ones():
    net = core.Net("net")
    net.Scale("X", "A", scale=2.0)
    net.Scale("A", "B", scale=5.0)
    gradients = net.AddGradientOperators(["A", "B"])
    workspace.FeedBlob("X", data(3))
    workspace.RunNetOnce(net)
    np.testing.assert_array_equal(workspace.FetchBlob(gradients["X"]), np.full(3, 12, np.float32))
    np.testing.assert_array_equal(workspace.FetchBlob("B_autogen_grad"), np.ones(3, np.float32))
    assert gradients["X"] == "X_grad"


def test_what_has_no_gradient_stops():
    net = core.Net("net")
    net.ConstantFill("X", "ones", value=1.0)
    net.Sum(["X", "ones"], "Y")
    net.Relu("Y", "unused")
    gradients = net.AddGradientOperators(["Y"])
    assert {"X", "ones", "Y"} == set(gradients)
    assert "ReluGradient" not in {op.type for op in net.Proto().op}


def test_an_overwritten_blob_is_found():
    net = core.Net("net")
    net.FC(["X", "W", "b"], "Y")
    net.Relu("X", "X")
    with pytest.raises(RuntimeError, match="The gradient of FC needs 'X' as it was then, but another operator has"):
        net.AddGradientOperators(["Y"])


def test_wrong_starts():
    net = core.Net("net")
    net.Relu("X", "Y")
    with pytest.raises(RuntimeError, match="`ys` must be outputs of the operators, but 'Z' is none"):
        net.AddGradientOperators(["Z"])
    with pytest.raises(RuntimeError, match="`ys` must be a list or a dictionary of blobs, but got the string 'Y'"):
        net.AddGradientOperators("Y")


@pytest.mark.parametrize("type", ["Relu", "Scale", "Copy", "Sum", "FC"])
def test_gradients_that_are_not_given(type):
    inputs = ["X", "W", "b"] if type == "FC" else ["X"]
    with pytest.raises(RuntimeError, match="Gradient of output Y is not provided!"):
        core.GradientRegistry.GetGradientForOp(core.CreateOperator(type, inputs, "Y"), [None])


# --- adding operators -------------------------------------------------------------------------------------------------


def cube(run):
    return [run.tensor(0) ** 3]


def test_a_gradient_in_python():
    register_cpu_operator("Cube", cube)
    register_cpu_operator("CubeGrad", lambda run: [3 * run.tensor(0) ** 2 * run.tensor(1)], inputs=2)
    operator = core.CreateOperator("Cube", "X", "Y", random_seed=3)
    with pytest.raises(RuntimeError, match=r"when creating gradient for \[Cube\]: there is none"):
        core.GradientRegistry.GetGradientForOp(operator, ["dY"])

    @core.GradientRegistry.RegisterGradient("Cube")
    def gradient(op, g_output):
        return [core.CreateOperator("CubeGrad", [op.input[0], g_output[0]], "X_grad")], ["X_grad"]

    assert core.GradientRegistry.GetGradientForOp(operator, ["dY"]) == gradient(operator, ["dY"])
    net = core.Net("net")
    net.Cube("X", "Y")
    check(net, "Y", {"X": data(4)})


def test_registering():
    entry = register_cpu_operator("Twice", lambda run: [run.tensor(0), run.tensor(0)], inputs=(1, 2), outputs=(1, 2))
    assert core.IsOperator("Twice")
    assert (entry.schema.inputs, entry.schema.outputs) == ((1, 2), (1, 2))
    workspace.FeedBlob("X", np.ones(2))
    workspace.RunOperatorOnce(core.CreateOperator("Twice", "X", ["A", "B"]))
    with pytest.raises(RuntimeError, match="The function of operator 'Twice' must return 1 outputs, but returned 2"):
        workspace.RunOperatorOnce(core.CreateOperator("Twice", "X", ["A"]))
    with pytest.raises(RangeError, match="`type` must be new, but there is an operator 'Twice' already"):
        register_cpu_operator("Twice", cube)
    with pytest.raises(KindError, match="`function` must be callable, but got 3"):
        register_cpu_operator("Third", 3)


def test_a_failing_function_changes_nothing():
    def fails(run):
        raise RuntimeError(f"broken: {run.definition.type}")

    register_cpu_operator("Fails", fails, inplace=[(0, 0)])
    workspace.FeedBlob("X", np.ones(2))
    with pytest.raises(RuntimeError, match="broken: Fails"):
        workspace.RunOperatorOnce(core.CreateOperator("Fails", "X", "X"))
    np.testing.assert_array_equal(workspace.FetchBlob("X"), np.ones(2))


def test_run_on_device():
    definition = core.CreateOperator("Relu", "X", "Y")
    blobs = {}
    run = registry.Run(definition, [torch.tensor([-1.0, 2.0])], None, blobs)
    (y,) = registry.find(definition).run_on_device(run)
    assert y.tolist() == [0.0, 2.0]
    assert blobs == {}
