"""One sphere in the middle of the cell."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.microstructures.balls import centred_ball
from datagen.microstructures.microstructure import Microstructure


def centred_sphere(
    grid: int | Sequence[int] = 32,
    fraction: float | None = None,
    radius: float | None = None,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """A sphere (phase 1) in the middle of a matrix (phase 0): a simple cubic array of spheres.

    A voxel belongs to the sphere if its centre does: x^2 + y^2 + z^2 <= radius^2 with x = (i + 1/2)/nx - 1/2, etc.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        fraction: volume fraction of the sphere, in (0, 1); this or the radius.
        radius: of the sphere [mm].
        size: x edge of the cell [mm].
        match_fraction: take the radius whose voxels come closest to the volume fraction, in place of the exact radius.

    Raises:
        ValueError: an argument outside its range, neither or both of fraction and radius, or a sphere that
            overlaps its images.

    Example:
        >>> int(centred_sphere(16, fraction=0.2).phase.sum())
        840
    """
    return centred_ball(3, grid, fraction, radius, size, match_fraction)
