"""What holds and loads a body: prescribed displacements, dead tractions, nodal forces.

Each names the place it acts on: a named boundary of the mesh, or a point given by its coordinates [mm], where a node
must stand. All of them grow in proportion to one load factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

AXES = ("x", "y", "z")

Place = str | tuple[float, ...]
Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Displacement:
    """One displacement component, prescribed at all nodes of a place.

    Args:
        where: boundary name or point.
        component: ``"x"``, ``"y"`` or ``"z"``.
        value: displacement at load factor 1 [mm], a number or a function of the positions X (dim, n) giving (n,).
    """

    where: Place
    component: str
    value: float | Field = 0.0

    @property
    def axis(self) -> int:
        """0, 1 or 2."""
        if self.component not in AXES:
            raise ValueError(f"component: got {self.component!r}, wanted one of {', '.join(AXES)}")
        return AXES.index(self.component)


def clamped(where: Place, dim: int) -> tuple[Displacement, ...]:
    """All ``dim`` displacement components zero at a place."""
    return tuple(Displacement(where, axis) for axis in AXES[:dim])


@dataclass(frozen=True)
class Traction:
    """A dead traction on a boundary: force per reference area that keeps its direction while the body moves.

    Args:
        where: boundary name.
        vector: traction at load factor 1 [MPa], dim numbers or a function of the positions X (dim, ...) giving as many.
    """

    where: str
    vector: Sequence[float] | Field


@dataclass(frozen=True)
class NodalForce:
    """A dead force shared equally by the nodes of a place.

    Args:
        where: boundary name or point.
        vector: total force at load factor 1 [N].
    """

    where: Place
    vector: Sequence[float]


def free_motions(X: np.ndarray, element_nodes: np.ndarray, held: np.ndarray) -> list[str]:
    """Rigid motions that nothing prevents, in words; empty for a body that is held.

    Each connected part of the mesh has dim translations and 1 or 3 (linearised) rotations; those that vanish at every
    held degree of freedom are free.

    Args:
        X: node positions (n_nodes, dim) [mm].
        element_nodes: (n_elements, n_nodes_of_element).
        held: (n_nodes, dim) bool, True where a displacement is prescribed.
    """
    n_parts, part = _connected_parts(len(X), element_nodes)
    free = []
    for p in range(n_parts):
        nodes = part == p
        support = nodes & held.any(1)
        # Rotations about the middle of the supports, so that a body on a hinge is named as just turning.
        centre = X[support if support.any() else nodes].mean(0)
        names, modes = _rigid_motions((X[nodes] - centre) / np.ptp(X[nodes], axis=0).max())
        at_supports = modes[:, held[nodes]]
        values, vectors = np.linalg.eigh(at_supports @ at_supports.T)
        null = vectors[:, values <= 1e-12 * max(1.0, values[-1])]
        of_part = "" if n_parts == 1 else f" of part {p}"
        free += [name + of_part for name, row in zip(names, null, strict=True) if np.linalg.norm(row) > 1e-3]
    return free


def _rigid_motions(x: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the translations and linearised rotations, and their nodal displacements (n_modes, n_nodes, dim)."""
    dim = x.shape[1]
    planes = {"z": (0, 1)} if dim == 2 else {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
    modes = np.zeros((dim + len(planes), *x.shape))
    for i in range(dim):
        modes[i, :, i] = 1.0
    for k, (i, j) in enumerate(planes.values(), start=dim):
        modes[k, :, i], modes[k, :, j] = -x[:, j], x[:, i]
    return [f"translation along {a}" for a in AXES[:dim]] + [f"rotation about {a}" for a in planes], modes


def _connected_parts(n_nodes: int, element_nodes: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of connected parts, and the part of each node (n_nodes,)."""
    first = np.broadcast_to(element_nodes[:, :1], element_nodes.shape)
    links = coo_array((np.ones(first.size), (first.ravel(), element_nodes.ravel())), shape=(n_nodes, n_nodes))
    n_parts, part = connected_components(links, directed=False)
    return int(n_parts), part
