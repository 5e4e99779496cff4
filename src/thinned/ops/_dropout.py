"""Dropout as a differentiable torch operation, on whichever kernel serves the device.

No mask is kept for backward: the gradient of dropout is dropout of the gradient, with the same seed. There are three
ways into the same kernels, because each caller of torch wants another one: a plain `autograd.Function` (eager, the
cheapest), a twin with `setup_context` (torch.func), and the library op ``thinned::dropout`` (compile, export). The two
Functions take the library op for their kernel where tensors are fake, traced or of a subclass: alone, it would lose
forward-mode derivatives without a word.
"""

from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import forward_ad

from thinned import _check
from thinned._errors import KindError
from thinned.kernels import cpu, tensor
from thinned.masks import Rate, Window
from thinned.masks import rate as _rate
from thinned.ops import _library
from thinned.ops._kernel import Law, run
from thinned.ops._library import TracedRate
from thinned.ops._words import Word, as_tensor, draw, draw_int, frozen

DTYPES = frozenset(cpu.DTYPES)
PENDING = "thinned.pending"  # what a node's metadata says until its backward has run; see keys.py
_PLAIN = (Tensor, torch.nn.Parameter)


def _is_plain(input: Tensor) -> bool:
    return type(input) in _PLAIN and not torch._C._len_torch_dispatch_stack()


def _run(input: Tensor, law: Law, inplace: bool = False) -> Tensor:
    if _is_plain(input):
        return run(input, law, inplace)
    result = _library.dropout(input, *law)
    return input.copy_(result) if inplace else result


class _Dropout(torch.autograd.Function):
    """Eager dropout. Plain style (no `setup_context`), and one tuple for the law: a third of the overhead."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, law: Law, inplace: bool) -> Tensor:
        ctx.law = law
        ctx.inplace = inplace
        if inplace:
            ctx.mark_dirty(input)
        return _run(input, law, inplace)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.metadata.pop(PENDING, None)
        return _again(grad, ctx.law), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _again(tangent, ctx.law, ctx.inplace)


def _again(tangent: Tensor, law: Law, inplace: bool = False) -> Tensor:
    if torch._C._functorch.is_legacy_batchedtensor(tangent):  # of `grad(is_grads_batched=True)`: no memory to read
        result = tensor.dropout(tangent, *law)
        return tangent.copy_(result) if inplace else result
    return dropout(tangent, *law, inplace)


# Function.apply spends 2 us on looking for wrappers in the law; only the input can be one, and `dropout` unwraps it.
_apply = super(torch.autograd.Function, _Dropout).apply


class _TransformedDropout(torch.autograd.Function):
    """Dropout under torch.func, which needs `setup_context`; seed and stream are tensors, for vmap to batch them."""

    @staticmethod
    def forward(
        input: Tensor, rate: Rate, seed: Tensor, stream: Tensor, shared_axes: tuple[int, ...], window: Window | None
    ) -> Tensor:
        return _run(input, (rate, seed, stream, shared_axes, window))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, rate, seed, stream, shared_axes, window = inputs
        ctx.save_for_backward(seed, stream)
        ctx.save_for_forward(seed, stream)
        ctx.law = (rate, shared_axes, window)

    @staticmethod
    def _again(ctx: Any, tangent: Tensor) -> Tensor:
        rate, shared_axes, window = ctx.law
        seed, stream = ctx.saved_tensors
        return _TransformedDropout.apply(tangent, rate, seed, stream, shared_axes, window)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _TransformedDropout._again(ctx, grad), None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _TransformedDropout._again(ctx, tangent)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        input: Tensor,
        rate: Rate,
        seed: Tensor,
        stream: Tensor,
        shared_axes: tuple[int, ...],
        window: Window | None,
    ) -> tuple[Tensor, int]:
        at, _, seed_at, stream_at, _, _ = in_dims
        members = input.movedim(at, 0) if at is not None else input.expand(info.batch_size, *input.shape)
        if seed_at is None and stream_at is None:  # one law: the members share one mask
            dims = input.dim() - (at is not None)
            axes = (0, *(axis + 1 for axis in _check.axes(shared_axes, dims)))
            whole = window and Window((info.batch_size, *window.shape), (0, *window.start))
            return dropout(members, rate, seed, stream, axes, whole), 0
        seeds = seed.movedim(seed_at, 0) if seed_at is not None else seed.expand(info.batch_size)
        streams = stream.movedim(stream_at, 0) if stream_at is not None else stream.expand(info.batch_size)
        each = zip(members.unbind(), seeds.unbind(), streams.unbind(), strict=True)
        return torch.stack([dropout(x, rate, k, s, shared_axes, window) for x, k, s in each]), 0


def dropout(
    input: Tensor,  # any shape; floating or complex
    rate: Rate | TracedRate,
    seed: Word | None = None,
    stream: Word = 0,
    shared_axes: tuple[int, ...] = (),
    window: Window | Tensor | None = None,  # a tensor in a graph: the window's shape, then its start
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the dropout of `input` by the mask law, differentiable any number of times, forward and backward.

    Args:
        input: floating or complex tensor.
        rate: a rate that neither keeps all nor keeps none.
        seed: unsigned 64-bit int, or an int64 0-dim tensor on the input's device; drawn if not given.
        stream: as `seed`; 0 if not given.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that `input` is a part of.
        inplace: write into `input`.
        generator: what to draw the seed from; the default generator of the input's device if not given.

    Returns:
        A tensor like `input`; `input` itself when in place.

    Raises:
        KindError: the dtype is neither floating nor complex, or not supported.

    Examples:
        >>> from thinned.masks import rate
        >>> dropout(torch.ones(4), rate(0.5), seed=0)
        tensor([2., 0., 0., 2.])
    """
    if input.dtype not in DTYPES:
        raise unfit(input)
    functorch = torch._C._are_functorch_transforms_active()
    if torch.compiler.is_compiling():
        if not functorch and generator is None and forward_ad._current_level < 0:
            words = draw(input.device) if seed is None else seed, stream
            result = _library.dropout(input, rate, *words, shared_axes, window)
            return input.copy_(result) if inplace else result
        if torch.compiler.is_dynamo_compiling():  # a graph holds no generator, and the library op knows no transforms
            return _uncompiled(input, rate, seed, stream, shared_axes, window, inplace, generator)
    if functorch:
        if seed is None:
            seed = draw(input.device, generator)
        words = as_tensor(seed, input.device), as_tensor(stream, input.device)
        result = _TransformedDropout.apply(input, rate, *words, shared_axes, window)
        return input.copy_(result) if inplace else result
    if inplace and _must_copy(input):
        return input.copy_(dropout(input, rate, seed, stream, shared_axes, window, False, generator))
    plain = _is_plain(input)
    if seed is None:
        seed = draw_int(generator) if plain and input.is_cpu else draw(input.device, generator)
    if type(seed) is not int or type(stream) is not int:  # backward must see them as they are now
        seed, stream = frozen(seed, plain and input.is_cpu), frozen(stream, plain and input.is_cpu)
    law: Law = rate, seed, stream, shared_axes, window  # type: ignore[assignment]  # outside a graph these are no tensors
    if (input.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
        return _apply(torch._C._functorch.unwrap_if_dead(input), law, inplace)  # type: ignore[no-any-return]
    result = run(input, law, inplace) if plain else _run(input, law, inplace)
    if inplace:  # the kernel writes behind torch's back, but autograd must know
        torch.autograd.graph.increment_version(input)
    return result


@_disable_dynamo
def _uncompiled(input: Tensor, rate: Rate | TracedRate, *arguments: Any) -> Tensor:
    return dropout(input, _rate(rate.p), *arguments)


def unfit(input: Tensor) -> KindError:
    """Return the error that says that the dtype of a tensor does not suit dropout.

    Args:
        input: the tensor.

    Returns:
        The error, to be raised.

    Examples:
        >>> str(unfit(torch.ones(1, dtype=torch.int64))).partition(", but ")[2]
        'got dtype torch.int64.'
    """
    names = "float16, bfloat16, float32, float64, complex64 or complex128"
    return KindError(f"`input` must be {names} for dropout in training, but got dtype {input.dtype}.")


def _must_copy(input: Tensor) -> bool:
    """Whether the result must go through `copy_`, which refuses what torch refuses before anything is written."""
    if input.requires_grad and torch.is_grad_enabled() and (input.is_leaf or input._is_view()):
        return True
    if input.is_inference() and not torch.is_inference_mode_enabled():
        return True
    return any(step == 0 and size > 1 for size, step in zip(input.shape, input.stride(), strict=True))
