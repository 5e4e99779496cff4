"""How many threads a network is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Multiplications in a forward pass that are worth a thread. Threads that wait for each other gain little on small
# networks, and lose much where another process has one of the processors.
WORK = 2**25


def threads_for(weights: int, rows: int) -> int:
    """Return how many threads to train a network with.

    Args:
        weights: how many it has.
        rows: of a batch.

    Returns:
        No more than torch has now.

    Examples:
        >>> threads_for(1000, 10)
        1
    """
    return min(torch.get_num_threads(), max(1, weights * rows // WORK))


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
