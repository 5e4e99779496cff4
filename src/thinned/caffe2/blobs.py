"""What a blob can hold: a tensor, a string, an array of strings, or nothing; and how arrays get in and out."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned._errors import OperatorError
from thinned.caffe2.definitions import CUDA, DeviceOption

_DTYPES = frozenset(
    np.dtype(name)
    for name in ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16")
)


def stored(arr: Any, device_option: DeviceOption | None) -> Any:
    """Return what a blob holds after it was fed.

    Args:
        arr: an array, which is copied; a string; or a torch tensor, which is shared.
        device_option: where to put an array.

    Returns:
        A tensor, bytes, or an array of objects, each of them bytes.

    Raises:
        OperatorError: the dtype or the kind of `arr` is not supported.

    Examples:
        >>> stored(np.ones(2, np.float32), None)
        tensor([1., 1.])
    """
    if isinstance(arr, Tensor):
        if device_option is not None:
            raise OperatorError("`device_option` must not be given beside a torch tensor, which has a device already.")
        if arr.layout is not torch.strided or arr.is_nested or arr.is_meta or arr.is_quantized:
            raise OperatorError(
                f"A tensor must be dense and hold data to be fed, but got dtype {arr.dtype}, layout {arr.layout} and "
                f"device {arr.device}."
            )
        return arr.detach()
    if isinstance(arr, str | bytes):
        return arr.encode() if isinstance(arr, str) else arr
    if not isinstance(arr, np.ndarray):
        raise OperatorError(
            f"Unexpected type of argument - only numpy array or string are supported for feeding, but got a "
            f"{type(arr).__name__}."
        )
    if arr.dtype.kind in "OSU":
        return _strings(arr)
    tensor = _tensor(arr)
    if device_option is None or device_option.device_type != CUDA:
        return tensor
    if not torch.cuda.is_available():
        raise OperatorError("Cannot feed a blob on the device 'CUDA': torch finds no such device.")
    return tensor.to(torch.device("cuda", device_option.device_id))


def _tensor(arr: NDArray[Any]) -> Tensor:
    native = arr.dtype.newbyteorder("=")
    if native not in _DTYPES:
        raise OperatorError(f"The dtype of an array must be one of {sorted(map(str, _DTYPES))}, but got {arr.dtype}.")
    return torch.from_numpy(np.array(arr, dtype=native, order="C", copy=True))


def _strings(arr: NDArray[Any]) -> NDArray[Any]:
    result = np.empty(arr.shape, object)
    for index, item in np.ndenumerate(arr):
        if not isinstance(item, str | bytes):
            raise OperatorError(f"An array of objects must hold strings, but got a {type(item).__name__} at {index}.")
        result[index] = item.encode() if isinstance(item, str) else bytes(item)
    return result


def fetched(name: str, value: Any) -> Any:
    """Return a copy of what a blob holds, for NumPy.

    Args:
        name: of the blob, for messages.
        value: what it holds.

    Returns:
        An array; bytes of a string; for an empty blob, bytes that say so.

    Raises:
        OperatorError: NumPy has no such dtype.

    Examples:
        >>> fetched("X", torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    if value is None:
        return f"{name}, a C++ native class of type nullptr (uninitialized).".encode()
    if isinstance(value, Tensor):
        if value.dtype == torch.bfloat16:
            raise OperatorError(f"Blob {name!r} must have a dtype that NumPy knows, but it has bfloat16.")
        return value.resolve_conj().resolve_neg().cpu().numpy().copy()
    return value.copy() if isinstance(value, np.ndarray) else value
