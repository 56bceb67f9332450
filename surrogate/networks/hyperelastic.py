"""An elastic network: stress and tangent are derivatives of one energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from datagen.laws.law import Measure, Step
from surrogate.networks.features import Argument, Symmetry, trace, volume_squared
from surrogate.networks.network import Network
from surrogate.networks.polynomial import PolynomialMap

Arguments = Callable[[Symmetry, Measure, Sequence[str]], list[Argument]]


class HyperelasticNetwork(Network):
    r"""psi(e) = W (N(x(e)) - N(0)) + psi_0(e) + psi_growth(e), W = stress_scale strain_scale.

    The arguments x are polynomial invariants of the objective strain e and, at finite strain, J - 1, each group of them
    divided by its size in the training data; all vanish in the reference state. With A = W dN/de there, psi_0 = -A : e
    frees it of stress without harm to objectivity or symmetry (A is itself invariant under the symmetry group); a
    polyconvex network brings its own psi_0. At finite strain

    psi_growth = growth stress_scale ((J + 1/J - 2)^2 + ((tr C / 3)^q - 1 - 2 q / 3 (J - 1)) / q)

    is polyconvex, zero with zero stress at the reference, never negative, infinite as J -> 0, and with q = 1 + degree
    of x in e it outgrows as |F| -> infinity every N of at most linear growth, such as a softplus network. J <= 0
    answers nan with verdict INVERTED. Stress and tangent are derivatives of psi, written out, and differentiable with
    respect to the weights.

    A subclass implements `network`, N with its derivatives.

    Args:
        measure: "small" or "finite".
        components: driven strain components; default all.
        symmetry: "none", "isotropic", "cubic" or "orthotropic", axes along the coordinate axes.
        arguments: gives the groups of polynomial arguments for symmetry, measure and components of e.
        growth: weight of the growth term, > 0; without effect at small strain.
        widths: neurons of each hidden layer.
        seed: of the initial weights.

    Raises:
        ValueError: an unknown measure, component or symmetry, or a size or weight outside its range.

    Reference:
        L. Linden, D. K. Klein, K. A. Kalina, J. Brummund, O. Weeger, M. Kaestner, J. Mech. Phys. Solids 179 (2023)
        105363, doi:10.1016/j.jmps.2023.105363 (normalisation and growth by construction).
    """

    argument_scale: Tensor
    _slopes: Tensor
    _upper: Tensor
    _unpack: Tensor

    def __init__(
        self,
        measure: str | Measure,
        components: Sequence[str] | None,
        symmetry: str,
        arguments: Arguments,
        growth: float,
        widths: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__(measure, components)
        if symmetry not in {s.value for s in Symmetry}:
            raise ValueError(f"symmetry: got {symmetry!r}, wanted one of {', '.join(s.value for s in Symmetry)}")
        if not growth > 0:
            raise ValueError(f"growth: got {growth}, wanted a weight > 0")
        if not widths or any(width != int(width) or width < 1 for width in widths):
            raise ValueError(f"widths: got {list(widths)}, wanted the neurons of one hidden layer or more")
        self.symmetry, self.growth, self.seed = symmetry, growth, seed
        self.widths = tuple(int(width) for width in widths)
        self.mirror_z = symmetry != Symmetry.NONE.value
        self.arguments = arguments(Symmetry(symmetry), self.measure, self.strain_components)
        polynomials = [p for argument in self.arguments for p in argument.polynomials]
        self.exponent = 1 + max(p.degree for p in polynomials)
        self.n_arguments = len(polynomials)
        m = len(self.strain_components)
        if self.measure is Measure.FINITE:
            # Behind the arguments stand J - 1 (as det C - 1, not yet a polynomial), one more argument, and tr e.
            columns = Measure.SMALL.columns(self.strain_components)
            polynomials += [volume_squared().restricted(columns), trace().restricted(columns)]
            self.n_arguments += 1
        self.invariants = PolynomialMap(polynomials, m)
        slopes = self._features(self._normal.new_zeros(m))[1][: self.n_arguments]
        self.register_buffer("_slopes", slopes, persistent=False)
        self.register_buffer("argument_scale", torch.ones(self.n_arguments, dtype=torch.float64))
        row, column = torch.triu_indices(m, m)
        unpack = torch.zeros(m, m, dtype=torch.int64)
        unpack[row, column] = unpack[column, row] = torch.arange(len(row))
        self.register_buffer("_upper", row * m + column, persistent=False)
        self.register_buffer("_unpack", unpack.flatten(), persistent=False)

    def network(self, x: Tensor, curvature: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """N (N,) of scaled arguments (N, p), its gradient (N, p) and, if asked for, its Hessian (N, p, p)."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def normalisation(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (m,) of e and () of J - 1 in psi_0, which has the stress -A (m,) in the reference state."""
        return -A, A.new_zeros(())

    def fit(self, e: Tensor) -> None:
        """See `Network.fit`; each group of arguments gets its root mean square as its scale."""
        super().fit(e)
        values = self._features(e)[0][..., : self.n_arguments]
        sizes = [len(argument.polynomials) for argument in self.arguments]
        sizes += [1] * (self.n_arguments - sum(sizes))
        groups = values.split(sizes, -1)
        scale = torch.cat([group.square().mean().sqrt().expand(group.shape[1]) for group in groups])
        self.argument_scale.copy_(torch.where(scale > 0, scale, 1.0))

    def energy(self, e: Tensor, curvature: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energy psi (*b,), d psi / d e (*b, m) and, if asked for, d^2 psi / d e^2 (*b, m, m)."""
        batch, p, scale = e.shape[:-1], self.n_arguments, self.argument_scale
        W = self.stress_scale * self.strain_scale
        y, dy, ddy = self._features(e, curvature)
        # The reference state rides along as the last row.
        x = torch.cat([(y[..., :p] / scale).reshape(-1, p), y.new_zeros(1, p)])
        N, slope, bend = self.network(x, curvature)
        slope = W * slope / scale
        on_e, on_j = self.normalisation(slope[-1] @ self._slopes)
        psi = (W * (N[:-1] - N[-1])).reshape(batch) + e @ on_e
        on_y = slope[:-1].reshape(*batch, p)
        growth: tuple[Tensor, ...] = ()
        if self.measure is Measure.FINITE:
            j, t = y[..., -2], y[..., -1]
            growth = self._growth(j, t)
            psi = psi + on_j * j + growth[0]
            on_y = torch.cat([on_y[..., :-1], (on_y[..., -1] + on_j + growth[1])[..., None], growth[2][..., None]], -1)
        S = (on_y[..., None, :] @ dy)[..., 0, :] + on_e
        if bend is None or ddy is None:
            return psi, S, None
        dx = dy[..., :p, :] / scale[:, None]
        hessian = W * dx.transpose(-1, -2) @ bend[:-1].reshape(*batch, p, p) @ dx
        hessian = hessian + (on_y[..., None, :] @ ddy.flatten(-2)).unflatten(-1, ddy.shape[-2:])[..., 0, :, :]
        if growth:
            dj = dy[..., -2, :]
            hessian = hessian + growth[3][..., None, None] * (dj[..., :, None] * dj[..., None, :])
            hessian = hessian + growth[4][..., None, None] * (self._normal[:, None] * self._normal)
        return psi, S, hessian

    def _features(self, e: Tensor, curvature: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments, unscaled, and at finite strain tr e behind them, with their derivatives in e."""
        y, dy, ddy = self.invariants(e, curvature)
        if self.measure is Measure.SMALL:
            return y, dy, ddy
        d = y[..., -2:-1]  # J^2 - 1
        J = (1 + d).clamp(min=torch.finfo(e.dtype).tiny).sqrt()
        dj = dy[..., -2:-1, :] / (2 * J[..., None])
        y = torch.cat([y[..., :-2], d / (1 + J), y[..., -1:]], -1)
        dy = torch.cat([dy[..., :-2, :], dj, dy[..., -1:, :]], -2)
        if ddy is not None:
            ddj = ddy[..., -2:-1, :, :] / 2 - dj[..., :, None] * dj[..., None, :]
            ddy = torch.cat([ddy[..., :-2, :, :], ddj / J[..., None, None], ddy[..., -1:, :, :]], -3)
        return y, dy, ddy

    def _growth(self, j: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """psi_growth of J - 1 and tr e, and its derivatives along j, t, jj and tt; jt vanishes."""
        q, weight, J, u = self.exponent, self.growth * self.stress_scale, 1 + j, 1 + t * (2 / 3)
        volume, slope, curvature = j * j / J, 1 - J**-2, 2 * J**-3  # J + 1/J - 2 and its derivatives
        power = u ** (q - 2)
        return (
            weight * (volume * volume + (power * u * u - 1) / q - j * (2 / 3)),
            weight * (2 * volume * slope - 2 / 3),
            weight * (2 / 3) * power * u,
            weight * 2 * (slope * slope + volume * curvature),
            weight * (4 / 9) * (q - 1) * power,
        )

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self._answer(strain, state, False)[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved are the upper triangle of d^2 psi / d e^2 and, at finite strain, F - I and S."""
        return self._answer(strain, state, True)

    def _answer(self, strain: Tensor, state: Tensor, curvature: bool) -> tuple[Step, Tensor]:
        self.check(strain, state)
        increment, inverted = self.increment(strain), None
        answered = increment.isfinite().all(-1)
        if self.measure is Measure.FINITE:
            inverted = self.determinant(increment)[0][..., 0] <= -1
            answered = answered & ~inverted
        # A point without an answer is taken to the reference state, so that its nan reaches no gradient of the weights.
        h = torch.where(answered[..., None], increment, 0.0)
        e, B = self.objective_strain(h)
        psi, S, hessian = self.energy(e, curvature)
        driven = S if B is None else (S[..., None] * B).sum(-2)
        distance = self.domain.distance(self.range_strain(e.detach()))
        verdict = self.judge(increment, inverted, distance)
        step = self.answer(psi, self.spread(driven), torch.zeros_like(psi), state, verdict, {"distance": distance})
        if hessian is None:
            return step, S
        saved = hessian.flatten(-2)[..., self._upper]
        return step, saved if B is None else torch.cat([saved, h, S], -1)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`: d^2 psi / d e^2 . de, pulled back by de / d strain, and S on the change of that."""
        m, n = len(self.strain_components), len(self.columns)
        hessian = saved[..., self._unpack].unflatten(-1, (m, m))
        d = direction[..., self._columns]
        if self.measure is Measure.SMALL:
            return self.spread((hessian * d[..., None, :]).sum(-1))
        h, S = saved[..., -m - n : -m], saved[..., -m:]
        B = self._slope + self.slope_change(h)
        de = (B * d[..., None, :]).sum(-1)
        dS = (hessian * de[..., None, :]).sum(-1)
        return self.spread((B * dS[..., None] + self.slope_change(d) * S[..., None]).sum(-2))
