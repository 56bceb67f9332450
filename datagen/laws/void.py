"""The law of nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict


class Void(Law):
    r"""A void: psi = 0, stress = 0, tangent = 0, whatever the strain.

    A phase of a cell that bears nothing. It may fold: det F <= 0 is no failure, for there is nothing to fold. Only a
    strain that is not a finite number has no answer.

    Args:
        measure: "small" or "finite" strain, that of the phases around it.

    Raises:
        ValueError: another measure.
    """

    linear = True
    mirror_z = True

    stiffness: Tensor

    def __init__(self, measure: Measure | str = "small") -> None:
        super().__init__()
        names = [m.value for m in Measure]
        if not isinstance(measure, Measure) and measure not in names:
            raise ValueError(f"measure: got {measure!r}, wanted one of {', '.join(names)}")
        self.measure: Measure = Measure(measure)
        self.components = self.measure.components
        self.register_buffer("stiffness", torch.zeros((), dtype=torch.float64))

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        self.check(strain, state)
        nothing = torch.zeros_like(strain[..., 0])
        return self.answer(nothing, torch.zeros_like(strain), nothing, state, finite_verdict(strain))

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; nothing is saved."""
        return self.forward(strain, state, dt, parameters), strain.new_empty(*strain.shape[:-1], 0)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`."""
        batch = torch.broadcast_shapes(saved.shape[:-1], direction.shape[:-1])
        return direction.new_zeros(self.measure.n, *batch).movedim(0, -1)
