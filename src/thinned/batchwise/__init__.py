"""Batchwise dropout: the units that are dropped are never computed, nor their gradients, nor their updates."""

from thinned.batchwise._chain import Chain as Chain
from thinned.batchwise._distributed import all_reduce_gradients as all_reduce_gradients
from thinned.batchwise._gradient import SubmatrixGrad as SubmatrixGrad
from thinned.batchwise._linear import Linear as Linear
from thinned.batchwise._linear import linear as linear

__all__ = ["Chain", "Linear", "SubmatrixGrad", "all_reduce_gradients", "linear"]
