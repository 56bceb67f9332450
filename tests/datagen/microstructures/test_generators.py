from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from datagen.microstructures.centred_fibre import centred_fibre
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.descriptors import describe
from datagen.microstructures.laminate import laminate
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from datagen.microstructures.random_spheres import random_spheres

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs" / "microstructure").glob("*.yaml"))


def example(kind: str, folder: Path) -> Path:
    """A small file for each of the readers."""
    if kind == "vti_file":
        return Path(__file__).parent / "vti" / "damask.vti"
    path = folder / ("cell.h5" if kind == "fans_file" else "cell.png")
    if kind == "fans_file":
        with h5py.File(path, "w") as file:
            file["sphere/2x2x2/ms"] = np.eye(2, dtype=np.uint8)[None].repeat(2, 0)
    else:
        Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_a_cell_of_several_phases(config, tmp_path):
    settings = OmegaConf.load(config)
    if OmegaConf.is_missing(settings, "path"):
        settings.path = str(example(config.stem, tmp_path))
    cell = instantiate(settings)
    assert isinstance(cell, Microstructure)
    assert cell.n_phases >= 2
    assert (cell.volume_fractions > 0).all()
    for name, value in describe(cell, two_point=True).items():
        assert value.shape[0] == cell.n_samples, name
        assert value.isfinite().all(), name


# Voxel counts of shared/reference/rve_golden.json, cell.voxelisation, measured 2026-11-22 with FANS and muSpectre.
@pytest.mark.parametrize(("n", "count"), [(16, 840), (32, 6704), (64, 52568), (33, 7123), (65, 54963)])
def test_centred_sphere_has_the_voxels_that_other_codes_count(n, count):
    radius = (3 * 0.2 / (4 * math.pi)) ** (1 / 3)
    assert int(centred_sphere(n, radius=radius).phase.sum()) == count
    assert int(centred_sphere(n, fraction=0.2).phase.sum()) == count


def test_centred_sphere_holds_the_voxels_whose_centre_it_holds():
    phase = centred_sphere(16, fraction=0.2).phase[0]
    r = (3 * 0.2 / (4 * math.pi)) ** (1 / 3)
    for i, j, k in ((8, 8, 8), (2, 8, 8), (3, 8, 8), (4, 4, 9), (5, 5, 5)):
        x, y, z = ((index + 0.5) / 16 - 0.5 for index in (i, j, k))
        assert phase[i, j, k] == int(x**2 + y**2 + z**2 <= r**2)


@pytest.mark.parametrize("generator", [centred_sphere, centred_fibre])
def test_a_centred_inclusion_has_the_symmetry_of_the_cube(generator):
    phase = generator(15, fraction=0.25, match_fraction=True).phase
    assert torch.equal(phase, phase.flip(1))
    assert torch.equal(phase, phase.transpose(1, 2))


@pytest.mark.parametrize(("normal", "axis"), [("x", 1), ("y", 2), ("z", 3)])
def test_a_laminate_varies_along_its_normal_only(normal, axis):
    cell = laminate((4, 6, 8), normal=normal, fraction=0.25)
    first = cell.phase.narrow(axis, 0, 1)
    assert not torch.equal(cell.phase, first.expand_as(cell.phase))
    line = cell.phase.movedim(axis, -1)
    assert torch.equal(line, line[:, :1, :1].expand_as(line))
    assert cell.volume_fractions[0, 1] == max(round(0.25 * cell.grid[axis - 1]), 1) / cell.grid[axis - 1]


def closest_surfaces(cell: Microstructure, edges: list[float]) -> float:
    """Smallest distance between two surfaces over all samples and all periodic images, counted pair by pair."""
    smallest = math.inf
    for centres, radius in zip(cell.descriptors["centres"], cell.descriptors["radius"], strict=True):
        images = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) * e for e in edges])
        for a in range(len(centres)):
            for b in range(a):
                distance = (centres[a] - centres[b] + images).norm(dim=-1).min()
                smallest = min(smallest, float(distance - 2 * radius))
    return smallest


@pytest.mark.parametrize("generator", [random_fibres, random_spheres])
def test_random_inclusions_keep_their_gap_across_the_edges_too(generator):
    cell = generator((12, 24) if generator is random_fibres else (12, 24, 12), fraction=0.2, count=9, gap=0.05, seed=3)
    assert closest_surfaces(cell, list(cell.size)[: cell.descriptors["centres"].shape[-1]]) >= 0.05


@pytest.mark.parametrize("generator", [random_fibres, random_spheres])
def test_a_seed_gives_the_same_cells_and_another_seed_others(generator):
    a, b, c = (generator(16, fraction=0.2, count=5, seed=seed, n_samples=2) for seed in (4, 4, 5))
    assert torch.equal(a.phase, b.phase)
    assert not torch.equal(a.phase, c.phase)
    assert not torch.equal(a.phase[0], a.phase[1])


def test_a_sample_does_not_depend_on_how_many_are_made():
    many, few = (random_fibres(16, fraction=0.3, count=5, seed=4, n_samples=n) for n in (5, 2))
    assert torch.equal(many.phase[:2], few.phase)


@settings(max_examples=25, deadline=None)
@given(fraction=st.floats(0.05, 0.4), count=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_the_matched_radius_is_the_best_of_all_radii(fraction, count, seed):
    cell = random_fibres(24, fraction=fraction, count=count, seed=seed, match_fraction=True)
    reached = abs(cell.volume_fractions[0, 1].item() - fraction)
    centres, radius = cell.descriptors["centres"][0].numpy(), cell.descriptors["radius"].item()
    for factor in (0.9, 0.99, 0.999, 1.001, 1.01, 1.1):
        assert reached <= abs(_discs(centres, factor * radius, 24) - fraction) + 1e-12


def _discs(centres: np.ndarray, radius: float, n: int) -> float:
    """Fraction of the voxels of a unit cell in discs, voxel by voxel and image by image."""
    axis = (np.arange(n) + 0.5) / n - 0.5
    x, y = np.meshgrid(axis, axis, indexing="ij")
    inside = np.zeros((n, n), dtype=bool)
    for cx, cy in centres:
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                inside |= (x - cx - i) ** 2 + (y - cy - j) ** 2 <= radius**2
    return float(inside.mean())


def test_random_fibres_fill_the_voxels_whose_centres_they_cover():
    cell = random_fibres(24, radius=0.12, count=7, seed=11)
    assert cell.volume_fractions[0, 1].item() == _discs(cell.descriptors["centres"][0].numpy(), 0.12, 24)


def test_two_of_radius_fraction_and_count_give_the_third():
    by_radius = random_fibres(16, radius=0.1, fraction=0.3, seed=1)
    assert by_radius.descriptors["centres"].shape == (1, round(0.3 / (math.pi * 0.01)), 2)
    by_count = random_spheres(16, fraction=0.2, count=4, seed=1)
    assert by_count.descriptors["radius"].item() == pytest.approx((3 * 0.05 / (4 * math.pi)) ** (1 / 3), rel=1e-14)


def test_the_size_of_the_cell_scales_its_lengths_and_nothing_else():
    small, large = (random_fibres(16, fraction=0.3, count=4, gap=0.02 * s, size=s, seed=2) for s in (1.0, 4.0))
    assert torch.equal(small.phase, large.phase)
    assert large.spacing == (0.25, 0.25, 0.25)
    torch.testing.assert_close(large.descriptors["radius"], 4 * small.descriptors["radius"], rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: laminate(8, normal="w"), "normal: got 'w'"),
        (lambda: laminate((1, 8, 8)), "grid: got 1 voxel along the normal x"),
        (lambda: laminate(8, fraction=1.0), "fraction: got 1.0"),
        (lambda: laminate((8, 8)), r"grid: got \(8, 8\), wanted one number of voxels >= 1, or 3"),
        (lambda: centred_sphere(8), "wanted two of the three"),
        (lambda: centred_sphere(8, fraction=0.2, radius=0.3), "wanted two of the three"),
        (lambda: centred_sphere(8, fraction=0.9), "radius: got 0.598"),
        (lambda: centred_sphere(8, radius=-1.0), "radius: got -1.0"),
        (lambda: centred_fibre(2, radius=0.01), "refine the grid"),
        (lambda: centred_fibre(8, fraction=0.2, size=-1.0), "size: got -1.0"),
        (lambda: random_fibres(8, fraction=0.3), "wanted two of the three"),
        (lambda: random_fibres(8, fraction=0.3, count=0), "count: got 0"),
        (lambda: random_fibres(8, fraction=0.3, count=3, gap=-0.1), "gap: got -0.1"),
        (lambda: random_fibres(8, fraction=0.3, count=3, n_samples=0), "n_samples: got 0"),
        (lambda: random_fibres(8, fraction=0.3, count=3, seed=-1), "seed: got -1"),
        (lambda: random_fibres(8, fraction=0.65, count=30), "jamming limit of random sequential addition is 0.547"),
        (lambda: random_fibres(8, fraction=0.3, count=30, gap=0.2), "jamming limit"),
        (lambda: random_spheres(8, fraction=0.5, count=30), "jamming limit of random sequential addition is 0.384"),
    ],
)
def test_a_cell_that_cannot_be_made_is_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
