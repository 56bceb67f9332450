from __future__ import annotations

import numpy as np
import pytest

from datagen.rve.size import KUBC, PERIODIC, SUBC, Size, find
from surrogate.report.size import gap_figure, short, size_figure
from surrogate.report.style import svg

SIZES = [Size(n, float(n), float(n * n)) for n in (8, 16, 32)]


def values(boundaries=(KUBC, PERIODIC, SUBC), n=12):
    rng = np.random.default_rng(0)
    shared = {s.edge: rng.normal(5.0, 4.0 / s.edge, n) for s in SIZES}
    return {b: {edge: x + (2.0 - k) / edge for edge, x in shared.items()} for k, b in enumerate(boundaries)}


def finding(of, name="shear"):
    return find(name, of, SIZES, 2, 0.01, point_deviation=1.0)


def test_means_stand_with_their_intervals_among_all_cells():
    of = values()
    figure = size_figure(finding(of), of)
    left = figure.axes[0]
    dashes = [line for line in left.get_lines() if line.get_marker() == "_" and len(line.get_ydata()) == 12]
    assert len(dashes) == 9
    np.testing.assert_allclose(np.mean(dashes[0].get_ydata()), finding(of).of(KUBC)[0].mean.value)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["KUBC", "periodic", "SUBC"]
    assert [label.get_text() for label in left.get_xticklabels()] == ["8", "16", "32"]


def test_the_fitted_variance_is_a_line_of_slope_minus_one():
    of = values([PERIODIC])
    found = finding(of)
    right = size_figure(found, of).axes[1]
    V, D2 = right.get_lines()[-1].get_data()
    np.testing.assert_allclose(D2 * V, found.scalings[0].coefficient.value)
    assert right.get_xscale() == right.get_yscale() == "log"


def test_the_gap_is_drawn_in_per_cent_over_the_wanted_precision():
    found = [finding(values(), name) for name in ("bulk", "log_shear")]
    axes = gap_figure(found).axes[0]
    first = axes.get_lines()[0].get_ydata()
    np.testing.assert_allclose(first, [100 * g.relative.value for g in found[0].gaps])
    assert any(np.allclose(line.get_ydata(), 1.0) for line in axes.get_lines())
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["bulk", "log shear"]


@pytest.mark.parametrize("spoil", ["lost", "equal", "one"])
def test_what_is_not_there_is_not_drawn(spoil):
    of = values([PERIODIC])
    if spoil == "lost":
        of[PERIODIC][8][:] = np.nan
    elif spoil == "equal":
        of = {PERIODIC: {edge: np.full(3, 2.0) for edge in (8, 16, 32)}}
    else:
        of[PERIODIC][16][1:] = np.nan
    assert svg(size_figure(finding(of), of)).startswith("<?xml")


def test_boundary_conditions_have_short_names():
    assert [short(b) for b in (KUBC, PERIODIC, SUBC, "any")] == ["KUBC", "periodic", "SUBC", "any"]


def test_the_tolerance_of_the_solves_is_not_blown_up():
    sizes = [Size(n, float(n), float(n**2)) for n in (10, 20)]
    values = {PERIODIC: {s.edge: 5.0 + 1e-9 * np.arange(4.0) for s in sizes}}
    left, right = size_figure(find("bulk", values, sizes, 2, 0.01), values).axes
    low, high = left.get_ylim()
    assert 0.004 < high - low < 0.02
    assert [text.get_text() for text in right.texts] == ["no scatter"]
