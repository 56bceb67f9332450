"""Tell how large a random cell must be to represent its material.

Takes the cell that `law` describes, with its generator of microstructures, and makes it at several sizes: equal voxels
and features, more of them. The same random cells are solved under each boundary condition: linear displacements
(KUBC), periodic, uniform traction (SUBC). From the scatter of their apparent stiffness follow means with 95 % intervals
(Student's t), how the variance falls with volume, D^2 = D_Z^2 A / V with the integral range A, how many cells have a
mean of the wanted precision, n = (2 D / (precision Z))^2, how far the boundary conditions are apart, and a verdict: one
cell is representative at this precision, or it is a statistical volume element, of which to average so many, or which
to enlarge.

The stiffness is that of the reference state; a cell that is representative there need not be so once it yields.

Started again with the same `folder` it goes on where it was, and more sizes, samples, boundaries or moduli may be
asked for: what is solved stays. Writes the stiffness of every cell (`samples.json`), its moduli (`samples.csv`) and the
findings (`size.json`). Where there is one large image rather than a generator, `size.windows` cuts the cells out of
it (microstructure `voxel_file`, with `~law.microstructure.grid` to drop the generator's grid).

Groups: experiment, law, microstructure, executor

Settings: size, seed, device, threads, folder

Examples:
    surrogate rve-size experiment=voronoi_antiplane folder=runs/size
        A planar polycrystal of two phases in antiplane shear, where the exact
        answer is known: the geometric mean of the two shear moduli.
    surrogate rve-size experiment=fibre_elastomer size.edges=[16,32,64]
        Whether the cell that a network learned from was large enough.
    surrogate rve-size experiment=fibre_elastomer size.precision=0.005
        The same for a wanted precision of half a per cent.
    surrogate rve-size experiment=copper_polycrystal
        Grains with axes, in three dimensions.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

from omegaconf import DictConfig, OmegaConf

from datagen.laws.verdict import Verdict
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.ensemble import Ensemble, Generated, Windows
from datagen.rve.size import KUBC, NOISE, PERIODIC, SUBC, Estimate, Finding
from surrogate.compose import build
from surrogate.ingredients import device_of
from surrogate.report.facts import facts
from surrogate.report.microstructure import microstructure_figure
from surrogate.report.page import Details, Highlight, Highlights, Page, Picture, Prose, Section
from surrogate.report.size import gap_figure, short, size_figure
from surrogate.runs import REPORT, Run
from surrogate.rve_size import FINDINGS, FRACTION, SAMPLES, TABLE, Study, rve_size
from surrogate.table import WIDTH, Table, number

ORDER = 1e-8  # an eigenvalue of upper - lower below minus this, relative to |C|, breaks the order


def run(run: Run) -> int:
    """The verb."""
    config = run.config
    device = device_of(config)
    ensemble = ensemble_of(config)
    laws = [build(law) for law in config.law.laws]
    wanted: dict[str, Any] = OmegaConf.to_container(config.size, resolve=True)  # type: ignore[assignment]
    windows = wanted.pop("windows")
    if wanted["edges"] is None:
        wanted["edges"] = _edges(ensemble.grid[0], windows)
    cell: dict[str, Any] = OmegaConf.to_container(config.law, resolve=True)  # type: ignore[assignment]
    own = {k: v for k, v in cell.items() if k not in ("_target_", "microstructure", "laws", "boundary")}
    executor = build(config.executor)
    run.open()
    run.if_interrupted = f"solved cells are kept in {run.folder}; go on with: {run.command_to_resume}"
    study = rve_size(ensemble, laws, **wanted, folder=run.folder, executor=executor, device=device, **own)
    tables = [*(estimates_table(f) for f in _moduli(study)), scaling_table(study), *gap_tables(study)]
    for table in [*tables, *_failures(study)]:
        run.show(table)
    for finding in _moduli(study):
        run.say(textwrap.fill(f"{finding.name}: {finding.verdict}", WIDTH, subsequent_indent="  "))
    _page(run, study, ensemble, str(device)).write(run.folder / REPORT)
    run.say(f"\nstiffness and moduli of each cell: {run.folder / SAMPLES}, {run.folder / TABLE}")
    run.say(f"findings: {run.folder / FINDINGS}")
    run.say(f"report: {run.folder / REPORT}")
    return 0


def ensemble_of(config: DictConfig) -> Ensemble:
    """The random cells that ``law.microstructure`` describes; the seed is its own plus ``seed``.

    Raises:
        ValueError: a law that is no cell, or one whose microstructure is always the same.
    """
    node = config.law if config.checkpoint is None else OmegaConf.create({})
    if any(OmegaConf.is_missing(node, key) or node.get(key) is None for key in ("microstructure", "laws")):
        got = str(config.checkpoint or config.law.get("_target_", config.law)).rpartition(".")[2]
        raise ValueError(
            f"law: got {got}, wanted a cell with a microstructure and laws: law=fibre_cell, or "
            f"experiment=voronoi_antiplane"
        )
    seed = int(node.microstructure.get("seed", 0)) + int(config.seed)
    if config.size.windows:
        image = build(node.microstructure)
        if not isinstance(image, Microstructure):
            raise TypeError(f"law.microstructure: got {type(image).__name__}, wanted a Microstructure")
        return Windows(image, seed)
    return Generated(build(node.microstructure, _partial_=True), seed)


def estimates_table(finding: Finding) -> Table:
    """One row a boundary condition and size."""
    unit = "" if finding.unit == "-" else f" [{finding.unit}]"
    wanted = f"cells for {100 * finding.precision:g} %"
    heads = ["boundary", "edge", "L [mm]", "cells", f"mean{unit}", "+- 95 %", "2 D/Z [%]", wanted]
    rows = [
        (
            short(e.boundary),
            e.size.edge,
            e.size.length,
            e.samples,
            e.mean.value,
            _rounded(e.mean.half, 2),
            _rounded(100 * e.scatter),
            e.cells,
        )
        for e in finding.estimates
    ]
    return Table(f"Apparent {finding.name}: {finding.meaning}", heads, rows)


def scaling_table(study: Study) -> Table:
    """Integral ranges, exponents, and how large a cell must be."""
    power = "mm" + {1: "", 2: "2", 3: "3"}[study.dimension]
    precision = next(iter(study.findings.values())).precision
    heads = ["modulus", "boundary", f"A [{power}]", "from", "to", "alpha", "+-", f"edge for {100 * precision:g} %"]
    rows = [
        (
            finding.name,
            short(s.boundary),
            *(_rounded(x) for x in (s.integral_range.value, s.integral_range.low, s.integral_range.high)),
            *(_rounded(x) for x in (s.exponent.value, s.exponent.half)),
            s.edge,
        )
        for finding in study.findings.values()
        for s in finding.scalings
    ]
    note = (
        "D^2 = D_Z^2 A / V, and freely D^2 = c / V^alpha, with 95 % intervals; A wants alpha = 1, and a modulus in "
        "which the phases differ. Last: voxels along x of a cell that alone has the precision, by the first law."
    )
    return Table("How the variance falls with volume", heads, rows, note=note)


def gap_tables(study: Study) -> list[Table]:
    """How far the uniform boundary conditions are apart, if both were studied."""
    rows = [
        (f.name, g.size.edge, _rounded(100 * g.relative.value), _rounded(100 * g.relative.half))
        for f in _moduli(study)
        for g in f.gaps
    ]
    if not rows:
        return []
    note = _order(study)
    return [Table("(KUBC - SUBC) / mean, on the same cells", ["modulus", "edge", "gap [%]", "+- 95 %"], rows, note)]


def _order(study: Study) -> str:
    """Whether the boundary conditions bound each other, as they must, in the sense of Loewner."""
    chain = " <= ".join(short(b) for b in (SUBC, PERIODIC, KUBC) if b in study.stiffness)
    least = min(study.order.values(), default=math.nan)
    if least < -ORDER:
        return (
            f"{chain} does not hold in every cell: a difference has the eigenvalue {least:.1g} |C|; the solves are "
            f"too loose, tighten law.tolerance."
        )
    found = f"the least eigenvalue of a difference is {least:.1g} |C|" if least < 0 else "no negative eigenvalue"
    return f"{chain} in every cell, as stiffness tensors: {found}."


def _failures(study: Study) -> list[Table]:
    """Solves without an answer, and what to do."""
    if not study.failed:
        return []
    rows = []
    for boundary, by in study.verdict.items():
        for edge, codes in by.items():
            for code in sorted({int(c) for c in codes if c}):
                verdict = Verdict(code)
                rows.append((short(boundary), edge, verdict.name, int((codes == code).sum()), verdict.sentence))
    return [Table("Verdicts that are not good", ["boundary", "edge", "verdict", "cells", "meaning"], rows)]


def _moduli(study: Study) -> list[Finding]:
    """The findings about moduli."""
    return [finding for name, finding in study.findings.items() if name != FRACTION]


def _edges(n: int, windows: bool) -> list[int]:
    """Half, once and twice the size of the described cell; an eighth, a quarter and half of an image."""
    parts = (n // 8, n // 4, n // 2) if windows else (n // 2, n, 2 * n)
    return [edge for edge in parts if edge > 1]


def _rounded(value: float, digits: int = 3) -> float:
    """To few digits, as befits an estimate."""
    return float(f"{value:.{digits}g}")


def _page(run: Run, study: Study, ensemble: Ensemble, device: str) -> Page:
    findings = _moduli(study)
    largest = study.sizes[-1]
    pictures = [
        Picture(
            size_figure(finding, study.values(finding.name)),
            f"{finding.meaning.capitalize()}. Left: every cell (dashes), means and their 95 % intervals. Right: "
            "variance over the cells with 95 % intervals; lines: proportional to 1/V.",
        )
        for finding in findings
    ]
    sections = [
        Section("Verdict", [Highlights([_highlight(f) for f in findings]), Prose(_verdicts(findings))]),
        Section("Apparent moduli", [*pictures, *(estimates_table(f) for f in findings)]),
        Section("Scatter and volume", [scaling_table(study)]),
        Section("The cells", [_cells(ensemble, largest.edge)]),
        Section("How it was made", [_how(run), Details("Resolved configuration", run.resolved)]),
    ]
    if findings[0].gaps:
        caption = "How far the boundary conditions are apart: it falls with the surface of the cell over its volume."
        gaps: list = [*gap_tables(study)]
        if any(g.relative.value > NOISE for f in findings for g in f.gaps):
            gaps.insert(0, Picture(gap_figure(findings), caption))
        sections.insert(3, Section("Boundary conditions", gaps))
    if study.failed:
        sections.insert(1, Section("Cells without an answer", _failures(study)))
    count = sum(len(f) for f in study.fractions.values())
    edges = ", ".join(str(size.edge) for size in study.sizes)
    lead = f"{count} random cells of {edges} voxels along x, under {len(study.stiffness)} boundary conditions."
    return Page("How large must a cell be?", lead, sections, facts(run.command, device, run.started))


def _highlight(finding: Finding) -> Highlight:
    """The best estimate there is: the mean of the largest cells."""
    last: Estimate = finding.of(finding.judged)[-1]
    unit = "" if finding.unit == "-" else f" {finding.unit}"
    value = f"{number(last.mean.value)} ± {number(last.mean.half, 2)}{unit}"
    return Highlight(
        value, f"{finding.meaning}, {last.samples} {short(last.boundary)} cells of {last.size.edge} voxels"
    )


def _verdicts(findings: list[Finding]) -> str:
    return "\n\n".join(f"**{f.name.replace('_', ' ')}**: {f.verdict}." for f in findings)


def _cells(ensemble: Ensemble, edge: int) -> Picture:
    caption = f"The first cell of {edge} voxels along x, and the probability that two points both lie in a phase."
    return Picture(microstructure_figure(ensemble.one(edge, 0)), caption)


def _how(run: Run) -> Prose:
    return Prose(
        f"The stiffness of each cell is in `{SAMPLES}`, its moduli in `{TABLE}`, all statistics in `{FINDINGS}`. "
        f"Intervals of means are Student's, those of variances chi-squared. Number of cells and integral range as in "
        f"Kanit et al., Int. J. Solids Struct. 40 (2003) 3647."
    )
