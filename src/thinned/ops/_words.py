"""The 64-bit words that a mask is made from, seed and stream, and where a seed comes from."""

import threading

import numpy as np
import torch
from torch import Tensor

from thinned import _check

Word = int | Tensor  # unsigned Python int, or int64 0-dim tensor on the input's device
LOWEST = -(2**63)
HIGHEST = 2**64 - 1
_local = threading.local()


def _new_word() -> tuple[Tensor, memoryview]:
    with torch.inference_mode(False):  # an inference tensor could not be changed in place later
        word = torch.empty(1, dtype=torch.int64, device="cpu")  # whatever the default device is just now
    return word, memoryview(word.numpy().view(np.uint64))  # type: ignore[arg-type]


def draw_int(generator: torch.Generator | None) -> int:
    """Draw 64 bits on the CPU, as fast as torch lets us: into one tensor for each thread.

    Args:
        generator: the generator to draw from; the CPU's default one if None.

    Returns:
        An unsigned Python int.

    Examples:
        >>> 0 <= draw_int(None) < 2**64
        True
    """
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

    Examples:
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
        return draw_int(generator)
    return torch.empty((), dtype=torch.int64, device=device).random_(LOWEST, None, generator=generator)


def as_int(word: Word) -> int:
    """Return a word as an unsigned Python int; waits for the device if it lies there.

    Args:
        word: a 64-bit word.

    Returns:
        The int.

    Examples:
        >>> as_int(torch.tensor(-1)) == 2**64 - 1
        True
    """
    return int(word) & HIGHEST


def frozen(word: Word, readable: bool) -> Word:
    """Return a word as it is now, whatever is done to its tensor until backward.

    Args:
        word: a 64-bit word.
        readable: whether it lies on the CPU and can be read at once.

    Returns:
        An int, or a tensor of its own.

    Examples:
        >>> frozen(torch.tensor(3), readable=True)
        3
    """
    if isinstance(word, int):
        return word
    return as_int(word) if readable else word.clone()


def as_tensor(word: Word, device: torch.device) -> Tensor:
    """Return a word as a tensor.

    Args:
        word: a 64-bit word.
        device: where the tensor is made, if it is none yet.

    Returns:
        int64 0-dim tensor.

    Examples:
        >>> as_tensor(2**64 - 1, torch.device("cpu"))
        tensor(-1)
    """
    if isinstance(word, Tensor):
        return word
    return torch.full((), _check.signed64(word), dtype=torch.int64, device=device)
