"""The files for ParaView, read back."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import meshio
import numpy as np
import pytest

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from surrogate.macro.cook import cook
from surrogate.macro.solver import solve
from surrogate.macro.uniaxial import uniaxial
from surrogate.macro.vtk import write_vtk

RUBBER = NeoHooke(mu=1.0, lmbda=10.0)


def test_every_load_step_has_a_file_and_the_collection_its_time(tmp_path: Path) -> None:
    solution = solve(replace(cook(load=1.0, n=2, steps=2), dt=(0.5, 2.0)), RUBBER)
    entries = ET.parse(write_vtk(solution, tmp_path / "new", "cook")).getroot().findall("Collection/DataSet")
    assert [float(e.get("timestep", "nan")) for e in entries] == [0.5, 2.5]
    for t, entry in enumerate(entries):
        mesh = meshio.read(tmp_path / "new" / entry.get("file", ""))
        u = solution.nodal(solution.displacements)[t].numpy()
        np.testing.assert_array_equal(mesh.point_data["displacement"][:, :2], u)
        np.testing.assert_array_equal(mesh.point_data["displacement"][:, 2], 0.0)
        P = solution.cell_mean(solution.stress)[t].numpy()
        np.testing.assert_allclose(mesh.cell_data["first_piola_stress"][0], P, rtol=1e-14)


def test_hexahedra_have_the_right_hand_that_vtk_wants(tmp_path: Path) -> None:
    solution = solve(uniaxial(n=2, elongation=0.1), RUBBER)
    write_vtk(solution, tmp_path)
    mesh = meshio.read(tmp_path / "solution_0001.vtu")
    X = mesh.points[mesh.cells_dict["hexahedron"]]
    bottom, top = X[:, :4], X[:, 4:]
    normal = np.cross(bottom[:, 1] - bottom[:, 0], bottom[:, 3] - bottom[:, 0])
    assert (normal * (top - bottom).mean(1)).sum(1) == pytest.approx(1 / 8)
    np.testing.assert_allclose(top - bottom, (top - bottom)[:, :1].repeat(4, 1), atol=1e-14)  # corner above corner
    np.testing.assert_allclose(bottom[:, 0] + bottom[:, 2], bottom[:, 1] + bottom[:, 3], atol=1e-14)


def test_quad9_has_its_edge_nodes_where_vtk_wants_them(tmp_path: Path) -> None:
    solution = solve(cook(load=1.0, n=2, element="quad9", steps=1), RUBBER)
    write_vtk(solution, tmp_path)
    mesh = meshio.read(tmp_path / "solution_0001.vtu")
    X = mesh.points[mesh.cells_dict["quad9"]]
    for edge in range(4):
        np.testing.assert_allclose(X[:, 4 + edge], 0.5 * (X[:, edge] + X[:, (edge + 1) % 4]), atol=1e-12)
    np.testing.assert_allclose(X[:, 8], X[:, :4].mean(1), atol=1e-12)


def test_uniaxial_stress_is_its_own_von_mises_equivalent(tmp_path: Path) -> None:
    bar = uniaxial(elongation=5e-3, measure=Measure.SMALL)
    solution = solve(bar, J2Plasticity(E=210e3, nu=0.3, yield_stress=250.0, hardening=2100.0))
    write_vtk(solution, tmp_path)
    data = {k: v[0] for k, v in meshio.read(tmp_path / "solution_0001.vtu").cell_data.items()}
    np.testing.assert_allclose(data["von_mises"], data["cauchy_stress"][:, 0], rtol=1e-9)
    assert data["strain"][0, 0] == pytest.approx(5e-3)
    assert data["dissipation"][0] > 0
    assert data["verdict"].tolist() == [0]


def test_true_stress_of_a_stretched_sheet_is_force_over_current_area() -> None:
    sheet = uniaxial(elongation=0.5, n=1, element="quad4")
    solution = solve(sheet, PlaneStress(RUBBER))
    sigma = solution.cauchy()[-1, 0, 0]
    F = solution.strain[-1, 0, 0].reshape(3, 3)
    area = F[1, 1] * solution.extras["strain_33"][-1, 0, 0]
    force = solution.nodal(solution.reactions)[-1, solution.assembly.nodes_at("right"), 0].sum()
    assert float(sigma[0, 0]) == pytest.approx(float(force / area), rel=1e-9)
    assert float(solution.von_mises()[-1, 0, 0]) == pytest.approx(float(sigma[0, 0]), rel=1e-9)
