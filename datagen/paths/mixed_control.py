"""One step in which some components are driven by strain and others by stress."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.paths.path import LoadPath
from datagen.tensors import inv, matmul


class Trial(NamedTuple):
    """Strains that were tried and the law's answers there."""

    strain: Tensor  # (b, n)
    step: Step
    dense: Tensor  # (b, n, n)

    def put(self, rows: Tensor, other: Trial) -> None:
        """Overwrite these rows."""
        mine, theirs = [self.strain, self.dense, *self.step[:-1]], [other.strain, other.dense, *other.step[:-1]]
        mine += [self.step.extras[name] for name in self.step.extras]
        theirs += [other.step.extras[name] for name in self.step.extras]
        for a, b in zip(mine, theirs, strict=True):
            a[rows] = b

    def take(self, rows: Tensor) -> Trial:
        """These rows."""
        extras = {name: x[rows] for name, x in self.step.extras.items()}
        return Trial(self.strain[rows], Step._make([*(x[rows] for x in self.step[:-1]), extras]), self.dense[rows])

    def copy(self) -> Trial:
        """A trial that may be overwritten: laws answer with views, broadcasts, and the state they were given."""
        extras = {name: x.clone() for name, x in self.step.extras.items()}
        step = Step._make([*(x.clone() for x in self.step[:-1]), extras])
        return Trial(self.strain.clone(), step, self.dense.clone())


class MixedStep:
    r"""The equations of one step of a batch: stress_f(strain) = target_f for the components f driven by stress.

    The unknowns are the strains of these components; everything else, the history at the start of the step included,
    is given. Newton's method on the law's consistent tangent, halving an increment that meets no answer or does not
    reduce |residual|. A member that is still not solved gets there in stages: the targets move from those of the last
    step to its own in parts, each solved from the solution before. History and time step stay those of the whole
    step, so the stages change the starting guess and not the equations.

    Converged is |residual| <= 10 law.accuracy times the largest stress the member has seen, or rounding.

    Args:
        law: any law.
        path: the path, for its components.
        target: targets at the end of the step (b, n).
        state: state at the start of the step, with guess, (b, n_state).
        dt: time step (b,).
        parameters: (b, n_parameters) or None.
        tangent: whether the tangent is wanted for all driven columns instead of those driven by stress.
    """

    iterations = 40
    smallest_damping = 2.0**-10
    smallest_stage = 2.0**-6

    def __init__(
        self,
        law: Law,
        path: LoadPath,
        target: Tensor,
        state: Tensor,
        dt: Tensor,
        parameters: Tensor | None,
        tangent: bool,
    ) -> None:
        self.law, self.target, self.dt, self.parameters = law, target, dt, parameters
        self.history, self.first_guess = state[:, : law.n_history], state[:, law.n_history :]
        self.guess = self.first_guess.clone()
        self.driven, self.free = path.columns, path.stress_columns
        self.given = [k for k in self.driven if k not in self.free]
        self.asked = path.components if tangent else path.stress_components

    def solve(self, start: Tensor, before: Tensor, largest: Tensor) -> Trial:
        """The solution, with a verdict for each member.

        Args:
            start: strain at the start of the step (b, n).
            before: targets at the start of the step (b, n).
            largest: largest stress that each member has seen (b,).
        """
        solved, answer = start.clone(), None
        reached, stage = start.new_zeros(len(start)), start.new_ones(len(start))
        rows = torch.arange(len(start), device=start.device)
        while len(rows):
            goal = (reached + stage).clamp(max=1.0)[rows]
            wanted = torch.lerp(before[rows], self.target[rows], goal[:, None])
            now, converged = self._newton(rows, solved[rows], wanted, largest[rows])
            if answer is None:
                answer = now
            else:
                answer.put(rows, now)
            solved[rows[converged]] = now.strain[converged]
            reached[rows] = torch.where(converged, goal, reached[rows])
            stage[rows] *= torch.where(converged, 2.0, 0.5)
            rows = rows[(reached[rows] < 1) & (stage[rows] >= self.smallest_stage)]
        assert answer is not None
        solved_rows = torch.nonzero(reached >= 1)[:, 0]
        if self.law.n_guess and len(solved_rows):
            # Extras that belong to the step, such as a cell's work, count from the guess: ask once more from the first.
            self.guess = self.first_guess
            again = self._ask(solved_rows, answer.strain[solved_rows])
            stands = again.step.verdict < FIRST_WITHOUT_ANSWER
            answer.put(solved_rows[stands], again.take(stands))
        step = answer.step
        unsolved = (reached < 1) & (step.verdict < FIRST_WITHOUT_ANSWER)
        verdict = torch.where(unsolved, int(Verdict.NOT_CONVERGED), step.verdict)
        step = self.law.answer(step.psi, step.stress, step.dissipation, step.state, verdict, step.extras)
        return answer._replace(step=step)

    def _newton(self, rows: Tensor, start: Tensor, wanted: Tensor, largest: Tensor) -> tuple[Trial, Tensor]:
        """Newton's method for these rows from the strain ``start``: last trial, and which of them converged."""
        base = start.clone()  # the last strain that was accepted
        base[:, self.given] = wanted[:, self.given]
        increment = torch.zeros_like(base)
        damping, best = torch.ones_like(largest), torch.full_like(largest, torch.inf)
        converged = torch.zeros_like(largest, dtype=torch.bool)
        active = torch.arange(len(rows), device=rows.device)
        answer = None
        for _ in range(self.iterations):
            now = self._ask(rows[active], base[active] + damping[active, None] * increment[active])
            if answer is None:
                answer = now.copy()
            else:
                answer.put(active, now)
            residual = now.step.stress[:, self.free] - wanted[active][:, self.free]
            norm = residual.norm(dim=-1)
            valid = now.step.verdict < FIRST_WITHOUT_ANSWER
            done = valid & (residual.abs().amax(-1) <= self._tolerance(now, largest[active]))
            accepted = valid & (norm < best[active] * (1 - 1e-4 * damping[active]))
            converged[active] = done

            took = active[accepted]
            base[took], best[took], damping[took] = now.strain[accepted], norm[accepted], 1.0
            self.guess[rows[took]] = now.step.state[accepted, self.law.n_history :]
            increment[took] = self._increment(now.strain[accepted], now.dense[accepted], residual[accepted])
            damping[active[~accepted]] *= 0.5
            # A first trial without an answer has no increment to shorten; a singular tangent gives none.
            hopeless = (damping < self.smallest_damping) | best.isinf() | ~increment.isfinite().all(-1)
            active = active[~(done | hopeless[active])]
            if len(active) == 0:
                break
        assert answer is not None
        return answer, converged

    def _ask(self, rows: Tensor, strain: Tensor) -> Trial:
        state = torch.cat([self.history[rows], self.guess[rows]], -1)
        parameters = None if self.parameters is None else self.parameters[rows]
        step, saved = self.law.linearise(strain, state, self.dt[rows], parameters, self.asked)
        return Trial(strain, step, self.law.dense(saved, self.asked))

    def _increment(self, strain: Tensor, dense: Tensor, residual: Tensor) -> Tensor:
        """Newton's increment of the strain, (., n); not finite where the tangent is singular.

        For FINITE strain it is shortened to |F^-1 dF| <= 1/2. Longer, it might jump over a fold to diag(L, -l, -l), the
        same body in the same balance turned by half a revolution.
        """
        K = dense[:, self.free][:, :, self.free]
        x, _ = torch.linalg.solve_ex(K, -residual)
        increment = dense.new_zeros(dense.shape[:-1])
        increment[:, self.free] = x
        if self.law.measure is Measure.FINITE:
            F, dF = strain.unflatten(-1, (3, 3)), increment.unflatten(-1, (3, 3))
            length = matmul(inv(F), dF).flatten(-2).norm(dim=-1)
            increment = increment * (0.5 / length.clamp(min=0.5))[:, None]
        return increment

    def _tolerance(self, now: Trial, largest: Tensor) -> Tensor:
        """Residual [MPa] that counts as zero: the law's accuracy, or rounding of stiffness times strain."""
        scale = torch.maximum(largest, now.step.stress[:, self.driven].abs().amax(-1))
        stiffness = now.dense[:, self.free][:, :, self.free].abs().amax((-1, -2))
        # A strain that runs away under a stress the body cannot bear must not raise its own tolerance.
        rounding = 8 * torch.finfo(scale.dtype).eps * stiffness * now.strain.abs().amax(-1).clamp(max=10.0)
        return 10 * self.law.accuracy * scale + rounding
