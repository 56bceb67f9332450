"""Where the time of a macro simulation goes. Run it as python benchmarks/macro.py.

One line a mesh, milliseconds a Newton iteration on one thread, the best of a few runs: assembly, law, linear solve and
all the rest, with the floor below which assembly and factorisation cannot fall on this machine: the larger of
operations over the speed of a matrix product and bytes over the speed of a copy, both measured here.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import splu

from datagen.laws.law import Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from surrogate.macro.assembly import Assembly
from surrogate.macro.cantilever import cantilever
from surrogate.macro.conditions import supports
from surrogate.macro.cook import cook
from surrogate.macro.problem import Problem
from surrogate.macro.solver import solve

RUBBER = NeoHooke(mu=92.525, lmbda=138.7875)
HOOKE = LinearElastic(E=240.565, nu=0.3)

CASES: list[tuple[str, Problem, Law]] = [
    *((f"quad4 {n}x{n} FINITE", cook(n=n, steps=5), RUBBER) for n in (8, 16, 32, 64)),
    ("quad4 32x32 SMALL", cook(n=32, measure=Measure.SMALL, steps=5), HOOKE),
    *((f"quad9 {n}x{n} FINITE", cook(n=n, element="quad9", steps=5), RUBBER) for n in (8, 32)),
    *(
        (f"hex8 {d[0]}x{d[1]}x{d[2]} FINITE", cantilever(divisions=d, steps=2), NeoHooke(mu=384.6, lmbda=576.9))
        for d in ((20, 3, 3), (30, 6, 6))
    ),
]


def best(f: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several timings [s]."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def machine_speed() -> tuple[float, float]:
    """Operations and bytes a second of one thread: a matrix product, a copy (read and write)."""
    A = torch.randn(512, 512, dtype=torch.float64)
    x = torch.randn(8_000_000, dtype=torch.float64)
    y = torch.empty_like(x)
    return 2 * 512**3 / best(lambda: A @ A), 2 * 8 * x.numel() / best(lambda: y.copy_(x))


def assembly_cost(assembly: Assembly) -> tuple[float, float]:
    """Operations and bytes of one iteration: strains, forces, stiffness."""
    m, nd = len(assembly.columns), assembly.element_dofs.shape[1]
    points = assembly.n_elements * assembly.n_points
    operations = points * (2 * m * nd + 2 * m * nd + 2 * m * m * nd + 2 * m * nd * nd)
    operator, entries = 8 * points * m * nd, assembly.n_elements * nd * nd
    # B is read three times and C B written and read; K_e written and read, its map read, the values added up.
    return operations, 5 * operator + 8 * points * (m * m + 2 * m) + entries * (8 + 8 + 8 + 16)


def factor_operations(problem: Problem, assembly: Assembly) -> float:
    """Operations of the LU factorisation with the solver's ordering, from the columns of its factors."""
    free = ~supports(problem, assembly)[0]
    C = torch.eye(len(assembly.columns), dtype=torch.float64) + 0.1  # couples all components, so no entry vanishes
    K = assembly.stiffness(C.expand(assembly.n_elements, assembly.n_points, -1, -1))[free][:, free].tocsc()
    factors = splu(K, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
    below, right = np.diff(factors.L.indptr) - 1, np.bincount(factors.U.indices) - 1
    return float((below * (1 + 2 * right)).sum())


def main() -> None:
    torch.set_num_threads(1)
    flops, bandwidth = machine_speed()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"matrix product {flops / 1e9:.1f} Gflop/s, copy {bandwidth / 1e9:.1f} GB/s\n")
    print(
        f"{'mesh':22s} {'points':>7s} {'dofs':>7s} {'its':>4s} | {'assembly':>9s} {'floor':>7s} | {'law':>8s} "
        f"{'us/point':>8s} | {'linear':>8s} {'floor':>7s} | {'rest':>7s} | {'total':>9s}  ms"
    )
    for name, problem, law in CASES:
        runs = [solve(problem, law) for _ in range(3)]
        run = min(runs, key=lambda solution: solution.timings["total"])
        if not run.converged:
            raise SystemExit(f"{name}: {run.reason}")
        t, its, assembly = run.timings, run.timings["iterations"], run.assembly
        operations, moved = assembly_cost(assembly)
        floor = max(operations / flops, moved / bandwidth)
        linear_floor = factor_operations(problem, assembly) / flops
        rest = t["total"] - t["assembly"] - t["law"] - t["linear_solve"]
        print(
            f"{name:22s} {assembly.n_elements * assembly.n_points:7d} {assembly.n_dof:7d} {its:4d} | "
            f"{1e3 * t['assembly'] / its:9.3f} {1e3 * floor:7.3f} | "
            f"{1e3 * t['law'] / its:8.3f} {1e6 * t['law'] / t['points']:8.2f} | "
            f"{1e3 * t['linear_solve'] / its:8.3f} {1e3 * linear_floor:7.3f} | "
            f"{1e3 * rest / its:7.3f} | {1e3 * t['total']:9.1f}"
        )
    print("\nTimes but the last are per iteration; the rest is set-up and what is kept of each step.")


if __name__ == "__main__":
    main()
