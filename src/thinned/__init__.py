"""Dropout for PyTorch: as cheap as a copy, no stored mask, the same mask everywhere."""

import importlib
from typing import TYPE_CHECKING, Any

from thinned import functional as functional
from thinned import nn as nn
from thinned import numpy as numpy
from thinned.functional import dropout as dropout
from thinned.keys import checkpoint_context as checkpoint_context
from thinned.keys import keyed as keyed
from thinned.masks import Mask as Mask
from thinned.masks import Window as Window

if TYPE_CHECKING:
    from thinned import batchwise as batchwise
    from thinned import optim as optim
    from thinned import regularization as regularization
    from thinned import submatrix as submatrix
    from thinned._audit import audit as audit
    from thinned._cite import cite as cite
    from thinned._convert import convert as convert
    from thinned._convert import plan as plan
    from thinned._predict import Prediction as Prediction
    from thinned._predict import predict as predict

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

# What works on whole models is loaded when it is first asked for: it would double the time that `import thinned` takes.
_LATER = {
    "Prediction": "_predict",
    "audit": "_audit",
    "cite": "_cite",
    "convert": "_convert",
    "plan": "_convert",
    "predict": "_predict",
}
_MODULES = frozenset({"batchwise", "optim", "regularization", "submatrix"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"thinned.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'thinned' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"thinned.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
