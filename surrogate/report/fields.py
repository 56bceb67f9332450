"""Figure of a field on the deformed macro mesh: one solution, or two side by side with their difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from surrogate.report.style import DIFFERENCE, FIELD, FULL, GREY, HALF, PALE, bare, canvas, drawn

_MANY = 2000  # elements above which a panel is stored as an image inside the SVG


@drawn
def field_figure(
    X: np.ndarray,
    corners: np.ndarray,
    displacements: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    titles: Sequence[str],
    label: str,
) -> Figure:
    """A value for each element of a two-dimensional mesh, in the deformed configuration, with the outline undeformed.

    Two solutions share one colour scale; a third panel shows second minus first.

    Args:
        X: node positions (n_nodes, 2) [mm].
        corners: corner nodes of each element in order around it (n_elements, k).
        displacements: of the nodes (n_nodes, 2) [mm], one or two solutions.
        values: of the elements (n_elements,), one or two solutions.
        titles: of the solutions.
        label: what the values are, with the unit.
    """
    if not len(displacements) == len(values) == len(titles) or len(values) not in (1, 2):
        raise ValueError(f"fields: got {len(displacements)}, {len(values)}, {len(titles)}, wanted one or two of each")
    if not all(np.isfinite(v).all() for v in values):
        raise ValueError(f"fields: got {label} that is not a number in some elements, wanted one that the law gives")
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    pair = len(values) == 2
    extent = np.ptp(np.concatenate([X, *(X + u for u in displacements)]), axis=0)
    width = 2.8 if pair else 4.0
    figure = canvas(FULL if pair else HALF, 1.1 + min(4.0, width * float(extent[1] / extent[0])))
    panels = figure.subplots(1, 3 if pair else 1, sharex=True, sharey=True, squeeze=False)[0]
    for axes, u, value, title in zip(panels, displacements, values, titles, strict=False):
        patches = _panel(axes, X, corners, u, value, title, FIELD, (low, high))
    bar = figure.colorbar(patches, ax=panels[: len(values)], location="bottom", shrink=0.7 if pair else 0.9, aspect=40)
    _plain(bar, label)
    if pair:
        difference = values[1] - values[0]
        size = max(float(np.abs(difference).max()), 1e-12 * max(abs(low), abs(high), 1e-300))
        patches = _panel(panels[2], X, corners, displacements[1], difference, "Difference", DIFFERENCE, (-size, size))
        bar = figure.colorbar(patches, ax=panels[2], location="bottom", shrink=0.9, aspect=22, format=_short)
        _plain(bar, label)
    return figure


def _panel(
    axes: Axes,
    X: np.ndarray,
    corners: np.ndarray,
    u: np.ndarray,
    values: np.ndarray,
    title: str,
    colours: str,
    limits: tuple[float, float],
) -> PolyCollection:
    few = len(corners) <= _MANY
    outline = PolyCollection(_outline(X, corners), facecolors="none", edgecolors=PALE, linewidths=0.9, linestyles="--")
    axes.add_collection(outline)
    patches = PolyCollection(
        list((X + u)[corners]),
        array=values,
        cmap=colours,
        clim=limits,
        edgecolors=(1, 1, 1, 0.55) if few else "face",
        linewidths=0.35 if few else 0.1,
        rasterized=not few,
    )
    axes.add_collection(patches)
    both = np.concatenate([X, X + u])
    margin = 0.02 * np.ptp(both, axis=0).max()
    (x0, y0), (x1, y1) = both.min(0) - margin, both.max(0) + margin
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)
    axes.set_title(title, loc="center")
    bare(axes)
    return patches


def _outline(X: np.ndarray, corners: np.ndarray) -> list[np.ndarray]:
    """The edges that belong to one element only."""
    edges = np.stack([corners, np.roll(corners, -1, 1)], -1).reshape(-1, 2)
    _, first, count = np.unique(np.sort(edges, 1), axis=0, return_index=True, return_counts=True)
    return list(X[edges[first[count == 1]]])


def _short(value: float, position: int) -> str:
    """A tick as 2e-06: matplotlib's common factor would stand in the way of the label."""
    return f"{value:.1g}"


def _plain(bar: object, label: str) -> None:
    bar.outline.set_visible(False)  # type: ignore[attr-defined]
    bar.ax.xaxis.set_major_locator(MaxNLocator(4))  # type: ignore[attr-defined]
    bar.ax.tick_params(color=GREY)  # type: ignore[attr-defined]
    bar.set_label(label)  # type: ignore[attr-defined]
