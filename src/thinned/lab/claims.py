"""What a checkpoint claims to be, compared with what it holds, before memory is taken for it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from thinned._errors import DataError, ThinnedError
from thinned.lab.config import Config
from thinned.lab.examples import Shape
from thinned.lab.train import add_masks

LARGEST_JSON = 2**20  # bytes of a run's config.json or summary.json
MOST = 2**16  # settings of a run; of texts each character counts as one
# What a run may have otherwise when it goes on: where its data are, which are compared, and how it is run and watched.
FREE = ("data.name", "data.test", "run.device", "run.threads", "run.monitors", "run.checkpoint_steps", "run.keep",
        "run.tensorboard")  # fmt: skip


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one sentence that parts of a checkpoint do not fit together.

    Args:
        path: where it is.

    Raises:
        DataError: they do not.

    Examples:
        >>> with whole("a file"):
        ...     {}["trainer"]
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: a file must be a whole checkpoint of `thinned train`, but parts of it do not fit.
    """
    try:
        yield
    except DataError:
        raise
    except ThinnedError as error:
        raise DataError(f"{path} must be a checkpoint that this version can build, but: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{path} must be a whole checkpoint of `thinned train`, but parts of it do not fit.") from error


def settings(state: dict[str, Any]) -> tuple[Config, Shape]:
    """Read what a checkpoint says of its network.

    Args:
        state: what it holds.

    Returns:
        The settings, and the shape of the data.

    Raises:
        LookupError, TypeError, ValueError: they are something else.
        RangeError, KindError: they cannot be used.
    """
    tables, told = state["config"], state["shape"]
    _check_small(tables)
    _check_small(told)
    run = tables.get("run", {})
    if type(run.get("threads")) is int and run["threads"] > (os.cpu_count() or 1):
        tables = {**tables, "run": {**run, "threads": None}}  # of a machine with more processors
    shape = Shape(**{**told, "inputs": tuple(told["inputs"])})
    for size in (*shape.inputs, shape.outputs, shape.examples):
        if type(size) is not int or not 0 < size < 2**63:
            raise ValueError("the shape of the data")
    return Config.of(tables), shape


def check_settings(began: Any, now: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Refuse to go on with other settings than a run began with.

    Args:
        began: tables of settings that a checkpoint holds.
        now: those of the run's config.json.
        path: where this is, for a message.

    Raises:
        DataError: a setting that decides what comes out is another.
        TypeError, AttributeError: the checkpoint holds something else.

    Examples:
        >>> check_settings({"training": {"lr": 0.1}}, {"training": {"lr": 0.2}}, "config.json")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: config.json must have training.lr = 0.1, as the run began with, but has 0.2; put it \
back, or start a new run with other settings.
    """
    for section, table in now.items():
        for name, value in table.items():
            old = began.get(section, {}).get(name, value)  # one that is new since the run began has its default
            if old != value and f"{section}.{name}" not in FREE:
                raise DataError(
                    f"{path} must have {section}.{name} = {old}, as the run began with, but has {value}; put it back, "
                    "or start a new run with other settings."
                )


def check_weights(model: nn.Module, weights: Any, size: int, path: str | os.PathLike[str]) -> None:
    """Refuse weights that are not a network's, or are no numbers.

    Args:
        model: as for `check_shapes`.
        weights: likewise.
        size: likewise.
        path: likewise.

    Raises:
        DataError, TypeError: as for `check_shapes`, or some are no numbers.

    Examples:
        >>> check_weights(nn.Linear(2, 1, device="meta"), {"weight": torch.ones(1, 2)}, 100, "a file")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: a file must hold the weights of the network that its settings describe, but bias is \
missing.
    """
    check_shapes(model, weights, size, path)
    for name, given in weights.items():
        if given.is_floating_point() and not bool(given.isfinite().all()):
            raise DataError(f"{path} must hold weights that are numbers, but some of {name} are nan or infinite.")


def check_shapes(model: nn.Module, weights: Any, size: int, path: str | os.PathLike[str]) -> None:
    """Refuse weights that are not a network's.

    Args:
        model: the network; one on torch's meta device takes no memory. If the weights are pruned, it gets masks.
        weights: what a checkpoint holds as its state dict.
        size: bytes of the checkpoint.
        path: where it is, for a message.

    Raises:
        DataError: some are missing, too many, or of another shape or dtype; or the file has fewer bytes than they take.
        TypeError: it is no state dict.
    """
    if not isinstance(weights, dict) or not all(isinstance(part, Tensor) for part in weights.values()):
        raise TypeError("no state dict")
    add_masks(model, weights)
    wanted = model.state_dict(keep_vars=True)
    wrong = f"{path} must hold the weights of the network that its settings describe, but"
    for name in wanted:
        if name not in weights:
            raise DataError(f"{wrong} {name} is missing.")
    for name, given in weights.items():
        if name not in wanted:
            raise DataError(f"{wrong} has {str(name)[:80]!r} besides.")
        if _kind(given) != _kind(wanted[name]):
            raise DataError(f"{wrong} {name} is {_kind(given)}, not {_kind(wanted[name])}.")
    needed = sum(part.nbytes for part in {id(part): part for part in wanted.values()}.values())
    if needed > size:
        raise DataError(
            f"{path} must hold all weights of its network, which take {needed} bytes, but has {size} bytes in all."
        )


def small(path: Path) -> bytes:
    """Read a file of a run that is small.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        DataError: it is too large to be one.
        OSError: it cannot be read.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise DataError(f"{path} must be of a run of `thinned train`, but it is far too large.")
    return path.read_bytes()


def _kind(part: Tensor) -> str:
    return f"{str(part.dtype).removeprefix('torch.')} of shape {tuple(part.shape)}"


def _check_small(told: Any) -> None:
    """Refuse settings that are too many: lists in a pickle can hold each other, and so be endless in few bytes."""
    left, waiting = MOST, [told]
    while waiting:
        value = waiting.pop()
        left -= 1 + (len(value) if isinstance(value, str | dict | list | tuple) else 0)
        if left < 0:
            raise ValueError("too many settings")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
