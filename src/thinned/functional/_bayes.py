"""Noise whose strength is learned: variational and concrete dropout."""

import torch
from torch import Tensor

from thinned._errors import RangeError
from thinned.functional._noise import normal, uniform
from thinned.masks import Window
from thinned.redraw import Word


def variational_dropout(
    input: Tensor,
    log_alpha: Tensor,
    training: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Multiply each element by a normal number of mean 1 and variance alpha, which can be learned.

    Args:
        input: floating tensor of any shape.
        log_alpha: logarithm of the variance; broadcasts to `input`; its gradient is that of the noise at hand.
        training: only then.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: as in `dropout`, but along axis 0 only.

    Returns:
        A tensor like `input`; `input` itself if not training.

    Examples:
        >>> thinned.functional.variational_dropout(torch.ones(2), torch.tensor(-2.0), seed=0)
        tensor([1.4885, 0.8633])

    Source: Kingma, Salimans and Welling, "Variational dropout and the local reparameterization trick", NeurIPS 2015,
    section 3.1.
    """
    if not training:
        return input
    noise = normal(input, seed, stream, generator, window)
    return input * (1 + torch.exp(0.5 * log_alpha) * noise)


def gaussian_sample(
    mean: Tensor,
    variance: Tensor,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Draw from normal distributions, differentiably: the local reparameterization trick.

    Args:
        mean: floating tensor.
        variance: tensor like `mean`, not negative.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: as in `dropout`, but along axis 0 only.

    Returns:
        A tensor like `mean`.

    Examples:
        >>> thinned.functional.gaussian_sample(torch.zeros(2), torch.ones(2), seed=0)
        tensor([ 1.3280, -0.3716])

    Source: Kingma, Salimans and Welling, "Variational dropout and the local reparameterization trick", NeurIPS 2015.
    """
    noise = normal(mean, seed, stream, generator, window)
    tiny = torch.finfo(variance.dtype).tiny  # the slope of the root at 0 is infinite
    return mean + torch.sqrt(variance.clamp(min=tiny)) * noise


def concrete_dropout(
    input: Tensor,
    logit: Tensor,
    training: bool = True,
    *,
    temperature: float = 0.1,
    spatial: bool = False,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Drop elements softly, so that the drop probability has a gradient.

    Args:
        input: floating tensor of any shape, or (N, C, ...) if `spatial`.
        logit: 0-dim tensor, ln(p / (1 - p)).
        training: only then.
        temperature: of the relaxation, above 0; the smaller, the nearer to dropout.
        spatial: whether one decision holds for a whole channel.
        seed: as in `dropout`.
        stream: likewise.
        generator: likewise.
        window: as in `dropout`, but along axis 0 only.

    Returns:
        A tensor like `input`; `input` itself if not training.

    Raises:
        ValueError: the temperature is not above 0.

    Examples:
        >>> thinned.functional.concrete_dropout(torch.ones(4), torch.tensor(0.0), seed=0)
        tensor([1.0948e-02, 1.9576e+00, 2.2888e-05, 1.0535e-02])

    Source: Gal, Hron and Kendall, "Concrete dropout", NeurIPS 2017.
    """
    if not temperature > 0:
        raise RangeError(f"`temperature` must be above 0, but got temperature={temperature}.")
    if not training:
        return input
    shape = tuple(size if axis < 2 or not spatial else 1 for axis, size in enumerate(input.shape))
    u = uniform(shape, input, seed, stream, generator, window)
    dropped = torch.sigmoid((logit + torch.logit(1 - u)) / temperature)
    return input * (1 - dropped) / torch.sigmoid(-logit)
