"""Attention: torch's where nothing is dropped, the mask law's where something is."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as torchs

import thinned
from thinned import nn
from thinned._errors import KindError, RangeError
from thinned.functional import scaled_dot_product_attention as attention
from thinned.masks import Mask, Window, rate


def tensors(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def by_hand(q, k, v, keep, p, mask=None):
    """NumPy, float64: softmax, mask, product."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores if mask is None else np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.where(keep, weights * rate(p).scale, 0) @ v


Q, K, V = (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)


def test_values():
    q, k, v = tensors(Q, K, V)
    keep = Mask(0.4, seed=8).keep((2, 3, 5, 7)).numpy()
    found = attention(q, k, v, dropout_p=0.4, seed=8)
    np.testing.assert_allclose(found, by_hand(q.numpy(), k.numpy(), v.numpy(), keep, 0.4), rtol=1e-12, atol=1e-14)
    allowed = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    allowed[:, 0] = True
    found = attention(q, k, v, allowed, dropout_p=0.4, seed=8)
    want = by_hand(q.numpy(), k.numpy(), v.numpy(), keep, 0.4, allowed.numpy())
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-14)


OPTIONS = [
    {},
    {"is_causal": True},
    {"scale": 0.3},
    {"attn_mask": torch.tensor([[True] * 5 + [False] * 2])},
    {"attn_mask": torch.tensor([[False] * 7] + [[True] * 7] * 4)},
    {"attn_mask": torch.linspace(-1, 1, 35, dtype=torch.float64).reshape(5, 7)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_mean_is_torchs(options):
    """With weights that are kept almost always, nearly torch's values; without dropout, torch's own."""
    q, k, v = tensors(Q, K, V)
    want = torchs.scaled_dot_product_attention(q, k, v, **options)
    assert torch.equal(attention(q, k, v, dropout_p=0.5, training=False, **options), want)
    assert torch.equal(attention(q, k, v, **options), want)
    seed = next(s for s in range(100) if Mask(2**-12, seed=s).keep((2, 3, 5, 7)).all())
    found = attention(q, k, v, dropout_p=2**-12, seed=seed, **options)
    torch.testing.assert_close(found / rate(2**-12).scale, want, rtol=1e-12, atol=1e-14)


def test_heads_in_groups():
    q, k, v = tensors((2, 6, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4))
    each = [x.repeat_interleave(2, 1) for x in (k, v)]
    found = attention(q, k, v, dropout_p=0.4, seed=1, enable_gqa=True)
    assert torch.equal(found, attention(q, *each, dropout_p=0.4, seed=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_dtypes(dtype):
    wide = tensors(Q, K, V)
    found = attention(*(x.to(dtype) for x in wide), dropout_p=0.4, seed=2)
    assert found.dtype == dtype
    want = attention(*(x.to(dtype).double() for x in wide), dropout_p=0.4, seed=2)
    assert float((found - want).abs().max()) < 16 * torch.finfo(dtype).eps * float(want.abs().max())


def test_window_and_gradient():
    q, k, v = tensors(Q, K, V)
    whole = attention(q, k, v, dropout_p=0.4, seed=2)
    part = attention(q[1:], k[1:], v[1:], dropout_p=0.4, seed=2, window=Window((2, 3, 5, 7), (1, 0, 0, 0)))
    assert torch.equal(part, whole[1:])
    inputs = [x[:1, :1].requires_grad_() for x in (q, k, v)]
    assert torch.autograd.gradcheck(lambda *x: attention(*x, dropout_p=0.4, seed=2), inputs)


def test_wrong_p():
    q, k, v = tensors(Q, K, V)
    with pytest.raises(RangeError, match=r"`dropout_p` must be in \[0, 1\], but got dropout_p=2"):
        attention(q, k, v, dropout_p=2)
    assert not attention(q, k, v, dropout_p=1.0).any()


# --- the layer --------------------------------------------------------------------------------------------------------

KINDS = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"kdim": 3, "vdim": 5, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True},
]


def pair(p=2**-12, **options):
    torch.manual_seed(1)
    ours = nn.MultiheadAttention(8, 2, dropout=p, dtype=torch.float64, **options)
    theirs = torch.nn.MultiheadAttention(8, 2, dropout=0.0, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def arguments(options):
    sizes = [(3, 5, 8), (3, 7, options.get("kdim", 8)), (3, 7, options.get("vdim", 8))]
    inputs = tensors(*sizes)
    return inputs if options.get("batch_first") else [x.transpose(0, 1) for x in inputs]


MASKS = [
    {},
    {"key_padding_mask": torch.arange(7).expand(3, 7) >= torch.tensor([[5], [7], [6]])},
    {"attn_mask": torch.ones(5, 7, dtype=torch.bool).triu(1), "average_attn_weights": False},
    {"attn_mask": torch.linspace(-1, 1, 6 * 35, dtype=torch.float64).reshape(6, 5, 7), "need_weights": False},
]


@pytest.mark.parametrize("masks", MASKS, ids="-".join)
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_layer_is_torchs(options, masks):
    """At a rate so low that, with this seed, nothing is dropped: torch's values times the scale."""
    ours, theirs = pair(**options)
    inputs = arguments(options)
    shape = (3, 2, 5, 7 + bool(options.get("add_bias_kv")) + bool(options.get("add_zero_attn")))
    seed = next(s for s in range(100) if Mask(2**-12, seed=thinned.keys.site_seed(s, 0, "")).keep(shape).all())
    thinned.keyed(ours, seed)
    found, weights = ours(*inputs, **masks)
    want, wanted = theirs(*inputs, **masks)
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-3)  # the scale of the weights is 1 + 2**-12
    assert (weights is None) == (wanted is None)
    if wanted is not None:
        torch.testing.assert_close(weights / rate(2**-12).scale, wanted, rtol=1e-10, atol=1e-12)
    assert found.shape == want.shape
    for one, other in zip(ours.eval()(*inputs, **masks), theirs.eval()(*inputs, **masks), strict=True):
        assert one is other is None or torch.equal(one, other)


def test_one_sample_without_a_batch():
    ours, theirs = pair()
    x = tensors((5, 8))[0]
    found, weights = ours(x, x, x, key_padding_mask=torch.tensor([False] * 4 + [True]))
    want, wanted = theirs(x, x, x, key_padding_mask=torch.tensor([False] * 4 + [True]))
    assert (found.shape, weights.shape) == (want.shape, wanted.shape)
    torch.testing.assert_close(found, want, rtol=1e-2, atol=1e-2)


def test_weights_drop_by_the_law():
    ours, _ = pair(0.5, batch_first=True)
    x = tensors((3, 5, 8))[0]
    thinned.keyed(ours, seed=4)
    _, weights = ours(x, x, x, average_attn_weights=False)
    keep = Mask(0.5, seed=thinned.keys.site_seed(4, 0, "")).keep((3, 2, 5, 5))
    assert torch.equal(weights != 0, keep)
    thinned.keyed(ours, seed=4, batch=(1, 3, 3))
    assert torch.equal(ours(x[1:], x[1:], x[1:], average_attn_weights=False)[1], weights[1:])


def test_p_and_dropout_are_one():
    layer = nn.MultiheadAttention(8, 2, dropout=0.25)
    assert (layer.p, layer.dropout) == (0.25, 0.25)
    layer.dropout = 0.5
    assert layer.p == 0.5
    with pytest.raises(RangeError, match=r"`dropout` must be in \[0, 1\], but got dropout=2"):
        layer.dropout = 2
    with pytest.raises(KindError, match="`dropout` must be a number"):
        nn.MultiheadAttention(8, 2, dropout="a")
    assert isinstance(layer, torch.nn.MultiheadAttention)
    assert list(layer.state_dict()) == list(torch.nn.MultiheadAttention(8, 2).state_dict())
