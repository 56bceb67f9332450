"""Compiled laws answer as they do uncompiled, and a machine that cannot compile says so once."""

import copy
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Law, Step
from datagen.laws.neo_hooke import NeoHooke
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.rve import compiled as compiled_module
from datagen.rve.compiled import Compiled
from datagen.rve.homogenised import HomogenisedCell

RUBBER = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)]
METAL = [J2Plasticity(1.0, 0.3, 5e-3, 0.05), J2Plasticity(10.0, 0.3, 5e-3, 0.05)]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def answer(laws: list[Law], compile: bool) -> tuple[Step, Tensor]:
    cell = HomogenisedCell(centred_sphere(4, fraction=0.2), laws, compile=compile)
    strain = cell.reference_strain()
    strain[1] += 0.02
    step, saved = cell.linearise(strain, cell.initial_state(), 1.0)
    return step, cell.dense(saved)


def agree(laws: list[Law]) -> None:
    step, C = answer(laws, True)
    plain, plain_C = answer(laws, False)
    assert step.verdict == 0
    for ours, theirs in zip((step.psi, step.stress, C), (plain.psi, plain.stress, plain_C), strict=True):
        assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()
    assert torch.allclose(step.extras["work"], plain.extras["work"], rtol=1e-12)
    assert step.extras["iterations"] == plain.extras["iterations"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> type[compiled_module._Machine]:
    """A process that has not yet tried to compile."""
    monkeypatch.setattr(compiled_module._Machine, "fails", False)
    return compiled_module._Machine


@pytest.mark.parametrize("laws", [RUBBER, METAL], ids=["rubber", "metal"])
def test_traced_laws_answer_as_the_laws(
    laws: list[Law], machine: type[compiled_module._Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    agree(laws)
    assert not machine.fails


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("laws", [RUBBER, METAL], ids=["rubber", "metal"])
def test_compiled_laws_answer_as_uncompiled(laws: list[Law], machine: type[compiled_module._Machine]) -> None:
    agree(laws)
    assert not machine.fails


def test_a_compiler_that_fails_is_told_of_once(
    machine: type[compiled_module._Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.warns(RuntimeWarning, match="runs uncompiled: RuntimeError: no such thing") as told:
        agree(RUBBER)
    assert len(told) == 1
    agree(RUBBER)  # and not again, where a warning would be an error
    assert machine.fails


def test_a_law_that_decides_by_values_is_not_compiled(machine: type[compiled_module._Machine]) -> None:
    class Deciding(NeoHooke):
        def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
            sign = 1.0 if bool(saved.sum() > 0) else -1.0
            return sign * super().apply_tangent(saved, sign * direction)

    with pytest.warns(RuntimeWarning, match="runs uncompiled"):
        agree([Deciding(mu=1.0, lmbda=4.0), Deciding(mu=2.0, lmbda=8.0)])


SCRIPT = """
import warnings, torch
from datagen.laws.neo_hooke import NeoHooke
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.rve.homogenised import HomogenisedCell

torch.set_num_threads(1)
answers = []
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for compile in (True, False, True):
        laws = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)]
        cell = HomogenisedCell(centred_sphere(4, fraction=0.2), laws, compile=compile)
        strain = cell.reference_strain()
        strain[1] += 0.02
        answers.append(cell(strain, cell.initial_state(), 1.0).stress)
assert torch.equal(answers[0], answers[1]) and torch.equal(answers[2], answers[1])
print([str(w.message) for w in told])
"""


def test_without_a_compiler_the_answer_is_the_same(tmp_path: Path) -> None:
    own = {**os.environ, "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=own, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("runs uncompiled") == 1
    assert run.stdout.startswith("['the cell solver runs uncompiled")


def test_a_function_is_compiled_once_a_shape(
    machine: type[compiled_module._Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(torch, "compile", lambda graph, **_: calls.append(graph) or graph)
    functions = Compiled()
    x = torch.ones(3)
    for _ in range(2):
        for field in (x, torch.ones(4)):
            assert torch.equal(functions("double", lambda t: [2 * t], field)[0], 2 * field)
    assert len(calls) == 2
    with warnings.catch_warnings():
        assert torch.equal(copy.deepcopy(functions)("double", lambda t: [2 * t], x)[0], 2 * x)
    assert len(calls) == 3
