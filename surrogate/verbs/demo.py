"""Run the whole chain once: cell, data, network, macro simulation, report.

A plane-strain cell of 30 % stiff fibres in a soft elastomer is solved along load paths, an energy network learns the
answers and is judged on paths of a class it never saw, and a membrane is solved twice on the same mesh, with live FE2
and with the network. The figures are compared with what was promised of them; the exit code is 1 if one is missed.

`experiment=fibre_elastomer` is what it runs unless another one is given. With `experiment=copper` the cell is a crystal
of atoms, sampled only where it is stable, and a bar in tension is solved with the crystal itself and with the network.

Groups: experiment, law, path, executor, network, loss, data, trainer, macro

Settings: seed, device, threads, folder

Defaults: experiment=fibre_elastomer

Examples:
    surrogate demo
        Everything, with a table of the figures and a report at the end.
    surrogate demo seed=1 folder=runs/second
        The same with other random numbers, in a folder of your choice.
    surrogate demo network=convex
        With a network whose energy is polyconvex.
    surrogate demo experiment=copper
        A law learned from atoms: copper, up to where it loses its stability.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.laws.law import PLANE_STRAIN, Law
from datagen.paths.drive import check
from datagen.rve.homogenised import HomogenisedCell
from datagen.store import Store
from surrogate.compose import build
from surrogate.demo import (
    ACCURACY,
    LIVE,
    REPEATS,
    Chain,
    Promise,
    Stages,
    Trust,
    field_gap,
    lattice_promises,
    load_gaps,
    promises,
    run_chain,
    trust,
)
from surrogate.ingredients import device_of, law_of, network_of, paths_of, problem_of
from surrogate.law import load
from surrogate.report.curves import load_figure, residual_figure
from surrogate.report.errors import error_figure
from surrogate.report.facts import facts
from surrogate.report.fields import field_figure
from surrogate.report.microstructure import microstructure_figure
from surrogate.report.page import Details, Highlight, Highlights, Page, Picture, Prose, Section
from surrogate.report.paths import overlay_figure, path_figure
from surrogate.report.stability import Overlay, trust_figure
from surrogate.report.timings import timing_figure
from surrogate.report.training import training_figure
from surrogate.runs import REPORT, Run
from surrogate.solve import corners_of, element_values, load_curve
from surrogate.table import Table, number
from surrogate.train import train
from surrogate.verbs.generate import counts, recipe
from surrogate.verbs.train import error_tables

ATOMS = "Cauchy-Born"
"""What the simulation with the crystal itself is called."""

TRAINED = "recipe.json"
"""Beside a law whose training was finished: what it was trained with. The same again is not trained again."""


def run(run: Run) -> int:
    """The verb."""
    stages = _stages(run)
    run.open()
    run.if_interrupted = f"finished shards and weights are kept in {run.folder}; go on with: {run.command_to_resume}"
    chain = run_chain(stages, run.folder, run.say)
    if isinstance(chain.cell, CauchyBorn):
        ends = trust(chain.network, chain.cell)
        held = lattice_promises(chain, ends)
        page = _lattice_page(run, chain, held, ends)
    else:
        held = promises(chain)
        page = _page(run, chain, held)
    for table in (_promise_table(held), _time_table(chain)):
        run.show(table)
    page.write(run.folder / REPORT)
    run.say(f"law:    {run.folder / 'law'}")
    run.say(f"report: {run.folder / REPORT}")
    missed = [promise.what for promise in held if not promise.target.met]
    if missed:
        print(f"surrogate demo: missed: {', '.join(missed)}", file=sys.stderr)
        return 1
    return 0


def _stages(run: Run) -> Stages:
    """Everything is built and checked before anything is written."""
    config = run.config
    device, cell, problem = device_of(config), law_of(config), problem_of(config)
    if not isinstance(cell, HomogenisedCell | CauchyBorn):
        raise ValueError(
            f"law: got {type(cell).__name__}, wanted a HomogenisedCell, whose FE2 the network replaces, or a CauchyBorn"
        )
    lattice = isinstance(cell, CauchyBorn)
    driven = cell.measure.components if lattice else PLANE_STRAIN[cell.measure]
    if cell.measure is not problem.measure or problem.components != driven:
        kind = "three-dimensional" if lattice else "plane"
        raise ValueError(f"macro: got a problem in {problem.measure.name} strain, wanted {kind} {cell.measure.name}")
    paths = paths_of(config, cell)
    if set(paths) != {"train", "test"}:
        raise ValueError(f"paths: got {', '.join(paths)}, wanted the datasets train and test")
    for path in (path for batches in paths.values() for path in batches):
        check(cell, path)
    build(config.network)  # what is wrong with it should show before an hour of work
    loss, settings = build(config.loss), {**build(config.trainer), **build(config.data)}
    if "tangent" in loss.weights and not config.tangents:
        raise ValueError("tangents: got false, wanted true, for this loss compares tangents")

    def learn(store: Store, folder: Path) -> Law:
        network = network_of(config, store)
        wanted = {
            key: OmegaConf.to_container(config[key], resolve=True) for key in ("network", "loss", "trainer", "data")
        }
        wanted |= {"seed": config.seed, "dataset": store.sha256}
        done = folder / TRAINED
        if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == wanted:
            return load(folder).to(device)
        law = train(
            store,
            network,
            loss,
            **settings,
            seed=config.seed,
            device=device,
            folder=folder,
            overwrite=True,
            command=run.command,
        )
        done.write_text(json.dumps(wanted), encoding="utf-8")
        return law

    return Stages(
        cell=cell,
        paths=paths,
        learn=learn,
        problem=problem,
        executor=build(config.executor),
        shard_size=config.shard_size,
        seed=config.seed,
        tangents=bool(config.tangents),
        recipe={name: recipe(config, name) for name in paths},
        live_name=ATOMS if lattice else LIVE,
    )


def _shortfall(held: list[Promise]) -> list[Prose]:
    missed = [promise.what for promise in held if not promise.target.met]
    return [Prose(f"**{len(missed)} of {len(held)} promises were missed**: {', '.join(missed)}.")] if missed else []


def _promise_table(held: list[Promise]) -> Table:
    return Table("What was promised", ["figure", "found", "wanted"], [(p.what, p.found, p.target) for p in held])


def _time_table(chain: Chain) -> Table:
    rows = [(name, seconds) for name, seconds in chain.seconds.items()]
    where = chain.live_name.removeprefix("live ")
    rows += [(f"one cell solve with tangent, in {where}", chain.per_cell), ("the same in a bare batch", chain.bare)]
    note = (
        f"Network: the median of {REPEATS} simulations. It is {number(chain.speed_up, 3)} times faster than "
        f"{chain.live_name}; recording and training are paid after {number(chain.break_even, 2)} simulations."
    )
    return Table("What took how long", ["stage", "time [s]"], rows, note)


def _page(run: Run, chain: Chain, held: list[Promise]) -> Page:
    test = chain.found.classes[next(iter(chain.found.classes))]
    lead = (
        "A cell of stiff fibres in a soft elastomer, a network that learned its energy, and a macro simulation with "
        f"live FE2 and with the network, which is {number(chain.speed_up, 3)} times faster."
    )
    highlights = Highlights(
        [
            Highlight(f"{number(chain.speed_up, 3)} times", "faster than live FE2, whole simulation"),
            Highlight(f"{number(100 * float(chain.gaps.max()), 2)} %", "largest difference of displacement to FE2"),
            Highlight(f"{number(100 * (test.stress.median or 0.0), 2)} %", "median stress error, unseen paths"),
            Highlight(f"{number(chain.break_even, 2)}", "simulations until recording and training are paid"),
        ]
    )
    sections = [
        Section("In short", [*_shortfall(held), highlights, _promise_table(held)]),
        Section("Microstructure", _microstructure(chain.cell)),
        Section("Load paths", _paths(chain)),
        Section("Network", _network(run, chain, {"0.2 %": 0.002, "0.6 %": 0.006})),
        Section("Macro simulation", _macro(chain)),
        Section("Cost", _cost(chain)),
        Section("How it was made", [Details("Resolved configuration", run.resolved)]),
    ]
    return Page(
        "From microstructure to macro simulation", lead, sections, facts(run.command, chain.cell.device, run.started)
    )


def _lattice_page(run: Run, chain: Chain, held: list[Promise], ends: list[Trust]) -> Page:
    test = chain.found.classes[_unseen(chain)]
    crystal = chain.cell
    assert isinstance(crystal, CauchyBorn)
    elements = ", ".join(dict.fromkeys(crystal.crystal.elements))
    gap = float(load_gaps(chain).max())
    highlights = Highlights(
        [
            Highlight(f"{number(100 * (test.stress.median or 0.0), 2)} %", "median stress error, unseen paths"),
            Highlight(f"{number(100 * (test.stress.p95 or 0.0), 2)} %", "its 95th percentile"),
            Highlight(f"{number(100 * gap, 2)} %", "largest difference of the load on the bar"),
            Highlight(f"{number(max(end.said / end.limit.e for end in ends), 3)}", "trust over stability, worst path"),
        ]
    )
    sections = [
        Section("In short", [*_shortfall(held), highlights, _promise_table(held)]),
        Section("How far to trust it", _trust(ends)),
        Section("Load paths", _paths(chain)),
        Section("Network", _network(run, chain, {f"{100 * ACCURACY:g} %": ACCURACY})),
        Section("Macro simulation", _bar(chain)),
        Section("Cost", _cost(chain)),
        Section("How it was made", [Details("Resolved configuration", run.resolved)]),
    ]
    lead = (
        f"A perfect crystal of {elements} under {type(crystal.potential).__name__}, deformed only as far as it is "
        "stable, a network that learned its energy, and a bar in tension with the Cauchy-Born law and with the network."
    )
    return Page("From atoms to a law", lead, sections, facts(run.command, chain.cell.device, run.started))


def _trust(ends: list[Trust]) -> list[Prose | Picture | Table]:
    rows = [
        (
            end.path,
            None if end.limit.elastic is None else round(end.limit.elastic.e, 4),
            None if end.limit.phonon is None else round(end.limit.phonon.e, 4),
            round(end.said, 4),
            float(f"{end.said / end.limit.e:.3g}"),
        )
        for end in ends
    ]
    heads = ["path", "elastic limit", "phonon limit", "trust ends", "ratio to the first"]
    words = (
        "The crystal is a law as long as no wave in it grows. All training states are stable, and beyond the hull of "
        "them the network answers with the verdict OUTSIDE_RANGE: along these paths, at the amplitudes e given here."
    )
    curves = {
        end.path: Overlay(end.e.numpy(), 1e-3 * end.stress.numpy(), 1e-3 * end.learned.numpy(), end.limit.e, end.said)
        for end in ends
    }
    caption = (
        "Stress P : G / G : G along paths F = I + e G: of the crystal (line, solid while it is stable) and of the "
        "network (circles, filled while it trusts itself)."
    )
    return [Prose(words), Table("Amplitudes e", heads, rows), Picture(trust_figure(curves), caption)]


def _microstructure(cell: Law) -> list[Prose | Picture]:
    assert isinstance(cell, HomogenisedCell)
    grid = " x ".join(str(n) for n in cell.microstructure.grid[:2])
    words = (
        f"One periodic cell of {grid} voxels, fibres "
        f"{100 * float(cell.microstructure.volume_fractions[0, 1]):.1f} % of the area."
    )
    caption = "The cell, and the probability that two points at a distance r both lie in the fibres."
    return [Prose(words), Picture(microstructure_figure(cell.microstructure), caption)]


def _paths(chain: Chain) -> list[Table | Picture]:
    strain = {}
    for name, store in chain.stores.items():
        data = store.arrays(["strain", "path_class"])
        for path_class in dict.fromkeys(data["path_class"].tolist()):
            label = f"{path_class} ({'unseen' if name == 'test' else 'learned'})".replace("_", " ")
            strain[label] = torch.from_numpy(data["strain"][data["path_class"] == path_class])
    picture = Picture(
        path_figure(strain, chain.cell.measure),
        "Logarithmic stretch along the paths that the cell was solved on, with dots at their ends.",
    )
    return [counts(dict(chain.stores)), picture]


_HULL = (
    "Outside means: somewhere beyond the hull of the training strains. The unseen paths go to the same largest "
    "stretch, in directions between those of the training paths, so many leave the hull a little; the law says so by "
    "its verdict."
)


_SIX = ("11", "22", "33", "23", "13", "12")
"""Components that are drawn where there are nine."""


def _unseen(chain: Chain) -> str:
    """The class of test paths that training has not seen; the first, should it have seen all."""
    learned = set(chain.stores["train"].arrays(["path_class"])["path_class"].tolist())
    names = [name for name in chain.found.path_errors if name != "all"]
    return next((name for name in names if name not in learned), names[0])


def _network(run: Run, chain: Chain, limits: Mapping[str, float]) -> list[Table | Picture | Prose]:
    unseen = _unseen(chain)
    arrays = chain.stores["test"].arrays(["strain", "stress", "path_class"])
    strain, stress = (torch.from_numpy(arrays[x][arrays["path_class"] == unseen]) for x in ("strain", "stress"))
    errors = chain.found.path_errors[unseen]
    order = sorted(range(len(errors)), key=errors.__getitem__)
    shown = [order[0], order[len(order) // 2], order[-1]]
    titles = [f"{word}, {100 * errors[k]:.2g} %" for word, k in zip(("best", "median", "worst"), shown, strict=True)]
    law = chain.network
    components = law.components if len(law.components) <= len(_SIX) else _SIX
    with torch.no_grad():
        some = strain[shown].to(law.device)
        predicted = law(some, law.initial_state(*some.shape[:-1]), 1.0).stress
    history = json.loads((run.folder / "law" / "history.json").read_text(encoding="utf-8"))
    return [
        Picture(
            overlay_figure(stress[shown], predicted, law.measure, components, titles),
            "Stress along three paths of the unseen class: best, median and worst.",
        ),
        *error_tables(chain.found),
        Prose(_HULL),
        Picture(
            error_figure(chain.found.path_errors, limits),
            "Stress error of each unseen path; dotted: what median and 95th percentile were promised to stay below.",
        ),
        Picture(training_figure(history), "Loss over epochs and over time."),
    ]


def _macro(chain: Chain) -> list[Prose | Picture | Table]:
    live, learned = chain.live, chain.learned
    named = {"live FE2": live, "network": learned}
    curves, axis = {}, "y"
    for name, solution in named.items():
        u, force, axis = load_curve(solution)
        curves[name] = (u.tolist(), force.tolist())
    fields = field_figure(
        live.assembly.X,
        corners_of(live),
        [s.nodal(s.displacements)[-1].numpy() for s in named.values()],
        [element_values(s, s.in_plane_shear()) for s in named.values()],
        list(named),
        "largest in-plane shear stress [MPa]",
    )
    points = live.assembly.n_elements * live.assembly.n_points
    words = (
        f"A membrane of {live.assembly.n_elements} quadrilaterals with {points} integration points, plane strain, "
        f"lifted by {100 * chain.deflection:.1f} % of its length. Same mesh, same load steps, "
        "same tolerance; only the law differs."
    )
    rows = [
        (t + 1, float(u), float(v), 100 * float(gap))
        for t, (u, v, gap) in enumerate(zip(live.monitored[:, 1], learned.monitored[:, 1], chain.gaps, strict=False))
    ]
    heads = ["step", "u_y, live FE2 [mm]", "u_y, network [mm]", "difference [%]"]
    return [
        Prose(words),
        Picture(fields, "Stress on the deformed body at the last load step, averaged over each element."),
        Picture(load_figure(curves, f"displacement $u_{axis}$ [mm]", f"load along {axis} [N]"), "Load-displacement."),
        Picture(
            residual_figure({name: s.residuals for name, s in named.items()}),
            "Newton's method converges quadratically with either law.",
        ),
        Table("Displacement of the monitored point", heads, rows),
    ]


def _bar(chain: Chain) -> list[Prose | Picture | Table]:
    live, learned = chain.live, chain.learned
    named = {chain.live_name: live, "network": learned}
    curves, axis = {}, "x"
    for name, solution in named.items():
        u, force, axis = load_curve(solution)
        curves[name] = (u.tolist(), force.tolist())
    points = live.assembly.n_elements * live.assembly.n_points
    words = (
        f"A bar of {live.assembly.n_elements} hexahedra with {points} integration points, each a crystal, held at both "
        f"ends and pulled by {100 * float(live.monitored[-1, 0]) / float(np.ptp(live.assembly.X[:, 0])):.1f} % of its "
        "length. Same mesh, same load steps, same tolerance; only the law differs. Displacements of the nodes differ "
        f"by at most {100 * field_gap(chain):.2g} % of the largest."
    )
    (u, f, _), (_, g, _) = load_curve(live), load_curve(learned)
    rows = [
        (t + 1, float(a), float(b), float(c), 100 * float(gap))
        for t, (a, b, c, gap) in enumerate(zip(u, f, g, load_gaps(chain), strict=False))
    ]
    heads = ["step", f"u_{axis} [mm]", f"{chain.live_name} [N]", "network [N]", "difference [%]"]
    return [
        Prose(words),
        Picture(load_figure(curves, f"displacement $u_{axis}$ [mm]", f"load along {axis} [N]"), "Load-displacement."),
        Picture(residual_figure({name: s.residuals for name, s in named.items()}), "Convergence of Newton's method."),
        Table("Load on the bar", heads, rows),
    ]


def _cost(chain: Chain) -> list[Table | Picture]:
    return [
        _time_table(chain),
        Picture(timing_figure(dict(chain.seconds), "network"), "Wall-clock times of this run."),
    ]
