"""Fibres at random in a two-dimensional cell."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.microstructures.balls import random_balls
from datagen.microstructures.microstructure import Microstructure


def random_fibres(
    grid: int | Sequence[int] = 64,
    fraction: float | None = None,
    count: int | None = None,
    radius: float | None = None,
    gap: float = 0.0,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """Equal fibres along z (phase 1) in a matrix (phase 0), periodic, by random sequential addition; one voxel in z.

    Args:
        grid: number of voxels in the plane, one for both axes or one per axis.
        fraction: volume fraction of the fibres, in (0, 1). Two of fraction, count and radius are given.
        count: number of fibres in the cell.
        radius: of the fibres [mm].
        gap: smallest distance between the surfaces of two fibres, periodic images included [mm], >= 0.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].
        match_fraction: each sample takes the radius whose voxels come closest to the volume fraction, in place of the
            exact radius (for which the gap was kept).

    Returns:
        The cells, with descriptors ``radius`` (m,) and ``centres`` (m, count, 2) [mm] from the middle of the cell.

    Raises:
        ValueError: an argument outside its range, or a fraction that random sequential addition cannot reach (it jams
            at 0.547).

    Example:
        >>> cells = random_fibres(32, fraction=0.3, count=9, gap=0.02, seed=1, n_samples=4)
        >>> cells
        Microstructure(4 of 32x32x1 voxels, 2 phases, spacing (0.03125, 0.03125, 0.03125) mm)
    """
    return random_balls(2, grid, fraction, count, radius, gap, seed, n_samples, size, match_fraction)
