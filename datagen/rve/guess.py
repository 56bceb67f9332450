"""The guess that a cell keeps in its state: macroscopic strain and fluctuation of its last answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import det, matmul, polar_rotation


class Guess(NamedTuple):
    """Guess columns of a cell's state, unpacked; the fluctuation is pulled back by the polar rotation of F_bar."""

    strain: Tensor  # (B, n) macroscopic strain then
    u: Tensor  # (d, B, *nodes) fluctuation then, pulled back by its rotation
    rotation: Tensor  # (B, 3, 3) polar rotation then

    @classmethod
    def read(cls, columns: Tensor, measure: Measure, shape: tuple[int, ...]) -> Guess:
        """From columns (B, n + d nodes), ``shape`` = (d, *nodes); a guess from nowhere is no guess."""
        n, reference = measure.n, measure.reference(columns.dtype, columns.device)
        strain = columns[:, :n] + reference
        u = columns[:, n:].unflatten(-1, shape).movedim(1, 0).contiguous()
        usable = columns.isfinite().all(-1)
        if measure is Measure.FINITE:
            usable &= det(strain.unflatten(-1, (3, 3))) > 0
        strain = torch.where(usable[:, None], strain, reference)
        u = torch.where(usable[None, :, None, None, None], u, 0.0)
        return cls(strain, u, rotation_of(strain))

    @classmethod
    def of(cls, strain: Tensor, u: Tensor) -> Guess:
        """From a macroscopic strain (B, n) and its fluctuation (d, B, *nodes)."""
        rotation = rotation_of(strain)
        return cls(strain, rotate(rotation.transpose(-1, -2), u), rotation)

    def write(self, measure: Measure) -> Tensor:
        """Columns of the state, (B, n + d nodes)."""
        reference = measure.reference(self.u.dtype, self.u.device)
        return torch.cat([self.strain - reference, self.u.movedim(0, 1).flatten(1)], -1)

    @property
    def stretch(self) -> Tensor:
        """The strain pulled back by its rotation: U of F = R U, or eps itself (B, n)."""
        return rotated_strain(self.rotation.transpose(-1, -2), self.strain)


def rotation_of(strain: Tensor) -> Tensor:
    """Polar rotation (B, 3, 3) of macroscopic strains (B, n); the identity at small strain."""
    if strain.shape[-1] == Measure.SMALL.n:
        return torch.eye(3, dtype=strain.dtype, device=strain.device).expand(len(strain), 3, 3)
    return polar_rotation(strain.unflatten(-1, (3, 3)))


def rotated_strain(R: Tensor, strain: Tensor) -> Tensor:
    """R F for finite strains (B, 9); small strains (B, 6) as they are."""
    if strain.shape[-1] == Measure.SMALL.n:
        return strain
    return matmul(R, strain.unflatten(-1, (3, 3))).flatten(-2)


def rotate(R: Tensor, u: Tensor) -> Tensor:
    """Rotate each member's displacement (d, B, *nodes) by R (B, 3, 3)."""
    d = u.shape[0]
    return torch.einsum("bij,jbxyz->ibxyz", R[:, :d, :d], u).contiguous()
