from __future__ import annotations

import csv
import json
import math
import pickle
import re
from functools import partial

import numpy as np
import pytest

import surrogate.rve_size
from datagen.executor.serial import Serial
from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.verdict import Verdict
from datagen.laws.void import Void
from datagen.microstructures.centred_fibre import centred_fibre
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_spheres import random_spheres
from datagen.microstructures.voronoi import two_phase_voronoi, voronoi_polycrystal
from datagen.rve.ensemble import Generated, Windows
from datagen.rve.size import KUBC, PERIODIC, SUBC
from surrogate.cli import main
from surrogate.compose import compose
from surrogate.rve_size import rve_size
from surrogate.verbs.rve_size import ensemble_of

K1, K2 = 1.0, 10.0
PHASES = [LinearElastic(E=2 * k, nu=0.0) for k in (K1, K2)]  # shear moduli
ANTIPLANE = {"discretisation": "hex8r", "components": ["13", "23"], "tolerance": 1e-10, "progress": False}
THREE = [KUBC, PERIODIC, SUBC]
EXACT = 0.5 * math.log(K1 * K2)


def grains(swapped=False, seed=0):
    return Generated(partial(two_phase_voronoi, grid=[9, 9], cells=9, swapped=swapped), seed=seed)


def study(edges=(5, 9), samples=6, **settings):
    return rve_size(grains(), PHASES, list(edges), samples, **{**ANTIPLANE, **settings})


class Elsewhere(Serial):
    """Sends everything as to another process."""

    def run(self, work, tasks):
        work = pickle.loads(pickle.dumps(work))
        for index, task in enumerate(tasks):
            yield index, pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(task)))))


def test_the_exact_result_of_the_plane_lies_within_the_intervals():
    """Phases in equal shares: the mean of 1/2 ln det K is ln sqrt(k1 k2) at every size (Dykhne), and by duality the
    means of KUBC and SUBC lie as far above it as below."""
    found = study([5, 9, 15], [160, 120, 60], boundaries=THREE, precision=0.05).findings["log_shear"]
    for e in found.of(PERIODIC):
        assert e.mean.low < EXACT < e.mean.high
        assert e.mean.half < 0.2
    assert all(gap.relative.low > 0 for gap in found.gaps)
    for upper, lower in zip(found.of(KUBC), found.of(SUBC), strict=True):
        assert abs((upper.mean.value + lower.mean.value) / 2 - EXACT) < max(upper.mean.half, lower.mean.half)


def test_with_its_swapped_twins_an_ensemble_has_no_bias_at_all():
    twins = [rve_size(grains(swapped), PHASES, [5, 9], 8, THREE, **ANTIPLANE) for swapped in (False, True)]
    own, other = (twin.values("log_shear") for twin in twins)
    for edge in (5, 9):
        assert own[PERIODIC][edge] + other[PERIODIC][edge] == pytest.approx(np.full(8, 2 * EXACT), abs=1e-9)
        assert own[KUBC][edge] + other[SUBC][edge] == pytest.approx(np.full(8, 2 * EXACT), abs=1e-9)


def test_the_stiffness_is_ordered_by_the_boundary_condition_in_every_cell():
    order = study(boundaries=[SUBC, KUBC, PERIODIC]).order
    assert set(order) == {f"{SUBC} <= {PERIODIC}", f"{PERIODIC} <= {KUBC}"}
    assert min(order.values()) > -1e-8


def test_the_same_cells_are_solved_under_every_boundary_condition():
    """A uniform cell answers alike, a cell of two phases does not: pairs, not strangers."""
    found = study(samples=12, boundaries=THREE)
    fraction = found.values("fraction")["any"][5]
    shear = found.values("shear")
    same = np.isclose(shear[KUBC][5], shear[SUBC][5], rtol=1e-8)
    assert np.array_equal(same, (fraction == 0) | (fraction == 1))
    assert 0 < same.sum() < 12


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = study(folder=tmp_path / "whole", boundaries=[PERIODIC, SUBC])
    monkeypatch.setattr(surrogate.rve_size, "_VOXELS", 200)
    solve, solved = surrogate.rve_size.apparent, []

    def stops(cell):
        if len(solved) == 3:
            raise KeyboardInterrupt
        solved.append(cell.microstructure.n_samples)
        return solve(cell)

    monkeypatch.setattr(surrogate.rve_size, "apparent", stops)
    with pytest.raises(KeyboardInterrupt):
        study(folder=tmp_path / "cut", boundaries=[PERIODIC, SUBC])
    kept = len(json.loads((tmp_path / "cut" / "samples.json").read_text())["rows"])
    assert kept == 12  # the smaller cells, all of them
    monkeypatch.setattr(
        surrogate.rve_size, "apparent", lambda cell: solved.append(cell.microstructure.n_samples) or solve(cell)
    )
    again = study(folder=tmp_path / "cut", boundaries=[PERIODIC, SUBC])
    assert sum(solved) == 12 + 2 + 12  # the two that were under way are done again
    for boundary in (PERIODIC, SUBC):
        for edge in (5, 9):
            np.testing.assert_allclose(again.stiffness[boundary][edge], whole.stiffness[boundary][edge], rtol=1e-8)


def test_a_study_can_be_enlarged_and_keeps_what_is_solved(tmp_path, monkeypatch):
    first = study(folder=tmp_path)
    solve, solved = surrogate.rve_size.apparent, []
    monkeypatch.setattr(
        surrogate.rve_size, "apparent", lambda cell: solved.append(cell.microstructure.n_samples) or solve(cell)
    )
    more = study([5, 7, 9], [6, 2, 8], folder=tmp_path, boundaries=[PERIODIC, KUBC], moduli=["C1313"])
    assert sum(solved) == 6 + 2 * 2 + 2 * 2 + 6
    assert np.array_equal(more.stiffness[PERIODIC][5], first.stiffness[PERIODIC][5])
    assert np.array_equal(more.stiffness[PERIODIC][9][:6], first.stiffness[PERIODIC][9])


def test_a_folder_of_other_cells_is_refused(tmp_path):
    study(folder=tmp_path)
    before = (tmp_path / "samples.json").read_text()
    for what, call in {
        "laws": lambda: rve_size(grains(), PHASES[::-1], [5], 4, folder=tmp_path, **ANTIPLANE),
        "cells": lambda: rve_size(grains(seed=1), PHASES, [5], 4, folder=tmp_path, **ANTIPLANE),
        "discretisation": lambda: study(discretisation="hex8", folder=tmp_path),
    }.items():
        with pytest.raises(ValueError, match=f"was begun with other {what}; wanted the same, or another folder"):
            call()
    assert (tmp_path / "samples.json").read_text() == before
    (tmp_path / "samples.json").write_text("[]")
    with pytest.raises(ValueError, match="cannot be read as samples"):
        study(folder=tmp_path)


def test_it_does_not_matter_where_the_cells_are_solved(tmp_path):
    here, there = study(), study(executor=Elsewhere(), folder=tmp_path)
    assert here.findings == there.findings


def test_results_are_written_for_others_to_read(tmp_path):
    found = study(folder=tmp_path, boundaries=[PERIODIC, SUBC])
    with (tmp_path / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 6
    assert [float(r["log_shear [-]"]) for r in rows if r["boundary"] == SUBC and r["edge [voxels]"] == "9"] == (
        found.values("log_shear")[SUBC][9].tolist()
    )
    kept = json.loads((tmp_path / "size.json").read_text())
    assert kept["components"] == ["23", "13"]
    assert kept["findings"]["shear"]["verdict"] == found.findings["shear"].verdict
    assert kept["findings"]["shear"]["gaps"] == []


def test_a_cell_without_an_answer_is_counted_and_does_not_stop_the_others():
    """Under uniform traction a void may not meet the boundary; some of these do."""
    laws = [LinearElastic(E=1.0, nu=0.3), Void()]
    cells = Generated(partial(two_phase_voronoi, grid=[6, 6], cells=9, probability=0.15))
    found = rve_size(cells, laws, [6], 12, [PERIODIC, SUBC], components=["11", "22", "12"], progress=False)
    codes = found.verdict[SUBC][6]
    estimate = found.findings["bulk"].of(SUBC)[0]
    assert set(codes.tolist()) == {Verdict.GOOD, Verdict.UNSUPPORTED}
    assert (estimate.samples, estimate.failed) == ((codes == 0).sum(), (codes > 0).sum())
    assert found.failed == estimate.failed


def test_grains_with_axes_and_cells_in_three_dimensions_are_cells_too():
    grain = Generated(partial(voronoi_polycrystal, grid=4, grains=8))
    copper = [CubicElastic(C11=168.4, C12=121.4, C44=75.4)]
    found = rve_size(grain, copper, [2, 4], 3, tolerance=1e-6, moduli=["bulk", "E11"], progress=False)
    bulk = found.findings["bulk"]
    assert bulk.of(PERIODIC)[-1].mean.value == pytest.approx((168.4 + 2 * 121.4) / 3, rel=1e-6)  # whatever the grains
    assert bulk.verdict.startswith("representative")
    assert 66.7 < found.findings["E11"].of(PERIODIC)[-1].mean.value < 191.1  # of copper along <100> and <111>
    assert found.findings["E11"].scalings[0].integral_range.value > 0
    assert found.dimension == 3
    balls = Generated(partial(random_spheres, grid=4, count=1, fraction=0.2))
    assert rve_size(balls, PHASES, [4], 2, progress=False).components == ("11", "22", "33", "23", "13", "12")


def test_windows_of_an_image_are_studied_like_cells():
    image = two_phase_voronoi((27, 27), cells=80, seed=5)
    found = rve_size(Windows(image), PHASES, [5, 9], [25, 9], [KUBC, SUBC], **ANTIPLANE)
    assert found.findings["shear"].judged == KUBC
    assert found.fractions[9].mean(0) == pytest.approx(image.volume_fractions[0].numpy())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: study([]), r"edges: got \[\], wanted a list"),
        (lambda: study([5, 5]), r"edges: got \[5, 5\], wanted each once"),
        (lambda: study([5.5]), r"edges: got 5\.5, wanted whole numbers"),
        (lambda: study([5], 2.5), r"samples: got 2\.5, wanted at least 2"),
        (lambda: study([5, 9], [4]), "samples: got 1 numbers for 2 edges"),
        (lambda: study(boundaries=["free"]), "boundaries: got 'free', wanted names among periodic, linear_disp"),
        (lambda: study(boundaries=[]), r"boundaries: got \[\]"),
        (lambda: study(moduli=["K"]), "moduli: got K, wanted names among shear, log_shear"),
        (lambda: study(precision=2), "precision: got 2"),
        (lambda: study(boundaries=[KUBC], discretisation="fourier"), "fourier is periodic by nature"),
        (lambda: rve_size(grains(), PHASES[:1], [5], 4, **ANTIPLANE), "phase index 1 has no law"),
    ],
)
def test_wrong_input_is_named_before_anything_is_solved(call, said, monkeypatch):
    monkeypatch.setattr(surrogate.rve_size, "_solve", None)
    with pytest.raises(ValueError, match=said):
        call()


def test_a_microstructure_that_is_always_the_same_has_no_scatter_to_study():
    with pytest.raises(ValueError, match="centred_fibre, which has no seed"):
        Generated(partial(centred_fibre, grid=8, fraction=0.3))
    with pytest.raises(ValueError, match="wanted at most the 4 that lie apart"):
        rve_size(Windows(Microstructure(np.eye(10, dtype=int))), PHASES, [5], 5, **ANTIPLANE)


FEW = [
    "executor=serial",
    "size.edges=[5,9]",
    "size.samples=4",
    "law.microstructure.grid=[9,9]",
    "law.microstructure.cells=9",
]
ANTI = ["rve-size", "experiment=voronoi_antiplane", *FEW]


def test_the_command_tells_judges_and_keeps(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*ANTI, "folder=run"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"KUBC\s+5\s+0\.5556\s+4\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+\d+\n", told)
    assert "Apparent log_shear: logarithm of the geometric mean shear modulus" in told
    assert "How the variance falls with volume" in told
    assert re.search(r"log_shear: statistical volume element at 5 % under periodic boundaries", told)
    assert max(map(len, told.splitlines())) <= 80
    names = {"config.yaml", "log.txt", "report.html", "samples.json", "samples.csv", "size.json"}
    assert names == {path.name for path in (tmp_path / "run").iterdir()}
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<figure") == 4
    assert "How large must a cell be?" in page
    written = (tmp_path / "run" / "samples.json").stat().st_mtime_ns
    assert main([*ANTI, "folder=run"]) == 0
    assert (tmp_path / "run" / "samples.json").stat().st_mtime_ns == written


def test_the_cell_of_an_experiment_is_studied_as_it_is():
    config = compose(["experiment=fibre_elastomer", "seed=2"])
    cells = ensemble_of(config)
    assert isinstance(cells, Generated)
    assert cells.seed == config.law.microstructure.seed + 2
    fibres = cells.one(16, 0).descriptors["centres"]
    assert fibres.shape == (1, 2, 2)  # 8 in a cell of 32 voxels


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rve-size"], "law: got NeoHooke, wanted a cell with a microstructure and laws"),
        (["rve-size", "checkpoint=nowhere"], "law: got nowhere, wanted a cell"),
        (["rve-size", "law=fibre_cell"], "microstructure: got centred_fibre, which has no seed"),
        ([*ANTI, "size.samples=1"], "samples: got 1, wanted at least 2"),
        ([*ANTI, "size.edges=9"], "edges: got 9, wanted a list"),
        ([*ANTI, "size.precision=0"], "precision: got 0"),
        ([*ANTI, "size.boundaries=[free]"], "boundaries: got 'free'"),
        ([*ANTI, "size.moduli=[E11]"], "moduli: got E11, wanted names among shear, log_shear, C2323"),
        ([*ANTI, "size.windows=true"], "samples: got 4 windows of 5 voxels, wanted at most the 1"),
        ([*ANTI, "size.sample=4"], "size.sample: no such key; did you mean samples?"),
        ([*ANTI, "law.microstructure.probability=2"], "probability: got 2"),
        ([*ANTI, "size.samples=many"], "samples: got 'many', wanted a number or a list"),
        ([*ANTI, "size.moduli=shear"], "moduli: got 'shear', wanted a list"),
        (
            ["rve-size", "law=antiplane_cell", "law.microstructure=null"],
            "law: got HomogenisedCell, wanted a cell with a microstructure",
        ),
        ([*ANTI, "microstructure@law.microstructure=voronoi_polycrystal"], "got cells for voronoi_polycrystal"),
        (
            ["rve-size", "law=fibre_cell", "microstructure@law.microstructure=voxel_file", "size.windows=true"],
            "law.microstructure.path: got no value, wanted one",
        ),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert lines[0].startswith("surrogate rve-size: ")
    assert not list(tmp_path.iterdir())
