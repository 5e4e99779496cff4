"""Which kernel serves a tensor."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from thinned.kernels import cpu, tensor
from thinned.masks import Rate, Window, layout
from thinned.ops._words import Word, as_int

Law = tuple[Rate, Word, Word, tuple[int, ...], Window | None]  # rate, seed, stream, shared axes, window


def run(input: Tensor, law: Law, inplace: bool = False) -> Tensor:
    """Run the kernel of the input's device, outside autograd.

    Args:
        input: floating or complex tensor, neither fake nor of a subclass.
        law: rate, seed, stream, shared axes and window.
        inplace: write into `input`.

    Returns:
        A tensor like `input`; `input` itself when in place.

    Examples:
        >>> from thinned.masks import rate
        >>> run(torch.ones(4), (rate(0.5), 0, 0, (), None))
        tensor([2., 0., 0., 2.])
    """
    if input.is_neg() or input.is_conj():  # the memory does not hold the values
        result = run(input.resolve_neg().resolve_conj(), law)
        return input.copy_(result) if inplace else result
    if input.is_cpu:
        rate, seed, stream, shared_axes, window = law
        output = input if inplace else torch.empty_like(input)
        if type(seed) is not int or type(stream) is not int:
            seed, stream = as_int(seed), as_int(stream)
        cpu.dropout(input, output, rate, seed, stream, shared_axes, window, not inplace)
        return output
    if input.is_meta:
        layout(tuple(input.shape), *law[3:])  # refuses what other devices refuse
        return input if inplace else torch.empty_like(input)
    if input._is_zerotensor():  # zeros that have no memory
        result = torch.zeros_like(input)
        return input.copy_(result) if inplace else result
    if input.is_cuda and (kernel := _triton()):
        output = input if inplace else torch.empty_like(input)
        with torch.cuda.device_of(input):  # Triton launches on the current device, wherever the tensors are
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
