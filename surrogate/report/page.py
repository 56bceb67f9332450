"""A report as one HTML file that needs nothing else: text, tables and figures, for the screen and for paper.

A `Page` is a list of sections, a `Section` a list of blocks: `Prose`, `Highlights`, `Picture`, `Details`, or a
`surrogate.table.Table`. Figures are numbered through, and so are tables. The file forbids the browser to load anything
from elsewhere.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from surrogate.report.style import HALF, svg
from surrogate.report.stylesheet import STYLESHEET
from surrogate.table import Table, Target, text


@dataclass(frozen=True)
class Prose:
    """Paragraphs, parted by empty lines; `code` and **bold** are understood."""

    words: str


@dataclass(frozen=True)
class Highlight:
    """One number that matters.

    Args:
        value: with its unit, ``"312 times"``.
        meaning: what it is, a few words.
        target: what was wanted, if something was.
    """

    value: str
    meaning: str
    target: Target | None = None


@dataclass(frozen=True)
class Highlights:
    """The numbers that matter, side by side."""

    entries: Sequence[Highlight]


@dataclass(frozen=True)
class Picture:
    """A figure. Those that are half a page wide stand side by side, two by two.

    Args:
        figure: as the functions of this package draw it.
        caption: what it shows and what to see in it.
        alt: the same for who cannot see it; default the caption.
    """

    figure: Figure
    caption: str
    alt: str = ""

    @property
    def half(self) -> bool:
        """Whether it takes half a page."""
        return float(self.figure.get_size_inches()[0]) <= HALF + 0.01


@dataclass(frozen=True)
class Details:
    """Preformatted text that unfolds on a click; printed in full."""

    title: str
    words: str


Block = Prose | Highlights | Picture | Details | Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass
class Page:
    """A report.

    Args:
        title: of the page.
        lead: what it is about and what came out, one or two sentences.
        sections: in order.
        facts: what made it (date, commit, versions, device, command), by name.

    Example:
        >>> page = Page("A run", "Nothing came out.", [Section("Why", [Prose("It was **empty**.")])])
        >>> "<strong>empty</strong>" in page.html()
        True
    """

    title: str
    lead: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """The page."""
        count = _Count()
        anchors = [(f"s{k + 1}", section) for k, section in enumerate(self.sections)]
        contents = "".join(f'<li><a href="#{anchor}">{_escape(s.title)}</a></li>' for anchor, s in anchors)
        body = "".join(
            f'<section id="{anchor}"><h2>{_escape(s.title)}</h2>{_blocks(s.blocks, count)}</section>'
            for anchor, s in anchors
        )
        facts = "".join(f"<div><dt>{_escape(k)}</dt><dd>{_escape(v)}</dd></div>" for k, v in self.facts.items())
        return _PAGE.format(
            title=_escape(self.title),
            lead=_inline(self.lead),
            stylesheet=STYLESHEET,
            contents=f'<nav aria-label="Contents"><h2>Contents</h2><ol>{contents}</ol></nav>' if contents else "",
            facts=f"<dl class=facts>{facts}</dl>" if facts else "",
            body=body,
        )

    def write(self, path: str | Path) -> Path:
        """Write the page, whole or not at all; returns where."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.tmp")
        aside.write_text(self.html(), encoding="utf-8")
        os.replace(aside, path)
        return path


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{stylesheet}</style>
</head>
<body>
<header><div><h1>{title}</h1><p class=lead>{lead}</p>{facts}</div></header>
<div class=columns>
{contents}
<main>{body}</main>
</div>
</body>
</html>
"""


class _Count:
    """Numbers of figures and tables."""

    def __init__(self) -> None:
        self.figures = self.tables = 0


def _blocks(blocks: Sequence[Block], count: _Count) -> str:
    """Blocks in order, half-page pictures that follow each other in one grid."""
    parts = []
    for half, group in groupby(blocks, lambda block: isinstance(block, Picture) and block.half):
        inner = "".join(_block(block, count) for block in group)
        parts.append(f"<div class=pair>{inner}</div>" if half else inner)
    return "".join(parts)


def _block(block: Block, count: _Count) -> str:
    if isinstance(block, Prose):
        return "".join(f"<p>{_inline(p)}</p>" for p in re.split(r"\n\s*\n", block.words.strip()) if p)
    if isinstance(block, Highlights):
        return f"<div class=highlights>{''.join(_highlight(entry) for entry in block.entries)}</div>"
    if isinstance(block, Picture):
        return _picture(block, count)
    if isinstance(block, Details):
        return f"<details><summary>{_escape(block.title)}</summary><pre>{_escape(block.words)}</pre></details>"
    return _table(block, count)


def _highlight(entry: Highlight) -> str:
    target = "" if entry.target is None else f"<div class=target>{_target(entry.target)}</div>"
    value = re.sub(r"^([\d.,+\-/ e]*\d)(\s?)(.*)$", r"\1\2<small>\3</small>", _escape(entry.value))
    return f"<div class=highlight><div class=value>{value}</div><div>{_inline(entry.meaning)}</div>{target}</div>"


def _picture(picture: Picture, count: _Count) -> str:
    count.figures += 1
    data = base64.b64encode(svg(picture.figure).encode()).decode()
    alt = _escape(picture.alt or picture.caption)
    width, height = (round(96 * x) for x in picture.figure.get_size_inches())
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}" width="{width}" height="{height}">'
    caption = f"<b>Figure {count.figures}.</b> {_inline(picture.caption)}"
    kind = "half" if picture.half else "full"
    return f"<figure class={kind}><div>{image}</div><figcaption>{caption}</figcaption></figure>"


def _table(table: Table, count: _Count) -> str:
    count.tables += 1
    kinds = [' class="number"' if numeric else "" for numeric in table.numeric]
    heads = "".join(f"<th{kind}>{_heading(h)}</th>" for h, kind in zip(table.columns, kinds, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(c)}</td>" for c, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in table.rows
    )
    note = f"<p class=note>{_inline(table.note)}</p>" if table.note else ""
    return (
        f"<div class=table><table><caption><b>Table {count.tables}.</b> {_inline(table.title)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _heading(words: str) -> str:
    """A heading, its unit in lighter type."""
    return re.sub(r"(\[[^\]]+\])", r"<span class=unit>\1</span>", _escape(words))


def _cell(cell: object) -> str:
    return _target(cell) if isinstance(cell, Target) else _inline(text(cell))


def _target(target: Target) -> str:
    kind, word = ("met", "met") if target.met else ("missed", "missed")
    wanted = target.wanted.replace("<=", "≤").replace(">=", "≥")
    return f"{_escape(wanted)} <span class={kind}>{word}</span>"


def _inline(words: str) -> str:
    """Text with `code` and **bold**."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", _escape(words))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", marked)


def _escape(words: str) -> str:
    return html.escape(words, quote=True)
