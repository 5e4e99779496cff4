"""Dropout and its channel-wise forms."""

from collections.abc import Sequence

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.functional._dropout import MODES
from thinned.keys import Site


class Dropout(Site, torch.nn.Dropout):
    """Set elements to zero with probability `p` while training, and scale the others so that the mean stays the same.

    Takes the place of `torch.nn.Dropout`, whose subclass it is, and stores no mask for backward.

    Args:
        p: probability of an element to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.
        shared_axes: axis or axes along which one decision is shared: those where Keras's `noise_shape` is 1, Flax's
            `broadcast_dims`.
        mode: "upscale_in_train", or "downscale_in_infer" as in Paddle: kept elements stay as they are, and eval mode
            multiplies by 1 - p.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], the axes are not integers, or the mode is unknown.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> layer = thinned.nn.Dropout(0.5)
        >>> layer
        Dropout(p=0.5, inplace=False)
        >>> layer.eval()(torch.ones(3))
        tensor([1., 1., 1.])

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014.
    """

    reference = references.SRIVASTAVA_2014

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        *,
        shared_axes: int | Sequence[int] = (),
        mode: str = "upscale_in_train",
    ) -> None:
        super().__init__(_check.probability(p), inplace)
        self.shared_axes = _check.axis_list(shared_axes)
        self.mode = _check.one_of(mode, MODES, "mode")

    def forward(self, input: Tensor) -> Tensor:
        """Return the dropout of `input`.

        Args:
            input: floating or complex tensor of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode, unless that downscales.
        """
        return self._drop(functional.dropout, input, shared_axes=self.shared_axes, mode=self.mode)

    def extra_repr(self) -> str:
        """Return torch's description, and what torch's layer has not, if it is used.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        axes = f", shared_axes={self.shared_axes}" if self.shared_axes else ""
        return super().extra_repr() + axes + (f", mode={self.mode}" if self.mode != MODES[0] else "")


class Dropout1d(Site, torch.nn.Dropout1d):
    """Set whole channels of a sequence to zero with probability `p` while training.

    Args:
        p: probability of a channel to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.Dropout1d(0.25)
        Dropout1d(p=0.25, inplace=False)

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """

    reference = references.TOMPSON_2015

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(_check.probability(p), inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return the dropout of `input`.

        Args:
            input: tensor of shape (N, C, L) or (C, L).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.dropout1d, input)


class Dropout2d(Site, torch.nn.Dropout2d):
    """Set whole channels of an image to zero with probability `p` while training.

    Args:
        p: probability of a channel to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.Dropout2d(0.25)
        Dropout2d(p=0.25, inplace=False)

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """

    reference = references.TOMPSON_2015

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(_check.probability(p), inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return the dropout of `input`.

        Args:
            input: tensor of shape (N, C, H, W).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.dropout2d, input)


class Dropout3d(Site, torch.nn.Dropout3d):
    """Set whole channels of a volume to zero with probability `p` while training.

    Args:
        p: probability of a channel to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.Dropout3d(0.25)
        Dropout3d(p=0.25, inplace=False)

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks",
    CVPR 2015.
    """

    reference = references.TOMPSON_2015

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(_check.probability(p), inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return the dropout of `input`.

        Args:
            input: tensor of shape (N, C, D, H, W) or (C, D, H, W).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.dropout3d, input)
