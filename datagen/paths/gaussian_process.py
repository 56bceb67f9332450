"""Smooth random paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, stream
from datagen.paths.strain_space import StrainSpace, check_counts


def gaussian_process(
    measure: Measure | str,
    components: Sequence[str] | None,
    n_paths: int,
    n_steps: int,
    amplitude: float,
    seed: int,
    correlation: float = 0.3,
    rotation: float = 0.0,
    duration: float = 1.0,
) -> LoadPath:
    r"""Gaussian processes in time with a squared exponential kernel, conditioned on starting at the reference.

    k(s, t) = g(s - t) - g(s) g(t),  g(t) = exp(-t^2 / (2 correlation^2)),  s, t in (0, 1]

    for every coordinate of h = eps, or h = ln U for FINITE strain. Each path is scaled so that its largest |h| is the
    amplitude.

    Args:
        measure: SMALL or FINITE.
        components: driven components; all if None.
        n_paths: number of paths.
        n_steps: number of steps of each.
        amplitude: largest |eps| or |ln U| on each path [-].
        seed: with the member's index, of its random stream.
        correlation: correlation time as a fraction of the duration, > 0.
        rotation: largest angle [rad] of a superposed rotation, a Gaussian process too.
        duration: time from start to end [s].

    Reference:
        C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2 and 4.2.
    """
    check_counts(n_paths=n_paths, n_steps=n_steps)
    if not (correlation > 0 and np.isfinite(correlation)):
        raise ValueError(f"correlation: got {correlation}, wanted a fraction of the duration > 0")
    space = StrainSpace(measure, components, amplitude, rotation)
    t = np.arange(1, n_steps + 1) / n_steps

    def g(x: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (x / correlation) ** 2)

    kernel = g(t[:, None] - t[None]) - np.outer(g(t), g(t))
    # The kernel is singular to rounding; a white noise of about 1e-5 of the path lets its Cholesky factor exist.
    factor = np.linalg.cholesky(kernel + 1e-12 * n_steps * np.eye(n_steps))
    shape = (n_steps, space.n_coordinates)
    noise = [factor @ stream("gaussian_process", seed, member).standard_normal(shape) for member in range(n_paths)]
    coordinates = torch.stack([torch.from_numpy(h) for h in noise])
    return space.path(space.scaled(coordinates), duration, "gaussian_process")
