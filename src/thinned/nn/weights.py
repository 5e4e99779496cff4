"""Dropping weights instead of activations: DropConnect."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thinned import _check, functional, references
from thinned._errors import RangeError
from thinned.functional._noise import normal
from thinned.keys import Site
from thinned.masks import rate

INFERENCE = ("mean", "gaussian", "sample")


class _DropConnect(Site):
    """What DropConnect layers share: how a weight is dropped, and what happens in eval mode."""

    reference = references.WAN_2013
    inplace = False
    weight: Tensor
    bias: Any
    inference: str
    per_example: bool

    def _set(self, p: float, inference: str, per_example: bool) -> None:
        if inference not in INFERENCE:
            raise RangeError(f"`inference` must be one of {', '.join(INFERENCE)}, but got inference={inference!r}.")
        self.p = p
        self.inference = inference
        self.per_example = self.rowwise = per_example  # otherwise the draw is for the weights alone

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _thinned(self, input: Tensor) -> Tensor:
        draws = 0.0 < self._p < 1.0

        def thin(weight: Tensor) -> Tensor:
            if self.training:
                return self._draw(functional.dropout, weight, draws, p=self._p)
            return functional.dropout(weight, self._p)

        if not (self.per_example and draws and self._batched(input)):
            return self._apply_weight(input, thin(self.weight), self.bias)
        weights = thin(self.weight.expand(input.shape[0], *self.weight.shape))
        # Each example by itself, with weights of its own: torch makes one batched product or grouped convolution of it.
        return torch.vmap(self._apply_weight, in_dims=(0, 0, None))(input, weights, self.bias)

    def _batched(self, input: Tensor) -> bool:
        """Whether axis 0 is one of examples, as torch's layer sees it."""
        raise NotImplementedError

    def moments(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the output over all masks.

        Args:
            input: as for `forward`.

        Returns:
            Two tensors like the output.
        """
        q = rate(self.p).realised
        if q == 1:
            mean = self._apply_weight(input, torch.zeros_like(self.weight), self.bias)
            return mean, torch.zeros_like(mean)
        mean = self._apply_weight(input, self.weight, self.bias)
        return mean, q / (1 - q) * self._apply_weight(input.square(), self.weight.square(), None)

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output with thinned weights.

        Args:
            input: as for torch's layer.

        Returns:
            As torch's layer; in eval mode by `inference`.
        """
        if self.training or self.inference == "sample":
            return self._thinned(input)
        if self.inference == "gaussian":
            mean, variance = self.moments(input)
            return mean + variance.sqrt() * normal(mean)
        return self._apply_weight(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return torch's description, `p`, the way of inference, and whether examples have masks of their own.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        told = f"{super().extra_repr()}, p={self.p}, inference={self.inference!r}"  # type: ignore[misc]
        return told + ", per_example=True" * self.per_example


class DropConnectLinear(_DropConnect, torch.nn.Linear):
    """A linear layer whose single weights are dropped while training; the others are scaled so that the mean stays.

    Args:
        in_features: as for `torch.nn.Linear`, whose parameters it has. The bias is
            never dropped.
        out_features: likewise.
        bias: likewise.
        device: likewise.
        dtype: likewise.
        p: probability of a weight to be dropped, in [0, 1]; can be assigned later.
        inference: what eval mode does: "mean", the full weights; "gaussian", a draw from the normal distribution with
            the mean and variance of all masks (Wan et al.); "sample", weights dropped as in training.
        per_example: give each example, that is each index of axis 0 of a batch, a mask of its own, as in the paper;
            takes as much memory as one copy of the weights for each.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; there is no such inference.

    Examples:
        >>> layer = thinned.nn.DropConnectLinear(4, 2, p=0.5)
        >>> layer
        DropConnectLinear(in_features=4, out_features=2, bias=True, p=0.5, inference='mean')
        >>> mean, variance = layer.moments(torch.ones(3, 4))

    Source: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of neural networks using DropConnect", ICML 2013.
    There each example has a mask of its own; here a batch shares one unless `per_example` is true.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        p: float = 0.5,
        inference: str = "mean",
        per_example: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._set(p, inference, per_example)

    def _batched(self, input: Tensor) -> bool:
        return input.dim() > 1

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(input, weight, bias)


class _DropConnectConv(_DropConnect):
    def __init__(
        self, *arguments: Any, p: float = 0.5, inference: str = "mean", per_example: bool = False, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._set(p, inference, per_example)

    def _batched(self, input: Tensor) -> bool:
        return input.dim() == self.weight.dim()

    def _apply_weight(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(input, weight, bias)  # type: ignore[attr-defined, no-any-return]


class DropConnectConv1d(_DropConnectConv, torch.nn.Conv1d):
    """A 1d convolution whose single weights are dropped while training.

    Args:
        arguments: as for `torch.nn.Conv1d`, whose parameters it has.
        options: likewise.
        p: as for `DropConnectLinear`.
        inference: likewise.
        per_example: likewise.

    Examples:
        >>> thinned.nn.DropConnectConv1d(2, 4, 3, p=0.2)(torch.ones(1, 2, 5)).shape
        torch.Size([1, 4, 3])

    Source: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of neural networks using DropConnect", ICML 2013.
    """


class DropConnectConv2d(_DropConnectConv, torch.nn.Conv2d):
    """A 2d convolution whose single weights are dropped while training.

    Args:
        arguments: as for `torch.nn.Conv2d`, whose parameters it has.
        options: likewise.
        p: as for `DropConnectLinear`.
        inference: likewise.
        per_example: likewise.

    Examples:
        >>> thinned.nn.DropConnectConv2d(2, 4, 3, p=0.2)(torch.ones(1, 2, 5, 5)).shape
        torch.Size([1, 4, 3, 3])

    Source: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of neural networks using DropConnect", ICML 2013.
    """


class DropConnectConv3d(_DropConnectConv, torch.nn.Conv3d):
    """A 3d convolution whose single weights are dropped while training.

    Args:
        arguments: as for `torch.nn.Conv3d`, whose parameters it has.
        options: likewise.
        p: as for `DropConnectLinear`.
        inference: likewise.
        per_example: likewise.

    Examples:
        >>> thinned.nn.DropConnectConv3d(2, 4, 3, p=0.2)(torch.ones(1, 2, 5, 5, 5)).shape
        torch.Size([1, 4, 3, 3, 3])

    Source: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of neural networks using DropConnect", ICML 2013.
    """


class WeightDrop(Site, torch.nn.Module):
    """Drop single weights of named parameters of any module while training, for instance recurrent ones.

    Args:
        module: the module; its parameters stay where they are, and so do their gradients.
        names: names of the parameters in it; all that start with "weight_hh" by default.
        p: probability of a weight to be dropped, in [0, 1]; can be assigned later.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; the module has no such parameter.

    Examples:
        >>> layer = thinned.nn.WeightDrop(torch.nn.LSTM(3, 4), p=0.5)
        >>> layer.names
        ('weight_hh_l0',)
        >>> output, state = layer(torch.ones(5, 1, 3))

    Source: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018.
    """

    reference = references.MERITY_2018
    rowwise = False
    inplace = False

    def __init__(self, module: torch.nn.Module, names: Sequence[str] | None = None, p: float = 0.5) -> None:
        super().__init__()
        parameters = dict(module.named_parameters())
        if names is None:
            names = [name for name in parameters if name.rpartition(".")[2].startswith("weight_hh")]
        missing = [name for name in names if name not in parameters]
        if missing or not names:
            raise RangeError(f"`names` must name parameters of the module, {list(parameters)}, but got {list(names)}.")
        self.p = _check.probability(p)
        self.module = module
        self.names = tuple(names)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """Call the module with thinned weights.

        Args:
            arguments: of the module.
            options: likewise.

        Returns:
            What the module returns.
        """
        if not self.training or self.p == 0:
            return self.module(*arguments, **options)
        weights = {name: self.module.get_parameter(name) for name in self.names}
        # One draw for all of them: one use of the site.
        flat = torch.cat([weight.reshape(-1) for weight in weights.values()])
        thin = self._draw(functional.dropout, flat, self.p < 1, p=self._p)
        parts = torch.split(thin, [weight.numel() for weight in weights.values()])
        thinned = {name: part.view_as(weights[name]) for name, part in zip(self.names, parts, strict=True)}
        return torch.func.functional_call(self.module, thinned, arguments, options)

    def extra_repr(self) -> str:
        """Return names and `p`.

        Returns:
            What stands at the head of the layer's `repr`.
        """
        return f"names={self.names}, p={self.p}"
