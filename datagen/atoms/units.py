"""Units of this room: angstrom, eV, ps, K; converted only where a lattice becomes a law.

Reference:
    CODATA 2018, E. Tiesinga et al., Rev. Mod. Phys. 93 (2021) 025010, doi:10.1103/RevModPhys.93.025010.
"""

MPA = 160217.6634
"""MPa in one eV/angstrom^3, exact."""

BOLTZMANN = 8.617333262e-5
"""Boltzmann's constant [eV/K]."""

DALTON = 1.66053906660e-27 / 1.602176634e-19 * 1e4
"""Mass of one dalton in eV ps^2/angstrom^2: m v^2/2 is then in eV with v in angstrom/ps."""

JOULE_PER_SQUARE_METRE = 16.02176634
"""J/m^2 in one eV/angstrom^2, exact."""
