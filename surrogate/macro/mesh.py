"""Structured meshes with named boundaries. Any scikit-fem mesh that names its boundaries will do as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import skfem


def quadrilateral(corners: Sequence[Sequence[float]], nx: int, ny: int) -> skfem.MeshQuad:
    """A grid of nx x ny elements in a four-sided region, with boundaries ``left``, ``bottom``, ``right``, ``top``.

    X(s, t) is the bilinear map of the unit square to the corners; ``left`` is s = 0, ``bottom`` is t = 0.

    Args:
        corners: (4, 2) positions [mm], anticlockwise from bottom left.
        nx: elements from left to right.
        ny: elements from bottom to top.

    Example:
        >>> mesh = quadrilateral([(0, 0), (48, 44), (48, 60), (0, 44)], nx=2, ny=2)
        >>> mesh.nelements, sorted(mesh.boundaries)
        (4, ['bottom', 'left', 'right', 'top'])
    """
    X = np.asarray(corners, dtype=float)
    if X.shape != (4, 2):
        raise ValueError(f"corners: got shape {X.shape}, wanted (4, 2)")
    unit = skfem.MeshQuad.init_tensor(_line("nx", 1.0, nx), _line("ny", 1.0, ny))
    unit = skfem.MeshQuad(unit.p, unit.t[[0, 3, 2, 1]])  # anticlockwise, which scikit-fem's own is not
    named = unit.with_boundaries(
        {
            "left": lambda x: x[0] == 0.0,
            "bottom": lambda x: x[1] == 0.0,
            "right": lambda x: x[0] == 1.0,
            "top": lambda x: x[1] == 1.0,
        }
    )
    s, t = unit.p
    shape = np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t])
    return replace(named, doflocs=np.ascontiguousarray(X.T @ shape))


def rectangle(width: float, height: float, nx: int, ny: int) -> skfem.MeshQuad:
    """A grid of nx x ny equal rectangles on (0, width) x (0, height) [mm], boundaries as of `quadrilateral`."""
    return quadrilateral([(0, 0), (width, 0), (width, height), (0, height)], nx, ny)


def box(lengths: Sequence[float], divisions: Sequence[int]) -> skfem.MeshHex:
    """Equal bricks on a box with one corner at the origin.

    Boundaries: ``left`` and ``right`` (x), ``front`` and ``back`` (y), ``bottom`` and ``top`` (z).

    Args:
        lengths: edges along x, y, z [mm].
        divisions: elements along x, y, z.

    Example:
        >>> box((10.0, 1.0, 1.0), (20, 3, 3)).nelements
        180
    """
    if len(lengths) != 3 or len(divisions) != 3:
        raise ValueError(f"lengths, divisions: got {tuple(lengths)}, {tuple(divisions)}, wanted three of each")
    lines = [_line(f"divisions[{i}]", lengths[i], divisions[i]) for i in range(3)]
    mesh = skfem.MeshHex.init_tensor(*lines)
    names = ("left", "right"), ("front", "back"), ("bottom", "top")
    sides = {}
    for i, (low, high) in enumerate(names):
        sides[low] = lambda x, i=i: x[i] == 0.0
        sides[high] = lambda x, i=i: x[i] == lines[i][-1]
    return mesh.with_boundaries(sides)


def _line(name: str, length: float, n: int) -> np.ndarray:
    if not length > 0:
        raise ValueError(f"length: got {length}, wanted > 0 [mm]")
    if n < 1:
        raise ValueError(f"{name}: got {n}, wanted at least one element")
    return np.linspace(0.0, length, n + 1)
