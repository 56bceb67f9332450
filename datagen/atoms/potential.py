"""The contract that every interatomic potential keeps: the energy of an atom as a function of the bonds it has.

E = sum_i E_i({r_ik}), r_ik = x_k - x_i over all neighbours k of i. Pair, embedded-atom and bond-order potentials have
this form; forces, stress, elastic constants and phonons follow from dE_i/dr_ik alone, whoever made the bonds: one cell
under the Cauchy-Born rule, a relaxed supercell, a slab or a trajectory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bonds(NamedTuple):
    """The bonds of each atom, every one listed from both of its ends; K of them an atom, padded.

    A bond as long as the cutoff or longer is no bond: it changes neither energy nor gradient, so lists are padded with
    long vectors (`far`) and may hold more neighbours than needed.
    """

    vector: Tensor  # (*b, n, K, 3) from an atom to a neighbour [A]
    own: Tensor  # (n,) int64, which of `Potential.elements` each atom is
    other: Tensor  # (n, K) or (*b, n, K) int64, which each neighbour is


class Sites(NamedTuple):
    """What a potential answers."""

    energy: Tensor  # (*b, n) [eV]
    gradient: Tensor  # (*b, n, K, 3) dE_i/dr_ik [eV/A]


class Potential(torch.nn.Module):
    """An interatomic potential: bonds in, energy of each atom and its gradient by each bond out, both written out.

    A subclass sets the attributes below and implements `forward`, smooth enough that forward-mode differentiation of
    the gradient is the second derivative of the energy. It is pure and batched; what it owns are float64 buffers.
    An atom without bonds has the energy of a free atom. A bond of length zero has no finite answer.
    """

    elements: tuple[str, ...]  # chemical symbols, in the order of `Bonds.own` and `Bonds.other`
    masses: tuple[float, ...]  # of the elements [Da]
    cutoff: float  # [A]
    continuous_force: bool = True  # whether the force goes to zero at the cutoff

    def forward(self, bonds: Bonds) -> Sites:
        """Energy of each atom and its gradient, of any batch of bonds."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def product(self, bonds: Bonds, direction: Tensor) -> Tensor:
        """Change of the gradient, sum_l (d2 E_i / dr_ik dr_il) . d_l.

        Args:
            bonds: where.
            direction: changes of the bonds (C, *b, n, K, 3), C of them.

        Returns:
            (C, *b, n, K, 3) [eV/A^2 times the unit of direction].
        """

        def gradient(vector: Tensor) -> Tensor:
            return self.forward(bonds._replace(vector=vector)).gradient

        def along(d: Tensor) -> Tensor:
            return torch.func.jvp(gradient, (bonds.vector,), (d,))[1]

        return torch.func.vmap(along)(direction)

    def hessian(self, bonds: Bonds) -> Tensor:
        """d2 E_i / dr_ik dr_il of each atom, (*b, n, 3 K, 3 K) [eV/A^2]: 72 K^2 bytes an atom."""
        size = 3 * bonds.vector.shape[-2]
        units = torch.eye(size, dtype=bonds.vector.dtype, device=bonds.vector.device)
        units = units.reshape(size, *[1] * (bonds.vector.dim() - 2), size // 3, 3)
        return self.product(bonds, units.expand(size, *bonds.vector.shape)).flatten(-2).movedim(0, -1)

    def far(self) -> float:
        """A length that is no bond, to pad with [A]."""
        return 2 * self.cutoff

    def species(self, elements: tuple[str, ...]) -> Tensor:
        """Index (n,) into `elements` for each of some chemical symbols; raises ValueError for one it does not know."""
        for name in elements:
            if name not in self.elements:
                known = ", ".join(self.elements)
                raise ValueError(f"elements: got {name!r}, wanted among {known}, the elements of {type(self).__name__}")
        return torch.tensor([self.elements.index(name) for name in elements], dtype=torch.int64)


REFERENCES = ("stress_free", "as_given")
"""What the strain of a law made of atoms counts from: the stress-free cell near the one given, or that one."""


def check_law(potential: Potential, reference: str) -> None:
    """Raise ValueError for a potential whose energy has no derivative at the cutoff, and for an unknown reference."""
    if not potential.continuous_force:
        raise ValueError(
            f"potential: got a {type(potential).__name__} whose force jumps at the cutoff, wanted a continuous one, "
            'for example truncation="force_shifted"'
        )
    if reference not in REFERENCES:
        raise ValueError(f"reference: got {reference!r}, wanted {' or '.join(REFERENCES)}")


def lengths(vector: Tensor) -> Tensor:
    """|r| (*b) of bonds (*b, 3)."""
    x, y, z = vector.unbind(-1)
    return (x * x + y * y + z * z).sqrt()
