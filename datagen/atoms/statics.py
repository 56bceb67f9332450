"""Energy, forces and stress of batches of atoms in periodic cells.

E = sum_i E_i({r_ik}), r_ik = x_k + s_ik h - x_i. With g_ik = dE_i/dr_ik, and each bond listed from both of its ends:

    force          f_i = sum_k g_ik - sum_(j,l ends in i) g_jl             [eV/A]
    virial         S   = sum_ik g_ik (x) r_ik = dE/dA for x, h -> A x, A h  [eV]
    Cauchy stress  sigma = S / V, tension positive                        [eV/A^3]
    first Piola    P = (1/V_0) S F^-T = (1/V_0) sum_ik g_ik (x) R_ik, r = F R  [eV/A^3]

The sum over the bonds that end in an atom is a gather through the list of reverse bonds, so it has one order and is
the same whenever it is computed. Units: angstrom, eV.

A sample under a deformation gradient F with reference positions X, reference cell h_0 and fluctuation w:

    x, h = placed(F, X + w, h_0)                    # x = F (X + w), rows of h = h_0 F^T
    found = neighbours(x, h, potential.cutoff)
    answer = evaluate(potential, x, h, species, found)
    P = first_piola(answer.virial, F, V_0)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.neighbours import Neighbours, pieces
from datagen.atoms.potential import Bonds, Potential
from datagen.tensors import inv

BONDS = 1 << 15  # evaluated together on a CPU: their arrays stay in the cache
BONDS_ON_A_GPU = 1 << 23


class Energies(NamedTuple):
    """What atoms in a cell answer."""

    energy: Tensor  # (B,) [eV]
    forces: Tensor  # (B, n, 3) [eV/A]
    virial: Tensor  # (B, 3, 3) sum g (x) r [eV]
    sites: Tensor  # (B, n) energy of each atom [eV]


def placed(F: Tensor, positions: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B, n, 3) and cells (B, 3, 3) under x = F X; F (B, 3, 3), the others also without batch."""
    F_t = F.transpose(-1, -2)
    return positions @ F_t, cell @ F_t


def bonds(potential: Potential, positions: Tensor, cell: Tensor, species: Tensor, found: Neighbours) -> Bonds:
    """The bonds of each atom (B, n, K), components contiguous in memory; padding is as long as `Potential.far`.

    Args:
        potential: whose cutoff decides what is too far.
        positions: (B, n, 3) [A].
        cell: rows are the lattice vectors (B, 3, 3) [A].
        species: index of each atom into ``potential.elements`` (n,).
        found: a list made for these positions, or near them (see `datagen.atoms.neighbours.worn`).
    """
    B, n, K = found.index.shape
    if species.shape != (n,):
        raise ValueError(f"species: got shape {tuple(species.shape)}, wanted ({n},), one for each atom")
    entries = _entries(found.index, n)
    vector = positions.new_empty(3, B, n, K)
    s0, s1, s2 = found.shift.unbind(-1)
    for d in range(3):
        x = positions[..., d].contiguous()
        along = vector[d]
        torch.index_select(x.view(-1), 0, entries, out=along.view(-1))
        along -= x[..., None]
        h0, h1, h2 = cell[:, :, d, None, None].unbind(1)
        along.addcmul_(s0, h0).addcmul_(s1, h1).addcmul_(s2, h2)
    vector[0] = torch.where(found.real, vector[0], potential.far())
    others = torch.zeros(1, 1, dtype=species.dtype, device=species.device).expand(n, K)
    if len(potential.elements) > 1:
        others = species[found.index]
    return Bonds(vector.movedim(0, -1), species, others)


def evaluate(
    potential: Potential, positions: Tensor, cell: Tensor, species: Tensor, found: Neighbours | None = None
) -> Energies:
    """Energy, forces, virial and energy per atom; arguments as of `bonds`.

    Deterministic, and done for as many members at a time as the cache likes. Without a list it is made here, for as
    many members at a time: fastest for positions that are looked at once.
    """
    if found is None:
        lists = pieces(positions, cell, potential.cutoff)
    else:
        lists = ((rows, found.member(rows)) for rows in _rows(found, positions))
    parts = [_evaluate(potential, positions[rows], cell[rows], species, list_) for rows, list_ in lists]
    return parts[0] if len(parts) == 1 else Energies(*(torch.cat(part) for part in zip(*parts, strict=True)))


def cauchy_stress(virial: Tensor, volume: Tensor) -> Tensor:
    """Cauchy stress S / V, tension positive (B, 3, 3) [eV/A^3]; volume (B,) of the deformed cell."""
    return virial / volume.reshape(-1, 1, 1)


def first_piola(virial: Tensor, F: Tensor, volume: float | Tensor) -> Tensor:
    """P = S F^-T / V_0 (B, 3, 3) [eV/A^3]; volume of the reference cell, a number or (B,)."""
    over = volume.reshape(-1, 1, 1) if isinstance(volume, Tensor) else volume
    return virial @ inv(F).transpose(-1, -2) / over


def gathered(gradient: Tensor, found: Neighbours) -> Tensor:
    """Forces from the gradients of the site energies: (*c, B, n, K, 3) to (*c, B, n, 3)."""
    n, K = found.reverse.shape[1:]
    back = _entries(found.reverse, n * K)
    forces = [(g - g.flatten(-3).index_select(-1, back).view(g.shape)).sum(-1) for g in gradient.unbind(-1)]
    return torch.stack(forces, -1)


def spread(displacement: Tensor, found: Neighbours) -> Tensor:
    """Changes of the bonds, d_k - d_i, under displacements of the atoms: (*c, B, n, 3) to (*c, B, n, K, 3)."""
    B, n, K = found.index.shape
    entries = found.index.reshape(B, n * K)
    lead = displacement.shape[:-3]
    changes = [
        torch.gather(d, -1, entries.expand(*lead, B, n * K)).unflatten(-1, (n, K)) - d[..., None]
        for d in displacement.unbind(-1)
    ]
    return torch.stack(changes, 0).movedim(0, -1)


class Linearised:
    """The second derivative of the energy at one state, as products; the bonds are kept, 24 bytes each."""

    def __init__(
        self, potential: Potential, positions: Tensor, cell: Tensor, species: Tensor, found: Neighbours
    ) -> None:
        self.potential, self.shape = potential, positions.shape
        self.parts = [
            (rows, list_, bonds(potential, positions[rows], cell[rows], species, list_))
            for rows, list_ in ((rows, found.member(rows)) for rows in _rows(found, positions))
        ]

    def product(self, displacement: Tensor) -> Tensor:
        """H u for C displacements of all atoms at once (C, B, n, 3), the same shape [eV/A^2 times their unit]."""
        found = [
            -gathered(self.potential.product(at, spread(displacement[:, rows], list_)), list_)
            for rows, list_, at in self.parts
        ]
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def strained(self, strain: Tensor) -> Tensor:
        """Change of the forces (C, B, n, 3) when x and h follow dr = e r, e (C, B, 3, 3) any matrices [eV/A]."""
        found = [
            gathered(self.potential.product(at, _turned(at.vector, strain[:, rows])), list_)
            for rows, list_, at in self.parts
        ]
        return torch.cat(found, 1)

    def virial_change(self, strain: Tensor, displacement: Tensor) -> Tensor:
        """Change of the virial (C, B, 3, 3) under dr = e r + u_k - u_i, both at once [eV]."""
        changes = []
        for rows, list_, at in self.parts:
            dr = _turned(at.vector, strain[:, rows]) + spread(displacement[:, rows], list_)
            dg = self.potential.product(at, dr)
            g = self.potential(at).gradient
            changes.append(_dyads(dg, at.vector.expand_as(dr)) + _dyads(g.expand_as(dr), dr))
        return torch.cat(changes, 1)


def _turned(vector: Tensor, strain: Tensor) -> Tensor:
    """Bonds r to e r: (B, n, K, 3) and (C, B, 3, 3) to (C, B, n, K, 3)."""
    n, K = vector.shape[1:3]
    r = vector.flatten(1, 2).transpose(1, 2)  # (B, 3, n K)
    return (strain @ r).movedim(-2, -1).unflatten(2, (n, K))


def _dyads(g: Tensor, r: Tensor) -> Tensor:
    """Their sum g (x) r: (*c, B, n, K, 3) to (*c, B, 3, 3)."""
    return g.flatten(-3, -2).transpose(-1, -2) @ r.flatten(-3, -2)


def _entries(index: Tensor, size: int) -> Tensor:
    """Indices (B, n, K) into members of a size as indices into all of them (B n K,)."""
    members = torch.arange(0, len(index) * size, size, device=index.device)
    return (index + members[:, None, None]).view(-1) if len(index) > 1 else index.reshape(-1)


def _rows(found: Neighbours, positions: Tensor) -> Iterator[slice]:
    """Members that are evaluated together."""
    B, n, K = found.index.shape
    step = max(1, (BONDS if positions.device.type == "cpu" else BONDS_ON_A_GPU) // (n * K))
    return (slice(start, min(B, start + step)) for start in range(0, B, step))


def _evaluate(potential: Potential, positions: Tensor, cell: Tensor, species: Tensor, found: Neighbours) -> Energies:
    at = bonds(potential, positions, cell, species, found)
    sites, gradient = potential(at)
    g, r = (part.flatten(1, 2).movedim(-1, 1) for part in (gradient, at.vector))  # (B, 3, n K)
    return Energies(sites.sum(-1), gathered(gradient, found), g @ r.transpose(1, 2), sites)
