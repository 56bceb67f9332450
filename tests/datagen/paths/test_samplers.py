"""Samplers stay in the driven components, within the amplitude, and fill it evenly."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.gaussian_process import gaussian_process
from datagen.paths.proportional import proportional
from datagen.paths.random_walk import random_walk
from datagen.tensors import det, polar_rotation

SAMPLERS = [proportional, random_walk, gaussian_process, cyclic]
SPACES = [
    ("small", None),
    ("small", PLANE_STRAIN[Measure.SMALL]),
    ("finite", None),
    ("finite", PLANE_STRAIN[Measure.FINITE]),
    ("finite", ("22",)),
]


def log_stretch(target):
    """Log stretch ln U of deformation gradients (*b, 9), as (*b, 3, 3)."""
    F = target.unflatten(-1, (3, 3))
    values, vectors = torch.linalg.eigh(F.transpose(-1, -2) @ F)
    return vectors @ torch.diag_embed(0.5 * values.log()) @ vectors.transpose(-1, -2)


def size(path):
    """|eps| or |ln U| along paths, (b, T)."""
    if path.measure is Measure.SMALL:
        return path.target.norm(dim=-1)
    return log_stretch(path.target).flatten(-2).norm(dim=-1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("measure", "components"), SPACES)
@pytest.mark.parametrize("amplitude", [0.01, 0.6])
def test_no_path_exceeds_the_amplitude(sampler, measure, components, amplitude):
    path = sampler(measure, components, n_paths=20, n_steps=15, amplitude=amplitude, seed=3)
    largest = size(path).amax(1)
    assert largest.max() <= amplitude * (1 + 1e-9)
    if sampler is not proportional:  # the others end their scaling on the amplitude, each path
        assert largest.numpy() == pytest.approx(amplitude, rel=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("measure", "components"), SPACES)
def test_only_driven_components_move_and_no_rotation_is_superposed(sampler, measure, components):
    path = sampler(measure, components, n_paths=5, n_steps=8, amplitude=0.3, seed=1)
    assert path.target.shape == (5, 8, path.measure.n)
    assert path.target.dtype == torch.float64
    assert path.path_class == sampler.__name__
    moves = (path.target - path.measure.reference()).abs().amax((0, 1)) > 0
    assert [c for c, m in zip(path.measure.components, moves, strict=True) if m] == list(path.components)
    if path.measure is Measure.FINITE:
        F = path.target.unflatten(-1, (3, 3))
        torch.testing.assert_close(F, F.transpose(-1, -2), rtol=0, atol=1e-15)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("rotation", [0.0, 0.7])
def test_ten_paths_are_the_first_ten_of_twenty(sampler, rotation):
    ten = sampler("finite", None, n_paths=10, n_steps=6, amplitude=0.2, seed=5, rotation=rotation)
    twenty = sampler("finite", None, n_paths=20, n_steps=6, amplitude=0.2, seed=5, rotation=rotation)
    assert torch.equal(ten.target, twenty.target[:10])
    other = sampler("finite", None, n_paths=10, n_steps=6, amplitude=0.2, seed=6, rotation=rotation)
    assert not torch.isclose(ten.target, other.target, rtol=0, atol=1e-12).all(-1).any()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("components", [None, PLANE_STRAIN[Measure.FINITE]])
def test_a_superposed_rotation_leaves_the_energy_of_an_objective_law(sampler, components):
    path = sampler("finite", components, n_paths=12, n_steps=6, amplitude=0.3, seed=2, rotation=1.2)
    F = path.target.unflatten(-1, (3, 3))
    R = polar_rotation(F)
    angle = torch.arccos(((R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert 0.1 < angle.max() <= 1.2 + 1e-9
    assert size(path).max() <= 0.3 * (1 + 1e-9)
    assert (det(F) > 0).all()
    law = NeoHooke(mu=1.0, lmbda=10.0)
    stretched = law(torch.matrix_exp(log_stretch(path.target)).flatten(-2), law.initial_state(12, 6), 1.0)
    torch.testing.assert_close(drive(law, path).psi, stretched.psi, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_end_points_of_proportional_paths_fill_the_ball_more_evenly_than_chance(n):
    """Share of end points in 200 random half-spaces through the ball, against its exact value and against chance."""
    components = ("11", "22", "33", "23", "13", "12")[:n]
    sobol = proportional("small", components, n_paths=512, n_steps=3, amplitude=1.0, seed=0).target[:, -1, :n].numpy()
    random = np.random.default_rng(0)
    chance = random.standard_normal((512, n))
    chance *= random.random((512, 1)) ** (1 / n) / np.linalg.norm(chance, axis=1, keepdims=True)
    normals = random.standard_normal((200, n))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = random.uniform(-0.7, 0.7, 200)
    dense = random.standard_normal((200_000, n))
    dense *= random.random((200_000, 1)) ** (1 / n) / np.linalg.norm(dense, axis=1, keepdims=True)
    exact = np.array([(dense[:, 0] < offset).mean() for offset in offsets])  # by symmetry for every normal

    def error(points):
        return math.sqrt((((points @ normals.T < offsets).mean(0) - exact) ** 2).mean())

    assert error(sobol) < 0.5 * error(chance)
    radius = np.sort(np.linalg.norm(sobol, axis=1)) ** n  # uniform in the ball: r^n is uniform on [0, 1]
    assert np.abs(radius - (np.arange(512) + 0.5) / 512).max() < 5e-3
    # Second moment of the uniform ball: amplitude^2 / (n + 2) in every direction.
    np.testing.assert_allclose(sobol.T @ sobol / 512, np.eye(n) / (n + 2), atol=1e-2)


def test_proportional_paths_are_straight_in_log_stretch():
    path = proportional("finite", None, n_paths=4, n_steps=5, amplitude=0.5, seed=0, duration=2.0)
    H = log_stretch(path.target)
    ramp = torch.arange(1, 6, dtype=torch.float64) / 5
    torch.testing.assert_close(H, ramp[:, None, None] * H[:, -1:], rtol=0, atol=1e-13)
    assert path.dt.unique().tolist() == [0.4]


def test_a_persistent_walk_turns_less():
    def turning(persistence):
        walk = random_walk("small", None, 30, 40, 1.0, seed=0, persistence=persistence).target
        d = walk.diff(dim=1)
        d = d / d.norm(dim=-1, keepdim=True)
        return float((d[:, 1:] * d[:, :-1]).sum(-1).mean())

    assert abs(turning(0.0)) < 0.05
    assert 0.75 < turning(0.9) < 0.95


def test_a_gaussian_process_is_smooth_and_starts_at_the_reference():
    coarse, fine = (gaussian_process("small", None, 40, n, 1.0, seed=0, correlation=0.3).target for n in (20, 200))
    assert coarse[:, 0].norm(dim=-1).max() < 0.6  # one twentieth of the duration, a sixth of the correlation time
    start = torch.cat([torch.zeros(40, 1, 6, dtype=torch.float64), fine], 1)
    speed = start.diff(dim=1).norm(dim=-1)
    assert speed.max() < 10 / 0.3 / 200  # a smooth path moves by its rate times dt; a walk by its root
    curvature = start.diff(n=2, dim=1).norm(dim=-1)
    assert curvature.max() < 40 / 0.3**2 / 200**2


def test_a_gaussian_process_with_long_memory_has_a_factor():
    gaussian_process("small", ("11",), n_paths=1, n_steps=400, amplitude=1.0, seed=0, correlation=5.0)


def test_a_cyclic_path_reverses_at_the_end_of_its_legs():
    path = cyclic("small", None, n_paths=30, n_steps=14, amplitude=0.02, seed=0, n_reversals=3, smallest=0.4)
    along = path.target @ (path.target[:, 3] / path.target[:, 3].norm(dim=-1, keepdim=True))[..., None]
    torch.testing.assert_close(along[..., 0].abs(), size(path), rtol=0, atol=1e-16)  # one direction
    rate = torch.cat([along[:, :1, 0], along[..., 0].diff(dim=1)], 1)
    legs = [rate[:, a:b] for a, b in ((0, 4), (4, 7), (7, 10), (10, 14))]
    for k, leg in enumerate(legs):
        assert (leg * (-1) ** k > 0).all()
    turning = along[:, [3, 6, 9, 13], 0].abs()
    assert (turning >= 0.4 * 0.02 * (1 - 1e-9)).all()
    assert turning.amax(1).numpy() == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(proportional, "finite", ["12"]), "components: got 12, wanted also 21: stretches"),
        (partial(proportional, "finite", ["11", "12", "21"]), "wanted also 22"),
        (partial(proportional, "finite", ["11", "12", "22"]), "wanted also 21"),
        (partial(random_walk, "finite", ["44"]), "components: got '44'"),
        (partial(random_walk, "finite", []), "components: got none"),
        (partial(random_walk, "finite", None, persistence=1.0), "persistence: got 1.0"),
        (partial(gaussian_process, "finite", None, correlation=0.0), "correlation: got 0.0"),
        (partial(cyclic, "finite", None, n_reversals=8), "n_steps: got 8, wanted at least 9"),
        (partial(cyclic, "finite", None, smallest=0.0), "smallest: got 0.0"),
        (partial(cyclic, "small", None, rotation=0.1), "rotation: got 0.1, wanted 0 for SMALL"),
        (partial(cyclic, "finite", ["11", "22"], rotation=0.1), "rotation: got 0.1, wanted 0, for no driven"),
        (partial(cyclic, "finite", None, rotation=-0.1), "rotation: got -0.1"),
        (partial(cyclic, "finite", None, duration=0.0), "duration: got 0.0"),
        (partial(cyclic, "finite", None, amplitude=0.0), "amplitude: got 0.0"),
        (partial(cyclic, "finite", None, n_paths=0), "n_paths: got 0"),
        (partial(cyclic, "finite", None, n_paths=2.5), "n_paths: got 2.5"),
        (partial(cyclic, "finite", None, seed=-1), "seed: got -1"),
        (partial(cyclic, "big", None), "measure: got 'big'"),
    ],
)
def test_a_sampler_refuses_what_it_cannot_sample(call, message):
    given = {"n_paths": 4, "n_steps": 8, "amplitude": 0.1, "seed": 0, **call.keywords}
    with pytest.raises(ValueError, match=message):
        call.func(*call.args, **given)
