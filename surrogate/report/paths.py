"""Figure of load paths in stretch space, and figure of how a law answers along some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import MANDEL
from surrogate.report.style import COLOURS, FULL, HALF, INK, REFERENCE, canvas, component, drawn

_AT_MOST = 60  # paths of one kind in a panel


@drawn
def path_figure(strain: Mapping[str, Tensor], measure: Measure) -> Figure:
    r"""Load paths projected on planes of strain space: eps, or the logarithmic stretch ln U at finite strain.

    Rotations do not show in ln U = V ln(S) V^T, F = W S V^T. In plane strain the planes are 11-22 and 11-12, else
    11-22, 22-33 and 11-12, one below the other; each kind has a column. At most 60 paths of a kind are drawn, with dots
    at their ends.

    Args:
        strain: (b, T, n) strains by kind of path; the reference state is added.
        measure: what the strain is.
    """
    curves = {name: _stretch(values, measure)[:_AT_MOST] for name, values in strain.items()}
    in_plane = all(np.allclose(np.nan_to_num(h[..., 2:5]), 0.0) for h in curves.values())
    planes = [("11", "22"), ("11", "12")] if in_plane else [("11", "22"), ("22", "33"), ("11", "12")]
    symbol = r"\varepsilon" if measure is Measure.SMALL else r"(\ln U)"
    reach = 1.08 * max(float(np.nanmax(np.abs(h[..., :3]))) for h in curves.values()) or 1.0
    size = min(3.2, FULL / len(curves))
    figure = canvas(max(HALF, size * len(curves)), (size - 0.25) * len(planes) + 0.3)
    panels = figure.subplots(len(planes), len(curves), sharex="row", sharey="row", squeeze=False)
    for k, (name, h) in enumerate(curves.items()):
        panels[0, k].set_title(name)
        for axes, plane in zip(panels[:, k], planes, strict=True):
            x, y = (h[..., i] / (1.0 if i < 3 else np.sqrt(2.0)) for i in Measure.SMALL.columns(plane))
            axes.plot(x.T, y.T, color=COLOURS[k % len(COLOURS)], linewidth=0.7, alpha=0.7)
            axes.plot(x[:, -1], y[:, -1], ".", color=INK, markersize=3)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlabel(f"${symbol}{component(plane[0])}$ [-]")
            if k == 0:
                axes.set_ylabel(f"${symbol}{component(plane[1])}$ [-]")
    return figure


@drawn
def overlay_figure(
    true: Tensor, predicted: Tensor, measure: Measure, components: Sequence[str], titles: Sequence[str]
) -> Figure:
    """Stress along a few paths, as recorded (lines) and as the network answers (circles), a panel for each path.

    Args:
        true: recorded stress (k, T, n) [MPa].
        predicted: stress of the network (k, T, n) [MPa].
        measure: what the stress is.
        components: which are drawn.
        titles: of the panels, k.
    """
    figure = canvas(FULL, 3.3)
    panels = figure.subplots(1, len(titles), sharex=True, squeeze=False)[0]
    symbol = r"\sigma" if measure is Measure.SMALL else "P"
    for panel, axes in enumerate(panels):
        for colour, name, k in zip(_cycle(len(components)), components, measure.columns(components), strict=True):
            unit = np.sqrt(2.0) if measure is Measure.SMALL and k >= 3 else 1.0
            s, s_hat = (np.concatenate([[0.0], x[panel, :, k].cpu().numpy() / unit]) for x in (true, predicted))
            axes.plot(s, color=colour, label=f"${symbol}{component(name)}$")
            axes.plot(s_hat, "o", color=colour, markerfacecolor="none", markersize=5.5, markeredgewidth=1.1)
        axes.set_title(titles[panel])
        axes.set_xlabel("load step")
    panels[0].set_ylabel("stress [MPa]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(components))
    _key(figure)
    return figure


def _key(figure: Figure) -> None:
    """What lines and circles are."""
    axes = figure.axes[-1]
    recorded, learned = (
        Axes.plot(axes, [], [], linestyle, color=REFERENCE, markerfacecolor="none", label=label)[0]
        for linestyle, label in (("-", "recorded"), ("o", "network"))
    )
    figure.legend([recorded, learned], ["recorded", "network"], loc="outside upper right", ncols=2)


def _stretch(strain: Tensor, measure: Measure) -> np.ndarray:
    """(b, T + 1, 6) Mandel components of eps, or of ln U; the reference state first."""
    e = strain.detach().cpu().numpy()
    start = np.zeros((len(e), 1, 6))
    if measure is Measure.SMALL:
        return np.concatenate([start, e], 1)
    F = e.reshape(*e.shape[:-1], 3, 3)
    known = np.isfinite(F).all((-2, -1), keepdims=True)
    _, stretches, axes = np.linalg.svd(np.where(known, F, np.eye(3)))
    logarithm = (np.swapaxes(axes, -1, -2) * np.log(np.maximum(stretches, 1e-300))[..., None, :]) @ axes
    logarithm = np.where(known, logarithm, np.nan)  # a path that ended is drawn up to there
    h = np.stack([logarithm[..., i, j] * (1.0 if i == j else np.sqrt(2.0)) for i, j in MANDEL], -1)
    return np.concatenate([start, h], 1)


def _cycle(n: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(n)]
