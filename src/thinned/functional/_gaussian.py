"""Gaussian noise, as a factor and as a summand, and the penalty on activities that goes with it in Keras."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, ops, redraw
from thinned._errors import KindError
from thinned.functional._arguments import Given, randomness
from thinned.kernels import cpu
from thinned.masks import Window
from thinned.redraw import Word


def _noisy(
    input: Tensor,
    deviation: float,
    multiply: bool,
    inplace: bool,
    shared_axes: tuple[int, ...],
    given: Given,
) -> Tensor:
    r = randomness(input, *given)
    words = r.draw(input)

    def whole(x: Tensor) -> Tensor:
        plain = x.is_cpu and not redraw.traced(x) and x.is_contiguous() and not x.is_complex()
        if plain and not shared_axes and r.window is None:
            x = redraw.solid(x)
            output = torch.empty_like(x)
            cpu.gaussian(x, output, deviation, multiply, redraw.as_int(words[0]), redraw.as_int(words[1]))
            return output
        noise = deviation * redraw.normal(x, *words, shared_axes, r.window)
        wide = redraw.widened(x)
        return (wide * (1 + noise) if multiply else wide + noise).to(x.dtype)

    result = redraw.redrawn(input, whole, whole if multiply else torch.clone)
    return input.copy_(result) if inplace else result


def gaussian_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    shared_axes: int | Sequence[int] = (),
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Multiply each element by a normal number of mean 1 and variance p / (1 - p), that of dropout with `p`.

    Args:
        input: floating or complex tensor of any shape.
        p: rate in [0, 1); the variance has no limit at 1.
        training: only then.
        inplace: write into `input`.
        shared_axes: axis or axes along which one number is shared.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if there is no noise.

    Raises:
        ValueError, TypeError: as `dropout`; `p` is 1.

    Examples:
        >>> thinned.functional.gaussian_dropout(torch.ones(3), 0.2, seed=0)
        tensor([1.6640, 0.8142, 0.7277])

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014, section 10.
    """
    p = _check.below_one(p)
    if not training or p == 0:
        return input
    axes = _check.axis_list(shared_axes)
    return _noisy(input, math.sqrt(p / (1 - p)), True, inplace, axes, (seed, stream, generator, window))


def gaussian_noise(
    input: Tensor,
    std: float = 0.1,
    training: bool = True,
    inplace: bool = False,
    *,
    shared_axes: int | Sequence[int] = (),
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Add a normal number of mean 0 to each element.

    Args:
        input: floating or complex tensor of any shape; noise on a complex one is real.
        std: standard deviation of the noise, at least 0.
        training: only then.
        inplace: write into `input`.
        shared_axes: axis or axes along which one number is shared.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if there is no noise.

    Raises:
        ValueError, TypeError: as `dropout`; `std` is not a finite number of at least 0.

    Examples:
        >>> thinned.functional.gaussian_noise(torch.zeros(3), 0.5, seed=0)
        tensor([ 0.6640, -0.1858, -0.2723])

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7, 1995.
    """
    std = _check.scale(std, "std")
    if not training or std == 0:
        return input
    return _noisy(input, std, False, inplace, _check.axis_list(shared_axes), (seed, stream, generator, window))


def activity_penalty(input: Tensor, l1: float = 0.0, l2: float = 0.0) -> Tensor:
    """Return the penalty of an activity: `l1` times the sum of absolute values plus `l2` times the sum of squares.

    Args:
        input: floating or complex tensor of any shape.
        l1: factor of the absolute values, at least 0.
        l2: factor of the squares, at least 0.

    Returns:
        0-dim tensor, to be added to the loss.

    Raises:
        ValueError, TypeError: a factor is not a finite number of at least 0; integer input.

    Examples:
        >>> thinned.functional.activity_penalty(torch.tensor([3.0, -4.0]), l1=0.1, l2=0.01)
        tensor(0.9500)

    Source: Glorot, Bordes and Bengio, "Deep sparse rectifier neural networks", AISTATS 2011 (L1 on activities).
    """
    l1, l2 = _check.scale(l1, "l1"), _check.scale(l2, "l2")
    if input.dtype not in ops.DTYPES:
        raise KindError(f"`input` must be floating or complex for a penalty, but got dtype {input.dtype}.")
    size = redraw.widened(input).abs()
    return l1 * size.sum() + l2 * size.square().sum()
