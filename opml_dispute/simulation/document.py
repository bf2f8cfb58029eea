"""
A small document: headings, paragraphs, tables and figures, as Markdown and as self-contained HTML.

Reports are written once, as a list of blocks. In Markdown a figure is a file beside it; in HTML it is inside.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH = 120
"""Columns of a line of Markdown."""

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:14px}td,th{border:1px solid #ccc;padding:.25rem .6rem}"
    "td+td,th+th{text-align:right}figure{margin:1rem 0}figcaption{color:#555;font-size:14px}"
    "pre{background:#f5f5f5;padding:1rem}svg{max-width:100%;height:auto}"
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text; blank lines divide it."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Code:
    """Text as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG picture."""

    name: str
    """Of its file, without the ending."""
    caption: str
    svg: str


Block = Heading | Paragraph | Table | Code | Figure


def to_markdown(blocks: Sequence[Block]) -> str:
    """The document for a repository; figures as links to `NAME.svg`."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """The document as one HTML file that needs nothing else."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "Report")
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n{body}\n</html>\n"
    )


def write(blocks: Sequence[Block], folder: Path, name: str) -> list[Path]:
    """Writes `NAME.md`, `NAME.html` and the figures; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.md": to_markdown(blocks), f"{name}.html": to_html(blocks)}
    files |= {f"{block.name}.svg": block.svg for block in blocks if isinstance(block, Figure)}
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in files]


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return "\n".join(_wrapped(line) for line in text.strip().split("\n"))
        case Code(text, language):
            return f"```{language}\n{text.strip()}\n```"
        case Figure(name, caption, _):
            return f"![{caption}]({name}.svg)"
        case Table(head, rows):
            lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
            return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _wrapped(line: str) -> str:
    """A line of prose in lines of at most `WIDTH` columns; what follows a list's mark stays under its text."""
    indent = re.match(r"\s*(?:[-*] |\d+\. )?", line)
    rest = " " * (indent.end() if indent else 0)
    return textwrap.fill(line, WIDTH, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False) or line


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return "\n".join(f"<p>{html.escape(part)}</p>" for part in text.strip().split("\n\n"))
        case Code(text, _):
            return f"<pre>{html.escape(text.strip())}</pre>"
        case Figure(_, caption, svg):
            inside = svg[svg.index("<svg") :]
            return f"<figure>{inside}<figcaption>{html.escape(caption)}</figcaption></figure>"
        case Table(head, rows):
            return "<table>" + _row(head, "th") + "".join(_row(row, "td") for row in rows) + "</table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
