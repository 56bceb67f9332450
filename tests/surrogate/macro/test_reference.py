"""The macro solver against other codes and against textbooks.

Golden values: "Reference values for the macro solver", measured 2026-11-22 with scikit-fem 12.0.2, torch-fem 0.14.0,
CalculiX 2.20 and NGSolve 6.2.2608.
"""

from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from surrogate.macro.cantilever import cantilever
from surrogate.macro.cook import cook
from surrogate.macro.solution import convergence_order
from surrogate.macro.solver import solve
from surrogate.macro.uniaxial import uniaxial

COOK_LAW = NeoHooke(mu=92.52499999999999, lmbda=138.7875)  # E = 240.565, nu = 0.3


def test_cantilever_of_neo_hooke_bends_as_in_other_codes() -> None:
    solution = solve(cantilever(), NeoHooke(mu=384.6153846153846, lmbda=576.9230769230769))
    # scikit-fem -0.00020466065, torch-fem ...066, CalculiX ...06: equal to 1e-6 of the deflection.
    expected = torch.tensor([-1.38008102, -5.30741238, -0.00020466065], dtype=torch.float64)
    torch.testing.assert_close(solution.monitored[-1], expected, rtol=1e-6, atol=0)


def test_cook_membrane_of_neo_hooke_lies_in_the_band_of_two_codes() -> None:
    solution = solve(cook(load=100.0, n=32, element="quad9", steps=5), COOK_LAW)
    u_x, u_y = solution.monitored[-1].tolist()
    assert -6.993 <= u_x <= -6.981
    assert 7.774 <= u_y <= 7.78
    assert solution.monitored[-1].tolist() == pytest.approx([-6.983, 7.7748], abs=1e-4)  # scikit-fem, same mesh
    assert min(solution.orders()) >= 1.8


def test_cook_membrane_of_quad4_softens_towards_the_band_as_the_mesh_is_refined() -> None:
    u_y = [float(solve(cook(load=100.0, n=n, steps=2), COOK_LAW).monitored[-1, 1]) for n in (8, 16, 32)]
    gap = [7.777 - u for u in u_y]
    assert gap[0] > gap[1] > gap[2] > 0
    assert gap[2] < 0.01 * 7.777
    assert gap[1] / gap[2] > 3.0  # quadratic in the element size, less the singular corner


def test_linear_cook_membrane_in_plane_stress() -> None:
    problem = cook(load=1.0, n=16, element="quad9", measure="small", steps=1, monitor=(48.0, 52.0))
    law = PlaneStress(LinearElastic(E=1.0, nu=1 / 3))
    solution = solve(problem, law)
    # scikit-fem, 16x16 Q2; the literature's 23.96 belongs to this point too.
    assert float(solution.monitored[-1, 1]) == pytest.approx(23.949, abs=1e-3)
    assert solution.timings["law_calls"] == 2  # the reference and one iterate: it is linear
    # The corner (48, 60) moves 25.16 on the 64x64 mesh, and is 0.3 % stiffer on this one.
    corner = solution.assembly.nodes_at((48.0, 60.0))[0]
    assert float(solution.nodal(solution.displacements)[-1, corner, 1]) == pytest.approx(25.16, rel=5e-3)


@pytest.mark.parametrize("element", ["quad4", "quad9"])
def test_newton_converges_quadratically_down_to_1e_10(element: str) -> None:
    solution = solve(cook(load=100.0, n=8, element=element, steps=4), COOK_LAW)
    assert all(residuals[-1] <= 1e-10 for residuals in solution.residuals)
    orders = solution.orders()
    assert min(orders) >= 1.8
    assert any(math.isfinite(order) for order in orders)


def test_order_of_linear_and_quadratic_sequences() -> None:
    assert convergence_order([0.3 * 0.1**k for k in range(5)]) == pytest.approx(1.0)
    assert convergence_order([0.1**2**k for k in range(4)]) == pytest.approx(2.0)
    assert convergence_order([1e-2, 2e-2, 1e-3]) == 0.0
    assert convergence_order([1.0, 1e-13]) == math.inf


def test_plastic_bar_loads_unloads_and_yields_in_compression_as_on_paper() -> None:
    E, H, yield_stress = 200e3, 10e3, 250.0
    strains = [1e-3, 3e-3, 5e-3, 4e-3, 3e-3, 1e-3, -2e-3]
    problem = uniaxial(elongation=5e-3, n=2, measure=Measure.SMALL, steps=[strain / 5e-3 for strain in strains])
    solution = solve(problem, J2Plasticity(E=E, nu=0.3, yield_stress=yield_stress, hardening=H))
    assert solution.converged

    # Isotropic hardening in one dimension, Simo & Hughes (1998) box 1.4: exact for a homogeneous bar.
    plastic, alpha, dissipated, expected, losses = 0.0, 0.0, 0.0, [], []
    for strain in strains:
        trial = E * (strain - plastic)
        flow = max(0.0, (abs(trial) - yield_stress - H * alpha) / (E + H))
        plastic += math.copysign(flow, trial)
        alpha += flow
        dissipated += yield_stress * flow
        expected.append(E * (strain - plastic))
        losses.append(dissipated)
    stress = solution.stress[..., 0]
    for t, value in enumerate(expected):
        torch.testing.assert_close(stress[t], torch.full_like(stress[t], value), rtol=1e-9, atol=1e-7)
    assert solution.energy["dissipated"].tolist() == pytest.approx(losses, rel=1e-9, abs=1e-12)
    assert float(solution.state["body"][0, 6]) == pytest.approx(alpha, rel=1e-9)
