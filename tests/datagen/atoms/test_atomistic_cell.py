"""Cells of relaxed atoms as a law: perfect ones, defects, alloys, boundaries, and what is lost when a branch ends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.atoms.atomistic_cell import AtomisticCell
from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import diamond, fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.morse import Morse
from datagen.atoms.neighbours import neighbours
from datagen.atoms.statics import evaluate
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.supercells import random_alloy, supercell, symmetric_tilt, vacancy
from datagen.atoms.units import MPA
from datagen.laws.law import Step
from datagen.laws.verdict import Verdict
from datagen.tensors import random_rotation

ARGON = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="smooth", inner=6.81)
COPPER = Morse(D=0.3429, alpha=1.3588, r0=2.866, cutoff=5.5, truncation="smooth", inner=4.5)
MIXED = LennardJones(
    epsilon=[[0.0104, 0.0121], [0.0121, 0.0141]], sigma=[[3.405, 3.52], [3.52, 3.64]], cutoff=8.5125,
    truncation="smooth", inner=6.81, elements=["Ar", "Kr"], masses=[39.948, 83.798],
)  # fmt: skip
SILICON = StillingerWeber(2.1683, 2.0951, 1.8, 21.0, 1.2, -0.333333333333, 7.049556277, 0.6022245584, 4, 0)


@pytest.fixture(scope="module")
def holed() -> AtomisticCell:
    """Argon with an eighth of its sites vacant."""
    return AtomisticCell(ARGON, vacancy(supercell(fcc(5.27, "Ar"), 2)))


def strains(*batch: int, size: float = 0.03, seed: int = 0) -> Tensor:
    noise = torch.rand(*batch, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64).flatten() + size * (2 * noise - 1)


def sheared(gamma: float) -> Tensor:
    F = torch.eye(3, dtype=torch.float64)
    F[0, 1] = gamma
    return F.flatten()[None]


def follow(law: AtomisticCell, gammas: list[float]) -> list[Step]:
    steps, state = [], law.initial_state(1)
    for gamma in gammas:
        steps.append(law(sheared(gamma), state, 1.0))
        state = steps[-1].state
    return steps


def check_derivatives(law: AtomisticCell, F: Tensor, h: float = 1e-3) -> None:
    """Stress against the energy's and tangent against the stress's differences of fourth order, on one branch."""
    state = law(F, law.initial_state(len(F)), 1.0).state
    step, tangent = law(F, state, 1.0), law.tangent(F, state, 1.0)
    assert set(step.verdict.tolist()) == {Verdict.GOOD}
    moves = h * torch.tensor([-2.0, -1, 1, 2], dtype=torch.float64)[:, None, None, None] * torch.eye(
        9, dtype=torch.float64).reshape(9, 1, 9)  # fmt: skip
    moved = F + moves  # (4, 9, m, 9)
    near = law(moved, state.expand(4, 9, *state.shape), 1.0)
    weights = torch.tensor([1.0, -8, 8, -1], dtype=torch.float64) / (12 * h)
    stress = torch.einsum("a,ajm->mj", weights, near.psi)
    assert float((stress - step.stress).abs().max()) < 1e-7 * float(step.stress.abs().max())
    slope = torch.einsum("a,ajmi->mij", weights, near.stress)
    assert float((slope - tangent).abs().max()) < 1e-6 * float(tangent.abs().max())
    assert float((tangent - tangent.mT).abs().max()) < 1e-9 * float(tangent.abs().max())


@pytest.mark.parametrize("crystal", [fcc(5.27, "Ar", conventional=True), supercell(fcc(5.27, "Ar"), 2)], ids=["4", "8"])
def test_a_perfect_supercell_answers_as_its_primitive_cell(crystal: Crystal) -> None:
    cell, lattice = AtomisticCell(ARGON, crystal), CauchyBorn(ARGON, fcc(5.27, "Ar"))
    F = strains(4)
    step, tangent = cell.linearise(F, cell.initial_state(4), 1.0)
    wanted, wanted_tangent = lattice.linearise(F, lattice.initial_state(4), 1.0)
    torch.testing.assert_close(step.psi, wanted.psi, rtol=1e-10, atol=0)
    torch.testing.assert_close(step.stress, wanted.stress, rtol=0, atol=1e-10 * float(wanted.stress.abs().max()))
    torch.testing.assert_close(tangent, wanted_tangent, rtol=0, atol=1e-10 * float(tangent.abs().max()))
    assert step.dissipation.tolist() == [0.0] * 4


# Si.sw, relaxed: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json, deformation_cases; eV/A^3.
F_SI = [
    [1.0285932308542494, 0.005117195580031521, -0.02561118030465618, -0.01655467935220719, 0.9818690197767782,
     -0.01098459888348359, 0.03013006796423605, -0.040919836000832016, 0.9873624392764464],
    [1.0291322900264168, 0.0258671464568362, 0.010397503938027422, -0.036925216718319234, 0.985984468315076,
     0.03708048524974217, 0.047813311695404107, 0.020718114571751517, 0.966087298098539],
    [1.0378522742083591, -0.033810456139420256, -0.016061298654918343, -0.014677743351577177, 0.9888152479737079,
     -0.03840256809169027, -0.03144919407672979, 0.025490405586319417, 0.9575850375774382],
]  # fmt: skip
W_SI = [0.0008317559896399984, 0.0018029393983262088, 0.0016663734800477226]
P_SI = [
    [0.012633729180235682, -0.003825838411307621, 0.0013030447666421232, -0.004290517706854782,
     -0.010080156364990465, -0.01893105376384241, 0.0016860031771447144, -0.018801263051822618,
     -0.007254001621355536],
    [0.004248877110519579, -0.003474993920409986, 0.02071539781370065, -0.0025243919202127493,
     -0.016604634819141935, 0.020428366434119178, 0.019304140152911025, 0.021252322534310017,
     -0.02618038304054713],
    [0.009213759870717774, -0.016636754380956128, -0.016463722560197878, -0.015899503473245095,
     -0.014351843911487597, -0.0038869250884196725, -0.016471075300112322, -0.004955588587992187,
     -0.02787663266005861],
]  # fmt: skip


def test_relaxed_silicon_is_that_of_lammps() -> None:
    law = AtomisticCell(SILICON, diamond(5.43, "Si", conventional=True))
    F = torch.tensor(F_SI, dtype=torch.float64)
    step = law(F, law.initial_state(3), 1.0)
    P = torch.tensor(P_SI, dtype=torch.float64)
    # The pressure constant of LAMMPS, nktv2p, cancels: the reference file has eV/A^3.
    torch.testing.assert_close(step.stress / MPA, P, rtol=0, atol=1e-9 * float(P.abs().max()))
    torch.testing.assert_close(step.psi / MPA, torch.tensor(W_SI, dtype=torch.float64), rtol=1e-9, atol=0)


def test_atoms_around_a_vacancy_relax_and_it_costs_less() -> None:
    cube = AtomisticCell(COPPER, fcc(3.6, "Cu", conventional=True))
    perfect = supercell(cube.crystal, 2)
    hole = vacancy(perfect)
    each = float(cube.energy_0) / 4

    def energy(crystal: Crystal) -> float:
        found = neighbours(crystal.positions[None], crystal.lattice[None], COPPER.cutoff)
        return float(evaluate(COPPER, crystal.positions[None], crystal.lattice[None], COPPER.species(crystal.elements),
                              found).energy)  # fmt: skip

    unrelaxed = energy(hole) - 31 * each
    fixed, free = (float(AtomisticCell(COPPER, hole, reference=r).energy_0) - 31 * each for r in
                   ("as_given", "stress_free"))  # fmt: skip
    # As cut it costs the cohesive energy, as always with pair potentials.
    assert unrelaxed == pytest.approx(-each, rel=1e-9)
    assert 0.8 * unrelaxed < free < fixed < unrelaxed


def test_stress_and_tangent_of_a_cell_with_a_vacancy_are_derivatives(holed: AtomisticCell) -> None:
    check_derivatives(holed, strains(2, size=0.02))


def test_stress_and_tangent_of_a_random_alloy_are_derivatives() -> None:
    law = AtomisticCell(MIXED, random_alloy(supercell(fcc(5.4, "Ar"), 2), {"Ar": 0.5, "Kr": 0.5}, seed=1))
    check_derivatives(law, strains(1, size=0.02))


def test_a_tilt_boundary_is_a_law_too() -> None:
    boundary = symmetric_tilt(fcc(3.63, "Cu", conventional=True), (2, 1, 0), (0, 0, 1), thickness=1, closest=0.8)
    law = AtomisticCell(COPPER, boundary)
    assert float(law(sheared(0.0), law.initial_state(1), 1.0).stress.abs().max()) < 1e-6
    F = strains(1, size=0.01)
    step, tangent = law.linearise(F, law.initial_state(1), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD]
    direction = strains(1, size=1.0, seed=5) - torch.eye(3, dtype=torch.float64).flatten()
    h = 1e-4
    plus, minus = (law(F + s * h * direction, step.state, 1.0) for s in (1, -1))
    change = (plus.stress - minus.stress) / (2 * h)
    wanted = law.apply_tangent(tangent, direction)
    assert float((change - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())
    power = float((plus.psi - minus.psi)[0]) / (2 * h)
    assert power == pytest.approx(float((step.stress * direction).sum()), abs=1e-6 * float(step.stress.abs().max()))


def test_what_is_lost_when_a_branch_ends_is_dissipated(holed: AtomisticCell) -> None:
    # Past the shears at which the lattice slips, near 0.23 and 0.38; fine steps for the work by the trapezoidal rule.
    defects, losses = [], []
    for n in (16, 64):
        gammas = [0.4 * (k + 1) / n for k in range(n)]
        steps = follow(holed, gammas)
        stress = torch.tensor([0.0, *(float(step.stress[0, 1]) for step in steps)])
        work = float((0.5 * (stress[1:] + stress[:-1])).sum()) * 0.4 / n
        losses.append(sum(float(step.dissipation) for step in steps))
        defects.append(abs(work - losses[-1] - float(steps[-1].psi)))
        left = [step.verdict.item() == Verdict.LEFT_BRANCH for step in steps]
        assert sum(left) >= 2  # the second fall goes in stairs
        assert all((float(step.dissipation) > 0) == gone for step, gone in zip(steps, left, strict=True))
        assert float(steps[-1].psi) < max(float(step.psi) for step in steps)  # it fell, and is pulled the other way
        assert float(steps[-1].stress[0, 1]) < 0 < float(steps[7].stress[0, 1])
    assert losses == pytest.approx([losses[-1]] * 2, rel=5e-3)
    # A jump anywhere within a step of the driver is half a step's work wrong by the trapezoidal rule, at most.
    assert defects[1] < 0.01 * work
    assert defects[1] < defects[0] / 4


def test_a_finer_resolution_changes_the_loss_in_first_order() -> None:
    crystal = vacancy(supercell(fcc(5.27, "Ar"), 2))
    losses = []
    for resolution in (1e-3, 1e-4, 1e-5):
        law = AtomisticCell(ARGON, crystal, resolution=resolution)
        losses.append(float(law(sheared(0.26), law.initial_state(1), 1.0).dissipation))
    assert abs(losses[1] - losses[2]) < 0.02 * losses[2]
    assert abs(losses[0] - losses[2]) < 0.1 * losses[2]


def test_sheared_back_an_alloy_that_slipped_keeps_energy_and_bears_no_stress() -> None:
    law = AtomisticCell(MIXED, random_alloy(supercell(fcc(5.4, "Ar"), 2), {"Ar": 0.5, "Kr": 0.5}, seed=1))
    out, slipped, *_, returned, healed = follow(law, [0.2, 0.4, 0.6, 0.4, 0.2, 0.0])
    assert out.verdict.item() == Verdict.GOOD
    assert slipped.verdict.item() == Verdict.LEFT_BRANCH
    assert slipped.dissipation.item() > 0
    assert returned.psi.item() > 1.1 * out.psi.item()
    assert 0 < returned.stress[0, 1].item() < 0.1 * out.stress[0, 1].item()
    # Without shear the slipped lattice is unstable again: it falls back, and a loop is closed that only lost.
    assert healed.verdict.item() == Verdict.LEFT_BRANCH
    assert abs(healed.psi.item()) < 1e-9
    assert healed.dissipation.item() > slipped.dissipation.item()


def test_there_and_back_on_one_branch_nothing_is_lost(holed: AtomisticCell) -> None:
    steps = follow(holed, [0.05, 0.1, 0.05, 0.0])
    assert [step.dissipation.item() for step in steps] == [0.0] * 4
    assert abs(steps[-1].psi.item()) < 1e-9
    torch.testing.assert_close(steps[0].stress, steps[2].stress, rtol=0, atol=1e-7)


def test_what_is_dissipated_does_not_depend_on_the_observer(holed: AtomisticCell) -> None:
    state, turned = holed.initial_state(1), holed.initial_state(1)
    Q = random_rotation(3, generator=torch.Generator().manual_seed(1))
    for gamma, R in zip((0.1, 0.2, 0.3), Q, strict=True):
        F = sheared(gamma)
        step = holed(F, state, 1.0)
        other = holed((R @ F.reshape(3, 3)).reshape(1, 9), turned, 1.0)
        state, turned = step.state, other.state
        torch.testing.assert_close(other.psi, step.psi, rtol=1e-7, atol=0)
        torch.testing.assert_close(other.dissipation, step.dissipation, rtol=1e-4, atol=1e-9)
        wanted = (R @ step.stress.reshape(3, 3)).reshape(1, 9)
        torch.testing.assert_close(other.stress, wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


def test_a_batch_answers_as_its_members_do_though_some_leave_their_branch(holed: AtomisticCell) -> None:
    F = torch.cat([sheared(0.05), sheared(0.3), sheared(-0.1), strains(1)])
    together = holed(F, holed.initial_state(4), 1.0)
    assert together.verdict.tolist() == [Verdict.GOOD, Verdict.LEFT_BRANCH, Verdict.GOOD, Verdict.GOOD]
    for k in range(4):
        alone = holed(F[k], holed.initial_state(), 1.0)
        torch.testing.assert_close(alone.psi, together.psi[k], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.stress, together.stress[k], rtol=0, atol=1e-7)
        torch.testing.assert_close(alone.dissipation, together.dissipation[k], rtol=1e-6, atol=0)


def test_a_strain_beyond_any_answer_says_so(holed: AtomisticCell) -> None:
    F = torch.cat([sheared(0.01), sheared(0.01), sheared(0.01)])
    F[1, 0], F[2, 0] = -1.0, 0.1
    step = holed(F, holed.initial_state(3), 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.INVERTED, Verdict.CRUSHED]
    assert step.stress[1:].isnan().all()


def test_a_state_that_is_crushed_spoils_no_other_member(holed: AtomisticCell) -> None:
    F, state = sheared(0.01).expand(2, 9), holed.initial_state(2)
    state[1, 0] = -0.6  # a Green-Lagrange strain is more than -1/2
    step = holed(F, state, 1.0)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.CRUSHED]
    assert bool(step.psi[0].isfinite())
    assert bool(step.psi[1].isnan())


def test_atoms_that_find_no_rest_have_no_answer() -> None:
    law = AtomisticCell(ARGON, vacancy(supercell(fcc(5.27, "Ar"), 2)), resolution=0.05)
    law.tolerance = 0.0  # none can
    step = law(strains(1), law.initial_state(1), 1.0)
    assert step.verdict.tolist() == [Verdict.NOT_CONVERGED]
    assert all(bool(part.isnan().all()) for part in (step.psi, step.stress, step.dissipation, step.state))


def test_a_call_leaves_its_arguments_alone_and_is_repeated_to_the_last_bit(holed: AtomisticCell) -> None:
    F, state = sheared(0.3), holed.initial_state(1)
    once = holed(F, state, 1.0)
    again = holed(F, state, 1.0)
    assert torch.equal(F, sheared(0.3))
    assert torch.equal(state, holed.initial_state(1))
    for a, b in zip(once[:5], again[:5], strict=True):
        assert torch.equal(a, b)


def test_material_axes_turn_the_cell(holed: AtomisticCell) -> None:
    Q = random_rotation(generator=torch.Generator().manual_seed(2))
    F = strains(1, size=0.02)
    turned = holed.with_buffers(orientation=Q)
    wanted = holed((F.reshape(3, 3) @ Q).reshape(1, 9), holed.initial_state(1), 1.0)
    step = turned(F, turned.initial_state(1), 1.0)
    torch.testing.assert_close(step.psi, wanted.psi, rtol=1e-9, atol=0)
    torch.testing.assert_close(step.stress.reshape(3, 3), wanted.stress.reshape(3, 3) @ Q.T, rtol=0, atol=1e-7)


def test_wrong_settings_are_refused() -> None:
    crystal = fcc(5.27, "Ar", conventional=True)
    jumping = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125, truncation="cut")
    with pytest.raises(ValueError, match=r"potential: got a LennardJones whose force jumps at the cutoff"):
        AtomisticCell(jumping, crystal)
    with pytest.raises(ValueError, match=r"reference: got 'relaxed', wanted stress_free or as_given"):
        AtomisticCell(ARGON, crystal, reference="relaxed")
    with pytest.raises(ValueError, match=r"tolerance, max_step, resolution: got .* wanted tolerance > 0"):
        AtomisticCell(ARGON, crystal, resolution=0.1)
