"""Nonlinear hardening and viscosity against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.laws.hardening import ArmstrongFrederick, Linear, Perzyna, PowerLaw, Voce
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Law
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import Verdict
from datagen.laws.von_mises import VonMises
from datagen.microstructures.microstructure import Microstructure
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.rve.homogenised import HomogenisedCell

E, NU, YIELD = 200000.0, 0.3, 200.0
MU = E / (2 * (1 + NU))


def metal(*args, **kwargs) -> VonMises:
    return VonMises(E, NU, YIELD, *args, **kwargs)


def stretched(axial: Tensor) -> Tensor:
    """Isochoric extension (*b, 6). Its von Mises stress is the stress of uniaxial tension with 3 mu in place of E."""
    return torch.stack([axial, -axial / 2, -axial / 2, *[torch.zeros_like(axial)] * 3], -1)


def random_strain(n: int, amplitude: float = 4e-3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return amplitude * (2 * torch.rand(n, 6, generator=generator, dtype=torch.float64) - 1)


def follow(law: Law, axial: Tensor, dt: Tensor | float = 1.0) -> tuple[Tensor, Tensor, list]:
    """Axial von Mises stress (T, *b) with its sign, axial plastic strain (T, *b) and steps, along axial strains."""
    state, steps = law.initial_state(*axial.shape[1:]), []
    for strain in axial:
        steps.append(law(stretched(strain), state, dt))
        state = steps[-1].state
    stress = torch.stack([1.5 * step.stress[..., 0] for step in steps])
    return stress, torch.stack([step.state[..., 0] for step in steps]), steps


# Lemaitre and Chaboche 1990, section 5.4: in uniaxial tension sigma = yield + R(eps_p), eps = sigma / E + eps_p.
UNIAXIAL = {
    "linear": (1500.0, lambda a: 1500 * a),
    "voce": (Voce(120.0, 40.0), lambda a: 120 * (1 - torch.exp(-40 * a))),
    "power law": (PowerLaw(500.0, 0.25, 1e-3), lambda a: 500 * ((1e-3 + a) ** 0.25 - 1e-3**0.25)),
    "all": (
        [Linear(1500.0), Voce(120.0, 40.0), PowerLaw(500.0, 0.25, 1e-3)],
        lambda a: 1500 * a + 120 * (1 - torch.exp(-40 * a)) + 500 * ((1e-3 + a) ** 0.25 - 1e-3**0.25),
    ),
}


@pytest.mark.parametrize("name", UNIAXIAL)
def test_uniaxial_tension_follows_the_hardening_curve_whatever_the_steps(name):
    hardening, R = UNIAXIAL[name]
    law = metal(hardening)
    for n_steps in (2, 5):
        axial = torch.linspace(0, 0.06, n_steps + 1, dtype=torch.float64)[1:]
        record = drive(law, LoadPath.along("small", strain={"11": axial}, stress={"22": 0.0, "33": 0.0}))
        sigma = record.stress[0, :, 0]
        plastic = axial - sigma / E
        torch.testing.assert_close(sigma, YIELD + R(plastic), rtol=1e-10, atol=0)
        assert float(record.state[0, 6]) == pytest.approx(float(plastic[-1]), rel=1e-10)


def test_voce_hardening_stores_and_dissipates_what_its_closed_form_says():
    law, axial = metal(Voce(120.0, 40.0)), torch.linspace(0.01, 0.05, 3, dtype=torch.float64)
    stress, plastic, steps = follow(law, axial)
    # psi = sigma^2 / (6 mu) + Q (alpha - (1 - exp(-b alpha)) / b), all the rest of the work is yield alpha.
    stored = 120 * (plastic + torch.expm1(-40 * plastic) / 40)
    psi = torch.stack([step.psi for step in steps])
    torch.testing.assert_close(psi, stress**2 / (6 * MU) + stored, rtol=1e-11, atol=0)
    assert float(sum(step.dissipation for step in steps)) == pytest.approx(YIELD * float(plastic[-1]), rel=1e-12)


def extrapolated(values: list[Tensor], exact: Tensor) -> list[float]:
    """Relative errors at three steps, each half the one before, and of the extrapolation of the last two to none."""
    for_all = [*values, 2 * values[-1] - values[-2]]
    return [float(((value - exact).abs() / exact.abs()).max()) for value in for_all]


def test_back_stress_in_monotonic_loading_saturates_exponentially():
    # Lemaitre and Chaboche 1990, section 5.4: X = C/gamma (1 - exp(-gamma eps_p)).
    C, gamma = 30000.0, 200.0
    law, found, exact = metal(kinematic=ArmstrongFrederick(C, gamma)), [], None
    for n_steps in (20, 40, 80):
        stress, plastic, _ = follow(law, torch.linspace(0, 0.012, n_steps + 1, dtype=torch.float64)[1:])
        # The plastic strain differs with the steps: compare the back stress with that of its own plastic strain.
        exact = C / gamma * -torch.expm1(-gamma * plastic[-1])
        found.append((stress[-1] - YIELD) / exact)
    errors = extrapolated(found, torch.ones(()))
    assert errors[2] < 0.55 * errors[1] < 0.55**2 * errors[0]
    assert errors[3] < 1e-3
    stress, _, steps = follow(law, torch.linspace(0, 2.0, 41, dtype=torch.float64)[1:])
    assert float(stress[-1]) == pytest.approx(YIELD + C / gamma, rel=1e-9)
    # From there on all work is dissipated.
    power = float(stress[-1]) * float(steps[-1].state[6] - steps[-2].state[6])
    assert float(steps[-1].dissipation) == pytest.approx(power, rel=1e-8)


def test_stabilised_cycle_has_the_amplitude_of_its_closed_form():
    # Lemaitre and Chaboche 1990, section 5.4: d sigma / 2 = yield + C/gamma tanh(gamma d eps_p / 2).
    C, gamma, found = 30000.0, 200.0, []
    law = metal(kinematic=ArmstrongFrederick(C, gamma))
    for n_steps in (10, 20, 40):
        turn = 0.005 * torch.linspace(1, -1, n_steps + 1, dtype=torch.float64)[1:]
        stress, plastic, _ = follow(law, torch.cat([-turn, *[turn, -turn] * 2]))
        assert float((stress[-1] + stress[-1 - n_steps]).abs()) < 1e-3 * YIELD  # it has stabilised, around no mean
        amplitude, plastic = (0.5 * (x[-1] - x[-1 - n_steps]) for x in (stress, plastic))
        found.append(amplitude / (YIELD + C / gamma * torch.tanh(gamma * plastic)))
    errors = extrapolated(found, torch.ones(()))
    assert errors[2] < 0.55 * errors[1] < 0.55**2 * errors[0]
    assert errors[3] < 1e-3


@pytest.mark.parametrize("recovery", [0.0, 100.0], ids=["Prager", "Armstrong-Frederick"])
def test_kinematic_hardening_moves_the_elastic_range_and_keeps_its_width(recovery):
    law = metal(kinematic=[ArmstrongFrederick(30000.0, recovery), ArmstrongFrederick(5000.0, 3 * recovery)])
    assert law.symmetric == (recovery == 0)
    _, _, steps = follow(law, torch.tensor([0.004, 0.009], dtype=torch.float64))
    state = steps[-1].state
    back = 2 * YIELD / (3 * MU)  # the strain that turns yield in tension into yield in compression
    strains = 0.009 - back * torch.tensor([0.5, 1 - 1e-9, 1 + 1e-6], dtype=torch.float64)
    flow = law(stretched(strains), state.expand(3, -1), 1.0).state[:, 6] - state[6]
    assert flow[:2].tolist() == [0.0, 0.0]
    assert float(flow[2]) > 0


def test_back_stresses_add_up_to_chaboche_s_model():
    terms = [(60000.0, 800.0), (20000.0, 200.0), (2000.0, 50.0)]
    law = metal(kinematic=[ArmstrongFrederick(*term) for term in terms])
    stress, _, _ = follow(law, torch.linspace(0, 8.0, 41, dtype=torch.float64)[1:])
    assert float(stress[-1]) == pytest.approx(YIELD + sum(C / gamma for C, gamma in terms), rel=1e-9)


def test_viscous_stress_at_a_constant_strain_rate_is_the_overstress_of_that_rate():
    # de Souza Neto, Peric, Owen 2008, chapter 11: steady flow at rate r needs f = drag (time r)^(1/n).
    time, n, drag = 10.0, 5.0, 100.0
    rates = torch.tensor([1e-8, 1e-3, 1e-1, 1e3], dtype=torch.float64)
    axial = torch.linspace(0, 0.4, 21, dtype=torch.float64)[1:, None].expand(-1, 4)
    stress, _, steps = follow(metal(viscosity=Perzyna(time, n, drag)), axial, dt=0.02 / rates)
    wanted = YIELD + drag * (time * rates) ** (1 / n)
    torch.testing.assert_close(stress[-1], wanted, rtol=1e-9, atol=0)
    torch.testing.assert_close(steps[-1].dissipation, 0.02 * wanted, rtol=1e-8, atol=0)


@pytest.mark.parametrize("n", [1.0, 3.0])
def test_viscous_stress_relaxes_at_a_held_strain_as_its_closed_form(n):
    # d f / d t = -3 mu (f / drag)^n / time, so f^(1-n) = f_0^(1-n) + (n - 1) 3 mu t / (time drag^n), or f_0 exp(...).
    time, drag, hold, found = 500.0, 100.0, 0.4, []
    law = metal(viscosity=Perzyna(time, n, drag))
    strain = stretched(torch.tensor(0.002, dtype=torch.float64))
    f_0 = 3 * MU * 0.002 - YIELD
    slope = 3 * MU * hold / (time * drag**n)
    exact = f_0 * math.exp(-slope) if n == 1 else (f_0 ** (1 - n) + (n - 1) * slope) ** (1 / (1 - n))
    for n_steps in (20, 40, 80):
        step = law(strain, law.initial_state(), 0.0)
        assert float(1.5 * step.stress[0]) == pytest.approx(YIELD + f_0, rel=1e-14)  # no time, no flow
        for _ in range(n_steps):
            step = law(strain, step.state, hold / n_steps)
        found.append(1.5 * step.stress[0] - YIELD)
    errors = extrapolated(found, torch.tensor(exact, dtype=torch.float64))
    assert errors[2] < 0.55 * errors[1] < 0.55**2 * errors[0]
    assert errors[3] < 2e-3


def test_fast_steps_are_elastic_and_slow_ones_are_rate_independent():
    terms = {"hardening": Voce(120.0, 40.0), "kinematic": ArmstrongFrederick(30000.0, 200.0)}
    plain, strain = metal(**terms), random_strain(50)
    state = plain(random_strain(50, seed=1), plain.initial_state(50), 1.0).state
    slow = metal(**terms, viscosity=Perzyna(1e-30, 2.0, 100.0))(strain, state, 1.0)
    torch.testing.assert_close(slow.stress, plain(strain, state, 1.0).stress, rtol=0, atol=1e-9)
    fast = metal(**terms, viscosity=Perzyna(1e30, 2.0, 100.0))(strain, state, 1.0)
    elastic = LinearElastic(E, NU)(strain - state[:, :6], state[:, :0], 1.0)
    torch.testing.assert_close(fast.stress, elastic.stress, rtol=0, atol=1e-9)
    assert float(fast.dissipation.max()) < 1e-20


def test_with_linear_hardening_it_is_j2_plasticity():
    law, twin = metal(1500.0), J2Plasticity(E, NU, YIELD, 1500.0)
    state = twin(random_strain(50), twin.initial_state(50), 1.0).state
    strain = random_strain(50, seed=1)
    step, wanted = law(strain, state, 1.0), twin(strain, state, 1.0)
    assert law.state_names == twin.state_names
    for x, y in zip(step[:4], wanted[:4], strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-13 * float(y.abs().max()))
    torch.testing.assert_close(step.extras["plastic_work"], wanted.extras["plastic_work"], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(law.tangent(strain, state, 1.0), twin.tangent(strain, state, 1.0), rtol=0, atol=1e-9)


def test_plastic_work_is_dissipated_or_stored_in_hardening():
    law = metal(Voce(120.0, 40.0), [ArmstrongFrederick(30000.0, 200.0), ArmstrongFrederick(5000.0)])
    defects = []
    for n_steps in (40, 80):
        state, work, dissipated = law.initial_state(4), 0.0, 0.0
        for t in torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)[1:]:
            step = law(t * random_strain(4), state, 1.0)
            state, work, dissipated = step.state, work + step.extras["plastic_work"], dissipated + step.dissipation
        elastic = LinearElastic(E, NU)(t * random_strain(4) - state[:, :6], state[:, :0], 1.0).psi
        defects.append(float(((work - dissipated - (step.psi - elastic)) / work).abs().max()))
    assert defects[0] < 0.02
    assert defects[1] < 0.55 * defects[0]


def test_every_step_converges_however_steep_the_hardening_and_small_the_viscosity():
    generator = torch.Generator().manual_seed(3)

    def between(low: float, high: float) -> float:
        return low * (high / low) ** float(torch.rand((), generator=generator, dtype=torch.float64))

    for k in range(24):
        law = VonMises(
            E,
            NU,
            between(1, 1e3),
            [Linear(between(1, 1e6)), Voce(between(1, 1e4), between(1, 1e6)), PowerLaw(between(1, 1e4), 0.1, 1e-8)],
            [ArmstrongFrederick(between(1, 1e7), between(1e-3, 1e5)) for _ in range(k % 3)],
            Perzyna(between(1e-10, 1e10), between(1, 100), between(1, 1e4)) if k % 2 else None,
        )
        state = law.initial_state(60)
        for amplitude in (4e-3, 0.1, 1e-3):
            step = law(random_strain(60, amplitude, seed=k), state, 0.7)
            assert step.verdict.tolist() == [Verdict.GOOD] * 60
            assert float(step.dissipation.min()) >= 0
            state = step.state


def test_answers_are_differentiable_with_respect_to_every_number():
    terms = metal(
        [Voce(120.0, 40.0), PowerLaw(500.0, 0.25, 1e-3)], ArmstrongFrederick(3e4, 200.0), Perzyna(5.0, 3.0, 90.0)
    )
    strain, state = random_strain(3), terms.initial_state(3)
    numbers = dict(terms.named_buffers())

    def answers(factor: Tensor) -> Tensor:
        law = terms.with_buffers(**{name: x * f for (name, x), f in zip(numbers.items(), factor, strict=True)})
        step = law(strain, state, 1.0)
        return torch.cat([step.stress, 100 * step.dissipation[..., None], 100 * step.psi[..., None]], -1).flatten()

    at = torch.ones(len(numbers), dtype=torch.float64)
    derivative = torch.func.jacfwd(answers)(at)
    h = 1e-5 * torch.eye(len(numbers), dtype=torch.float64)
    difference = torch.stack([(answers(at + x) - answers(at - x)) / 2e-5 for x in h], -1)
    assert bool((derivative.abs().amax(0) > 1e-3).all())
    torch.testing.assert_close(derivative, difference, rtol=1e-6, atol=1e-5)
    at.requires_grad_()
    backward = torch.autograd.grad(answers(at).sum(), at)[0]
    torch.testing.assert_close(backward, derivative.sum(0), rtol=1e-9, atol=1e-9)


def test_phases_that_differ_in_numbers_are_one_law_with_numbers_a_point():
    laws = [metal(Voce(q, 40.0), ArmstrongFrederick(30000.0, g)) for q, g in ((50.0, 100.0), (150.0, 300.0))]
    phase = torch.tensor([0, 1]).repeat(32).reshape(4, 4, 4)
    cell = HomogenisedCell(Microstructure(phase=phase, spacing=(1.0, 1.0, 1.0)), laws=laws, tolerance=1e-10)
    assert not cell.symmetric
    # A laminate of layers alike but for hardening: equal in-plane strain, and in plastic flow different stress.
    step = cell(random_strain(1)[0], cell.initial_state(), 1.0)
    assert step.verdict == Verdict.GOOD
    field = laws[0].with_buffers(
        isotropic_1_saturation=torch.tensor([50.0, 150.0]).double(),
        kinematic_1_recovery=torch.tensor([100.0, 300.0]).double(),
    )
    strain = random_strain(2)
    together, tangent = field(strain, field.initial_state(2), 1.0), field.tangent(strain, field.initial_state(2), 1.0)
    for k, law in enumerate(laws):
        torch.testing.assert_close(together.stress[k], law(strain[k], law.initial_state(), 1.0).stress)
        torch.testing.assert_close(tangent[k], law.tangent(strain[k], law.initial_state(), 1.0))


def test_plane_stress_of_a_viscous_law_with_recovery():
    law = PlaneStress(metal(kinematic=ArmstrongFrederick(3e4, 200.0), viscosity=Perzyna(5.0, 3.0, 90.0)))
    assert not law.symmetric
    strain = random_strain(4)
    first = law(strain, law.initial_state(4), 0.7)
    still = law(strain, first.state, 0.0)
    assert first.verdict.tolist() == still.verdict.tolist() == [Verdict.GOOD] * 4
    plane = [0, 1, 5]
    torch.testing.assert_close(still.stress[:, plane], first.stress[:, plane], rtol=1e-11, atol=1e-9)
    assert float(still.dissipation.abs().max()) == 0
    inner = first.state[:, :-1]
    unit = 1e-7 * torch.eye(6, dtype=torch.float64)[plane]
    tangent = law.tangent(strain, first.state, 0.7)[:, plane][:, :, plane]

    def at(x: Tensor) -> Tensor:
        return law(x, torch.cat([inner, torch.zeros(4, 1, dtype=torch.float64)], -1), 0.7).stress[:, plane]

    difference = torch.stack([(at(strain + u) - at(strain - u)) / 2e-7 for u in unit], -1)
    torch.testing.assert_close(tangent, difference, rtol=0, atol=1e-6 * E)
    assert float((tangent - tangent.mT).abs().max()) > 1e-6 * E


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: metal(-1.0), ValueError, "modulus: got -1.0, wanted a modulus >= 0"),
        (lambda: metal("voce"), TypeError, "hardening: got str, wanted a number or IsotropicHardening"),
        (lambda: metal(kinematic=[Voce(1.0, 1.0)]), TypeError, "kinematic: got Voce, wanted a number or Armstrong"),
        (lambda: metal(viscosity=5.0), TypeError, "viscosity: got float, wanted a Perzyna or None"),
        (lambda: VonMises(E, NU, 0.0), ValueError, "yield_stress: got 0.0"),
        (lambda: Voce(-1.0, 1.0), ValueError, "saturation: got -1.0"),
        (lambda: Voce(1.0, 0.0), ValueError, "rate: got 0.0"),
        (lambda: PowerLaw(-1.0, 0.2), ValueError, "strength: got -1.0"),
        (lambda: PowerLaw(1.0, 1.2), ValueError, r"exponent: got 1.2, wanted a hardening exponent in \(0, 1\]"),
        (lambda: PowerLaw(1.0, 0.2, 0.0), ValueError, "offset: got 0.0, wanted a plastic strain > 0"),
        (lambda: ArmstrongFrederick(0.0, 1.0), ValueError, "modulus: got 0.0"),
        (lambda: ArmstrongFrederick(1.0, -1.0), ValueError, "recovery: got -1.0"),
        (lambda: Perzyna(0.0, 1.0, 1.0), ValueError, "time: got 0.0, wanted a relaxation time > 0"),
        (lambda: Perzyna(1.0, 0.5, 1.0), ValueError, "exponent: got 0.5, wanted a rate exponent >= 1"),
        (lambda: Perzyna(1.0, 1.0, math.nan), ValueError, "drag: got nan"),
    ],
)
def test_hardening_that_makes_no_sense_is_refused_with_what_was_wanted(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
