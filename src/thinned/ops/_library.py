"""Dropout in a graph: the library ops ``thinned::draw`` and ``thinned::dropout``.

p, the window and the scale travel in one int64 tensor on the CPU, so that a new p or window is new data and not a new
graph.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thinned import _check
from thinned.masks import Rate, Window
from thinned.ops._kernel import run
from thinned.ops._words import LOWEST, Word, as_int, as_tensor


class TracedRate(NamedTuple):
    """A rate strictly between 0 and 1 in a graph, where p is a symbol: the law that belongs to it is computed there."""

    p: float
    law: Tensor  # int64 of 3: threshold, bits, scale
    threshold: int = -1  # not known before the graph runs, but neither 0 nor all
    scale: float = math.nan


def traced_rate(p: float) -> Rate | TracedRate:
    """Return how the law realises `p`, for use in a graph; a new `p` is then no new graph.

    Args:
        p: drop probability in [0, 1].

    Returns:
        An ordinary rate for 0 and 1, because those are other graphs; otherwise one that holds a tensor.

    Raises:
        RangeError, KindError: `p` is not a number in [0, 1].

    Examples:
        >>> traced_rate(0.1).law[:2]
        tensor([6554,   16])
    """
    p = _check.probability(p)
    if p == 0.0:
        return Rate(p, 16, 0, 1.0)
    if p == 1.0:
        return Rate(p, 16, 2**16, math.inf)
    wanted = torch.ones((), dtype=torch.float64, device="cpu") * p
    narrow = torch.round(wanted * 2.0**16)
    fine = (narrow / 2.0**16 - wanted).abs() <= 2.0**-10 * torch.minimum(wanted, 1 - wanted)
    threshold = torch.where(fine, narrow, torch.round(wanted * 2.0**32))
    scale = 1 / (1 - threshold / torch.where(fine, 2.0**16, 2.0**32).to(torch.float64))
    law = [threshold.to(torch.int64), torch.where(fine, 16, 32), scale.view(torch.int64)]
    return TracedRate(p, torch.stack(law))


def pack(rate: Rate | TracedRate, window: Window | Tensor | None) -> Tensor:
    """Return rate and window as data.

    Args:
        rate: how the law realises `p`.
        window: the larger tensor; a tensor holds its shape, then its start.

    Returns:
        int64 tensor on the CPU: threshold, bits, the bits of the scale, then shape and start of a window.

    Examples:
        >>> from thinned.masks import rate
        >>> pack(rate(0.5), Window((4,), (2,)))[[0, 1, 3, 4]]
        tensor([32768,    16,     4,     2])
    """
    if isinstance(rate, TracedRate):
        if window is None:
            return rate.law
        if isinstance(window, Window):
            window = torch.tensor([*window.shape, *window.start], device="cpu")
        return torch.cat((rate.law, window))
    assert not isinstance(window, Tensor)
    scale_bits: int = struct.unpack("<q", struct.pack("<d", rate.scale))[0]
    whole = (*window.shape, *window.start) if window else ()
    return torch.tensor([rate.threshold, rate.bits, scale_bits, *whole], dtype=torch.int64, device="cpu")


def _unpack(law: Tensor) -> tuple[Rate, Window | None]:
    threshold, bits, scale_bits, *whole = law.tolist()
    scale: float = struct.unpack("<d", struct.pack("<q", scale_bits))[0]
    dims = len(whole) // 2
    return Rate(math.nan, bits, threshold, scale), Window(whole[:dims], whole[dims:]) if whole else None


def dropout(
    input: Tensor,
    rate: Rate | TracedRate,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...],
    window: Window | Tensor | None,
) -> Tensor:
    """Call the library op, which a graph records.

    Args:
        input: floating or complex tensor, also fake or of a subclass.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit word.
        stream: 64-bit word.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that `input` is a part of; a tensor holds its shape, then its start.

    Returns:
        A tensor like `input`.

    Examples:
        >>> from thinned.masks import rate
        >>> dropout(torch.ones(4), rate(0.5), 0, 0, (), None)
        tensor([2., 0., 0., 2.])
    """
    words = torch.stack((as_tensor(seed, input.device), as_tensor(stream, input.device)))
    return torch.ops.thinned.dropout(input, words, pack(rate, window), shared_axes)  # type: ignore[no-any-return]


def _draw_op(fresh: Tensor) -> Tensor:
    # `fresh` is a new tensor at each site: without it, sites with equal arguments would be merged into one.
    return torch.empty_like(fresh).random_(LOWEST, None)


def _dropout_op(input: Tensor, seed: Tensor, law: Tensor, shared_axes: Sequence[int]) -> Tensor:
    rate, window = _unpack(law)
    # Words that lie in the CPU's memory are numbers to any device's kernel; others never leave their device.
    words = [as_int(word) for word in seed.tolist()] if seed.is_cpu else seed.unbind()
    if rate.keeps_all or rate.keeps_none:  # p is so near 0 or 1 that the law cannot tell it from them
        return input.clone() if rate.keeps_all else torch.zeros_like(input)
    return run(input, (rate, *words, tuple(shared_axes), window))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, law, ctx.shared_axes = inputs
    ctx.save_for_backward(seed, law)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.thinned.dropout(grad, *ctx.saved_tensors, ctx.shared_axes), None, None, None


# `torch.library.custom_op` would say the same in fewer lines, but it reads source files at import, for 10 ms.
_library = torch.library.Library("thinned", "DEF")
_library.define("draw(Tensor fresh) -> Tensor", tags=(torch.Tag.nondeterministic_seeded, torch.Tag.pt2_compliant_tag))
# The op reads the law, and a key's seed, in the CPU's memory: a CUDA graph would repeat those of its capture for ever.
_library.define(
    "dropout(Tensor input, Tensor seed, Tensor law, int[] shared_axes) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.cudagraph_unsafe),
)
_library.impl("draw", _draw_op, "CompositeExplicitAutograd")
_library.impl("draw", torch.empty_like, "Meta")
_library.impl("dropout", _dropout_op, "CompositeExplicitAutograd")
# Not as a "Meta" kernel: for one of those, torch insists that all tensors are on one device, which the law never is.
torch.library.register_fake(
    "thinned::dropout", lambda input, seed, law, shared_axes: torch.empty_like(input), lib=_library
)
torch.library.register_autograd("thinned::dropout", _backward, setup_context=_setup, lib=_library)
