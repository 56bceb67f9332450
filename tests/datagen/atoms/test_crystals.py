"""Crystals, the cells made of them, and their stress-free state."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import b2, bcc, diamond, fcc, hcp, l1_2, stress_free
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.supercells import (
    interstitial,
    primitive,
    random_alloy,
    slab,
    substituted,
    supercell,
    symmetric_tilt,
    vacancy,
)

# Source: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, LJ_Ar_rc8.5125_shift
A0 = 5.276399659024652
ARGON = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="shifted")


def shells(crystal: Crystal, radius: float) -> list[list[float]]:
    """Distances of the neighbours of each atom, in order."""
    distance = crystal.neighbourhood(radius)[1].norm(dim=-1)
    return [sorted(d for d in row if d <= radius) for row in distance.tolist()]


@pytest.mark.parametrize(
    ("crystal", "nearest", "number", "volume"),
    [
        (fcc(4.0, "Ar"), 4 / math.sqrt(2), 12, 16),
        (fcc(4.0, "Ar", conventional=True), 4 / math.sqrt(2), 12, 16),
        (bcc(4.0, "Ar"), 2 * math.sqrt(3), 8, 32),
        (bcc(4.0, "Ar", conventional=True), 2 * math.sqrt(3), 8, 32),
        (diamond(4.0, "Ar"), math.sqrt(3), 4, 8),
        (diamond(4.0, "Ar", conventional=True), math.sqrt(3), 4, 8),
        (hcp(4.0, "Ar"), 4, 12, 64 / math.sqrt(2)),
        (hcp(4.0, "Ar", conventional=True), 4, 12, 64 / math.sqrt(2)),
        (b2(4.0, "Ni", "Al"), 2 * math.sqrt(3), 8, 32),
        (l1_2(4.0, "Al", "Ni"), 4 / math.sqrt(2), 12, 16),
    ],
)
def test_a_crystal_has_its_neighbours_and_its_volume(
    crystal: Crystal, nearest: float, number: int, volume: float
) -> None:
    for found in shells(crystal, nearest * 1.01):
        assert len(found) == number
        assert found == pytest.approx([nearest] * number, rel=1e-12)
    assert crystal.volume / crystal.n == pytest.approx(volume, rel=1e-12)


def test_argon_has_its_lattice_constant_in_any_cell() -> None:
    assert 2 * float(stress_free(fcc(5.4, "Ar"), ARGON).lattice[0, 1]) == pytest.approx(A0, abs=1e-12)
    cube = stress_free(fcc(5.1, "Ar", conventional=True), ARGON)
    assert (cube.lattice - A0 * torch.eye(3).double()).abs().max() < 1e-12


def test_a_distorted_cell_relaxes_to_the_same_crystal() -> None:
    F = torch.eye(3, dtype=torch.float64)
    F[0, 1], F[2, 2], F[1, 0] = 0.04, 1.03, -0.02
    crystal = stress_free(fcc(A0, "Ar").deformed(F), ARGON)
    assert shells(crystal, 1.3 * A0)[0] == pytest.approx(shells(fcc(A0, "Ar"), 1.3 * A0)[0], abs=1e-11)


def test_hexagonal_argon_has_the_ratio_of_its_own() -> None:
    crystal = stress_free(hcp(3.7, "Ar", c=6.2), ARGON)
    a, c = float(crystal.lattice[0].norm()), float(crystal.lattice[2, 2])
    assert c / a != pytest.approx(math.sqrt(8 / 3), rel=1e-5)  # a symmetry of nearest neighbours only
    assert c / a == pytest.approx(math.sqrt(8 / 3), rel=5e-3)
    assert float(crystal.lattice[1] @ crystal.lattice[0]) == pytest.approx(-a * a / 2, rel=1e-13)


def test_a_crystal_that_flies_apart_is_an_error() -> None:
    with pytest.raises(ValueError, match="crystal: got no stress-free cell in 3 steps, stress"):
        stress_free(fcc(7.5, "Ar"), ARGON, steps=3)


@pytest.mark.parametrize("a", [0.0, -1.0, math.nan])
def test_a_lattice_constant_that_is_none_is_named(a: float) -> None:
    with pytest.raises(ValueError, match="a: got"):
        fcc(a, "Ar")


def test_the_cube_is_a_supercell_of_the_primitive_cell_and_back() -> None:
    cube = supercell(fcc(4.0, "Ar"), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    torch.testing.assert_close(cube.lattice, 4 * torch.eye(3, dtype=torch.float64))
    assert cube.n == 4
    for crystal in (
        fcc(4.0, "Ar", conventional=True),
        diamond(4.0, "Ar", conventional=True),
        supercell(hcp(4, "Ar"), 2),
    ):
        smallest = primitive(crystal)
        assert smallest.volume / smallest.n == pytest.approx(crystal.volume / crystal.n, rel=1e-12)
        assert smallest.n == (2 if crystal.n != 4 else 1)
    assert primitive(l1_2(4.0, "Al", "Ni")).n == 4


@pytest.mark.parametrize("repeat", [0, [1, 2], [[1, 0, 0], [0, 1, 0], [0, 0, -1]], 1.5])
def test_a_repeat_that_makes_no_cell_is_named(repeat: object) -> None:
    with pytest.raises(ValueError, match="repeat: got"):
        supercell(fcc(4.0, "Ar"), repeat)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("normal", "area", "spacing", "missing"), [((0, 0, 1), 8, 2, 4), ((1, 1, 0), 8 * math.sqrt(2), math.sqrt(2), 5),
                                               ((1, 1, 1), 4 * math.sqrt(3), 4 / math.sqrt(3), 3)]
)  # fmt: skip
def test_a_slab_has_the_area_and_the_broken_bonds_of_its_surface(
    normal: tuple[int, int, int], area: float, spacing: float, missing: int
) -> None:
    plate = slab(fcc(4.0, "Ar", conventional=True), normal, layers=7, vacuum=12.0)
    assert plate.n == 7
    assert float(plate.lattice[0, 0] * plate.lattice[1, 1]) == pytest.approx(area, rel=1e-12)
    assert float(plate.lattice[2, 2]) == pytest.approx(7 * spacing + 12, rel=1e-12)
    assert plate.lattice[2, :2].abs().max() == 0
    nearest = [len(row) for row in shells(plate, 2.9)]
    assert sorted(nearest)[0] == 12 - missing
    assert nearest.count(12) >= 3
    four = slab(fcc(4.0, "Ar", conventional=True), normal, layers=7, vacuum=12.0, repeat=(2, 2))
    assert four.n == 28


def test_point_defects_and_alloys_are_crystals() -> None:
    crystal = supercell(fcc(4.0, "Cu"), 3)
    assert vacancy(crystal, 5).n == 26
    assert interstitial(crystal, [2.0, 2.0, 2.0], "H").elements[-1] == "H"
    assert substituted(crystal, 4, "Ni").elements[4] == "Ni"
    alloy = random_alloy(crystal, {"Cu": 1 / 3, "Ni": 2 / 3}, seed=3)
    assert alloy.elements.count("Ni") == 18
    assert alloy.elements == random_alloy(crystal, {"Cu": 1 / 3, "Ni": 2 / 3}, seed=3).elements
    assert alloy.elements != random_alloy(crystal, {"Cu": 1 / 3, "Ni": 2 / 3}, seed=4).elements
    with pytest.raises(ValueError, match="composition: got"):
        random_alloy(crystal, {"Cu": 0.5})
    with pytest.raises(ValueError, match="atom: got 27"):
        vacancy(crystal, 27)


def test_a_tilt_boundary_has_two_grains_that_mirror_each_other() -> None:
    boundary = symmetric_tilt(fcc(4.0, "Ar", conventional=True), (2, 1, 0), (0, 0, 1), thickness=2)
    diagonal = 4 * math.sqrt(5)
    torch.testing.assert_close(boundary.lattice, torch.diag(torch.tensor([diagonal, 4, 4 * diagonal])).double())
    assert 76 <= boundary.n <= 80  # two grains of 40, less what would overlap
    perfect = [len(row) for row in shells(boundary, 2.9)].count(12)
    assert perfect > 40
    distances = [row[0] for row in shells(boundary, 3.0)]
    assert min(distances) > 0.6 * 4 / math.sqrt(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lattice": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}, "lattice: got volume -1 A.3, wanted a right-handed triple"),
        ({"lattice": [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]]}, "lattice, positions: got numbers that are not"),
        ({"lattice": [[1, 0, 0], [0, 1]]}, r"lattice: got \[\[1, 0, 0\], \[0, 1\]\], wanted rows of three numbers"),
        ({"elements": "Ar"}, "elements: got 'Ar', wanted a list of chemical symbols"),
        ({"elements": [], "positions": torch.zeros(0, 3)}, r"elements: got \[\], wanted a list of chemical symbols"),
        ({"elements": [["Ar"]]}, r"elements: got \[\['Ar'\]\], wanted a list of chemical symbols"),
        ({"positions": [[0, 0, 0], [0, 0, 1]], "elements": ["Ar", "Ar"]}, "positions: got two atoms 0 A apart"),
    ],
)
def test_a_crystal_that_is_none_is_refused(change: dict, message: str) -> None:
    given = {"lattice": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "positions": [[0, 0, 0]], "elements": ["Ar"]}
    with pytest.raises(ValueError, match=message):
        Crystal(**(given | change))
