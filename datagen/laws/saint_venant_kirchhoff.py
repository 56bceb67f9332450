"""The Saint Venant-Kirchhoff solid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.verdict import Verdict
from datagen.tensors import det_minus_one, double_dot, join, lame_constants, matmul


class SaintVenantKirchhoff(Law):
    r"""Saint Venant-Kirchhoff solid, isotropic and hyperelastic: linear elasticity that bears large rotations.

    psi(F) = lmbda/2 tr^2 E_green + mu E_green : E_green,  E_green = 1/2 (F^T F - 1)
    P = F S,  S = lmbda tr E_green 1 + 2 mu E_green

    For small strains only: it softens in compression (a bar loses stability at the stretch 1/sqrt(3)) and its energy
    is finite at J = 0 and beyond, so a fold (J <= 0) is told by the verdict INVERTED, which comes with nan.
    Differentiable with respect to its moduli.

    Args:
        E: Young's modulus [MPa], > 0.
        nu: Poisson's ratio, in (-1, 1/2).

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        R. W. Ogden, Non-linear Elastic Deformations, 1984, section 4.3;
        P. G. Ciarlet, Mathematical Elasticity I, 1988, sections 3.9 and 4.10.
    """

    measure = Measure.FINITE
    mirror_z = True

    lmbda: Tensor
    mu: Tensor

    def __init__(self, E: float, nu: float) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        self.register_buffer("lmbda", torch.tensor(lmbda, dtype=torch.float64))
        self.register_buffer("mu", torch.tensor(mu, dtype=torch.float64))

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
        """See `Law.linearise`; saved are F (9) and S (9)."""
        self.check(strain, state)
        H = (strain - self.reference_strain()).unflatten(-1, (3, 3))
        E_green = 0.5 * (H + H.transpose(-1, -2) + matmul(H.transpose(-1, -2), H))
        S = self._stress(E_green)
        F = strain.unflatten(-1, (3, 3))
        psi = 0.5 * double_dot(S, E_green)
        verdict = finite_verdict(strain, det_minus_one(H) <= -1, Verdict.INVERTED)
        step = self.answer(psi, matmul(F, S).flatten(-2), torch.zeros_like(psi), state, verdict)
        return step, join([strain, S.flatten(-2)])

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: dF S + F (lmbda tr dE 1 + 2 mu dE), dE = sym(F^T dF)."""
        F, S = saved[..., :9].unflatten(-1, (3, 3)), saved[..., 9:].unflatten(-1, (3, 3))
        dF = direction.unflatten(-1, (3, 3))
        product = matmul(F.transpose(-1, -2), dF)
        dE = 0.5 * (product + product.transpose(-1, -2))
        return (matmul(dF, S) + matmul(F, self._stress(dE))).flatten(-2)

    def _stress(self, E_green: Tensor) -> Tensor:
        """Second Piola stress (*b, 3, 3) of a Green-Lagrange strain (*b, 3, 3)."""
        trace = E_green[..., 0, 0] + E_green[..., 1, 1] + E_green[..., 2, 2]
        eye = torch.eye(3, dtype=E_green.dtype, device=E_green.device)
        return torch.addcmul((2 * self.mu)[..., None, None] * E_green, (self.lmbda * trace)[..., None, None], eye)
