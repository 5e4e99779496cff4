"""Recurrent layers: zoneout, and networks whose masks are the same at all time steps."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from thinned import _check, functional, references
from thinned._errors import KindError, RangeError
from thinned.keys import Site
from thinned.nn.dropout import Dropout


class Zoneout(Site, torch.nn.Module):
    """Let each unit of a recurrent state keep its old value with probability `p` while training.

    Args:
        p: probability of a unit to keep its value, in [0, 1]; can be assigned later.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1].

    Examples:
        >>> cell, zoneout = torch.nn.GRUCell(3, 4), thinned.nn.Zoneout(0.1)
        >>> state = torch.zeros(2, 4)
        >>> for x in torch.ones(5, 2, 3):
        ...     state = zoneout(cell(x, state), state)

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.
    """

    reference = references.KRUEGER_2017
    inplace = False

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, new: Tensor, old: Tensor) -> Tensor:
        """Return the state, some of whose units are old.

        Args:
            new: the state of this time step.
            old: the state before, of the same shape.

        Returns:
            A tensor like `new`; p * old + (1 - p) * new in eval mode.
        """
        if new.shape != old.shape:
            raise RangeError(f"`old` must have the shape of `new`, {tuple(new.shape)}, but got {tuple(old.shape)}.")
        if not self.training or self.p == 0:
            return functional.zoneout(new, old, self.p, training=False)
        mask = self._drop(functional.dropout, torch.ones_like(new, requires_grad=False)) != 0
        return torch.where(mask, new, old)

    def extra_repr(self) -> str:
        """Return `p`.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        return f"p={self.p}"


class _Fixed(torch.nn.RNNBase):
    """What LSTM and GRU share: masks that are drawn once for a sequence, and the loop over time.

    `between` drops the inputs of all layers but the first, `recurrent` the state that enters the next time step.
    """

    reference = references.GAL_2016_RECURRENT

    def _set(self, dropout: float, recurrent_dropout: float) -> None:
        self.between = Dropout(_check.probability(dropout, "dropout"))
        self.recurrent = Dropout(_check.probability(recurrent_dropout, "recurrent_dropout"))

    @property
    def _drops(self) -> bool:
        between = self.between.training and self.between.p > 0 and self.num_layers > 1
        return between or (self.recurrent.training and self.recurrent.p > 0)

    def _steps(
        self, inputs: Tensor, state: tuple[Tensor, ...], suffix: str, mask: Tensor, present: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one layer in one direction over inputs (T, N, features); return outputs and the last state.

        `present` (T, N, 1) says where there is an input; elsewhere the state stays as it is. None: everywhere.
        """
        weight, bias = getattr(self, f"weight_hh_{suffix}"), getattr(self, f"bias_hh_{suffix}", None)
        from_inputs = torch.nn.functional.linear(
            inputs, getattr(self, f"weight_ih_{suffix}"), getattr(self, f"bias_ih_{suffix}", None)
        )
        outputs = []
        for time, x in enumerate(from_inputs.unbind(0)):
            new = self._step(x, torch.nn.functional.linear(state[0] * mask, weight, bias), state)
            if present is not None:
                new = tuple(torch.where(present[time], *parts) for parts in zip(new, state, strict=True))
            state = new
            outputs.append(state[0])
        return torch.stack(outputs), state

    def _step(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _masked(
        self, input: Tensor, state: tuple[Tensor, ...] | None, parts: int, present: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run all layers on (T, N, features), with `parts` states of shape (layers * directions, N, hidden)."""
        if state is None:
            zeros = input.new_zeros(self.num_layers * (1 + self.bidirectional), input.shape[1], self.hidden_size)
            state = (zeros,) * parts
        n, directions = input.shape[1], 1 + self.bidirectional
        rows = input.new_ones(n, self.num_layers * directions * self.hidden_size)  # a row of masks for each example
        recurrent = self.recurrent(rows).split(self.hidden_size, dim=1)
        width = directions * self.hidden_size
        between = (
            self.between(rows[:, : (self.num_layers - 1) * width]).split(width, dim=1) if self.num_layers > 1 else ()
        )
        last = []
        for layer in range(self.num_layers):
            if layer:
                input = input * between[layer - 1]
            outputs = []
            for direction in range(directions):
                at = layer * directions + direction
                inputs, there = input, present
                if direction:  # padding comes first, and leaves the state as it is
                    inputs, there = input.flip(0), None if present is None else present.flip(0)
                begin = tuple(part[at] for part in state)
                suffix = f"l{layer}" + "_reverse" * direction
                output, end = self._steps(inputs, begin, suffix, recurrent[at], there)
                outputs.append(output.flip(0) if direction else output)
                last.append(end)
            input = torch.cat(outputs, dim=2)
        return input, tuple(torch.stack(parts) for parts in zip(*last, strict=True))

    def _run(self, input: Any, state: tuple[Tensor, ...] | None, parts: int) -> tuple[Any, tuple[Tensor, ...]]:
        if isinstance(input, PackedSequence):
            return self._packed(input, state, parts)
        if not isinstance(input, Tensor):
            raise KindError(f"`input` must be a tensor or a PackedSequence, but got {type(input).__name__}.")
        if input.dim() == 3:
            output, last = self._masked(input.transpose(0, 1) if self.batch_first else input, state, parts)
            return output.transpose(0, 1) if self.batch_first else output, last
        output, last = self._masked(
            input.unsqueeze(1), None if state is None else tuple(part.unsqueeze(1) for part in state), parts
        )
        return output.squeeze(1), tuple(part.squeeze(1) for part in last)

    def _packed(
        self, input: PackedSequence, state: tuple[Tensor, ...] | None, parts: int
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        """Run on sequences of different lengths: row i of the masks is that of sequence i, however they were sorted."""
        padded, lengths = pad_packed_sequence(input)
        device = padded.device
        present = (torch.arange(len(padded), device=device).view(-1, 1) < lengths.to(device)).unsqueeze(2)
        output, last = self._masked(padded, state, parts, present)
        order = input.sorted_indices
        if order is not None:
            output, lengths = output.index_select(1, order), lengths[order.cpu()]
        data = pack_padded_sequence(output, lengths).data
        return PackedSequence(data, input.batch_sizes, order, input.unsorted_indices), last


class LSTM(_Fixed, torch.nn.LSTM):
    """An LSTM whose dropout masks are the same at all time steps, between layers and on the recurrent state.

    Takes the place of `torch.nn.LSTM`, whose subclass it is; where nothing is dropped its forward is torch's. Otherwise
    it runs a loop over time, slower than torch's kernel.

    Args:
        input_size: as torch's.
        hidden_size: likewise.
        num_layers: likewise.
        bias: likewise.
        batch_first: likewise.
        bidirectional: likewise.
        device: likewise.
        dtype: likewise.
        dropout: probability of an input of all layers but the first to be dropped; later `layer.between.p`.
        recurrent_dropout: probability of a unit of the state to be dropped; later `layer.recurrent.p`.

    Raises:
        ValueError, TypeError: a probability is not a number in [0, 1]; the input is no tensor or PackedSequence.

    Examples:
        >>> layer = thinned.nn.LSTM(3, 4, num_layers=2, dropout=0.2, recurrent_dropout=0.2)
        >>> output, (h, c) = layer(torch.ones(5, 1, 3))
        >>> output.shape, h.shape
        (torch.Size([5, 1, 4]), torch.Size([2, 1, 4]))

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self._set(dropout, recurrent_dropout)

    def _step(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        i, f, g, o = (x + h).chunk(4, dim=1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the outputs of all time steps, and the last states.

        Args:
            input: as for `torch.nn.LSTM`.
            hx: likewise.

        Returns:
            As `torch.nn.LSTM`.
        """
        if not self._drops:
            return super().forward(input, hx)
        output, (h, c) = self._run(input, hx, 2)
        return output, (h, c)


class GRU(_Fixed, torch.nn.GRU):
    """A GRU whose dropout masks are the same at all time steps, between layers and on the recurrent state.

    Takes the place of `torch.nn.GRU`, whose subclass it is; where nothing is dropped its forward is torch's. Otherwise
    it runs a loop over time, slower than torch's kernel.

    Args:
        input_size: as torch's.
        hidden_size: likewise.
        num_layers: likewise.
        bias: likewise.
        batch_first: likewise.
        bidirectional: likewise.
        device: likewise.
        dtype: likewise.
        dropout: probability of an input of all layers but the first to be dropped; later `layer.between.p`.
        recurrent_dropout: probability of a unit of the state to be dropped; later `layer.recurrent.p`. The update gate
            carries the state itself, not the dropped one.

    Raises:
        ValueError, TypeError: a probability is not a number in [0, 1]; the input is no tensor or PackedSequence.

    Examples:
        >>> layer = thinned.nn.GRU(3, 4, recurrent_dropout=0.2)
        >>> output, h = layer(torch.ones(5, 1, 3))
        >>> output.shape, h.shape
        (torch.Size([5, 1, 4]), torch.Size([1, 1, 4]))

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS
    2016.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self._set(dropout, recurrent_dropout)

    def _step(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (xr, xz, xn), (hr, hz, hn) = x.chunk(3, dim=1), h.chunk(3, dim=1)
        update = torch.sigmoid(xz + hz)
        candidate = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
        return (update * state[0] + (1 - update) * candidate,)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return the outputs of all time steps, and the last state.

        Args:
            input: as for `torch.nn.GRU`.
            hx: likewise.

        Returns:
            As `torch.nn.GRU`.
        """
        if not self._drops:
            return super().forward(input, hx)
        output, (h,) = self._run(input, None if hx is None else (hx,), 1)
        return output, h
