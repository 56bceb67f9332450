"""A periodic cell of many atoms as a law: defects, alloys and grain boundaries, at rest at every strain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import stress_free
from datagen.atoms.curvature import Curvature
from datagen.atoms.homogeneous import SMALLEST_STRETCH
from datagen.atoms.neighbours import Neighbours, neighbours, worn
from datagen.atoms.potential import Potential, check_law
from datagen.atoms.relaxation import FARTHEST, SKIN, relax, relax_cell
from datagen.atoms.response import projected
from datagen.atoms.statics import Energies, Linearised, evaluate, first_piola, placed
from datagen.atoms.units import MPA
from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.tensors import det, from_mandel, inv, to_mandel

BALANCE = 1e-3  # of a substep's work: so well must work and stored energy agree on a smooth branch
ROUNDING = 1e-13  # of the energy of the atoms
NEWTON = 6  # steps; from a point on the branch nearby three or four are enough
KICK = 0.01  # A
FORK = 100  # times the tolerance do for a force where branches part, their energies differing by rounding
GUESS = 1e-6  # of a drift: what it foretells is relaxed, and what it adds to the work is checked to a thousandth
FEW = 60  # atoms up to which the stress-free cell is found with a stored second derivative
MEMORY = 2**28  # bytes of bonds and their changes held at a time


class AtomisticCell(Law):
    r"""A cell of atoms at 0 K that follows one branch of equilibria, and loses energy where the branch ends.

    x = F Q (X + w),   dE/dx = 0,   psi = (E - E_0)/V_0,   P = 1/V_0 sum_i sum_k dE_i/dr_ik (x) F^-T r_ik
    A = 1/V_0 (E_FF - E_Fw E_ww^-1 E_wF)

    History are the fluctuation w of the atoms in the reference, and the Green-Lagrange strain at which they came to
    rest: an answer depends on F through F^T F, so it is objective to rounding. From the start of a step to its end
    F^T F goes straight, in substeps, each relaxed by Newton's method from the linear response of the last. With f the
    power S : dE/dt of the second Piola stress and f' its slope with relaxation, the work of a substep h is

        W_h = h/2 (f_0 + f_1) + h^2/12 (f'_0 - f'_1) + O(h^5).

    On a smooth branch the energy changes by the work: where W_h, or its first term alone, equals the change within a
    thousandth of h/2 (|f_0| + |f_1|), that change IS the work and nothing is dissipated. Where it does not, where
    Newton's method loses the branch or where the curvature E_ww turns negative, the substep is halved, down to strains
    of ``resolution``. There the atoms, shaken by 0.01 A, run downhill into a valley nearby (where there are several,
    which one may depend on the steps), and h/2 (f_0 + f_1) less the change of the energy, if that is positive, is
    dissipated with the verdict LEFT_BRANCH. Over a path work = change of psi + dissipation, up to |f_1 - f_0| h/2 for
    each jump, first order in ``resolution``, and a thousandth of the work; losses smaller than that are not seen.

    UNSTABLE: the atoms rest on a saddle all the same. NOT_CONVERGED: they found no rest. det F <= 0
    answers INVERTED, a smallest stretch below a fifth CRUSHED. Q are the material axes (buffer ``orientation``).
    Rate independent. Energy and stress are differentiable by strain in forward mode; history and dissipation are not.

    Args:
        potential: with a force that is continuous at the cutoff.
        crystal: the atoms of one cell, of any size against the cutoff, near rest: where grains meet too close or too
            far apart there may be none (see ``closest`` and ``gap`` of `datagen.atoms.supercells.symmetric_tilt`).
        reference: "stress_free", atoms and cell are relaxed and the strain counts from there; or "as_given", the atoms
            are relaxed in the given cell, which may then bear stress at F = I.
        tolerance: on the largest force on an atom [eV/A].
        max_step: largest strain (norm of the change of Green-Lagrange strain) of a substep.
        resolution: smallest strain of a substep.

    Raises:
        ValueError: a potential whose force jumps at the cutoff, an element it does not know, atoms that find no rest,
            numbers that are not 0 < resolution <= max_step or tolerance > 0, another choice of reference.

    Reference:
        C. Maloney, A. Lemaitre, Phys. Rev. E 74 (2006) 016118, doi:10.1103/PhysRevE.74.016118 (athermal quasistatic
        deformation, and elastic constants with relaxation).

    Example:
        >>> from datagen.atoms.crystals import fcc
        >>> from datagen.atoms.morse import Morse
        >>> from datagen.atoms.supercells import supercell, vacancy
        >>> copper = Morse(D=0.3429, alpha=1.3588, r0=2.866, cutoff=5.5)
        >>> cell = AtomisticCell(copper, vacancy(supercell(fcc(3.6, "Cu"), 2)))
        >>> cell.n_state  # strain and three numbers for each of 7 atoms
        27
    """

    measure = Measure.FINITE
    reference: Tensor  # (n, 3) X [A]
    lattice: Tensor  # (3, 3) [A]
    species: Tensor  # (n,)
    energy_0: Tensor  # () [eV]
    orientation: Tensor  # (3, 3)

    def __init__(
        self,
        potential: Potential,
        crystal: Crystal,
        reference: str = "stress_free",
        tolerance: float = 1e-10,
        max_step: float = 0.05,
        resolution: float = 1e-5,
    ) -> None:
        super().__init__()
        check_law(potential, reference)
        if not (tolerance > 0 and 0 < resolution <= max_step):
            raise ValueError(
                f"tolerance, max_step, resolution: got {tolerance}, {max_step}, {resolution}, wanted tolerance > 0 and "
                "0 < resolution <= max_step"
            )
        self.potential, self.tolerance, self.max_step, self.resolution = potential, tolerance, max_step, resolution
        self.crystal = _at_rest(potential, crystal, reference == "stress_free", tolerance)
        self.volume = self.crystal.volume
        self.state_names = tuple(f"E_{name}" for name in Measure.SMALL.components) + tuple(
            f"w{d + 1}_{i}" for i in range(self.crystal.n) for d in range(3)
        )
        self.register_buffer("reference", self.crystal.positions)
        self.register_buffer("lattice", self.crystal.lattice)
        self.register_buffer("species", potential.species(self.crystal.elements))
        self.register_buffer("orientation", torch.eye(3, dtype=torch.float64))
        one = torch.eye(3, dtype=torch.float64)[None]
        at = self._atoms(one, torch.zeros(1, self.crystal.n, 3, dtype=torch.float64))
        self.register_buffer("energy_0", at.energies.energy[0])
        # A force of the tolerance moves the atoms, and the stress, by so much of the stress at a strain of a tenth.
        stiffness = float(self._tangent(at, one, list(range(9))).abs().max()) / MPA
        self.accuracy = max(1e-12, 10 * tolerance / (stiffness * (self.volume / self.crystal.n) ** (2 / 3)))

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        psi, stress, dissipation, new, verdict = _Differentiable.apply(strain, state, self)
        return Step(psi, stress, dissipation, new, verdict, {})

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved is the dense tangent, columns that were not asked for zero."""
        return self._answer(strain, state, self.measure.columns(self.components if components is None else components))

    def positions(self, strain: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Atoms (*b, n, 3) and cell (*b, 3, 3) [A] at the strain (*b, 9) and state at the end of a step."""
        G = strain.unflatten(-1, (3, 3)) @ self.orientation
        return placed(G, self.reference + state[..., 6:].unflatten(-1, (-1, 3)), self.lattice)

    @torch.no_grad()
    def _answer(self, strain: Tensor, state: Tensor, columns: list[int] | None) -> tuple[Step, Tensor]:
        self.check(strain, state)
        batch, m = strain.shape[:-1], strain.shape[:-1].numel()
        F, old = strain.reshape(-1, 3, 3), state.reshape(-1, self.n_state)
        deformed = (strain.unflatten(-1, (3, 3)) @ self.orientation).reshape(-1, 3, 3)
        verdict = self._prepared(strain, state).flatten()
        psi, dissipation, stress, new = F.new_zeros(m), F.new_zeros(m), F.new_zeros(m, 3, 3), old.clone()
        tangent = F.new_zeros(m, 81) if columns is not None else F.new_zeros(0)
        for rows in self._chunks((verdict < FIRST_WITHOUT_ANSWER).nonzero()[:, 0]):
            G = deformed[rows]
            E_0, w_0 = from_mandel(old[rows, :6]), old[rows, 6:].unflatten(-1, (-1, 3))
            E = 0.5 * (G.mT @ G - torch.eye(3, dtype=F.dtype, device=F.device))
            w, dissipation[rows], verdict[rows] = self._follow(E_0, E, w_0)
            at = self._atoms(G, w)
            psi[rows] = MPA / self.volume * (at.energies.energy - self.energy_0)
            stress[rows] = MPA * first_piola(at.energies.virial, F[rows], self.volume)
            new[rows] = torch.cat([to_mandel(E), w.flatten(1)], -1)
            if columns is not None:
                tangent[rows] = self._tangent(at, F[rows], columns).flatten(1)
        step = self.answer(
            psi.reshape(batch), stress.reshape(*batch, 9), MPA * dissipation.reshape(batch),
            new.reshape(state.shape), verdict.reshape(batch),
        )  # fmt: skip
        return step, tangent.reshape(*batch, 81) if columns is not None else tangent

    def _prepared(self, strain: Tensor, state: Tensor) -> Tensor:
        """The verdict (*b,) on the input."""
        F, one = strain.unflatten(-1, (3, 3)), torch.eye(3, dtype=strain.dtype, device=strain.device)
        verdict = finite_verdict(torch.cat([strain, state], -1), det(F) <= 0, Verdict.INVERTED)
        bad = _wide(verdict >= FIRST_WITHOUT_ANSWER)
        # The state's strain, too: between two that are not crushed none is.
        C = torch.stack([F.mT @ F, one + 2 * from_mandel(state[..., :6])]) - SMALLEST_STRETCH**2 * one
        crushed = (torch.linalg.cholesky_ex(torch.where(bad, one, C))[1] > 0).any(0)
        return torch.where(crushed, int(Verdict.CRUSHED), verdict).to(torch.int8)

    def _chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """Members that are followed together, in bounded memory."""
        n = self.crystal.n
        near = 4.2 * (self.potential.cutoff + SKIN) ** 3 * n / self.volume
        size = max(1, int(MEMORY / (8 * 24 * n * near)))
        return iter(rows.split(size) if len(rows) else ())

    def _follow(self, E_0: Tensor, E_1: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The branch from the strain E_0 (m, 3, 3), atoms at w (m, n, 3), to E_1: w, dissipation [eV/A^3], verdict."""
        dE = E_1 - E_0
        length = dE.flatten(1).norm(dim=-1).clamp(min=1e-300)
        longest, shortest = ((size / length).clamp(max=1.0) for size in (self.max_step, self.resolution))
        done, lost, h = torch.zeros_like(length), torch.zeros_like(length), longest.clone()
        verdict = torch.zeros(len(w), dtype=torch.int8, device=w.device)
        here = self._point(E_0, dE, w, w, None)
        rows = torch.arange(len(w), device=w.device)
        while len(rows):
            start = here.member(rows)
            step = (1 - done[rows]) / ((1 - done[rows]) / h[rows] - 1e-9).ceil().clamp(min=1)
            last = done[rows] + 1.5 * step > 1
            final = step <= shortest[rows] * (1 + 1e-6)
            E = torch.where(_wide(last), E_1[rows], E_0[rows] + _wide(done[rows] + step) * dE[rows])
            end = self._point(E, dE[rows], start.w, start.w + _wide(step) * start.drift, final)
            smooth, loss = _balance(start, end, step)
            taken = end.found & (smooth | final)
            left = taken & ~smooth & (loss > 0)
            lost[rows[left]] += loss[left]
            verdict[rows[left]] = Verdict.LEFT_BRANCH
            verdict[rows[final & ~end.found]] = Verdict.NOT_CONVERGED
            here.put(rows[taken], end.member(taken))
            done[rows] += torch.where(taken, torch.where(last, 1.0, step), 0.0)
            h[rows] = torch.minimum(torch.where(taken, 2.0, 0.5) * step, longest[rows]).clamp(min=shortest[rows])
            rows = rows[(done[rows] < 1) & ~(final & ~end.found)]
        return here.w, lost, torch.where(here.stable, verdict, verdict.clamp(min=int(Verdict.UNSTABLE)))

    def _point(self, E: Tensor, dE: Tensor, w: Tensor, guess: Tensor, final: Tensor | None) -> _Point:
        """Atoms at rest at the strain E (m, 3, 3), and how they go on along dE.

        Newton's method from a guess; where it loses its way and this is the last chance, downhill from w.
        """
        C = torch.eye(3, dtype=E.dtype, device=E.device) + 2 * E
        F = torch.linalg.cholesky_ex(C)[0].mT  # any of this strain will do
        at, found = self._atoms(F, guess), torch.ones(len(w), dtype=torch.bool, device=w.device)
        stable, linear = found.clone(), self._linear(at)
        if final is not None:
            at, found = self._settled(at)
            linear = self._linear(at)
            stable = Curvature(linear).stable
            found &= stable
            fallen = (final & ~found).nonzero()[:, 0]
            if len(fallen):
                # Shaken, always alike, off a saddle on which symmetry would hold them.
                noise = torch.randn(w[0].shape, generator=torch.Generator().manual_seed(0), dtype=w.dtype).to(w)
                x, h = placed(F[fallen], self.reference + w[fallen] + KICK * (noise - noise.mean(0)), self.lattice)
                relaxed = relax(self.potential, x, h, self.species, tolerance=self.tolerance, steps=3000)
                at.x[fallen], found[fallen] = relaxed.positions, relaxed.force <= FORK * self.tolerance
                at = self._evaluated(at.x, at.h)
                linear = self._linear(at)
                stable[fallen] = Curvature(self._linear(at.member(fallen))).stable
        back = inv(F)
        e = (back.mT @ dE @ back)[None]
        u, _ = Curvature(linear).solve(linear.strained(e), GUESS)
        dS, S = linear.virial_change(e, u)[0], at.energies.virial
        slope = (S * e[0]).sum((1, 2)) / self.volume
        curvature = ((dS - 2 * e[0] @ S) * e[0]).sum((1, 2)) / self.volume
        drift = u[0] @ back.mT
        drift = torch.where(_wide(drift.flatten(1).isfinite().all(1)), drift, 0.0)
        energy, size = (part / self.volume for part in (at.energies.energy, at.energies.sites.abs().sum(-1)))
        return _Point(at.x @ back.mT - self.reference, drift, energy, size, slope, curvature, found, stable)

    def _settled(self, at: _Atoms) -> tuple[_Atoms, Tensor]:
        """Newton's method at fixed cell, and whether it came to rest without meeting anything odd (m,)."""
        x, force = at.x.clone(), _largest(at.forces)
        going = (force > self.tolerance).nonzero()[:, 0]
        for _ in range(NEWTON):
            if not len(going):
                break
            u, stable = Curvature(self._linear(at.member(going))).solve(at.forces[going][None], 1e-4)
            good = stable[0] & (_largest(u[0]) <= FARTHEST)  # what is no number is not good
            x[going] += torch.where(_wide(good), u[0], 0.0)
            at = self._evaluated(x, at.h, at.found)
            new = _largest(at.forces)
            good &= new[going] < force[going]
            force = new
            going = going[good & (new[going] > self.tolerance)]
        return at, force <= self.tolerance

    def _atoms(self, F: Tensor, w: Tensor) -> _Atoms:
        return self._evaluated(*placed(F, self.reference + w, self.lattice))

    def _evaluated(self, x: Tensor, h: Tensor, found: Neighbours | None = None) -> _Atoms:
        if found is None or bool(worn(found, x, h).any()):
            found = neighbours(x, h, self.potential.cutoff, SKIN)
        energies = evaluate(self.potential, x, h, self.species, found)
        return _Atoms(x, h, found, energies, projected(energies.forces, torch.ones_like(x)))

    def _linear(self, at: _Atoms) -> Linearised:
        return Linearised(self.potential, at.x, at.h, self.species, at.found)

    def _tangent(self, at: _Atoms, F: Tensor, columns: list[int]) -> Tensor:
        """dP/dF (m, 9, 9) [MPa], the atoms following; columns that were not asked for are zero."""
        back, S, linear = inv(F), at.energies.virial, self._linear(at)
        units = torch.eye(9, dtype=F.dtype, device=F.device)[columns].reshape(-1, 1, 3, 3)
        e = units @ back  # (C, m, 3, 3)
        even, odd = 0.5 * (e + e.mT), 0.5 * (e - e.mT)
        # Six strains span all; what turns the cell turns the stress.
        six = from_mandel(torch.eye(6, dtype=F.dtype, device=F.device))[:, None].expand(6, len(F), 3, 3)
        strains = even if len(columns) < 6 else six
        u, _ = Curvature(linear).solve(linear.strained(strains))
        dS = linear.virial_change(strains, u)
        if len(columns) >= 6:
            dS = torch.einsum("cmk,kmij->cmij", to_mandel(even), dS)
        dS = dS + odd @ S - S @ odd
        dP = MPA / self.volume * (dS - S @ e.mT) @ back.mT
        tangent = F.new_zeros(9, len(F), 9)
        tangent[columns] = dP.flatten(2)
        return tangent.movedim(0, -1)


class _Differentiable(torch.autograd.Function):
    """A step, of which stress and energy can be differentiated by the strain in forward mode."""

    @staticmethod
    def forward(strain: Tensor, state: Tensor, law: AtomisticCell) -> tuple[Tensor, ...]:
        """Everything of a `Step` but the extras."""
        return law._answer(strain, state, None)[0][:5]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the derivative needs."""
        ctx.law = inputs[2]
        ctx.save_for_forward(inputs[0], inputs[1])
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def jvp(ctx: Any, strain: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """P : dF and A dF."""
        stress, tangent = _Tangent.apply(*ctx.saved_tensors, ctx.law)
        return (stress * strain).sum(-1), ctx.law.apply_tangent(tangent, strain), None, None, None


class _Tangent(torch.autograd.Function):
    """Stress and tangent, once more a function so that it is handed plain tensors; not differentiable again."""

    @staticmethod
    def forward(strain: Tensor, state: Tensor, law: AtomisticCell) -> tuple[Tensor, ...]:
        """Stress (*b, 9) and dense tangent (*b, 81)."""
        step, tangent = law._answer(strain, state, list(range(9)))
        return step.stress, tangent

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> tuple[None, None]:
        return None, None


class _Atoms(NamedTuple):
    """Members where they are."""

    x: Tensor  # (m, n, 3)
    h: Tensor  # (m, 3, 3)
    found: Neighbours
    energies: Energies
    forces: Tensor  # (m, n, 3) without what moves all atoms alike

    def member(self, rows: Tensor) -> _Atoms:
        """Some members."""
        energies = Energies(*(part[rows] for part in self.energies))
        return _Atoms(self.x[rows], self.h[rows], self.found.member(rows), energies, self.forces[rows])


class _Point(NamedTuple):
    """Members at rest on their way, per volume of the reference; t is the time along the step."""

    w: Tensor  # (m, n, 3)
    drift: Tensor  # (m, n, 3) dw/dt
    energy: Tensor  # (m,)
    size: Tensor  # (m,) sum of the absolute energies of the atoms, for rounding
    slope: Tensor  # (m,) d energy/dt
    curvature: Tensor  # (m,) d2 energy/dt2 with relaxation
    found: Tensor  # (m,) bool, whether they are at rest
    stable: Tensor  # (m,) bool, whether no direction of negative curvature is known

    def member(self, rows: Tensor) -> _Point:
        """Some members."""
        return _Point(*(part[rows] for part in self))

    def put(self, rows: Tensor, other: _Point) -> None:
        """Write some members back."""
        for part, new in zip(self, other, strict=True):
            part[rows] = new


def _balance(start: _Point, end: _Point, step: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a substep's change of energy is its work (m,), and how much less it is by the trapezoidal rule."""
    loss = 0.5 * step * (start.slope + end.slope) - (end.energy - start.energy)
    finer = loss + step**2 / 12 * (start.curvature - end.curvature)
    scale = BALANCE * 0.5 * step * (start.slope.abs() + end.slope.abs()) + ROUNDING * (start.size + end.size)
    return (loss.abs() <= scale) | (finer.abs() <= scale), loss


def _at_rest(potential: Potential, crystal: Crystal, cell_too: bool, tolerance: float) -> Crystal:
    """The crystal with its atoms, and its cell, relaxed."""
    species = potential.species(crystal.elements)
    x, h = crystal.positions[None], crystal.lattice[None]
    relaxed = relax(potential, x, h, species, tolerance=tolerance, steps=3000)
    if cell_too and crystal.n > FEW and relaxed.verdict[0] < FIRST_WITHOUT_ANSWER:
        relaxed = relax_cell(
            potential, relaxed.positions, h, species, tolerance=1e-12, force_tolerance=tolerance, steps=60
        )
    if relaxed.verdict[0] >= FIRST_WITHOUT_ANSWER:
        raise ValueError(
            f"crystal: got atoms that find no rest, the largest force left is {float(relaxed.force[0]):.3g} eV/A and "
            f"stress {float(relaxed.stress[0]):.3g} eV/A^3; start nearer to equilibrium"
        )
    found = Crystal(relaxed.cell[0], relaxed.positions[0], crystal.elements)
    return stress_free(found, potential) if cell_too and crystal.n <= FEW else found


def _largest(vectors: Tensor) -> Tensor:
    """Length of the longest vector of each member (m,)."""
    return vectors.norm(dim=-1).amax(-1)


def _wide(a: Tensor) -> Tensor:
    return a[..., None, None]
