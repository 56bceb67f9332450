"""Cells without chance: checkerboards, minimal surfaces, beam lattices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from datagen.microstructures.beam_lattice import BEAMS, beam_lattice
from datagen.microstructures.checkerboard import checkerboard
from datagen.microstructures.minimal_surface import minimal_surface


@pytest.mark.parametrize(("grid", "cells"), [((12, 12), 2), ((24, 12), (4, 2)), ((8, 8, 8), 2), ((8, 12, 16), 4)])
def test_a_checkerboard_has_its_two_point_probability(grid, cells):
    # < (-1)^phase(x) (-1)^phase(x + h) > is a product of triangle waves of the width of a cell:
    # S. Torquato, Random Heterogeneous Materials, 2002, section 2.2, with the periodic arrangement.
    cell = checkerboard(grid, cells)
    waves = []
    for axis, n in enumerate(cell.grid):
        width = n // (cells if isinstance(cells, int) else cells[axis]) if n > 1 else 1
        h = np.arange(n) % (2 * width)
        waves.append(1 - 2 * np.minimum(h, 2 * width - h) / width if n > 1 else np.ones(1))
    expected = 0.25 * (1 + np.einsum("i,j,k->ijk", *waves))
    np.testing.assert_allclose(cell.two_point(1)[0].numpy(), expected, atol=1e-14)
    assert cell.volume_fractions.tolist() == [[0.5, 0.5]]


def euler_characteristic(phase: torch.Tensor) -> int:
    """Of the closed voxels of phase 1 on the torus: vertices - edges + faces - voxels."""
    solid = phase[0].bool()
    total = 0
    for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        touched = solid
        for axis in axes:  # a face across an axis belongs to the voxels on both of its sides
            touched = touched | touched.roll(1, axis)
        total += (-1) ** (3 - len(axes)) * int(touched.sum())
    return total


def test_a_ball_a_torus_and_a_hollow_ball_have_the_euler_characteristics_of_the_textbook():
    x, y, z = np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij")
    rho = np.hypot(x, y)
    for solid, expected in (
        (x**2 + y**2 + z**2 < 64, 1),
        ((rho - 7) ** 2 + z**2 < 9, 0),
        (np.abs(x**2 + y**2 + z**2 - 64) < 30, 2),
    ):
        assert euler_characteristic(torch.as_tensor(solid[None])) == expected


# Genus of the surface in the primitive cell of its oriented space group, and such cells in the cubic cell: 3 and 2
# (gyroid, I4_1 32), 3 and 1 (P, Pm-3m), 3 and 4 (D, Fd-3m), 4 and 2 (I-WP, Im-3m): A. H. Schoen, NASA TN D-5541, 1970.
# The surface has the characteristic 2 - 2 genus in each, the solid on one side of it half of that, the sheet all of it.
@pytest.mark.parametrize(
    ("surface", "characteristic"), [("gyroid", -8), ("primitive", -4), ("diamond", -16), ("iwp", -12)]
)
def test_a_minimal_surface_has_the_genus_that_schoen_gives(surface, characteristic):
    assert euler_characteristic(minimal_surface(32, surface, "network", 0.5).phase) == characteristic / 2
    assert euler_characteristic(1 - minimal_surface(32, surface, "network", 0.5).phase) == characteristic / 2
    assert euler_characteristic(minimal_surface(32, surface, "sheet", 0.3).phase) == characteristic
    assert euler_characteristic(minimal_surface(48, surface, "network", 0.5, periods=2).phase) == 4 * characteristic


@pytest.mark.parametrize("kind", ["network", "sheet"])
@pytest.mark.parametrize("surface", ["gyroid", "primitive", "diamond", "iwp"])
def test_a_minimal_surface_meets_its_fraction_and_turns_into_itself_about_the_diagonal(surface, kind):
    for fraction in (0.2, 0.5, 0.6):
        cell = minimal_surface(24, surface, kind, fraction)
        assert cell.volume_fractions[0, 1].item() == pytest.approx(fraction, abs=2e-2)
        assert torch.equal(cell.phase, cell.phase.permute(0, 2, 3, 1))


def test_the_two_sides_of_the_balanced_surfaces_are_congruent():
    # On a grid that has no voxel centre on any of the three.
    gyroid, primitive, diamond = (minimal_surface(16, name).phase for name in ("gyroid", "primitive", "diamond"))
    assert torch.equal(gyroid, 1 - gyroid.flip((1, 2, 3)))
    assert torch.equal(primitive, 1 - primitive.roll((8, 8, 8), (1, 2, 3)))
    assert torch.equal(diamond, 1 - diamond.roll(8, 1))


def test_crossing_beams_have_the_volume_of_three_crossing_cylinders():
    # Steinmetz: the union of three cylinders of radius r through the cube along its axes has 3 pi r^2 - 8 sqrt(2) r^3.
    # One radius counts voxels on a circle, whose number jumps; the mean over many radii does not.
    ratios = []
    for r in np.linspace(0.1, 0.3, 20):
        exact = 3 * math.pi * r**2 - 8 * math.sqrt(2) * r**3
        ratios.append(beam_lattice(96, "cubic", radius=float(r)).volume_fractions[0, 1].item() / exact)
    assert np.mean(ratios) == pytest.approx(1, abs=5e-3)


# Lengths of beam in a cubic cell of edge 1: thin beams fill length pi r^2. The octet's 12 sqrt(2) pi r^2 is
# 6 sqrt(2) pi (r / l)^2 with the beam's l = 1 / sqrt(2):
# V. S. Deshpande, N. A. Fleck, M. F. Ashby, J. Mech. Phys. Solids 49 (2001) 1747, doi:10.1016/S0022-5096(01)00010-2.
@pytest.mark.parametrize(
    ("lattice", "length"),
    [("cubic", 3.0), ("x", 4 * math.sqrt(3)), ("bcc", 3 + 4 * math.sqrt(3)), ("octet", 12 * math.sqrt(2))],
)
def test_beams_have_their_length_and_none_comes_twice(lattice, length):
    spans = [np.subtract(end, start) for start, end in BEAMS[lattice]]
    assert sum(np.linalg.norm(span) for span in spans) == pytest.approx(length, rel=1e-14)
    middles = {
        tuple(((np.array(start) + span / 2) % 1).round(9))
        for (start, _), span in zip(BEAMS[lattice], spans, strict=True)
    }
    directions = {tuple((span / np.abs(span).max()).round(9)) for span in spans}
    assert len(middles) == len(spans) or len(directions) == len(spans)


@pytest.mark.parametrize("lattice", list(BEAMS))
def test_beams_fill_the_voxels_within_their_radius(lattice):
    n = 10
    axis = (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = np.full((n, n, n), np.inf)
    for start, end in BEAMS[lattice]:
        span = np.subtract(end, start)
        for image in itertools.product((-2, -1, 0, 1), repeat=3):
            offset = points - np.array(start) - np.array(image)
            t = np.clip(offset @ span / (span @ span), 0, 1)
            distance = np.minimum(distance, np.linalg.norm(offset - t[..., None] * span, axis=-1))
    for radius in (0.083, 0.151, 0.271, 0.333):
        inside = distance <= radius
        if inside.all():
            continue
        assert np.array_equal(beam_lattice(n, lattice, radius=radius).phase[0].numpy(), inside)


@pytest.mark.parametrize("lattice", list(BEAMS))
def test_a_beam_lattice_is_cubic_and_as_close_to_its_fraction_as_symmetry_lets_it(lattice):
    cell = beam_lattice(32, lattice, fraction=0.25)
    phase = cell.phase
    for other in (phase.flip(1), phase.transpose(1, 2), phase.permute(0, 2, 3, 1)):
        assert torch.equal(phase, other)
    off = abs(cell.volume_fractions[0, 1].item() - 0.25)
    radius = cell.descriptors["radius"].item()
    for factor in (0.9, 0.97, 1.03, 1.1):
        other = beam_lattice(32, lattice, radius=factor * radius).volume_fractions[0, 1].item()
        assert abs(other - 0.25) >= off
    assert torch.equal(
        beam_lattice(32, lattice, radius=radius, periods=2).phase[:, :16, 16:, :16], _coarse(lattice, radius)
    )


def _coarse(lattice: str, radius: float) -> torch.Tensor:
    return beam_lattice(16, lattice, radius=2 * radius).phase


def axial_stiffness(lattice: str) -> np.ndarray:
    """Stiffness of pin-jointed beams of section 1 and modulus 1, sum over beams of length n n n n, (3, 3, 3, 3)."""
    C = np.zeros((3, 3, 3, 3))
    for start, end in BEAMS[lattice]:
        span = np.subtract(end, start)
        n = span / np.linalg.norm(span)
        C += np.linalg.norm(span) * np.einsum("i,j,k,l->ijkl", n, n, n, n)
    return C


def test_the_octet_lattice_of_pinned_beams_has_the_stiffness_of_the_textbook():
    # Deshpande et al. 2001: C11 : C12 : C44 = 2 : 1 : 1, Young's modulus = relative density / 9.
    C = axial_stiffness("octet") / (12 * math.sqrt(2))
    normal, lateral, shear = C[0, 0, 0, 0], C[0, 0, 1, 1], C[0, 1, 0, 1]
    assert normal / lateral == pytest.approx(2, rel=1e-12)
    assert shear / lateral == pytest.approx(1, rel=1e-12)
    assert normal - 2 * lateral**2 / (normal + lateral) == pytest.approx(1 / 9, rel=1e-12)


@pytest.mark.parametrize("lattice", ["x", "bcc"])
def test_x_and_bcc_are_the_lattices_of_the_published_beam_data(shared, lattice):
    # M. Fernandez et al., doi:10.1007/s00466-020-01954-7: the initial stiffness of both cells. Bending adds a little.
    def slope(path: str) -> np.ndarray:
        data = np.loadtxt(shared / f"data/lattice_bcc_x/{lattice.upper()}_{path}.txt")
        F, P = data[:, :9], data[:, 9:18]
        start = np.abs(F - np.eye(3).ravel()).sum(1).argmin()
        return (P[start + 1] - P[start]) / (F[start + 1] - F[start]).max()

    bulk, C44, E = slope("volumetric")[0], slope("shear")[1], slope("uniaxial")[0]  # bulk: C11 + 2 C12
    d = 2 * E * bulk / (3 * bulk - E)  # C11 - C12, from E = (C11 - C12) (C11 + 2 C12) / (C11 + C12)
    C = axial_stiffness(lattice)
    assert d / C44 == pytest.approx((C[0, 0, 0, 0] - C[0, 0, 1, 1]) / C[0, 1, 0, 1], abs=0.05)
    assert bulk / C44 == pytest.approx((C[0, 0, 0, 0] + 2 * C[0, 0, 1, 1]) / C[0, 1, 0, 1], rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: checkerboard((9, 9), 3), "cells: got 3 along x, wanted an even divisor"),
        (lambda: checkerboard((10, 8), 4), "cells: got 4 along x, wanted an even divisor of the 10"),
        (lambda: checkerboard((8, 8), (2, 2, 2)), "cells: got 2 along z"),
        (lambda: checkerboard(8, (2, 2)), "wanted one number or one per axis"),
        (lambda: minimal_surface(8, "helix"), "surface: got 'helix', wanted one of gyroid"),
        (lambda: minimal_surface(8, kind="skeleton"), "kind: got 'skeleton'"),
        (lambda: minimal_surface(8, fraction=0.0), "fraction: got 0.0"),
        (lambda: minimal_surface((8, 8, 12)), "periods: got 1"),
        (lambda: minimal_surface(8, periods=0), "periods: got 0"),
        (lambda: beam_lattice(8, "kagome", 0.2), "lattice: got 'kagome', wanted one of cubic"),
        (lambda: beam_lattice(8, fraction=0.2, radius=0.1), "wanted one of the two"),
        (lambda: beam_lattice(8, radius=0.0), "radius: got 0.0"),
        (lambda: beam_lattice(8, radius=1e-4), "wanted one for which the grid"),
        (lambda: beam_lattice((8, 4, 8), fraction=0.2), "periods: got 1"),
    ],
)
def test_a_lattice_that_cannot_be_made_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
