"""Linear phases by their element matrices, against the evaluation of their laws at every point."""

import math

import pytest
import torch
from torch import Tensor

from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.void import Void
from datagen.microstructures.microstructure import Microstructure
from datagen.rve import batch as batch_module
from datagen.rve.batch import Batch, Evaluation
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import random_rotation

SOFT, STIFF = LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.2)
HOT = [LinearElastic(E=1.0, nu=0.3, eigenstrain=2e-3), LinearElastic(E=8.0, nu=0.3, eigenstrain=5e-4)]
SKEW = [1e-3, 0, 0, 0, 2e-3, 0]
PLANE = {"components": PLANE_STRAIN[Measure.SMALL]}

CASES: dict[str, tuple[list[Law], tuple[int, int, int], dict[str, object]]] = {
    "one ratio": ([SOFT, LinearElastic(E=9.0, nu=0.3)], (5, 4, 3), {}),
    "two ratios": ([SOFT, STIFF], (5, 4, 3), {}),
    "a million": ([SOFT, LinearElastic(E=1e6, nu=0.3)], (5, 4, 3), {}),
    "voids": ([SOFT, STIFF, Void()], (5, 4, 3), {}),
    "some components": ([SOFT, STIFF], (5, 4, 3), {"components": ("11", "23")}),
    "bounded": ([SOFT, STIFF], (5, 4, 3), {"boundary": "linear_displacement"}),
    "plane": ([SOFT, STIFF], (5, 4, 1), PLANE),
    "plane, warm": (HOT, (5, 4, 1), PLANE),
    "layer": ([SOFT, STIFF], (5, 4, 1), {}),
    "thermal": (HOT, (5, 4, 3), {}),
    "shrinking": ([SOFT, LinearElastic(E=8.0, nu=0.1, eigenstrain=SKEW)], (5, 4, 3), {}),
    "polycrystal": ([CubicElastic(168.0, 121.0, 75.0)] * 3, (5, 4, 3), {}),
    "polycrystal, thermal": ([CubicElastic(168.0, 121.0, 75.0, eigenstrain=SKEW)] * 3, (5, 4, 3), {}),
}


def make(name: str, element: str, samples: int) -> HomogenisedCell:
    laws, grid, options = CASES[name]
    generator = torch.Generator().manual_seed(0)
    phases = torch.randint(len(laws), (samples, *grid), generator=generator)
    axes = None
    if name.startswith("polycrystal"):
        axes = random_rotation(*([samples] if samples > 1 else []), len(laws), generator=generator)
    cells = Microstructure(phases if samples > 1 else phases[0], (0.3, 0.2, 0.25), orientations=axes)
    return HomogenisedCell(cells, laws, element, **options)  # type: ignore[arg-type]


def loaded(cell: HomogenisedCell, seed: int = 1) -> tuple[Batch, Tensor]:
    """A batch of three members away from equilibrium, and its fluctuation."""
    generator = torch.Generator().manual_seed(seed)
    strain = torch.zeros(3, 6, dtype=torch.float64)
    columns = cell.measure.columns(cell.components)
    strain[:, columns] = 4e-3 * torch.randn(3, len(columns), generator=generator, dtype=torch.float64)
    sample = torch.arange(3) % cell.microstructure.n_samples
    history = torch.zeros(0, cell.system.discretisation.n_quad, 3, math.prod(cell.microstructure.grid)).double()
    batch = Batch(cell.system, strain, history, torch.ones(3, dtype=torch.float64), sample)
    shape = cell._fluctuation
    return batch, 4e-4 * torch.randn(shape[0], 3, *shape[1:], generator=generator, dtype=torch.float64)


def agree(a: Tensor, b: Tensor, size: Tensor | float | None = None) -> None:
    scale = b.abs().max() if size is None else size
    assert (a - b).abs().max() <= 1e-12 * scale


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("element", ["hex8", "hex8r"])
@pytest.mark.parametrize("name", CASES)
def test_matrices_answer_as_the_laws_do(name: str, element: str, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make(name, element, samples)
    columns = cell.measure.columns(cell.components)
    answers: list[tuple[Evaluation, tuple[Tensor, Tensor], tuple[Tensor, ...]]] = []
    monkeypatch.setitem(batch_module.VOXELS, "cpu", 25)  # some planes of a cell; several blocks
    for matrices in (True, False):
        batch, u = loaded(cell)
        assert batch.affine
        if not matrices:
            batch.affine, batch.elements = False, None
            batch.size = batch.strain.new_empty(cell.system.discretisation.n_quad, 3, u[0, 0].numel())
            batch.size = batch.size[..., : math.prod(cell.microstructure.grid)].float().contiguous()
        now = batch.evaluate(u)
        other, u_0 = loaded(cell, seed=2)
        work = batch.work(now, u, other.strain, u_0)
        two = torch.stack([other.strain.T, 0.3 * batch.strain.T], 1)
        answers.append((now, work, batch.operator().respond(torch.cat([u, u_0], 1), two)))
    (now, work, answer), (then, work_then, answer_then) = answers
    agree(now.means.psi, then.means.psi)
    agree(now.means.stress[:, columns], then.means.stress[:, columns])
    agree(now.residual, then.residual)
    agree(now.scale, then.scale)
    agree(now.norm, then.norm)
    assert torch.equal(now.verdict, then.verdict)
    assert torch.equal(now.means.by_phase, then.means.by_phase)
    agree(work[0], work_then[0])
    agree(work[1], work_then[1], size=1e5)  # one of the sizes lies in single precision where laws are evaluated
    for ours, theirs in zip(answer[::2], answer_then[::2], strict=True):
        agree(ours, theirs)
    agree(answer[1][columns], answer_then[1][columns])


@pytest.mark.parametrize("law", [HOT[0], CubicElastic(168.0, 121.0, 75.0, eigenstrain=SKEW)])
def test_a_body_that_expands_freely_is_free_of_stress_and_energy(law: Law) -> None:
    phase = torch.zeros(4, 4, 4, dtype=torch.int64)
    axes = torch.eye(3, dtype=torch.float64)[None] if isinstance(law, CubicElastic) else None
    cell = HomogenisedCell(Microstructure(phase, orientations=axes), [law])
    step = cell(law.get_buffer("eigenstrain"), cell.initial_state(), 1.0)
    stiffness = law.tangent(law.reference_strain(), law.initial_state(), 1.0).norm()
    size = law.get_buffer("eigenstrain").norm()
    assert step.verdict == 0
    assert step.stress.abs().max() <= 1e-16 * stiffness * size
    assert step.psi.abs() <= 1e-16 * stiffness * size**2


def test_work_from_rest_is_the_energy() -> None:
    cell = make("two ratios", "hex8", 1)
    strain = torch.tensor([1e-3, -2e-3, 5e-4, 1e-3, 0, 2e-3], dtype=torch.float64)
    step = cell(strain, cell.initial_state(), 1.0)
    assert torch.allclose(step.extras["work"], step.psi, rtol=1e-7)
    back = cell(0.0 * strain, step.state, 1.0)
    assert torch.allclose(back.extras["work"], -step.psi, rtol=1e-7)


def test_a_strain_too_large_to_bear_is_no_answer() -> None:
    cell = make("two ratios", "hex8", 1)
    batch, u = loaded(cell)
    batch.strain[1] = 1e308
    now = batch.evaluate(u)
    assert now.verdict[1] >= 10
    assert now.verdict[0] == now.verdict[2] == 0
    assert now.residual[:, [0, 2]].isfinite().all()
