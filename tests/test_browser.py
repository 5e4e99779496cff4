"""The pages of the laboratory in a real Chromium: offline, on a phone, in print, and whatever runs are named.

``make test-browser`` runs these.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import thinned_cli

pytestmark = pytest.mark.browser

FAULTS = (Path(__file__).parent / "page_faults.js").read_text(encoding="utf-8")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PAGES = ("compare", "single", "train", "tune", "predict", "joined", "gathered", "markup")
WIDTHS = {"small phone": 320, "phone": 390, "tablet": 768, "narrow screen": 801, "screen": 1200}
PAPER = 680  # CSS pixels between the margins of A4: 210 mm - 2 * 15 mm
MARKUP = "<img src=x onerror=document.title='ran'>&amp;"  # no slash, as it is the name of a folder
SMALL = ["--hidden", "24,16", "--threads", "1"]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        pytest.fail("There must be a Chromium for these tests; on Debian, install it by: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, by its name, as the commands leave them."""
    root = tmp_path_factory.mktemp("runs")

    def call(*arguments, status=0):
        result = CliRunner().invoke(thinned_cli.program(), [*map(str, arguments)])
        assert result.exit_code == status, result.output

    def train(name, *arguments, status=0):
        call("train", *SMALL, "--epochs", 3, "--out", root, "--name", name, *arguments, status=status)
        return root / name

    def joined(name, *runs):
        call("report", *runs, "--out", root / f"{name}.html")
        return root / f"{name}.html"

    call("compare", *SMALL, "--epochs", 4, "--seeds", 3, "--target-error", 0.5, "--out", root, "--name", "compare")
    call("compare", *SMALL, "--epochs", 1, "--seeds", 1, "--out", root, "--name", "single")
    runs = [
        train(f"{kind}-{rate}-{seed}", "--dropout", kind, "--p", rate, "--seed", seed)
        for kind, rate in (("standard", 0.5), ("gaussian", 0.25))
        for seed in (0, 1)
    ]
    (runs[-1] / "summary.json").unlink()  # as if it was killed
    space = [
        "--search",
        "lr=0.003..0.3:log",
        "--search",
        "p=0..0.7",
        "--search",
        "dropout.kind=standard,gaussian",
        "--search",
    ]
    call("tune", *SMALL, "--epochs", 3, "--trials", 8, *space, "hidden=16|24,16", "--out", root, "--study", "tune")
    houses = root / "houses.csv"
    houses.write_text(
        "".join(f"{i % 9},{i % 7},{30000 * (i % 9) + 1234.5 * i}\n" for i in range(300)), encoding="ascii"
    )
    numbers = [
        train(f"numbers-{kind}-{seed}", "--data", houses, "--standardise", "--dropout", kind, "--seed", seed)
        for kind in ("standard", "gaussian")
        for seed in (0, 1)
    ]
    wild = train("wild", "--lr", 1e30, "--clip-norm", 0, status=2)
    stopped = shutil.copytree(root / "tune", root / "stopped")
    (stopped / "summary.json").unlink()
    damaged = shutil.copytree(runs[0], root / "damaged")
    (damaged / "config.json").write_text("{", encoding="utf-8")
    others = [root / "tune", stopped, wild, damaged, houses]
    named = root / MARKUP
    shutil.copytree(runs[0], named)
    rename(named)
    call("predict", named, "--passes", 20, "--out", root / "predicted.csv")
    return {
        "compare": root / "compare" / "report.html",
        "single": root / "single" / "report.html",
        "train": runs[0] / "report.html",
        "tune": root / "tune" / "report.html",
        "predict": root / "predicted.csv.html",
        "joined": joined("joined", root / "compare", *runs),
        "gathered": joined("gathered", *numbers, *others),
        "markup": joined("markup", named, *runs),
    }


def rename(folder):
    """Write markup into whatever of a run is a name."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["data"] |= {"name": MARKUP, "note": MARKUP}
    config["environment"] = {MARKUP: MARKUP}
    path.write_text(json.dumps(config), encoding="utf-8")
    path = folder / "records.jsonl"
    lines = [{**json.loads(line), "method": MARKUP} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def opened(chromium, pages):
    """Open a page at a width; whatever it asks for or complains about is in `asked` and `said`."""
    contexts = []

    def opened(name, width, **options):
        context = chromium.new_context(
            viewport={"width": width, "height": 844},
            is_mobile=width < 600,
            has_touch=width < 600,
            offline=True,
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.goto(pages[name].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def faults(page, *kinds):
    """What is wrong with a page, by kind; nothing where all is well."""
    found = {kind: page.evaluate(FAULTS, kind) for kind in kinds}
    return {kind: told for kind, told in found.items() if told}


@pytest.mark.parametrize("name", PAGES)
def test_opens_offline_and_asks_for_nothing(opened, pages, name):
    page = opened(name, 1200)
    page.wait_for_load_state("networkidle")
    assert page.asked == [pages[name].as_uri()]
    assert page.said == []
    assert faults(page, "unsaid") == {}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_can_be_read(opened, name, width):
    assert faults(opened(name, width), "sideways", "cut", "overlapping", "torn", "parted", "small") == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_stands_out_from_the_ground(opened, name, scheme):
    assert faults(opened(name, 390, color_scheme=scheme), "pale") == {}


@pytest.mark.parametrize("name", PAGES)
def test_prints(opened, name):
    page = opened(name, PAPER)
    page.emulate_media(media="print")
    assert faults(page, "sideways", "cut", "overlapping", "torn", "parted", "breaking") == {}
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 2  # sheets: each page is longer than one


@pytest.mark.parametrize("name", PAGES)
def test_tables_stay_tables_on_a_phone(opened, name):
    """Where a row is shown as a list, a screen reader is still told of rows and their heads."""
    page = opened(name, 390)
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    count = {tag: page.locator(tag).count() for tag in ("table", "tr", "th[scope=col]", "th[scope=row]")}
    assert count == {
        "table": roles.count("table"),
        "tr": roles.count("row"),
        "th[scope=col]": roles.count("columnheader"),
        "th[scope=row]": roles.count("rowheader"),
    }


def test_markup_in_names_is_text(opened):
    page = opened("markup", 390)
    assert page.said == []
    assert page.title() == "Report of 5 runs"
    assert page.locator("script, img, iframe, object, [onerror]").count() == 0
    text = page.evaluate("document.body.textContent")
    assert text.count(MARKUP) >= 6  # folder, data, note, method, environment
