from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from datagen.laws.law import Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.cyclic import cyclic
from datagen.paths.proportional import proportional
from datagen.tensors import random_rotation
from surrogate.macro.cook import cook
from surrogate.macro.solver import solve
from surrogate.report.curves import load_figure, residual_figure
from surrogate.report.errors import error_figure
from surrogate.report.fields import field_figure
from surrogate.report.paths import overlay_figure, path_figure
from surrogate.report.style import svg
from surrogate.report.timings import timing_figure
from surrogate.report.training import training_figure
from surrogate.solve import corners_of, element_values, load_curve

PLANE = ("11", "12", "21", "22")


def ramps(n=4):
    return proportional("finite", PLANE, n_paths=n, n_steps=3, amplitude=0.2, seed=0)


def test_a_ramp_in_log_stretch_is_drawn_as_a_straight_line_whatever_its_rotation():
    F = ramps().target.unflatten(-1, (3, 3))
    Q = random_rotation(4, 3, generator=torch.Generator().manual_seed(0))
    figure = path_figure({"turned": (Q @ F).flatten(-2)}, Measure.FINITE)
    assert len(figure.axes) == 2  # planes 11-22 and 11-12
    for axes in figure.axes:
        for line in axes.get_lines()[:4]:
            x, y = line.get_xydata().T
            np.testing.assert_allclose(np.outer(x, [1]), np.outer(np.arange(4) / 3, [x[-1]]), atol=1e-12)
            np.testing.assert_allclose(y, np.arange(4) / 3 * y[-1], atol=1e-12)


def test_paths_in_three_dimensions_are_seen_from_three_sides():
    strain = {
        "a": cyclic("small", None, 3, 8, 0.01, seed=0).target,
        "b": cyclic("small", None, 2, 8, 0.01, seed=1).target,
    }
    figure = path_figure(strain, Measure.SMALL)
    assert [axes.get_xlabel() for axes in figure.axes[::2]] == [
        rf"$\varepsilon_{{{c}}}$ [-]" for c in ("11", "22", "11")
    ]
    shear = figure.axes[4].get_lines()[0].get_ydata()[1:]
    np.testing.assert_allclose(shear, strain["a"][0, :, 5] / np.sqrt(2.0), atol=1e-15)


def test_a_path_that_ended_is_drawn_up_to_its_end():
    strain = ramps().target.clone()
    strain[0, 1:] = torch.nan
    line = path_figure({"a": strain}, Measure.FINITE).axes[0].get_lines()[0].get_xydata()
    assert np.isfinite(line[:2]).all()
    assert np.isnan(line[2:]).all()


def test_an_overlay_has_a_panel_a_path_and_starts_from_zero_stress():
    path = ramps()
    law = NeoHooke(mu=1.0, lmbda=4.0)
    stress = law(path.target, law.initial_state(4, 3), 1.0).stress
    figure = overlay_figure(stress[:3], 1.01 * stress[:3], Measure.FINITE, PLANE, ["a", "b", "c"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b", "c"]
    assert all(line.get_ydata()[0] == 0 for line in figure.axes[0].get_lines() if len(line.get_ydata()))


def test_errors_are_counted_by_class_and_failed_paths_left_out():
    figure = error_figure({"ramps": [1e-3, 2e-3, None, float("nan")], "walks": [1e-2]}, {"0.2 %": 0.002})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ramps: 2 paths", "walks: 1 paths"]
    assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [2, 1]


def test_errors_of_an_exact_law_are_drawn_too():
    svg(error_figure({"exact": [0.0, 0.0]}))


def solved():
    return solve(cook(load=1.0, n=2, steps=2), NeoHooke(mu=1.0, lmbda=4.0))


def test_two_fields_share_a_scale_and_the_third_is_their_difference():
    solution = solved()
    u = solution.nodal(solution.displacements)[-1].numpy()
    values = element_values(solution, solution.in_plane_shear())
    corners = corners_of(solution)
    figure = field_figure(solution.assembly.X, corners, [u, u], [values, 1.1 * values], ["a", "b"], "shear [MPa]")
    first, second, third = (axes.collections[1] for axes in figure.axes[:3])
    assert first.get_clim() == second.get_clim() == (values.min(), (1.1 * values).max())
    np.testing.assert_allclose(third.get_array(), 0.1 * values)
    assert third.get_clim()[0] == -third.get_clim()[1]
    np.testing.assert_allclose(first.get_paths()[0].vertices[:4], (solution.assembly.X + u)[corners[0]])
    svg(figure)


def test_the_corners_of_elements_run_around_them():
    solution = solved()
    x, y = solution.assembly.X[corners_of(solution)].transpose(2, 0, 1)
    area = 0.5 * (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)
    assert area.min() > 0
    assert area.sum() == pytest.approx(solution.assembly.volume)


def test_a_field_that_a_law_does_not_give_is_refused():
    X, corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), np.array([[0, 1, 2, 3]])
    with pytest.raises(ValueError, match=r"fields: got von Mises \[MPa\] that is not a number"):
        field_figure(X, corners, [0 * X], [np.array([np.nan])], ["a"], "von Mises [MPa]")


def test_curves_start_at_the_unloaded_body():
    solution = solved()
    u, load, _ = load_curve(solution)
    figure = load_figure({"cell": (u.tolist(), load.tolist()), "network": (u.tolist(), load.tolist())})
    for line in figure.axes[0].get_lines():
        assert line.get_xydata()[0].tolist() == [0, 0]
        assert len(line.get_xydata()) == 3
    lines = residual_figure({"cell": solution.residuals}).axes[0].get_lines()
    assert [len(line.get_xydata()) for line in lines] == [len(r) for r in solution.residuals]


def test_the_clock_of_training_runs_on_from_phase_to_phase():
    entries = [("adam", 1.0), ("adam", 2.0), ("lbfgs", 0.5), ("lbfgs", 1.5)]
    history = [{"phase": phase, "seconds": s, "train": 0.1, "validation": 0.2} for phase, s in entries]
    by_time = training_figure(history).axes[1].get_lines()[0].get_xdata()
    assert by_time.tolist() == [1.0, 2.0, 2.5, 3.5]


def test_times_stand_in_order_with_the_longest_on_top():
    figure = timing_figure({"train": 9.0, "generate": 90.0, "network": 0.1}, "network")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["network", "train", "generate"]


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    svg(timing_figure({"a": 1.0}))
    assert dict(matplotlib.rcParams) == before
