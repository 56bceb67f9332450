"""Figures of how the apparent properties of random cells depend on their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from datagen.rve.size import KUBC, NOISE, PERIODIC, SUBC, Estimate, Finding, Scaling
from surrogate.report.style import BLUE, COLOURS, FULL, GREEN, GREY, HALF, INK, ORANGE, canvas, drawn

_LOOK = {KUBC: (ORANGE, "^", "KUBC"), PERIODIC: (BLUE, "o", "periodic"), SUBC: (GREEN, "v", "SUBC")}
_SPAN = 1e-3  # least height of the axis of a modulus, relative: the tolerance of the solves is not worth a look
_APART = 1.05  # factor between marks of one size under different boundary conditions


def short(boundary: str) -> str:
    """The usual short name of a boundary condition: KUBC, periodic, SUBC."""
    return _LOOK[boundary][2] if boundary in _LOOK else boundary


@drawn
def size_figure(finding: Finding, values: Mapping[str, Mapping[int, np.ndarray]]) -> Figure:
    """A modulus of random cells over their size, and its variance with the fitted scaling.

    On the left every sample as a dash and the means with their confidence intervals; on the right variances with
    theirs and the line D^2 = D_Z^2 A / V.

    Args:
        finding: the statistics.
        values: of every sample by boundary and edge.
    """
    figure = canvas(FULL, 3.6)
    left, right = figure.subplots(1, 2)
    boundaries = list(dict.fromkeys(e.boundary for e in finding.estimates))
    middle = (len(boundaries) - 1) / 2
    for k, boundary in enumerate(boundaries):
        colour, mark, name = _look(boundary, k)
        shift = _APART ** (2 * (k - middle))
        _means(left, finding.of(boundary), values[boundary], shift, (colour, mark, name))
        _variances(right, finding.of(boundary), finding.scalings[k], _APART ** (k - middle), (colour, mark))
    sizes = [e.size for e in finding.of(boundaries[0])]
    unit = "" if finding.unit == "-" else f" [{finding.unit}]"
    left.set_xlabel("voxels along x")
    left.set_ylabel(f"{finding.name.replace('_', ' ')}{unit}")
    _log_axis(left, [s.edge for s in sizes])
    left.margins(x=0.12)
    low, high = left.get_ylim()
    middle, least = (low + high) / 2, _SPAN * abs(low + high) / 4
    if finding.unit != "-" and high - low < 2 * least:
        left.set_ylim(middle - least, middle + least)
    right.set_yscale("log")
    right.set_xlabel("voxels along x")
    right.set_ylabel("variance" + ("" if finding.unit == "-" else f" [{finding.unit}$^2$]"))
    _log_axis(right, [s.volume for s in sizes], [str(s.edge) for s in sizes])
    if right.lines:
        right.yaxis.set_major_locator(LogLocator(numticks=6))
    else:
        right.text(0.5, 0.5, "no scatter", ha="center", va="center", transform=right.transAxes, color=GREY)
    right.margins(x=0.12)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=len(boundaries))
    return figure


@drawn
def gap_figure(findings: Sequence[Finding]) -> Figure:
    """The gap between KUBC and SUBC over the size of the cells, one line for each modulus, and the wanted precision."""
    figure = canvas(HALF, 3.3)
    axes = figure.subplots()
    edges: list[int] = []
    for k, finding in enumerate(findings):
        shown = [g for g in finding.gaps if g.relative.value > NOISE]
        edges += [g.size.edge for g in shown]
        gaps = np.array([[g.relative.value, g.relative.low, g.relative.high] for g in shown]).reshape(-1, 3) * 100
        spread = np.abs(gaps[:, 1:] - gaps[:, :1]).T
        colour, name = COLOURS[k % len(COLOURS)], finding.name.replace("_", " ")
        x = [g.size.edge * _APART ** (k - (len(findings) - 1) / 2) for g in shown]
        axes.errorbar(x, gaps[:, 0], spread, fmt="-o", color=colour, markersize=5, capsize=3, linewidth=1.3, label=name)
    axes.axhline(100 * findings[0].precision, color=GREY, linestyle=":", linewidth=1.4)
    axes.annotate(
        "wanted precision",
        (0.0, 100 * findings[0].precision),
        xycoords=("axes fraction", "data"),
        xytext=(3, 3),
        textcoords="offset points",
        color=GREY,
        fontsize=8.5,
    )
    axes.set_yscale("log")
    _log_axis(axes, sorted(set(edges)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_xlabel("voxels along x")
    axes.set_ylabel("(KUBC $-$ SUBC) / mean [%]")
    axes.legend(loc="best")
    return figure


def _means(
    axes: Axes,
    estimates: Sequence[Estimate],
    values: Mapping[int, np.ndarray],
    shift: float,
    look: tuple[str, str, str],
) -> None:
    colour, mark, name = look
    known = [e for e in estimates if e.samples > 1]
    x = np.array([e.size.edge for e in known]) * shift
    for e, at in zip(known, x, strict=True):
        samples = values[e.size.edge]
        axes.plot(np.full(len(samples), at), samples, "_", color=colour, alpha=0.18, markersize=7, markeredgewidth=1.0)
    mean = np.array([e.mean.value for e in known])
    half = np.array([e.mean.half for e in known])
    axes.errorbar(
        x,
        mean,
        half,
        fmt="-" + mark,
        color=colour,
        ecolor=INK,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.8,
        capsize=4,
        elinewidth=1.4,
        linewidth=1.2,
        zorder=3,
        label=name,
    )


def _variances(
    axes: Axes, estimates: Sequence[Estimate], scaling: Scaling, shift: float, look: tuple[str, str]
) -> None:
    colour, mark = look
    known = [e for e in estimates if e.samples > 1 and e.scatter > NOISE]
    if not known:
        return
    V = np.array([e.size.volume for e in known])
    D2 = np.array([[e.deviation.value, e.deviation.low, e.deviation.high] for e in known]) ** 2
    spread = np.abs(D2[:, 1:] - D2[:, :1]).T
    axes.errorbar(V * shift, D2[:, 0], spread, fmt=mark, color=colour, markersize=6, capsize=3, elinewidth=1.3)
    line = np.array([V.min() / 1.3, V.max() * 1.3])
    axes.plot(line, scaling.coefficient.value / line, color=colour, linewidth=1.2)


def _look(boundary: str, k: int) -> tuple[str, str, str]:
    return _LOOK.get(boundary, (COLOURS[k % len(COLOURS)], "s", boundary.replace("_", " ")))


def _log_axis(axes: Axes, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """A logarithmic axis across that shows the sizes there are, and nothing between."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(list(ticks), labels or [str(t) for t in ticks])
