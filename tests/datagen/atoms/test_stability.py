"""Where perfect crystals lose stability."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import fcc
from datagen.atoms.embedded_atom import EmbeddedAtom
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.stability import PATHS, Critical, assess, critical, named, region
from datagen.atoms.units import MPA
from datagen.laws.verdict import Verdict
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from tests.datagen.atoms.oracle import potential_file

# LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, Cu_mishin1: elliptic_crit over 1516 directions with its
# normal, phonon_crit_n8 on the 8x8x8 grid with its wave vector, bisected to 2e-4; at the smaller, P11 [GPa] and
# W - W0 [eV/A^3].
LIMITS = {
    "uniax100": (
        0.1434375, [0.0, 0.7071067811865475, 0.7071067811865475], None, None, 18.324304723350334, 0.009405313595396925,
    ),
    "shear_111_112": (
        0.15453125000000004, [0.5663692807181437, 0.5049660649466471, 0.6513333333333333],
        0.14742187499999998, [0.5, 0.5, 0.5], -0.18122724369489598, 0.002120396618975784,
    ),
    "shear_001_100": (
        0.18, [0.7071067811865475, 0.0, -0.7071067811865475], None, None, -6.764546135204508, 0.008248412616809808,
    ),
    "hydro": (
        0.11218750000000002, [0.0, 1.0, 0.0], 0.11238281249999998, [0.125, 0.0, 0.125], 25.737914827192416,
        0.03541426523432567,
    ),
}  # fmt: skip


@cache
def argon() -> CauchyBorn:
    return CauchyBorn(LennardJones(0.0104, 3.405, 8.5125, truncation="smooth", inner=6.81), fcc(5.27, "Ar"))


def copper() -> CauchyBorn:
    file = potential_file("Cu_mishin1.eam.alloy")
    if file is None:
        pytest.skip("no file Cu_mishin1.eam.alloy")
    return CauchyBorn(EmbeddedAtom(file), fcc(3.6, "Cu"))


@cache
def limit(path: str, grid: int, refine: bool) -> Critical:
    return critical(copper(), path, LIMITS[path][0] + 0.01, grid=grid, refine=refine)


@pytest.mark.parametrize("path", LIMITS)
def test_copper_loses_stability_where_the_reference_does_on_its_own_grid(path):
    elliptic, _, phonon, q, *_ = LIMITS[path]
    found = limit(path, 8, False)
    assert found.e == pytest.approx(min(elliptic, phonon or math.inf), abs=5e-4)
    if phonon is not None:
        assert found.phonon.e == pytest.approx(phonon, abs=5e-4)
        # Of the equivalent waves of the cubic crystal any may be found.
        assert found.phonon.where.abs().sort().values.tolist() == pytest.approx(sorted(q), abs=1e-12)
    # The lowest over all directions falls to zero no later than on the reference's directions.
    assert elliptic - 6e-4 < found.elastic.e < elliptic + 1e-5


@pytest.mark.parametrize("path", LIMITS)
def test_copper_at_its_limit_bears_the_stress_of_the_reference(path):
    elliptic, _, phonon, _, P11, W = LIMITS[path]
    law = copper()
    e = torch.tensor([min(elliptic, phonon or math.inf)], dtype=torch.float64)
    step = law(named(path)(e).flatten(-2), law.initial_state(1), 1.0)
    assert float(step.stress[0, 0]) / MPA == pytest.approx(P11 / 160.21766208, rel=1e-9)
    assert float(step.psi) / MPA == pytest.approx(W, rel=1e-9)


@pytest.mark.parametrize("path", LIMITS)
def test_the_acoustic_tensor_of_copper_vanishes_across_the_normal_of_the_reference(path):
    elliptic, N, *_ = LIMITS[path]
    law = copper()
    F = named(path)(torch.tensor([elliptic - 2.5e-4, elliptic], dtype=torch.float64)).flatten(-2)
    A = law.tangent(F, law.initial_state(2), 1.0).reshape(2, 3, 3, 3, 3)
    n = torch.tensor(N, dtype=torch.float64)
    lowest = torch.linalg.eigvalsh(torch.einsum("mijkl,j,l->mik", A, n, n))[:, 0]
    assert lowest[0] > 0 >= lowest[1] - 1e-9 * float(A.abs().max())


@pytest.mark.parametrize("path", LIMITS)
def test_refined_limits_are_never_above_the_reference(path):
    elliptic, _, phonon, *_ = LIMITS[path]
    assert limit(path, 8, True).e <= min(elliptic, phonon or math.inf) + 2e-4


@pytest.mark.parametrize("path", LIMITS)
def test_limits_by_phonons_converge_with_the_grid(path):
    def e(grid: int, refine: bool) -> float:
        found = limit(path, grid, refine).phonon
        return math.inf if found is None else found.e

    coarse, middle, fine, refined = e(4, False), e(8, False), e(16, False), e(8, True)
    assert coarse >= middle >= fine >= refined - 1e-5  # each grid holds the one before
    assert e(4, True) == pytest.approx(refined, abs=2e-5)
    # Waves of 64 cells are nearly those of no frequency: no phonon is found far above the loss of ellipticity.
    assert refined <= limit(path, 8, True).elastic.e + 3e-4


def test_both_tests_pass_in_the_undeformed_crystal_and_fail_where_it_is_torn():
    F = named("hydro")(torch.tensor([0.0, 0.2], dtype=torch.float64))
    found = assess(argon(), F)
    assert found.stable.tolist() == [True, False]
    assert found.verdict.tolist() == [Verdict.GOOD, Verdict.ELASTICALLY_UNSTABLE]
    assert found.normal.norm(dim=-1).tolist() == pytest.approx([1.0, 1.0])


def test_a_shuffle_that_ellipticity_does_not_see_is_a_phonon():
    # Between the two limits of the shear on (111) copper is elastically stable and its lattice is not.
    found = assess(copper(), named("shear_111_112")(torch.tensor([0.150], dtype=torch.float64)))
    assert found.verdict.tolist() == [Verdict.PHONON_UNSTABLE]
    assert float(found.acoustic_eigenvalue) > 0 > float(found.frequency_squared)
    assert found.wave_vector[0].tolist() == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)


def test_the_verdict_travels_with_the_data():
    law = argon().testing("phonon", grid=4)
    path = LoadPath.along("finite", strain={"11": [1.02, 1.3], "22": [1.02, 1.3], "33": [1.02, 1.3]})
    record = drive(law, path)
    assert record.verdict[0].tolist() == [Verdict.GOOD, Verdict.ELASTICALLY_UNSTABLE]
    assert record.stress.isfinite().all()
    assert (record.extras["acoustic_eigenvalue"][0] > 0).tolist() == [True, False]
    assert (record.extras["frequency_squared"][0] > 0).tolist() == [True, False]
    assert record.extras["wave_vector"].shape == record.extras["normal"].shape == (1, 2, 3)


def test_a_point_without_a_batch_is_judged_as_in_one():
    law, F = argon(), named("hydro")(torch.tensor([0.01], dtype=torch.float64))
    alone, together = assess(law, F[0]), assess(law, F)
    assert alone.normal.shape == alone.wave_vector.shape == (3,)
    assert float(alone.frequency_squared) == float(together.frequency_squared)
    assert float(alone.acoustic_eigenvalue) == float(together.acoustic_eigenvalue)
    assert bool(alone.stable)


def test_tests_of_stability_change_no_stress_and_leave_points_without_answer_alone():
    law = argon()
    F = torch.stack([torch.eye(3), 1.01 * torch.eye(3), -torch.eye(3)]).double().flatten(-2)
    plain = law(F, law.initial_state(3), 1.0)
    tested = law.testing("phonon", grid=3)(F, law.initial_state(3), 1.0)
    assert tested.verdict.tolist() == [Verdict.GOOD, Verdict.GOOD, Verdict.INVERTED]
    assert torch.equal(tested.stress[:2], plain.stress[:2])
    assert tested.extras["wave_vector"][2].isnan().all()
    assert not law.extras
    assert set(law.testing("elastic").extras) == {"acoustic_eigenvalue", "normal"}


def test_a_limit_lies_between_a_stable_and_an_unstable_state():
    law = argon()
    found = critical(law, "hydro", 0.2, steps=10, tolerance=1e-4, grid=4)
    for loss, value in ((found.elastic, "acoustic_eigenvalue"), (found.phonon, "frequency_squared")):
        around = assess(law, named("hydro")(torch.tensor([loss.e - 1.1e-4, loss.e], dtype=torch.float64)), grid=4)
        assert (getattr(around, value) > 0).tolist() == [True, False]
    assert critical(law, "hydro", 0.01, steps=2, grid=2) == Critical(None, None, 0.01)
    assert critical(law, "hydro", 0.01, steps=2, grid=2).e == math.inf


def test_the_stable_region_is_mapped_along_paths():
    e = torch.linspace(0.0, 0.12, 4, dtype=torch.float64)
    found = region(argon(), ["hydro", "shear_001_100"], e, grid=3)
    assert found.paths == ("hydro", "shear_001_100")
    assert found.stability.acoustic_eigenvalue.shape == found.psi.shape == (2, 4)
    assert found.stress.shape == (2, 4, 3, 3)
    assert found.stability.stable[:, 0].all()
    assert not found.stability.stable[0, -1]


def test_named_paths_start_from_the_reference_with_unit_speed():
    one = torch.eye(3, dtype=torch.float64)
    for name in PATHS:
        start, end = named(name)(torch.tensor([0.0, 0.1], dtype=torch.float64))
        assert torch.equal(start, one)
        assert float((end - one).norm()) == pytest.approx(0.1 * (math.sqrt(3) if name == "hydro" else 1.0))
    F = named("shear_111_112")(torch.tensor([1.0], dtype=torch.float64))[0] - one
    assert F[0].tolist() == pytest.approx([1 / math.sqrt(18)] * 3)
    with pytest.raises(ValueError, match=r"path: got 'twist', wanted a function F\(e\) or one of uniax100"):
        named("twist")
    with pytest.raises(ValueError, match=r"e_max: got 0, wanted more than 0"):
        critical(argon(), "hydro", 0)
