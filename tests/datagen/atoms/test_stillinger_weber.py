from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
import yaml

from datagen.atoms.crystals import diamond
from datagen.atoms.potential import Bonds, Potential
from datagen.atoms.stillinger_weber import StillingerWeber
from tests.datagen.atoms.oracle import potential_file
from tests.datagen.atoms.triplets import agrees_with_lammps, answer, bonds_of

# LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json: Si.sw.
A0, ECOH = 5.430949778405213, -4.336599999917262  # A, eV
C11, C12, C44 = 151.4244906679661, 76.42209004982928, 109.75649032427724  # GPa, atoms follow F
GPA = 160.21766208  # in one eV/A^3, of that file
F0 = [
    [1.0285932308542494, 0.005117195580031521, -0.02561118030465618],
    [-0.01655467935220719, 0.9818690197767782, -0.01098459888348359],
    [0.03013006796423605, -0.040919836000832016, 0.9873624392764464],
]
E0 = -4.31041826070897  # eV an atom, atoms follow F0
P0 = [
    [0.01129356265197179, -0.007312336493112677, 0.0013873065007986847],
    [-0.008021892138944843, -0.011625752178563606, -0.03626534235119673],
    [0.0019266005700458923, -0.03629058141117899, -0.00832790392101293],
]  # eV/A^3

# Two elements, every parameter of a bond or triplet its own, non-integer exponents among them.
TWO = """
X X X 1.1 2.0 1.7 20.0 1.2 -0.30 7.0 0.6 4.0 0.0 0.0
Y Y Y 0.9 1.8 1.9 15.0 1.1 -0.50 6.0 0.7 4.5 1.5 0.0
X Y Y 1.3 1.9 1.8 18.0 1.3 -0.20 7.5 0.5 4.2 0.5 0.0
Y X X 1.3 1.9 1.8 17.0 1.4 -0.40 7.5 0.5 4.2 0.5 0.0
X X Y 1.0 0.0 0.0 16.0 0.0 -0.35 0.0 0.0 0.0 0.0 0.0
X Y X 2.0 0.0 0.0  8.0 0.0 -0.35 0.0 0.0 0.0 0.0 0.0
Y X Y 1.2 0.0 0.0 14.0 0.0 -0.25 0.0 0.0 0.0 0.0 0.0
Y Y X 1.2 0.0 0.0 14.0 0.0 -0.25 0.0 0.0 0.0 0.0 0.0
"""


@pytest.fixture
def silicon(project):
    config = yaml.safe_load((project / "configs/potential/stillinger_weber_silicon.yaml").read_text())
    del config["_target_"]
    return StillingerWeber(**config)


@pytest.fixture
def two(tmp_path):
    (tmp_path / "XY.sw").write_text(TWO)
    return StillingerWeber.from_file(tmp_path / "XY.sw", ("X", "Y"), masses=(1.0, 2.0))


def one_atom(potential, vectors, own=0, other=None):
    """An atom with bonds (K, 3)."""
    vector = torch.as_tensor(vectors, dtype=torch.float64)[None]
    other = torch.zeros(1, vector.shape[1], dtype=torch.int64) if other is None else torch.as_tensor(other)[None]
    return Bonds(vector, torch.tensor([own]), other)


def definition(table, own, other, vectors):
    """The energy of an atom as the potential is written, a bond and a pair of bonds at a time."""
    lengths = [math.hypot(*vector) for vector in vectors]

    def screen(j, factor):
        p = table[own, other[j], other[j]]
        return math.exp(factor * p["sigma"] / (lengths[j] - p["a"] * p["sigma"])) if bonded(j) else 0.0

    def bonded(j):
        p = table[own, other[j], other[j]]
        return lengths[j] < p["a"] * p["sigma"]

    energy = 0.0
    for j, r in enumerate(lengths):
        p = table[own, other[j], other[j]]
        x = p["sigma"] / r
        energy += 0.5 * p["A"] * p["epsilon"] * (p["B"] * x ** p["p"] - x ** p["q"]) * screen(j, 1.0)
    for j, k in itertools.combinations(range(len(vectors)), 2):
        p = table[own, other[j], other[k]]
        cosine = sum(a * b for a, b in zip(vectors[j], vectors[k], strict=True)) / lengths[j] / lengths[k]
        gammas = [table[own, other[i], other[i]]["gamma"] for i in (j, k)]
        both = screen(j, gammas[0]) * screen(k, gammas[1])
        energy += p["epsilon"] * p["lmbda"] * (cosine - p["costheta0"]) ** 2 * both
    return energy


def test_silicon_has_the_lattice_energy_and_stiffness_of_the_reference(silicon):
    for conventional in (False, True):
        crystal = diamond(A0, "Si", conventional)
        got = answer(silicon, crystal)
        assert got.energy.tolist() == pytest.approx([ECOH] * crystal.n, rel=1e-12)
        assert float(got.forces.abs().max()) < 1e-12
        assert float(got.stress.abs().max()) < 1e-12
        bonds, R, _ = bonds_of(silicon, crystal)
        unit = torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
        change = silicon.product(bonds, torch.einsum("ckL,naL->cnak", unit, R))
        C = torch.einsum("cnai,naJ->iJc", change, R).reshape(3, 3, 3, 3) * GPA / crystal.volume
        # The reference took differences of the stress.
        assert float(C[0, 0, 0, 0]) == pytest.approx(C11, rel=1e-9)
        assert float(C[0, 0, 1, 1]) == pytest.approx(C12, rel=1e-9)
        assert float(C[0, 1, 0, 1]) == pytest.approx(C44, rel=1e-9)
        assert torch.allclose(C, C.permute(1, 0, 2, 3), rtol=0, atol=1e-10)


def test_deformed_silicon_has_the_energy_and_stress_of_the_reference(silicon):
    crystal = diamond(A0, "Si", conventional=True)
    bonds, R, _ = bonds_of(silicon, crystal, torch.tensor(F0, dtype=torch.float64))
    sites = silicon(bonds)
    P = torch.einsum("nki,nkJ->iJ", sites.gradient, R) / crystal.volume
    assert float(sites.energy.mean()) == pytest.approx(E0, rel=1e-12)
    assert P.numpy() == pytest.approx(torch.tensor(P0, dtype=torch.float64).numpy(), rel=0, abs=1e-12 * 0.0363)


def test_every_case_of_the_reference(silicon, shared):
    file = shared / "reference" / "atoms_reference.json"
    if not file.is_file():
        pytest.skip("no reference file")
    crystal = diamond(A0, "Si", conventional=True)
    for case in json.loads(file.read_text())["deformation_cases"]["Si_SW"]["cases"]:
        bonds, R, _ = bonds_of(silicon, crystal, torch.tensor(case["F"], dtype=torch.float64))
        sites = silicon(bonds)
        P = torch.einsum("nki,nkJ->iJ", sites.gradient, R) / crystal.volume
        wanted = torch.tensor(case["clamped"]["P_eV_A3"], dtype=torch.float64)
        assert float(sites.energy.mean()) == pytest.approx(case["clamped"]["E_per_atom"], rel=1e-12)
        assert float((P - wanted).abs().max()) <= 1e-12 * float(wanted.abs().max())


def test_two_atoms_are_bound_by_epsilon_at_the_sixth_root_of_two(silicon):
    """The two-body term was made so: Stillinger and Weber 1985, below equation 2.3."""
    r = 2 ** (1 / 6) * 2.0951
    sites = silicon(one_atom(silicon, [[0, 0, r]]))
    assert 2 * float(sites.energy) == pytest.approx(-2.1683, rel=1e-9)
    assert float(sites.gradient.abs().max()) < 1e-8
    assert float(silicon.product(one_atom(silicon, [[0, 0, r]]), torch.tensor([[[[0, 0, 1.0]]]]).double())[..., 2]) > 0


def test_bonds_at_the_tetrahedral_angle_have_no_three_body_energy():
    potential = StillingerWeber(2.0, 2.0, 1.8, 21.0, 1.2, -1 / 3, 7.0, 0.6, 4, 0)
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    lengths = torch.tensor([[1.2], [1.25], [1.3], [1.4]], dtype=torch.float64)
    bonds = one_atom(potential, corners * lengths)
    alone = sum(float(potential(one_atom(potential, bond[None])).energy) for bond in bonds.vector[0])
    sites = potential(bonds)
    assert float(sites.energy) == pytest.approx(alone, rel=1e-14)
    across = torch.linalg.cross(sites.gradient[0], corners)
    assert float(across.abs().max()) < 1e-13 * float(sites.gradient.abs().max())
    bent = bonds._replace(vector=bonds.vector + torch.tensor([[0.1, 0, 0], *[[0, 0, 0]] * 3]).double())
    alone = sum(float(potential(one_atom(potential, bond[None])).energy) for bond in bent.vector[0])
    assert float(potential(bent).energy) > alone


def test_energy_is_that_of_the_definition_bond_by_bond(two):
    names = ("epsilon", "sigma", "a", "lmbda", "gamma", "costheta0", "A", "B", "p", "q")
    table = {}
    for line in TWO.split("\n")[1:-1]:
        words = line.split()
        table[tuple("XY".index(word) for word in words[:3])] = dict(zip(names, map(float, words[3:]), strict=False))
    generator = torch.Generator().manual_seed(0)
    for own in (0, 1):
        other = [0, 1, 1, 0, 1, 0]
        vectors = torch.randn(6, 3, generator=generator, dtype=torch.float64)
        vectors = vectors / vectors.norm(dim=-1, keepdim=True) * torch.linspace(1.6, 3.6, 6).double()[:, None]
        wanted = definition(table, own, other, vectors.tolist())
        assert float(two(one_atom(two, vectors, own, other)).energy) == pytest.approx(wanted, rel=1e-13)


def test_two_elements_keep_the_promises_of_a_potential(two, close):
    generator = torch.Generator().manual_seed(1)
    vector = 2.4 * torch.randn(2, 3, 7, 3, generator=generator, dtype=torch.float64)
    vector = vector / vector.norm(dim=-1, keepdim=True) * (1.7 + 1.6 * torch.rand(2, 3, 7, 1, generator=generator))
    other = torch.randint(0, 2, (2, 3, 7), generator=generator)
    bonds = Bonds(vector.double(), torch.tensor([0, 1, 0]), other)
    variable = bonds.vector.clone().requires_grad_()
    (written,) = torch.autograd.grad(two(bonds._replace(vector=variable)).energy.sum(), variable)
    close(two(bonds).gradient, written, 1e-12)
    hessian = two.hessian(bonds)
    close(hessian, hessian.mT, 1e-13)
    moves = torch.randn(5, *bonds.vector.shape, generator=generator, dtype=torch.float64)
    close(two.product(bonds, moves), Potential.product(two, bonds, moves), 1e-13)
    order = torch.randperm(7, generator=generator)
    mixed = bonds._replace(vector=bonds.vector[:, :, order], other=other[..., order])
    close(two(mixed).energy, two(bonds).energy, 1e-13)
    close(two(mixed).gradient, two(bonds).gradient[:, :, order], 1e-13)
    alone = [two(bonds._replace(vector=v, other=o)).energy for v, o in zip(bonds.vector, other, strict=True)]
    close(torch.stack(alone), two(bonds).energy, 1e-14)


def test_nothing_is_singular_at_the_cutoff(silicon, two):
    for potential in (silicon, two):
        rc = potential.cutoff
        for r in (rc * (1 - 1e-4), math.nextafter(rc, 0), rc, math.nextafter(rc, 10), 1.001 * rc):
            bonds = one_atom(potential, [[0, 0, r], [r, 0, 0], [0, 0.6 * rc, 0]])
            sites, hessian = potential(bonds), potential.hessian(bonds)
            assert bool(sites.energy.isfinite().all() and sites.gradient.isfinite().all() and hessian.isfinite().all())
            assert float(sites.gradient[:, :2].abs().max()) < 1e-100
            assert float(hessian[..., :6, :6].abs().max()) < 1e-100


def test_parameters_can_be_differentiated(silicon):
    bonds, _, _ = bonds_of(silicon, diamond(5.3, "Si"))
    silicon.epsilon.requires_grad_()
    energy = silicon(bonds).energy.sum()
    (slope,) = torch.autograd.grad(energy, silicon.epsilon)
    assert float(slope) == pytest.approx(
        float(energy.detach()) / 2.1683, rel=1e-13
    )  # energy is proportional to epsilon


def test_the_file_of_silicon_is_the_config(silicon):
    path = potential_file("Si.sw")
    if path is None:
        pytest.skip("no Si.sw here")
    read = StillingerWeber.from_file(path, ("Si",))
    assert read.elements == silicon.elements
    assert read.masses == silicon.masses
    assert read.cutoff == silicon.cutoff
    for name, value in silicon.named_buffers():
        assert torch.equal(value, read.get_buffer(name)), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("X Y X 2.0", "X Y X 1.9"), "epsilon lmbda: got values that order the bonds of a triplet"),
        (("Y X Y 1.2 0.0 0.0 14.0 0.0 -0.25", "Y X Y 1.2 0 0 14 0 -0.3"), "costheta0: got values that order the bonds"),
        (("Y X X 1.3 1.9", "Y X X 1.3 2.9"), "sigma: got values that order the ends of a bond"),
        (("X X X 1.1 2.0 1.7 20.0 1.2", "X X X 1.1 2.0 1.7 20.0 0.0"), "gamma: got 0 for a bond with a three-body"),
        (("Y Y Y 0.9", "Y Y Y -0.9"), "epsilon: got -0.9, wanted no negative number"),
        (("X Y Y 1.3 1.9 1.8 18.0 1.3 -0.20 7.5 0.5 4.2 0.5 0.0\n", ""), r"XY\.sw: no entry X Y Y"),
    ],
)
def test_parameters_that_are_no_potential_are_refused(tmp_path, change, message):
    assert change[0] in TWO
    (tmp_path / "XY.sw").write_text(TWO.replace(*change))
    with pytest.raises(ValueError, match=message):
        StillingerWeber.from_file(tmp_path / "XY.sw", ("X", "Y"), masses=(1.0, 2.0))


def test_elements_without_bonds_between_them_do_not_see_each_other(tmp_path):
    text = TWO
    for old in ("X Y Y 1.3 1.9 1.8 18.0", "Y X X 1.3 1.9 1.8 17.0"):
        text = text.replace(old, f"{old[:5]} 1.3 0.0 0.0 0.0")
    (tmp_path / "XY.sw").write_text(text)
    potential = StillingerWeber.from_file(tmp_path / "XY.sw", ("X", "Y"), masses=(1.0, 2.0))
    vectors = [[0, 0, 2.0], [2.1, 0, 0], [0.0, 1.9, 0.3]]
    full = potential(one_atom(potential, vectors, 0, [0, 0, 1]))
    pair = potential(one_atom(potential, vectors[:2], 0, [0, 0]))
    assert float(full.energy) == pytest.approx(float(pair.energy), rel=1e-15)
    assert not full.gradient[:, 2].any()
    assert bool(potential.hessian(one_atom(potential, vectors, 0, [0, 0, 1])).isfinite().all())


@pytest.mark.oracle
@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize(
    ("file", "elements", "a"),
    [
        ("Si.sw", ("Si",), 5.43),
        ("CdTe.sw", ("Cd", "Te"), 6.4),
        ("GaN.sw", ("Ga", "N"), 4.5),
        ("CdTeZnSeHgS0.sw", ("Cd",), 6.4),
    ],
)
def test_lammps_answers_alike(file, elements, a, repeat):
    agrees_with_lammps(StillingerWeber.from_file, "sw", file, elements, a, repeat, 1e-9)


@pytest.mark.oracle
def test_lammps_answers_alike_up_to_the_digits_in_which_a_file_is_symmetric():
    """The file prints 7 digits of strengths that should not order bonds; LAMMPS takes the one it meets first."""
    elements = ("Cd", "Te", "Zn")
    agrees_with_lammps(StillingerWeber.from_file, "sw", "CdTeZnSeHgS0.sw", elements, 6.2, 2, 1e-6)
