r"""Voronoi tessellations of a periodic cell: a voxel belongs to the nearest of randomly placed seeds.

Lengths are in mm; the origin is the middle of the box. A cell of one voxel in z is a two-dimensional tessellation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree

from datagen.microstructures.balls import cell_box
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.orientation import orientation_tensor
from datagen.microstructures.sampling import check_count, solid_grid, streams
from datagen.tensors import random_rotation

_CHUNK = 2**20  # voxels looked up at once


def voronoi_polycrystal(
    grid: int | Sequence[int] = 32,
    grains: int = 20,
    aspect: Sequence[float] = (1.0, 1.0, 1.0),
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
) -> Microstructure:
    """Grains around seeds that are uniform in the cell; each grain is a phase, its orientation uniform on SO(3).

    Args:
        grid: number of voxels, one for all axes, two (one voxel in z: columnar grains) or three.
        grains: number of grains in the cell. One too small for the grid has no voxel and keeps its index all the same.
        aspect: stretch of the grains along x, y and z, (1, 1, 3) for grains three times as long in z; along an axis of
            one voxel it means nothing.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].

    Returns:
        The cells, phase = grain, with ``orientations`` (m, grains, 3, 3) and descriptors ``seeds`` (m, grains, 3) [mm]
        from the middle of the cell and ``orientation_tensor`` (m, 3, 3), the mean over the volume of p p with p the
        material axis 1.

    Raises:
        ValueError: an argument outside its range.

    Reference:
        E. N. Gilbert, Annals of Mathematical Statistics 33 (1962) 958, doi:10.1214/aoms/1177704464.

    Example:
        >>> cell = voronoi_polycrystal(16, grains=8, seed=1)
        >>> cell.n_phases, tuple(cell.orientations.shape)
        (8, (1, 8, 3, 3))
    """
    voxels, edges = cell_box(3, solid_grid(grid), size)
    check_count("grains", grains)
    stretch = np.array([float(a) for a in aspect])
    if stretch.shape != (3,) or not ((stretch > 0) & np.isfinite(stretch)).all():
        raise ValueError(f"aspect: got {list(aspect)}, wanted three stretches > 0")
    phases, seeds, rotations = [], [], []
    for rng in streams(seed, n_samples):
        points = (rng.random((grains, 3)) - 0.5) * edges
        phases.append(nearest_seed(points, voxels, edges, stretch))
        seeds.append(points)
        rotations.append(random_rotation(grains, generator=torch.Generator().manual_seed(int(rng.integers(2**62)))))
    phase, Q = torch.as_tensor(np.stack(phases)), torch.stack(rotations)
    weights = torch.stack([torch.bincount(sample.flatten(), minlength=grains) for sample in phase])
    tensor = orientation_tensor(Q[..., 0], weights)
    descriptors = {"seeds": torch.as_tensor(np.stack(seeds)), "orientation_tensor": tensor}
    return Microstructure(phase, size / voxels[0], Q[:, : int(phase.max()) + 1], descriptors)


def two_phase_voronoi(
    grid: int | Sequence[int] = 64,
    cells: float = 100,
    probability: float = 0.5,
    poisson: bool = True,
    swapped: bool = False,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
) -> Microstructure:
    r"""Voronoi cells of a Poisson process, each of phase 1 with the given probability and of phase 0 otherwise.

    The two-point probability is S_11(r) = p^2 + p (1 - p) W(r) with W(r) the probability that two points at the
    distance r share a cell.

    Args:
        grid: number of voxels, one for all axes, two (one voxel in z: a two-dimensional tessellation) or three.
        cells: mean number of Voronoi cells, > 0; their exact number, a whole one, if not Poisson.
        probability: p, of phase 1, in [0, 1].
        poisson: draw the number of cells from the Poisson distribution (again, where it is none): the cell then is a
            periodic window of the infinite process. Otherwise it is fixed.
        swapped: the twin of the same seed with the phases exchanged.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].

    Returns:
        The cells, with the descriptor ``cells`` (m,), the number of Voronoi cells.

    Raises:
        ValueError: an argument outside its range.

    Reference:
        E. N. Gilbert, Annals of Mathematical Statistics 33 (1962) 958, doi:10.1214/aoms/1177704464;
        S. Torquato, Random Heterogeneous Materials, 2002, doi:10.1007/978-1-4757-6355-3 (cell models).

    Example:
        >>> cell, twin = (two_phase_voronoi((32, 32), cells=40, seed=1, swapped=s) for s in (False, True))
        >>> bool((cell.phase + twin.phase == 1).all())
        True
    """
    voxels, edges = cell_box(3, solid_grid(grid), size)
    if not 0 < cells < math.inf or (not poisson and cells != int(cells)):
        raise ValueError(f"cells: got {cells}, wanted a mean number > 0, or a whole number if not Poisson")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: got {probability}, wanted one in [0, 1]")
    phases, counts = [], []
    for rng in streams(seed, n_samples):
        count = int(rng.poisson(cells)) if poisson else int(cells)
        while count == 0:
            count = int(rng.poisson(cells))
        points = (rng.random((count, 3)) - 0.5) * edges
        colours = (rng.random(count) < probability).astype(np.int64)
        phases.append(colours[nearest_seed(points, voxels, edges)])
        counts.append(float(count))
    phase = np.stack(phases)
    return Microstructure(1 - phase if swapped else phase, size / voxels[0], descriptors={"cells": counts})


def nearest_seed(
    seeds: np.ndarray, grid: Sequence[int], edges: np.ndarray, stretch: np.ndarray | None = None
) -> np.ndarray:
    """Index of the nearest of the ``seeds`` (k, 3) [mm] for every voxel centre, periodic: (*grid,).

    Distances are measured after division by ``stretch`` (3,), and only along axes with more than one voxel.
    """
    extended = [axis for axis in range(3) if grid[axis] > 1] or [0]
    scale = np.ones(3) if stretch is None else stretch
    box = (edges / scale)[extended]
    shifted = (seeds / scale)[:, extended] + box / 2
    tree = cKDTree(np.mod(shifted, box) % box, boxsize=box)
    axes = [(np.arange(grid[axis]) + 0.5) / grid[axis] * b for axis, b in zip(extended, box, strict=True)]
    index = np.empty(math.prod(grid), dtype=np.int64)
    for start in range(0, len(index), _CHUNK):
        flat = np.arange(start, min(start + _CHUNK, len(index)))
        where = np.unravel_index(flat, [len(x) for x in axes])
        points = np.stack([x[i] for x, i in zip(axes, where, strict=True)], 1)
        index[flat] = tree.query(points)[1]
    return index.reshape(tuple(grid))
