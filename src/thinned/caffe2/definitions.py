"""What an operator is told: its definition, its arguments, and where it runs. Building one checks nothing but types."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thinned._errors import KindError, OperatorError, RangeError

CPU, CUDA = 0, 1  # Caffe2's numbers of devices
DEVICES = {CPU: "CPU", CUDA: "CUDA"}


class BlobReference(str):
    """The name of a blob; a str in every respect."""


@dataclass
class DeviceOption:
    """Where an operator runs, and the seed of its random numbers.

    Args:
        device_type: `CPU` or `CUDA`.
        device_id: number of the device.
        random_seed: unsigned 32-bit seed; None for a new one each time.

    Raises:
        RangeError, KindError: a number is out of range.
    """

    device_type: int = CPU
    device_id: int = 0
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if self.device_type not in DEVICES:
            raise RangeError(f"`device_type` must be 0 (CPU) or 1 (CUDA), but got device_type={self.device_type!r}.")
        if self.random_seed is None:
            return
        if isinstance(self.random_seed, bool) or not isinstance(self.random_seed, int | np.integer):
            raise KindError(f"`random_seed` must be an integer, but got random_seed={self.random_seed!r}.")
        if not 0 <= self.random_seed < 2**32:
            raise RangeError(f"`random_seed` must be in [0, 2**32 - 1], but got random_seed={self.random_seed}.")
        self.random_seed = int(self.random_seed)


Value = int | float | str | bytes | list[int] | list[float] | list[str] | list[bytes]


@dataclass
class Argument:
    """A named argument of an operator."""

    name: str
    value: Value


def value_of(name: str, value: Any) -> Value:
    """Return an argument's value as a definition stores it: bool as int, NumPy's numbers and arrays as Python's.

    Args:
        name: of the argument, for messages.
        value: a number, a string, or a list or array of such.

    Returns:
        int, float, str, bytes, or a list of one of them.

    Raises:
        KindError: any other kind.

    Examples:
        >>> value_of("is_test", True)
        1
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, list | tuple):
        items: list[Any] = [value_of(name, item) for item in value]
        kinds = {type(item) for item in items}
        if kinds == {int, float}:
            return [float(item) for item in items]
        if len(kinds) <= 1 and list not in kinds:
            return items
    raise KindError(f"`{name}` must be a number, a string or a list of one of them, but got {value!r}.")


class Arguments:
    """The arguments of one operator, read with their types."""

    def __init__(self, arguments: Sequence[Argument]) -> None:
        self._values = {argument.name: argument.value for argument in arguments}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def _read(self, name: str, default: Any, kinds: tuple[type, ...], field: str) -> Any:
        value = self._values.get(name, default)
        if not isinstance(value, kinds):
            raise OperatorError(
                f"Argument {name} does not have the right field: expected field {field}, but got {name}={value!r}."
            )
        return value

    def floating(self, name: str, default: float) -> float:
        """Return a number, rounded to float32 as Caffe2 stores it; an int will do."""
        value = self._read(name, default, (float, int), "f")
        if isinstance(value, int):
            value = self._signed64(name, value)
        with np.errstate(over="ignore"):
            return float(np.float32(value))

    def integer(self, name: str, default: int) -> int:
        """Return an integer."""
        return self._signed64(name, self._read(name, default, (int,), "i"))

    def _signed64(self, name: str, value: int) -> int:
        if not -(2**63) <= value < 2**63:
            raise OperatorError(f"`{name}` must fit in int64, but got {name}={value}.")
        return value

    def integers(self, name: str) -> list[int]:
        """Return a list of integers; an empty one if there is none."""
        values = self._read(name, [], (list,), "ints")
        if not all(isinstance(value, int) for value in values):
            raise OperatorError(
                f"Argument {name} does not have the right field: expected field ints, but got {values}."
            )
        return list(values)

    def text(self, name: str, default: str) -> str:
        """Return a string."""
        return str(self._read(name, default, (str,), "s"))


@dataclass
class OperatorDef:
    """The definition of an operator: its type, the names of its blobs, its arguments."""

    type: str
    input: list[str]
    output: list[str]
    name: str = ""
    arg: list[Argument] = field(default_factory=list)
    device_option: DeviceOption = field(default_factory=DeviceOption)
    engine: str = ""
    control_input: list[str] = field(default_factory=list)
    debug_info: str = ""
    is_gradient_op: bool = False

    @property
    def arguments(self) -> Arguments:
        """The arguments, to be read with their types."""
        return Arguments(self.arg)

    def Proto(self) -> "OperatorDef":
        """Return the definition itself."""
        return self


@dataclass
class NetDef:
    """The definition of a net: operators in the order in which they run."""

    name: str
    op: list[OperatorDef] = field(default_factory=list)
    external_input: list[str] = field(default_factory=list)
    external_output: list[str] = field(default_factory=list)

    def Proto(self) -> "NetDef":
        """Return the definition itself."""
        return self
