"""Figure of what took how long."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from surrogate.report.style import HALF, INK, LEARNED, REFERENCE, canvas, drawn
from surrogate.table import number


@drawn
def timing_figure(seconds: Mapping[str, float], emphasised: str | None = None) -> Figure:
    """Times on a logarithmic axis, the longest on top.

    Args:
        seconds: by name, > 0.
        emphasised: the one in the colour of the network.
    """
    rows = sorted(((name, s) for name, s in seconds.items() if s > 0), key=lambda row: row[1])
    figure = canvas(HALF, 1.0 + 0.42 * len(rows))
    axes = figure.subplots()
    least = min(s for _, s in rows) / 4
    for row, (name, s) in enumerate(rows):
        colour = LEARNED if name == emphasised else REFERENCE
        axes.plot([least, s], [row, row], color=colour, linewidth=1.2)
        axes.plot([s], [row], "o", color=colour, markersize=7)
        axes.annotate(f"{number(s, 3)} s", (s, row), xytext=(8, 0), textcoords="offset points", va="center", color=INK)
    axes.set_xscale("log")
    axes.set_xlim(least, max(s for _, s in rows) * 12)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time [s]")
    return figure
