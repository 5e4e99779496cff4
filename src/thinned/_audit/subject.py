"""What is audited: any dropout as a function of a tensor, and the same dropout at another rate."""

import ast
import copy
import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thinned import _check
from thinned._errors import KindError, RangeError
from thinned.keys import Site

RATES = ("p", "drop_prob", "rate", "drop_rate", "drop_probability", "dropout_rate")  # as the libraries call it


@dataclass
class Subject:
    """A dropout as a function of a tensor.

    Attributes:
        name: how it is called in a report.
        p: its drop probability, or None if that is not known.
        call: the dropout, in training.
        with_p: makes the same dropout with another rate; None where it has no rate that could be set.
        evaluate: the dropout in eval mode; None where that cannot be asked for.
    """

    name: str
    p: float | None
    call: Callable[[Tensor], Any]
    with_p: Callable[[float], "Subject"] | None = None
    evaluate: Callable[[Tensor], Any] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the dropout of `x` as a torch tensor, whatever array it comes as.

        Args:
            x: floating tensor.

        Returns:
            A tensor of the same shape.

        Raises:
            KindError: it has another shape.
        """
        y = self.call(x)
        if not isinstance(y, Tensor):
            y = torch.as_tensor(np.asarray(y))
        if y.shape != x.shape:
            raise KindError(
                f"`layer_or_fn` must return a tensor of its input's shape, {tuple(x.shape)}, but got {tuple(y.shape)}."
            )
        return y


def subject(target: Any, p: float | None) -> Subject:
    """Return a layer or function as something that can be audited.

    Args:
        target: a module, a layer with `call(..., training)` as Keras's have, or a function of a tensor.
        p: its drop probability, if the caller says so.

    Returns:
        The subject; a module is copied and put into training mode.

    Raises:
        KindError: it cannot be called.

    Examples:
        >>> subject(torch.nn.Dropout(0.3), None).p
        0.3
    """
    if not callable(target) or isinstance(target, type):
        raise KindError(f"`layer_or_fn` must be a layer or a function, but got {target!r}.")
    if isinstance(target, torch.nn.Module) or hasattr(target, "call"):
        return _layer(target, p)
    return _function(target, p)


def _layer(layer: Any, p: float | None) -> Subject:
    name, call = type(layer).__name__, layer
    evaluate: Callable[[Tensor], Any] | None = None
    if "training" in _parameters(getattr(layer, "call", None)):  # Keras's way, also where its layers are modules
        call, evaluate = (functools.partial(layer, training=training) for training in (True, False))
    elif isinstance(layer, torch.nn.Module):
        call, evaluate = copy.deepcopy(layer).train(), copy.deepcopy(layer).eval()
    rate = next((rate for rate in RATES if _is_number(getattr(layer, rate, None))), None)
    if isinstance(layer, Site) and "p" not in _parameters(type(layer)):  # noise, or a rate that is learned
        rate = None
    if rate is None:
        return Subject(name, p, call, None, evaluate)

    def with_p(other: float) -> Subject:
        twin = copy.deepcopy(layer)
        setattr(twin, rate, other)
        return _layer(twin, other)

    return Subject(name, float(getattr(layer, rate)) if p is None else p, call, with_p, evaluate)


def _function(function: Callable[..., Any], p: float | None) -> Subject:
    parameters = _parameters(function)
    inner = getattr(function, "func", function)
    name = getattr(inner, "__name__", repr(inner))
    training = {"training": True} if "training" in parameters else {}
    rate = next((rate for rate in RATES if rate in parameters), None)
    if rate is None:
        evaluate = functools.partial(function, training=False) if training else None
        return Subject(name, p, functools.partial(function, **training), None, evaluate)
    if p is None and _is_number(parameters[rate].default):
        p = float(parameters[rate].default)

    def with_p(other: float) -> Subject:
        return Subject(name, other, functools.partial(function, **{rate: other}, **training))

    chosen = {} if p is None else {rate: p}
    evaluate = functools.partial(function, **chosen, training=False) if training else None
    return Subject(name, p, functools.partial(function, **chosen, **training), with_p, evaluate)


def load(target: str, p: float, options: Sequence[str] = ()) -> Callable[..., Any]:
    """Import a layer or function by its name, ready to be audited.

    Args:
        target: dotted name of a class or a function.
        p: drop probability that a class is made with.
        options: "name=value" for everything else; a value is a Python literal or else a string.

    Returns:
        A layer, or the function with the options bound.

    Raises:
        RangeError: there is no such name, an option has no "=", or `p` is outside [0, 1].
        KindError: the class cannot be made like that.

    Examples:
        >>> load("torch.nn.Dropout", 0.1, ["inplace=True"])
        Dropout(p=0.1, inplace=True)
    """
    p = _check.probability(p)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RangeError(
            f"`target` must be the dotted name of a layer or function, but got {target!r}: {error}."
        ) from None
    chosen = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise RangeError(f"`option` must be NAME=VALUE, but got {option!r}.")
        try:
            chosen[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            chosen[key] = value
    if not isinstance(found, type):
        return functools.partial(found, **chosen) if chosen else found
    rate = next((rate for rate in RATES if rate in _parameters(found)), None)
    try:
        return found(**({rate: p} if rate else {}), **chosen)  # type: ignore[no-any-return]
    except TypeError as error:
        raise KindError(f"{target} cannot be made with {chosen}: {error}.") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function in C may have none that can be read
        return {}
