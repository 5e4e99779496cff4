"""Artificial data whose classes no single feature tells apart.

Each class is a walk through the corners of a cube: it begins at a random corner and flips one random feature a step. An
example is a random point of its class's walk with four features in ten flipped. So all classes look alike feature by
feature, and a network has to weigh many features together.

All randomness is Philox's, by counter: example i is the same however many there are.

Source: Graham, Reizenstein and Robinson, "Efficient batchwise dropout training using submatrices", arXiv:1502.02478;
the sizes, the length of the walks and the share of flips are those of the generator published with it. The random
numbers, the random corner where a walk begins, and classes that take turns are our own.
"""

import numpy as np
from numpy.typing import NDArray

from thinned import _check, philox
from thinned._errors import RangeError
from thinned.data._dataset import Dataset, Split

EXAMPLES = 100_000
TEST_SHARE = 0.1
FEATURES = 1000
CLASSES = 100
POINTS = 1000  # of a walk
FLIPPED = 0.4
LIMIT = 2**32  # bytes of the examples, as float32; also of the walks, as bits, times 4
CORNERS, STEPS, TRAIN, TEST = 0, 1, 2, 4  # streams; a part's points and flips have one each
CHUNK = 1000  # examples made at a time


def make(
    examples: int = EXAMPLES,
    test_examples: int | None = None,
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    seed: int = 0,
) -> Dataset:
    """Make artificial data.

    Args:
        examples: how many to train on. Each takes 4 bytes a feature: 400 MB by default.
        test_examples: how many to test on; by default a tenth as many, rounded up.
        features: how many features an example has.
        classes: how many classes there are; example i is of class i modulo `classes`.
        seed: 64-bit integer; another one makes another data set.

    Returns:
        The data set, its inputs -1 or 1, of shape (examples, features).

    Raises:
        RangeError, KindError: a number is not a positive integer, or the data would not fit in 4 GiB.

    Examples:
        >>> data = make(4, 2, features=5, classes=3, seed=1)
        >>> data.train.targets
        array([0, 1, 2, 0])
        >>> data.train.inputs[0]
        array([ 1., -1., -1., -1.,  1.], dtype=float32)
    """
    counts = {
        "examples": examples,
        "test_examples": -(-_check.positive(examples, "examples") // 10) if test_examples is None else test_examples,
        "features": features,
        "classes": classes,
    }
    examples, test_examples, features, classes = (_check.positive(value, name) for name, value in counts.items())
    word = _check.word64(seed, "seed")
    bytes_taken = 4 * features * max(examples + test_examples, classes * POINTS // 32)
    if bytes_taken > LIMIT:
        raise RangeError(
            f"`examples`, `features` and `classes` must give at most {LIMIT} bytes of data, but got "
            f"examples={examples} + {test_examples}, features={features}, classes={classes}: {bytes_taken} bytes."
        )
    walks = _walks(features, classes, word)
    return Dataset(
        name="artificial",
        train=_part(walks, examples, features, word, TRAIN),
        test=_part(walks, test_examples, features, word, TEST),
        classes=classes,
    )


def _walks(features: int, classes: int, seed: int) -> NDArray[np.uint8]:
    """Return each class's walk, features packed eight to a byte: shape (classes, POINTS, features / 8 rounded up)."""
    packed = np.empty((classes, POINTS, -(-features // 8)), np.uint8)
    for target in range(classes):
        moves = np.zeros((POINTS, features), np.uint8)
        moves[0] = _words(target, 1, features, seed, CORNERS)[0] & 1
        moves[np.arange(1, POINTS), _below(features, _words(target, 1, POINTS, seed, STEPS)[0, 1:])] = 1
        packed[target] = np.packbits(np.bitwise_xor.accumulate(moves), axis=1)
    return packed


def _part(walks: NDArray[np.uint8], count: int, features: int, seed: int, stream: int) -> Split:
    targets = np.arange(count) % len(walks)
    points = _below(POINTS, _words(0, count, 1, seed, stream)[:, 0])
    threshold = round(FLIPPED * 2**32)
    inputs = np.empty((count, features), np.float32)
    for begin in range(0, count, CHUNK):
        part = slice(begin, min(begin + CHUNK, count))
        point = np.unpackbits(walks[targets[part], points[part]], axis=1, count=features)
        flipped = _words(begin, len(point), features, seed, stream + 1) < threshold
        inputs[part] = np.where(point ^ flipped, np.float32(1), np.float32(-1))
    return Split(inputs, targets.astype(np.int64))


def _words(first: int, rows: int, columns: int, seed: int, stream: int) -> NDArray[np.uint32]:
    """Return rows of random words, each from counters of its own: row r does not depend on how many there are."""
    counters = -(-columns // 4)
    words = philox.words(first * counters, rows * counters, seed, stream)
    return words.reshape(rows, -1)[:, :columns]


def _below(bound: int, words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return random integers in [0, bound)."""
    return (words.astype(np.uint64) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
