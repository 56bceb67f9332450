from __future__ import annotations

import math

import pytest
import torch
import yaml

from datagen.atoms.crystals import diamond
from datagen.atoms.potential import Bonds
from datagen.atoms.tersoff import Tersoff
from tests.datagen.atoms.oracle import potential_file
from tests.datagen.atoms.triplets import agrees_with_lammps, answer, bonds_of

A, B, L1, L2 = 1830.8, 471.18, 2.4799, 1.7322  # silicon, as in the config

# Two elements, m of both kinds, the cutoff of a triplet not that of its bond.
NAMES = ("m", "gamma", "lambda3", "c", "d", "costheta0", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
TWO = """
X X X 3.0 1.0 1.3 4.8 2.0 0.0  0.9 0.3 1.3 95.0 2.9 0.20 3.2 3200.0
Y Y Y 1.0 0.8 0.9 1.9 0.7 -0.3 1.1 0.9 1.4 90.0 2.8 0.30 3.1 2500.0
X Y Y 3.0 0.9 1.1 3.0 1.5 -0.2 5.0 0.4 1.2 99.0 2.9 0.25 3.3 2900.0
Y X X 1.0 1.1 0.7 3.5 1.2 -0.5 0.8 0.5 1.5 97.0 2.9 0.25 3.3 2900.0
X X Y 1.0 0.7 0.5 2.5 1.1 -0.4 0.0 0.0 0.0  0.0 2.7 0.20 0.0    0.0
X Y X 3.0 0.6 0.4 2.2 1.6 0.3  0.0 0.0 0.0  0.0 3.0 0.30 0.0    0.0
Y X Y 3.0 1.2 0.6 2.8 1.3 -0.1 0.0 0.0 0.0  0.0 2.6 0.20 0.0    0.0
Y Y X 1.0 0.5 0.8 2.1 0.9 0.2  0.0 0.0 0.0  0.0 3.1 0.10 0.0    0.0
"""


@pytest.fixture
def silicon(project):
    config = yaml.safe_load((project / "configs/potential/tersoff_silicon.yaml").read_text())
    del config["_target_"]
    return Tersoff(**config)


@pytest.fixture
def two(tmp_path):
    (tmp_path / "XY.tersoff").write_text(TWO)
    return Tersoff.from_file(tmp_path / "XY.tersoff", ("X", "Y"), masses=(1.0, 2.0))


def one_atom(vectors, own=0, other=None):
    """An atom with bonds (K, 3)."""
    vector = torch.as_tensor(vectors, dtype=torch.float64)[None]
    other = torch.zeros(1, vector.shape[1], dtype=torch.int64) if other is None else torch.as_tensor(other)[None]
    return Bonds(vector, torch.tensor([own]), other)


def definition(table, own, other, vectors):
    """The energy of an atom as the potential is written, a bond and a pair of bonds at a time."""
    lengths = [math.hypot(*vector) for vector in vectors]

    def step(p, r):
        if r < p["R"] - p["D"]:
            return 1.0
        return 0.5 - 0.5 * math.sin(0.5 * math.pi * (r - p["R"]) / p["D"]) if r < p["R"] + p["D"] else 0.0

    energy = 0.0
    for j, r in enumerate(lengths):
        bond, zeta = table[own, other[j], other[j]], 0.0
        for k, s in enumerate(lengths):
            if j != k:
                p = table[own, other[j], other[k]]
                cosine = sum(a * b for a, b in zip(vectors[j], vectors[k], strict=True)) / r / s
                c, d = p["c"], p["d"]
                g = p["gamma"] * (1 + (c / d) ** 2 - c**2 / (d**2 + (cosine - p["costheta0"]) ** 2))
                zeta += step(p, s) * g * math.exp((p["lambda3"] * (r - s)) ** p["m"])
        order = (1 + (bond["beta"] * zeta) ** bond["n"]) ** (-0.5 / bond["n"])
        pair = bond["A"] * math.exp(-bond["lambda1"] * r) - order * bond["B"] * math.exp(-bond["lambda2"] * r)
        energy += 0.5 * step(bond, r) * pair
    return energy


def test_silicon_has_its_published_cohesive_energy_and_lattice_constant(silicon):
    """Tersoff 1988, table II: 4.63 eV an atom at 5.432 A."""
    energies = {a: float(answer(silicon, diamond(a, "Si")).energy[0]) for a in (5.431, 5.432, 5.433)}
    assert min(energies, key=energies.get) == 5.432
    assert energies[5.432] == pytest.approx(-4.63, abs=0.005)
    pressures = [float(answer(silicon, diamond(a, "Si", True)).stress.trace()) for a in (5.4315, 5.4325)]
    assert pressures[0] < 0 < pressures[1]


def test_two_atoms_are_a_morse_molecule(silicon):
    """Without a third atom the bond order is 1: E = A exp(-lambda1 r) - B exp(-lambda2 r), minimum in closed form."""
    r = math.log(A * L1 / (B * L2)) / (L1 - L2)
    bonds = one_atom([[0, 0, r]])
    sites = silicon(bonds)
    assert 2 * float(sites.energy) == pytest.approx(A * math.exp(-L1 * r) - B * math.exp(-L2 * r), rel=1e-14)
    assert float(sites.gradient.abs().max()) < 1e-13
    stiffness = 0.5 * (A * L1**2 * math.exp(-L1 * r) - B * L2**2 * math.exp(-L2 * r))
    wanted = torch.diag(torch.tensor([0, 0, stiffness], dtype=torch.float64))
    assert torch.allclose(silicon.hessian(bonds)[0], wanted, rtol=1e-13, atol=1e-12)


def test_a_third_atom_that_comes_in_over_the_cutoff_does_nothing_at_first(silicon):
    for gap in (1e-3, 1e-6, 1e-9, 0.0, -1e-9):
        bonds = one_atom([[0, 0, 2.3], [0, (3.0 - gap), 0]])
        sites, hessian = silicon(bonds), silicon.hessian(bonds)
        assert bool(sites.gradient.isfinite().all() and hessian.isfinite().all())
        alone = silicon(one_atom([[0, 0, 2.3]]))
        assert abs(float(sites.energy - alone.energy)) <= 10 * max(gap, 0) ** (2 * 0.78734) + 1e-15


def test_energy_is_that_of_the_definition_bond_by_bond(two):
    table = {}
    for line in TWO.split("\n")[1:-1]:
        words = line.split()
        table[tuple("XY".index(word) for word in words[:3])] = dict(zip(NAMES, map(float, words[3:]), strict=True))
    generator = torch.Generator().manual_seed(0)
    for own in (0, 1):
        other = [0, 1, 1, 0, 1, 0]
        vectors = torch.randn(6, 3, generator=generator, dtype=torch.float64)
        vectors = vectors / vectors.norm(dim=-1, keepdim=True) * torch.linspace(1.8, 3.15, 6).double()[:, None]
        wanted = definition(table, own, other, vectors.tolist())
        assert float(two(one_atom(vectors, own, other)).energy) == pytest.approx(wanted, rel=1e-13)


def test_two_elements_keep_the_promises_of_a_potential(two, close):
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(2, 3, 7, 3, generator=generator, dtype=torch.float64)
    vector = vector / vector.norm(dim=-1, keepdim=True) * (1.8 + 1.6 * torch.rand(2, 3, 7, 1, generator=generator))
    other = torch.randint(0, 2, (2, 3, 7), generator=generator)
    bonds = Bonds(vector.double(), torch.tensor([0, 1, 0]), other)
    variable = bonds.vector.clone().requires_grad_()
    (written,) = torch.autograd.grad(two(bonds._replace(vector=variable)).energy.sum(), variable)
    close(two(bonds).gradient, written, 1e-12)
    hessian = two.hessian(bonds)
    close(hessian, hessian.mT, 1e-13)
    order = torch.randperm(7, generator=generator)
    mixed = bonds._replace(vector=bonds.vector[:, :, order], other=other[..., order])
    close(two(mixed).energy, two(bonds).energy, 1e-13)
    close(two(mixed).gradient, two(bonds).gradient[:, :, order], 1e-13)
    alone = [two(bonds._replace(vector=v, other=o)).energy for v, o in zip(bonds.vector, other, strict=True)]
    close(torch.stack(alone), two(bonds).energy, 1e-14)


def test_how_long_the_list_of_neighbours_is_does_not_matter(silicon, close):
    crystal = diamond(5.3, "Si", conventional=True)
    bonds, _, _ = bonds_of(silicon, crystal)
    which, vector = crystal.neighbourhood(8.0)
    order = torch.randperm(vector.shape[1], generator=torch.Generator().manual_seed(0))
    longer = Bonds(vector[:, order], bonds.own, bonds.own[which][:, order])
    assert longer.vector.shape[1] > 4 * bonds.vector.shape[1]
    close(silicon(longer).energy, silicon(bonds).energy, 1e-14)
    back = order.argsort()[: bonds.vector.shape[1]]
    close(silicon(longer).gradient[:, back], silicon(bonds).gradient, 1e-13)
    move = torch.randn(longer.vector.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    product = silicon.product(longer, move[None])[0]
    close(product[:, back], silicon.product(bonds, move[None][:, :, back])[0], 1e-13)


def test_crowded_bonds_and_steep_powers_stay_finite():
    """Silicon with n = 22.956, J. Tersoff, Phys. Rev. B 37 (1988) 6991, doi:10.1103/PhysRevB.37.6991."""
    first = Tersoff(3, 1, 1.3258, 4.8381, 2.0417, 0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7)
    long = Tersoff(3, 1, 4.0, 4.8381, 2.0417, 0, 22.956, 0.33675, 1.3258, 95.373, 6.0, 0.2, 3.2394, 3264.7)
    for potential in (first, long):
        directions = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        vectors = directions / directions.norm(dim=-1, keepdim=True) * torch.linspace(0.5, 5.9, 12).double()[:, None]
        sites, hessian = potential(one_atom(vectors)), potential.hessian(one_atom(vectors))
        assert bool(sites.energy.isfinite().all() and sites.gradient.isfinite().all() and hessian.isfinite().all())
    # Where the bond order is a step, it is 1 below and (beta zeta)^(-1/2) above.
    zeta = torch.tensor([1.0, 2.0, 4.0, 1e3, 1e30], dtype=torch.float64)
    order, slope = first._bond_order(zeta, None)
    x = 0.33675 * zeta
    assert torch.allclose(order, torch.where(x < 1, 1.0, x**-0.5), rtol=1e-3, atol=0)
    assert torch.allclose(slope[3:], -0.5 * order[3:] / zeta[3:], rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("X X Y 1.0", "X X Y 2.0"), r"m: got \[1\.0, 2\.0, 3\.0\], wanted 1 or 3"),
        (("1.3 95.0 2.9 0.20", "1.3 95.0 2.9 0.00"), r"D: got 0\.0, wanted a positive number"),
        (("1.3 95.0 2.9 0.20", "1.3 95.0 0.1 0.20"), "D: got a width above R, wanted at most R"),
        (("X X X 3.0 1.0 1.3 4.8 2.0 0.0  0.9", "X X X 3.0 1.0 1.3 4.8 2.0 0.0 0.0"), r"n: got 0\.0 for a bond"),
        (("3.3 2900.0\nY", "3.3 2901.0\nY"), "A: got values that order the ends of a bond"),
        (("X Y X 3.0", "X Z X 3.0"), r"XY\.tersoff: no entry X Y X, wanted all triplets"),
    ],
)
def test_parameters_that_are_no_potential_are_refused(tmp_path, change, message):
    assert change[0] in TWO
    (tmp_path / "XY.tersoff").write_text(TWO.replace(*change))
    with pytest.raises(ValueError, match=message):
        Tersoff.from_file(tmp_path / "XY.tersoff", ("X", "Y"), masses=(1.0, 2.0))


def test_the_file_of_silicon_is_the_config(silicon):
    path = potential_file("SiCGe.tersoff")
    if path is None:
        pytest.skip("no SiCGe.tersoff here")
    read = Tersoff.from_file(path, ("Si(C)",))
    assert read.masses == silicon.masses
    assert read.cutoff == silicon.cutoff
    for name, value in silicon.named_buffers():
        assert torch.equal(value, read.get_buffer(name)), name


@pytest.mark.oracle
@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize(
    ("file", "elements", "a"),
    [
        ("Si.tersoff", ("Si",), 5.43),
        ("SiCGe.tersoff", ("Si(C)",), 5.0),
        ("SiCGe.tersoff", ("Si(D)", "Ge"), 5.4),
        ("SiC.tersoff", ("Si", "C"), 4.3),
        ("GaN.tersoff", ("Ga", "N"), 4.5),
        ("SiO.tersoff", ("Si", "O"), 4.2),
        ("BNC.tersoff", ("C", "B", "N"), 3.6),
    ],
)
def test_lammps_answers_alike(file, elements, a, repeat):
    agrees_with_lammps(Tersoff.from_file, "tersoff", file, elements, a, repeat, 1e-9)
