"""`Dropout` and `DropoutGrad`, as Caffe2 had them: inverted dropout with the scale 1 / (1 - ratio)."""

from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thinned._errors import OperatorError
from thinned.caffe2.definitions import CPU, CUDA, OperatorDef
from thinned.caffe2.operators.cudnn import CUDNN, CUDNN_GRADIENT
from thinned.caffe2.registry import Implementation, OperatorEntry, Run, Schema, register


def scale(ratio: float) -> float:
    """Return the factor of a kept element.

    Args:
        ratio: probability of an element to be dropped.

    Returns:
        1 / (1 - ratio), rounded to float32; 0 where everything is dropped.

    Examples:
        >>> scale(0.5), scale(1.0)
        (2.0, 0.0)
    """
    return float(np.float32(1 / (1 - ratio))) if ratio < 1 else 0.0


def _check(definition: OperatorDef, _: MutableMapping[str, Any]) -> None:
    ratio = definition.arguments.floating("ratio", 0.5)
    if not ratio >= 0:  # false for nan too
        raise OperatorError(f"`ratio` must be at least 0, but got ratio={ratio}.")
    definition.arguments.integer("is_test", 0)


def mask_is_wanted(run: Run) -> float:
    """Return the ratio of a run in training, which needs an output for the mask.

    Args:
        run: of a forward operator in training.

    Returns:
        The ratio, in [0, 1].

    Raises:
        OperatorError: there is no second output, or the ratio is above 1.
    """
    ratio = run.arguments.floating("ratio", 0.5)
    if len(run.definition.output) < 2:
        raise OperatorError(
            f"Dropout in training (is_test=0) must have a second output for the mask, but got {run.definition.output}."
        )
    if ratio > 1:
        raise OperatorError(f"`ratio` must be in [0, 1] in training, but got ratio={ratio}.")
    return ratio


def _dropout(run: Run) -> Sequence[Tensor | None]:
    x = run.tensor(0, torch.float32)
    if run.arguments.integer("is_test", 0):
        return [x.clone(), None][: len(run.definition.output)]
    ratio = mask_is_wanted(run)
    mask = run.random.keep(x, ratio)
    return [x * scale(ratio) * mask, mask]  # a multiplication, not a selection: 0 * inf is nan there, and so here


def _dropout_grad(run: Run) -> Sequence[Tensor]:
    dy = run.tensor(0, torch.float32)
    if run.arguments.integer("is_test", 0):
        return [dy.clone()]
    if len(run.inputs) < 2:
        raise OperatorError("DropoutGrad in training (is_test=0) must have the mask as second input, but has 1 input.")
    mask = run.tensor(1, torch.bool)
    if dy.numel() != mask.numel():
        raise OperatorError(
            f"The mask must have as many elements as the gradient, {dy.numel()}, but got {mask.numel()}."
        )
    return [dy * mask.reshape(dy.shape) * scale(run.arguments.floating("ratio", 0.5))]


def GetDropoutGradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    """Make the gradient of `Dropout`.

    Args:
        definition: of the forward operator.
        g_output: names of the gradients of its outputs; that of the mask does not matter.

    Returns:
        `DropoutGrad` on the gradient of Y (and the mask, in training), and the name of the gradient of X.

    Raises:
        OperatorError: the gradient of Y is not given; in training, there is no mask.
    """
    if g_output[0] is None:
        raise OperatorError("Gradient of output Y is not provided!")
    inputs = [g_output[0]]
    if not definition.arguments.integer("is_test", 0):
        if len(definition.output) < 2:
            raise OperatorError("The gradient of Dropout in training needs its mask, but the operator has 1 output.")
        inputs.append(definition.output[1])
    gradient = definition.input[0] + "_grad"
    return [OperatorDef("DropoutGrad", inputs, [gradient])], [gradient]


_IN_PLACE = frozenset({(0, 0)})
_FORWARD, _BACKWARD = Implementation(_dropout, _check), Implementation(_dropout_grad, _check)
register(
    OperatorEntry(
        "Dropout",
        Schema((1, 1), (1, 2), _IN_PLACE, ("is_test",)),
        {(CPU, ""): _FORWARD, (CUDA, ""): _FORWARD, (CUDA, "CUDNN"): CUDNN},
        GetDropoutGradient,
    )
)
register(
    OperatorEntry(
        "DropoutGrad",
        Schema((1, 2), (1, 1), _IN_PLACE),
        {(CPU, ""): _BACKWARD, (CUDA, ""): _BACKWARD, (CUDA, "CUDNN"): CUDNN_GRADIENT},
    )
)
