"""Periodic neighbour lists of batches of cells, however skewed, however small.

A bond r = x_j + s h - x_i shorter than the reach R has the fractional difference f + s, f = (x_j - x_i) h^-1, and each
of its components is at most c_d = R / (distance of the lattice planes d). The integers s_d in [-c_d - f_d, c_d - f_d]
are therefore all that need looking at, floor(2 c_d) + 1 of them: a single one in a cell wider than twice the reach
(the minimum image, found for any skew), more in a smaller one, where an atom is a neighbour several times, and of
itself. Many atoms are sorted into bins at least as thick as the reach instead of comparing each with each.

A list holds each bond from both of its ends, in order of neighbour and image: a member's list in a batch is the list
that it has alone, padded to the longest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from datagen.atoms.all_pairs import CANDIDATES, TIE, Found, affordable, all_pairs, where
from datagen.tensors import det, inv

MARGIN = 1e-10  # relative, and in fractions of the cell: a candidate too many costs nothing, one too few is an error
MANY = 1000  # atoms from which bins are faster than comparing each with each


@dataclass(frozen=True)
class Neighbours:
    """Who is near whom, and through which image; B members of n atoms with up to K neighbours each.

    Entries beyond an atom's neighbours are padding: ``real`` is False, the index is the atom itself, the shift zero
    and the reverse the entry itself.
    """

    index: Tensor  # (B, n, K) int64, the neighbour
    shift: Tensor  # (B, n, K, 3), float, whole numbers of cell vectors: r = x_j + shift @ cell - x_i
    reverse: Tensor  # (B, n, K) int64, the entry j K + l of the same member that is the bond seen from its other end
    real: Tensor  # (B, n, K) bool, False for padding
    positions: Tensor  # (B, n, 3) where the list was made [A]
    cell: Tensor  # (B, 3, 3) [A]
    cutoff: float  # [A]
    skin: float  # [A], in the list are all bonds shorter than cutoff + skin

    def member(self, rows: Tensor | slice) -> Neighbours:
        """The lists of some members, chosen by a slice, indices or a mask."""
        return Neighbours(
            self.index[rows], self.shift[rows], self.reverse[rows], self.real[rows], self.positions[rows],
            self.cell[rows], self.cutoff, self.skin,
        )  # fmt: skip


def neighbours(positions: Tensor, cell: Tensor, cutoff: float, skin: float = 0.0) -> Neighbours:
    """All bonds shorter than ``cutoff + skin``.

    Args:
        positions: of the atoms, in the cell or anywhere (B, n, 3) [A].
        cell: rows are the lattice vectors (B, 3, 3) [A].
        cutoff: of the potential [A].
        skin: how much farther the list reaches, so that it stays complete while atoms move, see `worn` [A].

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, no positive cutoff, a cell without volume or
            so small that the images within the cutoff do not fit into memory.
        TypeError: positions or a cell in single precision.
    """
    _check(positions, cell, cutoff, skin)
    found = list(_found(positions, cell, cutoff + skin))
    # Copies: the caller may go on to move its atoms in place.
    listed = _padded(found, positions.shape[1])
    return Neighbours(*listed, positions.clone(), cell.clone(), float(cutoff), float(skin))


def pieces(positions: Tensor, cell: Tensor, cutoff: float) -> Iterator[tuple[slice, Neighbours]]:
    """The same, a few members at a time, for a list that is used once and while it is in the cache.

    Returns:
        members and their list, which is as long as theirs need and shares the memory of positions and cell.
    """
    _check(positions, cell, cutoff, 0.0)
    start = 0
    for found in _found(positions, cell, cutoff):
        rows = slice(start, start + len(found.number))
        listed = _padded([found], positions.shape[1])
        yield rows, Neighbours(*listed, positions[rows], cell[rows], float(cutoff), 0.0)
        start = rows.stop


def worn(found: Neighbours, positions: Tensor, cell: Tensor) -> Tensor:
    """Whether a list may miss a bond now that atoms and cell have moved, (B,) bool.

    With x = A x_0 + u, A = the map of the cells: a pair that was as far apart as cutoff + skin is now at least
    (1 - |A - I|) (cutoff + skin) - 2 max |u| apart.
    """
    map_t = inv(found.cell) @ cell  # A^T: rows of the cell, h = h_0 A^T
    moved = (positions - found.positions @ map_t).norm(dim=-1)
    stretch = (map_t - torch.eye(3, dtype=cell.dtype, device=cell.device)).flatten(1).norm(dim=-1)
    # ~(...) so that what is not a number counts as worn.
    far_enough = (1 - stretch) * (found.cutoff + found.skin) - 2 * moved.amax(-1) >= found.cutoff
    return ~far_enough


def _check(positions: Tensor, cell: Tensor, cutoff: float, skin: float) -> None:
    """Raises what `neighbours` does."""
    if positions.dim() != 3 or positions.shape[-1] != 3 or cell.shape != (len(positions), 3, 3):
        raise ValueError(
            f"positions, cell: got shapes {tuple(positions.shape)} and {tuple(cell.shape)}, wanted (B, n, 3) and "
            "(B, 3, 3)"
        )
    if positions.dtype != torch.float64 or cell.dtype != torch.float64:
        raise TypeError(f"positions, cell: got {positions.dtype} and {cell.dtype}, wanted torch.float64")
    if not (cutoff > 0 and skin >= 0):
        raise ValueError(f"cutoff, skin: got {cutoff} and {skin}, wanted positive and not negative [A]")
    if not (torch.isfinite(positions).all() and torch.isfinite(cell).all()):
        raise ValueError("positions, cell: got numbers that are not finite")
    if not (det(cell).abs() > 0).all():
        raise ValueError("cell: got lattice vectors without volume, wanted three that span one")


def _found(positions: Tensor, cell: Tensor, reach: float) -> Iterator[Found]:
    if not positions.numel():
        none = positions.new_zeros(0, dtype=torch.int64)
        return iter([Found(none.new_zeros(positions.shape[:2]), none, positions.new_zeros(3, 0), none)])
    return iter(_binned(positions, cell, reach)) if positions.shape[1] > MANY else all_pairs(positions, cell, reach)


def _binned(positions: Tensor, cell: Tensor, reach: float) -> list[Found]:
    """Atoms sorted into bins at least as thick as the reach: an atom looks through the bins around its own."""
    B, n, _ = positions.shape
    planes = inv(cell)
    fractional = positions @ planes
    below = fractional.floor()
    inside = fractional - below  # in [0, 1]
    thickness = 1 / planes.norm(dim=1).amax(0)  # (3,) of the thinnest member
    bins = (thickness / (reach * (1 + MARGIN))).floor().clamp(1, 64)
    around = (reach * (1 + MARGIN) * bins / thickness + MARGIN).ceil()
    affordable((2 * around).tolist(), 1, reach)
    around = around.to(torch.int64).tolist()
    many = bins.to(torch.int64).tolist()
    total = many[0] * many[1] * many[2]
    bin_of = torch.minimum((inside * bins).floor(), bins - 1).flatten(0, 1)  # (B n, 3)
    rows = torch.arange(B * n, device=cell.device)
    key = _bin(bin_of, many) + rows // n * total
    order = torch.argsort(key, stable=True)
    population = torch.bincount(key, minlength=B * total)
    start = population.cumsum(0) - population
    capacity = int(population.max())
    # The atoms b n + i of each bin and where they are; places left over are at infinity.
    content = torch.zeros(B * total, capacity, dtype=torch.int64, device=cell.device)
    where = positions.new_full((3, B * total, capacity), torch.inf)
    wrapped = (inside @ cell).flatten(0, 1).T.contiguous()
    filled = key[order], rows - start[key[order]]
    content[filled] = order
    where[:, filled[0], filled[1]] = wrapped[:, order]
    # The same with the images around the cell, so that every bin has neighbours on all sides.
    wide = [m + 2 * a for m, a in zip(many, around, strict=True)]
    grid = (torch.arange(-a, m + a) for m, a in zip(many, around, strict=True))
    place = torch.cartesian_prod(*grid).to(bins)  # (E, 3)
    image = (place / bins).floor()
    source = (_bin(place - image * bins, many) + total * torch.arange(B, device=cell.device)[:, None]).flatten()
    where = where[:, source] + (image @ cell).flatten(0, 1).T[..., None]  # (3, B E, capacity)
    offsets = _bin(torch.cartesian_prod(*(torch.arange(-a, a + 1) for a in around)).to(bins), wide)  # (O,)
    home = _bin(bin_of + torch.tensor(around).to(bins), wide) + rows // n * len(place)
    size = len(offsets) * capacity
    step = max(1, CANDIDATES // size)
    found = [_around(home[r, None] + offsets, wrapped[:, r], where, reach) for r in rows.split(step)]
    flat = torch.cat([at + first * size for at, first in zip(found, range(0, B * n, step), strict=True)])
    # A candidate is its atom, a bin around it and a place in that bin.
    looked = flat // capacity
    row = looked // len(offsets)
    seen = home[row] + offsets[looked - row * len(offsets)]
    other = content[source[seen], flat - looked * capacity]
    shift = image[seen % len(place)]
    another = (other != row) | (shift != 0).any(-1)  # an atom's own images are others
    row, other, shift = row[another], other[another], shift[another]
    below = below.flatten(0, 1)
    return [_ordered(row, other, shift + below[row] - below[other], B, n)]


def _around(bins: Tensor, wrapped: Tensor, where: Tensor, reach: float) -> Tensor:
    """Which of the candidates (atoms, O, capacity) in some bins (atoms, O) are near the atoms, as flat indices."""
    flat = bins.flatten()
    x, y, z = (
        torch.index_select(there, 0, flat).view(len(bins), -1).sub_(here[:, None])
        for there, here in zip(where, wrapped, strict=True)
    )
    square = x.square_().addcmul_(y, y).addcmul_(z, z)
    return (square < (reach * (1 + TIE)) ** 2).flatten().nonzero().squeeze(1)


def _bin(which: Tensor, many: list[int]) -> Tensor:
    """The number of a bin (..., 3)."""
    return ((which[..., 0] * many[1] + which[..., 1]) * many[2] + which[..., 2]).to(torch.int64)


def _ordered(row: Tensor, other: Tensor, shift: Tensor, B: int, n: int) -> Found:
    """Bonds brought into order, each with its reverse."""
    lowest = int(shift.abs().max()) if len(shift) else 0
    width = 2 * lowest + 1
    j = other % n

    def key(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return (a * n + b) * width**3 + _bin(s + lowest, [width] * 3)

    ahead, order = torch.sort(key(row, j, shift))
    back = key(other, row % n, -shift)[order]
    # Sorting the reversed bonds meets the same keys: the k-th of them is the reverse of the k-th bond.
    met, reverse_order = torch.sort(back)
    if not torch.equal(met, ahead):  # as long as the reach to the last bit: listed from one end only
        both = torch.isin(back, ahead)
        return _ordered(row[order][both], other[order][both], shift[order][both], B, n)
    row, shift, j = row[order], shift[order], j[order]
    count = torch.bincount(row, minlength=B * n)
    reverse = torch.empty_like(reverse_order)
    reverse[reverse_order] = torch.arange(len(row), device=row.device)
    return Found(count.unflatten(0, (B, n)), j, shift.T, reverse)


def _padded(found: list[Found], n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index, shift, reverse and what is real, as rectangular arrays."""
    K = max(1, *(int(part.number.max()) for part in found if part.number.numel()), 1)
    parts = [_rectangle(part, n, K) for part in found]
    index, reverse, real, shift = parts[0]
    if len(parts) > 1:
        index, reverse, real = (torch.cat([part[k] for part in parts]) for k in range(3))
        shift = torch.cat([part[3] for part in parts], 1)
    return index, shift.movedim(0, -1), reverse, real


def _rectangle(found: Found, n: int, K: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index, reverse and what is real (b, n, K), shift (3, b, n, K) of consecutive members."""
    b, device = len(found.number), found.other.device
    real = torch.arange(K, device=device) < found.number[..., None]
    at = where(real.view(-1))
    index = torch.arange(n, device=device).repeat_interleave(K).repeat(b)
    index.scatter_(0, at, found.other.to(torch.int64))
    shift = torch.zeros(3, b * n * K, dtype=found.shift.dtype, device=device)
    for along, of_bonds in zip(shift, found.shift, strict=True):
        along.scatter_(0, at, of_bonds)
    reverse = torch.arange(b * n * K, device=device)
    reverse.scatter_(0, at, at.index_select(0, found.back))
    reverse = reverse.view(b, n, K)
    reverse -= (n * K * torch.arange(b, device=device))[:, None, None]
    return index.view(b, n, K), reverse, real, shift.view(3, b, n, K)
