r"""A crystal under a homogeneous deformation: every cell alike, its inner atoms where they find their forces zero.

A bond in the deformed crystal is r = F R + u_j - u_i, with R between the places in the reference crystal and u the
shifts of the atoms of one cell (that of atom 0 is zero, which only moves the crystal). With z = [F, u_1 .. u_(n-1)]
(3, p), p = n + 2, it is r = z X, where X (p, bonds) holds R and the signs of the shifts. Energy, forces, stress and
their derivatives are then those of the energy of one cell by z.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.potential import Bonds, Potential
from datagen.laws.law import finite_verdict
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.tensors import det, inv

_STEP = 1.03  # ratio of the radii up to which neighbours are listed
_SLACK = 1e-6  # so much farther than needed, for rounding
_CHUNK = 2**20  # bytes of bond vectors held at a time: a few such arrays stay in the cache
_TANGENT_CHUNK = 2**20  # the same with all directions of a derivative
_ITERATIONS = 60  # of the inner Newton method
_REACH = 0.15, 0.6  # largest shift between two atoms that a list allows for, times the nearest distance; second try
_CLOSE = 1e-7  # inner Newton step, times the nearest distance, from which one more lands within rounding
SMALLEST_STRETCH = 0.2  # below it a list would hold more than 125 times the neighbours


class CellBonds(NamedTuple):
    """The bonds of a cell that may be shorter than the cutoff."""

    other: Tensor  # (n, K) which atom of the cell
    kind: Tensor  # (n, K) its element, of those of the potential
    vector: Tensor  # (n, K, 3) to it in the reference crystal [A]
    X: Tensor  # (n K, p) the vector and the signs of the shifts


class Deformed(NamedTuple):
    """A batch of m deformed crystals."""

    energy: Tensor  # (m,) of a cell [eV]
    slope: Tensor  # (m, 3, 3) d energy / dF [eV]
    force: Tensor  # (m, 3, n - 1) d energy / du that is left [eV/A]
    shift: Tensor  # (m, 3, n - 1) u [A]
    converged: Tensor  # (m,) bool
    negative: Tensor  # (m,) bool, negative curvature in the shifts was met


class Homogeneous:
    """A potential and a crystal under homogeneous deformations, in chunks of bounded memory.

    Args:
        potential: of the interaction.
        crystal: the reference.
        clamped: whether the shifts stay zero.
    """

    def __init__(self, potential: Potential, crystal: Crystal, clamped: bool = False) -> None:
        self.potential, self.crystal, self.clamped = potential, crystal, clamped
        self.own = potential.species(crystal.elements)
        self.n, self.p = crystal.n, 3 if clamped else crystal.n + 2
        self.nearest = _nearest(crystal, potential.cutoff)
        self._levels: dict[tuple[int, int], int] = {}  # level, reach -> K
        self._listed: tuple[float, Tensor, Tensor] | None = None  # the longest list so far: radius, atoms, vectors
        self.patterns: dict[torch.Size, tuple[Tensor, Tensor]] = {}  # of the force constants, see `Vibrations`
        self._lists: dict[tuple[int, torch.dtype, torch.device], CellBonds] = {}

    def solve(self, F: Tensor) -> Deformed:
        """Energy, slopes and shifts at deformations (m, 3, 3) of smallest stretch at least `SMALLEST_STRETCH`.

        Differentiable by F: the inner problem by two Newton steps from where it was solved.
        """
        return _gather([(rows, self._solve_group(F[rows], K, reach)) for rows, K, reach in self._groups(F)])

    def relaxed(self, F: Tensor) -> Deformed:
        """`solve`, and once more with longer lists where atoms shift far."""
        first = self.solve(F)
        if self.p == 3:
            return first
        far = _spread(first.shift.detach()) > _REACH[0] * self.nearest
        if not bool(far.any()):
            return first
        rows = far.nonzero()[:, 0]
        parts = [(rows[r], self._solve_group(F[rows[r]], K, i)) for r, K, i in self._groups(F[rows], 1)]
        near = (~far).nonzero()[:, 0]
        return _gather([(near, Deformed(*(x[near] for x in first))), *parts])

    def neighbours(self, K: int, like: Tensor) -> CellBonds:
        """The list of K neighbours an atom, on the device and in the type of a tensor."""
        key = (K, like.dtype, like.device)
        if key not in self._lists:
            assert self._listed is not None
            other, vector = self._listed[1][:, :K], self._listed[2][:, :K]
            columns = torch.nn.functional.one_hot(other, self.n) - torch.eye(self.n, dtype=torch.int64)[:, None]
            X = torch.cat([vector, columns[..., 1:].to(vector)], -1)[..., : self.p].flatten(0, 1)
            whole = (x.to(like.device) for x in (other, self.own[other]))
            self._lists[key] = CellBonds(*whole, *(x.to(like.device, like.dtype) for x in (vector, X)))
        return self._lists[key]

    def bonds(self, z: Tensor, near: CellBonds) -> Bonds:
        """Bonds of deformed crystals z (m, 3, p), components first in memory."""
        r = (z.movedim(-2, 0) @ near.X.T).unflatten(-1, near.other.shape)
        return Bonds(r.movedim(0, -1), self.own.to(z.device), near.kind)

    def pieces(
        self, F: Tensor, shift: Tensor, bytes_per_bond: int, limit: int
    ) -> Iterator[tuple[Tensor, Bonds, CellBonds]]:
        """Solved crystals in chunks: rows (.,) of the batch, their bonds, and the list these come from."""
        z = torch.cat([F, shift], -1)
        far = self.p > 3 and bool((_spread(shift) > _REACH[0] * self.nearest).any())
        for rows, K, _ in self._groups(F, int(far), limit, bytes_per_bond):
            near = self.neighbours(K, F)
            yield rows, self.bonds(z[rows], near), near

    def curvature(self, F: Tensor, shift: Tensor) -> Tensor:
        """Second derivatives of the energy of a cell by z at solved shifts, (m, 3, p, 3, p)."""
        parts = [
            (rows, self._second(bonds, near, range(self.p)))
            for rows, bonds, near in self.pieces(F, shift, 24 * 3 * self.p, _TANGENT_CHUNK)
        ]
        return in_order(parts)

    def _second(self, bonds: Bonds, near: CellBonds, columns: range) -> Tensor:
        """Second derivatives (m, 3, c, 3, c) by some columns of z; the first pair of axes is the direction."""
        X = near.X[:, columns.start : columns.stop]  # (n K, c)
        c, shape = X.shape[1], bonds.vector.shape
        direction = X.new_zeros(3, 3, c, *shape[1:3])  # component, then i and q of the direction, n, K
        for i in range(3):
            direction[i, i] = X.T.unflatten(-1, shape[1:3])
        direction = direction.flatten(1, 2).movedim(0, -1)[:, None]  # (3 c, 1, n, K, 3)
        product = self.potential.product(bonds, direction.expand(3 * c, *shape))
        second = product.movedim(-1, 0).flatten(-2) @ X  # (3, 3 c, m, c)
        return second.unflatten(1, (3, c)).permute(3, 1, 2, 0, 4)

    def _first(self, z: Tensor, near: CellBonds) -> tuple[Tensor, Tensor]:
        """Energy (m,) and its derivative by z, (m, 3, p)."""
        sites = self.potential(self.bonds(z, near))
        return sites.energy.sum(-1), (sites.gradient.movedim(-1, 0).flatten(-2) @ near.X).movedim(0, 1)

    def _solve_group(self, F: Tensor, K: int, reach: int) -> Deformed:
        near, m = self.neighbours(K, F), len(F)
        good, bad = torch.ones(m, dtype=torch.bool, device=F.device), torch.zeros(m, dtype=torch.bool, device=F.device)
        if self.p == 3:
            energy, slope = self._first(F, near)
            return Deformed(energy, slope, F.new_zeros(m, 3, 0), F.new_zeros(m, 3, 0), good, bad)
        inner = _Inner(self, near, _REACH[reach] * self.nearest)
        shift, H, good, bad = inner.solve(F.detach())
        # From here one Newton step is exact to rounding. Two carry the derivative of the shifts by F as far.
        for _ in range(2):
            force = self._first(torch.cat([F, shift], -1), near)[1][..., 3:]
            step = torch.linalg.solve_ex(H, force.flatten(1)[..., None])[0][..., 0]
            shift = shift - step.unflatten(1, force.shape[1:])
        energy, slope = self._first(torch.cat([F, shift], -1), near)
        return Deformed(energy, slope[..., :3], slope[..., 3:], shift, good, bad)

    def _groups(
        self, F: Tensor, reach: int = 0, limit: int = _CHUNK, bytes_per_bond: int = 24
    ) -> list[tuple[Tensor, int, int]]:
        """Rows that share a list, in chunks: (rows, K, reach)."""
        if len(F) == 0:
            return [(torch.arange(0, device=F.device), self._count(0, reach), reach)]
        level = (largest_stretch(inv(F.detach().double())).log() / math.log(_STEP)).ceil().to(torch.int64)
        counts = {int(k): self._count(int(k), reach) for k in level.unique()}
        groups: dict[int, list[int]] = {}
        for k, K in counts.items():
            groups.setdefault(K, []).append(k)
        found = []
        for K, levels in sorted(groups.items()):
            if len(groups) == 1:
                rows = torch.arange(len(F), device=F.device)
            else:
                rows = torch.isin(level, torch.tensor(levels, device=F.device)).nonzero()[:, 0]
            size = max(1, limit // (bytes_per_bond * self.n * K))
            found += [(part, K, reach) for part in rows.split(size)]
        return found

    def _count(self, level: int, reach: int) -> int:
        """Number of neighbours to list where the smallest stretch is _STEP^-level."""
        key = (level, reach)
        if key not in self._levels:
            allowance = 0.0 if self.p == 3 else _REACH[reach] * self.nearest
            radius = (self.potential.cutoff + allowance) * _STEP**level * (1 + _SLACK)
            if self._listed is None or self._listed[0] < radius:
                self._listed = (radius, *self.crystal.neighbourhood(radius))
            inside = (self._listed[2].norm(dim=-1) <= radius).sum(1)
            self._levels[key] = max(1, int(inside.max()))
        return self._levels[key]


class _Inner:
    """The shifts of the atoms at a fixed deformation, by damped Newton steps from zero."""

    def __init__(self, body: Homogeneous, near: CellBonds, reach: float) -> None:
        self.body, self.near, self.reach = body, near, reach

    def solve(self, F: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shifts (m, 3, n - 1), their Hessian, and whether each converged or met negative curvature.

        Forces that are zero by symmetry stay zero: a saddle that is met so is kept, and reported.
        """
        m, size = len(F), 3 * (self.body.n - 1)
        shift = F.new_zeros(m, 3, self.body.n - 1)
        hessian = torch.eye(size, dtype=F.dtype, device=F.device).repeat(m, 1, 1)
        good, negative = (torch.zeros(m, dtype=torch.bool, device=F.device) for _ in range(2))
        rows = torch.arange(m, device=F.device)
        for _ in range(_ITERATIONS):
            energy, force, H = self._all(F[rows], shift[rows])
            L, failed = torch.linalg.cholesky_ex(H)
            step = -torch.cholesky_solve(force[..., None], L)[..., 0]
            bad = failed > 0
            if bool(bad.any()):
                step[bad] = _downhill(H[bad], force[bad])
                negative[rows[bad]] = True
            hessian[rows] = H
            done = step.abs().amax(-1) <= _CLOSE * self.body.nearest
            good[rows[done]] = True
            going = ~done & step.isfinite().all(-1)
            rows = rows[going]
            if len(rows) == 0:
                break
            shift[rows] = self._advance(F[rows], shift[rows], energy[going], force[going], step[going])
            rows = rows[_spread(shift[rows]) <= self.reach]
        return shift, hessian, good, negative

    def _all(self, F: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (m,), force (m, 3 (n - 1)) and Hessian."""
        z = torch.cat([F, shift], -1)
        size = max(1, _TANGENT_CHUNK // (24 * 3 * (self.body.n - 1) * len(self.near.X)))
        parts = []
        for piece in z.split(size):
            energy, slope = self.body._first(piece, self.near)
            H = self.body._second(self.body.bonds(piece, self.near), self.near, range(3, self.body.p))
            parts.append((energy, slope[..., 3:].flatten(1), H.flatten(3).flatten(1, 2)))
        energy, force, H = (torch.cat(x) for x in zip(*parts, strict=True))
        return energy, force, 0.5 * (H + H.mT)

    def _advance(self, F: Tensor, shift: Tensor, energy: Tensor, force: Tensor, step: Tensor) -> Tensor:
        """The shifts after a step, halved until the energy falls; a step within rounding of the energy is taken."""
        largest = step.abs().amax(-1)
        step = step * (0.1 * self.body.nearest / largest).clamp(max=1.0)[:, None]
        slope = (step * force).sum(-1)
        alpha = torch.ones_like(energy)
        for _ in range(8):
            trial = shift + (alpha[:, None] * step).unflatten(-1, shift.shape[1:])
            reached = self.body._first(torch.cat([F, trial], -1), self.near)[0]
            enough = reached <= energy + 1e-4 * alpha * slope + 1e-13 * energy.abs()
            if bool(enough.all()):
                break
            alpha = torch.where(enough, alpha, 0.5 * alpha)
        return trial


def _downhill(H: Tensor, force: Tensor) -> Tensor:
    """A step that descends where the Hessian is not positive definite: its eigenvalues by their absolute values."""
    values, vectors = torch.linalg.eigh(H)
    values = values.abs().clamp(min=1e-3 * values.abs().amax(-1, keepdim=True))
    return -(vectors @ ((vectors.mT @ force[..., None]) / values[..., None]))[..., 0]


def answerable(strain: Tensor) -> tuple[Tensor, Tensor]:
    """F (m, 3, 3) of strains (*b, 9), the identity where a lattice has no answer, and the verdict (*b,) on them."""
    F = strain.reshape(-1, 3, 3)
    still = F.detach()
    one = torch.eye(3, dtype=F.dtype, device=F.device)
    verdict = finite_verdict(strain.detach(), (det(still) <= 0).reshape(strain.shape[:-1]), Verdict.INVERTED)
    bad = verdict.flatten() >= FIRST_WITHOUT_ANSWER
    smallest = 1 / largest_stretch(inv(torch.where(bad[:, None, None], one, still)))
    crushed = ~bad & ~(smallest >= SMALLEST_STRETCH)
    verdict = torch.where(crushed.reshape(verdict.shape), int(Verdict.CRUSHED), verdict).to(torch.int8)
    return torch.where((bad | crushed)[:, None, None], one, F), verdict


def largest_stretch(F: Tensor) -> Tensor:
    """Largest singular value of (m, 3, 3), to 1e-8: the largest root of the cubic of F^T F, by its angle."""
    C = F.mT @ F
    mean = C.diagonal(dim1=-2, dim2=-1).mean(-1)
    A = C - mean[:, None, None] * torch.eye(3, dtype=F.dtype, device=F.device)
    p = ((A * A).sum((-2, -1)) / 6).sqrt()
    a, b, c, d, e, f = A[:, 0, 0], A[:, 0, 1], A[:, 0, 2], A[:, 1, 1], A[:, 1, 2], A[:, 2, 2]
    determinant = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    cosine = (determinant / torch.where(p > 0, 2 * p**3, 1.0)).clamp(-1, 1)
    return (mean + 2 * p * torch.cos(torch.acos(cosine) / 3)).sqrt()


def _nearest(crystal: Crystal, cutoff: float) -> float:
    """Distance of the two nearest atoms, or the cutoff where it is longer [A]."""
    return min(cutoff, float(crystal.neighbourhood(cutoff)[1].norm(dim=-1).min()))


def _spread(shift: Tensor) -> Tensor:
    """Largest distance (m,) between the shifts (m, 3, n - 1) of two atoms, atom 0 included; at most twice as much."""
    length = shift.norm(dim=1)
    return length.amax(-1) * (1.0 if shift.shape[-1] == 1 else 2.0)


def in_order(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The answers of groups of rows, in the order of the batch."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts])
    return torch.cat([part for _, part in parts])[torch.argsort(order)]


def _gather(parts: list[tuple[Tensor, Deformed]]) -> Deformed:
    rows = [part[0] for part in parts]
    if len(parts) == 1:
        return parts[0][1]
    return Deformed(*(in_order(list(zip(rows, x, strict=True))) for x in zip(*(d for _, d in parts), strict=True)))
