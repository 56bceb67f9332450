"""What a macro simulation answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.laws.verdict import Verdict
from datagen.tensors import det, double_dot, from_mandel, matmul
from surrogate.macro.assembly import Assembly
from surrogate.macro.problem import Problem


@dataclass(frozen=True)
class Increment:
    """One attempt to advance the load, accepted or not.

    Attributes:
        step: number of the load step it belongs to, from 1.
        load_factor: at its end.
        dt: its time [s].
        accepted: whether it made history.
        residuals: out-of-balance force on the free degrees of freedom, relative to the larger of internal and external
            forces: first that of the new load at the old displacements, then one after each Newton iteration.
        reason: a sentence.
    """

    step: int
    load_factor: float
    dt: float
    accepted: bool
    residuals: tuple[float, ...]
    reason: str


@dataclass
class Solution:
    """Load-displacement history and fields of a solved problem; T load steps were reached, all tensors on the CPU.

    Attributes:
        problem, assembly: what was solved, and its finite element operators (nodes, Gauss points, weights).
        load_factors: (T,).
        displacements: (T, n_dof) [mm], degree of freedom dim * node + component.
        reactions: (T, n_dof) [N], what the supports do to the body, zero at free degrees of freedom.
        strain, stress: (T, n_elements, n_points, n) as the law's measure says.
        psi, dissipation: (T, n_elements, n_points) [MPa]; the dissipation is that within the load step.
        verdict: (T, n_elements, n_points) int8.
        extras: of the laws, by name, (T, n_elements, n_points, ...); nan in regions whose law does not give it. What is
            per step is that of the last increment when a load step was cut.
        energy: by name, (T,) [N mm], all counted from the start: ``work`` of the external forces and supports (midpoint
            rule over each increment), ``internal_work`` sum w 1/2 (s_0 + s_1) . d strain, ``stored``, ``dissipated``,
            and ``imbalance`` = work - stored - dissipated, which vanishes as load steps are refined.
        state: final state of each region, (n_points_of_region, n_state), on the law's device.
        increments: every attempt.
        timings: seconds in ``setup``, ``law``, ``assembly``, ``linear_solve``, ``total``; numbers of ``law_calls`` (a
            call for each region of one evaluation), ``points`` asked for in all, ``iterations`` (linear solves).
        converged: whether the last load step was reached.
        reason: a sentence: why not, or what to look at.
    """

    problem: Problem
    assembly: Assembly
    load_factors: Tensor
    displacements: Tensor
    reactions: Tensor
    strain: Tensor
    stress: Tensor
    psi: Tensor
    dissipation: Tensor
    verdict: Tensor
    extras: dict[str, Tensor]
    energy: dict[str, Tensor]
    state: dict[str, Tensor]
    increments: list[Increment]
    timings: dict[str, float]
    converged: bool
    reason: str

    @property
    def monitored(self) -> Tensor:
        """Displacement of the problem's monitored point, (T, dim) [mm]."""
        if self.problem.monitor is None:
            raise ValueError("problem: monitor is None, wanted the point whose displacement to give")
        node = int(self.assembly.nodes_at(tuple(self.problem.monitor))[0])
        return self.nodal(self.displacements)[:, node]

    @property
    def residuals(self) -> list[tuple[float, ...]]:
        """Residuals of the increment that ended each load step."""
        last = {increment.step: increment.residuals for increment in self.increments if increment.accepted}
        return [last[t + 1] for t in range(len(self.load_factors))]

    def orders(self, floor: float = 1e-13) -> list[float]:
        """`convergence_order` of each load step."""
        return [convergence_order(residuals, floor) for residuals in self.residuals]

    def nodal(self, values: Tensor) -> Tensor:
        """(T, n_dof) as (T, n_nodes, dim)."""
        return values.unflatten(-1, (-1, self.assembly.dim))

    def cauchy(self) -> Tensor:
        """True stress (T, n_elements, n_points, 3, 3) [MPa]: sigma, or P F^T / J.

        A law in plane stress, known by its extra ``strain_33``, has no stress out of the plane. A law that was made
        for plane strain does not tell it: those components are nan.
        """
        strain, stress = self.strain, self.stress.nan_to_num(nan=0.0)
        free = "strain_33" in self.extras
        if free:
            strain = strain.clone()
            strain[..., self.problem.measure.columns(["33"])[0]] = self.extras["strain_33"]
        if self.problem.measure is Measure.SMALL:
            sigma, unknown = from_mandel(stress), from_mandel(self.stress).isnan()
        else:
            F, P = strain.unflatten(-1, (3, 3)), stress.unflatten(-1, (3, 3))
            sigma, unknown = matmul(P, F.transpose(-1, -2)) / det(F)[..., None, None], self.stress.isnan()
        return sigma if free else torch.where(unknown.reshape(sigma.shape), torch.nan, sigma)

    def in_plane_shear(self) -> Tensor:
        r"""Largest true shear stress in the plane x-y, sqrt((s_11 - s_22)^2 / 4 + s_12^2) [MPa].

        As (T, n_elements, n_points). A law made for plane strain tells it too; the von Mises stress would need 33.
        """
        sigma = self.cauchy()
        return torch.hypot(0.5 * (sigma[..., 0, 0] - sigma[..., 1, 1]), sigma[..., 0, 1])

    def von_mises(self) -> Tensor:
        """Von Mises equivalent of the true stress, (T, n_elements, n_points) [MPa]."""
        sigma = self.cauchy()
        pressure = (sigma[..., 0, 0] + sigma[..., 1, 1] + sigma[..., 2, 2]) / 3
        deviator = sigma - pressure[..., None, None] * torch.eye(3, dtype=sigma.dtype)
        return (1.5 * double_dot(deviator, deviator)).sqrt()

    def cell_mean(self, values: Tensor) -> Tensor:
        """Volume average over each element of (T, n_elements, n_points, ...)."""
        w = self.assembly.weights / self.assembly.weights.sum(1, keepdim=True)
        return (w.reshape(*w.shape, *[1] * (values.dim() - 3)) * values).sum(2)


def convergence_order(residuals: Sequence[float], floor: float = 1e-13) -> float:
    r"""Order p of the last three residuals, ln(r_2/r_1) / ln(r_1/r_0): the p of r_(k+1) = c r_k^p.

    Round-off (for a cell as law: its tolerance) ends every such series early. Where the last residual and the one that
    a method of second order would have reached, r_1 (r_1/r_0)^2, both lie below ``floor``, three residuals cannot tell
    the order and the answer is infinite; so it is for fewer than three residuals.

    Example:
        >>> round(convergence_order([1e-1, 1e-2, 1e-4, 1e-8]), 6)
        2.0
        >>> round(convergence_order([1e-1, 1e-2, 1e-3]), 6)
        1.0
        >>> convergence_order([1e-4, 1e-8, 2e-14])
        inf
    """
    if len(residuals) < 3:
        return math.inf
    r0, r1, r2 = residuals[-3:]
    if r2 <= floor and (r2 == 0.0 or r1 * (r1 / r0) ** 2 <= floor):
        p = math.log(r2 / r1) / math.log(r1 / r0) if r1 < r0 and r2 > 0.0 else 0.0
        return p if p >= 2.0 else math.inf
    return math.log(r2 / r1) / math.log(r1 / r0) if r1 < r0 else 0.0


def warnings_in(verdict: Tensor) -> str:
    """A sentence about the points (T, ...) whose answer stands with a warning; empty if there is none."""
    sentences = []
    for code in Verdict:
        points = (verdict == int(code)).flatten(1).sum(1)
        if code is Verdict.GOOD or not code.has_answer or not bool(points.any()):
            continue
        t = int(torch.argmax((points > 0).int()))
        sentences.append(f"{int(points[t])} points from step {t + 1} on are {code.name}: {code.sentence}")
    return " ".join(sentences)
