from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from datagen.generate import generate
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.verdict import Verdict
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.gaussian_process import gaussian_process
from datagen.paths.proportional import proportional
from surrogate.evaluate import evaluate

PLANE = PLANE_STRAIN[Measure.FINITE]


def rubber():
    return NeoHooke(mu=1.0, lmbda=2.0)


def ramps(n_paths=8, amplitude=0.2):
    return drive(rubber(), proportional("finite", PLANE, n_paths, 4, amplitude, seed=0))


def steel(yield_stress=250.0):
    return J2Plasticity(E=210e3, nu=0.3, yield_stress=yield_stress, hardening=2100.0)


def test_the_exact_law_has_no_error_and_keeps_what_is_exact(tmp_path):
    paths = [proportional("finite", PLANE, 8, 4, 0.2, seed=0), gaussian_process("finite", PLANE, 4, 4, 0.2, seed=1)]
    store = generate(rubber(), paths, tmp_path / "data", progress=False)
    found = evaluate(rubber(), store)
    assert set(found.classes) == {"proportional", "gaussian_process", "all"}
    for errors in found.classes.values():
        for spread in (errors.stress, errors.psi, errors.work, errors.dissipation, errors.points):
            assert spread.p95 == pytest.approx(0.0, abs=1e-14)
    assert (found.classes["all"].paths, found.classes["all"].failed) == (12, 0)
    assert all(x is not None and x < 1e-10 for x in found.exactness.values())


def test_a_path_error_is_the_miss_over_the_whole_path():
    # Stress 3, 4 against 3, 5: the miss is 1, the size 5. Work 1/2 3, then 1/2 (3 + 4): 1.5, 5; against 1.5, 5.5.
    strain = torch.zeros(1, 2, 6).double()
    strain[0, :, 0] = torch.tensor([1.0, 2.0])
    stress, wrong = torch.zeros_like(strain), torch.zeros_like(strain)
    stress[0, :, 0], wrong[0, :, 0] = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0])

    class Given(J2Plasticity):
        state_names = ()

        def forward(self, strain, state, dt, parameters=None):
            zero = torch.zeros(strain.shape[:-1]).double()
            psi = torch.tensor([[2.0, 6.0]]).double()
            return self.answer(psi, wrong, zero, state, zero.to(torch.int8))

    data = {"strain": strain, "stress": stress, "psi": torch.tensor([[2.0, 8.0]])}
    found = evaluate(Given(1.0, 0.3, 1.0, 0.0), data, exactness=False).classes["path"]
    assert found.stress.median == pytest.approx(1 / 5)
    assert found.psi.median == pytest.approx(2 / 8)
    assert found.work.median == pytest.approx(0.5 / 5)
    assert found.dissipation.median is None  # not known
    assert found.points.p95 == pytest.approx(0.95 * 1 / 4)  # points miss by 0 and by 1/4


def test_dissipation_is_compared_along_the_path_and_a_path_without_any_counts_as_right():
    plastic = drive(steel(), cyclic("small", None, 6, 8, 0.01, seed=0))
    found = evaluate(steel(275.0), plastic, exactness=False).classes["cyclic"]
    assert 0.01 < found.dissipation.median < 0.2
    elastic = drive(steel(), cyclic("small", None, 6, 8, 1e-4, seed=0))
    assert evaluate(steel(275.0), elastic, exactness=False).classes["cyclic"].dissipation.p95 == 0.0


def test_paths_out_of_range_are_told_apart():
    class Careful(NeoHooke):
        def forward(self, strain, state, dt, parameters=None):
            step = super().forward(strain, state, dt, parameters)
            far = (strain - self.reference_strain()).norm(dim=-1) > 0.1
            return step._replace(
                stress=torch.where(far[..., None], 1.5, 1.0) * step.stress,
                verdict=torch.where(far, int(Verdict.OUTSIDE_RANGE), step.verdict).to(torch.int8),
            )

    found = evaluate(Careful(mu=1.0, lmbda=2.0), ramps(16), exactness=False)
    inside, outside = found.in_range["proportional"], found.out_of_range["proportional"]
    assert inside.paths + outside.paths == 16
    assert min(inside.paths, outside.paths) > 0
    assert inside.stress.p95 == 0.0
    assert outside.stress.median > 0.1
    assert [row[0] for row in found.table()[1:]] == ["proportional in range", "proportional outside"]


def test_a_path_without_an_answer_is_counted_and_leaves_the_errors_alone():
    class Brittle(NeoHooke):
        def forward(self, strain, state, dt, parameters=None):
            step = super().forward(strain, state, dt, parameters)
            broken = strain[..., 0] > 1.05
            verdict = torch.where(broken, int(Verdict.NOT_CONVERGED), step.verdict)
            return self.answer(step.psi, step.stress, step.dissipation, step.state, verdict)

    found = evaluate(Brittle(mu=1.0, lmbda=2.0), ramps(16), exactness=False)
    errors = found.classes["proportional"]
    assert 0 < errors.failed < errors.paths == 16
    assert errors.stress.p95 == 0.0
    assert f"16 ({errors.failed} failed)" in found.table()[1]
    assert np.isnan(found.path_errors["proportional"]).sum() == errors.failed
    assert found.as_dict()["path_errors"]["proportional"].count(None) == errors.failed


def test_the_numbers_are_json_and_the_table_fits_a_terminal():
    found = evaluate(NeoHooke(mu=1.0, lmbda=2.2), ramps())
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert again["classes"]["proportional"]["stress"]["median"] == found.classes["proportional"].stress.median
    assert again["exactness"]["closed_loop_work"] < 1e-10
    assert max(sum(len(cell) + 2 for cell in row) for row in found.table()) <= 80
    assert found.table()[0][0] == "paths"
    assert len(found.exactness_table()) == 6


def test_only_the_classes_asked_for_enter():
    data = [ramps(), drive(rubber(), gaussian_process("finite", PLANE, 4, 4, 0.2, seed=1))]
    found = evaluate(rubber(), data, classes=["gaussian_process"], exactness=False)
    assert list(found.classes) == ["gaussian_process"]
    with pytest.raises(ValueError, match="got 'cyclic', the data have gaussian_process, proportional"):
        evaluate(rubber(), data, classes=["cyclic"])


def test_steel_is_checked_in_the_state_that_its_paths_lead_to():
    found = evaluate(steel(), drive(steel(), cyclic("small", None, 6, 8, 0.01, seed=0)))
    assert found.exactness["tangent_is_stress_derivative"] < 1e-7
    assert found.exactness["reference_state"] == 0.0
    for name in ("objectivity", "stress_is_energy_gradient", "closed_loop_work"):
        assert found.exactness[name] is None
        assert [name.replace("_", " "), "-"] in found.exactness_table()


def test_a_law_of_another_measure_is_refused():
    with pytest.raises(ValueError, match="NeoHooke takes the deformation gradient F, the data hold the small strain"):
        evaluate(rubber(), drive(steel(), cyclic("small", None, 2, 4, 0.01, seed=0)))
