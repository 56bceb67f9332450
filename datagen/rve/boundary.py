"""What a cell's boundary allows its fluctuation to do, and the preconditioner that belongs to it."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.rve.discretisation import Discretisation
from datagen.rve.green import Green


class Boundary(torch.nn.Module):
    """Admissible fluctuations of a cell, and the pseudo-inverse of a homogeneous reference medium among them.

    Args:
        discretisation: the cell's discretisation, with nodes as `periodic` says.
        d: displacement components.
        lmbda, mu: Lame constants of the reference medium [MPa], ().
    """

    periodic = True  # opposite faces share their nodes
    mu: Tensor

    def __init__(self, discretisation: Discretisation, d: int, lmbda: Tensor, mu: Tensor) -> None:
        super().__init__()
        self.register_buffer("mu", mu.clone())

    def restrict(self, u: Tensor) -> Tensor:
        """The admissible part of nodal displacements (d, B, *nodes), for guesses from elsewhere."""
        return u

    def forward(self, r: Tensor) -> Tensor:
        """K_0^+ r, admissible displacements (d, B, *nodes) of nodal forces; symmetric and not negative.

        Reactions of the boundary in r are invisible: sqrt(r . K_0^+ r) measures what is out of balance.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class Periodic(Boundary):
    """Periodic fluctuations; the preconditioner is the discrete Green operator."""

    def __init__(self, discretisation: Discretisation, d: int, lmbda: Tensor, mu: Tensor) -> None:
        super().__init__(discretisation, d, lmbda, mu)
        self.green = Green(discretisation, d, lmbda, mu)

    def forward(self, r: Tensor) -> Tensor:
        """See `Boundary.forward`."""
        return self.green(r)


BOUNDARIES: dict[str, type[Boundary]] = {"periodic": Periodic}
