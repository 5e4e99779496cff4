"""The figures of a study, as files of SVG that need nothing else."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from thinned._optional import require
from thinned.lab.figures import COLOURS
from thinned.lab.tuning.findings import Tried, short
from thinned.lab.tuning.space import Choices, Range, Space

WIDTH = 4.6  # inches of a panel
HEIGHT = 3.1
ACROSS = 2  # panels in a row
WIDE = 20  # from the least to the greatest, that an axis is logarithmic


def importance(shares: Mapping[str, float]) -> str:
    """Draw how much each setting matters.

    Args:
        shares: as `thinned.lab.tuning.findings.importance` returns them.

    Returns:
        An SVG document.

    Examples:
        >>> importance({"training.lr": 0.75, "dropout.p": 0.25}).startswith("<?xml")
        True
    """
    figure = _figure(WIDTH, 0.9 + 0.35 * len(shares))
    axes = figure.add_subplot()
    axes.barh([short(name) for name in shares], [*shares.values()], color=COLOURS[2])
    for row, share in enumerate(shares.values()):
        axes.text(share, row, f" {100 * share:.0f} %", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(shares.values()))
    axes.set_xlabel("share of the variance of the validation error (fANOVA)")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def errors(rows: Sequence[Tried], space: Space) -> str:
    """Draw the validation error of each trial against each setting, rates first.

    Args:
        rows: the trials.
        space: what was searched.

    Returns:
        An SVG document.
    """
    names = sorted(space, key=lambda name: (not name.startswith("dropout."), isinstance(space[name], Choices)))
    rows = [row for row in rows if row.validation_error is not None]
    down = -(-len(names) // ACROSS)
    across = min(len(names), ACROSS)
    figure = _figure(WIDTH * across, HEIGHT * down)
    for i, name in enumerate(names):
        axes = figure.add_subplot(down, across, i + 1)
        _panel(axes, rows, name, space[name])
        axes.set_ylabel("validation error" if i % ACROSS == 0 else "")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return _svg(figure)


def _panel(axes: Any, rows: Sequence[Tried], name: str, domain: Choices | Range) -> None:
    """Draw one setting: numbers on an axis, other values side by side, each with its least error as a line."""
    shown = [row for row in rows if name in row.settings]
    numbers = isinstance(domain, Range) or all(type(value) in (int, float) for value in domain.values)
    labels = [] if isinstance(domain, Range) else [str(value) for value in domain.values]

    def place(row: Tried) -> float:
        return float(row.settings[name]) if numbers else labels.index(str(row.settings[name]))

    for state, face, colour in (("complete", COLOURS[2], COLOURS[2]), ("pruned", "none", COLOURS[0])):
        some = [row for row in shown if row.state == state]
        if some:
            label = f"{state} ({len(some)})"
            axes.scatter([*map(place, some)], [row.validation_error for row in some], s=22, label=label,
                         facecolors=face, edgecolors=colour, alpha=0.75)  # fmt: skip
    if isinstance(domain, Choices):  # several trials have the same value: the best of them
        least: dict[float, float] = {}
        for row in shown:
            if row.state == "complete" and row.validation_error is not None:
                least[place(row)] = min(row.validation_error, least.get(place(row), row.validation_error))
        line, marker = ("-", "") if numbers else ("", "_")
        axes.plot(sorted(least), [least[at] for at in sorted(least)], line, color=COLOURS[1], label="best",
                  marker=marker, markersize=14)  # fmt: skip
    if not numbers:
        axes.set_xticks(range(len(labels)), labels, rotation=30 if len("".join(labels)) > 30 else 0, ha="center")
        axes.set_xlim(-0.5, len(labels) - 0.5)
    at = [*map(place, shown)] if numbers else []
    errors = [row.validation_error for row in shown if row.validation_error is not None]
    for drawn, scale in ((at, axes.set_xscale), (errors, axes.set_yscale)):
        if drawn and 0 < WIDE * min(drawn) < max(drawn):
            scale("log")
    axes.set_xlabel(short(name))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Any:
    return require("matplotlib.figure", "lab").Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    with require("matplotlib", "lab").rc_context({"svg.fonttype": "path", "svg.hashsalt": "thinned"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
