"""Von Mises plasticity at small strain with nonlinear isotropic and kinematic hardening, with or without viscosity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from datagen.laws.hardening import ArmstrongFrederick, IsotropicHardening, Linear, Numbers, Perzyna
from datagen.laws.law import Extra, Law, Measure, Step, finite_verdict
from datagen.laws.radial_return import RadialReturn
from datagen.laws.verdict import Verdict
from datagen.tensors import MANDEL, join, lame_constants

T = TypeVar("T")


class VonMises(Law):
    r"""Von Mises plasticity with nonlinear hardening, small strain, rate-independent or viscous.

    sigma = lmbda tr(eps_e) 1 + 2 mu eps_e,  eps_e = eps - eps_p,  xi = dev sigma - sum X_k,  N = xi / |xi|
    f = sqrt(3/2) |xi| - yield_stress - R(alpha),  d eps_p = sqrt(3/2) d alpha N
    X_k = 2/3 C_k a_k,  d a_k = d eps_p - gamma_k a_k d alpha
    rate-independent: f <= 0 <= d alpha, f d alpha = 0;  viscous: d alpha / d t = <f / drag>^exponent / time
    psi = 1/2 eps_e : C : eps_e + int R d alpha + sum 1/3 C_k a_k : a_k
    dissipation = (yield_stress + <f>) d alpha + sum 2/3 C_k gamma_k a_k : a_k d alpha

    Backward Euler. The step comes down to one scalar equation for d alpha, which falls strictly and is solved to
    round-off; a point where that fails answers NOT_CONVERGED. The tangent is consistent, and not symmetric where back
    stresses recover (gamma > 0). The history is the plastic strain (Mandel, six columns), alpha, and the back strains
    a_k (six columns each). The extra ``plastic_work`` is sigma : d eps_p, what Abaqus calls ALLPD: dissipation plus
    the energy stored in hardening. Differentiable with respect to its moduli. For linear hardening alone
    `J2Plasticity` is the same law and faster.

    Args:
        E: Young's modulus [MPa], > 0.
        nu: Poisson's ratio, in (-1, 1/2).
        yield_stress: initial uniaxial yield stress [MPa], > 0.
        hardening: isotropic hardening, `Linear`, `Voce`, `PowerLaw` or several, which add up; a number is the modulus
            of linear hardening [MPa].
        kinematic: kinematic hardening, `ArmstrongFrederick` or several (Chaboche), which add up; a number is Prager's
            modulus C [MPa], 2/3 C being the slope of X over eps_p.
        viscosity: `Perzyna`; None for rate-independent.

    Raises:
        ValueError: a modulus outside its range.
        TypeError: a hardening of another type.

    Reference:
        J. Lemaitre, J.-L. Chaboche, Mechanics of Solid Materials, 1990, section 5.4; implicit update as in
        E. A. de Souza Neto, D. Peric, D. R. J. Owen, Computational Methods for Plasticity, 2008, chapters 7 and 11.
    """

    measure = Measure.SMALL
    extras = {"plastic_work": Extra((), "MPa", "sigma : d eps_p within the step")}
    mirror_z = True

    lmbda: Tensor
    mu: Tensor
    yield_stress: Tensor

    def __init__(
        self,
        E: float,
        nu: float,
        yield_stress: float,
        hardening: float | IsotropicHardening | Iterable[IsotropicHardening] = 0.0,
        kinematic: float | ArmstrongFrederick | Iterable[ArmstrongFrederick] = (),
        viscosity: Perzyna | None = None,
    ) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        if not yield_stress > 0:
            raise ValueError(f"yield_stress: got {yield_stress}, wanted a stress > 0 [MPa]")
        isotropic = _listed("hardening", hardening, Linear, IsotropicHardening)
        back = _listed("kinematic", kinematic, ArmstrongFrederick, ArmstrongFrederick)
        if viscosity is not None and not isinstance(viscosity, Perzyna):
            raise TypeError(f"viscosity: got {type(viscosity).__name__}, wanted a Perzyna or None")

        terms = {f"isotropic_{k + 1}": term.numbers for k, term in enumerate(isotropic)}
        terms |= {f"kinematic_{k + 1}": term.numbers for k, term in enumerate(back)}
        terms |= {"viscosity": viscosity.numbers} if viscosity else {}
        numbers = {"lmbda": lmbda, "mu": mu, "yield_stress": yield_stress}
        numbers |= {f"{prefix}_{name}": x for prefix, term in terms.items() for name, x in term.items()}
        for name, value in numbers.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        # What is not a number is a plain attribute: laws that differ there are different laws to a cell.
        self._names = tuple((prefix, tuple(term)) for prefix, term in terms.items())
        self._isotropic = tuple((f"isotropic_{k + 1}", type(term)) for k, term in enumerate(isotropic))
        self._kinematic = tuple(f"kinematic_{k + 1}" for k in range(len(back)))
        self._viscous = viscosity is not None
        self._recovers = any(term.numbers["recovery"] > 0 for term in back)
        self._closed_form = not self._recovers and not self._viscous and all(isinstance(t, Linear) for t in isotropic)
        self.symmetric = not self._recovers
        names = ["plastic_strain", *(f"back_strain_{k + 1}" for k in range(len(back)))]
        columns = [[f"{name}_{i + 1}{j + 1}" for i, j in MANDEL] for name in names]
        self.state_names = (*columns[0], "alpha", *(name for group in columns[1:] for name in group))

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
        """See `Law.linearise`; saved are the flow normal (6) and the factors of the consistent tangent (2 or 7)."""
        self.check(strain, state)
        mu, eps_p, alpha = self.mu, state[..., :6], state[..., 6]
        back = [state[..., 7 + 6 * k : 13 + 6 * k] for k in range(len(self._kinematic))]
        eps_e = strain - eps_p
        trace = eps_e[..., 0] + eps_e[..., 1] + eps_e[..., 2]
        trial = 2 * mu[..., None] * join([eps_e[..., :3] - (trace / 3)[..., None], eps_e[..., 3:]])
        kinematic = [self._numbers(prefix) for prefix in self._kinematic]
        isotropic = [(term, self._numbers(prefix)) for prefix, term in self._isotropic]
        viscosity = self._numbers("viscosity") if self._viscous else {}
        update = RadialReturn(trial, alpha, back, mu, self.yield_stress, isotropic, kinematic, viscosity)
        d_alpha, overstress, softness, converged = update.flow(torch.as_tensor(dt).to(strain), self._closed_form)

        plastic = d_alpha > 0
        shares, B, turn = update.relative_stress(d_alpha)
        norm = torch.where(plastic, (B * B).sum(-1), 1.0).sqrt()
        normal = B * torch.where(plastic, 1 / norm, 0.0)[..., None]
        d_eps_p = (math.sqrt(1.5) * d_alpha)[..., None] * normal
        eps_p, alpha = eps_p + d_eps_p, alpha + d_alpha
        back = [share[..., None] * (a + d_eps_p) for a, share in zip(back, shares, strict=True)]

        deviator = trial - 2 * mu[..., None] * d_eps_p
        pressure = (self.lmbda + 2 * mu / 3) * trace
        stress = join([deviator[..., :3] + pressure[..., None], deviator[..., 3:]])
        psi = 0.5 * pressure * trace + (deviator * deviator).sum(-1) / (4 * mu) + update.hardening("energy", alpha)
        dissipation = (self.yield_stress + overstress) * d_alpha
        for a, n in zip(back, kinematic, strict=True):
            stored = n["modulus"] / 3 * (a * a).sum(-1)
            psi, dissipation = psi + stored, dissipation + 2 * n["recovery"] * stored * d_alpha

        verdict = finite_verdict(strain, ~converged, Verdict.NOT_CONVERGED)
        verdict = torch.where(state.isfinite().all(-1), verdict, int(Verdict.NOT_FINITE))
        state = join([eps_p, alpha[..., None], *back])
        step = self.answer(psi, stress, dissipation, state, verdict, {"plastic_work": (deviator * d_eps_p).sum(-1)})
        lost = torch.where(plastic, math.sqrt(6.0) * mu * d_alpha / norm, 0.0)
        drop = 3 * mu * softness - lost
        if self._recovers:
            across = turn - (normal * turn).sum(-1)[..., None] * normal
            bend = (2 * mu * drop)[..., None] * normal + (lost * math.sqrt(6.0) * mu * softness)[..., None] * across
            return step, join([normal, (1 - lost)[..., None], bend])
        return step, join([normal, (1 - lost)[..., None], drop[..., None]])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: K tr(d) 1 + 2 mu shrink dev d - bend (n : d)."""
        normal, shrink = saved[..., :6], saved[..., 6]
        two_mu = 2 * self.mu
        bend = saved[..., 7:] if self._recovers else (two_mu * saved[..., 7])[..., None] * normal
        trace = direction[..., 0] + direction[..., 1] + direction[..., 2]
        along = (normal * direction).sum(-1)
        pressure = (self.lmbda + two_mu / 3) * trace - two_mu * shrink * trace / 3
        out = (two_mu * shrink)[..., None] * direction - along[..., None] * bend
        return join([out[..., :3] + pressure[..., None], out[..., 3:]])

    def _numbers(self, prefix: str) -> Numbers:
        """The buffers of one term, by name; a cell may have put one number a point into them."""
        return {name: self.get_buffer(f"{prefix}_{name}") for name in dict(self._names)[prefix]}


def _listed(argument: str, given: float | T | Iterable[T], number: Callable[[float], T], wanted: type[T]) -> list[T]:
    """Terms from one, several, or a number; raises TypeError for anything else."""
    if isinstance(given, int | float):
        return [number(float(given))]
    terms = list(given) if isinstance(given, Iterable) else [given]
    for term in terms:
        if not isinstance(term, wanted):
            raise TypeError(
                f"{argument}: got {type(term).__name__}, wanted a number or {wanted.__name__}, one or several"
            )
    return terms
