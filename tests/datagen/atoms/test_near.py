from __future__ import annotations

import pytest
import torch

from datagen.atoms.near import bonds_first, near


def bonds(K=9, *batch):
    """Lengths from 0.2 to 2 in random order, three axes (3, K, *batch)."""
    generator = torch.Generator().manual_seed(K)
    x = torch.randn(3, K, *batch, generator=generator, dtype=torch.float64)
    length = torch.linspace(0.2, 2, K, dtype=torch.float64)
    order = torch.rand(K, *batch, generator=generator).argsort(0)
    return x / x.norm(dim=0) * length[order]


@pytest.mark.parametrize("worth", [0.0, 1.0], ids=["cut off", "moved"])
def test_bonds_within_the_cutoff_are_kept_and_find_their_way_back(worth):
    x = bonds(9, 4, 2)
    inside = x.norm(dim=0) < 0.6
    kept = near(x, 0.6, worth)
    assert (kept.taken is None) == (worth == 0.0)
    short = kept.of(x, 5.0, axis=1)
    assert short.shape == (3, kept.kept, 4, 2)
    assert kept.kept == (2 if worth else int(inside.flatten(1).any(1).nonzero().max()) + 1)
    assert torch.equal(short.norm(dim=0) < 0.6, inside[: kept.kept]) or worth
    assert ((short.norm(dim=0) < 0.6).sum(0) == inside.sum(0)).all()
    back = kept.back(torch.where(short.norm(dim=0) < 0.6, short, 0.0))
    assert torch.equal(back, torch.where(inside, x, 0.0))
    numbers = torch.arange(9)[:, None, None].expand(9, 4, 2)
    there = kept.of(numbers, -1)
    assert torch.equal(x.gather(1, there.clamp(min=0).expand(3, *there.shape))[:, there >= 0], short[:, there >= 0])


def test_atoms_without_bonds_keep_one_empty_place():
    x = 3 * torch.ones(3, 5, 2, dtype=torch.float64)
    kept = near(x, 1.0, 1.0)
    assert kept.kept == 1
    assert not kept.back(torch.zeros(3, 1, 2, dtype=torch.float64)).any()
    assert near(x[:, :0], 1.0, 1.0).back(x[:, :0]).shape == (3, 0, 2)


def test_elements_of_neighbours_follow_the_bonds():
    other = torch.arange(6).reshape(2, 3)
    assert torch.equal(bonds_first(other, 3)[:, 0], other.T)
    assert bonds_first(other, 3).shape == (3, 1, 2)
    assert bonds_first(other.expand(4, 2, 3), 3).shape == (3, 4, 2)
