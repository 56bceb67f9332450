from __future__ import annotations

import torch

from datagen.microstructures.descriptors import describe
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from datagen.microstructures.short_fibres import short_fibres


def test_a_cell_is_described_by_its_own_numbers_and_those_of_its_voxels():
    cell = random_fibres(16, fraction=0.3, count=4, seed=1, n_samples=3)
    found = describe(cell)
    assert set(found) == {"radius", "centres", "volume_fractions"}
    assert torch.equal(found["volume_fractions"], cell.volume_fractions)
    assert "volume_fractions" not in cell.descriptors
    Microstructure(cell.phase, cell.spacing, descriptors=found)  # one entry a sample each


def test_two_point_correlations_come_on_request():
    cell = random_fibres(16, fraction=0.3, count=4, seed=1, n_samples=3)
    found = describe(cell, two_point=True)
    for phase in range(2):
        distance, values = cell.radial_two_point(phase)
        assert torch.equal(found["two_point"][:, phase], values)
        assert torch.equal(found["two_point_distance"], distance.expand(3, -1))


def test_fibres_that_are_phases_keep_the_tensor_of_the_fibres():
    cell = short_fibres(16, 0.6, 0.15, count=6, seed=1, distinct=True)
    assert torch.equal(describe(cell)["orientation_tensor"], cell.descriptors["orientation_tensor"])
