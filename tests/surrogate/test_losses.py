from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.proportional import proportional
from surrogate.data import Answer, Dataset
from surrogate.losses import TERMS, EnergyLoss, respond, rollout, work


def two_paths(**more):
    """Uniaxial strain, two paths of two steps: 0 -> 1 -> 3 and 0 -> 2 -> 1; stress 11 twice the strain."""
    strain = torch.zeros(2, 2, 6, dtype=torch.float64)
    strain[..., 0] = torch.tensor([[1.0, 3.0], [2.0, 1.0]])
    stress = torch.zeros_like(strain)
    stress[..., 0] = torch.tensor([[2.0, 6.0], [4.0, 2.0]])
    psi = torch.tensor([[1.0, 9.0], [4.0, 1.0]]).double()
    return Dataset.read({"strain": strain, "stress": stress, "psi": psi, "dissipation": torch.zeros(2, 2), **more})


def shifted(data, stress=0.0, psi=0.0, dissipation=0.0):
    a = data.records.answer
    return Answer(a.psi + psi, a.stress + stress, a.dissipation + dissipation, a.tangent)


def test_work_of_a_step_is_the_trapezoid():
    data = two_paths()
    # 1/2 (0 + 2) 1, 1/2 (2 + 6) 2; 1/2 (0 + 4) 2, 1/2 (4 + 2) (-1)
    expected = torch.tensor([[1.0, 8.0], [4.0, -3.0]]).double()
    assert torch.equal(work(data.records.answer, data.records.strain, data.columns), expected)


def test_work_agrees_with_what_the_record_says():
    record = drive(NeoHooke(mu=1.0, lmbda=2.0), proportional("finite", PLANE_STRAIN[Measure.FINITE], 4, 3, 0.1, seed=0))
    data = Dataset.read(record)
    assert torch.allclose(work(data.records.answer, data.records.strain, data.columns), record.work, rtol=1e-14)


def test_every_term_is_divided_by_its_own_training_variance():
    data = two_paths()
    loss = EnergyLoss(stress=2.0, psi=3.0, work=5.0).fit(data)
    # stress 2 6 4 2: variance 2.75; psi 1 9 4 1: variance 10.6875; work 1 8 4 -3: variance 16.25
    assert loss.variance["stress"] == pytest.approx(2.75)
    assert loss.variance["psi"] == pytest.approx(10.6875)
    assert loss.variance["work"] == pytest.approx(16.25)
    total, parts = loss(shifted(data, stress=0.5, psi=0.25), data.records)
    assert float(parts["stress"]) == pytest.approx(0.25 / 2.75)
    assert float(parts["psi"]) == pytest.approx(0.0625 / 10.6875)
    # a stress off by 0.5 does the work 0.5 (0.5, 2 x 2, 2, -2 x ... ) off: 0.25, 1, 0.5, -0.5
    missed = [0.25, 1.0, 0.5, -0.5]
    assert float(parts["work"]) == pytest.approx(sum(x**2 for x in missed) / 4 / 16.25)
    assert float(total) == pytest.approx(2 * parts["stress"] + 3 * parts["psi"] + 5 * parts["work"])


def test_the_loss_does_not_depend_on_the_units_nor_on_the_size_of_the_strain():
    data = two_paths()
    r = data.records
    wrong = shifted(data, stress=0.5, psi=0.25)

    def relative(strain_scale, stress_scale):
        energy = strain_scale * stress_scale
        scaled = two_paths(
            strain=r.strain[:, 1:] * strain_scale, stress=r.answer.stress * stress_scale, psi=r.answer.psi * energy
        )
        answer = Answer(wrong.psi * energy, wrong.stress * stress_scale, wrong.dissipation, None)
        return float(EnergyLoss(stress=1.0, psi=1.0, work=1.0).fit(scaled)(answer, scaled.records)[0])

    assert relative(1e-3, 1e5) == pytest.approx(relative(1.0, 1.0))


def test_equal_standard_errors_change_nothing_and_large_ones_weigh_as_in_least_squares():
    plain = two_paths()
    e = torch.full_like(plain.records.answer.stress, 0.3)
    same = two_paths(stress_error=e, psi_error=e[..., 0])
    wrong = shifted(plain, stress=0.5, psi=0.25)
    loss, weighted = (EnergyLoss(stress=1.0, psi=1.0).fit(data) for data in (plain, same))
    assert float(weighted(wrong, same.records)[0]) == pytest.approx(float(loss(wrong, plain.records)[0]), rel=1e-14)

    e[0, 1] = 3.0  # one point ten times as uncertain: m = (3 x 0.09 + 9) / 4
    data = two_paths(stress_error=e)
    missed = torch.zeros_like(e)
    missed[0, 1, 0], missed[1, 0, 0] = 1.0, 1.0
    part = EnergyLoss(stress=1.0).fit(data)(shifted(data, stress=missed), data.records)[1]["stress"]
    m = 9.27 / 4
    sure, unsure = m / (m + 0.09), m / (m + 9.0)
    assert float(part) == pytest.approx((sure + unsure) / (3 * sure + unsure) / 2.75)


def test_a_stress_that_no_component_drives_does_not_enter():
    data = two_paths()
    loss = EnergyLoss(stress=1.0).fit(data)
    answer = shifted(data)
    answer.stress[..., 1:] = torch.nan
    assert data.components == ("11",)
    assert float(loss(answer, data.records)[0]) == 0.0


def test_an_energy_that_nobody_knows_is_masked_and_sends_no_gradient():
    psi = torch.tensor([[1.0, math.nan], [4.0, math.nan]])
    data = two_paths(psi=psi, dissipation=torch.full((2, 2), math.nan))
    loss = EnergyLoss(psi=1.0, dissipation=1.0).fit(data)
    got = torch.tensor([[2.0, 7.0], [4.0, 7.0]]).double().requires_grad_()
    total, parts = loss(Answer(got, data.records.answer.stress, got, None), data.records)
    assert float(parts["psi"].detach()) == pytest.approx(0.5 / 2.25)  # one miss of 1 in two known values 1, 4
    assert float(parts["dissipation"].detach()) == 0.0
    (gradient,) = torch.autograd.grad(total, got)
    assert torch.allclose(gradient, torch.tensor([[1 / 2.25, 0.0], [0.0, 0.0]]).double())


def test_dissipation_that_the_data_do_not_have_is_measured_by_the_stored_energy():
    data = two_paths()
    loss = EnergyLoss(dissipation=1.0).fit(data)
    assert float(loss(shifted(data, dissipation=0.5), data.records)[0]) == pytest.approx(0.25 / 10.6875)


def test_the_tangent_enters_along_the_recorded_directions():
    law = NeoHooke(mu=1.0, lmbda=2.0)
    path = proportional("finite", PLANE_STRAIN[Measure.FINITE], 6, 3, 0.1, seed=0)
    data = Dataset.read(drive(law, path, tangent=True))
    loss = EnergyLoss(tangent=1.0).fit(data)
    assert float(loss(respond(law, data.records, tangent=True), data.records)[0]) < 1e-28
    stiffer = NeoHooke(mu=1.0, lmbda=2.1)
    product = (
        stiffer.tangent(data.records.strain[:, 1:], law.initial_state(6, 3), 1.0) @ data.records.direction[..., None]
    )
    wanted = data.records.answer.tangent[..., data.columns]
    missed = (product[..., 0][..., data.columns] - wanted).square().sum(-1).mean()
    variance = (wanted - wanted.mean((0, 1))).square().sum(-1).mean()
    found = loss(respond(stiffer, data.records, tangent=True), data.records)[0]
    assert float(found) == pytest.approx(float(missed / variance))


def test_terms_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got the term 'strss', wanted one of stress, psi, work, dissipation, tangent"):
        EnergyLoss(strss=1.0)
    with pytest.raises(ValueError, match="psi has weight -1"):
        EnergyLoss(psi=-1.0)
    with pytest.raises(ValueError, match="no term has a weight"):
        EnergyLoss(stress=0.0)
    with pytest.raises(ValueError, match="the data hold no tangents"):
        EnergyLoss(tangent=1.0).fit(two_paths())
    with pytest.raises(ValueError, match="nothing to learn"):
        EnergyLoss(stress=1.0).fit(two_paths(stress=torch.ones(2, 2, 6)))


def test_a_new_term_is_one_function_under_a_name(monkeypatch):
    monkeypatch.setitem(TERMS, "pressure", lambda answer, strain, columns: answer.stress[..., :3].sum(-1))
    data = two_paths()
    loss = EnergyLoss(pressure=1.0).fit(data)
    assert float(loss(shifted(data, stress=1.0), data.records)[0]) == pytest.approx(9.0 / 2.75)


def test_a_law_without_history_is_asked_once_for_all_points():
    class Counting(NeoHooke):
        calls = 0

        def forward(self, strain, state, dt, parameters=None):
            self.calls += 1
            return super().forward(strain, state, dt, parameters)

    law = Counting(mu=1.0, lmbda=2.0)
    data = Dataset.read(
        drive(NeoHooke(mu=1.0, lmbda=2.0), proportional("finite", PLANE_STRAIN[Measure.FINITE], 6, 5, 0.1, seed=0))
    )
    answer = respond(law, data.records)
    assert law.calls == 1
    assert torch.equal(answer.stress, data.records.answer.stress)


def test_a_law_with_history_carries_its_state_along_the_path():
    law = J2Plasticity(E=210e3, nu=0.3, yield_stress=250.0, hardening=2100.0)
    record = drive(law, cyclic("small", None, 3, 8, 0.01, seed=0), tangent=True)
    data = Dataset.read(record)
    step, product = rollout(law, data.records, tangent=True)
    assert float(record.dissipation.sum()) > 0
    assert torch.equal(step.stress, record.stress)
    assert torch.equal(step.dissipation, record.dissipation)
    assert torch.equal(step.extras["plastic_work"], record.extras["plastic_work"])
    assert torch.equal(step.state, record.state)
    assert torch.allclose(product, data.records.answer.tangent, rtol=1e-12, atol=1e-6)


def test_parameters_of_a_path_reach_the_law():
    class Graded(NeoHooke):
        parameter_names = ("mu",)

        def forward(self, strain, state, dt, parameters=None):
            graded = NeoHooke(mu=1.0, lmbda=2.0).with_buffers(mu=parameters[..., 0])
            return graded(strain, state, dt)

    mu = torch.tensor([[1.0], [2.0], [3.0]]).double()
    path = proportional("finite", PLANE_STRAIN[Measure.FINITE], 3, 2, 0.1, seed=0).with_parameters(mu)
    law = Graded(mu=1.0, lmbda=2.0)
    record = drive(law, path)
    data = Dataset.read(record)
    assert torch.allclose(respond(law, data.records).stress, record.stress)
