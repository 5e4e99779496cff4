"""Workspaces: blobs by name, and running operators and nets on them. The names and promises are Caffe2's."""

from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from thinned._errors import KindError, OperatorError, RangeError
from thinned.caffe2.blobs import fetched, stored
from thinned.caffe2.definitions import DeviceOption, NetDef, OperatorDef
from thinned.caffe2.execution import Operator


class _NameError(KindError, AssertionError):
    """A blob's name is not a string: Caffe2 asserts it."""


class _MissingError(OperatorError, KeyError):
    """There is no such blob: what a dictionary's reader expects as well."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


class _Workspace:
    def __init__(self, root_folder: str) -> None:
        self.root_folder = root_folder
        self.blobs: dict[str, Any] = {}
        self.nets: dict[str, list[Operator]] = {}


_workspaces = {"default": _Workspace(".")}
_current = "default"


def _here() -> _Workspace:
    return _workspaces[_current]


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise _NameError(f"`name` must be a str or a BlobReference, but got {name!r} of type {type(name).__name__}.")
    return str(name)


# --- workspaces -------------------------------------------------------------------------------------------------------


def ResetWorkspace(root_folder: str | None = None) -> bool:
    """Delete all blobs and nets of the current workspace.

    Args:
        root_folder: its root folder from now on, which is made if it is not there; None for the former one.

    Returns:
        True.

    Raises:
        OSError: the folder cannot be made; the workspace is as it was.
    """
    if root_folder is not None:
        Path(root_folder).mkdir(parents=True, exist_ok=True)
    _workspaces[_current] = _Workspace(RootFolder() if root_folder is None else str(root_folder))
    return True


def RootFolder() -> str:
    """Return the root folder of the current workspace; it is "." at first. No operator here reads or writes files.

    Returns:
        The folder.
    """
    return _here().root_folder


def CurrentWorkspace() -> str:
    """Return the name of the current workspace; it is "default" at first.

    Returns:
        The name.
    """
    return _current


def Workspaces() -> list[str]:
    """Return the names of all workspaces.

    Returns:
        The names.
    """
    return list(_workspaces)


def SwitchWorkspace(name: str, create_if_missing: bool | None = None) -> None:
    """Make another workspace the current one.

    Args:
        name: of the workspace.
        create_if_missing: make it if there is none of that name.

    Raises:
        OperatorError: there is none of that name.
    """
    global _current  # noqa: PLW0603  # the current workspace is the process's, as in Caffe2
    if _name(name) not in _workspaces:
        if not create_if_missing:
            raise OperatorError(f"`name` must be one of the workspaces {Workspaces()}, but got {name!r}.")
        _workspaces[name] = _Workspace(".")
    _current = name


# --- blobs ------------------------------------------------------------------------------------------------------------


def FeedBlob(name: str, arr: Any, device_option: DeviceOption | None = None) -> bool:
    """Write a blob, which is created if it is not there, and may change its dtype and shape.

    Args:
        name: of the blob.
        arr: an array, which is copied; a string; or a torch tensor, which is shared.
        device_option: where to put an array.

    Returns:
        True.

    Raises:
        AssertionError: the name is not a string.
        RuntimeError: the dtype or the kind of `arr` is not supported; the blob is as it was.
    """
    name = _name(name)
    _here().blobs[name] = stored(arr, device_option)
    return True


def _existing(name: Any) -> Any:
    if not HasBlob(name):
        raise _MissingError(f"Can't find blob: {name}")
    return _here().blobs[name]


def FetchBlob(name: str) -> Any:
    """Return what a blob holds.

    Args:
        name: of the blob.

    Returns:
        A copy as an array; bytes of a string; for an empty blob, bytes that say so.

    Raises:
        RuntimeError: there is no such blob, or NumPy has no such dtype.
    """
    return fetched(_name(name), _existing(name))


def FetchBlobs(names: Sequence[str]) -> list[Any]:
    """Return what several blobs hold.

    Args:
        names: of the blobs.

    Returns:
        `FetchBlob` of each.
    """
    return [FetchBlob(name) for name in names]


def HasBlob(name: str) -> bool:
    """Return whether there is a blob of that name.

    Args:
        name: of the blob.

    Returns:
        True or False.
    """
    return _name(name) in _here().blobs


def Blobs() -> list[str]:
    """Return the names of all blobs of the current workspace.

    Returns:
        The names.
    """
    return list(_here().blobs)


def CreateBlob(name: str) -> bool:
    """Create an empty blob; one that is there is left as it is.

    Args:
        name: of the blob.

    Returns:
        True.
    """
    _here().blobs.setdefault(_name(name), None)
    return True


def ResetBlob(name: str) -> None:
    """Empty a blob.

    Args:
        name: of the blob.

    Raises:
        RuntimeError: there is no such blob.
    """
    _existing(name)
    _here().blobs[name] = None


class _Blobs(MutableMapping[str, Any]):
    """The blobs of the current workspace as a dictionary."""

    def __getitem__(self, name: str) -> Any:
        return FetchBlob(name)

    def __setitem__(self, name: str, value: Any) -> None:
        FeedBlob(name, value)

    def __delitem__(self, name: str) -> None:
        _existing(name)
        del _here().blobs[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and HasBlob(name)

    def __iter__(self) -> Iterator[str]:
        return iter(Blobs())

    def __len__(self) -> int:
        return len(Blobs())


blobs = _Blobs()


# --- running ----------------------------------------------------------------------------------------------------------


def _proto(value: Any, kind: type) -> Any:
    proto = value.Proto() if hasattr(value, "Proto") else value
    if not isinstance(proto, kind):
        raise RangeError(f"The argument must be of type {kind.__name__}, or have a Proto() that is, but got {value!r}.")
    return proto


def RunOperatorOnce(operator: Any) -> bool:
    """Run an operator once, as a new operator object: with one seed, the same random numbers each time.

    Args:
        operator: its definition.

    Returns:
        True.

    Raises:
        RuntimeError: it cannot run. The outputs may exist afterwards; none of them has been written.
        ValueError: `operator` is something else.
    """
    return RunOperatorMultiple(operator, 1)


def RunOperatorMultiple(operator: Any, num_runs: int) -> bool:
    """Run one operator object several times: its random numbers go on from run to run.

    Args:
        operator: its definition.
        num_runs: how many times.

    Returns:
        True.

    Raises:
        RuntimeError: it cannot run.
        ValueError: `operator` is something else.
    """
    made = Operator(_proto(operator, OperatorDef), _here().blobs)
    for _ in range(num_runs):
        made.run()
    return True


def RunOperatorsOnce(operators: Sequence[Any]) -> bool:
    """Run operators, one after the other.

    Args:
        operators: their definitions.

    Returns:
        True.
    """
    for operator in operators:
        RunOperatorOnce(operator)
    return True


def _operators(net: Any) -> list[Operator]:
    return [Operator(definition, _here().blobs) for definition in _proto(net, NetDef).op]


def RunNetOnce(net: Any) -> bool:
    """Make all operators of a net, then run them in order.

    Args:
        net: a net or its definition.

    Returns:
        True.

    Raises:
        RuntimeError: an operator cannot be made, or cannot run.
    """
    for operator in _operators(net):
        operator.run()
    return True


def CreateNet(net: Any, overwrite: bool = False) -> bool:
    """Make the operators of a net, to be run many times: their random numbers then go on from run to run.

    Args:
        net: a net or its definition.
        overwrite: take the place of a net of the same name.

    Returns:
        True.

    Raises:
        RuntimeError: there is a net of that name, or an operator cannot be made.
    """
    name = _proto(net, NetDef).name
    if name in _here().nets and not overwrite:
        raise OperatorError(f"The name of a net must be new unless it is overwritten, but there is a net {name!r}.")
    _here().nets[name] = _operators(net)
    return True


def RunNet(name: Any, num_iter: int = 1, allow_fail: bool = False) -> bool:
    """Run a net that was created.

    Args:
        name: of the net; or the net itself.
        num_iter: how many times.
        allow_fail: return False where an operator cannot run.

    Returns:
        True; False where it failed and was allowed to.

    Raises:
        RuntimeError: there is no such net, or an operator cannot run.
    """
    name = name if isinstance(name, str) else _proto(name, NetDef).name
    if name not in _here().nets:
        raise OperatorError(f"`name` must be one of the nets created, {list(_here().nets)}, but got {name!r}.")
    try:
        for _ in range(num_iter):
            for operator in _here().nets[name]:
                operator.run()
    except OperatorError:
        if not allow_fail:
            raise
        return False
    return True
