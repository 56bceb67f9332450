"""Solve a macro problem with any law, and write what a reader and ParaView need."""

from __future__ import annotations

import csv
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from datagen.progress import ProgressView
from surrogate.macro.boundary import AXES
from surrogate.macro.points import Laws
from surrogate.macro.problem import Problem
from surrogate.macro.solution import Increment, Solution
from surrogate.macro.solver import solve
from surrogate.macro.vtk import write_vtk

CURVE = "curve.csv"


def simulate(problem: Problem, laws: Laws, folder: str | Path, show: bool = True, **settings: object) -> Solution:
    """Solve a problem and write curve.csv (see `load_curve`) and VTK files.

    Args:
        problem: what to solve.
        laws: one `Law`, or one for each region name.
        folder: where to write; made if missing.
        show: whether to show progress on standard error.
        settings: further arguments of `surrogate.macro.solver.solve`.

    Returns:
        The solution; `Solution.converged` says whether it reached the last load step. What was reached is written.

    Example:
        >>> import tempfile
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.cook import cook
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     solution = simulate(cook(load=1.0, n=2, steps=2), NeoHooke(mu=1.0, lmbda=4.0), folder, show=False)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['curve.csv', 'solution.pvd', 'solution_0001.vtu', 'solution_0002.vtu']
    """
    view = _View("solve", len(problem.load_factors), "load steps", show=show)
    with ExitStack() as stack:

        def watch(increment: Increment) -> None:
            if not view.shown:  # not before the input was found good
                stack.enter_context(view)
            view.residual = increment.residuals[-1] if increment.residuals else float("nan")
            reached = increment.accepted and increment.load_factor == problem.load_factors[increment.step - 1]
            view.advance(int(reached), int(bool(increment.reason) and not increment.accepted))

        solution = solve(problem, laws, progress=watch, **settings)  # type: ignore[arg-type]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_curve(solution, folder / CURVE)
    if len(solution.load_factors):
        write_vtk(solution, folder)
    return solution


class _View(ProgressView):
    """The progress view, with the residual of the last iteration; a failed increment is one that had to be cut."""

    residual = float("nan")
    shown = False

    def __enter__(self) -> Self:
        self.shown = True
        return super().__enter__()

    def words(self, ended: bool = False) -> str:
        said = super().words(ended)
        return said if math.isnan(self.residual) else f"{said}, residual {self.residual:.1e}"


def load_curve(solution: Solution) -> tuple[Tensor, Tensor, str]:
    """Displacement, load and axis of a solution: the curve to look at.

    The axis is the one along which the monitored point moved most, or, without such a point, the nodes on average.
    The load is the force on the body along it: that of the places that were moved, or, if none was, what the supports
    hold.

    Returns:
        Displacement (T,) [mm], load (T,) [N], and ``"x"``, ``"y"`` or ``"z"``.
    """
    u = solution.nodal(solution.displacements)
    force = solution.nodal(solution.reactions)
    seen = u.abs().mean(1) if solution.problem.monitor is None else solution.monitored
    if not len(seen):
        return seen.new_empty(0), seen.new_empty(0), AXES[0]
    axis = int(seen[-1].abs().argmax())
    moved = (u[-1, :, axis] != 0) & (force[-1, :, axis] != 0)
    load = (force[:, :, axis] * moved).sum(1) if bool(moved.any()) else -force[:, :, axis].sum(1)
    return seen[:, axis], load, AXES[axis]


def corners_of(solution: Solution) -> np.ndarray:
    """Corner nodes of the elements of a two-dimensional mesh, in order around each, (n_elements, 4)."""
    return solution.assembly.element_nodes[:, list(solution.problem.kind.vtk_order[:4])]


def element_values(solution: Solution, values: Tensor) -> np.ndarray:
    """Volume average over each element at the last load step of (T, n_elements, n_points), (n_elements,)."""
    return solution.cell_mean(values)[-1].numpy()


def _write_curve(solution: Solution, path: Path) -> None:
    """One row a load step: load factor, displacement of the monitored point, load, energies, Newton iterations."""
    displacement, load, axis = load_curve(solution)
    names = list(solution.energy)
    columns = [
        solution.load_factors,
        displacement,
        load,
        *solution.energy.values(),
        torch.tensor([len(r) - 1 for r in solution.residuals]),
        torch.tensor([r[-1] for r in solution.residuals], dtype=torch.float64),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heads = [f"displacement_{axis} [mm]", f"load_{axis} [N]", *(f"{name} [N mm]" for name in names)]
        writer.writerow(["load_factor", *heads, "iterations", "residual"])
        for row in zip(*(c.tolist() for c in columns), strict=True):
            writer.writerow(row)
