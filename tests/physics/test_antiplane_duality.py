"""Exact results of two phases in the plane, in antiplane shear: duality, and the checkerboard.

With K the 2x2 matrix of shear moduli, a quarter turn of the stress field is a strain field of the medium with moduli
k1 k2/k, which is the same body with its phases swapped. Hence det K det K' = (k1 k2)^2 for any periodic cell and its
swapped twin, and K_KUBC = k1 k2 R K'_SUBC^-1 R^T for any cell at all.

J. B. Keller, J. Math. Phys. 5 (1964) 548, doi:10.1063/1.1704146; A. M. Dykhne, Sov. Phys. JETP 32 (1971) 63;
K. S. Mendelson, J. Appl. Phys. 46 (1975) 917, doi:10.1063/1.321615.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from datagen.laws.linear_elastic import LinearElastic
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.voronoi import two_phase_voronoi
from datagen.rve.apparent import apparent
from datagen.rve.homogenised import HomogenisedCell

TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


def voronoi(n, cells, samples, fraction=0.5):
    """Cells (m, n, n, 1) of the same tessellations whatever the resolution n."""
    return two_phase_voronoi((n, n), cells, fraction, seed=7, n_samples=samples).phase


def moduli(phase, k, discretisation, boundary="periodic", tolerance=1e-10):
    """K (m, 2, 2) of cells with moduli 1 and k; in Mandel notation an entry of the tangent is twice the modulus."""
    laws = [LinearElastic(E=2.5 * mu, nu=0.25) for mu in (1.0, k)]
    cell = HomogenisedCell(Microstructure(phase), laws, discretisation, boundary, tolerance, components=("13", "23"))
    return apparent(cell).stiffness / 2


def excess(phase, k, discretisation, tolerance=1e-10):
    """How far det K det K'/(k1 k2)^2 of each cell is above one."""
    dets = [np.linalg.det(moduli(p, k, discretisation, tolerance=tolerance)) for p in (phase, 1 - phase)]
    return dets[0] * dets[1] / k**2 - 1


@pytest.mark.parametrize("discretisation", ["hex8r", "fourier"])
@pytest.mark.parametrize("fraction", [0.5, 0.2])
def test_the_determinants_of_a_cell_and_its_swapped_twin_multiply_to_the_phases(discretisation, fraction):
    """On odd grids the quarter turn of a discrete stress is a discrete strain: exact to the solver, cell by cell."""
    assert np.abs(excess(voronoi(15, 9, 6, fraction), 10.0, discretisation)).max() < 1e-10
    assert np.abs(excess(voronoi(21, 12, 2, fraction), 1000.0, discretisation, 1e-12)).max() < 1e-9


def test_full_integration_is_too_stiff_and_its_error_falls_with_the_voxel():
    """Fully integrated elements are a minimum of the energy over fewer fields: from above. Voxels of one tessellation
    have corners in number 1/h that cost h^2 each, so the order is one."""
    found = [excess(voronoi(n, 9, 16), 4.0, "hex8") for n in (20, 40, 80)]
    assert all((e > 0).all() for e in found)
    rates = np.log2([found[0].mean() / found[1].mean(), found[1].mean() / found[2].mean()])
    assert rates == pytest.approx([1.0, 1.0], abs=0.1)


def test_on_one_image_the_error_falls_as_the_corners_of_its_voxels_say():
    """The field at a corner of 90 degrees is r^lambda with k tan(lambda pi/4) = -tan(3 lambda pi/4), and the energy
    of linear elements errs as h^(2 lambda) (G. Strang, G. Fix, An Analysis of the Finite Element Method, 1973, ch. 8).
    """
    rows = ["0000000", "0111100", "0110000", "0111000", "0000010", "0001110", "0000000"]  # no two corners touch
    k, image = 10.0, torch.tensor([[int(v) for v in row] for row in rows])[None, ..., None]
    strength = brentq(lambda s: k * math.tan(s * math.pi / 4) + math.tan(3 * s * math.pi / 4), 0.67, 1.0)
    fine = [excess(image.repeat_interleave(r, 1).repeat_interleave(r, 2), k, "hex8") for r in (4, 8)]
    assert np.log2(fine[0] / fine[1]) == pytest.approx([2 * strength], abs=0.03)


@pytest.mark.parametrize("n", [11, 12])
def test_linear_displacements_and_uniform_tractions_are_dual(n):
    """Reduced elements keep it, whatever the grid: one modulus bounds the other exactly."""
    phase = voronoi(n, 7, 5, 0.4)
    kubc = moduli(phase, 10.0, "hex8r", "linear_displacement")
    subc = moduli(1 - phase, 10.0, "hex8r", "uniform_traction")
    np.testing.assert_allclose(kubc, 10.0 * TURN @ np.linalg.inv(subc) @ TURN.T, atol=1e-9)


@pytest.mark.parametrize("k", [4.0, 10.0])
def test_a_checkerboard_is_the_geometric_mean(k):
    """sqrt(k1 k2), approached from above as h^(2 lambda) with lambda = 4/pi arctan sqrt(k1/k2) of its corners
    (R. B. Kellogg, Applicable Analysis 4 (1974) 101, doi:10.1080/00036817408839086); extrapolated with that rate."""
    board = torch.tensor([[0, 1], [1, 0]])
    boards = [board.repeat_interleave(m, 0).repeat_interleave(m, 1) for m in (16, 32, 64)]
    found = [moduli(b[None, ..., None], k, "hex8")[0] for b in boards]
    assert all(abs(K[0, 1]) < 1e-9 and K[0, 0] == pytest.approx(K[1, 1], rel=1e-9) for K in found)
    values = np.array([K[0, 0] for K in found])
    assert (values > math.sqrt(k)).all()
    rate = 2 ** (8 / math.pi * math.atan(1 / math.sqrt(k)))
    limits = values[1:] - (values[:-1] - values[1:]) / (rate - 1)
    assert limits == pytest.approx([math.sqrt(k)] * 2, rel=2e-3)
    assert abs(limits[1] - math.sqrt(k)) < abs(limits[0] - math.sqrt(k))
