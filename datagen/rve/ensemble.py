"""Cells of one kind at any size: generated one by one, or cut out of a large image."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from datagen.microstructures.microstructure import Microstructure

EXTENSIVE = ("count", "cells", "grains")
"""Arguments of generators that count what is in the cell, and so grow with its volume."""

_ROUNDING = 0.1  # by how much a count may miss the wanted density


class Ensemble:
    """Random cells of one kind: equal voxels and features, any number of voxels.

    Sample i of a size is always the same cell, whatever else is drawn.

    Attributes:
        grid: voxels (nx, ny, nz) of the cell it was described by; other sizes keep its proportions.
        spacing: voxel edges [mm].
        dimension: 2 for one voxel in z, else 3.
    """

    grid: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def dimension(self) -> int:
        """Number of axes along which a cell grows."""
        return sum(n > 1 for n in self.grid)

    def grid_of(self, edge: int) -> tuple[int, int, int]:
        """Voxels of a cell with ``edge`` of them along x; an axis with one voxel keeps it.

        Raises:
            ValueError: an edge that is no integer >= 2, or that cannot keep the proportions.
        """
        if isinstance(edge, bool) or not isinstance(edge, int) or edge < 2:
            raise ValueError(f"edges: got {edge!r}, wanted whole numbers of voxels >= 2")
        exact = [n * edge / self.grid[0] if n > 1 else 1.0 for n in self.grid]
        nx, ny, nz = (round(n) for n in exact)
        if max(abs(n - x) for n, x in zip((nx, ny, nz), exact, strict=True)) > 1e-9:
            shape = "x".join(map(str, self.grid))
            raise ValueError(f"edges: got {edge}, wanted a number of voxels along x that keeps the shape of {shape}")
        return nx, ny, nz

    def volume(self, edge: int) -> float:
        """Volume [mm^3] of a cell with ``edge`` voxels along x, or its area [mm^2] in two dimensions."""
        grid = self.grid_of(edge)
        return math.prod(n * h for n, h in zip(grid, self.spacing, strict=True) if n > 1)

    def describe(self) -> dict[str, object]:
        """What it is, in plain values: two ensembles that are described alike draw the same cells."""
        raise NotImplementedError(f"{type(self).__name__} has no describe")

    def check(self, edge: int, n_samples: int) -> None:
        """Raise ValueError where so many samples of a size cannot be had."""
        self.grid_of(edge)
        if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 2:
            raise ValueError(f"samples: got {n_samples}, wanted at least 2 cells of each size, to see their scatter")

    def draw(self, edge: int, samples: Sequence[int]) -> Microstructure:
        """Some samples of one size, side by side in one object."""
        return side_by_side([self.one(edge, sample) for sample in samples])

    def one(self, edge: int, sample: int) -> Microstructure:
        """One sample."""
        raise NotImplementedError(f"{type(self).__name__} has no one")


class Generated(Ensemble):
    """Each cell from a generator, periodic; counts grow with the volume, lengths stay.

    The stream of a sample belongs to (seed, edge, sample).

    Args:
        generator: a function with arguments ``grid`` and ``seed``, and `functools.partial` of it with all others. Its
            own seed does not count. ``size`` and the counts (`EXTENSIVE`) belong to its grid and are scaled.
        seed: integer >= 0.

    Raises:
        ValueError: a generator without a seed, whose cells would all be the same.

    Example:
        >>> from functools import partial
        >>> from datagen.microstructures.random_fibres import random_fibres
        >>> cells = Generated(partial(random_fibres, grid=16, count=4, fraction=0.3))
        >>> cells.draw(32, [0, 1])
        Microstructure(2 of 32x32x1 voxels, 2 phases, spacing (0.0625, 0.0625, 0.0625) mm)
    """

    def __init__(self, generator: Callable[..., Microstructure], seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}, wanted an integer >= 0")
        name = getattr(generator, "func", generator).__name__
        taken = inspect.signature(getattr(generator, "func", generator)).parameters
        for wanted in ("seed", "grid"):
            if wanted not in taken:
                raise ValueError(
                    f"microstructure: got {name}, which has no {wanted}; wanted a random one that can be drawn at any "
                    f"size, or windows cut from a large one"
                )
        wrong = [key for key in getattr(generator, "keywords", {}) if key not in taken]
        if wrong:
            raise ValueError(f"microstructure: got {wrong[0]} for {name}, wanted arguments among {', '.join(taken)}")
        signature = inspect.signature(generator)
        self.known = {key: p.default for key, p in signature.parameters.items() if p.default is not p.empty}
        if "grid" not in self.known:
            raise ValueError(f"microstructure: got {name} without a grid, wanted one, of which sizes are multiples")
        self.whole = {key: p.annotation not in ("float", float) for key, p in signature.parameters.items()}
        first = generator(**({"n_samples": 1} if "n_samples" in self.known else {}))
        self.generator, self.name, self.seed = generator, name, seed
        self.grid, self.spacing = first.grid, first.spacing

    def describe(self) -> dict[str, object]:
        """See `Ensemble.describe`."""
        arguments = {key: value for key, value in self.known.items() if key not in ("seed", "n_samples")}
        return {"generator": self.name, "seed": self.seed, **arguments}

    def check(self, edge: int, n_samples: int) -> None:
        """See `Ensemble.check`."""
        super().check(edge, n_samples)
        self.one(edge, 0)

    def one(self, edge: int, sample: int) -> Microstructure:
        """See `Ensemble.one`."""
        stream = np.random.SeedSequence((self.seed, edge, sample)).generate_state(1, np.uint32)
        cell = self.generator(**self._arguments(edge), seed=int(stream[0]))
        if not np.allclose(cell.spacing, self.spacing, rtol=1e-6):
            raise ValueError(
                f"microstructure: {self.name} made voxels of {cell.spacing} mm at {edge} voxels along x and of "
                f"{self.spacing} mm at {self.grid[0]}; wanted the same, so that features keep their size"
            )
        return cell

    def _arguments(self, edge: int) -> dict[str, object]:
        """What changes with the size of the cell."""
        grid, own = self.grid_of(edge), self.known["grid"]
        arguments: dict[str, object] = {"grid": edge if isinstance(own, int) else list(grid)[: len(own)]}
        growth = math.prod(grid) / math.prod(self.grid)
        if "n_samples" in self.known:
            arguments["n_samples"] = 1
        if self.known.get("size") is not None:
            arguments["size"] = self.spacing[0] * edge
        for name in EXTENSIVE:
            if self.known.get(name) is None:
                continue
            wanted = self.known[name] * growth
            count: float = round(wanted) if self.whole[name] or abs(wanted - round(wanted)) < 1e-9 * wanted else wanted
            if count <= 0 or abs(count - wanted) > _ROUNDING * wanted:
                raise ValueError(
                    f"edges: got {edge}, which asks for {name} = {wanted:.3g}, from {self.known[name]} at "
                    f"{self.grid[0]} voxels; wanted a size that holds a whole number of them, or nearly"
                )
            arguments[name] = count
        return arguments


class Windows(Ensemble):
    """Cells cut out of large ones, side by side without overlap, in an order drawn at random.

    A window is not periodic, whatever it was cut from. Windows without overlap of one image are not quite independent
    within the correlation length of the phases.

    Args:
        image: what is cut, one sample or several.
        seed: of the order, integer >= 0.

    Example:
        >>> image = Microstructure(torch.arange(64).reshape(8, 8) % 3)
        >>> Windows(image).draw(4, range(4))
        Microstructure(4 of 4x4x1 voxels, 3 phases, spacing (1.0, 1.0, 1.0) mm)
    """

    def __init__(self, image: Microstructure, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}, wanted an integer >= 0")
        self.image, self.seed = image, seed
        self.grid, self.spacing = image.grid, image.spacing

    def describe(self) -> dict[str, object]:
        """See `Ensemble.describe`."""
        tensors = [self.image.phase, *([] if self.image.orientations is None else [self.image.orientations])]
        digest = hashlib.sha256(b"".join(t.cpu().contiguous().numpy().tobytes() for t in tensors)).hexdigest()
        return {"windows of": digest, "grid": list(self.grid), "spacing": list(self.spacing), "seed": self.seed}

    def check(self, edge: int, n_samples: int) -> None:
        """See `Ensemble.check`."""
        super().check(edge, n_samples)
        places = math.prod(self._places(edge))
        if n_samples > places:
            raise ValueError(
                f"samples: got {n_samples} windows of {edge} voxels, wanted at most the {places} that lie apart in "
                f"{self.image.n_samples} of {'x'.join(map(str, self.grid))} voxels"
            )

    def one(self, edge: int, sample: int) -> Microstructure:
        """See `Ensemble.one`."""
        places = self._places(edge)
        order = np.random.default_rng((self.seed, edge)).permutation(math.prod(places))
        s, *corner = (int(k) for k in np.unravel_index(order[sample], places))
        cut = tuple(slice(k * n, (k + 1) * n) for k, n in zip(corner, self.grid_of(edge), strict=True))
        Q = self.image.orientations
        return Microstructure(self.image.phase[s][cut], self.spacing, None if Q is None else Q[s])

    def _places(self, edge: int) -> tuple[int, ...]:
        """How many windows lie in the images and along each axis."""
        grid = self.grid_of(edge)
        return (self.image.n_samples, *(whole // n for whole, n in zip(self.grid, grid, strict=True)))


def side_by_side(cells: Sequence[Microstructure]) -> Microstructure:
    """Cells of one grid as the samples of one object; grains that a sample lacks get the cell's own axes."""
    phase = torch.cat([cell.phase for cell in cells])
    n_phases = int(phase.max()) + 1
    turned = [cell.orientations for cell in cells if cell.orientations is not None]
    if len(turned) != len(cells):
        return Microstructure(phase, cells[0].spacing)
    axes = torch.eye(3, dtype=torch.float64).repeat(len(cells), n_phases, 1, 1)
    for row, Q in zip(axes, turned, strict=True):
        used = min(n_phases, Q.shape[1])
        row[:used] = Q[0, :used]
    return Microstructure(phase, cells[0].spacing, axes)
