"""Any law along any path: by strain, by stress, by both; members that fail do not disturb the others."""

from itertools import pairwise

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Extra, Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import Verdict
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.paths.proportional import proportional
from datagen.paths.random_walk import random_walk

ELASTIC = LinearElastic(E=210000.0, nu=0.3)
STEEL = J2Plasticity(E=210000.0, nu=0.3, yield_stress=250.0, hardening=2100.0)
RUBBER = NeoHooke(mu=1.0, lmbda=10.0)


class Recorder(Law):
    """A law with history, guess and parameters, which notes what it was asked."""

    measure = Measure.SMALL
    state_names = ("count", "guess")
    n_guess = 1
    parameter_names = ("modulus",)
    extras = {"calls": Extra((), "-", "how much guess came along"), "whole": Extra((2,), "-", "integers")}

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, strain, state, dt, parameters=None):
        self.check(strain, state)
        self.batches.append(len(strain))
        stress = parameters * strain
        count = state[:, 0] + dt
        bad = strain[:, 0] > 1
        verdict = torch.where(bad, int(Verdict.NOT_CONVERGED), int(Verdict.GOOD))
        extras = {"calls": state[:, 1].clone(), "whole": torch.ones(len(strain), 2, dtype=torch.int64)}
        psi = 0.5 * (stress * strain).sum(-1)
        new_state = torch.stack([count, state[:, 1] + 1], -1)
        return self.answer(psi, stress, torch.zeros_like(psi), new_state, verdict, extras)


def test_history_and_guess_go_from_step_to_step_and_extras_are_kept():
    path = LoadPath.along("small", strain={"11": [0.1, 0.2, 0.3]}, dt=torch.tensor([1.0, 2.0, 4.0]))
    law = Recorder()
    record = drive(law, path.with_parameters(torch.tensor([[3.0]])))
    assert record.state.tolist() == [[7.0]]  # history only, and dt summed
    assert record.extras["calls"].tolist() == [[0.0, 1.0, 2.0]]
    assert record.stress[0, :, 0].tolist() == pytest.approx([0.3, 0.6, 0.9])
    assert record.extras["whole"].shape == (1, 3, 2)


def test_a_member_that_fails_keeps_its_verdict_and_costs_nothing_further():
    e = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 2.0, 0.1, 0.1], [0.2, 0.2, 3.0, 0.2]], dtype=torch.float64)
    law = Recorder()
    path = LoadPath.along("small", strain={"11": e}).with_parameters(torch.tensor([[1.0], [2.0], [4.0]]))
    record = drive(law, path)
    assert law.batches == [3, 3, 2, 1]
    assert record.verdict.tolist() == [[0, 0, 0, 0], [0, 10, 10, 10], [0, 0, 10, 10]]
    assert record.good.tolist() == [True, False, False]
    assert record.stress[0, :, 0].tolist() == e[0].tolist()
    assert record.stress[1, 0, 0] == 1.0
    for numbers in (record.stress[..., 0], record.psi, record.dissipation, record.extras["calls"]):
        assert torch.equal(numbers.isnan(), record.verdict >= 10)
    assert record.strain[1, 1, 0] == 2.0  # where it failed
    assert record.strain[1, 2:].isnan().all()
    assert record.state[:, 0].isnan().tolist() == [False, True, True]
    assert record.extras["whole"].dtype == torch.int64


def test_a_path_that_folds_the_body_fails_alone():
    F11 = torch.tensor([[0.9, 0.8, 0.7], [0.5, -0.1, 0.5], [1.1, 1.2, 1.3]], dtype=torch.float64)
    path = LoadPath.along("finite", strain={"11": F11})
    record = drive(RUBBER, path, tangent=True)
    assert record.verdict[1].tolist() == [0, int(Verdict.INVERTED), int(Verdict.INVERTED)]
    alone = drive(RUBBER, path.select([0, 2]), tangent=True)
    assert torch.equal(record.stress[[0, 2]], alone.stress)
    assert torch.equal(record.tangent[[0, 2]], alone.tangent)
    assert record.tangent[1, 1:].isnan().all()
    everyone = drive(RUBBER, path.select([1]))
    assert everyone.verdict.tolist() == [[0, 11, 11]]


def test_the_tangent_is_recorded_for_the_driven_columns():
    path = proportional("finite", PLANE_STRAIN[Measure.FINITE], 3, 4, 0.3, seed=0)
    record = drive(RUBBER, path, tangent=True)
    exact = RUBBER.tangent(record.strain, RUBBER.initial_state(3, 4), 1.0)
    torch.testing.assert_close(record.tangent[..., path.columns], exact[..., path.columns], rtol=1e-14, atol=1e-14)
    assert (record.tangent[..., [2, 5, 6, 7, 8]] == 0).all()


def test_work_is_stored_or_dissipated_as_the_steps_get_small():
    """|work - d psi - dissipation| falls at least three times per step halving, over three halvings."""
    path = cyclic("small", None, n_paths=4, n_steps=16, amplitude=0.01, seed=4)
    errors = []
    for factor in (1, 2, 4, 8):
        record = drive(STEEL, path.refined(factor))
        balance = record.work.sum(1) - record.psi[:, -1] - record.dissipation.sum(1)
        errors.append(float((balance.abs() / record.work.abs().sum(1)).max()))
    assert errors[0] < 0.1
    assert all(fine < coarse / 3 for coarse, fine in pairwise(errors))
    elastic = drive(RUBBER, random_walk("finite", None, 3, 10, 0.3, seed=0).refined(40))
    assert elastic.work.sum(1).numpy() == pytest.approx(elastic.psi[:, -1].numpy(), rel=1e-2, abs=1e-4)


def test_uniaxial_stress_of_a_linear_elastic_bar_is_hookes_law():
    eps = torch.linspace(-0.01, 0.01, 5, dtype=torch.float64).reshape(5, 1)
    free = dict.fromkeys(("22", "33", "23", "13", "12"), 0.0)
    record = drive(ELASTIC, LoadPath.along("small", strain={"11": eps}, stress=free), tangent=True)
    assert (record.verdict == 0).all()
    torch.testing.assert_close(record.stress[..., 0], 210000.0 * eps, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(record.strain[..., 1], -0.3 * eps, rtol=1e-11, atol=1e-15)
    assert record.stress[..., 1:].abs().max() < 1e-8
    torch.testing.assert_close(record.tangent, ELASTIC.tangent(record.strain, ELASTIC.initial_state(5, 1), 1.0))


def test_stress_control_and_strain_control_are_inverse_to_each_other():
    path = random_walk("small", None, n_paths=5, n_steps=12, amplitude=0.02, seed=0)
    forth = drive(STEEL, path)
    assert forth.dissipation.sum() > 0
    components = dict(zip(Measure.SMALL.components, forth.stress.unbind(-1), strict=True))
    back = drive(STEEL, LoadPath.along("small", stress=components))
    assert (back.verdict == 0).all()
    # The plastic tangent is 150 times softer than the elastic one: strain errors are the stress error over it.
    torch.testing.assert_close(back.strain, forth.strain, rtol=0, atol=1e-11)
    torch.testing.assert_close(back.psi, forth.psi, rtol=1e-9, atol=1e-11)


def test_uniaxial_stress_of_steel_follows_its_bilinear_curve_and_unloads_elastically():
    """E eps up to yield, then slope E H / (E + H); unloading has slope E (Simo & Hughes 1998, section 1.2)."""
    E, H, s_y = 210000.0, 2100.0, 250.0
    eps = torch.tensor([0.001, 0.002, 0.01, 0.03, 0.029], dtype=torch.float64)
    free = dict.fromkeys(("22", "33"), 0.0)
    record = drive(STEEL, LoadPath.along("small", strain={"11": eps}, stress=free))
    slope = E * H / (E + H)
    curve = torch.where(eps < s_y / E, E * eps, s_y + slope * (eps - s_y / E))
    curve[4] = curve[3] - E * 0.001
    torch.testing.assert_close(record.stress[0, :, 0], curve, rtol=1e-9, atol=0)
    plastic = eps - curve / E
    torch.testing.assert_close(record.state[0, 6], plastic[-1], rtol=1e-9, atol=0)  # alpha
    torch.testing.assert_close(record.dissipation[0].sum(), s_y * plastic[-1], rtol=1e-9, atol=0)


def test_stress_controlled_steel_yields_and_comes_back_to_zero_stress():
    sigma = torch.tensor([[100.0, 300.0, 0.0, -300.0], [0.0, 0.0, 400.0, 0.0]], dtype=torch.float64)
    record = drive(STEEL, LoadPath.along("small", stress={"11": sigma, **dict.fromkeys(("22", "33"), 0.0)}))
    assert (record.verdict == 0).all()
    assert record.stress[..., 0].numpy() == pytest.approx(sigma.numpy(), abs=1e-8)
    assert record.strain[0, 2, 0] == pytest.approx(50.0 / 2100.0)  # permanent
    assert record.strain[1, 3, 0] == pytest.approx(150.0 / 2100.0)


def test_uniaxial_tension_of_rubber_has_its_closed_form():
    r"""P_22 = 0 gives mu (l^2 - 1) + lmbda ln(L l^2) = 0 for the lateral stretch l at stretch L; then P_11.

    Bonet & Wood 2008, section 6.4.3, with the lateral equation solved here by bisection.
    """
    L = torch.linspace(0.3, 4.0, 12, dtype=torch.float64).reshape(12, 1)
    low, high = torch.full_like(L, 1e-3), torch.full_like(L, 10.0)
    for _ in range(200):
        mid = 0.5 * (low + high)
        up = (mid**2 - 1) + 10.0 * torch.log(L * mid**2) > 0
        low, high = torch.where(up, low, mid), torch.where(up, mid, high)
    P = (L - 1 / L) + 10.0 * torch.log(L * mid**2) / L
    record = drive(RUBBER, LoadPath.along("finite", strain={"11": L}, stress={"22": 0.0, "33": 0.0}))
    assert (record.verdict == 0).all()
    torch.testing.assert_close(record.strain[..., 4], mid, rtol=1e-10, atol=0)
    torch.testing.assert_close(record.stress[..., 0], P, rtol=1e-10, atol=1e-12)


def test_a_huge_step_does_not_jump_over_a_fold():
    """diag(L, -l, -l) is the same balance after half a revolution; Newton without a limit lands there from L = 3.7."""
    L = torch.linspace(0.05, 8.0, 40, dtype=torch.float64).reshape(40, 1)
    record = drive(RUBBER, LoadPath.along("finite", strain={"11": L}, stress={"22": 0.0, "33": 0.0}))
    assert (record.verdict == 0).all()
    assert (record.strain[..., 4] > 0).all()


def test_a_step_whose_first_trial_folds_is_reached_in_stages():
    """F = [[a, b], [b, a]] with a^2 - b^2 = 1 keeps its volume, so P_11 = mu (a - a) = 0; at a = 1 it folds."""
    path = LoadPath.along("finite", strain={"12": 1.5, "21": 1.5}, stress={"11": 0.0, "22": 0.0, "33": 0.0})
    record = drive(RUBBER, path)
    assert record.verdict.tolist() == [[0]]
    assert record.strain[0, 0, [0, 4, 8]].tolist() == pytest.approx([3.25**0.5, 3.25**0.5, 1.0], abs=1e-10)


def test_stress_control_of_one_large_step_finds_the_same_strain_as_many_small_ones():
    P = torch.tensor([[6.0], [-8.0], [0.0]], dtype=torch.float64)
    path = LoadPath.along("finite", stress={"11": P, "22": 0.0, "33": 0.0})
    one, many = drive(RUBBER, path), drive(RUBBER, path.refined(32))
    assert (one.verdict == 0).all()
    torch.testing.assert_close(one.strain[:, -1], many.strain[:, -1], rtol=0, atol=1e-9)
    torch.testing.assert_close(one.strain[2, 0], Measure.FINITE.reference(), rtol=0, atol=1e-12)


def test_plane_stress_by_the_driver_and_by_the_wrapper_agree():
    path = proportional("finite", PLANE_STRAIN[Measure.FINITE], 6, 4, 0.4, seed=1)
    wrapped = drive(PlaneStress(RUBBER), path)
    strain = {c: path.target[..., k] for c, k in zip(path.components, path.columns, strict=True)}
    mixed = drive(RUBBER, LoadPath.along("finite", strain=strain, stress={"33": 0.0}))
    columns = path.columns
    torch.testing.assert_close(mixed.stress[..., columns], wrapped.stress[..., columns], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mixed.strain[..., 8], wrapped.extras["strain_33"], rtol=1e-9, atol=0)


def test_a_stress_that_the_body_cannot_bear_fails_that_member_alone():
    """Perfectly plastic steel bears no more than its yield stress."""
    perfect = J2Plasticity(E=210000.0, nu=0.3, yield_stress=250.0, hardening=0.0)
    sigma = torch.tensor([[100.0, 200.0, 240.0], [100.0, 260.0, 100.0]], dtype=torch.float64)
    path = LoadPath.along("small", stress={"11": sigma, "22": 0.0, "33": 0.0})
    record = drive(perfect, path)
    assert record.verdict.tolist() == [[0, 0, 0], [0, 10, 10]]
    assert record.strain[0, :, 0].numpy() == pytest.approx(sigma[0].numpy() / 210000.0)
    assert record.stress[1, 1:].isnan().all()
    alone = drive(perfect, path.select([0]))
    torch.testing.assert_close(record.strain[:1], alone.strain, rtol=0, atol=1e-16)


def test_rest_is_an_answer():
    record = drive(STEEL, LoadPath.along("small", stress={"11": [[0, 0, 0]], "22": 0.0}))
    assert (record.verdict == 0).all()
    assert (record.strain == 0).all()


@pytest.mark.parametrize(
    ("law", "path", "message"),
    [
        (RUBBER, LoadPath.along("small", strain={"11": 0.1}), "path: got SMALL strain .* wanted FINITE .* NeoHooke"),
        (
            STEEL,
            LoadPath.along("finite", strain={"11": 1.1}),
            "path: got FINITE strain .* wanted SMALL .* J2Plasticity",
        ),
        (
            PlaneStress(RUBBER),
            LoadPath.along("finite", strain={"33": 1.1}),
            "components: got 33, wanted .* 11, 12, 21, 22",
        ),
        (Recorder(), LoadPath.along("small", strain={"11": 0.1}), r"parameters: got 0 columns .* wanted 1 \(modulus\)"),
        (
            ELASTIC,
            LoadPath.along("small", strain={"11": 0.1}, parameters=torch.ones(1, 2)),
            r"parameters: got 2 columns .* wanted 0 \(none\) for LinearElastic",
        ),
    ],
)
def test_a_law_and_a_path_that_do_not_fit_are_refused_in_one_line(law, path, message):
    with pytest.raises(ValueError, match=message) as error:
        drive(law, path)
    assert "\n" not in str(error.value)


class Mover(LinearElastic):
    """An elastic law whose guess is its last strain, and which says how far it went from there, as a cell does."""

    state_names = tuple(f"last_{c}" for c in Measure.SMALL.components)
    n_guess = 6
    extras = {"moved": Extra((6,), "-", "strain since the guess")}

    def forward(self, strain, state, dt, parameters=None):
        step = super().forward(strain, state, dt)
        return step._replace(state=strain.clone(), extras={"moved": strain - state})


def test_extras_that_count_from_the_guess_count_the_whole_step_under_stress_control_too():
    path = LoadPath.along("small", strain={"11": [[0.1, 0.3], [0.2, -0.1]]}, stress={"22": 0.0, "12": 1e4})
    record = drive(Mover(E=210000.0, nu=0.3), path)
    moved = torch.cat([record.strain[:, :1], record.strain.diff(dim=1)], 1)
    assert torch.equal(record.extras["moved"], moved)
    assert record.state.shape == (2, 0)


def test_a_float32_law_is_driven_in_float32():
    record = drive(NeoHooke(mu=1.0, lmbda=10.0).float(), proportional("finite", None, 2, 3, 0.1, seed=0))
    assert record.stress.dtype == torch.float32
    assert (record.verdict == 0).all()
    mixed = LoadPath.along("finite", strain={"11": [1.1, 1.2]}, stress={"22": 0.0, "33": 0.0})
    law = NeoHooke(mu=1.0, lmbda=10.0).float()
    law.accuracy = 1e-6
    assert (drive(law, mixed).verdict == 0).all()


def test_a_path_of_less_precision_than_the_law_is_refused():
    path = proportional("finite", None, 2, 3, 0.1, seed=0).to(torch.float32, "cpu")
    with pytest.raises(TypeError, match=r"path: got torch.float32 targets, wanted torch.float64, the type of NeoHooke"):
        drive(RUBBER, path)
    with pytest.raises(TypeError, match=r"targets: got torch.float32 for 11, wanted torch.float64"):
        LoadPath.along("finite", strain={"11": torch.ones(3)})
