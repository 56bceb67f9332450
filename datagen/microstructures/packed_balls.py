"""Discs or spheres of one or several sizes, packed beyond what random sequential addition can reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from datagen.microstructures.balls import ball_sizes, cell_box
from datagen.microstructures.inclusions import MARGIN, Level, level_field, microstructure
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.packing import ball_shapes, pack
from datagen.microstructures.sampling import check_gap, streams

# Fraction of random close packing of equal discs and spheres: C. S. O'Hern et al., Physical Review E 68 (2003) 011306,
# doi:10.1103/PhysRevE.68.011306 (spheres); discs of one size crystallise above.
CLOSE_PACKING = {2: 0.84, 3: 0.64}


def packed_balls(
    dimension: int,
    grid: int | Sequence[int],
    fraction: float | None,
    count: int | None,
    radius: float | None,
    spread: float,
    gap: float,
    seed: int,
    n_samples: int,
    size: float,
    match_fraction: bool,
) -> Microstructure:
    """Packed balls, described in `packed_fibres` (dimension 2) and `packed_spheres` (3)."""
    voxels, edges = cell_box(dimension, grid, size)
    radius, fraction, count = ball_sizes(dimension, edges, radius, fraction, count)
    check_gap(gap)
    if not 0 <= spread < math.inf:
        raise ValueError(f"spread: got {spread}, wanted a standard deviation of ln(radius) >= 0")
    fields, centres, radii = [], [], []
    for rng in streams(seed, n_samples):
        r = np.exp(spread * rng.standard_normal(count)) if spread > 0 else np.ones(count)
        r *= radius / np.mean(r**dimension) ** (1 / dimension)
        found = None
        if 2 * r.max() + gap <= edges.min():  # otherwise a ball would meet its own image
            found = pack(count, edges, ball_shapes(r + gap / 2), rng)
        if found is None:
            raise ValueError(_refusal(dimension, r, gap, edges))
        extents = np.repeat(MARGIN * r[:, None], dimension, 1)
        fields.append(level_field(_ball_level(r), extents, found, voxels, edges))
        centres.append(found)
        radii.append(r)
    descriptors = {"radii": np.stack(radii), "centres": np.stack(centres)}
    return microstructure(fields, float(edges[0]) / voxels[0], fraction if match_fraction else None, descriptors)


def _ball_level(radii: np.ndarray) -> Level:
    def level(k: int, x: list[np.ndarray]) -> np.ndarray:
        return np.sqrt(sum(c * c for c in x)) / radii[k]

    return level


def _refusal(dimension: int, radii: np.ndarray, gap: float, edges: np.ndarray) -> str:
    unit = math.pi if dimension == 2 else 4 * math.pi / 3
    covered, with_gap = (unit * ((radii + g) ** dimension).sum() / edges.prod() for g in (0.0, gap / 2))
    return (
        f"fraction: got {covered:.3f} as {len(radii)} balls of radius up to {radii.max():.4g} mm with a gap of "
        f"{gap:.4g} mm ({with_gap:.3f} with half the gap around each), for which no arrangement was found; wanted a "
        f"smaller fraction, gap or spread, or more balls: equal ones jam near {CLOSE_PACKING[dimension]}"
    )
