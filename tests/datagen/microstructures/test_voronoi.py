from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from datagen.microstructures.descriptors import describe
from datagen.microstructures.voronoi import nearest_seed, two_phase_voronoi, voronoi_polycrystal
from datagen.tensors import det


def union_of_two_balls(a: np.ndarray, b: np.ndarray, r: float, dimension: int) -> np.ndarray:
    """Area or volume of two discs or balls of radii a and b at the distance r, where each meets the other's centre."""
    if dimension == 2:
        alpha = np.arccos(np.clip((r * r + a * a - b * b) / (2 * r * a), -1, 1))
        beta = np.arccos(np.clip((r * r + b * b - a * a) / (2 * r * b), -1, 1))
        lens = a**2 * (alpha - np.sin(2 * alpha) / 2) + b**2 * (beta - np.sin(2 * beta) / 2)
        return math.pi * (a**2 + b**2) - lens
    cap_a, cap_b = a - (r * r + a * a - b * b) / (2 * r), b - (r * r + b * b - a * a) / (2 * r)
    lens = math.pi / 3 * (cap_a**2 * (3 * a - cap_a) + cap_b**2 * (3 * b - cap_b))
    return 4 / 3 * math.pi * (a**3 + b**3) - lens


def shares_a_cell(r: float, cells: float, dimension: int, poisson: bool = True) -> float:
    """Probability that two points of a unit box at the distance r have the same nearest seed.

    A seed at z is nearest to both if none of the others lies in the union of the balls around the two points through z:
    exp(-cells union) for a Poisson process, (1 - union)^(cells - 1) for a fixed number.
    E. N. Gilbert, Annals of Mathematical Statistics 33 (1962) 958, doi:10.1214/aoms/1177704464.
    """
    reach = 4 / cells ** (1 / dimension)
    x = (np.arange(400) + 0.5) / 400 * (2 * reach + r) - reach
    y = (np.arange(200) + 0.5) / 200 * reach
    x, y = np.meshgrid(x, y, indexing="ij")
    union = union_of_two_balls(np.hypot(x, y), np.hypot(x - r, y), r, dimension)
    free = np.exp(-cells * union) if poisson else np.clip(1 - union, 0, 1) ** (cells - 1)
    ring = 2.0 if dimension == 2 else 2 * math.pi * y
    return float(cells * (free * ring).sum() * (2 * reach + r) / 400 * reach / 200)


@pytest.mark.parametrize(("dimension", "published"), [(2, 1.280), (3, 1.179)])
def test_the_formula_of_this_test_gives_gilberts_second_moment_of_the_cell_size(dimension, published):
    # int W dr = E[V^2] / E[V]: Gilbert 1962.
    r = (np.arange(60) + 0.5) / 60 * 4
    W = np.array([shares_a_cell(x, 1.0, dimension) for x in r])
    shell = 2 * math.pi * r if dimension == 2 else 4 * math.pi * r**2
    assert (W * shell).sum() * 4 / 60 == pytest.approx(published, abs=2e-3)


def assert_within_error(samples: np.ndarray, expected: np.ndarray, precision: float) -> None:
    """Means over samples (m, k) differ from the expected (k,) by at most 4 standard errors, themselves small."""
    error = samples.std(0, ddof=1) / math.sqrt(len(samples))
    assert error.max() < precision
    assert (np.abs(samples.mean(0) - expected) / error).max() < 4


def test_two_phase_voronoi_has_the_two_point_probability_of_its_process():
    p, cells, n, steps = 0.3, 60, 40, [1, 2, 3, 5, 8, 12]
    cell = two_phase_voronoi((n, n), cells, probability=p, seed=1, n_samples=400)
    S = cell.two_point(1)[..., 0]
    along = torch.stack([(S[:, h, 0] + S[:, 0, h]) / 2 for h in steps], 1).numpy()
    expected = np.array([p**2 + p * (1 - p) * shares_a_cell(h / n, cells, 2) for h in steps])
    assert_within_error(along, expected, 4e-3)
    assert_within_error(cell.volume_fractions[:, 1:].numpy(), np.array([p]), 4e-3)
    counts = cell.descriptors["cells"]
    assert abs(float(counts.mean()) - cells) < 4 * math.sqrt(cells / 400)
    assert float(counts.var() / cells) == pytest.approx(1, abs=4 * math.sqrt(2 / 400))


def test_grains_of_a_polycrystal_have_the_two_point_probability_of_a_fixed_number_of_seeds():
    grains, n, steps = 30, 16, [1, 2, 3, 5]
    cell = voronoi_polycrystal(n, grains, seed=1, n_samples=40)
    same = torch.stack([torch.stack([cell.phase == cell.phase.roll(h, axis) for h in steps]) for axis in (1, 2, 3)])
    together = same.double().mean((0, 3, 4, 5)).T.numpy()
    expected = np.array([shares_a_cell(h / n, grains, 3, poisson=False) for h in steps])
    assert_within_error(together, expected, 1e-2)


@pytest.mark.parametrize("grid", [(9, 6, 5), (12, 8, 1)])
def test_each_voxel_belongs_to_the_nearest_seed_of_all_images(grid):
    rng = np.random.default_rng(3)
    edges, stretch = np.array(grid) * 0.25, np.array([2.0, 1.0, 0.5])
    seeds = (rng.random((11, 3)) - 0.5) * edges
    centres = [(np.arange(n) + 0.5) / n * e - e / 2 for n, e in zip(grid, edges, strict=True)]
    points = np.stack(np.meshgrid(*centres, indexing="ij"), -1)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3))) * edges
    offset = (points[..., None, None, :] - seeds[:, None] - images) / stretch
    if grid[2] == 1:
        offset = offset[..., :2]
    assert np.array_equal(nearest_seed(seeds, grid, edges, stretch), (offset**2).sum(-1).min(-1).argmin(-1))


def test_seeds_moved_by_whole_voxels_move_the_cell():
    cell = voronoi_polycrystal((12, 10, 8), 9, seed=5)
    seeds, edges = cell.descriptors["seeds"][0].numpy(), np.array(cell.size)
    moved = nearest_seed(seeds + np.array([3, -4, 2]) * cell.spacing[0], cell.grid, edges)
    assert np.array_equal(moved, cell.phase[0].roll((3, -4, 2), (0, 1, 2)).numpy())


def test_orientations_of_grains_are_uniform_on_all_rotations():
    Q = voronoi_polycrystal((64, 64), 4000, seed=2).orientations[0]
    n = len(Q)
    assert float((det(Q) - 1).abs().max()) < 1e-12
    # Haar measure: E[Q] = 0 and E[Q_ij Q_kl] = delta_ik delta_jl / 3, the trace has mean 0 and variance 1, and the
    # angle the distribution (t - sin t) / pi: R. E. Miles, Biometrika 52 (1965) 636, doi:10.1093/biomet/52.3-4.636.
    assert float(Q.mean(0).abs().max()) < 4 * math.sqrt(1 / 3 / n)
    second = torch.einsum("nij,nkl->ijkl", Q, Q) / n - torch.einsum("ik,jl->ijkl", *[torch.eye(3).double()] * 2) / 3
    assert float(second.abs().max()) < 4 * math.sqrt(1 / 5 / n)
    trace = Q.diagonal(dim1=1, dim2=2).sum(-1)
    assert float(trace.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    angle = ((trace - 1) / 2).clamp(-1, 1).arccos().numpy()
    assert stats.kstest(angle, lambda t: (t - np.sin(t)) / math.pi).pvalue > 1e-3


def test_the_orientation_tensor_of_grains_weighs_them_by_their_volume():
    cell = voronoi_polycrystal(8, 5, seed=4, n_samples=2)
    expected = torch.zeros(2, 3, 3, dtype=torch.float64)
    for sample in range(2):
        for voxel in cell.phase[sample].flatten().tolist():
            p = cell.orientations[sample, voxel, :, 0]
            expected[sample] += torch.outer(p, p) / 512
    torch.testing.assert_close(cell.descriptors["orientation_tensor"], expected, rtol=0, atol=1e-14)
    bare = type(cell)(cell.phase, cell.spacing, cell.orientations)
    torch.testing.assert_close(describe(bare)["orientation_tensor"], expected, rtol=0, atol=1e-14)


def test_a_fixed_number_of_cells_is_kept_and_the_twin_has_the_phases_exchanged():
    cell, twin = (two_phase_voronoi(16, 30, poisson=False, swapped=s, seed=3, n_samples=2) for s in (False, True))
    assert cell.descriptors["cells"].tolist() == [30, 30]
    assert cell.grid == (16, 16, 16)
    assert torch.equal(cell.phase, 1 - twin.phase)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: voronoi_polycrystal(8, 0), "grains: got 0"),
        (lambda: voronoi_polycrystal(8, 4, aspect=(1, 0, 1)), "aspect: got"),
        (lambda: voronoi_polycrystal((8, 8, 8, 8), 4), "grid: got"),
        (lambda: voronoi_polycrystal(8, 4, seed=-1), "seed: got -1"),
        (lambda: two_phase_voronoi(8, 0), "cells: got 0"),
        (lambda: two_phase_voronoi(8, 2.5, poisson=False), "cells: got 2.5"),
        (lambda: two_phase_voronoi(8, 4, probability=1.1), "probability: got 1.1"),
        (lambda: two_phase_voronoi(8, 4, n_samples=0), "n_samples: got 0"),
    ],
)
def test_a_tessellation_that_cannot_be_made_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
