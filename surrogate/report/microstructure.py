"""Figure of a microstructure: the voxels, and how its phases are arranged."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from datagen.microstructures.microstructure import Microstructure
from surrogate.report.style import COLOURS, FULL, INK, PALE, canvas, drawn

_CURVES = 4  # phases with a two-point curve each; with more, as in a polycrystal, all share one an axis
_GOLDEN = (math.sqrt(5) - 1) / 2


@drawn
def microstructure_figure(microstructure: Microstructure, sample: int = 0) -> Figure:
    """One sample as an image (one voxel in z) or as three slices through its middle, with its two-point statistics.

    The curves are the probability that two points at a distance r both lie in the phase; the dashed line is where it
    settles when they are independent, the squared volume fraction. With more than five phases the curves are the
    probability, along each axis, that the two points lie in the same phase, whichever it is.

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
    figure = canvas(FULL, 3.4 if flat else 6.6)
    *images, curve = figure.subplots(1 if flat else 2, 2).flat
    for axes, (values, across, up, extent) in zip(images, slices, strict=True):
        _slice(axes, values, across, up, extent, cell.n_phases)
    if cell.n_phases > _CURVES + 1:
        _same_phase(curve, cell)
    else:
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
    for phase in range(min(1, cell.n_phases - 1), cell.n_phases):
        distance, probability = cell.radial_two_point(phase)
        colour, label = colours(phase), f"phase {phase}, fraction {fractions[phase]:.4f}"
        axes.plot(distance.numpy(), probability[0].numpy(), color=colour, marker=".", label=label)
        axes.axhline(fractions[phase] ** 2, color=colour, linestyle="--", linewidth=1.0)
    axes.set_xlabel("distance r [mm]")
    axes.set_ylabel("two-point probability")
    axes.set_ylim(bottom=0.0)
    axes.legend()


def _same_phase(axes: Axes, cell: Microstructure) -> None:
    """Probability that two points at a distance along an axis share a phase, up to half the cell."""
    phase = cell.phase[0]
    for axis, name in enumerate("xyz"):
        n = cell.grid[axis]
        if n == 1:
            continue
        steps = torch.arange(n // 2 + 1)
        shared = [float((phase == phase.roll(int(k), axis)).double().mean()) for k in steps]
        distance = steps * cell.spacing[axis]
        axes.plot(distance.numpy(), shared, color=COLOURS[axis], marker=".", label=f"along {name}")
    apart = float(cell.volume_fractions.square().sum())
    axes.axhline(apart, color=INK, linestyle="--", linewidth=1.0, label="independent points")
    axes.set_xlabel("distance r [mm]")
    axes.set_ylabel("probability of one phase")
    axes.set_ylim(bottom=0.0)
    axes.legend(title=f"{cell.n_phases} phases")


def _colours(n_phases: int) -> Colormap:
    if n_phases <= len(COLOURS) + 1:
        return ListedColormap((PALE, *COLOURS)[:n_phases])
    spread = (np.arange(n_phases) * _GOLDEN) % 1.0  # phases of neighbouring numbers far apart
    return ListedColormap(matplotlib.colormaps["viridis"](spread))
