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

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from thinned import __version__
from thinned._errors import RangeError

LARGEST = 2**28  # bytes of the records of a run
NAME = re.compile(r"\w[\w.+-]{0,99}")


@dataclass(frozen=True)
class Record:
    """One epoch of one network.

    What a command does not measure is None, and is left out of its lines. Errors are shares in a wrong class; of
    numbers the root of the mean squared error, in the data's own unit even where losses are of standardised targets.

    Attributes:
        method: how it drops units.
        seed: of the network.
        epoch: counted from 1.
        train_loss: mean loss over the epoch, dropout included.
        test_error: of test examples, after the epoch; nan where the test part was not looked at.
        seconds: time of training alone.
        step: how many steps of training there have been in all.
        lr: learning rate of the epoch.
        fit_loss: loss on training examples after the epoch, without dropout.
        fit_error: their error.
        validation_loss: loss on examples that were put aside.
        validation_error: their error.
        gap: validation loss minus loss on training examples, both without dropout.
        skipped_steps: of the epoch, as a gradient was no number in float16; None in another precision.
        monitors: what `thinned.lab.monitors.Monitors` has.
        diverged: True of the epoch in which loss or weights became no numbers, which is the last one; otherwise None.
    """

    method: str
    seed: int
    epoch: int
    train_loss: float
    test_error: float
    seconds: float
    step: int | None = None
    lr: float | None = None
    fit_loss: float | None = None
    fit_error: float | None = None
    validation_loss: float | None = None
    validation_error: float | None = None
    gap: float | None = None
    skipped_steps: int | None = None
    monitors: dict[str, Any] | None = None
    diverged: bool | None = None

    def line(self) -> str:
        """Return one line of JSON.

        Returns:
            What was measured; nan and infinity become null.
        """
        return _json({key: value for key, value in asdict(self).items() if value is not None}) + "\n"


class Journal:
    """A file of records, one JSON object a line, each on the disk as soon as it is added.

    Only one process at a time can have it open.

    Args:
        path: the file.
        new: whether it must not be there yet.

    Raises:
        RangeError: another process has it open.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "records.jsonl")
        ...     with Journal(path) as journal:
        ...         journal.add(Record("none", 0, 1, 0.5, 0.25, 1.5))
        ...     print(path.read_text(encoding="utf-8"), end="")
        {"method": "none", "seed": 0, "epoch": 1, "train_loss": 0.5, "test_error": 0.25, "seconds": 1.5}
    """

    def __init__(self, path: Path, new: bool = True) -> None:
        # Unbuffered, so that a line is one write: an interrupt leaves whole lines.
        self._path, self._file = path, path.open("xb" if new else "ab", buffering=0)
        try:
            _lock(self._file, path)
        except BaseException:
            self._file.close()
            raise

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
        line = record.line().encode()
        while line:  # on a disk that is full, a part may be written, and only the rest says why
            line = line[self._file.write(line) :]
        os.fsync(self._file.fileno())

    def cut(self, count: int) -> None:
        """Remove what comes after some records, and half a line that was being written when a process was killed.

        Args:
            count: how many stay.

        Raises:
            RangeError: the file is larger than the records of any run.
        """
        if self._path.stat().st_size > LARGEST:
            raise RangeError(f"{self._path} must have at most {LARGEST} bytes, as a run's has, but it is larger.")
        self._file.truncate(_length(self._path.read_bytes(), count))


def _lock(file: Any, path: Path) -> None:
    """Keep other processes out; the system lets go when this one ends, however it ends."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RangeError(
                f"{path.parent} is being written to by another process; wait until it has ended."
            ) from error


def _length(data: bytes, count: int) -> int:
    """Return how many bytes the first whole lines take."""
    length = 0
    for line in data.splitlines(keepends=True)[:count]:
        if not line.endswith(b"\n"):
            break
        length += len(line)
    return length


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


def target(path: Path, suffix: str) -> Path:
    """Return where a file is to be written, or say, before any work is done for it, why it cannot be there.

    Args:
        path: what was asked for.
        suffix: of such files; another name is more likely a slip than meant.

    Returns:
        It.

    Raises:
        RangeError: the name has another suffix, or its folder is not there.

    Examples:
        >>> target(Path("best.pt"), ".csv")
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `out` must be a file whose name ends in .csv, but got out='best.pt'.
    """
    if path.suffix.lower() != suffix:
        raise RangeError(f"`out` must be a file whose name ends in {suffix}, but got out={str(path)!r}.")
    if not path.absolute().parent.is_dir():
        raise RangeError(f"`out` must be in a folder that is there, but got out={str(path)!r}.")
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, so that at any moment there is the old one or the new one, never a part.

    Once it returns, the file is on the disk.

    Args:
        path: the file.
        data: all of it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder, "a"), b"whole")
        ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
        [('a', 'whole')]
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name too has to reach the disk, where folders can be opened
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a whole file of text, as `write_bytes` does.

    Args:
        path: the file.
        text: all of it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder, "a"), "whole")
        ...     Path(folder, "a").read_text()
        'whole'
    """
    write_bytes(path, text.encode())


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
    write_text(path, json_text(value))


def write_beside(path: Path, value: Any) -> Path:
    """Write JSON beside a file, under a name that no file of a run has.

    Args:
        path: the file.
        value: as for `write_json`.

    Returns:
        Where it was written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_beside(Path(folder, "summary.csv"), {}).name
        'summary.csv.json'
    """
    beside = path.with_name(f"{path.name}.json")
    write_json(beside, value)
    return beside


def json_text(value: Any) -> str:
    """Return JSON for people and programs to read.

    Args:
        value: as for `write_json`.

    Returns:
        The text, with a line end.

    Examples:
        >>> print(json_text({"loss": math.nan}), end="")
        {
          "loss": null
        }
    """
    return _json(value, indent=2) + "\n"


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
