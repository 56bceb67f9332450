"""Spheres at random."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.microstructures.balls import random_balls
from datagen.microstructures.microstructure import Microstructure


def random_spheres(
    grid: int | Sequence[int] = 32,
    fraction: float | None = None,
    count: int | None = None,
    radius: float | None = None,
    gap: float = 0.0,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """Equal spheres (phase 1) in a matrix (phase 0), periodic, by random sequential addition.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        fraction: volume fraction of the spheres, in (0, 1). Two of fraction, count and radius are given.
        count: number of spheres in the cell.
        radius: of the spheres [mm].
        gap: smallest distance between the surfaces of two spheres, periodic images included [mm], >= 0.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].
        match_fraction: each sample takes the radius whose voxels come closest to the volume fraction, in place of the
            exact radius (for which the gap was kept).

    Returns:
        The cells, with descriptors ``radius`` (m,) and ``centres`` (m, count, 3) [mm] from the middle of the cell.

    Raises:
        ValueError: an argument outside its range, or a fraction that random sequential addition cannot reach (it jams
            at 0.384).

    Example:
        >>> cells = random_spheres(16, fraction=0.2, count=5, gap=0.05, seed=1, n_samples=2)
        >>> cells
        Microstructure(2 of 16x16x16 voxels, 2 phases, spacing (0.0625, 0.0625, 0.0625) mm)
    """
    return random_balls(3, grid, fraction, count, radius, gap, seed, n_samples, size, match_fraction)
