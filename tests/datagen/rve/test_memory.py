"""Peak memory of a solve, by the high-water mark of a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.neo_hooke import NeoHooke

SCRIPT = """
import re, sys
from pathlib import Path
import torch
from datagen.microstructures.centred_sphere import centred_sphere
from datagen.rve.homogenised import HomogenisedCell
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke

torch.set_num_threads(1)
LAWS = {
    "elastic": [LinearElastic(1.0, 0.3), LinearElastic(10.0, 0.3)],
    "hyperelastic": [NeoHooke(mu=1.0, lmbda=1.5), NeoHooke(mu=10.0, lmbda=15.0)],
    "plastic": [J2Plasticity(1.0, 0.3, 5e-3, 0.05), J2Plasticity(10.0, 0.3, 5e-3, 0.05)],
}[sys.argv[1]]

def solve(n):
    cell = HomogenisedCell(centred_sphere(n, fraction=0.2), LAWS, tolerance=1e-4)
    strain = cell.reference_strain()
    strain[0] += 0.01
    return cell(strain, cell.initial_state(), 1.0)

def bytes_of(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

solve(8)  # what is loaded at first use
for n in map(int, sys.argv[2:]):
    Path("/proc/self/clear_refs").write_text("5")  # the mark back to what is resident
    before = bytes_of("VmRSS")
    assert solve(n).verdict == 0
    print(bytes_of("VmHWM") - before)
"""


def peak(kind: str, n: int) -> float:
    """Bytes above the process after import that a solve on n^3 voxels takes, in a process of its own."""
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", SCRIPT, kind, str(n)], cwd=root, capture_output=True, text=True)
    if "clear_refs" in run.stderr:
        pytest.skip("the high-water mark cannot be set back here")
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


def least(kind: str, n: int, limit: float) -> float:
    """The least of up to three peaks: how a heap is cut up differs from run to run, what is needed does not."""
    found = peak(kind, n)
    for _ in range(2):
        if found > limit:
            found = min(found, peak(kind, n))
    return found


def test_an_elastic_solve_takes_600_bytes_a_voxel() -> None:
    limit = 600 * 64**3
    large = least("elastic", 64, limit)
    assert large <= limit
    assert large - peak("elastic", 32) <= 600 * (64**3 - 32**3)  # and grows linearly


@pytest.mark.parametrize("kind", ["hyperelastic", "plastic"])
def test_a_nonlinear_solve_takes_history_and_tangent_more(kind: str) -> None:
    # History at the start and at the end of the step, and what the laws save for their tangents, 8 points a voxel.
    law = NeoHooke(1.0, 1.5) if kind == "hyperelastic" else J2Plasticity(1.0, 0.3, 5e-3, 0.05)
    saved = law.linearise(law.reference_strain(), law.initial_state(), 1.0)[1].shape[-1]
    own = 8 * 8 * (2 * law.n_state + saved)
    limit = (600 + own) * 48**3
    assert least(kind, 48, limit) <= limit
