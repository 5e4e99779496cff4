"""The mask law on NumPy arrays, written for reading: what every other back end is compared with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned.masks import Mask

WIDE: dict[np.dtype[Any], type[np.floating[Any]]] = {  # dtype of the input -> dtype in which it is scaled
    np.dtype(np.float16): np.float32,
    np.dtype(np.float32): np.float32,
    np.dtype(np.float64): np.float64,
    np.dtype(np.complex64): np.float32,
    np.dtype(np.complex128): np.float64,
}


def select(input: NDArray[Any], keep: NDArray[np.bool_], scale: float) -> NDArray[Any]:
    """Return `input` times `scale` where `keep` is true and +0.0 elsewhere, rounded once.

    Args:
        input: array of a dtype in `WIDE`.
        keep: bool array that broadcasts to the input.
        scale: factor of the kept elements.

    Returns:
        A new array of the same shape and dtype.

    Example:
        >>> select(np.array([-1.0, np.inf]), np.array([True, False]), 2.0)
        array([-2.,  0.])
    """
    wide = WIDE[input.dtype]
    keep = np.broadcast_to(keep, input.shape)
    if np.iscomplexobj(input):  # a complex product with inf would make nan
        result = np.empty(input.shape, input.dtype)
        result.real, result.imag = select(input.real, keep, scale), select(input.imag, keep, scale)
        return result
    result = np.where(keep, input.astype(wide) * wide(scale), wide(0))
    return np.asarray(result, dtype=input.dtype)


def dropout(input: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """Return the dropout of `input` by the mask law.

    Args:
        input: array of a dtype in `WIDE`.
        mask: which elements are kept, and their scale.

    Returns:
        A new array of the same shape and dtype.

    Example:
        >>> dropout(np.ones(4), Mask(0.5, seed=0))
        array([2., 0., 0., 2.])
    """
    return select(input, mask.keep_array(input.shape), mask.rate.scale)
