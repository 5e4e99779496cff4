"""Parts of a page: one HTML file that needs no network and no script. What is put into it as text is escaped here."""

import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from string import Template
from typing import Any

from thinned.lab import figures

JOINED = "\N{NO-BREAK SPACE}"
BREAKS, BREAK = re.compile("[:+_]"), r"\g<0><wbr>"  # where the name of a method is broken, rather than anywhere
LETTERS = 10  # of a word that is not broken in a column
SHORT = 14  # letters of a number, with its unit, that is never on two lines
BOLD = 1.15  # width of a letter of a heading, where one of a cell has 1
GAP = 2  # letters between columns
PHONE = 30  # letters across the screen of a small phone

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { font: 1rem/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; padding-top: 0.5rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; }
a { color: #0063a0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5rem 0 1rem; }
th, td { padding: 0.3rem 1rem 0.3rem 0; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: 600; overflow-wrap: break-word; }
thead th { vertical-align: bottom; }
tbody th { font-weight: 400; }
.word { text-align: left; overflow-wrap: anywhere; }
.number { overflow-wrap: normal; }
.pairs th { min-width: 12rem; }
.note { color: #555; font-size: 0.9rem; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.75rem; }
.verdict { border-left: 4px solid #0072b2; padding-left: 0.75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; max-width: 22rem; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: #555; font-size: 0.9rem; }
@media screen and (max-width: 50rem) {
  .list thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .list, .list tbody { display: block; }
  .list tr { display: block; border-bottom: 1px solid #999; padding: 0.4rem 0; }
  .list tbody th { font-weight: 600; }
  .list th, .list td { display: block; border: 0; padding: 0.1rem 0; }
  .list td { display: grid; grid-template-columns: minmax(6rem, 1fr) auto; gap: 1rem; text-align: right; }
  .list td::before { content: attr(data-label); color: #555; text-align: left; }
}
@media screen and (max-width: 30rem) {
  .pairs { table-layout: fixed; width: 100%; }
  .pairs th { width: 40%; min-width: 0; overflow-wrap: break-word; }
}
@page { margin: 15mm; }
@media print {
  th, td { padding-right: 0.7rem; }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  h1, h2, h3 { break-after: avoid; }
  tr, figure, .verdict, .warning { break-inside: avoid; }
  nav { display: none; }
}
</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
</main>
</body>
</html>
""")


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole HTML document.

    Args:
        title: as text.
        parts: of its body, as HTML; empty ones are left out.

    Returns:
        The document.

    Examples:
        >>> "<title>a &lt; b</title>" in page("a < b", [paragraph("So it is.")])
        True
    """
    return PAGE.substitute(title=_text(title), body="\n".join(filter(None, parts)))


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph.

    Args:
        text: what it says.
        kind: ``"note"``, ``"warning"`` or ``"verdict"``, or none of them.

    Returns:
        The element.

    Examples:
        >>> paragraph("1 < 2", "note")
        '<p class="note">1 &lt; 2</p>'
    """
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def heading(text: str, level: int, anchor: str = "") -> str:
    """Return a heading.

    Args:
        text: what it says.
        level: 2 or 3.
        anchor: what `contents` names it by; no other part of the page has it.

    Returns:
        The element.

    Examples:
        >>> heading("Result", 2)
        '<h2>Result</h2>'
    """
    named = f' id="{anchor}"' if anchor else ""
    return f"<h{level}{named}>{_text(text)}</h{level}>"


def contents(headings: dict[str, str]) -> str:
    """Return links to the parts of a long page.

    Args:
        headings: texts by their anchors.

    Returns:
        The element.

    Examples:
        >>> contents({"run1": "first"})
        '<nav><ul><li><a href="#run1">first</a></li></ul></nav>'
    """
    links = "".join(f'<li><a href="#{anchor}">{_text(text)}</a></li>' for anchor, text in headings.items())
    return f"<nav><ul>{links}</ul></nav>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table; on a screen that is too narrow for it each row becomes a list.

    Args:
        headings: one for each column; the first says what a row is about.
        rows: one text for each column.
        words: how many columns, from the first, are words and not numbers.

    Returns:
        The element.

    Examples:
        >>> table(["method", "error"], [["none", "2.5"]]).partition("<tbody>")[2]
        '<tr><th scope="row" class="word">none</th><td class="number" data-label="error">2.5</td></tr></tbody></table>'
    """
    kinds = ["word" if i < words else "number" for i in range(len(headings))]
    widths = [
        _width(heading, [row[i] for row in rows], kind)
        for i, (heading, kind) in enumerate(zip(headings, kinds, strict=True))
    ]
    rooms = [f' style="min-width: {width}ch"' if i < words else "" for i, width in enumerate(widths)]
    head = "".join(
        f'<th scope="col" class="{kind}"{room}>{_text(text)}</th>'
        for text, kind, room in zip(headings, kinds, rooms, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cells(headings, kinds, row))}</tr>" for row in rows)
    shape = "table" if sum(widths) + GAP * len(widths) <= PHONE else "list"
    return f'<table class="{shape}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _width(heading: str, cells: Sequence[str], kind: str) -> int:
    """Return how many letters a column has room for at least: a short word or a number is never broken."""
    words = [math.ceil(BOLD * len(word)) for word in heading.split()]
    if kind == "number":
        return max([*words, *map(len, cells)])
    words += [len(word) for text in cells for word in BREAKS.sub(r"\g<0> ", text.replace("-", "- ")).split()]
    return min(max(words), LETTERS)


def _cells(headings: Sequence[str], kinds: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    yield f'<th scope="row" class="word">{BREAKS.sub(BREAK, _text(row[0]))}</th>'
    for label, kind, text in zip(headings[1:], kinds[1:], row[1:], strict=True):
        told = text.replace(" ", JOINED) if kind == "number" and len(text) <= SHORT else text
        yield f'<td class="{kind}" data-label="{_text(label)}">{_text(told)}</td>'


def entries(found: dict[str, str]) -> str:
    """Return a table of names and what they stand for.

    Args:
        found: text by name.

    Returns:
        The element.

    Examples:
        >>> entries({"model.kind": "mlp"}).partition("<tbody>")[2]
        '<tr><th scope="row" class="word">model.<wbr>kind</th><td class="word">mlp</td></tr></tbody></table>'
    """
    # A long name is broken after a dot.
    lines = [(_text(key).replace(".", ".<wbr>"), _text(value)) for key, value in found.items()]
    rows = "".join(
        f'<tr><th scope="row" class="word">{key}</th><td class="word">{value}</td></tr>' for key, value in lines
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>'


def drawings(drawn: dict[str, Any], prefix: str) -> str:
    """Return figures beside each other, or one below the other where there is less room.

    Args:
        drawn: figures of matplotlib by their captions.
        prefix: of all ids in them; no other figure of the page has it.

    Returns:
        The element.
    """
    parts = [
        f"<figure>{figures.svg(figure, f'{prefix}{i}-', text)}<figcaption>{_text(text)}</figcaption></figure>"
        for i, (text, figure) in enumerate(drawn.items(), 1)
    ]
    return f'<div class="figures">{"".join(parts)}</div>'


def _text(text: str) -> str:
    """Return text as HTML, in which no line ends between a number and its % or its spread."""
    return escape(text).replace(" %", f"{JOINED}%").replace(" ± ", f"{JOINED}±{JOINED}")
