"""The program `thinned`, outside of the package `thinned`: it can print its help without waiting for torch."""

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

EXTRA = ("click", "rich", "sklearn", "matplotlib")


def main() -> None:
    """Run the command line, or say what to install for it."""
    missing = [package for package in EXTRA if importlib.util.find_spec(package) is None]
    if missing:
        print(f"The command line needs {', '.join(missing)}; run: pip install 'thinned[lab]'.", file=sys.stderr)
        sys.exit(2)
    program()(prog_name="thinned")


def program() -> "click.Group":
    """Return the program, with all its commands.

    Returns:
        A group of click.

    Examples:
        >>> sorted(program().commands)
        ['audit', 'compare', 'info', 'predict', 'report', 'train', 'tune']
    """
    from thinned_cli import compare, predict, report, train, tune  # noqa: F401, each adds its command
    from thinned_cli.commands import thinned

    return thinned
