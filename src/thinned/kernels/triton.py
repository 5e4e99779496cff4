"""The mask law on a GPU, in Triton: the seed is read from device memory, so nothing waits for it."""

import struct
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from thinned import _check
from thinned.kernels import tensor
from thinned.masks import TILE, Rate, Window, layout

Word = int | Tensor  # a 64-bit word: a Python int, or an int64 0-dim tensor on the device

TILES = 8  # tiles of one program
BLOCK = 512  # elements of one program of the strided kernel
MAX_AXES = 8  # more than that, after joining, is left to the tensor kernel
SCALARS = ("start", "n", "threshold", "scale_bits", "seed", "stream")


@triton.jit
def _word(word):
    if word.dtype.is_ptr():
        return tl.load(word)
    return word.to(tl.int64)


@triton.jit
def _random(b, seed, stream):
    """The four words of the counters b; four explicit uint32, or another generator might be chosen."""
    low, high = (b & 0xFFFFFFFF).to(tl.uint32), ((b >> 32) & 0xFFFFFFFF).to(tl.uint32)
    zero = low * 0
    stream_low = zero + (stream & 0xFFFFFFFF).to(tl.uint32)
    stream_high = zero + ((stream >> 32) & 0xFFFFFFFF).to(tl.uint32)
    return tl.philox(seed, low, high, stream_low, stream_high, 7)


@triton.jit
def _put(x, y, at_x, at_y, inside, keep, scale_bits, PARTS: tl.constexpr, WIDE: tl.constexpr):
    scale = scale_bits.to(tl.int64).to(tl.float64, bitcast=True).to(WIDE)
    for part in tl.static_range(PARTS):  # a complex number has two
        value = tl.load(x + at_x * PARTS + part, mask=inside, other=0.0).to(WIDE) * scale
        value = tl.where(keep, value, 0.0)
        tl.store(y + at_y * PARTS + part, value.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SCALARS)
def _dropout_run(
    x, y, seed, stream, start, n, threshold, scale_bits,
    BITS: tl.constexpr, PARTS: tl.constexpr, WIDE: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """One run of memory that is one run of the mask: whole tiles, four words for 4 or 8 planes each."""
    TILE: tl.constexpr = 8192 // BITS
    start, n, threshold = start.to(tl.int64), n.to(tl.int64), threshold.to(tl.int64)
    program = tl.program_id(0).to(tl.int64)
    tile = start // TILE + program * TILES + tl.arange(0, TILES)[:, None]
    lane = tl.arange(0, 64)[None, :]
    w0, w1, w2, w3 = _random(tile * 64 + lane, _word(seed), _word(stream))
    first = tile * TILE + lane - start
    for plane in tl.static_range(TILE // 64):
        word = plane * BITS // 32
        if word == 0:
            u = w0
        elif word == 1:
            u = w1
        elif word == 2:
            u = w2
        else:
            u = w3
        if BITS == 16:
            u = (u >> (16 * (plane % 2))) & 0xFFFF
        at = first + plane * 64
        inside = (at >= 0) & (at < n)
        _put(x, y, at, at, inside, u.to(tl.int64) >= threshold, scale_bits, PARTS, WIDE)


@triton.jit(do_not_specialize=SCALARS)
def _dropout_strided(
    x, y, seed, stream, start, n, threshold, scale_bits, sizes, x_steps, y_steps, mask_steps,
    AXES: tl.constexpr, BITS: tl.constexpr, PARTS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Any strides, shared axes and windows: each element finds its own place in the mask."""
    TILE: tl.constexpr = 8192 // BITS
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    at_x, at_y, at = index * 0, index * 0, index * 0 + start
    rest = index
    for back in tl.static_range(AXES):
        axis: tl.constexpr = AXES - 1 - back
        here = rest % sizes[axis]
        rest = rest // sizes[axis]
        at_x += here * x_steps[axis]
        at_y += here * y_steps[axis]
        at += here * mask_steps[axis]
    plane, lane = at % TILE // 64, at % 64
    w0, w1, w2, w3 = _random(at // TILE * 64 + lane, _word(seed), _word(stream))
    word = plane * BITS // 32
    u = tl.where(word == 0, w0, tl.where(word == 1, w1, tl.where(word == 2, w2, w3)))
    if BITS == 16:
        u = (u >> (16 * (plane % 2)).to(tl.uint32)) & 0xFFFF
    _put(x, y, at_x, at_y, inside, u.to(tl.int64) >= threshold.to(tl.int64), scale_bits, PARTS, WIDE)


def _joined(shape: torch.Size, *steps: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Axes as (size, step, step, ...), without those of size 1, neighbours joined where one step describes both."""
    axes: list[tuple[int, ...]] = []
    for size, *step in zip(shape, *steps, strict=True):
        if size == 1:
            continue
        if axes and all(outer == inner * size for outer, inner in zip(axes[-1][1:], step, strict=True)):
            axes[-1] = (axes[-1][0] * size, *step)
        else:
            axes.append((size, *step))
    return axes or [(1, 1, 1, 1)]


def dropout(
    input: Tensor,
    output: Tensor,
    rate: Rate,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...] = (),
    window: Window | None = None,
) -> None:
    """Write the dropout of `input` by the mask law into `output`.

    Args:
        input: CUDA tensor, floating or complex, of any strides.
        output: tensor of the same shape and dtype; `input` itself for in place.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit int, or an int64 0-dim tensor on the device.
        stream: as `seed`.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that `input` is a part of.
    """
    place = layout(tuple(input.shape), shared_axes, window)
    n = input.numel()
    if n == 0:
        return
    axes = _joined(input.shape, input.stride(), output.stride(), place.strides)
    if len(axes) > MAX_AXES:
        output.copy_(tensor.dropout(input, rate, seed, stream, shared_axes, window))
        return
    x, y, parts = input, output, 1
    if input.is_complex():
        x, y, parts = torch.view_as_real(input), torch.view_as_real(output), 2
    scale_bits = struct.unpack("<q", struct.pack("<d", rate.scale))[0]
    law = (_scalar(seed), _scalar(stream), place.start, n, rate.threshold, scale_bits)
    wide = tl.float64 if x.dtype == torch.float64 else tl.float32
    kind: dict[str, Any] = {"BITS": rate.bits, "PARTS": parts, "WIDE": wide}
    if len(axes) == 1 and axes[0][1:] == (1, 1, 1):
        tile = TILE[rate.bits] * TILES
        programs = -(-(place.start % TILE[rate.bits] + n) // tile)
        _dropout_run[(programs,)](x, y, *law, **kind, TILES=TILES)
    else:
        sizes, x_steps, y_steps, mask_steps = zip(*axes, strict=True)
        grid = (-(-n // BLOCK),)
        _dropout_strided[grid](
            x, y, *law, sizes, x_steps, y_steps, mask_steps, **kind, AXES=len(axes), BLOCK=BLOCK
        )  # fmt: skip


def _scalar(word: Word) -> Word:
    return word if isinstance(word, Tensor) else _check.signed64(word % _check.WORD)
