"""What the functions of every family do with their arguments."""

from typing import NamedTuple

import torch
from torch import Tensor

from thinned import _check, ops, redraw
from thinned._errors import KindError, RangeError
from thinned.masks import Window
from thinned.masks import rate as _rate
from thinned.redraw import AnyRate, Word, realised, unscaled

Given = tuple[Word | None, Word, torch.Generator | None, Window | None]  # seed, stream, generator, window


def check_one_source(seed: object, generator: object) -> None:
    """Refuse randomness from two sources.

    Args:
        seed: arguments of a function.
        generator: likewise.

    Raises:
        RangeError: both are given.

    Examples:
        >>> check_one_source(1, None)
    """
    if seed is not None and generator is not None:
        raise RangeError("`seed` and `generator` must not both be given, but got both.")


def checked_words(seed: Word | None, stream: Word, generator: torch.Generator | None) -> tuple[Word | None, Word]:
    """Check `seed`, `stream` and `generator`.

    Args:
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.

    Returns:
        Seed and stream, integers as unsigned words.

    Raises:
        RangeError, KindError: one of them breaks its rule.

    Examples:
        >>> checked_words(None, -1, None) == (None, 2**64 - 1)
        True
    """
    check_one_source(seed, generator)
    return None if seed is None else _word(seed, "seed"), _word(stream, "stream")


def _word(word: Word, name: str) -> Word:
    if type(word) is int or not isinstance(word, Tensor):
        return _check.word64(word, name)
    if word.dtype != torch.int64 or word.dim() != 0:
        raise KindError(
            f"`{name}` must be an integer or an int64 0-dim tensor, but got a tensor of dtype {word.dtype} and shape "
            f"{tuple(word.shape)}."
        )
    return word


def nothing_kept(input: Tensor, inplace: bool) -> Tensor:
    """Return what is left of a tensor at p = 1.

    It is selected: the gradient is +0.0 even where the upstream one is inf or nan, and nothing of the input is kept.

    Args:
        input: floating or complex tensor.
        inplace: write into it.

    Returns:
        Zeros like `input`; `input` itself when in place.

    Examples:
        >>> nothing_kept(torch.tensor([float("nan")]), False)
        tensor([0.])
    """
    if input.dtype not in ops.DTYPES:
        raise ops.unfit(input)
    if inplace:  # torch's `zero_` would pass over an expanded tensor, where its own dropout does not
        return input.copy_(torch.zeros((), dtype=input.dtype, device=input.device))
    return torch.where(torch.zeros((), dtype=torch.bool, device=input.device), input, 0.0)


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
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        The same, with integers as unsigned words.

    Raises:
        RangeError, KindError: one of them breaks its rule.

    Examples:
        >>> randomness(torch.ones(1), -1, 0, None, None).seed == 2**64 - 1
        True
    """
    redraw.check(input, window)
    return Randomness(*checked_words(seed, stream, generator), generator, window)


def rate(p: float) -> AnyRate:
    """Return how the law realises `p`, in a graph or outside.

    Args:
        p: drop probability in [0, 1].

    Returns:
        Threshold, width and scale.

    Examples:
        >>> rate(0.5).scale
        2.0
    """
    return ops.traced_rate(p) if torch.compiler.is_compiling() else _rate(p)


__all__ = [
    "AnyRate",
    "Given",
    "Randomness",
    "check_one_source",
    "checked_words",
    "nothing_kept",
    "randomness",
    "rate",
    "realised",
    "unscaled",
]
