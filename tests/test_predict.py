"""Monte Carlo dropout: the masks of each pass, the statistics of all passes, and a model left as it was."""

import math

import numpy as np
import pytest
import torch
from cases import CASES
from torch.nn import functional as torchs

import thinned
from thinned import keys, nn
from thinned._errors import KindError, MissingExtraError, RangeError
from thinned.masks import Mask, rate


def mlp(kind=nn.Dropout, p=0.3, out=2):
    torch.manual_seed(5)
    layers = [
        torch.nn.Linear(3, 7),
        torch.nn.ReLU(),
        kind(p),
        torch.nn.Linear(7, 7),
        kind(0.5),
        torch.nn.Linear(7, out),
    ]
    return torch.nn.Sequential(*layers)


def rows(count, *shape):
    return torch.randn(count, *(shape or (3,)), generator=torch.Generator().manual_seed(1))


def one_by_one(model, x, passes, seed=0):
    """What `predict` says it is: pass k is the model under `keyed(model, seed, step=k)`."""
    model.eval()
    for _, site in keys.sites(model):
        site.train()
    with torch.no_grad():
        return torch.stack([thinned.keyed(model, seed, step=k)(x) for k in range(passes)]).double()


def samples(model, x, passes=6, **options):
    return thinned.predict(model, x, passes, samples=True, **options).samples


def close(found, want):
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)  # blocks of other sizes, sums in another order


# --- the masks --------------------------------------------------------------------------------------------------------


def test_masks_are_the_laws():
    """Mask k of row i, bit for bit, from the law alone."""
    model, x = nn.Dropout(0.3), torch.ones(5, 11)
    found = samples(model, x, 4, seed=9)
    for k in range(4):
        keep = Mask(0.3, seed=keys.site_seed(9, k, "")).keep((5, 11))
        want = torch.where(keep, torch.tensor(rate(0.3).scale, dtype=torch.float32), 0.0).double()
        assert torch.equal(found[k], want)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Dropout(0.3), (40, 6)),
        (nn.Dropout(1e-3), (300,)),
        (nn.Dropout(0.3, shared_axes=1), (5, 6)),
        (nn.Dropout(0.3, shared_axes=0), (6,)),
        (nn.Dropout1d(0.3), (4, 5)),
        (nn.Dropout2d(0.3), (4, 3, 3)),
        (nn.Dropout3d(0.3), (4, 2, 3, 2)),
    ],
    ids=str,
)
def test_each_pass_is_a_keyed_forward(model, shape):
    x = rows(5, *shape)
    assert torch.equal(samples(model, x, seed=3), one_by_one(model, x, 6, seed=3))


@pytest.mark.parametrize("case", [case for case in CASES if case.splits], ids=str)
def test_each_pass_of_any_layer_is_a_keyed_forward(case):
    model, x = case.make(), case.input()
    found = thinned.predict(torch.nn.Sequential(model), x, 3, seed=3, samples=True).samples
    want = one_by_one(torch.nn.Sequential(model), x, 3, seed=3)
    if case.drops:
        assert torch.equal(found, want)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer", [nn.SparseDropoutWithReplacement(0.5), nn.SparseItemwiseDropoutWithReplacement(0.5)], ids=str
)
def test_ids(layer):
    """Examples come out of a table of ids as a list, whose rows cannot be told apart by axis 0."""

    class Sums(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = layer

        def forward(self, table):
            return torch.stack([ids.sum() for ids in self.drop([*table.unbind()])])

    x = torch.arange(1, 31).reshape(10, 3)
    want = one_by_one(Sums(), x, 6)
    assert torch.equal(samples(Sums(), x), want)
    assert len(want.unique(dim=0)) > 1
    if isinstance(layer, nn.SparseDropoutWithReplacement):
        assert torch.equal(samples(Sums(), x, memory=1), want)


def test_a_network_is_its_keyed_forwards():
    model, x = mlp(), rows(5)
    close(samples(model, x, 20), one_by_one(model, x, 20))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.complex64])
def test_dtypes(dtype):
    x = rows(3, 50).to(dtype)
    keep = samples(nn.Dropout(0.3), rows(3, 50)) != 0
    assert torch.equal(samples(nn.Dropout(0.3), x.real if dtype.is_complex else x) != 0, keep)


def test_masks_do_not_depend_on_the_company():
    model, x = mlp(), rows(7)
    whole = samples(model, x, 9)
    for start, stop in ((0, 1), (3, 4), (2, 7)):
        close(samples(model, x[start:stop], 9, batch=(start, stop, 7)), whole[:, start:stop])
    close(samples(model, x, 4), whole[:4])
    assert not torch.equal(samples(model, x, 9, seed=1), whole)


@pytest.mark.parametrize("memory", [1, 3000, 10**9])
def test_masks_do_not_depend_on_the_memory(memory):
    model, x = mlp(), rows(7)
    close(samples(model, x, 9, memory=memory), one_by_one(model, x, 9))


def test_memory_is_what_decides_how_many_at_once():
    seen = []
    model, x = mlp(), rows(7)
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    thinned.predict(model, x, 10, memory=4 * 56 * 21)  # 56 bytes: seven numbers in, seven out, in float32
    assert seen == [1, 21, 21, 21, 7]
    seen.clear()
    thinned.predict(model, x, 2, memory=4 * 56 * 3)
    assert seen == [1, 3, 3, 1, 3, 3, 1]


def test_a_layer_used_twice_has_two_masks():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return torch.cat([self.drop(x), self.drop(x)], dim=1)

    model, x = Twice(), torch.ones(3, 8)
    found = samples(model, x)
    assert torch.equal(found, one_by_one(model, x, 6))
    assert not torch.equal(found[:, :, :8], found[:, :, 8:])


def test_rows_that_a_model_multiplies():
    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(x.reshape(-1, 4)).reshape(x.shape)

    model, x = Tokens(), torch.ones(3, 5, 4)
    whole = samples(model, x)
    assert torch.equal(whole, one_by_one(model, x, 6))
    assert torch.equal(samples(model, x[1:], batch=(1, 3, 3)), whole[:, 1:])


def test_rows_elsewhere_are_refused():
    class Transposed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(x.T).T

    with pytest.raises(RangeError, match=r"dropout at 'drop'.* rows along axis 0, 30 .* but got shape \(4, 30\)"):
        thinned.predict(Transposed(), torch.ones(5, 4), 6)


# --- what drops, and what does not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.nn.Dropout, torch.nn.Dropout1d])
def test_torchs_layers_count(kind):
    own = {torch.nn.Dropout: nn.Dropout, torch.nn.Dropout1d: nn.Dropout1d}[kind]
    if kind is torch.nn.Dropout:
        close(samples(mlp(kind), rows(4)), samples(mlp(own), rows(4)))
    assert torch.equal(samples(kind(0.5), torch.ones(4, 3, 2)), samples(own(0.5), torch.ones(4, 3, 2)))


def test_a_layer_at_two_places_stays_one():
    shared = torch.nn.Dropout(0.5)
    model = torch.nn.Sequential(shared, torch.nn.Identity(), shared)
    ours = nn.Dropout(0.5)
    assert torch.equal(
        samples(model, torch.ones(4, 9)),
        samples(torch.nn.Sequential(ours, torch.nn.Identity(), ours), torch.ones(4, 9)),
    )
    assert model[0] is model[2] is shared


def test_functions_count():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            return torchs.dropout(self.drop(torchs.dropout(x, 0.2, self.training)), training=self.training)

    found = samples(Net(), torch.ones(200, 50), 2)
    kept = float((found != 0).double().mean())
    n, q = found.numel(), 0.8 * 0.5 * 0.5
    assert abs(kept - q) < 6 * math.sqrt(q * (1 - q) / n)  # three independent sites; 6 standard deviations
    assert torch.equal(samples(Net(), torch.ones(200, 50), 2), found)
    assert torch.equal(samples(Net(), torch.ones(50, 50), 1, batch=(10, 60, 200))[0], found[0, 10:60])


@pytest.mark.parametrize(
    "function", [torchs.dropout, torchs.dropout1d, torchs.alpha_dropout, torchs.feature_alpha_dropout]
)
def test_each_function_counts(function):
    class Net(torch.nn.Module):
        def forward(self, x):
            return function(x, 0.5, training=self.training)

    found = thinned.predict(Net(), torch.ones(4, 5, 6), 3)
    assert bool((found.variance > 0).any())
    assert torch.equal(thinned.predict(Net(), torch.ones(4, 5, 6), 3).mean, found.mean)


def test_attention_drops():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    layer.self_attn.dropout = 0.5
    x = rows(3, 5, 8)
    found = thinned.predict(layer, x, 20, samples=True)
    assert bool((found.variance > 1e-6).all())
    close(samples(layer, x[1:2], 20, batch=(1, 2, 3)), found.samples[:, 1:2])
    layer.self_attn.dropout = 0.0
    assert float(thinned.predict(layer, x, 3).variance.max()) < 1e-12


def test_batch_norm_stays_in_eval():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    thinned.predict(model, rows(6), 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_model_is_left_as_it_was():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), nn.Dropout(0.2), torch.nn.BatchNorm1d(4))
    model.train()
    model[3].eval()
    thinned.keyed(model, seed=1, step=2)
    layers, flags, key = list(model), [module.training for module in model.modules()], model[2]._key
    state = torch.get_rng_state()
    thinned.predict(model, rows(6), 3)
    assert all(now is then for now, then in zip(model, layers, strict=True))
    assert [module.training for module in model.modules()] == flags
    assert model[2]._key is key
    assert "_draw" not in vars(model[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_also_after_an_error():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 2))
    before = list(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        thinned.predict(model, torch.ones(4, 5))
    assert list(model) == before
    assert model.training
    assert model[0].training


def test_no_gradient():
    x = rows(4).requires_grad_()
    assert not thinned.predict(mlp(), x, 3).mean.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (torch.nn.LSTM(3, 3, 2, dropout=0.5), "The LSTM at '0' drops inside torch's own function"),
        (type("Mine", (torch.nn.Dropout,), {})(0.5), "The Mine at '0' cannot be keyed: there is no rule"),
    ],
)
def test_what_cannot_be_keyed_is_refused(layer, message):
    with pytest.raises(KindError, match=message):
        thinned.predict(torch.nn.Sequential(layer), rows(4))


# --- statistics -------------------------------------------------------------------------------------------------------


def test_statistics_of_values():
    found = thinned.predict(mlp(), rows(4), 50, samples=True, memory=5000)
    array = found.samples.numpy()
    np.testing.assert_allclose(found.mean, array.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, array.var(0), rtol=1e-12)
    assert found.entropy is None
    assert found.mutual_information is None
    assert found.samples.shape == (50, 4, 2)
    assert thinned.predict(mlp(), rows(4), 2).samples is None


@pytest.mark.parametrize("memory", [5000, 2**28])
def test_statistics_of_classes(memory):
    model, x = mlp(out=5), rows(4)
    logits = thinned.predict(model, x, 30, samples=True).samples.numpy()
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mean = chances.mean(0)
    entropy = -(mean * np.log(mean)).sum(-1)
    information = entropy + (chances * np.log(chances)).sum(-1).mean(0)
    found = thinned.predict(model, x, 30, output="logits", memory=memory)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.variance, chances.var(0), rtol=1e-4)
    np.testing.assert_allclose(found.entropy, entropy, rtol=1e-6)
    np.testing.assert_allclose(found.mutual_information, information, rtol=1e-4, atol=1e-8)
    same = thinned.predict(torch.nn.Sequential(model, torch.nn.Softmax(1)), x, 30, output="probabilities")
    assert same.mean.shape == (4, 5)
    assert bool((same.entropy > 0).all())


def test_certain_classes():
    found = thinned.predict(torch.nn.Identity(), torch.tensor([[1.0, 0.0]]), 3, output="probabilities")
    assert (found.entropy.item(), found.mutual_information.item(), found.variance.sum().item()) == (0, 0, 0)


def test_several_inputs():
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, one, other):
            return self.drop(one) + other

    one, other = torch.ones(3, 4), torch.full((3, 4), 10.0)
    assert torch.equal(samples(Sum(), (one, other)), one_by_one_sum(one))


def one_by_one_sum(one):
    keep = torch.stack([Mask(0.5, seed=keys.site_seed(0, k, "drop")).keep(one.shape) for k in range(6)])
    return torch.where(keep, 2.0, 0.0).double() + 10


def test_progress():
    told = []
    thinned.predict(mlp(), rows(4), 5, memory=1, progress=lambda done, passes: told.append((done, passes)))
    assert told == [(k, 5) for k in range(1, 6)]
    thinned.predict(mlp(), rows(4), 2, progress=True)


def test_progress_without_rich(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)
    with pytest.raises(MissingExtraError, match="`rich` is needed here"):
        thinned.predict(mlp(), rows(4), 2, progress=True)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((1, rows(2)), {}, KindError, "`model` must be a torch.nn.Module, but got int"),
        ((mlp(), "ab"), {}, KindError, r"`input` must be a tensor or a sequence of tensors, but got \(str, str\)"),
        ((mlp(), ()), {}, KindError, r"`input` must be a tensor or a sequence of tensors, but got \(\)"),
        ((mlp(), rows(0)), {}, RangeError, r"`input` must have the same number of rows .* but got \[\(0, 3\)\]"),
        ((mlp(), (rows(2), rows(3))), {}, RangeError, r"`input` must have the same number of rows"),
        ((mlp(), rows(2), 0), {}, RangeError, "`passes` must be at least 1, but got passes=0"),
        ((mlp(), rows(2)), {"seed": 1.5}, KindError, "`seed` must be an integer"),
        ((mlp(), rows(2)), {"output": "x"}, RangeError, "`output` must be one of values, logits, probabilities"),
        ((mlp(), rows(2)), {"batch": (0, 3, 3)}, RangeError, r"`batch` must be .* of 2 rows, but got \(0, 3, 3\)"),
        ((mlp(), rows(2)), {"batch": (2, 4, 3)}, RangeError, r"`batch` must be .* of 2 rows, but got \(2, 4, 3\)"),
        ((mlp(), rows(2)), {"memory": 0}, RangeError, "`memory` must be at least 1, but got memory=0"),
        ((torch.nn.Flatten(0), rows(2)), {}, RangeError, r"one row for each row of its input, but got shape \(3,\)"),
    ],
)
def test_wrong_arguments(arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        thinned.predict(*arguments, **options)


def test_a_chain_predicts_as_the_same_layers_in_a_row():
    """Its one mask for a batch would be one for all passes in that batch."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Dropout(0.2),
        torch.nn.Linear(6, 40),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(40, 3),
    ]
    x = torch.randn(5, 6)
    chain = thinned.batchwise.Chain(*layers)
    state = torch.get_rng_state()
    found = thinned.predict(chain, x, passes=30, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert bool((found.variance > 0).all())
    row = thinned.predict(torch.nn.Sequential(*chain), x, passes=30, seed=3)
    assert torch.equal(found.mean, row.mean)
    assert torch.equal(found.variance, row.variance)
    assert "forward" not in vars(chain)
    assert len(chain._parts()) == 1  # it computes kept units only, as before
