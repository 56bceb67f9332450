"""Polynomials in the components of a strain, with exact derivatives, evaluated for a batch as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Polynomial:
    """A polynomial in a fixed number of variables: ``terms`` maps the exponents of a monomial to its coefficient."""

    def __init__(self, terms: Mapping[tuple[int, ...], float]) -> None:
        self.terms = {exponents: float(c) for exponents, c in terms.items() if c != 0}

    def __add__(self, other: Polynomial) -> Polynomial:
        terms = dict(self.terms)
        for exponents, c in other.terms.items():
            terms[exponents] = terms.get(exponents, 0.0) + c
        return Polynomial(terms)

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + (-1.0) * other

    def __mul__(self, other: Polynomial) -> Polynomial:
        terms: dict[tuple[int, ...], float] = {}
        for a, c in self.terms.items():
            for b, d in other.terms.items():
                exponents = tuple(i + j for i, j in zip(a, b, strict=True))
                terms[exponents] = terms.get(exponents, 0.0) + c * d
        return Polynomial(terms)

    def __rmul__(self, factor: float) -> Polynomial:
        return Polynomial({exponents: factor * c for exponents, c in self.terms.items()})

    @property
    def degree(self) -> int:
        """Largest total degree of its monomials."""
        return max((sum(exponents) for exponents in self.terms), default=0)

    def derivative(self, variable: int) -> Polynomial:
        """Partial derivative."""
        return Polynomial(
            {
                (*e[:variable], e[variable] - 1, *e[variable + 1 :]): c * e[variable]
                for e, c in self.terms.items()
                if e[variable]
            }
        )

    def restricted(self, variables: Sequence[int]) -> Polynomial:
        """The polynomial where all but ``variables`` are zero, in those variables alone."""
        rest = set(range(len(next(iter(self.terms), ())))) - set(variables)
        return Polynomial(
            {tuple(e[i] for i in variables): c for e, c in self.terms.items() if not any(e[i] for i in rest)}
        )

    def without_constant(self) -> Polynomial:
        """The polynomial less its value at zero."""
        return Polynomial({e: c for e, c in self.terms.items() if any(e)})


def variables(n: int) -> list[Polynomial]:
    """The ``n`` variables themselves."""
    return [Polynomial({tuple(int(i == k) for i in range(n)): 1.0}) for k in range(n)]


def constant(value: float, n: int) -> Polynomial:
    """A constant, as a polynomial in ``n`` variables."""
    return Polynomial({(0,) * n: value})


class PolynomialMap(torch.nn.Module):
    """Polynomials p(v) of ``n`` variables with gradient and Hessian: monomials of the batch times three tables.

    The derivatives are differentiated as polynomials at construction, so they are exact, and every monomial that they
    share is evaluated once.

    Args:
        polynomials: in ``n`` variables each.
        n: number of variables.
    """

    def __init__(self, polynomials: Sequence[Polynomial], n: int) -> None:
        super().__init__()
        first = [p.derivative(i) for p in polynomials for i in range(n)]
        second = [p.derivative(i) for p in first for i in range(n)]
        everything = [*polynomials, *first, *second]
        monomials = sorted({e for p in everything for e in p.terms} | {(0,) * n}, key=lambda e: (sum(e), e))
        row = {e: k for k, e in enumerate(monomials)}
        degree = max(sum(e) for e in monomials)
        # A monomial as a product of `degree` factors out of (1, v): factor 0 fills up the shorter ones.
        factors = torch.zeros(max(degree, 1), len(monomials), dtype=torch.int64)
        for k, e in enumerate(monomials):
            for d, i in enumerate([i for i, power in enumerate(e) for _ in range(power)]):
                factors[d, k] = i + 1
        self.n, self.n_values = n, len(polynomials)
        self.register_buffer("factors", factors, persistent=False)
        for name, family in {"_values": polynomials, "_first": first, "_second": second}.items():
            table = torch.zeros(len(monomials), len(family), dtype=torch.float64)
            for column, p in enumerate(family):
                for e, c in p.terms.items():
                    table[row[e], column] = c
            self.register_buffer(name, table, persistent=False)

    factors: Tensor
    _values: Tensor
    _first: Tensor
    _second: Tensor

    def forward(self, v: Tensor, curvature: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (*b, p), gradient (*b, p, n) and, if asked for, Hessian (*b, p, n, n)."""
        padded = torch.cat([torch.ones_like(v[..., :1]), v], -1)
        monomials = padded[..., self.factors[0]]
        for factor in self.factors[1:]:
            monomials = monomials * padded[..., factor]
        p, n = self.n_values, self.n
        gradient = (monomials @ self._first).unflatten(-1, (p, n))
        hessian = (monomials @ self._second).unflatten(-1, (p, n, n)) if curvature else None
        return monomials @ self._values, gradient, hessian
