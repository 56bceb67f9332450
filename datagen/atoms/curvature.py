"""The second derivative of the energy of atoms at one state: solutions with it, and whether it is positive."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.atoms.response import projected, smallest_curvature, solve
from datagen.atoms.statics import Linearised

DENSE = 40  # products a solution by conjugate gradients is worth: below that the second derivative is stored
DIRECTIONS = 16  # of a stored second derivative, multiplied at a time
SOFT = 1e-5  # of the stiffest: less negative a curvature is none
LANCZOS = 20  # steps in search of negative curvature, where the second derivative is not stored


class Curvature:
    """The second derivative H of the energy by the positions, stored where that is cheaper than iterations."""

    def __init__(self, linear: Linearised) -> None:
        self.linear = linear
        self.n = linear.shape[1]
        self._H: tuple[Tensor, Tensor] | None = None

    def solve(self, f: Tensor, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
        """Solutions of H u = f (C, m, n, 3) without translations; whether no negative curvature was met (C, m)."""
        C, m, n, _ = f.shape
        free = torch.ones_like(f[0])
        if 3 * n > DENSE * C:
            found = solve(self.linear, f, free, tolerance, steps=30 * n)
            return found.u, ~found.negative
        H, stable = self._stored()
        right = projected(f, free).flatten(2).permute(1, 2, 0)  # (m, 3 n, C)
        u, _ = torch.linalg.solve_ex(H, right)
        return projected(u.permute(2, 0, 1).reshape(f.shape), free), stable.expand(C, m)

    @property
    def stable(self) -> Tensor:
        """Whether no negative curvature is found (m,)."""
        if 3 * self.n <= DENSE:
            return self._stored()[1]
        low, high = smallest_curvature(self.linear, torch.ones(self.linear.shape).to(self._like()), LANCZOS)
        return low > -SOFT * high.abs()

    def _like(self) -> Tensor:
        return self.linear.parts[0][2].vector

    def _stored(self) -> tuple[Tensor, Tensor]:
        """H (m, 3 n, 3 n), translations made as stiff as the rest, and whether it is positive (m,)."""
        if self._H is None:
            m, n, _ = self.linear.shape
            one = torch.eye(3 * n).to(self._like())
            units = one.reshape(3 * n, 1, n, 3)
            H = torch.cat([self.linear.product(part.expand(-1, m, n, 3)) for part in units.split(DIRECTIONS)])
            H = H.flatten(2).movedim(0, 1)
            size = H.diagonal(dim1=1, dim2=2).abs().mean(-1).clamp(min=1e-300)[:, None, None]
            H = 0.5 * (H + H.mT) + size / n * one[:3, :3].repeat(n, n)
            self._H = H, torch.linalg.cholesky_ex(H + SOFT * size * one)[1] == 0
        return self._H
