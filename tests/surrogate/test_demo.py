"""The demo on a toy: the chain runs to its report, and a promise that is not kept is told and costs the exit code."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from surrogate.cli import main
from surrogate.demo import Chain, promises
from surrogate.evaluate import Errors, Evaluation, Spread

TOY = [
    "law.microstructure.grid=8",
    "law.microstructure.count=1",
    "law.microstructure.gap=0",
    "law.tolerance=1e-8",
    "paths.train.ramps.n_paths=8",
    "paths.train.ramps.n_steps=2",
    "paths.train.walks.n_paths=8",
    "paths.train.walks.n_steps=2",
    "paths.test.smooth.n_paths=4",
    "paths.test.smooth.n_steps=3",
    "network.widths=[8,8]",
    "trainer.adam.epochs=2",
    "trainer.lbfgs.iterations=20",
    "macro.n=2",
    "macro.load=0.5",
    "macro.steps=2",
]


@pytest.mark.filterwarnings("ignore:.*balance properties of Sobol:UserWarning")
def test_a_toy_demo_runs_to_its_report_and_says_what_it_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(["demo", *TOY, f"folder={folder}"]) == 1
    said = capsys.readouterr()
    assert "held-out paths" in said.out
    assert "MISSED" in said.out
    assert said.err.strip().splitlines()[-1].startswith("surrogate demo: missed: ")
    assert all(len(line) <= 80 for line in said.out.splitlines() if str(tmp_path) not in line)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "promises were missed</strong>" in report
    for heading in ("Microstructure", "Load paths", "Network", "Macro simulation", "Cost"):
        assert f">{heading}</h2>" in report
    for simulation in ("fe2", "network"):
        assert (folder / simulation / "solution.pvd").is_file()
        assert (folder / simulation / "curve.csv").is_file()
    weights = (folder / "law" / "model.safetensors").read_bytes()
    assert main(["demo", *TOY, f"folder={folder}"]) == 1  # goes on: nothing is recorded or learned again
    assert (folder / "law" / "model.safetensors").read_bytes() == weights


class _Solved:
    """As much of a `Solution` as promises look at."""

    converged = True
    residuals = ((1.0, 1e-3, 1e-12),)
    timings = {"total": 600.0, "law": 590.0, "points": 20000}

    def __init__(self, orders: list[float], seconds: float) -> None:
        self._orders, self.timings = orders, {**self.timings, "total": seconds}

    def orders(self) -> list[float]:
        return self._orders

    @property
    def assembly(self) -> SimpleNamespace:
        return SimpleNamespace(X=np.array([[0.0, 0.0], [48.0, 60.0]]))

    @property
    def monitored(self) -> torch.Tensor:
        return torch.tensor([[-1.0, 6.0]], dtype=torch.float64)


def chain(live: _Solved, learned: _Solved, stress: float) -> Chain:
    good = Spread(stress, 2 * stress)
    errors = Errors(32, 0, good, good, good, good, good)
    names = ("objectivity", "reference_state", "stress_is_energy_gradient", "closed_loop_work")
    found = Evaluation({"all": errors}, {}, {}, dict.fromkeys(names, 1e-14), {})
    return Chain(None, {"train": _Store()}, None, found, live, learned, 0.03, {"record": 10.0, "train": 20.0})


class _Store:
    n_failed = 0

    def arrays(self, names: list[str]) -> dict[str, object]:
        return {"hill_mandel": np.array([1e-12])}


def test_promises_are_kept_or_missed_by_their_numbers() -> None:
    good = chain(_Solved([2.1], 600.0), _Solved([2.0], 0.5), stress=0.001)
    assert all(promise.target.met for promise in promises(good))
    missed = {
        p.what
        for p in promises(replace(good, learned=_Solved([2.0], 6.0), seconds={"record": 800.0}))
        if not p.target.met
    }
    assert missed == {"speed-up, whole simulation", "time of all stages"}
    silent = replace(good.found.classes["all"], failed=1)
    silent = replace(good, found=replace(good.found, classes={"all": silent}))
    assert [p.what for p in promises(silent) if not p.target.met] == ["paths without an answer"]
    missed = {p.what for p in promises(chain(_Solved([2.1], 600.0), _Solved([1.5], 0.5), 0.004)) if not p.target.met}
    assert missed == {
        "stress error on held-out paths, median",
        "stress error, 95th percentile",
        "energy error, median",
        "order of the last residuals, least",
    }


def test_an_order_that_round_off_hides_does_not_count_as_kept() -> None:
    hidden = chain(_Solved([2.1, math.inf], 600.0), _Solved([2.0], 0.5), stress=0.001)
    missed = [p for p in promises(hidden) if not p.target.met]
    assert [p.what for p in missed] == ["order of the last residuals, least"]
    assert missed[0].found == "-"
