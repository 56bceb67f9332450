"""Numbers that describe each sample of a microstructure, under one set of names."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.orientation import orientation_tensor


def describe(cell: Microstructure, two_point: bool = False) -> dict[str, Tensor]:
    """The descriptors of the cell, and those that follow from its voxels, each (m, ...) with one entry a sample.

    Args:
        cell: m samples.
        two_point: with two-point correlations, which cost two FFTs a phase.

    Returns:
        ``cell.descriptors``, and

        - ``volume_fractions`` (m, n_phases);
        - ``orientation_tensor`` (m, 3, 3), if the cell has orientations and no tensor of its own (of its fibres, its
          ellipsoids): the mean of p p over the volume, p the material axis 1;
        - ``two_point`` (m, n_phases, k), the probability that two points at a distance r lie both in the phase, and
          ``two_point_distance`` (m, k), r [mm], if asked for; see `Microstructure.radial_two_point`.

    Example:
        >>> from datagen.microstructures.laminate import laminate
        >>> describe(laminate(4, fraction=0.25))["volume_fractions"]
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    found = dict(cell.descriptors)
    found["volume_fractions"] = cell.volume_fractions
    if cell.orientations is not None and "orientation_tensor" not in found:
        found["orientation_tensor"] = orientation_tensor(cell.orientations[..., 0], cell.volume_fractions)
    if two_point:
        curves = [cell.radial_two_point(phase) for phase in range(cell.n_phases)]
        found["two_point"] = torch.stack([values for _, values in curves], 1)
        found["two_point_distance"] = curves[0][0].expand(cell.n_samples, -1)
    return found
