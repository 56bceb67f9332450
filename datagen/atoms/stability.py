"""How far a perfect crystal holds: elastic stability and phonons along deformation paths.

Either test alone misses cases: ellipticity knows waves of no length only, a grid of wave vectors none that are longer
than it is coarse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.laws.law import Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER

Path = Callable[[Tensor], Tensor]
"""Deformation gradients F(e) (T, 3, 3) of amplitudes e (T,), F(0) = I."""

_BLOCK = 5  # amplitudes that are asked together on the way to the first loss


class Stability(NamedTuple):
    """What the tests say of a batch of deformations; nan without an answer."""

    verdict: Tensor  # (*b,) int8
    acoustic_eigenvalue: Tensor  # (*b,) [MPa] lowest over all directions
    normal: Tensor  # (*b, 3) where it is found
    frequency_squared: Tensor  # (*b,) [1/ps^2] of the softest phonon
    wave_vector: Tensor  # (*b, 3) of it, in reduced coordinates of the crystal's cell

    @property
    def stable(self) -> Tensor:
        """Whether both tests are passed, (*b,)."""
        return (self.acoustic_eigenvalue > 0) & (self.frequency_squared > 0)


class Loss(NamedTuple):
    """Where a path loses stability."""

    e: float  # smallest amplitude known to be unstable
    where: Tensor  # (3,) normal, or wave vector in reduced coordinates
    F: Tensor  # (3, 3)
    stress: Tensor  # (3, 3) first Piola-Kirchhoff [MPa]
    psi: float  # [MPa]


class Critical(NamedTuple):
    """First losses of stability along a path, each kind apart; None where there is none as far as ``reached``."""

    elastic: Loss | None
    phonon: Loss | None
    reached: float  # largest amplitude that was asked and has an answer

    @property
    def e(self) -> float:
        """The smaller of the two amplitudes, inf where there is none."""
        return min((loss.e for loss in (self.elastic, self.phonon) if loss is not None), default=math.inf)


class Region(NamedTuple):
    """Tests along some paths, for a plot: p paths, T amplitudes."""

    paths: tuple[str, ...]
    e: Tensor  # (T,)
    stability: Stability  # (p, T, ...)
    psi: Tensor  # (p, T) [MPa]
    stress: Tensor  # (p, T, 3, 3) [MPa]


def assess(law: CauchyBorn, F: Tensor, grid: int | None = None, refine: bool | None = None) -> Stability:
    """Both tests of stability at deformations F (*b, 3, 3).

    Args:
        law: the crystal.
        F: deformation gradients.
        grid: n of the n x n x n wave vectors; default the law's.
        refine: whether to search between them; default the law's.

    >>> from datagen.atoms.crystals import fcc
    >>> from datagen.atoms.lennard_jones import LennardJones
    >>> argon = CauchyBorn(LennardJones(0.0104, 3.405, 8.5125), fcc(5.27, "Ar"))
    >>> F = torch.diag_embed(torch.tensor([[1.0, 1.0, 1.0], [1.2, 1.2, 1.2]], dtype=torch.float64))
    >>> assess(argon, F).stable.tolist()
    [True, False]
    """
    return _stability(_ask(law.testing("phonon", grid, refine), F))


def critical(
    law: CauchyBorn,
    path: str | Path,
    e_max: float,
    steps: int = 40,
    tolerance: float = 1e-5,
    grid: int | None = None,
    refine: bool | None = None,
) -> Critical:
    """First loss of elastic stability and first unstable phonon along a path F(e), 0 < e <= e_max.

    The path is asked at ``steps`` equal steps; the first that is unstable is then bisected. A loss that comes and goes
    within a step is missed.

    Args:
        law: the crystal.
        path: F(e), or the name of one of `PATHS`.
        e_max: how far.
        steps: of the first search.
        tolerance: of the critical amplitude.
        grid: see `assess`.
        refine: see `assess`.

    Raises:
        ValueError: a path of no such name; e_max, steps or tolerance not positive.
    """
    for name, number in {"e_max": e_max, "steps": steps, "tolerance": tolerance}.items():
        if not number > 0:
            raise ValueError(f"{name}: got {number}, wanted more than 0")
    F = named(path)
    amplitudes = torch.linspace(0, e_max, steps + 1, dtype=torch.float64)[1:]
    losses, reached = [], []
    for test, value, where in (
        ("elastic", "acoustic_eigenvalue", "normal"),
        ("phonon", "frequency_squared", "wave_vector"),
    ):
        asked = law.testing(test, grid, refine)
        bracket, far = _first(asked, F, amplitudes, value)
        losses.append(None if bracket is None else _bisected(asked, F, *bracket, tolerance, value, where))
        reached.append(far)
    return Critical(losses[0], losses[1], max(reached))


def region(
    law: CauchyBorn, paths: Sequence[str], e: Tensor, grid: int | None = None, refine: bool | None = None
) -> Region:
    """Both tests at amplitudes e (T,) of some of the named paths."""
    F = torch.stack([named(path)(e) for path in paths])
    step = _ask(law.testing("phonon", grid, refine), F)
    return Region(tuple(paths), e, _stability(step), step.psi, step.stress.unflatten(-1, (3, 3)))


def uniaxial_100(e: Tensor) -> Tensor:
    """diag(1 + e, 1, 1)."""
    return _simple(e, [1, 0, 0], [1, 0, 0])


def shear_111_112(e: Tensor) -> Tensor:
    """I + e m (x) n, m = [1 1 -2]/sqrt(6), n = [1 1 1]/sqrt(3)."""
    return _simple(e, [1, 1, -2], [1, 1, 1])


def shear_001_100(e: Tensor) -> Tensor:
    """I + e e1 (x) e3."""
    return _simple(e, [1, 0, 0], [0, 0, 1])


def hydrostatic(e: Tensor) -> Tensor:
    """(1 + e) I."""
    one = torch.eye(3, dtype=e.dtype, device=e.device)
    return one + e[..., None, None] * one


PATHS: dict[str, Path] = {
    "uniax100": uniaxial_100,
    "shear_111_112": shear_111_112,
    "shear_001_100": shear_001_100,
    "hydro": hydrostatic,
}
"""Paths by name, axes along those of the cube."""


def named(path: str | Path) -> Path:
    """The path of a name; raises ValueError for one there is not."""
    if callable(path):
        return path
    if path not in PATHS:
        raise ValueError(f"path: got {path!r}, wanted a function F(e) or one of {', '.join(PATHS)}")
    return PATHS[path]


def _simple(e: Tensor, along: list[float], normal: list[float]) -> Tensor:
    """I + e m (x) n with unit vectors m and n."""
    m, n = (torch.tensor(v, dtype=e.dtype, device=e.device) for v in (along, normal))
    dyad = torch.outer(m / m.norm(), n / n.norm())
    return torch.eye(3, dtype=e.dtype, device=e.device) + e[..., None, None] * dyad


def _ask(law: CauchyBorn, F: Tensor) -> Step:
    strain = F.flatten(-2)
    return law(strain, law.initial_state(*strain.shape[:-1]), 1.0)


def _stability(step: Step) -> Stability:
    return Stability(step.verdict, **{name: step.extras[name] for name in Stability._fields[1:]})


def _first(law: CauchyBorn, F: Path, amplitudes: Tensor, value: str) -> tuple[tuple[float, float] | None, float]:
    """The step (stable e, unstable e) of the first loss, or None, and the largest amplitude with an answer."""
    before = 0.0
    for block in amplitudes.split(_BLOCK):
        step = _ask(law, F(block))
        for e, number, verdict in zip(block.tolist(), step.extras[value].tolist(), step.verdict.tolist(), strict=True):
            if verdict >= FIRST_WITHOUT_ANSWER:
                return None, before
            if number <= 0:
                return (before, e), e
            before = e
    return None, before


def _bisected(law: CauchyBorn, F: Path, low: float, high: float, tolerance: float, value: str, where: str) -> Loss:
    def at(e: float) -> Step:
        return _ask(law, F(torch.tensor([e], dtype=torch.float64)))

    step = at(high)
    while high - low > tolerance:
        middle = at(0.5 * (low + high))
        if bool(middle.extras[value] > 0):
            low = 0.5 * (low + high)
        else:
            high, step = 0.5 * (low + high), middle
    unstable = F(torch.tensor([high], dtype=torch.float64))[0]
    return Loss(high, step.extras[where][0], unstable, step.stress[0].unflatten(0, (3, 3)), float(step.psi))
