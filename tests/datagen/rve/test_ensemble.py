from __future__ import annotations

import math
import pickle
from functools import partial

import pytest
import torch

from datagen.microstructures.centred_fibre import centred_fibre
from datagen.microstructures.laminate import laminate
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from datagen.microstructures.random_spheres import random_spheres
from datagen.microstructures.voronoi import two_phase_voronoi
from datagen.rve.ensemble import Generated, Windows, side_by_side
from datagen.tensors import random_rotation

FIBRES = partial(random_fibres, grid=[24, 12], count=6, fraction=0.3, size=2.0)


def test_a_larger_cell_has_more_of_the_same_features():
    cells = Generated(FIBRES)
    for edge, count in ((24, 6), (48, 24)):
        cell = cells.one(edge, 0)
        assert cell.grid == (edge, edge // 2, 1)
        assert cell.descriptors["centres"].shape == (1, count, 2)
        torch.testing.assert_close(cell.descriptors["radius"], cells.one(24, 5).descriptors["radius"])
        assert cell.spacing == cells.spacing


def test_in_three_dimensions_counts_grow_with_the_cube():
    cells = Generated(partial(random_spheres, grid=8, count=1, radius=0.3))
    assert cells.dimension == 3
    assert cells.one(16, 0).descriptors["centres"].shape == (1, 8, 3)
    assert cells.volume(16) == pytest.approx(8.0)


def test_a_mean_number_need_not_be_whole():
    cells = Generated(partial(two_phase_voronoi, grid=[8, 8], cells=10, probability=0.5))
    counts = torch.cat([cells.one(12, k).descriptors["cells"] for k in range(100)])
    assert float(counts.mean()) == pytest.approx(22.5, abs=4 * math.sqrt(22.5 / 100))  # Poisson
    fixed = Generated(partial(two_phase_voronoi, grid=[8, 8], cells=16, poisson=False))
    assert fixed.one(4, 0).descriptors["cells"].item() == 4


def test_the_volume_of_a_flat_cell_is_its_area():
    assert Generated(FIBRES).volume(24) == pytest.approx(2.0)
    assert Generated(FIBRES).dimension == 2


def test_a_sample_is_the_same_cell_whatever_else_is_drawn():
    cells = Generated(FIBRES, seed=3)
    together = cells.draw(24, [0, 1, 2])
    alone = pickle.loads(pickle.dumps(cells)).one(24, 2)
    assert torch.equal(together.phase[2:], alone.phase)
    assert not torch.equal(together.phase[0], together.phase[1])
    assert not torch.equal(Generated(FIBRES, seed=4).one(24, 2).phase, alone.phase)


def test_windows_lie_apart_and_cover_the_image():
    image = Microstructure(torch.arange(2 * 6 * 9).reshape(2, 6, 9, 1))
    cells = Windows(image)
    assert cells.grid_of(2) == (2, 3, 1)
    seen = cells.draw(2, range(18)).phase
    assert torch.equal(seen.flatten().sort().values, torch.arange(108))
    first = seen[0, :, :, 0]
    assert torch.equal(first - first[0, 0], torch.tensor([[0, 1, 2], [9, 10, 11]]))


def test_samples_side_by_side_keep_their_axes():
    Q = random_rotation(5, generator=torch.Generator().manual_seed(0))
    two = Microstructure(torch.tensor([[0, 1], [1, 0]]), orientations=Q[:2])
    three = Microstructure(torch.tensor([[0, 1], [2, 0]]), orientations=Q[2:])
    both = side_by_side([two, three])
    assert both.orientations is not None
    assert torch.equal(both.orientations[0, :2], Q[:2])
    assert torch.equal(both.orientations[1], Q[2:])
    assert torch.equal(both.orientations[0, 2], torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Generated(partial(centred_fibre, grid=8, fraction=0.3)), "centred_fibre, which has no seed"),
        (lambda: Generated(partial(laminate, grid=8)), "laminate, which has no seed"),
        (
            lambda: Generated(partial(random_fibres, grid=8, fraction=0.3, cells=3)),
            "microstructure: got cells for random_fibres, wanted arguments among grid, ",
        ),
        (lambda: Generated(FIBRES, seed=-1), "seed: got -1"),
        (lambda: Windows(Microstructure([[0, 1]]), seed=True), "seed: got True"),
        (lambda: Generated(FIBRES).check(25, 4), "edges: got 25, wanted .* the shape of 24x12x1"),
        (lambda: Generated(FIBRES).check(2.5, 4), r"edges: got 2\.5, wanted whole numbers"),
        (lambda: Generated(FIBRES).check(12, 4), r"edges: got 12, which asks for count = 1\.5, from 6 at 24 voxels"),
        (lambda: Generated(FIBRES).check(24, 1), "samples: got 1, wanted at least 2"),
        (
            lambda: Windows(Microstructure(torch.zeros(9, 9, dtype=torch.int64))).check(4, 5),
            "got 5 windows of 4 voxels, wanted at most the 4 that lie apart",
        ),
    ],
)
def test_cells_that_cannot_be_had_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
