"""Preconditioned conjugate gradients for a batch of independent systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """What conjugate gradients answer for a batch."""

    x: Tensor  # (d, B, *grid)
    negative: Tensor  # (B,) bool: stopped at a direction of negative curvature
    converged: Tensor  # (B,) bool
    iterations: Tensor  # (B,) int64


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of nodal fields (d, B, nx, ny, nz), one number a member, per voxel: (B,)."""
    return (a * b).sum(dim=(0, 2, 3, 4)) / a[0, 0].numel()


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    b: Tensor,
    target: Tensor,
    max_iterations: int,
) -> Solution:
    r"""Solve A x = b for each member, from x = 0, until sqrt(r . K_0^+ r) <= target (B,).

    A member that meets a direction p with p . A p <= 0 stops with the x it has, or with the preconditioned right-hand
    side when that was its first direction (Steihaug's rule without a radius): both are descent directions. Finished
    members are frozen by a mask; whether all have finished is asked every iteration on the CPU, every eighth on an
    accelerator, where asking would wait for the device.

    Reference:
        T. Steihaug, SIAM J. Numer. Anal. 20 (1983) 626, doi:10.1137/0720042.
    """
    period = 1 if b.device.type == "cpu" else 8
    x, r = torch.zeros_like(b), b
    z = precondition(r)
    p, rz = z, dot(r, z)
    active = rz.clamp(min=0).sqrt() > target
    negative = torch.zeros_like(active)
    iterations = torch.zeros_like(active, dtype=torch.int64)

    def wide(values: Tensor) -> Tensor:
        return values[None, :, None, None, None]

    for k in range(max_iterations):
        if k % period == 0 and not bool(active.any()):
            break
        Ap = apply(p)
        curvature = dot(p, Ap)
        bad = active & ~(curvature > 0)
        if k == 0:
            x = torch.where(wide(bad), p, x)
        negative = negative | bad
        active = active & ~bad
        iterations += active
        alpha = torch.where(active, rz / torch.where(active, curvature, 1.0), 0.0)
        x = torch.addcmul(x, wide(alpha), p)
        r = torch.addcmul(r, wide(-alpha), Ap)
        z = precondition(r)
        rz_new = dot(r, z)
        beta = torch.where(active, rz_new / torch.where(active, rz, 1.0), 0.0)
        p = torch.addcmul(z, wide(beta), p)
        rz = torch.where(active, rz_new, rz)
        active = active & (rz.clamp(min=0).sqrt() > target)
    return Solution(x, negative, ~active & ~negative, iterations)
