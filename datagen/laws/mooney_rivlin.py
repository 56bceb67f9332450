"""The Mooney-Rivlin solid."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.laws.isochoric import Isochoric


class MooneyRivlin(Isochoric):
    r"""Nearly incompressible Mooney-Rivlin solid, isotropic and hyperelastic, energy split into shape and volume.

    psi(F) = c10 (I_1 - 3) + c01 (I_2 - 3) + K/2 (J - 1)^2,
    I_1 = J^(-2/3) tr C_green,  I_2 = 1/2 J^(-4/3) (tr^2 C_green - tr C_green^2)

    The initial shear modulus is 2 (c10 + c01); the constants are those of Abaqus, whose D1 is 2 / K. With c01 = 0 it
    is the isochoric neo-Hookean solid (`NeoHooke` couples volume and shape; the two agree where J = 1, pressure apart).
    Differentiable with respect to its moduli.

    Args:
        c10: modulus of the first invariant [MPa].
        c01: modulus of the second invariant [MPa], c10 + c01 > 0.
        K: bulk modulus [MPa], > 0.

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        M. Mooney, J. Appl. Phys. 11 (1940) 582, doi:10.1063/1.1712836;
        G. A. Holzapfel, Nonlinear Solid Mechanics, 2000, section 6.5.
    """

    c10: Tensor
    c01: Tensor

    def __init__(self, c10: float, c01: float, K: float) -> None:
        if not c10 + c01 > 0:
            raise ValueError(f"c10: got c10 + c01 = {c10 + c01:g}, wanted > 0, half the initial shear modulus [MPa]")
        super().__init__(K, c10=c10, c01=c01)

    def _energy(self, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.c10 * i, self.c10 + torch.zeros_like(i), torch.zeros_like(i)
