r"""One backward Euler step of a crystal that slips: the equations of a point, their derivatives, and their solution.

A slip gamma of each system within the step gives A = -sum gamma P, F_p^-1 = F_p0^-1 exp(A) and the elastic metric
C_e = exp(A)^T C_trial exp(A). The unknown of a system is its relative stress t = tau/g, which gives the slip by the
power law, gamma = a |t|^n sign t with a = dt gamma_dot_0; the equation is g t = tau(C_e(gamma)).

**Iteration variable.** With n of 20 to 300 neither t nor gamma can be iterated on: one overshoots by powers of ten, the
other has an infinite slope at 0. z = t + mu gamma/g grows like t where a system rests and like gamma where it slips,
and is linear in the strain for a single system whatever n; Newton steps are taken in z, and t(z) is found by scalar
Newton steps. A step is accepted if the next (simplified) Newton step is shorter, the natural monotonicity test, which
does not depend on the scale of the equations; else it is halved.

**Start.** Far beyond yield the exponent climbs from 2 to n by factors of 2 while the slips are held, each time after
the equations are met to half of g. The slips start from those of least square sum that make the trial strain.

**Hardening** within the step: all of the self hardening and as much of the latent hardening as a ratio of 1 makes is
implicit, so that one system alone hardens without delay. The excess of a ratio above 1 counts from the next step on:
implicit, it makes the equations lose their unique solution (the matrix of a ratio above 1 is indefinite).

Reference:
    P. Deuflhard, Newton Methods for Nonlinear Problems, 2004, section 3.3 (natural monotonicity);
    D. Peirce, R. J. Asaro, A. Needleman, Acta Metallurgica 30 (1982) 1087, doi:10.1016/0001-6160(82)90005-0 (latent
    hardening and uniqueness).
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from datagen.laws.slip import (
    LARGEST_SLIP,
    N_SYSTEMS,
    Exponential,
    Geometry,
    SlipDerivatives,
    cofactors,
    derivatives_by_slip,
    determinant,
    dot,
    exponential,
    identity,
    inverse,
    mandel,
    matrices,
    metric_by_slip,
    symmetric,
    trace,
    transpose,
)

ITERATIONS = 80
TOLERANCE = 1e-9  # of |g t - tau| / g, before one last Newton step; round-off of the stress is allowed for
_PROMOTION = 0.5  # of the same, to raise the exponent
_FIRST_EXPONENT, _LADDER = 2.0, 2.0
_SCALAR_STEPS = 3


class Increment(NamedTuple):
    """What a step is asked at N points; tensor axes first."""

    metric: Tensor  # (3, 3, N) trial elastic metric: C_e if nothing slipped
    resistance: Tensor  # (12, N)   slip resistances g at the start of the step [MPa]
    slipped: Tensor  # (N,)      accumulated slip of all systems at the start
    slip: Tensor  # (N,)      a = dt gamma_dot_0, the slip of a system at t = 1
    exponent: Tensor  # (N,)
    C11: Tensor  # (N,) [MPa]
    C12: Tensor  # (N,) [MPa]
    C44: Tensor  # (N,) [MPa]
    rise: Tensor  # (N,) [MPa]
    theta_0: Tensor  # (N,) [MPa]
    theta_1: Tensor  # (N,) [MPa]
    latent: Tensor  # (N,)

    def take(self, index: Tensor) -> Self:
        """The points of the index only."""
        return type(self)(*(x.index_select(-1, index) for x in self))

    def detach(self) -> Self:
        """The same without derivatives."""
        return type(self)(*(x.detach() for x in self))

    def split(self, most: int) -> list[Self]:
        """Parts of at most so many points, in order; one part at least."""
        fields = (x.split(most, -1) for x in self)
        return [type(self)(*parts) for parts in zip(*fields, strict=True)]

    def cubic(self, E: Tensor) -> Tensor:
        """Stiffness of the cubic crystal on strains (3, 3, *, N), in crystal axes [MPa]."""
        diagonal = self.C12 * trace(E) + (self.C11 - self.C12 - 2 * self.C44) * E
        return 2 * self.C44 * E + identity(E) * diagonal


class Elastic(NamedTuple):
    """Elastic answer to a metric C; strain measure E = (C - C^-1)/4, energy 1/2 E : T."""

    C: Tensor  # (3, 3, N)
    C_inv: Tensor  # (3, 3, N)
    E: Tensor  # (3, 3, N)
    T: Tensor  # (3, 3, N) stiffness : E
    mandel_stress: Tensor  # (3, 3, N) M = C S = (C T + T C^-1)/2

    @property
    def S(self) -> Tensor:
        """Second Piola stress 2 d psi/dC = (T + C^-1 T C^-1)/2 of the intermediate configuration, (3, 3, N)."""
        return 0.5 * (self.T + dot(dot(self.C_inv, self.T), self.C_inv))


class Hardening(NamedTuple):
    """Slip resistances within a step, and how they grow."""

    g: Tensor  # (12, N) resistances of the step [MPa]
    growth: Tensor  # (12, N) of the resistances to the end of the step, excess latent hardening included [MPa]
    load: Tensor  # (12, N) slip that counts for each system
    modulus: Tensor  # (N,)    d g = modulus d load, the mean over the step [MPa]
    softening: Tensor  # (N,)    derivative of the modulus by the accumulated slip [MPa]
    shared: Tensor  # (N,)    latent hardening ratio, at most 1


class Point(NamedTuple):
    """The equations at relative stresses t."""

    t: Tensor  # (12, N)
    gamma: Tensor  # (12, N) slips
    residual: Tensor  # (12, N) (g t - tau) / g at the start
    exp: Exponential
    elastic: Elastic
    hardening: Hardening


def elastic(increment: Increment, C: Tensor) -> Elastic:
    """Elastic answer to metrics (3, 3, N)."""
    cof = cofactors(C)
    C_inv = cof / determinant(C)
    E = 0.25 * (C - C_inv)
    T = increment.cubic(E)
    return Elastic(C, C_inv, E, T, 0.5 * (dot(C, T) + dot(T, C_inv)))


def harden(increment: Increment, gamma: Tensor, geometry: Geometry) -> Hardening:
    r"""Resistances after slips gamma (12, N), with the mean slope of Voce's curve over the step.

    V(G) = (rise + theta_1 G) (1 - exp(-k G)), k = theta_0/rise; (V(G + s) - V(G))/s is
    exp(-k G) (rise + theta_1 G) k phi(k s) + theta_1 (1 - exp(-k (G + s))), phi(x) = (1 - exp(-x))/x.
    """
    size = gamma.abs()
    total, own = size.sum(0), geometry.planes.T @ (geometry.planes @ size)
    k = increment.theta_0 / increment.rise
    x, left = k * total, (-k * increment.slipped).exp()
    phi, d_phi = _mean_decay(x)
    slope = left * k * (increment.rise + increment.theta_1 * increment.slipped)
    left = left * (-x).exp()
    modulus = slope * phi + increment.theta_1 * (1 - left)
    softening = k * (slope * d_phi + increment.theta_1 * left)
    shared = increment.latent.clamp(max=1.0)
    load = shared * total + (1 - shared) * own
    whole = increment.latent * total + (1 - increment.latent) * own
    return Hardening(increment.resistance + modulus * load, modulus * whole, load, modulus, softening, shared)


def _mean_decay(x: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - exp(-x))/x and its derivative, x >= 0."""
    small = x < 1e-4
    safe = torch.where(small, 1.0, x)
    phi = -(-safe).expm1() / safe
    d_phi = ((-safe).exp() - phi) / safe
    series = 1 - x / 2 + x**2 / 6 - x**3 / 24
    return torch.where(small, series, phi), torch.where(small, -0.5 + x / 3 - x**2 / 8 + x**3 / 30, d_phi)


def evaluate(increment: Increment, t: Tensor, geometry: Geometry, slip: Tensor, exponent: Tensor) -> Point:
    """The equations at relative stresses t (12, N), with the power law gamma = slip |t|^exponent sign t."""
    gamma = slip * t.abs() ** (exponent - 1) * t
    exp = exponential(-(geometry.schmid.T @ gamma).reshape(3, 3, -1), geometry)
    metric = dot(transpose(exp.X), dot(increment.metric, exp.X))
    answer = elastic(increment, 0.5 * symmetric(metric))
    hardening = harden(increment, gamma, geometry)
    tau = geometry.schmid @ answer.mandel_stress.reshape(9, -1)
    return Point(t, gamma, (hardening.g * t - tau) / increment.resistance, exp, answer, hardening)


class Derivatives(NamedTuple):
    """First derivatives at a point of the equations; Mandel components of the metric and the stresses."""

    metric: Tensor  # (6, 12, N) d C_e / d gamma
    tau: Tensor  # (12, 6, N) d tau / d C_e
    exp: SlipDerivatives


def differentiate(increment: Increment, point: Point, geometry: Geometry) -> Derivatives:
    """Derivatives of metric and resolved shear stress."""
    C, C_inv, _, T, _ = point.elastic
    by_slip = derivatives_by_slip(point.exp, geometry)
    metric = metric_by_slip(point.exp, by_slip, dot(increment.metric, point.exp.X), geometry)
    E, (C, C_inv, T) = geometry.units[..., None], (x[:, :, None] for x in (C, C_inv, T))
    lowered = dot(C_inv, dot(E, C_inv))  # - d C^-1
    d_T = increment.cubic(0.25 * (E + lowered))
    d_M = 0.5 * (dot(E, T) + dot(C, d_T) + dot(d_T, C_inv) - dot(T, lowered))
    return Derivatives(metric, (geometry.schmid @ d_M.reshape(9, -1)).reshape(N_SYSTEMS, 6, -1), by_slip)


def curve(t: Tensor, resistance: Tensor, modulus: Tensor, slip: Tensor, exponent: Tensor) -> tuple[Tensor, ...]:
    """(z, d t/dz, d gamma/dz) of the iteration variable z = t + modulus gamma / resistance, each (12, N)."""
    power = slip * t.abs() ** (exponent - 1)
    weight = modulus * power / resistance
    dt = 1 / (1 + exponent * weight)
    return t + weight * t, dt, exponent * power * dt


def jacobian(
    increment: Increment, point: Point, by: Derivatives, geometry: Geometry, dt: Tensor, d_gamma: Tensor
) -> Tensor:
    """Derivative (N, 12, 12) of the residual by z, whose derivatives are dt and d_gamma (12, N)."""
    hard, planes = point.hardening, geometry.planes
    all_planes = hard.modulus * hard.shared + hard.softening * hard.load  # (12, N)
    growth = all_planes[:, None] + hard.modulus * (1 - hard.shared) * planes.T[..., None]
    left = torch.cat([-by.tau, point.t[:, None] * growth], 1) / increment.resistance[:, None]  # (12, 10, N)
    right = torch.cat([by.metric * d_gamma, planes[..., None] * (point.gamma.sign() * d_gamma)])  # (10, 12, N)
    J = torch.bmm(matrices(left), matrices(right))
    J.diagonal(dim1=-2, dim2=-1).add_((hard.g * dt / increment.resistance).T)
    return J


class Search:
    """Newton's path of the points of an increment from their start to the solution."""

    def __init__(self, increment: Increment, geometry: Geometry) -> None:
        self.increment, self.geometry = increment, geometry
        self.modulus = (increment.C11 - increment.C12 + increment.C44) / 3  # of shear along one system
        rest = torch.zeros_like(increment.resistance)
        round_off = 100 * torch.finfo(rest.dtype).eps * increment.C11 / increment.resistance.amin(0)
        self.tolerance = TOLERANCE + round_off
        excess = evaluate(increment, rest, geometry, increment.slip, increment.exponent).residual.abs().amax(0)
        C, one = increment.metric, identity(increment.metric)
        strain = mandel(dot(C - one, inverse(C + one)))  # log of the stretch, to third order
        gamma = geometry.least_slips @ strain * (1 - 1 / excess.clamp(min=1.0))
        # A ladder of power laws that all give the slip `reference` at t = `crossing`, up to the law itself.
        self.reference = gamma.abs().amax(0) + 1e-12
        self.crossing = (self.reference / increment.slip) ** (1 / increment.exponent)
        easy = excess < self.crossing
        self.exponent = torch.where(easy, increment.exponent, increment.exponent.clamp(max=_FIRST_EXPONENT))
        self.slip = self._slip(self.exponent)
        started = gamma.sign() * (gamma.abs() / self.slip) ** (1 / self.exponent)
        self.t = self.trial = torch.where(easy, 0.0, started)
        self.z, self.dz, self.dt = rest, rest, rest
        self.alpha = torch.ones_like(increment.slip)
        self.fresh = torch.ones_like(easy)
        self.done = torch.zeros_like(easy)
        self.lu = torch.eye(N_SYSTEMS, dtype=rest.dtype, device=rest.device).expand(rest.shape[1], -1, -1)
        pivots = torch.arange(1, N_SYSTEMS + 1, dtype=torch.int32, device=rest.device)
        self.pivots = pivots.expand(rest.shape[1], -1)

    def _slip(self, exponent: Tensor) -> Tensor:
        """Slip at t = 1 of the rung of the ladder with this exponent."""
        rung = self.reference * self.crossing**-exponent
        return torch.where(exponent == self.increment.exponent, self.increment.slip, rung)

    def take(self, index: Tensor) -> None:
        """Go on with the points of the index only."""
        self.increment = self.increment.take(index)
        for name in ("lu", "pivots"):
            setattr(self, name, getattr(self, name)[index])
        fields = (
            "modulus",
            "tolerance",
            "reference",
            "crossing",
            "exponent",
            "slip",
            "t",
            "trial",
            "z",
            "dz",
            "dt",
            "alpha",
        )
        for name in (*fields, "fresh", "done"):
            setattr(self, name, getattr(self, name).index_select(-1, index))

    def advance(self) -> None:
        """Judge the trial point, and take a Newton step from it or half of the last one from where that began."""
        increment, geometry = self.increment, self.geometry
        point = evaluate(increment, self.trial, geometry, self.slip, self.exponent)
        size = point.residual.abs().amax(0)
        possible = point.residual.isfinite().all(0) & (point.exp.A.square().sum((0, 1)) < LARGEST_SLIP**2)
        simplified = self._solve(self.lu, self.pivots, torch.where(possible, point.residual, 0.0))
        shorter = simplified.norm(dim=0) < (1 - 0.25 * self.alpha) * self.dz.norm(dim=0)
        good = possible & ~self.done & (self.fresh | shorter | (size < self.tolerance))

        at_last = self.exponent == increment.exponent
        found = good & at_last & (size < self.tolerance)
        climbs = good & ~at_last & (size < _PROMOTION)
        self.exponent = torch.where(climbs, torch.minimum(_LADDER * self.exponent, increment.exponent), self.exponent)
        self.slip = self._slip(self.exponent)
        held = point.gamma.sign() * (point.gamma.abs() / self.slip) ** (1 / self.exponent)
        t = torch.where(climbs, held, point.t)
        residual = point.residual + point.hardening.g * (t - point.t) / increment.resistance

        z, dt_dz, d_gamma = curve(t, increment.resistance, self.modulus, self.slip, self.exponent)
        by = differentiate(increment, point, geometry)
        J = jacobian(increment, point._replace(t=t), by, geometry, dt_dz, d_gamma)
        lu, pivots, _ = torch.linalg.lu_factor_ex(J)
        step = self._solve(lu, pivots, residual)
        self.lu = torch.where(good[:, None, None], lu, self.lu)
        self.pivots = torch.where(good[:, None], pivots, self.pivots)
        self.z, self.dz = torch.where(good, z, self.z), torch.where(good, step, self.dz)
        self.dt = torch.where(good, dt_dz * step, self.dt)
        # Where the equations are met, the step that was just computed polishes the answer.
        self.t = torch.where(good, torch.where(found, t + dt_dz * step, t), self.t)
        self.alpha = torch.where(good, 1.0, 0.5 * self.alpha)
        self.fresh, self.done = self.fresh & ~good, self.done | found
        self.trial = self._stress(self.z + self.alpha * self.dz, self.t + self.alpha * self.dt)

    def _solve(self, lu: Tensor, pivots: Tensor, residual: Tensor) -> Tensor:
        return -torch.linalg.lu_solve(lu, pivots, residual.T[..., None])[..., 0].T

    def _stress(self, z: Tensor, near: Tensor) -> Tensor:
        """t(z) by Newton steps from a value near it; what they leave moves the trial point along the curve only."""
        size, n = z.abs(), self.exponent
        weight = self.modulus * self.slip / self.increment.resistance
        most = torch.minimum(size, (size / (weight + 1e-300)) ** (1 / n))  # either term alone is at most |z|
        t = torch.where(z * near > 0, torch.minimum(near.abs(), most), most)
        for _ in range(_SCALAR_STEPS):
            part = weight * t ** (n - 1)
            t = torch.minimum(t - (t + part * t - size) / (1 + n * part), most).clamp(min=0.0)
        return t * z.sign()


def solve(increment: Increment, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Relative stresses (12, N) that meet the equations, and where (N,) they do; without derivatives.

    A point follows its own path whatever the others do; the ones that arrived leave the batch when half of it has.
    """
    increment = increment.detach()
    n_points = increment.slip.shape[0]
    t = torch.zeros_like(increment.resistance)
    arrived = torch.zeros(n_points, dtype=torch.bool, device=t.device)
    if n_points == 0:
        return t, arrived
    where = torch.arange(n_points, device=t.device)
    search = Search(increment, geometry)
    check = 1 if t.device.type == "cpu" else 8  # iterations from one synchronisation to the next
    for iteration in range(1, ITERATIONS + 1):
        search.advance()
        if iteration % check and iteration < ITERATIONS:
            continue
        left = (~search.done).nonzero()[:, 0]
        if iteration < ITERATIONS and 2 * len(left) > len(where):
            continue
        t[:, where] = search.t
        arrived[where] = search.done
        if iteration == ITERATIONS or len(left) == 0:
            break
        where = where[left]
        search.take(left)
    return t, arrived
