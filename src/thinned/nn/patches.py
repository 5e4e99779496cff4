"""Dropping tokens."""

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.keys import Site


class PatchDropout(Site, torch.nn.Module):
    """Keep a fixed number of the patches of each sample while training, and leave the others out.

    Args:
        p: share of the patches to be dropped, in [0, 1]; can be assigned later. timm calls it `prob`.
        prefix_tokens: number of tokens at the front that are always kept, such as a class token.
        ordered: keep the patches in their order; otherwise shuffle them.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], or the number of tokens is negative.

    Examples:
        >>> thinned.nn.PatchDropout(0.25)(torch.ones(2, 1 + 16, 8)).shape
        torch.Size([2, 13, 8])

    Source: Liu, Matsoukas, Strand, Azizpour and Smith, "PatchDropout: economizing vision transformers using patch
    dropout", WACV 2023.
    """

    reference = references.LIU_2023

    def __init__(self, p: float = 0.5, prefix_tokens: int = 1, ordered: bool = True) -> None:
        super().__init__()
        self.p = p
        self.prefix_tokens = _check.sizes((prefix_tokens,), "prefix_tokens")[0]
        self.ordered = ordered

    def forward(self, input: Tensor) -> Tensor:
        """Return the tokens that are kept.

        Args:
            input: floating or complex tensor of shape (N, L, ...).

        Returns:
            Tensor of shape (N, prefix_tokens + k, ...); `input` itself in eval mode.
        """
        options = {"p": self._p, "prefix_tokens": self.prefix_tokens, "ordered": self.ordered}
        return self._draw(functional.patch_dropout, input, self._p > 0, **options)

    def extra_repr(self) -> str:
        """Return the arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"p={self.p}, prefix_tokens={self.prefix_tokens}, ordered={self.ordered}"
