"""Operator objects: made of a definition once, and run as often as one likes."""

from collections.abc import MutableMapping
from typing import Any

from thinned._errors import OperatorError
from thinned.caffe2.definitions import OperatorDef
from thinned.caffe2.random import Random
from thinned.caffe2.registry import Run, find


class Operator:
    """One operator object: its arguments are checked once, and its random numbers go on from run to run.

    Args:
        definition: of the operator.
        blobs: of the workspace; the outputs are created in it if they are not there.

    Raises:
        OperatorError: the definition, an argument or the device will not do, or an input does not exist.
    """

    def __init__(self, definition: OperatorDef, blobs: MutableMapping[str, Any]) -> None:
        self.entry = find(definition)
        self.entry.schema.verify(definition)
        implementation = self.entry.implementation(definition)
        for name in definition.input:
            if name not in blobs:
                raise OperatorError(f"op {definition.type}: Encountered a non-existing input blob: {name}")
        for name in definition.output:
            blobs.setdefault(name, None)
        if implementation.check:
            implementation.check(definition, blobs)
        self.definition, self.blobs = definition, blobs
        self.random = Random(definition, implementation.seed)

    def run(self) -> None:
        """Compute the outputs; nothing is written unless all of them were computed.

        Raises:
            OperatorError: an input holds nothing, or what it holds will not do.
        """
        inputs = [self.blobs.get(name) for name in self.definition.input]
        for name, value in zip(self.definition.input, inputs, strict=True):
            if value is None:
                raise OperatorError(f"op {self.definition.type}: blob {name!r} must hold a tensor, but it is empty.")
        outputs = self.entry.run_on_device(Run(self.definition, inputs, self.random, self.blobs))
        self.blobs.update(
            {name: value for name, value in zip(self.definition.output, outputs, strict=True) if value is not None}
        )
