"""The embedded-atom potential, of one element or an alloy, from the tables of a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datagen.atoms.potential import Bonds, Potential, Sites
from datagen.atoms.potential_file import find
from datagen.atoms.setfl import read_setfl

JUMP = 0.05
"""Slope at the cutoff, of the largest in the outer half of a table, from which the force counts as one that jumps."""

CHUNK = 32768  # bonds at a time on a CPU: what is between the first operation and the last then stays in its cache


class EmbeddedAtom(Potential):
    r"""E_i = F(sum_k rho(r_ik)) + 1/2 sum_k phi(r_ik).

    F is of the element of atom i, rho of the element of atom k (in .eam.fs of both), phi of the two. The tables of F,
    rho and r phi are interpolated by the cubics of LAMMPS (see `cubics`), so answers agree with it to rounding: beyond
    the largest density of the table F goes on along its tangent, below zero density along its first cubic; beyond the
    last distance, should the cutoff be larger, a table keeps its last value, and the force that of its last slope.

    Second derivatives are those of the cubics. They jump from row to row of a table, by percents where its numbers are
    rounded to few digits, so an elastic constant by differences depends on their step.

    Args:
        file: a setfl file, .eam.alloy or .eam.fs: a path, or a name to `datagen.atoms.potential_file.find`.
        elements: those to use of the file; None: all of them. Tables grow with the square of their number.
        kind: "alloy", "fs", or None, see `datagen.atoms.setfl.read_setfl`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an element that the file does not hold, a file that is not setfl or is cut short.

    Reference:
        M. S. Daw, M. I. Baskes, Phys. Rev. B 29 (1984) 6443, doi:10.1103/PhysRevB.29.6443; M. W. Finnis, J. E.
        Sinclair, Philos. Mag. A 50 (1984) 45, doi:10.1080/01418618408244210; https://docs.lammps.org/pair_eam.html.
    """

    pair_columns: (
        Tensor  # (2, 4, N N (n + 1)) coefficients of rho and of r phi/2, lowest power first; zeros at each end
    )
    embedding_rows: Tensor  # (N n_density, 4)

    def __init__(self, file: str | Path, elements: Sequence[str] | None = None, kind: str | None = None) -> None:
        super().__init__()
        path = find(file)
        tables = read_setfl(path, kind)
        if elements is not None:
            if isinstance(elements, str):
                raise ValueError(f"elements: got the text {elements!r}, wanted a list of chemical symbols")
            try:
                tables = tables.of(elements)
            except ValueError as failure:
                raise ValueError(f"{path.name}: {failure}") from None
        self.elements, self.masses, self.cutoff = tables.elements, tables.masses, tables.cutoff
        self.n_r, self.n_density = tables.r_phi.shape[-1], tables.embedding.shape[-1]
        self.per_step, self.per_density_step = 1 / tables.step, 1 / tables.density_step
        both = torch.stack([torch.from_numpy(tables.density), torch.from_numpy(tables.r_phi) / 2], -2)
        columns = torch.nn.functional.pad(cubics(both).movedim((2, 4), (0, 1)), (0, 1))  # (2, 4, N, N, n + 1)
        self.register_buffer("pair_columns", columns.flatten(2).contiguous())
        self.register_buffer("embedding_rows", cubics(torch.from_numpy(tables.embedding)).flatten(0, 1).contiguous())
        if not (self.pair_columns.isfinite().all() and self.embedding_rows.isfinite().all()):
            raise ValueError(f"{path.name}: got numbers too large to interpolate, wanted tables in eV and A")
        self.continuous_force = not self._jumps()

    def forward(self, bonds: Bonds) -> Sites:
        """See `Potential.forward`."""
        shape, vector = bonds.vector.shape[:-1], _flat(bonds.vector)
        sites = vector.shape[1]
        size = max(1, CHUNK // max(1, shape[-1])) if vector.device.type == "cpu" else max(1, sites)
        table, first = self._tables(bonds)
        answers = [
            self._sites(vector[:, k : k + size], _part(table, k, size), _part(first, k, size))
            for k in range(0, sites, size)
        ] or [(vector.new_empty(0), vector)]
        energy, gradient = answers[0]
        if len(answers) > 1:
            energy = torch.cat([answer[0] for answer in answers])
            gradient = torch.cat([answer[1] for answer in answers], 1)
        return Sites(energy.reshape(shape[:-1]), gradient.reshape(3, *shape).movedim(0, -1))

    def product(self, bonds: Bonds, direction: Tensor) -> Tensor:
        """See `Potential.product`; closed form: F'' (rho' . d) rho' and what each bond has of its own."""
        shape = bonds.vector.shape[:-1]
        square = _square(_flat(bonds.vector))
        table, first = self._tables(bonds)
        index, p, inverse = self._bonds(square, table)
        (rho, rho_p, rho_pp), (half, half_p, half_pp) = (
            _cubic([_taken(c, index) for c in columns], p) for columns in self.pair_columns
        )
        rho_r, rho_rr = rho_p * self.per_step, rho_pp * self.per_step**2
        phi_r = (half_p * self.per_step - half * inverse) * inverse
        phi_rr = (half_pp * self.per_step**2 - 2 * phi_r) * inverse
        _, slope, curvature = self._embedding(rho.sum(-1), first)
        pull = (slope[:, None] * rho_r + phi_r) * inverse
        along = slope[:, None] * rho_rr + phi_rr - pull
        rho_r, along, pull, inverse = (v.reshape(shape) for v in (rho_r, along, pull, inverse))
        unit, moved = bonds.vector.movedim(-1, 0) * inverse, direction.movedim(-1, 0)
        stretch = torch.addcmul(torch.addcmul(unit[0] * moved[0], unit[1], moved[1]), unit[2], moved[2])
        change = curvature.reshape(shape[:-1]) * (rho_r * stretch).sum(-1)
        pulled = torch.addcmul(along * stretch, rho_r, change[..., None])
        return torch.addcmul(pull * moved, pulled, unit[:, None]).movedim(0, -1)

    def _jumps(self) -> bool:
        """Whether a table is cut off where it is steep: many in use end with slopes of up to a percent or two."""
        place = min(self.cutoff * self.per_step, self.n_r - 1)
        row = min(math.ceil(place) - 1, self.n_r - 2)
        columns = self.pair_columns.unflatten(2, (-1, self.n_r + 1)).movedim(1, 0)  # (4, 2, N N, n + 1)
        _, end = _value_and_slope(columns[..., row], columns.new_tensor(place - row))
        return bool((end.abs() > JUMP * columns[1, ..., row // 2 : row + 1].abs().amax(-1)).any())

    def _sites(self, vector: Tensor, table: Tensor | None, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energies (m,) and gradients (3, m, K) of bonds (3, m, K)."""
        index, p, inverse = self._bonds(_square(vector), table)
        rho, rho_p = _looked_up(self.pair_columns[0], index, p)
        half, half_p = _looked_up(self.pair_columns[1], index, p)
        half = half * inverse
        embedding, slope, _ = self._embedding(rho.sum(-1), first)
        force = torch.add(-half, half_p, alpha=self.per_step) * inverse
        force = torch.addcmul(force, (slope * self.per_step)[:, None], rho_p)
        return embedding + half.sum(-1), vector * (force * inverse)

    def _bonds(self, square: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the tables, the place within them and the inverse length, (m, K) each."""
        inverse = square.rsqrt()
        r = square * inverse
        place = (r * self.per_step).clamp(max=self.n_r - 1)
        row = place.floor()
        # Beyond the cutoff the row of zeros; so also at nan, where the place makes the answer nan.
        index = torch.where(r < self.cutoff, row.to(torch.int32), self.n_r)
        if table is not None:
            index = index + table
        return index, place - row, inverse

    def _embedding(self, density: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """F, F' and F'' (m,) at densities (m,)."""
        place = density * self.per_density_step
        row = place.floor().clamp(0, self.n_density - 1)
        index = row.to(torch.int32).clamp(0)  # nan becomes anything
        if first is not None:
            index = index + first
        rows = self.embedding_rows.index_select(0, index)
        value, slope, curvature = _cubic(rows.unbind(-1), place - row)
        return value, slope * self.per_density_step, curvature * self.per_density_step**2

    def _tables(self, bonds: Bonds) -> tuple[Tensor | None, Tensor | None]:
        """Where the tables of each bond (m, K) and of each atom (m,) begin; None: there is one element."""
        if len(self.elements) == 1:
            return None, None
        shape = bonds.vector.shape[:-1]
        sites = math.prod(shape[:-1])
        pair = bonds.own[:, None] * len(self.elements) + bonds.other
        table = (pair * (self.n_r + 1)).to(torch.int32).expand(shape).reshape(sites, shape[-1])
        first = (bonds.own * self.n_density).to(torch.int32).expand(shape[:-1]).reshape(sites)
        return table, first


def cubics(values: Tensor) -> Tensor:
    """Coefficients (*b, n, 4), lowest power first, of a table (*b, n) between its points, as LAMMPS takes them.

    In row m, at the fraction p of the way to point m + 1: the cubic with the values and slopes of the two points.
    Slopes are ((f_-2 - f_2) + 8 (f_1 - f_-1))/12, one point from an end (f_1 - f_-1)/2, and one-sided at the end, so
    values are of fourth order in the spacing, in the last two intervals at either end of third and second order, and
    slopes of one order less. The last row is the tangent at the last point.
    """
    slope = torch.empty_like(values)
    slope[..., 0] = values[..., 1] - values[..., 0]
    slope[..., -1] = values[..., -1] - values[..., -2]
    slope[..., 1] = (values[..., 2] - values[..., 0]) / 2
    slope[..., -2] = (values[..., -1] - values[..., -3]) / 2
    wide = values[..., :-4] - values[..., 4:]
    slope[..., 2:-2] = (wide + 8 * (values[..., 3:-1] - values[..., 1:-3])) / 12
    rise, here, there = values.diff(), slope[..., :-1], slope[..., 1:]
    second, third = torch.zeros_like(values), torch.zeros_like(values)
    second[..., :-1] = 3 * rise - 2 * here - there
    third[..., :-1] = here + there - 2 * rise
    return torch.stack([values, slope, second, third], -1)


def _value_and_slope(c: Sequence[Tensor], p: Tensor) -> tuple[Tensor, Tensor]:
    """A cubic and its derivative by p, by Horner's rule for both."""
    quadratic = torch.addcmul(c[2], c[3], p)
    linear = torch.addcmul(c[1], quadratic, p)
    return torch.addcmul(c[0], linear, p), torch.addcmul(linear, torch.addcmul(quadratic, c[3], p), p)


def _looked_up(columns: Tensor, index: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """`_value_and_slope` in rows of a table (4, rows); a column is taken when its turn comes, which the cache likes."""
    third = _taken(columns[3], index)
    quadratic = torch.addcmul(_taken(columns[2], index), third, p)
    turn = torch.addcmul(quadratic, third, p)
    linear = torch.addcmul(_taken(columns[1], index), quadratic, p)
    return torch.addcmul(_taken(columns[0], index), linear, p), torch.addcmul(linear, turn, p)


def _taken(column: Tensor, index: Tensor) -> Tensor:
    return column.index_select(0, index.view(-1)).view(index.shape)


def _cubic(c: Sequence[Tensor], p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same and the second derivative."""
    return *_value_and_slope(c, p), 2 * c[2] + 6 * c[3] * p


def _flat(vector: Tensor) -> Tensor:
    """Bonds (*b, n, K, 3) as (3, m, K): a view where memory allows."""
    *batch, bonds, _ = vector.shape
    return vector.movedim(-1, 0).reshape(3, math.prod(batch), bonds)


def _square(vector: Tensor) -> Tensor:
    x, y, z = vector
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z)


def _part(values: Tensor | None, start: int, size: int) -> Tensor | None:
    return None if values is None else values[start : start + size]
