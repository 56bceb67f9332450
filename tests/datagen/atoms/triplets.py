"""Crystals to ask three-body potentials about, what follows from their bonds, and the same from LAMMPS."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import diamond
from datagen.atoms.potential import Bonds, Potential
from datagen.tensors import det
from tests.datagen.atoms.oracle import Answer, evaluate, potential_file


def bonds_of(potential: Potential, crystal: Crystal, F: Tensor | None = None) -> tuple[Bonds, Tensor, Tensor]:
    """Bonds of a crystal under F, in the reference configuration too, and which atom each ends in."""
    which, reference = crystal.neighbourhood(1.3 * potential.cutoff)
    species = potential.species(crystal.elements)
    vector = reference if F is None else reference @ F.T
    return Bonds(vector, species, species[which]), reference, which


def answer(potential: Potential, crystal: Crystal) -> Answer:
    """Energies, forces and Cauchy stress of a crystal."""
    bonds, _, which = bonds_of(potential, crystal)
    sites = potential(bonds)
    ends = torch.zeros(crystal.n, 3, dtype=torch.float64)
    ends.index_add_(0, which.flatten(), sites.gradient.flatten(0, 1))
    stress = torch.einsum("nki,nkj->ij", sites.gradient, bonds.vector) / crystal.volume
    return Answer(sites.energy, sites.gradient.sum(1) - ends, stress)


def shaken(elements: tuple[str, ...], a: float, repeat: int = 1, seed: int = 0) -> Crystal:
    """A sheared diamond crystal of repeat^3 cubes with elements in turn, each displaced by some 0.03 a."""
    generator = torch.Generator().manual_seed(seed)
    cube = diamond(a, elements[0], conventional=True)
    shift = torch.cartesian_prod(*[torch.arange(repeat, dtype=torch.float64)] * 3).reshape(-1, 1, 3) * a
    positions = (cube.positions + shift).flatten(0, 1)
    positions = positions + 0.03 * a * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    F = torch.eye(3, dtype=torch.float64) + 0.06 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    names = [elements[i % len(elements)] for i in range(len(positions))]
    order = torch.randperm(len(names), generator=generator).tolist()
    return Crystal(repeat * cube.lattice, positions, [names[i] for i in order]).deformed(F)


def agrees_with_lammps(make, style: str, file: str, elements: tuple[str, ...], a: float, repeat: int, tolerance: float):
    """Energy per atom, forces and stress to a tolerance of the largest.

    Energies are those of the crystal: LAMMPS gives a third of a three-body energy to each of its three atoms, where
    here all of it is the middle one's.
    """
    path = potential_file(file)
    if path is None:
        pytest.skip(f"no {file} here")
    potential = make(path, elements)
    for seed in range(2):
        crystal = shaken(elements, a, repeat, seed)
        masses = dict(zip(elements, potential.masses, strict=True))
        commands = (f"pair_style {style}", f"pair_coeff * * {path} {' '.join(elements)}")
        wanted = evaluate(commands, crystal.elements, masses, crystal.positions, crystal.lattice)
        got = answer(potential, crystal)
        assert det(crystal.lattice) > 0
        assert wanted.forces.abs().max() > 0.1
        assert float(got.energy.mean()) == pytest.approx(float(wanted.energy.mean()), rel=tolerance)
        for name in ("forces", "stress"):
            x, y = getattr(got, name), getattr(wanted, name)
            assert float((x - y).abs().max()) <= tolerance * float(y.abs().max()), name
