"""The generator under the mask law, against Random123's known answers and against a version in plain integers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned.philox import philox4x32, words

LAW = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())
WORD32, WORD64 = 2**32, 2**64
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=50)


def in_plain_integers(counter, key, rounds):
    """Philox4x32 as the paper states it, one counter at a time, without fixed-width arithmetic."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1 = product1 // WORD32 ^ c1 ^ k0, product1 % WORD32
        c2, c3 = product0 // WORD32 ^ c3 ^ k1, product0 % WORD32
        k0, k1 = (k0 + 0x9E3779B9) % WORD32, (k1 + 0xBB67AE85) % WORD32
    return [c0, c1, c2, c3]


def array(numbers):
    return np.array(numbers, np.uint32)


@pytest.mark.parametrize("line", LAW["philox4x32_kat"])
def test_known_answers(line):
    name, rounds, *numbers = line.split()
    assert name == "philox4x32"
    numbers = [int(number, 16) for number in numbers]
    counter, key, answer = numbers[:4], numbers[4:6], numbers[6:]
    assert philox4x32(array(counter), array(key), int(rounds)).tolist() == answer
    assert in_plain_integers(counter, key, int(rounds)) == answer


def test_known_answers_hold_both_numbers_of_rounds():
    assert {line.split()[1] for line in LAW["philox4x32_kat"]} == {"7", "10"}


word32 = st.integers(0, WORD32 - 1)
word64 = st.integers(0, WORD64 - 1)


@EXAMPLES
@given(st.lists(st.tuples(*[word32] * 4), min_size=1, max_size=5), st.tuples(word32, word32), st.integers(2, 12))
def test_any_counter_under_any_key(counters, key, rounds):
    result = philox4x32(array(counters), array(key), rounds)
    assert result.dtype == np.uint32
    assert result.tolist() == [in_plain_integers(counter, key, rounds) for counter in counters]


def test_keys_broadcast_against_counters():
    counters, keys = array([[1, 2, 3, 4], [5, 6, 7, 8]]), array([[9, 10], [11, 12]])
    table = philox4x32(counters[:, None], keys[None, :])
    assert table.shape == (2, 2, 4)
    for row in range(2):
        for column in range(2):
            assert np.array_equal(table[row, column], philox4x32(counters[row], keys[column]))


def test_arguments_are_left_as_they_were():
    counter, key = array([1, 2, 3, 4]), array([5, 6])
    philox4x32(counter, key)
    assert counter.tolist() == [1, 2, 3, 4]
    assert key.tolist() == [5, 6]


@EXAMPLES
@given(word64, word64, word64)
def test_words_lay_out_counter_stream_and_seed(first, seed, stream):
    expected = [
        in_plain_integers(
            (b % WORD32, b // WORD32, stream % WORD32, stream // WORD32), (seed % WORD32, seed // WORD32), 7
        )
        for b in (first, (first + 1) % WORD64, (first + 2) % WORD64)
    ]
    assert words(first, 3, seed, stream).tolist() == expected


@pytest.mark.parametrize("first", [0, 1, WORD32 - 2, WORD32, WORD64 - 2])
def test_words_are_a_function_of_the_counter_alone(first):
    whole = words(first, 4, seed=3, stream=5)
    for j in range(4):
        assert np.array_equal(words((first + j) % WORD64, 1, seed=3, stream=5)[0], whole[j])


def test_no_words():
    assert words(7, 0, seed=1, stream=2).shape == (0, 4)
