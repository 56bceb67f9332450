"""Random walks in strain space."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, stream
from datagen.paths.strain_space import StrainSpace, check_counts


def random_walk(
    measure: Measure | str,
    components: Sequence[str] | None,
    n_paths: int,
    n_steps: int,
    amplitude: float,
    seed: int,
    persistence: float = 0.0,
    rotation: float = 0.0,
    duration: float = 1.0,
) -> LoadPath:
    r"""Walks whose increments are Gaussian, isotropic, and remember the last one by a share ``persistence``.

    d_k = persistence d_(k-1) + sqrt(1 - persistence^2) xi_k,  h_k = h_(k-1) + d_k,  h_0 = 0

    with h = eps, or h = ln U for FINITE strain. Each walk is scaled so that its largest |h| is the amplitude.

    Args:
        measure: SMALL or FINITE.
        components: driven components; all if None.
        n_paths: number of paths.
        n_steps: number of steps of each.
        amplitude: largest |eps| or |ln U| on each path [-].
        seed: with the member's index, of its random stream.
        persistence: correlation of an increment with the one before, in [0, 1).
        rotation: largest angle [rad] of a superposed rotation, which walks too.
        duration: time from start to end [s].
    """
    check_counts(n_paths=n_paths, n_steps=n_steps)
    if not 0 <= persistence < 1:
        raise ValueError(f"persistence: got {persistence}, wanted a correlation in [0, 1)")
    space = StrainSpace(measure, components, amplitude, rotation)
    shape = (n_steps, space.n_coordinates)
    noise = [stream("random_walk", seed, member).standard_normal(shape) for member in range(n_paths)]
    increments = torch.stack([torch.from_numpy(xi) for xi in noise])
    fresh = (1 - persistence**2) ** 0.5
    for k in range(1, n_steps):
        increments[:, k] = persistence * increments[:, k - 1] + fresh * increments[:, k]
    return space.path(space.scaled(increments.cumsum(1)), duration, "random_walk")
