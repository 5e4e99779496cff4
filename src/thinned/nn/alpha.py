"""Dropout for self-normalising networks."""

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned.keys import Site


class AlphaDropout(Site, torch.nn.AlphaDropout):
    """Set elements to SELU's negative saturation with probability `p` while training, and restore mean and variance.

    Takes the place of `torch.nn.AlphaDropout`, whose subclass it is. Mean 0 and variance 1 are kept exactly: the
    affine map is that of the rate that the masks have.

    Args:
        p: probability of an element to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.AlphaDropout(0.25)
        AlphaDropout(p=0.25, inplace=False)

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """

    reference = references.KLAMBAUER_2017

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(_check.probability(p), inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return the alpha dropout of `input`.

        Args:
            input: floating tensor of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.alpha_dropout, input)


class FeatureAlphaDropout(Site, torch.nn.FeatureAlphaDropout):
    """Set whole channels to SELU's negative saturation with probability `p` while training; restore mean and variance.

    Args:
        p: probability of a channel to be dropped, in [0, 1]; can be assigned later.
        inplace: write into the input.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> thinned.nn.FeatureAlphaDropout(0.25)
        FeatureAlphaDropout(p=0.25, inplace=False)

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """

    reference = references.KLAMBAUER_2017

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(_check.probability(p), inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return the alpha dropout of whole channels of `input`.

        Args:
            input: floating tensor of shape (N, C, ...).

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._drop(functional.feature_alpha_dropout, input)
