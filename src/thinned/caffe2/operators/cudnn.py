"""Dropout with engine "CUDNN": float32 or float16, a mask of packed bits, and the generator's state in a blob.

What the mask and the state hold is our own affair, as it was cuDNN's: nothing but `DropoutGrad` may look inside. No
code of cuDNN is called.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thinned._errors import OperatorError
from thinned.caffe2.definitions import OperatorDef
from thinned.caffe2.registry import Implementation, Run

DTYPES = (torch.float32, torch.float16)
_WEIGHTS = tuple(1 << bit for bit in range(8))


def states_name(mask: str) -> str:
    """Return the name of the blob that holds the generator's state.

    Args:
        mask: name of the mask's blob.

    Returns:
        The name.

    Examples:
        >>> states_name("mask")
        'cudnn_dropout_scratch_mask'
    """
    return "cudnn_dropout_scratch_" + mask


def pack(keep: Tensor) -> Tensor:
    """Return bools as the bits of bytes, the first one in the lowest bit.

    Args:
        keep: bool tensor of any shape.

    Returns:
        uint8 tensor with 1 axis; its last bits are 0 where the number of bools is no multiple of 8.

    Examples:
        >>> pack(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)
    """
    bits = torch.nn.functional.pad(keep.flatten(), (0, -keep.numel() % 8)).view(-1, 8)
    return (bits * torch.tensor(_WEIGHTS, device=keep.device)).sum(1).to(torch.uint8)


def unpack(mask: Tensor, shape: torch.Size) -> Tensor:
    """Return the bools that `pack` made bytes of.

    Args:
        mask: uint8 tensor with 1 axis.
        shape: of the bools.

    Returns:
        bool tensor.

    Raises:
        OperatorError: the mask has another number of bytes than such bools have.

    Examples:
        >>> unpack(torch.tensor([5], dtype=torch.uint8), torch.Size((3,)))
        tensor([ True, False,  True])
    """
    count = shape.numel()
    if mask.shape != (-(-count // 8),):
        raise OperatorError(
            f"The mask must have {-(-count // 8)} bytes for {count} elements, but got shape {tuple(mask.shape)}."
        )
    bits = mask.unsqueeze(1) & torch.tensor(_WEIGHTS, device=mask.device, dtype=torch.uint8)
    return (bits != 0).flatten()[:count].view(shape)


def _ratio(definition: OperatorDef) -> float:
    ratio = definition.arguments.floating("ratio", 0.5)
    if not 0 <= ratio < 1:
        raise OperatorError(f"`ratio` must be in [0, 1) with engine CUDNN, but got ratio={ratio}.")
    return ratio


def _check(definition: OperatorDef, blobs: MutableMapping[str, Any]) -> None:
    _ratio(definition)
    if definition.arguments.integer("is_test", 0):
        return
    if len(definition.output) < 2:
        raise OperatorError(
            f"Dropout in training (is_test=0) must have a second output for the mask, but got {definition.output}."
        )
    blobs.setdefault(states_name(definition.output[1]), None)


def _check_gradient(definition: OperatorDef, blobs: MutableMapping[str, Any]) -> None:
    _ratio(definition)
    if definition.arguments.integer("is_test", 0):
        return
    if len(definition.input) < 2:
        raise OperatorError("DropoutGrad in training (is_test=0) must have the mask as second input, but has 1 input.")
    name = states_name(definition.input[1])
    if name not in blobs:
        raise OperatorError(f"The states of the forward operator must be in blob {name!r}, but there is no such blob.")


def _scaled(x: Tensor, keep: Tensor, ratio: float) -> Tensor:
    return (x.float() * (1 / (1 - ratio)) * keep).to(x.dtype)


def _dropout(run: Run) -> Sequence[Tensor | None]:
    x = run.tensor(0, *DTYPES)
    if run.arguments.integer("is_test", 0):
        return [x.clone(), None][: len(run.definition.output)]
    ratio = _ratio(run.definition)
    keep = run.random.keep(x, ratio)
    state = torch.tensor([run.random.seed, run.random.runs], dtype=torch.int64).view(torch.uint8)
    run.blobs[states_name(run.definition.output[1])] = state.to(x.device)
    return [_scaled(x, keep, ratio), pack(keep)]


def _dropout_grad(run: Run) -> Sequence[Tensor]:
    dy = run.tensor(0, *DTYPES)
    if run.arguments.integer("is_test", 0):
        return [dy.clone()]
    return [_scaled(dy, unpack(run.tensor(1, torch.uint8), dy.shape), _ratio(run.definition))]


CUDNN = Implementation(_dropout, _check, seed=0)
CUDNN_GRADIENT = Implementation(_dropout_grad, _check_gradient)
