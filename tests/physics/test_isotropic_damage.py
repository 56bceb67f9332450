"""Isotropic damage: the energy to break a bar is that of its crack area, whatever the width of the crack band."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.laws.isotropic_damage import EQUIVALENT_STRAINS, SOFTENINGS, IsotropicDamage
from datagen.laws.law import Law, Step
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import Verdict
from datagen.tensors import mandel_rotation, random_rotation

E, NU, STRENGTH, G_F = 30000.0, 0.2, 3.0, 0.1  # MPa, -, MPa, N/mm: concrete
START = STRENGTH / E


def concrete(length: float = 20.0, **settings) -> IsotropicDamage:
    return IsotropicDamage(E, NU, STRENGTH, G_F, length, **settings)


def uniaxial(axial: Tensor) -> Tensor:
    """Strain (*b, 6) of uniaxial stress, in a frame of no symmetry; damage leaves Poisson's ratio as it is."""
    strain = torch.stack([axial, -NU * axial, -NU * axial, *[torch.zeros_like(axial)] * 3], -1)
    return strain @ mandel_rotation(random_rotation(generator=torch.Generator().manual_seed(1))).T


def load(law: Law, axial: Tensor) -> Step:
    """All steps of a monotonic uniaxial loading at once: the history before a step is the strain before it."""
    before = torch.cat([axial.new_zeros(1), axial[:-1]])
    state = law(uniaxial(before), law.initial_state(len(axial)), 1.0).state
    return law(uniaxial(axial), state, 1.0)


def axial_stress(law: Law, axial: Tensor) -> Tensor:
    """Stress along the bar (T,): there is none across it, so it is what works on a unit extension."""
    return (load(law, axial).stress * uniaxial(torch.ones_like(axial))).sum(-1)


def separation(length: float, softening: str) -> float:
    """Strain at which nothing is left; of the exponential, less than rounding."""
    opening = G_F / (length * STRENGTH)
    return 2 * opening if softening == "linear" else START + 40 * (opening - START / 2)


@pytest.mark.parametrize("equivalent_strain", EQUIVALENT_STRAINS)
@pytest.mark.parametrize("softening", SOFTENINGS)
@pytest.mark.parametrize("length", [2.0, 20.0, 200.0])
def test_breaking_a_bar_takes_the_fracture_energy_whatever_the_length(length, softening, equivalent_strain):
    # Bazant and Oh 1983: the area under the curve times the width of the band is G_f.
    law = concrete(length, softening=softening, equivalent_strain=equivalent_strain)
    spent = []
    for n_steps in (20000, 40000):
        axial = separation(length, softening) * torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)[1:] ** 2
        step = load(law, axial)
        spent.append(length * float(step.dissipation.sum()))
    assert abs(spent[1] - G_F) < 0.55 * abs(spent[0] - G_F) < 2e-3 * G_F  # of first order in the step
    assert 2 * spent[1] - spent[0] == pytest.approx(G_F, rel=1e-6)
    work = length * float(torch.trapezoid(axial_stress(law, axial), axial))
    assert work == pytest.approx(G_F, rel=1e-6)
    assert float(step.psi[-1]) * length < 1e-12 * G_F
    assert float(step.extras["damage"][-1]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("equivalent_strain", EQUIVALENT_STRAINS)
def test_a_bar_in_tension_is_elastic_up_to_its_strength_and_then_softens_as_said(equivalent_strain):
    length = 20.0
    exponential, linear = (concrete(length, softening=s, equivalent_strain=equivalent_strain) for s in SOFTENINGS)
    axial = START * torch.tensor([0.5, 1 - 1e-12, 2.0, 10.0], dtype=torch.float64)
    decay, end = G_F / (length * STRENGTH) - START / 2, 2 * G_F / (length * STRENGTH)
    elastic, beyond = E * axial[:2], axial[2:]
    curve = torch.cat([elastic, STRENGTH * torch.exp(-(beyond - START) / decay)])
    torch.testing.assert_close(axial_stress(exponential, axial), curve, rtol=1e-11, atol=0)
    curve = torch.cat([elastic, STRENGTH * (end - beyond) / (end - START)])
    torch.testing.assert_close(axial_stress(linear, axial), curve, rtol=1e-11, atol=0)
    assert load(linear, axial).extras["damage"][:2].tolist() == [0.0, 0.0]


# Compression at which damage begins, in units of the strain START at which it does in tension.
COMPRESSION = {
    "energy": 1.0,
    "mazars": 1 / (math.sqrt(2) * NU),  # two principal strains of nu times the compression
    "modified_von_mises": 10.0,  # the default ratio of the strengths: de Vree et al. 1995
    "rankine": math.inf,
}


@pytest.mark.parametrize("equivalent_strain", EQUIVALENT_STRAINS)
def test_a_bar_in_compression_bears_what_its_equivalent_strain_says(equivalent_strain):
    law = concrete(equivalent_strain=equivalent_strain)
    onset = COMPRESSION[equivalent_strain]
    strains = [-100.0, -1.0] if math.isinf(onset) else [-onset * (1 - 1e-9), -onset * (1 + 1e-9)]
    damage = law(uniaxial(START * torch.tensor(strains, dtype=torch.float64)), law.initial_state(2), 1.0).extras[
        "damage"
    ]
    assert float(damage[0]) == 0.0
    assert (float(damage[1]) > 0.0) == math.isfinite(onset)


def test_unloading_leads_to_the_origin_and_dissipates_nothing():
    law = concrete()
    loaded = law(uniaxial(torch.tensor(8 * START, dtype=torch.float64)), law.initial_state(), 1.0)
    factors = torch.tensor([0.99, 0.5, 0.0, -0.9], dtype=torch.float64)
    strain = factors[:, None] * uniaxial(torch.tensor(8 * START, dtype=torch.float64))
    step = law(strain, loaded.state.expand(4, -1), 1.0)
    torch.testing.assert_close(step.stress, factors[:, None] * loaded.stress, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(step.psi, factors**2 * loaded.psi, rtol=1e-13, atol=0)
    assert step.dissipation.tolist() == [0.0] * 4
    assert torch.equal(step.state, loaded.state.expand(4, -1))
    # The tangent is the secant: the stiffness that is left.
    left = 1 - float(loaded.extras["damage"])
    secant = left * LinearElastic(E, NU).tangent(strain, law.initial_state(4)[:, :0], 1.0)
    torch.testing.assert_close(law.tangent(strain, loaded.state.expand(4, -1), 1.0), secant, rtol=0, atol=1e-10 * E)


@pytest.mark.parametrize("equivalent_strain", EQUIVALENT_STRAINS)
def test_the_tangent_is_consistent_where_principal_strains_coincide_or_vanish(equivalent_strain):
    law = concrete(equivalent_strain=equivalent_strain, residual_stiffness=1e-4)
    assert law.symmetric == (equivalent_strain == "energy")
    a = 5e-4
    principal = [[a, a, a], [a, a, -a], [a, a + 1e-12, -0.1 * a], [a, 0, 0], [a, 0, -a], [a, -a, -a], [-a, -a, -a]]
    frame = mandel_rotation(random_rotation(generator=torch.Generator().manual_seed(2)))
    strain = (
        torch.cat([torch.tensor(principal, dtype=torch.float64), torch.zeros(len(principal), 3).double()], -1) @ frame.T
    )
    state = law.initial_state(len(strain))
    _, dense = Law.linearise(law, strain, state, 1.0)  # forward-mode differentiation, of the eigenvalues too
    tangent = law.tangent(strain, state, 1.0)
    torch.testing.assert_close(dense.unflatten(-1, (6, 6)), tangent, rtol=0, atol=1e-12 * E)
    h, units = 1e-9, torch.eye(6, dtype=torch.float64)
    moved = [(law(strain + h * u, state, 1.0).stress - law(strain - h * u, state, 1.0).stress) / (2 * h) for u in units]
    torch.testing.assert_close(torch.stack(moved, -1), tangent, rtol=0, atol=1e-5 * E)
    assert (float((tangent - tangent.mT).abs().max()) < 1e-9 * E) == law.symmetric


@pytest.mark.parametrize("equivalent_strain", EQUIVALENT_STRAINS)
def test_turning_the_body_turns_the_answer(equivalent_strain):
    law = concrete(equivalent_strain=equivalent_strain)
    generator = torch.Generator().manual_seed(0)
    strain = 5e-4 * torch.randn(20, 6, generator=generator, dtype=torch.float64)
    R = mandel_rotation(random_rotation(20, generator=generator))
    step = law(strain, law.initial_state(20), 1.0)
    turned = law((R @ strain[..., None])[..., 0], law.initial_state(20), 1.0)
    torch.testing.assert_close(turned.stress, (R @ step.stress[..., None])[..., 0], rtol=0, atol=1e-11)
    torch.testing.assert_close(turned.state, step.state, rtol=1e-12, atol=0)


def test_a_broken_point_bears_nothing_or_what_is_left_to_it():
    strain = uniaxial(torch.tensor([1.0], dtype=torch.float64))
    broken = concrete(softening="linear")
    step = broken(strain, broken.initial_state(1), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD]
    assert float(step.stress.abs().max()) == float(step.psi[0]) == 0.0
    assert float(broken.tangent(strain, broken.initial_state(1), 1.0).abs().max()) == 0.0
    sheet = PlaneStress(broken)
    assert sheet(strain, sheet.initial_state(1), 1.0).verdict.tolist() == [Verdict.GOOD]
    assert float(sheet.tangent(strain, sheet.initial_state(1), 1.0)[0, 0, 0]) == 0.0
    left = concrete(softening="linear", residual_stiffness=1e-3)
    elastic = LinearElastic(E, NU)(strain, strain[:, :0], 1.0)
    torch.testing.assert_close(left(strain, left.initial_state(1), 1.0).stress, 1e-3 * elastic.stress)


def test_one_length_a_point_answers_as_that_many_laws():
    lengths = torch.tensor([5.0, 20.0, 80.0], dtype=torch.float64)
    strain = uniaxial(torch.tensor([3.0, 5.0, 8.0], dtype=torch.float64) * START)
    law = concrete(equivalent_strain="mazars").with_buffers(length=lengths)
    step, tangent = law(strain, law.initial_state(3), 1.0), law.tangent(strain, law.initial_state(3), 1.0)
    for k in range(3):
        alone = concrete(float(lengths[k]), equivalent_strain="mazars")
        torch.testing.assert_close(alone(strain[k], alone.initial_state(), 1.0).stress, step.stress[k])
        torch.testing.assert_close(alone.tangent(strain[k], alone.initial_state(), 1.0), tangent[k])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.0}, "strength: got 0.0, wanted a tensile strength > 0"),
        ({"fracture_energy": -1.0}, "fracture_energy: got -1.0, wanted an energy per crack area"),
        ({"length": 0.0}, "length: got 0.0, wanted a band width > 0"),
        ({"length": 700.0}, r"length: got 700.0, .* < 2 E fracture_energy / strength\^2 = 666.667 \[mm\]"),
        ({"equivalent_strain": "tresca"}, "equivalent_strain: got 'tresca', wanted one of energy, mazars, modified"),
        ({"softening": "bilinear"}, "softening: got 'bilinear', wanted one of exponential, linear"),
        ({"strength_ratio": 0.5}, "strength_ratio: got 0.5, wanted compression over tension >= 1"),
        ({"residual_stiffness": 1.0}, r"residual_stiffness: got 1.0, wanted a part of the stiffness in \[0, 1\)"),
    ],
)
def test_damage_that_makes_no_sense_is_refused_with_what_was_wanted(change, message):
    numbers = {"E": E, "nu": NU, "strength": STRENGTH, "fracture_energy": G_F, "length": 20.0}
    with pytest.raises(ValueError, match=message) as caught:
        IsotropicDamage(**{**numbers, **change})
    assert "\n" not in str(caught.value)
