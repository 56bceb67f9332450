"""The potentials that the contract suite asks, one for each config, and how it asks them.

A config whose `file` is `???` or not found is asked with a synthetic file where there is a module synthetic_<config>.py
beside this one, with write(folder: Path) -> Path; otherwise its tests are skipped.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from datagen.atoms.potential import Bonds, Potential
from datagen.tensors import random_rotation
from tests.datagen.atoms.oracle import potential_file

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
CHOICES = [file.stem for file in sorted((CONFIGS / "potential").glob("*.yaml"))]


class Asked:
    """A potential and neighbourhoods of three atoms to ask it about."""

    n, K = 3, 7

    def __init__(self, potential: Potential, tabulated: bool) -> None:
        self.potential = potential
        self.tolerance = 5e-7 if tabulated else 1e-9  # of differences: tables have kinks in their second derivative

    def bonds(self, *batch: int, seed: int = 0, within: bool = False) -> Bonds:
        """Bonds in random directions from 0.45 of the cutoff to the cutoff and, unless ``within``, somewhat beyond."""
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(*batch, self.n, self.K, 3, generator=generator, dtype=torch.float64)
        length = 0.45 + (0.53 if within else 0.6) * torch.rand(
            *batch, self.n, self.K, 1, generator=generator, dtype=torch.float64
        )
        vector = self.potential.cutoff * length * direction / direction.norm(dim=-1, keepdim=True)
        m = len(self.potential.elements)
        own, other = torch.arange(self.n) % m, (torch.arange(self.n * self.K) % m).reshape(self.n, self.K)
        return Bonds(vector, own, other)

    def direction(self, bonds: Bonds, count: int, seed: int = 1) -> Tensor:
        """Random changes (count, *b, n, K, 3) of bonds."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, *bonds.vector.shape, generator=generator, dtype=torch.float64)

    def energy(self, bonds: Bonds, vector: Tensor) -> Tensor:
        """Energies (*c, *b, n) of bonds put at other vectors (*c, *b, n, K, 3)."""
        return self.potential(bonds._replace(vector=vector)).energy

    def rotation(self) -> Tensor:
        """One rotation (3, 3)."""
        return random_rotation(generator=torch.Generator().manual_seed(3))


@cache
def asked(choice: str, folder: Path) -> Asked:
    """Asks the potential of a config, a synthetic file of which goes into a folder; skips where it has no file."""
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        config = compose(overrides=[f"+potential={choice}"]).potential
    if "file" in config:
        name = None if OmegaConf.is_missing(config, "file") else config.file
        found = (potential_file(name) if name else None) or _synthetic(choice, folder)
        if found is None:
            pytest.skip(f"potential={choice} has no file {name or ''}")
        config.file = str(found)
    return Asked(instantiate(config), "file" in config)


def _synthetic(choice: str, folder: Path) -> Path | None:
    module = f"tests.datagen.atoms.synthetic_{choice}"
    return importlib.import_module(module).write(folder) if importlib.util.find_spec(module) else None


@pytest.fixture(params=CHOICES)
def probe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """One that asks every potential that has a config, in turn."""
    return asked(request.param, tmp_path_factory.getbasetemp())


@pytest.fixture
def close():
    """Assertion that two answers agree to ``tolerance`` times the largest number in either, and are finite."""

    def check(got: Tensor, wanted: Tensor, tolerance: float) -> None:
        assert got.shape == wanted.shape
        assert bool(got.isfinite().all() and wanted.isfinite().all())
        scale = max(float(got.abs().max()), float(wanted.abs().max()))
        difference = float((got - wanted).abs().max())
        assert difference <= tolerance * scale, f"differ by {difference:.2e} of {scale:.2e}"

    return check
