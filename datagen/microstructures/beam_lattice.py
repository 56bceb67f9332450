"""Lattices of beams of circular section."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from datagen.microstructures.balls import cell_box
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.sampling import check_count, check_fraction, check_length, matching_level

Beam = tuple[tuple[float, ...], tuple[float, ...]]

_CORNER = (0.0, 0.0, 0.0)
_EDGES: list[Beam] = [(_CORNER, end) for end in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))]
_BODY_DIAGONALS: list[Beam] = [
    ((0.0, y, z), (1.0, 1.0 - y, 1.0 - z)) for y, z in itertools.product((0.0, 1.0), repeat=2)
]


def _octet() -> list[Beam]:
    """Each node of the face-centred cubic lattice to its twelve neighbours; every beam once a cell."""
    beams: list[Beam] = []
    for node in (_CORNER, (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            for sign in (0.5, -0.5):
                end = list(node)
                end[i] += 0.5
                end[j] += sign
                beams.append((node, tuple(end)))
    return beams


# The beams of one cubic cell of edge 1, each once, as (start, end).
BEAMS: dict[str, list[Beam]] = {
    "cubic": _EDGES,
    "x": _BODY_DIAGONALS,
    "bcc": _EDGES + _BODY_DIAGONALS,
    "octet": _octet(),
}


def beam_lattice(
    grid: int | Sequence[int] = 32,
    lattice: str = "octet",
    fraction: float | None = None,
    radius: float | None = None,
    periods: int = 1,
    size: float = 1.0,
) -> Microstructure:
    """Beams (phase 1) of circular section in a void (phase 0), between the nodes of a cubic cell.

    - ``"cubic"``: the edges of the cube;
    - ``"x"``: its body diagonals, soft along the edges;
    - ``"bcc"``: edges and body diagonals;
    - ``"octet"``: each node of the face-centred cubic lattice with its twelve neighbours.

    "x" and "bcc" are the cells of Fernandez et al.; elsewhere the body diagonals alone are called bcc.

    Args:
        grid: number of voxels, one for all axes or one per axis; the cubes along all axes are equally large, so each
            axis must hold whole ones.
        lattice: one of the four names.
        fraction: volume fraction of the beams, in (0, 1), met by the radius whose voxels come closest; this or the
            radius.
        radius: of the beams [mm].
        periods: cubes along x.
        size: x edge of the cell [mm].

    Returns:
        The cell, with the descriptor ``radius`` (1,) [mm].

    Raises:
        ValueError: an argument outside its range, neither or both of fraction and radius, or beams that the grid does
            not see.

    Reference:
        M. Fernandez, M. Jamshidian, T. Boehlke, K. Kersting, O. Weeger, Comput. Mech. 67 (2021) 653,
        doi:10.1007/s00466-020-01954-7 (x, bcc);
        V. S. Deshpande, N. A. Fleck, M. F. Ashby, J. Mech. Phys. Solids 49 (2001) 1747,
        doi:10.1016/S0022-5096(01)00010-2 (octet).

    Example:
        >>> beam_lattice(32, "octet", fraction=0.3).volume_fractions
        tensor([[0.7041, 0.2959]], dtype=torch.float64)
    """
    voxels, edges = cell_box(3, grid, size)
    if lattice not in BEAMS:
        raise ValueError(f"lattice: got {lattice!r}, wanted one of {', '.join(BEAMS)}")
    if (fraction is None) == (radius is None):
        raise ValueError(f"beams: got fraction {fraction} and radius {radius}, wanted one of the two")
    if any(check_count("periods", periods) * n % voxels[0] for n in voxels):
        raise ValueError(f"periods: got {periods} along {voxels[0]} of {voxels} voxels, wanted whole ones on each axis")
    cube = float(edges[0]) / periods
    # The planes x = 0 and x = 1/2 of a cube are mirrors, and so in y and z: an eighth of one cube is enough.
    places = [((np.arange(n) + 0.5) * periods / voxels[0]) % 1.0 for n in voxels]
    folded, where = zip(*[np.unique(np.minimum(u, 1 - u).round(12), return_inverse=True) for u in places], strict=True)
    distance = cube * _distance(BEAMS[lattice], folded)[np.ix_(*where)]
    if radius is None:
        radius = matching_level(distance, check_fraction(fraction or 0.0))
    phase = (distance <= check_length("radius", radius)).astype(np.int64)
    if phase.min() == phase.max():
        raise ValueError(f"radius: got {radius:g} mm, wanted one for which the grid {voxels} sees beams and void")
    return Microstructure(phase, cube * periods / voxels[0], descriptors={"radius": [radius]})


def _distance(beams: Sequence[Beam], axes: Sequence[np.ndarray]) -> np.ndarray:
    """Distance of every point of the grid ``axes`` from the nearest beam of any cube, in edges of a cube."""
    nearest = np.full([len(x) for x in axes], np.inf)
    for start, end in beams:
        span = np.subtract(end, start)
        for part in (0.5,) if np.abs(span).max() <= 0.5 else (0.25, 0.75):
            # No part is longer than half a cube along any axis: only its nearest two images count there.
            middle, along = np.array(start) + part * span, span * (0.5 if part == 0.5 else 0.25)
            offsets = [_near(x - m) for x, m in zip(axes, middle, strict=True)]
            for image in itertools.product((0, 1), repeat=3):
                x, y, z = (
                    offset[turn].reshape([-1 if a == axis else 1 for a in range(3)])
                    for axis, (offset, turn) in enumerate(zip(offsets, image, strict=True))
                )
                t = np.clip((along[0] * x + along[1] * y + along[2] * z) / (along @ along), -1.0, 1.0)
                square = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
                np.minimum(nearest, square, out=nearest)
    return np.sqrt(nearest)


def _near(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offsets to the nearest image and to the next one on the other side."""
    first = offset - np.round(offset)
    return first, first - np.where(first > 0, 1.0, -1.0)
