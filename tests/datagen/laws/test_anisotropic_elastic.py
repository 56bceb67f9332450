"""Elasticity with material axes, with eigenstrains and of nothing, against textbooks."""

from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datagen.laws.anisotropic_elastic import AnisotropicElastic
from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.law import Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.orthotropic_elastic import OrthotropicElastic
from datagen.laws.transversely_isotropic_elastic import TransverselyIsotropicElastic
from datagen.laws.verdict import Verdict
from datagen.laws.void import Void
from datagen.tensors import from_mandel, mandel_rotation, random_rotation, to_mandel

COPPER = {"C11": 168400.0, "C12": 121400.0, "C44": 75400.0}
FIBRE = {"E1": 230000.0, "E2": 15000.0, "nu12": 0.2, "nu23": 0.07, "G12": 15000.0}
SPRUCE = {
    "E1": 11900.0,
    "E2": 930.0,
    "E3": 510.0,
    "nu12": 0.372,
    "nu13": 0.467,
    "nu23": 0.435,
    "G12": 760.0,
    "G13": 730.0,
    "G23": 36.0,
}
TURN = random_rotation(generator=torch.Generator().manual_seed(4))


def triclinic(seed: int = 0) -> torch.Tensor:
    A = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 1000 * (A @ A.T + torch.eye(6, dtype=torch.float64))


def stiffness(law) -> torch.Tensor:
    return law.tangent(torch.zeros(6, dtype=torch.float64), law.initial_state(), 1.0)


def compliance(law) -> torch.Tensor:
    return torch.linalg.solve(stiffness(law), torch.eye(6, dtype=torch.float64))


LAWS = [
    AnisotropicElastic(triclinic()),
    CubicElastic(**COPPER),
    TransverselyIsotropicElastic(**FIBRE),
    OrthotropicElastic(**SPRUCE),
]


@pytest.mark.parametrize(
    ("direction", "modulus"),
    # Copper: 66.7, 130.3 and 191.1 GPa along [100], [110] and [111] (W. D. Callister, Materials Science and
    # Engineering, 7th ed., 2007, chapter 3, table of the modulus at various orientations, after R. W. Hertzberg).
    [([1, 0, 0], 66.7e3), ([1, 1, 0], 130.3e3), ([1, 1, 1], 191.1e3)],
)
def test_tension_of_a_copper_crystal_has_the_published_youngs_modulus(direction, modulus):
    # Nye 1985, chapter VIII: 1/E = S11 - 2 (S11 - S12 - S44/2) (l1^2 l2^2 + l2^2 l3^2 + l3^2 l1^2).
    n = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
    law = CubicElastic(**COPPER, orientation=TURN)
    axial = to_mandel(torch.outer(TURN @ n, TURN @ n))
    young = 1 / float(axial @ compliance(law) @ axial)
    C11, C12, C44 = COPPER.values()
    S11 = (C11 + C12) / ((C11 - C12) * (C11 + 2 * C12))
    S12 = -C12 / ((C11 - C12) * (C11 + 2 * C12))
    squares = (n * n).tolist()
    cosines = squares[0] * squares[1] + squares[1] * squares[2] + squares[2] * squares[0]
    assert young == pytest.approx(1 / (S11 - 2 * (S11 - S12 - 0.5 / C44) * cosines), rel=1e-12)
    assert young == pytest.approx(modulus, abs=100)


def test_copper_turned_over_the_icosahedral_group_is_the_isotropic_solid_of_voigt():
    # The 60 turns of an icosahedron average a tensor of fourth order as all rotations do: K = (C11 + 2 C12)/3 and
    # mu = (C11 - C12 + 3 C44)/5 (W. Voigt, Lehrbuch der Kristallphysik, 1910; 54.64 GPa for copper).
    phi = (1 + math.sqrt(5)) / 2
    third = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    fifth = 0.5 * torch.tensor([[phi - 1, -phi, 1], [phi, 1, phi - 1], [-1, phi - 1, phi]], dtype=torch.float64)
    group = [torch.eye(3, dtype=torch.float64)]
    for Q in group:  # grows until it is closed
        for generator in (third, fifth):
            if not any(torch.allclose(generator @ Q, R) for R in group):
                group.append(generator @ Q)
    assert len(group) == 60
    law = CubicElastic(**COPPER).with_buffers(orientation=torch.stack(group))
    C = law.tangent(torch.zeros(60, 6, dtype=torch.float64), law.initial_state(60), 1.0).mean(0)
    mu, K = (168400.0 - 121400.0 + 3 * 75400.0) / 5, (168400.0 + 2 * 121400.0) / 3
    assert mu == 54640.0
    voigt = stiffness(LinearElastic(E=9 * K * mu / (3 * K + mu), nu=(3 * K - 2 * mu) / (6 * K + 2 * mu)))
    assert float((C - voigt).abs().max()) < 1e-12 * float(voigt.max())


def test_tension_along_each_axis_of_an_orthotropic_solid_gives_back_its_engineering_constants():
    S = compliance(OrthotropicElastic(**SPRUCE))
    E = [SPRUCE[f"E{k}"] for k in (1, 2, 3)]
    assert [1 / float(S[k, k]) for k in range(3)] == pytest.approx(E, rel=1e-12)
    ratios = [-float(S[1, 0] / S[0, 0]), -float(S[2, 0] / S[0, 0]), -float(S[2, 1] / S[1, 1])]
    assert ratios == pytest.approx([0.372, 0.467, 0.435], rel=1e-12)
    assert [0.5 / float(S[k, k]) for k in (3, 4, 5)] == pytest.approx([36.0, 730.0, 760.0], rel=1e-12)
    # Abaqus Analysis User's Guide, linear elastic behavior: D1111 = E1 (1 - nu23 nu32) Y, D1122 = E1 (nu21 + nu31 nu23)
    # Y, D1133 = E1 (nu31 + nu21 nu32) Y.
    nu21, nu31, nu32 = 0.372 * E[1] / E[0], 0.467 * E[2] / E[0], 0.435 * E[2] / E[1]
    Y = 1 / (1 - 0.372 * nu21 - 0.435 * nu32 - nu31 * 0.467 - 2 * nu21 * nu32 * 0.467)
    C = stiffness(OrthotropicElastic(**SPRUCE))
    assert float(C[0, 0]) == pytest.approx(E[0] * (1 - 0.435 * nu32) * Y, rel=1e-12)
    assert float(C[0, 1]) == pytest.approx(E[0] * (nu21 + nu31 * 0.435) * Y, rel=1e-12)
    assert float(C[0, 2]) == pytest.approx(E[0] * (nu31 + nu21 * nu32) * Y, rel=1e-12)


def test_a_fibre_is_isotropic_around_its_axis_and_an_orthotropic_solid():
    C = stiffness(TransverselyIsotropicElastic(**FIBRE))
    c, s = math.cos(0.7), math.sin(0.7)
    around = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)
    turned = stiffness(TransverselyIsotropicElastic(**FIBRE, orientation=around))
    assert float((turned - C).abs().max()) < 1e-14 * float(C.max())
    E1, E2, nu12, nu23, G12 = FIBRE.values()
    same = OrthotropicElastic(E1, E2, E2, nu12, nu12, nu23, G12, G12, E2 / (2 * (1 + nu23)))
    assert float((stiffness(same) - C).abs().max()) < 1e-14 * float(C.max())
    # Plane strain bulk modulus k, equal strain across and none along the fibre: 1/k = 2 (1 - nu23)/E2 - 4 nu12^2/E1
    # (R. Hill, J. Mech. Phys. Solids 12 (1964) 199, doi:10.1016/0022-5096(64)90019-5, with E2 in place of k and m).
    k = float(C[1, 1] + C[1, 2]) / 2
    assert 1 / k == pytest.approx(2 * (1 - nu23) / E2 - 4 * nu12**2 / E1, rel=1e-12)


def test_an_isotropic_stiffness_in_any_clothes_is_hookes_law():
    C = stiffness(LinearElastic(E=210.0, nu=0.3))
    G = 210.0 / 2.6
    lmbda = 2 * G * 0.3 / 0.4
    clothes = [
        AnisotropicElastic(C, orientation=TURN),
        CubicElastic(lmbda + 2 * G, lmbda, G, orientation=TURN),
        TransverselyIsotropicElastic(210.0, 210.0, 0.3, 0.3, G, orientation=TURN),
        OrthotropicElastic(210.0, 210.0, 210.0, 0.3, 0.3, 0.3, G, G, G, orientation=TURN),
    ]
    for law in clothes:
        assert float((stiffness(law) - C).abs().max()) < 1e-14 * 210 * 4


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_turning_the_body_turns_its_answer(law):
    # sigma = Q.(C:(Q^T.eps.Q - eigenstrain)).Q^T, by matrices, one orientation and one eigenstrain a point.
    generator = torch.Generator().manual_seed(1)
    Q = random_rotation(2, 1, 5, generator=generator)
    eps = 1e-3 * torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=generator)
    free = 1e-3 * torch.randn(5, 6, dtype=torch.float64, generator=generator)
    step = law.with_buffers(orientation=Q, eigenstrain=free)(eps, law.initial_state(2, 4, 5), 1.0)
    elastic = to_mandel(Q.mT @ from_mandel(eps) @ Q) - free
    material = elastic @ stiffness(law)
    wanted = to_mandel(Q @ from_mandel(material) @ Q.mT)
    assert float((step.stress - wanted).abs().max()) < 1e-14 * float(wanted.abs().max())
    psi = 0.5 * (material * elastic).sum(-1)
    assert float((step.psi - psi).abs().max()) < 1e-14 * float(psi.max())


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_product_with_the_tangent_broadcasts_over_orientations_and_directions(law):
    generator = torch.Generator().manual_seed(1)
    Q = random_rotation(5, generator=generator)
    direction = torch.randn(8, 3, 2, 5, 6, dtype=torch.float64, generator=generator)
    step, saved = law.with_buffers(orientation=Q).linearise(
        torch.zeros(8, 2, 5, 6).double(), torch.zeros(8, 2, 5, 0), 1.0
    )
    assert saved.shape == (8, 2, 5, 36)
    assert saved.stride()[:2] == (0, 0)  # points with one orientation share it
    M = mandel_rotation(Q)
    wanted = ((M @ stiffness(law) @ M.mT) @ direction[..., None])[..., 0]
    got = law.apply_tangent(saved[:, None], direction)
    assert float((got - wanted).abs().max()) < 1e-13 * float(wanted.abs().max())
    assert bool((step.stress == 0).all())


@pytest.mark.parametrize("law", [*LAWS, LinearElastic(E=70.0, nu=0.33)], ids=lambda law: type(law).__name__)
def test_a_free_body_takes_its_eigenstrain_without_stress_or_energy(law):
    free = 1e-3 * torch.tensor([3.0, -2.0, 1.0, 0.5, -0.7, 0.9], dtype=torch.float64)
    law = law.with_buffers(eigenstrain=free)
    at_rest, clamped = law(free, law.initial_state(), 1.0), law(torch.zeros_like(free), law.initial_state(), 1.0)
    wanted = -stiffness(law) @ free
    assert float(at_rest.stress.abs().max()) < 1e-15 * float(wanted.abs().max())
    assert abs(at_rest.psi.item()) < 1e-30 * float(stiffness(law).max())
    assert clamped.stress.tolist() == pytest.approx(wanted.tolist(), rel=1e-13)
    assert clamped.psi.item() == pytest.approx(-0.5 * float(wanted @ free), rel=1e-13)


def test_a_number_is_a_thermal_strain_and_shear_breaks_the_mirror():
    assert LinearElastic(E=1.0, nu=0.2, eigenstrain=2e-3).eigenstrain.tolist() == [2e-3] * 3 + [0.0] * 3
    assert LinearElastic(E=1.0, nu=0.2, eigenstrain=[0, 0, 1e-3, 0, 0, 1e-3]).mirror_z
    assert not LinearElastic(E=1.0, nu=0.2, eigenstrain=[0, 0, 0, 1e-3, 0, 0]).mirror_z


def test_moduli_can_be_differentiated_for():
    C11 = torch.tensor(168400.0, dtype=torch.float64, requires_grad=True)
    law = CubicElastic(**COPPER, orientation=TURN).with_buffers(C11=C11)
    eps = 1e-3 * torch.tensor([1.0, 2.0, -1.0, 0.5, 0.3, 0.1], dtype=torch.float64)
    law(eps, law.initial_state(), 1.0).psi.backward()
    in_crystal = (TURN.T @ from_mandel(eps) @ TURN).diagonal()
    assert float(C11.grad) == pytest.approx(0.5 * float(in_crystal @ in_crystal), rel=1e-12)


def test_a_law_from_a_configuration_takes_lists():
    config = {
        "_target_": "datagen.laws.anisotropic_elastic.AnisotropicElastic",
        "stiffness": triclinic().tolist(),
        "orientation": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        "eigenstrain": [1e-3, 0, 0, 0, 0, 0],
    }
    law = instantiate(OmegaConf.create(config))
    turned = law(torch.tensor([0, 1e-3, 0, 0, 0, 0], dtype=torch.float64), law.initial_state(), 1.0)
    assert float(turned.stress.abs().max()) < 1e-12


@pytest.mark.parametrize("measure", ["small", "finite", Measure.FINITE])
def test_a_void_bears_nothing_even_folded(measure):
    law = Void(measure)
    strain = -2.0 * torch.ones(2, law.measure.n, dtype=torch.float64)
    strain[0] = law.reference_strain()
    strain[0, 0] = -1.0  # det F < 0
    step = law(strain, law.initial_state(2), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD] * 2
    for answer in (step.psi, step.stress, step.dissipation, law.tangent(strain, law.initial_state(2), 1.0)):
        assert not answer.any()
    strain[1, 2] = torch.nan
    step = law(strain, law.initial_state(2), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.NOT_FINITE]
    assert step.stress[1].isnan().all()
    assert law.double().dtype == torch.float64


def test_an_elastic_solid_without_stiffness_is_a_void():
    law = LinearElastic(E=0.0, nu=0.3, eigenstrain=1e-3)
    step = law(torch.ones(6, dtype=torch.float64), law.initial_state(), 1.0)
    assert not step.stress.any()
    assert step.psi.item() == 0.0
    assert not stiffness(law).any()


@pytest.mark.parametrize(
    ("law", "arguments", "message"),
    [
        (LinearElastic, {"E": -1.0, "nu": 0.3}, r"E: got -1.0, wanted a Young's modulus >= 0"),
        (LinearElastic, {"E": 0.0, "nu": 0.5}, r"nu: got 0.5"),
        (LinearElastic, {"E": 1.0, "nu": 0.3, "eigenstrain": [1.0, 2.0]}, r"eigenstrain: got \[1.0, 2.0\], wanted a"),
        (CubicElastic, {**COPPER, "C12": 170000.0}, r"C11 - C12: got -1600.0, wanted a modulus > 0"),
        (CubicElastic, {**COPPER, "C12": -90000.0}, r"C11 \+ 2 C12: got -11600.0"),
        (CubicElastic, {**COPPER, "C44": 0.0}, r"C44: got 0.0"),
        (CubicElastic, {**COPPER, "orientation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, r"orientation: .* det -1"),
        (CubicElastic, {**COPPER, "orientation": [[0.9, 0, 0], [0, 1, 0], [0, 0, 1]]}, r"orientation: .* = 1.9e-01"),
        (CubicElastic, {**COPPER, "orientation": [1, 0, 0]}, r"orientation: got shape \(3,\)"),
        (OrthotropicElastic, {**SPRUCE, "G23": -1.0}, r"G23: got -1.0, wanted a modulus > 0"),
        (OrthotropicElastic, {**SPRUCE, "nu23": 1.4}, r"nu23: got 1.4, wanted \|nu23\| < sqrt\(E2/E3\) = 1.35"),
        (OrthotropicElastic, {**SPRUCE, "nu12": 3.0, "nu13": 4.0}, r"nu12, nu13, nu23: .* not positive definite"),
        (TransverselyIsotropicElastic, {**FIBRE, "nu23": 1.0}, r"nu23: got 1.0"),
        (TransverselyIsotropicElastic, {**FIBRE, "nu12": 2.7}, r"nu12, nu13, nu23: .* not positive definite"),
        (AnisotropicElastic, {"stiffness": torch.eye(3)}, r"stiffness: got shape \(3, 3\)"),
        (AnisotropicElastic, {"stiffness": triclinic().triu()}, r"stiffness: got \|C - C\^T\|"),
        (AnisotropicElastic, {"stiffness": -triclinic()}, r"stiffness: got the lowest eigenvalue -"),
        (Void, {"measure": "large"}, r"measure: got 'large', wanted one of small, finite"),
    ],
)
def test_impossible_solids_are_refused(law, arguments, message):
    with pytest.raises(ValueError, match=message):
        law(**arguments)
