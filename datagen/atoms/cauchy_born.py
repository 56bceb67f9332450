"""A perfect crystal as a law: the Cauchy-Born rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import stress_free
from datagen.atoms.homogeneous import Deformed, Homogeneous, answerable
from datagen.atoms.phonons import Vibrations
from datagen.atoms.potential import Potential, check_law
from datagen.atoms.units import MPA
from datagen.laws.ellipticity import lowest_acoustic_eigenvalue
from datagen.laws.law import Extra, Law, Measure, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict

TESTS = (None, "elastic", "phonon")
_EXTRAS = {
    "acoustic_eigenvalue": Extra((), "MPa", "lowest eigenvalue of the acoustic tensor over all directions"),
    "normal": Extra((3,), "1", "direction where it is found, in the reference configuration"),
    "frequency_squared": Extra(
        (), "1/ps^2", "squared angular frequency of the softest phonon, see `Vibrations.softest`"
    ),
    "wave_vector": Extra((3,), "1", "its wave vector in reduced coordinates of the crystal's cell"),
}


class CauchyBorn(Law):
    r"""A perfect crystal whose lattice follows the deformation gradient and whose inner atoms find their places.

    W(F) = min over u of 1/V_0 sum_i E_i({F Q (R_j - R_i) + u_j - u_i})   over the atoms i of one cell
    P(F) = dW/dF = 1/V_0 sum_i sum_k dE_i/dr_ik (x) R_ik                  R in the axes of the strain
    A(F) = A_FF - A_Fu A_uu^-1 A_uF,     psi = W(F) - W(I)

    Q are the material axes (buffer ``orientation``). The shifts u are found by damped Newton steps from zero at every
    call, so W is single-valued and the law has no state: of several minima it is the one that these steps reach, with
    the verdict UNSTABLE where they met negative curvature (a saddle that symmetry holds is kept).

    Hyperelastic. Holds to the loss of stability, after which a real crystal leaves the homogeneous state:
    ``stability`` tests for it at every point, and the verdicts ELASTICALLY_UNSTABLE and PHONON_UNSTABLE, with the
    numbers they rest on in the extras, travel with the data. det F <= 0 answers INVERTED, a smallest stretch below a
    fifth CRUSHED. Differentiable by strain; not by what the potential holds.

    Args:
        potential: with a force that is continuous at the cutoff.
        crystal: one cell of it, primitive or not.
        reference: "stress_free", the strain counts from the cell free of stress that is nearest to ``crystal``; or
            "as_given", from ``crystal`` itself, which may bear stress.
        clamped: keep the inner atoms where the lattice takes them from their places in the reference, u = 0.
        stability: None, "elastic" (lowest acoustic eigenvalue over all directions) or "phonon" (that, and the lowest
            frequency over the Brillouin zone).
        grid: of wave vectors, n x n x n commensurate ones.
        refine: whether to search between them as well; see `datagen.atoms.phonons`.

    Raises:
        ValueError: a potential whose force jumps at the cutoff, an element it does not know, a crystal without a
            stress-free cell near it, another choice of reference or stability.

    Reference:
        J. L. Ericksen, Math. Mech. Solids 13 (2008) 199, doi:10.1177/1081286507086898; M. Born, K. Huang, Dynamical
        Theory of Crystal Lattices, 1954, section 11 (inner shifts).

    Example:
        >>> from datagen.atoms.crystals import fcc
        >>> from datagen.atoms.lennard_jones import LennardJones
        >>> law = CauchyBorn(LennardJones(0.0104, 3.405, 8.5125), fcc(5.27, "Ar"))
        >>> C = law.tangent(law.reference_strain(), law.initial_state(), dt=1.0).reshape(3, 3, 3, 3)  # at F = I
        >>> [round(float(C[i]), 1) for i in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1))]  # C11, C12, C44 in MPa
        [3642.5, 2089.1, 2089.1]
    """

    measure = Measure.FINITE

    orientation: Tensor
    energy_0: Tensor

    def __init__(
        self,
        potential: Potential,
        crystal: Crystal,
        reference: str = "stress_free",
        clamped: bool = False,
        stability: str | None = None,
        grid: int = 8,
        refine: bool = True,
    ) -> None:
        super().__init__()
        check_law(potential, reference)
        self.extras = _extras(stability)
        self.stability, self.clamped, self.grid, self.refine = stability, clamped, grid, refine
        self.potential = potential
        self.crystal = stress_free(crystal, potential) if reference == "stress_free" else crystal
        self.register_buffer("orientation", torch.eye(3, dtype=torch.float64))
        self._lattice = Homogeneous(potential, self.crystal, clamped)
        self._vibrations = Vibrations(self._lattice, grid, refine)
        start = self._lattice.relaxed(torch.eye(3, dtype=torch.float64)[None])
        self.register_buffer("energy_0", start.energy[0].detach())

    @property
    def density(self) -> float:
        """Mass per reference volume [eV ps^2/A^5]."""
        return float(self._vibrations.mass.sum()) / self.crystal.volume

    def testing(self, stability: str | None, grid: int | None = None, refine: bool | None = None) -> Self:
        """The same law with other tests of stability."""
        other = self.with_buffers()
        other.extras = _extras(stability)
        other.stability = stability
        other.grid = self.grid if grid is None else grid
        other.refine = self.refine if refine is None else refine
        other._vibrations = Vibrations(self._lattice, other.grid, other.refine)
        return other

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self._answer(strain, state, with_tangent=False)[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved is the dense tangent, whole."""
        return self._answer(strain, state, with_tangent=True)

    def shifts(self, strain: Tensor) -> Tensor:
        """Shifts (*b, n, 3) [A] of the atoms in the axes of the strain, that of atom 0 zero; nan without an answer."""
        G, verdict = self._prepared(strain)
        found = self._lattice.relaxed(G).shift.mT
        if self.clamped:
            found = found.new_zeros(len(found), self.crystal.n - 1, 3)
        shift = torch.cat([torch.zeros_like(found[:, :1]), found], 1) if self.crystal.n > 1 else found.new_zeros(
            len(found), 1, 3
        )  # fmt: skip
        bad = (verdict >= FIRST_WITHOUT_ANSWER).flatten()
        return torch.where(bad[:, None, None], torch.nan, shift).reshape(*strain.shape[:-1], -1, 3)

    def _prepared(self, strain: Tensor) -> tuple[Tensor, Tensor]:
        """F Q (m, 3, 3), the identity where there is no answer, and the verdict (*b,) so far."""
        F, verdict = answerable(strain)
        Q = self.orientation.expand(*strain.shape[:-1], 3, 3).reshape(-1, 3, 3)
        return F @ Q, verdict

    def _answer(self, strain: Tensor, state: Tensor, with_tangent: bool) -> tuple[Step, Tensor]:
        self.check(strain, state)
        G, verdict = self._prepared(strain)
        found = self._lattice.relaxed(G)
        batch, scale = strain.shape[:-1], MPA / self.crystal.volume
        Q = self.orientation.expand(*batch, 3, 3).reshape(-1, 3, 3)
        psi = (scale * (found.energy - self.energy_0)).reshape(batch)
        stress = (scale * (found.slope @ Q.mT)).reshape(*batch, 9)
        tangent = stress.new_empty(0)
        if with_tangent or self.stability is not None:
            tangent = self._tangent(G, found, Q).reshape(*batch, 9, 9)
        warning = torch.where(found.negative, int(Verdict.UNSTABLE), int(Verdict.GOOD))
        extras: dict[str, Tensor] = {}
        if self.stability is not None:
            alive = ((verdict.flatten() < FIRST_WITHOUT_ANSWER) & found.converged).nonzero()[:, 0]
            extras, warning = self._judge(tangent.reshape(-1, 9, 9), G, found, warning, alive)
            extras = {name: value.reshape((*batch, *self.extras[name].shape)) for name, value in extras.items()}
        warning = torch.where(found.converged, warning, int(Verdict.NOT_CONVERGED)).reshape(batch)
        verdict = torch.maximum(verdict, warning.to(torch.int8))
        step = self.answer(psi, stress, torch.zeros_like(psi), state, verdict, extras)
        return step, tangent.flatten(-2) if with_tangent else tangent

    def _tangent(self, G: Tensor, found: Deformed, Q: Tensor) -> Tensor:
        """dP/dF (m, 9, 9): the shifts follow."""
        A = self._lattice.curvature(G.detach(), found.shift.detach())  # (m, 3, p, 3, p)
        m = len(A)
        stiffness = A[:, :, :3, :, :3]
        if self._lattice.p > 3:
            inner = A[:, :, 3:, :, 3:].flatten(3).flatten(1, 2)
            mixed = A[:, :, 3:, :, :3].flatten(3).flatten(1, 2)  # inner by F
            follow, _ = torch.linalg.solve_ex(inner, mixed)
            stiffness = stiffness - (mixed.mT @ follow).reshape(m, 3, 3, 3, 3)
        scale = MPA / self.crystal.volume
        turned = torch.einsum("miMkN,mJM,mLN->miJkL", scale * stiffness, Q, Q)
        turned = turned.reshape(m, 9, 9)
        return 0.5 * (turned + turned.mT)

    def _judge(
        self, tangent: Tensor, G: Tensor, found: Deformed, warning: Tensor, alive: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The extras (m, ...) and warnings (m,) of the tests of stability, asked where there is an answer."""
        extras = {name: tangent.new_full((len(G), *extra.shape), torch.nan) for name, extra in self.extras.items()}
        if self.stability == "phonon":
            squared, wave = self._vibrations.softest(G[alive].detach(), found.shift[alive].detach())
            extras["frequency_squared"][alive], extras["wave_vector"][alive] = squared, wave
            soft = extras["frequency_squared"] <= 0
            warning = torch.where(soft, warning.clamp(min=int(Verdict.PHONON_UNSTABLE)), warning)
        value, normal = lowest_acoustic_eigenvalue(tangent[alive], Measure.FINITE)
        extras["acoustic_eigenvalue"][alive], extras["normal"][alive] = value, normal
        soft = extras["acoustic_eigenvalue"] <= 0
        return extras, torch.where(soft, warning.clamp(min=int(Verdict.ELASTICALLY_UNSTABLE)), warning)


def _extras(stability: str | None) -> dict[str, Extra]:
    """What the tests of stability add to an answer; raises ValueError for tests that there are not."""
    if stability not in TESTS:
        raise ValueError(f"stability: got {stability!r}, wanted None, 'elastic' or 'phonon'")
    return dict(list(_EXTRAS.items())[: 2 * TESTS.index(stability)])
