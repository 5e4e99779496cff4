"""Dropout as functions: torch's names and signatures, plus one way to pass randomness. One file for each family."""

import torch.fx

from thinned.functional._attention import scaled_dot_product_attention as scaled_dot_product_attention
from thinned.functional._bayes import concrete_dropout as concrete_dropout
from thinned.functional._bayes import gaussian_sample as gaussian_sample
from thinned.functional._bayes import variational_dropout as variational_dropout
from thinned.functional._dropout import dropout as dropout
from thinned.functional._dropout import dropout1d as dropout1d
from thinned.functional._dropout import dropout2d as dropout2d
from thinned.functional._dropout import dropout3d as dropout3d
from thinned.functional._recurrent import zoneout as zoneout

__all__ = [
    "concrete_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "gaussian_sample",
    "scaled_dot_product_attention",
    "variational_dropout",
    "zoneout",
]

for _name in __all__:
    torch.fx.wrap(_name)  # a symbolic trace of a layer stops here
