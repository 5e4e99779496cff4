"""Dropout on NumPy arrays, both ways that people write it, with the masks of the law.

*Vanilla* dropout (Srivastava et al., 2014, section 4) leaves what it keeps as it is while training, and scales at test
time; *inverted* dropout scales what it keeps while training, and does nothing at test time. Neither keeps its mask: the
backward pass calls the same function on the gradient, with the same seed.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.kernels.reference import WIDE
from thinned.masks import Mask, Window, rate

Scalar = TypeVar("Scalar", bound=np.generic)


def vanilla_dropout(
    input: NDArray[Scalar],
    p: float = 0.5,
    training: bool = True,
    *,
    shared_axes: tuple[int, ...] = (),
    seed: int | None = None,
    stream: int = 0,
    generator: np.random.Generator | None = None,
    window: Window | None = None,
) -> NDArray[Scalar]:
    """Drop elements while training, and multiply by ``1 - p`` otherwise.

    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15 (2014), section 4.

    Args:
        input: array of any shape; floating or complex, unless `p` is 0.
        p: probability of dropping an element, in [0, 1].
        training: whether to drop; if not, the whole array is scaled.
        shared_axes: axes along which the mask does not vary.
        seed: 64-bit integer that picks the mask; drawn when not given.
        stream: 64-bit integer that picks an independent mask under the same seed.
        generator: what to draw the seed from; NumPy's global state (``np.random.seed``) when not given.
        window: the larger array that `input` is a part of.

    Returns:
        A new array of the same shape and dtype, +0.0 where dropped; `input` itself when `p` is 0.

    Raises:
        RangeError, KindError: an argument breaks its rule, or the dtype is integer or bool and `p` is not 0.

    Examples:
        >>> vanilla_dropout(np.array([1.0, 2.0, 3.0, 4.0]), 0.5, seed=0)
        array([1., 0., 0., 4.])
        >>> vanilla_dropout(np.array([1.0, 2.0, 3.0, 4.0]), 0.5, training=False)
        array([0.5, 1. , 1.5, 2. ])
    """
    law = rate(p)
    if law.keeps_all:
        return _array(input)
    wide = _wide(input)
    if law.keeps_none:
        return np.zeros_like(input, subok=False)
    if not training:
        return _select(input, np.True_, wide(1 - law.p))
    mask = Mask(p, _seed(seed, generator), stream, shared_axes, window)
    return _select(input, mask.keep_array(input.shape), wide(1))


def inverted_dropout(
    input: NDArray[Scalar],
    p: float = 0.5,
    training: bool = True,
    *,
    shared_axes: tuple[int, ...] = (),
    seed: int | None = None,
    stream: int = 0,
    generator: np.random.Generator | None = None,
    window: Window | None = None,
) -> NDArray[Scalar]:
    """Drop elements and scale up the others while training, and do nothing otherwise; also known as `dropout`.

    This is what PyTorch and most others call dropout. Under the same seed and stream the mask is that of
    `vanilla_dropout` and of ``thinned.dropout``.

    Args:
        input: array of any shape; floating or complex if anything is to be dropped.
        p: probability of dropping an element, in [0, 1].
        training: whether to drop.
        shared_axes: axes along which the mask does not vary.
        seed: 64-bit integer that picks the mask; drawn when not given.
        stream: 64-bit integer that picks an independent mask under the same seed.
        generator: what to draw the seed from; NumPy's global state (``np.random.seed``) when not given.
        window: the larger array that `input` is a part of.

    Returns:
        A new array of the same shape and dtype, +0.0 where dropped; `input` itself when not training or when `p` is 0.

    Raises:
        RangeError, KindError: an argument breaks its rule, or the dtype is integer or bool, training, and `p` is not 0.

    Examples:
        >>> inverted_dropout(np.array([1.0, 2.0, 3.0, 4.0]), 0.5, seed=0)
        array([2., 0., 0., 8.])
    """
    law = rate(p)
    if law.keeps_all or not training:
        return _array(input)
    wide = _wide(input)
    if law.keeps_none:
        return np.zeros_like(input, subok=False)
    mask = Mask(p, _seed(seed, generator), stream, shared_axes, window)
    return _select(input, mask.keep_array(input.shape), wide(law.scale))


dropout = inverted_dropout


def _array(input: NDArray[Scalar]) -> NDArray[Scalar]:
    kind: type = type(input)
    if not issubclass(kind, np.ndarray):
        raise KindError(f"`input` must be a NumPy array, but got {kind.__name__}.")
    return input


def _wide(input: NDArray[Any]) -> Any:
    """Return the type in which the elements are scaled."""
    wide: Any = WIDE.get(_array(input).dtype.newbyteorder("="))
    if wide is None:
        raise KindError(
            "`input` must be float16, float32, float64, complex64 or complex128 where p > 0, "
            f"but got dtype {input.dtype}."
        )
    return wide


def _select(input: NDArray[Scalar], keep: Any, scale: Any) -> NDArray[Scalar]:
    """Return `input` times `scale` where `keep` is true and +0.0 elsewhere, in the input's own memory order."""
    output = np.zeros_like(input, subok=False)
    sources, targets = [input.real], [output.real]
    if np.iscomplexobj(input):  # part by part: a complex product with inf would make nan
        sources.append(input.imag)
        targets.append(output.imag)
    for source, target in zip(sources, targets, strict=True):  # without `dtype`, NumPy 1 would scale float16 in float16
        np.multiply(source, scale, out=target, where=keep, dtype=type(scale), casting="same_kind")
    return output


def _seed(seed: int | None, generator: np.random.Generator | None) -> int:
    if seed is not None:
        if generator is not None:
            raise RangeError("`seed` and `generator` must not both be given, but got both.")
        return seed
    if generator is None:
        return int(np.random.randint(0, _check.WORD, dtype=np.uint64))  # noqa: NPY002, what np.random.seed seeds
    kind: type = type(generator)
    if not issubclass(kind, np.random.Generator):
        raise KindError(f"`generator` must be a numpy.random.Generator, but got {kind.__module__}.{kind.__name__}.")
    return int(generator.integers(0, _check.WORD, dtype=np.uint64))


__all__ = ["dropout", "inverted_dropout", "vanilla_dropout"]
