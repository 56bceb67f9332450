"""Newton iterations of the cell solver at strain increments of 1 %, law by law; of damage at 0.02 % besides.

    python benchmarks/newton.py [--grid 12]

A stiff sphere (20 % by volume) in a matrix of the law in question; plane-strain tension along x at constant volume to
first order, five increments of 1 %. Iterations are counted for each increment, cuts are halvings of it.
"""

from __future__ import annotations

import argparse
import time

import torch

from datagen.laws.law import Law, Measure
from datagen.laws.verdict import Verdict
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.rve.homogenised import HomogenisedCell
from surrogate.compose import build, compose

INCREMENT, STEPS, DT = 0.01, 5, 1.0

# A matrix by its configuration, and the sphere in it.
CASES = [
    ("neo_hooke", "neo_hooke", ["law.mu=100.0", "law.lmbda=400.0"]),
    ("saint_venant_kirchhoff", "neo_hooke", ["law.mu=1.0e4", "law.lmbda=2.0e4"]),
    ("mooney_rivlin", "neo_hooke", ["law.mu=100.0", "law.lmbda=400.0"]),
    ("yeoh", "neo_hooke", ["law.mu=100.0", "law.lmbda=400.0"]),
    ("ogden", "neo_hooke", ["law.mu=100.0", "law.lmbda=400.0"]),
    ("logarithmic_j2", "neo_hooke", ["law.mu=1.6e5", "law.lmbda=1.0e5"]),
    ("crystal_plasticity", "neo_hooke", ["law.mu=1.6e5", "law.lmbda=1.0e5"]),
    ("j2_plasticity", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("von_mises_voce", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("von_mises_power_law", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("von_mises_armstrong_frederick", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("von_mises_perzyna", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("generalised_maxwell", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
    ("isotropic_damage", "linear_elastic", ["law.E=400000.0", "law.nu=0.2"]),
]
FINE = 0.0002  # a fifth of the strain at which the damaging matrix cracks


def law(name: str, overrides: list[str]) -> Law:
    return build(compose([f"law={name}", *overrides]).law)


def follow(cell: HomogenisedCell, increment: float) -> tuple[list[int], int, int, str]:
    """Newton iterations of each increment, cuts and Krylov iterations in all, and how it ended."""
    state, newton, cuts, krylov = cell.initial_state(), [], 0, 0
    finite = cell.measure is Measure.FINITE
    for k in range(1, STEPS + 1):
        strain = cell.reference_strain()
        strain[0] += increment * k
        strain[4 if finite else 1] -= increment * k
        step = cell(strain, state, DT)
        newton.append(int(step.extras["newton"].nan_to_num(-1)))
        verdict = Verdict(int(step.verdict))
        if not verdict.has_answer:
            return newton[:-1], cuts, krylov, f"{verdict.name} in {k}"
        cuts += int(step.extras["cuts"])
        krylov += int(step.extras["iterations"])
        state = step.state
    return newton, cuts, krylov, "" if verdict is Verdict.GOOD else verdict.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grid", type=int, default=12)
    grid = parser.parse_args().grid
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, hex8 {grid}^3, {STEPS} increments of 1 %")
    print(f"{'matrix':30}{'median':>7}{'max':>5}{'cuts':>6}{'Krylov':>8}{'time/s':>8}  verdict")
    sphere = centred_sphere(grid, fraction=0.2)
    for matrix, inclusion, overrides, increment in [*((*case, INCREMENT) for case in CASES), (*CASES[-1], FINE)]:
        cell = HomogenisedCell(sphere, [law(matrix, []), law(inclusion, overrides)], "hex8")
        start = time.perf_counter()
        newton, cuts, krylov, ending = follow(cell, increment)
        seconds = time.perf_counter() - start
        counted = sorted(newton) or [0]
        matrix += f", {increment:.2%}" if increment != INCREMENT else ""
        print(f"{matrix:30}{counted[len(counted) // 2]:7d}{counted[-1]:5d}{cuts:6d}{krylov:8d}{seconds:8.1f}  {ending}")


if __name__ == "__main__":
    main()
