"""Whatever can be reported in some folders; what cannot is passed over, and said so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinned._errors import DataError
from thinned.lab import files, reading
from thinned.lab.runs import Run
from thinned.lab.tables import counted
from thinned.lab.tuning import past
from thinned.lab.tuning.past import Study


class NothingToReportError(DataError):
    """A path is of something else than a run or a study."""


@dataclass(frozen=True)
class Passed:
    """A path that was passed over.

    Attributes:
        path: that was given.
        why: one sentence.
        other: whether there is something else than a run or a study, and not one that is damaged.
    """

    path: Path
    why: str
    other: bool


def read(folder: Path) -> Run | Study:
    """Read a run or a study back, done or not.

    Args:
        folder: of it.

    Returns:
        What is there.

    Raises:
        NothingToReportError: something else is there.
        DataError: nothing is there, or its files are damaged.
    """
    if folder.is_file():
        raise NothingToReportError(f"{folder} must be the folder of a run or of a study, but it is a file.")
    if folder.is_dir() and not (folder / "config.json").exists():
        raise NothingToReportError(f"{folder} must be the folder of a run or of a study, but it has no config.json.")
    command = files.parsed(folder, "config.json").get("command")
    return past.read(folder) if command == "tune" else reading.read(folder)


def gather(folders: Iterable[Path]) -> tuple[list[Run | Study], list[Passed]]:
    """Read all runs and studies back that can be read.

    Args:
        folders: of runs and studies, and whatever else is beside them; each counts once.

    Returns:
        Those, and what was passed over.
    """
    found: list[Run | Study] = []
    passed = []
    for folder in dict.fromkeys(folders):
        try:
            found.append(read(folder))
        except (DataError, OSError) as error:
            passed.append(Passed(folder, str(error), isinstance(error, NothingToReportError)))
    return found, passed


def warnings(passed: Sequence[Passed]) -> list[str]:
    """Say what was passed over.

    Args:
        passed: that.

    Returns:
        A sentence for each that is damaged, and one for all that are something else.

    Examples:
        >>> warnings([Passed(Path("runs/all.html"), "", True), Passed(Path("runs/all.json"), "", True)])
        ['Passed over 2 paths without a run: runs/all.html, runs/all.json.']
    """
    others = [str(one.path) for one in passed if one.other]
    told = [f"Passed over: {one.why}" for one in passed if not one.other]
    return told + (
        [f"Passed over {counted(len(others), 'path')} without a run: {', '.join(others)}."] if others else []
    )
