"""Dropping whole samples of a residual branch."""

import math

import torch
from torch import Tensor

from thinned import _check, ops
from thinned._errors import RangeError
from thinned.functional._arguments import nothing_kept, randomness, rate, unscaled
from thinned.masks import Window
from thinned.redraw import Word

MODES = ("row", "batch")


def drop_path(
    input: Tensor,
    p: float = 0.0,
    training: bool = True,
    mode: str = "row",
    scale_by_keep: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set whole samples to zero with probability `p`: the branch of a residual network is skipped for them.

    Args:
        input: floating or complex tensor of shape (N, ...), the output of a residual branch.
        p: probability of a sample to be dropped, in [0, 1].
        training: drop only if true.
        mode: "row": each sample has a decision of its own; "batch": one decision for all.
        scale_by_keep: multiply what is kept by 1 / (1 - p), so that the mean stays the same.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; an unknown mode; a tensor without axes.

    Examples:
        >>> thinned.functional.drop_path(torch.ones(4, 2), 0.5, seed=0)
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.],
                [2., 2.]])

    Source: Huang, Sun, Liu, Sedra and Weinberger, "Deep networks with stochastic depth", ECCV 2016; per sample:
    Larsson, Maire and Shakhnarovich, "FractalNet: ultra-deep neural networks without residuals", ICLR 2017.
    """
    _check.one_of(mode, MODES, "mode")
    law = rate(p)
    if not training or law.threshold == 0:
        return input
    r = randomness(input, seed, stream, generator, window)
    if input.dim() == 0:
        raise RangeError("`input` of drop_path must have at least 1 axis, but got shape ().")
    if law.scale == math.inf:
        return nothing_kept(input, False)
    axes = tuple(range(mode == "row", input.dim()))
    law = law if scale_by_keep else unscaled(law)
    return ops.dropout(input, law, r.seed, r.stream, axes, r.window, generator=r.generator)
