"""One page about runs and studies, of comparisons, of training, of tuning, or of all, and the same numbers as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from thinned.lab import figures, gathering, page, paired, report, tables
from thinned.lab.gathering import Passed
from thinned.lab.runs import Joined, Run, join
from thinned.lab.tables import NONE, counted, error_text, seconds_text
from thinned.lab.tuning.past import Study
from thinned.lab.tuning.report import study_parts

TITLES = {"compare": "Comparison of dropout", "train": "Training", "tune": "Search"}


def joined(found: Sequence[Run | Study], passed: Sequence[Passed] = ()) -> str:
    """Write the page of one or several runs and studies.

    Args:
        found: of any kind, at least one.
        passed: what was passed over.

    Returns:
        A whole HTML document.
    """
    warned = [page.paragraph(text, "warning") for text in gathering.warnings(passed)]
    if len(found) == 1:
        return page.page(_title(found[0]), [*warned, *_parts(found[0], 2, "figure")])
    headings = ["run", "data", "method", "seeds", "epochs", "test error", "seconds per epoch"]
    parts = [*warned, page.heading("All runs", 2), page.table(headings, overview(found), words=3)]
    comparisons = {f"joined{i}": one for i, one in enumerate(join(_runs(found)), 1)}
    alone = {f"run{i}": one for i, one in enumerate(found, 1)}
    headed = {anchor: f"Runs of training on {one.data}" for anchor, one in comparisons.items()}
    headed |= {anchor: _title(one) for anchor, one in alone.items()}
    parts.append(page.contents(headed))
    for anchor, several in comparisons.items():
        parts += [page.heading(headed[anchor], 2, anchor), *_joined_parts(several, f"{anchor}-")]
    for anchor, one in alone.items():
        parts += [page.heading(headed[anchor], 2, anchor), *_parts(one, 3, f"{anchor}-figure")]
    return page.page(f"Report of {len(found)} runs", parts)


def _title(one: Run | Study) -> str:
    return f"{TITLES[one.config['command']]}: {one.name}"


def _parts(one: Run | Study, level: int, prefix: str) -> list[str]:
    if isinstance(one, Study):
        return study_parts(one.config, one.found, one.space, level=level, prefix=prefix)
    if one.summary is not None:
        return report.comparison_parts(one.config, one.summary, one.records, level=level, prefix=prefix)
    return report.training_parts(one, level=level, prefix=prefix)


def _runs(found: Sequence[Run | Study]) -> list[Run]:
    return [one for one in found if isinstance(one, Run)]


def numbers(found: Sequence[Run | Study], passed: Sequence[Passed] = ()) -> dict[str, Any]:
    """Return what the page of the same runs and studies shows, as JSON has it.

    Args:
        found: of any kind, at least one.
        passed: what was passed over.

    Returns:
        Dictionaries, lists, texts and numbers.
    """
    runs = _runs(found)
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
        "studies": [
            {"name": one.name, "folder": str(one.folder), **one.config, "found": asdict(one.found)}
            for one in found
            if isinstance(one, Study)
        ],
        "joined": [
            {
                "data": several.data,
                "groups": [
                    {
                        "settings": group.label,
                        "runs": [run.name for run in group.runs],
                        "seeds": list(group.test_errors),
                        "test_errors": list(group.test_errors.values()),
                        "mean": group.mean,
                        "spread": group.spread,
                    }
                    for group in several.groups
                ],
                "differences": [asdict(difference) for difference in several.differences],
                "verdicts": several.verdicts,
            }
            for several in join(runs)
        ],
        "passed_over": [{"path": str(one.path), "why": one.why} for one in passed],
    }


def overview(found: Sequence[Run | Study]) -> list[list[str]]:
    """Return a table of what all found, a row for each method of a comparison, and one for each of the others.

    Args:
        found: runs and studies of any kind.

    Returns:
        Seven texts for each row.
    """
    rows = []
    for one in found:
        start = [one.name, one.config["data"]["name"]]
        if isinstance(one, Study):
            rows.append([*start, *_of_study(one)])
        elif one.summary is not None:
            for row in one.summary.rows:
                cells = tables.cells(one.summary, row)
                error = cells[1] if cells[1] == NONE or one.summary.numbers else f"{cells[1]} %"
                seconds = NONE if row.seconds is None else seconds_text(row.seconds)
                rows.append([*start, row.method, str(len(one.summary.seeds)), str(one.summary.epoch), error, seconds])
        else:
            rows.append([*start, *_of_training(one)])
    return rows


def _of_study(one: Study) -> list[str]:
    method = f"best of {counted(len(one.found.rows), 'trial')}"
    best, test = one.found.best, one.found.test
    if best is None or test is None:
        return [method, NONE, NONE, "not done", NONE]
    return [
        method,
        "1",
        str(test.epochs),
        error_text(test.test_error, one.found.numbers),
        seconds_text(test.seconds / max(test.epochs, 1)),
    ]


def _of_training(one: Run) -> list[str]:
    method = one.records[0].method if one.records else NONE
    error = "diverged" if one.diverged else "not done"
    if one.outcome is not None:
        error = error_text(one.outcome.test_error, one.numbers)
    seconds = seconds_text(statistics.median(r.seconds for r in one.records)) if one.records else NONE
    return [method, "1", str(len(one.records)), error, seconds]


def _joined_parts(found: Joined, prefix: str) -> list[str]:
    apart = {difference.method: difference for difference in found.differences}
    scale, unit = (1, "") if found.numbers else (100, ", %")
    first = found.groups[0].label
    rows = [
        [
            group.label,
            ", ".join(map(str, group.test_errors)),
            " ± ".join(
                error_text(part, found.numbers).removesuffix(" %")
                for part in (group.mean, group.spread)
                if part is not None
            ),
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
            "seed; the interval is Student's. It is about other seeds on these data, not about other data. "
            + tables.what_errors_are(found.numbers)
            + (f" {counted(unpaired, 'row')} without a seed of the first cannot be compared." if unpaired else ""),
            "note",
        ),
        *(page.paragraph(sentence, "note") for sentence in tables.several_intervals(found.differences)),
        page.drawings(drawn, prefix) if drawn else "",
    ]
