"""The load that moves the monitored point where one wants it."""

from __future__ import annotations

from typing import Any

from surrogate.macro.boundary import AXES
from surrogate.macro.points import Laws
from surrogate.macro.problem import Problem
from surrogate.macro.solver import solve


def reach(
    problem: Problem, laws: Laws, target: float, component: str = "y", tolerance: float = 1e-6, **settings: Any
) -> Problem:
    """The same problem with all load factors scaled so that the last step moves the monitored point by ``target``.

    Secant method from the linear answer; each trial is a solve along all load steps, so use a fast law (a formula or a
    network) to plan an expensive run.

    Args:
        problem: with a monitored point.
        laws: as of `solve`.
        target: displacement at the last load step [mm].
        component: ``"x"``, ``"y"`` or ``"z"``.
        tolerance: of the displacement, relative to ``target``.
        settings: further arguments of `solve`.

    Raises:
        ValueError: a trial that did not converge, or a target that ten trials do not reach.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.cook import cook
        >>> law = NeoHooke(mu=1.0, lmbda=10.0)
        >>> bent = reach(cook(load=1.0, n=4, steps=4), law, target=4.8)
        >>> round(float(solve(bent, law).monitored[-1, 1]), 4)
        4.8
    """
    axis = AXES.index(component)

    def displacement(scale: float, steps: tuple[float, ...]) -> float:
        solution = solve(problem, laws, steps=[scale * factor for factor in steps], **settings)
        if not solution.converged:
            raise ValueError(f"target: no way to {target} mm along {component}. {solution.reason}")
        return float(solution.monitored[-1, axis])

    factors = problem.load_factors
    tiny = 1e-6
    slope = displacement(tiny, factors[-1:]) / tiny
    # The first trial's load must not carry the body further than it should go, in a linear estimate.
    scale = tiny * target / (tiny * slope)
    before, moved_before = 0.0, 0.0
    for _ in range(10):
        moved = displacement(scale, factors)
        if abs(moved - target) <= tolerance * abs(target):
            return problem.with_steps([scale * factor for factor in factors])
        slope = (moved - moved_before) / (scale - before)
        before, moved_before = scale, moved
        scale += (target - moved) / slope
    raise ValueError(f"target: {target} mm along {component} was not reached, but {moved_before:.6g} mm in ten trials")
