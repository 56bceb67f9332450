"""Textbook answers of the textbook laws."""

from __future__ import annotations

import json
import math

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Law
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.tensors import SQRT2, lame_constants

STEPS = [0.002 * k for k in range(1, 11)]

# Shear stress s12 of a homogeneous body, E = 1, nu = 0.3, yield stress 0.005, at eps12 = 0.002 .. 0.020:
# shared/reference/rve_golden.json, closed_forms, j2_homogeneous_shear_exact (FANS 0.6.2 gives the same at H = 0.5).
J2_SHEAR = {
    0.05: [
        0.0015384615384615385,
        0.00289464985234645,
        0.0029585476159247246,
        0.0030224453795029992,
        0.0030863431430812735,
        0.0031502409066595486,
        0.003214138670237823,
        0.0032780364338160983,
        0.003341934197394373,
        0.0034058319609726476,
    ],
    0.5: [
        0.0015384615384615385,
        0.0029442451250800902,
        0.0034093614041498578,
        0.0038744776832196257,
        0.004339593962289392,
        0.0048047102413591595,
        0.005269826520428927,
        0.005734942799498695,
        0.006200059078568463,
        0.0066651753576382295,
    ],
}


def shear(e: float) -> torch.Tensor:
    """Small strain with eps12 = eps21 = e."""
    strain = torch.zeros(6, dtype=torch.float64)
    strain[5] = SQRT2 * e
    return strain


def driven(law: Law, strains: list[torch.Tensor]):
    state = law.initial_state()
    for strain in strains:
        step = law(strain, state, 1.0)
        state = step.state
        yield step


@pytest.mark.parametrize("hardening", J2_SHEAR)
@pytest.mark.parametrize("substeps", [1, 7])
def test_shear_of_a_von_mises_solid_follows_its_closed_form_whatever_the_steps(hardening, substeps):
    law = J2Plasticity(E=1.0, nu=0.3, yield_stress=0.005, hardening=hardening)
    path = [shear(0.002 * k / substeps) for k in range(1, 10 * substeps + 1)]
    answers = [step.stress[5].item() / SQRT2 for step in driven(law, path)][substeps - 1 :: substeps]
    assert answers == pytest.approx(J2_SHEAR[hardening], rel=1e-12)


def test_the_shear_values_are_those_of_the_reference_file(shared):
    entries = json.loads((shared / "reference/rve_golden.json").read_text())["closed_forms"]
    values = next(e for e in entries if e["id"] == "j2_homogeneous_shear_exact")["s12"]
    assert {float(name.removeprefix("H=")): row for name, row in values.items()} == J2_SHEAR


def test_plastic_shear_stores_and_dissipates_what_its_closed_form_says():
    # Simo and Hughes 1998, section 2.2: proportional loading, alpha = 2/sqrt(3) eps_p12,
    # psi = s12^2/(2 G) + H alpha^2 / 2, D = sigma_y alpha, plastic work = (sigma_y + H alpha/2) alpha as steps shrink.
    sigma_y, H = 0.005, 0.5
    law = J2Plasticity(E=1.0, nu=0.3, yield_stress=sigma_y, hardening=H)
    _, mu = lame_constants(1.0, 0.3)
    steps = list(driven(law, [shear(0.02 * k / 400) for k in range(1, 401)]))
    s12 = J2_SHEAR[H][-1]
    alpha = 2 / math.sqrt(3) * (0.02 - s12 / (2 * mu))
    assert steps[-1].state[6].item() == pytest.approx(alpha, rel=1e-12)
    assert steps[-1].psi.item() == pytest.approx(s12**2 / (2 * mu) + 0.5 * H * alpha**2, rel=1e-12)
    assert sum(step.dissipation.item() for step in steps) == pytest.approx(sigma_y * alpha, rel=1e-12)
    work = sum(step.extras["plastic_work"].item() for step in steps)
    assert work == pytest.approx((sigma_y + 0.5 * H * alpha) * alpha, rel=2e-3)


def test_unloading_a_plastic_body_is_elastic_and_yields_again_only_at_the_raised_stress():
    law = J2Plasticity(E=1.0, nu=0.3, yield_stress=0.005, hardening=0.5)
    _, mu = lame_constants(1.0, 0.3)
    loaded, unloaded, reloaded = driven(law, [shear(0.02), shear(0.018), shear(0.02)])
    assert unloaded.dissipation.item() == 0.0
    assert (loaded.stress[5] - unloaded.stress[5]).item() / SQRT2 == pytest.approx(2 * mu * 0.002, rel=1e-12)
    assert reloaded.stress[5].item() == pytest.approx(loaded.stress[5].item(), rel=1e-14)


def test_pressure_does_not_yield_a_von_mises_solid():
    law = J2Plasticity(E=1.0, nu=0.3, yield_stress=0.005, hardening=0.05)
    step = law(torch.tensor([0.5, 0.5, 0.5, 0, 0, 0], dtype=torch.float64), law.initial_state(), 1.0)
    assert step.dissipation.item() == 0.0
    assert step.stress[0].item() == pytest.approx(3 * 0.5 / (3 * (1 - 0.6)), rel=1e-14)


def test_uniaxial_tension_of_a_linear_elastic_solid_gives_back_its_moduli():
    E, nu = 70000.0, 0.33
    law = LinearElastic(E=E, nu=nu)
    strain = 0.001 * torch.tensor([1.0, -nu, -nu, 0, 0, 0], dtype=torch.float64)
    step = law(strain, law.initial_state(), 1.0)
    assert step.stress.tolist() == pytest.approx([E * 0.001, 0, 0, 0, 0, 0], rel=1e-12, abs=1e-10)
    assert step.psi.item() == pytest.approx(0.5 * E * 0.001**2, rel=1e-12)


def test_simple_shear_of_a_neo_hookean_solid():
    # Bonet and Wood 2008, section 6.4.3 with J = 1: P = mu (F - F^-T), so P12 = P21 = mu gamma, P11 = 0,
    # P22 = 0 and P21 = mu gamma; psi = mu gamma^2 / 2.
    mu, gamma = 1.7, 0.6
    law = NeoHooke(mu=mu, lmbda=5.0)
    F = torch.eye(3, dtype=torch.float64)
    F[0, 1] = gamma
    step = law(F.flatten(), law.initial_state(), 1.0)
    assert step.stress.tolist() == pytest.approx([0, mu * gamma, 0, mu * gamma, 0, 0, 0, 0, 0], rel=1e-14, abs=1e-15)
    assert step.psi.item() == pytest.approx(0.5 * mu * gamma**2, rel=1e-14)


@pytest.mark.parametrize("stretch", [0.6, 0.999999, 1.3, 2.5])
def test_uniaxial_stretch_of_a_neo_hookean_solid_of_zero_lame_constant(stretch):
    # lmbda = 0: the free sides keep their length (mu (F22 - 1/F22) = 0 at F22 = 1) and P11 = mu (l - 1/l).
    mu = 2.0
    law = NeoHooke(mu=mu, lmbda=0.0)
    F = torch.diag(torch.tensor([stretch, 1, 1], dtype=torch.float64)).flatten()
    step = law(F, law.initial_state(), 1.0)
    wanted = mu * (stretch - 1) * (1 + 1 / stretch)
    assert step.stress[[0, 4, 8]].tolist() == pytest.approx([wanted, 0, 0], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("volume", [0.5, 1.2, 3.0])
def test_dilatation_of_a_neo_hookean_solid(volume):
    # F = J^(1/3) 1: P = (mu (s - 1/s) + lmbda ln J / s) 1 with s = J^(1/3).
    mu, lmbda = 2.0, 7.0
    law = NeoHooke(mu=mu, lmbda=lmbda)
    s = volume ** (1 / 3)
    step = law((s * torch.eye(3, dtype=torch.float64)).flatten(), law.initial_state(), 1.0)
    wanted = mu * (s - 1 / s) + lmbda * math.log(volume) / s
    assert step.stress[[0, 4, 8]].tolist() == pytest.approx([wanted] * 3, rel=1e-12)
    energy = 1.5 * mu * (s**2 - 1) - mu * math.log(volume) + 0.5 * lmbda * math.log(volume) ** 2
    assert step.psi.item() == pytest.approx(energy, rel=1e-12)


def test_a_slightly_strained_neo_hookean_solid_is_linear_elastic():
    # Tangent at F = 1: lmbda 1 x 1 + mu (I + transposition), Bonet and Wood 2008, equation 6.30 at C = 1.
    mu, lmbda = 2.0, 7.0
    law = NeoHooke(mu=mu, lmbda=lmbda)
    one = torch.eye(3, dtype=torch.float64)
    wanted = lmbda * torch.einsum("ij,kl->ijkl", one, one)
    wanted = wanted + mu * (torch.einsum("ik,jl->ijkl", one, one) + torch.einsum("il,jk->ijkl", one, one))
    tangent = law.tangent(one.flatten(), law.initial_state(), 1.0)
    torch.testing.assert_close(tangent.reshape(3, 3, 3, 3), wanted, rtol=0, atol=1e-14)


def test_plane_stress_of_a_linear_elastic_solid_has_its_textbook_stiffness():
    # Timoshenko and Goodier, Theory of Elasticity, 3rd ed., section 11: E/(1 - nu^2) [[1, nu], [nu, 1]], shear G.
    E, nu = 70000.0, 0.33
    law = PlaneStress(LinearElastic(E=E, nu=nu))
    plane = law.measure.columns(law.components)
    strain = torch.tensor([1e-3, -4e-4, 0, 0, 0, 6e-4], dtype=torch.float64)
    C = law.tangent(strain, law.initial_state(), 1.0)[plane][:, plane]
    wanted = E / (1 - nu**2) * torch.tensor([[1, nu, 0], [nu, 1, 0], [0, 0, 1 - nu]], dtype=torch.float64)
    torch.testing.assert_close(C, wanted, rtol=1e-12, atol=1e-8)
    step = law(strain, law.initial_state(), 1.0)
    assert step.extras["strain_33"].item() == pytest.approx(-nu / (1 - nu) * (1e-3 - 4e-4), rel=1e-10)
    torch.testing.assert_close(step.stress[plane], wanted @ strain[plane], rtol=1e-10, atol=0)


@pytest.mark.parametrize("stretch", [0.7, 1.1, 2.0])
def test_equibiaxial_stretch_of_a_thin_neo_hookean_sheet(stretch):
    # The thickness l3 solves mu (l3^2 - 1) + lmbda ln(l^2 l3) = 0; by bisection here, by Newton in the law.
    mu, lmbda = 1.0, 10.0
    low, high = 1e-3, 10.0
    for _ in range(200):
        l3 = 0.5 * (low + high)
        low, high = (low, l3) if mu * (l3**2 - 1) + lmbda * math.log(stretch**2 * l3) > 0 else (l3, high)
    law = PlaneStress(NeoHooke(mu=mu, lmbda=lmbda))
    F = torch.diag(torch.tensor([stretch, stretch, 1.0], dtype=torch.float64)).flatten()
    step = law(F, law.initial_state(), 1.0)
    wanted = mu * (stretch - 1 / stretch) + lmbda * math.log(stretch**2 * l3) / stretch
    assert step.extras["strain_33"].item() == pytest.approx(l3, rel=1e-10)
    assert step.stress[[0, 4]].tolist() == pytest.approx([wanted, wanted], rel=1e-10)


def test_uniaxial_tension_of_a_thin_von_mises_strip_follows_the_uniaxial_curve():
    # Uniaxial stress: sigma = (E H / (E + H)) (eps - sigma_y / E) + sigma_y past yield; Simo and Hughes 1998, 1.2.
    E, nu, sigma_y, H = 200.0, 0.3, 1.0, 20.0
    law = PlaneStress(J2Plasticity(E=E, nu=nu, yield_stress=sigma_y, hardening=H))
    eps = 0.02
    sigma = sigma_y + E * H / (E + H) * (eps - sigma_y / E)
    alpha = eps - sigma / E
    lateral = -nu * sigma / E - 0.5 * alpha
    step = law(torch.tensor([eps, lateral, 0, 0, 0, 0], dtype=torch.float64), law.initial_state(), 1.0)
    assert step.stress[0].item() == pytest.approx(sigma, rel=1e-9)
    assert abs(step.stress[1].item()) < 1e-9 * sigma
    assert step.extras["strain_33"].item() == pytest.approx(lateral, rel=1e-9)
