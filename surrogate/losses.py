r"""The energy-consistent loss, term by term.

L = w_s |s - s^|^2 + w_psi |psi - psi^|^2 + w_W |dW - dW^|^2 + w_D |dD - dD^|^2 + w_C |C V - C^ V|^2

with the trapezoidal work dW = 1/2 (s_0 + s_1) . (e_1 - e_0) of a step and unit directions V drawn once per point. Each
term is the mean over all steps of all paths, divided by the variance of that quantity in the training data, so that a
weight means the same at 1 % strain and at 100 %. Only driven components enter.

A term is a function (answer, strain, columns) -> quantity, (N, T) or (N, T, k), applied to the recorded answer and to
the network's. `TERMS` names them; add to it to have more.

Data with standard errors, as from a thermal cell, are weighted by them: a square is multiplied by m / (m + e^2), with
e the error of the recorded quantity and m the mean of e^2 in the training data, and the mean is the weighted one. Where
errors are equal that changes nothing; beyond the usual error the weight is that of least squares, 1 / e^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Step
from surrogate.data import Answer, Dataset, Records

Term = Callable[[Answer, Tensor, Sequence[int]], Tensor | None]


def stress(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor:
    """Stress in the driven components, (N, T, k) [MPa]."""
    return answer.stress[..., columns]


def psi(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor:
    """Stored energy density, (N, T) [MPa]."""
    return answer.psi


def work(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor:
    """Trapezoidal work 1/2 (s_0 + s_1) . (e_1 - e_0) of each step, (N, T) [MPa]; the first starts stress-free.

    Args:
        answer: what a law answered at the ends of the steps.
        strain: (N, T + 1, n), the reference state first.
        columns: the driven components.
    """
    s = answer.stress[..., columns]
    before = torch.cat([torch.zeros_like(s[:, :1]), s[:, :-1]], 1)
    return (0.5 * (before + s) * strain[..., columns].diff(dim=1)).sum(-1)


def dissipation(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor:
    """Energy dissipated within each step, (N, T) [MPa]."""
    return answer.dissipation


def tangent(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor | None:
    """Tangent times a random direction, in the driven components, (N, T, k) [MPa]."""
    return None if answer.tangent is None else answer.tangent[..., columns]


TERMS: dict[str, Term] = {
    "stress": stress, "psi": psi, "work": work, "dissipation": dissipation, "tangent": tangent,
}  # fmt: skip
"""The terms by the name that `EnergyLoss` takes them under."""


def _stress_square(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor | None:
    return None if answer.stress_error is None else answer.stress_error[..., columns] ** 2


def _psi_square(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor | None:
    return None if answer.psi_error is None else answer.psi_error**2


def _work_square(answer: Answer, strain: Tensor, columns: Sequence[int]) -> Tensor | None:
    """That of `work`, the errors at the two ends of a step taken as independent."""
    square = _stress_square(answer, strain, columns)
    if square is None:
        return None
    before = torch.cat([torch.zeros_like(square[:, :1]), square[:, :-1]], 1)
    return (0.25 * (before + square) * strain[..., columns].diff(dim=1) ** 2).sum(-1)


SQUARED_ERRORS: dict[str, Term] = {"stress": _stress_square, "psi": _psi_square, "work": _work_square}
"""Squared standard errors of the terms that may have them, in the shape of the term; None where there are none."""


class EnergyLoss:
    """Weighted sum of `TERMS`, each divided by its own variance in the training data.

    Targets that are nan (psi or dissipation that nobody knows) are left out of their term.

    Args:
        weights: weight of each term by name, >= 0; terms that are not named do not enter.

    Raises:
        ValueError: a name that is no term, a negative weight, or no positive one.

    Example:
        >>> EnergyLoss(stress=1.0, psi=0.5).weights
        {'stress': 1.0, 'psi': 0.5}
    """

    def __init__(self, **weights: float) -> None:
        for name, weight in weights.items():
            if name not in TERMS:
                raise ValueError(f"loss: got the term {name!r}, wanted one of {', '.join(TERMS)}")
            if not weight >= 0:
                raise ValueError(f"loss: {name} has weight {weight}, wanted >= 0")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ValueError("loss: no term has a weight > 0")
        self.variance: dict[str, float] = {}
        self.usual: dict[str, float] = {}  # mean squared error of the terms that have one
        self.columns: list[int] = []

    def fit(self, data: Dataset) -> EnergyLoss:
        """Take the variances from the training data; needed before the first call. Returns itself.

        A quantity that does not vary in the data, as the dissipation of an elastic law, is measured by the variance
        of the stored energy, or of the work where that is not known.
        """
        r, self.columns = data.records, data.columns
        spread = {name: _variance(term(r.answer, r.strain, self.columns)) for name, term in TERMS.items()}
        if not spread["stress"] > 0:
            raise ValueError("loss: the stress is the same at every training point; there is nothing to learn")
        if "tangent" in self.weights and r.answer.tangent is None:
            raise ValueError("loss: the tangent term has a weight, but the data hold no tangents")
        energy = spread["psi"] if spread["psi"] > 0 else spread["work"]
        self.variance = {name: v if v > 1e-12 * energy else energy for name, v in spread.items()}
        for name in ("stress", "tangent"):
            self.variance[name] = spread[name]
        squares = {name: square(r.answer, r.strain, self.columns) for name, square in SQUARED_ERRORS.items()}
        self.usual = {name: float(x.mean()) for name, x in squares.items() if x is not None and bool((x > 0).any())}
        return self

    def __call__(self, answer: Answer, records: Records) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and every term before it is weighted, (): relative mean squares, 1 for predicting the mean."""
        parts = {}
        for name in self.weights:
            wanted = TERMS[name](records.answer, records.strain, self.columns)
            got = TERMS[name](answer, records.strain, self.columns)
            if wanted is None or got is None:
                raise ValueError(f"loss: {name} is missing in the {'data' if wanted is None else 'answer'}")
            known = wanted.isfinite()
            miss = torch.where(known, got - torch.where(known, wanted, 0.0), 0.0) ** 2
            weight = known.to(miss)
            square = SQUARED_ERRORS[name](records.answer, records.strain, self.columns) if name in self.usual else None
            if square is not None:
                weight = weight * (self.usual[name] / (self.usual[name] + square))
            points = weight.flatten(2).mean(-1).sum() if weight.dim() > 2 else weight.sum()
            parts[name] = (weight * miss).sum() / (torch.where(points > 0, points, 1.0) * self.variance[name])
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return total, parts


def _variance(x: Tensor | None) -> float:
    """Variance over all known points, summed over components; 0 where nothing is known."""
    if x is None:
        return 0.0
    x = x.flatten(0, 1)
    x = x[x.isfinite().flatten(1).all(1)] if x.dim() > 1 else x[x.isfinite()]
    return float(((x - x.mean(0)) ** 2).sum() / len(x)) if len(x) else 0.0


def rollout(law: Law, records: Records, tangent: bool = False) -> tuple[Step, Tensor | None]:
    """A law along recorded strain paths, from its initial state.

    A law without state takes all points of all paths in one call; others go step by step and carry their state.

    Args:
        law: any law of the records' measure; differentiable with respect to its weights if its `forward` is.
        records: the paths.
        tangent: also apply the tangent to the records' directions.

    Returns:
        The step with batch axes (N, T), its state that of the last step alone, (N, n_state); and the tangent times
        the directions, (N, T, n), or None.
    """
    N, T = records.dt.shape
    strain = records.strain[:, 1:]
    parameters = records.parameters if law.parameter_names else None
    if law.n_state == 0:
        every = None if parameters is None else parameters[:, None].expand(N, T, -1)
        return _respond(law, strain, law.initial_state(N, T), records.dt, every, records.direction if tangent else None)

    state, steps, products = law.initial_state(N), [], []
    for k in range(T):
        direction = records.direction[:, k] if tangent else None
        step, product = _respond(law, strain[:, k], state, records.dt[:, k], parameters, direction)
        state = step.state
        steps.append(step)
        products.append(product)
    psi, stress, dissipation, verdict = (
        torch.stack([getattr(step, name) for step in steps], 1) for name in ("psi", "stress", "dissipation", "verdict")
    )
    extras = {name: torch.stack([step.extras[name] for step in steps], 1) for name in steps[0].extras}
    known = [x for x in products if x is not None]
    return Step(psi, stress, dissipation, state, verdict, extras), torch.stack(known, 1) if known else None


def _respond(
    law: Law, strain: Tensor, state: Tensor, dt: Tensor, parameters: Tensor | None, direction: Tensor | None
) -> tuple[Step, Tensor | None]:
    if direction is None:
        return law(strain, state, dt, parameters), None
    step, saved = law.linearise(strain, state, dt, parameters)
    return step, law.apply_tangent(saved, direction)


def respond(law: Law, records: Records, tangent: bool = False) -> Answer:
    """What a law answers along recorded strain paths: `rollout` in the form that the terms take."""
    step, product = rollout(law, records, tangent)
    return Answer(step.psi, step.stress, step.dissipation, product)
