"""The figures of a report, as SVG to be put into a page."""

import io
import math
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from thinned._optional import require
from thinned.lab.paired import Difference
from thinned.lab.records import Record

COLOURS = ("#555555", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by all eyes
MARKERS = "os^Dv<>"
DASHES = ("-", "--")  # of the first seven lines and of the next: without its colour, each is still itself
MARKED = 15  # points of a line, about, that have a marker
WIDTH = 3.3  # inches; so small that lettering of 10 points has 12 pixels on a screen 320 pixels wide
HEIGHT = 2.3  # inches, without the legend
LINE = 0.17  # inches that a line of text takes
LETTERS = 30  # of a line of a name in a figure
LONGEST = 3  # lines of such a name
MANY, FEW = 6, 3  # parts of an axis, at most, and of one that numbers from LONG on stand side by side below
LONG = 10_000
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
    figure, axes = blank(HEIGHT)
    last = max(record.epoch for record in done)
    drawn = []
    for method, style in styles(methods, last):
        by_epoch = [
            [value(record) for record in done if record.method == method and record.epoch == epoch]
            for epoch in range(1, last + 1)
        ]
        epochs = range(1, last + 1)
        mean = [statistics.fmean(values) for values in by_epoch]
        low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, label=_plain(method), **style)
        drawn += low + high
    scale(axes, "y", drawn)
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(_round(True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    legend(figure)
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
    figure, axes, places = rows(methods)
    for place, (method, style) in zip(places, styles(methods, 1), strict=True):
        seconds, colour = [record.seconds for record in done if record.method == method], style["color"]
        # Spread over the row by the golden ratio, so that dots do not hide dots and a report can be made again.
        heights = [place + 0.8 * (i * 0.618 % 1 - 0.5) for i in range(len(seconds))]
        axes.plot(seconds, heights, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        axes.plot([statistics.median(seconds)] * 2, [place - 0.5, place + 0.5], color=colour, linewidth=2.5)
    axes.set_xlim(0, 1.05 * min(_end(methods, done), max(record.seconds for record in done)))
    axes.set_xlabel("seconds per epoch")
    return figure


def against_time(methods: Sequence[str], done: Sequence[Record], label: str, value: Callable[[Record], float]) -> Any:
    """Draw a value against the seconds of training, one line for each method, both the mean over the seeds.

    Args:
        methods: their order.
        done: the records; for each method the same seeds and epochs.
        label: of the vertical axis.
        value: what is drawn of a record.

    Returns:
        A matplotlib figure.

    Examples:
        >>> done = [Record("none", seed, epoch, 1, 0.5, seconds=2.0) for seed in (0, 1) for epoch in (1, 2)]
        >>> figure = against_time(["none"], done, "error", lambda record: record.test_error)
        >>> figure.axes[0].lines[0].get_xdata().tolist()
        [2.0, 4.0]
    """
    series = {}
    for method in methods:
        points, spent = [], 0.0
        mine = [record for record in done if record.method == method]
        for epoch in range(1, max(record.epoch for record in mine) + 1):
            now = [record for record in mine if record.epoch == epoch]
            spent += statistics.fmean(record.seconds for record in now)
            points.append((spent, statistics.fmean(map(value, now))))
        series[method] = [points]
    return lines(series, "seconds of training", label)


def lines(series: Mapping[str, Sequence[Sequence[tuple[float, float]]]], below: str, beside: str) -> Any:
    """Draw lines, those of one name alike.

    Args:
        series: points (x, y) of one or several lines, by their name; what is nan is left out.
        below: label of the horizontal axis.
        beside: label of the vertical axis.

    Returns:
        A matplotlib figure.

    Examples:
        >>> lines({"a": [[(1, 0.5), (2, 0.25)]]}, "epoch", "loss").axes[0].get_xlabel()
        'epoch'
    """
    figure, axes = blank(HEIGHT)
    points = [point for several in series.values() for line in several for point in line]
    for name, style in styles(list(series), max(len(line) for several in series.values() for line in several)):
        for i, line in enumerate(series[name]):
            x, y = ([point[axis] for point in line] for axis in (0, 1))
            axes.plot(x, y, label=None if i else _plain(name), **style)
    scale(axes, "y", [y for _, y in points])
    whole = all(float(x).is_integer() for x, _ in points)
    axes.xaxis.set_major_locator(_round(whole))
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    legend(figure)
    return figure


def intervals(differences: Sequence[Difference], label: str, factor: float) -> Any:
    """Draw differences and their intervals, one row for each.

    Args:
        differences: from the top.
        label: of the horizontal axis.
        factor: by what they are multiplied.

    Returns:
        A matplotlib figure.

    Examples:
        >>> found = Difference("batchwise", "torch", 3, 0.0005, -0.001, 0.002)
        >>> intervals([found], "points", 100).axes[0].texts[0].get_text()
        'batchwise'
    """
    figure, axes, places = rows([found.method for found in differences])
    axes.axvline(0, color="#222222", linewidth=1)
    for place, found in zip(places, differences, strict=True):
        if found.low is not None and found.high is not None:
            axes.plot([factor * found.low, factor * found.high], [place, place], color=COLOURS[2], linewidth=2.5)
        axes.plot([factor * found.mean], [place], "o", color=COLOURS[2], markersize=6)
    ends = [end for found in differences for end in (found.low, found.mean, found.high) if end is not None]
    scale(axes, "x", [factor * end for end in ends], log=False)
    axes.set_xlabel(label)
    return figure


def reliability(points: Sequence[tuple[float, float]]) -> Any:
    """Draw how often a network is right against how sure it is.

    Args:
        points: confidence and accuracy of each bin, both in [0, 1].

    Returns:
        A matplotlib figure.

    Examples:
        >>> [line.get_label() for line in reliability([(0.75, 0.5)]).axes[0].lines]
        ['calibrated', 'this network']
    """
    figure, axes = blank(HEIGHT)
    axes.plot([0, 1], [0, 1], color=COLOURS[0], linestyle="--", linewidth=1.3, label="calibrated")
    ((_, style),) = styles(["this network"], len(points))
    axes.plot(*zip(*points, strict=True), label="this network", **{**style, "color": COLOURS[2]})
    axes.set_xlabel("mean confidence")
    axes.set_ylabel("accuracy")
    legend(figure)
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


def blank(height: float) -> tuple[Any, Any]:
    """Return an empty figure, made without pyplot: nothing global is touched.

    Args:
        height: in inches.

    Returns:
        The figure and its axes.
    """
    figure = require("matplotlib.figure", "lab").Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def rows(names: Sequence[str]) -> tuple[Any, Any, list[float]]:
    """Return a figure with a row for each name, which stands above it: beside it, it would leave a phone no room.

    Args:
        names: from the top.

    Returns:
        The figure, its axes, and for each row its middle on the vertical axis; half a unit above and below it is free.
    """
    labels = [_plain(name) for name in names]
    tops = [0.0]
    for label in labels:
        tops.append(tops[-1] + label.count("\n") + 2.7)
    figure, axes = blank(0.6 + LINE * tops[-1])
    for label, top in zip(labels, tops, strict=False):
        ground = {"color": "white", "pad": 1}  # no line runs through the letters
        axes.text(0, top + 0.1, label, transform=axes.get_yaxis_transform(), va="top", bbox=ground)
    axes.set_ylim(tops[-1], 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(_round())
    return figure, axes, [after - 0.95 for after in tops[1:]]


def styles(names: Sequence[str], points: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return how lines are drawn, so that they can be told apart with and without their colour.

    Args:
        names: of up to 14 lines.
        points: of the longest line; of many, some are marked.

    Yields:
        A name, and arguments for matplotlib.

    Examples:
        >>> [style["marker"] for _, style in styles(["a", "b"], 10)]
        ['o', 's']
    """
    for i, name in enumerate(names):
        turn, place = divmod(i, len(COLOURS))
        yield (
            name,
            {
                "color": COLOURS[place],
                "marker": MARKERS[place],
                "linestyle": DASHES[turn % len(DASHES)],
                "markersize": 4,
                "linewidth": 1.3,
                "markevery": max(1, points // MARKED),
            },
        )


def legend(figure: Any) -> None:
    """Write the names of lines above a figure, where they hide nothing, and give it the room for them.

    Args:
        figure: of which some lines have a label.
    """
    labels = figure.axes[0].get_legend_handles_labels()[1]
    across = max(1, LETTERS // max(len(line) + 3 for label in labels for line in label.splitlines()))
    down = [max(label.count("\n") + 1 for label in labels[i : i + across]) for i in range(0, len(labels), across)]
    figure.set_figheight(figure.get_figheight() + LINE * sum(down))
    figure.legend(loc="outside upper left", frameon=False, ncols=across, handlelength=2.2, columnspacing=1, borderpad=0)


def scale(axes: Any, which: str, values: Sequence[float], log: bool | None = None) -> None:
    """Choose a scale, with plain numbers at its ticks.

    Args:
        axes: of the figure.
        which: ``"x"`` or ``"y"``; side by side numbers need more room than one above the other.
        values: what is drawn; nan and infinity do not count.
        log: whether it is to be logarithmic, if it can be; None for where values span a wide range.
    """
    finite = [value for value in values if math.isfinite(value)]
    axis, ticker = getattr(axes, f"{which}axis"), _ticker()
    ratio = max(finite) / min(finite) if finite and min(finite) > 0 else 1.0
    if ratio > 4 and log is not False:
        subs = (1, 2, 5) if which == "y" or ratio < 10 else (1, 3) if ratio < 100 else (1,)
        getattr(axes, f"set_{which}scale")("log")
        axis.set_major_locator(ticker.LogLocator(subs=subs))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    else:
        whole = all(float(value).is_integer() for value in values)
        crowded = which == "x" and any(abs(value) >= LONG for value in finite)
        axis.set_major_locator(_round(whole, FEW if crowded else MANY))


def _plain(name: str) -> str:
    """Return a name as it is to be drawn: in short lines, and nothing that matplotlib takes for a formula or hides."""
    printable = "".join(c if c.isprintable() else "?" for c in name).lstrip("_")
    short = textwrap.wrap(printable, LETTERS, max_lines=LONGEST, placeholder="…")
    return "\n".join(short).replace("$", r"\$") or "?"


def _end(methods: Sequence[str], done: Sequence[Record]) -> float:
    """Return where the axis of times ends at most."""
    medians = [statistics.median(r.seconds for r in done if r.method == method) for method in methods]
    return MEDIANS_SHOWN * max(medians)


def _round(whole: bool = False, most: int = MANY) -> Any:
    """Return what places a few ticks at round numbers."""
    return _ticker().MaxNLocator(most, steps=(1, 2, 5, 10), integer=whole, min_n_ticks=1)


def _ticker() -> Any:
    return require("matplotlib.ticker", "lab")
