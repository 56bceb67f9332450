"""Plane stress for any law."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import PLANE_STRAIN, Extra, Law, Measure, Step
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER, Verdict


class PlaneStress(Law):
    r"""A law in plane stress: the normal strain 33 is found from stress 33 = 0, point by point.

    Newton's method on stress_33(strain_33) = 0 with the wrapped law's tangent, cut where the law has no answer. The
    tangent is condensed, C_ab - C_a3 C_3b / C_33. The wrapped law must be unchanged by z -> -z, so that the shear
    strains 13 and 23 vanish with their stresses. The state is the law's and, as a guess, strain 33 less its reference
    value. Not differentiable with respect to the law's moduli.

    Args:
        law: any law with ``mirror_z``; its own `components` must contain the plane's and 33.
        tolerance: |stress_33| relative to the stress in the plane.

    Reference:
        S. Klinkel, S. Govindjee, Engineering Computations 19 (2002) 254, doi:10.1108/02644400210423918.
    """

    def __init__(self, law: Law, tolerance: float = 1e-12) -> None:
        super().__init__()
        if not isinstance(law, Law):
            raise TypeError(f"law: got {type(law).__name__}, wanted a Law")
        if not law.mirror_z:
            raise ValueError(f"law: got {type(law).__name__}, wanted a law with mirror_z: z must be a symmetry plane")
        missing = {*PLANE_STRAIN[law.measure], "33"} - set(law.components)
        if missing:
            raise ValueError(f"law: {type(law).__name__} has no strain component {', '.join(sorted(missing))}")
        self.law = law
        self.tolerance = tolerance
        self.measure: Measure = law.measure
        self.components = PLANE_STRAIN[law.measure]
        self.state_names = (*law.state_names, "strain_33_less_reference")
        self.n_guess = law.n_guess + 1
        self.extras = {**law.extras, "strain_33": Extra((), "-", "strain component 33 that frees the surface")}
        self.parameter_names = law.parameter_names
        self.accuracy = max(law.accuracy, tolerance)
        self.linear, self.symmetric = law.linear, law.symmetric
        self.mirror_z = True
        self._33 = self.measure.columns(["33"])[0]
        self._plane = self.measure.columns(self.components)

    def initial_state(self, *batch: int) -> Tensor:
        """See `Law.initial_state`."""
        state = self.law.initial_state(*batch)
        return torch.cat([state, state.new_zeros(*batch, 1)], -1)

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        return self.linearise(strain, state, dt, parameters)[0]

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; saved are the wrapped law's and column 33 of its tangent."""
        self.check(strain, state)
        k, inner_state, thickness = self._33, state[..., :-1], state[..., -1]
        unit = torch.zeros_like(self.reference_strain())
        unit[k] = 1.0
        driven = (*self.components, "33")
        full = self.reference_strain().expand_as(strain).clone()
        full[..., self._plane] = strain[..., self._plane]
        reference = self.reference_strain()[k]

        def at(x: Tensor) -> tuple[Step, Tensor, Tensor]:
            full[..., k] = reference + x
            step, saved = self.law.linearise(full.clone(), inner_state, dt, parameters, driven)
            return step, saved, self.law.apply_tangent(saved, unit)

        x, increment = thickness, torch.zeros_like(thickness)
        step, saved, column = at(x)
        for _ in range(40):
            failed = step.verdict >= FIRST_WITHOUT_ANSWER
            scale = step.stress[..., self._plane].norm(dim=-1)
            stiffness = column[..., k].abs()
            done = step.stress[..., k].abs() <= self.tolerance * scale + 1e-15 * stiffness
            if bool((done | ~strain.isfinite().all(-1)).all()):
                break
            # A point without an answer walks half of its last increment back (or, at a bad guess, to the reference).
            # Where the stiffness is not positive Newton's step would climb: walk downhill in energy instead.
            newton = -step.stress[..., k] / column[..., k]
            downhill = -step.stress[..., k].sign()
            limited = torch.where(column[..., k] > 0, newton, downhill).clamp(-0.3, 0.3)
            back = torch.where(increment == 0, -x, -0.5 * increment)
            increment = torch.where(done, 0.0, torch.where(failed, back, limited))
            x = x + increment
            step, saved, column = at(x)
        else:
            done = step.stress[..., k].abs() <= self.tolerance * scale + 1e-15 * stiffness
        verdict = torch.where(done | (step.verdict >= FIRST_WITHOUT_ANSWER), step.verdict, int(Verdict.NOT_CONVERGED))
        stress = torch.full_like(step.stress, torch.nan)
        stress[..., self._plane] = step.stress[..., self._plane]
        new_state = torch.cat([step.state, x[..., None]], -1)
        extras = {**step.extras, "strain_33": reference + x}
        answer = self.answer(step.psi, stress, step.dissipation, new_state, verdict, extras)
        return answer, torch.cat([saved, column], -1)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`; rows outside the plane are nan."""
        n, k = self.measure.n, self._33
        column = saved[..., -n:]
        plane = torch.zeros_like(direction)
        plane[..., self._plane] = direction[..., self._plane]
        out = self.law.apply_tangent(saved[..., :-n], plane)
        stiffness = column[..., k]
        thinning = out[..., k] / torch.where(stiffness == 0, 1.0, stiffness)  # a broken point has none, and no coupling
        out = out - thinning[..., None] * column
        condensed = torch.full_like(out, torch.nan)
        condensed[..., self._plane] = out[..., self._plane]
        return condensed
