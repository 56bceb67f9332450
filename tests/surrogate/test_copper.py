"""A law learned from atoms: load paths that stay stable, the chain on argon, and the experiment `copper` itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.potential_file import find
from datagen.atoms.stability import critical
from datagen.atoms.stable_paths import stable_ramps, stable_walks
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.path import LoadPath
from datagen.spectral import exponential, logarithm
from surrogate.cli import main

FRACTION = 0.9
SEARCH = 0.15 / FRACTION / 640  # width of the bracket in which the first loss is left


@pytest.fixture(scope="module")
def argon() -> CauchyBorn:
    return CauchyBorn(LennardJones(0.0104, 3.405, 8.5125, elements="Ar", masses=39.948), fcc(5.27, "Ar"), grid=4)


@pytest.fixture(scope="module")
def coarse(argon: CauchyBorn) -> CauchyBorn:
    return argon.testing(None, refine=False)


@pytest.fixture(scope="module")
def ramps(coarse: CauchyBorn) -> LoadPath:
    return stable_ramps(coarse, n_paths=8, n_steps=3, seed=0, fraction=FRACTION)


def log_stretch(F: Tensor) -> Tensor:
    return logarithm(F - torch.eye(3, dtype=torch.float64))


def verdicts(law: CauchyBorn, strain: Tensor) -> Tensor:
    return law.testing("phonon")(strain, law.initial_state(*strain.shape[:-1]), 1.0).verdict


def test_every_state_of_a_stable_path_is_stable(coarse: CauchyBorn, ramps: LoadPath) -> None:
    assert ramps.target.shape == (8, 3, 9)
    assert int(verdicts(coarse, ramps.target).max()) == 0
    walks = stable_walks(coarse, n_paths=3, n_steps=5, seed=1)
    assert int(verdicts(coarse, walks.target).max()) == 0


def test_states_between_the_wave_vectors_of_the_grid_are_tested_where_the_law_searches_them(argon: CauchyBorn) -> None:
    path = stable_ramps(argon, n_paths=2, n_steps=2, seed=3, fraction=1.0)
    assert int(verdicts(argon, path.target).max()) == 0


def test_ramps_are_straight_and_end_at_the_fraction_of_the_first_loss(coarse: CauchyBorn, ramps: LoadPath) -> None:
    h = log_stretch(ramps.target.unflatten(-1, (3, 3)))
    end = h[:, -1].flatten(1).norm(dim=1)
    thirds = torch.arange(1, 4, dtype=torch.float64)[:, None, None] / 3
    assert (h - thirds * h[:, -1:]).abs().max() < 1e-12
    assert (end < 0.15 - 1e-9).any()
    for direction, reached in zip(h[:, -1] / end[:, None, None], end.tolist(), strict=True):
        if reached > 0.15 - 1e-9:  # ended by the amplitude: still stable there
            continue

        def ray(e: Tensor, d: Tensor = direction) -> Tensor:
            return exponential(e[:, None, None] * d) + torch.eye(3, dtype=torch.float64)

        lost = critical(coarse, ray, 0.2, steps=40, tolerance=1e-5).e
        assert FRACTION * (lost - SEARCH - 1e-5) <= reached <= FRACTION * lost


def test_directions_fill_the_sphere_of_all_six_components(ramps: LoadPath) -> None:
    h = log_stretch(ramps.target[:, -1].unflatten(-1, (3, 3)))
    six = torch.stack([h[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], -1)
    assert int(torch.linalg.matrix_rank(six)) == 6
    assert (ramps.target.unflatten(-1, (3, 3)) - ramps.target.unflatten(-1, (3, 3)).mT).abs().max() < 1e-15


def test_a_walk_is_scaled_until_its_first_state_would_lose_stability(coarse: CauchyBorn) -> None:
    walks = stable_walks(coarse, n_paths=4, n_steps=5, seed=1, fraction=1.0, amplitude=0.3)
    h = log_stretch(walks.target.unflatten(-1, (3, 3)))
    largest = h.flatten(2).norm(dim=2).amax(1)
    assert float(largest.max()) < 0.3
    beyond = (1 + 2 * 0.3 / 640 / largest)[:, None, None, None] * h
    F = exponential(beyond) + torch.eye(3, dtype=torch.float64)
    assert (verdicts(coarse, F.flatten(-2)) > 0).any(1).all()


def test_the_amplitude_ends_a_path_that_never_loses_stability(coarse: CauchyBorn) -> None:
    path = stable_ramps(coarse, n_paths=4, n_steps=1, seed=0, amplitude=0.02)
    size = log_stretch(path.target[:, 0].unflatten(-1, (3, 3))).flatten(1).norm(dim=1)
    assert size.tolist() == pytest.approx([0.02] * 4, rel=1e-9)


def test_wrong_input_of_stable_paths_is_named(coarse: CauchyBorn) -> None:
    with pytest.raises(TypeError, match="law: got NeoHooke, wanted a CauchyBorn"):
        stable_ramps(NeoHooke(mu=1.0, lmbda=1.0), 2, 2, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fraction: got 1"):
        stable_ramps(coarse, 2, 2, 0, fraction=1.1)
    with pytest.raises(ValueError, match="amplitude: got 0"):
        stable_walks(coarse, 2, 2, 0, amplitude=0)
    stretched = CauchyBorn(coarse.potential, fcc(6.4, "Ar"), reference="as_given", grid=2)
    with pytest.raises(ValueError, match="unstable as it is"):
        stable_ramps(stretched, 2, 2, 0)


TOY = [
    "potential@law.potential=lennard_jones_argon",
    "law.crystal.a=5.27",
    "law.crystal.element=Ar",
    "law.grid=2",
    "paths.train.ramps.n_paths=16",
    "paths.train.ramps.n_steps=2",
    "paths.train.small.n_paths=2",
    "paths.train.small.n_steps=2",
    "paths.test.smooth.n_paths=2",
    "paths.test.smooth.n_steps=2",
    "network.widths=[8]",
    "trainer.adam.epochs=2",
    "trainer.lbfgs.iterations=20",
    "macro.divisions=[2,1,1]",
    "macro.steps=2",
]


@pytest.mark.filterwarnings("ignore:.*balance properties of Sobol:UserWarning")
def test_the_chain_runs_on_argon_and_says_what_a_toy_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main(["demo", "experiment=copper", *TOY, f"folder={folder}"]) == 1
    said = capsys.readouterr()
    assert "recorded states that are not stable" in said.out
    assert "simulating with Cauchy-Born, 16 cells at a time" in said.out
    assert said.err.strip().splitlines()[-1].startswith("surrogate demo: missed: ")
    assert "not stable" not in said.err.strip().splitlines()[-1]
    assert all(len(line) <= 80 for line in said.out.splitlines() if str(tmp_path) not in line)
    report = (folder / "report.html").read_text(encoding="utf-8")
    for heading in ("How far to trust it", "Load paths", "Network", "Macro simulation", "Cost"):
        assert f">{heading}</h2>" in report
    for simulation in ("cauchy_born", "network"):
        assert (folder / simulation / "curve.csv").is_file()


def test_a_crystal_in_plane_strain_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "experiment=copper", *TOY[:-2], "macro=cook"]) == 2
    assert "macro: got a problem in FINITE strain, wanted three-dimensional FINITE" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*balance properties of Sobol:UserWarning")
def test_the_network_of_copper_keeps_what_was_promised_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        find("Cu_mishin1.eam.alloy")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    assert main(["demo", "experiment=copper", f"folder={tmp_path / 'run'}"]) == 0
    assert "MISSED" not in capsys.readouterr().out
