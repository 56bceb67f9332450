"""Compare a law with a dataset.

Drives the law, a trained one in the folder `checkpoint` or the one that `law` describes, along the paths in the folder
`store` and tells the errors of stress, stored energy, work and dissipation by class of path, inside and outside the
range it was trained on, and how well it keeps what should hold exactly: objectivity, a stress-free reference state,
stress as the derivative of energy, the tangent as that of stress, no work from closed loops.

The error of a path is |s - s^| / |s| over all its steps; the tables show median and 95th percentile over paths.

Groups: experiment, law

Settings: checkpoint, store, seed, device, threads, folder

Examples:
    surrogate evaluate checkpoint=runs/fibre-law store=runs/fibre/test
        A trained law on paths of a class it never saw.
    surrogate evaluate checkpoint=runs/fibre-law store=runs/fibre/test
        A law that ships.
    surrogate evaluate law=neo_hooke law.mu=2.1 store=runs/fibre/test
        How far a textbook law is from the cell.
"""

from __future__ import annotations

import json

import numpy as np
import torch

from datagen.laws.law import Law
from datagen.store import Store
from surrogate.data import Dataset
from surrogate.evaluate import Evaluation, evaluate
from surrogate.ingredients import folder_named, law_of
from surrogate.losses import respond
from surrogate.report.errors import error_figure
from surrogate.report.facts import facts
from surrogate.report.page import Details, Page, Picture, Section
from surrogate.report.paths import overlay_figure
from surrogate.runs import REPORT, Run
from surrogate.verbs.train import error_tables


def run(run: Run) -> int:
    """The verb."""
    store = Store(folder_named(run.config, "store", "a dataset, as `surrogate generate` writes it"))
    law = law_of(run.config)
    data = Dataset.read(store, run.config.seed)
    data.check(law)
    run.open()
    found = evaluate(law, data, seed=run.config.seed)
    tables = error_tables(found)
    for table in tables:
        run.show(table)
    (run.folder / "errors.json").write_text(json.dumps(found.as_dict(), indent=1) + "\n", encoding="utf-8")
    name = type(law).__name__
    sections = [
        Section(
            "Errors",
            [
                *tables,
                Picture(
                    error_figure(found.path_errors),
                    "Stress error of each path by class, with median and 95th percentile.",
                ),
            ],
        ),
        Section("Along single paths", overlays(law, data, found)),
        Section("How it was made", [Details("Resolved configuration", run.resolved)]),
    ]
    lead = f"{name} compared with {data.records.n_paths} recorded paths, step by step."
    Page("Evaluation", lead, sections, facts(run.command, law.device, run.started)).write(run.folder / REPORT)
    run.say(f"errors: {run.folder / 'errors.json'}")
    run.say(f"report: {run.folder / REPORT}")
    return 0


def overlays(law: Law, data: Dataset, found: Evaluation) -> list[Picture]:
    """For each class, stress along the paths with the median, the 95th percentile and the largest error."""
    pictures = []
    for name in data.classes:
        errors = found.path_errors[name]
        known = np.array([np.nan if e is None else e for e in errors])
        order = np.argsort(known)[: int(np.isfinite(known).sum())]
        if not len(order):
            continue
        chosen = [order[round(q * (len(order) - 1))] for q in (0.5, 0.95, 1.0)]
        rows = np.flatnonzero(data.path_class == name)[chosen]
        records = data.records.pick(torch.as_tensor(rows)).to(law.device)
        with torch.no_grad():
            answer = respond(law, records)
        titles = [
            f"{word}: {100 * known[k]:.2g} %" for word, k in zip(("median", "95 %", "worst"), chosen, strict=True)
        ]
        figure = overlay_figure(records.answer.stress, answer.stress, data.measure, data.components, titles)
        pictures.append(
            Picture(figure, f"Paths of class {name}: the one with the median error, the 95th percentile and the worst.")
        )
    return pictures
