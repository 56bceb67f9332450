"""The space that samplers fill: small strains, or log stretches of the driven components."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, as_measure
from datagen.tensors import MANDEL, from_mandel


class StrainSpace:
    r"""A ball of strains in the space of the driven components, with coordinates whose length is that of the tensor.

    SMALL: the coordinates are the driven Mandel components of eps, their length is |eps| = sqrt(eps : eps).
    FINITE: the coordinates are the Mandel components of the log stretch H = ln U, and F = R exp(H). Directions and
    amplitudes are therefore fair between tension and compression, and no path folds. Without ``rotation`` R = I, which
    loses nothing for an objective law. With it, R = exp(W), whose skew W has up to three more coordinates, the rotation
    vector in radians.

    Args:
        measure: SMALL or FINITE.
        components: driven components; all if None. For FINITE they must contain every component of exp(H): with 12
            also 21, 11 and 22.
        amplitude: largest |eps| or |ln U| (Frobenius norm), > 0.
        rotation: largest angle of the superposed rotation [rad], FINITE only.

    Raises:
        ValueError: components that stretches do not stay in, or a number outside its range.
    """

    def __init__(
        self,
        measure: Measure | str,
        components: Sequence[str] | None = None,
        amplitude: float = 0.1,
        rotation: float = 0.0,
    ) -> None:
        self.measure = as_measure(measure)
        names = self.measure.components if components is None else [str(name) for name in components]
        self._columns = sorted(set(self.measure.columns(names)))
        self.components = tuple(self.measure.components[k] for k in self._columns)
        if not self.components:
            raise ValueError("components: got none, wanted at least one driven component")
        if not (amplitude > 0 and np.isfinite(amplitude)):
            raise ValueError(f"amplitude: got {amplitude}, wanted a strain > 0")
        if not (rotation >= 0 and np.isfinite(rotation)):
            raise ValueError(f"rotation: got {rotation}, wanted an angle >= 0 [rad]")
        self.amplitude, self.rotation = amplitude, rotation
        self._mandel, self._skew = self._columns, []
        if self.measure is Measure.FINITE:
            self._check_closed()
            driven = [(i, j) for i, j in MANDEL if f"{i + 1}{j + 1}" in self.components]
            self._mandel = [MANDEL.index(pair) for pair in driven]
            self._skew = [(i, j) for i, j in driven if i != j] if rotation > 0 else []
        elif rotation > 0:
            raise ValueError(f"rotation: got {rotation}, wanted 0 for SMALL strain, which knows no rotation")
        if rotation > 0 and not self._skew:
            raise ValueError(f"rotation: got {rotation}, wanted 0, for no driven component ({', '.join(names)}) turns")

    def _check_closed(self) -> None:
        pattern = np.zeros((3, 3), dtype=int)
        for name in self.components:
            pattern[int(name[0]) - 1, int(name[1]) - 1] = 1
        missing = ((pattern @ pattern > 0) | (pattern.T > 0)) & (pattern == 0)
        if missing.any():
            i, j = np.argwhere(missing)[0] + 1
            raise ValueError(
                f"components: got {', '.join(self.components)}, wanted also {i}{j}: "
                f"stretches exp(H) of these components reach it"
            )

    @property
    def dimension(self) -> int:
        """Number of coordinates of eps or ln U."""
        return len(self._mandel)

    @property
    def n_coordinates(self) -> int:
        """Number of coordinates with those of the rotation, which come last."""
        return self.dimension + len(self._skew)

    def strain(self, coordinates: Tensor) -> Tensor:
        """Strain (*b, n) at the coordinates (*b, n_coordinates); components that are not driven stay at reference."""
        strain = self.measure.reference(coordinates.dtype).repeat(*coordinates.shape[:-1], 1)
        vector = coordinates.new_zeros(*coordinates.shape[:-1], 6)
        vector[..., self._mandel] = coordinates[..., : self.dimension]
        if self.measure is Measure.SMALL:
            return vector
        F = torch.linalg.matrix_exp(from_mandel(vector))
        if self._skew:
            W = torch.zeros_like(F)
            for k, (i, j) in enumerate(self._skew):
                W[..., i, j] = coordinates[..., self.dimension + k]
                W[..., j, i] = -coordinates[..., self.dimension + k]
            F = torch.linalg.matrix_exp(W) @ F
        strain[..., self._columns] = F.flatten(-2)[..., self._columns]
        return strain

    def scaled(self, coordinates: Tensor) -> Tensor:
        """Paths (b, T, n_coordinates) scaled: each one's largest strain is the amplitude, and its rotation too."""
        parts = []
        for part, size in zip(
            coordinates.split([self.dimension, len(self._skew)], -1), (self.amplitude, self.rotation), strict=True
        ):
            largest = part.norm(dim=-1).amax(1)[:, None, None] if part.shape[-1] else part.new_ones(1)
            parts.append(part * (size / largest))
        return torch.cat(parts, -1)

    def path(self, coordinates: Tensor, duration: float, path_class: str) -> LoadPath:
        """Strain-driven paths through the coordinates (b, T, n_coordinates), in equal time steps."""
        if not (duration > 0 and np.isfinite(duration)):
            raise ValueError(f"duration: got {duration}, wanted a time > 0 [s]")
        dt = torch.tensor(duration / coordinates.shape[1], dtype=torch.float64)
        return LoadPath(self.measure, self.strain(coordinates), self.components, dt=dt, path_class=path_class)


def check_counts(**counts: int) -> None:
    """Raise ValueError for a count that is not an integer >= 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{name}: got {count!r}, wanted an integer >= 1")
