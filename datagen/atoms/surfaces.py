r"""Surfaces of crystals: their energy, stress and elastic constants, from a slab.

With the energy E_slab of n atoms and two surfaces of area A each, and e the energy of an atom in the bulk, as
functions of the in-plane Green-Lagrange strain E_ab of the stress-free crystal,

    gamma(E) = (E_slab(E) - n e(E))/(2 A_0),   tau_ab = d gamma/dE_ab,   S_abcd = d2 gamma/dE_ab dE_cd   at E = 0,

all per area of the reference. tau is the surface stress of Shuttleworth's relation, tau_ab = gamma delta_ab +
d(gamma per deformed area)/d eps_ab. First derivatives are virials, second ones products with the second derivative of
the site energies: there are no differences. (With tables whose second derivative has kinks, S is that of the very
state; over a strain of half a percent it may be another.) Per nominal strain, F = 1 + eps, the second derivative is
S_abcd + tau_bd delta_ac, so S11 + S12 + tau for an equal strain of both axes. Relaxed, the atoms of the slab are at
rest at every strain, and the bulk is free of stress across the surface; unrelaxed, both follow the in-plane strain,
without strain across.

The slab is a stack of whole primitive cells, atoms of a basis together. Where that makes its two faces unlike, all is
the mean of both; and where a plane can be cut in several ways, the places of the atoms in the cell decide: across
(1 1 1) of `datagen.atoms.crystals.diamond` three bonds an atom are cut, across (1 1 -1) one.

References:
    R. Shuttleworth, Proc. Phys. Soc. A 63 (1950) 444, doi:10.1088/0370-1298/63/5/302.
    R. E. Miller, V. B. Shenoy, Nanotechnology 11 (2000) 139, doi:10.1088/0957-4484/11/3/301 (surface elastic
    constants).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import stress_free
from datagen.atoms.curvature import Curvature
from datagen.atoms.neighbours import neighbours
from datagen.atoms.potential import Potential
from datagen.atoms.relaxation import relax
from datagen.atoms.statics import Linearised, evaluate
from datagen.atoms.supercells import slab
from datagen.atoms.units import JOULE_PER_SQUARE_METRE
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.tensors import from_mandel, to_mandel

IN_PLANE = [0, 1, 5]  # 11, 22, 12 in Mandel order, normal along 3
ACROSS = [2, 3, 4]


class Surface(NamedTuple):
    """A surface, in the axes of the slab: first in-plane lattice vector along 1, normal along 3. Times 16.02: J/m^2."""

    energy: Tensor  # () gamma [eV/A^2]
    stress: Tensor  # (2, 2) tau_ab [eV/A^2]
    elasticity: Tensor  # (3, 3) S_abcd in Mandel order 11 22 12, sqrt(2) on the shears [eV/A^2]
    slab: Crystal  # with its atoms where they were in the end
    force: Tensor  # () largest force on an atom that is left [eV/A]
    stable: Tensor  # () bool, whether no negative curvature is found there: else it would reconstruct

    @property
    def in_joule(self) -> tuple[Tensor, Tensor, Tensor]:
        """Energy, stress and elasticity [J/m^2 = N/m]."""
        return tuple(part * JOULE_PER_SQUARE_METRE for part in self[:3])  # type: ignore[return-value]


def surface(
    potential: Potential,
    crystal: Crystal,
    normal: Sequence[int],
    layers: int | None = None,
    relaxed: bool = True,
    repeat: Sequence[int] = (1, 1),
    tolerance: float = 1e-11,
) -> Surface:
    """Energy, stress and elastic constants of a surface, those of a slab with two of them.

    Args:
        potential: of the atoms.
        crystal: the bulk, near its stress-free state, which is found first; its cell defines what ``normal`` means.
        normal: Miller indices.
        layers: lattice planes of the slab; None: six times the cutoff thick. What the surfaces feel of each other
            falls exponentially.
        relaxed: whether the atoms are, in all directions; else they stay where they are in the crystal.
        repeat: of the smallest in-plane cell; more than 1 lets the surface reconstruct, if something breaks symmetry.
        tolerance: on the forces [eV/A].

    Raises:
        ValueError: no stress-free cell near the crystal, atoms that find no rest, no normal, no layers.

    Example:
        >>> from datagen.atoms.crystals import fcc
        >>> from datagen.atoms.lennard_jones import LennardJones
        >>> argon = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125)
        >>> found = surface(argon, fcc(5.3, "Ar", conventional=True), (1, 1, 1), layers=12)
        >>> round(float(found.energy) * 1000, 1)  # meV/A^2
        1.7
    """
    bulk = stress_free(crystal, potential)
    vacuum = 1.5 * potential.cutoff + 2
    upright = _upright(slab(bulk, normal, 2, vacuum))
    if layers is None:
        layers = 1 + int(6 * potential.cutoff / float(upright.lattice[2, 2]))
    thick = slab(bulk, normal, layers, vacuum, repeat)
    species = potential.species(thick.elements)
    x, h = thick.positions[None], thick.lattice[None]
    if relaxed:
        rest = relax(potential, x, h, species, tolerance=tolerance, steps=3000)
        if rest.verdict[0] >= FIRST_WITHOUT_ANSWER:
            raise ValueError(
                f"crystal: got a surface whose atoms find no rest, {float(rest.force[0]):.3g} eV/A are left"
            )
        x = rest.positions
    energy, first, second, at = _derivatives(potential, x, h, species, relaxed)
    own = upright.positions[None], upright.lattice[None], potential.species(upright.elements)
    energy_b, first_b, second_b, _ = _derivatives(potential, *own, relaxed)
    many = thick.n / upright.n
    first_b, second_b = first_b[IN_PLANE], _condensed(second_b) if relaxed else second_b[IN_PLANE][:, IN_PLANE]
    area = torch.linalg.cross(h[0, 0], h[0, 1]).norm()
    gamma = (energy - many * energy_b) / (2 * area)
    tau = (first[IN_PLANE] - many * first_b) / (2 * area)
    S = (second[IN_PLANE][:, IN_PLANE] - many * second_b) / (2 * area)
    shear = tau[2] / 2**0.5
    stress = torch.stack([torch.stack([tau[0], shear]), torch.stack([shear, tau[1]])])
    return Surface(gamma, stress, S, Crystal(h[0], x[0], thick.elements), *at)


def _derivatives(
    potential: Potential, x: Tensor, h: Tensor, species: Tensor, relaxed: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Energy (), its first (6,) and second (6, 6) derivatives by Green-Lagrange strain (Mandel) [eV].

    And the largest force, and whether the atoms rest in a valley.
    """
    found = neighbours(x, h, potential.cutoff)
    at = evaluate(potential, x, h, species, found)
    linear = Linearised(potential, x, h, species, found)
    curvature = Curvature(linear)
    e = from_mandel(torch.eye(6, dtype=x.dtype))[:, None]
    u = torch.zeros(6, *x.shape, dtype=x.dtype)
    if relaxed:
        u, _ = curvature.solve(linear.strained(e), 1e-11)
    S = at.virial
    # With x -> F x and F = sqrt(1 + 2 E) = 1 + E - E^2/2 the second Piola stress F^-1 S F^-T changes by this.
    change = linear.virial_change(e, u) - e @ S - S @ e
    second = to_mandel(change[:, 0])
    state = at.forces.norm(dim=-1).max(), curvature.stable[0]
    return at.energy[0], to_mandel(S[0]), 0.5 * (second + second.mT), state


def _condensed(second: Tensor) -> Tensor:
    """Second derivatives (3, 3) by the in-plane strain of a bulk that is free to strain across."""
    plane, mixed, across = second[IN_PLANE][:, IN_PLANE], second[IN_PLANE][:, ACROSS], second[ACROSS][:, ACROSS]
    follow, _ = torch.linalg.solve_ex(across, mixed.mT)
    return plane - mixed @ follow


def _upright(pair: Crystal) -> Crystal:
    """The bulk in the axes of a slab of two layers: the step from one to the next is its third lattice vector."""
    n = pair.n // 2
    lattice = torch.stack([*pair.lattice[:2], pair.positions[n] - pair.positions[0]])
    return Crystal(lattice, pair.positions[:n], pair.elements[:n])
