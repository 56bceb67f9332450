"""The Stillinger-Weber potential, of one element or more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datagen.atoms import parameter_file
from datagen.atoms.near import bonds_first, near
from datagen.atoms.potential import Bonds, Potential, Sites

NAMES = ("epsilon", "sigma", "a", "lmbda", "gamma", "costheta0", "A", "B", "p", "q")
ASYMMETRY = 1e-3  # relative: files print 7 digits of products that should be symmetric
GONE = 1e3  # exp(-GONE) is 0 in double precision


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
            path: of the file.
            elements: as the file names them.
            masses: [Da], default those of `parameter_file.MASSES`.

        Raises:
            ValueError: see `parameter_file.read`.
        """
        elements = (elements,) if isinstance(elements, str) else tuple(elements)
        tables = parameter_file.read(path, elements, (*NAMES, "tol"))
        del tables["tol"]
        return cls(**tables, elements=elements, masses=parameter_file.masses_of(elements, masses))

    def forward(self, bonds: Bonds) -> Sites:
        """See `Potential.forward`. Works with bonds and components first in memory, long runs of atoms last."""
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
        phi, slope = self._two_body(sigma * inverse, inverse, decay, fall, pair)
        h = torch.where(inside, torch.exp(gamma * s), 0.0)
        Tu, v, flat = self._three_body(h, u, bonds.own, other)
        u_Tu, u_v = _dot(u, Tu), _dot(u, v)
        weight = u_Tu - 2 * u_v + flat  # d E3/dh: E3 is quadratic in h
        energy = 0.5 * torch.addcmul(phi, h, weight).sum(0)
        turn = 2 * h * inverse
        along = 0.5 * slope - gamma * fall * h * weight - turn * (u_Tu - u_v)
        gradient = [torch.addcmul(along * u[i], turn, Tu[i] - v[i]) for i in range(3)]
        return Sites(energy, kept.back(torch.stack(gradient)).movedim((0, 1), (-1, -2)))

    def _bond(self, table: Tensor, pair: Tensor | None) -> Tensor:
        """A parameter of each bond, () or (K, *b, n)."""
        return table if pair is None else _of_pairs(table).flatten()[pair]

    def _two_body(
        self, x: Tensor, inverse: Tensor, decay: Tensor, fall: Tensor, pair: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """phi2 and its slope, at x = sigma/r."""
        B, p, q = (self._bond(table, pair) for table in (self.B, self.p, self.q))
        depth = self._bond(self.epsilon * self.A, pair) * decay
        repulsion = B * _power(x, p, self.whole["p"])
        shape = repulsion - _power(x, q, self.whole["q"])
        steep = p * repulsion if self.whole["q"] == 0 else p * repulsion - q * (repulsion - shape)
        return depth * shape, -depth * (steep * inverse + shape * fall)

    def _three_body(
        self, h: Tensor, u: Sequence[Tensor], own: Tensor, other: Tensor | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor], Tensor]:
        """Of each bond T.u and v, three components each, and sum L c^2 h less what the bond itself adds to E3.

        T = sum L h u u, v = sum L c h u over the bonds of the atom; L = epsilon lmbda, c = costheta0. For one element
        v is that of the atom, of length 1 along the bonds.
        """
        hu = [h * part for part in u]
        both = [hu[i] * u[j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
        strength, c = self.epsilon * self.lmbda, self.costheta0
        if other is None:
            T = [strength * part.sum(0, keepdim=True) for part in both]
            v = [strength * c * part.sum(0, keepdim=True) for part in hu]
            flat = strength * (c * c * h.sum(0, keepdim=True) - (1 - c) ** 2 * h)
        else:
            kind = own * len(self.elements) + other
            kinds = torch.arange(len(self.elements), device=own.device).reshape(-1, *[1] * h.dim())
            mask = (other == kinds).to(h.dtype)  # (S, K, *b, n)
            T = [self._mixed(strength, mask * part, kind) for part in both]
            v = [self._mixed(strength * c, mask * part, kind) for part in hu]
            flat = self._mixed(strength * c * c, mask * h, kind) - self._bond(strength * (1 - c) ** 2, kind) * h
        xx, yy, zz, xy, xz, yz = T
        return (_dot((xx, xy, xz), u), _dot((xy, yy, yz), u), _dot((xz, yz, zz), u)), v, flat

    @staticmethod
    def _mixed(table: Tensor, parts: Tensor, kind: Tensor) -> Tensor:
        """sum_b table[i, j, b] sum_k parts[b, k] for each bond j of atom i, (K, *b, n)."""
        moments = parts.sum(1)  # (S, *b, n)
        rows = table.flatten(0, 1)[kind]  # (K, *b, n, S)
        return (rows.movedim(-1, 0) * moments[:, None]).sum(0)


def _dot(a: Sequence[Tensor] | Tensor, b: Sequence[Tensor] | Tensor) -> Tensor:
    """Product a . b of three components each."""
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


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
