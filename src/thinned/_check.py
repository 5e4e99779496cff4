"""Checks of arguments, in one place and in one form: the rule, then the value that broke it."""

import operator
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from thinned._errors import KindError, RangeError

WORD = 2**64


def probability(p: Any, name: str = "p") -> float:
    """Return `p` as a float in [0, 1].

    Args:
        p: a real number (Python or NumPy); bool, str and None are refused.
        name: what the caller calls it.

    Returns:
        `p` as a Python float.

    Raises:
        KindError: `p` is not a real number.
        RangeError: `p` is below 0, above 1, or nan.

    Examples:
        >>> probability(1)
        1.0
        >>> probability(1.5)
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `p` must be in [0, 1], but got p=1.5.
    """
    kind = type(p)
    if kind is not float and (kind is bool or not issubclass(kind, Real)):
        raise KindError(f"`{name}` must be a number in [0, 1], but got {name}={p!r} of type {kind.__name__}.")
    if not 0.0 <= p <= 1.0:  # false for nan too; before float(), which overflows on a huge integer
        raise RangeError(f"`{name}` must be in [0, 1], but got {name}={p}.")
    return float(p)


def below_one(p: Any, name: str = "p") -> float:
    """Return `p` as a float in [0, 1), for noise whose variance grows without limit as `p` goes to 1.

    Args:
        p: a real number.
        name: what the caller calls it.

    Returns:
        `p` as a Python float.

    Raises:
        KindError, RangeError: as `probability`; `p` is 1.

    Examples:
        >>> below_one(0.5)
        0.5
    """
    if probability(p, name) == 1.0:
        raise RangeError(f"`{name}` must be below 1, where the variance p / (1 - p) has no limit, but got {name}={p}.")
    return float(p)


def scale(value: Any, name: str) -> float:
    """Return `value` as a finite float of at least 0.

    Args:
        value: a real number (Python or NumPy); bool, str and None are refused.
        name: what the caller calls it.

    Returns:
        The value as a Python float.

    Raises:
        KindError: not a real number.
        RangeError: negative, infinite or nan.

    Examples:
        >>> scale(2, "std")
        2.0
    """
    kind = type(value)
    if kind is not float and (kind is bool or not issubclass(kind, Real)):
        raise KindError(f"`{name}` must be a number of at least 0, but got {name}={value!r} of type {kind.__name__}.")
    if not 0.0 <= value < float("inf"):
        raise RangeError(f"`{name}` must be a finite number of at least 0, but got {name}={value}.")
    return float(value)


def one_of(value: Any, choices: Sequence[str], name: str) -> str:
    """Return `value`, one of a few words.

    Args:
        value: the word.
        choices: the words that there are.
        name: what the caller calls it.

    Returns:
        The word.

    Raises:
        RangeError: another word, or none at all.

    Examples:
        >>> one_of("row", ("row", "batch"), "mode")
        'row'
    """
    if not isinstance(value, str) or value not in choices:
        words = " or ".join(f'"{choice}"' for choice in choices)
        raise RangeError(f"`{name}` must be {words}, but got {name}={value!r}.")
    return value


def word64(value: Any, name: str) -> int:
    """Return an integer from -2**63 to 2**64 - 1 as the unsigned 64-bit word with the same bits.

    Args:
        value: a Python or NumPy integer; bool is refused.
        name: what the caller calls it.

    Returns:
        The value modulo 2**64.

    Raises:
        KindError: the value is not an integer.
        RangeError: the value does not fit in 64 bits.

    Examples:
        >>> word64(-1, "seed") == 2**64 - 1
        True
    """
    if isinstance(value, bool):
        raise KindError(f"`{name}` must be an integer, but got {name}={value!r} of type bool.")
    try:
        number = operator.index(value)
    except TypeError:
        raise KindError(
            f"`{name}` must be an integer, but got {name}={value!r} of type {type(value).__name__}."
        ) from None
    if not -(2**63) <= number < WORD:
        raise RangeError(f"`{name}` must be in [-2**63, 2**64 - 1], but got {name}={number}.")
    return number % WORD


def signed64(word: int) -> int:
    """Return the int64 with the bits of the unsigned 64-bit `word`.

    Args:
        word: an integer in [0, 2**64 - 1].

    Returns:
        An integer in [-2**63, 2**63 - 1].

    Examples:
        >>> signed64(2**64 - 1)
        -1
    """
    return word - WORD if word >= WORD // 2 else word


def sizes(shape: Iterable[Any], name: str) -> tuple[int, ...]:
    """Return `shape` as a tuple of non-negative ints.

    Args:
        shape: sizes of the axes.
        name: what the caller calls it.

    Returns:
        The sizes.

    Raises:
        KindError: not an iterable of integers.
        RangeError: a size is negative.

    Examples:
        >>> sizes([2, 3], "shape")
        (2, 3)
    """
    try:
        result = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise KindError(f"`{name}` must be a sequence of integers, but got {name}={shape!r}.") from None
    if any(size < 0 for size in result):
        raise RangeError(f"`{name}` must not be negative anywhere, but got {name}={result}.")
    return result


def axis_list(value: Any, name: str = "shared_axes") -> tuple[int, ...]:
    """Return an axis or a sequence of axes as a tuple of ints, as given.

    Args:
        value: an axis or a sequence of axes.
        name: what the caller calls it.

    Returns:
        The axes in the order given.

    Raises:
        KindError: not integers.

    Examples:
        >>> axis_list(-1)
        (-1,)
    """
    try:
        return (operator.index(value),)
    except TypeError:
        pass
    try:
        return tuple(operator.index(axis) for axis in value)
    except TypeError:
        raise KindError(f"`{name}` must be a sequence of integers, but got {name}={value!r}.") from None


def axes(shared_axes: Any, dims: int, name: str = "shared_axes") -> tuple[int, ...]:
    """Return axes of a tensor, counted from the front, sorted and without repeats.

    Args:
        shared_axes: an axis or a sequence of axes; negative ones count from the end.
        dims: number of axes of the tensor.
        name: what the caller calls it.

    Returns:
        Sorted axes in [0, dims).

    Raises:
        KindError: not integers.
        RangeError: an axis does not exist.

    Examples:
        >>> axes((-1, 1), 3)
        (1, 2)
    """
    wanted = axis_list(shared_axes, name)
    for axis in wanted:
        if not -dims <= axis < dims:
            raise RangeError(f"`{name}` must be in [{-dims}, {dims - 1}] for {dims} axes, but got axis {axis}.")
    return tuple(sorted({axis % dims for axis in wanted}))


def within(shape: Sequence[int], start: Sequence[int], extent: Sequence[int]) -> None:
    """Check that a part of a tensor lies inside the whole.

    Args:
        shape: sizes of the whole.
        start: index of the part's first element.
        extent: sizes of the part.

    Raises:
        RangeError: the numbers of axes differ, or the part reaches outside.

    Examples:
        >>> within((4, 6), (1, 0), (3, 6))
    """
    if not len(shape) == len(start) == len(extent):
        raise RangeError(
            f"`window` must have as many axes as the tensor, but got window shape {tuple(shape)}, "
            f"start {tuple(start)} and tensor shape {tuple(extent)}."
        )
    if any(begin + size > total for begin, size, total in zip(start, extent, shape, strict=True)):
        raise RangeError(
            f"`window` must contain the tensor, but a tensor of shape {tuple(extent)} that starts at {tuple(start)} "
            f"does not lie inside {tuple(shape)}."
        )


def positive(value: Any, name: str) -> int:
    """Return `value` as an int of at least 1.

    Args:
        value: an integer.
        name: what the caller calls it.

    Returns:
        The integer.

    Raises:
        KindError: not an integer.
        RangeError: below 1.

    Examples:
        >>> positive(3, "groups")
        3
    """
    if isinstance(value, bool):
        raise KindError(f"`{name}` must be an integer, but got {name}={value!r} of type bool.")
    try:
        number = operator.index(value)
    except TypeError:
        raise KindError(
            f"`{name}` must be an integer, but got {name}={value!r} of type {type(value).__name__}."
        ) from None
    if number < 1:
        raise RangeError(f"`{name}` must be at least 1, but got {name}={number}.")
    return number
