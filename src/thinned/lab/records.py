"""What a run leaves on disk: a folder with its settings, one line for each epoch, a summary and a report."""

import json
import math
import os
import platform
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from thinned import __version__
from thinned._errors import RangeError

NAME = re.compile(r"\w[\w.+-]{0,99}")


@dataclass(frozen=True)
class Record:
    """One epoch of one network.

    Attributes:
        method: how it drops units.
        seed: of the network.
        epoch: counted from 1.
        train_loss: mean loss over the epoch, dropout included.
        test_error: share of test examples in a wrong class after the epoch.
        seconds: time of training alone.
    """

    method: str
    seed: int
    epoch: int
    train_loss: float
    test_error: float
    seconds: float


class Journal:
    """A file of records, one JSON object a line, each on its way to the disk as soon as it is added.

    Args:
        path: the file; it must not exist.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "records.jsonl")
        ...     with Journal(path) as journal:
        ...         journal.add(Record("none", 0, 1, 0.5, 0.25, 1.5))
        ...     print(path.read_text(encoding="utf-8"), end="")
        {"method": "none", "seed": 0, "epoch": 1, "train_loss": 0.5, "test_error": 0.25, "seconds": 1.5}
    """

    def __init__(self, path: Path) -> None:
        # Unbuffered, so that a line is one write: an interrupt leaves whole lines.
        self._file = path.open("xb", buffering=0)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Write one line.

        Args:
            record: what it says.
        """
        self._file.write((_json(asdict(record)) + "\n").encode())


def create(root: Path, name: str | None, kind: str) -> Path:
    """Make the folder of a run.

    Args:
        root: folder of all runs; made if it is not there.
        name: name of the run, or None for one made of kind and time.
        kind: what is run, such as ``"compare"``.

    Returns:
        The new folder.

    Raises:
        RangeError: the name cannot be that of a folder or is taken, or nothing can be written there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     create(Path(root), "first", "compare").name
        'first'
    """
    if name is None:
        name = kind + datetime.now().strftime("-%Y%m%d-%H%M%S")
        name = next(taken for taken in (name, *(f"{name}-{i}" for i in range(2, 100))) if not (root / taken).exists())
    elif not NAME.fullmatch(name):
        raise RangeError(
            f"`name` must be up to 100 letters, digits, '_', '.', '+' or '-', a letter, digit or '_' first, "
            f"but got name={name!r}."
        )
    folder = root / name
    if os.path.lexists(folder):
        raise RangeError(f"`name` must be new, but {folder} exists; choose another name or remove it.")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RangeError(f"{folder} must be a folder that can be made, but: {error.strerror}.") from error
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a whole file, so that at any moment there is the old one or the new one, never a part.

    Args:
        path: the file.
        text: all of it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder, "a"), "whole")
        ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
        [('a', 'whole')]
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a whole file of JSON.

    Args:
        path: the file.
        value: dictionaries, lists, strings and numbers; a number that is nan or infinite becomes null.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder, "a"), {"loss": math.inf, "seeds": (0, 1)})
        ...     json.loads(Path(folder, "a").read_text())
        {'loss': None, 'seeds': [0, 1]}
    """
    write_text(path, _json(value, indent=2) + "\n")


def environment() -> dict[str, str | int]:
    """Return what a measurement depends on besides its settings.

    Returns:
        Versions, machine, and the number of threads.

    Examples:
        >>> environment()["threads"] == torch.get_num_threads()
        True
    """
    return {
        "thinned": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "kernels": _kernels(),
    }


def _kernels() -> str:
    try:
        from thinned.kernels import cpu
    except ImportError:
        return "not built"
    return cpu.path()


def _processor() -> str:
    """Return the processor's name; `platform.processor` is empty or says only the architecture on Linux."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Replace nan and infinity, which JSON does not have, by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
