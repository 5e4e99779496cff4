"""Deferred imports of optional dependencies, with a hint where one is missing."""

import importlib
from types import ModuleType

from thinned._errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to install it.

    Args:
        module: dotted name of the module to import.
        extra: the extra of ``thinned`` that brings it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module cannot be imported.

    Examples:
        >>> require("json", "lab").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"`{package}` is needed here, but it cannot be imported; run: pip install 'thinned[{extra}]'."
        ) from error
