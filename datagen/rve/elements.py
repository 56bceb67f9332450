"""Element stiffness matrices of linear phases: a product with the stiffness is then one matrix product a block.

On a voxel grid all elements of one phase have one stiffness matrix, K_p = <B^T C_p B>, 24 x 24 for a hexahedron. Where
the matrices of all phases are combinations of one or two (isotropic phases: lmbda K_l + mu K_m, one if Poisson's ratio
is the same), every voxel is multiplied with these and the moduli are fields. Otherwise, as in a polycrystal, voxels are
sorted by phase into groups of equal size, each with its own matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.rve.discretisation import Block, Trilinear
from datagen.rve.kinematics import Kinematics
from datagen.rve.phases import Phases

MAX_BASIS = 2  # matrices by which every voxel is multiplied
GROUP = 32  # voxels of one phase that share a matrix product


class Elements:
    """The stiffness of linear phases on trilinear elements, for a batch of cells.

    Args:
        discretisation: of the cells.
        kinematics: strains from gradients.
        phases: the phase laws, all linear.
        sample: microstructure of each member (B,) int64.
        blocks: in which to do the work.
    """

    def __init__(
        self,
        discretisation: Trilinear,
        kinematics: Kinematics,
        phases: Phases,
        sample: Tensor,
        blocks: list[Block],
    ) -> None:
        self.discretisation, self.blocks = discretisation, blocks
        P = len(phases.laws)
        shared = phases.phase.shape[0] == 1
        present, member = torch.unique(sample, return_inverse=True)
        phase = torch.arange(P, device=sample.device).repeat(len(present))
        tangents = phases.tangents(phase, None if shared else present.repeat_interleave(P))
        rows = kinematics.rows
        basis, coefficients = _combinations(tangents[:, rows][:, :, rows])
        few = len(basis) <= MAX_BASIS
        self.matrices = _matrices(discretisation, kinematics, basis if few else tangents[:, rows][:, :, rows])
        self.keys, self.fields = [], []
        for block in blocks:
            own = phases.phase[:, block.voxels] if shared else phases.phase[sample[block.members], block.voxels]
            key = own if shared else own + P * member[block.members, None]  # (1 or b, v)
            self.keys.append(key)
            self.fields.append(coefficients.T[:, key] if few else None)
        self._groups: dict[tuple[int, int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def product(self, nodal: Tensor, forces: Tensor) -> None:
        """Add the forces of displacements (d, C, B, ...) to ``forces``, see `Discretisation`."""
        for number, block in enumerate(self.blocks):
            values = self.discretisation.corner_values(nodal, block)
            flat = values.reshape(values.shape[0] * values.shape[1], -1)
            field = self.fields[number]
            if field is not None:
                parts = (self.matrices.flatten(0, 1) @ flat).reshape(len(field), *values.shape)
                out = parts[0].mul_(field[0])
                for part, weight in zip(parts[1:], field[1:], strict=True):
                    out.addcmul_(part, weight)
            else:
                matrix, order, back = self._grouped(number, *values.shape[2:4])
                groups = flat.index_select(1, order).unflatten(1, (-1, GROUP)).transpose(0, 1)
                out = (self.matrices[matrix] @ groups).transpose(0, 1).flatten(1).index_select(1, back)
                out = out.reshape(values.shape)
            self.discretisation.add_corner_forces(forces, out, block)

    def _grouped(self, number: int, C: int, b: int) -> tuple[Tensor, Tensor, Tensor]:
        """Matrix of each group, voxels in groups (padded), and where in them each voxel is found."""
        if (number, C, b) not in self._groups:
            key = self.keys[number].expand(b, -1).repeat(C, 1).flatten()
            found, position, counts = torch.unique(key, return_inverse=True, return_counts=True)
            groups = (counts + GROUP - 1) // GROUP
            start = GROUP * (groups.cumsum(0) - groups)
            order = torch.argsort(position, stable=True)
            first = counts.cumsum(0) - counts
            rank = torch.empty_like(order)
            rank[order] = torch.arange(len(order), device=order.device)
            back = start[position] + rank - first[position]
            padded = torch.zeros(int(groups.sum()) * GROUP, dtype=torch.int64, device=order.device)
            padded[back] = torch.arange(len(key), device=order.device)
            self._groups[number, C, b] = (found.repeat_interleave(groups), padded, back)
        return self._groups[number, C, b]


def _matrices(discretisation: Trilinear, kinematics: Kinematics, tangents: Tensor) -> Tensor:
    """Element stiffness matrices (k, d corners, d corners) of tangents in the rows that a fluctuation changes."""
    strain = kinematics.matrix().to(tangents)[kinematics.rows]
    in_gradients = strain.T @ tangents @ strain
    d, n_dim, Q = kinematics.d, kinematics.n_dim, discretisation.n_quad
    in_gradients = in_gradients.unflatten(-1, (d, n_dim)).unflatten(-3, (d, n_dim))
    shapes = discretisation.shapes.unflatten(0, (n_dim, Q))
    adjoint = discretisation.adjoint.unflatten(1, (n_dim, Q))
    matrices = torch.einsum("cjq,pijkl,lqe->picke", adjoint, in_gradients, shapes)
    return matrices.flatten(3, 4).flatten(1, 2)


def _combinations(tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Few tangents (r, n, n) and coefficients (k, r) that give all of (k, n, n), each to rounding of its own size."""
    flat = tangents.flatten(1)
    size = flat.norm(dim=1, keepdim=True)
    directions = flat / torch.where(size > 0, size, 1.0)
    _, values, vectors = torch.linalg.svd(directions, full_matrices=False)
    rank = max(1, int((values > 1e-14 * max(flat.shape) * values[0]).sum()))
    basis = vectors[:rank]
    return basis.reshape(rank, *tangents.shape[1:]), size * (directions @ basis.T)
