"""Two layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from datagen.microstructures.balls import cell_box
from datagen.microstructures.microstructure import Microstructure


def laminate(
    grid: int | Sequence[int] = 8, normal: str = "x", fraction: float = 0.5, size: float = 1.0
) -> Microstructure:
    """Two-phase laminate: phase 0, then phase 1, stacked along a grid axis.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        normal: stacking direction, ``"x"``, ``"y"`` or ``"z"``.
        fraction: thickness of phase 1 over the cell's, in (0, 1); rounded to whole voxels, at least one of each phase.
        size: x edge of the cell [mm].

    Raises:
        ValueError: an argument outside its range, or fewer than two voxels along the normal.

    Example:
        >>> laminate(4, normal="y", fraction=0.25).volume_fractions
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    voxels, _ = cell_box(3, grid, size)
    if normal not in ("x", "y", "z"):
        raise ValueError(f"normal: got {normal!r}, wanted 'x', 'y' or 'z'")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: got {fraction}, wanted a volume fraction in (0, 1)")
    axis = "xyz".index(normal)
    n = voxels[axis]
    if n < 2:
        raise ValueError(f"grid: got {n} voxel along the normal {normal}, wanted at least 2")
    layer = min(max(round(fraction * n), 1), n - 1)
    row = (torch.arange(n) >= n - layer).long()
    phase = row.reshape([-1 if a == axis else 1 for a in range(3)]).expand(voxels).clone()
    return Microstructure(phase, size / voxels[0])
