"""Pair potentials against closed forms, exact lattice sums and LAMMPS."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.morse import Morse
from datagen.atoms.pair import PairPotential, Truncation
from datagen.atoms.potential import Bonds
from tests.datagen.atoms.oracle import evaluate

ARGON = {"epsilon": 0.0104, "sigma": 3.405, "cutoff": 8.5125}
COPPER = {"D": 0.3429, "alpha": 1.3588, "r0": 2.866, "cutoff": 10.0}  # Girifalco and Weizer 1959, table I
MIXED = {  # a mixture of no symmetry
    "epsilon": [[0.0104, 0.0156], [0.0156, 0.0052]],
    "sigma": [[3.405, 2.724], [2.724, 2.9964]],
    "cutoff": [[8.5125, 6.81], [6.81, 7.491]],
}
INNER = [[6.0, 5.0], [5.0, 5.5]]
GPA = 160.21766208  # in one eV/A^3, as the reference has it


def bond(*lengths: float) -> Bonds:
    """One atom of the first element with bonds of these lengths, along no axis."""
    axis = torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64) / 7
    vector = torch.tensor(lengths, dtype=torch.float64)[None, :, None] * axis
    return Bonds(vector, torch.zeros(1, dtype=torch.int64), torch.zeros(1, len(lengths), dtype=torch.int64))


def phi(potential: PairPotential, *lengths: float) -> tuple[Tensor, Tensor, Tensor]:
    """phi, phi' and phi'' as they are truncated, (k,) each."""
    bonds = Bonds(bond(*lengths).vector[0][:, None, None], torch.zeros(1).long(), torch.zeros(1, 1).long())
    axis = bonds.vector / bonds.vector.norm(dim=-1, keepdim=True)
    sites = potential(bonds)
    along = [
        2 * (answer * axis).sum((-3, -2, -1)) for answer in (sites.gradient, potential.product(bonds, axis[None])[0])
    ]
    return 2 * sites.energy[:, 0], along[0], along[1]


def bonds_of(potential: PairPotential, crystal: Crystal, radius: float | None = None) -> tuple[Bonds, Tensor]:
    """Bonds (n, K) of a crystal, and which atom each leads to."""
    which, vector = crystal.neighbourhood(radius or potential.cutoff)
    kinds = potential.species(crystal.elements)
    return Bonds(vector, kinds, kinds[which]), which


def statics(potential: PairPotential, crystal: Crystal) -> tuple[Tensor, Tensor, Tensor]:
    """Energy of each atom, forces, Cauchy stress."""
    bonds, which = bonds_of(potential, crystal)
    energy, gradient = potential(bonds)
    forces = gradient.sum(1).index_add(0, which.flatten(), gradient.flatten(0, 1), alpha=-1)
    return energy, forces, torch.einsum("ikp,ikq->pq", gradient, bonds.vector) / crystal.volume


def moduli(potential: PairPotential, crystal: Crystal) -> Tensor:
    """A_iJkL = (1/V) sum_i R_J H R_L of a crystal without inner degrees of freedom, (3, 3, 3, 3)."""
    bonds, _ = bonds_of(potential, crystal)
    units = torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
    change = potential.product(bonds, torch.einsum("cpq,nkq->cnkp", units, bonds.vector))
    return torch.einsum("cnkp,nkq->pqc", change, bonds.vector).unflatten(-1, (3, 3)) / crystal.volume


@pytest.mark.parametrize("which", ["lennard_jones", "morse"])
@pytest.mark.parametrize("truncation", list(Truncation))
def test_pair_functions_are_those_of_the_text(which: str, truncation: Truncation) -> None:
    inner = 6.5 if truncation is Truncation.SMOOTH else None
    r = torch.tensor([3.1, 4.4, 6.4, 6.6, 7.7, 8.5], dtype=torch.float64, requires_grad=True)
    if which == "lennard_jones":
        potential = LennardJones(**ARGON, truncation=truncation, inner=inner)

        def raw(r: Tensor) -> Tensor:
            return 4 * 0.0104 * ((3.405 / r) ** 12 - (3.405 / r) ** 6)
    else:
        potential = Morse(**COPPER | {"cutoff": 8.5125}, truncation=truncation, inner=inner)

        def raw(r: Tensor) -> Tensor:
            return 0.3429 * (torch.exp(-2 * 1.3588 * (r - 2.866)) - 2 * torch.exp(-1.3588 * (r - 2.866)))

    def slope(x: float, order: int = 1) -> Tensor:
        r = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = raw(r)
        for _ in range(order):
            (value,) = torch.autograd.grad(value, r, create_graph=True)
        return value.detach()

    rc = torch.tensor(8.5125, dtype=torch.float64)
    match truncation:
        case Truncation.CUT:
            wanted = raw(r)
        case Truncation.SHIFTED:
            wanted = raw(r) - raw(rc)
        case Truncation.FORCE_SHIFTED:
            wanted = raw(r) - raw(rc) - (r - rc) * slope(8.5125)
        case Truncation.SMOOTH:
            T = 8.5125 - 6.5
            u, f, a = (rc - r) / T, -slope(6.5), -T * slope(6.5, 2)
            tail = T * u**3 * ((f + a / 3) - u * (f / 2 + a / 4))
            wanted = torch.where(r < 6.5, raw(r) - raw(torch.tensor(6.5).double()) + T * (f / 2 + a / 12), tail)
    (first,) = torch.autograd.grad(wanted.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    for got, expected in zip(phi(potential, *r.tolist()), (wanted, first, second), strict=True):
        assert torch.allclose(got, expected.detach(), rtol=1e-12, atol=1e-16)
    assert potential.continuous_force == (truncation in (Truncation.FORCE_SHIFTED, Truncation.SMOOTH))


@pytest.mark.parametrize(
    ("truncation", "smoothness"), [("cut", 0), ("shifted", 1), ("force_shifted", 2), ("smooth", 3)]
)
def test_truncations_are_as_smooth_at_the_cutoff_as_they_say(truncation: str, smoothness: int) -> None:
    potential = LennardJones(**ARGON, truncation=truncation, inner=6.0 if truncation == "smooth" else None)
    values = torch.stack(phi(potential, 8.5125 * (1 - 1e-9))).flatten().abs()
    scale = torch.stack(phi(LennardJones(**ARGON, truncation="cut"), 8.5125 * (1 - 1e-9))).flatten().abs()
    assert (values / scale < 1e-6).tolist() == [True] * smoothness + [False] * (3 - smoothness)


def test_smooth_force_and_its_slope_pass_the_inner_radius() -> None:
    for potential in (
        LennardJones(**ARGON, truncation="smooth", inner=6.0),
        Morse(**COPPER, truncation="smooth", inner=6.0),
    ):
        for value in phi(potential, 6 * (1 - 1e-10), 6 * (1 + 1e-10)):
            assert float(value[0]) == pytest.approx(float(value[1]), rel=1e-8)


@pytest.mark.parametrize("truncation", list(Truncation))
def test_a_mixture_of_equal_elements_is_one_element(truncation: Truncation) -> None:
    inner = 6.0 if truncation is Truncation.SMOOTH else None
    one = LennardJones(**ARGON, truncation=truncation, inner=inner)
    two = LennardJones(**ARGON, truncation=truncation, inner=inner, elements=["A", "B"], masses=[1, 2])
    a, (which, vector) = one.cutoff, fcc(5.27, "Ar", True).neighbourhood(one.cutoff)
    own = torch.tensor([0, 1, 1, 0])
    assert two.cutoff == a
    got, wanted = two(Bonds(vector, own, own[which])), one(Bonds(vector, 0 * own, 0 * which))
    assert torch.allclose(got.energy, wanted.energy, rtol=1e-14)
    assert torch.allclose(got.gradient, wanted.gradient, rtol=1e-14, atol=1e-18)


@pytest.mark.parametrize("truncation", list(Truncation))
def test_each_pair_of_elements_has_its_own_parameters(truncation: Truncation) -> None:
    smooth = truncation is Truncation.SMOOTH
    mixture = LennardJones(
        **MIXED, truncation=truncation, elements=["A", "B"], masses=[40, 20], inner=INNER if smooth else None
    )
    lengths = [3.0, 5.3, 6.7, 7.4, 8.0, 9.0]
    for i in range(2):
        for j in range(2):
            pair = LennardJones(
                *(MIXED[name][i][j] for name in ("epsilon", "sigma", "cutoff")),
                truncation=truncation, inner=INNER[i][j] if smooth else None,
            )  # fmt: skip
            bonds = bond(*lengths)
            mixed = mixture(bonds._replace(own=bonds.own + i, other=bonds.other + j))
            assert torch.allclose(mixed.energy, pair(bonds).energy, rtol=1e-14)
            assert torch.allclose(mixed.gradient, pair(bonds).gradient, rtol=1e-14, atol=1e-18)


@pytest.mark.parametrize("potential", [
    LennardJones(**MIXED, truncation="smooth", inner=INNER, elements=["A", "B"], masses=[40, 20]),
    LennardJones(**ARGON),
    Morse(**COPPER, truncation="smooth", inner=8.0),
])  # fmt: skip
def test_answers_are_differentiable_by_the_parameters(potential: PairPotential) -> None:
    bonds = bond(3.0, 5.2, 6.7, 8.2)
    if len(potential.elements) > 1:
        bonds = bonds._replace(other=torch.tensor([[0, 1, 1, 0]]))

    def answer(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.func.functional_call(potential, dict(zip(potential.names, values, strict=True)), (bonds,)))

    values = [getattr(potential, name).clone().requires_grad_() for name in potential.names]
    assert torch.autograd.gradcheck(answer, values, eps=1e-6, rtol=1e-6, atol=1e-9)


def lattice_of_lennard_jones(radius: float) -> tuple[float, ...]:
    """a0, E, C11, C12, C44 of fcc in sigma and epsilon: bonds up to a radius, beyond it a continuum of the density.

    The continuum begins where a sphere has the volume of the atoms within the radius; its phi = -4/r^6 in the energy,
    whose integrals are elementary. What that leaves falls as the scatter of the number of atoms in a sphere.
    """
    potential = LennardJones(1.0, 1.0, radius, "cut")
    a = torch.tensor(1.54, dtype=torch.float64)
    reference = fcc(1.0, "Ar")
    vector = reference.neighbourhood(radius / 1.56)[1]
    number = int((vector[0].norm(dim=-1) < radius / 1.56 * (1 + 1e-12)).sum()) + 1
    begin = (3 * number / (16 * math.pi)) ** (1 / 3)  # in a, of which 4 atoms fill the cube
    own, other = torch.zeros(1, dtype=torch.int64), torch.zeros(vector.shape[:2], dtype=torch.int64)
    units = torch.zeros(3, 3, 3, dtype=torch.float64)
    units[0, 0, 0] = units[1, 1, 1] = units[2, 0, 1] = 1

    def tail(power: int) -> Tensor:
        """Half the integral of 4 (4 pi r^2) rho r^-power from the beginning of the continuum."""
        return 32 * math.pi / a**3 * (begin * a) ** (3 - power) / (power - 3)

    for _ in range(6):
        bonds, volume = Bonds(a * vector, own, other), a**3 / 4
        energy, gradient = potential(bonds)
        # Sums of phi, of phi' r and of phi'' r^2 - phi' r; the mean over directions of n1^4 is 1/5, of n1^2 n2^2 1/15.
        far, far_first, far_second = (c[0] * tail(12) - c[1] * tail(6) for c in ((1, 1), (-12, -6), (168, 48)))
        pressure = -((gradient * bonds.vector).sum() + far_first) / (3 * volume)
        change = potential.product(bonds, torch.einsum("cpq,nkq->cnkp", units, bonds.vector))
        A = torch.einsum("cnkp,nkq->cpq", change, bonds.vector)
        C11 = (A[0, 0, 0] + far_second / 5 + far_first / 3) / volume
        C12 = (A[1, 0, 0] + far_second / 15) / volume
        C44 = (A[2, 0, 1] + far_second / 15 + far_first / 3) / volume
        found = tuple(float(x) for x in (a, energy + far, C11, C12, C44))
        a = a + a * pressure / (C11 + 2 * C12)
    return found


def test_exact_fcc_lennard_jones_lattice_sums() -> None:
    # Sums over the infinite lattice: sum r^-6 = 14.45392104, sum r^-12 = 12.13188020 in nearest distances
    # (J. E. Jones, A. E. Ingham, Proc. R. Soc. A 107 (1925) 636, doi:10.1098/rspa.1925.0047).
    attraction, repulsion = 14.45392104374472, 12.13188019654
    a0, energy = math.sqrt(2) * (2 * repulsion / attraction) ** (1 / 6), -(attraction**2) / (2 * repulsion)
    got = lattice_of_lennard_jones(40.0)
    assert got[0] == pytest.approx(a0, rel=2e-10)
    assert got[1] == pytest.approx(energy, rel=2e-10)
    # To the last digit of the elastic constants as they are printed.
    for value, printed in zip(got, (1.54173738, -8.61020015, 105.182074, 60.186674, 60.186674), strict=True):
        assert abs(value - printed) <= 1.01 * 10 ** -(len(str(printed).partition(".")[2]))


def at_rest(potential: PairPotential, crystal: Crystal) -> tuple[float, Tensor, Tensor]:
    """Scale at which a cubic crystal is free of stress, its energies there and its moduli."""
    scale = 1.0
    for _ in range(8):
        now = Crystal(scale * crystal.lattice, scale * crystal.positions, crystal.elements)
        energy, _, stress = statics(potential, now)
        A = moduli(potential, now)
        scale -= scale * float(stress.trace() / 3 / (A[0, 0, 0, 0] + 2 * A[0, 0, 1, 1]))
    return scale, energy, A


def test_argon_has_its_golden_lattice_and_moduli() -> None:
    # Source: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, static, LJ_Ar_rc8.5125_shift.
    potential = LennardJones(**ARGON, truncation="shifted")
    for conventional in (False, True):
        a, energy, A = at_rest(potential, fcc(1.0, "Ar", conventional).deformed(5.2 * torch.eye(3).double()))
        a *= 5.2
        assert a == pytest.approx(5.276399659024652, rel=1e-11)
        assert energy.tolist() == pytest.approx([-0.07761792519978279] * len(energy), rel=1e-12)
        assert float(energy.sum()) / (a**3 * len(energy) / 4) == pytest.approx(-0.0021135326925937007, rel=1e-11)
        got = [float(A[i] * GPA) for i in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1))]
        assert got == pytest.approx([4.124207886771543, 2.347875881440083, 2.3478758814415372], rel=1e-11)


def test_pair_forces_obey_the_cauchy_relation_and_make_moduli_symmetric() -> None:
    potential = Morse(**COPPER, truncation="smooth", inner=8.0)
    a, _, A = at_rest(potential, fcc(3.6, "Cu"))
    assert 3.6 * a == pytest.approx(3.6096, abs=1e-4)
    assert torch.allclose(A, A.permute(2, 3, 0, 1), rtol=0, atol=1e-14)
    assert float(A[0, 0, 1, 1]) == pytest.approx(float(A[0, 1, 0, 1]), rel=1e-12)


def test_morse_copper_is_near_copper() -> None:
    # Copper at 0 K: a0 = 3.603 A, bulk modulus 142.0 GPa (W. C. Overton, J. Gaffney, Phys. Rev. 98 (1955) 969,
    # doi:10.1103/PhysRev.98.969), cohesive energy 3.49 eV (C. Kittel, Introduction to Solid State Physics, 8th ed.,
    # 2005, table 3.1).
    answers = []
    for cutoff in (15.0, 20.0):
        scale, energy, A = at_rest(Morse(**COPPER | {"cutoff": cutoff}, truncation="cut"), fcc(3.6, "Cu"))
        answers.append([3.6 * scale, -float(energy), float(A[0, 0, 0, 0] + 2 * A[0, 0, 1, 1]) / 3 * GPA])
    assert answers[0] == pytest.approx(answers[1], rel=5e-5)  # the sum has converged
    assert answers[1] == pytest.approx([3.603, 3.49, 142.0], rel=0.02)
    assert answers[1][0] == pytest.approx(3.603, rel=2e-3)


def disturbed(elements: list[str], a: float, seed: int) -> Crystal:
    """32 atoms of fcc, moved at random by up to 0.1 A each way, in a sheared and turned cell."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)
    sites = (corner[:, None] + fcc(1.0, "X", True).positions).flatten(0, 1) * a
    sites = sites + 0.2 * (torch.rand(32, 3, generator=generator, dtype=torch.float64) - 0.5)
    F = torch.eye(3, dtype=torch.float64) + 0.3 * (torch.rand(3, 3, generator=generator, dtype=torch.float64) - 0.5)
    return Crystal(2 * a * torch.eye(3, dtype=torch.float64), sites, (elements * 32)[:32]).deformed(F)


def agree(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Parity of two implementations, relative to the largest number in the batch."""
    assert float((got - wanted).abs().max() / wanted.abs().max()) <= tolerance


LJ, MORSE = "pair_coeff 1 1 0.0104 3.405", "pair_coeff 1 1 0.3429 1.3588 2.866"
SHIFT = "pair_modify shift yes"
LAMMPS = [  # our truncation, pair style and coefficients of argon and of copper
    (LennardJones(**ARGON, truncation="cut"), ["pair_style lj/cut 8.5125", LJ]),
    (LennardJones(**ARGON, truncation="shifted"), ["pair_style lj/cut 8.5125", LJ, SHIFT]),
    (LennardJones(**ARGON, truncation="force_shifted"), ["pair_style lj/smooth/linear 8.5125", LJ]),
    (LennardJones(**ARGON, truncation="smooth", inner=6.0), ["pair_style lj/smooth 6.0 8.5125", LJ, SHIFT]),
    (Morse(**COPPER, truncation="cut"), ["pair_style morse 10.0", MORSE]),
    (Morse(**COPPER, truncation="shifted"), ["pair_style morse 10.0", MORSE, SHIFT]),
    (Morse(**COPPER, truncation="force_shifted"), ["pair_style morse/smooth/linear 10.0", MORSE]),
]
MIXTURES = [  # truncation, pair style, whether the coefficients have an inner radius, pair_modify
    ("cut", "lj/cut 8.5125", False, []),
    ("shifted", "lj/cut 8.5125", False, [SHIFT]),
    ("force_shifted", "lj/smooth/linear 8.5125", False, []),
    ("smooth", "lj/smooth 6.0 8.5125", True, [SHIFT]),
]


def parity(potential: PairPotential, commands: list[str], a: float, seed: int) -> None:
    """Energies, forces and stress of a disturbed crystal against LAMMPS."""
    crystal = disturbed(list(potential.elements), a, seed)
    masses = dict(zip(potential.elements, potential.masses, strict=True))
    oracle = evaluate(commands, crystal.elements, masses, crystal.positions, crystal.lattice)
    for got, wanted in zip(statics(potential, crystal), oracle, strict=True):
        agree(got, wanted, 1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("potential", "commands"), LAMMPS, ids=lambda value: getattr(value, "truncation", None))
def test_one_element_agrees_with_lammps(potential: PairPotential, commands: list[str], seed: int) -> None:
    parity(potential, commands, 5.27 if isinstance(potential, LennardJones) else 3.61, seed)


@pytest.mark.oracle
@pytest.mark.parametrize(("truncation", "style", "has_inner", "modify"), MIXTURES)
def test_a_mixture_agrees_with_lammps(truncation: str, style: str, has_inner: bool, modify: list[str]) -> None:
    potential = LennardJones(
        **MIXED, truncation=truncation, elements=["A", "B"], masses=[40, 20], inner=INNER if has_inner else None
    )
    columns = [MIXED["epsilon"], MIXED["sigma"], *([INNER] if has_inner else []), MIXED["cutoff"]]
    coefficients = [
        " ".join(["pair_coeff", str(i + 1), str(j + 1), *(str(column[i][j]) for column in columns)])
        for i, j in ((0, 0), (0, 1), (1, 1))
    ]
    parity(potential, [f"pair_style {style}", *coefficients, *modify], 4.6, 2)


@pytest.mark.parametrize(("change", "text"), [
    ({"sigma": -1.0}, r"sigma: got -1.0, wanted positive"),
    ({"epsilon": -0.01}, r"epsilon: got -0.01, wanted no negative number"),
    ({"epsilon": "deep"}, r"epsilon: got deep, wanted a number"),
    ({"sigma": [[1.0, 2.0], [2.0]]}, r"sigma: got .* wanted a number, or 1 rows of 1"),
    ({"cutoff": None}, r"cutoff: got None, wanted a number"),
    ({"cutoff": 0.0}, r"cutoff: got 0.0, wanted a positive distance"),
    ({"epsilon": float("nan")}, r"epsilon: got nan, wanted a number, or 1 rows of 1"),
    ({"epsilon": [[1.0, 2.0], [2.0, 1.0]]}, r"epsilon: got .* as many as elements"),
    ({"elements": ["A", "B"], "masses": [1, 1], "sigma": [[1, 2], [3, 1]]}, r"sigma: got .* symmetric"),
    ({"elements": ["A", "B"]}, r"elements, masses: got .* a mass of each"),
    ({"masses": 0.0}, r"masses: got \(0.0,\), wanted positive"),
    ({"elements": ["A", "A"], "masses": [1, 1]}, r"wanted different elements"),
    ({"truncation": "switched"}, r"truncation: got 'switched', wanted one of cut, shifted, force_shifted, smooth"),
    ({"truncation": "smooth"}, r"inner: got None, wanted a radius"),
    ({"inner": 6.0}, r"inner: got 6.0, wanted a radius with truncation 'smooth' and None"),
    ({"truncation": "smooth", "inner": 9.0}, r"inner: got 9.0, wanted between 0 and the cutoff, 8.5125"),
])  # fmt: skip
def test_wrong_input_is_named(change: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LennardJones(**{**ARGON, **change})
