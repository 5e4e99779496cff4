"""What a machine can do: how many threads a network is worth, and how much memory there is."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from thinned._errors import RangeError

# Multiplications in a forward pass that are worth a thread. Threads that wait for each other gain little on small
# networks, and lose much where another process has one of the processors.
WORK = 2**25


def threads_for(weights: int, rows: int) -> int:
    """Return how many threads to train a network with.

    Args:
        weights: how many it has.
        rows: of a batch.

    Returns:
        No more than torch has now, and no more than there are processors.

    Examples:
        >>> threads_for(1000, 10)
        1
    """
    return min(torch.get_num_threads(), os.cpu_count() or 1, max(1, weights * rows // WORK))


def memory() -> float:
    """Return how much memory the machine has.

    Returns:
        Bytes; infinity where the system does not say.

    Examples:
        >>> memory() > 2**20
        True
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not everywhere
        return math.inf


def check_memory(needed: int, what: str) -> None:
    """Refuse what has no place in this machine.

    Args:
        needed: bytes.
        what: that takes them, for a message.

    Raises:
        RangeError: the machine has less memory in all.

    Examples:
        >>> check_memory(2**20, "The network")
    """
    there = memory()
    if needed > there:
        raise RangeError(
            f"{what} must fit into the memory of this machine, {there / 2**30:.1f} GiB, but takes {needed / 2**30:.1f}."
        )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch have a number of threads for a while.

    Args:
        number: how many.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
