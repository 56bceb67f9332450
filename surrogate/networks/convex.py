"""The convex energy network: convex in its arguments, polyconvex if asked to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import SQRT2
from surrogate.networks.features import Cone, convex_arguments, strain_invariants
from surrogate.networks.hyperelastic import HyperelasticNetwork
from surrogate.networks.propagate import Layer, propagate


class ConvexEnergyNetwork(HyperelasticNetwork):
    r"""Elastic energy by an input-convex softplus network; see `HyperelasticNetwork`.

    a_l = t(a_{l-1} W_l + x U_l + b_l), W_l >= 0, t(z) = ln(1 + exp z): convex in x whatever U_l.

    With ``polyconvex`` the arguments are convex functions of (F, cof F, J), `convex_arguments` and J, and U_l lets N
    increase with them (for C and cof C: by positive semi-definite tensors), so psi is polyconvex, hence elliptic:
    a x b : A : a x b >= 0 at every strain; at small strain it is convex in eps. That is too stiff for some homogenised
    responses, which soften or buckle. Without it, N is convex in the invariants of `strain_invariants` and J and may
    fall with them.

    A polyconvex psi_0 cannot be -A : E (E is not linear in F). It is (n 1 - A) : E - n (J - 1), with n at least the
    largest eigenvalue of A, so that n 1 - A is positive semi-definite: n = tr A / d + sqrt((d - 1) / d) |dev A| in d
    dimensions.

    Args:
        measure: "small" or "finite", what the strain is.
        components: driven strain components; default all.
        symmetry: "none", "isotropic", "cubic" or "orthotropic", axes along the coordinate axes.
        polyconvex: whether psi is polyconvex (finite) or convex in eps (small).
        widths: neurons of each hidden layer.
        growth: weight of the growth term, > 0; without effect at small strain.
        seed: of the initial weights.

    Raises:
        ValueError: an unknown measure, component or symmetry, or a size or weight outside its range.

    Reference:
        B. Amos, L. Xu, J. Z. Kolter, Input convex neural networks, ICML 2017, arXiv:1609.07152;
        D. K. Klein, M. Fernandez, R. J. Martin, P. Neff, O. Weeger, J. Mech. Phys. Solids 159 (2022) 104703,
        doi:10.1016/j.jmps.2021.104703.
    """

    def __init__(
        self,
        measure: str | Measure = "finite",
        components: Sequence[str] | None = None,
        symmetry: str = "none",
        polyconvex: bool = True,
        widths: Sequence[int] = (32, 32),
        growth: float = 0.1,
        seed: int = 0,
    ) -> None:
        arguments = convex_arguments if polyconvex else strain_invariants
        super().__init__(measure, components, symmetry, arguments, growth, widths, seed)
        self.polyconvex = polyconvex
        axes = sorted(set("".join(self.strain_components)))
        self._dimension = len(axes)
        self._entries = [(axes.index(name[0]), axes.index(name[1])) for name in self.strain_components]
        self._groups = [(a.cone if polyconvex else Cone.FREE, len(a.polynomials)) for a in self.arguments]
        self._groups += [(Cone.FREE, 1)] * (self.measure is Measure.FINITE)

        generator = torch.Generator().manual_seed(seed)
        self.outer, self.inner, self.biases = (torch.nn.ParameterList() for _ in range(3))
        sizes = (*self.widths, 1)
        for width in sizes:
            self.outer.extend(self._draw(width, generator))  # a tensor for each group of arguments
        for before, width in pairwise(sizes):
            self.inner.append(torch.randn(before, width, dtype=torch.float64, generator=generator) / before**0.5)
        for width in self.widths:
            self.biases.append(torch.rand(width, dtype=torch.float64, generator=generator) - 0.5)

    def network(self, x: Tensor, curvature: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `HyperelasticNetwork.network`; squares keep the weights >= 0."""
        inner = [None, *(w * w for w in self.inner)]
        raw, n = list(self.outer), len(self._groups)
        outer = [self._admissible(raw[k : k + n]) for k in range(0, len(raw), n)]
        layers = zip(inner, outer, [*self.biases, None], strict=True)
        return propagate(x, [Layer(*layer) for layer in layers], curvature)

    def normalisation(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """See `HyperelasticNetwork.normalisation`."""
        if not self.polyconvex or self.measure is Measure.SMALL:
            return super().normalisation(A)
        d = self._dimension
        mean = (A * self._normal).sum() / d
        deviator = A - mean * self._normal
        # The floor keeps the derivative of the root finite where symmetry makes the deviator vanish.
        size = (deviator.square().sum() + (1e-12 * self.stress_scale) ** 2).sqrt()
        n = mean + math.sqrt((d - 1) / d) * size
        return n * self._normal - A, -n

    def _draw(self, width: int, generator: torch.Generator) -> list[Tensor]:
        """Initial weights from each group of arguments to one layer."""
        d = self._dimension
        weights = []
        for cone, size in self._groups:
            shape, scale = {
                Cone.FREE: ((size, width), self.n_arguments**-0.5),
                Cone.INCREASING: ((size, width), 0.7),
                Cone.PSD: ((width, d, d), 0.5),
            }[cone]
            weights.append(scale * torch.randn(shape, dtype=torch.float64, generator=generator))
        return weights

    def _admissible(self, weights: Sequence[Tensor]) -> Tensor:
        """One layer's U (p, width): any sign, squares, or Mandel components of L L^T, by group of arguments."""
        rows = []
        for (cone, _), weight in zip(self._groups, weights, strict=True):
            if cone is Cone.FREE:
                rows.append(weight)
            elif cone is Cone.INCREASING:
                rows.append(weight * weight)
            else:
                G = weight @ weight.transpose(-1, -2)
                rows.append(torch.stack([G[:, i, j] * (1.0 if i == j else SQRT2) for i, j in self._entries]))
        return torch.cat(rows)
