"""The homogenised cell as a law: energy balance, purity, tangent, batches, failure."""

from itertools import pairwise

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.verdict import Verdict
from datagen.microstructures.centred_fibre import centred_fibre
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.laminate import laminate
from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.random_fibres import random_fibres
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.rve import homogenised, solver
from datagen.rve.homogenised import HomogenisedCell

IN_PLANE = PLANE_STRAIN[Measure.FINITE]
MATRIX, FIBRE = NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)


def plastic_cell(tolerance: float = 1e-8, n: int = 6) -> HomogenisedCell:
    laws = [J2Plasticity(E=1.0, nu=0.3, yield_stress=5e-3, hardening=0.05), LinearElastic(E=10.0, nu=0.3)]
    return HomogenisedCell(centred_sphere(n, fraction=0.2), laws, tolerance=tolerance)


def fibre_cell(tolerance: float = 1e-8, **options: object) -> HomogenisedCell:
    return HomogenisedCell(
        centred_fibre(12, fraction=0.3), [MATRIX, FIBRE], "hex8r", tolerance=tolerance, components=IN_PLANE, **options
    )


def loading(n_steps: int, amplitude: float = 0.012) -> LoadPath:
    """A curved path in small strain: the direction turns while the strain grows."""
    t = torch.arange(1, n_steps + 1, dtype=torch.float64) / n_steps
    strain = torch.zeros(1, n_steps, 6, dtype=torch.float64)
    strain[0, :, 0] = amplitude * t
    strain[0, :, 5] = amplitude * t**2
    strain[0, :, 1] = -0.3 * amplitude * t**3
    return LoadPath(Measure.SMALL, strain, Measure.SMALL.components)


def plastic_state(cell: HomogenisedCell, path: LoadPath) -> torch.Tensor:
    state = cell.initial_state()
    for strain in path.target[0]:
        state = cell(strain, state, 1.0).state
    return state


def random_F(*batch: int, size: float = 0.1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    F = torch.eye(3, dtype=torch.float64).repeat(*batch, 1, 1)
    F[..., :2, :2] += size * torch.randn(*batch, 2, 2, generator=generator, dtype=torch.float64)
    return F.flatten(-2)


def test_macroscopic_work_is_the_average_of_microscopic_work() -> None:
    record = drive(plastic_cell(), loading(8))
    assert (record.verdict == 0).all()
    assert (record.dissipation[0, -3:] > 0).all()
    assert (record.extras["hill_mandel"] <= 1e-8).all()
    phases = record.extras["dissipation_by_phase"]
    assert torch.allclose(phases.sum(-1), record.dissipation, rtol=1e-12, atol=1e-18)
    assert (phases[..., 1] == 0).all()  # the sphere is elastic


def test_energy_balance_closes_as_the_step_is_halved() -> None:
    defects = []
    for n_steps in (8, 16, 32, 64):
        record = drive(plastic_cell(1e-10, n=4), loading(n_steps, 0.02))
        work = record.extras["work"].sum()
        defects.append(float((work - record.psi[0, -1] - record.dissipation.sum()).abs() / work))
    assert all(coarse / fine >= 3 for coarse, fine in pairwise(defects)), defects


def test_solver_tolerance_does_not_change_the_plastic_answer() -> None:
    coarse, fine = (drive(plastic_cell(tolerance), loading(8)) for tolerance in (1e-6, 1e-10))
    for name in ("stress", "psi", "dissipation"):
        a, b = getattr(coarse, name), getattr(fine, name)
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_a_cell_answers_the_same_however_often_it_was_asked() -> None:
    cell = plastic_cell()
    path = loading(6)
    state = plastic_state(cell, LoadPath(Measure.SMALL, path.target[:, :4], path.components))
    strain = path.target[0, 4]
    answers = {}
    for call in range(1, 8):
        answers[call] = cell(strain, state, 1.0)
        cell(2.0 * strain, cell.initial_state(), 0.5)  # something else in between
    for call in (3, 7):
        assert torch.equal(answers[call].stress, answers[1].stress)
        assert torch.equal(answers[call].state, answers[1].state)
        assert torch.equal(answers[call].dissipation, answers[1].dissipation)


def test_cell_tangent_is_the_derivative_of_its_stress_in_a_plastic_state() -> None:
    cell = plastic_cell(1e-11)
    path = loading(4, 0.02)
    state = plastic_state(cell, path)
    strain = path.target[0, -1] + 2e-3 * torch.tensor([1.0, -0.4, 0.2, 0.3, -0.5, 0.7], dtype=torch.float64)
    assert cell(strain, state, 1.0).dissipation > 0
    h = 1e-6 * torch.eye(6, dtype=torch.float64)
    plus, minus = cell(strain + h, state.expand(6, -1), 1.0), cell(strain - h, state.expand(6, -1), 1.0)
    numerical = ((plus.stress - minus.stress) / 2e-6).T
    tangent = cell.tangent(strain, state, 1.0)
    assert (tangent - numerical).abs().max() <= 1e-6 * tangent.abs().max()


def test_a_batch_of_microstructures_answers_as_its_members_do() -> None:
    cells = random_fibres(8, fraction=0.3, count=2, seed=3, n_samples=3)
    laws = [MATRIX, FIBRE]
    batch = HomogenisedCell(cells, laws, "hex8r", tolerance=1e-11, components=IN_PLANE)
    assert batch.parameter_names == ("sample",)
    F = random_F(4)
    sample = torch.tensor([[2.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
    step, saved = batch.linearise(F, batch.initial_state(4), 1.0, sample)
    for b in range(4):
        alone = HomogenisedCell(cells.sample(int(sample[b])), laws, "hex8r", tolerance=1e-11, components=IN_PLANE)
        own, own_saved = alone.linearise(F[b], alone.initial_state(), 1.0)
        assert torch.allclose(step.stress[b], own.stress, rtol=1e-9, atol=1e-11, equal_nan=True)
        assert torch.allclose(saved[b], own_saved, rtol=1e-8, atol=1e-9, equal_nan=True)


def test_a_batch_of_mixed_laws_and_microstructures_answers_as_its_members_do() -> None:
    phase = torch.zeros(2, 4, 4, 4, dtype=torch.int64)
    phase[0, 1:3, 1:3, 1:3] = 1
    phase[1, :2, :3] = 1
    laws = [J2Plasticity(E=1.0, nu=0.3, yield_stress=5e-3, hardening=0.05), LinearElastic(E=10.0, nu=0.3)]
    batch = HomogenisedCell(Microstructure(phase), laws, tolerance=1e-11)
    eps = loading(1, 0.02).target[0].expand(2, 6)
    step, saved = batch.linearise(eps, batch.initial_state(2), 1.0, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert (step.dissipation > 0).all()
    for b in range(2):
        alone = HomogenisedCell(Microstructure(phase[b]), laws, tolerance=1e-11)
        own, own_saved = alone.linearise(eps[b], alone.initial_state(), 1.0)
        assert torch.allclose(step.stress[b], own.stress, rtol=1e-8, atol=1e-12)
        assert torch.allclose(saved[b], own_saved, rtol=1e-6, atol=1e-8)


def test_cutting_a_batch_into_chunks_changes_nothing() -> None:
    whole, cut = fibre_cell(1e-11), fibre_cell(1e-11, memory=1.0)
    F = random_F(3)
    a, b = whole(F, whole.initial_state(3), 1.0), cut(F, cut.initial_state(3), 1.0)
    assert torch.allclose(a.stress, b.stress, rtol=1e-9, atol=1e-11, equal_nan=True)


def test_a_folded_member_is_reported_alone() -> None:
    cell = fibre_cell()
    F = random_F(3)
    F[1, 0] = -0.5
    step = cell(F, cell.initial_state(3), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.INVERTED, Verdict.GOOD]
    assert step.stress[1].isnan().all()
    own = cell(F[2], cell.initial_state(), 1.0)
    assert torch.allclose(step.psi[2], own.psi, rtol=1e-6)


def test_a_strain_that_is_not_a_number_is_reported_alone() -> None:
    cell = plastic_cell()
    eps = torch.full((2, 6), 1e-3, dtype=torch.float64)
    eps[0, 2] = torch.nan
    step = cell(eps, cell.initial_state(2), 1.0)
    assert step.verdict.tolist() == [Verdict.NOT_FINITE, Verdict.GOOD]


def test_a_guess_that_is_not_a_number_is_no_guess() -> None:
    for cell, strain in ((plastic_cell(), loading(1).target[0, 0]), (fibre_cell(), random_F())):
        state = cell.initial_state()
        answer = cell(strain, state, 1.0)
        state[-1] = torch.nan  # the fluctuation only
        assert cell(strain, state, 1.0).verdict == Verdict.GOOD
        assert torch.equal(cell(strain, state, 1.0).psi, answer.psi)


def test_history_that_is_not_a_number_is_reported_by_a_law() -> None:
    law = J2Plasticity(E=1.0, nu=0.3, yield_stress=5e-3, hardening=0.05)
    state = law.initial_state(2)
    state[0, 6] = torch.nan
    step = law(torch.full((2, 6), 1e-3, dtype=torch.float64), state, 1.0)
    assert step.verdict.tolist() == [Verdict.NOT_FINITE, Verdict.GOOD]


class Scaled(LinearElastic):
    """A law with a setting that is neither a buffer nor public."""

    def __init__(self, factor: float) -> None:
        super().__init__(E=1.0, nu=0.3)
        self._factor = factor

    def _stress(self, eps: torch.Tensor) -> torch.Tensor:
        return self._factor * super()._stress(eps)


def test_phases_that_differ_in_a_private_setting_keep_their_own_law() -> None:
    cells = laminate([4, 2, 2], normal="x")
    eps = torch.tensor([1e-2, 0, 0, 0, 0, 0], dtype=torch.float64)
    stress = []
    for laws in ([Scaled(1.0), Scaled(10.0)], [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.3)]):
        cell = HomogenisedCell(cells, laws)
        stress.append(cell(eps, cell.initial_state(), 1.0).stress)
    assert torch.allclose(*stress, rtol=1e-7, atol=1e-12)


def test_a_step_too_large_for_newton_is_cut_and_lands_on_the_same_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = fibre_cell(1e-9)
    F = torch.diag(torch.tensor([2.0, 0.6, 1.0], dtype=torch.float64)).flatten()
    whole = cell(F, cell.initial_state(), 1.0)
    monkeypatch.setattr(solver, "MAX_NEWTON", 8)
    monkeypatch.setattr(homogenised, "MAX_CUTS", 0)
    assert cell(F, cell.initial_state(), 1.0).verdict == Verdict.NOT_CONVERGED
    monkeypatch.setattr(homogenised, "MAX_CUTS", 4)
    cut = cell(F, cell.initial_state(), 1.0)
    assert cut.verdict == Verdict.GOOD
    assert torch.allclose(cut.psi, whole.psi, rtol=1e-8)
    assert cut.extras["iterations"] > whole.extras["iterations"]


def test_plane_strain_is_the_in_plane_part_of_three_dimensions() -> None:
    fibre = centred_fibre(6, fraction=0.3)
    thick = Microstructure(fibre.phase[0].expand(6, 6, 2), fibre.spacing)
    plane = HomogenisedCell(fibre, [MATRIX, FIBRE], tolerance=1e-10, components=IN_PLANE)
    full = HomogenisedCell(fibre, [MATRIX, FIBRE], tolerance=1e-10)
    solid = HomogenisedCell(thick, [MATRIX, FIBRE], tolerance=1e-10)
    assert plane.n_guess < full.n_guess  # the out-of-plane displacement is left out
    F = random_F(size=0.08)
    a, b, c = (cell(F, cell.initial_state(), 1.0) for cell in (plane, full, solid))
    columns = Measure.FINITE.columns(IN_PLANE)
    assert torch.allclose(a.stress[columns], b.stress[columns], rtol=1e-8, atol=1e-10)
    assert torch.allclose(b.stress, c.stress, rtol=1e-8, atol=1e-10)
    assert a.stress[8].isnan()
    assert not b.stress[8].isnan()


def test_a_cell_of_cells_of_one_material_is_that_material() -> None:
    inner = HomogenisedCell(centred_fibre(4, fraction=0.3), [MATRIX, MATRIX], "hex8r", components=IN_PLANE)
    outer = HomogenisedCell(centred_fibre(4, fraction=0.3), [inner, inner], "hex8r", components=IN_PLANE)
    F = random_F(size=0.05)
    step = outer(F, outer.initial_state(), 1.0)
    columns = Measure.FINITE.columns(IN_PLANE)
    expected = MATRIX(F, MATRIX.initial_state(), 1.0).stress
    assert torch.allclose(step.stress[columns], expected[columns], rtol=1e-7, atol=1e-9)


def test_compressed_layers_buckle_and_report_negative_curvature_on_the_way() -> None:
    # Stiff layers along x between soft ones buckle; the straight state is an equilibrium, but not a minimum.
    cells = laminate([32, 16, 1], normal="y", fraction=0.125)
    laws = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=200.0, lmbda=300.0)]
    cell = HomogenisedCell(cells, laws, "hex8r", components=IN_PLANE)
    F = torch.eye(3, dtype=torch.float64)
    F[0, 0] = 0.80
    rough = cell.initial_state()
    rough[-cell.n_guess + 9 :] = 1e-3 * torch.randn(
        cell.n_guess - 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    straight = cell(F.flatten(), cell.initial_state(), 1.0)
    buckled = cell(F.flatten(), rough, 1.0)
    assert buckled.verdict == Verdict.UNSTABLE
    assert buckled.psi < 0.9 * straight.psi


def test_a_wild_guess_does_not_change_the_answer() -> None:
    cell = fibre_cell(1e-9)
    F = random_F(size=0.08)
    wild = cell.initial_state()
    generator = torch.Generator().manual_seed(0)
    wild[9:] = torch.randn(cell.n_guess - 9, generator=generator, dtype=torch.float64)
    step, expected = cell(F, wild, 1.0), cell(F, cell.initial_state(), 1.0)
    assert step.verdict == expected.verdict == Verdict.GOOD
    assert torch.allclose(step.psi, expected.psi, rtol=1e-7)


def test_a_tangent_that_was_not_solved_for_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = fibre_cell()
    F = random_F(size=0.05)
    state = cell(F, cell.initial_state(), 1.0).state
    monkeypatch.setattr(solver, "MAX_KRYLOV", 3)
    step, saved = cell.linearise(F, state, 1.0)
    assert step.verdict == Verdict.NOT_CONVERGED
    assert saved.isnan().all()


def test_orientations_are_refused_rather_than_ignored() -> None:
    fibre = centred_fibre(6, fraction=0.3)
    turned = Microstructure(fibre.phase, fibre.spacing, orientations=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1))
    with pytest.raises(ValueError, match="orientations"):
        HomogenisedCell(turned, [MATRIX, FIBRE])


def test_dimensions_in_millimetres_do_not_enter_the_answer() -> None:
    fibre = centred_fibre(6, fraction=0.3)
    large = Microstructure(fibre.phase, 1000.0)
    a, b = (HomogenisedCell(m, [MATRIX, FIBRE], tolerance=1e-10, components=IN_PLANE) for m in (fibre, large))
    F = random_F()
    assert torch.allclose(a(F, a.initial_state(), 1.0).psi, b(F, b.initial_state(), 1.0).psi, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"laws": [MATRIX]}, "phase index 1 has no law; got 1 laws, wanted 2"),
        ({"laws": [MATRIX, LinearElastic(E=1.0, nu=0.3)]}, "NeoHooke FINITE, LinearElastic SMALL, wanted laws of one"),
        ({"discretisation": "hex27"}, "discretisation: got 'hex27', wanted one of hex8, hex8r, fourier"),
        ({"discretisation": "fourier"}, "wanted odd numbers of voxels"),
        ({"boundary": "kubc"}, "boundary: got 'kubc', wanted one of periodic"),
        ({"tolerance": 0.0}, "tolerance: got 0.0"),
        ({"components": ["11", "44"]}, "components: got '44'"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"microstructure": centred_fibre(6, fraction=0.3), "laws": [MATRIX, FIBRE]}
    with pytest.raises(ValueError, match=message):
        HomogenisedCell(**(arguments | change))


def test_a_preconditioner_of_single_precision_changes_no_digit_beyond_the_tolerance() -> None:
    cells = [fibre_cell(1e-9, mixed_precision=mixed) for mixed in (False, True)]
    F = cells[0].reference_strain()
    F[[0, 1]] += torch.tensor([0.05, 0.1], dtype=torch.float64)
    steps = [cell(F, cell.initial_state(), 1.0) for cell in cells]
    tangents = [cell.tangent(F, cell.initial_state(), 1.0).nan_to_num() for cell in cells]
    assert not torch.equal(steps[0].stress, steps[1].stress)  # it did something
    torch.testing.assert_close(steps[1].stress, steps[0].stress, rtol=1e-8, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(tangents[1], tangents[0], rtol=1e-7, atol=1e-7)
    assert steps[1].extras["iterations"] <= steps[0].extras["iterations"] + 4


class Prestrained(LinearElastic):
    """A phase whose virgin state is not zero: one column that it keeps."""

    state_names = ("age",)

    def initial_state(self, *batch: int) -> torch.Tensor:
        return torch.full((*batch, 1), 7.0, dtype=torch.float64)


def test_phases_begin_in_their_own_first_state() -> None:
    laws = [LinearElastic(E=1.0, nu=0.3), Prestrained(E=2.0, nu=0.3)]
    sphere = centred_sphere(4, fraction=0.3)
    cell = HomogenisedCell(sphere, laws)
    history = cell.initial_state(2)[:, : cell.n_history].reshape(2, 8, -1)
    assert torch.equal(history, 7.0 * sphere.phase.flatten(1).double().expand(2, 8, -1))
    step = cell(cell.reference_strain(), cell.initial_state(), 1.0)
    assert torch.equal(step.state[: cell.n_history], history[0].flatten())
