"""Step control, history, energy and regions of the macro solver, and what it says of wrong input."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Law, Measure, Step, finite_verdict
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import Verdict
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.homogenised import HomogenisedCell
from surrogate.macro.boundary import Displacement
from surrogate.macro.cantilever import cantilever
from surrogate.macro.cook import cook
from surrogate.macro.mesh import rectangle
from surrogate.macro.problem import Problem
from surrogate.macro.reach import reach
from surrogate.macro.solver import solve
from surrogate.macro.uniaxial import uniaxial

RUBBER = NeoHooke(mu=1.0, lmbda=10.0)
STEEL = J2Plasticity(E=210e3, nu=0.3, yield_stress=250.0, hardening=2100.0)
HOOKE = LinearElastic(E=210e3, nu=0.3)


class Witness(Law):
    """A neo-Hookean spring law that counts: its history accepted steps, its guess iterates; it remembers its input."""

    measure = Measure.FINITE
    state_names = ("steps", "iterates")
    n_guess = 1

    def __init__(self, fails: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.law, self.fails, self.seen, self.dt = NeoHooke(mu=1.0, lmbda=10.0), fails, [], []

    def linearise(self, strain, state, dt, parameters=None, components=None):  # type: ignore[no-untyped-def]
        self.seen.append(state.clone())
        self.dt.append(dt)
        step, saved = self.law.linearise(strain, strain.new_empty(len(strain), 0), dt, parameters, components)
        verdict = finite_verdict(strain)
        if len(self.seen) in self.fails:
            verdict[0] = int(Verdict.NOT_CONVERGED)
        return self.answer(step.psi, step.stress, step.dissipation, state + 1.0, verdict), saved

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        return self.linearise(strain, state, dt, parameters)[0]

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        return self.law.apply_tangent(saved, direction)


def test_history_is_of_the_start_of_the_step_and_the_guess_of_the_last_iterate() -> None:
    law = Witness()
    solution = solve(uniaxial(elongation=0.3, steps=3), law)
    history = [int(state[0, 0]) for state in law.seen]
    guess = [int(state[0, 1]) for state in law.seen]
    # First the undeformed body, one point; then each step's history stands still while its guess goes on counting.
    iterations = [len(residuals) - 1 for residuals in solution.residuals]
    assert min(iterations) > 2
    assert history == [0] + [step for step, n in enumerate(iterations) for _ in range(n)]
    assert guess == [0, *range(sum(iterations))]
    assert solution.timings["law_calls"] == 1 + sum(iterations)
    assert [len(state) for state in law.seen] == [1] + [8] * sum(iterations)
    assert solution.state["body"][:, 0].tolist() == [3.0] * 8


def test_a_failed_increment_leaves_no_history_and_is_cut() -> None:
    law = Witness(fails=(3,))
    solution = solve(uniaxial(elongation=0.3, steps=1), law)
    assert solution.converged
    assert [increment.accepted for increment in solution.increments] == [False, True, True]
    assert [increment.load_factor for increment in solution.increments] == [1.0, 0.5, 1.0]
    assert [increment.dt for increment in solution.increments] == [1.0, 0.5, 0.5]
    reason = solution.increments[0].reason
    assert "Witness" in reason
    assert "element 0" in reason
    assert Verdict.NOT_CONVERGED.sentence in reason
    assert law.seen[3][:, 1].tolist() == [0.0] * 8  # the guess starts again where the increment does
    assert solution.state["body"][:, 0].tolist() == [2.0] * 8
    whole = solve(uniaxial(elongation=0.3, steps=1), Witness())
    torch.testing.assert_close(solution.displacements, whole.displacements, rtol=1e-9, atol=1e-12)


def test_increments_grow_back_after_a_cut() -> None:
    solution = solve(cook(load=1500.0, n=4, steps=1), NeoHooke(mu=92.525, lmbda=138.7875))
    assert solution.converged
    sizes = np.diff([0.0] + [i.load_factor for i in solution.increments if i.accepted])
    assert sizes.max() > sizes[0]
    assert any(not i.accepted and "INVERTED" in i.reason for i in solution.increments)


def test_a_load_too_large_stops_with_a_sentence_and_keeps_what_was_reached() -> None:
    # Elongation -1.5 turns the block inside out: no law has an answer there.
    solution = solve(uniaxial(elongation=-1.5, steps=3), RUBBER, max_cuts=3)
    assert not solution.converged
    assert len(solution.load_factors) == len(solution.displacements) < 3
    assert "Stopped in load step" in solution.reason


def test_results_do_not_depend_on_the_number_of_load_steps_of_an_elastic_body() -> None:
    one, four = solve(cook(load=1.0, n=4, steps=1), RUBBER), solve(cook(load=1.0, n=4, steps=4), RUBBER)
    torch.testing.assert_close(one.displacements[-1], four.displacements[-1], rtol=1e-8, atol=1e-10)


def test_large_displacement_of_one_edge_does_not_invert_the_elements_beside_it() -> None:
    solution = solve(cook(load=10.0, n=8, steps=1, control="displacement"), RUBBER)
    assert solution.converged
    assert all(increment.accepted for increment in solution.increments)
    edge = solution.assembly.nodes_at("right")
    assert solution.nodal(solution.displacements)[-1, edge, 1].tolist() == pytest.approx([10.0] * 9, rel=1e-14)


@pytest.mark.parametrize(
    ("problem", "law"),
    [
        (cook(load=1.0, n=4, steps=3), RUBBER),
        (cook(load=2e3, n=4, measure="small", steps=(0.5, 1.0, 0.2)), STEEL),
        (cantilever(divisions=(6, 1, 1), steps=2), NeoHooke(mu=400.0, lmbda=600.0)),
        (cook(load=5.0, n=3, steps=2, control="displacement"), PlaneStress(RUBBER)),
    ],
    ids=["neo_hooke", "plastic", "hex8", "plane_stress"],
)
def test_work_of_the_nodal_forces_is_the_work_of_the_stresses(problem: Problem, law: Law) -> None:
    solution = solve(problem, law, tolerance=1e-12)
    assert solution.converged
    work, inner = solution.energy["work"], solution.energy["internal_work"]
    torch.testing.assert_close(work, inner, rtol=1e-11, atol=0)

    # The identity itself, from what is kept: du . 1/2 (f_0 + f_1) = sum w 1/2 (s_0 + s_1) . d strain, per step.
    assembly = solution.assembly
    stress = solution.stress[..., assembly.columns]
    for t in range(1, len(stress)):
        du = (solution.displacements[t] - solution.displacements[t - 1]).numpy()
        f = 0.5 * (assembly.forces(stress[t - 1]) + assembly.forces(stress[t]))
        inner_work = assembly.integral((0.5 * (stress[t - 1] + stress[t]) * assembly.strain(du)).sum(-1))
        assert f @ du == pytest.approx(inner_work, rel=1e-12)


def test_energy_imbalance_vanishes_quadratically_as_steps_are_refined_in_an_elastic_body() -> None:
    def imbalance(n: int) -> float:
        return abs(float(solve(cook(load=1.0, n=3, steps=n), RUBBER).energy["imbalance"][-1]))

    assert imbalance(4) / imbalance(8) == pytest.approx(4.0, rel=0.1)


def test_plastic_work_is_dissipated_and_never_given_back() -> None:
    solution = solve(cook(load=4e3, n=4, measure="small", steps=(0.5, 1.0, 0.0)), STEEL)
    dissipated = solution.energy["dissipated"]
    assert float(dissipated[1]) > float(dissipated[0]) >= 0
    assert float(solution.monitored[-1, 1]) > 1e-3  # unloaded, and still bent
    assert float(solution.dissipation.min()) >= 0
    total = solution.assembly.integral(solution.dissipation.sum(0))
    assert total == pytest.approx(float(dissipated[-1]), rel=1e-12)


def test_a_flowing_body_is_unloaded_in_one_step() -> None:
    # The tangent of the flow is fifty times too soft for the way back; no increment may be lost on that.
    solution = solve(cook(load=4e3, n=4, measure="small", steps=(0.5, 1.0, 0.0)), STEEL)
    assert all(increment.accepted for increment in solution.increments)
    assert len(solution.residuals[-1]) <= 10


def test_a_body_of_uniform_cells_is_a_body_of_their_material() -> None:
    cell = HomogenisedCell(
        Microstructure(phase=torch.zeros(2, 2, 1, dtype=torch.int64)),
        [STEEL],
        tolerance=1e-11,
        components=PLANE_STRAIN[Measure.SMALL],
    )
    problem = cook(load=4e3, n=1, measure="small", steps=(0.5, 1.0, 0.6))
    live, plain = solve(problem, cell), solve(problem, STEEL)
    assert float(plain.energy["dissipated"][-1]) > 0
    torch.testing.assert_close(live.displacements, plain.displacements, rtol=1e-7, atol=0)
    torch.testing.assert_close(live.energy["dissipated"], plain.energy["dissipated"], rtol=1e-7, atol=1e-12)


def test_two_regions_in_series_share_the_force_and_split_the_elongation() -> None:
    mesh = rectangle(2.0, 1.0, 4, 2)
    x = mesh.p[0][mesh.t].mean(0)
    soft, stiff = LinearElastic(E=100.0, nu=0.0), J2Plasticity(E=300.0, nu=0.0, yield_stress=1e6, hardening=0.0)
    problem = Problem(
        mesh,
        "quad4",
        Measure.SMALL,
        (Displacement("left", "x"), Displacement("bottom", "y"), Displacement("right", "x", 0.02)),
        regions={"soft": np.flatnonzero(x < 1), "stiff": np.flatnonzero(x > 1)},
        monitor=(1.0, 0.0),
    )
    solution = solve(problem, {"soft": soft, "stiff": stiff})
    assert float(solution.monitored[-1, 0]) == pytest.approx(0.015, rel=1e-11)  # E u = 300 (0.02 - u) / 100
    torch.testing.assert_close(
        solution.stress[-1, ..., 0], torch.full((8, 4), 1.5, dtype=torch.float64), rtol=1e-11, atol=0
    )
    assert solution.extras["plastic_work"].isnan().sum() == 16
    assert set(solution.state) == {"soft", "stiff"}
    assert solution.timings["law_calls"] == 4
    with pytest.raises(ValueError, match="region 'stiff' has no law"):
        solve(problem, {"soft": soft})
    with pytest.raises(ValueError, match="got region 'core'"):
        solve(problem, {"soft": soft, "stiff": stiff, "core": soft})


def test_the_same_solve_twice_is_bitwise_the_same() -> None:
    one, two = solve(cook(load=1.0, n=4, steps=2), RUBBER), solve(cook(load=1.0, n=4, steps=2), RUBBER)
    assert torch.equal(one.displacements, two.displacements)
    assert torch.equal(one.stress, two.stress)


class Graded(Law):
    """Linear elastic with the modulus of its parameter."""

    measure = Measure.SMALL
    parameter_names = ("E",)

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        assert parameters is not None
        stress = parameters * strain
        psi = 0.5 * (stress * strain).sum(-1)
        return self.answer(psi, stress, torch.zeros_like(psi), state, finite_verdict(strain))


def test_parameters_reach_their_points() -> None:
    mesh = rectangle(2.0, 1.0, 4, 2)
    problem = Problem(
        mesh,
        "quad4",
        Measure.SMALL,
        (Displacement("left", "x"), Displacement("bottom", "y"), Displacement("right", "x", 0.02)),
        monitor=(1.0, 0.0),
    )
    E = torch.where(torch.from_numpy(mesh.p[0][mesh.t].mean(0)) < 1, 100.0, 300.0).double()[:, None]
    assert float(solve(problem, Graded(), parameters=E).monitored[-1, 0]) == pytest.approx(0.015, rel=1e-10)
    assert float(solve(problem, Graded(), parameters=torch.tensor([5.0])).monitored[-1, 0]) == pytest.approx(0.01)
    with pytest.raises(ValueError, match=r"parameters: got shape \(3, 1\)"):
        solve(problem, Graded(), parameters=E[:3])


def test_reach_finds_the_load_for_a_deflection() -> None:
    problem = reach(cook(load=1.0, n=3, steps=2), RUBBER, target=4.8)
    assert float(solve(problem, RUBBER).monitored[-1, 1]) == pytest.approx(4.8, rel=1e-6)


def test_progress_sees_every_iteration_and_the_end_of_every_increment() -> None:
    seen = []
    solution = solve(uniaxial(elongation=0.3, steps=2), RUBBER, progress=seen.append)
    assert [i for i in seen if i.reason] == solution.increments
    assert len(seen) == len(solution.increments) + solution.timings["iterations"]


def test_a_hold_of_the_load_needs_a_time_and_keeps_the_answer() -> None:
    with pytest.raises(ValueError, match=r"load step 2 keeps the load factor 1, wanted a change"):
        uniaxial(steps=(1.0, 1.0))
    held = solve(replace(uniaxial(), steps=(1.0, 1.0), dt=2.0), RUBBER)
    torch.testing.assert_close(held.displacements[0], held.displacements[1], rtol=0, atol=1e-12)


def test_a_body_brought_back_to_its_undeformed_shape_is_free_of_stress() -> None:
    solution = solve(uniaxial(elongation=0.3, steps=(1.0, 0.0)), RUBBER)
    assert solution.converged
    assert float(solution.stress[-1].abs().max()) < 1e-12


@pytest.mark.parametrize(
    "module",
    ["boundary", "cantilever", "cook", "element", "mesh", "problem", "reach", "solution", "solver", "uniaxial", "vtk"],
)
def test_docstring_examples_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"surrogate.macro.{module}")).failed == 0


CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "macro"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_a_problem_that_can_be_solved(config: Path) -> None:
    problem = instantiate(OmegaConf.load(config))
    assert isinstance(problem, Problem)
    assert solve(problem, NeoHooke(mu=400.0, lmbda=600.0), steps=[0.01]).converged
