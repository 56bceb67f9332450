"""The study that tells how large a cell must be: random cells of several sizes, solved, kept, and judged."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datagen.executor.executor import Executor, Failure
from datagen.executor.serial import Serial
from datagen.generate import fingerprint
from datagen.laws.law import Law
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.progress import ProgressView
from datagen.rve.apparent import Modulus, apparent, chosen, driven, point_moments
from datagen.rve.boundary import BOUNDARIES
from datagen.rve.ensemble import Ensemble
from datagen.rve.homogenised import HomogenisedCell
from datagen.rve.size import KUBC, PERIODIC, SUBC, Finding, Size, check_precision, find, order_defect

SAMPLES, TABLE, FINDINGS = "samples.json", "samples.csv", "size.json"
FRACTION = "fraction"

_VOXELS = 2**15  # of the cells of one task, the unit of resuming


@dataclass(frozen=True)
class Study:
    """What `rve_size` found.

    Attributes:
        sizes: of the cells, from small to large.
        dimension: number of axes along which they grow.
        components: Mandel components of the stiffness.
        stiffness: apparent stiffness (m, k, k) [MPa] by boundary and edge, nan where there is no answer.
        verdict: a `Verdict` for each sample, likewise.
        fractions: volume fractions (m, n_phases) by edge.
        moduli: the moduli that were looked at, by name.
        findings: what there is to know of each, by name; ``fraction`` is that of phase 1, where there are two phases.
        order: smallest eigenvalue of C_upper - C_lower over |C_upper| in all samples, by ``"lower <= upper"``.
    """

    sizes: tuple[Size, ...]
    dimension: int
    components: tuple[str, ...]
    stiffness: dict[str, dict[int, np.ndarray]]
    verdict: dict[str, dict[int, np.ndarray]]
    fractions: dict[int, np.ndarray]
    moduli: dict[str, Modulus]
    findings: dict[str, Finding]
    order: dict[str, float]

    @property
    def failed(self) -> int:
        """How many solves have no answer."""
        return sum(int((v >= FIRST_WITHOUT_ANSWER).sum()) for by in self.verdict.values() for v in by.values())

    def values(self, name: str) -> dict[str, dict[int, np.ndarray]]:
        """A modulus of every sample (m,), by boundary and edge."""
        if name == FRACTION:
            return {"any": {edge: f[:, 1] for edge, f in self.fractions.items()}}
        of = self.moduli[name].of
        return {b: {edge: of(C) for edge, C in by.items()} for b, by in self.stiffness.items()}

    def as_dict(self) -> dict[str, Any]:
        """The findings as a dictionary that JSON takes; what is not a number is None."""
        found = {name: asdict(finding) for name, finding in self.findings.items()}
        text = json.dumps({"components": self.components, "findings": found, "order": self.order})
        return json.loads(text, parse_constant=lambda name: None)


def rve_size(
    ensemble: Ensemble,
    laws: Sequence[Law],
    edges: Sequence[int],
    samples: int | Sequence[int] = 32,
    boundaries: Sequence[str] = (PERIODIC,),
    moduli: Sequence[str] | None = None,
    precision: float = 0.01,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    **settings: Any,
) -> Study:
    """Judge whether cells of an ensemble are representative; started again in its folder it goes on where it was.

    The same random cells are solved under every boundary condition, and their apparent stiffness at the reference is
    kept. More sizes, samples, boundaries or moduli may be asked for later: what is solved stays.

    Args:
        ensemble: the random cells, see `datagen.rve.ensemble`.
        laws: one a phase.
        edges: voxels along x of the cells to compare.
        samples: cells of each size, one number or one for each edge; at least 2.
        boundaries: see `datagen.rve.boundary`. With the periodic one, that is judged; else the first.
        moduli: names, see `datagen.rve.apparent.moduli`; the usual ones for None.
        precision: wanted relative error of a mean, in (0, 1).
        folder: where to keep samples.json, samples.csv and size.json; nowhere for None.
        executor: where cells are solved; `Serial` for None.
        device: on which device.
        progress: whether to show progress on standard error.
        settings: further arguments of `HomogenisedCell`: discretisation, tolerance, components, memory.

    Raises:
        ValueError: arguments that do not fit, or a folder that was begun with other cells or laws (says which).
        RuntimeError: cells whose solve crashed again and again; what is solved is kept.

    Example:
        >>> from functools import partial
        >>> from datagen.laws.linear_elastic import LinearElastic
        >>> from datagen.microstructures.random_fibres import random_fibres
        >>> from datagen.rve.ensemble import Generated
        >>> fibres = Generated(partial(random_fibres, grid=8, count=2, fraction=0.3))
        >>> laws = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.3)]
        >>> plane = {"discretisation": "hex8r", "components": ("11", "22", "12")}
        >>> study = rve_size(fibres, laws, edges=[8, 16], samples=16, precision=0.5, progress=False, **plane)
        >>> study.findings["shear"].verdict
        'representative at 50 % under periodic boundaries: one cell of 8 voxels will do'
    """
    plan = _Plan.of(ensemble, laws, edges, samples, boundaries, precision, device, settings)
    if moduli is not None:
        moduli = _listed("moduli", moduli)
    names = chosen(moduli, driven(plan.cell(plan.smallest(), plan.boundaries[0])))
    rows = _Rows(None if folder is None else Path(folder), plan.recipe())
    _solve(plan, rows, executor or Serial(), progress)
    study = _study(plan, rows, names, precision)
    if folder is not None:
        _write_table(study, Path(folder) / TABLE)
        _write(Path(folder) / FINDINGS, study.as_dict())
    return study


@dataclass(frozen=True)
class _Plan:
    """What to solve; checked."""

    ensemble: Ensemble
    laws: list[Law]
    samples: dict[int, int]  # by edge
    boundaries: tuple[str, ...]
    device: torch.device | str
    settings: dict[str, Any]

    @classmethod
    def of(
        cls,
        ensemble: Ensemble,
        laws: Sequence[Law],
        edges: Sequence[int],
        samples: int | Sequence[int],
        boundaries: Sequence[str],
        precision: float,
        device: torch.device | str,
        settings: Mapping[str, Any],
    ) -> _Plan:
        """Raises ValueError for what does not fit."""
        check_precision(precision)
        edges, names = _listed("edges", edges), tuple(_listed("boundaries", boundaries))
        counts = (
            [samples] * len(edges) if isinstance(samples, int | float) else _listed("samples", samples, repeats=True)
        )
        if len(counts) != len(edges):
            raise ValueError(f"samples: got {len(counts)} numbers for {len(edges)} edges, wanted one, or one for each")
        wrong = [name for name in names if name not in BOUNDARIES]
        if wrong:
            raise ValueError(f"boundaries: got {wrong[0]!r}, wanted names among {', '.join(BOUNDARIES)}")
        for edge, count in zip(edges, counts, strict=True):
            ensemble.check(edge, count)
        plan = cls(ensemble, list(laws), dict(sorted(zip(edges, counts, strict=True))), names, device, dict(settings))
        for name in names:
            plan.cell(plan.smallest(), name)
        return plan

    def smallest(self) -> tuple[int, range]:
        """The cells of the smallest size."""
        edge = min(self.samples)
        return edge, range(self.samples[edge])

    def cell(self, of: tuple[int, Sequence[int]], boundary: str) -> HomogenisedCell:
        """Some samples of one size as a law."""
        return HomogenisedCell(self.ensemble.draw(*of), self.laws, boundary=boundary, **self.settings).to(self.device)

    def recipe(self) -> dict[str, Any]:
        """What the answer for one sample depends on, as JSON."""
        parts = {"cells": self.ensemble.describe(), "laws": [fingerprint(law) for law in self.laws], **self.settings}
        return json.loads(json.dumps(parts, default=str))

    def tasks(self, rows: _Rows) -> list[_Task]:
        """What is not yet solved, in blocks of cells of one size."""
        tasks: list[_Task] = []
        for edge, count in self.samples.items():
            block = max(1, _VOXELS // math.prod(self.ensemble.grid_of(edge)))
            lacking: dict[tuple[str, ...], list[int]] = {}
            for sample in range(count):
                wanted = tuple(b for b in self.boundaries if (edge, sample, b) not in rows.found)
                lacking.setdefault(wanted, []).append(sample)
            for wanted, members in lacking.items():
                if wanted:
                    tasks += [_Task(edge, tuple(members[i : i + block]), wanted) for i in range(0, len(members), block)]
        return tasks


@dataclass(frozen=True)
class _Task:
    """Some samples of one size, and the boundary conditions they lack."""

    edge: int
    samples: tuple[int, ...]
    boundaries: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """What a worker does with a task: draw the cells and solve them under each boundary condition."""

    plan: _Plan
    threads: int

    def __call__(self, task: _Task) -> list[dict[str, Any]]:
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return [row for boundary in task.boundaries for row in self.rows(task, boundary)]
        finally:
            torch.set_num_threads(threads)

    def rows(self, task: _Task, boundary: str) -> list[dict[str, Any]]:
        """One row a sample."""
        cell = self.plan.cell((task.edge, task.samples), boundary)
        answer, fractions = apparent(cell), cell.microstructure.volume_fractions.tolist()
        return [
            {
                "edge": task.edge,
                "sample": sample,
                "boundary": boundary,
                "verdict": int(verdict),
                "fractions": fraction,
                "stiffness": C.tolist() if np.isfinite(C).all() else None,
            }
            for sample, verdict, fraction, C in zip(
                task.samples, answer.verdict, fractions, answer.stiffness, strict=True
            )
        ]


class _Rows:
    """What is solved, by (edge, sample, boundary), in memory and in a file."""

    def __init__(self, folder: Path | None, recipe: dict[str, Any]) -> None:
        self.file, self.recipe = None if folder is None else folder / SAMPLES, recipe
        self.found: dict[tuple[int, int, str], dict[str, Any]] = {}
        if self.file is None or not self.file.exists():
            return
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            before, rows = kept["recipe"], kept["rows"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.file}: cannot be read as samples of an earlier run; wanted a new folder"
            ) from error
        for key in {**recipe, **before}:
            if before.get(key) != recipe.get(key):
                raise ValueError(f"{folder}: was begun with other {key}; wanted the same, or another folder")
        self.add(rows)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take finished rows in."""
        self.found.update({(row["edge"], row["sample"], row["boundary"]): row for row in rows})

    def keep(self) -> None:
        """Write the file, whole or not at all."""
        if self.file is not None:
            _write(self.file, {"recipe": self.recipe, "rows": [self.found[key] for key in sorted(self.found)]})


def _solve(plan: _Plan, rows: _Rows, executor: Executor, progress: bool) -> None:
    """Do the tasks that are not done."""
    tasks, given_up = plan.tasks(rows), []
    total = sum(plan.samples.values()) * len(plan.boundaries)
    missing = sum(len(task.samples) * len(task.boundaries) for task in tasks)
    work = _Work(plan, executor.threads or torch.get_num_threads())
    view = ProgressView("rve-size", total, "solves", already=total - missing, show=progress)
    with view, closing(executor.run(work, tasks)) as results:
        for index, result in results:
            if isinstance(result, Failure):
                if result.wrong_input:
                    raise result.error
                given_up.append(f"{tasks[index].edge} voxels {result}")
                continue
            rows.add(result)
            rows.keep()
            view.advance(len(result), sum(row["stiffness"] is None for row in result))
    if given_up:
        raise RuntimeError(f"cells without an answer: {'; '.join(given_up)}")


def _study(plan: _Plan, rows: _Rows, names: dict[str, Modulus], precision: float) -> Study:
    """The statistics of what was solved."""
    ensemble = plan.ensemble
    sizes = tuple(Size(edge, edge * ensemble.spacing[0], ensemble.volume(edge)) for edge in plan.samples)
    stiffness: dict[str, dict[int, np.ndarray]] = {b: {} for b in plan.boundaries}
    verdict: dict[str, dict[int, np.ndarray]] = {b: {} for b in plan.boundaries}
    fractions: dict[int, np.ndarray] = {}
    components = driven(plan.cell(plan.smallest(), plan.boundaries[0]))
    k = len(components)
    for edge, count in plan.samples.items():
        for b in plan.boundaries:
            of = [rows.found[edge, sample, b] for sample in range(count)]
            unknown = np.full((k, k), np.nan).tolist()
            stiffness[b][edge] = np.array([unknown if row["stiffness"] is None else row["stiffness"] for row in of])
            verdict[b][edge] = np.array([row["verdict"] for row in of])
        phases = max(len(row["fractions"]) for row in of)
        fractions[edge] = np.array([row["fractions"] + [0.0] * (phases - len(row["fractions"])) for row in of])
    study = Study(sizes, ensemble.dimension, components, stiffness, verdict, fractions, names, {}, _order(stiffness))
    cells, shares = ensemble.draw(*plan.smallest()), _shares(study)
    for name, modulus in names.items():
        points = point_moments(cells, plan.laws, modulus, components, shares)[1]
        study.findings[name] = find(
            name,
            study.values(name),
            sizes,
            study.dimension,
            precision,
            points,
            modulus.unit,
            modulus.meaning,
            modulus.logarithm,
        )
    if all(f.shape[1] == 2 and f[:, 1].std() > 0 for f in fractions.values()):
        f = float(shares[1])
        study.findings[FRACTION] = find(
            FRACTION,
            study.values(FRACTION),
            sizes,
            study.dimension,
            precision,
            math.sqrt(f * (1 - f)),
            "-",
            "volume fraction of phase 1",
        )
    return study


def _shares(study: Study) -> np.ndarray:
    """Volume fractions of the phases (n_phases,) over all cells of all sizes, each by its volume."""
    total = np.zeros(max(f.shape[1] for f in study.fractions.values()))
    for size in study.sizes:
        f = study.fractions[size.edge]
        total[: f.shape[1]] += size.volume * f.sum(0)
    return total / total.sum()


def _order(stiffness: Mapping[str, Mapping[int, np.ndarray]]) -> dict[str, float]:
    """How well SUBC <= periodic <= KUBC holds in all samples; nan-free, empty without two of them."""
    present = [b for b in (SUBC, PERIODIC, KUBC) if b in stiffness]
    found = {}
    for lower, upper in pairwise(present):
        defects = np.concatenate(
            [order_defect(stiffness[lower][edge], stiffness[upper][edge]) for edge in stiffness[lower]]
        )
        if np.isfinite(defects).any():
            found[f"{lower} <= {upper}"] = float(np.nanmin(defects))
    return found


def _listed(name: str, values: Any, repeats: bool = False) -> list[Any]:
    """A list of at least one entry, none twice."""
    if isinstance(values, str | int | float) or values is None or not len(values):
        raise ValueError(f"{name}: got {values!r}, wanted {'a number or ' if repeats else ''}a list, such as [a, b]")
    found = list(values)
    if not repeats and len(set(found)) < len(found):
        raise ValueError(f"{name}: got {found}, wanted each once")
    return found


def _write_table(study: Study, path: Path) -> None:
    """One row a sample and boundary, with its moduli."""
    values = {name: study.values(name) for name in study.moduli}
    heads = [f"{m.name} [{m.unit}]" for m in study.moduli.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        phases = max(f.shape[1] for f in study.fractions.values())
        shown = [f"fraction_{p}" for p in range(phases)] if phases <= 8 else []
        writer.writerow(["edge [voxels]", "length [mm]", "sample", "boundary", "verdict", *shown, *heads])
        for size in study.sizes:
            for boundary, by in study.verdict.items():
                for i, verdict in enumerate(by[size.edge]):
                    fractions = study.fractions[size.edge][i].tolist()[: len(shown)]
                    fractions += [0.0] * (len(shown) - len(fractions))
                    own = [float(values[name][boundary][size.edge][i]) for name in values]
                    writer.writerow([size.edge, size.length, i, boundary, int(verdict), *fractions, *own])


def _write(path: Path, content: Any) -> None:
    """JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)
