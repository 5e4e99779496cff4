"""The first values of a network's weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

INITIALISATIONS = ("torch", "glorot", "he", "orthogonal", "uniform", "normal", "zero")
SPREAD = {"uniform": 0.05, "normal": 0.01}  # by default


@torch.no_grad()
def initialise(model: nn.Module, name: str, activation: str = "relu", scale: float | None = None) -> None:
    """Give the weights of a network other first values, and its biases zeros.

    Embeddings keep torch's values with ``"glorot"``, ``"he"`` and ``"orthogonal"``, which are about sums of inputs.

    Args:
        model: any module.
        name: a name in `INITIALISATIONS`; ``"torch"`` changes nothing.
        activation: name of the activation, by which ``"glorot"`` and ``"orthogonal"`` keep the variance.
        scale: half the width of ``"uniform"``, standard deviation of ``"normal"``.

    Examples:
        >>> layer = nn.Linear(100, 100)
        >>> initialise(layer, "normal", scale=0.5)
        >>> bool(layer.bias.any()), 0.45 < layer.weight.std().item() < 0.55
        (False, True)

    Source: Glorot and Bengio, AISTATS 2010; He, Zhang, Ren and Sun, ICCV 2015; Saxe, McClelland and Ganguli, ICLR 2014.
    """
    if name == "torch":
        return
    spread = SPREAD.get(name, 0.0) if scale is None else scale
    known = {"relu", "leaky_relu", "tanh", "sigmoid", "selu", "linear"}
    gain = nn.init.calculate_gain(activation if activation in known else "relu")  # type: ignore[arg-type]
    fill: dict[str, Callable[[torch.Tensor], Any]] = {
        "glorot": lambda weight: nn.init.xavier_uniform_(weight, gain),
        "he": nn.init.kaiming_normal_,
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain),
        "uniform": lambda weight: nn.init.uniform_(weight, -spread, spread),
        "normal": lambda weight: nn.init.normal_(weight, std=spread),
        "zero": nn.init.zeros_,
    }
    kinds = (nn.Linear, nn.Conv2d, nn.RNNBase, nn.LSTMCell, nn.MultiheadAttention, nn.Embedding, nn.EmbeddingBag)
    for module in model.modules():
        if isinstance(module, kinds):
            table = isinstance(module, nn.Embedding | nn.EmbeddingBag)
            for part, parameter in module.named_parameters(recurse=False):
                if "bias" in part:
                    nn.init.zeros_(parameter)
                elif "weight" in part and not (table and name in ("glorot", "he", "orthogonal")):
                    fill[name](parameter)
