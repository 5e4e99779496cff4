"""The operators there are: an operator is one entry with a schema, functions for devices, and a gradient."""

import difflib
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thinned._errors import KindError, OperatorError, RangeError
from thinned.caffe2.definitions import CUDA, DEVICES, Arguments, OperatorDef
from thinned.caffe2.random import Random

Gradient = Callable[[OperatorDef, Sequence[Any]], tuple[list[OperatorDef], list[Any]]]


@dataclass
class Run:
    """What an operator's function is given.

    Attributes:
        definition: of the operator.
        inputs: its tensors; a blob that holds no tensor is in here as it is.
        random: the random numbers of the operator object, which go on from run to run.
        blobs: all blobs of the workspace, for operators that keep a state in one.
    """

    definition: OperatorDef
    inputs: list[Any]
    random: Random
    blobs: MutableMapping[str, Any]

    @property
    def arguments(self) -> Arguments:
        """The operator's arguments."""
        return self.definition.arguments

    def tensor(self, index: int, *dtypes: torch.dtype) -> Tensor:
        """Return an input that must be a tensor of one of some dtypes (of any, if none is named).

        Args:
            index: number of the input.
            dtypes: which dtypes will do.

        Returns:
            The tensor, on the operator's device.

        Raises:
            OperatorError: it is something else.
        """
        value = self.inputs[index]
        name = self.definition.input[index]
        wanted = " or ".join(_name(dtype) for dtype in dtypes)
        if not isinstance(value, Tensor):
            raise OperatorError(f"Tensor type mismatch, caller expects a tensor, while {name} contains {value!r}.")
        if dtypes and value.dtype not in dtypes:
            raise OperatorError(
                f"Tensor type mismatch, caller expects elements of {name} to be {wanted}, while tensor contains "
                f"{_name(value.dtype)}."
            )
        if self.definition.device_option.device_type == CUDA:
            return value.to(torch.device("cuda", self.definition.device_option.device_id))
        return value.cpu()


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "float", torch.float64: "double"}.get(dtype, str(dtype).removeprefix("torch."))


Function = Callable[[Run], Sequence["Tensor | None"]]
Check = Callable[[OperatorDef, MutableMapping[str, Any]], None]


@dataclass(frozen=True)
class Schema:
    """How many inputs and outputs an operator takes, and what else its definition must have.

    Attributes:
        inputs: fewest and most.
        outputs: fewest and most.
        inplace: pairs (input, output) that may be one blob.
        required: names of arguments that must be there.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    inplace: frozenset[tuple[int, int]] = frozenset()
    required: tuple[str, ...] = ()

    def verify(self, definition: OperatorDef) -> None:
        """Check a definition.

        Args:
            definition: of an operator.

        Raises:
            OperatorError: it breaks the schema.
        """
        for fault in self._faults(definition):
            raise OperatorError(f"Operator def did not pass schema checking: {definition.type}: {fault}")

    def _faults(self, definition: OperatorDef) -> Iterable[str]:
        for what, names, (least, most) in (
            ("input", definition.input, self.inputs),
            ("output", definition.output, self.outputs),
        ):
            if not least <= len(names) <= most:
                yield f"the number of {what}s must be in [{least}, {most}], but got {len(names)}: {list(names)}."
        if len({*definition.output}) < len(definition.output):
            yield f"outputs must be different blobs, but got {list(definition.output)}."
        for i, source in enumerate(definition.input):
            for j, target in enumerate(definition.output):
                if source == target and (i, j) not in self.inplace:
                    yield f"output {j} must not be in place over input {i}, but both are {target!r}."
        for name in self.required:
            if name not in definition.arguments:
                yield f"argument {name!r} is required, but got none of that name."


@dataclass(frozen=True)
class Implementation:
    """How an operator is computed.

    Attributes:
        function: computes the outputs.
        check: checks the definition, once for each operator object; may create blobs.
        seed: what to use where the device option has no seed; None for a new one each time.
    """

    function: Function
    check: Check | None = None
    seed: int | None = None


@dataclass(frozen=True)
class OperatorEntry:
    """One operator.

    Attributes:
        type: its name.
        schema: what its definition must have.
        implementations: by device and engine; engine "" is the default one.
        gradient: makes the operators of its gradient; None if there is none to be had.
    """

    type: str
    schema: Schema
    implementations: dict[tuple[int, str], Implementation] = field(default_factory=dict)
    gradient: Gradient | None = None

    def implementation(self, definition: OperatorDef) -> Implementation:
        """Return what runs a definition: the first of its engines that there is, else the default one.

        Args:
            definition: names a device, and perhaps engines, separated by commas.

        Returns:
            The implementation.

        Raises:
            OperatorError: there is none for the device, or the device is not there.
        """
        device = definition.device_option.device_type
        failed = f"Cannot create operator of type '{self.type}' on the device '{DEVICES[device]}'"
        if (device, "") not in self.implementations:
            raise OperatorError(f"{failed}: there is no implementation for it.")
        if device == CUDA and not torch.cuda.is_available():
            raise OperatorError(f"{failed}: torch finds no such device.")
        wanted = definition.engine or ("CUDNN" if device == CUDA else "DEFAULT")
        for engine in wanted.split(","):
            key = device, "" if engine == "DEFAULT" else engine
            if key in self.implementations:
                return self.implementations[key]
        return self.implementations[device, ""]

    def run_on_device(self, run: Run) -> Sequence[Tensor | None]:
        """Compute the outputs on the device and with the engine of the definition; writes no output.

        Args:
            run: definition, inputs and random numbers.

        Returns:
            One tensor for each output; None where the blob is to stay as it is.

        Raises:
            OperatorError: the inputs do not suit, or the function returned another number of outputs.
        """
        with torch.no_grad():
            outputs = self.implementation(run.definition).function(run)
        if len(outputs) != len(run.definition.output):
            raise OperatorError(
                f"The function of operator {self.type!r} must return {len(run.definition.output)} outputs, but "
                f"returned {len(outputs)}."
            )
        return outputs


_entries: dict[str, OperatorEntry] = {}


def register(entry: OperatorEntry) -> None:
    """Make an operator known.

    Args:
        entry: the operator.

    Raises:
        RangeError: there is one of that name already.
    """
    if entry.type in _entries:
        raise RangeError(f"`type` must be new, but there is an operator {entry.type!r} already.")
    _entries[entry.type] = entry


def register_cpu_operator(
    type: str,
    function: Function,
    *,
    inputs: int | tuple[int, int] = 1,
    outputs: int | tuple[int, int] = 1,
    inplace: Iterable[tuple[int, int]] = (),
    required: Sequence[str] = (),
    gradient: Gradient | None = None,
    check: Check | None = None,
) -> OperatorEntry:
    """Add an operator that runs on CPUs.

    Args:
        type: its name, as in `core.CreateOperator`.
        function: takes a `Run` (`run.tensor(0, torch.float32)`, `run.arguments`, `run.random`) and returns a list with
            a new tensor for each output.
        inputs: how many it takes, or (fewest, most).
        outputs: how many it makes, or (fewest, most).
        inplace: pairs (input, output) that may be one blob.
        required: names of arguments that must be given.
        gradient: takes the definition and the names of the outputs' gradients; returns the operators of the gradient
            and the names of the inputs' gradients (None: has none). Device, engine and arguments are copied to them.
        check: called once for each operator object, before its first run; raises where an argument is wrong.

    Returns:
        The entry.

    Raises:
        ValueError, TypeError: there is an operator of that name already; `function` cannot be called.

    Examples:
        >>> import numpy as np
        >>> from thinned.caffe2 import core, register_cpu_operator, workspace
        >>> def square(run):
        ...     return [run.tensor(0, torch.float32) ** 2]
        >>> def square_gradient(run):
        ...     return [2 * run.tensor(0, torch.float32) * run.tensor(1, torch.float32)]
        >>> def make_gradient(op, g_output):
        ...     name = op.input[0] + "_grad"
        ...     return [core.CreateOperator("SquareGrad", [op.input[0], g_output[0]], [name])], [name]
        >>> _ = register_cpu_operator("Square", square, gradient=make_gradient)
        >>> _ = register_cpu_operator("SquareGrad", square_gradient, inputs=2)
        >>> _ = workspace.FeedBlob("X", np.array([1, 2, 3], np.float32))
        >>> net = core.Net("example")
        >>> y = net.Square("X", "Y")
        >>> gradients = net.AddGradientOperators([y])
        >>> _ = workspace.RunNetOnce(net)
        >>> workspace.FetchBlob("Y"), workspace.FetchBlob(gradients["X"])
        (array([1., 4., 9.], dtype=float32), array([2., 4., 6.], dtype=float32))
        >>> _ = workspace.ResetWorkspace()
    """
    if not callable(function):
        raise KindError(f"`function` must be callable, but got {function!r}.")
    pair = [(number, number) if isinstance(number, int) else number for number in (inputs, outputs)]
    schema = Schema(pair[0], pair[1], frozenset(inplace), tuple(required))
    entry = OperatorEntry(type, schema, {(0, ""): Implementation(function, check)}, gradient)
    register(entry)
    return entry


def is_operator(type: str) -> bool:
    """Return whether there is an operator of that name.

    Args:
        type: the name.

    Returns:
        True or False.
    """
    return type in _entries


def similar(type: str) -> list[str]:
    """Return the names of operators that resemble a name.

    Args:
        type: the name.

    Returns:
        The likeliest first; at most three.
    """
    return difflib.get_close_matches(type, _entries)


def find(definition: OperatorDef) -> OperatorEntry:
    """Return the operator of a definition.

    Args:
        definition: of an operator.

    Returns:
        Its entry.

    Raises:
        OperatorError: there is none of that type.
    """
    try:
        return _entries[definition.type]
    except KeyError:
        device = DEVICES[definition.device_option.device_type]
        raise OperatorError(
            f"Cannot create operator of type '{definition.type}' on the device '{device}': there is none of that type. "
            f"Did you mean: {similar(definition.type)}"
        ) from None


def no_gradient(definition: OperatorDef, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
    """Be the gradient of an operator that passes none on: asking is no error, but the answer is empty.

    Args:
        definition: of the operator.
        g_output: ignored.

    Returns:
        No operators, and None for each input.
    """
    del g_output
    return [], [None] * len(definition.input)
