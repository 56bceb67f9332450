"""Isotropic damage: stiffness lost by cracking, with a fracture energy per crack area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Extra, Law, Measure, Step, finite_verdict
from datagen.spectral import eigen, rotate, symmetric
from datagen.tensors import from_mandel, join, lame_constants, to_mandel

EQUIVALENT_STRAINS = ("energy", "mazars", "modified_von_mises", "rankine")
SOFTENINGS = ("exponential", "linear")


class _Moduli(NamedTuple):
    """Elastic constants, (*b,) each."""

    lmbda: Tensor
    mu: Tensor
    E: Tensor
    nu: Tensor
    strength_ratio: Tensor

    def stress(self, eps: Tensor) -> Tensor:
        """C : eps, (*b, 6)."""
        pressure = self.lmbda * (eps[..., 0] + eps[..., 1] + eps[..., 2])
        stress = 2 * self.mu[..., None] * eps
        return join([stress[..., :3] + pressure[..., None], stress[..., 3:]])


class IsotropicDamage(Law):
    r"""Isotropic damage at small strain, rate-independent, regularised by the width of the crack band.

    sigma = (1 - D) C : eps,  D = D(kappa),  kappa = max over time of the equivalent strain e(eps)
    psi = (1 - D) psi_0,  psi_0 = 1/2 eps : C : eps,  dissipation = psi_0 d D (psi_0 at the end of the step)

    In uniaxial tension e is the axial strain, the peak is at kappa_0 = strength / E, and beyond it sigma falls

    exponential: as strength exp(-(kappa - kappa_0) / eps_f),  eps_f = fracture_energy / (length strength) - kappa_0 / 2
    linear: on a straight line to 0 at kappa_u = 2 fracture_energy / (length strength).

    The area under that curve is fracture_energy / length. What a material owns is the energy that opens a unit *area*
    of crack. Softening localises into a band whose width the law does not know: one voxel or element in a simulation,
    the process zone in a specimen. Were the curve itself the property, the energy spent on a crack would be its area
    times that width, and vanish as the mesh is refined. So give as ``length`` the voxel edge (times about sqrt(2)
    across a diagonal), or the band width of a nonlocal model. A softening cell has a size effect all the same: there is
    no representative volume beyond the peak.

    Equivalent strains (<.> is the positive part):

    - energy: sqrt(eps : C : eps / E). Damages as much in compression as in tension; the tangent is symmetric.
    - mazars: sqrt(sum <eps_i>^2) over the principal strains.
    - modified_von_mises: (a + sqrt(a^2 + 12 k J_2 / (1 + nu)^2)) / 2k,  a = (k - 1) tr eps / (1 - 2 nu),
      J_2 = 1/2 |dev eps|^2; uniaxial compression bears k = ``strength_ratio`` times the strength in tension.
    - rankine: sqrt(sum <s_i>^2) / E over the principal values of C : eps, the criterion of the largest principal stress
      rounded where two are in tension, so that it has a gradient where they coincide.

    The history is kappa, 0 until damage begins. Unloading is elastic and leads to the origin. Differentiable with
    respect to its moduli. A point that is broken through has no stiffness left but ``residual_stiffness``.

    Args:
        E: Young's modulus [MPa], > 0.
        nu: Poisson's ratio, in (-1, 1/2).
        strength: uniaxial tensile strength [MPa], > 0.
        fracture_energy: energy to open a unit area of crack, G_f [N/mm], > 0.
        length: width of the crack band [mm], > 0 and < 2 E fracture_energy / strength^2, beyond which the curve would
            have to snap back.
        equivalent_strain: "energy", "mazars", "modified_von_mises" or "rankine".
        softening: "exponential" or "linear".
        strength_ratio: uniaxial strength in compression over that in tension, >= 1; modified_von_mises only.
        residual_stiffness: part of the stiffness that is never lost, in [0, 1).

    Raises:
        ValueError: a number outside its range; for the length, with the largest that is possible.

    Reference:
        Z. P. Bazant, B. H. Oh, Materiaux et Constructions 16 (1983) 155, doi:10.1007/BF02486267 (crack band);
        J. Lemaitre, J.-L. Chaboche, Mechanics of Solid Materials, 1990, chapter 7; J. Mazars, G. Pijaudier-Cabot,
        J. Eng. Mech. 115 (1989) 345, doi:10.1061/(ASCE)0733-9399(1989)115:2(345); J. H. P. de Vree,
        W. A. M. Brekelmans, M. A. J. van Gils, Computers & Structures 55 (1995) 581, doi:10.1016/0045-7949(94)00501-S.
    """

    measure = Measure.SMALL
    state_names = ("kappa",)
    extras = {"damage": Extra((), "-", "D at the end of the step: 0 intact, 1 broken")}
    mirror_z = True

    lmbda: Tensor
    mu: Tensor
    strength: Tensor
    fracture_energy: Tensor
    length: Tensor
    strength_ratio: Tensor
    residual_stiffness: Tensor

    def __init__(
        self,
        E: float,
        nu: float,
        strength: float,
        fracture_energy: float,
        length: float,
        equivalent_strain: str = "energy",
        softening: str = "exponential",
        strength_ratio: float = 10.0,
        residual_stiffness: float = 0.0,
    ) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        if not strength > 0:
            raise ValueError(f"strength: got {strength}, wanted a tensile strength > 0 [MPa]")
        if not fracture_energy > 0:
            raise ValueError(f"fracture_energy: got {fracture_energy}, wanted an energy per crack area > 0 [N/mm]")
        largest = 2 * E * fracture_energy / strength**2
        if not 0 < length < largest:
            raise ValueError(
                f"length: got {length}, wanted a band width > 0 and < 2 E fracture_energy / strength^2 = {largest:.6g} "
                "[mm], beyond which the softening curve snaps back; refine the grid"
            )
        if equivalent_strain not in EQUIVALENT_STRAINS:
            wanted = ", ".join(EQUIVALENT_STRAINS)
            raise ValueError(f"equivalent_strain: got {equivalent_strain!r}, wanted one of {wanted}")
        if softening not in SOFTENINGS:
            raise ValueError(f"softening: got {softening!r}, wanted one of {', '.join(SOFTENINGS)}")
        if not strength_ratio >= 1:
            raise ValueError(f"strength_ratio: got {strength_ratio}, wanted compression over tension >= 1")
        if not 0 <= residual_stiffness < 1:
            raise ValueError(f"residual_stiffness: got {residual_stiffness}, wanted a part of the stiffness in [0, 1)")
        numbers = {
            "lmbda": lmbda,
            "mu": mu,
            "strength": strength,
            "fracture_energy": fracture_energy,
            "length": length,
            "strength_ratio": strength_ratio,
            "residual_stiffness": residual_stiffness,
        }
        for name, value in numbers.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.equivalent_strain, self.softening = equivalent_strain, softening
        self.symmetric = equivalent_strain == "energy"

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self.linearise(strain, state, dt, parameters)[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved are 1 - D, D' d e/d eps (6) and C : eps (6)."""
        self.check(strain, state)
        moduli = self._moduli()
        undamaged = moduli.stress(strain)
        measure, gradient = getattr(self, f"_{self.equivalent_strain}")(moduli, strain, undamaged)
        start = self.strength / moduli.E
        before = state[..., 0]
        loading = measure > torch.maximum(before, start)
        kappa = torch.where(loading, measure, before)
        intact_before, _ = self._integrity(before, start)
        intact, slope = self._integrity(kappa, start)

        psi_0 = 0.5 * (undamaged * strain).sum(-1)
        dissipation = psi_0 * (intact_before - intact).clamp(min=0.0)
        stress = intact[..., None] * undamaged
        verdict = finite_verdict(strain, ~state.isfinite().all(-1))
        step = self.answer(intact * psi_0, stress, dissipation, kappa[..., None], verdict, {"damage": 1 - intact})
        rate = torch.where(loading, -slope, 0.0)[..., None] * gradient
        return step, join([intact[..., None], rate, undamaged])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: (1 - D) C : d - C : eps (D' d e/d eps : d)."""
        intact, rate, undamaged = saved[..., 0], saved[..., 1:7], saved[..., 7:]
        batch = torch.broadcast_shapes(saved.shape[:-1], direction.shape[:-1])
        elastic = self._moduli().stress(direction.expand(*batch, 6))
        return intact[..., None] * elastic - (rate * direction).sum(-1)[..., None] * undamaged

    def _moduli(self) -> _Moduli:
        lmbda, mu = self.lmbda, self.mu
        E, nu = mu * (3 * lmbda + 2 * mu) / (lmbda + mu), lmbda / (2 * (lmbda + mu))
        return _Moduli(lmbda, mu, E, nu, self.strength_ratio)

    def _integrity(self, kappa: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """1 - D and its slope over kappa, (*b,)."""
        softened = kappa > start
        safe = torch.where(softened, kappa, start)
        decay = self.fracture_energy / (self.length * self.strength)
        if self.softening == "exponential":
            decay = decay - start / 2
            intact = start / safe * torch.exp(-(safe - start) / decay)
            slope = -intact * (1 / safe + 1 / decay)
        else:
            intact = start / safe * (2 * decay - safe) / (2 * decay - start)
            slope = -start / safe**2 * 2 * decay / (2 * decay - start)
        softened = softened & (intact > self.residual_stiffness)
        slope = torch.where(softened, slope, 0.0)
        return torch.maximum(intact, self.residual_stiffness), slope

    @staticmethod
    def _energy(moduli: _Moduli, eps: Tensor, undamaged: Tensor) -> tuple[Tensor, Tensor]:
        """Equivalent strain (*b,) and its gradient (*b, 6): sqrt(eps : C : eps / E)."""
        measure = _root((undamaged * eps).sum(-1) / moduli.E)
        return measure, undamaged / (moduli.E * _divisor(measure))[..., None]

    @staticmethod
    def _mazars(moduli: _Moduli, eps: Tensor, undamaged: Tensor) -> tuple[Tensor, Tensor]:
        """Equivalent strain (*b,) and its gradient (*b, 6): norm of the positive part of the strain."""
        measure, positive = _positive_part(eps)
        return measure, positive / _divisor(measure)[..., None]

    @staticmethod
    def _rankine(moduli: _Moduli, eps: Tensor, undamaged: Tensor) -> tuple[Tensor, Tensor]:
        """Equivalent strain (*b,) and its gradient (*b, 6): norm of the positive part of C : eps / E."""
        measure, positive = _positive_part(undamaged / moduli.E[..., None])
        return measure, moduli.stress(positive) / (moduli.E * _divisor(measure))[..., None]

    @staticmethod
    def _modified_von_mises(moduli: _Moduli, eps: Tensor, undamaged: Tensor) -> tuple[Tensor, Tensor]:
        """Equivalent strain (*b,) and its gradient (*b, 6), with k times the strength in compression."""
        k, nu = moduli.strength_ratio, moduli.nu
        trace = eps[..., 0] + eps[..., 1] + eps[..., 2]
        dev = join([eps[..., :3] - (trace / 3)[..., None], eps[..., 3:]])
        a, b = (k - 1) / (1 - 2 * nu), 6 * k / (1 + nu) ** 2
        root = _root((a * trace) ** 2 + b * (dev * dev).sum(-1))
        safe = _divisor(root)
        pressure = (a + a**2 * trace / safe) / (2 * k)
        shear = (b / (2 * k * safe))[..., None] * dev
        return (a * trace + root) / (2 * k), join([shear[..., :3] + pressure[..., None], shear[..., 3:]])


def _root(square: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0."""
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)


def _divisor(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1.0)


def _positive_part(a: Tensor) -> tuple[Tensor, Tensor]:
    """Norm (*b,) of the positive part of a symmetric tensor, and that part, Mandel vectors (*b, 6)."""
    frame = eigen(from_mandel(a))
    positive = frame.values.clamp(min=0.0)
    part = rotate(frame.Q, symmetric(positive, torch.zeros_like(positive)))
    return _root((positive * positive).sum(-1)), to_mandel(part)
