"""What hyperelastic solids in the invariants of the isochoric deformation share: Mooney-Rivlin and Yeoh."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.principal import left_cauchy_green
from datagen.laws.verdict import Verdict
from datagen.spectral import SHEARS, symmetric
from datagen.tensors import cofactor, det, det_minus_one, double_dot, join, matmul, stack


class Isochoric(Law):
    r"""Isotropic solid with psi = W(I_1) + c01 (I_2 - 3) + K/2 (J - 1)^2; I_1 and I_2 are those of J^(-1/3) F.

    Abstract: a law hands its moduli over by name, among them ``c01`` if it has one, and gives `_energy`. No digits are
    lost near F = 1: with b = F F^T = c (1 + B), tr B = 0, and g = (1 - 1/2 B : B + det B)^(-1/3),

        I_1 = 3 g,  I_2 = g^2 (3 - 1/2 B : B),  dev tau = 2 W' g B + 2 c01 g^2 dev(B - B^2).

    The volumetric energy is finite at J = 0, so a fold (J <= 0) is told by the verdict INVERTED, which comes with nan.

    Reference:
        G. A. Holzapfel, Nonlinear Solid Mechanics, 2000, sections 6.4 and 6.6 (the split; the stress and its tangent).
    """

    measure = Measure.FINITE
    mirror_z = True

    K: Tensor

    def __init__(self, K: float, **moduli: float) -> None:
        super().__init__()
        if not K > 0:
            raise ValueError(f"K: got {K}, wanted a bulk modulus > 0 [MPa]")
        for name, value in {**moduli, "K": K}.items():
            if not math.isfinite(value):
                raise ValueError(f"{name}: got {value}, wanted a finite modulus [MPa]")
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def _energy(self, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """W and its first two derivatives, each (*b,), from i = I_1 - 3."""
        raise NotImplementedError(f"{type(self).__name__} has no energy")

    @property
    def _c01(self) -> Tensor | None:
        return self._buffers.get("c01")

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
        """See `Law.linearise`; saved are F^-T (9), J^(-2/3) b (6), J, W' and W''."""
        self.check(strain, state)
        H = (strain - self.reference_strain()).unflatten(-1, (3, 3))
        j = det_minus_one(H)
        bad = j <= -1
        J = torch.where(bad, 1.0, 1 + j)
        b = left_cauchy_green(torch.where(bad[..., None, None], 0.0, H))
        mean = _trace(b) / 3
        B = _deviator(b) / (1 + mean)[..., None, None]
        square = double_dot(B, B)
        log_g = (det(B) - 0.5 * square).log1p() / -3
        g = log_g.exp()

        W, slope, curvature = self._energy(3 * log_g.expm1())
        psi = W + 0.5 * self.K * j**2
        tau = (2 * slope * g)[..., None, None] * B
        c01 = self._c01
        if c01 is not None:
            psi = psi + c01 * (3 * (2 * log_g).expm1() - 0.5 * square * g**2)
            tau = tau + (2 * c01 * g**2)[..., None, None] * _deviator(B - matmul(B, B))
        tau = _plus_spherical(tau, self.K * j * J)
        F_inv_T = cofactor(strain.unflatten(-1, (3, 3))) / J[..., None, None]
        stress = matmul(tau, F_inv_T).flatten(-2)
        step = self.answer(psi, stress, torch.zeros_like(psi), state, finite_verdict(strain, bad, Verdict.INVERTED))
        entries = [g * (1 + B[..., i, i]) for i in range(3)] + [g * B[..., i, j] for i, j in SHEARS]
        return step, join([F_inv_T.flatten(-2), stack([*entries, J, slope, curvature])])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: (d tau - tau l^T) F^-T with l = dF F^-1, d b = l b + b l^T."""
        F_inv_T = saved[..., :9].unflatten(-1, (3, 3))
        b = symmetric(saved[..., 9:12], saved[..., 12:15])  # of J^(-1/3) F
        J, slope, curvature = saved[..., 15:].unbind(-1)
        l = matmul(direction.unflatten(-1, (3, 3)), F_inv_T.transpose(-1, -2))
        volume = _trace(l)
        half = matmul(l, b) - (volume / 3)[..., None, None] * b
        db, di = half + half.transpose(-1, -2), 2 * _trace(half)

        tau, change = slope[..., None, None] * b, slope[..., None, None] * db + (curvature * di)[..., None, None] * b
        c01 = self._c01
        if c01 is not None:
            i, product = _trace(b), matmul(db, b)
            tau = tau + c01[..., None, None] * (i[..., None, None] * b - matmul(b, b))
            change = change + c01[..., None, None] * (
                di[..., None, None] * b + i[..., None, None] * db - product - product.transpose(-1, -2)
            )
        pressure = self.K * (J - 1) * J
        tau = _plus_spherical(2 * tau, pressure - 2 / 3 * _trace(tau))
        change = _plus_spherical(2 * change, (pressure + self.K * J**2) * volume - 2 / 3 * _trace(change))
        return matmul(change - matmul(tau, l.transpose(-1, -2)), F_inv_T).flatten(-2)


def _trace(A: Tensor) -> Tensor:
    return A[..., 0, 0] + A[..., 1, 1] + A[..., 2, 2]


def _deviator(A: Tensor) -> Tensor:
    return _plus_spherical(A, _trace(A) / -3)


def _plus_spherical(A: Tensor, x: Tensor) -> Tensor:
    """A + x 1, in the memory layout of A."""
    return torch.addcmul(A, x[..., None, None], torch.eye(3, dtype=A.dtype, device=A.device))
