"""A homogenised cell as a constitutive law."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from datagen.laws.law import PLANE_STRAIN, Extra, Law, Measure, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.batch import Batch, Evaluation, System
from datagen.rve.boundary import BOUNDARIES
from datagen.rve.discretisation import DISCRETISATIONS
from datagen.rve.green import isotropic_part
from datagen.rve.guess import Guess, rotate, rotated_strain, rotation_of
from datagen.rve.input import check_input
from datagen.rve.kinematics import Kinematics
from datagen.rve.krylov import dot
from datagen.rve.phases import Phases, worst_verdict
from datagen.rve.sensitivity import sensitivities
from datagen.rve.solver import Equilibrium, newton
from datagen.tensors import det

MAX_CUTS = 4
MAX_GROWTH = 4.0  # of a guess in one step
COLUMNS = {"cpu": 2**15, "cuda": 2**27}  # voxels times tangent columns that are solved at once


class HomogenisedCell(Law):
    r"""A representative volume element as a law: strain in, averages over the equilibrated cell out.

    strain = strain_bar + grad u, u as the boundary allows, stress in equilibrium;
    psi_bar = <psi>, stress_bar = <stress>, dissipation_bar = <dissipation>, and by Hill and Mandel
    stress_bar : d strain_bar = <stress : d strain>.

    The history is that of the phase laws at all quadrature points. The guess is the macroscopic strain and the
    fluctuation of the last answer, pulled back by the polar rotation of F_bar; it changes the effort, not the answer.
    A step that Newton's method does not manage at once is approached from the guess in 2, 4, 8, then 16 pieces, each
    piece only a guess for the next. The tangent comes from one linear solve per driven component with the converged
    operator, all as one batch. Not differentiable by autograd.

    The extras ``work`` and ``hill_mandel`` belong to the increment from the guess's strain to the answer, which is
    the step itself when the state comes from the step before, as in `datagen.paths.drive.drive`.

    Args:
        microstructure: voxel phases; with several samples the law has the parameter ``sample``.
        laws: one law a phase, all of one measure; of a polycrystal, one law for all its grains will do. Laws with
            material axes are turned by the microstructure's orientations.
        discretisation: "hex8", "hex8r" or "fourier".
        boundary: "periodic"; "linear_displacement", fluctuations zero on the faces (KUBC); "uniform_traction",
            fluctuations whose mean gradient is zero and that are free otherwise (SUBC), where a void that meets the
            faces has no answer, UNSUPPORTED, and hex8r at finite strain is always UNSTABLE. See `datagen.rve.boundary`.
        tolerance: out-of-balance stress relative to the stress, in the energy norm (see `datagen.rve.solver`).
        components: driven strain components; default all. With one voxel in z, laws that are symmetric to it and
            in-plane components, the out-of-plane displacement is left out.
        memory: bytes that one chunk of a batch may take by `bytes_per_cell`; larger batches are cut, which changes
            no answer beyond rounding. Default 64 MB on the CPU, where chunks that stay in cache are several times
            faster, 8 GB on an accelerator.
        mixed_precision: precondition in single precision. The answer keeps its tolerance; the transforms take half the
            memory and, where they dominate, half the time.
        compile: compile the laws of nonlinear phases, once for each shape of block, which takes seconds; worth it on
            long paths. The laws must not be changed afterwards. Where it cannot be done, for want of a C++ compiler or
            because a law decides by values, a warning says so once and the answer is the same.

    Raises:
        ValueError: laws of different measures, a phase without a law, an unknown discretisation or boundary, laws
            without any stiffness.

    Reference:
        R. Hill, J. Mech. Phys. Solids 11 (1963) 357, doi:10.1016/0022-5096(63)90036-X;
        M. Schneider, Acta Mech. 232 (2021) 2051, doi:10.1007/s00707-021-02962-1.
    """

    unsupported: Tensor  # (m,) bool: samples that the boundary cannot load

    def __init__(
        self,
        microstructure: Microstructure,
        laws: Sequence[Law],
        discretisation: str = "hex8",
        boundary: str = "periodic",
        tolerance: float = 1e-8,
        components: Sequence[str] | None = None,
        memory: float | None = None,
        mixed_precision: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        laws = list(laws)
        if len(laws) == 1 and isinstance(microstructure, Microstructure) and microstructure.orientations is not None:
            laws = laws * microstructure.n_phases
        check_input(microstructure, laws, discretisation, boundary, tolerance)
        self.measure: Measure = laws[0].measure
        self.components = self.measure.components if components is None else tuple(components)
        self.measure.columns(self.components)  # raises on a name that does not exist
        self.microstructure = microstructure
        self.tolerance = self.accuracy = tolerance
        self.memory = memory
        self.mirror_z = microstructure.grid[2] == 1 and all(law.mirror_z for law in laws)
        in_plane = set(self.components) <= set(PLANE_STRAIN[self.measure])
        d = 2 if self.mirror_z and in_plane else 3
        edge = BOUNDARIES[boundary]
        points = DISCRETISATIONS[discretisation](microstructure.grid, microstructure.spacing, edge.periodic)
        kinematics = Kinematics(self.measure, d, points.n_dim)
        inner = tuple(c for i, c in enumerate(self.measure.components) if i in kinematics.rows or c in self.components)
        for law in laws:
            missing = [c for c in inner if c not in law.components]
            if missing:
                raise ValueError(
                    f"laws: {type(law).__name__} was made for {', '.join(law.components)}, but this cell strains its "
                    f"points in {', '.join(missing)} too; drive the cell in the components of its laws"
                )
        phases = Phases(laws, microstructure, inner, compile)
        known = {law: isotropic_part(law) for law in dict.fromkeys(laws)}
        lmbda, mu = (torch.stack(values) for values in zip(*(known[law] for law in laws), strict=True))
        if float(mu.max()) <= 0:
            raise ValueError("laws: got no law that resists shear, wanted at least one: a cell of voids bears nothing")
        void = torch.nonzero((mu == 0) & (lmbda == 0))[:, 0]
        middle = ((lmbda.min() + lmbda.max()) / 2, (mu.min() + mu.max()) / 2)
        frame = edge(points, d, *middle)
        if mixed_precision:
            frame.to_single()
        self.system = System(points, phases, kinematics, frame, mu.max(), tolerance)
        self.register_buffer("unsupported", self.system.boundary.unsupported(microstructure.phase, void))
        self.linear, self.symmetric = self.system.linear, self.system.symmetric
        self._points = (phases.n_state, points.n_quad, points.n_voxels)
        self._n_history = phases.n_state * points.n_quad * points.n_voxels
        self._fluctuation = (d, *points.nodes)
        self.n_guess = self.measure.n + math.prod(self._fluctuation)
        if microstructure.n_samples > 1:
            self.parameter_names = ("sample",)
        energies = {name: Extra((), "MPa", f"<{name}> over the cell") for name in phases.energy_names}
        self.extras = {
            **energies,
            "iterations": Extra((), "-", "products with the stiffness in the equilibrium solve"),
            "newton": Extra((), "-", "Newton iterations of the equilibrium solve"),
            "cuts": Extra((), "-", "how often the step was halved to reach it"),
            "work": Extra((), "MPa", "<1/2 (P_0 + P_1) : (F_1 - F_0)> over the increment"),
            "hill_mandel": Extra((), "-", "|dW_macro - dW_micro| / <1/2 (|P_0| + |P_1|) |dF|>"),
            "dissipation_by_phase": Extra((len(laws),), "MPa", "dissipation in each phase per cell volume"),
        }

    @property
    def n_state(self) -> int:
        """See `Law.n_state`."""
        return self._n_history + self.n_guess

    @property
    def state_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """History names, ``phase state number . quadrature point . voxel``, then the guess."""
        k, Q, V = self._points
        history = [f"state_{s}.{q}.{v}" for s in range(k) for q in range(Q) for v in range(V)]
        return (*history, *(f"guess_{g}" for g in range(self.n_guess)))

    def initial_state(self, *batch: int) -> Tensor:
        """See `Law.initial_state`: that of the phases, and no guess."""
        state = super().initial_state(*batch)
        k, Q, V = self._points
        first = self.system.phases.initial_state()[:, None].expand(k, Q, V).to(state)
        state[..., : self._n_history] = first.flatten()
        return state

    def bytes_per_cell(self, columns: int = 0) -> int:
        """Estimate of the working memory of one cell, with ``columns`` tangent columns solved at once."""
        k, Q, V = self._points
        n, d = self.measure.n, self.system.kinematics.d
        # Counted in fields that are alive at once, and checked against peaks of resident memory. Columns keep two each.
        together = min(columns, _together(V, self.device))
        nodal = 13 + 2 * columns + 7 * max(together - 1, 0)
        point = 2 * k + (0.5 if self.linear else n + 4)
        return int(8 * V * (nodal * d + point * Q))

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self._answer(strain, state, dt, parameters, ())[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved is the homogenised tangent, its columns solved for ``components``."""
        return self._answer(strain, state, dt, parameters, self.components if components is None else components)

    @torch.no_grad()
    def _answer(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None,
        components: Sequence[str],
    ) -> tuple[Step, Tensor]:
        self.check(strain, state)
        batch = strain.shape[:-1]
        columns = self.measure.columns(components)
        flat = strain.reshape(-1, self.measure.n)
        B = len(flat)
        state = state.expand(*batch, self.n_state).reshape(B, self.n_state)
        dt = torch.as_tensor(dt, dtype=self.dtype, device=self.device).expand(batch).reshape(B)
        sample = self._samples(parameters, batch)
        memory = self.memory or (64e6 if self.device.type == "cpu" else 8e9)
        chunk = max(1, int(memory // self.bytes_per_cell(len(columns))))
        parts = [
            self._chunk(flat[i : i + chunk], state[i : i + chunk], dt[i : i + chunk], sample[i : i + chunk], columns)
            for i in range(0, max(B, 1), chunk)
        ]
        steps, tangents = zip(*parts, strict=True)

        def whole(chunks: Iterable[Tensor]) -> Tensor:
            first, *rest = chunks
            joined = torch.cat([first, *rest]) if rest else first
            return joined.reshape((*batch, *joined.shape[1:]))

        psi, stress, dissipation, new_state, verdict = (whole(step[k] for step in steps) for k in range(5))
        extras = {k: whole(step.extras[k] for step in steps) for k in self.extras}
        return Step(psi, stress, dissipation, new_state, verdict, extras), whole(tangents).flatten(-2)

    def _samples(self, parameters: Tensor | None, batch: torch.Size) -> Tensor:
        m = self.microstructure.n_samples
        if m == 1:
            return torch.zeros(batch.numel(), dtype=torch.int64, device=self.device)
        if parameters is None:
            raise ValueError(f"parameters: got None, wanted the sample index (*b, 1), 0 to {m - 1}")
        sample = parameters.expand(*batch, 1).reshape(-1).round().to(torch.int64)
        if sample.numel() and not (int(sample.min()) >= 0 and int(sample.max()) < m):
            raise ValueError(f"parameters: got sample {int(sample.min())} to {int(sample.max())}, wanted 0 to {m - 1}")
        return sample

    def _chunk(
        self, strain: Tensor, state: Tensor, dt: Tensor, sample: Tensor, columns: list[int]
    ) -> tuple[Step, Tensor]:
        k, Q, V = self._points
        strain, verdict = self._admissible(strain, state[:, : self._n_history], sample)
        # Where there is no history the new state is the guess, and is not needed before the end.
        answer = state.new_empty(len(state), state.shape[1] if self._n_history else 0)

        def fields(columns: Tensor) -> Tensor:
            return columns[:, : self._n_history].unflatten(1, (k, Q, V)).permute(1, 2, 0, 3)

        batch = Batch(self.system, strain, fields(state), dt, sample, fields(answer))
        solved = self._equilibrium(batch, state, verdict >= FIRST_WITHOUT_ANSWER)
        now = batch.evaluate(solved.u) if solved.last is None else solved.last
        verdict = worst_verdict(verdict, Verdict.NOT_CONVERGED, ~solved.converged)
        loose = self.measure is Measure.FINITE and self.system.boundary.loose
        moved = (strain != self.reference_strain()).any(-1)
        verdict = worst_verdict(verdict, Verdict.UNSTABLE, solved.negative | (moved & loose))
        verdict = torch.maximum(verdict, torch.where(solved.converged, now.verdict, 0).to(torch.int8))
        tangent, correction, solve_verdict = self._tangent(batch, now, columns, verdict >= FIRST_WITHOUT_ANSWER)
        verdict = torch.maximum(verdict, solve_verdict)
        step = self._step(batch, now, solved, state, answer, verdict)
        step.stress[:, columns] += correction
        return step, tangent

    def _guess(self, state: Tensor) -> Guess:
        """The guess in a state; read again where it is needed, which is cheaper than to keep it."""
        start = Guess.read(state[:, self._n_history :], self.measure, self._fluctuation)
        return start._replace(u=self.system.boundary.restrict(start.u))

    def _admissible(self, strain: Tensor, history: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Strain with undriven components at the reference and hopeless members too, and the verdict on those."""
        columns = self.measure.columns(self.components)
        reference = self.reference_strain()
        full = reference.expand_as(strain).clone()
        full[:, columns] = strain[:, columns]
        verdict = torch.zeros(len(strain), dtype=torch.int8, device=strain.device)
        if self.measure is Measure.FINITE:
            folded = ~(det(full.unflatten(-1, (3, 3))) > 0)
            verdict = worst_verdict(verdict, Verdict.INVERTED, folded)
        verdict = worst_verdict(verdict, Verdict.UNSUPPORTED, self.unsupported[sample])
        verdict = worst_verdict(verdict, Verdict.NOT_FINITE, ~(full.isfinite().all(-1) & history.isfinite().all(-1)))
        return torch.where((verdict > 0)[:, None], reference, full), verdict

    def _equilibrium(self, batch: Batch, state: Tensor, hopeless: Tensor) -> Equilibrium:
        """Newton's method; members that fail are approached from the guess in ever more pieces, then from nothing.

        Members that are ``hopeless`` (B,) are tried once.
        """
        rotation = rotation_of(batch.strain)
        stretch = rotated_strain(rotation.transpose(-1, -2), batch.strain)
        found = newton(batch, self._rotate(rotation, self._ahead(stretch, self._guess(state))))
        for cut in range(1, MAX_CUTS + 2):
            if bool((found.converged | hopeless).all()) or MAX_CUTS == 0:
                break
            found = found._replace(u=found.u.clone(), last=None)
            members = torch.nonzero(~(found.converged | hopeless))[:, 0]
            part, start = batch.take(members), self._guess(state)
            origin, u = start.stretch[members], self._rotate(rotation[members], start.u[:, members])
            if cut > MAX_CUTS:  # the guess itself may be what is wrong
                cut, origin, u = MAX_CUTS, self.reference_strain().expand_as(origin), torch.zeros_like(u)
            first = rotated_strain(rotation[members], origin)
            alive = torch.ones(len(members), dtype=torch.bool, device=u.device)
            iterations, count = found.iterations[members], found.newton[members]
            for piece in range(1, 2**cut + 1):
                t = piece / 2**cut
                part.strain = (1 - t) * first + t * batch.strain[members]
                result = newton(part, u)
                alive &= result.converged
                iterations, count = iterations + result.iterations, count + result.newton
                u = torch.where(alive[None, :, None, None, None], result.u, 0.0)
                if not bool(alive.any()):
                    break
            found.u[:, members] = u
            found.converged[members] = alive
            found.iterations[members], found.newton[members], found.cuts[members] = iterations, count, cut
            found.negative[members] = result.negative
        return found

    def _rotate(self, R: Tensor, u: Tensor) -> Tensor:
        return rotate(R, u) if self.measure is Measure.FINITE else u

    def _ahead(self, stretch: Tensor, start: Guess) -> Tensor:
        """The guess's fluctuation, grown as the strain has in its own direction: what proportional loading makes of it.

        With history the fluctuation does not follow the strain, and is left as it was.
        """
        if self._n_history:
            return start.u
        reference = self.reference_strain()
        old, new = start.stretch - reference, stretch - reference
        size = (old * old).sum(-1)
        growth = torch.where(size > 0, (old * new).sum(-1) / torch.where(size > 0, size, 1.0), 1.0)
        return start.u.mul_(growth.clamp(-MAX_GROWTH, MAX_GROWTH)[None, :, None, None, None])

    def _tangent(
        self, batch: Batch, now: Evaluation, columns: list[int], hopeless: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Homogenised tangent (B, n, n), what it adds to the mean stress, and the verdict of its linear solves.

        A residual r left by Newton's method makes an error of first order in <stress>. The sensitivities
        w_j = d u / d strain_bar_j tell it: <stress>_j + w_j . r is the derivative of the relaxed potential, in error by
        the product of the two errors only. A macro solver's residuals so fall far below the cell's tolerance.

        With w_j from K w_j = -<grad^T C e_j>, C_bar_ij = <e_i : C : (e_j + grad w_j)> + w_i . r_j, r_j the residual
        left in w_j: so written its error is that of w_i times that of w_j, and the solves need half the digits. Columns
        that were not asked for are zero; when some were not, their rows lack w_i, and the solves are done in full. So
        are they where a phase's tangent is not symmetric: what would correct it is the solution of the adjoint problem.
        Members that are ``hopeless`` (B,) get nan and no solves.
        """
        B, n = batch.strain.shape
        tangent = batch.strain.new_zeros(B, n, n)
        if not columns:
            return tangent, batch.strain.new_zeros(B, 0), tangent.new_zeros(B, dtype=torch.int8)
        system, C = self.system, len(columns)
        # Where all rows are corrected, errors enter as products of two.
        whole = len(self.components) == C and system.symmetric
        accuracy = max(self.tolerance, 0.1 * self.tolerance**0.5) if whole else self.tolerance
        operator = batch.operator()
        together = _together(B * self._points[2], tangent.device)
        w, residual, parts = [], [], []
        for first in range(0, C, together):
            unit = batch.strain.new_zeros(n, len(columns[first : first + together]), B)
            for c, column in enumerate(columns[first : first + together]):
                unit[column, c] = 1.0
            solved, forces, mean = sensitivities(operator, unit, accuracy, hopeless)
            tangent[:, :, columns[first : first + together]] = mean.permute(2, 0, 1)
            w += solved.x.unflatten(1, (-1, B)).unbind(1)
            residual += forces.unflatten(1, (-1, B)).unbind(1)
            parts.append(solved)
        for w_i, row in zip(w, columns if system.symmetric else (), strict=False):
            for r_j, column in zip(residual, columns, strict=True):
                tangent[:, row, column] += dot(w_i, r_j)
        outside = [row for row in range(n) if row not in self.measure.columns(self.components)]
        tangent[:, outside] = torch.nan
        w_r = [dot(w_j, now.residual) * system.symmetric for w_j in w]
        negative = torch.cat([part.negative for part in parts]).reshape(C, B)
        stuck = ~(torch.cat([part.converged for part in parts]).reshape(C, B) | negative).all(0)
        negative = negative.any(0)
        verdict = worst_verdict(torch.zeros_like(negative, dtype=torch.int8), Verdict.UNSTABLE, negative)
        verdict = worst_verdict(verdict, Verdict.NOT_CONVERGED, stuck)
        return torch.where((stuck | hopeless)[:, None, None], torch.nan, tangent), torch.stack(w_r, -1), verdict

    def _step(
        self, batch: Batch, now: Evaluation, solved: Equilibrium, state: Tensor, answer: Tensor, verdict: Tensor
    ) -> Step:
        start = self._guess(state)
        means = now.means
        stress = torch.full_like(batch.strain, torch.nan)
        rows = self.measure.columns(self.components)
        stress[:, rows] = means.stress[:, rows]
        work, defect = batch.work(now, solved.u, start.strain, self._rotate(start.rotation, start.u))
        extras = {
            **means.energies,
            "iterations": solved.iterations.to(self.dtype),
            "newton": solved.newton.to(self.dtype),
            "cuts": solved.cuts.to(self.dtype),
            "work": work,
            "hill_mandel": defect,
            "dissipation_by_phase": means.by_phase,
        }
        del start
        step = self.answer(means.psi, stress, means.dissipation, answer[:, :0], verdict, extras)
        # The state is large: written and blanked in place, not copied.
        guess = Guess.of(batch.strain, solved.u).write(self.measure)
        if self._n_history:
            answer[:, self._n_history :] = guess
        else:
            answer = guess
        return step._replace(state=answer.masked_fill_((step.verdict >= FIRST_WITHOUT_ANSWER)[:, None], torch.nan))


def _together(voxels: int, device: torch.device) -> int:
    """How many tangent columns of that many voxels to solve at once: as many as make a batch that fills the machine."""
    return max(1, COLUMNS["cpu" if device.type == "cpu" else "cuda"] // voxels)
