"""Dropout that keeps mean and variance: for networks of self-normalising units."""

import dataclasses
import math

import torch
from torch import Tensor

from thinned import ops, redraw
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import Given, Randomness, nothing_kept, randomness, rate, realised
from thinned.kernels import cpu
from thinned.masks import Rate, Window
from thinned.redraw import Word

SATURATION = -1.7580993408473766  # what SELU tends to for very negative inputs: -scale * alpha


def _affine(law: Rate) -> tuple[Rate, float, float]:
    """The law with the factor, the summand and the fill that keep mean 0 and variance 1 at the realised rate.

    A kept element becomes a x + b, a dropped one a s + b. With s the saturation and q the realised rate the mean of a
    standardised input is q a s + b = 0, and the variance a**2 (1 - q) (1 + q s**2) = 1.
    """
    q = law.realised
    a = 1 / math.sqrt((1 - q) * (1 + q * SATURATION**2))
    b = -q * a * SATURATION
    return dataclasses.replace(law, scale=a), b, a * SATURATION + b


def _traced(
    input: Tensor, law: Rate | ops.TracedRate, words: tuple[Word, Word], axes: tuple[int, ...], r: Randomness
) -> Tensor:
    q = realised(law)
    a = 1 / ((1 - q) * (1 + q * SATURATION**2)) ** 0.5
    kept = ops.dropout(redraw.widened(input) - SATURATION, law, *words, axes, r.window)
    return (kept * (a * (1 - q)) + a * SATURATION * (1 - q)).to(input.dtype)  # a s + b = a s (1 - q)


def _alpha(
    input: Tensor, p: float, training: bool, inplace: bool, shared_axes: tuple[int, ...], given: Given
) -> Tensor:
    law = rate(p)
    if not training or law.threshold == 0:
        return input
    r = randomness(input, *given)
    if input.is_complex():
        raise KindError(f"`input` must be real for alpha dropout, but got dtype {input.dtype}.")
    if law.scale == math.inf:
        return nothing_kept(input, inplace)
    words = r.draw(input)
    if redraw.traced(input) or not input.is_cpu:
        result = _traced(input, law, words, shared_axes, r)
        return input.copy_(result) if inplace else result
    assert isinstance(law, Rate)
    affine, shift, fill = _affine(law)
    seed, stream = redraw.as_int(words[0]), redraw.as_int(words[1])

    def whole(x: Tensor) -> Tensor:
        x = redraw.solid(x)
        output = torch.empty_like(x)
        cpu.dropout(x, output, affine, seed, stream, shared_axes, r.window, fresh=True, shift=shift, fill=fill)
        return output

    def linear(x: Tensor) -> Tensor:
        return ops.dropout(x, affine, seed, stream, shared_axes, r.window)

    result = redraw.redrawn(input, whole, linear)
    return input.copy_(result) if inplace else result


def alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set elements to SELU's negative saturation with probability `p`, then restore mean and variance.

    An input of mean 0 and variance 1 gives an output of mean 0 and variance 1, exactly, at the rate that the law
    realises.

    Args:
        input: floating tensor of any shape and memory format.
        p: probability of an element to be dropped, in [0, 1]; at 1 the output is zero, its limit.
        training: drop only if true; false by default, as in torch.
        inplace: write into `input`.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; complex input.

    Examples:
        >>> thinned.functional.alpha_dropout(torch.zeros(4), 0.5, training=True, seed=0)
        tensor([ 0.7792, -0.7792, -0.7792,  0.7792])

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """
    return _alpha(input, p, training, inplace, (), (seed, stream, generator, window))


def feature_alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set whole channels to SELU's negative saturation with probability `p`, then restore mean and variance.

    Args:
        input: floating tensor of shape (N, C, ...), at least two axes.
        p: probability of a channel to be dropped, in [0, 1].
        training: drop only if true; false by default, as in torch.
        inplace: write into `input`.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`.

    Raises:
        ValueError, TypeError: as `alpha_dropout`; fewer than two axes.

    Examples:
        >>> thinned.functional.feature_alpha_dropout(torch.zeros(1, 2, 2), 0.5, training=True, seed=0)
        tensor([[[ 0.7792,  0.7792],
                 [-0.7792, -0.7792]]])

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """
    if input.dim() < 2 and training:
        raise RangeError(
            f"`input` of feature_alpha_dropout must have at least 2 axes, but got shape {tuple(input.shape)}."
        )
    axes = tuple(range(2, input.dim()))
    return _alpha(input, p, training, inplace, axes, (seed, stream, generator, window))
