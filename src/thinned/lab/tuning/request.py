"""What is asked for on the command line and in a file, as a plan."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinned._errors import KindError, RangeError
from thinned.lab.config import gathered
from thinned.lab.tuning.plan import Plan
from thinned.lab.tuning.reading import searched

KEYS = ("trials", "sampler", "pruner", "space")


def request(
    path: Path | None,
    flags: Mapping[str, Any],
    search: Sequence[str] = (),
    *,
    trials: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
) -> tuple[Plan | None, int | None]:
    """Make a plan of a file of settings and of flags, which go first.

    Args:
        path: a TOML file; None for none.
        flags: settings that are the same for all trials, as for `thinned.lab.config.read`.
        search: what is searched, as `thinned.lab.tuning.reading.searched` reads it; in the place of what the file
            searches of the same name.
        trials: how many there are to be.
        sampler: as for `Plan`.
        pruner: as for `Plan`.

    Returns:
        The plan, None if nothing was asked for but to go on; and how many trials there are to be.

    Raises:
        RangeError, KindError: something that is no setting, or cannot be used.

    Examples:
        >>> plan, trials = request(None, {"training.epochs": 3}, ["p=0.1,0.5"], sampler="grid")
        >>> plan.table, plan.tables
        ({'p': [0.1, 0.5]}, {'training': {'epochs': 3}})
    """
    tables = gathered(path, flags)
    tune = tables.pop("tune", {})
    if not isinstance(tune, Mapping):
        raise KindError(f"`tune` must be a table, but got tune={tune!r}.")
    for key in tune:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1, cutoff=0)[0]
            raise RangeError(f"`tune.{key}` is no setting; did you mean tune.{near}?")
    space = tune.get("space", {})
    if not isinstance(space, Mapping):
        raise KindError(f"`tune.space` must be a table, but got space={space!r}.")
    trials = tune.get("trials") if trials is None else trials
    if trials is not None and type(trials) is not int:
        raise KindError(f"`tune.trials` must be an integer, but got trials={trials!r}.")
    given = {"sampler": sampler or tune.get("sampler"), "pruner": pruner or tune.get("pruner")}
    names = {key: str(name) for key, name in given.items() if name is not None}
    if path is None and not flags and not search and not names:
        return None, trials
    table: dict[str, Any] = dict(space)
    for flag in search:
        name, values = searched(flag)
        if name in table and name not in space:
            raise RangeError(f"`{name}` must be searched once, but it is given twice.")
        table[name] = values
    return Plan(tables, table, **names), trials
