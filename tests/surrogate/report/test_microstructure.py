from __future__ import annotations

import io

import numpy as np

from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from surrogate.report.microstructure import microstructure_figure


def test_a_flat_cell_is_one_image_and_a_curve():
    cell = random_fibres(24, fraction=0.3, count=4, n_samples=2, size=0.5)
    figure = microstructure_figure(cell, sample=1)
    image, curve = figure.axes
    drawn = np.asarray(image.get_images()[0].get_array())
    assert (drawn == cell.phase[1, :, :, 0].numpy().T).all()
    assert image.get_images()[0].get_extent() == [0.0, 0.5, 0.0, 0.5]
    assert curve.get_lines()[0].get_ydata()[0] == cell.volume_fractions[1, 1].item()
    figure.savefig(io.BytesIO(), format="svg")


def test_a_solid_cell_is_three_slices_and_a_curve():
    figure = microstructure_figure(centred_sphere(8, fraction=0.2))
    assert len(figure.axes) == 4
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["y [mm]", "z [mm]", "z [mm]"]
    figure.savefig(io.BytesIO(), format="png")


def test_many_phases_and_one_phase_are_drawn_too():
    microstructure_figure(Microstructure(np.arange(36).reshape(6, 6))).savefig(io.BytesIO(), format="png")
    microstructure_figure(Microstructure(np.zeros((4, 4, 4), dtype=int))).savefig(io.BytesIO(), format="png")


def test_grains_share_curves_along_the_axes():
    layers = np.repeat(np.arange(8), 2)[:, None, None] * np.ones((1, 4, 4), dtype=int)  # two voxels thick across x
    figure = microstructure_figure(Microstructure(layers.astype(int), spacing=0.5))
    curves = {line.get_label(): line for line in figure.axes[-1].get_lines()}
    along_x = curves["along x"]
    assert np.allclose(along_x.get_xdata(), 0.5 * np.arange(9))
    assert np.allclose(along_x.get_ydata(), [1.0, 0.5] + [0.0] * 7)
    assert np.allclose(curves["along y"].get_ydata(), 1.0)
    assert np.allclose(curves["independent points"].get_ydata(), 1 / 8)
