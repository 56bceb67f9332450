"""Balance of a body under a given load, by Newton's method."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

from surrogate.macro.assembly import Assembly
from surrogate.macro.conditions import dead_load, supports
from surrogate.macro.linear import FreeEquations, Solve
from surrogate.macro.points import Material, Response
from surrogate.macro.problem import Problem

ROUND_OFF = 1e-13
"""Relative residual at which Newton's method may stand still and still have converged."""


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass
class Balance:
    """A body in balance with its load: what a load increment starts from and ends at."""

    load_factor: float
    u: np.ndarray  # (n_dof,)
    f_int: np.ndarray  # (n_dof,)
    response: Response
    K: csc_matrix | None = None
    solve: Solve | None = None


class Newton:
    """Balance of a body under proportional load, one increment at a time.

    The first iterate of an increment carries the prescribed displacements into the body through the tangent of the last
    balance, so that no element at the boundary takes the whole increment. Each iterate asks the law once, and the last
    evaluation is the accepted one.
    """

    def __init__(
        self,
        problem: Problem,
        assembly: Assembly,
        material: Material,
        tolerance: float,
        max_iterations: int,
        clock: Clock,
    ) -> None:
        held, self.prescribed = supports(problem, assembly)
        self.free = ~held
        self.load = dead_load(problem, assembly)
        self.assembly, self.material = assembly, material
        self.tolerance, self.max_iterations, self.clock = tolerance, max_iterations, clock
        self.equations = FreeEquations(self.free)
        self.floor = max(ROUND_OFF, *(10 * region.law.accuracy for region in material.regions))
        self.force_of_round_off = 0.0
        self.iterations = self.calls = self.points = 0

    def reference(self, dt: float) -> Balance:
        """The undeformed body without load; raises ValueError for a law that has no answer there."""
        with self.clock("law"):
            response = self.material.reference(dt)
        self._count(sum(len(step.psi) for step in response.steps))
        if response.failure:
            raise ValueError(f"laws: no tangent in the undeformed body: {response.failure}")
        u = np.zeros(self.assembly.n_dof)
        with self.clock("assembly"):
            K = self.assembly.stiffness(response.tangent)
        size = (self.assembly.volume / self.assembly.n_elements) ** (1 / self.assembly.dim)
        self.force_of_round_off = 1e-14 * size * float(np.linalg.norm(K.diagonal()))
        return Balance(0.0, u, self.assembly.forces(response.stress), response, K)

    def external(self, balance: Balance) -> np.ndarray:
        """External forces (n_dof,), what the supports give included."""
        return np.where(self.free, balance.load_factor * self.load, balance.f_int)

    def reactions(self, balance: Balance) -> np.ndarray:
        """Forces of the supports on the body (n_dof,)."""
        return np.where(self.free, 0.0, balance.f_int - balance.load_factor * self.load)

    def advance(
        self, start: Balance, load_factor: float, dt: float, watch: Callable[[list[float]], None]
    ) -> tuple[Balance | None, list[float], str]:
        """Balance at another load factor, or None; the residuals on the way, shown to ``watch``; and a sentence."""
        f_ext = load_factor * self.load
        residuals: list[float] = []
        try:
            u, out = self._correct(start, load_factor)
            residuals.append(self._relative(out, start.f_int, f_ext))
            sounding = False
            for k in range(self.max_iterations):
                now = self._iterate(u, load_factor, dt)
                if now.response.failure:
                    return None, residuals, now.response.failure
                out = (f_ext - now.f_int)[self.free]
                residuals.append(self._relative(out, now.f_int, f_ext))
                watch(residuals)
                if not np.isfinite(residuals[-1]):
                    return None, residuals, "the internal forces are not finite numbers"
                if not sounding and self._converged(residuals, out):
                    return now, residuals, f"converged in {len(residuals) - 1} iterations"
                sounding = k == 0 and self._misled(start, now)
                if sounding:  # a short way in the same direction: far enough to tell who unloads, and no further
                    u = start.u + 1e-3 * (now.u - start.u)
                elif k + 1 < self.max_iterations:
                    u, _ = self._correct(now, load_factor)
        except ArithmeticError as error:
            return None, residuals, f"{error}: the body is unstable or its law has lost its stiffness"
        return None, residuals, f"no convergence in {self.max_iterations} iterations, residual {residuals[-1]:.2g}"

    def _correct(self, at: Balance, load_factor: float) -> tuple[np.ndarray, np.ndarray]:
        """Newton's next displacements from those at hand, and the forces (n_free,) that are out of balance there.

        What the prescribed displacements still have to go counts among them, as the forces that it takes.
        """
        solve = self._tangent(at)
        u = np.where(self.free, at.u, load_factor * self.prescribed)
        out = (load_factor * self.load - at.f_int - at.K @ (u - at.u))[self.free]
        with self.clock("linear_solve"):
            u[self.free] += solve(out)
        if not np.isfinite(u).all():
            raise ArithmeticError("the stiffness is singular")
        return u, out

    def _misled(self, start: Balance, first: Balance) -> bool:
        r"""Whether the first iterate was led astray by a tangent of flow that has stopped.

        A body that flowed in the last step and is now unloaded is far stiffer than its last tangent K: the forces do
        the work du . df where K promised du . K du.
        """
        if not any(region.law.n_history for region in self.material.regions):
            return False
        du = first.u - start.u
        return float(du @ (first.f_int - start.f_int)) > 2 * float(du @ (start.K @ du)) > 0

    def _iterate(self, u: np.ndarray, load_factor: float, dt: float) -> Balance:
        with self.clock("assembly"):
            strain = self.assembly.strain(u)
        with self.clock("law"):
            response = self.material.evaluate(strain, dt)
        self._count(self.assembly.n_elements * self.assembly.n_points)
        self.iterations += 1
        with self.clock("assembly"):
            return Balance(load_factor, u, self.assembly.forces(response.stress), response)

    def _count(self, points: int) -> None:
        self.calls += len(self.material.regions)
        self.points += points

    def _tangent(self, balance: Balance) -> Solve:
        """Factorised tangent; kept with the balance, from which a cut increment starts again."""
        if balance.solve is None:
            if balance.K is None:
                with self.clock("assembly"):
                    balance.K = self.assembly.stiffness(balance.response.tangent)
            with self.clock("linear_solve"):
                balance.solve = self.equations.factorise(balance.K)
        return balance.solve

    def _relative(self, out: np.ndarray, f_int: np.ndarray, f_ext: np.ndarray) -> float:
        """Out-of-balance force over the larger of internal and external forces, reactions included."""
        external = np.where(self.free, f_ext, f_int)
        norm = float(np.linalg.norm(out))
        scale = max(norm, float(np.linalg.norm(f_int)), float(np.linalg.norm(external)))
        return norm / scale if scale != 0.0 else 0.0

    def _converged(self, residuals: list[float], out: np.ndarray) -> bool:
        if residuals[-1] <= self.tolerance:
            return True
        # What the law's accuracy or the arithmetic cannot improve is balance too.
        stands = residuals[-1] > 0.5 * residuals[-2]
        return stands and (residuals[-1] <= self.floor or float(np.linalg.norm(out)) <= self.force_of_round_off)
