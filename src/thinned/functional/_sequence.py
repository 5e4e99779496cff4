"""Dropout for sequences: one mask over time, and dropping words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thinned import _check, ops, redraw
from thinned._errors import KindError, RangeError
from thinned.functional._arguments import AnyRate, checked_words, rate
from thinned.functional._dropout import dropout
from thinned.kernels import tensor as _tensor
from thinned.masks import Window
from thinned.redraw import Word

INTEGERS = frozenset({torch.int64, torch.int32})


def locked_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    batch_first: bool = False,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Set features of a sequence to zero with probability `p`, the same ones at every time step.

    Both layouts have the same mask: that of the tensor with the batch first.

    Args:
        input: floating or complex tensor of shape (L, N, ...), or (N, L, ...) if `batch_first`.
        p: probability of a feature to be dropped, in [0, 1].
        training: drop only if true.
        batch_first: whether the batch is the first axis, and time the second.
        seed: as in `dropout`; a window speaks of the tensor with the batch first.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; fewer than two axes.

    Examples:
        >>> thinned.functional.locked_dropout(torch.ones(3, 1, 4), 0.5, seed=0).squeeze(1)
        tensor([[2., 0., 0., 2.],
                [2., 0., 0., 2.],
                [2., 0., 0., 2.]])

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016; under this name: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018.
    """
    if not training or p == 0:
        _check.probability(p)
        return input
    if input.dim() < 2:
        raise RangeError(f"`input` of locked_dropout must have at least 2 axes, but got shape {tuple(input.shape)}.")
    x = input if batch_first else input.transpose(0, 1)
    y = dropout(x, p, shared_axes=(1,), seed=seed, stream=stream, generator=generator, window=window)
    return y if batch_first else y.transpose(0, 1)


def _keep(
    input: Tensor,
    shape: tuple[int, ...],
    law: AnyRate,
    given: tuple[Word | None, Word, torch.Generator | None],
    window: Window | None = None,
) -> Tensor:
    seed, stream, generator = given
    words = redraw.words(input, *checked_words(seed, stream, generator), generator)
    if law.threshold == 0 or law.p == 1:
        return torch.full((1,) * len(shape), law.p != 1, device=input.device)
    return redraw.keep(input, shape, law, *words, (), window)


def _check_words(input: Tensor) -> None:
    if input.dtype not in INTEGERS:
        raise KindError(f"`input` must be int64 or int32, numbers of words, but got dtype {input.dtype}.")


def word_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    unknown: int = 0,
    protected: Sequence[int] = (),
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Replace words by the unknown word with probability `p`.

    Args:
        input: int64 or int32 tensor of any shape, the numbers of words.
        p: probability of a word to be replaced, in [0, 1].
        training: replace only if true.
        unknown: number of the word that stands for any other.
        protected: numbers of words that are never replaced, such as padding.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        A tensor like `input`; `input` itself if nothing is to be replaced.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; a dtype that is not for numbers of words.

    Examples:
        >>> thinned.functional.word_dropout(torch.tensor([5, 6, 7, 8]), 0.5, unknown=1, seed=0)
        tensor([5, 1, 1, 8])

    Source: Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio, "Generating sentences from a continuous space", CoNLL
    2016; with deletion instead of a word: Iyyer, Manjunatha, Boyd-Graber and Daume, ACL 2015.
    """
    law = rate(p)
    if not training or law.threshold == 0:
        return input
    _check_words(input)
    keep = _keep(input, tuple(input.shape), law, (seed, stream, generator), window)
    for word in protected:
        keep = keep | (input == word)
    return torch.where(keep, input, torch.full((), unknown, dtype=input.dtype, device=input.device))


def embedding_dropout(
    input: Tensor,
    weight: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
    **options: Any,
) -> Tensor:
    """Look words up in a table whose rows are set to zero with probability `p`: a dropped word is gone everywhere.

    Args:
        input: int64 or int32 tensor of any shape, the numbers of words.
        weight: table of shape (words, features).
        p: probability of a row to be dropped, in [0, 1]; the others are multiplied by 1 / (1 - p).
        training: drop only if true.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: taken for the sake of uniformity; the table is whole whatever part of a batch is at hand.
        options: those of `torch.nn.functional.embedding`.

    Returns:
        Tensor of shape (\\*input.shape, features).

    Raises:
        ValueError, TypeError: as `dropout`; a dtype that is not for numbers of words.

    Examples:
        >>> table = torch.ones(4, 2)
        >>> thinned.functional.embedding_dropout(torch.tensor([0, 1, 1, 3]), table, 0.5, seed=0)
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.],
                [2., 2.]])

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016, section 4.2.
    """
    del window
    law = rate(p)
    looked_up = torch.nn.functional.embedding(input, weight, **options)
    if not training or law.threshold == 0:
        return looked_up
    _check_words(input)
    rows = _keep(input, (weight.shape[0], 1), law, (seed, stream, generator))
    keep = rows.expand(weight.shape[0], 1)[input.long()]
    return _tensor.select(looked_up, keep, _scale(law))


def _scale(law: AnyRate) -> Any:
    if law.p == 1:
        return 0.0
    return law.law[2].view(torch.float64) if isinstance(law, ops.TracedRate) else law.scale
