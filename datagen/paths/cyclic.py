"""Cyclic paths: back and forth along one direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, stream
from datagen.paths.strain_space import StrainSpace, check_counts


def cyclic(
    measure: Measure | str,
    components: Sequence[str] | None,
    n_paths: int,
    n_steps: int,
    amplitude: float,
    seed: int,
    n_reversals: int = 3,
    smallest: float = 0.3,
    rotation: float = 0.0,
    duration: float = 1.0,
) -> LoadPath:
    r"""Loading along a random direction with reversals on alternating sides of the reference.

    h(t) = a(t) d, with h = eps, or h = ln U for FINITE strain, d uniform on the unit sphere, and a piecewise linear
    through turning points of alternating sign, whose sizes are random between ``smallest`` and 1 times the amplitude
    and the largest of which is the amplitude. Every turning point is the end of a step.

    Args:
        measure: SMALL or FINITE.
        components: driven components; all if None.
        n_paths: number of paths.
        n_steps: number of steps of each, at least one for each leg.
        amplitude: largest |eps| or |ln U| on each path [-].
        seed: with the member's index, of its random stream.
        n_reversals: number of turning points before the end.
        smallest: least size of a turning point, as a fraction of the amplitude, in (0, 1].
        rotation: largest angle [rad] of a superposed rotation, which turns back and forth too.
        duration: time from start to end [s].
    """
    check_counts(n_paths=n_paths, n_steps=n_steps, n_reversals=n_reversals)
    if n_steps <= n_reversals:
        raise ValueError(f"n_steps: got {n_steps}, wanted at least {n_reversals + 1}, one for each leg")
    if not 0 < smallest <= 1:
        raise ValueError(f"smallest: got {smallest}, wanted a fraction of the amplitude in (0, 1]")
    space = StrainSpace(measure, components, amplitude, rotation)
    turns = np.round(np.linspace(0, n_steps, n_reversals + 2))  # step at which each leg ends
    sign = (-1.0) ** np.arange(n_reversals + 1)
    coordinates = np.empty((n_paths, n_steps, space.n_coordinates))
    for member in range(n_paths):
        random = stream("cyclic", seed, member)
        direction = random.standard_normal(space.n_coordinates)
        peaks = sign * random.uniform(smallest, 1.0, n_reversals + 1)
        profile = np.interp(np.arange(1, n_steps + 1), turns, [0.0, *peaks])
        coordinates[member] = profile[:, None] * direction
    return space.path(space.scaled(torch.from_numpy(coordinates)), duration, "cyclic")
