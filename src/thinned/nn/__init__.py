"""Layers: subclasses of torch's own where torch has them."""

from thinned.nn.alpha import AlphaDropout as AlphaDropout
from thinned.nn.alpha import FeatureAlphaDropout as FeatureAlphaDropout
from thinned.nn.attention import MultiheadAttention as MultiheadAttention
from thinned.nn.bayes import ConcreteDropout as ConcreteDropout
from thinned.nn.bayes import SparseVariationalConv1d as SparseVariationalConv1d
from thinned.nn.bayes import SparseVariationalConv2d as SparseVariationalConv2d
from thinned.nn.bayes import SparseVariationalConv3d as SparseVariationalConv3d
from thinned.nn.bayes import SparseVariationalLinear as SparseVariationalLinear
from thinned.nn.bayes import VariationalDropout as VariationalDropout
from thinned.nn.bayes import kl_divergence as kl_divergence
from thinned.nn.block import Cutout as Cutout
from thinned.nn.block import DropBlock1d as DropBlock1d
from thinned.nn.block import DropBlock2d as DropBlock2d
from thinned.nn.block import DropBlock3d as DropBlock3d
from thinned.nn.dropout import Dropout as Dropout
from thinned.nn.dropout import Dropout1d as Dropout1d
from thinned.nn.dropout import Dropout2d as Dropout2d
from thinned.nn.dropout import Dropout3d as Dropout3d
from thinned.nn.gaussian import ActivityRegularization as ActivityRegularization
from thinned.nn.gaussian import GaussianDropout as GaussianDropout
from thinned.nn.gaussian import GaussianNoise as GaussianNoise
from thinned.nn.patches import PatchDropout as PatchDropout
from thinned.nn.path import DropPath as DropPath
from thinned.nn.path import StochasticDepth as StochasticDepth
from thinned.nn.recurrent import GRU as GRU
from thinned.nn.recurrent import LSTM as LSTM
from thinned.nn.recurrent import Zoneout as Zoneout
from thinned.nn.replacement import ReplacementDropout as ReplacementDropout
from thinned.nn.replacement import SparseDropoutWithReplacement as SparseDropoutWithReplacement
from thinned.nn.replacement import SparseItemwiseDropoutWithReplacement as SparseItemwiseDropoutWithReplacement
from thinned.nn.sequence import EmbeddingDropout as EmbeddingDropout
from thinned.nn.sequence import LockedDropout as LockedDropout
from thinned.nn.sequence import WordDropout as WordDropout
from thinned.nn.weights import DropConnectConv1d as DropConnectConv1d
from thinned.nn.weights import DropConnectConv2d as DropConnectConv2d
from thinned.nn.weights import DropConnectConv3d as DropConnectConv3d
from thinned.nn.weights import DropConnectLinear as DropConnectLinear
from thinned.nn.weights import WeightDrop as WeightDrop

__all__ = [
    "GRU",
    "LSTM",
    "ActivityRegularization",
    "AlphaDropout",
    "ConcreteDropout",
    "Cutout",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
    "DropConnectConv1d",
    "DropConnectConv2d",
    "DropConnectConv3d",
    "DropConnectLinear",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "LockedDropout",
    "MultiheadAttention",
    "PatchDropout",
    "ReplacementDropout",
    "SparseDropoutWithReplacement",
    "SparseItemwiseDropoutWithReplacement",
    "SparseVariationalConv1d",
    "SparseVariationalConv2d",
    "SparseVariationalConv3d",
    "SparseVariationalLinear",
    "StochasticDepth",
    "VariationalDropout",
    "WeightDrop",
    "WordDropout",
    "Zoneout",
    "kl_divergence",
]
