"""From displacement gradients to the laws' strain vectors and from stresses back, for both measures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import MANDEL, ROW_MAJOR


class Kinematics:
    """The linear map grad u -> strain and its adjoint, component by component.

    Fields carry their tensor axis first: strain (n, Q, ..., B, V), gradients (Q, n_dim, d, ..., B, V).

    Args:
        measure: of the phase laws.
        d: displacement components.
        n_dim: axes along which something varies.
    """

    def __init__(self, measure: Measure, d: int, n_dim: int) -> None:
        self.measure = measure
        # (strain row, derivative axis j, displacement component i, coefficient)
        self.table: list[tuple[int, int, int, float]] = []
        for i in range(d):
            for j in range(n_dim):
                if measure is Measure.FINITE:
                    self.table.append((ROW_MAJOR.index((i, j)), j, i, 1.0))
                else:
                    row = MANDEL.index((min(i, j), max(i, j)))
                    self.table.append((row, j, i, 1.0 if i == j else 1 / math.sqrt(2.0)))
        self.d, self.n_dim = d, n_dim
        self.rows = sorted({row for row, *_ in self.table})  # strain components that a fluctuation can change

    def strain(self, gradient: Tensor, rows: list[int] | None = None) -> Tensor:
        """Strain of a displacement gradient (Q, n_dim, d, *B, V): all n components, or those of ``rows`` only."""
        if rows is None:
            rows = list(range(self.measure.n))
        Q, batch = gradient.shape[0], gradient.shape[3:]
        out = gradient.new_zeros(len(rows), Q, *batch)
        for row, j, i, coefficient in self.table:
            out[rows.index(row)].add_(gradient[:, j, i], alpha=coefficient)
        return out

    def nodal_stress(self, stress: Tensor, rows: list[int] | None = None) -> Tensor:
        """Adjoint of `strain`: what stress (n or len(rows), Q, *B, V) does work on, (Q, n_dim, d, *B, V)."""
        if rows is None:
            rows = list(range(self.measure.n))
        Q, batch = stress.shape[1], stress.shape[2:]
        out = stress.new_empty(Q, self.n_dim, self.d, *batch)
        for row, j, i, coefficient in self.table:
            torch.mul(stress[rows.index(row)], coefficient, out=out[:, j, i])
        return out
