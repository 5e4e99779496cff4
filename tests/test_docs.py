"""The sessions in the documentation give what they say, and its pages name files that exist."""

import doctest
import inspect
import re
import runpy
from pathlib import Path

import pytest
import torch

import thinned

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED_FILE = re.compile(r"`((?:src|tests|csrc|docs|examples|benchmarks)/[\w./-]+)`")


def failures(text, name):
    """Run the sessions of one page, in one namespace; return how many examples went wrong, and how many there are."""
    session = "\n".join(SESSION.findall(text))  # the fences would read as expected output
    test = doctest.DocTestParser().get_doctest(session, {"torch": torch, "thinned": thinned}, name, name, 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    return result.failed, result.attempted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions(page):
    text = page.read_text(encoding="utf-8")
    failed, attempted = failures(text, page.name)
    assert failed == 0
    assert attempted == text.count("\n>>> ")  # no example stands outside a session


def test_a_wrong_answer_is_found():
    assert failures("```pycon\n>>> 1 + 1\n3\n```\n\n```pycon\n>>> 2\n2\n```\n", "page") == (1, 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    named = NAMED_FILE.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_begins_with_headings(page):
    tables = re.findall(r"^(?:\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [made for made in tables if not re.match(r".*\n\|[\s:|-]+\|\n", made)] == []  # an empty line ends a table


LAYER_PAGES = [*sorted((ROOT / "docs/layers").glob("*.md")), ROOT / "docs/sparse.md"]


def test_every_layer_has_a_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in LAYER_PAGES)
    words = set(re.findall(r"\w+", text))
    layers = [name for name in thinned.nn.__all__ if inspect.isclass(getattr(thinned.nn, name))]
    assert [name for name in layers if name not in words] == []


@pytest.mark.parametrize("page", LAYER_PAGES, ids=lambda page: page.name)
def test_every_page_of_layers_has_a_plot_of_masks(page):
    (name,) = re.findall(r"\]\((\S*figures/masks-\S+\.svg)\)", page.read_text(encoding="utf-8"))
    assert (page.parent / name).is_file()


def test_the_plots_are_what_their_script_draws():
    script = runpy.run_path(str(ROOT / "docs/figures/masks.py"))
    assert len(script["FIGURES"]) == len(LAYER_PAGES)
    for name, panels in script["FIGURES"].items():
        file = ROOT / f"docs/figures/masks-{name}.svg"
        assert file.read_text(encoding="utf-8") == script["figure"](list(panels())), f"run {script['__file__']} again"
