"""Gaussian noise and the penalty on activities."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.keys import Site


class GaussianDropout(Site, torch.nn.Module):
    """Multiply by normal numbers of mean 1 and variance p / (1 - p) while training.

    Args:
        p: rate in [0, 1); can be assigned later. Keras calls it `rate`.
        inplace: write into the input.
        shared_axes: axis or axes along which one number is shared.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1), or the axes are not integers.

    Examples:
        >>> thinned.nn.GaussianDropout(0.25)
        GaussianDropout(p=0.25, inplace=False)

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014, section 10.
    """

    reference = references.SRIVASTAVA_2014

    def __init__(self, p: float = 0.5, inplace: bool = False, *, shared_axes: int | Sequence[int] = ()) -> None:
        super().__init__()
        self.p = p
        self.inplace = inplace
        self.shared_axes = _check.axis_list(shared_axes)

    @staticmethod
    def _checked(p: Any) -> float:
        return _check.below_one(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` times noise.

        Args:
            input: floating or complex tensor of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.gaussian_dropout, input, shared_axes=self.shared_axes)

    def extra_repr(self) -> str:
        """Return rate, in place or not, and the shared axes if there are any.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        axes = f", shared_axes={self.shared_axes}" if self.shared_axes else ""
        return f"p={self.p}, inplace={self.inplace}{axes}"


class GaussianNoise(Site, torch.nn.Module):
    """Add normal numbers of mean 0 while training.

    Args:
        std: standard deviation, at least 0; can be assigned later. Keras calls it `stddev`.
        inplace: write into the input.
        shared_axes: axis or axes along which one number is shared.

    Raises:
        ValueError, TypeError: `std` is not a finite number of at least 0, or the axes are not integers.

    Examples:
        >>> thinned.nn.GaussianNoise(0.25)
        GaussianNoise(std=0.25, inplace=False)

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7, 1995.
    """

    reference = references.BISHOP_1995

    def __init__(self, std: float = 0.1, inplace: bool = False, *, shared_axes: int | Sequence[int] = ()) -> None:
        super().__init__()
        self.std = std
        self.inplace = inplace
        self.shared_axes = _check.axis_list(shared_axes)

    @property
    def std(self) -> float:
        """Standard deviation of the noise."""
        return self._std

    @std.setter
    def std(self, value: Any) -> None:
        self._std = _check.scale(value, "std")

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` plus noise.

        Args:
            input: floating or complex tensor of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        options = {"std": self._std, "inplace": self.inplace, "shared_axes": self.shared_axes}
        return self._draw(functional.gaussian_noise, input, self._std > 0, **options)

    def extra_repr(self) -> str:
        """Return deviation, in place or not, and the shared axes if there are any.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        axes = f", shared_axes={self.shared_axes}" if self.shared_axes else ""
        return f"std={self.std}, inplace={self.inplace}{axes}"


class ActivityRegularization(torch.nn.Module):
    """Return the input, and remember its penalty, to be added to the loss.

    Args:
        l1: factor of the sum of absolute values, at least 0.
        l2: factor of the sum of squares, at least 0.

    Attributes:
        penalty: that of the last forward in training mode, a 0-dim tensor that carries a graph; None in eval mode and
            before the first forward. A copy of the layer has none.

    Raises:
        ValueError, TypeError: a factor is not a finite number of at least 0.

    Examples:
        >>> layer = thinned.nn.ActivityRegularization(l1=0.1)
        >>> y = layer(torch.tensor([3.0, -4.0]))
        >>> layer.penalty
        tensor(0.7000)

    Source: Glorot, Bordes and Bengio, "Deep sparse rectifier neural networks", AISTATS 2011 (L1 on activities).
    """

    reference = references.GLOROT_2011

    penalty: Tensor | None

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        super().__init__()
        self.l1, self.l2 = _check.scale(l1, "l1"), _check.scale(l2, "l2")
        self.penalty = None

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` itself.

        Args:
            input: floating or complex tensor of any shape; in eval mode any tensor.

        Returns:
            The input.
        """
        self.penalty = functional.activity_penalty(input, self.l1, self.l2) if self.training else None
        return input

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "penalty": None}  # a graph can be neither pickled nor copied

    def extra_repr(self) -> str:
        """Return the factors.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"l1={self.l1}, l2={self.l2}"
