"""How the fluctuation of a cell in equilibrium answers to its macroscopic strain."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.rve.batch import Operator
from datagen.rve.krylov import Solution, dot
from datagen.rve.solver import linear_solve

MAX_SOLVES = 4
SLACK = 10.0


def sensitivities(
    operator: Operator, unit: Tensor, accuracy: float, hopeless: Tensor
) -> tuple[Solution, Tensor, Tensor]:
    """Solve K w = -<grad^T C unit> for w = d u / d strain_bar along ``unit`` strains.

    A residual is measured against the stress. How large that is is known in the end only: next to stiff inclusions it
    lies far below the stress of the affine strain, which the first solve goes by. What was left is solved for again
    where it is more than ten times too large.

    Args:
        operator: the stiffness K of B cells.
        unit: macroscopic strains (n, C, B).
        accuracy: residual relative to the stress.
        hopeless: members to leave alone, (B,) bool.

    Returns:
        w (d, C B, *nodes) with how it was found, the nodal forces left, and the mean stress (n, C, B).
    """
    system = operator.batch.system
    skip = hopeless.repeat(unit.shape[1])
    w = unit.new_zeros(system.kinematics.d, len(skip), *system.discretisation.nodes)
    forces, mean, size = operator.respond(w, unit)
    target = torch.where(skip, torch.inf, accuracy * size / (2 * system.boundary.mu).sqrt())
    negative, stuck = torch.zeros(2, len(skip), dtype=torch.bool, device=unit.device)
    iterations = torch.zeros_like(negative, dtype=torch.int64)
    for _ in range(MAX_SOLVES):
        solved = linear_solve(operator, forces.neg_(), target)
        w = w.add_(solved.x)
        negative, iterations = negative | solved.negative, iterations + solved.iterations
        stuck |= ~(solved.converged | solved.negative)
        forces, mean, size = operator.respond(w, unit)
        norm = dot(forces, system.boundary(forces)).clamp(min=0).sqrt()
        target = accuracy * size / (2 * system.boundary.mu).sqrt()
        left = (norm > SLACK * target) & ~(skip | stuck | negative)
        if not bool(left.any()):
            break
        target = torch.where(left, target, torch.inf)
    return Solution(w, negative, ~(stuck | negative), iterations), forces, mean
