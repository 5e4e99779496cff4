"""Paired differences, their intervals, and that what is said of them is no more than they allow."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laboratory import compared
from scipy import stats

from thinned.lab import figures, paired, tables
from thinned.lab.paired import Difference, difference, verdict
from thinned.lab.records import Record
from thinned.lab.summary import summarise

ERRORS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12)


@given(ERRORS)
def test_the_interval_is_that_of_the_paired_t_test(pairs):
    ours, theirs = np.array(pairs).T / 1000
    found = difference("a", "b", ours.tolist(), theirs.tolist())
    assert found.mean == pytest.approx(np.mean(ours - theirs), abs=1e-15)
    if len({one - other for one, other in pairs}) == 1:
        assert (found.low, found.high) == (None, None)
    else:
        wanted = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-12)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Of 2,000 intervals 95 % hold it: 1,900, with a standard deviation of 9.7; the bound is five of these."""
    random = np.random.default_rng(0)
    pairs = random.normal(0.03, 0.01, (2000, 1, 4)) + random.normal([[[0.002], [0.0]]], 0.001, (2000, 2, 4))
    held = 0
    for ours, theirs in pairs:
        found = difference("a", "b", ours.tolist(), theirs.tolist())
        held += found.low <= 0.002 <= found.high
    assert abs(held - 1900) < 49


def test_what_pairs_share_does_not_widen_the_interval():
    theirs = [0.01, 0.05, 0.09]
    found = difference("a", "b", [x + d for x, d in zip(theirs, (0.001, 0.002, 0.003), strict=True)], theirs)
    assert found.high - found.low < 0.006
    assert found.low < 0 < found.mean


@pytest.mark.parametrize(("ours", "theirs"), [([0.3], [0.1]), ([0.3, 0.4, 0.7], [0.2, 0.3, 0.6]), ([0, 0], [0, 0])])
def test_without_spread_nothing_is_claimed(ours, theirs):
    """Differences of 0.1 that differ by rounding alone are the same."""
    found = difference("a", "b", ours, theirs)
    assert (found.low, found.high) == (None, None)
    assert verdict(found).startswith("Nothing can be claimed of a and b with ")
    assert paired.cell(found) == f"{100 * found.mean:+.3g}"


@given(st.floats(-1, 1), st.floats(1e-9, 1))
def test_a_verdict_prefers_only_what_the_interval_excludes(mean, half):
    said = verdict(Difference("a", "b", 3, mean, mean - half, mean + half))
    assert said.startswith("a and b cannot be told apart") == (abs(mean) <= half)
    assert ("lower test error" in said) == (mean + half < 0)
    assert ("higher test error" in said) == (mean - half > 0)
    ends = [float(part) for part in said.removesuffix(".").rpartition("interval ")[2].split(" to ")]
    assert ends == pytest.approx([100 * (mean - half), 100 * (mean + half)], rel=0.006)
    if "cannot" not in said:  # what is printed excludes 0 as well
        assert math.copysign(1, ends[0]) == math.copysign(1, ends[1])
        assert 0 not in ends


def record(method, seed, epoch, error, seconds=1.0, loss=1.0):
    return Record(method, seed, epoch, loss, error, seconds)


def summary(**options):
    """Errors of three methods, three seeds and two epochs; the records of a seed come in any order of methods."""
    last = {"none": (0.10, 0.12, 0.11), "torch": (0.08, 0.09, 0.10), "thinned": (0.05, 0.07, 0.07)}
    done = [
        record(method, seed, epoch, last[method][seed] * (3 - epoch), seconds=1 + seed)
        for seed in (2, 0, 1)
        for epoch in (1, 2)
        for method in last
    ]
    return summarise(compared(*last, seeds=(0, 1, 2), **options), done, costs={}, folder=Path("x"))


def test_a_summary_pairs_by_seed_whatever_the_order():
    found = summary()
    assert found.baseline == "torch"
    assert found.rows[0].test_errors == (0.10, 0.12, 0.11)
    assert [(one.method, one.seeds) for one in found.differences] == [("none", 3), ("thinned", 3)]
    assert found.differences[0] == difference("none", "torch", [0.10, 0.12, 0.11], [0.08, 0.09, 0.10])
    assert found.verdicts == tuple(map(verdict, found.differences))
    assert "misses in one of twenty" in " ".join(tables.notes(found))
    other = summary(baseline="thinned")
    assert [one.baseline for one in other.differences] == ["thinned", "thinned"]
    assert tables.cells(other, other.rows[2])[2] == "baseline"


def test_a_method_that_diverged_is_not_compared():
    names = ["none", "torch"]
    done = [record(name, seed, 1, 0.9, loss=math.nan if name == "none" else 1.0) for name in names for seed in (0, 1)]
    assert summarise(compared(*names), done, costs={}, folder=Path("x")).verdicts == ()


def test_a_method_whose_errors_are_no_numbers_is_not_compared():
    names = ["none", "torch"]
    done = [record(name, seed, 1, math.inf if name == "none" else 0.9) for name in names for seed in (0, 1)]
    found = summarise(compared(*names), done, costs={}, folder=Path("x"), numbers=True)
    assert [row.diverged for row in found.rows] == [True, False]
    assert found.verdicts == ()


def test_time_to_a_test_error():
    found = summary(target_error=0.1)
    taken = {row.method: row.to_target for row in found.rows}
    assert taken == {"none": (2.0, None, None), "torch": (2.0, 4.0, 6.0), "thinned": (1.0, 4.0, 6.0)}
    assert [row.median_to_target for row in found.rows] == [None, 4.0, 4.0]
    assert [tables.cells(found, row)[3] for row in found.rows] == ["- (1 of 3 seeds)", "4.000", "4.000"]
    assert tables.headings(found)[3] == "seconds to 10 % test error"
    assert summary().rows[0].to_target == ()


def test_the_figure_of_intervals_has_all_methods():
    axes = figures.intervals(
        [difference("a", "b", [1, 2, 4], [0, 0, 1]), difference("_$x$", "b", [1], [0])], "x", 1
    ).axes[0]
    assert [text.get_text() for text in axes.texts] == ["a", r"\$x\$"]
    assert len(axes.lines) == 1 + 2 + 1  # zero; an interval and its mean; a mean alone
