from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from surrogate.report.page import Details, Highlight, Highlights, Page, Picture, Prose, Section
from surrogate.report.style import FULL, HALF, canvas
from surrogate.table import Table, Target


def figure(width=HALF):
    made = canvas(width, 2.0)
    made.subplots().plot([0, 1], [1, 3])
    return made


def page(*blocks, **settings):
    return Page("A title", "What came out.", [Section("First", blocks)], **settings).html()


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in order."""

    alone = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.alone:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def everything():
    return Page(
        "All blocks",
        "With `code`.",
        [
            Section("Numbers", [Highlights([Highlight("312 times", "faster", Target(">= 300", True))])]),
            Section("Pictures", [Picture(figure(), "one"), Picture(figure(), "two"), Picture(figure(FULL), "three")]),
            Section("Tables", [Table("T", ["a", "b [MPa]"], [["x", 1.5], ["y", None]], note="why"), Prose("a\n\nb")]),
            Section("More", [Details("Configuration", "law:\n  mu: <1>")]),
        ],
        {"date": "today", "command": "surrogate solve 'law.mu=1'"},
    )


def test_a_page_is_well_formed_and_needs_nothing_else():
    html = everything().html()
    parser = Balanced()
    parser.feed(html)
    assert not parser.open
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert "@import" not in html
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_the_contents_lead_to_every_section():
    html = everything().html()
    for anchor in re.findall(r'href="#(\w+)"', html):
        assert f'<section id="{anchor}">' in html
    assert html.count("<section ") == 4


def test_what_was_written_is_not_taken_for_markup():
    html = page(Prose("a < b & `x<y` **bold**"), Table("T", ["h"], [["<script>"]]), facts={"command": "a & <b>"})
    assert "a &lt; b &amp; <code>x&lt;y</code> <strong>bold</strong>" in html
    assert "<td>&lt;script&gt;</td>" in html
    assert "<dd>a &amp; &lt;b&gt;</dd>" in html


def test_figures_and_tables_are_numbered_and_described():
    html = everything().html()
    assert [f"<b>Figure {k}.</b> {word}" in html for k, word in ((1, "one"), (2, "two"), (3, "three"))] == [True] * 3
    assert html.count('alt="one"') == 1
    assert "<b>Table 1.</b> T" in html


def test_half_page_pictures_stand_side_by_side():
    html = everything().html()
    assert html.count("<div class=pair>") == 1
    assert html.count("<figure class=half>") == 2
    assert html.count("<figure class=full>") == 1


def test_units_are_set_apart_and_numbers_flush_right():
    html = page(Table("T", ["name", "stress [MPa]"], [["a", 1.5], ["b", float("nan")]]))
    assert '<th class="number">stress <span class=unit>[MPa]</span></th>' in html
    assert '<td class="number">1.5</td>' in html
    assert '<td class="number">-</td>' in html


def test_a_missed_target_is_said_in_words():
    html = page(Highlights([Highlight("0.7 %", "error", Target("<= 0.6 %", False))]))
    assert "≤ 0.6 % <span class=missed>missed</span>" in html
    assert "0.7 <small>%</small>" in html


def test_the_same_page_is_the_same_file(tmp_path):
    first, second = (everything().write(tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row: got 1 cells, wanted 2 for a, b"):
        Table("T", ["a", "b"], [["x"]])


def test_pictures_take_any_figure_of_matplotlib():
    bare = Figure(figsize=(3, 2))
    bare.subplots()
    assert "<figure class=half>" in page(Picture(bare, "bare"))
