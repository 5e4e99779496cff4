"""The mask law in NumPy: against the known answers, element by element, its edge cases and its errors."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned._errors import KindError, RangeError
from thinned.masks import Mask, Window, element_words, layout, normal, rate, uniform
from thinned.philox import words

LAW = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60)


def digest(data):
    return hashlib.sha256(data.tobytes()).hexdigest()


def bits_of(keep):
    return np.packbits(np.ravel(keep), bitorder="little")


def keep_one(p, seed, stream, index):
    """The law for one element, straight from its text."""
    law = rate(p)
    tile = 512 if law.bits == 16 else 256
    plane = index % tile // 64
    word = words(index // tile * 64 + index % 64, 1, seed % 2**64, stream % 2**64)[0].tolist()
    u = word[plane // 2] >> 16 * (plane % 2) & 0xFFFF if law.bits == 16 else word[plane]
    return u >= law.threshold


# --- known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAW["cases"], ids=lambda c: f"p{c['p']}-seed{c['seed']}-start{c['start']}")
def test_known_masks(case):
    law = rate(case["p"])
    assert (law.bits, law.threshold) == (case["bits"], case["threshold"])
    start, n = int(case["start"]), case["n"]
    window = Window((start + n,), (start,)) if start else None
    keep = Mask(case["p"], int(case["seed"]), int(case["stream"]), window=window).keep_array((n,))
    assert int(keep.sum()) == case["kept"]
    assert "".join("01"[int(bit)] for bit in keep[:64]) == case["first64"]
    assert digest(bits_of(keep)) == case["sha256"]


@pytest.mark.parametrize("case", LAW["windows"], ids=lambda c: "x".join(map(str, c["global_shape"])))
def test_known_windows(case):
    mask = Mask(
        case["p"],
        int(case["seed"]),
        int(case["stream"]),
        tuple(case["shared_axes"]),
        Window(case["global_shape"], case["start"]),
    )
    keep = mask.keep(case["extent"])
    assert keep.shape == torch.Size(case["extent"])
    assert int(keep.sum()) == case["kept"]
    assert digest(bits_of(keep.numpy())) == case["sha256"]


@pytest.mark.parametrize(
    "case", LAW["units"], ids=lambda c: f"n{c['n']}-p{c['p']}-seed{c['seed']}-multiple{c['multiple_of']}"
)
def test_known_units(case):
    mask = Mask(case["p"], int(case["seed"]), int(case["stream"]))
    kept = mask.units(case["n"], case["group"] + 1, case["multiple_of"])
    assert kept.dtype == torch.int64
    assert kept.shape == (case["group"] + 1, case["count"])
    mine = kept[case["group"]].numpy()
    assert mine[:40].tolist() == case["kept"]
    assert digest(mine.astype("<i8")) == case["sha256"]


@pytest.mark.parametrize("case", LAW["numbers"], ids=lambda c: f"seed{c['seed']}")
def test_known_numbers(case):
    start, seed, stream = (int(case[key]) for key in ("start", "seed", "stream"))
    take = slice(None, None, case["step"])
    assert uniform(start, case["n"], seed, stream)[take].tolist() == case["uniform"]  # exact: no function is rounded
    # The law allows back ends 4 units in the last place, or 2**-45 where a sine or cosine crosses zero.
    numbers, wanted = normal(start, case["n"], seed, stream)[take], np.array(case["normal"])
    assert numbers.shape == wanted.shape
    assert np.all(np.abs(numbers - wanted) <= np.maximum(4 * np.spacing(np.abs(wanted)), 2.0**-45))


# --- the rate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", sorted({case["p"] for case in LAW["cases"]}))
def test_scale_makes_the_expectation_exact(p):
    law = rate(p)
    assert law.realised == law.threshold / 2**law.bits
    assert law.scale == 1 / (1 - law.realised)
    assert not law.keeps_all
    assert not law.keeps_none


@EXAMPLES
@given(st.floats(0, 1) | st.floats(0, 0.02) | st.floats(0.98, 1))
def test_sixteen_bits_where_they_are_close_enough(p):
    law, coarse = rate(p), round(p * 2**16)  # Python rounds half to even
    assert law.p == p
    assert (law.bits == 16) == (abs(coarse / 2**16 - p) <= 2**-10 * min(p, 1 - p))
    assert law.threshold == round(p * 2**law.bits)
    assert abs(law.realised - p) <= (2**-10 * min(p, 1 - p) if law.bits == 16 else 2**-33)


@pytest.mark.parametrize(("threshold", "bits"), [(102, 16), (102.09, 16), (102.11, 32), (409.61, 16), (409.59, 32)])
def test_limit_of_sixteen_bits(threshold, bits):
    assert rate(threshold / 2**16).bits == bits  # 0.1 in 102 and 0.4 in 409.6 are near one in 2**10
    assert rate(1 - threshold / 2**16).bits == bits


@pytest.mark.parametrize(
    ("p", "all_", "none"),
    [(0, True, False), (-0.0, True, False), (1e-11, True, False), (1, False, True), (1 - 1e-12, False, True)],
)
def test_rates_that_round_to_certainty(p, all_, none):
    law = rate(p)
    assert (law.keeps_all, law.keeps_none) == (all_, none)
    assert law.scale == (1 if all_ else math.inf)
    assert Mask(p, seed=1).keep((3, 5)).tolist() == [[all_] * 5] * 3


@pytest.mark.parametrize("p", [np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_numpy_numbers_are_probabilities(p):
    assert rate(p) == rate(0.5)
    assert type(rate(p).p) is float


# --- where an element lies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.3, 0.001])  # 16 and 32 bits
@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (-1, 2**63), (2**64 - 1, -(2**63))])
def test_element_by_element(p, seed, stream):
    keep = Mask(p, seed, stream).keep_array((700,))
    assert keep.tolist() == [keep_one(p, seed, stream, i) for i in range(700)]


@pytest.mark.parametrize("bits", [16, 32])
def test_a_word_equal_to_the_threshold_keeps(bits):
    tried = 0
    for index, word in enumerate(element_words(0, 400, bits, seed=6, stream=0).tolist()):
        law, above = rate(word / 2**bits), rate((word + 1) / 2**bits)
        if law.bits == above.bits == bits:  # the law may take the other width for this p
            assert law.threshold == word
            assert Mask(law.p, 6).keep_array((400,))[index]
            assert not Mask(above.p, 6).keep_array((400,))[index]
            tried += 1
    assert tried >= 4


def test_negative_seeds_are_twos_complement():
    assert Mask(0.5, -1, -(2**63)) == Mask(0.5, 2**64 - 1, 2**63)


@pytest.mark.parametrize("bits", [16, 32])
def test_words_of_any_range_agree(bits):
    whole = element_words(0, 2000, bits, seed=5, stream=6)
    assert whole.max() < 2**bits
    for start, count in [(0, 0), (0, 1), (63, 2), (255, 2), (511, 514), (1999, 1)]:
        assert np.array_equal(element_words(start, count, bits, seed=5, stream=6), whole[start : start + count])


def test_a_mask_longer_than_one_block():
    n = 2**20 + 700  # the mask is made in blocks of 2**20 elements
    keep = Mask(0.5, seed=9).keep_array((n,))
    tail = Mask(0.5, seed=9, window=Window((n,), (n - 1000,))).keep_array((1000,))
    assert np.array_equal(keep[-1000:], tail)


@st.composite
def tensors_in_windows(draw):
    """A whole shape, a part of it, and shared axes counted from either end."""
    whole = draw(st.lists(st.integers(0, 9), max_size=4))
    start = [draw(st.integers(0, size)) for size in whole]
    extent = [draw(st.integers(0, size - begin)) for size, begin in zip(whole, start, strict=True)]
    dims = len(whole)
    shared = draw(st.lists(st.integers(-dims, dims - 1), max_size=dims)) if dims else []
    return tuple(whole), tuple(start), tuple(extent), tuple(shared)


@EXAMPLES
@given(tensors_in_windows(), st.sampled_from([0.5, 0.001]), st.integers(-(2**63), 2**64 - 1))
def test_a_windows_mask_is_the_slice_of_the_wholes(case, p, seed):
    whole, start, extent, shared = case
    part = tuple(slice(begin, begin + size) for begin, size in zip(start, extent, strict=True))
    everything = Mask(p, seed, 3, shared).keep(whole)
    assert torch.equal(Mask(p, seed, 3, shared, Window(whole, start)).keep(extent), everything[part])


@EXAMPLES
@given(tensors_in_windows(), st.integers(0, 2**64 - 1))
def test_sharing_is_broadcasting(case, seed):
    shape, _, _, shared = case
    small = tuple(1 if axis in {a % len(shape) for a in shared} else size for axis, size in enumerate(shape))
    expected = Mask(0.4, seed).keep(small).expand(shape)
    keep = Mask(0.4, seed, shared_axes=shared).keep(shape)
    assert keep.is_contiguous()
    assert torch.equal(keep, expected)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (1, 1, 1)])
def test_small_and_empty_shapes(shape):
    keep = Mask(0.5, seed=1).keep(shape)
    assert keep.dtype == torch.bool
    assert keep.shape == shape
    assert Mask(0.5, seed=1).keep_array(shape).shape == shape


def test_a_window_of_no_axes():
    assert bool(Mask(0.5, seed=1, window=Window((), ())).keep(())) == keep_one(0.5, 1, 0, 0)


def test_indices_beyond_two_to_the_33():
    start = 2**33 + 5
    keep = Mask(0.5, seed=4, window=Window((2**34,), (start,))).keep_array((9,))
    assert keep.tolist() == [keep_one(0.5, 4, 0, start + j) for j in range(9)]
    rows = Mask(0.5, seed=4, window=Window((2**40, 2**20), (2**39, 7))).keep_array((2, 3))  # indices past 2**59
    assert rows.tolist() == [[keep_one(0.5, 4, 0, (2**39 + r) * 2**20 + 7 + c) for c in range(3)] for r in range(2)]


def test_a_mask_has_at_most_two_to_the_64_elements():
    whole = (2**33, 2**32)
    with pytest.raises(
        ValueError, match=r"at most 2\*\*64 elements, but \(8589934592, 4294967296\).* has 36893488147419103232"
    ):
        Mask(0.5, 0, window=Window(whole, (0, 0))).keep((1, 4))
    first = Mask(0.5, 0).keep((4,))
    assert torch.equal(Mask(0.5, 0, window=Window((2**32, 2**32), (0, 0))).keep((1, 4))[0], first)
    assert layout((1, 2, 2), (), Window((1, 2**63, 2), (0, 0, 0))).strides == (0, 2, 1)  # exactly 2**64 elements
    shared = Mask(0.5, 0, shared_axes=(0,), window=Window(whole, (2**32, 0))).keep((1, 4))
    assert torch.equal(shared[0], first)


def test_an_empty_shared_axis_stays_empty():
    assert layout((0, 3), (0,), None).extent == (0, 3)


def test_layout_counts_in_the_whole():
    place = layout((2, 3, 4), (0, -1), Window((5, 6, 7), (1, 2, 3)))
    assert (place.extent, place.strides, place.start) == ((1, 3, 1), (0, 1, 0), 2)


@pytest.mark.parametrize("axes", [1, -1, np.int64(1), [1], (1, -1), np.array([1])])
def test_forms_of_shared_axes(axes):
    assert Mask(0.5, 2, shared_axes=axes).keep_array((4, 6)).shape == (4, 1)


# --- a fixed number of units ------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([1, 2, 8, 64]))
def test_number_of_units(n, p, multiple_of):
    k = Mask(p, seed=0).units(n, multiple_of=multiple_of).shape[1]
    assert 1 <= k <= n
    if multiple_of == 1:
        assert k == 1 or abs(k - n * (1 - p)) <= 0.5 + 1e-9 * n  # rounded to the nearest, at least one
    else:
        assert k % multiple_of == 0 or k == n
        assert k in (n, min(multiple_of, n)) or abs(k - n * (1 - p)) <= 0.5 + multiple_of / 2


@pytest.mark.parametrize(
    ("n", "p", "multiple_of", "k"),
    [
        (10, 0, 1, 10),
        (10, 1, 1, 1),
        (3, 0.5, 1, 2),
        (5, 0.5, 1, 3),
        (100, 0.5, 8, 48),
        (100, 0.5, 64, 64),
        (7, 1, 8, 7),
    ],
)
def test_number_of_units_by_hand(n, p, multiple_of, k):
    assert Mask(p, seed=3).units(n, multiple_of=multiple_of).shape == (1, k)


def test_units_are_the_largest_words():
    n, groups = 50, 4
    kept = Mask(0.7, seed=5, stream=8).units(n, groups)
    u = element_words(0, n * groups, 32, seed=5, stream=8).reshape(groups, n)
    for row, word in zip(kept.tolist(), u, strict=True):
        assert row == sorted(row)
        assert set(row) == set(sorted(range(n), key=lambda j: (-int(word[j]), j))[:15])


def test_equal_words_go_to_the_lower_index(monkeypatch):
    monkeypatch.setattr("thinned.masks.element_words", lambda *_: np.array([1, 3, 3, 2] * 100, np.uint32))
    largest = [j for j in range(400) if j % 4 in (1, 2)]
    assert Mask(0.6, seed=0).units(400).tolist() == [largest[:160]]


def test_groups_do_not_depend_on_their_number():
    mask = Mask(0.5, seed=21)
    many = mask.units(100, groups=7)
    for groups in range(1, 7):
        assert torch.equal(mask.units(100, groups), many[:groups])


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_of_any_range_agree():
    for number in (uniform, normal):
        whole = number(0, 1000, 8, 9)
        for start, count in [(0, 0), (0, 1), (63, 130), (255, 2), (999, 1)]:
            assert np.array_equal(number(start, count, 8, 9), whole[start : start + count])


# --- errors -----------------------------------------------------------------------------------------------------------

KIND, RANGE = (KindError, TypeError), (RangeError, ValueError)


@pytest.mark.parametrize(
    ("make", "kinds", "message"),
    [
        (lambda: rate(1.5), RANGE, r"`p` must be in \[0, 1\], but got p=1.5\."),
        (lambda: rate(-1e-9), RANGE, r"`p` must be in \[0, 1\], but got p=-1e-09\."),
        (lambda: rate(math.nan), RANGE, r"`p` must be in \[0, 1\], but got p=nan\."),
        (lambda: rate(10**400), RANGE, r"`p` must be in \[0, 1\], but got p=10"),
        (lambda: rate(True), KIND, r"`p` must be a number in \[0, 1\], but got p=True of type bool\."),
        (lambda: rate("0.5"), KIND, r"got p='0.5' of type str\."),
        (lambda: rate(None), KIND, r"got p=None of type NoneType\."),
        (lambda: rate([0.5]), KIND, r"got p=\[0.5\] of type list\."),
        (lambda: Mask(2, 0), RANGE, r"`p` must be in \[0, 1\], but got p=2\."),
        (
            lambda: Mask(0.5, 2**64),
            RANGE,
            r"`seed` must be in \[-2\*\*63, 2\*\*64 - 1\], but got seed=18446744073709551616",
        ),
        (lambda: Mask(0.5, 0, -(2**63) - 1), RANGE, r"`stream` must be in .*, but got stream=-9223372036854775809\."),
        (lambda: Mask(0.5, 1.0), KIND, r"`seed` must be an integer, but got seed=1.0 of type float\."),
        (lambda: Mask(0.5, True), KIND, r"`seed` must be an integer, but got seed=True of type bool\."),
        (lambda: Mask(0.5, 0, None), KIND, r"`stream` must be an integer, but got stream=None of type NoneType\."),
        (lambda: Mask(0.5, 0, shared_axes=None), KIND, r"`shared_axes` must be a sequence of integers, .*=None\."),
        (lambda: Mask(0.5, 0, shared_axes=([0],)), KIND, r"`shared_axes` must be .*, but got shared_axes=\(\[0\],\)\."),
        (lambda: Mask(0.5, 0, shared_axes=1.0), KIND, r"`shared_axes` must be .*, but got shared_axes=1.0\."),
        (lambda: Mask(0.5, 0, shared_axes=2).keep((3, 4)), RANGE, r"\[-2, 1\] for 2 axes, but got axis 2\."),
        (lambda: Mask(0.5, 0, shared_axes=(0, -3)).keep((3, 4)), RANGE, r"\[-2, 1\] for 2 axes, but got axis -3\."),
        (lambda: Mask(0.5, 0, window=(2, 2)), KIND, r"`window` must be a Window or None, but got window=\(2, 2\)\."),
        (lambda: Mask(0.5, 0).keep((2, -1)), RANGE, r"`shape` must not be negative .* got shape=\(2, -1\)\."),
        (lambda: Mask(0.5, 0).keep(5), KIND, r"`shape` must be a sequence of integers, but got shape=5\."),
        (lambda: Window((4, -1), (0, 0)), RANGE, r"`window.shape` must not be negative .* window.shape=\(4, -1\)\."),
        (lambda: Window((4, 6), (0, -2)), RANGE, r"`window.start` must not be negative .* window.start=\(0, -2\)\."),
        (lambda: Window(4, (0,)), KIND, r"`window.shape` must be a sequence of integers, but got window.shape=4\."),
        (
            lambda: Window((4, 6), (1,)),
            RANGE,
            r"as many axes as `window.shape`, but got start \(1,\) and shape \(4, 6\)",
        ),
        (lambda: Window((4, 6), (5, 0)), RANGE, r"`window` must contain the tensor, .* starts at \(5, 0\) .* \(4, 6\)"),
        (
            lambda: Mask(0.5, 0, window=Window((4,), (1,))).keep((4,)),
            RANGE,
            r"shape \(4,\) that starts at \(1,\) does not",
        ),
        (
            lambda: Mask(0.5, 0, window=Window((4,), (1,))).keep((2, 2)),
            RANGE,
            r"as many axes as the tensor, .* \(2, 2\)",
        ),
        (lambda: Mask(0.5, 0).units(0), RANGE, r"`n` must be at least 1, but got n=0\."),
        (lambda: Mask(0.5, 0).units(4, groups=-1), RANGE, r"`groups` must be at least 1, but got groups=-1\."),
        (
            lambda: Mask(0.5, 0).units(4, multiple_of=0),
            RANGE,
            r"`multiple_of` must be at least 1, but got multiple_of=0",
        ),
        (lambda: Mask(0.5, 0).units(4.0), KIND, r"`n` must be an integer, but got n=4.0 of type float\."),
        (
            lambda: Mask(0.5, 0).units(4, groups=True),
            KIND,
            r"`groups` must be an integer, but got groups=True of type bool",
        ),
        (lambda: uniform(0, 4, seed="x"), KIND, r"`seed` must be an integer, but got seed='x' of type str\."),
        (
            lambda: normal(0, 4, seed=0, stream=2**65),
            RANGE,
            r"`stream` must be in .*, but got stream=36893488147419103232",
        ),
    ],
)
def test_errors(make, kinds, message):
    with pytest.raises(kinds[0], match=message) as caught:
        make()
    assert isinstance(caught.value, kinds[1])
