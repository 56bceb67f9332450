from __future__ import annotations

import csv
import importlib.metadata
import json
import re

import h5py
import numpy as np
import pytest
import torch

import surrogate.verbs.generate
import surrogate.verbs.solve
from datagen.laws.neo_hooke import NeoHooke
from datagen.store import Store
from surrogate.cli import main
from surrogate.compose import compose
from surrogate.law import save
from surrogate.manual import manual, verbs
from surrogate.networks.energy import EnergyNetwork
from surrogate.runs import Run

FEW = ["paths.train.ramps.n_paths=8", "paths.train.ramps.n_steps=3", "paths.test.smooth.n_paths=4"]
BARE = ["~path@paths.train.ramps", "~path@paths.test.smooth"]
OWN = [*BARE, "+paths.train.own._target_=datagen.paths.path.LoadPath.along"]
FOLDS = [*OWN, "+paths.train.own.measure=finite", "+paths.train.own.strain.11=[[1.1],[-0.5]]"]
# A shear stress beyond what perfectly plastic steel bears, 250 / sqrt(3) MPa.
STEEL = [*OWN, "+paths.train.own.measure=small", "law=j2_plasticity", "law.hardening=0"]
ONE_FAILS = [*STEEL, "+paths.train.own.stress.12=[[50.0],[900.0]]"]
ALL_FAIL = [*STEEL, "+paths.train.own.stress.12=[[800.0],[900.0]]"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Runs are made in a folder of the test."""
    monkeypatch.chdir(tmp_path)


def complaint(capsys, words, code=2):
    """The one line that a failing command line leaves on standard error, progress aside."""
    assert main(words) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not re.match(r"\w+: \d+/\d+ ", line)]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


def test_help_is_a_manual_of_80_columns(capsys):
    for words in (["--help"], [], *([verb, "--help"] for verb in verbs())):
        assert main(words) == 0
        page = capsys.readouterr().out
        assert "SYNOPSIS" in page
        assert "EXAMPLES" in page
        assert "hydra" not in page.lower()
        assert max(map(len, page.splitlines())) <= 80


def test_help_of_a_verb_lists_the_options_of_its_groups_and_the_meaning_of_settings(capsys):
    main(["generate", "--help"])
    page = capsys.readouterr().out
    assert re.search(r"neo_hooke\s+a soft elastomer", page)
    assert re.search(r"path@paths\.train\.ramps=", page)
    assert re.search(r"shard_size=64\s+paths in one file", page)


@pytest.mark.parametrize("verb", verbs())
def test_a_manual_has_three_examples_or_so_of_its_verb(verb):
    page = manual(verb)
    assert len(page.summary) < 80
    assert len(page.examples) >= 2
    assert all(command.startswith(f"surrogate {verb}") for _, command in page.examples)


def test_version_is_that_of_the_distribution(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"surrogate {importlib.metadata.version('micromacro')}\n"


def test_the_resolved_configuration_is_shown_on_request(capsys):
    assert main(["generate", "law.mu=2.5", "--config"]) == 0
    assert "mu: 2.5" in capsys.readouterr().out


def test_info_names_versions_and_device_and_writes_nothing(capsys, tmp_path):
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    assert re.search(rf"torch\s+{re.escape(importlib.metadata.version('torch'))}", told)
    assert "device" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["slove"], "surrogate: verb: got 'slove', wanted one of .*; did you mean solve?"),
        (["generate", "netwrok=energy"], "surrogate generate: netwrok: no such key; did you mean network?"),
        (["generate", "law.mu=-1"], "surrogate generate: mu: got -1, wanted a shear modulus > 0"),
        (["generate", "law=linear_elastic", "law.nu=0.5"], r"nu: got 0\.5, wanted a Poisson's ratio in \(-1, 0\.5\)"),
        (
            ["solve", "law=fibre_cell", "law.laws=[{_target_: datagen.laws.neo_hooke.NeoHooke, mu: 1.0, lmbda: 1.0}]"],
            "phase index 1 has no law",
        ),
        (["generate", "law=linear_elastic"], "SMALL.*FINITE|FINITE.*SMALL"),
        (["solve", "law=linear_elastic"], "laws: LinearElastic .*SMALL.* wanted FINITE"),
        (["evaluate", "checkpoint=nowhere", "store=nowhere"], "nowhere"),
        (["train"], "store: got null, wanted the folder of a dataset"),
        (["train", "store=nowhere"], "dataset: got nowhere, wanted a folder with manifest.json"),
        (["generate", "device=tpu"], "device: got 'tpu'"),
        (["generate", "threads=0"], "threads: got 0, wanted an integer >= 1"),
        (["generate", "executor.retries=-1"], "retries: got -1"),
        (["generate", "shard_size=0"], "shard_size: got 0"),
        (["generate", "paths=3"], "paths: got 3"),
        (["solve", "macro.n=0"], "nx: got 0, wanted at least one element"),
        (["solve", "solver.tolerance=3"], "tolerance: got 3"),
        (["generate", *FOLDS], r"paths.train.own: path 1 folds the cell at step 1, det F = -0.5; wanted det F > 0"),
        (["generate", *ALL_FAIL], "2 paths of which none has an answer.*NOT_CONVERGED: The solver did not converge"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_nothing(capsys, tmp_path, words, said):
    assert re.search(said, complaint(capsys, words))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_law_is_named(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert main(["generate", *FEW, "folder=data"]) == 0
    capsys.readouterr()
    for folder in ("empty", "data"):
        said = complaint(capsys, ["evaluate", f"checkpoint={folder}", "store=data/test"])
        assert (
            said == f"surrogate evaluate: {folder}: has no config.json, wanted a folder written by surrogate.law.save"
        )
        assert complaint(capsys, ["solve", f"checkpoint={folder}"]).startswith(f"surrogate solve: {folder}: has no")


def test_a_law_of_another_measure_than_the_data_is_refused(capsys, tmp_path):
    assert main(["generate", *FEW, "folder=data"]) == 0
    capsys.readouterr()
    said = complaint(capsys, ["evaluate", "law=linear_elastic", "store=data/test"])
    assert re.search("LinearElastic takes the small strain.*deformation gradient", said)
    said = complaint(capsys, ["train", "network.measure=small", "store=data/train"])
    assert re.search("EnergyNetwork takes the small strain.*deformation gradient", said)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_path_without_an_answer_is_counted_and_reported(capsys, tmp_path):
    assert main(["generate", *ONE_FAILS, "folder=data"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"train\s+path\s+2\s+1\s+1\s+0", told)
    assert re.search(r"NOT_CONVERGED\s+1\s+The solver did not converge", told)
    assert Store(tmp_path / "data" / "train").n_failed == 1
    assert "NOT_CONVERGED" in (tmp_path / "data" / "report.html").read_text()


def test_a_run_of_another_verb_or_other_files_are_not_written_over(capsys, tmp_path):
    assert main(["generate", *FEW, "folder=data"]) == 0
    capsys.readouterr()
    assert "which is of a run of generate" in complaint(capsys, ["solve", "folder=data"])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    assert "which holds other files" in complaint(capsys, ["solve", "folder=photos"])
    assert "which is a file" in complaint(capsys, ["solve", "folder=photos/cat.jpg"])


def test_wrong_input_that_shows_late_leaves_a_folder_in_which_the_run_can_go_on(tmp_path):
    run = Run("demo", compose(["folder=data"]))
    run.open()
    (tmp_path / "data" / "train").mkdir()
    run.withdraw()
    again = Run("demo", compose(["folder=data"]))
    again.open()
    again.close()


def test_generate_goes_on_where_it_was_and_refuses_another_recipe(capsys, tmp_path):
    words = ["generate", *FEW, "shard_size=4", "folder=data"]
    assert main(words) == 0
    first, config = Store(tmp_path / "data" / "train").sha256, (tmp_path / "data" / "config.yaml").read_text()
    shards = sorted((tmp_path / "data" / "train").glob("*.h5"))
    written = [shard.stat().st_mtime_ns for shard in shards]
    assert main(words) == 0
    assert Store(tmp_path / "data" / "train").sha256 == first
    assert [shard.stat().st_mtime_ns for shard in shards] == written
    capsys.readouterr()
    assert "config.law.mu = 1.0, this run has 3" in complaint(capsys, [*words, "law.mu=3"])
    assert (tmp_path / "data" / "config.yaml").read_text() == config
    assert Store(tmp_path / "data" / "train").sha256 == first


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(surrogate.verbs.generate, "generate", interrupted)
    said = complaint(capsys, ["generate", "law.mu=2", "folder=data"], code=130)
    assert said.endswith("finished shards are kept in data; go on with: surrogate generate law.mu=2 folder=data")


def test_a_fault_of_the_program_is_one_line_and_a_traceback_in_the_log(capsys, monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        return [][0]

    monkeypatch.setattr(surrogate.verbs.generate, "generate", broken)
    said = complaint(capsys, ["generate", "folder=data"], code=1)
    assert said == "surrogate generate: IndexError: list index out of range (traceback in data/log.txt)"
    log = (tmp_path / "data" / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log
    assert "return [][0]" in log


def test_a_type_error_that_nobody_raised_is_not_taken_for_wrong_input(capsys, monkeypatch):
    monkeypatch.setattr(surrogate.verbs.solve, "simulate", lambda *args, **kwargs: torch.zeros(2) @ torch.zeros(3))
    assert "traceback in" in complaint(capsys, ["solve", "folder=run"], code=1)
    monkeypatch.setattr(surrogate.verbs.solve, "simulate", lambda *args, **kwargs: len(3))
    assert "traceback in" in complaint(capsys, ["solve", "folder=other"], code=1)


def test_a_body_that_does_not_reach_its_load_is_said_so(capsys, tmp_path):
    words = ["solve", "macro=uniaxial", "solver.max_iterations=1", "solver.max_cuts=0", "folder=run"]
    assert "Stopped in load step 1" in complaint(capsys, words, code=1)
    assert (tmp_path / "run" / "report.html").is_file()


def test_solve_writes_the_curve_the_fields_and_a_report(capsys, tmp_path):
    assert main(["solve", "macro.n=2", "macro.steps=2", "folder=run"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"\n\s+2\s+1\s+[\d.]+\s+1\s", told)
    run = tmp_path / "run"
    names = {"config.yaml", "log.txt", "curve.csv", "report.html", "solution.pvd"}
    assert names <= {path.name for path in run.iterdir()}
    with (run / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["load_y [N]"]) == pytest.approx(1.0, rel=1e-9)
    assert float(rows[-1]["displacement_y [mm]"]) > 0
    assert (run / "config.yaml").read_text().startswith("# surrogate solve macro.n=2")


def test_a_run_gets_a_folder_of_its_own_by_default(tmp_path):
    for _ in range(2):
        assert main(["solve", "macro=uniaxial", "macro.steps=1"]) == 0
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(re.fullmatch(r"\d{8}-\d{6}-solve(-2)?", folder.name) for folder in folders)


def test_one_setting_puts_a_trained_law_in_the_place_of_the_cell(tmp_path):
    network = EnergyNetwork("finite", ("11", "12", "21", "22"), widths=(4,))
    F = torch.eye(3, dtype=torch.float64) + 0.1 * torch.randn(50, 3, 3, dtype=torch.float64)
    F[:, :2, 2], F[:, 2, :2], F[:, 2, 2] = 0.0, 0.0, 1.0
    strain = F.flatten(-2)
    law = NeoHooke(mu=1.0, lmbda=4.0)
    network.calibrate(strain, law(strain, law.initial_state(50), 1.0).stress)
    save(network, tmp_path / "law", "# Untrained")
    small = ["macro.n=2", "macro.steps=1", "macro.load=0.01"]
    assert main(["solve", *small, "law=fibre_cell", "folder=cell"]) == 0
    assert main(["solve", *small, "law=fibre_cell", "checkpoint=law", "folder=network"]) == 0
    reports = [(tmp_path / run / "report.html").read_text() for run in ("cell", "network")]
    assert "answered by HomogenisedCell" in reports[0]
    assert "answered by EnergyNetwork" in reports[1]


def test_a_dataset_becomes_a_law_that_is_judged_on_paths_it_never_saw(capsys, tmp_path):
    assert main(["generate", *FEW, "folder=data"]) == 0
    short = ["trainer.adam.epochs=2", "trainer.lbfgs.iterations=10", "network.widths=[4]"]
    assert main(["train", "store=data/train", *short, "folder=law"]) == 0
    assert {"model.safetensors", "config.json", "card.md", "report.html"} <= {
        p.name for p in (tmp_path / "law").iterdir()
    }
    assert json.loads((tmp_path / "law" / "config.json").read_text())["components"] == ["11", "12", "21", "22"]
    assert main(["evaluate", "checkpoint=law", "store=data/test", "folder=test"]) == 0
    found = json.loads((tmp_path / "test" / "errors.json").read_text())
    assert found["classes"]["gaussian_process"]["paths"] == 4
    assert np.isfinite(found["classes"]["gaussian_process"]["stress"]["median"])
    capsys.readouterr()
    assert "holds a trained law already" in complaint(capsys, ["train", "store=data/train", *short, "folder=law"])


def test_evaluation_over_several_classes_shows_each(tmp_path):
    more = ["+path@paths.test.walks=random_walk", "paths.test.walks.n_paths=4", "paths.test.walks.n_steps=3"]
    assert main(["generate", *FEW, *more, "paths.test.smooth.n_steps=3", "folder=data"]) == 0
    assert main(["evaluate", "law=neo_hooke", "law.mu=1.1", "store=data/test", "folder=test"]) == 0
    found = json.loads((tmp_path / "test" / "errors.json").read_text())["classes"]
    assert set(found) == {"gaussian_process", "random_walk", "all"}
    assert found["all"]["paths"] == found["gaussian_process"]["paths"] + found["random_walk"]["paths"]
    assert "Paths of class random_walk" in (tmp_path / "test" / "report.html").read_text()


def test_a_cell_with_several_microstructures_takes_them_in_turn(tmp_path):
    words = ["law=fibre_cell", "microstructure@law.microstructure=random_fibres", "law.microstructure.grid=6"]
    words += ["law.microstructure.count=1", "law.microstructure.n_samples=2", "law.tolerance=1e-6"]
    words += ["paths.train.ramps.n_paths=3", "paths.train.ramps.n_steps=1", "~paths.test", "folder=data"]
    assert main(["generate", *words]) == 0
    assert Store(tmp_path / "data" / "train").arrays(["parameters"])["parameters"].tolist() == [[0.0], [1.0], [0.0]]
    with h5py.File(tmp_path / "data" / "cells.h5") as file:
        assert file["phase"].shape == (2, 6, 6, 1)
        assert {"volume_fractions", "two_point", "centres"} <= file["descriptors"].keys()
