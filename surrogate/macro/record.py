"""What is kept of each load step."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Step
from surrogate.macro.assembly import Assembly
from surrogate.macro.newton import Balance, Newton
from surrogate.macro.points import Material
from surrogate.macro.problem import Problem
from surrogate.macro.solution import Increment, Solution, warnings_in


class Recorder:
    """Fields and energies of the accepted increments, gathered over regions.

    Args:
        assembly: the operators of the body.
        material: its regions.
    """

    def __init__(self, assembly: Assembly, material: Material) -> None:
        self.assembly, self.material = assembly, material
        self.rows: dict[str, list[Tensor]] = defaultdict(list)
        self.extras: dict[str, list[Tensor]] = defaultdict(list)
        self.energy: dict[str, list[float]] = defaultdict(list)
        self._work = self._internal_work = self._dissipated = 0.0
        self._dissipation = torch.zeros(assembly.n_elements, assembly.n_points, dtype=torch.float64)
        self._extra_shapes = {
            name: extra.shape for region in material.regions for name, extra in region.law.extras.items()
        }

    def increment(self, newton: Newton, before: Balance, after: Balance) -> None:
        """Add the work and the dissipation between two states in balance."""
        du = after.u - before.u
        self._work += float(0.5 * (newton.external(before) + newton.external(after)) @ du)
        power = 0.5 * (before.response.stress + after.response.stress) * self.assembly.strain(du)
        self._internal_work += self.assembly.integral(power.sum(-1))
        within = self._points([step.dissipation for step in after.response.steps])
        self._dissipation += within
        self._dissipated += self.assembly.integral(within)

    def step(self, newton: Newton, balance: Balance) -> None:
        """Keep the end of a load step."""
        rows, answer = self.rows, balance.response
        rows["displacements"].append(torch.from_numpy(balance.u.copy()))
        rows["reactions"].append(torch.from_numpy(newton.reactions(balance)))
        rows["strain"].append(self._full_strain(balance.u))
        for name in ("stress", "psi", "verdict"):
            rows[name].append(self._points([getattr(step, name) for step in answer.steps]))
        rows["dissipation"].append(self._dissipation.clone())
        self._dissipation.zero_()
        for name in self._extra_shapes:
            self.extras[name].append(self._extra(name, answer.steps))
        stored = self.assembly.integral(rows["psi"][-1])
        for name, value in {
            "work": self._work,
            "internal_work": self._internal_work,
            "stored": stored,
            "dissipated": self._dissipated,
            "imbalance": self._work - stored - self._dissipated,
        }.items():
            self.energy[name].append(value)

    def _full_strain(self, u: np.ndarray) -> Tensor:
        measure = self.assembly.measure
        strain = measure.reference().repeat(self.assembly.n_elements, self.assembly.n_points, 1)
        strain[..., self.assembly.columns] += self.assembly.strain(u)
        return strain

    def _points(self, values: list[Tensor]) -> Tensor:
        """Values of the regions, each (N_r, ...), as (n_elements, n_points, ...) on the CPU."""
        regions = self.material.regions
        first = values[0].cpu()
        if len(regions) == 1:
            return first.unflatten(0, regions[0].shape)
        out = first.new_empty(self.assembly.n_elements, self.assembly.n_points, *first.shape[1:])
        for region, value in zip(regions, values, strict=True):
            out[region.elements] = value.cpu().unflatten(0, region.shape)
        return out

    def _extra(self, name: str, steps: tuple[Step, ...]) -> Tensor:
        if all(name in step.extras for step in steps):
            return self._points([step.extras[name] for step in steps])
        shape = self._extra_shapes[name]
        values = []
        for region, step in zip(self.material.regions, steps, strict=True):
            nothing = torch.full((region.n_points, *shape), torch.nan, dtype=torch.float64)
            values.append(step.extras[name].double() if name in step.extras else nothing)
        return self._points(values)

    def solution(self, problem: Problem, increments: list[Increment], timings: dict[str, float]) -> Solution:
        """Everything that was kept."""
        T, regions = len(self.rows["psi"]), self.material.regions
        converged = len(problem.load_factors) == T
        shape = (self.assembly.n_elements, self.assembly.n_points)
        n, n_dof = problem.measure.n, self.assembly.n_dof
        empty = {"displacements": (n_dof,), "reactions": (n_dof,), "strain": (*shape, n), "stress": (*shape, n)}
        rows = {}
        for name in ("displacements", "reactions", "strain", "stress", "psi", "dissipation", "verdict"):
            dtype = torch.int8 if name == "verdict" else torch.float64
            kept = self.rows[name]
            rows[name] = torch.stack(kept) if kept else torch.empty(0, *empty.get(name, shape), dtype=dtype)
        if converged:
            reason = f"Converged in {T} load steps. {warnings_in(rows['verdict'])}".strip()
        else:
            last = increments[-1]
            reason = f"Stopped in load step {T + 1} at load factor {last.load_factor:.6g}: {last.reason.rstrip('.')}."
        return Solution(
            problem=problem,
            assembly=self.assembly,
            load_factors=torch.tensor(problem.load_factors[:T], dtype=torch.float64),
            extras={name: torch.stack(kept) for name, kept in self.extras.items()},
            energy={name: torch.tensor(values, dtype=torch.float64) for name, values in self.energy.items()},
            state={region.name: region.state for region in regions if region.state is not None},
            increments=increments,
            timings=timings,
            converged=converged,
            reason=reason,
            **rows,
        )
