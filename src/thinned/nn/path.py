"""Dropping residual branches."""

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.functional._path import MODES
from thinned.keys import Site


class DropPath(Site, torch.nn.Module):
    """Set whole samples of a residual branch to zero with probability `p` while training.

    Args:
        p: probability of a sample to be dropped, in [0, 1]; can be assigned later. timm calls it `drop_prob`.
        mode: "row": each sample has a decision of its own; "batch": one decision for all.
        scale_by_keep: multiply what is kept by 1 / (1 - p), so that the mean stays the same.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], or the mode is unknown.

    Examples:
        >>> thinned.nn.DropPath(0.25)
        DropPath(p=0.25, mode=row)

    Source: Huang, Sun, Liu, Sedra and Weinberger, "Deep networks with stochastic depth", ECCV 2016; per sample:
    Larsson, Maire and Shakhnarovich, "FractalNet: ultra-deep neural networks without residuals", ICLR 2017.
    """

    reference = references.HUANG_2016

    def __init__(self, p: float = 0.0, mode: str = "row", scale_by_keep: bool = True) -> None:
        super().__init__()
        self.p = p
        self.mode = _check.one_of(mode, MODES, "mode")
        self.scale_by_keep = scale_by_keep

    def forward(self, input: Tensor) -> Tensor:
        """Return the branch, without the samples that are dropped.

        Args:
            input: floating or complex tensor of shape (N, ...).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        options = {"p": self._p, "mode": self.mode, "scale_by_keep": self.scale_by_keep}
        return self._draw(functional.drop_path, input, 0.0 < self._p < 1.0, **options)

    def extra_repr(self) -> str:
        """Return rate and mode, and whether nothing is scaled.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"p={self.p}, mode={self.mode}" + ("" if self.scale_by_keep else ", scale_by_keep=False")


class StochasticDepth(DropPath):
    """`DropPath` under torchvision's name and with torchvision's arguments.

    Args:
        p: probability of a sample to be dropped, in [0, 1]; can be assigned later.
        mode: "row" or "batch".

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], or the mode is unknown.

    Examples:
        >>> thinned.nn.StochasticDepth(0.25, "batch")
        StochasticDepth(p=0.25, mode=batch)

    Source: Huang, Sun, Liu, Sedra and Weinberger, "Deep networks with stochastic depth", ECCV 2016.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__(p, mode)
