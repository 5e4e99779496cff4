"""Layers: subclasses of torch's own where torch has them."""

from thinned.nn.attention import MultiheadAttention as MultiheadAttention
from thinned.nn.bayes import ConcreteDropout as ConcreteDropout
from thinned.nn.bayes import SparseVariationalConv2d as SparseVariationalConv2d
from thinned.nn.bayes import SparseVariationalLinear as SparseVariationalLinear
from thinned.nn.bayes import VariationalDropout as VariationalDropout
from thinned.nn.bayes import kl_divergence as kl_divergence
from thinned.nn.dropout import Dropout as Dropout
from thinned.nn.dropout import Dropout1d as Dropout1d
from thinned.nn.dropout import Dropout2d as Dropout2d
from thinned.nn.dropout import Dropout3d as Dropout3d
from thinned.nn.recurrent import GRU as GRU
from thinned.nn.recurrent import LSTM as LSTM
from thinned.nn.recurrent import Zoneout as Zoneout
from thinned.nn.weights import DropConnectConv1d as DropConnectConv1d
from thinned.nn.weights import DropConnectConv2d as DropConnectConv2d
from thinned.nn.weights import DropConnectConv3d as DropConnectConv3d
from thinned.nn.weights import DropConnectLinear as DropConnectLinear
from thinned.nn.weights import WeightDrop as WeightDrop

__all__ = [
    "GRU",
    "LSTM",
    "ConcreteDropout",
    "DropConnectConv1d",
    "DropConnectConv2d",
    "DropConnectConv3d",
    "DropConnectLinear",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "MultiheadAttention",
    "SparseVariationalConv2d",
    "SparseVariationalLinear",
    "VariationalDropout",
    "WeightDrop",
    "Zoneout",
    "kl_divergence",
]
