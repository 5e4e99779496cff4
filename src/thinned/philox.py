"""Philox4x32, the counter-based generator under the mask law, in NumPy.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 7  # the fewest that pass BigCrush (Salmon et al., table 2)
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


def philox4x32(counter: NDArray[np.uint32], key: NDArray[np.uint32], rounds: int = ROUNDS) -> NDArray[np.uint32]:
    """Return four random words for each counter of four words under a key of two.

    Args:
        counter: uint32 array of shape (..., 4).
        key: uint32 array of shape (..., 2), broadcast against the counters.
        rounds: number of rounds; the mask law uses 7, Random123's default is 10.

    Returns:
        uint32 array of shape (..., 4).

    Examples:
        >>> words = philox4x32(np.zeros(4, np.uint32), np.zeros(2, np.uint32))
        >>> [f"{word:08x}" for word in words]
        ['5f6fb709', '0d893f64', '4f121f81', '4f730a48']
    """
    c0, c1, c2, c3 = (counter[..., j].astype(np.uint64) for j in range(4))
    k0, k1 = (key[..., j].astype(np.uint64) for j in range(2))
    low, half = np.uint64(LOW), np.uint64(32)
    m0, m1 = (np.uint64(m) for m in MULTIPLIERS)
    w0, w1 = (np.uint64(w) for w in KEY_STEPS)
    for _ in range(rounds):
        product0, product1 = m0 * c0, m1 * c2
        c0, c1, c2, c3 = (product1 >> half) ^ c1 ^ k0, product1 & low, (product0 >> half) ^ c3 ^ k1, product0 & low
        k0, k1 = (k0 + w0) & low, (k1 + w1) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(first: int, count: int, seed: int, stream: int) -> NDArray[np.uint32]:
    """Return the law's random words for the counters first .. first + count - 1.

    Args:
        first: the first counter, an unsigned 64-bit integer.
        count: how many counters; wraps around at 2**64.
        seed: unsigned 64-bit key.
        stream: unsigned 64-bit upper half of the counter.

    Returns:
        uint32 array of shape (count, 4).

    Examples:
        >>> words(0, 2, seed=0, stream=0).shape
        (2, 4)
    """
    b = np.arange(count, dtype=np.uint64) + np.uint64(first)
    counter = np.empty((count, 4), np.uint32)
    counter[:, 0] = b & np.uint64(LOW)
    counter[:, 1] = b >> np.uint64(32)
    counter[:, 2] = stream & LOW
    counter[:, 3] = stream >> 32
    return philox4x32(counter, np.array([seed & LOW, seed >> 32], np.uint32))
