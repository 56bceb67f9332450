"""The Tersoff potential, of one element or more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datagen.atoms import parameter_file
from datagen.atoms.near import bonds_first, near
from datagen.atoms.potential import Bonds, Potential, Sites

NAMES = ("m", "gamma", "lambda3", "c", "d", "costheta0", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
STEEPEST = 30 * math.log(10)  # exponents of the length difference end here, at 1e30, as in LAMMPS
LOOSE = 1e-16  # a change of the bond order below this is none, as in LAMMPS


class Tersoff(Potential):
    r"""E_i = 1/2 sum_j fC(r_ij) (A exp(-lambda1 r_ij) - b_ij B exp(-lambda2 r_ij)).

    b_ij = (1 + (beta zeta_ij)^n)^(-1/(2 n))
    zeta_ij = sum_{k != j} fC(r_ik) g(cos theta_ijk) exp((lambda3 (r_ij - r_ik))^m)
    g(c0) = gamma (1 + c^2/d^2 - c^2/(d^2 + (c0 - costheta0)^2))
    fC(r) = 1/2 - 1/2 sin(pi/2 (r - R)/D) between R - D and R + D, 1 before, 0 after: its curvature jumps at both.

    The bond order b_ij is that of atom i's own bonds, so the energy of a bond is half at each end. Of S elements each
    parameter is a table [i, j, k] of atom i with neighbours j and k: zeta takes its own from [i, j, k], whatever
    belongs to the bond i-j is that of [i, j, j]. The repulsion must be the same seen from both ends.

    Args:
        m: exponent of the length difference, 1 or 3.
        gamma: strength of the angular term.
        lambda3: decay with the length difference [1/A].
        c: strength of the angle.
        d: sharpness of the angle.
        costheta0: cosine of the preferred angle (h in the papers).
        n: exponent of the bond order.
        beta: strength of the bond order.
        lambda2: decay of the attraction [1/A].
        B: of the attraction [eV].
        R: middle of the cutoff [A].
        D: half width of the cutoff [A].
        lambda1: decay of the repulsion [1/A].
        A: of the repulsion [eV].
        elements: chemical symbol, S of them with tables.
        masses: [Da], S of them with tables.

    Raises:
        ValueError: parameters of another shape, out of range, or a repulsion that is not symmetric.

    Reference:
        J. Tersoff, Phys. Rev. B 38 (1988) 9902, doi:10.1103/PhysRevB.38.9902; of several elements Phys. Rev. B 39
        (1989) 5566, doi:10.1103/PhysRevB.39.5566.
    """

    m: Tensor
    gamma: Tensor
    lambda3: Tensor
    c: Tensor
    d: Tensor
    costheta0: Tensor
    n: Tensor
    beta: Tensor
    lambda2: Tensor
    B: Tensor
    R: Tensor
    D: Tensor
    lambda1: Tensor
    A: Tensor

    def __init__(
        self, m: float | Tensor, gamma: float | Tensor, lambda3: float | Tensor, c: float | Tensor, d: float | Tensor,
        costheta0: float | Tensor, n: float | Tensor, beta: float | Tensor, lambda2: float | Tensor, B: float | Tensor,
        R: float | Tensor, D: float | Tensor, lambda1: float | Tensor, A: float | Tensor,
        elements: str | Sequence[str] = "Si", masses: float | Sequence[float] = 28.085,
    ) -> None:  # fmt: skip
        super().__init__()
        self.elements = (elements,) if isinstance(elements, str) else tuple(elements)
        self.masses = tuple(map(float, masses)) if isinstance(masses, Sequence) else (float(masses),)
        values = (m, gamma, lambda3, c, d, costheta0, n, beta, lambda2, B, R, D, lambda1, A)
        tables = parameter_file.tables(dict(zip(NAMES, values, strict=True)), self.elements, self.masses)
        _check(tables)
        self.cutoff = float((tables["R"] + tables["D"]).max())
        self.cubic = bool((tables["m"] == 3).all())
        self.by_length = bool((tables["lambda3"] != 0).any())
        for name, table in tables.items():
            self.register_buffer(name, table.reshape(()) if len(self.elements) == 1 else table)

    @classmethod
    def from_file(cls, path: str | Path, elements: Sequence[str], masses: Sequence[float] | None = None) -> Tersoff:
        """Reads LAMMPS's .tersoff file.

        Args:
            path: of the file, or a name to `datagen.atoms.potential_file.find`.
            elements: as the file names them.
            masses: [Da], default those of `parameter_file.MASSES`.

        Raises:
            FileNotFoundError, ValueError: see `parameter_file.read`.
        """
        elements = (elements,) if isinstance(elements, str) else tuple(elements)
        tables = parameter_file.read(path, elements, NAMES)
        return cls(**tables, elements=elements, masses=parameter_file.masses_of(elements, masses))

    def forward(self, bonds: Bonds) -> Sites:
        """See `Potential.forward`. The work is K x K, so bonds beyond the cutoff are dropped first."""
        x = bonds.vector.movedim((-1, -2), (0, 1)).contiguous()  # (3, K, *b, n)
        kept = near(x, self.cutoff, worth=0.8)
        pair, triplet = None, None
        if len(self.elements) > 1:
            other = bonds_first(bonds.other, x.dim() - 1).expand(x.shape[1:])
            other = kept.of(other, 0)
            pair = bonds.own * len(self.elements) + other
            triplet = pair[:, None] * len(self.elements) + other
        energy, gradient = self._sites(kept.of(x, 2 * self.cutoff, axis=1), pair, triplet)
        return Sites(energy, kept.back(gradient).movedim((0, 1), (-1, -2)))

    def _sites(self, x: Tensor, pair: Tensor | None, triplet: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy (*b, n) and gradient (3, K, *b, n) of bonds x, j along the first K and k along the second."""
        r = (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]).sqrt()
        inverse = 1 / r
        u = x * inverse
        cut, cut_slope = _smooth_step(r, self._bond(self.R, pair), self._bond(self.D, pair))
        lambda1, lambda2 = self._bond(self.lambda1, pair), self._bond(self.lambda2, pair)
        repulsion = self._bond(self.A, pair) * torch.exp(-lambda1 * r)
        attraction = self._bond(self.B, pair) * torch.exp(-lambda2 * r)

        cosine = torch.addcmul(torch.addcmul(u[0][:, None] * u[0], u[1][:, None], u[1]), u[2][:, None], u[2])
        third, third_slope = cut, cut_slope
        if triplet is not None:  # fC(r_ik) of the triplet, not of the bond
            third, third_slope = _smooth_step(r, self._angle(self.R, triplet), self._angle(self.D, triplet))
        apart = 1 - torch.eye(len(r), dtype=r.dtype, device=r.device).reshape(*[len(r)] * 2, *[1] * (r.dim() - 1))
        third, third_slope = third * apart, third_slope * apart  # a bond is no neighbour of itself
        g, g_slope = self._angular(cosine, triplet)
        steep = None
        if self.by_length:
            stretch, steep = self._length(r, triplet)
            g, g_slope = g * stretch, g_slope * stretch
        share = third * g
        order, order_slope = self._bond_order(share.sum(1), pair)

        energy = 0.5 * (cut * (repulsion - order * attraction)).sum(0)
        force = cut_slope * (repulsion - order * attraction) - cut * (
            lambda1 * repulsion - order * lambda2 * attraction
        )
        loosening = (-0.5 * cut * attraction * order_slope)[:, None]  # dE/d zeta_ij
        radial = 0.5 * force + (loosening * third_slope * g).sum(0)
        if steep is not None:
            by_length = loosening * share * steep
            radial = radial + by_length.sum(1) - by_length.sum(0)
        turn = loosening * third * g_slope  # dE/d cos
        turn = turn + turn.transpose(0, 1)
        across = torch.stack([(turn * part).sum(1) for part in u])  # (3, K, *b, n)
        gradient = (radial - (turn * cosine).sum(1) * inverse) * u + across * inverse
        return energy, gradient

    def _bond(self, table: Tensor, pair: Tensor | None) -> Tensor:
        """A parameter of each bond, () or (K, *b, n)."""
        return table if pair is None else table.diagonal(dim1=1, dim2=2).flatten()[pair]

    def _angle(self, table: Tensor, triplet: Tensor | None) -> Tensor:
        """A parameter of each pair of bonds, () or (K, K, *b, n)."""
        return table if triplet is None else table.flatten()[triplet]

    def _angular(self, cosine: Tensor, triplet: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value and slope by cos of g; the difference of its two fractions is taken on paper: c^2/d^2 is large."""
        away = cosine - self._angle(self.costheta0, triplet)
        square = self.d * self.d
        bounded = 1 / (self._angle(square, triplet) + away * away)
        lift = self._angle(self.gamma * self.c * self.c, triplet) * bounded
        g = self._angle(self.gamma, triplet) + lift * away * away / self._angle(square, triplet)
        return g, 2 * lift * bounded * away

    def _length(self, r: Tensor, triplet: Tensor | None) -> tuple[Tensor, Tensor]:
        """exp((lambda3 (r_ij - r_ik))^m), and its slope by r_ij over itself."""
        lambda3 = self._angle(self.lambda3, triplet)
        x = lambda3 * (r[:, None] - r)
        square = x * x
        exponent, slope = x * square, 3 * lambda3 * square
        if not self.cubic:
            cubic = self._angle(self.m, triplet) == 3
            exponent, slope = torch.where(cubic, exponent, x), torch.where(cubic, slope, lambda3)
        slope = torch.where(exponent.abs() < STEEPEST, slope, 0.0)
        return torch.exp(exponent.clamp(-STEEPEST, STEEPEST)), slope

    def _bond_order(self, zeta: Tensor, pair: Tensor | None) -> tuple[Tensor, Tensor]:
        """Value and slope by zeta of b, by logarithms: no power overflows. Of a lone bond they are 1 and 0."""
        n, beta = self._bond(self.n, pair), self._bond(self.beta, pair)
        x = beta * zeta
        bound = x > (2 * n * LOOSE) ** (1 / n)
        log_power = n * torch.where(bound, x, 1.0).log()
        total = log_power.clamp(min=0) + torch.log1p(torch.exp(-log_power.abs()))  # log(1 + x^n)
        order = torch.exp(-0.5 * total / n)
        slope = -0.5 * beta * order * torch.exp(log_power - total) / torch.where(bound, x, 1.0)
        return torch.where(bound, order, 1.0), torch.where(bound, slope, 0.0)


def _smooth_step(r: Tensor, R: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope of fC."""
    x = (0.5 * math.pi / D) * (r - R)
    held = x.clamp(-0.5 * math.pi, 0.5 * math.pi)
    slope = torch.where(x.abs() < 0.5 * math.pi, (-0.25 * math.pi / D) * torch.cos(held), 0.0)
    return torch.where(x < 0.5 * math.pi, 0.5 - 0.5 * torch.sin(held), 0.0), slope


def _check(tables: dict[str, Tensor]) -> None:
    if not ((tables["m"] == 1) | (tables["m"] == 3)).all():
        raise ValueError(f"m: got {sorted(set(tables['m'].flatten().tolist()))}, wanted 1 or 3")
    for name in ("d", "R", "D"):
        if not (tables[name] > 0).all():
            raise ValueError(f"{name}: got {float(tables[name].min())}, wanted a positive number")
    if not (tables["D"] <= tables["R"]).all():
        raise ValueError("D: got a width above R, wanted at most R")
    pairs = {name: tables[name].diagonal(dim1=1, dim2=2) for name in ("n", "beta", "A", "lambda1", "R", "D")}
    for name in ("n", "beta"):
        if not ((pairs[name] >= 0) if name == "beta" else (pairs[name] > 0)).all():
            raise ValueError(f"{name}: got {float(pairs[name].min())} for a bond, wanted a positive number")
    for name in ("A", "lambda1", "R", "D"):
        if not (pairs[name] == pairs[name].T).all():
            raise ValueError(f"{name}: got values that order the ends of a bond, wanted the same in either order")
