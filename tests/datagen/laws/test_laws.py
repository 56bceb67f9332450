"""What laws refuse, and what their verdicts say."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LinearElastic(E=-1.0, nu=0.3), ValueError, "E: got -1.0, wanted a Young's modulus >= 0"),
        (lambda: LinearElastic(E=1.0, nu=0.5), ValueError, "nu: got 0.5, wanted a Poisson's ratio"),
        (lambda: NeoHooke(mu=0.0, lmbda=1.0), ValueError, "mu: got 0.0, wanted a shear modulus > 0"),
        (lambda: NeoHooke(mu=math.nan, lmbda=1.0), ValueError, "mu: got nan"),
        (lambda: NeoHooke(mu=3.0, lmbda=-2.0), ValueError, "lmbda: got -2.0, wanted > -2/3 mu = -2"),
        (lambda: J2Plasticity(1.0, 0.3, yield_stress=0.0, hardening=1.0), ValueError, "yield_stress: got 0.0"),
        (lambda: J2Plasticity(1.0, 0.3, yield_stress=1.0, hardening=-1.0), ValueError, "hardening: got -1.0"),
        (lambda: PlaneStress("steel"), TypeError, "law: got str, wanted a Law"),
        (lambda: PlaneStress(PlaneStress(LinearElastic(1.0, 0.3))), ValueError, "no strain component 33"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused_with_what_was_wanted(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_plane_stress_needs_a_law_for_which_z_is_a_symmetry_plane():
    law = LinearElastic(1.0, 0.3)
    law.mirror_z = False
    with pytest.raises(ValueError, match="wanted a law with mirror_z"):
        PlaneStress(law)


def test_plane_stress_finds_the_thickness_from_a_guess_that_turns_the_sheet_inside_out():
    law = PlaneStress(NeoHooke(mu=1.0, lmbda=10.0))
    F = torch.tensor([1.2, 0.1, 0, -0.2, 0.9, 0, 0, 0, 1], dtype=torch.float64)
    good = law(F, law.initial_state(), 1.0)
    bad_guess = torch.full_like(law.initial_state(), -5.0)
    step = law(F, bad_guess, 1.0)
    assert step.verdict == Verdict.GOOD
    torch.testing.assert_close(step.stress[:2], good.stress[:2], rtol=1e-11, atol=0)


def test_every_verdict_says_what_to_do():
    for verdict in Verdict:
        assert verdict.sentence.endswith(".")
        assert verdict.has_answer == (verdict < FIRST_WITHOUT_ANSWER)


def test_a_component_that_a_measure_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"components: got '21', wanted names among 11, 22, .* \(SMALL strain\)"):
        Measure.SMALL.columns(["11", "21"])
    assert Measure.FINITE.columns(PLANE_STRAIN[Measure.FINITE]) == [0, 1, 3, 4]
    assert Measure.SMALL.columns(PLANE_STRAIN[Measure.SMALL]) == [0, 1, 5]


def test_a_law_with_one_modulus_a_point_answers_as_that_many_laws():
    generator = torch.Generator().manual_seed(0)
    F = torch.eye(3, dtype=torch.float64) + 0.1 * torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    mu, lmbda = torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
    law = NeoHooke(mu=1.0, lmbda=1.0).with_buffers(mu=mu, lmbda=lmbda)
    step, tangent = law(F.flatten(1), law.initial_state(4), 1.0), law.tangent(F.flatten(1), law.initial_state(4), 1.0)
    for i in range(4):
        alone = NeoHooke(mu=float(mu[i]), lmbda=float(lmbda[i]))
        torch.testing.assert_close(alone(F[i].flatten(), alone.initial_state(), 1.0).stress, step.stress[i])
        torch.testing.assert_close(alone.tangent(F[i].flatten(), alone.initial_state(), 1.0), tangent[i])


def test_stress_is_differentiable_with_respect_to_the_moduli():
    strain = 4e-3 * torch.tensor([1.0, -0.3, 0.2, 0.5, -0.7, 0.4], dtype=torch.float64)

    def stress(yield_stress: torch.Tensor) -> torch.Tensor:
        law = J2Plasticity(E=210000.0, nu=0.3, yield_stress=250.0, hardening=2100.0)
        law = law.with_buffers(yield_stress=yield_stress)
        return law(strain, law.initial_state(), 1.0).stress

    at = torch.tensor(250.0, dtype=torch.float64)
    derivative = torch.func.jacfwd(stress)(at)
    difference = (stress(at + 0.01) - stress(at - 0.01)) / 0.02
    assert float(derivative.abs().max()) > 0.1
    torch.testing.assert_close(derivative, difference, rtol=1e-8, atol=1e-8)


def test_a_law_without_an_answer_of_its_own_says_so():
    class Nothing(Law):
        measure = Measure.SMALL

    with pytest.raises(NotImplementedError, match="Nothing has no forward"):
        Nothing()(torch.zeros(6), torch.zeros(0), 1.0)
