"""Atoms brought to rest: batched relaxation at fixed cell, and of the cell to a wanted stress.

Far from equilibrium the atoms run downhill by FIRE; near it Newton's method, its steps from conjugate gradients with
exact products of the second derivative, takes the forces to rounding. Every member goes its own way: it stops when it
is done, and no step moves an atom farther than 0.1 A, so that a member stays in the valley it was put in.

    relaxed = relax(potential, x, h, species, tolerance=1e-10)
    w = relaxed.positions @ inv(F).transpose(-1, -2) - X          # x = F (X + w)
    P = first_piola(relaxed.energies.virial, F, V_0)

Positions are never wrapped into the cell: they are continuous from where they were put, and if no atom is held they do
not drift. Units: angstrom, eV.

References:
    E. Bitzek et al., Phys. Rev. Lett. 97 (2006) 170201, doi:10.1103/PhysRevLett.97.170201 (FIRE).
    J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., 2006, section 7.1 (Newton with conjugate gradients).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.neighbours import Neighbours, neighbours, worn
from datagen.atoms.potential import Potential
from datagen.atoms.response import mobile, projected, smallest_curvature, solve, strain_response
from datagen.atoms.statics import Energies, Linearised, evaluate
from datagen.laws.verdict import Verdict
from datagen.tensors import det, from_mandel, inv, to_mandel

SKIN = 0.3  # A
FARTHEST = 0.1  # A that an atom moves in a step
HANDOVER = 0.3  # of the first force: from there on Newton's method
ROUND = 20  # steps between two looks at who is done


class Relaxed(NamedTuple):
    """Atoms at rest, or where they were when the steps ran out.

    A member without answer (verdict 10 or more) has nan energies; its positions are the last ones.
    """

    positions: Tensor  # (B, n, 3) [A]
    cell: Tensor  # (B, 3, 3) [A]
    energies: Energies  # at these positions
    before: Tensor  # (B,) energy where they started [eV]
    force: Tensor  # (B,) largest force left on an atom that may move [eV/A]
    stress: Tensor  # (B,) largest difference left to the wanted stress, zero at fixed cell [eV/A^3]
    iterations: Tensor  # (B,) int64, steps of FIRE and of Newton's method
    verdict: Tensor  # (B,) int8, a `datagen.laws.verdict.Verdict`
    neighbours: Neighbours  # a list for these positions


def relax(
    potential: Potential,
    positions: Tensor,
    cell: Tensor,
    species: Tensor,
    fixed: Tensor | None = None,
    tolerance: float = 1e-8,
    steps: int = 1000,
    curvature: int = 0,
) -> Relaxed:
    """Minimise the energy over the positions, cell fixed.

    Args:
        potential: with forces that are continuous; where they jump at the cutoff the last digits need not be reached.
        positions: to start from (B, n, 3) [A].
        cell: rows are the lattice vectors (B, 3, 3) [A].
        species: index of each atom into ``potential.elements`` (n,).
        fixed: True for atoms, or coordinates of atoms, that are held: (n,), (B, n) or (B, n, 3).
        tolerance: on the largest force on an atom [eV/A]; 1e-12 can be reached in metals.
        steps: at most, FIRE's and Newton's together; beyond, the verdict is NOT_CONVERGED.
        curvature: Lanczos steps spent in the end on looking for negative curvature (0: none). Found there, or on the
            last of Newton's steps, the verdict is UNSTABLE and the answer stands.

    Raises:
        ValueError: shapes that do not fit.

    The energy of a vacancy, E - (n - 1)/n E_0, unrelaxed and relaxed [eV]:

    >>> from datagen.atoms.crystals import fcc, stress_free
    >>> from datagen.atoms.lennard_jones import LennardJones
    >>> from datagen.atoms.supercells import supercell, vacancy
    >>> argon = LennardJones(0.0104, 3.405, 8.5125)
    >>> whole = supercell(stress_free(fcc(5.27, "Ar", conventional=True), argon), 2)
    >>> holed = vacancy(whole)
    >>> E_0 = evaluate(argon, whole.positions[None], whole.lattice[None], argon.species(whole.elements)).energy
    >>> relaxed = relax(argon, holed.positions[None], holed.lattice[None], argon.species(holed.elements))
    >>> relaxed.verdict.tolist()
    [0]
    >>> [round(float(E - 31 / 32 * E_0), 4) for E in (relaxed.before, relaxed.energies.energy)]
    [0.0692, 0.0687]
    """
    free = mobile(fixed, positions)
    B = len(positions)
    x = positions.clone()
    iterations = torch.zeros(B, dtype=torch.int64, device=x.device)
    negative = torch.zeros(B, dtype=torch.bool, device=x.device)
    run = _Run(potential, species, cell, free)
    first = run.at(x, torch.arange(B, device=x.device))
    before, force = first.energy, _largest(first.forces * free)
    goal = (HANDOVER * force).clamp(min=tolerance)
    fire = _Fire.start(x)
    rows = ((force > goal) & torch.isfinite(force) & (steps > 1)).nonzero()[:, 0]
    while len(rows):
        x[rows], force[rows], taken, state = _fire(run, x[rows], rows, fire.member(rows), goal[rows])
        fire.put(rows, state)
        iterations[rows] += taken
        going = (force[rows] > goal[rows]) & (iterations[rows] < steps // 2) & torch.isfinite(force[rows])
        rows = rows[going]
    rows = ((force > tolerance) & torch.isfinite(force) & (iterations < steps)).nonzero()[:, 0]
    radius = torch.full_like(force, FARTHEST)
    while len(rows):
        x[rows], force[rows], radius[rows], negative[rows] = _newton(run, x[rows], rows, radius[rows])
        iterations[rows] += 1
        # A radius that has shrunk to nothing, or a force that is no number, will not come back.
        going = (force[rows] > tolerance) & (iterations[rows] < steps) & (radius[rows] > 1e-12)
        rows = rows[going]
    everyone = torch.arange(B, device=x.device)
    last = run.at(x, everyone)
    found = run.found
    if curvature:
        low, high = smallest_curvature(Linearised(potential, x, cell, species, found), free, curvature)
        negative |= low < -1e-8 * high.abs()
    verdict = _verdict(last, force, tolerance, negative)
    energies = _nan_where(verdict >= Verdict.NOT_CONVERGED, last)
    return Relaxed(x, cell, energies, before, force, torch.zeros_like(force), iterations, verdict, found)


def relax_cell(
    potential: Potential,
    positions: Tensor,
    cell: Tensor,
    species: Tensor,
    wanted: Tensor | None = None,
    components: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    measure: str = "cauchy",
    fixed: Tensor | None = None,
    tolerance: float = 1e-10,
    force_tolerance: float = 1e-10,
    steps: int = 30,
) -> Relaxed:
    """Relax atoms and cell until some components of the stress are as wanted; the others keep their strain.

    Newton's method on the symmetric stretch U of the given cell, h = h_0 U, with the tangent of the relaxed atoms.

    Args:
        potential: of the atoms.
        positions: to start from (B, n, 3) [A].
        cell: (B, 3, 3) [A]; the reference of a first Piola stress.
        species: (n,).
        wanted: stress (3, 3) or (B, 3, 3), tension positive [eV/A^3]; zero unless given.
        components: which are controlled, in Mandel order 11 22 33 23 13 12.
        fixed: as of `relax`; held atoms follow the cell.
        measure: "cauchy", or "piola" for the symmetric part of P, force per area of the given cell.
        tolerance: on the stress [eV/A^3].
        force_tolerance: on the forces [eV/A].
        steps: of Newton's method on the cell, at most.

    Raises:
        ValueError: an unknown measure or component, shapes that do not fit.
    """
    which = _controlled(components, measure)
    wanted = (cell.new_zeros(3, 3) if wanted is None else wanted.to(cell)).expand(cell.shape)
    free = mobile(fixed, positions)
    U = torch.eye(3, dtype=cell.dtype, device=cell.device).repeat(len(cell), 1, 1)
    first = at = relax(potential, positions, cell, species, fixed, force_tolerance)
    state = [part.clone() for part in (at.positions, at.cell, at.force, at.verdict, *at.energies)]
    x, h, force, verdict, *parts = state
    iterations = at.iterations.clone()
    left = _misfit(at.energies, U, cell, wanted, measure)[:, which]
    rows = _open(left, tolerance, verdict)
    while len(rows) and (steps := steps - 1) >= 0:
        tangent = _tangent(potential, x[rows], h[rows], parts[2][rows], U[rows], species, free[rows], measure)
        U_new = U[rows] + _change(tangent, left[rows], which)
        moved = x[rows] @ inv(U[rows]) @ U_new
        at = relax(potential, moved, cell[rows] @ U_new, species, free[rows] == 0, force_tolerance)
        U[rows] = U_new
        iterations[rows] += at.iterations
        now = (at.positions, at.cell, at.force, at.verdict, *at.energies)
        for part, new in zip(state, now, strict=True):
            part[rows] = new
        left[rows] = _misfit(at.energies, U_new, cell[rows], wanted[rows], measure)[:, which]
        rows = rows[_open(left[rows], tolerance, at.verdict)]
    stress = left.abs().amax(-1)
    verdict = torch.where(stress <= tolerance, verdict, verdict.clamp(min=Verdict.NOT_CONVERGED))
    energies = _nan_where(verdict >= Verdict.NOT_CONVERGED, Energies(*parts))
    found = neighbours(x, h, potential.cutoff, SKIN)
    return Relaxed(x, h, energies, first.before, force, stress, iterations, verdict, found)


class _Run:
    """Energies wherever the atoms are, with lists that are made anew when atoms have moved too far."""

    def __init__(self, potential: Potential, species: Tensor, cell: Tensor, free: Tensor) -> None:
        self.potential, self.species, self.cell, self.free = potential, species, cell, free
        self.rows: Tensor | None = None
        self.found: Neighbours

    def at(self, x: Tensor, rows: Tensor) -> Energies:
        cell = self.cell[rows]
        if self.rows is None or len(self.rows) != len(rows) or not torch.equal(self.rows, rows):
            known = self.rows is not None and bool(torch.isin(rows, self.rows).all())
            if known and self.rows is not None:
                self.found = self.found.member(torch.searchsorted(self.rows, rows))
            else:
                self.found = neighbours(x, cell, self.potential.cutoff, SKIN)
            self.rows = rows
        if bool(worn(self.found, x, cell).any()):
            self.found = neighbours(x, cell, self.potential.cutoff, SKIN)
        return evaluate(self.potential, x, cell, self.species, self.found)


class _Fire(NamedTuple):
    """What FIRE remembers of each member."""

    v: Tensor  # (B, n, 3)
    dt: Tensor  # (B,)
    mix: Tensor  # (B,)
    downhill: Tensor  # (B,) steps since it last went uphill

    @staticmethod
    def start(x: Tensor) -> _Fire:
        """At rest."""
        one = x.new_ones(len(x))
        return _Fire(torch.zeros_like(x), 0.1 * one, 0.1 * one, 0 * one)

    def member(self, rows: Tensor) -> _Fire:
        """Of some members."""
        return _Fire(*(part[rows] for part in self))

    def put(self, rows: Tensor, other: _Fire) -> None:
        """Write some members back."""
        for part, new in zip(self, other, strict=True):
            part[rows] = new


def _fire(run: _Run, x: Tensor, rows: Tensor, state: _Fire, goal: Tensor) -> tuple[Tensor, Tensor, Tensor, _Fire]:
    """Some steps of FIRE with unit masses; members whose force has reached their goal stay where they are."""
    v, dt, mix, downhill = state
    free = run.free[rows]
    f = projected(run.at(x, rows).forces, free)
    force = _largest(f)
    taken = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for _ in range(ROUND):
        moving = (force > goal) & torch.isfinite(force)
        up = (f * v).sum((1, 2)) > 0
        downhill = torch.where(up, downhill + 1, 0.0)
        lasting = downhill > 5
        dt = torch.where(up, torch.where(lasting, (1.1 * dt).clamp(max=1.0), dt), 0.5 * dt)
        along = f * _wide(_norm(v) / _norm(f).clamp(min=1e-300))
        v = torch.where(_wide(up), _wide(1 - mix) * v + _wide(mix) * along, 0.0)
        mix = torch.where(up, torch.where(lasting, 0.99 * mix, mix), 0.1)
        v = v + _wide(dt) * f
        step = _wide(dt) * v
        step = step * _wide((FARTHEST / _largest(step).clamp(min=1e-300)).clamp(max=1.0))
        x = torch.where(_wide(moving), x + step, x)
        taken += moving
        f = projected(run.at(x, rows).forces, free)
        force = _largest(f)
    return x, force, taken, _Fire(v, dt, mix, downhill)


def _newton(run: _Run, x: Tensor, rows: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of Newton's method, cut to a radius; a step that is no good is not taken and the radius shrinks."""
    free = run.free[rows]
    here = run.at(x, rows)
    f = projected(here.forces, free)
    force = _largest(f)
    at = Linearised(run.potential, x, run.cell[rows], run.species, run.found)
    found = solve(at, f[None], free, force.sqrt().clamp(1e-6, 0.1)[None], steps=200)
    u, negative = found.u[0], found.negative[0]
    length = _largest(u)  # no number where the curvature is none: then the radius is none, and the member stops
    # Downhill along negative curvature, as far as allowed.
    scale = torch.where(negative, radius / length.clamp(min=1e-300), (radius / length.clamp(min=1e-300)).clamp(max=1.0))
    u = torch.where(torch.isfinite(_wide(length)), u * _wide(scale), 0.0)
    there = run.at(x + u, rows)
    new = _largest(projected(there.forces, free))
    rounding = 1e-14 * here.sites.abs().sum(-1)
    good = (there.energy < here.energy - rounding) | ((new < force) & (there.energy <= here.energy + rounding))
    x = torch.where(_wide(good), x + u, x)
    radius = torch.where(good, (2 * radius).clamp(max=FARTHEST), 0.25 * torch.minimum(radius, length))
    return x, torch.where(good, new, force), radius, negative


def _controlled(components: tuple[int, ...], measure: str) -> list[int]:
    """The components in order, if there are such."""
    if measure not in ("cauchy", "piola"):
        raise ValueError(f"measure: got {measure!r}, wanted 'cauchy' or 'piola'")
    which = sorted(set(components))
    if not which or which[0] < 0 or which[-1] > 5:
        raise ValueError(f"components: got {components}, wanted some of 0 to 5, Mandel order 11 22 33 23 13 12")
    return which


def _change(tangent: Tensor, left: Tensor, which: list[int]) -> Tensor:
    """Newton's change of U (B, 3, 3), at most 0.05 long; none where the tangent has no inverse."""
    change, info = torch.linalg.solve_ex(tangent[:, which][:, :, which], -left)
    change = torch.where((info == 0)[:, None] & torch.isfinite(change), change, 0.0)
    strain = change.new_zeros(len(left), 6)
    strain[:, which] = change * (0.05 / change.norm(dim=-1, keepdim=True).clamp(min=1e-300)).clamp(max=1.0)
    return from_mandel(strain)


def _misfit(energies: Energies, U: Tensor, cell: Tensor, wanted: Tensor, measure: str) -> Tensor:
    """Stress less the wanted one, Mandel (B, 6)."""
    volume = _wide(det(cell).abs())
    if measure == "cauchy":
        return to_mandel(energies.virial / (volume * _wide(det(U))) - wanted)
    return to_mandel(energies.virial @ inv(U) / volume - wanted)


def _open(left: Tensor, tolerance: float, verdict: Tensor) -> Tensor:
    """Members that are not at the wanted stress yet, and can go on."""
    return ((left.abs().amax(-1) > tolerance) & (verdict < Verdict.NOT_CONVERGED)).nonzero()[:, 0]


def _tangent(
    potential: Potential, x: Tensor, h: Tensor, S: Tensor, U: Tensor, species: Tensor, free: Tensor, measure: str
) -> Tensor:
    """Tangent d stress / d U of relaxed atoms with virial S, Mandel (B, 6, 6)."""
    dU = from_mandel(torch.eye(6, dtype=U.dtype, device=U.device))[:, None].expand(6, len(U), 3, 3)
    back = inv(U)
    e = dU @ back
    found = neighbours(x, h, potential.cutoff)
    dS, _ = strain_response(potential, x, h, species, found, e, free, tolerance=1e-6)
    volume = _wide(det(h).abs())
    if measure == "cauchy":
        return to_mandel((dS - S * _wide(e.diagonal(dim1=-2, dim2=-1).sum(-1))) / volume).movedim(0, -1)
    return to_mandel((dS - S @ e.transpose(-1, -2)) @ back * _wide(det(U)) / volume).movedim(0, -1)


def _verdict(last: Energies, force: Tensor, tolerance: float, negative: Tensor) -> Tensor:
    verdict = torch.zeros_like(force, dtype=torch.int8)
    verdict = torch.where(negative, Verdict.UNSTABLE, verdict)
    verdict = torch.where(~(force <= tolerance), Verdict.NOT_CONVERGED, verdict)
    return torch.where(~torch.isfinite(last.energy), Verdict.NOT_FINITE, verdict).to(torch.int8)


def _nan_where(failed: Tensor, energies: Energies) -> Energies:
    return Energies(*(torch.where(failed.reshape(-1, *[1] * (part.dim() - 1)), torch.nan, part) for part in energies))


def _largest(vectors: Tensor) -> Tensor:
    """Length of the longest vector of each member (B,)."""
    return vectors.norm(dim=-1).amax(-1)


def _norm(vectors: Tensor) -> Tensor:
    return vectors.flatten(1).norm(dim=-1)


def _wide(a: Tensor) -> Tensor:
    return a[..., None, None]
