"""DropConnect and WeightDrop: the law on weights, the moments over masks, and the ways of inference."""

import copy
import math

import numpy as np
import pytest
import torch

import thinned
from thinned import keys, nn
from thinned._errors import KindError, RangeError
from thinned.masks import Mask, rate

KINDS = {
    nn.DropConnectLinear: ((6, 4), (5, 6), torch.nn.Linear),
    nn.DropConnectConv1d: ((3, 4, 2), (2, 3, 7), torch.nn.Conv1d),
    nn.DropConnectConv2d: ((3, 4, 2), (2, 3, 5, 4), torch.nn.Conv2d),
    nn.DropConnectConv3d: ((3, 4, 2), (2, 3, 3, 4, 3), torch.nn.Conv3d),
}
each = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    torch.manual_seed(2)
    arguments, shape, _ = KINDS[kind]
    layer = kind(*arguments, dtype=torch.float64, **options)
    return layer, torch.randn(shape, dtype=torch.float64)


def thin(weight, p, seed):
    return torch.where(Mask(p, seed=seed).keep(weight.shape), weight * rate(p).scale, 0.0)


@each
def test_values(kind):
    layer, x = make(kind, p=0.3)
    thinned.keyed(layer, seed=7)
    output = layer(x)
    plain = copy.deepcopy(layer).eval()
    with torch.no_grad():
        plain.weight.copy_(thin(layer.weight, 0.3, keys.site_seed(7, 0, "")))
    torch.testing.assert_close(output, plain(x), rtol=1e-12, atol=1e-14)
    output.sum().backward()
    assert torch.equal(layer.weight.grad == 0, plain.weight == 0)


@each
def test_it_takes_the_place_of_torchs(kind):
    layer, x = make(kind, p=0.3)
    theirs = KINDS[kind][2](*KINDS[kind][0], dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    assert isinstance(layer, KINDS[kind][2])
    state = torch.get_rng_state()
    assert torch.equal(layer.eval()(x), theirs(x))
    layer.train().p = 0
    assert torch.equal(layer(x), theirs(x))
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(layer) == repr(theirs).replace(type(theirs).__name__, kind.__name__)[:-1] + ", p=0.0, inference='mean')"


@each
def test_moments(kind):
    """Mean and variance over 300 masks, within 6 standard errors; that of a variance from the spread of the squares."""
    layer, x = make(kind, p=0.3)
    torch.manual_seed(3)
    with torch.no_grad():
        draws = torch.stack([layer(x) for _ in range(300)])
        mean, variance = layer.moments(x)
    centred = draws - mean
    assert bool((centred.mean(0).abs() <= 6 * (variance / 300).sqrt() + 1e-12).all())
    squares = centred.square()
    assert bool(((squares.mean(0) - variance).abs() <= 6 * squares.std(0) / math.sqrt(300) + 1e-12).all())


def test_moments_by_hand():
    layer, x = make(nn.DropConnectLinear, p=0.3)
    w, b, a = layer.weight.detach().numpy(), layer.bias.detach().numpy(), x.numpy()
    q = rate(0.3).realised
    mean, variance = layer.moments(x)
    np.testing.assert_allclose(mean.detach(), a @ w.T + b, rtol=1e-12)
    np.testing.assert_allclose(variance.detach(), q / (1 - q) * (a**2) @ (w**2).T, rtol=1e-12)
    layer.p = 1
    mean, variance = layer.moments(x)
    np.testing.assert_array_equal(mean.detach(), np.broadcast_to(b, mean.shape))
    assert not variance.any()


def test_ways_of_inference():
    layer, x = make(nn.DropConnectLinear, p=0.3, inference="gaussian")
    layer.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        draws = torch.stack([layer(x) for _ in range(500)])
        mean, variance = layer.moments(x)
    assert bool(((draws - mean).mean(0).abs() <= 6 * (variance / 500).sqrt()).all())
    spread = (draws - mean).square().mean(0) / variance  # chi-squared with 500 degrees: sd sqrt(2 / 500)
    assert bool(((spread - 1).abs() <= 6 * math.sqrt(2 / 500)).all())
    sampling, _ = make(nn.DropConnectLinear, p=0.3, inference="sample")
    sampling.eval()
    torch.manual_seed(5)
    first = sampling(x)
    torch.manual_seed(5)
    assert torch.equal(first, sampling.train()(x))


def test_weight_masks_do_not_belong_to_rows():
    """One mask for the batch, so a split batch sees the same; and each pass of `predict` has one of its own."""
    layer, x = make(nn.DropConnectLinear, p=0.5)
    whole = thinned.keyed(layer, 3, 1)(x)
    for start, stop in ((0, 2), (2, 5)):
        part = thinned.keyed(layer, 3, 1, batch=(start, stop, 5))(x[start:stop])
        torch.testing.assert_close(part, whole[start:stop])
    found = thinned.predict(layer, x, 4, seed=3, samples=True).samples
    torch.testing.assert_close(found[1], whole.detach())
    assert len({float(sample.sum()) for sample in found}) == 4
    assert layer._key is not None


@each
def test_same_seed_same_output(kind):
    layer, x = make(kind)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))
    assert not torch.equal(first, layer(x))


def test_compiled():
    torch._dynamo.reset()
    layer, x = make(nn.DropConnectLinear)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    want = layer(x)
    torch.manual_seed(1)
    assert torch.equal(fast(x), want)
    thinned.keyed(layer, 1, batch=(0, 5, 10))
    want = layer(x)
    thinned.keyed(layer, 1, batch=(0, 5, 10))
    assert torch.equal(fast(x), want)
    torch._dynamo.reset()


# --- a mask for each example ------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("padding", [0, 1])
def test_each_example_has_a_mask_of_its_own(kind, padding):
    """As the layer of torch on one example after the other, with row i of the mask of (examples, *weight)."""
    conv = kind is not nn.DropConnectLinear
    options = {"padding": padding, "padding_mode": "circular"} if conv else {}
    layer, x = make(kind, p=0.3, per_example=True, **options)
    output = thinned.keyed(layer, seed=7)(x)
    weights = thin(layer.weight.expand(len(x), *layer.weight.shape), 0.3, keys.site_seed(7, 0, ""))
    plain = copy.deepcopy(layer).eval()
    for i, weight in enumerate(weights):
        with torch.no_grad():
            plain.weight.copy_(weight)
        torch.testing.assert_close(output[i : i + 1], plain(x[i : i + 1]), rtol=1e-12, atol=1e-14)
    output.sum().backward()
    assert torch.equal(layer.weight.grad == 0, (weights == 0).all(0))
    part = thinned.keyed(layer, 7, batch=(1, 2, len(x)))(x[1:2])
    torch.testing.assert_close(part, output[1:2], rtol=1e-12, atol=1e-14)
    assert repr(layer).endswith("inference='mean', per_example=True)")
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
    assert torch.equal(layer.eval()(x), plain(x))


def test_axes_between_examples_and_features():
    layer, _ = make(nn.DropConnectLinear, p=0.5, per_example=True)
    x = torch.ones(3, 5, 6, dtype=torch.float64)
    output = layer(x)
    assert bool((output == output[:, :1]).all())  # one mask along axis 1
    assert len(output[:, 0].unique(dim=0)) == 3
    assert layer(x[0, 0]).shape == (4,)  # no batch: one example
    layer.p = 1
    assert torch.equal(layer(x), layer.bias.expand(3, 5, 4))


@each
def test_moments_of_masks_for_each_example(kind):
    """As `test_moments`: the moments of one mask are those of each example's."""
    layer, x = make(kind, p=0.3, per_example=True, inference="sample")
    layer.eval()
    torch.manual_seed(3)
    with torch.no_grad():
        draws = torch.stack([layer(x) for _ in range(300)])
        mean, variance = layer.moments(x)
    assert bool(((draws.mean(0) - mean).abs() <= 6 * (variance / 300).sqrt() + 1e-12).all())
    spread = (draws - mean).square()
    assert bool(((spread.mean(0) - variance).abs() <= 6 * spread.std(0) / math.sqrt(300) + 1e-12).all())


def test_passes_with_a_mask_for_each_example():
    """Mask k of example i is the same in whatever batch it comes; several passes are made at once."""
    layer, x = make(nn.DropConnectLinear, p=0.5, per_example=True)
    whole = thinned.keyed(layer, 3, 1)(x)
    found = thinned.predict(layer, x, 4, seed=3, samples=True).samples
    torch.testing.assert_close(found[1], whole.detach())
    part = thinned.predict(layer, x[2:4], 4, seed=3, samples=True, batch=(2, 4, 5)).samples
    torch.testing.assert_close(part, found[:, 2:4])


def test_compiled_with_a_mask_for_each_example():
    torch._dynamo.reset()
    layer, x = make(nn.DropConnectConv2d, per_example=True)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    want = layer(x)
    torch.manual_seed(1)
    torch.testing.assert_close(fast(x), want)
    torch._dynamo.reset()


def test_wrong_arguments():
    with pytest.raises(RangeError, match=r"`p` must be in \[0, 1\], but got p=2"):
        nn.DropConnectLinear(2, 2, p=2)
    with pytest.raises(RangeError, match="`inference` must be one of mean, gaussian, sample, but got inference='best'"):
        nn.DropConnectConv2d(2, 2, 1, inference="best")
    layer = nn.DropConnectLinear(2, 2)
    with pytest.raises(KindError, match="`p` must be a number"):
        layer.p = "a"


# --- WeightDrop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_recurrent_weights(kind):
    torch.manual_seed(0)
    inner = kind(3, 4, 2, bidirectional=True, dtype=torch.float64)
    layer = nn.WeightDrop(inner, p=0.5)
    assert layer.names == tuple(name for name, _ in inner.named_parameters() if "weight_hh" in name)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    thinned.keyed(layer, seed=4)
    output, _ = layer(x)
    flat = torch.cat([inner.get_parameter(name).detach().reshape(-1) for name in layer.names])
    dropped = thin(flat, 0.5, keys.site_seed(4, 0, ""))
    plain = copy.deepcopy(inner)
    at = 0
    for name in layer.names:
        weight = plain.get_parameter(name)
        weight.data = dropped[at : at + weight.numel()].view_as(weight).clone()
        at += weight.numel()
    torch.testing.assert_close(output, plain(x)[0])
    output.sum().backward()
    assert bool((inner.weight_hh_l0.grad[plain.weight_hh_l0 == 0] == 0).all())
    assert inner.weight_hh_l0.grad.any()


def test_weight_drop_leaves_the_module_alone():
    inner = torch.nn.LSTM(3, 4)
    layer = nn.WeightDrop(inner, p=0.5)
    before, x = copy.deepcopy(inner.state_dict()), torch.randn(5, 3)
    layer(x)
    assert all(torch.equal(inner.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(layer.eval()(x)[0], inner(x)[0])
    assert list(layer.state_dict()) == [f"module.{name}" for name in before]
    assert repr(layer).startswith("WeightDrop(\n  names=('weight_hh_l0',), p=0.5\n")
    linear = nn.WeightDrop(torch.nn.Linear(2, 2), ["weight"], p=1)
    assert torch.equal(linear(torch.ones(1, 2))[0], linear.module.bias)


def test_weight_drop_wants_names():
    with pytest.raises(RangeError, match=r"`names` must name parameters of the module, .* but got \['heavy'\]"):
        nn.WeightDrop(torch.nn.LSTM(2, 2), ["heavy"])
    with pytest.raises(RangeError, match=r"`names` must name parameters of the module, .* but got \[\]"):
        nn.WeightDrop(torch.nn.Linear(2, 2))
