"""A real microstructure: a micro-CT cross-section of a fibre bed, fibres touching, not periodic.

A. Fioravante de Siqueira, D. M. Ushizima, S. J. van der Walt, Sci. Data 9 (2022) 32, doi:10.1038/s41597-022-01119-6
(BSD-3-Clause), ../shared/data/fibre_bed_ct/phase.png. It stays outside the project. `benchmarks/micro_ct.py` prints the
full comparison.
"""

from pathlib import Path

import pytest
import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.microstructures.voxel_file import voxel_file
from datagen.rve.homogenised import HomogenisedCell

COMPONENTS = PLANE_STRAIN[Measure.SMALL]


def test_micro_ct_section_solves_at_full_size_wrapped_and_mirrored(shared: Path) -> None:
    image = shared / "data/fibre_bed_ct/phase.png"
    if not image.is_file():
        pytest.skip(f"no image at {image}")
    laws = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=20.0, nu=0.3)]
    eps = torch.tensor([1e-2, 0, 0, 0, 0, 0], dtype=torch.float64)
    stress = []
    for mirror in (False, True):
        section = voxel_file(image, thresholds=[128], mirror=mirror)
        assert section.grid == ((760, 760, 1) if mirror else (380, 380, 1))
        assert float(section.volume_fractions[0, 1]) == pytest.approx(0.57929, abs=5e-6)
        cell = HomogenisedCell(section, laws, "hex8r", tolerance=1e-6, components=COMPONENTS)
        step = cell(eps, cell.initial_state(), 1.0)
        assert step.verdict == 0
        stress.append(float(step.stress[0]))
        # Reuss and Voigt for the uniaxial strain modulus K + 4 G / 3.
        modulus = torch.tensor([0.7, 14.0]) / 0.52
        w = section.volume_fractions[0].float()
        assert 1 / float(w @ (1 / modulus)) < stress[-1] / 1e-2 < float(w @ modulus)
    assert stress[0] == pytest.approx(stress[1], rel=0.02)  # the seam of the wrapped image: 0.2 %
