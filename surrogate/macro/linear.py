"""Direct solution of the free equations, with the elimination order found once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu

Solve = Callable[[np.ndarray], np.ndarray]


class FreeEquations:
    """Dirichlet conditions by elimination: the rows and columns of the free degrees of freedom, factorised by SuperLU.

    All matrices handed in have one sparsity. It is reduced and ordered (minimum degree on A + A^T, which suits finite
    elements) when the first is factorised; the others only move their values into place.

    Args:
        free: (n_dof,) bool.
    """

    def __init__(self, free: np.ndarray) -> None:
        self.free = free
        self._order: np.ndarray | None = None
        self._source: np.ndarray
        self._indices: np.ndarray
        self._indptr: np.ndarray

    def factorise(self, K: csc_matrix) -> Solve:
        """A function from right-hand sides (n_free,) to solutions; raises ArithmeticError for a singular matrix."""
        n = int(self.free.sum())
        if n == 0:
            return lambda b: b
        if self._order is None:
            self._prepare(K)
        matrix = csc_matrix((K.data[self._source], self._indices, self._indptr), shape=(n, n))
        factors = self._splu(matrix, "NATURAL")
        order = self._order

        def solve(b: np.ndarray) -> np.ndarray:
            x = np.empty_like(b)
            x[order] = factors.solve(b[order])
            return x

        return solve

    def _prepare(self, K: csc_matrix) -> None:
        """Order the free equations and remember where each of their entries stands in K."""
        positions = csc_matrix((np.arange(1.0, K.nnz + 1), K.indices, K.indptr), shape=K.shape)
        positions = positions[self.free][:, self.free]
        reduced = csc_matrix((K.data[positions.data.astype(np.int64) - 1], positions.indices, positions.indptr))
        self._order = np.argsort(self._splu(reduced, "MMD_AT_PLUS_A").perm_c)
        positions = positions[self._order][:, self._order]
        positions.sort_indices()
        self._source = positions.data.astype(np.int64) - 1
        self._indices, self._indptr = positions.indices, positions.indptr

    @staticmethod
    def _splu(matrix: csc_matrix, order: str) -> SuperLU:
        if not np.isfinite(matrix.data).all():
            raise ArithmeticError("the stiffness is not a finite number")
        try:
            # The pivot stays on the diagonal unless it is 100 times smaller than another: keeps the order, hence fill.
            return splu(matrix, permc_spec=order, diag_pivot_thresh=0.01, options={"SymmetricMode": True})
        except RuntimeError as error:
            raise ArithmeticError("the stiffness is singular") from error
