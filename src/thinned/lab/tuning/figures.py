"""The figures of a study."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinned.lab import figures
from thinned.lab.tuning.findings import Tried, short
from thinned.lab.tuning.space import Choices, Range, Space

DONE, BEST, PRUNED = figures.COLOURS[2], figures.COLOURS[1], figures.COLOURS[0]


def importance(shares: Mapping[str, float]) -> Any:
    """Draw how much each setting matters.

    Args:
        shares: as `thinned.lab.tuning.results.importance` returns them.

    Returns:
        A matplotlib figure.

    Examples:
        >>> [text.get_text() for text in importance({"training.lr": 0.75, "dropout.p": 0.25}).axes[0].texts]
        ['lr: 75 %', 'p: 25 %']
    """
    figure, axes, places = figures.rows([f"{short(name)}: {100 * share:.0f} %" for name, share in shares.items()])
    axes.barh(places, [*shares.values()], height=0.7, color=DONE)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance")
    return figure


def errors(rows: Sequence[Tried], space: Space, label: str, unit: float) -> dict[str, Any]:
    """Draw the validation error of each trial against each setting, rates first.

    Args:
        rows: the trials.
        space: what was searched.
        label: of the axis of errors.
        unit: by what errors are multiplied.

    Returns:
        A matplotlib figure for each setting that a trial has, by its caption.
    """
    names = sorted(space, key=lambda name: (not name.startswith("dropout."), isinstance(space[name], Choices)))
    drawn = {}
    for name in names:
        domain = space[name]
        points = [
            (row.settings[name], unit * row.validation_error, row.state == "complete")
            for row in rows
            if name in row.settings and row.validation_error is not None
        ]
        if points:
            numbers = isinstance(domain, Range) or all(type(value) in (int, float) for value in domain.values)
            against = _against_numbers if numbers else _against_words
            drawn[f"Validation error against {short(name)}, a mark for each trial."] = against(
                domain, points, short(name), label
            )
    return drawn


def _against_numbers(domain: Choices | Range, points: Sequence[tuple[Any, float, bool]], name: str, label: str) -> Any:
    figure, axes = figures.blank(figures.HEIGHT)
    if isinstance(domain, Choices):  # several trials have the same value: a line through the best of each
        least = _least(points)
        axes.plot(sorted(least), [least[at] for at in sorted(least)], color=BEST, label="best")
    _scatter(axes, [(float(value), error, done) for value, error, done in points])
    log = domain.log if isinstance(domain, Range) else None
    figures.scale(axes, "x", [float(value) for value, _, _ in points], log)
    figures.scale(axes, "y", [error for _, error, _ in points])
    axes.set_xlabel(name)
    axes.set_ylabel(label)
    figures.legend(figure)
    return figure


def _against_words(domain: Choices | Range, points: Sequence[tuple[Any, float, bool]], _: str, label: str) -> Any:
    assert isinstance(domain, Choices)
    words = [*map(str, domain.values)]
    figure, axes, places = figures.rows(words)
    place = dict(zip(words, places, strict=True))
    least = _least([(str(value), error, done) for value, error, done in points])
    for i, (word, error) in enumerate(least.items()):
        axes.plot(
            [error] * 2, [place[word] - 0.5, place[word] + 0.5], color=BEST, linewidth=2.5, label=None if i else "best"
        )
    _scatter(axes, [(error, place[str(value)], done) for value, error, done in points])
    figures.scale(axes, "x", [error for _, error, _ in points])
    axes.set_xlabel(label)
    figures.legend(figure)
    return figure


def _least(points: Sequence[tuple[Any, float, bool]]) -> dict[Any, float]:
    """The least error that was reached with each value, of trials that were trained to their end."""
    least: dict[Any, float] = {}
    for value, error, done in points:
        if done:
            least[value] = min(error, least.get(value, error))
    return least


def _scatter(axes: Any, points: Sequence[tuple[float, float, bool]]) -> None:
    for wanted, face, edge, label in ((True, DONE, DONE, "done"), (False, "none", PRUNED, "pruned")):
        some = [(x, y) for x, y, done in points if done == wanted]
        if some:
            axes.scatter(*zip(*some, strict=True), s=22, facecolors=face, edgecolors=edge, alpha=0.75, label=label)
