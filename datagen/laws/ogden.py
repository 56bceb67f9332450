"""The Ogden solid: rubber in principal stretches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.principal import apply, convected_axes, deviator, left_cauchy_green, log_strains, piola, save
from datagen.laws.verdict import Verdict
from datagen.spectral import pairs, sinhc
from datagen.tensors import det_minus_one, join


class Ogden(Law):
    r"""Nearly incompressible Ogden solid, isotropic and hyperelastic, energy split into shape and volume.

    psi(F) = sum_p mu_p / alpha_p (L_1^alpha_p + L_2^alpha_p + L_3^alpha_p - 3) + K/2 (J - 1)^2,
    L_i = J^(-1/3) lambda_i

    This is Ogden's own normalisation: the initial shear modulus is 1/2 sum_p mu_p alpha_p. Abaqus writes
    2 mu_p / alpha_p^2 in front, so its moduli are mu_p alpha_p / 2 of these, and its D1 is 2 / K. One term with
    alpha = 2 is the neo-Hookean solid, two with alpha = (2, -2) are the Mooney-Rivlin solid.

    The volumetric energy is finite at J = 0: the law resists compression, but a fold (J <= 0) must be told by its
    verdict, INVERTED, which comes with nan. Differentiable with respect to its moduli.

    Args:
        mu_p: moduli [MPa], one for each term.
        alpha_p: exponents, none 0, with sum_p mu_p alpha_p > 0.
        K: bulk modulus [MPa], > 0.

    Raises:
        ValueError: lists of different or no length, an exponent 0, or a modulus outside its range.

    Reference:
        R. W. Ogden, Proc. R. Soc. Lond. A 326 (1972) 565, doi:10.1098/rspa.1972.0026.
    """

    measure = Measure.FINITE
    mirror_z = True

    mu_p: Tensor
    alpha_p: Tensor
    K: Tensor

    def __init__(self, mu_p: Sequence[float], alpha_p: Sequence[float], K: float) -> None:
        super().__init__()
        mu_p, alpha_p = list(mu_p), list(alpha_p)
        if not mu_p or len(mu_p) != len(alpha_p):
            raise ValueError(f"alpha_p: got {len(alpha_p)} exponents for {len(mu_p)} moduli mu_p, wanted one for each")
        if not all(alpha != 0 for alpha in alpha_p):
            raise ValueError(f"alpha_p: got {alpha_p}, wanted exponents other than 0")
        mu = 0.5 * sum(m * a for m, a in zip(mu_p, alpha_p, strict=True))
        if not mu > 0:
            raise ValueError(f"mu_p: got 1/2 sum mu_p alpha_p = {mu:g}, wanted an initial shear modulus > 0 [MPa]")
        if not K > 0:
            raise ValueError(f"K: got {K}, wanted a bulk modulus > 0 [MPa]")
        for name, value in {"mu_p": mu_p, "alpha_p": alpha_p, "K": K}.items():
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
        """See `Law.linearise`; saved are 33 numbers in principal axes, see `datagen.laws.principal`."""
        self.check(strain, state)
        H = (strain - self.reference_strain()).unflatten(-1, (3, 3))
        j = det_minus_one(H)
        bad = j <= -1
        J = torch.where(bad, 1.0, 1 + j)
        H = torch.where(bad[..., None, None], 0.0, H)
        frame, e = log_strains(left_cauchy_green(H))
        W = convected_axes(strain.unflatten(-1, (3, 3)), J, frame.Q)

        psi, stresses, moduli, slopes = self._isochoric(deviator(e))
        psi = psi + 0.5 * self.K * j**2
        pressure = self.K * j * J  # of the Kirchhoff stress
        stresses = stresses + pressure[..., None]
        stress = piola(frame, W, e, stresses, slopes)
        step = self.answer(psi, stress, torch.zeros_like(psi), state, finite_verdict(strain, bad, Verdict.INVERTED))
        moduli = moduli + (pressure + self.K * J**2)[..., None]
        return step, save(frame.Q, W, e, stresses, moduli, slopes)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`."""
        return apply(saved, direction)

    def _isochoric(self, e: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energy, principal stresses, their derivatives (*b, 6) and slopes, from the deviator of the log strains."""
        psi = stresses = moduli = slopes = torch.zeros((), dtype=e.dtype, device=e.device)
        for p in range(self.mu_p.shape[-1]):
            mu, alpha = self.mu_p[..., p], self.alpha_p[..., p]
            x = alpha[..., None] * e
            psi = psi + mu / alpha * _sum_of_expm1(x)
            stresses = stresses + mu[..., None] * deviator(x.expm1())
            power = x.exp()
            mean = ((power[..., 0] + power[..., 1] + power[..., 2]) / 3)[..., None]
            a, b = pairs(power)
            stiffness = (mu * alpha)[..., None]
            moduli = moduli + stiffness / 3 * join([power + mean, mean - a - b])
            x, y = pairs(x)
            slopes = slopes + stiffness * ((x + y) / 2).exp() * sinhc((x - y) / 2)
        return psi, stresses, moduli, slopes


def _sum_of_expm1(x: Tensor) -> Tensor:
    """exp(x_1) + exp(x_2) + exp(x_3) - 3 where x_1 + x_2 + x_3 = 0, (*b,): second order in x, and all its digits."""
    quarter, half = (x / 4).sinh(), (x / 2).sinh()
    terms = (x / 4).exp() * half * quarter
    return 4 * (terms[..., 0] + terms[..., 1] + terms[..., 2]) + 8 * quarter[..., 0] * quarter[..., 1] * quarter[..., 2]
