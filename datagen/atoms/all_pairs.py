"""Bonds of a few atoms in periodic cells: each atom compared with each.

Of the many candidates most are far, so their lengths are taken in single precision. What is then too near the reach to
call is looked at again in double: a list is as exact as its positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datagen.tensors import inv

ROUNDING = 6e-8  # of a number in single precision, relative
TIE = 1e-12  # relative: a shell of atoms as far as the reach is in the list whatever its rounding
CANDIDATES = 1 << 17  # looked at together on a CPU: several arrays of as many numbers
CANDIDATES_ON_A_GPU = 1 << 24
MOST = 1 << 27  # candidates of one member: some gigabytes


class Found(NamedTuple):
    """Bonds of consecutive members, unpadded, in order of atom, neighbour and image."""

    number: Tensor  # (b, n) how many each atom has
    other: Tensor  # (bonds,) the neighbour
    shift: Tensor  # (3, bonds)
    back: Tensor  # (bonds,) which of them is the bond seen from its other end


class _Candidates(NamedTuple):
    """All pairs of b members of n atoms through all images that need looking at: (b, n, n, S) in a row.

    The shift of a candidate is the whole number at or above f_i - f_j plus a step, where a lattice vector has an even
    number of images; of an odd number it is the nearest whole number plus a step.
    """

    images: tuple[int, ...]  # how many along each lattice vector
    stride: tuple[int, ...]  # in S
    steps: Tensor  # (3, S)
    other: Tensor  # j
    pair: Tensor  # which of (b, n, n)
    image: Tensor  # which of S
    swapped: Tensor  # the candidate that is the same bond seen from its other end, where f_i - f_j is not whole


@lru_cache(maxsize=4)
def _candidates(b: int, n: int, images: tuple[int, ...], device: torch.device) -> _Candidates:
    S = math.prod(images)
    steps = torch.cartesian_prod(*(torch.arange(m, device=device) - m // 2 for m in images)).to(torch.float64)
    whole = torch.arange(b * n * n * S, dtype=torch.int32, device=device)
    swapped = whole.view(b, n, n, S).transpose(1, 2).flip(-1).reshape(-1)
    pair, image = whole // S, whole % S
    stride = (images[1] * images[2], images[2], 1)
    return _Candidates(images, stride, steps.T.contiguous(), pair % n, pair, image, swapped)


def all_pairs(positions: Tensor, cell: Tensor, reach: float) -> Iterator[Found]:
    """The bonds shorter than a reach, a few members at a time; positions (B, n, 3), cells (B, 3, 3) [A]."""
    B, n, _ = positions.shape
    planes = inv(cell)
    fractional = (positions @ planes).movedim(-1, 0).contiguous()
    wide = float(fractional.abs().amax())
    # The shift is counted from a number rounded in single precision: one candidate too many costs nothing.
    limit = reach * planes.norm(dim=1).amax(0) + ROUNDING * (4 * wide + 2)  # (3,) c_d
    images = affordable((2 * limit).floor().tolist(), n, reach)
    size = n * n * math.prod(images)
    step = min(B, max(1, (CANDIDATES if positions.device.type == "cpu" else CANDIDATES_ON_A_GPU) // size))
    # Distances are those in the frame in which the cell is a lower triangle.
    triangle = torch.linalg.cholesky(cell @ cell.transpose(1, 2))
    candidates = _candidates(step, n, images, positions.device)
    # |dr| <= sum_d |df_d| |h_d|: df of two roundings of f, one of the difference, and those of the length.
    blur = ROUNDING * (4 * wide + 1 + 2 * max(images)) * float(cell.norm(dim=2).sum(1).amax())
    chunks = zip(fractional.split(step, 1), triangle.split(step), strict=True)
    return (_listed(f, L, reach, blur, candidates) for f, L in chunks)


def affordable(steps: list[float], n: int, reach: float) -> tuple[int, ...]:
    """Numbers of images along the lattice vectors, one more than steps.

    Raises:
        ValueError: more than fit into memory.
    """
    if not math.prod(m + 1 for m in steps) * n * n < MOST:
        raise ValueError(
            f"cell: got one of {n} atoms through which {math.prod(m + 1 for m in steps):.2g} images are as near as "
            f"{reach:g} A, wanted a cell that is less flat or small"
        )
    return tuple(int(m) + 1 for m in steps)


def _squares(f: Tensor, triangle: Tensor, candidates: _Candidates) -> tuple[Tensor, Tensor, Tensor]:
    """Squares of the lengths of candidates (b, n, n, S) in single precision, and f_i - f_j and shift (3, b, n, n)."""
    L = triangle.to(torch.float32)[..., None, None].unbind(1)
    f = f.to(torch.float32)
    difference = f[:, :, :, None] - f[:, :, None, :]
    shift = torch.empty_like(difference)
    for d, m in enumerate(candidates.images):
        torch.round(difference[d], out=shift[d]) if m % 2 else torch.ceil(difference[d], out=shift[d])
    torch.sub(shift, difference, out=difference)
    x, y, z = difference
    x = (x * L[0][:, 0]).addcmul_(y, L[1][:, 0]).addcmul_(z, L[2][:, 0])
    y = (y * L[1][:, 1]).addcmul_(z, L[2][:, 1])
    z = z * L[2][:, 2]
    S = candidates.steps.shape[1]
    if S > 1:
        offset = (candidates.steps.T @ triangle).to(torch.float32)[:, None, None]
        x, y, z = (part[..., None] + along for part, along in zip((x, y, z), offset.unbind(-1), strict=True))
    else:
        x, y, z = (part[..., None] for part in (x, y, z))
    return torch.mul(x, x, out=x).addcmul_(y, y).addcmul_(z, z), difference, shift


def _listed(f: Tensor, triangle: Tensor, reach: float, blur: float, candidates: _Candidates) -> Found:
    """The bonds of a few members."""
    square, difference, start = _squares(f, triangle, candidates)
    S = square.shape[-1]
    # An atom is no neighbour of itself (its images are).
    own = sum((m // 2) * stride for m, stride in zip(candidates.images, candidates.stride, strict=True))
    square[..., own].diagonal(dim1=1, dim2=2).fill_(torch.inf)
    near = _below(square, (reach + blur) ** 2)
    flat = _checked(near.view(-1), square.view(-1), f, start, triangle, reach, blur, candidates)
    pair = flat if S == 1 else candidates.pair.index_select(0, flat)
    shift = torch.empty(3, len(flat), dtype=torch.float64, device=f.device)
    image = candidates.image.index_select(0, flat) if S > 1 else None
    for d in range(3):
        along = start[d].view(-1).index_select(0, pair)
        if image is None:
            shift[d] = along
        else:
            torch.add(candidates.steps[d].index_select(0, image), along, out=shift[d])
    other = candidates.other.index_select(0, flat)
    swapped = candidates.swapped.index_select(0, flat)
    if any(m % 2 == 0 for m in candidates.images):  # not symmetric of a whole f, as along rows of a crystal
        whole = (difference == 0).to(torch.int32)
        extra = torch.zeros_like(whole[0])
        for w, stride, m in zip(whole, candidates.stride, candidates.images, strict=True):
            extra.add_(w, alpha=stride * (1 - m % 2))
        swapped += extra.view(-1).index_select(0, pair)
    table = torch.empty(near.numel(), dtype=torch.int64, device=flat.device)
    table.scatter_(0, flat, torch.arange(len(flat), device=flat.device))
    return Found(near.flatten(2).sum(-1), other, shift, table.index_select(0, swapped))


def _checked(
    near: Tensor, square: Tensor, f: Tensor, start: Tensor, triangle: Tensor, reach: float, blur: float,
    candidates: _Candidates,
) -> Tensor:  # fmt: skip
    """Which candidates are near, those that single precision cannot tell looked at again."""
    flat = where(near)
    close = flat[where(~_below(square.index_select(0, flat), max(0.0, reach - blur) ** 2))]
    if not len(close):
        return flat
    n = f.shape[2]
    pair, image = close // candidates.steps.shape[1], close % candidates.steps.shape[1]
    member, i, j = pair // (n * n), pair // n % n, pair % n
    d = f[:, member, j] - f[:, member, i] + start.flatten(1)[:, pair] + candidates.steps[:, image]
    x, y, z = (d[..., None] * triangle.movedim(1, 0)[:, member]).sum(0).unbind(-1)
    far = close[x * x + y * y + z * z >= (reach * (1 + TIE)) ** 2]
    near[far] = False
    return where(near) if len(far) else flat


def _below(values: Tensor, limit: float) -> Tensor:
    """Which values are smaller; NumPy compares six times as fast as torch on a CPU."""
    return (
        torch.from_numpy(np.less(values.numpy(), np.float32(limit))) if values.device.type == "cpu" else values < limit
    )


def where(mask: Tensor) -> Tensor:
    """Where a mask (m,) is True."""
    return torch.from_numpy(np.flatnonzero(mask.numpy())) if mask.device.type == "cpu" else mask.nonzero()[:, 0]
