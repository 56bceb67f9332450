r"""Isotropic functions of symmetric 3x3 tensors, in closed form and sound where eigenvalues coincide.

An isotropic function acts on the eigenvalues and keeps the frame: f(A) = Q diag(f(a_i)) Q^T. Its derivative, and its
value in a frame that is off by an angle of rounding size, need no more than its divided differences,

    d f(A) = Q [f[a_i, a_j] (Q^T dA Q)_ij] Q^T,   f[x, y] = (f(x) - f(y)) / (x - y),  f[x, x] = f'(x),

which stay finite when eigenvalues meet, as the derivatives of the eigenvectors do not. So the frame here is a constant:
it is not differentiated, and what it leaves of A off the diagonal, zero but for rounding, carries the derivative. Every
function of this file can be differentiated once, by forward or reverse mode, at any A; a second derivative taken by
automatic differentiation would miss the terms of second order.

Functions are taken of I + A, so that a nearly undeformed body does not lose digits.

Reference:
    W. M. Scherzinger, C. R. Dohrmann, Comput. Methods Appl. Mech. Engrg. 197 (2008) 4007,
    doi:10.1016/j.cma.2008.03.031 (eigenvectors from the most distinct eigenvalue);
    R. Bhatia, Matrix Analysis, 1997, theorem V.3.3 (derivative by divided differences).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.tensors import matmul, matrix, stack

# The off-diagonal entries in the order of Mandel vectors.
SHEARS = ((1, 2), (0, 2), (0, 1))


class Frame(NamedTuple):
    """A symmetric tensor in its eigenframe; differentiable in ``values`` and ``off``, not in ``Q``."""

    values: Tensor  # (*b, 3)    eigenvalues, in the order of the columns of Q (the most distinct first)
    off: Tensor  # (*b, 3)    entries 23 13 12 of Q^T A Q: rounding errors
    Q: Tensor  # (*b, 3, 3) eigenvectors in columns, orthonormal


def eigen(A: Tensor) -> Frame:
    """Eigenvalues and eigenvectors of symmetric (*b, 3, 3), without iteration.

    The eigenvalues are Rayleigh quotients, so their error is of the second order in that of the eigenvectors; it is of
    the order of rounding of |A|, whether or not eigenvalues coincide.
    """
    Q = _eigenvectors(A.detach())
    AQ = matmul(A, Q)

    def entry(i: int, j: int) -> Tensor:
        return Q[..., 0, i] * AQ[..., 0, j] + Q[..., 1, i] * AQ[..., 1, j] + Q[..., 2, i] * AQ[..., 2, j]

    return Frame(stack([entry(i, i) for i in range(3)]), stack([entry(i, j) for i, j in SHEARS]), Q)


def assemble(frame: Frame, values: Tensor, differences: Tensor) -> Tensor:
    """The tensor (*b, 3, 3) of an isotropic function in the frame of its argument.

    Args:
        frame: of the argument.
        values: of the function, (*b, 3), as differentiable functions of ``frame.values``.
        differences: its divided differences (*b, 3) between the eigenvalues 2 and 3, 1 and 3, 1 and 2.
    """
    return rotate(frame.Q, symmetric(values, differences * frame.off))


def symmetric(diagonal: Tensor, off: Tensor) -> Tensor:
    """Symmetric (*b, 3, 3) from its diagonal (*b, 3) and its entries 23 13 12 (*b, 3)."""
    a, b, c = diagonal.unbind(-1)
    s23, s13, s12 = off.unbind(-1)
    return matrix([a, s12, s13, s12, b, s23, s13, s23, c])


def rotate(Q: Tensor, A: Tensor) -> Tensor:
    """Q A Q^T of two batches (*b, 3, 3)."""
    return matmul(matmul(Q, A), Q.transpose(-1, -2))


def pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """The partners (*b, 3) of each off-diagonal entry 23 13 12 among three values (*b, 3)."""
    first, second = zip(*SHEARS, strict=True)
    return stack([x[..., i] for i in first]), stack([x[..., j] for j in second])


def sinhc(x: Tensor) -> Tensor:
    """sinh(x) / x, 1 at 0; by its series where that is exact."""
    small = x.abs() < 0.1
    away = torch.where(small, 1.0, x)
    z = torch.where(small, x, 0.0).square()
    series = 1 + z / 6 * (1 + z / 20 * (1 + z / 42 * (1 + z / 72)))
    return torch.where(small, series, away.sinh() / away)


def logarithm(A: Tensor) -> Tensor:
    """log(I + A) of symmetric (*b, 3, 3) with eigenvalues > -1; nan where one is not."""
    frame = eigen(A)
    values = frame.values.log1p()
    return assemble(frame, values, log_differences(values))


def log_differences(logs: Tensor) -> Tensor:
    """Divided differences (*b, 3) of the logarithm, from its values u (*b, 3): exp(-(u + v)/2) / sinhc((u - v)/2)."""
    u, v = pairs(logs)
    return (-(u + v) / 2).exp() / sinhc((u - v) / 2)


def exponential(A: Tensor) -> Tensor:
    """exp(A) - I of symmetric (*b, 3, 3)."""
    frame = eigen(A)
    x, y = pairs(frame.values)
    return assemble(frame, frame.values.expm1(), ((x + y) / 2).exp() * sinhc((x - y) / 2))


def square_root(A: Tensor) -> Tensor:
    """(I + A)^(1/2) - I of symmetric (*b, 3, 3) with eigenvalues > -1; nan where one is not."""
    frame = eigen(A)
    root = (1 + frame.values).sqrt()
    x, y = pairs(root)
    return assemble(frame, frame.values / (1 + root), 1 / (x + y))


def derivative(Q: Tensor, slopes: Tensor, differences: Tensor, direction: Tensor) -> Tensor:
    """Derivative (*b, 3, 3) of an isotropic function of each eigenvalue alone, along a symmetric direction.

    Args:
        Q: eigenvectors of the argument in columns, (*b, 3, 3).
        slopes: f'(a_i), (*b, 3).
        differences: f[a_i, a_j] for 23 13 12, (*b, 3).
        direction: dA, (*b, 3, 3).
    """
    dA = rotate(Q.transpose(-1, -2), direction)
    diagonal = stack([slopes[..., i] * dA[..., i, i] for i in range(3)])
    return rotate(
        Q, symmetric(diagonal, stack([differences[..., k] * dA[..., i, j] for k, (i, j) in enumerate(SHEARS)]))
    )


def _eigenvectors(A: Tensor) -> Tensor:
    """Orthonormal eigenvectors in columns (*b, 3, 3): that of the most distinct eigenvalue, then the other two."""
    d, valid = _unit_deviator(A)
    v = _distinct_eigenvector(d, valid)
    u, w = _plane_across(v)
    du = _product(d, u)
    p, q, r = _dot(u, du), _dot(w, du), _dot(w, _product(d, w))
    # A rotation of the plane by the angle that makes the 2x2 block diagonal, without cancellation.
    half = (p - r) / 2
    length = (half.square() + q.square()).sqrt()
    turned = length > 0
    c = torch.where(turned, ((length + half.abs()) / torch.where(turned, 2 * length, 1.0)).sqrt(), 1.0)
    s = torch.where(turned, q / torch.where(turned, 2 * length * c, 1.0), 0.0)
    s = torch.where(half < 0, -s, s)
    second = [c * x + s * y for x, y in zip(u, w, strict=True)]
    third = [c * y - s * x for x, y in zip(u, w, strict=True)]
    return matrix([x for row in zip(v, second, third, strict=True) for x in row])


_Vector = Sequence[Tensor]


def _unit_deviator(A: Tensor) -> tuple[list[Tensor], Tensor]:
    """Entries 11 22 33 23 13 12 of dev A / |dev A|, each (*b,), and where it is not zero."""
    mean = (A[..., 0, 0] + A[..., 1, 1] + A[..., 2, 2]) / 3
    d = [A[..., i, i] - mean for i in range(3)] + [A[..., i, j] for i, j in SHEARS]
    size = d[0].abs()
    for entry in d[1:]:
        size = torch.maximum(size, entry.abs())
    valid = size > torch.finfo(A.dtype).tiny
    scale = 1 / torch.where(valid, size, 1.0)
    d = [torch.where(valid, entry * scale, 0.0) for entry in d]
    norm = (d[0].square() + d[1].square() + d[2].square() + 2 * (d[3].square() + d[4].square() + d[5].square())).sqrt()
    norm = torch.where(valid, norm, 1.0)
    return [entry / norm for entry in d], valid


def _distinct_eigenvector(d: _Vector, valid: Tensor) -> list[Tensor]:
    """Eigenvector to the eigenvalue that is furthest from the others: a column of adj(d - eta I) = const v v^T."""
    a, b, c, f, g, h = d
    det = a * (b * c - f * f) - h * (h * c - f * g) + g * (h * f - b * g)
    # For |d| = 1 the eigenvalues are sqrt(2/3) cos(angle), and cos(3 angle) = 3 sqrt(6) det.
    angle = (3 * 6**0.5 * det.abs()).clamp(max=1.0).acos() / 3
    eta = (2 / 3) ** 0.5 * angle.cos()
    eta = torch.where(valid, torch.where(det < 0, -eta, eta), 1.0)
    a, b, c = a - eta, b - eta, c - eta
    A11, A22, A33 = b * c - f * f, a * c - g * g, a * b - h * h
    A23, A13, A12 = g * h - a * f, h * f - b * g, f * g - c * h
    first, second = (A11 >= A22) & (A11 >= A33), A22 >= A33
    column = [
        torch.where(first, x, torch.where(second, y, z))
        for x, y, z in ((A11, A12, A13), (A12, A22, A23), (A13, A23, A33))
    ]
    norm = _dot(column, column).sqrt()
    return [x / norm for x in column]


def _plane_across(v: _Vector) -> tuple[list[Tensor], list[Tensor]]:
    """Two unit vectors that make a right-handed orthonormal frame with v (T. Duff et al., JCGT 6 (2017) 1)."""
    x, y, z = v
    sign = torch.where(z < 0, -1.0, 1.0)
    a = -1 / (sign + z)
    b = x * y * a
    return [1 + sign * x * x * a, sign * b, -sign * x], [b, sign + y * y * a, -y]


def _dot(x: _Vector, y: _Vector) -> Tensor:
    return x[0] * y[0] + x[1] * y[1] + x[2] * y[2]


def _product(d: _Vector, x: _Vector) -> list[Tensor]:
    a, b, c, f, g, h = d
    return [a * x[0] + h * x[1] + g * x[2], h * x[0] + b * x[1] + f * x[2], g * x[0] + f * x[1] + c * x[2]]
