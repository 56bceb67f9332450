"""From displacement gradients to the laws' strain vectors and from stresses back, for both measures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import MANDEL, ROW_MAJOR


class Kinematics:
    """The linear map grad u -> strain and its adjoint, component by component.

    Fields carry their tensor axes first: gradients (d, n_dim, Q, *b, V), strain and stress (n, Q, *b, V). At finite
    strain in three dimensions the two are one and the same, and nothing is copied.

    Args:
        measure: of the phase laws.
        d: displacement components.
        n_dim: axes along which something varies.
    """

    def __init__(self, measure: Measure, d: int, n_dim: int) -> None:
        self.measure = measure
        # strain row -> its entries (displacement component i, derivative axis j) and their coefficient
        self.table: dict[int, tuple[list[tuple[int, int]], float]] = {}
        for i in range(d):
            for j in range(n_dim):
                if measure is Measure.FINITE:
                    self.table[ROW_MAJOR.index((i, j))] = ([(i, j)], 1.0)
                else:
                    row = MANDEL.index((min(i, j), max(i, j)))
                    entries = self.table.setdefault(row, ([], 1.0 if i == j else 1 / math.sqrt(2.0)))[0]
                    entries.append((i, j))
        self.d, self.n_dim = d, n_dim
        self.rows = sorted(self.table)  # strain components that a fluctuation can change
        self._same = measure is Measure.FINITE and d == n_dim == 3

    def strain(self, gradient: Tensor, mean: Tensor | None = None) -> Tensor:
        """Strain (n, Q, *b, V) of a displacement gradient, plus a macroscopic strain (n, *b); uses ``gradient`` up."""
        n = self.measure.n
        if self._same:
            out = gradient.flatten(0, 1)
            return out if mean is None else out.add_(mean[:, None, ..., None])
        out = gradient.new_empty(n, *gradient.shape[2:])
        for row in range(n):
            if row not in self.table:
                out[row].zero_()
            else:
                self._entry(gradient, row, out[row])
            if mean is not None:
                out[row].add_(mean[row, ..., None])
        return out

    def moving(self, gradient: Tensor) -> Tensor:
        """The rows of `strain` that a fluctuation can change only, (len(rows), Q, *b, V)."""
        out = gradient.new_empty(len(self.rows), *gradient.shape[2:])
        for k, row in enumerate(self.rows):
            self._entry(gradient, row, out[k])
        return out

    def _entry(self, gradient: Tensor, row: int, out: Tensor) -> None:
        entries, coefficient = self.table[row]
        first, *rest = (gradient[i, j] for i, j in entries)
        if rest:
            torch.add(first, rest[0], out=out)
            out.mul_(coefficient)
        else:  # one half of a shear when the other displacement does not exist
            torch.mul(first, coefficient, out=out)

    def nodal_stress(self, stress: Tensor, moving: bool = False) -> Tensor:
        """Adjoint of `strain`, or of `moving`: what a stress does work on, (d, n_dim, Q, *b, V)."""
        if self._same:
            return stress.unflatten(0, (3, 3))
        out = stress.new_empty(self.d, self.n_dim, *stress.shape[1:])
        for k, row in enumerate(self.rows):
            entries, coefficient = self.table[row]
            for i, j in entries:
                torch.mul(stress[k if moving else row], coefficient, out=out[i, j])
        return out

    def matrix(self) -> Tensor:
        """The map of `strain` as a matrix (n, d n_dim), float64."""
        out = torch.zeros(self.measure.n, self.d, self.n_dim, dtype=torch.float64)
        for row, (entries, coefficient) in self.table.items():
            for i, j in entries:
                out[row, i, j] = coefficient
        return out.flatten(1)
