from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datagen.microstructures.laminate import laminate
from datagen.microstructures.microstructure import Microstructure
from datagen.tensors import random_rotation


def random_cell(shape: tuple[int, ...] = (2, 5, 4, 3), phases: int = 3) -> Microstructure:
    rng = np.random.default_rng(7)
    return Microstructure(rng.integers(0, phases, shape), spacing=(0.5, 0.25, 0.125))


@pytest.mark.parametrize(
    ("shape", "stored"), [((4, 5), (1, 4, 5, 1)), ((4, 5, 6), (1, 4, 5, 6)), ((2, 4, 5, 6), (2, 4, 5, 6))]
)
def test_phases_are_kept_as_samples_of_a_solid_grid(shape, stored):
    cell = Microstructure(np.zeros(shape, dtype=np.uint8))
    assert cell.phase.shape == stored
    assert cell.phase.dtype == torch.int64
    assert (cell.n_samples, *cell.grid) == stored


def test_volume_fractions_count_the_voxels_of_each_sample():
    cell = random_cell()
    for sample in range(2):
        for phase in range(3):
            assert cell.volume_fractions[sample, phase] == (cell.phase[sample] == phase).double().mean()


def test_one_sample_is_the_cell_alone():
    rotations = random_rotation(2, 3, generator=torch.Generator().manual_seed(1))
    cell = Microstructure(random_cell().phase, 2.0, rotations, {"radius": [0.1, 0.2]})
    alone = cell.sample(1)
    assert torch.equal(alone.phase, cell.phase[1:])
    assert torch.equal(alone.orientations, rotations[1:])
    assert alone.descriptors["radius"].tolist() == [0.2]
    with pytest.raises(IndexError, match="sample: got 2, wanted 0 to 1"):
        cell.sample(2)


@pytest.mark.parametrize(("phase", "other"), [(1, None), (0, 2), (2, 0)])
def test_two_point_statistics_are_what_counting_pairs_gives(phase, other):
    cell = random_cell()
    ends = (cell.phase == (phase if other is None else other)).double()
    starts = (cell.phase == phase).double()
    counted = torch.zeros_like(starts)
    for i in range(5):
        for j in range(4):
            for k in range(3):
                counted[:, i, j, k] = (starts * ends.roll((-i, -j, -k), (1, 2, 3))).mean((1, 2, 3))
    torch.testing.assert_close(cell.two_point(phase, other), counted, rtol=0, atol=1e-15)


def test_two_point_statistics_start_at_the_volume_fraction_and_average_to_its_square():
    cell = random_cell()
    for phase in range(3):
        fraction = cell.volume_fractions[:, phase]
        statistics = cell.two_point(phase)
        torch.testing.assert_close(statistics[:, 0, 0, 0], fraction, rtol=1e-14, atol=0)
        torch.testing.assert_close(statistics.mean((1, 2, 3)), fraction**2, rtol=1e-14, atol=0)


def test_every_pair_of_points_lies_in_some_pair_of_phases():
    cell = random_cell()
    total = sum(cell.two_point(p, q) for p in range(3) for q in range(3))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-14)


def test_radial_average_is_the_mean_over_grid_vectors_of_one_length():
    cell = Microstructure(random_cell((6, 6), 2).phase, spacing=0.5)
    distance, values = cell.radial_two_point(1)
    statistics = cell.two_point(1)[0, :, :, 0]
    assert distance[0] == 0
    assert values[0, 0] == pytest.approx(cell.volume_fractions[0, 1].item())
    # Rounded to one voxel: four vectors of length 1 and four of length sqrt 2.
    near = [statistics[i, j].item() for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))]
    assert values[0, 1].item() == pytest.approx(sum(near) / 8)
    assert distance[1].item() == pytest.approx(0.5 * (1 + math.sqrt(2)) / 2)
    assert distance[-1] <= 0.5 * 3 + 0.25


def test_lineal_path_of_a_laminate_falls_linearly_across_and_not_at_all_along():
    cell = laminate(8, normal="y", fraction=0.5)
    across = cell.lineal_path(1, axis=1)[0].tolist()
    assert across == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0, 0.0, 0.0]
    assert cell.lineal_path(1, axis=0)[0].tolist() == [0.5] * 8


def test_a_mirrored_cell_is_unchanged_by_reflection():
    cell = random_cell((5, 4))
    mirrored = cell.mirrored()
    assert mirrored.grid == (10, 8, 1)
    assert torch.equal(mirrored.phase, mirrored.phase.flip(1))
    assert torch.equal(mirrored.phase, mirrored.phase.flip(2))
    assert torch.equal(mirrored.phase[:, :5, :4], cell.phase)
    torch.testing.assert_close(mirrored.volume_fractions, cell.volume_fractions, rtol=1e-15, atol=0)
    with pytest.raises(ValueError, match="mirror is not a rotation"):
        Microstructure(cell.phase, orientations=torch.eye(3).expand(3, 3, 3)).mirrored()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"phase": np.zeros((4, 4))}, TypeError, "phase: got torch.float64, wanted integers"),
        ({"phase": np.zeros(4, dtype=int)}, ValueError, r"phase: got shape \(4,\)"),
        ({"phase": np.zeros((4, 0), dtype=int)}, ValueError, r"phase: got shape \(4, 0\)"),
        ({"phase": [[0, -1]]}, ValueError, "phase: got the index -1, wanted indices >= 0"),
        ({"phase": [[0, 1]], "spacing": 0.0}, ValueError, "spacing: got 0.0"),
        ({"phase": [[0, 1]], "spacing": (1.0, 2.0)}, ValueError, r"spacing: got \(1.0, 2.0\)"),
        ({"phase": [[0, 1]], "spacing": math.nan}, ValueError, "spacing: got nan"),
        ({"phase": [[0, 1]], "orientations": np.eye(3)}, ValueError, r"orientations: got shape \(3, 3\)"),
        ({"phase": [[0, 0]], "orientations": 2 * np.eye(3)[None]}, ValueError, "wanted rotations"),
        ({"phase": [[0, 0]], "orientations": -np.eye(3)[None]}, ValueError, "orientations: got a reflection"),
        ({"phase": [[0, 1]], "descriptors": {"radius": 0.1}}, ValueError, r"descriptors\['radius'\]: got shape"),
        ({"phase": [[0, 1]], "descriptors": {"radius": [1, 2]}}, ValueError, "one entry a sample"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused_with_what_was_wanted(arguments, error, message):
    with pytest.raises(error, match=message):
        Microstructure(**arguments)


def test_statistics_of_a_phase_that_is_not_there_are_refused():
    cell = random_cell()
    with pytest.raises(ValueError, match="phase: got 3, wanted 0 to 2"):
        cell.two_point(3)
    with pytest.raises(ValueError, match="axis: got 3"):
        cell.lineal_path(0, axis=3)
