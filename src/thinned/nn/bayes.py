"""Layers that learn how much noise they bear: variational, sparse variational and concrete dropout."""

import math
from typing import Any

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned._errors import KindError, RangeError
from thinned.keys import Site


def kl_divergence(model: torch.nn.Module) -> Tensor:
    """Return the sum of `kl()` over all layers of a model that have it.

    It belongs to the negative log-likelihood of the whole data set; divide it by the number of examples to add it to a
    mean loss.

    Args:
        model: any module.

    Returns:
        0-dim tensor; 0 if there are none.

    Examples:
        >>> model = torch.nn.Sequential(thinned.nn.VariationalDropout(alpha=0.5), torch.nn.Linear(2, 2))
        >>> bool(thinned.nn.kl_divergence(model) > 0)
        True
    """
    terms = [module.kl() for module in model.modules() if isinstance(module, VariationalDropout | _SparseVariational)]
    return sum(terms, torch.zeros(()))


class VariationalDropout(Site, torch.nn.Module):
    """Multiply by normal numbers of mean 1 whose variance alpha is learned.

    Add `kl()` to the loss; without it, alpha shrinks to 0.

    Args:
        features: number of features along the last axis, each with an alpha of its own; None for one alpha.
        alpha: variance at the start, in (0, 1]; p / (1 - p) of ordinary dropout.

    Raises:
        ValueError, TypeError: `alpha` is outside (0, 1], `features` is not a positive integer.

    Examples:
        >>> layer = thinned.nn.VariationalDropout(3, alpha=0.25)
        >>> layer
        VariationalDropout(features=3)
        >>> layer.alpha
        tensor([0.2500, 0.2500, 0.2500])

    Source: Kingma, Salimans and Welling, "Variational dropout and the local reparameterization trick", NeurIPS 2015:
    independent noise on activations (section 3.1), the bound of appendix C, which ends at alpha = 1.
    """

    reference = references.KINGMA_2015

    def __init__(self, features: int | None = None, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 < alpha <= 1:
            raise RangeError(f"`alpha` must be in (0, 1], but got alpha={alpha}.")
        self.features = None if features is None else _check.positive(features, "features")
        shape = () if features is None else (features,)
        self.log_alpha = torch.nn.Parameter(torch.full(shape, math.log(alpha)))

    @property
    def alpha(self) -> Tensor:
        """Variance of the noise, at most 1."""
        return self.log_alpha.detach().clamp(max=0).exp()

    @property  # type: ignore[misc]
    def p(self) -> float:
        """Rate of a dropout with the same variance, mean(alpha / (1 + alpha)); learned, not to be assigned."""
        return float((self.alpha / (1 + self.alpha)).mean())

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with noise.

        Args:
            input: floating tensor of shape (..., features), or of any shape.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        return self._draw(self._noisy, input, True)

    def _noisy(self, input: Tensor, *, training: bool, **words: Any) -> Tensor:
        return functional.variational_dropout(input, self.log_alpha.clamp(max=0), training, **words)

    def kl(self) -> Tensor:
        """Return the Kullback-Leibler divergence from the prior, up to a constant, one term for each alpha.

        Returns:
            0-dim tensor, not negative.
        """
        log_alpha = self.log_alpha.clamp(max=0)
        alpha = log_alpha.exp()
        # The polynomial of the paper's appendix C for -KL; shifted so that it is 0 at alpha = 1.
        gain = 0.5 * log_alpha + 1.16145124 * alpha - 1.50204118 * alpha**2 + 0.58629921 * alpha**3
        return (1.16145124 - 1.50204118 + 0.58629921 - gain).sum()

    def extra_repr(self) -> str:
        """Return the number of features.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"features={self.features}"


class _SparseVariational(Site):
    """What sparse variational layers share."""

    reference = references.MOLCHANOV_2017
    weight: Tensor
    bias: Any
    log_sigma2: torch.nn.Parameter
    threshold: float

    def _set(self, threshold: float) -> None:
        self.threshold = float(threshold)
        self.log_sigma2 = torch.nn.Parameter(torch.full_like(self.weight, -10.0))

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    @property
    def log_alpha(self) -> Tensor:
        """Logarithm of the variance of each weight's noise relative to its square, cut to [-10, 10]."""
        return (self.log_sigma2 - torch.log(self.weight.square() + 1e-16)).clamp(-10, 10)

    @property
    def kept(self) -> Tensor:
        """Which weights carry more than noise: bool, like `weight`."""
        return self.log_alpha.detach() <= self.threshold

    @property  # type: ignore[misc]
    def p(self) -> float:
        """Share of weights that are noise, and are taken as 0 in eval mode; learned, not to be assigned."""
        return 1 - float(self.kept.float().mean())

    def kl(self) -> Tensor:
        """Return the Kullback-Leibler divergence from the log-uniform prior, up to a constant.

        Returns:
            0-dim tensor, not negative.
        """
        log_alpha = self.log_alpha
        gain = 0.63576 * torch.sigmoid(1.87320 + 1.48695 * log_alpha) - 0.5 * torch.nn.functional.softplus(-log_alpha)
        return (0.63576 - gain).sum()

    def sparse_weight(self) -> Tensor:
        """Return the weights that are left.

        Returns:
            Sparse COO tensor of the weight's shape.
        """
        return (self.weight.detach() * self.kept).to_sparse()

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output, with the noise of its weights while training.

        Args:
            input: as for torch's layer.

        Returns:
            As torch's layer; in eval mode without the weights that are noise.
        """
        if not self.training:
            return self._apply_weight(input, self.weight * self.kept, self.bias)
        return self._draw(self._sampled, input, True)

    def _sampled(self, input: Tensor, *, training: bool, **words: Any) -> Tensor:  # noqa: ARG002
        # Noise on each output instead of each weight: the same distribution, but each row has noise of its own.
        mean = self._apply_weight(input, self.weight, self.bias)
        variances = (self.log_alpha + torch.log(self.weight.square() + 1e-16)).exp()
        return functional.gaussian_sample(mean, self._apply_weight(input.square(), variances, None), **words)


class SparseVariationalLinear(_SparseVariational, torch.nn.Linear):
    """A linear layer with a learned noise on each weight; weights that are all noise are pruned.

    Train with the loss plus `kl()` over the number of examples, and raise the weight of that term from 0 to 1 over some
    epochs. `sparse_weight()` is what remains.

    Args:
        in_features: as for `torch.nn.Linear`.
        out_features: likewise.
        bias: likewise.
        device: likewise.
        dtype: likewise.
        threshold: weights of a larger log alpha are taken as 0 in eval mode; 3 is a dropout rate of 0.95.

    Examples:
        >>> layer = thinned.nn.SparseVariationalLinear(4, 2)
        >>> layer.sparse_weight().shape, layer.kept.all()
        (torch.Size([2, 4]), tensor(True))

    Source: Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep neural networks", ICML 2017.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        threshold: float = 3.0,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._set(threshold)

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(input, weight, bias)


class _SparseVariationalConv(_SparseVariational):
    def __init__(self, *arguments: Any, threshold: float = 3.0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._set(threshold)

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(input, weight, bias)  # type: ignore[attr-defined, no-any-return]


class SparseVariationalConv1d(_SparseVariationalConv, torch.nn.Conv1d):
    """A 1d convolution with a learned noise on each weight; weights that are all noise are pruned.

    Args:
        arguments: as for `torch.nn.Conv1d`.
        options: likewise.
        threshold: as for `SparseVariationalLinear`.

    Examples:
        >>> layer = thinned.nn.SparseVariationalConv1d(2, 4, 3)
        >>> layer(torch.ones(1, 2, 5)).shape
        torch.Size([1, 4, 3])

    Source: Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep neural networks", ICML 2017.
    """


class SparseVariationalConv2d(_SparseVariationalConv, torch.nn.Conv2d):
    """A 2d convolution with a learned noise on each weight; weights that are all noise are pruned.

    Args:
        arguments: as for `torch.nn.Conv2d`.
        options: likewise.
        threshold: as for `SparseVariationalLinear`.

    Examples:
        >>> layer = thinned.nn.SparseVariationalConv2d(2, 4, 3)
        >>> layer(torch.ones(1, 2, 5, 5)).shape
        torch.Size([1, 4, 3, 3])

    Source: Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep neural networks", ICML 2017.
    """


class SparseVariationalConv3d(_SparseVariationalConv, torch.nn.Conv3d):
    """A 3d convolution with a learned noise on each weight; weights that are all noise are pruned.

    Args:
        arguments: as for `torch.nn.Conv3d`.
        options: likewise.
        threshold: as for `SparseVariationalLinear`.

    Examples:
        >>> layer = thinned.nn.SparseVariationalConv3d(2, 4, 3)
        >>> layer(torch.ones(1, 2, 5, 5, 5)).shape
        torch.Size([1, 4, 3, 3, 3])

    Source: Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep neural networks", ICML 2017.
    """


class ConcreteDropout(Site, torch.nn.Module):
    """Dropout in front of a linear or convolutional layer, with a rate that is learned.

    Add `penalty()` to the loss; without it, the rate shrinks to 0.

    Args:
        layer: a `torch.nn.Linear` or `Conv1d`, `Conv2d`, `Conv3d`; before a convolution whole channels are dropped.
        p: drop probability at the start, in (0, 1).
        examples: number of examples of the data set.
        length_scale: of the prior of the weights; the larger, the stronger the penalty on them.
        precision: 1 / variance of the observations' noise; 2 for a mean squared error as the loss, 1 for a mean
            negative log-likelihood.
        temperature: of the relaxation.

    Raises:
        ValueError, TypeError: `p` is outside (0, 1), the layer is of another kind, another number is not above 0.

    Examples:
        >>> layer = thinned.nn.ConcreteDropout(torch.nn.Linear(4, 2), p=0.2, examples=1000)
        >>> round(layer.p, 6), bool(layer.penalty() != 0)
        (0.2, True)

    Source: Gal, Hron and Kendall, "Concrete dropout", NeurIPS 2017.
    """

    reference = references.GAL_2017_CONCRETE

    def __init__(
        self,
        layer: torch.nn.Module,
        p: float = 0.1,
        *,
        examples: int,
        length_scale: float = 1e-2,
        precision: float = 1.0,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(layer, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
            raise KindError(f"`layer` must be a Linear, Conv1d, Conv2d or Conv3d, but got {type(layer).__name__}.")
        for name, number in (("length_scale", length_scale), ("precision", precision), ("temperature", temperature)):
            if not number > 0:
                raise RangeError(f"`{name}` must be above 0, but got {name}={number}.")
        self.examples = _check.positive(examples, "examples")
        self.length_scale, self.precision, self.temperature = length_scale, precision, temperature
        self.logit = torch.nn.Parameter(torch.tensor(_logit(p)))
        self.layer = layer

    @property
    def p(self) -> float:
        """Drop probability; learned, and can be assigned."""
        return float(torch.sigmoid(self.logit.detach()))

    @p.setter
    def p(self, value: Any) -> None:
        with torch.no_grad():
            self.logit.fill_(_logit(value))

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output for the input, softly dropped.

        Args:
            input: as for the layer.

        Returns:
            As the layer.
        """
        return self.layer(self._draw(self._soft, input, True))  # type: ignore[no-any-return]

    def _soft(self, input: Tensor, *, training: bool, **words: Any) -> Tensor:
        spatial = not isinstance(self.layer, torch.nn.Linear)
        return functional.concrete_dropout(
            input, self.logit, training, temperature=self.temperature, spatial=spatial, **words
        )

    def penalty(self) -> Tensor:
        """Return what is to be added to the mean loss: the divergence from the prior over the number of examples.

        Returns:
            0-dim tensor.
        """
        p = torch.sigmoid(self.logit)
        inputs = self.layer.in_features if isinstance(self.layer, torch.nn.Linear) else self.layer.in_channels
        squares = self.layer.weight.square().sum()
        # p ln p + (1 - p) ln(1 - p), by way of the logit, which keeps its precision near 0 and 1
        negative_entropy = torch.nn.functional.logsigmoid(self.logit) * p
        negative_entropy = negative_entropy + torch.nn.functional.logsigmoid(-self.logit) * (1 - p)
        scale = 1 / (self.precision * self.examples)
        return scale * (self.length_scale**2 * squares / (1 - p) + 2 * inputs * negative_entropy)


def _logit(p: Any) -> float:
    p = _check.probability(p)
    if p in (0.0, 1.0):
        raise RangeError(f"`p` must be in (0, 1) to be learned, but got p={p}.")
    return math.log(p / (1 - p))
