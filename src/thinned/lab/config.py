"""What one run of training is: typed settings, read from TOML and from flags, and written back as TOML."""

import difflib
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.data import NAMES, Dataset, Layout, Whole, check_name, read_whole
from thinned.lab import sources
from thinned.lab.dropouts import DropoutSettings
from thinned.lab.network import ModelSettings
from thinned.lab.precision import PRECISIONS
from thinned.lab.recipe import Penalties, Recipe
from thinned.lab.values import parsed, parsed_text, plain, toml, typed

PRUNED = ("mlp", "convnet")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class DataSettings:
    """What is learned.

    Attributes:
        name: a name that `thinned.data` makes, or a path that it reads.
        examples: to train on, of artificial data alone; None for as many as it has by default.
        test: path of the file to test on; None for the part that the data have, or one that is put aside.
        task: ``"classification"`` or ``"regression"``; None to choose by the targets.
        target: of a table: name of the target's column, or its number, from the end if negative; None for the last.
        drop: of a table: names or numbers of columns to leave out.
        header: of a table: whether its first line has names; None to look.
        delimiter: of a table: what is between two columns, a blank for any blanks; None to look.
        validation: share of the training part that is put aside, to stop early and to find the best epoch.
        standardise: whether features, and the numbers of a regression, get mean 0 and standard deviation 1, by those of
            the training part.
        steps: words of one example of a text.
        flip: whether half of the training images are mirrored, others in each epoch.
        shift: by how many pixels a training image may be moved, another way in each epoch.
        crop: side, in pixels, of the square window that the network sees of an image: of a training image any, another
            one in each epoch, of all others the middle; 0 for whole images.

    Examples:
        >>> DataSettings(validation=1.5)
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `validation` must be in [0, 1), but got validation=1.5.
    """

    name: str = "digits"
    examples: int | None = None
    test: str | None = None
    task: str | None = None
    target: int | str | None = None
    drop: tuple[int | str, ...] = ()
    header: bool | None = None
    delimiter: str | None = None
    validation: float = 0.1
    standardise: bool = False
    steps: int = 64
    flip: bool = False
    shift: int = 0
    crop: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise RangeError(f"`validation` must be in [0, 1), but got validation={self.validation!r}.")
        if self.examples is not None:
            _check.positive(self.examples, "examples")
        _check.positive(self.steps, "steps")
        for name in ("shift", "crop"):
            if getattr(self, name):
                _check.positive(getattr(self, name), name)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files or folders that are read, but for data that have a name."""
        return tuple(path for path in (self.name, self.test) if path is not None and path not in NAMES)

    def absolute(self) -> "DataSettings":
        """Return the same settings for whoever is in another folder.

        Returns:
            New settings, with whole paths.

        Examples:
            >>> DataSettings("digits").absolute().name, os.path.isabs(DataSettings("wine.csv").absolute().name)
            ('digits', True)
        """
        whole = {path: os.path.abspath(path) for path in self.paths}
        return replace(self, name=whole.get(self.name, self.name), test=self.test and whole.get(self.test, self.test))

    def load(self, say: Callable[[str], None] | None = None) -> Dataset:
        """Load what the settings name.

        Args:
            say: called with a sentence for each file that was downloaded.

        Returns:
            The data set, as `thinned.lab.sources.load` gives it.

        Raises:
            RangeError, DataError: as there.
        """
        return sources.load(
            self.name,
            self.examples,
            test=self.test,
            task=self.task,
            target=self.target,
            drop=self.drop,
            header=self.header,
            delimiter=self.delimiter,
            say=say,
        )

    def load_whole(self, layout: Layout) -> Dataset | Whole:
        """Load all examples of a file for a network that was trained on another one.

        Args:
            layout: of the file that it was trained on.

        Returns:
            The examples, as `thinned.data.read_whole` gives them; data that come in parts as `load` gives them.

        Raises:
            RangeError, DataError: as there.
        """
        check_name(self.name)
        if self.name in NAMES or self.test is not None:
            return self.load()
        given: dict[str, Any] = {
            "task": self.task,
            "target": self.target,
            "drop": self.drop or None,
            "header": self.header,
            "delimiter": self.delimiter,
        }
        return read_whole(self.name, layout, **{option: value for option, value in given.items() if value is not None})


@dataclass(frozen=True)
class RunSettings:
    """How a run goes on, whatever it learns.

    Attributes:
        seed: of weights, order and dropout: 64 bits.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for the one that is there.
        threads: of torch; None for as many as the network is worth.
        precision: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` for torch's automatic mixed precision, the latter
            with scaled gradients.
        monitors: look at units and weights in one of so many epochs; 0 for never.
        checkpoint_steps: write a checkpoint within an epoch after so many steps, too; 0 for at its end alone.
        keep: how many checkpoints are kept, besides the best.
        tensorboard: whether to write scalars for TensorBoard.
    """

    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    precision: str = "float32"
    monitors: int = 1
    checkpoint_steps: int = 0
    keep: int = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        _check.word64(self.seed, "seed")
        _check.one_of(self.device, DEVICES, "device")
        _check.one_of(self.precision, PRECISIONS, "precision")
        _check.sizes((self.monitors,), "monitors")
        _check.sizes((self.checkpoint_steps,), "checkpoint_steps")
        _check.positive(self.keep, "keep")
        processors = os.cpu_count() or 1
        if self.threads is not None and _check.positive(self.threads, "threads") > processors:
            raise RangeError(
                f"`threads` must be at most {processors}, the number of processors, but got threads={self.threads}."
            )


@dataclass(frozen=True)
class Config:
    """All settings of a run, one section each for data, model, dropout, training, penalties and the run itself.

    Examples:
        >>> config = Config.of({"model": {"hidden": [800, 800]}, "dropout": {"kind": "gaussian", "p": 0.3}})
        >>> config.model.hidden, config.dropout.kind
        ((800, 800), 'gaussian')
        >>> Config.of({"model": {"hiden": [800]}})
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `model.hiden` is no setting; did you mean model.hidden?
    """

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    dropout: DropoutSettings = field(default_factory=DropoutSettings)
    training: Recipe = field(default_factory=Recipe)
    penalties: Penalties = field(default_factory=Penalties)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        if self.dropout.groups > self.training.batch_size:
            raise RangeError(
                f"`groups` must be at most {self.training.batch_size}, the size of a batch, but got "
                f"groups={self.dropout.groups}."
            )
        if self.penalties.prune and (self.dropout.batchwise or self.model.kind not in PRUNED):
            raise RangeError(
                f"`prune` must be 0 except for {' and '.join(PRUNED)} without batchwise dropout, but got "
                f"prune={self.penalties.prune}."
            )

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> "Config":
        """Make settings from plain tables, as TOML and JSON have them.

        Args:
            tables: for each section some of its settings; what is left out keeps its default.

        Returns:
            The settings, checked.

        Raises:
            RangeError, KindError: a name that is no setting, a value of another type or outside its range.
        """
        sections = {}
        for entry in fields(cls):
            table = tables.get(entry.name, {})
            if not isinstance(table, Mapping):
                raise KindError(f"`{entry.name}` must be a table of settings, but got {entry.name}={table!r}.")
            kind = _class(entry)
            sections[entry.name] = kind(**typed(kind, entry.name, table, unknown))
        for name in tables:
            if name not in sections:
                raise unknown(name)
        return cls(**sections)

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return what `of` takes: plain tables with every setting.

        Returns:
            One table for each section.
        """
        return {name: plain(table) for name, table in asdict(self).items()}

    def toml(self) -> str:
        """Return the settings as a TOML document that `read` reads.

        Returns:
            The text. Settings that are None are left out, as TOML has no such value.
        """
        return toml(self.tables())


def read(path: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """Read a file of settings, and let flags override it.

    Args:
        path: a TOML file; None for the defaults.
        flags: values by dotted name, as ``{"training.lr": 0.1}``; a value that is None overrides nothing. A text is
            taken as the setting's type, with commas between the values of a list.

    Returns:
        The settings.

    Raises:
        RangeError, KindError: the file is no TOML, or as for `Config.of`.

    Examples:
        >>> read(None, {"model.hidden": "32,16", "training.epochs": 3}).model.hidden
        (32, 16)
    """
    tables = gathered(path, flags)
    for other in ("tune", "compare"):  # are for these commands, so that all of them can have one file
        tables.pop(other, None)
    return Config.of(tables)


def gathered(path: Path | None, flags: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a file of settings and flags say together, before defaults are filled in.

    Args:
        path: as for `read`.
        flags: as for `read`.

    Returns:
        What `Config.of` takes, and the table ``tune`` if the file has one.

    Raises:
        RangeError, KindError: as for `read`.

    Examples:
        >>> gathered(None, {"training.lr": "0.1"})
        {'training': {'lr': 0.1}}
    """
    tables: dict[str, Any] = {} if path is None else parsed(path)
    for name, value in (flags or {}).items():
        section, _, key = name.partition(".")
        if value is not None:
            table = tables.setdefault(section, {})
            if not isinstance(table, dict):
                raise KindError(f"`{section}` must be a table of settings, but got {section}={table!r}.")
            table[key] = parsed_text(kinds(section)[key], name, value) if isinstance(value, str) else value
    return tables


def names() -> list[str]:
    """Return the dotted names of all settings.

    Returns:
        As ``"training.lr"``.

    Examples:
        >>> "training.lr" in names()
        True
    """
    return [f"{section.name}.{entry.name}" for section in fields(Config) for entry in fields(_class(section))]


def _class(section: "Field[Any]") -> Any:
    return section.default_factory


def kinds(section: str) -> dict[str, Any]:
    """Return the types of a section's settings.

    Args:
        section: its name.

    Returns:
        For each name of a setting its type, such as ``tuple[int, ...] | None``.

    Raises:
        RangeError: there is no such section.
    """
    found = {entry.name: _class(entry) for entry in fields(Config)}
    if section not in found:
        raise unknown(section)
    return typing.get_type_hints(found[section])


def unknown(name: str, known: Sequence[str] = ()) -> RangeError:
    """Return what is raised for a name that is no setting.

    Args:
        name: dotted, or that of a table.
        known: names that it may have; those of `Config` by default.

    Returns:
        An error that says which setting was meant: the nearest one, or one whose last part is the same.

    Examples:
        >>> str(unknown("modell.hidden"))
        '`modell.hidden` is no setting; did you mean model.hidden?'
    """
    near_to = known or (names() if "." in name else [entry.name for entry in fields(Config)])
    near = difflib.get_close_matches(name, near_to, 1, cutoff=0)
    last = name.rpartition(".")[2]
    same = [other for other in known or names() if other.rpartition(".")[2] == last]
    return RangeError(f"`{name}` is no setting; did you mean {(same or near)[0]}?")
