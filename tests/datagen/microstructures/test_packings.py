"""Dense packings: spheres, fibres, ellipsoids, and what they are made with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from datagen.microstructures.packed_ellipsoids import packed_ellipsoids
from datagen.microstructures.packed_fibres import packed_fibres
from datagen.microstructures.packed_spheres import packed_spheres
from datagen.microstructures.packing import ball_shapes, ellipsoid_shapes, neighbours, rod_shapes
from datagen.tensors import random_rotation


def images(dimension: int, edges: np.ndarray) -> np.ndarray:
    return np.array(list(itertools.product((-1, 0, 1), repeat=dimension))) * edges


def rotations(count: int) -> np.ndarray:
    return random_rotation(count, generator=torch.Generator().manual_seed(5)).numpy()


def smallest_gap(cell) -> float:
    """Between two surfaces of round inclusions, over all samples, pairs and images."""
    smallest = math.inf
    for centres, radii in zip(cell.descriptors["centres"].numpy(), cell.descriptors["radii"].numpy(), strict=True):
        d = centres.shape[1]
        for a in range(len(centres)):
            offset = centres[:a, None] - centres[a] + images(d, np.array(cell.size[:d]))
            if a:
                smallest = min(smallest, float((np.linalg.norm(offset, axis=-1).min(1) - radii[:a] - radii[a]).min()))
    return smallest


def covered(cell) -> torch.Tensor:
    """Exact volume fraction of round inclusions."""
    radii = cell.descriptors["radii"]
    d = cell.descriptors["centres"].shape[-1]
    unit = math.pi if d == 2 else 4 * math.pi / 3
    return unit * (radii**d).sum(-1) / math.prod(cell.size[:d])


@pytest.mark.parametrize(
    ("generator", "arguments"),
    [
        (packed_spheres, {"fraction": 0.6, "count": 100}),
        (packed_spheres, {"fraction": 0.55, "count": 2}),
        (packed_spheres, {"fraction": 0.45, "count": 30, "gap": 0.03}),
        (packed_spheres, {"fraction": 0.6, "count": 60, "spread": 0.3}),
        (packed_fibres, {"fraction": 0.8, "count": 60}),
        (packed_fibres, {"fraction": 0.65, "count": 30, "gap": 0.01, "spread": 0.2}),
    ],
)
def test_dense_packings_fill_their_fraction_and_keep_their_gap(generator, arguments):
    cell = generator((24, 32) if generator is packed_fibres else (24, 32, 24), seed=3, n_samples=2, **arguments)
    torch.testing.assert_close(
        covered(cell), torch.tensor([arguments["fraction"]] * 2, dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert smallest_gap(cell) >= arguments.get("gap", 0.0)
    if "spread" in arguments:
        spread = cell.descriptors["radii"].log().std(1)
        assert float((spread / arguments["spread"] - 1).abs().max()) < 4 / math.sqrt(2 * arguments["count"])


def test_voxels_of_spheres_are_those_whose_centre_one_of_them_holds():
    cell = packed_spheres((12, 16, 12), fraction=0.5, count=7, spread=0.3, seed=2)
    centres = cell.descriptors["centres"][0].numpy()
    axes = [(np.arange(n) + 0.5) * h - n * h / 2 for n, h in zip(cell.grid, cell.spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    offset = points[..., None, None, :] - centres[:, None] - images(3, np.array(cell.size))
    inside = np.linalg.norm(offset, axis=-1).min(-1) <= cell.descriptors["radii"][0].numpy()
    assert np.array_equal(cell.phase[0].numpy(), inside.any(-1))


@pytest.mark.parametrize("generator", [packed_spheres, packed_fibres, packed_ellipsoids])
def test_the_voxels_match_the_fraction_when_asked_to(generator):
    n = 64 if generator is packed_fibres else 24
    cell = generator(n, fraction=0.4, count=15, seed=1, n_samples=2, match_fraction=True)
    assert float((cell.volume_fractions[:, 1] - 0.4).abs().max()) < 4 / n ** (2 if n == 64 else 3)


@pytest.mark.parametrize("reach", [0.2, 0.9, 1.4])
def test_neighbours_are_all_pairs_of_images_within_reach_each_once(reach):
    rng = np.random.default_rng(1)
    edges = np.array([1.0, 1.5, 1.2])
    centres = rng.normal(size=(9, 3)) * 2  # far outside the box, too
    i, j, shift = neighbours(centres, edges, reach)
    found = {(a, b, tuple((s / edges).round().astype(int))) for a, b, s in zip(i, j, shift, strict=True)}
    assert len(found) == len(i)
    expected = set()
    turns = itertools.product(range(-9, 10), repeat=3)
    shifts = np.array(list(turns))
    for a in range(9):
        for b in range(a + 1, 9):
            near = np.linalg.norm(centres[b] - centres[a] + shifts * edges, axis=1) <= reach
            expected |= {(a, b, tuple(s)) for s in shifts[near]}
    assert found == expected


def pairs_of(name: str):
    """Touch function of pairs of random inclusions, and offsets of them."""
    rng = np.random.default_rng(2)
    i, j = np.arange(0, 200, 2), np.arange(1, 200, 2)
    offset = rng.normal(size=(100, 3))
    if name == "balls":
        shapes = ball_shapes(rng.random(200) + 0.5)
    elif name == "ellipsoids":
        shapes = ellipsoid_shapes(np.array([0.9, 0.5, 0.3]), rotations(200))
        offset *= 0.4
    else:
        shapes = rod_shapes(1.0, 0.5, rotations(200)[..., 0])
    return shapes, shapes.touch(i, j), offset


@pytest.mark.parametrize("name", ["balls", "ellipsoids", "rods"])
def test_the_slope_of_the_touching_factor_is_its_derivative(name):
    shapes, touch, offset = pairs_of(name)
    mu, slope = touch(offset)
    near = mu < 1
    assert near.sum() > 20
    h = 1e-6
    for axis in range(3):
        step = h * np.eye(3)[axis]
        difference = (touch(offset + step)[0] - touch(offset - step)[0]) / (2 * h)
        np.testing.assert_allclose(slope[near, axis], difference[near], atol=1e-6 * np.abs(slope[near]).max())
    far = offset / np.linalg.norm(offset, axis=1)[:, None] * shapes.reach * 1.001
    assert (touch(far)[0] > 1).all()


def test_ellipsoids_grown_by_the_touching_factor_touch_at_one_point():
    # By support functions, without the contact function: E_i and E_j, grown by mu, touch where a direction n separates
    # them, mu (h_i(n) + h_j(n)) = n . R for one n and >= for all others.
    a, Q = np.array([0.9, 0.5, 0.3]), rotations(200)
    _, touch, offset = pairs_of("ellipsoids")
    mu, _ = touch(offset)
    A = (Q * a**2) @ Q.transpose(0, 2, 1)
    near = np.flatnonzero(mu < 1)[:20]
    assert len(near) == 20
    t, u = np.meshgrid(np.linspace(0, math.pi, 241), np.linspace(0, 2 * math.pi, 481), indexing="ij")
    n = np.stack([np.sin(t) * np.cos(u), np.sin(t) * np.sin(u), np.cos(t)], -1).reshape(-1, 3)
    for k in near:
        width = sum(np.sqrt(np.einsum("na,ab,nb->n", n, A[m], n)) for m in (2 * k, 2 * k + 1))
        best = (n @ offset[k] / width).max()
        assert mu[k] == pytest.approx(best, rel=1e-3)
        assert mu[k] >= best * (1 - 1e-12)


def test_the_distance_of_two_rods_is_that_of_a_bounded_least_squares_problem():
    directions = rotations(200)[..., 0]
    directions[1] = directions[0]  # parallel
    directions[3] = -directions[2]
    touch = rod_shapes(1.0, 0.5, directions).touch(np.arange(0, 200, 2), np.arange(1, 200, 2))
    offset = np.random.default_rng(3).normal(size=(100, 3))
    mu, _ = touch(offset)
    for k in range(100):
        columns = np.stack([-directions[2 * k], directions[2 * k + 1]], 1)
        exact = lsq_linear(columns, -offset[k], (-1.0, 1.0), tol=1e-14)
        if mu[k] < 1:
            assert mu[k] == pytest.approx(math.sqrt(2 * exact.cost), rel=1e-6, abs=1e-9)
        else:  # a lower bound is enough
            assert mu[k] <= math.sqrt(2 * exact.cost) * (1 + 1e-9)
    assert (mu < 1).sum() > 20


@pytest.mark.parametrize(
    ("aspect", "fraction", "gap"), [((2, 1, 1), 0.5, 0.0), ((3, 1, 1), 0.4, 0.01), ((0.5, 1, 1), 0.4, 0.02)]
)
def test_ellipsoids_do_not_overlap_and_keep_their_gap(aspect, fraction, gap):
    cell = packed_ellipsoids(16, fraction, 30, aspect, gap=gap, seed=1)
    a, centres, Q = (cell.descriptors[name][0].numpy() for name in ("semi_axes", "centres", "rotations"))
    assert 4 * math.pi / 3 * a.prod() * 30 == pytest.approx(fraction, rel=1e-12)
    # Points at gap / 2 outside each surface; none may lie within another's ellipsoid, nor nearer to it than gap / 2.
    t, u = np.meshgrid(np.arccos(np.linspace(-1, 1, 25)), np.linspace(0, 2 * math.pi, 36), indexing="ij")
    n = np.stack([np.sin(t) * np.cos(u), np.sin(t) * np.sin(u), np.cos(t)], -1).reshape(-1, 3)
    surface = n * a
    normal = n / a
    shell = surface + gap * normal / np.linalg.norm(normal, axis=1)[:, None]
    for k in range(30):
        points = centres[k] + shell @ Q[k].T
        others = np.delete(np.arange(30), k)
        offset = points[:, None, :] - centres[others]
        offset -= np.round(offset)
        within = np.linalg.norm(np.einsum("pka,kab->pkb", offset, Q[others]) / a, axis=-1)
        assert within.min() > 1


def test_ellipsoids_have_the_orientation_tensor_asked_for():
    wanted = np.array([[0.5, 0.1, 0.0], [0.1, 0.3, 0.05], [0.0, 0.05, 0.2]])
    cell = packed_ellipsoids(16, 0.3, 20, (2, 1, 1), orientation=wanted, seed=1, n_samples=3)
    np.testing.assert_allclose(cell.descriptors["orientation_tensor"], np.tile(wanted, (3, 1, 1)), atol=1e-12)
    p = cell.descriptors["rotations"][..., 0]
    torch.testing.assert_close(cell.descriptors["orientation_tensor"], torch.einsum("mki,mkj->mij", p, p) / 20)


def test_distinct_ellipsoids_are_phases_with_their_axes():
    cell = packed_ellipsoids(24, 0.4, 8, (2, 1, 1), seed=1, n_samples=2, distinct=True)
    together = packed_ellipsoids(24, 0.4, 8, (2, 1, 1), seed=1, n_samples=2)
    assert cell.n_phases == 9
    assert torch.equal((cell.phase > 0).long(), together.phase)
    torch.testing.assert_close(cell.orientations[:, 1:], cell.descriptors["rotations"])
    a = cell.descriptors["semi_axes"][0]
    for k in range(8):
        at = torch.nonzero(cell.phase[0] == k + 1).double() + 0.5
        offset = at / 24 - 0.5 - cell.descriptors["centres"][0, k]
        offset -= offset.round()
        assert float(((offset @ cell.descriptors["rotations"][0, k]) / a).norm(dim=1).max()) <= 1


@pytest.mark.parametrize("generator", [packed_spheres, packed_fibres, packed_ellipsoids])
def test_a_sample_of_a_packing_depends_on_its_seed_and_number_alone(generator):
    many, few, other = (
        generator(16, fraction=0.3, count=6, seed=seed, n_samples=n) for seed, n in ((4, 3), (4, 2), (5, 2))
    )
    assert torch.equal(many.phase[:2], few.phase)
    assert torch.equal(many.descriptors["centres"][:2], few.descriptors["centres"])
    assert not torch.equal(few.phase[0], few.phase[1])
    assert not torch.equal(few.phase, other.phase)


def test_the_size_of_a_packed_cell_scales_its_lengths_and_nothing_else():
    small, large = (packed_spheres(16, fraction=0.5, count=8, gap=0.02 * s, size=s, seed=2) for s in (1.0, 4.0))
    assert torch.equal(small.phase, large.phase)
    torch.testing.assert_close(large.descriptors["radii"], 4 * small.descriptors["radii"], rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: packed_spheres(8, fraction=0.7, count=30),
            "fraction: got 0.700 as 30 balls.*equal ones jam near 0.64",
        ),
        (lambda: packed_fibres(8, fraction=0.93, count=20), "for which no arrangement was found"),
        (lambda: packed_spheres(8, fraction=0.3), "wanted two of the three"),
        (lambda: packed_spheres(8, fraction=0.3, count=5, spread=-0.1), "spread: got -0.1"),
        (lambda: packed_spheres(8, fraction=0.3, count=5, gap=-0.1), "gap: got -0.1"),
        (lambda: packed_spheres(8, fraction=0.3, count=5, n_samples=0), "n_samples: got 0"),
        (lambda: packed_spheres(4, radius=0.01, count=1), "wanted a finer grid"),
        (lambda: packed_ellipsoids(8, 1.2), "fraction: got 1.2"),
        (lambda: packed_ellipsoids(8, 0.3, 0), "count: got 0"),
        (lambda: packed_ellipsoids(8, 0.3, 5, (1, 1)), "aspect: got"),
        (lambda: packed_ellipsoids(8, 0.3, 2, (9, 1, 1)), "more ellipsoids, or an aspect nearer 1"),
        (lambda: packed_ellipsoids(8, 0.3, 5, orientation=np.eye(3)), "orientation: got.*wanted trace 1"),
    ],
)
def test_a_packing_that_cannot_be_made_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
