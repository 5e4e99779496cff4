"""The blocks of a transformer, for text and for images."""

from collections.abc import Callable

from torch import Tensor, nn

from thinned import nn as thinned_nn
from thinned.lab import dropouts
from thinned.lab.dropouts import ELEMENTS, LAYER, STEPS, DropoutSettings
from thinned.lab.network import ACTIVATIONS, ModelSettings

FACTOR = 4  # of the width, for the hidden layer of a block's perceptron


class Block(nn.Module):
    """One block of a transformer: attention and a perceptron, each a branch that can be dropped.

    Args:
        width: features.
        heads: of the attention.
        activation: of the perceptron.
        attention_p: rate of attention weights.
        path_p: rate of branches.
        drop: makes the dropout at the end of a branch.
        layer: makes of the perceptron's two layers what drops weights, if anything does.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, normalised before each branch.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        activation: Callable[[], nn.Module],
        attention_p: float,
        path_p: float,
        drop: Callable[[], nn.Module],
        layer: Callable[[nn.Module], nn.Module],
    ) -> None:
        super().__init__()
        self.attention = thinned_nn.MultiheadAttention(width, heads, attention_p, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.perceptron = nn.Sequential(
            layer(nn.Linear(width, FACTOR * width)), activation(), layer(nn.Linear(FACTOR * width, width))
        )
        self.drops = nn.ModuleList([drop(), drop()])
        self.paths = nn.ModuleList([thinned_nn.DropPath(path_p), thinned_nn.DropPath(path_p)])

    def forward(self, x: Tensor, future: Tensor | None = None) -> Tensor:
        """Return the features after the block.

        Args:
            x: shape (examples, steps, features).
            future: bool, shape (steps, steps), true where a step must not look; None if all may look everywhere.

        Returns:
            Tensor like `x`.
        """
        y = self.norms[0](x)
        y, _ = self.attention(y, y, y, attn_mask=future, need_weights=False)
        x = x + self.paths[0](self.drops[0](y))
        y = self.perceptron(self.norms[1](x))
        return x + self.paths[1](self.drops[1](y))  # type: ignore[no-any-return]


def build(settings: ModelSettings, dropped: DropoutSettings, examples: int) -> list[Block]:
    """Build the blocks of a transformer.

    Args:
        settings: of the transformer.
        dropped: what is dropped; paths the more often the later they are.
        examples: number of training examples.

    Returns:
        The blocks, the first one first.

    Raises:
        RangeError, KindError: a dropout that does not fit.

    Examples:
        >>> made = build(ModelSettings("transformer"), DropoutSettings(path_p=0.2), 100)
        >>> [block.paths[0].p for block in made]
        [0.1, 0.2]
    """
    return [
        Block(
            settings.width,
            settings.heads,
            ACTIVATIONS[settings.activation],
            dropped.attention_p,
            dropped.path_p * place / settings.layers,
            *_branch(site, settings.width, dropped, examples),
        )
        for place, site in enumerate(dropped.hidden(settings.layers), 1)
    ]


def _branch(
    site: tuple[str, float], width: int, dropped: DropoutSettings, examples: int
) -> tuple[Callable[[], nn.Module], Callable[[nn.Module], nn.Module]]:
    """Return what makes the dropout of a block's branches, and what makes a layer drop its weights."""
    name, p = site
    if dropouts.known(name, "kind").takes == LAYER:
        return nn.Identity, lambda layer: dropouts.make(name, p, layer, examples, dropped.options, [LAYER], "a block")
    options = {} if name == "none" else dropped.options
    return (
        lambda: dropouts.make(name, p, width, examples, options, [ELEMENTS, STEPS, LAYER], "a block"),
        lambda layer: layer,
    )
