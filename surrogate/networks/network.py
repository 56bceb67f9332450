"""The contract of a network: a law with scales and a domain of trust that are fitted to data."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from datagen.laws.law import Extra, Law, Measure, finite_verdict
from datagen.laws.verdict import Verdict
from surrogate.networks.domain import Domain
from surrogate.networks.features import cofactor_change, det_minus_one, green_strain, strain_components, volume_squared
from surrogate.networks.polynomial import PolynomialMap


class Network(Law):
    r"""A law with weights, one strain scale, one stress scale and a domain of trust.

    The energy scale is the product of the two scales: separate ones would break stress = d psi / d strain. What a
    network sees of the strain is the objective strain e, eps or E_green (Mandel, the components that can vary when
    only ``components`` are driven), so it is objective by construction. The domain of trust is a hull of the training
    strains; outside it, by more than ``margin``, an answer carries the verdict OUTSIDE_RANGE, and the extra
    ``distance`` says how far. The hull is taken in eps, or in (C - C^-1) / 4, which is ln U to second order and
    like ln U treats stretches of lambda and 1 / lambda alike, but needs no principal axes.

    A subclass hands ``measure`` and ``components`` on to this constructor, keeps every other constructor argument,
    JSON-able, as the attribute of the same name (so that `surrogate.law.save` can write it), and draws its weights
    from a generator of its own, so that it is the same for the same ``seed``. Weights and buffers are float64.

    Args:
        measure: "small" or "finite", what the strain is.
        components: strain components the network is made for, for example those of plane strain; default all.

    Raises:
        ValueError: an unknown measure or component.

    Reference:
        Z. P. Bazant, J. Eng. Mater. Technol. 120 (1998) 131, doi:10.1115/1.2807001 (strain with symmetric inverse).
    """

    margin = 0.01
    extras = {"distance": Extra((), "-", "how far outside the training range the strain lies, relative to it")}

    strain_scale: Tensor
    stress_scale: Tensor

    def __init__(self, measure: str | Measure, components: Sequence[str] | None = None) -> None:
        super().__init__()
        self.measure = _measure(measure)
        names = self.measure.components if components is None else tuple(str(name) for name in components)
        wanted = set(self.measure.columns(names))
        if not wanted:
            raise ValueError(f"components: got none, wanted names among {', '.join(self.measure.components)}")
        self.components = tuple(name for k, name in enumerate(self.measure.components) if k in wanted)
        self.strain_components = strain_components(self.measure, self.components)
        self.columns = self.measure.columns(self.components)
        self.domain = Domain(len(self.strain_components))
        self.register_buffer("strain_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("stress_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("_columns", torch.tensor(self.columns), persistent=False)
        self.register_buffer("_reference", self.measure.reference(), persistent=False)
        normal = [float(name[0] == name[1]) for name in self.strain_components]
        self.register_buffer("_normal", torch.tensor(normal, dtype=torch.float64), persistent=False)
        # Where each stress component stands among the driven ones; the others take the nan behind them.
        places = [self.columns.index(k) if k in wanted else len(self.columns) for k in range(self.measure.n)]
        self.register_buffer("_places", torch.tensor(places), persistent=False)
        if self.measure is Measure.FINITE:
            varying = Measure.SMALL.columns(self.strain_components)
            green = PolynomialMap([green_strain()[k].restricted(self.columns) for k in varying], len(self.columns))
            _, slope, curvature = green(torch.zeros(len(self.columns), dtype=torch.float64), True)
            self.register_buffer("_slope", slope, persistent=False)
            self.register_buffer("_curvature", curvature.movedim(-1, 0).flatten(1), persistent=False)
            self.determinant = PolynomialMap([det_minus_one().restricted(self.columns)], len(self.columns))
            inverse = [cofactor_change()[k] for k in varying] + [volume_squared()]
            self.inverse = PolynomialMap([p.restricted(varying) for p in inverse], len(varying))

    _columns: Tensor
    _reference: Tensor
    _normal: Tensor
    _slope: Tensor
    _curvature: Tensor
    _places: Tensor

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able: ``type(network)(**network.hyperparameters)`` has the same shape."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return {name: _jsonable(getattr(self, name)) for name in names}

    @torch.no_grad()
    def calibrate(self, strain: Tensor, stress: Tensor) -> None:
        """Fit the scales and the domain of trust to data, (N, n) each; rows that are not finite are left out.

        Raises:
            ValueError: other shapes, or data without strain or stress.
        """
        n = self.measure.n
        if strain.dim() != 2 or strain.shape[1] != n or stress.shape != strain.shape:
            raise ValueError(
                f"strain, stress: got shapes {tuple(strain.shape)} and {tuple(stress.shape)}, wanted (N, {n}) twice"
            )
        increment = self.increment(strain.to(self.strain_scale))
        driven_stress = stress.to(self.stress_scale)[:, self.columns]
        good = increment.isfinite().all(-1) & driven_stress.isfinite().all(-1)
        stress_scale = driven_stress[good].square().mean().sqrt()
        if not (good.any() and stress_scale > 0 and increment[good].any()):
            raise ValueError(f"strain, stress: got {int(good.sum())} finite rows, wanted strain and stress beyond zero")
        self.stress_scale.copy_(stress_scale)
        increment = increment[good]
        self.fit(self.objective_strain(increment)[0])

    def fit(self, e: Tensor) -> None:
        """What `calibrate` fits to the objective strain (N, m); a subclass with more to fit extends it."""
        self.strain_scale.copy_(e.square().mean().sqrt())
        self.domain.fit(self.range_strain(e))

    def increment(self, strain: Tensor) -> Tensor:
        """The driven components of strain less the reference strain, (*b, len(components))."""
        return (strain - self._reference)[..., self._columns]

    def objective_strain(self, increment: Tensor) -> tuple[Tensor, Tensor | None]:
        """Strain e (*b, m) and d e / d strain (*b, m, len(components)) from the increment; None: the identity."""
        if self.measure is Measure.SMALL:
            return increment, None
        B = self._slope + self.slope_change(increment)
        return 0.5 * ((self._slope + B) * increment[..., None, :]).sum(-1), B  # E_green is quadratic in F

    def slope_change(self, increment: Tensor) -> Tensor:
        """Change of d E_green / d F (*b, m, len(components)), linear in ``increment``."""
        return (increment @ self._curvature).unflatten(-1, self._slope.shape)

    def range_strain(self, e: Tensor) -> Tensor:
        """The strain (*b, m) in which the domain of trust is a hull: eps, or (C - C^-1) / 4."""
        if self.measure is Measure.SMALL:
            return e
        change = self.inverse(e)[0]
        volume = change[..., -1:]
        # C - C^-1 = 2 E - (C^-1 - 1), and C^-1 - 1 = (cof C - 1 - (det C - 1) 1) / det C, without cancellation.
        return 0.5 * e - 0.25 * (change[..., :-1] - volume * self._normal) / (1 + volume)

    def judge(self, increment: Tensor, inverted: Tensor | None, distance: Tensor) -> Tensor:
        """Verdict (*b,): NOT_FINITE, INVERTED, OUTSIDE_RANGE or GOOD."""
        verdict = finite_verdict(increment, inverted, Verdict.INVERTED)
        outside = (distance > self.margin) & (verdict == int(Verdict.GOOD))
        return torch.where(outside, int(Verdict.OUTSIDE_RANGE), verdict).to(torch.int8)

    def spread(self, driven: Tensor) -> Tensor:
        """Driven stress components (*b, len(components)) to all (*b, n); the others are nan."""
        if len(self.columns) == self.measure.n:
            return driven
        return torch.cat([driven, torch.full_like(driven[..., :1], torch.nan)], -1)[..., self._places]


def _measure(measure: str | Measure) -> Measure:
    try:
        return Measure(measure)
    except ValueError:
        raise ValueError(f"measure: got {measure!r}, wanted {' or '.join(repr(m.value) for m in Measure)}") from None


def _jsonable(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
