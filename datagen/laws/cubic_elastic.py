"""Linear elasticity of cubic crystals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from datagen.laws.anisotropic_elastic import OrientedElastic, shear_blocks
from datagen.laws.material_axes import Nested, elastic_buffers, require_positive
from datagen.tensors import matrix


class CubicElastic(OrientedElastic):
    r"""Linear elastic cubic crystal (see `OrientedElastic`), its material axes the cube axes.

    sigma_11 = C11 eps_11 + C12 (eps_22 + eps_33),  sigma_23 = 2 C44 eps_23, and so on around the axes.

    Args:
        C11: stiffness along a cube axis [MPa].
        C12: stiffness between two cube axes [MPa].
        C44: shear modulus in a cube plane [MPa].
        orientation: rotation (3, 3) from the cube axes to those of the strain; None is the identity.
        eigenstrain: stress-free strain in cube axes, a number or six Mandel components.

    Raises:
        ValueError: moduli of an unstable crystal (Born): C11 - C12, C11 + 2 C12 and C44 must be > 0.

    Reference:
        J. F. Nye, Physical Properties of Crystals, 1985, chapter VIII; M. Born, K. Huang, Dynamical Theory of Crystal
        Lattices, 1954, section 11.
    """

    C11: Tensor
    C12: Tensor
    C44: Tensor

    def __init__(
        self,
        C11: float,
        C12: float,
        C44: float,
        orientation: Tensor | Nested | None = None,
        eigenstrain: Tensor | Sequence[float] | float = 0.0,
    ) -> None:
        super().__init__(orientation, eigenstrain)
        require_positive(C44=C44, **{"C11 - C12": C11 - C12, "C11 + 2 C12": C11 + 2 * C12})
        for name, value in elastic_buffers({"C11": C11, "C12": C12, "C44": C44}).items():
            self.register_buffer(name, value)

    def material_stiffness(self) -> Tensor:
        """See `OrientedElastic.material_stiffness`."""
        a, b, c = self.C11, self.C12, 2 * self.C44
        return shear_blocks(matrix([a, b, b, b, a, b, b, b, a]), c, c, c)
