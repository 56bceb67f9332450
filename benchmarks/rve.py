"""Times of the cell solver beside those of FANS, in seconds and in units of one real FFT pair.

    python benchmarks/rve.py [--quick]

Time is that of one call, the least of three, from fields in memory to converged averages; a small solve before it warms
up the machine. In the compiled case the first call compiles, and is not the least.

A unit is one forward and one inverse real FFT of three float64 components on the same grid and machine. The floor is
what one iteration must move at least: displacement, residual, direction and preconditioned residual read and written
once each, against the copy bandwidth measured here; ms/it is the whole call over its iterations. Peer figures: FANS
0.6.2 (LGPL-3.0), 2 MPI ranks on an idle 2-core x86 machine, relative residual 1e-8, wall time
(../shared/reference/rve_golden.json, timings_idle_machine).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.microstructures.random_fibres import random_fibres
from datagen.rve.homogenised import HomogenisedCell

FANS = {  # seconds
    "hex8 64^3 contrast 10": 1.85,
    "hex8 64^3 contrast 100": 2.62,
    "hex8r 64^3 contrast 100": 2.70,
    "hex8 32^3 contrast 10, tangent": 1.40,
    "hex8 64^3 contrast 10, tangent": 7.46,
    "neo-Hooke 32^3, shear, 5 steps": 10.93,
    "neo-Hooke 32^3, compiled": 10.93,
}


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def fft_pair(n: int) -> float:
    u = torch.randn(3, n, n, n, dtype=torch.float64)
    times = [timed(lambda: torch.fft.irfftn(torch.fft.rfftn(u, dim=(1, 2, 3)), s=(n, n, n), dim=(1, 2, 3)))[0]
             for _ in range(12)]  # fmt: skip
    return sorted(times)[5]


def bandwidth() -> float:
    a = torch.ones(2**25, dtype=torch.float64)
    b = torch.zeros_like(a) + 1  # touched, so that its pages exist
    return 2 * a.numel() * 8 / min(timed(lambda: b.copy_(a))[0] for _ in range(4))


def sphere(n: int, contrast: float, discretisation: str, **options: object) -> HomogenisedCell:
    laws = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=contrast, nu=0.3)]
    return HomogenisedCell(centred_sphere(n, fraction=0.2), laws, discretisation, **options)


def rubber(n: int, **options: object) -> HomogenisedCell:
    soft, stiff = (NeoHooke(mu=E / 2.6, lmbda=E * 0.3 / 0.52) for E in (1.0, 10.0))
    return HomogenisedCell(centred_sphere(n, fraction=0.2), [soft, stiff], **options)


def solve(cell: HomogenisedCell) -> int:
    eps = cell.reference_strain()
    eps[0] = 1.0
    return int(cell(eps, cell.initial_state(), 1.0).extras["iterations"])


def shear(cell: HomogenisedCell) -> int:
    """Five steps to 10 %."""
    state, iterations = cell.initial_state(), 0
    for k in range(1, 6):
        F = cell.reference_strain()
        F[1] = 0.02 * k
        step = cell(F, state, 1.0)
        state, iterations = step.state, iterations + int(step.extras["iterations"])
    return iterations


def tangent(cell: HomogenisedCell) -> int:
    cell.tangent(cell.reference_strain(), cell.initial_state(), 1.0)
    return 0


def row(name: str, n: int, cell: HomogenisedCell, work: Callable[[HomogenisedCell], int], speed: float) -> None:
    unit = fft_pair(n)
    seconds, iterations = min((timed(lambda: work(cell)) for _ in range(3)), key=lambda run: run[0])
    floor = 8 * 3 * n**3 * 8 / speed
    peer = f"{FANS[name]:6.2f} {FANS[name] / seconds:5.2f}" if name in FANS else "     -     -"
    count = (
        f"{iterations:4d} {1e3 * seconds / iterations:6.1f} {1e3 * floor:6.2f}" if iterations else "   -      -      -"
    )
    print(f"{name:31} {seconds:6.2f} {peer} {count} {seconds / unit:7.0f}", flush=True)


def batches() -> None:
    """Batches of small plane-strain cells: time a cell, alone and together, with and without the tangent."""
    cells = random_fibres(24, fraction=0.3, count=8, gap=0.02, seed=0)
    laws = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)]
    cell = HomogenisedCell(cells, laws, "hex8r", components=PLANE_STRAIN[Measure.FINITE])
    print("\nplane-strain fibre cell 24^2, contrast 20, hex8r, tolerance 1e-8: ms a cell")
    print(f"{'batch':>6} {'stress':>9} {'with tangent':>13}")
    for size in (1, 16, 256):
        generator = torch.Generator().manual_seed(0)
        H = 0.05 * torch.randn(size, 4, generator=generator, dtype=torch.float64)
        F = cell.reference_strain().repeat(size, 1)
        F[:, [0, 1, 3, 4]] += H
        state = cell.initial_state(size)
        plain = timed(lambda F=F, state=state: cell(F, state, 1.0))[0]
        full = timed(lambda F=F, state=state: cell.linearise(F, state, 1.0))[0]
        print(f"{size:6d} {1e3 * plain / size:9.2f} {1e3 * full / size:13.2f}")


def many(n: int, size: int) -> None:
    """Cells of one grid, one call each and all in one call."""
    cell = sphere(n, 10.0, "hex8")
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(size, 6, generator=generator, dtype=torch.float64)
    state = cell.initial_state()
    alone = timed(lambda: [cell(one, state, 1.0) for one in eps])[0]
    together = timed(lambda: cell(eps, state.expand(size, -1), 1.0))[0]
    print(f"\n{size} cells of {n}^3, hex8, contrast 10: {1e3 * alone / size:.0f} ms a cell one at a time, "
          f"{1e3 * together / size:.0f} ms in one call")  # fmt: skip


def main() -> None:
    speed = bandwidth()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, copy bandwidth {speed / 1e9:.1f} GB/s")
    print(f"{'case':31} {'time/s':>6} {'FANS':>6} {'ratio':>5} {'it.':>4} {'ms/it':>6} {'floor':>6} {'FFTs':>7}")
    solve(sphere(16, 10.0, "hex8"))
    shear(rubber(8))
    row("hex8 32^3 contrast 10, tangent", 32, sphere(32, 10.0, "hex8"), tangent, speed)
    if "--quick" not in sys.argv:
        row("hex8 64^3 contrast 10", 64, sphere(64, 10.0, "hex8"), solve, speed)
        row("hex8 64^3 contrast 100", 64, sphere(64, 100.0, "hex8"), solve, speed)
        row("hex8 64^3 contrast 10, tangent", 64, sphere(64, 10.0, "hex8"), tangent, speed)
        row("neo-Hooke 32^3, shear, 5 steps", 32, rubber(32), shear, speed)
        row("neo-Hooke 32^3, compiled", 32, rubber(32, compile=True), shear, speed)
        row("hex8r 64^3 contrast 100", 64, sphere(64, 100.0, "hex8r"), solve, speed)
        mixed = sphere(64, 10.0, "hex8", mixed_precision=True)
        row("hex8 64^3 c. 10, mixed precision", 64, mixed, solve, speed)
    many(32, 64)
    batches()


if __name__ == "__main__":
    main()
