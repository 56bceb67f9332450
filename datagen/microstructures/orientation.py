r"""Directions drawn to a prescribed second-order orientation tensor A = < p p >, p the unit vector of a fibre or axis.

They follow the angular central Gaussian distribution p = M z / |M z| with z standard normal: the family that contains
the isotropic (M = 1), planar and aligned states, in which Jeffery's orbits of slender fibres run.

Reference:
    S. G. Advani, C. L. Tucker, J. Rheology 31 (1987) 751, doi:10.1122/1.549945 (orientation tensors);
    D. E. Tyler, Biometrika 74 (1987) 579, doi:10.1093/biomet/74.3.579 (the distribution);
    S. Montgomery-Smith, D. Jack, D. E. Smith, J. Fluid Mech. 680 (2011) 321, doi:10.1017/jfm.2011.165 (its tensor).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import elliprd
from torch import Tensor

_NONE = 1e-9  # an eigenvalue of A below this is zero: all directions lie in the plane, or on the line, that is left
_SWEEPS = 500


def check_orientation(tensor: Sequence[Sequence[float]] | np.ndarray | None) -> np.ndarray:
    """The orientation tensor (3, 3); isotropic for None.

    Raises:
        ValueError: a tensor that is not symmetric, has a negative eigenvalue or a trace other than 1.
    """
    if tensor is None:
        return np.eye(3) / 3
    A = np.array(tensor, dtype=float)
    if A.shape != (3, 3) or not np.isfinite(A).all() or np.abs(A - A.T).max() > 1e-8:
        raise ValueError(f"orientation: got {A.tolist()}, wanted a symmetric tensor of 3 x 3 finite numbers")
    if abs(np.trace(A) - 1) > 1e-6 or np.linalg.eigvalsh(A).min() < -1e-8:
        raise ValueError(f"orientation: got {A.tolist()}, wanted trace 1 and no negative eigenvalue")
    return 0.5 * (A + A.T) / np.trace(A)


def orientation_tensor(directions: Tensor | np.ndarray, weights: Tensor | np.ndarray | None = None) -> Tensor:
    """Second-order orientation tensor sum w p p / sum w, (m, 3, 3), of unit vectors (m, k, 3) with weights (m, k)."""
    p = torch.as_tensor(directions, dtype=torch.float64)
    w = torch.ones(p.shape[:-1], dtype=p.dtype) if weights is None else torch.as_tensor(weights, dtype=p.dtype)
    return torch.einsum("mk,mki,mkj->mij", w / w.sum(-1, keepdim=True), p, p)


def gaussian_moments(variances: np.ndarray) -> np.ndarray:
    r"""Eigenvalues a (3,) of < p p > for p = M z / |M z| with M M^T of the eigenvalues ``variances`` b (3,) > 0.

    a_i = 1/2 int_0^inf b_i / (1 + b_i s) prod_j (1 + b_j s)^(-1/2) ds, a Carlson integral R_D of 1/b.
    """
    c = 1.0 / variances
    return np.sqrt(c.prod()) / 3 * np.array([elliprd(c[(i + 1) % 3], c[(i + 2) % 3], c[i]) for i in range(3)])


def fit_gaussian(tensor: np.ndarray) -> np.ndarray:
    """Root M (3, 3), symmetric, of the angular central Gaussian whose orientation tensor is ``tensor`` (3, 3)."""
    values, frame = np.linalg.eigh(tensor)
    there = values > _NONE
    b = np.where(there, values, 0.0)
    if there.sum() == 2:  # the angle in the plane: a_1 : a_2 = sqrt(b_1) : sqrt(b_2)
        b = b**2
    elif there.sum() == 3:
        for _ in range(_SWEEPS):  # a_i grows with b_i: correct each in proportion
            a = gaussian_moments(b)
            b = b * (values / a) ** 1.5
            b = b / b.sum()
            if np.abs(a / values - 1).max() < 1e-13:
                break
    return (frame * np.sqrt(b)) @ frame.T


def draw_directions(tensor: np.ndarray, count: int, rng: np.random.Generator, exact: bool = True) -> np.ndarray:
    """Unit vectors (count, 3) of the angular central Gaussian distribution with orientation tensor ``tensor``.

    Args:
        tensor: A, (3, 3), symmetric, of trace 1.
        count: number of directions.
        rng: the stream.
        exact: bend the sample by the linear map p -> N p / |N p| for which its own tensor is A to rounding (a map
            within the family: a sample of another of its members). A sample of very few vectors may have no such map
            and stays as drawn.
    """
    M = fit_gaussian(tensor)
    p = _unit(rng.standard_normal((count, 3)) @ M.T)
    if not exact:
        return p
    values, frame = np.linalg.eigh(tensor)
    frame = frame[:, values > _NONE]  # a planar tensor is met in its plane
    wanted, q = frame.T @ tensor @ frame, p @ frame
    root = _power(wanted, 0.5)
    for _ in range(_SWEEPS):
        now = q.T @ q / count
        if np.abs(now - wanted).max() < 1e-14:
            return q @ frame.T
        if np.linalg.eigvalsh(now).min() < 1e-12:
            return p
        # The map that would set the tensor right if lengths did not change.
        step = root @ _power(root @ now @ root, -0.5) @ root
        q = _unit(q @ step.T)
    return q @ frame.T if np.abs(q.T @ q / count - wanted).max() < 1e-10 else p


def frames_along(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotations (k, 3, 3) whose first column is the direction (k, 3), turned about it at random."""
    normal = rng.standard_normal(directions.shape)
    normal = _unit(normal - (normal * directions).sum(-1, keepdims=True) * directions)
    return np.stack([directions, normal, np.cross(directions, normal)], -1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _power(A: np.ndarray, exponent: float) -> np.ndarray:
    values, frame = np.linalg.eigh(A)
    return (frame * values**exponent) @ frame.T
