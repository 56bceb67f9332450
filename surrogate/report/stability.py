"""Figures of how far a crystal holds along paths of deformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surrogate.report.style import COLOURS, FULL, GREY, INK, LEARNED, REFERENCE, canvas, drawn


@dataclass(frozen=True)
class Curve:
    """What is drawn of one path, over its amplitudes (T,); nan without an answer.

    Attributes:
        e: amplitudes.
        psi: stored energy [MPa].
        stress: along the path [GPa].
        acoustic: lowest eigenvalue of the acoustic tensor [GPa].
        frequency: lowest squared angular frequency of the grid [1/ps^2].
        elastic, phonon: amplitudes of the first losses, None where there is none.
    """

    e: np.ndarray
    psi: np.ndarray
    stress: np.ndarray
    acoustic: np.ndarray
    frequency: np.ndarray
    elastic: float | None
    phonon: float | None

    @property
    def end(self) -> float:
        """Amplitude of the first loss, inf where there is none."""
        return min((e for e in (self.elastic, self.phonon) if e is not None), default=np.inf)


@drawn
def response_figure(curves: Mapping[str, Curve]) -> Figure:
    """Stress along the path and stored energy over the amplitude: solid as far as the crystal is stable, then dotted.

    Triangles mark the loss of ellipticity, rings the first unstable phonon.

    Args:
        curves: by name of the path.
    """
    return _panels(
        curves,
        [
            ("stress along the path [GPa]", lambda c: c.stress),
            ("stored energy [MPa]", lambda c: c.psi),
        ],
    )


@dataclass(frozen=True)
class Overlay:
    """A crystal and the network that learned from it, along one path.

    Attributes:
        e: amplitudes (T,).
        stress: of the crystal along the path (T,) [GPa].
        learned: of the network (T,) [GPa].
        limit: amplitude where the crystal first loses its stability.
        said: amplitude from which the network does not trust itself.
    """

    e: np.ndarray
    stress: np.ndarray
    learned: np.ndarray
    limit: float
    said: float


@drawn
def trust_figure(curves: Mapping[str, Overlay]) -> Figure:
    """Stress of a crystal and of a network along paths, a panel for each, with where either of them ends.

    Args:
        curves: by name of the path.
    """
    rows = (len(curves) + 1) // 2
    figure = canvas(FULL, 0.5 + 2.7 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).flat
    for axes, (name, c) in zip(panels, curves.items(), strict=False):
        shown = c.e <= 1.25 * min(c.limit, float(c.e[-1]))
        e, stress, learned = c.e[shown], c.stress[shown], c.learned[shown]
        stable, trusted = e <= c.limit, e < c.said
        axes.plot(e[stable], stress[stable], color=REFERENCE)
        axes.plot(e[~stable | (e == e[stable][-1])], stress[~stable | (e == e[stable][-1])], ":", color=REFERENCE)
        axes.plot(e[trusted], learned[trusted], "o", color=LEARNED, markersize=4.5)
        axes.plot(e[~trusted], learned[~trusted], "o", color=LEARNED, markersize=4.5, markerfacecolor="none")
        axes.axvline(c.limit, color=REFERENCE, linewidth=1.0, linestyle="--")
        axes.axvline(c.said, color=LEARNED, linewidth=1.0, linestyle="--")
        axes.set_title(name.replace("_", " "))
        # Far outside its range a network may answer anything.
        low, high = min(0.0, float(stress.min())), float(stress.max())
        axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
        axes.set_xlim(left=0.0)
        axes.set_xlabel("amplitude $e$ of the path [-]")
        axes.set_ylabel("stress [GPa]")
    for axes in list(panels)[len(curves) :]:
        axes.set_axis_off()
    keys = [
        Line2D([], [], color=REFERENCE, label="crystal, stable"),
        Line2D([], [], color=REFERENCE, linestyle=":", label="crystal, unstable"),
        Line2D([], [], color=LEARNED, marker="o", linestyle="none", markersize=5, label="network, trusted"),
        Line2D(
            [], [], color=LEARNED, marker="o", linestyle="none", markersize=5, markerfacecolor="none", label="outside"
        ),
        Line2D([], [], color=GREY, linestyle="--", label="where each ends"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    return figure


@drawn
def softening_figure(curves: Mapping[str, Curve]) -> Figure:
    """What the two tests look at, over the amplitude: the crystal is stable while both are above zero.

    Args:
        curves: by name of the path.
    """
    figure = _panels(
        curves,
        [
            ("lowest acoustic eigenvalue [GPa]", lambda c: c.acoustic),
            ("lowest squared frequency [1/ps$^2$]", lambda c: c.frequency),
        ],
        marks=False,
    )
    left, right = figure.axes
    for axes, values, losses in (
        (left, [c.acoustic for c in curves.values()], [c.elastic for c in curves.values()]),
        (right, [c.frequency for c in curves.values()], [c.phonon for c in curves.values()]),
    ):
        axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
        # What lies far below zero is of no interest and would press the rest together.
        known = np.concatenate(values)
        known = known[np.isfinite(known)]
        if len(known) and known.max() > 0:
            axes.set_ylim(max(known.min(), -0.4 * known.max()) - 0.03 * known.max(), 1.06 * known.max())
        for colour, e in zip(_colours(len(losses)), losses, strict=True):
            if e is not None:
                axes.plot([e], [0.0], **_mark(axes is left, colour))
    return figure


def _mark(elastic: bool, colour: str) -> dict[str, Any]:
    """A triangle that lies within a ring: both show where the limits are one."""
    if elastic:
        return {"marker": "^", "markersize": 6, "color": colour, "zorder": 5, "linestyle": "none"}
    ring = {"markersize": 11, "markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.4}
    return {"marker": "o", "color": colour, "zorder": 4, "linestyle": "none", **ring}


def _colours(n: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(n)]


def _panels(
    curves: Mapping[str, Curve], shown: Sequence[tuple[str, Callable[[Curve], np.ndarray]]], marks: bool = True
) -> Figure:
    """One panel a quantity, one colour a path."""
    figure = canvas(FULL, 3.7)
    panels = figure.subplots(1, len(shown), sharex=True)
    for axes, (label, values) in zip(panels, shown, strict=True):
        for colour, curve in zip(_colours(len(curves)), curves.values(), strict=True):
            _curve(axes, curve, values(curve), colour, marks)
        axes.set_xlabel("amplitude $e$ of the path [-]")
        axes.set_ylabel(label)
        axes.set_xlim(left=0.0)
    lines = [Line2D([], [], color=colour, linewidth=2.0) for colour in _colours(len(curves))]
    figure.legend(lines, [name.replace("_", " ") for name in curves], loc="outside upper left", ncols=len(curves))
    kinds = [Line2D([], [], **_mark(elastic, INK)) for elastic in (True, False)]
    figure.legend(
        [*kinds, Line2D([], [], color=INK, linestyle=":", linewidth=1.4)],
        ["elastic limit", "phonon limit", "unstable"],
        loc="outside lower right",
        ncols=3,
    )
    return figure


def _curve(axes: Axes, curve: Curve, y: np.ndarray, colour: str, marks: bool) -> None:
    """One quantity of one path, cut in two where the crystal loses its stability."""
    known = np.isfinite(y)
    e, y = curve.e[known], y[known]
    if not len(e):
        return
    end = min(curve.end, float(e[-1]))
    stable = e < end
    inside, outside = [*e[stable], end], [end, *e[~stable]]
    axes.plot(inside, np.interp(inside, e, y), color=colour, zorder=3)
    axes.plot(outside, np.interp(outside, e, y), color=colour, linestyle=":", linewidth=1.4, zorder=2)
    for elastic, at in ((True, curve.elastic), (False, curve.phonon)) if marks else ():
        if at is not None:
            axes.plot([at], np.interp([at], e, y), **_mark(elastic, colour))
