"""Quasi-static finite elements with automatic step control: any law, any mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from surrogate.macro.assembly import Assembly
from surrogate.macro.newton import Clock, Newton
from surrogate.macro.points import Laws, Material, Parameters
from surrogate.macro.problem import Problem
from surrogate.macro.record import Recorder
from surrogate.macro.solution import Increment, Solution


@torch.no_grad()
def solve(
    problem: Problem,
    laws: Laws,
    steps: int | Sequence[float] | None = None,
    *,
    parameters: Parameters = None,
    tolerance: float = 1e-10,
    max_iterations: int = 20,
    max_cuts: int = 8,
    device: torch.device | str | None = None,
    memory_limit: float | None = None,
    progress: Callable[[Increment], None] | None = None,
) -> Solution:
    """Solve a problem with one law, or one for each region.

    A load step that fails (a point without an answer, no convergence, a singular stiffness) is cut in half, and again,
    until it passes or is 2^-max_cuts of the step; after two successes the increment doubles again. The solution says
    how far it came: a body that does not reach its load is data, not an exception.

    Args:
        problem: what to solve.
        laws: one `Law`, or one for each region name.
        steps: in place of the problem's load steps.
        parameters: inputs of laws that name some: (n_parameters,) for all points, (n_elements, n_parameters) or
            (n_elements, n_points, n_parameters); by region name where regions differ.
        tolerance: out-of-balance force relative to the larger of internal and external forces.
        max_iterations: Newton iterations of one increment.
        max_cuts: how often a load step may be halved.
        device: where the laws work; None leaves them where they are.
        memory_limit: bytes for the states of all points; None is half of the machine's memory.
        progress: called after every Newton iteration with the increment so far, its reason empty until it ends.

    Raises:
        ValueError: a problem that cannot be solved as it stands, a law of the wrong measure, too little memory, ...
        TypeError: something that is not a law, or one that does not compute in float64.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.uniaxial import uniaxial
        >>> solution = solve(uniaxial(elongation=0.1, steps=2), NeoHooke(mu=1.0, lmbda=10.0))
        >>> solution.converged, [round(float(u), 3) for u in solution.monitored[:, 0]]
        (True, [0.05, 0.1])
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: got {tolerance}, wanted a number between 0 and 1")
    if max_iterations < 1 or max_cuts < 0:
        raise ValueError(f"max_iterations, max_cuts: got {max_iterations}, {max_cuts}, wanted at least 1 and 0")
    clock = Clock()
    with clock("total"):
        if steps is not None:
            problem = problem.with_steps(steps)
        with clock("setup"):
            assembly = Assembly(problem)
            material = Material(problem, assembly, laws, parameters, device, memory_limit)
            newton = Newton(problem, assembly, material, tolerance, max_iterations, clock)
            record = Recorder(assembly, material)
        increments = _march(problem, newton, record, max_cuts, progress or _ignore)
    counts = {"law_calls": newton.calls, "points": newton.points, "iterations": newton.iterations}
    return record.solution(problem, increments, {**clock.seconds, **counts})


def _march(
    problem: Problem, newton: Newton, record: Recorder, max_cuts: int, progress: Callable[[Increment], None]
) -> list[Increment]:
    """Go through the load steps, cutting and growing increments; returns every attempt."""
    increments: list[Increment] = []
    balance, size = newton.reference(problem.times[0]), 1.0
    for t, target in enumerate(problem.load_factors):
        begin, done, successes = balance.load_factor, 0.0, 0
        while done < 1.0:
            end = min(1.0, done + size)
            factor = target if end == 1.0 else begin + end * (target - begin)
            dt = (end - done) * problem.times[t]

            def watch(residuals: list[float], t: int = t, factor: float = factor, dt: float = dt) -> None:
                progress(Increment(t + 1, factor, dt, False, tuple(residuals), ""))

            new, residuals, reason = newton.advance(balance, factor, dt, watch)
            increments.append(Increment(t + 1, factor, dt, new is not None, tuple(residuals), reason))
            progress(increments[-1])
            if new is None:
                newton.material.reject()
                size, successes = 0.5 * (end - done), 0
                if size < 0.5**max_cuts:
                    return increments
                continue
            newton.material.accept()
            record.increment(newton, balance, new)
            balance, done, successes = new, end, successes + 1
            if successes % 2 == 0:
                size = min(1.0, 2 * size)
        record.step(newton, balance)
    return increments


def _ignore(increment: Increment) -> None:
    pass
