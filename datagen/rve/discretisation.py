"""Displacement-based discretisations of a voxel cell: gradient, its adjoint, and its Fourier symbol.

Inside the cell solver tensor axes come first in memory: displacements are (d, B, *nodes), gradients
(Q, n_dim, d, B, V) with Q quadrature points a voxel, V = nx ny nz voxels and B cells. ``gradient(u)[:, j, i]`` is
d u_i / d x_j. A periodic cell has as many nodes as voxels, a bounded one (``periodic=False``) one more a direction. A
grid with one voxel in z is two-dimensional: nothing varies along z, so n_dim = 2 and one layer of quadrature points
stands for all.
"""

from __future__ import annotations

import itertools
import math
from types import EllipsisType

import torch
from torch import Tensor


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

    def gradient(self, u: Tensor) -> Tensor:
        """(d, B, *nodes) to (Q, n_dim, d, B, V)."""
        raise NotImplementedError

    def divergence(self, stress: Tensor) -> Tensor:
        """Nodal forces (d, B, *nodes) of a stress: <stress : gradient(u)> = sum over the nodes of divergence . u."""
        raise NotImplementedError

    def symbol(self, anchor: Tensor) -> Tensor:
        """M_jl = mean over q of conj(b_qj) b_ql, (n_dim, n_dim, *half grid), b the symbol of the periodic gradient.

        Read off the response to a unit impulse, so it belongs to this very discretisation, rounding aside. It is real
        because the quadrature points lie symmetrically in the voxel.
        """
        impulse = anchor.new_zeros(1, 1, *self.grid)
        impulse[..., 0, 0, 0] = 1.0
        b = self.gradient(impulse).reshape(self.n_quad, self.n_dim, *self.grid)
        b = torch.fft.rfftn(b, dim=self.axes)
        return torch.einsum("qj...,ql...->jl...", b.conj(), b).real / self.n_quad


class _Trilinear(Discretisation):
    """Trilinear hexahedra (bilinear quadrilaterals where nz = 1), one a voxel; nodes are the voxels' low corners."""

    shapes: Tensor
    points: tuple[float, ...]

    def __init__(self, grid: tuple[int, int, int], spacing: tuple[float, float, float], periodic: bool = True) -> None:
        super().__init__(grid, spacing, periodic)
        self.corners = list(itertools.product((0, 1), repeat=self.n_dim))
        quadrature = list(itertools.product(self.points, repeat=self.n_dim))
        self.n_quad = len(quadrature)
        # Derivative j of shape function c at point q: product of 1D factors, the j-th differentiated.
        shapes = torch.empty(self.n_quad, self.n_dim, len(self.corners), dtype=torch.float64)
        for (q, x), j, (c, corner) in itertools.product(
            enumerate(quadrature), range(self.n_dim), enumerate(self.corners)
        ):
            value = [x[a] if corner[a] else 1 - x[a] for a in range(self.n_dim)]
            value[j] = (1 if corner[j] else -1) / self.spacing[j]
            shapes[q, j, c] = math.prod(value)
        self.register_buffer("shapes", shapes.reshape(self.n_quad * self.n_dim, len(self.corners)))

    def gradient(self, u: Tensor) -> Tensor:
        """See `Discretisation.gradient`."""
        d, B = u.shape[:2]
        whole = self._halo(u)
        nodal = torch.stack([whole[self._window(corner)] for corner in self.corners])
        out = self.shapes @ nodal.reshape(len(self.corners), -1)
        return out.reshape(self.n_quad, self.n_dim, d, B, self.n_voxels)

    def divergence(self, stress: Tensor) -> Tensor:
        """See `Discretisation.divergence`."""
        d, B = stress.shape[2:4]
        nodal = (self.shapes.T / (self.n_quad * self.n_voxels)) @ stress.reshape(self.n_quad * self.n_dim, -1)
        nodal = nodal.reshape(len(self.corners), d, B, *self.grid)
        whole = stress.new_zeros(d, B, *[n + 1 if a < self.n_dim else n for a, n in enumerate(self.grid)])
        for values, corner in zip(nodal, self.corners, strict=True):
            whole[self._window(corner)] += values
        return self._fold(whole)

    def _window(self, corner: tuple[int, ...]) -> tuple[slice | EllipsisType, ...]:
        """The nodes at one corner of all voxels, in an array with n + 1 nodes a direction."""
        ends = [slice(c, c + n) for c, n in zip(corner, self.grid[: self.n_dim], strict=True)]
        return (..., *ends, *[slice(None)] * (3 - self.n_dim))

    def _halo(self, u: Tensor) -> Tensor:
        """Nodal values with n + 1 nodes a direction: those of a periodic cell with its first planes repeated."""
        if self.periodic:
            for axis in self.axes:
                u = torch.cat([u, u.narrow(axis, 0, 1)], axis)
        return u

    def _fold(self, whole: Tensor) -> Tensor:
        """Adjoint of `_halo`."""
        if self.periodic:
            for axis, n in zip(self.axes, self.grid, strict=False):
                whole.narrow(axis, 0, 1).add_(whole.narrow(axis, n, 1))
                whole = whole.narrow(axis, 0, n)
        return whole.contiguous()


_GAUSS = 0.5 / math.sqrt(3.0)


class Hex8(_Trilinear):
    """Trilinear hexahedra with full integration, 2x2x2 Gauss points (2x2 where nz = 1)."""

    points = (0.5 - _GAUSS, 0.5 + _GAUSS)


class Hex8R(_Trilinear):
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
        frequencies = [
            (torch.fft.rfftfreq if a == self.n_dim - 1 else torch.fft.fftfreq)(grid[a], spacing[a], dtype=torch.float64)
            for a in range(self.n_dim)
        ]
        wave = 2 * math.pi * torch.stack(torch.meshgrid(*frequencies, indexing="ij"))
        self.register_buffer("wave", wave[..., None] if self.n_dim == 2 else wave)

    def gradient(self, u: Tensor) -> Tensor:
        """See `Discretisation.gradient`."""
        d, B = u.shape[:2]
        spectrum = torch.fft.rfftn(u, dim=self.axes)
        spectrum = torch.complex(-spectrum.imag, spectrum.real) * self.wave[:, None, None]
        return self._back(spectrum).reshape(1, self.n_dim, d, B, self.n_voxels)

    def divergence(self, stress: Tensor) -> Tensor:
        """See `Discretisation.divergence`."""
        d, B = stress.shape[2:4]
        spectrum = torch.fft.rfftn(stress.reshape(self.n_dim, d, B, *self.grid), dim=self.axes)
        spectrum = (spectrum * self.wave[:, None, None]).sum(0)
        return self._back(torch.complex(spectrum.imag, -spectrum.real)) / self.n_voxels

    def _back(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.grid[: self.n_dim], dim=self.axes)


DISCRETISATIONS: dict[str, type[Discretisation]] = {"hex8": Hex8, "hex8r": Hex8R, "fourier": Fourier}
