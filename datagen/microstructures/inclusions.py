"""Inclusions of any convex shape on a periodic voxel grid: one field that all of them share, and phases from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.sampling import matching_level

# Of inclusion k, at the points offset by (x, y, z) [mm] from its centre: its level, <= 1 inside, growing outwards.
Level = Callable[[int, list[np.ndarray]], np.ndarray]

MARGIN = 1.3  # levels are known to here, and no level that matches a fraction is sought beyond


def level_field(
    level: Level, extents: np.ndarray, centres: np.ndarray, grid: Sequence[int], edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest level over all inclusions at each voxel centre, and the inclusion it belongs to.

    Args:
        level: of one inclusion.
        extents: half the edges of a box that holds the levels up to `MARGIN` of each inclusion [mm], (k, d).
        centres: (k, d) [mm], from the middle of the box.
        grid: number of voxels, d numbers.
        edges: of the periodic box [mm], (d,).

    Returns:
        Levels (*grid,), at most `MARGIN`, and indices (*grid,), -1 where none of the inclusions is that near.
    """
    field, owner = np.full(tuple(grid), MARGIN), np.full(tuple(grid), -1)
    voxel = edges / np.array(grid)
    for k, (centre, extent) in enumerate(zip(centres, extents, strict=True)):
        # The voxel i has its centre at (i + 1/2) voxel - edge / 2, for all whole i.
        middle = (centre + edges / 2) / voxel - 0.5
        first, last = np.ceil(middle - extent / voxel).astype(int), np.floor(middle + extent / voxel).astype(int)
        for block in itertools.product(*[_turns(a, b, n) for a, b, n in zip(first, last, grid, strict=True)]):
            offsets = [(i - m) * h for i, m, h in zip(block, middle, voxel, strict=True)]
            shape = [[-1 if a == b else 1 for b in range(len(grid))] for a in range(len(grid))]
            values = level(k, [x.reshape(s) for x, s in zip(offsets, shape, strict=True)])
            where = np.ix_(*[i % n for i, n in zip(block, grid, strict=True)])
            nearer = values < field[where]
            owner[where] = np.where(nearer, k, owner[where])
            field[where] = np.where(nearer, values, field[where])
    return field, owner


def _turns(first: int, last: int, n: int) -> Iterator[np.ndarray]:
    """The indices first .. last in runs of at most n, within which no voxel comes twice."""
    for start in range(first, last + 1, n):
        yield np.arange(start, min(start + n, last + 1))


def microstructure(
    fields: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing: float,
    fraction: float | None,
    descriptors: Mapping[str, Tensor | np.ndarray],
    rotations: np.ndarray | None = None,
) -> Microstructure:
    """Cells whose inclusions are the voxels of level <= 1, or of the level that comes closest to ``fraction``.

    Args:
        fields: of each sample, from `level_field`.
        spacing: voxel edge [mm].
        fraction: volume fraction to be matched by the voxels of each sample, or None.
        descriptors: of the samples.
        rotations: (m, k, 3, 3), from the axes of each inclusion to those of the cell; each inclusion then is a phase
            of its own, 1 .. k, with this orientation, and the matrix is phase 0. Without them all are phase 1.

    Raises:
        ValueError: a sample of which no voxel centre lies in an inclusion, or in one that is to be a phase.
    """
    phases = []
    for field, owner in fields:
        inside = field <= (1.0 if fraction is None else min(matching_level(field, fraction), MARGIN))
        inside &= owner >= 0
        phases.append(np.where(inside, 1 if rotations is None else owner + 1, 0))
    phase = np.stack(phases)
    wanted = 1 if rotations is None else rotations.shape[1]
    counts = [len(np.unique(sample)) - 1 for sample in phases]
    if min(counts) < wanted:
        raise ValueError(
            f"grid: got {phase.shape[1:]} voxels, of which {min(counts)} of {wanted} inclusion phases hold one; "
            f"wanted a finer grid"
        )
    orientations = None
    if rotations is not None:
        matrix = np.broadcast_to(np.eye(3), (len(phases), 1, 3, 3))
        orientations = np.concatenate([matrix, rotations], 1)
    phase = phase if phase.ndim == 4 else phase[..., None]
    return Microstructure(phase, spacing, orientations, descriptors)
