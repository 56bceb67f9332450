"""Von Mises plasticity at finite strain, in logarithmic elastic strain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Extra, Law, Measure, Step, finite_verdict
from datagen.laws.principal import apply, convected_axes, deviator, left_cauchy_green, log_strains, piola, save
from datagen.laws.verdict import Verdict
from datagen.spectral import Frame, pairs, sinhc, symmetric
from datagen.tensors import MANDEL, det_minus_one, from_mandel, join, lame_constants, matmul, to_mandel

_NEWTON_STEPS = 6
_ROUNDING = 1e-14  # of a strain: an overshoot within it is no flow


class LogarithmicJ2(Law):
    r"""Von Mises plasticity at finite strain, multiplicative and rate-independent, with isotropic hardening.

    F = F_e F_p,  e = 1/2 ln F_e F_e^T,  tau = 2 mu dev e + K ln J 1,  P = tau F^-T
    f = sqrt(3/2) |dev tau| - yield(alpha) <= 0
    yield(alpha) = yield_stress + hardening alpha + (saturation_stress - yield_stress) (1 - exp(-saturation_rate alpha))
    psi = mu |dev e|^2 + K/2 ln^2 J + int_0^alpha (yield - yield_stress),  dissipation = yield_stress d alpha

    Backward Euler with the exponential map, F_p = exp(d alpha N) F_p, which is a radial return in logarithmic strain
    and keeps det F_p = 1; the tangent is consistent with it. At small strain it is `J2Plasticity`. A fold (J <= 0)
    answers nan with verdict INVERTED.

    The history is the inverse plastic metric less the identity, F_p^-1 F_p^-T - 1 (Mandel, six columns), which lives in
    the reference frame and knows nothing of the rotation of the intermediate one, and alpha. The extra
    ``plastic_work`` is tau : D_p, what Abaqus calls ALLPD: dissipation plus the energy stored in hardening.
    Differentiable with respect to its moduli.

    Args:
        E: Young's modulus [MPa], > 0.
        nu: Poisson's ratio, in (-1, 1/2).
        yield_stress: initial uniaxial yield stress (Kirchhoff) [MPa], > 0.
        hardening: linear hardening modulus [MPa], >= 0.
        saturation_stress: yield stress to which the exponential term leads [MPa], >= yield_stress, which is the default
            and means no such term.
        saturation_rate: rate of the exponential term in alpha, >= 0.

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        E. A. de Souza Neto, D. Peric, D. R. J. Owen, Computational Methods for Plasticity, 2008, section 14.4,
        boxes 14.3 and 14.4; J. C. Simo, Comput. Methods Appl. Mech. Engrg. 99 (1992) 61,
        doi:10.1016/0045-7825(92)90123-2.
    """

    measure = Measure.FINITE
    state_names = (*(f"plastic_metric_change_{i + 1}{j + 1}" for i, j in MANDEL), "alpha")
    extras = {"plastic_work": Extra((), "MPa", "tau : D_p within the step")}
    mirror_z = True

    K: Tensor
    mu: Tensor
    yield_stress: Tensor
    hardening: Tensor
    saturation_stress: Tensor
    saturation_rate: Tensor

    def __init__(
        self,
        E: float,
        nu: float,
        yield_stress: float,
        hardening: float = 0.0,
        saturation_stress: float | None = None,
        saturation_rate: float = 0.0,
    ) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        saturation_stress = yield_stress if saturation_stress is None else saturation_stress
        if not yield_stress > 0:
            raise ValueError(f"yield_stress: got {yield_stress}, wanted a stress > 0 [MPa]")
        if not hardening >= 0:
            raise ValueError(f"hardening: got {hardening}, wanted a modulus >= 0 [MPa]; softening needs a length scale")
        if not saturation_stress >= yield_stress:
            raise ValueError(
                f"saturation_stress: got {saturation_stress}, wanted at least the yield stress {yield_stress} [MPa]; "
                "softening needs a length scale"
            )
        if not saturation_rate >= 0:
            raise ValueError(f"saturation_rate: got {saturation_rate}, wanted a rate >= 0")
        moduli = {"K": lmbda + 2 * mu / 3, "mu": mu, "yield_stress": yield_stress, "hardening": hardening}
        moduli |= {"saturation_stress": saturation_stress, "saturation_rate": saturation_rate}
        for name, value in moduli.items():
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
        frame, e = log_strains(left_cauchy_green(H, from_mandel(state[..., :6])))
        W = convected_axes(strain.unflatten(-1, (3, 3)), J, frame.Q)

        elastic = deviator(e)
        flow = self._return(elastic, state[..., 6])
        ln_J = torch.where(bad, 0.0, j).log1p()
        two_mu, pressure = 2 * self.mu * flow.shrink, self.K * ln_J
        stresses = two_mu[..., None] * elastic + pressure[..., None]
        stress = piola(frame, W, e, stresses, two_mu[..., None])
        alpha = state[..., 6] + flow.d_alpha
        psi = 0.5 * pressure * ln_J + self.mu * flow.shrink**2 * _square(elastic) + self._stored(alpha)

        metric = state[..., :6] + to_mandel(_metric_change(frame, W, e, elastic, flow.shrink))
        verdict = finite_verdict(strain, bad, Verdict.INVERTED)
        verdict = torch.where(state.isfinite().all(-1), verdict, int(Verdict.NOT_FINITE))
        work = self._yield(alpha)[0] * flow.d_alpha
        new_state = join([metric, alpha[..., None]])
        extras = {"plastic_work": work}
        step = self.answer(psi, stress, self.yield_stress * flow.d_alpha, new_state, verdict, extras)

        softened = (2 * self.mu * flow.drop)[..., None]
        n, (a, b) = flow.normal, pairs(flow.normal)
        diagonal, cross = self.K + two_mu * (2 / 3), self.K - two_mu / 3
        moduli = join([diagonal[..., None] - softened * n * n, cross[..., None] - softened * a * b])
        return step, save(frame.Q, W, e, stresses, moduli, two_mu[..., None])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`."""
        return apply(saved, direction)

    def _return(self, elastic: Tensor, alpha: Tensor) -> _Flow:
        """Radial return from the principal deviator of the trial strain (*b, 3)."""
        square = _square(elastic)
        norm = torch.where(square > 0, square, 1.0).sqrt()
        q = math.sqrt(6.0) * self.mu * torch.where(square > 0, norm, 0.0)
        plastic = q - self._yield(alpha)[0] > 3 * self.mu * _ROUNDING
        q = torch.where(plastic, q, 1.0)
        d_alpha = self._multiplier(q.detach(), alpha.detach()).detach()
        # The last Newton step is the one that is differentiated: it gives the derivative of the implicit function.
        stress, slope = self._yield(alpha + d_alpha)
        stiffness = 3 * self.mu
        d_alpha = torch.where(plastic, d_alpha + (q - stiffness * d_alpha - stress) / (stiffness + slope), 0.0)
        fraction = stiffness * d_alpha / q
        drop = torch.where(plastic, stiffness / (stiffness + slope) - fraction, 0.0)
        normal = torch.where(plastic, 1 / norm, 0.0)[..., None] * elastic
        return _Flow(d_alpha, 1 - fraction, drop, normal)

    def _multiplier(self, q: Tensor, alpha: Tensor) -> Tensor:
        r"""Solution d of q - 3 mu d = yield(alpha + d), (*b,), where the trial stress q is beyond yield.

        The left side less the right is convex and falls, so Newton's steps from the left of the root never pass it. In
        y = rate d, counted from where the saturated yield stress would be met, the equation reads
        A exp(-y) = r + c y with r, c >= 0. Its root lies below log(1 + A/c), hence above log(A / (r + c log(1 + A/c))),
        which is a start within log 2 of it: six steps reach the last digit, whatever the moduli.
        """
        slope = 3 * self.mu + self.hardening
        beyond = q - self.saturation_stress - self.hardening * alpha
        d = beyond.clamp(min=0.0) / slope
        rate = torch.where(self.saturation_rate > 0, self.saturation_rate, 1.0)
        A = (self.saturation_stress - self.yield_stress) * (-self.saturation_rate * (alpha + d)).exp()
        right = (-beyond).clamp(min=0.0) + slope / rate * (rate * A / slope).log1p()
        inside = (A / self.saturation_stress > 1e-30) & (right < A)  # else nothing is left to saturate
        d = d + torch.where(inside, A / torch.where(inside, right, 1.0), 1.0).log() / rate
        for _ in range(_NEWTON_STEPS):
            stress, hardening = self._yield(alpha + d)
            d = d + (q - 3 * self.mu * d - stress) / (3 * self.mu + hardening)
        return d

    def _yield(self, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Yield stress and its derivative by alpha, (*b,)."""
        missing = (self.saturation_stress - self.yield_stress) * (-self.saturation_rate * alpha).exp()
        stress = self.saturation_stress + self.hardening * alpha - missing
        return stress, self.hardening + self.saturation_rate * missing

    def _stored(self, alpha: Tensor) -> Tensor:
        """Energy stored in hardening, (*b,)."""
        rate = torch.where(self.saturation_rate > 0, self.saturation_rate, 1.0)
        decay = torch.where(self.saturation_rate > 0, (-rate * alpha).expm1() / rate, -alpha)
        return 0.5 * self.hardening * alpha**2 + (self.saturation_stress - self.yield_stress) * (alpha + decay)


class _Flow(NamedTuple):
    """What a radial return gives; trial stress q = sqrt(6) mu |dev e|."""

    d_alpha: Tensor  # (*b,)   increment of alpha
    shrink: Tensor  # (*b,)   elastic deviator over its trial value
    drop: Tensor  # (*b,)   loss of stiffness along the normal, over 2 mu
    normal: Tensor  # (*b, 3) unit flow direction in principal axes, 0 where elastic


def _square(x: Tensor) -> Tensor:
    """Sum of the squares of three principal values, (*b,)."""
    return x[..., 0].square() + x[..., 1].square() + x[..., 2].square()


def _metric_change(frame: Frame, W: Tensor, e: Tensor, elastic: Tensor, shrink: Tensor) -> Tensor:
    """F^-1 (b_e - b_trial) F^-T, (*b, 3, 3); b_e has the shrunk deviator. Exactly 0 where shrink is 1."""
    shrink = shrink[..., None]
    lost = (1 - shrink) * elastic
    values = (1 + frame.values) * (-2 * lost).expm1()
    (a, b), (x, y) = pairs(lost), pairs(e)
    ratio = (-(a + b)).exp() * shrink * sinhc(shrink * (x - y)) / sinhc(x - y)
    return matmul(matmul(W, symmetric(values, (ratio - 1) * frame.off)), W.transpose(-1, -2))
