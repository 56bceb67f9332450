"""A batch of cells: evaluation of the phase laws and products with the stiffness, block by block.

Nothing with a number for every component at every quadrature point is written out but what the laws must keep: history
and `saved`. A block (see `datagen.rve.discretisation`) goes from displacements to forces while it is in cache.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.rve.boundary import Boundary
from datagen.rve.discretisation import Block, Discretisation, Trilinear, blocks
from datagen.rve.elements import GROUP, Elements, norm
from datagen.rve.kinematics import Kinematics
from datagen.rve.krylov import dot
from datagen.rve.phases import BoundPhases, Phases

# Quadrature points or, with element matrices, voxels a block: on a CPU what stays in cache, else what fills the card.
POINTS = {"cpu": 2**14, "cuda": 2**23}
VOXELS = {"cpu": 2**13, "cuda": 2**21}


class Means(NamedTuple):
    """Averages over each cell."""

    psi: Tensor  # (B,)
    stress: Tensor  # (B, n)
    dissipation: Tensor  # (B,)
    by_phase: Tensor  # (B, n_phases) dissipation in each phase per cell volume
    energies: dict[str, Tensor]  # (B,) the phases' own energy extras


class Evaluation(NamedTuple):
    """A batch of cells at a trial fluctuation. What is large lies in the batch, see `Batch`."""

    means: Means
    verdict: Tensor  # (B,) int8, the largest of a member's points
    residual: Tensor  # (d, B, *nodes)
    norm: Tensor  # (B,) sqrt(r . K_0^+ r)
    scale: Tensor  # (B,) the same norm of the stress
    potential: Tensor  # (B,) <psi + dissipation>, nan where a point has no answer


class System(torch.nn.Module):
    """What all cells of a batch have in common.

    Args:
        discretisation: gradient and its adjoint.
        phases: the phase laws on the microstructure.
        kinematics: strains from gradients.
        boundary: which fluctuations are admissible, with the preconditioner.
        stiffest: the largest shear modulus in the cell [MPa], for the rounding floor.
        tolerance: relative residual, see `datagen.rve.solver`.
    """

    floor: Tensor
    to_strain: Tensor | None

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
        # Below a strain of 1e-9 accuracy is absolute; a deformation gradient near I is rounded at 1e-16 besides, and
        # the difference of a strain and an eigenstrain at as much of these.
        mu = boundary.mu
        own = [float(b.abs().max()) for name, b in phases.named_buffers() if name.endswith("eigenstrain")]
        offset = 1.0 if kinematics.measure is Measure.FINITE else max(own, default=0.0)
        rounding = 16 * torch.finfo(mu.dtype).eps * stiffest * offset
        self.register_buffer("floor", (1e-9 * tolerance * mu + rounding) / (2 * mu).sqrt())

        # All six small strains in one matrix product; at finite strain gradients are strains already.
        self.register_buffer("to_strain", None)
        if isinstance(discretisation, Trilinear) and len(kinematics.rows) == Measure.SMALL.n == kinematics.measure.n:
            shapes = discretisation.shapes.unflatten(0, (discretisation.n_dim, -1))
            strains = kinematics.matrix().to(shapes).unflatten(1, (kinematics.d, -1))
            both = torch.einsum("nij,jqc->nqic", strains, shapes)
            self.register_buffer("to_strain", both.flatten(2).flatten(0, 1))  # (n Q, d corners)

    def strain(self, nodal: Tensor, block: Block, mean: Tensor | None = None) -> Tensor:
        """Strain (n, Q, *c, b, v) in a block, of displacements and a macroscopic strain (n, *c, b)."""
        discretisation = self.discretisation
        if self.to_strain is None or not isinstance(discretisation, Trilinear):
            return self.kinematics.strain(discretisation.block_gradient(nodal, block), mean)
        values = discretisation.corner_values(nodal, block)
        strain = self.to_strain @ values.reshape(self.to_strain.shape[1], -1)
        strain = strain.reshape(Measure.SMALL.n, -1, *values.shape[2:])
        return strain if mean is None else strain.add_(mean[:, None, ..., None])

    def add_forces(self, forces: Tensor, stress: Tensor, block: Block) -> None:
        """Add the forces of a block's stress (n, Q, *c, b, v), the adjoint of `strain`."""
        discretisation = self.discretisation
        if self.to_strain is None or not isinstance(discretisation, Trilinear):
            return discretisation.add_divergence(forces, self.kinematics.nodal_stress(stress), block)
        values = self.to_strain.T @ stress.reshape(len(self.to_strain), -1)
        values *= 1 / (discretisation.n_quad * discretisation.n_voxels)
        values = values.reshape(len(forces), -1, *stress.shape[2:])
        return discretisation.add_corner_forces(forces, values, block)

    def own(self, stress: Tensor) -> Tensor:
        """The components that take part, of (n, ...) or (r, ...) to (r, ...)."""
        return stress if len(self.rows) == len(stress) else stress[self.rows]


class Batch:
    """A batch of cells with everything but the fluctuation fixed.

    Each evaluation writes the history it found to ``new_state``, what the tangent needs to ``saved`` and the stress
    norms to ``size``, over what the one before has left there. Linear phases need none of these, see `Elements`.

    Args:
        system: what the cells have in common.
        strain: macroscopic strains (B, n).
        state: phase states at the start of the step (n_state, Q, B, V).
        dt: time steps (B,).
        sample: microstructure of each member (B,) int64.
        new_state: where to put the phase states, like state.
    """

    def __init__(
        self,
        system: System,
        strain: Tensor,
        state: Tensor,
        dt: Tensor,
        sample: Tensor,
        new_state: Tensor | None = None,
    ) -> None:
        # Freed at once: it tells the C library to keep what blocks free for the next block, not to unmap it each time.
        torch.empty(31 * 2**20 * (strain.device.type == "cpu"), dtype=torch.uint8)
        self.system = system
        self.strain, self.state, self.dt, self.sample = strain, state, dt, sample
        discretisation = system.discretisation
        B, V = len(strain), discretisation.n_voxels
        self.new_state = torch.empty_like(state) if new_state is None else new_state
        device = "cpu" if strain.device.type == "cpu" else "cuda"
        points = min(POINTS[device], max(2**13, B * V * discretisation.n_quad // 16))
        self.blocks = blocks(B, discretisation.grid, points // discretisation.n_quad)
        self.saved: list[list[Tensor]] = []  # by block and family
        self.elements: Elements | None = None
        few = len(system.phases.laws) * system.phases.phase.shape[0] * GROUP <= max(V * B, 1024)
        if system.linear and few and isinstance(discretisation, Trilinear):
            larger = blocks(B, discretisation.grid, VOXELS[device])
            self.elements = Elements(discretisation, system.kinematics, system.phases, system.rows, sample, larger)
        self.affine = self.elements is not None and self.elements.affine
        points = 0 if self.affine else V
        self.size = strain.new_empty(discretisation.n_quad, B, points, dtype=torch.float32)  # a measure is all it is

    @functools.cached_property
    def points(self) -> list[BoundPhases]:
        """The phase laws on each block."""
        return [self.system.phases.bind(self.sample[m], voxels) for m, _, voxels in self.blocks]

    def take(self, members: Tensor) -> Batch:
        """Some of the members."""
        return Batch(
            self.system, self.strain[members], self.state[:, :, members], self.dt[members], self.sample[members]
        )

    def evaluate(self, u: Tensor) -> Evaluation:
        """Means, residual and tangent at a fluctuation."""
        system, discretisation = self.system, self.system.discretisation
        if self.elements is not None and self.affine:
            means, verdict, square, residual = self._linear(self.elements, u)
        else:
            forces = discretisation.blank(u)
            means, verdict, square = self._by_laws(u, forces)
            residual = discretisation.collect(forces)
            del forces
        out_of_balance = dot(residual, system.boundary(residual)).clamp(min=0).sqrt()
        scale = square.sqrt() / (2 * system.boundary.mu).sqrt()
        potential = torch.where(verdict >= FIRST_WITHOUT_ANSWER, torch.nan, means.psi + means.dissipation)
        return Evaluation(means, verdict, residual, out_of_balance, scale, potential)

    def _linear(self, elements: Elements, u: Tensor) -> tuple[Means, Tensor, Tensor, Tensor]:
        """Means, verdict, mean square of the stress (B,) and residual of phases that are affine, by their matrices."""
        system = self.system
        psi, square = torch.zeros_like(self.dt), torch.zeros_like(self.dt)
        rows, V = system.rows, system.discretisation.n_voxels
        stress, mean = self.strain.new_zeros(len(rows), len(psi)), self.strain[:, rows].T[:, None]
        verdict = torch.zeros_like(psi, dtype=torch.int8)
        forces = elements.blank(u[:, None])
        for number, part in enumerate(elements.load(elements.spread(u[:, None]), mean, forces)):
            m = part.members
            square[m] += part.square()[0]
            total = part.total(each=elements.origin is not None)[:, 0]
            psi_0, worst = elements.rest(number)
            psi[m] += 0.5 * (total * part.strain[:, 0]).sum((0, 2)) + system.discretisation.n_quad * psi_0
            stress[:, m] += total.sum(-1)
            verdict[m] = torch.maximum(verdict[m], worst)
        residual = elements.collect(forces)[:, 0]
        n_points = system.discretisation.n_quad * V
        psi = psi / n_points + 0.5 * dot(residual, u)  # <stress . grad u> is what the forces do
        full = torch.full_like(self.strain, torch.nan)
        full[:, rows] = stress.T / n_points
        lost = ~(full[:, rows].sum(-1).isfinite())
        verdict = torch.where(lost, verdict.clamp(min=int(Verdict.NOT_FINITE)), verdict)
        none = torch.zeros_like(psi)
        means = Means(psi, full, none, none.new_zeros(len(none), len(system.phases.laws)), {})
        return means, verdict, square / n_points, residual

    def _by_laws(self, u: Tensor, forces: Tensor) -> tuple[Means, Tensor, Tensor]:
        """Means, verdict and mean square of the stress (B,) at a fluctuation; adds up the forces."""
        system, discretisation = self.system, self.system.discretisation
        B = len(self.strain)
        nodal = discretisation.spread(u)
        psi, dissipation, square = self.strain.new_zeros(3, B)
        stress = torch.zeros_like(self.strain)
        by_phase = psi.new_zeros(B, len(system.phases.laws))
        energies = {name: torch.zeros_like(psi) for name in system.phases.energy_names}
        verdict = torch.zeros(B, dtype=torch.int8, device=u.device)
        first = not self.saved
        for number, (block, points) in enumerate(zip(self.blocks, self.points, strict=True)):
            m, _, v = block
            strain = system.strain(nodal, block, self.strain[m].T)
            step, keep = points.linearise(strain, self.state[:, :, m, v], self.dt[m, None])
            system.add_forces(forces, step.stress, block)
            size = norm(system.own(step.stress))
            self.size[:, m, v] = size
            self.new_state[:, :, m, v] = step.state
            psi[m] += step.psi.sum((0, 2))
            dissipation[m] += step.dissipation.sum((0, 2))
            stress[m] += step.stress.sum((1, 3)).T
            square[m] += size.square_().sum((0, 2))
            by_phase[m] += points.by_phase(step.dissipation)
            for name, field in step.energies.items():
                energies[name][m] += field.sum((0, 2))
            verdict[m] = torch.maximum(verdict[m], step.verdict)
            del strain, step, size
            if first:  # copied when all else is freed, so that they lie without gaps between them
                self.saved.append([field if _expanded(field) else field.clone() for field in keep])
            else:
                for k, (old, new) in enumerate(zip(self.saved[number], keep, strict=True)):
                    self.saved[number][k] = new if _expanded(new) else old.copy_(new)
            del keep
        n_points = discretisation.n_quad * discretisation.n_voxels
        energies = {name: total / n_points for name, total in energies.items()}
        means = Means(psi / n_points, stress / n_points, dissipation / n_points, by_phase / n_points, energies)
        return means, verdict, square / n_points

    def work(self, now: Evaluation, u: Tensor, strain_0: Tensor, u_0: Tensor) -> tuple[Tensor, Tensor]:
        """Micro work (B,) <1/2 (P_0 + P_1) : (F_1 - F_0)> since a state at rest, and the Hill-Mandel residual (B,).

        The state at the start of the step is that of ``strain_0`` (B, n) and ``u_0``: a step without time and without
        strain answers its stress. With forces r_k = <P_k . grad>, <P_k : (dF_bar + grad du)> =
        <P_k> : dF_bar + r_k . du
        holds exactly, so what the residuals leave is known without writing out either field.
        """
        system, discretisation = self.system, self.system.discretisation
        increment, rows = self.strain - strain_0, system.rows
        if self.elements is not None and self.affine:
            mean, mean_0 = (strain[:, rows].T[:, None] for strain in (self.strain, strain_0))
            forces, stress_0, size = self.elements.work(u[:, None], mean, u_0[:, None], mean_0)
            forces, stress_0, size = forces[:, 0], stress_0[:, 0].T, size[0]
        else:
            forces, stress_0, size = self._work_by_laws(u, strain_0, u_0)
        n_points = discretisation.n_quad * discretisation.n_voxels
        total = now.means.stress[:, rows] + stress_0 / n_points
        macro = 0.5 * (total * increment[:, rows]).sum(-1)
        defect = 0.5 * dot(forces.add_(now.residual), u - u_0)
        size *= 0.5 / n_points
        return macro + defect, torch.where(size > 0, defect.abs() / torch.where(size > 0, size, 1.0), 0.0)

    def _work_by_laws(self, u: Tensor, strain_0: Tensor, u_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Forces at the start, sums of the stress there (B, r) and of (|P_0| + |P_1|) |F_1 - F_0| (B,)."""
        system, discretisation = self.system, self.system.discretisation
        nodal, forces = discretisation.spread(u_0), discretisation.blank(u_0)
        step_u, increment = discretisation.spread(u - u_0), self.strain - strain_0
        size, stress_0 = torch.zeros_like(self.dt), self.strain.new_zeros(len(self.strain), len(system.rows))
        for block, points in zip(self.blocks, self.points, strict=True):
            m, _, v = block
            strain = system.strain(nodal, block, strain_0[m].T)
            rest = torch.zeros_like(self.dt[m, None])
            stress = points.linearise(strain, self.state[:, :, m, v], rest)[0].stress
            system.add_forces(forces, stress, block)
            stress_0[m] += system.own(stress).sum((1, 3)).T
            change = system.strain(step_u, block, increment[m].T)
            both = norm(system.own(stress)).add_(self.size[:, m, v])
            size[m] += both.mul_(norm(system.own(change))).sum((0, 2))
        return discretisation.collect(forces), stress_0, size

    def operator(self) -> Operator:
        """K(u): the stiffness where the batch was evaluated last."""
        return Operator(self)

    def threshold(self, now: Evaluation) -> Tensor:
        """Residual norm (B,) under which a member is converged."""
        return self.system.tolerance * now.scale + self.system.floor


class Operator:
    """The stiffness of a batch at its last evaluation, K p = <grad^T C grad p>, for C columns a member.

    Fluctuations of all columns stand side by side: (d, C B, *nodes), column-major. Linear phases have element matrices.
    In the plane the tangent of the few components that a fluctuation changes is stored densely, which is less work than
    applying the law's product; in three dimensions that would take gigabytes, so the law's own product is used.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch, self.saved = batch, batch.saved
        kinematics = batch.system.kinematics
        self.dense: list[list[list[Tensor]]] | None = None
        if batch.elements is None and kinematics.n_dim == 2 and len(kinematics.rows) <= 4:
            self.dense = [self._dense_tangent(i) for i in range(len(batch.blocks))]

    def _dense_tangent(self, number: int) -> list[list[Tensor]]:
        """table[b][a] = d stress_a / d strain_b in one block, (Q, b, v)."""
        batch, (m, _, v) = self.batch, self.batch.blocks[number]
        rows = batch.system.kinematics.rows
        size = batch.size[:, m, v]
        table: list[list[Tensor]] = []
        for k, row in enumerate(rows):
            unit = batch.strain.new_zeros(batch.strain.shape[1], size.shape[0], 1, *size.shape[1:])
            unit[row] = 1.0
            product = batch.points[number].apply_tangent(self.saved[number], unit)[:, :, 0]
            known = k if batch.system.symmetric else 0
            table.append([table[a][k] if a < known else product[r].contiguous() for a, r in enumerate(rows)])
        return table

    def __call__(self, p: Tensor) -> Tensor:
        """K p, nodal forces of the shape of p (d, C B, *nodes)."""
        batch, system = self.batch, self.batch.system
        discretisation, kinematics = system.discretisation, system.kinematics
        p = p.unflatten(1, (-1, len(batch.strain)))
        if batch.elements is not None:
            return batch.elements.product(p).flatten(1, 2)
        nodal, forces = discretisation.spread(p), discretisation.blank(p)
        for i, block in enumerate(batch.blocks):
            if self.dense is None:
                strain = system.strain(nodal, block)
                system.add_forces(forces, batch.points[i].apply_tangent(self.saved[i], strain), block)
            else:
                strain = kinematics.moving(discretisation.block_gradient(nodal, block))
                stress = torch.empty_like(strain)
                for a in range(len(strain)):
                    torch.mul(self.dense[i][0][a][:, None], strain[0], out=stress[a])
                    for b in range(1, len(strain)):
                        stress[a].addcmul_(self.dense[i][b][a][:, None], strain[b])
                discretisation.add_divergence(forces, kinematics.nodal_stress(stress, moving=True), block)
        return discretisation.collect(forces).flatten(1, 2)

    def respond(self, p: Tensor, strain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer to fluctuations p (d, C B, *nodes) and macroscopic strains (n, C, B) together.

        Returns:
            Forces (d, C B, *nodes), mean stress (n, C, B) and root mean square of the stress (C B,).
        """
        batch, system = self.batch, self.batch.system
        discretisation = system.discretisation
        p = p.unflatten(1, (-1, len(batch.strain)))
        mean, square = torch.zeros_like(strain), torch.zeros_like(strain[0])
        elements = batch.elements
        if elements is not None:
            forces = elements.blank(p)
            for part in elements.load(elements.spread(p), strain[system.rows], forces, change=True):
                mean[system.rows, :, part.members] += part.total()[..., 0]
                square[:, part.members] += part.square()
            forces = elements.collect(forces)
        else:
            nodal, forces = discretisation.spread(p), discretisation.blank(p)
            for i, block in enumerate(batch.blocks):
                m = block.members
                stress = batch.points[i].apply_tangent(self.saved[i], system.strain(nodal, block, strain[..., m]))
                system.add_forces(forces, stress, block)
                mean[..., m] += stress.sum((1, 4))
                square[:, m] += norm(system.own(stress)).square_().sum((0, 3))
            forces = discretisation.collect(forces)
        n_points = discretisation.n_quad * discretisation.n_voxels
        return forces.flatten(1, 2), mean / n_points, (square / n_points).sqrt().flatten()


def _expanded(field: Tensor) -> bool:
    """Whether points share memory, as those of one grain do: what is one number for many is kept as one."""
    return 0 in field.stride()
