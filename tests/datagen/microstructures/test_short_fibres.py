"""Fibres, and the directions that are drawn to an orientation tensor."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from datagen.microstructures.orientation import draw_directions, fit_gaussian, gaussian_moments
from datagen.microstructures.short_fibres import short_fibres
from datagen.tensors import random_rotation

SKEW = random_rotation(generator=torch.Generator().manual_seed(1)).numpy()


def tensor(*eigenvalues: float) -> np.ndarray:
    return SKEW @ np.diag(eigenvalues) @ SKEW.T


@pytest.mark.parametrize("k", [0.01, 0.4, 1.0, 7.0, 300.0])
def test_the_orientation_tensor_of_the_angular_gaussian_is_that_of_its_density(k):
    # Density |B|^(-1/2) (p . B^-1 p)^(-3/2) / (4 pi), B = diag(1, 1, k): D. E. Tyler, Biometrika 74 (1987) 579.
    along, _ = quad(lambda u: u * u * (1 - u * u + u * u / k) ** -1.5 / (2 * math.sqrt(k)), -1, 1, epsabs=1e-13)
    moments = gaussian_moments(np.array([1.0, 1.0, k]))
    np.testing.assert_allclose(moments, [(1 - along) / 2, (1 - along) / 2, along], atol=1e-10)


@pytest.mark.parametrize("values", [(0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.99, 0.006, 0.004), (0.5, 0.49, 0.01)])
def test_the_fitted_distribution_has_the_tensor_asked_for(values):
    M = fit_gaussian(tensor(*values))
    np.testing.assert_allclose(gaussian_moments(np.linalg.eigvalsh(M @ M)), sorted(values), atol=1e-12)
    p = draw_directions(tensor(*values), 20000, np.random.default_rng(2), exact=False)
    # Var(p_i p_j) <= 1/4 of a sample of 20000.
    assert np.abs(p.T @ p / 20000 - tensor(*values)).max() < 4 * 0.5 / math.sqrt(20000)


@pytest.mark.parametrize(
    "values", [(0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.6, 0.4, 0.0), (1.0, 0.0, 0.0), (0.98, 0.01, 0.01)]
)
@pytest.mark.parametrize("count", [3, 10, 200])
def test_a_sample_has_the_tensor_to_rounding(values, count):
    p = draw_directions(tensor(*values), count, np.random.default_rng(3))
    np.testing.assert_allclose(np.linalg.norm(p, axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(p.T @ p / count, tensor(*values), atol=1e-10)


def test_a_sample_too_small_for_the_tensor_stays_as_drawn():
    for count in (1, 2):
        p = draw_directions(tensor(0.5, 0.3, 0.2), count, np.random.default_rng(3))
        assert np.array_equal(p, draw_directions(tensor(0.5, 0.3, 0.2), count, np.random.default_rng(3), exact=False))


def test_isotropic_directions_are_uniform_on_the_sphere_and_planar_ones_on_the_circle():
    p = draw_directions(np.eye(3) / 3, 5000, np.random.default_rng(4))
    for axis in range(3):  # Archimedes: each coordinate is uniform in (-1, 1)
        assert stats.kstest((p[:, axis] + 1) / 2, "uniform").pvalue > 1e-3
    q = draw_directions(np.diag([0.5, 0.5, 0.0]), 5000, np.random.default_rng(4))
    assert not q[:, 2].any()
    assert stats.kstest((np.arctan2(q[:, 1], q[:, 0]) / math.pi + 1) / 2, "uniform").pvalue > 1e-3


def along(cell, sample: int, points: int = 41) -> np.ndarray:
    """Points on the axes of the fibres, ends of the half spheres left out, (count, points, 3)."""
    p, centres = (cell.descriptors[name][sample].numpy() for name in ("directions", "centres"))
    half = (cell.descriptors["length"][sample] - cell.descriptors["diameter"][sample]).item() / 2
    return centres[:, None] + np.linspace(-half, half, points)[:, None] * p[:, None]


@pytest.mark.parametrize(
    ("orientation", "fraction", "gap"),
    [(None, 0.2, 0.0), (tensor(0.7, 0.2, 0.1), 0.15, 0.005), (np.diag([0.5, 0.5, 0.0]), 0.15, 0.0)],
)
def test_fibres_of_aspect_ten_fill_their_fraction_with_their_tensor_and_without_overlap(orientation, fraction, gap):
    length, d = 0.66, 0.066
    cell = short_fibres(16, length, d, fraction, orientation=orientation, gap=gap, seed=1)
    volume = math.pi * d**2 / 4 * (length - d) + math.pi * d**3 / 6
    count = cell.descriptors["centres"].shape[1]
    assert count == round(fraction / volume)
    wanted = np.eye(3) / 3 if orientation is None else orientation
    np.testing.assert_allclose(cell.descriptors["orientation_tensor"][0], wanted, atol=1e-10)
    points = along(cell, 0)
    for a, b in itertools.combinations(range(count), 2):
        offset = points[a][:, None] - points[b]
        offset -= np.round(offset)  # exact for these points: the nearest image of each pair of them
        assert (offset**2).sum(-1).min() >= (d + gap) ** 2


@pytest.mark.parametrize("ends", ["round", "flat"])
def test_voxels_of_fibres_are_those_whose_centre_one_of_them_holds(ends):
    length, d, n = 0.6, 0.2, 12
    cell = short_fibres(n, length, d, count=3, ends=ends, seed=5)
    axis = (np.arange(n) + 0.5) / n - 0.5
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    inside = np.zeros((n, n, n), dtype=bool)
    for p, centre in zip(cell.descriptors["directions"][0], cell.descriptors["centres"][0], strict=True):
        for image in itertools.product((-1, 0, 1), repeat=3):
            offset = points - centre.numpy() - np.array(image)
            t = offset @ p.numpy()
            nearest = np.clip(t, -(length - d) / 2, (length - d) / 2) if ends == "round" else t
            across = np.linalg.norm(offset - nearest[..., None] * p.numpy(), axis=-1)
            inside |= (across <= d / 2) & (np.abs(t) <= length / 2)
    assert np.array_equal(cell.phase[0].numpy(), inside)


def test_flat_and_round_fibres_have_the_volume_of_their_shape():
    for ends, volume in (("flat", math.pi * 0.01 * 0.6), ("round", math.pi * 0.01 * 0.4 + 4 / 3 * math.pi * 0.001)):
        cell = short_fibres(64, 0.6, 0.2, count=4, ends=ends, seed=2)
        assert cell.volume_fractions[0, 1].item() == pytest.approx(4 * volume, rel=2e-2)
        matched = short_fibres(48, 0.6, 0.2, count=4, ends=ends, seed=2, match_fraction=True)
        assert matched.volume_fractions[0, 1].item() == pytest.approx(4 * volume, abs=1e-4)


def test_distinct_fibres_are_phases_whose_first_material_axis_is_the_fibre():
    cell = short_fibres(24, 0.6, 0.15, count=6, seed=1, n_samples=2, distinct=True)
    assert cell.n_phases == 7
    torch.testing.assert_close(cell.orientations[:, 1:, :, 0], cell.descriptors["directions"])
    together = short_fibres(24, 0.6, 0.15, count=6, seed=1, n_samples=2)
    assert torch.equal((cell.phase > 0).long(), together.phase)


def test_a_sample_of_fibres_depends_on_its_seed_and_number_alone():
    many, few, other = (
        short_fibres(16, 0.6, 0.1, count=8, seed=seed, n_samples=n) for seed, n in ((4, 3), (4, 2), (5, 2))
    )
    assert torch.equal(many.phase[:2], few.phase)
    assert torch.equal(many.descriptors["directions"][:2], few.descriptors["directions"])
    assert not torch.equal(few.phase[0], few.phase[1])
    assert not torch.equal(few.phase, other.phase)


def test_without_matching_the_tensor_is_met_to_sampling_error_alone():
    cell = short_fibres(8, 0.5, 0.05, count=20, match_orientation=False, seed=1, n_samples=4)
    found = cell.descriptors["orientation_tensor"]
    off = (found - torch.eye(3).double() / 3).abs().flatten(1).max(1).values
    assert float(off.min()) > 1e-3
    assert float(off.max()) < 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 0.1, "count": 5}, "wanted one of the two"),
        ({}, "wanted one of the two"),
        ({"count": 0}, "count: got 0"),
        ({"fraction": 1.5}, "fraction: got 1.5"),
        ({"count": 3, "length": 1.1}, "wanted at most the cell's edge 1 mm"),
        ({"count": 3, "length": 0.04}, "wanted more than the diameter"),
        ({"count": 3, "diameter": -0.1}, "diameter: got -0.1"),
        ({"count": 3, "ends": "sharp"}, "ends: got 'sharp'"),
        ({"count": 3, "gap": -1}, "gap: got -1"),
        ({"count": 3, "orientation": [[1, 0], [0, 0]]}, "orientation: got"),
        ({"count": 3, "orientation": np.diag([1.2, -0.2, 0.0])}, "no negative eigenvalue"),
        ({"count": 3, "orientation": [[0.5, 0.2, 0], [0.1, 0.3, 0], [0, 0, 0.2]]}, "wanted a symmetric tensor"),
        ({"fraction": 0.6, "length": 0.8, "diameter": 0.2}, "fraction: got 0.5.*no arrangement was found"),
    ],
)
def test_fibres_that_cannot_be_made_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        short_fibres(8, **arguments)
    assert "\n" not in str(caught.value)
