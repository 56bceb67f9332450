r"""Finite element operators of one problem, for all elements at once.

With the shape gradients B (a strain from the displacements of an element's nodes), the Gauss weights w (reference
volumes, thickness included) and a law's stress s and tangent C,

    strain = reference + B u,   f_int = sum w B^T s,   K = sum w B^T C B,

in Mandel components for small strain and in the entries of F and P for finite strain (total Lagrangian, dead volume).
B is dense and stored, 14 kB for a hex8 with its 8 points: two batched matrix products make all element stiffnesses,
and one pass of `bincount` through a precomputed map puts them into a compressed sparse matrix.
"""

from __future__ import annotations

import numpy as np
import skfem
import torch
from scipy.sparse import csc_matrix
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import MANDEL, SQRT2
from surrogate.macro.boundary import Place
from surrogate.macro.problem import Problem


class Assembly:
    """Operators of a problem; degree of freedom dim * node + component.

    Args:
        problem: its mesh, element, measure and thickness count here.

    Raises:
        ValueError: an inverted or folded element, or a node without element.

    Attributes:
        X: node positions (n_nodes, dim), the element's own edge and interior nodes included.
        element_nodes: (n_elements, n_nodes_of_element).
        weights: reference volume of each Gauss point (n_elements, n_points).
        columns: positions, among the law's components, of the ones that the mesh drives.
    """

    def __init__(self, problem: Problem) -> None:
        self.measure, self.dim = problem.measure, problem.dim
        self.columns = problem.measure.columns(problem.components)
        self.basis = skfem.CellBasis(problem.mesh, problem.kind.shape, intorder=problem.kind.order)
        _check_mapping(self.basis)
        self.X = np.ascontiguousarray(self.basis.doflocs.T)
        self.element_nodes = np.ascontiguousarray(self.basis.element_dofs.T).astype(np.int64)
        lonely = np.setdiff1d(np.arange(len(self.X)), self.element_nodes)
        if len(lonely):
            raise ValueError(f"mesh: node {lonely[0]} belongs to no element; drop it with mesh.remove_unused_nodes()")
        self.weights = torch.from_numpy(problem.thickness * np.ascontiguousarray(self.basis.dx))
        self.n_elements, self.n_points = self.weights.shape
        self.n_dof = self.dim * len(self.X)
        axes = np.arange(self.dim)
        self.element_dofs = (self.dim * self.element_nodes[:, :, None] + axes).reshape(self.n_elements, -1)
        self._B = self._strain_operator()
        self._indptr, self._indices, self._map = _pattern(self.element_nodes, self.dim)

    @property
    def volume(self) -> float:
        """Reference volume of the body [mm^3]."""
        return float(self.weights.sum())

    @property
    def points(self) -> np.ndarray:
        """Reference positions of the Gauss points (n_elements, n_points, dim)."""
        return np.moveaxis(np.asarray(self.basis.global_coordinates()), 0, -1)

    def nodes_at(self, where: Place) -> np.ndarray:
        """Nodes of a named boundary, or the one node at a point; raises ValueError where no node stands."""
        if isinstance(where, str):
            return np.asarray(self.basis.get_dofs(where).flatten())
        point = np.asarray(where, dtype=float)
        if point.shape != (self.dim,):
            raise ValueError(f"point: got {where}, wanted {self.dim} coordinates")
        distance = np.linalg.norm(self.X - point, axis=1)
        node = int(distance.argmin())
        if distance[node] > 1e-6 * np.ptp(self.X):
            near = ", ".join(f"{x:g}" for x in self.X[node])
            raise ValueError(f"point: no node at {where}, the nearest is {node} at ({near})")
        return np.array([node])

    def strain(self, u: np.ndarray) -> Tensor:
        """Strain increments B u of the driven components, (n_elements, n_points, n_driven)."""
        u_e = torch.from_numpy(u[self.element_dofs])
        return torch.bmm(self._B, u_e[:, :, None]).reshape(self.n_elements, self.n_points, -1)

    def forces(self, stress: Tensor) -> np.ndarray:
        """Nodal forces sum w B^T s (n_dof,) from the driven stresses (n_elements, n_points, n_driven)."""
        weighted = (self.weights[..., None] * stress).reshape(self.n_elements, 1, -1)
        f_e = torch.bmm(weighted, self._B).reshape(-1).numpy()
        return np.bincount(self.element_dofs.ravel(), weights=f_e, minlength=self.n_dof)

    def stiffness(self, tangent: Tensor) -> csc_matrix:
        """K = sum w B^T C B (n_dof, n_dof) from driven tangents (n_elements, n_points, n_driven, n_driven)."""
        points, m = self.n_elements * self.n_points, len(self.columns)
        C = (self.weights[..., None, None] * tangent).reshape(points, m, m)
        CB = torch.bmm(C, self._B.reshape(points, m, -1)).reshape_as(self._B)
        K_e = torch.bmm(self._B.transpose(1, 2), CB).reshape(-1).numpy()
        data = np.bincount(self._map, weights=K_e, minlength=len(self._indices))
        return csc_matrix((data, self._indices, self._indptr), shape=(self.n_dof, self.n_dof))

    def integral(self, density: Tensor) -> float:
        """Sum over all Gauss points of weight times density (n_elements, n_points)."""
        return float((self.weights * density).sum())

    def _strain_operator(self) -> Tensor:
        """B, (n_elements, n_points * n_driven, n_dof_of_element)."""
        gradients = np.stack([shape[0].grad for shape in self.basis.basis], -1)  # (J, elements, points, a)
        gradient = torch.from_numpy(gradients).movedim(0, -1)  # dN_a/dX_J as (..., a, J)
        project = _projection(self.measure, self.columns, self.dim)
        B = torch.einsum("miJ,epaJ->epmai", project, gradient)
        return B.reshape(self.n_elements, self.n_points * len(self.columns), -1).contiguous()


def _projection(measure: Measure, columns: list[int], dim: int) -> Tensor:
    """Matrix (n_driven, dim, dim) from the displacement gradient du_i/dX_J to the driven strain components."""
    project = torch.zeros(len(columns), dim, dim, dtype=torch.float64)
    for row, column in enumerate(columns):
        if measure is Measure.FINITE:
            project[row, column // 3, column % 3] = 1.0
            continue
        i, j = MANDEL[column]
        project[row, i, j] = project[row, j, i] = 1.0 if i == j else 1.0 / SQRT2
    return project


def _pattern(element_nodes: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sparsity of the stiffness: column pointers, row indices, and the position of every element entry in them.

    Found once on pairs of nodes, dim^2 times fewer than pairs of degrees of freedom, and then spread over components.
    """
    n_elements, a = element_nodes.shape
    n_nodes = int(element_nodes.max()) + 1
    key = element_nodes[:, None, :] * n_nodes + element_nodes[:, :, None]  # column node, then row node: (e, row, col)
    pairs, pair_of = np.unique(key, return_inverse=True)
    row_node, column_node = pairs % n_nodes, pairs // n_nodes
    start = np.searchsorted(column_node, np.arange(n_nodes + 1))  # first pair of each column node
    length = np.diff(start)

    # Column (node, c) holds, for each row node in order, its dim components.
    axes = np.arange(dim)
    indptr = np.concatenate([[0], np.cumsum(np.repeat(dim * length, dim))])
    column_start = indptr[:-1].reshape(n_nodes, dim)
    within = dim * (np.arange(len(pairs)) - start[column_node])
    position = column_start[column_node][:, None, :] + within[:, None, None] + axes[:, None]  # (pair, i, c)
    indices = np.empty(dim * dim * len(pairs), dtype=np.int32)
    indices[position] = np.broadcast_to((dim * row_node)[:, None, None] + axes[:, None], position.shape)
    entry = position[pair_of.reshape(n_elements, a, a)].transpose(0, 1, 3, 2, 4)  # (e, row node, i, column node, c)
    return indptr.astype(np.int32), indices, np.ascontiguousarray(entry).ravel()


def _check_mapping(basis: skfem.CellBasis) -> None:
    """Raise for an element whose map from the unit cell folds: its determinant vanishes or changes sign.

    The sign common to the mesh is a matter of numbering (scikit-fem's own hexahedra are left-handed).
    """
    at_points = np.asarray(basis.mapping.detDF(basis.X))  # (n_elements, n_points)
    at_corners = np.asarray(basis.mapping.detDF(basis.mesh.elem.refdom.p))
    scale = np.median(at_points)
    # A straight corner (zero) is harmless, a re-entrant one is not; a vanishing volume is never.
    worst = np.minimum((at_points / scale).min(1), (at_corners / scale).min(1) + 1e-12)
    if (worst <= 0).any():
        e = int(np.argmax(worst <= 0))
        nodes = ", ".join(str(n) for n in basis.mesh.t[:, e])
        raise ValueError(
            f"mesh: element {e} (nodes {nodes}) is inverted or folded, {int((worst <= 0).sum())} in all; "
            f"the determinant of its mapping is {worst[e]:.3g} of the usual, wanted > 0 everywhere"
        )
