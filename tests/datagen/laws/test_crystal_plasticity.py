"""The law for face-centred cubic crystals beyond the contract: its solver, its buffers, what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.linalg import logm

from datagen.laws import crystal_plasticity
from datagen.laws.crystal_plasticity import CrystalPlasticity
from datagen.laws.slip import (
    SYSTEMS,
    derivatives_by_slip,
    determinant,
    exponential,
    exponential_by_slip,
    fcc,
    metric_by_slip,
)
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.tensors import random_rotation, to_mandel

ONE = torch.eye(3, dtype=torch.float64)


def copper(**changes) -> CrystalPlasticity:
    numbers = {"C11": 168.4e3, "C12": 121.4e3, "C44": 75.4e3, "resistance": 16.0, "rise": 73.0, "theta_0": 122.0}
    return CrystalPlasticity(**{**numbers, "theta_1": 7.6, **changes})


def deformations(*batch: int, amplitude: float = 0.1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (ONE + amplitude * (2 * torch.rand(*batch, 3, 3, generator=generator, dtype=torch.float64) - 1)).flatten(-2)


def test_there_are_twelve_systems_three_on_a_plane_each_normal_to_its_plane():
    assert len(set(SYSTEMS)) == 12
    geometry = fcc()
    assert float((geometry.normals * geometry.directions).sum(0).abs().max()) < 1e-15
    assert float((geometry.normals.norm(dim=0) - 1).abs().max()) < 1e-15
    assert float((geometry.directions.norm(dim=0) - 1).abs().max()) < 1e-15
    cosines = (geometry.normals.T @ geometry.normals).abs()
    assert torch.equal(geometry.planes.T @ geometry.planes, (cosines > 0.99).double())
    # Any deviatoric strain can be slipped (von Mises: five independent systems), by the slips of least squares too.
    P = geometry.schmid.unflatten(-1, (3, 3))
    strain = torch.tensor([0.3, -0.5, 0.2, 0.7, -0.1, 0.4], dtype=torch.float64)
    slips = geometry.least_slips @ strain
    torch.testing.assert_close(to_mandel((slips[:, None, None] * P).sum(0)), strain)


@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.3, 1.0, 4.0])
def test_the_exponential_of_slips_is_that_of_torch_and_keeps_the_volume(size):
    geometry = fcc()
    slips = torch.randn(12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slips = size * slips / slips.abs().sum(0)

    def at(gamma: torch.Tensor):
        return exponential(-(geometry.schmid.T @ gamma).reshape(3, 3, -1), geometry)

    exp = at(slips)
    wanted = torch.matrix_exp(-(geometry.schmid.T @ slips).T.unflatten(-1, (3, 3))).movedim(0, -1)
    torch.testing.assert_close(exp.X, wanted, rtol=0, atol=1e-14)
    assert float((determinant(exp.X) - 1).abs().max()) < 1e-14
    by, h = derivatives_by_slip(exp, geometry), 1e-5
    dX, Y = exponential_by_slip(exp, by, geometry), torch.randn(3, 3, 20, dtype=torch.float64)
    dC = metric_by_slip(exp, by, Y, geometry)
    for a in range(12):
        move = torch.zeros_like(slips)
        move[a] = h
        difference = (at(slips + move).X - at(slips - move).X) / (2 * h)
        torch.testing.assert_close(dX[:, :, a], difference, rtol=0, atol=1e-9)
        metric = torch.einsum("kin,kjn->nij", difference, Y)
        torch.testing.assert_close(dC[:, a].T, to_mandel(metric + metric.mT), rtol=0, atol=1e-8)


@pytest.mark.parametrize("exponent", [1.0, 20.0, 100.0, 300.0])
def test_the_slips_are_found_for_any_exponent_after_steps_of_ten_per_cent(exponent):
    law = copper(exponent=exponent).with_buffers(
        orientation=random_rotation(100, generator=torch.Generator().manual_seed(2))
    )
    first = law(deformations(100, seed=3), law.initial_state(100), 0.7)
    second = law(deformations(100, seed=4), first.state, 0.7)
    assert int((first.verdict >= FIRST_WITHOUT_ANSWER).sum()) == 0
    assert int((second.verdict >= FIRST_WITHOUT_ANSWER).sum()) == 0


@pytest.mark.parametrize("exponent", [3.0, 20.0, 100.0])
def test_the_plastic_part_grows_by_the_slips_that_its_stress_asks_for(exponent):
    # The equations, put together again from the answer: log(F_p F_p0^-1) = sum of a |tau/g|^n sign(tau) s x m.
    law = copper(exponent=exponent, theta_0=0.0)
    first = law(deformations(4, amplitude=0.01, seed=1), law.initial_state(4), 0.7)
    strain = deformations(4, amplitude=0.02, seed=2)
    second = law(strain, first.state, 0.7)
    assert bool((second.verdict < FIRST_WITHOUT_ANSWER).all())
    before, after = (ONE + step.state[:, :9].unflatten(-1, (3, 3)) for step in (first, second))
    F_e = strain.unflatten(-1, (3, 3)) @ after
    C = F_e.mT @ F_e
    C_inv = torch.linalg.solve(C, ONE.expand(4, 3, 3))
    E = (C - C_inv) / 4
    off = 1 - ONE
    T = 2 * 75.4e3 * off * E + ONE * ((168.4e3 - 121.4e3) * E + 121.4e3 * E.diagonal(0, -2, -1).sum(-1)[:, None, None])
    M = (C @ T + T @ C_inv) / 2
    P = fcc().schmid.unflatten(-1, (3, 3))
    tau = torch.einsum("aij,bij->ba", P, M)
    slips = 0.7e-3 * (tau.abs() / 16.0) ** exponent * tau.sign()
    for i in range(4):
        grown = logm(torch.linalg.solve(after[i], before[i]).numpy())
        torch.testing.assert_close(
            torch.from_numpy(grown), (slips[i, :, None, None] * P).sum(0), rtol=0, atol=1e-10 * exponent
        )
        assert (second.state[i, -1] - first.state[i, -1]).item() == pytest.approx(float(slips[i].abs().sum()), rel=1e-8)


@pytest.mark.parametrize("exponent", [5.0, 100.0])
@pytest.mark.parametrize("latent", [0.5, 1.4])
def test_the_tangent_is_the_derivative_of_the_stress_for_any_exponent_and_latent_ratio(exponent, latent):
    law = copper(exponent=exponent, latent=latent).with_buffers(
        orientation=random_rotation(3, generator=torch.Generator().manual_seed(1))
    )
    state = law(deformations(3, amplitude=0.01, seed=5), law.initial_state(3), 0.7).state
    strain, h = deformations(3, amplitude=0.01, seed=6), 1e-7
    moves = h * torch.eye(9, dtype=torch.float64)[:, None]
    states = state.expand(9, 3, -1)
    stress = [law(strain + k * moves, states, 0.7).stress for k in (-2.0, -1.0, 1.0, 2.0)]
    difference = ((stress[0] - stress[3] + 8 * (stress[2] - stress[1])) / (12 * h)).movedim(0, -1)
    tangent = law.tangent(strain, state, 0.7)
    assert float((difference - tangent).abs().max()) < 1e-6 * float(tangent.abs().max())


def test_one_orientation_a_point_answers_as_that_many_crystals():
    Q = random_rotation(3, generator=torch.Generator().manual_seed(0))
    resistance = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    law = copper().with_buffers(orientation=Q, resistance=resistance)
    strain, dt = deformations(2, 3, amplitude=0.02), torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    step, tangent = law(strain, law.initial_state(2, 3), dt), law.tangent(strain, law.initial_state(2, 3), dt)
    for i, j in itertools.product(range(2), range(3)):
        alone = copper(orientation=Q[j].tolist(), resistance=float(resistance[j]))
        wanted = alone(strain[i, j], alone.initial_state(), float(dt[i]))
        torch.testing.assert_close(step.stress[i, j], wanted.stress, rtol=1e-10, atol=1e-9)
        torch.testing.assert_close(step.state[i, j], wanted.state, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            tangent[i, j], alone.tangent(strain[i, j], alone.initial_state(), float(dt[i])), rtol=1e-9, atol=1e-5
        )


def test_turning_crystal_and_body_together_turns_the_stress():
    Q, R = random_rotation(2, generator=torch.Generator().manual_seed(7))
    F = deformations(amplitude=0.02).reshape(3, 3)
    one, turned = copper(orientation=Q), copper(orientation=R @ Q)
    first = one(F.flatten(), one.initial_state(), 0.7)
    second = turned((R @ F @ R.T).flatten(), turned.initial_state(), 0.7)
    torch.testing.assert_close(second.stress.reshape(3, 3), R @ first.stress.reshape(3, 3) @ R.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second.state, first.state, rtol=1e-10, atol=1e-12)
    lattice = turned.lattice((R @ F @ R.T).flatten(), second.state)
    torch.testing.assert_close(lattice, R @ one.lattice(F.flatten(), first.state), rtol=0, atol=1e-12)


def test_a_crystal_has_the_symmetry_of_the_cube():
    # A quarter turn of the crystal about a cube axis renames its slip systems and changes nothing else.
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    Q, F = random_rotation(generator=torch.Generator().manual_seed(8)), deformations(amplitude=0.02)
    one, turned = copper(orientation=Q), copper(orientation=Q @ quarter)
    first, second = (law(F, law.initial_state(), 0.7) for law in (one, turned))
    torch.testing.assert_close(second.stress, first.stress, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second.state[9:21].sort().values, first.state[9:21].sort().values)


def test_a_block_boundary_is_not_felt(monkeypatch):
    law = copper().with_buffers(orientation=random_rotation(7, generator=torch.Generator().manual_seed(0)))
    strain = deformations(7, amplitude=0.02)
    whole, saved = law.linearise(strain, law.initial_state(7), 0.7)
    monkeypatch.setattr(crystal_plasticity, "_BLOCK", 3)
    parts, other = law.linearise(strain, law.initial_state(7), 0.7)
    torch.testing.assert_close(parts.stress, whole.stress, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(other, saved, rtol=1e-9, atol=1e-5)


def test_a_step_that_is_too_large_has_a_verdict_and_leaves_the_others_alone():
    law = copper(exponent=100.0)
    strain = deformations(3, amplitude=0.02)
    wild = strain.clone()
    wild[1] = (ONE + torch.diag(torch.tensor([20.0, 30.0], dtype=torch.float64), 1)).flatten()
    step, alone = law(wild, law.initial_state(3), 0.7), law(strain, law.initial_state(3), 0.7)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.NOT_CONVERGED, Verdict.GOOD]
    assert step.stress[1].isnan().all()
    torch.testing.assert_close(step.stress[[0, 2]], alone.stress[[0, 2]], rtol=1e-10, atol=1e-9)


def test_no_points_give_no_answers():
    law = copper()
    step, saved = law.linearise(deformations(0), law.initial_state(0), 0.7)
    assert step.stress.shape == (0, 9)
    assert law.apply_tangent(saved, deformations(0)).shape == (0, 9)


@pytest.mark.parametrize("name", ["resistance", "theta_0", "C44", "exponent", "gamma_dot_0", "latent"])
def test_stress_is_differentiable_with_respect_to_the_buffers(name):
    law, F = (
        copper(orientation=random_rotation(generator=torch.Generator().manual_seed(3))),
        deformations(amplitude=0.01),
    )
    state = law(F, law.initial_state(), 0.7).state
    strain = deformations(amplitude=0.012, seed=1)

    def stress(value: torch.Tensor) -> torch.Tensor:
        return law.with_buffers(**{name: value})(strain, state, 0.7).stress

    at = law.get_buffer(name)
    derivative, h = torch.func.jacfwd(stress)(at), 1e-4 * float(at)
    difference = (stress(at + h) - stress(at - h)) / (2 * h)
    if name == "latent":
        assert not derivative.any()  # what exceeds 1 counts from the next step on
        assert not difference.any()
    else:
        assert float(derivative.abs().max()) > 0
        torch.testing.assert_close(derivative, difference, rtol=1e-5, atol=1e-5 * float(derivative.abs().max()))


def test_all_plastic_work_is_dissipated_and_hardening_shows_in_it():
    soft, hard = copper(theta_0=0.0), copper(theta_0=500.0)
    m, s = (torch.tensor(v, dtype=torch.float64) for v in ((1.0, 1.0, 1.0), (0.0, 1.0, -1.0)))
    F = (ONE + 0.1 * torch.outer(s, m) / math.sqrt(6.0)).flatten()
    works = []
    for law in (soft, hard):
        step = law(F, law.initial_state(), 0.7)
        assert torch.equal(step.dissipation, step.extras["plastic_work"])
        works.append(step.dissipation.item())
    # tau d gamma at the end of the step, tau = g (gamma_dot/gamma_dot_0)^(1/n)
    assert works[0] == pytest.approx(16.0 * (0.1 / 0.7e-3) ** 0.05 * 0.1, rel=0.01)
    assert works[1] > 2 * works[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"C44": 0.0}, "C44: got 0.0, wanted a modulus > 0"),
        ({"C12": 170e3}, "C11 - C12: got -1600.0, wanted a modulus > 0"),
        ({"resistance": -1.0}, "resistance: got -1.0, wanted a modulus > 0"),
        ({"theta_1": -1.0}, "theta_1: got -1.0, wanted a number >= 0; softening needs a length scale"),
        ({"exponent": 0.5}, "exponent: got 0.5, wanted a rate exponent >= 1"),
        ({"gamma_dot_0": 0.0}, r"gamma_dot_0: got 0.0, wanted a slip rate > 0 \[1/s\]"),
        ({"latent": math.nan}, "latent: got nan"),
        ({"orientation": [[1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]]}, "orientation: got a matrix"),
    ],
)
def test_a_crystal_that_makes_no_sense_is_refused_with_what_was_wanted(changes, message):
    with pytest.raises(ValueError, match=message):
        copper(**changes)
