"""One fibre in the middle of a two-dimensional cell."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.microstructures.balls import centred_ball
from datagen.microstructures.microstructure import Microstructure


def centred_fibre(
    grid: int | Sequence[int] = 32,
    fraction: float | None = None,
    radius: float | None = None,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """A fibre along z (phase 1) in the middle of a matrix (phase 0): a square array of fibres, one voxel in z.

    Args:
        grid: number of voxels in the plane, one for both axes or one per axis.
        fraction: volume fraction of the fibre, in (0, 1); this or the radius.
        radius: of the fibre [mm].
        size: x edge of the cell [mm].
        match_fraction: take the radius whose voxels come closest to the volume fraction, in place of the exact radius.

    Raises:
        ValueError: an argument outside its range, neither or both of fraction and radius, or a fibre that
            overlaps its images.

    Example:
        >>> centred_fibre(24, fraction=0.3).grid
        (24, 24, 1)
    """
    return centred_ball(2, grid, fraction, radius, size, match_fraction)
