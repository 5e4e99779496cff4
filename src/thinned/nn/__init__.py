"""Layers: subclasses of torch's own where torch has them."""

from thinned.nn.attention import MultiheadAttention as MultiheadAttention
from thinned.nn.dropout import Dropout as Dropout
from thinned.nn.dropout import Dropout1d as Dropout1d
from thinned.nn.dropout import Dropout2d as Dropout2d
from thinned.nn.dropout import Dropout3d as Dropout3d

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "MultiheadAttention"]
