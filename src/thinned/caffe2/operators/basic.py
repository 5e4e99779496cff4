"""The few operators that one needs to write a net around a dropout."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thinned._errors import OperatorError
from thinned.caffe2.definitions import CPU, CUDA, OperatorDef
from thinned.caffe2.registry import (
    Function,
    Gradient,
    Implementation,
    OperatorEntry,
    Run,
    Schema,
    no_gradient,
    register,
)

DTYPES = {  # Caffe2's numbers of data types
    1: torch.float32,
    2: torch.int32,
    5: torch.bool,
    6: torch.uint8,
    7: torch.int8,
    9: torch.int16,
    10: torch.int64,
    12: torch.float16,
    13: torch.float64,
}
IN_PLACE = frozenset({(0, 0)})


def _needed(definition: OperatorDef, g_output: Sequence[Any]) -> str:
    if g_output[0] is None:
        raise OperatorError(f"Gradient of output {definition.output[0]} is not provided!")
    return str(g_output[0])


def _grad(name: str) -> str:
    return name + "_grad"


# --- Relu -------------------------------------------------------------------------------------------------------------


def _relu(run: Run) -> Sequence[Tensor]:
    return [run.tensor(0, torch.float32).relu()]


def _relu_grad(run: Run) -> Sequence[Tensor]:
    y, dy = run.tensor(0, torch.float32), run.tensor(1, torch.float32)
    _same_shape(run, y, dy)
    return [torch.where(y > 0, dy, 0.0)]


def _same_shape(run: Run, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise OperatorError(
            f"The inputs of {run.definition.type} must have one shape, but got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def _relu_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    gradient = _grad(definition.input[0])
    inputs = [definition.output[0], _needed(definition, g_output)]  # Y will do for X, which may be overwritten
    return [OperatorDef("ReluGradient", inputs, [gradient])], [gradient]


# --- FC ---------------------------------------------------------------------------------------------------------------


def _matrices(run: Run) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    x, w = run.tensor(0, torch.float32), run.tensor(1, torch.float32)
    axis = run.arguments.integer("axis", 1)
    if not 0 <= axis <= x.dim():
        raise OperatorError(f"`axis` must be in [0, {x.dim()}] for {x.dim()} axes, but got axis={axis}.")
    outer = tuple(x.shape[:axis])
    width = math.prod(x.shape[axis:])
    if w.dim() != 2 or w.shape[1] != width:
        raise OperatorError(f"W of FC must have shape (outputs, {width}) for this X, but got {tuple(w.shape)}.")
    return x.reshape(math.prod(outer), width), w, outer


def _fc(run: Run) -> Sequence[Tensor]:
    x, w, outer = _matrices(run)
    b = run.tensor(2, torch.float32)
    if b.shape != (w.shape[0],):
        raise OperatorError(f"b of FC must have shape ({w.shape[0]},), but got {tuple(b.shape)}.")
    return [torch.addmm(b, x, w.T).reshape(*outer, w.shape[0])]


def _fc_grad(run: Run) -> Sequence[Tensor]:
    x, w, outer = _matrices(run)
    dy = run.tensor(2, torch.float32)
    if dy.shape != (*outer, w.shape[0]):
        raise OperatorError(f"dY of FC must have shape {(*outer, w.shape[0])}, but got {tuple(dy.shape)}.")
    rows = dy.reshape(-1, w.shape[0]) if dy.numel() else dy.reshape(x.shape[0], w.shape[0])
    return [rows.T @ x, rows.sum(0), (rows @ w).reshape(run.inputs[0].shape)]


def _fc_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    x, w, b = definition.input
    inputs, outputs = [x, w, _needed(definition, g_output)], [_grad(w), _grad(b), _grad(x)]
    return [OperatorDef("FCGradient", inputs, outputs)], [_grad(x), _grad(w), _grad(b)]


# --- ConstantFill, Copy, Sum, Scale -----------------------------------------------------------------------------------


def _constant_fill(run: Run) -> Sequence[Tensor]:
    number = run.arguments.integer("dtype", 1)
    if number not in DTYPES:
        raise OperatorError(f"`dtype` must be one of {sorted(DTYPES)}, but got dtype={number}.")
    if run.inputs:
        shape: Sequence[int] = run.tensor(0).shape
        if run.arguments.integer("input_as_shape", 0):
            shape = [int(size) for size in run.tensor(0, torch.int32, torch.int64).tolist()]
    else:
        shape = run.arguments.integers("shape")
    if any(size < 0 for size in shape):
        raise OperatorError(f"`shape` must not be negative anywhere, but got {list(shape)}.")
    dtype = DTYPES[number]
    exact = not (dtype.is_floating_point or dtype is torch.bool)
    value = run.arguments.integer("value", 0) if exact else run.arguments.floating("value", 0.0)
    device = run.tensor(0).device if run.inputs else None
    if device is None and run.definition.device_option.device_type == CUDA:
        device = torch.device("cuda", run.definition.device_option.device_id)
    return [torch.full(tuple(shape), value, dtype=dtype, device=device)]


def _copy(run: Run) -> Sequence[Tensor]:
    return [run.tensor(0).clone()]


def _copy_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    gradient = _grad(definition.input[0])
    return [OperatorDef("Copy", [_needed(definition, g_output)], [gradient])], [gradient]


def _sum(run: Run) -> Sequence[Tensor]:
    total = run.tensor(0, torch.float32).clone()
    for index in range(1, len(run.inputs)):
        term = run.tensor(index, torch.float32)
        _same_shape(run, total, term)
        total += term
    return [total]


def _sum_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    return [], [_needed(definition, g_output)] * len(definition.input)  # each term's gradient is that of the sum


def _scale(run: Run) -> Sequence[Tensor]:
    return [run.tensor(0, torch.float32) * run.arguments.floating("scale", 1.0)]


def _scale_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    gradient = _grad(definition.input[0])
    return [OperatorDef("Scale", [_needed(definition, g_output)], [gradient])], [gradient]


def _everywhere(type: str, function: Function, schema: Schema, gradient: Gradient | None) -> None:
    both = Implementation(function)
    register(OperatorEntry(type, schema, {(CPU, ""): both, (CUDA, ""): both}, gradient))


_everywhere("Relu", _relu, Schema((1, 1), (1, 1), IN_PLACE), _relu_gradient)
_everywhere("ReluGradient", _relu_grad, Schema((2, 2), (1, 1), frozenset({(1, 0)})), None)
_everywhere("FC", _fc, Schema((3, 3), (1, 1)), _fc_gradient)
_everywhere("FCGradient", _fc_grad, Schema((3, 3), (3, 3)), None)
_everywhere("ConstantFill", _constant_fill, Schema((0, 1), (1, 1), IN_PLACE), no_gradient)
_everywhere("Copy", _copy, Schema((1, 1), (1, 1)), _copy_gradient)
_everywhere("Sum", _sum, Schema((1, 2**31), (1, 1), IN_PLACE), _sum_gradient)
_everywhere("Scale", _scale, Schema((1, 1), (1, 1), IN_PLACE), _scale_gradient)
