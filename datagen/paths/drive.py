"""Run any law along any load path, by strain, by stress or by both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from datagen.laws.ellipticity import in_plane, lowest_acoustic_eigenvalue
from datagen.laws.law import Law, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.paths.mixed_control import MixedStep
from datagen.paths.path import LoadPath


@dataclass(frozen=True, eq=False)
class Record:
    """What a law answered along a batch of paths. b members, T steps, n components; nan where there is no answer."""

    path: LoadPath
    strain: Tensor  # (b, T, n) at the end of each step; where a member fails, the strain at which it did
    stress: Tensor  # (b, T, n) [MPa]
    psi: Tensor  # (b, T) stored energy density at the end of each step [MPa]
    dissipation: Tensor  # (b, T) within each step [MPa]
    verdict: Tensor  # (b, T) int8; a member without an answer keeps its verdict
    extras: dict[str, Tensor]  # (b, T, ...) as declared in `Law.extras`
    tangent: Tensor | None  # (b, T, n, n) [MPa], columns that are not driven are zero
    state: Tensor  # (b, n_history) at the end of the path

    @property
    def good(self) -> Tensor:
        """Members with an answer at every step, (b,)."""
        return (self.verdict < FIRST_WITHOUT_ANSWER).all(1)

    @property
    def work(self) -> Tensor:
        """Work of the driven components within each step, (b, T) [MPa], by the trapezoidal rule."""
        columns = self.path.columns
        start = self.path.measure.reference(self.strain.dtype, self.strain.device).expand_as(self.strain[:, :1])
        before = torch.cat([start, self.strain[:, :-1]], 1)
        stress_before = torch.cat([torch.zeros_like(self.stress[:, :1]), self.stress[:, :-1]], 1)
        power = 0.5 * (stress_before + self.stress) * (self.strain - before)
        return power[..., columns].sum(-1)

    @cached_property
    def ellipticity(self) -> tuple[Tensor, Tensor] | None:
        """Lowest eigenvalue of the acoustic tensor at the end of each step (b, T) [MPa], and its direction (b, T, 3).

        Where it falls to zero the tangent loses ellipticity (see `datagen.laws.ellipticity`). A path that drives the
        plane 12 only knows directions in that plane. None where no tangent was recorded; nan where the driven
        components leave no direction wholly known, and where there is no answer.
        """
        measure, components = self.path.measure, self.path.components
        if self.tangent is None:
            return None
        if in_plane(measure, components) is None:
            return torch.full_like(self.psi, torch.nan), torch.full_like(self.strain[..., :3], torch.nan)
        return lowest_acoustic_eigenvalue(self.tangent, measure, components)

    @property
    def acoustic_eigenvalue(self) -> Tensor | None:
        """The lowest eigenvalue (b, T) [MPa] of `ellipticity`, or None."""
        return None if self.ellipticity is None else self.ellipticity[0]


@torch.no_grad()
def drive(law: Law, path: LoadPath, tangent: bool = False) -> Record:
    """Run a law along a batch of load paths, from the virgin state, step by step.

    Components driven by stress are solved for their strain by Newton's method on the law's own tangent (see
    `MixedStep`), to ten times the law's accuracy. A member without an answer keeps its verdict, is nan from there on
    and costs nothing further; the other members go on. Only history and, as a starting guess, the guess columns of the
    last answer are handed from step to step. Not differentiable.

    Args:
        law: any law of the path's measure.
        path: what to drive it along; moved to the law's device, and to its floating type if that is narrower.
        tangent: whether to record the consistent tangent at the end of each step, for the driven columns.

    Raises:
        ValueError: a law and a path that do not fit: measure, components, parameters.
        TypeError: a path of less precision than the law.

    >>> from datagen.laws.neo_hooke import NeoHooke
    >>> path = LoadPath.along("finite", strain={"11": [1.1, 1.2, 1.3, 1.4, 1.5]}, stress={"22": 0.0, "33": 0.0})
    >>> record = drive(NeoHooke(mu=1.0, lmbda=10.0), path)
    >>> [round(x, 4) for x in record.stress[0, :, 0].tolist()]
    [0.2666, 0.4948, 0.6955, 0.876, 1.0415]
    """
    check(law, path)
    path = path.to(law.dtype, law.device)
    b, T = path.n_paths, path.n_steps
    alive = torch.arange(b, device=law.device)
    state = law.initial_state(b)
    strain = law.reference_strain().expand(b, -1)
    largest = strain.new_zeros(b)  # largest stress that each member has seen, the scale of its tolerance
    record = _Pages(law, path, tangent)
    for t in range(T):
        step, strain, dense = _one_step(law, path, t, alive, strain, state, largest, tangent)
        record.write(alive, t, step, strain, dense)
        largest = torch.maximum(largest, step.stress[:, path.columns].abs().amax(-1))
        state = step.state
        going = step.verdict < FIRST_WITHOUT_ANSWER
        if not bool(going.all()):
            alive, strain, state, largest = alive[going], strain[going], state[going], largest[going]
            if len(alive) == 0:
                break
    history = state.new_full((b, law.n_history), torch.nan)
    history[alive] = state[:, : law.n_history]
    return record.bind(path, history)


def check(law: Law, path: LoadPath) -> None:
    """Raise ValueError if the law cannot be driven along the path: measure, components or parameters differ."""
    name = type(law).__name__
    if law.measure is not path.measure:
        raise ValueError(
            f"path: got {path.measure.name} strain ({path.measure.strain_name}), wanted {law.measure.name} "
            f"({law.measure.strain_name}), the measure of {name}"
        )
    if torch.finfo(path.target.dtype).eps > torch.finfo(law.dtype).eps:
        raise TypeError(f"path: got {path.target.dtype} targets, wanted {law.dtype}, the type of {name}")
    for component in path.components:
        if component not in law.components:
            raise ValueError(
                f"components: got {component}, wanted driven components among {', '.join(law.components)}, "
                f"for which {name} was made"
            )
    wanted, got = len(law.parameter_names), 0 if path.parameters is None else path.parameters.shape[1]
    if wanted != got:
        names = ", ".join(law.parameter_names) or "none"
        raise ValueError(f"parameters: got {got} columns in the path, wanted {wanted} ({names}) for {name}")


def _one_step(
    law: Law,
    path: LoadPath,
    t: int,
    alive: Tensor,
    strain: Tensor,
    state: Tensor,
    largest: Tensor,
    tangent: bool,
) -> tuple[Step, Tensor, Tensor | None]:
    """Step t of the members alive: the answer, the strain (., n) it belongs to and, if asked for, the tangent."""
    target, dt = path.target[alive, t], path.dt[alive, t]
    parameters = None if path.parameters is None else path.parameters[alive]
    if path.stress_components:
        before = strain.clone()
        before[:, path.stress_columns] = path.target[alive, t - 1][:, path.stress_columns] if t else 0.0
        mixed = MixedStep(law, path, target, state, dt, parameters, tangent)
        trial = mixed.solve(strain, before, largest)
        return trial.step, trial.strain, trial.dense if tangent else None
    if tangent:
        step, saved = law.linearise(target, state, dt, parameters, path.components)
        return step, target, law.dense(saved, path.components)
    return law.forward(target, state, dt, parameters), target, None


class _Pages:
    """The blank record that steps are written into."""

    def __init__(self, law: Law, path: LoadPath, tangent: bool) -> None:
        b, T, n = path.target.shape
        blank = torch.full_like(path.target, torch.nan)
        self.strain, self.stress = blank.clone(), blank
        self.psi, self.dissipation = blank[..., 0].clone(), blank[..., 0].clone()
        self.verdict = torch.zeros(b, T, dtype=torch.int8, device=blank.device)
        self.tangent = blank.new_full((b, T, n, n), torch.nan) if tangent else None
        self.extras: dict[str, Tensor] = {}

    def write(self, alive: Tensor, t: int, step: Step, strain: Tensor, dense: Tensor | None) -> None:
        """Write step t of the members alive."""
        self.strain[alive, t] = strain
        self.stress[alive, t], self.psi[alive, t] = step.stress, step.psi
        self.dissipation[alive, t] = step.dissipation
        # The verdict stands until the next step overwrites it, which it does only for members that go on.
        self.verdict[alive, t:] = step.verdict[:, None]
        if self.tangent is not None and dense is not None:
            bad = (step.verdict >= FIRST_WITHOUT_ANSWER)[:, None, None]
            self.tangent[alive, t] = torch.where(bad, torch.nan, dense)
        for name, value in step.extras.items():
            if name not in self.extras:
                empty = torch.nan if value.is_floating_point() else 0
                self.extras[name] = value.new_full((*self.psi.shape, *value.shape[1:]), empty)
            self.extras[name][alive, t] = value

    def bind(self, path: LoadPath, history: Tensor) -> Record:
        """The record."""
        return Record(
            path=path,
            strain=self.strain,
            stress=self.stress,
            psi=self.psi,
            dissipation=self.dissipation,
            verdict=self.verdict,
            extras=self.extras,
            tangent=self.tangent,
            state=history,
        )
