"""Variational, sparse variational and concrete dropout: noise by the law, divergences by numbers, rates that learn."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch

import thinned
from thinned import functional, keys, masks, nn
from thinned._errors import KindError, RangeError
from thinned.functional._noise import normal, uniform


def rows(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the law's numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("shape", [(0,), (5,), (7, 130), (2, 3, 50)])
def test_numbers_are_the_laws(seed, shape):
    like, count = torch.empty(shape, dtype=torch.float64), math.prod(shape)
    for found, law in (
        (uniform(shape, like, seed=seed, stream=3), masks.uniform),
        (normal(like, seed=seed, stream=3), masks.normal),
    ):
        np.testing.assert_allclose(found.numpy().reshape(-1), law(0, count, seed, 3), rtol=0, atol=2**-45)


def test_numbers_of_rows():
    """A window says which rows these are, whatever its other axes are."""
    like = torch.empty(8, 37, dtype=torch.float64)
    whole = normal(like, seed=5)
    for window in (thinned.Window((8, 37), (3, 0)), thinned.Window((8, 5), (3, 0))):
        torch.testing.assert_close(normal(like[3:7], seed=5, window=window), whole[3:7], rtol=0, atol=2**-45)
    window = thinned.Window((8,), (3,))
    assert torch.equal(uniform((4, 37), like, seed=5, window=window), uniform((8, 37), like, seed=5)[3:7])


def test_seed_and_generator():
    with pytest.raises(RangeError, match="`seed` and `generator` must not both be given"):
        normal(torch.empty(2), seed=1, generator=torch.Generator())


# --- VariationalDropout -----------------------------------------------------------------------------------------------


def test_variational_values():
    layer, x = nn.VariationalDropout(4, alpha=0.25).double(), rows(6, 4)
    thinned.keyed(layer, seed=2)
    noise = masks.normal(0, 24, keys.site_seed(2, 0, "")).reshape(6, 4)
    np.testing.assert_allclose(layer(x).detach(), x.numpy() * (1 + 0.5 * noise), rtol=1e-6)
    assert layer.eval()(x) is x


def kl_by_integral(alpha):
    """KL(N(t, alpha t**2) || log-uniform) up to a constant: E ln |1 + sqrt(alpha) e| - ln(alpha) / 2, by quadrature."""
    step = 1e-4  # midpoints; the logarithm's pole adds an error of the order of the step
    points = np.arange(-12, 12, step) + step / 2
    density = np.exp(-0.5 * points**2) / math.sqrt(2 * math.pi)
    return (density * np.log(np.abs(1 + math.sqrt(alpha) * points))).sum() * step - 0.5 * math.log(alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 0.9])
def test_variational_kl(alpha):
    """The paper's polynomial against the integral it fits. Both up to a constant, so differences from alpha = 1."""
    found = float(nn.VariationalDropout(alpha=alpha).kl().detach())
    assert abs(found - (kl_by_integral(alpha) - kl_by_integral(1.0))) < 0.02
    assert abs(float(nn.VariationalDropout(alpha=1.0).kl().detach())) < 1e-6


def test_kl_pulls_alpha_up():
    layer = nn.VariationalDropout(2, alpha=0.1)
    layer.kl().backward()
    assert bool((layer.log_alpha.grad < 0).all())
    assert layer.p == pytest.approx(0.1 / 1.1)
    with pytest.raises(RangeError, match=r"`alpha` must be in \(0, 1\], but got alpha=1.5"):
        nn.VariationalDropout(alpha=1.5)


# --- sparse variational layers ----------------------------------------------------------------------------------------

SPARSE = [
    (lambda: nn.SparseVariationalLinear(6, 4), (5, 6)),
    (lambda: nn.SparseVariationalConv1d(3, 4, 2), (2, 3, 7)),
    (lambda: nn.SparseVariationalConv2d(3, 4, 2), (2, 3, 5, 4)),
    (lambda: nn.SparseVariationalConv3d(3, 4, 2), (2, 3, 3, 4, 3)),
]


@pytest.mark.parametrize(("make", "shape"), SPARSE)
def test_sparse_noise_has_the_moments_of_noisy_weights(make, shape):
    """Mean and variance over 200 draws within 6 standard errors of those of independent noise on each weight."""
    torch.manual_seed(0)
    layer, x = make().double(), rows(*shape)
    with torch.no_grad():
        layer.log_sigma2.fill_(-1.0)
        draws = torch.stack([layer(x) for _ in range(200)])
        mean = layer._apply_weight(x, layer.weight, layer.bias)
        variances = (layer.log_alpha.exp() * layer.weight.square()).expand_as(layer.weight)
        variance = layer._apply_weight(x.square(), variances, None)
    assert bool(((draws - mean).mean(0).abs() <= 6 * (variance / 200).sqrt()).all())
    spread = (draws - mean).square().mean(0) / variance
    assert bool(((spread - 1).abs() <= 6 * math.sqrt(2 / 200)).all())


@pytest.mark.parametrize(("make", "shape"), SPARSE)
def test_sparse_prunes_noise(make, shape):
    layer, x = make().double(), rows(*shape)
    with torch.no_grad():
        layer.log_sigma2.view(-1)[::2] = 5.0  # far more noise than weight
    left = layer.sparse_weight()
    assert torch.equal(left.to_dense() != 0, layer.kept)
    assert layer.kept.view(-1)[1::2].all()
    assert not layer.kept.view(-1)[::2].any()
    assert layer.p == pytest.approx(0.5)
    layer.eval()
    want = layer._apply_weight(x, left.to_dense(), layer.bias)
    torch.testing.assert_close(layer(x), want, rtol=0, atol=0)


def sparse_kl(log_alpha):
    layer = nn.SparseVariationalLinear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.log_sigma2.fill_(log_alpha)
        return float(layer.kl())


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 0.9])
def test_sparse_kl(alpha):
    """The paper's fit against the integral. Both up to a constant, so differences from alpha = 1."""
    want = kl_by_integral(alpha) - kl_by_integral(1.0)
    assert abs(sparse_kl(math.log(alpha)) - sparse_kl(0.0) - want) < 0.02


def test_sparse_kl_falls_to_zero():
    """The more noise, the less information: nothing is left for infinite noise."""
    values = [sparse_kl(x) for x in np.linspace(-8, 8, 30)]
    assert all(one > other for one, other in itertools.pairwise(values))
    assert abs(sparse_kl(10.0)) < 1e-3


def test_sparse_learns_which_inputs_matter():
    """Of 20 inputs 2 matter; the others' weights drown in noise: their log alpha is larger by far, here by over 4."""
    torch.manual_seed(0)
    x = rows(500, 20)
    y = 2 * x[:, :1] - x[:, 1:2] + rows(500, 1, seed=2)
    layer = nn.SparseVariationalLinear(20, 1).double()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for step in range(200):
        thinned.keyed(layer, seed=1, step=step)
        loss = 0.5 * (layer(x) - y).square().mean() + layer.kl() / 500
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    useful, useless = layer.log_alpha[0, :2], layer.log_alpha[0, 2:]
    assert useless.median() > useful.max() + 4
    assert layer.kept[0, :2].all()


# --- ConcreteDropout --------------------------------------------------------------------------------------------------


def test_concrete_values():
    x, logit = rows(30, 20), torch.tensor(math.log(0.3 / 0.7), dtype=torch.float64)
    u = masks.uniform(0, 600, seed=4).reshape(30, 20)
    dropped = 1 / (1 + np.exp(-(math.log(0.3 / 0.7) + np.log(1 - u) - np.log(u)) / 0.1))
    found = functional.concrete_dropout(x, logit, seed=4)
    np.testing.assert_allclose(found, x.numpy() * (1 - dropped) / 0.7, rtol=1e-9)
    hard = functional.concrete_dropout(x, logit, seed=4, temperature=1e-6)
    assert torch.equal(hard != 0, torch.from_numpy(u >= 0.3))
    assert functional.concrete_dropout(x, logit, training=False) is x


def test_concrete_gradient():
    logit = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    x = rows(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, z: functional.concrete_dropout(x, z, seed=1, temperature=0.5), (x, logit))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(torch.nn.Linear(4, 2), (3, 4)), (torch.nn.Conv1d(4, 2, 1), (3, 4, 5)), (torch.nn.Conv2d(4, 2, 1), (3, 4, 5, 6))],
)
def test_concrete_layers(layer, shape):
    wrapped, x = nn.ConcreteDropout(layer, 0.5, examples=10, temperature=1e-4), torch.ones(shape)
    thinned.keyed(wrapped, seed=3)
    seen = []
    layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    wrapped(x).sum().backward()
    kept = seen[0].flatten(2)[:, :, 0] if len(shape) > 2 else seen[0]
    assert torch.equal(kept > 1, torch.from_numpy(masks.uniform(0, 12, keys.site_seed(3, 0, "")).reshape(3, 4) >= 0.5))
    assert bool((seen[0].flatten(2).std(2) == 0).all()) if len(shape) > 2 else True
    assert wrapped.logit.grad is not None
    assert torch.equal(wrapped.eval()(x), layer(x))


def test_concrete_penalty():
    layer = nn.ConcreteDropout(torch.nn.Linear(4, 2), 0.2, examples=100, length_scale=0.5, precision=3.0)
    squares = layer.layer.weight.detach().square().sum().item()
    entropy = 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    want = 0.25 / 300 * squares / 0.8 + 2 / 300 * 4 * entropy
    assert layer.penalty().item() == pytest.approx(want, rel=1e-5)
    layer.p = 0.4
    assert layer.p == pytest.approx(0.4)
    assert list(dict(layer.named_parameters())) == ["logit", "layer.weight", "layer.bias"]


@pytest.mark.parametrize("examples", [20, 20_000])
def test_concrete_learns_the_rate(examples):
    """Much data and a noiseless target: the rate falls; hardly any: the prior's entropy raises it."""
    torch.manual_seed(0)
    x = rows(200, 10).float()
    y = x.sum(1, keepdim=True)
    layer = nn.ConcreteDropout(torch.nn.Linear(10, 1), 0.2, examples=examples, precision=2.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(150):
        weight = 1.0 if examples > 200 else 1e-3
        loss = weight * (layer(x) - y).square().mean() + layer.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert layer.p < 0.1 if examples > 200 else layer.p > 0.3


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"p": 0}, RangeError, r"`p` must be in \(0, 1\) to be learned, but got p=0\.0"),
        ({"p": 1.5}, RangeError, r"`p` must be in \[0, 1\], but got p=1\.5"),
        ({"layer": torch.nn.ReLU()}, KindError, "`layer` must be a Linear, Conv1d, Conv2d or Conv3d, but got ReLU"),
        ({"examples": 0}, RangeError, "`examples` must be at least 1"),
        ({"temperature": 0}, RangeError, "`temperature` must be above 0, but got temperature=0"),
        ({"precision": -1}, RangeError, "`precision` must be above 0, but got precision=-1"),
    ],
)
def test_wrong_concrete_arguments(options, kind, message):
    with pytest.raises(kind, match=message):
        nn.ConcreteDropout(**{"layer": torch.nn.Linear(1, 1), "examples": 5, **options})


# --- all of them ------------------------------------------------------------------------------------------------------

ALL = [
    (lambda: nn.VariationalDropout(6), (5, 6)),
    *SPARSE,
    (lambda: nn.ConcreteDropout(torch.nn.Linear(6, 3), examples=9), (5, 6)),
]
each = pytest.mark.parametrize(("make", "shape"), ALL)


@each
def test_randomness(make, shape):
    layer, x = make().double(), rows(*shape)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = layer(x)
        torch.manual_seed(1)
        assert torch.equal(layer(x), first)
        assert not torch.equal(layer(x), first)
    state = torch.get_rng_state()
    assert torch.equal(layer.eval()(x), layer(x))
    assert torch.equal(torch.get_rng_state(), state)


@each
def test_keys_and_passes(make, shape):
    layer, x = make().double(), rows(*shape)
    whole = thinned.keyed(layer, 3, 1)(x)
    part = thinned.keyed(layer, 3, 1, batch=(1, 2, len(x)))(x[1:2])
    torch.testing.assert_close(part, whole[1:2])
    found = thinned.predict(layer, x, 3, seed=3, samples=True).samples
    torch.testing.assert_close(found[1], whole.detach())
    assert not torch.equal(found[0], found[2])


@each
def test_copies_and_state(make, shape):
    layer, x = make().double().eval(), rows(*shape)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
    other = make().double()
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other.eval()(x), layer(x))


def test_compiled():
    """One model of all kinds, which compiles faster than a model of each."""
    torch._dynamo.reset()
    soft = nn.ConcreteDropout(torch.nn.Linear(3, 3), examples=9)
    model = torch.nn.Sequential(nn.VariationalDropout(6), nn.SparseVariationalLinear(6, 3), soft).double()
    fast, x = torch.compile(model, backend="aot_eager", fullgraph=True), rows(5, 6)
    torch.manual_seed(1)
    want = model(x)
    torch.manual_seed(1)
    torch.testing.assert_close(fast(x), want, rtol=1e-12, atol=1e-14)
    thinned.keyed(model, 1, 2, batch=(5, 10, 10))
    want = model(x)
    thinned.keyed(model, 1, 2, batch=(5, 10, 10))
    torch.testing.assert_close(fast(x), want, rtol=1e-12, atol=1e-14)
    torch._dynamo.reset()


def test_kl_of_a_model():
    parts = [nn.VariationalDropout(3, alpha=0.2), nn.SparseVariationalLinear(3, 2)]
    model = torch.nn.Sequential(parts[0], torch.nn.ReLU(), parts[1])
    torch.testing.assert_close(nn.kl_divergence(model), parts[0].kl() + parts[1].kl())
    assert nn.kl_divergence(torch.nn.ReLU()) == 0
