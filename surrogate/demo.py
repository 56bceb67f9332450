"""The whole chain with its promises: cell, data, network, macro simulation twice, and what was promised of each."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.stability import PATHS, Critical, critical
from datagen.executor.executor import Executor
from datagen.generate import generate
from datagen.laws.law import Law, Step
from datagen.paths.path import LoadPath
from datagen.store import Store
from surrogate.evaluate import Evaluation, evaluate
from surrogate.macro.problem import Problem
from surrogate.macro.solution import Solution
from surrogate.macro.solver import solve
from surrogate.solve import load_curve, simulate
from surrogate.table import Target, number

RECORD, TRAIN = "record", "train"
"""Stages that a user pays once, for the break-even."""

REPEATS = 7
"""How often the simulation with the network is timed; its median is compared with one simulation with live FE2."""

ACCURACY = 0.003
"""Largest relative error of stress on unseen deformations, and of the load on the bar."""

_LARGEST = 0.25  # amplitude to which the paths are followed
_STEP = 1e-4  # of the amplitude at which the network is asked for its verdict

LIVE = "live FE2"
"""What the simulation with the cell itself is called, where the cell is a homogenised one."""


@dataclass(frozen=True)
class Chain:
    """What the stages made.

    Attributes:
        cell: the law that was learned: a homogenised cell, or a crystal.
        stores: datasets by name, "train" and "test".
        network: the law that was trained.
        found: its errors on the test paths.
        live, learned: the macro simulation with the cell and with the network.
        bare: time of one cell solve with tangent in a plain batch of as many cells as the mesh has points [s].
        seconds: of the stages, by name.
        live_name: what the simulation with the cell itself is called.
    """

    cell: Law
    stores: Mapping[str, Store]
    network: Law
    found: Evaluation
    live: Solution
    learned: Solution
    bare: float
    seconds: Mapping[str, float]
    live_name: str = LIVE

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
        live_name: what the simulation with the cell itself is called; its files get a folder of that name.
    """

    cell: Law
    paths: Mapping[str, Sequence[LoadPath]]
    learn: Callable[[Store, Path], Law]
    problem: Problem
    executor: Executor
    shard_size: int
    seed: int
    tangents: bool
    recipe: Mapping[str, Mapping[str, object]]
    live_name: str = LIVE


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
    say(
        f"simulating with {stages.live_name}, {learned.assembly.n_elements * learned.assembly.n_points} cells at a time"
    )
    # Tests of stability belong to the data; the simulation is timed without.
    cell = stages.cell.testing(None) if isinstance(stages.cell, CauchyBorn) else stages.cell
    live = simulate(stages.problem, cell, folder / live_folder(stages.live_name))
    bare = _bare_batch(cell, live)
    seconds = {**clock.seconds, stages.live_name: live.timings["total"], "network": learned.timings["total"]}
    return Chain(stages.cell, stores, network, found, live, learned, bare, seconds, stages.live_name)


def live_folder(live_name: str) -> str:
    """The folder of the simulation with the cell itself: fe2 for live FE2."""
    return re.sub(r"\W+", "_", live_name.removeprefix("live ").lower())


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


def _bare_batch(cell: Law, live: Solution) -> float:
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
        at_most("paths without an answer", failed, 0, ""),
        at_most("Hill-Mandel residual, largest of all steps", defect, 1e-8, ""),
        _at_least("held-out paths", test.paths, 30, ""),
        at_most("stress error on held-out paths, median", test.stress.median, 0.002, "%"),
        at_most("stress error, 95th percentile", test.stress.p95, 0.006, "%"),
        at_most("energy error, median", test.psi.median, 0.002, "%"),
        at_most("objectivity", exact["objectivity"], 1e-10, ""),
        at_most("reference state", exact["reference_state"], 1e-10, ""),
        at_most("stress against gradient of the energy", exact["stress_is_energy_gradient"], 1e-10, ""),
        at_most("work of closed loops", exact["closed_loop_work"], 1e-8, ""),
        _at_least("deflection of the membrane over its length", deflection, 0.1, "%"),
        at_most("displacement against FE2, worst step", gap, 0.005, "%"),
        _at_least("order of the last residuals, least", order, 1.8, ""),
        at_most("last residual, largest of all steps", residual, 1e-10, ""),
        _at_least("speed-up, whole simulation", chain.speed_up, 300, "times"),
        at_most("FE2's time a cell over a bare batch's", chain.per_cell / chain.bare, 1.5, ""),
        at_most("time of all stages", sum(chain.seconds.values()) / 60, 12, "min"),
    ]


def at_most(what: str, value: float | None, limit: float, unit: str) -> Promise:
    """A figure that may be so large; one that was not found is missed."""
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


@dataclass(frozen=True)
class Trust:
    """How far crystal and network go along one path F(e).

    Attributes:
        path: its name.
        limit: where the crystal first loses its stability, by either test.
        said: smallest e at which the network does not answer with a good verdict; inf where it always does.
        e: amplitudes (T,).
        stress: of the crystal along the path, P : G / G : G, (T,) [MPa].
        learned: of the network.
    """

    path: str
    limit: Critical
    said: float
    e: Tensor
    stress: Tensor
    learned: Tensor

    @property
    def met(self) -> bool:
        """Whether the network warns before the crystal fails."""
        return self.said <= self.limit.e


def trust(network: Law, law: CauchyBorn) -> list[Trust]:
    """How far both go along each of the named paths.

    Args:
        network: that learned from ``law``.
        law: the crystal; phonons are searched between the wave vectors of its grid too.
    """
    found = []
    e = torch.linspace(0, _LARGEST, 51, dtype=torch.float64)
    fine = torch.arange(0, _LARGEST, _STEP, dtype=torch.float64)
    for name, path in PATHS.items():
        limit = critical(law, name, _LARGEST, tolerance=_STEP, refine=True)
        start, end = path(torch.tensor([0.0, 1.0], dtype=torch.float64))
        G = (end - start) / (end - start).square().sum()
        warned = _asked(network, path(fine).flatten(1)).verdict != 0
        said = float(fine[int(warned.nonzero()[0, 0])]) if bool(warned.any()) else math.inf
        answers = [
            _asked(asked, path(e).flatten(1)).stress.unflatten(-1, (3, 3)) for asked in (law.testing(None), network)
        ]
        along = [(P * G).sum((-2, -1)) for P in answers]
        found.append(Trust(name, limit, said, e, *along))
    return found


def unstable_states(chain: Chain) -> int:
    """Recorded states that fail a test of stability: the crystal's own, asked again, whatever verdict was recorded."""
    assert isinstance(chain.cell, CauchyBorn)
    tested, count = chain.cell.testing("phonon"), 0
    for store in chain.stores.values():
        strain = torch.from_numpy(store.arrays(["strain"])["strain"]).flatten(0, -2)
        count += sum(int((_asked(tested, part).verdict != 0).sum()) for part in strain.split(1024))
    return count


def load_gaps(chain: Chain) -> Tensor:
    """Relative difference of the load on the body at the same load factor, by load step."""
    live, learned = (load_curve(s)[1] for s in (chain.live, chain.learned))
    steps = min(len(live), len(learned))
    return (learned[:steps] - live[:steps]).abs() / live[:steps].abs()


def field_gap(chain: Chain) -> float:
    """Largest difference of a nodal displacement at the last load step, relative to the largest displacement."""
    live, learned = (s.nodal(s.displacements)[-1] for s in (chain.live, chain.learned))
    return float((learned - live).norm(dim=-1).max() / live.norm(dim=-1).max())


def lattice_promises(chain: Chain, ends: list[Trust]) -> list[Promise]:
    """The figures that a chain with a crystal is held to, measured on this run."""
    exact = chain.found.exactness
    solved = chain.live.converged and chain.learned.converged
    classes = {name: errors for name, errors in chain.found.classes.items() if name != "all"}
    failed = sum(store.n_failed for store in chain.stores.values()) + sum(e.failed for e in classes.values())
    held = [
        at_most("paths without an answer", failed, 0, ""),
        at_most("recorded states that are not stable", unstable_states(chain), 0, ""),
    ]
    for name, errors in classes.items():
        words = f"stress error, unseen {name.replace('_', ' ')}"
        held += [
            at_most(f"{words}, median", errors.stress.median, ACCURACY, "%"),
            at_most(f"{words}, 95th percentile", errors.stress.p95, ACCURACY, "%"),
        ]
    held += [
        at_most("objectivity", exact["objectivity"], 1e-10, ""),
        at_most("reference state", exact["reference_state"], 1e-10, ""),
        at_most("stress against gradient of the energy", exact["stress_is_energy_gradient"], 1e-10, ""),
        at_most("work of closed loops", exact["closed_loop_work"], 1e-8, ""),
        at_most("load on the bar, worst step", float(load_gaps(chain).max()) if solved else None, ACCURACY, "%"),
        at_most("displacement of its nodes", field_gap(chain) if solved else None, ACCURACY, "%"),
    ]
    return held + [
        Promise(f"trust ends, {end.path}, e", f"{end.said:.4f}", Target(f"<= {end.limit.e:.4f}", end.met))
        for end in ends
    ]


def _asked(law: Law, strain: Tensor) -> Step:
    """The answer at strains (m, 9), on the CPU."""
    strain = strain.to(law.device)
    with torch.no_grad():
        step = law(strain, law.initial_state(len(strain)), 1.0)
    return step._replace(stress=step.stress.cpu(), verdict=step.verdict.cpu())
