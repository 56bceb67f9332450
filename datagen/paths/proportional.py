"""Proportional paths whose directions and amplitudes fill a ball evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, stream
from datagen.paths.strain_space import StrainSpace, check_counts


def proportional(
    measure: Measure | str,
    components: Sequence[str] | None,
    n_paths: int,
    n_steps: int,
    amplitude: float,
    seed: int,
    rotation: float = 0.0,
    duration: float = 1.0,
) -> LoadPath:
    r"""Straight ramps from the reference to end points that fill the ball of strains with low discrepancy.

    h(t) = t r d, t in (0, 1], with h = eps, or h = ln U for FINITE strain, in the d-dimensional space of the driven
    components. Scrambled Sobol points u give the direction d = z / |z|, z_i = Phi^-1(u_i), and the radius
    r = amplitude u_r^(1/d): end points are uniform in the ball, not only on its surface. The first n of more paths
    are the same paths.

    Args:
        measure: SMALL or FINITE.
        components: driven components; all if None.
        n_paths: number of paths; a power of 2 is the most even.
        n_steps: number of equal steps of each.
        amplitude: radius of the ball, |eps| or |ln U| [-].
        seed: of the scrambling.
        rotation: largest angle [rad] of a superposed rotation that ramps up with the stretch.
        duration: time from start to end [s].

    Reference:
        I. M. Sobol', USSR Comput. Math. Math. Phys. 7(4) (1967) 86, doi:10.1016/0041-5553(67)90144-9;
        A. B. Owen, J. Complexity 14 (1998) 466, doi:10.1006/jcom.1998.0487.
    """
    check_counts(n_paths=n_paths, n_steps=n_steps)
    space = StrainSpace(measure, components, amplitude, rotation)
    # One Sobol dimension for each coordinate of a direction and one for each radius (stretch, and rotation if any).
    sizes = [k for k in (space.dimension, space.n_coordinates - space.dimension) if k]
    sobol = qmc.Sobol(sum(sizes) + len(sizes), scramble=True, seed=stream("proportional", seed))
    points = sobol.random_base2(int(np.ceil(np.log2(n_paths))))[:n_paths]
    points = points + 0.5**31  # middle of the 30-bit cell: Phi^-1 stays finite
    ends, column = [], 0
    for size, radius in zip(sizes, (amplitude, rotation), strict=False):
        z = ndtri(points[:, column : column + size])
        r = radius * points[:, column + size : column + size + 1] ** (1.0 / size)
        ends.append(z / np.linalg.norm(z, axis=1, keepdims=True) * r)
        column += size + 1
    end = torch.from_numpy(np.concatenate(ends, 1))
    ramp = torch.arange(1, n_steps + 1, dtype=torch.float64) / n_steps
    return space.path(ramp[:, None] * end[:, None], duration, "proportional")
