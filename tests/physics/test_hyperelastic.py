"""Textbook answers of the hyperelastic laws at finite strain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.laws.law import Law
from datagen.laws.mooney_rivlin import MooneyRivlin
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.ogden import Ogden
from datagen.laws.saint_venant_kirchhoff import SaintVenantKirchhoff
from datagen.laws.yeoh import Yeoh
from datagen.tensors import det, lame_constants, random_rotation

# R. W. Ogden, Proc. R. Soc. Lond. A 326 (1972) 565, doi:10.1098/rspa.1972.0026: Treloar's rubber, in MPa.
OGDEN = {"mu_p": [0.63, 0.0012, -0.01], "alpha_p": [1.3, 5.0, -2.0]}
C10, C01, C20, C30 = 0.16, 0.04, -0.01, 0.001


def ogden_stress(a: float) -> list[float]:
    """Nominal stress at the stretch a in uniaxial and equibiaxial tension and in pure shear (Ogden 1972, section 4)."""
    terms = list(zip(OGDEN["mu_p"], OGDEN["alpha_p"], strict=True))
    return [sum(mu * (a ** (p - 1) - a ** (-q * p - 1)) for mu, p in terms) for q in (0.5, 2.0, 1.0)]


def mooney_stress(a: float) -> list[float]:
    """The same of the Mooney-Rivlin solid (L. R. G. Treloar, The Physics of Rubber Elasticity, 1975, chapter 10)."""
    return [
        2 * (a - a**-2) * (C10 + C01 / a),
        2 * (a - a**-5) * (C10 + C01 * a**2),
        2 * (a - a**-3) * (C10 + C01),
    ]


def yeoh_stress(a: float) -> list[float]:
    """The same of the Yeoh solid (O. H. Yeoh, Rubber Chem. Technol. 66 (1993) 754, doi:10.5254/1.3538343)."""
    invariants = [a**2 + 2 / a, 2 * a**2 + a**-4, 1 + a**2 + a**-2]
    slopes = [2 * (C10 + 2 * C20 * (I - 3) + 3 * C30 * (I - 3) ** 2) for I in invariants]
    return [s * (a - a**-q) for s, q in zip(slopes, (2, 5, 3), strict=True)]


RUBBERS = {
    "ogden": (lambda bulk: Ogden(**OGDEN, K=bulk), ogden_stress),
    "mooney_rivlin": (lambda bulk: MooneyRivlin(c10=C10, c01=C01, K=bulk), mooney_stress),
    "yeoh": (lambda bulk: Yeoh(c10=C10, c20=C20, c30=C30, K=bulk), yeoh_stress),
}
SOLIDS: dict[str, tuple[Law, float, float]] = {  # law, initial shear and bulk modulus
    "ogden": (Ogden(**OGDEN, K=10.0), 0.4225, 10.0),  # G. A. Holzapfel, Nonlinear Solid Mechanics, 2000, section 6.5
    "mooney_rivlin": (MooneyRivlin(c10=C10, c01=C01, K=10.0), 2 * (C10 + C01), 10.0),
    "yeoh": (Yeoh(c10=C10, c20=C20, c30=C30, K=10.0), 2 * C10, 10.0),
    "saint_venant_kirchhoff": (SaintVenantKirchhoff(E=2000.0, nu=0.35), 2000 / 2.7, 2000 / 0.9),
}


def ask(law: Law, F: Tensor):
    """Step and dense tangent at deformation gradients (*b, 3, 3)."""
    strain, state = F.flatten(-2), law.initial_state(*F.shape[:-2])
    return law(strain, state, 1.0), law.tangent(strain, state, 1.0)


def stretched(*stretches: float) -> Tensor:
    return torch.diag(torch.tensor(stretches, dtype=torch.float64))


def deformations(n: int, size: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.eye(3) + size * (2 * torch.rand(n, 3, 3, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize("name", RUBBERS)
@pytest.mark.parametrize("a", [0.5, 1.2, 3.0, 7.0])
@pytest.mark.parametrize("bulk", [1.0, 1000.0])
def test_stress_differences_of_isochoric_stretches_are_those_of_the_incompressible_solid(name, a, bulk):
    # At J = 1 only the pressure depends on the bulk modulus: free faces then fix it, whatever the law says.
    make, closed_form = RUBBERS[name]
    stretches = [(a, a**-0.5, a**-0.5), (a, a, a**-2), (a, 1.0, 1 / a)]
    for diagonal, wanted in zip(stretches, closed_form(a), strict=True):
        tau = ask(make(bulk), stretched(*diagonal))[0].stress.unflatten(-1, (3, 3)) @ stretched(*diagonal)
        nominal = float(tau[0, 0] - tau[2, 2]) / a
        assert nominal == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("name", RUBBERS)
def test_a_bar_with_free_sides_tends_to_its_incompressible_limit(name):
    make, closed_form = RUBBERS[name]
    a, errors = 2.0, []
    for bulk in (1e2, 1e3, 1e4):
        law, side = make(bulk), a**-0.5
        for _ in range(30):
            step, tangent = ask(law, stretched(a, side, side))
            slope = float(tangent[4, 4] + tangent[4, 8])
            side -= float(step.stress[4]) / slope
        assert abs(float(step.stress[4])) < 1e-9
        errors.append(abs(float(step.stress[0]) / closed_form(a)[0] - 1))
    assert errors[0] < 1e-2
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


@pytest.mark.parametrize("name", SOLIDS)
def test_the_initial_stiffness_is_isotropic_elasticity(name):
    law, mu, K = SOLIDS[name]
    d = torch.eye(3, dtype=torch.float64)
    wanted = (K - 2 * mu / 3) * torch.einsum("ij,kl->ijkl", d, d)
    wanted += mu * (torch.einsum("ik,jl->ijkl", d, d) + torch.einsum("il,jk->ijkl", d, d))
    torch.testing.assert_close(ask(law, d)[1], wanted.reshape(9, 9), rtol=0, atol=1e-14 * K)


@pytest.mark.parametrize("name", SOLIDS)
def test_energy_and_stress_keep_their_digits_near_the_reference(name):
    law, mu, K = SOLIDS[name]
    H = 1e-8 * torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    H = (torch.eye(3) + H) - torch.eye(3)  # what of it is left in F
    eps = 0.5 * (H + H.mT)
    trace = eps.diagonal(dim1=-2, dim2=-1).sum(-1)
    deviator = eps - trace[:, None, None] / 3 * torch.eye(3)
    step, _ = ask(law, torch.eye(3) + H)
    energy = mu * (deviator**2).sum((-2, -1)) + 0.5 * K * trace**2
    torch.testing.assert_close(step.psi, energy, rtol=1e-6, atol=0)
    stress = 2 * mu * deviator + K * trace[:, None, None] * torch.eye(3)
    torch.testing.assert_close(step.stress, stress.flatten(1), rtol=0, atol=1e-6 * float(stress.abs().max()))


def test_special_cases_of_the_rubbers_are_one_another():
    F = deformations(6)
    same = [
        [MooneyRivlin(C10, 0.0, 10.0), Yeoh(C10, 0.0, 0.0, 10.0), Ogden([2 * C10], [2.0], 10.0)],
        [MooneyRivlin(C10, C01, 10.0), Ogden([2 * C10, -2 * C01], [2.0, -2.0], 10.0)],
        [MooneyRivlin(0.0, C01, 10.0), Ogden([-2 * C01], [-2.0], 10.0)],
    ]
    for first, *others in same:
        step, tangent = ask(first, F)
        for other in others:
            twin, other_tangent = ask(other, F)
            torch.testing.assert_close(twin.psi, step.psi, rtol=1e-13, atol=0)
            torch.testing.assert_close(twin.stress, step.stress, rtol=0, atol=1e-13 * float(step.stress.abs().max()))
            torch.testing.assert_close(other_tangent, tangent, rtol=0, atol=1e-13 * float(tangent.abs().max()))


def test_neo_hooke_and_its_isochoric_form_differ_by_a_pressure_where_volume_is_kept():
    F = deformations(6)
    F = F / det(F).pow(1 / 3)[:, None, None]
    taus = [
        ask(law, F)[0].stress.unflatten(-1, (3, 3)) @ F.mT
        for law in (NeoHooke(mu=2 * C10, lmbda=10.0), MooneyRivlin(C10, 0.0, 10.0))
    ]
    difference = taus[0] - taus[1]
    pressure = difference.diagonal(dim1=-2, dim2=-1).mean(-1)
    torch.testing.assert_close(difference, pressure[:, None, None] * torch.eye(3), rtol=0, atol=1e-13)


def test_sheared_mooney_rivlin_block_has_the_normal_stresses_of_rivlin():
    # R. S. Rivlin, Phil. Trans. R. Soc. A 241 (1948) 379, doi:10.1098/rsta.1948.0024, section 5 (Poynting's effect).
    gamma = 0.7
    F = torch.eye(3, dtype=torch.float64)
    F[0, 1] = gamma
    tau = ask(MooneyRivlin(C10, C01, 10.0), F)[0].stress.unflatten(-1, (3, 3)) @ F.mT
    assert float(tau[0, 1]) == pytest.approx(2 * (C10 + C01) * gamma, rel=1e-13)
    assert float(tau[0, 0] - tau[2, 2]) == pytest.approx(2 * C10 * gamma**2, rel=1e-13)
    assert float(tau[1, 1] - tau[2, 2]) == pytest.approx(-2 * C01 * gamma**2, rel=1e-13)


def test_a_saint_venant_kirchhoff_bar_has_its_cubic_law_and_softens_in_compression():
    # P_11 = E/2 (a^3 - a) with the side stretch^2 = 1 - nu (a^2 - 1): R. W. Ogden, 1984, section 4.3, from E_green of
    # uniaxial stress; least at a = 1/sqrt(3).
    E, nu = 2000.0, 0.35
    law = SaintVenantKirchhoff(E=E, nu=nu)
    R = random_rotation(generator=torch.Generator().manual_seed(1))
    for a in (0.4, 1 / math.sqrt(3), 0.9, 1.7):
        side = math.sqrt(1 - nu * (a**2 - 1))
        P = ask(law, R @ stretched(a, side, side))[0].stress.unflatten(-1, (3, 3))
        wanted = R @ stretched(E / 2 * (a**3 - a), 0.0, 0.0)
        torch.testing.assert_close(P, wanted, rtol=0, atol=1e-12 * E)
    lmbda, mu = lame_constants(E, nu)
    tangent = ask(law, stretched(1 / math.sqrt(3), 1.0, 1.0))[1]
    assert abs(float(tangent[0, 0])) < 1e-12 * (lmbda + 2 * mu)  # uniaxial strain: (lmbda + 2 mu)/2 (a^3 - a)
