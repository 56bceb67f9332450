r"""Apparent properties: the stiffness of a cell of finite size, and the moduli read off it.

All moduli come from the apparent stiffness in Mandel notation in the driven components, C_IJ [MPa]; at finite strain
it is that of the reference state. ``shear`` and ``bulk`` are those of the nearest isotropic stiffness (Frobenius norm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from datagen.laws.law import Law, Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import MANDEL, ROW_MAJOR

_NAMES = Measure.SMALL.components
_ANTIPLANE, _PLANE = ("23", "13"), ("11", "22", "12")


class Apparent(NamedTuple):
    """What the samples of one size answer under one boundary condition."""

    stiffness: np.ndarray  # (m, k, k) Mandel [MPa], nan where there is no answer
    verdict: np.ndarray  # (m,) int, a `Verdict` for each


class Modulus(NamedTuple):
    """One number read off a stiffness.

    Attributes:
        name: how it is asked for.
        unit: "MPa" or "-".
        meaning: in words.
        of: from stiffness (..., k, k) to values (...).
        logarithm: whether it is the logarithm of a modulus, so that a difference is a relative error already.
    """

    name: str
    unit: str
    meaning: str
    of: Callable[[np.ndarray], np.ndarray]
    logarithm: bool = False


@torch.no_grad()
def apparent(cell: HomogenisedCell) -> Apparent:
    """Apparent stiffness of every sample of a cell's microstructure, at the reference and from the virgin state.

    Failure of one sample is nan with its verdict.
    """
    m = cell.microstructure.n_samples
    strain = cell.reference_strain().expand(m, -1).contiguous()
    sample = torch.arange(m, dtype=cell.dtype, device=cell.device)[:, None] if m > 1 else None
    step, saved = cell.linearise(strain, cell.initial_state(m), 1.0, sample)
    tangent = cell.dense(saved, cell.components).cpu().numpy()
    verdict = step.verdict.cpu().numpy().astype(int)
    stiffness = mandel(tangent, cell.measure, cell.components)
    unknown = (verdict >= FIRST_WITHOUT_ANSWER) | ~np.isfinite(stiffness).all((-2, -1))
    return Apparent(np.where(unknown[:, None, None], np.nan, stiffness), verdict)


def driven(law: Law) -> tuple[str, ...]:
    """Mandel components of the stiffness that a law's driven components span, in order.

    Raises:
        ValueError: no component of strain is driven as a whole (at finite strain 12 asks for 21).
    """
    names = tuple(
        c for c in _NAMES if c in law.components and (law.measure is Measure.SMALL or c[::-1] in law.components)
    )
    if not names:
        raise ValueError(f"components: got {', '.join(law.components)}, wanted some that make a strain, as 12 and 21")
    return names


def mandel(tangent: np.ndarray, measure: Measure, components: Sequence[str]) -> np.ndarray:
    """Stiffness (..., k, k) in Mandel notation of a dense tangent (..., n, n) at the reference, where F = 1.

    A small rotation changes no energy there, so dP/dF has the symmetries of a stiffness, C_ijkl.
    """
    names = [c for c in _NAMES if c in components and (measure is Measure.SMALL or c[::-1] in components)]
    if measure is Measure.SMALL:
        rows = [_NAMES.index(c) for c in names]
        return tangent[..., rows, :][..., rows]
    onto = np.zeros((9, len(names)))
    for column, name in enumerate(names):
        i, j = MANDEL[_NAMES.index(name)]
        for pair in {(i, j), (j, i)}:
            onto[ROW_MAJOR.index(pair), column] = 1.0 if i == j else math.sqrt(0.5)
    used = onto.any(1)
    return np.swapaxes(onto[used], 0, 1) @ tangent[..., used, :][..., used] @ onto[used]


def moduli(components: Sequence[str]) -> dict[str, Modulus]:
    """The moduli that a stiffness in these components has, by name; the first are those to look at by default.

    ``bulk`` and ``shear``: all six components, or the plane strain three; for antiplane shear (13, 23) ``shear`` and
    ``log_shear``, half the logarithm of det K with K the 2x2 matrix of shear moduli (K_ab = C_ab / 2 from Mandel
    notation), which is the logarithm of their geometric mean and what duality speaks of. Single entries ``C1122``;
    with all six components also Young's and shear moduli ``E11``, ``G12``, ...
    """
    names = tuple(components)
    found = [*_isotropic(names)]
    if names == _NAMES:
        found += [_young(c, k) for k, c in enumerate(names)]
    for a, first in enumerate(names):
        for b, second in enumerate(names[a:], a):
            scale = math.sqrt(2.0) ** ((first[0] != first[1]) + (second[0] != second[1]))
            meaning = f"{first}-{second} entry of the stiffness"
            found.append(Modulus(f"C{first}{second}", "MPa", meaning, _entry(a, b, scale)))
    return {modulus.name: modulus for modulus in found}


def default_moduli(components: Sequence[str]) -> tuple[str, ...]:
    """The names to look at by default: ``bulk`` and ``shear`` or what there is of their kind, else the diagonal."""
    found = [modulus.name for modulus in _isotropic(tuple(components))]
    return tuple(found) or tuple(f"C{c}{c}" for c in components)


def chosen(names: Sequence[str] | None, components: Sequence[str]) -> dict[str, Modulus]:
    """Moduli by name, the default ones for None.

    Raises:
        ValueError: a name that a stiffness in these components does not have.
    """
    known = moduli(components)
    names = default_moduli(components) if names is None else tuple(names)
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise ValueError(
            f"moduli: got {wrong[0] if wrong else 'none'}, wanted names among {', '.join(known)} "
            f"(the cell is driven in {', '.join(components)})"
        )
    return {name: known[name] for name in names}


@torch.no_grad()
def point_moments(
    cells: Microstructure,
    laws: Sequence[Law],
    modulus: Modulus,
    components: Sequence[str],
    fractions: np.ndarray | None = None,
) -> tuple[float, float]:
    """Mean and standard deviation of a modulus of the phase laws over the points of some cells; nan if it is infinite.

    The point variance D_Z^2 of the integral range: for two phases f (1 - f) (Z_1 - Z_0)^2.

    Args:
        cells: m samples.
        laws: one a phase, or one for all.
        modulus: what is read off the stiffness of a phase.
        components: of the stiffness.
        fractions: of the phases (n_phases,), where they are known better than from these cells. Grains with
            orientations are those of these cells all the same.
    """
    laws = list(laws) * (cells.n_phases if len(laws) == 1 else 1)
    if fractions is not None and cells.orientations is None:
        cells = Microstructure([[0]], cells.spacing)
        fractions = np.asarray(fractions)[None]
    else:
        fractions = cells.volume_fractions.cpu().numpy()
    values = np.empty_like(fractions)
    for p, law in enumerate(laws[: fractions.shape[1]]):
        own = dict(law.named_buffers()).get("orientation")
        if cells.orientations is not None and own is not None:
            law = law.with_buffers(orientation=cells.orientations[:, p].to(law.device) @ own)
        m = cells.n_samples
        tangent = (
            law.tangent(law.reference_strain().expand(m, -1).contiguous(), law.initial_state(m), 1.0).cpu().numpy()
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            values[:, p] = modulus.of(mandel(tangent, law.measure, _doubled(components, law.measure)))
    with np.errstate(invalid="ignore"):  # where a modulus is infinite
        mean = float((fractions * values).sum(1).mean())
        square = float((fractions * (values - mean) ** 2).sum(1).mean())
    return (mean, math.sqrt(square)) if math.isfinite(square) else (math.nan, math.nan)


def _doubled(components: Sequence[str], measure: Measure) -> tuple[str, ...]:
    return (
        tuple(components)
        if measure is Measure.SMALL
        else tuple(dict.fromkeys(c for n in components for c in (n, n[::-1])))
    )


def _isotropic(names: tuple[str, ...]) -> list[Modulus]:
    if names == _NAMES:
        return [
            Modulus("bulk", "MPa", "bulk modulus", lambda C: C[..., :3, :3].sum((-2, -1)) / 9),
            Modulus("shear", "MPa", "shear modulus", _shear),
        ]
    if names == _PLANE:
        return [
            Modulus("bulk", "MPa", "in-plane bulk modulus", lambda C: C[..., :2, :2].sum((-2, -1)) / 4),
            Modulus("shear", "MPa", "in-plane shear modulus", _plane_shear),
        ]
    if names == _ANTIPLANE:
        return [
            Modulus("shear", "MPa", "antiplane shear modulus", lambda C: C.diagonal(0, -2, -1).sum(-1) / 4),
            Modulus("log_shear", "-", "logarithm of the geometric mean shear modulus", _log_shear, logarithm=True),
        ]
    return []


def _shear(C: np.ndarray) -> np.ndarray:
    return (C.diagonal(0, -2, -1).sum(-1) - C[..., :3, :3].sum((-2, -1)) / 3) / 10


def _plane_shear(C: np.ndarray) -> np.ndarray:
    return ((C[..., 0, 0] + C[..., 1, 1] - 2 * C[..., 0, 1]) / 4 + C[..., 2, 2] / 2) / 2


def _log_shear(C: np.ndarray) -> np.ndarray:
    return 0.5 * np.log((C[..., 0, 0] * C[..., 1, 1] - C[..., 0, 1] * C[..., 1, 0]) / 4)


def _entry(a: int, b: int, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda C: C[..., a, b] / scale


def _young(name: str, k: int) -> Modulus:
    """1/S_kk of the compliance S = C^-1; of a shear in Mandel notation S = 1/(2 G)."""
    normal = name[0] == name[1]

    def value(C: np.ndarray) -> np.ndarray:
        known = np.isfinite(C).all((-2, -1))
        S = np.linalg.pinv(np.where(known[..., None, None], C, 0.0))[..., k, k]
        with np.errstate(divide="ignore"):
            return np.where(known, 1.0 / (S * (1.0 if normal else 2.0)), np.nan)

    meaning = f"Young's modulus along {name[0]}" if normal else f"shear modulus in the plane {name}"
    return Modulus(f"{'E' if normal else 'G'}{name}", "MPa", meaning, value)
