"""`Chain` computes what a dense network with the same mask does: outputs, gradients, and what training makes of it."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masked import Masked, error, rounding, trained
from torch import nn

import thinned
from thinned.batchwise import Chain, SubmatrixGrad, _linear
from thinned.batchwise._structure import ELEMENTWISE

EXACT = 1e-10
RATES = [0.0, 0.01, 0.5, 0.99]
SIZES = st.sampled_from([1, 2, 7, 100])


def activation(kind):
    if kind is nn.Threshold:
        return kind(0.1, 0.3)
    return kind().eval() if kind is nn.RReLU else kind()  # in training it draws for each element that it sees


def chain(sizes, rates, *, input_rate=None, kind=nn.ReLU, norm=None, bias=True, seed=0, **options):
    """Linear, BatchNorm1d, activation and Dropout for each hidden layer; a Linear at the end."""
    torch.manual_seed(seed)
    layers = [] if input_rate is None else [thinned.nn.Dropout(input_rate)]
    for inputs, outputs, p in zip(sizes[:-2], sizes[1:-1], rates, strict=False):
        layers += [nn.Linear(inputs, outputs, bias=bias)]
        layers += [] if norm is None else [nn.BatchNorm1d(outputs, **norm)]
        layers += [activation(kind), thinned.nn.Dropout(p)]
    made = Chain(*layers, nn.Linear(*sizes[-2:], bias=bias), **options).double()
    for layer in made:  # so that an error in scale or shift shows
        if isinstance(layer, nn.BatchNorm1d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.uniform_(layer.bias, -1.0, 1.0)
    return made


def grads(model):
    return [None if p.grad is None else p.grad + 0 for p in copy.deepcopy(model).parameters()]


def dense(grad):
    return grad.clone() if isinstance(grad, SubmatrixGrad) else grad


def compare(ours, masked, x, seed=1, step=0, tolerance=EXACT):
    """One forward and backward of both."""
    x, x2 = (x.detach().clone().requires_grad_(x.requires_grad) for _ in range(2))
    y, wanted = thinned.keyed(ours, seed, step)(x), masked(x2, seed, step)
    assert error(y, wanted) <= tolerance
    weights = torch.randn(wanted.shape, dtype=wanted.dtype)
    if y.requires_grad:
        (y * weights).sum().backward()
        (wanted * weights).sum().backward()
    masked.settle()
    assert (x.grad is None) == (x2.grad is None)
    if x.grad is not None:
        assert error(x.grad, x2.grad) <= tolerance
    for (name, parameter), theirs in zip(ours.named_parameters(), masked.parameters(), strict=True):
        assert parameter.requires_grad == theirs.requires_grad
        assert (parameter.grad is None) == (theirs.grad is None), name
        if parameter.grad is not None:
            assert near(dense(parameter.grad), theirs.grad, masked.parameters(), tolerance), name
    for (name, buffer), theirs in zip(ours.named_buffers(), masked.net.buffers(), strict=True):
        assert error(buffer, theirs) <= tolerance, name


def near(grad, wanted, parameters, tolerance):
    """Relative to the largest gradient of all: one that is zero but for rounding has no size of its own."""
    size = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
    return float((grad - wanted).abs().max()) <= tolerance * max(size, 1e-30)


# --- one step ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=2, max_size=5),
    rates=st.lists(st.sampled_from(RATES), min_size=3, max_size=3),
    input_rate=st.sampled_from([None, *RATES]),
    rows=st.integers(1, 9),
    groups=st.integers(1, 9),
    units=st.sampled_from(["random", "slice"]),
    multiple_of=st.sampled_from([1, 1, 3, 16]),
    kind=st.sampled_from(sorted(ELEMENTWISE, key=str)),
    bias=st.booleans(),
    time=st.sampled_from([None, None, 1, 3]),
    wants_input=st.booleans(),
    frozen=st.integers(0, 9),
)
def test_one_step(
    sizes, rates, input_rate, rows, groups, units, multiple_of, kind, bias, time, wants_input, frozen
) -> None:
    options = {"groups": min(groups, rows), "units": units, "multiple_of": multiple_of}
    net = chain(sizes, rates, input_rate=input_rate, kind=kind, bias=bias, **options)
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number != frozen)
    shape = (rows, sizes[0]) if time is None else (rows, time, sizes[0])
    compare(net, Masked(net), torch.randn(shape, dtype=torch.float64, requires_grad=wants_input))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=3, max_size=4),
    rates=st.lists(st.sampled_from(RATES), min_size=3, max_size=3),
    rows=st.integers(4, 9),
    units=st.sampled_from(["random", "slice"]),
    affine=st.booleans(),
    track=st.booleans(),
    training=st.booleans(),
)
def test_batch_norm(sizes, rates, rows, units, affine, track, training) -> None:
    norm = {"affine": affine, "track_running_stats": track, "momentum": 0.3}
    net = chain(sizes, rates, norm=norm, units=units)
    masked = Masked(net)
    for _ in range(2):  # the second time with statistics that are not the first ones
        compare(net, masked, torch.randn(rows, sizes[0], dtype=torch.float64, requires_grad=True))
        net.zero_grad(), masked.net.zero_grad()
        for both in (net, masked.net):
            for layer in both:
                if isinstance(layer, nn.BatchNorm1d):
                    layer.train(training)


@pytest.mark.parametrize("kind", sorted(ELEMENTWISE, key=str), ids=lambda kind: kind.__name__)
def test_activation_between_dropout_and_linear(kind) -> None:
    """Those that map 0 to 0 see only what is kept; for the others the dropout is an ordinary one."""
    torch.manual_seed(0)
    layers = [nn.Linear(9, 20), thinned.nn.Dropout(0.5), activation(kind), nn.Linear(20, 3)]
    net = Chain(*layers).double()
    x = torch.randn(5, 9, dtype=torch.float64)
    thinned.keyed(net, 3)(x).sum().backward()
    keeps = not bool(activation(kind)(torch.zeros(1)).any())
    assert isinstance(net[0].weight.grad, SubmatrixGrad) == keeps
    if keeps:
        net.zero_grad()
        compare(net, Masked(net), x.requires_grad_())


@pytest.mark.parametrize("groups", [1, 3])
def test_float32_is_as_exact_as_torch(groups) -> None:
    net = chain([100, 200, 150, 10], [0.5, 0.5], input_rate=0.2, groups=groups).float()
    x = torch.randn(64, 100)
    oracle, theirs = Masked(net, torch.float64), Masked(net)

    def run(model, x, key):
        x = x.clone().requires_grad_()
        y = model(x, 1, 2) if key else thinned.keyed(model, 1, 2)(x)
        y.square().sum().backward()
        parameters = model.parameters()
        return [y, x.grad, *(dense(p.grad) for p in parameters)]

    for ours, torchs, wanted in zip(
        run(net, x, False), run(theirs, x, True), run(oracle, x.double(), True), strict=True
    ):
        assert rounding(ours, wanted) <= 2 * rounding(torchs, wanted)


@pytest.mark.parametrize("frozen", [None, 0, 1, 2, 5, 7])
@pytest.mark.parametrize("wants_input", [False, True])
@pytest.mark.parametrize("rows", [7, 300])  # around what is a large batch
def test_products_in_one_go(rows, wants_input, frozen) -> None:
    """What only ReLUs separate is one step of autograd in small batches, and several in large ones."""
    torch.manual_seed(0)
    layers = [nn.Dropout(0.2), nn.Linear(9, 14), nn.ReLU(), nn.Dropout(0.5), nn.Linear(14, 12, bias=False), nn.ReLU()]
    layers += [nn.Dropout(0.3), nn.Linear(12, 10), nn.ReLU(), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 8), nn.ReLU()]
    net = Chain(*layers, nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)).double()
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number != frozen and (frozen != 7 or number > 6))
    compare(net, Masked(net), torch.randn(rows, 9, dtype=torch.float64, requires_grad=wants_input))


def test_a_large_weight_is_gathered_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr(_linear, "PIECE", 64)
    for options in ({}, {"groups": 3}):
        net = chain([40, 60, 30, 3], [0.5, 0.5], input_rate=0.2, **options)
        compare(net, Masked(net), torch.randn(300, 40, dtype=torch.float64, requires_grad=True))


# --- ten steps --------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": (thinned.optim.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (thinned.optim.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "adam": (thinned.optim.Adam, torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adamw": (thinned.optim.AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


def torch_step(optimizer, parameters, kept):
    """A step of torch's optimizer, undone for weights, and their state, that were not kept."""
    if kept is None:
        return optimizer.step()
    weights = [p.detach().clone() for p in parameters]
    states = [
        {k: v.clone() for k, v in optimizer.state[p].items() if torch.is_tensor(v) and v.shape == p.shape}
        for p in parameters
    ]
    optimizer.step()
    with torch.no_grad():
        for parameter, weight, state, mask in zip(parameters, weights, states, kept, strict=True):
            parameter[~mask] = weight[~mask]
            for name, value in optimizer.state[parameter].items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    value[~mask] = state[name][~mask] if name in state else 0.0
    return None


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("dropped", "dtype", "chosen"),
    [
        ("freeze", torch.float64, {}),
        ("freeze", torch.float64, {"units": "slice", "multiple_of": 4}),
        ("freeze", torch.float32, {}),
        ("dense", torch.float64, {}),
        ("dense", torch.float64, {"units": "slice"}),
        ("dense", torch.float64, {"groups": 3}),
        ("dense", torch.float32, {}),
    ],
)
def test_ten_steps(name, dropped, dtype, chosen) -> None:
    """In `freeze` the weights that were never kept are those of the beginning, to the bit."""
    ours, torchs, options = OPTIMIZERS[name]
    # A bias before a BatchNorm1d has a gradient of nothing but rounding, which Adam makes as large as any other.
    norm = None if "groups" in chosen or dtype is torch.float32 else {}
    net = chain([20, 30, 25, 5], [0.5, 0.9], input_rate=0.2, norm=norm, bias=norm is None, kind=nn.Tanh, **chosen)
    net = net.to(dtype)
    masked = Masked(net)
    oracle = Masked(net, torch.float64)
    start = [p.detach().clone() for p in net.parameters()]
    optimizer = ours(net.parameters(), dropped=dropped, **options)
    others = [(m, torchs(m.parameters(), **options)) for m in (masked, oracle)]
    ever = [torch.zeros_like(p, dtype=torch.bool) for p in net.parameters()]
    patterns = set()
    for step in range(10):
        x = torch.randn(12, 20, dtype=dtype)
        optimizer.zero_grad()
        thinned.keyed(net, 5, step)(x).square().mean().backward()
        optimizer.step()
        for other, its in others:
            its.zero_grad()
            other(x.to(other.parameters()[0].dtype), 5, step).square().mean().backward()
            other.settle()
            kept = [*trained(net, other).values()]
            torch_step(its, other.parameters(), kept if dropped == "freeze" else None)
        ever = [a | b for a, b in zip(ever, kept, strict=True)]
        patterns.add(str([k.int().tolist() for k in masked.kept.values()]))
    assert len(patterns) == 10
    if dtype is torch.float32:  # mean over all weights: where a gradient is near zero, Adam makes its rounding large
        ours, theirs, wanted = (
            torch.cat([p.detach().double().flatten() for p in m.parameters()]) for m in (net, masked, oracle)
        )
        assert (ours - wanted).abs().mean() <= 2 * (theirs - wanted).abs().mean()
    for parameter, theirs, first, mask in zip(net.parameters(), masked.parameters(), start, ever, strict=True):
        assert dtype is torch.float32 or error(parameter, theirs) <= EXACT
        if dropped == "freeze":
            assert torch.equal(parameter[~mask], first[~mask])
    assert dropped == "dense" or not all(bool(mask.all()) for mask in ever)


# --- edge cases -------------------------------------------------------------------------------------------------------


def test_p_of_one() -> None:
    """+0.0 from there on, and a gradient of +0.0, even of an upstream gradient that is not finite."""
    net = chain([4, 6, 3], [1.0], bias=False)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = net(x)
    assert torch.equal(y, torch.zeros(5, 3, dtype=torch.float64))
    y.backward(torch.full_like(y, torch.inf))
    assert not net[0].weight.grad.any()
    assert not x.grad.any()


def test_p_of_zero_draws_nothing() -> None:
    net, x = chain([4, 6, 3], [0.0], input_rate=0.0), torch.randn(5, 4, dtype=torch.float64)
    state = torch.get_rng_state()
    assert torch.equal(net(x), nn.Sequential(*net)(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_p_close_to_zero_keeps_every_unit() -> None:
    """k = n: floor(7 * 0.99 + 0.5) = 7."""
    net = chain([7, 7, 3], [0.01])
    x = torch.randn(5, 7, dtype=torch.float64)
    assert error(net(x), net.eval()(x)) <= EXACT


def test_eval_is_the_dense_network_to_the_bit() -> None:
    net = chain([50, 60, 70, 3], [0.5, 0.5], input_rate=0.2, norm={})
    x = torch.randn(9, 50, dtype=torch.float64)
    net(x)
    net.eval()
    state = torch.get_rng_state()
    assert torch.equal(net(x), nn.Sequential(*net)(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_dropout_layer_has_a_mode_of_its_own() -> None:
    net = chain([9, 20, 30, 3], [0.5, 0.5], norm={})
    x = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)
    net[3].eval()
    masked = Masked(net)
    compare(net, masked, x)
    assert [*masked.kept] == ["7"]
    net.eval()
    net[3].train()  # Monte Carlo dropout
    net.zero_grad()
    masked = Masked(net)
    compare(net, masked, x)
    assert [*masked.kept] == ["3"]


@pytest.mark.parametrize("sites", [[0.5, 0.5], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]])
def test_rates_next_to_each_other(sites) -> None:
    """Two dropout layers between the same linear layers: the first is an ordinary one."""
    torch.manual_seed(0)
    layers = [nn.Linear(9, 20), thinned.nn.Dropout(sites[0]), nn.ReLU(), thinned.nn.Dropout(sites[1]), nn.Linear(20, 3)]
    net, x = Chain(*layers).double(), torch.randn(6, 9, dtype=torch.float64)
    thinned.keyed(net, 1)
    y = net(x)
    hidden = thinned.keyed(Chain(*layers).double(), 1)[:3](x)
    wanted = nn.functional.linear(hidden, net[4].weight, net[4].bias)
    if sites[1] == 1.0:
        assert error(y, net[4].bias.expand(6, 3)) <= EXACT
    elif sites[1] == 0.5:
        keep = torch.zeros(20, dtype=torch.bool)
        keep[thinned.Mask(0.5, thinned.keys.site_seed(1, 0, "3")).units(20)[0]] = True
        wanted = nn.functional.linear(torch.where(keep, hidden * 2, 0.0), net[4].weight, net[4].bias)
        assert error(y, wanted) <= EXACT


def test_empty_batch() -> None:
    for groups in (1, 3):
        net = chain([4, 6, 3], [0.5], input_rate=0.5, groups=groups)
        for shape in [(0, 4), (0, 2, 4), (2, 0, 4)]:
            x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
            y = net(x)
            assert y.shape == (*shape[:-1], 3)
            y.sum().backward()
            assert x.grad.shape == shape
            assert not dense(net[1].weight.grad).any()


def test_one_axis() -> None:
    net = chain([4, 6, 3], [0.5], input_rate=0.5)
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    y = thinned.keyed(net, 1)(x)
    assert torch.equal(y, thinned.keyed(net, 1)(x[None])[0])


def test_one_axis_of_indices_is_a_batch() -> None:
    """What becomes features only inside the chain is no example of its own."""
    torch.manual_seed(0)
    net = Chain(nn.Embedding(5, 8), nn.Linear(8, 10), nn.BatchNorm1d(10), nn.Dropout(0.5), nn.Linear(10, 3))
    x = torch.tensor([0, 1, 2, 3, 4, 0])
    whole = thinned.keyed(net, 1)(x)
    assert whole.shape == (6, 3)
    net[2] = nn.Identity()
    net.configure(groups=6)
    whole = thinned.keyed(net, 1)(x)
    assert error(thinned.keyed(net, 1, batch=(2, 4, 6))(x[2:4]), whole[2:4]) <= 1e-6


def test_meta_device() -> None:
    for device in ("cpu", "meta"):  # one of them as the default
        with torch.device(device):
            layers = [nn.Dropout(0.2), nn.Linear(8, 9), nn.PReLU(), nn.Dropout(0.5), nn.PReLU(), nn.Linear(9, 2)]
            net = Chain(*layers).to("meta")
            y = net(torch.empty(5, 8, device="meta"))
        assert y.is_meta
        assert y.shape == (5, 2)


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (5, 2, 5)])
@pytest.mark.parametrize("input_rate", [None, 0.5])
def test_a_wrong_number_of_features_raises(input_rate, shape) -> None:
    net = chain([4, 6, 3], [0.5], input_rate=input_rate)
    with pytest.raises(ValueError, match="`input` must have 4 features, but got shape"):
        net(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("time", [(), (3,)])
def test_layers_that_work_in_place(inplace, time) -> None:
    torch.manual_seed(0)
    net = Chain(nn.Linear(4, 6), nn.ReLU(inplace), nn.Dropout(0.5, inplace), nn.Linear(6, 3)).double()
    compare(net, Masked(chain_like(net)), torch.randn(5, *time, 4, dtype=torch.float64, requires_grad=True))


def chain_like(net):
    """A copy without anything that works in place, which the masked network does not do."""
    net = copy.deepcopy(net)
    for layer in net:
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return net


def test_random_activations_draw_only_when_called() -> None:
    """RReLU draws in training, and finding out what can be thinned is no use of it."""
    layers = [nn.Linear(4, 6), nn.Dropout(0.5), nn.RReLU(), nn.Linear(6, 3)]
    state = torch.get_rng_state()
    thinned.plan(nn.Sequential(*layers), batchwise=True)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype) -> None:
    net = chain([40, 60, 30, 3], [0.5, 0.5], input_rate=0.2).to(dtype)
    x = torch.randn(8, 40, dtype=dtype, requires_grad=True)
    oracle, theirs = Masked(net, torch.float64), Masked(net)
    y = thinned.keyed(net, 1)(x)
    assert y.dtype == dtype
    wanted = oracle(x.detach().double(), 1, 0)
    assert rounding(y, wanted) <= 2 * max(rounding(theirs(x, 1, 0), wanted), torch.finfo(torch.float64).eps)
    y.sum().backward()
    assert all(p.grad.dtype == p.dtype for p in net.parameters())
