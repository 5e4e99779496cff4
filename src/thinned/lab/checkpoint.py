"""Checkpoints: whole files that survive whatever ends the process, the last few and the best."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from thinned._errors import DataError
from thinned.lab import archive, machine, records

NAME = re.compile(r"step-(\d{12})\.pt")
BEST = "best.pt"
VERSION = 1


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are; made if it is not there.
        keep: how many are kept, besides the best.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(Path(folder), keep=2)
        ...     for step in (10, 20, 30):
        ...         checkpoints.save({"weights": torch.ones(2)}, step, best=step == 20)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['best.pt', 'step-000000000020.pt', 'step-000000000030.pt']
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".*.pt.*"):  # half a file of a process that was killed
            left.unlink(missing_ok=True)

    @property
    def best(self) -> Path:
        """Where the best checkpoint is, if there is one."""
        return self._folder / BEST

    def save(self, state: dict[str, Any], step: int, best: bool = False) -> None:
        """Write a checkpoint, and remove the oldest.

        Args:
            state: tensors, numbers, texts, lists and dictionaries.
            step: how many steps of training it comes after.
            best: whether it is the best so far.

        Raises:
            OSError: it cannot be written; those that are there stay as they are.
        """
        data = packed(state)
        records.write_bytes(self._folder / f"step-{step:012d}.pt", data)
        if best:
            records.write_bytes(self.best, data)
        for old in self._steps()[: -self._keep]:
            old.unlink(missing_ok=True)

    def latest(self, say: Callable[[str], None]) -> bytes:
        """Return the newest checkpoint that can be read.

        Args:
            say: is told of one that is damaged, and passed over.

        Returns:
            What `unpacked` takes; nothing where there is none.

        Raises:
            DataError: all of them are damaged.
        """
        found = self._steps()
        for path in reversed(found):
            try:
                data = read(path)
                unpacked(data, path)
            except DataError as error:
                say(f"{error} The one before it is taken.")
            else:
                return data
        if found:
            raise DataError(f"{self._folder} must have a checkpoint that can be read, but all of them are damaged.")
        return b""

    def clear(self) -> None:
        """Remove all checkpoints, and their folder."""
        for path in [*self._steps(), self.best]:
            path.unlink(missing_ok=True)
        self._folder.rmdir()

    def _steps(self) -> list[Path]:
        """All checkpoints but the best, the oldest first."""
        return sorted(path for path in self._folder.iterdir() if NAME.fullmatch(path.name))


def packed(state: dict[str, Any]) -> bytes:
    """Return a checkpoint as bytes.

    Args:
        state: tensors, numbers, texts, lists and dictionaries.

    Returns:
        What `unpacked` takes.
    """
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **state}, buffer)
    return buffer.getvalue()


def read(path: Path) -> bytes:
    """Read the file of a checkpoint, once it is seen to be one.

    Args:
        path: the file.

    Returns:
        What `unpacked` takes.

    Raises:
        DataError: it is damaged or something else.
        RangeError: it is larger than the memory of this machine.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        archive.check(stream, path)
        machine.check_memory(stream.seek(0, os.SEEK_END), str(path))
        stream.seek(0)
        return stream.read()


def unpacked(data: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a checkpoint holds; nothing in it is run.

    Args:
        data: the bytes.
        path: where they come from, for a message.

    Returns:
        The state, on the CPU.

    Raises:
        DataError: it is damaged, or no checkpoint of this version.

    Examples:
        >>> unpacked(packed({"steps": 3}), "a file")["steps"]
        3
        >>> unpacked(b"abc", "a file")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: a file must be a checkpoint of `thinned train`, but it is damaged or something else.
    """
    archive.check(io.BytesIO(data), path, sums=True)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must be a checkpoint of `thinned train`, but it is damaged or something else."
        ) from error
    if not isinstance(state, dict) or type(state.get("version")) is not int or state["version"] != VERSION:
        raise DataError(f"{path} must be a checkpoint of version {VERSION} of `thinned train`, but it is not.")
    return state
