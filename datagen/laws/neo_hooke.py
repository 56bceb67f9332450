"""The compressible neo-Hookean solid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.verdict import Verdict
from datagen.tensors import cofactor, det_minus_one, double_dot, join, matmul


class NeoHooke(Law):
    r"""Compressible neo-Hookean solid, isotropic and hyperelastic.

    psi(F) = mu/2 (tr F^T F - 3) - mu ln J + lmbda/2 ln^2 J
    P = mu (F - F^-T) + lmbda ln J F^-T

    Valid for J > 0; a fold (J <= 0) answers nan with verdict INVERTED, which a solver reports for that member alone.
    Differentiable with respect to its moduli.

    Args:
        mu: shear modulus [MPa], > 0.
        lmbda: first Lame constant [MPa], > -2/3 mu.

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        J. Bonet, R. D. Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, 2nd ed., 2008, section 6.4.3.
    """

    measure = Measure.FINITE
    mirror_z = True

    mu: Tensor
    lmbda: Tensor

    def __init__(self, mu: float, lmbda: float) -> None:
        super().__init__()
        if not mu > 0:
            raise ValueError(f"mu: got {mu}, wanted a shear modulus > 0 [MPa]")
        if not lmbda > -2.0 / 3.0 * mu:
            raise ValueError(f"lmbda: got {lmbda}, wanted > -2/3 mu = {-2 * mu / 3:g} [MPa], a positive bulk modulus")
        self.register_buffer("mu", torch.tensor(mu, dtype=torch.float64))
        self.register_buffer("lmbda", torch.tensor(lmbda, dtype=torch.float64))

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
        """See `Law.linearise`; saved are F^-T (9) and ln J."""
        self.check(strain, state)
        # Everything from H = F - I, so that a nearly undeformed body does not lose digits.
        H = (strain - self.reference_strain()).unflatten(-1, (3, 3))
        j = det_minus_one(H)
        bad = j <= -1
        ln_J = torch.log1p(torch.where(bad, 0.0, j))
        F = strain.unflatten(-1, (3, 3))
        F_inv_T = cofactor(F) / torch.where(bad, 1.0, 1 + j)[..., None, None]
        trace = H[..., 0, 0] + H[..., 1, 1] + H[..., 2, 2]
        psi = self.mu * (trace + 0.5 * double_dot(H, H) - ln_J) + 0.5 * self.lmbda * ln_J**2
        stress = self._mu(F - F_inv_T) + (self.lmbda * ln_J)[..., None, None] * F_inv_T
        verdict = finite_verdict(strain, bad, Verdict.INVERTED)
        step = self.answer(psi, stress.flatten(-2), torch.zeros_like(psi), state, verdict)
        return step, join([F_inv_T.flatten(-2), ln_J[..., None]])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: mu dF + (mu - lmbda ln J) F^-T dF^T F^-T + lmbda (F^-T : dF) F^-T."""
        F_inv_T, ln_J = saved[..., :9].unflatten(-1, (3, 3)), saved[..., 9]
        dF = direction.unflatten(-1, (3, 3))
        F_inv_T, dF = torch.broadcast_tensors(F_inv_T, dF)
        swirl = matmul(matmul(F_inv_T, dF.transpose(-1, -2)), F_inv_T)
        volume = double_dot(F_inv_T, dF)
        dP = (
            self._mu(dF)
            + (self.mu - self.lmbda * ln_J)[..., None, None] * swirl
            + (self.lmbda * volume)[..., None, None] * F_inv_T
        )
        return dP.flatten(-2)

    def _mu(self, A: Tensor) -> Tensor:
        return self.mu[..., None, None] * A
