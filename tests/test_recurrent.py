"""Zoneout, and LSTM and GRU whose masks are the same at all time steps."""

import copy

import numpy as np
import pytest
import torch

import thinned
from thinned import functional, keys, nn
from thinned._errors import KindError, RangeError
from thinned.masks import Mask, rate


def rows(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- Zoneout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.3, 1e-3, 0.9])
def test_zoneout_values(p):
    new, old = rows(40, 30), rows(40, 30, seed=2)
    keep = Mask(p, seed=6).keep((40, 30))
    assert torch.equal(functional.zoneout(new, old, p, seed=6), torch.where(keep, new, old))
    q = rate(p).realised
    torch.testing.assert_close(functional.zoneout(new, old, p, training=False), q * old + (1 - q) * new)


def test_zoneout_layer():
    layer, new, old = nn.Zoneout(0.3), rows(40, 30), rows(40, 30, seed=2)
    whole = thinned.keyed(layer, seed=3)(new, old)
    want = torch.where(Mask(0.3, seed=keys.site_seed(3, 0, "")).keep((40, 30)), new, old)
    assert torch.equal(whole, want)
    assert torch.equal(thinned.keyed(layer, 3, batch=(10, 40, 40))(new[10:], old[10:]), want[10:])
    state = torch.get_rng_state()
    assert torch.equal(layer.eval()(new, old), functional.zoneout(new, old, 0.3, training=False))
    layer.train().p = 0
    assert layer(new, old) is new
    layer.p = 1
    assert torch.equal(layer(new, old), old)
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(layer) == "Zoneout(p=1.0)"


def test_zoneout_gradient_and_nan():
    new, old = rows(3, 4).requires_grad_(), rows(3, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda new, old: functional.zoneout(new, old, 0.4, seed=1), (new, old))
    kept = Mask(0.4, seed=1).keep((3, 4))
    wild = torch.full((3, 4), float("nan"))
    assert torch.equal(functional.zoneout(wild, torch.ones(3, 4), 0.4, seed=1).isnan(), kept)


def test_zoneout_shapes():
    for call in (functional.zoneout, nn.Zoneout(0.5)):
        with pytest.raises(RangeError, match=r"`old` must have the shape of `new`, \(2, 3\), but got \(2, 1\)"):
            call(torch.ones(2, 3), torch.ones(2, 1))


# --- LSTM and GRU -----------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(layer, x, recurrent, between):
    """NumPy: x (T, N, F); recurrent[layer][direction] and between[layer - 1] are scaled masks of shape (N, ...)."""
    get = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    last, hidden = [], layer.hidden_size
    for number in range(layer.num_layers):
        if number:
            x = x * between[number - 1]
        outputs = []
        for direction in range(1 + layer.bidirectional):
            name = f"l{number}" + "_reverse" * direction
            h = c = np.zeros((x.shape[1], hidden))
            states = []
            for step in x[::-1] if direction else x:
                gx = step @ get[f"weight_ih_{name}"].T + get[f"bias_ih_{name}"]
                gh = (h * recurrent[number][direction]) @ get[f"weight_hh_{name}"].T + get[f"bias_hh_{name}"]
                if isinstance(layer, torch.nn.LSTM):
                    i, f, g, o = np.split(gx + gh, 4, axis=1)
                    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                    h = sigmoid(o) * np.tanh(c)
                else:
                    (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3, axis=1), np.split(gh, 3, axis=1)
                    z = sigmoid(xz + hz)
                    h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
                states.append(h)
            last.append(h)
            outputs.append(np.stack(states[::-1] if direction else states))
        x = np.concatenate(outputs, axis=2)
    return x, np.stack(last)


def scaled(p, seed, path, shape):
    return np.where(Mask(p, seed=keys.site_seed(seed, 0, path)).keep(shape), rate(p).scale, 0.0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_values(kind, bidirectional):
    torch.manual_seed(0)
    layer = kind(3, 4, 3, dropout=0.3, bidirectional=bidirectional, recurrent_dropout=0.4, dtype=torch.float64)
    x, directions = rows(6, 2, 3), 1 + bidirectional
    thinned.keyed(layer, seed=5)
    output, state = layer(x)
    recurrent = scaled(0.4, 5, "recurrent", (2, 3 * directions * 4)).reshape(2, 3, directions, 4).transpose(1, 2, 0, 3)
    between = scaled(0.3, 5, "between", (2, 2 * directions * 4)).reshape(2, 2, directions * 4).transpose(1, 0, 2)
    want, last = by_hand(layer, x.numpy(), recurrent, between)
    np.testing.assert_allclose(output.detach(), want, rtol=1e-10, atol=1e-12)
    h = state[0] if kind is nn.LSTM else state
    np.testing.assert_allclose(h.detach(), last, rtol=1e-10, atol=1e-12)


KINDS = [(nn.LSTM, torch.nn.LSTM), (nn.GRU, torch.nn.GRU)]
OPTIONS = [{}, {"batch_first": True}, {"bidirectional": True}, {"bias": False}]


def flat(found):
    output, state = found
    return [output, *(state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_where_nothing_is_dropped_it_is_torchs(ours, theirs, options):
    torch.manual_seed(0)
    layer = ours(3, 4, 2, dtype=torch.float64, recurrent_dropout=0.5, dropout=0.5, **options)
    twin = theirs(3, 4, 2, dtype=torch.float64, **options)
    twin.load_state_dict(layer.state_dict(), strict=True)
    assert isinstance(layer, theirs)
    x = rows(5, 2, 3)
    layer.eval()
    for one, other in zip(flat(layer(x)), flat(twin(x)), strict=True):
        assert torch.equal(one, other)
    layer.train()
    seed = next(s for s in range(500) if all_kept(layer, s, 5 if layer.batch_first else 2))
    layer.between.p = layer.recurrent.p = 2**-12  # with this seed nothing is dropped; the scale is 1 + 2**-12
    thinned.keyed(layer, seed)
    state = torch.zeros(2 * (1 + layer.bidirectional), 5 if layer.batch_first else 2, 4, dtype=torch.float64)
    given = (state, state) if theirs is torch.nn.LSTM else state
    for one, other in zip(flat(layer(x, given)), flat(twin(x, given)), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-3, atol=5e-3)
        assert one.shape == other.shape


def all_kept(layer, seed, n):
    units = 2 * (1 + layer.bidirectional) * 4
    paths = {"recurrent": units, "between": units // 2}
    return all(Mask(2**-12, seed=keys.site_seed(seed, 0, path)).keep((n, size)).all() for path, size in paths.items())


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_one_sequence_without_a_batch(ours, theirs):
    layer = ours(3, 4, 2, recurrent_dropout=0.5).double()
    x = rows(5, 3)
    found = flat(thinned.keyed(layer, 1)(x))
    batched = flat(thinned.keyed(layer, 1)(x.unsqueeze(1)))
    for one, many, torchs in zip(found, batched, flat(theirs(3, 4, 2).double()(x)), strict=True):
        assert torch.equal(one, many.squeeze(1))
        assert one.shape == torchs.shape


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_keys_passes_and_copies(ours, theirs):  # noqa: ARG001
    layer, x = ours(3, 4, 2, recurrent_dropout=0.5, dropout=0.2, batch_first=True).double(), rows(4, 6, 3)

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)[0][:, -1]

    model = Last()
    whole = thinned.keyed(model, 2, 1)(x)
    torch.testing.assert_close(thinned.keyed(model, 2, 1, batch=(1, 3, 4))(x[1:3]), whole[1:3])
    found = thinned.predict(model, x, 3, seed=2, samples=True).samples
    torch.testing.assert_close(found[1], whole.detach())
    twin = copy.deepcopy(layer).eval()
    assert torch.equal(twin(x)[0], layer.eval()(x)[0])


# --- sequences of different lengths -----------------------------------------------------------------------------------

pack = torch.nn.utils.rnn.pack_padded_sequence
LENGTHS = [2, 6, 1, 6, 4]


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_packed_sequences(ours, theirs, bidirectional, given):  # noqa: ARG001
    """Each sequence gives what it gives alone, without padding, under the masks of its row and from its state."""
    layer = ours(3, 4, 2, dropout=0.3, recurrent_dropout=0.4, bidirectional=bidirectional, dtype=torch.float64)
    x = rows(6, 5, 3).requires_grad_()
    state = rows(2 * (1 + bidirectional), 5, 4, seed=3)
    states = ((state, -state) if ours is nn.LSTM else state) if given else None
    packed = pack(x, torch.tensor(LENGTHS), enforce_sorted=False)
    output, last = thinned.keyed(layer, 4)(packed, states)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(output, field), getattr(packed, field))
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(output)
    assert lengths.tolist() == LENGTHS
    last = last if ours is nn.LSTM else (last,)
    for row, length in enumerate(LENGTHS):
        begin = None if states is None else tuple(part[:, row : row + 1] for part in (state, -state)[: len(last)])
        alone = thinned.keyed(layer, 4, batch=(row, row + 1, 5))
        want, end = alone(x[:length, row : row + 1], begin if ours is nn.LSTM or begin is None else begin[0])
        torch.testing.assert_close(padded[:length, row], want[:, 0], rtol=1e-12, atol=1e-14)
        for one, other in zip(last, end if ours is nn.LSTM else (end,), strict=True):
            torch.testing.assert_close(one[:, row], other[:, 0], rtol=1e-12, atol=1e-14)
    output.data.sum().backward()
    assert torch.equal((x.grad != 0).any(2), torch.arange(6).view(-1, 1) < torch.tensor(LENGTHS))


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_packed_sequences_that_came_sorted(ours, theirs):
    """At a rate with which nothing happens to be dropped it is torch's; at p = 0 exactly."""
    torch.manual_seed(0)
    layer, twin = ours(3, 4, 2, recurrent_dropout=0.5).double(), theirs(3, 4, 2).double()
    twin.load_state_dict(layer.state_dict())
    packed = pack(rows(6, 5, 3), [6, 6, 4, 2, 1])
    seed = next(s for s in range(500) if Mask(2**-12, seed=keys.site_seed(s, 0, "recurrent")).keep((5, 8)).all())
    layer.recurrent.p = 2**-12
    found, want = thinned.keyed(layer, seed)(packed)[0], twin(packed)[0]
    assert found.sorted_indices is None
    torch.testing.assert_close(found.data, want.data, rtol=5e-3, atol=5e-3)  # the scale is 1 + 2**-12
    layer.eval()
    assert torch.equal(layer(packed)[0].data, want.data)


def test_gradient():
    layer = nn.LSTM(2, 2, recurrent_dropout=0.5, dtype=torch.float64)

    def run(x):
        return thinned.keyed(layer, 3)(x)[0]

    assert torch.autograd.gradcheck(run, (rows(3, 2, 2).requires_grad_(),))


def test_wrong_arguments():
    with pytest.raises(RangeError, match=r"`recurrent_dropout` must be in \[0, 1\], but got recurrent_dropout=2"):
        nn.LSTM(2, 2, recurrent_dropout=2)
    with pytest.raises(RangeError, match=r"`dropout` must be in \[0, 1\], but got dropout=-1"):
        nn.GRU(2, 2, dropout=-1)
    with pytest.raises(KindError, match="`input` must be a tensor or a PackedSequence, but got list"):
        nn.GRU(2, 2, recurrent_dropout=0.5)([1.0])
