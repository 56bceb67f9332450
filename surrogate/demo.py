"""The whole chain with its promises: cell, data, network, macro simulation twice, and what was promised of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datagen.executor.executor import Executor
from datagen.generate import generate
from datagen.laws.law import Law
from datagen.paths.path import LoadPath
from datagen.rve.homogenised import HomogenisedCell
from datagen.store import Store
from surrogate.evaluate import Evaluation, evaluate
from surrogate.macro.problem import Problem
from surrogate.macro.solution import Solution
from surrogate.macro.solver import solve
from surrogate.solve import simulate
from surrogate.table import Target, number

RECORD, TRAIN = "record", "train"
"""Stages that a user pays once, for the break-even."""

REPEATS = 7
"""How often the simulation with the network is timed; its median is compared with one simulation with live FE2."""


@dataclass(frozen=True)
class Chain:
    """What the stages made.

    Attributes:
        cell: the homogenised cell that was learned.
        stores: datasets by name, "train" and "test".
        network: the law that was trained.
        found: its errors on the test paths.
        live, learned: the macro simulation with the cell and with the network.
        bare: time of one cell solve with tangent in a plain batch of as many cells as the mesh has points [s].
        seconds: of the stages, by name.
    """

    cell: HomogenisedCell
    stores: Mapping[str, Store]
    network: Law
    found: Evaluation
    live: Solution
    learned: Solution
    bare: float
    seconds: Mapping[str, float]

    @property
    def speed_up(self) -> float:
        """Time of the macro simulation with live FE2 over that with the network, assembly and solve included."""
        return self.live.timings["total"] / self.learned.timings["total"]

    @property
    def break_even(self) -> float:
        """Macro simulations after which generation and training are paid."""
        saved = self.live.timings["total"] - self.learned.timings["total"]
        return (self.seconds[RECORD] + self.seconds[TRAIN]) / saved

    @property
    def per_cell(self) -> float:
        """Time of one cell solve with tangent within the macro simulation [s]."""
        return self.live.timings["law"] / self.live.timings["points"]

    @property
    def deflection(self) -> float:
        """Vertical displacement of the monitored point under live FE2 over the horizontal length of the body."""
        return float(self.live.monitored[-1, 1]) / float(np.ptp(self.live.assembly.X[:, 0]))

    @property
    def gaps(self) -> np.ndarray:
        """Relative difference of the monitored displacement at the same load, by load step."""
        live, learned = self.live.monitored, self.learned.monitored
        steps = min(len(live), len(learned))
        gap = (learned[:steps] - live[:steps]).norm(dim=1) / live[:steps].norm(dim=1)
        return gap.numpy()


@dataclass(frozen=True)
class Stages:
    """The ingredients of a chain.

    Args:
        cell: law to learn, alive in the macro simulation.
        paths: batches of load paths by dataset, "train" and "test".
        learn: trains a network on a dataset, writes it into a folder, and returns it.
        problem: macro problem.
        executor: of the generation.
        shard_size, seed, tangents, recipe: as of `datagen.generate.generate`; the recipe by dataset.
    """

    cell: HomogenisedCell
    paths: Mapping[str, Sequence[LoadPath]]
    learn: Callable[[Store, Path], Law]
    problem: Problem
    executor: Executor
    shard_size: int
    seed: int
    tangents: bool
    recipe: Mapping[str, Mapping[str, object]]


def run_chain(stages: Stages, folder: Path, say: Callable[[str], None]) -> Chain:
    """Record, learn, judge and simulate; each stage announces itself.

    Args:
        stages: what to do it with.
        folder: of the run; finished shards and a finished law in it are used again, with the time they took then.
        say: takes one line for the reader.
    """
    clock = _Clock(folder / "seconds.json")
    stores = {}
    for name, batches in stages.paths.items():
        say(f"recording {sum(path.n_paths for path in batches)} {name} paths")
        with clock(RECORD if name == "train" else "record test paths"):
            stores[name] = generate(
                stages.cell,
                batches,
                folder / name,
                stages.executor,
                stages.shard_size,
                stages.seed,
                stages.recipe[name],
                stages.tangents,
            )
    say("training the network")
    with clock(TRAIN):
        network = stages.learn(stores["train"], folder / "law")
    with clock("evaluate"):
        found = evaluate(network, stores["test"], seed=stages.seed)

    say("simulating with the network")
    # It takes a tenth of a second: the run of median time of several, after one that loads what a first call loads.
    simulate(stages.problem, network, folder / "network", show=False)
    runs = [solve(stages.problem, network) for _ in range(REPEATS)]
    learned = sorted(runs, key=lambda run: run.timings["total"])[REPEATS // 2]
    say(f"simulating with live FE2, {learned.assembly.n_elements * learned.assembly.n_points} cells at a time")
    live = simulate(stages.problem, stages.cell, folder / "fe2")
    bare = _bare_batch(stages.cell, live)
    seconds = {**clock.seconds, "live FE2": live.timings["total"], "network": learned.timings["total"]}
    return Chain(stages.cell, stores, network, found, live, learned, bare, seconds)


class _Clock:
    """Seconds by stage, kept in a file: a stage that an earlier run began counts with what it took there."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin
            self.file.write_text(json.dumps(self.seconds), encoding="utf-8")


def _bare_batch(cell: HomogenisedCell, live: Solution) -> float:
    """Time a cell [s] of one plain batch: the strains of the middle load step, from the virgin state, with tangent."""
    strain = live.strain[len(live.strain) // 2].flatten(0, 1).to(cell.device)
    state = cell.initial_state(len(strain))
    begin = time.perf_counter()
    cell.linearise(strain, state, 1.0, components=live.problem.components)
    if cell.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / len(strain)


@dataclass(frozen=True)
class Promise:
    """One figure that the chain is held to.

    Args:
        what: that was measured.
        found: in words, with the unit.
        target: what was wanted, and whether it was met.
    """

    what: str
    found: str
    target: Target


def promises(chain: Chain) -> list[Promise]:
    """The figures that the chain is held to, measured on this run."""
    test = chain.found.classes[next(iter(chain.found.classes))]
    exact = chain.found.exactness
    defect = max(float(store.arrays(["hill_mandel"])["hill_mandel"].max()) for store in chain.stores.values())
    deflection = chain.deflection if chain.live.converged else 0.0
    gap = float(chain.gaps.max()) if chain.live.converged and chain.learned.converged else float("nan")
    orders = [order for s in (chain.live, chain.learned) for order in s.orders()]
    # An order that round-off hides is infinite there; what was not seen does not count as met.
    order = min(orders) if np.isfinite(orders).all() else None
    residual = max(steps[-1] for s in (chain.live, chain.learned) for steps in s.residuals)
    # Errors are over the paths that the network answers, so one that it does not must show elsewhere.
    failed = sum(store.n_failed for store in chain.stores.values()) + test.failed
    return [
        _at_most("paths without an answer", failed, 0, ""),
        _at_most("Hill-Mandel residual, largest of all steps", defect, 1e-8, ""),
        _at_least("held-out paths", test.paths, 30, ""),
        _at_most("stress error on held-out paths, median", test.stress.median, 0.002, "%"),
        _at_most("stress error, 95th percentile", test.stress.p95, 0.006, "%"),
        _at_most("energy error, median", test.psi.median, 0.002, "%"),
        _at_most("objectivity", exact["objectivity"], 1e-10, ""),
        _at_most("reference state", exact["reference_state"], 1e-10, ""),
        _at_most("stress against gradient of the energy", exact["stress_is_energy_gradient"], 1e-10, ""),
        _at_most("work of closed loops", exact["closed_loop_work"], 1e-8, ""),
        _at_least("deflection of the membrane over its length", deflection, 0.1, "%"),
        _at_most("displacement against FE2, worst step", gap, 0.005, "%"),
        _at_least("order of the last residuals, least", order, 1.8, ""),
        _at_most("last residual, largest of all steps", residual, 1e-10, ""),
        _at_least("speed-up, whole simulation", chain.speed_up, 300, "times"),
        _at_most("FE2's time a cell over a bare batch's", chain.per_cell / chain.bare, 1.5, ""),
        _at_most("time of all stages", sum(chain.seconds.values()) / 60, 12, "min"),
    ]


def _at_most(what: str, value: float | None, limit: float, unit: str) -> Promise:
    met = value is not None and value <= limit
    return Promise(what, _words(value, unit), Target(f"<= {_words(limit, unit)}", met))


def _at_least(what: str, value: float | None, limit: float, unit: str) -> Promise:
    met = value is not None and value >= limit
    return Promise(what, _words(value, unit), Target(f">= {_words(limit, unit)}", met))


def _words(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "%":
        return f"{number(100 * value, 3)} %"
    return f"{number(value, 3)} {unit}".strip()
