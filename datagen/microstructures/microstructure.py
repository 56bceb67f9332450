"""The contract of the room: voxels with a phase index, their size, and the statistics of how phases are arranged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from datagen.tensors import det


class Microstructure:
    r"""One or several periodic cells of equal grid, each voxel of one phase.

    Axis x of the array is axis 1 of the tensors. A two-dimensional cell has one voxel in z. Several cells (samples)
    lie side by side in one object; a law made from them picks one by the parameter ``sample``.

    Args:
        phase: phase index of each voxel, integers >= 0, (nx, ny), (nx, ny, nz) or (m, nx, ny, nz).
        spacing: edge of a voxel [mm], one number or one per axis, > 0.
        orientations: rotation from the material axes of each phase to the axes of the cell, (n_phases, 3, 3) for all
            samples or (m, n_phases, 3, 3); None where no phase has axes.
        descriptors: numbers that describe each sample (radius, centres, ...), name to (m, ...).

    Attributes:
        phase (Tensor): (m, nx, ny, nz) int64.
        spacing (tuple[float, float, float]): voxel edges [mm].
        orientations (Tensor | None): (m, n_phases, 3, 3) float64.
        descriptors (dict[str, Tensor]): name to (m, ...) float64.

    Raises:
        TypeError: phases that are not integers.
        ValueError: a shape, a phase index, a spacing, a rotation or a descriptor that does not fit.

    Example:
        >>> cell = Microstructure(phase=[[0, 0, 1], [0, 1, 1]], spacing=0.5)
        >>> cell.grid, cell.size
        ((2, 3, 1), (1.0, 1.5, 0.5))
        >>> cell.volume_fractions
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """

    def __init__(
        self,
        phase: Tensor | np.ndarray | Sequence,
        spacing: float | Sequence[float] = 1.0,
        orientations: Tensor | np.ndarray | None = None,
        descriptors: Mapping[str, Tensor | np.ndarray | Sequence[float]] | None = None,
    ) -> None:
        self.phase = _phases(phase)
        self.spacing = _spacing(spacing)
        self.orientations = None if orientations is None else self._orientations(orientations)
        self.descriptors = {name: self._descriptor(name, value) for name, value in (descriptors or {}).items()}

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        nx, ny, nz = self.phase.shape[1:]
        return nx, ny, nz

    @property
    def size(self) -> tuple[float, float, float]:
        """Edges of the cell [mm]."""
        x, y, z = (n * h for n, h in zip(self.grid, self.spacing, strict=True))
        return x, y, z

    @property
    def n_samples(self) -> int:
        """Number of cells, m."""
        return self.phase.shape[0]

    @property
    def n_phases(self) -> int:
        """One more than the largest phase index of any sample: how many laws the cell asks for."""
        return int(self.phase.max()) + 1

    @property
    def volume_fractions(self) -> Tensor:
        """Fraction of the voxels in each phase, (m, n_phases); rows sum to one."""
        n = self.n_phases
        row = torch.arange(self.n_samples, device=self.phase.device)[:, None]
        counts = torch.bincount((self.phase.flatten(1) + n * row).flatten(), minlength=n * self.n_samples)
        return counts.reshape(self.n_samples, n).double() / math.prod(self.grid)

    def sample(self, index: int) -> Microstructure:
        """The cell number ``index`` alone; raises IndexError when there is no such sample."""
        if not 0 <= index < self.n_samples:
            raise IndexError(f"sample: got {index}, wanted 0 to {self.n_samples - 1}")
        keep = slice(index, index + 1)
        return Microstructure(
            self.phase[keep],
            self.spacing,
            None if self.orientations is None else self.orientations[keep],
            {name: value[keep] for name, value in self.descriptors.items()},
        )

    def mirrored(self) -> Microstructure:
        """The cell and its mirror images, twice the size along every axis with more than one voxel.

        Makes a periodic cell of an image that is not periodic. Descriptors are dropped: they described the half.

        Raises:
            ValueError: a cell with orientations, whose images would need mirrored material axes.
        """
        if self.orientations is not None:
            raise ValueError("mirrored: got a cell with orientations, wanted one without: a mirror is not a rotation")
        phase = self.phase
        for axis in (1, 2, 3):
            if phase.shape[axis] > 1:
                phase = torch.cat([phase, phase.flip(axis)], axis)
        return Microstructure(phase, self.spacing)

    def two_point(self, phase: int, other: int | None = None) -> Tensor:
        r"""Two-point statistics of the periodic cell, (m, nx, ny, nz).

        S_pq(h) = < 1_p(x) 1_q(x + h) >, the probability that x lies in ``phase`` and x + h in ``other`` (by default
        the same phase). Entry [s, i, j, k] belongs to h = (i, j, k) times the spacing, wrapped; S_pp(0) is the volume
        fraction. By two FFTs, to rounding.

        Reference:
            S. Torquato, Random Heterogeneous Materials, 2002, section 2.2; doi:10.1007/978-1-4757-6355-3.
        """
        axes = (1, 2, 3)
        first = torch.fft.rfftn(self._indicator(phase), dim=axes)
        second = first if other is None else torch.fft.rfftn(self._indicator(other), dim=axes)
        return torch.fft.irfftn(first.conj() * second, s=self.grid, dim=axes) / math.prod(self.grid)

    def radial_two_point(self, phase: int, other: int | None = None) -> tuple[Tensor, Tensor]:
        """`two_point` averaged over directions: distances (k,) [mm] and values (m, k).

        A bin is one voxel wide (the smallest edge) and collects the grid vectors h whose length rounds to it; the last
        bin is half the smallest edge of the cell, where the wrapped distance stops being complete. The distance of a
        bin is the mean length of its vectors.
        """
        extended = [axis for axis in range(3) if self.grid[axis] > 1]
        width = min((self.spacing[axis] for axis in extended), default=self.spacing[0])
        reach = min((self.size[axis] for axis in extended), default=0.0) / 2
        along = [
            torch.fft.fftfreq(n, 1.0 / (n * h), dtype=torch.float64)
            for n, h in zip(self.grid, self.spacing, strict=True)
        ]
        x, y, z = torch.meshgrid(*along, indexing="ij")
        length = (x * x + y * y + z * z).sqrt().flatten()
        bins = (length / width).round().long()
        n_bins = int(reach / width + 1e-9) + 1
        keep = bins < n_bins
        count = torch.bincount(bins[keep], minlength=n_bins).double()
        distance = torch.bincount(bins[keep], length[keep], minlength=n_bins) / count
        values = self.two_point(phase, other).cpu().flatten(1)[:, keep]
        mean = torch.zeros(self.n_samples, n_bins, dtype=torch.float64).index_add_(1, bins[keep], values) / count
        return distance, mean

    def lineal_path(self, phase: int, axis: int) -> Tensor:
        """Probability (m, n) that a row of k + 1 voxels along ``axis`` (0, 1, 2) lies in ``phase`` whole, k = 0 .. n-1.

        Reference:
            B. Lu, S. Torquato, Physical Review A 45 (1992) 922, doi:10.1103/PhysRevA.45.922.
        """
        if axis not in (0, 1, 2):
            raise ValueError(f"axis: got {axis}, wanted 0, 1 or 2")
        inside = self._indicator(phase)
        whole, rows = inside, [inside]
        for k in range(1, self.grid[axis]):
            whole = whole * inside.roll(-k, axis + 1)
            rows.append(whole)
        return torch.stack([row.mean((1, 2, 3)) for row in rows], -1)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.grid)
        return f"Microstructure({self.n_samples} of {shape} voxels, {self.n_phases} phases, spacing {self.spacing} mm)"

    def _indicator(self, phase: int) -> Tensor:
        if not 0 <= phase < self.n_phases:
            raise ValueError(f"phase: got {phase}, wanted 0 to {self.n_phases - 1}")
        return (self.phase == phase).double()

    def _orientations(self, orientations: Tensor | np.ndarray) -> Tensor:
        Q = torch.as_tensor(orientations, dtype=torch.float64, device=self.phase.device)
        wanted = (self.n_samples, self.n_phases, 3, 3)
        if Q.shape not in (wanted, wanted[1:]):
            raise ValueError(f"orientations: got shape {tuple(Q.shape)}, wanted {wanted[1:]} or {wanted}")
        defect = (Q @ Q.transpose(-1, -2) - torch.eye(3, dtype=Q.dtype, device=Q.device)).abs().max()
        if not defect < 1e-10:
            raise ValueError(f"orientations: got matrices with |Q Q^T - 1| up to {float(defect):.1e}, wanted rotations")
        if not bool((det(Q) > 0).all()):
            raise ValueError("orientations: got a reflection (determinant -1), wanted rotations")
        return Q.expand(wanted)

    def _descriptor(self, name: str, value: Tensor | np.ndarray | Sequence[float]) -> Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float64)
        if tensor.dim() == 0 or tensor.shape[0] != self.n_samples:
            raise ValueError(
                f"descriptors[{name!r}]: got shape {tuple(tensor.shape)}, "
                f"wanted ({self.n_samples}, ...), one entry a sample"
            )
        return tensor


def _phases(phase: Tensor | np.ndarray | Sequence) -> Tensor:
    tensor = torch.as_tensor(phase)
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"phase: got {tensor.dtype}, wanted integers; turn grey values into phases with thresholds")
    if tensor.dim() not in (2, 3, 4) or 0 in tensor.shape:
        raise ValueError(f"phase: got shape {tuple(tensor.shape)}, wanted (nx, ny), (nx, ny, nz) or (m, nx, ny, nz)")
    tensor = tensor.long()
    if tensor.dim() == 2:
        tensor = tensor[..., None]
    if tensor.dim() == 3:
        tensor = tensor[None]
    if int(tensor.min()) < 0:
        raise ValueError(f"phase: got the index {int(tensor.min())}, wanted indices >= 0")
    return tensor


def _spacing(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    edges = [float(spacing)] * 3 if isinstance(spacing, int | float) else [float(h) for h in spacing]
    if len(edges) != 3 or not all(0 < h < math.inf for h in edges):
        raise ValueError(f"spacing: got {spacing}, wanted one or three voxel edges > 0 [mm]")
    return edges[0], edges[1], edges[2]
