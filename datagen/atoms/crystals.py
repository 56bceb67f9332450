"""The common crystals, an atom at the origin, and the stress-free cell of any crystal.

Cubic crystals have the edges of the cube along the coordinate axes, whether the cell is the ``conventional`` cube or
the primitive one; hexagonal ones have a along x and c along z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.neighbours import neighbours
from datagen.atoms.potential import Bonds, Potential
from datagen.atoms.statics import bonds, gathered
from datagen.tensors import from_mandel

_CUBE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_FCC = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_BCC = ((-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5))
_CORNER = (0.0, 0.0, 0.0)
_FACES = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_CENTRE = (0.5, 0.5, 0.5)
_QUARTER = (0.25, 0.25, 0.25)

STRESS = 1e-13  # eV/A^3, what `stress_free` leaves
FORCE = 1e-12  # eV/A


def fcc(a: float, element: str, conventional: bool = False) -> Crystal:
    """Face-centred cubic: 1 atom, or 4 in the ``conventional`` cube of edge a [A]."""
    return _cubic(a, (_CORNER, *_FACES), [element] * 4) if conventional else _cubic(a, (_CORNER,), [element], _FCC)


def bcc(a: float, element: str, conventional: bool = False) -> Crystal:
    """Body-centred cubic: 1 atom, or 2 in the ``conventional`` cube of edge a [A]."""
    return _cubic(a, (_CORNER, _CENTRE), [element] * 2) if conventional else _cubic(a, (_CORNER,), [element], _BCC)


def diamond(a: float, element: str, conventional: bool = False) -> Crystal:
    """Diamond cubic: 2 atoms, or 8 in the ``conventional`` cube of edge a [A]."""
    if not conventional:
        return _cubic(a, (_CORNER, _QUARTER), [element] * 2, _FCC)
    shifted = [(x + 0.25, y + 0.25, z + 0.25) for x, y, z in (_CORNER, *_FACES)]
    return _cubic(a, (_CORNER, *_FACES, *shifted), [element] * 8)


def b2(a: float, corner: str, centre: str) -> Crystal:
    """B2 (caesium chloride): one element at the corners of the cube of edge a [A], one at its centre; 2 atoms."""
    return _cubic(a, (_CORNER, _CENTRE), [corner, centre])


def l1_2(a: float, corner: str, face: str) -> Crystal:
    """L1_2 (Cu3Au): one element at the corners of the cube of edge a [A], one on its faces; 4 atoms."""
    return _cubic(a, (_CORNER, *_FACES), [corner, face, face, face])


def hcp(a: float, element: str, c: float | None = None, conventional: bool = False) -> Crystal:
    """Hexagonal close-packed: 2 atoms, or 4 in the ``conventional`` box of edges a, sqrt(3) a, c.

    Lattice vectors a (1, 0, 0), a (-1/2, sqrt(3)/2, 0), c (0, 0, 1), lengths in A; c is sqrt(8/3) a unless given.
    """
    c = math.sqrt(8 / 3) * a if c is None else c
    for name, value in (("a", a), ("c", c)):
        _check(name, value)
    half = math.sqrt(3) / 2
    sites = [(0.0, 0.0, 0.0), (0.0, a / math.sqrt(3), c / 2)]
    if not conventional:
        return Crystal([[a, 0, 0], [-a / 2, half * a, 0], [0, 0, c]], sites, [element] * 2)
    sites += [(x + a / 2, y + half * a, z) for x, y, z in sites]
    return Crystal([[a, 0, 0], [0, 2 * half * a, 0], [0, 0, c]], sites, [element] * 4)


def stress_free(crystal: Crystal, potential: Potential, steps: int = 60) -> Crystal:
    """The crystal in the cell, and at the places in it, where stress and forces vanish.

    Newton's method on the symmetric strain e and the displacements u, r -> (I + e) r + u_k - u_i, with the exact
    second derivative of the site energies; directions of negative curvature are followed downhill. No symmetry is
    imposed and none is lost, the steps have the crystal's own. Made for small cells: the second derivative is stored.

    Args:
        crystal: near the answer.
        potential: of its elements.
        steps: of Newton's method at most.

    Returns:
        Stress below 1e-13 eV/A^3 and forces below 1e-12 eV/A, then polished by one more step.

    Raises:
        ValueError: none was found; the message says how large the stress was in the end.
    """
    species = potential.species(crystal.elements)
    met = False
    for _ in range(steps):
        found = neighbours(crystal.positions[None], crystal.lattice[None], potential.cutoff)
        at = bonds(potential, crystal.positions[None], crystal.lattice[None], species, found)
        gradient, curvature = _derivatives(potential, at, found.index[0])
        forces = gathered(potential(at).gradient, found)
        stress, force = float(gradient[:6].abs().max()) / crystal.volume, float(forces.abs().max())
        if not math.isfinite(stress + force):
            break
        values, vectors = torch.linalg.eigh(curvature)
        # Translations cost nothing and move nothing.
        size = values.abs()
        scale = torch.where(size > 1e-9 * size.max(), -1 / size, 0.0)
        change = vectors @ (scale * (vectors.T @ gradient))
        change *= min(1.0, 0.05 / max(1e-300, float(change[:6].norm()), float(change[6:].abs().max()) / 2))
        e = from_mandel(change[:6])
        u = change[6:].unflatten(0, (-1, 3))
        crystal = Crystal(
            crystal.lattice + crystal.lattice @ e, crystal.positions + crystal.positions @ e + u, crystal.elements
        )
        if met:
            return crystal
        met = stress < STRESS and force < FORCE
    raise ValueError(
        f"crystal: got no stress-free cell in {steps} steps, stress {stress:.3g} eV/A^3 and force {force:.3g} eV/A "
        f"are left, wanted {STRESS:g} and {FORCE:g}; start nearer to it"
    )


def _derivatives(potential: Potential, at: Bonds, index: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (6 + 3 n,) and Hessian of the energy of one cell by strain (Mandel) and displacements."""
    n, K = index.shape
    r = at.vector[0]
    unit = torch.eye(6, dtype=r.dtype)
    strained = (from_mandel(unit) @ r.reshape(1, -1, 3).transpose(1, 2)).transpose(1, 2).unflatten(1, (n, K))
    moved = torch.nn.functional.one_hot(index, n) - torch.eye(n, dtype=torch.int64)[:, None]  # d r_ik / d u_l
    moved = torch.einsum("ikl,cd->lcikd", moved.to(r.dtype), torch.eye(3, dtype=r.dtype)).flatten(0, 1)
    # A bond that is none must not count: it is longer than the cutoff, so that its gradient and curvature are zero.
    J = torch.cat([strained, moved]).flatten(2).movedim(0, -1)  # (n, 3 K, 6 + 3 n)
    gradient = torch.einsum("ik,ikm->m", potential(at).gradient[0].flatten(1), J)
    curvature = torch.einsum("ikm,ikp->mp", J, potential.hessian(at)[0] @ J)
    return gradient, (curvature + curvature.T) / 2


def _cubic(
    a: float,
    sites: Sequence[tuple[float, float, float]],
    elements: list[str],
    lattice: Sequence[tuple[float, float, float]] = _CUBE,
) -> Crystal:
    _check("a", a)
    return Crystal(
        a * torch.tensor(lattice, dtype=torch.float64), a * torch.tensor(sites, dtype=torch.float64), elements
    )


def _check(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: got {value}, wanted a positive lattice constant [A]")
