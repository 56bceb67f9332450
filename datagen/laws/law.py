"""The contract that every constitutive law keeps: textbook formula, homogenised cell, lattice or trained network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Self

import torch
from torch import Tensor

from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict
from datagen.tensors import MANDEL, ROW_MAJOR


class Measure(Enum):
    """What ``strain`` and ``stress`` are: a work-conjugate pair, stress . d strain = work per reference volume."""

    SMALL = "small"
    FINITE = "finite"

    @property
    def n(self) -> int:
        """Number of components: 6 (Mandel: 11 22 33 23 13 12, sqrt(2) on the shears) or 9 (row-major 3x3)."""
        return len(self.components)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components in order, ``"11"``, ``"12"``, ..."""
        return _COMPONENTS[self]

    def columns(self, components: Sequence[str]) -> list[int]:
        """Positions of the named components; raises ValueError for a name this measure does not have."""
        for name in components:
            if name not in self.components:
                raise ValueError(
                    f"components: got {name!r}, wanted names among {', '.join(self.components)} ({self.name} strain)"
                )
        return [self.components.index(name) for name in components]

    def reference(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Strain of the undeformed body, (n,): zero, or the identity."""
        if self is Measure.SMALL:
            return torch.zeros(6, dtype=dtype, device=device)
        return torch.eye(3, dtype=dtype, device=device).flatten()

    @property
    def strain_name(self) -> str:
        """What the strain is, in words."""
        return {"small": "small strain eps (Mandel)", "finite": "deformation gradient F"}[self.value]

    @property
    def stress_name(self) -> str:
        """What the stress is, in words."""
        return {"small": "Cauchy stress sigma (Mandel)", "finite": "first Piola-Kirchhoff stress P"}[self.value]


_COMPONENTS = {
    Measure.SMALL: tuple(f"{i + 1}{j + 1}" for i, j in MANDEL),
    Measure.FINITE: tuple(f"{i + 1}{j + 1}" for i, j in ROW_MAJOR),
}

PLANE_STRAIN = {Measure.SMALL: ("11", "22", "12"), Measure.FINITE: ("11", "12", "21", "22")}
"""The driven components of plane strain, by measure."""


class Step(NamedTuple):
    """What a law answers for one load step; ``*b`` are the batch axes of the strain it was asked for."""

    psi: Tensor  # (*b,)         stored energy density at the end of the step [MPa]
    stress: Tensor  # (*b, n)       [MPa]
    dissipation: Tensor  # (*b,)         energy dissipated within the step, >= 0 [MPa]
    state: Tensor  # (*b, n_state) internal variables at the end of the step
    verdict: Tensor  # (*b,) int8    a `Verdict` for each point
    extras: dict[str, Tensor]  # as declared in `Law.extras`


class Extra(NamedTuple):
    """Declaration of one entry of ``Step.extras``: trailing shape, unit, meaning."""

    shape: tuple[int, ...]
    unit: str
    meaning: str


class Law(torch.nn.Module):
    """A constitutive law: strain, state at the start of the step and time step in, `Step` and tangent out.

    A subclass sets the class attributes below, implements `forward`, and overrides `linearise` and `apply_tangent`
    when its tangent is cheaper than a dense matrix. It is pure: settings live in the object, history in the arguments.
    Every tensor it owns is a buffer, float64 unless the user converts the module. A law with material axes has the
    buffer ``orientation`` (3, 3), the rotation from them to the axes of the strain, v = Q v_material; `with_buffers`
    gives every point its own, as a cell does with the orientations of its microstructure.

    A step with dt = 0 at the strain where the state was reached changes nothing: stress, energy and history stay, and
    nothing is dissipated.
    """

    measure: Measure
    state_names: tuple[str, ...] = ()
    extras: dict[str, Extra] = {}  # declared, never mutated
    parameter_names: tuple[str, ...] = ()
    components: tuple[str, ...]  # strain components the law was made for; outside them it ignores strain, answers nan
    n_guess: int = 0  # trailing columns of the state that are a solver's starting guess, not history
    accuracy: float = 1e-12  # relative accuracy of the stress
    linear: bool = False  # the tangent is constant: stress is affine in strain, whatever the state
    symmetric: bool = True  # the consistent tangent is symmetric
    mirror_z: bool = False  # unchanged by reflection in the plane z = 0, so in-plane strain makes no 13 and 23 stress

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "measure" in cls.__dict__ and "components" not in cls.__dict__:
            cls.components = cls.measure.components

    @property
    def n_state(self) -> int:
        """Number of columns of the state, guess included."""
        return len(self.state_names)

    @property
    def n_history(self) -> int:
        """Number of leading columns of the state that are history."""
        return self.n_state - self.n_guess

    def _anchor(self) -> Tensor:
        """A buffer or parameter, for dtype and device."""
        for tensor in self.buffers():
            if tensor.is_floating_point():
                return tensor
        for tensor in self.parameters():
            return tensor
        return torch.empty((), dtype=torch.float64)

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the law's buffers, and of the strain it takes."""
        return self._anchor().dtype

    @property
    def device(self) -> torch.device:
        """Device of the law's buffers."""
        return self._anchor().device

    def reference_strain(self) -> Tensor:
        """Strain of the undeformed body (n,), in the law's dtype and on its device."""
        return self.measure.reference(self.dtype, self.device)

    def initial_state(self, *batch: int) -> Tensor:
        """State of the virgin material, (*batch, n_state): zeros unless a law says otherwise."""
        return torch.zeros(*batch, self.n_state, dtype=self.dtype, device=self.device)

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """Answer for one step.

        Args:
            strain: strain at the end of the step, (*b, n).
            state: state at the start of the step, (*b, n_state).
            dt: time step [s], a number or (*b,).
            parameters: per-point inputs named in `parameter_names`, (*b, n_parameters).
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """The step, and ``saved`` (*b, n_saved): what `apply_tangent` needs for directions along ``components``.

        Default: the dense tangent by forward-mode differentiation of `forward`, flattened; columns that were not
        asked for are zero.
        """
        columns = self.measure.columns(self.components if components is None else components)
        dense = strain.new_zeros(*strain.shape, self.measure.n)

        def stress(e: Tensor) -> Tensor:
            return self.forward(e, state, dt, parameters).stress

        for j in columns:
            direction = torch.zeros_like(strain)
            direction[..., j] = 1.0
            dense[..., j] = torch.func.jvp(stress, (strain,), (direction,))[1]
        return self.forward(strain, state, dt, parameters), dense.flatten(-2)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """Consistent d stress/d strain . direction, (*b, n); ``saved`` and ``direction`` broadcast over batch axes."""
        n = self.measure.n
        return (saved.unflatten(-1, (n, n)) * direction[..., None, :]).sum(-1)

    def tangent(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Tensor:
        """Consistent tangent d stress/d strain, (*b, n, n); columns outside `components` are zero."""
        return self.dense(self.linearise(strain, state, dt, parameters)[1], self.components)

    def dense(self, saved: Tensor, components: Sequence[str] | None = None) -> Tensor:
        """Dense tangent (*b, n, n) from what `linearise` saved; columns outside ``components`` are zero."""
        n = self.measure.n
        columns = self.measure.columns(self.components if components is None else components)
        units = torch.eye(n, dtype=saved.dtype, device=saved.device)[columns]
        units = units.reshape(len(columns), *[1] * (saved.dim() - 1), n)
        products = self.apply_tangent(saved, units).expand(len(columns), *saved.shape[:-1], n)
        tangent = saved.new_zeros(n, *saved.shape[:-1], n)
        tangent[columns] = products
        return tangent.movedim(0, -1)

    def with_buffers(self, **buffers: Tensor) -> Self:
        """The same law with other values in its buffers, for example one modulus per point, broadcast over ``*b``."""
        other = copy.copy(self)
        other._buffers = {**self._buffers, **buffers}
        return other

    def check(self, strain: Tensor, state: Tensor) -> None:
        """Raise on input of the wrong shape or type; every law calls it first."""
        name, n = type(self).__name__, self.measure.n
        if strain.dtype != self.dtype:
            raise TypeError(
                f"strain: got {strain.dtype}, wanted {self.dtype}, the type of {name}; convert the strain or the law"
            )
        if strain.dim() == 0 or strain.shape[-1] != n:
            raise ValueError(
                f"strain: got shape {tuple(strain.shape)}, wanted (*b, {n}) for {name}, "
                f"whose strain is the {self.measure.strain_name}"
            )
        if state.shape[-1] != self.n_state:
            raise ValueError(
                f"state: got shape {tuple(state.shape)}, wanted (*b, {self.n_state}) as from {name}.initial_state(*b)"
            )
        batch, own = strain.shape[:-1], state.shape[:-1]
        if own != batch:
            raise ValueError(
                f"state: got batch axes {tuple(own)} for a strain with {tuple(batch)}, wanted the same: "
                f"{name}.initial_state(*strain.shape[:-1])"
            )

    def answer(
        self,
        psi: Tensor,
        stress: Tensor,
        dissipation: Tensor,
        state: Tensor,
        verdict: Tensor,
        extras: dict[str, Tensor] | None = None,
    ) -> Step:
        """Assemble a `Step`; where the verdict says there is no answer, every floating number becomes nan.

        A driven stress that overflowed is no answer either.
        """
        columns = self.measure.columns(self.components)
        driven = stress if len(columns) == self.measure.n else stress[..., columns]
        overflow = ~driven.sum(-1).isfinite() & (verdict < FIRST_WITHOUT_ANSWER)  # one inf or nan spoils the sum
        verdict = torch.where(overflow, int(Verdict.NOT_FINITE), verdict)
        bad = verdict >= FIRST_WITHOUT_ANSWER

        def blank(x: Tensor) -> Tensor:
            mask = bad.reshape(bad.shape + (1,) * (x.dim() - bad.dim()))
            return torch.where(mask, torch.nan, x) if x.is_floating_point() else x

        return Step(
            blank(psi),
            blank(stress),
            blank(dissipation),
            blank(state),
            verdict.to(torch.int8),
            {k: blank(v) for k, v in (extras or {}).items()},
        )


def finite_verdict(strain: Tensor, bad: Tensor | None = None, code: Verdict = Verdict.NOT_FINITE) -> Tensor:
    """Verdict (*b,) int8 of a law: NOT_FINITE where the strain is, else ``code`` where ``bad``, else good."""
    verdict = torch.where(strain.sum(-1).isfinite(), int(Verdict.GOOD), int(Verdict.NOT_FINITE))
    if bad is not None:
        verdict = torch.where(bad, verdict.clamp(min=int(code)), verdict)
    return verdict.to(torch.int8)
