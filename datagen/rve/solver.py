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

from datagen.laws.law import Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.rve.boundary import Boundary
from datagen.rve.discretisation import Discretisation
from datagen.rve.kinematics import Kinematics
from datagen.rve.krylov import Solution, bicgstab, conjugate_gradients, dot
from datagen.rve.phases import BoundPhases, Phases, PhaseStep

MAX_NEWTON = 25
MAX_HALVINGS = 10
MAX_KRYLOV = 2000
ARMIJO = 1e-4


class Evaluation(NamedTuple):
    """A batch of cells at a trial fluctuation."""

    step: PhaseStep
    saved: list[Tensor]
    residual: Tensor  # (d, B, *nodes)
    norm: Tensor  # (B,) sqrt(r . K_0^+ r)
    scale: Tensor  # (B,) the same norm of the stress
    potential: Tensor  # (B,) <psi + dissipation>, nan where a point has no answer


class Equilibrium(NamedTuple):
    """What `newton` answers."""

    u: Tensor  # (d, B, *nodes)
    converged: Tensor  # (B,) bool
    iterations: Tensor  # (B,) int64, products with the stiffness in the linear solves
    newton: Tensor  # (B,) int64, Newton iterations
    cuts: Tensor  # (B,) int64, how often the step was halved; `newton` itself never does
    negative: Tensor  # (B,) bool: a linear solve met negative curvature on the way


class Batch:
    """A batch of cells with everything but the fluctuation fixed.

    Args:
        system: what the cells have in common.
        strain: macroscopic strains (B, n).
        state: phase states at the start of the step (n_state, Q, B, V).
        dt: time steps (B,).
        sample: microstructure of each member (B,) int64.
    """

    def __init__(self, system: System, strain: Tensor, state: Tensor, dt: Tensor, sample: Tensor) -> None:
        self.system = system
        self.strain, self.state, self.dt, self.sample = strain, state, dt, sample
        self.points: BoundPhases = system.phases.bind(sample)

    def take(self, members: Tensor) -> Batch:
        """Some of the members."""
        return Batch(
            self.system, self.strain[members], self.state[:, :, members], self.dt[members], self.sample[members]
        )

    def fields(self, u: Tensor) -> Tensor:
        """Strain at all points (n, Q, B, V)."""
        fluctuation = self.system.kinematics.strain(self.system.discretisation.gradient(u))
        return fluctuation.add_(self.strain.T[:, None, :, None])

    def evaluate(self, u: Tensor) -> Evaluation:
        """Step, tangent and residual at a fluctuation."""
        system = self.system
        step, saved = self.points.linearise(self.fields(u), self.state, self.dt[:, None])
        residual = system.residual(step.stress)
        norm = dot(residual, system.boundary(residual)).clamp(min=0).sqrt()
        scale = (step.stress[system.rows] ** 2).sum(0).mean((0, 2)).sqrt() / (2 * system.boundary.mu).sqrt()
        potential = (step.psi + step.dissipation).mean((0, 2))
        bad = step.verdict >= FIRST_WITHOUT_ANSWER
        return Evaluation(step, saved, residual, norm, scale, torch.where(bad, torch.nan, potential))

    def operator(self, saved: list[Tensor], columns: int = 1) -> Operator:
        """K(u): the stiffness at an evaluation, acting on ``columns`` fluctuations of each member."""
        return Operator(self, saved, columns)

    def threshold(self, now: Evaluation) -> Tensor:
        """Residual norm (B,) under which a member is converged."""
        return self.system.tolerance * now.scale + self.system.floor


class System(torch.nn.Module):
    """What all cells of a batch have in common.

    Args:
        discretisation: gradient and its adjoint.
        phases: the phase laws on the microstructure.
        kinematics: strains from gradients.
        boundary: which fluctuations are admissible, with the preconditioner.
        stiffest: the largest shear modulus in the cell [MPa], for the rounding floor.
        tolerance: relative residual, see the module.
    """

    floor: Tensor

    def __init__(
        self,
        discretisation: Discretisation,
        phases: Phases,
        kinematics: Kinematics,
        boundary: Boundary,
        stiffest: Tensor,
        tolerance: float,
    ) -> None:
        super().__init__()
        self.discretisation, self.phases, self.kinematics = discretisation, phases, kinematics
        self.boundary = boundary
        self.tolerance = tolerance
        # Stress components that can be out of balance or do work here; a plane law answers nan in the others.
        columns = kinematics.measure.columns(phases.components)
        self.rows = sorted({*kinematics.rows, *columns})
        self.linear = all(law.linear for law in phases.laws)
        self.symmetric = all(law.symmetric for law in phases.laws)
        # Below a strain of 1e-9 accuracy is absolute; a deformation gradient near I is rounded at 1e-16 besides.
        mu = boundary.mu
        rounding = 16 * torch.finfo(mu.dtype).eps * stiffest if kinematics.measure is Measure.FINITE else 0.0
        self.register_buffer("floor", (1e-9 * tolerance * mu + rounding) / (2 * mu).sqrt())

    def residual(self, stress: Tensor) -> Tensor:
        """Nodal residual of a stress field (n, Q, B, V)."""
        return self.discretisation.divergence(self.kinematics.nodal_stress(stress))


class Operator:
    """The stiffness of a batch at one evaluation, K p = <grad^T C grad p>, for C columns a member.

    Fluctuations of all columns stand side by side: (d, C B, *nodes), column-major. In the plane the tangent of the
    few components that a fluctuation changes is stored densely, which is less work than applying the law's product;
    in three dimensions that would take gigabytes, so the law's own product is used.
    """

    def __init__(self, batch: Batch, saved: list[Tensor], columns: int) -> None:
        self.batch, self.saved, self.columns = batch, saved, columns
        kinematics = batch.system.kinematics
        self.rows = kinematics.rows
        self.dense: list[list[Tensor]] | None = None
        if kinematics.n_dim == 2 and len(self.rows) <= 4:
            self.dense = self._dense_tangent()

    def _dense_tangent(self) -> list[list[Tensor]]:
        batch = self.batch
        n, Q = batch.system.kinematics.measure.n, batch.system.discretisation.n_quad
        B, V = len(batch.strain), batch.system.discretisation.n_voxels
        table = []
        for row in self.rows:
            unit = batch.strain.new_zeros(n, Q, 1, B, V)
            unit[row] = 1.0
            product = batch.points.apply_tangent(self.saved, unit)[:, :, 0]
            table.append([product[a].contiguous() for a in self.rows])
        return table  # table[b][a] = d stress_a / d strain_b, (Q, B, V)

    def __call__(self, p: Tensor) -> Tensor:
        """K p, nodal forces of the shape of p."""
        system, C = self.batch.system, self.columns
        gradient = system.discretisation.gradient(p)
        gradient = gradient.unflatten(3, (C, -1))
        if self.dense is None:
            stress = self.batch.points.apply_tangent(self.saved, system.kinematics.strain(gradient))
            nodal = system.kinematics.nodal_stress(stress)
        else:
            strain = system.kinematics.strain(gradient, self.rows)
            stress = torch.empty_like(strain)
            for a in range(len(self.rows)):
                torch.mul(self.dense[0][a][:, None], strain[0], out=stress[a])
                for b in range(1, len(self.rows)):
                    stress[a].addcmul_(self.dense[b][a][:, None], strain[b])
            nodal = system.kinematics.nodal_stress(stress, self.rows)
        return system.discretisation.divergence(nodal.flatten(3, 4))

    def solve(self, b: Tensor, target: Tensor) -> Solution:
        """A Krylov method for K x = b until sqrt(r . K_0^+ r) <= target."""
        method = conjugate_gradients if self.batch.system.symmetric else bicgstab
        return method(self, self.batch.system.boundary, b, target, MAX_KRYLOV)


def _wide(values: Tensor) -> Tensor:
    return values[None, :, None, None, None]


def newton(batch: Batch, u: Tensor) -> Equilibrium:
    """Fluctuations in equilibrium, from a guess ``u`` (d, B, *nodes); failure is reported member by member.

    Inexact Newton: the linear solves are as accurate as the progress of the outer iteration warrants (Eisenstat and
    Walker 1996, choice 2), to the end at once when all laws are linear. Members that are done are dropped from the
    batch when half of it is.
    """
    B = len(batch.strain)
    members = torch.arange(B, device=u.device)
    out = u.clone()
    converged = torch.zeros(B, dtype=torch.bool, device=u.device)
    failed, negative = converged.clone(), converged.clone()
    iterations, count = torch.zeros(2, B, dtype=torch.int64, device=u.device)
    now = batch.evaluate(u)
    forcing = torch.full_like(now.norm, 0.1)
    for iteration in range(MAX_NEWTON + 1):
        target = batch.threshold(now)
        out[:, members] = u
        converged[members] |= (now.norm <= target) & (now.step.verdict < FIRST_WITHOUT_ANSWER)
        failed[members] |= now.step.verdict >= FIRST_WITHOUT_ANSWER
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
            batch, u, forcing, members = batch.take(keep), u[:, keep], forcing[keep], members[keep]
            now = batch.evaluate(u)
            target = batch.threshold(now)
        active = busy[members]
        tight = 0.3 * target
        wanted = tight if batch.system.linear else torch.maximum(tight, forcing * now.norm)
        linear = batch.operator(now.saved).solve(_mask(-now.residual, active), wanted)
        iterations[members] += linear.iterations
        count[members] += active
        negative[members] |= active & linear.negative
        u, after, accepted = _line_search(batch, now, u, linear.x, active)
        failed[members] |= active & ~accepted
        forcing = (0.9 * (after.norm / now.norm) ** 2).clamp(1e-6, 0.1).nan_to_num(0.1)
        now = after
    return Equilibrium(out, converged, iterations, count, torch.zeros_like(count), negative)


def _mask(field: Tensor, active: Tensor) -> Tensor:
    return torch.where(_wide(active), field, 0.0)


def _line_search(
    batch: Batch, now: Evaluation, u: Tensor, direction: Tensor, active: Tensor
) -> tuple[Tensor, Evaluation, Tensor]:
    """Halve the step until the residual or the incremental potential falls enough; answers (u, evaluation, accepted).

    Laws that derive from an incremental potential (hyperelastic, associative plastic) always accept by the potential;
    close to the solution, where the potential differs only by rounding, the residual decides. Where a tangent is not
    symmetric there is no potential, and the residual decides alone.
    """
    slope = dot(now.residual, direction)
    alpha = torch.where(active, 1.0, 0.0).to(u.dtype)
    accepted = ~active
    for _ in range(MAX_HALVINGS + 1):
        trial = u + _wide(alpha) * direction
        after = batch.evaluate(trial)
        falls = after.norm <= (1 - ARMIJO * alpha) * now.norm
        descends = after.potential <= now.potential + ARMIJO * alpha * slope
        descends &= batch.system.symmetric
        small = after.norm <= batch.threshold(after)
        sound = after.step.verdict < FIRST_WITHOUT_ANSWER
        accepted = ~active | (sound & (falls | descends | small))
        if bool(accepted.all()):
            break
        alpha = torch.where(accepted, alpha, 0.5 * alpha)
    return trial, after, accepted
