"""Penalties, the max-norm constraint, and pruning by magnitude."""

import numpy as np
import pytest
import torch

from thinned import regularization
from thinned._errors import KindError, RangeError


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5), torch.nn.BatchNorm1d(5)
    )


def weights(model):
    return [model[0].weight.detach().numpy(), model[3].weight.detach().numpy()]


def test_penalties():
    model = net()
    one, two = regularization.l1_penalty(model), regularization.l2_penalty(model)
    np.testing.assert_allclose(one.item(), sum(np.abs(w).sum(dtype=float) for w in weights(model)), rtol=1e-5)
    np.testing.assert_allclose(two.item(), sum((w**2).sum(dtype=float) for w in weights(model)), rtol=1e-5)
    (one + two).backward()
    weight = model[3].weight
    torch.testing.assert_close(weight.grad, weight.detach().sign() + 2 * weight.detach())
    assert model[3].bias.grad is None
    assert regularization.l1_penalty(torch.nn.ReLU()) == 0


def test_l2_is_torchs_weight_decay_under_sgd():
    first, second = net(), net()
    x = torch.ones(2, 3, 4, 4)
    for model, decay in ((first, 0.0), (second, 0.2)):
        matrices = [model[0].weight, model[3].weight]
        optimizer = torch.optim.SGD([{"params": matrices, "weight_decay": decay}], lr=0.1)
        loss = model.eval()(x).square().sum() + (0.1 * regularization.l2_penalty(model) if not decay else 0)
        loss.backward()
        optimizer.step()
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (torch.nn.Linear(6, 4), (1,)),
        (torch.nn.Conv1d(4, 6, 3, groups=2), (1, 2)),
        (torch.nn.Conv2d(3, 4, 2), (1, 2, 3)),
        (torch.nn.ConvTranspose1d(3, 4, 2), (0, 2)),
    ],
)
def test_max_norm(layer, axes):
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)))
    before = layer.weight.detach().clone().numpy()
    length = np.sqrt((before**2).sum(axes, keepdims=True))
    limit = float(np.median(length))
    assert regularization.max_norm_(layer, limit) is layer
    np.testing.assert_allclose(layer.weight.detach(), before * np.minimum(1, limit / length), rtol=1e-5)
    assert layer.weight.is_leaf


def test_max_norm_of_grouped_transposed_convolution():
    layer = torch.nn.ConvTranspose2d(4, 6, 2, groups=2)
    before = layer.weight.detach().clone()
    regularization.max_norm_(layer, 0.3)
    for group in range(2):
        part, old = (w[2 * group : 2 * group + 2].transpose(0, 1).flatten(1) for w in (layer.weight.detach(), before))
        want = old * (0.3 / old.norm(dim=1, keepdim=True)).clamp(max=1)
        torch.testing.assert_close(part, want)


def test_prune():
    model, x = net(), torch.randn(2, 3, 4, 4)
    every = np.concatenate([np.abs(w).ravel() for w in weights(model)])
    assert regularization.prune_magnitude(model, 0.75) is model
    kept = np.concatenate([(w != 0).ravel() for w in weights(model)])
    assert kept.sum() == every.size - round(0.75 * every.size)
    assert every[kept].min() >= every[~kept].max()
    regularization.prune_magnitude(model, 0.5)  # done already
    assert sum(np.count_nonzero(w) for w in weights(model)) == kept.sum()
    regularization.prune_magnitude(model, 0.9)
    assert sum(np.count_nonzero(w) for w in weights(model)) == every.size - round(0.9 * every.size)
    output = model.eval()(x)
    regularization.finish_pruning(model)
    assert torch.equal(model(x), output)
    assert sorted(dict(model.named_parameters())) == sorted(dict(net().named_parameters()))


def test_gradual_pruning():
    model = net()
    pruning = regularization.GradualPruning(model, 0.9, begin=2, end=12, every=3)
    total, shares = sum(w.size for w in weights(model)), []
    for _ in range(14):
        pruning.step()
        shares.append(1 - sum(np.count_nonzero(w) for w in weights(model)) / total)
    want = [0.9 * (1 - (1 - max(t, 0) / 10) ** 3) for t in (0, 0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 10, 10, 10)]
    np.testing.assert_allclose(shares, want, atol=1 / total)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: regularization.l1_penalty(3), KindError, "`model` must be a torch.nn.Module, but got int"),
        (
            lambda: regularization.max_norm_(net(), 0),
            RangeError,
            "`maximum` must be above 0 and finite, but got maximum=0",
        ),
        (lambda: regularization.max_norm_(net(), "a"), KindError, "`maximum` must be a number, but got maximum='a'"),
        (
            lambda: regularization.prune_magnitude(net(), 2),
            RangeError,
            r"`amount` must be in \[0, 1\], but got amount=2",
        ),
        (lambda: regularization.prune_magnitude(torch.nn.ReLU(), 0.5), RangeError, "`model` must have linear or"),
        (lambda: regularization.GradualPruning(net(), 0.5, 3, 3), RangeError, "`begin` must be below `end`"),
        (lambda: regularization.GradualPruning(net(), 0.5, 0, 3, 0), RangeError, "`every` must be at least 1"),
    ],
)
def test_wrong_arguments(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
