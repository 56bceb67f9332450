"""The laws that the contract suite asks, one for each config, and how it asks them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from datagen.laws.law import Law, Measure
from datagen.tensors import random_rotation, to_mandel

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


LAWS = [
    f"{group}={file.stem}"
    for group in ("law", "network")  # a network is a law: untrained, it promises as much
    for file in sorted((CONFIGS / group).glob("*.yaml"))
]


@cache
def configured_law(choice: str) -> Law:
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        law = instantiate(compose(overrides=[f"+{choice}"])[choice.partition("=")[0]])
    return law.requires_grad_(False)


class Probe:
    """Draws strains that a law was made for, and the states and parameters that go with them."""

    dt = 0.7

    def __init__(self, law: Law) -> None:
        self.law = law
        self.amplitude = 0.1 if law.measure is Measure.FINITE else 4e-3
        self.columns = law.measure.columns(law.components)
        self.in_plane = all("3" not in name for name in law.components)

    def strain(self, *batch: int, seed: int = 0) -> Tensor:
        """Unsymmetric random strains (*batch, n) in the driven components."""
        return self.law.reference_strain() + self._random(*batch, seed=seed)

    def coalescent(self) -> Tensor:
        """Strains (k, n): none, two equal stretches, two and three that differ by 1e-9, in frames of no symmetry."""
        a = self.amplitude
        stretches = [[0, 0, 0], [a, a, -a], [a, a + 1e-9, -a], [a, a, a + 1e-9], [-a, a, a - 1e-9]]
        U = torch.diag_embed(torch.tensor(stretches, dtype=torch.float64))
        Q, R = self.rotations(2, seed=5)
        if self.law.measure is Measure.SMALL:
            full = to_mandel(Q @ U @ Q.T)
        else:
            full = (R @ (torch.eye(3, dtype=torch.float64) + Q @ U @ Q.T)).flatten(-2)
            full[0] = self.law.reference_strain()
        return self._restricted(full)

    def path(self, n_steps: int, n_paths: int, seed: int = 0) -> Tensor:
        """Smooth strain paths (n_steps + 1, n_paths, n) that turn while they go out; the first entry is not virgin."""
        straight, across = self._random(2, n_paths, seed=seed)
        t = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)[:, None, None]
        return self.law.reference_strain() + 0.7 * ((1 + t) * straight + t**2 * across) / 1.5

    def reversals(self, n_steps: int, n_paths: int, seed: int = 0) -> Tensor:
        """Jagged strain paths (n_steps, n_paths, n)."""
        return self.strain(n_steps, n_paths, seed=seed)

    def rotations(self, *batch: int, seed: int = 0) -> Tensor:
        """Rotations (*batch, 3, 3) that keep the driven components among themselves."""
        generator = torch.Generator().manual_seed(seed)
        if not self.in_plane:
            return random_rotation(*batch, generator=generator)
        angle = 2 * math.pi * torch.rand(*batch, generator=generator, dtype=torch.float64)
        c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))

    def parameters(self, *batch: int) -> Tensor | None:
        """Parameters (*batch, n_parameters): the first sample; None where the law has none."""
        if set(self.law.parameter_names) - {"sample"}:
            pytest.fail(f"the contract suite cannot draw the parameters {self.law.parameter_names}")
        names = self.law.parameter_names
        return torch.zeros(*batch, len(names), dtype=torch.float64) if names else None

    def state(self, *batch: int, seed: int = 0) -> Tensor:
        """States (*batch, n_state) that have seen one step."""
        strain = self.strain(*batch, seed=1000 + seed)
        return self.law(strain, self.law.initial_state(*batch), self.dt, self.parameters(*batch)).state

    def ask(self, strain: Tensor, state: Tensor):
        """Step at the strains (*b, n)."""
        return self.law(strain, state, self.dt, self.parameters(*strain.shape[:-1]))

    def tangent(self, strain: Tensor, state: Tensor) -> Tensor:
        """Tangent (*b, k, k) of the driven components."""
        return self.driven(self.law.tangent(strain, state, self.dt, self.parameters(*strain.shape[:-1])))

    def driven(self, tangent: Tensor) -> Tensor:
        """The block (*b, k, k) of the driven components."""
        return tangent[..., self.columns, :][..., self.columns]

    def follow(self, path: Tensor, state: Tensor, dt: float | None = None) -> list:
        """Steps along a path (n_steps, *b, n) from a state, in time steps of ``dt``; default that of the probe."""
        steps, dt = [], self.dt if dt is None else dt
        for strain in path:
            steps.append(self.law(strain, state, dt, self.parameters(*strain.shape[:-1])))
            state = steps[-1].state
        return steps

    def derivative(self, quantity, strain: Tensor, step: float) -> Tensor:
        """Derivative (*b, ..., k) by the driven strain: central differences of fourth order, step over the strains."""
        h = step * self.amplitude
        units = torch.eye(self.law.measure.n, dtype=torch.float64)[self.columns]
        offsets = h * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
        moves = units.reshape(-1, 1, *[1] * (strain.dim() - 1), strain.shape[-1]) * offsets.reshape(
            1, 4, *[1] * strain.dim()
        )
        value = quantity(strain + moves)
        return ((value[:, 0] - value[:, 3] + 8 * (value[:, 2] - value[:, 1])) / (12 * h)).movedim(0, -1)

    def _random(self, *batch: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        change = torch.zeros(*batch, self.law.measure.n, dtype=torch.float64)
        random = torch.rand(*batch, len(self.columns), generator=generator, dtype=torch.float64)
        change[..., self.columns] = self.amplitude * (2 * random - 1)
        return change

    def _restricted(self, strain: Tensor) -> Tensor:
        restricted = self.law.reference_strain().expand_as(strain).clone()
        restricted[..., self.columns] = strain[..., self.columns]
        return restricted


@pytest.fixture(params=LAWS)
def law(request: pytest.FixtureRequest) -> Law:
    """Every law that has a config, in turn."""
    return configured_law(request.param)


@pytest.fixture
def probe(law: Law) -> Probe:
    """The one who asks the law."""
    return Probe(law)


@pytest.fixture
def close():
    """Assertion that two answers agree to ``tolerance`` times the largest number in either, nan where nan."""

    def check(got: Tensor, wanted: Tensor, tolerance: float) -> None:
        assert got.shape == wanted.shape
        assert torch.equal(got.isnan(), wanted.isnan())
        scale = max(got.nan_to_num().abs().max(), wanted.nan_to_num().abs().max()) if got.numel() else 0.0
        difference = (got - wanted).nan_to_num().abs()
        assert bool((difference <= tolerance * scale).all()), f"differ by {difference.max():.2e} of {scale:.2e}"

    return check
