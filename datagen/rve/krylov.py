"""Preconditioned Krylov methods for a batch of independent systems: conjugate gradients and BiCGStab."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """What conjugate gradients answer for a batch."""

    x: Tensor  # (d, B, *nodes)
    negative: Tensor  # (B,) bool: stopped at a direction of negative curvature
    converged: Tensor  # (B,) bool
    iterations: Tensor  # (B,) int64


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of nodal fields (d, B, *nodes), one number a member: (B,)."""
    # Each component on its own: the product of the whole fields would be one more field.
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    b: Tensor,
    target: Tensor,
    max_iterations: int,
) -> Solution:
    r"""Solve A x = b for each member, from x = 0, until sqrt(r . K_0^+ r) <= target (B,); ``b`` is used up.

    A member that meets a direction p with p . A p <= 0 stops with the x it has, or with the preconditioned right-hand
    side when that was its first direction (Steihaug's rule without a radius): both are descent directions. Finished
    members are frozen by a mask; whether all have finished is asked every iteration on the CPU, every eighth on an
    accelerator, where asking would wait for the device.

    Reference:
        T. Steihaug, SIAM J. Numer. Anal. 20 (1983) 626, doi:10.1137/0720042.
    """
    period = 1 if b.device.type == "cpu" else 8
    x, r = torch.zeros_like(b), b
    p = precondition(r)
    rz = dot(r, p)
    active = rz.clamp(min=0).sqrt() > target
    negative = torch.zeros_like(active)
    iterations = torch.zeros_like(active, dtype=torch.int64)

    def wide(values: Tensor) -> Tensor:
        return values[None, :, None, None, None]

    def divide(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(active, a / torch.where(active, b, 1.0), 0.0)

    for k in range(max_iterations):
        if k % period == 0 and not bool(active.any()):
            break
        Ap = apply(p)
        curvature = dot(p, Ap)
        bad = active & ~(curvature > 0)
        negative = negative | bad
        active = active & ~bad
        iterations += active
        alpha = divide(rz, curvature)
        # The first direction of a member that has nowhere to go is its preconditioned right-hand side.
        x.addcmul_(wide(torch.where(bad, 1.0, alpha) if k == 0 else alpha), p)
        r.addcmul_(wide(-alpha), Ap)
        del Ap
        z = precondition(r)
        rz_new = dot(r, z)
        p = torch.addcmul(z, wide(divide(rz_new, rz)), p, out=p)
        del z
        rz = torch.where(active, rz_new, rz)
        active = active & (rz.clamp(min=0).sqrt() > target)
    return Solution(x, negative, ~active & ~negative, iterations)


def bicgstab(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    b: Tensor,
    target: Tensor,
    max_iterations: int,
) -> Solution:
    r"""Solve A x = b for each member as `conjugate_gradients` does, where A is not symmetric.

    BiCGStab with all inner products those of the preconditioner, (r, s) = r . K_0^+ s, so that the residual is measured
    as in `conjugate_gradients`. A member whose recurrence breaks down starts anew from the residual it has. Each
    iteration costs two products with A and counts as two.

    Reference:
        H. A. van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631, doi:10.1137/0913035.
    """
    period = 1 if b.device.type == "cpu" else 8
    x, r = torch.zeros_like(b), b
    z = precondition(r)
    shadow, p, rho = r, z, dot(r, z)
    size = rho.clamp(min=0).sqrt()  # of the shadow residual
    active = size > target
    iterations = torch.zeros_like(active, dtype=torch.int64)

    def wide(values: Tensor) -> Tensor:
        return values[None, :, None, None, None]

    def ratio(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(active & (b != 0), a / torch.where(b != 0, b, 1.0), 0.0)

    for k in range(max_iterations // 2):
        if k % period == 0 and not bool(active.any()):
            break
        v = apply(p)
        Mv = precondition(v)
        alpha = ratio(rho, dot(shadow, Mv))
        s, Ms = torch.addcmul(r, wide(-alpha), v), torch.addcmul(z, wide(-alpha), Mv)
        t = apply(Ms)
        Mt = precondition(t)
        omega = ratio(dot(t, Ms), dot(t, Mt))
        x = torch.addcmul(torch.addcmul(x, wide(alpha), p), wide(omega), torch.where(wide(active), Ms, 0.0))
        r = torch.where(wide(active), torch.addcmul(s, wide(-omega), t), r)
        z = torch.where(wide(active), torch.addcmul(Ms, wide(-omega), Mt), z)
        iterations += 2 * active
        norm = dot(r, z).clamp(min=0).sqrt()
        active = active & (norm > target)
        rho_new = dot(shadow, z)
        lost = active & ((rho_new.abs() <= 1e-12 * size * norm) | (omega == 0) | (alpha == 0))
        beta = ratio(rho_new, rho) * ratio(alpha, omega)
        p = torch.where(wide(lost), z, torch.addcmul(z, wide(beta), torch.addcmul(p, wide(-omega), Mv)))
        shadow = torch.where(wide(lost), r, shadow)
        rho, size = torch.where(lost, norm**2, rho_new), torch.where(lost, norm, size)
    return Solution(x, torch.zeros_like(active), ~active, iterations)
