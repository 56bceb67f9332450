"""Ellipsoids at random, with prescribed orientations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from datagen.microstructures.balls import cell_box
from datagen.microstructures.inclusions import MARGIN, Level, level_field, microstructure
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.orientation import (
    check_orientation,
    draw_directions,
    frames_along,
    orientation_tensor,
)
from datagen.microstructures.packing import ellipsoid_shapes, pack
from datagen.microstructures.sampling import check_count, check_fraction, check_gap, streams


def packed_ellipsoids(
    grid: int | Sequence[int] = 32,
    fraction: float = 0.3,
    count: int = 20,
    aspect: Sequence[float] = (2.0, 1.0, 1.0),
    orientation: Sequence[Sequence[float]] | np.ndarray | None = None,
    match_orientation: bool = True,
    gap: float = 0.0,
    distinct: bool = False,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """Equal ellipsoids (phase 1) in a matrix (phase 0), periodic, pushed apart from random positions.

    Orientations are drawn first and kept. With isotropic ones, 0.5 by volume is reached for aspect 3 and flakes of
    1/2, 0.4 for aspect 5 and flakes of 1/5.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        fraction: volume fraction of the ellipsoids, in (0, 1).
        count: number of ellipsoids in the cell.
        aspect: ratios of the three semi-axes; (2, 1, 1) is a cigar along its axis 1, (0.5, 1, 1) a flake across it.
        orientation: second-order orientation tensor (3, 3) of the axes 1; isotropic if None. The ellipsoids are turned
            about their axis 1 at random.
        match_orientation: each sample has that tensor to rounding; otherwise it is that of the distribution, which the
            sample meets to sampling error.
        gap: distance between the surfaces of two ellipsoids, periodic images included, is at least this [mm], >= 0.
        distinct: each ellipsoid is a phase of its own, 1 .. count, whose orientation is that of its axes.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].
        match_fraction: each sample grows or shrinks its ellipsoids by the factor whose voxels come closest to the
            volume fraction, in place of the exact size (for which the gap was kept).

    Returns:
        The cells, with descriptors ``semi_axes`` (m, 3) [mm], ``centres`` (m, count, 3) [mm] from the middle of the
        cell, ``rotations`` (m, count, 3, 3) from the axes of each ellipsoid to the cell's, and ``orientation_tensor``
        (m, 3, 3) of the axes 1 of the sample.

    Raises:
        ValueError: an argument outside its range, or a fraction for which no arrangement was found.

    Reference:
        J. W. Perram, M. S. Wertheim, J. Comput. Phys. 58 (1985) 409, doi:10.1016/0021-9991(85)90171-8 (overlap).

    Example:
        >>> cell = packed_ellipsoids(24, fraction=0.4, count=12, aspect=(2, 1, 1), seed=1, match_fraction=True)
        >>> round(cell.volume_fractions[0, 1].item(), 2)
        0.4
        >>> cell.descriptors["orientation_tensor"][0].diagonal()
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
    """
    voxels, edges = cell_box(3, grid, size)
    semi_axes = _semi_axes(aspect, check_fraction(fraction) * float(edges.prod()) / check_count("count", count))
    grown = np.sqrt(semi_axes**2 + semi_axes.max() * check_gap(gap) + gap**2 / 4)  # holds all within gap / 2
    tensor = check_orientation(orientation)
    fields, centres, rotations = [], [], []
    for rng in streams(seed, n_samples):
        Q = frames_along(draw_directions(tensor, count, rng, match_orientation), rng)
        shapes = ellipsoid_shapes(grown, Q)
        found = pack(count, edges, shapes, rng) if shapes.reach <= edges.min() else None
        if found is None:
            raise ValueError(
                f"fraction: got {fraction} as {count} ellipsoids of semi-axes {_listed(semi_axes)} mm with a gap of "
                f"{gap:.4g} mm in a cell of {_listed(edges)} mm, for which no arrangement was found; wanted a smaller "
                f"fraction or gap, more ellipsoids, or an aspect nearer 1"
            )
        extents = MARGIN * np.sqrt(((Q * semi_axes) ** 2).sum(-1))
        fields.append(level_field(_ellipsoid_level(semi_axes, Q), extents, found, voxels, edges))
        centres.append(found)
        rotations.append(Q)
    turned = np.stack(rotations)
    descriptors: dict[str, Tensor | np.ndarray] = {
        "semi_axes": np.tile(semi_axes, (n_samples, 1)),
        "centres": np.stack(centres),
        "rotations": turned,
        "orientation_tensor": orientation_tensor(turned[..., 0]),
    }
    return microstructure(
        fields,
        float(edges[0]) / voxels[0],
        fraction if match_fraction else None,
        descriptors,
        turned if distinct else None,
    )


def _semi_axes(aspect: Sequence[float], volume: float) -> np.ndarray:
    ratios = np.array([float(a) for a in aspect])
    if ratios.shape != (3,) or not (ratios > 0).all() or not np.isfinite(ratios).all():
        raise ValueError(f"aspect: got {list(aspect)}, wanted three ratios > 0")
    return ratios * (volume / (4 * math.pi / 3 * ratios.prod())) ** (1 / 3)


def _ellipsoid_level(semi_axes: np.ndarray, rotations: np.ndarray) -> Level:
    def level(k: int, x: list[np.ndarray]) -> np.ndarray:
        along = [sum(rotations[k, b, a] * x[b] for b in range(3)) / semi_axes[a] for a in range(3)]
        return np.sqrt(sum(c * c for c in along))

    return level


def _listed(lengths: np.ndarray) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths)
