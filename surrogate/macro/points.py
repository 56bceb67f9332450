"""The material points of a body: which law answers where, with which history.

This is the one place where macro finite elements meet a law. All points of a region go to its law in one call. The
solver may ask many times within a load step; the history handed to the law is always that of the start of the step, its
guess columns those of the last iterate, and only an accepted step makes new history.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Law, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from surrogate.macro.assembly import Assembly
from surrogate.macro.problem import Problem

Laws = Law | Mapping[str, Law]
Parameters = Tensor | Mapping[str, Tensor] | None


class Response(NamedTuple):
    """What the laws answer for one deformation of the body; in components that the mesh drives, on the CPU."""

    stress: Tensor  # (n_elements, n_points, m)
    tangent: Tensor  # (n_elements, n_points, m, m)
    steps: tuple[Step, ...]  # one a region, as the law gave it but for the state, which the region keeps
    failure: str = ""  # why there is no answer, or nothing


class Region:
    """The points of one region, and the history they have.

    Args:
        name: of the region.
        law: answers for its points.
        elements: numbers of its elements.
        assembly: the finite element operators.
        parameters: (n_elements, n_points, n_parameters) of its points, or None.
    """

    def __init__(
        self, name: str, law: Law, elements: np.ndarray, assembly: Assembly, parameters: Tensor | None
    ) -> None:
        self.name, self.law, self.elements = name, law, elements
        self.columns = assembly.columns
        self.components = tuple(law.measure.components[k] for k in assembly.columns)
        self.shape = (len(elements), assembly.n_points)
        self.n_points = len(elements) * assembly.n_points
        self.parameters = None if parameters is None else parameters.reshape(self.n_points, -1).to(law.device)
        self.state: Tensor | None = None  # at the start of the step; made at the first evaluation
        self._latest: Tensor | None = None  # at the last iterate

    @property
    def bytes_per_point(self) -> int:
        """Memory of one point: the states that are alive at once, strain, stress and tangent."""
        law = self.law
        # At the start of the step and coming out of the law; going in too when its guess is the last iterate's.
        copies = 3 if law.n_guess else 2
        return 8 * (copies * law.n_state + 2 * law.measure.n**2 + 4 * law.measure.n)

    def reference(self, dt: float) -> tuple[Tensor, Tensor, Step]:
        """Stress, tangent and step of the undeformed body: one point for each distinct row of parameters."""
        parameters, point_of = self.parameters, torch.zeros(self.n_points, dtype=torch.int64, device=self.law.device)
        if parameters is not None:
            parameters, point_of = torch.unique(parameters, dim=0, return_inverse=True)
        n = 1 if parameters is None else len(parameters)
        strain = self.law.reference_strain().expand(n, -1).clone()
        step, saved = self.law.linearise(strain, self.law.initial_state(n), dt, parameters, self.components)
        stress, tangent = self._driven(step, saved)
        everywhere = step._replace(verdict=step.verdict[point_of])
        point_of = point_of.cpu()
        return stress[point_of].unflatten(0, self.shape), tangent[point_of].unflatten(0, self.shape), everywhere

    def evaluate(self, strain: Tensor, dt: float) -> tuple[Tensor, Tensor, Step]:
        """Stress, tangent and step for strain increments (n_elements, n_points, m) over the reference."""
        law = self.law
        reference = law.reference_strain()
        full = reference[:, None].repeat(1, self.n_points)  # components first: that is how laws read them
        full[self.columns] += strain.reshape(self.n_points, -1).T.to(law.device)
        step, saved = law.linearise(full.T, self._state_in(), dt, self.parameters, self.components)
        stress, tangent = self._driven(step, saved)
        self._latest = step.state
        step = step._replace(state=step.state.new_empty(0))  # so that nothing else keeps the large tensor alive
        return stress.unflatten(0, self.shape), tangent.unflatten(0, self.shape), step

    def accept(self) -> None:
        """The last iterate becomes the start of the next step."""
        self.state, self._latest = self._latest, None

    def reject(self) -> None:
        """Forget the iterates of this step."""
        self._latest = None

    def _state_in(self) -> Tensor:
        """History from the start of the step, guess from the last iterate.

        The last iterate's state came out of the law and is the solver's to overwrite: no third copy is made, which
        matters when the guess of a cell is megabytes a point.
        """
        if self.state is None:
            self.state = self.law.initial_state(self.n_points)
        if self._latest is None or not self.law.n_guess:
            self._latest = None
            return self.state
        n_history = self.law.n_history
        if n_history:
            self._latest[..., :n_history] = self.state[..., :n_history]
        return self._latest

    def _driven(self, step: Step, saved: Tensor) -> tuple[Tensor, Tensor]:
        """Stress (N, m) and tangent (N, m, m) of the driven components, on the CPU."""
        rows = torch.tensor(self.columns, device=saved.device)
        if bool((step.verdict >= FIRST_WITHOUT_ANSWER).any()):
            nothing = step.stress.new_full((len(step.verdict), len(rows)), torch.nan).cpu()
            return nothing, nothing[:, :, None].expand(-1, -1, len(rows))
        tangent = self.law.dense(saved, self.components)
        return step.stress[:, rows].cpu(), tangent[:, rows[:, None], rows].cpu()


class Material:
    """All regions of a body.

    Args:
        problem: the mesh and its regions.
        assembly: its operators.
        laws: one law for all regions, or one by region name.
        parameters: inputs of the laws that name some, (n_parameters,) for all, (n_elements, n_parameters) or
            (n_elements, n_points, n_parameters); by region name when there are several laws that want them.
        device: where the laws work; None leaves them where they are, else a copy is moved.
        memory_limit: bytes that all states and tangents may take; None is half of the device's memory.

    Raises:
        ValueError: a law of the wrong measure or without a component that the mesh drives, a region without law, more
            memory than the limit.
        TypeError: something that is not a law, or one that does not compute in float64.
    """

    def __init__(
        self,
        problem: Problem,
        assembly: Assembly,
        laws: Laws,
        parameters: Parameters = None,
        device: torch.device | str | None = None,
        memory_limit: float | None = None,
    ) -> None:
        self.assembly = assembly
        elements_of = problem.elements_of()
        by_region = dict(laws) if isinstance(laws, Mapping) else dict.fromkeys(elements_of, laws)
        for given, what in ((by_region, "laws"), (parameters if isinstance(parameters, Mapping) else {}, "parameters")):
            unknown = set(given) - set(elements_of)
            if unknown:
                raise ValueError(f"{what}: got region {min(unknown)!r}, wanted one of {', '.join(elements_of)}")
        self.regions = []
        for name, elements in elements_of.items():
            if name not in by_region:
                raise ValueError(f"laws: region {name!r} has no law, wanted one for each of {', '.join(elements_of)}")
            law = _checked(by_region[name], problem)
            if device is not None and law.device != torch.device(device):
                law = copy.deepcopy(law).to(device)
            if isinstance(parameters, Mapping):
                rows = _rows(law, parameters.get(name), len(elements), assembly.n_points)
            else:
                rows = _rows(law, parameters, assembly.n_elements, assembly.n_points)
                rows = None if rows is None else rows[elements]
            self.regions.append(Region(name, law, elements, assembly, rows))
        self._check_memory(memory_limit)

    def reference(self, dt: float) -> Response:
        """Response of the undeformed body; makes no history."""
        return self._gather([region.reference(dt) for region in self.regions])

    def evaluate(self, strain: Tensor, dt: float) -> Response:
        """Response to strain increments (n_elements, n_points, m) over the reference, at the end of a step of dt."""
        return self._gather([region.evaluate(strain[region.elements], dt) for region in self.regions])

    def accept(self) -> None:
        """The last evaluation becomes history."""
        for region in self.regions:
            region.accept()

    def reject(self) -> None:
        """Forget the evaluations since the last accepted one."""
        for region in self.regions:
            region.reject()

    def _gather(self, answers: list[tuple[Tensor, Tensor, Step]]) -> Response:
        steps = tuple(answer[2] for answer in answers)
        failure = next((s for s in map(self._failure, self.regions, steps) if s), "")
        if len(answers) == 1:
            return Response(answers[0][0], answers[0][1], steps, failure)
        n_elements, n_points, m = self.assembly.n_elements, self.assembly.n_points, len(self.assembly.columns)
        stress = torch.empty(n_elements, n_points, m, dtype=torch.float64)
        tangent = torch.empty(n_elements, n_points, m, m, dtype=torch.float64)
        for region, (s, C, _) in zip(self.regions, answers, strict=True):
            stress[region.elements], tangent[region.elements] = s, C
        return Response(stress, tangent, steps, failure)

    def _failure(self, region: Region, step: Step) -> str:
        """Which points have no answer, and what their law says about it."""
        bad = (step.verdict >= FIRST_WITHOUT_ANSWER).nonzero()
        if not len(bad):
            return ""
        first = int(bad[0, 0])
        e, q = int(region.elements[first // region.shape[1]]), first % region.shape[1]
        X = ", ".join(f"{x:.4g}" for x in self.assembly.points[e, q])
        verdict = Verdict(int(step.verdict[first]))
        return (
            f"the law {type(region.law).__name__} of region {region.name!r} has no answer at {len(bad)} of "
            f"{region.n_points} points, first at point {q} of element {e}, X = ({X}): "
            f"{verdict.name}. {verdict.sentence}"
        )

    def _check_memory(self, limit: float | None) -> None:
        for device in {region.law.device for region in self.regions}:
            here = [region for region in self.regions if region.law.device == device]
            needed = sum(region.n_points * region.bytes_per_point for region in here)
            allowed = _half_of_memory(device) if limit is None else limit
            if needed > allowed:
                largest = max(here, key=lambda region: region.n_points * region.bytes_per_point)
                raise ValueError(
                    f"memory_limit: {needed / 1e9:.3g} GB for {sum(r.n_points for r in here)} points, wanted at most "
                    f"{allowed / 1e9:.3g} GB; {type(largest.law).__name__} takes "
                    f"{largest.bytes_per_point / 1e6:.3g} MB a point ({largest.law.n_state} state columns); take a "
                    f"coarser mesh or a smaller cell, or raise the limit"
                )


def _checked(law: Law, problem: Problem) -> Law:
    name = type(law).__name__
    if not isinstance(law, Law):
        raise TypeError(f"laws: got {name}, wanted a Law, or a Law for each region")
    if law.measure is not problem.measure:
        raise ValueError(
            f"laws: {name} has measure {law.measure.name}, wanted {problem.measure.name} as the problem; "
            f"its strain is the {law.measure.strain_name}"
        )
    missing = [c for c in problem.components if c not in law.components]
    if missing:
        raise ValueError(
            f"laws: {name} was made for strain components {', '.join(law.components)}, "
            f"wanted {', '.join(missing)} too for element {problem.kind.name}"
        )
    if law.dtype != torch.float64:
        raise TypeError(f"laws: {name} computes in {law.dtype}, wanted torch.float64; convert it with .double()")
    return law


def _rows(law: Law, parameters: Tensor | None, n_elements: int, n_points: int) -> Tensor | None:
    """Parameters of every point, (n_elements, n_points, n_parameters)."""
    if parameters is None:
        return None
    k = len(law.parameter_names)
    rows = torch.as_tensor(parameters, dtype=torch.float64)
    if rows.dim() == 2:
        rows = rows[:, None, :]
    wanted = (n_elements, n_points, k)
    if rows.dim() > 3 or any(have not in (1, want) for have, want in zip(rows.shape[::-1], wanted[::-1], strict=False)):
        raise ValueError(
            f"parameters: got shape {tuple(torch.as_tensor(parameters).shape)}, wanted ({k},), ({n_elements}, {k}) or "
            f"{wanted} for {type(law).__name__}, whose parameters are {', '.join(law.parameter_names) or 'none'}"
        )
    return rows.expand(wanted)


def _half_of_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return 0.5 * torch.cuda.mem_get_info(device)[1]
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
