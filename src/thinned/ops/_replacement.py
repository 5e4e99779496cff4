"""Replacement as a differentiable torch operation: where the mask law drops an element, another value takes its place.

Eager code keeps no mask: backward makes it again from the seed. Compiled and transformed code goes through plain torch
operations on the op of dropout, which keep one byte an element.
"""

from typing import Any

import torch
from torch import Tensor

from thinned.masks import Rate, Window
from thinned.ops._dropout import dropout
from thinned.ops._library import TracedRate
from thinned.ops._words import Word, draw

Law = tuple["Rate | TracedRate", "Word | None", Word, "Window | Tensor | None"]  # rate, seed, stream, window


def keep(like: Tensor, law: Law, generator: torch.Generator | None = None) -> Tensor:
    """Return the law's keep bits for a dense tensor, on its device and in its memory format.

    Args:
        like: a tensor of the shape, device and memory format wanted.
        law: a rate that neither keeps all nor keeps none; seed (drawn if None), stream and window.
        generator: what to draw the seed from.

    Returns:
        bool tensor of the shape of `like`.

    Examples:
        >>> from thinned.masks import rate
        >>> keep(torch.empty(4), (rate(0.5), 0, 0, None))
        tensor([ True, False, False,  True])
    """
    rate, seed, stream, window = law
    ones = torch.ones_like(like, dtype=torch.bfloat16, requires_grad=False)
    return dropout(ones, rate, seed, stream, window=window, generator=generator) != 0


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, replacement: Tensor, law: Law) -> Tensor:
        ctx.law, ctx.shape = law, replacement.shape
        return torch.where(keep(input, law), input, replacement)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        stays, zero = keep(grad, ctx.law), grad.new_zeros(())
        of_input, of_replacement, _ = ctx.needs_input_grad
        return (
            torch.where(stays, grad, zero) if of_input else None,
            torch.where(stays, zero, grad).sum_to_size(ctx.shape) if of_replacement else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, input: Tensor, replacement: Tensor, _: None) -> Tensor:
        return torch.where(keep(input, ctx.law), input, replacement)


def replace(input: Tensor, replacement: Tensor, law: Law, generator: torch.Generator | None = None) -> Tensor:
    """Return `replacement` where the law drops an element, and `input` elsewhere; differentiable in both.

    Args:
        input: floating or complex tensor of any shape.
        replacement: tensor of the same dtype and device that broadcasts to the input.
        law: a rate that neither keeps all nor keeps none; seed (drawn if None), stream and window.
        generator: what to draw the seed from.

    Returns:
        A tensor like `input`.

    Examples:
        >>> from thinned.masks import rate
        >>> replace(torch.ones(4), torch.tensor(7.0), (rate(0.5), 0, 0, None))
        tensor([1., 7., 7., 1.])
    """
    if torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling():
        return torch.where(keep(input, law, generator), input, replacement)
    rate, seed, stream, window = law
    if seed is None:
        seed = draw(input.device, generator)
    # backward must see the words as they are now
    frozen = (word.clone() if isinstance(word, Tensor) else word for word in (seed, stream))
    return _Replace.apply(input, replacement, (rate, *frozen, window))  # type: ignore[no-any-return]
