"""The Lennard-Jones crystal against its exact lattice sums, extrapolated in the cutoff."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.units import MPA


def reduced(cutoff: float) -> Tensor:
    """C11, C12, C44, stress [epsilon/sigma^3] and energy of an atom [epsilon] of fcc at the exact lattice constant."""
    potential = LennardJones(1.0, 1.0, cutoff, truncation="smooth", inner=0.7 * cutoff)
    law = CauchyBorn(potential, fcc(1.54173738, "Ar"), reference="as_given")
    F, state = law.reference_strain(), law.initial_state()
    C = law.tangent(F, state, 1.0).reshape(3, 3, 3, 3) / MPA
    stress = law(F, state, 1.0).stress[0] / MPA
    return torch.stack([C[0, 0, 0, 0], C[0, 0, 1, 1], C[0, 1, 0, 1], stress, law.energy_0])


def test_the_lennard_jones_crystal_has_the_energy_and_elastic_constants_of_its_lattice_sums():
    # From the sums of r^-12 and r^-6 over all sites of fcc, after J. E. Jones, A. E. Ingham, Proc. R. Soc. A 107
    # (1925) 636, doi:10.1098/rspa.1925.0047: a0 = 1.54173738 sigma, E = -8.61020015 epsilon, C11 = 105.182074,
    # C12 = C44 = 60.186674 epsilon/sigma^3. What lies beyond a cutoff is in proportion to its inverse cube.
    near, far = reduced(14.0), reduced(20.0)
    found = (20.0**3 * far - 14.0**3 * near) / (20.0**3 - 14.0**3)
    exact = torch.tensor([105.182074, 60.186674, 60.186674, 0.0, -8.61020015], dtype=torch.float64)
    scale = torch.tensor([105.0, 60.0, 60.0, 60.0, 8.6], dtype=torch.float64)
    assert float(((found - exact) / scale).abs().max()) < 2e-7
