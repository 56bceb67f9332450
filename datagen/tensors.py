r"""Tensor algebra on batches: 3x3 determinants and inverses, Mandel vectors, rotations, isotropic moduli.

Batch axes lead, tensor axes trail. What is built here is laid out in memory with the tensor axes first (a component of
a whole batch is contiguous), which makes component-wise formulas run at memory speed; use ``reshape``, not ``view``.

Determinant and inverse are written out: the differentiated `torch.linalg` versions give nan or wrong second
derivatives at and near the identity under ``vmap`` (torch issues 192521 and 192540).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SQRT2 = math.sqrt(2.0)

# Mandel order 11 22 33 23 13 12, and the row-major order of a full second-order tensor.
MANDEL = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
ROW_MAJOR = tuple((i, j) for i in range(3) for j in range(3))


def stack(parts: Sequence[Tensor]) -> Tensor:
    """Components, each (*b,), to one tensor (*b, len(parts)) whose components are contiguous in memory."""
    return torch.stack(torch.broadcast_tensors(*parts), 0).movedim(0, -1)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Blocks of components, each (*b, k_i), to one tensor (*b, sum k_i) whose components are contiguous in memory."""
    batch = torch.broadcast_shapes(*[part.shape[:-1] for part in parts])
    return torch.cat([part.expand(*batch, part.shape[-1]).movedim(-1, 0) for part in parts], 0).movedim(0, -1)


def matrix(parts: Sequence[Tensor]) -> Tensor:
    """Nine components, each (*b,), row-major, to a batch of matrices (*b, 3, 3)."""
    return stack(parts).unflatten(-1, (3, 3))


def det(A: Tensor) -> Tensor:
    """Determinant of (*b, 3, 3), as (*b,)."""
    return (
        A[..., 0, 0] * (A[..., 1, 1] * A[..., 2, 2] - A[..., 1, 2] * A[..., 2, 1])
        - A[..., 0, 1] * (A[..., 1, 0] * A[..., 2, 2] - A[..., 1, 2] * A[..., 2, 0])
        + A[..., 0, 2] * (A[..., 1, 0] * A[..., 2, 1] - A[..., 1, 1] * A[..., 2, 0])
    )


def det_minus_one(H: Tensor) -> Tensor:
    r"""det(I + H) - 1 for (*b, 3, 3), as (*b,), without cancellation: tr H + (tr^2 H - tr H^2)/2 + det H."""
    minors = (
        H[..., 0, 0] * H[..., 1, 1]
        - H[..., 0, 1] * H[..., 1, 0]
        + H[..., 0, 0] * H[..., 2, 2]
        - H[..., 0, 2] * H[..., 2, 0]
        + H[..., 1, 1] * H[..., 2, 2]
        - H[..., 1, 2] * H[..., 2, 1]
    )
    return H[..., 0, 0] + H[..., 1, 1] + H[..., 2, 2] + minors + det(H)


def cofactor(A: Tensor) -> Tensor:
    """Cofactor matrix of (*b, 3, 3): cof A = det(A) A^-T."""
    a, b, c, d, e, f, g, h, i = A.flatten(-2).unbind(-1)
    return matrix(
        [
            e * i - f * h,
            f * g - d * i,
            d * h - e * g,
            c * h - b * i,
            a * i - c * g,
            b * g - a * h,
            b * f - c * e,
            c * d - a * f,
            a * e - b * d,
        ]
    )


def inv(A: Tensor) -> Tensor:
    """Inverse of (*b, 3, 3)."""
    return cofactor(A).transpose(-1, -2) / det(A)[..., None, None]


def matmul(A: Tensor, B: Tensor) -> Tensor:
    """Product of two batches (*b, 3, 3), written out so that it keeps the components contiguous."""
    rows, columns = A.unbind(-1), B.unbind(-2)
    return (
        rows[0][..., :, None] * columns[0][..., None, :]
        + rows[1][..., :, None] * columns[1][..., None, :]
        + rows[2][..., :, None] * columns[2][..., None, :]
    )


def double_dot(A: Tensor, B: Tensor) -> Tensor:
    """A : B = A_ij B_ij of two batches (*b, 3, 3), as (*b,)."""
    return (A * B).sum((-2, -1))


def to_mandel(A: Tensor) -> Tensor:
    """Symmetric part of (*b, 3, 3) to Mandel vectors (*b, 6): 11 22 33 and sqrt(2) times 23 13 12."""
    normal = [A[..., i, i] for i in range(3)]
    shear = [(A[..., i, j] + A[..., j, i]) / SQRT2 for i, j in MANDEL[3:]]
    return stack(normal + shear)


def from_mandel(a: Tensor) -> Tensor:
    """Mandel vectors (*b, 6) to symmetric matrices (*b, 3, 3)."""
    a11, a22, a33, a23, a13, a12 = a.unbind(-1)
    a23, a13, a12 = a23 / SQRT2, a13 / SQRT2, a12 / SQRT2
    return matrix([a11, a12, a13, a12, a22, a23, a13, a23, a33])


def mandel_rotation(Q: Tensor) -> Tensor:
    """The 6x6 orthogonal matrix (*b, 6, 6) that rotates Mandel vectors as Q A Q^T rotates tensors."""
    unit = torch.eye(6, dtype=Q.dtype, device=Q.device)
    columns = [to_mandel(Q @ from_mandel(unit[k]) @ Q.transpose(-1, -2)) for k in range(6)]
    return torch.stack(columns, -1)


def polar_rotation(F: Tensor) -> Tensor:
    r"""Rotation R of the polar decomposition F = R U, for (*b, 3, 3) with det F > 0.

    Newton's iteration R <- (R + R^-T)/2 with Higham's determinant scaling, ten steps: quadratic, and the same for a
    member of a batch as alone. Not meant to be differentiated.

    Reference:
        N. J. Higham, SIAM J. Sci. Stat. Comput. 7 (1986) 1160, doi:10.1137/0907079.
    """
    R = F
    for _ in range(10):
        scale = det(R).abs().pow(-1.0 / 3.0)[..., None, None]
        R = 0.5 * (scale * R + inv(R).transpose(-1, -2) / scale)
    return R


def random_rotation(
    *batch: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Rotations (*batch, 3, 3) uniform on SO(3), from normalised Gaussian quaternions (Shoemake 1992)."""
    q = torch.randn(*batch, 4, generator=generator, dtype=dtype)
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    return matrix(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - z * w),
            2 * (x * z + y * w),
            2 * (x * y + z * w),
            1 - 2 * (x * x + z * z),
            2 * (y * z - x * w),
            2 * (x * z - y * w),
            2 * (y * z + x * w),
            1 - 2 * (x * x + y * y),
        ]
    )


def lame_constants(E: float, nu: float) -> tuple[float, float]:
    """(lmbda, mu) from Young's modulus and Poisson's ratio; raises ValueError outside E > 0, -1 < nu < 1/2."""
    if not E > 0:
        raise ValueError(f"E: got {E}, wanted a Young's modulus > 0 [MPa]")
    if not -1 < nu < 0.5:
        raise ValueError(f"nu: got {nu}, wanted a Poisson's ratio in (-1, 0.5); 0.5 is incompressible, use 0.499")
    return E * nu / ((1 + nu) * (1 - 2 * nu)), E / (2 * (1 + nu))


def isotropic_stiffness(lmbda: Tensor, mu: Tensor) -> Tensor:
    """Isotropic stiffness (6, 6) in Mandel notation: lmbda 1 x 1 + 2 mu I."""
    one = torch.zeros(6, dtype=mu.dtype, device=mu.device)
    one[:3] = 1.0
    return lmbda * torch.outer(one, one) + 2 * mu * torch.eye(6, dtype=mu.dtype, device=mu.device)
