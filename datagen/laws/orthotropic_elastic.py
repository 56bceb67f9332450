"""Linear elasticity of orthotropic solids, by their engineering constants."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from datagen.laws.anisotropic_elastic import OrientedElastic, shear_blocks
from datagen.laws.material_axes import Nested, elastic_buffers, require_positive
from datagen.tensors import inv, matrix


class OrthotropicElastic(OrientedElastic):
    r"""Linear elastic solid with three planes of symmetry (see `OrientedElastic`): wood, plies, rolled or woven sheet.

    eps_11 = sigma_11/E1 - nu12/E1 sigma_22 - nu13/E1 sigma_33,  eps_12 = sigma_12/(2 G12), and so on, where the
    compliance is symmetric: nu21 = nu12 E2/E1. So nu12 is the contraction along 2 in tension along 1 (as in Abaqus
    and Lekhnitskii; ANSYS calls it PRXY).

    Args:
        E1: Young's modulus along material axis 1 [MPa], > 0.
        E2: along axis 2.
        E3: along axis 3.
        nu12: -eps_22/eps_11 in tension along 1.
        nu13: -eps_33/eps_11 in tension along 1.
        nu23: -eps_33/eps_22 in tension along 2.
        G12: shear modulus in the plane 12 [MPa], > 0.
        G13: in the plane 13.
        G23: in the plane 23.
        orientation: rotation (3, 3) from the material axes to those of the strain; None is the identity.
        eigenstrain: stress-free strain in material axes, a number or six Mandel components.

    Raises:
        ValueError: constants of a solid that would give energy away: a modulus <= 0, |nu_ij| >= sqrt(E_i/E_j), or
            1 - nu12 nu21 - nu23 nu32 - nu31 nu13 - 2 nu21 nu32 nu13 <= 0.

    Reference:
        S. G. Lekhnitskii, Theory of Elasticity of an Anisotropic Body, 1963, section 3; B. M. Lempriere, AIAA J. 6
        (1968) 2226, doi:10.2514/3.4974 (bounds on Poisson's ratios).
    """

    E1: Tensor
    E2: Tensor
    E3: Tensor
    nu12: Tensor
    nu13: Tensor
    nu23: Tensor
    G12: Tensor
    G13: Tensor
    G23: Tensor

    def __init__(
        self,
        E1: float,
        E2: float,
        E3: float,
        nu12: float,
        nu13: float,
        nu23: float,
        G12: float,
        G13: float,
        G23: float,
        orientation: Tensor | Nested | None = None,
        eigenstrain: Tensor | Sequence[float] | float = 0.0,
    ) -> None:
        super().__init__(orientation, eigenstrain)
        require_positive(E1=E1, E2=E2, E3=E3, G12=G12, G13=G13, G23=G23)
        check_poisson_ratios(E1, E2, E3, nu12, nu13, nu23)
        ratios = {"nu12": nu12, "nu13": nu13, "nu23": nu23}
        moduli = {"E1": E1, "E2": E2, "E3": E3, **ratios, "G12": G12, "G13": G13, "G23": G23}
        for name, value in elastic_buffers(moduli).items():
            self.register_buffer(name, value)

    def material_stiffness(self) -> Tensor:
        """See `OrientedElastic.material_stiffness`."""
        normal = normal_stiffness(self.E1, self.E2, self.E3, self.nu12, self.nu13, self.nu23)
        return shear_blocks(normal, 2 * self.G23, 2 * self.G13, 2 * self.G12)


def normal_stiffness(E1: Tensor, E2: Tensor, E3: Tensor, nu12: Tensor, nu13: Tensor, nu23: Tensor) -> Tensor:
    """Stiffness (*b, 3, 3) between normal strains and stresses, the inverse of the compliance."""
    S12, S13, S23 = -nu12 / E1, -nu13 / E1, -nu23 / E2
    scale = E1  # the determinant of a compliance in 1/MPa would underflow in single precision
    compliance = matrix([1 / E1, S12, S13, S12, 1 / E2, S23, S13, S23, 1 / E3])
    C = inv(compliance * scale[..., None, None])
    return 0.5 * (C + C.transpose(-1, -2)) * scale[..., None, None]


def check_poisson_ratios(E1: float, E2: float, E3: float, nu12: float, nu13: float, nu23: float) -> None:
    """Raise ValueError for Poisson's ratios of a stiffness that is not positive definite (Lempriere 1968)."""
    for name, nu, a, b in (("nu12", nu12, E1, E2), ("nu13", nu13, E1, E3), ("nu23", nu23, E2, E3)):
        if not abs(nu) < math.sqrt(a / b):
            raise ValueError(
                f"{name}: got {nu}, wanted |{name}| < sqrt(E{name[2]}/E{name[3]}) = {math.sqrt(a / b):.6g}, else the "
                f"stiffness is not positive definite; {name} is the contraction along {name[3]} in tension along "
                f"{name[2]}"
            )
    nu21, nu31, nu32 = nu12 * E2 / E1, nu13 * E3 / E1, nu23 * E3 / E2
    rest = 1 - nu12 * nu21 - nu23 * nu32 - nu31 * nu13 - 2 * nu21 * nu32 * nu13
    if not rest > 0:
        raise ValueError(
            f"nu12, nu13, nu23: got {nu12}, {nu13}, {nu23} with 1 - nu12 nu21 - nu23 nu32 - nu31 nu13 - "
            f"2 nu21 nu32 nu13 = {rest:.6g}, wanted > 0, else the stiffness is not positive definite"
        )
