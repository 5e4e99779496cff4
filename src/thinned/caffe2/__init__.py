"""Caffe2's dropout operators, with its names, arguments, outputs, gradients and errors; nothing of Caffe2 is needed."""

from thinned.caffe2 import brew as brew
from thinned.caffe2 import core as core
from thinned.caffe2 import workspace as workspace
from thinned.caffe2.operators.dropout import GetDropoutGradient as GetDropoutGradient
from thinned.caffe2.operators.sparse import (
    sparse_dropout_with_replacement_op_example as sparse_dropout_with_replacement_op_example,
)
from thinned.caffe2.registry import Run as Run
from thinned.caffe2.registry import register_cpu_operator as register_cpu_operator

__all__ = [
    "GetDropoutGradient",
    "Run",
    "brew",
    "core",
    "register_cpu_operator",
    "sparse_dropout_with_replacement_op_example",
    "workspace",
]
