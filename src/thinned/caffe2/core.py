"""Definitions of operators and nets, device scopes, and gradients. The names and promises are Caffe2's."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import thinned.caffe2.operators  # noqa: F401  # registers them
from thinned._errors import KindError, OperatorError
from thinned.caffe2.definitions import CPU, CUDA, Argument, BlobReference, DeviceOption, NetDef, OperatorDef, value_of
from thinned.caffe2.gradients import GradientRegistry
from thinned.caffe2.registry import is_operator, similar

__all__ = [
    "CPU",
    "CUDA",
    "Argument",
    "BlobReference",
    "CreateOperator",
    "DataType",
    "DeviceOption",
    "DeviceScope",
    "GradientRegistry",
    "IsOperator",
    "Net",
    "NetDef",
    "OperatorDef",
]

_local = threading.local()


class DataType:
    """Caffe2's numbers of data types, for arguments named `dtype`."""

    FLOAT, INT32, BOOL, UINT8, INT8, INT16, INT64, FLOAT16, DOUBLE = 1, 2, 5, 6, 7, 9, 10, 12, 13


@contextmanager
def DeviceScope(scope: DeviceOption) -> Iterator[None]:
    """Give a device option to the operators that are defined inside and have none of their own.

    Args:
        scope: the device option.

    Yields:
        None.

    Examples:
        >>> from thinned.caffe2 import core
        >>> with core.DeviceScope(core.DeviceOption(core.CPU, random_seed=7)):
        ...     op = core.CreateOperator("Dropout", "X", ["Y", "mask"], is_test=0)
        >>> op.device_option.random_seed
        7
    """
    outer = getattr(_local, "device", None)
    _local.device = scope
    try:
        yield
    finally:
        _local.device = outer


def _names(value: Any, what: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise KindError(f"`{what}` must be a name or a list of names, but got {value!r}.")
    return [str(name) for name in names]


def CreateOperator(
    operator_type: str,
    inputs: str | Sequence[str],
    outputs: str | Sequence[str],
    name: str = "",
    control_input: str | Sequence[str] | None = None,
    device_option: DeviceOption | None = None,
    arg: Sequence[Argument] | None = None,
    engine: str | None = None,
    debug_info: str | None = None,
    **kwargs: Any,
) -> OperatorDef:
    """Build the definition of an operator; its type, counts and arguments are checked when it is made to run.

    Args:
        operator_type: type of the operator.
        inputs: name or names of its input blobs.
        outputs: name or names of its output blobs.
        name: of the operator.
        control_input: names of blobs that must be there before; kept, but operators run in their order anyway.
        device_option: where to run; that of the scope if not given.
        arg: arguments, ready made.
        engine: which implementation to prefer.
        debug_info: kept as it is.
        **kwargs: the operator's arguments; those that are None are left out. `random_seed` goes to the device option.

    Returns:
        The definition.

    Raises:
        TypeError: names are not strings, or an argument is neither a number, a string nor a list of one of them.
        ValueError: `random_seed` does not fit in 32 bits.

    Examples:
        >>> from thinned.caffe2 import core
        >>> op = core.CreateOperator("Dropout", "X", ["Y", "mask"], ratio=0.5, is_test=False, random_seed=1)
        >>> op.input, [argument.name for argument in op.arg], op.device_option.random_seed
        (['X'], ['ratio', 'is_test'], 1)
    """
    device = device_option or getattr(_local, "device", None) or DeviceOption()
    seed = kwargs.pop("random_seed", None)
    device = DeviceOption(device.device_type, device.device_id, device.random_seed if seed is None else seed)
    made = [Argument(key, value_of(key, value)) for key, value in kwargs.items() if value is not None]
    return OperatorDef(
        operator_type,
        _names(inputs, "inputs"),
        _names(outputs, "outputs"),
        name=name,
        arg=[*(arg or ()), *made],
        device_option=device,
        engine=engine or "",
        control_input=_names(control_input or (), "control_input"),
        debug_info=debug_info or "",
    )


def IsOperator(op_type: str) -> bool:
    """Return whether there is an operator of that type.

    Args:
        op_type: the type.

    Returns:
        True or False.

    Examples:
        >>> from thinned.caffe2 import core
        >>> core.IsOperator("Dropout"), core.IsOperator("Conv")
        (True, False)
    """
    return is_operator(op_type)


class Net:
    """A net: operators in the order in which they run. An operator is added by calling the method of its name.

    Args:
        name: of the net.

    Examples:
        >>> from thinned.caffe2 import core
        >>> net = core.Net("example")
        >>> y, mask = net.Dropout("X", ["Y", "mask"], ratio=0.5, is_test=0)
        >>> net.Proto().op[0].type, y, mask
        ('Dropout', 'Y', 'mask')
    """

    def __init__(self, name: str) -> None:
        self._net = NetDef(name)
        self._unnamed = 0

    def Proto(self) -> NetDef:
        """Return the net's definition."""
        return self._net

    def Name(self) -> str:
        """Return the net's name."""
        return self._net.name

    def NextName(self, prefix: str = "blob") -> BlobReference:
        """Return a new name for a blob.

        Args:
            prefix: what it begins with, after the net's name.

        Returns:
            The name.
        """
        self._unnamed += 1
        return BlobReference(f"{self._net.name}/{prefix}_{self._unnamed}")

    def AddExternalInput(self, *names: str) -> None:
        """Say that blobs come from outside.

        Args:
            *names: of the blobs.
        """
        self._net.external_input += [name for name in dict.fromkeys(names) if name not in self._net.external_input]

    def AddExternalOutput(self, *names: str) -> None:
        """Say that blobs are wanted outside.

        Args:
            *names: of the blobs.
        """
        self._net.external_output += [name for name in dict.fromkeys(names) if name not in self._net.external_output]

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_") or not is_operator(op_type):
            raise AttributeError(f"Method {op_type} is not a registered operator. Did you mean: {similar(op_type)}")
        return lambda inputs, outputs=None, **kwargs: self._add(op_type, inputs, outputs, **kwargs)

    def _add(self, op_type: str, inputs: Any, outputs: Any, **kwargs: Any) -> Any:
        if outputs is None or isinstance(outputs, int):
            outputs = [self.NextName(op_type) for _ in range(1 if outputs is None else outputs)]
        op = CreateOperator(op_type, inputs, outputs, **kwargs)
        written = {name for former in self._net.op for name in former.output}
        self.AddExternalInput(*(name for name in op.input if name not in written))
        self._net.op.append(op)
        made = tuple(BlobReference(name) for name in op.output)
        return made[0] if len(made) == 1 else made

    def AddGradientOperators(self, ys: Sequence[str] | Mapping[str, str | None]) -> dict[BlobReference, BlobReference]:
        """Add the operators of the backward pass.

        Args:
            ys: blobs to start from: with the names of their gradients, or a list, and then ones are made for them.

        Returns:
            The name of the gradient of each blob that has one.

        Raises:
            RuntimeError: there is no gradient for an operator, or it needs a blob that was overwritten.
        """
        if isinstance(ys, str):
            raise OperatorError(f"`ys` must be a list or a dictionary of blobs, but got the string {ys!r}.")
        made, gradients = GradientRegistry.GetBackwardPass(self._net.op, ys)
        self._net.op += made
        return gradients
