"""Equal discs or spheres in a periodic box: placed by random sequential addition, voxelised by their centres.

Lengths are in mm; the origin is the middle of the box, so that a ball in the middle has the centre 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from datagen.microstructures.microstructure import Microstructure

# Fraction at which random sequential addition in an infinite box can place no further ball, by dimension:
# G. Zhang, S. Torquato, Physical Review E 88 (2013) 053312, doi:10.1103/PhysRevE.88.053312.
JAMMING_LIMIT = {2: 0.5471, 3: 0.3841}

_CANDIDATES = 2000  # positions drawn at once
_FRUITLESS = 50  # draws in a row without a free position until the box counts as full
_RESTARTS = 20  # empty boxes tried: in a small box the reachable fraction scatters


def centred_ball(
    dimension: int,
    grid: int | Sequence[int],
    fraction: float | None,
    radius: float | None,
    size: float,
    match_fraction: bool,
) -> Microstructure:
    """One ball in the middle of the box, described in `centred_fibre` (dimension 2) and `centred_sphere` (3)."""
    voxels, edges = cell_box(dimension, grid, size)
    radius, fraction, _ = ball_sizes(dimension, edges, radius, fraction, 1)
    if 2 * radius > edges.min():
        raise ValueError(f"radius: got {radius:g} mm, wanted at most half the edge {edges.min():g} mm of the cell")
    return voxelise(np.zeros((1, 1, dimension)), radius, voxels, edges, fraction if match_fraction else None)


def random_balls(
    dimension: int,
    grid: int | Sequence[int],
    fraction: float | None,
    count: int | None,
    radius: float | None,
    gap: float,
    seed: int,
    n_samples: int,
    size: float,
    match_fraction: bool,
) -> Microstructure:
    """Balls at random, described in `random_fibres` (dimension 2) and `random_spheres` (3)."""
    voxels, edges = cell_box(dimension, grid, size)
    radius, fraction, count = ball_sizes(dimension, edges, radius, fraction, count)
    if not gap >= 0:
        raise ValueError(f"gap: got {gap}, wanted a distance >= 0 [mm]")
    if n_samples < 1:
        raise ValueError(f"n_samples: got {n_samples}, wanted a number of cells >= 1")
    if seed < 0:
        raise ValueError(f"seed: got {seed}, wanted an integer >= 0")
    centres = np.stack([random_centres(count, radius, edges, gap, seed, i) for i in range(n_samples)])
    return voxelise(centres, radius, voxels, edges, fraction if match_fraction else None)


def ball_volume(radius: float, dimension: int) -> float:
    """Area of a disc [mm^2] or volume of a sphere [mm^3]."""
    return math.pi * radius**2 if dimension == 2 else 4.0 / 3.0 * math.pi * radius**3


def ball_radius(volume: float, dimension: int) -> float:
    """Radius [mm] of a disc of the given area, or of a sphere of the given volume."""
    return math.sqrt(volume / math.pi) if dimension == 2 else (3.0 * volume / (4.0 * math.pi)) ** (1.0 / 3.0)


def squared_distance(centres: np.ndarray, grid: Sequence[int], edges: np.ndarray) -> np.ndarray:
    """Squared distance [mm^2] of every voxel centre from the nearest of the ``centres`` (k, d), periodic: (*grid,)."""
    axes = [((np.arange(n) + 0.5) / n - 0.5) * edge for n, edge in zip(grid, edges, strict=True)]
    nearest = np.full(tuple(grid), np.inf)
    for centre in centres:
        total = np.zeros((1,) * len(grid))
        for axis, (x, c, edge) in enumerate(zip(axes, centre, edges, strict=True)):
            offset = x - c
            offset -= edge * np.round(offset / edge)
            total = total + (offset**2).reshape([-1 if a == axis else 1 for a in range(len(grid))])
        np.minimum(nearest, total, out=nearest)
    return nearest


def matching_radius(distance: np.ndarray, fraction: float) -> float:
    """Radius whose voxels, those of squared ``distance`` <= radius^2, come closest to ``fraction`` of the grid."""
    # Voxels at one distance by symmetry differ by rounding; they go in or out together.
    values, counts = np.unique(distance.round(12 - math.ceil(math.log10(distance.max()))), return_counts=True)
    filled = np.cumsum(counts) / distance.size
    best = int(np.argmin(np.abs(filled - fraction)))
    outer = values[min(best + 1, len(values) - 1)]
    return math.sqrt(0.5 * (values[best] + outer))  # half-way to the next voxels, out of the reach of rounding


def voxelise(
    centres: np.ndarray, radius: float, grid: Sequence[int], edges: np.ndarray, fraction: float | None = None
) -> Microstructure:
    """Cells with phase 1 where the voxel centre lies in a ball (on its surface counts) and phase 0 elsewhere.

    Args:
        centres: (m, k, d) [mm], of m samples.
        radius: of all balls [mm].
        grid: number of voxels, d numbers.
        edges: of the box [mm], (d,).
        fraction: if given, each sample takes the radius whose voxels come closest to this volume fraction.

    Returns:
        The cells, with the descriptors ``radius`` (m,) and ``centres`` (m, k, d).

    Raises:
        ValueError: balls too small for the grid to see.
    """
    phases, radii = [], []
    for sample in centres:
        distance = squared_distance(sample, grid, edges)
        r = radius if fraction is None else matching_radius(distance, fraction)
        phases.append(distance <= r * r)
        radii.append(r)
    phase = np.stack(phases)
    if not phase.any((*range(1, phase.ndim),)).all():
        raise ValueError(
            f"radius: got {radius:g} mm, wanted one that reaches a voxel centre; refine the grid {tuple(grid)}"
        )
    phase = phase if phase.ndim == 4 else phase[..., None]
    return Microstructure(
        phase.astype(np.int64), float(edges[0]) / grid[0], descriptors={"radius": radii, "centres": centres}
    )


def random_centres(
    count: int, radius: float, edges: np.ndarray, gap: float = 0.0, seed: int = 0, index: int = 0
) -> np.ndarray:
    """Centres (count, d) [mm] of balls that keep ``gap`` between their surfaces, by random sequential addition.

    Positions are drawn uniformly and kept if free, until all balls are placed. The stream belongs to (seed, index).

    Raises:
        ValueError: the balls cannot be placed.

    Reference:
        S. Torquato, Random Heterogeneous Materials, 2002, section 3.4; doi:10.1007/978-1-4757-6355-3.
    """
    dimension, reach = len(edges), 2 * radius + gap
    rng = np.random.default_rng((seed, index))
    most = 0
    if reach <= edges.min():  # otherwise a ball would meet its own image
        for _ in range(_RESTARTS):
            centres = _fill(count, reach, edges, rng)
            if len(centres) == count:
                return centres
            most = max(most, len(centres))
    covered = count * ball_volume(radius, dimension) / edges.prod()
    with_gap = count * ball_volume(reach / 2, dimension) / edges.prod()
    raise ValueError(
        f"fraction: got {covered:.3f} as {count} balls of radius {radius:.4g} mm with a gap of {gap:.4g} mm "
        f"({with_gap:.3f} with half the gap around each), of which {most} found room; wanted a smaller fraction or "
        f"gap: the jamming limit of random sequential addition is {JAMMING_LIMIT[dimension]:.3f}"
    )


def _fill(count: int, reach: float, edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to ``count`` points of mutual periodic distance >= ``reach``; fewer when the box seems full."""
    placed = np.empty((0, len(edges)))
    fruitless = 0
    while len(placed) < count and fruitless < _FRUITLESS:
        fruitless += 1
        free = (rng.random((_CANDIDATES, len(edges))) - 0.5) * edges
        for centre in placed:
            free = free[_apart(free, centre, reach, edges)]
        while len(free) and len(placed) < count:
            fruitless = 0
            placed = np.concatenate([placed, free[:1]])
            free = free[_apart(free, free[0], reach, edges)]
    return placed


def _apart(points: np.ndarray, centre: np.ndarray, reach: float, edges: np.ndarray) -> np.ndarray:
    offset = points - centre
    offset -= edges * np.round(offset / edges)
    return (offset**2).sum(-1) >= reach * reach


def cell_box(dimension: int, grid: int | Sequence[int], size: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Voxels (d,) and edges [mm] (d,) of a box of cubic voxels whose x edge is ``size``.

    Raises:
        ValueError: a grid or a size that is not positive, or a grid of another dimension.
    """
    voxels = (grid,) * dimension if isinstance(grid, int) else tuple(int(n) for n in grid)
    if len(voxels) != dimension or min(voxels) < 1:
        raise ValueError(f"grid: got {grid}, wanted one number of voxels >= 1, or {dimension}")
    if not 0 < size < math.inf:
        raise ValueError(f"size: got {size}, wanted the x edge of the cell > 0 [mm]")
    return voxels, size * (np.array(voxels) / voxels[0])


def ball_sizes(
    dimension: int, edges: np.ndarray, radius: float | None, fraction: float | None, count: int | None
) -> tuple[float, float, int]:
    """(radius, fraction, count) from two of them; with radius and fraction the count is the nearest whole number."""
    if radius is not None and not radius > 0:
        raise ValueError(f"radius: got {radius}, wanted > 0 [mm]")
    if fraction is not None and not 0 < fraction < 1:
        raise ValueError(f"fraction: got {fraction}, wanted a volume fraction in (0, 1)")
    if count is not None and count < 1:
        raise ValueError(f"count: got {count}, wanted a number of inclusions >= 1")
    volume = float(edges.prod())
    if radius is None and fraction is not None and count is not None:
        return ball_radius(fraction * volume / count, dimension), fraction, count
    if fraction is None and radius is not None and count is not None:
        return radius, count * ball_volume(radius, dimension) / volume, count
    if count is None and radius is not None and fraction is not None:
        return radius, fraction, max(round(fraction * volume / ball_volume(radius, dimension)), 1)
    given = f"radius {radius}, fraction {fraction}, count {count}"
    raise ValueError(f"inclusions: got {given}, wanted two of the three; the last follows")
