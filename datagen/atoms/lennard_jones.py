"""The Lennard-Jones potential."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.atoms.pair import PairPotential, Table, Truncation, not_negative, positive


class LennardJones(PairPotential):
    r"""phi(r) = 4 epsilon ((sigma/r)^12 - (sigma/r)^6), truncated.

    Of several elements, epsilon, sigma, cutoff and inner are numbers or symmetric tables (m, m) in their order; nothing
    is mixed behind the scenes.

    Args:
        epsilon: depth [eV].
        sigma: where phi is zero [A].
        cutoff: [A].
        truncation: "cut", "shifted", "force_shifted" or "smooth", see `datagen.atoms.pair.Truncation`.
        elements: chemical symbol, or m of them.
        masses: of the elements [Da].
        inner: radius from which "smooth" acts [A].

    Raises:
        ValueError: a table that does not fit the elements, an epsilon that is negative, a sigma that is not positive,
            radii that are not 0 < inner < cutoff.

    Reference:
        J. E. Jones, Proc. R. Soc. A 106 (1924) 463, doi:10.1098/rspa.1924.0082.

    Example:
        >>> mixture = LennardJones(epsilon=[[1.0, 1.5], [1.5, 0.5]], sigma=[[1.0, 0.8], [0.8, 0.88]], cutoff=2.5,
        ...                        elements=["A", "B"], masses=[1.0, 1.0])
        >>> mixture.species(("A", "B", "A"))
        tensor([0, 1, 0])
    """

    names = ("epsilon", "sigma")
    epsilon: Tensor
    sigma: Tensor

    def __init__(
        self,
        epsilon: Table,
        sigma: Table,
        cutoff: Table,
        truncation: str | Truncation = "force_shifted",
        elements: str | Sequence[str] = "Ar",
        masses: float | Sequence[float] = 39.948,
        inner: Table | None = None,
    ) -> None:
        super().__init__(elements, masses, cutoff, truncation, inner, epsilon=epsilon, sigma=sigma)
        not_negative("epsilon", self.epsilon)
        positive("sigma", self.sigma)

    def pair(self, square: Tensor, order: int, *parameters: Tensor) -> tuple[Tensor, ...]:
        """See `PairPotential.pair`; with x = sigma^2/s, w = 4 epsilon (x^6 - x^3), w' = 12 epsilon (x^3 - 2 x^6)/s."""
        epsilon, sigma = parameters
        square_of_sigma = sigma * sigma
        sixth = square_of_sigma * square_of_sigma * square_of_sigma
        attraction = 4 * epsilon * sixth
        repulsion = attraction * sixth
        q = square.reciprocal()
        cube = q * q * q
        core = repulsion * cube
        value, fourth = cube * (core - attraction), cube * q
        slope = fourth * torch.sub(3 * attraction, core, alpha=6)
        if order == 1:
            return value, slope
        return value, slope, fourth * q * (42 * core - 12 * attraction)
