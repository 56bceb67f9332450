r"""What an energy may depend on: objective strain, and its polynomial invariants by material symmetry.

Everything here is a polynomial of the strain e (Mandel: eps at small strain, E_green at finite), zero in the reference
state, so its derivatives exist everywhere, coalescing stretches included. Symmetry axes are the coordinate axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import reduce
from typing import NamedTuple

from datagen.laws.law import Measure
from datagen.tensors import MANDEL, ROW_MAJOR
from surrogate.networks.polynomial import Polynomial, constant, variables

Matrix = list[list[Polynomial]]


class Symmetry(Enum):
    """Material symmetry, with its axes along the coordinate axes."""

    NONE = "none"
    ISOTROPIC = "isotropic"
    CUBIC = "cubic"  # the full group of the cube, m-3m
    ORTHOTROPIC = "orthotropic"  # three mirror planes, mmm


class Cone(Enum):
    """How a convex energy may depend on a group of arguments and stay (poly)convex."""

    FREE = "free"  # linear in what convexity is about: any sign
    INCREASING = "increasing"  # convex in it: not decreasing
    PSD = "psd"  # the Mandel components of a tensor A with G : A convex for positive semi-definite G


class Argument(NamedTuple):
    """A group of arguments that share one scale."""

    polynomials: list[Polynomial]
    cone: Cone


def strain_components(measure: Measure, components: Sequence[str]) -> tuple[str, ...]:
    """Components of eps or E_green that can differ from zero when only ``components`` of the strain are driven."""
    if measure is Measure.SMALL:
        return tuple(name for name in measure.components if name in components)
    driven = {(int(name[0]) - 1, int(name[1]) - 1) for name in components}
    free = driven | {(k, k) for k in range(3)}

    def varies(i: int, j: int) -> bool:
        pairs = [((k, i), (k, j)) for k in range(3)]
        return any(a in free and b in free and (a in driven or b in driven) for a, b in pairs)

    return tuple(f"{i + 1}{j + 1}" for i, j in MANDEL if varies(i, j))


def in_one_plane(components: Sequence[str]) -> bool:
    """Whether the strain components touch at most two of the three axes."""
    return len(set("".join(components))) <= 2


def green_strain() -> list[Polynomial]:
    """E_green (Mandel, 6) in the nine components of H = F - I, row-major: sym H + H^T H / 2."""
    h = dict(zip(ROW_MAJOR, variables(9), strict=True))
    E = [[0.5 * (h[i, j] + h[j, i] + _sum(h[k, i] * h[k, j] for k in range(3))) for j in range(3)] for i in range(3)]
    return _mandel(E)


def det_minus_one() -> Polynomial:
    """Volume change det F - 1 in the nine components of H = F - I, row-major."""
    h = dict(zip(ROW_MAJOR, variables(9), strict=True))
    return _det([[h[i, j] + constant(float(i == j), 9) for j in range(3)] for i in range(3)]).without_constant()


def volume_squared() -> Polynomial:
    """Squared volume change det C_green - 1 = J^2 - 1."""
    return _det(_C_green()).without_constant()


def cofactor_change() -> list[Polynomial]:
    """Mandel components (6) of cof C_green - 1 in those of E_green: C^-1 = cof C / det C."""
    return [p.without_constant() for p in _mandel(_cofactor(_C_green()))]


def trace() -> Polynomial:
    """The trace of e."""
    return _sum(variables(6)[:3])


def strain_invariants(symmetry: Symmetry, measure: Measure, components: Sequence[str]) -> list[Argument]:
    r"""A complete set of polynomial invariants of e, given its components that vary; the same for both measures.

    none: the components. isotropic: tr e, tr e^2, tr e^3. cubic: the nine of m-3m. orthotropic: e_ii, e_ij^2 and
    e_12 e_23 e_31, the invariants of the structural tensors of the three axes.

    Reference:
        A. E. Green, J. E. Adkins, Large Elastic Deformations, 1960, section 1.11 (crystal classes);
        J. P. Boehler, Z. Angew. Math. Mech. 59 (1979) 157, doi:10.1002/zamm.19790590403 (structural tensors).
    """
    e = _strain()
    normal, shear = [e[i][i] for i in range(3)], [e[1][2], e[0][2], e[0][1]]
    squares = [s * s for s in shear]
    if symmetry is Symmetry.NONE:
        return _restricted([Argument(variables(6), Cone.FREE)], components)
    if symmetry is Symmetry.ISOTROPIC:
        e2 = _product(e, e)
        invariants = [_trace(e), _trace(e2), _trace(_product(e2, e))]
    elif symmetry is Symmetry.ORTHOTROPIC:
        invariants = [*normal, *squares, shear[0] * shear[1] * shear[2]]
    else:
        others = [(1, 2), (0, 2), (0, 1)]  # the two axes of each shear
        invariants = [
            _sum(normal),
            _sum(normal[i] * normal[j] for i, j in others),
            _sum(squares),
            normal[0] * normal[1] * normal[2],
            shear[0] * shear[1] * shear[2],
            _sum(squares[k] * (normal[i] + normal[j]) for k, (i, j) in enumerate(others)),
            _sum(squares[i] * squares[j] for i, j in others),
            _sum(squares[k] * (normal[i] * normal[j]) for k, (i, j) in enumerate(others)),
            _sum(normal[k] * (squares[i] * squares[j]) for k, (i, j) in enumerate(others)),
        ]
    if in_one_plane(components):  # two axes: by Cayley-Hamilton those of degree 3 and more depend on the others
        invariants = [p for p in invariants if p.degree < 3]
    return _restricted([Argument([p], Cone.FREE) for p in invariants], components)


def convex_arguments(symmetry: Symmetry, measure: Measure, components: Sequence[str]) -> list[Argument]:
    r"""Arguments of a polyconvex energy besides J (finite strain), or of an energy that is convex in eps (small).

    Finite, of C and cof C: none: both tensors, against positive semi-definite G: G : C = |sqrt(G) F^T|^2;
    isotropic: I1 and I2; cubic: also sum C_ii^2 and sum (cof C)_ii^2; orthotropic: C_ii and (cof C)_ii. With strain in
    one plane cof C adds nothing to C and J and is left out.

    Small: none: eps; isotropic: tr eps, tr eps^2, tr eps^4; cubic: tr eps and the sums of the second and fourth
    powers of normal and shear strains; orthotropic: eps_ii and eps_ij^2.

    Reference:
        J. Schroeder, P. Neff, Int. J. Solids Struct. 40 (2003) 401, doi:10.1016/S0020-7683(02)00458-4;
        J. Schroeder, P. Neff, V. Ebbing, J. Mech. Phys. Solids 56 (2008) 3486, doi:10.1016/j.jmps.2008.08.008.
    """
    if measure is Measure.SMALL:
        return _restricted(_convex_small(symmetry), components)
    tensors = [_C_green()] if in_one_plane(components) else [_C_green(), _cofactor(_C_green())]
    if symmetry is Symmetry.NONE:
        return _restricted([Argument(_mandel(A), Cone.PSD) for A in tensors], components)
    invariants: list[Polynomial] = []
    for A in tensors:
        diagonal = [A[i][i] for i in range(3)]
        if symmetry is Symmetry.ORTHOTROPIC:
            invariants += diagonal
        else:
            invariants += [_sum(diagonal)]
        if symmetry is Symmetry.CUBIC:
            invariants += [_sum(a * a for a in diagonal)]
    return _restricted([Argument([p], Cone.INCREASING) for p in invariants], components)


def _convex_small(symmetry: Symmetry) -> list[Argument]:
    e = _strain()
    normal, squares = [e[i][i] for i in range(3)], [s * s for s in (e[1][2], e[0][2], e[0][1])]
    if symmetry is Symmetry.NONE:
        return [Argument(variables(6), Cone.FREE)]
    if symmetry is Symmetry.ORTHOTROPIC:
        free, increasing = normal, squares
    elif symmetry is Symmetry.ISOTROPIC:
        e2 = _product(e, e)
        free, increasing = [_trace(e)], [_trace(e2), _trace(_product(e2, e2))]
    else:
        second = [a * a for a in normal]
        free = [_sum(normal)]
        increasing = [_sum(second), _sum(squares), _sum(a * a for a in second), _sum(a * a for a in squares)]
    return [Argument([p], Cone.FREE) for p in free] + [Argument([p], Cone.INCREASING) for p in increasing]


def _restricted(arguments: Sequence[Argument], components: Sequence[str]) -> list[Argument]:
    """In the varying components alone, zero in the reference state, without what does not vary."""
    columns = Measure.SMALL.columns(components)
    kept = []
    for argument in arguments:
        polynomials = [p.without_constant().restricted(columns) for p in argument.polynomials]
        if polynomials := [p for p in polynomials if p.terms]:
            kept.append(Argument(polynomials, argument.cone))
    return kept


def _strain() -> Matrix:
    """The tensor e, in its Mandel components."""
    e: dict[tuple[int, int], Polynomial] = {}
    for (i, j), v in zip(MANDEL, variables(6), strict=True):
        e[i, j] = e[j, i] = v if i == j else math.sqrt(0.5) * v
    return [[e[i, j] for j in range(3)] for i in range(3)]


def _C_green() -> Matrix:
    e = _strain()
    return [[2.0 * e[i][j] + constant(float(i == j), 6) for j in range(3)] for i in range(3)]


def _mandel(A: Matrix) -> list[Polynomial]:
    return [A[i][j] if i == j else math.sqrt(2.0) * A[i][j] for i, j in MANDEL]


def _sum(terms: Iterable[Polynomial]) -> Polynomial:
    return reduce(Polynomial.__add__, terms)


def _trace(A: Matrix) -> Polynomial:
    return _sum([A[i][i] for i in range(3)])


def _product(A: Matrix, B: Matrix) -> Matrix:
    return [[_sum(A[i][k] * B[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def _cofactor(A: Matrix) -> Matrix:
    def entry(i: int, j: int) -> Polynomial:
        a, b, c, d = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
        return A[a][c] * A[b][d] - A[a][d] * A[b][c]

    return [[entry(i, j) for j in range(3)] for i in range(3)]


def _det(A: Matrix) -> Polynomial:
    return _sum(A[0][j] * cofactor for j, cofactor in enumerate(_cofactor(A)[0]))
