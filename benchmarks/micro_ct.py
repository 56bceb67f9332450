"""A real, non-periodic microstructure at full size: periodic wrap against mirror image.

    python benchmarks/micro_ct.py IMAGE.png

IMAGE is a binary cross-section of a fibre composite (0 matrix, 255 fibre), for instance the 380x380 micro-CT section
of A. Fioravante de Siqueira et al., Sci. Data 9 (2022) 32, doi:10.1038/s41597-022-01119-6. Fibres 20 times stiffer than
the matrix, plane strain, small strain. Prints effective moduli, iterations, time, and the difference that wrapping a
non-periodic image around makes.
"""

from __future__ import annotations

import sys
import time

import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.microstructures.voxel_file import voxel_file
from datagen.rve.homogenised import HomogenisedCell

CONTRAST = 20.0


def main(path: str) -> None:
    laws = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=CONTRAST, nu=0.3)]
    components = PLANE_STRAIN[Measure.SMALL]
    print(f"contrast {CONTRAST:g}, plane strain, hex8, tolerance 1e-8, {torch.get_num_threads()} threads")
    print(f"{'image':10} {'voxels':>9} {'fraction':>8} {'C1111':>9} {'C2222':>9} {'C1122':>9} {'C1212':>9} {'time':>7}")
    moduli = []
    for name, mirror in (("wrapped", False), ("mirrored", True)):
        section = voxel_file(path, thresholds=[128], mirror=mirror)
        cell = HomogenisedCell(section, laws, "hex8", components=components)
        start = time.perf_counter()
        C = cell.tangent(cell.reference_strain(), cell.initial_state(), 1.0)
        seconds = time.perf_counter() - start
        C1111, C2222, C1122, C1212 = (float(x) for x in (C[0, 0], C[1, 1], C[0, 1], C[5, 5] / 2))
        moduli.append(torch.tensor([C1111, C2222, C1122, C1212]))
        fraction = float(section.volume_fractions[0, 1])
        voxels = section.phase[0].numel()
        print(
            f"{name:10} {voxels:9d} {fraction:8.5f} {C1111:9.5f} {C2222:9.5f} {C1122:9.5f} {C1212:9.5f} {seconds:6.1f}s"
        )
    difference = (moduli[0] - moduli[1]) / moduli[1]
    print("wrapped against mirrored: " + ", ".join(f"{100 * float(d):+.2f} %" for d in difference))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
