from __future__ import annotations

import csv

import pytest
import torch

from datagen.laws.law import Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from surrogate.macro.boundary import Displacement, clamped
from surrogate.macro.cook import cook
from surrogate.macro.mesh import rectangle
from surrogate.macro.problem import Problem
from surrogate.macro.solver import solve
from surrogate.macro.uniaxial import uniaxial
from surrogate.solve import load_curve, simulate


def law():
    return NeoHooke(mu=1.0, lmbda=4.0)


def test_the_load_of_a_body_under_traction_is_the_traction():
    _, load, axis = load_curve(solve(cook(load=2.0, n=2, steps=2), law()))
    assert axis == "y"
    torch.testing.assert_close(load, torch.tensor([1.0, 2.0], dtype=torch.float64), rtol=1e-9, atol=0)


def test_the_load_of_a_body_that_is_pulled_is_the_reaction_where_it_is_pulled():
    # A cube of 1 mm^2 in uniaxial tension: the load is P_11, its sign that of the pull.
    solution = solve(uniaxial(elongation=0.1, n=1, steps=1), law())
    u, load, axis = load_curve(solution)
    assert axis == "x"
    assert float(u[-1]) == pytest.approx(0.1)
    assert float(load[-1]) == pytest.approx(float(solution.stress[-1, 0, 0, 0]), rel=1e-8)
    assert float(load[-1]) > 0


def test_shear_in_the_plane_is_known_of_laws_that_know_nothing_else():
    gamma = 0.2
    sheared = Problem(
        mesh=rectangle(1.0, 1.0, 2, 2),
        element="quad4",
        measure=Measure.FINITE,
        displacements=(
            *(Displacement(side, "x", lambda X: gamma * X[1]) for side in ("left", "right", "top")),
            *(Displacement(side, "y") for side in ("left", "right", "top")),
            *clamped("bottom", 2),
        ),
        steps=1,
    )
    # Simple shear, J = 1: sigma_12 = mu gamma, sigma_11 - sigma_22 = mu gamma^2 (Bonet & Wood, section 6.4.3).
    exact = (gamma**2 + gamma**4 / 4) ** 0.5
    for material in (law(), PlaneStress(law())):
        solution = solve(sheared, material)
        shear = solution.in_plane_shear()
        assert shear.shape == (1, 4, 4)
        if material.components == Measure.FINITE.components:
            torch.testing.assert_close(shear, torch.full_like(shear, exact), rtol=1e-8, atol=0)
        assert shear.isfinite().all()


def test_a_simulation_writes_its_curve_and_fields_step_by_step(tmp_path, capsys):
    solution = simulate(cook(load=1.0, n=2, steps=3), law(), tmp_path / "new", tolerance=1e-8)
    assert solution.converged
    with (tmp_path / "new" / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["load_factor"]) for row in rows] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert float(rows[-1]["work [N mm]"]) == pytest.approx(float(solution.energy["work"][-1]))
    assert len(list((tmp_path / "new").glob("*.vtu"))) == 3
    assert "3/3 load steps" in capsys.readouterr().err


def test_a_simulation_that_stops_writes_how_far_it_came(tmp_path):
    problem = cook(load=1.0, n=2, steps=2)
    solution = simulate(problem, law(), tmp_path, show=False, max_iterations=1, max_cuts=0)
    assert not solution.converged
    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]


def test_wrong_input_shows_no_progress(tmp_path, capsys):
    with pytest.raises(ValueError, match="tolerance"):
        simulate(cook(n=2), law(), tmp_path / "new", tolerance=2.0)
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "new").exists()
