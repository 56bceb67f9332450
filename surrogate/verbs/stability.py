"""Find how far a perfect crystal holds, along paths of deformation.

Deforms the crystal that `law` describes along each path F(e) = I + e G and asks at every step whether it is stable: by
the lowest eigenvalue of its acoustic tensor over all directions, and by the lowest squared frequency of its phonons
over the Brillouin zone. Where one of them first vanishes is bisected: an elastic limit with the normal of the waves
that then grow, a phonon limit with a wave vector (in reduced coordinates of the crystal's cell). The smaller of the two
ends the region in which the crystal can be trusted as a law, and a network that learned from it.

Paths have names: `uniax100`, a strain along [100]; `shear_111_112`, slip of (111) along [11-2]; `shear_001_100`, of
(001) along [100]; `hydro`, expansion from all sides. Or they are G itself, three rows in brackets. Stress along a path
is P : G / G : G, which is P_11, the resolved shear stress, or the mean stress. A loss that comes and goes within a step
is missed.

Writes limits with stress and energy there (`stability.json`) and the tests at every step (`stability.csv`).

Groups: experiment, law, potential

Settings: stability, device, threads, folder

Defaults: law=cauchy_born

Examples:
    surrogate stability
        Argon along four paths.
    surrogate stability experiment=copper
        Copper by an embedded-atom potential, whose file is read where
        LAMMPS_POTENTIALS says, or where an installed LAMMPS keeps it.
    surrogate stability law=cauchy_born_silicon stability.paths=[hydro]
        Silicon, whose two sublattices find their places, along one path.
    surrogate stability "stability.paths=[[[1,0,0],[0,-0.3,0],[0,0,-0.3]]]"
        Along a path of your own: a pull with lateral contraction.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.stability import Critical, Loss, Path, Region, critical, named, region
from datagen.tensors import det
from surrogate.evaluate import json_able
from surrogate.ingredients import law_of
from surrogate.report.facts import facts
from surrogate.report.page import Details, Highlight, Highlights, Page, Picture, Prose, Section
from surrogate.report.stability import Curve, response_figure, softening_figure
from surrogate.runs import REPORT, Run
from surrogate.table import Table, number

FINDINGS, TABLE = "stability.json", "stability.csv"
GPA = 1e-3  # one MPa


def run(run: Run) -> int:
    """The verb."""
    settings = dict(run.config.stability)
    law = law_of(run.config)
    if not isinstance(law, CauchyBorn):
        raise ValueError(f"law: got {type(law).__name__}, wanted a CauchyBorn, for example law=cauchy_born")
    paths = paths_named(settings.pop("paths"), float(settings["largest"]))
    asked = {key: settings[key] for key in ("grid", "refine")}
    _check(settings)
    law.testing("phonon", **asked)  # a grid that is none should show before anything is written
    run.open()
    found = {name: _critical(law, path, settings) for name, path in paths.items()}
    e = torch.linspace(0, settings["largest"], settings["steps"] + 1, dtype=torch.float64)
    # Between the points of the grid the softest wave jumps from one to another: the curve is that of the grid.
    mapped = {name: region(law, [path], e, asked["grid"], False) for name, path in paths.items()}  # type: ignore[list-item]
    rows = {name: along(paths[name], mapped[name]) for name in paths}
    _write(run.folder, law, paths, found, mapped, rows)
    tables = [limits_table(found), there_table(found, paths)]
    for table in tables:
        run.show(table)
    _page(run, law, found, mapped, rows, tables).write(run.folder / REPORT)
    run.say(f"limits: {run.folder / FINDINGS}")
    run.say(f"tests at every step: {run.folder / TABLE}")
    run.say(f"report: {run.folder / REPORT}")
    return 0


def paths_named(listed: Any, largest: float) -> dict[str, Path]:
    """The paths of the setting ``stability.paths`` by name: names of `PATHS`, or G of F = I + e G.

    Raises:
        ValueError: no path, no such name, no three rows of three numbers, or a path that folds the crystal on its way.
    """
    if not largest > 0:
        raise ValueError(f"stability.largest: got {largest:g}, wanted an amplitude > 0")
    if isinstance(listed, str) or not hasattr(listed, "__iter__") or not list(listed):
        raise ValueError(f"stability.paths: got {listed!r}, wanted a list of paths, for example [uniax100,hydro]")
    paths: dict[str, Path] = {}
    for k, entry in enumerate(listed):
        name = entry if isinstance(entry, str) else f"path {k + 1}"
        paths[name] = named(entry) if isinstance(entry, str) else _straight(entry)
        J = det(paths[name](torch.linspace(0, largest, 201, dtype=torch.float64)))
        if not bool((J > 0).all()):
            where = largest * int(torch.nonzero(~(J > 0))[0, 0]) / 200
            raise ValueError(
                f"stability.paths: {name} folds the crystal at e = {where:.3g}, det F = {float(J.min()):.2g}; wanted "
                f"det F > 0 up to stability.largest = {largest:g}"
            )
    return paths


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse steps and a tolerance that are none."""
    steps, tolerance = settings["steps"], settings["tolerance"]
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"stability.steps: got {steps!r}, wanted a whole number of at least 1")
    if not tolerance > 0:
        raise ValueError(f"stability.tolerance: got {tolerance:g}, wanted a difference of amplitudes > 0")


def _straight(entry: Any) -> Path:
    try:
        G = torch.tensor([[float(x) for x in row] for row in entry], dtype=torch.float64)
    except (TypeError, ValueError):
        G = torch.empty(0, dtype=torch.float64)
    if G.shape != (3, 3) or not bool(G.isfinite().all() & G.any()):
        raise ValueError(
            f"stability.paths: got {entry}, wanted a name or G of F = I + e G, three rows of three numbers, not all 0"
        )
    return lambda e: torch.eye(3, dtype=e.dtype, device=e.device) + e[..., None, None] * G.to(e)


def _critical(law: CauchyBorn, path: Path, settings: Mapping[str, Any]) -> Critical:
    return critical(
        law, path, settings["largest"], settings["steps"], settings["tolerance"], settings["grid"], settings["refine"]
    )


def _slope(path: Path) -> Tensor:
    """G of a path F = I + e G."""
    zero, one = path(torch.tensor([0.0, 1.0], dtype=torch.float64))
    return one - zero


def along(path: Path, mapped: Region) -> Tensor:
    """Stress along a path, P : G / G : G, (T,) [MPa]: its work per amplitude, for a unit of it."""
    G = _slope(path).to(mapped.stress)
    return (mapped.stress[0] * G).sum((-2, -1)) / (G * G).sum()


def limits_table(found: Mapping[str, Critical]) -> Table:
    """Where each path first loses stability, by either test, and which comes first."""
    rows = [
        (
            name,
            None if c.elastic is None else round(c.elastic.e, 5),
            "-" if c.elastic is None else _vector(c.elastic.where),
            None if c.phonon is None else round(c.phonon.e, 5),
            "-" if c.phonon is None else _vector(c.phonon.where),
            first(c),
        )
        for name, c in found.items()
    ]
    heads = ["path", "elastic", "normal", "phonon", "wave vector", "first"]
    return Table("First loss of stability: amplitude e, and where", heads, rows)


def there_table(found: Mapping[str, Critical], paths: Mapping[str, Path]) -> Table:
    """Stress and energy at the first loss of each path."""
    rows: list[tuple[Any, ...]] = []
    for name, c in found.items():
        loss, G = _first(c), _slope(paths[name])
        if loss is None:
            rows.append((name, f"none up to {c.reached:.4g}", None, None, None, None))
            continue
        P, F = loss.stress.cpu(), loss.F.cpu()
        sigma = P @ F.T / det(F)
        values = torch.linalg.eigvalsh(0.5 * (sigma + sigma.T)) * GPA
        rows.append(
            (
                name,
                f"{loss.e:.5f}",
                _rounded(float((P * G).sum() / (G * G).sum()) * GPA),
                _rounded(float(values[-1])),
                _rounded(float(values.mean())),
                _rounded(loss.psi),
            )
        )
    heads = ["path", "e", "along path [GPa]", "largest [GPa]", "mean [GPa]", "energy [MPa]"]
    note = "Along the path: P : G / G : G. Largest and mean: of the principal Cauchy stresses."
    return Table("Stress and stored energy there", heads, rows, note=note)


def first(c: Critical) -> str:
    """Which test a path fails first."""
    loss = _first(c)
    if loss is None:
        return "neither"
    return "elastic" if loss is c.elastic else "phonon"


def _first(c: Critical) -> Loss | None:
    """The first loss; of two at once, long waves and short ones, the elastic one."""
    if c.elastic is None or (c.phonon is not None and c.phonon.e < c.elastic.e):
        return c.phonon
    return c.elastic


def _vector(v: Tensor) -> str:
    """Three numbers, the first that is not zero positive; a normal or wave vector and its opposite are the same."""
    shown = [round(float(x), 3) for x in v]
    sign = next((math.copysign(1, x) for x in shown if x), 1.0)
    return " ".join(f"{sign * x + 0.0:.3g}" for x in shown)


def _rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def _write(
    folder: File,
    law: CauchyBorn,
    paths: Mapping[str, Path],
    found: Mapping[str, Critical],
    mapped: Mapping[str, Region],
    rows: Mapping[str, Tensor],
) -> None:
    """The limits as JSON, the tests at every step as CSV."""
    crystal = {"lattice [A]": law.crystal.lattice.tolist(), "positions [A]": law.crystal.positions.tolist()}
    limits = {
        name: {
            "G": _slope(paths[name]).tolist(),
            "first": first(c),
            "elastic": _as_dict(c.elastic, "normal"),
            "phonon": _as_dict(c.phonon, "wave vector"),
            "asked as far as": c.reached,
        }
        for name, c in found.items()
    }
    text = json.dumps(json_able({"crystal": crystal, "paths": limits}), indent=1)
    (folder / FINDINGS).write_text(text + "\n", encoding="utf-8")
    axes = [f"{i}{j}" for i in range(1, 4) for j in range(1, 4)]
    heads = ["path", "e", "energy [MPa]", "stress along path [MPa]", *(f"P{ij} [MPa]" for ij in axes)]
    heads += ["acoustic eigenvalue [MPa]", *(f"normal {k}" for k in "123")]
    heads += ["frequency squared [1/ps^2]", *(f"wave vector {k}" for k in "123"), "verdict"]
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        for name, m in mapped.items():
            s = m.stability
            numbers = torch.cat(
                [
                    torch.stack([m.e, m.psi[0], rows[name]], -1),
                    m.stress[0].flatten(1),
                    torch.cat([s.acoustic_eigenvalue[0, :, None], s.normal[0]], 1),
                    torch.cat([s.frequency_squared[0, :, None], s.wave_vector[0]], 1),
                ],
                1,
            )
            for row, verdict in zip(numbers.tolist(), s.verdict[0].tolist(), strict=True):
                writer.writerow([name, *row, verdict])


def _as_dict(loss: Loss | None, where: str) -> dict[str, Any] | None:
    if loss is None:
        return None
    stress = loss.stress.tolist()
    return {"e": loss.e, where: loss.where.tolist(), "F": loss.F.tolist(), "P [MPa]": stress, "energy [MPa]": loss.psi}


def _page(
    run: Run,
    law: CauchyBorn,
    found: Mapping[str, Critical],
    mapped: Mapping[str, Region],
    rows: Mapping[str, Tensor],
    tables: list[Table],
) -> Page:
    curves = {name: _curve(found[name], m, rows[name]) for name, m in mapped.items()}
    response = Picture(
        response_figure(curves),
        "Stress P : G / G : G and stored energy along the paths F = I + e G; solid while the crystal is stable.",
    )
    softening = Picture(
        softening_figure(curves),
        "Lowest eigenvalue of the acoustic tensor over all directions, and lowest squared angular frequency over the "
        "grid of wave vectors. Marks: the limits as bisected, for phonons with a search between the wave vectors if "
        "`stability.refine` asks for it, so a mark may stand before the curve crosses zero.",
    )
    settings = run.config.stability
    grid = f"{settings.grid} x {settings.grid} x {settings.grid} wave vectors"
    how = (
        f"Phonons on {grid}{', searched between them and among long waves' if settings.refine else ''}; limits within "
        f"{settings.tolerance:g}. Limits with stress and deformation are in `{FINDINGS}`, every step in `{TABLE}`; "
        f"strains count from the stress-free crystal."
    )
    elements = ", ".join(dict.fromkeys(law.crystal.elements))
    potential = type(law.potential).__name__
    a = law.crystal.lattice.norm(dim=1).tolist()
    lead = (
        f"A perfect crystal of {elements} under {potential}, {law.crystal.n} "
        f"atom{'s' if law.crystal.n > 1 else ''} a cell, lattice vectors of {', '.join(f'{x:.4g}' for x in a)} A: "
        f"along {len(found)} path{'s' if len(found) > 1 else ''}, how far it is stable, and how it fails."
    )
    sections = [
        Section("Limits", [Highlights([_highlight(name, c) for name, c in found.items()]), *tables]),
        Section("Response", [response]),
        Section("What the tests look at", [softening]),
        Section("How it was made", [Prose(how), Details("Resolved configuration", run.resolved)]),
    ]
    return Page("How far does the crystal hold?", lead, sections, facts(run.command, law.device, run.started))


def _highlight(name: str, c: Critical) -> Highlight:
    loss, name = _first(c), name.replace("_", " ")
    if loss is None:
        return Highlight("stable", f"{name}, up to e = {number(c.reached)}")
    return Highlight(f"{loss.e:.4f}", f"{name}, {first(c)} limit")


def _curve(c: Critical, m: Region, stress: Tensor) -> Curve:
    s = m.stability
    return Curve(
        e=m.e.cpu().numpy(),
        psi=m.psi[0].cpu().numpy(),
        stress=GPA * stress.cpu().numpy(),
        acoustic=GPA * s.acoustic_eigenvalue[0].cpu().numpy(),
        frequency=s.frequency_squared[0].cpu().numpy(),
        elastic=None if c.elastic is None else c.elastic.e,
        phonon=None if c.phonon is None else c.phonon.e,
    )
