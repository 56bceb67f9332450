r"""Slip geometry of face-centred cubic crystals, and the exponential of a slip increment.

Inside this room's `slip_increment` the tensor axes come first and the points last: a matrix field is (3, 3, *, N), a
number per slip system (12, *, N), so that a component of all points is contiguous and constant matrices act as one
matrix product. The slip systems are {111}<110>, three on each of the four planes, in crystal axes.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.tensors import cofactor, det, from_mandel, to_mandel

N_SYSTEMS = 12
PLANES = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
DIRECTIONS = ((0, 1, -1), (1, 0, -1), (1, -1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))
SYSTEMS = tuple((m, s) for m in PLANES for s in DIRECTIONS if sum(a * b for a, b in zip(m, s, strict=True)) == 0)
"""Miller indices (plane normal, slip direction) of the twelve systems, three in a row on one plane."""

_P_POWERS, _Q_POWERS = 16, 8  # of the exponential's series; enough for a slip of 5 within one step
LARGEST_SLIP = 5.0


class Geometry(NamedTuple):
    """Constants of the twelve systems, float64; the Schmid tensors are P = s x m."""

    schmid: Tensor  # (12, 9)  P, row-major
    by_direction: Tensor  # (36, 9)  A -> A^T s, rows (3, 12)
    by_normal: Tensor  # (36, 9)  A -> A^T m, rows (3, 12)
    normals: Tensor  # (3, 12)
    directions: Tensor  # (3, 12)
    planes: Tensor  # (4, 12)  1 where a system lies on the plane
    least_slips: Tensor  # (12, 6)  the slips of least square sum that make a deviatoric strain (Mandel)
    series: Tensor  # (9, 128) coefficients of the exponential, see `exponential`
    units: Tensor  # (3, 3, 6) the symmetric matrices whose Mandel vectors are unit vectors


def fcc() -> Geometry:
    """The constants of {111}<110> slip."""
    m = torch.tensor([normal for normal, _ in SYSTEMS], dtype=torch.float64) / math.sqrt(3.0)
    s = torch.tensor([direction for _, direction in SYSTEMS], dtype=torch.float64) / math.sqrt(2.0)
    P, one = s[:, :, None] * m[:, None, :], torch.eye(3, dtype=torch.float64)
    return Geometry(
        schmid=P.flatten(1),
        by_direction=torch.einsum("ak,il->iakl", s, one).reshape(36, 9),
        by_normal=torch.einsum("ak,il->iakl", m, one).reshape(36, 9),
        normals=m.T.contiguous(),
        directions=s.T.contiguous(),
        planes=torch.eye(4, dtype=torch.float64).repeat_interleave(3, 1),
        least_slips=torch.linalg.pinv(to_mandel(P).T),
        series=_series(),
        units=from_mandel(torch.eye(6, dtype=torch.float64)).movedim(0, -1).contiguous(),
    )


def dot(A: Tensor, B: Tensor) -> Tensor:
    """Product of two matrix fields (3, 3, *), which broadcast over their trailing axes."""
    return (A[:, :, None] * B[None]).sum(1)


def transpose(A: Tensor) -> Tensor:
    """Transpose of a matrix field (3, 3, *)."""
    return A.transpose(0, 1)


def trace(A: Tensor) -> Tensor:
    """Trace of a matrix field (3, 3, *)."""
    return A[0, 0] + A[1, 1] + A[2, 2]


def symmetric(A: Tensor) -> Tensor:
    """A + A^T."""
    return A + transpose(A)


def identity(like: Tensor) -> Tensor:
    """Identity that broadcasts against a matrix field (3, 3, *)."""
    one = torch.eye(3, dtype=like.dtype, device=like.device)
    return one.reshape(3, 3, *[1] * (like.dim() - 2))


def mandel(A: Tensor) -> Tensor:
    """Symmetric part of a matrix field (3, 3, *) as Mandel vectors (6, *)."""
    return to_mandel(A.movedim((0, 1), (-2, -1))).movedim(-1, 0)


def determinant(A: Tensor) -> Tensor:
    """Determinant of a matrix field (3, 3, *)."""
    return det(A.movedim((0, 1), (-2, -1)))


def cofactors(A: Tensor) -> Tensor:
    """Cofactor matrices of a matrix field (3, 3, *)."""
    return cofactor(A.movedim((0, 1), (-2, -1))).movedim((-2, -1), (0, 1))


def inverse(A: Tensor) -> Tensor:
    """Inverse of a matrix field (3, 3, *)."""
    return transpose(cofactors(A)) / determinant(A)


def matrices(A: Tensor) -> Tensor:
    """A field (r, c, N) as matrices (N, r, c), each contiguous, which is what batched products and solvers take."""
    return A.permute(2, 0, 1).contiguous()


class Exponential(NamedTuple):
    """X = exp(A) = c_0 1 + c_1 A + c_2 A^2 of a matrix field with trace 0, and what its derivative needs."""

    X: Tensor  # (3, 3, N)
    A: Tensor  # (3, 3, N)
    square: Tensor  # (3, 3, N) A^2
    c: Tensor  # (3, N)
    c_p: Tensor  # (3, N) derivative by p
    c_q: Tensor  # (3, N) derivative by q


def exponential(A: Tensor, geometry: Geometry) -> Exponential:
    r"""exp(A) of a matrix field (3, 3, N) with trace 0; its determinant is 1 to round-off.

    By Cayley and Hamilton A^3 = p A + q 1 with p = 1/2 tr A^2 and q = det A, so exp(A) = c_0 1 + c_1 A + c_2 A^2, and
    the c_i are power series in p and q: a fixed number of terms, no case distinction, and derivatives by p and q from
    the same powers. Good to round-off for |A| up to `LARGEST_SLIP`.
    """
    square = dot(A, A)
    p, q = 0.5 * trace(square), determinant(A)
    monomials = (_powers(p, _P_POWERS)[:, None] * _powers(q, _Q_POWERS)[None]).flatten(0, 1)
    c, c_p, c_q = (geometry.series @ monomials).reshape(3, 3, -1)
    return Exponential(c[0] * identity(A) + c[1] * A + c[2] * square, A, square, c, c_p, c_q)


class SlipDerivatives(NamedTuple):
    """Derivatives of exp(A) by the slips of the twelve systems, A = -sum gamma s x m.

    d exp(A) = c_0' 1 + c_1' A + c_2' A^2 - s x (c_1 m + c_2 A^T m) - c_2 A s x m
    """

    c: Tensor  # (3, 12, N) c_0', c_1', c_2'
    turned: Tensor  # (3, 12, N) A^T m


def derivatives_by_slip(exp: Exponential, geometry: Geometry) -> SlipDerivatives:
    """What the derivatives of exp(A) in the directions -s x m are made of."""
    dp = -(geometry.schmid @ transpose(exp.A).reshape(9, -1))
    dq = -(geometry.schmid @ cofactors(exp.A).reshape(9, -1))
    turned = (geometry.by_normal @ exp.A.reshape(9, -1)).reshape(3, N_SYSTEMS, -1)
    return SlipDerivatives(exp.c_p[:, None] * dp + exp.c_q[:, None] * dq, turned)


def metric_by_slip(exp: Exponential, by: SlipDerivatives, Y: Tensor, geometry: Geometry) -> Tensor:
    """2 sym(d exp(A)^T Y) by the twelve slips, Mandel (6, 12, N), of a matrix field Y (3, 3, N)."""
    terms = Y, dot(transpose(exp.A), Y), dot(transpose(exp.square), Y)
    along = mandel(2 * torch.stack(terms, 2))  # (6, 3, N)
    pulled = exp.c[1] * Y + exp.c[2] * terms[1]
    a, b = ((geometry.by_direction @ x.reshape(9, -1)).reshape(3, N_SYSTEMS, -1) for x in (pulled, exp.c[2] * Y))
    m = geometry.normals[..., None]
    slid = mandel(2 * (m[:, None] * a[None] + by.turned[:, None] * b[None]))
    return along[:, 0, None] * by.c[0] + along[:, 1, None] * by.c[1] + along[:, 2, None] * by.c[2] - slid


def exponential_by_slip(exp: Exponential, by: SlipDerivatives, geometry: Geometry) -> Tensor:
    """Derivatives (3, 3, 12, N) of exp(A) by the twelve slips."""
    s, m = geometry.directions[..., None], geometry.normals[..., None]
    carried = (exp.A[:, :, None] * s[None]).sum(1)  # A s
    slid = s[:, None] * (exp.c[1] * m + exp.c[2] * by.turned)[None] + (exp.c[2] * carried)[:, None] * m[None]
    one = identity(slid)
    return by.c[0] * one + by.c[1] * exp.A[:, :, None] + by.c[2] * exp.square[:, :, None] - slid


def _powers(x: Tensor, count: int) -> Tensor:
    """x^0 ... x^(count - 1), (count, N), count a power of two."""
    powers, step = torch.stack([torch.ones_like(x), x]), x * x
    while len(powers) < count:
        powers, step = torch.cat([powers, powers * step]), step * step
    return powers


def _series() -> Tensor:
    """Coefficients (9, 128) of p^j q^k in c_0, c_1, c_2, in their derivatives by p, and in those by q.

    A^n = a_0 1 + a_1 A + a_2 A^2 with polynomials a_i in p and q: A^(n+1) has a_2 q, a_0 + a_2 p, a_1.
    """
    grid = torch.zeros(3, _P_POWERS + 1, _Q_POWERS + 1, dtype=torch.float64)
    power: list[dict[tuple[int, int], int]] = [{(0, 0): 1}, {}, {}]
    for n in range(2 * _P_POWERS + 3 * _Q_POWERS + 3):
        for i, polynomial in enumerate(power):
            for (j, k), count in polynomial.items():
                if j <= _P_POWERS and k <= _Q_POWERS:
                    grid[i, j, k] += count / math.factorial(n)
        a_0, a_1, a_2 = power
        middle = dict(a_0)
        for (j, k), count in a_2.items():
            middle[j + 1, k] = middle.get((j + 1, k), 0) + count
        power = [{(j, k + 1): count for (j, k), count in a_2.items()}, middle, a_1]
    p_power, q_power = (torch.arange(1.0, size + 1, dtype=torch.float64) for size in (_P_POWERS, _Q_POWERS))
    by_p = grid[:, 1:, :-1] * p_power[:, None]
    by_q = grid[:, :-1, 1:] * q_power
    parts = itertools.chain(grid[:, :-1, :-1], by_p, by_q)
    return torch.stack([part.flatten() for part in parts])
