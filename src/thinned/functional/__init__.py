"""Dropout as functions: torch's names and signatures, plus one way to pass randomness. One file for each family."""

import torch.fx

from thinned.functional._dropout import dropout as dropout
from thinned.functional._dropout import dropout1d as dropout1d
from thinned.functional._dropout import dropout2d as dropout2d
from thinned.functional._dropout import dropout3d as dropout3d
from thinned.functional._ragged import sparse_dropout_with_replacement as sparse_dropout_with_replacement
from thinned.functional._ragged import (
    sparse_itemwise_dropout_with_replacement as sparse_itemwise_dropout_with_replacement,
)
from thinned.functional._replacement import replacement_dropout as replacement_dropout
from thinned.functional._subsample import Subsample as Subsample
from thinned.functional._subsample import subsample as subsample

__all__ = [
    "Subsample",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "replacement_dropout",
    "sparse_dropout_with_replacement",
    "sparse_itemwise_dropout_with_replacement",
    "subsample",
]

for _name in set(__all__) - {"Subsample"}:
    torch.fx.wrap(_name)  # a symbolic trace of a layer stops here
