"""What every law promises (DESIGN.md, contract), asked of every law and network with a config, along strain paths."""

from __future__ import annotations

import itertools

import pytest
import torch

from datagen.laws.law import Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER


def test_rotating_every_deformation_of_a_path_rotates_the_stress_and_nothing_else(law, probe, close):
    if law.measure is not Measure.FINITE:
        pytest.skip("small strain knows no rotation")
    path, Q = probe.strain(4, 3, seed=3), probe.rotations(4, 3, seed=4)
    rotated = (Q @ path.unflatten(-1, (3, 3))).flatten(-2)
    steps, turned = (probe.follow(p, law.initial_state(3)) for p in (path, rotated))
    tolerance = 1e-13 + 10 * law.accuracy
    for step, other, R in zip(steps, turned, Q, strict=True):
        assert bool((step.verdict < FIRST_WITHOUT_ANSWER).all())
        wanted = (R @ step.stress.nan_to_num().unflatten(-1, (3, 3))).flatten(-2)
        close(other.stress[..., probe.columns], wanted[..., probe.columns], tolerance)
        close(other.psi, step.psi, tolerance)
        close(other.dissipation, step.dissipation, tolerance)
        close(other.state[..., : law.n_history], step.state[..., : law.n_history], tolerance)
    before = (steps[-2].state, turned[-2].state)
    n = law.measure.n
    tangents = [
        law.tangent(p[-1], s, probe.dt, probe.parameters(3)) for p, s in zip((path, rotated), before, strict=True)
    ]
    turn = torch.einsum("bij,kl->bikjl", Q[-1], torch.eye(3, dtype=torch.float64)).reshape(3, n, n)
    wanted = turn @ tangents[0].nan_to_num() @ turn.transpose(-1, -2)
    close(probe.driven(tangents[1]), probe.driven(wanted), 1e-12 + 100 * law.accuracy)


# Laws whose dissipation is that of the end of the step, with a force that varies along it: of first order.
END_OF_STEP = {
    "crystal_plasticity",
    "isotropic_damage",
    "isotropic_damage_mazars",
    "von_mises_armstrong_frederick",
    "von_mises_perzyna",
}


def test_work_is_stored_or_dissipated_ever_more_exactly_as_steps_shrink(law, probe, request):
    defects = []
    for n_steps in (4, 8, 16, 32):
        path = probe.path(n_steps, n_paths=2)
        # The first step brings the material to yield: from then on loading is smooth, without a corner inside a step,
        # and takes the same time.
        steps = probe.follow(path[:1], law.initial_state(2))
        steps += probe.follow(path[1:], steps[0].state, dt=4 * probe.dt / n_steps)
        stress = torch.stack([step.stress for step in steps])[..., probe.columns]
        change = path.diff(dim=0)[..., probe.columns]
        work = (0.5 * (stress[1:] + stress[:-1]) * change).sum((0, -1))
        dissipated = sum(step.dissipation for step in steps[1:])
        if not bool(probe.tangent(path[0], law.initial_state(2)).any()):  # a void
            assert not bool(stress.any() | dissipated.any() | steps[-1].psi.any())
            return
        assert bool((work.abs() > 0).all())
        scale = float((0.5 * (stress[1:].abs() + stress[:-1].abs()) * change.abs()).sum((0, -1)).max())
        defects.append((work - (steps[-1].psi - steps[0].psi) - dissipated) / scale)
    # Of second order in the step; where it is of first, what is left after extrapolation to no step is of second.
    extrapolated = [2 * fine - coarse for coarse, fine in itertools.pairwise(defects)]
    floor = 1e-14 + 10 * law.accuracy
    if request.node.callspec.params["law"].partition("=")[2] in END_OF_STEP:
        assert falls(defects, 1.5, floor), defects
        assert falls(extrapolated, 3, floor), defects
    else:
        assert falls(defects, 3, floor), defects


def falls(defects: list, ratio: float, floor: float) -> bool:
    """Whether each of the defects (n_paths,) is at least so many times smaller than the one before, or round-off."""
    largest = [float(defect.abs().max()) for defect in defects]
    return all(fine <= max(coarse / ratio, floor) for coarse, fine in itertools.pairwise(largest))


def test_dissipation_is_never_negative(law, probe):
    steps = probe.follow(probe.reversals(6, n_paths=4), law.initial_state(4))
    assert all(bool((step.verdict < FIRST_WITHOUT_ANSWER).all()) for step in steps)
    assert min(float(step.dissipation.min()) for step in steps) >= 0.0


def test_a_point_that_stays_where_it_is_does_not_flow(law, probe, close):
    strain = probe.strain(3)
    first, slower = (law(strain, law.initial_state(3), k * probe.dt, probe.parameters(3)) for k in (1, 2))
    if bool(((slower.psi - first.psi).abs() > (1e-13 + 10 * law.accuracy) * first.psi).any()):
        pytest.skip("the law knows time: it creeps")
    second = probe.ask(strain, first.state)
    close(second.stress, first.stress, 1e-13 + 10 * law.accuracy)
    close(second.psi, first.psi, 1e-13 + 10 * law.accuracy)
    assert float(second.dissipation.max()) <= 1e-13 * float(first.psi.max()) + 10 * law.accuracy


def test_a_step_of_no_time_and_no_strain_changes_nothing(law, probe, close):
    path = probe.strain(2, 3)
    first = probe.follow(path, law.initial_state(3))[-1]
    second = law(path[-1], first.state, 0.0, probe.parameters(3))
    history = slice(0, law.n_history)
    assert torch.equal(second.verdict, first.verdict)
    close(second.stress, first.stress, 1e-13 + 10 * law.accuracy)
    close(second.psi, first.psi, 1e-13 + 10 * law.accuracy)
    close(second.state[..., history], first.state[..., history], 1e-13 + 10 * law.accuracy)
    assert float(second.dissipation.abs().max()) <= 1e-13 * float(first.psi.max()) + 10 * law.accuracy
