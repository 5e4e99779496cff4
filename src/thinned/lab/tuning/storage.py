"""Where a study is: a database, a file of SQLite, or a journal."""

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import Engine, event

from thinned._errors import ThinnedError

JOURNAL = "journal:"
DRIVER = re.compile(r"^\(\w+(\.\w+)+\) ")  # what SQLAlchemy puts before the words of a database: its class of error
HEARTBEAT = 10  # seconds
SILENT = 60  # seconds without a heartbeat after which a worker counts as gone
PATIENCE = 120  # seconds that a worker waits for others to be done with a file of SQLite


class StudyError(ThinnedError, RuntimeError):
    """A study cannot be read, written, or finished."""


def backend(storage: str, lost: Callable[[Study, FrozenTrial], None]) -> BaseStorage:
    """Open a storage.

    Args:
        storage: an URL that SQLAlchemy knows, or ``journal:`` and a file.
        lost: called with a trial that has no heartbeat any more, once it is failed.

    Returns:
        The storage.
    """
    if storage.startswith(JOURNAL):
        path = storage.removeprefix(JOURNAL)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(path) if os.name == "nt" else None  # by default a link, which serves NFS too
        return JournalStorage(JournalFileBackend(path, lock))
    sqlite = storage.startswith("sqlite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = RDBStorage(
            storage,
            engine_kwargs={"connect_args": {"timeout": PATIENCE}} if sqlite else {"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=SILENT,
            heartbeat_stale_trial_callback=lost,
        )
    if sqlite:
        _one_at_a_time(made.engine)
    return made


def _one_at_a_time(engine: Engine) -> None:
    """Lock a file of SQLite from the beginning of each transaction on.

    Optuna asks a database to lock the row of a trial before it changes its state. SQLite has no such lock, and its
    driver begins a transaction with the first change, after the row was read: two workers could take one trial from
    the queue, and do.
    """

    def leave_transactions_alone(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", leave_transactions_alone)
    event.listen(engine, "begin", begin)
    engine.dispose()  # what is connected already


def url(storage: str | None, folder: Path) -> str:
    """Return where a study is.

    Args:
        storage: as for `opened`; None for a file of SQLite in a folder.
        folder: that.

    Returns:
        As for `opened`.

    Examples:
        >>> url(None, Path("/runs/first"))
        'sqlite:////runs/first/study.db'
    """
    if storage is not None:
        return storage
    path = str((folder / "study.db").absolute())
    return f"sqlite:///{path.replace('{', '{{').replace('}', '}}')}"  # Optuna takes braces for a template


def shown(storage: str) -> str:
    """Return the name of a storage without its password.

    Args:
        storage: as for `opened`.

    Returns:
        What can be shown.

    Examples:
        >>> shown("postgresql://me:secret@host/tuning")
        'postgresql://me:***@host/tuning'
    """
    before, at, after = storage.rpartition("@")
    scheme, colon, user = before.partition("://")
    return f"{scheme}{colon}{user.partition(':')[0]}:***{at}{after}" if at and ":" in user else storage


def first(error: BaseException) -> str:
    """Return the first line of an error, or its class if it says nothing.

    Args:
        error: any.

    Returns:
        One sentence.

    Examples:
        >>> first(ValueError("(sqlite3.OperationalError) database or disk is full\\n(Background on this error at ...)"))
        'database or disk is full.'
    """
    said = str(error).strip().splitlines()
    if said:
        said[0] = DRIVER.sub("", said[0])
    return f"{(said[0] if said else type(error).__name__).rstrip('.')}."
