"""`surrogate stability` on argon: limits, files, a report; and one line for whatever is wrong with the input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.stability import PATHS, critical
from surrogate.cli import main
from surrogate.compose import build, compose
from surrogate.verbs.stability import paths_named

FAST = ["stability.grid=4", "stability.refine=false", "stability.steps=10", "stability.tolerance=1e-4"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made in a folder of the test."""
    monkeypatch.chdir(tmp_path)


def complaint(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """The one line that wrong input is answered with; it must leave nothing behind."""
    assert main(["stability", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert not Path("runs").exists()
    return lines[0]


def test_the_limits_are_those_of_the_crystal_and_are_told_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", *FAST, "stability.paths=[uniax100,hydro]", "folder=run"]) == 0
    said = capsys.readouterr().out
    assert all(len(line) <= 80 for line in said.splitlines())
    argon = build(compose(["law=cauchy_born"]).law)
    assert isinstance(argon, CauchyBorn)
    paths = json.loads(Path("run/stability.json").read_text(encoding="utf-8"))["paths"]
    assert list(paths) == ["uniax100", "hydro"]
    for name, found in paths.items():
        wanted = critical(argon, name, 0.25, 10, 1e-4, 4, False)
        assert wanted.elastic is not None
        assert found["elastic"]["e"] == wanted.elastic.e
        assert f"{wanted.elastic.e:.4f}"[:5] in said
        e = found[found["first"]]["e"]
        assert e == wanted.e
        F = PATHS[name](torch.tensor([e], dtype=torch.float64))[0]
        assert torch.tensor(found[found["first"]]["F"], dtype=torch.float64).sub(F).abs().max() < 1e-14


def test_every_step_is_written_with_its_verdict_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", *FAST, "stability.paths=[hydro]", "folder=run"]) == 0
    rows = list(csv.DictReader(Path("run/stability.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(row["e"]) for row in rows] == pytest.approx([0.025 * k for k in range(11)])
    limit = json.loads(Path("run/stability.json").read_text(encoding="utf-8"))["paths"]["hydro"]["elastic"]["e"]
    for row in rows:
        stable = float(row["acoustic eigenvalue [MPa]"]) > 0
        assert stable == (float(row["e"]) < limit)
        assert (int(row["verdict"]) == 0) == (stable and float(row["frequency squared [1/ps^2]"]) > 0)
        mean = sum(float(row[f"P{k}{k} [MPa]"]) for k in "123") / 3
        assert float(row["stress along path [MPa]"]) == pytest.approx(mean, abs=1e-9)
    report = Path("run/report.html").read_text(encoding="utf-8")
    for heading in ("Limits", "Response", "What the tests look at"):
        assert f">{heading}</h2>" in report
    capsys.readouterr()


def test_a_path_of_ones_own_is_the_one_of_the_same_name() -> None:
    e = torch.linspace(0, 0.2, 5, dtype=torch.float64)
    own = paths_named([[[1, 0, 0], [0, 0, 0], [0, 0, 0]]], 0.2)["path 1"](e)
    assert torch.equal(own, PATHS["uniax100"](e))


def test_a_crystal_that_holds_to_the_end_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    squeeze = "stability.paths=[[[-1,0,0],[0,-1,0],[0,0,-1]]]"
    assert main(["stability", *FAST, squeeze, "stability.largest=0.1", "folder=run"]) == 0
    assert "none up to 0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["law=neo_hooke"], "law: got NeoHooke, wanted a CauchyBorn"),
        (["stability.paths=[uniaxial]"], "path: got 'uniaxial', wanted a function F(e) or one of uniax100"),
        (["stability.paths=[]"], "stability.paths: got []"),
        (["stability.paths=[[[1,0],[0,1]]]"], "three rows of three numbers"),
        (["stability.paths=[[[-5,0,0],[0,0,0],[0,0,0]]]"], "path 1 folds the crystal at e = 0.2, det F = -0.25"),
        (["stability.largest=-0.1"], "stability.largest: got -0.1, wanted an amplitude > 0"),
        (["stability.grid=1"], "grid: got 1, wanted a whole number of at least 2"),
        (["stability.steps=0"], "stability.steps: got 0"),
        (["stability.tolerance=0"], "stability.tolerance: got 0"),
        (["law.crystal.element=Cu"], "Cu"),
        (["potential@law.potential=embedded_atom", "law.potential.file=nowhere.eam.alloy"], "nowhere.eam.alloy"),
    ],
)
def test_wrong_input_ends_in_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in complaint(capsys, words)


def setfl(rows: int) -> str:
    """A file of tables of copper, of as many rows as said, of which the head promises 40."""
    numbers = "\n".join(f"{0.01 * k:.4f}" for k in range(rows))
    return f"a\nb\nc\n1 Cu\n40 0.1 40 0.1 3.9\n29 63.546 3.615 fcc\n{numbers}\n"


def test_a_potential_file_that_is_cut_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.eam.alloy").write_text(setfl(100), encoding="utf-8")
    line = complaint(capsys, ["potential@law.potential=embedded_atom", "law.potential.file=short.eam.alloy"])
    assert "short.eam.alloy" in line


def test_an_element_that_the_potential_file_lacks_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("whole.eam.alloy").write_text(setfl(120), encoding="utf-8")
    words = ["potential@law.potential=embedded_atom", "law.potential.file=whole.eam.alloy"]
    line = complaint(capsys, [*words, "law.potential.elements=[Al]"])
    assert "Al" in line
    assert "whole.eam.alloy" in line


def test_the_settings_name_paths_that_there_are() -> None:
    listed = OmegaConf.to_container(compose().stability.paths)
    assert listed == list(PATHS)
