"""What a CUDA device must show: the same answers as the CPU, to rounding and the solver's tolerance.

Only torch, numpy and scipy are needed, so that it runs on a bare GPU node: ``python3 -m tests.gpu``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import diamond, fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.potential import Potential
from datagen.atoms.statics import evaluate
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.supercells import supercell
from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.generalised_maxwell import GeneralisedMaxwell
from datagen.laws.hardening import ArmstrongFrederick, Voce
from datagen.laws.isotropic_damage import IsotropicDamage
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.logarithmic_j2 import LogarithmicJ2
from datagen.laws.mooney_rivlin import MooneyRivlin
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.ogden import Ogden
from datagen.laws.von_mises import VonMises
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.random_fibres import random_fibres
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import random_rotation
from surrogate.networks.energy import EnergyNetwork

IN_PLANE = PLANE_STRAIN[Measure.FINITE]
ROTATION = random_rotation(generator=torch.Generator().manual_seed(3))
BACK = ArmstrongFrederick(0.1, 10.0)


def parity(make: Law, other: Law, strain: Tensor, tolerance: float) -> float:
    """Largest difference of stress, energy and tangent between two devices over the largest entry of the batch."""
    worst = 0.0
    answers = []
    for law in (make, other):
        e = strain.to(law.device)
        step, saved = law.linearise(e, law.initial_state(len(e)), 1.0)
        answers.append([x.cpu().nan_to_num(nan=0.0) for x in (step.stress, step.psi, law.dense(saved))])
    for a, b in zip(*answers, strict=True):
        worst = max(worst, float((a - b).abs().max() / a.abs().max()))
    assert worst <= tolerance, f"{type(make).__name__}: devices differ by {worst:.1e}, wanted <= {tolerance:.0e}"
    return worst


def _strains(measure: Measure, columns: list[int], size: float, n: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    strain = measure.reference().repeat(n, 1)
    strain[:, columns] += size * torch.randn(n, len(columns), generator=generator, dtype=torch.float64)
    return strain


def textbook_laws(device: str) -> float:
    """Closed forms agree to rounding; iterated updates to their own round-off."""
    elastic = {"E": 1.0, "nu": 0.3}
    damage = {**elastic, "strength": 0.02, "fracture_energy": 1e-3, "length": 1.0, "equivalent_strain": "mazars"}
    laws: list[tuple[Callable[..., Law], dict[str, Any]]] = [
        (LinearElastic, elastic),
        (CubicElastic, {"C11": 168.0, "C12": 121.0, "C44": 75.0, "orientation": ROTATION}),
        (GeneralisedMaxwell, {**elastic, "relaxation_times": [0.5, 2.0], "shear": [0.2, 0.3]}),
        (J2Plasticity, {**elastic, "yield_stress": 5e-3, "hardening": 0.05}),
        (VonMises, {**elastic, "yield_stress": 5e-3, "hardening": Voce(0.01, 20.0), "kinematic": BACK}),
        (IsotropicDamage, damage),
        (NeoHooke, {"mu": 1.0, "lmbda": 4.0}),
        (MooneyRivlin, {"c10": 0.4, "c01": 0.1, "K": 10.0}),
        (Ogden, {"mu_p": [0.63, 0.0012, -0.01], "alpha_p": [1.3, 5.0, -2.0], "K": 10.0}),
        (LogarithmicJ2, {**elastic, "yield_stress": 5e-3, "hardening": 0.05}),
    ]
    worst = 0.0
    for kind, moduli in laws:
        law = kind(**moduli)
        strain = _strains(law.measure, list(range(law.measure.n)), 0.05)
        worst = max(worst, parity(law, kind(**moduli).to(device), strain, 1e-10 if law.n_history else 1e-12))
    return worst


def fibre_cell(device: str) -> float:
    """A finite-strain cell batch in plane strain."""
    cells = random_fibres(24, fraction=0.3, count=6, gap=0.04, seed=0)
    laws = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)]
    here, there = (
        HomogenisedCell(cells, laws, "hex8r", tolerance=1e-10, components=IN_PLANE).to(where)
        for where in ("cpu", device)
    )
    return parity(here, there, _strains(Measure.FINITE, Measure.FINITE.columns(IN_PLANE), 0.05), 1e-7)


def plastic_cell(device: str) -> float:
    """A small-strain cell of mixed laws."""

    def cell() -> HomogenisedCell:
        laws = [J2Plasticity(E=1.0, nu=0.3, yield_stress=5e-3, hardening=0.05), LinearElastic(E=10.0, nu=0.3)]
        return HomogenisedCell(centred_sphere(8, fraction=0.2), laws, tolerance=1e-10)

    return parity(cell(), cell().to(device), _strains(Measure.SMALL, list(range(6)), 0.01, n=4), 1e-6)


def network(device: str) -> float:
    """An untrained energy network, value, stress and tangent."""
    strain = _strains(Measure.FINITE, Measure.FINITE.columns(IN_PLANE), 0.05)
    here, there = (EnergyNetwork("finite", IN_PLANE).requires_grad_(False) for _ in range(2))
    return parity(here, there.to(device), strain, 1e-10)


def _argon() -> Potential:
    return LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125)


def _silicon() -> Potential:
    shape = {"a": 1.8, "lmbda": 21.0, "gamma": 1.2, "costheta0": -1 / 3, "A": 7.049556277, "B": 0.6022245584}
    return StillingerWeber(epsilon=2.1683, sigma=2.0951, p=4.0, q=0.0, **shape)


def lattices(device: str) -> float:
    """Perfect crystals, inner atoms relaxed."""
    strain = _strains(Measure.FINITE, list(range(9)), 0.03)
    worst = 0.0
    for potential, crystal in ((_argon, fcc(5.27, "Ar")), (_silicon, diamond(5.43, "Si"))):
        here, there = CauchyBorn(potential(), crystal), CauchyBorn(potential(), crystal).to(device)
        worst = max(worst, parity(here, there, strain, 1e-10))
    return worst


def atoms(device: str) -> float:
    """Neighbour lists, energy, forces and stress of disturbed cells."""
    crystal = supercell(fcc(5.27, "Ar", conventional=True), (2, 2, 2))
    generator = torch.Generator().manual_seed(0)
    F = torch.eye(3, dtype=torch.float64) + 0.05 * torch.randn(8, 3, 3, generator=generator, dtype=torch.float64)
    x = crystal.positions + 0.1 * torch.randn(8, crystal.n, 3, generator=generator, dtype=torch.float64)
    x, cell = x @ F.mT, crystal.lattice @ F.mT
    here, there = _argon(), _argon().to(device)
    species = here.species(crystal.elements)
    one = evaluate(here, x, cell, species)
    other = evaluate(there, x.to(device), cell.to(device), species.to(device))
    worst = max(float((a - b.cpu()).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True))
    assert worst <= 1e-12, f"atoms: devices differ by {worst:.1e}, wanted <= 1e-12"
    return worst


CHECKS = (textbook_laws, fibre_cell, plastic_cell, network, lattices, atoms)
