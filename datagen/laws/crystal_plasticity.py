"""Crystal plasticity of face-centred cubic metals at finite strain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.laws.law import Extra, Law, Measure, Step, finite_verdict
from datagen.laws.material_axes import Nested, elastic_buffers, require_positive, rotation
from datagen.laws.slip import (
    Geometry,
    dot,
    exponential_by_slip,
    fcc,
    identity,
    inverse,
    mandel,
    matrices,
    symmetric,
    transpose,
)
from datagen.laws.slip_increment import Derivatives, Increment, Point, curve, differentiate, evaluate, jacobian, solve
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.tensors import ROW_MAJOR, det, from_mandel, matmul, polar_rotation, to_mandel


class CrystalPlasticity(Law):
    r"""Face-centred cubic crystal that slips on {111}<110>, rate-dependent, with self and latent hardening.

    F = F_e F_p,  F_p' F_p^-1 = sum_a gamma_a' P_a,  P_a = s_a x m_a
    gamma_a' = gamma_dot_0 |tau_a/g_a|^exponent sign(tau_a),  tau_a = P_a : M
    psi = 1/2 E : C : E,  E = (C_e - C_e^-1)/4,  C_e = F_e^T F_e,  M = C_e S,  S = 2 d psi/d C_e
    g_a' = dV/dG sum_b q_ab |gamma_b'|,  V(G) = (rise + theta_1 G) (1 - exp(-G theta_0/rise)),  G' = sum_b |gamma_b'|

    The strain measure E is the elastic Green-Lagrange strain to first order and, unlike it, symmetric in tension and
    compression: with the Green-Lagrange strain copper loses its elastic stability when compressed to 0.95 of its
    length on all sides. q_ab is 1 on the same plane and ``latent`` elsewhere.

    Backward Euler with the exponential map, F_p = exp(sum gamma_a P_a) F_p0, so that det F_p = 1 to round-off. The
    twelve slips are found as `datagen.laws.slip_increment` says, for exponents of hundreds too; a point whose
    iteration fails answers nan with NOT_CONVERGED (take smaller steps). What latent hardening has beyond a ratio of 1
    counts from the next step on. A fold (J <= 0) answers nan with INVERTED.

    The hardening is not derived from a stored energy: psi is elastic only, all plastic work is dissipated,
    sum_a tau_a gamma_a >= 0 at the end of the step, and the extra ``plastic_work`` is the same number. Differentiable
    with respect to its buffers and the time step.

    The history, zero in the virgin crystal, is F_p^-1 - 1 in crystal axes (nine columns), the growth g_a - g_0 of the
    twelve slip resistances [MPa] and the accumulated slip G.

    Args:
        C11: elastic stiffness along a cube axis [MPa].
        C12: elastic stiffness between two cube axes [MPa].
        C44: elastic shear modulus in a cube plane [MPa]; (C11 - C12)/2 is isotropic.
        resistance: initial slip resistance g_0 [MPa], > 0.
        rise: how far the resistance rises by the saturating part of V [MPa], > 0.
        theta_0: initial hardening modulus dV/dG at G = 0 [MPa], >= 0; 0 does not harden at all.
        theta_1: final hardening modulus [MPa], >= 0.
        exponent: rate exponent n, >= 1; rate sensitivity is 1/n.
        gamma_dot_0: reference slip rate [1/s], > 0.
        latent: latent hardening ratio q, >= 0.
        orientation: rotation (3, 3) from the cube axes to those of the strain; None is the identity.

    Raises:
        ValueError: a number outside its range, moduli of an unstable crystal, no rotation.

    Reference:
        C. Miehe, J. Schroeder, Int. J. Numer. Meth. Engng 50 (2001) 273,
        doi:10.1002/1097-0207(20010120)50:2<273::AID-NME17>3.0.CO;2-Q (update); S. R. Kalidindi, C. A. Bronkhorst,
        L. Anand, J. Mech. Phys. Solids 40 (1992) 537, doi:10.1016/0022-5096(92)80003-9 (formulation, copper);
        C. Tome, G. R. Canova, U. F. Kocks, N. Christodoulou, J. J. Jonas, Acta Metallurgica 32 (1984) 1637,
        doi:10.1016/0001-6160(84)90222-0 (hardening); Z. P. Bazant, J. Eng. Mater. Technol. 120 (1998) 131,
        doi:10.1115/1.2807001 (strain measure).
    """

    measure = Measure.FINITE
    symmetric = False
    state_names = (
        *(f"plastic_inverse_change_{i + 1}{j + 1}" for i, j in ROW_MAJOR),
        *(f"resistance_growth_{a + 1}" for a in range(12)),
        "accumulated_slip",
    )
    extras = {"plastic_work": Extra((), "MPa", "sum of tau d gamma within the step")}

    orientation: Tensor
    resistance: Tensor

    def __init__(
        self,
        C11: float,
        C12: float,
        C44: float,
        resistance: float,
        rise: float = 1.0,
        theta_0: float = 0.0,
        theta_1: float = 0.0,
        exponent: float = 20.0,
        gamma_dot_0: float = 1e-3,
        latent: float = 1.4,
        orientation: Tensor | Nested | None = None,
    ) -> None:
        super().__init__()
        require_positive(C44=C44, **{"C11 - C12": C11 - C12, "C11 + 2 C12": C11 + 2 * C12})
        require_positive(resistance=resistance, rise=rise)
        for name, value in {"theta_0": theta_0, "theta_1": theta_1, "latent": latent}.items():
            if not value >= 0:
                raise ValueError(f"{name}: got {value}, wanted a number >= 0; softening needs a length scale")
        if not exponent >= 1:
            raise ValueError(f"exponent: got {exponent}, wanted a rate exponent >= 1")
        if not gamma_dot_0 > 0:
            raise ValueError(f"gamma_dot_0: got {gamma_dot_0}, wanted a slip rate > 0 [1/s]")
        numbers = {"C11": C11, "C12": C12, "C44": C44, "resistance": resistance, "rise": rise, "theta_0": theta_0}
        numbers |= {"theta_1": theta_1, "exponent": exponent, "gamma_dot_0": gamma_dot_0, "latent": latent}
        for name, buffer in elastic_buffers(numbers).items():
            self.register_buffer(name, buffer)
        self.register_buffer("orientation", rotation(orientation))
        for name, constant in fcc()._asdict().items():
            self.register_buffer(f"slip_{name}", constant, persistent=False)

    def lattice(self, strain: Tensor, state: Tensor) -> Tensor:
        """Rotation (*b, 3, 3) from the crystal axes to those of space in the body as it is: R_e of F_e, times Q.

        Args:
            strain: deformation gradient (*b, 9).
            state: state that was reached there, (*b, n_state).
        """
        F, F_p_inv = strain.unflatten(-1, (3, 3)), (state[..., :9] + self.reference_strain()).unflatten(-1, (3, 3))
        return polar_rotation(matmul(matmul(F, self.orientation), F_p_inv))

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self._step(strain, state, dt, tangent=False)[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved are F (9), the second Piola stress S (6) and dS/d(F^T F) (36)."""
        return self._step(strain, state, dt, tangent=True)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: dF S + F (dS/dC : (F^T dF + dF^T F))."""
        F, S = saved[..., :9].unflatten(-1, (3, 3)), from_mandel(saved[..., 9:15])
        dF = direction.unflatten(-1, (3, 3))
        dC = to_mandel(2 * matmul(F.transpose(-1, -2), dF))
        dS = (saved[..., 15:].unflatten(-1, (6, 6)) * dC[..., None, :]).sum(-1)
        return (matmul(dF, S) + matmul(F, from_mandel(dS))).flatten(-2)

    @property
    def _geometry(self) -> Geometry:
        return Geometry(*(self.get_buffer(f"slip_{name}") for name in Geometry._fields))

    def _step(self, strain: Tensor, state: Tensor, dt: Tensor | float, tangent: bool) -> tuple[Step, Tensor]:
        """The step, and what the tangent needs if it is asked for."""
        self.check(strain, state)
        dt = torch.as_tensor(dt, dtype=strain.dtype, device=strain.device)
        numbers = {name: self.get_buffer(name) for name in _NUMBERS}
        shapes = [x.shape for x in (dt, self.resistance, *numbers.values())] + [self.orientation.shape[:-2]]
        batch = torch.broadcast_shapes(strain.shape[:-1], *shapes)
        strain, state = (x.expand(*batch, x.shape[-1]) for x in (strain, state))
        verdict = finite_verdict(strain, det(strain.unflatten(-1, (3, 3))) <= 0, Verdict.INVERTED)
        verdict = torch.where(state.isfinite().all(-1), verdict, int(Verdict.NOT_FINITE))
        bad = (verdict >= FIRST_WITHOUT_ANSWER)[..., None]  # these answer for the virgin crystal, then nan
        F = _points(torch.where(bad, self.reference_strain(), strain)).reshape(3, 3, -1)
        history = _points(torch.where(bad, 0.0, state))
        Q = _points(self.orientation.flatten(-2).expand(*batch, 9)).reshape(3, 3, -1)

        change = history[:9].reshape(3, 3, -1)  # F_p^-1 - 1
        to_space = dot(Q, change + identity(change))
        trial = dot(F, to_space)
        fields = {name: x.expand(batch).reshape(-1) for name, x in numbers.items()}
        slip = fields.pop("gamma_dot_0") * dt.expand(batch).reshape(-1)
        metric = dot(transpose(trial), trial)
        resistance = self.resistance.expand(batch).reshape(-1) + history[9:21]
        increment = Increment(metric=metric, resistance=resistance, slipped=history[21], slip=slip, **fields)
        most = _BLOCK if strain.device.type == "cpu" else _BLOCK_GPU
        blocks = [
            self._answer(part, axes, tangent)
            for part, axes in zip(increment.split(most), to_space.split(most, -1), strict=True)
        ]
        found = _Answer(*(torch.cat(parts, -1) for parts in zip(*blocks, strict=True)))

        verdict = torch.where(found.arrived.reshape(batch), verdict, verdict.clamp(min=int(Verdict.NOT_CONVERGED)))
        psi, work = found.psi.reshape(batch), found.work.reshape(batch)
        change = found.exp - identity(change) + dot(change, found.exp)
        S = from_mandel(found.S.T).movedim(0, -1)
        new_state = torch.cat([change.reshape(9, -1), history[9:21] + found.growth, history[21:] + found.slip])
        stress, new_state = (
            x.reshape(n, *batch).movedim(0, -1) for x, n in ((dot(F, S), 9), (new_state, self.n_state))
        )
        step = self.answer(psi, stress, work, new_state, verdict, {"plastic_work": work})
        saved = torch.cat([F.reshape(9, -1), found.S, found.tangent]) if tangent else found.tangent
        return step, saved.reshape(len(saved), *batch).movedim(0, -1)

    def _answer(self, increment: Increment, to_space: Tensor, tangent: bool) -> _Answer:
        """Solve an increment, differentiably by a last Newton step; ``to_space`` (3, 3, N) is Q F_p^-1 at the start."""
        geometry = self._geometry
        t, arrived = solve(increment, geometry)
        fixed = increment.detach()
        start = evaluate(fixed, t, geometry, fixed.slip, fixed.exponent)
        modulus = (fixed.C11 - fixed.C12 + fixed.C44) / 3
        _, d_t, d_gamma = curve(t, fixed.resistance, modulus, fixed.slip, fixed.exponent)
        by = differentiate(fixed, start, geometry)
        lu, pivots, _ = torch.linalg.lu_factor_ex(jacobian(fixed, start, by, geometry, d_t, d_gamma))
        residual = evaluate(increment, t, geometry, increment.slip, increment.exponent).residual
        t = t - d_t * torch.linalg.lu_solve(lu, pivots, matrices(residual[:, None]))[..., 0].T
        end = evaluate(increment, t, geometry, increment.slip, increment.exponent)
        B = dot(to_space, end.exp.X)
        S = mandel(dot(dot(B, end.elastic.S), transpose(B)))
        psi = 0.5 * (end.elastic.E * end.elastic.T).sum((0, 1))
        work = (end.hardening.g * end.t * end.gamma).sum(0)
        moduli = psi.new_empty(0, psi.shape[0])
        if tangent:
            # How slips answer to C_e at fixed slips, (N, 12, 6).
            slips = torch.linalg.lu_solve(lu, pivots, matrices(by.tau / fixed.resistance[:, None]))
            moduli = self._metric_tangent(fixed, end, by, matrices(d_gamma[:, None]) * slips, B)
        slip = end.gamma.abs().sum(0)[None]
        return _Answer(psi, work, S, end.exp.X, end.hardening.growth, slip, arrived, moduli)

    def _metric_tangent(self, increment: Increment, end: Point, by: Derivatives, slips: Tensor, B: Tensor) -> Tensor:
        r"""dS/dC (36, N) of the reference configuration, C = F^T F, Mandel.

        In the intermediate configuration, with dC' = exp(A)^T dC_trial exp(A) and L = exp(-A) d exp(A)/d gamma:
        dS' = dS/dC_e : (dC' + dC_e/d gamma d gamma) + sym(2 L S) d gamma, then S = B S' B^T, dC' = B^T dC B.
        """
        geometry = self._geometry
        C_inv, T, S = (x[:, :, None] for x in (end.elastic.C_inv, end.elastic.T, end.elastic.S))
        E = geometry.units[..., None]
        lowered = dot(C_inv, dot(E, C_inv))
        d_T = increment.cubic(0.25 * (E + lowered))
        pulled = symmetric(dot(dot(lowered, T), C_inv))
        d_S = matrices(mandel(0.5 * (d_T + dot(dot(C_inv, d_T), C_inv) - pulled)))
        swirl = dot(inverse(end.exp.X)[:, :, None], exponential_by_slip(end.exp, by.exp, geometry))
        by_slip = torch.bmm(d_S, matrices(by.metric)) + matrices(mandel(2 * dot(swirl, S)))
        B = B[:, :, None]
        push = matrices(mandel(dot(dot(B, E), transpose(B))))
        tangent = torch.bmm(torch.bmm(push, d_S + torch.bmm(by_slip, slips)), push.mT)
        return tangent.permute(1, 2, 0).reshape(36, -1)


_NUMBERS = ("gamma_dot_0", "exponent", "C11", "C12", "C44", "rise", "theta_0", "theta_1", "latent")
_BLOCK, _BLOCK_GPU = 2048, 262144  # points solved together, which bounds memory: about 10 kB a point


class _Answer(NamedTuple):
    """A solved increment of N points."""

    psi: Tensor  # (N,)
    work: Tensor  # (N,)
    S: Tensor  # (6, N)    second Piola stress of the reference configuration
    exp: Tensor  # (3, 3, N) F_p^-1 at the end is F_p^-1 at the start times this
    growth: Tensor  # (12, N) of the resistances
    slip: Tensor  # (1, N)    of all systems in the step
    arrived: Tensor  # (N,)
    tangent: Tensor  # (36, N) or (0, N) where it was not asked for


def _points(x: Tensor) -> Tensor:
    """(*b, k) as (k, N)."""
    return x.movedim(-1, 0).reshape(x.shape[-1], -1)
