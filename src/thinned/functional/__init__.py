"""Dropout as functions: torch's names and signatures, plus one way to pass randomness. One file for each family."""

import torch.fx

from thinned.functional._alpha import alpha_dropout as alpha_dropout
from thinned.functional._alpha import feature_alpha_dropout as feature_alpha_dropout
from thinned.functional._attention import scaled_dot_product_attention as scaled_dot_product_attention
from thinned.functional._bayes import concrete_dropout as concrete_dropout
from thinned.functional._bayes import gaussian_sample as gaussian_sample
from thinned.functional._bayes import variational_dropout as variational_dropout
from thinned.functional._block import cutout as cutout
from thinned.functional._block import drop_block1d as drop_block1d
from thinned.functional._block import drop_block2d as drop_block2d
from thinned.functional._block import drop_block3d as drop_block3d
from thinned.functional._dropout import dropout as dropout
from thinned.functional._dropout import dropout1d as dropout1d
from thinned.functional._dropout import dropout2d as dropout2d
from thinned.functional._dropout import dropout3d as dropout3d
from thinned.functional._gaussian import activity_penalty as activity_penalty
from thinned.functional._gaussian import gaussian_dropout as gaussian_dropout
from thinned.functional._gaussian import gaussian_noise as gaussian_noise
from thinned.functional._patches import patch_dropout as patch_dropout
from thinned.functional._path import drop_path as drop_path
from thinned.functional._ragged import sparse_dropout_with_replacement as sparse_dropout_with_replacement
from thinned.functional._ragged import (
    sparse_itemwise_dropout_with_replacement as sparse_itemwise_dropout_with_replacement,
)
from thinned.functional._recurrent import zoneout as zoneout
from thinned.functional._replacement import replacement_dropout as replacement_dropout
from thinned.functional._sequence import embedding_dropout as embedding_dropout
from thinned.functional._sequence import locked_dropout as locked_dropout
from thinned.functional._sequence import word_dropout as word_dropout
from thinned.functional._subsample import Subsample as Subsample
from thinned.functional._subsample import subsample as subsample

__all__ = [
    "Subsample",
    "activity_penalty",
    "alpha_dropout",
    "concrete_dropout",
    "cutout",
    "drop_block1d",
    "drop_block2d",
    "drop_block3d",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding_dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "gaussian_sample",
    "locked_dropout",
    "patch_dropout",
    "replacement_dropout",
    "scaled_dot_product_attention",
    "sparse_dropout_with_replacement",
    "sparse_itemwise_dropout_with_replacement",
    "subsample",
    "variational_dropout",
    "word_dropout",
    "zoneout",
]

for _name in set(__all__) - {"Subsample"}:
    torch.fx.wrap(_name)  # a symbolic trace of a layer stops here
