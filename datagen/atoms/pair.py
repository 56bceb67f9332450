"""Pair potentials: an atom's energy is half the sum over its bonds of a function of their length."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from datagen.atoms.potential import Bonds, Potential, Sites

Table = float | Sequence[Sequence[float]]
"""A number for every pair of elements, or a symmetric table (m, m) over them."""


class Truncation(Enum):
    """What is done to a pair function phi(r) at the cutoff rc. In brackets what LAMMPS calls it.

    cut: phi, and nothing beyond; energy and force jump. [lj/cut]
    shifted: phi - phi(rc); the force jumps. [lj/cut with pair_modify shift yes]
    force_shifted: phi - phi(rc) - (r - rc) phi'(rc); energy and force are continuous, its slope jumps.
        [lj/smooth/linear, morse/smooth/linear]
    smooth: phi plus a constant up to an inner radius ri; from there to rc the force is the cubic polynomial that
        continues the force and its slope at ri and takes both to zero at rc. With T = rc - ri, u = (rc - r)/T, the
        force f = -phi'(ri) and a = -T phi''(ri),
            -phi'(r) = u^2 ((3 - 2 u) f + (1 - u) a),
            phi(r) = T u^3 ((f + a/3) - u (f/2 + a/4)),
        so energy, force and its slope are continuous. [lj/smooth with pair_modify shift yes]
    """

    CUT = "cut"
    SHIFTED = "shifted"
    FORCE_SHIFTED = "force_shifted"
    SMOOTH = "smooth"


class PairPotential(Potential):
    """E_i = 1/2 sum_k phi(r_ik), phi of the two elements, truncated.

    phi is used as a function w(s) = phi(r) of the square s = r^2: dE_i/dr_ik = w'(s) r_ik, without a root or a
    quotient. A subclass names its parameters and implements `pair`. Energy and gradient are differentiable with respect
    to the parameters, which are buffers () of one element, (m, m) of m.

    Args:
        elements: chemical symbol, or m of them.
        masses: of the elements [Da].
        cutoff: [A], a number or a table.
        truncation: "cut", "shifted", "force_shifted" or "smooth", see `Truncation`.
        inner: radius from which "smooth" acts [A], a number or a table; None with the others.
        parameters: of phi, each a number or a table.

    Raises:
        ValueError: a table of another shape or not symmetric, radii that are not 0 < inner < cutoff.
    """

    names: ClassVar[tuple[str, ...]]  # of the parameters, in the order in which `pair` takes them
    cutoffs: Tensor  # () or (m, m) [A]
    inner: Tensor | None  # () or (m, m) [A]

    def __init__(
        self,
        elements: str | Sequence[str],
        masses: float | Sequence[float],
        cutoff: Table,
        truncation: str | Truncation,
        inner: Table | None,
        **parameters: Table,
    ) -> None:
        super().__init__()
        self.elements = (elements,) if isinstance(elements, str) else tuple(elements)
        self.masses = tuple(float(mass) for mass in ([masses] if isinstance(masses, int | float) else masses))
        if len(set(self.elements)) != len(self.elements) or len(self.masses) != len(self.elements):
            raise ValueError(
                f"elements, masses: got {self.elements} and {self.masses}, wanted different elements and a mass of each"
            )
        if not all(mass > 0 for mass in self.masses):
            raise ValueError(f"masses: got {self.masses}, wanted positive masses [Da]")
        self.truncation = _truncation(truncation)
        self.continuous_force = self.truncation in (Truncation.FORCE_SHIFTED, Truncation.SMOOTH)
        for name in self.names:
            self.register_buffer(name, self._table(name, parameters[name]))
        self.register_buffer("cutoffs", self._table("cutoff", cutoff))
        self.cutoff = float(self.cutoffs.max())
        if (inner is not None) != (self.truncation is Truncation.SMOOTH):
            raise ValueError(f"inner: got {inner}, wanted a radius with truncation 'smooth' and None with the others")
        self.register_buffer("inner", None if inner is None else self._table("inner", inner))
        if not (self.cutoffs > 0).all():
            raise ValueError(f"cutoff: got {cutoff}, wanted a positive distance [A]")
        if self.inner is not None and not ((self.inner > 0) & (self.inner < self.cutoffs)).all():
            raise ValueError(f"inner: got {inner}, wanted between 0 and the cutoff, {cutoff}")

    def pair(self, square: Tensor, order: int, *parameters: Tensor) -> tuple[Tensor, ...]:
        """w(s) and its first ``order`` (1 or 2) derivatives [eV/A^2, eV/A^4], of squares s [A^2], before truncation."""
        raise NotImplementedError(f"{type(self).__name__} has no pair function")

    def forward(self, bonds: Bonds) -> Sites:
        """See `Potential.forward`."""
        energy, pull = self._truncated(bonds, 1)
        return Sites(0.5 * energy.sum(-1), pull[..., None] * bonds.vector)

    def product(self, bonds: Bonds, direction: Tensor) -> Tensor:
        """See `Potential.product`: w'(s) d + 2 w''(s) (r . d) r, bond by bond."""
        _, pull, bend = self._truncated(bonds, 2)
        along = bend * _dot(bonds.vector, direction)
        return pull[..., None] * direction + (2 * along)[..., None] * bonds.vector

    def _truncated(self, bonds: Bonds, order: int) -> tuple[Tensor, ...]:
        """w, w' and, of order 2, w'' of bonds as they are truncated, (*b, n, K) each."""
        square = _dot(bonds.vector, bonds.vector)
        cutoff, ends, parameters = self._of_bonds(bonds)
        values = self.pair(square, order, *parameters)
        match self.truncation:
            case Truncation.SHIFTED:
                values = (values[0] - ends[0], *values[1:])
            case Truncation.FORCE_SHIFTED:
                values = _force_shifted(square, values, cutoff, *ends)
            case Truncation.SMOOTH:
                values = _smooth(square, values, cutoff, *ends)
        # All is finite beyond the cutoff, and a product costs a fifth of a choice.
        inside = (square < cutoff * cutoff).to(square.dtype)
        return tuple(value * inside for value in values)

    def _of_bonds(self, bonds: Bonds) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Cutoff, what its truncation needs, and parameters: () of one element, otherwise as `Bonds.other`."""
        parameters = [getattr(self, name) for name in self.names]
        tables = [self.cutoffs, *parameters, *self._ends(parameters)]
        if len(self.elements) > 1:
            which = bonds.own[:, None] * len(self.elements) + bonds.other
            tables = list(torch.stack([table.flatten() for table in tables])[:, which])
        return tables[0], tables[len(parameters) + 1 :], tables[1 : len(parameters) + 1]

    def _ends(self, parameters: list[Tensor]) -> list[Tensor]:
        """Constants of the truncation, () or (m, m): what `_force_shifted` and `_smooth` take last."""
        if self.truncation is Truncation.CUT:
            return []
        if self.inner is None:
            end, pull = self.pair(self.cutoffs**2, 1, *parameters)
            return [end] if self.truncation is Truncation.SHIFTED else [end, 2 * self.cutoffs * pull]
        width, square = self.cutoffs - self.inner, self.inner**2
        value, pull, bend = self.pair(square, 2, *parameters)
        force, slope = -2 * self.inner * pull, -width * (2 * pull + 4 * square * bend)
        cubic, quartic = width * (force + slope / 3), width * (force / 2 + slope / 4)
        return [value - cubic + quartic, self.inner, width, cubic, quartic]

    def _table(self, name: str, value: Table) -> Tensor:
        """A number or table as a buffer, () of one element, (m, m) of m."""
        m = len(self.elements)
        try:
            table = torch.tensor(value.tolist() if isinstance(value, Tensor) else value, dtype=torch.float64)
        except (TypeError, ValueError):  # rows of different lengths, or no numbers
            table = torch.empty(0)
        if (
            table.shape not in ((), (m, m))
            or not table.isfinite().all()
            or not torch.equal(table, table.mT if table.dim() else table)
        ):
            raise ValueError(
                f"{name}: got {value}, wanted a number, or {m} rows of {m}, as many as elements, symmetric and finite"
            )
        return table.reshape(()) if m == 1 else table.expand(m, m).clone()


def _force_shifted(s: Tensor, values: tuple[Tensor, ...], cutoff: Tensor, end: Tensor, slope: Tensor) -> tuple:
    """Values of w less those of phi(rc) + (r - rc) phi'(rc)."""
    one_by_r = s.rsqrt()
    half = (0.5 * slope) * one_by_r
    shifted = (values[0] - (end - slope * cutoff) - slope * (s * one_by_r), values[1] - half)
    return shifted if len(values) == 2 else (*shifted, values[2] + 0.5 * half / s)


def _smooth(
    s: Tensor, values: tuple[Tensor, ...], cutoff: Tensor, shift: Tensor, inner: Tensor, width: Tensor,
    cubic: Tensor, quartic: Tensor,
) -> tuple:  # fmt: skip
    """Values of w less a shift within the inner radius, beyond it those of u^3 (cubic - u quartic)."""
    one_by_r = s.rsqrt()
    u = (cutoff - s * one_by_r) / width
    core = s < inner * inner
    square, quarter = u * u, u * quartic
    energy = torch.where(core, values[0] - shift, square * u * (cubic - quarter))
    tail = square * (4 * quarter - 3 * cubic) * one_by_r * (0.5 / width)
    pull = torch.where(core, values[1], tail)
    if len(values) == 2:
        return energy, pull
    curvature = u * (6 * cubic - 12 * quarter) / (width * width)
    return energy, pull, torch.where(core, values[2], (curvature - 2 * tail) / (4 * s))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of vectors (*b, 3)."""
    (x, y, z), (u, v, w) = a.unbind(-1), b.unbind(-1)
    return torch.addcmul(torch.addcmul(x * u, y, v), z, w)


def _truncation(name: str | Truncation) -> Truncation:
    try:
        return Truncation(name)
    except ValueError:
        known = ", ".join(each.value for each in Truncation)
        raise ValueError(f"truncation: got {name!r}, wanted one of {known}") from None


def not_negative(name: str, value: Tensor) -> None:
    """Raises ValueError unless all of a parameter is positive or zero."""
    if not bool((value >= 0).all()):
        raise ValueError(f"{name}: got {value.tolist()}, wanted no negative number")


def positive(name: str, value: Tensor) -> None:
    """Raises ValueError unless all of a parameter is positive."""
    if not bool((value > 0).all()):
        raise ValueError(f"{name}: got {value.tolist()}, wanted positive")
