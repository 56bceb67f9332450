"""Textbook answers of finite-strain plasticity in logarithmic strain."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.logarithmic_j2 import LogarithmicJ2
from datagen.tensors import det, from_mandel, inv, random_rotation, to_mandel

# The necking bar of J. C. Simo, Comput. Methods Appl. Mech. Engrg. 68 (1988) 1, doi:10.1016/0045-7825(88)90104-X [MPa].
BAR = {"E": 206900.0, "nu": 0.29, "yield_stress": 450.0, "hardening": 129.24}
VOCE = {"saturation_stress": 715.0, "saturation_rate": 16.93}
MU = BAR["E"] / (2 * (1 + BAR["nu"]))


def yield_stress(alpha: float, voce: bool = True) -> float:
    saturating = (715.0 - 450.0) * (1 - math.exp(-16.93 * alpha)) if voce else 0.0
    return 450.0 + 129.24 * alpha + saturating


def follow(law: LogarithmicJ2, path: list[Tensor]) -> list:
    """Steps along deformation gradients (*b, 3, 3) from the virgin state."""
    state, steps = law.initial_state(*path[0].shape[:-2]), []
    for F in path:
        steps.append(law(F.flatten(-2), state, 1.0))
        state = steps[-1].state
    return steps


def kirchhoff(step, F: Tensor) -> Tensor:
    return step.stress.unflatten(-1, (3, 3)) @ F.mT


def sheared(gamma: float) -> Tensor:
    F = torch.eye(3, dtype=torch.float64)
    F[0, 1] = gamma
    return F


def wandering(n_steps: int, size: float, seed: int = 0) -> list[Tensor]:
    """Smooth closed paths of deformation gradients (3, 3, 3) that end where they begin, at the identity."""
    A, B = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    angles = [2 * math.pi * k / n_steps for k in range(1, n_steps + 1)]
    return [torch.eye(3) + size * (math.sin(t) * A + (1 - math.cos(t)) * B) for t in angles]


@pytest.mark.parametrize("voce", [False, True])
@pytest.mark.parametrize("n_steps", [1, 9])
def test_a_bar_in_tension_follows_its_true_stress_curve_whatever_the_steps(voce, n_steps):
    # Uniaxial Kirchhoff stress t = yield(a): ln stretch = t/E + a, ln side = -nu t/E - a/2 (de Souza Neto, Peric, Owen
    # 2008, section 14.4: in logarithmic strain the return is that of small strain), up to a stretch of 1.5.
    law = LogarithmicJ2(**BAR, **(VOCE if voce else {}))
    R = random_rotation(generator=torch.Generator().manual_seed(2))
    alphas = [0.4 * (k + 1) / n_steps for k in range(n_steps)]
    stresses = [yield_stress(a, voce) for a in alphas]
    path = []
    for a, t in zip(alphas, stresses, strict=True):
        along, side = math.exp(t / BAR["E"] + a), math.exp(-BAR["nu"] * t / BAR["E"] - a / 2)
        path.append(R @ torch.diag(torch.tensor([along, side, side], dtype=torch.float64)))
    for F, step, a, t in zip(path, follow(law, path), alphas, stresses, strict=True):
        wanted = t * torch.outer(R[:, 0], R[:, 0])
        torch.testing.assert_close(kirchhoff(step, F), wanted, rtol=0, atol=1e-10 * t)
        assert float(step.state[6]) == pytest.approx(a, rel=1e-12)
        stored = 0.5 * 129.24 * a**2 + ((715.0 - 450.0) * (a + math.expm1(-16.93 * a) / 16.93) if voce else 0.0)
        assert float(step.psi) == pytest.approx(t**2 / (2 * BAR["E"]) + stored, rel=1e-11)
    total = sum(float(step.dissipation) for step in follow(law, path))
    assert total == pytest.approx(450.0 * alphas[-1], rel=1e-12)


def test_elastic_simple_shear_has_the_stress_of_the_hencky_solid():
    # The stretches of simple shear are exp(+-asinh(gamma/2)), the axis at 1/2 atan(2/gamma):
    # tau_12 = 2 mu asinh(gamma/2) / sqrt(1 + gamma^2/4), tau_11 = -tau_22 = tau_12 gamma/2
    # (L. Anand, J. Appl. Mech. 46 (1979) 78, doi:10.1115/1.3424532, for the law).
    law = LogarithmicJ2(E=BAR["E"], nu=BAR["nu"], yield_stress=1e9)
    for gamma in (1e-6, 0.1, 1.0, 5.0):
        tau = kirchhoff(law(sheared(gamma).flatten(), law.initial_state(), 1.0), sheared(gamma))
        shear = 2 * MU * math.asinh(gamma / 2) / math.sqrt(1 + gamma**2 / 4)
        wanted = [[shear * gamma / 2, shear, 0], [shear, -shear * gamma / 2, 0], [0, 0, 0]]
        wanted = torch.tensor(wanted, dtype=torch.float64)
        torch.testing.assert_close(tau, wanted, rtol=0, atol=1e-12 * shear + 1e-10)


def test_large_plastic_shear_flows_at_the_shear_yield_stress_without_oscillation():
    # Rigid plasticity in simple shear, D = gamma'/2 (e1 e2 + e2 e1): tau_12 = yield(gamma/sqrt 3)/sqrt 3 (R. Hill, The
    # Mathematical Theory of Plasticity, 1950, chapter 2). Elastic strains of 2e-5 leave errors of that size,
    # and a step, in which the axes turn by 0.015 against the flow, one of the order of its square.
    law = LogarithmicJ2(E=5e7, nu=0.3, yield_stress=450.0, hardening=129.24)
    gammas = [0.03 * k for k in range(1, 101)]
    steps = follow(law, [sheared(gamma) for gamma in gammas])
    for gamma, step in zip(gammas, steps, strict=True):
        tau = kirchhoff(step, sheared(gamma))
        wanted = (450.0 + 129.24 * gamma / math.sqrt(3)) / math.sqrt(3)
        assert float(tau[0, 1]) == pytest.approx(wanted, rel=3e-4)
        assert float((tau[0, 0] - tau[1, 1]).abs()) < 0.05 * wanted


def test_plastic_flow_keeps_the_volume():
    law = LogarithmicJ2(**BAR, **VOCE)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(150, 8, 3, 3, generator=generator, dtype=torch.float64)
    steps = follow(law, list(torch.eye(3) + 0.4 * (noise - 0.5)))
    metric = torch.eye(3) + from_mandel(steps[-1].state[..., :6])
    assert float(steps[-1].state[..., 6].min()) > 30  # the exponential term has long underflowed
    assert float((det(metric) - 1).abs().max()) < 1e-10


def test_at_small_strain_it_is_the_small_strain_law():
    generator = torch.Generator().manual_seed(0)
    path = torch.randn(6, 10, 3, 3, generator=generator, dtype=torch.float64)
    errors = []
    for size in (1e-4, 1e-5, 1e-6):
        elastic = {"E": 2e5, "nu": 0.3, "yield_stress": 1e5 * size, "hardening": 1e4}
        small, large = J2Plasticity(**elastic), LogarithmicJ2(**elastic)
        state = small.initial_state(10)
        steps = follow(large, list(torch.eye(3) + size * path))
        for H in path:
            wanted = small(to_mandel(size * H), state, 1.0)
            state = wanted.state
        assert float(state[:, 6].min()) > size
        step = steps[-1]
        difference = to_mandel(step.stress.unflatten(-1, (3, 3))) - wanted.stress
        errors.append(float(difference.abs().max() / wanted.stress.abs().max()))
        assert float((step.psi / wanted.psi - 1).abs().max()) < 100 * size
        assert float((step.state[:, 6] / state[:, 6] - 1).abs().max()) < 100 * size
    assert errors[0] < 5e-3
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


def test_the_yield_condition_holds_to_the_last_digits_whatever_the_hardening():
    strain = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    strain = (strain + strain.mT) / strain.norm(dim=(-2, -1))[:, None, None]
    F = torch.linalg.matrix_exp(torch.logspace(-3, 0.3, 40).double()[:, None, None] * strain)
    moduli = itertools.product([0.0, 10.0, 1e6], [1.0, 1.01, 3.0, 1e3, 1e6], [0.0, 1e-3, 10.0, 1e4, 1e8])
    for hardening, saturation, rate in moduli:
        law = LogarithmicJ2(1000.0, 0.3, 1.0, hardening, saturation_stress=saturation, saturation_rate=rate)
        step = law(F.flatten(1), law.initial_state(40), 1.0)
        tau = kirchhoff(step, F)
        deviator = tau - tau.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(3)
        q, alpha = math.sqrt(1.5) * deviator.norm(dim=(-2, -1)), step.state[:, 6]
        wanted = 1.0 + hardening * alpha - (saturation - 1.0) * (-rate * alpha).expm1()
        excess = (q - wanted) / 1000.0  # a strain
        assert float(excess.max()) < 1e-11
        assert float(excess[alpha > 0].abs().max()) < 1e-11


def test_a_multiplier_is_the_root_of_the_yield_condition():
    law = LogarithmicJ2(**BAR, **VOCE)
    step = law(sheared(0.05).flatten(), law.initial_state(), 1.0)
    trial = math.sqrt(3.0) * 2 * MU * math.asinh(0.025)
    root = brentq(lambda d: trial - 3 * MU * d - yield_stress(d), 0.0, 1.0, xtol=1e-16, rtol=1e-14)
    assert float(step.state[6]) == pytest.approx(root, rel=1e-12)


def test_unloading_keeps_the_history_to_the_bit_and_a_stay_dissipates_nothing():
    law = LogarithmicJ2(**BAR, **VOCE)
    loaded, stayed, unloaded = follow(law, [sheared(0.1), sheared(0.1), sheared(0.098)])
    assert float(loaded.dissipation) > 0
    for step in (stayed, unloaded):
        assert torch.equal(step.state, loaded.state)
        assert float(step.dissipation) == 0.0
        assert float(step.extras["plastic_work"]) == 0.0
    torch.testing.assert_close(stayed.stress, loaded.stress, rtol=0, atol=1e-9)


def test_work_along_a_closed_path_is_stored_or_dissipated_ever_more_exactly_as_steps_shrink():
    law, defects = LogarithmicJ2(**BAR, **VOCE), []
    for n_steps in (40, 120):
        path = wandering(n_steps, 0.05)
        steps = follow(law, path)
        stress = torch.stack([torch.zeros(3, 9, dtype=torch.float64), *(step.stress for step in steps)])
        strain = torch.stack([torch.eye(3).double().expand(3, 3, 3), *path]).flatten(-2)
        work = (0.5 * (stress[1:] + stress[:-1]) * strain.diff(dim=0)).sum((0, -1))
        dissipated = sum(step.dissipation for step in steps)
        assert float((dissipated / work).min()) > 0.5
        defects.append(float(((work - steps[-1].psi - dissipated) / work).abs().max()))
    assert defects[1] < 4e-3
    assert defects[1] < defects[0] / 5  # 9, but for the corner at first yield


def test_the_tangent_of_a_yielding_bar_is_the_derivative_of_its_stress_where_stretches_coincide():
    law = LogarithmicJ2(**BAR, **VOCE)
    R = random_rotation(2, generator=torch.Generator().manual_seed(4))
    stretches = [[1.2, 0.91, 0.91], [1.1, 1.1, 0.85], [1.1, 1.1 + 1e-9, 0.85], [1.2, 0.91, 0.91 - 1e-9]]
    U = torch.diag_embed(torch.tensor(stretches, dtype=torch.float64))
    first, second = (R[0] @ (torch.eye(3) + s * (U - torch.eye(3))) @ R[1] for s in (0.6, 1.0))
    state = law(first.flatten(1), law.initial_state(4), 1.0).state
    tangent = law.tangent(second.flatten(1), state, 1.0)
    assert float((law(second.flatten(1), state, 1.0).state[:, 6] - state[:, 6]).min()) > 0.05
    h, columns = 1e-5, []
    for unit in torch.eye(9, dtype=torch.float64):
        up, down = (law(second.flatten(1) + sign * h * unit, state, 1.0).stress for sign in (1, -1))
        columns.append((up - down) / (2 * h))
    difference = (torch.stack(columns, -1) - tangent).abs().amax((-2, -1))
    assert float((difference / tangent.abs().amax((-2, -1))).max()) < 1e-7
    assert float((tangent - tangent.mT).abs().max()) < 1e-12 * float(tangent.abs().max())


def test_a_gradient_runs_through_the_history_and_through_coincident_stretches():
    path = [torch.linalg.matrix_exp(s * torch.diag(torch.tensor([2.0, -1.0, -1.0]).double())) for s in (0.02, 0.05)]
    path.append(
        path[-1] @ torch.linalg.matrix_exp(0.02 * torch.tensor([[0, 1, 0], [0.5, 0, 0], [0, 0.3, 0.1]]).double())
    )
    names = ("mu", "K", "yield_stress", "hardening", "saturation_stress", "saturation_rate")

    def stress(*moduli: Tensor) -> Tensor:
        law = LogarithmicJ2(**BAR, **VOCE).with_buffers(**dict(zip(names, moduli, strict=True)))
        return follow(law, path)[-1].stress

    law = LogarithmicJ2(**BAR, **VOCE)
    at = [law.get_buffer(name).clone() for name in names]
    backward = torch.func.jacrev(stress, argnums=tuple(range(6)))(*at)
    for k, value in enumerate(at):
        h = 1e-5 * float(value)
        up, down = (stress(*at[:k], value + sign * h, *at[k + 1 :]) for sign in (1, -1))
        difference = (up - down) / (2 * h)
        torch.testing.assert_close(backward[k], difference, rtol=0, atol=1e-7 * float(difference.abs().max()))


def test_the_history_is_the_plastic_metric():
    # b_e = F C_p^-1 F^T, and its logarithm gives the stress.
    law = LogarithmicJ2(**BAR, **VOCE)
    F = wandering(7, 0.05)[3]
    step = follow(law, [F])[0]
    b = F @ (torch.eye(3) + from_mandel(step.state[:, :6])) @ F.mT
    values, Q = torch.linalg.eigh(b)
    e = 0.5 * values.log()
    bulk = float(law.K)
    stresses = 2 * MU * (e - e.mean(-1, keepdim=True)) + bulk * e.sum(-1, keepdim=True)
    P = Q @ torch.diag_embed(stresses) @ Q.mT @ inv(F).mT
    torch.testing.assert_close(step.stress, P.flatten(1), rtol=0, atol=1e-11 * float(P.abs().max()))
