"""The bonds within a cutoff, picked from longer lists before the work that squares their number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Near(NamedTuple):
    """Bonds of each atom (K, *b, n) that are kept: the first few places of its list, or those moved to them."""

    size: int  # K, of the list
    kept: int  # k <= K, of the places kept
    taken: Tensor | None  # (k, *b, n) which bond stands in each place; None: the first k, unmoved
    full: Tensor | None  # (k, *b, n) whether one does
    place: Tensor | None  # (K, *b, n) where each bond went, k for nowhere

    def of(self, values: Tensor, empty: float, axis: int = 0) -> Tensor:
        """Values (..., K, *b, n) of the bonds kept, (..., k, *b, n), K the given axis; ``empty`` in empty places."""
        if self.taken is None or self.full is None:
            return values.narrow(axis, 0, self.kept)
        moved = values.gather(axis, self.taken.expand(*values.shape[:axis], *self.taken.shape))
        return torch.where(self.full, moved, empty)

    def back(self, values: Tensor, axis: int = 1) -> Tensor:
        """Values (..., k, *b, n) to their bonds (..., K, *b, n), k the given axis, zero to the others."""
        lead = values.shape[:axis]
        if self.place is not None:
            padded = torch.cat([values, torch.zeros_like(values.narrow(axis, 0, 1))], dim=axis)
            return padded.gather(axis, self.place.expand(*lead, *self.place.shape))
        if self.kept == self.size:
            return values
        rest = values.new_zeros(()).expand(*lead, self.size - self.kept, *values.shape[axis + 1 :])
        return torch.cat([values, rest], dim=axis)


def near(x: Tensor, cutoff: float, worth: float) -> Near:
    """Which bonds x (3, K, *b, n) are shorter than a cutoff, in as many places as the fullest atom needs.

    A list with a skin, or made for a larger cell, is two to six times as long as what is within the cutoff. Lists in
    order of distance are cut off after the last place that any atom uses, which costs nothing; bonds of others are
    moved to the front, in their order, where that leaves at most a share ``worth`` of these places: moving costs as
    much as a third of the work of a three-body potential that is linear in the number of bonds.

    How many places that is comes from the data: the host waits for the device once. The answers do not depend on it.
    """
    size = x.shape[1]
    if size == 0 or x[0].numel() == 0 or x.is_meta:  # nothing to look at
        return Near(size, size, None, None, None)
    inside = x[0] * x[0] + x[1] * x[1] + x[2] * x[2] < cutoff * cutoff
    count = inside.sum(0)
    used = inside.flatten(1).any(1) * torch.arange(1, size + 1, device=x.device)
    last, fullest = (max(1, number) for number in torch.stack([used.max(), count.max()]).tolist())
    if fullest > worth * last:
        return Near(size, last, None, None, None)
    place = torch.where(inside, inside.cumsum(0) - 1, fullest)
    numbers = torch.arange(size, device=x.device).reshape(-1, *[1] * count.dim()).expand(inside.shape)
    taken = numbers.new_zeros(fullest + 1, *count.shape).scatter(0, place, numbers)[:-1]
    full = numbers[:fullest] < count
    return Near(size, fullest, taken, full, place)


def bonds_first(other: Tensor, dim: int) -> Tensor:
    """Elements of neighbours ((*b,) n, K) as (K, *b, n) of ``dim`` axes, b of length 1 where they are all the same."""
    other = other.movedim(-1, 0)
    return other.reshape(other.shape[0], *[1] * (dim - other.dim()), *other.shape[1:])
