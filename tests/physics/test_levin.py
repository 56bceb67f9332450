"""Exact relations for composites of two phases, which a discrete cell keeps to the tolerance of its solver."""

from __future__ import annotations

import pytest
import torch

from datagen.laws.anisotropic_elastic import AnisotropicElastic
from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.verdict import Verdict
from datagen.laws.void import Void
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.voronoi import voronoi_polycrystal
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import random_rotation


def bulk(law):
    return float(law.lmbda + 2 * law.mu / 3)


def random_cell(*grid: int, n_phases: int = 2, seed: int = 0) -> Microstructure:
    return Microstructure(torch.randint(n_phases, grid, generator=torch.Generator().manual_seed(seed)))


def thermal_and_elastic(cell):
    """Stress (6,) at zero strain and stiffness (6, 6)."""
    clamped = torch.zeros(6, dtype=torch.float64)
    step = cell(clamped, cell.initial_state(), 1.0)
    assert step.verdict.item() == 0
    return step, cell.tangent(clamped, cell.initial_state(), 1.0)


@pytest.mark.parametrize("discretisation", ["hex8", "hex8r", "fourier"])
def test_thermal_expansion_of_two_phases_follows_from_their_bulk_moduli(discretisation):
    # V. M. Levin, Mech. Solids 2 (1967) 58; B. W. Rosen, Z. Hashin, Int. J. Eng. Sci. 8 (1970) 157,
    # doi:10.1016/0020-7225(70)90066-2: alpha* = alpha_1 + (alpha_2 - alpha_1) (1/K* - 1/K_1)/(1/K_2 - 1/K_1).
    # It rests on a uniform field, which every discretisation holds, so it is exact on any grid; a cubic cell here.
    matrix = LinearElastic(E=3.0, nu=0.4, eigenstrain=6e-3)
    sphere = LinearElastic(E=70.0, nu=0.2, eigenstrain=0.5e-3)
    cell = HomogenisedCell(
        centred_sphere([7, 7, 7], fraction=0.3), [matrix, sphere], discretisation=discretisation, tolerance=1e-12
    )
    step, C = thermal_and_elastic(cell)
    K = float(C[:3, :3].sum()) / 9
    share = (1 / K - 1 / bulk(matrix)) / (1 / bulk(sphere) - 1 / bulk(matrix))
    expansion = torch.linalg.solve(C, -step.stress)
    wanted = 6e-3 + (0.5e-3 - 6e-3) * share
    assert expansion[:3].tolist() == pytest.approx([wanted] * 3, rel=1e-9)
    assert float(expansion[3:].abs().max()) < 1e-9 * wanted


@pytest.mark.parametrize("nu", [0.2, 0.45])
def test_levins_relation_holds_for_any_arrangement_and_any_eigenstrains_of_two_isotropic_phases(nu):
    # G. J. Dvorak, Proc. R. Soc. Lond. A 437 (1992) 311, doi:10.1098/rspa.1992.0063 (uniform fields): with E such that
    # C_1 (E - m_1) = C_2 (E - m_2) = s the composite has the uniform strain E and stress s, so sigma(0) = s - C* E.
    m_1 = 1e-3 * torch.tensor([3.0, -1.0, 2.0, 0.5, -2.5, 4.0], dtype=torch.float64)
    m_2 = 1e-3 * torch.tensor([-1.0, 0.0, 1.5, 1.0, 2.0, -0.3], dtype=torch.float64)
    laws = [LinearElastic(E=10.0, nu=0.3, eigenstrain=m_1), LinearElastic(E=90.0, nu=nu, eigenstrain=m_2)]
    cell = HomogenisedCell(random_cell(4, 5, 3), laws, tolerance=1e-12)
    step, C = thermal_and_elastic(cell)
    zero = torch.zeros(6, dtype=torch.float64)
    C_1, C_2 = (law.tangent(zero, law.initial_state(), 1.0) for law in laws)
    E = torch.linalg.solve(C_1 - C_2, C_1 @ m_1 - C_2 @ m_2)
    wanted = C_1 @ (E - m_1) - C @ E
    assert float((step.stress - wanted).abs().max()) < 1e-9 * float(wanted.abs().max())
    uniform = cell(E, cell.initial_state(), 1.0)
    assert uniform.stress.tolist() == pytest.approx((C_1 @ (E - m_1)).tolist(), abs=1e-9 * float(wanted.abs().max()))
    # Energy: d psi = stress . d strain for the linear cell, from the uniform state, whose energy is known, to zero.
    fraction = float((cell.microstructure.phase == 1).double().mean())
    s = C_1 @ (E - m_1)
    at_E = 0.5 * float(s @ ((1 - fraction) * (E - m_1) + fraction * (E - m_2)))
    assert step.psi.item() == pytest.approx(at_E - 0.5 * float((s + step.stress) @ E), rel=1e-9)


def test_a_polycrystal_of_one_eigenstrain_expands_by_it_whatever_its_grains():
    # A uniform isotropic eigenstrain is compatible: every grain takes it, free of stress.
    C = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    law = AnisotropicElastic(C @ C.T + torch.eye(6, dtype=torch.float64), eigenstrain=2e-3)
    grains = Microstructure(
        random_cell(4, 4, 4, n_phases=5).phase[0],
        orientations=random_rotation(5, generator=torch.Generator().manual_seed(4)),
    )
    cell = HomogenisedCell(grains, [law], tolerance=1e-12)
    step, stiffness = thermal_and_elastic(cell)
    expansion = torch.linalg.solve(stiffness, -step.stress)
    assert expansion.tolist() == pytest.approx([2e-3] * 3 + [0.0] * 3, abs=1e-11)


@pytest.mark.parametrize("discretisation", ["hex8r", "fourier"])
@pytest.mark.parametrize("grid", [(5, 5, 5), (3, 7, 5)])
def test_phases_of_one_shear_modulus_have_hills_bulk_modulus_in_any_arrangement(discretisation, grid):
    # R. Hill, J. Mech. Phys. Solids 11 (1963) 357, doi:10.1016/0022-5096(63)90036-X, and 12 (1964) 199: with mu the
    # same everywhere 1/(K* + 4/3 mu) = <1/(K + 4/3 mu)>, and the composite is isotropic. The exact field is the
    # gradient of a gradient: hex8r and fourier on odd grids, with one point a voxel, keep it.
    mu, bulk_moduli = 7.0, [1.0, 10.0, 300.0]
    laws = [LinearElastic(E=9 * K * mu / (3 * K + mu), nu=(3 * K - 2 * mu) / (6 * K + 2 * mu)) for K in bulk_moduli]
    microstructure = random_cell(*grid, n_phases=3)
    cell = HomogenisedCell(microstructure, laws, discretisation=discretisation, tolerance=1e-12)
    _, C = thermal_and_elastic(cell)
    K_voxel = torch.tensor(bulk_moduli, dtype=torch.float64)[microstructure.phase]
    K = 1 / float((1 / (K_voxel + 4 * mu / 3)).mean()) - 4 * mu / 3
    wanted = torch.diag(torch.full((6,), 2 * mu, dtype=torch.float64))
    wanted[:3, :3] += K - 2 * mu / 3
    assert float((C - wanted).abs().max()) < 1e-9 * K


def test_hills_formula_in_the_plane():
    # R. Hill, J. Mech. Phys. Solids 12 (1964) 199, doi:10.1016/0022-5096(64)90019-5: cylinders of one mu in plane
    # strain, 1/(k* + mu) = <1/(k + mu)> with k = lmbda + mu.
    mu, moduli = 3.0, [1.0, 40.0]
    laws = [LinearElastic(E=mu * (3 * x + 2 * mu) / (x + mu), nu=x / (2 * (x + mu))) for x in moduli]
    microstructure = random_cell(7, 9)
    cell = HomogenisedCell(
        microstructure, laws, discretisation="fourier", tolerance=1e-12, components=("11", "22", "12")
    )
    _, C = thermal_and_elastic(cell)
    k_voxel = torch.tensor(moduli, dtype=torch.float64)[microstructure.phase] + mu
    k = 1 / float((1 / (k_voxel + mu)).mean()) - mu
    assert C[:2, :2].flatten().tolist() == pytest.approx([k + mu, k - mu, k - mu, k + mu], rel=1e-9)
    assert float(C[5, 5]) == pytest.approx(2 * mu, rel=1e-9)


def test_a_void_phase_and_an_elastic_phase_without_stiffness_are_one():
    solid = LinearElastic(E=10.0, nu=0.3, eigenstrain=1e-3)
    sphere = centred_sphere([6, 6, 6], fraction=0.2)
    answers = [
        thermal_and_elastic(HomogenisedCell(sphere, [solid, hole], tolerance=1e-10))
        for hole in (Void(), LinearElastic(E=0.0, nu=0.3))
    ]
    for step, C in answers:
        assert float((C - answers[0][1]).abs().max()) < 1e-8
        # A porous body expands as its solid does (Levin with K_2 = 0).
        expansion = torch.linalg.solve(C, -step.stress)
        assert expansion.tolist() == pytest.approx([1e-3] * 3 + [0.0] * 3, abs=1e-11)


def test_a_polycrystal_strained_as_it_wants_to_expand_bears_no_stress() -> None:
    # Equal eigenstrains of every grain: the cell strained by them is free of stress, to rounding of what cancels.
    copper = CubicElastic(C11=168.4e3, C12=121.4e3, C44=75.4e3, eigenstrain=1.7e-3)
    cell = HomogenisedCell(voronoi_polycrystal(4, grains=5, seed=0), [copper], tolerance=1e-12)
    strain = 1.7e-3 * torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.float64)
    step = cell(strain, cell.initial_state(), 1.0)
    assert step.verdict == Verdict.GOOD
    assert float(step.stress.abs().max()) < 1e-9
