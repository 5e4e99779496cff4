"""The report of a comparison, of one run of training or of a prediction: tables, figures and sentences."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from thinned.lab import figures, page, paired, tables
from thinned.lab.config import Config
from thinned.lab.loop import Outcome, divergence
from thinned.lab.network import TRANSFORMERS
from thinned.lab.recipe import OPTIMIZERS, SCHEDULES
from thinned.lab.records import Record
from thinned.lab.runs import Run
from thinned.lab.summary import Summary
from thinned.lab.tables import counted, error_text

MOST_LINES = 14  # of a figure
MAIN = (
    *("data.name", "model.kind", "model.hidden", "dropout.kind", "dropout.p"),
    *("training.epochs", "training.batch_size", "training.optimizer", "training.lr", "run.seed"),
)
COMPARED = ("data.name", "model.kind", "model.hidden", "dropout.p", "dropout.input_p")
KEPT = {"random": "drawn one by one", "slice": "a slice of neighbours, which goes on at the first after the last"}


def comparison(config: Mapping[str, Any], summary: Summary, done: Sequence[Record], title: str) -> str:
    """Write the report of one comparison.

    Args:
        config: what ``config.json`` holds.
        summary: the results.
        done: the records that they were made from.
        title: of the page.

    Returns:
        A whole HTML document.
    """
    parts = comparison_parts(config, summary, done, level=2, prefix="figure")
    beside = (
        "Beside this file: config.json (these settings), records.jsonl (one line for each epoch of each network) and "
        "summary.json (the tables)."
    )
    return page.page(title, [*parts, page.paragraph(beside, "note")])


def comparison_parts(
    config: Mapping[str, Any], summary: Summary, done: Sequence[Record], *, level: int, prefix: str
) -> list[str]:
    """Write the parts of a page that are about one comparison.

    Args:
        config: what ``config.json`` holds.
        summary: the results.
        done: the records that they were made from.
        level: of the headings.
        prefix: of the ids in its figures.

    Returns:
        Elements of HTML.
    """
    data, settings = config["data"], config["settings"]
    training, compared = settings["training"], settings["compare"]
    told = (
        f"{', '.join(row.method for row in summary.rows)} on the data {data['name']}: {data['train']:,} examples to "
        f"train on, {data['test']:,} to test on. {_network(settings['model'])} is trained for "
        f"{counted(training['epochs'], 'epoch')} with each method and each of "
        f"{counted(len(compared['seeds']), 'seed')}. For one seed all methods start from the same weights and see the "
        f"same batches. {data['note']}"
    )
    grain = "" if summary.numbers else f"One test example is {100 / data['test']:.2g} %. "
    fine = (
        f"{grain}Peak memory: of all tensors at one time while training, with weights, gradients and the state of the "
        "optimizer, without the data. Kept for backward: what the forward pass of one step stores for the gradients, "
        "without the weights and the batch. FLOPs of a step: of the matrix products and convolutions that are "
        f"computed, forward and backward, for a batch of {training['batch_size']}; a multiplication and an addition "
        "are two. Latency: of the prediction of one example, without dropout; median."
    )
    return [
        page.paragraph(told.rstrip()),
        page.heading("Result", level),
        *(page.paragraph(text, "warning") for text in tables.warnings(summary)),
        *(page.paragraph(text, "verdict") for text in summary.verdicts),
        page.table(tables.headings(summary), [tables.cells(summary, row) for row in summary.rows]),
        page.table(tables.cost_headings(summary), [tables.cost_cells(row) for row in summary.rows]),
        page.paragraph(" ".join([*tables.notes(summary), fine]), "note"),
        *([page.heading("Epoch by epoch", level), _curves(summary, done, prefix)] if summary.seeds else []),
        page.heading("The methods", level),
        page.entries({row.method: row.sentence for row in summary.rows}),
        page.heading("Settings", level),
        page.entries(_settings(config)),
    ]


def _network(model: Mapping[str, Any]) -> str:
    """Say in words which network it is, as the subject of a sentence."""
    if model["kind"] in TRANSFORMERS:
        patches = f", on patches of {model['patch']} x {model['patch']} pixels" if model["kind"] == "vit" else ""
        return f"A transformer ({counted(model['layers'], 'block')} of {model['width']} features{patches})"
    hidden = ", ".join(map(str, model["hidden"]))
    layers = f"{counted(len(model['hidden']), 'hidden layer')} ({hidden} units)" if hidden else "no hidden layer"
    if model["kind"] == "convnet":
        return f"A network with {counted(len(model['channels']), 'convolution')} and {layers}"
    return f"A network of kind {model['kind']} with {layers}"


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    settings, compared = config["settings"], config["settings"]["compare"]
    entries = {
        "training": _training(settings["training"]),
        "compare.seeds": ", ".join(map(str, compared["seeds"])),
        **_settings_of_training(settings, COMPARED),
        **_texts(config["environment"]),
    }
    if any("batchwise" in method for method in compared["methods"]):
        masks = counted(settings["dropout"]["groups"], "mask")
        entries["batchwise"] = f"{masks} for a batch; kept units: {KEPT[settings['dropout']['units']]}"
    return entries


def _training(recipe: Mapping[str, Any]) -> str:
    """Say in words how the networks were trained."""
    decay = f", weight decay {recipe['weight_decay']:g}" if recipe["weight_decay"] else ""
    optimizer = OPTIMIZERS[recipe["optimizer"]].words.format(f"{recipe['momentum']:g}")
    schedule = SCHEDULES[recipe["schedule"]].words.format(f"{recipe['final_lr_share']:g}")
    warmup = f" after {counted(recipe['warmup_epochs'], 'epoch')} of rising" if recipe["warmup_epochs"] else ""
    return (
        f"{optimizer}{decay}; learning rate {recipe['lr']:g} in the first epoch{warmup}, {schedule}; batches of "
        f"{recipe['batch_size']}"
    )


def _curves(summary: Summary, done: Sequence[Record], prefix: str) -> str:
    methods = [row.method for row in summary.rows]
    comparable = [r for r in done if r.seed in summary.seeds and r.epoch <= summary.epoch]
    band = "" if len(summary.seeds) == 1 else " Line: mean over the seeds; band: from the lowest to the highest."
    late = figures.beyond(methods, done)
    cut = f" {counted(late, 'epoch')} took longer than the axis shows." if late else ""
    scale, unit = (1, "") if summary.numbers else (100, ", %")
    drawn = {
        f"Test error after each epoch, without dropout.{band}": figures.curves(
            methods, comparable, f"test error{unit}", lambda record: scale * record.test_error
        ),
        f"Loss on the training examples as they are met, with dropout.{band}": figures.curves(
            methods, comparable, "training loss", lambda record: record.train_loss
        ),
        "Test error against the time of training; mean of both over the seeds.": figures.against_time(
            methods, comparable, f"test error{unit}", lambda record: scale * record.test_error
        ),
        f"Time of every epoch of training, a dot each; the bar is the median.{cut}": figures.times(methods, done),
    }
    if any(found.low is not None for found in summary.differences):
        caption = (
            f"Difference in test error from {summary.baseline}, with its {100 * paired.LEVEL:g} % interval. Left of 0 "
            "is better; an interval that holds 0 does not tell."
        )
        drawn[caption] = figures.intervals(
            summary.differences, "test error" if summary.numbers else "points of test error", scale
        )
    return page.drawings(drawn, prefix)


def training_parts(run: Run, *, level: int, prefix: str) -> list[str]:
    """Write the parts of a page that are about one run of training.

    Args:
        run: the run.
        level: of the headings.
        prefix: of the ids in its figures.

    Returns:
        Elements of HTML.
    """
    data, settings, found = run.config["data"], run.config["settings"], run.outcome
    epochs, wanted = len(run.records), settings["training"]["epochs"]
    validated = f"{data['validation']:,} to validate, " if data["validation"] else ""
    told = (
        f"A network of kind {settings['model']['kind']} on the data {data['name']}: {data['train']:,} examples to "
        f"train on, {validated}{data['test']:,} to test on. {data['note']}"
    )
    alarm, curves = "", _training_curves(run, prefix)
    if run.diverged is not None:
        alarm = page.paragraph(f"Diverged. {divergence(run.diverged)}", "warning")
    elif found is None:
        alarm = page.paragraph(
            f"Not done: {epochs} of {counted(wanted, 'epoch')}. thinned train --resume goes on.", "warning"
        )
    return [
        page.paragraph(told.rstrip()),
        page.heading("Result", level),
        alarm,
        *([] if found is None else [page.table(["part", "loss", "error"], _outcome(run, found))]),
        page.paragraph(_about_training(run), "note"),
        *([page.heading("Epoch by epoch", level), curves] if curves else []),
        page.heading("Settings", level),
        page.entries({**_settings_of_training(settings), **run.config["environment"]}),
        page.paragraph("All other settings are the default.", "note"),
    ]


def prediction(about: Mapping[str, Any]) -> str:
    """Write the page of a prediction.

    Args:
        about: as `thinned.lab.predict.Predicted` has it.

    Returns:
        A whole HTML document.
    """
    data = about["data"]
    told = (
        f"{data['examples']:,} examples of {data['name']} ({data['part']}), each predicted "
        f"{counted(about['passes'], 'time')} with other units dropped, by {about['checkpoint']}."
    )
    still = page.paragraph("All passes are the same: this network drops nothing.", "warning")
    return page.page(
        f"Prediction: {data['name']}",
        [
            page.paragraph(told),
            page.heading("Result", 2),
            "" if about["drops"] else still,
            page.table(["measure", "value"], tables.measures(about)),
            *_spread(about),
            *(_sureness(about) if "reliability" in about else []),
            page.heading("Settings", 2),
            page.entries({**_settings_of_training(about["settings"]), **_texts(about["environment"])}),
            page.paragraph("All other settings are the default.", "note"),
        ],
    )


def _spread(about: Mapping[str, Any]) -> list[str]:
    """What is predicted, and how sure is the network?"""
    drawn = {}
    for name, heading in tables.QUANTILES.items():
        if name in about:
            points = [(100 * part["share"], part["value"]) for part in about[name]]
            unit = ", nats" if heading == "entropy" else ""
            caption = f"{heading.capitalize()} that a share of the examples does not exceed."
            drawn[caption] = figures.lines({"this network": [points]}, "examples, %", f"{heading}{unit}")
    classes = "predicted_classes" in about
    return [
        page.paragraph("Entropy and mutual information are in nats.", "note") if classes else "",
        page.heading("What is predicted?", 2),
        page.table(tables.PREDICTED, tables.predicted(about)) if classes else "",
        page.drawings(drawn, "spread"),
        page.table(*tables.quantiles(about)),
    ]


def _sureness(about: Mapping[str, Any]) -> list[str]:
    """Is the network rightly sure?"""
    bins = [(part["confidence"], part["accuracy"]) for part in about["reliability"] if part["count"]]
    kept = [(100 * part["rejected"], 100 * part["accuracy"]) for part in about["rejection_by_entropy"]]
    drawn = {
        f"Reliability: accuracy against confidence, in {len(about['reliability'])} bins of equal width. Above the "
        "dashed line the network is too modest, below it too sure.": figures.reliability(bins),
        "Rejection: accuracy of what is left when the examples with the largest entropy are rejected.": figures.lines(
            {"this network": [kept]}, "rejected, %", "accuracy, %"
        ),
    }
    return [
        page.heading("Is it rightly sure?", 2),
        page.drawings(drawn, "figure"),
        page.heading("Reliability", 3),
        page.table(tables.RELIABILITY, tables.reliability(about)),
        page.heading("Rejection", 3),
        page.table(tables.REJECTION, tables.rejection(about)),
    ]


def _texts(environment: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in environment.items()}


def _outcome(run: Run, found: Outcome) -> list[list[str]]:
    rows = [["test", f"{found.test_loss:.4g}", error_text(found.test_error, run.numbers)]]
    if found.validation_loss is not None and found.validation_error is not None:
        rows.insert(0, ["validation", f"{found.validation_loss:.4g}", error_text(found.validation_error, run.numbers)])
    return rows


def _about_training(run: Run) -> str:
    found, unit = run.outcome, tables.what_errors_are(run.numbers, run.standardised)
    if found is None:
        return unit
    early = ", stopped early" if found.stopped_early else ""
    return (
        f"{counted(found.epochs, 'epoch')}{early}, {found.seconds:.1f} s of training. The weights of epoch "
        f"{found.best_epoch} were tested, without dropout. {unit}"
    )


def _training_curves(run: Run, prefix: str) -> str:
    scale, unit = (1, "") if run.numbers else (100, ", %")

    def line(name: str, factor: float = 1) -> list[tuple[float, float]]:
        values = [(record.epoch, getattr(record, name)) for record in run.records]
        return [(epoch, factor * value) for epoch, value in values if value is not None]

    series = {
        ("Loss after each epoch; with dropout, on the training examples as they are met.", "loss"): {
            "training, with dropout": line("train_loss"),
            "training, without": line("fit_loss"),
            "validation": line("validation_loss"),
        },
        ("Gap after each epoch: validation loss minus training loss, both without dropout.", "gap"): {
            "gap": line("gap"),
        },
        ("Error after each epoch, without dropout.", f"error{unit}"): {
            "training": line("fit_error", scale),
            "validation": line("validation_error", scale),
        },
        **_watched(run),
    }
    drawn = {}
    for (caption, label), lines in series.items():
        filled = {name: [points] for name, points in lines.items() if any(math.isfinite(y) for _, y in points)}
        if filled:
            drawn[caption] = figures.lines(filled, "epoch", label)
    return page.drawings(drawn, prefix) if drawn else ""


def _watched(run: Run) -> dict[tuple[str, str], dict[str, list[tuple[float, float]]]]:
    """Return what was watched of each layer and each weight, by a figure's caption and the label of its axis."""
    titles = {
        "sparsity": ("sparsity", "Share of the activations of each hidden layer that are off"),
        "dead_units": ("dead units", "Share of the units of each hidden layer that are off for every example"),
        "co_adaptation": ("co-adaptation", "Mean absolute correlation between two units of a hidden layer"),
        "weight_norms": ("root mean square", "Size of each weight: the root of the mean square of its entries"),
    }
    seen = [(record.epoch, record.monitors) for record in run.records if record.monitors]
    series = {}
    for name, (label, caption) in titles.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for epoch, watched in seen:
            values = watched[name]
            named = values if isinstance(values, dict) else {f"layer {i}": one for i, one in enumerate(values, 1)}
            for part, value in named.items():
                lines.setdefault(part, []).append((epoch, value))
        some = f" (the first {MOST_LINES} of {len(lines)})" if len(lines) > MOST_LINES else ""
        series[f"{caption}{some}.", label] = dict(list(lines.items())[:MOST_LINES])
    return series


def _settings_of_training(settings: Mapping[str, Any], main: Collection[str] = MAIN) -> dict[str, str]:
    """The main settings of a run, and what else is not the default."""
    default = Config().tables()
    return {
        f"{section}.{name}": ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for section in default
        for name, value in settings[section].items()
        if value != default[section][name] or f"{section}.{name}" in main
    }
