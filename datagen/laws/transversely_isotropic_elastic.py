"""Linear elasticity of fibres and of unidirectional plies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from datagen.laws.anisotropic_elastic import OrientedElastic, shear_blocks
from datagen.laws.material_axes import Nested, elastic_buffers, require_positive
from datagen.laws.orthotropic_elastic import check_poisson_ratios, normal_stiffness


class TransverselyIsotropicElastic(OrientedElastic):
    r"""Linear elastic solid, isotropic around its material axis 1, the fibre (see `OrientedElastic`).

    The orthotropic solid with E3 = E2, nu13 = nu12, G13 = G12 and G23 = E2 / (2 (1 + nu23)).

    Args:
        E1: Young's modulus along the fibre [MPa], > 0.
        E2: Young's modulus across the fibre [MPa], > 0.
        nu12: contraction across the fibre in tension along it, -eps_22/eps_11.
        nu23: contraction across the fibre in tension across it, -eps_33/eps_22.
        G12: shear modulus along the fibre [MPa], > 0.
        orientation: rotation (3, 3) from the material axes to those of the strain, its first column the fibre
            direction; None is the identity.
        eigenstrain: stress-free strain in material axes, a number or six Mandel components.

    Raises:
        ValueError: constants of a solid that would give energy away: a modulus <= 0, |nu23| >= 1 or
            1 - nu23 - 2 nu12^2 E2/E1 <= 0.

    Reference:
        S. G. Lekhnitskii, Theory of Elasticity of an Anisotropic Body, 1963, section 3; B. M. Lempriere, AIAA J. 6
        (1968) 2226, doi:10.2514/3.4974 (bounds on Poisson's ratios).
    """

    E1: Tensor
    E2: Tensor
    nu12: Tensor
    nu23: Tensor
    G12: Tensor

    def __init__(
        self,
        E1: float,
        E2: float,
        nu12: float,
        nu23: float,
        G12: float,
        orientation: Tensor | Nested | None = None,
        eigenstrain: Tensor | Sequence[float] | float = 0.0,
    ) -> None:
        super().__init__(orientation, eigenstrain)
        require_positive(E1=E1, E2=E2, G12=G12)
        check_poisson_ratios(E1, E2, E2, nu12, nu12, nu23)
        for name, value in elastic_buffers({"E1": E1, "E2": E2, "nu12": nu12, "nu23": nu23, "G12": G12}).items():
            self.register_buffer(name, value)

    def material_stiffness(self) -> Tensor:
        """See `OrientedElastic.material_stiffness`."""
        normal = normal_stiffness(self.E1, self.E2, self.E2, self.nu12, self.nu12, self.nu23)
        return shear_blocks(normal, self.E2 / (1 + self.nu23), 2 * self.G12, 2 * self.G12)
