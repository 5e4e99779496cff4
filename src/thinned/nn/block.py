"""Dropping blocks of feature maps, and squares of images."""

from collections.abc import Callable

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.functional._block import NORMALISATIONS
from thinned.keys import Site


class _DropBlock(Site, torch.nn.Module):
    """What the layers for one, two and three axes share."""

    reference = references.GHIASI_2018

    _function: Callable[..., Tensor]

    def __init__(
        self,
        p: float = 0.1,
        block_size: int = 7,
        inplace: bool = False,
        *,
        couple_channels: bool = False,
        normalise: str = "rate",
    ) -> None:
        super().__init__()
        self.p = p
        self.block_size = _check.positive(block_size, "block_size")
        self.inplace = inplace
        self.couple_channels = couple_channels
        self.normalise = _check.one_of(normalise, NORMALISATIONS, "normalise")

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` without some of its blocks.

        Args:
            input: floating or complex tensor: batch (or none), channels, and the layer's axes.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        options = {"couple_channels": self.couple_channels, "normalise": self.normalise}
        return self._drop(type(self)._function, input, block_size=self.block_size, **options)

    def extra_repr(self) -> str:
        """Return the arguments, of the last two those that are used.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        coupled = ", couple_channels=True" if self.couple_channels else ""
        normalise = f", normalise={self.normalise}" if self.normalise != NORMALISATIONS[0] else ""
        return f"p={self.p}, block_size={self.block_size}, inplace={self.inplace}{coupled}{normalise}"


class DropBlock1d(_DropBlock):
    """Set contiguous runs of a sequence to zero while training, so that each element is dropped with probability `p`.

    Args:
        p: probability of an element to be dropped, in [0, 1]; can be assigned later.
        block_size: size of a block along each axis.
        inplace: write into the input, of shape (N, C, L) or (C, L).
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; a block size below 1; an unknown normalisation.

    Examples:
        >>> thinned.nn.DropBlock1d(0.25)
        DropBlock1d(p=0.25, block_size=7, inplace=False)

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """

    _function = functional.drop_block1d


class DropBlock2d(_DropBlock):
    """Set contiguous squares of an image to zero while training, so that each element is dropped with probability `p`.

    Args:
        p: probability of an element to be dropped, in [0, 1]; can be assigned later.
        block_size: size of a block along each axis.
        inplace: write into the input, of shape (N, C, H, W) or (C, H, W).
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; a block size below 1; an unknown normalisation.

    Examples:
        >>> thinned.nn.DropBlock2d(0.25)
        DropBlock2d(p=0.25, block_size=7, inplace=False)

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """

    _function = functional.drop_block2d


class DropBlock3d(_DropBlock):
    """Set contiguous cubes of a volume to zero while training, so that each element is dropped with probability `p`.

    Args:
        p: probability of an element to be dropped, in [0, 1]; can be assigned later.
        block_size: size of a block along each axis.
        inplace: write into the input, of shape (N, C, D, H, W) or (C, D, H, W).
        couple_channels: use one mask for all channels.
        normalise: "rate" multiplies what is kept by 1 / (1 - p), which keeps the mean of each element; "count", as the
            paper does, by the number of elements over the number of kept ones.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; a block size below 1; an unknown normalisation.

    Examples:
        >>> thinned.nn.DropBlock3d(0.25)
        DropBlock3d(p=0.25, block_size=7, inplace=False)

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """

    _function = functional.drop_block3d


class Cutout(Site, torch.nn.Module):
    """Set squares of each image to zero while training, the same in all its channels.

    Args:
        size: side of a square, in pixels.
        holes: number of squares in each image.

    Raises:
        ValueError, TypeError: an argument is not an integer of at least 1.

    Examples:
        >>> thinned.nn.Cutout(8)
        Cutout(size=8, holes=1)

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with Cutout",
    arXiv:1708.04552, 2017.
    """

    reference = references.DEVRIES_2017

    def __init__(self, size: int = 16, holes: int = 1) -> None:
        super().__init__()
        self.size, self.holes = _check.positive(size, "size"), _check.positive(holes, "holes")

    def forward(self, input: Tensor) -> Tensor:
        """Return the images with holes.

        Args:
            input: floating or complex tensor of shape (N, C, H, W) or (C, H, W).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._draw(functional.cutout, input, True, size=self.size, holes=self.holes)

    def extra_repr(self) -> str:
        """Return the arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"size={self.size}, holes={self.holes}"
