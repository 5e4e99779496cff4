"""Differentiable torch operations on the kernels: autograd, devices, graphs. No policy."""

from thinned.ops._dropout import DTYPES as DTYPES
from thinned.ops._dropout import PENDING as PENDING
from thinned.ops._dropout import dropout as dropout
from thinned.ops._dropout import unfit as unfit
from thinned.ops._library import TracedRate as TracedRate
from thinned.ops._library import pack as pack
from thinned.ops._library import traced_rate as traced_rate
from thinned.ops._replacement import keep as keep
from thinned.ops._replacement import replace as replace
from thinned.ops._words import HIGHEST as HIGHEST
from thinned.ops._words import as_int as as_int
from thinned.ops._words import draw as draw

__all__ = [
    "DTYPES",
    "HIGHEST",
    "PENDING",
    "TracedRate",
    "as_int",
    "draw",
    "dropout",
    "keep",
    "pack",
    "replace",
    "traced_rate",
    "unfit",
]
