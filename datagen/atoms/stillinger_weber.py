"""The Stillinger-Weber potential, of one element or more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms import parameter_file
from datagen.atoms.near import Near, bonds_first, near
from datagen.atoms.potential import Bonds, Potential, Sites

NAMES = ("epsilon", "sigma", "a", "lmbda", "gamma", "costheta0", "A", "B", "p", "q")
ASYMMETRY = 1e-3  # relative: files print 7 digits of products that should be symmetric
GONE = 1e3  # exp(-GONE) is 0 in double precision
SIX = (0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)  # components of a symmetric matrix, as they are listed here
DIRECTIONS = 2**16  # numbers of the changes of the bonds that are worked on together: they stay in the cache


class StillingerWeber(Potential):
    r"""E_i = 1/2 sum_k phi2(r_ik) + sum_{k<l} phi3(r_ik, r_il, cos theta_kil), k and l neighbours of i.

    phi2(r) = A epsilon (B (sigma/r)^p - (sigma/r)^q) exp(sigma/(r - a sigma))
    phi3(r, s, c) = epsilon lmbda (c - costheta0)^2 h(r) h(s), h(r) = exp(gamma sigma/(r - a sigma))

    both zero beyond a sigma, with all their derivatives. (c - costheta0)^2 is a polynomial, so the sum over pairs of
    bonds is one over bonds of the moments sum h, sum h u and sum h u u of unit vectors u: its cost is linear in the
    number of neighbours, and it needs no list of those within the cutoff.

    Of S elements each parameter is a table [i, j, k] of atom i with neighbours j and k: epsilon, lmbda and costheta0
    of a triplet are its own, whatever belongs to a bond is that of [i, j, j]. Tables that order the two bonds of a
    triplet, or the ends of a bond, would make the energy depend on the order of atoms, and are refused.

    Args:
        epsilon: energy [eV].
        sigma: length [A]; 0 for two elements without bonds.
        a: cutoff over sigma.
        lmbda: strength of the three-body term.
        gamma: decay of the three-body term.
        costheta0: cosine of the preferred angle.
        A: strength of the two-body term.
        B: of its repulsion.
        p: exponent of repulsion.
        q: exponent of attraction.
        elements: chemical symbol, S of them with tables.
        masses: [Da], S of them with tables.

    Raises:
        ValueError: parameters of another shape, out of range, or not symmetric.

    Reference:
        F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262, doi:10.1103/PhysRevB.31.5262.
    """

    epsilon: Tensor
    sigma: Tensor
    a: Tensor
    lmbda: Tensor
    gamma: Tensor
    costheta0: Tensor
    A: Tensor
    B: Tensor
    p: Tensor
    q: Tensor

    def __init__(
        self, epsilon: float | Tensor, sigma: float | Tensor, a: float | Tensor, lmbda: float | Tensor,
        gamma: float | Tensor, costheta0: float | Tensor, A: float | Tensor, B: float | Tensor, p: float | Tensor,
        q: float | Tensor, elements: str | Sequence[str] = "Si", masses: float | Sequence[float] = 28.085,
    ) -> None:  # fmt: skip
        super().__init__()
        self.elements = (elements,) if isinstance(elements, str) else tuple(elements)
        self.masses = tuple(map(float, masses)) if isinstance(masses, Sequence) else (float(masses),)
        values = (epsilon, sigma, a, lmbda, gamma, costheta0, A, B, p, q)
        tables = parameter_file.tables(dict(zip(NAMES, values, strict=True)), self.elements, self.masses)
        _check(tables)
        reach = _of_pairs(tables["a"] * tables["sigma"])
        self.cutoff = float(reach.max())
        if not self.cutoff > 0:
            raise ValueError(f"a, sigma: got a cutoff of {self.cutoff}, wanted a positive one")
        # Elements without bonds: a length that no distance is below, and no division by zero.
        bonded = (tables["sigma"] > 0) & (tables["a"] > 0)
        tables["a"] = torch.where(bonded, tables["a"], 0.0)
        tables["sigma"] = torch.where(bonded, tables["sigma"], 1.0)
        tables["gamma"] = torch.where(tables["gamma"] > 0, tables["gamma"], 1.0)
        for name, table in tables.items():
            self.register_buffer(name, table.reshape(()) if len(self.elements) == 1 else table)
        self.whole = {name: _whole(_of_pairs(tables[name])[_of_pairs(bonded)]) for name in ("p", "q")}

    @classmethod
    def from_file(
        cls, path: str | Path, elements: Sequence[str], masses: Sequence[float] | None = None
    ) -> StillingerWeber:
        """Reads LAMMPS's .sw file; its last number, a tolerance that shortens the cutoff, is not used.

        Args:
            path: of the file, or a name to `datagen.atoms.potential_file.find`.
            elements: as the file names them.
            masses: [Da], default those of `parameter_file.MASSES`.

        Raises:
            FileNotFoundError, ValueError: see `parameter_file.read`.
        """
        elements = (elements,) if isinstance(elements, str) else tuple(elements)
        tables = parameter_file.read(path, elements, (*NAMES, "tol"))
        del tables["tol"]
        return cls(**tables, elements=elements, masses=parameter_file.masses_of(elements, masses))

    def forward(self, bonds: Bonds) -> Sites:
        """See `Potential.forward`. Works with bonds and components first in memory, long runs of atoms last."""
        at = self._around(bonds)
        phi, slope, _ = self._two_body(at)
        T, v, flat = self._three_body(at)
        Tu = _applied(T, at.u)
        u_Tu, u_v = _dot(at.u, Tu), _dot(at.u, v)
        weight = u_Tu - 2 * u_v + flat  # d E3/dh: E3 is quadratic in h
        energy = 0.5 * torch.addcmul(phi, at.h, weight).sum(0)
        turn = 2 * at.h * at.inverse
        along = 0.5 * slope + at.h_slope * weight - turn * (u_Tu - u_v)
        gradient = [torch.addcmul(along * at.u[i], turn, Tu[i] - v[i]) for i in range(3)]
        return Sites(energy, at.kept.back(torch.stack(gradient)).movedim((0, 1), (-1, -2)))

    def product(self, bonds: Bonds, direction: Tensor) -> Tensor:
        """See `Potential.product`; closed form, by the moments of the changes.

        With a = dE_i/dr along the bond and t = 2 h/r, the gradient is a u + t w, w = T u - v. Its change under d, with
        e = u . d and du = (d - u e)/r, is

            da u + (a + t T) du + dt w + t N,     N = dT u - dv,
            da = a' e + h' (u . N - u . dv + 2 du . w + sum L c^2 dh) - dt u . w - t (u . N + du . (T u + w)).
        """
        at = self._around(bonds)
        _, slope, bend = self._two_body(at, 2)
        T, v, flat = self._three_body(at)
        h_slope, one_by_r, alone = at.h_slope, at.inverse, self._alone(at)
        h_bend = -h_slope * (at.faster + at.gamma * at.fall)
        Tu = _applied(T, at.u)
        w = [Tu[i] - v[i] for i in range(3)]
        u_w = _dot(at.u, w)
        weight = u_w - _dot(at.u, v) + flat
        h_by_r = at.h * one_by_r
        turn = 2 * h_by_r
        turn_slope = 2 * (h_slope - h_by_r) * one_by_r
        along = 0.5 * slope + h_slope * weight - turn * u_w
        # What multiplies d and e in da, and e in the rest: all that is known before the directions are.
        to_d = [(2 * h_slope * w[i] - turn * (Tu[i] + w[i])) * one_by_r for i in range(3)]
        to_e = 0.5 * bend + h_bend * weight - alone * h_slope * h_slope - turn_slope * u_w - _dot(at.u, to_d)
        aside = [turn_slope * w[i] - (along * at.u[i] + turn * Tu[i]) * one_by_r for i in range(3)]
        along_by_r, turn_by_r, rest = along * one_by_r, turn * one_by_r, h_slope - turn
        first, second = h_slope - h_by_r, 0.5 * h_slope - h_by_r
        changes = []
        for move in direction.movedim((-1, -2), (0, 2)).split(max(1, DIRECTIONS // max(1, at.h.numel())), 1):
            d = at.kept.of(move, 0.0, axis=2)  # (3, C, k, *b, n)
            e = _dot(at.u, d)
            dT, dv, d_flat = self._changed_moments(at, h_slope * e, h_by_r * d, first * e, second * e)
            back = [-part for part in dv]
            N, Td = _applied(dT, at.u, back), _applied(T, d)
            da = _dot(to_d, d, to_e * e)
            da = torch.addcmul(da, h_slope, _dot(at.u, back, d_flat))
            da = torch.addcmul(da, rest, _dot(at.u, N))
            change = [along_by_r * d[i] for i in range(3)]
            for i in range(3):
                for a, b in ((turn_by_r, Td[i]), (aside[i], e), (turn, N[i]), (da, at.u[i])):
                    change[i] = torch.addcmul(change[i], a, b)
            changes.append(at.kept.back(torch.stack(change), axis=2))
        return torch.cat(changes, 1).movedim((0, 2), (-1, -2))

    def _around(self, bonds: Bonds) -> _Around:
        """The bonds within the cutoff, their directions, and what falls off with their lengths."""
        x = bonds.vector.movedim((-1, -2), (0, 1)).contiguous()  # (3, K, *b, n)
        kept = near(x, self.cutoff, worth=0.6)
        x = kept.of(x, 2 * self.cutoff, axis=1)
        r = _dot(x, x).sqrt()
        inverse = 1 / r
        u = (x[0] * inverse, x[1] * inverse, x[2] * inverse)
        other, pair = None, None
        if len(self.elements) > 1:
            other = kept.of(bonds_first(bonds.other, r.dim()).expand(kept.size, *r.shape[1:]), 0)
            pair = bonds.own * len(self.elements) + other
        sigma, gamma = self._bond(self.sigma, pair), self._bond(self.gamma, pair)
        # Where exp(sigma/(r - a sigma)) has long been zero in double precision r is held: nothing divides by zero.
        short = r - self._bond(self.a, pair) * sigma
        inside = short < 0
        s = torch.where(inside, sigma / short.clamp(max=-sigma * gamma.clamp(max=1.0) / GONE), -1.0)
        fall = s * s / sigma  # -ds/dr
        decay = torch.where(inside, torch.exp(s), 0.0)
        h = torch.where(inside, torch.exp(gamma * s), 0.0)
        h_slope = -gamma * fall * h
        return _Around(kept, u, inverse, other, pair, gamma, sigma * inverse, fall, 2 * s / sigma, decay, h, h_slope)

    def _bond(self, table: Tensor, pair: Tensor | None) -> Tensor:
        """A parameter of each bond, () or (K, *b, n)."""
        return table if pair is None else _of_pairs(table).flatten()[pair]

    def _two_body(self, at: _Around, order: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """phi2, its slope and, of order 2, its curvature (else the slope again)."""
        B, p, q = (self._bond(table, at.pair) for table in (self.B, self.p, self.q))
        depth = self._bond(self.epsilon * self.A, at.pair) * at.decay
        repulsion = B * _power(at.x, p, self.whole["p"])
        attraction = _power(at.x, q, self.whole["q"])
        shape = repulsion - attraction
        steep = p * repulsion if self.whole["q"] == 0 else p * repulsion - q * attraction
        phi, slope = depth * shape, -depth * (steep * at.inverse + shape * at.fall)
        if order == 1:
            return phi, slope, slope
        curved = (p * (p + 1) * repulsion - q * (q + 1) * attraction) * at.inverse * at.inverse
        fall = at.fall
        return phi, slope, depth * (shape * fall * (at.faster + fall) + 2 * fall * steep * at.inverse + curved)

    def _three_body(self, at: _Around) -> tuple[Sequence[Tensor], Sequence[Tensor], Tensor]:
        """Of each bond T (six components), v (three) and sum L c^2 h less what the bond itself adds to E3.

        T = sum L h u u, v = sum L c h u over the bonds of the atom; L = epsilon lmbda, c = costheta0. For one element
        they are those of the atom, of length 1 along the bonds.
        """
        hu = [at.h * part for part in at.u]
        T, v, flat = self._moments(at, at.h, [hu[i] * at.u[j] for i, j in SIX], hu)
        return T, v, flat - self._alone(at) * at.h

    def _alone(self, at: _Around) -> Tensor:
        """L (1 - c)^2 of a bond with itself, () or (K, *b, n)."""
        return self._bond(self.epsilon * self.lmbda * (1 - self.costheta0) ** 2, at.pair)

    def _changed_moments(
        self, at: _Around, dh: Tensor, hd: Tensor, first: Tensor, second: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """`_moments` of the changes: of h, of h u = ``hd`` + ``first`` u, of h u u likewise."""
        half = [torch.addcmul(hd[i], second, at.u[i]) for i in range(3)]
        uu = [2 * half[i] * at.u[i] if i == j else torch.addcmul(half[i] * at.u[j], half[j], at.u[i]) for i, j in SIX]
        return self._moments(at, dh, uu, [torch.addcmul(hd[i], first, at.u[i]) for i in range(3)])

    def _moments(
        self, at: _Around, h: Tensor, second: Sequence[Tensor], first: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Sums of L second (six), L c first (three) and L c^2 h over the bonds of the atom, of each of its bonds."""
        strength, c = self.epsilon * self.lmbda, self.costheta0
        weighted = (strength, *second), (strength * c, *first), (strength * c * c, h)
        T, v, (flat,) = ([self._summed(table, part, at) for part in parts] for table, *parts in weighted)
        return T, v, flat

    def _summed(self, table: Tensor, part: Tensor, at: _Around) -> Tensor:
        """sum_k table[i, j, k] part[k] for each bond j of atom i, (*c, K, *b, n), or (*c, 1, *b, n) of one element."""
        axis = -at.h.dim()
        if at.other is None or at.pair is None:
            return table * part.sum(axis, keepdim=True)
        rows = table.flatten(0, 1)
        return sum(
            (rows[:, k][at.pair] * torch.where(at.other == k, part, 0.0).sum(axis, keepdim=True)
             for k in range(len(self.elements))), part.new_zeros(()),
        )  # fmt: skip


class _Around(NamedTuple):
    """Bonds (k, *b, n) of atoms that are within the cutoff."""

    kept: Near
    u: tuple[Tensor, Tensor, Tensor]  # directions
    inverse: Tensor  # 1/r
    other: Tensor | None  # element of the neighbour; None: there is one
    pair: Tensor | None  # elements of both ends, as an index into [i, j] of the tables
    gamma: Tensor
    x: Tensor  # sigma/r
    fall: Tensor  # minus the slope of s = sigma/(r - a sigma)
    faster: Tensor  # minus the slope of ``fall`` over ``fall``, negative
    decay: Tensor  # exp(s), zero beyond the cutoff
    h: Tensor  # exp(gamma s)
    h_slope: Tensor


def _applied(T: Sequence[Tensor], u: Sequence[Tensor] | Tensor, plus: Sequence[Tensor] | None = None) -> list[Tensor]:
    """T u, plus a vector, of a symmetric T."""
    xx, yy, zz, xy, xz, yz = T
    rows = (xx, xy, xz), (xy, yy, yz), (xz, yz, zz)
    return [_dot(row, u, None if plus is None else plus[i]) for i, row in enumerate(rows)]


def _dot(a: Sequence[Tensor] | Tensor, b: Sequence[Tensor] | Tensor, plus: Tensor | None = None) -> Tensor:
    """Product a . b of three components each, plus a number."""
    first = a[0] * b[0] if plus is None else torch.addcmul(plus, a[0], b[0])
    return torch.addcmul(torch.addcmul(first, a[1], b[1]), a[2], b[2])


def _of_pairs(table: Tensor) -> Tensor:
    """[i, j, j] of a table (S, S, S), (S, S)."""
    return table.diagonal(dim1=1, dim2=2)


def _whole(exponents: Tensor) -> int | None:
    """The exponent, where all are one small whole number."""
    first = float(exponents[0])
    return int(first) if first in range(13) and bool((exponents == first).all()) else None


def _power(x: Tensor, exponent: Tensor, whole: int | None) -> Tensor | float:
    """x^exponent, by multiplication for a whole one."""
    if whole is None:
        return x**exponent
    result: Tensor | float = 1.0
    while whole:
        if whole % 2:
            result = result * x
        whole //= 2
        x = x * x if whole else x
    return result


def _check(tables: dict[str, Tensor]) -> None:
    for name in ("epsilon", "sigma", "a", "gamma"):
        if not (tables[name] >= 0).all():
            raise ValueError(f"{name}: got {float(tables[name].min())}, wanted no negative number")
    strength = tables["epsilon"] * tables["lmbda"]
    pairs = {name: _of_pairs(tables[name]) for name in ("epsilon", "sigma", "a", "A", "B", "p", "q")}
    ordered = {"epsilon lmbda": (strength, 1, 2), "costheta0": (tables["costheta0"], 1, 2)}
    for name, (table, one, two) in {**ordered, **{name: (pair, 0, 1) for name, pair in pairs.items()}}.items():
        if not ((table - table.transpose(one, two)).abs() <= ASYMMETRY * table.abs()).all():
            what = "the bonds of a triplet" if table.dim() == 3 else "the ends of a bond"
            raise ValueError(f"{name}: got values that order {what}, wanted the same in either order")
    screened = (_of_pairs(tables["gamma"]) > 0) | (_of_pairs(tables["sigma"]) == 0)
    if (strength[~screened] != 0).any():
        raise ValueError("gamma: got 0 for a bond with a three-body term, wanted a positive number")
