"""Displacement-based discretisations of a voxel cell: gradient, its adjoint, and its Fourier symbol.

Inside the cell solver tensor axes come first in memory: displacements are (d, *c, B, *nodes), gradients
(d, n_dim, Q, *c, B, V) with Q quadrature points a voxel, V = nx ny nz voxels, B cells and, where asked for, axes *c of
several displacements a cell. ``gradient(u)[i, j]`` is d u_i / d x_j. A periodic cell has as many nodes as voxels, a
bounded one (``periodic=False``) one more a direction. A grid with one voxel in z is two-dimensional: nothing varies
along z, so n_dim = 2 and one layer of quadrature points stands for all.

Gradients of a whole cell are 72 numbers a voxel. The solver never writes them all out: it goes through the cells block
by block, a `Block` being some members and some planes of voxels, small enough to stay in cache::

    nodal = discretisation.spread(u)
    forces = discretisation.blank(u)
    for block in blocks(...):
        gradient = discretisation.block_gradient(nodal, block)
        discretisation.add_divergence(forces, stress(gradient), block)
    residual = discretisation.collect(forces)
"""

from __future__ import annotations

import itertools
import math
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Some members of a batch and some planes of voxels along x."""

    members: slice
    planes: slice
    voxels: slice  # of the V = nx ny nz voxels: planes times ny nz


def blocks(n_members: int, grid: tuple[int, int, int], size: int) -> list[Block]:
    """Blocks of about ``size`` voxels that cover a batch: several whole cells, or some planes of one."""
    plane = grid[1] * grid[2]
    members = max(1, size // (plane * grid[0]))
    planes = grid[0] if members > 1 else min(grid[0], max(1, size // plane))
    return [
        Block(
            slice(b, min(b + members, n_members)),
            slice(x, min(x + planes, grid[0])),
            slice(x * plane, min(x + planes, grid[0]) * plane),
        )
        for b in range(0, n_members, members)
        for x in range(0, grid[0], planes)
    ]


class Discretisation(torch.nn.Module):
    """How a displacement on the voxel grid becomes a gradient at quadrature points.

    Args:
        grid: voxels (nx, ny, nz).
        spacing: voxel edges [mm].
        periodic: whether opposite faces share their nodes.
    """

    n_quad: int

    def __init__(self, grid: tuple[int, int, int], spacing: tuple[float, float, float], periodic: bool = True) -> None:
        super().__init__()
        self.grid = grid
        self.periodic = periodic
        self.nodes = grid if periodic else tuple(n + 1 if a < 2 or n > 1 else n for a, n in enumerate(grid))
        self.n_voxels = math.prod(grid)
        self.n_dim = 2 if grid[2] == 1 else 3
        self.spacing = spacing
        self.axes = tuple(range(-3, -3 + self.n_dim))  # the grid axes along which something varies

    def spread(self, u: Tensor) -> Tensor:
        """What `block_gradient` reads, of displacements (d, *c, B, *nodes)."""
        raise NotImplementedError

    def block_gradient(self, nodal: Tensor, block: Block) -> Tensor:
        """Gradient in a block, (d, n_dim, Q, *c, b, v)."""
        raise NotImplementedError

    def blank(self, u: Tensor) -> Tensor:
        """Where the forces of displacements like u are to be added up."""
        raise NotImplementedError

    def add_divergence(self, forces: Tensor, stress: Tensor, block: Block) -> None:
        """Add the forces of a block's stress (d, n_dim, Q, *c, b, v) to what `blank` gave."""
        raise NotImplementedError

    def collect(self, forces: Tensor) -> Tensor:
        """Nodal forces (d, *c, B, *nodes): <stress : gradient(u)> = sum over the nodes of forces . u."""
        raise NotImplementedError

    def gradient(self, u: Tensor) -> Tensor:
        """Gradient of displacements (d, *c, B, *nodes) at all points, (d, n_dim, Q, *c, B, V)."""
        return self.block_gradient(self.spread(u), self._whole(u.shape[-4]))

    def divergence(self, stress: Tensor) -> Tensor:
        """Nodal forces (d, *c, B, *nodes) of a stress (d, n_dim, Q, *c, B, V), the adjoint of `gradient`."""
        forces = self.blank(stress.new_empty(stress.shape[0], *stress.shape[3:-1], *self.nodes))
        self.add_divergence(forces, stress, self._whole(stress.shape[-2]))
        return self.collect(forces)

    def _whole(self, n_members: int) -> Block:
        return blocks(n_members, self.grid, n_members * self.n_voxels)[0]

    def symbol(self, anchor: Tensor) -> Tensor:
        """M_jl = mean over q of conj(b_qj) b_ql, (n_dim, n_dim, *half grid), b the symbol of the periodic gradient.

        It is real because the quadrature points lie symmetrically in the voxel.
        """
        raise NotImplementedError

    def _angles(self, anchor: Tensor) -> list[Tensor]:
        """2 pi k/n of the half grid, one tensor an axis, shaped to broadcast."""
        angles = []
        for a in range(self.n_dim):
            frequencies = torch.fft.rfftfreq if a == self.n_dim - 1 else torch.fft.fftfreq
            k = frequencies(self.grid[a], dtype=anchor.dtype, device=anchor.device)
            angles.append((2 * math.pi * k).reshape([-1 if b == a else 1 for b in range(3)]))
        return angles


class Trilinear(Discretisation):
    """Trilinear hexahedra (bilinear quadrilaterals where nz = 1), one a voxel; nodes are the voxels' low corners."""

    shapes: Tensor  # (n_dim Q, corners)
    adjoint: Tensor  # (corners, n_dim Q)
    points: tuple[float, ...]

    def __init__(self, grid: tuple[int, int, int], spacing: tuple[float, float, float], periodic: bool = True) -> None:
        super().__init__(grid, spacing, periodic)
        self.corners = list(itertools.product((0, 1), repeat=self.n_dim))
        quadrature = list(itertools.product(self.points, repeat=self.n_dim))
        self.n_quad = len(quadrature)
        # Derivative j of shape function c at point q: product of 1D factors, the j-th differentiated.
        shapes = torch.empty(self.n_dim, self.n_quad, len(self.corners), dtype=torch.float64)
        for (q, x), j, (c, corner) in itertools.product(
            enumerate(quadrature), range(self.n_dim), enumerate(self.corners)
        ):
            value = [x[a] if corner[a] else 1 - x[a] for a in range(self.n_dim)]
            value[j] = (1 if corner[j] else -1) / self.spacing[j]
            shapes[j, q, c] = math.prod(value)
        shapes = shapes.flatten(0, 1)
        self.ends = tuple(n + 1 if a < self.n_dim else n for a, n in enumerate(grid))  # nodes with those of both faces
        self.register_buffer("shapes", shapes)
        self.register_buffer("adjoint", (shapes.T / (self.n_quad * self.n_voxels)).contiguous())

    def spread(self, u: Tensor) -> Tensor:
        """See `Discretisation.spread`: the displacements themselves."""
        return u

    def corner_values(self, nodal: Tensor, block: Block) -> Tensor:
        """Displacements of the voxels' corners, (d, corners, *c, b, v)."""
        m, planes, _ = block
        if self.periodic:  # the nodes of the block with its far ends, some of which are near ends of the cell
            part = nodal.new_empty(self._ends(nodal, block))
            inner = part[self._window((0, 0, 0))]
            inner[..., :-1, :, :] = nodal[..., m, planes, :, :]
            inner[..., -1, :, :] = nodal[..., m, planes.stop % self.grid[0], :, :]
            for axis in self.axes[1:]:
                part.select(axis, -1).copy_(part.select(axis, 0))
        else:
            part = nodal[..., m, planes.start : planes.stop + 1, :, :]
        lead, steps = part.shape[1:-3], part.stride()
        window = part.as_strided(
            (part.shape[0], *[2] * self.n_dim, *lead, planes.stop - planes.start, *self.grid[1:]),
            (steps[0], *steps[-3:][: self.n_dim], *steps[1:]),
        )
        return window.reshape(part.shape[0], len(self.corners), *lead, -1)

    def block_gradient(self, nodal: Tensor, block: Block) -> Tensor:
        """See `Discretisation.block_gradient`."""
        values = self.corner_values(nodal, block)
        out = self.shapes @ values.flatten(2)
        return out.reshape(len(values), self.n_dim, self.n_quad, *values.shape[2:])

    def blank(self, u: Tensor) -> Tensor:
        """See `Discretisation.blank`."""
        return torch.zeros_like(u, memory_format=torch.contiguous_format)

    def add_corner_forces(self, forces: Tensor, values: Tensor, block: Block) -> None:
        """Adjoint of `corner_values`: add forces (d, corners, *c, b, v) on the voxels' corners."""
        m, planes, _ = block
        part = forces[..., m, planes.start : planes.stop + 1, :, :]
        if self.periodic:
            part = forces.new_zeros(self._ends(forces, block))
        n_planes = planes.stop - planes.start
        values = values.unflatten(-1, (n_planes, *self.grid[1:]))
        for c, corner in enumerate(self.corners):
            part[self._window(corner, n_planes)] += values[:, c]
        if self.periodic:
            for axis in self.axes[1:]:
                part.select(axis, 0).add_(part.select(axis, -1))
            inner = part[self._window((0, 0, 0))]
            forces[..., m, planes, :, :] += inner[..., :-1, :, :]
            forces[..., m, planes.stop % self.grid[0], :, :] += inner[..., -1, :, :]

    def add_divergence(self, forces: Tensor, stress: Tensor, block: Block) -> None:
        """See `Discretisation.add_divergence`."""
        values = self.adjoint @ stress.reshape(len(stress), self.n_dim * self.n_quad, -1)
        self.add_corner_forces(forces, values.reshape(*values.shape[:2], *stress.shape[3:]), block)

    def collect(self, forces: Tensor) -> Tensor:
        """See `Discretisation.collect`."""
        return forces

    def _window(self, corner: tuple[int, ...], planes: int | None = None) -> tuple[slice | EllipsisType, ...]:
        """One corner of all voxels, or of some planes of them, in an array with one node more a direction."""
        along_x = slice(None) if planes is None else slice(corner[0], corner[0] + planes)
        rest = itertools.zip_longest(corner[1:], self.grid[1:], fillvalue=0)
        return (..., along_x, *[slice(k, k + n) for k, n in rest])

    def _ends(self, nodal: Tensor, block: Block) -> list[int]:
        """Shape of the nodes of a block with both ends, (d, *c, b, nodes)."""
        lead = list(nodal[..., block.members, 0, 0, 0].shape)
        planes = block.planes.stop - block.planes.start
        return lead + [planes + 1] + [n + 1 if a < self.n_dim else n for a, n in enumerate(self.grid) if a > 0]

    def symbol(self, anchor: Tensor) -> Tensor:
        """See `Discretisation.symbol`; the mean over the points is a product of means along each axis."""
        x = anchor.new_tensor(self.points)[:, None, None, None]
        factors = []
        for angle, h in zip(self._angles(anchor), self.spacing, strict=False):
            shift = torch.polar(torch.ones_like(angle), angle)
            value, slope = 1 - x + x * shift, (shift - 1).expand(len(x), *angle.shape) / h
            # Mean over the points of conj(a) b, for a and b interpolated or differentiated along this axis.
            factors.append([[(a.conj() * b).mean(0) for b in (value, slope)] for a in (value, slope)])
        shape = [n // 2 + 1 if a == self.n_dim - 1 else n for a, n in enumerate(self.grid)]
        M = anchor.new_empty(self.n_dim, self.n_dim, *shape)
        for j, l in itertools.product(range(self.n_dim), repeat=2):
            M[j, l] = math.prod(factor[a == j][a == l] for a, factor in enumerate(factors)).real
        return M


_GAUSS = 0.5 / math.sqrt(3.0)


class Hex8(Trilinear):
    """Trilinear hexahedra with full integration, 2x2x2 Gauss points (2x2 where nz = 1)."""

    points = (0.5 - _GAUSS, 0.5 + _GAUSS)


class Hex8R(Trilinear):
    """Trilinear hexahedra with one Gauss point, Willot's rotated scheme.

    Hourglass modes have no gradient, so they neither load the cell nor appear in any strain: the preconditioner
    leaves them at zero.

    Reference:
        F. Willot, Comptes Rendus Mecanique 343 (2015) 232, doi:10.1016/j.crme.2014.12.005.
    """

    points = (0.5,)


class Fourier(Discretisation):
    """Trigonometric polynomials, collocated at the voxel centres; odd grids, where every frequency has its partner.

    Reference:
        J. Zeman, T. W. J. de Geus, J. Vondrejc, R. H. J. Peerlings, M. G. D. Geers, Int. J. Numer. Meth. Engng 111
        (2017) 903, doi:10.1002/nme.5481.
    """

    n_quad = 1
    wave: Tensor

    def __init__(self, grid: tuple[int, int, int], spacing: tuple[float, float, float], periodic: bool = True) -> None:
        super().__init__(grid, spacing, periodic)
        if not periodic:
            raise ValueError("discretisation: fourier is periodic by nature, wanted hex8 or hex8r for this boundary")
        even = [n for n in grid if n % 2 == 0]
        if even:
            raise ValueError(f"discretisation: fourier got a grid {grid}, wanted odd numbers of voxels in x, y and z")
        angles = self._angles(torch.empty((), dtype=torch.float64))
        wave = [angle / h for angle, h in zip(angles, spacing, strict=False)]
        self.register_buffer("wave", torch.stack(torch.broadcast_tensors(*wave)))

    def spread(self, u: Tensor) -> Tensor:
        """The gradient itself, which is not local: (d, n_dim, *c, B, V)."""
        spectrum = torch.fft.rfftn(u, dim=self.axes)
        spectrum = torch.complex(-spectrum.imag, spectrum.real)
        parts = [self._back(spectrum * wave).flatten(-3) for wave in self.wave]
        return torch.stack(parts, 1)

    def block_gradient(self, nodal: Tensor, block: Block) -> Tensor:
        """See `Discretisation.block_gradient`."""
        return nodal[..., block.members, block.voxels].unsqueeze(2)

    def blank(self, u: Tensor) -> Tensor:
        """See `Discretisation.blank`: a whole stress (d, n_dim, *c, B, V)."""
        return u.new_zeros(u.shape[0], self.n_dim, *u.shape[1:-3], self.n_voxels)

    def add_divergence(self, forces: Tensor, stress: Tensor, block: Block) -> None:
        """See `Discretisation.add_divergence`."""
        forces[..., block.members, block.voxels] += stress[:, :, 0]

    def collect(self, forces: Tensor) -> Tensor:
        """See `Discretisation.collect`."""
        parts = forces.unflatten(-1, self.grid).unbind(1)
        spectrum = torch.fft.rfftn(parts[0], dim=self.axes) * self.wave[0]
        for part, wave in zip(parts[1:], self.wave[1:], strict=True):
            spectrum += torch.fft.rfftn(part, dim=self.axes) * wave
        return self._back(torch.complex(spectrum.imag, -spectrum.real)) / self.n_voxels

    def _back(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.grid[: self.n_dim], dim=self.axes)

    def symbol(self, anchor: Tensor) -> Tensor:
        """See `Discretisation.symbol`."""
        return self.wave[:, None] * self.wave


DISCRETISATIONS: dict[str, type[Discretisation]] = {"hex8": Hex8, "hex8r": Hex8R, "fourier": Fourier}
