r"""How yielding metals harden: isotropic terms, which add up, kinematic terms, which add up, and viscosity.

Each is a small object that checks its numbers; `datagen.laws.von_mises.VonMises` keeps them as its own buffers, so that
phases which differ only in numbers stay one law. A new isotropic term is one more subclass of `IsotropicHardening`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Numbers = Mapping[str, Tensor]


class IsotropicHardening:
    r"""Growth R(alpha) of the yield stress with the equivalent plastic strain alpha: R(0) = 0, R' >= 0 and falling.

    The formulas are static and take their numbers as tensors (*b,) by name, so that a law may hold one a point.
    """

    numbers: dict[str, float]

    @staticmethod
    def stress(alpha: Tensor, numbers: Numbers) -> Tensor:
        """R(alpha), (*b,) [MPa]."""
        raise NotImplementedError

    @staticmethod
    def slope(alpha: Tensor, numbers: Numbers) -> Tensor:
        """R'(alpha), (*b,) [MPa]."""
        raise NotImplementedError

    @staticmethod
    def energy(alpha: Tensor, numbers: Numbers) -> Tensor:
        """Stored energy, the integral of R from 0 to alpha, (*b,) [MPa]."""
        raise NotImplementedError


class Linear(IsotropicHardening):
    r"""Linear hardening: R = modulus alpha.

    Args:
        modulus: hardening modulus [MPa], >= 0.

    Raises:
        ValueError: a modulus below 0.
    """

    def __init__(self, modulus: float) -> None:
        if not modulus >= 0:
            raise ValueError(f"modulus: got {modulus}, wanted a modulus >= 0 [MPa]; softening needs a length scale")
        self.numbers = {"modulus": modulus}

    @staticmethod
    def stress(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.stress`."""
        return numbers["modulus"] * alpha

    @staticmethod
    def slope(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.slope`."""
        return numbers["modulus"] + torch.zeros_like(alpha)

    @staticmethod
    def energy(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.energy`."""
        return 0.5 * numbers["modulus"] * alpha**2


class Voce(IsotropicHardening):
    r"""Saturating hardening: R = saturation (1 - exp(-rate alpha)).

    Args:
        saturation: what R tends to [MPa], >= 0.
        rate: how fast [-], > 0; half of it is reached at alpha = ln 2 / rate.

    Raises:
        ValueError: a number outside its range.

    Reference:
        E. Voce, Journal of the Institute of Metals 74 (1948) 537.
    """

    def __init__(self, saturation: float, rate: float) -> None:
        if not saturation >= 0:
            raise ValueError(
                f"saturation: got {saturation}, wanted a stress >= 0 [MPa]; softening needs a length scale"
            )
        if not rate > 0:
            raise ValueError(f"rate: got {rate}, wanted a number > 0 [-]")
        self.numbers = {"saturation": saturation, "rate": rate}

    @staticmethod
    def stress(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.stress`."""
        return -numbers["saturation"] * torch.expm1(-numbers["rate"] * alpha)

    @staticmethod
    def slope(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.slope`."""
        return numbers["saturation"] * numbers["rate"] * torch.exp(-numbers["rate"] * alpha)

    @staticmethod
    def energy(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.energy`."""
        return numbers["saturation"] * (alpha + torch.expm1(-numbers["rate"] * alpha) / numbers["rate"])


class PowerLaw(IsotropicHardening):
    r"""Power-law hardening with a finite slope at yield: R = strength ((offset + alpha)^exponent - offset^exponent).

    Swift's law sigma_y = strength (offset + alpha)^exponent is this with yield_stress = strength offset^exponent;
    Ludwik's law sigma_y = yield_stress + strength alpha^exponent is its limit offset -> 0, whose slope at yield is
    infinite.

    Args:
        strength: factor of the power [MPa], >= 0.
        exponent: hardening exponent [-], in (0, 1].
        offset: plastic strain at which the power starts [-], > 0.

    Raises:
        ValueError: a number outside its range.

    Reference:
        H. W. Swift, Journal of the Mechanics and Physics of Solids 1 (1952) 1, doi:10.1016/0022-5096(52)90002-1.
    """

    def __init__(self, strength: float, exponent: float, offset: float = 1e-3) -> None:
        if not strength >= 0:
            raise ValueError(f"strength: got {strength}, wanted a stress >= 0 [MPa]; softening needs a length scale")
        if not 0 < exponent <= 1:
            raise ValueError(f"exponent: got {exponent}, wanted a hardening exponent in (0, 1]")
        if not offset > 0:
            raise ValueError(f"offset: got {offset}, wanted a plastic strain > 0: at 0 the slope at yield is infinite")
        self.numbers = {"strength": strength, "exponent": exponent, "offset": offset}

    @staticmethod
    def stress(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.stress`."""
        offset, n = numbers["offset"], numbers["exponent"]
        return numbers["strength"] * ((offset + alpha) ** n - offset**n)

    @staticmethod
    def slope(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.slope`."""
        offset, n = numbers["offset"], numbers["exponent"]
        return numbers["strength"] * n * (offset + alpha) ** (n - 1)

    @staticmethod
    def energy(alpha: Tensor, numbers: Numbers) -> Tensor:
        """See `IsotropicHardening.energy`."""
        offset, n = numbers["offset"], numbers["exponent"]
        power = ((offset + alpha) ** (n + 1) - offset ** (n + 1)) / (n + 1)
        return numbers["strength"] * (power - offset**n * alpha)


class ArmstrongFrederick:
    r"""Kinematic hardening with dynamic recovery, for the back stress X.

    X = 2/3 modulus a,  d a = d eps_p - recovery a d alpha,  stored energy 1/3 modulus a : a

    In uniaxial loading the axial back stress 3/2 X_11 tends to modulus / recovery. Without recovery it is Prager's
    rule. Several of them add up to Chaboche's model.

    Args:
        modulus: kinematic hardening modulus C [MPa], > 0.
        recovery: gamma [-], >= 0.

    Raises:
        ValueError: a number outside its range.

    Reference:
        P. J. Armstrong, C. O. Frederick, Materials at High Temperatures 24 (2007) 1 (reprint of the report of 1966),
        doi:10.1179/096034007X207589; J. Lemaitre, J.-L. Chaboche, Mechanics of Solid Materials, 1990, section 5.4.
    """

    def __init__(self, modulus: float, recovery: float = 0.0) -> None:
        if not modulus > 0:
            raise ValueError(f"modulus: got {modulus}, wanted a kinematic hardening modulus > 0 [MPa]")
        if not recovery >= 0:
            raise ValueError(f"recovery: got {recovery}, wanted a number >= 0 [-]; 0 is Prager's rule")
        self.numbers = {"modulus": modulus, "recovery": recovery}


class Perzyna:
    r"""Viscous flow: d alpha / d t = <f / drag>^exponent / time, with f the stress beyond yield.

    Abaqus's overstress power law, rate = D (q / sigma_y - 1)^n, is this with time = 1 / D and drag = sigma_y where the
    yield stress does not harden. As ``time`` tends to 0, or steps become long against it, the flow becomes
    rate-independent; as steps become short, elastic.

    Args:
        time: relaxation time [s], > 0.
        exponent: rate exponent [-], >= 1; 1 is linear viscosity, 1 / exponent the rate sensitivity.
        drag: stress beyond yield at which the plastic strain rate is 1 / time [MPa], > 0.

    Raises:
        ValueError: a number outside its range.

    Reference:
        P. Perzyna, Advances in Applied Mechanics 9 (1966) 243, doi:10.1016/S0065-2156(08)70009-7.
    """

    def __init__(self, time: float, exponent: float, drag: float) -> None:
        if not time > 0:
            raise ValueError(f"time: got {time}, wanted a relaxation time > 0 [s]; leave viscosity out for none")
        if not exponent >= 1:
            raise ValueError(f"exponent: got {exponent}, wanted a rate exponent >= 1")
        if not drag > 0:
            raise ValueError(f"drag: got {drag}, wanted a stress > 0 [MPa]")
        self.numbers = {"time": time, "exponent": exponent, "drag": drag}
