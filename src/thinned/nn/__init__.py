"""Layers: subclasses of torch's own where torch has them."""

from thinned.nn.alpha import AlphaDropout as AlphaDropout
from thinned.nn.alpha import FeatureAlphaDropout as FeatureAlphaDropout
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
from thinned.nn.replacement import ReplacementDropout as ReplacementDropout
from thinned.nn.replacement import SparseDropoutWithReplacement as SparseDropoutWithReplacement
from thinned.nn.replacement import SparseItemwiseDropoutWithReplacement as SparseItemwiseDropoutWithReplacement
from thinned.nn.sequence import EmbeddingDropout as EmbeddingDropout
from thinned.nn.sequence import LockedDropout as LockedDropout
from thinned.nn.sequence import WordDropout as WordDropout

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Cutout",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
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
    "PatchDropout",
    "ReplacementDropout",
    "SparseDropoutWithReplacement",
    "SparseItemwiseDropoutWithReplacement",
    "StochasticDepth",
    "WordDropout",
]
