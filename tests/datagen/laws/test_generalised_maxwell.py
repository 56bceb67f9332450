"""Linear viscoelasticity against its closed forms: relaxation, constant rate, oscillation, energy."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch

from datagen.laws.generalised_maxwell import GeneralisedMaxwell
from datagen.laws.linear_elastic import LinearElastic
from datagen.tensors import SQRT2, lame_constants

E, NU, TAU, SHEAR, BULK = 3000.0, 0.38, [0.1, 1.0, 40.0], [0.2, 0.15, 0.25], [0.05, 0.0, 0.3]
LMBDA, MU = lame_constants(E, NU)
K = LMBDA + 2 * MU / 3
LAW = GeneralisedMaxwell(E=E, nu=NU, relaxation_times=TAU, shear=SHEAR, bulk=BULK)
STRAIN = 1e-3 * torch.tensor([3.0, -1.0, 2.0, 0.5, -2.5, 4.0], dtype=torch.float64)


def relaxed(modulus, parts, t):
    """Prony series of a relaxation modulus: Ferry 1980, chapter 3; Simo and Hughes 1998, chapter 10."""
    return modulus * (1 - sum(parts) + sum(g * math.exp(-t / tau) for g, tau in zip(parts, TAU, strict=True)))


def parts(stress):
    """Mean stress and shear stress 12."""
    return float(stress[:3].mean()), float(stress[5]) / SQRT2


def follow(law, strains, dts):
    state, steps = law.initial_state(), []
    for strain, dt in zip(strains, dts, strict=True):
        steps.append(law(strain, state, dt))
        state = steps[-1].state
    return steps


@pytest.mark.parametrize("times", [[0.3], [0.01, 0.02, 0.5, 3.0, 1000.0]])
def test_stress_relaxes_by_the_prony_series_whatever_the_steps(times):
    steps = follow(LAW, [STRAIN] * (len(times) + 1), [0.0, *times])  # a jump, then rest
    for step, t in zip(steps, np.cumsum([0.0, *times]), strict=True):
        pressure, shear = parts(step.stress)
        assert pressure == pytest.approx(relaxed(K, BULK, t) * float(STRAIN[:3].sum()), rel=1e-13)
        assert shear == pytest.approx(2 * relaxed(MU, SHEAR, t) * float(STRAIN[5]) / SQRT2, rel=1e-13)
    instant = LinearElastic(E=E, nu=NU)
    elastic = instant(STRAIN, instant.initial_state(), 1.0)
    assert steps[0].stress.tolist() == pytest.approx(elastic.stress.tolist(), rel=1e-13)
    assert steps[0].psi.item() == pytest.approx(elastic.psi.item(), rel=1e-13)
    assert steps[0].dissipation.item() == 0.0


@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_stress_at_constant_rate_follows_its_closed_form_whatever_the_steps(n_steps):
    # Ferry 1980, section 3.A: sigma(t) = rate times the integral of G from 0 to t.
    t, rate = 2.0, STRAIN / 2.0
    steps = follow(LAW, [rate * t * (k + 1) / n_steps for k in range(n_steps)], [t / n_steps] * n_steps)

    def integral(modulus, g):
        branches = sum(a * tau * -math.expm1(-t / tau) for a, tau in zip(g, TAU, strict=True))
        return modulus * ((1 - sum(g)) * t + branches)

    pressure, shear = parts(steps[-1].stress)
    assert pressure == pytest.approx(integral(K, BULK) * float(rate[:3].sum()), rel=1e-13)
    assert shear == pytest.approx(2 * integral(MU, SHEAR) * float(rate[5]) / SQRT2, rel=1e-13)


def steady_cycle(law, omega, n, amplitude):
    """In-phase and out-of-phase shear modulus and G'' from the dissipation of a steady cycle in n steps, each (b,)."""
    phase = 2 * math.pi * torch.arange(n + 1, dtype=torch.float64) / n
    dt = 2 * math.pi / n / omega
    strain = torch.zeros(n + 1, 6, dtype=torch.float64)
    strain[:, 5] = SQRT2 * amplitude * phase.sin()
    decay = torch.exp(-n * dt[:, None] / law.relaxation_times).repeat_interleave(6, dim=-1)
    state = law.initial_state(len(omega))
    for _ in range(2):  # what the springs keep over a cycle is linear in what they had before it
        start = state
        steps = []
        for e in strain[1:]:
            steps.append(law(e.expand(len(omega), -1), state, dt))
            state = steps[-1].state
        state = torch.cat([state[:, :6], (state[:, 6:] - decay * start[:, 6:]) / (1 - decay)], -1)
    shear = torch.stack([step.stress[:, 5] for step in steps], -1) / SQRT2
    in_phase, out_of_phase = ((shear * x[1:]).mean(-1) / amplitude for x in (phase.sin(), phase.cos()))
    lost = sum(step.dissipation for step in steps) / (4 * math.pi * amplitude**2)
    return torch.stack([in_phase, out_of_phase, lost])


def test_an_oscillating_body_has_ferrys_storage_and_loss_modulus():
    # Ferry 1980, chapter 3: G' = G_inf + sum G_i (w tau)^2/(1 + (w tau)^2), G'' = sum G_i w tau/(1 + (w tau)^2), and a
    # cycle of amplitude a (tensor shear) dissipates 4 pi G'' a^2. The strain is linear between the n points of a
    # cycle, which costs terms of order 1/n^2: Richardson's extrapolation of n = 100 and 200.
    law = GeneralisedMaxwell(E=E, nu=NU, relaxation_times=TAU, shear=SHEAR)
    omega = torch.tensor([0.3, 1.0, 20.0], dtype=torch.float64)
    x, g = omega[:, None] * law.relaxation_times, law.shear
    storage = MU * (1 - sum(SHEAR) + (g * x**2 / (1 + x**2)).sum(-1))
    loss = MU * (g * x / (1 + x**2)).sum(-1)
    coarse, fine = (steady_cycle(law, omega, n, amplitude=1e-2) for n in (100, 200))
    wanted = torch.stack([storage, loss, loss])
    assert float(((4 * fine - coarse) / 3 / wanted - 1).abs().max()) < 2e-6
    assert float((fine / wanted - 1).abs().max()) < 1e-3


@pytest.mark.parametrize("dt", [1e-9, 1e-3, 0.05, 1.0, 30.0, 1e7])
def test_work_is_stored_or_dissipated_exactly_in_every_step(dt):
    # The work of strain linear in time, by Gauss's rule on the answers within the step (the law is exact there too).
    generator = torch.Generator().manual_seed(3)
    state = LAW(torch.zeros(6, dtype=torch.float64), LAW.initial_state(), 1.0).state
    psi = 0.0
    nodes, weights = np.polynomial.legendre.leggauss(16)
    # Pieces between breaks that grow from the shortest relaxation: each is smooth for the rule.
    breaks = np.unique(np.clip([0.0, *(0.2 * min(TAU) * 1.6 ** np.arange(-20, 60)), dt], 0.0, dt))
    for _ in range(3):
        before = state[:6]
        strain = 1e-2 * torch.randn(6, dtype=torch.float64, generator=generator)
        work = 0.0
        for a, b in itertools.pairwise(breaks.tolist()):
            t = torch.tensor(a + (b - a) * (nodes + 1) / 2)
            within = before + (t / dt)[:, None] * (strain - before)
            stress = LAW(within, state.expand(len(t), -1), t).stress
            work += float((torch.tensor(weights)[:, None] * stress).sum(0) @ (strain - before)) * (b - a) / 2 / dt
        step = LAW(strain, state, dt)
        scale = E * float(strain @ strain)
        assert work - (step.psi.item() - psi) == pytest.approx(step.dissipation.item(), abs=1e-12 * scale)
        assert step.dissipation.item() >= 0
        state, psi = step.state, step.psi.item()


def test_dissipation_keeps_its_digits_from_the_shortest_step_to_the_longest():
    # From rest, one branch, x = dt/tau: 2 mu |d e|^2 (x - 2 (1 - exp(-x)) + (1 - exp(-2 x))/2)/x^2, here in 60 digits.
    law = GeneralisedMaxwell(E=2.0, nu=0.0, relaxation_times=[1.0], shear=[1.0])
    strain = torch.tensor([1.0, -1.0, 0, 0, 0, 0], dtype=torch.float64)
    x = np.concatenate([np.geomspace(1e-12, 1e12, 97), [1.999999, 2.0, 2.000001]])
    dissipation = law(strain.expand(100, -1), law.initial_state(100), torch.tensor(x)).dissipation
    with mpmath.workdps(60):
        for y, got in zip(x, dissipation.tolist(), strict=True):
            z = mpmath.mpf(float(y))
            c = (z - 2 * (1 - mpmath.exp(-z)) + (1 - mpmath.exp(-2 * z)) / 2) / z**2
            assert got == pytest.approx(float(4 * c), rel=1e-14)


@pytest.mark.parametrize("x", [1e-8, 1e-2, 1.0, 3.0, 10.0])
def test_a_branch_that_is_pulled_back_through_nothing_still_dissipates(x):
    # A spring of strain 1, pulled by -x/tanh(x/2) in the time x tau dissipates
    # 2 mu |e|^2 (x - 2 tanh(x/2))/tanh(x/2)^2, where the two terms of a naive formula cancel.
    law = GeneralisedMaxwell(E=2.0, nu=0.0, relaxation_times=[1.0], shear=[1.0])
    e = torch.tensor([1.0, -1.0, 0, 0, 0, 0], dtype=torch.float64)
    first = law(e, law.initial_state(), 0.0)
    step = law((1 - x / math.tanh(x / 2)) * e, first.state, x)
    with mpmath.workdps(50):
        tanh = mpmath.tanh(mpmath.mpf(x) / 2)
        wanted = float(4 * (mpmath.mpf(x) - 2 * tanh) / tanh**2)
    assert step.dissipation.item() == pytest.approx(wanted, rel=1e-12)


def test_the_tangent_is_symmetric_and_between_the_relaxed_and_the_instantaneous_stiffness():
    dt = torch.tensor([0.0, 1e-6, 0.1, 10.0, 1e9], dtype=torch.float64)
    C = LAW.tangent(STRAIN.expand(5, -1), LAW.initial_state(5), dt)
    assert torch.equal(C, C.mT)
    instant = LinearElastic(E=E, nu=NU)
    stiff = instant.tangent(STRAIN, instant.initial_state(), 1.0)
    assert float((C[0] - stiff).abs().max()) < 1e-14 * float(stiff.max())
    shear = C[:, 5, 5] / 2
    assert bool((shear.diff() < 0).all())
    assert float(shear[-1]) == pytest.approx(MU * (1 - sum(SHEAR)), rel=1e-7)


def test_moduli_and_relaxation_times_may_differ_from_point_to_point():
    # One law with buffers as fields answers as two laws do.
    other = GeneralisedMaxwell(
        E=500.0, nu=0.2, relaxation_times=[3.0, 0.2, 7.0], shear=[0.3, 0.1, 0.0], bulk=[0, 0, 0.2]
    )
    fields = {name: torch.stack([a, other.get_buffer(name)]) for name, a in LAW.named_buffers()}
    both = LAW.with_buffers(**fields)
    strains = torch.stack([STRAIN, -2 * STRAIN]).expand(4, 2, 6)
    state = both(strains, both.initial_state(4, 2), 0.3).state
    step, saved = both.linearise(0.5 * strains, state, torch.tensor(0.8, dtype=torch.float64))
    tangent = both.dense(saved)
    for k, law in enumerate((LAW, other)):
        own = law(strains[0, k], law.initial_state(), 0.3).state
        alone = law(0.5 * strains[0, k], own, 0.8)
        assert step.stress[2, k].tolist() == pytest.approx(alone.stress.tolist(), rel=1e-13)
        assert step.dissipation[2, k].item() == pytest.approx(alone.dissipation.item(), rel=1e-13)
        wanted = law.tangent(0.5 * strains[0, k], own, 0.8)
        assert float((tangent[2, k] - wanted).abs().max()) < 1e-13 * float(wanted.max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"relaxation_times": [1.0, -1.0], "shear": [0.1, 0.1]},
            r"relaxation_times: got \[1.0, -1.0\], wanted at least",
        ),
        ({"relaxation_times": [], "shear": []}, r"relaxation_times: got \[\]"),
        (
            {"relaxation_times": [1.0], "shear": [0.1, 0.1]},
            r"shear: got 2 numbers, wanted one for each of 1 relaxation",
        ),
        ({"relaxation_times": [1.0, 2.0], "shear": [0.6, 0.6]}, r"shear: got \[0.6, 0.6\], .* in sum <= 1"),
        ({"relaxation_times": [1.0], "shear": [0.1], "bulk": [-0.1]}, r"bulk: got \[-0.1\]"),
    ],
)
def test_impossible_series_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeneralisedMaxwell(E=1.0, nu=0.3, **arguments)
