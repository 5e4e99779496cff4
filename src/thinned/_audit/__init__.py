"""Measuring any dropout: what it drops, what it keeps, and what it does at the edges."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from thinned import _check
from thinned._audit import edges, statistics
from thinned._audit.statistics import Finding as Finding
from thinned._audit.subject import subject
from thinned._errors import RangeError


class Audit(list[Finding]):
    """What `audit` found; prints as a table.

    Args:
        name: what was audited.
        p: its drop probability, or None if that is not known.
        findings: one for each check.
    """

    def __init__(self, name: str, p: float | None, findings: Sequence[Finding] = ()) -> None:
        super().__init__(findings)
        self.name = name
        self.p = p

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return all(finding.verdict != "fails" for finding in self)

    def __str__(self) -> str:
        rows = [("check", "verdict", "measured", "expected")]
        rows += [(finding.check, finding.verdict, finding.measured, finding.expected) for finding in self]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        failed = sum(finding.verdict == "fails" for finding in self)
        end = f"{failed} of {len(self)} checks fail." if failed else "Nothing fails."
        return "\n".join([f"{self.name}, p = {'unknown' if self.p is None else f'{self.p:g}'}", *lines, end])

    def json(self) -> str:
        """Return the audit for machines.

        Returns:
            One JSON object: name, p, passed, and a list of findings.
        """
        findings = [asdict(finding) for finding in self]
        return json.dumps({"name": self.name, "p": self.p, "passed": self.passed, "findings": findings}, indent=2)


def audit(
    layer_or_fn: Callable[..., Any],
    p: float | None = None,
    *,
    shape: Sequence[int] | None = None,
    calls: int = 200,
    seed: int = 0,
) -> Audit:
    """Measure a dropout: rate, mean, variance, correlations, backward, extreme rates and values, half precision.

    It works on whatever takes a tensor and returns one of its shape: layers of this package, of torch, timm,
    torchvision and Keras, and functions. A layer is audited in training mode, on a copy, and torch's generator is left
    as it was. A faultless dropout fails with probability below 1e-6.

    Args:
        layer_or_fn: a module, a function of a tensor, or a layer whose call takes `training` as Keras's do.
        p: its drop probability; read from the layer or function where that has a `p`, `rate` or `drop_prob`.
        shape: shape of the inputs; (64, 512), with more axes where the name says 1d, 2d or 3d.
        calls: how many calls the statistics are made of.
        seed: seed of torch's generator for the audit.

    Returns:
        The findings. `print` shows a table, `.passed` says whether nothing fails, `.json()` is for machines.

    Raises:
        TypeError: it cannot be called, or returns something of another shape.
        ValueError: `p` is outside [0, 1], or the shape has no elements.

    Examples:
        >>> thinned.audit(thinned.nn.Dropout(0.3), calls=50).passed
        True
        >>> found = thinned.audit(torch.nn.Dropout(0.3), calls=50)
        >>> sum(finding.verdict == "fails" for finding in found)  # what becomes of inf and nan
        2
    """
    dropout = subject(layer_or_fn, None if p is None else _check.probability(p))
    sizes = _check.sizes(_usual_shape(dropout.name) if shape is None else shape, "shape")
    if len(sizes) < 1 or 0 in sizes:
        raise RangeError(f"`shape` must have elements, but got shape={sizes}.")
    calls = _check.positive(calls, "calls")
    seed = _check.signed64(_check.word64(seed, "seed"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = statistics.sample(dropout, sizes, calls)
        correlations = statistics.correlations(found)
        independent = all(finding.verdict == "ok" or "one decision" in finding.measured for finding in correlations)
        return Audit(
            dropout.name,
            dropout.p,
            [
                statistics.rate(dropout, found, independent),
                *statistics.moments(dropout, found),
                statistics.mean(dropout, sizes, calls, found),
                *correlations,
                edges.backward(dropout, sizes),
                edges.evaluation(dropout, sizes),
                *edges.reproducibility(dropout, sizes, seed),
                *edges.extreme_rates(dropout, sizes),
                *edges.extreme_values(dropout, sizes, found),
                *(edges.half(dropout, sizes, found, dtype) for dtype in edges.HALVES),
                edges.variance_shift(dropout, sizes),
            ],
        )


def _usual_shape(name: str) -> tuple[int, ...]:
    spatial = next((n for n in (1, 2, 3) if f"{n}d" in name.lower()), 0)
    return ((64, 512), (32, 64, 8), (16, 16, 14, 14), (16, 16, 6, 6, 6))[spatial]


__all__ = ["Audit", "Finding", "audit"]
