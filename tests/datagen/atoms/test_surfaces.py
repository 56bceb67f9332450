"""Free surfaces: golden energies and stresses, elastic constants against differences, the order of the faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import diamond, fcc, stress_free
from datagen.atoms.embedded_atom import EmbeddedAtom
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.potential import Potential
from datagen.atoms.relaxation import relax, relax_cell
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.supercells import slab
from datagen.atoms.surfaces import Surface, surface
from datagen.atoms.units import JOULE_PER_SQUARE_METRE
from tests.datagen.atoms.oracle import potential_file

ARGON = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="smooth", inner=7.0)

# LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, surf001_unrelaxed and surf001_relaxed, J/m^2: gamma and
# tau as cut, gamma and tau relaxed.
GOLDEN = {
    "Cu": (1.350549544932917, 2.0235024579538634, 1.3453194608610084, 1.5014330165524052),
    "Al": (0.5143210692793967, 1.719395021625888, 0.4965225994112021, 1.153024011037126),
    # Its tau relaxed is that of the fit below: the forces of the single state were left at 3e-8.
    "Ar": (0.03357420419242347, -0.004944741150125927, 0.033359821490986666, 0.007658547086787333),
}
# Same file, surf001_biax_Lagr, J/m^2: gamma, half its first and half its second derivative by the nominal strain eps of
# both axes, per reference area. With E = eps + eps^2/2, gamma_0 + 2 tau E + (S11 + S12) E^2 has for these gamma_0, tau
# and S11 + S12 + tau. They are the coefficients of a cubic through eps = -0.004, -0.002, 0, 0.002, 0.004.
FITTED = {
    "Cu": (1.3453194662244556, 1.5014333022652213, 2.97364329483806),
    "Al": (0.4965225176269353, 1.1530125677763232, -1.5001901206062822),
    "Ar": (0.03335982140383208, 0.007658547086787333, 0.17474090304041132),
}
CONVERSION = 16.0217663 / JOULE_PER_SQUARE_METRE  # of the reference file, in units of the exact one


def golden_potential(element: str) -> tuple[Potential, float]:
    if element == "Ar":
        return LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="shifted"), 5.276
    name, a = {"Cu": ("Cu_mishin1.eam.alloy", 3.615), "Al": ("Al_mm.eam.fs", 4.045)}[element]
    file = potential_file(name)
    if file is None:
        pytest.skip(f"no potential file {name}")
    return EmbeddedAtom(file), a


@pytest.mark.parametrize("element", GOLDEN)
def test_energy_and_stress_of_a_001_surface_are_those_of_lammps(element: str) -> None:
    potential, a = golden_potential(element)
    crystal = fcc(a, element, conventional=True)
    wanted = GOLDEN[element]
    for relaxed, gamma, tau in ((False, *wanted[:2]), (True, *wanted[2:4])):
        found = surface(potential, crystal, (0, 0, 1), layers=24, relaxed=relaxed)
        energy, stress, _ = (part * CONVERSION for part in found.in_joule)
        assert float(energy) == pytest.approx(gamma, rel=3e-9)
        # Fits by differences are good to 3e-8 where the table of the crystal has no kinks.
        assert float(stress[0, 0]) == pytest.approx(tau, rel=3e-8 if relaxed and element == "Ar" else 1e-8)
        assert float(stress[1, 1]) == pytest.approx(float(stress[0, 0]), rel=1e-10)
        assert abs(float(stress[0, 1])) < 1e-12


def strained_energy(
    potential: Potential, bulk: Crystal, normal: tuple[int, ...], found: Surface, strain: Tensor
) -> float:
    """Energy per reference area of a relaxed surface of a monatomic crystal under F = 1 + strain (2, 2) [eV/A^2]."""
    F = torch.eye(3, dtype=torch.float64)
    F[:2, :2] += strain
    h, x = found.slab.lattice[None], found.slab.positions[None]
    pair = slab(bulk, normal, 2, 20.0)
    one = torch.stack([*pair.lattice[:2], pair.positions[1] - pair.positions[0]])[None]
    species = potential.species(found.slab.elements)
    thick = relax(potential, x @ F.T, h @ F.T, species, tolerance=1e-11, steps=3000).energies.energy
    atom = relax_cell(potential, torch.zeros(1, 1, 3, dtype=torch.float64), one @ F.T, species[:1],
                      components=(2, 3, 4), tolerance=1e-13).energies.energy  # fmt: skip
    return float(thick - found.slab.n * atom) / float(2 * torch.linalg.cross(h[0, 0], h[0, 1]).norm())


@pytest.mark.parametrize("element", FITTED)
def test_a_cubic_through_the_energies_of_strained_slabs_is_that_of_lammps(element: str) -> None:
    potential, a = golden_potential(element)
    bulk = stress_free(fcc(a, element, conventional=True), potential)
    found = surface(potential, bulk, (0, 0, 1), layers=24)
    eps = np.arange(-2, 3) * 0.002
    equal = torch.eye(2, dtype=torch.float64)
    gamma = [strained_energy(potential, bulk, (0, 0, 1), found, e * equal) for e in eps.tolist()]
    cubic = np.polynomial.polynomial.polyfit(eps, np.array(gamma) * JOULE_PER_SQUARE_METRE * CONVERSION, 3)
    wanted = FITTED[element]
    assert cubic[0] == pytest.approx(wanted[0], rel=3e-9)
    assert cubic[1] / 2 == pytest.approx(wanted[1], rel=3e-8)
    assert cubic[2] == pytest.approx(wanted[2], rel=2e-6)


# The second derivative at the state itself is not that of the fit: over +-0.004 the cubic misses 2e-4 of argon's, and
# the table has kinks there, 2e-3 of copper's. Aluminium's is -0.21 over +-2e-5 and -1.5 over +-1e-3: no number to test.
@pytest.mark.parametrize(("element", "step", "accuracy", "fit"), [("Ar", 1e-3, 1e-7, 3e-4), ("Cu", 2e-5, 1e-5, 2e-3)])
def test_elastic_constants_of_a_001_surface_are_the_limit_of_small_steps(
    element: str, step: float, accuracy: float, fit: float
) -> None:
    potential, a = golden_potential(element)
    bulk = stress_free(fcc(a, element, conventional=True), potential)
    found = surface(potential, bulk, (0, 0, 1), layers=24)
    wanted = float(found.elasticity[0, 0] + found.elasticity[0, 1] + found.stress[0, 0])
    equal = torch.eye(2, dtype=torch.float64)
    halves = []
    for e in (step, 2 * step):
        plus, minus = (strained_energy(potential, bulk, (0, 0, 1), found, s * e * equal) for s in (1, -1))
        halves.append((plus - 2 * float(found.energy) + minus) / (2 * e**2))
    # The error of a difference goes as its step squared.
    assert (4 * halves[0] - halves[1]) / 3 == pytest.approx(wanted, rel=accuracy)
    assert wanted * JOULE_PER_SQUARE_METRE == pytest.approx(FITTED[element][2], rel=fit)


@pytest.mark.parametrize("normal", [(0, 0, 1), (1, 1, 0), (2, 1, 0)])
def test_elastic_constants_are_second_derivatives_of_the_energy(normal: tuple[int, ...]) -> None:
    bulk = stress_free(fcc(5.28, "Ar", conventional=True), ARGON)
    found = surface(ARGON, bulk, normal, layers=20)

    def gamma(E: Tensor) -> float:
        one = torch.eye(2, dtype=torch.float64)
        return strained_energy(ARGON, bulk, normal, found, torch.linalg.cholesky(one + 2 * E).mT - one)

    e = 1e-3
    for E, row in (([[1, 0], [0, 0]], 0), ([[0, 0], [0, 1]], 1), ([[0, 0.5**0.5], [0.5**0.5, 0]], 2)):
        direction = e * torch.tensor(E, dtype=torch.float64)
        plus, minus = gamma(direction), gamma(-direction)
        tau = [found.stress[0, 0], found.stress[1, 1], 2**0.5 * found.stress[0, 1]][row]
        assert (plus - minus) / (2 * e) == pytest.approx(float(tau), abs=1e-4 * float(found.energy))
        second = (plus - 2 * float(found.energy) + minus) / e**2
        assert second == pytest.approx(
            float(found.elasticity[row, row]), abs=2e-3 * float(found.elasticity.abs().max())
        )


def test_the_closer_its_atoms_the_less_a_face_of_copper_costs() -> None:
    potential, a = golden_potential("Cu")
    cube = fcc(a, "Cu", conventional=True)
    faces = [float(surface(potential, cube, normal).energy) for normal in ((1, 1, 1), (0, 0, 1), (1, 1, 0))]
    assert faces == sorted(faces)
    as_cut = [float(surface(potential, cube, n, relaxed=False).energy) for n in ((1, 1, 1), (0, 0, 1), (1, 1, 0))]
    assert all(rest < cut for rest, cut in zip(faces, as_cut, strict=True))


def test_a_111_surface_is_isotropic() -> None:
    found = surface(ARGON, fcc(5.28, "Ar", conventional=True), (1, 1, 1), layers=20)
    tau, S = found.stress, found.elasticity
    scale = float(S.abs().max())
    assert abs(float(tau[0, 0] - tau[1, 1])) < 1e-9 * scale
    assert abs(float(S[0, 0] - S[0, 1] - S[2, 2])) < 1e-8 * scale
    assert (S - S.T).abs().max() < 1e-12 * scale


def test_the_answer_does_not_depend_on_cell_or_thickness() -> None:
    one = surface(ARGON, fcc(5.28, "Ar", conventional=True), (0, 0, 1), layers=20)
    for other in (
        surface(ARGON, fcc(5.28, "Ar", conventional=True), (0, 0, 1), layers=31),
        surface(ARGON, fcc(5.28, "Ar", conventional=True), (0, 0, 1), layers=20, repeat=(2, 1)),
    ):
        torch.testing.assert_close(other.energy, one.energy, rtol=1e-9, atol=0)
        torch.testing.assert_close(other.stress, one.stress, rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(other.elasticity, one.elasticity, rtol=1e-6, atol=1e-9)


def test_a_crystal_with_a_basis_breaks_two_bonds_an_atom_on_its_001_face() -> None:
    silicon = StillingerWeber(2.1683, 2.0951, 1.8, 21.0, 1.2, -1 / 3, 7.049556277, 0.6022245584, 4, 0)
    found = surface(silicon, diamond(5.431, "Si", conventional=True), (0, 0, 1), layers=16, relaxed=False)
    a = found.slab.lattice[0].norm() * 2**0.5
    # Two bonds of the four of each of the 2/a^2 surface atoms; the angles left are as good as before.
    assert float(found.energy) == pytest.approx(float(2 * 2.1683 / a**2), rel=1e-3)


def test_a_slab_that_only_its_symmetry_holds_says_so() -> None:
    simple_cubic = Crystal(3.6 * torch.eye(3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64), ["Ar"])
    assert not surface(ARGON, simple_cubic, (0, 0, 1), layers=6, repeat=(2, 2)).stable
    assert surface(ARGON, fcc(5.28, "Ar", conventional=True), (0, 0, 1), layers=6, repeat=(2, 2)).stable


def test_a_slab_of_a_crystal_with_a_basis_ends_where_its_cells_do() -> None:
    silicon = StillingerWeber(2.1683, 2.0951, 1.8, 21.0, 1.2, -1 / 3, 7.049556277, 0.6022245584, 4, 0)
    cube = diamond(5.431, "Si", conventional=True)
    area = 3**0.5 / 4 * float(stress_free(cube, silicon).lattice[0, 0]) ** 2
    # Atoms 0 and 1/4 1/4 1/4 stay together: across (1 1 1) three bonds an atom are cut, across (1 1 -1) only one.
    for normal, cut in (((1, 1, 1), 3), ((1, 1, -1), 1)):
        found = surface(silicon, cube, normal, layers=12, relaxed=False)
        assert float(found.energy) == pytest.approx(cut * 2.1683 / 2 / area, rel=1e-3)
