from __future__ import annotations

import h5py
import torch

from datagen.microstructures.descriptors import describe
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from datagen.microstructures.short_fibres import short_fibres
from datagen.microstructures.voronoi import voronoi_polycrystal
from datagen.microstructures.voxel_file import voxel_file, write_cells


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


def test_cells_are_written_with_all_that_describes_them_and_read_again(tmp_path):
    cell = voronoi_polycrystal(8, grains=3, seed=2, n_samples=2, size=0.5)
    write_cells(cell, tmp_path / "cells.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5"]
    again = voxel_file(tmp_path / "cells.h5", dataset="phase", spacing=cell.spacing)
    assert torch.equal(again.phase, cell.phase)
    with h5py.File(tmp_path / "cells.h5") as file:
        assert torch.equal(torch.as_tensor(file["orientations"][()]), cell.orientations)
        assert tuple(file["phase"].attrs["spacing"]) == cell.spacing
        kept = {name: torch.as_tensor(values[()]) for name, values in file["descriptors"].items()}
    wanted = describe(cell, two_point=True)
    assert {"volume_fractions", "orientation_tensor", "two_point", "two_point_distance", "seeds"} == kept.keys()
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)
