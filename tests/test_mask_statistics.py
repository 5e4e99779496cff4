"""The mask law's statistics: rates, independence, fixed numbers of units, and the numbers' distributions.

Bernstein's inequality: the sum of n independent 0/1 variables of mean q strays from n*q by t or more with probability
at most 2 exp(-t**2 / (2 n q (1 - q) + 2 t / 3)). Set equal to 1e-9 and solved for t, with L = ln(2e9), that is
t = L/3 + sqrt(L**2/9 + 2 n q (1 - q) L). The seeds are fixed, so a test passes always or never; for a perfect
generator each of the fewer than 1,000 comparisons below had a chance of 1e-9 to fail, 1e-6 in all.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from thinned.masks import Mask, normal, rate, uniform

CHANCE = 1e-9


def strays(count, n, q):
    """Whether `count` successes in `n` independent trials are too far from `n * q`."""
    big = math.log(2 / CHANCE)
    return abs(count - n * q) > big / 3 + math.sqrt(big**2 / 9 + 2 * n * q * (1 - q) * big)


def test_the_bound_can_fail():
    assert not strays(5_000, 10_000, 0.5)
    assert strays(5_400, 10_000, 0.5)
    assert strays(0, 10_000, 0.01)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.3, 0.9, 1 / 3, 0.001, 1e-5, 0.9999])
def test_rate(p):
    n = 2**20
    assert not strays(Mask(p, seed=2024).keep_array((n,)).sum(), n, 1 - rate(p).realised)


def independent(first, second, p):
    """Whether two masks of equally many, disjoint elements keep a pair as often as independent ones would."""
    return not strays(np.count_nonzero(first & second), first.size, (1 - rate(p).realised) ** 2)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.9, 0.001])
@pytest.mark.parametrize("distance", [1, 2, 3, 7, 8, 63, 64, 65, 128, 256, 511, 512, 513, 4096])
def test_neighbours_are_independent(p, distance):
    keep = Mask(p, seed=11).keep_array((2**18,))
    pairs = keep[: keep.size // (2 * distance) * 2 * distance].reshape(-1, 2, distance)  # disjoint, so independent
    assert independent(pairs[:, 0], pairs[:, 1], p)


@pytest.mark.parametrize(("p", "planes"), [(0.5, 8), (0.2, 8), (0.001, 4), (0.9999, 4)])
def test_planes_of_a_tile_are_independent(p, planes):
    tiles = Mask(p, seed=12).keep_array((2**18,)).reshape(-1, planes, 64)
    for one, other in itertools.combinations(range(planes), 2):
        assert independent(tiles[:, one], tiles[:, other], p), (one, other)


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_streams_and_seeds_are_independent(p):
    keys = [(0, 0), (0, 1), (1, 0), (0, 2**32), (2**32, 0), (2**63, 0), (0, 2**63), (2**64 - 1, 2**64 - 1), (7, 7)]
    masks = [Mask(p, seed, stream).keep_array((2**16,)) for seed, stream in keys]
    for one, other in itertools.combinations(range(len(keys)), 2):
        assert independent(masks[one], masks[other], p), (keys[one], keys[other])


def test_every_unit_is_kept_equally_often():
    n, k, groups = 12, 5, 2**15
    kept = torch.zeros(groups, n, dtype=torch.bool).scatter_(1, Mask(7 / 12, seed=31).units(n, groups), True).numpy()
    for unit in range(n):
        assert not strays(kept[:, unit].sum(), groups, k / n)
    for one, other in itertools.combinations(range(n), 2):  # without replacement
        assert not strays((kept[:, one] & kept[:, other]).sum(), groups, k * (k - 1) / (n * (n - 1)))


def test_distribution_of_numbers():
    # Shares below a point are binomial, so the bound above applies.
    n = 2**18
    u, z = uniform(0, n, seed=41), normal(0, n, seed=42)
    assert u.min() > 0
    assert u.max() < 1
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        assert not strays((u < share).sum(), n, share)
    for point in (-3, -1, -0.1, 0, 0.5, 2, 4):
        assert not strays((z < point).sum(), n, 0.5 * (1 + math.erf(point / math.sqrt(2))))
