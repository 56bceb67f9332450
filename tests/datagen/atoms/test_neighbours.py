"""Neighbour lists against every image of every atom."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.atoms import neighbours as module
from datagen.atoms.crystals import fcc
from datagen.atoms.neighbours import Neighbours, neighbours, worn
from datagen.atoms.supercells import supercell
from datagen.tensors import det, inv, random_rotation


def by_hand(x: Tensor, h: Tensor, reach: float) -> list[tuple[int, ...]]:
    """All bonds (i, j, shift) of one member, found among far more images than can be needed."""
    planes = inv(h)
    spread = (x @ planes).amax(0) - (x @ planes).amin(0)
    images = [int(m) + 2 for m in reach * planes.norm(dim=0) + spread]
    shifts = torch.cartesian_prod(*(torch.arange(-m, m + 1) for m in images)).to(x)
    distance = ((shifts @ h)[:, None, None] + x[:, None] - x[None]).norm(dim=-1)  # of shift, neighbour, atom
    near = (distance < reach) & (distance > 1e-9)
    s, j, i = near.nonzero(as_tuple=True)
    return sorted((a, b, *map(int, c)) for a, b, c in zip(i.tolist(), j.tolist(), shifts[s].tolist(), strict=True))


def listed(found: Neighbours, member: int) -> list[tuple[int, ...]]:
    """The same from a list, in its own order."""
    i, k = found.real[member].nonzero(as_tuple=True)
    j, shift = found.index[member, i, k].tolist(), found.shift[member, i, k].tolist()
    return [(a, b, *map(int, c)) for a, b, c in zip(i.tolist(), j, shift, strict=True)]


def skewed(seed: int) -> tuple[Tensor, Tensor]:
    """Three cells of five atoms: one 10:1 with 15 degrees between two vectors, one a sheared cube, one random."""
    generator = torch.Generator().manual_seed(seed)
    angle = math.radians(15)
    needle = torch.tensor([[2.0, 0, 0], [2 * math.cos(angle), 2 * math.sin(angle), 0], [0.3, 0.2, 20.0]])
    sheared = torch.tensor([[4.0, 0, 0], [5.0, 4.0, 0], [-3.0, 6.0, 4.0]])
    anything = torch.eye(3) * 3 + torch.randn(3, 3, generator=generator)
    h = torch.stack([needle, sheared, anything]).double() @ random_rotation(3, generator=generator)
    h = torch.where((det(h).abs() > 5)[:, None, None], h, 4 * torch.eye(3, dtype=torch.float64))
    return (4 * torch.rand(3, 5, 3, generator=generator, dtype=torch.float64) - 2) @ h, h


@pytest.fixture(params=["all_pairs", "bins"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "MANY", 0 if request.param == "bins" else 10**9)
    return request.param


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(4))
def test_every_bond_of_a_skew_cell_is_listed_once_from_each_end(seed: int) -> None:
    x, h = skewed(seed)
    found = neighbours(x, h, 4.0, 0.3)
    for member in range(3):
        assert listed(found, member) == by_hand(x[member], h[member], 4.3)


@pytest.mark.usefixtures("way")
def test_the_list_of_a_member_does_not_depend_on_its_batch() -> None:
    x, h = skewed(7)
    together = neighbours(x, h, 4.0)
    for member in range(3):
        alone = neighbours(x[member : member + 1], h[member : member + 1], 4.0)
        assert listed(together, member) == listed(alone, 0)


@pytest.mark.usefixtures("way")
def test_the_reverse_of_a_bond_is_the_same_bond_seen_from_its_other_end() -> None:
    x, h = skewed(3)
    found = neighbours(x, h, 4.0)
    B, n, K = found.index.shape
    own = torch.arange(n)[:, None].expand(n, K).flatten()
    for member in range(B):
        back = found.reverse[member].flatten()
        assert torch.equal(found.index[member].flatten()[back], own)
        assert torch.equal(own[back], found.index[member].flatten())
        assert torch.equal(found.shift[member].reshape(-1, 3)[back], -found.shift[member].reshape(-1, 3))
        assert torch.equal(back[back], torch.arange(n * K))


@pytest.mark.usefixtures("way")
def test_an_atom_alone_is_its_own_neighbour_through_its_images() -> None:
    crystal = fcc(4.0, "Ar")
    found = neighbours(crystal.positions[None], crystal.lattice[None], 4.1)
    assert found.index.shape == (1, 1, 18)  # 12 at a / sqrt(2), 6 at a
    assert (found.index == 0).all()
    assert found.real.all()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("reach", [4.0, 4.0 / math.sqrt(2), 4.0 * math.sqrt(1.5)])
def test_a_shell_as_far_as_the_reach_is_whole_or_absent(reach: float) -> None:
    turned = random_rotation(generator=torch.Generator().manual_seed(1))
    crystal = supercell(fcc(4.0, "Ar"), 3).deformed(turned)
    found = neighbours(crystal.positions[None], crystal.lattice[None], reach)
    number = found.real.sum(-1)
    assert (number == number[0, 0]).all()
    assert int(number[0, 0]) in (0, 12, 18, 42)


@pytest.mark.usefixtures("way")
def test_atoms_without_neighbours_have_padding_only() -> None:
    found = neighbours(torch.zeros(2, 1, 3).double(), 10 * torch.eye(3).double().expand(2, 3, 3), 3.0)
    assert not found.real.any()
    assert found.index.shape == (2, 1, 1)


def test_bins_and_all_pairs_agree_on_many_atoms() -> None:
    crystal = supercell(fcc(4.0, "Ar", conventional=True), 7)
    generator = torch.Generator().manual_seed(0)
    x = crystal.positions + 0.1 * torch.randn(1, crystal.n, 3, generator=generator, dtype=torch.float64)
    F = torch.tensor([[1.0, 0.4, 0], [0, 1, -0.3], [0, 0, 1]], dtype=torch.float64)
    x, h = x @ F.T, (crystal.lattice @ F.T)[None]
    assert crystal.n > module.MANY
    bins = neighbours(x, h, 4.5)
    pairs = module._padded(list(module.all_pairs(x, h, 4.5)), crystal.n)
    for one, other in zip((bins.index, bins.shift, bins.reverse, bins.real), pairs, strict=True):
        assert torch.equal(one, other)


def test_a_list_with_a_skin_wears_out_when_atoms_or_cell_have_moved_half_of_it() -> None:
    x, h = skewed(0)
    found = neighbours(x, h, 4.0, 0.4)
    moved = x.clone()
    moved[1, 2, 0] += 0.19
    moved[2, 2, 0] += 0.21
    assert worn(found, moved, h).tolist() == [False, False, True]
    stretched = (1 + torch.tensor([0.0, 0.01, 0.1], dtype=torch.float64))[:, None, None]
    assert worn(found, x * stretched, h * stretched).tolist() == [False, False, True]


def test_a_list_remembers_where_it_was_made_when_atoms_are_moved_in_place() -> None:
    x, h = skewed(0)
    found = neighbours(x, h, 4.0, 0.4)
    x += torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    assert worn(found, x, h).all()


@pytest.mark.parametrize(("members", "atoms"), [(0, 2), (3, 0)])
def test_no_members_or_no_atoms_have_no_neighbours(members: int, atoms: int) -> None:
    x, h = torch.zeros(members, atoms, 3).double(), torch.eye(3).double().expand(members, 3, 3)
    found = neighbours(x, h, 1.0)
    assert found.index.shape == found.real.shape == (members, atoms, 1)
    assert found.shift.shape == (members, atoms, 1, 3)


def test_single_precision_is_refused() -> None:
    with pytest.raises(TypeError, match=r"positions, cell: got .*float32 and .*float64, wanted"):
        neighbours(torch.zeros(1, 2, 3), torch.eye(3).double()[None], 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(2, 3)}, "positions, cell: got shapes"),
        ({"cutoff": 0.0}, "cutoff, skin: got"),
        ({"cell": torch.zeros(1, 3, 3).double()}, "without volume"),
        ({"cell": 1e-3 * torch.eye(3).double()[None]}, r"cell: got one of 2 atoms through which 8e\+09 images"),
        ({"cell": torch.diag(torch.tensor([1.0, 1.0, 1e-300])).double()[None]}, "cell: got"),
        ({"positions": torch.full((1, 2, 3), torch.nan).double()}, "not finite"),
    ],
)
def test_wrong_input_is_named(change: dict, message: str) -> None:
    given = {"positions": torch.zeros(1, 2, 3).double(), "cell": torch.eye(3).double()[None], "cutoff": 1.0}
    with pytest.raises(ValueError, match=message):
        neighbours(**(given | change))
