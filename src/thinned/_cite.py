"""The papers behind the dropout of a model."""

import torch

from thinned._convert import RULES
from thinned._errors import KindError


def cite(model: torch.nn.Module) -> None:
    """Print the BibTeX of the papers that the dropout layers of a model come from, each once.

    A layer's class names its paper as `reference`; torch's own dropout layers count as the layers here that take their
    place.

    Args:
        model: any module.

    Raises:
        TypeError: not a module.

    Examples:
        >>> thinned.cite(torch.nn.Sequential(thinned.nn.Dropout(0.5)))  # doctest: +ELLIPSIS
        @article{srivastava2014dropout,
        ...
    """
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")
    kinds = (RULES.get(type(module), type(module)) for module in model.modules())
    found = dict.fromkeys(getattr(kind, "reference", None) for kind in kinds)  # a set that keeps its order
    print("\n\n".join(text for text in found if text))
