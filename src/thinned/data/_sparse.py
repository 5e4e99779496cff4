"""Rows most of whose features are zero."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinned._errors import RangeError

LIMIT = 2**32  # bytes of a dense form


@dataclass(frozen=True, eq=False)
class Sparse:
    """Rows of features most of which are zero, in the form that `torch.nn.EmbeddingBag` takes.

    It is the CSR form as well: `offsets` are row pointers, `ids` column indices, `weights` the stored values.

    Attributes:
        ids: int64 indices of the features that are stored, row after row, shape (stored,).
        offsets: int64, shape (rows + 1,): row r has the ids from ``offsets[r]`` to ``offsets[r + 1]``.
        weights: float32 values of the stored features, shape (stored,).
        features: number of features, of which most are zero in most rows.

    Examples:
        >>> rows = Sparse(np.array([0, 2, 1]), np.array([0, 2, 2, 3]), np.float32([1, 2, 3]), features=3)
        >>> rows.shape, rows.lengths
        ((3, 3), array([2, 0, 1]))
        >>> rows[[2, 0]].dense()
        array([[0., 3., 0.],
               [1., 0., 2.]], dtype=float32)
        >>> import torch
        >>> bag = torch.nn.EmbeddingBag(rows.features, 4, mode="sum", include_last_offset=True)
        >>> ids, offsets, weights = map(torch.from_numpy, (rows.ids, rows.offsets, rows.weights))
        >>> bag(ids, offsets, per_sample_weights=weights).shape
        torch.Size([3, 4])
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    weights: NDArray[np.float32]
    features: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features, as an array that holds the zeros would have it."""
        return len(self), self.features

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many features each row stores, int64 of shape (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        """Return the number of rows.

        Returns:
            As many as there are examples.
        """
        return len(self.offsets) - 1

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "Sparse":
        """Return some of the rows.

        Args:
            chosen: a slice, a bool array of shape (rows,), or indices.

        Returns:
            Those rows, in the order asked for; a copy.
        """
        rows = np.arange(len(self))[chosen]
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        stored = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sparse(self.ids[stored], offsets, self.weights[stored], self.features)

    def dense(self) -> NDArray[np.float32]:
        """Return the rows as an array that holds the zeros too.

        Returns:
            float32 array of shape (rows, features).

        Raises:
            RangeError: it would take more than 4 GiB.
        """
        bytes_taken = 4 * len(self) * self.features
        if bytes_taken > LIMIT:
            raise RangeError(
                f"A dense form must take at most {LIMIT} bytes, but {len(self)} rows of {self.features} features take "
                f"{bytes_taken}; leave them sparse."
            )
        array = np.zeros(self.shape, np.float32)
        np.add.at(array, (np.repeat(np.arange(len(self)), self.lengths), self.ids), self.weights)
        return array
