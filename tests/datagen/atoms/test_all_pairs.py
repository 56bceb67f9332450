"""Lists from lengths in single precision are as exact as those from double."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.neighbours import neighbours, pieces
from datagen.atoms.statics import evaluate
from datagen.atoms.supercells import supercell

ARGON = LennardJones(0.0104, 3.4, 6.0)


@pytest.mark.parametrize("repeat", [1, 2, 3, 4])
@pytest.mark.parametrize("off", [-1e-9, 1e-9])
def test_a_shell_a_billionth_beyond_the_reach_is_absent_and_within_it_whole(repeat: int, off: float) -> None:
    crystal = supercell(fcc(5.3, "Ar", conventional=True), repeat)
    found = neighbours(crystal.positions[None], crystal.lattice[None], 5.3 * math.sqrt(1.5) + off)
    assert (found.real.sum(-1) == (42 if off > 0 else 18)).all()


@pytest.mark.parametrize("cells", [1, 1000, 10**6])
def test_atoms_far_from_their_cell_have_the_neighbours_that_they_have_in_it(cells: int) -> None:
    crystal = supercell(fcc(5.3, "Ar", conventional=True), 2)
    generator = torch.Generator().manual_seed(0)
    x = crystal.positions + 0.1 * torch.randn(1, crystal.n, 3, generator=generator, dtype=torch.float64)
    h = crystal.lattice[None]
    away = cells * torch.randint(-3, 4, x.shape, generator=generator).to(x)
    here, there = neighbours(x, h, 6.0), neighbours(x + away @ h, h, 6.0)
    moved = away[0, here.index[0]] - away[0][:, None]
    assert torch.equal(here.real, there.real)
    torch.testing.assert_close(  # in order of images, which have moved
        (here.shift[0] - moved).sum((1, 2)), there.shift[0].sum((1, 2)), rtol=0, atol=0
    )


def test_a_call_without_a_list_makes_its_own_and_answers_the_same() -> None:
    crystal = supercell(fcc(5.3, "Ar", conventional=True), 2)
    generator = torch.Generator().manual_seed(1)
    x = crystal.positions + 0.1 * torch.randn(40, crystal.n, 3, generator=generator, dtype=torch.float64)
    h, species = crystal.lattice.expand(40, 3, 3), torch.zeros(crystal.n, dtype=torch.int64)
    assert len(list(pieces(x, h, ARGON.cutoff))) > 1
    given = evaluate(ARGON, x, h, species, neighbours(x, h, ARGON.cutoff))
    for one, two in zip(given, evaluate(ARGON, x, h, species), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-14)
