"""A perfect crystal: lattice, basis, and the neighbourhood of each of its atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datagen.tensors import det, inv

TIE = 1e-6  # A: neighbours whose distances differ by less are one shell


@dataclass(frozen=True)
class Crystal:
    """Atoms that repeat along three lattice vectors.

    Args:
        lattice: rows are the lattice vectors, right-handed, (3, 3) [A].
        positions: of the atoms in one cell, Cartesian, (n, 3) [A].
        elements: chemical symbol of each, n.

    Raises:
        ValueError: no atoms, shapes that do not fit, vectors that span no volume or are left-handed, two atoms in one
            place.
    """

    lattice: Tensor
    positions: Tensor
    elements: tuple[str, ...]

    def __init__(
        self, lattice: Tensor | Sequence[Sequence[float]], positions: Tensor | Sequence[Sequence[float]],
        elements: Sequence[str],
    ) -> None:  # fmt: skip
        if isinstance(elements, str) or not elements or not all(isinstance(element, str) for element in elements):
            raise ValueError(f"elements: got {elements!r}, wanted a list of chemical symbols, one for each atom")
        object.__setattr__(self, "lattice", _double("lattice", lattice))
        object.__setattr__(self, "positions", _double("positions", positions))
        object.__setattr__(self, "elements", tuple(elements))
        if self.lattice.shape != (3, 3):
            raise ValueError(f"lattice: got shape {tuple(self.lattice.shape)}, wanted (3, 3), a vector a row")
        if self.positions.shape != (len(self.elements), 3):
            raise ValueError(
                f"positions: got shape {tuple(self.positions.shape)} for {len(self.elements)} elements, wanted "
                f"({len(self.elements)}, 3)"
            )
        if not (torch.isfinite(self.lattice).all() and torch.isfinite(self.positions).all()):
            raise ValueError("lattice, positions: got numbers that are not finite")
        if not self.volume > 0:
            raise ValueError(f"lattice: got volume {self.volume:.3g} A^3, wanted a right-handed triple of vectors")
        shortest = self.neighbourhood(0.1)[1].norm(dim=-1).min() if len(self.elements) > 1 else math.inf
        if shortest < 0.1:
            raise ValueError(f"positions: got two atoms {float(shortest):.3g} A apart, wanted at least 0.1")

    @property
    def n(self) -> int:
        """Number of atoms in a cell."""
        return len(self.elements)

    @property
    def volume(self) -> float:
        """Volume of a cell [A^3]."""
        return float(det(self.lattice))

    def deformed(self, F: Tensor) -> Crystal:
        """The crystal under a uniform deformation x = F X; rows of the lattice h = h_0 F^T."""
        return Crystal(self.lattice @ F.T, self.positions @ F.T, self.elements)

    def neighbourhood(self, radius: float) -> tuple[Tensor, Tensor]:
        """Neighbours of each atom up to a radius [A]: which atom of the cell (n, K), and the vector to it (n, K, 3).

        In order of distance, padded with vectors of 1e3 times the radius to the atom itself.
        """
        # Planes of the lattice lie 1/|b| apart: so many cells reach as far as the radius and the basis.
        planes = inv(self.lattice)  # columns b
        fractional = self.positions @ planes
        spread = fractional.amax(0) - fractional.amin(0)
        reach = (radius * planes.norm(dim=0) + spread + 1e-9).floor().to(torch.int64).tolist()
        shifts = torch.cartesian_prod(*(torch.arange(-r, r + 1) for r in reach)).to(torch.float64) @ self.lattice
        vector = self.positions[None, :, None] + shifts - self.positions[:, None, None]  # (n, n, S, 3)
        distance = vector.norm(dim=-1).flatten(1)
        # An atom is no neighbour of itself, its images are.
        own = torch.eye(self.n, dtype=torch.bool)[:, :, None] & (shifts == 0).all(-1)
        near = (distance <= radius) & ~own.flatten(1)
        # Distances of one shell differ by rounding: ranked as equal, then as they were listed.
        order = torch.argsort(torch.where(near, (distance / TIE).round(), torch.inf), dim=1, stable=True)
        order = order[:, : max(1, int(near.sum(1).max()))]
        which = order // len(shifts)
        found = near.gather(1, order)
        away = torch.tensor([1e3 * max(radius, 1.0), 0, 0], dtype=torch.float64)
        vectors = torch.where(
            found[..., None], vector.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, 3)), away
        )
        return torch.where(found, which, torch.arange(self.n)[:, None]), vectors


def _double(name: str, rows: Tensor | Sequence[Sequence[float]]) -> Tensor:
    try:
        return torch.as_tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: got {rows!r}, wanted rows of three numbers") from None
