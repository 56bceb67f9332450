"""Train a network on a dataset.

Learns the paths in the folder `store`: Adam on minibatches, then L-BFGS on all paths, with a loss of stress, stored
energy, work and dissipation. The weights that do best on validation paths are saved in the run's folder as
`model.safetensors`, `config.json` and `card.md`; that folder is what `checkpoint` of the other verbs wants, and what
`surrogate.law.load` reads.

A network made for all components (`network.components=null`) takes those that the dataset drives.

Groups: experiment, network, loss, data, trainer

Settings: store, seed, device, threads, folder

Examples:
    surrogate train experiment=fibre_elastomer store=runs/fibre/train
        The network of the demo on the dataset of `surrogate generate`.
    surrogate train store=runs/fibre/train network=convex folder=runs/convex
        A polyconvex energy, in a folder of your choice.
    surrogate train store=runs/fibre/train trainer.lbfgs=null loss=stress
        Adam only, on stresses only.
"""

from __future__ import annotations

import json

from datagen.store import Store
from surrogate.compose import build
from surrogate.data import Dataset
from surrogate.evaluate import Evaluation, evaluate
from surrogate.ingredients import device_of, folder_named, network_of
from surrogate.law import CARD, WEIGHTS
from surrogate.law import CONFIG as LAW
from surrogate.report.errors import error_figure
from surrogate.report.facts import facts
from surrogate.report.page import Details, Page, Picture, Prose, Section
from surrogate.report.training import training_figure
from surrogate.runs import CONFIG, REPORT, Run
from surrogate.table import Table
from surrogate.train import train


def run(run: Run) -> int:
    """The verb."""
    config = run.config
    device = device_of(config)
    store = Store(folder_named(config, "store", "a dataset, as `surrogate generate` writes it"))
    network, loss, trainer = network_of(config, store), build(config.loss), build(config.trainer)
    Dataset.read(store).check(network)
    if (run.folder / LAW).exists():
        raise ValueError(f"folder: got {run.folder}, which holds a trained law already, wanted another one")
    run.open()
    run.if_interrupted = (
        f"the best weights so far are in {run.folder} if it holds {WEIGHTS}; they can be used as they are"
    )
    law = train(
        store,
        network,
        loss,
        **trainer,
        **build(config.data),
        seed=config.seed,
        device=device,
        folder=run.folder,
        command=run.command,
    )
    found = evaluate(law, store, seed=config.seed)
    tables = error_tables(found)
    for table in tables:
        run.show(table)
    _page(run, found, tables, str(device)).write(run.folder / REPORT)
    run.say(f"law: {run.folder}")
    run.say(f"report: {run.folder / REPORT}")
    return 0


def error_tables(found: Evaluation) -> list[Table]:
    """Errors by class of path, and the exactness checks. A column without errors, as of no dissipation, is left out."""
    heading, *rows = found.table()
    kept = [k for k, name in enumerate(heading) if k < 2 or any(row[k] not in ("-", "0 / 0 %") for row in rows)]
    cells = [[int(row[k]) if row[k].isdigit() else row[k].removesuffix(" %") for k in kept] for row in rows]
    heads = [heading[k] if k < 2 else f"{heading[k]} [%]" for k in kept]
    checks, *checked = found.exactness_table()
    return [
        Table("Errors, median / 95th percentile over paths", heads, cells),
        *([Table("What should hold exactly, relative error", checks, checked)] if checked else []),
    ]


def _page(run: Run, found: Evaluation, tables: list[Table], device: str) -> Page:
    history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
    losses = Picture(
        training_figure(history),
        "Loss over epochs and over time. The weights that do best on the validation paths are kept.",
    )
    scope = Prose(
        "Training and validation paths together. How well the law does on paths of another kind is for "
        "`surrogate evaluate` to say."
    )
    errors = Picture(
        error_figure(found.path_errors), "Stress error of each path by class, with median and 95th percentile."
    )
    sources = Prose(f"The resolved configuration is in `{CONFIG}`, the card of the law in `{CARD}`.")
    card = Details("Card", (run.folder / CARD).read_text(encoding="utf-8"))
    sections = [
        Section("Training", [losses]),
        Section("Errors on the paths of the dataset", [scope, *tables, errors]),
        Section("How it was made", [sources, card, Details("Resolved configuration", run.resolved)]),
    ]
    name = run.config.network._target_.rpartition(".")[2]
    n = max(len(of_class) for of_class in found.path_errors.values())  # "all" of them, where there are classes
    return Page("Training", f"{name} trained on {n} recorded paths.", sections, facts(run.command, device, run.started))
