"""Figure of a microstructure: the voxels, and how its phases are arranged."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from datagen.microstructures.microstructure import Microstructure
from surrogate.report.style import COLOURS, FULL, HALF, PALE, canvas, drawn

_CURVES = 4  # two-point curves in one figure


@drawn
def microstructure_figure(microstructure: Microstructure, sample: int = 0) -> Figure:
    """One sample as an image (one voxel in z) or as three slices through its middle, with its two-point statistics.

    The curves are the probability that two points at a distance r both lie in the phase; the dashed line is where it
    settles when they are independent, the squared volume fraction.

    Raises:
        IndexError: no such sample.
    """
    cell = microstructure.sample(sample)
    phase, (lx, ly, lz) = cell.phase[0].cpu().numpy(), cell.size
    nx, ny, nz = cell.grid
    slices = [(phase[:, :, nz // 2], "x", "y", (lx, ly))]
    if nz > 1:
        slices += [(phase[:, ny // 2, :], "x", "z", (lx, lz)), (phase[nx // 2, :, :], "y", "z", (ly, lz))]
    flat = len(slices) == 1
    figure = canvas(FULL if flat else FULL + HALF, 3.4)
    *images, curve = figure.subplots(1, len(slices) + 1)
    for axes, (values, across, up, extent) in zip(images, slices, strict=True):
        _slice(axes, values, across, up, extent, cell.n_phases)
    _two_point(curve, cell)
    return figure


def _slice(axes: Axes, values: np.ndarray, across: str, up: str, extent: tuple[float, float], n_phases: int) -> None:
    axes.imshow(
        values.T,
        origin="lower",
        extent=(0.0, extent[0], 0.0, extent[1]),
        cmap=_colours(n_phases),
        vmin=-0.5,
        vmax=n_phases - 0.5,
        interpolation="nearest",
    )
    axes.grid(False)
    axes.set_xlabel(f"{across} [mm]")
    axes.set_ylabel(f"{up} [mm]")


def _two_point(axes: Axes, cell: Microstructure) -> None:
    fractions = cell.volume_fractions[0].tolist()
    colours = _colours(cell.n_phases)
    for phase in range(min(1, cell.n_phases - 1), min(cell.n_phases, _CURVES + 1)):
        distance, probability = cell.radial_two_point(phase)
        colour, label = colours(phase), f"phase {phase}, fraction {fractions[phase]:.4f}"
        axes.plot(distance.numpy(), probability[0].numpy(), color=colour, marker=".", label=label)
        axes.axhline(fractions[phase] ** 2, color=colour, linestyle="--", linewidth=1.0)
    axes.set_xlabel("distance r [mm]")
    axes.set_ylabel("two-point probability")
    axes.set_ylim(bottom=0.0)
    axes.legend()


def _colours(n_phases: int) -> Colormap:
    if n_phases <= len(COLOURS) + 1:
        return ListedColormap((PALE, *COLOURS)[:n_phases])
    return matplotlib.colormaps["viridis"].resampled(n_phases)
