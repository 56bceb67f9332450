from __future__ import annotations

import math
import re

import numpy as np
import pytest

from datagen.microstructures.voronoi import two_phase_voronoi
from datagen.rve.size import (
    KUBC,
    PERIODIC,
    SUBC,
    Estimate,
    Interval,
    Size,
    change,
    estimate,
    find,
    gap,
    order_defect,
    scaling,
)

ONE = Size(10, 10.0, 100.0)


def cells(*edges):
    return [Size(n, float(n), float(n * n)) for n in edges]


def normal(n, mean, deviation, seed=0):
    """Values whose sample mean and standard deviation are exactly these."""
    x = np.random.default_rng(seed).normal(size=n)
    return mean + deviation * (x - x.mean()) / x.std(ddof=1)


def test_the_interval_of_a_mean_is_students():
    """Student's own example, hours of sleep gained by two drugs (Biometrika 6 (1908) 1, section IX: mean 1.58). The
    interval is the one that R's manual prints for it (stats::t.test, data sleep, paired)."""
    first = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    found = estimate(second - first, "any", ONE, 0.1)
    assert found.mean.value == pytest.approx(1.58)
    assert found.mean.low == pytest.approx(0.7001142, rel=1e-6)
    assert found.mean.high == pytest.approx(2.4598858, rel=1e-6)


def test_kanits_number_of_cells():
    """The number (2 D / (eps Z))^2, doi:10.1016/S0020-7683(03)00143-4, eq. (14) solved for n."""
    found = estimate(normal(20, 50.0, 4.0), PERIODIC, ONE, 0.01)
    assert found.scatter == pytest.approx(0.16)
    assert found.cells == 256
    assert estimate(normal(20, 50.0, 0.1), PERIODIC, ONE, 0.01).cells == 1


def test_a_logarithm_counts_absolutely():
    assert estimate(normal(20, 50.0, 0.04), PERIODIC, ONE, 0.01, logarithm=True).cells == 64


def test_intervals_cover_what_they_should():
    """Of 2000 studies of 12 normal cells, 95 % cover mean and deviation, within three standard errors of a count."""
    rng = np.random.default_rng(1)
    found = [estimate(rng.normal(3.0, 0.5, 12), PERIODIC, ONE, 0.1) for _ in range(2000)]
    for read, truth in ((lambda e: e.mean, 3.0), (lambda e: e.deviation, 0.5)):
        covered = np.mean([read(e).low <= truth <= read(e).high for e in found])
        assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def synthetic(rng, alpha=1.0, n=(60, 30, 15)):
    sizes = cells(8, 16, 32)
    return [
        estimate(rng.normal(1.0, math.sqrt(0.8 / s.volume**alpha), k), PERIODIC, s, 0.01)
        for s, k in zip(sizes, n, strict=True)
    ]


def test_intervals_of_the_integral_range_and_the_exponent_cover_what_they_should():
    rng = np.random.default_rng(2)
    found = [scaling(synthetic(rng), 2, 0.01, point_deviation=0.5) for _ in range(1000)]
    slack = 3 * math.sqrt(0.95 * 0.05 / 1000)
    for read, truth in ((lambda s: s.coefficient, 0.8), (lambda s: s.integral_range, 3.2), (lambda s: s.exponent, 1.0)):
        covered = np.mean([read(s).low <= truth <= read(s).high for s in found])
        assert covered == pytest.approx(0.95, abs=slack)
    assert np.mean([s.exponent.value for s in found]) == pytest.approx(1.0, abs=0.02)


def test_another_power_of_the_volume_is_seen():
    found = scaling(synthetic(np.random.default_rng(3), alpha=0.6, n=(400, 400, 400)), 2, 0.01)
    assert found.exponent.low < 0.6 < found.exponent.high < 1.0
    assert math.isnan(found.integral_range.value)


def test_a_cell_of_the_length_that_the_scaling_names_has_the_precision():
    estimates = [estimate(normal(30, 5.0, 3.0 / s.edge), PERIODIC, s, 0.01) for s in cells(10, 20, 40)]
    found = scaling(estimates, 2, 0.01)
    assert found.coefficient.value == pytest.approx(9.0)
    assert found.exponent.value == pytest.approx(1.0)
    assert found.edge == 120
    assert found.length == pytest.approx(120.0)
    assert 2 * math.sqrt(9.0 / found.length**2) == pytest.approx(0.01 * 5.0)


def test_the_integral_range_of_a_poisson_voronoi_mosaic_is_gilberts():
    """Of cells coloured one by one, A = E[a^2]/E[a] = 1.280176 mean areas (E. N. Gilbert, Ann. Math. Stat. 33 (1962)
    958, doi:10.1214/aoms/1177704464), here from the scatter of the volume fraction alone."""
    values = {}
    sizes = [Size(n, float(n), n * n / 36.0) for n in (36, 48, 60)]  # volume in mean areas of a grain
    for size in sizes:
        n = size.edge
        cells = two_phase_voronoi((n, n), size.volume, probability=0.3, seed=n, n_samples=320)
        values[n] = cells.volume_fractions[:, 1].numpy()
    found = find("fraction", {"any": values}, sizes, 2, 0.01, math.sqrt(0.3 * 0.7)).scalings[0]
    assert found.integral_range.low < 1.280176 < found.integral_range.high
    assert found.integral_range.half < 0.12
    assert found.exponent.low < 1.0 < found.exponent.high


def test_the_gap_is_that_of_pairs():
    """The same cells under both conditions: the scatter that they share is no uncertainty of the gap."""
    shared = normal(12, 10.0, 3.0)
    values = {PERIODIC: {10: shared}, KUBC: {10: shared + normal(12, 1.0, 0.1, 1)}, SUBC: {10: shared - 1.0}}
    found = gap(values, ONE, PERIODIC).relative
    assert found.value == pytest.approx(0.2)
    assert found.half == pytest.approx(2.2009852 * 0.1 / math.sqrt(12) / 10.0, rel=1e-6)


def test_a_cell_without_an_answer_is_counted_and_left_out():
    values = normal(5, 2.0, 0.1)
    found = estimate(np.append(values, np.nan), PERIODIC, ONE, 0.1)
    assert (found.samples, found.failed, found.mean.value) == (5, 1, pytest.approx(2.0))
    lost = estimate(np.array([np.nan, 1.0]), PERIODIC, ONE, 0.1)
    assert (lost.samples, lost.failed, lost.cells) == (1, 1, None)
    paired = {
        KUBC: {10: np.append(values, 3.0)},
        SUBC: {10: np.append(values, np.nan)},
        PERIODIC: {10: np.append(values, 1)},
    }
    assert gap(paired, ONE, PERIODIC).relative.value == 0.0


def test_equal_cells_do_not_scatter():
    values = {PERIODIC: {s.edge: np.full(4, 2.0) for s in cells(4, 8)}}
    found = find("shear", values, cells(4, 8), 2, 0.01)
    assert found.representative == 4
    assert found.scalings[0].edge == 1
    assert math.isnan(found.scalings[0].exponent.value)


def test_loewners_order_is_that_of_eigenvalues():
    lower, upper = (
        np.array([np.eye(2)] * 3),
        np.array([2 * np.eye(2), [[2.0, 1.5], [1.5, 2.0]], np.full((2, 2), np.nan)]),
    )
    assert order_defect(lower, upper) == pytest.approx([0.5, (1 - 1.5) / 3.5, np.nan], nan_ok=True)


def test_a_change_of_the_mean_has_welchs_interval():
    """B. L. Welch, Biometrika 34 (1947) 28: nu = (s1^2/n1 + s2^2/n2)^2 / sum (s_i^2/n_i)^2/(n_i - 1)."""
    found = change({4: normal(10, 2.0, 0.5), 8: normal(20, 2.5, 0.1, 1)}, 4, 8)
    v = 0.025 + 0.0005
    assert found.value == pytest.approx(0.2)
    nu = v**2 / (0.025**2 / 9 + 0.0005**2 / 19)
    assert nu == pytest.approx(9.36, abs=0.01)
    assert found.half == pytest.approx(2.249 * math.sqrt(v) / 2.5, rel=1e-3)


def judged(means, deviations, precision=0.02, n=40, others=None):
    sizes = cells(*(10 * 2**k for k in range(len(means))))
    triples = zip(sizes, means, deviations, strict=True)
    values = {PERIODIC: {s.edge: normal(n, mean, D, s.edge) for s, mean, D in triples}}
    for boundary, shift in (others or {}).items():
        values[boundary] = {edge: x + shift for edge, x in values[PERIODIC].items()}
    return find("shear", values, sizes, 2, precision)


def test_a_settled_mean_with_little_scatter_is_representative():
    found = judged([5.3, 5.0, 5.0], [0.1, 0.03, 0.02])
    assert found.representative == 20
    assert found.verdict == "representative at 2 % under periodic boundaries: one cell of 20 voxels will do"
    few = judged([5.0, 5.0], [0.03, 0.02], n=4)  # s / sqrt(chi^2_3 / 3) at 2.5 %: 3.73 times as much
    assert few.verdict.endswith("one cell of 10 voxels will do (from 4 cells: scatter up to 4.5 %)")


def test_the_boundary_condition_is_named_where_it_tells():
    far = judged([5.0, 5.0], [0.02, 0.01], others={KUBC: 0.5, SUBC: -0.5})
    assert "under periodic boundaries" in far.verdict
    assert far.verdict.endswith("there KUBC and SUBC differ by 20 %")
    near = judged([5.0, 5.0], [0.02, 0.01], others={KUBC: 0.01, SUBC: -0.01})
    assert near.verdict.startswith("representative at 2 % whatever the boundary condition: one cell of 10 voxels")


def test_what_scatters_is_a_statistical_volume_element():
    found = judged([5.0, 5.0], [0.8, 0.4])
    assert found.representative is None
    assert found.verdict.startswith(
        "statistical volume element at 2 % under periodic boundaries: average 64 cells of 20 voxels, or enlarge to 160"
    )
    assert "(this study has them)" in judged([5.0, 5.0], [0.4, 0.2], n=20).verdict


def test_an_average_says_when_a_bias_is_not_excluded():
    sure, unsure = judged([5.0, 5.0], [0.4, 0.2], n=400).verdict, judged([5.0, 5.0], [0.8, 0.4], n=10).verdict
    assert "bias" not in sure
    assert re.search(r"; from the size before the mean changed by .*, too unsure to exclude a bias$", unsure)
    assert judged([5.0], [0.2]).verdict.endswith("; one size does not tell whether the mean moves with size")


def test_the_tolerance_of_the_solves_is_not_taken_for_scatter():
    sizes = cells(10, 20, 40)
    values = {PERIODIC: {s.edge: normal(20, 5.0, D, s.edge) for s, D in zip(sizes, [1e-12, 0.2, 0.1], strict=True)}}
    found = find("shear", values, sizes, 2, 0.02, point_deviation=1e-10).scalings[0]
    assert math.isnan(found.integral_range.value)  # a modulus that all phases share has none
    assert found.exponent.low < 1 < found.exponent.high
    none = find("shear", {PERIODIC: {s.edge: normal(20, 5.0, 1e-10, s.edge) for s in sizes}}, sizes, 2, 0.02)
    assert math.isnan(none.scalings[0].exponent.value)


def test_no_average_takes_a_bias_away():
    found = judged([7.0, 6.0, 5.0], [0.8, 0.4, 0.2])
    assert "the mean still moves with size (-20 +- " in found.verdict
    assert "average" in found.verdict
    assert "cells of" not in found.verdict


def test_one_size_does_not_tell_of_bias():
    assert judged([5.0], [0.01]).verdict.startswith("no verdict at 2 % under periodic boundaries: one size")
    assert "average 16 cells of 10 voxels" in judged([5.0], [0.2]).verdict


def test_a_precision_is_between_nothing_and_all():
    for wrong in (0, 1.0, -0.1, True, "1 %"):
        with pytest.raises(ValueError, match="precision: got"):
            judged([5.0], [0.1], precision=wrong)


def test_the_estimates_of_a_boundary_are_in_order_of_size():
    found = judged([5.0, 5.0], [0.2, 0.1], others={KUBC: 1.0})
    assert [e.size.edge for e in found.of(KUBC)] == [10, 20]
    assert all(isinstance(e, Estimate) and isinstance(e.mean, Interval) for e in found.estimates)
