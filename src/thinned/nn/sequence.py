"""Dropout for sequences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned._errors import KindError
from thinned.keys import Site


class LockedDropout(Site, torch.nn.Module):
    """Set features of a sequence to zero with probability `p` while training, the same ones at every time step.

    Args:
        p: probability of a feature to be dropped, in [0, 1]; can be assigned later.
        batch_first: whether the input is of shape (N, L, ...) and not (L, N, ...), as in torch's recurrent layers.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.LockedDropout(0.25, batch_first=True)
        LockedDropout(p=0.25, batch_first=True)

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016; under this name: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018.
    """

    reference = references.GAL_2016_RECURRENT

    def __init__(self, p: float = 0.5, batch_first: bool = False) -> None:
        super().__init__()
        self.p = p
        self.batch_first = batch_first

    def forward(self, input: Tensor) -> Tensor:
        """Return the dropout of `input`.

        Args:
            input: floating or complex tensor of shape (L, N, ...), or (N, L, ...) if `batch_first`.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        if not self.training or self._p == 0.0:
            return input
        # a key speaks of a batch along the first axis
        x = input if self.batch_first or input.dim() < 2 else input.transpose(0, 1)
        y = self._draw(functional.locked_dropout, x, self._p < 1.0, p=self._p, batch_first=True)
        return y if self.batch_first else y.transpose(0, 1)

    def extra_repr(self) -> str:
        """Return the arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"p={self.p}, batch_first={self.batch_first}"


class WordDropout(Site, torch.nn.Module):
    """Replace words by the unknown word with probability `p` while training.

    Args:
        p: probability of a word to be replaced, in [0, 1]; can be assigned later.
        unknown: number of the word that stands for any other.
        protected: numbers of words that are never replaced, such as padding.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.WordDropout(0.25, unknown=1)
        WordDropout(p=0.25, unknown=1)

    Source: Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio, "Generating sentences from a continuous space", CoNLL
    2016.
    """

    reference = references.BOWMAN_2016

    def __init__(self, p: float = 0.5, unknown: int = 0, protected: Sequence[int] = ()) -> None:
        super().__init__()
        self.p = p
        self.unknown = unknown
        self.protected = _check.axis_list(protected, "protected")

    def forward(self, input: Tensor) -> Tensor:
        """Return the words, with some of them unknown.

        Args:
            input: int64 or int32 tensor of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        options = {"p": self._p, "unknown": self.unknown, "protected": self.protected}
        return self._draw(functional.word_dropout, input, 0.0 < self._p < 1.0, **options)

    def extra_repr(self) -> str:
        """Return the arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        protected = f", protected={self.protected}" if self.protected else ""
        return f"p={self.p}, unknown={self.unknown}{protected}"


class EmbeddingDropout(Site, torch.nn.Module):
    """Look words up in an embedding whose rows are set to zero with probability `p` while training.

    A dropped word is gone from the whole batch. The embedding stays an ordinary module of its own, so that its weight
    can be shared with an output layer.

    Args:
        embedding: the embedding.
        p: probability of a row to be dropped, in [0, 1]; can be assigned later.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; `embedding` is not a `torch.nn.Embedding`.

    Examples:
        >>> layer = thinned.nn.EmbeddingDropout(torch.nn.Embedding(10, 4), 0.25)
        >>> layer(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 4])

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016, section 4.2.
    """

    reference = references.GAL_2016_RECURRENT

    def __init__(self, embedding: torch.nn.Embedding, p: float = 0.5) -> None:
        super().__init__()
        if not isinstance(embedding, torch.nn.Embedding):
            raise KindError(f"`embedding` must be a torch.nn.Embedding, but got {type(embedding).__name__}.")
        self.p = p
        self.embedding = embedding

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows of the table for the words.

        Args:
            input: int64 or int32 tensor of any shape.

        Returns:
            Tensor of shape (*input.shape, features); that of the embedding in eval mode.
        """
        table = self.embedding
        options = {"p": self._p, "padding_idx": table.padding_idx, "max_norm": table.max_norm}
        options |= {
            "norm_type": table.norm_type,
            "scale_grad_by_freq": table.scale_grad_by_freq,
            "sparse": table.sparse,
        }
        random = 0.0 < self._p < 1.0
        return self._draw(functional.embedding_dropout, input, random, weight=table.weight, **options)

    def extra_repr(self) -> str:
        """Return the rate.

        Returns:
            What stands between the parentheses of the layer's `repr`, before the embedding.
        """
        return f"p={self.p}"
