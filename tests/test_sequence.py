"""Paths, patches, locked features and words: masks against `Mask`, and what is particular to each."""

import math

import pytest
import torch

import thinned
from thinned import functional, nn
from thinned._errors import KindError, RangeError
from thinned.masks import Mask, Window, rate, units_kept


@pytest.mark.parametrize("mode", ["row", "batch"])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("p", [0.3, 1 / 3])
def test_paths(mode, scaled, p):
    x = torch.randn(30, 4, 5)
    scale = rate(p).scale if scaled else 1.0
    for seed in range(6):
        axes = (1, 2) if mode == "row" else (0, 1, 2)
        keep = Mask(p, seed, shared_axes=axes).keep(x.shape)
        got = functional.drop_path(x, p, True, mode, scaled, seed=seed)
        assert torch.equal(got, torch.where(keep, x * scale, 0.0))


def test_path_edges():
    x = torch.full((3, 2), math.inf, requires_grad=True)
    assert functional.drop_path(x, 0.0) is x
    y = functional.drop_path(x, 1.0)
    y.backward(torch.full_like(y, math.nan))
    assert not y.any()
    assert not x.grad.any()
    with pytest.raises(RangeError, match=r'`mode` must be "row" or "batch", but got mode=\'column\'\.'):
        functional.drop_path(x, 0.5, mode="column")
    with pytest.raises(RangeError, match="`mode` must be"):
        nn.StochasticDepth(0.5, "column")
    with pytest.raises(RangeError, match=r"must have at least 1 axis, but got shape \(\)"):
        functional.drop_path(torch.ones(()), 0.5)


@pytest.mark.parametrize("mode", ["upscale_in_train", "downscale_in_infer"])
def test_paddles_modes(mode):
    p, q = 0.1, rate(0.1).realised
    x = torch.randn(50, 4, dtype=torch.float64)
    x[0, 0] = 0  # where only the gradient tells whether it was kept
    x.requires_grad_()
    keep = Mask(p, 3).keep(x.shape)
    factor = 1.0 if mode == "downscale_in_infer" else 1 / (1 - q)
    y = thinned.dropout(x, p, mode=mode, seed=3)
    assert torch.equal(y, torch.where(keep, x * factor, 0.0))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, keep.double() * factor)
    y = thinned.dropout(x, p, training=False, mode=mode)
    assert torch.equal(y, x * (1 - q) if mode == "downscale_in_infer" else x)
    given = thinned.dropout(x, p, mask=keep, mode=mode)
    torch.testing.assert_close(given, torch.where(keep, x * (factor if factor == 1 else 1 / (1 - p)), 0.0))


def test_downscaling_edges():
    x, mode = torch.tensor([1.0, -2.0]), "downscale_in_infer"
    assert thinned.dropout(x, 0.0, training=False, mode=mode) is x
    assert not thinned.dropout(x, 1.0, training=False, mode=mode).any()
    assert not thinned.dropout(x, 1.0, mode=mode).any()
    layer = nn.Dropout(0.5, inplace=True, mode=mode).eval()
    assert layer(x) is x
    assert x.tolist() == [0.5, -1.0]
    with pytest.raises(
        RangeError, match='`mode` must be "upscale_in_train" or "downscale_in_infer", but got mode=None'
    ):
        nn.Dropout(mode=None)
    with pytest.raises(RangeError, match="`mode` must be"):
        thinned.dropout(x, mode="downscale")


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.99, 1.0])
def test_patches(prefix, p):
    x, n = torch.randn(5, 20 + prefix, 3), 20
    kept = Mask(p, 9).units(n, groups=5) + prefix
    got = functional.patch_dropout(x, p, prefix_tokens=prefix, seed=9)
    assert got.shape == (5, prefix + units_kept(n, p), 3)
    assert torch.equal(got[:, :prefix], x[:, :prefix])
    assert all(torch.equal(got[row, prefix:], x[row, kept[row]]) for row in range(5))
    shuffled = functional.patch_dropout(x, p, prefix_tokens=prefix, ordered=False, seed=9)
    assert torch.equal(shuffled[:, prefix:].sort(dim=1).values, got[:, prefix:].sort(dim=1).values)
    assert p > 0.9 or not torch.equal(shuffled, got)


def test_patches_of_a_part_of_a_batch():
    x = torch.randn(6, 11, 2)
    whole = functional.patch_dropout(x, 0.4, seed=1)
    part = functional.patch_dropout(x[2:5], 0.4, seed=1, window=Window((6, 11, 2), (2, 0, 0)))
    assert torch.equal(part, whole[2:5])


def test_each_patch_is_kept_as_often():
    """5000 samples of 10 patches, 4 of them kept: binomial counts, within 5 standard deviations."""
    x = torch.arange(10.0).view(1, 10, 1).expand(5000, 10, 1)
    kept = functional.patch_dropout(x, 0.6, prefix_tokens=0, seed=2).long().flatten().bincount(minlength=10)
    assert (kept - 2000).abs().max() <= 5 * math.sqrt(5000 * 0.4 * 0.6)


def test_wrong_patches():
    with pytest.raises(RangeError, match=r"with more than 1 tokens, but got shape \(2, 1, 3\)"):
        functional.patch_dropout(torch.ones(2, 1, 3))
    with pytest.raises(RangeError, match="`prefix_tokens` must not be negative"):
        nn.PatchDropout(prefix_tokens=-1)


def test_locked():
    x = torch.randn(7, 30, 4)
    keep = Mask(0.3, 5, shared_axes=(1,)).keep((30, 7, 4))
    want = torch.where(keep, x.transpose(0, 1) * rate(0.3).scale, 0.0)
    assert torch.equal(functional.locked_dropout(x, 0.3, seed=5), want.transpose(0, 1))
    assert torch.equal(functional.locked_dropout(x.transpose(0, 1), 0.3, batch_first=True, seed=5), want)
    with pytest.raises(RangeError, match=r"must have at least 2 axes, but got shape \(7,\)"):
        functional.locked_dropout(x[:, 0, 0], 0.3)


def test_locked_layers_split_batches_on_either_axis():
    x = torch.ones(5, 8, 6)
    layer = nn.LockedDropout(0.5)
    whole = thinned.keyed(layer, seed=1)(x)
    part = thinned.keyed(layer, seed=1, batch=(4, 8, 8))(x[:, 4:])
    assert torch.equal(part, whole[:, 4:])


def test_words():
    x = torch.randint(0, 50, (20, 30))
    keep = Mask(0.3, 5).keep(x.shape) | (x == 2) | (x == 0)
    assert torch.equal(functional.word_dropout(x, 0.3, True, 1, (2, 0), seed=5), torch.where(keep, x, 1))
    all_unknown = functional.word_dropout(x, 1.0, unknown=1, protected=(2,))
    assert torch.equal(all_unknown, torch.where(x == 2, x, 1))
    assert functional.word_dropout(x.int(), 0.3, seed=5).dtype == torch.int32
    assert functional.word_dropout(x, 0.0) is x
    with pytest.raises(KindError, match=r"must be int64 or int32, numbers of words, but got dtype torch\.float32"):
        functional.word_dropout(x.float())


def test_rows_of_a_table():
    words, table = torch.randint(0, 40, (20, 30)), torch.randn(40, 6, dtype=torch.float64, requires_grad=True)
    keep = Mask(0.3, 5).keep((40, 1))
    dropped = torch.where(keep, table * rate(0.3).scale, 0.0)
    got = functional.embedding_dropout(words, table, 0.3, seed=5)
    torch.testing.assert_close(got, dropped[words], rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(got.sum(), table)
    (want,) = torch.autograd.grad(dropped[words].sum(), table)
    torch.testing.assert_close(gradient, want)
    assert not functional.embedding_dropout(words, table, 1.0).any()


def test_embedding_options_are_the_embeddings():
    embedding = torch.nn.Embedding(10, 4, padding_idx=0, sparse=True)
    layer = nn.EmbeddingDropout(embedding, 0.5)
    layer(torch.tensor([0, 1, 2, 3])).sum().backward()
    assert embedding.weight.grad.is_sparse
    assert not embedding.weight.grad.to_dense()[0].any()
    assert [name for name, _ in layer.named_parameters()] == ["embedding.weight"]
    with pytest.raises(KindError, match=r"`embedding` must be a torch\.nn\.Embedding, but got Linear"):
        nn.EmbeddingDropout(torch.nn.Linear(2, 2))
