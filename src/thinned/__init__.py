"""Dropout for PyTorch: as cheap as a copy, no stored mask, the same mask everywhere."""

from thinned import batchwise as batchwise
from thinned import functional as functional
from thinned import nn as nn
from thinned import numpy as numpy
from thinned import optim as optim
from thinned import regularization as regularization
from thinned import submatrix as submatrix
from thinned._audit import audit as audit
from thinned._cite import cite as cite
from thinned._convert import convert as convert
from thinned._convert import plan as plan
from thinned._predict import Prediction as Prediction
from thinned._predict import predict as predict
from thinned.functional import dropout as dropout
from thinned.keys import checkpoint_context as checkpoint_context
from thinned.keys import keyed as keyed
from thinned.masks import Mask as Mask
from thinned.masks import Window as Window

__version__ = "0.1.0"
__all__ = [
    "Mask",
    "Prediction",
    "Window",
    "audit",
    "batchwise",
    "checkpoint_context",
    "cite",
    "convert",
    "dropout",
    "functional",
    "keyed",
    "nn",
    "numpy",
    "optim",
    "plan",
    "predict",
    "regularization",
]
