"""Parts of a page: one HTML file that needs no network and no script. What is put into it as text is escaped here."""

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from thinned.lab import figures

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
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; padding-top: 0.5rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5rem 0; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, .text td { text-align: left; }
.numbers td:not(:first-child) { overflow-wrap: normal; }
th:last-child, td:last-child { padding-right: 0; }
.text td:first-child { min-width: 7rem; }
.note { color: #555; font-size: 0.9rem; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.75rem; }
.verdict { border-left: 4px solid #0072b2; padding-left: 0.75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; max-width: 32rem; }
figcaption { color: #555; font-size: 0.9rem; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem; }
@media screen and (max-width: 40rem) {
  .numbers thead { position: absolute; clip-path: inset(50%); }
  .numbers, .numbers tbody { display: block; }
  .numbers tr { display: block; border-bottom: 1px solid #999; padding: 0.4rem 0; }
  .numbers td { display: flex; justify-content: space-between; gap: 1rem; padding: 0.1rem 0; border: 0; }
  .numbers td:first-child { font-weight: 600; }
  .numbers td:not(:first-child)::before { content: attr(data-label); color: #555; text-align: left; }
}
@media print { body { font-size: 10pt; max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  tr, .verdict, .warning { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
$body
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
    return PAGE.substitute(title=escape(title), body="\n".join(filter(None, parts)))


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
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str, level: int) -> str:
    """Return a heading.

    Args:
        text: what it says.
        level: 2 or 3.

    Returns:
        The element.

    Examples:
        >>> heading("Result", 2)
        '<h2>Result</h2>'
    """
    return f"<h{level}>{escape(text)}</h{level}>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of numbers; on a narrow screen each row becomes a list.

    Args:
        headings: one for each column; the first says what a row is about.
        rows: one text for each column.

    Returns:
        The element.

    Examples:
        >>> table(["method", "error"], [["none", "2.5"]]).partition("<tbody>")[2]
        '<tr><td data-label="method">none</td><td data-label="error">2.5</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(label)}">{escape(text)}</td>' for label, text in zip(headings, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def entries(found: dict[str, str]) -> str:
    """Return a table of names and what they stand for.

    Args:
        found: text by name.

    Returns:
        The element.

    Examples:
        >>> entries({"torch": "2"})
        '<table class="text"><tbody><tr><td>torch</td><td>2</td></tr></tbody></table>'
    """
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in found.items())
    return f'<table class="text"><tbody>{rows}</tbody></table>'


def drawings(drawn: dict[str, Any], prefix: str) -> str:
    """Return figures beside each other, or one below the other where there is less room.

    Args:
        drawn: figures of matplotlib by their captions.
        prefix: of all ids in them; no other figure of the page has it.

    Returns:
        The element.
    """
    parts = [
        f"<figure>{figures.svg(figure, f'{prefix}{i}-', text)}<figcaption>{escape(text)}</figcaption></figure>"
        for i, (text, figure) in enumerate(drawn.items(), 1)
    ]
    return f'<div class="figures">{"".join(parts)}</div>'
