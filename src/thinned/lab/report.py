"""The report of a comparison: one HTML file that needs no network and no script."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from thinned.lab import figures
from thinned.lab.recipe import OPTIMIZERS, SCHEDULES
from thinned.lab.records import Record
from thinned.lab.summary import Row, Summary

KEPT = {"random": "drawn one by one", "slice": "a slice of neighbours, which goes on at the first after the last"}

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 0 auto;
  padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, .text td { text-align: left; }
td { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
.text td { white-space: normal; overflow-wrap: anywhere; }
.text td:first-child { min-width: 6rem; }
.note { color: #555; font-size: 0.9rem; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; max-width: 32rem; }
figcaption { color: #555; font-size: 0.9rem; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem; }
@media (max-width: 32rem) { .wide { font-size: 0.78rem; }
  .wide :is(th, td):not(:last-child) { padding-right: 0.4rem; } }
@media print { body { font-size: 11pt; max-width: none; padding: 0; } h2 { break-after: avoid; }
  table { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def headings(summary: Summary) -> list[str]:
    """Return the headings of the table of results.

    Args:
        summary: the results.

    Returns:
        As many as `cells` gives for a row.

    Examples:
        >>> headings(Summary("runs/first", (), reference="torch", epoch=0, seeds=(), interrupted=False))[3]
        'speed vs torch'
    """
    return ["method", "test error, %", "seconds per epoch", f"speed vs {summary.reference}", "kept for backward"]


def cells(row: Row, plus_minus: str = "±") -> list[str]:
    """Return one row of the table of results as text.

    Args:
        row: one method.
        plus_minus: what stands between mean and spread.

    Returns:
        One text for each heading; a dash where nothing was measured.

    Examples:
        >>> cells(Row("none", "", (0.02, 0.03), 0.025, 0.007, 1.5, 3.0, speed=None, bytes_kept=104, diverged=False))
        ['none', '2.50 ± 0.70', '1.500', '-', '104 B']
    """
    error = "-" if row.test_error is None else f"{100 * row.test_error:.2f}"
    return [
        row.method,
        error if row.spread is None else f"{error} {plus_minus} {100 * row.spread:.2f}",
        "-" if row.seconds is None else f"{row.seconds:.3f}" if row.seconds < 10 else f"{row.seconds:.1f}",
        "-" if row.speed is None else f"{row.speed:.2f}x",
        "-" if row.bytes_kept is None else size(row.bytes_kept),
    ]


def notes(summary: Summary, epochs: int) -> list[str]:
    """Say what the numbers of the table are.

    Args:
        summary: the results.
        epochs: how many there should have been.

    Returns:
        Sentences, warnings first.

    Examples:
        >>> notes(Summary("runs/first", (), reference="torch", epoch=3, seeds=(), interrupted=True), epochs=10)
        ['Stopped early, after epoch 3 of 10; the table holds what was done by then.']
    """
    found = []
    if summary.interrupted:
        found.append(f"Stopped early, after epoch {summary.epoch} of {epochs}; the table holds what was done by then.")
    for row in summary.rows:
        if row.diverged:
            found.append(f"The training of {row.method} diverged: its loss is not finite. Try a lower learning rate.")
    if summary.seeds:
        seeds = "1 seed" if len(summary.seeds) == 1 else f"mean and standard deviation over {len(summary.seeds)} seeds"
        found.append(
            f"Test error: after epoch {summary.epoch}, {seeds}. Seconds: median over all epochs, training only."
        )
    return found


def size(count: float) -> str:
    """Return a number of bytes for people.

    Args:
        count: number of bytes.

    Returns:
        Three digits and a unit.

    Examples:
        >>> size(104), size(2_487_204)
        ('104 B', '2.37 MiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    power = min(int(math.log2(count) // 10), 5)
    return f"{count / 1024**power:.2f} {'KMGTP'[power - 1]}iB"


def page(config: dict[str, Any], summary: Summary, done: Sequence[Record]) -> str:
    """Write the report.

    Args:
        config: what ``config.json`` holds.
        summary: the results.
        done: the records that they were made from.

    Returns:
        A whole HTML document.
    """
    data, settings, recipe = config["data"], config["settings"], config["settings"]["recipe"]
    hidden = ", ".join(map(str, settings["hidden"]))
    names = ", ".join(f"<b>{escape(row.method)}</b>" for row in summary.rows)
    parts = [
        f"<p>{names} on the data <b>{escape(data['name'])}</b>: {data['train']:,} examples to train on, "
        f"{data['test']:,} to test on. The network has {_count(len(settings['hidden']), 'hidden layer')} "
        f"({hidden} units, ReLU) and is trained for {_count(recipe['epochs'], 'epoch')} with each method and each of "
        f"{_count(len(settings['seeds']), 'seed')}. For one seed all methods start from the same weights and see the "
        f"same batches. {escape(data['note'])}</p>",
        "<h2>Result</h2>",
        _results(summary),
        *_remarks(summary, recipe["epochs"], data["test"]),
        "<h2>Epoch by epoch</h2>" if summary.seeds else "",
        _figures(summary, done) if summary.seeds else "",
        "<h2>The methods</h2>",
        "<dl>" + "".join(f"<dt>{escape(r.method)}</dt><dd>{escape(r.sentence)}</dd>" for r in summary.rows) + "</dl>",
        "<h2>Settings</h2>",
        _settings(config),
        '<p class="note">Beside this file: <code>config.json</code> (these settings), <code>records.jsonl</code> (one '
        "line for each epoch of each network) and <code>summary.json</code> (the table).</p>",
    ]
    return PAGE.substitute(
        title=f"Comparison of dropout: {escape(Path(summary.folder).name)}", body="\n".join(filter(None, parts))
    )


def _results(summary: Summary) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headings(summary))
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells(row)) + "</tr>" for row in summary.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _remarks(summary: Summary, epochs: int, tested: int) -> list[str]:
    told = notes(summary, epochs)
    alarms = sum(row.diverged for row in summary.rows) + summary.interrupted
    remarks = [f'<p class="warning">{escape(text)}</p>' for text in told[:alarms]]
    explained = " ".join(map(escape, told[alarms:]))
    return [
        *remarks,
        f'<p class="note">{explained} One test example is {100 / tested:.2g} %: a difference of few examples, or '
        "smaller than the spread, says nothing yet; more seeds say more. Kept for backward: what the forward pass of "
        "one step stores for the gradients, without the weights and the batch itself.</p>",
    ]


def _settings(config: dict[str, Any]) -> str:
    settings, environment = config["settings"], config["environment"]
    masks = _count(settings["groups"], "mask")
    entries = {
        "drop probability": f"{settings['p']:g} of hidden units, {settings['input_p']:g} of inputs",
        "training": _training(settings["recipe"]),
        "batchwise": f"{masks} for a batch; kept units: {KEPT[settings['units']]}",
        "seeds": ", ".join(map(str, settings["seeds"])),
        **{key: str(value) for key, value in environment.items()},
    }
    if "batchwise" not in settings["methods"]:
        del entries["batchwise"]
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in entries.items())
    return f'<table class="text"><tbody>{rows}</tbody></table>'


def _training(recipe: dict[str, Any]) -> str:
    """Say in words how the networks were trained."""
    decay = f", weight decay {recipe['weight_decay']:g}" if recipe["weight_decay"] else ""
    optimizer = OPTIMIZERS[recipe["optimizer"]].words.format(f"{recipe['momentum']:g}")
    schedule = SCHEDULES[recipe["schedule"]].words.format(f"{recipe['final_lr_share']:g}")
    return (
        f"{optimizer}{decay}; learning rate {recipe['lr']:g} in the first epoch, {schedule}; batches of "
        f"{recipe['batch_size']}; cross-entropy"
    )


def _figures(summary: Summary, done: Sequence[Record]) -> str:
    methods = [row.method for row in summary.rows]
    counted = [r for r in done if r.seed in summary.seeds and r.epoch <= summary.epoch]
    band = "" if len(summary.seeds) == 1 else " Line: mean over the seeds; band: from the lowest to the highest."
    late = figures.beyond(methods, done)
    cut = f" {_count(late, 'epoch')} took longer than the axis shows." if late else ""
    drawn = {
        f"Test error after each epoch, without dropout.{band}": figures.curves(
            methods, counted, "test error, %", lambda record: 100 * record.test_error
        ),
        f"Loss on the training examples as they are met, with dropout.{band}": figures.curves(
            methods, counted, "training loss", lambda record: record.train_loss
        ),
        f"Time of every epoch of training, a dot each; the bar is the median.{cut}": figures.times(methods, done),
    }
    parts = [
        f"<figure>{figures.svg(figure, f'figure{i}-', text)}<figcaption>{escape(text)}</figcaption></figure>"
        for i, (text, figure) in enumerate(drawn.items(), 1)
    ]
    return f'<div class="figures">{"".join(parts)}</div>'


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"
