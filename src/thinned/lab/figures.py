"""The figures of a report, as SVG to be put into a page."""

import io
import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from thinned._optional import require
from thinned.lab.records import Record

COLOURS = ("#555555", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by all eyes
MARKERS = "os^Dv<>"
WIDTH = 4.6  # inches; small, so that the lettering can be read on a phone
MEDIANS_SHOWN = 2  # the axis of times ends at this many times the largest median: one hiccup must not squeeze the rest


def curves(methods: Sequence[str], done: Sequence[Record], label: str, value: Callable[[Record], float]) -> Any:
    """Draw a value against the epoch, one line for each method.

    Args:
        methods: their order.
        done: the records; for each method the same seeds and epochs.
        label: of the vertical axis.
        value: what is drawn of a record.

    Returns:
        A matplotlib figure.

    Examples:
        >>> done = [Record("none", 0, epoch, 1 / epoch, 0.5, 1.5) for epoch in (1, 2, 3)]
        >>> figure = curves(["none"], done, "training loss", lambda record: record.train_loss)
        >>> figure.axes[0].get_ylabel()
        'training loss'
    """
    figure, axes = _figure(height=3.1)
    last = max(record.epoch for record in done)
    drawn = []
    for method, colour, marker in _styles(methods):
        by_epoch = [
            [value(record) for record in done if record.method == method and record.epoch == epoch]
            for epoch in range(1, last + 1)
        ]
        epochs = range(1, last + 1)
        mean = [statistics.fmean(values) for values in by_epoch]
        low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        # A marker for every epoch while they can be told apart: a line alone does not show a single epoch.
        axes.plot(epochs, mean, color=colour, marker=marker if last <= 30 else None, markersize=3.5, label=method)
        drawn += low + high
    _scale(axes.yaxis, axes.set_yscale, drawn)
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(_ticker().MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    return figure


def times(methods: Sequence[str], done: Sequence[Record]) -> Any:
    """Draw the seconds of every epoch as dots, and their median as a bar, one row for each method.

    Args:
        methods: their order, from the top.
        done: the records.

    Returns:
        A matplotlib figure.

    Examples:
        >>> figure = times(["none"], [Record("none", 0, 1, 0.5, 0.5, seconds=1.5)])
        >>> figure.axes[0].get_xlabel()
        'seconds per epoch'
    """
    figure, axes = _figure(height=0.9 + 0.5 * len(methods))
    for row, (method, colour, _) in enumerate(_styles(methods)):
        seconds = [record.seconds for record in done if record.method == method]
        # Spread over the row by the golden ratio, so that dots do not hide dots and a report can be made again.
        heights = [row + 0.6 * (i * 0.618 % 1 - 0.5) for i in range(len(seconds))]
        axes.plot(seconds, heights, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        axes.plot([statistics.median(seconds)] * 2, [row - 0.38, row + 0.38], color=colour, linewidth=2.5)
    axes.set_xlim(0, 1.05 * min(_end(methods, done), max(record.seconds for record in done)))
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(range(len(methods)), methods)
    axes.xaxis.set_major_locator(_ticker().MaxNLocator(6))
    axes.set_xlabel("seconds per epoch")
    return figure


def beyond(methods: Sequence[str], done: Sequence[Record]) -> int:
    """Count the dots that `times` leaves out.

    Args:
        methods: as for `times`.
        done: as for `times`.

    Returns:
        How many epochs took longer than the axis shows.

    Examples:
        >>> beyond(["none"], [Record("none", 0, 1, 0.5, 0.5, seconds) for seconds in (1.0, 1.0, 9.0)])
        1
    """
    return sum(record.seconds > 1.05 * _end(methods, done) for record in done)


def svg(figure: Any, prefix: str, description: str) -> str:
    """Return a figure as an SVG element for an HTML page.

    Args:
        figure: a matplotlib figure.
        prefix: goes before every id, as ids must differ within a page.
        description: for readers who do not see it.

    Returns:
        The element, from its opening tag to its closing tag.

    Examples:
        >>> figure = times(["none"], [Record("none", 0, 1, 0.5, 0.5, seconds=1.5)])
        >>> svg(figure, "first-", "Times").partition("xmlns")[0]
        '<svg role="img" aria-label="Times" '
    """
    buffer = io.StringIO()
    with require("matplotlib", "lab").rc_context({"svg.fonttype": "path", "svg.hashsalt": prefix}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def _figure(height: float) -> tuple[Any, Any]:
    """Return an empty figure and its axes, made without pyplot: nothing global is touched."""
    figure = require("matplotlib.figure", "lab").Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _styles(methods: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for i, method in enumerate(methods):
        yield method, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


def _end(methods: Sequence[str], done: Sequence[Record]) -> float:
    """Return where the axis of times ends at most."""
    medians = [statistics.median(r.seconds for r in done if r.method == method) for method in methods]
    return MEDIANS_SHOWN * max(medians)


def _scale(axis: Any, set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    """Choose a logarithmic scale where values span a wide range, with plain numbers at its ticks."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 4 * min(finite):
        set_scale("log")
        ticker = _ticker()
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


def _ticker() -> Any:
    return require("matplotlib.ticker", "lab")
