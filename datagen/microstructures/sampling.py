"""What all generators of random cells share: the random stream of each sample, and how arguments are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def streams(seed: int, n_samples: int) -> list[np.random.Generator]:
    """One random stream a sample; that of sample i belongs to (seed, i), whatever the number of samples.

    Raises:
        ValueError: a negative seed, or no sample.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples: got {n_samples}, wanted a number of cells >= 1")
    if seed < 0:
        raise ValueError(f"seed: got {seed}, wanted an integer >= 0")
    return [np.random.default_rng((seed, index)) for index in range(n_samples)]


def solid_grid(grid: int | Sequence[int]) -> tuple[int, int, int]:
    """Three numbers of voxels from one (a cube), two (one voxel in z) or three.

    Raises:
        ValueError: another count of numbers, or a number < 1.
    """
    voxels = (grid,) * 3 if isinstance(grid, int) else tuple(int(n) for n in grid)
    voxels = (*voxels, 1) if len(voxels) == 2 else voxels
    if len(voxels) != 3 or min(voxels) < 1:
        raise ValueError(f"grid: got {grid}, wanted one, two or three numbers of voxels >= 1")
    return voxels[0], voxels[1], voxels[2]


def check_fraction(fraction: float) -> float:
    """The volume fraction, refused with a ValueError outside (0, 1)."""
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: got {fraction}, wanted a volume fraction in (0, 1)")
    return fraction


def check_count(name: str, count: int) -> int:
    """A number of things, refused with a ValueError below 1; ``name`` is that of the argument."""
    if count < 1:
        raise ValueError(f"{name}: got {count}, wanted a number >= 1")
    return count


def check_length(name: str, length: float) -> float:
    """A length [mm], refused with a ValueError unless positive and finite; ``name`` is that of the argument."""
    if not 0 < length < math.inf:
        raise ValueError(f"{name}: got {length}, wanted a length > 0 [mm]")
    return length


def check_gap(gap: float) -> float:
    """A distance of surfaces [mm], refused with a ValueError unless >= 0 and finite."""
    if not 0 <= gap < math.inf:
        raise ValueError(f"gap: got {gap}, wanted a distance >= 0 [mm]")
    return gap


def matching_level(field: np.ndarray, fraction: float) -> float:
    """Level whose voxels, those of ``field`` <= level, come closest to ``fraction`` of the grid.

    Voxels that differ by rounding, as those do that a symmetry maps on one another, go in or out together. The level
    lies half-way to the next voxels, out of the reach of rounding.
    """
    scale = float(np.abs(field).max()) or 1.0
    values, counts = np.unique((field / scale).round(11), return_counts=True)
    filled = np.cumsum(counts) / field.size
    best = int(np.argmin(np.abs(filled - fraction)))
    outer = values[best + 1] if best + 1 < len(values) else values[best] + 1e-9
    return 0.5 * scale * float(values[best] + outer)
