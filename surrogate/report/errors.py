"""Figure of the errors of a law over many paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from surrogate.report.style import COLOURS, GREY, HALF, INK, canvas, drawn


@drawn
def error_figure(errors: Mapping[str, Sequence[float]], limits: Mapping[str, float] | None = None) -> Figure:
    """How many paths have which error: a histogram for each class over a logarithmic axis, median and 95 % marked.

    Args:
        errors: relative error of every path, by class of path; what is not a positive number is left out.
        limits: vertical lines with a label, for example wanted values.
    """
    kept = {name: _positive(values) for name, values in errors.items()}
    everything = np.concatenate(
        [*kept.values(), _positive((limits or {}).values()), [1e-6][: not any(map(len, kept.values()))]]
    )
    low, high = 10 ** np.floor(np.log10(everything.min())), 10 ** np.ceil(np.log10(everything.max() * 1.0001))
    edges = np.geomspace(low, high, 1 + 12 * max(1, round(np.log10(high / low))))
    figure = canvas(HALF, 1.3 + 1.3 * len(kept))
    panels = figure.subplots(len(kept), 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, (name, values)) in enumerate(zip(panels, kept.items(), strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        axes.hist(values, edges, color=colour, alpha=0.85)
        if len(values):
            for quantile, style in ((0.5, "-"), (0.95, "--")):
                axes.axvline(np.quantile(values, quantile), color=INK, linestyle=style, linewidth=1.2)
        for label, limit in (limits or {}).items():
            axes.axvline(limit, color=GREY, linestyle=":", linewidth=1.4)
            if k == 0:
                axes.annotate(
                    label,
                    (limit, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -2),
                    textcoords="offset points",
                    color=GREY,
                    fontsize=8.5,
                    va="top",
                )
        axes.set_title(f"{name}: {len(values)} paths")
        axes.set_ylabel("paths")
        axes.grid(visible=False, axis="x")
    panels[-1].set_xscale("log")
    panels[-1].set_xlim(low, high)
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    panels[-1].set_xlabel("stress error of a path; line: median, dashes: 95 %")
    return figure


def _positive(values: Iterable[float | None]) -> np.ndarray:
    x = np.asarray([np.nan if v is None else v for v in values], dtype=float)
    return x[np.isfinite(x) & (x > 0)]
