"""The kernels on NumPy arrays, written for reading: what every other back end is compared with.

Submatrices are computed in the dtype of the arrays: float64 arrays make an oracle for narrower ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned.kernels.steps import AdamStep, SgdStep
from thinned.masks import Mask

Array = NDArray[Any]
Index = NDArray[np.int64] | None  # ascending indices; None for all

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

    Examples:
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

    Examples:
        >>> dropout(np.ones(4), Mask(0.5, seed=0))
        array([2., 0., 0., 2.])
    """
    return select(input, mask.keep_array(input.shape), mask.rate.scale)


def _place(matrix: Array, rows: Index, columns: Index) -> tuple[Array, ...]:
    choices = (rows, columns)[: matrix.ndim]
    return np.ix_(*(np.arange(n) if c is None else c for n, c in zip(matrix.shape, choices, strict=True)))


def gather(matrix: Array, rows: Index, columns: Index) -> Array:
    """Return a submatrix.

    Args:
        matrix: array of one or two axes.
        rows: indices of rows, or of elements of a vector; None for all.
        columns: indices of columns; None for all.

    Returns:
        A new array.

    Examples:
        >>> gather(np.arange(6.0).reshape(2, 3), None, np.array([0, 2]))
        array([[0., 2.],
               [3., 5.]])
    """
    return matrix[_place(matrix, rows, columns)]


def scatter_add(matrix: Array, block: Array, rows: Index, columns: Index) -> Array:
    """Return a matrix with a block added to a submatrix.

    Args:
        matrix: array of one or two axes.
        block: what to add.
        rows: as for `gather`.
        columns: likewise.

    Returns:
        A new array.

    Examples:
        >>> scatter_add(np.zeros(3), np.ones(1), np.array([1]), None)
        array([0., 1., 0.])
    """
    result = matrix.copy()
    result[_place(matrix, rows, columns)] += block
    return result


def sgd(
    parameter: Array, momentum: Array | None, gradient: Array, rows: Index, columns: Index, step: SgdStep
) -> tuple[Array, Array | None]:
    """Return a parameter and its momentum after one step of SGD on a submatrix, by torch's documentation.

    Args:
        parameter: array of one or two axes.
        momentum: like the parameter; None for SGD without.
        gradient: block of the submatrix's gradient.
        rows: as for `gather`.
        columns: likewise.
        step: the numbers.

    Returns:
        New arrays; None for the momentum that there is not.

    Examples:
        >>> sgd(np.ones(3), None, np.ones(1), np.array([1]), None, SgdStep(lr=0.5))
        (array([1. , 0.5, 1. ]), None)
    """
    at = _place(parameter, rows, columns)
    theta, g = parameter[at], -gradient if step.maximize else gradient
    g = g + step.weight_decay * theta
    velocity = None
    if momentum is not None:
        b = step.momentum * momentum[at] + (1 - step.dampening) * g
        velocity = momentum.copy()
        velocity[at] = b
        g = g + step.momentum * b if step.nesterov else b
    result = parameter.copy()
    result[at] = theta - step.lr * g
    return result, velocity


def adam(
    parameter: Array,
    moments: tuple[Array, Array, Array | None],
    gradient: Array,
    rows: Index,
    columns: Index,
    step: AdamStep,
) -> tuple[Array, tuple[Array, Array, Array | None]]:
    """Return a parameter and its moments after one step of Adam or AdamW on a submatrix, by torch's documentation.

    Args:
        parameter: array of one or two axes.
        moments: the first, the second, and the largest second ones so far (None without), like the parameter.
        gradient: block of the submatrix's gradient.
        rows: as for `gather`.
        columns: likewise.
        step: the numbers.

    Returns:
        New arrays: the parameter, and its moments; None for those that there are not.

    Examples:
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam(np.ones(2), (np.zeros(2), np.zeros(2), None), np.ones(1), np.array([1]), None, numbers)[0]
        array([1. , 0.5])
    """
    at = _place(parameter, rows, columns)
    first, second, largest = (None if moment is None else moment.copy() for moment in moments)
    assert first is not None
    assert second is not None
    theta, g = parameter[at], -gradient if step.maximize else gradient
    if step.decoupled:
        theta = theta - step.lr * step.weight_decay * theta
    else:
        g = g + step.weight_decay * theta
    first[at] = step.beta1 * first[at] + (1 - step.beta1) * g
    second[at] = step.beta2 * second[at] + (1 - step.beta2) * g**2
    spread = second
    if largest is not None:
        largest[at] = np.maximum(largest[at], second[at])
        spread = largest
    mean, variance = first[at] / step.correction1, spread[at] / step.correction2
    result = parameter.copy()
    result[at] = theta - step.lr * mean / (np.sqrt(variance) + step.eps)
    return result, (first, second, largest)


def replacement_segments(
    values: NDArray[Any], lengths: NDArray[Any], id: int, mask: Mask
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return values and lengths in which each dropped segment has become the one value `id`.

    Args:
        values: the values of all segments, one segment after the other.
        lengths: how many values each segment has.
        id: what a dropped segment becomes.
        mask: which segments are kept.

    Returns:
        The new values and lengths.

    Examples:
        >>> replacement_segments(np.array([5, 6, 7]), np.array([1, 2]), -1, Mask(0.5, seed=0))
        (array([ 5, -1]), array([1, 1]))
    """
    keep = mask.keep_array(lengths.shape)
    parts = np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []
    parts = [part if stays else np.array([id], values.dtype) for part, stays in zip(parts, keep, strict=True)]
    return np.concatenate([values[:0], *parts]), np.where(keep, lengths, 1).astype(lengths.dtype)


def replacement_items(values: NDArray[Any], id: int, mask: Mask) -> NDArray[Any]:
    """Return values of which each dropped one has become `id`.

    Args:
        values: ids.
        id: what a dropped one becomes.
        mask: which are kept.

    Returns:
        A new array like `values`.

    Examples:
        >>> replacement_items(np.array([5, 6, 7, 8]), -1, Mask(0.5, seed=0))
        array([ 5, -1, -1,  8])
    """
    return np.where(mask.keep_array(values.shape), values, values.dtype.type(id))
