"""How figures look: one set of colours and type for all, and their way into a page.

Colours are those of Okabe and Ito, told apart by colour-blind readers; no meaning hangs on colour alone.

Reference:
    M. Okabe, K. Ito, Color Universal Design (CUD), 2008, https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, PALE = "#1d2433", "#6b7280", "#c3c8d0"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#56b4e9", "#e69f00"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
REFERENCE, LEARNED = INK, ORANGE
"""The colours of what is to be learned, and of what learned it, in every figure."""
FIELD, DIFFERENCE = "viridis", "PuOr"
"""Colour maps of fields and of differences about zero, both even in lightness."""

HALF, FULL = 4.4, 9.0
"""Widths [inch] of a figure that takes half a page, or all of it; type is 10 points at both."""

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "micromacro",  # the same figure is the same file
}

P = ParamSpec("P")


def drawn(make: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorator: the figure is drawn in the style of the report; matplotlib's settings stay as they are."""

    @functools.wraps(make)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return make(*args, **kwargs)

    return styled


def svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure."""
    out = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    return out.getvalue()


def canvas(width: float, height: float) -> Figure:
    """An empty figure [inch] whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> None:
    """No frame, ticks or grid: for a picture of a body."""
    axes.set_axis_off()
    axes.set_aspect("equal")


def component(name: str) -> str:
    """The indices of a component as they are set in mathematics: ``"12"`` to ``_{12}``."""
    return f"_{{{name}}}"
