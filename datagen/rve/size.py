r"""How large must a cell be? Statistics of apparent properties over random cells of several sizes.

A modulus Z of cells of volume V has a mean and a standard deviation D(V). With the point variance D_Z^2 of the modulus
over the phases and the integral range A,

D^2(V) = D_Z^2 A / V    for V >> A,

and the mean of n independent cells has the relative error eps = 2 D(V) / (Z sqrt n) at 95 % confidence; hence the
number of cells for a wanted precision, n = (2 D / (eps Z))^2, and the volume at which one cell will do,
4 D_Z^2 A / (eps Z)^2.

Intervals are at 95 %, of means by Student's t, of variances by chi^2, both exact for normal samples.

Reference:
    T. Kanit, S. Forest, I. Galliet, V. Mounoury, D. Jeulin, Int. J. Solids Struct. 40 (2003) 3647,
    doi:10.1016/S0020-7683(03)00143-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

LEVEL = 0.95
NOISE = 1e-6  # a relative scatter below this is the tolerance of the solves, not the cells
KUBC, PERIODIC, SUBC = "linear_displacement", "periodic", "uniform_traction"

Values = Mapping[str, Mapping[int, np.ndarray]]
"""A modulus of each sample (m,), nan where it has no answer, by boundary and edge; sample i is the same cell in all."""


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % confidence interval."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Size:
    """Cells of one size.

    Attributes:
        edge: voxels along x.
        length: the same [mm].
        volume: [mm^3], or [mm^2] in two dimensions.
    """

    edge: int
    length: float
    volume: float


@dataclass(frozen=True)
class Estimate:
    """A modulus over the samples of one size under one boundary condition.

    Attributes:
        samples, failed: how many have an answer, and how many have none.
        mean: over the samples [unit of the modulus].
        deviation: standard deviation of one sample.
        scatter: 2 D / Z, the relative error of one sample at 95 %.
        cells: how many samples have a mean of the wanted precision; None where it is not known.
    """

    boundary: str
    size: Size
    samples: int
    failed: int
    mean: Interval
    deviation: Interval
    scatter: float
    cells: int | None


@dataclass(frozen=True)
class Scaling:
    """How the variance falls with volume, under one boundary condition.

    Attributes:
        coefficient: D_Z^2 A of D^2 = D_Z^2 A / V, the maximum-likelihood fit over all sizes.
        integral_range: A [mm^d], the point variance taken as known; nan where that is zero, infinite or not known.
        exponent: alpha of the free fit D^2 = c / V^alpha; 1 where the sizes are large enough for an integral range;
            nan where fewer than two sizes scatter by more than `NOISE`.
        length: x edge of a cell that alone has the wanted precision [mm], by the first fit.
        edge: the same in voxels; None where it is not known.
    """

    boundary: str
    coefficient: Interval
    integral_range: Interval
    exponent: Interval
    length: float
    edge: int | None


@dataclass(frozen=True)
class Gap:
    """(KUBC - SUBC) / Z on the same samples, Z the mean of the boundary condition that is judged."""

    size: Size
    relative: Interval


@dataclass(frozen=True)
class Finding:
    """All that is known of one modulus.

    Attributes:
        name, unit, meaning: of the modulus.
        precision: wanted relative precision.
        judged: the boundary condition that the verdict is about.
        estimates: by boundary, then size.
        scalings: by boundary.
        gaps: by size; empty unless both uniform boundary conditions were studied.
        drift: relative change of the mean from the last size but one to the last.
        representative: whether one cell will do at this precision, and from which edge on (None where none does).
        verdict: in words.
    """

    name: str
    unit: str
    meaning: str
    precision: float
    judged: str
    estimates: tuple[Estimate, ...]
    scalings: tuple[Scaling, ...]
    gaps: tuple[Gap, ...]
    drift: Interval
    representative: int | None
    verdict: str

    def of(self, boundary: str) -> list[Estimate]:
        """The estimates under one boundary condition."""
        return [e for e in self.estimates if e.boundary == boundary]


def find(
    name: str,
    values: Values,
    sizes: Sequence[Size],
    dimension: int,
    precision: float,
    point_deviation: float = math.nan,
    unit: str = "MPa",
    meaning: str = "",
    logarithm: bool = False,
) -> Finding:
    """Everything about one modulus.

    Args:
        name: of the modulus.
        values: of every sample by boundary and edge.
        sizes: of the cells, from small to large.
        dimension: number of axes along which the cells grow.
        precision: wanted relative precision, in (0, 1).
        point_deviation: D_Z, standard deviation of the modulus over the points of the phases.
        unit: of the modulus.
        meaning: of the modulus, in words.
        logarithm: whether the values are logarithms of a modulus: their differences are relative errors already.

    Raises:
        ValueError: a precision that is none.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sizes = [Size(n, float(n), float(n * n)) for n in (10, 20, 40)]
        >>> values = {"periodic": {s.edge: rng.normal(5.0, 2.0 / s.edge, 100) for s in sizes}}
        >>> found = find("shear", values, sizes, 2, precision=0.01, point_deviation=1.0)
        >>> print(found.verdict)  # doctest: +NORMALIZE_WHITESPACE
        statistical volume element at 1 % under periodic boundaries:
        average 6 cells of 40 voxels (this study has them), or enlarge to 82
        >>> print(f"A = {found.scalings[0].integral_range.value:.1f}")
        A = 4.2
    """
    check_precision(precision)
    judged = PERIODIC if PERIODIC in values else next(iter(values))
    estimates = tuple(
        estimate(values[boundary][size.edge], boundary, size, precision, logarithm)
        for boundary in values
        for size in sizes
    )
    by = {boundary: [e for e in estimates if e.boundary == boundary] for boundary in values}
    scalings = tuple(scaling(by[b], dimension, precision, point_deviation, logarithm) for b in values)
    gaps = tuple(gap(values, size, judged, logarithm) for size in sizes if {KUBC, SUBC} <= values.keys())
    drift = change(values[judged], sizes[-2].edge, sizes[-1].edge, logarithm) if len(sizes) > 1 else Interval(math.nan)
    first = _first(values[judged], by[judged], precision, logarithm)
    scale = scalings[list(values).index(judged)]
    verdict = _verdict(judged, by[judged], scale, gaps, drift, first, precision)
    return Finding(name, unit, meaning, precision, judged, estimates, scalings, gaps, drift, first, verdict)


def check_precision(precision: float) -> None:
    """Raise ValueError for what is no precision."""
    if isinstance(precision, bool) or not isinstance(precision, float | int) or not 0 < precision < 1:
        raise ValueError(f"precision: got {precision}, wanted a relative error in (0, 1), 0.01 for one per cent")


def estimate(values: np.ndarray, boundary: str, size: Size, precision: float, logarithm: bool = False) -> Estimate:
    """Mean with Student's interval, standard deviation with that of chi^2, and the number of cells wanted."""
    known = values[np.isfinite(values)]
    n, failed = len(known), len(values) - len(known)
    if n < 2:
        nothing = Interval(math.nan)
        return Estimate(boundary, size, n, failed, nothing, nothing, math.nan, None)
    mean, D, nu = float(known.mean()), float(known.std(ddof=1)), n - 1
    half = float(stats.t.ppf((1 + LEVEL) / 2, nu)) * D / math.sqrt(n)
    low, high = (D * math.sqrt(nu / float(stats.chi2.ppf(q, nu))) for q in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    scatter = _relative(2 * D, 1.0 if logarithm else abs(mean))
    cells = max(1, math.ceil((scatter / precision) ** 2 * (1 - 1e-12))) if math.isfinite(scatter) else None
    return Estimate(
        boundary, size, n, failed, Interval(mean, mean - half, mean + half), Interval(D, low, high), scatter, cells
    )


def scaling(
    estimates: Sequence[Estimate],
    dimension: int,
    precision: float,
    point_deviation: float = math.nan,
    logarithm: bool = False,
) -> Scaling:
    """Fit D^2 = D_Z^2 A / V, and D^2 = c / V^alpha, to the standard deviations of several sizes.

    The first is the likeliest for normal samples, sum of nu s^2 V over the sum of nu = n - 1, a chi^2 variable. The
    second is a line through ln s^2, whose own variance trigamma(nu/2) weighs it and gives the interval.
    """
    used = [e for e in estimates if e.samples > 1]
    nothing = Interval(math.nan)
    boundary = estimates[0].boundary
    if not used:
        return Scaling(boundary, nothing, nothing, nothing, math.nan, None)
    nu = np.array([e.samples - 1.0 for e in used])
    V = np.array([e.size.volume for e in used])
    s2 = np.array([e.deviation.value**2 for e in used])
    fit, total = float((nu * s2 * V).sum() / nu.sum()), float(nu.sum())
    low, high = (fit * total / float(stats.chi2.ppf(q, total)) for q in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    Z = 1.0 if logarithm else abs(used[-1].mean.value)
    points = point_deviation**2 if point_deviation > NOISE * Z else math.nan
    A = Interval(fit / points, low / points, high / points)
    size = used[-1].size
    ratio = _relative(4 * fit / size.volume, (precision * Z) ** 2) ** (1 / dimension)  # of edges
    edge = max(1, math.ceil(size.edge * ratio * (1 - 1e-12))) if math.isfinite(ratio) else None
    seen = s2 > (NOISE * Z) ** 2
    alpha = _exponent(V[seen], s2[seen], nu[seen])
    return Scaling(boundary, Interval(fit, low, high), A, alpha, size.length * ratio, edge)


def gap(values: Values, size: Size, judged: str, logarithm: bool = False) -> Gap:
    """Mean of (KUBC - SUBC) over the samples that have both, with Student's interval of the paired differences."""
    upper, lower = values[KUBC][size.edge], values[SUBC][size.edge]
    found = estimate(upper - lower, judged, size, 0.5).mean
    centre = values[judged][size.edge]
    known = centre[np.isfinite(centre)]
    Z = 1.0 if logarithm else abs(float(known.mean())) if len(known) else math.nan
    return Gap(size, Interval(*(_relative(x, Z) for x in (found.value, found.low, found.high))))


def change(values: Mapping[int, np.ndarray], first: int, last: int, logarithm: bool = False) -> Interval:
    """Relative change of the mean from one edge to another, with Welch's interval."""
    a, b = (values[edge][np.isfinite(values[edge])] for edge in (first, last))
    if min(len(a), len(b)) < 2:
        return Interval(math.nan)
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    difference, variance = float(b.mean() - a.mean()), sum(parts)
    if variance == 0:
        half = 0.0
    else:
        nu = variance**2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
        half = float(stats.t.ppf((1 + LEVEL) / 2, nu)) * math.sqrt(variance)
    Z = 1.0 if logarithm else abs(float(b.mean()))
    return Interval(*(_relative(x, Z) for x in (difference, difference - half, difference + half)))


def order_defect(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Smallest eigenvalue of upper - lower over |upper| (spectral), for stiffness (m, k, k); nan without an answer.

    Not negative where lower <= upper in the sense of Loewner, as SUBC <= periodic <= KUBC must be.
    """
    known = np.isfinite(lower).all((-2, -1)) & np.isfinite(upper).all((-2, -1))
    found = np.full(len(upper), np.nan)
    if known.any():
        difference = upper[known] - lower[known]
        symmetric = (difference + np.swapaxes(difference, -1, -2)) / 2
        size = np.linalg.norm(upper[known], 2, (-2, -1))
        found[known] = np.linalg.eigvalsh(symmetric)[:, 0] / np.where(size > 0, size, 1.0)
    return found


def _exponent(V: np.ndarray, s2: np.ndarray, nu: np.ndarray) -> Interval:
    """The exponent alpha of s^2 = c / V^alpha with its interval."""
    if len(V) < 2 or not (s2 > 0).all():
        return Interval(math.nan)
    y = np.log(s2) - special.digamma(nu / 2) + np.log(nu / 2)  # unbiased for ln D^2
    weight = 1 / special.polygamma(1, nu / 2)
    x = np.log(V) - (weight * np.log(V)).sum() / weight.sum()
    information = float((weight * x**2).sum())
    alpha = -float((weight * x * y).sum()) / information
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) / math.sqrt(information)
    return Interval(alpha, alpha - half, alpha + half)


def _relative(x: float, Z: float) -> float:
    return x / Z if Z > 0 else 0.0 if x == 0 else math.nan


def _first(
    values: Mapping[int, np.ndarray], estimates: Sequence[Estimate], precision: float, logarithm: bool
) -> int | None:
    """The smallest edge from which on one cell scatters by no more than the precision and the mean has settled.

    Settled: to the largest size (from the last but one to the largest, for the largest itself) the mean changes by no
    more than the precision, with the whole interval of that change.
    """
    edges = [e.size.edge for e in estimates]
    found = None
    for k in reversed(range(len(edges))):
        pair = (edges[k], edges[-1]) if k < len(edges) - 1 else (edges[k - 1], edges[k])
        moved = change(values, *pair, logarithm) if len(edges) > 1 else Interval(math.nan)
        if not (estimates[k].scatter <= precision and max(abs(moved.low), abs(moved.high)) <= precision):
            break
        found = edges[k]
    return found


def _verdict(
    judged: str,
    estimates: Sequence[Estimate],
    scale: Scaling,
    gaps: Sequence[Gap],
    drift: Interval,
    first: int | None,
    precision: float,
) -> str:
    """What to make of it, in one sentence."""
    last, percent = estimates[-1], f"{100 * precision:.3g} %"
    where = f"at {percent} under {judged.replace('_', ' ')} boundaries"
    if last.samples < 2:
        return f"no verdict {where}: {last.samples} of the {last.failed + last.samples} largest cells have an answer"
    if first is not None:
        apart = next((g.relative for g in gaps if g.size.edge == first), None)
        if apart is not None and max(abs(apart.low), abs(apart.high)) <= precision:
            where = f"at {percent} whatever the boundary condition"
        one = next(e for e in estimates if e.size.edge == first)
        most = one.scatter * _relative(one.deviation.high, one.deviation.value)
        tail = f" (from {one.samples} cells: scatter up to {100 * most:.2g} %)" if most > precision else ""
        tail += "" if apart is None else f"; there KUBC and SUBC differ by {_percent(apart.value)} %"
        return f"representative {where}: one cell of {first} voxels will do{tail}"
    sve = f"statistical volume element {where}"
    moved = f"{100 * drift.value:+.2g} +- {100 * drift.half:.2g} %"
    if drift.low > precision or drift.high < -precision:
        return f"{sve}: the mean still moves with size ({moved}), which no average takes away; enlarge the cell"
    if last.cells is not None and last.cells > 1:
        enough = " (this study has them)" if last.cells <= last.samples else ""
        larger = f", or enlarge to {scale.edge}" if scale.edge is not None and scale.edge > last.size.edge else ""
        return f"{sve}: average {last.cells} cells of {last.size.edge} voxels{enough}{larger}{_doubt(drift, precision)}"
    if len(estimates) < 2:
        return f"no verdict {where}: one size does not tell whether the mean moves with size; add another"
    return f"{sve}: one cell scatters little enough, but the mean may move with size ({moved}); add samples, or enlarge"


def _percent(x: float) -> str:
    return f"{100 * x:.2g}" if abs(x) > NOISE else "0"


def _doubt(drift: Interval, precision: float) -> str:
    """What an average of many cells may still hide: a mean that moves with the size of the cells."""
    if not math.isfinite(drift.half):
        return "; one size does not tell whether the mean moves with size"
    if max(abs(drift.low), abs(drift.high)) <= precision:
        return ""
    moved = f"{100 * drift.value:+.2g} +- {100 * drift.half:.2g} %"
    return f"; from the size before the mean changed by {moved}, too unsure to exclude a bias"
