"""Linear viscoelasticity at small strain: the generalised Maxwell solid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.tensors import MANDEL, join, lame_constants


class GeneralisedMaxwell(Law):
    r"""Generalised Maxwell solid (Wiechert): a spring beside n branches of a spring and a dashpot in series.

    sigma = C_inf : eps + sum_i C_i : g_i,  d g_i/dt = d eps/dt - g_i/tau_i,  psi = 1/2 eps : C_inf : eps
    + 1/2 sum_i g_i : C_i : g_i,  d dissipation/dt = sum_i g_i : C_i : g_i / tau_i

    with g_i the strain of the spring of branch i and C_i = shear_i 2 mu I_dev + bulk_i K 1 x 1 its stiffness, mu and K
    the instantaneous moduli. In relaxation, mu(t) = mu (1 - sum_i shear_i (1 - exp(-t/tau_i))), and K(t) likewise: the
    Prony series of most finite element programs.

    The update is exact for strain that is linear in time within the step, g_i <- exp(-x) g_i + (1 - exp(-x))/x d eps
    with x = dt/tau_i, whatever the step, and so are energy and dissipation: the integral of g_i : C_i : g_i / tau_i is

        a |g_i + tanh(x/2)/x d eps|^2 + (x - 2 tanh(x/2))/x^2 |d eps|^2,  a = (1 - exp(-2 x))/2,  |g|^2 = g : C_i : g

    with g_i from the start of the step: a sum of squares, never negative. dt = 0 is a jump, all elastic. The tangent
    depends on dt alone. The history is the strain and the g_i. Differentiable with respect to its moduli.

    Args:
        E: instantaneous Young's modulus [MPa], > 0.
        nu: instantaneous Poisson's ratio, in (-1, 1/2).
        relaxation_times: tau_i [s], > 0, at constant strain.
        shear: the part of the instantaneous shear modulus that relaxes in each branch, >= 0, in sum <= 1.
        bulk: of the bulk modulus; none relaxes if None.

    Raises:
        ValueError: a modulus or time outside its range, lists of different length.

    Reference:
        J. C. Simo, T. J. R. Hughes, Computational Inelasticity, 1998, sections 10.2 and 10.3; J. D. Ferry, Viscoelastic
        Properties of Polymers, 3rd ed., 1980, chapter 3.
    """

    measure = Measure.SMALL
    mirror_z = True

    K: Tensor
    mu: Tensor
    relaxation_times: Tensor
    shear: Tensor
    bulk: Tensor

    def __init__(
        self,
        E: float,
        nu: float,
        relaxation_times: Sequence[float],
        shear: Sequence[float],
        bulk: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        lmbda, mu = lame_constants(E, nu)
        times = [float(tau) for tau in relaxation_times]
        if not times or not all(0 < tau < float("inf") for tau in times):
            raise ValueError(f"relaxation_times: got {times}, wanted at least one, all > 0 [s]")
        parts = {"shear": list(shear), "bulk": [0.0] * len(times) if bulk is None else list(bulk)}
        for name, part in parts.items():
            if len(part) != len(times):
                raise ValueError(
                    f"{name}: got {len(part)} numbers, wanted one for each of {len(times)} relaxation times"
                )
            if not all(g >= 0 for g in part) or not sum(part) <= 1 + 1e-12:
                raise ValueError(f"{name}: got {part}, wanted parts of the instantaneous modulus >= 0, in sum <= 1")
        moduli = {"K": lmbda + 2 * mu / 3, "mu": mu, "relaxation_times": times, **parts}
        for key, value in moduli.items():
            self.register_buffer(key, torch.tensor(value, dtype=torch.float64))
        branches = [f"spring_{k + 1}_strain" for k in range(len(times))]
        self.state_names = tuple(f"{name}_{i + 1}{j + 1}" for name in ("strain", *branches) for i, j in MANDEL)

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
        """See `Law.linearise`; saved are the bulk and shear modulus of the step."""
        self.check(strain, state)
        times = torch.as_tensor(dt, dtype=strain.dtype, device=strain.device)
        change = strain - state[..., :6]
        K, mu = self.K * (1 - self.bulk.sum(-1)), self.mu * (1 - self.shear.sum(-1))
        stress = _hooke(K, mu, strain)
        psi = 0.5 * (stress * strain).sum(-1)
        dissipation = torch.zeros_like(psi)
        history = [strain]
        for k in range(self.relaxation_times.shape[-1]):
            K_k, mu_k = self.K * self.bulk[..., k], self.mu * self.shear[..., k]
            x = times / self.relaxation_times[..., k]
            ramp = _relative_ramp(x)
            before = state[..., 6 * (k + 1) : 6 * (k + 2)]
            spring = torch.exp(-x)[..., None] * before + ramp[..., None] * change
            branch_stress = _hooke(K_k, mu_k, spring)
            stress = stress + branch_stress
            psi = psi + 0.5 * (branch_stress * spring).sum(-1)
            dissipation = dissipation + _dissipated(K_k, mu_k, x, before, change)
            K, mu = K + K_k * ramp, mu + mu_k * ramp
            history.append(spring)
        verdict = finite_verdict(strain, ~state.isfinite().all(-1))
        saved = join([K[..., None], mu[..., None]]).expand(*strain.shape[:-1], 2)
        return self.answer(psi, stress, dissipation, join(history), verdict), saved

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`."""
        return _hooke(saved[..., 0], saved[..., 1], direction)


def _hooke(K: Tensor, mu: Tensor, strain: Tensor) -> Tensor:
    """Isotropic stress (*b, 6): K tr(strain) 1 + 2 mu dev strain."""
    pressure = (K - 2 * mu / 3) * (strain[..., 0] + strain[..., 1] + strain[..., 2])
    stress = 2 * mu[..., None] * strain
    return join([stress[..., :3] + pressure[..., None], stress[..., 3:]])


def _energy(K: Tensor, mu: Tensor, strain: Tensor) -> Tensor:
    """Energy product strain : C : strain, (*b,), as a sum of squares."""
    trace = strain[..., 0] + strain[..., 1] + strain[..., 2]
    dev = join([strain[..., :3] - (trace / 3)[..., None], strain[..., 3:]])
    return K * trace**2 + 2 * mu * (dev * dev).sum(-1)


def _relative_ramp(x: Tensor) -> Tensor:
    """(1 - exp(-x))/x, 1 at x = 0."""
    at_zero = x == 0
    safe = torch.where(at_zero, 1.0, x)
    return torch.where(at_zero, 1.0, -torch.expm1(-safe) / safe)


def _dissipated(K: Tensor, mu: Tensor, x: Tensor, before: Tensor, change: Tensor) -> Tensor:
    """What the dashpot of one branch dissipates in a step of x = dt/tau (the formula of the class), (*b,)."""
    at_zero = x == 0
    safe = torch.where(at_zero, 1.0, x)
    tanh = torch.tanh(0.5 * safe)
    middle = before + torch.where(at_zero, 0.5, tanh / safe)[..., None] * change
    decay = -0.5 * torch.expm1(-2 * x)
    # y - tanh y cancels at small y = x/2; there by the continued fraction tanh y = y/(1 + y^2/(3 + y^2/(5 + ...))).
    y = 0.5 * safe
    small = y < 1
    square = torch.where(small, y, 0.0) ** 2
    fraction = torch.full_like(y, 15.0)
    for odd in (13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        fraction = odd + square / fraction
    large = (safe - 2 * tanh) / safe**2
    rest = torch.where(at_zero, 0.0, torch.where(small, y / (2 * (fraction + square)), large))
    return decay * _energy(K, mu, middle) + rest * _energy(K, mu, change)
