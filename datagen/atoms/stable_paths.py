"""Load paths on which a perfect crystal stays stable: what a law that is learned from it may be shown."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.laws.law import Measure
from datagen.laws.verdict import Verdict
from datagen.paths.gaussian_process import gaussian_process
from datagen.paths.path import LoadPath
from datagen.paths.proportional import proportional
from datagen.paths.strain_space import check_counts
from datagen.spectral import exponential, logarithm

_STEPS = 10  # of the search for the first loss
_HALVINGS = 6  # of the step in which it is found: what is left is a 640th of the largest amplitude
_GRID = 4  # wave vectors along each axis in that search
_BACK = 0.98  # a path that the law's own test refuses shrinks by this factor, and again
_ATTEMPTS = 50


def stable_ramps(
    law: CauchyBorn,
    n_paths: int,
    n_steps: int,
    seed: int,
    fraction: float = 0.98,
    amplitude: float = 0.15,
    duration: float = 1.0,
) -> LoadPath:
    r"""Straight ramps of the log stretch, each to a fraction of where the crystal first loses stability on it.

    F(t) = exp(t r d), t in (0, 1], |d| = 1, r = min(fraction r_c, amplitude)

    The directions d lie evenly on the sphere of the six components of ln U (those of `proportional`). r_c is where the
    acoustic tensor or a phonon first loses positivity along d: found on the way in ten equal steps up to
    amplitude / fraction, then by bisection, with wave vectors on a coarse grid. Every state of the path is then put to
    the law's own test of phonons, grid and refinement as the law has them, and a path that fails shrinks by 2 % until
    it passes: so all states are stable, and some paths end a little before the fraction. Under compression from all
    sides a crystal may never lose stability; there ``amplitude`` ends the path.

    Args:
        law: the crystal.
        n_paths: number of paths.
        n_steps: number of equal steps of each.
        seed: of the directions.
        fraction: of the amplitude of the first loss, in (0, 1].
        amplitude: largest |ln U| (Frobenius norm), > 0.
        duration: time from start to end [s].

    Raises:
        TypeError: a law that is no `CauchyBorn`.
        ValueError: a number outside its range, or a crystal that is unstable as it is.
    """
    h = _log_stretch(proportional(Measure.FINITE, None, n_paths, 1, 1.0, seed))[:, 0]
    check_counts(n_steps=n_steps)
    ramp = torch.arange(1, n_steps + 1, dtype=torch.float64)[:, None, None] / n_steps
    shape = ramp * (h / h.flatten(1).norm(dim=1)[:, None, None])[:, None]
    return _path(law, shape, fraction, amplitude, duration, "stable_ramps")


def stable_walks(
    law: CauchyBorn,
    n_paths: int,
    n_steps: int,
    seed: int,
    fraction: float = 0.98,
    amplitude: float = 0.15,
    correlation: float = 0.3,
    duration: float = 1.0,
) -> LoadPath:
    """Smooth random paths of the log stretch, each scaled to a fraction of where its first state loses stability.

    Shapes are those of `gaussian_process`; scales are found as in `stable_ramps`, with all states of a path at once.

    Args:
        law: the crystal.
        n_paths: number of paths.
        n_steps: number of steps of each.
        seed: with the member's index, of its random stream.
        fraction: of the scale at the first loss, in (0, 1].
        amplitude: largest |ln U| (Frobenius norm), > 0.
        correlation: correlation time as a fraction of the duration, > 0.
        duration: time from start to end [s].

    Raises:
        TypeError, ValueError: as `stable_ramps`.
    """
    shape = _log_stretch(gaussian_process(Measure.FINITE, None, n_paths, n_steps, 1.0, seed, correlation))
    return _path(law, shape, fraction, amplitude, duration, "stable_walks")


def _path(
    law: CauchyBorn, shape: Tensor, fraction: float, amplitude: float, duration: float, path_class: str
) -> LoadPath:
    """The paths of shapes (b, T, 3, 3) of ln U, whose largest norm is 1, at scales on which they are stable."""
    if not isinstance(law, CauchyBorn):
        raise TypeError(f"law: got {type(law).__name__}, wanted a CauchyBorn, whose stability can be tested")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: got {fraction}, wanted a part of the way to the first loss, in (0, 1]")
    for name, value in {"amplitude": amplitude, "duration": duration}.items():
        if not (value > 0 and torch.isfinite(torch.tensor(float(value)))):
            raise ValueError(f"{name}: got {value}, wanted a number > 0")
    shape = shape.to(law.device)
    if not _stable(law.testing("phonon"), torch.zeros_like(shape[:1, :1])).all():
        raise ValueError("law: got a crystal that is unstable as it is, wanted a stable one")
    scale = fraction * _critical(law.testing("phonon", _GRID, False), shape, amplitude / fraction)
    own = law.testing("phonon")
    left = torch.arange(len(shape), device=shape.device)
    for _ in range(_ATTEMPTS):
        left = left[~_stable(own, scale[left, None, None, None] * shape[left])]
        if not len(left):
            break
        scale[left] *= _BACK
    else:
        raise ValueError(f"law: found no stable state on {len(left)} of {len(shape)} paths, wanted a stable crystal")
    dt = torch.tensor(duration / shape.shape[1], dtype=torch.float64)
    target = _deformation(scale[:, None, None, None] * shape).flatten(-2)
    return LoadPath(Measure.FINITE, target, Measure.FINITE.components, dt=dt, path_class=path_class)


def _critical(law: CauchyBorn, shape: Tensor, largest: float) -> Tensor:
    """Scales (b,) at which paths (b, T, 3, 3) are known to be stable just below their first loss, at most largest."""
    low = shape.new_zeros(len(shape))
    high = torch.full_like(low, torch.inf)
    for e in torch.linspace(0, largest, _STEPS + 1, dtype=torch.float64)[1:].tolist():
        there = high.isinf().nonzero()[:, 0]
        if not len(there):
            break
        good = _stable(law, e * shape[there])
        low[there[good]], high[there[~good]] = e, e
    there = high.isfinite().nonzero()[:, 0]
    for _ in range(_HALVINGS if len(there) else 0):
        middle = 0.5 * (low + high)[there]
        good = _stable(law, middle[:, None, None, None] * shape[there])
        low[there[good]], high[there[~good]] = middle[good], middle[~good]
    return low


def _stable(law: CauchyBorn, h: Tensor) -> Tensor:
    """Whether all states ln U (b, T, 3, 3) of each path pass the tests of the law, (b,)."""
    strain = _deformation(h).flatten(-2)
    verdict = law(strain, law.initial_state(*strain.shape[:-1]), 1.0).verdict
    return (verdict == int(Verdict.GOOD)).all(1)


def _deformation(h: Tensor) -> Tensor:
    return exponential(h) + torch.eye(3, dtype=h.dtype, device=h.device)


def _log_stretch(path: LoadPath) -> Tensor:
    """The log stretch (b, T, 3, 3) of paths without rotation."""
    return logarithm(path.target.unflatten(-1, (3, 3)) - torch.eye(3, dtype=torch.float64))
