"""A crystal at a temperature as a law: averages over Langevin dynamics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from datagen.atoms.blocks import FEWEST, block_means, standard_error
from datagen.atoms.crystal import Crystal
from datagen.atoms.dynamics import SKIN, Series, langevin, seed_of
from datagen.atoms.homogeneous import answerable
from datagen.atoms.potential import Potential
from datagen.atoms.units import BOLTZMANN, MPA
from datagen.laws.law import Extra, Law, Measure, Step
from datagen.laws.verdict import Verdict
from datagen.tensors import from_mandel, inv, to_mandel

BLOCKS = 10  # parts of a trajectory that a state remembers: what the error of psi is made of
STRAIN = 1e-4  # of the differences that make the tangent
SEARCH = 12  # strains on the way to the stress-free cell at most
GRAIN = 2.0**-40  # deformations that differ by less have the same noise
NOISES = ("common", "own")
RELAXATIONS = ("isotropic", "full", "none")


class Sampled(NamedTuple):
    """Averages over the trajectories of m members, less those of the reference."""

    stress: Tensor  # (m, 6) second Piola-Kirchhoff, Mandel [MPa]
    blocks: Tensor  # (m, BLOCKS, 6) the same over parts of the trajectory [MPa]
    error: Tensor  # (m, 9) standard error of the first Piola stress [MPa]
    energy: Tensor  # (m,) mean potential energy per reference volume [MPa]
    temperature: Tensor  # (m,) kinetic [K]
    complete: Tensor  # (m,) bool


class ThermalCell(Law):
    r"""A supercell at a temperature, its stress the average over a Langevin trajectory at fixed F.

    S(F) = F^-1 (<sum g (x) r> F^-T - (n - 1) k_B T F^-T) / V_0      second Piola-Kirchhoff, kinetic part included
    P(F) = F (S(F) - S(I)),    psi = free energy density = integral of P : dF from the reference

    The kinetic part is its exact average: momenta are those of n atoms at T whose centre of mass is at rest. The cell
    that ``strain`` counts from is the stress-free one at the temperature, found first, with the standard errors
    `reference_stress_error` and `reference_strain_error`. What the trajectory there has for a stress, S(I), in
    `reference_stress`, is zero but for these errors and its own, and is subtracted: stress and psi of the undeformed
    cell are zero without error, and each answer carries the standard error of its difference from it.

    All trajectories have the same noise (``noise="common"``). In a crystal friction makes trajectories of different F
    follow each other, so that differences of stress are known much better than stresses: ten times at 1 % strain,
    thousands of times at 1e-5, whence the answer is a smooth function of F and its tangent the difference of answers at
    strains of 1e-4. Where atoms change places trajectories part, and the tangent, though not the stress, is then noise:
    `stiffness` gives its error. With ``noise="own"`` seeds derive from F as well and errors of different strains are
    independent, those of the tangent large. Answers depend on nothing but the arguments, bit for bit.

    psi is integrated with the trapezoidal rule on S : dE along the steps, hence as objective as S, with an error of
    third order in each step: walk to a strain, do not jump. The state is E, and S and psi averaged over ten parts of
    the trajectory; from the scatter of the parts comes the error of psi, with all correlations along the path. The
    mean potential energy is an extra; entropy makes the difference. dissipation is 0: at equilibrium W is a function
    of F. det F <= 0 answers INVERTED, a smallest stretch below a fifth CRUSHED, a trajectory that blows up
    NOT_CONVERGED. `accuracy` is such that ten times it is three standard errors of a stress at 10 % strain.

    Args:
        potential: of the atoms.
        crystal: the supercell near its stress-free state; wider than the correlations, not necessarily than the cutoff.
        temperature: [K].
        steps: of a trajectory that are sampled.
        timestep: [ps].
        friction: [1/ps].
        equilibration: steps before, from the lattice at rest and velocities at the temperature.
        every: steps from sample to sample.
        seed: of the noise.
        noise: "common" or "own".
        relax: what of the cell is found: "isotropic" size, "full" strain, or "none", it is stress-free as given.
        replicas: trajectories that are averaged to find it.

    Raises:
        ValueError: numbers that make no sense, too few samples for an error, no stress-free cell.

    Reference:
        D. Frenkel, B. Smit, Understanding Molecular Simulation, 2nd ed., 2002, sections 4.4 and 7.1 (stress, free
        energy); B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34, doi:10.1093/amrx/abs010 (dynamics).
    """

    measure = Measure.FINITE
    state_names = (
        *(f"E_{name}" for name in Measure.SMALL.components),
        *(f"S_{name}_{k}" for k in range(BLOCKS) for name in Measure.SMALL.components),
        *(f"psi_{k}" for k in range(BLOCKS)),
    )
    extras = {
        "stress_error": Extra((9,), "MPa", "standard error of the stress"),
        "psi_error": Extra((), "MPa", "standard error of the free energy density"),
        "potential_energy": Extra((), "MPa", "mean potential energy per reference volume"),
        "temperature": Extra((), "K", "kinetic temperature as measured"),
    }

    series_0: Tensor
    reference_stress: Tensor
    reference_stress_error: Tensor
    reference_strain_error: Tensor

    def __init__(
        self,
        potential: Potential,
        crystal: Crystal,
        temperature: float,
        steps: int = 20000,
        timestep: float = 0.005,
        friction: float = 5.0,
        equilibration: int = 2000,
        every: int = 10,
        seed: int = 0,
        noise: str = "common",
        relax: str = "isotropic",
        replicas: int = 4,
    ) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("timestep", timestep), ("friction", friction)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: got {value}, wanted a positive number")
        if steps < 2 * FEWEST * every or replicas < 1:
            raise ValueError(
                f"steps, every, replicas: got {steps}, {every} and {replicas}, wanted {2 * FEWEST} samples or more and "
                "a trajectory"
            )
        if noise not in NOISES or relax not in RELAXATIONS:
            raise ValueError(f"noise, relax: got {noise!r}, {relax!r}, wanted of {NOISES} and of {RELAXATIONS}")
        self.potential, self.temperature, self.noise, self.seed = potential, float(temperature), noise, int(seed)
        self.steps, self.timestep, self.friction = steps, timestep, friction
        self.equilibration, self.every = equilibration, every
        self.species = potential.species(crystal.elements)
        self.crystal, stiffness, stress_error, strain_error = self._relaxed(crystal, relax, replicas)
        one = torch.eye(3, dtype=torch.float64)[None]
        series, _ = self._series(one, self.crystal)
        self.register_buffer("series_0", series[:, 0])
        self.register_buffer("reference_stress", from_mandel(series.mean(0)[0]).flatten())
        self.register_buffer("reference_stress_error", from_mandel(stress_error).flatten())
        self.register_buffer("reference_strain_error", from_mandel(strain_error).flatten())
        largest = float(standard_error(self.series_0).max())
        self.accuracy = 0.3 * largest / (0.1 * float(stiffness.abs().max()))

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        self.check(strain, state)
        F, verdict = answerable(strain)
        batch = strain.shape[:-1]
        E = to_mandel(0.5 * (F.mT @ F - torch.eye(3, dtype=F.dtype, device=F.device)))
        moving = forward_ad.unpack_dual(E).tangent is not None
        sampled = Sampled(*_Average.apply(E, F.detach(), self, moving)[:-1])
        S = sampled.stress
        before = state.reshape(-1, self.n_state)
        E_0, S_0, psi_0 = before.split((6, 6 * BLOCKS, BLOCKS), -1)
        work = 0.5 * (S_0.unflatten(-1, (BLOCKS, 6)) + sampled.blocks) * (E - E_0)[:, None]
        psi = psi_0 + work.sum(-1)
        after = torch.cat([E, sampled.blocks.flatten(1), psi], -1)
        broken = torch.where(sampled.complete, int(Verdict.GOOD), int(Verdict.NOT_CONVERGED)).reshape(batch)
        extras = {
            "stress_error": sampled.error.reshape(*batch, 9),
            "psi_error": (psi.detach().std(-1) / BLOCKS**0.5).reshape(batch),
            "potential_energy": sampled.energy.reshape(batch),
            "temperature": sampled.temperature.reshape(batch),
        }
        P = (F @ from_mandel(S)).reshape(*batch, 9)
        psi_mean = psi.mean(-1).reshape(batch)
        verdict = torch.maximum(verdict, broken.to(torch.int8))
        after = after.reshape(*batch, self.n_state)
        return self.answer(psi_mean, P, torch.zeros_like(psi_mean), after, verdict, extras)

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved is the dense tangent, whole, of the answer: twelve more trajectories a point."""
        step = self.forward(strain, state, dt, parameters)
        F, _ = answerable(strain)
        E = to_mandel(0.5 * (F.mT @ F - torch.eye(3, dtype=F.dtype, device=F.device)))
        to_matrix = MANDEL_TO_MATRIX.to(F)
        C = to_matrix.mT @ self._slope(E)[0] @ to_matrix  # dS_MJ / dE_NL (m, 9, 9)
        S = inv(F) @ step.stress.reshape(-1, 3, 3).nan_to_num()
        A = torch.einsum("miM,mMJNL,mkN->miJkL", F, C.unflatten(2, (3, 3)).unflatten(1, (3, 3)), F)
        A = A + torch.einsum("ik,mJL->miJkL", torch.eye(3, dtype=F.dtype, device=F.device), 0.5 * (S + S.mT))
        return step, A.reshape(*strain.shape[:-1], 81)

    def stiffness(self, strain: Tensor) -> tuple[Tensor, Tensor]:
        """dS/dE (*b, 6, 6) in Mandel components and its standard error [MPa], at deformation gradients (*b, 9)."""
        F, _ = answerable(strain)
        E = to_mandel(0.5 * (F.mT @ F - torch.eye(3, dtype=F.dtype, device=F.device)))
        return tuple(x.reshape(*strain.shape[:-1], 6, 6) for x in self._slope(E))  # type: ignore[return-value]

    def average(self, E: Tensor, F: Tensor) -> Sampled:
        """Averages of members at the Green-Lagrange strains E (m, 6), that are those of F (m, 3, 3)."""
        series, run = self._series(stretched(E), self.crystal)
        change = series - self.series_0[:, None]  # (S, m, 6)
        P = F @ from_mandel(change)
        scale = MPA / self.crystal.volume
        return Sampled(
            change.mean(0),
            block_means(change, BLOCKS).movedim(0, 1),
            standard_error(P.flatten(-2)),
            scale * run.potential.mean(0),
            run.temperature(3 * self.crystal.n - 3).mean(0),
            run.complete,
        )

    def _slope(self, E: Tensor) -> tuple[Tensor, Tensor]:
        """dS/dE (m, 6, 6), made symmetric, and its standard error, by central differences under the same noise."""
        m = len(E)
        moves = STRAIN * torch.eye(6, dtype=E.dtype, device=E.device)
        moves = torch.stack([moves, -moves])  # (2, 6, 6)
        strains = (E[:, None, None] + moves).reshape(-1, 6)
        seeds = [seed for seed in self._seeds(stretched(E)) for _ in range(12)]
        series, _ = self._series(stretched(strains), self.crystal, seeds)
        S = series.unflatten(1, (m, 2, 6))  # (S, m, 2, 6 moves, 6)
        slope = ((S[:, :, 0] - S[:, :, 1]) / (2 * STRAIN)).mT
        slope = 0.5 * (slope + slope.mT)
        return slope.mean(0), standard_error(slope)

    def _seeds(self, T: Tensor) -> list[int]:
        """Seeds of members with stretches T (m, 3, 3)."""
        if self.noise == "common":
            return [seed_of(self.seed, self.temperature)] * len(T)
        return [seed_of(self.seed, self.temperature, (member / GRAIN).round() * GRAIN) for member in T]

    def _series(self, T: Tensor, crystal: Crystal, seeds: list[int] | None = None) -> tuple[Tensor, Series]:
        """Second Piola stress (S, m, 6) along the trajectories of a crystal stretched by T (m, 3, 3) [MPa]."""
        back = inv(T)
        positions, cell = crystal.positions.to(T) @ T.mT, crystal.lattice.to(T) @ T.mT
        run = langevin(
            self.potential, positions, cell, self.species.to(T.device), self.temperature,
            self._seeds(T) if seeds is None else seeds, self.steps, self.timestep, self.friction, self.every,
            self.equilibration, skin=SKIN,
        )  # fmt: skip
        ideal = (crystal.n - 1) * BOLTZMANN * self.temperature
        stress = back @ run.virial @ back.mT - ideal * (back @ back.mT)
        return to_mandel(MPA / crystal.volume * 0.5 * (stress + stress.mT)), run

    def _relaxed(self, crystal: Crystal, relax: str, replicas: int) -> tuple[Crystal, Tensor, Tensor, Tensor]:
        """The stress-free crystal, its stiffness and the standard errors (6,) of its stress [MPa] and strain."""
        one = torch.eye(3, dtype=torch.float64)
        seeds = [seed_of(self.seed, self.temperature, float(k)) for k in range(replicas)]
        self.crystal = crystal
        stiffness = self._slope(torch.zeros(1, 6, dtype=torch.float64))[0][0]
        relief = -torch.linalg.solve(stiffness, torch.eye(6, dtype=stiffness.dtype))  # strain of a stress
        if relax == "isotropic":
            i = to_mandel(one)
            relief = -torch.outer(i, i) / (i @ stiffness @ i)
        change = math.inf
        for _ in range(SEARCH):
            series, run = self._series(one.expand(replicas, 3, 3), self.crystal, seeds)
            strain = series @ relief.T
            errors = [(standard_error(x).square().sum(0)).sqrt() / replicas for x in (series, strain)]
            if relax == "none" or change < 1e-7:
                return self.crystal, stiffness, errors[0], errors[1]
            e = strain.mean((0, 1))
            change = float(e.abs().max())
            if not (change < 0.2 and bool(run.complete.all())):
                break
            self.crystal = self.crystal.deformed(one + from_mandel(e))
            # Its own errors make no smaller steps worth while.
            change = change if change > 0.01 * float(errors[1].max()) else 0.0
        raise ValueError(
            f"crystal: got one that is {change:.2g} of strain from its next guess of the stress-free cell at "
            f"{self.temperature} K, wanted one near it"
        )


class _Average(torch.autograd.Function):
    """`ThermalCell.average`, whose derivative in forward mode is that which `ThermalCell.linearise` gives."""

    @staticmethod
    def forward(E: Tensor, F: Tensor, law: ThermalCell, moving: bool) -> tuple[Tensor, ...]:
        # The slope is found here, where tensors are plain, not in `jvp`, where they are not: lists read their memory.
        return *law.average(E, F), law._slope(E)[0] if moving else E.new_zeros(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.save_for_forward(output[-1])
        ctx.mark_non_differentiable(output[5], output[6])
        ctx.shapes = [x.shape for x in output]

    @staticmethod
    def jvp(ctx: Any, E_t: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        S_t = (ctx.saved_tensors[0] @ E_t[..., None])[..., 0]
        blocks = S_t[:, None].expand(ctx.shapes[1]).clone()
        return S_t, blocks, *(E_t.new_zeros(shape) for shape in ctx.shapes[2:5]), None, None


def stretched(E: Tensor) -> Tensor:
    """The upper triangle T (m, 3, 3) with T^T T = I + 2 E, of Green-Lagrange strains (m, 6): F up to a rotation."""
    C = torch.eye(3, dtype=E.dtype, device=E.device) + 2 * from_mandel(E)
    return torch.linalg.cholesky(C).mT.contiguous()


MANDEL_TO_MATRIX = torch.stack(
    [to_mandel(e) for e in torch.eye(9, dtype=torch.float64).unflatten(1, (3, 3))], 1
)  # fmt: skip
"""(6, 9): the Mandel components of the symmetric part of a matrix."""
