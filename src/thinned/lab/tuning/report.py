"""The page of a study: what was searched, what was found, and what mattered."""

from collections.abc import Mapping
from typing import Any

from thinned.lab import page, tables
from thinned.lab.tables import counted
from thinned.lab.tuning import figures, findings
from thinned.lab.tuning.findings import Found
from thinned.lab.tuning.space import Choices, Range, Space


def study(config: Mapping[str, Any], found: Found, space: Space) -> str:
    """Write the page of a study.

    Args:
        config: what its ``config.json`` holds.
        found: by the search.
        space: that was searched.

    Returns:
        A whole HTML document.
    """
    run = "" if found.best is None else f", best-{found.best.trial} (the run that trained them again)"
    beside = (
        f"Beside this file: best.toml (the best settings, for thinned train){run}, trials.jsonl (one line for each "
        "trial) and summary.json."
    )
    parts = study_parts(config, found, space, level=2, prefix="figure")
    return page.page(f"Search: {found.study}", [*parts, page.paragraph(beside, "note") if found.test else ""])


def study_parts(config: Mapping[str, Any], found: Found, space: Space, *, level: int, prefix: str) -> list[str]:
    """Write the parts of a page that are about one study.

    Args:
        config: what its ``config.json`` holds.
        found: by the search, done or not.
        space: that is searched.
        level: of the headings.
        prefix: of the ids in its figures.

    Returns:
        Elements of HTML.
    """
    told = (
        f"{counted(len(found.rows), 'trial')} on the data {config['data']['name']}, {found.pruned} of them given up "
        f"before their end. Each trained one network, and was judged by its validation error. {config['data']['note']}"
    )
    best = findings.ranked(found.rows)[: findings.SHOWN]
    *headings, settings = findings.HEADINGS
    rows = [[words, *rest] for *rest, words in (findings.cells(row, found.numbers) for row in best)]
    standardised = found.numbers and bool(config["tables"].get("data", {}).get("standardise"))
    about = (
        f"Trials that were trained to the end, the best first; {len(best)} of {found.complete}. "
        f"{tables.what_errors_are(found.numbers, standardised)}"
    )
    drawn = _drawn(found, space)
    return [
        page.paragraph(told.rstrip()),
        page.heading("Result", level),
        *(page.paragraph(text, "warning") for text in findings.problems(found)),
        page.paragraph(findings.verdict(found), "verdict"),
        *([page.table([settings, *headings], rows), page.paragraph(about, "note")] if rows else []),
        *([page.heading("What mattered", level)] if drawn else []),
        *(page.paragraph(text, "note") for text in findings.unsure(found) if drawn),
        page.drawings(drawn, prefix) if drawn else "",
        page.heading("What was searched", level),
        page.entries({name: _domain(domain) for name, domain in space.items()}),
        page.heading("Settings", level),
        page.entries(_settings(config)),
        page.paragraph("All other settings are the default.", "note"),
    ]


def _drawn(found: Found, space: Space) -> dict[str, Any]:
    unit, scale = ("", 1.0) if found.numbers else (", %", 100.0)
    drawn = figures.errors(found.rows, space, f"validation error{unit}", scale)
    if not found.importance:
        return drawn
    caption = (
        "Share of each setting in the variance of the validation error (fANOVA), within the space that was searched, "
        "on these data."
    )
    return {caption: figures.importance(found.importance), **drawn}


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    fixed = {
        f"{section}.{name}": _said(value)
        for section, table in config["tables"].items()
        for name, value in table.items()
    }
    environment = {key: str(value) for key, value in config["environment"].items()}
    return {"sampler": config["sampler"], "pruner": config["pruner"], **fixed, **environment}


def _domain(domain: Choices | Range) -> str:
    if isinstance(domain, Choices):
        return "; ".join(map(_said, domain.values))
    how = " on a logarithmic scale" if domain.log else ""
    step = f", in steps of {domain.step:g}" if domain.step is not None else ""
    return f"{domain.low:g} to {domain.high:g}{how}{step}"


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
