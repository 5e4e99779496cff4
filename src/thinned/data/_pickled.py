"""Reading pickles without running them: only what the files of CIFAR-10 need.

A pickle is a program that may call any function there is. This reader knows dicts, lists, tuples, strings, bytes, small
integers, and arrays of unsigned bytes as NumPy pickles them; it imports and calls nothing. All else is refused.

Source: Lib/pickletools.py of CPython, which says what each opcode does.
"""

import math
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned._errors import DataError

OPCODES = 2**20  # a batch of CIFAR-10 takes 50 thousand
AXES = 4  # of an array
DEPTH = 2**16  # of the stack: a batch appends a thousand items at a time
ARRAY = "numpy.ndarray"
DTYPE = "numpy.dtype"
RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
ENCODE = "_codecs.encode"  # how Python 3 writes bytes in the protocol of Python 2
KNOWN = (ARRAY, DTYPE, *RECONSTRUCT, ENCODE)
CONSTANTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES")
OLD_STRINGS = ("BINSTRING", "SHORT_BINSTRING")  # bytes, to Python 2
VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


class _Name(str):
    """The dotted name of a class or function, one of those known."""


class _Array:
    """An array that is still without its contents."""

    array: NDArray[np.uint8] | None = None


class _Dtype:
    """The dtype of unsigned bytes."""


class _Refused(Exception):
    """What the file has that it must not have."""


def load(path: Path, data: bytes | bytearray) -> Any:
    """Return what a pickle of containers, strings, small integers and arrays of unsigned bytes holds.

    Args:
        path: the file, for what is said of it.
        data: what the file holds.

    Returns:
        The object.

    Raises:
        DataError: the pickle is damaged, or has anything else.

    Examples:
        >>> import pickle
        >>> load(Path("x"), pickle.dumps({"labels": [3, 1], "data": np.arange(3, dtype=np.uint8)}, protocol=2))
        {'labels': [3, 1], 'data': array([0, 1, 2], dtype=uint8)}
        >>> load(Path("x"), pickle.dumps(print))
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: x must hold lists, strings and arrays of bytes alone, but has builtins.print; ...
    """
    try:
        return _run(data)
    except _Refused as refused:
        raise DataError(
            f"{path} must hold lists, strings and arrays of bytes alone, but has {refused}; check where it comes from."
        ) from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        reason = str(error).partition("\n")[0][:100].rstrip(".")
        raise DataError(f"{path} must be a whole pickle, but: {reason}; get the file again.") from None


def _run(data: bytes | bytearray) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(bytes(data))):
        if count == OPCODES or len(stack) > DEPTH:
            raise _Refused("too many parts")
        name = opcode.name
        if name == "STOP":
            return _finished(stack.pop())
        if name in CONSTANTS:
            stack.append(argument)
        elif name in OLD_STRINGS:
            stack.append(str(argument).encode("latin-1"))
        elif name in VALUES:
            stack.append(VALUES[name])
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[len(stack) - TUPLES[name] :])]
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = str(argument).split(" ") if name == "GLOBAL" else _last(stack, 2)
            stack.append(_known(".".join(words)))
        elif name in MAKERS:
            MAKERS[name](stack)
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"the opcode {name}")
    raise ValueError("it has no end")


def _last(stack: list[Any], count: int) -> list[Any]:
    """Take the last objects off the stack."""
    if len(stack) < count:
        raise ValueError("the stack is empty")
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken


def _marked(stack: list[Any]) -> list[Any]:
    """Take what follows the last mark off the stack, and the mark."""
    at = next((place for place in range(len(stack) - 1, -1, -1) if stack[place] is MARK), None)
    if at is None:
        raise ValueError("a mark is missing")
    taken = _last(stack, len(stack) - at)
    return taken[1:]


def _known(name: str) -> _Name:
    if name not in KNOWN:
        raise _Refused(name[:80])
    return _Name(name)


def _append(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not list:
        raise ValueError("something is appended to what is no list")
    stack[-1].extend(items)


def _set(stack: list[Any], items: list[Any]) -> None:
    target = stack[-1]
    if type(target) is not dict or len(items) % 2:
        raise ValueError("something is put into what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes):
            raise _Refused(f"a key of type {type(key).__name__.lstrip('_')}")
        target[key] = value


def _reduce(stack: list[Any]) -> None:
    """Do what one of the known functions would do; none is called."""
    function, arguments = _last(stack, 2)
    if type(function) is not _Name or type(arguments) is not tuple:
        raise ValueError("something is called that is no function")
    if function == ENCODE:
        text, encoding = arguments
        if type(text) is not str or encoding != "latin1":
            raise _Refused("bytes in an unknown encoding")
        stack.append(text.encode("latin-1"))
    elif function in RECONSTRUCT and arguments[0] == ARRAY and arguments[1] == (0,):
        stack.append(_Array())
    elif function == DTYPE and arguments[0] in ("u1", b"u1"):
        stack.append(_Dtype())
    else:
        shown = arguments[0] if arguments and type(arguments[0]) in (str, bytes) else ""
        raise _Refused(f"a call of {function} with {shown[:20]!r}")


def _build(stack: list[Any]) -> None:
    """Give an array its contents."""
    (state,) = _last(stack, 1)
    target = stack[-1]
    if type(target) is _Dtype:
        return  # byte order and the like: nothing that changes bytes
    if type(target) is not _Array:
        raise _Refused(f"a state of type {type(target).__name__.lstrip('_')}")
    _version, shape, dtype, fortran, contents = state
    if type(dtype) is not _Dtype or type(contents) is not bytes or type(shape) is not tuple:
        raise _Refused("an array of something else than bytes")
    if len(shape) > AXES or any(type(size) is not int or not 0 <= size < 2**63 for size in shape):
        raise ValueError("an array has a shape that none can have")
    if math.prod(shape) != len(contents):
        raise ValueError(f"an array claims {math.prod(shape)} bytes, but holds {len(contents)}")
    target.array = np.frombuffer(contents, np.uint8).reshape(shape, order="F" if fortran else "C")


def _finished(root: Any) -> Any:
    """Put arrays in the place of what stood for them, in a dict or on its own."""
    if isinstance(root, dict):
        return {key: _finished_value(value) for key, value in root.items()}
    return _finished_value(root)


def _finished_value(value: Any) -> Any:
    if type(value) is not _Array:
        return value
    if value.array is None:
        raise ValueError("an array has no contents")
    return value.array


MAKERS: dict[str, Any] = {
    "MARK": lambda stack: stack.append(MARK),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "TUPLE": lambda stack: stack.append(tuple(_marked(stack))),
    "APPEND": lambda stack: _append(stack, _last(stack, 1)),
    "APPENDS": lambda stack: _append(stack, _marked(stack)),
    "SETITEM": lambda stack: _set(stack, _last(stack, 2)),
    "SETITEMS": lambda stack: _set(stack, _marked(stack)),
    "REDUCE": _reduce,
    "BUILD": _build,
}
