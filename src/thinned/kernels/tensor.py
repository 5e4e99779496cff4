"""The mask law in plain torch arithmetic: for every device, for tracing, and for fusing.

All arithmetic is in int64. A product of two 32-bit words may pass 2**63 and wrap; its low 64 bits are right all the
same, and the upper word is taken with a mask after the (arithmetic) shift.
"""

import math

import torch
from torch import Tensor

from thinned import _check
from thinned.kernels.steps import AdamStep, SgdStep
from thinned.masks import LANES, TILE, Layout, Rate, Window, layout
from thinned.philox import KEY_STEPS, LOW, MULTIPLIERS, ROUNDS

Word = int | Tensor  # a 64-bit word: a Python int, or an int64 0-dim tensor (two's complement)


def _halves(word: Word) -> tuple[Word, Word]:
    return word & LOW, (word >> 32) & LOW


def _philox(counter: Tensor, seed: Word, stream: Word) -> tuple[Tensor, ...]:
    c0, c1 = counter & LOW, (counter >> 32) & LOW
    low, high = _halves(stream)
    c2, c3 = torch.zeros_like(c0) + low, torch.zeros_like(c0) + high
    k0, k1 = _halves(seed)
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = ((product1 >> 32) & LOW) ^ c1 ^ k0, product1 & LOW
        c2, c3 = ((product0 >> 32) & LOW) ^ c3 ^ k1, product0 & LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return c0, c1, c2, c3


def _run_of_words(start: int, count: int, bits: int, seed: Word, stream: Word, device: torch.device) -> Tensor:
    tile = TILE[bits]
    first, last = start // tile, -(-(start + count) // tile)
    counter = torch.arange(first * LANES, last * LANES, device=device).view(-1, LANES)
    planes = torch.stack(_philox(counter, seed, stream), dim=1)  # (tiles, words, lanes)
    if bits == 16:
        planes = torch.stack((planes & 0xFFFF, planes >> 16), dim=2)  # (tiles, words, halves, lanes)
    return planes.reshape(-1)[start - first * tile :][:count]


def _words_at(index: Tensor, bits: int, seed: Word, stream: Word) -> Tensor:
    tile = TILE[bits]
    lane, plane = index % LANES, index % tile // LANES
    number = index // tile % (_check.WORD // tile)  # the index is unsigned, but int64 is not
    words = torch.stack(_philox(number * LANES + lane, seed, stream))  # (4, ...)
    if bits == 32:
        return words.gather(0, plane.unsqueeze(0)).squeeze(0)
    word = words.gather(0, (plane // 2).unsqueeze(0)).squeeze(0)
    return (word >> (16 * (plane % 2))) & 0xFFFF


def row_major(place: Layout) -> bool:
    """Return whether a part of a mask, in row-major order, is one run of the mask's indices.

    Args:
        place: where the part lies.

    Returns:
        True for a whole mask, and for whole rows of one.

    Examples:
        >>> row_major(layout((2, 3), (), Window((4, 3), (2, 0))))
        True
    """
    stride = 1
    for size, step in zip(reversed(place.extent), reversed(place.strides), strict=True):
        if size != 1:
            if step != stride:
                return False
            stride *= size
    return True


def keep(place: Layout, rate: Rate, seed: Word, stream: Word, device: torch.device) -> Tensor:
    """Return the law's keep bits for a part of a mask.

    Args:
        place: where the part lies in the mask.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit word.
        stream: 64-bit word.
        device: where to compute.

    Returns:
        bool tensor of shape `place.extent`.

    Examples:
        >>> from thinned.masks import rate
        >>> keep(layout((4,), (), None), rate(0.5), 0, 0, torch.device("cpu"))
        tensor([ True, False, False,  True])
    """
    start = place.start % _check.WORD
    if row_major(place):
        count = 1
        for size in place.extent:
            count *= size
        u = _run_of_words(start, count, rate.bits, seed, stream, device).view(place.extent)
    else:
        index = torch.full((), _check.signed64(start), dtype=torch.int64, device=device)
        for size, step in zip(place.extent, place.strides, strict=True):
            index = index.unsqueeze(-1) + torch.arange(size, device=device) * step
        u = _words_at(index, rate.bits, seed, stream)
    return u >= rate.threshold


def dropout(
    input: Tensor,
    rate: Rate,
    seed: Word,
    stream: Word,
    shared_axes: tuple[int, ...] = (),
    window: Window | None = None,
) -> Tensor:
    """Return the dropout of `input` by the mask law.

    Args:
        input: floating or complex tensor on any device.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit word.
        stream: 64-bit word.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that `input` is a part of.

    Returns:
        A new tensor of the same shape, dtype and memory format.

    Examples:
        >>> from thinned.masks import rate
        >>> dropout(torch.ones(4), rate(0.5), seed=0, stream=0)
        tensor([2., 0., 0., 2.])
    """
    place = layout(tuple(input.shape), shared_axes, window)
    return select(input, keep(place, rate, seed, stream, input.device), rate.scale)


def index(
    shape: tuple[int, ...], shared_axes: tuple[int, ...], window: Window | Tensor | None, device: torch.device
) -> Tensor:
    """Return the mask's index of each element of a tensor.

    Args:
        shape: the tensor's shape.
        shared_axes: axes along which the mask does not vary.
        window: the larger tensor that this one is a part of; in a graph a tensor: its shape, then its start.
        device: where to compute.

    Returns:
        int64 tensor of `shape`, with 1 at shared axes.

    Examples:
        >>> index((2, 3), (), None, torch.device("cpu"))
        tensor([[0, 1, 2],
                [3, 4, 5]])
    """
    dims = len(shape)
    shared = _check.axes(shared_axes, dims)
    if isinstance(window, Tensor):
        whole, first = tuple(window[:dims]), tuple(window[dims:])
    else:
        layout(shape, shared_axes, window)  # refuses what does not fit
        whole, first = (window.shape, window.start) if window else (shape, (0,) * dims)
    result, stride = torch.zeros((1,) * dims, dtype=torch.int64, device=device), torch.ones((), dtype=torch.int64)
    stride = stride.to(device)
    for axis in reversed(range(dims)):
        if axis not in shared:
            place = torch.arange(shape[axis], device=device) + first[axis]
            result = result + (place * stride).view([-1] + [1] * (dims - axis - 1))
            stride = stride * whole[axis]
    return result


def normal(index: Tensor, seed: Word, stream: Word) -> Tensor:
    """Return the law's standard normal numbers at given indices.

    Args:
        index: int64 tensor of the mask's indices.
        seed: 64-bit word.
        stream: 64-bit word.

    Returns:
        float64 tensor like `index`.

    Examples:
        >>> normal(torch.tensor([0]), 0, 0)
        tensor([1.3280], dtype=torch.float64)
    """
    tile = TILE[32]
    plane = index % tile // LANES
    first = index - (plane % 2) * LANES  # the same lane of the first plane of its pair
    u0 = (_words_at(first, 32, seed, stream).to(torch.float64) + 0.5) * 2.0**-32
    u1 = (_words_at(first + LANES, 32, seed, stream).to(torch.float64) + 0.5) * 2.0**-32
    angle = 2 * math.pi * u1
    return torch.sqrt(-2 * torch.log(u0)) * torch.where(plane % 2 == 0, torch.cos(angle), torch.sin(angle))


def words(index: Tensor, seed: Word, stream: Word) -> Tensor:
    """Return the law's 32-bit words at given indices.

    Args:
        index: int64 tensor of indices.
        seed: 64-bit word.
        stream: 64-bit word.

    Returns:
        int64 tensor like `index`, each below 2**32.

    Examples:
        >>> words(torch.tensor([0]), 0, 0)
        tensor([1601156873])
    """
    return _words_at(index, 32, seed, stream)


def select(input: Tensor, keep: Tensor, scale: float) -> Tensor:
    """Return `input` times `scale` where `keep` is true and +0.0 elsewhere, rounded once.

    Args:
        input: floating or complex tensor.
        keep: bool tensor that broadcasts to the input.
        scale: factor of the kept elements.

    Returns:
        A new tensor like `input`.

    Examples:
        >>> select(torch.tensor([-1.0, float("inf")]), torch.tensor([True, False]), 2.0)
        tensor([-2.,  0.])
    """
    wide = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
    if input.is_complex():  # a complex product with inf would make nan
        scaled = torch.view_as_complex(torch.view_as_real(wide.resolve_conj()) * scale)
    else:
        scaled = wide * scale
    if torch._C._are_functorch_transforms_active():  # a mask with a batch axis cannot be written into what has none
        return scaled.masked_fill(~keep, 0.0).to(input.dtype)
    return scaled.masked_fill_(~keep, 0.0).to(input.dtype)  # in place: `masked_fill` and `where` lose the memory format


def _index(matrix: Tensor, rows: Tensor | None, columns: Tensor | None) -> tuple[Tensor | slice, ...]:
    """Return what selects a submatrix, in `matrix[...]`."""
    if rows is None and columns is None:
        return (slice(None),) * matrix.dim()
    if matrix.dim() == 1 or columns is None:
        return (slice(None) if rows is None else rows,)
    return (slice(None), columns) if rows is None else (rows.unsqueeze(1), columns)


def gather(matrix: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Return a submatrix as a new tensor.

    Args:
        matrix: tensor of one or two axes.
        rows: int64 indices; None for all.
        columns: likewise; None for a vector.

    Returns:
        Tensor of shape (rows, columns), or (rows,).

    Examples:
        >>> gather(torch.arange(6.0).view(2, 3), torch.tensor([1]), torch.tensor([0, 2]))
        tensor([[3., 5.]])
    """
    return matrix[_index(matrix, rows, columns)].clone(memory_format=torch.contiguous_format)


def scatter_add(matrix: Tensor, block: Tensor, rows: Tensor | None, columns: Tensor | None) -> None:
    """Add a block to a submatrix, in place.

    Args:
        matrix: tensor of one or two axes.
        block: what to add.
        rows: as for `gather`.
        columns: likewise.

    Examples:
        >>> vector = torch.zeros(3)
        >>> scatter_add(vector, torch.ones(1), torch.tensor([1]), None)
        >>> vector
        tensor([0., 1., 0.])
    """
    matrix[_index(matrix, rows, columns)] += block


def _wide(values: Tensor) -> Tensor:
    """Return what an optimizer computes with: narrower numbers than float32 are rounded when they are stored."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def sgd(
    parameter: Tensor,
    momentum: Tensor | None,
    gradient: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    step: SgdStep,
) -> None:
    """Make one step of SGD on a submatrix of a parameter and of its momentum; the rest stays as it is.

    Args:
        parameter: tensor of one or two axes.
        momentum: like the parameter; None for SGD without.
        gradient: block of the submatrix's gradient.
        rows: as for `gather`.
        columns: likewise.
        step: the numbers.

    Examples:
        >>> parameter = torch.ones(3)
        >>> sgd(parameter, None, torch.ones(1), torch.tensor([1]), None, SgdStep(lr=0.5))
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    place = _index(parameter, rows, columns)
    weight, direction = _wide(parameter[place]), _wide(gradient)
    if step.maximize:
        direction = -direction
    if step.weight_decay != 0:
        direction = direction + step.weight_decay * weight
    if momentum is not None:
        velocity = step.momentum * _wide(momentum[place]) + (1 - step.dampening) * direction
        momentum[place] = velocity.to(momentum.dtype)
        direction = direction + step.momentum * velocity if step.nesterov else velocity
    parameter[place] = (weight - step.lr * direction).to(parameter.dtype)


def adam(
    parameter: Tensor,
    moments: tuple[Tensor, Tensor, Tensor | None],
    gradient: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    step: AdamStep,
) -> None:
    """Make one step of Adam or AdamW on a submatrix of a parameter and of its moments; the rest stays as it is.

    Args:
        parameter: tensor of one or two axes.
        moments: the first, the second, and the largest second ones so far (None without), like the parameter.
        gradient: block of the submatrix's gradient.
        rows: as for `gather`.
        columns: likewise.
        step: the numbers.

    Examples:
        >>> parameter, moments = torch.ones(3), (torch.zeros(3), torch.zeros(3), None)
        >>> numbers = AdamStep(0.5, 0.9, 0.999, 0.0, 0.0, correction1=1 - 0.9, correction2=1 - 0.999)
        >>> adam(parameter, moments, torch.ones(1), torch.tensor([1]), None, numbers)
        >>> parameter
        tensor([1.0000, 0.5000, 1.0000])
    """
    first, second, largest = moments
    place = _index(parameter, rows, columns)
    weight, slope = _wide(parameter[place]), _wide(gradient)
    if step.maximize:
        slope = -slope
    if step.weight_decay != 0:
        if step.decoupled:
            weight = (1 - step.lr * step.weight_decay) * weight
        else:
            slope = slope + step.weight_decay * weight
    mean, moment = _wide(first[place]), _wide(second[place])
    mean = mean + (1 - step.beta1) * (slope - mean)
    moment = step.beta2 * moment + (1 - step.beta2) * slope * slope
    first[place], second[place] = mean.to(first.dtype), moment.to(second.dtype)
    if largest is not None:
        moment = torch.maximum(_wide(largest[place]), moment)
        largest[place] = moment.to(largest.dtype)
    spread = moment.sqrt() / math.sqrt(step.correction2) + step.eps
    parameter[place] = (weight - step.lr / step.correction1 * mean / spread).to(parameter.dtype)


def keep_at(index: Tensor, rate: Rate, seed: Word, stream: Word) -> Tensor:
    """Return the law's keep bits for indices in any order.

    Args:
        index: int64 tensor of any shape, indices into the mask.
        rate: a rate that neither keeps all nor keeps none.
        seed: 64-bit word.
        stream: 64-bit word.

    Returns:
        bool tensor of the shape of `index`.

    Examples:
        >>> from thinned.masks import rate
        >>> keep_at(torch.tensor([3, 0, 1]), rate(0.5), 0, 0)
        tensor([ True,  True, False])
    """
    return _words_at(index, rate.bits, seed, stream) >= rate.threshold
