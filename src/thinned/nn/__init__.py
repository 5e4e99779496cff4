"""Layers: subclasses of torch's own where torch has them."""

from thinned.nn.dropout import Dropout as Dropout
from thinned.nn.dropout import Dropout1d as Dropout1d
from thinned.nn.dropout import Dropout2d as Dropout2d
from thinned.nn.dropout import Dropout3d as Dropout3d
from thinned.nn.replacement import ReplacementDropout as ReplacementDropout
from thinned.nn.replacement import SparseDropoutWithReplacement as SparseDropoutWithReplacement
from thinned.nn.replacement import SparseItemwiseDropoutWithReplacement as SparseItemwiseDropoutWithReplacement

__all__ = [
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "ReplacementDropout",
    "SparseDropoutWithReplacement",
    "SparseItemwiseDropoutWithReplacement",
]
