"""Short straight fibres with a prescribed orientation tensor."""

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
from datagen.microstructures.packing import pack, rod_shapes
from datagen.microstructures.sampling import check_count, check_fraction, check_gap, check_length, streams


def short_fibres(
    grid: int | Sequence[int] = 48,
    length: float = 0.5,
    diameter: float = 0.05,
    fraction: float | None = None,
    count: int | None = None,
    orientation: Sequence[Sequence[float]] | np.ndarray | None = None,
    match_orientation: bool = True,
    ends: str = "round",
    gap: float = 0.0,
    distinct: bool = False,
    seed: int = 0,
    n_samples: int = 1,
    size: float = 1.0,
    match_fraction: bool = False,
) -> Microstructure:
    """Equal straight fibres (phase 1) in a matrix (phase 0), periodic, pushed apart from random positions.

    Directions are drawn first and kept, so the orientation tensor holds however dense the cell. For length / diameter
    10 with isotropic directions 0.25 by volume is reached; more where they are aligned.

    Args:
        grid: number of voxels, one for all axes or one per axis.
        length: of a fibre with its ends [mm]; with its diameter and the gap no longer than the cell's smallest edge.
        diameter: of the circular cross-section [mm].
        fraction: volume fraction of the fibres, in (0, 1), met to half a fibre. Either this or the count is given.
        count: number of fibres in the cell.
        orientation: second-order orientation tensor < p p > (3, 3) of the directions; isotropic if None. They follow
            the angular central Gaussian distribution of this tensor.
        match_orientation: each sample has that tensor to rounding; otherwise it is that of the distribution, which the
            sample meets to sampling error.
        ends: ``"round"`` for half spheres at the ends, ``"flat"`` for cylinders; these are kept apart as if they had
            half spheres beyond their ends, and reach lower fractions.
        gap: distance between the surfaces of two fibres, periodic images included, is at least this [mm], >= 0.
        distinct: each fibre is a phase of its own, 1 .. count, whose material axis 1 is the fibre's.
        seed: sample i is drawn from (seed, i), whatever the number of samples.
        n_samples: number of cells.
        size: x edge of the cell [mm].
        match_fraction: each sample thickens or thins its fibres by the factor whose voxels come closest to the volume
            fraction, in place of the exact diameter (for which the gap was kept).

    Returns:
        The cells, with descriptors ``length`` (m,) and ``diameter`` (m,) [mm], ``centres`` (m, count, 3) [mm] from the
        middle of the cell, ``directions`` (m, count, 3) and ``orientation_tensor`` (m, 3, 3) of the sample.

    Raises:
        ValueError: an argument outside its range, or a fraction for which no arrangement was found.

    Reference:
        S. G. Advani, C. L. Tucker, J. Rheology 31 (1987) 751, doi:10.1122/1.549945 (orientation tensors);
        M. Schneider, Comput. Mech. 59 (2017) 247, doi:10.1007/s00466-016-1350-7 (fibres moved until none overlaps).

    Example:
        >>> cell = short_fibres(32, length=0.6, diameter=0.12, fraction=0.1, orientation=[[0.7, 0, 0], [0, 0.2, 0],
        ...     [0, 0, 0.1]], seed=1)
        >>> cell.descriptors["orientation_tensor"][0].diagonal()
        tensor([0.7000, 0.2000, 0.1000], dtype=torch.float64)
    """
    voxels, edges = cell_box(3, grid, size)
    half, radius, volume = _fibre(length, diameter, ends)
    if (fraction is None) == (count is None):
        raise ValueError(f"fibres: got fraction {fraction} and count {count}, wanted one of the two")
    if count is None:
        count = max(round(check_fraction(float(fraction or 0)) * float(edges.prod()) / volume), 1)
    covered = check_count("count", count) * volume / float(edges.prod())
    tensor = check_orientation(orientation)
    reach = 2 * (half + radius) + check_gap(gap)
    if reach > edges.min():
        raise ValueError(
            f"length: got {length:g} mm, {reach:.4g} mm with its ends and gap, wanted at most the cell's edge "
            f"{edges.min():.4g} mm: a longer fibre may meet its own image"
        )
    fields, centres, frames = [], [], []
    for rng in streams(seed, n_samples):
        Q = frames_along(draw_directions(tensor, count, rng, match_orientation), rng)
        p = Q[..., 0]
        found = pack(count, edges, rod_shapes(half, radius + gap / 2, p), rng)
        if found is None:
            raise ValueError(
                f"fraction: got {covered:.3f} as {count} fibres of {length:g} x {diameter:g} mm with a gap of {gap:g} "
                f"mm, for which no arrangement was found; wanted a smaller fraction or gap, shorter fibres, or aligned"
            )
        extents = np.abs(p) * length / 2 + MARGIN * radius
        fields.append(level_field(_fibre_level(length, half, radius, p, ends), extents, found, voxels, edges))
        centres.append(found)
        frames.append(Q)
    turned = np.stack(frames)
    descriptors: dict[str, Tensor | np.ndarray] = {
        "length": np.full(n_samples, float(length)),
        "diameter": np.full(n_samples, float(diameter)),
        "centres": np.stack(centres),
        "directions": turned[..., 0],
        "orientation_tensor": orientation_tensor(turned[..., 0]),
    }
    wanted = covered if fraction is None else fraction
    return microstructure(
        fields,
        float(edges[0]) / voxels[0],
        wanted if match_fraction else None,
        descriptors,
        turned if distinct else None,
    )


def _fibre(length: float, diameter: float, ends: str) -> tuple[float, float, float]:
    """Half the segment that the fibre's points surround, its radius [mm] and its volume [mm^3]."""
    radius = check_length("diameter", diameter) / 2
    if not check_length("length", length) > diameter:
        raise ValueError(f"length: got {length} mm, wanted more than the diameter {diameter} mm")
    if ends == "round":
        return length / 2 - radius, radius, math.pi * radius**2 * (length - diameter + 4 / 3 * radius)
    if ends == "flat":
        return length / 2, radius, math.pi * radius**2 * length
    raise ValueError(f"ends: got {ends!r}, wanted 'round' or 'flat'")


def _fibre_level(length: float, half: float, radius: float, directions: np.ndarray, ends: str) -> Level:
    def level(k: int, x: list[np.ndarray]) -> np.ndarray:
        along = sum(directions[k, a] * x[a] for a in range(3))
        if ends == "round":
            nearest = np.clip(along, -half, half)
            return np.sqrt(sum((x[a] - nearest * directions[k, a]) ** 2 for a in range(3))) / radius
        across = np.sqrt(sum((x[a] - along * directions[k, a]) ** 2 for a in range(3))) / radius
        return np.where(np.abs(along) <= length / 2, across, np.inf)

    return level
