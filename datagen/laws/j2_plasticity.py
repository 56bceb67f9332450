"""Rate-independent von Mises plasticity at small strain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Extra, Law, Measure, Step, finite_verdict
from datagen.tensors import MANDEL, join, lame_constants


class J2Plasticity(Law):
    r"""Von Mises plasticity with linear isotropic hardening, small strain, rate-independent.

    sigma = lmbda tr(eps_e) 1 + 2 mu eps_e,  eps_e = eps - eps_p
    f = sqrt(3/2) |dev sigma| - (yield_stress + hardening alpha) <= 0,  d alpha = sqrt(2/3) |d eps_p|
    psi = 1/2 eps_e : C : eps_e + 1/2 hardening alpha^2,  dissipation = yield_stress d alpha

    Backward Euler (radial return), with the tangent that is consistent with it. The history is the plastic strain
    (Mandel, six columns) and alpha. The extra ``plastic_work`` is sigma : d eps_p, what Abaqus calls ALLPD: dissipation
    plus the energy stored in hardening. Differentiable with respect to its moduli.

    Args:
        E: Young's modulus [MPa], > 0.
        nu: Poisson's ratio, in (-1, 1/2).
        yield_stress: initial uniaxial yield stress [MPa], > 0.
        hardening: hardening modulus [MPa], >= 0.

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        J. C. Simo, T. J. R. Hughes, Computational Inelasticity, 1998, boxes 3.1 and 3.2.
    """

    measure = Measure.SMALL
    state_names = (*(f"plastic_strain_{i + 1}{j + 1}" for i, j in MANDEL), "alpha")
    extras = {"plastic_work": Extra((), "MPa", "sigma : d eps_p within the step")}
    mirror_z = True

    lmbda: Tensor
    mu: Tensor
    yield_stress: Tensor
    hardening: Tensor

    def __init__(self, E: float, nu: float, yield_stress: float, hardening: float) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        if not yield_stress > 0:
            raise ValueError(f"yield_stress: got {yield_stress}, wanted a stress > 0 [MPa]")
        if not hardening >= 0:
            raise ValueError(f"hardening: got {hardening}, wanted a modulus >= 0 [MPa]; softening needs a length scale")
        for name, value in {"lmbda": lmbda, "mu": mu, "yield_stress": yield_stress, "hardening": hardening}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

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
        """See `Law.linearise`; saved are the flow normal (6) and the two factors of the consistent tangent."""
        self.check(strain, state)
        mu, H = self.mu, self.hardening
        eps_p, alpha = state[..., :6], state[..., 6]
        eps_e = strain - eps_p
        trace = eps_e[..., 0] + eps_e[..., 1] + eps_e[..., 2]
        dev = join([eps_e[..., :3] - (trace / 3)[..., None], eps_e[..., 3:]])

        norm = (dev * dev).sum(-1)
        norm = torch.where(norm > 0, norm, 1.0).sqrt() * (norm > 0)  # no sqrt(0): its derivative is infinite
        q_trial = math.sqrt(6.0) * mu * norm  # sqrt(3/2) |s|, s = 2 mu dev
        flow = q_trial - (self.yield_stress + H * alpha)
        plastic = flow > 0
        safe_q = torch.where(plastic, q_trial, 1.0)
        d_alpha = torch.where(plastic, flow / (3 * mu + H), 0.0)
        normal = dev * torch.where(plastic, math.sqrt(6.0) * mu / safe_q, 0.0)[..., None]  # dev / |dev|

        eps_p = eps_p + (math.sqrt(1.5) * d_alpha)[..., None] * normal
        alpha = alpha + d_alpha
        shrink = 1 - torch.where(plastic, 3 * mu * d_alpha / safe_q, 0.0)
        deviator = (2 * mu * shrink)[..., None] * dev
        pressure = (self.lmbda + 2 * mu / 3) * trace
        stress = join([deviator[..., :3] + pressure[..., None], deviator[..., 3:]])
        psi = 0.5 * pressure * trace + mu * (shrink * norm) ** 2 + 0.5 * H * alpha**2

        dissipation = self.yield_stress * d_alpha
        work = (self.yield_stress + H * alpha) * d_alpha
        new_state = join([eps_p, alpha[..., None]])
        verdict = finite_verdict(strain, ~state.isfinite().all(-1))
        step = self.answer(psi, stress, dissipation, new_state, verdict, {"plastic_work": work})
        drop = torch.where(plastic, 3 * mu / (3 * mu + H) - (1 - shrink), 0.0)
        return step, join([normal, shrink[..., None], drop[..., None]])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: K tr(d) 1 + 2 mu (shrink dev d - drop n (n : d))."""
        normal, shrink, drop = saved[..., :6], saved[..., 6], saved[..., 7]
        trace = direction[..., 0] + direction[..., 1] + direction[..., 2]
        along = (normal * direction).sum(-1)
        two_mu = 2 * self.mu
        pressure = (self.lmbda + two_mu / 3) * trace - two_mu * shrink * trace / 3
        out = (two_mu * shrink)[..., None] * direction - (two_mu * drop * along)[..., None] * normal
        return join([out[..., :3] + pressure[..., None], out[..., 3:]])
