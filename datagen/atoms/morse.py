"""The Morse potential."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.atoms.pair import PairPotential, Table, Truncation, not_negative, positive


class Morse(PairPotential):
    r"""phi(r) = D (exp(-2 alpha (r - r0)) - 2 exp(-alpha (r - r0))), truncated.

    Of several elements, D, alpha, r0, cutoff and inner are numbers or symmetric tables (m, m) in their order.

    Args:
        D: depth [eV].
        alpha: steepness [1/A].
        r0: where phi is least [A].
        cutoff: [A].
        truncation: "cut", "shifted", "force_shifted" or "smooth", see `datagen.atoms.pair.Truncation`.
        elements: chemical symbol, or m of them.
        masses: of the elements [Da].
        inner: radius from which "smooth" acts [A].

    Raises:
        ValueError: a table that does not fit the elements, a D that is negative, an alpha or r0 that is not positive,
            radii that are not 0 < inner < cutoff.

    Reference:
        P. M. Morse, Phys. Rev. 34 (1929) 57, doi:10.1103/PhysRev.34.57; for cubic metals L. A. Girifalco,
        V. G. Weizer, Phys. Rev. 114 (1959) 687, doi:10.1103/PhysRev.114.687.
    """

    names = ("D", "alpha", "r0")
    D: Tensor
    alpha: Tensor
    r0: Tensor

    def __init__(
        self,
        D: Table,
        alpha: Table,
        r0: Table,
        cutoff: Table,
        truncation: str | Truncation = "force_shifted",
        elements: str | Sequence[str] = "Cu",
        masses: float | Sequence[float] = 63.546,
        inner: Table | None = None,
    ) -> None:
        super().__init__(elements, masses, cutoff, truncation, inner, D=D, alpha=alpha, r0=r0)
        not_negative("D", self.D)
        positive("alpha", self.alpha)
        positive("r0", self.r0)

    def pair(self, square: Tensor, order: int, *parameters: Tensor) -> tuple[Tensor, ...]:
        """See `PairPotential.pair`; with e = exp(-alpha (r - r0)), w = D e (e - 2), w' = D alpha e (1 - e)/r."""
        D, alpha, r0 = parameters
        one_by_r = square.rsqrt()
        e = torch.exp(alpha * (r0 - square * one_by_r))
        steep = D * alpha
        slope = (e - e * e) * one_by_r * steep
        value = D * (e * (e - 2))
        if order == 1:
            return value, slope
        return value, slope, (e * (2 * e - 1) * (steep * alpha) - slope) / (2 * square)
