"""Dropout as a differentiable torch operation, on whichever kernel serves the device.

No mask is kept for backward: the gradient of dropout is dropout of the gradient, with the same seed. There are three
ways into the same kernels, because each caller of torch wants another one: a plain `autograd.Function` (eager, the
cheapest), a twin with `setup_context` (torch.func), and the library op ``thinned::dropout`` (compile, export). The two
Functions take the library op for their kernel where tensors are fake, traced or of a subclass: alone, it would lose
forward-mode derivatives without a word.
"""

import functools
import math
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import forward_ad

from thinned import _check
from thinned._errors import KindError
from thinned.kernels import cpu, tensor
from thinned.masks import Rate, Window, layout
from thinned.masks import rate as _rate

Word = int | Tensor  # unsigned Python int, or int64 0-dim tensor on the input's device
DTYPES = frozenset(cpu.DTYPES)

_PLAIN = (Tensor, torch.nn.Parameter)
PENDING = "thinned.pending"  # what a node's metadata says until its backward has run; see keys.py
LOWEST = -(2**63)
HIGHEST = 2**64 - 1
_local = threading.local()


def _new_word() -> tuple[Tensor, memoryview]:
    with torch.inference_mode(False):  # an inference tensor could not be changed in place later
        word = torch.empty(1, dtype=torch.int64, device="cpu")  # whatever the default device is just now
    return word, memoryview(word.numpy().view(np.uint64))  # type: ignore[arg-type]


def _draw(generator: torch.Generator | None) -> int:
    """Draw 64 bits from `generator` or the CPU's default one, as fast as torch lets us: one tensor for each thread."""
    try:
        word, bits = _local.word
    except AttributeError:
        word, bits = _local.word = _new_word()
    if generator is None:
        word.random_(LOWEST, None)
    else:
        word.random_(LOWEST, None, generator=generator)
    return bits[0]  # type: ignore[no-any-return]


def draw(device: torch.device, generator: torch.Generator | None = None) -> Word:
    """Draw a seed of 64 bits from a generator: the device's default one unless another is given.

    Args:
        device: where the seed is going to be used; on other devices than the CPU it never leaves them.
        generator: the generator to draw from.

    Returns:
        An unsigned Python int for the CPU, else (and under torch.func and compile) an int64 0-dim tensor.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> first = draw(torch.device("cpu"))
        >>> _ = torch.manual_seed(0)
        >>> first == draw(torch.device("cpu"))
        True
    """
    if torch._C._are_functorch_transforms_active():
        # randint obeys vmap's `randomness`. With the sign turned its bits are those of `random_`, but for one in 2**64.
        word = torch.randint(LOWEST, -LOWEST - 1, (), dtype=torch.int64, device=device, generator=generator)
        return word ^ LOWEST
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()
    if traced and generator is None:
        return torch.ops.thinned.draw(torch.empty((), dtype=torch.int64, device=device))  # type: ignore[no-any-return]
    if device.type == "cpu" and not traced:
        return _draw(generator)
    return torch.empty((), dtype=torch.int64, device=device).random_(LOWEST, None, generator=generator)


class TracedRate(NamedTuple):
    """A rate strictly between 0 and 1 in a graph, where p is a symbol: the law that belongs to it is computed there."""

    p: float
    law: Tensor  # int64 of 3: threshold, bits, scale
    threshold: int = -1  # not known before the graph runs, but neither 0 nor all
    scale: float = math.nan


Law = tuple[Rate, Word, Word, tuple[int, ...], "Window | None"]  # rate, seed, stream, shared axes, window


def _by_library(
    input: Tensor,
    rate: Rate | TracedRate,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...],
    window: Window | Tensor | None,
) -> Tensor:
    words = torch.stack((_as_tensor(seed, input.device), _as_tensor(stream, input.device)))
    return torch.ops.thinned.dropout(input, words, _pack(rate, window), shared_axes)  # type: ignore[no-any-return]


def _run(input: Tensor, law: Law, inplace: bool = False, plain: bool = False) -> Tensor:
    """Run the kernel of the input's device, outside autograd; `plain` says that the input is known to have memory."""
    if not plain and (type(input) not in _PLAIN or torch._C._len_torch_dispatch_stack()):
        result = _by_library(input, *law)
        return input.copy_(result) if inplace else result
    if input.is_neg() or input.is_conj() or input._is_zerotensor():  # the memory does not hold the values
        values = torch.zeros_like(input) if input._is_zerotensor() else input.resolve_neg().resolve_conj()
        result = _run(values, law, plain=True)
        return input.copy_(result) if inplace else result
    if input.is_cpu:
        rate, seed, stream, shared_axes, window = law
        output = input if inplace else torch.empty_like(input)
        if type(seed) is not int or type(stream) is not int:
            seed, stream = _as_int(seed), _as_int(stream)
        cpu.dropout(input, output, rate, seed, stream, shared_axes, window, not inplace)
        return output
    if input.is_meta:
        layout(tuple(input.shape), *law[3:])  # refuses what other devices refuse
        return input if inplace else torch.empty_like(input)
    if input.is_cuda and (kernel := _triton()):
        output = input if inplace else torch.empty_like(input)
        kernel(input, output, *law)
        return output
    result = tensor.dropout(input, *law)
    return input.copy_(result) if inplace else result


@functools.cache
def _triton() -> Callable[..., None] | None:
    """The Triton kernel, loaded when the first CUDA tensor arrives; None where torch came without Triton."""
    try:
        from thinned.kernels import triton
    except ImportError:
        return None
    return triton.dropout


def _as_int(word: Word) -> int:
    return int(word) & HIGHEST


def _as_tensor(word: Word, device: torch.device) -> Tensor:
    if isinstance(word, Tensor):
        return word
    return torch.full((), _check.signed64(word), dtype=torch.int64, device=device)


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

    Example:
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
            result = _by_library(input, rate, *words, shared_axes, window)
            return input.copy_(result) if inplace else result
        if torch.compiler.is_dynamo_compiling():  # a graph holds no generator, and the library op knows no transforms
            return _uncompiled(input, rate, seed, stream, shared_axes, window, inplace, generator)
    if functorch:
        if seed is None:
            seed = draw(input.device, generator)
        words = _as_tensor(seed, input.device), _as_tensor(stream, input.device)
        result = _TransformedDropout.apply(input, rate, *words, shared_axes, window)
        return input.copy_(result) if inplace else result
    if inplace and _must_copy(input):
        return input.copy_(dropout(input, rate, seed, stream, shared_axes, window, False, generator))
    plain = type(input) in _PLAIN and not torch._C._len_torch_dispatch_stack()
    if seed is None:
        seed = _draw(generator) if plain and input.is_cpu else draw(input.device, generator)
    if type(seed) is not int or type(stream) is not int:  # backward must see them as they are now
        seed, stream = _frozen(seed, plain and input.is_cpu), _frozen(stream, plain and input.is_cpu)
    law: Law = rate, seed, stream, shared_axes, window  # type: ignore[assignment]  # outside a graph these are no tensors
    if (input.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
        return _apply(torch._C._functorch.unwrap_if_dead(input), law, inplace)  # type: ignore[no-any-return]
    result = _run(input, law, inplace, plain)
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

    Example:
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


def _frozen(word: Word, readable: bool) -> Word:
    if isinstance(word, int):
        return word
    return _as_int(word) if readable else word.clone()


# The library op. p, the window and the scale travel in one int64 tensor on the CPU, so that a new p or window is new
# data and not a new graph.


def traced_rate(p: float) -> Rate | TracedRate:
    """Return how the law realises `p`, for use in a graph; a new `p` is then no new graph.

    Args:
        p: drop probability in [0, 1].

    Returns:
        An ordinary rate for 0 and 1, because those are other graphs; otherwise one that holds a tensor.

    Raises:
        RangeError, KindError: `p` is not a number in [0, 1].

    Example:
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


def _pack(rate: Rate | TracedRate, window: Window | Tensor | None) -> Tensor:
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


def _draw_op(fresh: Tensor) -> Tensor:
    # `fresh` is a new tensor at each site: without it, sites with equal arguments would be merged into one.
    return torch.empty_like(fresh).random_(LOWEST, None)


def _dropout_op(input: Tensor, seed: Tensor, law: Tensor, shared_axes: Sequence[int]) -> Tensor:
    rate, window = _unpack(law)
    if rate.keeps_all or rate.keeps_none:  # p is so near 0 or 1 that the law cannot tell it from them
        return input.clone() if rate.keeps_all else torch.zeros_like(input)
    return _run(input, (rate, seed[0], seed[1], tuple(shared_axes), window), plain=True)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, law, ctx.shared_axes = inputs
    ctx.save_for_backward(seed, law)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.thinned.dropout(grad, *ctx.saved_tensors, ctx.shared_axes), None, None, None


# `torch.library.custom_op` would say the same in fewer lines, but it reads source files at import, for 10 ms.
_library = torch.library.Library("thinned", "DEF")
_library.define("draw(Tensor fresh) -> Tensor", tags=(torch.Tag.nondeterministic_seeded, torch.Tag.pt2_compliant_tag))
_library.define(
    "dropout(Tensor input, Tensor seed, Tensor law, int[] shared_axes) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,)
)
_library.impl("draw", _draw_op, "CompositeExplicitAutograd")
_library.impl("draw", torch.empty_like, "Meta")
_library.impl("dropout", _dropout_op, "CompositeExplicitAutograd")
_library.impl("dropout", lambda input, seed, law, shared_axes: torch.empty_like(input), "Meta")
torch.library.register_autograd("thinned::dropout", _backward, setup_context=_setup, lib=_library)
