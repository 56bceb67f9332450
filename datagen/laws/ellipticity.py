r"""Loss of ellipticity: the lowest eigenvalue of the acoustic tensor over all directions.

Q_ik(N) = A_ijkl N_j N_l, A = d stress/d strain (SMALL: C; FINITE: d P/d F). A plane wave across a plane of normal N
travels with density x speed^2 = an eigenvalue of Q. Where the lowest of them over all N falls to zero, a band of normal
N can form (material instability, localisation): a homogenised response that comes near it no longer represents a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.tensors import MANDEL, SQRT2

_CHUNK = 512  # tangents at a time: some 20 MB
_DYADS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_STARTS = 4  # local minima of the grid that are refined
_ROUNDS, _COARSE_ROUNDS = 13, 8  # of refinement, each 2.5 times finer; the first with the fast eigenvalue


def lowest_acoustic_eigenvalue(
    tangent: Tensor, measure: Measure, components: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    r"""Lowest eigenvalue of the acoustic tensor over all directions, and the direction where it is found.

    min over N of the lowest eigenvalue of the symmetric part of Q_ik = A_ijkl N_j N_l. Positive: strongly elliptic. The
    minimum is found on a grid of directions (5 degrees apart; 1 degree in the plane), then the best few of its local
    minima are refined until the direction is known to 1e-6, the value to 1e-12 of the stiffness. A valley narrower
    than the grid is missed. Not differentiable.

    Args:
        tangent: d stress/d strain (*b, n, n), as from `Law.tangent`; nan where it is unknown.
        measure: of the strain.
        components: driven strain components, default all. Of a law that was driven in the plane 12 only directions
            and vibrations in that plane are known and asked; other columns of the tangent are not read.

    Returns:
        Value (*b,) [MPa] and unit normal N (*b, 3); nan where the tangent is.

    Raises:
        ValueError: a tangent of another shape; components that are neither all nor contain those of plane strain.

    Reference:
        J. R. Rice, The localization of plastic deformation, in W. T. Koiter (ed.), Theoretical and Applied Mechanics,
        1976, 207-220; R. Hill, J. Mech. Phys. Solids 10 (1962) 1, doi:10.1016/0022-5096(62)90024-8.
    """
    n = measure.n
    if tangent.dim() < 2 or tuple(tangent.shape[-2:]) != (n, n):
        raise ValueError(f"tangent: got shape {tuple(tangent.shape)}, wanted (*b, {n}, {n}) for {measure.name} strain")
    plane = in_plane(measure, measure.components if components is None else components)
    if plane is None:
        raise ValueError(
            f"components: got {', '.join(components or ())}, wanted all of them, or at least "
            f"{', '.join(PLANE_STRAIN[measure])}, for there to be a direction that is wholly known"
        )
    batch = tangent.shape[:-2]
    A = _by_dyads(tangent.detach().reshape(-1, n, n), measure, 2 if plane else 3)
    unknown = ~A.isfinite().flatten(1).all(1)
    A = torch.where(unknown[:, None, None], 0.0, A)
    value, direction = A.new_empty(len(A)), A.new_empty(len(A), 3)
    for first in range(0, len(A), _CHUNK):
        rows = slice(first, first + _CHUNK)
        value[rows], direction[rows] = _minimum(A[rows], plane)
    value[unknown], direction[unknown] = torch.nan, torch.nan
    return value.reshape(batch), direction.reshape(*batch, 3)


def in_plane(measure: Measure, components: Sequence[str]) -> bool | None:
    """Whether only directions in the plane 12 are known (True), all (False) or none (None)."""
    if set(measure.components) <= set(components):
        return False
    return True if set(PLANE_STRAIN[measure]) <= set(components) else None


def _by_dyads(tangent: Tensor, measure: Measure, d: int) -> Tensor:
    """Symmetric part of A_i(j)k(l) N_j N_l as a matrix (m, d d, 6) times the six numbers N_j N_l, d = 2 or 3."""
    m = len(tangent)
    if measure is Measure.FINITE:
        full = tangent.reshape(m, 3, 3, 3, 3)
    else:
        place = torch.zeros(3, 3, dtype=torch.int64)
        weight = torch.full((3, 3), 1 / SQRT2, dtype=tangent.dtype, device=tangent.device)
        for k, (i, j) in enumerate(MANDEL):
            place[i, j] = place[j, i] = k
            weight[i, i] = 1.0
        full = tangent[:, place.flatten()][:, :, place.flatten()].reshape(m, 3, 3, 3, 3)
        full = full * weight[..., None, None] * weight
    A = full.permute(0, 1, 3, 2, 4)[:, :d, :d]  # i k j l
    A = 0.5 * (A + A.transpose(1, 2))
    columns = [A[..., j, l] if j == l else A[..., j, l] + A[..., l, j] for j, l in _DYADS]
    if d == 2:  # columns with a 3 may be unknown; no direction asks for them
        columns = [torch.zeros_like(c) if 2 in dyad else c for c, dyad in zip(columns, _DYADS, strict=True)]
    return torch.stack(columns, -1).reshape(m, d * d, 6)


def _lowest(A: Tensor, N: Tensor, exact: bool = True) -> Tensor:
    """Lowest eigenvalue (m, k) of the acoustic tensors of A (m, d d, 6) across N (k, 3) or (m, k, 3).

    Not exact is seven times faster and good to 1e-8 where two eigenvalues coincide.
    """
    dyads = torch.stack([N[..., i] * N[..., j] for i, j in _DYADS], -1)
    Q = dyads @ A.transpose(-1, -2)  # (m, k, d d)
    if Q.shape[-1] == 4:
        a, b, c = Q[..., 0], Q[..., 1], Q[..., 3]
        return 0.5 * (a + c) - torch.hypot(0.5 * (a - c), b)
    return torch.linalg.eigvalsh(Q.unflatten(-1, (3, 3)))[..., 0] if exact else _by_angle(Q)


def _by_angle(Q: Tensor) -> Tensor:
    """Lowest eigenvalue (*b,) of symmetric matrices (*b, 9) by the trigonometric solution of the cubic."""
    a, b, c, _, d, e, _, _, f = Q.unbind(-1)
    mean = (a + d + f) / 3
    a, d, f = a - mean, d - mean, f - mean
    p = ((a * a + d * d + f * f + 2 * (b * b + c * c + e * e)) / 6).sqrt()
    determinant = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    cosine = (determinant / torch.where(p > 0, 2 * p**3, 1.0)).clamp(-1, 1)
    return mean + 2 * p * torch.cos(torch.acos(cosine) / 3 + 2 * math.pi / 3)


def _minimum(A: Tensor, plane: bool) -> tuple[Tensor, Tensor]:
    """Value (m,) and direction (m, 3) of the minimum."""
    grid, neighbours, spacing = _grid(plane)
    grid, neighbours = grid.to(A), neighbours.to(A.device)
    values = _lowest(A, grid, exact=False)
    minimum = (values[:, neighbours] >= values[..., None]).all(-1)
    ranked = torch.where(minimum, values, torch.inf).topk(_STARTS, largest=False, dim=1).indices
    N = grid[ranked]  # (m, starts, 3)
    offsets = _offsets(plane).to(A)
    for r in range(_ROUNDS):
        along, across = _tangents(N, plane)
        move = spacing * 2.5**-r * offsets
        trial = N[:, :, None] + move[:, :1] * along[:, :, None] + move[:, 1:] * across[:, :, None]
        trial = trial / trial.norm(dim=-1, keepdim=True)
        tried = _lowest(A, trial.flatten(1, 2), exact=r >= _COARSE_ROUNDS).unflatten(1, trial.shape[1:3])
        best = tried.argmin(-1)
        N = trial.gather(2, best[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        lowest = tried.gather(2, best[..., None])[..., 0]
    value, which = lowest.min(1)
    return value, N.gather(1, which[:, None, None].expand(-1, 1, 3))[:, 0]


@cache
def _grid(plane: bool) -> tuple[Tensor, Tensor, float]:
    """Directions (k, 3) on a half circle or half sphere, their neighbours (k, .) and their spacing [rad]."""
    if plane:
        k, count, spacing = 180, 2, math.pi / 180
        angle = spacing * torch.arange(k, dtype=torch.float64)
        N = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], -1)
    else:  # a spiral of equal areas (Fibonacci)
        k, count, spacing = 800, 8, math.sqrt(2 * math.pi / 800)
        z = (torch.arange(k, dtype=torch.float64) + 0.5) / k
        angle = math.pi * (3 - math.sqrt(5)) * torch.arange(k, dtype=torch.float64)
        radius = (1 - z * z).sqrt()
        N = torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)
    nearness = (N @ N.T).abs().fill_diagonal_(-1.0)
    return N, nearness.topk(count, dim=1).indices, spacing


@cache
def _offsets(plane: bool) -> Tensor:
    """A small grid around a direction, in units of its spacing, (9 or 25, 2)."""
    steps = torch.linspace(-1, 1, 5 if not plane else 9, dtype=torch.float64)
    return torch.cartesian_prod(steps, steps[len(steps) // 2 :][:1] if plane else steps)


def _tangents(N: Tensor, plane: bool) -> tuple[Tensor, Tensor]:
    """Two unit vectors across N (*b, 3); in the plane the first lies in it."""
    if plane:
        return torch.stack([-N[..., 1], N[..., 0], N[..., 2]], -1), torch.zeros_like(N)
    axis = torch.nn.functional.one_hot(N.abs().argmin(-1), 3).to(N.dtype)
    along = torch.linalg.cross(N, axis)
    along = along / along.norm(dim=-1, keepdim=True)
    return along, torch.linalg.cross(N, along)
