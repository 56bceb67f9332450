"""Equilibrium of a batch of cells: Newton's method around preconditioned conjugate gradients.

The unknown is the displacement fluctuation u (d, B, *nodes); the strain at a point is strain_bar + grad u. With
the incremental potential Pi(u) = <psi + dissipation>, the nodal residual r = d Pi / d u = <stress . grad>, and a
homogeneous reference medium K_0, the size of a residual is sqrt(r . K_0^+ r): the part of the stress that is out of
balance, in the energy norm of the reference medium, so that its meaning does not change with the grid. A member is
converged when that is at most ``tolerance`` times the same norm of the whole stress.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.rve.batch import Batch, Evaluation, Operator
from datagen.rve.krylov import Solution, bicgstab, conjugate_gradients, dot

MAX_NEWTON = 25
MAX_HALVINGS = 10
MAX_KRYLOV = 2000
FORCING = 0.1  # largest relative residual of a linear solve; 0 for exact solves, Newton's method proper
ARMIJO = 1e-4


class Equilibrium(NamedTuple):
    """What `newton` answers."""

    u: Tensor  # (d, B, *nodes)
    converged: Tensor  # (B,) bool
    iterations: Tensor  # (B,) int64, products with the stiffness in the linear solves
    newton: Tensor  # (B,) int64, Newton iterations
    cuts: Tensor  # (B,) int64, how often the step was halved; `newton` itself never does
    negative: Tensor  # (B,) bool: a linear solve met negative curvature on the way
    last: Evaluation | None  # the whole batch at u, where that is what was evaluated last


def _wide(values: Tensor) -> Tensor:
    return values[None, :, None, None, None]


def newton(batch: Batch, u: Tensor) -> Equilibrium:
    """Fluctuations in equilibrium, from a guess ``u`` (d, B, *nodes), used up; failure is reported member by member.

    Inexact Newton: the linear solves are as accurate as the progress of the outer iteration warrants (Eisenstat and
    Walker 1996, choice 2), to the end at once when all laws are linear. Members that are done are dropped from the
    batch when half of it is.
    """
    B = len(batch.strain)
    whole = batch
    members = torch.arange(B, device=u.device)
    out = u
    converged = torch.zeros(B, dtype=torch.bool, device=u.device)
    failed, negative = converged.clone(), converged.clone()
    iterations, count = torch.zeros(2, B, dtype=torch.int64, device=u.device)
    now = batch.evaluate(u)
    forcing = torch.full_like(now.norm, FORCING)
    for iteration in range(MAX_NEWTON + 1):
        target = batch.threshold(now)
        if batch is whole:
            out = u
        else:
            out[:, members] = u
        converged[members] |= (now.norm <= target) & (now.verdict < FIRST_WITHOUT_ANSWER)
        failed[members] |= now.verdict >= FIRST_WITHOUT_ANSWER
        busy = ~(converged | failed)
        n_busy = int(busy.sum())
        if n_busy == 0 or iteration == MAX_NEWTON:
            break
        if 2 * n_busy <= len(members):
            # Half, a quarter, ... of the batch: few sizes, filled up with members that are done.
            size = len(members)
            while 2 * n_busy <= size:
                size = (size + 1) // 2
            keep = torch.argsort(~busy[members], stable=True)[:size]
            out = out.clone() if batch is whole else out
            batch, u, forcing, members = batch.take(keep), u[:, keep], forcing[keep], members[keep]
            now = batch.evaluate(u)
            target = batch.threshold(now)
        active = busy[members]
        wanted = 0.3 * target if batch.system.linear else torch.maximum(0.8 * target, forcing * now.norm)
        linear = linear_solve(batch.operator(), torch.where(_wide(active), -now.residual, 0.0), wanted)
        iterations[members] += linear.iterations
        count[members] += active
        negative[members] |= active & linear.negative
        slope = dot(now.residual, linear.x)
        now = now._replace(residual=slope)  # it is large, and has done its duty
        after, accepted = _line_search(batch, now, u, linear.x, slope, active)
        failed[members] |= active & ~accepted
        forcing = (0.9 * (after.norm / now.norm) ** 2).clamp(min=1e-6).nan_to_num(FORCING).clamp(max=FORCING)
        now = after
        del after, linear
    last = now if batch is whole else None
    return Equilibrium(out, converged, iterations, count, torch.zeros_like(count), negative, last)


def linear_solve(operator: Operator, b: Tensor, target: Tensor) -> Solution:
    """A Krylov method for K x = b (d, C B, *nodes) until sqrt(r . K_0^+ r) <= target (C B,)."""
    method = conjugate_gradients if operator.batch.system.symmetric else bicgstab
    return method(operator, operator.batch.system.boundary, b, target, MAX_KRYLOV)


def _line_search(
    batch: Batch, now: Evaluation, u: Tensor, direction: Tensor, slope: Tensor, active: Tensor
) -> tuple[Evaluation, Tensor]:
    """Move u along a direction, half as far until the residual or the incremental potential falls enough, in place.

    Answers the evaluation there and which members accepted it; ``slope`` (B,) is that of the potential.

    Laws that derive from an incremental potential (hyperelastic, associative plastic) always accept by the potential;
    close to the solution, where the potential differs only by rounding, the residual decides. Where a tangent is not
    symmetric there is no potential, and the residual decides alone.
    """
    alpha = torch.where(active, 1.0, 0.0).to(u.dtype)
    moved = torch.zeros_like(alpha)
    accepted = ~active
    for _ in range(MAX_HALVINGS + 1):
        u.addcmul_(_wide(alpha - moved), direction)
        moved = alpha
        after = batch.evaluate(u)
        falls = after.norm <= (1 - ARMIJO * alpha) * now.norm
        descends = after.potential <= now.potential + ARMIJO * alpha * slope
        descends &= batch.system.symmetric
        small = after.norm <= batch.threshold(after)
        sound = after.verdict < FIRST_WITHOUT_ANSWER
        accepted = ~active | (sound & (falls | descends | small))
        if bool(accepted.all()):
            break
        alpha = torch.where(accepted, alpha, 0.5 * alpha)
    return after, accepted
