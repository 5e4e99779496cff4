"""One page about one or several runs, of comparisons, of training, or of both, and the same numbers as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from thinned.lab import figures, page, paired, report, tables
from thinned.lab.runs import Joined, Run, join
from thinned.lab.tables import NONE, counted, error_text, seconds_text

TITLES = {"compare": "Comparison of dropout", "train": "Training"}


def joined(runs: Sequence[Run]) -> str:
    """Write the page of one or several runs.

    Args:
        runs: of any kind, at least one.

    Returns:
        A whole HTML document.
    """
    if len(runs) == 1:
        return page.page(_title(runs[0]), _parts(runs[0], 2, "figure"))
    headings = ["run", "data", "method", "seeds", "epochs", "test error", "seconds per epoch"]
    parts = [page.heading("All runs", 2), page.table(headings, overview(runs), words=3)]
    comparisons = {f"joined{i}": found for i, found in enumerate(join(runs), 1)}
    alone = {f"run{i}": run for i, run in enumerate(runs, 1)}
    headed = {anchor: f"Runs of training on {found.data}" for anchor, found in comparisons.items()}
    headed |= {anchor: _title(run) for anchor, run in alone.items()}
    parts.append(page.contents(headed))
    for anchor, found in comparisons.items():
        parts += [page.heading(headed[anchor], 2, anchor), *_joined_parts(found, f"{anchor}-")]
    for anchor, run in alone.items():
        parts += [page.heading(headed[anchor], 2, anchor), *_parts(run, 3, f"{anchor}-figure")]
    return page.page(f"Report of {len(runs)} runs", parts)


def _title(run: Run) -> str:
    return f"{TITLES[run.command]}: {run.name}"


def _parts(run: Run, level: int, prefix: str) -> list[str]:
    if run.summary is not None:
        return report.comparison_parts(run.config, run.summary, run.records, level=level, prefix=prefix)
    return report.training_parts(run, level=level, prefix=prefix)


def numbers(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the page of the same runs shows, as JSON has it.

    Args:
        runs: of any kind, at least one.

    Returns:
        Dictionaries, lists, texts and numbers.
    """
    return {
        "runs": [
            {
                "name": run.name,
                "folder": str(run.folder),
                **run.config,
                "found": asdict(run.summary or run.outcome) if run.summary or run.outcome else None,  # type: ignore[arg-type]
                "records": [json.loads(record.line()) for record in run.records],
            }
            for run in runs
        ],
        "joined": [
            {
                "data": found.data,
                "groups": [
                    {
                        "settings": group.label,
                        "runs": [run.name for run in group.runs],
                        "seeds": list(group.test_errors),
                        "test_errors": list(group.test_errors.values()),
                        "mean": group.mean,
                        "spread": group.spread,
                    }
                    for group in found.groups
                ],
                "differences": [asdict(difference) for difference in found.differences],
                "verdicts": found.verdicts,
            }
            for found in join(runs)
        ],
    }


def overview(runs: Sequence[Run]) -> list[list[str]]:
    """Return a table of what all runs found, a row for each method of each.

    Args:
        runs: of any kind.

    Returns:
        Seven texts for each row.
    """
    rows = []
    for run in runs:
        start = [run.name, run.config["data"]["name"]]
        if run.summary is not None:
            for row in run.summary.rows:
                cells = tables.cells(run.summary, row)
                error = cells[1] if cells[1] == NONE or run.summary.numbers else f"{cells[1]} %"
                seconds = NONE if row.seconds is None else seconds_text(row.seconds)
                rows.append([*start, row.method, str(len(run.summary.seeds)), str(run.summary.epoch), error, seconds])
        else:
            method = run.records[0].method if run.records else NONE
            error = NONE if run.outcome is None else error_text(run.outcome.test_error, run.numbers)
            seconds = seconds_text(statistics.median(r.seconds for r in run.records)) if run.records else NONE
            rows.append([*start, method, "1", str(len(run.records)), error, seconds])
    return rows


def _joined_parts(found: Joined, prefix: str) -> list[str]:
    apart = {difference.method: difference for difference in found.differences}
    scale, unit = (1, "") if found.numbers else (100, ", %")
    first = found.groups[0].label
    rows = [
        [
            group.label,
            ", ".join(map(str, group.test_errors)),
            error_text(group.mean, found.numbers).removesuffix(" %")
            + (f" ± {scale * group.spread:.3g}" if group.spread is not None else ""),
            "baseline"
            if group.label == first
            else paired.cell(apart[group.label], found.numbers)
            if group.label in apart
            else NONE,
        ]
        for group in found.groups
    ]
    lines = {
        group.label: [
            [
                (record.epoch, scale * record.validation_error)
                for record in run.records
                if record.validation_error is not None
            ]
            for run in group.runs
        ]
        for group in found.groups
    }
    drawn = {}
    if len(lines) <= report.MOST_LINES and all(all(several) for several in lines.values()):
        caption = "Validation error after each epoch, a line for each seed."
        drawn[caption] = figures.lines(lines, "epoch", f"validation error{unit}")
    if any(difference.low is not None for difference in found.differences):
        caption = (
            f"Difference in test error from {first}, with its {100 * paired.LEVEL:g} % interval. Left of 0 is better; "
            "an interval that holds 0 does not tell."
        )
        drawn[caption] = figures.intervals(
            found.differences, "test error" + ("" if found.numbers else ", points"), scale
        )
    unpaired = len(found.groups) - 1 - len(found.differences)
    return [
        *(page.paragraph(verdict, "verdict") for verdict in found.verdicts),
        page.table(["settings", "seeds", "test error" + unit, f"against {first}"], rows),
        page.paragraph(
            "Runs whose settings differ in more than the seed, side by side. Differences are of pairs with the same "
            "seed; the interval is Student's. It is about other seeds on these data, not about other data."
            + (f" {counted(unpaired, 'row')} without a seed of the first cannot be compared." if unpaired else ""),
            "note",
        ),
        *(page.paragraph(sentence, "note") for sentence in tables.several_intervals(found.differences)),
        page.drawings(drawn, prefix) if drawn else "",
    ]
