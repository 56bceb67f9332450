"""Every network config in configs/network, small, untrained but calibrated, for each measure, plane and symmetry."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.tensors import from_mandel, random_rotation, to_mandel

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs" / "network").glob("*.yaml"))
SYMMETRIES = ("none", "isotropic", "cubic", "orthotropic")
CASES = [
    (file.stem, measure, plane, symmetry, relaxed)
    for file in CONFIGS
    for measure in ("finite", "small")
    for plane in (True, False)
    for symmetry in SYMMETRIES
    for relaxed in ((False, True) if file.stem == "convex" else (False,))
    if measure == "finite" or not plane or symmetry == "orthotropic"  # the plane at small strain is simple
]


def case_name(case: tuple) -> str:
    name, measure, plane, symmetry, relaxed = case
    return "-".join([name, measure, "plane" if plane else "3d", symmetry, *(["relaxed"] if relaxed else [])])


def random_strain(law: Law, *batch: int, amplitude: float = 0.15, seed: int = 0) -> Tensor:
    """Unsymmetric random strain in the driven components."""
    generator = torch.Generator().manual_seed(seed)
    increment = amplitude * torch.randn(*batch, law.measure.n, dtype=torch.float64, generator=generator)
    driven = torch.zeros(law.measure.n, dtype=torch.bool)
    driven[law.measure.columns(law.components)] = True
    return law.reference_strain() + torch.where(driven, increment.clamp(-0.4, 0.4), 0.0)


def make(name: str, **arguments) -> Law:
    config = yaml.safe_load((CONFIGS[0].parent / f"{name}.yaml").read_text())
    module, _, cls = config.pop("_target_").rpartition(".")
    network = getattr(importlib.import_module(module), cls)(**{**config, "widths": (6, 5), **arguments})
    strain = random_strain(network, 40, seed=7)
    stress = 30.0 * torch.randn(strain.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    network.calibrate(strain, stress)
    return network.eval()


@pytest.fixture(params=CASES, ids=case_name, scope="session")
def network(request) -> Law:
    name, measure, plane, symmetry, relaxed = request.param
    components = PLANE_STRAIN[Measure(measure)] if plane else None
    more = {"polyconvex": False} if relaxed else {}
    return make(name, measure=measure, components=components, symmetry=symmetry, **more)  # no test may change it


@pytest.fixture(params=[file.stem for file in CONFIGS])
def plane_network(request) -> Law:
    """One network of each config for plane strain at finite deformation."""
    return make(request.param, measure="finite", components=PLANE_STRAIN[Measure.FINITE], symmetry="none")


class Bench:
    """What the tests ask of a network."""

    make = staticmethod(make)
    strain = staticmethod(random_strain)
    symmetries = SYMMETRIES

    @staticmethod
    def ask(law: Law, strain: Tensor):
        """The step from the initial state."""
        return law(strain, law.initial_state(*strain.shape[:-1]), 1.0)

    @staticmethod
    def coalescent(law: Law) -> Tensor:
        """The reference state, two equal stretches, two that differ by 1e-9, and a shear."""
        strain = law.reference_strain().repeat(4, 1)
        first, second = law.measure.columns(("11", "22"))
        strain[1:3, first] += 0.1
        strain[1:3, second] += torch.tensor([0.1, 0.1 + 1e-9], dtype=torch.float64)
        strain[3, law.measure.columns(("12",))[0]] += 0.2
        return strain

    @staticmethod
    def rotations(law: Law, n: int, seed: int = 0) -> Tensor:
        """Random rotations (n, 3, 3), about z for a law of the plane."""
        if set(law.components) != set(PLANE_STRAIN[law.measure]):
            return random_rotation(n, generator=torch.Generator().manual_seed(seed))
        Q = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
        angle = 2 * math.pi * torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        Q[:, 0, 0] = Q[:, 1, 1] = angle.cos()
        Q[:, 1, 0], Q[:, 0, 1] = angle.sin(), -angle.sin()
        return Q

    @staticmethod
    def in_rotated_material(law: Law, strain: Tensor, Q: Tensor) -> Tensor:
        """The strain of the same deformation of body and observer turned by Q: Q^T F Q, or Q^T eps Q."""
        if law.measure is Measure.FINITE:
            return (Q.T @ strain.unflatten(-1, (3, 3)) @ Q).flatten(-2)
        return to_mandel(Q.transpose(-1, -2) @ from_mandel(strain) @ Q)


@pytest.fixture
def bench() -> type[Bench]:
    return Bench
