"""Operations that are affine in their input once the randomness is drawn, and draw it again in backward.

`ops.dropout` is the one that everything else is measured by, with an entry of its own for each caller of torch. What
is here serves all other noise: in eager mode a function of the kernels that keeps only the seed; in a graph, under
torch.func or on a tensor of a subclass, plain torch arithmetic that torch differentiates by itself.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from thinned import ops
from thinned._errors import KindError
from thinned.kernels import cpu, tensor
from thinned.masks import Rate, Window, layout
from thinned.ops._words import Word, as_int, frozen

Map = Callable[[Tensor], Tensor]
AnyRate = Rate | ops.TracedRate


def traced(input: Tensor) -> bool:
    """Return whether an operation on a tensor must be plain torch arithmetic.

    Args:
        input: any tensor.

    Returns:
        True in a graph, under torch.func, and for tensors without memory of their own.

    Examples:
        >>> traced(torch.ones(1))
        False
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or type(input) not in (Tensor, torch.nn.Parameter)
        or bool(torch._C._len_torch_dispatch_stack())
        or torch._C._functorch.is_legacy_batchedtensor(input)
        or input.is_meta
    )


def words(input: Tensor, seed: Word | None, stream: Word, generator: torch.Generator | None) -> tuple[Word, Word]:
    """Return seed and stream as they are now, drawn if they are not given.

    Args:
        input: the tensor that they are for.
        seed: unsigned 64-bit int or int64 0-dim tensor; None to draw it.
        stream: likewise.
        generator: what to draw from.

    Returns:
        Python ints on the CPU; outside it, and in a graph, they may be tensors.

    Examples:
        >>> words(torch.ones(1), 3, 0, None)
        (3, 0)
    """
    if seed is None:
        seed = ops.draw(input.device, generator)
    if torch.compiler.is_compiling() or (isinstance(seed, int) and isinstance(stream, int)):
        return seed, stream
    readable = input.is_cpu and not traced(input)
    return frozen(seed, readable), frozen(stream, readable)


class _Redrawn(torch.autograd.Function):
    """An affine map that can be made again from its seed: nothing is kept but that."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, whole: Map, linear: Map) -> Tensor:
        ctx.linear = linear
        return whole(input)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.metadata.pop(ops.PENDING, None)
        return redrawn(grad, ctx.linear, ctx.linear), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return redrawn(tangent, ctx.linear, ctx.linear)


def redrawn(input: Tensor, whole: Map, linear: Map) -> Tensor:
    """Return `whole(input)`, differentiable any number of times.

    Args:
        input: any tensor.
        whole: an affine map, diagonal in its linear part; it draws the same each time that it is called. Where
            `traced(input)`, torch must be able to differentiate it.
        linear: its linear part.

    Returns:
        A tensor like `input`.

    Examples:
        >>> x = torch.ones(2, requires_grad=True)
        >>> redrawn(x, lambda v: 3 * v + 1, lambda v: 3 * v).sum().backward()
        >>> x.grad
        tensor([3., 3.])
    """
    if traced(input):
        return whole(input)
    if (input.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
        return _Redrawn.apply(torch._C._functorch.unwrap_if_dead(input), whole, linear)  # type: ignore[no-any-return]
    return whole(input)


def keep(
    input: Tensor,
    shape: tuple[int, ...],
    rate: Rate | ops.TracedRate,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...] = (),
    window: Window | Tensor | None = None,
) -> Tensor:
    """Return the law's keep bits for a mask of any shape, on the device of `input`.

    Args:
        input: the tensor that the mask is made for.
        shape: the mask's shape.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit words.
        stream: likewise.
        shared_axes: axes along which the mask does not vary.
        window: the larger mask that this one is a part of.

    Returns:
        bool tensor of `shape`, or with 1 at shared axes.

    Examples:
        >>> from thinned.masks import rate
        >>> keep(torch.ones(1), (4,), rate(0.5), 0, 0)
        tensor([ True, False, False,  True])
    """
    if input.is_cpu and not traced(input) and isinstance(rate, Rate) and not isinstance(window, Tensor):
        place = layout(shape, shared_axes, window)
        if tensor.row_major(place):
            bits = torch.empty(place.extent, dtype=torch.bool)
            cpu.keep(bits, rate, as_int(seed), as_int(stream), place.start)
            return bits
    ones = torch.ones(shape, dtype=torch.float32, device=input.device)
    return ops.dropout(ones, rate, seed, stream, shared_axes, window) > 0


def solid(input: Tensor) -> Tensor:
    """Return a tensor whose memory holds its values, for a kernel to read.

    Args:
        input: CPU tensor.

    Returns:
        The tensor itself, or a copy of a view that is negated or conjugated, or of zeros that have no memory.

    Examples:
        >>> x = torch.ones(1)
        >>> solid(x) is x
        True
    """
    if input._is_zerotensor() or (not input.data_ptr() and input.numel()):
        return torch.zeros(input.shape, dtype=input.dtype)
    return input.resolve_neg().resolve_conj()


def widened(input: Tensor) -> Tensor:
    """Return a tensor in the dtype in which the law computes: float32 for the narrower ones.

    Args:
        input: floating or complex tensor.

    Returns:
        The tensor itself, or a float32 copy.

    Examples:
        >>> widened(torch.ones(1, dtype=torch.float16)).dtype
        torch.float32
    """
    return input.float() if input.dtype in (torch.float16, torch.bfloat16) else input


def normal(
    input: Tensor,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...] = (),
    window: Window | Tensor | None = None,
) -> Tensor:
    """Return the law's standard normal numbers for the elements of a tensor.

    Args:
        input: the tensor that they are for.
        seed: 64-bit words.
        stream: likewise.
        shared_axes: axes along which the numbers do not vary.
        window: the larger tensor that `input` is a part of.

    Returns:
        Tensor that broadcasts to `input`: float64 where that is float64 or complex128, otherwise float32.

    Examples:
        >>> normal(torch.ones(1, dtype=torch.float64), 0, 0)
        tensor([1.3280], dtype=torch.float64)
    """
    wide = input.dtype in (torch.float64, torch.complex128)
    dtype = torch.float64 if wide else torch.float32
    if not traced(input) and input.is_cpu and window is None:
        shape = layout(tuple(input.shape), shared_axes, None).extent
        noise = torch.empty(shape, dtype=dtype)
        cpu.normal(noise, as_int(seed), as_int(stream))
        return noise
    index = tensor.index(tuple(input.shape), shared_axes, window, input.device)
    return tensor.normal(index, seed, stream).to(dtype)


def check(input: Tensor, window: object) -> None:
    """Check what every function that draws must check.

    Args:
        input: the tensor that is to be thinned.
        window: a Window or None; in a graph also a tensor.

    Raises:
        KindError: the dtype does not suit, or `window` is something else.

    Examples:
        >>> check(torch.ones(1), None)
    """
    if input.dtype not in ops.DTYPES:
        raise ops.unfit(input)
    if window is not None and not (torch.compiler.is_compiling() or isinstance(window, Window)):
        raise KindError(f"`window` must be a Window or None, but got window={window!r}.")


def offset(window: Window | Tensor | None) -> Word:
    """Return the first row of a window, 0 without one.

    Args:
        window: a window, in a graph as a tensor.

    Returns:
        An int, or a 0-dim tensor.

    Examples:
        >>> offset(Window((8, 2), (4, 0)))
        4
    """
    if isinstance(window, Tensor):
        return window[window.numel() // 2]
    return window.start[0] if window else 0


def realised(law: AnyRate) -> float | Tensor:
    """Return the probability with which the law drops an element; in a graph as a float64 tensor on the CPU.

    Args:
        law: the rate.

    Returns:
        A number in [0, 1].

    Examples:
        >>> from thinned.masks import rate
        >>> realised(rate(0.1))
        0.100006103515625
    """
    if isinstance(law, Rate):
        return law.realised
    return law.law[0].to(torch.float64) / 2.0 ** law.law[1].to(torch.float64)


def unscaled(law: AnyRate) -> AnyRate:
    """Return the same law, but with a scale of 1: kept elements stay as they are.

    Args:
        law: a rate.

    Returns:
        A rate with the same decisions.

    Examples:
        >>> from thinned.masks import rate
        >>> unscaled(rate(0.5)).scale
        1.0
    """
    if isinstance(law, Rate):
        return dataclasses.replace(law, scale=1.0)
    one = torch.ones(1, dtype=torch.float64, device="cpu").view(torch.int64)
    return law._replace(law=torch.cat((law.law[:2], one)))


__all__ = [
    "AnyRate",
    "Map",
    "Word",
    "as_int",
    "check",
    "keep",
    "normal",
    "offset",
    "realised",
    "redrawn",
    "solid",
    "traced",
    "unscaled",
    "widened",
    "words",
]
