"""What the tests of `thinned train` share: small data, small settings, and when two runs are the same."""

import json
import multiprocessing
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch

from thinned.data import Dataset, Split
from thinned.lab import distributed, models, run
from thinned.lab.comparison import Settings
from thinned.lab.config import Config
from thinned.lab.examples import Shape


def stripes(examples, seed):
    """Three classes of images of 4 x 4 pixels that differ in which row is bright."""
    random = np.random.default_rng(seed)
    targets = np.arange(examples) % 3
    inputs = random.random((examples, 4, 4), np.float32) * 0.6
    inputs[np.arange(examples), targets] += 0.4
    return Split(inputs, targets.astype(np.int64))


DATA = Dataset("stripes", train=stripes(90, 0), test=stripes(33, 1), classes=3)


def small(**sections):
    """Settings of a run of a few epochs with a few hidden units; sections override them."""
    tables = {
        "data": {"validation": 0.2},
        "model": {"hidden": [16]},
        "training": {"epochs": 4, "batch_size": 20},
        "run": {"threads": 1, "device": "cpu"},
    }
    for name, table in sections.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Config.of(tables)


def compared(*methods, seeds=(0, 1), target_error=None, baseline=None, **sections):
    """Settings of a comparison of two epochs, by default of a few hidden units; sections override them."""
    tables = {
        "model": {} if "model" in sections else {"hidden": [16]},
        "training": {"epochs": 2, "batch_size": 20},
        "run": {"threads": 1, "device": "cpu"},
        "compare": {"methods": methods, "seeds": seeds, "target_error": target_error, "baseline": baseline},
    }
    for name, table in sections.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Settings.of(tables)


def network(name, inputs=6, hidden=(5, 4), classes=3, **dropout):
    """The perceptron that a method of a comparison trains."""
    settings = compared(name, model={"hidden": hidden}, dropout={"input_p": 0.2, **dropout})
    return models.build(settings.config.model, settings.dropout(name), Shape((inputs,), classes))


def lines(folder):
    return [json.loads(line) for line in Path(folder, "records.jsonl").read_text(encoding="utf-8").splitlines()]


def last_state(folder):
    path = sorted(Path(folder, "checkpoints").glob("step-*.pt"))[-1]
    return torch.load(path, weights_only=True)


def assert_same_run(one, two):
    """Whatever is not a time is the same, bit for bit: weights, optimizer, best epoch, records, summary."""
    states = [last_state(folder) for folder in (one, two)]
    for state in states:
        state["trainer"].pop("seconds")
        state["progress"].pop("seconds")
    assert_equal(*states)
    best = [torch.load(Path(folder, "checkpoints", "best.pt"), weights_only=True) for folder in (one, two)]
    assert_equal(*(state["trainer"]["model"] for state in best))
    records = [[{k: v for k, v in line.items() if k != "seconds"} for line in lines(folder)] for folder in (one, two)]
    assert records[0] == records[1]
    found = [json.loads(Path(folder, "summary.json").read_text(encoding="utf-8")) for folder in (one, two)]
    timeless = [{k: v for k, v in told.items() if k not in ("folder", "seconds")} for told in found]
    assert timeless[0] == timeless[1]


def assert_equal(one, two):
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert one == two


def child(tables, root, name, again):
    """What a process that is killed runs."""
    torch.set_num_threads(1)
    if again:
        run.resume(Path(root, name), data=DATA)
    else:
        run.start(Config.of(tables), root, name, data=DATA)


def peer(rank, size, port, tables, root, name, data):
    """One of several processes that share a run."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    with distributed.job() as job:
        run.start(Config.of(tables), root, name, data=data, job=job)


def processes():
    """What starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    # torch._dynamo is what the first optimizer of a process imports, torch.nn.parallel what a job does.
    context.set_forkserver_preload(["thinned.lab.run", "torch._dynamo", "torch.nn.parallel.distributed"])
    return context


class Page(HTMLParser):
    """Collects what a page holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.targets, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)
        self.look(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.look(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def look(self, attrs):
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            elif key.endswith("href"):
                self.targets.append(value)
            self.targets += [f"#{name}" for name in re.findall(r"url\(#(.*?)\)", value or "")]


def assert_alone(read, text):
    """A page is whole, and needs no script and no other file."""
    assert read.open == []
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(read.tags)
    assert len(set(read.ids)) == len(read.ids) > 0
    assert read.targets
    assert {target.removeprefix("#") for target in read.targets} <= set(read.ids)  # nothing points out of the page
    assert set(re.findall(r"https?://[^\"< ]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
