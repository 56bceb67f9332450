"""Element matrices of linear phases: products with the stiffness and stresses are then one matrix product a block.

On a voxel grid all elements of one phase have one stiffness matrix, K_p = <B^T C_p B>, 24 x 24 for a hexahedron, and
one matrix S_p = C_p [B I] from the displacements of its corners and a strain of the whole voxel to the stress at its
quadrature points. Where the tangents of all phases are combinations of one or two (isotropic phases:
lmbda C_l + mu C_m, one if Poisson's ratio is the same), every voxel is multiplied with these and the moduli are fields.
Otherwise, as in a polycrystal, voxels are sorted by phase into groups of equal size, each with its own matrix.

Nodes lie here with those of both ends of the cell, and voxels as their low corners do, so that the far ends count as
voxels, without stiffness. Then all voxels' corners of one kind are one stretch of memory, whatever the block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.rve.discretisation import Block, Trilinear
from datagen.rve.kinematics import Kinematics
from datagen.rve.phases import Phases

MAX_BASIS = 2  # matrices by which every voxel is multiplied
GROUP = 32  # voxels of one phase that share a matrix product


class Stressed(NamedTuple):
    """A block of linear phases under load."""

    members: slice
    strain: Tensor  # (r, C, b, 1 or v): the macroscopic strain less that at which the phase is free of stress
    compact: Tensor  # (m, C, b, v): the stress at the points in an orthonormal basis of what can occur
    basis: Tensor | None  # (r Q, m); None: that of the components at the points

    def stress(self) -> Tensor:
        """Stress at the points, (r, Q, C, b, v)."""
        flat = self.compact if self.basis is None else _rows_times(self.basis, self.compact)
        return flat.unflatten(0, (len(self.strain), -1))

    def square(self) -> Tensor:
        """Sum of |stress|^2 over the points of each member, (C, b)."""
        return torch.linalg.vector_norm(self.compact, dim=(0, -1)) ** 2

    def total(self, each: bool = False) -> Tensor:
        """Sum of the stress over the points, (r, C, b, 1), or over those of ``each`` voxel, (r, C, b, v)."""
        compact = self.compact if each else self.compact.sum(-1, keepdim=True)
        if self.basis is None:
            return compact.unflatten(0, (len(self.strain), -1)).sum(1)
        return _rows_times(self.basis.unflatten(0, (len(self.strain), -1)).sum(1), compact)


class Elements:
    """Linear phases on trilinear elements, for a batch of cells.

    Strain and stress are here of the components ``rows`` alone, r in number, the others being at their reference.
    A phase whose stress at the reference is C_p times a strain has an *origin*, the strain where its stress is zero,
    stress = C_p (strain - origin), psi = 1/2 stress . (strain - origin) + psi_0. ``affine`` says that all phases are so
    and answer nothing else: then the laws need not be evaluated.

    Args:
        discretisation: of the cells.
        kinematics: strains from gradients.
        phases: the phase laws, all linear.
        rows: strain components, those that a fluctuation changes among them.
        sample: microstructure of each member (B,) int64.
        blocks: in which to do the work.
    """

    def __init__(
        self,
        discretisation: Trilinear,
        kinematics: Kinematics,
        phases: Phases,
        rows: list[int],
        sample: Tensor,
        blocks: list[Block],
    ) -> None:
        self.discretisation, self.blocks = discretisation, blocks
        P = len(phases.laws)
        shared = phases.phase.shape[0] == 1
        present, member = torch.unique(sample, return_inverse=True)
        phase = torch.arange(P, device=sample.device).repeat(len(present))
        at = phases.reference(phase, None if shared else present.repeat_interleave(P))
        tangents = at.tangent[:, rows][:, :, rows]
        basis, coefficients = _combinations(tangents)
        self.few = len(basis) <= MAX_BASIS
        used = basis if self.few else tangents
        moving = [rows.index(row) for row in kinematics.rows]
        self.matrices = self._laid_out(_matrices(discretisation, kinematics, used[:, moving][:, :, moving]))
        strains = _strains(discretisation, kinematics, rows)  # [B I]
        n_corners = strains.shape[-1] - len(rows)
        self.stresses = self._laid_out(torch.einsum("kab,bqc->kaqc", used, strains).flatten(1, 2))
        self.basis: Tensor | None = None
        if self.few:  # a hexahedron has 18 modes of strain, not 48; with two matrices there are at most twice as many
            vectors, values, rest = torch.linalg.svd(self.stresses, full_matrices=False)
            rank = max(1, int((values > 1e-14 * max(self.stresses.shape) * values[0]).sum()))
            self.basis, self.stresses = vectors[:, :rank].contiguous(), values[:rank, None] * rest[:rank]
        n_points = discretisation.n_quad * discretisation.n_voxels
        forces = strains[..., :n_corners].flatten(0, 1).T / n_points
        self.forces = forces.contiguous() if self.basis is None else forces @ self.basis
        self.strains = strains.flatten(0, 1)
        origin, own, free = _origins(tangents, at.stress[:, rows])
        psi = at.psi - own
        self.affine = phases.n_state == 0 and not phases.energy_names and free
        self.reference = at.strain[rows]
        # What is the same for all phases, as it mostly is, is no field. What rounding left of psi_0 is none either.
        self.origin = _and_nothing(origin) if bool(origin.any()) else None
        psi = torch.where(psi.abs() <= 1e-14 * own.abs(), 0.0, psi)
        self.psi = _and_nothing(psi) if bool(psi.any()) else None
        self.verdict = _and_nothing(at.verdict)
        if not self.few:
            self.matrices, self.stresses = _and_nothing(self.matrices), _and_nothing(self.stresses)
        coefficients = _and_nothing(coefficients).T
        self.steps = (math.prod(discretisation.ends[1:]), discretisation.ends[2], 1)  # in memory, to the next node
        self.keys, self.fields = [], []
        for m, planes, voxels in blocks:
            key = phases.phase[:, voxels] if shared else phases.phase[sample[m], voxels] + P * member[m, None]
            key = key.unflatten(-1, (-1, *discretisation.grid[1:]))
            whole = key.new_full((len(key), planes.stop - planes.start, *discretisation.ends[1:]), len(tangents))
            whole[:, :, : key.shape[2], : key.shape[3]] = key
            self.keys.append(whole.flatten(1))  # (1 or b, v)
            self.fields.append(coefficients[:, self.keys[-1]] if self.few else None)
        self._groups: dict[tuple[int, int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def spread(self, u: Tensor) -> Tensor:
        """Displacements (d, C, B, *nodes) as they are read here, (d, C, B, nodes and a few more)."""
        discretisation = self.discretisation
        n = math.prod(discretisation.ends)
        nodal = self.blank(u)
        ends = nodal[..., :n].unflatten(-1, discretisation.ends)
        ends[..., : u.shape[-3], : u.shape[-2], : u.shape[-1]] = u
        if discretisation.periodic:
            for axis in discretisation.axes:
                ends.select(axis, -1).copy_(ends.select(axis, 0))
        return nodal

    def blank(self, u: Tensor) -> Tensor:
        """Where the forces of displacements like u are to be added up."""
        # The last voxels reach for corners past the last node.
        return u.new_zeros(*u.shape[:-3], math.prod(self.discretisation.ends) + self.steps[1] + 1)

    def collect(self, forces: Tensor) -> Tensor:
        """Nodal forces (d, C, B, *nodes) of what was added up, used up."""
        discretisation = self.discretisation
        ends = forces[..., : math.prod(discretisation.ends)].unflatten(-1, discretisation.ends)
        if discretisation.periodic:
            for axis in discretisation.axes:
                ends.select(axis, 0).add_(ends.select(axis, -1))
        x, y, z = discretisation.nodes
        return ends[..., :x, :y, :z].contiguous()

    def product(self, u: Tensor) -> Tensor:
        """K u, nodal forces of displacements (d, C, B, *nodes), of the same shape."""
        nodal, forces = self.spread(u), self.blank(u)
        for number in range(len(self.blocks)):
            self._add(forces, number, self._apply(number, self.matrices, self._corners(nodal, number)))
        return self.collect(forces)

    def load(self, nodal: Tensor, mean: Tensor, forces: Tensor | None, change: bool = False) -> Iterator[Stressed]:
        """Stress of displacements and macroscopic strains, their forces added up, block by block.

        Args:
            nodal: displacements, see `spread`.
            mean: macroscopic strains, (r, C, B).
            forces: where to add the forces, see `blank`, if they are wanted.
            change: whether these are changes of strain, and the answers changes of stress.
        """
        mean = mean if change else mean - self.reference[:, None, None]
        for number, block in enumerate(self.blocks):
            strain = mean[..., block.members, None]
            if self.origin is not None and not change:
                strain = strain - self.origin[self.keys[number]].movedim(-1, 0)[:, None]
            stress = self._apply(number, self.stresses, self._corners(nodal, number), strain)
            if forces is not None:
                self._add(forces, number, _rows_times(self.forces, stress))
            yield Stressed(block.members, strain, stress, self.basis)

    def work(self, u: Tensor, mean: Tensor, u_0: Tensor, mean_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `Batch.work` needs of the way from u_0 and mean_0 (r, C, B) to u and mean.

        Returns:
            Forces at the start (d, C, B, *nodes), and over all points the sums of the stress there, (r, C, B), and of
            (|P_0| + |P_1|) |F_1 - F_0|, (C, B).
        """
        total, size = torch.zeros_like(mean), torch.zeros_like(mean[0])
        nodal, forces, step, increment = self.spread(u), self.blank(u), self.spread(u - u_0), mean - mean_0
        # Often the way begins where nothing is loaded.
        blank = self.origin is None and not bool((mean_0 - self.reference[:, None, None]).any() | u_0.any())
        before = itertools.repeat(None) if blank else self.load(self.spread(u_0), mean_0, forces)
        for number, (begin, end) in enumerate(zip(before, self.load(nodal, mean, None), strict=False)):
            m = end.members
            corners = self._corners(step, number).flatten(0, -4)
            values = torch.cat([corners, increment[..., m, None].expand(-1, *corners.shape[1:])])
            moved = norm(_rows_times(self.strains, values).unflatten(0, (len(mean), -1)))
            stress = norm(end.stress())
            if begin is not None:
                total[..., m] += begin.total()[..., 0]
                stress += norm(begin.stress())
            size[:, m] += stress.mul_(moved).sum((0, -1))
        return self.collect(forces), total, size

    def rest(self, number: int) -> tuple[Tensor | float, Tensor]:
        """Sum of psi_0 over the voxels of a block, and the largest verdict of its phases, for each member (1 or b,)."""
        key = self.keys[number]
        return 0.0 if self.psi is None else self.psi[key].sum(-1), self.verdict[key].amax(-1)

    def _laid_out(self, matrices: Tensor) -> Tensor:
        """Matrices (k, m, c) as `_apply` takes them: few of them side by side, (m, k c)."""
        return matrices.transpose(0, 1).flatten(1).contiguous() if self.few else matrices

    def _corners(self, nodal: Tensor, number: int) -> Tensor:
        """Displacements of the corners of a block's voxels, not copied out: (d, 2, ..., C, b, v)."""
        members, planes, _ = self.blocks[number]
        part = nodal[..., members, planes.start * self.steps[0] :]
        n_dim, v = self.discretisation.n_dim, self.keys[number].shape[-1]
        shape, steps = part.shape, part.stride()
        return part.as_strided(
            (shape[0], *[2] * n_dim, *shape[1:-1], v),
            (steps[0], *self.steps[:n_dim], *steps[1:]),
            part.storage_offset(),
        )

    def _add(self, forces: Tensor, number: int, values: Tensor) -> None:
        """Add forces (d corners, C, b, v) on the corners of a block's voxels."""
        members, planes, _ = self.blocks[number]
        values = values.unflatten(0, (len(forces), -1))
        for c, corner in enumerate(self.discretisation.corners):
            first = planes.start * self.steps[0] + sum(k * step for k, step in zip(corner, self.steps, strict=False))
            forces[..., members, first : first + values.shape[-1]] += values[:, c]

    def _apply(self, number: int, matrices: Tensor, corners: Tensor, strain: Tensor | None = None) -> Tensor:
        """The matrix of each voxel times its corners' displacements (d, 2, ..., C, b, v) and ``strain``.

        Answers (m, C, b, v).
        """
        shape, field = corners.shape[-3:], self.fields[number]
        n = corners.shape[:-3].numel()
        extra = 0 if strain is None else len(strain)
        k = 1 if field is None else len(field)
        values = corners.new_empty(k, n + extra, *shape)
        inner = values[:, :n].unflatten(1, corners.shape[:-3])
        if field is not None:  # the moduli are multiplied in as the corners are collected
            for own, weight, target in zip(values, field, inner, strict=True):
                torch.mul(corners, weight, out=target)
                if strain is not None:
                    torch.mul(strain, weight, out=own[n:])
            return _rows_times(matrices, values.flatten(0, 1))
        inner[0] = corners
        if strain is not None:
            values[0, n:] = strain
        matrix, order, back = self._grouped(number, *shape[:2])
        groups = values[0].flatten(1).index_select(1, order).unflatten(1, (-1, GROUP)).transpose(0, 1)
        out = (matrices[matrix] @ groups).transpose(0, 1).flatten(1).index_select(1, back)
        return out.unflatten(1, shape)

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


def norm(field: Tensor) -> Tensor:
    """Euclidean norm over the first axis, (r, *b) to (*b)."""
    square = field[0] * field[0]
    for component in field[1:]:
        square.addcmul_(component, component)
    return square.sqrt_()


def _and_nothing(table: Tensor) -> Tensor:
    """A table of phases with one that is nothing at its end."""
    return torch.cat([table, torch.zeros_like(table[:1])])


def _rows_times(matrix: Tensor, field: Tensor) -> Tensor:
    """Matrix (m, k) times a field (k, *b, v)."""
    return (matrix @ field.flatten(1)).unflatten(1, field.shape[1:])


def _strains(discretisation: Trilinear, kinematics: Kinematics, rows: list[int]) -> Tensor:
    """[B I] (r, Q, d corners + r): strain at the points of the corners' displacements and of a strain of the voxel."""
    shapes = discretisation.shapes.unflatten(0, (discretisation.n_dim, -1))
    gradients = kinematics.matrix().to(shapes)[rows].unflatten(1, (kinematics.d, -1))
    of_corners = torch.einsum("rij,jqc->rqic", gradients, shapes).flatten(2)
    unit = torch.eye(len(rows), dtype=shapes.dtype, device=shapes.device)
    return torch.cat([of_corners, unit[:, None].expand(-1, of_corners.shape[1], -1)], -1)


def _origins(tangents: Tensor, stress: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Strains (k, r) at which stress + C . strain = 0, 1/2 strain . C . strain there (k,), and whether all exist."""
    inverse = torch.linalg.pinv(tangents, rtol=1e-13)
    origin = torch.zeros_like(stress)
    for _ in range(2):  # once more, with what rounding left
        left = stress + (tangents @ origin[..., None])[..., 0]
        origin = origin - (inverse @ left[..., None])[..., 0]
    product = (tangents @ origin[..., None])[..., 0]
    exist = (stress + product).norm(dim=-1) <= 1e-13 * stress.norm(dim=-1)
    return origin, 0.5 * (product * origin).sum(-1), bool(exist.all())


def _combinations(tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Few tangents (r, n, n) and coefficients (k, r) that give all of (k, n, n), each to rounding of its own size."""
    flat = tangents.flatten(1)
    size = flat.norm(dim=1, keepdim=True)
    directions = flat / torch.where(size > 0, size, 1.0)
    _, values, vectors = torch.linalg.svd(directions, full_matrices=False)
    rank = max(1, int((values > 1e-14 * max(flat.shape) * values[0]).sum()))
    basis = vectors[:rank]
    return basis.reshape(rank, *tangents.shape[1:]), size * (directions @ basis.T)
