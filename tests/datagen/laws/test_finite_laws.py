"""What the finite-strain laws refuse, and how they take one modulus a point."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.isochoric import Isochoric
from datagen.laws.law import Law
from datagen.laws.logarithmic_j2 import LogarithmicJ2
from datagen.laws.mooney_rivlin import MooneyRivlin
from datagen.laws.ogden import Ogden
from datagen.laws.saint_venant_kirchhoff import SaintVenantKirchhoff
from datagen.laws.verdict import Verdict
from datagen.laws.yeoh import Yeoh


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SaintVenantKirchhoff(E=1.0, nu=0.5), "nu: got 0.5, wanted a Poisson's ratio"),
        (lambda: MooneyRivlin(c10=1.0, c01=-1.0, K=1.0), r"c10: got c10 \+ c01 = 0, wanted > 0"),
        (lambda: MooneyRivlin(c10=1.0, c01=1.0, K=0.0), "K: got 0.0, wanted a bulk modulus > 0"),
        (lambda: Yeoh(c10=0.0, c20=0.0, c30=0.0, K=1.0), "c10: got 0.0, wanted > 0"),
        (lambda: Yeoh(c10=1.0, c20=math.nan, c30=0.0, K=1.0), "c20: got nan, wanted a finite modulus"),
        (lambda: Ogden(mu_p=[1.0, 2.0], alpha_p=[2.0], K=1.0), "alpha_p: got 1 exponents for 2 moduli"),
        (lambda: Ogden(mu_p=[], alpha_p=[], K=1.0), "alpha_p: got 0 exponents for 0 moduli"),
        (lambda: Ogden(mu_p=[1.0], alpha_p=[0.0], K=1.0), r"alpha_p: got \[0.0\], wanted exponents other than 0"),
        (lambda: Ogden(mu_p=[1.0], alpha_p=[-2.0], K=1.0), "mu_p: got 1/2 sum mu_p alpha_p = -1, wanted"),
        (lambda: Ogden(mu_p=[1.0], alpha_p=[2.0], K=-1.0), "K: got -1.0"),
        (lambda: LogarithmicJ2(1.0, 0.3, yield_stress=0.0), "yield_stress: got 0.0, wanted a stress > 0"),
        (
            lambda: LogarithmicJ2(1.0, 0.3, 1.0, hardening=-1.0),
            "hardening: got -1.0, .* softening needs a length scale",
        ),
        (
            lambda: LogarithmicJ2(1.0, 0.3, 1.0, 0.0, 0.5),
            "saturation_stress: got 0.5, wanted at least the yield stress 1.0",
        ),
        (lambda: LogarithmicJ2(1.0, 0.3, 1.0, 0.0, 2.0, -1.0), "saturation_rate: got -1.0, wanted a rate >= 0"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_solid_without_an_energy_says_so():
    law = Isochoric(K=1.0)
    with pytest.raises(NotImplementedError, match="Isochoric has no energy"):
        law(law.reference_strain(), law.initial_state(), 1.0)


LAWS = {
    "saint_venant_kirchhoff": SaintVenantKirchhoff(E=1.0, nu=0.3),
    "mooney_rivlin": MooneyRivlin(c10=0.2, c01=0.1, K=10.0),
    "yeoh": Yeoh(c10=0.2, c20=-0.01, c30=0.001, K=10.0),
    "ogden": Ogden(mu_p=[0.63, 0.0012, -0.01], alpha_p=[1.3, 5.0, -2.0], K=10.0),
    "logarithmic_j2": LogarithmicJ2(1.0, 0.3, 0.01, 0.1, 0.02, 10.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_with_one_modulus_a_point_answers_as_that_many_laws(name):
    law = LAWS[name]
    factors = torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    fields = {key: torch.stack([f * value for f in factors]) for key, value in law.named_buffers() if key != "alpha_p"}
    generator = torch.Generator().manual_seed(0)
    F = (torch.eye(3) + 0.1 * torch.randn(3, 4, 3, 3, generator=generator, dtype=torch.float64)).flatten(2)
    many, state = law.with_buffers(**fields), law.initial_state(3, 4)
    state = many(F.flip(0), state, 1.0).state
    step, tangent = many(F, state, 1.0), many.tangent(F, state, 1.0)
    assert step.verdict.tolist() == [[Verdict.GOOD] * 4] * 3
    for i in range(4):
        alone: Law = law.with_buffers(**{key: field[i] for key, field in fields.items()})
        answer = alone(F[:, i], state[:, i], 1.0)
        torch.testing.assert_close(answer.stress, step.stress[:, i], rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(answer.psi, step.psi[:, i], rtol=1e-13, atol=1e-16)
        torch.testing.assert_close(answer.state, step.state[:, i], rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(alone.tangent(F[:, i], state[:, i], 1.0), tangent[:, i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_a_fold_is_told_from_a_strain_that_is_no_number(name):
    law = LAWS[name]
    F = law.reference_strain().expand(4, 9).clone()
    F[1, 0], F[2, 0], F[3, 0] = -1.0, 0.0, math.nan
    step = law(F, law.initial_state(4), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.INVERTED, Verdict.INVERTED, Verdict.NOT_FINITE]
    assert step.stress.isfinite().all(-1).tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", LAWS)
def test_the_gradient_of_a_batch_with_a_fold_is_finite_for_the_others(name):
    law = LAWS[name]
    F = law.reference_strain().expand(3, 9).clone()
    F[0, 1], F[1, 0] = 0.1, -1.0
    F.requires_grad_(True)
    (gradient,) = torch.autograd.grad(law(F, law.initial_state(3), 1.0).stress[[0, 2], 1].sum(), F)
    assert gradient[[0, 2]].isfinite().all()
    tangent = law.tangent(F.detach(), law.initial_state(3), 1.0)
    torch.testing.assert_close(gradient[[0, 2]], tangent[[0, 2], 1], rtol=1e-12, atol=1e-13)


def test_a_history_that_is_no_number_has_no_answer():
    law = LAWS["logarithmic_j2"]
    state = law.initial_state(2)
    state[0, 3] = math.nan
    step = law(law.reference_strain().expand(2, 9), state, 1.0)
    assert step.verdict.tolist() == [Verdict.NOT_FINITE, Verdict.GOOD]
    assert step.state.isfinite().all(-1).tolist() == [False, True]
