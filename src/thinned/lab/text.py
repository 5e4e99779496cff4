"""Networks that predict the next word or character of a text: a small transformer and a small LSTM."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thinned import nn as thinned_nn
from thinned._errors import RangeError
from thinned.lab import blocks, dropouts
from thinned.lab.blocks import Block
from thinned.lab.dropouts import ELEMENTS, RECURRENT, STEPS, TABLE, WORDS, DropoutSettings
from thinned.lab.examples import Shape
from thinned.lab.network import ModelSettings


class _Embedded(nn.Module):
    """Words to features, with the dropout of words, of the table's rows, or of the features."""

    def __init__(self, words: int, width: int, dropped: DropoutSettings, examples: int) -> None:
        super().__init__()
        name = dropped.input_kind if dropped.input_p > 0 else "none"
        takes = dropouts.known(name, "input_kind").takes
        made = dropouts.make(
            name,
            dropped.input_p,
            nn.Embedding(words, width) if takes == TABLE else width,
            examples,
            dropped.input_options if name != "none" else {},
            [ELEMENTS, STEPS, WORDS, TABLE],
            "embedded words",
        )
        self.words = made if takes == WORDS else nn.Identity()
        self.table = made if takes == TABLE else nn.Embedding(words, width)
        self.features = made if takes in (ELEMENTS, STEPS) else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        return self.features(self.table(self.words(ids)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A transformer that predicts the next word at each step.

    Args:
        words: embeds them.
        steps: how many there are at most.
        width: features.
        blocks: one after another.
        outputs: how many words there are.
    """

    def __init__(self, words: nn.Module, steps: int, width: int, blocks: Sequence[Block], outputs: int) -> None:
        super().__init__()
        self.words = words
        self.places = nn.Embedding(steps, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        """Return a score for each word at each step.

        Args:
            ids: int64, shape (examples, steps).

        Returns:
            Tensor of shape (examples, steps, words).
        """
        steps = ids.shape[1]
        x = self.words(ids) + self.places.weight[:steps]
        future = torch.ones(steps, steps, dtype=torch.bool, device=ids.device).triu(1)
        for block in self.blocks:
            x = block(x, future)
        return self.output(self.norm(x))  # type: ignore[no-any-return]


class ZoneoutLSTM(nn.Module):
    """One layer of an LSTM whose state and memory keep some of their old values while training.

    Args:
        inputs: features of a step.
        hidden: units.
        zoneout: makes what mixes new values with old ones.

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.
    """

    def __init__(self, inputs: int, hidden: int, zoneout: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, hidden)
        self.state, self.memory = zoneout(), zoneout()

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the state after each step.

        Args:
            x: shape (examples, steps, features).

        Returns:
            Tensor of shape (examples, steps, units), and None, as torch's LSTM returns two things.
        """
        h = c = x.new_zeros(x.shape[0], self.cell.hidden_size)
        states = []
        for step in x.unbind(1):
            new_h, new_c = self.cell(step, (h, c))
            h, c = self.state(new_h, h), self.memory(new_c, c)
            states.append(h)
        return torch.stack(states, 1), None


class LSTMNetwork(nn.Module):
    """An LSTM that predicts the next word at each step.

    Args:
        words: embeds them.
        layers: of the LSTM, each of which returns a pair, its outputs first.
        drops: dropout of the outputs of each layer.
        output: from units to words.
    """

    def __init__(
        self, words: nn.Module, layers: Sequence[nn.Module], drops: Sequence[nn.Module], output: nn.Module
    ) -> None:
        super().__init__()
        self.words = words
        self.layers, self.drops = nn.ModuleList(layers), nn.ModuleList(drops)
        self.output = output

    def forward(self, ids: Tensor) -> Tensor:
        """Return a score for each word at each step.

        Args:
            ids: int64, shape (examples, steps).

        Returns:
            Tensor of shape (examples, steps, words).
        """
        x = self.words(ids)
        for layer, drop in zip(self.layers, self.drops, strict=True):
            x = drop(layer(x)[0])
        return self.output(x)  # type: ignore[no-any-return]


def transformer(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    """Build a transformer for text.

    Args:
        settings: of the network.
        dropped: what is dropped.
        shape: of the data: the steps of an example, and as many outputs as there are words.

    Returns:
        The network.

    Raises:
        RangeError, KindError: a dropout that does not fit, or data that are no text.
    """
    words = _embedded(settings, dropped, shape)
    made = blocks.build(settings, dropped, shape.examples)
    return Transformer(words, shape.inputs[0], settings.width, made, shape.outputs)


def lstm(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    """Build an LSTM for text.

    Args:
        settings: of the network.
        dropped: what is dropped.
        shape: as for `transformer`.

    Returns:
        The network.

    Raises:
        RangeError, KindError: as for `transformer`.
    """
    words = _embedded(settings, dropped, shape)
    sites = dropped.hidden(len(settings.units))
    recurrent, drops, inputs = [], [], settings.width
    for (name, p), units in zip(sites, settings.units, strict=True):
        recurrent.append(_recurrent(inputs, units, name, p, dropped, shape.examples))
        outside = dropouts.known(name, "kind").takes != RECURRENT
        drop = _made(name, p, units, shape.examples, dropped.options) if outside else nn.Identity()
        drops.append(drop)
        inputs = units
    return LSTMNetwork(words, recurrent, drops, nn.Linear(inputs, shape.outputs))


def _embedded(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> _Embedded:
    if not shape.text:
        raise RangeError(
            f"The model {settings.kind} must have text, but got examples of shape {shape.inputs} that are none."
        )
    return _Embedded(shape.outputs, settings.width, dropped, shape.examples)


def _made(name: str, p: float, features: int, examples: int, options: dict[str, Any]) -> nn.Module:
    options = {} if name == "none" else options
    return dropouts.make(name, p, features, examples, options, [ELEMENTS, STEPS, RECURRENT], "a hidden layer")


def _recurrent(inputs: int, units: int, name: str, p: float, dropped: DropoutSettings, examples: int) -> nn.Module:
    def made(subject: Any) -> nn.Module:
        return dropouts.make(name, p, subject, examples, dropped.options, [RECURRENT], "a recurrent layer")

    if name == "zoneout":
        return ZoneoutLSTM(inputs, units, lambda: made(units))
    if dropped.recurrent_p:
        layer: nn.Module = thinned_nn.LSTM(inputs, units, batch_first=True, recurrent_dropout=dropped.recurrent_p)
    else:
        layer = nn.LSTM(inputs, units, batch_first=True)
    return made(layer) if name == "weight_drop" else layer
