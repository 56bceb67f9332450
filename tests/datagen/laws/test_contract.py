"""What every law promises (DESIGN.md, contract), asked of every law and network with a config, point by point."""

from __future__ import annotations

import itertools
import pickle

import pytest
import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict

BATCHES = [(), (1,), (2, 3)]


def bitwise_equal(a: Step, b: Step) -> bool:
    pairs = [*zip(a[:5], b[:5], strict=True), *((a.extras[k], b.extras[k]) for k in a.extras)]
    return a.extras.keys() == b.extras.keys() and all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)


def test_undeformed_body_is_stress_free(law, probe):
    strain = law.reference_strain().expand(2, -1)
    step = probe.ask(strain, law.initial_state(2))
    stiffness = float(probe.tangent(strain, law.initial_state(2)).abs().max())
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.GOOD]
    assert float(step.stress[:, probe.columns].abs().max()) <= 1e-14 * stiffness
    assert float(step.psi.abs().max()) <= 1e-14 * stiffness
    assert step.dissipation.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_an_answer_has_the_shapes_that_were_declared(law, probe, batch):
    n = law.measure.n
    state = law.initial_state(*batch)
    assert state.shape == (*batch, law.n_state)
    step = probe.ask(probe.strain(*batch), state)
    assert step.psi.shape == step.dissipation.shape == step.verdict.shape == batch
    assert step.stress.shape == (*batch, n)
    assert step.state.shape == (*batch, law.n_state)
    assert step.verdict.dtype == torch.int8
    assert {x.dtype for x in (step.psi, step.stress, step.dissipation, step.state)} == {torch.float64}
    assert {name: x.shape[len(batch) :] for name, x in step.extras.items()} == {
        name: torch.Size(extra.shape) for name, extra in law.extras.items()
    }
    assert law.tangent(probe.strain(*batch), state, probe.dt, probe.parameters(*batch)).shape == (*batch, n, n)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_a_batch_answers_as_its_members_do(law, probe, close, batch):
    strain, state = probe.strain(*batch), probe.state(*batch)
    step, tangent = probe.ask(strain, state), probe.tangent(strain, state)
    members = list(itertools.product(*map(range, batch)))
    alone = [probe.ask(strain[member], state[member]) for member in members]
    tangents = [probe.tangent(strain[member], state[member]) for member in members]
    history = slice(0, law.n_history)

    def together(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts).reshape((*batch, *parts[0].shape))

    assert torch.equal(together([one.verdict for one in alone]), step.verdict)
    assert bool((step.verdict < FIRST_WITHOUT_ANSWER).all())
    tolerance = 1e-13 + 10 * law.accuracy
    close(together([one.stress for one in alone]), step.stress, tolerance)
    close(together([one.psi for one in alone]), step.psi, tolerance)
    close(together([one.state[history] for one in alone]), step.state[..., history], tolerance)
    close(together(tangents), tangent, 10 * tolerance)


def test_tangent_is_the_derivative_of_the_stress(law, probe):
    check_tangent(law, probe, probe.strain(3, seed=2), probe.state(3, seed=2))


def test_tangent_is_the_derivative_of_the_stress_where_stretches_coincide(law, probe):
    strain = probe.coalescent()
    check_tangent(law, probe, strain, law.initial_state(len(strain)))


def check_tangent(law: Law, probe, strain: Tensor, state: Tensor) -> None:
    tangent = probe.tangent(strain, state)
    assert tangent.isfinite().all()

    def stress(x: Tensor) -> Tensor:
        return probe.ask(x, state.expand(*x.shape[:-1], law.n_state)).stress[..., probe.columns]

    # Elastic laws are smooth and bear a step that is large against their accuracy. History has yield surfaces, of
    # which a heterogeneous cell has one a point: the step must be too small to meet one.
    step = max(1e-5, law.accuracy**0.5) if law.n_history else law.accuracy**0.2
    difference = (probe.derivative(stress, strain, step) - tangent).abs().amax((-2, -1))
    tolerance = 1e-9 + 10 * law.accuracy / step + 100 * step**4
    assert bool((difference <= tolerance * tangent.abs().amax((-2, -1))).all())


def test_stress_is_the_derivative_of_the_stored_energy(law, probe):
    if law.n_history:
        pytest.skip("the law has a history, its stress also dissipates")
    strain = torch.cat([probe.strain(3, seed=2), probe.coalescent()])
    state = law.initial_state(len(strain))
    step = law.accuracy**0.2
    derivative = probe.derivative(lambda x: probe.ask(x, state.expand(*x.shape[:-1], law.n_state)).psi, strain, step)
    stress = probe.ask(strain, state).stress[..., probe.columns]
    tolerance = 1e-9 + 10 * law.accuracy / step + 100 * step**4
    assert float((derivative - stress).abs().max()) <= tolerance * float(stress.abs().max())


def test_stress_of_a_linear_law_is_its_tangent_times_the_strain(law, probe, close):
    if not law.linear:
        pytest.skip("the law is not linear, nor says so")
    strain = probe.strain(3)
    tangent = probe.tangent(strain, law.initial_state(3))
    stress = probe.ask(strain, law.initial_state(3)).stress[..., probe.columns]
    change = (strain - law.reference_strain())[..., probe.columns]
    close((tangent @ change[..., None])[..., 0], stress, 1e-14 + 10 * law.accuracy)


def test_a_law_that_says_so_is_unchanged_by_reflection_in_z(law, probe, close):
    if not law.mirror_z:
        pytest.skip("the law does not claim the symmetry")
    sign = torch.tensor([(-1.0) ** name.count("3") for name in law.measure.components], dtype=torch.float64)
    strain = probe.strain(3)
    step, mirrored = (probe.ask(x, law.initial_state(3)) for x in (strain, sign * strain))
    close(mirrored.stress, sign * step.stress, 1e-13 + 10 * law.accuracy)
    close(mirrored.psi, step.psi, 1e-13 + 10 * law.accuracy)


def test_a_law_that_says_so_has_a_symmetric_tangent(law, probe, close):
    if not law.symmetric:
        pytest.skip("the law does not claim the symmetry")
    tangent = probe.tangent(probe.strain(4, seed=2), probe.state(4, seed=2))
    close(tangent.mT, tangent, 1e-13 + 10 * law.accuracy)


def test_calling_a_law_changes_nothing(law, probe):
    strain, state = probe.strain(2), probe.state(2)
    kept = strain.clone(), state.clone()
    first, tangent = probe.ask(strain, state), probe.tangent(strain, state)
    for calls in (1, 3, 7):
        for seed in range(calls):
            probe.ask(probe.strain(1, seed=seed), law.initial_state(1))
        assert bitwise_equal(probe.ask(strain, state), first)
    assert torch.equal(probe.tangent(strain, state), tangent)
    assert torch.equal(strain, kept[0])
    assert torch.equal(state, kept[1])


def test_a_law_survives_the_way_to_another_process(law, probe):
    strain, state = probe.strain(2), probe.state(2)
    twin = pickle.loads(pickle.dumps(law))
    assert bitwise_equal(twin(strain, state, probe.dt, probe.parameters(2)), probe.ask(strain, state))


def test_the_guess_does_not_change_the_answer(law, probe, close):
    if not law.n_guess:
        pytest.skip("the law has no guess")
    strain, state = probe.strain(3), probe.state(3)
    answer = probe.ask(strain, state)
    for change in (torch.zeros_like, lambda guess: guess.float().double()):
        other = torch.cat([state[..., : law.n_history], change(state[..., law.n_history :])], -1)
        step = probe.ask(strain, other)
        assert torch.equal(step.verdict, answer.verdict)
        close(step.stress, answer.stress, 10 * law.accuracy)
        close(step.psi, answer.psi, 10 * law.accuracy)
        close(step.dissipation, answer.dissipation, 1e-13 + 10 * law.accuracy)
        close(step.state[..., : law.n_history], answer.state[..., : law.n_history], 10 * law.accuracy)


def test_single_precision_strain_is_refused(law, probe):
    with pytest.raises(TypeError, match=r"strain: got torch.float32, wanted torch.float64"):
        probe.ask(probe.strain(2).float(), law.initial_state(2))
    with pytest.raises(TypeError, match=r"strain: got torch.float32, wanted torch.float64"):
        law.linearise(probe.strain(2).float(), law.initial_state(2), probe.dt, probe.parameters(2))


def test_strain_or_state_of_the_wrong_shape_is_refused(law, probe):
    strain, state = probe.strain(2), law.initial_state(2)
    for wrong in (strain[..., 1:], strain.new_zeros(())):
        with pytest.raises(ValueError, match=r"strain: got shape .* wanted \(\*b, "):
            probe.ask(wrong, state)
    with pytest.raises(ValueError, match=r"state: got shape .* wanted \(\*b, "):
        probe.ask(strain, torch.cat([state, state.new_zeros(2, 1)], -1))


def test_a_bad_point_answers_nan_and_leaves_the_others_alone(law, probe, close):
    strain, state = probe.strain(5), law.initial_state(5)
    bad = strain.clone()
    bad[1, probe.columns[0]] = torch.nan
    if law.measure is Measure.FINITE:
        bad[3] = law.reference_strain()
        bad[3, probe.columns[0]] = -1.0  # det F < 0
    else:
        bad[3, probe.columns[0]] = torch.inf
    good, step = probe.ask(strain, state), probe.ask(bad, state)
    assert step.verdict[1] == Verdict.NOT_FINITE  # told from a point where an iteration failed
    assert bool((step.verdict[[1, 3]] >= FIRST_WITHOUT_ANSWER).all())
    for answer in (step.psi, step.stress, step.dissipation, step.state):
        assert answer[[1, 3]].isnan().all()
    others = [0, 2, 4]
    assert torch.equal(step.verdict[others], good.verdict[others])
    close(step.stress[others], good.stress[others], 10 * law.accuracy)
    close(step.psi[others], good.psi[others], 10 * law.accuracy)
    tangent, wanted = probe.tangent(bad, state)[others], probe.tangent(strain, state)[others]
    close(tangent, wanted, 100 * law.accuracy)


def test_strain_outside_the_driven_components_is_ignored_and_its_stress_unknown(law, probe):
    outside = [j for j in range(law.measure.n) if j not in probe.columns]
    if not outside:
        pytest.skip("the law was made for all components")
    strain, state = probe.strain(3), law.initial_state(3)
    elsewhere = strain.clone()
    elsewhere[..., outside] += 0.3
    assert bitwise_equal(probe.ask(elsewhere, state), probe.ask(strain, state))
    assert probe.ask(strain, state).stress[..., outside].isnan().all()
    assert probe.ask(strain, state).stress[..., probe.columns].isfinite().all()


def test_linearise_and_forward_give_the_same_step(law, probe, close):
    strain, state = probe.strain(2, 3), probe.state(2, 3)
    step, _ = law.linearise(strain, state, probe.dt, probe.parameters(2, 3))
    alone = probe.ask(strain, state)
    # A solver's sensitivities improve the stress, within its accuracy.
    columns = law.measure.columns(law.components)
    close(step.stress[..., columns], alone.stress[..., columns], 10 * law.accuracy)
    assert bitwise_equal(step._replace(stress=alone.stress), alone)


def test_tangent_for_some_components_is_part_of_the_whole(law, probe, close):
    strain, state = probe.strain(3), probe.state(3)
    some = law.components[:2]
    columns = law.measure.columns(some)
    _, saved = law.linearise(strain, state, probe.dt, probe.parameters(3), components=some)
    part = law.dense(saved, some)[..., columns]
    whole = law.tangent(strain, state, probe.dt, probe.parameters(3))[..., columns]
    close(part[..., columns, :], whole[..., columns, :], 100 * law.accuracy)
    # A solver may spend full effort on the rows that are asked for only.
    close(part[..., probe.columns, :], whole[..., probe.columns, :], law.accuracy**0.5)


def test_written_out_tangent_equals_forward_mode_differentiation(law, probe, close):
    if law.n_guess or type(law).linearise is Law.linearise:
        pytest.skip("the law iterates, or has no tangent of its own")
    strain, state = probe.strain(2, 3), probe.state(2, 3)
    _, saved = Law.linearise(law, strain, state, probe.dt, probe.parameters(2, 3))
    dense = probe.driven(saved.unflatten(-1, (law.measure.n, law.measure.n)))
    close(dense, probe.tangent(strain, state), 1e-12)
