"""The one scalar equation that backward Euler comes down to in von Mises plasticity, whatever hardens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.falling_root import falling_root
from datagen.laws.hardening import IsotropicHardening, Numbers

SQRT_3_2 = math.sqrt(1.5)


class Flow(NamedTuple):
    """What flows within the step, each (*b,); 0 where it is elastic."""

    d_alpha: Tensor  # equivalent plastic strain
    overstress: Tensor  # stress beyond yield at the end of the step [MPa], 0 without viscosity
    softness: Tensor  # d alpha for a change of the trial stress along the flow, sqrt(3/2) N : ds [1/MPa]
    converged: Tensor  # bool


class RadialReturn:
    r"""One step of a batch of points, given as the trial stress deviator s and the state at its start.

    With theta_k = 1 / (1 + gamma_k d alpha) and B = s - sum theta_k X_k, the stress less the back stress at the end of
    the step is parallel to B, which leaves one equation for d alpha,

    sqrt(3/2) |B| - (3 mu + sum theta_k C_k) d alpha - yield_stress - R(alpha + d alpha) = overstress(d alpha / dt).

    Its left-hand side falls at least as fast as -3 mu d alpha, because sqrt(3/2) |X_k| stays below C_k / gamma_k: what
    recovery gives to |B| it takes from theta_k C_k d alpha. So there is one root, and it lies in [0, f_trial / 3 mu].

    Args:
        deviator: s, (*b, 6) [MPa].
        alpha: equivalent plastic strain at the start, (*b,).
        back_strain: a_k at the start, (*b, 6) each.
        mu: shear modulus (*b,) [MPa].
        yield_stress: (*b,) [MPa].
        isotropic: isotropic terms and their numbers.
        kinematic: numbers of each `ArmstrongFrederick`.
        viscosity: numbers of `Perzyna`; empty for rate-independent.
    """

    def __init__(
        self,
        deviator: Tensor,
        alpha: Tensor,
        back_strain: Sequence[Tensor],
        mu: Tensor,
        yield_stress: Tensor,
        isotropic: Sequence[tuple[type[IsotropicHardening], Numbers]],
        kinematic: Sequence[Numbers],
        viscosity: Numbers,
    ) -> None:
        self.deviator, self.alpha, self.mu, self.yield_stress = deviator, alpha, mu, yield_stress
        self.isotropic, self.kinematic, self.viscosity = isotropic, kinematic, viscosity
        self.back = [(2 / 3 * n["modulus"])[..., None] * a for n, a in zip(kinematic, back_strain, strict=True)]
        vectors = [deviator, *self.back]
        self.dots = [[(x * y).sum(-1) for y in vectors[: i + 1]] for i, x in enumerate(vectors)]

    def hardening(self, quantity: str, alpha: Tensor) -> Tensor:
        """``stress``, ``slope`` or ``energy`` of all isotropic terms together, (*b,)."""
        total = torch.zeros_like(alpha)
        for term, numbers in self.isotropic:
            total = total + getattr(term, quantity)(alpha, numbers)
        return total

    def relative_stress(self, d_alpha: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """theta_k (*b,) each, B (*b, 6), and dB / d d alpha (*b, 6)."""
        shares, B, turn = [], self.deviator, torch.zeros_like(self.deviator)
        for n, X in zip(self.kinematic, self.back, strict=True):
            share = 1 / (1 + n["recovery"] * d_alpha)
            shares.append(share)
            B, turn = B - share[..., None] * X, turn + (n["recovery"] * share**2)[..., None] * X
        return shares, B, turn

    def excess(self, d_alpha: Tensor) -> tuple[Tensor, Tensor]:
        """The left-hand side and its slope, (*b,); |B| from scalar products: iterations touch numbers, not vectors."""
        alpha = self.alpha + d_alpha
        stiffness, slope = 3 * self.mu, 3 * self.mu + self.hardening("slope", alpha)
        weights, rates = [torch.ones_like(alpha)], [torch.zeros_like(alpha)]
        for n in self.kinematic:
            share = 1 / (1 + n["recovery"] * d_alpha)
            stiffness, slope = stiffness + n["modulus"] * share, slope + n["modulus"] * share**2
            weights.append(-share)
            rates.append(n["recovery"] * share**2)
        square, change = torch.zeros_like(alpha), torch.zeros_like(alpha)
        for i, row in enumerate(self.dots):
            for j, dot in enumerate(row):
                twice = dot if i == j else 2 * dot
                square = square + twice * weights[i] * weights[j]
                change = change + twice * (rates[i] * weights[j] + weights[i] * rates[j])
        norm = torch.where(square > 0, square, 1.0).sqrt()
        rest = self.yield_stress + self.hardening("stress", alpha)
        value = SQRT_3_2 * norm * (square > 0) - stiffness * d_alpha - rest
        return value, SQRT_3_2 / 2 * change / norm - slope

    def flow(self, dt: Tensor, closed_form: bool) -> Flow:
        """Solve for what flows within dt, (*b,) or (); ``closed_form`` says that the equation is linear.

        The root is found without derivatives; one more Newton step, which moves it by round-off, carries them.
        """
        trial, slope = self.excess(torch.zeros_like(self.alpha))
        plastic, zero = trial > 0, torch.zeros_like(trial)
        trial = torch.where(plastic, trial, 0.0)
        if closed_form:
            softness = torch.where(plastic, -1 / slope, 0.0)
            return Flow(softness * trial, zero, softness, trial >= 0)
        size = SQRT_3_2 * sum((row[-1].sqrt() for row in self.dots), zero) + self.yield_stress
        tolerance = 8 * torch.finfo(trial.dtype).eps * size
        with torch.no_grad():
            find = self._viscous_root if self.viscosity else self._root
            root = find(trial, dt, tolerance).detach()
        value, slope = self.excess(root)
        if self.viscosity:
            n, flows = self.viscosity["exponent"], root > 0  # dt = 0 lets nothing flow
            rate = self.viscosity["time"] * torch.where(flows, root / torch.where(flows, dt, 1.0), 1.0)
            overstress = torch.where(flows, self.viscosity["drag"] * rate ** (1 / n), trial)
            softness = torch.where(flows, n * root / (overstress - n * root * slope), 0.0)
        else:
            overstress, softness = zero, torch.where(plastic, -1 / slope, 0.0)
        residual = torch.where(plastic, value - overstress, 0.0)
        change = softness * residual
        overstress = torch.where(plastic, value + slope * change, 0.0) if self.viscosity else zero
        return Flow(root + change, overstress, softness, residual.abs() <= 1e3 * tolerance)

    def _root(self, trial: Tensor, dt: Tensor, tolerance: Tensor) -> Tensor:
        """Root d alpha without viscosity, in units of its upper bound; Newton's method climbs to it from 0."""
        most = trial / (3 * self.mu)

        def function(t: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = self.excess(most * t)
            return value, most * slope

        return most * falling_root(function, torch.zeros_like(trial), tolerance, ~(trial > 0))

    def _viscous_root(self, trial: Tensor, dt: Tensor, tolerance: Tensor) -> Tensor:
        """Root d alpha with viscosity: the unknown is the overstress in units of its upper bound.

        Over it the equation is neither steep nor flat, from steps that are elastic to steps that are rate-independent.
        """
        time, n, drag = self.viscosity["time"], self.viscosity["exponent"], self.viscosity["drag"]
        bound = trial / (3 * self.mu)
        most = torch.minimum(dt / time * (trial / drag) ** n, bound)
        largest = torch.minimum(trial, drag * (time * bound / dt) ** (1 / n))

        def function(t: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = self.excess(most * t**n)
            return value - largest * t, most * n * t ** (n - 1) * slope - largest

        return most * falling_root(function, torch.ones_like(trial), tolerance, ~(trial > 0)) ** n
