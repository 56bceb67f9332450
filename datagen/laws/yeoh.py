"""The Yeoh solid."""

from __future__ import annotations

from torch import Tensor

from datagen.laws.isochoric import Isochoric


class Yeoh(Isochoric):
    r"""Nearly incompressible Yeoh solid, isotropic and hyperelastic, energy split into shape and volume.

    psi(F) = c10 (I_1 - 3) + c20 (I_1 - 3)^2 + c30 (I_1 - 3)^3 + K/2 (J - 1)^2,  I_1 = J^(-2/3) tr C_green

    A filled rubber: c20 < 0 softens it at moderate strain, c30 > 0 stiffens it at large. The initial shear modulus is
    2 c10; the constants are those of Abaqus, whose D1 is 2 / K and whose D2 and D3 are 0. With c20 = c30 = 0 it is
    the isochoric neo-Hookean solid, as `MooneyRivlin` with c01 = 0 is. Differentiable with respect to its moduli.

    Args:
        c10: modulus of the first power [MPa], > 0.
        c20: modulus of the second power [MPa].
        c30: modulus of the third power [MPa].
        K: bulk modulus [MPa], > 0.

    Raises:
        ValueError: a modulus outside its range.

    Reference:
        O. H. Yeoh, Rubber Chem. Technol. 66 (1993) 754, doi:10.5254/1.3538343.
    """

    c10: Tensor
    c20: Tensor
    c30: Tensor

    def __init__(self, c10: float, c20: float, c30: float, K: float) -> None:
        if not c10 > 0:
            raise ValueError(f"c10: got {c10}, wanted > 0, half the initial shear modulus [MPa]")
        super().__init__(K, c10=c10, c20=c20, c30=c30)

    def _energy(self, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c10, c20, c30 = self.c10, self.c20, self.c30
        return i * (c10 + i * (c20 + i * c30)), c10 + i * (2 * c20 + 3 * i * c30), 2 * c20 + 6 * i * c30
