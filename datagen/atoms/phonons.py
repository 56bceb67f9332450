r"""Phonons of a crystal under a homogeneous deformation, and the softest of them.

D_ab(q) = (m_a m_b)^-1/2 sum_L Phi_ab(L) exp(2 pi i q . L), q and L in reduced coordinates: the sum over the cells L of
the force constants Phi_ab(L) = d2E / dx_a^0 dx_b^L, which the second derivatives H_i of each site energy give: with
T_i(q) the change of the bonds of atom i in a wave, sum_L Phi exp = sum_i T_i(q)^H H_i T_i(q).
The eigenvalues of D are squared angular frequencies [1/ps^2]; a negative one is a wave that grows.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.homogeneous import CellBonds, Homogeneous, in_order
from datagen.atoms.units import DALTON
from datagen.tensors import inv

_HESSIANS = 2**26  # bytes of site Hessians held at a time
_WAVES = 2**12  # wave vectors asked at a time, all crystals together
_BYTES_PER_BOND = 72 * 100 * 4  # a bond has 9 K numbers in a site Hessian, which is copied a few times
_LONGEST = 1 / 64  # distance from Gamma, in reduced coordinates, of the long waves that are searched
_STARTS, _LONG_STARTS = 5, 3  # points of the grid and directions of long waves that are refined
_ROUNDS = 8  # of refinement, each halves the spacing, to 1/4000


class ForceConstants(NamedTuple):
    """Second derivatives of the energy by the displacements of two atoms, of m deformed crystals."""

    phi: Tensor  # (m, L, 3 n, 3 n) between the cell at the origin and that at L [eV/A^2]; rows: atom, component
    cell: Tensor  # (L, 3) int64 which cells; of each pair L, -L one, as phi(-L) is the transpose of phi(L)
    uniform: Tensor  # (m, 3 n, 3 n) sum over all cells, the origin too
    mass: Tensor  # (n,) [eV ps^2/A^2]

    def dynamical(self, q: Tensor) -> Tensor:
        """Dynamical matrices D(q), (m, k, 3 n, 3 n) [1/ps^2], complex (real for one atom a cell); q is (m or 1, k, 3).

        To what a uniform displacement costs, which is exactly nothing, is added what the phases change: so long waves
        lose no digits.
        """
        angle = math.pi * (q @ self.cell.to(q).T)  # (m or 1, k, L)
        size = self.phi.shape[-1]
        sine = torch.sin(angle)
        real = ((-2 * sine * sine) @ (self.phi + self.phi.mT).flatten(2)).unflatten(-1, (size, size))
        if size == 3:
            return 0.5 * (real + real.mT) / self.mass
        imaginary = (2 * sine * torch.cos(angle)) @ (self.phi - self.phi.mT).flatten(2)
        D = torch.complex(real + self.uniform[:, None], imaginary.unflatten(-1, (size, size)))
        root = self.mass.repeat_interleave(3).rsqrt()
        D = root[:, None] * D * root
        return 0.5 * (D + D.mH)

    def squared(self, q: Tensor) -> Tensor:
        """Squared angular frequencies (m, k, 3 n) [1/ps^2] at q (m or 1, k, 3), in rising order."""
        return torch.linalg.eigvalsh(self.dynamical(q))


class Vibrations:
    """The phonons of a deformed crystal.

    Args:
        lattice: potential and crystal.
        grid: n, of the n x n x n commensurate wave vectors that are always asked, Gamma excluded.
        refine: whether to search between them, and among long waves.
    """

    def __init__(self, lattice: Homogeneous, grid: int = 8, refine: bool = True) -> None:
        if not (isinstance(grid, int) and grid >= 2):
            raise ValueError(f"grid: got {grid!r}, wanted a whole number of at least 2 wave vectors along each axis")
        self.lattice, self.grid, self.refine = lattice, grid, refine
        masses = dict(zip(lattice.potential.elements, lattice.potential.masses, strict=True))
        self.mass = torch.tensor([masses[e] * DALTON for e in lattice.crystal.elements], dtype=torch.float64)

    def force_constants(self, F: Tensor, shift: Tensor) -> ForceConstants:
        """Those of solved crystals: deformations (m, 3, 3) and shifts (m, 3, n - 1)."""
        found, cells = [], []
        for rows, bonds, near in self.lattice.pieces(F, shift, _BYTES_PER_BOND, _HESSIANS):
            place, cell = _pattern(self.lattice, near)
            found.append((rows, _assembled(self.lattice.potential.hessian(bonds), place.to(F.device), len(cell), near)))
            cells.append(cell)
        widest = max(cells, key=len)
        spread = [(rows, _placed(phi, cell, widest)) for (rows, phi), cell in zip(found, cells, strict=True)]
        phi, n = in_order(spread), self.lattice.n
        uniform = phi.sum(1).unflatten(-1, (n, 3)).unflatten(1, (n, 3))  # m a i b j
        own = torch.arange(n, device=F.device)
        uniform[:, own, :, own] = 0.0
        uniform[:, own, :, own] = -uniform.sum(3).movedim(1, 0)  # all atoms alike feel no force, exactly
        # Of L and -L one: the order is lexicographic, the origin is in the middle.
        half = slice(len(widest) // 2 + 1, None)
        return ForceConstants(
            phi[:, half], widest[half].to(F.device), uniform.flatten(3).flatten(1, 2), self.mass.to(F)
        )

    def softest(self, F: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """The softest phonon of each of m solved crystals: its squared frequency (m,) [1/ps^2] and wave vector (m, 3).

        Without refinement, the lowest of the grid. With refinement, the wave whose squared frequency is lowest relative
        to that of a chain of unit stiffness, s(q) = sum over the 13 pairs of adjacent cells of 4 sin^2(pi q.L)/13, of
        all with |q| >= 1/64, so that long waves compare with short ones although their frequencies go to zero; its sign
        is that of the lowest squared frequency. Still longer waves are what the acoustic tensor tells.
        """
        if len(F) == 0:
            return F.new_empty(0), F.new_empty(0, 3)
        parts = []
        size = max(1, _WAVES // max(self.grid**3 // 2, 27 * (_STARTS + _LONG_STARTS)))
        for rows in torch.arange(len(F), device=F.device).split(size):
            constants = self.force_constants(F[rows], shift[rows])
            parts.append(self._search(constants))
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _search(self, constants: ForceConstants) -> tuple[Tensor, Tensor]:
        q = commensurate(self.grid).to(constants.phi)[None]
        squared = constants.squared(q)[..., 0]
        if not self.refine:
            lowest, which = squared.min(1)
            return lowest, q[0, which]
        long = _LONGEST * _directions().to(q)[None]
        on_grid = (squared / _chain(q)).topk(min(_STARTS, q.shape[1]), largest=False).indices
        among_long = (constants.squared(long)[..., 0] / _chain(long)).topk(_LONG_STARTS, largest=False).indices
        best = torch.cat([q[0, on_grid], long[0, among_long]], 1)  # (m, starts, 3)
        offsets = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 0.0, 1.0])]).to(q)
        # Starts on the grid reach to their neighbours; long ones begin with the spacing of their directions.
        spacing = torch.cat([q.new_full((on_grid.shape[1],), 0.5 / self.grid), q.new_full((_LONG_STARTS,), 0.004)])
        for r in range(_ROUNDS):
            trial = best[:, :, None] + (spacing * 0.5**r)[:, None, None] * offsets
            length = trial.norm(dim=-1, keepdim=True)
            trial = trial * (_LONGEST / length.clamp(min=1e-9)).clamp(min=1.0)  # not nearer to Gamma
            tried = constants.squared(trial.flatten(1, 2))[..., 0] / _chain(trial.flatten(1, 2))
            tried = tried.unflatten(1, trial.shape[1:3])
            first = tried.argmin(-1)
            best = trial.gather(2, first[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
            ratio = tried.gather(2, first[..., None])[..., 0]
        which = ratio.argmin(1)
        wave = best.gather(1, which[:, None, None].expand(-1, 1, 3))
        return constants.squared(wave)[:, 0, 0], (wave - (wave - 1e-9).round())[:, 0]


def commensurate(n: int) -> Tensor:
    """One of each pair q, -q of the n x n x n wave vectors (i, j, k)/n, in (-1/2, 1/2], without Gamma; (k, 3)."""
    index = torch.arange(n)
    index = torch.where(index > n // 2, index - n, index)
    every = torch.cartesian_prod(index, index, index)
    code = (every % n) @ torch.tensor([n * n, n, 1])
    opposite = (-every % n) @ torch.tensor([n * n, n, 1])
    keep = (code <= opposite) & (every != 0).any(1)
    return every[keep].to(torch.float64) / n


def _chain(q: Tensor) -> Tensor:
    """s(q), (*b): the squared frequency of a lattice of unit springs."""
    pairs = torch.cartesian_prod(*3 * [torch.arange(-1, 2)])[14:].to(q)
    return (4 / 13) * (torch.sin(math.pi * (q @ pairs.T)) ** 2).sum(-1)


@cache
def _directions(k: int = 200) -> Tensor:
    """Directions (k, 3) on half a sphere, a spiral of equal areas."""
    z = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    angle = math.pi * (3 - math.sqrt(5)) * torch.arange(k, dtype=torch.float64)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def _pattern(lattice: Homogeneous, near: CellBonds) -> tuple[Tensor, Tensor]:
    """Where each pair of ends of the bonds of an atom belongs: its place (n, K+1, K+1) in (cell, atom, atom), cells.

    The ends of the bonds of atom i are its neighbours and, last, itself.
    """
    if near.other.shape not in lattice.patterns:
        other, n = near.other.cpu(), lattice.n
        own = torch.arange(n)[:, None]
        fractional = lattice.crystal.positions @ inv(lattice.crystal.lattice)
        step = near.vector.to("cpu", torch.float64) @ inv(lattice.crystal.lattice)
        step = step - fractional[other] + fractional[:, None]
        # Padding is longer than any bond; it has no second derivative, so where it is put is of no consequence.
        padded = near.vector.cpu().norm(dim=-1) > 20 * lattice.potential.cutoff
        step = torch.where(padded[..., None], 0.0, step.round()).to(torch.int64)
        atom = torch.cat([other, own], 1)  # (n, K + 1)
        cell = torch.cat([step, torch.zeros(n, 1, 3, dtype=torch.int64)], 1)
        between = cell[:, None] - cell[:, :, None]  # (n, k, l, 3): from the first to the second
        cells, which = torch.unique(between.flatten(0, 2), dim=0, return_inverse=True)
        place = (which.reshape(between.shape[:-1]) * n + atom[:, :, None]) * n + atom[:, None]
        lattice.patterns[near.other.shape] = place, cells
    return lattice.patterns[near.other.shape]


def _assembled(hessian: Tensor, place: Tensor, n_cells: int, near: CellBonds) -> Tensor:
    """Force constants (m, L, 3 n, 3 n) from site Hessians (m, n, 3 K, 3 K)."""
    n, K = near.other.shape
    m = len(hessian)
    H = hessian.reshape(m, n, K, 3, K, 3)
    rows = torch.cat([H, -H.sum(2, keepdim=True)], 2)
    full = torch.cat([rows, -rows.sum(4, keepdim=True)], 4)  # (m, n, K+1, 3, K+1, 3)
    blocks = full.transpose(3, 4).reshape(m, -1, 9)
    phi = blocks.new_zeros(m, n_cells * n * n, 9).index_add_(1, place.flatten(), blocks)
    return phi.reshape(m, n_cells, n, n, 3, 3).transpose(3, 4).reshape(m, n_cells, 3 * n, 3 * n)


def _placed(phi: Tensor, cell: Tensor, widest: Tensor) -> Tensor:
    """Force constants of some cells among those of a wider list."""
    if len(cell) == len(widest):
        return phi
    same = (cell[:, None] == widest).all(-1)
    out = phi.new_zeros(len(phi), len(widest), *phi.shape[2:])
    out[:, same.int().argmax(1).to(phi.device)] = phi
    return out
