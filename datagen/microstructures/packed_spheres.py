"""Spheres at random, packed densely."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.packed_balls import packed_balls


def packed_spheres(
    grid: int | Sequence[int] = 32,
    fraction: float | None = None,
    count: int | None = None,
    radius: float | None = None,
    spread: float = 0.0,
    gap: float = 0.0,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """Spheres (phase 1) in a matrix (phase 0), periodic, to 0.62 by volume: pushed apart from random positions.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        fraction: volume fraction of the spheres, in (0, 1). Two of fraction, count and radius are given.
        count: number of spheres in the cell.
        radius: of the spheres; with a spread, of the sphere of mean volume [mm].
        spread: standard deviation of ln(radius), the sizes being log-normal; 0 gives equal spheres. The radii of each
            sample are scaled together, so that it has the volume fraction exactly.
        gap: smallest distance between the surfaces of two spheres, periodic images included [mm], >= 0.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].
        match_fraction: each sample grows or shrinks its spheres by the factor whose voxels come closest to the volume
            fraction, in place of the exact radii (for which the gap was kept).

    Returns:
        The cells, with descriptors ``radii`` (m, count) [mm] and ``centres`` (m, count, 3) [mm] from the middle of the
        cell, both as packed.

    Raises:
        ValueError: an argument outside its range, or a fraction for which no arrangement was found.

    Reference:
        C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Physical Review E 68 (2003) 011306,
        doi:10.1103/PhysRevE.68.011306.

    Example:
        >>> cell = packed_spheres(24, fraction=0.55, count=20, seed=1, match_fraction=True)
        >>> round(cell.volume_fractions[0, 1].item(), 2)
        0.55
    """
    return packed_balls(3, grid, fraction, count, radius, spread, gap, seed, n_samples, size, match_fraction)
