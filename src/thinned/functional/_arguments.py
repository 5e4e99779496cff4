"""What the functions of every family do with their arguments."""

from typing import NamedTuple

import torch
from torch import Tensor

from thinned import ops, redraw
from thinned._errors import RangeError
from thinned.functional._dropout import _nothing_kept as nothing_kept
from thinned.functional._dropout import _word
from thinned.masks import Window
from thinned.masks import rate as _rate
from thinned.redraw import AnyRate, Word, realised, unscaled

Given = tuple[Word | None, Word, torch.Generator | None, Window | None]  # seed, stream, generator, window


class Randomness(NamedTuple):
    """The arguments `seed`, `stream`, `generator` and `window` of a function, checked; not drawn yet."""

    seed: Word | None
    stream: Word
    generator: torch.Generator | None
    window: Window | None

    def draw(self, input: Tensor) -> tuple[Word, Word]:
        """Return seed and stream for one use."""
        return redraw.words(input, self.seed, self.stream, self.generator)


def randomness(
    input: Tensor,
    seed: Word | None,
    stream: Word,
    generator: torch.Generator | None,
    window: Window | None,
) -> Randomness:
    """Check the arguments that say where the randomness comes from, and the dtype of the input.

    Args:
        input: the tensor that is to be thinned.
        seed, stream, generator, window: as in `dropout`.

    Returns:
        The same, with integers as unsigned words.

    Raises:
        RangeError, KindError: one of them breaks its rule.

    Example:
        >>> randomness(torch.ones(1), -1, 0, None, None).seed == 2**64 - 1
        True
    """
    redraw.check(input, window)
    if seed is not None:
        if generator is not None:
            raise RangeError("`seed` and `generator` must not both be given, but got both.")
        seed = _word(seed, "seed")
    return Randomness(seed, _word(stream, "stream"), generator, window)


def rate(p: float) -> AnyRate:
    """Return how the law realises `p`, in a graph or outside.

    Args:
        p: drop probability in [0, 1].

    Returns:
        Threshold, width and scale.

    Example:
        >>> rate(0.5).scale
        2.0
    """
    return ops.traced_rate(p) if torch.compiler.is_compiling() else _rate(p)


__all__ = ["AnyRate", "Given", "Randomness", "nothing_kept", "randomness", "rate", "realised", "unscaled"]
