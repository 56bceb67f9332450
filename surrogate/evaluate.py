"""How well a law answers along recorded paths: errors by path class, in and out of its range, and exactness.

The numbers of DESIGN: the error of a path is |s - s^| / |s|, L2 over all steps and driven components, and over paths
the median and the 95th percentile are told. psi, cumulative work and cumulative dissipation are the largest deviation
along a path over the path's largest absolute value. The error of a point divides by max(|s|, 0.1 rms of the test set).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Law, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from surrogate.data import Answer, Dataset, Records, Source
from surrogate.exactness import (
    closed_loop_work,
    objectivity,
    reference_state,
    stress_is_energy_gradient,
    tangent_is_stress_derivative,
)
from surrogate.losses import rollout, work


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile of a relative error; None where there is nothing to compare."""

    median: float | None
    p95: float | None


@dataclass(frozen=True)
class Errors:
    """Relative errors over a group of paths.

    Attributes:
        paths: how many paths the group has.
        failed: how many of them the law gave no answer for, at one step or more; they do not enter the errors.
        stress, psi, work, dissipation: over paths.
        points: stress error over all points.
    """

    paths: int
    failed: int
    stress: Spread
    psi: Spread
    work: Spread
    dissipation: Spread
    points: Spread


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        classes: errors by path class, and "all" of them.
        in_range, out_of_range: the same for the paths that stay in the law's range, and those that leave it.
        exactness: the checks of `surrogate.exactness` by name; None where one makes no sense for the law.
        path_errors: stress error of every path by class, for plots.
    """

    classes: dict[str, Errors]
    in_range: dict[str, Errors]
    out_of_range: dict[str, Errors]
    exactness: dict[str, float | None]
    path_errors: dict[str, list[float]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as a dictionary that JSON takes; what is not a number is None."""
        return json_able(asdict(self))

    def summary(self) -> dict[str, dict[str, list[float | None]]]:
        """Median and 95th percentile by path class and quantity."""
        names = ("stress", "psi", "work", "dissipation")
        pairs = {c: {name: getattr(e, name) for name in names} for c, e in self.classes.items()}
        return {c: {name: [x.median, x.p95] for name, x in group.items()} for c, group in pairs.items()}

    def table(self) -> list[list[str]]:
        """Rows for a terminal of 80 columns, the heading first: errors as median / 95th percentile."""
        rows = [["paths", "number", "stress", "energy", "work", "dissipation"]]
        groups = {"": self.classes}
        if any(e.paths for e in self.out_of_range.values()):
            groups = {"in range": self.in_range, "outside": self.out_of_range}
        for label, group in groups.items():
            for name, e in group.items():
                if e.paths:
                    failed = f" ({e.failed} failed)" if e.failed else ""
                    spreads = [_percent(x) for x in (e.stress, e.psi, e.work, e.dissipation)]
                    rows.append([f"{name} {label}".strip(), f"{e.paths}{failed}", *spreads])
        return rows

    def exactness_table(self) -> list[list[str]]:
        """Rows for a terminal, the heading first: every check with its relative error."""
        told = {name.replace("_", " "): x for name, x in self.exactness.items()}
        return [["check", "error"], *([name, "-" if x is None else f"{x:.1e}"] for name, x in told.items())]


def evaluate(
    law: Law,
    source: Source | Dataset,
    classes: Sequence[str] | None = None,
    exactness: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Compare a law with recorded paths.

    Args:
        law: any law: a trained network, or one of the others.
        source: a store, its folder, a `Record`, several of them or a dictionary of arrays (`Dataset.read`).
        classes: only the paths of these classes; default all.
        exactness: whether to run the exactness checks too, on up to 32 points of the paths.
        seed: for the random rotations, loops and the choice of points.

    Raises:
        ValueError: a law and data that cannot be compared (measure, components, parameters), or a class the data do
            not have.

    Example:
        >>> import torch
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from datagen.paths.drive import drive
        >>> from datagen.paths.path import LoadPath
        >>> path = LoadPath.along("finite", strain={"11": torch.linspace(1.1, 1.5, 5, dtype=torch.float64)})
        >>> record = drive(NeoHooke(mu=1.0, lmbda=10.0), path)
        >>> evaluation = evaluate(NeoHooke(mu=1.0, lmbda=10.1), record)
        >>> evaluation.table()[1][:4]
        ['path', '1', '0.78 / 0.78 %', '0.79 / 0.79 %']
        >>> evaluation.exactness["closed_loop_work"] < 1e-12
        True
    """
    data = Dataset.read(source, seed)
    data = (data if classes is None else data.of(classes)).to(law.device)
    data.check(law)
    with torch.no_grad():
        step = _in_portions(law, data.records)
    one = _PathErrors(data, step)
    groups = {name: data.path_class == name for name in data.classes}
    if len(groups) != 1:
        groups["all"] = np.full(len(data.path_class), True)
    return Evaluation(
        classes={name: one.over(rows) for name, rows in groups.items()},
        in_range={name: one.over(rows & ~one.outside) for name, rows in groups.items()},
        out_of_range={name: one.over(rows & one.outside) for name, rows in groups.items()},
        exactness=check_exactness(law, data, seed) if exactness else {},
        path_errors={name: one.stress[rows].tolist() for name, rows in groups.items()},
    )


def check_exactness(law: Law, data: Dataset, seed: int = 0, points: int = 32) -> dict[str, float | None]:
    """The checks of `surrogate.exactness` on some of these paths, by name.

    Args:
        law: any law that fits the data.
        data: whose strains are used: for a law without history ``points`` of them at random, for others the last
            step of up to 8 paths, with the state that the path led to.
        seed: for the choice of points, the rotations and the loops.
        points: how many points.
    """
    r = data.records
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(r.n_paths, generator=generator)[:8].to(r.strain.device)
    some = r.pick(rows)
    parameters = some.parameters if law.parameter_names else None
    turning = objectivity(law, some.strain[:, 1:], some.dt, parameters, seed)
    if law.n_history:
        before = some._replace(strain=some.strain[:, :-1], dt=some.dt[:, :-1], direction=some.direction[:, :-1])
        with torch.no_grad():
            state = rollout(law, before)[0].state if before.dt.shape[1] else law.initial_state(len(rows))
        strain, dt, where = some.strain[:, -1], some.dt[:, -1], parameters
    else:
        flat = r.strain[:, 1:].flatten(0, 1)
        chosen = torch.randperm(len(flat), generator=generator)[:points].to(flat.device)
        strain, dt, state = flat[chosen], torch.ones(len(chosen)).to(flat), None
        where = r.parameters[chosen // r.dt.shape[1]] if law.parameter_names else None
    increment = r.strain[:, 1:] - law.reference_strain()
    amplitude = float(increment.square().sum(-1).mean().sqrt())
    first = None if parameters is None else parameters[0]
    return {
        "objectivity": turning,
        "reference_state": reference_state(law, parameters),
        "stress_is_energy_gradient": stress_is_energy_gradient(law, strain, where),
        "tangent_is_stress_derivative": tangent_is_stress_derivative(law, strain, state, dt, where),
        "closed_loop_work": closed_loop_work(law, amplitude, parameters=first, seed=seed),
    }


class _PathErrors:
    """The errors of every path, and what they are over groups of them."""

    def __init__(self, data: Dataset, step: Step) -> None:
        r, columns = data.records, data.columns
        want, got = r.answer, Answer(step.psi, step.stress, step.dissipation, None)
        s, miss = want.stress[..., columns], (got.stress - want.stress)[..., columns]
        zero = s.square().sum((1, 2)).sqrt() == 0
        self.stress = _numpy(
            torch.where(zero, torch.nan, miss.square().sum((1, 2)).sqrt() / s.square().sum((1, 2)).sqrt())
        )
        peak = want.psi.abs().amax(1)
        self.psi = _deviation(got.psi, want.psi)
        self.work = _deviation(*(work(x, r.strain, columns).cumsum(1) for x in (got, want)))
        # A path that dissipates nothing has no peak: one millionth of its stored energy counts as nothing.
        self.dissipation = _deviation(got.dissipation.cumsum(1), want.dissipation.cumsum(1), 1e-6 * peak.nan_to_num())
        size = s.square().sum(-1).sqrt()
        floor = 0.1 * size.square().mean().sqrt()
        self.points = _numpy(miss.square().sum(-1).sqrt() / size.clamp(min=floor))
        self.failed = _numpy((step.verdict >= FIRST_WITHOUT_ANSWER).any(1))
        outside = step.verdict == int(Verdict.OUTSIDE_RANGE)
        self.outside = _numpy(outside.any(1)) & ~self.failed

    def over(self, rows: np.ndarray) -> Errors:
        """The errors over the paths where ``rows`` is true."""
        good = rows & ~self.failed
        return Errors(
            paths=int(rows.sum()),
            failed=int((rows & self.failed).sum()),
            stress=_spread(self.stress[good]),
            psi=_spread(self.psi[good]),
            work=_spread(self.work[good]),
            dissipation=_spread(self.dissipation[good]),
            points=_spread(self.points[good].ravel()),
        )


def _in_portions(law: Law, records: Records, points: int = 65536) -> Step:
    """`rollout` for so many points at a time that the memory of a network's layers stays small; no state, no extras."""
    size = max(1, points // records.dt.shape[1])
    portions = torch.arange(records.n_paths, device=records.dt.device).split(size)
    steps = [rollout(law, records.pick(rows))[0] for rows in portions]
    psi, stress, dissipation = (torch.cat([getattr(s, x) for s in steps]) for x in ("psi", "stress", "dissipation"))
    return Step(psi, stress, dissipation, psi.new_empty(0), torch.cat([s.verdict for s in steps]), {})


def _deviation(got: Tensor, want: Tensor, least: Tensor | float = 0.0) -> np.ndarray:
    """Largest |got - want| along each path over its largest |want|, (N,); nan where want is not known or vanishes."""
    size = want.abs().amax(1)
    size = torch.maximum(size, torch.as_tensor(least).to(size))
    return _numpy(torch.where(size > 0, (got - want).abs().amax(1) / size, torch.nan))


def _numpy(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()


def _spread(x: np.ndarray) -> Spread:
    x = x[np.isfinite(x)]
    return Spread(float(np.median(x)), float(np.quantile(x, 0.95))) if len(x) else Spread(None, None)


def _percent(spread: Spread) -> str:
    """Two significant digits as people read them."""
    if spread.median is None or spread.p95 is None:
        return "-"
    return " / ".join(f"{100 * x:.2g}" if x else "0" for x in (spread.median, spread.p95)) + " %"


def json_able(x: Any) -> Any:
    """The same with None for every number that is not finite: JSON knows no nan."""
    if isinstance(x, dict):
        return {name: json_able(value) for name, value in x.items()}
    if isinstance(x, list):
        return [json_able(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
