"""Each nonlinear law as the matrix of a small cell: tangent, energies and rest are those of the law, homogenised."""

from __future__ import annotations

import pytest
import torch

from datagen.laws.crystal_plasticity import CrystalPlasticity
from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.generalised_maxwell import GeneralisedMaxwell
from datagen.laws.hardening import ArmstrongFrederick, Perzyna, PowerLaw, Voce
from datagen.laws.isotropic_damage import IsotropicDamage
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.logarithmic_j2 import LogarithmicJ2
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.ogden import Ogden
from datagen.laws.saint_venant_kirchhoff import SaintVenantKirchhoff
from datagen.laws.verdict import Verdict
from datagen.laws.von_mises import VonMises
from datagen.laws.yeoh import Yeoh
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import random_rotation

STIFF = LinearElastic(E=400e3, nu=0.2)
COPPER = {"C11": 168.4e3, "C12": 121.4e3, "C44": 75.4e3}
TURNS = random_rotation(2, generator=torch.Generator().manual_seed(0))
DT = 0.7

CASES = {  # matrix, inclusion, orientations, amplitude of the strain
    "Voce and Armstrong-Frederick": (
        VonMises(190e3, 0.3, 180.0, Voce(60.0, 8.0), ArmstrongFrederick(40e3, 300.0)),
        STIFF,
        None,
        4e-3,
    ),
    "Perzyna": (VonMises(210e3, 0.3, 200.0, PowerLaw(600.0, 0.2), (), Perzyna(100.0, 4.0, 150.0)), STIFF, None, 4e-3),
    "Maxwell": (GeneralisedMaxwell(3e3, 0.38, [1.0, 10.0], [0.2, 0.4], [0.05, 0.0]), STIFF, None, 4e-3),
    "damage by energy": (IsotropicDamage(20e3, 0.2, 20.0, 5.0, 0.25, residual_stiffness=1e-4), STIFF, None, 1.5e-3),
    "damage of Mazars": (IsotropicDamage(20e3, 0.2, 10.0, 2.0, 0.25, "mazars"), STIFF, None, 1.5e-3),
    "plastic, with cubic grains": (VonMises(70e3, 0.3, 100.0, 1e3), CubicElastic(**COPPER), TURNS, 4e-3),
    "Ogden": (Ogden([0.63, 0.0012, -0.01], [1.3, 5.0, -2.0], K=10.0), NeoHooke(20.0, 80.0), None, 0.03),
    "Yeoh": (Yeoh(0.2, -0.01, 0.001, K=10.0), SaintVenantKirchhoff(100.0, 0.3), None, 0.03),
    "logarithmic": (LogarithmicJ2(206.9e3, 0.29, 450.0, 129.24, 715.0, 16.93), NeoHooke(4e5, 4e5), None, 0.02),
    "crystals": (CrystalPlasticity(**COPPER, resistance=16.0, rise=73.0, theta_0=122.0, exponent=5.0),) * 2
    + (TURNS, 0.01),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "_"))
def loaded(request):
    """A cell with a stiff corner, a step into its nonlinear range and the one before it."""
    matrix, inclusion, orientations, amplitude = CASES[request.param]
    phase = torch.zeros(3, 3, 3, dtype=torch.int64)
    phase[:2, :2, 1] = 1
    cell = HomogenisedCell(
        Microstructure(phase, orientations=orientations), [matrix, inclusion], discretisation="hex8r", tolerance=1e-11
    )
    noise = torch.rand(2, cell.measure.n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out, turn = amplitude * (2 * noise - 1)
    first = cell(cell.reference_strain() + out, cell.initial_state(), DT)
    strain = cell.reference_strain() + 1.2 * out + 0.3 * turn
    return cell, amplitude, first, strain, cell(strain, first.state, DT)


def test_a_cell_dissipates_and_rests_as_its_phases_do(loaded):
    cell, _, first, strain, step = loaded
    assert first.verdict == step.verdict == Verdict.GOOD
    dissipates = cell.n_history > 0
    assert (float(step.dissipation) > 0) == dissipates
    assert float(step.extras["dissipation_by_phase"].sum()) == pytest.approx(float(step.dissipation), rel=1e-12)
    assert float(step.extras["hill_mandel"]) < 1e-9
    still = cell(strain, step.state, 0.0)
    assert still.verdict == Verdict.GOOD
    torch.testing.assert_close(still.stress, step.stress, rtol=0, atol=1e-9 * float(step.stress.abs().max()))
    assert float(still.dissipation) <= 1e-12 * float(step.psi)


def test_the_tangent_of_a_cell_is_the_derivative_of_its_stress_whatever_its_laws(loaded):
    cell, amplitude, first, strain, _ = loaded
    n, h = cell.measure.n, 1e-5 * amplitude
    tangent = cell.tangent(strain, first.state, DT)
    moves = torch.cat([h * torch.eye(n, dtype=torch.float64), -h * torch.eye(n, dtype=torch.float64)])
    stress = cell(strain + moves, first.state.expand(2 * n, -1), DT).stress
    difference = ((stress[:n] - stress[n:]) / (2 * h)).T
    assert float((difference - tangent).abs().max()) < 1e-6 * float(tangent.abs().max())
    skew = float((tangent - tangent.T).abs().max() / tangent.abs().max())
    assert (skew < 1e-9) == cell.symmetric
