r"""Isotropic solids in principal axes: from logarithmic stretches and Kirchhoff stress to the first Piola stress.

With the eigenvectors Q of b = F A F^T (A the identity, or the inverse plastic metric), the logarithmic strains
e_i = 1/2 ln b_i and the principal Kirchhoff stresses t_i(e), P = tau F^-T = Q diag(t) W^T, W = F^-1 Q. Along dF, with
l = Q^T dF W, the tangent couples the normal rates among themselves and each shear with its mirror:

    (Q^T dP F^T Q)_ii = (d t_i / d e_j - t_i delta_ij) l_jj
    (Q^T dP F^T Q)_ij = g_ij b_j l_ij + (g_ij b_i - t_i) l_ji,  g_ij = (t_i - t_j) / (b_i - b_j)

so 33 numbers a point stand for the 81 of the dense tangent.

Reference:
    R. W. Ogden, Non-linear Elastic Deformations, 1984, section 6.1.4;
    E. A. de Souza Neto, D. Peric, D. R. J. Owen, Computational Methods for Plasticity, 2008, section 14.5, appendix A.
"""

from __future__ import annotations

from torch import Tensor

from datagen.spectral import SHEARS, Frame, eigen, log_differences, pairs, sinhc, symmetric
from datagen.tensors import cofactor, join, matmul, matrix


def left_cauchy_green(H: Tensor, inner: Tensor | None = None) -> Tensor:
    """F (I + inner) F^T - I of F = I + H, (*b, 3, 3), without the loss of digits at F = I; inner = 0 if not given."""
    half = H if inner is None else H + inner + matmul(H, inner)  # F (I + inner) - I
    return half + H.transpose(-1, -2) + matmul(half, H.transpose(-1, -2))


def log_strains(b: Tensor) -> tuple[Frame, Tensor]:
    """Eigenframe of b - I, given (*b, 3, 3), and the logarithmic strains e_i = 1/2 ln b_i (*b, 3)."""
    frame = eigen(b)
    return frame, 0.5 * frame.values.log1p()


def convected_axes(F: Tensor, J: Tensor, Q: Tensor) -> Tensor:
    """W = F^-1 Q, (*b, 3, 3)."""
    return matmul((cofactor(F) / J[..., None, None]).transpose(-1, -2), Q)


def piola(frame: Frame, W: Tensor, strains: Tensor, stresses: Tensor, slopes: Tensor) -> Tensor:
    """First Piola stress (*b, 9) from principal Kirchhoff stresses.

    Args:
        frame: eigenframe of b - I.
        W: F^-1 Q, (*b, 3, 3).
        strains: logarithmic strains e, (*b, 3).
        stresses: principal Kirchhoff stresses t, (*b, 3), differentiable.
        slopes: (t_i - t_j) / (e_i - e_j) for the pairs 23 13 12, (*b, 3), or anything that broadcasts to it.
    """
    off = 0.5 * slopes * log_differences(2 * strains) * frame.off
    return matmul(matmul(frame.Q, symmetric(stresses, off)), W.transpose(-1, -2)).flatten(-2)


def save(Q: Tensor, W: Tensor, strains: Tensor, stresses: Tensor, moduli: Tensor, slopes: Tensor) -> Tensor:
    """What `apply` needs, (*b, 33): Q, W, three normal and three cross moduli, three pairs of shear moduli and mirrors.

    Args:
        Q: eigenvectors, (*b, 3, 3).
        W: F^-1 Q, (*b, 3, 3).
        strains: logarithmic strains e, (*b, 3).
        stresses: principal Kirchhoff stresses t, (*b, 3).
        moduli: d t_i / d e_j for ij = 11 22 33 23 13 12, (*b, 6), symmetric.
        slopes: (t_i - t_j) / (e_i - e_j) for the pairs 23 13 12, (*b, 3), or anything that broadcasts to it.
    """
    e, f = pairs(strains)
    shear = 0.5 * slopes / sinhc(e - f)
    upper, lower = shear * (f - e).exp(), shear * (e - f).exp()  # g b_j for the entry ij, g b_i for ji
    normal = moduli[..., :3] - stresses
    return join([Q.flatten(-2), W.flatten(-2), normal, moduli[..., 3:], upper, lower, lower - pairs(stresses)[0]])


def apply(saved: Tensor, direction: Tensor) -> Tensor:
    """Tangent times direction, (*b, 9)."""
    Q, W = saved[..., :9].unflatten(-1, (3, 3)), saved[..., 9:18].unflatten(-1, (3, 3))
    normal, upper, lower, mirror = saved[..., 18:24], saved[..., 24:27], saved[..., 27:30], saved[..., 30:]
    dF = direction.unflatten(-1, (3, 3))
    l = matmul(matmul(Q.transpose(-1, -2), dF), W)
    n11, n22, n33, n23, n13, n12 = normal.unbind(-1)
    l11, l22, l33 = l[..., 0, 0], l[..., 1, 1], l[..., 2, 2]
    diagonal = [
        n11 * l11 + n12 * l22 + n13 * l33,
        n12 * l11 + n22 * l22 + n23 * l33,
        n13 * l11 + n23 * l22 + n33 * l33,
    ]
    entries = {(i, i): diagonal[i] for i in range(3)}
    for k, (i, j) in enumerate(SHEARS):
        lij, lji = l[..., i, j], l[..., j, i]
        entries[i, j] = upper[..., k] * lij + mirror[..., k] * lji
        entries[j, i] = lower[..., k] * lji + mirror[..., k] * lij
    dP = matrix([entries[i, j] for i in range(3) for j in range(3)])
    return matmul(matmul(Q, dP), W.transpose(-1, -2)).flatten(-2)


def deviator(x: Tensor) -> Tensor:
    """Three principal values (*b, 3) less their mean."""
    return x - ((x[..., 0] + x[..., 1] + x[..., 2]) / 3)[..., None]
