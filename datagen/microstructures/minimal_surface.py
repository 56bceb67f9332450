"""Triply periodic surfaces: gyroid, Schwarz P and D, Schoen I-WP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from datagen.microstructures.balls import cell_box
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.sampling import check_count, check_fraction, matching_level

Field = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _gyroid(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)


def _primitive(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.cos(x) + np.cos(y) + np.cos(z)


def _diamond(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.cos(x) * np.cos(y) * np.cos(z) - np.sin(x) * np.sin(y) * np.sin(z)


def _wrapped_package(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    pairs = np.cos(x) * np.cos(y) + np.cos(y) * np.cos(z) + np.cos(z) * np.cos(x)
    return 2 * pairs - np.cos(2 * x) - np.cos(2 * y) - np.cos(2 * z)


# Over one period 2 pi of each coordinate.
FIELDS: dict[str, Field] = {
    "gyroid": _gyroid,
    "primitive": _primitive,
    "diamond": _diamond,
    "iwp": _wrapped_package,
}


def minimal_surface(
    grid: int | Sequence[int] = 32,
    surface: str = "gyroid",
    kind: str = "network",
    fraction: float = 0.5,
    periods: int = 1,
    size: float = 1.0,
) -> Microstructure:
    r"""Solid (phase 1) on one side of a triply periodic surface, or a sheet around it; phase 0 elsewhere.

    The surface is the nodal approximation f(x, y, z) = c, with x running through 2 pi in a period:

    - ``"gyroid"``: sin x cos y + sin y cos z + sin z cos x (Schoen's G);
    - ``"primitive"``: cos x + cos y + cos z (Schwarz' P);
    - ``"diamond"``: cos x cos y cos z - sin x sin y sin z (Schwarz' D);
    - ``"iwp"``: 2 (cos x cos y + cos y cos z + cos z cos x) - cos 2x - cos 2y - cos 2z (Schoen's I-WP).

    The level is that whose voxels come closest to the volume fraction: at 1/2 it is 0, the minimal surface, for the
    first three, whose two sides are congruent.

    Args:
        grid: number of voxels, one for all axes or one per axis; the periods along all axes are equally long, so each
            axis must hold whole ones.
        surface: one of the four names.
        kind: ``"network"``, the side f > c, or ``"sheet"``, |f| < c.
        fraction: volume fraction of phase 1, in (0, 1).
        periods: along x.
        size: x edge of the cell [mm].

    Returns:
        The cell, with the descriptor ``level`` (1,), c.

    Raises:
        ValueError: an argument outside its range.

    Reference:
        H. G. von Schnering, R. Nesper, Zeitschrift fuer Physik B 83 (1991) 407, doi:10.1007/BF01313411 (nodal
        surfaces); A. H. Schoen, NASA TN D-5541, 1970.

    Example:
        >>> minimal_surface(32, "gyroid", fraction=0.3).volume_fractions
        tensor([[0.6997, 0.3003]], dtype=torch.float64)
    """
    voxels, _ = cell_box(3, grid, size)
    if surface not in FIELDS:
        raise ValueError(f"surface: got {surface!r}, wanted one of {', '.join(FIELDS)}")
    if kind not in ("network", "sheet"):
        raise ValueError(f"kind: got {kind!r}, wanted 'network' or 'sheet'")
    check_fraction(fraction)
    if any(check_count("periods", periods) * n % voxels[0] for n in voxels):
        raise ValueError(f"periods: got {periods} along {voxels[0]} of {voxels} voxels, wanted whole ones on each axis")
    axes = [2 * math.pi * periods / voxels[0] * (np.arange(n) + 0.5) for n in voxels]
    values = FIELDS[surface](*np.meshgrid(*axes, indexing="ij"))
    depth = -values if kind == "network" else np.abs(values)  # <= level inside
    level = matching_level(depth, fraction)
    phase = (depth <= level).astype(np.int64)
    if phase.min() == phase.max():
        raise ValueError(f"fraction: got {fraction}, of which the grid {voxels} sees one phase alone; refine it")
    return Microstructure(phase, size / voxels[0], descriptors={"level": [-level if kind == "network" else level]})
