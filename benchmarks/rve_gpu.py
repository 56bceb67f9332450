"""The elastic iteration of the cell solver on a GPU, against the memory traffic that it cannot avoid.

    python benchmarks/rve_gpu.py [--device cuda|cpu] [--quick]

Cells are isotropic two-phase spheres, hex8, contrast 10, float64, all of one microstructure; 256 of 32^3 and 16 of
128^3. Needs torch, numpy and scipy only, and no installation. Without a GPU small cells show that the script works.

The floor is the bytes that one iteration of conjugate gradients must move, each field once per kernel boundary that a
batched FFT imposes, over the copy bandwidth measured here (bytes read and bytes written both count):

- product: K p from p and the phases, p . K p in the same kernel; neighbours are read from cache;
- updates: x and r, once alpha is known;
- transforms: a cell does not fit on one multiprocessor, so two passes each way, planes and then lines; s is the half
  spectrum of the three components (n/2 + 1 of n planes, complex);
- multiply: by the Green operator, shared by all cells; r . z in the same kernel, in Fourier space (Parseval);
- direction: p, once beta is known.

The phases and the Green operator of the one microstructure are counted once for the batch. "1 pass" and "3 passes" are
what is reached of the floor with other transforms: one pass each way (or two, the multiplication within the second: the
same bytes), the strictest reading, and one pass per axis, as FFT libraries often do it. The time of each kernel is that
of what does its work now, dot products included, however many kernels that takes.

Peer: FANS 0.6.2 (LGPL-3.0), hex8 64^3 contrast 10, relative residual 1e-8: 22 iterations, 1.85 s wall on 2 idle x86
cores. "FANS cores" are voxel iterations a second over what one of these did; like for like is that of the whole solve.
"Host" is the time to ask for an iteration; near that of the iteration, the host limits. The solver's loop asks every
eighth iteration whether any cell is left, a wait each. "x to" is how far the graph's solution is from the solver's.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs where the package is not installed

from datagen.laws.linear_elastic import LinearElastic
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.rve.batch import Batch
from datagen.rve.homogenised import HomogenisedCell
from datagen.rve.krylov import Solution, conjugate_gradients, dot

FANS_CORE = 64**3 * 22 / 1.85 / 2  # voxel iterations a second


def moves(cells: int, n: int, passes: int = 2) -> list[tuple[str, str, int]]:
    """Kernel, what it moves at least, bytes."""
    half = n * n * (n // 2 + 1)
    f, s, green = 3 * 8 * cells * n**3, 3 * 16 * cells * half, 6 * 8 * half
    return [
        ("product", "read p, phases; write K p", 2 * f + n**3),
        ("updates", "read x, p, r, K p; write x, r", 6 * f),
        ("transform", "read r, write s; read s, write s", f + s + 2 * (passes - 1) * s),
        ("multiply", "read s, Green; write s", 2 * s + green),
        ("inverse", "read s, write s; read s, write z", f + s + 2 * (passes - 1) * s),
        ("direction", "read z, p; write p", 3 * f),
    ]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device, repeats: int = 1) -> tuple[float, float]:
    """Seconds a call: until the device is done, and until the host has asked for the last."""
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    asked = time.perf_counter()
    wait(device)
    return (time.perf_counter() - start) / repeats, (asked - start) / repeats


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy too large for any cache."""
    a = torch.ones(2**28 // 8 if device.type == "cpu" else 2**31 // 8, dtype=torch.float64, device=device)
    b = torch.zeros_like(a) + 1  # touched, so that its pages exist
    return 2 * a.nbytes / min(timed(lambda: b.copy_(a), device, 4)[0] for _ in range(5))


def peak(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes on the device at most while something runs, those of what is alive before included."""
    if device.type == "cpu":
        work()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    work()
    wait(device)
    return torch.cuda.max_memory_allocated(device)


def host_waits(device: torch.device, work: Callable[[], object], repeats: int = 1) -> int | None:
    """How often the host waits for the device, as torch's synchronisation debug mode sees it."""
    if device.type == "cpu":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        for _ in range(repeats):
            work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught)


class Iteration:
    """One iteration of conjugate gradients on fields that stay where they are, so that it can be captured."""

    def __init__(self, cell: HomogenisedCell, strain: Tensor) -> None:
        B, device = len(strain), strain.device
        system = cell.system
        history = strain.new_zeros(0, system.discretisation.n_quad, B, system.discretisation.n_voxels)
        sample = torch.zeros(B, dtype=torch.int64, device=device)
        batch = Batch(system, strain, history, strain.new_ones(B), sample)
        start = strain.new_zeros(system.kinematics.d, B, *system.discretisation.nodes)
        self.b = batch.evaluate(start).residual.neg()
        self.apply, self.precondition = batch.operator(), system.boundary
        self.device, self.x, self.r, self.p = device, start, self.b.clone(), torch.empty_like(start)
        self.rz = torch.empty_like(strain[:, 0])
        self.reset()
        self.step()  # plans of the transforms, and all that each kernel leaves for the next
        self.reset()

    def reset(self) -> None:
        self.x.zero_()
        self.r.copy_(self.b)
        self.p.copy_(self.precondition(self.r))
        self.rz.copy_(dot(self.r, self.p))

    def product(self) -> None:
        self.Kp = self.apply(self.p)
        self.curvature = dot(self.p, self.Kp)

    def updates(self) -> None:
        alpha = (self.rz / self.curvature)[None, :, None, None, None]
        self.x.addcmul_(alpha, self.p)
        self.r.addcmul_(-alpha, self.Kp)

    def green(self) -> None:
        self.z = self.precondition(self.r)

    def direction(self) -> None:
        rz = dot(self.r, self.z)
        torch.addcmul(self.z, (rz / self.rz)[None, :, None, None, None], self.p, out=self.p)
        self.rz.copy_(rz)

    def step(self) -> None:
        self.product()
        self.updates()
        self.green()
        self.direction()

    def solver(self, count: int) -> Solution:
        """The solver's own loop, which nothing stops but the count."""
        target = torch.full_like(self.rz, -1.0)
        return conjugate_gradients(self.apply, self.precondition, self.b.clone(), target, count)


def captured(iteration: Iteration, count: int) -> tuple[float, float]:
    """Seconds of one iteration as a CUDA graph, and how far x is from the solver's; RuntimeError if it cannot be."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture asks for a warm side stream
        for _ in range(3):
            iteration.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        iteration.step()
    iteration.reset()
    for _ in range(12):
        graph.replay()
    x = iteration.solver(12).x
    difference = float((iteration.x - x).abs().max() / x.abs().max())
    iteration.reset()
    return timed(graph.replay, iteration.device, count)[0], difference


def kernels(iteration: Iteration, cells: int, n: int, speed: float, count: int) -> None:
    """The bytes, and beside them the time of what moves them now."""
    listed = moves(cells, n)
    measured = {}
    iteration.step()
    for names, work in [
        (("product",), iteration.product),
        (("updates",), iteration.updates),
        (("transform", "multiply", "inverse"), iteration.green),
        (("direction",), iteration.direction),
    ]:
        seconds = timed(work, iteration.device, count)[0]
        floor = sum(size for name, _, size in listed if name in names) / speed
        measured[names[-1]] = f"{1e3 * seconds:9.3f} {100 * floor / seconds:5.1f} %"
    print(f"  {'kernel':9} {'moved at least':32} {'MB':>8} {'floor/ms':>8} {'now/ms':>9} reached")
    for name, what, size in listed:
        tail = measured.get(name, f"{'|':>9}")
        print(f"  {name:9} {what:32} {size / 1e6:8.1f} {1e3 * size / speed:8.3f} {tail}")
    total = sum(size for _, _, size in listed)
    print(f"  {'all':9} {total / (cells * n**3):3.0f} bytes a voxel {total / 1e6:27.1f} {1e3 * total / speed:8.3f}\n")


def result(name: str, seconds: float, cells: int, n: int, speed: float, note: str = "") -> None:
    floors = [sum(size for _, _, size in moves(cells, n, passes)) / speed for passes in (1, 2, 3)]
    one, two, three = (100 * floor / seconds for floor in floors)
    cores = cells * n**3 / seconds / FANS_CORE
    line = f"  {name:13} {1e3 * seconds:9.3f} {two:7.1f} % {one:6.1f} % {three:7.1f} % {cores:11.1f}  {note}"
    print(line.rstrip(), flush=True)


def iterate(cell: HomogenisedCell, strain: Tensor, n: int, speed: float, count: int) -> int | None:
    """The iteration alone; answers the peak memory of the solver's loop."""
    cells, device = len(strain), strain.device
    iteration = Iteration(cell, strain)
    kernels(iteration, cells, n, speed, count)
    print(f"  {'an iteration':13} {'ms':>9} {'of floor':>9} {'1 pass':>8} {'3 passes':>9} {'FANS cores':>11}")
    done = int(iteration.solver(3 * count).iterations.min())
    few, many = (min(timed(partial(iteration.solver, k), device)[0] for _ in range(3)) for k in (count, 3 * count))
    note = "" if done == 3 * count else f"stopped after {done}"
    result("solver's loop", (many - few) / (2 * count), cells, n, speed, note)
    iteration.reset()
    seconds = timed(iteration.step, device, count)[0]
    asked = timed(iteration.step, device, 4)[1]  # few, so that the queue does not fill up
    result("kernels above", seconds, cells, n, speed, f"host {1e3 * asked:.2f} ms")

    within = host_waits(device, lambda: iteration.precondition(iteration.apply(iteration.p)), 8)
    loop = host_waits(device, lambda: iteration.solver(16))
    if within is not None:
        print(f"  host waits: {within} in 8 products and preconditioners, {loop} in 16 rounds of the loop")
    del iteration.x, iteration.r, iteration.p, iteration.z, iteration.Kp  # the loop has its own
    return peak(device, lambda: iteration.solver(8))


def whole(cell: HomogenisedCell, strain: Tensor, iterating: int | None) -> None:
    """From fields in memory to converged averages."""
    device = strain.device
    state = cell.initial_state().expand(len(strain), -1)
    voxels = len(strain) * cell.system.discretisation.n_voxels
    step = cell(strain, state, 1.0)
    counts, bad = step.extras["iterations"].nan_to_num(), int((step.verdict > 0).sum())
    average, least, most = float(counts.mean()), int(counts.min()), int(counts.max())
    del step
    seconds = min(timed(lambda: cell(strain, state, 1.0), device)[0] for _ in range(3))
    memory = peak(device, lambda: cell(strain, state, 1.0))
    print(
        f"  whole solve: {seconds:.3f} s, {1e3 * seconds / len(strain):.2f} ms a cell, {least} to {most} iterations, "
        f"{bad} bad verdicts,\n    {1e3 * seconds / average:.3f} ms an iteration with all around it, "
        f"{voxels * average / seconds / FANS_CORE:.1f} FANS cores"
    )
    if memory is None or iterating is None:
        print("  host waits, peak memory, CUDA graph: of a GPU only")
    else:
        print(
            f"  peak memory: loop {iterating / 1e9:.2f} GB ({iterating / voxels:.0f} bytes a voxel), "
            f"whole solve {memory / 1e9:.2f} GB ({memory / voxels:.0f})"
        )


def case(cells: int, n: int, device: torch.device, speed: float, count: int) -> None:
    laws = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.3)]
    cell = HomogenisedCell(centred_sphere(n, fraction=0.2), laws, "hex8").to(device)
    strain = torch.randn(cells, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    print(f"\n{cells} x {n}^3: {cells * n**3 / 1e6:.2f} million voxels")
    whole(cell, strain, iterate(cell, strain, n, speed, count))
    if device.type == "cuda":  # last, as a capture that fails may leave something behind
        try:
            seconds, difference = captured(Iteration(cell, strain), count)
            result("CUDA graph", seconds, cells, n, speed, f"x to {difference:.0e}")
        except RuntimeError as error:
            print(f"  CUDA graph: not captured\n    {(str(error).splitlines() or ['no message'])[0][:76]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    there = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if there else "cpu")
    parser.add_argument("--quick", action="store_true", help="a quarter of the cells and of the iterations")
    options = parser.parse_args()
    if options.device == "cuda" and not there:
        parser.error("--device: got cuda, but torch sees no CUDA device; wanted cpu")
    device, gpu = torch.device(options.device), options.device == "cuda"
    name = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    speed = bandwidth(device)
    print(f"torch {torch.__version__}, {name}, copy bandwidth {speed / 1e9:.1f} GB/s")
    if not gpu:
        print("NO GPU: figures of a CPU, of cells in its caches; they say nothing of a GPU")
    sizes, count = ([(256, 32), (16, 128)], 48) if gpu else ([(4, 16), (1, 32)], 12)
    for cells, n in sizes:
        case(max(1, cells // 4) if options.quick else cells, n, device, speed, count // 4 if options.quick else count)


if __name__ == "__main__":
    main()
