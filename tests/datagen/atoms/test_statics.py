"""Energy, forces and stress of atoms in periodic cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.atoms import all_pairs, statics
from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.neighbours import neighbours
from datagen.atoms.potential import Potential
from datagen.atoms.response import strain_response
from datagen.atoms.statics import Energies, Linearised, cauchy_stress, evaluate, first_piola, placed
from datagen.atoms.supercells import slab, supercell
from datagen.tensors import det, inv, random_rotation

# Source: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, LJ_Ar_rc8.5125_shift
A0 = 5.276399659024652
COHESIVE = -0.07761792519978279  # eV per atom
SURFACE = 0.03357420419242347  # J/m^2 of the unrelaxed (001) slab
SURFACE_STRESS = -0.004944741150125927  # N/m
SURFACE_FORCE = 0.007385506419191535  # eV/A, the largest
JOULE = 16.0217663

REFERENCE = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="shifted")
SMOOTH = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="smooth", inner=7.0)
STRAIN = torch.tensor([[0.03, -0.02, 0.01], [0.05, -0.04, 0.02], [-0.01, 0.03, 0.02]], dtype=torch.float64)
ONE = torch.eye(3, dtype=torch.float64)


def answer(potential: Potential, crystal: Crystal) -> Energies:
    """Of one crystal as it stands."""
    x, h = crystal.positions[None], crystal.lattice[None]
    return evaluate(potential, x, h, potential.species(crystal.elements), neighbours(x, h, potential.cutoff))


def rattled(seed: int, B: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of small cells of disordered argon under different strains: positions, cells, species."""
    generator = torch.Generator().manual_seed(seed)
    crystal = supercell(fcc(A0, "Ar", conventional=True), (2, 1, 1))
    x = crystal.positions + 0.1 * torch.randn(B, crystal.n, 3, generator=generator, dtype=torch.float64)
    F = ONE + 0.04 * torch.randn(B, 3, 3, generator=generator, dtype=torch.float64)
    return *placed(F, x, crystal.lattice), torch.zeros(crystal.n, dtype=torch.int64)


def whole(potential: Potential, x: Tensor, h: Tensor, species: Tensor) -> Energies:
    return evaluate(potential, x, h, species, neighbours(x, h, potential.cutoff))


@pytest.mark.parametrize("conventional", [False, True])
def test_argon_has_its_cohesive_energy_and_no_stress(conventional: bool) -> None:
    crystal = fcc(A0, "Ar", conventional)
    found = answer(REFERENCE, crystal)
    assert found.energy / crystal.n == pytest.approx(COHESIVE, rel=1e-13)
    assert (found.virial / crystal.volume).abs().max() < 1e-13
    assert found.forces.abs().max() < 1e-14


def test_a_slab_has_its_surface_energy_stress_and_force() -> None:
    plate = slab(fcc(A0, "Ar", conventional=True), (0, 0, 1), layers=10, vacuum=20.0)
    found = answer(REFERENCE, plate)
    area = float(plate.lattice[0, 0] * plate.lattice[1, 1])
    gamma = (found.energy - plate.n * COHESIVE) / (2 * area) * JOULE
    assert gamma == pytest.approx(SURFACE, rel=1e-10)
    stress = found.virial[0] / (2 * area) * JOULE
    assert stress[0, 0] == pytest.approx(SURFACE_STRESS, rel=1e-8)
    assert stress[1, 1] == pytest.approx(SURFACE_STRESS, rel=1e-8)
    assert found.forces.norm(dim=-1).max() == pytest.approx(SURFACE_FORCE, rel=1e-10)


def test_one_atom_four_atoms_and_thirty_two_are_the_same_crystal() -> None:
    F = ONE + STRAIN
    small, cube = fcc(A0, "Ar").deformed(F), fcc(A0, "Ar", conventional=True).deformed(F)
    expected = answer(SMOOTH, small)
    for crystal in (cube, supercell(cube, 2), supercell(small, [[3, 0, 0], [1, 2, 0], [-4, 1, 1]])):
        found = answer(SMOOTH, crystal)
        torch.testing.assert_close(found.energy / crystal.n, expected.energy, rtol=1e-12, atol=0)
        torch.testing.assert_close(
            found.virial / crystal.volume, expected.virial / small.volume, rtol=1e-12, atol=1e-16
        )
        assert found.forces.abs().max() < 1e-13


def test_forces_are_the_derivative_of_the_energy() -> None:
    x, h, species = rattled(0)
    forces = whole(SMOOTH, x, h, species).forces
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-4
    ahead, behind = (whole(SMOOTH, x + s * step * direction, h, species).energy for s in (1, -1))
    farther, before = (whole(SMOOTH, x + s * step * direction, h, species).energy for s in (2, -2))
    slope = (8 * (ahead - behind) - (farther - before)) / (12 * step)
    torch.testing.assert_close(-(forces * direction).sum((1, 2)), slope, rtol=1e-9, atol=1e-11)
    assert forces.sum(1).abs().max() < 1e-14


def test_first_piola_is_the_derivative_of_the_energy_density() -> None:
    X, h_0, species = rattled(2)
    volume = det(h_0)
    F = ONE + STRAIN * torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)[:, None, None]
    P = first_piola(whole(SMOOTH, *placed(F, X, h_0), species).virial, F, volume)
    step = 1e-4
    for i in range(3):
        for J in range(3):
            dF = torch.zeros(3, 3, dtype=torch.float64)
            dF[i, J] = step
            W = [whole(SMOOTH, *placed(F + s * dF, X, h_0), species).energy / volume for s in (1, -1, 2, -2)]
            slope = (8 * (W[0] - W[1]) - (W[2] - W[3])) / (12 * step)
            torch.testing.assert_close(P[:, i, J], slope, rtol=1e-9, atol=1e-9 * float(P.abs().max()))


def test_cauchy_stress_is_symmetric_and_belongs_to_the_first_piola_stress() -> None:
    X, h_0, species = rattled(2)
    F = (ONE + STRAIN).expand(3, 3, 3)
    x, h = placed(F, X, h_0)
    virial = whole(SMOOTH, x, h, species).virial
    sigma, P = cauchy_stress(virial, det(h)), first_piola(virial, F, det(h_0))
    torch.testing.assert_close(sigma, sigma.transpose(1, 2), rtol=1e-12, atol=1e-17)
    torch.testing.assert_close(P @ F.transpose(1, 2) / det(F)[:, None, None], sigma, rtol=1e-12, atol=1e-17)


def test_a_rotated_cell_has_rotated_forces_and_stress() -> None:
    x, h, species = rattled(3)
    Q = random_rotation(3, generator=torch.Generator().manual_seed(5))
    here, there = whole(SMOOTH, x, h, species), whole(SMOOTH, *placed(Q, x, h), species)
    torch.testing.assert_close(there.energy, here.energy, rtol=1e-13, atol=0)
    torch.testing.assert_close(there.forces, here.forces @ Q.transpose(1, 2), rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(there.virial, Q @ here.virial @ Q.transpose(1, 2), rtol=1e-11, atol=1e-14)


def test_another_cell_of_the_same_lattice_and_wrapped_atoms_change_nothing() -> None:
    x, h, species = rattled(4)
    sheared = torch.tensor([[1.0, 0, 0], [3, 1, 0], [-2, 5, 1]], dtype=torch.float64) @ h
    shift = torch.randint(-3, 4, x.shape, generator=torch.Generator().manual_seed(0)).to(x) @ h
    here, there = whole(SMOOTH, x, h, species), whole(SMOOTH, x + shift, sheared, species)
    torch.testing.assert_close(there.energy, here.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(there.forces, here.forces, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(there.virial, here.virial, rtol=1e-9, atol=1e-12)


def test_a_batch_answers_as_its_members_do_in_whatever_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x, h, species = rattled(5, B=7)
    together = whole(SMOOTH, x, h, species)
    monkeypatch.setattr(statics, "BONDS", 1)
    monkeypatch.setattr(all_pairs, "CANDIDATES", 1)
    for part, pieces in zip(together, whole(SMOOTH, x, h, species), strict=True):
        torch.testing.assert_close(pieces, part, rtol=1e-13, atol=1e-15)
    for member in range(7):
        rows = slice(member, member + 1)
        for part, alone in zip(together, whole(SMOOTH, x[rows], h[rows], species), strict=True):
            torch.testing.assert_close(alone, part[rows], rtol=1e-13, atol=1e-15)


def test_the_same_question_has_the_same_answer_to_the_last_bit() -> None:
    x, h, species = rattled(6)
    for one, two in zip(whole(SMOOTH, x, h, species), whole(SMOOTH, x, h, species), strict=True):
        assert torch.equal(one, two)


def test_a_longer_list_changes_nothing() -> None:
    x, h, species = rattled(6)
    short = whole(SMOOTH, x, h, species)
    long = evaluate(SMOOTH, x, h, species, neighbours(x, h, SMOOTH.cutoff, skin=1.5))
    for one, two in zip(short, long, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-15)


def test_products_are_derivatives_of_the_forces() -> None:
    x, h, species = rattled(7)
    generator = torch.Generator().manual_seed(1)
    found = neighbours(x, h, SMOOTH.cutoff)
    at = Linearised(SMOOTH, x, h, species, found)
    u = torch.randn(2, *x.shape, generator=generator, dtype=torch.float64)
    e = torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    step = 1e-5
    for c in range(2):
        ahead, behind = (whole(SMOOTH, x + s * step * u[c], h, species) for s in (1, -1))
        slope = -(ahead.forces - behind.forces) / (2 * step)
        torch.testing.assert_close(at.product(u)[c], slope, rtol=1e-6, atol=1e-8)
        ahead, behind = (whole(SMOOTH, *placed(ONE + s * step * e[c], x, h), species) for s in (1, -1))
        slope = (ahead.forces - behind.forces) / (2 * step)
        torch.testing.assert_close(at.strained(e)[c], slope, rtol=1e-6, atol=1e-7)
        slope = (ahead.virial - behind.virial) / (2 * step)
        torch.testing.assert_close(at.virial_change(e, 0 * u)[c], slope, rtol=1e-6, atol=1e-6)


def test_a_perfect_crystal_answers_strain_with_its_elastic_constants() -> None:
    # Source: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, LJ_Ar_rc8.5125_shift [GPa]
    crystal = supercell(fcc(A0, "Ar", conventional=True), 2)
    x, h = crystal.positions[None], crystal.lattice[None]
    found = neighbours(x, h, REFERENCE.cutoff)
    strain = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    strain[0, 0, 0, 0] = strain[1, 0, 1, 2] = 1.0
    dS, relaxed = strain_response(REFERENCE, x, h, torch.zeros(crystal.n).long(), found, strain)
    C = dS[:, 0] / crystal.volume * 160.21766208
    assert C[0, 0, 0] == pytest.approx(4.124207886771543, rel=1e-6)
    assert C[0, 1, 1] == pytest.approx(2.347875881440083, rel=1e-6)
    assert C[1, 1, 2] == pytest.approx(2.3478758814415372, rel=1e-6)
    assert relaxed.u.abs().max() < 1e-10


def test_the_inverse_of_the_placement_gives_the_fluctuation_back() -> None:
    X, h_0, _ = rattled(8)
    F = (ONE + STRAIN).expand(3, 3, 3)
    x, _ = placed(F, X, h_0)
    torch.testing.assert_close(x @ inv(F).transpose(-1, -2), X, rtol=1e-13, atol=1e-13)


def test_as_many_species_as_atoms_are_wanted() -> None:
    x, h = torch.zeros(2, 1, 3).double(), 5 * torch.eye(3).double().expand(2, 3, 3)
    with pytest.raises(ValueError, match=r"species: got shape \(2,\), wanted \(1,\), one for each atom"):
        evaluate(SMOOTH, x, h, torch.zeros(2, dtype=torch.int64))


def test_no_members_have_no_energy() -> None:
    x, h = torch.zeros(0, 4, 3).double(), torch.zeros(0, 3, 3).double()
    answer = evaluate(SMOOTH, x, h, torch.zeros(4, dtype=torch.int64))
    assert [tuple(part.shape) for part in answer] == [(0,), (0, 4, 3), (0, 3, 3), (0, 4)]
