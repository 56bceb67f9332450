"""Files that ParaView opens: one .vtu a load step, and a .pvd that strings them along the time."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import meshio
import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Measure
from datagen.tensors import from_mandel
from surrogate.macro.solution import Solution


def write_vtk(solution: Solution, folder: str | Path, name: str = "solution") -> Path:
    """Write ``folder/name.pvd`` and ``folder/name_0001.vtu``, ...; returns the path of the former.

    At the nodes: displacement [mm] and reaction [N]. In the elements, averaged over their volume: strain and stress as
    the law has them (3x3, row-major), Cauchy stress, its von Mises equivalent (in two dimensions also the largest shear
    in the plane, which a law made for plane strain knows too), psi and the dissipation of the step [MPa]; also the
    largest verdict and the number of the region. Open the .pvd in ParaView and warp by displacement.

    Example:
        >>> import tempfile
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.solver import solve
        >>> from surrogate.macro.uniaxial import uniaxial
        >>> solution = solve(uniaxial(steps=2), NeoHooke(mu=1.0, lmbda=10.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pvd = write_vtk(solution, folder)
        ...     sorted(path.name for path in pvd.parent.iterdir())
        ['solution.pvd', 'solution_0001.vtu', 'solution_0002.vtu']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    assembly, element = solution.assembly, solution.problem.kind
    cells = [(element.vtk, assembly.element_nodes[:, list(element.vtk_order)])]
    points = _three_columns(assembly.X)
    fields = _cell_fields(solution)
    entries = []
    for t, when in zip(range(len(solution.load_factors)), accumulate(solution.problem.times), strict=False):
        mesh = meshio.Mesh(
            points,
            cells,
            point_data={
                "displacement": _three_columns(solution.nodal(solution.displacements)[t].numpy()),
                "reaction": _three_columns(solution.nodal(solution.reactions)[t].numpy()),
            },
            cell_data={key: [values[t].numpy()] for key, values in fields.items()},
        )
        file = f"{name}_{t + 1:04d}.vtu"
        mesh.write(folder / file, file_format="vtu")
        entries.append(f'    <DataSet timestep="{when:.17g}" part="0" file="{file}"/>')
    pvd = folder / f"{name}.pvd"
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="Collection" version="0.1" byte_order="LittleEndian">',
        "  <Collection>",
        *entries,
        "  </Collection>",
        "</VTKFile>",
    ]
    pvd.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return pvd


def _cell_fields(solution: Solution) -> dict[str, Tensor]:
    """Fields by name, each (T, n_elements, ...)."""
    small = solution.problem.measure is Measure.SMALL
    cauchy = solution.cauchy()
    fields = {
        "strain" if small else "deformation_gradient": solution.strain,
        "cauchy_stress": cauchy.flatten(-2),
        "von_mises": solution.von_mises(),
        "psi": solution.psi,
        "dissipation": solution.dissipation,
    }
    if solution.assembly.dim == 2:
        fields["in_plane_shear"] = solution.in_plane_shear()
    if small:
        fields["strain"] = from_mandel(solution.strain).flatten(-2)
    else:
        fields["first_piola_stress"] = solution.stress
    means = {name: solution.cell_mean(values) for name, values in fields.items()}
    region = torch.zeros(solution.assembly.n_elements, dtype=torch.int32)
    for number, elements in enumerate(solution.problem.elements_of().values()):
        region[elements] = number
    T = len(solution.load_factors)
    return {
        **means,
        "verdict": solution.verdict.amax(2).int() if T else solution.verdict[:, :, 0].int(),
        "region": region.expand(T, -1),
    }


def _three_columns(values: np.ndarray) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, 3 - values.shape[1])))
