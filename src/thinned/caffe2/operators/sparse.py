"""Sparse dropout with replacement: whole examples, or single values, of int64 ids give way to one value."""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thinned import functional
from thinned._errors import OperatorError
from thinned.caffe2.definitions import Argument, DeviceOption, OperatorDef
from thinned.caffe2.random import Random
from thinned.caffe2.registry import Run, find, no_gradient, register_cpu_operator


def _check(definition: OperatorDef, _: MutableMapping[str, Any]) -> None:
    ratio = definition.arguments.floating("ratio", 0.0)
    if not 0 <= ratio <= 1:
        raise OperatorError(f"Ratio should be a valid probability, but got ratio={ratio}.")
    definition.arguments.integer("replacement_value", 0)


def _inputs(run: Run) -> tuple[Tensor, Tensor]:
    found = []
    for index, (name, dtype) in enumerate((("Input", torch.int64), ("Lengths", torch.int32))):
        value = run.tensor(index)
        if value.dim() != 1:
            raise OperatorError(f"{name} tensor should be 1-D, but got shape {tuple(value.shape)}.")
        found.append(run.tensor(index, dtype))
    values, lengths = found
    if bool((lengths < 0).any()):
        raise OperatorError("Lengths must not be negative, but some are.")
    total = int(lengths.sum(dtype=torch.int64))  # cannot overflow: each is below 2**31
    if total != values.numel():
        raise OperatorError(
            f"Inconsistent input data. Number of elements should match total length, but got {values.numel()} elements "
            f"and lengths that add up to {total}."
        )
    return values, lengths


def _replace(function: Callable[..., tuple[Tensor, Tensor]], by_example: bool) -> Callable[[Run], Sequence[Tensor]]:
    def run_it(run: Run) -> Sequence[Tensor]:
        values, lengths = _inputs(run)
        ratio = run.arguments.floating("ratio", 0.0)
        id = run.arguments.integer("replacement_value", 0)
        choice = run.random.choice((lengths if by_example else values).numel(), ratio)
        new = function(values, lengths, ratio, replacement_value=id, **choice)
        return [new[0].clone() if new[0] is values else new[0], new[1].clone() if new[1] is lengths else new[1]]

    return run_it


for _type, _function in (
    ("SparseDropoutWithReplacement", _replace(functional.sparse_dropout_with_replacement, True)),
    ("SparseItemwiseDropoutWithReplacement", _replace(functional.sparse_itemwise_dropout_with_replacement, False)),
):
    register_cpu_operator(_type, _function, inputs=2, outputs=2, gradient=no_gradient, check=_check)


def sparse_dropout_with_replacement_op_example() -> tuple[Tensor, Tensor]:
    """Run the operator on its own, without a workspace: two examples, of which the second is dropped.

    Returns:
        The values and the lengths of the result.

    Examples:
        >>> thinned.caffe2.sparse_dropout_with_replacement_op_example()
        (tensor([ 1,  2, -1]), tensor([2, 1], dtype=torch.int32))
    """
    definition = OperatorDef(
        "SparseDropoutWithReplacement",
        ["X", "Lengths"],
        ["Y", "OutputLengths"],
        arg=[Argument("ratio", 0.5), Argument("replacement_value", -1)],
        device_option=DeviceOption(random_seed=0),
    )
    inputs = [torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 3], dtype=torch.int32)]
    values, lengths = find(definition).run_on_device(Run(definition, inputs, Random(definition), {}))
    assert values is not None
    assert lengths is not None
    return values, lengths
