"""Solve a macro problem with a law: live FE2, a trained network or a formula.

Every integration point of the finite elements asks the law. With a cell that is FE2: a boundary value problem on the
microstructure at each point and iteration. With `checkpoint` a trained network answers instead, all else being equal:
one setting is the difference. Writes the load-displacement curve (`curve.csv`) and fields that ParaView opens
(`solution.pvd`). A body that does not reach its load is reported, with what was reached; the exit code is then 1.

Groups: experiment, law, macro

Settings: checkpoint, solver, device, threads, folder

Examples:
    surrogate solve experiment=fibre_elastomer checkpoint=runs/fibre-law
        A membrane, with the network.
    surrogate solve experiment=fibre_elastomer
        The same with live FE2; this takes minutes.
    surrogate solve macro=cantilever law=neo_hooke law.mu=385 law.lmbda=577
        A bar of hexahedra, with a textbook law.
"""

from __future__ import annotations

import sys

from datagen.laws.law import Law
from surrogate.ingredients import law_of, problem_of
from surrogate.macro.solution import Solution
from surrogate.report.curves import load_figure, residual_figure
from surrogate.report.facts import facts
from surrogate.report.fields import field_figure
from surrogate.report.page import Details, Highlight, Highlights, Page, Picture, Prose, Section
from surrogate.runs import REPORT, Run, log
from surrogate.solve import CURVE, corners_of, element_values, load_curve, simulate
from surrogate.table import Table, number


def run(run: Run) -> int:
    """The verb."""
    law, problem = law_of(run.config), problem_of(run.config)
    run.open()
    solution = simulate(problem, law, run.folder, **run.config.solver)
    reached = len(solution.load_factors) > 0
    for table in [steps_table(solution)] * reached + [times_table(solution)]:
        run.show(table)
    _page(run, law, solution).write(run.folder / REPORT)
    run.say(f"curve: {run.folder / CURVE}")
    if reached:
        run.say(f"fields: {run.folder / 'solution.pvd'}")
    run.say(f"report: {run.folder / REPORT}")
    if not solution.converged:
        log.error("%s", solution.reason)
        print(f"surrogate solve: {solution.reason}", file=sys.stderr)
        return 1
    run.say(solution.reason)
    return 0


def steps_table(solution: Solution) -> Table:
    """One row a load step."""
    displacement, load, axis = load_curve(solution)
    rows = [
        (t + 1, float(factor), float(u), float(f), len(r) - 1, r[-1])
        for t, (factor, u, f, r) in enumerate(
            zip(solution.load_factors, displacement, load, solution.residuals, strict=True)
        )
    ]
    heads = ["step", "load factor", f"u_{axis} [mm]", f"load_{axis} [N]", "iterations", "residual"]
    return Table("Load steps", heads, rows)


def times_table(solution: Solution) -> Table:
    """Where the time went."""
    times = solution.timings
    rows = [
        (name.replace("_", " "), float(times[name]))
        for name in ("setup", "law", "assembly", "linear_solve")
        if name in times
    ]
    rows.append(("total", float(times["total"])))
    calls, points = int(times["law_calls"]), int(times["points"])
    return Table(
        "Times", ["what", "time [s]"], rows, note=f"The law was asked {calls} times, for {points} points in all."
    )


def _page(run: Run, law: Law, solution: Solution) -> Page:
    name = type(law).__name__
    tables = [steps_table(solution)] * bool(len(solution.load_factors))
    sections = [
        Section("What was found", [_highlights(solution), Prose(solution.reason), *tables]),
        Section("Cost", [times_table(solution)]),
        Section("How it was made", [Details("Resolved configuration", run.resolved)]),
    ]
    if len(solution.load_factors):
        sections.insert(1, Section("Response", _pictures(solution, name)))
    body = f"{solution.assembly.n_elements} {solution.problem.kind.name} elements"
    lead = f"{body} with {solution.assembly.n_points} integration points each, answered by {name}."
    return Page("Macro simulation", lead, sections, facts(run.command, law.device, run.started))


def _pictures(solution: Solution, name: str) -> list[Picture]:
    displacement, load, axis = load_curve(solution)
    curve = {name: (displacement.tolist(), load.tolist())}
    pictures = [
        Picture(
            load_figure(curve, f"displacement $u_{axis}$ [mm]", f"load along {axis} [N]"),
            "Load over displacement of the monitored point.",
        ),
        Picture(
            residual_figure({name: solution.residuals}),
            "Convergence of Newton's method, one line for each load step.",
        ),
    ]
    if solution.assembly.dim == 2:
        u = solution.nodal(solution.displacements)[-1].numpy()
        stress = element_values(solution, solution.in_plane_shear())
        corners, label = corners_of(solution), "largest in-plane shear stress [MPa]"
        figure = field_figure(solution.assembly.X, corners, [u], [stress], ["Last load step"], label)
        caption = "Shear stress on the deformed body, averaged over each element; outline: undeformed body."
        pictures.append(Picture(figure, caption))
    return pictures


def _highlights(solution: Solution) -> Highlights:
    displacement, load, axis = load_curve(solution)
    steps = f"{len(load)} of {len(solution.problem.load_factors)}"
    entries = [Highlight(f"{steps} steps", "load steps reached")]
    if len(load):
        entries += [
            Highlight(f"{number(float(displacement[-1]), 4)} mm", f"displacement along {axis} of the monitored point"),
            Highlight(f"{number(float(load[-1]), 4)} N", f"load along {axis}"),
        ]
    return Highlights(
        [*entries, Highlight(f"{number(float(solution.timings['total']), 3)} s", "time, macro solve and law")]
    )
