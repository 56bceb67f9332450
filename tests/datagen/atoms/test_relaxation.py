"""Atoms at rest: forces to rounding, defects, frozen atoms, wanted stresses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.atoms.crystals import fcc, stress_free
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.neighbours import neighbours
from datagen.atoms.relaxation import relax, relax_cell
from datagen.atoms.response import mobile, smallest_curvature, solve, strain_response
from datagen.atoms.statics import Linearised, cauchy_stress, evaluate, first_piola
from datagen.atoms.supercells import slab, supercell, symmetric_tilt, vacancy
from datagen.laws.verdict import Verdict
from datagen.tensors import det, inv

ARGON = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="smooth", inner=7.0)
CUBE = stress_free(fcc(5.28, "Ar", conventional=True), ARGON)
PERFECT = supercell(CUBE, 2)
SPECIES = torch.zeros(32, dtype=torch.int64)


def rattled(B: int, size: float = 0.15, seed: int = 0) -> tuple[Tensor, Tensor]:
    noise = torch.randn(B, 32, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return PERFECT.positions + size * noise, PERFECT.lattice.expand(B, 3, 3)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-2, keepdim=True)


def test_a_shaken_crystal_returns_to_the_perfect_one() -> None:
    x, h = rattled(5)
    relaxed = relax(ARGON, x, h, SPECIES, tolerance=1e-12)
    assert (relaxed.verdict == Verdict.GOOD).all()
    assert (relaxed.force <= 1e-12).all()
    assert (centred(relaxed.positions) - centred(PERFECT.positions)).abs().max() < 1e-10
    assert (relaxed.positions.mean(1) - x.mean(1)).abs().max() < 1e-12  # nothing drifts
    perfect = evaluate(ARGON, PERFECT.positions[None], h[:1], SPECIES, neighbours(
        PERFECT.positions[None], h[:1], ARGON.cutoff))  # fmt: skip
    torch.testing.assert_close(relaxed.energies.energy, perfect.energy.expand(5), rtol=1e-13, atol=0)
    assert (relaxed.before > relaxed.energies.energy).all()
    again = evaluate(ARGON, relaxed.positions, h, SPECIES, neighbours(relaxed.positions, h, ARGON.cutoff))
    torch.testing.assert_close(again.forces, relaxed.energies.forces, rtol=0, atol=1e-13)


def test_atoms_at_rest_take_no_step() -> None:
    relaxed = relax(ARGON, PERFECT.positions[None], PERFECT.lattice[None], SPECIES)
    assert relaxed.iterations.tolist() == [0]
    assert torch.equal(relaxed.positions[0], PERFECT.positions)


def test_a_vacancy_costs_about_the_cohesive_energy_and_less_when_relaxed() -> None:
    crystal = vacancy(supercell(CUBE, 3), 0)
    x, h = crystal.positions[None], crystal.lattice[None]
    species = torch.zeros(crystal.n, dtype=torch.int64)
    relaxed = relax(ARGON, x, h, species, tolerance=1e-12)
    perfect = evaluate(ARGON, CUBE.positions[None], CUBE.lattice[None], SPECIES[:4], neighbours(
        CUBE.positions[None], CUBE.lattice[None], ARGON.cutoff)).energy / 4  # fmt: skip
    formation = relaxed.energies.energy - crystal.n * perfect
    unrelaxed = relaxed.before - crystal.n * perfect
    # Bonds of pairs: without relaxation it costs exactly the energy of an atom in the crystal.
    torch.testing.assert_close(unrelaxed, -perfect, rtol=1e-10, atol=0)
    assert 0.9 * float(unrelaxed) < float(formation) < float(unrelaxed) - 1e-5
    assert relaxed.verdict.tolist() == [Verdict.GOOD]


def test_a_batch_relaxes_as_its_members_do() -> None:
    x, h = rattled(3, seed=4)
    x[1] = PERFECT.positions
    together = relax(ARGON, x, h, SPECIES, tolerance=1e-11)
    for member in range(3):
        alone = relax(ARGON, x[member : member + 1], h[:1], SPECIES, tolerance=1e-11)
        torch.testing.assert_close(together.positions[member], alone.positions[0], rtol=0, atol=1e-9)
        assert int(together.iterations[member]) == int(alone.iterations[0])


def test_running_out_of_steps_is_a_verdict_and_not_an_answer() -> None:
    x, h = rattled(2)
    x[1] = PERFECT.positions
    relaxed = relax(ARGON, x, h, SPECIES, tolerance=1e-12, steps=3)
    assert relaxed.verdict.tolist() == [Verdict.NOT_CONVERGED, Verdict.GOOD]
    assert relaxed.energies.energy.isnan().tolist() == [True, False]
    assert relaxed.positions.isfinite().all()
    assert relaxed.force[0] > 1e-12
    goes_on = relax(ARGON, relaxed.positions, h, SPECIES, tolerance=1e-12)
    assert (goes_on.verdict == Verdict.GOOD).all()


def test_atoms_that_met_are_a_verdict_of_their_own_member() -> None:
    x, h = rattled(2)
    x[0, 3] = x[0, 7]
    relaxed = relax(ARGON, x, h, SPECIES, tolerance=1e-10)
    assert relaxed.verdict[0] >= Verdict.NOT_CONVERGED
    assert relaxed.verdict[1] == Verdict.GOOD
    assert relaxed.energies.energy.isnan().tolist() == [True, False]


def test_held_atoms_and_held_coordinates_stay() -> None:
    x, h = rattled(2)
    fixed = torch.zeros(2, 32, 3, dtype=torch.bool)
    fixed[0, 4:9] = True
    fixed[1, :, 2] = True
    relaxed = relax(ARGON, x, h, SPECIES, fixed=fixed, tolerance=1e-10)
    assert torch.equal(relaxed.positions[fixed], x[fixed])
    assert (relaxed.verdict == Verdict.GOOD).all()
    assert (relaxed.energies.forces * ~fixed).abs().max() < 1e-10
    assert (relaxed.energies.forces * fixed).abs().max() > 1e-3
    for held in (fixed[0, :, 0], fixed[:, :, 0]):
        stays = relax(ARGON, x, h, SPECIES, fixed=held, tolerance=1e-8)
        assert torch.equal(stays.positions[0, 4:9], x[0, 4:9])
    with pytest.raises(ValueError, match=r"fixed: got torch\.float32 of shape"):
        relax(ARGON, x, h, SPECIES, fixed=torch.zeros(32))


def test_negative_curvature_at_rest_is_unstable() -> None:
    # A simple cubic crystal of pair forces is at rest by symmetry, and shears away.
    n = torch.arange(3, dtype=torch.float64)
    x, h = 3.9 * torch.cartesian_prod(n, n, n)[None], 11.7 * torch.eye(3, dtype=torch.float64)[None]
    species = torch.zeros(27, dtype=torch.int64)
    relaxed = relax(ARGON, x, h, species, curvature=30)
    assert relaxed.verdict.tolist() == [Verdict.UNSTABLE]
    assert relaxed.energies.energy.isfinite().all()
    stable = relax(ARGON, PERFECT.positions[None], PERFECT.lattice[None], SPECIES, curvature=30)
    assert stable.verdict.tolist() == [Verdict.GOOD]


def test_lanczos_finds_the_ends_of_the_spectrum() -> None:
    x, h = rattled(2, size=0.05)
    at = Linearised(ARGON, x, h, SPECIES, neighbours(x, h, ARGON.cutoff))
    units = torch.eye(96, dtype=torch.float64).reshape(96, 1, 32, 3).expand(96, 2, 32, 3)
    H = at.product(units).reshape(96, 2, 96).movedim(1, 0)
    torch.testing.assert_close(H, H.transpose(1, 2), rtol=0, atol=1e-14)
    values = torch.linalg.eigvalsh(H)
    low, high = smallest_curvature(at, mobile(None, x), steps=60)
    torch.testing.assert_close(high, values[:, -1], rtol=1e-9, atol=0)
    relevant = torch.stack([row[row.abs() > 1e-12][0] for row in values])
    torch.testing.assert_close(low, relevant, rtol=1e-3, atol=0)


def test_conjugate_gradients_solve_several_right_hand_sides_of_several_members() -> None:
    x, h = rattled(2, size=0.05)
    at = Linearised(ARGON, x, h, SPECIES, neighbours(x, h, ARGON.cutoff))
    f = torch.randn(3, 2, 32, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f = f - f.mean(-2, keepdim=True)
    found = solve(at, f, mobile(None, x), tolerance=1e-12)
    torch.testing.assert_close(at.product(found.u), f, rtol=0, atol=1e-10)
    assert (found.residual <= 1e-12).all()
    assert not found.negative.any()


@pytest.mark.parametrize("measure", ["cauchy", "piola"])
def test_the_cell_relaxes_to_a_wanted_stress(measure: str) -> None:
    x, h = rattled(2, seed=3)
    x, h = 1.01 * x, 1.01 * h
    wanted = torch.tensor([[1e-4, 2e-5, 0], [2e-5, -5e-5, -1e-5], [0, -1e-5, 3e-5]], dtype=torch.float64)
    relaxed = relax_cell(ARGON, x, h, SPECIES, wanted, measure=measure, tolerance=1e-13)
    assert (relaxed.verdict == Verdict.GOOD).all()
    virial, U = relaxed.energies.virial, inv(h) @ relaxed.cell
    torch.testing.assert_close(U, U.transpose(1, 2), rtol=0, atol=1e-13)
    stress = cauchy_stress(virial, det(relaxed.cell)) if measure == "cauchy" else first_piola(virial, U, det(h))
    symmetric = (stress + stress.transpose(1, 2)) / 2
    torch.testing.assert_close(symmetric, wanted.expand(2, 3, 3), rtol=0, atol=2e-13)


def test_what_is_not_controlled_keeps_its_strain() -> None:
    x, h = rattled(1)
    relaxed = relax_cell(ARGON, 1.01 * x, 1.01 * h, SPECIES, components=(0, 1), tolerance=1e-12)
    U = inv(1.01 * h) @ relaxed.cell
    assert float(U[0, 2, 2]) == pytest.approx(1, abs=1e-15)
    stress = cauchy_stress(relaxed.energies.virial, det(relaxed.cell))[0]
    assert stress[:2, :2].diagonal().abs().max() < 1e-12
    assert stress[2, 2] > 1e-4
    with pytest.raises(ValueError, match="components: got"):
        relax_cell(ARGON, x, h, SPECIES, components=(0, 6))
    with pytest.raises(ValueError, match="measure: got"):
        relax_cell(ARGON, x, h, SPECIES, measure="kirchhoff")


def test_a_wanted_stress_that_no_cell_bears_is_a_verdict() -> None:
    x, h = rattled(1, size=0.01)
    relaxed = relax_cell(ARGON, x, h, SPECIES, 0.1 * torch.eye(3, dtype=torch.float64), steps=8)
    assert relaxed.verdict.tolist() == [Verdict.NOT_CONVERGED]
    assert relaxed.energies.energy.isnan().all()


def test_the_response_to_strain_is_the_derivative_of_the_relaxed_stress() -> None:
    crystal = vacancy(PERFECT)
    species = SPECIES[:-1]
    e = torch.tensor([[0.0, 0.7, 0], [0.2, 0.5, 0], [-0.3, 0, -0.4]], dtype=torch.float64)
    relaxed = relax(ARGON, crystal.positions[None], crystal.lattice[None], species, tolerance=1e-12)
    dS, inner = strain_response(
        ARGON, relaxed.positions, relaxed.cell, species, relaxed.neighbours, e.expand(1, 1, 3, 3)
    )
    step = 1e-4
    ends = []
    for s in (step, -step):
        map_t = (torch.eye(3, dtype=torch.float64) + s * e).T
        ends.append(relax(ARGON, relaxed.positions @ map_t, relaxed.cell @ map_t, species, tolerance=1e-12))
    slope = (ends[0].energies.virial - ends[1].energies.virial) / (2 * step)
    torch.testing.assert_close(dS[0], slope, rtol=1e-5, atol=1e-5)
    moved = (ends[0].positions - ends[1].positions) / (2 * step) - relaxed.positions @ e.T
    torch.testing.assert_close(centred(inner.u[0]), centred(moved), rtol=1e-4, atol=1e-5)


def test_a_relaxed_slab_has_its_surface_energy() -> None:
    # Source: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, LJ_Ar_rc8.5125_shift
    potential = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="shifted")
    plate = slab(fcc(5.276399659024652, "Ar", conventional=True), (0, 0, 1), layers=20, vacuum=20.0)
    relaxed = relax(potential, plate.positions[None], plate.lattice[None], torch.zeros(plate.n).long(), tolerance=1e-7)
    area = 2 * float(plate.lattice[0, 0] * plate.lattice[1, 1])
    gamma = (relaxed.energies.energy + plate.n * 0.07761792519978279) / area * 16.0217663
    assert gamma == pytest.approx(0.033359821490986666, rel=1e-6)
    assert relaxed.energies.virial[0, 0, 0] / area * 16.0217663 == pytest.approx(0.007655476011897438, rel=1e-3)


def test_a_grain_boundary_comes_to_rest() -> None:
    boundary = symmetric_tilt(CUBE, (2, 1, 0), (0, 0, 1), thickness=2, repeat=(1, 2))
    relaxed = relax(
        ARGON, boundary.positions[None], boundary.lattice[None], torch.zeros(boundary.n).long(), tolerance=1e-10
    )
    assert relaxed.verdict[0] < Verdict.NOT_CONVERGED
    assert float(relaxed.energies.energy) < float(relaxed.before)
