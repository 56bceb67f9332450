"""Figure of the losses over the course of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from surrogate.report.style import FULL, GREY, LEARNED, PALE, REFERENCE, canvas, drawn

_PHASES = {"adam": "Adam", "lbfgs": "L-BFGS"}


@drawn
def training_figure(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss on the training and on the validation paths, epoch by epoch, and over the time that it took.

    Args:
        history: one entry an epoch: "phase", "train", "validation", and "seconds" since its phase began.
    """
    train, validation = (np.array([float(entry[key]) for entry in history]) for key in ("train", "validation"))
    seconds, changes = _clock(history)
    epochs = np.arange(1, len(history) + 1)
    figure = canvas(FULL, 3.3)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, x in zip(panels, (epochs, seconds), strict=True):
        axes.semilogy(x, train, color=REFERENCE, linewidth=1.3, label="training paths")
        axes.semilogy(x, validation, color=LEARNED, linewidth=1.6, label="validation paths")
        for row, name in changes:
            axes.axvline(x[row], color=PALE, linestyle="--", linewidth=1.0, zorder=0)
            axes.annotate(
                name,
                (x[row], 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                color=GREY,
                va="bottom",
                fontsize=9,
            )
    panels[0].set_xlabel("epoch")
    panels[1].set_xlabel("time [s]")
    panels[0].set_ylabel("loss, relative mean square")
    panels[1].legend(loc="upper right")
    return figure


def _clock(history: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Seconds since the start of training, and the rows at which phases begin, with their names."""
    seconds, before, changes = np.zeros(len(history)), 0.0, []
    for row, entry in enumerate(history):
        if row == 0 or entry["phase"] != history[row - 1]["phase"]:
            before = seconds[row - 1] if row else 0.0
            changes.append((row, _PHASES.get(str(entry["phase"]), str(entry["phase"]))))
        seconds[row] = before + float(entry["seconds"])
    return seconds, changes
