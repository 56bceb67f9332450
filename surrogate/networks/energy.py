"""The energy network: nothing is asked of the energy but what physics guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from datagen.laws.law import Measure
from surrogate.networks.features import strain_invariants
from surrogate.networks.hyperelastic import HyperelasticNetwork
from surrogate.networks.propagate import Layer, propagate


class EnergyNetwork(HyperelasticNetwork):
    r"""Elastic energy by a softplus network of strain invariants, and J at finite strain; see `HyperelasticNetwork`.

    N(x) = w_k . t(... t(x W_1 + b_1) ...), t(z) = ln(1 + exp z)

    The arguments x are a complete set of invariants for the symmetry (`strain_invariants`); J - 1 depends on them, but
    as an argument of its own it halves the error. Smooth and not convex: it can follow the response of any elastic
    cell, softening included.

    Args:
        measure: "small" or "finite", what the strain is.
        components: driven strain components; default all.
        symmetry: "none", "isotropic", "cubic" or "orthotropic", axes along the coordinate axes.
        widths: neurons of each hidden layer.
        growth: weight of the growth term, > 0; without effect at small strain.
        seed: of the initial weights.

    Raises:
        ValueError: an unknown measure, component or symmetry, or a size or weight outside its range.

    Reference:
        K. Linka, M. Hillgaertner, K. P. Abdolazizi, R. C. Aydin, M. Itskov, C. J. Cyron, J. Comput. Phys. 429 (2021)
        110010, doi:10.1016/j.jcp.2020.110010; L. Linden et al. (2023), see `HyperelasticNetwork`.
    """

    def __init__(
        self,
        measure: str | Measure = "finite",
        components: Sequence[str] | None = None,
        symmetry: str = "none",
        widths: Sequence[int] = (32, 32, 32),
        growth: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(measure, components, symmetry, strain_invariants, growth, widths, seed)
        generator = torch.Generator().manual_seed(seed)
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        sizes = (self.n_arguments, *self.widths, 1)
        for before, width in pairwise(sizes):
            weight = torch.randn(before, width, dtype=torch.float64, generator=generator)
            self.weights.append(weight / before**0.5)
        for width in self.widths:
            self.biases.append(torch.rand(width, dtype=torch.float64, generator=generator) - 0.5)

    def network(self, x: Tensor, curvature: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `HyperelasticNetwork.network`."""
        first, *rest = self.weights
        layers = [Layer(None, first, self.biases[0])]
        layers += [Layer(w, None, b) for w, b in zip(rest, [*self.biases[1:], None], strict=True)]
        return propagate(x, layers, curvature)
