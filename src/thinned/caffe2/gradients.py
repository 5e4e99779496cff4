"""Gradients of operators, and of nets: which operators compute them, and under which names."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from thinned._errors import KindError, OperatorError
from thinned.caffe2.definitions import Argument, BlobReference, OperatorDef
from thinned.caffe2.registry import Gradient, find, is_operator

Version = tuple[str, int]  # a blob's name, and how often it had been written


class GradientRegistry:
    """Where the gradients of operators are found."""

    _python: dict[str, Gradient] = {}  # noqa: RUF012  # one registry for the process, as in Caffe2

    @classmethod
    def RegisterGradient(cls, op_type: str) -> Callable[[Gradient], Gradient]:
        """Return a decorator that makes a function the gradient of operators that have none of their own.

        Args:
            op_type: type of the operator.

        Returns:
            The decorator.
        """

        def register(maker: Gradient) -> Gradient:
            cls._python[op_type] = maker
            return maker

        return register

    @classmethod
    def GetGradientForOp(cls, op: Any, g_output: Sequence[Any]) -> tuple[list[OperatorDef], list[Any]]:
        """Return the operators that compute an operator's gradient, and the names of its inputs' gradients.

        Args:
            op: definition of the operator.
            g_output: the name of the gradient of each output, None where there is none.

        Returns:
            Definitions, with device, engine and arguments of `op`; and a name (or None) for each input.

        Raises:
            OperatorError: the definition breaks its schema; there is no gradient; one is missing that it needs.
        """
        definition: OperatorDef = op.Proto()
        for name in g_output:
            if name is not None and not isinstance(name, str):
                raise KindError(f"`g_output` must be names of dense gradients, or None, but got {name!r}.")
        entry = find(definition) if is_operator(definition.type) else None
        if entry is not None:
            entry.schema.verify(definition)
        if len(g_output) != len(definition.output):
            raise OperatorError(
                f"`g_output` must have one entry for each output of {definition.type}, {len(definition.output)}, but "
                f"got {len(g_output)}."
            )
        if entry is not None and entry.gradient is not None:
            made, g_input = entry.gradient(definition, g_output)
            return [_inherit(operator, definition) for operator in made], g_input
        if definition.type in cls._python:
            return cls._python[definition.type](definition, g_output)
        raise OperatorError(f"Exception when creating gradient for [{definition.type}]: there is none.")

    @classmethod
    def GetBackwardPass(
        cls, operators: Sequence[Any], ys: Sequence[str] | Mapping[str, str | None]
    ) -> tuple[list[OperatorDef], dict[BlobReference, BlobReference]]:
        """Return the operators of the backward pass of a run of operators.

        Args:
            operators: definitions, in the order in which they run.
            ys: blobs to start from: with the names of their gradients, or a list, and then ones are made for them.

        Returns:
            Definitions, and the name of the gradient of each blob that has one.

        Raises:
            OperatorError: a gradient is not there, or needs a blob that was overwritten since.
        """
        return _Backward([operator.Proto() for operator in operators]).run(ys)


def _inherit(made: OperatorDef, forward: OperatorDef) -> OperatorDef:
    own = {argument.name for argument in made.arg}
    arguments = [*made.arg, *(argument for argument in forward.arg if argument.name not in own)]
    device, engine = forward.device_option, forward.engine
    return replace(made, arg=arguments, device_option=device, engine=engine, is_gradient_op=True)


class _Backward:
    """The backward pass of one run of operators; a blob that is written again is another version of it."""

    def __init__(self, operators: list[OperatorDef]) -> None:
        self.operators = operators
        self.latest: dict[str, int] = {}
        self.reads: list[dict[str, Version]] = []
        self.writes: list[dict[str, Version]] = []
        for operator in operators:
            self.reads.append({name: (name, self.latest.get(name, 0)) for name in operator.input})
            for name in operator.output:
                self.latest[name] = self.latest.get(name, 0) + 1
            self.writes.append({name: (name, self.latest[name]) for name in operator.output})
        self.parts: dict[Version, list[str]] = {}  # the gradients that add up to that of a version
        self.done: dict[str, str] = {}  # blob -> its gradient, once nothing more is going to be added
        self.made: list[OperatorDef] = []

    def run(
        self, ys: Sequence[str] | Mapping[str, str | None]
    ) -> tuple[list[OperatorDef], dict[BlobReference, BlobReference]]:
        for y, gradient in (ys if isinstance(ys, Mapping) else dict.fromkeys(ys)).items():
            if y not in self.latest:
                raise OperatorError(f"`ys` must be outputs of the operators, but {y!r} is none.")
            self.parts[y, self.latest[y]] = [str(gradient) if gradient is not None else self._ones(y)]
        for operator, read, written in reversed(list(zip(self.operators, self.reads, self.writes, strict=True))):
            given = [self._total(written[name]) for name in operator.output]
            if any(name is not None for name in given):
                self._step(operator, read, written, given)
        for version in list(self.parts):  # blobs that no operator wrote
            self._total(version)
        return self.made, {BlobReference(name): BlobReference(grad) for name, grad in self.done.items()}

    def _ones(self, y: str) -> str:
        gradient = y + "_autogen_grad"
        writer = next(operator for operator in reversed(self.operators) if y in operator.output)
        one = [Argument("value", 1.0)]
        fill = OperatorDef("ConstantFill", [y], [gradient], arg=one, device_option=writer.device_option)
        self.made.append(fill)
        return gradient

    def _total(self, version: Version) -> str | None:
        """The gradient of a version; where several add up to it, an operator that does so."""
        parts = self.parts.pop(version, None)
        if parts is None:
            return None
        if len(parts) > 1:
            name = self._free(version)
            total = name if name in parts else self._free(version, parts)
            parts = sorted(parts, key=lambda part: part != total)  # in place over the first
            self.made.append(OperatorDef("Sum", parts, [total], is_gradient_op=True))
            parts = [total]
        self.done[version[0]] = parts[0]
        return parts[0]

    def _free(self, version: Version, parts: Sequence[str] = ()) -> str:
        """A name for a gradient of a version that no other gradient in use has."""
        blob = version[0]
        used = {name for names in self.parts.values() for name in names} | {*parts}
        used |= {name for other, name in self.done.items() if other != blob}
        names = itertools.chain([blob + "_grad"], (f"_{blob}_grad_autosplit_{k}" for k in itertools.count()))
        return next(name for name in names if name not in used)

    def _step(
        self, operator: OperatorDef, read: dict[str, Version], written: dict[str, Version], given: list[str | None]
    ) -> None:
        made, g_input = GradientRegistry.GetGradientForOp(operator, given)
        for name in {name for step in made for name in step.input}:
            version = written.get(name) or read.get(name)
            if version is not None and version[1] != self.latest.get(name, 0):
                raise OperatorError(
                    f"The gradient of {operator.type} needs {name!r} as it was then, but another operator has written "
                    f"it since; write to another blob there."
                )
        produced = {name for step in made for name in step.output}
        renamed: dict[str, str] = {}
        for blob, gradient in zip(operator.input, g_input, strict=True):
            if gradient is None:
                continue
            if gradient in produced and gradient not in renamed:
                renamed[gradient] = self._free(read[blob])
            self.parts.setdefault(read[blob], []).append(renamed.get(gradient, gradient))
        for step in made:
            step.output = [renamed.get(name, name) for name in step.output]
        self.made += made
