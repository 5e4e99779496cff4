"""Keeping units of a recurrent state as they were."""

import torch
from torch import Tensor

from thinned._errors import RangeError
from thinned.functional._dropout import dropout
from thinned.masks import Window, rate
from thinned.redraw import Word


def zoneout(
    new: Tensor,
    old: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Let each unit keep its old value with probability `p`.

    Args:
        new: the state of this time step, of any shape.
        old: the state before, of the same shape.
        p: probability of a unit to keep its value, in [0, 1].
        training: choose at random; otherwise take the mean, p * old + (1 - p) * new.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `new`; `new` itself for p = 0.

    Raises:
        ValueError, TypeError: as `dropout`; the shapes differ.

    Examples:
        >>> thinned.functional.zoneout(torch.ones(4), torch.zeros(4), 0.5, seed=0)
        tensor([1., 0., 0., 1.])

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.
    """
    law = rate(p)
    if new.shape != old.shape:
        raise RangeError(f"`old` must have the shape of `new`, {tuple(new.shape)}, but got {tuple(old.shape)}.")
    if law.keeps_all:
        return new
    if not training:
        return law.realised * old + (1 - law.realised) * new
    ones = torch.ones_like(new, requires_grad=False)
    kept = dropout(ones, p, seed=seed, stream=stream, generator=generator, window=window) != 0
    return torch.where(kept, new, old)
