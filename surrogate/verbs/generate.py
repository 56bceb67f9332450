"""Record a law along load paths, into datasets.

Drives the law along every sampler under `paths` and writes one dataset for each name there: with `paths.train` and
`paths.test`, the folders `train` and `test` inside the run's. Any law can be recorded: a cell, a formula, a trained
network (`checkpoint`). Strain, stress, stored and dissipated energy and a verdict are stored for every step; a path
without an answer is stored with its verdict, counted, and never handed to training.

The cells of a homogenised law are written beside them (`cells.h5`): voxels, orientations, and for each sample volume
fractions, two-point correlations and what else describes it.

Started again with the same settings and `folder`, it goes on where it was: finished shards are checked and kept.

Groups: experiment, law, microstructure, path, executor

Settings: seed, checkpoint, shard_size, tangents, device, threads, folder

Examples:
    surrogate generate experiment=fibre_elastomer folder=runs/fibre
        A cell of stiff fibres: runs/fibre/train to learn from, runs/fibre/test
        of a class of paths that training does not see.
    surrogate generate law.mu=2.5 paths.train.ramps.n_paths=128
        A textbook law with another modulus, along more paths.
    surrogate generate experiment=sphere_j2 executor=processes
        A plastic cell in three dimensions, several shards at a time.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from datagen.executor.executor import Executor
from datagen.generate import generate
from datagen.laws.law import Law
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.microstructures.voxel_file import write_cells
from datagen.paths.drive import check
from datagen.paths.path import LoadPath
from datagen.rve.homogenised import HomogenisedCell
from datagen.store import MANIFEST, Store
from surrogate.compose import build
from surrogate.ingredients import law_of, paths_of
from surrogate.report.facts import facts
from surrogate.report.microstructure import microstructure_figure
from surrogate.report.page import Details, Page, Picture, Prose, Section
from surrogate.report.paths import path_figure
from surrogate.runs import CONFIG, REPORT, Run
from surrogate.table import Table

CELLS = "cells.h5"


def run(run: Run) -> int:
    """The verb."""
    config = run.config
    law = law_of(config)
    datasets = paths_of(config, law)
    executor = build(config.executor)
    for batches in datasets.values():
        for path in batches:
            check(law, path)
    run.open()
    run.if_interrupted = f"finished shards are kept in {run.folder}; go on with: {run.command_to_resume}"
    stores, costs = {}, []
    for name, batches in datasets.items():
        before, started = _n_done(run.folder / name), time.perf_counter()
        stores[name] = record(run, law, name, batches, executor)
        costs.append(_cost(name, stores[name], stores[name].n_done - before, time.perf_counter() - started))
    if isinstance(law, HomogenisedCell):
        write_cells(law.microstructure, run.folder / CELLS)
    tables = [counts(stores), *_verdicts(stores), Table("Cost of this run", _COST, costs)]
    for table in tables:
        run.show(table)
    _page(run, law, datasets, stores, tables).write(run.folder / REPORT)
    for name in stores:
        run.say(f"dataset: {run.folder / name}")
    run.say(f"report: {run.folder / REPORT}")
    return 0


def record(run: Run, law: Law, name: str, batches: list[LoadPath], executor: Executor) -> Store:
    """One dataset of the run; raises ValueError, and leaves nothing, where no path at all has an answer."""
    config, folder = run.config, run.folder / name
    new = not folder.exists()
    store = generate(
        law, batches, folder, executor, config.shard_size, config.seed, recipe(config, name), bool(config.tangents)
    )
    if store.n_failed == store.n_members:
        verdict = Verdict(int(store.arrays(["verdict"], good_only=False)["verdict"].max()))
        if new:
            shutil.rmtree(folder)
        raise ValueError(
            f"paths.{name}: got {store.n_members} paths of which none has an answer to its end, wanted some that have; "
            f"{verdict.name}: {verdict.sentence}"
        )
    return store


def recipe(config: DictConfig, name: str) -> dict:
    """The part of the configuration that a dataset depends on, for its record: equal on resumption."""
    law = {"law": config.law} if config.checkpoint is None else {"checkpoint": config.checkpoint}
    part = OmegaConf.create({**law, "paths": config.paths[name], "seed": config.seed})
    return OmegaConf.to_container(part, resolve=True)  # type: ignore[return-value]


def counts(stores: dict[str, Store]) -> Table:
    """Paths, steps and failures, by dataset and class of paths."""
    rows = []
    for name, store in stores.items():
        data = store.arrays(["verdict", "path_class"], good_only=False)
        failed = (data["verdict"] >= FIRST_WITHOUT_ANSWER).any(1)
        warned = ((data["verdict"] > 0) & (data["verdict"] < FIRST_WITHOUT_ANSWER)).any(1) & ~failed
        for path_class in dict.fromkeys(data["path_class"].tolist()):
            of = data["path_class"] == path_class
            steps = data["verdict"].shape[1]
            rows.append((name, path_class, int(of.sum()), steps, int((of & failed).sum()), int((of & warned).sum())))
    return Table("Paths recorded", ["dataset", "class", "paths", "steps", "failed", "with warnings"], rows)


def _verdicts(stores: dict[str, Store]) -> list[Table]:
    """What went wrong, and what to do."""
    worst = [store.arrays(["verdict"], good_only=False)["verdict"].max(1) for store in stores.values()]
    codes, numbers = np.unique(np.concatenate(worst), return_counts=True)
    rows = [(Verdict(c).name, int(n), Verdict(c).sentence) for c, n in zip(codes, numbers, strict=True) if c]
    return [Table("Verdicts that are not good", ["verdict", "paths", "meaning"], rows)] if rows else []


_COST = ["dataset", "paths", "time [s]", "per answer [ms]", "digest of the dataset"]


def _cost(name: str, store: Store, paths: int, seconds: float) -> tuple:
    answers = paths * int(store.manifest["n_steps"])
    return name, paths, seconds, 1000 * seconds / answers if paths else None, store.sha256[:12]


def _n_done(folder: Path) -> int:
    """Paths that an earlier run has finished."""
    return Store(folder).n_done if (folder / MANIFEST).is_file() else 0


def _page(
    run: Run, law: Law, datasets: dict[str, list[LoadPath]], stores: dict[str, Store], tables: list[Table]
) -> Page:
    strain = {
        f"{path.path_class} ({name})": torch.from_numpy(arrays["strain"][arrays["path_class"] == path.path_class])
        for name, batches in datasets.items()
        for arrays in [stores[name].arrays(["strain", "path_class"])]
        for path in batches
    }
    figure = path_figure({name: values for name, values in strain.items() if len(values)}, law.measure)
    picture = Picture(figure, "Strain along the paths, with dots at their ends. Rotations do not show.")
    kept = Prose(f"The resolved configuration is in `{CONFIG}`; each dataset keeps its own part in its manifest.")
    sections = [
        Section("What was recorded", tables),
        Section("Load paths", [picture]),
        Section("How it was made", [kept, Details("Resolved configuration", run.resolved)]),
    ]
    if isinstance(law, HomogenisedCell):
        n = law.microstructure.n_samples
        cell = "The cell" if n == 1 else f"The first of {n} cells"
        caption = f"{cell}, and the probability that two points at a distance r both lie in a phase."
        sections.insert(0, Section("Microstructure", [Picture(microstructure_figure(law.microstructure), caption)]))
    paths = sum(store.n_done - store.n_failed for store in stores.values())
    lead = f"{type(law).__name__} recorded along {paths} load paths."
    return Page("Datasets", lead, sections, facts(run.command, law.device, run.started))
