"""What a comparison is: methods of dropout, seeds, and the settings that all its networks have in common."""

import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.lab import methods
from thinned.lab.config import Config, gathered, unknown
from thinned.lab.dropouts import DropoutSettings
from thinned.lab.values import parsed_text, plain, toml, toml_value, typed

MOST_SEEDS = 10_000
DEFAULT = {"validation": 0.0}  # of the table data: all of the training part is learned from


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        config: what all networks have in common; its dropout is what methods have that say nothing else.
        methods: as `methods.method` takes them, or names in `named`; none for those of `methods.default`, and all in
            `named`.
        named: for methods with a name of their own, what they have in the place of `config.dropout`: tables of some of
            its settings.
        seeds: one network is trained for each method and seed; a number stands for the seeds below it.
        baseline: the method that the others are compared with; None for torch's dropout, or the first without it.
        target_error: test error whose time is looked for: a share, or for numbers the root of the mean squared error;
            None for none.

    Raises:
        RangeError, KindError: a setting that cannot be run, or two methods that are the same.

    Examples:
        >>> settings = Settings(methods=("none", "torch:0.25", "few"), named={"few": {"kind": "batchwise", "p": 0.1}})
        >>> [settings.dropout(name).p for name in settings.methods]
        [0.5, 0.25, 0.1]
        >>> Settings(methods=("thinned", "thinned:0.5"))
        Traceback (most recent call last):
        ...
        thinned._errors.RangeError: `methods` must differ, but thinned and thinned:0.5 are the same.
    """

    config: Config = field(default_factory=lambda: Config.of({"data": DEFAULT}))
    methods: tuple[str, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    seeds: int | tuple[int, ...] = 3
    baseline: str | None = None
    target_error: float | None = None

    def __post_init__(self) -> None:
        for name, table in self.named.items():
            if not isinstance(table, Mapping):
                raise KindError(f"`named` must be a table for each name, but got {name}={table!r}.")
            if not name.strip() or name in (*methods.SENTENCES, *methods.ALIAS.values()):
                raise RangeError(f"`named` must have names of its own, but got {name!r}.")
            self.dropout(name)  # those too that are not compared now
        if not self.methods:
            object.__setattr__(self, "methods", (*methods.default(self.config.model), *self.named))
        if isinstance(self.seeds, int):
            if _check.positive(self.seeds, "seeds") > MOST_SEEDS:
                raise RangeError(f"`seeds` must be at most {MOST_SEEDS}, but got seeds={self.seeds}.")
            object.__setattr__(self, "seeds", tuple(range(self.seeds)))
        for kind, values in {"methods": self.methods, "seeds": self.each_seed}.items():
            if not values or len(set(values)) < len(values):
                told = ",".join(map(str, values))
                raise RangeError(f"`{kind}` must be at least one, none twice, but got {kind}={told!r}.")
        for seed in self.each_seed:
            _check.word64(seed, "seeds")
        for one, other in combinations(self.methods, 2):
            if _each_layer(self.dropout(one)) == _each_layer(self.dropout(other)):
                raise RangeError(f"`methods` must differ, but {one} and {other} are the same.")
        for name in self.methods:
            self.of_method(name)
        if self.baseline is not None and self.baseline not in self.methods:
            raise RangeError(
                f"`baseline` must be among the methods {', '.join(self.methods)}, but got baseline={self.baseline!r}."
            )
        if self.target_error is not None:
            _check.scale(self.target_error, "target_error")
        if self.config.penalties.patience:
            raise RangeError(
                "`patience` must be 0 in a comparison, whose networks are all trained for as many epochs, but got "
                f"patience={self.config.penalties.patience}."
            )

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> "Settings":
        """Make settings from plain tables, as TOML and JSON have them.

        Args:
            tables: as `Config.of` takes them, and one more: ``compare``, with the others of these settings by name.

        Returns:
            The settings, checked.

        Raises:
            RangeError, KindError: as for `Config.of`.

        Examples:
            >>> Settings.of(Settings(seeds=2).tables()) == Settings(seeds=(0, 1))
            True
        """
        common = dict(tables)
        own = common.pop("compare", {})
        if not isinstance(own, Mapping):
            raise KindError(f"`compare` must be a table of settings, but got compare={own!r}.")
        known = [entry.name for entry in fields(cls) if entry.name != "config"]
        for key in own:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, cutoff=0)[0]
                raise RangeError(f"`compare.{key}` is no setting; did you mean compare.{near}?")
        data = common.get("data", {})
        common["data"] = {**DEFAULT, **data} if isinstance(data, Mapping) else data
        return cls(Config.of(common), **typed(cls, "compare", own, unknown))

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return what `of` takes: plain tables with every setting.

        Returns:
            Those of `config`, and one named ``compare``.
        """
        own = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "config"}
        return {**self.config.tables(), "compare": plain(own)}

    def toml(self) -> str:
        """Return the settings as a TOML document that `request` reads.

        Returns:
            The text.
        """
        return toml(self.tables())

    @property
    def each_seed(self) -> tuple[int, ...]:
        """The seeds."""
        assert not isinstance(self.seeds, int)  # since it was made
        return self.seeds

    @property
    def rounds(self) -> int:
        """How many epochs each method is trained for, with all seeds together."""
        return len(self.each_seed) * self.config.training.epochs

    def dropout(self, name: str) -> DropoutSettings:
        """Return what the networks of a method drop.

        Args:
            name: of the method.

        Returns:
            The settings of dropout.
        """
        common = self.config.dropout
        if name in self.named:
            table = f"compare.named.{name}"
            known = [f"{table}.{entry.name}" for entry in fields(DropoutSettings)]
            return replace(
                common, **typed(DropoutSettings, table, self.named[name], lambda wrong: unknown(wrong, known))
            )
        return methods.method(name).dropout(common, self.config.model)

    def of_method(self, name: str) -> Config:
        """Return the settings of the networks of a method.

        Args:
            name: of the method.

        Returns:
            All of them.
        """
        return replace(self.config, dropout=self.dropout(name))

    def sentence(self, name: str) -> str:
        """Say what a method is.

        Args:
            name: of the method.

        Returns:
            A sentence or two.

        Examples:
            >>> Settings(methods=("few",), named={"few": {"p": 0.1}}).sentence("few")
            'Settings of its own: p = 0.1.'
        """
        if name not in self.named:
            return methods.method(name).sentence
        told = [f"{key} = {toml_value(value)}" for key, value in self.named[name].items()]
        return f"Settings of its own: {', '.join(told)}."


def _each_layer(dropped: DropoutSettings) -> DropoutSettings:
    """Return settings that are equal where networks are: what is the same for each layer is told once."""
    same = {
        name: value[0]
        for name in ("kind", "p")
        if isinstance(value := getattr(dropped, name), tuple) and len(set(value)) == 1
    }
    return replace(dropped, **same)


def request(path: Path | None, flags: Mapping[str, Any], own: Mapping[str, str]) -> Settings:
    """Make settings of a file and of flags, which go first.

    Args:
        path: a TOML file; None for none.
        flags: as for `thinned.lab.config.read`.
        own: texts of flags for the table ``compare``, by the names of its settings.

    Returns:
        The settings.

    Raises:
        RangeError, KindError: something that is no setting, or cannot be used.

    Examples:
        >>> settings = request(None, {"training.epochs": 3}, {"methods": "none,thinned:0.2", "seeds": "5"})
        >>> settings.methods, settings.seeds, settings.config.training.epochs
        (('none', 'thinned:0.2'), (0, 1, 2, 3, 4), 3)
    """
    tables = gathered(path, flags)
    tables.pop("tune", None)  # is for `thinned tune`
    hints = typing.get_type_hints(Settings)
    table = tables.get("compare", {})
    if isinstance(table, Mapping):
        given = {name: parsed_text(hints[name], name, text) for name, text in own.items()}
        if given.get("methods") == ():
            raise RangeError("`methods` must be at least one, or left out, but got methods=''.")
        tables["compare"] = {**table, **given}
    return Settings.of(tables)
