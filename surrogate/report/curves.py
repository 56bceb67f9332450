"""Figures of the history of a macro simulation: load over displacement, and how Newton's method converged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from surrogate.report.style import COLOURS, HALF, LEARNED, REFERENCE, canvas, drawn

_MARKS = ("o", "s", "^", "D")


@drawn
def load_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    displacement: str = "displacement [mm]",
    load: str = "load [N]",
) -> Figure:
    """Load over displacement: the first curve is the reference, drawn as a line; others are laid over it as marks.

    Args:
        curves: (displacements, loads) at the end of each load step, by name; the unloaded state is added.
        displacement: label of the axis across, with the unit.
        load: label of the axis up.
    """
    figure = canvas(HALF, 3.3)
    axes = figure.subplots()
    for k, (name, (x, y)) in enumerate(curves.items()):
        u, f = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
        if k == 0:
            axes.plot(u, f, "-o", color=REFERENCE, markersize=4, label=name)
        else:
            colour = LEARNED if k == 1 else COLOURS[(k + 1) % len(COLOURS)]
            mark = _MARKS[k % len(_MARKS)]
            axes.plot(u, f, mark, color=colour, markersize=9, markerfacecolor="none", markeredgewidth=1.6, label=name)
    axes.set_xlabel(displacement)
    axes.set_ylabel(load)
    axes.legend(loc="best")
    return figure


@drawn
def residual_figure(residuals: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Relative residual after each Newton iteration, one line for each load step, one colour for each simulation.

    Args:
        residuals: of the load steps, by name of the simulation.
    """
    figure = canvas(HALF, 3.3)
    axes = figure.subplots()
    for k, (name, steps) in enumerate(residuals.items()):
        colour = (REFERENCE, LEARNED)[k] if k < 2 else COLOURS[k % len(COLOURS)]
        for t, r in enumerate(steps):
            shown = np.where(np.asarray(r) > 0, r, np.nan)
            axes.semilogy(
                shown,
                color=colour,
                marker=_MARKS[k % len(_MARKS)],
                markersize=4,
                linewidth=1.1,
                label=name if t == 0 else None,
            )
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Newton iteration")
    axes.set_ylabel("out-of-balance force, relative")
    axes.legend(loc="best")
    return figure
