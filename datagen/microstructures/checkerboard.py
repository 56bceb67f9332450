"""A checkerboard of squares or cubes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datagen.microstructures.balls import cell_box
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.sampling import solid_grid


def checkerboard(
    grid: int | Sequence[int] = (32, 32), cells: int | Sequence[int] = 2, size: float = 1.0
) -> Microstructure:
    r"""Squares or cubes of phases 0 and 1 in turn, half of the volume each, periodic.

    In two dimensions and for phases of conductivities k_1 and k_2 (shear moduli in antiplane shear), the effective one
    is sqrt(k_1 k_2) exactly.

    Args:
        grid: number of voxels, one for all axes, two (one voxel in z: squares) or three.
        cells: squares or cubes along an edge, one number for all axes or one per axis; even, and a divisor of the
            number of voxels there. An axis of one voxel has one.
        size: x edge of the cell [mm].

    Raises:
        ValueError: an argument outside its range.

    Reference:
        A. M. Dykhne, Soviet Physics JETP 32 (1971) 63 (the effective conductivity).

    Example:
        >>> checkerboard((4, 4)).phase[0, :, :, 0].tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    """
    voxels, _ = cell_box(3, solid_grid(grid), size)
    numbers = [cells if n > 1 else 1 for n in voxels] if isinstance(cells, int) else [int(c) for c in cells]
    numbers = [*numbers, 1] if len(numbers) == 2 and voxels[2] == 1 else numbers
    if len(numbers) != 3:
        raise ValueError(f"cells: got {cells}, wanted one number or one per axis")
    parity = np.zeros((1, 1, 1), dtype=np.int64)
    for axis, (n, c) in enumerate(zip(voxels, numbers, strict=True)):
        if n == 1 and c == 1:
            continue
        if c < 2 or c % 2 or n % c:
            raise ValueError(f"cells: got {c} along {'xyz'[axis]}, wanted an even divisor of the {n} voxels there")
        parity = parity + (np.arange(n) * c // n).reshape([-1 if a == axis else 1 for a in range(3)])
    return Microstructure(np.broadcast_to(parity % 2, voxels).copy(), size / voxels[0])
